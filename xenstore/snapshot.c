/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Reading one device's nodes for discover.c. No transaction: each look may be a mixture of two
 * states, and the event of the later change makes us look again.
 */
#include <config.h>

#include "xenstore/snapshot.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/strutil.h"
#include "xenstore/config.h"

static int read_child(const struct xsc *xs, const char *dir, const char *node, char *buf,
                      size_t size)
{
    char path[XS_PATH_SIZE];
    int r;

    r = xsc_join(path, sizeof(path), dir, node);
    return r < 0 ? r : xsc_read(xs, XSC_TX_NONE, path, buf, size);
}

/* A value that no reader of ours would understand: present, but not what was asked for. */
static bool is_foreign(int r)
{
    return r == -E2BIG || r == -EINVAL;
}

int snapshot_claim(const struct xsc *xs, const struct xs_device *dev)
{
    char text[XS_DEVICE_PATH_SIZE];
    uint64_t base;
    uint32_t domid;
    int r;

    r = read_child(xs, dev->path, XS_NODE_TYPE, text, sizeof(text));
    if (r < 0)
        return is_foreign(r) ? CLAIM_OTHER_TYPE : r;
    if (strcmp(text, XS_TYPE_VIOMMU) != 0)
        return CLAIM_OTHER_TYPE;
    r = read_child(xs, dev->path, XS_NODE_BASE, text, sizeof(text));
    if (r < 0 && !is_foreign(r))
        return r;
    if (r < 0 || parse_u64(text, UINT64_MAX, &base) < 0 || base != 0)
        return CLAIM_BASE;
    r = read_child(xs, dev->path, XS_NODE_FRONTEND_ID, text, sizeof(text));
    if (r < 0 && !is_foreign(r))
        return r;
    if (r < 0 || parse_u32(text, XS_DOMID_MAX, &domid) < 0 || domid != dev->domid)
        return CLAIM_FRONTEND;
    r = read_child(xs, dev->path, XS_NODE_FRONTEND, text, sizeof(text));
    if (r < 0 && !is_foreign(r))
        return r;
    return r == 0 && strcmp(text, dev->frontend) == 0 ? CLAIM_YES : CLAIM_FRONTEND;
}

int snapshot_own(const struct xsc *xs, const struct xs_device *dev, struct snapshot_own *out)
{
    char text[16];
    int r;

    r = read_child(xs, dev->path, XS_NODE_STATE, text, sizeof(text));
    if (r < 0 && !is_foreign(r))
        return r;
    out->state = xenbus_state_parse(text);
    r = read_child(xs, dev->path, XS_NODE_ONLINE, text, sizeof(text));
    if (r < 0 && !is_foreign(r) && r != -ENOENT)
        return r;
    out->online = r < 0 || strcmp(text, "0") != 0;
    r = read_child(xs, dev->path, XS_NODE_VERSION, text, sizeof(text));
    if (r < 0 && !is_foreign(r) && r != -ENOENT)
        return r;
    out->has_version = r != -ENOENT;
    return 0;
}

int snapshot_frontend(const struct xsc *xs, const struct xs_device *dev, enum xenbus_state *out)
{
    char text[16];
    int r;

    r = read_child(xs, dev->frontend, XS_NODE_STATE, text, sizeof(text));
    /* -EACCES: of a dead guest's path only a parent is left that we may not read. */
    if (r == -ENOENT || r == -EACCES)
        *out = XENBUS_GONE;
    else if (r == 0 || is_foreign(r))
        *out = xenbus_state_parse(text);
    else
        return r;
    return 0;
}

/* --- the administrator's nodes ---------------------------------------------------------------- */

static bool printable(const char *s)
{
    for (; *s; s++) {
        if (*s < 0x20 || *s > 0x7e)
            return false;
    }
    return true;
}

/* 0 with an absent node, too; -errno when the store could not answer. */
static int read_admin_node(const struct xsc *xs, const char *dir, const char *node,
                           struct xs_admin_node *out)
{
    char text[XS_ADMIN_VALUE_MAX + 1];
    int r;

    *out = (struct xs_admin_node){0};
    r = read_child(xs, dir, node, text, sizeof(text));
    if (r == -ENOENT)
        return 0;
    if (r == 0 && !printable(text))
        r = -EINVAL;
    if (is_foreign(r) || r == -EACCES) {
        out->error = r;
        return 0;
    }
    if (r < 0)
        return r;
    out->text = strdup(text);
    return out->text ? 0 : -ENOMEM;
}

static int compare_endpoints(const void *a, const void *b)
{
    const struct xs_endpoint_node *x = a, *y = b;

    return (x->id > y->id) - (x->id < y->id);
}

static int read_endpoints(const struct xsc *xs, const char *dir, char *const *names, size_t n,
                          size_t max, struct snapshot_admin *out)
{
    for (size_t i = 0; i < n; i++) {
        struct xs_endpoint_node *ep = &out->endpoints[out->n_endpoints];
        int r;

        if (strcmp(names[i], XS_NODE_CONFIG) == 0)
            continue;
        if (out->n_endpoints == max || config_endpoint_id(names[i], &ep->id) < 0) {
            out->n_odd++;
            continue;
        }
        r = read_admin_node(xs, dir, names[i], &ep->value);
        if (r < 0)
            return r;
        /* Removed between the list and the look: not there. */
        if (xs_admin_node_there(&ep->value))
            out->n_endpoints++;
    }
    qsort(out->endpoints, out->n_endpoints, sizeof(*out->endpoints), compare_endpoints);
    return 0;
}

int snapshot_admin(const struct xsc *xs, const struct xs_device *dev, size_t max_endpoints,
                   struct snapshot_admin *out)
{
    cleanup_free char **names = NULL;
    struct snapshot_admin s = {0};
    char dir[XS_PATH_SIZE];
    size_t n = 0;
    int r;

    r = xsc_join(dir, sizeof(dir), dev->path, XS_DIR_VIOMMU);
    if (r == 0)
        r = xsc_list(xs, XSC_TX_NONE, dir, &names, &n);
    if (r < 0) {
        *out = s;
        return r == -ENOENT ? 0 : r;
    }
    /* One more than there can be, so that there is a place to read into and never size 0. */
    s.endpoints = calloc((n < max_endpoints ? n : max_endpoints) + 1, sizeof(*s.endpoints));
    if (!s.endpoints)
        return -ENOMEM;
    r = read_admin_node(xs, dir, XS_NODE_CONFIG, &s.config);
    if (r == 0)
        r = read_endpoints(xs, dir, names, n, max_endpoints, &s);
    if (r < 0) {
        snapshot_admin_fini(&s);
        return r;
    }
    *out = s;
    return 0;
}

static int compare_ids(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

int snapshot_endpoints(const struct xsc *xs, const struct xs_device *dev, uint32_t *ids,
                       size_t *n_inout, struct xs_endpoint_node **out)
{
    struct xs_endpoint_node *nodes = calloc(*n_inout, sizeof(*nodes));
    char dir[XS_PATH_SIZE], name[sizeof(XS_NODE_ENDPOINT_PREFIX) + 8];
    size_t n = 0;
    int r = nodes ? xsc_join(dir, sizeof(dir), dev->path, XS_DIR_VIOMMU) : -ENOMEM;

    qsort(ids, *n_inout, sizeof(*ids), compare_ids);
    for (size_t i = 0; r == 0 && i < *n_inout; i++) {
        if (n > 0 && nodes[n - 1].id == ids[i])
            continue;
        snprintf(name, sizeof(name), XS_NODE_ENDPOINT_PREFIX "%08" PRIx32, ids[i]);
        nodes[n].id = ids[i];
        r = read_admin_node(xs, dir, name, &nodes[n].value);
        n += r == 0;
    }
    if (r < 0) {
        xs_endpoint_nodes_free(nodes, n);
        return r;
    }
    *out = nodes;
    *n_inout = n;
    return 0;
}

void xs_admin_node_fini(struct xs_admin_node *node)
{
    free(node->text);
    *node = (struct xs_admin_node){0};
}

void xs_endpoint_nodes_free(struct xs_endpoint_node *nodes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        xs_admin_node_fini(&nodes[i].value);
    free(nodes);
}

void snapshot_admin_fini(struct snapshot_admin *s)
{
    xs_admin_node_fini(&s->config);
    xs_endpoint_nodes_free(s->endpoints, s->n_endpoints);
    *s = (struct snapshot_admin){0};
}

bool xs_admin_node_there(const struct xs_admin_node *node)
{
    return node->text || node->error;
}

bool xs_admin_node_same(const struct xs_admin_node *a, const struct xs_admin_node *b)
{
    if (!a->text || !b->text)
        return a->text == b->text && a->error == b->error;
    return strcmp(a->text, b->text) == 0;
}

bool xs_endpoint_nodes_same(const struct xs_endpoint_node *a, size_t n_a,
                            const struct xs_endpoint_node *b, size_t n_b)
{
    if (n_a != n_b)
        return false;
    for (size_t i = 0; i < n_a; i++) {
        if (a[i].id != b[i].id || !xs_admin_node_same(&a[i].value, &b[i].value))
            return false;
    }
    return true;
}

static int compare_id(const void *key, const void *element)
{
    const struct xs_endpoint_node *node = element;

    return compare_ids(key, &node->id);
}

const struct xs_endpoint_node *xs_device_endpoint(const struct xs_device *dev, uint32_t id)
{
    if (dev->n_endpoints == 0)
        return NULL;
    return bsearch(&id, dev->endpoints, dev->n_endpoints, sizeof(dev->endpoints[0]), compare_id);
}

int xs_device_merge(struct xs_device *dev, struct xs_endpoint_node *news, size_t n_news,
                    bool *changed_out)
{
    struct xs_endpoint_node *old = dev->endpoints, *end = old + dev->n_endpoints;
    struct xs_endpoint_node *merged = calloc(dev->n_endpoints + n_news + 1, sizeof(*merged));
    struct xs_endpoint_node *to = merged;

    if (!merged)
        return -ENOMEM;
    *changed_out = false;
    for (size_t i = 0; i < n_news; i++) {
        static const struct xs_endpoint_node none;
        const struct xs_endpoint_node *before = &none;

        while (old < end && old->id < news[i].id)
            *to++ = *old++;
        if (old < end && old->id == news[i].id)
            before = old;
        if (!xs_admin_node_same(&before->value, &news[i].value))
            *changed_out = true;
        if (before == old)
            xs_admin_node_fini(&old++->value);
        if (xs_admin_node_there(&news[i].value))
            *to++ = news[i];
        news[i].value = (struct xs_admin_node){0};
    }
    while (old < end)
        *to++ = *old++;
    free(dev->endpoints);
    dev->endpoints = merged;
    dev->n_endpoints = (size_t)(to - merged);
    return 0;
}
