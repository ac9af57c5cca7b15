/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The interval map against a model (a sorted array), and its promises about memory: density,
 * release, and that a failed insert changes nothing. Built twice: with the real node sizes and,
 * as test_imap_small, with nodes of four items.
 */
#include <config.h>

#include "common/imap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/imap_priv.h"
#include "tests/support/ut.h"

/* Allocation failure: the linker sends the map's malloc here (-Wl,--wrap=malloc). */
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

static int fail_after = -1; /* this many more succeed; -1: all do */
static unsigned n_allocated;

void *__wrap_malloc(size_t size)
{
    if (fail_after == 0)
        return NULL;
    if (fail_after > 0)
        fail_after--;
    n_allocated++;
    return __real_malloc(size);
}

/* splitmix64: the same stream for a seed on every machine. */
static uint64_t random_u64(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

#define MODEL_MAX 8192u

struct model {
    struct imap_entry entries[MODEL_MAX];
    size_t n;
};

/* The first entry of the model that ends at or behind `addr`. */
static size_t model_find(const struct model *m, uint64_t addr)
{
    size_t low = 0, high = m->n;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (m->entries[mid].range.last < addr)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static bool model_taken(const struct model *m, struct range r)
{
    size_t i = model_find(m, r.first);

    return i < m->n && m->entries[i].range.first <= r.last;
}

static int model_insert(struct model *m, const struct imap_entry *e)
{
    size_t i = model_find(m, e->range.first);

    if (!range_valid(e->range))
        return -EINVAL;
    if (model_taken(m, e->range))
        return -EEXIST;
    memmove(&m->entries[i + 1], &m->entries[i], (m->n - i) * sizeof(*e));
    m->entries[i] = *e;
    m->n++;
    return 0;
}

static bool same_entry(const struct imap_entry *a, const struct imap_entry *b)
{
    return a->range.first == b->range.first && a->range.last == b->range.last &&
           a->value == b->value && a->flags == b->flags && a->tag == b->tag;
}

/* Follows a walk over the map: each entry must be the model's next one. */
struct follower {
    const struct model *model;
    size_t next;
    size_t n;
    size_t stop_after;
    bool same;
};

static int follow(const struct imap_entry *entry, void *ctx)
{
    struct follower *f = ctx;

    if (f->next >= f->model->n || !same_entry(entry, &f->model->entries[f->next]))
        f->same = false;
    f->next++;
    f->n++;
    return f->n == f->stop_after ? 77 : 0;
}

static void follow_removed(const struct imap_entry *entry, void *ctx)
{
    follow(entry, ctx);
}

/* What the model says about `r`: the entries that overlap it, and those that lie within. */
static size_t model_overlapping(const struct model *m, struct range r, size_t *first_out)
{
    size_t i = model_find(m, r.first), end = i;

    while (end < m->n && m->entries[end].range.first <= r.last)
        end++;
    *first_out = i;
    return range_valid(r) ? end - i : 0;
}

static size_t model_within(const struct model *m, struct range r, size_t *first_out)
{
    size_t i, n = model_overlapping(m, r, &i);

    if (n > 0 && m->entries[i].range.first < r.first) {
        i++;
        n--;
    }
    if (n > 0 && m->entries[i + n - 1].range.last > r.last)
        n--;
    *first_out = i;
    return n;
}

static bool check_insert(struct imap *map, struct model *m, struct range r, uint64_t value)
{
    struct imap_entry e = {
        .range = r, .value = value, .flags = (uint32_t)value, .tag = (uint32_t)(value >> 32)};

    if (m->n == MODEL_MAX)
        return true;
    return imap_insert(map, &e) == model_insert(m, &e);
}

static bool check_remove(struct imap *map, struct model *m, struct range r, bool with_fn)
{
    struct follower f = {.model = m, .same = true};
    size_t first, n = model_within(m, r, &first);

    f.next = first;
    if (imap_remove_within(map, r, with_fn ? follow_removed : NULL, &f) != n)
        return false;
    if (with_fn && (!f.same || f.n != n))
        return false;
    memmove(&m->entries[first], &m->entries[first + n], (m->n - first - n) * sizeof(m->entries[0]));
    m->n -= n;
    return true;
}

static void follow_whole(const struct imap_entry *entry, void *ctx)
{
    (void)follow(entry, ctx);
}

/* All of the range's entries, or none when one of them sticks out. */
static bool check_whole(struct imap *map, const struct model *m, struct range r)
{
    size_t first, n = model_overlapping(m, r, &first), unused;
    bool whole = model_within(m, r, &unused) == n;
    struct follower f = {.model = m, .next = first, .same = true};

    return imap_covers_whole_entries(map, r) == whole &&
           imap_for_each_whole(map, r, follow_whole, &f) == whole && f.same &&
           f.n == (whole ? n : 0) && imap_for_each_whole(map, r, NULL, NULL) == whole;
}

static bool check_queries(struct imap *map, const struct model *m, struct range r)
{
    struct imap_entry e;
    size_t first, n = model_overlapping(m, r, &first);
    struct follower f = {.model = m, .next = first, .same = true};
    bool found = imap_first_in(map, r, &e);

    if (found != (n > 0) || imap_first_in(map, r, NULL) != found)
        return false;
    if (found && !same_entry(&e, &m->entries[first]))
        return false;
    found = imap_lookup(map, r.first, &e);
    if (found != model_taken(m, (struct range){r.first, r.first}))
        return false;
    if (found && !range_contains_addr(e.range, r.first))
        return false;
    if (!check_whole(map, m, r))
        return false;
    if (imap_for_each(map, r, follow, &f) != 0 || !f.same || f.n != n)
        return false;
    return imap_count(map) == m->n;
}

/* Every entry and no other, in order. */
static bool same_contents(const struct imap *map, const struct model *m)
{
    struct follower f = {.model = m, .same = true};

    return imap_for_each(map, (struct range){0, UINT64_MAX}, follow, &f) == 0 && f.same &&
           f.n == m->n && imap_count(map) == m->n;
}

/* A universe of addresses: `span` of them from `base` on, up to 2^64-1 for the topmost. */
struct universe {
    uint64_t base;
    uint64_t span;
    uint64_t longest;      /* inserted range */
    uint64_t longest_wipe; /* removed range */
    unsigned insert_share; /* of 16 */
    unsigned steps;
};

static struct range random_range(uint64_t *rng, const struct universe *u, uint64_t longest)
{
    uint64_t top = u->base + (u->span - 1);
    uint64_t first = u->base + random_u64(rng) % u->span;
    uint64_t last = first + random_u64(rng) % longest;

    return (struct range){first, last < first || last > top ? top : last};
}

static bool random_step(struct imap *map, struct model *m, uint64_t *rng, const struct universe *u)
{
    unsigned what = random_u64(rng) % 16;
    struct range r = random_range(rng, u, what < u->insert_share ? u->longest : u->longest_wipe);

    if (what < u->insert_share)
        return check_insert(map, m, r, random_u64(rng));
    if (what == 15)
        return check_queries(map, m, (struct range){r.last, r.first});
    if (what == 14)
        return check_queries(map, m, r);
    return check_remove(map, m, r, what % 2);
}

static bool random_run(const struct universe *u, uint64_t seed)
{
    struct model *m = calloc(1, sizeof(*m));
    struct imap *map = imap_new();
    const char *wrong = map && m ? NULL : "no memory";

    for (unsigned i = 0; i < u->steps && !wrong; i++) {
        if (!random_step(map, m, &seed, u))
            wrong = "differs from the model";
        else if (m->n < 300 || i % 64 == 0)
            wrong = imap_check(map);
    }
    if (!wrong && !same_contents(map, m))
        wrong = "contents differ from the model";
    if (wrong)
        printf("    %s\n", wrong);
    imap_free(map);
    free(m);
    return !wrong;
}

static void random_requests_do_what_the_model_does(void)
{
    static const struct universe universes[] = {
        {.base = 0, .span = 64, .longest = 4, .longest_wipe = 8},
        {.base = UINT64_MAX - 63, .span = 64, .longest = 4, .longest_wipe = 8},
        {.base = 0, .span = 2000, .longest = 8, .longest_wipe = 300},
        {.base = UINT64_MAX - 1999, .span = 2000, .longest = 8, .longest_wipe = 300},
        {.base = 0, .span = UINT64_MAX, .longest = UINT64_MAX, .longest_wipe = UINT64_MAX},
        {.base = 1, .span = UINT64_MAX, .longest = 1ull << 54, .longest_wipe = 1ull << 58},
    };

    for (size_t i = 0; i < ARRAY_SIZE(universes); i++) {
        for (uint64_t seed = 0; seed < 40; seed++) {
            struct universe u = universes[i];

            u.steps = 600;
            u.insert_share = 4 + seed % 10;
            UT_TRUE(random_run(&u, seed * 1000 + i));
        }
    }
}

static void random_requests_on_large_maps_do_what_the_model_does(void)
{
    for (uint64_t seed = 0; seed < 4; seed++) {
        struct universe u = {.base = seed % 2 ? UINT64_MAX - 29999 : 0,
                             .span = 30000,
                             .longest = 3,
                             .longest_wipe = seed < 2 ? 4 : 400,
                             .insert_share = 13,
                             .steps = 30000};

        UT_TRUE(random_run(&u, seed));
    }
}

/* Runs upward or downward from random places, then ranges wiped: how drivers use IOVAs. */
static void sequential_runs_do_what_the_model_does(void)
{
    for (uint64_t seed = 0; seed < 24; seed++) {
        struct model *m = calloc(1, sizeof(*m));
        struct imap *map = imap_new();
        uint64_t rng = seed;
        bool ok = true;

        UT_REQUIRE(map && m);
        for (unsigned run = 0; run < 60; run++) {
            uint64_t at = random_u64(&rng) % 40000, wipe = random_u64(&rng) % 40000;

            for (unsigned i = 0; i < 100; i++) {
                uint64_t first = seed % 2 ? at + i : at + 100 - i;

                ok = ok && check_insert(map, m, (struct range){first, first}, first);
            }
            ok = ok && !imap_check(map);
            ok = ok && check_remove(map, m, (struct range){wipe, wipe + 1500}, true);
            ok = ok && !imap_check(map);
        }
        UT_TRUE(ok);
        UT_TRUE(same_contents(map, m));
        UT_TRUE(check_remove(map, m, (struct range){0, UINT64_MAX}, true));
        UT_EQ(imap_memory(map), sizeof(struct imap));
        UT_TRUE(!imap_check(map));
        imap_free(map);
        free(m);
    }
}

static int put(struct imap *map, uint64_t first, uint64_t last)
{
    struct imap_entry e = {.range = {first, last}, .value = ~first};

    return imap_insert(map, &e);
}

static void the_ends_of_the_address_space_are_addresses(void)
{
    struct imap *map = imap_new();
    struct imap_entry e;

    UT_REQUIRE(map);
    UT_EQ(put(map, 0, UINT64_MAX), 0);
    UT_EQ(put(map, 0, 0), -EEXIST);
    UT_EQ(put(map, UINT64_MAX, UINT64_MAX), -EEXIST);
    UT_EQ(put(map, 0, UINT64_MAX), -EEXIST);
    UT_TRUE(imap_lookup(map, UINT64_MAX, &e));
    UT_EQ(e.range.last, UINT64_MAX);
    UT_EQ(imap_remove_within(map, (struct range){1, UINT64_MAX}, NULL, NULL), 0);
    UT_EQ(imap_remove_within(map, (struct range){0, UINT64_MAX - 1}, NULL, NULL), 0);
    UT_FALSE(imap_covers_whole_entries(map, (struct range){0, UINT64_MAX - 1}));
    UT_FALSE(imap_covers_whole_entries(map, (struct range){1, UINT64_MAX}));
    UT_TRUE(imap_covers_whole_entries(map, (struct range){0, UINT64_MAX}));
    UT_EQ(imap_remove_within(map, (struct range){0, UINT64_MAX}, NULL, NULL), 1);
    UT_EQ(put(map, UINT64_MAX, UINT64_MAX), 0);
    UT_EQ(put(map, 0, 0), 0);
    UT_TRUE(imap_lookup(map, 0, &e));
    UT_EQ(e.value, UINT64_MAX);
    UT_TRUE(imap_first_in(map, (struct range){1, UINT64_MAX}, &e));
    UT_EQ(e.range.first, UINT64_MAX);
    UT_FALSE(imap_first_in(map, (struct range){1, UINT64_MAX - 1}, &e));
    UT_TRUE(!imap_check(map));
    imap_free(map);
}

static void inverted_ranges_are_refused_and_overlap_nothing(void)
{
    struct imap *map = imap_new();
    struct range inverted = {20, 10};

    UT_REQUIRE(map);
    UT_EQ(put(map, 20, 10), -EINVAL);
    UT_EQ(imap_count(map), 0);
    UT_EQ(put(map, 0, 100), 0);
    UT_EQ(put(map, 20, 10), -EINVAL);
    UT_FALSE(imap_first_in(map, inverted, NULL));
    UT_TRUE(imap_covers_whole_entries(map, inverted));
    UT_EQ(imap_remove_within(map, inverted, NULL, NULL), 0);
    UT_EQ(imap_remove_within(map, (struct range){UINT64_MAX, 0}, NULL, NULL), 0);
    UT_EQ(imap_count(map), 1);
    imap_free(map);
}

static void an_empty_map_answers_everything(void)
{
    struct imap *map = imap_new();
    struct range all = {0, UINT64_MAX};
    struct model m = {.n = 0};

    UT_REQUIRE(map);
    UT_FALSE(imap_first_in(map, all, NULL));
    UT_TRUE(imap_covers_whole_entries(map, all));
    UT_EQ(imap_remove_within(map, all, NULL, NULL), 0);
    UT_TRUE(same_contents(map, &m));
    UT_TRUE(!imap_check(map));
    UT_TRUE(imap_free(map) == NULL);
    UT_TRUE(imap_free(NULL) == NULL);
}

static void a_walk_ends_where_its_function_says(void)
{
    static struct model m;
    struct imap *map = imap_new();
    struct follower f = {.model = &m, .same = true, .stop_after = 50};

    UT_REQUIRE(map);
    m.n = 0;
    for (uint64_t i = 0; i < 200; i++)
        UT_TRUE(check_insert(map, &m, (struct range){i * 2, i * 2}, i));
    UT_EQ(imap_for_each(map, (struct range){0, UINT64_MAX}, follow, &f), 77);
    UT_EQ(f.n, 50);
    UT_TRUE(f.same);
    imap_free(map);
}

struct whole_map {
    const struct imap *map;
    size_t count;
    bool whole;
};

static void look_around(const struct imap_entry *entry, void *ctx)
{
    struct whole_map *w = ctx;

    w->whole = w->whole && imap_count(w->map) == w->count &&
               imap_lookup(w->map, entry->range.first, NULL) && !imap_check(w->map);
}

static void the_map_is_whole_while_removed_entries_are_reported(void)
{
    struct imap *map = imap_new();
    struct whole_map w = {.map = map, .count = 500, .whole = true};

    UT_REQUIRE(map);
    for (uint64_t i = 0; i < 500; i++)
        UT_EQ(put(map, i, i), 0);
    UT_EQ(imap_remove_within(map, (struct range){3, 450}, look_around, &w), 448);
    UT_TRUE(w.whole);
    UT_EQ(imap_count(map), 52);
    imap_free(map);
}

/* Fills a map of many shapes, then lets the next inserts fail at each of their allocations. */
static void a_failed_insert_changes_nothing(void)
{
    static struct model m;
    struct imap *map = imap_new();
    uint64_t rng = 4711;
    unsigned n_failed = 0, deepest = 0;
    bool ok = true;

    UT_REQUIRE(map);
    m.n = 0;
    while (m.n < 6000) {
        uint64_t first = random_u64(&rng) % 100000 * 2;
        struct imap_entry e = {.range = {first, first + 1}, .value = first};
        size_t memory = imap_memory(map);
        int r = -ENOMEM;

        for (int n = 0; r == -ENOMEM; n++) {
            fail_after = n;
            n_allocated = 0;
            r = imap_insert(map, &e);
            fail_after = -1;
            if (r == -ENOMEM) {
                n_failed++;
                ok = ok && imap_count(map) == m.n && imap_memory(map) == memory &&
                     !imap_lookup(map, first, NULL) && (m.n % 16 || !imap_check(map)) &&
                     (m.n % 64 || same_contents(map, &m));
            }
        }
        deepest = n_allocated > deepest ? n_allocated : deepest;
        ok = ok && n_allocated <= map->height + 1 && r == model_insert(&m, &e);
    }
    UT_TRUE(ok);
    UT_TRUE(n_failed > 200);
    UT_TRUE(deepest >= 3);
    UT_TRUE(same_contents(map, &m));
    UT_TRUE(!imap_check(map));
    imap_free(map);
}

static void removing_needs_no_memory(void)
{
    struct imap *map = imap_new();
    uint64_t rng = 99;

    UT_REQUIRE(map);
    for (uint64_t i = 0; i < 5000; i++)
        UT_EQ(put(map, i, i), 0);
    fail_after = 0;
    while (imap_count(map) > 0) {
        uint64_t first = random_u64(&rng) % 5000;

        imap_remove_within(map, (struct range){first, first + 40}, NULL, NULL);
    }
    UT_EQ(put(map, 0, 0), -ENOMEM);
    fail_after = -1;
    UT_EQ(imap_memory(map), sizeof(struct imap));
    imap_free(map);
}

static double bytes_per_entry(const struct imap *map)
{
    return (double)imap_memory(map) / (double)imap_count(map);
}

enum order { UP, DOWN, TWO_UP, MIDDLE_UP, MIDDLE_DOWN, RANDOM };

/* The i-th of n different keys in the given order. */
static uint64_t key_of(enum order order, uint64_t i, uint64_t n)
{
    static const uint64_t odd = 0x9e3779b97f4a7c15u;

    switch (order) {
    case UP:
        return i;
    case DOWN:
        return n - i;
    case TWO_UP: /* two runs by turns, the upper one at the end of the map */
        return i % 2 ? n + i : i;
    case MIDDLE_UP: /* between two entries that are there first */
        return i == 0 ? 0 : i == 1 ? UINT64_MAX - 1 : i;
    case MIDDLE_DOWN:
        return i == 0 ? 0 : i == 1 ? UINT64_MAX - 1 : n - i + 2;
    case RANDOM:
        break;
    }
    return i * odd >> 1 << 1;
}

static void fills_are_dense(void)
{
    static const struct {
        enum order order;
        double most;
    } cases[] = {{UP, 36},        {DOWN, 36},        {TWO_UP, 36},
                 {MIDDLE_UP, 36}, {MIDDLE_DOWN, 36}, {RANDOM, 60}};

    for (size_t c = 0; c < ARRAY_SIZE(cases) && LEAF_CAP == 31; c++) {
        struct imap *map = imap_new();
        unsigned refused = 0;

        UT_REQUIRE(map);
        for (uint64_t i = 0; i < 60000; i++) {
            uint64_t key = key_of(cases[c].order, i, 60000);

            refused += put(map, key, key) != 0;
        }
        UT_EQ(refused, 0);
        UT_TRUE(bytes_per_entry(map) < cases[c].most);
        if (bytes_per_entry(map) >= cases[c].most)
            printf("    order %zu: %.1f bytes per entry\n", c, bytes_per_entry(map));
        UT_TRUE(!imap_check(map));
        imap_free(map);
    }
}

/* Whatever the order of removal, what is left takes memory in proportion. */
static void memory_follows_the_count(void)
{
    for (unsigned order = UP; order <= RANDOM; order++) {
        struct imap *map = imap_new();
        uint64_t rng = order;

        UT_REQUIRE(map);
        for (uint64_t i = 0; i < 40000; i++)
            UT_TRUE(put(map, i * 16, i * 16) == 0);
        while (imap_count(map) > 400) {
            uint64_t key = order == UP     ? (40000 - imap_count(map)) * 16
                           : order == DOWN ? imap_count(map) * 16 - 16
                                           : random_u64(&rng) % 40000 * 16;
            uint64_t wipe = order == MIDDLE_UP ? 160 : order == MIDDLE_DOWN ? 1600 : 0;

            imap_remove_within(map, (struct range){key, key + wipe}, NULL, NULL);
        }
        UT_TRUE(!imap_check(map));
        UT_TRUE(LEAF_CAP != 31 || bytes_per_entry(map) < 70);
        if (LEAF_CAP == 31 && bytes_per_entry(map) >= 70)
            printf("    order %u: %.1f bytes per entry\n", order, bytes_per_entry(map));
        imap_remove_within(map, (struct range){0, UINT64_MAX}, NULL, NULL);
        UT_EQ(imap_memory(map), sizeof(struct imap));
        imap_free(map);
    }
}

/*
 * A guest that leaves as little as it can in as many nodes as it can: in every group of full
 * leaves the same positions are wiped, one step after the other.
 */
static void sparse_leftovers_are_merged(void)
{
    static const struct {
        unsigned group;          /* entries */
        struct range wipes[3];   /* positions in the group; {1, 0} is none */
        unsigned left_per_group; /* entries */
        double most;             /* bytes per entry */
    } cases[] = {
        {31, {{1, 30}, {1, 0}, {1, 0}}, 1, 75},     /* one entry in each leaf */
        {93, {{20, 91}, {1, 0}, {1, 0}}, 21, 60},   /* little right of the cut */
        {93, {{1, 72}, {1, 0}, {1, 0}}, 21, 60},    /* little left of the cut */
        {62, {{32, 61}, {15, 30}, {1, 0}}, 16, 70}, /* little beside what shrinks later */
        {93, {{13, 30}, {44, 61}, {1, 0}}, 57, 45}, /* less than half, and so the next leaf, */
        {93, {{75, 92}, {44, 61}, {1, 0}}, 57, 45}, /* or the one before it */
    };

    for (size_t c = 0; c < ARRAY_SIZE(cases) && LEAF_CAP == 31; c++) {
        unsigned group = cases[c].group, n = 1000 * group;
        struct imap *map = imap_new();

        UT_REQUIRE(map);
        for (uint64_t i = 0; i < n; i++)
            UT_TRUE(put(map, i, i) == 0);
        for (unsigned w = 0; w < 3; w++) {
            for (uint64_t at = 0; at < n && range_valid(cases[c].wipes[w]); at += group)
                imap_remove_within(
                    map, (struct range){at + cases[c].wipes[w].first, at + cases[c].wipes[w].last},
                    NULL, NULL);
        }
        UT_TRUE(!imap_check(map));
        UT_EQ(imap_count(map), 1000 * cases[c].left_per_group);
        UT_TRUE(bytes_per_entry(map) < cases[c].most);
        if (bytes_per_entry(map) >= cases[c].most)
            printf("    case %zu: %.1f bytes per entry\n", c, bytes_per_entry(map));
        imap_free(map);
    }
}

int main(int argc, char **argv)
{
    static const struct ut_case cases[] = {
        UT_CASE(an_empty_map_answers_everything),
        UT_CASE(the_ends_of_the_address_space_are_addresses),
        UT_CASE(inverted_ranges_are_refused_and_overlap_nothing),
        UT_CASE(a_walk_ends_where_its_function_says),
        UT_CASE(the_map_is_whole_while_removed_entries_are_reported),
        UT_CASE(random_requests_do_what_the_model_does),
        UT_CASE(random_requests_on_large_maps_do_what_the_model_does),
        UT_CASE(sequential_runs_do_what_the_model_does),
        UT_CASE(a_failed_insert_changes_nothing),
        UT_CASE(removing_needs_no_memory),
        UT_CASE(fills_are_dense),
        UT_CASE(memory_follows_the_count),
        UT_CASE(sparse_leftovers_are_merged),
    };

    return ut_main(argc, argv, "imap", cases, ARRAY_SIZE(cases));
}
