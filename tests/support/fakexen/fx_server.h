/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * For tests: starts the fakexen program in a directory of its own, and gives its toolstack orders.
 * The program is $VIOMMU_BUILDDIR/tests/support/fakexen/fakexen (the current directory without that
 * variable). Functions return 0 or -errno.
 */
#ifndef VIOMMU_TESTS_FX_SERVER_H
#define VIOMMU_TESTS_FX_SERVER_H

#include "common/compiler.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct fx_server {
    pid_t pid;
    char dir[64];
};

/* Returns when the server listens. maptrack 0: the default. */
MUST_CHECK int fx_server_start(struct fx_server *s, uint32_t maptrack);
/* Ends it and removes its directory; -EIO unless it exited with 0 (a crash, a sanitizer's report).
 */
MUST_CHECK int fx_server_stop(struct fx_server *s);

/* One toolstack command (toolstack.h). The reply (optional) is a new reference. */
MUST_CHECK int fx_order(const char *dir, json_t *request_stolen, json_t **reply_out);

MUST_CHECK int fx_create_domain(const char *dir, const char *name, uint32_t domid,
                                bool driver_domain);
MUST_CHECK int fx_destroy_domain(const char *dir, uint32_t domid);
/* `op`: "map", "copy" or "bind"; see hv_inject. */
MUST_CHECK int fx_inject(const char *dir, const char *op, uint32_t nth, int err);
/* A number of `list` ("maptrack", "mapped", "ports", "pages") about a domain. -ESRCH. */
MUST_CHECK int fx_domain_count(const char *dir, uint32_t domid, const char *key, uint64_t *out);

#endif
