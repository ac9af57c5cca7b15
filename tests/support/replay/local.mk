# SPDX-License-Identifier: GPL-2.0-only
#
# The replay tool: built by plain make, without Xen and CUnit, because it is a tool and not a test.
noinst_PROGRAMS += tests/support/viommu-replay
tests_support_viommu_replay_SOURCES = \
	tests/support/replay/main.c \
	tests/support/replay/exec.c tests/support/replay/exec.h \
	tests/support/replay/guest.c tests/support/replay/guest.h \
	tests/support/replay/options.c tests/support/replay/options.h \
	tests/support/replay/requests.c tests/support/replay/requests.h \
	tests/support/replay/script.c tests/support/replay/script.h
tests_support_viommu_replay_LDADD = \
	tests/support/libguest.a \
	backend/daemon/libdevice.a \
	backend/iommu/libiommu.a \
	backend/viommu/libviommu.a \
	backend/virtio/libvirtio.a \
	common/libcommon.a

TESTS += tests/replay.tap
EXTRA_DIST += tests/replay.tap
