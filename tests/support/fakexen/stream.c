/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Buffered message streams (stream.h) for hypervisor.c and xenstored.c. Whatever a peer sends is
 * hostile: lengths are checked before anything is allocated for them.
 */
#include <config.h>

#include "tests/support/fakexen/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/un.h>

#define OUT_MAX (4u * 1024 * 1024)
#define FDS_MAX 2

struct out {
    TAILQ_ENTRY(out) link;
    size_t at, len;
    size_t n_fds;
    int fds[FDS_MAX];
    uint8_t bytes[];
};

struct stream {
    struct loop_source *source;
    int fd;
    bool broken;
    int in_fd; /* came with the message that is being received */
    size_t max_body;
    size_t in_len;
    size_t in_size;
    uint8_t *in;
    size_t out_bytes;
    TAILQ_HEAD(, out) out;
    const struct stream_ops *ops;
    void *ctx;
};

static void out_free(struct stream *s, struct out *o)
{
    TAILQ_REMOVE(&s->out, o, link);
    s->out_bytes -= o->len;
    for (size_t i = 0; i < o->n_fds; i++)
        close(o->fds[i]);
    free(o);
}

/* Keeps the connection until the loop reports its end, so that no caller up the stack loses it. */
static void stream_break(struct stream *s)
{
    s->broken = true;
    shutdown(s->fd, SHUT_RDWR);
}

static ssize_t send_out(int fd, struct out *o)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * FDS_MAX)];
    } control = {0};
    struct iovec iov = {.iov_base = o->bytes + o->at, .iov_len = o->len - o->at};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    if (o->at == 0 && o->n_fds) {
        struct cmsghdr *c;

        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * o->n_fds);
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * o->n_fds);
        memcpy(CMSG_DATA(c), o->fds, sizeof(int) * o->n_fds);
    }
    return sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void flush(struct stream *s)
{
    struct out *o;

    while (!s->broken && (o = TAILQ_FIRST(&s->out))) {
        ssize_t n = send_out(s->fd, o);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0) {
            stream_break(s);
            break;
        }
        o->at += (size_t)n;
        if (o->at == o->len)
            out_free(s, o);
    }
    if (loop_source_set_events(s->source,
                               TAILQ_EMPTY(&s->out) ? LOOP_READ : LOOP_READ | LOOP_WRITE) < 0)
        stream_break(s);
}

void stream_send(struct stream *s, const void *hdr, const void *body, size_t len, const int *fds,
                 size_t n_fds)
{
    struct out *o;

    if (s->broken)
        return;
    o = len <= OUT_MAX - s->out_bytes ? malloc(sizeof(*o) + STREAM_HDR + len) : NULL;
    if (!o) {
        stream_break(s);
        return;
    }
    o->at = 0;
    o->len = STREAM_HDR + len;
    memcpy(o->bytes, hdr, STREAM_HDR);
    if (len)
        memcpy(o->bytes + STREAM_HDR, body, len);
    for (o->n_fds = 0; o->n_fds < n_fds; o->n_fds++) {
        o->fds[o->n_fds] = fcntl(fds[o->n_fds], F_DUPFD_CLOEXEC, 3);
        if (o->fds[o->n_fds] < 0)
            break;
    }
    TAILQ_INSERT_TAIL(&s->out, o, link);
    s->out_bytes += o->len;
    if (o->n_fds < n_fds || s->out_bytes > OUT_MAX)
        stream_break(s);
    else
        flush(s);
}

/* Takes the descriptor that came with these bytes; more than one per message is a protocol error.
 */
static bool take_fds(struct stream *s, struct msghdr *msg)
{
    bool ok = !(msg->msg_flags & MSG_CTRUNC);

    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        size_t n;

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (s->in_fd < 0) {
                s->in_fd = fd;
            } else {
                close(fd);
                ok = false;
            }
        }
    }
    return ok;
}

static size_t body_len(const struct stream *s)
{
    uint32_t len;

    memcpy(&len, s->in + STREAM_HDR - sizeof(len), sizeof(len));
    return len;
}

/* How much is still needed for the header, then for the whole message. 0: too long a body. */
static size_t wanted(struct stream *s)
{
    size_t total = STREAM_HDR;
    uint8_t *in;

    if (s->in_len >= STREAM_HDR) {
        if (body_len(s) > s->max_body)
            return 0;
        total += body_len(s);
    }
    if (total > s->in_size) {
        in = realloc(s->in, total);
        if (!in)
            return 0;
        s->in = in;
        s->in_size = total;
    }
    return total - s->in_len;
}

static ssize_t receive(struct stream *s, size_t len)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * 4)];
    } control = {0};
    struct iovec iov = {.iov_base = s->in + s->in_len, .iov_len = len};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof(control.bytes)};
    ssize_t n = recvmsg(s->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    if (n > 0 && !take_fds(s, &msg))
        return 0;
    return n;
}

static bool complete(const struct stream *s)
{
    return s->in_len >= STREAM_HDR && s->in_len == STREAM_HDR + body_len(s);
}

/* One message per turn, so that a busy client does not keep others waiting. False: it is over. */
static bool read_some(struct stream *s)
{
    for (;;) {
        size_t want = wanted(s);
        ssize_t n;

        if (want == 0)
            return false;
        n = receive(s, want);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return true;
        if (n <= 0)
            return false;
        s->in_len += (size_t)n;
        if (complete(s)) {
            int fd = s->in_fd;

            s->in_fd = -1;
            s->in_len = 0;
            return s->ops->message(s->ctx, s->in, s->in + STREAM_HDR, body_len(s), fd) >= 0;
        }
    }
}

static void on_io(void *ctx, unsigned events)
{
    struct stream *s = ctx;

    if (!s->broken && (events & LOOP_WRITE))
        flush(s);
    if (s->broken || ((events & (LOOP_READ | LOOP_HANGUP)) && !read_some(s)))
        s->ops->closed(s->ctx);
}

struct stream *stream_new(struct loop *loop, int fd, size_t max_body, const struct stream_ops *ops,
                          void *ctx)
{
    struct stream *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->fd = fd;
    s->in_fd = -1;
    s->max_body = max_body;
    s->ops = ops;
    s->ctx = ctx;
    TAILQ_INIT(&s->out);
    s->source = loop_add_fd(loop, fd, LOOP_READ, on_io, s);
    if (!s->source) {
        free(s);
        return NULL;
    }
    return s;
}

struct stream *stream_free(struct stream *s)
{
    struct out *o;

    if (!s)
        return NULL;
    while ((o = TAILQ_FIRST(&s->out)))
        out_free(s, o);
    loop_source_free(s->source);
    if (s->in_fd >= 0)
        close(s->in_fd);
    close(s->fd);
    free(s->in);
    free(s);
    return NULL;
}

int stream_listen(const char *path)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    cleanup_fd int fd = -1;
    int out;

    if (strlen(path) >= sizeof(sa.sun_path))
        return -ENAMETOOLONG;
    memcpy(sa.sun_path, path, strlen(path) + 1);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    unlink(path);
    if (bind(fd, (const struct sockaddr *)(const void *)&sa, sizeof(sa)) < 0)
        return -errno;
    if (listen(fd, 64) < 0)
        return -errno;
    out = fd;
    fd = -1;
    return out;
}
