/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * fakexen's connections: messages of a 16-byte header whose last 32-bit word is the length of the
 * body (xenstore's wire format, and fx_proto.h's), over a non-blocking UNIX stream in a loop.
 */
#ifndef VIOMMU_TESTS_FAKEXEN_STREAM_H
#define VIOMMU_TESTS_FAKEXEN_STREAM_H

#include "common/compiler.h"
#include "common/loop.h"

#include <stddef.h>
#include <stdint.h>

#define STREAM_HDR 16

struct stream;

struct stream_ops {
    /*
     * A whole message; `hdr` and `body` are borrowed and unaligned. `fd` came with it (else -1) and
     * belongs to the callee. A negative return closes the connection. Must not free the stream.
     */
    int (*message)(void *ctx, const uint8_t *hdr, const uint8_t *body, size_t len, int fd);
    /* The peer is gone, broke the framing, or does not read. The callee frees the stream. */
    void (*closed)(void *ctx);
};

/* Consumes `fd` on success. NULL when memory is short. */
struct stream *stream_new(struct loop *loop, int fd, size_t max_body, const struct stream_ops *ops,
                          void *ctx);
struct stream *stream_free(struct stream *s); /* NULL allowed; returns NULL; not from `message` */

/* Queues a message; descriptors are duplicated. A peer that lets 4 MiB pile up is disconnected. */
void stream_send(struct stream *s, const void *hdr, const void *body, size_t len, const int *fds,
                 size_t n_fds);

/* Listens on a new UNIX socket at `path`. The descriptor, or -errno. */
MUST_CHECK int stream_listen(const char *path);

#endif
