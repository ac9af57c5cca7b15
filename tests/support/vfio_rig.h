/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The test bench of viommu_rig.h with a VFIO driver and a kernel of model_vfio.h under it: what the
 * host has is compared with the device's tables, and failures are injected at every call.
 */
#ifndef VIOMMU_TESTS_VFIO_RIG_H
#define VIOMMU_TESTS_VFIO_RIG_H

#include "backend/iommu/driver.h"
#include "tests/support/model_vfio.h"
#include "tests/support/viommu_rig.h"

struct vfio_rig {
    struct rig rig;
    struct model_kernel k;
    const struct iommu_driver *driver;
    struct iommu_host *host;
    struct iommu_options options;
    struct host_endpoint *ep[MODEL_DEVICES]; /* of endpoint 8 + index */
    unsigned blocked;                        /* bit per device: it must reach nothing */
    char why[256];
};

/* A device without MMIO and BYPASS_CONFIG, and a kernel without devices. */
bool vfio_rig_start(struct vfio_rig *t, const struct iommu_driver *driver);

/*
 * The same with devices 0 and 1 of the model in groups of their own and 2 in group 0's; and with
 * the first n of them added.
 */
bool vfio_rig_start_three(struct vfio_rig *t, const struct iommu_driver *driver);
bool vfio_rig_start_with(struct vfio_rig *t, const struct iommu_driver *driver, size_t n);

/* On a started rig: two devices in groups of their own, added; memory in pieces of a page. */
bool vfio_rig_two_groups(struct vfio_rig *t);

/* Removes all endpoints and asserts that nothing is left open, mapped or pinned. */
void vfio_rig_stop(struct vfio_rig *t);

/* Opens device `index` of the model and adds it as endpoint 8 + index: 0 or -errno and why. */
int vfio_rig_open(struct vfio_rig *t, size_t index);
int vfio_rig_add(struct vfio_rig *t, size_t index);
void vfio_rig_remove(struct vfio_rig *t, size_t index);

/*
 * UNMAPs of n ranges of `size` bytes, one behind the other from `first` on, in one batch: OK, or
 * the first other status.
 */
int vfio_rig_unmap_batch(struct vfio_rig *t, uint32_t vdomain, uint64_t first, uint64_t size,
                         unsigned n);

/*
 * Maps: single pages, pairs of them, holes between, all accesses, and one that is in the table
 * only. With access: VFIO_RIG_FILLED, one in every four pages from 0 on.
 */
void vfio_rig_fill(struct vfio_rig *t, uint32_t vdomain);
#define VFIO_RIG_FILLED 12

/* Requests about what vfio_rig_fill has made in vdomain 1, for a sweep. */
int vfio_rig_map_some(struct vfio_rig *t);         /* three pages, where nothing is */
int vfio_rig_unmap_some(struct vfio_rig *t);       /* nine mappings */
int vfio_rig_unmap_some_batch(struct vfio_rig *t); /* the same by nine requests in one batch */
int vfio_rig_detach_first(struct vfio_rig *t);     /* endpoint 8 */
int vfio_rig_reset(struct vfio_rig *t);

/* Device, pins and kernel as one text (malloc). */
char *vfio_rig_dump(struct vfio_rig *t);

void vfio_rig_check(struct vfio_rig *t, const char *file, int line);
#define VFIO_CHECK(t) vfio_rig_check((t), __FILE__, __LINE__)

/* Asserts that `request` gets `status` and changes nothing anywhere. */
#define VFIO_REFUSED(t, request, status)  \
    do {                                  \
        char *before_ = vfio_rig_dump(t); \
        UT_EQ((request), (status));       \
        char *after_ = vfio_rig_dump(t);  \
        UT_STR(after_, before_);          \
        free(before_);                    \
        free(after_);                     \
        VFIO_CHECK(t);                    \
    } while (0)

/* What a failed call has to lead to. */
enum vfio_outcome {
    VFIO_REFUSES, /* the request fails and nothing has changed */
    VFIO_BLOCKS,  /* the request is carried out, the failing device reaches nothing any more */
    VFIO_IGNORES, /* the request is carried out as if nothing had been */
};

struct vfio_sweep {
    const char *name;
    bool (*setup)(struct vfio_rig *t); /* after vfio_rig_start */
    int (*request)(struct vfio_rig *t);
    enum model_call call;
    enum vfio_outcome outcome;
};

/*
 * Runs the request on a fresh rig with EINVAL, ENOMEM, ENOSPC, EEXIST and EBUSY (and a short
 * answer, for unmaps) at the first, second, ... call of its kind, until it is not reached any
 * more. Asserts status, outcome, and that host, pins and table agree. Returns how many failures
 * were injected.
 */
unsigned vfio_rig_sweep(struct vfio_rig *t, const struct iommu_driver *driver,
                        const struct vfio_sweep *sweep);

/* The log as a text, from vfio_log_begin on. */
void vfio_log_begin(void);
const char *vfio_log_end(void);

#endif
