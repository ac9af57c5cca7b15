/* SPDX-License-Identifier: GPL-2.0-only */
/* Client of DIR/hypervisor (fx_proto.h): one blocking call at a time, like a hypercall. */
#ifndef VIOMMU_TESTS_FX_CLIENT_H
#define VIOMMU_TESTS_FX_CLIENT_H

#include "common/compiler.h"
#include "tests/support/fakexen/fx_proto.h"

#include <stddef.h>
#include <stdint.h>

/* Connects and says which domain this is. The descriptor, or -errno (-ESRCH: no such domain). */
MUST_CHECK int fx_connect(const char *dir, uint32_t domid);

struct fx_buf {
    const void *data;
    size_t len;
};

/*
 * One call. The request's body is the n `parts`, one after another; `send_fd` (-1: none) goes with
 * it. At most reply_size bytes of the reply's body are kept; a reply of another length is -EPROTO.
 * `fds_out` gets the FX_MAX_FDS descriptors of the reply, -1 where there is none (NULL: closed).
 * 0, or the -errno of the call or of the connection.
 */
MUST_CHECK int fx_call(int sock, uint32_t type, const struct fx_buf *parts, size_t n, int send_fd,
                       void *reply, size_t reply_size, int *fds_out);

#endif
