# SPDX-License-Identifier: GPL-2.0-only
#
# Unit tests: one CUnit program per module, tests/unit/test_X.c. Each folder's tests are listed
# where they are built, so that a newcomer finds the libraries a test needs beside its name.
if HAVE_CUNIT
check_LIBRARIES += tests/support/libut.a
tests_support_libut_a_SOURCES = tests/support/ut.c tests/support/ut.h
tests_support_libut_a_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
endif

include tests/unit/common.mk
include tests/unit/virtio.mk
include tests/unit/viommu.mk
include tests/unit/iommu.mk
include tests/unit/platform.mk
include tests/unit/xenstore.mk
include tests/unit/daemon.mk
include tests/unit/frontend.mk
include tests/support/local.mk
include tests/support/replay/local.mk
include tests/fuzz/local.mk

# Proofs about the source tree itself.
TESTS += tests/includes.tap
EXTRA_DIST += tests/includes.tap

# The whole daemon on fakexen.
TESTS += tests/daemon_basic.tap tests/daemon_trouble.tap tests/daemon_packed.tap tests/recovery.tap tests/xenstore_lost.tap \
	tests/endpoints.tap
EXTRA_DIST += tests/daemon_basic.tap tests/daemon_trouble.tap tests/daemon_packed.tap tests/recovery.tap tests/xenstore_lost.tap \
	tests/endpoints.tap tests/support/daemon.sh

# State in a service manager's descriptor store.
noinst_PROGRAMS += tests/support/fdkeeper
tests_support_fdkeeper_SOURCES = tests/support/fdkeeper.c
TESTS += tests/fdstore.tap
EXTRA_DIST += tests/fdstore.tap

# A host that fails.
TESTS += tests/host_faults.tap
EXTRA_DIST += tests/host_faults.tap

# What a worker may not do, and what it costs; the attacks themselves are unit tests.
TESTS += tests/sandbox.tap tests/broker.tap tests/unit-file.tap
EXTRA_DIST += tests/sandbox.tap tests/broker.tap tests/unit-file.tap

# A guest that attacks, and another one that must not notice.
TESTS += tests/hostile_ring.tap tests/hostile_setup.tap tests/hostile_end.tap tests/hostile_volume.tap
EXTRA_DIST += tests/hostile_ring.tap tests/hostile_setup.tap tests/hostile_end.tap \
	tests/hostile_volume.tap tests/support/hostile.sh
