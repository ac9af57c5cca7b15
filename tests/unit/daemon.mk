# SPDX-License-Identifier: GPL-2.0-only
if HAVE_CUNIT
DAEMON_TESTS = tests/unit/test_device tests/unit/test_recover tests/unit/test_statefile
check_PROGRAMS += $(DAEMON_TESTS)
TESTS += $(DAEMON_TESTS)
DEVICE_TEST_LIBS = tests/support/libut.a tests/support/libguest.a backend/daemon/libdevice.a \
	backend/iommu/libiommu.a backend/viommu/libviommu.a backend/virtio/libvirtio.a \
	common/libcommon.a $(CUNIT_LIBS)

tests_unit_test_device_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_device_LDADD = $(DEVICE_TEST_LIBS)

tests_unit_test_statefile_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_statefile_LDADD = $(DEVICE_TEST_LIBS)

# The state file's objects anew, with a hook before and after each write.
tests_unit_test_recover_SOURCES = tests/unit/test_recover.c \
	tests/support/state_dump.c tests/support/state_dump.h \
	backend/daemon/statefile.c backend/daemon/statefile_read.c
tests_unit_test_recover_CPPFLAGS = $(AM_CPPFLAGS) -DSTATEFILE_TEST_HOOK
tests_unit_test_recover_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_recover_LDADD = $(DEVICE_TEST_LIBS)
endif

# Supervisor and worker: what is pure of them.
if HAVE_CUNIT
PROCESS_TESTS = tests/unit/test_msg tests/unit/test_options tests/unit/test_statestore
check_PROGRAMS += $(PROCESS_TESTS)
TESTS += $(PROCESS_TESTS)
PROCESS_TEST_LIBS = tests/support/libut.a backend/daemon/libdaemon.a \
	xenstore/libviommu_xenstore.a common/libcommon.a $(JANSSON_LIBS) $(CUNIT_LIBS)

tests_unit_test_msg_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_msg_LDADD = $(PROCESS_TEST_LIBS)
tests_unit_test_statestore_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_statestore_LDADD = $(PROCESS_TEST_LIBS)
tests_unit_test_options_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_options_LDADD = $(PROCESS_TEST_LIBS)
endif

if HAVE_CUNIT
check_PROGRAMS += tests/unit/test_broker
TESTS += tests/unit/test_broker
tests_unit_test_broker_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_broker_LDADD = tests/support/libut.a backend/platform/libbroker.a \
	common/libcommon.a $(CUNIT_LIBS)
endif

# Attacks on the worker's sandbox, from inside. A sanitizer's run-time does what a sandbox forbids.
if HAVE_CUNIT
if !SANITIZERS
check_PROGRAMS += tests/unit/test_sandbox
TESTS += tests/unit/test_sandbox
tests_unit_test_sandbox_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_sandbox_LDADD = tests/support/libut.a backend/daemon/libdaemon.a \
	common/libcommon.a $(SECCOMP_LIBS) $(CUNIT_LIBS)
endif
endif
