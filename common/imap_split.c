/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Interval map: inserting into a full leaf. All nodes that the splits will need are allocated
 * before the first one is changed.
 *
 * A split leaves the left part with as many items as the pattern of inserts asks for: half in
 * general; all of them for ascending inserts, which go on behind the new item; as few as possible
 * for descending ones. So sequential fills pack their leaves whichever way they run, in the middle
 * of a map as well as at its ends.
 */
#include <config.h>

#include "common/imap.h"

#include <errno.h>
#include <stdlib.h>

#include "common/imap_priv.h"

/* From the leaf's parent (level 0) up to the root. */
struct path {
    struct inner *nodes[IMAP_MAX_HEIGHT];
    unsigned index[IMAP_MAX_HEIGHT]; /* of the child on the path */
};

struct spare_nodes {
    struct leaf *leaf;
    struct inner *inners[IMAP_MAX_HEIGHT + 1];
    unsigned n_inners;
};

static struct leaf *record_path(const struct imap *map, uint64_t key, struct path *path)
{
    void *node = map->root;

    for (unsigned level = map->height; level > 0; level--) {
        struct inner *in = node;

        path->nodes[level - 1] = in;
        path->index[level - 1] = child_index(in, key);
        node = in->children[path->index[level - 1]];
    }
    return node;
}

/* A leaf, an inner node for each full one above it, and a root if they are all full. */
static int reserve_nodes(const struct imap *map, const struct path *path, struct spare_nodes *spare)
{
    unsigned needed = 0;

    while (needed < map->height && path->nodes[needed]->n == INNER_CAP)
        needed++;
    if (needed == map->height) {
        if (map->height == IMAP_MAX_HEIGHT)
            return -ENOMEM;
        needed++;
    }
    spare->n_inners = 0;
    spare->leaf = malloc(sizeof(*spare->leaf));
    if (!spare->leaf)
        return -ENOMEM;
    while (spare->n_inners < needed) {
        struct inner *in = malloc(sizeof(*in));

        if (!in)
            goto undo;
        spare->inners[spare->n_inners++] = in;
    }
    return 0;
undo:
    while (spare->n_inners > 0)
        free(spare->inners[--spare->n_inners]);
    free(spare->leaf);
    return -ENOMEM;
}

/* How many of the LEAF_CAP + 1 entries stay in the left leaf when one comes in at `pos`. */
static unsigned leaf_share(const struct leaf *leaf, unsigned pos)
{
    if (pos == leaf->hint + 1u || (pos == leaf->n && !leaf->next))
        return pos == leaf->n ? pos : pos + 1;
    if (pos == leaf->hint || (pos == 0 && !leaf->prev))
        return pos == 0 ? 1 : pos;
    return (LEAF_CAP + 1) / 2;
}

static void split_leaf(struct leaf *left, struct leaf *right, const struct imap_entry *entry)
{
    unsigned pos = keys_below(left->keys, left->n, entry->range.first);
    unsigned share = leaf_share(left, pos);
    unsigned stay = pos < share ? share - 1 : share;

    right->n = (uint16_t)(left->n - stay);
    leaf_move(right, 0, left, stay, right->n);
    left->n = (uint16_t)stay;
    left->hint = right->hint = HINT_NONE;
    if (pos < share)
        imap_leaf_put(left, pos, entry);
    else
        imap_leaf_put(right, pos - share, entry);
    right->prev = left;
    right->next = left->next;
    if (right->next)
        right->next->prev = right;
    left->next = right;
}

static void inner_put(struct inner *in, unsigned pos, uint64_t key, void *child)
{
    inner_move(in, pos + 1, in, pos, in->n - pos);
    in->keys[pos] = key;
    in->children[pos] = child;
    in->n++;
}

/* Splits `left`, which is full, and adds a child at `pos` (never 0). Returns the right half's key.
 */
static uint64_t split_inner(struct inner *left, struct inner *right, unsigned pos, uint64_t key,
                            void *child)
{
    unsigned share = pos == left->n ? pos : pos == 1 ? 2 : (INNER_CAP + 1) / 2;
    unsigned stay = pos < share ? share - 1 : share;

    right->n = left->n - stay;
    inner_move(right, 0, left, stay, right->n);
    left->n = stay;
    if (pos < share)
        inner_put(left, pos, key, child);
    else
        inner_put(right, pos - share, key, child);
    return right->keys[0];
}

static void grow_root(struct imap *map, struct inner *root, uint64_t key, void *right)
{
    root->n = 2;
    root->keys[0] = 0;
    root->keys[1] = key;
    root->children[0] = map->root;
    root->children[1] = right;
    map->root = root;
    map->height++;
}

int imap_insert_split(struct imap *map, const struct imap_entry *entry)
{
    struct path path;
    struct spare_nodes spare;
    struct leaf *leaf = record_path(map, entry->range.first, &path);
    uint64_t key;
    void *child;
    int r;

    r = reserve_nodes(map, &path, &spare);
    if (r < 0)
        return r;
    map->finger = NULL;
    map->n_leaves++;
    map->n_inners += spare.n_inners;

    split_leaf(leaf, spare.leaf, entry);
    child = spare.leaf;
    key = spare.leaf->keys[0];
    for (unsigned level = 0; level < map->height; level++) {
        struct inner *in = path.nodes[level];
        unsigned pos = path.index[level] + 1;
        struct inner *right;

        if (in->n < INNER_CAP) {
            inner_put(in, pos, key, child);
            return 0;
        }
        right = spare.inners[--spare.n_inners];
        key = split_inner(in, right, pos, key, child);
        child = right;
    }
    grow_root(map, spare.inners[0], key, child);
    return 0;
}
