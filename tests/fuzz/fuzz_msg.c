/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a hostile peer can send over a control socket or a worker's: frames in any pieces through
 * ctl_frame.c, JSON texts through every parser of msg.c, and whole sessions of a worker through
 * link.c. The worker's process is a number here: the wrapped worker_spawn gives a socket pair,
 * the wrapped kill and waitpid let it die.
 */
#include <config.h>

#include "backend/daemon/link.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include "backend/daemon/spawn.h"
#include "backend/platform/platform.h"
#include "common/ctl_frame.h"
#include "common/le.h"
#include "tests/fuzz/sock.h"

/* options.c wants the program's table. */
const struct platform_ops *const daemon_platforms[] = {NULL};

#define FAKE_PID 0x3ffffff1 /* above any pid_max */

static bool worker_dead;
static int worker_end = -1; /* the supervisor's, for worker_spawn to hand out */

static void no_log(enum log_level level, const char *line, void *ctx)
{
    (void)level;
    (void)line;
    (void)ctx;
}

/* --- messages --------------------------------------------------------------------------------- */

static void try_start(const json_t *msg)
{
    struct msg_start s, again;
    json_t *copy;

    if (msg_parse_start(msg, &s) < 0)
        return;
    copy = msg_new_start(1, &s);
    FUZZ_CHECK(copy && msg_parse_start(copy, &again) == 0);
    FUZZ_CHECK(!strcmp(s.platform, again.platform) && s.domid == again.domid);
    FUZZ_CHECK(s.number == again.number && s.pages == again.pages);
    FUZZ_CHECK(!s.config == !again.config);
    FUZZ_CHECK(!s.config || !strcmp(s.config, again.config));
    json_decref(copy);
}

static void try_connect(const json_t *msg)
{
    struct config_fe_raw raw, again;
    json_t *copy;

    if (msg_parse_connect(msg, &raw) < 0)
        return;
    copy = msg_new_connect(1, &raw);
    FUZZ_CHECK(copy && msg_parse_connect(copy, &again) == 0);
    for (unsigned i = 0; i < CONFIG_FE_N_NODES; i++) {
        FUZZ_CHECK(raw.node[i].status == again.node[i].status);
        FUZZ_CHECK(!strcmp(raw.node[i].text, again.node[i].text));
        FUZZ_CHECK(raw.node[i].status == CONFIG_FE_PRESENT || !raw.node[i].text[0]);
    }
    json_decref(copy);
}

static void try_offer(const json_t *msg)
{
    struct msg_offer o, again;
    json_t *copy;

    if (msg_parse_offer(msg, &o) < 0)
        return;
    copy = json_object();
    FUZZ_CHECK(copy && msg_add_offer(copy, &o) == 0 && msg_parse_offer(copy, &again) == 0);
    FUZZ_CHECK(o.features == again.features && o.queue_size == again.queue_size);
    FUZZ_CHECK(o.map_pages == again.map_pages && o.grant_pages == again.grant_pages);
    FUZZ_CHECK(!strcmp(o.endpoints, again.endpoints));
    json_decref(copy);
}

static void try_reply(const json_t *msg)
{
    struct msg_reply r = {.id = 0};
    json_t *copy;

    if (msg_parse_reply(msg, &r) < 0)
        return;
    FUZZ_CHECK(r.id <= INT32_MAX && r.n_fds == 0);
    FUZZ_CHECK(r.ok == !r.error[0] && strlen(r.error) <= MSG_ERROR_MAX);
    copy = r.ok ? msg_new_ok(r.id) : msg_new_error(r.id, "%s", r.error);
    FUZZ_CHECK(copy && msg_parse_reply(copy, &r) == 0);
    json_decref(copy);
}

/* What is sent is what arrives. */
static void try_frame(json_t *msg)
{
    struct ctl_tx *tx;
    json_t *again;

    if (ctl_tx_new(&tx, msg, NULL, 0) < 0)
        return;
    FUZZ_CHECK(le32_load(tx->data) == tx->size - CTL_HEAD_SIZE && tx->size > CTL_HEAD_SIZE);
    again = json_loadb((const char *)tx->data + CTL_HEAD_SIZE, tx->size - CTL_HEAD_SIZE,
                       JSON_REJECT_DUPLICATES, NULL);
    FUZZ_CHECK(again && json_equal(msg, again));
    json_decref(again);
    ctl_tx_free(tx);
}

static void try_message(json_t *msg)
{
    const char *command;
    uint32_t id;

    if (msg_parse_request(msg, &command, &id) == 0)
        FUZZ_CHECK(msg_text_ok(command, strlen(command), 32) && id <= INT32_MAX);
    try_start(msg);
    try_connect(msg);
    try_offer(msg);
    try_reply(msg);
    try_frame(msg);
}

static void fuzz_text(struct fuzz_in *in)
{
    json_t *msg = json_loadb((const char *)in->p, in->n, JSON_REJECT_DUPLICATES, NULL);

    if (json_is_object(msg))
        try_message(msg);
    json_decref(msg);
}

/* --- frames ----------------------------------------------------------------------------------- */

static void socket_pair(int fds[2])
{
    FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
}

static void fuzz_frames(struct fuzz_in *in)
{
    struct ctl_rx rx = {.body = NULL};
    int fds[2], r = 0;

    socket_pair(fds);
    while (in->n > 0 && r >= 0) {
        uint8_t bytes[256];
        uint8_t how = fuzz_u8(in);
        size_t n = fuzz_take(in, bytes, 1 + how % 64);

        (void)fuzz_send(fds[0], bytes, n, how >= 192 ? (size_t)how % 9 : 0);
        while ((r = ctl_rx_read(&rx, fds[1])) == 1) {
            json_t *msg = NULL;

            FUZZ_CHECK(rx.size > 0 && rx.size <= CTL_FRAME_MAX && rx.n_fds <= CTL_MAX_FDS);
            FUZZ_CHECK(rx.got == rx.size + CTL_HEAD_SIZE);
            if (ctl_rx_parse(&rx, &msg) == 0)
                try_message(msg);
            json_decref(msg);
            ctl_rx_reset(&rx);
        }
    }
    FUZZ_CHECK(r == 0 || r == -EPROTO);
    close(fds[0]);
    if (r == 0)
        FUZZ_CHECK(ctl_rx_read(&rx, fds[1]) == (rx.got == 0 ? -ENODATA : -ECONNRESET));
    ctl_rx_reset(&rx);
    close(fds[1]);
}

/* --- a worker's session ----------------------------------------------------------------------- */

#define CALLS 6u

int __wrap_worker_spawn(const struct daemon_options *options, int broker_fd, pid_t *pid_out,
                        int *fd_out);
int __wrap_kill(pid_t pid, int signo);
int __real_kill(pid_t pid, int signo);
pid_t __wrap_waitpid(pid_t pid, int *status, int flags);
pid_t __real_waitpid(pid_t pid, int *status, int flags);

int __wrap_worker_spawn(const struct daemon_options *options, int broker_fd, pid_t *pid_out,
                        int *fd_out)
{
    (void)options;
    (void)broker_fd;
    *pid_out = FAKE_PID;
    *fd_out = worker_end;
    worker_end = -1;
    return 0;
}

int __wrap_kill(pid_t pid, int signo)
{
    if (pid != FAKE_PID)
        return __real_kill(pid, signo);
    worker_dead = true;
    return raise(SIGCHLD);
}

pid_t __wrap_waitpid(pid_t pid, int *status, int flags)
{
    if (pid != FAKE_PID)
        return __real_waitpid(pid, status, flags);
    if (!worker_dead)
        return 0;
    if (status)
        *status = SIGKILL;
    return FAKE_PID;
}

static struct {
    struct link *link;
    struct loop *loop;
    unsigned asked, answered, failed, lost, replies;
    uint32_t ids[2 * CALLS];
    size_t max_fds[2 * CALLS];
} session;

static void on_reply(void *ctx, int error, const struct msg_reply *reply, json_t *msg);

static void ask(size_t max_fds)
{
    uint32_t id = link_next_id(session.link);

    if (session.asked == 2 * CALLS)
        return;
    if (link_request_fds(session.link, msg_new_request("show", id), max_fds, on_reply,
                         (void *)(uintptr_t)session.asked) < 0)
        return;
    session.ids[session.asked] = id;
    session.max_fds[session.asked] = max_fds;
    session.asked++;
}

/* Each request is answered once, in order, by what was made for it; none after the loss. */
static void on_reply(void *ctx, int error, const struct msg_reply *reply, json_t *msg)
{
    unsigned i = (unsigned)(uintptr_t)ctx;
    struct msg_offer offer;

    FUZZ_CHECK(i == session.replies && session.lost == 0);
    session.replies++;
    if (error) {
        FUZZ_CHECK(error == -EPIPE && !reply && !msg);
        session.failed++;
        return;
    }
    FUZZ_CHECK(session.failed == 0 && reply->id == session.ids[i]);
    FUZZ_CHECK(reply->n_fds <= session.max_fds[i]);
    for (size_t k = 0; k < reply->n_fds; k++)
        FUZZ_CHECK(fcntl(reply->fds[k], F_GETFD) == FD_CLOEXEC);
    session.answered++;
    (void)!msg_parse_offer(msg, &offer);
    if (reply->ok)
        ask(i % 3);
}

static void on_lost(void *ctx, const char *how)
{
    (void)ctx;
    FUZZ_CHECK(session.lost++ == 0 && how[0]);
}

static void on_reaped(void *ctx)
{
    (void)ctx;
    loop_quit(session.loop, 0);
}

/* One reply that is right but for what the input says, or any bytes. */
static void send_answer(struct fuzz_in *in, int fd, uint32_t *next)
{
    uint8_t how = fuzz_u8(in);
    size_t n_fds = how >= 224 ? (size_t)how % 7 : 0;
    char *line, frame[512];
    int n;

    if (how % 8 < 5) {
        line = fuzz_line(in);
        n = snprintf(frame + CTL_HEAD_SIZE, sizeof(frame) - CTL_HEAD_SIZE,
                     how % 8 < 3   ? "{\"id\":%u,\"ok\":true%s}"
                     : how % 8 < 4 ? "{\"id\":%u,\"ok\":false,\"error\":\"%s\"}"
                                   : "{\"id\":%u%s}",
                     *next + ((how & 0x60) == 0x60 ? how >> 3 & 3 : 0), line);
        if (n >= (int)(sizeof(frame) - CTL_HEAD_SIZE))
            n = (int)(sizeof(frame) - CTL_HEAD_SIZE) - 1;
        le32_store((uint8_t *)frame, (uint32_t)n);
        free(line);
        (*next)++;
        (void)fuzz_send(fd, frame, (size_t)n + CTL_HEAD_SIZE, n_fds);
    } else {
        n = (int)fuzz_take(in, frame, fuzz_u8(in));
        (void)fuzz_send(fd, frame, (size_t)n, n_fds);
    }
}

static void fuzz_link(struct fuzz_in *in)
{
    struct daemon_options options = {.pages = 1000};
    struct link_set set;
    uint32_t next = 1;
    int fds[2];
    uint8_t calls = fuzz_u8(in);

    memset(&session, 0, sizeof(session));
    socket_pair(fds);
    worker_dead = false;
    worker_end = fds[1];
    session.loop = loop_new();
    FUZZ_CHECK(session.loop && link_set_init(&set, session.loop, &options) == 0);
    set.reaped = on_reaped;
    FUZZ_CHECK(link_new(&session.link, &set, "fuzz", on_lost, NULL) == 0);
    FUZZ_CHECK(link_lease(session.link, 600, false) == 600);
    FUZZ_CHECK(link_lease(session.link, 300, true) <= 500);
    for (unsigned i = 0; i < calls % (CALLS + 1); i++)
        ask(calls >> (i + 2) & 1 ? CTL_MAX_FDS : 0);
    while (in->n > 0)
        send_answer(in, fds[0], &next);
    shutdown(fds[0], SHUT_WR);
    (void)loop_run(session.loop);
    FUZZ_CHECK(session.lost == 1 && session.replies == session.asked);
    FUZZ_CHECK(session.answered + session.failed == session.asked);
    FUZZ_CHECK(set.first == NULL && set.budget.leased == 0);
    link_set_fini(&set);
    loop_free(session.loop);
    close(fds[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const targets[])(struct fuzz_in * in) = {fuzz_text, fuzz_frames, fuzz_link};
    struct fuzz_in in = {data, size};
    unsigned before;

    log_set_sink(no_log, NULL);
    before = fuzz_open_descriptors();
    targets[fuzz_u8(&in) % ARRAY_SIZE(targets)](&in);
    FUZZ_CHECK(fuzz_open_descriptors() == before);
    return 0;
}
