/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guest memory against a fake grant table: exact addresses, life of windows, budget, failures of
 * the host at every step, and replacement of the grant map under pins.
 */
#include <config.h>

#include "backend/virtio/gmem_priv.h"

#include <errno.h>
#include <string.h>

#include "tests/support/fake_grants.h"
#include "tests/support/ut.h"

#define PAGE     ((uint64_t)GRANT_PAGE_SIZE)
#define GUEST    256u     /* pages of guest memory */
#define REF      100u     /* page p is reference REF + p, read-write */
#define REF_RO   5000u    /* and REF_RO + p, read-only */
#define BASE     0x80000u /* where maps put guest memory, as a frame */
#define LAST_REF UINT32_MAX

static struct fake_grants *grants;
static struct gmem *mem;

static const struct gmem_limits small = {
    .max_pages = 65, .max_windows = 17, .max_pin_pages = 48, .window_pages = 8};

/* By way of what was looked up last, where that serves. Not inline: the compiler shall not know
 * what a test knows. */
static NOINLINE int mem_check(struct range gpa, bool write)
{
    return gmem_check_quick(mem, gpa, write);
}

static NOINLINE int mem_read(uint64_t gpa, void *buf, size_t len)
{
    return gmem_read_quick(mem, gpa, buf, len);
}

static NOINLINE int mem_write(uint64_t gpa, const void *buf, size_t len)
{
    return gmem_write_quick(mem, gpa, buf, len);
}

/* References of page 0 (read-write) up to the very last, for bounds. */
static bool world_with(const struct grant_ops *ops, const struct gmem_limits *limits)
{
    grants = fake_grants_new(GUEST, false);
    if (!grants || !fake_grants_grant(grants, REF, 0, GUEST, false) ||
        !fake_grants_grant(grants, REF_RO, 0, GUEST, true) ||
        !fake_grants_grant(grants, LAST_REF - 3, 0, 4, false))
        return false;
    for (size_t i = 0; i < GUEST * PAGE; i++)
        fake_grants_memory(grants)[i] = (uint8_t)(i * 31 + i / PAGE);
    return gmem_new(&mem, ops, grants, limits) == 0;
}

static bool world(void)
{
    return world_with(&fake_grants_ops, &small);
}

/* Ends a test: nothing may stay mapped, nothing may have been unmapped that was not mapped. */
static void end(void)
{
    if (mem && grants) {
        struct gmem_stats s;

        gmem_get_stats(mem, &s);
        UT_EQ(s.copies, fake_grants_copy_calls(grants));
        UT_EQ(s.calls, fake_grants_calls(grants) + s.copies);
    }
    mem = gmem_free(mem);
    if (grants) {
        UT_EQ(fake_grants_live_pages(grants), 0);
        UT_EQ(fake_grants_live_maps(grants), 0);
        UT_EQ(fake_grants_errors(grants), 0);
    }
    grants = fake_grants_free(grants);
}

static struct range bytes(uint64_t first, uint64_t size)
{
    return (struct range){first, first + (size - 1)};
}

static uint64_t grant_address(uint32_t ref, uint64_t offset)
{
    return GMEM_GRANT_BIT | ((uint64_t)ref << GRANT_PAGE_SHIFT) | offset;
}

/* Pages of `ref` on, as an inclusive range of grant addresses. */
static struct range grant_pages(uint32_t ref, uint64_t n)
{
    return bytes(grant_address(ref, 0), n * PAGE);
}

/* Pages of the usual map: page p of the guest is at frame BASE + p. */
static struct range map_pages(uint64_t page, uint64_t n)
{
    return bytes((BASE + page) * PAGE, n * PAGE);
}

static struct gmem_run run_of(uint64_t page, uint32_t pages, bool read_only)
{
    return (struct gmem_run){.address = (BASE + page) * PAGE,
                             .first_ref = (read_only ? REF_RO : REF) + (uint32_t)page,
                             .pages = pages,
                             .read_only = read_only};
}

static int set_whole_map(void)
{
    struct gmem_run run = run_of(0, GUEST, false);

    return gmem_set_map(mem, &run, 1);
}

static struct gmem_stats stats(void)
{
    struct gmem_stats s;

    gmem_get_stats(mem, &s);
    return s;
}

/* Is byte `offset` of the guest what the segment at `gpa` shows, and how long is the segment? */
static void expect_segment(struct range gpa, bool write, size_t offset, uint64_t len)
{
    void *hva = NULL;
    uint64_t got = 0;

    UT_EQ(gmem_segment(mem, gpa, write, &hva, &got), 0);
    UT_EQ(got, len);
    if (hva)
        UT_TRUE(memcmp(hva, fake_grants_memory(grants) + offset, (size_t)got) == 0);
}

#define TOO_MANY ((1ull << 31) + 1)

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* --- what gmem_priv.h says of the books --------------------------------------------------------
 */

static size_t depth(const struct window *t)
{
    size_t left, right;

    if (!t)
        return 0;
    left = depth(t->left);
    right = depth(t->right);
    return 1 + (left > right ? left : right);
}

/* In order, a heap by priority, and each node knows the highest end below it; counts them. */
static bool tree_is_sound(const struct window *t, bool write, size_t *count)
{
    uint64_t max_last;

    if (!t)
        return true;
    (*count)++;
    max_last = t->last;
    for (int side = 0; side < 2; side++) {
        const struct window *child = side ? t->right : t->left;
        const struct window *low = side ? t : child, *high = side ? child : t;

        if (!child)
            continue;
        if (child->max_last > max_last)
            max_last = child->max_last;
        if (child->priority > t->priority || low->first > high->first ||
            (low->first == high->first && low->last >= high->last) ||
            !tree_is_sound(child, write, count))
            return false;
    }
    return t->base && t->grant && t->writable == write && t->max_last == max_last;
}

static size_t list_length(const struct wlist *list, bool grant)
{
    const struct window *before = NULL;
    size_t n = 0;

    for (const struct window *w = list->oldest; w; before = w, w = w->newer, n++) {
        if (w->older != before || w->pins || !w->base || w->grant != grant)
            return SIZE_MAX;
    }
    return list->newest == before ? n : SIZE_MAX;
}

/* Everything that is mapped is in its tree or bucket, in a list or pinned, and counted. */
static bool books_are_right(void)
{
    size_t pages = 0, held_pages = 0, windows = 0, held = 0, idle[2] = {0}, in_trees = 0, trees = 0;

    for (size_t i = 0; i < mem->pool_used; i++) {
        const struct window *w = &mem->pool[i];

        if (!w->base)
            continue;
        pages += window_pages(w);
        windows++;
        trees += w->grant;
        if (w->pins) {
            held++;
            held_pages += window_pages(w);
        } else {
            idle[w->grant]++;
        }
        if (!w->grant && window_of_frame(mem, w->first, w->writable) != w)
            return false;
    }
    return mem->pages == pages && mem->windows == windows && mem->held_pages == held_pages &&
           mem->pinned_pages == held_pages && mem->held_windows == held &&
           list_length(&mem->idle, false) == idle[0] && list_length(&mem->temps, true) == idle[1] &&
           tree_is_sound(mem->grants[0], false, &in_trees) &&
           tree_is_sound(mem->grants[1], true, &in_trees) && in_trees == trees;
}

static void limits_that_make_no_sense_are_refused(void)
{
    static const struct gmem_limits bad[] = {
        {.max_pages = 0, .max_windows = 4, .max_pin_pages = 4, .window_pages = 4},
        {.max_pages = 1, .max_windows = 4, .max_pin_pages = 4, .window_pages = 4},
        {.max_pages = 4, .max_windows = 1, .max_pin_pages = 4, .window_pages = 4},
        {.max_pages = 4, .max_windows = 4, .max_pin_pages = 0, .window_pages = 4},
        {.max_pages = 4, .max_windows = 4, .max_pin_pages = 4, .window_pages = 0},
        {.max_pages = 4, .max_windows = 4, .max_pin_pages = 4, .window_pages = 3},
        {.max_pages = SIZE_MAX, .max_windows = 4, .max_pin_pages = 4, .window_pages = 4},
        {.max_pages = TOO_MANY, .max_windows = 4, .max_pin_pages = 4, .window_pages = 4},
        {.max_pages = 4, .max_windows = TOO_MANY, .max_pin_pages = 4, .window_pages = 4},
        {.max_pages = 4, .max_windows = 4, .max_pin_pages = TOO_MANY, .window_pages = 4},
        {.max_pages = 4, .max_windows = 4, .max_pin_pages = 4, .window_pages = 1ull << 32},
    };

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct gmem *m = NULL;

        UT_EQ(gmem_new(&m, &fake_grants_ops, NULL, &bad[i]), -EINVAL);
        UT_TRUE(m == NULL);
    }
    UT_TRUE(gmem_free(NULL) == NULL);
}

static void the_smallest_limits_and_many_pages_work(void)
{
    static const struct gmem_limits limits[] = {
        {.max_pages = 2, .max_windows = 2, .max_pin_pages = 1, .window_pages = 1},
        {.max_pages = 1ull << 31, .max_windows = 2, .max_pin_pages = 1, .window_pages = 1},
    };
    uint8_t byte;

    for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
        UT_REQUIRE(world_with(&fake_grants_ops, &limits[i]));
        UT_EQ(mem_check(bytes(0, 1), true), -EFAULT); /* no map yet */
        UT_EQ(set_whole_map(), 0);
        UT_EQ(mem_read((BASE + 5) * PAGE, &byte, 1), 0);
        UT_EQ(fake_grants_live_pages(grants), 1);
        UT_EQ(gmem_pin(mem, map_pages(6, 1), true), 0);
        UT_EQ(gmem_pin(mem, map_pages(7, 2), true), -ENOMEM);
        UT_EQ(gmem_pin(mem, map_pages(8, 1), true), -ENOMEM);
        UT_EQ(stats().replaced, 1);
        end();
    }
}

/* What windows need is there, however little one pin may. */
static void windows_may_be_larger_than_pins(void)
{
    struct gmem_limits limits = {
        .max_pages = 65, .max_windows = 17, .max_pin_pages = 2, .window_pages = 32};
    uint8_t buf[6 * GRANT_PAGE_SIZE];

    UT_REQUIRE(world_with(&fake_grants_ops, &limits));
    UT_EQ(set_whole_map(), 0);
    UT_EQ(mem_read(BASE * PAGE, buf, 1), 0);
    UT_EQ(fake_grants_live_pages(grants), 32);
    UT_EQ(gmem_pin(mem, map_pages(0, 2), true), 0);
    UT_EQ(gmem_pin(mem, map_pages(0, 3), true), -ENOMEM); /* also within a window */
    end();
    limits.window_pages = 1;
    UT_REQUIRE(world_with(&fake_grants_ops_no_copy, &limits));
    gmem_begin(mem);
    UT_EQ(mem_read(grant_address(REF, 0), buf, sizeof(buf)), 0);
    UT_EQ(fake_grants_map_calls(grants), 1);
    gmem_end(mem);
    UT_TRUE(memcmp(buf, fake_grants_memory(grants), sizeof(buf)) == 0);
    end();
}

static void grant_addresses_have_exact_bounds(void)
{
    const struct {
        uint64_t first, last;
        int want;
    } cases[] = {
        {grant_address(REF, 0), grant_address(REF, 0), 0},
        {grant_address(REF, 4095), grant_address(REF, 4095), 0},
        {grant_address(0, 0), grant_address(0, 4095), -EFAULT},
        {grant_address(0, 4095), grant_address(1, 0), -EFAULT},
        {grant_address(1, 0), grant_address(1, 4095), 0},
        {grant_address(LAST_REF, 0), grant_address(LAST_REF, 4095), 0},
        {grant_address(LAST_REF, 4095), grant_address(LAST_REF, 4095) + 1, -EFAULT},
        {grant_address(LAST_REF, 0), GMEM_GRANT_BIT | (1ull << 44), -EFAULT},
        {grant_address(0, 0), UINT64_MAX, -EFAULT},
        {grant_address(REF, 1), grant_address(REF, 0), -EFAULT},
        {GMEM_GRANT_BIT - 1, GMEM_GRANT_BIT, -EFAULT},
        {0, UINT64_MAX, -EFAULT},
    };

    UT_REQUIRE(world());
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct range gpa = {cases[i].first, cases[i].last};

        UT_EQ(mem_check(gpa, false), cases[i].want);
        UT_EQ(mem_check(gpa, true), cases[i].want);
    }
    for (unsigned bit = 44; bit < 63; bit++) {
        struct range gpa = bytes(grant_address(REF, 0) | (1ull << bit), 1);
        uint8_t byte = 0;

        UT_EQ(mem_check(gpa, false), -EFAULT);
        UT_EQ(gmem_pin(mem, gpa, false), -EFAULT);
        UT_EQ(mem_read(gpa.first, &byte, 1), -EFAULT);
        UT_EQ(mem_write(gpa.first, &byte, 1), -EFAULT);
    }
    UT_EQ(fake_grants_map_calls(grants), 0);
    UT_EQ(fake_grants_copy_calls(grants), 0);
    end();
}

static void last_references_can_be_pinned(void)
{
    struct range gpa = grant_pages(LAST_REF - 3, 4);

    UT_REQUIRE(world());
    UT_EQ(gmem_pin(mem, gpa, true), 0);
    UT_EQ(fake_grants_live(grants, LAST_REF), 1);
    expect_segment(gpa, true, 0, 4 * PAGE);
    expect_segment(bytes(gpa.last, 1), true, 4 * PAGE - 1, 1);
    gmem_unpin(mem, gpa, true);
    gpa.last++;
    UT_EQ(gmem_pin(mem, gpa, true), -EFAULT);
    end();
}

static void map_addresses_have_exact_bounds(void)
{
    const struct gmem_run runs[] = {run_of(8, 4, false), run_of(0, 4, false), run_of(4, 2, true)};
    const struct {
        uint64_t first, last; /* bytes from page 0 of the map */
        bool write;
        int want;
    } cases[] = {
        {0, 0, true, 0},
        {0, 4 * PAGE - 1, true, 0},
        {0, 4 * PAGE, true, -EFAULT}, /* read-only page */
        {0, 4 * PAGE, false, 0},
        {4 * PAGE - 1, 6 * PAGE - 1, false, 0},
        {4 * PAGE - 1, 6 * PAGE, false, -EFAULT}, /* hole */
        {4 * PAGE, 4 * PAGE, true, -EFAULT},
        {6 * PAGE, 6 * PAGE, false, -EFAULT},
        {8 * PAGE - 1, 8 * PAGE, false, -EFAULT},
        {8 * PAGE, 12 * PAGE - 1, true, 0},
        {8 * PAGE, 12 * PAGE, false, -EFAULT},
        {9 * PAGE, 8 * PAGE, false, -EFAULT},
    };

    UT_REQUIRE(world());
    UT_EQ(gmem_set_map(mem, runs, 3), 0);
    UT_EQ(gmem_map_runs(mem), 3);
    UT_EQ(gmem_map_pages(mem), 10);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct range gpa = {BASE * PAGE + cases[i].first, BASE * PAGE + cases[i].last};

        UT_EQ(mem_check(gpa, cases[i].write), cases[i].want);
        UT_EQ(fake_grants_live_pages(grants), 0);
        UT_EQ(gmem_pin(mem, gpa, cases[i].write), cases[i].want);
        if (cases[i].want == 0)
            gmem_unpin(mem, gpa, cases[i].write);
        UT_EQ(gmem_set_map(mem, NULL, 0), 0);
        UT_EQ(gmem_set_map(mem, runs, 3), 0);
    }
    UT_EQ(mem_check(bytes(BASE * PAGE - 1, 1), false), -EFAULT);
    end();
}

static void a_map_reaches_up_to_bit_63(void)
{
    struct gmem_run run = {.address = GMEM_GRANT_BIT - PAGE, .first_ref = REF, .pages = 1};
    uint8_t byte = 0;

    UT_REQUIRE(world());
    UT_EQ(gmem_set_map(mem, &run, 1), 0);
    UT_EQ(mem_read(GMEM_GRANT_BIT - 1, &byte, 1), 0);
    UT_EQ(byte, fake_grants_memory(grants)[PAGE - 1]);
    UT_EQ(mem_read(GMEM_GRANT_BIT - 1, &byte, 2), -EFAULT);
    run = (struct gmem_run){.address = BASE * PAGE, .first_ref = LAST_REF - 3, .pages = 4};
    UT_EQ(gmem_set_map(mem, &run, 1), 0); /* and to the last reference */
    UT_EQ(mem_read((BASE + 4) * PAGE - 1, &byte, 1), 0);
    UT_EQ(byte, fake_grants_memory(grants)[4 * PAGE - 1]);
    run = (struct gmem_run){.address = 0, .first_ref = REF, .pages = 1};
    UT_EQ(gmem_set_map(mem, &run, 1), 0);
    UT_EQ(gmem_pin(mem, bytes(0, PAGE), true), 0);
    UT_EQ(mem_check(bytes(0, PAGE + 1), true), -EFAULT);
    run.read_only = true;
    UT_EQ(gmem_set_map(mem, &run, 1), -EBUSY);
    gmem_unpin(mem, bytes(0, PAGE), true);
    UT_EQ(gmem_set_map(mem, &run, 1), 0);
    UT_EQ(mem_check(bytes(0, 1), true), -EFAULT);
    UT_EQ(mem_check(bytes(0, 1), false), 0);
    end();
}

static void a_malformed_map_is_refused_and_the_old_one_stays(void)
{
    const struct gmem_run good = run_of(0, 8, false);
    const struct gmem_run bad[] = {
        {.address = (BASE + 150) * PAGE, .first_ref = REF, .pages = 0},
        {.address = (BASE + 150) * PAGE + 1, .first_ref = REF, .pages = 1},
        {.address = (BASE + 150) * PAGE + 2048, .first_ref = REF, .pages = 1},
        {.address = (BASE + 150) * PAGE, .first_ref = 0, .pages = 1},
        {.address = (BASE + 150) * PAGE, .first_ref = LAST_REF, .pages = 2},
        {.address = (BASE + 150) * PAGE, .first_ref = 2, .pages = UINT32_MAX},
        {.address = GMEM_GRANT_BIT, .first_ref = REF, .pages = 1},
        {.address = GMEM_GRANT_BIT - PAGE, .first_ref = REF, .pages = 2},
        {.address = UINT64_MAX - PAGE + 1, .first_ref = REF, .pages = 1},
        {.address = UINT64_MAX - PAGE + 1, .first_ref = REF, .pages = 2},
        {.address = (BASE + 103) * PAGE, .first_ref = REF, .pages = 1}, /* overlaps the end */
        {.address = (BASE + 99) * PAGE, .first_ref = REF, .pages = 2},  /* and the start */
    };

    UT_REQUIRE(world());
    UT_EQ(gmem_set_map(mem, &good, 1), 0);
    UT_EQ(gmem_pin(mem, map_pages(0, 1), true), 0);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct gmem_run runs[] = {good, run_of(100, 4, false), bad[i], run_of(200, 1, false)};

        UT_EQ(gmem_set_map(mem, runs, 4), -EINVAL);
        if (i < ARRAY_SIZE(bad) - 2) /* the last two are only bad in company */
            UT_EQ(gmem_set_map(mem, &bad[i], 1), -EINVAL);
        UT_EQ(gmem_map_runs(mem), 1);
        UT_EQ(gmem_map_pages(mem), 8);
        UT_EQ(mem_check(map_pages(100, 1), false), -EFAULT);
        expect_segment(map_pages(0, 1), true, 0, PAGE);
    }
    end();
}

static void grant_window_lives_from_first_to_last_pin(void)
{
    struct range gpa = grant_pages(REF + 3, 4);

    UT_REQUIRE(world());
    UT_EQ(gmem_pin(mem, gpa, false), 0);
    UT_EQ(gmem_pin(mem, gpa, false), 0);
    UT_EQ(fake_grants_live(grants, REF + 3), 1);
    UT_EQ(stats().pinned_pages, 4);
    UT_EQ(fake_grants_revoke(grants, REF + 3, 1), -EBUSY);
    gmem_unpin(mem, gpa, false);
    UT_EQ(fake_grants_live(grants, REF + 3), 1);
    gmem_unpin(mem, gpa, false);
    UT_EQ(fake_grants_live_pages(grants), 0);
    UT_EQ(fake_grants_revoke(grants, REF + 3, 4), 0);
    UT_EQ(stats().pages, 0);
    UT_EQ(stats().maps, 1);
    UT_EQ(stats().unmaps, 1);
    UT_EQ(gmem_pin(mem, gpa, false), -EFAULT); /* nothing was cached */
    gmem_unpin(mem, gpa, false);               /* too often: harmless */
    end();
}

static void ranges_within_a_page_share_the_window_of_the_page(void)
{
    struct range a = bytes(grant_address(REF, 100), 50), b = bytes(grant_address(REF, 4095), 1);

    UT_REQUIRE(world());
    UT_EQ(gmem_pin(mem, a, true), 0);
    UT_EQ(gmem_pin(mem, b, true), 0);
    UT_EQ(fake_grants_live(grants, REF), 1);
    expect_segment(a, true, 100, 50);
    expect_segment(b, true, 4095, 1);
    gmem_unpin(mem, a, true);
    UT_EQ(fake_grants_live(grants, REF), 1);
    gmem_unpin(mem, b, true);
    UT_EQ(fake_grants_live(grants, REF), 0);
    end();
}

static void offset_that_crosses_a_page_takes_the_next_reference(void)
{
    struct range gpa = bytes(grant_address(REF + 1, 4095), 2);

    UT_REQUIRE(world());
    UT_EQ(gmem_pin(mem, gpa, false), 0);
    UT_EQ(fake_grants_live(grants, REF + 1), 1);
    UT_EQ(fake_grants_live(grants, REF + 2), 1);
    UT_EQ(fake_grants_live(grants, REF + 3), 0);
    expect_segment(gpa, false, 2 * PAGE - 1, 2);
    gmem_unpin(mem, gpa, false);
    end();
}

static void read_and_write_pins_of_the_same_grant_are_apart(void)
{
    struct range gpa = grant_pages(REF, 2);

    UT_REQUIRE(world());
    UT_EQ(gmem_pin(mem, gpa, false), 0);
    UT_EQ(gmem_pin(mem, gpa, true), 0);
    UT_EQ(fake_grants_live(grants, REF), 2);
    gmem_unpin(mem, gpa, false);
    UT_EQ(fake_grants_live(grants, REF), 1);
    expect_segment(gpa, true, 0, 2 * PAGE);
    gmem_unpin(mem, gpa, true);
    UT_EQ(fake_grants_live(grants, REF), 0);
    end();
}

static void overlapping_grant_pins_end_one_by_one(void)
{
    UT_REQUIRE(world());
    for (uint32_t i = 0; i < 6; i++)
        UT_EQ(gmem_pin(mem, grant_pages(REF + i, 6 - i), true), 0);
    for (uint32_t i = 0; i < 6; i++)
        UT_EQ(fake_grants_live(grants, REF + i), i + 1);
    expect_segment(bytes(grant_address(REF + 5, 7), 9), true, 5 * PAGE + 7, 9);
    for (uint32_t i = 0; i < 6; i++) {
        gmem_unpin(mem, grant_pages(REF + i, 6 - i), true);
        for (uint32_t k = 0; k < 6; k++)
            UT_EQ(fake_grants_live(grants, REF + k), k > i ? k - i : 0);
    }
    end();
}

static void read_only_grants_serve_reads_only(void)
{
    struct range gpa = grant_pages(REF_RO, 2);
    uint8_t byte = 1;

    UT_REQUIRE(world());
    UT_EQ(gmem_pin(mem, gpa, true), -EFAULT);
    UT_EQ(mem_write(gpa.first, &byte, 1), -EFAULT);
    UT_EQ(fake_grants_live_pages(grants), 0);
    UT_EQ(gmem_pin(mem, gpa, false), 0);
    UT_EQ(gmem_pin(mem, gpa, true), -EFAULT);
    UT_EQ(mem_write(gpa.first, &byte, 1), -EFAULT);
    UT_EQ(mem_read(gpa.first, &byte, 1), 0);
    UT_EQ(byte, fake_grants_memory(grants)[0]);
    end();
}

static void read_only_runs_serve_reads_only(void)
{
    struct gmem_run run = run_of(0, 2, true);
    uint8_t byte = 1;

    UT_REQUIRE(world());
    UT_EQ(gmem_set_map(mem, &run, 1), 0);
    UT_EQ(mem_write(run.address, &byte, 1), -EFAULT);
    UT_EQ(fake_grants_live_pages(grants), 0);
    UT_EQ(mem_read(run.address, &byte, 1), 0);
    UT_EQ(byte, fake_grants_memory(grants)[0]);
    /* Nor through the window that serves the reads now. */
    UT_EQ(mem_write(run.address, &byte, 1), -EFAULT);
    UT_EQ(gmem_pin(mem, map_pages(0, 1), true), -EFAULT);
    end();
}

static void map_windows_persist_and_a_pin_again_makes_no_call(void)
{
    UT_REQUIRE(world());
    UT_EQ(set_whole_map(), 0);
    UT_EQ(gmem_pin(mem, map_pages(3, 1), true), 0);
    UT_EQ(fake_grants_live_pages(grants), 8); /* the chunk */
    gmem_unpin(mem, map_pages(3, 1), true);
    UT_EQ(fake_grants_live_pages(grants), 8);
    UT_EQ(stats().pinned_pages, 0);
    UT_EQ(gmem_pin(mem, map_pages(0, 8), false), 0);
    UT_EQ(fake_grants_map_calls(grants), 1);
    expect_segment(map_pages(0, 8), false, 0, 8 * PAGE);
    expect_segment(bytes((BASE + 7) * PAGE + 4095, 1), false, 8 * PAGE - 1, 1);
    gmem_unpin(mem, map_pages(0, 8), false);
    end();
}

static void an_unpin_too_many_changes_nothing(void)
{
    UT_REQUIRE(world());
    UT_EQ(set_whole_map(), 0);
    gmem_unpin(mem, map_pages(3, 1), true); /* never pinned: no window either */
    gmem_unpin(mem, bytes((BASE - 2) * PAGE, 4 * PAGE), true);
    gmem_unpin(mem, bytes((BASE + GUEST - 2) * PAGE, 4 * PAGE), true);
    UT_EQ(stats().pages, 0);
    UT_EQ(gmem_pin(mem, map_pages(3, 1), true), 0);
    gmem_unpin(mem, map_pages(3, 1), true);
    gmem_unpin(mem, map_pages(3, 1), true);
    gmem_unpin(mem, map_pages(0, 1), false);
    UT_EQ(stats().pinned_pages, 0);
    UT_EQ(stats().pages, 8);
    UT_EQ(gmem_pin(mem, map_pages(0, 48), true), 0); /* and 16 more pages fit, no less, no more */
    UT_EQ(stats().pinned_pages, 48);
    UT_EQ(gmem_pin(mem, map_pages(48, 17), true), -ENOMEM);
    UT_EQ(gmem_pin(mem, map_pages(48, 16), true), 0);
    UT_EQ(stats().pinned_pages, 64);
    end();
}

static void pin_over_several_windows_has_a_segment_each(void)
{
    struct range gpa = bytes(BASE * PAGE + 6 * PAGE + 10, 12 * PAGE);
    uint64_t at = gpa.first, sum = 0;
    unsigned n = 0;

    UT_REQUIRE(world());
    UT_EQ(set_whole_map(), 0);
    UT_EQ(gmem_pin(mem, gpa, true), 0);
    UT_EQ(fake_grants_live_maps(grants), 3);
    while (sum < 12 * PAGE && n < 20) {
        void *hva = NULL;
        uint64_t len = 0;

        UT_REQUIRE(gmem_segment(mem, (struct range){at, gpa.last}, true, &hva, &len) == 0);
        UT_TRUE(memcmp(hva, fake_grants_memory(grants) + (at - BASE * PAGE), (size_t)len) == 0);
        at += len;
        sum += len;
        n++;
    }
    UT_EQ(sum, 12 * PAGE);
    UT_EQ(n, 3);
    gmem_unpin(mem, gpa, true);
    UT_EQ(stats().pinned_pages, 0);
    UT_EQ(fake_grants_live_maps(grants), 3); /* they persist */
    end();
}

static void segment_of_what_is_not_pinned_is_refused(void)
{
    void *hva = NULL;
    uint64_t len = 0;
    uint8_t byte;

    UT_REQUIRE(world());
    UT_EQ(set_whole_map(), 0);
    UT_EQ(mem_read(BASE * PAGE, &byte, 1), 0); /* a window, but no pin */
    UT_EQ(gmem_segment(mem, map_pages(0, 1), false, &hva, &len), -EFAULT);
    UT_EQ(gmem_segment(mem, grant_pages(REF, 1), false, &hva, &len), -EFAULT);
    UT_EQ(gmem_pin(mem, grant_pages(REF, 1), false), 0);
    UT_EQ(gmem_segment(mem, grant_pages(REF, 1), true, &hva, &len), -EFAULT);
    UT_EQ(gmem_segment(mem, grant_pages(REF, 2), false, &hva, &len), -EFAULT);
    UT_EQ(gmem_segment(mem, (struct range){1, 0}, false, &hva, &len), -EFAULT);
    UT_EQ(gmem_pin(mem, (struct range){BASE * PAGE + 1, BASE * PAGE}, false), -EFAULT);
    UT_EQ(gmem_pin(mem, map_pages(0, 1), false), 0);
    UT_EQ(gmem_segment(mem, (struct range){BASE * PAGE + 1, BASE * PAGE}, false, &hva, &len),
          -EFAULT);
    UT_TRUE(hva == NULL);
    end();
}

static void idle_windows_are_replaced_oldest_first(void)
{
    uint8_t byte;

    UT_REQUIRE(world()); /* 64 pages for windows: 8 chunks */
    UT_EQ(set_whole_map(), 0);
    for (uint64_t chunk = 0; chunk < 8; chunk++)
        UT_EQ(mem_read((BASE + chunk * 8) * PAGE, &byte, 1), 0);
    UT_EQ(stats().pages, 64);
    UT_EQ(mem_read(BASE * PAGE, &byte, 1), 0); /* chunk 0 is the youngest now */
    UT_EQ(mem_read((BASE + 64) * PAGE, &byte, 1), 0);
    UT_EQ(stats().replaced, 1);
    UT_EQ(fake_grants_live(grants, REF), 1);
    UT_EQ(fake_grants_live(grants, REF + 8), 0);
    UT_EQ(fake_grants_live(grants, REF + 16), 1);
    UT_EQ(fake_grants_live(grants, REF + 64), 1);
    UT_EQ(stats().pages, 64);
    end();
}

static void what_was_looked_up_last_is_forgotten_with_what_it_was(void)
{
    struct gmem_run run = run_of(0, 8, true);
    uint8_t buf[8], want[8];

    UT_REQUIRE(world());
    UT_EQ(set_whole_map(), 0);
    UT_EQ(mem_check(map_pages(0, 8), true), 0);
    UT_EQ(mem_write(BASE * PAGE, buf, 8), 0);
    UT_EQ(gmem_set_map(mem, &run, 1), 0); /* read-only now, and shorter */
    UT_EQ(mem_check(map_pages(0, 8), true), -EFAULT);
    UT_EQ(mem_check(map_pages(0, 9), false), -EFAULT);
    UT_EQ(mem_check(map_pages(0, 8), false), 0);
    UT_EQ(mem_check(map_pages(0, 8), true), -EFAULT);
    UT_EQ(mem_write(BASE * PAGE, buf, 8), -EFAULT);
    UT_EQ(mem_read(BASE * PAGE, buf, 8), 0);
    UT_EQ(mem_write(BASE * PAGE, buf, 8), -EFAULT);
    UT_EQ(gmem_set_map(mem, NULL, 0), 0);
    UT_EQ(mem_read(BASE * PAGE, buf, 8), -EFAULT);
    UT_EQ(mem_check(map_pages(0, 1), false), -EFAULT);
    /* A window of a grant address ends with its pin; what is read then is not what was there. */
    UT_EQ(gmem_pin(mem, grant_pages(REF, 1), true), 0);
    UT_EQ(mem_read(grant_address(REF, 0), buf, 8), 0);
    UT_EQ(mem_write(grant_address(REF, 8), buf, 8), 0);
    UT_EQ(fake_grants_copy_calls(grants), 0);
    gmem_unpin(mem, grant_pages(REF, 1), true);
    UT_EQ(mem_read(grant_address(REF, 0), buf, 8), 0);
    UT_EQ(fake_grants_copy_calls(grants), 1);
    UT_EQ(fake_grants_revoke(grants, REF, 1), 0);
    memcpy(want, buf, sizeof(want));
    UT_TRUE(mem_read(grant_address(REF, 0), buf, 8) < 0);
    UT_TRUE(memcmp(buf, want, sizeof(want)) == 0);
    end();
}

static void what_is_read_at_once_counts_as_use(void)
{
    uint8_t byte;

    UT_REQUIRE(world()); /* 64 pages for windows: 8 chunks */
    UT_EQ(set_whole_map(), 0);
    for (uint64_t chunk = 0; chunk < 8; chunk++)
        UT_EQ(mem_read((BASE + chunk * 8) * PAGE, &byte, 1), 0);
    /* Chunk 1 is the youngest for a while, by its pin; then the one that was read before is. */
    UT_EQ(mem_read(BASE * PAGE, &byte, 1), 0);
    UT_EQ(gmem_pin(mem, map_pages(8, 1), false), 0);
    gmem_unpin(mem, map_pages(8, 1), false);
    UT_EQ(mem_read(BASE * PAGE, &byte, 1), 0);
    for (uint64_t chunk = 8; chunk < 15; chunk++)
        UT_EQ(mem_read((BASE + chunk * 8) * PAGE, &byte, 1), 0);
    UT_EQ(stats().replaced, 7);
    UT_EQ(fake_grants_live(grants, REF), 1);
    UT_EQ(fake_grants_live(grants, REF + 8), 0);
    end();
}

static void what_was_looked_up_last_serves_exactly_what_it_is(void)
{
    const struct gmem_run runs[] = {run_of(0, 8, false), run_of(8, 8, true)};
    const uint64_t end_of_window = (BASE + 8) * PAGE;
    uint8_t buf[160], want[160];

    UT_REQUIRE(world());
    UT_EQ(gmem_set_map(mem, runs, 2), 0);
    UT_EQ(mem_check(map_pages(0, 1), true), 0);
    UT_EQ(mem_check(map_pages(0, 8), true), 0);
    UT_EQ(mem_check(map_pages(0, 9), true), -EFAULT);
    UT_EQ(mem_check(map_pages(0, 9), false), 0);
    UT_EQ(mem_check((struct range){BASE * PAGE + 2, BASE * PAGE + 1}, false), -EFAULT);
    for (size_t len = 0; len <= sizeof(buf) - 2; len++) {
        memset(buf, 0, sizeof(buf));
        UT_EQ(mem_read(BASE * PAGE + 3, buf, len), 0);
        UT_TRUE(memcmp(buf, fake_grants_memory(grants) + 3, len) == 0);
        UT_EQ(buf[len], 0);
        memcpy(want, fake_grants_memory(grants) + 2, sizeof(want));
        memset(want + 1, (int)len, len);
        UT_EQ(mem_write(BASE * PAGE + 3, want + 1, len), 0);
        UT_TRUE(memcmp(want, fake_grants_memory(grants) + 2, sizeof(want)) == 0);
    }
    UT_EQ(mem_write(end_of_window - 8, buf, 8), 0);
    UT_EQ(mem_write(end_of_window - 8, buf, 9), -EFAULT);
    UT_EQ(mem_read(end_of_window - 8, buf, 9), 0);
    /* What a grant address reaches is not at the same address of the map. */
    UT_EQ(gmem_pin(mem, grant_pages(REF, 1), true), 0);
    UT_EQ(mem_read(grant_address(REF, 0), buf, 8), 0);
    UT_EQ(mem_read(grant_address(REF, 0) & ~GMEM_GRANT_BIT, buf, 8), -EFAULT);
    end();
}

static void pinned_windows_are_never_replaced(void)
{
    struct gmem_stats before;

    UT_REQUIRE(world());
    UT_EQ(set_whole_map(), 0);
    UT_EQ(gmem_pin(mem, map_pages(0, 32), true), 0);
    UT_EQ(gmem_pin(mem, map_pages(32, 24), true), 0);
    UT_EQ(gmem_pin(mem, map_pages(56, 1), true), 0);
    before = stats();
    UT_EQ(before.pages, 64);
    UT_EQ(gmem_pin(mem, map_pages(64, 1), true), -ENOMEM);
    UT_EQ(gmem_pin(mem, map_pages(50, 40), true), -ENOMEM);
    UT_EQ(gmem_pin(mem, grant_pages(REF, 1), true), -ENOMEM);
    UT_EQ(stats().refused, 3);
    UT_EQ(stats().pages, before.pages);
    UT_EQ(stats().pinned_pages, before.pinned_pages);
    UT_EQ(stats().maps, before.maps);
    UT_EQ(stats().unmaps, before.unmaps);
    expect_segment(map_pages(0, 8), true, 0, 8 * PAGE);
    gmem_unpin(mem, map_pages(0, 32), true);
    UT_EQ(gmem_pin(mem, map_pages(64, 1), true), 0);
    end();
}

static void a_chunk_that_does_not_fit_is_mapped_in_part(void)
{
    UT_REQUIRE(world());
    UT_EQ(set_whole_map(), 0);
    UT_EQ(gmem_pin(mem, map_pages(0, 48), true), 0);
    UT_EQ(gmem_pin(mem, grant_pages(REF, 10), true), 0); /* 6 left: less than a chunk */
    UT_EQ(gmem_pin(mem, map_pages(50, 2), true), 0);
    UT_EQ(fake_grants_live(grants, REF + 49), 0);
    UT_EQ(fake_grants_live(grants, REF + 50), 1);
    UT_EQ(fake_grants_live(grants, REF + 52), 0);
    UT_EQ(gmem_pin(mem, map_pages(49, 5), true), 0); /* around it: 48 to 49, and 52 to 53 */
    UT_EQ(stats().pages, 64);
    expect_segment(map_pages(49, 5), true, 49 * PAGE, PAGE);
    expect_segment(map_pages(50, 4), true, 50 * PAGE, 2 * PAGE);
    expect_segment(map_pages(52, 2), true, 52 * PAGE, 2 * PAGE);
    gmem_unpin(mem, map_pages(50, 2), true);
    expect_segment(map_pages(50, 4), true, 50 * PAGE, 2 * PAGE);
    gmem_unpin(mem, map_pages(49, 5), true);
    UT_EQ(stats().pinned_pages, 58);
    end();
}

static void number_of_windows_is_limited(void)
{
    UT_REQUIRE(world()); /* 16 for pins */
    for (uint32_t i = 0; i < 16; i++)
        UT_EQ(gmem_pin(mem, grant_pages(REF + i, 1), true), 0);
    UT_EQ(gmem_pin(mem, grant_pages(REF + 16, 1), true), -ENOMEM);
    UT_EQ(gmem_pin(mem, grant_pages(REF + 3, 1), true), 0); /* no new window */
    gmem_unpin(mem, grant_pages(REF, 1), true);
    UT_EQ(gmem_pin(mem, grant_pages(REF + 16, 1), true), 0);
    UT_EQ(stats().windows, 16);
    end();
}

/* One of each kind in turn, with idle windows beside: no more goes than has to. */
static void no_more_is_replaced_than_is_needed(void)
{
    static const struct gmem_limits limits = {
        .max_pages = 1000, .max_windows = 5, .max_pin_pages = 48, .window_pages = 8};

    for (int kind = 0; kind < 3; kind++) {
        struct gmem_area area = GMEM_AREA_NONE;
        uint8_t byte;

        UT_REQUIRE(world_with(&fake_grants_ops, &limits));
        UT_EQ(set_whole_map(), 0);
        for (uint64_t i = 0; i < 3; i++)
            UT_EQ(mem_read((BASE + 8 * i) * PAGE, &byte, 1), 0);
        for (uint32_t i = 0; i < 2; i++) {
            if (kind == 0)
                UT_EQ(gmem_pin(mem, grant_pages(REF + i, 1), true), 0);
            else if (kind == 1)
                UT_EQ(gmem_pin(mem, map_pages(100 + 8 * i, 1), true), 0);
            else
                UT_EQ(gmem_area_map(mem, map_pages(100 + 8 * i, 1), true, &area), 0);
            UT_EQ(stats().replaced, i);
            UT_EQ(stats().windows, 4);
        }
        end();
    }
}

/* Two windows of two pages are idle and one goes, since less than a chunk is mapped. */
static void a_part_of_a_chunk_takes_the_room_of_a_part(void)
{
    const struct gmem_run runs[] = {run_of(0, 2, false), run_of(8, 2, false),
                                    run_of(16, 200, false)};
    uint8_t byte;

    UT_REQUIRE(world()); /* 64 pages */
    UT_EQ(gmem_set_map(mem, runs, 3), 0);
    UT_EQ(gmem_pin(mem, grant_pages(REF, 40), true), 0);
    UT_EQ(gmem_pin(mem, grant_pages(REF, 20), true), 0);
    UT_EQ(mem_read(BASE * PAGE, &byte, 1), 0);
    UT_EQ(mem_read((BASE + 8) * PAGE, &byte, 1), 0);
    UT_EQ(stats().pages, 64);
    UT_EQ(gmem_pin(mem, map_pages(16, 2), true), 0);
    UT_EQ(stats().replaced, 1);
    UT_EQ(stats().pages, 64);
    end();
}

/* When every window is in use, what needs no other may still be pinned. */
static void pins_over_windows_that_are_there_need_none(void)
{
    static const struct gmem_limits limits = {
        .max_pages = 1000, .max_windows = 3, .max_pin_pages = 48, .window_pages = 8};

    UT_REQUIRE(world_with(&fake_grants_ops, &limits));
    UT_EQ(set_whole_map(), 0);
    UT_EQ(gmem_pin(mem, map_pages(0, 16), true), 0);
    UT_EQ(gmem_pin(mem, map_pages(6, 4), true), 0);
    UT_EQ(gmem_pin(mem, map_pages(15, 2), true), -ENOMEM);
    UT_EQ(stats().pinned_pages, 16);
    gmem_unpin(mem, map_pages(0, 16), true);
    UT_EQ(stats().pinned_pages, 16);
    gmem_unpin(mem, map_pages(6, 4), true);
    UT_EQ(stats().pinned_pages, 0);
    end();
}

static void pages_of_one_pin_are_limited(void)
{
    UT_REQUIRE(world());
    UT_EQ(set_whole_map(), 0);
    UT_EQ(gmem_pin(mem, grant_pages(REF, 48), false), 0);
    gmem_unpin(mem, grant_pages(REF, 48), false);
    UT_EQ(gmem_pin(mem, grant_pages(REF, 49), false), -ENOMEM);
    UT_EQ(gmem_pin(mem, map_pages(0, 49), false), -ENOMEM);
    UT_EQ(gmem_pin(mem, map_pages(GUEST - 1, 2), false), -EFAULT);
    UT_EQ(stats().pages, 0);
    end();
}

static void a_full_budget_still_reads_and_writes(void)
{
    static const struct grant_ops *const ops[] = {&fake_grants_ops, &fake_grants_ops_no_copy};

    for (size_t i = 0; i < 2; i++) {
        uint8_t buf[2] = {0xab, 0xcd};

        UT_REQUIRE(world_with(ops[i], &small));
        UT_EQ(set_whole_map(), 0);
        UT_EQ(gmem_pin(mem, map_pages(0, 48), true), 0);
        UT_EQ(gmem_pin(mem, map_pages(48, 16), true), 0);
        UT_EQ(stats().pages, 64);
        UT_EQ(mem_write((BASE + 101) * PAGE - 1, buf, 2), 0);
        UT_EQ(fake_grants_memory(grants)[101 * PAGE - 1], 0xab);
        UT_EQ(fake_grants_memory(grants)[101 * PAGE], 0xcd);
        memset(buf, 0, 2);
        UT_EQ(mem_read(grant_address(REF + 100, 4095), buf, 2), 0);
        UT_EQ(buf[0], 0xab);
        UT_EQ(buf[1], 0xcd);
        UT_EQ(stats().pages, 64);
        UT_EQ(fake_grants_live_pages(grants), 64);
        end();
    }
}

static void see_that_small_holds(void *ctx)
{
    (void)ctx;
    UT_TRUE(fake_grants_live_pages(grants) <= small.max_pages);
    UT_TRUE(fake_grants_live_maps(grants) <= small.max_windows);
}

/* Also while it is copied: idle windows go for it, or else it goes page by page. */
static void what_is_mapped_for_a_copy_keeps_to_the_limits(void)
{
    static uint8_t buf[3 * GRANT_PAGE_SIZE];

    for (size_t idle = 0; idle < 2; idle++) {
        UT_REQUIRE(world_with(&fake_grants_ops_no_copy, &small)); /* 64 pages, and one */
        UT_EQ(set_whole_map(), 0);
        for (uint64_t chunk = 0; chunk < 8; chunk++) {
            UT_EQ(gmem_pin(mem, map_pages(8 * chunk, 1), true), 0);
            if (idle)
                gmem_unpin(mem, map_pages(8 * chunk, 1), true);
        }
        UT_EQ(stats().pages, 64);
        fake_grants_set_hook(grants, see_that_small_holds, NULL);
        UT_EQ(mem_read(grant_address(REF + 100, 0), buf, sizeof(buf)), 0);
        UT_TRUE(memcmp(buf, fake_grants_memory(grants) + 100 * PAGE, sizeof(buf)) == 0);
        UT_EQ(stats().replaced, idle);
        UT_EQ(stats().maps, idle ? 9 : 11);
        end();
    }
}

/* The last one, beside windows that are pinned or idle: by one call, and nothing goes for it. */
static void an_access_may_take_the_last_window(void)
{
    static const struct gmem_limits limits = {
        .max_pages = 1000, .max_windows = 5, .max_pin_pages = 48, .window_pages = 8};
    static uint8_t buf[2 * GRANT_PAGE_SIZE];

    for (int pass = 0; pass < 4; pass++) {
        bool grant = pass & 1, idle = pass & 2;

        UT_REQUIRE(world_with(&fake_grants_ops_no_copy, &limits));
        UT_EQ(set_whole_map(), 0);
        for (uint64_t i = 0; i < 3; i++) {
            UT_EQ(gmem_pin(mem, map_pages(8 * i, 1), false), 0);
            if (idle)
                gmem_unpin(mem, map_pages(8 * i, 1), false);
        }
        UT_EQ(mem_read(grant ? grant_address(REF + 104, 0) : (BASE + 104) * PAGE, buf, sizeof(buf)),
              0);
        UT_TRUE(memcmp(buf, fake_grants_memory(grants) + 104 * PAGE, sizeof(buf)) == 0);
        UT_EQ(stats().maps, 4);
        UT_EQ(stats().replaced, 0);
        end();
    }
}

/* References of neighbouring frames are not neighbours: without a window each is looked up. */
static void a_copy_without_a_window_finds_each_page(void)
{
    const struct gmem_run runs[] = {
        {.address = BASE * PAGE, .first_ref = REF + 9, .pages = 1},
        {.address = (BASE + 1) * PAGE, .first_ref = REF + 4, .pages = 1},
    };
    uint8_t buf[100], *memory;

    UT_REQUIRE(world());
    memory = fake_grants_memory(grants);
    UT_EQ(gmem_set_map(mem, runs, 2), 0);
    UT_EQ(gmem_pin(mem, grant_pages(REF + 100, 48), false), 0);
    UT_EQ(gmem_pin(mem, grant_pages(REF + 100, 16), false), 0);
    UT_EQ(mem_read((BASE + 1) * PAGE - 50, buf, 100), 0);
    UT_EQ(fake_grants_copy_calls(grants), 2);
    UT_TRUE(memcmp(buf, memory + 10 * PAGE - 50, 50) == 0);
    UT_TRUE(memcmp(buf + 50, memory + 4 * PAGE, 50) == 0);
    end();
}

static void a_host_short_of_mappings_still_reads_the_map(void)
{
    uint8_t byte = 0;

    UT_REQUIRE(world_with(&fake_grants_ops_no_copy, &small));
    UT_EQ(set_whole_map(), 0);
    fake_grants_set_limit(grants, 3); /* less than a window */
    UT_EQ(mem_read((BASE + 5) * PAGE + 7, &byte, 1), 0);
    UT_EQ(byte, fake_grants_memory(grants)[5 * PAGE + 7]);
    UT_EQ(stats().pages, 0);
    fake_grants_set_limit(grants, 0);
    UT_EQ(mem_read((BASE + 5) * PAGE + 7, &byte, 1), -ENOMEM);
    end();
}

static void direct_mappings_of_the_fake_are_the_memory_itself(void)
{
    void *hva = NULL;
    uint64_t len = 0;

    grants = fake_grants_new(GUEST, true);
    UT_REQUIRE(grants && fake_grants_grant(grants, REF, 0, GUEST, false) &&
               gmem_new(&mem, &fake_grants_ops, grants, &small) == 0);
    UT_EQ(gmem_pin(mem, grant_pages(REF + 2, 3), true), 0);
    UT_EQ(gmem_pin(mem, grant_pages(REF + 2, 2), true), 0); /* the same address twice */
    UT_EQ(gmem_segment(mem, grant_pages(REF + 2, 3), true, &hva, &len), 0);
    UT_TRUE(hva == fake_grants_memory(grants) + 2 * PAGE);
    UT_EQ(fake_grants_revoke(grants, REF + 2, 1), -EBUSY);
    gmem_unpin(mem, grant_pages(REF + 2, 3), true);
    UT_EQ(fake_grants_live(grants, REF + 2), 1);
    UT_EQ(fake_grants_live(grants, REF + 4), 0);
    end();
}

/* Fails each map call of a pin in turn: always the same answer, and nothing has changed. */
static void failure_at_any_window_of_a_pin_undoes_it(void)
{
    static const int errors[] = {-ENOMEM, -EFAULT, -EIO};

    UT_REQUIRE(world());
    UT_EQ(set_whole_map(), 0);
    UT_EQ(gmem_pin(mem, map_pages(17, 2), true), 0); /* in the midst */
    UT_EQ(gmem_pin(mem, map_pages(26, 1), true), 0);
    gmem_unpin(mem, map_pages(26, 1), true); /* there, but idle */
    for (size_t n = 1; n <= 4; n++) {
        struct gmem_stats before = stats();
        int error = errors[n % ARRAY_SIZE(errors)];

        fake_grants_fail_map(grants, n, error);
        UT_EQ(gmem_pin(mem, map_pages(5, 43), true), n <= 4 ? error : 0);
        UT_EQ(stats().pages, before.pages);
        UT_EQ(stats().windows, before.windows);
        UT_EQ(stats().pinned_pages, before.pinned_pages);
        UT_EQ(fake_grants_live_pages(grants), 16);
        expect_segment(map_pages(17, 2), true, 17 * PAGE, 2 * PAGE);
    }
    fake_grants_fail_map(grants, 5, -EIO); /* it needs four */
    UT_EQ(gmem_pin(mem, map_pages(5, 43), true), 0);
    fake_grants_fail_map(grants, 0, 0);
    gmem_unpin(mem, map_pages(5, 43), true);
    UT_EQ(stats().pinned_pages, 8);
    end();
}

static void failure_of_a_grant_pin_leaves_nothing(void)
{
    UT_REQUIRE(world());
    fake_grants_fail_map(grants, 1, -EIO);
    UT_EQ(gmem_pin(mem, grant_pages(REF, 4), true), -EIO);
    UT_EQ(stats().pages, 0);
    UT_EQ(gmem_pin(mem, grant_pages(REF + GUEST - 1, 2), true), -EFAULT); /* the last is not ours */
    fake_grants_set_limit(grants, 3);
    UT_EQ(gmem_pin(mem, grant_pages(REF, 4), true), -ENOMEM);
    UT_EQ(fake_grants_live_pages(grants), 0);
    UT_EQ(stats().windows, 0);
    UT_EQ(gmem_pin(mem, grant_pages(REF, 3), true), 0);
    end();
}

static void reads_and_writes_reach_the_right_bytes(void)
{
    static const struct grant_ops *const ops[] = {&fake_grants_ops, &fake_grants_ops_no_copy};
    static uint8_t buf[20 * GRANT_PAGE_SIZE], want[20 * GRANT_PAGE_SIZE];
    static const size_t lens[] = {0, 1, 2, 4095, 4096, 4097, 8191, 17 * 4096 + 5};

    for (size_t i = 0; i < 2 * ARRAY_SIZE(lens); i++) {
        size_t len = lens[i / 2], offset = 3 * PAGE + 4090;
        uint64_t gpas[] = {BASE * PAGE + offset, grant_address(REF, 0) + offset};

        UT_REQUIRE(world_with(ops[i % 2], &small));
        UT_EQ(set_whole_map(), 0);
        for (size_t k = 0; k < 2; k++) {
            memset(buf, 0, sizeof(buf));
            UT_EQ(mem_read(gpas[k], buf, len), 0);
            UT_TRUE(memcmp(buf, fake_grants_memory(grants) + offset, len) == 0);
            UT_EQ(buf[len], 0);
            for (size_t b = 0; b < len; b++)
                buf[b] = (uint8_t)(b * 7 + k + i);
            memcpy(want, fake_grants_memory(grants) + offset - 1, len + 2);
            memcpy(want + 1, buf, len);
            UT_EQ(mem_write(gpas[k], buf, len), 0);
            UT_TRUE(memcmp(want, fake_grants_memory(grants) + offset - 1, len + 2) == 0);
        }
        for (uint32_t ref = REF; i % 2 && ref < REF + GUEST; ref++)
            UT_TRUE(fake_grants_live(grants, ref) <= 1); /* only windows of the map are left */
        end();
    }
}

static void unpinned_grants_are_copied_and_pinned_ones_read_in_place(void)
{
    uint8_t buf[100];

    UT_REQUIRE(world());
    UT_EQ(mem_read(grant_address(REF, 4090), buf, 100), 0);
    UT_EQ(fake_grants_copy_calls(grants), 1);
    UT_EQ(fake_grants_map_calls(grants), 0);
    fake_grants_fail_copy(grants, 1, -EIO);
    UT_EQ(mem_read(grant_address(REF, 0), buf, 1), -EIO);
    UT_EQ(gmem_pin(mem, grant_pages(REF, 4), false), 0);
    UT_EQ(mem_read(grant_address(REF + 1, 4090), buf, 100), 0);
    UT_EQ(fake_grants_copy_calls(grants), 2);
    UT_EQ(fake_grants_map_calls(grants), 1);
    UT_EQ(mem_write(grant_address(REF, 0), buf, 1), 0); /* the pin is read-only: by copy */
    UT_EQ(fake_grants_copy_calls(grants), 3);
    UT_EQ(mem_read(grant_address(REF + GUEST, 0), buf, 1), -EFAULT);
    end();
}

static void a_section_keeps_temporary_windows_to_its_end(void)
{
    uint8_t buf[8];

    UT_REQUIRE(world_with(&fake_grants_ops_no_copy, &small));
    UT_EQ(mem_read(grant_address(REF, 0), buf, 8), 0);
    UT_EQ(fake_grants_live_pages(grants), 0);
    gmem_begin(mem);
    gmem_begin(mem);
    for (unsigned i = 0; i < 5; i++)
        UT_EQ(mem_read(grant_address(REF, i * 8), buf, 8), 0);
    UT_EQ(fake_grants_map_calls(grants), 2);
    UT_EQ(fake_grants_live(grants, REF), 1);
    gmem_end(mem);
    UT_EQ(fake_grants_live(grants, REF), 1);
    gmem_end(mem);
    UT_EQ(fake_grants_live(grants, REF), 0);
    gmem_end(mem); /* too often: harmless */
    UT_EQ(stats().pages, 0);
    end();
}

static void a_pin_in_a_section_takes_the_window_over(void)
{
    uint8_t buf[8];

    UT_REQUIRE(world_with(&fake_grants_ops_no_copy, &small));
    gmem_begin(mem);
    UT_EQ(mem_read(grant_address(REF, 0), buf, 8), 0);
    UT_EQ(gmem_pin(mem, grant_pages(REF, 1), false), 0);
    UT_EQ(fake_grants_live(grants, REF), 1);
    gmem_end(mem);
    UT_EQ(fake_grants_live(grants, REF), 1);
    gmem_begin(mem);
    UT_EQ(mem_read(grant_address(REF, 0), buf, 8), 0);
    gmem_unpin(mem, grant_pages(REF, 1), false);
    UT_EQ(fake_grants_live(grants, REF), 1); /* for who pins it again in the same section */
    UT_EQ(fake_grants_map_calls(grants), 1);
    UT_EQ(gmem_pin(mem, grant_pages(REF, 1), false), 0);
    UT_EQ(fake_grants_map_calls(grants), 1);
    gmem_unpin(mem, grant_pages(REF, 1), false);
    UT_EQ(mem_write(grant_address(REF + 1, 0), buf, 8), 0);
    UT_EQ(gmem_pin(mem, map_pages(0, 1), true), -EFAULT);
    UT_EQ(gmem_pin(mem, grant_pages(REF + 2, 48), true), 0);
    UT_EQ(gmem_pin(mem, grant_pages(REF + 2, 16), true), 0); /* the temporary ones make room */
    UT_EQ(fake_grants_live(grants, REF), 0);
    UT_EQ(fake_grants_live(grants, REF + 1), 0);
    gmem_end(mem);
    end();
}

static void windows_that_will_be_used_are_mapped_by_one_call(void)
{
    uint8_t buf[8];
    size_t calls;

    UT_REQUIRE(world_with(&fake_grants_ops_many, &small));
    UT_TRUE(gmem_fetches(mem));
    gmem_begin(mem);
    for (uint32_t i = 0; i < 8; i++)
        gmem_want_pin(mem, grant_pages(REF + 2 * i, 2), i % 2);
    gmem_want_pin(mem, grant_pages(REF, 2), false); /* twice */
    gmem_want_access(mem, bytes(grant_address(REF + 20, 8), 8), true);
    gmem_want_access(mem, bytes(grant_address(REF + 20, 40), 8), false); /* the same page */
    gmem_want_access(mem, map_pages(0, 1), false);                       /* no grant address */
    gmem_want_pin(mem, bytes(GMEM_GRANT_BIT, PAGE), false);              /* nor is this one */
    gmem_want_pin(mem, grant_pages(REF + GUEST, 1), false);              /* not granted */
    gmem_fetch(mem);
    UT_EQ(fake_grants_calls(grants), 1);
    UT_EQ(fake_grants_live_maps(grants), 9);
    UT_EQ(stats().pinned_pages, 0);
    for (uint32_t i = 0; i < 7; i++)
        UT_EQ(gmem_pin(mem, grant_pages(REF + 2 * i, 2), i % 2), 0);
    UT_EQ(mem_read(grant_address(REF + 20, 0), buf, 8), 0);
    UT_EQ(mem_write(grant_address(REF + 20, 0), buf, 8), 0);
    UT_EQ(fake_grants_calls(grants), 1);
    UT_EQ(gmem_pin(mem, grant_pages(REF + GUEST, 1), false), -EFAULT);
    calls = fake_grants_calls(grants);
    gmem_unpin(mem, grant_pages(REF, 2), false);
    /* What was not used, what was read, and what is not used any more. */
    gmem_end(mem);
    UT_EQ(fake_grants_calls(grants), calls + 1);
    UT_EQ(fake_grants_live_maps(grants), 6);
    UT_EQ(stats().windows, 6);
    end();
}

struct hint {
    enum { END, PIN_R, PIN_W, READ, WRITE } what;
    uint32_t page, n;
};

static void give_hint(const struct hint *h)
{
    struct range gpa = grant_pages(REF + h->page, h->n);

    if (h->what == PIN_R || h->what == PIN_W)
        gmem_want_pin(mem, gpa, h->what == PIN_W);
    else
        gmem_want_access(mem, gpa, h->what == WRITE);
}

/* What is mapped for hints: each window once, exactly for pins, and a pin alone is no reason. */
static void hints_map_what_they_say(void)
{
    static const struct {
        struct hint hints[4];
        size_t maps, pages;
    } cases[] = {
        {{{PIN_R, 0, 2}}, 0, 0},
        {{{PIN_R, 0, 2}, {PIN_R, 0, 2}}, 0, 0},
        {{{PIN_R, 0, 2}, {PIN_W, 0, 2}}, 2, 4},
        {{{PIN_R, 0, 2}, {PIN_R, 0, 3}}, 2, 5},
        {{{PIN_R, 0, 3}, {PIN_R, 1, 2}}, 2, 5},
        {{{PIN_R, 1, 2}, {PIN_R, 0, 3}}, 2, 5},
        {{{PIN_R, 0, 20}, {PIN_R, 30, 1}}, 2, 21},
        {{{WRITE, 0, 1}, {PIN_W, 0, 1}}, 1, 1}, /* the very same window */
        {{{WRITE, 0, 1}, {PIN_R, 0, 1}}, 2, 2},
        {{{WRITE, 0, 2}, {PIN_W, 0, 1}}, 2, 3},
        {{{PIN_W, 0, 1}, {WRITE, 0, 1}}, 0, 0}, /* the pin's will do */
        {{{PIN_W, 0, 1}, {WRITE, 0, 1}, {READ, 9, 1}}, 2, 2},
        {{{READ, 0, 1}}, 1, 1},
        {{{READ, 0, 1}, {READ, 0, 1}}, 1, 1},
        {{{READ, 0, 1}, {WRITE, 0, 1}}, 2, 2},
        {{{WRITE, 0, 1}, {READ, 0, 1}}, 1, 1},
        {{{WRITE, 0, 1}, {WRITE, 0, 1}}, 1, 1},
        {{{READ, 0, 1}, {READ, 1, 1}}, 2, 2},
        {{{READ, 1, 1}, {READ, 0, 1}}, 2, 2},
        {{{READ, 0, 4}, {READ, 1, 2}}, 1, 4},
        {{{READ, 0, 15}}, 1, 15},
        {{{READ, 0, 16}}, 1, 16},
        {{{READ, 0, 17}}, 1, 16},
        {{{READ, 0, 20}}, 1, 16}, /* as much as one step of a copy */
        {{{PIN_R, 0, 49}, {READ, 100, 1}}, 1, 1},
        {{{READ, 100, 1}, {PIN_R, 0, 47}}, 2, 48},
        {{{READ, 100, 1}, {PIN_R, 0, 48}}, 1, 1},
        {{{READ, 100, 1}, {READ, 101, 1}, {PIN_R, 0, 47}}, 2, 2},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        UT_REQUIRE(world_with(&fake_grants_ops_many, &small));
        gmem_begin(mem);
        for (unsigned k = 0; cases[i].hints[k].what != END; k++)
            give_hint(&cases[i].hints[k]);
        gmem_fetch(mem);
        UT_EQ(stats().windows, cases[i].maps);
        UT_EQ(stats().pages, cases[i].pages);
        UT_EQ(fake_grants_calls(grants), cases[i].maps > 0);
        UT_TRUE(books_are_right());
        gmem_end(mem);
        UT_EQ(stats().windows, 0);
        UT_EQ(fake_grants_calls(grants), cases[i].maps > 0 ? 2 : 0);
        end();
    }
}

/*
 * A buffer of a batch may be exactly the page that another request of it maps. There is one window
 * of these references, so that a pin and its unpin mean the same.
 */
static void a_page_that_is_written_and_pinned_has_one_window(void)
{
    uint32_t seed = 1;
    uint8_t byte = 1;

    UT_REQUIRE(world_with(&fake_grants_ops_many, &small));
    for (unsigned round = 0; round < 300; round++) {
        uint32_t page[6];

        gmem_begin(mem);
        for (unsigned i = 0; i < 6; i++) {
            page[i] = 10 * i + next_random(&seed) % 10;
            give_hint(&(struct hint){i % 2 ? WRITE : PIN_W, page[i], 1});
            give_hint(&(struct hint){i % 2 ? PIN_W : WRITE, page[i], 1});
        }
        gmem_fetch(mem);
        UT_REQUIRE(books_are_right());
        for (unsigned i = 0; i < 6; i++) {
            UT_EQ(gmem_pin(mem, grant_pages(REF + page[i], 1), true), 0);
            UT_EQ(mem_write(grant_address(REF + page[i], 0), &byte, 1), 0);
        }
        for (unsigned i = 0; i < 6; i++)
            gmem_unpin(mem, grant_pages(REF + page[i], 1), true);
        UT_REQUIRE(books_are_right());
        gmem_end(mem);
        UT_REQUIRE(fake_grants_live_pages(grants) == 0);
    }
    end();
}

/* A window that is there is enough; for a pin only its very own. */
static void hints_see_what_is_there(void)
{
    static const struct hint hints[] = {{READ, 1, 1}, {WRITE, 2, 1}, {PIN_W, 1, 1}, {PIN_W, 2, 2}};
    uint8_t buf[4 * GRANT_PAGE_SIZE] = {0};

    UT_REQUIRE(world_with(&fake_grants_ops_many, &small));
    gmem_begin(mem);
    UT_EQ(mem_write(grant_address(REF, 0), buf, sizeof(buf)), 0);
    UT_EQ(stats().windows, 1);
    for (size_t i = 0; i < ARRAY_SIZE(hints); i++)
        give_hint(&hints[i]);
    gmem_fetch(mem);
    UT_EQ(stats().windows, 3);
    for (size_t i = 0; i < ARRAY_SIZE(hints); i++)
        give_hint(&hints[i]);
    gmem_fetch(mem);
    UT_EQ(stats().windows, 3);
    gmem_end(mem);
    end();
}

/* Nothing is mapped for what is no grant address, for nobody, or for what is past. */
static void hints_that_are_of_no_use_do_nothing(void)
{
    struct gmem_run run = {.address = (REF + 50) * PAGE, .first_ref = REF, .pages = 8};
    static const struct hint hints[] = {{READ, 1, 1}, {WRITE, 2, 1}};

    for (int pass = 0; pass < 5; pass++) {
        UT_REQUIRE(world_with(pass < 4 ? &fake_grants_ops_many : &fake_grants_ops_no_copy, &small));
        UT_EQ(gmem_set_map(mem, &run, 1), 0);
        if (pass > 0)
            gmem_begin(mem);
        for (size_t i = 0; i < 2; i++) {
            uint64_t address = grant_address(REF + (uint32_t)i, 0);

            if (pass == 2)
                gmem_want_access(mem, bytes(run.address + i * PAGE, 1), true);
            else if (pass == 3)
                gmem_want_access(mem, bytes(address | 1ull << 44, 1), true);
            else
                give_hint(&hints[i]); /* outside of a section; in the one before; no map_many */
        }
        if (pass == 1)
            gmem_end(mem);
        if (pass <= 1)
            gmem_begin(mem);
        gmem_fetch(mem);
        UT_EQ(fake_grants_calls(grants), 0);
        gmem_end(mem);
        end();
    }
}

/* One pin alone is mapped when it is made; and the next hint is one alone again. */
static void hints_are_forgotten_when_they_were_looked_at(void)
{
    UT_REQUIRE(world_with(&fake_grants_ops_many, &small));
    gmem_begin(mem);
    for (uint32_t i = 0; i < 3; i++) {
        give_hint(&(struct hint){PIN_R, 10 * i, 2});
        gmem_fetch(mem);
        UT_EQ(fake_grants_calls(grants), 0);
    }
    gmem_end(mem);
    end();
}

/* More hints than are kept, or than there is room for, which idle windows make. */
static void hints_keep_to_the_limits(void)
{
    struct gmem_limits limits = small;
    uint8_t byte;

    limits.max_pages = limits.max_windows = 1000;
    limits.max_pin_pages = 300;
    UT_REQUIRE(world_with(&fake_grants_ops_many, &limits));
    gmem_begin(mem);
    for (uint32_t i = 0; i < 200; i++)
        give_hint(&(struct hint){READ, i, 1});
    gmem_fetch(mem);
    UT_EQ(stats().windows, GMEM_MAX_WANTS);
    gmem_end(mem);
    end();
    UT_REQUIRE(world_with(&fake_grants_ops_many, &small)); /* 64 pages */
    UT_EQ(set_whole_map(), 0);
    UT_EQ(gmem_pin(mem, map_pages(0, 40), true), 0);
    UT_EQ(gmem_pin(mem, grant_pages(REF, 10), true), 0);
    UT_EQ(mem_read((BASE + 100) * PAGE, &byte, 1), 0); /* 58 */
    gmem_begin(mem);
    give_hint(&(struct hint){READ, 100, 7});
    give_hint(&(struct hint){READ, 110, 8});
    give_hint(&(struct hint){READ, 120, 7});
    gmem_fetch(mem);
    UT_EQ(stats().pages, 64);
    UT_EQ(fake_grants_live(grants, REF + 110), 0);
    UT_EQ(fake_grants_live(grants, REF + 126), 1);
    UT_TRUE(books_are_right());
    gmem_end(mem);
    UT_EQ(stats().pages, 50);
    end();
    limits.max_windows = 3;
    UT_REQUIRE(world_with(&fake_grants_ops_many, &limits));
    gmem_begin(mem);
    for (uint32_t i = 0; i < 3; i++)
        give_hint(&(struct hint){READ, 10 * i, 1});
    gmem_fetch(mem);
    UT_EQ(stats().windows, 2);
    gmem_end(mem);
    end();
}

static void a_section_that_was_not_begun_does_not_end(void)
{
    uint8_t byte;

    UT_REQUIRE(world_with(&fake_grants_ops_no_copy, &small));
    gmem_end(mem);
    UT_EQ(mem_read(grant_address(REF, 0), &byte, 1), 0);
    UT_EQ(fake_grants_live_pages(grants), 0);
    fake_grants_fail_map(grants, 1, -EIO); /* nor does a map that fails end anything */
    UT_EQ(mem_read(grant_address(REF, 0), &byte, 1), -EIO);
    UT_EQ(mem_read(grant_address(REF, 0), &byte, 1), 0);
    end();
}

/* Reads and writes of any length by grant copy, and what fails in the middle. */
static void copies_go_page_by_page(void)
{
    static uint8_t buf[40 * GRANT_PAGE_SIZE];
    static const size_t sizes[] = {1,         100,       4096,     4097, 15 * 4096 + 9,
                                   16 * 4096, 17 * 4096, 33 * 4096};

    for (size_t i = 0; i < 2 * ARRAY_SIZE(sizes); i++) {
        size_t size = sizes[i / 2], offset = i % 2 ? 100 : 0;

        UT_REQUIRE(world());
        memset(buf, 0, sizeof(buf));
        UT_EQ(mem_read(grant_address(REF, offset), buf, size), 0);
        UT_TRUE(memcmp(buf, fake_grants_memory(grants) + offset, size) == 0);
        UT_EQ(buf[size], 0);
        UT_EQ(fake_grants_copy_calls(grants), (offset + size + 65535) / 65536);
        fake_grants_fail_copy(grants, 1, -EIO);
        UT_EQ(mem_read(grant_address(REF, offset), buf, size), -EIO);
        end();
    }
}

/* The same calls outside of a section, in one, and with hints, of which there are far too many. */
static void neither_sections_nor_hints_change_an_answer(void)
{
    int answers[3][40], *answer;
    size_t i;

    for (int mode = 0; mode < 3; mode++) {
        bool hints = mode == 2;

        UT_REQUIRE(world_with(&fake_grants_ops_many, &small));
        UT_EQ(set_whole_map(), 0);
        fake_grants_set_limit(grants, 50);
        answer = answers[mode];
        if (mode > 0)
            gmem_begin(mem);
        for (i = 0; hints && i < 300; i++)
            gmem_want_pin(mem, grant_pages(REF + (uint32_t)i % 60, 1 + i % 5), i % 3 == 0);
        gmem_fetch(mem);
        for (i = 0; i < 10; i++)
            *answer++ = gmem_pin(mem, grant_pages(REF + (uint32_t)i, 7), i % 2);
        for (i = 0; i < 10; i++) {
            gmem_want_pin(mem, grant_pages(REF + (uint32_t)i, 3), hints);
            gmem_want_pin(mem, grant_pages(REF + (uint32_t)i, 9), hints);
            if (hints)
                gmem_fetch(mem);
            *answer++ = gmem_pin(mem, map_pages(i, 4), true);
            gmem_unpin(mem, grant_pages(REF + (uint32_t)i, 7), i % 2);
            *answer++ = gmem_pin(mem, grant_pages(REF + (uint32_t)i, 3), true);
            *answer++ = gmem_pin(mem, grant_pages(REF_RO + (uint32_t)i, 1), i % 2);
        }
        if (mode > 0)
            gmem_end(mem);
        UT_EQ(fake_grants_live_maps(grants), stats().windows);
        end();
    }
    for (i = 0; i < 40; i++) {
        UT_EQ(answers[1][i], answers[0][i]);
        UT_EQ(answers[2][i], answers[0][i]);
    }
}

static void unmaps_of_a_section_are_one_call(void)
{
    UT_REQUIRE(world_with(&fake_grants_ops_many, &small));
    for (uint32_t i = 0; i < 10; i++)
        UT_EQ(gmem_pin(mem, grant_pages(REF + i, 1), true), 0);
    gmem_begin(mem);
    for (uint32_t i = 0; i < 10; i++)
        gmem_unpin(mem, grant_pages(REF + i, 1), true);
    UT_EQ(fake_grants_calls(grants), 10);
    gmem_end(mem);
    UT_EQ(fake_grants_calls(grants), 11);
    UT_EQ(fake_grants_live_pages(grants), 0);
    /* A new map, and the end, too. */
    UT_EQ(set_whole_map(), 0);
    for (uint64_t i = 0; i < 3; i++) {
        UT_EQ(gmem_pin(mem, map_pages(8 * i, 1), true), 0);
        gmem_unpin(mem, map_pages(8 * i, 1), true);
    }
    UT_EQ(fake_grants_calls(grants), 14);
    UT_EQ(gmem_set_map(mem, NULL, 0), 0);
    UT_EQ(fake_grants_calls(grants), 15);
    UT_EQ(fake_grants_live_pages(grants), 0);
    end();
}

static void areas_are_contiguous_whatever_the_runs_are(void)
{
    /* Guest frames in an order of their own: page 9, 4, 5, 20 (read-only). */
    const struct gmem_run runs[] = {
        {.address = BASE * PAGE, .first_ref = REF + 9, .pages = 1},
        {.address = (BASE + 1) * PAGE, .first_ref = REF + 4, .pages = 2},
        {.address = (BASE + 3) * PAGE, .first_ref = REF_RO + 20, .pages = 1, .read_only = true},
    };
    static const size_t pages[] = {9, 4, 5, 20};
    struct gmem_area area = GMEM_AREA_NONE, none = GMEM_AREA_NONE;

    UT_REQUIRE(world());
    UT_EQ(gmem_set_map(mem, runs, 3), 0);
    UT_EQ(gmem_area_map(mem, bytes(BASE * PAGE + 5, 4 * PAGE - 5), true, &area), -EFAULT);
    UT_EQ(gmem_area_map(mem, bytes(BASE * PAGE, 4 * PAGE + 1), false, &area), -EFAULT);
    UT_TRUE(area.base == NULL);
    UT_EQ(gmem_area_map(mem, bytes(BASE * PAGE + 5, 4 * PAGE - 5), false, &area), 0);
    UT_REQUIRE(area.base != NULL);
    UT_EQ(area.pages, 4);
    UT_TRUE(area.ptr == (uint8_t *)area.base + 5);
    for (size_t i = 0; i < 4; i++)
        UT_TRUE(memcmp((uint8_t *)area.base + i * PAGE,
                       fake_grants_memory(grants) + pages[i] * PAGE, PAGE) == 0);
    UT_EQ(stats().pages, 4);
    gmem_area_unmap(mem, &area);
    gmem_area_unmap(mem, &area);
    gmem_area_unmap(mem, &none);
    UT_EQ(stats().pages, 0);
    UT_EQ(gmem_area_map(mem, bytes(grant_address(REF + 1, 8), PAGE), true, &area), 0);
    area.ptr[0] = 0x5a;
    UT_EQ(fake_grants_memory(grants)[PAGE + 8], 0x5a);
    UT_EQ(area.pages, 2);
    end(); /* gmem_free unmaps it, too */
}

static void areas_are_limited_like_pins(void)
{
    static const struct gmem_limits limits = {
        .max_pages = 100, .max_windows = 5, .max_pin_pages = 12, .window_pages = 4};
    struct gmem_area area[5] = {GMEM_AREA_NONE}, copy;

    UT_REQUIRE(world_with(&fake_grants_ops, &limits));
    UT_EQ(gmem_area_map(mem, grant_pages(REF, 13), true, &area[0]), -ENOMEM);
    for (unsigned round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < 4; i++)
            UT_EQ(gmem_area_map(mem, grant_pages(REF + 20 * i, 12), true, &area[i]), 0);
        UT_EQ(gmem_area_map(mem, grant_pages(REF, 1), true, &area[4]), -ENOMEM);
        UT_EQ(gmem_pin(mem, grant_pages(REF, 1), true), -ENOMEM);
        for (uint32_t i = 0; i < 4; i++) {
            copy = area[i];
            gmem_area_unmap(mem, &area[i]);
            UT_TRUE(area[i].base == NULL);
            gmem_area_unmap(mem, &area[i]); /* twice */
            gmem_area_unmap(mem, &copy);    /* and by another name */
            UT_EQ(fake_grants_live(grants, REF + 20 * i), 0);
            UT_EQ(stats().windows, 3 - i);
        }
        UT_EQ(stats().windows, 0);
    }
    end();
}

static void areas_count_in_the_budget(void)
{
    struct gmem_area a = GMEM_AREA_NONE, b = GMEM_AREA_NONE;
    uint8_t byte;

    UT_REQUIRE(world());
    UT_EQ(set_whole_map(), 0);
    for (uint64_t chunk = 0; chunk < 8; chunk++)
        UT_EQ(mem_read((BASE + chunk * 8) * PAGE, &byte, 1), 0);
    UT_EQ(gmem_area_map(mem, map_pages(0, 48), true, &a), 0); /* in place of six windows */
    UT_EQ(stats().pages, 64);
    UT_EQ(gmem_area_map(mem, map_pages(0, 17), true, &b), -ENOMEM);
    UT_EQ(gmem_area_map(mem, map_pages(0, 49), true, &b), -ENOMEM);
    fake_grants_fail_map(grants, 1, -EIO);
    UT_EQ(gmem_area_map(mem, map_pages(0, 4), true, &b), -EIO);
    UT_TRUE(b.base == NULL);
    gmem_area_unmap(mem, &a);
    UT_EQ(gmem_area_map(mem, map_pages(0, 17), true, &b), 0);
    end();
}

/* One change of the map [0, 16) of 8-page windows while pages 2 to 3 are in use in some way. */
static const struct map_change {
    const char *what;
    struct gmem_run runs[4];
    size_t n;
    int want[3]; /* used by a read pin, a write pin, a read-only area */
    bool stays;  /* window 0 to 7 when it is idle */
} changes[] = {
    {"same", {{BASE * PAGE, REF, 16, false}}, 1, {0, 0, 0}, true},
    {"grown at the end", {{BASE * PAGE, REF, 40, false}}, 1, {0, 0, 0}, true},
    {"grown at the front", {{(BASE - 5) * PAGE, REF - 5, 21, false}}, 1, {0, 0, 0}, true},
    {"split, same references",
     {{BASE * PAGE, REF, 3, false}, {(BASE + 3) * PAGE, REF + 3, 13, false}},
     2,
     {0, 0, 0},
     true},
    {"cut behind the window", {{BASE * PAGE, REF, 8, false}}, 1, {0, 0, 0}, true},
    {"other pages appear", {{BASE * PAGE, REF, 16, false}, {0, REF, 9, true}}, 2, {0, 0, 0}, true},
    {"gone", {{(BASE + 8) * PAGE, REF + 8, 8, false}}, 1, {-EBUSY, -EBUSY, -EBUSY}, false},
    {"empty map", {{0, 0, 0, false}}, 0, {-EBUSY, -EBUSY, -EBUSY}, false},
    {"other references", {{BASE * PAGE, REF + 1, 16, false}}, 1, {-EBUSY, -EBUSY, -EBUSY}, false},
    {"one reference differs",
     {{BASE * PAGE, REF, 2, false},
      {(BASE + 2) * PAGE, REF + 99, 1, false},
      {(BASE + 3) * PAGE, REF + 3, 13, false}},
     3,
     {-EBUSY, -EBUSY, -EBUSY},
     false},
    {"moved", {{(BASE + 1) * PAGE, REF, 16, false}}, 1, {-EBUSY, -EBUSY, -EBUSY}, false},
    /* An area maps just its pages, read-only: it may lose write access. */
    {"read-only", {{BASE * PAGE, REF, 16, true}}, 1, {-EBUSY, -EBUSY, 0}, false},
    {"cut within the window", {{BASE * PAGE, REF, 6, false}}, 1, {-EBUSY, -EBUSY, 0}, false},
};

static int use_pages(int how, struct gmem_area *area)
{
    return how == 2 ? gmem_area_map(mem, map_pages(2, 2), false, area)
                    : gmem_pin(mem, map_pages(2, 2), how == 1);
}

static void new_map_keeps_what_is_in_use_or_is_refused(void)
{
    for (size_t i = 0; i < 3 * ARRAY_SIZE(changes); i++) {
        const struct map_change *change = &changes[i / 3];
        struct gmem_run before = {BASE * PAGE, REF, 16, false};
        struct gmem_area area = GMEM_AREA_NONE;
        int how = (int)(i % 3), want = change->want[how];
        size_t maps;

        UT_REQUIRE(world());
        UT_EQ(gmem_set_map(mem, &before, 1), 0);
        UT_EQ(use_pages(how, &area), 0);
        maps = fake_grants_map_calls(grants);
        if (gmem_set_map(mem, change->runs, change->n) != want)
            UT_STR(change->what, "is answered otherwise");
        UT_EQ(gmem_map_runs(mem), want ? 1 : change->n);
        UT_EQ(fake_grants_live(grants, REF + 2), 1);
        UT_EQ(fake_grants_map_calls(grants), maps);
        if (how < 2) {
            expect_segment(map_pages(2, 2), how == 1, 2 * PAGE, 2 * PAGE);
            gmem_unpin(mem, map_pages(2, 2), how == 1);
        } else {
            UT_TRUE(memcmp(area.base, fake_grants_memory(grants) + 2 * PAGE, 2 * PAGE) == 0);
            gmem_area_unmap(mem, &area);
        }
        UT_EQ(gmem_set_map(mem, change->runs, change->n), 0);
        UT_EQ(stats().pinned_pages, 0);
        end();
    }
}

static void new_map_unmaps_idle_windows_of_changed_pages_only(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
        struct gmem_run before = {BASE * PAGE, REF, 16, false};
        uint8_t byte;

        UT_REQUIRE(world());
        UT_EQ(gmem_set_map(mem, &before, 1), 0);
        UT_EQ(mem_read(BASE * PAGE, &byte, 1), 0);
        UT_EQ(gmem_set_map(mem, changes[i].runs, changes[i].n), 0);
        if (fake_grants_live(grants, REF) != changes[i].stays)
            UT_STR(changes[i].what, "leaves the wrong windows");
        end();
    }
}

/* One access may go over runs of any references, written as far as they are writable. */
static void an_access_goes_on_into_the_next_run(void)
{
    const struct gmem_run runs[] = {
        {.address = BASE * PAGE, .first_ref = REF + 9, .pages = 2},
        {.address = (BASE + 2) * PAGE, .first_ref = REF + 4, .pages = 2},
        {.address = (BASE + 4) * PAGE, .first_ref = REF_RO + 20, .pages = 1, .read_only = true},
        {.address = (BASE + 5) * PAGE, .first_ref = REF + 30, .pages = 1},
    };
    uint8_t buf[100], *memory;

    UT_REQUIRE(world());
    memory = fake_grants_memory(grants);
    UT_EQ(gmem_set_map(mem, runs, 4), 0);
    memset(buf, 0x5a, sizeof(buf));
    UT_EQ(mem_check(map_pages(0, 4), true), 0);
    UT_EQ(mem_check(map_pages(0, 5), true), -EFAULT);
    UT_EQ(mem_check(map_pages(0, 6), false), 0);
    UT_EQ(mem_check(map_pages(3, 3), true), -EFAULT);
    UT_EQ(mem_write((BASE + 2) * PAGE - 50, buf, 100), 0);
    UT_TRUE(memcmp(memory + 11 * PAGE - 50, buf, 50) == 0);
    UT_TRUE(memcmp(memory + 4 * PAGE, buf, 50) == 0);
    UT_EQ(gmem_pin(mem, map_pages(0, 4), true), 0);
    gmem_unpin(mem, map_pages(0, 4), true);
    end();
}

/* Windows that a section only keeps do not stand in for the one that is pinned. */
static void a_kept_window_does_not_hide_the_pinned_one(void)
{
    uint8_t buf[4 * GRANT_PAGE_SIZE];

    UT_REQUIRE(world_with(&fake_grants_ops_no_copy, &small));
    gmem_begin(mem);
    for (uint32_t i = 0; i < 4; i++) {
        UT_EQ(mem_write(grant_address(REF, 0), memset(buf, 1, sizeof(buf)), sizeof(buf)), 0);
        UT_EQ(gmem_pin(mem, grant_pages(REF + i, 1), false), 0);
        expect_segment(grant_pages(REF + i, 1), false, i * PAGE, PAGE);
    }
    gmem_end(mem);
    for (uint32_t i = 0; i < 4; i++)
        gmem_unpin(mem, grant_pages(REF + i, 1), false);
    end();
}

/* Nor does one of exactly the pages asked for stand in for the pin that has them and others. */
static void a_part_of_a_pin_is_found_beside_a_kept_window(void)
{
    uint8_t byte;

    UT_REQUIRE(world_with(&fake_grants_ops_no_copy, &small));
    gmem_begin(mem);
    UT_EQ(mem_read(grant_address(REF, 0), &byte, 1), 0);
    UT_EQ(gmem_pin(mem, grant_pages(REF, 4), true), 0);
    UT_EQ(fake_grants_live(grants, REF), 2);
    expect_segment(grant_pages(REF, 1), false, 0, PAGE);
    gmem_unpin(mem, grant_pages(REF, 4), true);
    gmem_end(mem);
    end();
}

/* The whole map again: windows stay, in use or not, for reads or writes. */
static void a_map_without_a_change_changes_nothing(void)
{
    for (int pass = 0; pass < 8; pass++) {
        bool pinned = pass & 1, write = pass & 2, read_only = pass & 4;
        struct gmem_run run = run_of(0, 16, read_only);
        size_t maps;
        uint8_t byte;

        if (write && read_only)
            continue;
        UT_REQUIRE(world());
        UT_EQ(gmem_set_map(mem, &run, 1), 0);
        if (pinned)
            UT_EQ(gmem_pin(mem, map_pages(1, 2), write), 0);
        else
            UT_EQ(mem_read(BASE * PAGE, &byte, 1), 0);
        maps = fake_grants_map_calls(grants);
        UT_EQ(gmem_set_map(mem, &run, 1), 0);
        if (pinned)
            gmem_unpin(mem, map_pages(1, 2), write);
        UT_EQ(gmem_pin(mem, map_pages(1, 2), write), 0);
        gmem_unpin(mem, map_pages(1, 2), write);
        UT_EQ(fake_grants_map_calls(grants), maps);
        UT_EQ(stats().unmaps, 0);
        end();
    }
}

/* Pages 0 to 7 in a window, half of it read-only in the next map, in either order. */
static void a_map_that_is_read_only_in_part_is_judged_page_by_page(void)
{
    for (int pass = 0; pass < 4; pass++) {
        bool write = pass & 1, first = pass & 2;
        struct gmem_run run = run_of(0, 8, false),
                        next[2] = {run_of(0, 4, false), run_of(4, 4, false)};

        next[!first].read_only = true;
        UT_REQUIRE(world());
        UT_EQ(gmem_set_map(mem, &run, 1), 0);
        UT_EQ(gmem_pin(mem, map_pages(0, 8), write), 0);
        /* The window is one of a writable run, whoever pins it. */
        UT_EQ(gmem_set_map(mem, next, 2), -EBUSY);
        UT_EQ(gmem_map_runs(mem), 1);
        gmem_unpin(mem, map_pages(0, 8), write);
        UT_EQ(gmem_set_map(mem, next, 2), 0);
        UT_EQ(fake_grants_live_pages(grants), 0);
        end();
    }
}

/* An idle window of a run that becomes writable has nothing to wait for. */
static void an_idle_window_ends_when_its_run_becomes_writable(void)
{
    struct gmem_run run = run_of(0, 8, true);
    uint8_t byte;

    UT_REQUIRE(world());
    UT_EQ(gmem_set_map(mem, &run, 1), 0);
    UT_EQ(mem_read(BASE * PAGE, &byte, 1), 0);
    UT_EQ(fake_grants_live(grants, REF_RO), 1);
    run.read_only = false;
    UT_EQ(gmem_set_map(mem, &run, 1), 0);
    UT_EQ(fake_grants_live(grants, REF_RO), 0);
    end();
}

static void pins_of_grant_addresses_do_not_hold_the_map(void)
{
    struct gmem_area area = GMEM_AREA_NONE;

    UT_REQUIRE(world());
    UT_EQ(set_whole_map(), 0);
    UT_EQ(gmem_pin(mem, grant_pages(REF + 3, 4), true), 0);
    UT_EQ(gmem_area_map(mem, grant_pages(REF + 30, 1), true, &area), 0);
    UT_EQ(gmem_set_map(mem, NULL, 0), 0);
    gmem_area_unmap(mem, &area);
    UT_EQ(fake_grants_live(grants, REF + 3), 1);
    expect_segment(grant_pages(REF + 3, 4), true, 3 * PAGE, 4 * PAGE);
    UT_EQ(set_whole_map(), 0);
    gmem_unpin(mem, grant_pages(REF + 3, 4), true);
    UT_EQ(fake_grants_live_pages(grants), 0);
    end();
}

/* Every page of an area, over several runs, with the access that it has. */
static void an_area_holds_each_of_its_pages(void)
{
    const struct gmem_run runs[] = {
        {.address = BASE * PAGE, .first_ref = REF + 9, .pages = 2},
        {.address = (BASE + 2) * PAGE, .first_ref = REF + 4, .pages = 1},
        {.address = (BASE + 3) * PAGE, .first_ref = REF + 20, .pages = 2},
    };

    for (int write = 0; write < 2; write++) {
        struct gmem_area area = GMEM_AREA_NONE;

        UT_REQUIRE(world());
        UT_EQ(gmem_set_map(mem, runs, 3), 0);
        UT_EQ(gmem_area_map(mem, map_pages(1, 3), write, &area), 0);
        UT_EQ(gmem_set_map(mem, runs, 3), 0);
        for (unsigned page = 0; page < 5; page++) {
            struct gmem_run pages[5], changed;

            for (unsigned i = 0; i < 5; i++)
                pages[i] = (struct gmem_run){.address = (BASE + i) * PAGE,
                                             .first_ref = i < 2   ? REF + 9 + i
                                                          : i < 3 ? REF + 4
                                                                  : REF + 20 + i - 3,
                                             .pages = 1};
            UT_EQ(gmem_set_map(mem, pages, 5), 0); /* the same, said in another way */
            changed = pages[page];
            pages[page].read_only = true;
            UT_EQ(gmem_set_map(mem, pages, 5), write && page >= 1 && page <= 3 ? -EBUSY : 0);
            pages[page] = changed;
            pages[page].first_ref += 100;
            UT_EQ(gmem_set_map(mem, pages, 5), page >= 1 && page <= 3 ? -EBUSY : 0);
        }
        gmem_area_unmap(mem, &area);
        end();
    }
}

static void a_grown_run_is_usable_around_a_pinned_window(void)
{
    for (int write = 0; write < 2; write++) {
        struct gmem_run run = run_of(0, 3, !write);

        UT_REQUIRE(world());
        UT_EQ(gmem_set_map(mem, &run, 1), 0);
        UT_EQ(gmem_pin(mem, map_pages(0, 3), write), 0);
        for (uint32_t pages = 4; pages <= 8; pages++) {
            run.pages = pages;
            UT_EQ(gmem_set_map(mem, &run, 1), 0);
            UT_EQ(gmem_pin(mem, map_pages(0, pages), write), 0);
            expect_segment(map_pages(pages - 1, 1), write, (pages - 1) * PAGE, PAGE);
        }
        UT_EQ(fake_grants_live_pages(grants), 8);
        for (uint32_t pages = 8; pages >= 4; pages--)
            gmem_unpin(mem, map_pages(0, pages), write);
        UT_EQ(stats().pinned_pages, 3);
        gmem_unpin(mem, map_pages(0, 3), write);
        UT_EQ(stats().pinned_pages, 0);
        end();
    }
}

/* A pin keeps its own window when its run becomes writable: the address is in a host IOMMU. */
static void a_run_that_becomes_writable_serves_both(void)
{
    struct gmem_run run = run_of(0, 16, true);

    UT_REQUIRE(world());
    UT_TRUE(fake_grants_revoke(grants, REF_RO, 16) == 0);
    UT_TRUE(fake_grants_grant(grants, REF_RO, 0, 16, false));
    UT_EQ(gmem_set_map(mem, &run, 1), 0);
    UT_EQ(gmem_pin(mem, map_pages(1, 1), true), -EFAULT);
    UT_EQ(gmem_pin(mem, map_pages(1, 1), false), 0);
    run.read_only = false;
    UT_EQ(gmem_set_map(mem, &run, 1), 0);
    UT_EQ(gmem_pin(mem, map_pages(0, 10), false), 0); /* the old one, and one of the next chunk */
    UT_EQ(gmem_pin(mem, map_pages(1, 1), true), 0);
    UT_EQ(fake_grants_live(grants, REF_RO + 1), 2);
    gmem_unpin(mem, map_pages(1, 1), false);
    UT_EQ(fake_grants_live(grants, REF_RO + 1), 2);
    gmem_unpin(mem, map_pages(0, 10), false);
    UT_EQ(fake_grants_live(grants, REF_RO + 1), 1); /* the old one is gone, with its last pin */
    expect_segment(map_pages(1, 1), true, PAGE, PAGE);
    gmem_unpin(mem, map_pages(1, 1), true);
    UT_EQ(stats().pinned_pages, 0);
    end();
}

/* A window that only serves reads takes no frame from those that serve writes. */
static void a_read_only_window_is_no_neighbour_of_a_writable_one(void)
{
    struct gmem_run run = run_of(0, 3, true);

    UT_REQUIRE(world());
    UT_EQ(fake_grants_revoke(grants, REF_RO, 8), 0);
    UT_TRUE(fake_grants_grant(grants, REF_RO, 0, 8, false));
    UT_EQ(gmem_set_map(mem, &run, 1), 0);
    UT_EQ(gmem_pin(mem, map_pages(0, 3), false), 0);
    run.read_only = false;
    run.pages = 8;
    UT_EQ(gmem_set_map(mem, &run, 1), 0);
    UT_EQ(gmem_pin(mem, map_pages(5, 1), true), 0); /* the whole chunk */
    UT_EQ(fake_grants_live_pages(grants), 3 + 8);
    UT_EQ(gmem_pin(mem, map_pages(0, 1), true), 0);
    UT_EQ(fake_grants_live_maps(grants), 2);
    end();
}

/* Windows of any chunk in the same bucket, before and behind: each has its own chunk. */
static void chunks_of_one_bucket_do_not_cut_each_other(void)
{
    static const uint64_t pages[] = {40, 8, 72, 0, 20};
    uint8_t byte;

    UT_REQUIRE(world());
    mem->hash_key = 1; /* all chunks of low addresses in the first bucket */
    UT_EQ(set_whole_map(), 0);
    for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
        UT_EQ(mem_read((BASE + pages[i]) * PAGE, &byte, 1), 0);
        UT_EQ(byte, fake_grants_memory(grants)[pages[i] * PAGE]);
        UT_TRUE(bucket_of(mem, BASE + pages[i]) == mem->buckets);
        UT_EQ(stats().pages, 8 * (i + 1));
    }
    end();
}

static void a_map_of_many_runs_is_found_through(void)
{
    enum { RUNS = 10000 };
    static struct gmem_run runs[RUNS];
    uint8_t byte;

    UT_REQUIRE(world());
    for (uint32_t i = 0; i < RUNS; i++) /* backwards, every second frame, references reused */
        runs[i] = (struct gmem_run){.address = (BASE + 2 * (uint64_t)(RUNS - 1 - i)) * PAGE,
                                    .first_ref = REF + (RUNS - 1 - i) % GUEST,
                                    .pages = 1};
    UT_EQ(gmem_set_map(mem, runs, RUNS), 0);
    UT_EQ(gmem_map_runs(mem), RUNS);
    for (uint64_t i = 0; i < RUNS; i++) {
        UT_EQ(mem_read((BASE + 2 * i) * PAGE + 1, &byte, 1), 0);
        UT_EQ(byte, fake_grants_memory(grants)[i % GUEST * PAGE + 1]);
        UT_EQ(mem_check(bytes((BASE + 2 * i + 1) * PAGE, 1), false), -EFAULT);
    }
    end();
}

static void freeing_unmaps_pins_and_areas(void)
{
    struct gmem_area area = GMEM_AREA_NONE;
    size_t calls;

    UT_REQUIRE(world());
    UT_EQ(set_whole_map(), 0);
    UT_EQ(gmem_pin(mem, map_pages(0, 20), true), 0);
    UT_EQ(gmem_pin(mem, map_pages(0, 20), true), 0);
    UT_EQ(gmem_pin(mem, grant_pages(REF, 7), true), 0);
    UT_EQ(gmem_pin(mem, grant_pages(REF, 7), false), 0);
    UT_EQ(gmem_area_map(mem, map_pages(30, 2), true, &area), 0);
    end();
    UT_REQUIRE(world_with(&fake_grants_ops_many, &small)); /* all of it at once where that can be */
    UT_EQ(set_whole_map(), 0);
    UT_EQ(gmem_pin(mem, map_pages(0, 20), true), 0);
    UT_EQ(gmem_area_map(mem, map_pages(30, 2), true, &area), 0);
    calls = fake_grants_calls(grants);
    mem = gmem_free(mem);
    UT_EQ(fake_grants_calls(grants), calls + 1);
    end();
}

/* Whatever the order of pins, a page is found in any window that has it. */
static void pages_of_overlapping_grant_pins_are_found(void)
{
    enum { PINS = 60, SPAN = 64 };
    static const struct gmem_limits roomy = {
        .max_pages = 65536, .max_windows = 256, .max_pin_pages = 64, .window_pages = 8};
    uint32_t seed = 5;

    for (unsigned round = 0; round < 20; round++) {
        unsigned covered[2][SPAN] = {{0}};

        UT_REQUIRE(world_with(&fake_grants_ops, &roomy));
        for (unsigned i = 0; i < PINS; i++) {
            uint32_t n = 1 + next_random(&seed) % (round + 1);
            uint32_t page = next_random(&seed) % (SPAN - n);
            bool write = next_random(&seed) % 2;
            void *hva = NULL;
            uint64_t len;

            UT_REQUIRE(gmem_pin(mem, grant_pages(REF + page, n), write) == 0);
            for (uint32_t k = page; k < page + n; k++)
                covered[write][k]++;
            for (uint32_t k = 0; k < SPAN; k++) {
                bool want_write = covered[1][k], want_read = want_write || covered[0][k];
                struct range gpa = grant_pages(REF + k, 1);

                UT_EQ(gmem_segment(mem, gpa, true, &hva, &len) == 0, want_write);
                UT_EQ(gmem_segment(mem, gpa, false, &hva, &len) == 0, want_read);
                if (want_read)
                    UT_EQ(*(uint8_t *)hva, fake_grants_memory(grants)[k * PAGE]);
            }
            UT_REQUIRE(books_are_right());
        }
        end();
    }
}

/* The guest chooses the order of its pins: what one costs may not follow their number. */
static void tree_of_grant_windows_stays_shallow(void)
{
    static const struct gmem_limits roomy = {
        .max_pages = 65536, .max_windows = 1024, .max_pin_pages = 64, .window_pages = 8};

    UT_REQUIRE(world_with(&fake_grants_ops, &roomy));
    for (uint32_t i = 0; i < 1000; i++)
        UT_EQ(gmem_pin(mem, grant_pages(REF + i / 5, 1 + i % 5), true), 0);
    UT_TRUE(books_are_right());
    UT_TRUE(depth(mem->grants[1]) < 40); /* 10 would be ideal, a list has 1000 */
    for (uint32_t i = 0; i < 1000; i += 2)
        gmem_unpin(mem, grant_pages(REF + i / 5, 1 + i % 5), true);
    UT_TRUE(books_are_right());
    end();
}

/* Random pins of both kinds against counts of what must be live. */
static void random_pins(const struct gmem_limits *limits)
{
    enum { SLOTS = 40 };
    struct {
        struct range gpa;
        bool write, used, grant;
        uint32_t page, n;
    } slots[SLOTS] = {0};
    uint32_t seed = (uint32_t)limits->max_windows;

    UT_REQUIRE(world_with(&fake_grants_ops, limits));
    UT_EQ(set_whole_map(), 0);
    for (unsigned step = 0; step < 20000; step++) {
        unsigned s = next_random(&seed) % SLOTS;

        if (slots[s].used) {
            gmem_unpin(mem, slots[s].gpa, slots[s].write);
            slots[s].used = false;
        } else {
            uint32_t n = 1 + next_random(&seed) % 12, page = next_random(&seed) % (GUEST - n);
            int r;

            slots[s].grant = next_random(&seed) % 2;
            slots[s].write = next_random(&seed) % 2;
            slots[s].page = page;
            slots[s].n = n;
            slots[s].gpa = slots[s].grant ? grant_pages(REF + page, n) : map_pages(page, n);
            if (next_random(&seed) % 8 == 0)
                fake_grants_fail_map(grants, 1 + next_random(&seed) % 2, -EIO);
            r = gmem_pin(mem, slots[s].gpa, slots[s].write);
            fake_grants_fail_map(grants, 0, 0);
            UT_REQUIRE(r == 0 || r == -ENOMEM || r == -EIO);
            slots[s].used = r == 0;
        }
        UT_REQUIRE(stats().pages < limits->max_pages && stats().windows < limits->max_windows);
        UT_REQUIRE(stats().pages == fake_grants_live_pages(grants));
        UT_REQUIRE(stats().windows == fake_grants_live_maps(grants));
        UT_REQUIRE(books_are_right());
        for (unsigned i = 0; i < SLOTS; i++) {
            void *hva;
            uint64_t len;

            if (!slots[i].used)
                continue;
            UT_REQUIRE(gmem_segment(mem, slots[i].gpa, slots[i].write, &hva, &len) == 0);
            UT_REQUIRE(*(uint8_t *)hva == fake_grants_memory(grants)[slots[i].page * PAGE]);
        }
    }
    for (unsigned i = 0; i < SLOTS; i++) {
        if (slots[i].used)
            gmem_unpin(mem, slots[i].gpa, slots[i].write);
    }
    UT_EQ(stats().pinned_pages, 0);
    UT_EQ(gmem_set_map(mem, NULL, 0), 0);
    UT_EQ(fake_grants_live_pages(grants), 0);
    end();
}

static void random_pins_leave_the_counts_of_a_model(void)
{
    /* So few that any two chunks meet in a bucket. */
    static const struct gmem_limits tiny = {
        .max_pages = 65, .max_windows = 4, .max_pin_pages = 48, .window_pages = 8};

    random_pins(&small);
    random_pins(&tiny);
}

/* Frame REF + 50 is page 0, reference REF + 50 is page 50: whatever was looked at last. */
static void frames_and_references_are_not_mixed_up(void)
{
    struct gmem_run run = {.address = (REF + 50) * PAGE, .first_ref = REF, .pages = 8};
    uint8_t byte, *memory;

    UT_REQUIRE(world_with(&fake_grants_ops_no_copy, &small));
    memory = fake_grants_memory(grants);
    UT_EQ(gmem_set_map(mem, &run, 1), 0);
    gmem_begin(mem);
    for (unsigned i = 0; i < 3; i++) {
        UT_EQ(mem_read(run.address + 5, &byte, 1), 0);
        UT_EQ(byte, memory[5]);
        UT_EQ(mem_read(grant_address(REF + 50, 5), &byte, 1), 0);
        UT_EQ(byte, memory[50 * PAGE + 5]);
    }
    gmem_end(mem);
    end();
}

/* Windows of all sizes, read and written, each at once after another. */
static void looking_back_and_forth_finds_the_right_bytes(void)
{
    const struct gmem_run runs[] = {run_of(0, 8, false),
                                    run_of(8, 3, false),
                                    run_of(16, 1, false),
                                    run_of(24, 5, true),
                                    {.address = 0, .first_ref = REF + 40, .pages = 1}};
    uint32_t seed = 3;
    uint8_t buf[3], byte, *memory;

    UT_REQUIRE(world());
    memory = fake_grants_memory(grants);
    UT_EQ(gmem_set_map(mem, runs, 5), 0);
    UT_EQ(mem_read(UINT64_MAX, buf, 2), -EFAULT);
    UT_EQ(mem_write(UINT64_MAX, buf, 2), -EFAULT);
    for (unsigned i = 0; i < 3000; i++) {
        const struct gmem_run *run = &runs[next_random(&seed) % 4];
        uint64_t at = next_random(&seed) % (run->pages * PAGE + 2), len = 1 + at % 3;
        uint64_t page0 = run->address - BASE * PAGE;
        bool ok = at + len <= run->pages * PAGE, write = next_random(&seed) % 2;

        if (page0 == 0 && at + len > 8 * PAGE)
            ok = true; /* the next run follows it */
        if (write) {
            memset(buf, (int)i, sizeof(buf));
            ok = ok && !run->read_only;
            UT_EQ(mem_write(run->address + at, buf, len), ok ? 0 : -EFAULT);
        } else {
            UT_EQ(mem_read(run->address + at, buf, len), ok ? 0 : -EFAULT);
        }
        if (i % 3 == 0) { /* the first page of all addresses */
            UT_EQ(mem_read(at % 4096, &byte, 1), 0);
            UT_EQ(byte, memory[40 * PAGE + at % 4096]);
        }
        UT_REQUIRE(!ok || memcmp(buf, memory + page0 + at, len) == 0);
    }
    end();
}

/* What waits for its unmap counts: the limits hold for what is mapped in fact, at any time. */
static void limits_hold_in_sections_too(void)
{
    static const struct gmem_limits few = {
        .max_pages = 1000, .max_windows = 5, .max_pin_pages = 48, .window_pages = 8};

    for (int pass = 0; pass < 4; pass++) {
        const struct gmem_limits *limits = pass & 1 ? &few : &small;
        uint8_t byte;

        UT_REQUIRE(world_with(pass & 2 ? &fake_grants_ops_many : &fake_grants_ops, limits));
        UT_EQ(set_whole_map(), 0);
        gmem_begin(mem);
        for (uint64_t i = 0; i < 100; i++) {
            UT_EQ(mem_read((BASE + i * 8 % GUEST) * PAGE, &byte, 1), 0);
            UT_EQ(gmem_pin(mem, grant_pages(REF + (uint32_t)i, 1), true), 0);
            gmem_unpin(mem, grant_pages(REF + (uint32_t)i, 1), true);
            UT_TRUE(fake_grants_live_pages(grants) <= limits->max_pages);
            UT_TRUE(fake_grants_live_maps(grants) <= limits->max_windows);
            UT_TRUE(books_are_right());
        }
        gmem_end(mem);
        end();
    }
}

/* A single one as well: it is unmapped when its room, or the host's, is needed. */
static void one_that_waits_for_its_unmap_gives_its_room(void)
{
    struct gmem_area area = GMEM_AREA_NONE;

    for (int next = 0; next < 3; next++) {
        UT_REQUIRE(world_with(&fake_grants_ops_many, &small)); /* 64 pages, and one */
        gmem_begin(mem);
        UT_EQ(gmem_area_map(mem, grant_pages(REF, 40), true, &area), 0);
        gmem_area_unmap(mem, &area);
        UT_EQ(fake_grants_live_pages(grants), 40);
        if (next == 0) {
            UT_EQ(gmem_area_map(mem, grant_pages(REF + 50, 26), true, &area), 0);
            UT_EQ(fake_grants_live_pages(grants), 26);
        } else if (next == 1) {
            give_hint(&(struct hint){READ, 100, 13});
            give_hint(&(struct hint){READ, 120, 13});
            gmem_fetch(mem);
            UT_EQ(fake_grants_live_pages(grants), 26);
        } else {
            fake_grants_set_limit(grants, 40);
            UT_EQ(gmem_area_map(mem, grant_pages(REF + 50, 1), true, &area), 0);
            UT_EQ(fake_grants_live_pages(grants), 1);
        }
        gmem_end(mem);
        end();
    }
}

/* The first piece of a pin, for pins of every kind: as gmem_pin and gmem_segment say. */
static void a_pin_says_where_its_memory_begins(void)
{
    const struct range gpas[] = {map_pages(3, 1),         map_pages(0, 8),
                                 map_pages(6, 4),         bytes((BASE + 1) * PAGE + 5, 10),
                                 grant_pages(REF + 9, 2), bytes(grant_address(REF + 20, 7), 5000)};
    static const size_t offsets[] = {3 * PAGE, 0, 6 * PAGE, PAGE + 5, 9 * PAGE, 20 * PAGE + 7};
    static const uint64_t lens[] = {PAGE, 8 * PAGE, 2 * PAGE, 10, 2 * PAGE, 5000};

    UT_REQUIRE(world());
    UT_EQ(set_whole_map(), 0);
    for (int again = 0; again < 2; again++) {
        for (size_t i = 0; i < ARRAY_SIZE(gpas); i++) {
            void *hva = NULL;
            uint64_t len = 0;

            UT_EQ(gmem_pin_segment(mem, gpas[i], true, &hva, &len), 0);
            UT_EQ(len, lens[i]);
            UT_TRUE(hva && memcmp(hva, fake_grants_memory(grants) + offsets[i], (size_t)len) == 0);
            expect_segment(gpas[i], true, offsets[i], lens[i]);
        }
    }
    for (int again = 0; again < 2; again++) {
        for (size_t i = 0; i < ARRAY_SIZE(gpas); i++) {
            expect_segment(gpas[i], true, offsets[i], lens[i]); /* pinned as often as it was said */
            gmem_unpin(mem, gpas[i], true);
        }
    }
    UT_EQ(stats().pinned_pages, 0);
    for (uint32_t i = 0; i < 2; i++) {
        void *hva = &hva;
        uint64_t len = 77;

        UT_EQ(gmem_pin_segment(mem, i ? map_pages(GUEST, 1) : grant_pages(0, 1), true, &hva, &len),
              -EFAULT);
        UT_EQ(gmem_pin_segment(mem, i ? map_pages(0, 49) : grant_pages(REF, 49), true, &hva, &len),
              -ENOMEM);
    }
    end();
}

static const struct ut_case cases[] = {
    UT_CASE(limits_that_make_no_sense_are_refused),
    UT_CASE(grant_addresses_have_exact_bounds),
    UT_CASE(last_references_can_be_pinned),
    UT_CASE(map_addresses_have_exact_bounds),
    UT_CASE(a_map_reaches_up_to_bit_63),
    UT_CASE(a_malformed_map_is_refused_and_the_old_one_stays),
    UT_CASE(grant_window_lives_from_first_to_last_pin),
    UT_CASE(ranges_within_a_page_share_the_window_of_the_page),
    UT_CASE(offset_that_crosses_a_page_takes_the_next_reference),
    UT_CASE(read_and_write_pins_of_the_same_grant_are_apart),
    UT_CASE(overlapping_grant_pins_end_one_by_one),
    UT_CASE(read_only_grants_serve_reads_only),
    UT_CASE(read_only_runs_serve_reads_only),
    UT_CASE(map_windows_persist_and_a_pin_again_makes_no_call),
    UT_CASE(an_unpin_too_many_changes_nothing),
    UT_CASE(pin_over_several_windows_has_a_segment_each),
    UT_CASE(segment_of_what_is_not_pinned_is_refused),
    UT_CASE(idle_windows_are_replaced_oldest_first),
    UT_CASE(what_was_looked_up_last_is_forgotten_with_what_it_was),
    UT_CASE(what_was_looked_up_last_serves_exactly_what_it_is),
    UT_CASE(what_is_read_at_once_counts_as_use),
    UT_CASE(pinned_windows_are_never_replaced),
    UT_CASE(a_chunk_that_does_not_fit_is_mapped_in_part),
    UT_CASE(number_of_windows_is_limited),
    UT_CASE(pages_of_one_pin_are_limited),
    UT_CASE(a_full_budget_still_reads_and_writes),
    UT_CASE(what_is_mapped_for_a_copy_keeps_to_the_limits),
    UT_CASE(an_access_may_take_the_last_window),
    UT_CASE(a_copy_without_a_window_finds_each_page),
    UT_CASE(a_host_short_of_mappings_still_reads_the_map),
    UT_CASE(direct_mappings_of_the_fake_are_the_memory_itself),
    UT_CASE(failure_at_any_window_of_a_pin_undoes_it),
    UT_CASE(failure_of_a_grant_pin_leaves_nothing),
    UT_CASE(reads_and_writes_reach_the_right_bytes),
    UT_CASE(unpinned_grants_are_copied_and_pinned_ones_read_in_place),
    UT_CASE(a_section_keeps_temporary_windows_to_its_end),
    UT_CASE(a_pin_in_a_section_takes_the_window_over),
    UT_CASE(windows_that_will_be_used_are_mapped_by_one_call),
    UT_CASE(hints_map_what_they_say),
    UT_CASE(a_page_that_is_written_and_pinned_has_one_window),
    UT_CASE(hints_see_what_is_there),
    UT_CASE(hints_that_are_of_no_use_do_nothing),
    UT_CASE(hints_are_forgotten_when_they_were_looked_at),
    UT_CASE(hints_keep_to_the_limits),
    UT_CASE(a_section_that_was_not_begun_does_not_end),
    UT_CASE(copies_go_page_by_page),
    UT_CASE(neither_sections_nor_hints_change_an_answer),
    UT_CASE(unmaps_of_a_section_are_one_call),
    UT_CASE(areas_are_contiguous_whatever_the_runs_are),
    UT_CASE(areas_are_limited_like_pins),
    UT_CASE(areas_count_in_the_budget),
    UT_CASE(a_kept_window_does_not_hide_the_pinned_one),
    UT_CASE(a_part_of_a_pin_is_found_beside_a_kept_window),
    UT_CASE(no_more_is_replaced_than_is_needed),
    UT_CASE(a_part_of_a_chunk_takes_the_room_of_a_part),
    UT_CASE(pins_over_windows_that_are_there_need_none),
    UT_CASE(the_smallest_limits_and_many_pages_work),
    UT_CASE(windows_may_be_larger_than_pins),
    UT_CASE(new_map_keeps_what_is_in_use_or_is_refused),
    UT_CASE(new_map_unmaps_idle_windows_of_changed_pages_only),
    UT_CASE(an_access_goes_on_into_the_next_run),
    UT_CASE(a_map_without_a_change_changes_nothing),
    UT_CASE(a_map_that_is_read_only_in_part_is_judged_page_by_page),
    UT_CASE(an_idle_window_ends_when_its_run_becomes_writable),
    UT_CASE(pins_of_grant_addresses_do_not_hold_the_map),
    UT_CASE(an_area_holds_each_of_its_pages),
    UT_CASE(a_grown_run_is_usable_around_a_pinned_window),
    UT_CASE(a_run_that_becomes_writable_serves_both),
    UT_CASE(a_read_only_window_is_no_neighbour_of_a_writable_one),
    UT_CASE(chunks_of_one_bucket_do_not_cut_each_other),
    UT_CASE(a_map_of_many_runs_is_found_through),
    UT_CASE(freeing_unmaps_pins_and_areas),
    UT_CASE(pages_of_overlapping_grant_pins_are_found),
    UT_CASE(tree_of_grant_windows_stays_shallow),
    UT_CASE(random_pins_leave_the_counts_of_a_model),
    UT_CASE(frames_and_references_are_not_mixed_up),
    UT_CASE(looking_back_and_forth_finds_the_right_bytes),
    UT_CASE(limits_hold_in_sections_too),
    UT_CASE(one_that_waits_for_its_unmap_gives_its_room),
    UT_CASE(a_pin_says_where_its_memory_begins),
};

int main(int argc, char **argv)
{
    return ut_main(argc, argv, "gmem", cases, ARRAY_SIZE(cases));
}
