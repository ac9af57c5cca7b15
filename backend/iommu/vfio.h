/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The VFIO driver for type1 version 2: one container per IOMMU group of the host, held open with
 * the group and its devices for as long as the group has an endpoint here. A space belongs to one
 * group; its mappings are put into the group's container while an endpoint is in it.
 */
#ifndef VIOMMU_BACKEND_IOMMU_VFIO_H
#define VIOMMU_BACKEND_IOMMU_VFIO_H

#include "backend/iommu/driver.h"

/*
 * No HOST_CAP_MMIO: grants of device memory cannot be mapped in a backend domain. No
 * HOST_CAP_BYPASS: an ATTACH to a bypass vdomain is UNSUPP.
 */
extern const struct iommu_driver vfio_driver;

#endif
