/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * common/range.h: each function does what its comment says. "For every address" is one address of
 * any value; sizes are checked in 128 bits.
 */
#include "common/range.h"

#include "tests/prove/prove.h"

typedef unsigned __int128 u128;

static struct range any_range(void)
{
    return (struct range){any_u64(), any_u64()};
}

static bool has(struct range r, uint64_t addr)
{
    return r.first <= addr && addr <= r.last;
}

static void from_size(void)
{
    uint64_t first = any_u64(), size = any_u64();
    u128 end = (u128)first + size; /* first address behind it */
    struct range r = {1, 0};
    bool ok = range_from_size(first, size, &r);

    PROVE(ok == (size > 0 && end <= (u128)UINT64_MAX + 1));
    if (ok) {
        PROVE(r.first == first && r.last == (uint64_t)(end - 1) && range_valid(r));
        PROVE(range_size(r) == size);
    } else {
        PROVE(r.first == 1 && r.last == 0);
    }
}

static void moved(void)
{
    struct range like = any_range(), r = {1, 0};
    uint64_t first = any_u64();
    bool ok;

    ASSUME(range_valid(like));
    ok = range_moved(like, first, &r);
    PROVE(ok == ((u128)first + (like.last - like.first) <= UINT64_MAX));
    if (ok) {
        PROVE(r.first == first && range_valid(r));
        PROVE(r.last - r.first == like.last - like.first);
    } else {
        PROVE(r.first == 1 && r.last == 0);
    }
}

static void relations(void)
{
    struct range a = any_range(), b = any_range(), both;
    uint64_t addr = any_u64(), witness;

    PROVE(range_valid(a) == (a.first <= a.last));
    PROVE(range_contains_addr(a, addr) == has(a, addr));
    ASSUME(range_valid(a) && range_valid(b));
    /* No common address: no overlap. Overlap: the larger of the two starts is common. */
    if (has(a, addr) && has(b, addr))
        PROVE(range_overlaps(a, b));
    witness = a.first > b.first ? a.first : b.first;
    if (range_overlaps(a, b)) {
        PROVE(has(a, witness) && has(b, witness));
        both = range_intersect(a, b);
        PROVE(range_valid(both));
        PROVE(has(both, addr) == (has(a, addr) && has(b, addr)));
    }
    PROVE(range_overlaps(a, b) == range_overlaps(b, a));
    PROVE(range_adjoins(a, b) == ((u128)a.last + 1 == b.first || (u128)b.last + 1 == a.first));
    if (range_adjoins(a, b))
        PROVE(!range_overlaps(a, b));
    /* The hull has both, and no smaller range does. */
    both = range_hull(a, b);
    PROVE(range_valid(both) && range_contains(both, a) && range_contains(both, b));
    PROVE(both.first == a.first || both.first == b.first);
    PROVE(both.last == a.last || both.last == b.last);
    if (range_contains(a, b) && has(b, addr))
        PROVE(has(a, addr));
    if (!range_contains(a, b))
        PROVE(!has(a, b.first) || !has(a, b.last));
}

static void aligned_and_size(void)
{
    struct range r = any_range();
    unsigned shift = any_u8();
    uint64_t granule;

    ASSUME(range_valid(r) && shift < 64);
    granule = UINT64_C(1) << shift;
    PROVE(range_aligned(r, granule) ==
          (r.first % granule == 0 && ((u128)r.last + 1) % granule == 0));
    PROVE(range_size(r) == (u128)r.last - r.first + 1 || range_size(r) == 0);
    PROVE((range_size(r) == 0) == (r.first == 0 && r.last == UINT64_MAX));
}

int main(void)
{
    from_size();
    moved();
    relations();
    aligned_and_size();
    return 0;
}
