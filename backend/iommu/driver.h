/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A host IOMMU driver as the worker sees it: how an endpoint comes to be (this file), and what the
 * device core does with it then (backend/viommu/host_iommu.h).
 *
 * A driver's host (struct iommu_host) is what its endpoints of one worker share; an endpoint is one
 * device of the host, opened for as long as it exists. Opening needs privilege and talks to the
 * kernel only; the names that it gets are the administrator's, checked by xenstore/config.h.
 */
#ifndef VIOMMU_BACKEND_IOMMU_DRIVER_H
#define VIOMMU_BACKEND_IOMMU_DRIVER_H

#include "backend/iommu/kernel_ops.h"
#include "backend/viommu/viommu.h"

struct iommu_host;

struct iommu_options {
    bool unsafe_pin_leak; /* type1 on pages that it never unpins is wanted all the same */
};

/* What the host can do for an endpoint: the rest of struct viommu_endpoint_config. */
struct iommu_limits {
    uint64_t page_size_mask;
    struct range aperture;
    const struct viommu_resv *resv; /* disjoint; borrowed from the endpoint */
    size_t n_resv;
};

#define IOMMU_SPACE_NAME_MAX 47

struct iommu_status {
    unsigned group;
    char space[IOMMU_SPACE_NAME_MAX + 1]; /* what its mappings are in, "" if in none */
    bool counted;                         /* the next two mean something */
    size_t entries;                       /* of the host's table in use by that */
    size_t entries_max;                   /* 0: no limit known */
    bool cut_off;                         /* the host failed: its DMA reaches nothing */
};

/* Descriptors of an endpoint for the program that drives its registers and interrupts. */
enum iommu_companion_fd {
    IOMMU_FD_DEVICE,   /* the VFIO device file */
    IOMMU_FD_LIFELINE, /* hangs up when the endpoint ends: the companion must close the device */
    IOMMU_N_FDS
};

struct iommu_driver {
    const struct host_iommu_ops *ops;
    unsigned caps; /* enum host_caps */

    /* The functions below are NULL for a driver that needs nothing of the host. */

    /* -errno with a reason. `k` outlives the host. */
    int (*host_new)(const struct kernel *k, struct iommu_host **out, char *why, size_t why_size);
    /* Its endpoints are closed. NULL allowed; returns NULL. */
    struct iommu_host *(*host_free)(struct iommu_host *host);

    /* Could this driver open the device? Looks, opens nothing. */
    bool (*usable)(const struct kernel *k, const char *device);

    /* Opens a device, by PCI address or mdev UUID. -errno with a reason in `why`. */
    int (*open)(struct iommu_host *host, const char *device, const struct iommu_options *options,
                struct host_endpoint **out, char *why, size_t why_size);
    /* The endpoint is in no space. NULL allowed. */
    void (*close)(struct host_endpoint *ep);

    void (*limits)(const struct host_endpoint *ep, struct iommu_limits *out);
    void (*status)(const struct host_endpoint *ep, struct iommu_status *out);

    /* Descriptors for a companion, borrowed; -errno (-ENODEV: cut off). */
    int (*companion_fds)(struct host_endpoint *ep, int fds[IOMMU_N_FDS]);
};

#endif
