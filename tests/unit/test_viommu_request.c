/* SPDX-License-Identifier: GPL-2.0-only */
/* What all requests share: framing, unknown types, reserved bytes, tails, counters. */
#include <config.h>

#include "common/le.h"
#include "tests/support/viommu_rig.h"

#include <string.h>

static struct rig rig;

static const size_t readable[VIOMMU_N_TYPES] = {0, 20, 20, 36, 28, 72};

static bool start(void)
{
    return rig_start(&rig, NULL) && rig_add_soft(&rig, 8) == 0 &&
           rig_attach(&rig, 1, 8, 0) == VIOMMU_S_OK;
}

/* A request of each type that is answered with something. */
static void build(unsigned type, uint8_t *req)
{
    if (type == VIOMMU_T_ATTACH)
        rig_build_attach(req, 1, 8, 0);
    else if (type == VIOMMU_T_DETACH)
        rig_build_detach(req, 2, 8);
    else if (type == VIOMMU_T_MAP)
        rig_build_map(req, 9, 0, PAGE - 1, 0, MAP_R);
    else if (type == VIOMMU_T_UNMAP)
        rig_build_unmap(req, 1, 0, PAGE - 1);
    else
        rig_build_probe(req, 8);
}

/* N1: every length below the type's own */
static void short_readable_part_comes_back_unwritten(void)
{
    uint8_t req[VIOMMU_REQ_MAX];

    UT_REQUIRE(start());
    for (unsigned type = 1; type < VIOMMU_N_TYPES; type++) {
        build(type, req);
        for (size_t n = 0; n < readable[type]; n++)
            RIG_REFUSED(&rig, rig_send(&rig, req, n, 600), RIG_UNWRITTEN);
        UT_TRUE(rig_send(&rig, req, readable[type], 600) >= 0);
    }
    rig_stop(&rig);
}

/* N1 */
static void no_room_for_a_tail_comes_back_unwritten(void)
{
    uint8_t req[VIOMMU_REQ_MAX];

    UT_REQUIRE(start());
    for (unsigned type = 1; type < VIOMMU_N_TYPES; type++) {
        build(type, req);
        for (uint64_t writable = 0; writable < 4; writable++)
            RIG_REFUSED(&rig, rig_send(&rig, req, readable[type], writable), RIG_UNWRITTEN);
    }
    rig_stop(&rig);
}

/* D11: also types that out-of-tree devices use (6.2) */
static void unknown_types_come_back_unwritten(void)
{
    uint8_t req[VIOMMU_REQ_MAX] = {0};

    UT_REQUIRE(start());
    for (unsigned type = 0; type < 256; type++) {
        if (type >= 1 && type <= 5)
            continue;
        req[0] = (uint8_t)type;
        RIG_REFUSED(&rig, rig_send(&rig, req, sizeof(req), 600), RIG_UNWRITTEN);
    }
    UT_EQ(viommu_counters(rig.v)->requests[0], 251);
    rig_stop(&rig);
}

/* D12 */
static void reserved_bytes_of_the_head_are_ignored(void)
{
    uint8_t req[VIOMMU_REQ_MAX];

    UT_REQUIRE(start());
    for (unsigned type = 1; type < VIOMMU_N_TYPES; type++) {
        int want, got;

        build(type, req);
        want = rig_send(&rig, req, readable[type], 600);
        memset(req + 1, 0xff, 3);
        got = rig_send(&rig, req, readable[type], 600);
        UT_TRUE(want >= 0);
        UT_EQ(got, want);
    }
    rig_stop(&rig);
}

/* A13, A14; D13 is checked by rig_send for every request of every test */
static void longer_parts_than_needed_change_nothing(void)
{
    uint8_t req[VIOMMU_REQ_MAX];

    UT_REQUIRE(start());
    for (unsigned type = 1; type < VIOMMU_T_PROBE; type++) {
        int want;

        build(type, req);
        want = rig_send(&rig, req, readable[type], 4);
        memset(req + readable[type], 0xff, sizeof(req) - readable[type]);
        UT_EQ(rig_send(&rig, req, sizeof(req), 4), want);
        UT_EQ(rig_send(&rig, req, sizeof(req), UINT64_MAX), want);
        UT_EQ(rig.used, 4); /* the tail is at offset 0 */
    }
    rig_stop(&rig);
}

/* A7 */
static void map_and_unmap_need_to_be_negotiated(void)
{
    UT_REQUIRE(start());
    UT_EQ(viommu_set_features(rig.v, VIOMMU_F_ALL & ~VIOMMU_F_MAP_UNMAP), 0);
    RIG_REFUSED(&rig, rig_map(&rig, 1, 0, PAGE - 1, 0, MAP_R), RIG_UNWRITTEN);
    RIG_REFUSED(&rig, rig_unmap(&rig, 1, 0, PAGE - 1), RIG_UNWRITTEN);
    UT_EQ(rig_attach(&rig, 2, 8, 0), VIOMMU_S_OK);
    UT_EQ(rig_detach(&rig, 2, 8), VIOMMU_S_OK);
    rig_stop(&rig);
}

/* V7: Linux probes first, but nobody has to */
static void attach_works_without_probe(void)
{
    UT_REQUIRE(rig_start(&rig, NULL));
    UT_EQ(rig_add_soft(&rig, 8), 0);
    UT_EQ(rig_attach(&rig, 1, 8, 0), VIOMMU_S_OK);
    rig_stop(&rig);
}

/* D10 and section 2.2: requests and verdicts are counted */
static void requests_and_verdicts_are_counted(void)
{
    const struct viommu_counters *c;

    UT_REQUIRE(start());
    c = viommu_counters(rig.v);
    UT_EQ(rig_map(&rig, 1, 0, PAGE - 1, 0, MAP_R), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 2, 0, PAGE - 1, 0, MAP_R), VIOMMU_S_NOENT);
    UT_EQ(rig_unmap(&rig, 1, 0, PAGE - 1), VIOMMU_S_OK);
    UT_EQ(rig_probe(&rig, 8), VIOMMU_S_OK);
    UT_EQ(rig_detach(&rig, 2, 8), VIOMMU_S_INVAL);
    UT_EQ(c->requests[0], 0);
    UT_EQ(c->requests[VIOMMU_T_ATTACH], 1);
    UT_EQ(c->requests[VIOMMU_T_DETACH], 1);
    UT_EQ(c->requests[VIOMMU_T_PROBE], 1);
    UT_EQ(c->status[VIOMMU_S_INVAL], 1);
    UT_EQ(c->requests[VIOMMU_T_MAP], 2);
    UT_EQ(c->requests[VIOMMU_T_UNMAP], 1);
    UT_EQ(c->status[VIOMMU_S_OK], 4);
    UT_EQ(c->status[VIOMMU_S_NOENT], 1);
    UT_EQ(c->mapped, 1);
    UT_EQ(c->unmapped, 1);
    rig_stop(&rig);
}

/* ARCHITECTURE.md section 8: the used length is the response's size, for errors too */
static void used_length_is_full_for_every_refusal(void)
{
    uint8_t req[VIOMMU_REQ_MAX];

    UT_REQUIRE(start());
    rig_build_attach(req, 1, 8, 0xff);
    UT_EQ(rig_send(&rig, req, VIOMMU_ATTACH_SIZE, 4), VIOMMU_S_INVAL);
    UT_EQ(rig.used, 4);
    UT_EQ(rig_detach(&rig, 1, 99), VIOMMU_S_NOENT);
    UT_EQ(rig.used, 4);
    UT_EQ(rig_map(&rig, 1, 1, 2, 3, MAP_R), VIOMMU_S_RANGE);
    UT_EQ(rig.used, 4);
    UT_EQ(rig_unmap(&rig, 99, 0, 1), VIOMMU_S_NOENT);
    UT_EQ(rig.used, 4);
    UT_EQ(rig_probe(&rig, 99), VIOMMU_S_NOENT);
    UT_EQ(rig.used, 516);
    rig_stop(&rig);
}

/* viommu_request_pins: every MAP that pins, with what it pins, and nothing else */
static void pins_are_told_ahead(void)
{
    static const struct {
        uint64_t first, last, phys;
        uint32_t flags;
        bool pins;
    } maps[] = {
        {PAGE, 3 * PAGE - 1, 5 * PAGE, MAP_R, true},
        {PAGE, 3 * PAGE - 1, 5 * PAGE, MAP_W, true},
        {PAGE, 3 * PAGE - 1, 5 * PAGE, MAP_RW | VIOMMU_MAP_F_MMIO, true},
        {PAGE, 3 * PAGE - 1, 5 * PAGE, 0, false}, /* A9 */
        {PAGE, 3 * PAGE - 1, 5 * PAGE, MAP_R | 8, false},
        {3 * PAGE, 3 * PAGE - 1, 5 * PAGE, MAP_R, false},
        {5 * PAGE, 3 * PAGE - 1, 0, MAP_R, false},
        {PAGE + 1, 3 * PAGE - 1, 5 * PAGE, MAP_R, false},
        {PAGE, 3 * PAGE, 5 * PAGE, MAP_R, false},
        {PAGE, 3 * PAGE - 1, 5 * PAGE + 1, MAP_R, false},
        {PAGE, 3 * PAGE - 1, 5 * PAGE + PAGE / 2, MAP_R, false},
        {0, 3 * PAGE - 1, 5 * PAGE, MAP_R, false}, /* outside the input range */
        {PAGE, 3 * PAGE - 1, UINT64_MAX - PAGE + 1, MAP_R, false},
    };
    struct viommu_config c = VIOMMU_CONFIG_DEFAULT;
    uint8_t req[VIOMMU_REQ_MAX];
    struct range gpa;
    bool write;

    c.input_range = (struct range){PAGE, UINT64_MAX};
    UT_REQUIRE(rig_start(&rig, &c));
    for (size_t i = 0; i < ARRAY_SIZE(maps); i++) {
        size_t n = rig_build_map(req, 1, maps[i].first, maps[i].last, maps[i].phys, maps[i].flags);

        UT_EQ(viommu_request_pins(rig.v, req, n, &gpa, &write), maps[i].pins);
        if (!maps[i].pins)
            continue;
        UT_EQ(gpa.first, maps[i].phys);
        UT_EQ(gpa.last, maps[i].phys + 2 * PAGE - 1);
        UT_EQ(write, (maps[i].flags & MAP_W) != 0);
        UT_FALSE(viommu_request_pins(rig.v, req, n - 1, &gpa, &write));
        req[0] = VIOMMU_T_UNMAP;
        UT_FALSE(viommu_request_pins(rig.v, req, n, &gpa, &write));
    }
    rig_stop(&rig);
}

int main(int argc, char **argv)
{
    static const struct ut_case cases[] = {
        UT_CASE(short_readable_part_comes_back_unwritten),
        UT_CASE(no_room_for_a_tail_comes_back_unwritten),
        UT_CASE(unknown_types_come_back_unwritten),
        UT_CASE(reserved_bytes_of_the_head_are_ignored),
        UT_CASE(longer_parts_than_needed_change_nothing),
        UT_CASE(map_and_unmap_need_to_be_negotiated),
        UT_CASE(attach_works_without_probe),
        UT_CASE(requests_and_verdicts_are_counted),
        UT_CASE(used_length_is_full_for_every_refusal),
        UT_CASE(pins_are_told_ahead),
    };

    return ut_main(argc, argv, "viommu_request", cases, ARRAY_SIZE(cases));
}
