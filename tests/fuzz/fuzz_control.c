/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The whole supervisor (backend/daemon/supervisor.c and what hangs on it) between three parties:
 * clients of the control socket, workers that a guest may have taken over, and a xenstore in memory
 * with toolstack, guests and administrator. A worker's process is a number and one end of a socket
 * pair: the wrapped worker_spawn, kill and waitpid.
 *
 * A client's request is answered once; an answer is an object that says whether it went well, with
 * a printable reason if not. What a worker says reaches xenstore as printable text only. State 6
 * is not written while a worker of that directory lives that may hold guest memory. When everybody
 * has gone, no device, worker, leased page or descriptor is left.
 */
#include <config.h>

/* Its parts are static, and its own main loop would never end. */
#include "backend/daemon/supervisor.c"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>

#include "backend/daemon/spawn.h"
#include "common/ctl_frame.h"
#include "common/le.h"
#include "tests/fuzz/sock.h"
#include "tests/support/xs_fake.h"

#define B           5u
#define MAX_STEPS   120u
#define MAX_WORKERS 24u
#define MAX_CLIENTS 3u
#define FIRST_PID   0x3fffff00 /* above any pid_max */

static const struct platform_ops platform = {.name = "fuzz"};
const struct platform_ops *const daemon_platforms[] = {&platform, NULL};

struct peer {
    int fd; /* -1: closed by us */
    struct ctl_rx rx;
};

struct fake_worker {
    struct peer peer;
    bool used, dead;
    bool holds;  /* guest memory */
    bool breach; /* has given an answer that nobody asked for */
    bool lied;   /* has sent bytes whose meaning is not looked at here */
    bool orphan; /* of a directory that is gone: a later one at that place is another device */
    uint32_t domid, number;
};

struct client {
    struct peer peer;
    bool sound; /* has sent whole objects only */
    unsigned sent, answered;
};

static struct {
    struct supervisor s;
    struct xs_fake *store;
    struct xs_ops store_ops;
    int event;
    struct fake_worker workers[MAX_WORKERS];
    unsigned n_workers;
    struct client clients[MAX_CLIENTS];
    void (*accept)(int fd, void *ctx);
    void *accept_ctx;
    bool spawn_fails;
} t;

/* --- what is wrapped -------------------------------------------------------------------------- */

int __wrap_xsc_open(struct xsc *out);
int __wrap_ctl_server_new(struct ctl_server **out, struct loop *loop, const char *path,
                          void (*accept_fn)(int fd, void *ctx), void *ctx);
struct ctl_server *__wrap_ctl_server_free(struct ctl_server *server);
int __wrap_worker_spawn(const struct daemon_options *options, int broker_fd, pid_t *pid_out,
                        int *fd_out);
int __wrap_kill(pid_t pid, int signo);
int __real_kill(pid_t pid, int signo);
pid_t __wrap_waitpid(pid_t pid, int *status, int flags);
pid_t __real_waitpid(pid_t pid, int *status, int flags);

static int store_fd(void *ctx)
{
    (void)ctx;
    return t.event;
}

int __wrap_xsc_open(struct xsc *out)
{
    *out = xs_fake_client(t.store);
    t.store_ops = *out->ops;
    t.store_ops.fd = store_fd;
    out->ops = &t.store_ops;
    return 0;
}

int __wrap_ctl_server_new(struct ctl_server **out, struct loop *loop, const char *path,
                          void (*accept_fn)(int fd, void *ctx), void *ctx)
{
    (void)loop;
    (void)path;
    t.accept = accept_fn;
    t.accept_ctx = ctx;
    *out = NULL;
    return 0;
}

struct ctl_server *__wrap_ctl_server_free(struct ctl_server *server)
{
    return server;
}

static void socket_pair(int fds[2])
{
    FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    FUZZ_CHECK(fcntl(fds[0], F_SETFL, O_NONBLOCK) == 0);
    FUZZ_CHECK(fcntl(fds[1], F_SETFL, O_NONBLOCK) == 0);
}

int __wrap_worker_spawn(const struct daemon_options *options, int broker_fd, pid_t *pid_out,
                        int *fd_out)
{
    struct fake_worker *w = &t.workers[t.n_workers];
    int fds[2];

    (void)options;
    FUZZ_CHECK(broker_fd < 0);
    if (t.spawn_fails || t.n_workers == MAX_WORKERS)
        return -EAGAIN;
    socket_pair(fds);
    *w = (struct fake_worker){.peer = {.fd = fds[1]}, .used = true};
    *fd_out = fds[0];
    *pid_out = FIRST_PID + (pid_t)t.n_workers++;
    return 0;
}

static void peer_close(struct peer *p)
{
    ctl_rx_reset(&p->rx);
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
}

static void worker_dies(struct fake_worker *w)
{
    w->dead = true;
    w->holds = false;
    peer_close(&w->peer);
    FUZZ_CHECK(raise(SIGCHLD) == 0);
}

static struct fake_worker *worker_of(pid_t pid)
{
    return pid >= FIRST_PID && pid < FIRST_PID + (pid_t)MAX_WORKERS ? &t.workers[pid - FIRST_PID]
                                                                    : NULL;
}

int __wrap_kill(pid_t pid, int signo)
{
    struct fake_worker *w = worker_of(pid);

    if (!w)
        return __real_kill(pid, signo);
    FUZZ_CHECK(w->used);
    if (!w->dead)
        worker_dies(w);
    return 0;
}

pid_t __wrap_waitpid(pid_t pid, int *status, int flags)
{
    struct fake_worker *w = worker_of(pid);

    if (!w)
        return __real_waitpid(pid, status, flags);
    FUZZ_CHECK(w->used);
    if (!w->dead)
        return 0;
    if (status)
        *status = SIGKILL;
    return pid;
}

/* --- sending and receiving -------------------------------------------------------------------- */

static void send_text(int fd, const char *text, size_t n_fds)
{
    uint8_t frame[CTL_HEAD_SIZE + 2048];
    size_t n = strlen(text);

    FUZZ_CHECK(n <= sizeof(frame) - CTL_HEAD_SIZE);
    le32_store(frame, (uint32_t)n);
    memcpy(frame + CTL_HEAD_SIZE, text, n);
    (void)fuzz_send(fd, frame, n + CTL_HEAD_SIZE, n_fds);
}

/* The next object that the supervisor has sent to this peer; NULL: none for now. */
static json_t *next_message(struct peer *p)
{
    json_t *msg = NULL;

    if (p->fd < 0 || ctl_rx_read(&p->rx, p->fd) != 1)
        return NULL;
    FUZZ_CHECK(ctl_rx_parse(&p->rx, &msg) == 0);
    ctl_rx_reset(&p->rx);
    return msg;
}

static bool printable(const char *text, size_t max)
{
    size_t len = text ? strlen(text) : 0;

    for (size_t i = 0; i < len; i++) {
        if (text[i] < ' ' || text[i] > '~')
            return false;
    }
    return len <= max;
}

/* --- clients ---------------------------------------------------------------------------------- */

static void check_answer(const json_t *msg)
{
    const json_t *ok = json_object_get(msg, "ok");
    const char *error = json_string_value(json_object_get(msg, "error"));

    FUZZ_CHECK(json_is_boolean(ok));
    if (json_is_false(ok))
        FUZZ_CHECK(error && error[0] && printable(error, 4096));
}

static void client_reads(struct client *c)
{
    json_t *msg;

    while ((msg = next_message(&c->peer)) != NULL) {
        check_answer(msg);
        c->answered++;
        FUZZ_CHECK(!c->sound || c->answered <= c->sent);
        json_decref(msg);
    }
}

static void client_connects(struct client *c)
{
    int fds[2];

    peer_close(&c->peer);
    socket_pair(fds);
    *c = (struct client){.peer = {.fd = fds[1]}, .sound = true};
    t.accept(fds[0], t.accept_ctx);
}

static void step_client(struct fuzz_in *in)
{
    static const char *const commands[] = {
        "list",         "show",          "mappings",        "dma-read",
        "dma-write",    "endpoint-list", "endpoint-add",    "endpoint-remove",
        "endpoint-add", "log-level",     "endpoint-open-fd"};
    static const char *const devices[] = {"7/0", "7/1", "8/0", "7/00", "99999/0"};
    uint8_t how = fuzz_u8(in), v = fuzz_u8(in);
    struct client *c = &t.clients[v % MAX_CLIENTS];
    char text[1024];

    if (c->peer.fd < 0 || how >= 250)
        client_connects(c);
    if (how >= 240) {
        uint8_t bytes[64];
        size_t n = fuzz_take(in, bytes, 1 + fuzz_u8(in) % sizeof(bytes));

        c->sound = false;
        (void)fuzz_send(c->peer.fd, bytes, n, how & 3);
    } else if (how >= 232) {
        peer_close(&c->peer);
    } else {
        char *line = fuzz_line(in);
        json_t *msg;

        snprintf(text, sizeof(text), "{\"command\":\"%s\",\"device\":\"%s\"%.700s}",
                 commands[how % ARRAY_SIZE(commands)], devices[v / 4 % ARRAY_SIZE(devices)], line);
        free(line);
        msg = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
        c->sound = c->sound && json_is_object(msg);
        json_decref(msg);
        c->sent++;
        send_text(c->peer.fd, text, how >= 224 ? v & 3 : 0);
    }
}

/* --- workers ---------------------------------------------------------------------------------- */

static void note_request(struct fake_worker *w, const char *command, const json_t *msg)
{
    uint32_t domid, number;

    if (!strcmp(command, "start")) {
        FUZZ_CHECK(msg_u32(msg, "domid", UINT32_MAX, &domid) == 0);
        FUZZ_CHECK(msg_u32(msg, "number", UINT32_MAX, &number) == 0);
        w->domid = domid;
        w->number = number;
        w->holds = false;
    }
    /* From here on: it may have mapped before it answers. */
    if (!strcmp(command, "connect") || !strcmp(command, "recover"))
        w->holds = true;
}

static const char *good_members(const char *command)
{
    if (!strcmp(command, "offer"))
        return ",\"features\":\"0x330000077\",\"queue_size\":1024,\"map_pages\":64,"
               "\"grant_pages\":500,\"endpoints\":\"id=0x8 dma=soft\"";
    if (!strcmp(command, "endpoint-add"))
        return ",\"endpoints\":\"id=0x8 dma=soft\",\"restart\":true";
    if (!strcmp(command, "endpoint-remove"))
        return ",\"endpoints\":\"\"";
    return "";
}

/* An answer that is as it should be but for what the input says. */
static void answer(struct fuzz_in *in, struct fake_worker *w, uint8_t how, const char *command,
                   uint32_t id)
{
    char text[1024], *line = how >= 96 ? fuzz_line(in) : NULL;

    if (how < 96)
        snprintf(text, sizeof(text), "{\"id\":%u,\"ok\":true%s}", id, good_members(command));
    else if (how < 128)
        snprintf(text, sizeof(text), "{\"id\":%u,\"ok\":false,\"error\":\"%.700s\"}", id, line);
    else if (how < 192)
        snprintf(text, sizeof(text), "{\"id\":%u,\"ok\":true%.700s}", id, line);
    else if (how < 208)
        snprintf(text, sizeof(text), "{\"id\":%u%.700s}", id, line);
    else
        snprintf(text, sizeof(text), "{\"id\":%u,\"ok\":true%s%.300s}", id + (how >> 2 & 1),
                 good_members(command), line);
    free(line);
    w->breach = w->breach || (how >= 208 && how & 4);
    /* Whoever says that it holds nothing any more is believed, here as there. */
    if (!strcmp(command, "disconnect"))
        w->holds = false;
    send_text(w->peer.fd, text, how >= 200 ? how & 3 : 0);
}

static void step_worker(struct fuzz_in *in)
{
    uint8_t how = fuzz_u8(in), v = fuzz_u8(in);
    struct fake_worker *w = t.n_workers ? &t.workers[v % t.n_workers] : NULL;
    const char *command;
    uint8_t bytes[64];
    uint32_t id;
    json_t *msg;

    if (!w || w->dead)
        return;
    if (how >= 248) {
        worker_dies(w);
        return;
    }
    if (how >= 240) {
        w->lied = true;
        (void)fuzz_send(w->peer.fd, bytes, fuzz_take(in, bytes, 1 + fuzz_u8(in) % 63), how & 3);
        return;
    }
    msg = next_message(&w->peer);
    if (!msg)
        return;
    FUZZ_CHECK(msg_parse_request(msg, &command, &id) == 0);
    note_request(w, command, msg);
    answer(in, w, how, command, id);
    json_decref(msg);
}

/* --- the store -------------------------------------------------------------------------------- */

static const struct {
    uint32_t domid, devid;
} places[] = {{7, 0}, {7, 1}, {8, 0}};

/* A write that was answered EIO is a lost connection; the time until it is tried anew is over. */
static void connects_again(void)
{
    if (t.s.store_lost)
        on_store_timer(&t.s);
}

static void put_line(struct fuzz_in *in, const char *path)
{
    char *line = fuzz_line(in);

    xs_fake_put(t.store, path, line);
    free(line);
}

/* The toolstack has removed the directory, or made it anew in one go. */
static void device_is_another(uint32_t domid, uint32_t devid)
{
    for (unsigned i = 0; i < t.n_workers; i++) {
        struct fake_worker *w = &t.workers[i];

        /* One that has not been told yet may be its, too. */
        w->orphan = w->orphan || w->domid == 0 || (w->domid == domid && w->number == devid);
    }
}

static void good_frontend(uint32_t domid, uint32_t devid)
{
    xs_fake_put(t.store, xs_fake_fe(domid, devid, XS_NODE_VERSION), "1");
    xs_fake_put(t.store, xs_fake_fe(domid, devid, XS_NODE_FEATURES), "0x300000000");
    xs_fake_put(t.store, xs_fake_fe(domid, devid, XS_NODE_STATE), "3");
}

static void step_store(struct fuzz_in *in)
{
    static const char *const states[] = {"1", "2", "3", "4", "5", "6", "7", "0", "x", ""};
    uint8_t op = fuzz_u8(in), v = fuzz_u8(in);
    uint32_t domid = places[v % 3].domid, devid = places[v % 3].devid;
    char node[64];

    switch (op % 10) {
    case 0:
        xs_fake_add_device(t.store, B, domid, devid);
        device_is_another(domid, devid);
        break;
    case 1:
        xs_fake_remove_device(t.store, B, domid, devid);
        device_is_another(domid, devid);
        break;
    case 2:
    case 3:
        good_frontend(domid, devid);
        break;
    case 4:
        xs_fake_put(t.store, xs_fake_fe(domid, devid, XS_NODE_STATE), states[v / 3 % 10]);
        break;
    case 5:
        xs_fake_put(t.store, xs_fake_be(B, domid, devid, XS_NODE_ONLINE), "0");
        xs_fake_put(t.store, xs_fake_be(B, domid, devid, XS_NODE_STATE), "5");
        break;
    case 6:
        snprintf(node, sizeof(node), "viommu/endpoint-%08x", v / 3 % 4);
        if (op & 0x80)
            xs_fake_del(t.store, xs_fake_be(B, domid, devid, node));
        else
            put_line(in, xs_fake_be(B, domid, devid, node));
        break;
    case 7:
        put_line(in, xs_fake_be(B, domid, devid, "viommu/config"));
        break;
    case 8:
        t.store->fail_err = op & 0x80 ? -EIO : -EAGAIN;
        t.store->fail_op = v % XS_FAKE_N_OPS;
        /* The store is read and watched all the time: an error there ends the daemon, rightly. */
        if (t.store->fail_op == XS_FAKE_WRITE || t.store->fail_op == XS_FAKE_RM)
            t.store->fail_at = 1 + op / 10 % 8;
        break;
    default:
        t.spawn_fails = v & 1;
        if (v & 2)
            connects_again();
        break;
    }
}

/* --- the run ---------------------------------------------------------------------------------- */

static void check_place(uint32_t domid, uint32_t devid)
{
    const char *state = xs_fake_get(t.store, xs_fake_be(B, domid, devid, XS_NODE_STATE));

    FUZZ_CHECK(printable(xs_fake_get(t.store, xs_fake_be(B, domid, devid, XS_NODE_ENDPOINTS)),
                         XS_ENDPOINTS_VALUE_MAX));
    FUZZ_CHECK(printable(xs_fake_get(t.store, xs_fake_be(B, domid, devid, XS_NODE_ERROR)),
                         XS_ERROR_VALUE_MAX));
    for (unsigned i = 0; state && !strcmp(state, "6") && i < t.n_workers; i++) {
        const struct fake_worker *w = &t.workers[i];

        FUZZ_CHECK(!w->holds || w->lied || w->orphan || w->domid != domid || w->number != devid);
    }
}

/* Who breaks the protocol is killed at once, if anybody still listens to it: one that has been told
 * to stop may have messages from before that before it. */
static void check_worker(const struct fake_worker *w)
{
    struct pollfd p = {.fd = w->peer.fd, .events = POLLRDHUP};

    if (w->breach && !w->dead)
        FUZZ_CHECK(poll(&p, 1, 0) == 1 && (p.revents & POLLRDHUP));
}

static void turn(void)
{
    for (unsigned i = 0; i < 3; i++)
        FUZZ_CHECK(loop_turn(t.s.loop, 0) == 0);
    for (unsigned i = 0; i < MAX_CLIENTS; i++)
        client_reads(&t.clients[i]);
    for (unsigned i = 0; i < t.n_workers; i++)
        check_worker(&t.workers[i]);
    for (size_t i = 0; i < ARRAY_SIZE(places); i++)
        check_place(places[i].domid, places[i].devid);
}

/* Everything goes away and nothing fails any more: nothing may stay, and each client has had its
 * answers. */
static void wind_up(void)
{
    t.store->fail_at = 0;
    connects_again();
    xs_fake_del(t.store, "/local/domain/5/backend/virtio");
    for (unsigned k = 0; k < 8; k++) {
        for (unsigned i = 0; i < t.n_workers; i++) {
            if (!t.workers[i].dead)
                worker_dies(&t.workers[i]);
        }
        turn();
    }
    FUZZ_CHECK(!t.s.devices && !t.s.env.links.first && t.s.env.links.budget.leased == 0);
    for (unsigned i = 0; i < MAX_CLIENTS; i++) {
        struct client *c = &t.clients[i];

        FUZZ_CHECK(c->peer.fd < 0 || !c->sound || c->answered == c->sent);
        peer_close(&c->peer);
    }
    turn();
}

static void no_log(enum log_level level, const char *line, void *ctx)
{
    (void)level;
    (void)line;
    (void)ctx;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct daemon_options options = {.control_path = "/fuzz",
                                                  .pages = 1000,
                                                  .pages_per_device = 600,
                                                  .broker_fd = -1,
                                                  .max_recoveries = 3,
                                                  .worker_fd = -1,
                                                  .platform = &platform};
    static void (*const steps[])(struct fuzz_in * in) = {step_store, step_worker, step_client,
                                                         step_worker};
    struct fuzz_in in = {data, size};
    unsigned before = fuzz_open_descriptors();

    memset(&t, 0, sizeof(t));
    for (unsigned i = 0; i < MAX_CLIENTS; i++)
        t.clients[i].peer.fd = -1;
    log_set_sink(no_log, NULL);
    log_set_level(LOG_LEVEL_INFO);
    t.event = eventfd(1, EFD_CLOEXEC); /* always ready: the store is looked at in each turn */
    t.store = xs_fake_new(B);
    xs_fake_put(t.store, XS_PATH_OWN_DOMID, "5");
    xs_fake_add_device(t.store, B, 7, 0);
    FUZZ_CHECK(init(&t.s, &options) == 0);
    for (unsigned i = 0; in.n > 0 && i < MAX_STEPS; i++) {
        uint8_t op = fuzz_u8(&in);

        steps[op % ARRAY_SIZE(steps)](&in);
        if (op >= 64)
            turn();
    }
    wind_up();
    fini(&t.s);
    close(t.event);
    t.store = xs_fake_free(t.store);
    FUZZ_CHECK(fuzz_open_descriptors() == before);
    return 0;
}
