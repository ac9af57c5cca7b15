/* SPDX-License-Identifier: GPL-2.0-only */
/* The systemd notification protocol without libsystemd (sd_notify(3)). */
#ifndef VIOMMU_COMMON_NOTIFY_H
#define VIOMMU_COMMON_NOTIFY_H

#include "common/compiler.h"

/*
 * Sends `state` (such as "READY=1\nSTATUS=...") to $NOTIFY_SOCKET, a path or an @abstract name.
 * 0 also when the variable is not set; -errno otherwise. Does not block for long.
 */
int notify_send(const char *state);

/* As above, with a descriptor beside it (FDSTORE=1); -1: none. It stays the caller's. */
int notify_send_fd(const char *state, int passed_fd);

#endif
