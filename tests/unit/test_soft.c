/* SPDX-License-Identifier: GPL-2.0-only */
/* DMA by soft endpoints: exact, checked before it touches anything, and reported when refused. */
#include <config.h>

#include "backend/iommu/soft.h"
#include "common/le.h"
#include "tests/support/viommu_rig.h"

#include <errno.h>
#include <string.h>

static struct rig rig;

#define TOP UINT64_MAX

static bool start(void)
{
    return rig_start(&rig, NULL) && rig_add_soft(&rig, 8) == 0 &&
           rig_attach(&rig, 1, 8, 0) == VIOMMU_S_OK;
}

static uint8_t *ram(uint64_t gpa)
{
    return model_space_hva(&rig.mem, gpa);
}

/* An access that must be refused: changes neither memory nor buffer, queues this report. */
static void expect_refused(uint64_t iova, size_t len, bool write, enum viommu_fault_reason reason,
                           uint32_t flags, uint64_t address)
{
    uint8_t *buf = malloc(len), report[VIOMMU_FAULT_SIZE];
    uint8_t *memory = malloc(RIG_RAM_SIZE);
    struct viommu_fault fault;
    bool untouched = true;

    UT_REQUIRE(buf && memory);
    memset(buf, 0x5a, len);
    memcpy(memory, ram(0), RIG_RAM_SIZE);
    while (viommu_faults_queued(rig.v))
        viommu_fault_drop(rig.v);
    UT_EQ(soft_dma(rig.v, 8, iova, buf, len, write, &fault), -EACCES);
    UT_EQ(memcmp(memory, ram(0), RIG_RAM_SIZE), 0);
    for (size_t i = 0; i < len; i++)
        untouched = untouched && buf[i] == 0x5a;
    UT_TRUE(untouched);
    UT_EQ(fault.reason, reason);
    UT_EQ(fault.flags, flags | (write ? VIOMMU_FAULT_F_WRITE : VIOMMU_FAULT_F_READ));
    UT_EQ(fault.endpoint, 8);
    if (flags & VIOMMU_FAULT_F_ADDRESS)
        UT_EQ(fault.address, address);
    UT_EQ(viommu_faults_queued(rig.v), 1);
    UT_TRUE(viommu_fault_peek(rig.v, report));
    UT_EQ(report[0], reason);
    UT_EQ(le64_load(report + 16), flags & VIOMMU_FAULT_F_ADDRESS ? address : 0);
    free(buf);
    free(memory);
}

static void driver_has_no_functions(void)
{
    UT_STR(soft_iommu_ops.name, "soft");
    UT_TRUE(!soft_iommu_ops.space_new && !soft_iommu_ops.space_free && !soft_iommu_ops.attach &&
            !soft_iommu_ops.detach && !soft_iommu_ops.map && !soft_iommu_ops.unmap &&
            !soft_iommu_ops.bypass);
}

static void dma_lands_where_the_mapping_says(void)
{
    char text[] = "hello, guest";
    char back[sizeof(text)];

    UT_REQUIRE(start());
    UT_EQ(rig_map(&rig, 1, 0x10000, 0x10fff, 0x8000, MAP_RW), VIOMMU_S_OK);
    UT_EQ(soft_dma(rig.v, 8, 0x10010, text, sizeof(text), true, NULL), 0);
    UT_EQ(memcmp(ram(0x8010), text, sizeof(text)), 0);
    UT_EQ(soft_dma(rig.v, 8, 0x10010, back, sizeof(back), false, NULL), 0);
    UT_STR(back, text);
    UT_EQ(rig_unmap(&rig, 1, 0x10000, 0x10fff), VIOMMU_S_OK);
    expect_refused(0x10010, 4, false, VIOMMU_FAULT_R_MAPPING, VIOMMU_FAULT_F_ADDRESS, 0x10010);
    rig_stop(&rig);
}

static void access_over_scattered_mappings_is_put_together(void)
{
    uint8_t buf[3 * 4096], back[sizeof(buf)];

    UT_REQUIRE(start());
    for (size_t i = 0; i < sizeof(buf); i++)
        buf[i] = (uint8_t)(i * 7 + i / 256);
    UT_EQ(rig_map(&rig, 1, 0x0000, 0x0fff, 0x9000, MAP_RW), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 1, 0x1000, 0x1fff, 0x5000, MAP_RW), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 1, 0x2000, 0x3fff, 0xc000, MAP_RW), VIOMMU_S_OK);
    UT_EQ(soft_dma(rig.v, 8, 0x0801, buf, sizeof(buf), true, NULL), 0);
    UT_EQ(memcmp(ram(0x9801), buf, 0x7ff), 0);
    UT_EQ(memcmp(ram(0x5000), buf + 0x7ff, 0x1000), 0);
    UT_EQ(memcmp(ram(0xc000), buf + 0x17ff, 0x1801), 0);
    UT_EQ(soft_dma(rig.v, 8, 0x0801, back, sizeof(back), false, NULL), 0);
    UT_EQ(memcmp(buf, back, sizeof(buf)), 0);
    rig_stop(&rig);
}

/* The whole access is translated before a byte moves; the report has the first faulting byte. */
static void access_that_faults_later_on_changes_nothing(void)
{
    UT_REQUIRE(start());
    UT_EQ(rig_map(&rig, 1, 0x0000, 0x0fff, 0x9000, MAP_RW), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 1, 0x1000, 0x1fff, 0x5000, MAP_R), VIOMMU_S_OK);
    expect_refused(0x0ff0, 0x20, true, VIOMMU_FAULT_R_MAPPING, VIOMMU_FAULT_F_ADDRESS, 0x1000);
    expect_refused(0x1ff0, 0x20, false, VIOMMU_FAULT_R_MAPPING, VIOMMU_FAULT_F_ADDRESS, 0x2000);
    expect_refused(0x0000, 0x2001, false, VIOMMU_FAULT_R_MAPPING, VIOMMU_FAULT_F_ADDRESS, 0x2000);
    rig_stop(&rig);
}

/* D32 */
static void write_through_a_read_mapping_is_refused(void)
{
    UT_REQUIRE(start());
    UT_EQ(rig_map(&rig, 1, 0, 0xfff, 0x9000, MAP_R), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 1, 0x1000, 0x1fff, 0xa000, MAP_W), VIOMMU_S_OK);
    expect_refused(0x10, 1, true, VIOMMU_FAULT_R_MAPPING, VIOMMU_FAULT_F_ADDRESS, 0x10);
    expect_refused(0x1010, 1, false, VIOMMU_FAULT_R_MAPPING, VIOMMU_FAULT_F_ADDRESS, 0x1010);
    rig_stop(&rig);
}

/* D14 */
static void unattached_endpoint_is_refused(void)
{
    UT_REQUIRE(start());
    UT_EQ(rig_detach(&rig, 1, 8), VIOMMU_S_OK);
    expect_refused(0x10, 8, true, VIOMMU_FAULT_R_DOMAIN, VIOMMU_FAULT_F_ADDRESS, 0x10);
    rig_stop(&rig);
}

static void bypass_reaches_guest_memory_and_nothing_else(void)
{
    uint32_t word = 0x11223344, back = 0;
    uint64_t end = RIG_ROM_FIRST + RIG_ROM_SIZE;

    UT_REQUIRE(start());
    UT_EQ(rig_attach(&rig, 2, 8, VIOMMU_ATTACH_F_BYPASS), VIOMMU_S_OK);
    UT_EQ(soft_dma(rig.v, 8, 0x7000, &word, 4, true, NULL), 0);
    UT_EQ(memcmp(ram(0x7000), &word, 4), 0);
    UT_EQ(soft_dma(rig.v, 8, 0x7000, &back, 4, false, NULL), 0);
    UT_EQ(back, word);
    UT_EQ(soft_dma(rig.v, 8, end - 4, &back, 4, false, NULL), 0);
    /* the address is that of the first byte that is no guest memory, or not writable */
    expect_refused(end, 4, false, VIOMMU_FAULT_R_UNKNOWN, VIOMMU_FAULT_F_ADDRESS, end);
    expect_refused(end - 3, 4, false, VIOMMU_FAULT_R_UNKNOWN, VIOMMU_FAULT_F_ADDRESS, end);
    expect_refused(end - 3, 0x5000, false, VIOMMU_FAULT_R_UNKNOWN, VIOMMU_FAULT_F_ADDRESS, end);
    expect_refused(RIG_ROM_FIRST - 1, 2, true, VIOMMU_FAULT_R_UNKNOWN, VIOMMU_FAULT_F_ADDRESS,
                   RIG_ROM_FIRST);
    expect_refused(TOP, 1, false, VIOMMU_FAULT_R_UNKNOWN, VIOMMU_FAULT_F_ADDRESS, TOP);
    rig_stop(&rig);
}

static void empty_access_and_unknown_endpoint_are_errors(void)
{
    uint8_t byte = 0;

    UT_REQUIRE(start());
    UT_EQ(soft_dma(rig.v, 8, 0, &byte, 0, true, NULL), -EINVAL);
    UT_EQ(soft_dma(rig.v, 9, 0, &byte, 1, true, NULL), -ENOENT);
    UT_EQ(viommu_faults_queued(rig.v), 0);
    rig_stop(&rig);
}

static void access_that_wraps_is_refused(void)
{
    uint8_t byte = 7;

    UT_REQUIRE(start());
    /* unmapped: the ordinary report */
    expect_refused(TOP - 1, 4, true, VIOMMU_FAULT_R_MAPPING, VIOMMU_FAULT_F_ADDRESS, TOP - 1);
    UT_EQ(rig_map(&rig, 1, TOP - 0xfff, TOP, 0x8000, MAP_RW), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 1, 0, 0xfff, 0x9000, MAP_RW), VIOMMU_S_OK);
    UT_EQ(soft_dma(rig.v, 8, TOP, &byte, 1, true, NULL), 0);
    UT_EQ(*ram(0x8fff), 7);
    /* mapped on both sides: there is no address after the last one */
    expect_refused(TOP, 2, true, VIOMMU_FAULT_R_UNKNOWN, 0, 0);
    expect_refused(TOP - 0xfff, 0x1001, false, VIOMMU_FAULT_R_UNKNOWN, 0, 0);
    rig_stop(&rig);
}

static void host_failure_while_copying_is_reported(void)
{
    struct viommu_fault fault;
    uint32_t word = 1;

    UT_REQUIRE(start());
    UT_EQ(rig_map(&rig, 1, 0, 0xfff, 0x8000, MAP_RW), VIOMMU_S_OK);
    model_space_fail(&rig.mem, SPACE_WRITE, 1, -EIO);
    UT_EQ(soft_dma(rig.v, 8, 0x10, &word, 4, true, &fault), -EIO);
    UT_EQ(fault.reason, VIOMMU_FAULT_R_UNKNOWN);
    UT_EQ(fault.address, 0x10);
    model_space_fail(&rig.mem, SPACE_READ, 1, -ENOMEM);
    UT_EQ(soft_dma(rig.v, 8, 0x10, &word, 4, false, &fault), -ENOMEM);
    UT_EQ(viommu_faults_queued(rig.v), 2);
    rig_stop(&rig);
}

static void lost_report_still_refuses(void)
{
    struct viommu_config c = VIOMMU_CONFIG_DEFAULT;
    struct viommu_fault fault;
    uint8_t byte = 0;

    c.max_faults = 1;
    UT_REQUIRE(rig_start(&rig, &c));
    UT_EQ(rig_add_soft(&rig, 8), 0);
    for (int i = 0; i < 3; i++)
        UT_EQ(soft_dma(rig.v, 8, 0, &byte, 1, true, &fault), -EACCES);
    UT_EQ(viommu_faults_queued(rig.v), 1);
    UT_EQ(viommu_counters(rig.v)->faults, 3);
    UT_EQ(viommu_counters(rig.v)->faults_lost, 2);
    rig_stop(&rig);
}

int main(int argc, char **argv)
{
    static const struct ut_case cases[] = {
        UT_CASE(driver_has_no_functions),
        UT_CASE(dma_lands_where_the_mapping_says),
        UT_CASE(access_over_scattered_mappings_is_put_together),
        UT_CASE(access_that_faults_later_on_changes_nothing),
        UT_CASE(write_through_a_read_mapping_is_refused),
        UT_CASE(unattached_endpoint_is_refused),
        UT_CASE(bypass_reaches_guest_memory_and_nothing_else),
        UT_CASE(empty_access_and_unknown_endpoint_are_errors),
        UT_CASE(access_that_wraps_is_refused),
        UT_CASE(host_failure_while_copying_is_reported),
        UT_CASE(lost_report_still_refuses),
    };

    return ut_main(argc, argv, "soft", cases, ARRAY_SIZE(cases));
}
