/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The soft host IOMMU driver: endpoints whose DMA this process carries out itself. It keeps no
 * tables of its own, every access is translated by the device's.
 */
#ifndef VIOMMU_BACKEND_IOMMU_SOFT_H
#define VIOMMU_BACKEND_IOMMU_SOFT_H

#include "backend/viommu/viommu.h"

/* A driver without functions; what its endpoints can do is SOFT_IOMMU_CAPS. */
extern const struct host_iommu_ops soft_iommu_ops;
#define SOFT_IOMMU_CAPS ((unsigned)HOST_CAP_MMIO | (unsigned)HOST_CAP_BYPASS)

/*
 * One DMA access of `len` bytes at `iova` by a soft endpoint: into guest memory from `buf` if
 * `write`, else out of it. The whole access is translated before a byte is copied.
 *
 * 0; -EINVAL for no bytes; -ENOENT for an unknown endpoint; -EACCES for an access that the device
 * refuses: nothing was copied, a fault report was queued (or lost and counted), and *fault_out
 * (may be NULL) tells its first faulting byte. Another -errno: guest memory could not be reached
 * although the tables allow it; a prefix of the access may have been copied then, and a
 * report (UNKNOWN) was queued too. Blocks no longer than the guest_space calls do.
 */
MUST_CHECK int soft_dma(struct viommu *v, uint32_t endpoint, uint64_t iova, void *buf, size_t len,
                        bool write, struct viommu_fault *fault_out);

#endif
