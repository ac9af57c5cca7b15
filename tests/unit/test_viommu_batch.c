/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Batches of requests (viommu_batch_begin): which UNMAPs become one unmap of the host, when that is
 * done, and that nothing else is different: answers, tables, pins, the observer's record.
 */
#include <config.h>

#include "common/le.h"
#include "tests/support/viommu_rig.h"

#include <string.h>

#define FIRST   (64 * PAGE)
#define N_PAGES 8u

static struct rig rig;

/* --- a record ------------------------------------------------------------------------------------
 */

static struct {
    uint32_t next;
    bool live[64];
    size_t n_live;
    unsigned mistakes;
} record;

static uint32_t record_next_tag(void *ctx)
{
    (void)ctx;
    return record.next % ARRAY_SIZE(record.live);
}

static void record_mapped(void *ctx, uint32_t vdomain, const struct imap_entry *entry)
{
    (void)ctx;
    (void)vdomain;
    record.mistakes += entry->tag >= ARRAY_SIZE(record.live) || record.live[entry->tag];
    record.live[entry->tag % ARRAY_SIZE(record.live)] = true;
    record.n_live++;
    record.next++;
}

static void record_unmapped(void *ctx, uint32_t tag)
{
    (void)ctx;
    record.mistakes += tag >= ARRAY_SIZE(record.live) || !record.live[tag];
    record.live[tag % ARRAY_SIZE(record.live)] = false;
    record.n_live--;
}

static int record_attaching(void *ctx, uint32_t endpoint)
{
    (void)ctx;
    (void)endpoint;
    return 0;
}

static void record_attached(void *ctx, uint32_t endpoint, const struct viommu_attachment *now,
                            enum viommu_status status)
{
    (void)ctx;
    (void)endpoint;
    (void)now;
    (void)status;
}

static const struct viommu_observer observer = {
    .next_tag = record_next_tag,
    .mapped = record_mapped,
    .unmapped = record_unmapped,
    .attaching = record_attaching,
    .attached = record_attached,
};

/* --- set-up -------------------------------------------------------------------------------------
 */

/* Endpoints 8 and 9 in vdomain 1, 10 in vdomain 2, each with a space of its own. */
static bool start(void)
{
    if (!rig_start(&rig, NULL))
        return false;
    memset(&record, 0, sizeof(record));
    viommu_observe(rig.v, &observer, NULL);
    for (uint32_t id = 8; id <= 10; id++) {
        if (rig_add(&rig, id, &model_host_ops) != 0 ||
            rig_attach(&rig, id == 10 ? 2 : 1, id, 0) != VIOMMU_S_OK)
            return false;
    }
    return true;
}

static void stop(void)
{
    UT_EQ(record.mistakes, 0);
    UT_EQ(record.n_live, viommu_n_mappings(rig.v));
    rig_stop(&rig);
    UT_EQ(record.n_live, 0);
}

static uint64_t page(unsigned n)
{
    return FIRST + n * PAGE;
}

static void map_page(uint32_t vdomain, unsigned n, uint32_t flags)
{
    UT_EQ(rig_map(&rig, vdomain, page(n), page(n) + PAGE - 1, n * PAGE, flags), VIOMMU_S_OK);
}

static void map_pages(uint32_t vdomain, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        map_page(vdomain, i, MAP_RW);
}

static int unmap_page(uint32_t vdomain, unsigned n)
{
    return rig_unmap(&rig, vdomain, page(n), page(n) + PAGE - 1);
}

static unsigned host_unmaps(void)
{
    return rig.host.calls[HOST_UNMAP];
}

/* The calls of host and memory from here to the end of the batch. */
static void expect_trace_at_end(const char *want)
{
    char *trace;

    rig_trace_begin(&rig);
    viommu_batch_end(rig.v);
    trace = rig_trace_end(&rig);
    UT_STR(trace, want);
    free(trace);
}

/* --- what becomes one unmap ---------------------------------------------------------------------
 */

static void ascending_unmaps_become_one_in_each_space(void)
{
    UT_REQUIRE(start());
    map_pages(1, 3);
    viommu_batch_begin(rig.v);
    for (unsigned i = 0; i < 3; i++)
        UT_EQ(unmap_page(1, i), VIOMMU_S_OK);
    UT_EQ(host_unmaps(), 0);
    expect_trace_at_end("unmap 0 0x40000-0x42fff of 0x3000\nunmap 1 0x40000-0x42fff of 0x3000\n"
                        "unpin 0-0xfff rw\nunpin 0x1000-0x1fff rw\nunpin 0x2000-0x2fff rw\n");
    UT_EQ(viommu_n_mappings(rig.v), 0);
    UT_EQ(viommu_counters(rig.v)->unmapped, 3);
    UT_EQ(viommu_counters(rig.v)->host_unmaps, 2);
    RIG_CHECK(&rig);
    stop();
}

static void so_do_descending_ones(void)
{
    UT_REQUIRE(start());
    map_pages(1, N_PAGES);
    viommu_batch_begin(rig.v);
    for (unsigned i = N_PAGES; i-- > 0;)
        UT_EQ(unmap_page(1, i), VIOMMU_S_OK);
    viommu_batch_end(rig.v);
    UT_EQ(host_unmaps(), 2);
    UT_EQ(viommu_n_mappings(rig.v), 0);
    RIG_CHECK(&rig);
    stop();
}

static void and_those_that_grow_both_ways(void)
{
    static const unsigned order[] = {4, 5, 3, 6, 2};

    UT_REQUIRE(start());
    map_pages(1, N_PAGES);
    viommu_batch_begin(rig.v);
    for (size_t i = 0; i < ARRAY_SIZE(order); i++)
        UT_EQ(unmap_page(1, order[i]), VIOMMU_S_OK);
    viommu_batch_end(rig.v);
    UT_EQ(host_unmaps(), 2);
    UT_EQ(viommu_n_mappings(rig.v), N_PAGES - ARRAY_SIZE(order));
    RIG_CHECK(&rig);
    stop();
}

/* Ranges with holes, without access and without anything in them join as well. */
static void what_the_host_does_not_map_is_not_counted(void)
{
    UT_REQUIRE(start());
    map_page(1, 0, MAP_RW);
    map_page(1, 1, 0); /* in the table only */
    map_page(1, 4, MAP_R);
    viommu_batch_begin(rig.v);
    UT_EQ(unmap_page(1, 0), VIOMMU_S_OK);
    UT_EQ(unmap_page(1, 1), VIOMMU_S_OK);
    UT_EQ(unmap_page(1, 2), VIOMMU_S_OK);
    UT_EQ(rig_unmap(&rig, 1, page(3), page(5) - 1), VIOMMU_S_OK);
    UT_EQ(unmap_page(1, 5), VIOMMU_S_OK);
    expect_trace_at_end("unmap 0 0x40000-0x44fff of 0x2000\nunmap 1 0x40000-0x44fff of 0x2000\n"
                        "unpin 0-0xfff rw\nunpin 0x4000-0x4fff r\n");
    RIG_CHECK(&rig);
    stop();
}

static void nothing_mapped_is_no_call(void)
{
    UT_REQUIRE(start());
    map_page(1, 1, 0);
    viommu_batch_begin(rig.v);
    UT_EQ(unmap_page(1, 0), VIOMMU_S_OK);
    UT_EQ(unmap_page(1, 1), VIOMMU_S_OK);
    expect_trace_at_end("");
    UT_EQ(viommu_n_mappings(rig.v), 0);
    stop();
}

/* The halves of all addresses: a size that no number of 64 bits has. */
static void all_addresses_join(void)
{
    UT_REQUIRE(start());
    map_page(1, 0, MAP_RW);
    UT_EQ(rig_map(&rig, 1, UINT64_MAX - PAGE + 1, UINT64_MAX, 0, MAP_R), VIOMMU_S_OK);
    viommu_batch_begin(rig.v);
    UT_EQ(rig_unmap(&rig, 1, 1ull << 63, UINT64_MAX), VIOMMU_S_OK);
    UT_EQ(rig_unmap(&rig, 1, 0, (1ull << 63) - 1), VIOMMU_S_OK);
    UT_EQ(host_unmaps(), 0);
    viommu_batch_end(rig.v);
    UT_EQ(host_unmaps(), 2);
    UT_EQ(viommu_n_mappings(rig.v), 0);
    RIG_CHECK(&rig);
    stop();
}

/* --- what does not ------------------------------------------------------------------------------
 */

static void a_gap_starts_another(void)
{
    UT_REQUIRE(start());
    map_pages(1, 4);
    viommu_batch_begin(rig.v);
    UT_EQ(unmap_page(1, 0), VIOMMU_S_OK);
    UT_EQ(unmap_page(1, 2), VIOMMU_S_OK);
    UT_EQ(host_unmaps(), 2);
    UT_EQ(unmap_page(1, 3), VIOMMU_S_OK);
    viommu_batch_end(rig.v);
    UT_EQ(host_unmaps(), 4);
    UT_EQ(viommu_n_mappings(rig.v), 1);
    RIG_CHECK(&rig);
    stop();
}

static void another_vdomain_starts_another(void)
{
    UT_REQUIRE(start());
    map_pages(1, 2);
    map_pages(2, 2);
    viommu_batch_begin(rig.v);
    UT_EQ(unmap_page(1, 0), VIOMMU_S_OK);
    UT_EQ(unmap_page(2, 1), VIOMMU_S_OK);
    UT_EQ(host_unmaps(), 2);
    UT_EQ(unmap_page(2, 0), VIOMMU_S_OK);
    viommu_batch_end(rig.v);
    UT_EQ(host_unmaps(), 3);
    UT_EQ(viommu_n_mappings(rig.v), 1);
    RIG_CHECK(&rig);
    stop();
}

/* What was unmapped before in the batch is gone for the verdicts of what follows. */
static void an_overlap_is_judged_by_what_is_left(void)
{
    UT_REQUIRE(start());
    UT_EQ(rig_map(&rig, 1, page(0), page(2) - 1, 0, MAP_RW), VIOMMU_S_OK);
    map_page(1, 2, MAP_RW);
    viommu_batch_begin(rig.v);
    UT_EQ(unmap_page(1, 0), VIOMMU_S_RANGE);
    UT_EQ(rig_unmap(&rig, 1, page(0), page(2) - 1), VIOMMU_S_OK);
    UT_EQ(unmap_page(1, 1), VIOMMU_S_OK);
    UT_EQ(rig_unmap(&rig, 1, page(1), page(3) - 1), VIOMMU_S_OK);
    viommu_batch_end(rig.v);
    UT_EQ(viommu_n_mappings(rig.v), 0);
    RIG_CHECK(&rig);
    stop();
}

static void a_refused_unmap_leaves_the_joined_range_alone(void)
{
    UT_REQUIRE(start());
    map_page(1, 0, MAP_RW);
    UT_EQ(rig_map(&rig, 1, page(1), page(3) - 1, 0, MAP_RW), VIOMMU_S_OK);
    viommu_batch_begin(rig.v);
    UT_EQ(unmap_page(1, 0), VIOMMU_S_OK);
    UT_EQ(unmap_page(1, 1), VIOMMU_S_RANGE); /* adjoins, but splits */
    UT_EQ(rig_unmap(&rig, 1, page(1), page(0)), VIOMMU_S_INVAL);
    UT_EQ(unmap_page(9, 1), VIOMMU_S_NOENT);
    expect_trace_at_end("unmap 0 0x40000-0x40fff of 0x1000\nunmap 1 0x40000-0x40fff of 0x1000\n"
                        "unpin 0-0xfff rw\n");
    UT_EQ(viommu_n_mappings(rig.v), 1);
    RIG_CHECK(&rig);
    stop();
}

static void outside_of_a_batch_each_is_carried_out_alone(void)
{
    UT_REQUIRE(start());
    map_pages(1, 2);
    UT_EQ(unmap_page(1, 0), VIOMMU_S_OK);
    UT_EQ(host_unmaps(), 2);
    UT_EQ(viommu_n_mappings(rig.v), 1);
    viommu_batch_begin(rig.v);
    viommu_batch_end(rig.v);
    UT_EQ(unmap_page(1, 1), VIOMMU_S_OK);
    UT_EQ(host_unmaps(), 4);
    stop();
}

/* --- when it is done ----------------------------------------------------------------------------
 */

static void begin_with_an_unmap(void)
{
    map_pages(1, 2);
    viommu_batch_begin(rig.v);
    UT_EQ(unmap_page(1, 0), VIOMMU_S_OK);
    UT_EQ(host_unmaps(), 0);
    UT_EQ(record.n_live, 1); /* out of the record with the answer */
    rig_trace_begin(&rig);
}

/* The host's unmap and the unpin are the first that happens. */
static void done_first(void)
{
    static const char first[] = "unmap 0 0x40000-0x40fff of 0x1000\n"
                                "unmap 1 0x40000-0x40fff of 0x1000\nunpin 0-0xfff rw\n";
    char *trace = rig_trace_end(&rig);

    UT_TRUE(trace && strncmp(trace, first, strlen(first)) == 0);
    free(trace);
    viommu_batch_end(rig.v);
    RIG_CHECK(&rig);
}

static void a_map_waits_for_it(void)
{
    UT_REQUIRE(start());
    begin_with_an_unmap();
    UT_EQ(rig_map(&rig, 1, page(0), page(1) - 1, 7 * PAGE, MAP_R), VIOMMU_S_OK);
    done_first();
    UT_EQ(rig_lookup(&rig, 8, page(0), false), 7 * PAGE);
    stop();
}

static void even_one_that_is_refused(void)
{
    UT_REQUIRE(start());
    begin_with_an_unmap();
    UT_EQ(rig_map(&rig, 1, page(1), page(2) - 1, 0, MAP_R), VIOMMU_S_INVAL);
    done_first();
    stop();
}

static void an_attach_waits_for_it(void)
{
    UT_REQUIRE(start());
    begin_with_an_unmap();
    UT_EQ(rig_attach(&rig, 1, 10, 0), VIOMMU_S_OK);
    done_first();
    UT_EQ(rig_lookup(&rig, 10, page(0), false), UINT64_MAX);
    UT_EQ(rig_lookup(&rig, 10, page(1), false), PAGE);
    stop();
}

static void a_detach_waits_for_it(void)
{
    UT_REQUIRE(start());
    begin_with_an_unmap();
    UT_EQ(rig_detach(&rig, 1, 8), VIOMMU_S_OK);
    done_first();
    stop();
}

static void the_last_detach_waits_for_it(void)
{
    UT_REQUIRE(start());
    UT_EQ(rig_detach(&rig, 1, 9), VIOMMU_S_OK);
    map_pages(1, 2);
    viommu_batch_begin(rig.v);
    UT_EQ(unmap_page(1, 0), VIOMMU_S_OK);
    UT_EQ(rig_detach(&rig, 1, 8), VIOMMU_S_OK);
    UT_EQ(host_unmaps(), 1);
    UT_EQ(unmap_page(1, 1), VIOMMU_S_NOENT);
    viommu_batch_end(rig.v);
    RIG_CHECK(&rig);
    stop();
}

static void a_probe_waits_for_it(void)
{
    UT_REQUIRE(start());
    begin_with_an_unmap();
    UT_EQ(rig_probe(&rig, 8), VIOMMU_S_OK);
    done_first();
    stop();
}

static void a_translation_waits_for_it(void)
{
    UT_REQUIRE(start());
    begin_with_an_unmap();
    UT_EQ(rig_lookup(&rig, 8, page(0), false), UINT64_MAX);
    done_first();
    stop();
}

static void a_removal_waits_for_it(void)
{
    UT_REQUIRE(start());
    begin_with_an_unmap();
    UT_EQ(viommu_endpoint_remove(rig.v, 9), 0);
    done_first();
    stop();
}

static void a_reset_waits_for_it(void)
{
    UT_REQUIRE(start());
    begin_with_an_unmap();
    viommu_reset(rig.v);
    done_first();
    UT_EQ(viommu_n_vdomains(rig.v), 0);
    stop();
}

int main(int argc, char **argv)
{
    static const struct ut_case cases[] = {
        UT_CASE(ascending_unmaps_become_one_in_each_space),
        UT_CASE(so_do_descending_ones),
        UT_CASE(and_those_that_grow_both_ways),
        UT_CASE(what_the_host_does_not_map_is_not_counted),
        UT_CASE(nothing_mapped_is_no_call),
        UT_CASE(all_addresses_join),
        UT_CASE(a_gap_starts_another),
        UT_CASE(another_vdomain_starts_another),
        UT_CASE(an_overlap_is_judged_by_what_is_left),
        UT_CASE(a_refused_unmap_leaves_the_joined_range_alone),
        UT_CASE(outside_of_a_batch_each_is_carried_out_alone),
        UT_CASE(a_map_waits_for_it),
        UT_CASE(even_one_that_is_refused),
        UT_CASE(an_attach_waits_for_it),
        UT_CASE(a_detach_waits_for_it),
        UT_CASE(the_last_detach_waits_for_it),
        UT_CASE(a_probe_waits_for_it),
        UT_CASE(a_translation_waits_for_it),
        UT_CASE(a_removal_waits_for_it),
        UT_CASE(a_reset_waits_for_it),
    };

    return ut_main(argc, argv, "viommu_batch", cases, ARRAY_SIZE(cases));
}
