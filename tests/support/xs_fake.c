/* SPDX-License-Identifier: GPL-2.0-only */
/* The xenstore of xs_fake.h. Running out of memory ends the test program: it is no product code. */
#include <config.h>

#include "tests/support/xs_fake.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "xenstore/paths.h"

static void *must(void *p)
{
    if (!p) {
        fputs("xs_fake: out of memory\n", stderr);
        exit(99);
    }
    return p;
}

/* --- the tree --------------------------------------------------------------------------------- */

static size_t tree_find(const struct xs_fake_tree *t, const char *path, bool *found_out)
{
    size_t i = 0;

    while (i < t->n && strcmp(t->nodes[i].path, path) < 0)
        i++;
    *found_out = i < t->n && strcmp(t->nodes[i].path, path) == 0;
    return i;
}

static struct xs_fake_node *tree_node(struct xs_fake_tree *t, const char *path)
{
    bool found;
    size_t i = tree_find(t, path, &found);

    return found ? &t->nodes[i] : NULL;
}

/* Is `path` `dir` or below it? */
static bool below(const char *path, const char *dir)
{
    size_t len = strlen(dir);

    return strncmp(path, dir, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

/* New nodes inherit reader and, from a privileged writer, owner of the parent, as in xenstored. */
static struct xs_fake_node *tree_make(struct xs_fake_tree *t, const char *path, uint32_t writer)
{
    struct xs_fake_node node = {.owner = writer, .reader = XSC_READER_NONE};
    char *parent = must(strdup(path));
    char *slash = strrchr(parent, '/');
    bool found;
    size_t i;

    if (slash && slash != parent) {
        struct xs_fake_node *p;

        *slash = '\0';
        p = tree_node(t, parent);
        if (!p)
            p = tree_make(t, parent, writer);
        node.reader = p->reader;
        if (writer == 0)
            node.owner = p->owner;
    }
    free(parent);
    i = tree_find(t, path, &found);
    if (found)
        return &t->nodes[i];
    if (t->n == XS_FAKE_NODES)
        must(NULL);
    memmove(&t->nodes[i + 1], &t->nodes[i], (t->n - i) * sizeof(t->nodes[0]));
    node.path = must(strdup(path));
    node.value = must(strdup(""));
    t->nodes[i] = node;
    t->n++;
    return &t->nodes[i];
}

static void node_set(struct xs_fake_node *node, const void *value, size_t len)
{
    free(node->value);
    node->value = must(malloc(len + 1));
    memcpy(node->value, value, len);
    node->value[len] = '\0';
    node->len = len;
}

static void tree_remove_at(struct xs_fake_tree *t, size_t i)
{
    free(t->nodes[i].path);
    free(t->nodes[i].value);
    t->n--;
    memmove(&t->nodes[i], &t->nodes[i + 1], (t->n - i) * sizeof(t->nodes[0]));
}

static struct xs_fake_tree *tree_free(struct xs_fake_tree *t)
{
    if (!t)
        return NULL;
    while (t->n)
        tree_remove_at(t, t->n - 1);
    free(t);
    return NULL;
}

static struct xs_fake_tree *tree_copy(const struct xs_fake_tree *from)
{
    struct xs_fake_tree *t = must(calloc(1, sizeof(*t)));

    for (size_t i = 0; i < from->n; i++) {
        t->nodes[i] = from->nodes[i];
        t->nodes[i].path = must(strdup(from->nodes[i].path));
        t->nodes[i].value = NULL;
        node_set(&t->nodes[i], from->nodes[i].value, from->nodes[i].len);
        t->n++;
    }
    return t;
}

static size_t owned_nodes(const struct xs_fake_tree *t, uint32_t domid)
{
    size_t n = 0;

    for (size_t i = 0; i < t->n; i++)
        n += t->nodes[i].owner == domid;
    return n;
}

/* --- watches ---------------------------------------------------------------------------------- */

static void queue_event(struct xs_fake *f, const char *path, const char *token)
{
    struct xsc_event *event;

    if (f->drop_events || f->n_events == XS_FAKE_EVENTS)
        return;
    event = must(calloc(1, sizeof(*event)));
    snprintf(event->path, sizeof(event->path), "%s", path);
    snprintf(event->token, sizeof(event->token), "%s", token);
    f->events[f->n_events++] = event;
}

static void fire(struct xs_fake *f, const char *path)
{
    f->changes++;
    for (size_t i = 0; i < f->n_watches; i++) {
        if (below(path, f->watches[i].path))
            queue_event(f, path, f->watches[i].token);
    }
}

/* A node went with its parent: only watches on exactly this node hear of it. */
static void fire_exact(struct xs_fake *f, const char *path)
{
    for (size_t i = 0; i < f->n_watches; i++) {
        if (strcmp(path, f->watches[i].path) == 0)
            queue_event(f, path, f->watches[i].token);
    }
}

static void remove_tree(struct xs_fake *f, struct xs_fake_tree *t, const char *path, bool events)
{
    for (size_t i = t->n; i-- > 0;) {
        if (!below(t->nodes[i].path, path))
            continue;
        if (events && strcmp(t->nodes[i].path, path) != 0)
            fire_exact(f, t->nodes[i].path);
        tree_remove_at(t, i);
    }
    if (events)
        fire(f, path);
}

/* --- struct xs_ops ---------------------------------------------------------------------------- */

static int enter(struct xs_fake *f, enum xs_fake_op op, const char *path)
{
    f->n_calls++;
    f->calls[op]++;
    if (f->hook)
        f->hook(f, op, path, f->hook_ctx);
    if (f->fail_all)
        return f->fail_err;
    if (f->fail_at > 0 && f->fail_op == op && --f->fail_at == 0)
        return f->fail_err;
    if (path && f->unreadable && strncmp(path, f->unreadable, strlen(f->unreadable)) == 0 &&
        op != XS_FAKE_WATCH && op != XS_FAKE_UNWATCH)
        return -EACCES;
    return 0;
}

static struct xs_fake_tree *tree_of(struct xs_fake *f, uint32_t tx)
{
    return tx == XSC_TX_NONE ? f->tree : f->tx;
}

static void changed(struct xs_fake *f, uint32_t tx, const char *path)
{
    if (tx == XSC_TX_NONE) {
        fire(f, path);
    } else if (f->n_tx_fired < 64) {
        f->tx_fired[f->n_tx_fired++] = must(strdup(path));
    }
}

static int fake_read(void *ctx, uint32_t tx, const char *path, char **value_out, size_t *len_out)
{
    struct xs_fake *f = ctx;
    struct xs_fake_node *node;
    int r = enter(f, XS_FAKE_READ, path);

    if (r < 0)
        return r;
    node = tree_node(tree_of(f, tx), path);
    if (!node)
        return -ENOENT;
    *value_out = must(malloc(node->len + 1));
    memcpy(*value_out, node->value, node->len + 1);
    *len_out = node->len;
    return 0;
}

static int make_checked(struct xs_fake *f, struct xs_fake_tree *t, const char *path,
                        struct xs_fake_node **node_out)
{
    struct xs_fake_node *node = tree_node(t, path);

    if (!node && f->domid != 0 && owned_nodes(t, f->domid) >= XS_FAKE_QUOTA)
        return -ENOSPC;
    *node_out = node ? node : tree_make(t, path, f->domid);
    return 0;
}

static int fake_write(void *ctx, uint32_t tx, const char *path, const void *value, size_t len)
{
    struct xs_fake *f = ctx;
    struct xs_fake_node *node;
    int r = enter(f, XS_FAKE_WRITE, path);

    if (r == 0)
        r = make_checked(f, tree_of(f, tx), path, &node);
    if (r < 0)
        return r;
    node_set(node, value, len);
    changed(f, tx, path);
    return 0;
}

static int fake_rm(void *ctx, uint32_t tx, const char *path)
{
    struct xs_fake *f = ctx;
    int r = enter(f, XS_FAKE_RM, path);

    if (r < 0)
        return r;
    if (!tree_node(tree_of(f, tx), path))
        return -ENOENT;
    remove_tree(f, tree_of(f, tx), path, tx == XSC_TX_NONE);
    if (tx != XSC_TX_NONE)
        changed(f, tx, path);
    return 0;
}

static int fake_mkdir(void *ctx, uint32_t tx, const char *path)
{
    struct xs_fake *f = ctx;
    struct xs_fake_node *node;
    int r = enter(f, XS_FAKE_MKDIR, path);

    if (r < 0 || tree_node(tree_of(f, tx), path))
        return r;
    r = make_checked(f, tree_of(f, tx), path, &node);
    if (r == 0)
        changed(f, tx, path);
    return r;
}

/* Pointers and strings in one block, as libxenstore does it. */
static int fake_list(void *ctx, uint32_t tx, const char *path, char ***names_out, size_t *n_out)
{
    struct xs_fake *f = ctx;
    struct xs_fake_tree *t;
    size_t n = 0, bytes = 0, path_len = strlen(path);
    char **names, *at;
    int r = enter(f, XS_FAKE_LIST, path);

    if (r < 0)
        return r;
    t = tree_of(f, tx);
    if (!tree_node(t, path))
        return -ENOENT;
    for (size_t i = 0; i < t->n; i++)
        bytes += strlen(t->nodes[i].path) + 1;
    names = must(malloc(t->n * sizeof(*names) + bytes));
    at = (char *)(names + t->n);
    /* Backwards: nobody may rely on an order. */
    for (size_t i = t->n; i-- > 0;) {
        const char *p = t->nodes[i].path;
        size_t len;

        if (!below(p, path) || p[path_len] == '\0' || strchr(p + path_len + 1, '/'))
            continue;
        len = strlen(p + path_len + 1) + 1;
        memcpy(at, p + path_len + 1, len);
        names[n++] = at;
        at += len;
    }
    *names_out = names;
    *n_out = n;
    return 0;
}

static int fake_set_perms(void *ctx, uint32_t tx, const char *path, uint32_t owner, uint32_t reader)
{
    struct xs_fake *f = ctx;
    struct xs_fake_node *node;
    int r = enter(f, XS_FAKE_SET_PERMS, path);

    if (r < 0)
        return r;
    node = tree_node(tree_of(f, tx), path);
    if (!node)
        return -ENOENT;
    if (f->domid != 0 && node->owner != f->domid)
        return -EACCES;
    node->owner = owner;
    node->reader = reader;
    changed(f, tx, path);
    return 0;
}

static int fake_tx_start(void *ctx, uint32_t *tx_out)
{
    struct xs_fake *f = ctx;
    int r = enter(f, XS_FAKE_TX_START, NULL);

    if (r < 0)
        return r;
    if (f->tx)
        return -ENOSPC;
    f->tx = tree_copy(f->tree);
    f->tx_changes = f->changes;
    *tx_out = 1;
    return 0;
}

static int fake_tx_end(void *ctx, uint32_t tx UNUSED, bool abort)
{
    struct xs_fake *f = ctx;
    int r = enter(f, XS_FAKE_TX_END, NULL);

    if (!f->tx)
        return -ENOENT;
    if (r == 0 && !abort && f->conflicts > 0) {
        f->conflicts--;
        r = -EAGAIN;
    }
    if (r == 0 && !abort && f->changes != f->tx_changes)
        r = -EAGAIN;
    if (r == 0 && !abort) {
        tree_free(f->tree);
        f->tree = f->tx;
        f->tx = NULL;
    }
    f->tx = tree_free(f->tx);
    for (size_t i = 0; i < f->n_tx_fired; i++) {
        if (r == 0 && !abort)
            fire(f, f->tx_fired[i]);
        free(f->tx_fired[i]);
    }
    f->n_tx_fired = 0;
    if (f->lose_at > 0 && --f->lose_at == 0)
        return -EIO;
    return r;
}

static int fake_watch(void *ctx, const char *path, const char *token)
{
    struct xs_fake *f = ctx;
    int r = enter(f, XS_FAKE_WATCH, path);

    if (r < 0)
        return r;
    for (size_t i = 0; i < f->n_watches; i++) {
        if (strcmp(f->watches[i].path, path) == 0 && strcmp(f->watches[i].token, token) == 0)
            return -EEXIST;
    }
    if (f->n_watches == XS_FAKE_WATCHES)
        return -E2BIG;
    f->watches[f->n_watches].path = must(strdup(path));
    f->watches[f->n_watches].token = must(strdup(token));
    f->n_watches++;
    queue_event(f, path, token);
    return 0;
}

static int fake_unwatch(void *ctx, const char *path, const char *token)
{
    struct xs_fake *f = ctx;
    int r = enter(f, XS_FAKE_UNWATCH, path);

    if (r < 0)
        return r;
    for (size_t i = 0; i < f->n_watches; i++) {
        if (strcmp(f->watches[i].path, path) != 0 || strcmp(f->watches[i].token, token) != 0)
            continue;
        free(f->watches[i].path);
        free(f->watches[i].token);
        f->watches[i] = f->watches[--f->n_watches];
        return 0;
    }
    return -ENOENT;
}

static int fake_next_event(void *ctx, struct xsc_event *out)
{
    struct xs_fake *f = ctx;
    int r = enter(f, XS_FAKE_NEXT_EVENT, NULL);

    if (r < 0)
        return r;
    if (f->n_events == 0)
        return 0;
    *out = *f->events[0];
    free(f->events[0]);
    f->n_events--;
    memmove(f->events, f->events + 1, f->n_events * sizeof(f->events[0]));
    return 1;
}

static int fake_fd(void *ctx UNUSED)
{
    return -1;
}

static void fake_close(void *ctx UNUSED)
{
}

struct xsc xs_fake_client(struct xs_fake *f)
{
    static const struct xs_ops ops = {
        .read = fake_read,
        .write = fake_write,
        .rm = fake_rm,
        .mkdir = fake_mkdir,
        .list = fake_list,
        .set_perms = fake_set_perms,
        .tx_start = fake_tx_start,
        .tx_end = fake_tx_end,
        .watch = fake_watch,
        .unwatch = fake_unwatch,
        .next_event = fake_next_event,
        .fd = fake_fd,
        .close = fake_close,
    };

    return (struct xsc){&ops, f};
}

/* --- the tests' side -------------------------------------------------------------------------- */

struct xs_fake *xs_fake_new(uint32_t domid)
{
    struct xs_fake *f = must(calloc(1, sizeof(*f)));

    f->tree = must(calloc(1, sizeof(*f->tree)));
    f->domid = domid;
    return f;
}

struct xs_fake *xs_fake_free(struct xs_fake *f)
{
    tree_free(f->tree);
    tree_free(f->tx);
    for (size_t i = 0; i < f->n_tx_fired; i++)
        free(f->tx_fired[i]);
    for (size_t i = 0; i < f->n_watches; i++) {
        free(f->watches[i].path);
        free(f->watches[i].token);
    }
    for (size_t i = 0; i < f->n_events; i++)
        free(f->events[i]);
    free(f);
    return NULL;
}

void xs_fake_put_bytes(struct xs_fake *f, const char *path, const void *value, size_t len)
{
    node_set(tree_make(f->tree, path, 0), value, len);
    fire(f, path);
}

void xs_fake_put(struct xs_fake *f, const char *path, const char *value)
{
    xs_fake_put_bytes(f, path, value, strlen(value));
}

void xs_fake_del(struct xs_fake *f, const char *path)
{
    if (tree_node(f->tree, path))
        remove_tree(f, f->tree, path, true);
}

void xs_fake_spurious(struct xs_fake *f, const char *path, const char *token)
{
    queue_event(f, path, token);
}

const struct xs_fake_node *xs_fake_node(const struct xs_fake *f, const char *path)
{
    return tree_node(f->tree, path);
}

const char *xs_fake_get(const struct xs_fake *f, const char *path)
{
    const struct xs_fake_node *node = xs_fake_node(f, path);

    return node ? node->value : NULL;
}

char *xs_fake_dump(const struct xs_fake *f)
{
    size_t size = 1, at = 0;
    char *out;

    for (size_t i = 0; i < f->tree->n; i++)
        size += strlen(f->tree->nodes[i].path) + f->tree->nodes[i].len + 40;
    out = must(calloc(1, size));
    for (size_t i = 0; i < f->tree->n; i++) {
        const struct xs_fake_node *node = &f->tree->nodes[i];

        at += (size_t)snprintf(out + at, size - at, "%s=%s %" PRIu32 " %" PRIu32 "\n", node->path,
                               node->value, node->owner, node->reader);
    }
    return out;
}

const char *xs_fake_be(uint32_t b, uint32_t domid, uint32_t devid, const char *node)
{
    static char paths[4][XS_PATH_SIZE];
    static unsigned turn;
    char *out = paths[turn++ % 4];

    snprintf(out, XS_PATH_SIZE,
             "/local/domain/%" PRIu32 "/backend/virtio/%" PRIu32 "/%" PRIu32 "%s%s", b, domid,
             devid, node ? "/" : "", node ? node : "");
    return out;
}

const char *xs_fake_fe(uint32_t domid, uint32_t devid, const char *node)
{
    static char paths[4][XS_PATH_SIZE];
    static unsigned turn;
    char *out = paths[turn++ % 4];

    snprintf(out, XS_PATH_SIZE, "/local/domain/%" PRIu32 "/device/virtio/%" PRIu32 "%s%s", domid,
             devid, node ? "/" : "", node ? node : "");
    return out;
}

static void own(struct xs_fake *f, const char *path, uint32_t owner, uint32_t reader)
{
    struct xs_fake_node *node = tree_make(f->tree, path, 0);

    node->owner = owner;
    node->reader = reader;
}

void xs_fake_add_device(struct xs_fake *f, uint32_t b, uint32_t domid, uint32_t devid)
{
    char number[12];

    own(f, xs_fake_fe(domid, devid, NULL), domid, b);
    xs_fake_put(f, xs_fake_fe(domid, devid, "backend"), xs_fake_be(b, domid, devid, NULL));
    xs_fake_put(f, xs_fake_fe(domid, devid, "state"), "1");
    own(f, xs_fake_be(b, domid, devid, NULL), b, domid);
    snprintf(number, sizeof(number), "%" PRIu32, domid);
    xs_fake_put(f, xs_fake_be(b, domid, devid, "frontend"), xs_fake_fe(domid, devid, NULL));
    xs_fake_put(f, xs_fake_be(b, domid, devid, "frontend-id"), number);
    xs_fake_put(f, xs_fake_be(b, domid, devid, "online"), "1");
    xs_fake_put(f, xs_fake_be(b, domid, devid, "type"), "virtio,device17");
    xs_fake_put(f, xs_fake_be(b, domid, devid, "transport"), "mmio");
    xs_fake_put(f, xs_fake_be(b, domid, devid, "grant_usage"), "1");
    xs_fake_put(f, xs_fake_be(b, domid, devid, "base"), "0");
    xs_fake_put(f, xs_fake_be(b, domid, devid, "irq"), "0");
    xs_fake_put(f, xs_fake_be(b, domid, devid, "state"), "1");
}

void xs_fake_remove_device(struct xs_fake *f, uint32_t b, uint32_t domid, uint32_t devid)
{
    xs_fake_del(f, xs_fake_fe(domid, devid, NULL));
    xs_fake_del(f, xs_fake_be(b, domid, devid, NULL));
}
