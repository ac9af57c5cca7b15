# SPDX-License-Identifier: GPL-2.0-only
if HAVE_CUNIT
DAEMON_TESTS = tests/unit/test_device
check_PROGRAMS += $(DAEMON_TESTS)
TESTS += $(DAEMON_TESTS)
DEVICE_TEST_LIBS = tests/support/libut.a tests/support/libguest.a backend/daemon/libdevice.a \
	backend/iommu/libiommu.a backend/viommu/libviommu.a backend/virtio/libvirtio.a \
	common/libcommon.a $(CUNIT_LIBS)

tests_unit_test_device_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_device_LDADD = $(DEVICE_TEST_LIBS)
endif
