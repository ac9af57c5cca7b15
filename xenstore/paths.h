/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every xenstore node name and length limit that the protocol (docs/protocol.md, sections 1, 2
 * and 8) knows, and nothing else. No code spells a node name itself.
 *
 * All paths that we use are absolute: a connection over xenstored's socket (dom0) and one over
 * /dev/xen/xenbus (driver domain) resolve relative paths differently.
 */
#ifndef VIOMMU_XENSTORE_PATHS_H
#define VIOMMU_XENSTORE_PATHS_H

#define XS_PATH_DOMAIN        "/local/domain" /* .../DOMID */
#define XS_DIR_BACKEND_VIRTIO "backend/virtio"
#define XS_DIR_FRONT_VIRTIO   "device/virtio"
#define XS_PATH_OWN_DOMID     "domid" /* the only relative path: our own domid */

/* Written by the toolstack into our directory, /local/domain/B/backend/virtio/F/N. */
#define XS_NODE_FRONTEND    "frontend"
#define XS_NODE_FRONTEND_ID "frontend-id"
#define XS_NODE_ONLINE      "online"
#define XS_NODE_STATE       "state"
#define XS_NODE_TYPE        "type"
#define XS_NODE_BASE        "base"

/* Written by us into our directory; the first two by the frontend into its own, too. */
#define XS_NODE_VERSION   "viommu-version"
#define XS_NODE_FEATURES  "viommu-features"
#define XS_NODE_LIMITS    "viommu-limits"
#define XS_NODE_ENDPOINTS "viommu-endpoints"
#define XS_NODE_ERROR     "error"

/* Written by the frontend into its directory, /local/domain/F/device/virtio/N. */
#define XS_NODE_CONTROL "viommu-control"
#define XS_NODE_QUEUE_0 "viommu-queue-0"
#define XS_NODE_QUEUE_1 "viommu-queue-1"

/* Written by the administrator into our directory. */
#define XS_DIR_VIOMMU           "viommu"
#define XS_NODE_CONFIG          "config"    /* viommu/config */
#define XS_NODE_ENDPOINT_PREFIX "endpoint-" /* viommu/endpoint-XXXXXXXX, lower-case hex */

#define XS_TYPE_VIOMMU  "virtio,device17" /* 0x17: device 23 */
#define XS_VIOMMU_PROTO 1                 /* value of viommu-version */

/* Longest values, in bytes without the terminator. */
#define XS_FRONTEND_VALUE_MAX  255  /* nodes of the frontend */
#define XS_ADMIN_VALUE_MAX     1024 /* viommu/config and viommu/endpoint-* */
#define XS_ENDPOINTS_VALUE_MAX 2000 /* viommu-endpoints */
#define XS_ERROR_VALUE_MAX     255  /* error */

/* "/local/domain/65535/backend/virtio/65535/4294967295" and the longest node fit easily. */
#define XS_DEVICE_PATH_SIZE 96
#define XS_PATH_SIZE        160

#define XS_DOMID_MAX 0x7fefu     /* below DOMID_FIRST_RESERVED */
#define XS_DEVID_MAX 0x7fffffffu /* libxl's devids are ints */

#endif
