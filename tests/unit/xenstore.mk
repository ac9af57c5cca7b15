# SPDX-License-Identifier: GPL-2.0-only
if HAVE_CUNIT
XENSTORE_TESTS = tests/unit/test_xenbus tests/unit/test_config tests/unit/test_discover \
	tests/unit/test_publish tests/unit/test_xs
check_PROGRAMS += $(XENSTORE_TESTS)
TESTS += $(XENSTORE_TESTS)
XENSTORE_TEST_LIBS = tests/support/libut.a xenstore/libviommu_xenstore.a common/libcommon.a \
	$(CUNIT_LIBS)
XENSTORE_FAKE = tests/support/xs_fake.c tests/support/xs_fake.h

tests_unit_test_xenbus_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_xenbus_LDADD = $(XENSTORE_TEST_LIBS)
tests_unit_test_config_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_config_LDADD = $(XENSTORE_TEST_LIBS)
tests_unit_test_discover_SOURCES = tests/unit/test_discover.c $(XENSTORE_FAKE)
tests_unit_test_discover_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_discover_LDADD = $(XENSTORE_TEST_LIBS)
tests_unit_test_publish_SOURCES = tests/unit/test_publish.c $(XENSTORE_FAKE)
tests_unit_test_publish_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_publish_LDADD = $(XENSTORE_TEST_LIBS)
tests_unit_test_xs_SOURCES = tests/unit/test_xs.c $(XENSTORE_FAKE)
tests_unit_test_xs_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_xs_LDADD = $(XENSTORE_TEST_LIBS)
endif
