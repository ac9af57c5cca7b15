/* SPDX-License-Identifier: GPL-2.0-only */
/* What a worker may ask of VFIO and iommufd (ioctls.h): the drivers' requests and no others. */
#include <config.h>

#include "backend/iommu/ioctls.h"

#include <linux/vfio.h>

#include "backend/iommu/iommufd_uapi.h"
#include "common/compiler.h"

static const unsigned long requests[] = {
    /* container */
    VFIO_GET_API_VERSION,
    VFIO_CHECK_EXTENSION,
    VFIO_SET_IOMMU,
    VFIO_IOMMU_GET_INFO,
    VFIO_IOMMU_MAP_DMA,
    VFIO_IOMMU_UNMAP_DMA,
    /* group */
    VFIO_GROUP_GET_STATUS,
    VFIO_GROUP_SET_CONTAINER,
    VFIO_GROUP_UNSET_CONTAINER,
    VFIO_GROUP_GET_DEVICE_FD,
    /* device */
    VFIO_DEVICE_RESET,
    UFD_VFIO_BIND,
    UFD_VFIO_ATTACH,
    UFD_VFIO_DETACH,
    /* /dev/iommu */
    UFD_DESTROY,
    UFD_IOAS_ALLOC,
    UFD_IOAS_IOVA_RANGES,
    UFD_IOAS_MAP,
    UFD_IOAS_UNMAP,
};

const struct ioctl_list iommu_ioctls = {.requests = requests, .n = ARRAY_SIZE(requests)};
