/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Workers as the supervisor sees them. A worker answers in order, so the requests form a queue and
 * an answer belongs to its head or is a breach. The end of a worker is one thing only, its
 * process being reaped: a broken connection merely brings that about.
 */
#include <config.h>

#include "backend/daemon/link.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "backend/daemon/grant_broker.h"
#include "backend/daemon/spawn.h"
#include "common/ctl.h"
#include "xenstore/discover.h"

/* All of a device's endpoints may go at once and come again, beside other requests. */
#define MAX_CALLS    (2u * DISCOVER_MAX_ENDPOINTS + 64u)
#define STOP_WAIT_MS 1000u

struct call {
    struct call *next;
    uint32_t id;
    size_t max_fds; /* that the answer may come with */
    link_reply_fn *fn;
    void *ctx;
};

struct link {
    struct link *next;
    struct link_set *set;
    char name[32];
    pid_t pid;
    struct ctl_conn *conn; /* NULL once it is closed */
    int broker_sock;       /* of a broker that has not been started, else -1 */
    struct grant_broker *broker;
    bool reaped; /* only the broker's end is waited for */
    int status;
    struct loop_source *stop_timer;
    link_lost_fn *lost; /* NULL: stopped, nobody is interested */
    void *ctx;
    uint32_t pages;
    uint32_t last_id;
    unsigned n_calls;
    struct call *head, *tail;
};

/* --- calls ------------------------------------------------------------------------------------ */

static struct call *take_call(struct link *link)
{
    struct call *call = link->head;

    if (!call)
        return NULL;
    link->head = call->next;
    if (!link->head)
        link->tail = NULL;
    link->n_calls--;
    return call;
}

static void fail_calls(struct link *link)
{
    struct call *call;

    while ((call = take_call(link)) != NULL) {
        call->fn(call->ctx, -EPIPE, NULL, NULL);
        free(call);
    }
}

uint32_t link_next_id(struct link *link)
{
    return link->last_id == INT32_MAX ? 1 : link->last_id + 1;
}

static int send_request(struct link *link, const json_t *request, int fd)
{
    if (!request)
        return -ENOMEM;
    if (!link->conn)
        return -EPIPE;
    if (link->n_calls >= MAX_CALLS)
        return -EBUSY;
    return ctl_conn_send(link->conn, request, &fd, fd >= 0 ? 1 : 0);
}

static int put_request(struct link *link, json_t *request, int fd, size_t max_fds,
                       link_reply_fn *fn, void *ctx)
{
    struct call *call = calloc(1, sizeof(*call));
    int r = call ? send_request(link, request, fd) : -ENOMEM;

    json_decref(request);
    if (r < 0) {
        free(call);
        return r == -ENOTCONN ? -EPIPE : r;
    }
    link->last_id = link_next_id(link);
    *call = (struct call){.id = link->last_id, .max_fds = max_fds, .fn = fn, .ctx = ctx};
    if (link->tail)
        link->tail->next = call;
    else
        link->head = call;
    link->tail = call;
    link->n_calls++;
    return 0;
}

int link_request(struct link *link, json_t *request, link_reply_fn *fn, void *ctx)
{
    return put_request(link, request, -1, 0, fn, ctx);
}

int link_request_fds(struct link *link, json_t *request, size_t max_fds, link_reply_fn *fn,
                     void *ctx)
{
    return put_request(link, request, -1, max_fds, fn, ctx);
}

int link_request_with(struct link *link, json_t *request, int fd, link_reply_fn *fn, void *ctx)
{
    return put_request(link, request, fd, 0, fn, ctx);
}

/* --- connection ------------------------------------------------------------------------------- */

static void hang_up(struct link *link)
{
    link->conn = ctl_conn_free(link->conn);
    link_kill(link);
}

static void take_message(struct link *link, json_t *msg, const int *fds, size_t n_fds)
{
    struct msg_reply reply;
    struct call *call;

    if (msg_parse_reply(msg, &reply) < 0 || !link->head || reply.id != link->head->id ||
        n_fds > link->head->max_fds) {
        log_err("%s: the worker breaks the protocol and is killed", link->name);
        hang_up(link);
        return;
    }
    reply.fds = fds;
    reply.n_fds = n_fds;
    call = take_call(link);
    call->fn(call->ctx, 0, &reply, msg);
    free(call);
}

static void on_message(struct ctl_conn *conn, json_t *msg, const int *fds, size_t n_fds, void *ctx)
{
    (void)conn;
    take_message(ctx, msg, fds, n_fds);
    for (size_t i = 0; i < n_fds; i++)
        close(fds[i]);
}

static void on_closed(struct ctl_conn *conn, int reason, void *ctx)
{
    struct link *link = ctx;

    (void)conn;
    if (reason < 0)
        log_err("%s: connection to the worker: %s", link->name, strerror(-reason));
    hang_up(link);
}

static const struct ctl_conn_ops conn_ops = {.message = on_message, .closed = on_closed};

/* --- process ---------------------------------------------------------------------------------- */

static void on_stop_timer(void *ctx)
{
    link_kill(ctx);
}

/* With one end of the broker's socket, where there is to be a broker. */
static int spawn_worker(struct link *link, int *fd_out)
{
    const struct daemon_options *options = link->set->options;
    int sv[2] = {-1, -1}, r = 0;

    if (options->grant_broker && options->platform->brokered)
        r = broker_socketpair(sv);
    if (r == 0)
        r = worker_spawn(options, sv[1], &link->pid, fd_out);
    if (sv[1] >= 0)
        close(sv[1]);
    link->broker_sock = sv[0];
    return r;
}

static int open_link(struct link *link)
{
    int r, fd;

    link->stop_timer = loop_add_timer(link->set->loop, on_stop_timer, link);
    if (!link->stop_timer)
        return -ENOMEM;
    r = spawn_worker(link, &fd);
    if (r < 0)
        return r;
    link->conn = ctl_conn_new(link->set->loop, fd, &conn_ops, link);
    if (link->conn)
        return 0;
    close(fd);
    link_kill(link);
    while (waitpid(link->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return -ENOMEM;
}

int link_new(struct link **out, struct link_set *set, const char *name, link_lost_fn *lost,
             void *ctx)
{
    struct link *link = calloc(1, sizeof(*link));
    int r;

    if (!link)
        return -ENOMEM;
    link->set = set;
    link->broker_sock = -1;
    link->lost = lost;
    link->ctx = ctx;
    snprintf(link->name, sizeof(link->name), "%s", name);
    r = open_link(link);
    if (r < 0) {
        loop_source_free(link->stop_timer);
        if (link->broker_sock >= 0)
            close(link->broker_sock);
        free(link);
        return r;
    }
    link->next = set->first;
    set->first = link;
    *out = link;
    return 0;
}

void link_kill(struct link *link)
{
    if (!link->reaped)
        (void)kill(link->pid, SIGKILL);
}

struct link *link_stop(struct link *link)
{
    if (!link)
        return NULL;
    link->lost = NULL;
    fail_calls(link);
    /* The worker sees the end of its connection. */
    link->conn = ctl_conn_free(link->conn);
    loop_timer_arm_ms(link->stop_timer, STOP_WAIT_MS);
    return NULL;
}

/* The process is gone and has been reaped, and its broker has ended. */
static void end_link(struct link *link, int status)
{
    struct link_set *set = link->set;
    char how[96];

    budget_return(&set->budget, link->pages);
    link->conn = ctl_conn_free(link->conn);
    fail_calls(link);
    worker_status_text(status, how, sizeof(how));
    if (link->lost)
        link->lost(link->ctx, how);
    else
        log_debug("%s: stopped worker %d %s", link->name, (int)link->pid, how);
    loop_source_free(link->stop_timer);
    if (link->broker_sock >= 0)
        close(link->broker_sock);
    free(link);
    if (set->reaped)
        set->reaped(set->ctx);
}

static void unlink_link(struct link *link)
{
    struct link **at = &link->set->first;

    while (*at != link)
        at = &(*at)->next;
    *at = link->next;
}

static struct link *reap_one(struct link_set *set)
{
    for (struct link *link = set->first; link; link = link->next) {
        if (!link->reaped && waitpid(link->pid, &link->status, WNOHANG) == link->pid) {
            link->reaped = true;
            return link;
        }
    }
    return NULL;
}

/* What the broker has of the guest is unmapped only when it has ended, too: then the link ends. */
static void on_broker_done(void *ctx, int reason)
{
    struct link *link = ctx;

    link->broker = grant_broker_free(link->broker);
    if (link->reaped) {
        unlink_link(link);
        end_link(link, link->status);
        return;
    }
    if (reason < 0)
        log_err("%s: the worker breaks the grant broker's protocol and is killed", link->name);
    link_kill(link);
}

int link_serve_grants(struct link *link, uint32_t domid)
{
    const struct platform_brokered *brokered = link->set->options->platform->brokered;
    int r;

    if (link->broker_sock < 0)
        return 0;
    r = grant_broker_new(&link->broker, link->set->loop, brokered->broker, domid, link->broker_sock,
                         on_broker_done, link);
    if (r < 0)
        return r;
    link->broker_sock = -1;
    grant_broker_set_pages(link->broker, link->pages);
    return 0;
}

/* Callbacks may start and stop workers: the list is walked from its head each time. */
static void on_sigchld(void *ctx, int signo)
{
    struct link_set *set = ctx;
    struct link *link;

    (void)signo;
    while ((link = reap_one(set)) != NULL) {
        if (link->broker)
            continue;
        unlink_link(link);
        end_link(link, link->status);
    }
}

pid_t link_pid(const struct link *link)
{
    return link->pid;
}

uint32_t link_pages(const struct link *link)
{
    return link->pages;
}

uint32_t link_lease(struct link *link, uint32_t want, bool share)
{
    struct page_budget *budget = &link->set->budget;

    budget_return(budget, link->pages);
    link->pages = share ? budget_lease_share(budget, want) : budget_lease(budget, want);
    if (link->broker)
        grant_broker_set_pages(link->broker, link->pages);
    return link->pages;
}

/* --- set -------------------------------------------------------------------------------------- */

int link_set_init(struct link_set *set, struct loop *loop, const struct daemon_options *options)
{
    *set = (struct link_set){
        .loop = loop,
        .options = options,
        .budget = {.total = options->pages},
    };
    set->sigchld = loop_add_signal(loop, SIGCHLD, on_sigchld, set);
    return set->sigchld ? 0 : -ENOMEM;
}

void link_set_fini(struct link_set *set)
{
    while (set->first) {
        struct link *link = set->first;

        set->first = link->next;
        link->lost = NULL;
        link_kill(link);
        while (!link->reaped && waitpid(link->pid, NULL, 0) < 0 && errno == EINTR)
            ;
        link->reaped = true;
        link->broker = grant_broker_free(link->broker);
        end_link(link, 0);
    }
    set->sigchld = loop_source_free(set->sigchld);
}

static void ignore_reply(void *ctx, int error, const struct msg_reply *reply, json_t *msg)
{
    (void)ctx;
    (void)error;
    (void)reply;
    (void)msg;
}

void link_set_log_level(struct link_set *set, enum log_level level)
{
    for (struct link *link = set->first; link; link = link->next) {
        json_t *msg = msg_new_request("log-level", link_next_id(link));

        if (msg && json_object_set_new(msg, "level", json_string(log_level_name(level))) < 0) {
            json_decref(msg);
            msg = NULL;
        }
        if (link_request(link, msg, ignore_reply, NULL) < 0)
            log_debug("%s: worker not told the log level", link->name);
    }
}
