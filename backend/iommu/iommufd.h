/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The iommufd driver: one IOAS per space, which endpoints of any group share; the worker's one
 * /dev/iommu holds them all. Devices are opened as VFIO character devices. An endpoint that moves
 * is detached from one IOAS and attached to another; nothing is replayed.
 */
#ifndef VIOMMU_BACKEND_IOMMU_IOMMUFD_H
#define VIOMMU_BACKEND_IOMMU_IOMMUFD_H

#include "backend/iommu/driver.h"

/* Capabilities: as vfio_driver. */
extern const struct iommu_driver iommufd_driver;

#endif
