/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The reserved regions of all endpoints of a vdomain in one search tree, so that what a MAP costs
 * does not grow with the number of endpoints. Regions of different endpoints overlap and repeat
 * (on x86 each has the same MSI window), so it is an interval tree: ordered by first address, each
 * node knows the highest end below it, balanced as a treap. Nodes belong to the endpoints and are
 * there before the endpoint attaches: nothing here allocates or fails.
 */
#include <config.h>

#include "backend/viommu/viommu_priv.h"

static bool is_before(const struct resv_node *a, const struct resv_node *b)
{
    if (a->range.first != b->range.first)
        return a->range.first < b->range.first;
    return (uintptr_t)a < (uintptr_t)b;
}

static void update(struct resv_node *t)
{
    t->max_last = t->range.last;
    if (t->left && t->left->max_last > t->max_last)
        t->max_last = t->left->max_last;
    if (t->right && t->right->max_last > t->max_last)
        t->max_last = t->right->max_last;
}

static void split(struct resv_node *t, const struct resv_node *at, struct resv_node **below,
                  struct resv_node **above)
{
    if (!t) {
        *below = *above = NULL;
    } else if (is_before(t, at)) {
        split(t->right, at, &t->right, above);
        *below = t;
        update(t);
    } else {
        split(t->left, at, below, &t->left);
        *above = t;
        update(t);
    }
}

static struct resv_node *join(struct resv_node *below, struct resv_node *above)
{
    if (!below || !above)
        return below ? below : above;
    if (below->priority > above->priority) {
        below->right = join(below->right, above);
        update(below);
        return below;
    }
    above->left = join(below, above->left);
    update(above);
    return above;
}

static struct resv_node *insert(struct resv_node *t, struct resv_node *node)
{
    if (!t || node->priority > t->priority) {
        split(t, node, &node->left, &node->right);
        t = node;
    } else if (is_before(node, t)) {
        t->left = insert(t->left, node);
    } else {
        t->right = insert(t->right, node);
    }
    update(t);
    return t;
}

static struct resv_node *take(struct resv_node *t, const struct resv_node *node)
{
    if (!t)
        return NULL;
    if (t == node)
        return join(t->left, t->right);
    if (is_before(node, t))
        t->left = take(t->left, node);
    else
        t->right = take(t->right, node);
    update(t);
    return t;
}

void resv_add(struct resv_node **tree, struct resv_node *nodes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        *tree = insert(*tree, &nodes[i]);
}

void resv_remove(struct resv_node **tree, const struct resv_node *nodes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        *tree = take(*tree, &nodes[i]);
}

HOT bool resv_overlaps(const struct resv_node *t, struct range r)
{
    while (t && t->max_last >= r.first) {
        if (range_overlaps(t->range, r))
            return true;
        /*
         * Some node on the left reaches r.first. If it begins too late to overlap, so does
         * everything on the right.
         */
        t = t->left && t->left->max_last >= r.first ? t->left : t->right;
    }
    return false;
}
