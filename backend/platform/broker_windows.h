/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The worker's side of mapping through a broker (broker.h), the same on all platforms: windows in
 * as few messages as hold them. What a window is made of is the platform's.
 */
#ifndef VIOMMU_BACKEND_PLATFORM_BROKER_WINDOWS_H
#define VIOMMU_BACKEND_PLATFORM_BROKER_WINDOWS_H

#include "backend/platform/broker.h"
#include "backend/virtio/grants.h"

/* The first member of the struct platform that uses broker_grants. */
struct broker_windows {
    const struct broker_window_ops *ops;
    int sock; /* -1: no broker */
};

struct broker_window_ops {
    bool words; /* the broker's answer has a word for each page */
    /* What a status of the broker means as one of grant_ops.map. */
    int (*error)(int status);
    /*
     * Maps what the broker has recorded, and remembers it: 0 or -errno as grant_ops.map. `fd` came
     * with the answer and is not the callee's; -1: none did.
     */
    int (*add)(struct broker_windows *b, const struct broker_want *want, int fd, void **addr_out);
    /* Unmaps and forgets what add gave: its id at the broker. False, logged: it never did. */
    bool (*remove)(struct broker_windows *b, void *addr, size_t n_pages, uint32_t *id_out);
};

/*
 * The context is a struct broker_windows. There is no copy: the hypervisor's call for that names a
 * domain, too, and mapping for the time of a copy does as well.
 */
extern const struct grant_ops broker_grants;

#endif
