/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The nodes of an interval map; for imap*.c and its tests only.
 *
 * A B+ tree keyed by the first address of a range. Leaves hold the entries and are chained in key
 * order; inner nodes hold children and separators. Invariants (imap_check proves them):
 *
 *  - ranges are valid, disjoint and in ascending order over the whole chain of leaves;
 *  - a node holds at least one item and at most its capacity, an empty map has no node;
 *  - keys in child i lie in [keys[i], keys[i + 1] - 1]; keys[0] is not used: child 0 begins where
 *    its parent's range begins;
 *  - every leaf is `height` levels below the root.
 *
 * How full nodes are is a matter of memory, not of soundness: a split at the edge of a sequential
 * fill leaves a node with one item beside a full one, and removing merges what has become sparse.
 */
#ifndef VIOMMU_COMMON_IMAP_PRIV_H
#define VIOMMU_COMMON_IMAP_PRIV_H

#include <string.h>

#include "common/imap.h"

/*
 * Both kinds of node take 1,016 bytes, which the allocator's own header rounds up to 1 KiB. A test
 * builds the same code with tiny nodes, where every case of splitting and mending is common.
 */
#ifndef LEAF_CAP
#define LEAF_CAP 31u
#endif
#ifndef INNER_CAP
#define INNER_CAP 63u
#endif

/* Below LOW items a node is merged with a neighbour if that leaves some room to grow in. */
#define LEAF_LOW  (LEAF_CAP / 2)
#define INNER_LOW (INNER_CAP / 2)

/*
 * A merge leaves an eighth free, or the next insert would split again. A node that cannot be
 * merged takes from its neighbour only when it is nearly empty: then both end up far from LOW.
 */
#define LEAF_MERGE_MAX  (LEAF_CAP - LEAF_CAP / 8)
#define LEAF_POOR       (LEAF_CAP / 4 + 1)
#define INNER_MERGE_MAX (INNER_CAP - INNER_CAP / 8)
#define INNER_POOR      (INNER_CAP / 4 + 1)

/* A tree of this height cannot be filled with 64-bit addresses by any order of requests. */
#define IMAP_MAX_HEIGHT 24u

struct leaf_payload {
    uint64_t last;
    uint64_t value;
    uint32_t flags;
    uint32_t tag;
};

/* Keys apart from the rest: a search reads 248 bytes of keys and then one payload. */
struct leaf {
    struct leaf *prev, *next;
    uint16_t n;
    uint16_t hint; /* where the last insert into this leaf went, HINT_NONE if unknown */
    uint64_t keys[LEAF_CAP];
    struct leaf_payload payload[LEAF_CAP];
};
#define HINT_NONE UINT16_MAX

struct inner {
    uint32_t n; /* children */
    uint64_t keys[INNER_CAP];
    void *children[INNER_CAP];
};

struct imap {
    void *root;      /* a struct leaf if height is 0; NULL in an empty map */
    unsigned height; /* levels of inner nodes */
    size_t count;
    size_t n_leaves;
    size_t n_inners;
    /*
     * The leaf used last and the keys that belong there, so that neighbouring requests skip the
     * descent. Forgotten whenever a node is split, merged or freed.
     */
    struct leaf *finger;
    struct range finger_keys;
    unsigned expected; /* a guess where in that leaf the next request goes, of any value */
};

/* How many of n ascending keys are below `key`: the position of the first that is not. */
static inline unsigned keys_below(const uint64_t *keys, unsigned n, uint64_t key)
{
    const uint64_t *base = keys;

    if (n == 0)
        return 0;
    while (n > 1) {
        unsigned half = n / 2;

        base = base[half - 1] < key ? base + half : base;
        n -= half;
    }
    return (unsigned)(base - keys) + (*base < key);
}

/* The same, quickly if it is `guess` or one less: so for requests in either order. */
static inline unsigned keys_below_near(const uint64_t *keys, unsigned n, uint64_t key,
                                       unsigned guess)
{
    if (guess <= n && (guess == n || keys[guess] >= key)) {
        if (guess == 0 || keys[guess - 1] < key)
            return guess;
        if (guess == 1 || keys[guess - 2] < key)
            return guess - 1;
    }
    return keys_below(keys, n, key);
}

/* How many of n ascending keys are at most `key`. */
static inline unsigned keys_up_to(const uint64_t *keys, unsigned n, uint64_t key)
{
    return key == UINT64_MAX ? n : keys_below(keys, n, key + 1);
}

/* The child that `key` belongs to. */
static inline unsigned child_index(const struct inner *in, uint64_t key)
{
    return keys_up_to(in->keys + 1, in->n - 1, key);
}

/* Copies n items from one node to another, or within one. None is allowed. */
static inline void leaf_move(struct leaf *to, unsigned at, const struct leaf *from, unsigned pos,
                             unsigned n)
{
    memmove(&to->keys[at], &from->keys[pos], n * sizeof(to->keys[0]));
    memmove(&to->payload[at], &from->payload[pos], n * sizeof(to->payload[0]));
}

static inline void inner_move(struct inner *to, unsigned at, const struct inner *from, unsigned pos,
                              unsigned n)
{
    memmove(&to->keys[at], &from->keys[pos], n * sizeof(to->keys[0]));
    memmove(&to->children[at], &from->children[pos], n * sizeof(to->children[0]));
}

/* imap_split.c: adds an entry whose range is free and whose leaf is full. -ENOMEM. */
int imap_insert_split(struct imap *map, const struct imap_entry *entry);

/* imap_cut.c: removes the entries with keys in `keys`; at least one exists. Cannot fail. */
void imap_cut_keys(struct imap *map, struct range keys);
void imap_free_subtree(struct imap *map, void *node, unsigned height);

/* imap.c: changes of one leaf that leave at least one entry and no more than its capacity. */
void imap_leaf_put(struct leaf *leaf, unsigned pos, const struct imap_entry *entry);
void imap_leaf_cut(struct leaf *leaf, unsigned pos, unsigned end);

#endif
