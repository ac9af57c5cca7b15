/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The functions of imap_priv.h that search and move within a node, as loops over constant indices.
 * The code's own have _code behind their names.
 */
#ifndef VIOMMU_TESTS_PROVE_NODE_H
#define VIOMMU_TESTS_PROVE_NODE_H

#include "tests/prove/prove.h"

#define keys_below      keys_below_code
#define keys_below_near keys_below_near_code
#define keys_up_to      keys_up_to_code
#define child_index     child_index_code
#define leaf_move       leaf_move_code
#define inner_move      inner_move_code
#include "common/imap_priv.h"
#undef keys_below
#undef keys_below_near
#undef keys_up_to
#undef child_index
#undef leaf_move
#undef inner_move

#define ITEMS (LEAF_CAP > INNER_CAP ? LEAF_CAP : INNER_CAP)

static unsigned keys_below(const uint64_t *keys, unsigned n, uint64_t key)
{
    unsigned below = 0;

    for (unsigned i = 0; i < ITEMS; i++)
        below += i < n && keys[i] < key;
    return below;
}

static unsigned keys_below_near(const uint64_t *keys, unsigned n, uint64_t key, unsigned guess)
{
    return keys_below(keys, n, key);
}

static unsigned keys_up_to(const uint64_t *keys, unsigned n, uint64_t key)
{
    unsigned up_to = 0;

    for (unsigned i = 0; i < ITEMS; i++)
        up_to += i < n && keys[i] <= key;
    return up_to;
}

static unsigned child_index(const struct inner *in, uint64_t key)
{
    unsigned index = 0;

    for (unsigned i = 1; i < INNER_CAP; i++)
        index += i < in->n && in->keys[i] <= key;
    return index;
}

#define MOVE(array, cap)                           \
    do {                                           \
        __typeof__(to->array[0]) copy_[cap];       \
                                                   \
        for (unsigned i_ = 0; i_ < (cap); i_++)    \
            if (i_ < n)                            \
                copy_[i_] = from->array[pos + i_]; \
        for (unsigned i_ = 0; i_ < (cap); i_++)    \
            if (i_ < n)                            \
                to->array[at + i_] = copy_[i_];    \
    } while (0)

static void leaf_move(struct leaf *to, unsigned at, const struct leaf *from, unsigned pos,
                      unsigned n)
{
    PROVE(n <= LEAF_CAP && at <= LEAF_CAP - n && pos <= LEAF_CAP - n);
    MOVE(keys, LEAF_CAP);
    MOVE(payload, LEAF_CAP);
}

static void inner_move(struct inner *to, unsigned at, const struct inner *from, unsigned pos,
                       unsigned n)
{
    PROVE(n <= INNER_CAP && at <= INNER_CAP - n && pos <= INNER_CAP - n);
    MOVE(keys, INNER_CAP);
    MOVE(children, INNER_CAP);
}

#endif
