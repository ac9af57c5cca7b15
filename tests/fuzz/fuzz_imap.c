/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The interval map against the plainest model of it: an array and linear search. Bytes choose
 * operations on a small set of addresses, at both ends of the address space, so that ranges meet.
 * Built on trees of tiny nodes, where few entries make many levels.
 */
#include <config.h>

#include "common/imap.h"

#include <errno.h>

#include "tests/fuzz/fuzz.h"

#define MAX_ENTRIES 256u

static struct imap_entry model[MAX_ENTRIES]; /* sorted, disjoint */
static size_t n_model;

static bool same(const struct imap_entry *a, const struct imap_entry *b)
{
    return a->range.first == b->range.first && a->range.last == b->range.last &&
           a->value == b->value && a->flags == b->flags && a->tag == b->tag;
}

static size_t model_first(struct range r)
{
    size_t i = 0;

    while (i < n_model && !(range_valid(r) && range_overlaps(model[i].range, r)))
        i++;
    return i;
}

static int model_insert(const struct imap_entry *e)
{
    size_t i = 0;

    if (!range_valid(e->range))
        return -EINVAL;
    if (model_first(e->range) < n_model)
        return -EEXIST;
    while (i < n_model && model[i].range.first < e->range.first)
        i++;
    memmove(&model[i + 1], &model[i], (n_model - i) * sizeof(model[0]));
    model[i] = *e;
    n_model++;
    return 0;
}

static bool model_whole(struct range r)
{
    for (size_t i = 0; range_valid(r) && i < n_model; i++) {
        if (range_overlaps(model[i].range, r) && !range_contains(r, model[i].range))
            return false;
    }
    return true;
}

struct expect {
    size_t at; /* in the model */
    struct range r;
    bool within; /* only whole entries count */
    size_t n, stop_after;
};

static void expect_next(struct expect *x, const struct imap_entry *e)
{
    while (x->at < n_model && (!range_overlaps(model[x->at].range, x->r) ||
                               (x->within && !range_contains(x->r, model[x->at].range))))
        x->at++;
    FUZZ_CHECK(x->at < n_model && same(&model[x->at], e));
    x->at++;
    x->n++;
}

static int on_entry(const struct imap_entry *e, void *ctx)
{
    struct expect *x = ctx;

    expect_next(x, e);
    return x->n == x->stop_after ? 7 : 0;
}

static void on_removed(const struct imap_entry *e, void *ctx)
{
    expect_next(ctx, e);
}

static size_t model_remove(struct range r)
{
    size_t kept = 0, n = n_model;

    for (size_t i = 0; i < n; i++) {
        if (!range_valid(r) || !range_contains(r, model[i].range))
            model[kept++] = model[i];
    }
    n_model = kept;
    return n - kept;
}

/* Mostly one of 1,024 places, now and then at the very end or anywhere. */
static uint64_t address(struct fuzz_in *in)
{
    uint16_t v = fuzz_u16(in);

    switch (v >> 14) {
    case 0:
    case 1:
        return v & 0x3ff;
    case 2:
        return UINT64_MAX - (v & 0x3ff);
    default:
        return (uint64_t)(v & 0x3fff) << 50 | (v & 0x3f);
    }
}

static struct range some_range(struct fuzz_in *in)
{
    uint64_t first = address(in);
    uint8_t how = fuzz_u8(in);

    if (how >= 250)
        return (struct range){first, address(in)}; /* long, or inverted */
    return (struct range){first, first + how / 8 < first ? UINT64_MAX : first + how / 8};
}

static void do_insert(struct imap *map, struct range r, struct fuzz_in *in)
{
    struct imap_entry e = {r, fuzz_u8(in), fuzz_u8(in) & 7, (uint32_t)n_model};

    if (n_model < MAX_ENTRIES)
        FUZZ_CHECK(imap_insert(map, &e) == model_insert(&e));
}

/* Many entries from one byte pair, so that short inputs make deep trees. */
static void do_fill(struct imap *map, struct range r, struct fuzz_in *in)
{
    unsigned n = fuzz_u8(in) % 128, step = 1 + fuzz_u8(in) % 4;

    for (unsigned i = 0; i < n && n_model < MAX_ENTRIES; i++) {
        uint64_t at = r.first + (uint64_t)(i & 1 ? n - i / 2 : i / 2) * step;
        struct imap_entry e = {{at, at}, i, 0, (uint32_t)n_model};

        FUZZ_CHECK(imap_insert(map, &e) == model_insert(&e));
    }
}

static void do_remove(struct imap *map, struct range r)
{
    struct expect x = {.r = r, .within = true};
    size_t n = imap_remove_within(map, r, on_removed, &x);

    FUZZ_CHECK(n == x.n);
    FUZZ_CHECK(model_remove(r) == n);
}

static void count_whole(const struct imap_entry *entry, void *ctx)
{
    struct expect *x = ctx;

    FUZZ_CHECK(range_contains(x->r, entry->range));
    x->n++;
}

static void do_look_whole(struct imap *map, struct range r)
{
    struct expect x = {.r = r};
    bool whole = model_whole(r);
    size_t n = 0;

    for (size_t i = 0; i < n_model && range_valid(r); i++)
        n += range_overlaps(model[i].range, r);
    FUZZ_CHECK(imap_covers_whole_entries(map, r) == whole);
    FUZZ_CHECK(imap_for_each_whole(map, r, count_whole, &x) == whole);
    FUZZ_CHECK(x.n == (whole ? n : 0));
}

static void do_look(struct imap *map, struct range r, struct fuzz_in *in)
{
    struct expect x = {.r = r, .stop_after = fuzz_u8(in) % 16};
    struct imap_entry e;
    size_t i = model_first(r);
    bool found = imap_first_in(map, r, &e);

    FUZZ_CHECK(found == (i < n_model) && (!found || same(&e, &model[i])));
    i = model_first((struct range){r.first, r.first});
    found = imap_lookup(map, r.first, &e);
    FUZZ_CHECK(found == (i < n_model) && (!found || same(&e, &model[i])));
    do_look_whole(map, r);
    if (imap_for_each(map, r, on_entry, &x) == 0) {
        /* It came to the end: the model has no more either. */
        for (; x.at < n_model; x.at++)
            FUZZ_CHECK(!range_valid(r) || !range_overlaps(model[x.at].range, r));
    } else {
        FUZZ_CHECK(x.n == x.stop_after);
    }
}

static void compare(const struct imap *map)
{
    struct expect x = {.r = {0, UINT64_MAX}};
    const char *wrong = imap_check(map);

    if (wrong)
        fprintf(stderr, "imap_check: %s\n", wrong);
    FUZZ_CHECK(!wrong);
    FUZZ_CHECK(imap_count(map) == n_model);
    FUZZ_CHECK(imap_for_each(map, x.r, on_entry, &x) == 0 && x.n == n_model);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_in in = {data, size};
    struct imap *map = imap_new();

    FUZZ_CHECK(map);
    n_model = 0;
    for (unsigned steps = 0; in.n > 0 && steps < 128; steps++) {
        uint8_t op = fuzz_u8(&in);
        struct range r = some_range(&in);

        if (op < 100)
            do_insert(map, r, &in);
        else if (op < 130)
            do_fill(map, r, &in);
        else if (op < 200)
            do_remove(map, r);
        else
            do_look(map, r, &in);
        if (steps % 8 == 0)
            compare(map);
    }
    compare(map);
    imap_free(map);
    return 0;
}
