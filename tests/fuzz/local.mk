# SPDX-License-Identifier: GPL-2.0-only
#
# Fuzz targets. Here each is linked with replay_main.c, which runs the corpora and past findings
# under any compiler (tests/fuzz/corpus.tap). scripts/fuzz builds the same programs with clang and
# FUZZ_DEFS=-DFUZZ_LIBFUZZER FUZZ_LINK=-fsanitize=fuzzer: libFuzzer brings its own main.
FUZZ_DEFS =
FUZZ_LINK =

FUZZ_TARGETS = tests/fuzz/fuzz_ring tests/fuzz/fuzz_request tests/fuzz/fuzz_directory \
	tests/fuzz/fuzz_xenbus tests/fuzz/fuzz_msg tests/fuzz/fuzz_imap tests/fuzz/fuzz_config \
	tests/fuzz/fuzz_state tests/fuzz/fuzz_broker tests/fuzz/fuzz_control
check_PROGRAMS += $(FUZZ_TARGETS)
TESTS += tests/fuzz/corpus.tap
dist_check_SCRIPTS += tests/fuzz/corpus.tap

fuzz-programs: $(FUZZ_TARGETS)
.PHONY: fuzz-programs

FUZZ_MAIN = tests/fuzz/replay_main.c tests/fuzz/fuzz.h
FUZZ_GUEST = tests/fuzz/guest.c tests/fuzz/guest.h
FUZZ_FRONTEND = tests/fuzz/frontend.c tests/fuzz/frontend.h $(FUZZ_GUEST)
# The rings' objects anew, with a hook before each load of what the guest can change meanwhile.
FUZZ_RINGS = backend/virtio/virtqueue_split.c backend/virtio/virtqueue_packed.c
FUZZ_RINGS_DEFS = -DVIRTQUEUE_TEST_HOOK
FUZZ_ALL_DEFS = $(AM_CPPFLAGS) $(FUZZ_DEFS)
FUZZ_ALL_LINK = $(AM_LDFLAGS) $(FUZZ_LINK)
FUZZ_DEVICE_LIBS = tests/support/libguest.a backend/daemon/libdevice.a backend/iommu/libiommu.a \
	backend/viommu/libviommu.a backend/virtio/libvirtio.a common/libcommon.a

tests_fuzz_fuzz_ring_SOURCES = tests/fuzz/fuzz_ring.c $(FUZZ_FRONTEND) $(FUZZ_RINGS) $(FUZZ_MAIN)
tests_fuzz_fuzz_ring_CPPFLAGS = $(FUZZ_ALL_DEFS) $(FUZZ_RINGS_DEFS)
tests_fuzz_fuzz_ring_LDFLAGS = $(FUZZ_ALL_LINK)
tests_fuzz_fuzz_ring_LDADD = $(FUZZ_DEVICE_LIBS)

tests_fuzz_fuzz_state_SOURCES = tests/fuzz/fuzz_state.c $(FUZZ_FRONTEND) $(FUZZ_RINGS) \
	tests/support/state_dump.c tests/support/state_dump.h $(FUZZ_MAIN)
tests_fuzz_fuzz_state_CPPFLAGS = $(FUZZ_ALL_DEFS) $(FUZZ_RINGS_DEFS)
tests_fuzz_fuzz_state_LDFLAGS = $(FUZZ_ALL_LINK)
tests_fuzz_fuzz_state_LDADD = $(FUZZ_DEVICE_LIBS)

tests_fuzz_fuzz_directory_SOURCES = tests/fuzz/fuzz_directory.c $(FUZZ_GUEST) $(FUZZ_MAIN)
tests_fuzz_fuzz_directory_CPPFLAGS = $(FUZZ_ALL_DEFS)
tests_fuzz_fuzz_directory_LDFLAGS = $(FUZZ_ALL_LINK)
tests_fuzz_fuzz_directory_LDADD = $(FUZZ_DEVICE_LIBS)

tests_fuzz_fuzz_request_SOURCES = tests/fuzz/fuzz_request.c \
	tests/support/naive_viommu.c tests/support/naive_viommu.h \
	tests/support/model_space.c tests/support/model_space.h \
	tests/support/model_host.c tests/support/model_host.h \
	tests/support/state_dump.c tests/support/state_dump.h $(FUZZ_MAIN)
tests_fuzz_fuzz_request_CPPFLAGS = $(FUZZ_ALL_DEFS)
tests_fuzz_fuzz_request_LDFLAGS = $(FUZZ_ALL_LINK)
tests_fuzz_fuzz_request_LDADD = backend/iommu/libiommu.a backend/viommu/libviommu.a \
	common/libcommon.a

tests_fuzz_fuzz_xenbus_SOURCES = tests/fuzz/fuzz_xenbus.c tests/support/xs_fake.c \
	tests/support/xs_fake.h $(FUZZ_MAIN)
tests_fuzz_fuzz_xenbus_CPPFLAGS = $(FUZZ_ALL_DEFS)
tests_fuzz_fuzz_xenbus_LDFLAGS = $(FUZZ_ALL_LINK)
tests_fuzz_fuzz_xenbus_LDADD = xenstore/libviommu_xenstore.a common/libcommon.a

# The worker's process is not a real one there.
tests_fuzz_fuzz_msg_SOURCES = tests/fuzz/fuzz_msg.c tests/fuzz/sock.h $(FUZZ_MAIN)
tests_fuzz_fuzz_msg_CPPFLAGS = $(FUZZ_ALL_DEFS)
tests_fuzz_fuzz_msg_LDFLAGS = $(FUZZ_ALL_LINK) -Wl,--wrap=worker_spawn -Wl,--wrap=kill \
	-Wl,--wrap=waitpid
tests_fuzz_fuzz_msg_LDADD = backend/daemon/libdaemon.a backend/platform/libbroker.a \
	xenstore/libviommu_xenstore.a \
	common/libcommon.a $(JANSSON_LIBS)

# Trees of tiny nodes, as in test_imap_small: many levels, every kind of split and merge.
tests_fuzz_fuzz_imap_SOURCES = tests/fuzz/fuzz_imap.c common/imap.c common/imap_split.c \
	common/imap_cut.c common/imap_check.c $(FUZZ_MAIN)
tests_fuzz_fuzz_imap_CPPFLAGS = $(FUZZ_ALL_DEFS) -DLEAF_CAP=4u -DINNER_CAP=4u
tests_fuzz_fuzz_imap_LDFLAGS = $(FUZZ_ALL_LINK)
tests_fuzz_fuzz_imap_LDADD =

tests_fuzz_fuzz_config_SOURCES = tests/fuzz/fuzz_config.c $(FUZZ_MAIN)
tests_fuzz_fuzz_config_CPPFLAGS = $(FUZZ_ALL_DEFS)
tests_fuzz_fuzz_config_LDFLAGS = $(FUZZ_ALL_LINK)
tests_fuzz_fuzz_config_LDADD = xenstore/libviommu_xenstore.a common/libcommon.a

tests_fuzz_fuzz_broker_SOURCES = tests/fuzz/fuzz_broker.c tests/fuzz/sock.h $(FUZZ_MAIN)
tests_fuzz_fuzz_broker_CPPFLAGS = $(FUZZ_ALL_DEFS)
tests_fuzz_fuzz_broker_LDFLAGS = $(FUZZ_ALL_LINK)
tests_fuzz_fuzz_broker_LDADD = backend/platform/libbroker.a common/libcommon.a

# supervisor.c is part of the target's own file; workers, listening and xenstore are not real.
tests_fuzz_fuzz_control_SOURCES = tests/fuzz/fuzz_control.c tests/support/xs_fake.c \
	tests/support/xs_fake.h tests/fuzz/sock.h $(FUZZ_MAIN)
tests_fuzz_fuzz_control_CPPFLAGS = $(FUZZ_ALL_DEFS)
tests_fuzz_fuzz_control_LDFLAGS = $(FUZZ_ALL_LINK) -Wl,--wrap=worker_spawn -Wl,--wrap=kill \
	-Wl,--wrap=waitpid -Wl,--wrap=xsc_open -Wl,--wrap=ctl_server_new \
	-Wl,--wrap=ctl_server_free
tests_fuzz_fuzz_control_LDADD = $(DAEMON_LIBS) backend/platform/libbroker.a common/libcommon.a \
	$(JANSSON_LIBS) $(SECCOMP_LIBS)
