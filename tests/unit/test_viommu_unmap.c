/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * UNMAP: the specification's seven examples and fifteen more (U1 to U22 of the reference), at a
 * granule of 4 KiB and of one byte, on a table alone and with a host behind it.
 */
#include <config.h>

#include "common/le.h"
#include "tests/support/viommu_rig.h"

#include <string.h>

static struct rig rig;
static uint64_t granule;

#define BYPASS    VIOMMU_ATTACH_F_BYPASS
#define MAX_SETUP 3
#define TOP       UINT64_MAX

/* Abstract addresses: x to y means the granules x to y. */
struct span {
    uint64_t first, last;
    bool used;
};
#define SPAN(a, b)     \
    {                  \
        (a), (b), true \
    }

struct unmap_case {
    const char *name;
    struct span setup[MAX_SETUP];
    struct span unmap;
    enum viommu_status status;
    unsigned left; /* bit per setup entry that must remain */
};

static const struct unmap_case table[] = {
    {"U1", {{0}}, SPAN(0, 4), VIOMMU_S_OK, 0},
    {"U2", {SPAN(0, 9)}, SPAN(0, 9), VIOMMU_S_OK, 0},
    {"U3", {SPAN(0, 4), SPAN(5, 9)}, SPAN(0, 9), VIOMMU_S_OK, 0},
    {"U4", {SPAN(0, 9)}, SPAN(0, 4), VIOMMU_S_RANGE, 1},
    {"U5", {SPAN(0, 4), SPAN(5, 9)}, SPAN(0, 4), VIOMMU_S_OK, 2},
    {"U6", {SPAN(0, 4)}, SPAN(0, 9), VIOMMU_S_OK, 0},
    {"U7", {SPAN(0, 4), SPAN(10, 14)}, SPAN(0, 14), VIOMMU_S_OK, 0},
    {"U8", {SPAN(0, 9)}, SPAN(5, 9), VIOMMU_S_RANGE, 1},
    {"U9", {SPAN(0, 9)}, SPAN(3, 5), VIOMMU_S_RANGE, 1},
    {"U10", {SPAN(0, 4), SPAN(5, 9)}, SPAN(0, 7), VIOMMU_S_RANGE, 3},
    {"U11", {SPAN(0, 4), SPAN(5, 9)}, SPAN(3, 9), VIOMMU_S_RANGE, 3},
    {"U12", {SPAN(5, 9)}, SPAN(0, 4), VIOMMU_S_OK, 1},
    {"U13", {SPAN(5, 9)}, SPAN(10, 14), VIOMMU_S_OK, 1},
    {"U14", {SPAN(5, 9)}, SPAN(0, 14), VIOMMU_S_OK, 0},
};

static struct range bytes_of(struct span s)
{
    return (struct range){s.first * granule, (s.last + 1) * granule - 1};
}

/* Endpoint 8 soft; 9 with a host if `hosted`, both in vdomain 1. */
static bool start(uint64_t with_granule, bool hosted)
{
    struct viommu_config c = VIOMMU_CONFIG_DEFAULT;

    granule = with_granule;
    c.page_size_mask = -granule;
    return rig_start(&rig, &c) && rig_add_soft(&rig, 8) == 0 &&
           rig_attach(&rig, 1, 8, 0) == VIOMMU_S_OK &&
           (!hosted ||
            (rig_add(&rig, 9, &model_host_ops) == 0 && rig_attach(&rig, 1, 9, 0) == VIOMMU_S_OK));
}

static int map_span(struct span s)
{
    struct range r = bytes_of(s);

    return rig_map(&rig, 1, r.first, r.last, r.first, MAP_RW);
}

static int unmap_span(struct span s)
{
    struct range r = bytes_of(s);

    return rig_unmap(&rig, 1, r.first, r.last);
}

static void run_case(const struct unmap_case *c)
{
    size_t n_left = 0;
    struct imap_entry e;

    for (size_t i = 0; i < MAX_SETUP && c->setup[i].used; i++)
        UT_EQ(map_span(c->setup[i]), VIOMMU_S_OK);
    if (c->status == VIOMMU_S_OK)
        UT_EQ(unmap_span(c->unmap), VIOMMU_S_OK);
    else
        RIG_REFUSED(&rig, unmap_span(c->unmap), c->status);
    for (size_t i = 0; i < MAX_SETUP && c->setup[i].used; i++) {
        struct range r = bytes_of(c->setup[i]);
        bool found = viommu_mapping_next(rig.v, 1, r.first, &e) && e.range.first == r.first;

        UT_EQ(found, (c->left >> i & 1) != 0);
        n_left += c->left >> i & 1;
        if (found)
            UT_EQ(e.range.last, r.last);
    }
    UT_EQ(viommu_n_mappings(rig.v), n_left);
    RIG_CHECK(&rig);
}

static void run_table(uint64_t with_granule, bool hosted)
{
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        UT_REQUIRE(start(with_granule, hosted));
        run_case(&table[i]);
        rig_stop(&rig);
    }
}

/* U1 to U14 */
static void u1_to_u14_at_4k(void)
{
    run_table(4096, false);
}

static void u1_to_u14_at_4k_with_a_host(void)
{
    run_table(4096, true);
}

static void u1_to_u14_at_one_byte(void)
{
    run_table(1, false);
}

static void u1_to_u14_at_one_byte_with_a_host(void)
{
    run_table(1, true);
}

/* The rest of the table, with a host, at both granules. */
static void at_both_granules(void (*fn)(void))
{
    static const uint64_t granules[] = {4096, 1};

    for (size_t i = 0; i < ARRAY_SIZE(granules); i++) {
        UT_REQUIRE(start(granules[i], true));
        fn();
        RIG_CHECK(&rig);
        rig_stop(&rig);
    }
}

static void u15(void)
{
    UT_EQ(map_span((struct span)SPAN(0, 4)), VIOMMU_S_OK);
    UT_EQ(map_span((struct span)SPAN(7, 7)), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 1, TOP - 4095, TOP, 0, MAP_R), VIOMMU_S_OK);
    UT_EQ(rig_unmap(&rig, 1, 0, TOP), VIOMMU_S_OK);
    UT_EQ(viommu_n_mappings(rig.v), 0);
}

static void u15_everything_in_one_unmap(void)
{
    at_both_granules(u15);
}

static void u16(void)
{
    UT_EQ(rig_map(&rig, 1, TOP - 4095, TOP, 0, MAP_R), VIOMMU_S_OK);
    RIG_REFUSED(&rig, rig_unmap(&rig, 1, TOP - 4095, TOP - 1), VIOMMU_S_RANGE);
    RIG_REFUSED(&rig, rig_unmap(&rig, 1, TOP, TOP), VIOMMU_S_RANGE);
    UT_EQ(rig_unmap(&rig, 1, TOP - 4095, TOP), VIOMMU_S_OK);
    UT_EQ(viommu_n_mappings(rig.v), 0);
}

static void u16_mapping_that_ends_at_the_top(void)
{
    at_both_granules(u16);
}

/* D35 */
static void u17(void)
{
    RIG_REFUSED(&rig, rig_unmap(&rig, 2, 0, TOP), VIOMMU_S_NOENT);
    RIG_REFUSED(&rig, rig_unmap(&rig, 2, 1, 0), VIOMMU_S_NOENT);
}

static void u17_vdomain_that_never_was_is_noent(void)
{
    at_both_granules(u17);
}

/* D36, V30 */
static void u18(void)
{
    UT_EQ(rig_attach(&rig, 3, 8, BYPASS), VIOMMU_S_OK);
    RIG_REFUSED(&rig, rig_unmap(&rig, 3, 0, TOP), VIOMMU_S_INVAL);
}

static void u18_bypass_vdomain_is_inval(void)
{
    at_both_granules(u18);
}

static void u19(void)
{
    UT_EQ(map_span((struct span)SPAN(0, 9)), VIOMMU_S_OK);
    UT_EQ(unmap_span((struct span)SPAN(0, 9)), VIOMMU_S_OK);
    UT_EQ(unmap_span((struct span)SPAN(0, 9)), VIOMMU_S_OK);
}

static void u19_unmap_twice_is_ok_twice(void)
{
    at_both_granules(u19);
}

/* D34, V25: each byte of the field */
static void u20(void)
{
    struct range r = bytes_of((struct span)SPAN(0, 4));
    uint8_t req[VIOMMU_REQ_MAX];

    UT_EQ(map_span((struct span)SPAN(0, 4)), VIOMMU_S_OK);
    for (size_t i = 0; i < 4; i++) {
        rig_build_unmap(req, 1, r.first, r.last);
        req[VIOMMU_UNMAP_RESERVED + i] = 1;
        RIG_REFUSED(&rig, rig_send(&rig, req, VIOMMU_UNMAP_SIZE, 4), VIOMMU_S_INVAL);
    }
}

static void u20_reserved_bytes_are_inval_and_remove_nothing(void)
{
    at_both_granules(u20);
}

static void u21(void)
{
    UT_EQ(map_span((struct span)SPAN(0, 9)), VIOMMU_S_OK);
    UT_EQ(unmap_span((struct span)SPAN(0, 9)), VIOMMU_S_OK);
    UT_EQ(map_span((struct span)SPAN(0, 4)), VIOMMU_S_OK);
    UT_EQ(map_span((struct span)SPAN(5, 9)), VIOMMU_S_OK);
    UT_EQ(viommu_n_mappings(rig.v), 2);
}

static void u21_addresses_are_reusable_at_once(void)
{
    at_both_granules(u21);
}

static void u22(void)
{
    for (int with_map = 0; with_map < 2; with_map++) {
        UT_EQ(map_span((struct span)SPAN(0, 4)), VIOMMU_S_OK);
        UT_EQ(rig_detach(&rig, 1, 8), VIOMMU_S_OK);
        UT_EQ(rig_detach(&rig, 1, 9), VIOMMU_S_OK);
        UT_EQ(rig_attach(&rig, 1, 9, 0), VIOMMU_S_OK);
        UT_EQ(viommu_n_mappings(rig.v), 0);
        if (with_map)
            UT_EQ(map_span((struct span)SPAN(0, 4)), VIOMMU_S_OK);
        UT_EQ(unmap_span((struct span)SPAN(0, 4)), VIOMMU_S_OK);
        UT_EQ(viommu_n_mappings(rig.v), 0);
        UT_EQ(rig_attach(&rig, 1, 8, 0), VIOMMU_S_OK);
    }
}

static void u22_mappings_die_with_the_vdomain(void)
{
    at_both_granules(u22);
}

/* A15 */
static void inverted_unmap_is_inval(void)
{
    UT_REQUIRE(start(4096, true));
    UT_EQ(map_span((struct span)SPAN(0, 4)), VIOMMU_S_OK);
    RIG_REFUSED(&rig, rig_unmap(&rig, 1, 1, 0), VIOMMU_S_INVAL);
    RIG_REFUSED(&rig, rig_unmap(&rig, 1, TOP, 0), VIOMMU_S_INVAL);
    RIG_REFUSED(&rig, rig_unmap(&rig, 1, 5 * PAGE, PAGE - 1), VIOMMU_S_INVAL);
    rig_stop(&rig);
}

/* 2.6: no clause asks for alignment */
static void unaligned_unmap_that_splits_nothing_is_ok(void)
{
    UT_REQUIRE(start(4096, true));
    UT_EQ(map_span((struct span)SPAN(1, 1)), VIOMMU_S_OK);
    RIG_REFUSED(&rig, rig_unmap(&rig, 1, 0x1001, 0x2fff), VIOMMU_S_RANGE);
    UT_EQ(rig_unmap(&rig, 1, 0x0fff, 0x2001), VIOMMU_S_OK);
    UT_EQ(viommu_n_mappings(rig.v), 0);
    rig_stop(&rig);
}

/* D37, V28, V29 and ARCHITECTURE.md section 8: the seven mappings of QEMU's half-done UNMAP */
static void refused_unmap_removes_nothing_of_many(void)
{
    UT_REQUIRE(start(4096, true));
    for (uint64_t i = 0; i < 7; i++)
        UT_EQ(map_span((struct span)SPAN(2 * i, 2 * i + 1)), VIOMMU_S_OK);
    RIG_REFUSED(&rig, rig_unmap(&rig, 1, 0, 0xcfff), VIOMMU_S_RANGE);
    RIG_REFUSED(&rig, rig_unmap(&rig, 1, 0x1000, 0xdfff), VIOMMU_S_RANGE);
    UT_EQ(viommu_n_mappings(rig.v), 7);
    UT_EQ(rig.host.calls[HOST_UNMAP], 0);
    rig_stop(&rig);
}

/* Host first, then memory; one host call per space, whatever the number of mappings. */
static void unmap_calls_the_host_once_and_before_it_unpins(void)
{
    char *trace;

    UT_REQUIRE(start(4096, true));
    for (uint64_t i = 1; i < 4; i++)
        UT_EQ(map_span((struct span)SPAN(2 * i, 2 * i)), VIOMMU_S_OK);
    rig_trace_begin(&rig);
    UT_EQ(rig_unmap(&rig, 1, 0, TOP), VIOMMU_S_OK);
    trace = rig_trace_end(&rig);
    UT_STR(trace, "unmap 0 0x2000-0x6fff of 0x3000\n"
                  "unpin 0x2000-0x2fff rw\nunpin 0x4000-0x4fff rw\nunpin 0x6000-0x6fff rw\n");
    free(trace);
    UT_EQ(rig_unmap(&rig, 1, 0, TOP), VIOMMU_S_OK);
    UT_EQ(rig.host.calls[HOST_UNMAP], 1); /* nothing to remove: no call */
    rig_stop(&rig);
}

/* Identical memory mapped twice is pinned twice, and each UNMAP ends one pin. */
static void memory_mapped_twice_stays_pinned_until_both_are_gone(void)
{
    struct range page = {0x8000, 0x8fff};

    UT_REQUIRE(start(4096, true));
    UT_EQ(rig_map(&rig, 1, 0, PAGE - 1, 0x8000, MAP_RW), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 1, PAGE, 2 * PAGE - 1, 0x8000, MAP_RW), VIOMMU_S_OK);
    UT_EQ(model_space_pinned(&rig.mem, page, true), 2);
    UT_EQ(rig_unmap(&rig, 1, 0, PAGE - 1), VIOMMU_S_OK);
    UT_EQ(model_space_pinned(&rig.mem, page, true), 1);
    UT_EQ(rig_unmap(&rig, 1, PAGE, 2 * PAGE - 1), VIOMMU_S_OK);
    UT_EQ(rig.mem.n_pins, 0);
    rig_stop(&rig);
}

int main(int argc, char **argv)
{
    static const struct ut_case cases[] = {
        UT_CASE(u1_to_u14_at_4k),
        UT_CASE(u1_to_u14_at_4k_with_a_host),
        UT_CASE(u1_to_u14_at_one_byte),
        UT_CASE(u1_to_u14_at_one_byte_with_a_host),
        UT_CASE(u15_everything_in_one_unmap),
        UT_CASE(u16_mapping_that_ends_at_the_top),
        UT_CASE(u17_vdomain_that_never_was_is_noent),
        UT_CASE(u18_bypass_vdomain_is_inval),
        UT_CASE(u19_unmap_twice_is_ok_twice),
        UT_CASE(u20_reserved_bytes_are_inval_and_remove_nothing),
        UT_CASE(u21_addresses_are_reusable_at_once),
        UT_CASE(u22_mappings_die_with_the_vdomain),
        UT_CASE(inverted_unmap_is_inval),
        UT_CASE(unaligned_unmap_that_splits_nothing_is_ok),
        UT_CASE(refused_unmap_removes_nothing_of_many),
        UT_CASE(unmap_calls_the_host_once_and_before_it_unpins),
        UT_CASE(memory_mapped_twice_stays_pinned_until_both_are_gone),
    };

    return ut_main(argc, argv, "viommu_unmap", cases, ARRAY_SIZE(cases));
}
