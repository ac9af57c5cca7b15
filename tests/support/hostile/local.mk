# SPDX-License-Identifier: GPL-2.0-only
# A guest that attacks, and one beside it that must not notice.
if HAVE_XEN
noinst_PROGRAMS += tests/support/hostile-guest tests/support/steady-guest
tests_support_hostile_guest_SOURCES = \
	tests/support/hostile/main.c tests/support/hostile/hostile.h \
	tests/support/hostile/ring.c tests/support/hostile/setup.c \
	tests/support/hostile/control.c tests/support/hostile/volume.c \
	tests/support/guest/frontend.c tests/support/guest/frontend.h
tests_support_hostile_guest_CFLAGS = $(AM_CFLAGS) $(XEN_CFLAGS)
tests_support_hostile_guest_LDADD = tests/support/fakexen/libfxguest.a common/libcommon.a \
	$(XEN_LIBS) $(JANSSON_LIBS) -lpthread

tests_support_steady_guest_SOURCES = tests/support/hostile/steady.c \
	tests/support/guest/frontend.c tests/support/guest/frontend.h
tests_support_steady_guest_CFLAGS = $(AM_CFLAGS) $(XEN_CFLAGS)
tests_support_steady_guest_LDADD = tests/support/fakexen/libfxguest.a common/libcommon.a \
	$(XEN_LIBS) $(JANSSON_LIBS)
endif
