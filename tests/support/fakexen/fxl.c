/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * fxl: xl for fakexen. Domains are made and ended by the server's toolstack; devices by this
 * program, through libxenstore, with the nodes, permissions and waits of stock libxl.
 */
#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <xenstore.h>

#include "common/loop.h"
#include "common/strutil.h"
#include "tests/support/fakexen/fx_guest.h"
#include "tests/support/fakexen/fx_server.h"

#define DOMID_MAX 0x7fefu
#define CLOSE_MS  10000 /* LIBXL_DESTROY_TIMEOUT */

struct fxl {
    const char *dir;
    int argc;
    char **argv;
    struct xs_handle *xs; /* opened when needed */
};

static int fail(const char *what, int r)
{
    fprintf(stderr, "fxl: %s: %s\n", what, strerror(-r));
    return 1;
}

static bool need_xs(struct fxl *f)
{
    if (!f->xs)
        f->xs = fx_xs_open(f->dir, 0);
    if (!f->xs)
        fail("cannot reach xenstore", -errno);
    return f->xs != NULL;
}

/* A number, or the name of a living domain. */
static bool domain_arg(struct fxl *f, const char *text, uint32_t *out)
{
    json_t *reply, *domain;
    bool found = false;
    size_t i;
    int r;

    if (parse_u32(text, DOMID_MAX, out) == 0)
        return true;
    r = fx_order(f->dir, json_pack("{s:s}", "command", "list"), &reply);
    if (r < 0) {
        fail("list", r);
        return false;
    }
    json_array_foreach(json_object_get(reply, "domains"), i, domain)
    {
        const char *name = json_string_value(json_object_get(domain, "name"));

        if (name && strcmp(name, text) == 0 && !json_is_true(json_object_get(domain, "dying"))) {
            *out = (uint32_t)json_integer_value(json_object_get(domain, "domid"));
            found = true;
        }
    }
    json_decref(reply);
    if (!found)
        fprintf(stderr, "fxl: no domain \"%s\" (a name or 0 to %u)\n", text, DOMID_MAX);
    return found;
}

/* ---- devices ---- */

struct device {
    uint32_t fe, be, id;
    char fe_path[64];
    char be_path[64];
    char libxl_path[64];
};

static void device_paths(struct device *d)
{
    snprintf(d->fe_path, sizeof(d->fe_path), "/local/domain/%" PRIu32 "/device/virtio/%" PRIu32,
             d->fe, d->id);
    snprintf(d->be_path, sizeof(d->be_path),
             "/local/domain/%" PRIu32 "/backend/virtio/%" PRIu32 "/%" PRIu32, d->be, d->fe, d->id);
    snprintf(d->libxl_path, sizeof(d->libxl_path), "/libxl/%" PRIu32 "/device/virtio/%" PRIu32,
             d->fe, d->id);
}

static bool put(struct xs_handle *xs, xs_transaction_t t, const char *dir, const char *name,
                const char *value)
{
    char path[160];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return xs_write(xs, t, path, value, (unsigned)strlen(value));
}

/* A directory that belongs to one domain and that the other may read, empty as libxl leaves it. */
static bool make_dir(struct xs_handle *xs, xs_transaction_t t, const char *path, uint32_t owner,
                     uint32_t reader)
{
    struct xs_permissions perms[2] = {{.id = owner, .perms = XS_PERM_NONE},
                                      {.id = reader, .perms = XS_PERM_READ}};

    xs_rm(xs, t, path);
    return xs_mkdir(xs, t, path) && xs_set_permissions(xs, t, path, perms, ARRAY_SIZE(perms));
}

/* libxl__device_generic_add for `virtio=["type=virtio,device17,transport=mmio,grant_usage=1"]` on
 * x86, in libxl's order. */
static bool write_device(struct xs_handle *xs, xs_transaction_t t, const struct device *d)
{
    char fe_id[16], be_id[16];
    const char *back[][2] = {
        {"frontend", d->fe_path},
        {"frontend-id", fe_id},
        {"online", "1"},
        {"state", "1"},
        {"irq", "0"},
        {"base", "0"},
        {"type", "virtio,device17"},
        {"transport", "mmio"},
        {"grant_usage", "1"},
    };
    bool ok;

    snprintf(fe_id, sizeof(fe_id), "%" PRIu32, d->fe);
    snprintf(be_id, sizeof(be_id), "%" PRIu32, d->be);
    xs_rm(xs, t, d->libxl_path);
    ok = xs_mkdir(xs, t, d->libxl_path) && put(xs, t, d->libxl_path, "frontend", d->fe_path) &&
         put(xs, t, d->libxl_path, "backend", d->be_path) &&
         make_dir(xs, t, d->fe_path, d->fe, d->be) &&
         put(xs, t, d->fe_path, "backend", d->be_path) &&
         put(xs, t, d->fe_path, "backend-id", be_id) && put(xs, t, d->fe_path, "state", "1") &&
         make_dir(xs, t, d->be_path, d->be, d->fe);
    for (size_t i = 0; ok && i < ARRAY_SIZE(back); i++)
        ok = put(xs, t, d->be_path, back[i][0], back[i][1]) &&
             (i == 0 || put(xs, t, d->libxl_path, back[i][0], back[i][1]));
    return ok;
}

/* Runs fn in transactions until one is not disturbed. */
static int transact(struct xs_handle *xs,
                    bool (*fn)(struct xs_handle *xs, xs_transaction_t t, const struct device *d),
                    const struct device *d)
{
    for (;;) {
        xs_transaction_t t = xs_transaction_start(xs);

        if (t == XBT_NULL)
            return -errno;
        if (!fn(xs, t, d)) {
            int r = -errno;

            xs_transaction_end(xs, t, true);
            return r;
        }
        if (xs_transaction_end(xs, t, false))
            return 0;
        if (errno != EAGAIN)
            return -errno;
    }
}

static int cmd_attach(struct fxl *f)
{
    struct device d;
    int r;

    if (!domain_arg(f, f->argv[0], &d.fe) || !domain_arg(f, f->argv[1], &d.be) || !need_xs(f))
        return 1;
    if (parse_u32(f->argv[2], UINT16_MAX, &d.id) < 0)
        return fail(f->argv[2], -EINVAL);
    device_paths(&d);
    r = transact(f->xs, write_device, &d);
    return r < 0 ? fail("attach-virtio", r) : 0;
}

/* The backend is found where libxl finds it: in its own, trusted copy. */
static int device_find(struct fxl *f, struct device *d)
{
    char path[96], backend[128];
    unsigned be;
    int r;

    d->be = 0;
    device_paths(d);
    snprintf(path, sizeof(path), "%s/backend", d->libxl_path);
    r = fx_xs_read(f->xs, path, backend, sizeof(backend));
    if (r < 0)
        return r;
    if (sscanf(backend, "/local/domain/%u/backend/", &be) != 1)
        return -EINVAL;
    d->be = be;
    device_paths(d);
    return 0;
}

static bool ask_close(struct xs_handle *xs, xs_transaction_t t, const struct device *d)
{
    return put(xs, t, d->be_path, "online", "0") && put(xs, t, d->be_path, "state", "5");
}

/* `force` (destroy): the frontend's directory goes first, as in libxl. */
static bool ask_close_force(struct xs_handle *xs, xs_transaction_t t, const struct device *d)
{
    return xs_rm(xs, t, d->fe_path) && ask_close(xs, t, d);
}

/* Removes a directory and the parents that it leaves empty: libxl__xs_path_cleanup. */
static void cleanup_path(struct xs_handle *xs, const char *dir)
{
    cleanup_free char *path = strdup(dir);
    char *slash;

    if (!path)
        return;
    xs_rm(xs, XBT_NULL, path);
    while ((slash = strrchr(path, '/')) && slash != path) {
        unsigned n = 0;

        *slash = '\0';
        free(xs_directory(xs, XBT_NULL, path, &n));
        if (n || strstr(path, "/device") == NULL)
            break;
        if (strcmp(strrchr(path, '/'), "/device") == 0)
            break;
        xs_rm(xs, XBT_NULL, path);
    }
}

/* 0 when the backend closed in time, -ETIMEDOUT when the nodes were removed under it. */
static int device_close(struct fxl *f, const struct device *d, bool force)
{
    char path[96], now[16];
    int r;

    snprintf(path, sizeof(path), "%s/state", d->be_path);
    r = fx_xs_read(f->xs, path, now, sizeof(now));
    if (r == 0) {
        r = transact(f->xs, force ? ask_close_force : ask_close, d);
        /* A driver domain removes its own directory after state 6, and libxl waits for both. */
        if (r == 0 && d->be != 0)
            r = fx_xs_wait(f->xs, path, NULL, 2 * CLOSE_MS);
        else if (r == 0 && strcmp(now, "6") != 0)
            r = fx_xs_wait(f->xs, path, "6", CLOSE_MS);
    }
    cleanup_path(f->xs, d->fe_path);
    cleanup_path(f->xs, d->libxl_path);
    cleanup_path(f->xs, d->be_path);
    return r == -ENOENT ? 0 : r;
}

static int cmd_detach(struct fxl *f)
{
    struct device d;
    int r;

    if (!domain_arg(f, f->argv[0], &d.fe) || !need_xs(f))
        return 1;
    if (parse_u32(f->argv[1], UINT16_MAX, &d.id) < 0)
        return fail(f->argv[1], -EINVAL);
    r = device_find(f, &d);
    if (r == 0)
        r = device_close(f, &d, false);
    return r < 0 ? fail("detach", r) : 0;
}

/* ---- domains ---- */

static int cmd_create(struct fxl *f)
{
    json_t *request = json_pack("{s:s, s:s}", "command", "create-domain", "name", f->argv[0]);
    json_t *reply;
    int r;

    for (int i = 1; i < f->argc; i++) {
        bool number = strcmp(f->argv[i], "--domid") == 0 || strcmp(f->argv[i], "--grants") == 0;
        uint32_t value;

        if (strcmp(f->argv[i], "--driver") == 0) {
            json_object_set_new(request, "driver-domain", json_true());
        } else if (number && i + 1 < f->argc && parse_u32(f->argv[i + 1], 1u << 24, &value) == 0) {
            const char *key = strcmp(f->argv[i], "--domid") == 0 ? "domid" : "max-grants";

            json_object_set_new(request, key, json_integer(value));
            i++;
        } else {
            fprintf(stderr, "fxl: %s: not an option of create-domain, or its number is missing\n",
                    f->argv[i]);
            json_decref(request);
            return 1;
        }
    }
    r = fx_order(f->dir, request, &reply);
    if (r < 0)
        return fail("create-domain", r);
    printf("%d\n", (int)json_integer_value(json_object_get(reply, "domid")));
    json_decref(reply);
    return 0;
}

static int close_devices(struct fxl *f, uint32_t domid)
{
    char path[64];
    unsigned n = 0;
    char **ids;
    int result = 0;

    snprintf(path, sizeof(path), "/libxl/%" PRIu32 "/device/virtio", domid);
    ids = xs_directory(f->xs, XBT_NULL, path, &n);
    for (unsigned i = 0; ids && i < n; i++) {
        struct device d = {.fe = domid};
        int r = parse_u32(ids[i], UINT16_MAX, &d.id);

        if (r == 0)
            r = device_find(f, &d);
        if (r == 0)
            r = device_close(f, &d, true);
        if (r < 0)
            result = fail(ids[i], r);
    }
    free(ids);
    return result;
}

/* Every device closes or times out, then the domain goes, whatever the devices did. */
static int cmd_destroy(struct fxl *f)
{
    uint64_t start = loop_now_ms();
    uint32_t domid;
    int r, result;

    if (!domain_arg(f, f->argv[0], &domid) || !need_xs(f))
        return 1;
    result = close_devices(f, domid);
    r = fx_destroy_domain(f->dir, domid);
    if (r < 0)
        return fail("destroy", r);
    printf("%" PRIu64 "\n", loop_now_ms() - start);
    return result;
}

static int print_reply(struct fxl *f, json_t *request, const char *key)
{
    json_t *reply, *entry;
    size_t i;
    int r = fx_order(f->dir, request, &reply);

    if (r < 0)
        return fail(key, r);
    json_array_foreach(json_object_get(reply, key), i, entry)
    {
        json_dumpf(entry, stdout, JSON_COMPACT);
        putchar('\n');
    }
    json_decref(reply);
    return 0;
}

static int cmd_list(struct fxl *f)
{
    return print_reply(f, json_pack("{s:s}", "command", "list"), "domains");
}

static int cmd_grants(struct fxl *f)
{
    json_t *request = json_pack("{s:s}", "command", "grants");
    uint32_t domid;

    if (f->argc) {
        if (!domain_arg(f, f->argv[0], &domid)) {
            json_decref(request);
            return 1;
        }
        json_object_set_new(request, "domid", json_integer(domid));
    }
    return print_reply(f, request, "grants");
}

static int cmd_inject(struct fxl *f)
{
    uint32_t nth, err;
    int r;

    if (parse_u32(f->argv[1], UINT32_MAX, &nth) < 0 || parse_u32(f->argv[2], 4095, &err) < 0)
        return fail("inject", -EINVAL);
    r = fx_inject(f->dir, f->argv[0], nth, (int)err);
    return r < 0 ? fail("inject", r) : 0;
}

static int cmd_xenstored(struct fxl *f)
{
    bool run = strcmp(f->argv[0], "start") == 0;
    int r = run || strcmp(f->argv[0], "stop") == 0 ? 0 : -EINVAL;

    if (r == 0)
        r = fx_order(f->dir, json_pack("{s:s, s:b}", "command", "xenstored", "run", run), NULL);
    return r < 0 ? fail("xenstored", r) : 0;
}

static int cmd_faults(struct fxl *f)
{
    uint32_t domid, permille, seed, from = 0;
    json_t *reply;
    int r;

    if (!domain_arg(f, f->argv[1], &domid))
        return 1;
    if (parse_u32(f->argv[2], 1000, &permille) < 0 ||
        parse_u32(f->argv[3], UINT32_MAX, &seed) < 0 ||
        (f->argc > 4 && parse_u32(f->argv[4], UINT32_MAX, &from) < 0))
        return fail("faults", -EINVAL);
    r = fx_order(f->dir,
                 json_pack("{s:s, s:s, s:i, s:i, s:I, s:I}", "command", "faults", "what",
                           f->argv[0], "domid", (int)domid, "permille", (int)permille, "seed",
                           (json_int_t)seed, "from", (json_int_t)from),
                 &reply);
    if (r < 0)
        return fail("faults", r);
    printf("%" PRId64 "\n", (int64_t)json_integer_value(json_object_get(reply, "failed")));
    json_decref(reply);
    return 0;
}

static int cmd_requests(struct fxl *f)
{
    json_t *reply;
    int r = fx_order(f->dir, json_pack("{s:s}", "command", "requests"), &reply);

    if (r < 0)
        return fail("requests", r);
    printf("%" PRId64 "\n", (int64_t)json_integer_value(json_object_get(reply, "requests")));
    json_decref(reply);
    return 0;
}

/* ---- main ---- */

static const struct {
    const char *name;
    int min, max;
    int (*fn)(struct fxl *f);
    const char *help;
} commands[] = {
    {"create-domain", 1, 6, cmd_create,
     "NAME [--domid N] [--driver] [--grants N]   prints the domid"},
    {"attach-virtio", 3, 3, cmd_attach, "FE BE ID"},
    {"detach", 2, 2, cmd_detach, "FE ID"},
    {"destroy", 1, 1, cmd_destroy, "DOMAIN   prints the elapsed milliseconds"},
    {"list", 0, 0, cmd_list, ""},
    {"grants", 0, 1, cmd_grants, "[DOMAIN]   grants in runs, with how often each is mapped"},
    {"inject", 3, 3, cmd_inject, "map|copy|bind N ERRNO   the Nth from now fails"},
    {"faults", 4, 5, cmd_faults,
     "grants|copies|store DOMAIN PERMILLE SEED   calls that fail from now on; prints how many "
     "have"},
    {"requests", 0, 0, cmd_requests, "  how many xenstored has had from all domains"},
    {"xenstored", 1, 1, cmd_xenstored, "stop|start   its connections end, its store stays"},
};

static void usage(FILE *to)
{
    fputs("usage: fxl DIR COMMAND ...   (DIR of a running fakexen; domains by number or name)\n",
          to);
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
        fprintf(to, "  %s %s\n", commands[i].name, commands[i].help);
}

int main(int argc, char **argv)
{
    struct fxl f = {.dir = argc > 2 ? argv[1] : NULL, .argc = argc - 3, .argv = argv + 3};

    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        usage(stdout);
        return 0;
    }
    for (size_t i = 0; f.dir && i < ARRAY_SIZE(commands); i++) {
        int r;

        if (strcmp(argv[2], commands[i].name) != 0)
            continue;
        if (f.argc < commands[i].min || f.argc > commands[i].max)
            break;
        r = commands[i].fn(&f);
        if (f.xs)
            xs_close(f.xs);
        return r;
    }
    usage(stderr);
    return 1;
}
