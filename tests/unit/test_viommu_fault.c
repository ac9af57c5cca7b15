/* SPDX-License-Identifier: GPL-2.0-only */
/* Translation verdicts and the queue of fault reports. */
#include <config.h>

#include "common/le.h"
#include "tests/support/viommu_rig.h"

#include <errno.h>
#include <string.h>

static struct rig rig;

static bool start(void)
{
    return rig_start(&rig, NULL) && rig_add_soft(&rig, 8) == 0;
}

static void expect_fault(struct range iova, bool write, enum viommu_fault_reason reason,
                         uint64_t address)
{
    struct viommu_fault fault = {.endpoint = 99};
    struct range gpa;

    UT_EQ(viommu_translate(rig.v, 8, iova, write, &gpa, &fault), -EACCES);
    UT_EQ(fault.reason, reason);
    UT_EQ(fault.flags,
          VIOMMU_FAULT_F_ADDRESS | (write ? VIOMMU_FAULT_F_WRITE : VIOMMU_FAULT_F_READ));
    UT_EQ(fault.endpoint, 8);
    UT_EQ(fault.address, address);
}

static void expect_gpa(struct range iova, struct range want)
{
    struct viommu_fault fault;
    struct range gpa;

    UT_EQ(viommu_translate(rig.v, 8, iova, false, &gpa, &fault), 0);
    UT_EQ(gpa.first, want.first);
    UT_EQ(gpa.last, want.last);
}

static void reasons_follow_the_tables(void)
{
    UT_REQUIRE(start());
    expect_fault((struct range){0x10, 0x1f}, false, VIOMMU_FAULT_R_DOMAIN, 0x10);
    UT_EQ(rig_attach(&rig, 1, 8, 0), VIOMMU_S_OK);
    expect_fault((struct range){0x10, 0x1f}, true, VIOMMU_FAULT_R_MAPPING, 0x10);
    UT_EQ(rig_map(&rig, 1, PAGE, 2 * PAGE - 1, 0, MAP_R), VIOMMU_S_OK);
    expect_fault((struct range){PAGE, PAGE}, true, VIOMMU_FAULT_R_MAPPING, PAGE);
    UT_EQ(rig_detach(&rig, 1, 8), VIOMMU_S_OK);
    expect_fault((struct range){0, UINT64_MAX}, true, VIOMMU_FAULT_R_DOMAIN, 0);
    UT_EQ(viommu_faults_queued(rig.v), 0); /* translating reports nothing yet */
    rig_stop(&rig);
}

/* ARCHITECTURE.md section 8: translation is exact to the byte (QEMU's is one byte too generous) */
static void translation_is_exact_to_the_byte(void)
{
    UT_REQUIRE(start());
    UT_EQ(rig_attach(&rig, 1, 8, 0), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 1, 0x2000, 0x2fff, 0x500000, MAP_RW), VIOMMU_S_OK);
    expect_fault((struct range){0x1fff, 0x1fff}, true, VIOMMU_FAULT_R_MAPPING, 0x1fff);
    expect_fault((struct range){0x1fff, 0x2000}, true, VIOMMU_FAULT_R_MAPPING, 0x1fff);
    expect_fault((struct range){0x3000, 0x3000}, false, VIOMMU_FAULT_R_MAPPING, 0x3000);
    expect_gpa((struct range){0x2000, 0x2000}, (struct range){0x500000, 0x500000});
    expect_gpa((struct range){0x2fff, 0x2fff}, (struct range){0x500fff, 0x500fff});
    expect_gpa((struct range){0x2ff0, 0x300f}, (struct range){0x500ff0, 0x500fff}); /* prefix */
    rig_stop(&rig);
}

static void contiguous_mappings_make_one_piece(void)
{
    UT_REQUIRE(start());
    UT_EQ(rig_attach(&rig, 1, 8, 0), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 1, 0x0000, 0x0fff, 0x8000, MAP_RW), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 1, 0x1000, 0x1fff, 0x9000, MAP_R), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 1, 0x2000, 0x2fff, 0xa000, MAP_W), VIOMMU_S_OK); /* no read */
    UT_EQ(rig_map(&rig, 1, 0x4000, 0x4fff, 0x10000, MAP_R), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 1, 0x5000, 0x5fff, 0x20000, MAP_R), VIOMMU_S_OK); /* elsewhere */
    expect_gpa((struct range){0x10, 0x1fff}, (struct range){0x8010, 0x9fff});
    expect_gpa((struct range){0x10, 0x2fff}, (struct range){0x8010, 0x9fff});
    expect_gpa((struct range){0x4000, 0x5fff}, (struct range){0x10000, 0x10fff});
    expect_gpa((struct range){0x4000, UINT64_MAX}, (struct range){0x10000, 0x10fff});
    rig_stop(&rig);
}

/* Guest memory that ends at 2^64 - 1 is not continued by what begins at 0. */
static void pieces_do_not_continue_beyond_the_top(void)
{
    UT_REQUIRE(start());
    UT_REQUIRE(
        model_space_add(&rig.mem, (struct range){UINT64_MAX - 0xfff, UINT64_MAX}, false, false));
    UT_EQ(rig_attach(&rig, 1, 8, 0), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 1, 0x1000, 0x1fff, UINT64_MAX - 0xfff, MAP_R), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 1, 0x2000, 0x2fff, 0, MAP_R), VIOMMU_S_OK);
    expect_gpa((struct range){0x1000, 0x2fff}, (struct range){UINT64_MAX - 0xfff, UINT64_MAX});
    rig_stop(&rig);
}

static void bypass_translates_to_itself(void)
{
    UT_REQUIRE(start());
    UT_EQ(viommu_bypass_write(rig.v, 1), 0);
    expect_gpa((struct range){0, UINT64_MAX}, (struct range){0, UINT64_MAX});
    expect_gpa((struct range){UINT64_MAX, UINT64_MAX}, (struct range){UINT64_MAX, UINT64_MAX});
    rig_stop(&rig);
}

static void bad_arguments_are_errors(void)
{
    struct viommu_fault fault;
    struct range gpa;

    UT_REQUIRE(start());
    UT_EQ(viommu_translate(rig.v, 9, (struct range){0, 0}, false, &gpa, &fault), -ENOENT);
    UT_EQ(viommu_translate(rig.v, 8, (struct range){1, 0}, false, &gpa, &fault), -EINVAL);
    rig_stop(&rig);
}

/* D52, D53, D54 */
static void report_has_24_clean_bytes(void)
{
    struct viommu_fault fault = {
        .reason = VIOMMU_FAULT_R_MAPPING,
        .flags = UINT32_MAX,
        .endpoint = 8,
        .address = 0x1122334455667788,
    };
    static const uint8_t want[VIOMMU_FAULT_SIZE] = {2,    0,    0,    0,    3,    1,    0,    0,
                                                    8,    0,    0,    0,    0,    0,    0,    0,
                                                    0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11};
    uint8_t out[VIOMMU_FAULT_SIZE];

    UT_REQUIRE(start());
    UT_TRUE(viommu_report_fault(rig.v, &fault));
    memset(out, 0xff, sizeof(out));
    UT_TRUE(viommu_fault_peek(rig.v, out));
    UT_EQ(memcmp(out, want, sizeof(out)), 0);
    rig_stop(&rig);
}

/* D55 */
static void address_is_zero_when_left_out(void)
{
    struct viommu_fault fault = {.flags = VIOMMU_FAULT_F_READ, .endpoint = 8, .address = 0x1234};
    uint8_t out[VIOMMU_FAULT_SIZE];

    UT_REQUIRE(start());
    UT_TRUE(viommu_report_fault(rig.v, &fault));
    UT_TRUE(viommu_fault_peek(rig.v, out));
    UT_EQ(le32_load(out + 4), VIOMMU_FAULT_F_READ);
    UT_EQ(le64_load(out + 16), 0);
    rig_stop(&rig);
}

/* D54 */
static void report_about_an_unknown_endpoint_is_lost(void)
{
    struct viommu_fault fault = {.endpoint = 9};

    UT_REQUIRE(start());
    UT_FALSE(viommu_report_fault(rig.v, &fault));
    UT_EQ(viommu_faults_queued(rig.v), 0);
    UT_EQ(viommu_counters(rig.v)->faults_lost, 1);
    rig_stop(&rig);
}

/* N10 and ARCHITECTURE.md section 8: queued, bounded, losses counted; the oldest are kept */
static void queue_is_bounded_keeps_the_oldest_and_counts_losses(void)
{
    struct viommu_config c = VIOMMU_CONFIG_DEFAULT;
    uint8_t out[VIOMMU_FAULT_SIZE];

    c.max_faults = 4;
    UT_REQUIRE(rig_start(&rig, &c));
    UT_EQ(rig_add_soft(&rig, 8), 0);
    for (int round = 0; round < 3; round++) { /* more than once around the ring */
        for (uint64_t i = 0; i < 6; i++) {
            struct viommu_fault fault = {
                .flags = VIOMMU_FAULT_F_ADDRESS, .endpoint = 8, .address = i};

            UT_EQ(viommu_report_fault(rig.v, &fault), i < 4);
        }
        UT_EQ(viommu_faults_queued(rig.v), 4);
        for (uint64_t i = 0; i < 3; i++) {
            UT_TRUE(viommu_fault_peek(rig.v, out));
            UT_EQ(le64_load(out + 16), i);
            viommu_fault_drop(rig.v);
        }
        UT_EQ(viommu_faults_queued(rig.v), 1);
        viommu_fault_drop(rig.v);
    }
    UT_FALSE(viommu_fault_peek(rig.v, out));
    viommu_fault_drop(rig.v); /* of none: harmless */
    UT_EQ(viommu_faults_queued(rig.v), 0);
    UT_EQ(viommu_counters(rig.v)->faults, 18);
    UT_EQ(viommu_counters(rig.v)->faults_lost, 6);
    viommu_fault_lost(rig.v);
    UT_EQ(viommu_counters(rig.v)->faults_lost, 7);
    rig_stop(&rig);
}

/* Wherever in the ring the queue was: its slots are all there is, also after a reset. */
static void queue_of_one_works_again_after_a_reset(void)
{
    struct viommu_config c = VIOMMU_CONFIG_DEFAULT;
    struct viommu_fault fault = {.flags = VIOMMU_FAULT_F_ADDRESS, .endpoint = 8, .address = 5};
    uint8_t out[VIOMMU_FAULT_SIZE];

    c.max_faults = 1;
    UT_REQUIRE(rig_start(&rig, &c));
    UT_EQ(rig_add_soft(&rig, 8), 0);
    UT_TRUE(viommu_report_fault(rig.v, &fault));
    viommu_reset(rig.v);
    UT_EQ(viommu_faults_queued(rig.v), 0);
    fault.address = 6;
    UT_TRUE(viommu_report_fault(rig.v, &fault));
    UT_FALSE(viommu_report_fault(rig.v, &fault));
    UT_TRUE(viommu_fault_peek(rig.v, out));
    UT_EQ(le64_load(out + 16), 6);
    rig_stop(&rig);
}

static void no_queue_at_all_loses_every_report(void)
{
    struct viommu_config c = VIOMMU_CONFIG_DEFAULT;
    struct viommu_fault fault = {.endpoint = 8};

    c.max_faults = 0;
    UT_REQUIRE(rig_start(&rig, &c));
    UT_EQ(rig_add_soft(&rig, 8), 0);
    UT_FALSE(viommu_report_fault(rig.v, &fault));
    UT_EQ(viommu_counters(rig.v)->faults_lost, 1);
    rig_stop(&rig);
}

int main(int argc, char **argv)
{
    static const struct ut_case cases[] = {
        UT_CASE(reasons_follow_the_tables),
        UT_CASE(translation_is_exact_to_the_byte),
        UT_CASE(contiguous_mappings_make_one_piece),
        UT_CASE(pieces_do_not_continue_beyond_the_top),
        UT_CASE(bypass_translates_to_itself),
        UT_CASE(bad_arguments_are_errors),
        UT_CASE(report_has_24_clean_bytes),
        UT_CASE(address_is_zero_when_left_out),
        UT_CASE(report_about_an_unknown_endpoint_is_lost),
        UT_CASE(queue_is_bounded_keeps_the_oldest_and_counts_losses),
        UT_CASE(queue_of_one_works_again_after_a_reset),
        UT_CASE(no_queue_at_all_loses_every_report),
    };

    return ut_main(argc, argv, "viommu_fault", cases, ARRAY_SIZE(cases));
}
