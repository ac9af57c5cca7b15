/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The platform contract on tests/support/fakexen: test builds and the demo only, never linked into
 * an installed daemon. Granted pages are mmaps of the guest's memfd, event channels are eventfds.
 *
 * $FAKEXEN_DIR is the directory of the server, $FAKEXEN_DOMID the Xen domain that this process
 * belongs to: what a process on Xen never needs to say.
 */
#include <config.h>

#include "backend/platform/platform.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/queue.h>

#include "backend/platform/broker_windows.h"
#include "common/log.h"
#include "common/strutil.h"
#include "tests/support/fakexen/fx_client.h"

#define DOMID_MAX 0x7fefu

struct window {
    LIST_ENTRY(window) link;
    void *addr;
    size_t n_pages;
    uint64_t map_id; /* of the hypervisor, or of the broker */
};

struct channel {
    LIST_ENTRY(channel) link;
    uint32_t port;
    int own_fd;
    int peer_fd;
};

struct platform {
    struct broker_windows broker;
    int sock;
    int epoll_fd;
    uint32_t domid; /* the guest's */
    LIST_HEAD(, window) windows;
    LIST_HEAD(, channel) channels;
};
_Static_assert(offsetof(struct platform, broker) == 0, "a context of broker_grants, too");

/* Maps the reply's pages, run by run, into one reserved range of this process. */
static int map_pages(int mem_fd, const uint32_t *pages, size_t n, bool writable, void **addr_out)
{
    int prot = writable ? PROT_READ | PROT_WRITE : PROT_READ;
    char *base = mmap(NULL, n * GRANT_PAGE_SIZE, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (base == MAP_FAILED)
        return -ENOMEM;
    for (size_t at = 0, run; at < n; at += run) {
        for (run = 1; at + run < n && pages[at + run] == pages[at] + run;)
            run++;
        if (mmap(base + at * GRANT_PAGE_SIZE, run * GRANT_PAGE_SIZE, prot, MAP_SHARED | MAP_FIXED,
                 mem_fd, (off_t)pages[at] * GRANT_PAGE_SIZE) == MAP_FAILED) {
            int err = errno;

            munmap(base, n * GRANT_PAGE_SIZE);
            return -err;
        }
    }
    *addr_out = base;
    return 0;
}

static void call_unmap(const struct platform *p, uint64_t map_id)
{
    struct fx_unmap u = {.map_id = map_id};
    int r = fx_call(p->sock, FX_UNMAP, &(struct fx_buf){&u, sizeof(u)}, 1, -1, NULL, 0, NULL);

    if (r < 0)
        log_err("fakexen: unmap failed: %s", strerror(-r));
}

/* Asks the hypervisor for the pages: the reply (to be freed) and the memory's descriptor. */
static int call_map(const struct platform *p, const uint32_t *refs, size_t n, bool writable,
                    uint8_t **reply_out, int *mem_fd_out)
{
    struct fx_map m = {.domid = p->domid, .writable = writable, .n = (uint32_t)n};
    struct fx_buf parts[] = {{&m, sizeof(m)}, {refs, n * sizeof(*refs)}};
    size_t len = sizeof(struct fx_map_reply) + n * sizeof(uint32_t);
    uint8_t *reply = malloc(len);
    int fds[FX_MAX_FDS];
    int r;

    if (!reply)
        return -ENOMEM;
    r = fx_call(p->sock, FX_MAP, parts, ARRAY_SIZE(parts), -1, reply, len, fds);
    if (r < 0) {
        free(reply);
        return r;
    }
    *reply_out = reply;
    *mem_fd_out = fds[0];
    return 0;
}

/* EINVAL is what gntdev says when a grant is refused; a lack of handles has an errno of its own
 * here, where Linux's gntdev says EINVAL, too. */
static int map_error(int r)
{
    switch (r) {
    case -ENOSPC:
    case -ENOMEM:
        return -ENOMEM;
    case -EINVAL:
    case -EFAULT:
        return -EFAULT;
    default:
        return r;
    }
}

static int fake_map(void *ctx, const uint32_t *refs, size_t n_pages, bool writable, void **addr_out)
{
    struct platform *p = ctx;
    cleanup_free uint8_t *reply = NULL;
    cleanup_free uint32_t *pages = NULL;
    cleanup_fd int mem_fd = -1;
    struct fx_map_reply head;
    struct window *w;
    int r;

    if (n_pages == 0)
        return -EINVAL;
    if (n_pages > FX_MAP_MAX)
        return -ENOMEM;
    w = calloc(1, sizeof(*w));
    pages = calloc(n_pages, sizeof(*pages));
    r = w && pages ? call_map(p, refs, n_pages, writable, &reply, &mem_fd) : -ENOMEM;
    if (r < 0) {
        free(w);
        return map_error(r);
    }
    memcpy(&head, reply, sizeof(head));
    memcpy(pages, reply + sizeof(head), n_pages * sizeof(*pages));
    r = map_pages(mem_fd, pages, n_pages, writable, &w->addr);
    if (r < 0) {
        call_unmap(p, head.map_id);
        free(w);
        return map_error(r);
    }
    w->map_id = head.map_id;
    w->n_pages = n_pages;
    LIST_INSERT_HEAD(&p->windows, w, link);
    *addr_out = w->addr;
    return 0;
}

static struct window *find_window(struct platform *p, const void *addr, size_t n_pages)
{
    struct window *w;

    LIST_FOREACH(w, &p->windows, link)
    {
        if (w->addr == addr && w->n_pages == n_pages)
            return w;
    }
    log_err("fakexen: unmap of %zu pages that no map gave", n_pages);
    return NULL;
}

/* The pages go before the hypervisor is told, so that a guest that revokes has them alone. */
static void window_free(struct window *w)
{
    munmap(w->addr, w->n_pages * GRANT_PAGE_SIZE);
    LIST_REMOVE(w, link);
    free(w);
}

static void fake_unmap(void *ctx, void *addr, size_t n_pages)
{
    struct platform *p = ctx;
    struct window *w = find_window(p, addr, n_pages);
    uint64_t map_id;

    if (!w)
        return;
    map_id = w->map_id;
    window_free(w);
    call_unmap(p, map_id);
}

/* Statuses first, then the bytes of the pieces that come from the guest, one after another. */
static int copy_results(const struct grant_copy *pieces, size_t n, const uint8_t *reply)
{
    size_t from = n * sizeof(int32_t);
    int r = 0;

    for (size_t i = 0; i < n; i++) {
        int32_t status;

        memcpy(&status, reply + i * sizeof(status), sizeof(status));
        if (status < 0)
            r = -EFAULT;
        if (pieces[i].to_guest)
            continue;
        if (status == 0)
            memcpy(pieces[i].local, reply + from, pieces[i].len);
        from += pieces[i].len;
    }
    return r;
}

/* One message's worth of pieces. */
static int copy_some(const struct platform *p, const struct grant_copy *pieces, size_t n)
{
    struct fx_copy h = {.domid = p->domid, .n = (uint32_t)n};
    struct fx_copy_piece wire[FX_COPY_MAX];
    cleanup_free uint8_t *out = malloc(n * GRANT_PAGE_SIZE);
    cleanup_free uint8_t *reply = malloc(n * (GRANT_PAGE_SIZE + sizeof(int32_t)));
    size_t to = 0, reply_len = n * sizeof(int32_t);
    struct fx_buf parts[3];
    int r;

    if (!out || !reply)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        wire[i] = (struct fx_copy_piece){.ref = pieces[i].ref,
                                         .offset = pieces[i].offset,
                                         .len = pieces[i].len,
                                         .to_guest = pieces[i].to_guest};
        if (pieces[i].to_guest) {
            memcpy(out + to, pieces[i].local, pieces[i].len);
            to += pieces[i].len;
        } else {
            reply_len += pieces[i].len;
        }
    }
    parts[0] = (struct fx_buf){&h, sizeof(h)};
    parts[1] = (struct fx_buf){wire, n * sizeof(wire[0])};
    parts[2] = (struct fx_buf){out, to};
    r = fx_call(p->sock, FX_COPY, parts, to ? 3 : 2, -1, reply, reply_len, NULL);
    return r < 0 ? map_error(r) : copy_results(pieces, n, reply);
}

static int fake_copy(void *ctx, const struct grant_copy *pieces, size_t n)
{
    const struct platform *p = ctx;

    for (size_t i = 0; i < n; i++) {
        if (pieces[i].offset > GRANT_PAGE_SIZE ||
            pieces[i].len > GRANT_PAGE_SIZE - pieces[i].offset)
            return -EINVAL;
    }
    while (n) {
        size_t some = n < FX_COPY_MAX ? n : FX_COPY_MAX;
        int r = copy_some(p, pieces, some);

        if (r < 0)
            return r;
        pieces += some;
        n -= some;
    }
    return 0;
}

static const struct grant_ops fake_grants = {
    .map = fake_map,
    .unmap = fake_unmap,
    .copy = fake_copy,
};

/* ---- grants through a broker ---- */

static struct platform *platform_of(struct broker_windows *b)
{
    return (struct platform *)container_of(b, struct platform, broker);
}

static int window_add(struct broker_windows *b, const struct broker_want *want, int mem_fd,
                      void **addr_out)
{
    struct platform *p = platform_of(b);
    struct window *w = calloc(1, sizeof(*w));
    int r;

    if (!w)
        return -ENOMEM;
    r = want->n_words == want->n ? map_pages(mem_fd, want->words, want->n, want->writable, &w->addr)
                                 : -EPROTO;
    if (r < 0) {
        free(w);
        return map_error(r);
    }
    w->map_id = want->id;
    w->n_pages = want->n;
    LIST_INSERT_HEAD(&p->windows, w, link);
    *addr_out = w->addr;
    return 0;
}

static bool window_remove(struct broker_windows *b, void *addr, size_t n_pages, uint32_t *id_out)
{
    struct window *w = find_window(platform_of(b), addr, n_pages);

    if (!w)
        return false;
    *id_out = (uint32_t)w->map_id;
    window_free(w);
    return true;
}

static const struct broker_window_ops window_ops = {
    .words = true,
    .error = map_error,
    .add = window_add,
    .remove = window_remove,
};

static void channel_free(struct channel *c)
{
    LIST_REMOVE(c, link);
    close(c->own_fd); /* leaves the epoll set with it */
    close(c->peer_fd);
    free(c);
}

static void call_unbind(const struct platform *p, uint32_t port)
{
    struct fx_port u = {.port = port};
    int r = fx_call(p->sock, FX_UNBIND, &(struct fx_buf){&u, sizeof(u)}, 1, -1, NULL, 0, NULL);

    if (r < 0)
        log_err("fakexen: unbind of port %u failed: %s", port, strerror(-r));
}

static int fake_bind(struct platform *p, uint32_t remote_port, uint32_t *port_out)
{
    struct fx_port b = {.domid = p->domid, .port = remote_port}, reply;
    struct channel *c = calloc(1, sizeof(*c));
    struct epoll_event ev = {.events = EPOLLIN};
    int fds[FX_MAX_FDS];
    int r;

    if (!c)
        return -ENOMEM;
    r = fx_call(p->sock, FX_BIND, &(struct fx_buf){&b, sizeof(b)}, 1, -1, &reply, sizeof(reply),
                fds);
    if (r < 0) {
        free(c);
        /* As Xen: EINVAL for a port that is not for us, ESRCH for a guest that is gone. */
        return r == -EINVAL || r == -ESRCH ? -ENOENT : r;
    }
    c->port = reply.port;
    c->own_fd = fds[0];
    c->peer_fd = fds[1];
    LIST_INSERT_HEAD(&p->channels, c, link);
    ev.data.ptr = c;
    if (epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, c->own_fd, &ev) < 0) {
        r = -errno;
        call_unbind(p, c->port);
        channel_free(c);
        return r;
    }
    *port_out = c->port;
    return 0;
}

static struct channel *channel_find(const struct platform *p, uint32_t port)
{
    struct channel *c;

    LIST_FOREACH(c, &p->channels, link)
    {
        if (c->port == port)
            return c;
    }
    return NULL;
}

static void fake_unbind(struct platform *p, uint32_t port)
{
    struct channel *c = channel_find(p, port);

    if (!c)
        return;
    /* Duplicates of the eventfd live elsewhere, so closing ours would not end the watching. */
    epoll_ctl(p->epoll_fd, EPOLL_CTL_DEL, c->own_fd, NULL);
    call_unbind(p, port);
    channel_free(c);
}

static int fake_notify(struct platform *p, uint32_t port)
{
    const struct channel *c = channel_find(p, port);

    if (!c)
        return -EINVAL;
    /* EAGAIN: the counter is full, so the event is pending already. */
    return eventfd_write(c->peer_fd, 1) < 0 && errno != EAGAIN ? -errno : 0;
}

static int fake_event_fd(struct platform *p)
{
    return p->epoll_fd;
}

static int fake_next_event(struct platform *p, uint32_t *port_out)
{
    struct epoll_event ev;
    const struct channel *c;
    eventfd_t count;
    int n = epoll_wait(p->epoll_fd, &ev, 1, 0);

    if (n < 0)
        return errno == EINTR ? 0 : -errno;
    if (n == 0)
        return 0;
    c = ev.data.ptr;
    /* Reading takes the pending bit: a kick from now on makes it pending again. */
    if (eventfd_read(c->own_fd, &count) < 0)
        return errno == EAGAIN ? 0 : -errno;
    *port_out = c->port;
    return 1;
}

static void fake_close(struct platform *p)
{
    if (!p)
        return;
    while (!LIST_EMPTY(&p->windows)) {
        const struct window *w = LIST_FIRST(&p->windows);

        (p->broker.sock < 0 ? fake_unmap : broker_grants.unmap)(p, w->addr, w->n_pages);
    }
    while (!LIST_EMPTY(&p->channels))
        fake_unbind(p, LIST_FIRST(&p->channels)->port);
    if (p->epoll_fd >= 0)
        close(p->epoll_fd);
    if (p->sock >= 0)
        close(p->sock);
    if (p->broker.sock >= 0)
        close(p->broker.sock);
    free(p);
}

/* A connection to the server, as the domain that the environment names. */
static int connect_server(void)
{
    const char *dir = getenv("FAKEXEN_DIR");
    const char *self_text = getenv("FAKEXEN_DOMID");
    uint32_t self;
    int r;

    if (!dir || !self_text || parse_u32(self_text, DOMID_MAX, &self) < 0) {
        log_err("fakexen: FAKEXEN_DIR and FAKEXEN_DOMID (0 to %u) must be set", DOMID_MAX);
        return -EINVAL;
    }
    r = fx_connect(dir, self);
    if (r < 0)
        log_err("fakexen: cannot reach the server in %s as domain %u: %s", dir, self, strerror(-r));
    return r;
}

static int fake_open(struct platform **out, uint32_t domid)
{
    struct platform *p = calloc(1, sizeof(*p));
    int r;

    if (!p)
        return -ENOMEM;
    p->domid = domid;
    p->broker.sock = p->epoll_fd = -1;
    LIST_INIT(&p->windows);
    LIST_INIT(&p->channels);
    p->sock = r = connect_server();
    if (r >= 0) {
        p->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        r = p->epoll_fd < 0 ? -errno : 0;
    }
    if (r < 0) {
        fake_close(p);
        return r;
    }
    *out = p;
    return 0;
}

/* What is left for this connection are the guest's event channels. */
static int brokered_open(struct platform **out, uint32_t domid, int sock)
{
    struct fx_hello guest = {.domid = domid};
    struct platform *p = NULL;
    int r = fake_open(&p, domid);

    if (r == 0)
        r = fx_call(p->sock, FX_RESTRICT, &(struct fx_buf){&guest, sizeof(guest)}, 1, -1, NULL, 0,
                    NULL);
    if (r < 0) {
        fake_close(p);
        return r;
    }
    p->broker = (struct broker_windows){&window_ops, sock};
    *out = p;
    return 0;
}

/* ---- the broker's side ---- */

struct broker {
    struct platform conn; /* the socket and the guest's domid are what is used of it */
};

static int fake_broker_open(struct broker **out, uint32_t domid)
{
    struct broker *b = calloc(1, sizeof(*b));
    int r;

    if (!b)
        return -ENOMEM;
    b->conn.domid = domid;
    b->conn.sock = r = connect_server();
    if (r < 0) {
        free(b);
        return r;
    }
    *out = b;
    return 0;
}

static void fake_broker_close(struct broker *b)
{
    if (b)
        close(b->conn.sock);
    free(b);
}

static int fake_broker_file(struct broker *b)
{
    (void)b; /* each map brings its own */
    return -1;
}

static int fake_broker_map(struct broker *b, const uint32_t *refs, uint32_t n, bool writable,
                           struct broker_window *out, uint32_t *words)
{
    cleanup_free uint8_t *reply = NULL;
    struct fx_map_reply head;
    int r = call_map(&b->conn, refs, n, writable, &reply, &out->fd);

    if (r < 0)
        return r;
    memcpy(&head, reply, sizeof(head));
    memcpy(words, reply + sizeof(head), n * sizeof(*words));
    out->handle = head.map_id;
    out->n_words = n;
    return 0;
}

static int fake_broker_unmap(struct broker *b, uint64_t handle, uint32_t n)
{
    (void)n;
    call_unmap(&b->conn, handle);
    return 0;
}

static const struct broker_ops fake_broker = {
    .open = fake_broker_open,
    .close = fake_broker_close,
    .file = fake_broker_file,
    .map = fake_broker_map,
    .unmap = fake_broker_unmap,
};

static const struct platform_brokered brokered = {
    .open = brokered_open,
    .grants = &broker_grants,
    .broker = &fake_broker,
};

const struct platform_ops platform_fakexen = {
    .name = "fakexen",
    .open = fake_open,
    .close = fake_close,
    .grants = &fake_grants,
    .bind = fake_bind,
    .unbind = fake_unbind,
    .notify = fake_notify,
    .event_fd = fake_event_fd,
    .next_event = fake_next_event,
    .brokered = &brokered,
};
