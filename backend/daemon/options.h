/* SPDX-License-Identifier: GPL-2.0-only */
/* The daemon's command line. */
#ifndef VIOMMU_BACKEND_DAEMON_OPTIONS_H
#define VIOMMU_BACKEND_DAEMON_OPTIONS_H

#include "backend/platform/platform.h"
#include "common/log.h"

#include <stdbool.h>

/*
 * The platforms that a program was linked with, NULL at the end; the first is the default. Each
 * main file defines its own: the installed daemon has `xen` only.
 */
extern const struct platform_ops *const daemon_platforms[];

struct daemon_options {
    const char *control_path;
    enum log_level log_level;
    bool syslog;
    uint64_t pages;            /* grant pages that all workers together may map */
    uint64_t pages_per_device; /* of one device that says nothing else */
    bool grant_broker;         /* where the platform has one */
    int broker_fd;             /* of a worker: its socket to the broker; -1: none */
    bool sandbox;              /* of workers; false: for debugging only */
    const char *worker_user;   /* NULL: the daemon's own */
    const char *state_dir;     /* of state files; NULL: memory that the service manager keeps */
    uint64_t max_recoveries;   /* of one device in 60 s; 0: a worker that dies is not replaced */
    int worker_fd;             /* this process is a worker on that descriptor; -1: supervisor */
    const struct platform_ops *platform;
};

/*
 * Reads the command line. `argp_flags` is 0 for programs (a wrong option ends the program with
 * code 2, --help and --version with 0) and ARGP_SILENT for tests. 0 or a positive errno.
 * The strings in *out belong to argv.
 */
MUST_CHECK int daemon_options_parse(int argc, char **argv, unsigned argp_flags,
                                    struct daemon_options *out);

/* "error", "warning", "info" or "debug"; -EINVAL. */
MUST_CHECK int log_level_parse(const char *name, enum log_level *out);
const char *log_level_name(enum log_level level);
#define LOG_LEVEL_NAMES "error, warning, info or debug"

/* The linked platform of that name; NULL if there is none. */
const struct platform_ops *daemon_platform_find(const char *name);

/* Starts the log as the options say; `tag` as in log_init. */
void daemon_log_start(const struct daemon_options *options, const char *tag);

#endif
