/* SPDX-License-Identifier: GPL-2.0-only */
/* Inclusive ranges, above all at the two ends of the address space. */
#include <config.h>

#include "common/range.h"

#include <stddef.h>

#include "common/compiler.h"
#include "tests/support/ut.h"

static const struct range everything = {0, UINT64_MAX};

static void size_makes_an_inclusive_range_or_is_refused(void)
{
    struct range r = {1, 2};

    UT_TRUE(range_from_size(0x1000, 0x1000, &r));
    UT_EQ(r.first, 0x1000);
    UT_EQ(r.last, 0x1fff);
    UT_TRUE(range_from_size(UINT64_MAX, 1, &r));
    UT_EQ(r.first, UINT64_MAX);
    UT_EQ(r.last, UINT64_MAX);
    UT_TRUE(range_from_size(1, UINT64_MAX, &r));
    UT_EQ(r.last, UINT64_MAX);
    UT_FALSE(range_from_size(5, 0, &r));
    UT_FALSE(range_from_size(2, UINT64_MAX, &r));
    UT_FALSE(range_from_size(UINT64_MAX, 2, &r));
    UT_EQ(r.first, 1);
    UT_EQ(r.last, UINT64_MAX);
}

static void moving_keeps_the_size_and_does_not_wrap(void)
{
    struct range r = {7, 8};

    UT_TRUE(range_moved((struct range){0x1000, 0x1fff}, 0x5000, &r));
    UT_EQ(r.first, 0x5000);
    UT_EQ(r.last, 0x5fff);
    UT_TRUE(range_moved(everything, 0, &r));
    UT_EQ(r.last, UINT64_MAX);
    UT_TRUE(range_moved((struct range){0, 0xfff}, UINT64_MAX - 0xfff, &r));
    UT_EQ(r.last, UINT64_MAX);
    UT_FALSE(range_moved((struct range){0, 0xfff}, UINT64_MAX - 0xffe, &r));
    UT_FALSE(range_moved(everything, 1, &r));
    UT_EQ(r.first, UINT64_MAX - 0xfff);
}

static void validity_is_order(void)
{
    UT_TRUE(range_valid((struct range){5, 5}));
    UT_TRUE(range_valid(everything));
    UT_FALSE(range_valid((struct range){6, 5}));
    UT_FALSE(range_valid((struct range){UINT64_MAX, 0}));
}

static void containment_includes_both_ends(void)
{
    struct range r = {10, 20};

    UT_TRUE(range_contains_addr(r, 10));
    UT_TRUE(range_contains_addr(r, 20));
    UT_FALSE(range_contains_addr(r, 9));
    UT_FALSE(range_contains_addr(r, 21));
    UT_TRUE(range_contains_addr(everything, 0));
    UT_TRUE(range_contains_addr(everything, UINT64_MAX));
    UT_TRUE(range_contains(r, r));
    UT_TRUE(range_contains(everything, r));
    UT_FALSE(range_contains(r, everything));
    UT_FALSE(range_contains(r, (struct range){9, 20}));
    UT_FALSE(range_contains(r, (struct range){10, 21}));
}

static void overlap_needs_a_common_address(void)
{
    static const struct {
        struct range a, b;
        bool overlap;
    } cases[] = {
        {{0, 9}, {10, 19}, false},
        {{0, 10}, {10, 19}, true},
        {{0, UINT64_MAX}, {5, 5}, true},
        {{0, 0}, {0, 0}, true},
        {{0, 0}, {UINT64_MAX, UINT64_MAX}, false},
        {{UINT64_MAX, UINT64_MAX}, {0, UINT64_MAX}, true},
        {{3, 4}, {0, 9}, true},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        UT_EQ(range_overlaps(cases[i].a, cases[i].b), cases[i].overlap);
        UT_EQ(range_overlaps(cases[i].b, cases[i].a), cases[i].overlap);
    }
}

static void intersection_is_the_common_part(void)
{
    struct range r = range_intersect((struct range){0, 10}, (struct range){5, UINT64_MAX});

    UT_EQ(r.first, 5);
    UT_EQ(r.last, 10);
    r = range_intersect(everything, (struct range){3, 4});
    UT_EQ(r.first, 3);
    UT_EQ(r.last, 4);
}

static void alignment_looks_at_both_ends(void)
{
    UT_TRUE(range_aligned((struct range){0x1000, 0x1fff}, 0x1000));
    UT_TRUE(range_aligned(everything, 0x1000));
    UT_TRUE(range_aligned(everything, 1ull << 63));
    UT_TRUE(range_aligned((struct range){3, 5}, 1));
    UT_FALSE(range_aligned((struct range){0x1001, 0x1fff}, 0x1000));
    UT_FALSE(range_aligned((struct range){0x1000, 0x1ffe}, 0x1000));
    UT_FALSE(range_aligned((struct range){0x1000, 0x2000}, 0x1000));
}

static void size_of_everything_is_zero(void)
{
    UT_EQ(range_size(everything), 0);
    UT_EQ(range_size((struct range){5, 5}), 1);
    UT_EQ(range_size((struct range){1, UINT64_MAX}), UINT64_MAX);
}

int main(int argc, char **argv)
{
    static const struct ut_case cases[] = {
        UT_CASE(size_makes_an_inclusive_range_or_is_refused),
        UT_CASE(moving_keeps_the_size_and_does_not_wrap),
        UT_CASE(validity_is_order),
        UT_CASE(containment_includes_both_ends),
        UT_CASE(overlap_needs_a_common_address),
        UT_CASE(intersection_is_the_common_part),
        UT_CASE(alignment_looks_at_both_ends),
        UT_CASE(size_of_everything_is_zero),
    };

    return ut_main(argc, argv, "range", cases, ARRAY_SIZE(cases));
}
