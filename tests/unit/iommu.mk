# SPDX-License-Identifier: GPL-2.0-only
#
# The VFIO drivers on a kernel of their own (tests/support/model_vfio.h).
if HAVE_CUNIT
check_LIBRARIES += tests/support/libvfio_rig.a
tests_support_libvfio_rig_a_SOURCES = \
	tests/support/model_vfio.c tests/support/model_vfio.h \
	tests/support/vfio_rig.c tests/support/vfio_rig.h
tests_support_libvfio_rig_a_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)

IOMMU_TESTS = tests/unit/test_vfio tests/unit/test_iommufd tests/unit/test_companion \
	tests/unit/test_host_faults
check_PROGRAMS += $(IOMMU_TESTS)
TESTS += $(IOMMU_TESTS)
IOMMU_TEST_LIBS = tests/support/libvfio_rig.a $(VIOMMU_TEST_LIBS)

tests_unit_test_vfio_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_vfio_LDADD = $(IOMMU_TEST_LIBS)
tests_unit_test_iommufd_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_iommufd_LDADD = $(IOMMU_TEST_LIBS)
tests_unit_test_host_faults_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_host_faults_LDADD = $(IOMMU_TEST_LIBS)
# viommuctl's half of endpoint open-fd.
tests_unit_test_companion_SOURCES = tests/unit/test_companion.c \
	backend/daemon/ctl_client.h backend/daemon/ctl_companion.c backend/daemon/ctl_print.c
tests_unit_test_companion_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_companion_LDADD = tests/support/libut.a common/libcommon.a $(JANSSON_LIBS) \
	$(CUNIT_LIBS)
endif

# MAP and UNMAP through ring, device and VFIO against the bare ioctls; run in the VFIO lab.
noinst_PROGRAMS += tests/bench/bench_vfio
tests_bench_bench_vfio_SOURCES = tests/bench/bench_vfio.c \
	tests/support/model_vfio.c tests/support/model_vfio.h \
	tests/support/model_space.c tests/support/model_space.h \
	tests/support/replay/guest.c tests/support/replay/guest.h \
	tests/support/replay/requests.c tests/support/replay/requests.h
tests_bench_bench_vfio_LDFLAGS = $(LINK_SERVER)
tests_bench_bench_vfio_LDADD = tests/support/libguest.a backend/daemon/libdevice.a \
	backend/iommu/libiommu.a backend/viommu/libviommu.a backend/virtio/libvirtio.a \
	common/libcommon.a
TESTS += tests/bench_vfio.tap tests/daemon_host.tap
EXTRA_DIST += tests/bench_vfio.tap tests/daemon_host.tap
