# SPDX-License-Identifier: GPL-2.0-only
noinst_LIBRARIES += backend/iommu/libiommu.a
backend_iommu_libiommu_a_SOURCES = \
	backend/iommu/soft.c backend/iommu/soft.h
