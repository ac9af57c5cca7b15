/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The daemon's command line, by argp. What an administrator gets wrong is named together with what
 * would be right. No option changes a running guest's device: those are nodes in xenstore.
 */
#include <config.h>

#include "backend/daemon/options.h"

#include <argp.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>

#include "common/strutil.h"

#ifndef VIOMMU_CONTROL_PATH
#error "VIOMMU_CONTROL_PATH comes from backend/daemon/local.mk"
#endif

/*
 * Xen's maptrack table has 262,144 handles for a whole backend domain by default, and gntdev takes
 * two per page in a PV one: the default total is then all there is.
 */
#define DEFAULT_PAGES            65536u
#define DEFAULT_PAGES_PER_DEVICE 16384u
#define MAX_PAGES                (1ull << 28)
#define DEFAULT_MAX_RECOVERIES   5u
#define MAX_RECOVERIES           1000000u

enum option_key {
    OPT_LOG_LEVEL = 'l',
    OPT_CONTROL = 'c',
    OPT_PAGES = 'p',
    OPT_SYSLOG = 0x100,
    OPT_PAGES_PER_DEVICE,
    OPT_WORKER_USER,
    OPT_NO_SANDBOX,
    OPT_GRANT_BROKER,
    OPT_BROKER_FD,
    OPT_STATE_DIR,
    OPT_MAX_RECOVERIES,
    OPT_WORKER,
    OPT_PLATFORM,
};

static const struct argp_option option_table[] = {
    {"log-level", OPT_LOG_LEVEL, "LEVEL", 0, LOG_LEVEL_NAMES " (default info)", 0},
    {"syslog", OPT_SYSLOG, NULL, 0, "log to syslog (facility daemon) instead of stderr", 0},
    {"control", OPT_CONTROL, "PATH", 0, "control socket (default " VIOMMU_CONTROL_PATH ")", 0},
    {"pages", OPT_PAGES, "N", 0,
     "grant pages that all guests together may have mapped (default 65536)", 0},
    {"pages-per-device", OPT_PAGES_PER_DEVICE, "N", 0,
     "grant pages of a device without max-pages= in its configuration (default 16384)", 0},
    {"worker-user", OPT_WORKER_USER, "USER", 0,
     "user that workers become, by name or number (default: the daemon's own)", 0},
    {"grant-broker", OPT_GRANT_BROKER, "on|off", 0,
     "the supervisor maps for workers, each worker for its own guest only (default on)", 0},
    {"no-sandbox", OPT_NO_SANDBOX, NULL, 0,
     "workers keep all privileges: for debugging, never for guests that are not trusted", 0},
    {"state-dir", OPT_STATE_DIR, "DIR", 0,
     "keep what a successor of a worker needs in files here, not in memory that systemd keeps", 0},
    {"max-recoveries", OPT_MAX_RECOVERIES, "N", 0,
     "replace a device's worker at most N times in 60 s (default 5; 0: never)", 0},
    {"worker", OPT_WORKER, "FD", OPTION_HIDDEN, "internal: serve one guest", 0},
    {"broker", OPT_BROKER_FD, "FD", OPTION_HIDDEN, "internal: the grant broker's socket", 0},
    {"platform", OPT_PLATFORM, "NAME", OPTION_HIDDEN, "hypervisor behind the daemon", 0},
    {.name = NULL},
};

static const struct {
    const char *name;
    enum log_level level;
} level_table[] = {
    {"error", LOG_LEVEL_ERR},
    {"warning", LOG_LEVEL_WARN},
    {"info", LOG_LEVEL_INFO},
    {"debug", LOG_LEVEL_DEBUG},
};

int log_level_parse(const char *name, enum log_level *out)
{
    for (size_t i = 0; i < ARRAY_SIZE(level_table); i++) {
        if (strcmp(name, level_table[i].name) == 0) {
            *out = level_table[i].level;
            return 0;
        }
    }
    return -EINVAL;
}

const char *log_level_name(enum log_level level)
{
    for (size_t i = 0; i < ARRAY_SIZE(level_table); i++) {
        if (level_table[i].level == level)
            return level_table[i].name;
    }
    return "?";
}

const struct platform_ops *daemon_platform_find(const char *name)
{
    for (const struct platform_ops *const *p = daemon_platforms; *p; p++) {
        if (strcmp((*p)->name, name) == 0)
            return *p;
    }
    return NULL;
}

static error_t parse_pages(const char *arg, const char *option, uint64_t *out,
                           struct argp_state *state)
{
    if (parse_u64(arg, MAX_PAGES, out) < 0 || *out == 0) {
        argp_error(state, "--%s: '%s' is no number of pages (1 to %llu)", option, arg, MAX_PAGES);
        return EINVAL;
    }
    return 0;
}

static error_t parse_switch(const char *arg, const char *option, bool *out,
                            struct argp_state *state)
{
    *out = strcmp(arg, "on") == 0;
    if (*out || strcmp(arg, "off") == 0)
        return 0;
    argp_error(state, "--%s: '%s' is neither on nor off", option, arg);
    return EINVAL;
}

static error_t parse_max_recoveries(const char *arg, uint64_t *out, struct argp_state *state)
{
    if (parse_u64(arg, MAX_RECOVERIES, out) == 0)
        return 0;
    argp_error(state, "--max-recoveries: '%s' is no number from 0 to %u", arg, MAX_RECOVERIES);
    return EINVAL;
}

static error_t parse_path(const char *arg, const char *option, const char **out,
                          struct argp_state *state)
{
    *out = arg;
    if (*arg == '/')
        return 0;
    argp_error(state, "--%s: '%s' is not an absolute path", option, arg);
    return EINVAL;
}

static error_t parse_fd(const char *arg, const char *option, int *out, struct argp_state *state)
{
    uint32_t fd = 0;

    if (parse_u32(arg, INT_MAX, &fd) < 0 || fd < 3) {
        argp_error(state, "--%s: '%s' is no descriptor (3 or more)", option, arg);
        return EINVAL;
    }
    *out = (int)fd;
    return 0;
}

static error_t parse_platform(const char *arg, const struct platform_ops **out,
                              struct argp_state *state)
{
    *out = daemon_platform_find(arg);
    if (!*out) {
        argp_error(state, "--platform: '%s' is not built into this program", arg);
        return EINVAL;
    }
    return 0;
}

static error_t check_all(struct daemon_options *o, struct argp_state *state)
{
    if (o->pages_per_device == 0)
        o->pages_per_device = o->pages < DEFAULT_PAGES_PER_DEVICE ? o->pages
                                                                  : DEFAULT_PAGES_PER_DEVICE;
    if (!o->sandbox && o->worker_user) {
        argp_error(state, "--worker-user is part of the sandbox: it cannot go with --no-sandbox");
        return EINVAL;
    }
    if (o->pages_per_device > o->pages) {
        argp_error(state, "--pages-per-device (%llu) exceeds --pages (%llu)",
                   (unsigned long long)o->pages_per_device, (unsigned long long)o->pages);
        return EINVAL;
    }
    return 0;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct daemon_options *o = state->input;

    switch (key) {
    case OPT_LOG_LEVEL:
        if (log_level_parse(arg, &o->log_level) == 0)
            return 0;
        argp_error(state, "--log-level: '%s' is not one of " LOG_LEVEL_NAMES, arg);
        return EINVAL;
    case OPT_SYSLOG:
        o->syslog = true;
        return 0;
    case OPT_CONTROL:
        return parse_path(arg, "control", &o->control_path, state);
    case OPT_STATE_DIR:
        return parse_path(arg, "state-dir", &o->state_dir, state);
    case OPT_MAX_RECOVERIES:
        return parse_max_recoveries(arg, &o->max_recoveries, state);
    case OPT_PAGES:
        return parse_pages(arg, "pages", &o->pages, state);
    case OPT_PAGES_PER_DEVICE:
        return parse_pages(arg, "pages-per-device", &o->pages_per_device, state);
    case OPT_WORKER_USER:
        o->worker_user = arg;
        return 0;
    case OPT_NO_SANDBOX:
        o->sandbox = false;
        return 0;
    case OPT_WORKER:
        return parse_fd(arg, "worker", &o->worker_fd, state);
    case OPT_BROKER_FD:
        return parse_fd(arg, "broker", &o->broker_fd, state);
    case OPT_GRANT_BROKER:
        return parse_switch(arg, "grant-broker", &o->grant_broker, state);
    case OPT_PLATFORM:
        return parse_platform(arg, &o->platform, state);
    case ARGP_KEY_ARG:
        argp_error(state, "unexpected argument '%s' (there are only options)", arg);
        return EINVAL;
    case ARGP_KEY_SUCCESS:
        return check_all(o, state);
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void print_version(FILE *stream, struct argp_state *state)
{
    (void)state;
    fprintf(stream, "xen-viommud %s\n", PACKAGE_VERSION);
}

int daemon_options_parse(int argc, char **argv, unsigned argp_flags, struct daemon_options *out)
{
    static const struct argp parser = {
        .options = option_table,
        .parser = parse_option,
        .doc = "Serves virtio-iommu devices to Xen guests. Runs in the foreground.",
    };
    struct daemon_options o = {
        .control_path = VIOMMU_CONTROL_PATH,
        .log_level = LOG_LEVEL_INFO,
        .pages = DEFAULT_PAGES,
        .sandbox = true,
        .grant_broker = true,
        .broker_fd = -1,
        .max_recoveries = DEFAULT_MAX_RECOVERIES,
        .worker_fd = -1,
        .platform = daemon_platforms[0],
    };
    error_t r;

    argp_program_version_hook = print_version;
    argp_err_exit_status = 2;
    r = argp_parse(&parser, argc, argv, argp_flags, NULL, &o);
    if (r == 0)
        *out = o;
    return r;
}

static void to_syslog(enum log_level level, const char *line, void *ctx)
{
    static const int priority[] = {
        [LOG_LEVEL_ERR] = LOG_ERR,
        [LOG_LEVEL_WARN] = LOG_WARNING,
        [LOG_LEVEL_INFO] = LOG_INFO,
        [LOG_LEVEL_DEBUG] = LOG_DEBUG,
    };
    int saved = errno;

    (void)ctx;
    syslog(priority[level], "%s", line);
    errno = saved;
}

void daemon_log_start(const struct daemon_options *options, const char *tag)
{
    log_init(tag, options->log_level);
    if (!options->syslog)
        return;
    openlog("xen-viommud", LOG_PID | LOG_NDELAY, LOG_DAEMON);
    log_set_sink(to_syslog, NULL);
}
