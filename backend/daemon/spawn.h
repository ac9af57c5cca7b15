/* SPDX-License-Identifier: GPL-2.0-only */
/* Starting a worker process, and putting into words how it ended. */
#ifndef VIOMMU_BACKEND_DAEMON_SPAWN_H
#define VIOMMU_BACKEND_DAEMON_SPAWN_H

#include "backend/daemon/options.h"

#include <sys/types.h>

#define WORKER_FD 3
#define BROKER_FD 4

/*
 * Executes this program again as a worker: *fd_out is the supervisor's end of a socket pair
 * (close-on-exec, owned by the caller), *pid_out the process, which the caller reaps. The worker
 * inherits standard descriptors, its end of the pair and, if that is not -1, a duplicate of
 * `broker_fd`, nothing else. -errno. Waits for the exec, not for the worker.
 */
MUST_CHECK int worker_spawn(const struct daemon_options *options, int broker_fd, pid_t *pid_out,
                            int *fd_out);

/* "exited with code 1", "killed by signal 11 (Segmentation fault)". Returns buf. */
const char *worker_status_text(int status, char *buf, size_t size);

#endif
