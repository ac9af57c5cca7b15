/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Messages between supervisor and worker: what is built is understood, and what a hostile peer may
 * send instead is refused with nothing written.
 */
#include <config.h>

#include "backend/daemon/msg.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "backend/daemon/budget.h"
#include "tests/support/ut.h"

static json_t *parse(const char *text)
{
    json_t *msg = json_loads(text, JSON_DECODE_ANY, NULL);

    UT_TRUE(msg != NULL);
    return msg;
}

/* Runs a parser on a JSON text. */
#define PARSE(r_, text_, fn_, ...)     \
    do {                               \
        json_t *msg_ = parse(text_);   \
        (r_) = fn_(msg_, __VA_ARGS__); \
        json_decref(msg_);             \
    } while (0)

/* --- texts and numbers ------------------------------------------------------------------------ */

static void text_is_printable_ascii_of_bounded_length(void)
{
    UT_TRUE(msg_text_ok("a", 1, 1));
    UT_TRUE(msg_text_ok(" ~", 2, 2));
    UT_FALSE(msg_text_ok("ab", 2, 1));
    UT_FALSE(msg_text_ok("", 0, 5));
    UT_FALSE(msg_text_ok(NULL, 3, 5));
    UT_FALSE(msg_text_ok("a\n", 2, 5));
    UT_FALSE(msg_text_ok("a\0b", 3, 5));
    UT_FALSE(msg_text_ok("\x7f", 1, 5));
    UT_FALSE(msg_text_ok("\xc3\xa9", 2, 5));
}

static void text_member_of_another_type_is_none(void)
{
    json_t *obj = parse(
        "{\"n\":1,\"e\":\"\",\"t\":\"yes\",\"c\":\"a\\u001bb\",\"z\":\"a\\u0020\"}");

    UT_TRUE(msg_text(obj, "n", 10, true) == NULL);
    UT_TRUE(msg_text(obj, "absent", 10, true) == NULL);
    UT_TRUE(msg_text(obj, "c", 10, true) == NULL);
    UT_TRUE(msg_text(obj, "e", 10, false) == NULL);
    UT_TRUE(msg_text(obj, "t", 2, false) == NULL);
    UT_STR(msg_text(obj, "e", 10, true), "");
    UT_STR(msg_text(obj, "t", 3, false), "yes");
    UT_TRUE(msg_text(NULL, "t", 3, false) == NULL);
    json_decref(obj);
}

static void u32_takes_whole_numbers_in_range_only(void)
{
    static const char *const bad[] = {
        "{\"n\":-1}",   "{\"n\":8}",    "{\"n\":1.0}", "{\"n\":\"1\"}",
        "{\"n\":null}", "{\"n\":true}", "{}",          "[1]"};
    uint32_t out = 77;
    int r;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        PARSE(r, bad[i], msg_u32, "n", 7, &out);
        UT_EQ(r, -EPROTO);
        UT_EQ(out, 77);
    }
    PARSE(r, "{\"n\":7}", msg_u32, "n", 7, &out);
    UT_EQ(r, 0);
    UT_EQ(out, 7);
}

static void u64_round_trips_and_numbers_are_refused(void)
{
    static const uint64_t values[] = {0, 1, 1ull << 63, UINT64_MAX};
    uint64_t out = 0;
    int r;

    for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
        json_t *obj = json_pack("{s:o}", "n", msg_new_u64(values[i]));

        UT_EQ(msg_u64(obj, "n", &out), 0);
        UT_EQ(out, values[i]);
        json_decref(obj);
    }
    PARSE(r, "{\"n\":5}", msg_u64, "n", &out);
    UT_EQ(r, -EPROTO);
    PARSE(r, "{\"n\":\"0x10000000000000000\"}", msg_u64, "n", &out);
    UT_EQ(r, -EPROTO);
    UT_EQ(out, UINT64_MAX);
}

/* --- replies ---------------------------------------------------------------------------------- */

static void malformed_replies_are_refused(void)
{
    static const char *const bad[] = {
        "{}",
        "[]",
        "{\"ok\":true}",
        "{\"id\":1}",
        "{\"id\":1,\"ok\":1}",
        "{\"id\":1,\"ok\":null}",
        "{\"id\":1,\"ok\":0,\"error\":\"x\"}",
        "{\"id\":-1,\"ok\":true}",
        "{\"id\":4294967296,\"ok\":true}",
        "{\"id\":1,\"ok\":false}",
        "{\"id\":1,\"ok\":false,\"error\":\"\"}",
        "{\"id\":1,\"ok\":false,\"error\":7}",
        "{\"id\":1,\"ok\":false,\"error\":\"a\\u0007b\"}",
        "{\"id\":1,\"ok\":false,\"error\":\"a\\u0000b\"}",
    };
    struct msg_reply reply = {.id = 99};
    int r;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        json_t *msg = json_loads(bad[i], JSON_ALLOW_NUL, NULL);

        r = msg_parse_reply(msg, &reply);
        UT_EQ(r, -EPROTO);
        UT_EQ(reply.id, 99);
        json_decref(msg);
    }
}

static void too_long_error_text_is_refused(void)
{
    char text[MSG_ERROR_MAX + 2];
    struct msg_reply reply;
    json_t *msg;

    memset(text, 'x', sizeof(text));
    text[MSG_ERROR_MAX + 1] = '\0';
    msg = json_pack("{s:i, s:b, s:s}", "id", 1, "ok", 0, "error", text);
    UT_EQ(msg_parse_reply(msg, &reply), -EPROTO);
    json_decref(msg);
    text[MSG_ERROR_MAX] = '\0';
    msg = json_pack("{s:i, s:b, s:s}", "id", 1, "ok", 0, "error", text);
    UT_EQ(msg_parse_reply(msg, &reply), 0);
    UT_STR(reply.error, text);
    json_decref(msg);
}

static void built_replies_are_understood_whatever_the_text(void)
{
    char text[400];
    struct msg_reply reply;
    json_t *msg = msg_new_ok(5);

    UT_EQ(msg_parse_reply(msg, &reply), 0);
    UT_EQ(reply.id, 5);
    UT_TRUE(reply.ok);
    json_decref(msg);

    memset(text, '\n', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    msg = msg_new_error(6, "%s", text);
    UT_EQ(msg_parse_reply(msg, &reply), 0);
    UT_FALSE(reply.ok);
    UT_EQ(strlen(reply.error), MSG_ERROR_MAX);
    UT_EQ(reply.error[0], '?');
    json_decref(msg);

    msg = msg_new_error(7, "%s", "");
    UT_EQ(msg_parse_reply(msg, &reply), 0);
    UT_FALSE(reply.ok);
    json_decref(msg);
}

/* --- start ------------------------------------------------------------------------------------ */

static void start_round_trips_with_and_without_config(void)
{
    const struct msg_start full = {
        .platform = "xen", .domid = 0x7fef, .number = 3, .pages = 65536, .config = "bypass=1"};
    struct msg_start bare = full, out;
    const char *command;
    uint32_t id;
    json_t *msg = msg_new_start(9, &full);

    UT_EQ(msg_parse_request(msg, &command, &id), 0);
    UT_STR(command, "start");
    UT_EQ(id, 9);
    UT_EQ(msg_parse_start(msg, &out), 0);
    UT_STR(out.platform, "xen");
    UT_EQ(out.domid, 0x7fef);
    UT_EQ(out.number, 3);
    UT_EQ(out.pages, 65536);
    UT_STR(out.config, "bypass=1");
    json_decref(msg);

    bare.config = NULL;
    msg = msg_new_start(9, &bare);
    UT_EQ(msg_parse_start(msg, &out), 0);
    UT_TRUE(out.config == NULL);
    UT_FALSE(out.recover);
    json_decref(msg);

    bare.recover = true;
    msg = msg_new_start(9, &bare);
    UT_EQ(msg_parse_start(msg, &out), 0);
    UT_TRUE(out.recover);
    json_decref(msg);
}

static void malformed_starts_are_refused(void)
{
    static const char *const bad[] = {
        "{\"platform\":\"xen\",\"domid\":1,\"number\":0,\"recover\":false}",
        "{\"platform\":\"\",\"domid\":1,\"number\":0,\"pages\":1,\"recover\":false}",
        "{\"platform\":\"xen\",\"domid\":32752,\"number\":0,\"pages\":1,\"recover\":false}",
        "{\"platform\":\"xen\",\"domid\":1,\"number\":-1,\"pages\":1,\"recover\":false}",
        "{\"platform\":\"xen\",\"domid\":1,\"number\":0,\"pages\":4294967296,\"recover\":false}",
        "{\"platform\":\"xen\",\"domid\":1,\"number\":0,\"pages\":1,\"config\":5,\"recover\":"
        "false}",
        "{\"platform\":\"xen\",\"domid\":1,\"number\":0,\"pages\":1,\"config\":\"a\\nb\","
        "\"recover\":false}",
        "{\"platform\":\"xen\",\"domid\":1,\"number\":0,\"pages\":1}",
        "{\"platform\":\"xen\",\"domid\":1,\"number\":0,\"pages\":1,\"recover\":1}",
    };
    struct msg_start out;
    int r;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        PARSE(r, bad[i], msg_parse_start, &out);
        UT_EQ(r, -EPROTO);
    }
}

/* --- connect ---------------------------------------------------------------------------------- */

static void connect_carries_texts_and_statuses(void)
{
    struct config_fe_raw raw, out;
    json_t *msg;

    memset(&raw, 0, sizeof(raw));
    config_fe_raw_set(&raw, CONFIG_FE_VERSION, "1", 1);
    config_fe_raw_set(&raw, CONFIG_FE_FEATURES, "", 0);
    raw.node[CONFIG_FE_CONTROL].status = CONFIG_FE_TOO_LONG;
    raw.node[CONFIG_FE_QUEUE_0].status = CONFIG_FE_BAD_BYTES;
    raw.node[CONFIG_FE_QUEUE_1].status = CONFIG_FE_ABSENT;
    msg = msg_new_connect(3, &raw);
    memset(&out, 0x55, sizeof(out));
    UT_EQ(msg_parse_connect(msg, &out), 0);
    for (size_t i = 0; i < CONFIG_FE_N_NODES; i++) {
        UT_EQ(out.node[i].status, raw.node[i].status);
        UT_STR(out.node[i].text, raw.node[i].text);
    }
    json_decref(msg);
}

static void malformed_connects_are_refused_and_write_nothing(void)
{
    static const char *const bad[] = {
        "{}",
        "{\"nodes\":{}}",
        "{\"nodes\":[0,0,0,0]}",
        "{\"nodes\":[0,0,0,0,0,0]}",
        "{\"nodes\":[0,0,0,0,1]}", /* present without a text */
        "{\"nodes\":[0,0,0,0,4]}",
        "{\"nodes\":[0,0,0,0,-1]}",
        "{\"nodes\":[0,0,0,0,null]}",
        "{\"nodes\":[0,0,0,0,\"\\u00e9\"]}",
    };
    struct config_fe_raw out, before;
    int r;

    memset(&out, 0x55, sizeof(out));
    before = out;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        PARSE(r, bad[i], msg_parse_connect, &out);
        UT_EQ(r, -EPROTO);
        UT_EQ(memcmp(&out, &before, sizeof(out)), 0);
    }
}

static void connect_text_longer_than_a_node_is_refused(void)
{
    char text[XS_FRONTEND_VALUE_MAX + 2];
    struct config_fe_raw out;
    json_t *msg;

    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    msg = json_pack("{s:[i,i,i,i,s]}", "nodes", 0, 0, 0, 0, text);
    UT_EQ(msg_parse_connect(msg, &out), -EPROTO);
    json_decref(msg);
}

/* --- offer ------------------------------------------------------------------------------------ */

static void offer_round_trips(void)
{
    const struct msg_offer offer = {.features = 0x330000077,
                                    .queue_size = 1024,
                                    .map_pages = 64,
                                    .grant_pages = 65536,
                                    .endpoints = "id=0x8 dma=soft"};
    struct msg_offer out;
    json_t *msg = msg_new_ok(1);

    UT_EQ(msg_add_offer(msg, &offer), 0);
    UT_EQ(msg_parse_offer(msg, &out), 0);
    UT_EQ(out.features, offer.features);
    UT_EQ(out.queue_size, 1024);
    UT_EQ(out.map_pages, 64);
    UT_EQ(out.grant_pages, 65536);
    UT_STR(out.endpoints, offer.endpoints);
    (void)json_object_del(msg, "endpoints");
    UT_EQ(msg_parse_offer(msg, &out), -EPROTO);
    json_decref(msg);
}

static void offer_with_a_node_too_long_is_refused(void)
{
    char text[XS_ENDPOINTS_VALUE_MAX + 2];
    struct msg_offer offer = {.endpoints = text}, out;
    json_t *msg = msg_new_ok(1);

    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    UT_EQ(msg_add_offer(msg, &offer), 0);
    UT_EQ(msg_parse_offer(msg, &out), -EPROTO);
    json_decref(msg);
}

/* --- budget ----------------------------------------------------------------------------------- */

static void budget_leases_what_is_left_and_then_nothing(void)
{
    struct page_budget b = {.total = 1000};

    UT_EQ(budget_lease(&b, 600), 600);
    UT_EQ(budget_lease(&b, 600), 400);
    UT_EQ(b.leased, 1000);
    UT_EQ(budget_lease(&b, 600), 0);
    UT_EQ(b.leased, 1000);
    budget_return(&b, 600);
    UT_EQ(budget_lease(&b, 600), 600);
}

static void budget_shares_leave_something_for_the_next(void)
{
    struct page_budget b = {.total = 1000};

    UT_EQ(budget_lease_share(&b, 600), 500);
    UT_EQ(budget_lease_share(&b, 600), 250);
    UT_EQ(budget_lease_share(&b, 100), 100);
    UT_EQ(budget_lease_share(&b, 600), 75);
    UT_EQ(budget_lease_share(&b, 600), 64); /* never less than is of use */
    UT_EQ(b.leased, 989);
    UT_EQ(budget_lease_share(&b, 600), 0);
    UT_EQ(b.leased, 989);
}

static void budget_keeps_remainders_too_small_to_serve(void)
{
    struct page_budget b = {.total = 1000};

    UT_EQ(budget_lease(&b, 1000 - BUDGET_MIN_LEASE + 1), 1000 - BUDGET_MIN_LEASE + 1);
    UT_EQ(budget_lease(&b, 100), 0);
    UT_EQ(budget_lease(&b, 10), 10); /* who wants little gets it */
    budget_return(&b, 2000);
    UT_EQ(b.leased, 0);
}

static const struct ut_case cases[] = {
    UT_CASE(text_is_printable_ascii_of_bounded_length),
    UT_CASE(text_member_of_another_type_is_none),
    UT_CASE(u32_takes_whole_numbers_in_range_only),
    UT_CASE(u64_round_trips_and_numbers_are_refused),
    UT_CASE(malformed_replies_are_refused),
    UT_CASE(too_long_error_text_is_refused),
    UT_CASE(built_replies_are_understood_whatever_the_text),
    UT_CASE(start_round_trips_with_and_without_config),
    UT_CASE(malformed_starts_are_refused),
    UT_CASE(connect_carries_texts_and_statuses),
    UT_CASE(malformed_connects_are_refused_and_write_nothing),
    UT_CASE(connect_text_longer_than_a_node_is_refused),
    UT_CASE(offer_round_trips),
    UT_CASE(offer_with_a_node_too_long_is_refused),
    UT_CASE(budget_leases_what_is_left_and_then_nothing),
    UT_CASE(budget_shares_leave_something_for_the_next),
    UT_CASE(budget_keeps_remainders_too_small_to_serve),
};

int main(int argc, char **argv)
{
    return ut_main(argc, argv, "msg", cases, ARRAY_SIZE(cases));
}
