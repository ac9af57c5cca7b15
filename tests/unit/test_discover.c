/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Discovery on the xenstore in memory: what the supervisor hears when the toolstack, the guest and
 * the administrator do their work, and what it does not hear when events are lost, late, spurious
 * or many, or when things vanish between two reads.
 */
#include <config.h>

#include "xenstore/discover.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "tests/support/ut.h"
#include "tests/support/xs_fake.h"
#include "xenstore/publish.h"

#define B 5u

struct fixture {
    struct xs_fake *f;
    struct xsc xs;
    struct discover *d;
    char heard[4096];
    unsigned live; /* devices appeared and not vanished */
    unsigned warnings;
};

static void hear(struct fixture *t, const char *what, const struct xs_device *dev, int state)
{
    size_t at = strlen(t->heard);

    if (state >= 0)
        snprintf(t->heard + at, sizeof(t->heard) - at, "%s%s %" PRIu32 "/%" PRIu32 "=%d",
                 at ? "; " : "", what, dev->domid, dev->devid, state);
    else
        snprintf(t->heard + at, sizeof(t->heard) - at, "%s%s %" PRIu32 "/%" PRIu32, at ? "; " : "",
                 what, dev->domid, dev->devid);
}

static void on_appeared(struct xs_device *dev, void *ctx)
{
    struct fixture *t = ctx;

    t->live++;
    UT_TRUE(dev->user == NULL);
    if (t->d) /* not yet known while discover_new runs */
        UT_TRUE(discover_find(t->d, dev->domid, dev->devid) == dev);
    hear(t, "appeared", dev, -1);
}

static void on_vanished(struct xs_device *dev, void *ctx)
{
    struct fixture *t = ctx;

    t->live--;
    UT_TRUE(discover_find(t->d, dev->domid, dev->devid) == NULL);
    hear(t, "vanished", dev, -1);
}

static void on_frontend(struct xs_device *dev, enum xenbus_state state, void *ctx)
{
    UT_EQ(dev->fe_state, state);
    hear(ctx, "fe", dev, (int)state);
}

static void on_closing(struct xs_device *dev, void *ctx)
{
    hear(ctx, "closing", dev, -1);
}

static void on_endpoints(struct xs_device *dev, void *ctx)
{
    hear(ctx, "endpoints", dev, (int)dev->n_endpoints);
}

static void on_config(struct xs_device *dev, void *ctx)
{
    hear(ctx, "config", dev, -1);
}

static const struct discover_ops ops = {
    .appeared = on_appeared,
    .vanished = on_vanished,
    .frontend_state = on_frontend,
    .closing = on_closing,
    .endpoints_changed = on_endpoints,
    .config_changed = on_config,
};

static void on_log(enum log_level level, const char *line UNUSED, void *ctx)
{
    struct fixture *t = ctx;

    if (level <= LOG_LEVEL_WARN)
        t->warnings++;
}

static void setup_empty(struct fixture *t)
{
    memset(t, 0, sizeof(*t));
    t->f = xs_fake_new(B);
    t->xs = xs_fake_client(t->f);
    log_set_sink(on_log, t);
}

static void start(struct fixture *t)
{
    UT_EQ(discover_new(&t->d, &t->xs, B, &ops, t), 0);
}

static void teardown(struct fixture *t)
{
    t->f->fail_all = false;
    t->f->hook = NULL;
    t->d = discover_free(t->d);
    UT_EQ(t->f->n_watches, 0);
    t->f = xs_fake_free(t->f);
    log_set_sink(NULL, NULL);
}

/* One look; what was heard since the last time. */
static const char *look(struct fixture *t)
{
    static char heard[sizeof(t->heard)];

    if (t->d)
        UT_EQ(discover_run(t->d), 0);
    memcpy(heard, t->heard, sizeof(heard));
    t->heard[0] = '\0';
    return heard;
}

/* One device 7/0, found and settled. */
static void setup_one(struct fixture *t)
{
    setup_empty(t);
    xs_fake_add_device(t->f, B, 7, 0);
    start(t);
    UT_STR(look(t), "appeared 7/0");
    UT_STR(look(t), "");
}

static struct xs_device *dev7(struct fixture *t)
{
    return discover_find(t->d, 7, 0);
}

static void put7(struct fixture *t, const char *node, const char *value)
{
    xs_fake_put(t->f, xs_fake_be(B, 7, 0, node), value);
}

static void fe7(struct fixture *t, const char *state)
{
    xs_fake_put(t->f, xs_fake_fe(7, 0, "state"), state);
}

/* --- appearing -------------------------------------------------------------------------------- */

static void nothing_there_is_fine(void)
{
    struct fixture t;

    setup_empty(&t);
    start(&t);
    UT_STR(look(&t), "");
    UT_TRUE(discover_first(t.d) == NULL);
    UT_EQ(t.f->n_watches, 1);
    teardown(&t);
}

static void devices_that_are_there_already_appear(void)
{
    struct fixture t;
    struct xs_device *dev;

    setup_empty(&t);
    xs_fake_add_device(t.f, B, 12, 1);
    xs_fake_add_device(t.f, B, 7, 3);
    xs_fake_add_device(t.f, B, 7, 0);
    start(&t);
    UT_EQ(t.live, 3);
    UT_EQ(t.f->n_watches, 1 + 3);
    look(&t);
    dev = discover_first(t.d);
    UT_REQUIRE(dev != NULL);
    UT_TRUE(dev->domid == 7 && dev->devid == 0);
    UT_STR(dev->path, "/local/domain/5/backend/virtio/7/0");
    UT_STR(dev->frontend, "/local/domain/7/device/virtio/0");
    UT_EQ(dev->backend_domid, B);
    UT_EQ(dev->found_state, XENBUS_INITIALISING);
    UT_EQ(dev->own_state, XENBUS_INITIALISING);
    UT_EQ(dev->fe_state, XENBUS_INITIALISING);
    UT_TRUE(dev->found_online);
    dev = discover_next(t.d, dev);
    UT_TRUE(dev->domid == 7 && dev->devid == 3);
    dev = discover_next(t.d, dev);
    UT_TRUE(dev->domid == 12 && dev->devid == 1);
    UT_TRUE(discover_next(t.d, dev) == NULL);
    UT_TRUE(discover_find(t.d, 7, 1) == NULL);
    UT_STR(look(&t), "");
    teardown(&t);
}

static void a_device_appears_when_libxl_makes_it(void)
{
    struct fixture t;

    setup_empty(&t);
    start(&t);
    look(&t);
    xs_fake_add_device(t.f, B, 7, 0);
    UT_STR(look(&t), "appeared 7/0");
    UT_STR(look(&t), "");
    teardown(&t);
}

static void other_devices_are_left_alone(void)
{
    static const struct {
        const char *node;
        const char *value; /* NULL: removed */
        unsigned warnings;
    } cases[] = {
        {"type", "virtio,device1a", 0},
        {"type", "virtio,device17x", 0},
        {"type", "", 0},
        {"type", NULL, 0},
        {"base", "0x2000000", 1},
        {"base", "", 1},
        {"base", "garbage", 1},
        {"base", NULL, 0},
        {"frontend-id", "8", 1},
        {"frontend-id", "", 1},
        {"frontend-id", NULL, 0},
        {"frontend", "/local/domain/8/device/virtio/0", 1},
        {"frontend", "/local/domain/7/device/virtio/0/", 1},
        {"frontend", NULL, 0},
        {"state", NULL, 0},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct fixture t;

        setup_empty(&t);
        xs_fake_add_device(t.f, B, 7, 0);
        if (cases[i].value)
            put7(&t, cases[i].node, cases[i].value);
        else
            xs_fake_del(t.f, xs_fake_be(B, 7, 0, cases[i].node));
        start(&t);
        UT_STR(look(&t), "");
        UT_EQ(discover_rescan(t.d), 0);
        UT_EQ(t.warnings, cases[i].warnings); /* once, not at every look */
        UT_EQ(t.f->n_watches, 1);
        UT_EQ(t.f->calls[XS_FAKE_WRITE] + t.f->calls[XS_FAKE_SET_PERMS], 0);
        UT_TRUE(discover_first(t.d) == NULL);
        UT_TRUE(discover_find(t.d, 7, 0) == NULL);
        /* It becomes ours when it changes (libxl writes it in one transaction, others may not). */
        xs_fake_add_device(t.f, B, 7, 0);
        UT_STR(look(&t), "appeared 7/0");
        teardown(&t);
    }
}

static void only_canonical_names_are_devices(void)
{
    static const char *const names[] = {"07/0", "7/00", "0x7/0",   "7/0x0",        "-7/0", "7/+0",
                                        "x/0",  "7/x",  "32752/0", "7/2147483648", "7/0 "};
    struct fixture t;

    setup_empty(&t);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        char path[160];

        snprintf(path, sizeof(path), "/local/domain/5/backend/virtio/%s/type", names[i]);
        xs_fake_put(t.f, path, "virtio,device17");
    }
    start(&t);
    UT_STR(look(&t), "");
    xs_fake_add_device(t.f, B, 32751, 2147483647);
    UT_STR(look(&t), "appeared 32751/2147483647");
    teardown(&t);
}

static void what_was_left_behind_is_found_as_it_is(void)
{
    struct fixture t;

    setup_empty(&t);
    xs_fake_add_device(t.f, B, 7, 0);
    put7(&t, "state", "4");
    fe7(&t, "4");
    xs_fake_add_device(t.f, B, 8, 0);
    xs_fake_put(t.f, xs_fake_be(B, 8, 0, "state"), "5");
    xs_fake_put(t.f, xs_fake_be(B, 8, 0, "online"), "0");
    start(&t);
    /* No `closing`: xenbus_event_found says it. */
    UT_STR(look(&t), "appeared 8/0; appeared 7/0");
    UT_EQ(dev7(&t)->found_state, XENBUS_CONNECTED);
    UT_EQ(dev7(&t)->fe_state, XENBUS_CONNECTED);
    UT_FALSE(discover_find(t.d, 8, 0)->found_online);
    UT_STR(look(&t), "");
    teardown(&t);
}

/* --- the frontend ----------------------------------------------------------------------------- */

static void every_state_of_the_frontend_is_reported(void)
{
    static const char *const states[] = {"3", "4", "5", "6", "1", "2"};
    struct fixture t;

    setup_one(&t);
    for (size_t i = 0; i < ARRAY_SIZE(states); i++) {
        char want[32];

        fe7(&t, states[i]);
        snprintf(want, sizeof(want), "fe 7/0=%s", states[i]);
        UT_STR(look(&t), want);
        UT_STR(look(&t), "");
    }
    teardown(&t);
}

static void garbage_states_are_ignored(void)
{
    static const char *const garbage[] = {
        "",     "0",    "7",
        "8",    "-1",   "4 ",
        "four", "0x10", "a value that is much longer than any state could be"};
    struct fixture t;

    setup_one(&t);
    fe7(&t, "3");
    UT_STR(look(&t), "fe 7/0=3");
    for (size_t i = 0; i < ARRAY_SIZE(garbage); i++) {
        fe7(&t, garbage[i]);
        UT_STR(look(&t), "");
        UT_EQ(dev7(&t)->fe_state, XENBUS_INITIALISED);
    }
    xs_fake_put_bytes(t.f, xs_fake_fe(7, 0, "state"), "4\0", 2);
    UT_STR(look(&t), "");
    fe7(&t, "4");
    UT_STR(look(&t), "fe 7/0=4");
    teardown(&t);
}

/* A frontend at 1 that finds us at 6 writes 1 to start: the value does not change. */
static void the_same_state_written_again_is_reported_again(void)
{
    struct fixture t;

    setup_one(&t);
    fe7(&t, "1");
    UT_STR(look(&t), "fe 7/0=1");
    fe7(&t, "1");
    fe7(&t, "1");
    UT_STR(look(&t), "fe 7/0=1");
    UT_STR(look(&t), "");
    teardown(&t);
}

static void a_frontend_that_goes_is_reported_once(void)
{
    struct fixture t;

    setup_one(&t);
    xs_fake_del(t.f, xs_fake_fe(7, 0, "state"));
    UT_STR(look(&t), "fe 7/0=7");
    xs_fake_spurious(t.f, xs_fake_fe(7, 0, "state"), "frontend/7/0");
    UT_STR(look(&t), "");
    fe7(&t, "1");
    UT_STR(look(&t), "fe 7/0=1");
    xs_fake_del(t.f, "/local/domain/7");
    UT_STR(look(&t), "fe 7/0=7");
    teardown(&t);
}

/* Of a dead guest's home only /local/domain is left, which a driver domain may not read. */
static void an_unreadable_frontend_is_gone(void)
{
    struct fixture t;

    setup_one(&t);
    t.f->unreadable = "/local/domain/7";
    xs_fake_spurious(t.f, xs_fake_fe(7, 0, "state"), "frontend/7/0");
    UT_STR(look(&t), "fe 7/0=7");
    teardown(&t);
}

static void a_storm_of_one_guest_is_one_look_at_one_device(void)
{
    struct fixture t;
    unsigned reads;

    setup_one(&t);
    for (unsigned i = 0; i < 20; i++)
        xs_fake_add_device(t.f, B, 20 + i, 0);
    look(&t);
    look(&t);
    t.f->n_calls = 0;
    fe7(&t, "3");
    look(&t);
    reads = t.f->n_calls;
    for (unsigned i = 0; i < 1000; i++)
        fe7(&t, i % 2 ? "3" : "1");
    t.f->n_calls = 0;
    UT_STR(look(&t), "fe 7/0=3");
    /* 999 more events to take, and nothing else more. */
    UT_EQ(t.f->n_calls, reads + 999);
    UT_TRUE(reads < 16);
    teardown(&t);
}

static void events_beyond_the_budget_wait_for_the_next_turn(void)
{
    struct fixture t;

    setup_one(&t);
    for (unsigned i = 0; i < 1500; i++)
        fe7(&t, "3");
    UT_STR(look(&t), "fe 7/0=3");
    UT_EQ(t.f->n_events, 1500 - 1024);
    UT_STR(look(&t), "fe 7/0=3");
    UT_EQ(t.f->n_events, 0);
    teardown(&t);
}

/* --- the toolstack ---------------------------------------------------------------------------- */

static void state_5_and_online_0_close(void)
{
    struct fixture t;

    setup_one(&t);
    put7(&t, "state", "5");
    UT_STR(look(&t), "closing 7/0");
    put7(&t, "online", "0");
    UT_STR(look(&t), "");
    UT_EQ(publish_state(&t.xs, dev7(&t), XENBUS_CLOSED), 0);
    UT_STR(look(&t), "");
    xs_fake_remove_device(t.f, B, 7, 0);
    UT_STR(look(&t), "vanished 7/0");
    UT_EQ(t.f->n_watches, 1);
    UT_EQ(t.warnings, 0);
    teardown(&t);
    setup_one(&t);
    put7(&t, "online", "0");
    UT_STR(look(&t), "closing 7/0");
    teardown(&t);
}

static void a_second_5_over_our_6_closes_again(void)
{
    struct fixture t;

    setup_one(&t);
    put7(&t, "online", "0");
    put7(&t, "state", "5");
    UT_STR(look(&t), "closing 7/0");
    UT_EQ(publish_state(&t.xs, dev7(&t), XENBUS_CLOSED), 0);
    UT_STR(look(&t), "");
    put7(&t, "state", "5");
    UT_STR(look(&t), "closing 7/0");
    UT_EQ(publish_state(&t.xs, dev7(&t), XENBUS_CLOSED), 0);
    UT_STR(look(&t), "");
    teardown(&t);
}

static void our_own_states_are_no_news(void)
{
    static const enum xenbus_state states[] = {XENBUS_INIT_WAIT, XENBUS_CONNECTED, XENBUS_CLOSING,
                                               XENBUS_CLOSED, XENBUS_INIT_WAIT};
    struct fixture t;

    setup_one(&t);
    for (size_t i = 0; i < ARRAY_SIZE(states); i++) {
        UT_EQ(publish_state(&t.xs, dev7(&t), states[i]), 0);
        UT_STR(look(&t), "");
    }
    UT_EQ(t.warnings, 0);
    put7(&t, "state", "4");
    UT_STR(look(&t), "");
    UT_EQ(discover_rescan(t.d), 0);
    UT_EQ(t.warnings, 1);
    teardown(&t);
}

static void a_vanished_directory_is_reported(void)
{
    static const char *const paths[] = {"/local/domain/5/backend/virtio/7/0",
                                        "/local/domain/5/backend/virtio/7",
                                        "/local/domain/5/backend/virtio", "/local/domain/5/backend",
                                        "/local/domain/5/backend/virtio/7/0/state"};

    for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
        struct fixture t;

        setup_one(&t);
        xs_fake_del(t.f, paths[i]);
        UT_STR(look(&t), "vanished 7/0");
        UT_EQ(t.f->n_watches, 1);
        xs_fake_add_device(t.f, B, 7, 0);
        UT_STR(look(&t), "appeared 7/0");
        teardown(&t);
    }
}

/* Removed and made anew between two looks, by the toolstack; perhaps for another guest. */
static void a_directory_made_anew_is_another_device(void)
{
    static const struct publish_offer offer = {.endpoints = ""};
    struct fixture t;

    /* We had written a state. */
    setup_one(&t);
    UT_EQ(publish_state(&t.xs, dev7(&t), XENBUS_CONNECTED), 0);
    look(&t);
    xs_fake_remove_device(t.f, B, 7, 0);
    xs_fake_add_device(t.f, B, 7, 0);
    UT_STR(look(&t), "vanished 7/0; appeared 7/0");
    UT_EQ(dev7(&t)->own_state, XENBUS_INITIALISING);
    UT_EQ(t.f->n_watches, 2);
    look(&t);
    /* We had written our nodes only. */
    UT_EQ(publish_nodes(&t.xs, dev7(&t), &offer), 0);
    UT_STR(look(&t), "");
    xs_fake_remove_device(t.f, B, 7, 0);
    xs_fake_add_device(t.f, B, 7, 0);
    UT_STR(look(&t), "vanished 7/0; appeared 7/0");
    UT_FALSE(dev7(&t)->published);
    look(&t);
    /* We had written nothing: it is as good as the old one, but its configuration may differ. */
    put7(&t, "viommu/config", "bypass=1");
    UT_STR(look(&t), "config 7/0");
    xs_fake_remove_device(t.f, B, 7, 0);
    xs_fake_add_device(t.f, B, 7, 0);
    look(&t);
    UT_TRUE(dev7(&t)->config.text == NULL);
    teardown(&t);
}

static void a_device_made_anew_with_another_type_is_not_ours(void)
{
    struct fixture t;

    setup_one(&t);
    UT_EQ(publish_state(&t.xs, dev7(&t), XENBUS_INIT_WAIT), 0);
    look(&t);
    xs_fake_remove_device(t.f, B, 7, 0);
    xs_fake_add_device(t.f, B, 7, 0);
    put7(&t, "type", "virtio,device1a");
    UT_STR(look(&t), "vanished 7/0");
    UT_EQ(t.f->n_watches, 1);
    teardown(&t);
}

/* --- the administrator ------------------------------------------------------------------------ */

/* Calls of the store until there is nothing more to look at. */
static unsigned calls_to_rest(struct fixture *t)
{
    unsigned before;

    do {
        before = t->f->n_calls;
        look(t);
    } while (t->f->n_calls > before + 1);
    return t->f->n_calls;
}

static void endpoints_are_read_and_sorted(void)
{
    struct fixture t;

    setup_empty(&t);
    xs_fake_add_device(t.f, B, 7, 0);
    put7(&t, "viommu/config", "bypass=1");
    put7(&t, "viommu/endpoint-0000000a", "id=10 driver=soft");
    put7(&t, "viommu/endpoint-00000009", "id=9 driver=soft");
    start(&t);
    UT_STR(look(&t), "appeared 7/0");
    UT_STR(dev7(&t)->config.text, "bypass=1");
    UT_REQUIRE(dev7(&t)->n_endpoints == 2);
    UT_EQ(dev7(&t)->endpoints[0].id, 9);
    UT_STR(dev7(&t)->endpoints[0].value.text, "id=9 driver=soft");
    UT_EQ(dev7(&t)->endpoints[1].id, 10);
    UT_STR(look(&t), "");
    teardown(&t);
}

static void changes_of_endpoints_and_config_are_reported(void)
{
    struct fixture t;

    setup_one(&t);
    put7(&t, "viommu/endpoint-00000008", "id=8 driver=soft");
    UT_STR(look(&t), "endpoints 7/0=1");
    UT_STR(look(&t), "");
    put7(&t, "viommu/endpoint-00000008", "id=8 driver=soft");
    UT_STR(look(&t), "");
    put7(&t, "viommu/endpoint-00000008", "id=8 driver=soft msi=0");
    UT_STR(look(&t), "endpoints 7/0=1");
    put7(&t, "viommu/config", "bypass=1");
    put7(&t, "viommu/endpoint-00000009", "id=9 driver=soft");
    UT_STR(look(&t), "config 7/0; endpoints 7/0=2");
    xs_fake_del(t.f, xs_fake_be(B, 7, 0, "viommu/endpoint-00000008"));
    UT_STR(look(&t), "endpoints 7/0=1");
    UT_EQ(dev7(&t)->endpoints[0].id, 9);
    xs_fake_del(t.f, xs_fake_be(B, 7, 0, "viommu"));
    UT_STR(look(&t), "config 7/0; endpoints 7/0=0");
    UT_TRUE(dev7(&t)->config.text == NULL);
    teardown(&t);
}

static void what_viommuctl_writes_comes_back(void)
{
    struct config_endpoint ep = {.id = 8, .msi = true};
    struct fixture t;

    setup_one(&t);
    UT_EQ(endpoint_node_write(&t.xs, dev7(&t), &ep), 0);
    UT_STR(look(&t), "endpoints 7/0=1");
    UT_STR(dev7(&t)->endpoints[0].value.text, "id=0x8 driver=soft");
    UT_EQ(endpoint_node_remove(&t.xs, dev7(&t), 8), 0);
    UT_STR(look(&t), "endpoints 7/0=0");
    teardown(&t);
}

static void values_that_cannot_be_used_say_why(void)
{
    char text[XS_ADMIN_VALUE_MAX + 2];
    struct fixture t;

    setup_one(&t);
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    put7(&t, "viommu/config", text);
    put7(&t, "viommu/endpoint-00000008", "id=8 driver=soft\n");
    UT_STR(look(&t), "config 7/0; endpoints 7/0=1");
    UT_TRUE(dev7(&t)->config.text == NULL);
    UT_EQ((int64_t)dev7(&t)->config.error, -E2BIG);
    UT_TRUE(dev7(&t)->endpoints[0].value.text == NULL);
    UT_EQ((int64_t)dev7(&t)->endpoints[0].value.error, -EINVAL);
    UT_STR(look(&t), "");
    text[XS_ADMIN_VALUE_MAX] = '\0';
    put7(&t, "viommu/config", text);
    UT_STR(look(&t), "config 7/0");
    UT_STR(dev7(&t)->config.text, text);
    UT_EQ(dev7(&t)->config.error, 0);
    teardown(&t);
}

static void misnamed_nodes_are_ignored_with_one_warning(void)
{
    struct fixture t;

    setup_one(&t);
    put7(&t, "viommu/endpoint-8", "id=8 driver=soft");
    put7(&t, "viommu/endpoint-0000000A", "id=10 driver=soft");
    UT_STR(look(&t), "");
    UT_EQ(t.warnings, 1);
    UT_EQ(discover_rescan(t.d), 0);
    UT_EQ(t.warnings, 1);
    teardown(&t);
}

static void the_number_of_endpoints_is_limited(void)
{
    char node[40];
    uint32_t first;
    struct fixture t;

    setup_one(&t);
    for (unsigned i = 0; i <= DISCOVER_MAX_ENDPOINTS; i++) {
        snprintf(node, sizeof(node), "viommu/endpoint-%08x", i);
        put7(&t, node, "id=8 driver=soft");
    }
    UT_STR(look(&t), "endpoints 7/0=4096");
    UT_EQ(t.warnings, 1);
    /* Who was left out has a place when another one goes. */
    (void)calls_to_rest(&t);
    first = dev7(&t)->endpoints[0].id;
    snprintf(node, sizeof(node), "viommu/endpoint-%08" PRIx32, first);
    xs_fake_del(t.f, xs_fake_be(B, 7, 0, node));
    UT_STR(look(&t), "endpoints 7/0=4096");
    UT_TRUE(xs_device_endpoint(dev7(&t), first) == NULL);
    teardown(&t);
}

static void endpoint_comes(struct fixture *t, uint32_t id, bool by_hand)
{
    const struct config_endpoint ep = {.id = id, .msi = true};
    char node[40];

    snprintf(node, sizeof(node), "viommu/endpoint-%08" PRIx32, id);
    if (by_hand)
        put7(t, node, "driver=soft");
    else
        UT_EQ(endpoint_node_write(&t->xs, dev7(t), &ep), 0);
}

/* Not as many reads as there are endpoints; by viommuctl no more than a domain may have nodes. */
static void endpoints_that_come_one_by_one_cost_the_same_each(void)
{
    for (int by_hand = 0; by_hand < 2; by_hand++) {
        uint32_t n = by_hand ? DISCOVER_MAX_ENDPOINTS : 900;
        unsigned third = 0, total = 0, different = 0;
        struct fixture t;

        setup_one(&t);
        for (uint32_t i = 0; i < n; i++) {
            unsigned calls;

            t.f->n_calls = 0;
            endpoint_comes(&t, n - i, by_hand);
            calls = calls_to_rest(&t);
            total += calls;
            if (i == 2)
                third = calls;
            else if (i > 2 && calls != third)
                different++;
        }
        printf("    %s: %u endpoints, %u calls of the store\n", by_hand ? "by hand" : "viommuctl",
               (unsigned)n, total);
        UT_EQ(different, 0);
        UT_TRUE(third < 40);
        UT_EQ(dev7(&t)->n_endpoints, n);
        UT_EQ(dev7(&t)->endpoints[n - 1].id, n);
        UT_EQ(xs_fake_node(t.f, xs_fake_be(B, 7, 0, "viommu/endpoint-00000001"))->reader,
              XSC_READER_NONE);
        /* And what else happens to the device looks at none of them. */
        t.f->n_calls = 0;
        fe7(&t, "3");
        UT_TRUE(calls_to_rest(&t) < 12);
        teardown(&t);
    }
}

/* One node of a few comes, goes or has another value. */
static void change_one(struct fixture *t, uint32_t random, uint32_t values[8])
{
    uint32_t id = random % 8, value = random / 8 % 4;
    char node[40], text[40];

    snprintf(node, sizeof(node), "viommu/endpoint-%08" PRIx32, id);
    snprintf(text, sizeof(text), "driver=soft device=%" PRIu32, value);
    if (value > 0)
        put7(t, node, value < 3 ? text : "\n");
    else if (values[id] > 0)
        xs_fake_del(t->f, xs_fake_be(B, 7, 0, node));
    values[id] = value;
}

static void check_endpoints(struct fixture *t, const uint32_t values[8])
{
    const struct xs_device *dev = dev7(t);
    size_t n = 0;

    for (uint32_t id = 0; id < 8; id++) {
        const struct xs_endpoint_node *ep = xs_device_endpoint(dev, id);
        char text[40];

        UT_EQ(ep != NULL, values[id] > 0);
        if (!ep || values[id] == 0)
            continue;
        n++;
        UT_EQ(ep->id, id);
        UT_EQ(ep->value.error, values[id] == 3 ? -EINVAL : 0);
        snprintf(text, sizeof(text), "driver=soft device=%" PRIu32, values[id]);
        if (values[id] < 3)
            UT_STR(ep->value.text ? ep->value.text : "", text);
    }
    UT_EQ(dev->n_endpoints, n);
}

/* Some changes between two looks, now and then with a read that fails. */
static void any_changes_of_endpoints_are_seen_and_told(void)
{
    uint32_t values[8] = {0}, seen[8] = {0}, random = 1;
    struct fixture t;

    setup_one(&t);
    for (unsigned round = 0; round < 2000; round++) {
        const char *heard;

        random = random * 1664525u + 1013904223u;
        for (unsigned n = random >> 30; n > 0; n--) {
            random = random * 1664525u + 1013904223u;
            change_one(&t, random >> 16, values);
        }
        if (random >> 28 == 0) {
            t.f->fail_op = XS_FAKE_READ;
            t.f->fail_at = 1 + (random >> 8) % 8;
            t.f->fail_err = -ENOMEM;
            look(&t);
            t.f->fail_at = 0;
            fe7(&t, "1");
            (void)calls_to_rest(&t);
        } else {
            heard = look(&t);
            UT_EQ(strstr(heard, "endpoints 7/0") != NULL,
                  memcmp(values, seen, sizeof(values)) != 0);
            (void)calls_to_rest(&t);
        }
        memcpy(seen, values, sizeof(seen));
        check_endpoints(&t, values);
    }
    teardown(&t);
}

/* xenstore-write in dom0 leaves nodes that the guest may read: host device addresses. */
static void nodes_written_by_hand_become_private(void)
{
    static const char *const nodes[] = {"viommu", "viommu/config", "viommu/endpoint-00000008"};
    struct fixture t;

    setup_one(&t);
    put7(&t, "viommu/config", "bypass=1");
    put7(&t, "viommu/endpoint-00000008", "id=8 driver=vfio device=0000:03:00.0");
    UT_EQ(xs_fake_node(t.f, xs_fake_be(B, 7, 0, "viommu/config"))->reader, 7);
    look(&t);
    for (size_t i = 0; i < ARRAY_SIZE(nodes); i++) {
        const struct xs_fake_node *node = xs_fake_node(t.f, xs_fake_be(B, 7, 0, nodes[i]));

        UT_EQ(node->owner, B);
        UT_EQ(node->reader, XSC_READER_NONE);
    }
    /* It comes to rest: correcting is an event, and not corrected again. */
    look(&t);
    t.f->n_calls = 0;
    look(&t);
    UT_EQ(t.f->n_calls, 1);
    UT_EQ(t.f->calls[XS_FAKE_SET_PERMS], 3);
    UT_EQ(t.warnings, 0);
    teardown(&t);
}

/* --- trouble ---------------------------------------------------------------------------------- */

static void spurious_events_change_nothing(void)
{
    struct fixture t;

    setup_one(&t);
    xs_fake_spurious(t.f, "/local/domain/5/backend/virtio", "backend");
    xs_fake_spurious(t.f, "/local/domain/5/backend/virtio/7/0/state", "backend");
    xs_fake_spurious(t.f, "/local/domain/5/backend/virtio/7/0", "backend");
    xs_fake_spurious(t.f, "/local/domain/5/backend/virtio/99/0/state", "backend");
    xs_fake_spurious(t.f, "/local/domain/5/backend/virtio/99999999999999/0/state", "backend");
    xs_fake_spurious(t.f, "/local/domain/5/backend/virtiox/7/0/state", "backend");
    xs_fake_spurious(t.f, "", "backend");
    xs_fake_spurious(t.f, "/local/domain/9/device/virtio/0/state", "frontend/9/0");
    xs_fake_spurious(t.f, "x", "unheard of");
    xs_fake_spurious(t.f, "", "");
    UT_STR(look(&t), "");
    UT_EQ(t.f->n_watches, 2);
    teardown(&t);
}

static void lost_events_are_made_good_by_the_next_full_look(void)
{
    struct fixture t;

    setup_one(&t);
    t.f->drop_events = true;
    fe7(&t, "3");
    xs_fake_add_device(t.f, B, 8, 0);
    t.f->drop_events = false;
    UT_STR(look(&t), "");
    xs_fake_add_device(t.f, B, 9, 0);
    UT_STR(look(&t), "appeared 9/0; appeared 8/0; fe 7/0=3");
    t.f->drop_events = true;
    xs_fake_remove_device(t.f, B, 8, 0);
    put7(&t, "online", "0");
    UT_EQ(discover_rescan(t.d), 0);
    UT_STR(look(&t), "closing 7/0; vanished 8/0");
    teardown(&t);
}

struct at_call {
    unsigned call;
};

static void remove_at_call(struct xs_fake *f, enum xs_fake_op op UNUSED, const char *path UNUSED,
                           void *ctx)
{
    const struct at_call *at = ctx;

    if (f->n_calls == at->call)
        xs_fake_remove_device(f, B, 7, 0);
}

/* The directories go before each single call that the first look makes. */
static void a_device_that_vanishes_while_it_is_read(void)
{
    unsigned n_calls = 1;

    for (unsigned call = 1; call <= n_calls; call++) {
        struct at_call at = {call};
        struct fixture t;

        setup_empty(&t);
        start(&t);
        look(&t);
        xs_fake_add_device(t.f, B, 7, 0);
        put7(&t, "viommu/config", "bypass=1");
        put7(&t, "viommu/endpoint-00000008", "id=8 driver=soft");
        t.f->n_calls = 0;
        look(&t);
        n_calls = t.f->n_calls;
        xs_fake_remove_device(t.f, B, 7, 0);
        look(&t);
        /* Again, with the interference. */
        xs_fake_add_device(t.f, B, 7, 0);
        put7(&t, "viommu/config", "bypass=1");
        put7(&t, "viommu/endpoint-00000008", "id=8 driver=soft");
        t.f->n_calls = 0;
        t.f->hook = remove_at_call;
        t.f->hook_ctx = &at;
        look(&t);
        t.f->hook = NULL;
        look(&t);
        look(&t);
        UT_EQ(t.live, 0);
        UT_TRUE(discover_first(t.d) == NULL);
        UT_EQ(t.f->n_watches, 1);
        UT_TRUE(xs_fake_node(t.f, xs_fake_be(B, 7, 0, NULL)) == NULL);
        teardown(&t);
    }
    UT_TRUE(n_calls > 20);
}

/* And before each call of a look at a device that is known. */
static void a_known_device_that_vanishes_while_it_is_read(void)
{
    for (unsigned call = 1; call <= 16; call++) {
        struct at_call at = {call};
        struct fixture t;

        setup_one(&t);
        put7(&t, "viommu/config", "bypass=1");
        look(&t);
        look(&t);
        t.f->n_calls = 0;
        fe7(&t, "3");
        put7(&t, "viommu/endpoint-00000008", "id=8 driver=soft");
        t.f->hook = remove_at_call;
        t.f->hook_ctx = &at;
        look(&t);
        t.f->hook = NULL;
        if (t.f->n_calls < call)
            xs_fake_remove_device(t.f, B, 7, 0);
        look(&t);
        look(&t);
        UT_EQ(t.live, 0);
        UT_EQ(t.f->n_watches, 1);
        teardown(&t);
    }
}

/* Each call of the first look fails once: nothing is half there, and the next look gets it. */
static void a_failing_call_is_made_good_by_the_next_look(void)
{
    static const int errors[] = {-ENOMEM, -ENOSPC, -EACCES};

    for (unsigned op = 0; op < XS_FAKE_NEXT_EVENT; op++) {
        for (unsigned at = 1; at < 14; at++) {
            for (size_t e = 0; e < ARRAY_SIZE(errors); e++) {
                struct fixture t;

                if (op == XS_FAKE_UNWATCH || op == XS_FAKE_SET_PERMS)
                    continue;
                setup_empty(&t);
                start(&t);
                look(&t);
                xs_fake_add_device(t.f, B, 7, 0);
                put7(&t, "viommu/endpoint-00000008", "id=8 driver=soft");
                t.f->fail_op = (enum xs_fake_op)op;
                t.f->fail_at = at;
                t.f->fail_err = errors[e];
                look(&t);
                t.f->fail_at = 0;
                UT_TRUE(t.live <= 1);
                UT_EQ(t.f->n_watches, 1 + t.live);
                UT_EQ(discover_rescan(t.d), 0);
                UT_EQ(discover_rescan(t.d), 0);
                UT_EQ(t.live, 1);
                UT_REQUIRE(dev7(&t) != NULL);
                UT_EQ(dev7(&t)->n_endpoints, 1);
                UT_TRUE(dev7(&t)->endpoints[0].value.text != NULL);
                UT_EQ(dev7(&t)->fe_state, XENBUS_INITIALISING);
                teardown(&t);
            }
        }
    }
}

/* Not knowing is no reason to end a device that is connected. */
static void a_failing_look_ends_no_device(void)
{
    for (unsigned at = 1; at < 14; at++) {
        for (unsigned op = XS_FAKE_READ; op <= XS_FAKE_LIST; op += XS_FAKE_LIST) {
            struct fixture t;

            setup_one(&t);
            fe7(&t, "3");
            look(&t);
            fe7(&t, "4");
            t.f->fail_op = (enum xs_fake_op)op;
            t.f->fail_at = at;
            t.f->fail_err = -ENOMEM;
            UT_EQ(discover_rescan(t.d), 0);
            t.f->fail_at = 0;
            UT_EQ(t.live, 1);
            UT_TRUE(strstr(t.heard, "vanished") == NULL);
            look(&t);
            UT_EQ(dev7(&t)->fe_state, XENBUS_CONNECTED);
            teardown(&t);
        }
    }
}

/* The event of a change was taken, but its look failed: the next turn repeats it. */
static void a_failed_look_is_repeated(void)
{
    struct fixture t;

    setup_one(&t);
    fe7(&t, "3");
    t.f->fail_op = XS_FAKE_READ;
    t.f->fail_at = 1;
    t.f->fail_err = -ENOMEM;
    UT_STR(look(&t), "");
    UT_STR(look(&t), "fe 7/0=3");
    teardown(&t);
}

static void a_lost_connection_is_reported(void)
{
    struct fixture t;
    struct discover *d = NULL;

    setup_one(&t);
    t.f->fail_all = true;
    t.f->fail_err = -EIO;
    UT_EQ((int64_t)discover_run(t.d), -EIO);
    UT_EQ((int64_t)discover_rescan(t.d), -EIO);
    UT_EQ((int64_t)discover_new(&d, &t.xs, B, &ops, &t), -EIO);
    UT_TRUE(d == NULL);
    UT_EQ(t.live, 1);
    UT_STR(t.heard, "");
    teardown(&t);
    /* In the middle of a scan: nothing is swept. */
    for (unsigned at = 1; at < 8; at++) {
        setup_one(&t);
        t.f->fail_op = XS_FAKE_READ;
        t.f->fail_at = at;
        t.f->fail_err = -EIO;
        UT_EQ((int64_t)discover_rescan(t.d), at <= 4 ? -EIO : 0);
        t.f->fail_at = 0;
        UT_EQ(t.live, 1);
        teardown(&t);
    }
}

/* A new connection has no watches, and hears of nothing that was before it. */
static void lose_watches(struct fixture *t)
{
    while (t->f->n_watches > 0)
        UT_EQ(t->xs.ops->unwatch(t->xs.ctx, t->f->watches[0].path, t->f->watches[0].token), 0);
}

static void another_connection_has_all_watches_and_looks_at_everything(void)
{
    struct fixture t;

    setup_one(&t);
    xs_fake_add_device(t.f, B, 8, 0);
    UT_STR(look(&t), "appeared 8/0");
    lose_watches(&t);
    fe7(&t, "1"); /* as before: it starts over */
    xs_fake_remove_device(t.f, B, 8, 0);
    xs_fake_add_device(t.f, B, 9, 0);
    UT_EQ(discover_reconnect(t.d), 0);
    UT_STR(look(&t), "appeared 9/0; fe 7/0=1; vanished 8/0");
    UT_STR(look(&t), "");
    UT_EQ(t.f->n_watches, 3);
    fe7(&t, "3");
    UT_STR(look(&t), "fe 7/0=3");
    put7(&t, "online", "0");
    UT_STR(look(&t), "closing 7/0");
    teardown(&t);
}

/* The connection is lost with the reply to that write; whatever follows fails, too. */
static void write_and_lose(struct fixture *t, enum xenbus_state state)
{
    t->f->lose_at = 1;
    UT_EQ((int64_t)publish_state(&t->xs, dev7(t), state), -EIO);
    t->f->fail_all = true;
    t->f->fail_err = -EIO;
    UT_EQ((int64_t)publish_state(&t->xs, dev7(t), XENBUS_CLOSED), -EIO);
    t->f->fail_all = false;
    lose_watches(t);
}

/* Else the device would end for good, where its frontend may start over. */
static void our_own_5_is_not_the_toolstacks_though_its_reply_was_lost(void)
{
    struct fixture t;

    setup_one(&t);
    UT_EQ(publish_state(&t.xs, dev7(&t), XENBUS_CONNECTED), 0);
    UT_STR(look(&t), "");
    write_and_lose(&t, XENBUS_CLOSING);
    UT_STR(xs_fake_get(t.f, xs_fake_be(B, 7, 0, "state")), "5");
    UT_EQ(dev7(&t)->own_state, XENBUS_CONNECTED);
    /* Nor for a write that comes before the look. */
    UT_EQ(publish_endpoints(&t.xs, dev7(&t), ""), 0);
    UT_EQ(discover_reconnect(t.d), 0);
    UT_STR(look(&t), "fe 7/0=1");
    UT_EQ(dev7(&t)->own_state, XENBUS_CLOSING);
    UT_EQ(publish_state(&t.xs, dev7(&t), XENBUS_CLOSED), 0);
    UT_STR(look(&t), "");
    UT_EQ(t.warnings, 0);
    /* One that comes later is. */
    put7(&t, "state", "5");
    UT_STR(look(&t), "closing 7/0");
    teardown(&t);
}

static void the_toolstacks_5_is_told_after_a_lost_reply(void)
{
    static const enum xenbus_state ours[] = {XENBUS_CONNECTED, XENBUS_CLOSING};

    for (size_t i = 0; i < ARRAY_SIZE(ours); i++) {
        struct fixture t;

        setup_one(&t);
        UT_EQ(publish_state(&t.xs, dev7(&t), XENBUS_INIT_WAIT), 0);
        UT_STR(look(&t), "");
        write_and_lose(&t, ours[i]);
        put7(&t, "state", "5");
        /* libxl always does, and can be told by that when ours was a 5, too. */
        if (ours[i] == XENBUS_CLOSING)
            put7(&t, "online", "0");
        UT_EQ(discover_reconnect(t.d), 0);
        UT_STR(look(&t), "closing 7/0; fe 7/0=1");
        teardown(&t);
    }
}

/* Nothing was written: what is unsure is forgotten with the look. */
static void a_5_that_was_never_written_is_not_expected_later(void)
{
    struct fixture t;

    setup_one(&t);
    UT_EQ(publish_state(&t.xs, dev7(&t), XENBUS_CONNECTED), 0);
    t.f->fail_op = XS_FAKE_TX_END;
    t.f->fail_at = 1;
    t.f->fail_err = -EIO;
    UT_EQ((int64_t)publish_state(&t.xs, dev7(&t), XENBUS_CLOSING), -EIO);
    UT_EQ(discover_reconnect(t.d), 0);
    UT_STR(look(&t), "fe 7/0=1");
    UT_EQ(dev7(&t)->own_state, XENBUS_CONNECTED);
    put7(&t, "state", "5");
    UT_STR(look(&t), "closing 7/0");
    teardown(&t);
}

static void another_connection_that_is_lost_too_ends_no_device(void)
{
    static const enum xs_fake_op calls[] = {XS_FAKE_WATCH, XS_FAKE_LIST, XS_FAKE_READ};
    struct fixture t;

    for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
        setup_one(&t);
        lose_watches(&t);
        t.f->fail_op = calls[i];
        t.f->fail_at = 1;
        t.f->fail_err = -EIO;
        UT_EQ((int64_t)discover_reconnect(t.d), -EIO);
        t.f->fail_at = 0;
        UT_EQ(t.live, 1);
        UT_EQ(discover_reconnect(t.d), 0);
        UT_EQ(t.f->n_watches, 2);
        teardown(&t);
    }
}

static void the_quota_of_watches_leaves_devices_out_until_there_is_room(void)
{
    struct fixture t;

    setup_one(&t);
    while (t.f->n_watches < XS_FAKE_WATCHES) {
        char token[16];

        snprintf(token, sizeof(token), "%zu", t.f->n_watches);
        UT_REQUIRE(t.xs.ops->watch(t.f, "/x", token) == 0);
    }
    xs_fake_add_device(t.f, B, 8, 0);
    UT_STR(look(&t), "");
    UT_TRUE(t.warnings > 0);
    UT_TRUE(discover_find(t.d, 8, 0) == NULL);
    /* 7/0 goes and leaves its watch to 8/0. */
    xs_fake_remove_device(t.f, B, 7, 0);
    look(&t);
    UT_EQ(discover_rescan(t.d), 0);
    UT_TRUE(discover_find(t.d, 8, 0) != NULL);
    for (size_t i = t.f->n_watches; i-- > 0;) {
        if (strcmp(t.f->watches[i].path, "/x") == 0)
            UT_EQ(t.xs.ops->unwatch(t.f, "/x", t.f->watches[i].token), 0);
    }
    teardown(&t);
}

/* --- the frontend's nodes --------------------------------------------------------------------- */

static void frontend_nodes_are_handed_on_as_they_are(void)
{
    struct config_fe_raw raw;
    char text[300];
    struct fixture t;

    setup_one(&t);
    memset(text, 'x', sizeof(text));
    xs_fake_put(t.f, xs_fake_fe(7, 0, "viommu-version"), "1");
    xs_fake_put(t.f, xs_fake_fe(7, 0, "viommu-features"), "not a number");
    xs_fake_put_bytes(t.f, xs_fake_fe(7, 0, "viommu-control"), text, 256);
    xs_fake_put_bytes(t.f, xs_fake_fe(7, 0, "viommu-queue-0"), "a\0b", 3);
    UT_EQ(discover_frontend_nodes(&t.xs, dev7(&t), &raw), 0);
    UT_EQ(raw.node[CONFIG_FE_VERSION].status, CONFIG_FE_PRESENT);
    UT_STR(raw.node[CONFIG_FE_VERSION].text, "1");
    UT_STR(raw.node[CONFIG_FE_FEATURES].text, "not a number");
    UT_EQ(raw.node[CONFIG_FE_CONTROL].status, CONFIG_FE_TOO_LONG);
    UT_EQ(raw.node[CONFIG_FE_QUEUE_0].status, CONFIG_FE_BAD_BYTES);
    UT_EQ(raw.node[CONFIG_FE_QUEUE_1].status, CONFIG_FE_ABSENT);
    t.f->unreadable = "/local/domain/7";
    UT_EQ(discover_frontend_nodes(&t.xs, dev7(&t), &raw), 0);
    for (unsigned i = 0; i < CONFIG_FE_N_NODES; i++) {
        UT_EQ(raw.node[i].status, CONFIG_FE_ABSENT);
        UT_STR(raw.node[i].text, "");
    }
    t.f->unreadable = NULL;
    for (unsigned at = 1; at <= CONFIG_FE_N_NODES; at++) {
        t.f->fail_op = XS_FAKE_READ;
        t.f->fail_at = at;
        t.f->fail_err = -ENOMEM;
        UT_EQ((int64_t)discover_frontend_nodes(&t.xs, dev7(&t), &raw), -ENOMEM);
    }
    teardown(&t);
}

static void freeing_nothing_is_fine(void)
{
    UT_TRUE(discover_free(NULL) == NULL);
}

int main(int argc, char **argv)
{
    static const struct ut_case cases[] = {
        UT_CASE(nothing_there_is_fine),
        UT_CASE(devices_that_are_there_already_appear),
        UT_CASE(a_device_appears_when_libxl_makes_it),
        UT_CASE(other_devices_are_left_alone),
        UT_CASE(only_canonical_names_are_devices),
        UT_CASE(what_was_left_behind_is_found_as_it_is),
        UT_CASE(every_state_of_the_frontend_is_reported),
        UT_CASE(garbage_states_are_ignored),
        UT_CASE(the_same_state_written_again_is_reported_again),
        UT_CASE(a_frontend_that_goes_is_reported_once),
        UT_CASE(an_unreadable_frontend_is_gone),
        UT_CASE(a_storm_of_one_guest_is_one_look_at_one_device),
        UT_CASE(events_beyond_the_budget_wait_for_the_next_turn),
        UT_CASE(state_5_and_online_0_close),
        UT_CASE(a_second_5_over_our_6_closes_again),
        UT_CASE(our_own_states_are_no_news),
        UT_CASE(a_vanished_directory_is_reported),
        UT_CASE(a_directory_made_anew_is_another_device),
        UT_CASE(a_device_made_anew_with_another_type_is_not_ours),
        UT_CASE(endpoints_are_read_and_sorted),
        UT_CASE(changes_of_endpoints_and_config_are_reported),
        UT_CASE(what_viommuctl_writes_comes_back),
        UT_CASE(values_that_cannot_be_used_say_why),
        UT_CASE(misnamed_nodes_are_ignored_with_one_warning),
        UT_CASE(the_number_of_endpoints_is_limited),
        UT_CASE(endpoints_that_come_one_by_one_cost_the_same_each),
        UT_CASE(any_changes_of_endpoints_are_seen_and_told),
        UT_CASE(nodes_written_by_hand_become_private),
        UT_CASE(spurious_events_change_nothing),
        UT_CASE(lost_events_are_made_good_by_the_next_full_look),
        UT_CASE(a_device_that_vanishes_while_it_is_read),
        UT_CASE(a_known_device_that_vanishes_while_it_is_read),
        UT_CASE(a_failing_call_is_made_good_by_the_next_look),
        UT_CASE(a_failing_look_ends_no_device),
        UT_CASE(a_failed_look_is_repeated),
        UT_CASE(a_lost_connection_is_reported),
        UT_CASE(another_connection_has_all_watches_and_looks_at_everything),
        UT_CASE(our_own_5_is_not_the_toolstacks_though_its_reply_was_lost),
        UT_CASE(the_toolstacks_5_is_told_after_a_lost_reply),
        UT_CASE(a_5_that_was_never_written_is_not_expected_later),
        UT_CASE(another_connection_that_is_lost_too_ends_no_device),
        UT_CASE(the_quota_of_watches_leaves_devices_out_until_there_is_room),
        UT_CASE(frontend_nodes_are_handed_on_as_they_are),
        UT_CASE(freeing_nothing_is_fine),
    };

    return ut_main(argc, argv, "discover", cases, ARRAY_SIZE(cases));
}
