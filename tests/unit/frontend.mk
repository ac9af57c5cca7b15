# SPDX-License-Identifier: GPL-2.0-only
# The part of the Linux module that knows no kernel, in user space.
if HAVE_CUNIT
check_PROGRAMS += tests/unit/test_mirror
TESTS += tests/unit/test_mirror
tests_unit_test_mirror_SOURCES = tests/unit/test_mirror.c tests/unit/mirror_shim.h \
	frontend/linux/mirror.c frontend/linux/mirror.h
# mirror.c is the kernel's: it knows no config.h, so the C library is told here.
tests_unit_test_mirror_CPPFLAGS = $(AM_CPPFLAGS) -I$(srcdir)/tests/unit -D_GNU_SOURCE
tests_unit_test_mirror_CFLAGS = $(AM_CFLAGS) $(CUNIT_CFLAGS)
tests_unit_test_mirror_LDADD = tests/support/libut.a $(CUNIT_LIBS)
endif

# The kernel modules are built by Kbuild, never by this Makefile.
EXTRA_DIST += frontend/linux/Kbuild frontend/linux/Makefile frontend/linux/README.md \
	frontend/linux/dkms.conf frontend/linux/compat.h frontend/linux/vx.h \
	frontend/linux/main.c frontend/linux/transport.c frontend/linux/connect.c \
	frontend/linux/relay.c frontend/linux/mirror.c frontend/linux/mirror.h \
	frontend/linux/grants.c frontend/linux/gmap.c frontend/linux/endpoints.c \
	frontend/linux/virtio_iommu/Kbuild \
	tests/kmod/Kbuild tests/kmod/Makefile tests/kmod/viommu_test.c tests/kmod/viommu_vfio.c
