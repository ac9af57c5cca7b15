# SPDX-License-Identifier: GPL-2.0-only
if HAVE_CUNIT
COMMON_TESTS = tests/unit/test_range tests/unit/test_imap tests/unit/test_idmap \
	tests/unit/test_loop tests/unit/test_log tests/unit/test_strutil tests/unit/test_ctl
check_PROGRAMS += $(COMMON_TESTS)
TESTS += $(COMMON_TESTS)
COMMON_TEST_LIBS = tests/support/libut.a common/libcommon.a $(JANSSON_LIBS) $(CUNIT_LIBS)

tests_unit_test_range_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_range_LDADD = $(COMMON_TEST_LIBS)
tests_unit_test_imap_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_imap_LDADD = $(COMMON_TEST_LIBS)
tests_unit_test_idmap_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_idmap_LDADD = $(COMMON_TEST_LIBS)
tests_unit_test_loop_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_loop_LDADD = $(COMMON_TEST_LIBS)
tests_unit_test_log_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_log_LDADD = $(COMMON_TEST_LIBS)
tests_unit_test_strutil_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_strutil_LDADD = $(COMMON_TEST_LIBS)
tests_unit_test_ctl_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_ctl_LDADD = $(COMMON_TEST_LIBS)
endif
