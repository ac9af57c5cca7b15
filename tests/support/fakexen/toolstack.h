/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * fakexen's toolstack: the part of libxl and of the control hypercalls that only the server can do.
 * Control-socket frames (common/ctl.h) at DIR/toolstack; `fxl` is the client. Commands:
 *   create-domain  name, optional domid, driver-domain, max-grants   -> domid
 *   destroy        domid       removes the domain's tree, kills it, fires @releaseDomain
 *   list                       -> domains: [{domid, name, dying, maptrack, pages, ports, mapped}]
 *   grants         optional domid -> grants: [{domid, ref, n, to, readonly, maps}], n references
 *                  from `ref` on, each mapped `maps` times
 *   inject         op (map, copy, bind), nth, errno
 */
#ifndef VIOMMU_TESTS_FAKEXEN_TOOLSTACK_H
#define VIOMMU_TESTS_FAKEXEN_TOOLSTACK_H

#include "common/compiler.h"
#include "common/loop.h"
#include "tests/support/fakexen/hypervisor.h"
#include "tests/support/fakexen/store.h"
#include "tests/support/fakexen/xenstored.h"

struct toolstack;

/* Borrows the others. Fills the tree of domain 0. */
MUST_CHECK int toolstack_new(struct toolstack **out, struct loop *loop, const char *path,
                             struct hypervisor *hv, struct xenstored *xs, struct store *store);
struct toolstack *toolstack_free(struct toolstack *ts); /* NULL allowed; returns NULL */

#endif
