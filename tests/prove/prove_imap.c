/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The interval map against an array. OPS operations, each of any kind with any 64-bit range, on a
 * map with nodes of LEAF_CAP and INNER_CAP items; after each, the map holds what the array holds:
 * looked at through every function that reads. Allocations fail at any point; a failed insert
 * changes nothing.
 */
#include "common/imap.h"

#include <errno.h>
#include <stdlib.h>

#include "common/imap_priv.h"
#include "tests/prove/prove.h"

static struct imap_entry model[OPS];
static bool used[OPS];

static struct range any_range(void)
{
    return (struct range){any_u64(), any_u64()};
}

static bool model_overlaps(struct range r)
{
    for (unsigned i = 0; i < OPS; i++) {
        if (used[i] && range_overlaps(model[i].range, r))
            return true;
    }
    return false;
}

static size_t model_count(void)
{
    size_t n = 0;

    for (unsigned i = 0; i < OPS; i++)
        n += used[i];
    return n;
}

static void insert(struct imap *map, unsigned op)
{
    struct imap_entry e = {any_range(), any_u64(), any_u32(), any_u32()};
    int r = imap_insert(map, &e);

    PROVE(r == 0 || r == -EEXIST || r == -EINVAL || r == -ENOMEM);
    PROVE((r == -EINVAL) == !range_valid(e.range));
    if (range_valid(e.range))
        PROVE((r == -EEXIST) == model_overlaps(e.range));
    if (r == 0) {
        model[op] = e;
        used[op] = true;
    }
}

static void remove_within(struct imap *map)
{
    struct range r = any_range();
    size_t n = 0;

    for (unsigned i = 0; i < OPS; i++) {
        if (range_valid(r) && used[i] && range_contains(r, model[i].range)) {
            used[i] = false;
            n++;
        }
    }
    PROVE(imap_remove_within(map, r, NULL, NULL) == n);
}

/* Whatever range is asked for, the answers are the array's. */
static void compare(const struct imap *map)
{
    struct range r = any_range();
    struct imap_entry e;
    bool found, whole = true;

    PROVE(imap_count(map) == model_count());
    ASSUME(range_valid(r));
    found = imap_first_in(map, r, &e);
    PROVE(found == model_overlaps(r));
    for (unsigned i = 0; i < OPS; i++) {
        if (!used[i] || !range_overlaps(model[i].range, r))
            continue;
        PROVE(e.range.first <= model[i].range.first);
        if (e.range.first == model[i].range.first)
            PROVE(e.range.last == model[i].range.last && e.value == model[i].value &&
                  e.flags == model[i].flags && e.tag == model[i].tag);
        whole = whole && range_contains(r, model[i].range);
    }
    PROVE(imap_covers_whole_entries(map, r) == whole);
}

int main(void)
{
    struct imap *map = imap_new();

    if (!map)
        return 0;
    for (unsigned op = 0; op < OPS; op++) {
        if (any_bool())
            insert(map, op);
        else
            remove_within(map);
    }
    compare(map);
#ifdef CHECK
    PROVE(imap_check(map) == NULL);
#endif
    imap_free(map);
    return 0;
}
