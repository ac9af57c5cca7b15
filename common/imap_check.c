/* SPDX-License-Identifier: GPL-2.0-only */
/* Interval map: proof of the invariants in imap_priv.h, for tests and fuzzers. O(n). */
#include <config.h>

#include "common/imap.h"

#include "common/imap_priv.h"

struct check {
    const struct leaf *prev; /* the leaf before the one being looked at, in tree order */
    size_t count;
    size_t n_leaves;
    size_t n_inners;
};

static const char *check_leaf(struct check *c, const struct leaf *leaf, struct range keys)
{
    if (leaf->n < 1 || leaf->n > LEAF_CAP)
        return "leaf with an impossible number of entries";
    if (leaf->hint != HINT_NONE && leaf->hint >= LEAF_CAP)
        return "leaf with an impossible hint";
    if (leaf->prev != c->prev || (c->prev && c->prev->next != leaf))
        return "chain of leaves differs from the tree";
    if (c->prev && c->prev->payload[c->prev->n - 1].last >= leaf->keys[0])
        return "leaf overlaps the one before it";
    for (unsigned i = 0; i < leaf->n; i++) {
        if (!range_contains_addr(keys, leaf->keys[i]))
            return "key outside its parent's range";
        if (leaf->keys[i] > leaf->payload[i].last)
            return "inverted range";
        if (i > 0 && leaf->payload[i - 1].last >= leaf->keys[i])
            return "overlapping or unordered ranges";
    }
    c->prev = leaf;
    c->count += leaf->n;
    c->n_leaves++;
    return NULL;
}

static const char *check_node(struct check *c, const void *node, unsigned height, struct range keys)
{
    const struct inner *in = node;

    if (height == 0)
        return check_leaf(c, node, keys);
    if (in->n < 1 || in->n > INNER_CAP)
        return "inner node with an impossible number of children";
    c->n_inners++;
    for (unsigned i = 0; i < in->n; i++) {
        struct range child = {i > 0 ? in->keys[i] : keys.first,
                              i + 1 < in->n ? in->keys[i + 1] - 1 : keys.last};
        const char *wrong;

        if (i + 1 < in->n && in->keys[i + 1] == 0)
            return "separator that leaves no keys to its left";
        if (!range_valid(child) || !range_contains(keys, child))
            return "separators out of order";
        wrong = check_node(c, in->children[i], height - 1, child);
        if (wrong)
            return wrong;
    }
    return NULL;
}

static const char *check_finger(const struct imap *map)
{
    const void *node = map->root;

    if (!map->finger)
        return NULL;
    for (unsigned level = map->height; level > 0; level--) {
        const struct inner *in = node;

        if (child_index(in, map->finger_keys.first) != child_index(in, map->finger_keys.last))
            return "finger covers keys of several leaves";
        node = in->children[child_index(in, map->finger_keys.first)];
    }
    return node == map->finger ? NULL : "finger at the wrong leaf";
}

const char *imap_check(const struct imap *map)
{
    struct check c = {.prev = NULL};
    const char *wrong;

    if (!map->root)
        return map->height || map->count || map->n_leaves || map->n_inners || map->finger
                   ? "empty map that is not empty"
                   : NULL;
    if (map->height > IMAP_MAX_HEIGHT)
        return "too high";
    wrong = check_node(&c, map->root, map->height, (struct range){0, UINT64_MAX});
    if (wrong)
        return wrong;
    if (c.prev->next)
        return "chain of leaves goes on after the tree";
    if (c.count != map->count)
        return "wrong count of entries";
    if (c.n_leaves != map->n_leaves || c.n_inners != map->n_inners)
        return "wrong count of nodes";
    if (map->height > 0 && ((const struct inner *)map->root)->n == 1)
        return "root with a single child";
    return check_finger(map);
}
