/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What both VFIO drivers must know of a host device, from sysfs: its group, its reserved regions,
 * and whether the kernel can let go of pinned grant pages.
 */
#ifndef VIOMMU_BACKEND_IOMMU_HOST_DEVICE_H
#define VIOMMU_BACKEND_IOMMU_HOST_DEVICE_H

#include "backend/iommu/kernel_ops.h"
#include "backend/viommu/viommu.h"

#define HOST_DEVICE_NAME_SIZE 40
#define HOST_DEVICE_MAX_RESV  64
#define HOST_SYSFS_SIZE       80
#define HOST_PATH_SIZE        128

struct host_device {
    char name[HOST_DEVICE_NAME_SIZE]; /* PCI address, or UUID of an mdev */
    char sysfs[HOST_SYSFS_SIZE];
    bool emulated; /* a mediated device: no IOMMU of the host stands behind its group */
    unsigned group;
};

/* Finds device and group. -ENODEV, -ENAMETOOLONG or another -errno, with a reason. */
MUST_CHECK int host_device_find(const struct kernel *k, const char *name, struct host_device *out,
                                char *why, size_t why_size);

/* Disjoint regions, at most one of them an MSI window. */
struct host_resv {
    struct viommu_resv regions[HOST_DEVICE_MAX_RESV];
    size_t n;
};

/*
 * Reserves a range: what of it is not reserved yet. An MSI window is one piece or none, and the
 * only one; it is reserved as an ordinary region otherwise. -E2BIG, and unchanged, when there are
 * too many regions; -EINVAL for an inverted range.
 */
MUST_CHECK int host_resv_add(struct host_resv *resv, struct range range, uint8_t subtype);

/*
 * The reserved regions of a group (sysfs): `msi` is an MSI window, `direct` (memory that the
 * firmware wants mapped one to one) makes the device unfit (-EPERM), all else is reserved.
 */
MUST_CHECK int host_resv_read(const struct kernel *k, unsigned group, struct host_resv *out,
                              char *why, size_t why_size);

/*
 * From the ranges that the host can translate (ascending, disjoint): the aperture from the first
 * to the last address, and the holes between them reserved. No ranges: -EINVAL.
 */
MUST_CHECK int host_resv_add_holes(struct host_resv *resv, const struct range *ranges, size_t n,
                                   struct range *aperture_out);

/*
 * Are grants mapped into ZONE_DEVICE placeholder pages here? VFIO type1 never unpins such pages
 * (they are PG_reserved), so a grant that a device has had mapped could not be given back. The
 * kernel names the placeholders' region when it first needs them: false before the first grant is
 * mapped.
 */
bool host_pins_leak(const struct kernel *k);

/* A pipe that hangs up at the far end when this end is closed. Zero descriptors are -1. */
struct lifeline {
    int theirs, ours;
};
#define LIFELINE_NONE ((struct lifeline){-1, -1})
MUST_CHECK int lifeline_open(const struct kernel *k, struct lifeline *line); /* once; 0 if open */
void lifeline_cut(const struct kernel *k, struct lifeline *line);

/*
 * The errno that a map or replay may report for one that the kernel gave: limits stay what they
 * are, everything else is the host's failure.
 */
int host_map_errno(int r);

#endif
