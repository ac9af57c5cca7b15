/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Runs the xenbus state machine (xenstore/xenbus.h) for one device: events from discovery, from
 * the worker and from timers go through one queue; each gives a list of actions. The worker does
 * everything that touches the guest, and what it answers is checked by link.c and msg.c.
 *
 * No function here waits for the worker. A worker that is late is killed, which unmaps everything.
 */
#include <config.h>

#include "backend/daemon/sdevice.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "backend/daemon/sdevice_priv.h"

/* New processes for one device: a few at once, then one per ten seconds. */
#define START_BURST       4
#define START_INTERVAL_MS 10000

/* How long a worker may take to get a device out of a phase; 0: as long as it likes. */
static const unsigned phase_limit_ms[XB_N_PHASES] = {
    [XB_PHASE_STARTING] = 15000, [XB_PHASE_CONNECTING] = 15000, [XB_PHASE_RESTARTING] = 10000,
    [XB_PHASE_CLOSING] = 10000,  [XB_PHASE_ENDING] = 1000,      [XB_PHASE_VANISHING] = 1000,
};

static void set_why(struct sdevice *dev, const char *text)
{
    snprintf(dev->why, sizeof(dev->why), "%s", text);
}

/* --- worker's answers ------------------------------------------------------------------------- */

void sdevice_endpoints_value(struct sdevice *dev, const char *value)
{
    if (dev->recovering) {
        snprintf(dev->recovered_value, sizeof(dev->recovered_value), "%s", value);
        return;
    }
    if (strcmp(dev->endpoints_value, value) == 0)
        return;
    snprintf(dev->endpoints_value, sizeof(dev->endpoints_value), "%s", value);
    if (dev->published)
        sdevice_write_endpoints(dev);
}

/* An answer that is well-formed as a reply, but not what was asked for. */
static void breach(struct sdevice *dev, const char *what)
{
    log_err("%s: the worker's answer to %s makes no sense, it is killed", dev->name, what);
    if (dev->link)
        link_kill(dev->link);
}

static void on_started(void *ctx, int error, const struct msg_reply *reply, json_t *msg)
{
    struct sdevice *dev = ctx;

    (void)msg;
    if (error == 0 && !reply->ok) {
        dev->start_failed = true;
        set_why(dev, reply->error);
    }
}

static void take_offer(struct sdevice *dev, const struct msg_offer *o)
{
    snprintf(dev->endpoints_value, sizeof(dev->endpoints_value), "%s", o->endpoints);
    dev->offer = (struct publish_offer){
        .features = o->features,
        .queue_size = o->queue_size,
        .map_pages = o->map_pages,
        .grant_pages = o->grant_pages,
        .endpoints = dev->endpoints_value,
    };
}

/* Start, endpoints and offer are sent in one go: this is the last of their answers. */
static void on_offer(void *ctx, int error, const struct msg_reply *reply, json_t *msg)
{
    struct sdevice *dev = ctx;
    struct msg_offer offer;

    dev->n_starts--;
    if (error < 0 || dev->n_starts > 0)
        return; /* lost, or a later start counts */
    if (dev->start_failed || !reply->ok) {
        log_guest(&dev->admin_limit, "%s: cannot start: %s", dev->name, dev->why);
        sdevice_feed(dev, XB_REFUSED);
        return;
    }
    if (msg_parse_offer(msg, &offer) < 0) {
        breach(dev, "offer");
        return;
    }
    take_offer(dev, &offer);
    sdevice_feed(dev, XB_READY);
}

static void on_connected(void *ctx, int error, const struct msg_reply *reply, json_t *msg)
{
    struct sdevice *dev = ctx;

    (void)msg;
    if (error < 0)
        return;
    if (reply->ok) {
        sdevice_feed(dev, XB_CONNECTED);
        return;
    }
    log_guest(&dev->log_limit, "%s: frontend refused: %s", dev->name, reply->error);
    set_why(dev, reply->error);
    sdevice_feed(dev, XB_REFUSED);
}

static void on_disconnected(void *ctx, int error, const struct msg_reply *reply, json_t *msg)
{
    struct sdevice *dev = ctx;

    (void)msg;
    if (error < 0)
        return;
    if (reply->ok)
        sdevice_feed(dev, XB_DISCONNECTED);
    else
        breach(dev, "disconnect");
}

/*
 * The worker's process is gone and everything that it had mapped is unmapped. While a guest is
 * connected a successor goes on in its place, and the state machine sees nothing.
 */
void sdevice_on_lost(void *ctx, const char *how)
{
    struct sdevice *dev = ctx;
    bool ordered = dev->phase == XB_PHASE_ENDING || dev->phase == XB_PHASE_VANISHING;

    if (ordered)
        log_info("%s: worker %s", dev->name, how);
    else
        log_err("%s: worker %s", dev->name, how);
    dev->link = NULL;
    if (!dev->giving_up) {
        snprintf(dev->why, sizeof(dev->why), "the backend's worker was lost: %s", how);
        if (sdevice_recover(dev, how))
            return;
    }
    dev->giving_up = false;
    dev->recovering = false;
    sdevice_feed(dev, XB_LOST);
}

/* --- actions ---------------------------------------------------------------------------------- */

/* Sends a request whose failure to be sent ends the worker, because it cannot be kept in step. */
static void send_or_kill(struct sdevice *dev, json_t *request, link_reply_fn *fn)
{
    int r = link_request(dev->link, request, fn, dev);

    if (r == 0)
        return;
    log_err("%s: cannot talk to the worker: %s", dev->name, strerror(-r));
    link_kill(dev->link);
}

/* What the administrator has set; refused (-EINVAL) with the reason in why. */
static int read_config(struct sdevice *dev, struct config_device *out)
{
    const struct xs_admin_node *node = &dev->xs->config;
    char why[CONFIG_WHY_SIZE] = "";
    int r;

    if (node->error != 0 && node->error != -ENOENT) {
        set_why(dev, "viommu/config is longer than 1024 bytes, or not printable ASCII");
        return -EINVAL;
    }
    r = config_device_parse(node->text, out, why);
    if (r < 0)
        set_why(dev, why);
    return r;
}

static int lease_pages(struct sdevice *dev, const struct config_device *config)
{
    bool share = !config_has(config, CONFIG_MAX_PAGES);
    uint32_t want = share ? (uint32_t)dev->env->options->pages_per_device : config->max_pages;
    uint32_t got = link_lease(dev->link, want, share);

    if (got == 0) {
        set_why(dev, "the budget of grant pages is used up (xen-viommud --pages)");
        return -ENOMEM;
    }
    if (got < want)
        log_guest(&dev->admin_limit,
                  "%s: only %u of %u grant pages are left for it (xen-viommud --pages)", dev->name,
                  got, want);
    dev->pages = got;
    return 0;
}

/*
 * What the device was started with, for as long as the worker has successors: a change in the store
 * waits for the next start. After a restart of ours what is in the store now has to do.
 */
static const char *config_for(struct sdevice *dev, bool recover)
{
    const char *now = dev->xs->config.text;

    if (recover && dev->config_kept)
        return dev->config_text;
    free(dev->config_text);
    dev->config_text = now ? strdup(now) : NULL;
    dev->config_kept = !now || dev->config_text;
    return now;
}

void sdevice_send_start(struct sdevice *dev, bool recover)
{
    const struct msg_start start = {
        .platform = dev->env->options->platform->name,
        .domid = dev->domid,
        .number = dev->number,
        .pages = link_pages(dev->link),
        .config = config_for(dev, recover),
        .recover = recover,
    };
    int r;

    if (link_serve_grants(dev->link, dev->domid) < 0) {
        link_kill(dev->link);
        return;
    }
    dev->start_failed = false;
    r = link_request_with(dev->link, msg_new_start(link_next_id(dev->link), &start), dev->state_fd,
                          on_started, dev);
    if (r < 0) {
        log_err("%s: cannot talk to the worker: %s", dev->name, strerror(-r));
        link_kill(dev->link);
    }
}

static void send_start(struct sdevice *dev)
{
    sdevice_send_start(dev, false);
    sdevice_send_endpoints(dev);
    dev->n_starts++;
    if (link_request(dev->link, msg_new_request("offer", link_next_id(dev->link)), on_offer, dev) <
        0) {
        dev->n_starts--;
        link_kill(dev->link);
    }
}

static int ensure_worker(struct sdevice *dev)
{
    uint64_t suppressed;
    int r;

    if (dev->link)
        return 0;
    if (!ratelimit_pass(&dev->starts, loop_now_ms(), &suppressed)) {
        log_guest(&dev->log_limit, "%s: too many workers in a short time, the next start waits",
                  dev->name);
        loop_timer_arm_ms(dev->start_timer, START_INTERVAL_MS);
        return -EAGAIN;
    }
    r = link_new(&dev->link, &dev->env->links, dev->name, sdevice_on_lost, dev);
    if (r == 0)
        return 0;
    dev->link = NULL;
    log_err("%s: cannot start a worker: %s", dev->name, strerror(-r));
    snprintf(dev->why, sizeof(dev->why), "the backend cannot start a worker: %s", strerror(-r));
    sdevice_feed(dev, XB_LOST);
    return r;
}

/* A running worker stays and makes its device anew: a guest cannot make us fork. */
static void do_start(struct sdevice *dev)
{
    struct config_device config;

    dev->published = false;
    if (!dev->xs || ensure_worker(dev) < 0)
        return;
    if (read_config(dev, &config) < 0 || lease_pages(dev, &config) < 0) {
        log_guest(&dev->admin_limit, "%s: cannot start: %s", dev->name, dev->why);
        sdevice_feed(dev, XB_REFUSED);
        return;
    }
    sdevice_renew_state(dev, &config);
    send_start(dev);
}

static void on_start_timer(void *ctx)
{
    struct sdevice *dev = ctx;

    if (dev->phase != XB_PHASE_STARTING || dev->link)
        return;
    /* The time that the start was put off is not the worker's. */
    loop_timer_arm_ms(dev->phase_timer, phase_limit_ms[XB_PHASE_STARTING]);
    do_start(dev);
}

void sdevice_connect(struct sdevice *dev)
{
    struct config_fe_raw *raw;
    int r;

    if (!dev->xs || !dev->link)
        return;
    raw = calloc(1, sizeof(*raw));
    r = raw ? discover_frontend_nodes(dev->env->xs, dev->xs, raw) : -ENOMEM;
    if (r == 0) {
        send_or_kill(dev, msg_new_connect(link_next_id(dev->link), raw), on_connected);
    } else if (!sdevice_owes(dev, OWED_CONNECT, r)) {
        log_guest(&dev->log_limit, "%s: cannot read the frontend's nodes: %s", dev->name,
                  strerror(-r));
        set_why(dev, "the backend cannot read the frontend's nodes");
        sdevice_feed(dev, XB_REFUSED);
    }
    free(raw);
}

static void do_disconnect(struct sdevice *dev)
{
    if (dev->link)
        send_or_kill(dev, msg_new_request("disconnect", link_next_id(dev->link)), on_disconnected);
    else
        sdevice_feed(dev, XB_DISCONNECTED);
}

static void do_stop(struct sdevice *dev)
{
    loop_timer_disarm(dev->start_timer);
    dev->link = link_stop(dev->link);
}

static void do_publish(struct sdevice *dev)
{
    if (!dev->xs)
        return;
    dev->published = true;
    sdevice_write_nodes(dev);
}

static void do_error(struct sdevice *dev)
{
    sdevice_write_error(dev, dev->why[0] ? dev->why : "the backend gave up");
}

static void do_clear_error(struct sdevice *dev)
{
    dev->why[0] = '\0';
    sdevice_write_error(dev, NULL);
}

static void do_recheck(struct sdevice *dev)
{
    if (dev->xs)
        sdevice_feed(dev, xenbus_event_frontend(dev->xs->fe_state));
}

static void do_forget(struct sdevice *dev)
{
    dev->forgotten = true;
}

/* A connection that an earlier supervisor has left, with its worker dead. */
static void do_recover(struct sdevice *dev)
{
    dev->published = true;
    if (!sdevice_recover(dev, "the supervisor was restarted"))
        sdevice_feed(dev, XB_LOST);
}

static void do_state_2(struct sdevice *dev)
{
    sdevice_write_state(dev, XENBUS_INIT_WAIT);
}

static void do_state_4(struct sdevice *dev)
{
    sdevice_write_state(dev, XENBUS_CONNECTED);
}

static void do_state_5(struct sdevice *dev)
{
    sdevice_write_state(dev, XENBUS_CLOSING);
}

static void do_state_6(struct sdevice *dev)
{
    dev->published = false;
    sdevice_write_state(dev, XENBUS_CLOSED);
}

static void (*const actions[])(struct sdevice *dev) = {
    [XB_DO_START] = do_start,
    [XB_DO_CLEAR_ERROR] = do_clear_error,
    [XB_DO_PUBLISH] = do_publish,
    [XB_DO_STATE_2] = do_state_2,
    [XB_DO_RECHECK] = do_recheck,
    [XB_DO_CONNECT] = sdevice_connect,
    [XB_DO_STATE_4] = do_state_4,
    [XB_DO_ERROR] = do_error,
    [XB_DO_STATE_5] = do_state_5,
    [XB_DO_DISCONNECT] = do_disconnect,
    [XB_DO_STATE_6] = do_state_6,
    [XB_DO_STOP] = do_stop,
    [XB_DO_REMOVE] = sdevice_remove_directory,
    [XB_DO_FORGET] = do_forget,
    [XB_DO_RECOVER] = do_recover,
};

/* --- the machine ------------------------------------------------------------------------------ */

static void log_phase(struct sdevice *dev, enum xenbus_phase next, enum xenbus_event event)
{
    uint64_t suppressed;
    char more[64] = "";

    if (!ratelimit_pass(&dev->phase_limit, loop_now_ms(), &suppressed))
        return;
    if (suppressed > 0)
        snprintf(more, sizeof(more), ", %" PRIu64 " changes before it not logged", suppressed);
    log_info("%s: %s -> %s (%s)%s", dev->name, xenbus_phase_name(dev->phase),
             xenbus_phase_name(next), xenbus_event_name(event), more);
}

static void enter(struct sdevice *dev, enum xenbus_phase next, enum xenbus_event event)
{
    if (next == dev->phase)
        return;
    log_phase(dev, next, event);
    dev->phase = next;
    if (phase_limit_ms[next] > 0)
        loop_timer_arm_ms(dev->phase_timer, phase_limit_ms[next]);
    else
        loop_timer_disarm(dev->phase_timer);
}

static void carry_out(struct sdevice *dev, enum xenbus_event event)
{
    struct xenbus_step step = xenbus_next(dev->phase, event);

    enter(dev, step.next, event);
    dev->failed = false;
    for (size_t i = 0; i < XB_MAX_ACTIONS && step.actions[i] != XB_DO_NOTHING; i++) {
        /* FORGET must happen whatever failed before it. */
        if (!dev->failed || step.actions[i] == XB_DO_FORGET)
            actions[step.actions[i]](dev);
    }
}

/* Events that actions give rise to come after the action list that they are part of. */
void sdevice_feed(struct sdevice *dev, enum xenbus_event event)
{
    if (dev->forgotten)
        return;
    if (dev->n_events == SDEVICE_MAX_EVENTS) {
        log_err("%s: event %s lost", dev->name, xenbus_event_name(event));
        return;
    }
    dev->events[dev->n_events++] = event;
    if (dev->running)
        return;
    dev->running = true;
    while (dev->n_events > 0) {
        event = dev->events[0];
        memmove(&dev->events[0], &dev->events[1], --dev->n_events * sizeof(dev->events[0]));
        carry_out(dev, event);
    }
    dev->running = false;
    if (dev->forgotten)
        dev->env->forgotten(dev, dev->env->ctx);
    dev->env->changed(dev->env->ctx);
}

static void on_phase_timer(void *ctx)
{
    struct sdevice *dev = ctx;

    /* A start that was put off has no worker yet; a connection put off has not been asked for. */
    if (!dev->link || (dev->owed & OWED_CONNECT))
        return;
    log_err("%s: the worker did not answer in phase %s in time and is killed", dev->name,
            xenbus_phase_name(dev->phase));
    link_kill(dev->link);
}

/* --- discovery -------------------------------------------------------------------------------- */

void sdevice_begin(struct sdevice *dev)
{
    enum xenbus_event event = xenbus_event_found(dev->xs->found_state, dev->xs->found_online);

    set_why(dev, "the backend was restarted");
    sdevice_endpoints_changed(dev);
    if (event == XB_FOUND_CONNECTED && dev->xs->found_state == XENBUS_CONNECTED &&
        sdevice_adopt_state(dev))
        event = XB_FOUND_RUNNING;
    sdevice_feed(dev, event);
}

void sdevice_vanished(struct sdevice *dev)
{
    dev->xs = NULL;
    sdevice_feed(dev, XB_OWN_GONE);
}

void sdevice_frontend_state(struct sdevice *dev, enum xenbus_state state)
{
    sdevice_feed(dev, xenbus_event_frontend(state));
}

void sdevice_closing(struct sdevice *dev)
{
    sdevice_feed(dev, XB_OWN_CLOSING);
}

void sdevice_config_changed(struct sdevice *dev)
{
    sdevice_feed(dev, XB_CONFIG_CHANGED);
}

void sdevice_shutdown(struct sdevice *dev)
{
    if (xenbus_phase_holds_guest(dev->phase))
        sdevice_write_state(dev, XENBUS_CLOSING);
    sdevice_feed(dev, XB_OWN_CLOSING);
}

/* --- life ------------------------------------------------------------------------------------- */

struct sdevice *sdevice_new(struct sdevice_env *env, struct xs_device *xs)
{
    struct sdevice *dev = calloc(1, sizeof(*dev));

    if (!dev)
        return NULL;
    dev->env = env;
    dev->state_fd = -1;
    dev->xs = xs;
    dev->domid = xs->domid;
    dev->number = xs->devid;
    dev->starts = (struct ratelimit)RATELIMIT_INIT(START_BURST, START_INTERVAL_MS);
    dev->log_limit = (struct ratelimit)RATELIMIT_INIT(10, 5000);
    dev->admin_limit = (struct ratelimit)RATELIMIT_INIT(20, 5000);
    dev->phase_limit = (struct ratelimit)RATELIMIT_INIT(40, 1000);
    snprintf(dev->name, sizeof(dev->name), "d%u/%u", xs->domid, xs->devid);
    dev->phase_timer = loop_add_timer(env->loop, on_phase_timer, dev);
    dev->start_timer = loop_add_timer(env->loop, on_start_timer, dev);
    if (!dev->phase_timer || !dev->start_timer)
        return sdevice_free(dev);
    return dev;
}

struct sdevice *sdevice_free(struct sdevice *dev)
{
    if (!dev)
        return NULL;
    /* Requests fail now: their callbacks must find nobody to feed. */
    dev->forgotten = true;
    dev->link = link_stop(dev->link);
    sdevice_forget_endpoints(dev);
    /* A supervisor that ends while guests are connected leaves the files to the next one. */
    if (xenbus_phase_holds_guest(dev->phase) && dev->state_fd >= 0)
        close(dev->state_fd);
    else
        sdevice_drop_state(dev);
    loop_source_free(dev->phase_timer);
    loop_source_free(dev->start_timer);
    free(dev->config_text);
    free(dev);
    return NULL;
}

bool sdevice_idle(const struct sdevice *dev)
{
    return !xenbus_phase_holds_guest(dev->phase);
}

bool sdevice_is_forgotten(const struct sdevice *dev)
{
    return dev->forgotten;
}

uint32_t sdevice_domid(const struct sdevice *dev)
{
    return dev->domid;
}

uint32_t sdevice_number(const struct sdevice *dev)
{
    return dev->number;
}

bool sdevice_has_directory(const struct sdevice *dev)
{
    return dev->xs != NULL;
}

struct link *sdevice_link(const struct sdevice *dev)
{
    return dev->link;
}

json_t *sdevice_summary(const struct sdevice *dev)
{
    char name[32];
    json_t *obj;

    snprintf(name, sizeof(name), "%u/%u", dev->domid, dev->number);
    obj = json_pack("{s:s, s:s, s:s, s:s}", "device", name, "state",
                    dev->xs ? xenbus_state_name(dev->xs->own_state) : "gone", "frontend",
                    dev->xs ? xenbus_state_name(dev->xs->fe_state) : "gone", "phase",
                    xenbus_phase_name(dev->phase));
    if (dev->link) {
        (void)json_object_set_new(obj, "worker", json_integer(link_pid(dev->link)));
        (void)json_object_set_new(obj, "pages", json_integer(link_pages(dev->link)));
    }
    if (dev->recoveries > 0 || dev->recovering) {
        (void)json_object_set_new(obj, "recoveries", json_integer((json_int_t)dev->recoveries));
        (void)json_object_set_new(obj, "recovery_ms", json_integer((json_int_t)dev->recovery_ms));
    }
    if (dev->phase == XB_PHASE_CLOSED && dev->why[0])
        (void)json_object_set_new(obj, "error", json_string(dev->why));
    return obj;
}
