/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Interval map: disjoint inclusive ranges of 64-bit addresses, each with a value.
 *
 * The table behind every vdomain, and so the one structure on every request's path. A B+ tree:
 * entries in key order in wide leaves, so that sequential fills stay dense (a leaf that overflows
 * at its right end is not split in the middle), lookups touch few cache lines, and removing a
 * range frees whole leaves.
 *
 * Costs, with n entries: insert, lookup, first-in-range O(log n); removing a range O(log n + k)
 * for k entries removed. Nothing here depends on what the entries mean.
 *
 * Allocation happens in imap_insert only, before anything is changed, so a failed insert leaves
 * the map as it was and removing can never fail. An inverted range overlaps nothing.
 */
#ifndef VIOMMU_COMMON_IMAP_H
#define VIOMMU_COMMON_IMAP_H

#include "common/compiler.h"
#include "common/range.h"

#include <stddef.h>

struct imap;

struct imap_entry {
    struct range range;
    uint64_t value; /* opaque to the map */
    uint32_t flags; /* opaque to the map */
    uint32_t tag;   /* opaque to the map */
};

/* A new empty map, owned by the caller, or NULL when memory is short. */
struct imap *imap_new(void);

/* Frees the map and its entries; NULL is allowed. Returns NULL. */
struct imap *imap_free(struct imap *map);

/* How many entries the map holds, and how many bytes of memory it uses for them. */
size_t imap_count(const struct imap *map);
size_t imap_memory(const struct imap *map);

/*
 * Adds an entry. -EEXIST if any address of its range is mapped, -ENOMEM, -EINVAL if the range is
 * inverted; the map is unchanged then.
 */
MUST_CHECK int imap_insert(struct imap *map, const struct imap_entry *entry);

/*
 * The entry with the lowest address that overlaps `r`, copied to *out (out may be NULL).
 * False if there is none.
 */
bool imap_first_in(const struct imap *map, struct range r, struct imap_entry *out);

/* The entry that contains `addr`, copied to *out (out may be NULL). False if there is none. */
bool imap_lookup(const struct imap *map, uint64_t addr, struct imap_entry *out);

/*
 * True if every entry that overlaps `r` lies wholly within `r`, that is, if removing `r` splits
 * nothing. O(log n) whatever the number of entries.
 */
bool imap_covers_whole_entries(const struct imap *map, struct range r);

/*
 * Hands out the entries within `r`, in ascending order, if no entry lies partly in it: true.
 * Otherwise false, and nothing is handed out. fn may be NULL; it must not change the map.
 */
bool imap_for_each_whole(struct imap *map, struct range r,
                         void (*fn)(const struct imap_entry *entry, void *ctx), void *ctx);

/*
 * Calls fn for every entry that overlaps `r`, in ascending order. A non-zero return ends the walk
 * and is passed on. fn must not change the map.
 */
int imap_for_each(const struct imap *map, struct range r,
                  int (*fn)(const struct imap_entry *entry, void *ctx), void *ctx);

/*
 * Removes every entry that lies wholly within `r`. fn (may be NULL) is called for each in ascending
 * order, and then all of them go: while fn runs the map is still whole, and fn must not change it.
 * Entries that stick out of `r` stay. Returns the number removed.
 */
size_t imap_remove_within(struct imap *map, struct range r,
                          void (*fn)(const struct imap_entry *entry, void *ctx), void *ctx);

/* Checks the tree's invariants (tests and fuzzers): NULL if sound, else what is wrong. */
const char *imap_check(const struct imap *map);

#endif
