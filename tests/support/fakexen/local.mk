# SPDX-License-Identifier: GPL-2.0-only
#
# fakexen: hypervisor, xenstored and toolstack for a machine without Xen. Test support and demo;
# never installed. Its xenstored takes the wire format from libxen-dev's header.
if HAVE_XEN
noinst_PROGRAMS += tests/support/fakexen/fakexen tests/support/fakexen/fxl
tests_support_fakexen_fakexen_SOURCES = \
	tests/support/fakexen/main.c \
	tests/support/fakexen/fx_proto.h \
	tests/support/fakexen/hypervisor.c tests/support/fakexen/hypervisor.h \
	tests/support/fakexen/store.c tests/support/fakexen/store.h \
	tests/support/fakexen/stream.c tests/support/fakexen/stream.h \
	tests/support/fakexen/toolstack.c tests/support/fakexen/toolstack.h \
	tests/support/fakexen/xenstored.c tests/support/fakexen/xenstored.h
tests_support_fakexen_fakexen_LDADD = common/libcommon.a $(JANSSON_LIBS)

tests_support_fakexen_fxl_SOURCES = tests/support/fakexen/fxl.c
tests_support_fakexen_fxl_CFLAGS = $(AM_CFLAGS) $(XEN_CFLAGS)
tests_support_fakexen_fxl_LDADD = tests/support/fakexen/libfxguest.a common/libcommon.a \
	$(XEN_LIBS) $(JANSSON_LIBS)

# For the scripted guest and for tests; link with common/libcommon.a $(XEN_LIBS) $(JANSSON_LIBS).
noinst_LIBRARIES += tests/support/fakexen/libfxguest.a
tests_support_fakexen_libfxguest_a_SOURCES = \
	tests/support/fakexen/fx_client.c tests/support/fakexen/fx_client.h \
	tests/support/fakexen/fx_guest.c tests/support/fakexen/fx_guest.h \
	tests/support/fakexen/fx_server.c tests/support/fakexen/fx_server.h
tests_support_fakexen_libfxguest_a_CFLAGS = $(AM_CFLAGS) $(XEN_CFLAGS)
endif
