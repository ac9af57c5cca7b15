/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * fakexen's toolstack (toolstack.h): ties hypervisor.c and xenstored.c together into domains, with
 * the tree that libxl gives them. Devices are not made here: fxl does that through libxenstore, as
 * xl does. Callers are tests; their messages are checked only so far that none crashes the server.
 */
#include <config.h>

#include "tests/support/fakexen/toolstack.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>

#include "common/ctl.h"

struct caller {
    TAILQ_ENTRY(caller) link;
    struct toolstack *ts;
    struct ctl_conn *conn;
};

struct toolstack {
    struct loop *loop;
    struct ctl_server *server;
    struct hypervisor *hv;
    struct xenstored *xs;
    struct store *store;
    TAILQ_HEAD(, caller) callers;
};

/* A node of a new domain, below its home. `rw`: the domain owns it, else it may read it. */
struct home_node {
    const char *name;
    bool rw;
    bool driver_domain; /* only there with driver_domain=1 */
};

static const struct home_node home_nodes[] = {
    {"device", false, false}, {"control", false, false},    {"data", true, false},
    {"drivers", true, false}, {"error", true, false},       {"attr", true, false},
    {"libxl", true, true},    {"device-model", true, true},
};

static int make_node(struct toolstack *ts, const char *path, const char *value,
                     const struct store_perms *perms)
{
    int r = store_write(ts->store, NULL, 0, path, value, strlen(value));

    return r < 0 || !perms ? r : store_set_perms(ts->store, NULL, 0, path, perms);
}

static int make_home(struct toolstack *ts, uint32_t domid, const char *name, bool driver_domain)
{
    const struct store_perms ro = {
        .n = 2, .p = {{.domid = 0, .access = 0}, {.domid = domid, .access = STORE_READ}}};
    const struct store_perms rw = {.n = 1, .p = {{.domid = domid, .access = 0}}};
    char home[48], path[96], text[16];
    int r;

    snprintf(home, sizeof(home), "/local/domain/%" PRIu32, domid);
    r = make_node(ts, home, "", &ro);
    snprintf(path, sizeof(path), "%s/name", home);
    if (r == 0)
        r = make_node(ts, path, name, NULL);
    snprintf(path, sizeof(path), "%s/domid", home);
    snprintf(text, sizeof(text), "%" PRIu32, domid);
    if (r == 0)
        r = make_node(ts, path, text, NULL);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(home_nodes); i++) {
        if (home_nodes[i].driver_domain && !driver_domain)
            continue;
        snprintf(path, sizeof(path), "%s/%s", home, home_nodes[i].name);
        r = make_node(ts, path, "", home_nodes[i].rw ? &rw : &ro);
    }
    snprintf(path, sizeof(path), "/libxl/%" PRIu32, domid);
    return r < 0 ? r : make_node(ts, path, "", NULL);
}

static int remove_home(struct toolstack *ts, uint32_t domid)
{
    char path[48];
    int r, r2;

    snprintf(path, sizeof(path), "/local/domain/%" PRIu32, domid);
    r = store_rm(ts->store, NULL, 0, path);
    snprintf(path, sizeof(path), "/libxl/%" PRIu32, domid);
    r2 = store_rm(ts->store, NULL, 0, path);
    xenstored_fire(ts->xs);
    return r < 0 ? r : r2;
}

static int domain_create(struct toolstack *ts, uint32_t domid, const char *name, bool driver_domain,
                         uint32_t max_grants)
{
    int r = hv_domain_create(ts->hv, domid, max_grants);

    if (r < 0)
        return r;
    r = make_home(ts, domid, name, driver_domain);
    if (r == 0)
        r = xenstored_domain_add(ts->xs, domid);
    xenstored_fire(ts->xs);
    if (r < 0) {
        int r2 = remove_home(ts, domid);

        if (r2 == 0)
            r2 = hv_domain_destroy(ts->hv, domid);
        return r2 < 0 ? r2 : r;
    }
    return 0;
}

/* ---- commands ---- */

static bool get_u32(const json_t *msg, const char *key, uint32_t max, uint32_t *io)
{
    const json_t *value = json_object_get(msg, key);

    if (!value)
        return true;
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        json_integer_value(value) > (json_int_t)max)
        return false;
    *io = (uint32_t)json_integer_value(value);
    return true;
}

static int cmd_create(struct toolstack *ts, const json_t *msg, json_t *out)
{
    const char *name = json_string_value(json_object_get(msg, "name"));
    bool driver_domain = json_is_true(json_object_get(msg, "driver-domain"));
    uint32_t domid = 0, max_grants = HV_DEFAULT_GRANTS;
    int r = -EEXIST;

    if (!name || !get_u32(msg, "domid", STORE_DOMID_MAX, &domid) ||
        !get_u32(msg, "max-grants", HV_MAX_GRANTS, &max_grants))
        return -EINVAL;
    if (domid)
        r = domain_create(ts, domid, name, driver_domain, max_grants);
    else
        while (r == -EEXIST && ++domid <= STORE_DOMID_MAX)
            r = domain_create(ts, domid, name, driver_domain, max_grants);
    if (r == 0 && json_object_set_new(out, "domid", json_integer(domid)) < 0)
        r = -ENOMEM;
    return r;
}

static int cmd_destroy(struct toolstack *ts, const json_t *msg, json_t *out)
{
    uint32_t domid = 0;
    int r;

    (void)out;
    if (!get_u32(msg, "domid", STORE_DOMID_MAX, &domid) || domid == 0)
        return -EINVAL;
    if (!hv_domain_exists(ts->hv, domid))
        return -ESRCH;
    r = remove_home(ts, domid);
    if (r == 0)
        r = hv_domain_destroy(ts->hv, domid);
    if (r == 0)
        r = xenstored_domain_remove(ts->xs, domid);
    return r;
}

struct run {
    uint32_t domid, ref, n, to, maps;
    bool readonly;
};

struct listing {
    const struct toolstack *ts;
    json_t *array;
    uint32_t only;  /* domid; UINT32_MAX: all */
    struct run run; /* n == 0: none yet */
};

static void flush_run(struct listing *l)
{
    const struct run *r = &l->run;

    if (r->n)
        json_array_append_new(l->array,
                              json_pack("{s:i, s:i, s:i, s:i, s:b, s:i}", "domid", (int)r->domid,
                                        "ref", (int)r->ref, "n", (int)r->n, "to", (int)r->to,
                                        "readonly", r->readonly, "maps", (int)r->maps));
}

static void list_domain(const struct hv_domain_info *info, void *ctx)
{
    struct listing *l = ctx;
    char path[64];
    const void *data = "";
    size_t len = 0;

    snprintf(path, sizeof(path), "/local/domain/%" PRIu32 "/name", info->domid);
    if (store_read(l->ts->store, NULL, 0, path, &data, &len) < 0)
        len = 0;
    json_array_append_new(
        l->array, json_pack("{s:i, s:s%, s:b, s:i, s:i, s:i, s:I}", "domid", (int)info->domid,
                            "name", (const char *)data, len, "dying", info->dying, "maptrack",
                            (int)info->maptrack, "pages", (int)info->n_pages, "ports",
                            (int)info->n_ports, "mapped", (json_int_t)info->mapped_here));
}

static int cmd_list(struct toolstack *ts, const json_t *msg, json_t *out)
{
    struct listing l = {.ts = ts, .array = json_array()};

    (void)msg;
    hv_each_domain(ts->hv, list_domain, &l);
    return json_object_set_new(out, "domains", l.array) < 0 ? -ENOMEM : 0;
}

/* Consecutive references in the same state are one entry: a whole guest stays within a frame. */
static void list_grant(uint32_t domid, uint32_t ref, uint32_t to, bool readonly, uint32_t maps,
                       void *ctx)
{
    struct listing *l = ctx;
    struct run now = {
        .domid = domid, .ref = ref, .n = 1, .to = to, .readonly = readonly, .maps = maps};
    struct run *r = &l->run;

    if (l->only != UINT32_MAX && l->only != domid)
        return;
    if (r->n && r->domid == domid && r->ref + r->n == ref && r->to == to &&
        r->readonly == readonly && r->maps == maps) {
        r->n++;
        return;
    }
    flush_run(l);
    *r = now;
}

static int cmd_grants(struct toolstack *ts, const json_t *msg, json_t *out)
{
    struct listing l = {.ts = ts, .array = NULL, .only = UINT32_MAX};

    if (!get_u32(msg, "domid", STORE_DOMID_MAX, &l.only))
        return -EINVAL;
    l.array = json_array();
    hv_each_grant(ts->hv, list_grant, &l);
    flush_run(&l);
    return json_object_set_new(out, "grants", l.array) < 0 ? -ENOMEM : 0;
}

static int cmd_inject(struct toolstack *ts, const json_t *msg, json_t *out)
{
    const char *op = json_string_value(json_object_get(msg, "op"));
    uint32_t nth = 1, err = EIO;

    (void)out;
    if (!op || !get_u32(msg, "nth", UINT32_MAX, &nth) || !get_u32(msg, "errno", 4095, &err))
        return -EINVAL;
    return hv_inject(ts->hv, op, nth, (int)err);
}

/* Random failures of what is done with the domain's grants and ports, or of what it asks of
 * xenstore.
 */
static int cmd_faults(struct toolstack *ts, const json_t *msg, json_t *out)
{
    const char *what = json_string_value(json_object_get(msg, "what"));
    uint32_t domid = 0, permille = 0, seed = 1, from = 0;
    uint64_t n;

    if (!what || !get_u32(msg, "domid", STORE_DOMID_MAX, &domid) ||
        !get_u32(msg, "permille", 1000, &permille) || !get_u32(msg, "seed", UINT32_MAX, &seed) ||
        !get_u32(msg, "from", UINT32_MAX, &from))
        return -EINVAL;
    if (strcmp(what, "store") == 0)
        n = xenstored_faults(ts->xs, domid, permille, seed);
    else
        n = hv_faults(ts->hv, domid, permille, seed, from);
    return json_object_set_new(out, "failed", json_integer((json_int_t)n)) < 0 ? -ENOMEM : 0;
}

/* "run": false ends all connections to xenstore and its sockets, until "run": true. */
static int cmd_xenstored(struct toolstack *ts, const json_t *msg, json_t *out)
{
    (void)out;
    if (json_is_true(json_object_get(msg, "run")))
        return xenstored_start(ts->xs);
    xenstored_stop(ts->xs);
    return 0;
}

static int cmd_requests(struct toolstack *ts, const json_t *msg, json_t *out)
{
    json_t *n = json_integer((json_int_t)xenstored_requests(ts->xs));

    (void)msg;
    return json_object_set_new(out, "requests", n) < 0 ? -ENOMEM : 0;
}

static const struct {
    const char *name;
    int (*fn)(struct toolstack *ts, const json_t *msg, json_t *out);
} commands[] = {
    {"create-domain", cmd_create}, {"destroy", cmd_destroy},   {"list", cmd_list},
    {"grants", cmd_grants},        {"inject", cmd_inject},     {"xenstored", cmd_xenstored},
    {"faults", cmd_faults},        {"requests", cmd_requests},
};

static void on_message(struct ctl_conn *conn, json_t *msg, const int *fds, size_t n_fds, void *ctx)
{
    struct caller *caller = ctx;
    const char *name = json_string_value(json_object_get(msg, "command"));
    json_t *out = json_object();
    int r = -ENOSYS;

    for (size_t i = 0; i < n_fds; i++)
        close(fds[i]);
    for (size_t i = 0; name && i < ARRAY_SIZE(commands); i++) {
        if (strcmp(name, commands[i].name) == 0)
            r = commands[i].fn(caller->ts, msg, out);
    }
    json_object_set_new(out, "ok", json_boolean(r == 0));
    if (r < 0) {
        json_object_set_new(out, "error", json_string(strerror(-r)));
        json_object_set_new(out, "errno", json_integer(-r));
    }
    r = ctl_conn_send(conn, out, NULL, 0);
    if (r < 0) {
        json_object_clear(out);
        json_object_set_new(out, "ok", json_false());
        json_object_set_new(out, "error", json_string(strerror(-r)));
        r = ctl_conn_send(conn, out, NULL, 0);
    }
    json_decref(out);
}

static void caller_free(struct caller *caller)
{
    TAILQ_REMOVE(&caller->ts->callers, caller, link);
    ctl_conn_free(caller->conn);
    free(caller);
}

static void on_closed(struct ctl_conn *conn, int reason, void *ctx)
{
    (void)conn;
    (void)reason;
    caller_free(ctx);
}

static const struct ctl_conn_ops caller_ops = {.message = on_message, .closed = on_closed};

static void on_accept(int fd, void *ctx)
{
    struct toolstack *ts = ctx;
    struct caller *caller = calloc(1, sizeof(*caller));

    if (caller) {
        caller->ts = ts;
        caller->conn = ctl_conn_new(ts->loop, fd, &caller_ops, caller);
    }
    if (!caller || !caller->conn) {
        close(fd);
        free(caller);
        return;
    }
    TAILQ_INSERT_TAIL(&ts->callers, caller, link);
}

int toolstack_new(struct toolstack **out, struct loop *loop, const char *path,
                  struct hypervisor *hv, struct xenstored *xs, struct store *store)
{
    struct toolstack *ts = calloc(1, sizeof(*ts));
    int r;

    if (!ts)
        return -ENOMEM;
    ts->loop = loop;
    ts->hv = hv;
    ts->xs = xs;
    ts->store = store;
    TAILQ_INIT(&ts->callers);
    r = make_home(ts, 0, "Domain-0", false);
    if (r == 0)
        r = ctl_server_new(&ts->server, loop, path, on_accept, ts);
    if (r < 0) {
        toolstack_free(ts);
        return r;
    }
    *out = ts;
    return 0;
}

struct toolstack *toolstack_free(struct toolstack *ts)
{
    struct caller *caller;

    if (!ts)
        return NULL;
    while ((caller = TAILQ_FIRST(&ts->callers)))
        caller_free(caller);
    ctl_server_free(ts->server);
    free(ts);
    return NULL;
}
