/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The contract between the device and a host IOMMU driver (backend/iommu/: soft, vfio, iommufd).
 *
 * A driver's endpoint (struct host_endpoint) stands for one device that the guest owns; a space
 * (struct host_space) for one set of host tables. A vdomain has as many spaces as its endpoints
 * need: type1 one per group, iommufd one for all. The device calls; a driver never calls back.
 * Every call may block for as long as the system call that it stands for, and no longer.
 *
 * The vdomain's interval map is the truth. A driver that carries out DMA itself reads that table
 * (viommu_translate) and leaves every function below NULL.
 */
#ifndef VIOMMU_BACKEND_VIOMMU_HOST_IOMMU_H
#define VIOMMU_BACKEND_VIOMMU_HOST_IOMMU_H

#include "common/compiler.h"
#include "common/range.h"

#include <stddef.h>
#include <stdint.h>

struct host_endpoint;
struct host_space;

/* What stands behind an IOVA: tagged, because not every host IOMMU is programmed by address. */
enum map_source_type {
    MAP_SOURCE_HVA,         /* an address in this process (VFIO, iommufd) */
    MAP_SOURCE_GUEST_FRAME, /* a guest-physical address (PV-IOMMU) */
    MAP_SOURCE_HANDLE,      /* a capability of the platform (seL4) */
};

struct map_source {
    enum map_source_type type;
    union {
        void *hva;
        uint64_t guest_address;
        uint64_t handle;
    };
};

enum host_prot {
    HOST_PROT_READ = 1,
    HOST_PROT_WRITE = 2,
    HOST_PROT_MMIO = 4, /* device registers; only where caps has HOST_CAP_MMIO */
};

enum host_caps {
    HOST_CAP_MMIO = 1,   /* can honour MAP_F_MMIO */
    HOST_CAP_BYPASS = 2, /* can give an endpoint the whole guest one to one */
};

struct host_iommu_ops {
    const char *name;

    /* Which map source the driver wants. */
    enum map_source_type source;

    /*
     * Detaching the last endpoint of a space empties it (type1: the tables belong to the endpoints'
     * group). The device maps everything again when it puts an endpoint back.
     */
    bool forgets;

    /*
     * An empty space that `ep` could join. -ENOMEM, or another -errno of the host.
     * NULL: the driver reads the device's table; then all below are NULL too.
     */
    int (*space_new)(struct host_endpoint *ep, struct host_space **out);

    /* Frees a space that no endpoint is in. Cannot fail; what is still mapped goes with it. */
    void (*space_free)(struct host_space *space);

    /*
     * Puts ep into the space; from then on its DMA sees exactly the space's mappings. Called with
     * the endpoint in no space. -EXDEV: this endpoint cannot share this space (another may be
     * tried); -EBUSY: its group is elsewhere (UNSUPP for the guest); else -errno. Nothing has
     * changed then.
     */
    int (*attach)(struct host_space *space, struct host_endpoint *ep);

    /* Takes ep out; on return its DMA reaches none of the space's mappings. Cannot fail. */
    void (*detach)(struct host_space *space, struct host_endpoint *ep);

    /*
     * Maps; visible to every endpoint of the space on return. -ENOSPC or -ENOMEM when the host's
     * limit is reached (NOMEM for the guest), else -errno. Nothing has changed then.
     */
    int (*map)(struct host_space *space, struct range iova, const struct map_source *source,
               unsigned prot);

    /*
     * Removes every mapping within `iova`, which splits none and may have holes: one or more
     * UNMAPs, and several mappings of each; `bytes` is their size in all (0 stands for 2^64), for
     * the driver to check against the host's answer. On return no endpoint reaches them: the guest
     * is told only then. Must not fail: a driver whose host refuses has to make the endpoints lose
     * access in another way, and log it.
     */
    void (*unmap)(struct host_space *space, struct range iova, uint64_t bytes);

    /*
     * Unattached endpoint or bypass vdomain: gives `ep`, which is in no space, the whole guest one
     * to one, or takes that away (cannot fail then). Only with HOST_CAP_BYPASS.
     */
    int (*bypass)(struct host_endpoint *ep, bool on);
};

#endif
