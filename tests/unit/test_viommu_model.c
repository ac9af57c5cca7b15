/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Random requests against the device and against a naive model of it: arrays, a linear search
 * for everything, the clauses written down in the plainest way. Status, whole state, host and pins
 * are compared after each request, with failures of host and memory thrown in.
 */
#include <config.h>

#include "common/le.h"
#include "tests/support/naive_viommu.h"
#include "tests/support/viommu_rig.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define N_ENDPOINTS NAIVE_ENDPOINTS /* 8 to 10 model, 11 frames, 12 soft */
#define N_VDOMAINS  NAIVE_VDOMAINS  /* 1 to 4 are in domain_range */
#define N_PAGES     40u
#define MAX_MAP     NAIVE_MAX_MAP
#define BYPASS      VIOMMU_ATTACH_F_BYPASS

static struct rig rig;
static uint64_t rng_state;

static uint64_t rnd(uint64_t n)
{
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    rng_state ^= rng_state << 17;
    return (rng_state >> 11) % n;
}

static bool one_in(uint64_t n)
{
    return rnd(n) == 0;
}

static struct naive_viommu naive;

static const struct range naive_input = {PAGE, 36 * PAGE - 1};
static const struct viommu_resv naive_resv = {{20 * PAGE, 21 * PAGE - 1}, 0}; /* endpoint 9 */

/* --- comparing -------------------------------------------------------------------------------- */

/* Each endpoint's view of a few addresses. */
static const char *compare_lookups(void)
{
    for (int k = 0; k < 8; k++) {
        unsigned index = (unsigned)rnd(N_ENDPOINTS);
        uint64_t addr = rnd(N_PAGES * PAGE);
        bool write = one_in(2);

        if (rig_lookup(&rig, 8 + index, addr, write) != naive_lookup(&naive, index, addr, write))
            return "a translation differs";
    }
    return NULL;
}

static const char *compare(void)
{
    const char *wrong = naive_compare(&naive, rig.v);

    return wrong ? wrong : compare_lookups();
}

/* --- random requests -------------------------------------------------------------------------- */

struct step {
    int got, want;
    char text[128];
};

static uint64_t random_address(void)
{
    uint64_t addr = rnd(N_PAGES) * PAGE;

    if (naive.granule == 1 && one_in(2))
        addr += rnd(PAGE);
    return one_in(60) ? addr + 1 + rnd(PAGE) : one_in(60) ? UINT64_MAX - rnd(PAGE) : addr;
}

static uint64_t random_end(uint64_t first)
{
    uint64_t size = (1 + rnd(6)) * PAGE;

    if (naive.granule == 1 && one_in(2))
        size = 1 + rnd(2 * PAGE);
    if (one_in(40))
        return rnd(N_PAGES) * PAGE - 1; /* may be inverted, or 2^64-1 */
    return first + size - 1 < first ? UINT64_MAX : first + size - 1;
}

static uint64_t random_phys(void)
{
    uint64_t phys = rnd(RIG_RAM_SIZE / PAGE) * PAGE;

    if (one_in(20))
        phys = RIG_ROM_FIRST + rnd(RIG_ROM_SIZE / PAGE) * PAGE;
    if (one_in(40))
        phys = RIG_ROM_FIRST + RIG_ROM_SIZE + rnd(100) * PAGE;
    return one_in(60) ? UINT64_MAX - PAGE + 1 : one_in(60) ? phys + rnd(PAGE) : phys;
}

static void step_attach(struct step *s)
{
    uint32_t vdomain = one_in(20) ? (uint32_t)rnd(N_VDOMAINS) : 1 + (uint32_t)rnd(4);
    uint32_t endpoint = 8 + (uint32_t)rnd(one_in(20) ? 8 : N_ENDPOINTS);
    uint32_t flags = one_in(30) ? (uint32_t)rnd(4) : one_in(4) ? BYPASS : 0;

    snprintf(s->text, sizeof(s->text), "attach %u %u %u", vdomain, endpoint, flags);
    s->got = rig_attach(&rig, vdomain, endpoint, flags);
    if (s->want >= 0)
        s->want = naive_attach(&naive, vdomain, endpoint, flags);
}

static void step_detach(struct step *s)
{
    uint32_t endpoint = 8 + (uint32_t)rnd(one_in(20) ? 8 : N_ENDPOINTS);
    uint32_t vdomain = one_in(4) || endpoint >= 8 + N_ENDPOINTS ? (uint32_t)rnd(N_VDOMAINS)
                                                                : naive.vdomain[endpoint - 8];

    snprintf(s->text, sizeof(s->text), "detach %u %u", vdomain, endpoint);
    s->got = rig_detach(&rig, vdomain, endpoint);
    if (s->want >= 0)
        s->want = naive_detach(&naive, vdomain, endpoint);
}

static void step_map(struct step *s)
{
    struct naive_map m = {
        .vdomain = one_in(20) ? (uint32_t)rnd(N_VDOMAINS) : 1 + (uint32_t)rnd(4),
        .first = random_address(),
        .phys = random_phys(),
        .flags = (uint32_t)rnd(one_in(40) ? 16 : 8),
    };

    m.last = random_end(m.first);
    snprintf(s->text, sizeof(s->text), "map %u %#" PRIx64 "-%#" PRIx64 " %#" PRIx64 " %u",
             m.vdomain, m.first, m.last, m.phys, m.flags);
    s->got = rig_map(&rig, m.vdomain, m.first, m.last, m.phys, m.flags);
    if (s->want >= 0)
        s->want = naive_map(&naive, &m);
}

static void step_unmap(struct step *s)
{
    uint32_t vdomain = one_in(20) ? (uint32_t)rnd(N_VDOMAINS) : 1 + (uint32_t)rnd(4);
    static uint64_t beside; /* the one before */
    uint64_t first = one_in(3) ? beside : random_address(), last = random_end(first);
    const struct naive_map *m = &naive.maps[rnd(MAX_MAP)];

    beside = last + 1;
    if (m->used && one_in(2)) {
        vdomain = m->vdomain;
        first = m->first;
        last = m->last;
    }
    snprintf(s->text, sizeof(s->text), "unmap %u %#" PRIx64 "-%#" PRIx64, vdomain, first, last);
    s->got = rig_unmap(&rig, vdomain, first, last);
    if (s->want >= 0)
        s->want = naive_unmap(&naive, vdomain, first, last);
}

static void step_device(struct step *s, bool may_reset)
{
    bool value = one_in(2);

    if (may_reset && one_in(4)) {
        snprintf(s->text, sizeof(s->text), "reset");
        viommu_reset(rig.v);
        UT_EQ(viommu_set_features(rig.v, VIOMMU_F_ALL), 0);
        naive_reset(&naive);
        s->got = s->want = 0;
        return;
    }
    snprintf(s->text, sizeof(s->text), "bypass %d", value);
    s->got = -viommu_bypass_write(rig.v, value);
    if (s->want >= 0) {
        naive.bypass_byte = value;
        s->want = 0;
    }
}

static void step(struct step *s, bool may_reset)
{
    uint64_t dice = rnd(100);

    if (dice < 12)
        step_attach(s);
    else if (dice < 18)
        step_detach(s);
    else if (dice < 62)
        step_map(s);
    else if (dice < 97)
        step_unmap(s);
    else
        step_device(s, may_reset);
}

/*
 * A step in which a call of host or memory may fail. The naive model cannot know whether it does;
 * so it checks that a refusal changed nothing, and follows what went through. A reset cannot be
 * refused and is left out.
 */
static void failing_step(struct step *s)
{
    static const enum model_host_verb verbs[] = {HOST_MAP, HOST_SPACE_NEW, HOST_ATTACH,
                                                 HOST_BYPASS_ON};
    char *before, *after;

    if (one_in(3)) {
        model_space_fail(&rig.mem, one_in(2) ? SPACE_PIN : SPACE_SEGMENT, 1, -ENOMEM);
    } else {
        model_host_fail(&rig.host, verbs[rnd(ARRAY_SIZE(verbs))], 1 + (unsigned)rnd(3), 1, -ENOSPC);
    }
    before = rig_dump(&rig);
    s->want = -1; /* the naive model stays where it is */
    step(s, false);
    after = rig_dump(&rig);
    if (s->got != 0)
        UT_STR(after, before);
    else
        UT_TRUE(naive_follow(&naive, rig.v));
    s->want = s->got;
    free(before);
    free(after);
    memset(rig.host.fail_at, 0, sizeof(rig.host.fail_at));
    memset(rig.mem.fail_at, 0, sizeof(rig.mem.fail_at));
}

static bool start(unsigned seed)
{
    struct viommu_config c = VIOMMU_CONFIG_DEFAULT;

    rng_state = 0x9e3779b97f4a7c15ull * (seed + 1);
    memset(&naive, 0, sizeof(naive));
    naive.granule = seed % 3 == 2 ? 1 : PAGE;
    naive.input = naive_input;
    naive.resv = naive_resv.range;
    naive.ram_end = RIG_RAM_SIZE;
    naive.rom_end = RIG_ROM_FIRST + RIG_ROM_SIZE;
    naive.max_maps = seed % 2 ? 12 : MAX_MAP;
    naive.max_vdomains = seed % 2 ? 2 : 4;
    c.page_size_mask = -naive.granule;
    c.input_range = naive_input;
    c.domain_range = (struct range){1, 4};
    c.max_mappings = naive.max_maps;
    c.max_vdomains = naive.max_vdomains;
    if (!rig_start(&rig, &c))
        return false;
    rig.mem.segment_max = seed % 4 == 1 ? 3 * PAGE : 0;
    rig.host.groups_share = seed % 4 == 3;
    return rig_add(&rig, 8, &model_host_ops) == 0 &&
           rig_add_resv(&rig, 9, &model_host_ops, &naive_resv, 1) == 0 &&
           rig_add(&rig, 10, &model_host_ops) == 0 &&
           rig_add(&rig, 11, &model_host_frame_ops) == 0 && rig_add_soft(&rig, 12) == 0;
}

static void run_plain(unsigned seed, unsigned n)
{
    UT_REQUIRE(start(seed));
    for (unsigned i = 0; i < n; i++) {
        struct step s = {.want = 0};
        char *before = rig_dump(&rig), *after;
        const char *wrong;

        step(&s, true);
        after = rig_dump(&rig);
        wrong = compare();
        if (!wrong && s.got != 0 && strcmp(before, after) != 0)
            wrong = "a refused request changed something";
        free(before);
        free(after);
        if (wrong || s.got != s.want)
            printf("seed %u step %u: %s: got %d want %d\n", seed, i, s.text, s.got, s.want);
        UT_STR(wrong ? wrong : "agreement", "agreement");
        RIG_CHECK(&rig);
        UT_REQUIRE(!wrong && s.got == s.want);
    }
    rig_stop(&rig);
}

static void random_requests_agree_with_the_naive_model(void)
{
    for (unsigned seed = 0; seed < 12; seed++)
        run_plain(seed, 2500);
}

/* In batches that begin and end anywhere: what UNMAPs leave to be done is done when it is seen. */
static void run_batches(unsigned seed, unsigned n)
{
    UT_REQUIRE(start(seed));
    for (unsigned i = 0; i < n; i++) {
        unsigned requests = 1 + (unsigned)rnd(8);
        bool unmaps_only = one_in(2);
        const char *wrong;

        viommu_batch_begin(rig.v);
        for (unsigned k = 0; k < requests; k++) {
            struct step s = {.want = 0};

            if (unmaps_only)
                step_unmap(&s);
            else
                step(&s, true);
            if (s.got != s.want)
                printf("seed %u batch %u: %s: got %d want %d\n", seed, i, s.text, s.got, s.want);
            UT_REQUIRE(s.got == s.want);
        }
        viommu_batch_end(rig.v);
        wrong = compare();
        UT_STR(wrong ? wrong : "agreement", "agreement");
        RIG_CHECK(&rig);
        UT_REQUIRE(!wrong);
    }
    rig_stop(&rig);
}

static void so_do_random_batches(void)
{
    for (unsigned seed = 50; seed < 62; seed++)
        run_batches(seed, 1000);
}

static void run_with_failures(unsigned seed, unsigned n)
{
    UT_REQUIRE(start(seed));
    for (unsigned i = 0; i < n; i++) {
        struct step s = {.want = 0};
        const char *wrong;

        if (one_in(3)) {
            failing_step(&s);
        } else {
            step(&s, true);
        }
        wrong = compare();
        if (wrong || s.got != s.want)
            printf("seed %u step %u: %s: got %d want %d\n", seed, i, s.text, s.got, s.want);
        UT_STR(wrong ? wrong : "agreement", "agreement");
        RIG_CHECK(&rig);
        UT_REQUIRE(!wrong && s.got == s.want);
    }
    rig_stop(&rig);
}

static void failures_of_host_and_memory_leave_no_trace(void)
{
    for (unsigned seed = 100; seed < 112; seed++)
        run_with_failures(seed, 2500);
}

/* Random bytes as requests: answers keep their form, state and host keep in step. */
static void random_bytes_do_no_harm(void)
{
    uint8_t req[VIOMMU_REQ_MAX + 8];

    UT_REQUIRE(start(7));
    for (unsigned i = 0; i < 20000; i++) {
        size_t len = rnd(sizeof(req) + 1);

        for (size_t k = 0; k < len; k++)
            req[k] = (uint8_t)(one_in(2) ? rnd(256) : 0);
        if (len > 0)
            req[0] = (uint8_t)rnd(7);
        if (len > 8) {
            le32_store(req + 4, (uint32_t)rnd(13)); /* a vdomain or endpoint that may exist */
            req[8] = (uint8_t)rnd(13);
        }
        (void)rig_send(&rig, req, len, rnd(600));
        if (i % 64 == 0)
            RIG_CHECK(&rig);
    }
    rig_stop(&rig);
}

int main(int argc, char **argv)
{
    static const struct ut_case cases[] = {
        UT_CASE(random_requests_agree_with_the_naive_model),
        UT_CASE(so_do_random_batches),
        UT_CASE(failures_of_host_and_memory_leave_no_trace),
        UT_CASE(random_bytes_do_no_harm),
    };

    return ut_main(argc, argv, "viommu_model", cases, ARRAY_SIZE(cases));
}
