/* SPDX-License-Identifier: GPL-2.0-only */
/* viommuctl's insides: what a command gets, and how replies are printed. */
#ifndef VIOMMU_BACKEND_DAEMON_CTL_CLIENT_H
#define VIOMMU_BACKEND_DAEMON_CTL_CLIENT_H

#include "common/compiler.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Exit codes of viommuctl. */
enum ctl_exit {
    CTL_DONE = 0,
    CTL_REFUSED = 1, /* the daemon, the device or the machine said no */
    CTL_USAGE = 2,   /* the command line is wrong */
};

enum ctl_option {
    CTL_OPT_VDOMAIN = 1,
    CTL_OPT_LIMIT = 2,
    CTL_OPT_OUTPUT = 4,
    CTL_OPT_INPUT = 8,
};

struct ctl_args {
    const char *socket;
    bool json;
    unsigned given; /* bits of enum ctl_option */
    const char *vdomain, *limit, *output, *input;
    int argc; /* words after the command's name */
    char **argv;
};

struct ctl_command {
    const char *name;  /* one or two words */
    const char *usage; /* the words that follow */
    const char *help;
    int min_args, max_args;
    unsigned options;
    enum ctl_exit (*run)(const struct ctl_args *args);
};

extern const struct ctl_command ctl_commands[];
extern const size_t n_ctl_commands;

/*
 * Runs a program with the descriptors (consumed) of an endpoint, their numbers in the environment
 * as VIOMMU_DEVICE_FD and VIOMMU_LIFELINE_FD, and ends it when the endpoint ends. Its exit status,
 * 128 and the number of the signal that killed it, or CTL_REFUSED when it cannot be started.
 */
int ctl_run_companion(char **argv, int device_fd, int lifeline_fd);

/* An error line on stderr. */
void ctl_error(const char *fmt, ...) PRINTF_LIKE(1, 2);

/*
 * Text that came from the daemon or a guest, on `f`: what is not printable ASCII is escaped, so
 * that nobody writes control sequences to an administrator's terminal.
 */
void ctl_print_text(FILE *f, const char *text);

/* A reply for people: nested objects are indented, lists take a line per element. */
void ctl_print_tree(const json_t *value);

/* A reply for machines: one line of ASCII JSON. */
void ctl_print_json(const json_t *value);

/* Counters of a `show` reply in the text format that Prometheus reads. */
void ctl_print_metrics(const char *device, const json_t *show);

void ctl_print_hexdump(uint64_t address, const uint8_t *data, size_t len);

#endif
