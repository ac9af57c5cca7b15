/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * fakexen's xenstore tree (store.h). The tree is a flat table from path to node, and a transaction
 * is a list of private copies of the nodes that it touched, each with the generation it was copied
 * at: the same shape as the C xenstored's, so that conflicts happen exactly where they do there.
 * A request outside a transaction runs in one of its own, which makes every request atomic.
 *
 * Called by xenstored.c for requests of untrusted clients, and by toolstack.c.
 */
#include <config.h>

#include "tests/support/fakexen/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <xen/io/xs_wire.h>

#define BUCKETS 4096

struct node {
    struct node *next; /* in its bucket */
    char *path;
    uint64_t gen;
    struct store_perms perms;
    void *data;
    size_t len;
    char *names; /* children, as DIRECTORY answers */
    size_t names_len;
};

/* One node that a transaction has seen. */
struct access {
    TAILQ_ENTRY(access) link;
    char *path;
    uint64_t base_gen; /* 0: it did not exist */
    struct node *node; /* private copy; NULL: does not exist, or removed */
    bool modified;
};

TAILQ_HEAD(event_list, store_event);

struct store_tx {
    struct store *s;
    uint32_t domid;
    int failed; /* -errno of a request that stopped half-way: it must not be committed */
    size_t n_accesses;
    TAILQ_HEAD(, access) accesses;
    struct event_list events;
};

struct store {
    uint64_t gen;
    unsigned open_tx;
    struct event_list events;
    struct node *buckets[BUCKETS];
    uint32_t owned[STORE_DOMID_MAX + 1];
};

static bool privileged(uint32_t domid)
{
    return domid == 0;
}

/* ---- nodes ---- */

static size_t bucket_of(const char *path)
{
    uint32_t h = 2166136261u;

    for (; *path; path++)
        h = (h ^ (unsigned char)*path) * 16777619u;
    return h % BUCKETS;
}

static struct node *table_find(const struct store *s, const char *path)
{
    struct node *n = s->buckets[bucket_of(path)];

    while (n && strcmp(n->path, path) != 0)
        n = n->next;
    return n;
}

static struct node *node_free(struct node *n)
{
    if (n) {
        free(n->path);
        free(n->data);
        free(n->names);
        free(n);
    }
    return NULL;
}

static void *copy_bytes(const void *p, size_t len)
{
    void *copy = malloc(len + 1);

    if (copy) {
        if (len)
            memcpy(copy, p, len);
        ((char *)copy)[len] = '\0';
    }
    return copy;
}

static struct node *node_new(const char *path, const struct store_perms *perms)
{
    struct node *n = calloc(1, sizeof(*n));

    if (!n)
        return NULL;
    n->path = strdup(path);
    n->data = copy_bytes("", 0);
    n->perms = *perms;
    return n->path && n->data ? n : node_free(n);
}

static struct node *node_copy(const struct node *from)
{
    struct node *n = node_new(from->path, &from->perms);

    if (!n)
        return NULL;
    free(n->data);
    n->data = copy_bytes(from->data, from->len);
    n->len = from->len;
    n->names = copy_bytes(from->names, from->names_len);
    n->names_len = from->names_len;
    n->gen = from->gen;
    return n->data && n->names ? n : node_free(n);
}

static void table_put(struct store *s, struct node *n)
{
    struct node **slot = &s->buckets[bucket_of(n->path)];

    n->next = *slot;
    *slot = n;
    s->owned[n->perms.p[0].domid]++;
}

static void table_drop(struct store *s, const char *path)
{
    struct node **slot = &s->buckets[bucket_of(path)];
    struct node *n;

    while (*slot && strcmp((*slot)->path, path) != 0)
        slot = &(*slot)->next;
    n = *slot;
    if (!n)
        return;
    *slot = n->next;
    s->owned[n->perms.p[0].domid]--;
    node_free(n);
}

/* ---- names ---- */

static char *parent_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    if (!slash || path[1] == '\0')
        return NULL;
    return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

static char *child_of(const char *path, const char *name)
{
    size_t len = strcmp(path, "/") == 0 ? 0 : strlen(path);
    size_t name_len = strlen(name);
    char *child = malloc(len + name_len + 2);

    if (child) {
        memcpy(child, path, len);
        child[len] = '/';
        memcpy(child + len + 1, name, name_len + 1);
    }
    return child;
}

/* Where the quota on path lengths starts to count: behind "/local/domain/<domid>/". */
static size_t home_len(const char *path)
{
    static const char local[] = "/local/domain/";
    size_t len = sizeof(local) - 1;

    if (strncmp(path, local, len) != 0)
        return 0;
    len += strspn(path + len, "0123456789");
    return path[len] == '/' ? len + 1 : 0;
}

bool store_path_valid(const char *path, uint32_t domid)
{
    static const char legal[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-/_@";
    size_t len = strlen(path);

    if (path[0] != '/' || len >= XENSTORE_ABS_PATH_MAX)
        return false;
    if (len > 1 && path[len - 1] == '/')
        return false;
    if (strstr(path, "//") || path[strspn(path, legal)] != '\0')
        return false;
    return privileged(domid) || len - home_len(path) <= XENSTORE_REL_PATH_MAX;
}

/* ---- transactions ---- */

int store_tx_start(struct store *s, uint32_t domid, struct store_tx **out)
{
    struct store_tx *tx = calloc(1, sizeof(*tx));

    if (!tx)
        return -ENOMEM;
    tx->s = s;
    tx->domid = domid;
    TAILQ_INIT(&tx->accesses);
    TAILQ_INIT(&tx->events);
    s->open_tx++;
    *out = tx;
    return 0;
}

static void access_free(struct access *a)
{
    node_free(a->node);
    free(a->path);
    free(a);
}

void store_tx_abort(struct store_tx *tx)
{
    struct access *a;
    struct store_event *ev;

    if (!tx)
        return;
    while ((a = TAILQ_FIRST(&tx->accesses))) {
        TAILQ_REMOVE(&tx->accesses, a, link);
        access_free(a);
    }
    while ((ev = TAILQ_FIRST(&tx->events))) {
        TAILQ_REMOVE(&tx->events, ev, link);
        store_event_free(ev);
    }
    tx->s->open_tx--;
    free(tx);
}

/* The transaction's copy of a node, made at its first look: later changes by others are not seen
 * by it, and make its commit fail. */
static int tx_access(struct store_tx *tx, const char *path, struct access **out)
{
    const struct node *now;
    struct access *a;

    TAILQ_FOREACH(a, &tx->accesses, link)
    {
        if (strcmp(a->path, path) == 0) {
            *out = a;
            return 0;
        }
    }
    if (!privileged(tx->domid) && tx->n_accesses >= STORE_QUOTA_TX_NODES)
        return -ENOSPC;
    a = calloc(1, sizeof(*a));
    if (!a)
        return -ENOMEM;
    a->path = strdup(path);
    now = table_find(tx->s, path);
    if (now) {
        a->node = node_copy(now);
        a->base_gen = now->gen;
    }
    if (!a->path || (now && !a->node)) {
        access_free(a);
        return -ENOMEM;
    }
    TAILQ_INSERT_TAIL(&tx->accesses, a, link);
    tx->n_accesses++;
    *out = a;
    return 0;
}

/* How many nodes `domid` would own if the transaction were committed now. */
static size_t owned_after(const struct store_tx *tx, uint32_t domid)
{
    size_t n = tx->s->owned[domid];
    const struct access *a;

    TAILQ_FOREACH(a, &tx->accesses, link)
    {
        const struct node *now;

        if (!a->modified)
            continue;
        now = table_find(tx->s, a->path);
        n += a->node && a->node->perms.p[0].domid == domid;
        n -= now && now->perms.p[0].domid == domid;
    }
    return n;
}

static bool tx_conflicts(const struct store_tx *tx)
{
    const struct access *a;

    TAILQ_FOREACH(a, &tx->accesses, link)
    {
        const struct node *now = table_find(tx->s, a->path);

        if ((now ? now->gen : 0) != a->base_gen)
            return true;
    }
    return false;
}

int store_tx_commit(struct store_tx *tx)
{
    struct store *s = tx->s;
    struct access *a;
    int r = 0;

    if (tx->failed)
        r = tx->failed;
    else if (tx_conflicts(tx))
        r = -EAGAIN;
    else if (!privileged(tx->domid) && owned_after(tx, tx->domid) > STORE_QUOTA_NODES &&
             owned_after(tx, tx->domid) > s->owned[tx->domid])
        r = -ENOSPC;
    if (r == 0) {
        TAILQ_FOREACH(a, &tx->accesses, link)
        {
            if (!a->modified)
                continue;
            table_drop(s, a->path);
            if (a->node) {
                a->node->gen = ++s->gen;
                table_put(s, a->node);
                a->node = NULL;
            }
        }
        TAILQ_CONCAT(&s->events, &tx->events, link);
    }
    store_tx_abort(tx);
    return r;
}

/* ---- events ---- */

struct store_event *store_event_free(struct store_event *ev)
{
    if (ev) {
        free(ev->path);
        free(ev);
    }
    return NULL;
}

static int add_event(struct event_list *list, const char *path, bool exact,
                     const struct store_perms *perms, const struct store_perms *old_perms)
{
    struct store_event *ev = calloc(1, sizeof(*ev));

    if (!ev)
        return -ENOMEM;
    ev->path = strdup(path);
    if (!ev->path) {
        free(ev);
        return -ENOMEM;
    }
    ev->exact = exact;
    ev->perms = *perms;
    ev->old_perms = old_perms ? *old_perms : *perms;
    TAILQ_INSERT_TAIL(list, ev, link);
    return 0;
}

struct store_event *store_take_event(struct store *s)
{
    struct store_event *ev = TAILQ_FIRST(&s->events);

    if (ev)
        TAILQ_REMOVE(&s->events, ev, link);
    return ev;
}

static unsigned access_of(const struct store_perms *perms, uint32_t domid)
{
    if (privileged(domid) || perms->p[0].domid == domid)
        return STORE_READ | STORE_WRITE | STORE_OWNER;
    for (size_t i = 1; i < perms->n; i++) {
        if (perms->p[i].domid == domid)
            return perms->p[i].access;
    }
    return perms->p[0].access;
}

bool store_event_visible(struct store *s, const struct store_event *ev, uint32_t domid)
{
    cleanup_free char *parent = NULL;
    const struct node *n;

    if ((access_of(&ev->perms, domid) | access_of(&ev->old_perms, domid)) & STORE_READ)
        return true;
    if (ev->path[0] == '@')
        return false;
    /* Whoever may list the directory sees the node come and go anyway. */
    parent = parent_of(ev->path);
    n = parent ? table_find(s, parent) : NULL;
    return n && (access_of(&n->perms, domid) & STORE_READ);
}

int store_raise(struct store *s, const char *special)
{
    const struct node *n = table_find(s, special);

    return n ? add_event(&s->events, special, false, &n->perms, NULL) : -ENOENT;
}

/* ---- requests ---- */

/* A node as the transaction sees it, or as it is now. NULL: does not exist. */
static int see(struct store *s, struct store_tx *tx, const char *path, const struct node **out)
{
    struct access *a;
    int r;

    if (!tx) {
        *out = table_find(s, path);
        return 0;
    }
    r = tx_access(tx, path, &a);
    if (r == 0)
        *out = a->node;
    return r;
}

/* What `domid` may do with the nearest ancestor that exists. */
static int ancestor_access(struct store *s, struct store_tx *tx, uint32_t domid, const char *path,
                           unsigned *access_out)
{
    char *at = parent_of(path);

    *access_out = 0;
    while (at) {
        const struct node *n = NULL;
        char *up;
        int r = see(s, tx, at, &n);

        if (r < 0 || n) {
            free(at);
            if (r == 0)
                *access_out = access_of(&n->perms, domid);
            return r;
        }
        up = parent_of(at);
        free(at);
        at = up;
    }
    return 0;
}

/*
 * Finds a node on which `want` is allowed. Whoever lacks it on the nearest existing ancestor does
 * not learn whether the node exists: EACCES instead of ENOENT.
 */
static int check(struct store *s, struct store_tx *tx, uint32_t domid, const char *path,
                 unsigned want, const struct node **out)
{
    unsigned above;
    int r = see(s, tx, path, out);

    if (r < 0)
        return r;
    if (*out)
        return (access_of(&(*out)->perms, domid) & want) == want ? 0 : -EACCES;
    r = ancestor_access(s, tx, domid, path, &above);
    if (r < 0)
        return r;
    return above & want ? -ENOENT : -EACCES;
}

/* The same for a change: *out is set for 0 and -ENOENT. */
static int lookup(struct store_tx *tx, const char *path, unsigned want, struct access **out)
{
    const struct node *n;
    int r = check(tx->s, tx, tx->domid, path, want, &n);

    if (r < 0 && r != -ENOENT)
        return r;
    return tx_access(tx, path, out) < 0 ? -ENOMEM : r;
}

static int add_name(struct node *dir, const char *name)
{
    size_t len = strlen(name) + 1;
    char *names = realloc(dir->names, dir->names_len + len);

    if (!names)
        return -ENOMEM;
    memcpy(names + dir->names_len, name, len);
    dir->names = names;
    dir->names_len += len;
    return 0;
}

static void drop_name(struct node *dir, const char *name)
{
    size_t len = strlen(name) + 1;

    for (size_t at = 0; at < dir->names_len; at += strlen(dir->names + at) + 1) {
        if (strcmp(dir->names + at, name) == 0) {
            memmove(dir->names + at, dir->names + at + len, dir->names_len - at - len);
            dir->names_len -= len;
            return;
        }
    }
}

/* Creates a node that does not exist, and the missing ones above it. New nodes take the
 * permissions of the directory, but belong to an unprivileged creator. */
static int create(struct store_tx *tx, const char *path)
{
    cleanup_free char *parent = parent_of(path);
    struct store_perms perms;
    struct access *up, *a;
    int r;

    if (!parent)
        return -ENOMEM; /* "/" always exists */
    r = tx_access(tx, parent, &up);
    if (r == 0 && !up->node)
        r = create(tx, parent);
    if (r == 0)
        r = tx_access(tx, path, &a);
    if (r < 0)
        return r;
    perms = up->node->perms;
    if (!privileged(tx->domid)) {
        perms.p[0].domid = tx->domid;
        if (owned_after(tx, tx->domid) >= STORE_QUOTA_NODES)
            return -ENOSPC;
    }
    a->node = node_new(path, &perms);
    if (!a->node || add_name(up->node, strrchr(path, '/') + 1) < 0) {
        a->node = node_free(a->node);
        return -ENOMEM;
    }
    a->modified = up->modified = true;
    return 0;
}

/* A failure leaves part of the work in the transaction, so that is the end of it. */
static int create_or_fail(struct store_tx *tx, const char *path)
{
    int r = create(tx, path);

    if (r < 0)
        tx->failed = r;
    return r;
}

static int do_write(struct store_tx *tx, const char *path, const void *data, size_t len)
{
    struct access *a;
    void *copy;
    int r;

    if (!privileged(tx->domid) && len > STORE_QUOTA_NODE_SIZE)
        return -ENOSPC;
    r = lookup(tx, path, STORE_WRITE, &a);
    if (r == -ENOENT)
        r = create_or_fail(tx, path);
    if (r < 0)
        return r;
    copy = copy_bytes(data, len);
    if (!copy)
        return -ENOMEM;
    free(a->node->data);
    a->node->data = copy;
    a->node->len = len;
    a->modified = true;
    return add_event(&tx->events, path, false, &a->node->perms, NULL);
}

static int do_mkdir(struct store_tx *tx, const char *path)
{
    struct access *a;
    int r = lookup(tx, path, STORE_WRITE, &a);

    if (r != -ENOENT)
        return r; /* one that exists is fine */
    r = create_or_fail(tx, path);
    return r < 0 ? r : add_event(&tx->events, path, false, &a->node->perms, NULL);
}

/* Depth is bounded by the length of a path. */
static int remove_tree(struct store_tx *tx, const char *path, bool exact)
{
    struct access *a;
    int r = tx_access(tx, path, &a);

    if (r < 0 || !a->node)
        return r;
    for (size_t at = 0; at < a->node->names_len; at += strlen(a->node->names + at) + 1) {
        cleanup_free char *child = child_of(path, a->node->names + at);

        r = child ? remove_tree(tx, child, true) : -ENOMEM;
        if (r < 0)
            return r;
    }
    r = add_event(&tx->events, path, exact, &a->node->perms, NULL);
    if (r < 0)
        return r;
    a->node = node_free(a->node);
    a->modified = true;
    return 0;
}

static int do_rm(struct store_tx *tx, const char *path)
{
    cleanup_free char *parent = parent_of(path);
    struct access *a, *up;
    int r;

    r = lookup(tx, path, STORE_WRITE, &a);
    if (r < 0 && r != -ENOENT)
        return r;
    if (!parent)
        return strcmp(path, "/") == 0 ? -EINVAL : -ENOMEM;
    if (tx_access(tx, parent, &up) < 0)
        return -ENOMEM;
    if (r == -ENOENT)
        return up->node ? 0 : -ENOENT; /* already gone is fine where its directory exists */
    r = remove_tree(tx, path, false);
    if (r < 0) {
        tx->failed = r;
        return r;
    }
    drop_name(up->node, strrchr(path, '/') + 1);
    up->modified = true;
    return 0;
}

static int do_set_perms(struct store_tx *tx, const char *path, const struct store_perms *perms)
{
    struct store_perms old;
    struct access *a;
    int r;

    if (perms->n == 0 || perms->n > STORE_PERMS_MAX)
        return perms->n ? -ENOSPC : -EINVAL;
    if (!privileged(tx->domid) && perms->n > STORE_QUOTA_PERMS)
        return -ENOSPC;
    for (size_t i = 0; i < perms->n; i++) {
        if (perms->p[i].domid > STORE_DOMID_MAX)
            return -EINVAL;
    }
    if (path[0] == '@') {
        if (!privileged(tx->domid))
            return -EACCES;
        r = tx_access(tx, path, &a);
        r = r < 0 ? r : a->node ? 0 : -ENOENT;
    } else {
        r = lookup(tx, path, STORE_OWNER, &a);
    }
    if (r < 0)
        return r;
    if (!privileged(tx->domid) && perms->p[0].domid != a->node->perms.p[0].domid)
        return -EPERM;
    old = a->node->perms;
    a->node->perms = *perms;
    a->modified = true;
    return path[0] == '@' ? 0 : add_event(&tx->events, path, false, perms, &old);
}

/* A request outside a transaction: one of its own around the call. */
#define RUN(s, tx, domid, call)                                 \
    do {                                                        \
        struct store_tx *own = NULL;                            \
        int r_ = (tx) ? 0 : store_tx_start((s), (domid), &own); \
        if (r_ == 0) {                                          \
            struct store_tx *t = (tx) ? (tx) : own;             \
            r_ = (call);                                        \
        }                                                       \
        if (r_ == 0 && own)                                     \
            return store_tx_commit(own);                        \
        store_tx_abort(own);                                    \
        return r_;                                              \
    } while (0)

int store_write(struct store *s, struct store_tx *tx, uint32_t domid, const char *path,
                const void *data, size_t len)
{
    RUN(s, tx, domid, do_write(t, path, data, len));
}

int store_mkdir(struct store *s, struct store_tx *tx, uint32_t domid, const char *path)
{
    RUN(s, tx, domid, do_mkdir(t, path));
}

int store_rm(struct store *s, struct store_tx *tx, uint32_t domid, const char *path)
{
    RUN(s, tx, domid, do_rm(t, path));
}

int store_set_perms(struct store *s, struct store_tx *tx, uint32_t domid, const char *path,
                    const struct store_perms *perms)
{
    RUN(s, tx, domid, do_set_perms(t, path, perms));
}

int store_read(struct store *s, struct store_tx *tx, uint32_t domid, const char *path,
               const void **data_out, size_t *len_out)
{
    const struct node *n;
    int r = check(s, tx, domid, path, STORE_READ, &n);

    if (r == 0) {
        *data_out = n->data;
        *len_out = n->len;
    }
    return r;
}

int store_list(struct store *s, struct store_tx *tx, uint32_t domid, const char *path,
               const char **names_out, size_t *len_out, uint64_t *gen_out)
{
    const struct node *n;
    int r = check(s, tx, domid, path, STORE_READ, &n);

    if (r == 0) {
        *names_out = n->names;
        *len_out = n->names_len;
        *gen_out = n->gen;
    }
    return r;
}

int store_get_perms(struct store *s, struct store_tx *tx, uint32_t domid, const char *path,
                    struct store_perms *out)
{
    const struct node *n;
    int r = check(s, tx, domid, path, STORE_READ, &n);

    if (r == 0)
        *out = n->perms;
    return r;
}

/* ---- domains, life cycle ---- */

static bool forget_domid(struct store_perms *perms, uint32_t domid)
{
    size_t kept = 1, n = perms->n;

    for (size_t i = 1; i < perms->n; i++) {
        if (perms->p[i].domid != domid)
            perms->p[kept++] = perms->p[i];
    }
    perms->n = kept;
    return kept != n;
}

static int drop_owned(struct store_tx *tx, const char *path, uint32_t domid)
{
    struct access *a;
    int r = tx_access(tx, path, &a);
    size_t at = 0;

    if (r < 0 || !a->node)
        return r;
    while (at < a->node->names_len) {
        const char *name = a->node->names + at;
        cleanup_free char *child = child_of(path, name);
        const struct node *n = child ? table_find(tx->s, child) : NULL;

        if (!n)
            return -ENOMEM;
        if (n->perms.p[0].domid == domid) {
            r = remove_tree(tx, child, false);
            if (r == 0) {
                drop_name(a->node, name);
                a->modified = true;
            }
        } else {
            r = drop_owned(tx, child, domid);
            at += strlen(name) + 1;
        }
        if (r < 0)
            return r;
    }
    if (forget_domid(&a->node->perms, domid))
        a->modified = true;
    return 0;
}

int store_domain_gone(struct store *s, uint32_t domid)
{
    RUN(s, (struct store_tx *)NULL, 0, drop_owned(t, "/", domid));
}

size_t store_owned(const struct store *s, uint32_t domid)
{
    return domid <= STORE_DOMID_MAX ? s->owned[domid] : 0;
}

struct store *store_new(void)
{
    static const char *const first[] = {"/", "@introduceDomain", "@releaseDomain"};
    static const struct store_perms root = {.n = 1, .p = {{.domid = 0, .access = 0}}};
    struct store *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    TAILQ_INIT(&s->events);
    for (size_t i = 0; i < ARRAY_SIZE(first); i++) {
        struct node *n = node_new(first[i], &root);

        if (!n)
            return store_free(s);
        n->gen = ++s->gen;
        table_put(s, n);
    }
    return s;
}

struct store *store_free(struct store *s)
{
    struct store_event *ev;

    if (!s)
        return NULL;
    while ((ev = store_take_event(s)))
        store_event_free(ev);
    for (size_t i = 0; i < BUCKETS; i++) {
        struct node *n = s->buckets[i];

        while (n) {
            struct node *next = n->next;

            node_free(n);
            n = next;
        }
    }
    free(s);
    return NULL;
}
