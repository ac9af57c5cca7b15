# SPDX-License-Identifier: GPL-2.0-only
noinst_LIBRARIES += common/libcommon.a
common_libcommon_a_SOURCES = \
	common/compiler.h \
	common/range.h \
	common/le.h \
	common/imap.c common/imap.h common/imap_priv.h \
	common/imap_split.c common/imap_cut.c common/imap_check.c \
	common/idmap.c common/idmap.h \
	common/loop.c common/loop.h \
	common/log.c common/log.h \
	common/strutil.c common/strutil.h \
	common/ctl.c common/ctl.h common/ctl_client.c common/ctl_server.c \
	common/ctl_frame.c common/ctl_frame.h \
	common/notify.c common/notify.h
common_libcommon_a_CFLAGS = $(COMPILE_SERVER)
