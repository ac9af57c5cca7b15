/* SPDX-License-Identifier: GPL-2.0-only */
/* Every request that the host IOMMU drivers pass to kernel_ops.h's ioctl. */
#ifndef VIOMMU_BACKEND_IOMMU_IOCTLS_H
#define VIOMMU_BACKEND_IOMMU_IOCTLS_H

#include "common/ioctl_list.h"

/* tests/sandbox.tap fails for a request in vfio.c or iommufd.c that is not in it. */
extern const struct ioctl_list iommu_ioctls;

#endif
