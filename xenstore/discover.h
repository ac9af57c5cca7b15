/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Finds the directories that are ours to serve, by looking at the store and not by believing
 * events: one watch on backend/virtio and one per device on the frontend's state. An event only
 * says where to look again. One inside a known device's directory or of its frontend re-reads that
 * device's states, so that a guest that writes its state in a loop costs the others little, and of
 * viommu/ what events were about: that endpoint's node, or (config, the directory itself) all of
 * it. So endpoints that come one by one cost the same each. Any other event re-reads everything
 * (mark and sweep by a generation counter). A lost event is made good by the next full scan.
 *
 * Nothing that a frontend wrote is interpreted here, but its state. Devices are keyed by frontend
 * domid and device number. A directory that was removed and made anew between two looks shows by
 * what libxl cannot bring back: our last state (it writes 1 again) and our viommu-version; it is
 * reported as vanished and appeared. Before we have published anything the two cannot be told
 * apart and need not be: a configuration that differs is reported as changed.
 *
 * Cost of a device in a driver domain's quota (1,000 nodes, 128 watches, docs/protocol.md): one
 * watch beside the one for all; 5 nodes of ours (viommu-version, -features, -limits, -endpoints,
 * error), up to 10 that libxl makes in our name, `viommu` and its config, and one per endpoint.
 */
#ifndef VIOMMU_XENSTORE_DISCOVER_H
#define VIOMMU_XENSTORE_DISCOVER_H

#include "common/compiler.h"
#include "xenstore/config.h"
#include "xenstore/device.h"
#include "xenstore/xs.h"

#define DISCOVER_MAX_ENDPOINTS 4096 /* per device; more are left out with a log line */

/*
 * Called from discover_run and discover_rescan only. They may use publish.h and xenstore, but must
 * not call discover_* other than discover_frontend_nodes. All members are mandatory.
 */
struct discover_ops {
    /*
     * A directory to serve (type virtio,device17, base 0). Its config and endpoints are filled in,
     * fe_state is known but not yet reported: RECHECK or a later frontend_state feed it. May come
     * for a key whose predecessor is still being torn down (after its `vanished`).
     */
    void (*appeared)(struct xs_device *dev, void *ctx);
    /* The directory is gone, or another one is in its place. `dev` is freed on return. */
    void (*vanished)(struct xs_device *dev, void *ctx);
    /* Frontend state 1 to 6, or XENBUS_GONE: changed, or written again. Never XENBUS_NONE. */
    void (*frontend_state)(struct xs_device *dev, enum xenbus_state state, void *ctx);
    /* The toolstack removes the device: own state 5 not written by us, or online 0. Once, and
     * again if the toolstack writes 5 over our 6. */
    void (*closing)(struct xs_device *dev, void *ctx);
    /* dev->endpoints changed: an endpoint came, went or has another value. */
    void (*endpoints_changed)(struct xs_device *dev, void *ctx);
    /* dev->config changed. */
    void (*config_changed)(struct xs_device *dev, void *ctx);
};

struct discover;

/*
 * Sets the watch on backend/virtio of domain `own_domid` and scans for the first time: callbacks
 * come from here too. `xs` and `ops` are borrowed until discover_free. -errno of the store
 * (without that watch there is nothing to run on), -ENOMEM.
 */
MUST_CHECK int discover_new(struct discover **out, const struct xsc *xs, uint32_t own_domid,
                            const struct discover_ops *ops, void *ctx);

/* Removes the watches, frees all devices without callbacks. NULL allowed; returns NULL. */
struct discover *discover_free(struct discover *d);

/*
 * To be called when the connection's descriptor is readable: takes waiting events (at most 1,024;
 * the descriptor stays readable when there are more), then looks once. 0, or -errno when the
 * connection is lost. A read that fails otherwise (out of memory, quota) changes nothing for that
 * device; the next look repeats it.
 */
MUST_CHECK int discover_run(struct discover *d);

/*
 * The connection was lost, and `xs` has a new one: sets all watches again and scans. What changed
 * meanwhile is reported like any other change. 0, or -errno when that one is lost too.
 */
MUST_CHECK int discover_reconnect(struct discover *d);

/* A full scan now: at SIGHUP, and now and then as an insurance against lost events. */
MUST_CHECK int discover_rescan(struct discover *d);

/* First device, and the next one; NULL at the end. Ascending by domid and devid. */
struct xs_device *discover_first(const struct discover *d);
struct xs_device *discover_next(const struct discover *d, const struct xs_device *dev);
struct xs_device *discover_find(const struct discover *d, uint32_t domid, uint32_t devid);

/*
 * The frontend's nodes, each once, as they are (action CONNECT). Nodes that are absent, too long
 * or not printable are marked so in `out`; -errno only when the store fails.
 */
MUST_CHECK int discover_frontend_nodes(const struct xsc *xs, const struct xs_device *dev,
                                       struct config_fe_raw *out);

#endif
