/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What an observer hears of a device (struct viommu_observer), and a device that is built anew from
 * such a record: attachments and mappings as they were, checked as if the guest asked for them.
 */
#include <config.h>

#include "tests/support/viommu_rig.h"

#include <errno.h>
#include <string.h>

#define BYPASS    VIOMMU_ATTACH_F_BYPASS
#define ENDPOINTS 4u  /* 8 to 11 */
#define TAGS      16u /* of mappings */

static struct rig rig;

static struct {
    struct viommu_attachment at[ENDPOINTS];
    enum viommu_status status; /* of the last news of an endpoint */
    struct {
        bool live;
        uint32_t vdomain;
        struct imap_entry entry;
    } maps[TAGS];
    uint32_t asked;  /* the last tag that was asked for */
    bool full;       /* takes no attachment */
    unsigned news;   /* of endpoints */
    unsigned errors; /* calls that make no sense */
} record;

static uint32_t next_tag(void *ctx)
{
    record.errors += ctx != &record;
    record.asked = 0;
    while (record.asked < TAGS - 1 && record.maps[record.asked].live)
        record.asked++;
    return record.asked;
}

static void mapped(void *ctx, uint32_t vdomain, const struct imap_entry *entry)
{
    record.errors += ctx != &record || entry->tag != record.asked || record.maps[entry->tag].live;
    record.maps[record.asked].live = true;
    record.maps[record.asked].vdomain = vdomain;
    record.maps[record.asked].entry = *entry;
}

static void unmapped(void *ctx, uint32_t tag)
{
    record.errors += ctx != &record || tag >= TAGS || !record.maps[tag].live;
    record.maps[tag % TAGS].live = false;
}

static int attaching(void *ctx, uint32_t endpoint)
{
    record.errors += ctx != &record || endpoint < 8 || endpoint >= 8 + ENDPOINTS;
    return record.full ? -ENOMEM : 0;
}

static void attached(void *ctx, uint32_t endpoint, const struct viommu_attachment *now,
                     enum viommu_status status)
{
    record.errors += ctx != &record || endpoint < 8 || endpoint >= 8 + ENDPOINTS;
    record.at[(endpoint - 8) % ENDPOINTS] = *now;
    record.status = status;
    record.news++;
}

static const struct viommu_observer observer = {.next_tag = next_tag,
                                                .mapped = mapped,
                                                .unmapped = unmapped,
                                                .attaching = attaching,
                                                .attached = attached};

static bool start(void)
{
    if (!rig_start(&rig, NULL))
        return false;
    for (uint32_t i = 0; i < ENDPOINTS; i++) {
        /* A driver of guest addresses, so that the host's tables of two devices can be compared. */
        if (rig_add(&rig, 8 + i, &model_host_frame_ops) != 0)
            return false;
    }
    return true;
}

static bool start_observed(void)
{
    memset(&record, 0, sizeof(record));
    if (!start())
        return false;
    viommu_observe(rig.v, &observer, &record);
    return true;
}

static size_t recorded_maps(void)
{
    size_t n = 0;

    for (size_t i = 0; i < TAGS; i++)
        n += record.maps[i].live;
    return n;
}

/* The record says of every endpoint and mapping what the device says. */
static void expect_true_record(void)
{
    struct viommu_endpoint_info ep;
    struct imap_entry e;

    UT_EQ(record.errors, 0);
    for (uint32_t i = 0; i < ENDPOINTS; i++) {
        UT_REQUIRE(viommu_endpoint_next(rig.v, 8 + i, &ep));
        UT_EQ(record.at[i].attached, ep.attached);
        UT_EQ(record.at[i].vdomain, ep.vdomain);
        UT_EQ(record.at[i].attached && record.at[i].bypass, ep.attached && ep.bypass);
    }
    UT_EQ(recorded_maps(), viommu_n_mappings(rig.v));
    for (uint32_t tag = 0; tag < TAGS; tag++) {
        const struct imap_entry *said = &record.maps[tag].entry;

        if (!record.maps[tag].live)
            continue;
        UT_REQUIRE(viommu_mapping_next(rig.v, record.maps[tag].vdomain, said->range.first, &e));
        UT_EQ(memcmp(&e, said, sizeof(e)), 0);
        UT_EQ(e.tag, tag);
    }
}

static void stop(void)
{
    viommu_observe(rig.v, NULL, NULL);
    rig_stop(&rig);
}

/* 8 and 9 in vdomain 1 with two mappings, 10 in vdomain 2 with one, 11 in a bypass vdomain. */
static void fill(void)
{
    UT_EQ(rig_attach(&rig, 1, 8, 0), VIOMMU_S_OK);
    UT_EQ(rig_attach(&rig, 1, 9, 0), VIOMMU_S_OK);
    UT_EQ(rig_attach(&rig, 2, 10, 0), VIOMMU_S_OK);
    UT_EQ(rig_attach(&rig, 3, 11, BYPASS), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 1, 0, PAGE - 1, 4 * PAGE, MAP_RW), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 2, 0, PAGE - 1, 5 * PAGE, MAP_R), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 1, 2 * PAGE, 4 * PAGE - 1, 6 * PAGE, MAP_W), VIOMMU_S_OK);
}

static void record_follows_every_request(void)
{
    UT_REQUIRE(start_observed());
    fill();
    UT_EQ(record.news, 4);
    expect_true_record();
    UT_EQ(rig_unmap(&rig, 1, 0, PAGE - 1), VIOMMU_S_OK);
    expect_true_record();
    UT_EQ(rig_attach(&rig, 2, 8, 0), VIOMMU_S_OK);
    expect_true_record();
    UT_EQ(rig_attach(&rig, 2, 9, 0), VIOMMU_S_OK); /* the last of vdomain 1 */
    expect_true_record();
    UT_EQ(recorded_maps(), 1);
    UT_EQ(rig_detach(&rig, 3, 11), VIOMMU_S_OK);
    expect_true_record();
    UT_EQ(record.status, VIOMMU_S_OK);
    stop();
}

static void refused_requests_are_no_news(void)
{
    UT_REQUIRE(start_observed());
    fill();
    UT_EQ(rig_map(&rig, 1, 0, PAGE - 1, 0, MAP_R), VIOMMU_S_INVAL);
    UT_EQ(rig_unmap(&rig, 1, 2 * PAGE, 3 * PAGE - 1), VIOMMU_S_RANGE);
    model_host_fail(&rig.host, HOST_MAP, 1, 1, -ENOSPC);
    UT_EQ(rig_map(&rig, 1, 8 * PAGE, 9 * PAGE - 1, 0, MAP_R), VIOMMU_S_NOMEM);
    UT_EQ(rig_detach(&rig, 9, 8), VIOMMU_S_INVAL);
    UT_EQ(rig_attach(&rig, 1, 9, 0), VIOMMU_S_OK); /* where it is already */
    UT_EQ(record.news, 4);
    expect_true_record();
    stop();
}

static void attach_that_cannot_be_recorded_is_nomem(void)
{
    UT_REQUIRE(start_observed());
    fill();
    record.full = true;
    RIG_REFUSED(&rig, rig_attach(&rig, 2, 8, 0), VIOMMU_S_NOMEM);
    RIG_REFUSED(&rig, rig_attach(&rig, 7, 8, 0), VIOMMU_S_NOMEM);
    UT_EQ(rig_attach(&rig, 1, 8, 0), VIOMMU_S_OK); /* where it is already */
    expect_true_record();
    UT_EQ(rig_detach(&rig, 1, 8), VIOMMU_S_OK);
    expect_true_record();
    stop();
}

/* The one request that fails and changes something: the record has to say both. */
static void endpoint_that_nobody_takes_is_recorded_with_its_answer(void)
{
    UT_REQUIRE(start_observed());
    fill();
    model_host_fail(&rig.host, HOST_ATTACH, 1, 9, -EBUSY);
    UT_EQ(rig_attach(&rig, 2, 8, 0), VIOMMU_S_DEVERR);
    UT_EQ(record.status, VIOMMU_S_DEVERR);
    UT_EQ(record.news, 5);
    UT_FALSE(record.at[0].attached);
    expect_true_record();
    stop();
}

static void reset_and_removal_empty_the_record(void)
{
    UT_REQUIRE(start_observed());
    fill();
    UT_EQ(viommu_endpoint_remove(rig.v, 10), 0);
    UT_FALSE(record.at[2].attached);
    UT_EQ(record.status, VIOMMU_S_OK);
    UT_EQ(recorded_maps(), 2);
    UT_EQ(record.news, 5);
    viommu_reset(rig.v);
    UT_EQ(record.news, 8);
    for (size_t i = 0; i < ENDPOINTS; i++)
        UT_FALSE(record.at[i].attached);
    UT_EQ(recorded_maps(), 0);
    viommu_reset(rig.v); /* nothing is anywhere: no news */
    UT_EQ(viommu_endpoint_remove(rig.v, 11), 0);
    UT_EQ(record.news, 8);
    UT_EQ(record.errors, 0);
    stop();
}

static void what_is_not_observed_any_more_is_no_news(void)
{
    UT_REQUIRE(start_observed());
    fill();
    viommu_observe(rig.v, NULL, NULL);
    viommu_reset(rig.v);
    UT_EQ(record.news, 4);
    UT_EQ(recorded_maps(), 3);
    stop();
}

static void successor_is_what_the_record_says(void)
{
    char *before, *after;

    UT_REQUIRE(start_observed());
    fill();
    before = rig_dump(&rig);
    viommu_observe(rig.v, NULL, NULL);
    rig_stop(&rig); /* the record stays as it is */
    UT_REQUIRE(start());
    for (uint32_t i = 0; i < ENDPOINTS; i++)
        UT_EQ(viommu_restore_attachment(rig.v, 8 + i, &record.at[i]), VIOMMU_S_OK);
    for (uint32_t tag = 0; tag < TAGS; tag++) {
        if (record.maps[tag].live)
            UT_EQ(viommu_restore_mapping(rig.v, record.maps[tag].vdomain, &record.maps[tag].entry),
                  VIOMMU_S_OK);
    }
    after = rig_dump(&rig);
    UT_STR(after, before);
    expect_true_record(); /* tags are kept */
    RIG_CHECK(&rig);
    free(before);
    free(after);
    rig_stop(&rig);
}

/* A record is input like any other. */
static void impossible_records_are_refused(void)
{
    struct viommu_attachment a = {.attached = true, .vdomain = 1};
    struct imap_entry entry = {.range = {0, PAGE - 1}, .flags = MAP_R};

    UT_REQUIRE(start());
    RIG_REFUSED(&rig, viommu_restore_attachment(rig.v, 99, &a), VIOMMU_S_NOENT);
    RIG_REFUSED(&rig, viommu_restore_mapping(rig.v, 1, &entry), VIOMMU_S_NOENT);
    UT_EQ(viommu_restore_attachment(rig.v, 8, &a), VIOMMU_S_OK);
    a.bypass = true;
    RIG_REFUSED(&rig, viommu_restore_attachment(rig.v, 9, &a), VIOMMU_S_INVAL);
    entry.flags = 1u << 31;
    RIG_REFUSED(&rig, viommu_restore_mapping(rig.v, 1, &entry), VIOMMU_S_INVAL);
    entry.flags = MAP_R;
    entry.value = 1;
    RIG_REFUSED(&rig, viommu_restore_mapping(rig.v, 1, &entry), VIOMMU_S_RANGE);
    rig_stop(&rig);
}

int main(int argc, char **argv)
{
    static const struct ut_case cases[] = {
        UT_CASE(record_follows_every_request),
        UT_CASE(refused_requests_are_no_news),
        UT_CASE(attach_that_cannot_be_recorded_is_nomem),
        UT_CASE(endpoint_that_nobody_takes_is_recorded_with_its_answer),
        UT_CASE(reset_and_removal_empty_the_record),
        UT_CASE(what_is_not_observed_any_more_is_no_news),
        UT_CASE(successor_is_what_the_record_says),
        UT_CASE(impossible_records_are_refused),
    };

    return ut_main(argc, argv, "viommu_record", cases, ARRAY_SIZE(cases));
}
