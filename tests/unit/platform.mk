# SPDX-License-Identifier: GPL-2.0-only
#
# fakexen itself (store, hypervisor, xenstored through the real libxenstore), and both platforms:
# fakexen against its server, xen against link-time mocks of the libraries.
if HAVE_XEN
TESTS += tests/fakexen.tap
dist_check_SCRIPTS += tests/fakexen.tap

if HAVE_CUNIT
PLATFORM_TESTS = tests/unit/test_fakexen_store tests/unit/test_fakexen_hv \
	tests/unit/test_fakexen_xs tests/unit/test_platform_fakexen tests/unit/test_platform_xen
check_PROGRAMS += $(PLATFORM_TESTS)
TESTS += $(PLATFORM_TESTS)
PLATFORM_TEST_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS) $(XEN_CFLAGS)
FX_TEST_LIBS = tests/support/libut.a tests/support/fakexen/libfxguest.a common/libcommon.a \
	$(XEN_LIBS) $(JANSSON_LIBS) $(CUNIT_LIBS)

tests_unit_test_fakexen_store_SOURCES = tests/unit/test_fakexen_store.c \
	tests/support/fakexen/store.c tests/support/fakexen/store.h
tests_unit_test_fakexen_store_CFLAGS = $(PLATFORM_TEST_CFLAGS)
tests_unit_test_fakexen_store_LDADD = tests/support/libut.a common/libcommon.a $(CUNIT_LIBS)

tests_unit_test_fakexen_hv_CFLAGS = $(PLATFORM_TEST_CFLAGS)
tests_unit_test_fakexen_hv_LDADD = $(FX_TEST_LIBS)

tests_unit_test_fakexen_xs_CFLAGS = $(PLATFORM_TEST_CFLAGS)
tests_unit_test_fakexen_xs_LDADD = $(FX_TEST_LIBS)

tests_unit_test_platform_fakexen_CFLAGS = $(PLATFORM_TEST_CFLAGS)
tests_unit_test_platform_fakexen_LDADD = backend/platform/libplatform_fakexen.a backend/platform/libbroker.a $(FX_TEST_LIBS)

# No $(XEN_LIBS): the mock takes their place.
tests_unit_test_platform_xen_SOURCES = tests/unit/test_platform_xen.c \
	tests/support/mock_xenlibs.c tests/support/mock_xenlibs.h
tests_unit_test_platform_xen_CFLAGS = $(PLATFORM_TEST_CFLAGS)
tests_unit_test_platform_xen_LDADD = backend/platform/libplatform_xen.a backend/platform/libbroker.a tests/support/libut.a \
	common/libcommon.a $(CUNIT_LIBS)
endif
endif
