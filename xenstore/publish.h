/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Everything that we write to xenstore: six nodes of our own directory, and the administrator's
 * endpoint nodes on behalf of viommuctl.
 *
 * A plain write creates missing parents, so one that is late by a moment would bring a directory
 * back to life that libxl has just removed, or write into the one that it made anew for the next
 * device. Therefore each function works in a transaction that first sees that the directory is
 * still the one that we know:
 *
 *   -ENOENT     it is gone
 *   -ESTALE     another one is in its place (own state 1 again, or our nodes missing)
 *   -ECANCELED  the toolstack has written 5 or online 0: only state 6 and `error` may follow
 *
 * Other errors are the store's. Nothing has been changed in any of these cases.
 *
 * All of it is readable by the guest, except what is below viommu/.
 */
#ifndef VIOMMU_XENSTORE_PUBLISH_H
#define VIOMMU_XENSTORE_PUBLISH_H

#include "common/compiler.h"
#include "xenstore/config.h"
#include "xenstore/device.h"
#include "xenstore/xs.h"

struct publish_offer {
    uint64_t features;
    uint32_t queue_size; /* the three pairs of viommu-limits */
    uint32_t map_pages;
    uint32_t grant_pages;
    const char *endpoints; /* of config_summary */
};

/* viommu-version, -features, -limits and -endpoints, all or none. -EINVAL as publish_endpoints. */
MUST_CHECK int publish_nodes(const struct xsc *xs, struct xs_device *dev,
                             const struct publish_offer *offer);

/*
 * viommu-endpoints alone. -EINVAL, nothing written, for a text that is longer than
 * XS_ENDPOINTS_VALUE_MAX or has other characters than such a text can have (the text may come
 * from a worker, which is not trusted).
 */
MUST_CHECK int publish_endpoints(const struct xsc *xs, struct xs_device *dev, const char *text);

/* `error`. Any text: cut to XS_ERROR_VALUE_MAX, and what is not printable ASCII becomes '?'. */
MUST_CHECK int publish_error(const struct xsc *xs, struct xs_device *dev, const char *text);
MUST_CHECK int publish_error_clear(const struct xsc *xs, struct xs_device *dev);

/*
 * Our state: XENBUS_INIT_WAIT, _CONNECTED, _CLOSING or _CLOSED (else -EINVAL). Keeps
 * dev->own_state. -EIO: it is in the store or not, which the next look finds out
 * (dev->unsure_states): our own 5 must not be taken for the toolstack's. XENBUS_CLOSING while the
 * toolstack closes: -ECANCELED as well.
 */
MUST_CHECK int publish_state(const struct xsc *xs, struct xs_device *dev, enum xenbus_state state);

/*
 * Removes our whole directory after state 6, if the toolstack has set online to 0: libxl waits for
 * that (10 s) when the backend is in a driver domain, where only we or `xl devd` can do it. Does
 * nothing in domain 0, where libxl removes it itself, nor while the device is online. Where one
 * transaction may not touch so many nodes, those of the endpoints go first, each in its own. 0,
 * also when it was gone already; -ESTALE as above; -ECANCELED: our state is not 6.
 */
MUST_CHECK int publish_remove(const struct xsc *xs, struct xs_device *dev);

/*
 * viommu/endpoint-XXXXXXXX, readable by the backend domain only. -EEXIST if there is one. The node
 * comes back through discovery (endpoints_changed) like one that was written by hand.
 */
MUST_CHECK int endpoint_node_write(const struct xsc *xs, const struct xs_device *dev,
                                   const struct config_endpoint *ep);
MUST_CHECK int endpoint_node_remove(const struct xsc *xs, const struct xs_device *dev,
                                    uint32_t id); /* -ENOENT */

#endif
