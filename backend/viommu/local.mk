# SPDX-License-Identifier: GPL-2.0-only
noinst_LIBRARIES += backend/viommu/libviommu.a
backend_viommu_libviommu_a_SOURCES = \
	backend/viommu/wire.h \
	backend/viommu/guest_space.h \
	backend/viommu/host_iommu.h \
	backend/viommu/viommu_priv.h \
	backend/viommu/viommu.c backend/viommu/viommu.h \
	backend/viommu/request.c \
	backend/viommu/vdomain.c \
	backend/viommu/space.c \
	backend/viommu/endpoint.c \
	backend/viommu/resv.c \
	backend/viommu/probe.c \
	backend/viommu/fault.c \
	backend/viommu/status.c
backend_viommu_libviommu_a_CFLAGS = $(COMPILE_SERVER)
