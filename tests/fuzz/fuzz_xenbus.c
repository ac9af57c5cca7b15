/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Xenstore nodes in any order and with garbage in them, through discovery, publishing, the parsers
 * of the frontend's nodes and the xenbus table, on the in-memory store. Toolstack, administrator
 * and two guests act by bytes of the input, also between any two calls of ours; the store fails
 * and conflicts on demand; a worker that exists only here answers, or dies. The table is carried
 * out as xenstore/xenbus.h asks of backend/daemon/sdevice.c.
 *
 * Always: we write nothing but our six nodes of our own directory; state 6 and a new start come
 * only when nothing of the guest is mapped; a device whose directory is gone writes nothing, and is
 * forgotten once its worker has answered.
 */
#include <config.h>

#include "xenstore/discover.h"

#include <errno.h>

#include "common/log.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/xs_fake.h"
#include "xenstore/publish.h"

#define B           5u
#define MAX_STEPS   96u
#define MAX_DEVICES 64u
#define MAX_EVENTS  64u
#define MAX_ASKED   16u

enum asked { ASKED_START, ASKED_CONNECT, ASKED_DISCONNECT };

/* A claimed directory and its worker. */
struct dev {
    bool used;
    struct xs_device *xs; /* NULL: vanished */
    uint32_t domid, devid;
    enum xenbus_phase phase;
    enum xenbus_event events[MAX_EVENTS];
    size_t n_events;
    bool running, failed, forgotten;

    bool worker, killed; /* killed: its end has not been noticed yet */
    bool mapped;         /* the worker holds guest memory */
    bool nodes_good;     /* as of the last CONNECT */
    enum asked asked[MAX_ASKED];
    size_t n_asked;
};

static struct {
    struct xs_fake *f;
    struct xsc xs;
    struct discover *d;
    struct dev devs[MAX_DEVICES];
    const struct dev *writer; /* whose directory may be written now; NULL: nobody's */
    bool removing;
    struct fuzz_in meanwhile; /* what others do when `meanwhile_in` more calls were made */
    unsigned meanwhile_in;
    bool worker_fails;
} t;

static void feed(struct dev *dev, enum xenbus_event event);

static void no_log(enum log_level level, const char *line, void *ctx)
{
    (void)level;
    (void)line;
    (void)ctx;
}

/* --- what others do --------------------------------------------------------------------------- */

static const char *const states[] = {"1", "2", "3", "4", "5", "6", "", "0", "7", "3 ", "-1", "999"};

static const struct {
    const char *node, *good;
} fe_nodes[] = {
    {"viommu-version", "1"},
    {"viommu-features", "0x0000000300000004"},
    {"viommu-control", "ref=9 port=3"},
    {"viommu-queue-0", "size=64 desc=0x1000 driver=0x2000 device=0x3000 port=4"},
    {"viommu-queue-1", "size=64 desc=0x4000 driver=0x5000 device=0x6000 port=5"},
};

static const struct {
    const char *node, *value;
} be_nodes[] = {
    {"online", "0"},
    {"online", "1"},
    {"type", "virtio,device17"},
    {"type", "virtio,device99"},
    {"base", "0"},
    {"base", "0x2000000"},
    {"viommu/config", "bypass=1"},
    {"viommu/config", "bypass=2"},
    {"viommu/endpoint-00000008", "id=8 driver=soft"},
    {"viommu/endpoint-00000009", "id=9 driver=vfio device=0000:03:00.0"},
    {"viommu/endpoint-0000000G", "id=8"},
    {"frontend", "/local/domain/7/device/virtio/0"},
    {"frontend-id", "7"},
    {"viommu-version", "1"},
};

static uint32_t domid_of(uint8_t v)
{
    return v & 1 ? 7 : 9;
}

static uint32_t devid_of(uint8_t v)
{
    return v >> 1 & 1;
}

static void put_line(const char *path, struct fuzz_in *in)
{
    char *line = fuzz_line(in);

    if (strlen(line) < XS_FAKE_VALUE)
        xs_fake_put(t.f, path, line);
    free(line);
}

static void others_frontend(struct fuzz_in *in, uint8_t v)
{
    uint32_t f = domid_of(v), n = devid_of(v);
    size_t i = (v >> 2) % (ARRAY_SIZE(fe_nodes) + 1);

    if (i == ARRAY_SIZE(fe_nodes))
        xs_fake_put(t.f, xs_fake_fe(f, n, "state"), states[fuzz_u8(in) % ARRAY_SIZE(states)]);
    else if (v >= 192)
        put_line(xs_fake_fe(f, n, fe_nodes[i].node), in);
    else
        xs_fake_put(t.f, xs_fake_fe(f, n, fe_nodes[i].node), fe_nodes[i].good);
}

/* All five nodes as they should be, and state 3. */
static void others_good_frontend(uint8_t v)
{
    for (size_t i = 0; i < ARRAY_SIZE(fe_nodes); i++)
        xs_fake_put(t.f, xs_fake_fe(domid_of(v), devid_of(v), fe_nodes[i].node), fe_nodes[i].good);
    xs_fake_put(t.f, xs_fake_fe(domid_of(v), devid_of(v), "state"), "3");
}

static void others_backend(struct fuzz_in *in, uint8_t v)
{
    uint32_t f = domid_of(v), n = devid_of(v);
    size_t i = fuzz_u8(in) % (ARRAY_SIZE(be_nodes) + 1);

    if (i == ARRAY_SIZE(be_nodes))
        xs_fake_put(t.f, xs_fake_be(B, f, n, "state"), states[fuzz_u8(in) % ARRAY_SIZE(states)]);
    else if (v >= 192)
        put_line(xs_fake_be(B, f, n, be_nodes[i].node), in);
    else
        xs_fake_put(t.f, xs_fake_be(B, f, n, be_nodes[i].node), be_nodes[i].value);
}

static void others_delete(struct fuzz_in *in, uint8_t v)
{
    static const char *const trees[] = {"/local/domain/7", "/local/domain/5/backend/virtio/7",
                                        "/local/domain/5/backend/virtio", "/local/domain/7/device"};
    uint8_t what = fuzz_u8(in);
    uint32_t f = domid_of(v), n = devid_of(v);

    if (v >= 224)
        xs_fake_del(t.f, trees[what % ARRAY_SIZE(trees)]);
    else if (v & 4)
        xs_fake_del(t.f, xs_fake_fe(f, n, what & 1 ? "state" : fe_nodes[what / 2 % 5].node));
    else
        xs_fake_del(t.f, xs_fake_be(B, f, n, be_nodes[what % ARRAY_SIZE(be_nodes)].node));
}

/* Names where none belong. */
static void others_garbage(struct fuzz_in *in)
{
    char *line = fuzz_line(in), path[256];

    for (char *c = line; *c; c++) {
        if (*c < '!' || *c > '~')
            *c = '_';
    }
    if (line[0] && line[0] != '/' && strlen(line) < 100 && !strstr(line, "//") &&
        line[strlen(line) - 1] != '/') {
        snprintf(path, sizeof(path), "/local/domain/5/backend/virtio/%s", line);
        xs_fake_put(t.f, path, "x");
        xs_fake_spurious(t.f, path, line);
    }
    free(line);
}

static void others_act(struct fuzz_in *in)
{
    uint8_t op = fuzz_u8(in), v = fuzz_u8(in);

    switch (op % 10) {
    case 0:
        xs_fake_add_device(t.f, B, domid_of(v), devid_of(v));
        break;
    case 1:
        xs_fake_remove_device(t.f, B, domid_of(v), devid_of(v));
        break;
    case 2:
        others_good_frontend(v);
        break;
    case 3:
    case 4:
        others_frontend(in, v);
        break;
    case 5:
    case 6:
        others_backend(in, v);
        break;
    case 7:
        others_delete(in, v);
        break;
    case 8:
        others_garbage(in);
        break;
    default:
        t.f->drop_events = v >= 240;
        t.f->unreadable = v >= 128 && v < 160 ? "/local/domain/7" : NULL;
        break;
    }
}

/* --- watching what we do ---------------------------------------------------------------------- */

/* The administrator's nodes, which discovery takes from the guest's sight. */
static bool admin_node(const char *path)
{
    const char *at = strstr(path, "/viommu");

    return strncmp(path, "/local/domain/5/backend/virtio/", 31) == 0 && at &&
           (at[7] == '\0' || at[7] == '/');
}

static bool our_node(enum xs_fake_op op, const char *path)
{
    static const char *const ours[] = {"viommu-version",   "viommu-features", "viommu-limits",
                                       "viommu-endpoints", "error",           "state"};
    const char *dir;
    size_t len;

    if (op == XS_FAKE_SET_PERMS && admin_node(path))
        return true;
    if (!t.writer)
        return false;
    dir = xs_fake_be(B, t.writer->domid, t.writer->devid, NULL);
    len = strlen(dir);
    if (strncmp(path, dir, len) != 0)
        return false;
    if (path[len] == '\0')
        return t.removing;
    for (size_t i = 0; i < ARRAY_SIZE(ours); i++) {
        if (path[len] == '/' && !strcmp(path + len + 1, ours[i]))
            return true;
    }
    return false;
}

static void hook(struct xs_fake *f, enum xs_fake_op op, const char *path, void *ctx)
{
    (void)f;
    (void)ctx;
    if (op == XS_FAKE_WRITE || op == XS_FAKE_RM || op == XS_FAKE_MKDIR || op == XS_FAKE_SET_PERMS) {
        if (!our_node(op, path))
            fprintf(stderr, "operation %d changes %s\n", (int)op, path);
        FUZZ_CHECK(our_node(op, path));
    }
    if (t.meanwhile_in > 0 && --t.meanwhile_in == 0)
        others_act(&t.meanwhile);
}

/* --- the worker ------------------------------------------------------------------------------- */

static void ask(struct dev *dev, enum asked what)
{
    FUZZ_CHECK(dev->worker);
    if (dev->killed)
        return;
    if (dev->n_asked == MAX_ASKED)
        dev->killed = true;
    else
        dev->asked[dev->n_asked++] = what;
}

static bool asked_for(const struct dev *dev, enum asked what)
{
    for (size_t i = 0; i < dev->n_asked; i++) {
        if (dev->asked[i] == what)
            return true;
    }
    return false;
}

static void worker_gone(struct dev *dev)
{
    dev->worker = false;
    dev->killed = false;
    dev->mapped = false;
    dev->n_asked = 0;
}

/* The oldest request is answered, well or badly; or the end of a killed worker is noticed. */
static void worker_answers(struct dev *dev, bool well)
{
    enum asked what = dev->asked[0];

    if (dev->killed) {
        worker_gone(dev);
        feed(dev, XB_LOST);
        return;
    }
    if (!dev->worker || dev->n_asked == 0)
        return;
    memmove(&dev->asked[0], &dev->asked[1], --dev->n_asked * sizeof(dev->asked[0]));
    switch (what) {
    case ASKED_START:
        dev->mapped = false;
        if (!asked_for(dev, ASKED_START))
            feed(dev, well ? XB_READY : XB_REFUSED);
        break;
    case ASKED_CONNECT:
        dev->mapped = well && dev->nodes_good;
        feed(dev, dev->mapped ? XB_CONNECTED : XB_REFUSED);
        break;
    case ASKED_DISCONNECT:
        dev->mapped = false;
        feed(dev, XB_DISCONNECTED);
        break;
    }
}

/* --- actions ---------------------------------------------------------------------------------- */

static bool holds_guest(const struct dev *dev)
{
    return dev->mapped || asked_for(dev, ASKED_CONNECT);
}

/* A worker whose end is not awaited: it must hold nothing. */
static void stop(struct dev *dev)
{
    FUZZ_CHECK(!holds_guest(dev));
    worker_gone(dev);
}

/*
 * A failed write ends the worker, and counts as LOST when its process is gone: until then it may
 * hold guest memory, and state 6 must not be written (docs/architecture.md, 4).
 */
static void published(struct dev *dev, int r)
{
    if (r == 0 || r == -ENOENT || r == -ESTALE || r == -ECANCELED)
        return;
    dev->failed = true;
    if (dev->worker)
        dev->killed = true; /* LOST comes when it is gone */
    else
        feed(dev, XB_LOST);
}

static void do_start(struct dev *dev)
{
    FUZZ_CHECK(!holds_guest(dev));
    if (!dev->xs)
        return;
    if (!dev->worker && t.worker_fails) {
        feed(dev, XB_LOST);
        return;
    }
    dev->worker = true;
    ask(dev, ASKED_START);
}

static void do_connect(struct dev *dev)
{
    struct config_offer offer = {.features = 0x330000077ull, .queue_size_max = 1024};
    struct config_frontend fe;
    struct config_fe_raw raw;
    char why[CONFIG_WHY_SIZE];

    if (!dev->xs || !dev->worker)
        return;
    if (discover_frontend_nodes(&t.xs, dev->xs, &raw) < 0) {
        feed(dev, XB_REFUSED);
        return;
    }
    dev->nodes_good = config_frontend_parse(&raw, &offer, &fe, why) == 0;
    ask(dev, ASKED_CONNECT);
}

static void do_disconnect(struct dev *dev)
{
    if (dev->worker)
        ask(dev, ASKED_DISCONNECT);
    else
        feed(dev, XB_DISCONNECTED);
}

/* Once the toolstack closes, only state 6 follows: nothing that looks alive again. */
static int write_state(struct dev *dev, enum xenbus_state state)
{
    const char *online = xs_fake_get(t.f, xs_fake_be(B, dev->domid, dev->devid, "online"));
    bool closes = online && !strcmp(online, "0") && t.meanwhile_in == 0;
    int r = publish_state(&t.xs, dev->xs, state);

    FUZZ_CHECK(!closes || r < 0 || state == XENBUS_CLOSED);
    return r;
}

static void do_state(struct dev *dev, enum xenbus_state state)
{
    if (state == XENBUS_CLOSED)
        FUZZ_CHECK(!holds_guest(dev));
    if (state == XENBUS_CONNECTED)
        FUZZ_CHECK(dev->mapped);
    if (dev->xs)
        published(dev, write_state(dev, state));
}

static void do_publish(struct dev *dev)
{
    static const struct publish_offer offer = {.features = 0x330000077ull,
                                               .queue_size = 1024,
                                               .map_pages = 64,
                                               .grant_pages = 65536,
                                               .endpoints = "id=0x8 dma=soft"};

    published(dev, publish_nodes(&t.xs, dev->xs, &offer));
}

static void do_remove(struct dev *dev)
{
    t.removing = true;
    published(dev, publish_remove(&t.xs, dev->xs));
    t.removing = false;
}

static void act(struct dev *dev, enum xenbus_action action)
{
    static const enum xenbus_state state_of[] = {[XB_DO_STATE_2] = XENBUS_INIT_WAIT,
                                                 [XB_DO_STATE_4] = XENBUS_CONNECTED,
                                                 [XB_DO_STATE_5] = XENBUS_CLOSING,
                                                 [XB_DO_STATE_6] = XENBUS_CLOSED};

    t.writer = dev->xs ? dev : NULL;
    switch ((int)action) {
    case XB_DO_START:
        do_start(dev);
        break;
    case XB_DO_CONNECT:
        do_connect(dev);
        break;
    case XB_DO_DISCONNECT:
        do_disconnect(dev);
        break;
    case XB_DO_STOP:
        stop(dev);
        break;
    case XB_DO_FORGET:
        dev->forgotten = true;
        break;
    case XB_DO_STATE_2:
    case XB_DO_STATE_4:
    case XB_DO_STATE_5:
    case XB_DO_STATE_6:
        do_state(dev, state_of[action]);
        break;
    case XB_DO_PUBLISH:
        if (dev->xs)
            do_publish(dev);
        break;
    case XB_DO_ERROR:
        if (dev->xs)
            published(dev, publish_error(&t.xs, dev->xs, "a reason\nwith \x01 bytes"));
        break;
    case XB_DO_CLEAR_ERROR:
        if (dev->xs)
            published(dev, publish_error_clear(&t.xs, dev->xs));
        break;
    case XB_DO_REMOVE:
        if (dev->xs)
            do_remove(dev);
        break;
    case XB_DO_RECHECK:
        if (dev->xs)
            feed(dev, xenbus_event_frontend(dev->xs->fe_state));
        break;
    default:
        FUZZ_CHECK(!"an action that does not exist");
    }
    t.writer = NULL;
}

static void carry_out(struct dev *dev, enum xenbus_event event)
{
    struct xenbus_step step = xenbus_next(dev->phase, event);

    FUZZ_CHECK((unsigned)step.next < XB_N_PHASES);
    dev->phase = step.next;
    dev->failed = false;
    for (size_t i = 0; i < XB_MAX_ACTIONS && step.actions[i] != XB_DO_NOTHING; i++) {
        if (!dev->failed || step.actions[i] == XB_DO_FORGET)
            act(dev, step.actions[i]);
    }
    FUZZ_CHECK(!holds_guest(dev) || xenbus_phase_holds_guest(dev->phase));
}

static void feed(struct dev *dev, enum xenbus_event event)
{
    if (dev->forgotten)
        return;
    FUZZ_CHECK(dev->n_events < MAX_EVENTS);
    dev->events[dev->n_events++] = event;
    if (dev->running)
        return;
    dev->running = true;
    while (dev->n_events > 0) {
        event = dev->events[0];
        memmove(&dev->events[0], &dev->events[1], --dev->n_events * sizeof(dev->events[0]));
        carry_out(dev, event);
    }
    dev->running = false;
    if (dev->forgotten) {
        FUZZ_CHECK(!holds_guest(dev));
        if (dev->xs)
            dev->xs->user = NULL;
        dev->used = false;
    }
}

/* --- discovery -------------------------------------------------------------------------------- */

static void on_appeared(struct xs_device *xs, void *ctx)
{
    size_t i = 0;

    (void)ctx;
    FUZZ_CHECK(!xs->user);
    while (i < MAX_DEVICES && t.devs[i].used)
        i++;
    if (i == MAX_DEVICES)
        return; /* as a supervisor that is short of memory */
    t.devs[i] = (struct dev){
        .used = true, .xs = xs, .domid = xs->domid, .devid = xs->devid, .phase = XB_PHASE_NEW};
    xs->user = &t.devs[i];
    feed(&t.devs[i], xenbus_event_found(xs->found_state, xs->found_online));
}

static void on_vanished(struct xs_device *xs, void *ctx)
{
    struct dev *dev = xs->user;

    (void)ctx;
    if (!dev)
        return;
    dev->xs = NULL;
    feed(dev, XB_OWN_GONE);
}

static void on_frontend(struct xs_device *xs, enum xenbus_state state, void *ctx)
{
    (void)ctx;
    FUZZ_CHECK(state != XENBUS_NONE && state == xs->fe_state);
    if (xs->user)
        feed(xs->user, xenbus_event_frontend(state));
}

static void on_closing(struct xs_device *xs, void *ctx)
{
    (void)ctx;
    if (xs->user)
        feed(xs->user, XB_OWN_CLOSING);
}

static void on_endpoints(struct xs_device *xs, void *ctx)
{
    (void)ctx;
    FUZZ_CHECK(xs->n_endpoints <= DISCOVER_MAX_ENDPOINTS);
    for (size_t i = 0; i < xs->n_endpoints; i++) {
        const struct xs_endpoint_node *node = &xs->endpoints[i];
        struct config_endpoint ep;
        char why[CONFIG_WHY_SIZE];

        FUZZ_CHECK(i == 0 || xs->endpoints[i - 1].id < node->id);
        FUZZ_CHECK((node->value.text != NULL) == (node->value.error == 0));
        if (node->value.text)
            (void)!config_endpoint_parse(NULL, node->value.text, &ep, why);
    }
}

static void on_config(struct xs_device *xs, void *ctx)
{
    (void)ctx;
    if (xs->user)
        feed(xs->user, XB_CONFIG_CHANGED);
}

static const struct discover_ops ops = {
    .appeared = on_appeared,
    .vanished = on_vanished,
    .frontend_state = on_frontend,
    .closing = on_closing,
    .endpoints_changed = on_endpoints,
    .config_changed = on_config,
};

/* --- the run ---------------------------------------------------------------------------------- */

static void step_trouble(struct fuzz_in *in)
{
    static const int errors[] = {-EIO, -ENOMEM, -ENOSPC, -EACCES, -EAGAIN, -ENOENT};
    uint8_t what = fuzz_u8(in), v = fuzz_u8(in);

    t.f->fail_err = errors[v % ARRAY_SIZE(errors)];
    t.f->fail_op = what % (XS_FAKE_TX_END + 1);
    t.f->fail_at = 1 + v / 8 % 8;
    /* Only the reply is lost. */
    if (t.f->fail_op == XS_FAKE_TX_END && t.f->fail_err == -EIO && (v & 0x80)) {
        t.f->lose_at = t.f->fail_at;
        t.f->fail_at = 0;
    }
    if (what >= 192)
        t.f->conflicts = v % 40;
    t.worker_fails = what & 0x20;
}

/* Others act between two of our calls: the bytes are taken now, used then. */
static void step_meanwhile(struct fuzz_in *in)
{
    static uint8_t bytes[64];

    t.meanwhile_in = 1 + fuzz_u8(in) % 32;
    t.meanwhile.n = fuzz_take(in, bytes, fuzz_u8(in) % sizeof(bytes));
    t.meanwhile.p = bytes;
}

static void step_worker(struct fuzz_in *in)
{
    uint8_t v = fuzz_u8(in);
    struct dev *dev = &t.devs[v % 4];

    if (!dev->used)
        return;
    if (v >= 224 && dev->worker)
        dev->killed = true;
    worker_answers(dev, v & 0x3c);
}

static void look(bool all)
{
    int r = all ? discover_rescan(t.d) : discover_run(t.d);

    FUZZ_CHECK(r <= 0);
}

static void one_step(struct fuzz_in *in)
{
    uint8_t op = fuzz_u8(in);

    if (op < 112)
        others_act(in);
    else if (op < 136)
        step_meanwhile(in);
    else if (op < 148)
        step_trouble(in);
    else if (op < 208)
        step_worker(in);
    /* Most steps are followed by a look, some by two. */
    if (op & 3 || op >= 208)
        look(op >= 240);
    if (op & 4)
        look(false);
}

/* Everything goes away, nothing fails any more: no device may stay. */
static void wind_up(void)
{
    t.f->fail_at = 0;
    t.f->lose_at = 0;
    t.f->conflicts = 0;
    t.f->drop_events = false;
    t.f->unreadable = NULL;
    t.meanwhile_in = 0;
    xs_fake_del(t.f, "/local/domain/5/backend/virtio");
    look(true);
    FUZZ_CHECK(!discover_first(t.d));
    for (unsigned i = 0; i < MAX_DEVICES; i++) {
        for (unsigned k = 0; t.devs[i].used && k <= 2 * MAX_ASKED; k++)
            worker_answers(&t.devs[i], true);
        if (t.devs[i].used)
            fprintf(stderr, "stays in phase %s\n", xenbus_phase_name(t.devs[i].phase));
        FUZZ_CHECK(!t.devs[i].used);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_in in = {data, size};

    memset(&t, 0, sizeof(t));
    log_set_sink(no_log, NULL);
    t.f = xs_fake_new(B);
    t.xs = xs_fake_client(t.f);
    t.f->hook = hook;
    xs_fake_add_device(t.f, B, 7, 0);
    FUZZ_CHECK(discover_new(&t.d, &t.xs, B, &ops, NULL) == 0);
    for (unsigned i = 0; in.n > 0 && i < MAX_STEPS; i++)
        one_step(&in);
    wind_up();
    t.d = discover_free(t.d);
    FUZZ_CHECK(t.f->n_watches == 0);
    t.f = xs_fake_free(t.f);
    return 0;
}
