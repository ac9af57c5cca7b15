# SPDX-License-Identifier: GPL-2.0-only
noinst_LIBRARIES += backend/iommu/libiommu.a
backend_iommu_libiommu_a_SOURCES = \
	backend/iommu/driver.h \
	backend/iommu/kernel_ops.c backend/iommu/kernel_ops.h \
	backend/iommu/host_device.c backend/iommu/host_device.h \
	backend/iommu/ioctls.c backend/iommu/ioctls.h \
	backend/iommu/soft.c backend/iommu/soft.h \
	backend/iommu/vfio.c backend/iommu/vfio.h \
	backend/iommu/iommufd.c backend/iommu/iommufd.h backend/iommu/iommufd_uapi.h
backend_iommu_libiommu_a_CFLAGS = $(COMPILE_SERVER)
