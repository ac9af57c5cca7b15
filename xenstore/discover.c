/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Discovery (see discover.h). Entries are a list ascending by (domid, devid), made and freed here
 * only. An entry that is not claimed keeps the reason, so that it is logged once. Reading is in
 * snapshot.c; here it is compared with what we know and reported.
 *
 * A look changes an entry only after all its reads succeeded; what fails is seen by the next look.
 */
#include <config.h>

#include "xenstore/discover.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "common/strutil.h"
#include "xenstore/config.h"
#include "xenstore/snapshot.h"

#define EVENT_BUDGET  1024
#define TOKEN_BACKEND "backend"
#define TOKEN_SIZE    32

struct entry {
    struct xs_device dev;
    bool claimed;
    int claim;                    /* enum claim, when not claimed */
    unsigned generation;          /* of the full scan that saw it last */
    bool dirty;                   /* an event named it */
    bool whole;                   /* all of viommu/ is to be read, and not only `named` */
    uint32_t named[EVENT_BUDGET]; /* endpoints whose nodes events were about, with doubles */
    size_t n_named;
    bool fe_written;     /* the frontend wrote its state, perhaps the same value */
    bool first_fe_event; /* the one that setting the watch causes is still to come */
    bool closing_reported;
    enum xenbus_state seen_state; /* own state as last seen */
    size_t n_odd;
    char token[TOKEN_SIZE];
    struct entry *next;
};

struct discover {
    const struct xsc *xs;
    const struct discover_ops *ops;
    void *ctx;
    uint32_t own_domid;
    char root[48]; /* /local/domain/B/backend/virtio */
    unsigned generation;
    struct entry *entries;
    struct ratelimit log_limit; /* a guest's writes make us look, and fail, at its pace */
};

static struct entry *entry_of(const struct xs_device *dev)
{
    return (struct entry *)container_of(dev, struct entry, dev);
}

/* --- entries ---------------------------------------------------------------------------------- */

static int key_compare(const struct xs_device *dev, uint32_t domid, uint32_t devid)
{
    if (dev->domid != domid)
        return dev->domid < domid ? -1 : 1;
    return (dev->devid > devid) - (dev->devid < devid);
}

/* The link that points to the entry with that key, or to where it belongs. */
static struct entry **find_link(struct discover *d, uint32_t domid, uint32_t devid)
{
    struct entry **link = &d->entries;

    while (*link && key_compare(&(*link)->dev, domid, devid) < 0)
        link = &(*link)->next;
    return link;
}

static struct entry *find_entry(struct discover *d, uint32_t domid, uint32_t devid)
{
    struct entry *e = *find_link(d, domid, devid);

    return e && key_compare(&e->dev, domid, devid) == 0 ? e : NULL;
}

static struct entry *entry_new(struct discover *d, uint32_t domid, uint32_t devid)
{
    struct entry *e = calloc(1, sizeof(*e));

    if (!e)
        return NULL;
    e->dev.domid = domid;
    e->dev.devid = devid;
    e->dev.backend_domid = d->own_domid;
    e->generation = d->generation;
    snprintf(e->dev.path, sizeof(e->dev.path), "%s/%" PRIu32 "/%" PRIu32, d->root, domid, devid);
    snprintf(e->dev.frontend, sizeof(e->dev.frontend),
             XS_PATH_DOMAIN "/%" PRIu32 "/" XS_DIR_FRONT_VIRTIO "/%" PRIu32, domid, devid);
    snprintf(e->token, sizeof(e->token), "frontend/%" PRIu32 "/%" PRIu32, domid, devid);
    return e;
}

static void entry_free(struct entry *e)
{
    xs_admin_node_fini(&e->dev.config);
    xs_endpoint_nodes_free(e->dev.endpoints, e->dev.n_endpoints);
    free(e);
}

static int frontend_watch(struct discover *d, struct entry *e, bool set)
{
    char path[XS_PATH_SIZE];
    int r;

    r = xsc_join(path, sizeof(path), e->dev.frontend, XS_NODE_STATE);
    if (r < 0)
        return r;
    return set ? d->xs->ops->watch(d->xs->ctx, path, e->token)
               : d->xs->ops->unwatch(d->xs->ctx, path, e->token);
}

/* Unlinks before it reports, so that the callback sees the list without the device. */
static void entry_vanish(struct discover *d, struct entry *e)
{
    struct entry **link = find_link(d, e->dev.domid, e->dev.devid);

    *link = e->next;
    if (e->claimed) {
        /* A watch that cannot be removed costs quota, and its events find no entry. */
        if (frontend_watch(d, e, false) < 0)
            log_warn("d%" PRIu32 "/%" PRIu32 ": cannot remove the watch on its frontend",
                     e->dev.domid, e->dev.devid);
        d->ops->vanished(&e->dev, d->ctx);
    }
    entry_free(e);
}

/* --- the administrator's nodes ---------------------------------------------------------------- */

/*
 * Nodes that the administrator wrote by hand in dom0 inherit that the guest may read them. They
 * belong to us, so we can correct it; once per node, because it causes an event of its own.
 */
static void make_private(struct discover *d, const struct xs_device *dev, const char *node)
{
    char path[XS_PATH_SIZE], dir[XS_PATH_SIZE];
    int r;

    r = xsc_join(dir, sizeof(dir), dev->path, XS_DIR_VIOMMU);
    if (r == 0 && node)
        r = xsc_join(path, sizeof(path), dir, node);
    if (r == 0)
        r = d->xs->ops->set_perms(d->xs->ctx, XSC_TX_NONE, node ? path : dir, dev->backend_domid,
                                  XSC_READER_NONE);
    if (r < 0 && r != -ENOENT)
        log_warn("d%" PRIu32 "/%" PRIu32 ": cannot make " XS_DIR_VIOMMU "/%s private: %s",
                 dev->domid, dev->devid, node ? node : "", strerror(-r));
}

static void make_endpoint_private(struct discover *d, const struct xs_device *dev, uint32_t id)
{
    char node[sizeof(XS_NODE_ENDPOINT_PREFIX) + 8];

    if (xs_device_endpoint(dev, id))
        return;
    snprintf(node, sizeof(node), XS_NODE_ENDPOINT_PREFIX "%08" PRIx32, id);
    make_private(d, dev, node);
}

static bool has_admin_nodes(const struct xs_device *dev)
{
    return xs_admin_node_there(&dev->config) || dev->n_endpoints > 0;
}

static void make_new_nodes_private(struct discover *d, const struct xs_device *dev,
                                   const struct snapshot_admin *s)
{
    bool config = xs_admin_node_there(&s->config);

    if (!has_admin_nodes(dev) && (config || s->n_endpoints > 0))
        make_private(d, dev, NULL);
    if (!xs_admin_node_there(&dev->config) && config)
        make_private(d, dev, XS_NODE_CONFIG);
    for (size_t i = 0; i < s->n_endpoints; i++)
        make_endpoint_private(d, dev, s->endpoints[i].id);
}

static void log_odd(struct entry *e, size_t n_odd)
{
    if (n_odd > e->n_odd)
        log_warn("d%" PRIu32 "/%" PRIu32 ": %zu nodes below %s/" XS_DIR_VIOMMU
                 " are ignored: names are \"" XS_NODE_CONFIG "\" and \"" XS_NODE_ENDPOINT_PREFIX
                 "\" with 8 lower-case hex digits, at most %d of the latter",
                 e->dev.domid, e->dev.devid, n_odd, e->dev.path, DISCOVER_MAX_ENDPOINTS);
    e->n_odd = n_odd;
}

/* Moves what was read into the device; says which of the two changed. Consumes *s. */
static void take_admin(struct discover *d, struct entry *e, struct snapshot_admin *s,
                       bool *config_out, bool *endpoints_out)
{
    struct xs_device *dev = &e->dev;
    struct snapshot_admin old = {dev->config, dev->endpoints, dev->n_endpoints, 0};

    make_new_nodes_private(d, dev, s);
    log_odd(e, s->n_odd);
    *config_out = !xs_admin_node_same(&dev->config, &s->config);
    *endpoints_out = !xs_endpoint_nodes_same(dev->endpoints, dev->n_endpoints, s->endpoints,
                                             s->n_endpoints);
    dev->config = s->config;
    dev->endpoints = s->endpoints;
    dev->n_endpoints = s->n_endpoints;
    snapshot_admin_fini(&old);
    *s = (struct snapshot_admin){0};
}

/* What is known of the others holds: they are all known, and with these within the limit. */
static bool named_suffice(const struct entry *e)
{
    size_t n = e->dev.n_endpoints;

    if (e->whole || !has_admin_nodes(&e->dev) || (n == DISCOVER_MAX_ENDPOINTS && e->n_odd > 0))
        return false;
    for (size_t i = 0; i < e->n_named; i++)
        n += !xs_device_endpoint(&e->dev, e->named[i]);
    return n <= DISCOVER_MAX_ENDPOINTS;
}

/* As many reads as there were events about nodes below viommu/, however many of them there are. */
static int look_at_named(struct discover *d, struct entry *e, bool *changed_out)
{
    struct xs_endpoint_node *news;
    size_t n = e->n_named;
    int r = snapshot_endpoints(d->xs, &e->dev, e->named, &n, &news);

    if (r < 0)
        return r;
    for (size_t i = 0; i < n; i++) {
        if (xs_admin_node_there(&news[i].value))
            make_endpoint_private(d, &e->dev, news[i].id);
    }
    r = xs_device_merge(&e->dev, news, n, changed_out);
    xs_endpoint_nodes_free(news, n);
    return r;
}

/* Reads what has to be read of viommu/; says what changed. -errno: the entry is as it was. */
static int look_at_admin(struct discover *d, struct entry *e, bool *config_out, bool *endpoints_out)
{
    struct snapshot_admin admin = {0};
    int r = 0;

    *config_out = *endpoints_out = false;
    if (e->n_named == 0 && !e->whole)
        return 0;
    if (named_suffice(e)) {
        r = look_at_named(d, e, endpoints_out);
    } else {
        r = snapshot_admin(d->xs, &e->dev, DISCOVER_MAX_ENDPOINTS, &admin);
        if (r == 0)
            take_admin(d, e, &admin, config_out, endpoints_out);
    }
    if (r < 0)
        return r;
    e->whole = false;
    e->n_named = 0;
    return 0;
}

/* --- a directory that is not served yet ------------------------------------------------------- */

static void log_not_claimed(const struct entry *e, int claim)
{
    if (claim == CLAIM_BASE)
        log_warn("d%" PRIu32 "/%" PRIu32 ": left alone: base is not 0, so that the toolstack has "
                 "set up virtio-mmio, which is not supported",
                 e->dev.domid, e->dev.devid);
    if (claim == CLAIM_FRONTEND)
        log_warn("d%" PRIu32 "/%" PRIu32 ": left alone: frontend or frontend-id do not match %s",
                 e->dev.domid, e->dev.devid, e->dev.path);
}

/* Everything that `appeared` promises. -errno: the entry is as it was. */
static int read_first(struct discover *d, struct entry *e)
{
    struct snapshot_own own;
    bool config_changed, endpoints_changed;
    int r;

    r = snapshot_own(d->xs, &e->dev, &own);
    if (r < 0)
        return r;
    r = frontend_watch(d, e, true);
    if (r < 0 && r != -EEXIST) {
        log_warn("d%" PRIu32 "/%" PRIu32 ": cannot watch its frontend: %s", e->dev.domid,
                 e->dev.devid, strerror(-r));
        return r;
    }
    e->first_fe_event = r == 0;
    r = snapshot_frontend(d->xs, &e->dev, &e->dev.fe_state);
    e->whole = true;
    if (r == 0)
        r = look_at_admin(d, e, &config_changed, &endpoints_changed);
    if (r < 0) {
        if (frontend_watch(d, e, false) < 0)
            log_debug("%s: watch stays", e->dev.frontend);
        return r;
    }
    e->seen_state = own.state;
    e->dev.found_state = e->dev.own_state = own.state;
    e->dev.found_online = own.online;
    e->closing_reported = !own.online;
    return 0;
}

static int look_unclaimed(struct discover *d, struct entry *e)
{
    int claim, r;

    claim = snapshot_claim(d->xs, &e->dev);
    if (claim < 0)
        return claim;
    if (claim != CLAIM_YES) {
        if (claim != e->claim)
            log_not_claimed(e, claim);
        e->claim = claim;
        return 0;
    }
    r = read_first(d, e);
    if (r < 0)
        return r;
    e->claimed = true;
    d->ops->appeared(&e->dev, d->ctx);
    return 0;
}

/* Looks at a directory that was not known; an entry stays only if there is something to keep. */
static int look_new(struct discover *d, uint32_t domid, uint32_t devid)
{
    struct entry *e = entry_new(d, domid, devid);
    struct entry **link;
    int r;

    if (!e)
        return -ENOMEM;
    link = find_link(d, domid, devid);
    e->next = *link;
    *link = e;
    r = look_unclaimed(d, e);
    if (r < 0) {
        *link = e->next;
        entry_free(e);
    }
    return r;
}

/* --- a device that we know -------------------------------------------------------------------- */

/* Is it another directory than the one that we have written to? */
static bool was_replaced(const struct xs_device *dev, const struct snapshot_own *own)
{
    if (own->state == XENBUS_INITIALISING && dev->own_state != XENBUS_INITIALISING)
        return true;
    return dev->published && !own->has_version;
}

/*
 * A reply to our own write was lost, and now we see whether it was carried out. The toolstack's 5
 * differs from ours by the online=0 that libxl writes in the same transaction; where somebody wrote
 * a mere 5 just then, the device ends as closed as after ours, and its frontend can start over.
 */
static void settle_own(struct xs_device *dev, const struct snapshot_own *own)
{
    if (xs_device_wrote(dev, own->state))
        dev->own_state = own->state;
    dev->unsure_states = 0;
}

static void report_own(struct discover *d, struct entry *e, const struct snapshot_own *own)
{
    struct xs_device *dev = &e->dev;
    bool theirs = own->state == XENBUS_CLOSING && dev->own_state != XENBUS_CLOSING;
    bool again = theirs && dev->own_state == XENBUS_CLOSED;

    if (own->state != dev->own_state && own->state != e->seen_state && !theirs)
        log_warn("d%" PRIu32 "/%" PRIu32 ": somebody has written %d (%s) into our state, ignored",
                 dev->domid, dev->devid, (int)own->state, xenbus_state_name(own->state));
    e->seen_state = own->state;
    if ((theirs || !own->online) && (again || !e->closing_reported)) {
        e->closing_reported = true;
        d->ops->closing(dev, d->ctx);
    }
}

static void report_frontend(struct discover *d, struct entry *e, enum xenbus_state state)
{
    bool written = e->fe_written;

    e->fe_written = false;
    if (state == XENBUS_NONE)
        return;
    if (state == e->dev.fe_state && (!written || state == XENBUS_GONE))
        return;
    e->dev.fe_state = state;
    d->ops->frontend_state(&e->dev, state, d->ctx);
}

static int look_known(struct discover *d, struct entry *e)
{
    struct snapshot_own own;
    enum xenbus_state fe_state;
    bool config_changed, endpoints_changed;
    int r;

    r = snapshot_own(d->xs, &e->dev, &own);
    if (r < 0)
        return r;
    if (was_replaced(&e->dev, &own))
        return -ESTALE;
    settle_own(&e->dev, &own);
    r = snapshot_frontend(d->xs, &e->dev, &fe_state);
    if (r == 0)
        r = look_at_admin(d, e, &config_changed, &endpoints_changed);
    if (r < 0)
        return r;
    e->dirty = false;
    report_own(d, e, &own);
    if (config_changed)
        d->ops->config_changed(&e->dev, d->ctx);
    if (endpoints_changed)
        d->ops->endpoints_changed(&e->dev, d->ctx);
    report_frontend(d, e, fe_state);
    return 0;
}

/*
 * Looks at one key, known or not. Directories that are gone or replaced are reported. Returns
 * -EIO when the connection is lost, else 0: other failures concern this key only and are made
 * good by the next look.
 */
static int look(struct discover *d, uint32_t domid, uint32_t devid)
{
    struct entry *e = find_entry(d, domid, devid);
    int r;

    if (e) {
        r = e->claimed ? look_known(d, e) : look_unclaimed(d, e);
        if (r != -ENOENT && r != -ESTALE)
            goto out;
        entry_vanish(d, e);
        if (r == -ENOENT)
            return 0;
    }
    r = look_new(d, domid, devid);
out:
    if (r < 0 && r != -ENOENT && r != -EIO) {
        e = find_entry(d, domid, devid);
        if (e)
            e->dirty = true;
        log_guest(&d->log_limit, "d%" PRIu32 "/%" PRIu32 ": cannot read its nodes: %s", domid,
                  devid, strerror(-r));
    }
    return r == -EIO ? r : 0;
}

/* --- the full scan ---------------------------------------------------------------------------- */

/* The one decimal spelling of a number, as libxl writes it. */
static bool parse_name(const char *name, uint32_t max, uint32_t *out)
{
    if (name[0] == '0' && name[1] != '\0')
        return false;
    return parse_u32(name, max, out) == 0;
}

static void mark_domain(struct discover *d, uint32_t domid)
{
    for (struct entry *e = d->entries; e; e = e->next) {
        if (e->dev.domid == domid)
            e->generation = d->generation;
    }
}

static int scan_domain(struct discover *d, uint32_t domid, const char *name)
{
    cleanup_free char **names = NULL;
    char path[XS_PATH_SIZE];
    uint32_t devid;
    size_t n = 0;
    int r;

    r = xsc_join(path, sizeof(path), d->root, name);
    if (r == 0)
        r = xsc_list(d->xs, XSC_TX_NONE, path, &names, &n);
    if (r < 0) {
        /* Not knowing is no reason to end a device. */
        if (r != -ENOENT)
            mark_domain(d, domid);
        return r == -EIO ? r : 0;
    }
    for (size_t i = 0; i < n; i++) {
        struct entry *e;

        if (!parse_name(names[i], XS_DEVID_MAX, &devid))
            continue;
        e = find_entry(d, domid, devid);
        if (e) {
            e->generation = d->generation;
            e->whole = true;
        }
        r = look(d, domid, devid);
        if (r < 0)
            return r;
    }
    return 0;
}

static void sweep(struct discover *d)
{
    struct entry *e = d->entries;

    while (e) {
        struct entry *next = e->next;

        if (e->generation != d->generation)
            entry_vanish(d, e);
        e = next;
    }
}

static int scan(struct discover *d)
{
    cleanup_free char **names = NULL;
    uint32_t domid;
    size_t n = 0;
    int r;

    r = xsc_list(d->xs, XSC_TX_NONE, d->root, &names, &n);
    if (r < 0 && r != -ENOENT) {
        log_warn("cannot list %s: %s", d->root, strerror(-r));
        return r == -EIO ? r : 0;
    }
    d->generation++;
    for (size_t i = 0; i < n; i++) {
        if (!parse_name(names[i], XS_DOMID_MAX, &domid))
            continue;
        r = scan_domain(d, domid, names[i]);
        if (r < 0)
            return r;
    }
    sweep(d);
    return 0;
}

int discover_rescan(struct discover *d)
{
    return scan(d);
}

/* --- another connection ----------------------------------------------------------------------- */

static int set_watches(struct discover *d)
{
    int r = d->xs->ops->watch(d->xs->ctx, d->root, TOKEN_BACKEND);

    if (r < 0 && r != -EEXIST)
        return r;
    for (struct entry *e = d->entries; e; e = e->next) {
        if (!e->claimed)
            continue;
        r = frontend_watch(d, e, true);
        e->first_fe_event = r == 0;
        if (r < 0 && r != -EEXIST)
            return r;
        /* Perhaps it wrote the same state again, as one that starts over does, and nobody saw. */
        e->fe_written = true;
    }
    return 0;
}

int discover_reconnect(struct discover *d)
{
    int r = set_watches(d);

    return r < 0 ? r : scan(d);
}

/* --- events ----------------------------------------------------------------------------------- */

/* The next component of a path, as a number in its one spelling; *s moves behind it. */
static bool take_component(const char **s, uint32_t max, uint32_t *out)
{
    char name[12];
    size_t len;

    if (**s != '/')
        return false;
    len = strcspn(*s + 1, "/");
    if (len >= sizeof(name))
        return false;
    memcpy(name, *s + 1, len);
    name[len] = '\0';
    *s += 1 + len;
    return parse_name(name, max, out);
}

/* The device that a path below our root lies in, and *rest_out what follows its directory, from the
 * slash on; NULL when a full scan has to say. */
static struct entry *entry_of_path(struct discover *d, const char *path, const char **rest_out)
{
    size_t root_len = strlen(d->root);
    uint32_t domid, devid;

    if (strncmp(path, d->root, root_len) != 0)
        return NULL;
    path += root_len;
    if (!take_component(&path, XS_DOMID_MAX, &domid) ||
        !take_component(&path, XS_DEVID_MAX, &devid) || *path != '/')
        return NULL;
    *rest_out = path;
    return find_entry(d, domid, devid);
}

/* What of viommu/ an event is about, if at all: an endpoint's node, or anything. */
static void note_admin(struct entry *e, const char *rest)
{
    static const char dir[] = "/" XS_DIR_VIOMMU;
    const char *node = rest + sizeof(dir) - 1;
    uint32_t id;

    if (strncmp(rest, dir, sizeof(dir) - 1) != 0 || (*node != '/' && *node != '\0'))
        return;
    if (*node == '/' && config_endpoint_id(node + 1, &id) == 0 && e->n_named < ARRAY_SIZE(e->named))
        e->named[e->n_named++] = id;
    else
        e->whole = true;
}

/* Marks what the event is about; true if only a full scan will do. */
static bool note_event(struct discover *d, const struct xsc_event *event)
{
    const char *rest;
    struct entry *e;

    if (strcmp(event->token, TOKEN_BACKEND) == 0) {
        e = entry_of_path(d, event->path, &rest);
        if (!e)
            return true;
        e->dirty = true;
        note_admin(e, rest);
        return false;
    }
    for (e = d->entries; e; e = e->next) {
        if (!e->claimed || strcmp(event->token, e->token) != 0)
            continue;
        e->dirty = true;
        if (!e->first_fe_event)
            e->fe_written = true;
        e->first_fe_event = false;
        break;
    }
    return false;
}

/* Callbacks and looks change the list: after each one the walk goes on by key. */
static int look_at_dirty(struct discover *d)
{
    struct entry *e = d->entries;

    while (e) {
        uint32_t domid = e->dev.domid, devid = e->dev.devid;
        int r;

        if (!e->dirty) {
            e = e->next;
            continue;
        }
        e->dirty = false;
        r = look(d, domid, devid);
        if (r < 0)
            return r;
        e = *find_link(d, domid, devid);
        if (e && key_compare(&e->dev, domid, devid) == 0)
            e = e->next;
    }
    return 0;
}

int discover_run(struct discover *d)
{
    bool full = false;
    struct xsc_event event;
    int r = 0;

    for (unsigned i = 0; i < EVENT_BUDGET; i++) {
        r = d->xs->ops->next_event(d->xs->ctx, &event);
        if (r <= 0)
            break;
        if (note_event(d, &event))
            full = true;
    }
    if (r < 0)
        return r;
    return full ? scan(d) : look_at_dirty(d);
}

/* --- life cycle ------------------------------------------------------------------------------- */

int discover_new(struct discover **out, const struct xsc *xs, uint32_t own_domid,
                 const struct discover_ops *ops, void *ctx)
{
    struct discover *d = calloc(1, sizeof(*d));
    int r;

    if (!d)
        return -ENOMEM;
    d->xs = xs;
    d->ops = ops;
    d->ctx = ctx;
    d->own_domid = own_domid;
    d->log_limit = (struct ratelimit)RATELIMIT_INIT(5, 10000);
    snprintf(d->root, sizeof(d->root), XS_PATH_DOMAIN "/%" PRIu32 "/" XS_DIR_BACKEND_VIRTIO,
             own_domid);
    r = xs->ops->watch(xs->ctx, d->root, TOKEN_BACKEND);
    if (r == 0)
        r = scan(d);
    if (r < 0) {
        discover_free(d);
        return r;
    }
    *out = d;
    return 0;
}

struct discover *discover_free(struct discover *d)
{
    if (!d)
        return NULL;
    while (d->entries) {
        struct entry *e = d->entries;

        d->entries = e->next;
        if (e->claimed && frontend_watch(d, e, false) < 0)
            log_debug("%s: watch stays", e->dev.frontend);
        entry_free(e);
    }
    if (d->xs->ops->unwatch(d->xs->ctx, d->root, TOKEN_BACKEND) < 0)
        log_debug("%s: watch stays", d->root);
    free(d);
    return NULL;
}

static struct xs_device *first_claimed(struct entry *e)
{
    while (e && !e->claimed)
        e = e->next;
    return e ? &e->dev : NULL;
}

struct xs_device *discover_first(const struct discover *d)
{
    return first_claimed(d->entries);
}

struct xs_device *discover_next(const struct discover *d UNUSED, const struct xs_device *dev)
{
    return first_claimed(entry_of(dev)->next);
}

struct xs_device *discover_find(const struct discover *d, uint32_t domid, uint32_t devid)
{
    for (struct entry *e = d->entries; e; e = e->next) {
        if (e->claimed && key_compare(&e->dev, domid, devid) == 0)
            return &e->dev;
    }
    return NULL;
}

int discover_frontend_nodes(const struct xsc *xs, const struct xs_device *dev,
                            struct config_fe_raw *out)
{
    memset(out, 0, sizeof(*out));
    for (unsigned i = 0; i < CONFIG_FE_N_NODES; i++) {
        enum config_fe_node node = (enum config_fe_node)i;
        cleanup_free char *value = NULL;
        char path[XS_PATH_SIZE];
        size_t len = 0;
        int r;

        r = xsc_join(path, sizeof(path), dev->frontend, config_fe_node_name(node));
        if (r == 0)
            r = xs->ops->read(xs->ctx, XSC_TX_NONE, path, &value, &len);
        if (r == -ENOENT || r == -EACCES)
            continue; /* CONFIG_FE_ABSENT */
        if (r < 0)
            return r;
        config_fe_raw_set(out, node, value, len);
    }
    return 0;
}
