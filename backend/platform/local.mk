# SPDX-License-Identifier: GPL-2.0-only
#
# The daemon links libplatform_xen.a only; libplatform_fakexen.a is for tests and the demo's daemon.
noinst_LIBRARIES += backend/platform/libbroker.a
backend_platform_libbroker_a_SOURCES = backend/platform/broker.c backend/platform/broker.h \
	backend/platform/broker_windows.c backend/platform/broker_windows.h

if HAVE_XEN
noinst_LIBRARIES += backend/platform/libplatform_xen.a backend/platform/libplatform_fakexen.a
backend_platform_libplatform_xen_a_SOURCES = \
	backend/platform/platform.h \
	backend/platform/xen.c \
	backend/platform/xen_broker.c backend/platform/xen_broker.h \
	backend/platform/xen_gntdev.c backend/platform/xen_gntdev.h
backend_platform_libplatform_xen_a_CFLAGS = $(AM_CFLAGS) $(XEN_CFLAGS)

backend_platform_libplatform_fakexen_a_SOURCES = \
	backend/platform/platform.h \
	backend/platform/fakexen.c \
	tests/support/fakexen/fx_proto.h \
	tests/support/fakexen/fx_client.c tests/support/fakexen/fx_client.h
endif
