/* SPDX-License-Identifier: GPL-2.0-only */
/* The supervisor process: everything but the guests' memory. */
#ifndef VIOMMU_BACKEND_DAEMON_SUPERVISOR_H
#define VIOMMU_BACKEND_DAEMON_SUPERVISOR_H

#include "backend/daemon/options.h"

/* Serves until SIGTERM or SIGINT. Returns the exit code of the process. */
MUST_CHECK int supervisor_run(const struct daemon_options *options);

/* Both processes' way in: reads the command line, becomes supervisor or worker. */
MUST_CHECK int daemon_main(int argc, char **argv);

#endif
