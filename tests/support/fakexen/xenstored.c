/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * fakexen's xenstored (xenstored.h): connections, requests, watches, on top of store.c. Clients are
 * untrusted; a message with a body above 4,096 bytes ends its connection, as in the real one, any
 * other nonsense is answered by an error.
 */
#include <config.h>

#include "tests/support/fakexen/xenstored.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <xen/io/xs_wire.h>

#include "common/log.h"
#include "common/strutil.h"
#include "tests/support/fakexen/stream.h"

struct endpoint {
    TAILQ_ENTRY(endpoint) link;
    struct xenstored *xs;
    uint32_t domid;
    int fd;
    struct loop_source *source;
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
};

struct watch {
    TAILQ_ENTRY(watch) link;
    char *path;
    char *token;
    size_t skip; /* bytes that event paths leave out: the watch was set with a relative path */
};

struct transaction {
    TAILQ_ENTRY(transaction) link;
    uint32_t id;
    struct store_tx *tx;
};

struct conn {
    TAILQ_ENTRY(conn) link;
    struct xenstored *xs;
    struct stream *stream;
    uint32_t domid;
    uint32_t last_tx_id;
    TAILQ_HEAD(, watch) watches;
    TAILQ_HEAD(, transaction) transactions;
};

struct xenstored {
    struct loop *loop;
    const char *dir;
    struct store *store;
    struct {
        uint32_t domid, permille;
        uint64_t rng, n;
    } faults;
    uint64_t n_requests;
    TAILQ_HEAD(, endpoint) endpoints;
    TAILQ_HEAD(, conn) conns;
};

struct request {
    struct xsd_sockmsg hdr;
    const char *body;
    size_t len;
    struct store_tx *tx;
    char path[XENSTORE_ABS_PATH_MAX + 32]; /* the first argument, absolute */
};

static bool privileged(const struct conn *c)
{
    return c->domid == 0;
}

/* ---- replies ---- */

static void send_msg(struct conn *c, const struct xsd_sockmsg *to, uint32_t type, const void *body,
                     size_t len)
{
    struct xsd_sockmsg hdr = {
        .type = type, .req_id = to->req_id, .tx_id = to->tx_id, .len = (uint32_t)len};

    stream_send(c->stream, &hdr, body, len, NULL, 0);
}

static int reply(struct conn *c, const struct request *req, const void *body, size_t len)
{
    if (len > XENSTORE_PAYLOAD_MAX)
        return -E2BIG;
    send_msg(c, &req->hdr, req->hdr.type, body, len);
    return 0;
}

static int ack(struct conn *c, const struct request *req, int r)
{
    return r < 0 ? r : reply(c, req, "OK", sizeof("OK"));
}

static void reply_error(struct conn *c, const struct request *req, int err)
{
    const char *name = "EINVAL";

    for (size_t i = 0; i < ARRAY_SIZE(xsd_errors); i++) {
        if (xsd_errors[i].errnum == err)
            name = xsd_errors[i].errstring;
    }
    send_msg(c, &req->hdr, XS_ERROR, name, strlen(name) + 1);
}

/* ---- arguments ---- */

/* The n-th terminated string of the body, NULL if there is none. */
static const char *arg(const struct request *req, unsigned n)
{
    const char *at = req->body;
    size_t left = req->len;

    for (;;) {
        const char *nul = left ? memchr(at, '\0', left) : NULL;

        if (!nul)
            return NULL;
        if (n-- == 0)
            return at;
        left -= (size_t)(nul + 1 - at);
        at = nul + 1;
    }
}

/* Resolves the first argument against the connection's home; `special` lets "@..." pass. */
static int take_path(const struct conn *c, struct request *req, bool special)
{
    const char *path = arg(req, 0);
    int n;

    if (!path)
        return -EINVAL;
    if (path[0] == '/' || path[0] == '@')
        n = snprintf(req->path, sizeof(req->path), "%s", path);
    else
        n = snprintf(req->path, sizeof(req->path), "/local/domain/%" PRIu32 "/%s", c->domid, path);
    if (n < 0 || (size_t)n >= sizeof(req->path))
        return -EINVAL;
    if (special && path[0] == '@')
        return 0;
    return store_path_valid(req->path, c->domid) ? 0 : -EINVAL;
}

/* The path must be all there is. */
static int take_only_path(const struct conn *c, struct request *req)
{
    const char *path = arg(req, 0);

    if (!path || strlen(path) + 1 != req->len)
        return -EINVAL;
    return take_path(c, req, false);
}

/* ---- watches ---- */

static void watch_free(struct conn *c, struct watch *w)
{
    TAILQ_REMOVE(&c->watches, w, link);
    free(w->path);
    free(w->token);
    free(w);
}

static void send_event(struct conn *c, const struct watch *w, const char *path)
{
    static const struct xsd_sockmsg no_request;
    char body[XENSTORE_PAYLOAD_MAX];
    size_t len, token_len = strlen(w->token) + 1;

    path += w->skip;
    len = strlen(path) + 1;
    if (len + token_len > sizeof(body))
        return;
    memcpy(body, path, len);
    memcpy(body + len, w->token, token_len);
    send_msg(c, &no_request, XS_WATCH_EVENT, body, len + token_len);
}

static bool watch_matches(const struct watch *w, const struct store_event *ev)
{
    size_t len = strlen(w->path);

    if (ev->exact || ev->path[0] == '@')
        return strcmp(w->path, ev->path) == 0;
    if (strcmp(w->path, "/") == 0)
        return true;
    return strncmp(w->path, ev->path, len) == 0 && (ev->path[len] == '\0' || ev->path[len] == '/');
}

void xenstored_fire(struct xenstored *xs)
{
    struct store_event *ev;

    while ((ev = store_take_event(xs->store))) {
        struct conn *c;
        struct watch *w;

        TAILQ_FOREACH(c, &xs->conns, link)
        {
            if (!store_event_visible(xs->store, ev, c->domid))
                continue;
            TAILQ_FOREACH(w, &c->watches, link)
            {
                if (watch_matches(w, ev))
                    send_event(c, w, ev->path);
            }
        }
        store_event_free(ev);
    }
}

/* A guest has one ring on Xen, so quotas are a domain's, however many connections it has here. */
static void usage(const struct conn *of, unsigned *watches_out, unsigned *transactions_out)
{
    const struct conn *c;
    const struct watch *w;
    const struct transaction *t;

    *watches_out = *transactions_out = 0;
    TAILQ_FOREACH(c, &of->xs->conns, link)
    {
        if (c->domid != of->domid)
            continue;
        TAILQ_FOREACH(w, &c->watches, link)
        ++*watches_out;
        TAILQ_FOREACH(t, &c->transactions, link)
        ++*transactions_out;
    }
}

static struct watch *watch_find(struct conn *c, const char *path, const char *token)
{
    struct watch *w;

    TAILQ_FOREACH(w, &c->watches, link)
    {
        if (strcmp(w->path, path) == 0 && strcmp(w->token, token) == 0)
            return w;
    }
    return NULL;
}

static int watch_add(struct conn *c, const struct request *req, struct watch **out)
{
    const char *path = arg(req, 0);
    struct watch *w = calloc(1, sizeof(*w));

    if (!w)
        return -ENOMEM;
    w->path = strdup(req->path);
    w->token = strdup(arg(req, 1));
    if (path[0] != '/' && path[0] != '@')
        w->skip = strlen(req->path) - strlen(path);
    TAILQ_INSERT_TAIL(&c->watches, w, link);
    if (!w->path || !w->token) {
        watch_free(c, w);
        return -ENOMEM;
    }
    *out = w;
    return 0;
}

static int do_watch(struct conn *c, struct request *req)
{
    unsigned n_watches, n_tx;
    struct watch *w;
    int r = take_path(c, req, true);

    if (r < 0 || !arg(req, 1))
        return -EINVAL;
    if (watch_find(c, req->path, arg(req, 1)))
        return -EEXIST;
    usage(c, &n_watches, &n_tx);
    if (!privileged(c) && n_watches >= XS_QUOTA_WATCHES)
        return -E2BIG;
    r = watch_add(c, req, &w);
    if (r < 0)
        return r;
    r = ack(c, req, 0);
    /* Once up front, existing or not: a client need not look before it waits. */
    send_event(c, w, w->path);
    return r;
}

static int do_unwatch(struct conn *c, struct request *req)
{
    struct watch *w;
    int r = take_path(c, req, true);

    if (r < 0 || !arg(req, 1))
        return -EINVAL;
    w = watch_find(c, req->path, arg(req, 1));
    if (!w)
        return -ENOENT;
    watch_free(c, w);
    return ack(c, req, 0);
}

static void conn_reset(struct conn *c)
{
    struct watch *w;
    struct transaction *t;

    while ((w = TAILQ_FIRST(&c->watches)))
        watch_free(c, w);
    while ((t = TAILQ_FIRST(&c->transactions))) {
        TAILQ_REMOVE(&c->transactions, t, link);
        store_tx_abort(t->tx);
        free(t);
    }
}

static int do_reset_watches(struct conn *c, struct request *req)
{
    conn_reset(c);
    return ack(c, req, 0);
}

/* ---- nodes ---- */

static int do_directory(struct conn *c, struct request *req)
{
    const char *names;
    size_t len;
    uint64_t gen;
    int r = take_only_path(c, req);

    if (r == 0)
        r = store_list(c->xs->store, req->tx, c->domid, req->path, &names, &len, &gen);
    return r < 0 ? r : reply(c, req, names, len);
}

/* "<generation>" and as many names from the offset as fit; an empty name marks the end. */
static int do_directory_part(struct conn *c, struct request *req)
{
    char out[XENSTORE_PAYLOAD_MAX];
    const char *names;
    size_t len, at, used;
    uint64_t gen;
    uint32_t offset;
    int r = take_path(c, req, false);

    if (r < 0 || !arg(req, 1) || parse_u32(arg(req, 1), UINT32_MAX, &offset) < 0)
        return -EINVAL;
    r = store_list(c->xs->store, req->tx, c->domid, req->path, &names, &len, &gen);
    if (r < 0)
        return r;
    used = (size_t)snprintf(out, sizeof(out), "%" PRIu64, gen) + 1;
    for (at = offset; at < len;) {
        size_t n = strnlen(names + at, len - at) + 1;

        if (n > len - at || n > sizeof(out) - 1 - used)
            break;
        memcpy(out + used, names + at, n);
        used += n;
        at += n;
    }
    if (at >= len)
        out[used++] = '\0';
    return reply(c, req, out, used);
}

static int do_read(struct conn *c, struct request *req)
{
    const void *data;
    size_t len;
    int r = take_only_path(c, req);

    if (r == 0)
        r = store_read(c->xs->store, req->tx, c->domid, req->path, &data, &len);
    return r < 0 ? r : reply(c, req, data, len);
}

static int do_write(struct conn *c, struct request *req)
{
    size_t skip;
    int r = take_path(c, req, false);

    if (r < 0)
        return r;
    skip = strlen(req->body) + 1;
    return ack(
        c, req,
        store_write(c->xs->store, req->tx, c->domid, req->path, req->body + skip, req->len - skip));
}

static int do_mkdir(struct conn *c, struct request *req)
{
    int r = take_only_path(c, req);

    return ack(c, req, r < 0 ? r : store_mkdir(c->xs->store, req->tx, c->domid, req->path));
}

static int do_rm(struct conn *c, struct request *req)
{
    int r = take_only_path(c, req);

    return ack(c, req, r < 0 ? r : store_rm(c->xs->store, req->tx, c->domid, req->path));
}

/* ---- permissions ---- */

static const char perm_letters[] = "nrwb"; /* by STORE_READ | STORE_WRITE */

static int do_get_perms(struct conn *c, struct request *req)
{
    struct store_perms perms;
    char out[STORE_PERMS_MAX * 16];
    size_t len = 0;
    int r = take_path(c, req, true);

    if (r == 0)
        r = store_get_perms(c->xs->store, req->tx, c->domid, req->path, &perms);
    if (r < 0)
        return r;
    for (size_t i = 0; i < perms.n; i++) {
        len += (size_t)snprintf(out + len, sizeof(out) - len, "%c%" PRIu32,
                                perm_letters[perms.p[i].access], perms.p[i].domid) +
               1;
    }
    return reply(c, req, out, len);
}

static int parse_perm(const char *text, struct store_perm *out)
{
    const char *letter = text[0] ? strchr(perm_letters, text[0]) : NULL;

    if (!letter)
        return -EINVAL;
    out->access = (unsigned)(letter - perm_letters);
    return parse_u32(text + 1, STORE_DOMID_MAX, &out->domid) < 0 ? -EINVAL : 0;
}

static int do_set_perms(struct conn *c, struct request *req)
{
    struct store_perms perms = {0};
    const char *text;
    int r = take_path(c, req, true);

    if (r < 0)
        return r;
    while ((text = arg(req, 1 + (unsigned)perms.n))) {
        if (perms.n == STORE_PERMS_MAX)
            return -ENOSPC;
        if (parse_perm(text, &perms.p[perms.n]) < 0)
            return -EINVAL;
        perms.n++;
    }
    return ack(c, req, store_set_perms(c->xs->store, req->tx, c->domid, req->path, &perms));
}

/* ---- transactions ---- */

static struct transaction *transaction_find(struct conn *c, uint32_t id)
{
    struct transaction *t;

    TAILQ_FOREACH(t, &c->transactions, link)
    {
        if (t->id == id)
            return t;
    }
    return NULL;
}

static int do_transaction_start(struct conn *c, struct request *req)
{
    unsigned n_watches, n_tx;
    struct transaction *t;
    char text[16];
    int r;

    if (req->tx)
        return -EBUSY;
    usage(c, &n_watches, &n_tx);
    if (!privileged(c) && n_tx >= XS_QUOTA_TRANSACTIONS)
        return -ENOSPC;
    t = calloc(1, sizeof(*t));
    if (!t)
        return -ENOMEM;
    r = store_tx_start(c->xs->store, c->domid, &t->tx);
    if (r < 0) {
        free(t);
        return r;
    }
    do
        t->id = ++c->last_tx_id;
    while (t->id == 0 || transaction_find(c, t->id));
    TAILQ_INSERT_TAIL(&c->transactions, t, link);
    snprintf(text, sizeof(text), "%" PRIu32, t->id);
    return reply(c, req, text, strlen(text) + 1);
}

static int do_transaction_end(struct conn *c, struct request *req)
{
    const char *verdict = arg(req, 0);
    struct transaction *t = transaction_find(c, req->hdr.tx_id);
    int r = 0;

    if (!verdict || (strcmp(verdict, "T") != 0 && strcmp(verdict, "F") != 0))
        return -EINVAL;
    if (!t)
        return -ENOENT;
    TAILQ_REMOVE(&c->transactions, t, link);
    if (verdict[0] == 'T')
        r = store_tx_commit(t->tx);
    else
        store_tx_abort(t->tx);
    free(t);
    return ack(c, req, r);
}

/* ---- domains ---- */

static struct endpoint *endpoint_find(const struct xenstored *xs, uint32_t domid)
{
    struct endpoint *e;

    TAILQ_FOREACH(e, &xs->endpoints, link)
    {
        if (e->domid == domid)
            return e;
    }
    return NULL;
}

static int take_domid(const struct request *req, uint32_t *out)
{
    const char *text = arg(req, 0);

    return text && parse_u32(text, UINT16_MAX, out) == 0 ? 0 : -EINVAL;
}

static int do_get_domain_path(struct conn *c, struct request *req)
{
    char path[48];
    uint32_t domid;
    int r = take_domid(req, &domid);

    if (r < 0)
        return r;
    snprintf(path, sizeof(path), "/local/domain/%" PRIu32, domid);
    return reply(c, req, path, strlen(path) + 1);
}

static int do_is_domain_introduced(struct conn *c, struct request *req)
{
    uint32_t domid;
    int r = take_domid(req, &domid);

    return r < 0 ? r : reply(c, req, endpoint_find(c->xs, domid) ? "T" : "F", 2);
}

static int do_control(struct conn *c, struct request *req)
{
    const char *command = arg(req, 0);

    return command && strcmp(command, "check") == 0 ? ack(c, req, 0) : -EINVAL;
}

/* ---- dispatch ---- */

enum { PRIV = 1, NO_TX = 2 };

static const struct {
    int (*fn)(struct conn *c, struct request *req); /* has replied, or returns -errno */
    unsigned flags;
} handlers[XS_TYPE_COUNT] = {
    [XS_CONTROL] = {do_control, PRIV},
    [XS_DIRECTORY] = {do_directory, 0},
    [XS_DIRECTORY_PART] = {do_directory_part, 0},
    [XS_READ] = {do_read, 0},
    [XS_WRITE] = {do_write, 0},
    [XS_MKDIR] = {do_mkdir, 0},
    [XS_RM] = {do_rm, 0},
    [XS_GET_PERMS] = {do_get_perms, 0},
    [XS_SET_PERMS] = {do_set_perms, 0},
    [XS_WATCH] = {do_watch, NO_TX},
    [XS_UNWATCH] = {do_unwatch, NO_TX},
    [XS_RESET_WATCHES] = {do_reset_watches, NO_TX},
    [XS_TRANSACTION_START] = {do_transaction_start, 0},
    [XS_TRANSACTION_END] = {do_transaction_end, 0},
    [XS_GET_DOMAIN_PATH] = {do_get_domain_path, 0},
    [XS_IS_DOMAIN_INTRODUCED] = {do_is_domain_introduced, PRIV},
};

static int dispatch(struct conn *c, struct request *req)
{
    struct transaction *t;

    if (req->hdr.type >= XS_TYPE_COUNT || !handlers[req->hdr.type].fn)
        return -ENOSYS;
    if ((handlers[req->hdr.type].flags & PRIV) && !privileged(c))
        return -EACCES;
    if (req->hdr.tx_id && !(handlers[req->hdr.type].flags & NO_TX)) {
        t = transaction_find(c, req->hdr.tx_id);
        if (!t)
            return -ENOENT;
        req->tx = t->tx;
    }
    return handlers[req->hdr.type].fn(c, req);
}

/* EIO stands for a connection that is lost. */
static int injected(struct xenstored *xs, uint32_t domid)
{
    static const int errors[] = {EAGAIN, ENOSPC, ENOMEM, EIO, EBUSY};
    uint64_t *rng = &xs->faults.rng;

    if (xs->faults.permille == 0 || domid != xs->faults.domid)
        return 0;
    *rng ^= *rng << 13;
    *rng ^= *rng >> 7;
    *rng ^= *rng << 17;
    if ((*rng >> 11) % 1000 >= xs->faults.permille)
        return 0;
    xs->faults.n++;
    return -errors[(*rng >> 40) % ARRAY_SIZE(errors)];
}

/* As in the real one, a transaction is over whatever its end is answered. */
static void abort_transaction(struct conn *c, uint32_t id)
{
    struct transaction *t = transaction_find(c, id);

    if (!t)
        return;
    TAILQ_REMOVE(&c->transactions, t, link);
    store_tx_abort(t->tx);
    free(t);
}

static int on_message(void *ctx, const uint8_t *hdr, const uint8_t *body, size_t len, int fd)
{
    struct conn *c = ctx;
    struct request req = {.body = (const char *)body, .len = len};
    int r;

    if (fd >= 0)
        close(fd);
    memcpy(&req.hdr, hdr, sizeof(req.hdr));
    c->xs->n_requests++;
    r = injected(c->xs, c->domid);
    if (r == 0)
        r = dispatch(c, &req);
    else if (req.hdr.type == XS_TRANSACTION_END)
        abort_transaction(c, req.hdr.tx_id);
    if (r < 0)
        reply_error(c, &req, -r);
    xenstored_fire(c->xs);
    return 0;
}

static void conn_free(struct conn *c)
{
    conn_reset(c);
    TAILQ_REMOVE(&c->xs->conns, c, link);
    stream_free(c->stream);
    free(c);
}

static void on_closed(void *ctx)
{
    conn_free(ctx);
}

static const struct stream_ops conn_ops = {.message = on_message, .closed = on_closed};

static void on_connect(void *ctx, unsigned events)
{
    struct endpoint *e = ctx;
    struct conn *c;
    int fd = accept4(e->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    (void)events;
    if (fd < 0)
        return;
    c = calloc(1, sizeof(*c));
    if (c) {
        c->xs = e->xs;
        c->domid = e->domid;
        TAILQ_INIT(&c->watches);
        TAILQ_INIT(&c->transactions);
        c->stream = stream_new(e->xs->loop, fd, XENSTORE_PAYLOAD_MAX, &conn_ops, c);
    }
    if (!c || !c->stream) {
        log_err("xenstored: no memory for a connection");
        close(fd);
        free(c);
        return;
    }
    TAILQ_INSERT_TAIL(&e->xs->conns, c, link);
}

static void endpoint_close(struct endpoint *e)
{
    e->source = loop_source_free(e->source);
    if (e->fd >= 0) {
        unlink(e->path);
        close(e->fd);
    }
    e->fd = -1;
}

static int endpoint_open(struct endpoint *e)
{
    e->fd = stream_listen(e->path);
    if (e->fd < 0)
        return e->fd;
    e->source = loop_add_fd(e->xs->loop, e->fd, LOOP_READ, on_connect, e);
    return e->source ? 0 : -ENOMEM;
}

static void endpoint_free(struct xenstored *xs, struct endpoint *e)
{
    TAILQ_REMOVE(&xs->endpoints, e, link);
    endpoint_close(e);
    free(e);
}

int xenstored_domain_add(struct xenstored *xs, uint32_t domid)
{
    struct endpoint *e;
    int n;

    if (endpoint_find(xs, domid))
        return -EEXIST;
    e = calloc(1, sizeof(*e));
    if (!e)
        return -ENOMEM;
    e->xs = xs;
    e->domid = domid;
    e->fd = -1;
    TAILQ_INSERT_TAIL(&xs->endpoints, e, link);
    if (domid == 0)
        n = snprintf(e->path, sizeof(e->path), "%s/xenstored-socket", xs->dir);
    else
        n = snprintf(e->path, sizeof(e->path), "%s/xenstored-socket.%" PRIu32, xs->dir, domid);
    n = n < 0 || (size_t)n >= sizeof(e->path) ? -ENAMETOOLONG : endpoint_open(e);
    if (n == 0)
        n = store_raise(xs->store, "@introduceDomain");
    if (n < 0) {
        endpoint_free(xs, e);
        return n;
    }
    xenstored_fire(xs);
    return 0;
}

int xenstored_domain_remove(struct xenstored *xs, uint32_t domid)
{
    struct endpoint *e = endpoint_find(xs, domid);
    struct conn *c = TAILQ_FIRST(&xs->conns);
    int r;

    if (!e)
        return -ESRCH;
    while (c) {
        struct conn *next = TAILQ_NEXT(c, link);

        if (c->domid == domid)
            conn_free(c);
        c = next;
    }
    endpoint_free(xs, e);
    r = store_domain_gone(xs->store, domid);
    if (r == 0)
        r = store_raise(xs->store, "@releaseDomain");
    xenstored_fire(xs);
    return r;
}

uint64_t xenstored_requests(const struct xenstored *xs)
{
    return xs->n_requests;
}

uint64_t xenstored_faults(struct xenstored *xs, uint32_t domid, uint32_t permille, uint64_t seed)
{
    uint64_t n = xs->faults.n;

    xs->faults.domid = domid;
    xs->faults.permille = permille;
    xs->faults.rng = seed ? seed : 1;
    xs->faults.n = 0;
    return n;
}

void xenstored_stop(struct xenstored *xs)
{
    struct conn *c;
    struct endpoint *e;

    while ((c = TAILQ_FIRST(&xs->conns)))
        conn_free(c);
    TAILQ_FOREACH(e, &xs->endpoints, link)
    endpoint_close(e);
}

int xenstored_start(struct xenstored *xs)
{
    struct endpoint *e;

    TAILQ_FOREACH(e, &xs->endpoints, link)
    {
        int r = e->fd < 0 ? endpoint_open(e) : 0;

        if (r < 0)
            return r;
    }
    return 0;
}

int xenstored_new(struct xenstored **out, struct loop *loop, const char *dir, struct store *store)
{
    struct xenstored *xs = calloc(1, sizeof(*xs));
    int r;

    if (!xs)
        return -ENOMEM;
    xs->loop = loop;
    xs->dir = dir;
    xs->store = store;
    TAILQ_INIT(&xs->endpoints);
    TAILQ_INIT(&xs->conns);
    r = xenstored_domain_add(xs, 0);
    if (r < 0) {
        xenstored_free(xs);
        return r;
    }
    *out = xs;
    return 0;
}

struct xenstored *xenstored_free(struct xenstored *xs)
{
    struct conn *c;
    struct endpoint *e;

    if (!xs)
        return NULL;
    while ((c = TAILQ_FIRST(&xs->conns)))
        conn_free(c);
    while ((e = TAILQ_FIRST(&xs->endpoints)))
        endpoint_free(xs, e);
    free(xs);
    return NULL;
}
