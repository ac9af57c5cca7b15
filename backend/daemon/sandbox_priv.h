/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The parts of a worker's sandbox (sandbox.h): sandbox.c has limits and identity, sandbox_view.c
 * the mounts and Landlock, sandbox_filter.c the system calls.
 */
#ifndef VIOMMU_BACKEND_DAEMON_SANDBOX_PRIV_H
#define VIOMMU_BACKEND_DAEMON_SANDBOX_PRIV_H

#include "backend/daemon/sandbox.h"

/* Each: 1 in force, 0 not to be had here, -errno. */

/* Namespaces of its own and a root that has sandbox_view.c's paths only. */
MUST_CHECK int sandbox_view(void);
/* The same paths by Landlock. */
MUST_CHECK int sandbox_paths(void);
/* `entered`: the parts that are in force; without VIEW and PATHS no file can be opened at all. */
MUST_CHECK int sandbox_filter(const struct sandbox *s, unsigned entered);

#endif
