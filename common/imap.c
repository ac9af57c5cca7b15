/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Interval map: looking up, walking, and the changes that touch a single leaf. Splitting is in
 * imap_split.c, removing over several nodes in imap_cut.c, the layout in imap_priv.h.
 *
 * The addresses are the guest's choice, the order of requests too: no function's cost depends on
 * more than the height of the tree and the entries it hands out or removes.
 */
#include <config.h>

#include "common/imap.h"

#include <errno.h>
#include <stdlib.h>

#include "common/imap_priv.h"

/* An entry's position; behind the last one `leaf` is NULL. */
struct cursor {
    const struct leaf *leaf;
    unsigned pos;
};

struct imap *imap_new(void)
{
    return calloc(1, sizeof(struct imap));
}

struct imap *imap_free(struct imap *map)
{
    if (map && map->root)
        imap_free_subtree(map, map->root, map->height);
    free(map);
    return NULL;
}

size_t imap_count(const struct imap *map)
{
    return map->count;
}

size_t imap_memory(const struct imap *map)
{
    return sizeof(*map) + map->n_leaves * sizeof(struct leaf) +
           map->n_inners * sizeof(struct inner);
}

/* The leaf that `key` belongs to and the keys that belong to that leaf; NULL in an empty map. */
static struct leaf *descend(const struct imap *map, uint64_t key, struct range *keys_out)
{
    void *node = map->root;
    struct range keys = {0, UINT64_MAX};

    for (unsigned level = map->height; level > 0; level--) {
        const struct inner *in = node;
        unsigned i = child_index(in, key);

        if (i > 0)
            keys.first = in->keys[i];
        if (i + 1 < in->n)
            keys.last = in->keys[i + 1] - 1;
        node = in->children[i];
    }
    *keys_out = keys;
    return node;
}

/*
 * Same for requests: by way of the finger, which then points at the leaf. *pos_out of its keys are
 * below `key`.
 */
static inline struct leaf *seek(struct imap *map, uint64_t key, unsigned *pos_out)
{
    struct leaf *leaf = map->finger;

    if (UNLIKELY(!leaf || !range_contains_addr(map->finger_keys, key)))
        leaf = map->finger = descend(map, key, &map->finger_keys);
    *pos_out = keys_below_near(leaf->keys, leaf->n, key, map->expected);
    return leaf;
}

static const struct leaf *find_leaf(const struct imap *map, uint64_t key)
{
    struct range keys;

    if (map->finger && range_contains_addr(map->finger_keys, key))
        return map->finger;
    return descend(map, key, &keys);
}

static void read_entry(const struct leaf *leaf, unsigned pos, struct imap_entry *out)
{
    const struct leaf_payload *p = &leaf->payload[pos];

    *out = (struct imap_entry){
        .range = {leaf->keys[pos], p->last}, .value = p->value, .flags = p->flags, .tag = p->tag};
}

HOT void imap_leaf_put(struct leaf *leaf, unsigned pos, const struct imap_entry *entry)
{
    unsigned behind = leaf->n - pos;

    if (behind > 0)
        leaf_move(leaf, pos + 1, leaf, pos, behind);
    leaf->keys[pos] = entry->range.first;
    leaf->payload[pos] = (struct leaf_payload){
        .last = entry->range.last, .value = entry->value, .flags = entry->flags, .tag = entry->tag};
    leaf->n++;
    leaf->hint = (uint16_t)pos;
}

HOT void imap_leaf_cut(struct leaf *leaf, unsigned pos, unsigned end)
{
    unsigned behind = leaf->n - end;

    if (behind > 0)
        leaf_move(leaf, pos, leaf, end, behind);
    leaf->n = (uint16_t)(leaf->n - (end - pos));
    leaf->hint = HINT_NONE;
}

/* Entries before and at the cursor are the only ones that can overlap a range that begins here. */
static bool range_is_taken(const struct leaf *leaf, unsigned pos, struct range r)
{
    const struct leaf *prev = leaf->prev, *next = leaf->next;

    if (pos > 0 ? leaf->payload[pos - 1].last >= r.first
                : prev && prev->payload[prev->n - 1].last >= r.first)
        return true;
    return pos < leaf->n ? leaf->keys[pos] <= r.last : next && next->keys[0] <= r.last;
}

static int insert_first(struct imap *map, const struct imap_entry *entry)
{
    struct leaf *leaf = malloc(sizeof(*leaf));

    if (!leaf)
        return -ENOMEM;
    leaf->prev = leaf->next = NULL;
    leaf->n = 0;
    imap_leaf_put(leaf, 0, entry);
    map->root = leaf;
    map->n_leaves = 1;
    map->count = 1;
    return 0;
}

HOT int imap_insert(struct imap *map, const struct imap_entry *entry)
{
    struct leaf *leaf;
    unsigned pos;
    int r;

    if (!range_valid(entry->range))
        return -EINVAL;
    if (!map->root)
        return insert_first(map, entry);
    leaf = seek(map, entry->range.first, &pos);
    if (range_is_taken(leaf, pos, entry->range))
        return -EEXIST;
    map->expected = pos + 1;
    if (leaf->n == LEAF_CAP) {
        r = imap_insert_split(map, entry);
        if (r < 0)
            return r;
    } else {
        imap_leaf_put(leaf, pos, entry);
    }
    map->count++;
    return 0;
}

/* The first entry that overlaps `r`, whose first address belongs to this leaf, `pos` keys of which
 * are below it. */
static inline struct cursor first_from(const struct leaf *leaf, unsigned pos, struct range r)
{
    const struct leaf *prev = leaf->prev;

    /* The last entry that begins below r.first, if it reaches so far, else the one after. */
    if (pos > 0 && leaf->payload[pos - 1].last >= r.first)
        return (struct cursor){leaf, pos - 1};
    if (pos == 0 && prev && prev->payload[prev->n - 1].last >= r.first)
        return (struct cursor){prev, prev->n - 1u};
    if (pos == leaf->n) {
        leaf = leaf->next;
        pos = 0;
    }
    if (!leaf || leaf->keys[pos] > r.last)
        return (struct cursor){NULL, 0};
    return (struct cursor){leaf, pos};
}

/* An inverted range overlaps nothing. */
static struct cursor find_first(const struct imap *map, struct range r)
{
    const struct leaf *leaf;

    if (!map->root || !range_valid(r))
        return (struct cursor){NULL, 0};
    leaf = find_leaf(map, r.first);
    return first_from(leaf, keys_below(leaf->keys, leaf->n, r.first), r);
}

bool imap_first_in(const struct imap *map, struct range r, struct imap_entry *out)
{
    struct cursor c = find_first(map, r);

    if (c.leaf && out)
        read_entry(c.leaf, c.pos, out);
    return c.leaf != NULL;
}

bool imap_lookup(const struct imap *map, uint64_t addr, struct imap_entry *out)
{
    return imap_first_in(map, (struct range){addr, addr}, out);
}

/* Does no entry lie partly in `r`, of which `first` is the first? */
static inline bool splits_none(const struct imap *map, struct cursor first, struct range r)
{
    uint64_t last;

    if (!first.leaf)
        return true;
    /* Only the entries at the two ends of r can stick out of it. Mostly they are the same. */
    if (first.leaf->keys[first.pos] < r.first)
        return false;
    last = first.leaf->payload[first.pos].last;
    if (last >= r.last)
        return last == r.last;
    first = find_first(map, (struct range){r.last, r.last});
    return !first.leaf || first.leaf->payload[first.pos].last == r.last;
}

bool imap_covers_whole_entries(const struct imap *map, struct range r)
{
    return splits_none(map, find_first(map, r), r);
}

static struct cursor step(struct cursor c)
{
    c.pos++;
    return c.pos < c.leaf->n ? c : (struct cursor){c.leaf->next, 0};
}

HOT bool imap_for_each_whole(struct imap *map, struct range r,
                             void (*fn)(const struct imap_entry *entry, void *ctx), void *ctx)
{
    const struct leaf *leaf;
    struct imap_entry entry;
    struct cursor c;
    unsigned pos;

    if (!map->root || !range_valid(r))
        return true;
    leaf = seek(map, r.first, &pos);
    c = first_from(leaf, pos, r);
    if (!splits_none(map, c, r))
        return false;
    if (!fn)
        return true;
    for (; c.leaf && c.leaf->keys[c.pos] <= r.last; c = step(c)) {
        read_entry(c.leaf, c.pos, &entry);
        map->expected = c.pos + 1;
        fn(&entry, ctx);
    }
    return true;
}

int imap_for_each(const struct imap *map, struct range r,
                  int (*fn)(const struct imap_entry *entry, void *ctx), void *ctx)
{
    struct imap_entry entry;
    int result;

    for (struct cursor c = find_first(map, r); c.leaf && c.leaf->keys[c.pos] <= r.last;
         c = step(c)) {
        read_entry(c.leaf, c.pos, &entry);
        result = fn(&entry, ctx);
        if (result != 0)
            return result;
    }
    return 0;
}

/*
 * Hands out the entries from `c` on that end within `last`. Returns their number and the key of
 * the last one.
 */
static size_t visit_within(struct cursor c, uint64_t last,
                           void (*fn)(const struct imap_entry *entry, void *ctx), void *ctx,
                           uint64_t *last_key_out)
{
    struct imap_entry entry;
    size_t n = 0;

    for (; c.leaf && c.leaf->payload[c.pos].last <= last; c = step(c)) {
        *last_key_out = c.leaf->keys[c.pos];
        n++;
        if (fn) {
            read_entry(c.leaf, c.pos, &entry);
            fn(&entry, ctx);
        }
    }
    return n;
}

/* Would a leaf with `n` entries left have nothing to be mended (imap_cut.c)? Never if it is empty.
 */
static bool is_well_filled(const struct imap *map, const struct leaf *leaf, size_t n)
{
    const struct leaf *prev = leaf->prev, *next = leaf->next;

    if (n >= LEAF_LOW || map->height == 0)
        return n > 0;
    return n >= LEAF_POOR && !(prev && prev->n + n <= LEAF_MERGE_MAX) &&
           !(next && next->n + n <= LEAF_MERGE_MAX);
}

HOT size_t imap_remove_within(struct imap *map, struct range r,
                              void (*fn)(const struct imap_entry *entry, void *ctx), void *ctx)
{
    struct leaf *leaf;
    uint64_t first_key, last_key = 0;
    unsigned pos;
    size_t n;

    if (!map->root || !range_valid(r))
        return 0;
    leaf = seek(map, r.first, &pos);
    if (pos == leaf->n) {
        leaf = leaf->next;
        pos = 0;
    }
    if (!leaf)
        return 0;
    first_key = leaf->keys[pos];
    n = visit_within((struct cursor){leaf, pos}, r.last, fn, ctx, &last_key);
    if (n == 0)
        return 0;
    map->expected = pos;
    /* Most removals take an entry out of one leaf that stays well filled. */
    if (n <= leaf->n - pos && is_well_filled(map, leaf, leaf->n - n))
        imap_leaf_cut(leaf, pos, pos + (unsigned)n);
    else
        imap_cut_keys(map, (struct range){first_key, last_key});
    map->count -= n;
    return n;
}
