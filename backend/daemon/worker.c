/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One guest's process: platform, device, event channels and the loop. The supervisor's requests
 * come over one socket and nothing in the request path waits for it; when that socket closes, the
 * process ends, and with it everything that it has mapped, bound and opened.
 *
 * The guest's memory and event channels are hostile, and so are the frontend's node texts.
 */
#include <config.h>

#include "backend/daemon/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include "backend/daemon/spawn.h"
#include "backend/daemon/worker_priv.h"

/* Ports taken per wake-up before the other sources have their turn. */
#define EVENT_BUDGET 16

/* --- events ----------------------------------------------------------------------------------- */

static void log_needs_reset(struct worker *w)
{
    bool broken = device_needs_reset(w->device);

    if (broken && !w->reset_logged)
        log_guest(&w->log_limit, "needs a reset: %s", device_needs_reset_why(w->device));
    w->reset_logged = broken;
}

/* Queue 0 stands for "go on wherever work is left" (device.h). */
static void run_port(struct worker *w, enum worker_port port)
{
    bool left;

    if (port == PORT_CONTROL)
        left = device_control_event(w->device);
    else
        left = device_queue_event(w->device,
                                  port == PORT_QUEUE_0 ? VIOMMU_QUEUE_REQUEST : VIOMMU_QUEUE_EVENT);
    if (left) {
        w->work_left = true;
        loop_defer(w->leftover);
    }
    log_needs_reset(w);
}

static void on_leftover(void *ctx)
{
    struct worker *w = ctx;

    if (!w->work_left || !device_connected(w->device))
        return;
    w->work_left = false;
    run_port(w, PORT_QUEUE_0);
}

static void take_port(struct worker *w, uint32_t port)
{
    w->counts.events++;
    for (unsigned i = 0; i < w->n_bound; i++) {
        if (w->port[i] == port) {
            run_port(w, (enum worker_port)i);
            return;
        }
    }
    /* An event of a port that was unbound a moment ago. */
    w->counts.strange++;
}

static void on_events(void *ctx, unsigned events)
{
    struct worker *w = ctx;

    (void)events;
    w->counts.wakeups++;
    for (unsigned i = 0; i < EVENT_BUDGET; i++) {
        uint32_t port;
        int r = w->ops->next_event(w->platform, &port);

        if (r == 0)
            return;
        if (r < 0) {
            log_err("event channels: %s", strerror(-r));
            loop_quit(w->loop, 1);
            return;
        }
        take_port(w, port);
    }
}

/* --- ports ------------------------------------------------------------------------------------ */

static void notify_port(struct worker *w, enum worker_port port)
{
    int r;

    /* While connecting, the device may want to notify before there is a port. */
    if (w->n_bound <= (unsigned)port)
        return;
    r = w->ops->notify(w->platform, w->port[port]);
    if (r < 0) {
        w->counts.notify_failed++;
        log_guest(&w->log_limit, "cannot notify port %u: %s", w->port[port], strerror(-r));
    }
}

static void notify_queue(void *ctx, unsigned queue)
{
    notify_port(ctx, queue == VIOMMU_QUEUE_REQUEST ? PORT_QUEUE_0 : PORT_QUEUE_1);
}

static void notify_control(void *ctx)
{
    notify_port(ctx, PORT_CONTROL);
}

void worker_notify_all(struct worker *w)
{
    for (unsigned port = 0; port < N_PORTS; port++)
        notify_port(w, (enum worker_port)port);
}

void worker_look_everywhere(struct worker *w)
{
    run_port(w, PORT_CONTROL);
    run_port(w, PORT_QUEUE_0);
}

static void unbind_ports(struct worker *w)
{
    while (w->n_bound > 0)
        w->ops->unbind(w->platform, w->port[--w->n_bound]);
}

int worker_bind_ports(struct worker *w, const uint32_t remote[N_PORTS], char *why, size_t why_size)
{
    for (unsigned i = 0; i < N_PORTS; i++) {
        int r = w->ops->bind(w->platform, remote[i], &w->port[i]);

        if (r < 0) {
            snprintf(why, why_size, "event channel port %u cannot be bound: %s", remote[i],
                     strerror(-r));
            unbind_ports(w);
            return r;
        }
        w->n_bound = i + 1;
    }
    return 0;
}

/* --- connecting ------------------------------------------------------------------------------- */

int worker_connect(struct worker *w, const struct config_fe_raw *raw, char *why, size_t why_size)
{
    const struct config_offer offer = {
        .features = device_features(w->device),
        .queue_size_max = w->config.max_queue_size,
    };
    struct device_connection connection;
    struct config_frontend fe;
    char text[CONFIG_WHY_SIZE] = "";
    uint32_t remote[N_PORTS];
    int r;

    worker_disconnect(w);
    r = config_frontend_parse(raw, &offer, &fe, text);
    if (r < 0) {
        snprintf(why, why_size, "%s", text);
        return r;
    }
    connection = (struct device_connection){.features = fe.features, .control_ref = fe.control.ref};
    for (unsigned i = 0; i < VIOMMU_N_QUEUES; i++)
        connection.queue[i] = (struct device_queue_setup){fe.queue[i].size, fe.queue[i].desc,
                                                          fe.queue[i].driver, fe.queue[i].device};
    r = device_connect(w->device, &connection, why, why_size);
    if (r < 0)
        return r;
    remote[PORT_CONTROL] = fe.control.port;
    remote[PORT_QUEUE_0] = fe.queue[VIOMMU_QUEUE_REQUEST].port;
    remote[PORT_QUEUE_1] = fe.queue[VIOMMU_QUEUE_EVENT].port;
    r = worker_bind_ports(w, remote, why, why_size);
    if (r < 0) {
        device_disconnect(w->device);
        return r;
    }
    worker_state_commit(w, remote);
    w->negotiated = fe.features;
    /* What the frontend did before the ports were bound has notified nobody. */
    run_port(w, PORT_CONTROL);
    return 0;
}

void worker_disconnect(struct worker *w)
{
    if (w->device)
        device_disconnect(w->device);
    unbind_ports(w);
    w->negotiated = 0;
    w->work_left = false;
    w->reset_logged = false;
}

/* --- starting --------------------------------------------------------------------------------- */

static size_t power_of_two_below(size_t value)
{
    size_t power = 1;

    while (power <= value / 2)
        power *= 2;
    return power;
}

static void apply_viommu(const struct config_device *c, struct viommu_config *out)
{
    if (config_has(c, CONFIG_PAGE_SIZE_MASK))
        out->page_size_mask = c->page_size_mask;
    if (config_has(c, CONFIG_INPUT_RANGE))
        out->input_range = c->input_range;
    if (config_has(c, CONFIG_DOMAIN_RANGE))
        out->domain_range = c->domain_range;
    if (config_has(c, CONFIG_BYPASS))
        out->bypass = c->bypass;
    if (config_has(c, CONFIG_BYPASS_CONFIG) && !c->bypass_config)
        out->features &= ~VIOMMU_F_BYPASS_CONFIG;
    if (config_has(c, CONFIG_MMIO) && !c->mmio)
        out->features &= ~VIOMMU_F_MMIO;
    if (config_has(c, CONFIG_PROBE_SIZE))
        out->probe_size = c->probe_size;
    if (config_has(c, CONFIG_MAX_MAPPINGS))
        out->max_mappings = c->max_mappings;
    if (config_has(c, CONFIG_MAX_VDOMAINS))
        out->max_vdomains = c->max_vdomains;
    if (config_has(c, CONFIG_MAX_FAULTS))
        out->max_faults = c->max_faults;
}

/* The administrator's configuration within the leased number of pages. */
static struct device_config make_config(const struct config_device *c, uint32_t pages)
{
    struct device_config config = DEVICE_CONFIG_DEFAULT;

    apply_viommu(c, &config.viommu);
    if (config_has(c, CONFIG_QUEUE_SIZE))
        config.max_queue_size = c->queue_size;
    if (config_has(c, CONFIG_MAX_WINDOWS))
        config.mem.max_windows = c->max_windows;
    config.mem.max_pages = pages;
    if (config_has(c, CONFIG_MAX_PAGES) && c->max_pages < pages)
        config.mem.max_pages = c->max_pages;
    if (config.mem.max_pin_pages > config.mem.max_pages)
        config.mem.max_pin_pages = config.mem.max_pages;
    if (config.mem.window_pages > config.mem.max_pages)
        config.mem.window_pages = power_of_two_below(config.mem.max_pages);
    return config;
}

static void close_device(struct worker *w)
{
    worker_disconnect(w);
    worker_endpoints_clear(w);
    w->device = device_free(w->device);
    worker_state_close(w);
    w->may_recover = false;
}

static void close_platform(struct worker *w)
{
    w->events = loop_source_free(w->events);
    if (w->platform)
        w->ops->close(w->platform);
    w->platform = NULL;
}

/*
 * The supervisor is dead or has given this worker up, and SIGKILL is on its way. Until it is here a
 * request whose buffers cannot be mapped would cost the device a reset: the successor answers it.
 */
static void broker_lost(void)
{
    _exit(EXIT_FAILURE);
}

static int open_platform(struct worker *w, const struct msg_start *start, char *why,
                         size_t why_size)
{
    int r;

    if (w->platform && w->domid == start->domid && strcmp(w->ops->name, start->platform) == 0)
        return 0;
    if (w->platform) {
        snprintf(why, why_size, "this worker serves domain %u", w->domid);
        return -EBUSY;
    }
    w->ops = daemon_platform_find(start->platform);
    if (!w->ops) {
        snprintf(why, why_size, "platform %s is not built in", start->platform);
        return -ENOENT;
    }
    w->brokered = w->options->broker_fd >= 0 ? w->ops->brokered : NULL;
    if (w->brokered) {
        broker_on_lost(broker_lost);
        r = w->brokered->open(&w->platform, start->domid, w->options->broker_fd);
    } else {
        r = w->ops->open(&w->platform, start->domid);
    }
    if (r < 0) {
        w->platform = NULL;
        snprintf(why, why_size, "platform %s: %s", start->platform, strerror(-r));
        return r;
    }
    w->domid = start->domid;
    w->events = loop_add_fd(w->loop, w->ops->event_fd(w->platform), LOOP_READ, on_events, w);
    if (w->events)
        return 0;
    close_platform(w);
    snprintf(why, why_size, "out of memory");
    return -ENOMEM;
}

static int make_device(struct worker *w, char *why, size_t why_size)
{
    const struct device_host host = {
        .grants = w->brokered ? w->brokered->grants : w->ops->grants,
        .grants_ctx = w->platform,
        .notify_queue = notify_queue,
        .notify_control = notify_control,
        .ctx = w,
    };
    const char *reason = NULL;
    int r = device_new(&w->device, &w->config, &host, &reason);

    if (r == 0) {
        device_set_file(w->device, w->file);
        return 0;
    }
    w->device = NULL;
    snprintf(why, why_size, "viommu/config: %s", reason ? reason : strerror(-r));
    return r;
}

/* Takes the file that came with the message, if any, and the text of the configuration. */
static int take_file_and_text(struct worker *w, const struct msg_start *start, char *why,
                              size_t why_size)
{
    int fd = w->msg_fd, r = 0;

    w->msg_fd = -1;
    if (fd >= 0)
        r = worker_state_open(w, fd);
    if (r < 0)
        log_warn("no state file: %s", strerror(-r));
    if (start->recover) {
        r = worker_state_read(w, why, why_size);
        if (r < 0)
            return r;
        memcpy(w->config_text, w->setup.text, sizeof(w->config_text));
        w->has_config_text = w->setup.has_text;
        return 0;
    }
    snprintf(w->config_text, sizeof(w->config_text), "%s", start->config ? start->config : "");
    w->has_config_text = start->config != NULL;
    return 0;
}

/* What was offered to this guest is fixed, whatever the nodes say now. */
static void keep_offer(struct worker *w)
{
    w->config.viommu = w->setup.viommu;
    w->config.max_queue_size = w->setup.max_queue_size;
    w->config.max_map_pages = w->setup.max_map_pages;
    w->offered = true;
    w->may_recover = true;
}

static void limit(size_t *value, size_t most, const char *name)
{
    if (*value <= most)
        return;
    log_warn("state file: %s=%zu, of which %zu are configured", name, *value, most);
    *value = most;
}

/* The dead worker may have been in its guest's hands, and have written that it had larger ones. */
static void keep_limits(struct worker *w, const struct msg_start *start)
{
    char text[CONFIG_WHY_SIZE] = "";
    struct config_device config;
    struct device_config most;

    if (config_device_parse(start->config, &config, text) < 0) {
        log_warn("viommu/config: %s; the limits are the default ones", text);
        config = (struct config_device){.present = 0};
    }
    most = make_config(&config, start->pages);
    limit(&w->config.viommu.max_vdomains, most.viommu.max_vdomains, "max-vdomains");
    limit(&w->config.viommu.max_faults, most.viommu.max_faults, "max-faults");
    limit(&w->config.mem.max_windows, most.mem.max_windows, "max-windows");
}

static int configure(struct worker *w, const struct msg_start *start, char *why, size_t why_size)
{
    char text[CONFIG_WHY_SIZE] = "";
    struct config_device config;
    int r = take_file_and_text(w, start, why, why_size);

    if (r < 0)
        return r;
    r = config_device_parse(w->has_config_text ? w->config_text : NULL, &config, text);
    if (r < 0) {
        snprintf(why, why_size, "%s", text);
        return r;
    }
    w->config = make_config(&config, start->pages);
    w->given = config;
    w->offered = false;
    w->offer_stale = false;
    if (start->recover) {
        keep_offer(w);
        keep_limits(w, start);
    }
    return 0;
}

int worker_start(struct worker *w, const struct msg_start *start, char *why, size_t why_size)
{
    char tag[64];
    int r;

    close_device(w);
    snprintf(tag, sizeof(tag), "d%u/%u", start->domid, start->number);
    daemon_log_start(w->options, tag);
    r = configure(w, start, why, why_size);
    if (r < 0) {
        close_device(w);
        return r;
    }
    r = open_platform(w, start, why, why_size);
    if (r == 0)
        r = make_device(w, why, why_size);
    if (r == 0)
        r = worker_sandbox(w, why, why_size);
    if (r < 0)
        close_device(w);
    return r;
}

/* --- process ---------------------------------------------------------------------------------- */

static void on_message(struct ctl_conn *conn, json_t *msg, const int *fds, size_t n_fds, void *ctx)
{
    struct worker *w = ctx;
    json_t *reply;
    int r;

    for (size_t i = 1; i < n_fds; i++)
        close(fds[i]);
    w->msg_fd = n_fds > 0 ? fds[0] : -1;
    reply = worker_command(w, msg);
    if (w->msg_fd >= 0)
        close(w->msg_fd);
    w->msg_fd = -1;
    r = reply ? ctl_conn_send(conn, reply, w->reply_fds, w->n_reply_fds) : -EPROTO;
    w->n_reply_fds = 0;
    json_decref(reply);
    if (r < 0) {
        log_err("cannot answer the supervisor: %s", strerror(-r));
        loop_quit(w->loop, 1);
    }
}

static void on_closed(struct ctl_conn *conn, int reason, void *ctx)
{
    struct worker *w = ctx;

    w->conn = ctl_conn_free(conn);
    if (reason < 0)
        log_err("lost the supervisor: %s", strerror(-reason));
    loop_quit(w->loop, reason < 0 ? 1 : 0);
}

static const struct ctl_conn_ops conn_ops = {.message = on_message, .closed = on_closed};

/* Keeps standard descriptors, `fd` and the broker's; whatever else the parent had open is not ours.
 */
static int isolate(int fd, int broker_fd)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    if (fd != WORKER_FD && dup2(fd, WORKER_FD) < 0)
        return -errno;
    closefrom(broker_fd == BROKER_FD ? BROKER_FD + 1 : WORKER_FD + 1);
    if (broker_fd == BROKER_FD && fcntl(BROKER_FD, F_SETFD, FD_CLOEXEC) < 0)
        return -errno;
    if (fcntl(WORKER_FD, F_SETFD, FD_CLOEXEC) < 0)
        return -errno;
    return 0;
}

static int init(struct worker *w)
{
    w->loop = loop_new();
    w->endpoints = idmap_new();
    if (!w->loop || !w->endpoints)
        return -ENOMEM;
    w->leftover = loop_add_deferred(w->loop, on_leftover, w);
    w->conn = ctl_conn_new(w->loop, WORKER_FD, &conn_ops, w);
    return w->leftover && w->conn ? 0 : -ENOMEM;
}

static void fini(struct worker *w)
{
    /* Whoever is connected was not told to go: a successor can serve it. */
    if (w->device)
        device_leave_file(w->device);
    close_device(w);
    close_platform(w);
    w->endpoints = idmap_free(w->endpoints);
    w->conn = ctl_conn_free(w->conn);
    w->leftover = loop_source_free(w->leftover);
    w->loop = loop_free(w->loop);
}

int worker_run(const struct daemon_options *options)
{
    struct worker w = {
        .options = options, .file_fd = -1, .msg_fd = -1, .log_limit = RATELIMIT_INIT(10, 5000)};
    int r;

    /* The name in `ps`; the executable's path is /proc/self/exe. */
    (void)prctl(PR_SET_NAME, "viommu-worker");
    r = isolate(options->worker_fd, options->broker_fd);
    if (r == 0)
        r = init(&w);
    if (r < 0) {
        log_err("worker cannot start: %s", strerror(-r));
        fini(&w);
        return 1;
    }
    r = loop_run(w.loop);
    fini(&w);
    return r < 0 ? 1 : r;
}
