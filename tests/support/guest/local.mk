# SPDX-License-Identifier: GPL-2.0-only
if HAVE_XEN
noinst_PROGRAMS += tests/support/scripted-guest
tests_support_scripted_guest_SOURCES = \
	tests/support/guest/main.c \
	tests/support/guest/frontend.c tests/support/guest/frontend.h
tests_support_scripted_guest_CFLAGS = $(AM_CFLAGS) $(XEN_CFLAGS)
tests_support_scripted_guest_LDADD = tests/support/fakexen/libfxguest.a common/libcommon.a \
	$(XEN_LIBS) $(JANSSON_LIBS)
endif
