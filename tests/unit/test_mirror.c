/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The mirror of frontend/linux (the kernel module's record of what the device knows), compiled in
 * user space and driven by single cases and by random requests beside a naive model. What is
 * proved: a mapping's grants are held exactly as long as the device can use the mapping.
 */
#include <config.h>

#include "tests/support/ut.h"

#include <stdlib.h>

#include "frontend/linux/mirror.h"

/* ---- the kernel, as far as the mirror needs it ---------------------------------------------- */

static long allocated;
/* Counts down to an allocation that fails; negative: none does. */
static long fail_after = -1;

void *kzalloc(size_t size, int flags)
{
    (void)flags;
    if (fail_after == 0) {
        return NULL;
    }
    if (fail_after > 0) {
        fail_after--;
    }
    allocated++;
    return calloc(1, size);
}

void kfree(const void *memory)
{
    if (memory) {
        allocated--;
        free((void *)(uintptr_t)memory);
    }
}

struct rb_node *rb_first(const struct rb_root *root)
{
    struct rb_node *node = root->rb_node;

    while (node && node->rb_left) {
        node = node->rb_left;
    }
    return node;
}

struct rb_node *rb_next(const struct rb_node *node)
{
    const struct rb_node *parent;
    struct rb_root right = {node->rb_right};

    if (node->rb_right) {
        return rb_first(&right);
    }
    parent = node->rb_parent;
    while (parent && parent->rb_right == node) {
        node = parent;
        parent = node->rb_parent;
    }
    return (struct rb_node *)(uintptr_t)parent;
}

static void replace(struct rb_root *root, struct rb_node *node, struct rb_node *child)
{
    if (!node->rb_parent) {
        root->rb_node = child;
    } else if (node->rb_parent->rb_left == node) {
        node->rb_parent->rb_left = child;
    } else {
        node->rb_parent->rb_right = child;
    }
    if (child) {
        child->rb_parent = node->rb_parent;
    }
}

void rb_erase(struct rb_node *node, struct rb_root *root)
{
    struct rb_node *next;

    if (!node->rb_left || !node->rb_right) {
        replace(root, node, node->rb_left ? node->rb_left : node->rb_right);
        return;
    }
    next = rb_next(node);
    rb_erase(next, root);
    *next = *node;
    replace(root, node, next);
    if (next->rb_left) {
        next->rb_left->rb_parent = next;
    }
    if (next->rb_right) {
        next->rb_right->rb_parent = next;
    }
}

struct rb_node *rb_find(const void *key, const struct rb_root *root,
                        int (*cmp)(const void *key, const struct rb_node *node))
{
    struct rb_node *node = root->rb_node;

    while (node) {
        int order = cmp(key, node);

        if (order == 0) {
            return node;
        }
        node = order < 0 ? node->rb_left : node->rb_right;
    }
    return NULL;
}

struct rb_node *rb_find_add(struct rb_node *node, struct rb_root *root,
                            int (*cmp)(struct rb_node *node, const struct rb_node *other))
{
    struct rb_node **link = &root->rb_node;
    struct rb_node *parent = NULL;

    while (*link) {
        int order = cmp(node, *link);

        parent = *link;
        if (order == 0) {
            return parent;
        }
        link = order < 0 ? &parent->rb_left : &parent->rb_right;
    }
    *node = (struct rb_node){.rb_parent = parent};
    *link = node;
    return NULL;
}

/* ---- requests ---------------------------------------------------------------------------------
 */

#define OK     VIRTIO_IOMMU_S_OK
#define DEVERR VIRTIO_IOMMU_S_DEVERR
#define NOENT  VIRTIO_IOMMU_S_NOENT
#define RANGE  VIRTIO_IOMMU_S_RANGE

/* One bit per grant reference that is held; each MAP of the tests takes the next one. */
#define REFS 65536u
static bool held[REFS];
static uint32_t refs_taken;
static uint32_t refs_held;

static struct mirror mirror;

static void release(struct mirror *m, struct mirror_mapping *mapping)
{
    UT_TRUE(m == &mirror);
    UT_TRUE(held[mapping->ref]);
    held[mapping->ref] = false;
    refs_held--;
    mapping->pages = 0;
}

static void setup(void)
{
    memset(held, 0, sizeof(held));
    refs_taken = 0;
    refs_held = 0;
    fail_after = -1;
    mirror_init(&mirror, release);
}

static void teardown(void)
{
    mirror_clear(&mirror);
    UT_EQ(refs_held, 0);
    UT_EQ(mirror.mappings, 0);
    UT_EQ(allocated, 0);
}

union request {
    struct virtio_iommu_req_head head;
    struct virtio_iommu_req_attach attach;
    struct virtio_iommu_req_detach detach;
    struct virtio_iommu_req_map map;
    struct virtio_iommu_req_unmap unmap;
};

#define TAIL sizeof(struct virtio_iommu_req_tail)

static size_t request_length(const union request *request)
{
    switch (request->head.type) {
    case VIRTIO_IOMMU_T_MAP:
        return sizeof(request->map) - TAIL;
    case VIRTIO_IOMMU_T_UNMAP:
        return sizeof(request->unmap) - TAIL;
    default:
        return sizeof(request->attach) - TAIL;
    }
}

static union request make_attach(uint32_t vdomain, uint32_t endpoint)
{
    return (union request){.attach = {.head.type = VIRTIO_IOMMU_T_ATTACH,
                                      .domain = htole32(vdomain),
                                      .endpoint = htole32(endpoint)}};
}

static union request make_detach(uint32_t vdomain, uint32_t endpoint)
{
    return (union request){.detach = {.head.type = VIRTIO_IOMMU_T_DETACH,
                                      .domain = htole32(vdomain),
                                      .endpoint = htole32(endpoint)}};
}

static union request make_map(uint32_t vdomain, uint64_t first, uint64_t last)
{
    return (union request){.map = {.head.type = VIRTIO_IOMMU_T_MAP,
                                   .domain = htole32(vdomain),
                                   .virt_start = htole64(first),
                                   .virt_end = htole64(last),
                                   .phys_start = htole64(0x1000),
                                   .flags = htole32(3)}};
}

static union request make_unmap(uint32_t vdomain, uint64_t first, uint64_t last)
{
    return (union request){.unmap = {.head.type = VIRTIO_IOMMU_T_UNMAP,
                                     .domain = htole32(vdomain),
                                     .virt_start = htole64(first),
                                     .virt_end = htole64(last)}};
}

/* What the module does: memory and a reference first, then the answer. */
static uint8_t answered(union request request, uint8_t status)
{
    struct mirror_spare spare;

    UT_EQ(mirror_prepare(&spare, &request, request_length(&request)), 0);
    if (spare.mapping) {
        spare.mapping->ref = refs_taken++;
        spare.mapping->pages = 1;
        spare.mapping->granted = true;
        held[spare.mapping->ref] = true;
        refs_held++;
    }
    status = mirror_answer(&mirror, &request, request_length(&request), status, &spare);
    UT_TRUE(!spare.mapping && !spare.vdomain && !spare.endpoint);
    return status;
}

static void unanswered(union request request)
{
    mirror_unanswered(&mirror, &request, request_length(&request));
}

/* ---- single cases ------------------------------------------------------------------------------
 */

static void refused_map_releases_its_grants(void)
{
    setup();
    UT_EQ(answered(make_attach(1, 8), OK), OK);
    UT_EQ(answered(make_map(1, 0x1000, 0x1fff), RANGE), RANGE);
    UT_EQ(refs_held, 0);
    UT_EQ(mirror.mappings, 0);
    teardown();
}

static void unmap_releases_what_lies_inside_only(void)
{
    setup();
    answered(make_attach(1, 8), OK);
    answered(make_map(1, 0x1000, 0x1fff), OK);
    answered(make_map(1, 0x2000, 0x3fff), OK);
    answered(make_map(1, 0x5000, 0x5fff), OK);
    UT_EQ(refs_held, 3);
    UT_EQ(answered(make_unmap(1, 0x0, 0x2fff), OK), OK);
    UT_TRUE(!held[0] && held[1] && held[2]);
    UT_EQ(answered(make_unmap(1, 0x0, UINT64_MAX), OK), OK);
    UT_EQ(refs_held, 0);
    UT_EQ(answered(make_unmap(7, 0x0, UINT64_MAX), NOENT), NOENT);
    teardown();
}

/* The stock driver looks at the status of neither and gives the memory to somebody else. */
static void refused_unmap_and_detach_end_it_all_the_same(void)
{
    setup();
    answered(make_attach(1, 8), OK);
    answered(make_map(1, 0x1000, 0x1fff), OK);
    answered(make_map(1, 0x2000, 0x3fff), OK);
    answered(make_map(1, 0x5000, 0x5fff), OK);
    UT_EQ(answered(make_unmap(1, 0x0, 0x2fff), RANGE), RANGE);
    UT_TRUE(!held[0] && held[1] && held[2]);
    UT_EQ(answered(make_unmap(1, 0x5000, 0x5fff), DEVERR), DEVERR);
    UT_TRUE(held[1] && !held[2]);
    /* Not in that vdomain: nothing of it is the driver's any less. */
    UT_EQ(answered(make_detach(2, 8), VIRTIO_IOMMU_S_INVAL), VIRTIO_IOMMU_S_INVAL);
    UT_TRUE(held[1]);
    UT_EQ(answered(make_detach(1, 8), DEVERR), DEVERR);
    UT_EQ(refs_held, 0);
    teardown();
}

static void last_endpoint_takes_the_mappings_with_it(void)
{
    setup();
    answered(make_attach(1, 8), OK);
    answered(make_attach(1, 9), OK);
    answered(make_map(1, 0, 0xfff), OK);
    answered(make_detach(1, 8), OK);
    UT_EQ(refs_held, 1);
    answered(make_attach(1, 9), OK);
    UT_EQ(refs_held, 1);
    UT_EQ(answered(make_attach(2, 9), NOENT), NOENT);
    UT_EQ(refs_held, 1);
    answered(make_attach(2, 9), OK);
    UT_EQ(refs_held, 0);
    UT_EQ(answered(make_map(1, 0, 0xfff), OK), DEVERR);
    answered(make_map(2, 0, 0xfff), OK);
    answered(make_detach(2, 9), OK);
    UT_EQ(refs_held, 0);
    teardown();
}

static void ok_that_cannot_be_is_an_error(void)
{
    setup();
    UT_EQ(answered(make_map(1, 0, 0xfff), OK), DEVERR);
    UT_EQ(refs_held, 0);
    answered(make_attach(1, 8), OK);
    answered(make_map(1, 0x1000, 0x2fff), OK);
    UT_EQ(answered(make_map(1, 0x2000, 0x3fff), OK), DEVERR);
    UT_EQ(answered(make_map(1, 0x0, UINT64_MAX), OK), DEVERR);
    UT_EQ(answered(make_map(1, 0x2fff, 0x3fff), OK), DEVERR);
    UT_EQ(answered(make_map(1, 0x0, 0x1000), OK), DEVERR);
    UT_EQ(refs_held, 1);
    /* No UNMAP splits: what sticks out of the range stays, on either side. */
    answered(make_unmap(1, 0x1001, UINT64_MAX), OK);
    answered(make_unmap(1, 0x0, 0x2ffe), OK);
    UT_EQ(refs_held, 1);
    teardown();
}

static void unanswered_ends_but_never_begins(void)
{
    setup();
    answered(make_attach(1, 8), OK);
    answered(make_map(1, 0x1000, 0x1fff), OK);
    answered(make_map(1, 0x2000, 0x2fff), OK);
    unanswered(make_map(1, 0x8000, 0x8fff));
    unanswered(make_attach(2, 8));
    UT_EQ(refs_held, 2);
    unanswered(make_unmap(1, 0x1000, 0x1fff));
    UT_TRUE(!held[0] && held[1]);
    unanswered(make_detach(1, 8));
    UT_EQ(refs_held, 0);
    teardown();
}

static void endpoint_that_was_taken_away_is_detached(void)
{
    setup();
    answered(make_attach(1, 8), OK);
    answered(make_map(1, 0x1000, 0x1fff), OK);
    UT_EQ(answered(make_detach(1, 9), NOENT), NOENT);
    UT_EQ(refs_held, 1);
    UT_EQ(answered(make_detach(1, 8), NOENT), OK);
    UT_EQ(refs_held, 0);
    UT_EQ(answered(make_detach(1, 8), NOENT), NOENT);
    teardown();
}

static void short_and_unknown_requests_change_nothing(void)
{
    union request map = make_map(1, 0, 0xfff);
    union request unknown = {.head.type = 0x42};
    struct mirror_spare spare;

    setup();
    answered(make_attach(1, 8), OK);
    UT_EQ(mirror_prepare(&spare, &map, sizeof(map.map) - TAIL - 1), 0);
    UT_TRUE(!spare.mapping);
    UT_EQ(mirror_answer(&mirror, &map, 8, OK, &spare), OK);
    UT_EQ(mirror_prepare(&spare, &unknown, sizeof(unknown)), 0);
    UT_EQ(mirror_answer(&mirror, &unknown, sizeof(unknown), OK, &spare), OK);
    map = make_map(1, 0x1000, 0xfff);
    UT_EQ(-mirror_prepare(&spare, &map, request_length(&map)), EINVAL);
    UT_EQ(mirror.mappings, 0);
    teardown();
}

static void failed_allocation_leaves_nothing(void)
{
    union request attach = make_attach(1, 8);
    union request map = make_map(1, 0, 0xfff);
    struct mirror_spare spare;

    setup();
    for (long after = 0; after < 2; after++) {
        fail_after = after;
        UT_EQ(-mirror_prepare(&spare, &attach, request_length(&attach)), ENOMEM);
        UT_EQ(allocated, 0);
    }
    fail_after = 0;
    UT_EQ(-mirror_prepare(&spare, &map, request_length(&map)), ENOMEM);
    fail_after = -1;
    teardown();
}

static void a_vdomain_complains_once(void)
{
    setup();
    UT_TRUE(mirror_complain(&mirror, 1));
    UT_TRUE(mirror_complain(&mirror, 1));
    answered(make_attach(1, 8), OK);
    UT_TRUE(mirror_complain(&mirror, 1));
    UT_FALSE(mirror_complain(&mirror, 1));
    teardown();
}

static void replay_tells_everything_once(void)
{
    struct mirror_vdomain *vdomain;
    struct mirror_mapping *mapping;
    struct mirror_endpoint *endpoint;
    unsigned int endpoints = 0;
    unsigned int mappings = 0;

    setup();
    answered(make_attach(1, 8), OK);
    answered(make_attach(2, 9), OK);
    for (uint64_t i = 0; i < 10; i++) {
        answered(make_map(1 + (uint32_t)(i & 1), i << 12, (i << 12) + 0xfff), OK);
    }
    UT_TRUE(!mirror_dead_endpoint(&mirror) && !mirror_dead_mapping(&mirror, &vdomain));
    mirror_forget(&mirror);
    while ((endpoint = mirror_dead_endpoint(&mirror))) {
        endpoint->live = true;
        endpoints++;
    }
    /* In between the driver goes on: an UNMAP is not told any more, a MAP is live already. */
    answered(make_unmap(1, 0, 0xfff), OK);
    answered(make_map(1, 0x100000, 0x100fff), OK);
    while ((mapping = mirror_dead_mapping(&mirror, &vdomain))) {
        UT_EQ(vdomain->id, 1 + (mapping->first >> 12 & 1));
        if (mapping->first == 0x3000) {
            mirror_drop_mapping(&mirror, vdomain, mapping);
        } else {
            mirror_mapping_live(vdomain, mapping);
        }
        mappings++;
    }
    UT_EQ(endpoints, 2);
    UT_EQ(mappings, 9);
    UT_EQ(mirror.mappings, 9);
    UT_EQ(refs_held, 9);
    /* Once more from the start, for the next backend. */
    mirror_forget(&mirror);
    for (mappings = 0; (mapping = mirror_dead_mapping(&mirror, &vdomain)); mappings++) {
        mirror_mapping_live(vdomain, mapping);
    }
    UT_EQ(mappings, 9);
    mirror_forget(&mirror);
    mirror_drop_endpoint(&mirror, 9);
    UT_TRUE(!held[1] && held[2]);
    teardown();
}

/* ---- against a model ---------------------------------------------------------------------------
 */

#define VDOMAINS  4u
#define ENDPOINTS 5u
#define PAGES     24u

/* A backend of the simplest kind: what each page of each vdomain is mapped to. */
struct model {
    uint32_t in[ENDPOINTS];              /* vdomain of each endpoint, 0 none */
    uint32_t reference[VDOMAINS][PAGES]; /* reference + 1 */
    uint32_t length[VDOMAINS][PAGES];    /* of a mapping, at its first page */
};

static struct model model;
static uint64_t random_state;

static uint32_t chance(uint32_t below)
{
    random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (uint32_t)(random_state >> 33) % below;
}

static bool model_used(uint32_t vdomain)
{
    for (uint32_t i = 0; i < ENDPOINTS; i++) {
        if (model.in[i] == vdomain) {
            return true;
        }
    }
    return false;
}

static void model_leave(uint32_t endpoint)
{
    uint32_t old = model.in[endpoint];

    model.in[endpoint] = 0;
    if (old && !model_used(old)) {
        memset(model.reference[old - 1], 0, sizeof(model.reference[0]));
        memset(model.length[old - 1], 0, sizeof(model.length[0]));
    }
}

static uint8_t model_map(uint32_t vdomain, uint32_t first, uint32_t pages)
{
    if (!model_used(vdomain)) {
        return NOENT;
    }
    for (uint32_t i = first; i < first + pages; i++) {
        if (model.reference[vdomain - 1][i]) {
            return VIRTIO_IOMMU_S_INVAL;
        }
    }
    model.length[vdomain - 1][first] = pages;
    for (uint32_t i = first; i < first + pages; i++) {
        model.reference[vdomain - 1][i] = refs_taken + 1;
    }
    return OK;
}

/* The driver has forgotten what lies in there, whatever the backend says. */
static void model_forget(uint32_t vdomain, uint32_t first, uint32_t pages)
{
    uint32_t *reference = model.reference[vdomain - 1];
    uint32_t *length = model.length[vdomain - 1];

    for (uint32_t i = first; i < first + pages; i++) {
        if (length[i] && length[i] <= first + pages - i) {
            memset(reference + i, 0, length[i] * sizeof(*reference));
            length[i] = 0;
        }
    }
}

static uint8_t model_unmap(uint32_t vdomain, uint32_t first, uint32_t pages)
{
    uint32_t *reference = model.reference[vdomain - 1];
    uint32_t *length = model.length[vdomain - 1];
    uint32_t end = first + pages;

    if (!model_used(vdomain)) {
        return NOENT;
    }
    if ((reference[first] && !length[first]) || (end < PAGES && reference[end] && !length[end])) {
        return RANGE;
    }
    memset(reference + first, 0, pages * sizeof(*reference));
    memset(length + first, 0, pages * sizeof(*length));
    return OK;
}

static void model_step(void)
{
    uint32_t vdomain = 1 + chance(VDOMAINS);
    uint32_t endpoint = chance(ENDPOINTS);
    uint32_t first = chance(PAGES);
    uint32_t pages = 1 + chance(PAGES - first > 6 ? 6 : PAGES - first);
    uint64_t start = (uint64_t)first << 12;
    uint64_t last = start + ((uint64_t)pages << 12) - 1;
    /* A refusal for the backend's own reasons: whatever ends ends, nothing begins. */
    uint8_t whim = chance(10) ? OK : VIRTIO_IOMMU_S_NOMEM;
    uint8_t status;

    switch (chance(12)) {
    case 0:
        if (whim == OK && model.in[endpoint] != vdomain) {
            model_leave(endpoint);
            model.in[endpoint] = vdomain;
        }
        answered(make_attach(vdomain, endpoint), whim);
        break;
    case 1:
        if (model.in[endpoint] == vdomain) {
            answered(make_detach(vdomain, endpoint), whim);
            model_leave(endpoint);
        } else {
            answered(make_detach(vdomain, endpoint), VIRTIO_IOMMU_S_INVAL);
        }
        break;
    case 2:
    case 3:
    case 4:
    case 5:
    case 6:
    case 7:
        status = whim == OK ? model_map(vdomain, first, pages) : whim;
        UT_EQ(answered(make_map(vdomain, start, last), status), status);
        break;
    default:
        status = whim == OK ? model_unmap(vdomain, first, pages) : whim;
        UT_EQ(answered(make_unmap(vdomain, start, last), status), status);
        if (status != OK) {
            model_forget(vdomain, first, pages);
        }
    }
}

/* Exactly the references that the backend can use are held. */
static bool model_agrees(void)
{
    uint32_t wanted = 0;

    for (uint32_t v = 0; v < VDOMAINS; v++) {
        for (uint32_t i = 0; i < PAGES; i++) {
            if (model.length[v][i]) {
                wanted++;
                if (!held[model.reference[v][i] - 1]) {
                    return false;
                }
            }
        }
    }
    return wanted == refs_held && wanted == mirror.mappings;
}

static void random_requests_hold_what_the_backend_can_use(void)
{
    for (uint64_t seed = 1; seed <= 40; seed++) {
        setup();
        memset(&model, 0, sizeof(model));
        random_state = seed;
        for (unsigned int step = 0; step < 3000; step++) {
            model_step();
            if (!model_agrees()) {
                printf("seed %" PRIu64 ", step %u\n", seed, step);
                UT_TRUE(false);
                break;
            }
        }
        teardown();
    }
}

int main(int argc, char **argv)
{
    static const struct ut_case cases[] = {
        UT_CASE(refused_map_releases_its_grants),
        UT_CASE(unmap_releases_what_lies_inside_only),
        UT_CASE(refused_unmap_and_detach_end_it_all_the_same),
        UT_CASE(last_endpoint_takes_the_mappings_with_it),
        UT_CASE(ok_that_cannot_be_is_an_error),
        UT_CASE(unanswered_ends_but_never_begins),
        UT_CASE(endpoint_that_was_taken_away_is_detached),
        UT_CASE(short_and_unknown_requests_change_nothing),
        UT_CASE(failed_allocation_leaves_nothing),
        UT_CASE(a_vdomain_complains_once),
        UT_CASE(replay_tells_everything_once),
        UT_CASE(random_requests_hold_what_the_backend_can_use),
    };

    return ut_main(argc, argv, "mirror", cases, sizeof(cases) / sizeof(cases[0]));
}
