/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * fakexen's xenstored: the wire protocol of xen/io/xs_wire.h. A connection's domain is the socket
 * it came in by: DIR/xenstored-socket is domain 0's (privileged), DIR/xenstored-socket.N domain
 * N's, there while that domain lives.
 */
#ifndef VIOMMU_TESTS_FAKEXEN_XENSTORED_H
#define VIOMMU_TESTS_FAKEXEN_XENSTORED_H

#include "common/compiler.h"
#include "common/loop.h"
#include "tests/support/fakexen/store.h"

#include <stdint.h>

/* Defaults of the real one, for an unprivileged domain. */
#define XS_QUOTA_WATCHES      128
#define XS_QUOTA_TRANSACTIONS 10

struct xenstored;

/* Borrows the store, and `dir` for its lifetime. Domain 0's socket is made at once. */
MUST_CHECK int xenstored_new(struct xenstored **out, struct loop *loop, const char *dir,
                             struct store *store);
struct xenstored *xenstored_free(struct xenstored *xs); /* NULL allowed; returns NULL */

/* The domain's socket appears, @introduceDomain fires. -EEXIST. */
MUST_CHECK int xenstored_domain_add(struct xenstored *xs, uint32_t domid);
/* Its connections end, what it owned in the store goes, @releaseDomain fires. */
MUST_CHECK int xenstored_domain_remove(struct xenstored *xs, uint32_t domid);

/* All sockets and connections go, with their watches; the store stays, as over a restart. */
void xenstored_stop(struct xenstored *xs);
MUST_CHECK int xenstored_start(struct xenstored *xs);

/*
 * From now on, `permille` of a thousand requests of that domain's connections are answered by an
 * error, at random from `seed`. 0: none. Returns how many were since the last such call.
 */
uint64_t xenstored_faults(struct xenstored *xs, uint32_t domid, uint32_t permille, uint64_t seed);

/* How many requests there were so far, of all domains. */
uint64_t xenstored_requests(const struct xenstored *xs);

/* Sends the events of changes that others made to the store. */
void xenstored_fire(struct xenstored *xs);

#endif
