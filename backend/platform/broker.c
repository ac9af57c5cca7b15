/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Both ends of the grant broker's socket (broker.h). The server keeps, for each guest, what is
 * mapped and how many pages that is; what a worker names is looked up there and never trusted.
 */
#include <config.h>

#include "backend/platform/broker.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "common/idmap.h"

/* The largest message, and as much again for the kernel's own bookkeeping, which it doubles. */
#define BUFFER_SIZE ((int)(BROKER_MAX_PAGES * sizeof(uint32_t)))

union fd_control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int))];
};

int broker_socketpair(int sv[2])
{
    const int size = BUFFER_SIZE;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
        return -errno;
    /* A smaller limit of the host (net.core.wmem_max) costs the largest maps only. */
    for (int i = 0; i < 2; i++)
        (void)setsockopt(sv[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    return 0;
}

static int send_message(int sock, struct iovec iov[2], int fd)
{
    union fd_control control;
    struct msghdr mh = {.msg_iov = iov, .msg_iovlen = iov[1].iov_len ? 2 : 1};
    ssize_t n;

    if (fd >= 0) {
        struct cmsghdr *c;

        memset(&control, 0, sizeof(control));
        mh.msg_control = control.bytes;
        mh.msg_controllen = sizeof(control.bytes);
        c = CMSG_FIRSTHDR(&mh);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &fd, sizeof(int));
    }
    do {
        n = sendmsg(sock, &mh, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EMSGSIZE ? -ENOMEM : -errno;
    return 0;
}

/* The first of the descriptors that came along; there is room for more than one, because of the
 * kernel's alignment, and those are closed. */
static int take_fd(struct msghdr *mh)
{
    int taken = -1;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t i = 0; CMSG_LEN((i + 1) * sizeof(int)) <= c->cmsg_len; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (taken < 0)
                taken = fd;
            else
                close(fd);
        }
    }
    return taken;
}

/* A whole message: its length, of which at most the iovec's room was kept, or -errno. */
static ssize_t receive_message(int sock, struct iovec *iov, size_t n_iov, int *fd_out)
{
    union fd_control control;
    struct msghdr mh = {.msg_iov = iov, .msg_iovlen = n_iov};
    ssize_t n;

    if (fd_out) {
        mh.msg_control = control.bytes;
        mh.msg_controllen = sizeof(control.bytes);
        *fd_out = -1;
    }
    do {
        n = recvmsg(sock, &mh, MSG_TRUNC | MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    if (fd_out)
        *fd_out = take_fd(&mh);
    return n;
}

/* --- the supervisor's side -------------------------------------------------------------------- */

struct record {
    uint64_t handle;
    uint32_t n;
};

struct server {
    int sock;
    const struct broker_ops *ops;
    struct broker *broker;
    const atomic_uint *max_pages;
    struct idmap *records;
    uint32_t last_id;
    uint32_t n_pages; /* sum of the records' */
    struct broker_request request;
    uint32_t refs[BROKER_MAX_PAGES];
    uint32_t words[BROKER_MAX_PAGES];
};

static int reply(struct server *s, struct broker_reply *r, int fd)
{
    struct iovec iov[2] = {{r, sizeof(*r)}, {s->words, r->n_words * sizeof(s->words[0])}};

    return send_message(s->sock, iov, fd);
}

static int reply_status(struct server *s, int status)
{
    struct broker_reply r = {.status = status};

    return reply(s, &r, -1);
}

static int do_file(struct server *s)
{
    int fd = s->ops->file(s->broker);
    struct broker_reply r = {.status = fd < 0 ? -ENODEV : 0};

    return reply(s, &r, fd);
}

/* An id that no record has; they are reused after 2^32 maps. */
static uint32_t free_id(struct server *s)
{
    do {
        s->last_id++;
    } while (s->last_id == 0 || idmap_get(s->records, s->last_id));
    return s->last_id;
}

static int add_record(struct server *s, const struct broker_window *w, uint32_t *id_out)
{
    struct record *record = calloc(1, sizeof(*record));
    int r = -ENOMEM;

    if (record) {
        *record = (struct record){.handle = w->handle, .n = s->request.n};
        *id_out = free_id(s);
        r = idmap_put(s->records, *id_out, record);
    }
    if (r < 0) {
        (void)s->ops->unmap(s->broker, w->handle, s->request.n);
        free(record);
        return r;
    }
    s->n_pages += s->request.n;
    return 0;
}

static int do_map(struct server *s)
{
    uint32_t n = s->request.n, max = atomic_load(s->max_pages);
    struct broker_window w = {.fd = -1};
    struct broker_reply answer = {.status = 0};
    int r;

    if (s->n_pages > max || n > max - s->n_pages)
        return reply_status(s, -ENOMEM);
    r = s->ops->map(s->broker, s->refs, n, s->request.writable != 0, &w, s->words);
    if (r == 0)
        r = add_record(s, &w, &answer.id);
    if (r == 0) {
        answer.offset = w.offset;
        answer.n_words = w.n_words;
        r = reply(s, &answer, w.fd);
    } else {
        r = reply_status(s, r);
    }
    if (w.fd >= 0)
        close(w.fd);
    return r;
}

static int do_unmap(struct server *s)
{
    struct record *record = idmap_remove(s->records, s->request.id);
    int r;

    if (!record)
        return reply_status(s, -ENOENT);
    r = s->ops->unmap(s->broker, record->handle, record->n);
    s->n_pages -= record->n;
    free(record);
    return reply_status(s, r);
}

/* A sound worker sends nothing else. */
static bool request_ok(const struct broker_request *q, size_t len)
{
    switch (q->op) {
    case BROKER_FILE:
        return len == sizeof(*q) && q->n == 0 && q->writable == 0 && q->id == 0;
    case BROKER_MAP:
        return q->n > 0 && q->n <= BROKER_MAX_PAGES && q->writable <= 1 && q->id == 0 &&
               len == sizeof(*q) + q->n * sizeof(uint32_t);
    case BROKER_UNMAP:
        return len == sizeof(*q) && q->n == 0 && q->writable == 0;
    default:
        return false;
    }
}

/* 1 to go on, 0 at the end, or -errno. */
static int serve_one(struct server *s)
{
    struct iovec iov[2] = {{&s->request, sizeof(s->request)}, {s->refs, sizeof(s->refs)}};
    ssize_t len = receive_message(s->sock, iov, 2, NULL);
    int r;

    if (len <= 0)
        return len == 0 || len == -ECONNRESET ? 0 : (int)len;
    if (len < (ssize_t)sizeof(s->request) || !request_ok(&s->request, (size_t)len))
        return -EPROTO;
    if (s->request.op == BROKER_FILE)
        r = do_file(s);
    else
        r = s->request.op == BROKER_MAP ? do_map(s) : do_unmap(s);
    if (r == -EPIPE || r == -ECONNRESET)
        return 0;
    return r < 0 ? r : 1;
}

static void free_record(uint32_t id, void *obj, void *ctx)
{
    (void)id;
    (void)ctx;
    free(obj);
}

int broker_serve(int sock, const struct broker_ops *ops, struct broker *b,
                 const atomic_uint *max_pages)
{
    struct server *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return -ENOMEM;
    s->sock = sock;
    s->ops = ops;
    s->broker = b;
    s->max_pages = max_pages;
    s->records = idmap_new();
    r = s->records ? 1 : -ENOMEM;
    while (r > 0)
        r = serve_one(s);
    if (s->records)
        idmap_for_each(s->records, free_record, NULL);
    s->records = idmap_free(s->records);
    free(s);
    return r;
}

/* --- the worker's side ------------------------------------------------------------------------ */

int broker_call(int sock, const struct broker_request *request, const uint32_t *refs,
                struct broker_reply *answer, uint32_t *words, uint32_t max_words, int *fd_out)
{
    struct broker_request head = *request;
    struct iovec out[2] = {{&head, sizeof(head)}, {NULL, request->n * sizeof(*refs)}};
    struct iovec in[2] = {{answer, sizeof(*answer)}, {words, max_words * sizeof(*words)}};
    int fd = -1, r;
    ssize_t len;

    /* sendmsg does not write through it. */
    memcpy(&out[1].iov_base, &refs, sizeof(refs));
    r = send_message(sock, out, -1);
    if (r < 0)
        return r;
    len = receive_message(sock, in, max_words ? 2 : 1, &fd);
    if (len <= 0)
        r = len < 0 ? (int)len : -EPIPE;
    else if (len < (ssize_t)sizeof(*answer) || answer->status > 0 || answer->n_words > max_words ||
             (size_t)len != sizeof(*answer) + answer->n_words * sizeof(*words))
        r = -EPROTO;
    else
        r = answer->status;
    if (r == 0 && fd_out)
        *fd_out = fd;
    else if (fd >= 0)
        close(fd);
    return r;
}

int broker_file(int sock)
{
    const struct broker_request request = {.op = BROKER_FILE};
    struct broker_reply answer;
    int fd = -1;
    int r = broker_call(sock, &request, NULL, &answer, NULL, 0, &fd);

    if (r < 0)
        return r;
    return fd >= 0 ? fd : -ENODEV;
}

int broker_unmap(int sock, uint32_t id)
{
    const struct broker_request request = {.op = BROKER_UNMAP, .id = id};
    struct broker_reply answer;

    return broker_call(sock, &request, NULL, &answer, NULL, 0, NULL);
}
