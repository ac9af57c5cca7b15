/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Writing to xenstore: what is written and for whom, and above all when nothing may be written:
 * into a directory that libxl removed or made anew, at any moment of our transaction.
 */
#include <config.h>

#include "xenstore/publish.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/compiler.h"
#include "tests/support/ut.h"
#include "tests/support/xs_fake.h"

#define B 5u
#define F 7u

struct fixture {
    struct xs_fake *f;
    struct xsc xs;
    struct xs_device dev;
};

static void setup(struct fixture *t)
{
    memset(t, 0, sizeof(*t));
    t->f = xs_fake_new(B);
    t->xs = xs_fake_client(t->f);
    xs_fake_add_device(t->f, B, F, 0);
    t->dev = (struct xs_device){.domid = F, .backend_domid = B, .own_state = XENBUS_INITIALISING};
    memcpy(t->dev.path, xs_fake_be(B, F, 0, NULL), strlen(xs_fake_be(B, F, 0, NULL)) + 1);
}

static void teardown(struct fixture *t)
{
    t->f = xs_fake_free(t->f);
}

static const char *be(const struct fixture *t, const char *node)
{
    return xs_fake_get(t->f, xs_fake_be(B, F, 0, node));
}

static const struct publish_offer offer = {
    .features = UINT64_C(0x33000007f),
    .queue_size = 1024,
    .map_pages = 64,
    .grant_pages = 65536,
    .endpoints = "id=0x8 dma=soft;id=0x9 dma=translated guest=pci:0000:00:05.0",
};

static void readable_by_guest(const struct fixture *t, const char *node)
{
    const struct xs_fake_node *n = xs_fake_node(t->f, xs_fake_be(B, F, 0, node));

    UT_REQUIRE(n != NULL);
    UT_EQ(n->owner, B);
    UT_EQ(n->reader, F);
}

static void private_to_us(const struct fixture *t, const char *node)
{
    const struct xs_fake_node *n = xs_fake_node(t->f, xs_fake_be(B, F, 0, node));

    UT_REQUIRE(n != NULL);
    UT_EQ(n->owner, B);
    UT_EQ(n->reader, XSC_READER_NONE);
}

static void the_offer_is_as_the_protocol_says(void)
{
    static const char *const nodes[] = {"viommu-version", "viommu-features", "viommu-limits",
                                        "viommu-endpoints"};
    struct fixture t;

    setup(&t);
    UT_EQ(publish_nodes(&t.xs, &t.dev, &offer), 0);
    UT_TRUE(t.dev.published);
    UT_STR(be(&t, "viommu-version"), "1");
    UT_STR(be(&t, "viommu-features"), "0x000000033000007f");
    UT_STR(be(&t, "viommu-limits"), "queue-size=1024 map-pages=64 grant-pages=65536");
    UT_STR(be(&t, "viommu-endpoints"), offer.endpoints);
    UT_STR(be(&t, "state"), "1");
    for (size_t i = 0; i < ARRAY_SIZE(nodes); i++)
        readable_by_guest(&t, nodes[i]);
    teardown(&t);
}

static void the_state_follows_what_is_written(void)
{
    static const enum xenbus_state states[] = {XENBUS_INIT_WAIT, XENBUS_CONNECTED, XENBUS_CLOSING,
                                               XENBUS_CLOSED, XENBUS_INIT_WAIT};
    static const char *const texts[] = {"2", "4", "5", "6", "2"};
    struct fixture t;

    setup(&t);
    for (size_t i = 0; i < ARRAY_SIZE(states); i++) {
        UT_EQ(publish_state(&t.xs, &t.dev, states[i]), 0);
        UT_STR(be(&t, "state"), texts[i]);
        UT_EQ(t.dev.own_state, states[i]);
        readable_by_guest(&t, "state");
    }
    teardown(&t);
}

static void only_our_four_states_can_be_written(void)
{
    static const enum xenbus_state bad[] = {XENBUS_NONE, XENBUS_INITIALISING, XENBUS_INITIALISED,
                                            XENBUS_GONE, (enum xenbus_state)99};
    struct fixture t;

    setup(&t);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        UT_EQ((int64_t)publish_state(&t.xs, &t.dev, bad[i]), -EINVAL);
    UT_STR(be(&t, "state"), "1");
    UT_EQ(t.dev.own_state, XENBUS_INITIALISING);
    UT_EQ(t.f->n_calls, 0);
    teardown(&t);
}

static void the_error_text_is_made_harmless(void)
{
    char text[400], want[256];
    struct fixture t;

    setup(&t);
    UT_EQ(publish_error(&t.xs, &t.dev, "viommu-queue-0:\nsize=\x1b[1m\xff"), 0);
    UT_STR(be(&t, "error"), "viommu-queue-0:?size=?[1m?");
    readable_by_guest(&t, "error");
    memset(text, 'e', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    memset(want, 'e', 255);
    want[255] = '\0';
    UT_EQ(publish_error(&t.xs, &t.dev, text), 0);
    UT_STR(be(&t, "error"), want);
    UT_EQ(publish_error_clear(&t.xs, &t.dev), 0);
    UT_TRUE(be(&t, "error") == NULL);
    UT_EQ(publish_error_clear(&t.xs, &t.dev), 0);
    teardown(&t);
}

static void endpoints_from_a_worker_are_checked(void)
{
    static const char *const bad[] = {"id=0x8\n", "id=\"8\"", "id=0x8 dma=SOFT", "\x80",
                                      "id=0x8,",  "../x",     "id=0x8\t"};
    char text[XS_ENDPOINTS_VALUE_MAX + 2];
    struct publish_offer o = offer;
    struct fixture t;

    setup(&t);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        UT_EQ((int64_t)publish_endpoints(&t.xs, &t.dev, bad[i]), -EINVAL);
        o.endpoints = bad[i];
        UT_EQ((int64_t)publish_nodes(&t.xs, &t.dev, &o), -EINVAL);
    }
    o.endpoints = NULL;
    UT_EQ((int64_t)publish_nodes(&t.xs, &t.dev, &o), -EINVAL);
    memset(text, 'a', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    UT_EQ((int64_t)publish_endpoints(&t.xs, &t.dev, text), -EINVAL);
    UT_TRUE(be(&t, "viommu-endpoints") == NULL);
    UT_FALSE(t.dev.published);
    text[XS_ENDPOINTS_VALUE_MAX] = '\0';
    UT_EQ(publish_endpoints(&t.xs, &t.dev, text), 0);
    UT_STR(be(&t, "viommu-endpoints"), text);
    UT_EQ(publish_endpoints(&t.xs, &t.dev, ""), 0);
    UT_STR(be(&t, "viommu-endpoints"), "");
    readable_by_guest(&t, "viommu-endpoints");
    teardown(&t);
}

/* --- nothing is resurrected ------------------------------------------------------------------- */

static const struct config_endpoint soft_8 = {.id = 8, .msi = true};

/* Everything that writes, by number. */
#define N_WRITERS 10
static int writer(struct fixture *t, unsigned i)
{
    switch (i) {
    case 0:
        return publish_nodes(&t->xs, &t->dev, &offer);
    case 1:
        return publish_endpoints(&t->xs, &t->dev, "id=0x8 dma=soft");
    case 2:
        return publish_error(&t->xs, &t->dev, "reason");
    case 3:
        return publish_error_clear(&t->xs, &t->dev);
    case 4:
        return publish_state(&t->xs, &t->dev, XENBUS_INIT_WAIT);
    case 5:
        return publish_state(&t->xs, &t->dev, XENBUS_CONNECTED);
    case 6:
        return publish_state(&t->xs, &t->dev, XENBUS_CLOSING);
    case 7:
        return publish_state(&t->xs, &t->dev, XENBUS_CLOSED);
    case 8:
        return endpoint_node_write(&t->xs, &t->dev, &soft_8);
    default:
        return endpoint_node_remove(&t->xs, &t->dev, 8);
    }
}

/* Writer i fails with err and leaves store and device as they are. */
static void expect_refused(struct fixture *t, unsigned i, int err)
{
    cleanup_free char *before = xs_fake_dump(t->f);
    cleanup_free char *after = NULL;
    struct xs_device dev = t->dev;

    UT_EQ((int64_t)writer(t, i), (int64_t)err);
    after = xs_fake_dump(t->f);
    UT_STR(after, before);
    UT_TRUE(memcmp(&dev, &t->dev, sizeof(dev)) == 0);
    UT_TRUE(t->f->tx == NULL);
}

static void a_removed_directory_stays_removed(void)
{
    for (unsigned i = 0; i < N_WRITERS; i++) {
        struct fixture t;

        setup(&t);
        xs_fake_remove_device(t.f, B, F, 0);
        expect_refused(&t, i, -ENOENT);
        UT_TRUE(xs_fake_node(t.f, xs_fake_be(B, F, 0, NULL)) == NULL);
        teardown(&t);
    }
}

struct at_call {
    unsigned call;
    void (*act)(struct xs_fake *f);
};

static void act_at_call(struct xs_fake *f, enum xs_fake_op op UNUSED, const char *path UNUSED,
                        void *ctx)
{
    const struct at_call *at = ctx;

    if (f->n_calls == at->call)
        at->act(f);
}

static void remove_it(struct xs_fake *f)
{
    xs_fake_remove_device(f, B, F, 0);
}

static void replace_it(struct xs_fake *f)
{
    xs_fake_remove_device(f, B, F, 0);
    xs_fake_add_device(f, B, F, 0);
}

static void close_it(struct xs_fake *f)
{
    xs_fake_put(f, xs_fake_be(B, F, 0, "online"), "0");
    xs_fake_put(f, xs_fake_be(B, F, 0, "state"), "5");
}

/* The toolstack acts before each single call of each writer. */
static void a_directory_removed_at_any_step_stays_removed(void)
{
    for (unsigned i = 0; i < N_WRITERS; i++) {
        unsigned n_calls = 1;

        for (unsigned call = 1; call <= n_calls; call++) {
            struct at_call at = {call, remove_it};
            struct fixture t;

            setup(&t);
            if (i == 9)
                UT_EQ(endpoint_node_write(&t.xs, &t.dev, &soft_8), 0);
            t.f->n_calls = 0;
            t.f->hook = act_at_call;
            t.f->hook_ctx = &at;
            UT_EQ((int64_t)writer(&t, i), -ENOENT);
            UT_TRUE(xs_fake_node(t.f, xs_fake_be(B, F, 0, NULL)) == NULL);
            UT_EQ(t.dev.own_state, XENBUS_INITIALISING);
            UT_FALSE(t.dev.published);
            if (call == 1) {
                /* How many calls does it make when nothing happens? */
                teardown(&t);
                setup(&t);
                if (i == 9)
                    UT_EQ(endpoint_node_write(&t.xs, &t.dev, &soft_8), 0);
                t.f->n_calls = 0;
                UT_EQ(writer(&t, i), 0);
                n_calls = t.f->n_calls;
                UT_TRUE(n_calls >= 4);
            }
            teardown(&t);
        }
    }
}

static void another_directory_in_its_place_is_left_alone(void)
{
    for (unsigned i = 0; i < N_WRITERS; i++) {
        for (unsigned call = 1; call < 5; call++) {
            struct at_call at = {call, replace_it};
            struct fixture t;

            setup(&t);
            UT_EQ(publish_nodes(&t.xs, &t.dev, &offer), 0);
            UT_EQ(publish_state(&t.xs, &t.dev, XENBUS_INIT_WAIT), 0);
            UT_EQ(publish_state(&t.xs, &t.dev, XENBUS_CONNECTED), 0);
            if (i == 9)
                UT_EQ(endpoint_node_write(&t.xs, &t.dev, &soft_8), 0);
            t.f->n_calls = 0;
            t.f->hook = act_at_call;
            t.f->hook_ctx = &at;
            UT_EQ((int64_t)writer(&t, i), -ESTALE);
            UT_STR(be(&t, "state"), "1");
            UT_TRUE(be(&t, "viommu-version") == NULL);
            UT_TRUE(be(&t, "error") == NULL);
            UT_TRUE(be(&t, "viommu/endpoint-00000008") == NULL);
            teardown(&t);
        }
    }
}

/* Replaced between viommu-* and state 2: both directories show state 1. */
static void a_new_directory_shows_by_our_missing_nodes(void)
{
    struct fixture t;

    setup(&t);
    UT_EQ(publish_nodes(&t.xs, &t.dev, &offer), 0);
    replace_it(t.f);
    for (unsigned i = 0; i < N_WRITERS; i++)
        expect_refused(&t, i, -ESTALE);
    teardown(&t);
}

static void a_toolstacks_5_is_not_overwritten_but_by_6(void)
{
    static const bool allowed[N_WRITERS] = {[2] = true, [3] = true, [7] = true};

    /* Endpoint nodes (8, 9) are the administrator's: not our concern here. */
    for (unsigned i = 0; i < 8; i++) {
        for (unsigned call = 1; call < 5; call++) {
            struct at_call at = {call, close_it};
            struct fixture t;

            setup(&t);
            t.f->hook = act_at_call;
            t.f->hook_ctx = &at;
            UT_EQ((int64_t)writer(&t, i), allowed[i] ? 0 : -ECANCELED);
            UT_STR(be(&t, "state"), i == 7 ? "6" : "5");
            teardown(&t);
        }
    }
}

static void online_0_alone_closes_too(void)
{
    struct fixture t;

    setup(&t);
    xs_fake_put(t.f, xs_fake_be(B, F, 0, "online"), "0");
    expect_refused(&t, 0, -ECANCELED);
    expect_refused(&t, 4, -ECANCELED);
    expect_refused(&t, 6, -ECANCELED);
    UT_EQ(publish_state(&t.xs, &t.dev, XENBUS_CLOSED), 0);
    teardown(&t);
}

static void our_own_5_is_not_taken_for_the_toolstacks(void)
{
    struct fixture t;

    setup(&t);
    UT_EQ(publish_state(&t.xs, &t.dev, XENBUS_CLOSING), 0);
    UT_EQ(publish_endpoints(&t.xs, &t.dev, ""), 0);
    UT_EQ(publish_state(&t.xs, &t.dev, XENBUS_CLOSED), 0);
    UT_EQ(publish_state(&t.xs, &t.dev, XENBUS_INIT_WAIT), 0);
    teardown(&t);
}

static void foreign_values_of_state_and_online_are_survived(void)
{
    static const char *const values[] = {"", "garbage that is longer than any number could be",
                                         "99", "3"};
    struct fixture t;

    setup(&t);
    for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
        xs_fake_put(t.f, xs_fake_be(B, F, 0, "online"), values[i]);
        xs_fake_put(t.f, xs_fake_be(B, F, 0, "state"), values[i]);
        UT_EQ(publish_state(&t.xs, &t.dev, XENBUS_INIT_WAIT), 0);
        UT_STR(be(&t, "state"), "2");
    }
    xs_fake_del(t.f, xs_fake_be(B, F, 0, "online"));
    UT_EQ(publish_state(&t.xs, &t.dev, XENBUS_CONNECTED), 0);
    teardown(&t);
}

static void any_failing_call_leaves_everything_as_it_was(void)
{
    for (unsigned i = 0; i < N_WRITERS; i++) {
        for (unsigned op = 0; op < XS_FAKE_N_OPS; op++) {
            for (unsigned at = 1; at < 8; at++) {
                struct fixture t;

                setup(&t);
                if (i == 9)
                    UT_EQ(endpoint_node_write(&t.xs, &t.dev, &soft_8), 0);
                t.f->fail_err = -ENOSPC;
                t.f->fail_op = (enum xs_fake_op)op;
                t.f->fail_at = at;
                /* The existence test of endpoint_node_write wants -ENOENT, so it fails too. */
                {
                    cleanup_free char *before = xs_fake_dump(t.f);
                    int r = writer(&t, i);

                    if (t.f->fail_at == 0) {
                        cleanup_free char *after = xs_fake_dump(t.f);

                        UT_EQ((int64_t)r, -ENOSPC);
                        UT_STR(after, before);
                    } else {
                        UT_EQ(r, 0);
                    }
                }
                teardown(&t);
            }
        }
    }
}

static void storms_of_conflicts_end(void)
{
    struct fixture t;

    setup(&t);
    t.f->conflicts = 1000;
    expect_refused(&t, 4, -EAGAIN);
    t.f->conflicts = 3;
    UT_EQ(publish_state(&t.xs, &t.dev, XENBUS_INIT_WAIT), 0);
    teardown(&t);
}

/* --- the end ---------------------------------------------------------------------------------- */

static void the_directory_goes_when_the_toolstack_waits_for_it(void)
{
    struct fixture t;

    setup(&t);
    close_it(t.f);
    UT_EQ(publish_state(&t.xs, &t.dev, XENBUS_CLOSED), 0);
    UT_EQ(publish_remove(&t.xs, &t.dev), 0);
    UT_TRUE(xs_fake_node(t.f, xs_fake_be(B, F, 0, NULL)) == NULL);
    UT_TRUE(xs_fake_node(t.f, xs_fake_fe(F, 0, NULL)) != NULL);
    /* Gone already: fine, too. */
    UT_EQ(publish_remove(&t.xs, &t.dev), 0);
    UT_TRUE(xs_fake_node(t.f, xs_fake_be(B, F, 0, NULL)) == NULL);
    teardown(&t);
}

/* Refused or not needed, and in any case unchanged. */
static void expect_not_removed(struct fixture *t, int result)
{
    cleanup_free char *before = xs_fake_dump(t->f);
    cleanup_free char *after = NULL;

    UT_EQ((int64_t)publish_remove(&t->xs, &t->dev), (int64_t)result);
    after = xs_fake_dump(t->f);
    UT_STR(after, before);
    UT_TRUE(t->f->tx == NULL);
}

static void a_directory_that_nobody_removes_stays(void)
{
    struct fixture t;

    setup(&t);
    UT_EQ(publish_state(&t.xs, &t.dev, XENBUS_CLOSED), 0);
    expect_not_removed(&t, 0); /* online */
    xs_fake_put(t.f, xs_fake_be(B, F, 0, "online"), "garbage");
    expect_not_removed(&t, 0);
    xs_fake_del(t.f, xs_fake_be(B, F, 0, "online"));
    expect_not_removed(&t, 0);
    xs_fake_put(t.f, xs_fake_be(B, F, 0, "online"), "0");
    t.dev.backend_domid = 0; /* libxl does it itself in dom0 */
    expect_not_removed(&t, 0);
    t.dev.backend_domid = B;
    xs_fake_put(t.f, xs_fake_be(B, F, 0, "state"), "5");
    expect_not_removed(&t, -ESTALE);
    replace_it(t.f);
    xs_fake_put(t.f, xs_fake_be(B, F, 0, "online"), "0");
    expect_not_removed(&t, -ESTALE);
    t.dev.own_state = XENBUS_CONNECTED;
    expect_not_removed(&t, -ECANCELED);
    teardown(&t);
}

/* The toolstack makes the directory anew before each call that removing the old one makes. */
static void a_new_directory_is_not_removed_for_the_old_one(void)
{
    for (unsigned call = 1; call < 6; call++) {
        struct at_call at = {call, replace_it};
        struct fixture t;

        setup(&t);
        close_it(t.f);
        UT_EQ(publish_state(&t.xs, &t.dev, XENBUS_CLOSED), 0);
        t.f->n_calls = 0;
        t.f->hook = act_at_call;
        t.f->hook_ctx = &at;
        UT_EQ((int64_t)publish_remove(&t.xs, &t.dev), -ESTALE);
        UT_STR(be(&t, "state"), "1");
        teardown(&t);
    }
}

/* More endpoints than one transaction may touch: they go one by one, then the rest. */
static void a_directory_that_is_too_large_goes_in_parts(void)
{
    struct config_endpoint ep = {.id = 8, .driver = CONFIG_DRIVER_SOFT};
    struct xs_endpoint_node nodes[] = {{.id = 7}, {.id = 8}, {.id = 9}};
    struct fixture t;

    setup(&t);
    UT_EQ(endpoint_node_write(&t.xs, &t.dev, &ep), 0);
    ep.id = 9;
    UT_EQ(endpoint_node_write(&t.xs, &t.dev, &ep), 0);
    t.dev.endpoints = nodes; /* 7 has gone meanwhile */
    t.dev.n_endpoints = ARRAY_SIZE(nodes);
    close_it(t.f);
    UT_EQ(publish_state(&t.xs, &t.dev, XENBUS_CLOSED), 0);
    t.f->fail_err = -ENOSPC;
    t.f->fail_op = XS_FAKE_RM;
    t.f->fail_at = 1;
    UT_EQ(publish_remove(&t.xs, &t.dev), 0);
    UT_TRUE(xs_fake_node(t.f, xs_fake_be(B, F, 0, NULL)) == NULL);
    UT_EQ(t.f->calls[XS_FAKE_RM], 5); /* refused, three endpoints, the directory */
    teardown(&t);
}

/* --- endpoints, quota ------------------------------------------------------------------------- */

static void endpoint_nodes_are_private(void)
{
    struct config_endpoint ep = {.id = 0xabc,
                                 .driver = CONFIG_DRIVER_VFIO,
                                 .device = "0000:03:00.0",
                                 .has_guest = true,
                                 .guest = {0, 0, 5, 0}};
    struct fixture t;

    setup(&t);
    UT_EQ(endpoint_node_write(&t.xs, &t.dev, &ep), 0);
    UT_STR(be(&t, "viommu/endpoint-00000abc"),
           "id=0xabc driver=vfio device=0000:03:00.0 guest=pci:0000:00:05.0");
    private_to_us(&t, "viommu");
    private_to_us(&t, "viommu/endpoint-00000abc");
    ep.has_guest = false;
    UT_EQ((int64_t)endpoint_node_write(&t.xs, &t.dev, &ep), -EEXIST);
    UT_TRUE(strstr(be(&t, "viommu/endpoint-00000abc"), "guest=") != NULL);
    UT_EQ((int64_t)endpoint_node_remove(&t.xs, &t.dev, 8), -ENOENT);
    UT_EQ(endpoint_node_remove(&t.xs, &t.dev, 0xabc), 0);
    UT_TRUE(be(&t, "viommu/endpoint-00000abc") == NULL);
    UT_EQ((int64_t)endpoint_node_remove(&t.xs, &t.dev, 0xabc), -ENOENT);
    teardown(&t);
}

static void an_endpoint_that_does_not_fit_a_node_is_refused(void)
{
    struct config_endpoint ep = {.id = 8, .msi = true, .n_resv = CONFIG_MAX_RESV};
    struct fixture t;

    for (size_t i = 0; i < CONFIG_MAX_RESV; i++)
        ep.resv[i].range = (struct range){UINT64_MAX - i, UINT64_MAX};
    setup(&t);
    UT_EQ((int64_t)endpoint_node_write(&t.xs, &t.dev, &ep), -E2BIG);
    UT_TRUE(be(&t, "viommu") == NULL);
    teardown(&t);
}

static size_t owned(const struct fixture *t)
{
    size_t n = 0;

    for (size_t i = 0; i < t->f->tree->n; i++)
        n += t->f->tree->nodes[i].owner == B;
    return n;
}

/* docs/protocol.md and discover.h promise it: at most 8 nodes of ours beside the endpoints. */
static void a_device_costs_few_nodes_of_the_quota(void)
{
    struct fixture t;
    size_t libxl;

    setup(&t);
    libxl = owned(&t);
    UT_TRUE(libxl <= 10);
    UT_EQ(publish_nodes(&t.xs, &t.dev, &offer), 0);
    UT_EQ(publish_error(&t.xs, &t.dev, "reason"), 0);
    UT_EQ(publish_state(&t.xs, &t.dev, XENBUS_CLOSED), 0);
    UT_EQ(endpoint_node_write(&t.xs, &t.dev, &soft_8), 0);
    /* version, features, limits, endpoints, error, viommu; and one endpoint. */
    UT_EQ(owned(&t) - libxl, 6 + 1);
    teardown(&t);
}

int main(int argc, char **argv)
{
    static const struct ut_case cases[] = {
        UT_CASE(the_offer_is_as_the_protocol_says),
        UT_CASE(the_state_follows_what_is_written),
        UT_CASE(only_our_four_states_can_be_written),
        UT_CASE(the_error_text_is_made_harmless),
        UT_CASE(endpoints_from_a_worker_are_checked),
        UT_CASE(a_removed_directory_stays_removed),
        UT_CASE(a_directory_removed_at_any_step_stays_removed),
        UT_CASE(another_directory_in_its_place_is_left_alone),
        UT_CASE(a_new_directory_shows_by_our_missing_nodes),
        UT_CASE(a_toolstacks_5_is_not_overwritten_but_by_6),
        UT_CASE(online_0_alone_closes_too),
        UT_CASE(our_own_5_is_not_taken_for_the_toolstacks),
        UT_CASE(foreign_values_of_state_and_online_are_survived),
        UT_CASE(any_failing_call_leaves_everything_as_it_was),
        UT_CASE(storms_of_conflicts_end),
        UT_CASE(the_directory_goes_when_the_toolstack_waits_for_it),
        UT_CASE(a_directory_that_nobody_removes_stays),
        UT_CASE(a_new_directory_is_not_removed_for_the_old_one),
        UT_CASE(a_directory_that_is_too_large_goes_in_parts),
        UT_CASE(endpoint_nodes_are_private),
        UT_CASE(an_endpoint_that_does_not_fit_a_node_is_refused),
        UT_CASE(a_device_costs_few_nodes_of_the_quota),
    };

    return ut_main(argc, argv, "publish", cases, ARRAY_SIZE(cases));
}
