/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inclusive ranges of 64-bit addresses.
 *
 * virtio-iommu's ranges are inclusive at both ends and [0, 2^64-1] has no half-open form, so this
 * is the only form used anywhere. No other file computes "address + length": it asks here.
 */
#ifndef VIOMMU_COMMON_RANGE_H
#define VIOMMU_COMMON_RANGE_H

#include <stdbool.h>
#include <stdint.h>

struct range {
    uint64_t first;
    uint64_t last; /* inclusive */
};

static inline bool range_valid(struct range r)
{
    return r.first <= r.last;
}

/* The range of `size` bytes at `first`; false if it is empty or wraps. */
static inline bool range_from_size(uint64_t first, uint64_t size, struct range *out)
{
    uint64_t last;

    if (size == 0 || __builtin_add_overflow(first, size - 1, &last))
        return false;
    *out = (struct range){first, last};
    return true;
}

/* The range of the same size as `like` that begins at `first`; false if it wraps. */
static inline bool range_moved(struct range like, uint64_t first, struct range *out)
{
    uint64_t last;

    if (__builtin_add_overflow(first, like.last - like.first, &last))
        return false;
    *out = (struct range){first, last};
    return true;
}

static inline bool range_contains_addr(struct range r, uint64_t addr)
{
    return r.first <= addr && addr <= r.last;
}

static inline bool range_contains(struct range outer, struct range inner)
{
    return outer.first <= inner.first && inner.last <= outer.last;
}

static inline bool range_overlaps(struct range a, struct range b)
{
    return a.first <= b.last && b.first <= a.last;
}

/* Does one begin where the other ends? Such two overlap in nothing. */
static inline bool range_adjoins(struct range a, struct range b)
{
    return (a.last != UINT64_MAX && a.last + 1 == b.first) ||
           (b.last != UINT64_MAX && b.last + 1 == a.first);
}

/* The smallest range that contains both. */
static inline struct range range_hull(struct range a, struct range b)
{
    return (struct range){a.first < b.first ? a.first : b.first, a.last > b.last ? a.last : b.last};
}

/* The common part of two ranges that overlap. */
static inline struct range range_intersect(struct range a, struct range b)
{
    return (struct range){a.first > b.first ? a.first : b.first, a.last < b.last ? a.last : b.last};
}

/*
 * Both ends on multiples of `granule` (a power of two): the first byte of a granule and the last
 * byte of one. The end 2^64-1 is aligned to every granule.
 */
static inline bool range_aligned(struct range r, uint64_t granule)
{
    return ((r.first | (r.last + 1)) & (granule - 1)) == 0;
}

/* Size in bytes; 0 stands for 2^64, which only [0, 2^64-1] has. */
static inline uint64_t range_size(struct range r)
{
    return r.last - r.first + 1;
}

#endif
