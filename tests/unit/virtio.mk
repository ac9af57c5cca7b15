# SPDX-License-Identifier: GPL-2.0-only
#
# The guest's side in a test's own process: a grant table and a ring driver. Also for the replay
# tool, fuzzers and benchmarks.
noinst_LIBRARIES += tests/support/libguest.a
tests_support_libguest_a_SOURCES = \
	tests/support/fake_grants.c tests/support/fake_grants.h \
	tests/support/guest_ring.c tests/support/guest_ring.h

noinst_PROGRAMS += tests/bench/bench_ring
tests_bench_bench_ring_SOURCES = tests/bench/bench_ring.c
tests_bench_bench_ring_LDADD = tests/support/libguest.a backend/virtio/libvirtio.a

if HAVE_CUNIT
VIRTIO_TESTS = tests/unit/test_gmem tests/unit/test_virtqueue tests/unit/test_virtqueue_packed \
	tests/unit/test_virtqueue_resume tests/unit/test_virtqueue_fence
check_PROGRAMS += $(VIRTIO_TESTS)
TESTS += $(VIRTIO_TESTS)
VIRTIO_TEST_LIBS = tests/support/libut.a tests/support/libguest.a backend/virtio/libvirtio.a \
	$(CUNIT_LIBS)

tests_unit_test_gmem_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_gmem_LDADD = $(VIRTIO_TEST_LIBS)
RING_WORLD = tests/support/ring_world.c tests/support/ring_world.h
RING_ATTACKS = tests/support/ring_attacks.c tests/support/ring_attacks.h
tests_unit_test_virtqueue_SOURCES = tests/unit/test_virtqueue.c $(RING_WORLD) $(RING_ATTACKS)
tests_unit_test_virtqueue_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS) -pthread
tests_unit_test_virtqueue_LDADD = $(VIRTIO_TEST_LIBS) -lpthread
# Both layouts once more, with the driver's hand in their barriers.
tests_unit_test_virtqueue_fence_SOURCES = tests/unit/test_virtqueue_fence.c $(RING_WORLD) \
	backend/virtio/virtqueue_split.c backend/virtio/virtqueue_packed.c
tests_unit_test_virtqueue_fence_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS) \
	-DVIRTQUEUE_TEST_FENCE
tests_unit_test_virtqueue_fence_LDADD = $(VIRTIO_TEST_LIBS)
tests_unit_test_virtqueue_resume_SOURCES = tests/unit/test_virtqueue_resume.c $(RING_WORLD)
tests_unit_test_virtqueue_resume_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_virtqueue_resume_LDADD = $(VIRTIO_TEST_LIBS)
tests_unit_test_virtqueue_packed_SOURCES = tests/unit/test_virtqueue_packed.c $(RING_WORLD) \
	$(RING_ATTACKS)
tests_unit_test_virtqueue_packed_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS) -pthread
tests_unit_test_virtqueue_packed_LDADD = $(VIRTIO_TEST_LIBS) -lpthread
endif
