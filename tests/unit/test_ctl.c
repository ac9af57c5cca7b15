/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Control connections over a socketpair, the test being the hostile peer at its other end; servers
 * and the blocking client in a folder of their own, the client in a child process.
 */
#include <config.h>

#include "common/ctl.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "common/le.h"
#include "tests/support/ut.h"

/* Our end of a connection and what it was told. */
struct rig {
    struct loop *loop;
    struct ctl_conn *conn;
    int peer;
    unsigned n_messages;
    json_t *last; /* message, a reference of ours */
    int fds[CTL_MAX_FDS];
    size_t n_fds; /* of the last message; closed with the next or the rig */
    unsigned n_closed;
    int reason;
    bool free_in_message, echo;
    int reuse; /* with free_in_message: takes over the descriptor's number */
    int reused;
};

static void drop_fds(struct rig *rig)
{
    while (rig->n_fds > 0)
        close(rig->fds[--rig->n_fds]);
}

static void on_message(struct ctl_conn *conn, json_t *msg, const int *fds, size_t n_fds, void *ctx)
{
    struct rig *rig = ctx;

    rig->n_messages++;
    json_decref(rig->last);
    rig->last = json_incref(msg);
    drop_fds(rig);
    if (n_fds > 0)
        memcpy(rig->fds, fds, n_fds * sizeof(fds[0]));
    rig->n_fds = n_fds;
    if (rig->echo)
        UT_EQ(ctl_conn_send(conn, msg, fds, n_fds), 0);
    if (rig->free_in_message) {
        rig->conn = ctl_conn_free(conn);
        rig->reused = rig->reuse > 0 ? dup(rig->reuse) : -1;
    }
}

static void on_closed(struct ctl_conn *conn, int reason, void *ctx)
{
    struct rig *rig = ctx;

    UT_TRUE(conn == rig->conn);
    rig->n_closed++;
    rig->reason = reason;
    rig->conn = ctl_conn_free(conn);
}

static const struct ctl_conn_ops ops = {.message = on_message, .closed = on_closed};

static bool rig_init(struct rig *rig)
{
    int pair[2];

    *rig = (struct rig){.peer = -1};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return false;
    rig->peer = pair[1];
    rig->loop = loop_new();
    rig->conn = rig->loop ? ctl_conn_new(rig->loop, pair[0], &ops, rig) : NULL;
    if (!rig->conn)
        close(pair[0]);
    return rig->conn != NULL;
}

static void rig_fini(struct rig *rig)
{
    ctl_conn_free(rig->conn);
    loop_free(rig->loop);
    json_decref(rig->last);
    drop_fds(rig);
    if (rig->peer >= 0)
        close(rig->peer);
}

static void turns(struct rig *rig, unsigned n)
{
    while (n-- > 0)
        UT_EQ(loop_turn(rig->loop, 0), 0);
}

static unsigned count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    if (!dir)
        return 0;
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static size_t make_frame(char *out, const char *text)
{
    size_t len = strlen(text);

    le32_store(out, (uint32_t)len);
    memcpy(out + 4, text, len);
    return len + 4;
}

static void peer_writes(struct rig *rig, const void *data, size_t len)
{
    UT_EQ(send(rig->peer, data, len, MSG_NOSIGNAL), (ssize_t)len);
}

static void peer_says(struct rig *rig, const char *text)
{
    char frame[1024];

    peer_writes(rig, frame, make_frame(frame, text));
}

#define PEER_FDS_MAX 8

static void peer_writes_with_fds(struct rig *rig, const void *data, size_t len, unsigned n_fds)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(PEER_FDS_MAX * sizeof(int))];
    } control = {.bytes = {0}};
    struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    struct msghdr mh = {.msg_iov = &iov,
                        .msg_iovlen = 1,
                        .msg_control = control.bytes,
                        .msg_controllen = CMSG_SPACE(n_fds * sizeof(int))};
    struct cmsghdr *c = CMSG_FIRSTHDR(&mh);

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
    for (unsigned i = 0; i < n_fds; i++)
        memcpy(CMSG_DATA(c) + i * sizeof(int), &rig->peer, sizeof(int));
    UT_EQ(sendmsg(rig->peer, &mh, MSG_NOSIGNAL), (ssize_t)len);
}

/* Reads as the peer; descriptors that come along are counted and closed. */
static size_t peer_reads(struct rig *rig, char *buf, size_t size, unsigned *n_fds_io)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(PEER_FDS_MAX * sizeof(int))];
    } control;
    struct iovec iov = {.iov_base = buf, .iov_len = size};
    struct msghdr mh = {.msg_iov = &iov,
                        .msg_iovlen = 1,
                        .msg_control = control.bytes,
                        .msg_controllen = sizeof(control.bytes)};
    ssize_t n = recvmsg(rig->peer, &mh, MSG_DONTWAIT);
    struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&mh) : NULL;
    size_t n_fds = c ? (c->cmsg_len - CMSG_LEN(0)) / sizeof(int) : 0;

    for (size_t i = 0; i < n_fds; i++) {
        int fd;

        memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
        close(fd);
    }
    *n_fds_io += (unsigned)n_fds;
    return n > 0 ? (size_t)n : 0;
}

static const char *last_command(const struct rig *rig)
{
    return json_string_value(json_object_get(rig->last, "command"));
}

static void a_message_arrives_whole(void)
{
    struct rig rig;

    UT_REQUIRE(rig_init(&rig));
    peer_says(&rig, "{\"command\": \"status\", \"n\": 5}");
    turns(&rig, 1);
    UT_EQ(rig.n_messages, 1);
    UT_STR(last_command(&rig), "status");
    UT_EQ(json_integer_value(json_object_get(rig.last, "n")), 5);
    UT_EQ(rig.n_fds, 0);
    UT_EQ(rig.n_closed, 0);
    rig_fini(&rig);
}

static void a_frame_may_come_byte_by_byte(void)
{
    struct rig rig;
    char frame[100];
    size_t len = make_frame(frame, "{\"command\":\"slow\"}");

    UT_REQUIRE(rig_init(&rig));
    for (unsigned round = 1; round <= 2; round++) {
        for (size_t i = 0; i < len; i++) {
            UT_EQ(rig.n_messages, round - 1);
            peer_writes(&rig, frame + i, 1);
            turns(&rig, 2);
        }
        UT_EQ(rig.n_messages, round);
    }
    UT_STR(last_command(&rig), "slow");
    rig_fini(&rig);
}

static void many_messages_in_one_write_are_told_apart(void)
{
    struct rig rig;
    char frames[4096];
    size_t len = 0;

    UT_REQUIRE(rig_init(&rig));
    for (unsigned i = 0; i < 40; i++) {
        char text[64];

        snprintf(text, sizeof(text), "{\"command\":\"c%u\"}", i);
        len += make_frame(frames + len, text);
    }
    peer_writes(&rig, frames, len);
    turns(&rig, 1);
    UT_TRUE(rig.n_messages < 40); /* the others have their turn too */
    turns(&rig, 40);
    UT_EQ(rig.n_messages, 40);
    UT_STR(last_command(&rig), "c39");
    rig_fini(&rig);
}

static void check_refusal(const void *data, size_t len, int reason)
{
    struct rig rig;

    UT_REQUIRE(rig_init(&rig));
    peer_writes(&rig, data, len);
    turns(&rig, 3);
    UT_EQ(rig.n_messages, 0);
    UT_EQ(rig.n_closed, 1);
    UT_EQ(rig.reason, reason);
    rig_fini(&rig);
}

static void lengths_out_of_bounds_end_the_connection(void)
{
    uint8_t head[8] = {0};

    check_refusal(head, 8, -EPROTO);
    le32_store(head, CTL_FRAME_MAX + 1);
    check_refusal(head, 4, -EPROTO);
    le32_store(head, UINT32_MAX);
    check_refusal(head, 8, -EPROTO);
}

static void bodies_that_are_no_object_end_the_connection(void)
{
    static const char *const bodies[] = {
        "x",
        "{",
        "{}}",
        "[]",
        "5",
        "null",
        "\"text\"",
        "{\"a\":1,\"a\":2}",
        "{\"a\":\"\xff\"}",
        "{\"a\":\"\\u0000\"}",
        "{'a':1}",
        " ",
        "{\"a\":1e999}",
    };

    for (size_t i = 0; i < ARRAY_SIZE(bodies); i++) {
        char frame[128];

        check_refusal(frame, make_frame(frame, bodies[i]), -EBADMSG);
    }
}

static void deep_nesting_ends_the_connection(void)
{
    static char body[100001], frame[100005];

    memset(body, '[', 100000);
    memcpy(body, "{\"a\":", 5);
    check_refusal(frame, make_frame(frame, body), -EBADMSG);
}

static void a_zero_byte_ends_no_message_early(void)
{
    static const char frame[] = "\x04\0\0\0{}\0{";

    check_refusal(frame, 8, -EBADMSG);
}

static void the_longest_frame_is_accepted(void)
{
    struct rig rig;
    char *frame = malloc(CTL_FRAME_MAX + 4);
    size_t sent = 0;

    UT_REQUIRE(frame && rig_init(&rig));
    memset(frame, ' ', CTL_FRAME_MAX + 4);
    le32_store(frame, CTL_FRAME_MAX);
    memcpy(frame + 4, "{\"command\":\"long\"}", 18);
    while (sent < CTL_FRAME_MAX + 4) {
        ssize_t n = send(rig.peer, frame + sent, CTL_FRAME_MAX + 4 - sent, MSG_DONTWAIT);

        sent += n > 0 ? (size_t)n : 0;
        turns(&rig, 1);
    }
    turns(&rig, 1);
    UT_EQ(rig.n_messages, 1);
    UT_STR(last_command(&rig), "long");
    free(frame);
    rig_fini(&rig);
}

static void an_orderly_end_and_a_torn_frame_are_told_apart(void)
{
    struct rig rig;

    UT_REQUIRE(rig_init(&rig));
    peer_says(&rig, "{\"command\":\"bye\"}");
    close(rig.peer);
    rig.peer = -1;
    turns(&rig, 3);
    UT_EQ(rig.n_messages, 1);
    UT_EQ(rig.n_closed, 1);
    UT_EQ(rig.reason, 0);
    rig_fini(&rig);
    for (size_t len = 1; len <= 6; len++) {
        UT_REQUIRE(rig_init(&rig));
        peer_writes(&rig, "\x09\0\0\0{}", len);
        shutdown(rig.peer, SHUT_WR);
        turns(&rig, 3);
        UT_EQ(rig.n_closed, 1);
        UT_EQ(rig.reason, -ECONNRESET);
        rig_fini(&rig);
    }
}

static void descriptors_come_with_their_message(void)
{
    struct rig rig;
    char frame[100];
    size_t len = make_frame(frame, "{\"command\":\"fds\"}");

    UT_REQUIRE(rig_init(&rig));
    peer_writes_with_fds(&rig, frame, len, 2);
    peer_writes(&rig, frame, len);
    turns(&rig, 1);
    UT_EQ(rig.n_messages, 2);
    UT_EQ(rig.n_fds, 0); /* the second frame had none */
    peer_writes_with_fds(&rig, frame, len, CTL_MAX_FDS);
    turns(&rig, 1);
    UT_EQ(rig.n_fds, CTL_MAX_FDS);
    for (size_t i = 0; i < rig.n_fds; i++)
        UT_EQ(fcntl(rig.fds[i], F_GETFD), FD_CLOEXEC);
    rig_fini(&rig);
}

static void surplus_descriptors_are_closed(void)
{
    struct rig rig;
    char frame[100];
    size_t len = make_frame(frame, "{\"command\":\"fds\"}");
    unsigned before;

    UT_REQUIRE(rig_init(&rig));
    before = count_fds();
    peer_writes_with_fds(&rig, frame, len, PEER_FDS_MAX);
    turns(&rig, 1);
    UT_EQ(rig.n_messages, 1);
    UT_EQ(rig.n_fds, CTL_MAX_FDS);
    drop_fds(&rig);
    UT_EQ(count_fds(), before);
    /* A few with every byte. */
    for (size_t i = 0; i < len; i++) {
        peer_writes_with_fds(&rig, frame + i, 1, 3);
        turns(&rig, 1);
    }
    UT_EQ(rig.n_messages, 2);
    UT_EQ(rig.n_fds, CTL_MAX_FDS);
    drop_fds(&rig);
    UT_EQ(count_fds(), before);
    rig_fini(&rig);
}

static void descriptors_of_a_torn_frame_are_closed(void)
{
    struct rig rig;
    unsigned before = count_fds();

    UT_REQUIRE(rig_init(&rig));
    peer_writes_with_fds(&rig, "\x20", 1, 2);
    turns(&rig, 1);
    peer_writes_with_fds(&rig, "\0\0\0{", 4, 1);
    turns(&rig, 1);
    /* close() would not do: the descriptors on their way are the peer's own. */
    shutdown(rig.peer, SHUT_WR);
    turns(&rig, 2);
    UT_EQ(rig.n_closed, 1);
    UT_EQ(rig.reason, -ECONNRESET);
    rig_fini(&rig);
    UT_EQ(count_fds(), before);
    /* And of a frame that was complete and no message. */
    UT_REQUIRE(rig_init(&rig));
    peer_writes_with_fds(&rig, "\1\0\0\0x", 5, 2);
    turns(&rig, 2);
    UT_EQ(rig.reason, -EBADMSG);
    rig_fini(&rig);
    UT_EQ(count_fds(), before);
}

static void an_answer_takes_descriptors_back(void)
{
    struct rig rig;
    unsigned before = count_fds();
    unsigned n_fds = 0;
    char frame[200], got[200];
    size_t len = make_frame(frame, "{\"command\":\"echo\"}");

    UT_REQUIRE(rig_init(&rig));
    rig.echo = true;
    peer_writes_with_fds(&rig, frame, len, 1);
    turns(&rig, 1);
    UT_EQ(peer_reads(&rig, got, sizeof(got), &n_fds), len);
    UT_TRUE(memcmp(got, frame, len) == 0);
    UT_EQ(n_fds, 1);
    rig_fini(&rig);
    UT_EQ(count_fds(), before);
}

/* The number of its descriptor may be another's by the time that the callback returns. */
static void a_connection_can_be_freed_in_its_callback(void)
{
    struct rig rig;
    int other[2];

    UT_REQUIRE(rig_init(&rig));
    UT_REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, other) == 0);
    UT_EQ(send(other[1], "\2\0\0\0{}", 6, 0), 6);
    rig.free_in_message = true;
    rig.echo = true;
    rig.reuse = other[0];
    peer_says(&rig, "{\"command\":\"one\"}");
    peer_says(&rig, "{\"command\":\"two\"}");
    turns(&rig, 3);
    UT_EQ(rig.n_messages, 1);
    UT_EQ(rig.n_closed, 0);
    UT_TRUE(!rig.conn);
    rig_fini(&rig);
    close(rig.reused);
    close(other[0]);
    close(other[1]);
}

static json_t *big_message(size_t size)
{
    char *text = malloc(size + 1);
    json_t *msg;

    if (!text)
        return NULL;
    memset(text, 'x', size);
    text[size] = '\0';
    msg = json_pack("{s:s}", "x", text);
    free(text);
    return msg;
}

static void what_cannot_be_sent_is_refused(void)
{
    struct rig rig;
    json_t *fits = big_message(CTL_FRAME_MAX - 8), *too_big = big_message(CTL_FRAME_MAX - 7);
    json_t *array = json_array();
    int fds[CTL_MAX_FDS + 1] = {0};
    unsigned before;

    UT_REQUIRE(fits && too_big && array && rig_init(&rig));
    before = count_fds();
    UT_EQ(ctl_conn_send(rig.conn, too_big, NULL, 0), -E2BIG);
    UT_EQ(ctl_conn_send(rig.conn, fits, fds, CTL_MAX_FDS + 1), -E2BIG);
    UT_EQ(ctl_conn_send(rig.conn, array, NULL, 0), -EINVAL);
    fds[1] = -1;
    UT_EQ(ctl_conn_send(rig.conn, fits, fds, 2), -EBADF);
    UT_EQ(count_fds(), before);
    UT_EQ(ctl_conn_send(rig.conn, fits, NULL, 0), 0);
    turns(&rig, 2);
    UT_EQ(rig.n_closed, 0);
    rig_fini(&rig);
    json_decref(fits);
    json_decref(too_big);
    json_decref(array);
}

static void a_peer_that_never_reads_is_disconnected(void)
{
    struct rig rig;
    json_t *msg = big_message(200 * 1024);
    unsigned before = count_fds(), n = 0;
    int r = 0;

    UT_REQUIRE(msg && rig_init(&rig));
    while (r == 0 && n < 200) {
        r = ctl_conn_send(rig.conn, msg, &rig.peer, 1);
        n++;
        UT_EQ(rig.n_closed, 0); /* not from inside a send */
    }
    UT_EQ(r, -ENOTCONN);
    UT_TRUE(n > 16 * 1024 / 200 && n < 120);
    UT_EQ(ctl_conn_send(rig.conn, msg, NULL, 0), -ENOTCONN);
    turns(&rig, 2);
    UT_EQ(rig.n_closed, 1);
    UT_EQ(rig.reason, -ENOBUFS);
    rig_fini(&rig);
    UT_EQ(count_fds(), before);
    json_decref(msg);
}

static void a_slow_reader_gets_everything(void)
{
    struct rig rig;
    json_t *msg = big_message(200 * 1024);
    char *buf = malloc(65536);
    size_t got = 0, want = 10 * (200 * 1024 + 8 + 4);
    unsigned n_fds = 0, before = count_fds();

    UT_REQUIRE(msg && buf && rig_init(&rig));
    for (unsigned i = 0; i < 10; i++)
        UT_EQ(ctl_conn_send(rig.conn, msg, &rig.peer, 1), 0);
    for (unsigned i = 0; i < 1000 && got < want; i++) {
        got += peer_reads(&rig, buf, 65536, &n_fds);
        turns(&rig, 1);
    }
    UT_EQ(got, want);
    UT_EQ(n_fds, 10); /* once with each message, however many writes it took */
    UT_EQ(peer_reads(&rig, buf, 65536, &n_fds), 0);
    UT_EQ(rig.n_closed, 0);
    free(buf);
    json_decref(msg);
    rig_fini(&rig);
    UT_EQ(count_fds(), before);
}

static void sending_to_a_peer_that_left_is_no_signal(void)
{
    struct rig rig;
    json_t *msg = json_pack("{s:b}", "ok", 1);

    UT_REQUIRE(msg && rig_init(&rig));
    close(rig.peer);
    rig.peer = -1;
    UT_EQ(ctl_conn_send(rig.conn, msg, NULL, 0), -ENOTCONN);
    turns(&rig, 2);
    UT_EQ(rig.n_closed, 1);
    UT_EQ(rig.reason, -EPIPE);
    json_decref(msg);
    rig_fini(&rig);
}

static void the_peer_has_a_uid(void)
{
    struct rig rig;

    UT_REQUIRE(rig_init(&rig));
    UT_EQ(ctl_conn_peer_uid(rig.conn), (int)getuid());
    rig_fini(&rig);
}

static void what_is_no_socket_is_refused_and_left_alone(void)
{
    struct rig rig = {.peer = -1};
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    struct loop *loop = loop_new();

    UT_REQUIRE(loop && fd >= 0);
    UT_TRUE(!ctl_conn_new(loop, -1, &ops, &rig));
    UT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    close(fd);
    loop_free(loop);
}

/* A server in a folder of its own, which answers through a rig's connection. */
struct server_rig {
    struct rig rig;
    struct ctl_server *server;
    char folder[32], path[64];
    bool close_at_once;
};

static void on_accept(int fd, void *ctx)
{
    struct server_rig *s = ctx;

    if (!s->close_at_once)
        s->rig.conn = ctl_conn_new(s->rig.loop, fd, &ops, &s->rig);
    if (!s->rig.conn)
        close(fd);
}

static bool server_rig_init(struct server_rig *s)
{
    *s = (struct server_rig){.rig = {.peer = -1, .echo = true}, .folder = "/tmp/ut-ctl-XXXXXX"};
    s->rig.loop = loop_new();
    if (!s->rig.loop || !mkdtemp(s->folder))
        return false;
    snprintf(s->path, sizeof(s->path), "%s/socket", s->folder);
    return ctl_server_new(&s->server, s->rig.loop, s->path, on_accept, s) == 0;
}

static void server_rig_fini(struct server_rig *s)
{
    ctl_server_free(s->server);
    UT_EQ(access(s->path, F_OK), -1);
    rig_fini(&s->rig);
    UT_EQ(rmdir(s->folder), 0);
}

/* The blocking call runs in a child, the server's turns here; the child's exit code says 0. */
static int call_in_child(struct server_rig *s, int expected, int timeout_ms)
{
    json_t *request = json_pack("{s:s}", "command", "status");
    int status = -1;
    pid_t pid = fork();

    if (pid == 0) {
        json_t *response = NULL;
        int r = ctl_call(s->path, request, timeout_ms, &response, NULL, NULL);
        bool right = r == expected && (r < 0 ? !response : json_equal(request, response));

        json_decref(request);
        json_decref(response);
        _exit(right ? 0 : 1);
    }
    json_decref(request);
    while (pid > 0 && waitpid(pid, &status, WNOHANG) == 0)
        UT_EQ(loop_turn(s->rig.loop, 10), 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void a_call_is_answered(void)
{
    struct server_rig s;

    UT_REQUIRE(server_rig_init(&s));
    UT_EQ(call_in_child(&s, 0, 10000), 0);
    UT_EQ(loop_turn(s.rig.loop, 0), 0);
    UT_STR(last_command(&s.rig), "status");
    server_rig_fini(&s);
}

static void a_call_ends_without_an_answer(void)
{
    struct server_rig s;

    UT_REQUIRE(server_rig_init(&s));
    s.rig.echo = false;
    UT_EQ(call_in_child(&s, -ETIMEDOUT, 1), 0);
    s.rig.conn = ctl_conn_free(s.rig.conn);
    s.rig.free_in_message = true;
    UT_EQ(call_in_child(&s, -ECONNRESET, 10000), 0);
    server_rig_fini(&s);
}

static void a_call_to_nobody_fails_at_once(void)
{
    json_t *request = json_object(), *response = NULL;
    char longest[200];

    memset(longest, 'x', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    UT_EQ(ctl_call("/nonexistent/socket", request, 10, &response, NULL, NULL), -ENOENT);
    UT_EQ(ctl_call(longest, request, 10, &response, NULL, NULL), -ENAMETOOLONG);
    UT_TRUE(!response);
    json_decref(request);
}

static void the_socket_is_private(void)
{
    struct server_rig s;
    struct stat st;
    mode_t saved = umask(0);

    UT_REQUIRE(server_rig_init(&s));
    umask(saved);
    UT_EQ(stat(s.path, &st), 0);
    UT_EQ(st.st_mode & 0777, 0600);
    server_rig_fini(&s);
}

static void a_live_server_keeps_its_path(void)
{
    struct server_rig s;
    struct ctl_server *second = NULL;

    UT_REQUIRE(server_rig_init(&s));
    UT_EQ(ctl_server_new(&second, s.rig.loop, s.path, on_accept, &s), -EADDRINUSE);
    UT_TRUE(!second);
    UT_EQ(access(s.path, F_OK), 0);
    server_rig_fini(&s);
}

static void a_stale_socket_is_replaced_and_a_file_is_not(void)
{
    struct server_rig s;
    struct ctl_server *second = NULL;
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd;

    UT_REQUIRE(server_rig_init(&s));
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/stale", s.folder);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    UT_EQ(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    close(fd);
    UT_EQ(ctl_server_new(&second, s.rig.loop, addr.sun_path, on_accept, &s), 0);
    /* A path that was taken over meanwhile is not ours to unlink. */
    unlink(addr.sun_path);
    fd = open(addr.sun_path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    close(fd);
    second = ctl_server_free(second);
    UT_EQ(access(addr.sun_path, F_OK), 0);
    UT_EQ(ctl_server_new(&second, s.rig.loop, addr.sun_path, on_accept, &s), -EEXIST);
    UT_EQ(access(addr.sun_path, F_OK), 0);
    unlink(addr.sun_path);
    UT_EQ(ctl_server_new(&second, s.rig.loop, "", on_accept, &s), -EINVAL);
    UT_EQ(ctl_server_new(&second, s.rig.loop, "/nonexistent/x", on_accept, &s), -ENOENT);
    UT_TRUE(!second && !ctl_server_free(NULL));
    server_rig_fini(&s);
}

int main(int argc, char **argv)
{
    static const struct ut_case cases[] = {
        UT_CASE(a_message_arrives_whole),
        UT_CASE(a_frame_may_come_byte_by_byte),
        UT_CASE(many_messages_in_one_write_are_told_apart),
        UT_CASE(lengths_out_of_bounds_end_the_connection),
        UT_CASE(bodies_that_are_no_object_end_the_connection),
        UT_CASE(deep_nesting_ends_the_connection),
        UT_CASE(a_zero_byte_ends_no_message_early),
        UT_CASE(the_longest_frame_is_accepted),
        UT_CASE(an_orderly_end_and_a_torn_frame_are_told_apart),
        UT_CASE(descriptors_come_with_their_message),
        UT_CASE(surplus_descriptors_are_closed),
        UT_CASE(descriptors_of_a_torn_frame_are_closed),
        UT_CASE(an_answer_takes_descriptors_back),
        UT_CASE(a_connection_can_be_freed_in_its_callback),
        UT_CASE(what_cannot_be_sent_is_refused),
        UT_CASE(a_peer_that_never_reads_is_disconnected),
        UT_CASE(a_slow_reader_gets_everything),
        UT_CASE(sending_to_a_peer_that_left_is_no_signal),
        UT_CASE(the_peer_has_a_uid),
        UT_CASE(what_is_no_socket_is_refused_and_left_alone),
        UT_CASE(a_call_is_answered),
        UT_CASE(a_call_ends_without_an_answer),
        UT_CASE(a_call_to_nobody_fails_at_once),
        UT_CASE(the_socket_is_private),
        UT_CASE(a_live_server_keeps_its_path),
        UT_CASE(a_stale_socket_is_replaced_and_a_file_is_not),
    };

    return ut_main(argc, argv, "ctl", cases, ARRAY_SIZE(cases));
}
