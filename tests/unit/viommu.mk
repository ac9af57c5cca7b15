# SPDX-License-Identifier: GPL-2.0-only
if HAVE_CUNIT
check_LIBRARIES += tests/support/libviommu_rig.a
tests_support_libviommu_rig_a_SOURCES = \
	tests/support/model_space.c tests/support/model_space.h \
	tests/support/naive_viommu.c tests/support/naive_viommu.h \
	tests/support/model_host.c tests/support/model_host.h \
	tests/support/state_dump.c tests/support/state_dump.h \
	tests/support/viommu_rig.c tests/support/viommu_rig.h
tests_support_libviommu_rig_a_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)

VIOMMU_TESTS = tests/unit/test_wire tests/unit/test_viommu_config \
	tests/unit/test_viommu_endpoint tests/unit/test_viommu_request \
	tests/unit/test_viommu_attach tests/unit/test_viommu_map tests/unit/test_viommu_unmap \
	tests/unit/test_viommu_host tests/unit/test_viommu_resv tests/unit/test_viommu_fault tests/unit/test_viommu_model \
	tests/unit/test_viommu_batch tests/unit/test_viommu_record \
	tests/unit/test_soft
check_PROGRAMS += $(VIOMMU_TESTS)
TESTS += $(VIOMMU_TESTS)
VIOMMU_TEST_LIBS = tests/support/libviommu_rig.a tests/support/libut.a \
	backend/iommu/libiommu.a backend/viommu/libviommu.a common/libcommon.a \
	$(JANSSON_LIBS) $(CUNIT_LIBS)

tests_unit_test_wire_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_wire_LDADD = $(VIOMMU_TEST_LIBS)
tests_unit_test_viommu_config_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_viommu_config_LDADD = $(VIOMMU_TEST_LIBS)
tests_unit_test_viommu_endpoint_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_viommu_endpoint_LDADD = $(VIOMMU_TEST_LIBS)
tests_unit_test_viommu_request_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_viommu_request_LDADD = $(VIOMMU_TEST_LIBS)
tests_unit_test_viommu_attach_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_viommu_attach_LDADD = $(VIOMMU_TEST_LIBS)
tests_unit_test_viommu_map_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_viommu_map_LDADD = $(VIOMMU_TEST_LIBS)
tests_unit_test_viommu_unmap_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_viommu_unmap_LDADD = $(VIOMMU_TEST_LIBS)
tests_unit_test_viommu_host_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_viommu_host_LDADD = $(VIOMMU_TEST_LIBS)
tests_unit_test_viommu_resv_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_viommu_resv_LDADD = $(VIOMMU_TEST_LIBS)
tests_unit_test_viommu_fault_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_viommu_fault_LDADD = $(VIOMMU_TEST_LIBS)
tests_unit_test_viommu_model_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_viommu_model_LDADD = $(VIOMMU_TEST_LIBS)
tests_unit_test_viommu_batch_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_viommu_batch_LDADD = $(VIOMMU_TEST_LIBS)
tests_unit_test_viommu_record_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_viommu_record_LDADD = $(VIOMMU_TEST_LIBS)
tests_unit_test_soft_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_soft_LDADD = $(VIOMMU_TEST_LIBS)

# Both halves of the core, with allocations that fail (-Wl,--wrap).
check_PROGRAMS += tests/unit/test_no_memory
TESTS += tests/unit/test_no_memory
tests_unit_test_no_memory_SOURCES = tests/unit/test_no_memory.c $(RING_WORLD)
tests_unit_test_no_memory_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_no_memory_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=malloc -Wl,--wrap=calloc \
	-Wl,--wrap=free -Wl,--wrap=getrandom
tests_unit_test_no_memory_LDADD = tests/support/libguest.a backend/virtio/libvirtio.a \
	$(VIOMMU_TEST_LIBS)

# Every clause's test that docs/conformance.md names must exist.
TESTS += tests/check-conformance
endif
dist_check_SCRIPTS += tests/check-conformance
EXTRA_DIST += docs/conformance.md
