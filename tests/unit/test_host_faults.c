/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The host fails at random under load: any call of the kernel that a VFIO driver makes, any pin of
 * guest memory (a grant that cannot be mapped), while random requests come in, endpoints are
 * taken away and opened again. Whatever fails: a refused request has changed nothing, the answers
 * are those of the naive model, the host maps what the tables say, a device whose mapping could
 * not be taken out reaches nothing, the others are as if nothing had been, and in the end nothing
 * is left open, mapped or pinned.
 *
 * VIOMMU_SEED and VIOMMU_STEPS make another and a longer run (scripts/long.d/host-faults).
 */
#include <config.h>

#include "backend/iommu/iommufd.h"
#include "backend/iommu/vfio.h"
#include "common/strutil.h"
#include "tests/support/naive_viommu.h"
#include "tests/support/vfio_rig.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEPS     40000u
#define N_DEVICES NAIVE_ENDPOINTS /* each in a group of its own */
#define N_PAGES   40u

static struct vfio_rig t;
static struct naive_viommu naive;
static uint64_t rng_state;
static unsigned n_failures, n_refused, n_cut_off, n_stranded, n_reopened;

static uint64_t rnd(uint64_t n)
{
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    rng_state ^= rng_state << 17;
    return (rng_state >> 11) % n;
}

static uint64_t setting(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    uint64_t value;

    return text && parse_u64(text, UINT64_MAX, &value) == 0 && value > 0 ? value : otherwise;
}

/* --- failures --------------------------------------------------------------------------------- */

/* What requests need; the other calls are made when something is opened. */
static const enum model_call load_calls[] = {
    MODEL_MAP_DMA, MODEL_UNMAP_DMA, MODEL_IOAS_MAP,   MODEL_IOAS_UNMAP,
    MODEL_ATTACH,  MODEL_DETACH,    MODEL_IOAS_ALLOC, MODEL_DESTROY,
};
static const int errors[] = {EINVAL, ENOMEM, ENOSPC, EEXIST, EBUSY, EIO};

/* One to three calls in a row, at some places. */
static void arm(void)
{
    unsigned places = 1 + (unsigned)rnd(5);

    for (unsigned i = 0; i < places; i++) {
        enum model_call call = rnd(4) == 0 ? (enum model_call)rnd(MODEL_N_CALLS)
                                           : load_calls[rnd(ARRAY_SIZE(load_calls))];
        bool unmap = call == MODEL_UNMAP_DMA || call == MODEL_IOAS_UNMAP;
        int error = unmap && rnd(3) == 0 ? MODEL_SHORT : errors[rnd(ARRAY_SIZE(errors))];

        model_kernel_fail(&t.k, call, 1 + (unsigned)rnd(3), 1 + (unsigned)rnd(3), error);
    }
    if (rnd(4) == 0)
        model_space_fail(&t.rig.mem, SPACE_PIN, 1 + (unsigned)rnd(3), -errors[rnd(3)]);
}

static bool pin_failed(void)
{
    return t.rig.mem.fail_at[SPACE_PIN] > 0 &&
           t.rig.mem.calls[SPACE_PIN] >= t.rig.mem.fail_at[SPACE_PIN];
}

static void disarm(void)
{
    model_kernel_no_fail(&t.k);
    memset(t.rig.mem.fail_at, 0, sizeof(t.rig.mem.fail_at));
}

/* Devices that reach nothing any more say so themselves; attached anew they work again. */
static void find_cut_off(void)
{
    unsigned before = t.blocked;

    t.blocked = 0;
    for (size_t i = 0; i < N_DEVICES; i++) {
        struct iommu_status status;

        if (!t.ep[i])
            continue;
        t.driver->status(t.ep[i], &status);
        if (status.cut_off)
            t.blocked |= 1u << i;
    }
    n_cut_off += (t.blocked & ~before) != 0;
}

/* --- requests --------------------------------------------------------------------------------- */

struct step {
    int got, want;
    bool cut_off;    /* a MAP for a vdomain with a device that is cut off */
    uint32_t moving; /* the endpoint's index + 1, if an ATTACH moves it */
    struct naive_viommu after;
    char text[128];
};

static uint32_t any_vdomain(void)
{
    return 1 + (uint32_t)rnd(4);
}

static void step_attach(struct step *s)
{
    uint32_t vdomain = any_vdomain(), index = (uint32_t)rnd(N_DEVICES);

    snprintf(s->text, sizeof(s->text), "attach %u %u", vdomain, 8 + index);
    s->moving = naive.vdomain[index] ? index + 1 : 0;
    s->got = rig_attach(&t.rig, vdomain, 8 + index, 0);
    s->want = t.ep[index] ? naive_attach(&s->after, vdomain, 8 + index, 0) : VIOMMU_S_NOENT;
}

static void step_detach(struct step *s)
{
    uint32_t index = (uint32_t)rnd(N_DEVICES), vdomain = naive.vdomain[index];

    if (vdomain == 0)
        vdomain = any_vdomain();
    snprintf(s->text, sizeof(s->text), "detach %u %u", vdomain, 8 + index);
    s->got = rig_detach(&t.rig, vdomain, 8 + index);
    s->want = t.ep[index] ? naive_detach(&s->after, vdomain, 8 + index) : VIOMMU_S_NOENT;
}

static void step_map(struct step *s)
{
    static const uint32_t flags[] = {MAP_RW, MAP_R, MAP_W, 0, MAP_RW, MAP_RW};
    struct naive_map m = {.vdomain = any_vdomain(),
                          .first = rnd(N_PAGES) * PAGE,
                          .phys = rnd(RIG_RAM_SIZE / PAGE) * PAGE,
                          .flags = flags[rnd(ARRAY_SIZE(flags))]};

    m.last = m.first + (1 + rnd(6)) * PAGE - 1;
    snprintf(s->text, sizeof(s->text), "map %u %#" PRIx64 "-%#" PRIx64 " %#" PRIx64 " %u",
             m.vdomain, m.first, m.last, m.phys, m.flags);
    for (unsigned i = 0; i < N_DEVICES; i++)
        s->cut_off |= (t.blocked & (1u << i)) && naive.vdomain[i] == m.vdomain;
    s->got = rig_map(&t.rig, m.vdomain, m.first, m.last, m.phys, m.flags);
    s->want = naive_map(&s->after, &m);
}

/* Of one mapping, of a range, or of all. */
static void step_unmap(struct step *s)
{
    const struct naive_map *m = &naive.maps[NAIVE_MAX_MAP - 1 - rnd(16)];
    uint32_t vdomain = any_vdomain();
    uint64_t first = rnd(N_PAGES) * PAGE, last = first + (1 + rnd(16)) * PAGE - 1;

    if (m->used && rnd(2)) {
        vdomain = m->vdomain;
        first = m->first;
        last = m->last;
    } else if (rnd(8) == 0) {
        first = 0;
        last = UINT64_MAX;
    }
    snprintf(s->text, sizeof(s->text), "unmap %u %#" PRIx64 "-%#" PRIx64, vdomain, first, last);
    s->got = rig_unmap(&t.rig, vdomain, first, last);
    s->want = naive_unmap(&s->after, vdomain, first, last);
}

static void (*const steps[])(struct step *s) = {
    step_map, step_attach, step_unmap, step_map, step_detach, step_map, step_unmap, step_attach,
};

/* --- one step --------------------------------------------------------------------------------- */

static void complain(const char *what, const struct step *s)
{
    UT_TRUE(!"the step is right");
    printf("    %s: %s: status %d, the model says %d\n", s->text, what, s->got, s->want);
}

/* A move that failed and could not be undone either: unattached (docs/conformance.md, A11). */
static bool is_stranded(const struct step *s)
{
    struct viommu_endpoint_info info;

    return s->moving && s->got == VIOMMU_S_DEVERR &&
           viommu_endpoint_next(t.rig.v, 7 + s->moving, &info) && info.id == 7 + s->moving &&
           !info.attached;
}

/*
 * A request that would have been good may be refused because of the failure, as a host failure,
 * and has changed nothing; one that is bad is refused for that. Otherwise the model is right.
 */
static void judge(const struct step *s, bool failed, const char *before, unsigned was_blocked)
{
    /* UNSUPP: a device that was cut off is busy when it is to be opened again. */
    bool of_host = s->got == VIOMMU_S_DEVERR || s->got == VIOMMU_S_NOMEM ||
                   s->got == VIOMMU_S_UNSUPP;
    char *now = vfio_rig_dump(&t);

    if (failed && is_stranded(s)) {
        (void)naive_detach(&naive, naive.vdomain[s->moving - 1], 7 + s->moving);
        n_stranded++;
        free(now);
        return;
    }
    if (s->got == s->want) {
        naive = s->after;
    } else if (!(failed || s->cut_off) || s->want != VIOMMU_S_OK || !of_host) {
        complain("wrong status", s);
    } else {
        n_refused++;
    }
    /* Who is cut off may differ: an ATTACH opens the device again before it can fail. */
    if (s->got != VIOMMU_S_OK && (t.blocked | was_blocked) == 0 && strcmp(now, before) != 0)
        complain("a refused request has changed something", s);
    free(now);
}

static const char *compare_endpoints(void)
{
    struct viommu_endpoint_info info;

    for (uint32_t i = 0; i < N_DEVICES; i++) {
        bool there = viommu_endpoint_next(t.rig.v, 8 + i, &info) && info.id == 8 + i;

        if (there != (t.ep[i] != NULL))
            return "an endpoint is missing, or too many";
        if (there && (info.attached != (naive.vdomain[i] != 0) ||
                      (info.attached && info.vdomain != naive.vdomain[i])))
            return "an attachment differs";
    }
    return NULL;
}

static const char *compare_mappings(void)
{
    size_t n = 0;

    for (size_t i = 0; i < NAIVE_MAX_MAP; i++) {
        const struct naive_map *m = &naive.maps[i];
        struct imap_entry e;

        if (!m->used)
            continue;
        n++;
        if (!viommu_mapping_next(t.rig.v, m->vdomain, m->first, &e) || e.range.first != m->first ||
            e.range.last != m->last || e.value != m->phys || e.flags != m->flags)
            return "a mapping differs";
    }
    return n == viommu_n_mappings(t.rig.v) ? NULL : "the number of mappings differs";
}

static void check(const struct step *s)
{
    const char *wrong = compare_endpoints();

    if (!wrong)
        wrong = compare_mappings();
    if (wrong)
        complain(wrong, s);
    VFIO_CHECK(&t);
}

static void do_request(bool fails)
{
    struct step s = {.after = naive};
    char *before = vfio_rig_dump(&t);
    unsigned was_blocked = t.blocked;
    bool failed;

    t.k.failed = false;
    if (fails)
        arm();
    steps[rnd(ARRAY_SIZE(steps))](&s);
    failed = t.k.failed || pin_failed();
    n_failures += failed;
    disarm();
    find_cut_off();
    judge(&s, failed, before, was_blocked);
    free(before);
    check(&s);
}

/* An endpoint is taken away, or opened again, perhaps in vain. */
static void do_endpoint(bool fails)
{
    struct step s = {.text = "endpoint"};
    size_t index = rnd(N_DEVICES);

    t.k.failed = false;
    if (fails)
        arm();
    if (t.ep[index]) {
        vfio_rig_remove(&t, index);
        if (naive.vdomain[index])
            (void)naive_detach(&naive, naive.vdomain[index], 8 + (uint32_t)index);
    } else if (vfio_rig_add(&t, index) == 0) {
        n_reopened++;
    } else {
        UT_TRUE(t.k.failed);
        t.ep[index] = NULL;
    }
    n_failures += t.k.failed;
    disarm();
    find_cut_off();
    check(&s);
}

/* --- runs ------------------------------------------------------------------------------------- */

static bool start(const struct iommu_driver *driver)
{
    static const char *const names[N_DEVICES] = {"0000:03:00.0", "0000:04:00.0", "0000:05:00.0",
                                                 "0000:06:00.0", "0000:07:00.0"};

    rng_state = setting("VIOMMU_SEED", 0x9e3779b97f4a7c15);
    n_failures = n_refused = n_cut_off = n_stranded = n_reopened = 0;
    if (!vfio_rig_start(&t, driver))
        return false;
    naive = (struct naive_viommu){.max_maps = NAIVE_MAX_MAP,
                                  .max_vdomains = 4,
                                  .granule = PAGE,
                                  .input = {0, UINT64_MAX},
                                  .resv = {UINT64_MAX, UINT64_MAX},
                                  .ram_end = RIG_RAM_SIZE,
                                  .rom_end = RIG_RAM_SIZE + RIG_ROM_SIZE};
    for (size_t i = 0; i < N_DEVICES; i++) {
        if (!model_kernel_add(&t.k, names[i], 5 + (unsigned)i) || vfio_rig_add(&t, i) < 0)
            return false;
    }
    return true;
}

static void run(const char *name, const struct iommu_driver *driver)
{
    uint64_t n = setting("VIOMMU_STEPS", STEPS);
    unsigned failures = CU_get_number_of_failures();

    UT_REQUIRE(start(driver));
    vfio_log_begin();
    for (uint64_t i = 0; i < n && CU_get_number_of_failures() == failures; i++) {
        bool fails = rnd(3) == 0;

        if (rnd(12) == 0)
            do_endpoint(fails);
        else
            do_request(fails);
    }
    (void)vfio_log_end();
    vfio_log_begin();
    vfio_rig_stop(&t);
    (void)vfio_log_end();
    printf("    %s: %u failures injected, %u requests refused for them, devices cut off %u times, "
           "moves not undone %u, endpoints opened again %u times\n",
           name, n_failures, n_refused, n_cut_off, n_stranded, n_reopened);
    /* The run has been where it was meant to go. */
    UT_TRUE(n_failures > n / 200 && n_refused > n / 400 && n_cut_off > n / 8000);
}

static void type1_host_fails_at_random_under_load(void)
{
    run("vfio", &vfio_driver);
}

static void iommufd_host_fails_at_random_under_load(void)
{
    run("iommufd", &iommufd_driver);
}

static const struct ut_case cases[] = {
    UT_CASE(type1_host_fails_at_random_under_load),
    UT_CASE(iommufd_host_fails_at_random_under_load),
};

int main(int argc, char **argv)
{
    return ut_main(argc, argv, "host faults", cases, ARRAY_SIZE(cases));
}
