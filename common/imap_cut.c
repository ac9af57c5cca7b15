/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Interval map: removing over several nodes. One pass cuts the range out of the tree, freeing
 * subtrees inside it whole; then the two paths along the cut are mended from the root down, so
 * that memory follows the number of entries. Nothing here allocates, so nothing can fail.
 */
#include <config.h>

#include "common/imap.h"

#include <stdlib.h>

#include "common/imap_priv.h"

static void free_leaf(struct imap *map, struct leaf *leaf)
{
    if (leaf->prev)
        leaf->prev->next = leaf->next;
    if (leaf->next)
        leaf->next->prev = leaf->prev;
    map->n_leaves--;
    free(leaf);
}

static void free_inner(struct imap *map, struct inner *in)
{
    map->n_inners--;
    free(in);
}

/* Recursion, here and below, is as deep as the tree is high: IMAP_MAX_HEIGHT at most. */
void imap_free_subtree(struct imap *map, void *node, unsigned height)
{
    struct inner *in = node;

    if (height == 0) {
        free_leaf(map, node);
        return;
    }
    for (unsigned i = 0; i < in->n; i++)
        imap_free_subtree(map, in->children[i], height - 1);
    free_inner(map, in);
}

static bool cut_node(struct imap *map, void *node, unsigned height, struct range keys);

/* Cuts child i of `in` and keeps what is left of it, if anything, as child `to`. */
static unsigned cut_child(struct imap *map, struct inner *in, unsigned i, unsigned to,
                          unsigned height, struct range keys)
{
    void *child = in->children[i];

    if (cut_node(map, child, height - 1, keys)) {
        in->keys[to] = in->keys[i];
        in->children[to] = child;
        return to + 1;
    }
    if (height == 1)
        free_leaf(map, child);
    else
        free_inner(map, child);
    return to;
}

/* Removes what has its key in `keys`. False if the node is left empty, for the caller to free. */
static bool cut_node(struct imap *map, void *node, unsigned height, struct range keys)
{
    struct inner *in = node;
    struct leaf *leaf = node;
    unsigned first, last, to, behind;

    if (height == 0) {
        imap_leaf_cut(leaf, keys_below(leaf->keys, leaf->n, keys.first),
                      keys_up_to(leaf->keys, leaf->n, keys.last));
        return leaf->n > 0;
    }
    first = child_index(in, keys.first);
    last = child_index(in, keys.last);
    to = cut_child(map, in, first, first, height, keys);
    for (unsigned i = first + 1; i < last; i++)
        imap_free_subtree(map, in->children[i], height - 1);
    if (last > first)
        to = cut_child(map, in, last, to, height, keys);
    behind = in->n - (last + 1);
    inner_move(in, to, in, last + 1, behind);
    in->n = to + behind;
    return in->n > 0;
}

static void shrink_root(struct imap *map)
{
    while (map->height > 0) {
        struct inner *root = map->root;

        if (root->n > 1)
            return;
        map->root = root->children[0];
        map->height--;
        free_inner(map, root);
    }
}

/* Moves items over the border between two neighbours until the left one holds `n_left`. */
static void level_leaves(struct leaf *left, struct leaf *right, unsigned n_left)
{
    if (n_left > left->n) {
        unsigned n = n_left - left->n;

        leaf_move(left, left->n, right, 0, n);
        imap_leaf_cut(right, 0, n);
    } else {
        unsigned n = left->n - n_left;

        leaf_move(right, n, right, 0, right->n);
        leaf_move(right, 0, left, n_left, n);
        right->n = (uint16_t)(right->n + n);
    }
    left->n = (uint16_t)n_left;
    left->hint = right->hint = HINT_NONE;
}

/* The same for inner nodes; right->keys[0] is the border's key before and after. */
static void level_inners(struct inner *left, struct inner *right, unsigned n_left)
{
    if (n_left > left->n) {
        unsigned n = n_left - left->n;

        inner_move(left, left->n, right, 0, n);
        right->n -= n;
        inner_move(right, 0, right, n, right->n);
    } else {
        unsigned n = left->n - n_left;

        inner_move(right, n, right, 0, right->n);
        inner_move(right, 0, left, n_left, n);
        right->n += n;
    }
    left->n = n_left;
}

static unsigned items(const struct inner *in, unsigned i, unsigned child_height)
{
    if (child_height == 0)
        return ((const struct leaf *)in->children[i])->n;
    return ((const struct inner *)in->children[i])->n;
}

/* Merges child i + 1 into child i, or spreads the items of both evenly. */
static void join_children(struct imap *map, struct inner *in, unsigned i, unsigned child_height,
                          bool merge)
{
    void *left = in->children[i], *right = in->children[i + 1];
    unsigned sum = items(in, i, child_height) + items(in, i + 1, child_height);
    unsigned n_left = merge ? sum : sum / 2;

    if (child_height == 0) {
        level_leaves(left, right, n_left);
        in->keys[i + 1] = ((struct leaf *)right)->keys[0];
    } else {
        ((struct inner *)right)->keys[0] = in->keys[i + 1];
        level_inners(left, right, n_left);
        in->keys[i + 1] = ((struct inner *)right)->keys[0];
    }
    if (!merge)
        return;
    if (child_height == 0)
        free_leaf(map, right);
    else
        free_inner(map, right);
    in->n--;
    inner_move(in, i + 1, in, i + 2, in->n - i - 1);
}

/* Sees to it that child i is not needlessly sparse. */
static void mend_child(struct imap *map, struct inner *in, unsigned i, unsigned child_height)
{
    unsigned low = child_height == 0 ? LEAF_LOW : INNER_LOW;
    unsigned poor = child_height == 0 ? LEAF_POOR : INNER_POOR;
    unsigned max = child_height == 0 ? LEAF_MERGE_MAX : INNER_MERGE_MAX;
    unsigned n = items(in, i, child_height);

    if (n >= low || in->n == 1)
        return;
    if (i > 0 && items(in, i - 1, child_height) + n <= max)
        join_children(map, in, i - 1, child_height, true);
    else if (i + 1 < in->n && n + items(in, i + 1, child_height) <= max)
        join_children(map, in, i, child_height, true);
    else if (n < poor)
        join_children(map, in, i > 0 ? i - 1 : i, child_height, false);
}

static void mend_path(struct imap *map, uint64_t key)
{
    void *node;

    shrink_root(map);
    node = map->root;
    for (unsigned level = map->height; level > 0; level--) {
        struct inner *in = node;

        mend_child(map, in, child_index(in, key), level - 1);
        node = in->children[child_index(in, key)];
    }
    shrink_root(map);
}

void imap_cut_keys(struct imap *map, struct range keys)
{
    map->finger = NULL;
    if (!cut_node(map, map->root, map->height, keys)) {
        if (map->height == 0)
            free_leaf(map, map->root);
        else
            free_inner(map, map->root);
        map->root = NULL;
        map->height = 0;
        return;
    }
    mend_path(map, keys.first);
    mend_path(map, keys.last);
}
