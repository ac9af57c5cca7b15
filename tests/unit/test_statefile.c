/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The state file (backend/daemon/statefile.h): what is written can be read, and what a hostile
 * writer may have left is refused. What a device makes of it is in test_recover.c.
 */
#include <config.h>

#include "backend/daemon/statefile.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/daemon/statefile_priv.h"
#include "tests/support/ut.h"

#define MAPPINGS 16u

struct rig {
    void *buf;
    size_t size;
    struct statefile *f;
    struct viommu_config config;
};

static const struct viommu_observer *core = &statefile_observer;

static bool rig_open(struct rig *r)
{
    r->config = VIOMMU_CONFIG_DEFAULT;
    r->config.max_mappings = MAPPINGS;
    r->size = (size_t)statefile_size(MAPPINGS, 1);
    r->buf = calloc(1, r->size);
    return r->buf && statefile_new(&r->f, r->buf, r->size) == 0 &&
           statefile_begin(r->f, &r->config, 1) == 0;
}

/* Another process: nothing but the bytes is left. */
static bool rig_die(struct rig *r)
{
    statefile_free(r->f);
    return statefile_new(&r->f, r->buf, r->size) == 0;
}

static void rig_close(struct rig *r)
{
    statefile_free(r->f);
    free(r->buf);
}

static struct statefile_setup some_setup(const struct rig *r)
{
    return (struct statefile_setup){
        .text = "max-mappings=16",
        .has_text = true,
        .viommu = r->config,
        .max_queue_size = 256,
        .max_map_pages = 1,
        .connection = {.features = 5,
                       .control_ref = 7,
                       .queue = {{16, 0x1000, 0x2000, 0x3000}, {32, 0x4000, 0x5000, 0x6000}}},
        .port = {11, 12, 13},
    };
}

static void connect(struct rig *r)
{
    struct statefile_setup setup = some_setup(r);

    statefile_commit(r->f, &setup);
}

static void attach(struct rig *r, uint32_t endpoint, uint32_t vdomain)
{
    const struct viommu_attachment now = {.attached = true, .vdomain = vdomain};
    const struct statefile_answer ok = {.type = VIOMMU_T_ATTACH, .used = 4};

    statefile_request_begin(r->f);
    UT_EQ(core->attaching(r->f, endpoint), 0);
    core->attached(r->f, endpoint, &now, VIOMMU_S_OK);
    statefile_request_done(r->f, &ok, 1);
}

/* Returns the tag. */
static uint32_t map(struct rig *r, uint64_t first, bool answered)
{
    const struct statefile_answer ok = {.type = VIOMMU_T_MAP, .used = 4};
    struct imap_entry entry = {.range = {first, first + 0xfff}, .value = ~first, .flags = 3};

    statefile_request_begin(r->f);
    entry.tag = core->next_tag(r->f);
    core->mapped(r->f, 1, &entry);
    if (answered)
        statefile_request_done(r->f, &ok, 2);
    return entry.tag;
}

static int load(struct rig *r, struct statefile_contents *out)
{
    const char *why;

    return statefile_load(r->f, out, &why);
}

/* --- life and setup -----------------------------------------------------------------------------
 */

static void sizes_that_cannot_be_are_zero(void)
{
    UT_EQ(statefile_size(UINT64_MAX, 1), 0);
    UT_EQ(statefile_size((1ull << 28) + 1, 64), 0);
    UT_EQ(statefile_size(1, UINT32_MAX), 0);
    UT_TRUE(statefile_size(1, 1) > 0);
}

static void a_file_that_is_too_small_is_refused(void)
{
    struct rig r;

    UT_REQUIRE(rig_open(&r));
    r.config.max_mappings = MAPPINGS + 1;
    UT_EQ(statefile_begin(r.f, &r.config, 1), -E2BIG);
    r.config.max_mappings = MAPPINGS;
    UT_EQ(statefile_begin(r.f, &r.config, 2), -E2BIG);
    rig_close(&r);
}

static void without_a_file_nothing_happens(void)
{
    const struct statefile_answer answer = {.type = 1};

    UT_EQ(statefile_begin(NULL, NULL, 0), 0);
    statefile_status(NULL, 0, 0);
    statefile_request_begin(NULL);
    statefile_request_done(NULL, &answer, 0);
    statefile_published(NULL, 0);
    statefile_end(NULL);
}

static void the_setup_is_read_as_it_was_written(void)
{
    struct statefile_setup out;
    const char *why;
    struct rig r;

    UT_REQUIRE(rig_open(&r));
    UT_EQ(statefile_read_setup(r.f, &out, &why), -ENOENT);
    connect(&r);
    UT_REQUIRE(rig_die(&r));
    UT_EQ(statefile_read_setup(r.f, &out, &why), 0);
    UT_STR(out.text, "max-mappings=16");
    UT_TRUE(out.has_text);
    UT_EQ(out.viommu.max_mappings, MAPPINGS);
    UT_EQ(out.viommu.features, r.config.features);
    UT_EQ(out.connection.control_ref, 7);
    UT_EQ(out.connection.queue[1].size, 32);
    UT_EQ(out.connection.queue[1].device, 0x6000);
    UT_EQ(out.port[2], 13);
    statefile_end(r.f);
    UT_EQ(statefile_read_setup(r.f, &out, &why), -ENOENT);
    rig_close(&r);
}

static void hostile_setups_are_refused(void)
{
    struct statefile_setup out;
    struct rig r;

    UT_REQUIRE(rig_open(&r));
    for (unsigned i = 0; i < 10; i++) {
        struct sf_header *h = r.buf;
        const char *why = NULL;

        memset(h, 0, sizeof(*h));
        UT_EQ(statefile_begin(r.f, &r.config, 1), 0);
        connect(&r);
        UT_EQ(statefile_read_setup(r.f, &out, &why), 0);
        switch (i) {
        case 0:
            h->magic ^= 1;
            break;
        case 1:
            h->version++;
            break;
        case 2:
            h->max_mappings = MAPPINGS + 1;
            break;
        case 3:
            h->max_map_pages = UINT32_MAX;
            break;
        case 4:
            memset(h->setup.text, 'x', sizeof(h->setup.text));
            break;
        case 5:
            h->setup.text[3] = '\n';
            break;
        case 6:
            h->setup.control_ref = 1ull << 32;
            break;
        case 7:
            h->setup.queue[0].size = 1ull << 32;
            break;
        case 8:
            h->setup.probe_size = UINT64_MAX;
            break;
        default:
            h->setup.max_vdomains = UINT64_MAX;
            break;
        }
        UT_EQ(statefile_read_setup(r.f, &out, &why), -EPROTO);
        UT_TRUE(why && why[0]);
    }
    rig_close(&r);
}

/* --- tables -------------------------------------------------------------------------------------
 */

static void mappings_are_read_as_they_were_written(void)
{
    struct statefile_contents c;
    struct statefile_mapping m;
    uint64_t seen_firsts = 0;
    unsigned n_seen = 0;
    uint32_t tag, at = 0;
    struct rig r;

    UT_REQUIRE(rig_open(&r));
    connect(&r);
    attach(&r, 8, 1);
    (void)map(&r, 0x1000, true);
    tag = map(&r, 0x2000, true);
    (void)map(&r, 0x4000, true);
    core->unmapped(r.f, tag);
    UT_REQUIRE(rig_die(&r));
    UT_EQ(load(&r, &c), 0);
    UT_EQ(c.n_attachments, 1);
    UT_EQ(c.n_mappings, 2);
    UT_FALSE(c.happened);
    UT_EQ(c.queue[VIOMMU_QUEUE_REQUEST].pending, 4);
    for (; statefile_next_mapping(r.f, &at, &m); n_seen++) {
        UT_EQ(m.vdomain, 1);
        UT_EQ(m.entry.value, ~m.entry.range.first);
        UT_EQ(m.entry.flags, 3);
        seen_firsts += m.entry.range.first;
    }
    UT_EQ(n_seen, 2);
    UT_EQ(seen_firsts, 0x5000);
    /* The successor uses the slot that was free. */
    UT_EQ(core->next_tag(r.f), tag);
    /* The last one seen has ended as well: it is the slot after that. */
    statefile_forget_mapping(r.f, &m);
    UT_EQ(core->next_tag(r.f), m.entry.tag);
    rig_close(&r);
}

static void slots_are_used_again_before_new_ones(void)
{
    uint32_t a, b, c;
    struct rig r;

    UT_REQUIRE(rig_open(&r));
    a = map(&r, 0x1000, true);
    b = map(&r, 0x2000, true);
    core->unmapped(r.f, a);
    core->unmapped(r.f, b);
    c = map(&r, 0x3000, true);
    UT_EQ(c, b);
    UT_EQ(map(&r, 0x4000, true), a);
    UT_EQ(map(&r, 0x5000, true), 2);
    for (unsigned i = 3; i < MAPPINGS; i++)
        UT_EQ(map(&r, 0x10000 + i * 0x1000, true), i);
    rig_close(&r);
}

static void a_record_without_an_answer_says_what_happened(void)
{
    struct statefile_contents c;
    struct rig r;

    UT_REQUIRE(rig_open(&r));
    attach(&r, 8, 1);
    (void)map(&r, 0x1000, false);
    UT_REQUIRE(rig_die(&r));
    UT_EQ(load(&r, &c), 0);
    UT_TRUE(c.happened);
    UT_EQ(c.answer.status, VIOMMU_S_OK);
    UT_EQ(c.answer.used, VIOMMU_TAIL_SIZE);
    /* Skipped: it is not taken for the next request's. */
    statefile_request_skip(r.f);
    UT_REQUIRE(rig_die(&r));
    UT_EQ(load(&r, &c), 0);
    UT_FALSE(c.happened);
    rig_close(&r);
}

static void an_endpoint_has_one_slot_whatever_happens_to_it(void)
{
    const struct viommu_attachment nowhere = {.attached = false};
    struct statefile_contents c;
    struct rig r;

    UT_REQUIRE(rig_open(&r));
    for (unsigned i = 0; i < 100; i++) {
        attach(&r, 8, i);
        core->attached(r.f, 8, &nowhere, VIOMMU_S_OK);
        attach(&r, 9, i);
        statefile_published(r.f, VIOMMU_QUEUE_REQUEST);
    }
    UT_EQ(((struct sf_header *)r.buf)->n_attachments, 2);
    UT_REQUIRE(rig_die(&r));
    UT_EQ(load(&r, &c), 0);
    UT_EQ(c.n_attachments, 1);
    rig_close(&r);
}

static void slots_of_endpoints_run_out_only_when_all_are_attached(void)
{
    const struct viommu_attachment nowhere = {.attached = false};
    struct rig r;

    UT_REQUIRE(rig_open(&r));
    for (uint32_t i = 0; i < STATEFILE_ENDPOINTS; i++)
        attach(&r, i, 1);
    UT_EQ(core->attaching(r.f, STATEFILE_ENDPOINTS), -ENOMEM);
    core->attached(r.f, 77, &nowhere, VIOMMU_S_OK);
    UT_EQ(core->attaching(r.f, STATEFILE_ENDPOINTS), 0);
    rig_close(&r);
}

static void hostile_contents_are_refused(void)
{
    for (unsigned i = 0; i < 15; i++) {
        struct statefile_contents c;
        struct sf_header *h;
        struct rig r;

        UT_REQUIRE(rig_open(&r));
        attach(&r, 8, 1);
        attach(&r, 9, 1);
        (void)map(&r, 0x1000, true);
        (void)map(&r, 0x2000, false);
        h = r.buf;
        switch (i) {
        case 0:
            h->n_mappings = MAPPINGS + 1;
            break;
        case 1:
            h->n_attachments = STATEFILE_ENDPOINTS + 1;
            break;
        case 2:
            r.f->mappings[0].number = 99;
            break;
        case 3:
            r.f->mappings[0].number = r.f->mappings[1].number; /* two have happened */
            break;
        case 4:
            r.f->attachments[1].version[1].endpoint = 8;
            break;
        case 5:
            r.f->attachments[0].version[1].flags = 4;
            break;
        case 6:
            r.f->attachments[0].version[1].status = VIOMMU_N_STATUS;
            break;
        case 7:
            r.f->attachments[0].version[1].number = UINT64_MAX;
            break;
        case 8:
            h->queue[0].published = sf_pack_position(99, 0);
            break;
        case 9:
            h->queue[1].pushed = sf_pack_position(STATEFILE_MAX_PENDING + 1, 0);
            break;
        case 10:
            h->answers[0][1] = sf_pack_answer(3, 0, 1, 0);
            break;
        case 11:
            h->answers[0][1] = sf_pack_answer(UINT32_MAX, 0, 1, 0);
            break;
        case 12:
            h->answers[0][1] = sf_pack_answer(4, 0, VIOMMU_N_TYPES, 0);
            break;
        case 13:
            h->bypass = sf_pack(0, 2, 0);
            break;
        default:
            h->map = sf_pack_map(1, 0, 0);
            h->n_runs[0] = UINT32_MAX;
            break;
        }
        UT_REQUIRE(rig_die(&r));
        UT_EQ(load(&r, &c), -EPROTO);
        rig_close(&r);
    }
}

static void a_grant_map_counts_when_all_of_it_is_there(void)
{
    const struct gmem_run one[] = {{0x1000, 5, 6, true}}, two[] = {{0, 1, 1, false}, {1, 2, 2, 0}};
    struct statefile_contents c;
    struct gmem_run *runs;
    struct rig r;
    size_t n;

    UT_REQUIRE(rig_open(&r));
    statefile_map_taken(r.f, 1, one, 1);
    statefile_map_taken(r.f, 2, two, 2);
    statefile_map_taken(r.f, 3, one, 1);
    statefile_map_refused(r.f, 4, 2);
    UT_REQUIRE(rig_die(&r));
    UT_EQ(load(&r, &c), 0);
    UT_EQ(c.words.map_answered, 4);
    UT_EQ(c.words.map_verdict, 2);
    UT_EQ(c.words.map_in_use, 3);
    UT_EQ(statefile_read_map(r.f, &runs, &n), 0);
    UT_EQ(n, 1);
    UT_TRUE(n == 1 && runs[0].address == 0x1000 && runs[0].pages == 6 && runs[0].read_only);
    free(runs);
    rig_close(&r);
}

static const struct ut_case cases[] = {
    UT_CASE(sizes_that_cannot_be_are_zero),
    UT_CASE(a_file_that_is_too_small_is_refused),
    UT_CASE(without_a_file_nothing_happens),
    UT_CASE(the_setup_is_read_as_it_was_written),
    UT_CASE(hostile_setups_are_refused),
    UT_CASE(mappings_are_read_as_they_were_written),
    UT_CASE(slots_are_used_again_before_new_ones),
    UT_CASE(a_record_without_an_answer_says_what_happened),
    UT_CASE(an_endpoint_has_one_slot_whatever_happens_to_it),
    UT_CASE(slots_of_endpoints_run_out_only_when_all_are_attached),
    UT_CASE(hostile_contents_are_refused),
    UT_CASE(a_grant_map_counts_when_all_of_it_is_there),
};

int main(int argc, char **argv)
{
    return ut_main(argc, argv, "statefile", cases, ARRAY_SIZE(cases));
}
