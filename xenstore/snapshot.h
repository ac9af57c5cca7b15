/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What discovery reads of one directory: the toolstack's nodes, the administrator's nodes, the
 * frontend's state. Reading only; discover.c compares and decides. Internal to xenstore/.
 */
#ifndef VIOMMU_XENSTORE_SNAPSHOT_H
#define VIOMMU_XENSTORE_SNAPSHOT_H

#include "common/compiler.h"
#include "xenstore/device.h"
#include "xenstore/xs.h"

/* Why a directory is not served. */
enum claim {
    CLAIM_YES,
    CLAIM_OTHER_TYPE, /* another device's: none of our business */
    CLAIM_BASE,       /* virtio-mmio was set up (Arm) */
    CLAIM_FRONTEND,   /* frontend or frontend-id contradict the directory's path */
};

/* In: the device's numbers and paths. Out: CLAIM_*; -ENOENT: no such directory; else -errno. */
MUST_CHECK int snapshot_claim(const struct xsc *xs, const struct xs_device *dev);

struct snapshot_own {
    enum xenbus_state state;
    bool online;
    bool has_version; /* our viommu-version is there */
};

/* -ENOENT: the directory or its state is gone. */
MUST_CHECK int snapshot_own(const struct xsc *xs, const struct xs_device *dev,
                            struct snapshot_own *out);

/* The frontend's state; absent or unreadable is XENBUS_GONE. */
MUST_CHECK int snapshot_frontend(const struct xsc *xs, const struct xs_device *dev,
                                 enum xenbus_state *out);

struct snapshot_admin {
    struct xs_admin_node config;
    struct xs_endpoint_node *endpoints; /* ascending */
    size_t n_endpoints;
    size_t n_odd; /* names that are neither, or endpoints beyond the limit: left out */
};

MUST_CHECK int snapshot_admin(const struct xsc *xs, const struct xs_device *dev,
                              size_t max_endpoints, struct snapshot_admin *out);

/*
 * Only the endpoints `ids` (*n_inout of them, in any order and perhaps more than once; they are
 * sorted): *out has each once, ascending, also those that are not there; *n_inout how many.
 */
MUST_CHECK int snapshot_endpoints(const struct xsc *xs, const struct xs_device *dev, uint32_t *ids,
                                  size_t *n_inout, struct xs_endpoint_node **out);

/* Frees members; zeroed is fine, and so it is afterwards. */
void xs_admin_node_fini(struct xs_admin_node *node);
void xs_endpoint_nodes_free(struct xs_endpoint_node *nodes, size_t n);
void snapshot_admin_fini(struct snapshot_admin *s);

bool xs_admin_node_there(const struct xs_admin_node *node);
bool xs_admin_node_same(const struct xs_admin_node *a, const struct xs_admin_node *b);
bool xs_endpoint_nodes_same(const struct xs_endpoint_node *a, size_t n_a,
                            const struct xs_endpoint_node *b, size_t n_b);

/*
 * Takes `news`, of snapshot_endpoints, into the device's endpoints and says whether that changed
 * any. The values move. -ENOMEM: nothing has changed.
 */
MUST_CHECK int xs_device_merge(struct xs_device *dev, struct xs_endpoint_node *news, size_t n_news,
                               bool *changed_out);

#endif
