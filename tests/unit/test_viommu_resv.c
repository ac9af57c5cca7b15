/* SPDX-License-Identifier: GPL-2.0-only */
/* The reserved regions of a vdomain: the tree against a plain list, and what MAP makes of it. */
#include <config.h>

#include "backend/iommu/soft.h"
#include "backend/viommu/viommu_priv.h"
#include "tests/support/viommu_rig.h"

#include <stdlib.h>

#define N_NODES  4096u
#define N_GROUPS 256u
#define N_EACH   (N_NODES / N_GROUPS)

static struct rig rig;
static struct resv_node nodes[N_NODES];
static bool present[N_GROUPS];
static uint64_t seed;

static uint64_t next_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

/* Regions that overlap, repeat and lie within one another, some at either end of the addresses. */
static void make_nodes(void)
{
    seed = 1;
    for (size_t i = 0; i < N_NODES; i++) {
        uint64_t first = next_random() % 100000, size = 1 + next_random() % 40;

        if (next_random() % 4 == 0)
            first = 50000;
        if (next_random() % 64 == 0)
            first = UINT64_MAX - size + 1;
        nodes[i] = (struct resv_node){.range = {first, first + size - 1},
                                      .priority = (uint32_t)(next_random() >> 32)};
    }
    for (size_t g = 0; g < N_GROUPS; g++)
        present[g] = false;
}

static bool naive_overlaps(struct range r)
{
    for (size_t i = 0; i < N_NODES; i++) {
        if (present[i / N_EACH] && range_overlaps(nodes[i].range, r))
            return true;
    }
    return false;
}

static size_t depth(const struct resv_node *t)
{
    size_t left, right;

    if (!t)
        return 0;
    left = depth(t->left);
    right = depth(t->right);
    return 1 + (left > right ? left : right);
}

/*
 * What resv.c says of a tree: in order of addresses, a heap by priority (or it may become a list),
 * and each node knows the highest end below it, no more and no less: too low hides regions, too
 * high leads a search into the wrong branch.
 */
static bool is_sound(const struct resv_node *t)
{
    uint64_t max_last;

    if (!t)
        return true;
    max_last = t->range.last;
    for (int side = 0; side < 2; side++) {
        const struct resv_node *child = side ? t->right : t->left;

        if (!child)
            continue;
        if (child->max_last > max_last)
            max_last = child->max_last;
        if (child->priority > t->priority || !is_sound(child) ||
            (side ? child->range.first < t->range.first : child->range.first > t->range.first))
            return false;
    }
    return t->max_last == max_last;
}

static void tree_says_what_a_list_says(void)
{
    struct resv_node *tree = NULL;
    size_t yes = 0, wrong = 0, unsound = 0;

    make_nodes();
    for (unsigned step = 0; step < 2000; step++) {
        size_t g = next_random() % N_GROUPS;

        if (present[g])
            resv_remove(&tree, &nodes[g * N_EACH], N_EACH);
        else
            resv_add(&tree, &nodes[g * N_EACH], N_EACH);
        present[g] = !present[g];
        unsound += !is_sound(tree);
        for (unsigned i = 0; i < 8; i++) {
            uint64_t first = next_random() % 100040;
            struct range r = {first, first + next_random() % 30};
            bool expected = naive_overlaps(r);

            yes += expected;
            wrong += resv_overlaps(tree, r) != expected;
        }
        wrong += resv_overlaps(tree, (struct range){UINT64_MAX, UINT64_MAX}) !=
                 naive_overlaps((struct range){UINT64_MAX, UINT64_MAX});
    }
    UT_EQ(wrong, 0);
    UT_EQ(unsound, 0);
    UT_TRUE(yes > 1000 && yes < 15000); /* the questions were worth asking */
    for (size_t g = 0; g < N_GROUPS; g++) {
        if (present[g])
            resv_remove(&tree, &nodes[g * N_EACH], N_EACH);
    }
    UT_TRUE(tree == NULL);
}

/* What a MAP costs follows the depth: 12 would be ideal here, a list has 4096. */
static void tree_stays_shallow_even_if_regions_come_in_order(void)
{
    struct resv_node *tree = NULL;

    make_nodes();
    for (size_t i = 0; i < N_NODES; i++)
        nodes[i].range = (struct range){i, i};
    resv_add(&tree, nodes, N_NODES);
    UT_TRUE(depth(tree) < 48);
    resv_remove(&tree, nodes, N_NODES);
    UT_TRUE(tree == NULL);
    for (size_t i = 0; i < N_NODES; i++)
        nodes[i].range = (struct range){0xfee00000, 0xfeefffff};
    resv_add(&tree, nodes, N_NODES);
    UT_TRUE(depth(tree) < 48);
    resv_remove(&tree, nodes, N_NODES);
    UT_TRUE(tree == NULL);
}

static int add_endpoint(uint32_t id, uint64_t first, uint64_t last)
{
    struct viommu_resv resv[] = {{{0xfee00000, 0xfeefffff}, VIOMMU_RESV_MEM_T_MSI},
                                 {{first, last}, VIOMMU_RESV_MEM_T_RESERVED}};

    return rig_add_resv(&rig, id, &soft_iommu_ops, resv, 2);
}

/* D50, and that the last of several endpoints with a region takes the region along. */
static void regions_count_while_an_endpoint_that_has_them_is_attached(void)
{
    UT_REQUIRE(rig_start(&rig, NULL));
    for (uint32_t i = 0; i < 64; i++) {
        UT_EQ(add_endpoint(100 + i, 0x100000 + i / 2 * PAGE, 0x100fff + i / 2 * PAGE), 0);
        UT_EQ(rig_attach(&rig, 1, 100 + i, 0), VIOMMU_S_OK);
    }
    for (uint32_t i = 0; i < 32; i++) {
        uint64_t first = 0x100000 + i * PAGE;

        RIG_REFUSED(&rig, rig_map(&rig, 1, first, first + 0xfff, 0, MAP_RW), VIOMMU_S_INVAL);
        UT_EQ(rig_detach(&rig, 1, 100 + 2 * i), VIOMMU_S_OK);
        RIG_REFUSED(&rig, rig_map(&rig, 1, first, first + 0xfff, 0, MAP_RW), VIOMMU_S_INVAL);
        if (i == 31)
            break;
        UT_EQ(rig_attach(&rig, 2, 101 + 2 * i, 0), VIOMMU_S_OK);
        UT_EQ(rig_map(&rig, 1, first, first + 0xfff, 0, MAP_RW), VIOMMU_S_OK);
        RIG_REFUSED(&rig, rig_map(&rig, 2, first, first + 0xfff, 0, MAP_RW), VIOMMU_S_INVAL);
    }
    /* One endpoint is left in vdomain 1, and with it the window that all have. */
    RIG_REFUSED(&rig, rig_map(&rig, 1, 0xfee00000, 0xfee00fff, 0, MAP_RW), VIOMMU_S_INVAL);
    rig_stop(&rig);
}

/* Of a real endpoint, too: the device draws the priorities that keep the tree shallow. */
static void tree_of_an_endpoint_with_many_regions_is_shallow(void)
{
    static struct viommu_resv resv[2000];
    struct viommu_config c = VIOMMU_CONFIG_DEFAULT;
    struct vdomain *vd;

    c.probe_size = 48000;
    UT_REQUIRE(rig_start(&rig, &c));
    for (size_t i = 0; i < ARRAY_SIZE(resv); i++)
        resv[i].range = (struct range){i * PAGE, i * PAGE + PAGE - 1};
    UT_EQ(rig_add_resv(&rig, 8, &soft_iommu_ops, resv, ARRAY_SIZE(resv)), 0);
    UT_EQ(rig_attach(&rig, 1, 8, 0), VIOMMU_S_OK);
    vd = vdomain_find(rig.v, 1);
    UT_REQUIRE(vd != NULL);
    UT_TRUE(is_sound(vd->resv));
    UT_TRUE(depth(vd->resv) < 40);
    rig_stop(&rig);
}

int main(int argc, char **argv)
{
    static const struct ut_case cases[] = {
        UT_CASE(tree_says_what_a_list_says),
        UT_CASE(tree_stays_shallow_even_if_regions_come_in_order),
        UT_CASE(tree_of_an_endpoint_with_many_regions_is_shallow),
        UT_CASE(regions_count_while_an_endpoint_that_has_them_is_attached),
    };

    return ut_main(argc, argv, "viommu_resv", cases, ARRAY_SIZE(cases));
}
