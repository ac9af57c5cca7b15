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
#define BUFFER_SIZE                              \
    ((int)(BROKER_MAX_PAGES * sizeof(uint32_t) + \
           BROKER_MAX_WINDOWS * sizeof(struct broker_mapped) + sizeof(struct broker_reply)))
/* Words of a message behind its head. */
#define ITEM_WORDS (sizeof(struct broker_map_item) / sizeof(uint32_t))
#define BODY_WORDS (BROKER_MAX_WINDOWS * ITEM_WORDS + BROKER_MAX_PAGES)

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

static int send_message(int sock, struct iovec *iov, size_t n_iov, int fd)
{
    union fd_control control;
    struct msghdr mh = {.msg_iov = iov, .msg_iovlen = n_iov};
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
    uint32_t body[BODY_WORDS];
    struct broker_mapped mapped[BROKER_MAX_WINDOWS];
    uint32_t words[BROKER_MAX_PAGES]; /* of all windows of a map */
};

static int reply_status(struct server *s, int status, int fd)
{
    struct broker_reply r = {.status = status};
    struct iovec iov = {&r, sizeof(r)};

    return send_message(s->sock, &iov, 1, fd);
}

static int do_file(struct server *s)
{
    int fd = s->ops->file(s->broker);

    return reply_status(s, fd < 0 ? -ENODEV : 0, fd);
}

/* An id that no record has; they are reused after 2^32 maps. */
static uint32_t free_id(struct server *s)
{
    do {
        s->last_id++;
    } while (s->last_id == 0 || idmap_get(s->records, s->last_id));
    return s->last_id;
}

static int add_record(struct server *s, const struct broker_window *w, uint32_t n, uint32_t *id_out)
{
    struct record *record = calloc(1, sizeof(*record));
    int r = -ENOMEM;

    if (record) {
        *record = (struct record){.handle = w->handle, .n = n};
        *id_out = free_id(s);
        r = idmap_put(s->records, *id_out, record);
    }
    if (r < 0) {
        (void)s->ops->unmap(s->broker, w->handle, n);
        free(record);
        return r;
    }
    s->n_pages += n;
    return 0;
}

/* One window; *fd is a descriptor for all so far, one that can be written to if any of them is. */
static void map_one(struct server *s, const struct broker_map_item *item, const uint32_t *refs,
                    uint32_t *words, struct broker_mapped *out, int *fd)
{
    uint32_t max = atomic_load(s->max_pages);
    struct broker_window w = {.fd = -1};
    uint32_t id = 0;
    int r = -ENOMEM;

    if (s->n_pages <= max && item->n <= max - s->n_pages)
        r = s->ops->map(s->broker, refs, item->n, item->writable != 0, &w, words);
    if (r == 0)
        r = add_record(s, &w, item->n, &id);
    *out = (struct broker_mapped){.status = r};
    if (r == 0)
        *out = (struct broker_mapped){.id = id, .offset = w.offset, .n_words = w.n_words};
    if (r == 0 && w.fd >= 0 && (*fd < 0 || item->writable)) {
        int other = *fd;

        *fd = w.fd;
        w.fd = other;
    }
    if (w.fd >= 0)
        close(w.fd);
}

static int do_map(struct server *s)
{
    uint32_t n = s->request.n, n_words = 0;
    const uint32_t *refs = s->body + n * ITEM_WORDS;
    struct broker_reply head = {.n = n};
    struct iovec iov[3] = {{&head, sizeof(head)}, {s->mapped, n * sizeof(s->mapped[0])}};
    int fd = -1, r;

    for (uint32_t i = 0; i < n; i++) {
        struct broker_map_item item;

        memcpy(&item, s->body + i * ITEM_WORDS, sizeof(item));
        map_one(s, &item, refs, s->words + n_words, &s->mapped[i], &fd);
        refs += item.n;
        n_words += s->mapped[i].n_words;
    }
    iov[2] = (struct iovec){s->words, n_words * sizeof(s->words[0])};
    r = send_message(s->sock, iov, n_words ? 3 : 2, fd);
    if (fd >= 0)
        close(fd);
    return r;
}

static int unmap_one(struct server *s, uint32_t id)
{
    struct record *record = idmap_remove(s->records, id);
    int r;

    if (!record)
        return -ENOENT;
    r = s->ops->unmap(s->broker, record->handle, record->n);
    s->n_pages -= record->n;
    free(record);
    return r;
}

static int do_unmap(struct server *s)
{
    int first = 0;

    for (uint32_t i = 0; i < s->request.n; i++) {
        int r = unmap_one(s, s->body[i]);

        if (first == 0)
            first = r;
    }
    return reply_status(s, first, -1);
}

/* Are there `words` words behind the head for n items, and their references? */
static bool map_ok(const struct server *s, size_t words)
{
    uint32_t n = s->request.n;
    uint64_t pages = 0;

    if (n == 0 || n > BROKER_MAX_WINDOWS || words < n * ITEM_WORDS)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        struct broker_map_item item;

        memcpy(&item, s->body + i * ITEM_WORDS, sizeof(item));
        if (item.n == 0 || item.writable > 1)
            return false;
        pages += item.n;
    }
    return pages <= BROKER_MAX_PAGES && words == n * ITEM_WORDS + pages;
}

/* A sound worker sends nothing else. */
static bool request_ok(const struct server *s, size_t len)
{
    uint32_t n = s->request.n;
    size_t words = len / sizeof(uint32_t);

    if (len > sizeof(s->body) || len % sizeof(uint32_t))
        return false;
    switch (s->request.op) {
    case BROKER_FILE:
        return words == 0 && n == 0;
    case BROKER_MAP:
        return map_ok(s, words);
    case BROKER_UNMAP:
        return n > 0 && n <= BROKER_MAX_PAGES && words == n;
    default:
        return false;
    }
}

/* 1 to go on, 0 at the end, or -errno. */
static int serve_one(struct server *s)
{
    struct iovec iov[2] = {{&s->request, sizeof(s->request)}, {s->body, sizeof(s->body)}};
    ssize_t len = receive_message(s->sock, iov, 2, NULL);
    int r;

    if (len <= 0)
        return len == 0 || len == -ECONNRESET ? 0 : (int)len;
    if (len < (ssize_t)sizeof(s->request) || !request_ok(s, (size_t)len - sizeof(s->request)))
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

/* sendmsg does not write through it. */
static struct iovec const_iov(const void *data, size_t len)
{
    struct iovec iov = {.iov_len = len};

    memcpy(&iov.iov_base, &data, sizeof(data));
    return iov;
}

static void (*on_lost)(void);

void broker_on_lost(void (*lost)(void))
{
    on_lost = lost;
}

static int gone(void)
{
    if (on_lost)
        on_lost();
    return -EPIPE;
}

static bool says_gone(ssize_t r)
{
    return r == 0 || r == -EPIPE || r == -ECONNRESET;
}

/* Sends, and receives up to n_in pieces: the length, or -errno. */
static ssize_t call(int sock, struct iovec *out, size_t n_out, struct iovec *in, size_t n_in,
                    int *fd_out)
{
    int r = send_message(sock, out, n_out, -1);
    ssize_t len;

    if (r < 0)
        return says_gone(r) ? gone() : r;
    len = receive_message(sock, in, n_in, fd_out);
    return says_gone(len) ? gone() : len;
}

/* Fills in the wants from a well-formed answer: its words in all, or -EPROTO. */
static ssize_t take_mapped(struct broker_want *wants, const struct broker_mapped *mapped, size_t n,
                           const uint32_t *words, size_t max_words)
{
    size_t at = 0;

    for (size_t i = 0; i < n; i++) {
        const struct broker_mapped *m = &mapped[i];

        if (m->status > 0 || m->n_words > max_words - at || (m->status < 0 && m->n_words))
            return -EPROTO;
        wants[i].status = m->status;
        wants[i].id = m->id;
        wants[i].offset = m->offset;
        wants[i].n_words = m->n_words;
        wants[i].words = m->n_words ? words + at : NULL;
        at += m->n_words;
    }
    return (ssize_t)at;
}

int broker_map(int sock, struct broker_want *wants, size_t n, uint32_t *words, size_t max_words,
               int *fd_out)
{
    struct broker_request head = {.op = BROKER_MAP, .n = (uint32_t)n};
    struct broker_map_item items[BROKER_MAX_WINDOWS];
    struct broker_mapped mapped[BROKER_MAX_WINDOWS];
    struct iovec out[2 + BROKER_MAX_WINDOWS];
    struct broker_reply reply;
    struct iovec in[3] = {{&reply, sizeof(reply)},
                          {mapped, n * sizeof(mapped[0])},
                          {words, max_words * sizeof(*words)}};
    const size_t fixed = sizeof(reply) + n * sizeof(mapped[0]);
    ssize_t len, n_words = -EPROTO;
    int fd = -1;

    if (n == 0 || broker_fits(wants, n) != n)
        return -EINVAL;
    out[0] = const_iov(&head, sizeof(head));
    out[1] = const_iov(items, n * sizeof(items[0]));
    for (size_t i = 0; i < n; i++) {
        items[i] = (struct broker_map_item){.n = wants[i].n, .writable = wants[i].writable};
        out[2 + i] = const_iov(wants[i].refs, wants[i].n * sizeof(uint32_t));
    }
    len = call(sock, out, 2 + n, in, max_words ? 3 : 2, &fd);
    if (len >= (ssize_t)fixed && reply.status == 0 && reply.n == n)
        n_words = take_mapped(wants, mapped, n, words, max_words);
    if (n_words >= 0 && (size_t)len != fixed + (size_t)n_words * sizeof(*words))
        n_words = -EPROTO;
    if (n_words >= 0 && fd_out)
        *fd_out = fd;
    else if (fd >= 0)
        close(fd);
    if (len < 0)
        return (int)len;
    return n_words < 0 ? (int)n_words : 0;
}

size_t broker_fits(const struct broker_want *wants, size_t n)
{
    size_t pages = 0, i = 0;

    while (i < n && i < BROKER_MAX_WINDOWS && wants[i].n > 0 &&
           wants[i].n <= BROKER_MAX_PAGES - pages)
        pages += wants[i++].n;
    return i;
}

/* An answer that is a status and nothing else. */
static int call_status(int sock, struct iovec *out, size_t n_out, int *fd_out)
{
    struct broker_reply reply;
    struct iovec in = {&reply, sizeof(reply)};
    ssize_t len = call(sock, out, n_out, &in, 1, fd_out);

    if (len < 0)
        return (int)len;
    return len == sizeof(reply) && reply.n == 0 && reply.status <= 0 ? reply.status : -EPROTO;
}

int broker_unmap(int sock, const uint32_t *ids, size_t n)
{
    int first = 0;

    while (n > 0) {
        size_t some = n < BROKER_MAX_PAGES ? n : BROKER_MAX_PAGES;
        struct broker_request head = {.op = BROKER_UNMAP, .n = (uint32_t)some};
        struct iovec out[2] = {const_iov(&head, sizeof(head)), const_iov(ids, some * sizeof(*ids))};
        int r = call_status(sock, out, 2, NULL);

        if (first == 0)
            first = r;
        ids += some;
        n -= some;
    }
    return first;
}

int broker_file(int sock)
{
    struct broker_request head = {.op = BROKER_FILE};
    struct iovec out = const_iov(&head, sizeof(head));
    int fd = -1;
    int r = call_status(sock, &out, 1, &fd);

    if (r == 0)
        return fd >= 0 ? fd : -ENODEV;
    if (fd >= 0)
        close(fd);
    return r;
}
