/* SPDX-License-Identifier: GPL-2.0-only */
/* The worker process: one guest's device, from `start` until its supervisor goes away. */
#ifndef VIOMMU_BACKEND_DAEMON_WORKER_H
#define VIOMMU_BACKEND_DAEMON_WORKER_H

#include "backend/daemon/options.h"

/* Runs on options->worker_fd, which it owns. Returns the exit code of the process. */
MUST_CHECK int worker_run(const struct daemon_options *options);

#endif
