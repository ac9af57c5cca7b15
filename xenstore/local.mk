# SPDX-License-Identifier: GPL-2.0-only
#
# Only xs.c needs libxenstore. A static library: a program that uses config.h alone (the worker)
# gets config*.o and fields.o, and no Xen library.
noinst_LIBRARIES += xenstore/libviommu_xenstore.a
xenstore_libviommu_xenstore_a_SOURCES = \
	xenstore/paths.h \
	xenstore/fields.c xenstore/fields.h \
	xenstore/config.c xenstore/config_frontend.c xenstore/config.h \
	xenstore/xenbus.c xenstore/xenbus.h \
	xenstore/device.h \
	xenstore/xsc.c xenstore/xs.h \
	xenstore/snapshot.c xenstore/snapshot.h \
	xenstore/discover.c xenstore/discover.h \
	xenstore/publish.c xenstore/publish.h
xenstore_libviommu_xenstore_a_CFLAGS = $(AM_CFLAGS)
if HAVE_XEN
xenstore_libviommu_xenstore_a_SOURCES += xenstore/xs.c
xenstore_libviommu_xenstore_a_CFLAGS += $(XEN_CFLAGS)
endif
