# SPDX-License-Identifier: GPL-2.0-only
if HAVE_CUNIT
COMMON_TESTS = tests/unit/test_range tests/unit/test_imap tests/unit/test_imap_small \
	tests/unit/test_idmap tests/unit/test_loop tests/unit/test_log tests/unit/test_strutil \
	tests/unit/test_ctl tests/unit/test_notify
check_PROGRAMS += $(COMMON_TESTS)
TESTS += $(COMMON_TESTS)
COMMON_TEST_LIBS = tests/support/libut.a common/libcommon.a $(JANSSON_LIBS) $(CUNIT_LIBS)

tests_unit_test_range_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_range_LDADD = $(COMMON_TEST_LIBS)
# --wrap hands the allocations of the code under test to the test, which lets them fail.
tests_unit_test_imap_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_imap_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=malloc
tests_unit_test_imap_LDADD = $(COMMON_TEST_LIBS)
# The same test on trees of tiny nodes: many levels, every kind of split and merge.
tests_unit_test_imap_small_SOURCES = tests/unit/test_imap.c common/imap.c common/imap_split.c \
	common/imap_cut.c common/imap_check.c
tests_unit_test_imap_small_CPPFLAGS = $(AM_CPPFLAGS) -DLEAF_CAP=4u -DINNER_CAP=4u
tests_unit_test_imap_small_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_imap_small_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=malloc
tests_unit_test_imap_small_LDADD = tests/support/libut.a $(CUNIT_LIBS)
tests_unit_test_idmap_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_idmap_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=calloc -Wl,--wrap=getrandom
tests_unit_test_idmap_LDADD = $(COMMON_TEST_LIBS)
tests_unit_test_loop_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_loop_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=clock_gettime -Wl,--wrap=epoll_wait
tests_unit_test_loop_LDADD = $(COMMON_TEST_LIBS)
tests_unit_test_log_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_log_LDADD = $(COMMON_TEST_LIBS)
tests_unit_test_strutil_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_strutil_LDADD = $(COMMON_TEST_LIBS)
tests_unit_test_ctl_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_ctl_LDADD = $(COMMON_TEST_LIBS)
tests_unit_test_notify_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_notify_LDADD = $(COMMON_TEST_LIBS)
endif

# Numbers for docs and reviews; not run by make check.
noinst_PROGRAMS += tests/bench/bench_imap
tests_bench_bench_imap_SOURCES = tests/bench/bench_imap.c
tests_bench_bench_imap_LDADD = common/libcommon.a
