/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Searches and moves within a node of an interval map: imap_priv.h's own do what the loops of
 * node.h do, which the proofs of the map put in their place.
 */
#include "tests/prove/node.h"

#ifdef MOVES
static struct leaf leaf_a, leaf_b, leaf_c, leaf_d;

static bool same(const struct leaf *x, const struct leaf *y)
{
    bool all = true;

    for (unsigned i = 0; i < LEAF_CAP; i++)
        all = all && x->keys[i] == y->keys[i] && x->payload[i].last == y->payload[i].last &&
              x->payload[i].value == y->payload[i].value &&
              x->payload[i].flags == y->payload[i].flags && x->payload[i].tag == y->payload[i].tag;
    return all;
}

/* Within a leaf, and from one to another: once by the code, once by the loops. Positions and number
 * one after the other, so that cbmc knows the sizes. */
int main(void)
{
    struct leaf a, c;
    unsigned at = any_u8(), pos = any_u8(), n = any_u8();
    bool within = any_bool();

    ASSUME(n <= LEAF_CAP && at <= LEAF_CAP - n && pos <= LEAF_CAP - n);
    leaf_a = leaf_b = a;
    leaf_c = leaf_d = c;
    for (unsigned i = 0; i <= LEAF_CAP; i++) {
        for (unsigned j = 0; j <= LEAF_CAP; j++) {
            for (unsigned k = 0; k <= LEAF_CAP; k++) {
                if (i != at || j != pos || k != n)
                    continue;
                if (within) {
                    leaf_move_code(&leaf_a, i, &leaf_a, j, k);
                    leaf_move(&leaf_b, i, &leaf_b, j, k);
                } else {
                    leaf_move_code(&leaf_a, i, &leaf_c, j, k);
                    leaf_move(&leaf_b, i, &leaf_d, j, k);
                }
            }
        }
    }
    PROVE(same(&leaf_a, &leaf_b));
    PROVE(same(&leaf_c, &leaf_d));
    return 0;
}
#else
int main(void)
{
    static uint64_t keys[ITEMS];
    static struct inner in;
    unsigned n = any_u8();
    uint64_t key = any_u64();

    ASSUME(n <= ITEMS);
    for (unsigned i = 0; i < ITEMS; i++) {
        keys[i] = any_u64();
        ASSUME(i == 0 || i >= n || keys[i - 1] < keys[i]);
        in.keys[i] = keys[i];
    }
    PROVE(keys_below_code(keys, n, key) == keys_below(keys, n, key));
    PROVE(keys_below_near_code(keys, n, key, any_u32()) == keys_below(keys, n, key));
    PROVE(keys_up_to_code(keys, n, key) == keys_up_to(keys, n, key));
    in.n = n;
    if (n > 0)
        PROVE(child_index_code(&in, key) == child_index(&in, key));
    return 0;
}
#endif
