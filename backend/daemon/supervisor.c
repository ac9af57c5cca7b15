/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The supervisor: the only xenstore connection, the devices, the control socket and the signals,
 * on one loop. It maps no guest memory and interprets no value of a frontend but its state.
 */
#include <config.h>

#include "backend/daemon/supervisor.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "backend/daemon/admin.h"
#include "backend/daemon/sandbox.h"
#include "backend/daemon/worker.h"
#include "common/notify.h"

/* A full look at the store now and then makes good a lost event. */
#define RESCAN_MS 60000u
/* libxenstore does not say that a connection is lost, so somebody has to ask. */
#define BEAT_MS 2000u
/* A lost connection is tried anew that often. */
#define RETRY_MS 500u
/* An orderly end takes a worker's second and no longer. */
#define QUIT_LIMIT_MS 5000u

struct device_entry {
    struct device_entry *next;
    struct sdevice *dev;
};

struct supervisor {
    struct loop *loop;
    struct sdevice_env env;
    struct xsc xs;
    struct discover *discover;
    struct admin *admin;
    struct device_entry *devices; /* in order of appearance */
    struct loop_source *xs_source, *rescan_timer, *quit_timer, *sweep;
    struct loop_source *store_timer; /* the next beat, or the next try to connect */
    bool store_lost;
    struct loop_source *sigterm, *sigint, *sighup;
    bool quitting;
    bool ready;
    char status[128]; /* as last told to systemd */
};

/* --- devices ---------------------------------------------------------------------------------- */

static struct sdevice *find_device(void *ctx, uint32_t domid, uint32_t number)
{
    struct supervisor *s = ctx;

    for (struct device_entry *e = s->devices; e; e = e->next) {
        /* A predecessor of the same name may still be closing. */
        if (sdevice_domid(e->dev) == domid && sdevice_number(e->dev) == number &&
            sdevice_has_directory(e->dev))
            return e->dev;
    }
    return NULL;
}

static struct sdevice *next_device(void *ctx, struct sdevice *dev)
{
    struct supervisor *s = ctx;

    if (!dev)
        return s->devices ? s->devices->dev : NULL;
    for (struct device_entry *e = s->devices; e; e = e->next) {
        if (e->dev == dev)
            return e->next ? e->next->dev : NULL;
    }
    return NULL;
}

static const struct admin_ops admin_ops = {.find = find_device, .next = next_device};

static void free_forgotten(struct supervisor *s)
{
    struct device_entry **at = &s->devices;

    while (*at) {
        struct device_entry *e = *at;

        if (!sdevice_is_forgotten(e->dev)) {
            at = &e->next;
            continue;
        }
        *at = e->next;
        sdevice_free(e->dev);
        free(e);
    }
}

static void tell_status(struct supervisor *s)
{
    char text[sizeof(s->status)], state[sizeof(s->status) + 16];
    unsigned n = 0, n_workers = 0;

    for (struct device_entry *e = s->devices; e; e = e->next) {
        n++;
        if (sdevice_link(e->dev))
            n_workers++;
    }
    snprintf(text, sizeof(text), "%s%u devices, %u workers, %llu of %llu grant pages leased",
             s->store_lost ? "no xenstore; " : "", n, n_workers,
             (unsigned long long)s->env.links.budget.leased,
             (unsigned long long)s->env.links.budget.total);
    if (!s->ready || strcmp(text, s->status) == 0)
        return;
    memcpy(s->status, text, sizeof(text));
    snprintf(state, sizeof(state), "STATUS=%s", s->status);
    (void)!notify_send(state);
}

static bool all_idle(const struct supervisor *s)
{
    for (const struct device_entry *e = s->devices; e; e = e->next) {
        if (!sdevice_idle(e->dev))
            return false;
    }
    return s->env.links.first == NULL;
}

static void on_sweep(void *ctx)
{
    struct supervisor *s = ctx;

    free_forgotten(s);
    tell_status(s);
    if (s->quitting && all_idle(s))
        loop_quit(s->loop, 0);
}

/* Devices change in the middle of their own functions: what follows waits for the turn's end. */
static void on_changed(void *ctx)
{
    struct supervisor *s = ctx;

    loop_defer(s->sweep);
}

static void on_forgotten(struct sdevice *dev, void *ctx)
{
    (void)dev;
    on_changed(ctx);
}

/* --- discovery -------------------------------------------------------------------------------- */

static void add_device(struct supervisor *s, struct sdevice *dev, struct device_entry *entry)
{
    struct device_entry **at = &s->devices;

    while (*at)
        at = &(*at)->next;
    *entry = (struct device_entry){.dev = dev};
    *at = entry;
}

static void on_appeared(struct xs_device *xs, void *ctx)
{
    struct supervisor *s = ctx;
    struct device_entry *entry;
    struct sdevice *dev;

    if (s->quitting)
        return;
    entry = calloc(1, sizeof(*entry));
    dev = entry ? sdevice_new(&s->env, xs) : NULL;
    if (!dev) {
        log_err("d%u/%u: out of memory, device not served", xs->domid, xs->devid);
        free(entry);
        return;
    }
    add_device(s, dev, entry);
    xs->user = dev;
    sdevice_begin(dev);
}

/* Devices that we do not serve (memory was short, or the daemon ends) have no user. */
static void on_vanished(struct xs_device *xs, void *ctx)
{
    (void)ctx;
    if (xs->user)
        sdevice_vanished(xs->user);
}

static void on_frontend_state(struct xs_device *xs, enum xenbus_state state, void *ctx)
{
    (void)ctx;
    if (xs->user)
        sdevice_frontend_state(xs->user, state);
}

static void on_closing(struct xs_device *xs, void *ctx)
{
    (void)ctx;
    if (xs->user)
        sdevice_closing(xs->user);
}

static void on_endpoints_changed(struct xs_device *xs, void *ctx)
{
    (void)ctx;
    if (xs->user)
        sdevice_endpoints_changed(xs->user);
}

static void on_config_changed(struct xs_device *xs, void *ctx)
{
    (void)ctx;
    if (xs->user)
        sdevice_config_changed(xs->user);
}

static const struct discover_ops discover_ops = {
    .appeared = on_appeared,
    .vanished = on_vanished,
    .frontend_state = on_frontend_state,
    .closing = on_closing,
    .endpoints_changed = on_endpoints_changed,
    .config_changed = on_config_changed,
};

/*
 * The connection is lost. Devices go on: their requests do not need the store, and what they have
 * to write waits (sdevice_store.c). Called from within them, too, so nothing is freed here.
 */
static void on_store_lost(void *ctx)
{
    struct supervisor *s = ctx;

    if (s->store_lost)
        return;
    log_err("xenstore: the connection is lost; devices go on, and it is tried anew");
    s->store_lost = true;
    s->xs_source = loop_source_free(s->xs_source);
    loop_timer_arm_ms(s->store_timer, RETRY_MS);
    loop_defer(s->sweep);
}

static void check_store(struct supervisor *s, int r)
{
    if (r < 0)
        on_store_lost(s);
}

static void on_xenstore(void *ctx, unsigned events)
{
    struct supervisor *s = ctx;

    (void)events;
    check_store(s, discover_run(s->discover));
}

static void on_rescan(void *ctx)
{
    struct supervisor *s = ctx;

    if (!s->store_lost)
        check_store(s, discover_rescan(s->discover));
    loop_timer_arm_ms(s->rescan_timer, RESCAN_MS);
}

static int watch_store(struct supervisor *s)
{
    s->xs_source = loop_add_fd(s->loop, s->xs.ops->fd(s->xs.ctx), LOOP_READ, on_xenstore, s);
    return s->xs_source ? 0 : -ENOMEM;
}

static void reconnect(struct supervisor *s)
{
    struct xsc fresh;
    int r = xsc_open(&fresh);

    loop_timer_arm_ms(s->store_timer, r < 0 ? RETRY_MS : BEAT_MS);
    if (r < 0)
        return;
    xsc_close(&s->xs);
    s->xs = fresh;
    s->store_lost = false;
    r = watch_store(s);
    if (r == 0)
        r = discover_reconnect(s->discover);
    if (r < 0) {
        on_store_lost(s);
        return;
    }
    log_info("xenstore: connected again");
    for (struct device_entry *e = s->devices; e && !s->store_lost; e = e->next)
        sdevice_store_back(e->dev);
    loop_defer(s->sweep);
}

static void on_store_timer(void *ctx)
{
    struct supervisor *s = ctx;
    uint32_t domid;

    if (s->store_lost) {
        reconnect(s);
        return;
    }
    loop_timer_arm_ms(s->store_timer, BEAT_MS);
    if (xsc_own_domid(&s->xs, &domid) == -EIO)
        on_store_lost(s);
}

/* --- signals ---------------------------------------------------------------------------------- */

static void on_quit_limit(void *ctx)
{
    struct supervisor *s = ctx;

    log_err("workers did not end in time");
    loop_quit(s->loop, 1);
}

static void on_quit_signal(void *ctx, int signo)
{
    struct supervisor *s = ctx;

    if (s->quitting)
        return;
    log_info("%s: closing all devices", strsignal(signo));
    (void)!notify_send("STOPPING=1\nSTATUS=closing all devices");
    s->quitting = true;
    s->ready = false;
    loop_timer_arm_ms(s->quit_timer, QUIT_LIMIT_MS);
    for (struct device_entry *e = s->devices; e; e = e->next)
        sdevice_shutdown(e->dev);
    loop_defer(s->sweep);
}

static void on_hangup_signal(void *ctx, int signo)
{
    (void)signo;
    on_rescan(ctx);
}

/* --- life ------------------------------------------------------------------------------------- */

static int init_loop(struct supervisor *s)
{
    s->loop = loop_new();
    if (!s->loop)
        return -ENOMEM;
    s->env.loop = s->loop;
    s->rescan_timer = loop_add_timer(s->loop, on_rescan, s);
    s->quit_timer = loop_add_timer(s->loop, on_quit_limit, s);
    s->store_timer = loop_add_timer(s->loop, on_store_timer, s);
    s->sweep = loop_add_deferred(s->loop, on_sweep, s);
    s->sigterm = loop_add_signal(s->loop, SIGTERM, on_quit_signal, s);
    s->sigint = loop_add_signal(s->loop, SIGINT, on_quit_signal, s);
    s->sighup = loop_add_signal(s->loop, SIGHUP, on_hangup_signal, s);
    if (!s->rescan_timer || !s->quit_timer || !s->store_timer || !s->sweep || !s->sigterm ||
        !s->sigint || !s->sighup)
        return -ENOMEM;
    return link_set_init(&s->env.links, s->loop, s->env.options);
}

static int init_store(struct supervisor *s)
{
    uint32_t own_domid;
    int r = xsc_open(&s->xs);

    if (r < 0) {
        s->xs = (struct xsc){.ops = NULL};
        log_err("xenstore: cannot connect: %s", strerror(-r));
        return r;
    }
    s->env.xs = &s->xs;
    r = xsc_own_domid(&s->xs, &own_domid);
    if (r == 0)
        r = discover_new(&s->discover, &s->xs, own_domid, &discover_ops, s);
    if (r < 0) {
        s->discover = NULL;
        log_err("xenstore: cannot watch backend/virtio: %s", strerror(-r));
        return r;
    }
    return watch_store(s);
}

static int init_states(struct supervisor *s)
{
    const char *dir = s->env.options->state_dir;
    int r = state_store_new(&s->env.states, dir);

    if (r < 0)
        log_err("state files%s%s: %s", dir ? " in " : "", dir ? dir : "", strerror(-r));
    return r;
}

/* READY comes last: socket, watches and the first scan are there. */
static int init(struct supervisor *s, const struct daemon_options *options)
{
    int r;

    if (options->worker_user) {
        struct sandbox_user user;

        r = sandbox_user_find(options->worker_user, &user);
        if (r < 0) {
            log_err("--worker-user: %s: %s", options->worker_user,
                    r == -EINVAL ? "is user 0" : "no such user");
            return r;
        }
    }
    s->env.options = options;
    s->env.forgotten = on_forgotten;
    s->env.changed = on_changed;
    s->env.store_lost = on_store_lost;
    s->env.ctx = s;
    r = init_loop(s);
    if (r == 0)
        r = init_states(s);
    if (r == 0) {
        s->env.links.reaped = on_changed;
        s->env.links.ctx = s;
        r = admin_new(&s->admin, &s->env, &admin_ops, s);
    }
    if (r == 0)
        r = init_store(s);
    if (r < 0)
        return r;
    /* Every device that was there has been found by now, and has taken what it needs. */
    state_store_adopted_all(s->env.states);
    loop_timer_arm_ms(s->rescan_timer, RESCAN_MS);
    if (!s->store_lost)
        loop_timer_arm_ms(s->store_timer, BEAT_MS);
    s->ready = true;
    (void)!notify_send("READY=1");
    tell_status(s);
    log_info("version %s, platform %s, control socket %s", PACKAGE_VERSION, options->platform->name,
             options->control_path);
    return 0;
}

static void fini(struct supervisor *s)
{
    struct device_entry *e;

    s->discover = discover_free(s->discover);
    while ((e = s->devices) != NULL) {
        s->devices = e->next;
        sdevice_free(e->dev);
        free(e);
    }
    s->admin = admin_free(s->admin);
    s->env.links.reaped = NULL;
    link_set_fini(&s->env.links);
    s->env.states = state_store_free(s->env.states);
    s->xs_source = loop_source_free(s->xs_source);
    xsc_close(&s->xs);
    /* The loop frees its remaining sources: timers, signals, the deferred one. */
    s->loop = loop_free(s->loop);
}

int supervisor_run(const struct daemon_options *options)
{
    struct supervisor s = {.loop = NULL};
    int r = init(&s, options);

    if (r == 0)
        r = loop_run(s.loop);
    if (r < 0)
        log_err("cannot run: %s", strerror(-r));
    fini(&s);
    return r < 0 ? 1 : r;
}

int daemon_main(int argc, char **argv)
{
    struct daemon_options options;

    if (daemon_options_parse(argc, argv, 0, &options) != 0)
        return 2;
    umask(0077);
    (void)signal(SIGPIPE, SIG_IGN);
    daemon_log_start(&options, options.worker_fd >= 0 ? "xen-viommud-worker" : "xen-viommud");
    if (options.worker_fd >= 0)
        return worker_run(&options);
    return supervisor_run(&options);
}
