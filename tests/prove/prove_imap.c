/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The interval map, one step of an induction: any map that imap_check() finds sound, one operation
 * with any 64-bit range, and the map is sound again and holds what it should: whatever address one
 * looks at. HEIGHT and the capacities bound the map that the operation finds; sizes of nodes, keys,
 * separators and the finger are any. Allocations fail at any point.
 *
 * What searches and moves within one node is replaced by loops over its items, whose indices cbmc
 * can see through. prove_node.c proves that they do the same.
 */
#include <errno.h>
#include <stdlib.h>

#include "tests/prove/node.h"

#define INSERT 0
#define REMOVE 1
#define LOOKUP 2
#define CUT    3 /* of imap_cut_keys: cut_node */
#define MEND   4 /* and mend_path */

/* NOLINTBEGIN(bugprone-suspicious-include): with the names of node.h */
#include "common/imap.c"
#include "common/imap_check.c"
#include "common/imap_split.c"
#if OPERATION == REMOVE && HEIGHT > 0
#define imap_cut_keys imap_cut_keys_code /* the harness has its own */
#endif
#include "common/imap_cut.c"
#undef imap_cut_keys
/* NOLINTEND(bugprone-suspicious-include) */

#if HEIGHT == 0
#define LEAVES 1u
#else
#define LEAVES CHILDREN
#endif

/* imap_check, at each height by itself: so that cbmc knows how deep it goes. */
static bool sound(struct imap *map)
{
    for (unsigned height = 0; height <= HEIGHT + (OPERATION == INSERT); height++) {
        if (map->height == height) {
            map->height = height;
            return imap_check(map) == NULL;
        }
    }
    return false;
}

#if OPERATION == CUT || OPERATION == MEND
/* All of imap_check but that a root has two children. */
static bool sound_but_root(struct imap *map)
{
    struct check c = {.prev = NULL};
    const char *wrong = check_node(&c, map->root, 1, (struct range){0, UINT64_MAX});

    return !wrong && !c.prev->next && c.count == map->count && c.n_leaves == map->n_leaves &&
           c.n_inners == map->n_inners;
}
#define SOUND sound_but_root
#else
#define SOUND sound
#endif

/* --- any map ---------------------------------------------------------------------------------- */

static struct imap the_map;
static struct leaf *leaves[LEAVES];
static unsigned n_leaves; /* that are in use */

/*
 * The 128 lowest and the 128 highest addresses. The map compares addresses, and looks at the next
 * or the previous one; so of other addresses there is nothing to learn: with fewer than 64 that
 * matter, as here, any others can be moved to these, in the same order and as neighbours where they
 * are.
 */
static uint64_t any_addr(void)
{
    return (uint64_t)(int64_t)(int8_t)any_u8();
}

static struct range any_range(void)
{
    return (struct range){any_addr(), any_addr()};
}

static void any_leaf(unsigned i)
{
    leaves[i] = malloc(sizeof(struct leaf));
    ASSUME(leaves[i]);
    for (unsigned k = 0; k < LEAF_CAP; k++) {
        leaves[i]->keys[k] = any_addr();
        leaves[i]->payload[k] = (struct leaf_payload){any_addr(), any_u8(), any_u8(), any_u8()};
    }
    leaves[i]->prev = i > 0 ? leaves[i - 1] : NULL;
    leaves[i]->next = NULL;
    if (i > 0)
        leaves[i - 1]->next = leaves[i];
}

/* A root with `n` leaves, or a single leaf. */
static void any_map(unsigned n)
{
    struct imap *map = &the_map;
    unsigned finger = any_u8();

    n_leaves = n;
    map->height = HEIGHT;
    map->count = 0;
    for (unsigned i = 0; i < n; i++) {
        any_leaf(i);
        map->count += leaves[i]->n;
    }
    map->n_leaves = n;
#if HEIGHT == 0
    map->root = leaves[0];
    map->n_inners = 0;
#else
    {
        struct inner *root = malloc(sizeof(*root));

        ASSUME(root);
        root->n = n;
        for (unsigned i = 0; i < n; i++)
            root->children[i] = leaves[i];
        for (unsigned i = 0; i < INNER_CAP; i++)
            root->keys[i] = any_addr();
        map->root = root;
        map->n_inners = 1;
    }
#endif
    map->finger = NULL;
    map->finger_keys = any_range();
    map->expected = any_u32();
    for (unsigned i = 0; i < n; i++) {
        if (finger == i) {
            map->finger = leaves[i];
            ASSUME(range_valid(map->finger_keys));
        }
    }
    ASSUME(SOUND(map));
}

/* --- what it holds ---------------------------------------------------------------------------- */

static bool entry_at(const struct leaf *leaf, uint64_t addr, struct imap_entry *out)
{
    bool found = false;

    for (unsigned i = 0; i < LEAF_CAP; i++) {
        if (i < leaf->n && leaf->keys[i] <= addr && addr <= leaf->payload[i].last) {
            *out = (struct imap_entry){.range = {leaf->keys[i], leaf->payload[i].last},
                                       .value = leaf->payload[i].value,
                                       .flags = leaf->payload[i].flags,
                                       .tag = leaf->payload[i].tag};
            found = true;
        }
    }
    return found;
}

static const struct leaf *leftmost(const struct imap *map)
{
    const void *node = map->root;

    if (!node)
        return NULL;
    for (unsigned level = 0; level <= HEIGHT; level++) {
        if (level < map->height)
            node = ((const struct inner *)node)->children[0];
    }
    return node;
}

/* One by one along the chain of leaves. */
static bool holds(const struct imap *map, uint64_t addr, struct imap_entry *out)
{
    const struct leaf *leaf = leftmost(map);
    bool found = false;

    for (unsigned i = 0; i < LEAVES + 1; i++) {
        if (leaf && !found)
            found = entry_at(leaf, addr, out);
        if (leaf)
            leaf = leaf->next;
    }
    return found;
}

static bool same(const struct imap_entry *a, const struct imap_entry *b)
{
    return a->range.first == b->range.first && a->range.last == b->range.last &&
           a->value == b->value && a->flags == b->flags && a->tag == b->tag;
}

/* Does any entry overlap r? How many lie within it? */
static bool taken(struct range r)
{
    bool found = false;

    for (unsigned i = 0; i < n_leaves; i++) {
        for (unsigned k = 0; k < LEAF_CAP; k++)
            found |= k < leaves[i]->n && leaves[i]->keys[k] <= r.last &&
                     leaves[i]->payload[k].last >= r.first;
    }
    return found;
}

static size_t within(struct range r)
{
    size_t n = 0;

    for (unsigned i = 0; i < n_leaves; i++) {
        for (unsigned k = 0; k < LEAF_CAP; k++)
            n += k < leaves[i]->n && leaves[i]->keys[k] >= r.first &&
                 leaves[i]->payload[k].last <= r.last;
    }
    return n;
}

/* --- one operation ---------------------------------------------------------------------------- */

#if OPERATION == INSERT
static void operation(struct imap *map)
{
    const struct imap_entry e = {any_range(), any_u8(), any_u8(), any_u8()};
    uint64_t addr = any_addr();
    struct imap_entry old = {{0, 0}}, now = {{0, 0}};
    bool was = holds(map, addr, &old), is, free_range = range_valid(e.range) && !taken(e.range);
    size_t count = map->count;
    int r = imap_insert(map, &e);

    PROVE(r == 0 || r == -EEXIST || r == -EINVAL || r == -ENOMEM);
    PROVE((r == -EINVAL) == !range_valid(e.range));
    PROVE((r == 0 || r == -ENOMEM) == free_range);
    PROVE(sound(map));
    PROVE(imap_count(map) == count + (r == 0));
    is = holds(map, addr, &now);
    if (r == 0 && range_contains_addr(e.range, addr))
        PROVE(!was && is && same(&now, &e));
    else
        PROVE(is == was && (!is || same(&now, &old)));
}

#elif OPERATION == REMOVE
static bool cut;
static struct range asked;

#if HEIGHT > 0
/* Is asked for exactly the entries within the range. What it does is proven by CUT and MEND. */
void imap_cut_keys(struct imap *map, struct range keys)
{
    size_t n = 0;

    for (unsigned i = 0; i < n_leaves; i++) {
        for (unsigned k = 0; k < LEAF_CAP; k++) {
            bool goes = range_contains_addr(keys, leaves[i]->keys[k]);

            if (k >= leaves[i]->n)
                continue;
            PROVE(goes == range_contains(asked, (struct range){leaves[i]->keys[k],
                                                               leaves[i]->payload[k].last}));
            n += goes;
        }
    }
    PROVE(n > 0);
    cut = true;
}
#endif

static void operation(struct imap *map)
{
    const struct range r = any_range();
    uint64_t addr = any_addr();
    struct imap_entry old = {{0, 0}}, now = {{0, 0}};
    bool was = holds(map, addr, &old), is;
    size_t count = map->count, n = range_valid(r) ? within(r) : 0;
    bool goes = was && range_valid(r) && range_contains(r, old.range);

    asked = r;
    PROVE(imap_remove_within(map, r, NULL, NULL) == n);
    PROVE(imap_count(map) == count - n);
    if (cut)
        return;
    PROVE(sound(map));
    is = holds(map, addr, &now);
    if (goes)
        PROVE(!is);
    else
        PROVE(is == was && (!is || same(&now, &old)));
}

#elif OPERATION == CUT || OPERATION == MEND
/* As imap_cut_keys begins, and then mends what is left, twice. */
static void operation(struct imap *map)
{
    const struct range r = any_range();
    uint64_t addr = any_addr();
    struct imap_entry old = {{0, 0}}, now = {{0, 0}};
    bool was = holds(map, addr, &old), is, left = true, goes = false;
    size_t n = 0;

    map->finger = NULL;
#if OPERATION == CUT
    for (unsigned i = 0; i < n_leaves; i++) {
        for (unsigned k = 0; k < LEAF_CAP; k++)
            n += k < leaves[i]->n && range_contains_addr(r, leaves[i]->keys[k]);
    }
    ASSUME(n > 0);
    goes = was && range_contains_addr(r, old.range.first);
    left = cut_node(map, map->root, 1, r);
    PROVE(left == (n < map->count));
    map->count -= n; /* as imap_remove_within does */
    if (!left) {
        PROVE(map->n_leaves == 0 && map->n_inners == 1);
        return;
    }
    PROVE(sound_but_root(map));
#else
    mend_path(map, r.first);
    PROVE(sound(map));
#endif
    is = holds(map, addr, &now);
    if (goes)
        PROVE(!is);
    else
        PROVE(is == was && (!is || same(&now, &old)));
}

#else
static void operation(struct imap *map)
{
    const struct range r = any_range();
    uint64_t addr = any_addr();
    struct imap_entry e = {{0, 0}}, at = {{0, 0}};
    bool here = holds(map, addr, &at), any = range_valid(r) && taken(r);

    /* An entry is found where there is one, and no other that overlaps begins before it. */
    PROVE(imap_first_in(map, r, &e) == any);
    if (any) {
        PROVE(range_overlaps(e.range, r));
        if (here && range_overlaps(at.range, r))
            PROVE(at.range.first > e.range.first || same(&at, &e));
    }
    PROVE(imap_lookup(map, addr, &e) == here);
    PROVE(!here || same(&at, &e));
    if (any && here && range_overlaps(at.range, r) && !range_contains(r, at.range))
        PROVE(!imap_covers_whole_entries(map, r));
    if (!any)
        PROVE(imap_covers_whole_entries(map, r));
}
#endif

/* Each number of leaves by itself, so that cbmc knows the shape. A cut may leave a single one. */
int main(void)
{
    for (unsigned n = OPERATION == MEND || HEIGHT == 0 ? 1 : 2; n <= LEAVES; n++) {
        if (any_bool()) {
            any_map(n);
            operation(&the_map);
            return 0;
        }
    }
    return 0;
}
