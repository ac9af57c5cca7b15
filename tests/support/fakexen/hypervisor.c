/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * fakexen's hypervisor (hypervisor.h): what Xen and gntdev check, checked here, so that a
 * daemon that is wrong on Xen is wrong on fakexen too. A domain's memory is a memfd that its client
 * registered; a map hands a descriptor of it to the mapper, opened for reading only for a read-only
 * map. Event channels are pairs of eventfds, so that a notification needs no server: an eventfd is
 * the pending bit (many notifications before a look are one), and taking it re-arms the port.
 *
 * One thing a server cannot do is take a mapping away from a client that keeps it after FX_UNMAP;
 * platform/fakexen.c unmaps first.
 */
#include <config.h>

#include "tests/support/fakexen/hypervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "common/log.h"
#include "tests/support/fakexen/fx_proto.h"
#include "tests/support/fakexen/stream.h"

#define PORTS_PER_DOMAIN 4096u

struct grant {
    bool used;
    bool readonly;
    uint32_t to;
    uint32_t page;
    uint32_t maps;
};

struct domain {
    TAILQ_ENTRY(domain) link;
    uint32_t domid;
    bool dead;
    int mem_fd;    /* -1: none registered */
    int mem_ro_fd; /* the same memory, opened for reading only */
    uint32_t n_pages;
    uint32_t max_grants;
    uint32_t n_grants; /* size of the table */
    struct grant *grants;
    uint64_t mapped_here;
    uint32_t maptrack;
};

/* One end of an event channel. */
struct port {
    TAILQ_ENTRY(port) link;
    uint32_t domid;
    uint32_t number;
    uint32_t remote;   /* who may bind to it, or has */
    struct port *peer; /* NULL: unbound */
    struct client *client;
    int own_fd;  /* notifications to us */
    int peer_fd; /* notifications by us */
};

struct map {
    TAILQ_ENTRY(map) link;
    uint64_t id;
    struct domain *granter;
    uint32_t n;
    uint32_t refs[];
};

struct client {
    TAILQ_ENTRY(client) link;
    struct hypervisor *hv;
    struct stream *stream;
    struct domain *domain; /* NULL before hello, and after its death */
    bool restricted;       /* to event channels of the next */
    uint32_t only;
    TAILQ_HEAD(, map) maps;
};

enum { INJECT_MAP, INJECT_COPY, INJECT_BIND, N_INJECT };

struct hypervisor {
    struct loop *loop;
    char *path;
    int listen_fd;
    struct loop_source *listen_source;
    uint32_t maptrack_limit;
    uint64_t next_map_id;
    struct {
        uint32_t nth;
        int err;
    } inject[N_INJECT];
    struct {
        uint32_t domid, permille;
        uint32_t from;
        uint64_t rng, n;
    } faults;
    TAILQ_HEAD(, domain) domains;
    TAILQ_HEAD(, port) ports;
    TAILQ_HEAD(, client) clients;
};

/* A request and what answers it. Handlers return 0 or -errno. */
struct call {
    struct client *client;
    const uint8_t *body;
    size_t len;
    int fd;      /* came with the request, -1: none; a handler that keeps it sets -1 */
    void *reply; /* malloc'ed by the handler */
    size_t reply_len;
    int fds[FX_MAX_FDS]; /* to be sent; borrowed */
    size_t n_fds;
};

/* ---- domains ---- */

static struct domain *domain_find(const struct hypervisor *hv, uint32_t domid)
{
    struct domain *d;

    TAILQ_FOREACH(d, &hv->domains, link)
    {
        if (d->domid == domid)
            return d;
    }
    return NULL;
}

static struct domain *domain_alive(const struct hypervisor *hv, uint32_t domid)
{
    struct domain *d = domain_find(hv, domid);

    return d && !d->dead ? d : NULL;
}

bool hv_domain_exists(const struct hypervisor *hv, uint32_t domid)
{
    return domain_alive(hv, domid) != NULL;
}

static void domain_free(struct hypervisor *hv, struct domain *d)
{
    TAILQ_REMOVE(&hv->domains, d, link);
    if (d->mem_fd >= 0)
        close(d->mem_fd);
    if (d->mem_ro_fd >= 0)
        close(d->mem_ro_fd);
    free(d->grants);
    free(d);
}

static void domain_reap(struct hypervisor *hv, struct domain *d)
{
    if (d->dead && d->mapped_here == 0)
        domain_free(hv, d);
}

int hv_domain_create(struct hypervisor *hv, uint32_t domid, uint32_t max_grants)
{
    struct domain *d;

    if (max_grants > HV_MAX_GRANTS)
        return -EINVAL;
    if (domain_find(hv, domid))
        return -EEXIST;
    d = calloc(1, sizeof(*d));
    if (!d)
        return -ENOMEM;
    d->domid = domid;
    d->mem_fd = d->mem_ro_fd = -1;
    d->max_grants = max_grants;
    TAILQ_INSERT_TAIL(&hv->domains, d, link);
    return 0;
}

/* ---- grants ---- */

/* Room for references below `end`. The table grows up to the domain's limit, as Xen's does. */
static int grants_reserve(struct domain *d, uint32_t end)
{
    struct grant *grants;
    uint32_t size = d->n_grants ? d->n_grants : 512;

    if (end > d->max_grants)
        return -ENOSPC;
    if (end <= d->n_grants)
        return 0;
    while (size < end)
        size *= 2;
    grants = realloc(d->grants, size * sizeof(*grants));
    if (!grants)
        return -ENOMEM;
    memset(grants + d->n_grants, 0, (size - d->n_grants) * sizeof(*grants));
    d->grants = grants;
    d->n_grants = size;
    return 0;
}

static struct grant *grant_find(const struct domain *d, uint32_t ref)
{
    return ref < d->n_grants && d->grants[ref].used ? &d->grants[ref] : NULL;
}

static bool is_sealed_memfd(int fd, uint64_t size)
{
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);

    /* A memory that can shrink would make its mappers die by SIGBUS. */
    return seals >= 0 && (seals & F_SEAL_SHRINK) && fstat(fd, &st) == 0 &&
           (uint64_t)st.st_size >= size;
}

static int call_memory(struct call *c)
{
    struct domain *d = c->client->domain;
    struct fx_memory m;
    char path[32];

    memcpy(&m, c->body, sizeof(m));
    if (c->fd < 0 || m.n_pages == 0 || !is_sealed_memfd(c->fd, (uint64_t)m.n_pages * FX_PAGE_SIZE))
        return -EINVAL;
    if (d->mem_fd >= 0)
        return -EEXIST;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", c->fd);
    d->mem_ro_fd = open(path, O_RDONLY | O_CLOEXEC);
    if (d->mem_ro_fd < 0)
        return -errno;
    d->mem_fd = c->fd;
    d->n_pages = m.n_pages;
    c->fd = -1;
    return 0;
}

static int call_grant(struct call *c)
{
    struct domain *d = c->client->domain;
    struct fx_grant g;
    int r;

    memcpy(&g, c->body, sizeof(g));
    if (g.n == 0 || g.n > d->n_pages || g.page > d->n_pages - g.n || g.ref > UINT32_MAX - g.n)
        return -EINVAL;
    r = grants_reserve(d, g.ref + g.n);
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < g.n; i++) {
        if (d->grants[g.ref + i].used)
            return -EEXIST;
    }
    for (uint32_t i = 0; i < g.n; i++) {
        d->grants[g.ref + i] = (struct grant){
            .used = true, .readonly = g.readonly != 0, .to = g.domid, .page = g.page + i};
    }
    return 0;
}

static int call_ungrant(struct call *c)
{
    struct domain *d = c->client->domain;
    struct fx_ungrant u;

    memcpy(&u, c->body, sizeof(u));
    if (u.n == 0 || u.n > d->n_grants || u.ref > d->n_grants - u.n)
        return -EINVAL;
    for (uint32_t i = 0; i < u.n; i++) {
        if (!d->grants[u.ref + i].used)
            return -ENOENT;
        if (d->grants[u.ref + i].maps)
            return -EBUSY;
    }
    memset(d->grants + u.ref, 0, u.n * sizeof(*d->grants));
    return 0;
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state >> 11;
}

/* `domid`: whose memory or port it is; `ref`: the first reference of a map, else 0. */
static int injected(struct hypervisor *hv, int op, uint32_t domid, uint32_t ref)
{
    static const int errors[] = {ENOMEM, ENOSPC, EAGAIN, EIO};

    if (hv->inject[op].nth > 0 && --hv->inject[op].nth == 0)
        return -hv->inject[op].err;
    if (hv->faults.permille == 0 || domid != hv->faults.domid ||
        (hv->faults.from > 0 && ref < hv->faults.from) ||
        next_random(&hv->faults.rng) % 1000 >= hv->faults.permille)
        return 0;
    hv->faults.n++;
    return -errors[next_random(&hv->faults.rng) % ARRAY_SIZE(errors)];
}

/* A grant that `to` may use for the access. -EINVAL like gntdev, whatever is wrong with it. */
static int grant_check(const struct domain *granter, uint32_t ref, uint32_t to, bool write)
{
    const struct grant *g = grant_find(granter, ref);

    return g && g->to == to && !(write && g->readonly) ? 0 : -EINVAL;
}

/* Checks a map against the granter's table and the mapper's handles. */
static int map_check(struct client *client, const struct domain *granter, const struct fx_map *m,
                     const uint32_t *refs)
{
    const struct hypervisor *hv = client->hv;

    for (uint32_t i = 0; i < m->n; i++) {
        int r = grant_check(granter, refs[i], client->domain->domid, m->writable != 0);

        if (r < 0)
            return r;
    }
    return m->n > hv->maptrack_limit - client->domain->maptrack ? -ENOSPC : 0;
}

static int map_reply(struct call *c, const struct map *map)
{
    struct fx_map_reply reply = {.map_id = map->id, .n = map->n};
    uint8_t *out;

    c->reply_len = sizeof(reply) + map->n * sizeof(uint32_t);
    c->reply = out = malloc(c->reply_len);
    if (!out)
        return -ENOMEM;
    memcpy(out, &reply, sizeof(reply));
    for (uint32_t i = 0; i < map->n; i++) {
        memcpy(out + sizeof(reply) + i * sizeof(uint32_t), &map->granter->grants[map->refs[i]].page,
               sizeof(uint32_t));
    }
    return 0;
}

static int call_map(struct call *c)
{
    struct hypervisor *hv = c->client->hv;
    struct domain *granter;
    struct fx_map m;
    struct map *map;
    uint32_t first;
    int r;

    memcpy(&m, c->body, sizeof(m));
    if (m.n == 0 || m.n > FX_MAP_MAX || c->len != sizeof(m) + m.n * sizeof(uint32_t))
        return -EINVAL;
    memcpy(&first, c->body + sizeof(m), sizeof(first));
    r = injected(hv, INJECT_MAP, m.domid, first);
    if (r < 0)
        return r;
    granter = domain_alive(hv, m.domid);
    if (!granter)
        return -EINVAL;
    map = calloc(1, sizeof(*map) + m.n * sizeof(uint32_t));
    if (!map)
        return -ENOMEM;
    map->id = ++hv->next_map_id;
    map->granter = granter;
    map->n = m.n;
    memcpy(map->refs, c->body + sizeof(m), m.n * sizeof(uint32_t));
    r = map_check(c->client, granter, &m, map->refs);
    if (r == 0)
        r = map_reply(c, map);
    if (r < 0) {
        free(map);
        return r;
    }
    for (uint32_t i = 0; i < m.n; i++)
        granter->grants[map->refs[i]].maps++;
    granter->mapped_here += m.n;
    c->client->domain->maptrack += m.n;
    TAILQ_INSERT_TAIL(&c->client->maps, map, link);
    c->fds[c->n_fds++] = m.writable ? granter->mem_fd : granter->mem_ro_fd;
    return 0;
}

static void map_release(struct client *client, struct map *map)
{
    struct domain *granter = map->granter;

    for (uint32_t i = 0; i < map->n; i++)
        granter->grants[map->refs[i]].maps--;
    granter->mapped_here -= map->n;
    client->domain->maptrack -= map->n;
    TAILQ_REMOVE(&client->maps, map, link);
    free(map);
    domain_reap(client->hv, granter);
}

static int call_unmap(struct call *c)
{
    struct fx_unmap u;
    struct map *map;

    memcpy(&u, c->body, sizeof(u));
    TAILQ_FOREACH(map, &c->client->maps, link)
    {
        if (map->id == u.map_id) {
            map_release(c->client, map);
            return 0;
        }
    }
    return -ENOENT;
}

/* ---- grant copy ---- */

static int copy_piece(struct call *c, const struct domain *granter, const struct fx_copy_piece *p,
                      uint8_t *bytes)
{
    const struct grant *g;
    ssize_t n;
    off_t at;
    int r = grant_check(granter, p->ref, c->client->domain->domid, p->to_guest != 0);

    if (r < 0)
        return r;
    if (p->len == 0 || p->offset > FX_PAGE_SIZE || p->len > FX_PAGE_SIZE - p->offset)
        return -EINVAL;
    g = grant_find(granter, p->ref);
    at = (off_t)g->page * FX_PAGE_SIZE + p->offset;
    n = p->to_guest ? pwrite(granter->mem_fd, bytes, p->len, at)
                    : pread(granter->mem_fd, bytes, p->len, at);
    return n == (ssize_t)p->len ? 0 : -EIO;
}

/* Bytes towards the guest that follow the pieces, and bytes that the reply needs. */
static int copy_sizes(const struct call *c, const struct fx_copy *h, size_t *to_out,
                      size_t *from_out)
{
    size_t pieces = h->n * sizeof(struct fx_copy_piece);

    *to_out = *from_out = 0;
    if (h->n == 0 || h->n > FX_COPY_MAX || c->len < sizeof(*h) + pieces)
        return -EINVAL;
    for (uint32_t i = 0; i < h->n; i++) {
        struct fx_copy_piece p;

        memcpy(&p, c->body + sizeof(*h) + i * sizeof(p), sizeof(p));
        *(p.to_guest ? to_out : from_out) += p.len;
    }
    return c->len == sizeof(*h) + pieces + *to_out ? 0 : -EINVAL;
}

static int call_copy(struct call *c)
{
    struct fx_copy h;
    const struct domain *granter;
    cleanup_free uint8_t *in = NULL;
    uint8_t *to, *from;
    size_t to_len, from_len;
    int r;

    memcpy(&h, c->body, sizeof(h));
    r = injected(c->client->hv, INJECT_COPY, h.domid, 0);
    if (r == 0)
        r = copy_sizes(c, &h, &to_len, &from_len);
    if (r < 0)
        return r;
    granter = domain_alive(c->client->hv, h.domid);
    if (!granter || granter->mem_fd < 0)
        return -EINVAL;
    c->reply_len = h.n * sizeof(int32_t) + from_len;
    c->reply = calloc(1, c->reply_len);
    in = malloc(to_len + 1);
    if (!c->reply || !in)
        return -ENOMEM;
    memcpy(in, c->body + c->len - to_len, to_len);
    to = in;
    from = (uint8_t *)c->reply + h.n * sizeof(int32_t);
    for (uint32_t i = 0; i < h.n; i++) {
        struct fx_copy_piece p;
        uint8_t **bytes;
        int32_t status;

        memcpy(&p, c->body + sizeof(h) + i * sizeof(p), sizeof(p));
        bytes = p.to_guest ? &to : &from;
        status = copy_piece(c, granter, &p, *bytes);
        *bytes += p.len;
        memcpy((uint8_t *)c->reply + i * sizeof(status), &status, sizeof(status));
    }
    return 0;
}

/* ---- event channels ---- */

static struct port *port_find(const struct hypervisor *hv, uint32_t domid, uint32_t number)
{
    struct port *p;

    TAILQ_FOREACH(p, &hv->ports, link)
    {
        if (p->domid == domid && p->number == number)
            return p;
    }
    return NULL;
}

/* Peer's death is silent, as on Xen: our end becomes unbound, and its notifications go nowhere. */
static void port_close(struct hypervisor *hv, struct port *p)
{
    if (p->peer)
        p->peer->peer = NULL;
    TAILQ_REMOVE(&hv->ports, p, link);
    close(p->own_fd);
    close(p->peer_fd);
    free(p);
}

/* Takes both descriptors in every case. */
static int port_open(struct client *client, uint32_t remote, int own_fd, int peer_fd,
                     struct port **out)
{
    struct port *p = own_fd >= 0 && peer_fd >= 0 ? calloc(1, sizeof(*p)) : NULL;
    uint32_t number = 1;

    while (p && number < PORTS_PER_DOMAIN && port_find(client->hv, client->domain->domid, number))
        number++;
    if (!p || number == PORTS_PER_DOMAIN) {
        if (own_fd >= 0)
            close(own_fd);
        if (peer_fd >= 0)
            close(peer_fd);
        free(p);
        return p ? -ENOSPC : -ENOMEM;
    }
    p->domid = client->domain->domid;
    p->number = number;
    p->remote = remote;
    p->client = client;
    p->own_fd = own_fd;
    p->peer_fd = peer_fd;
    TAILQ_INSERT_TAIL(&client->hv->ports, p, link);
    *out = p;
    return 0;
}

static int port_reply(struct call *c, const struct port *p)
{
    struct fx_port reply = {.domid = p->remote, .port = p->number};

    c->reply = malloc(sizeof(reply));
    if (!c->reply)
        return -ENOMEM;
    memcpy(c->reply, &reply, sizeof(reply));
    c->reply_len = sizeof(reply);
    c->fds[0] = p->own_fd;
    c->fds[1] = p->peer_fd;
    c->n_fds = 2;
    return 0;
}

static int call_alloc_unbound(struct call *c)
{
    struct fx_port a;
    struct port *p;
    int r;

    memcpy(&a, c->body, sizeof(a));
    r = port_open(c->client, a.domid, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                  eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), &p);
    if (r < 0)
        return r;
    r = port_reply(c, p);
    if (r < 0)
        port_close(c->client->hv, p);
    return r;
}

static int call_bind(struct call *c)
{
    struct hypervisor *hv = c->client->hv;
    struct fx_port b;
    struct port *remote, *p;
    int r;

    memcpy(&b, c->body, sizeof(b));
    r = injected(hv, INJECT_BIND, b.domid, 0);
    if (r < 0)
        return r;
    if (!domain_alive(hv, b.domid))
        return -ESRCH;
    remote = port_find(hv, b.domid, b.port);
    if (!remote || remote->peer || remote->remote != c->client->domain->domid)
        return -EINVAL;
    r = port_open(c->client, b.domid, fcntl(remote->peer_fd, F_DUPFD_CLOEXEC, 3),
                  fcntl(remote->own_fd, F_DUPFD_CLOEXEC, 3), &p);
    if (r < 0)
        return r;
    r = port_reply(c, p);
    if (r < 0) {
        port_close(hv, p);
        return r;
    }
    p->peer = remote;
    remote->peer = p;
    /* The other side may have notified before we were there: Xen makes a new binding pending. */
    eventfd_write(p->own_fd, 1);
    return 0;
}

static int call_unbind(struct call *c)
{
    struct fx_port u;
    struct port *p;

    memcpy(&u, c->body, sizeof(u));
    p = port_find(c->client->hv, c->client->domain->domid, u.port);
    if (!p || p->client != c->client)
        return -EINVAL;
    port_close(c->client->hv, p);
    return 0;
}

/* ---- clients ---- */

static int call_hello(struct call *c)
{
    struct fx_hello h;

    memcpy(&h, c->body, sizeof(h));
    if (c->client->domain)
        return -EISCONN;
    c->client->domain = domain_alive(c->client->hv, h.domid);
    return c->client->domain ? 0 : -ESRCH;
}

static int call_restrict(struct call *c)
{
    struct fx_hello h;

    memcpy(&h, c->body, sizeof(h));
    if (c->client->restricted)
        return -EPERM;
    c->client->restricted = true;
    c->client->only = h.domid;
    return 0;
}

static bool is_permitted(const struct call *c, uint32_t type)
{
    struct fx_port b;

    if (!c->client->restricted || type == FX_UNBIND)
        return true;
    if (type != FX_BIND)
        return false;
    memcpy(&b, c->body, sizeof(b));
    return b.domid == c->client->only;
}

static const struct {
    int (*fn)(struct call *c);
    size_t size; /* of the fixed part */
    bool more;   /* something may follow it */
} calls[] = {
    [FX_HELLO] = {call_hello, sizeof(struct fx_hello), false},
    [FX_MEMORY] = {call_memory, sizeof(struct fx_memory), false},
    [FX_GRANT] = {call_grant, sizeof(struct fx_grant), false},
    [FX_UNGRANT] = {call_ungrant, sizeof(struct fx_ungrant), false},
    [FX_MAP] = {call_map, sizeof(struct fx_map), true},
    [FX_UNMAP] = {call_unmap, sizeof(struct fx_unmap), false},
    [FX_COPY] = {call_copy, sizeof(struct fx_copy), true},
    [FX_ALLOC_UNBOUND] = {call_alloc_unbound, sizeof(struct fx_port), false},
    [FX_BIND] = {call_bind, sizeof(struct fx_port), false},
    [FX_UNBIND] = {call_unbind, sizeof(struct fx_port), false},
    [FX_RESTRICT] = {call_restrict, sizeof(struct fx_hello), false},
};

static int dispatch(struct call *c, uint32_t type)
{
    if (type >= ARRAY_SIZE(calls) || !calls[type].fn)
        return -ENOSYS;
    if (c->len < calls[type].size || (!calls[type].more && c->len != calls[type].size))
        return -EINVAL;
    if (type != FX_HELLO && !c->client->domain)
        return -EPERM;
    return is_permitted(c, type) ? calls[type].fn(c) : -EPERM;
}

static int on_message(void *ctx, const uint8_t *hdr, const uint8_t *body, size_t len, int fd)
{
    struct client *client = ctx;
    struct call c = {.client = client, .body = body, .len = len, .fd = fd};
    struct fx_hdr reply;

    memcpy(&reply, hdr, sizeof(reply));
    reply.status = dispatch(&c, reply.type);
    reply.len = reply.status == 0 ? (uint32_t)c.reply_len : 0;
    stream_send(client->stream, &reply, c.reply, reply.len, c.fds, reply.status == 0 ? c.n_fds : 0);
    free(c.reply);
    if (c.fd >= 0)
        close(c.fd);
    return 0;
}

static void client_free(struct client *client)
{
    struct hypervisor *hv = client->hv;
    struct port *p = TAILQ_FIRST(&hv->ports);
    struct map *map;

    while (p) {
        struct port *next = TAILQ_NEXT(p, link);

        if (p->client == client)
            port_close(hv, p);
        p = next;
    }
    while ((map = TAILQ_FIRST(&client->maps)))
        map_release(client, map);
    TAILQ_REMOVE(&hv->clients, client, link);
    stream_free(client->stream);
    free(client);
}

static void on_closed(void *ctx)
{
    client_free(ctx);
}

static const struct stream_ops client_ops = {.message = on_message, .closed = on_closed};

static void on_connect(void *ctx, unsigned events)
{
    struct hypervisor *hv = ctx;
    struct client *client;
    int fd = accept4(hv->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    (void)events;
    if (fd < 0)
        return;
    client = calloc(1, sizeof(*client));
    if (client) {
        client->hv = hv;
        TAILQ_INIT(&client->maps);
        client->stream = stream_new(hv->loop, fd, FX_BODY_MAX, &client_ops, client);
    }
    if (!client || !client->stream) {
        log_err("hypervisor: no memory for a client");
        close(fd);
        free(client);
        return;
    }
    TAILQ_INSERT_TAIL(&hv->clients, client, link);
}

/* ---- for the toolstack ---- */

int hv_domain_destroy(struct hypervisor *hv, uint32_t domid)
{
    struct domain *d = domain_alive(hv, domid);
    struct client *client = TAILQ_FIRST(&hv->clients);

    if (!d)
        return -ESRCH;
    while (client) {
        struct client *next = TAILQ_NEXT(client, link);

        if (client->domain == d)
            client_free(client);
        client = next;
    }
    d->dead = true;
    domain_reap(hv, d);
    return 0;
}

void hv_each_domain(const struct hypervisor *hv,
                    void (*fn)(const struct hv_domain_info *info, void *ctx), void *ctx)
{
    const struct domain *d;

    TAILQ_FOREACH(d, &hv->domains, link)
    {
        struct hv_domain_info info = {.domid = d->domid,
                                      .dying = d->dead,
                                      .maptrack = d->maptrack,
                                      .n_pages = d->n_pages,
                                      .mapped_here = d->mapped_here};
        const struct port *p;

        TAILQ_FOREACH(p, &hv->ports, link)
        info.n_ports += p->domid == d->domid;
        fn(&info, ctx);
    }
}

void hv_each_grant(const struct hypervisor *hv,
                   void (*fn)(uint32_t domid, uint32_t ref, uint32_t to, bool readonly,
                              uint32_t maps, void *ctx),
                   void *ctx)
{
    const struct domain *d;

    TAILQ_FOREACH(d, &hv->domains, link)
    {
        for (uint32_t ref = 0; ref < d->n_grants; ref++) {
            const struct grant *g = grant_find(d, ref);

            if (g)
                fn(d->domid, ref, g->to, g->readonly, g->maps, ctx);
        }
    }
}

int hv_inject(struct hypervisor *hv, const char *op, uint32_t nth, int err)
{
    static const char *const names[N_INJECT] = {"map", "copy", "bind"};

    for (int i = 0; i < N_INJECT; i++) {
        if (strcmp(op, names[i]) == 0 && err > 0) {
            hv->inject[i].nth = nth;
            hv->inject[i].err = err;
            return 0;
        }
    }
    return -EINVAL;
}

uint64_t hv_faults(struct hypervisor *hv, uint32_t domid, uint32_t permille, uint64_t seed,
                   uint32_t from)
{
    uint64_t n = hv->faults.n;

    hv->faults.from = from;
    hv->faults.domid = domid;
    hv->faults.permille = permille;
    hv->faults.rng = seed ? seed : 1;
    hv->faults.n = 0;
    return n;
}

int hv_new(struct hypervisor **out, struct loop *loop, const char *path, uint32_t maptrack)
{
    struct hypervisor *hv = calloc(1, sizeof(*hv));
    int r;

    if (!hv)
        return -ENOMEM;
    hv->loop = loop;
    hv->maptrack_limit = maptrack;
    TAILQ_INIT(&hv->domains);
    TAILQ_INIT(&hv->ports);
    TAILQ_INIT(&hv->clients);
    hv->path = strdup(path);
    hv->listen_fd = r = hv->path ? stream_listen(path) : -ENOMEM;
    if (r >= 0)
        r = hv_domain_create(hv, 0, HV_DEFAULT_GRANTS);
    if (r == 0) {
        hv->listen_source = loop_add_fd(loop, hv->listen_fd, LOOP_READ, on_connect, hv);
        r = hv->listen_source ? 0 : -ENOMEM;
    }
    if (r < 0) {
        hv_free(hv);
        return r;
    }
    *out = hv;
    return 0;
}

struct hypervisor *hv_free(struct hypervisor *hv)
{
    struct client *client;
    struct domain *d;

    if (!hv)
        return NULL;
    while ((client = TAILQ_FIRST(&hv->clients)))
        client_free(client);
    while ((d = TAILQ_FIRST(&hv->domains)))
        domain_free(hv, d);
    loop_source_free(hv->listen_source);
    if (hv->listen_fd >= 0) {
        unlink(hv->path);
        close(hv->listen_fd);
    }
    free(hv->path);
    free(hv);
    return NULL;
}
