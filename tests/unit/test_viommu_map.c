/* SPDX-License-Identifier: GPL-2.0-only */
/* MAP, clause by clause. */
#include <config.h>

#include "backend/iommu/soft.h"
#include "common/le.h"
#include "tests/support/viommu_rig.h"

#include <errno.h>

static struct rig rig;

#define BYPASS VIOMMU_ATTACH_F_BYPASS
#define TOP    UINT64_MAX

/* Soft endpoint 8 and model endpoint 9 in vdomain 1. */
static bool start_with(const struct viommu_config *config)
{
    return rig_start(&rig, config) && rig_add_soft(&rig, 8) == 0 &&
           rig_add(&rig, 9, &model_host_ops) == 0 && rig_attach(&rig, 1, 8, 0) == VIOMMU_S_OK &&
           rig_attach(&rig, 1, 9, 0) == VIOMMU_S_OK;
}

static bool start(void)
{
    return start_with(NULL);
}

static void mapping_translates_to_the_byte(void)
{
    struct imap_entry e;

    UT_REQUIRE(start());
    UT_EQ(rig_map(&rig, 1, 0x10000, 0x12fff, 0x7000, MAP_RW), VIOMMU_S_OK);
    UT_EQ(rig_lookup(&rig, 8, 0xffff, false), UINT64_MAX);
    UT_EQ(rig_lookup(&rig, 8, 0x10000, false), 0x7000);
    UT_EQ(rig_lookup(&rig, 8, 0x12fff, true), 0x9fff);
    UT_EQ(rig_lookup(&rig, 8, 0x13000, false), UINT64_MAX);
    UT_TRUE(viommu_mapping_next(rig.v, 1, 0, &e));
    UT_EQ(e.range.first, 0x10000);
    UT_EQ(e.range.last, 0x12fff);
    UT_EQ(e.value, 0x7000);
    UT_EQ(e.flags, MAP_RW);
    UT_FALSE(viommu_mapping_next(rig.v, 1, 0x13000, &e));
    UT_FALSE(viommu_mapping_next(rig.v, 2, 0, &e));
    RIG_CHECK(&rig);
    rig_stop(&rig);
}

/* D29: each bit; V18 */
static void unknown_flag_is_inval(void)
{
    UT_REQUIRE(start());
    for (unsigned bit = 3; bit < 32; bit++)
        RIG_REFUSED(&rig, rig_map(&rig, 1, 0, PAGE - 1, 0, MAP_RW | 1u << bit), VIOMMU_S_INVAL);
    rig_stop(&rig);
}

/* A5, V24 */
static void mmio_needs_to_be_negotiated(void)
{
    UT_REQUIRE(start());
    UT_EQ(viommu_set_features(rig.v, VIOMMU_F_ALL & ~VIOMMU_F_MMIO), 0);
    RIG_REFUSED(&rig, rig_map(&rig, 1, 0, PAGE - 1, 0, MAP_RW | VIOMMU_MAP_F_MMIO), VIOMMU_S_INVAL);
    UT_EQ(viommu_set_features(rig.v, VIOMMU_F_ALL), 0);
    UT_EQ(rig_map(&rig, 1, 0, PAGE - 1, 0, MAP_RW | VIOMMU_MAP_F_MMIO), VIOMMU_S_OK);
    RIG_CHECK(&rig); /* the host got HOST_PROT_MMIO */
    rig_stop(&rig);
}

/* D30, D31, V19 */
static void map_needs_an_ordinary_vdomain(void)
{
    UT_REQUIRE(start());
    RIG_REFUSED(&rig, rig_map(&rig, 2, 0, PAGE - 1, 0, MAP_R), VIOMMU_S_NOENT);
    UT_EQ(rig_attach(&rig, 2, 8, BYPASS), VIOMMU_S_OK);
    RIG_REFUSED(&rig, rig_map(&rig, 2, 0, PAGE - 1, 0, MAP_R), VIOMMU_S_INVAL);
    rig_stop(&rig);
}

/* A1, V20 and ARCHITECTURE.md section 8 */
static void inverted_map_is_inval(void)
{
    UT_REQUIRE(start());
    RIG_REFUSED(&rig, rig_map(&rig, 1, PAGE, PAGE - 1, 0, MAP_R), VIOMMU_S_INVAL);
    RIG_REFUSED(&rig, rig_map(&rig, 1, 1, 0, 0, MAP_R), VIOMMU_S_INVAL);
    RIG_REFUSED(&rig, rig_map(&rig, 1, TOP, 0, 0, MAP_R), VIOMMU_S_INVAL);
    RIG_REFUSED(&rig, rig_map(&rig, 1, 4 * PAGE, PAGE - 1, 0, MAP_R), VIOMMU_S_INVAL);
    rig_stop(&rig);
}

/* D27, A1 */
static void unaligned_map_is_range(void)
{
    UT_REQUIRE(start());
    RIG_REFUSED(&rig, rig_map(&rig, 1, 1, PAGE - 1, 0, MAP_R), VIOMMU_S_RANGE);
    RIG_REFUSED(&rig, rig_map(&rig, 1, 0, PAGE, 0, MAP_R), VIOMMU_S_RANGE);
    RIG_REFUSED(&rig, rig_map(&rig, 1, 0, PAGE - 2, 0, MAP_R), VIOMMU_S_RANGE);
    RIG_REFUSED(&rig, rig_map(&rig, 1, 0, PAGE - 1, 0x800, MAP_R), VIOMMU_S_RANGE);
    RIG_REFUSED(&rig, rig_map(&rig, 1, 0, PAGE - 1, 1, MAP_R), VIOMMU_S_RANGE);
    RIG_REFUSED(&rig, rig_map(&rig, 1, 0, 0, 0, MAP_R), VIOMMU_S_RANGE); /* one byte */
    RIG_REFUSED(&rig, rig_map(&rig, 1, TOP, TOP, 0, MAP_R), VIOMMU_S_RANGE);
    rig_stop(&rig);
}

/* D4, D5: the lowest bit is the granule, whatever else is set */
static void granule_is_the_lowest_bit_of_the_mask(void)
{
    struct viommu_config c = VIOMMU_CONFIG_DEFAULT;

    c.page_size_mask = 0x40210000; /* 64 KiB, 2 MiB, 1 GiB */
    UT_REQUIRE(start_with(&c));
    RIG_REFUSED(&rig, rig_map(&rig, 1, 0, 0xfff, 0, MAP_R), VIOMMU_S_RANGE);
    RIG_REFUSED(&rig, rig_map(&rig, 1, 0, 0xffff, 0x1000, MAP_R), VIOMMU_S_RANGE);
    UT_EQ(rig_map(&rig, 1, 0, 0x2ffff, 0x10000, MAP_R), VIOMMU_S_OK);
    rig_stop(&rig);
}

/* A1: bit 0 set; T11: a 1500-byte mapping */
static void byte_granule_maps_1500_bytes_and_single_ones(void)
{
    struct viommu_config c = VIOMMU_CONFIG_DEFAULT;

    c.page_size_mask = 1;
    UT_REQUIRE(start_with(&c));
    UT_EQ(rig_map(&rig, 1, 7, 7 + 1499, 0x1235, MAP_RW), VIOMMU_S_OK);
    UT_EQ(rig_lookup(&rig, 8, 6, false), UINT64_MAX);
    UT_EQ(rig_lookup(&rig, 8, 7, true), 0x1235);
    UT_EQ(rig_lookup(&rig, 8, 7 + 1499, true), 0x1235 + 1499);
    UT_EQ(rig_lookup(&rig, 8, 7 + 1500, false), UINT64_MAX);
    UT_EQ(rig_map(&rig, 1, 6, 6, 0x9999, MAP_R), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 1, TOP, TOP, 0x9998, MAP_R), VIOMMU_S_OK);
    UT_EQ(rig_lookup(&rig, 8, TOP, false), 0x9998);
    RIG_REFUSED(&rig, rig_map(&rig, 1, 1506, 1506, 0, MAP_R), VIOMMU_S_INVAL);
    RIG_CHECK(&rig);
    RIG_REFUSED(&rig, rig_unmap(&rig, 1, 7, 1000), VIOMMU_S_RANGE);
    UT_EQ(rig_unmap(&rig, 1, 7, 1506), VIOMMU_S_OK);
    UT_EQ(viommu_n_mappings(rig.v), 2);
    rig_stop(&rig);
}

/* A2, N2, V11: enforced whether negotiated or not */
static void map_outside_the_input_range_is_range(void)
{
    struct viommu_config c = VIOMMU_CONFIG_DEFAULT;

    c.input_range = (struct range){0x10000, 0x1ffff};
    UT_REQUIRE(start_with(&c));
    for (int pass = 0; pass < 2; pass++) {
        RIG_REFUSED(&rig, rig_map(&rig, 1, 0xf000, 0xffff, 0, MAP_R), VIOMMU_S_RANGE);
        RIG_REFUSED(&rig, rig_map(&rig, 1, 0xf000, 0x10fff, 0, MAP_R), VIOMMU_S_RANGE);
        RIG_REFUSED(&rig, rig_map(&rig, 1, 0x1f000, 0x20fff, 0, MAP_R), VIOMMU_S_RANGE);
        RIG_REFUSED(&rig, rig_map(&rig, 1, 0x20000, 0x20fff, 0, MAP_R), VIOMMU_S_RANGE);
        RIG_REFUSED(&rig, rig_map(&rig, 1, 1ull << 50, (1ull << 50) + 0xfff, 0, MAP_R),
                    VIOMMU_S_RANGE);
        UT_EQ(viommu_set_features(rig.v, VIOMMU_F_MAP_UNMAP), 0);
    }
    UT_EQ(rig_map(&rig, 1, 0x10000, 0x1ffff, 0, MAP_R), VIOMMU_S_OK);
    /* unmapping outside is fine: nothing is there */
    UT_EQ(rig_unmap(&rig, 1, 0x20000, 0x2ffff), VIOMMU_S_OK);
    UT_EQ(rig_unmap(&rig, 1, 0, TOP), VIOMMU_S_OK);
    UT_EQ(viommu_n_mappings(rig.v), 0);
    rig_stop(&rig);
}

/* A16 */
static void wrapping_map_is_range(void)
{
    UT_REQUIRE(start());
    RIG_REFUSED(&rig, rig_map(&rig, 1, 0, 2 * PAGE - 1, TOP - PAGE + 1, MAP_R), VIOMMU_S_RANGE);
    RIG_REFUSED(&rig, rig_map(&rig, 1, 0, TOP, PAGE, MAP_R), VIOMMU_S_RANGE);
    /* the whole address space: does not wrap, but is not all memory */
    RIG_REFUSED(&rig, rig_map(&rig, 1, 0, TOP, 0, MAP_R), VIOMMU_S_FAULT);
    rig_stop(&rig);
}

/* A16: virt_end + 1 wraps to 0, which is aligned */
static void mapping_may_end_at_the_top(void)
{
    UT_REQUIRE(start());
    UT_EQ(rig_map(&rig, 1, TOP - 2 * PAGE + 1, TOP, 0x8000, MAP_RW), VIOMMU_S_OK);
    UT_EQ(rig_lookup(&rig, 8, TOP, true), 0x9fff);
    RIG_CHECK(&rig);
    RIG_REFUSED(&rig, rig_map(&rig, 1, TOP - PAGE + 1, TOP, 0, MAP_R), VIOMMU_S_INVAL);
    UT_EQ(rig_unmap(&rig, 1, TOP - 2 * PAGE + 1, TOP), VIOMMU_S_OK);
    UT_EQ(rig_lookup(&rig, 8, TOP, true), UINT64_MAX);
    RIG_CHECK(&rig);
    rig_stop(&rig);
}

/* All 2^64 bytes in one mapping: the size does not fit 64 bits. */
static void whole_address_space_can_be_one_mapping(void)
{
    struct model_space mem;
    struct guest_space space;
    struct viommu_config c = VIOMMU_CONFIG_DEFAULT;
    struct rig whole = {.used = 0};

    model_space_init(&mem);
    UT_REQUIRE(model_space_add(&mem, (struct range){0, TOP}, false, false));
    whole.mem = mem;
    model_host_init(&whole.host);
    space = model_space_guest(&whole.mem);
    UT_REQUIRE(viommu_new(&whole.v, &c, &space) == 0);
    UT_EQ(viommu_set_features(whole.v, VIOMMU_F_ALL), 0);
    UT_EQ(rig_add(&whole, 8, &model_host_frame_ops), 0);
    UT_EQ(rig_attach(&whole, 1, 8, 0), VIOMMU_S_OK);
    UT_EQ(rig_map(&whole, 1, 0, TOP, 0, MAP_RW), VIOMMU_S_OK);
    RIG_CHECK(&whole);
    UT_EQ(rig_lookup(&whole, 8, TOP, true), TOP);
    RIG_REFUSED(&whole, rig_map(&whole, 1, 0, PAGE - 1, 0, MAP_R), VIOMMU_S_INVAL);
    RIG_REFUSED(&whole, rig_unmap(&whole, 1, 0, TOP - PAGE), VIOMMU_S_RANGE);
    UT_EQ(rig_unmap(&whole, 1, 0, TOP), VIOMMU_S_OK);
    RIG_CHECK(&whole);
    rig_stop(&whole);
}

/* A17, N9: not this guest's memory, a hole, read-only memory for a writer */
static void memory_that_is_not_the_guests_is_fault(void)
{
    uint64_t end = RIG_ROM_FIRST + RIG_ROM_SIZE;

    UT_REQUIRE(start());
    RIG_REFUSED(&rig, rig_map(&rig, 1, 0, PAGE - 1, end, MAP_R), VIOMMU_S_FAULT);
    RIG_REFUSED(&rig, rig_map(&rig, 1, 0, 2 * PAGE - 1, end - PAGE, MAP_R), VIOMMU_S_FAULT);
    RIG_REFUSED(&rig, rig_map(&rig, 1, 0, PAGE - 1, RIG_ROM_FIRST, MAP_W), VIOMMU_S_FAULT);
    RIG_REFUSED(&rig, rig_map(&rig, 1, 0, 2 * PAGE - 1, RIG_ROM_FIRST - PAGE, MAP_RW),
                VIOMMU_S_FAULT);
    /* also without access: the range is checked all the same */
    RIG_REFUSED(&rig, rig_map(&rig, 1, 0, PAGE - 1, end, 0), VIOMMU_S_FAULT);
    UT_EQ(rig_map(&rig, 1, 0, 2 * PAGE - 1, RIG_ROM_FIRST - PAGE, MAP_R), VIOMMU_S_OK);
    RIG_CHECK(&rig);
    rig_stop(&rig);
}

/* D28 */
static void overlap_is_inval(void)
{
    static const struct range tries[] = {
        {0x5000, 0x7fff}, {0x5000, 0x5fff}, {0x7000, 0x7fff}, {0x6000, 0x6fff},
        {0x4000, 0x5fff}, {0x7000, 0x8fff}, {0x0, 0xffff},
    };

    UT_REQUIRE(start());
    UT_EQ(rig_map(&rig, 1, 0x5000, 0x7fff, 0, MAP_R), VIOMMU_S_OK);
    for (size_t i = 0; i < ARRAY_SIZE(tries); i++) {
        RIG_REFUSED(&rig, rig_map(&rig, 1, tries[i].first, tries[i].last, 0x10000, MAP_R),
                    VIOMMU_S_INVAL);
    }
    UT_EQ(rig_map(&rig, 1, 0x4000, 0x4fff, 0, MAP_R), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 1, 0x8000, 0x8fff, 0, MAP_R), VIOMMU_S_OK);
    rig_stop(&rig);
}

/* D50, A4, V37: of every endpoint in the vdomain */
static void reserved_region_of_any_endpoint_is_inval(void)
{
    static const struct viommu_resv resv_a[] = {{{0x10000, 0x10fff}, 0}, {{0x30000, 0x3ffff}, 1}};
    static const struct viommu_resv resv_b[] = {{{0x20000, 0x200ff}, 0}};

    UT_REQUIRE(start());
    UT_EQ(rig_add_resv(&rig, 10, &soft_iommu_ops, resv_a, 2), 0);
    UT_EQ(rig_add_resv(&rig, 11, &model_host_ops, resv_b, 1), 0);
    UT_EQ(rig_attach(&rig, 1, 10, 0), VIOMMU_S_OK);
    UT_EQ(rig_attach(&rig, 1, 11, 0), VIOMMU_S_OK);
    RIG_REFUSED(&rig, rig_map(&rig, 1, 0x10000, 0x10fff, 0, MAP_R), VIOMMU_S_INVAL);
    RIG_REFUSED(&rig, rig_map(&rig, 1, 0xf000, 0x11fff, 0, MAP_R), VIOMMU_S_INVAL);
    RIG_REFUSED(&rig, rig_map(&rig, 1, 0x20000, 0x20fff, 0, MAP_R), VIOMMU_S_INVAL);
    RIG_REFUSED(&rig, rig_map(&rig, 1, 0x3f000, 0x40fff, 0, MAP_R), VIOMMU_S_INVAL);
    RIG_REFUSED(&rig, rig_map(&rig, 1, 0x30000, 0x30fff, 0, 0), VIOMMU_S_INVAL);
    UT_EQ(rig_map(&rig, 1, 0xf000, 0xffff, 0, MAP_R), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 1, 0x11000, 0x1ffff, 0, MAP_R), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 1, 0x40000, 0x40fff, 0, MAP_R), VIOMMU_S_OK);
    UT_EQ(rig_detach(&rig, 1, 11), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 1, 0x20000, 0x20fff, 0, MAP_R), VIOMMU_S_OK);
    rig_stop(&rig);
}

/* A9 */
static void mapping_without_access_occupies_addresses_only(void)
{
    UT_REQUIRE(start());
    UT_EQ(rig_map(&rig, 1, 0, PAGE - 1, 0x8000, 0), VIOMMU_S_OK);
    UT_EQ(rig.mem.n_pins, 0);
    UT_EQ(rig.host.calls[HOST_MAP], 0);
    UT_EQ(rig_lookup(&rig, 8, 0, false), UINT64_MAX);
    UT_EQ(rig_lookup(&rig, 8, 0, true), UINT64_MAX);
    RIG_REFUSED(&rig, rig_map(&rig, 1, 0, PAGE - 1, 0x9000, MAP_R), VIOMMU_S_INVAL);
    UT_EQ(rig_map(&rig, 1, PAGE, 2 * PAGE - 1, 0x9000, MAP_R), VIOMMU_S_OK);
    UT_EQ(rig_unmap(&rig, 1, 0, 2 * PAGE - 1), VIOMMU_S_OK);
    RIG_CHECK(&rig);
    UT_EQ(rig_map(&rig, 1, 0, PAGE - 1, 0x8000, VIOMMU_MAP_F_MMIO), VIOMMU_S_OK);
    UT_EQ(rig_unmap(&rig, 1, 0, PAGE - 1), VIOMMU_S_OK);
    UT_EQ(rig.host.calls[HOST_UNMAP], 1);
    rig_stop(&rig);
}

/* D32, D33: a mapping gives exactly what its flags say; V23 */
static void access_is_what_the_flags_say(void)
{
    UT_REQUIRE(start());
    UT_EQ(rig_map(&rig, 1, 0x0000, 0x0fff, 0x8000, MAP_R), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 1, 0x1000, 0x1fff, 0x9000, MAP_W), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 1, 0x2000, 0x2fff, 0xa000, MAP_RW), VIOMMU_S_OK);
    UT_EQ(rig_lookup(&rig, 8, 0x0000, false), 0x8000);
    UT_EQ(rig_lookup(&rig, 8, 0x0000, true), UINT64_MAX);
    UT_EQ(rig_lookup(&rig, 8, 0x1000, false), UINT64_MAX);
    UT_EQ(rig_lookup(&rig, 8, 0x1000, true), 0x9000);
    UT_EQ(rig_lookup(&rig, 8, 0x2000, false), 0xa000);
    UT_EQ(rig_lookup(&rig, 8, 0x2000, true), 0xa000);
    RIG_CHECK(&rig); /* the same on the host */
    UT_EQ(model_space_pinned(&rig.mem, (struct range){0x8000, 0x8fff}, false), 1);
    UT_EQ(model_space_pinned(&rig.mem, (struct range){0x9000, 0x9fff}, true), 1);
    rig_stop(&rig);
}

/* A19: NOMEM, nothing changes, and room is found again */
static void mapping_limit_is_nomem_for_the_whole_device(void)
{
    struct viommu_config c = VIOMMU_CONFIG_DEFAULT;

    c.max_mappings = 3;
    UT_REQUIRE(start_with(&c));
    UT_EQ(rig_add_soft(&rig, 10), 0);
    UT_EQ(rig_attach(&rig, 2, 10, 0), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 1, 0, PAGE - 1, 0, MAP_R), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 1, PAGE, 2 * PAGE - 1, 0, MAP_R), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 2, 0, PAGE - 1, 0, MAP_R), VIOMMU_S_OK);
    RIG_REFUSED(&rig, rig_map(&rig, 1, 8 * PAGE, 9 * PAGE - 1, 0, MAP_R), VIOMMU_S_NOMEM);
    RIG_REFUSED(&rig, rig_map(&rig, 2, 8 * PAGE, 9 * PAGE - 1, 0, 0), VIOMMU_S_NOMEM);
    RIG_REFUSED(&rig, rig_map(&rig, 1, 0, PAGE - 1, 0, MAP_R), VIOMMU_S_INVAL); /* D28 first */
    UT_EQ(rig_unmap(&rig, 2, 0, PAGE - 1), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 1, 8 * PAGE, 9 * PAGE - 1, 0, MAP_R), VIOMMU_S_OK);
    RIG_REFUSED(&rig, rig_map(&rig, 2, 0, PAGE - 1, 0, MAP_R), VIOMMU_S_NOMEM);
    UT_EQ(rig_detach(&rig, 1, 8), VIOMMU_S_OK);
    UT_EQ(rig_detach(&rig, 1, 9), VIOMMU_S_OK); /* the vdomain's mappings go */
    UT_EQ(rig_map(&rig, 2, 0, PAGE - 1, 0, MAP_R), VIOMMU_S_OK);
    rig_stop(&rig);
}

/* A19, A17: whatever guest memory says reaches the guest, and nothing stays */
static void failing_pin_leaves_no_trace(void)
{
    static const struct {
        int err;
        enum viommu_status status;
    } fails[] = {{-ENOMEM, VIOMMU_S_NOMEM}, {-EFAULT, VIOMMU_S_FAULT}, {-EIO, VIOMMU_S_DEVERR}};

    UT_REQUIRE(start());
    UT_EQ(rig_map(&rig, 1, 0, PAGE - 1, 0, MAP_RW), VIOMMU_S_OK);
    for (size_t i = 0; i < ARRAY_SIZE(fails); i++) {
        model_space_fail(&rig.mem, SPACE_PIN, 1, fails[i].err);
        RIG_REFUSED(&rig, rig_map(&rig, 1, PAGE, 2 * PAGE - 1, 0, MAP_RW), fails[i].status);
    }
    UT_EQ(rig.host.calls[HOST_MAP], 1);
    UT_EQ(rig_map(&rig, 1, PAGE, 2 * PAGE - 1, 0, MAP_RW), VIOMMU_S_OK);
    rig_stop(&rig);
}

/* A12: the documented order when several things are wrong at once */
static void checks_come_in_the_documented_order(void)
{
    struct viommu_config c = VIOMMU_CONFIG_DEFAULT;

    c.input_range = (struct range){0, 0xfffff};
    c.max_mappings = 1;
    UT_REQUIRE(start_with(&c));
    UT_EQ(rig_map(&rig, 1, 0, PAGE - 1, 0, MAP_R), VIOMMU_S_OK);
    /* flags, vdomain, inversion, alignment, input range, memory, overlap, limit */
    UT_EQ(rig_map(&rig, 9, 9, 1, 1, 8), VIOMMU_S_INVAL);
    UT_EQ(rig_map(&rig, 9, 9, 1, 1, MAP_R), VIOMMU_S_NOENT);
    UT_EQ(rig_map(&rig, 1, 9, 1, 1, MAP_R), VIOMMU_S_INVAL);
    UT_EQ(rig_map(&rig, 1, 1ull << 30, 1ull << 30, 1ull << 39, MAP_R), VIOMMU_S_RANGE);
    UT_EQ(rig_map(&rig, 1, 0, PAGE - 1, 1ull << 39, MAP_R), VIOMMU_S_FAULT);
    UT_EQ(rig_map(&rig, 1, 0, PAGE - 1, 0, MAP_R), VIOMMU_S_INVAL);
    UT_EQ(rig_map(&rig, 1, PAGE, 2 * PAGE - 1, 0, MAP_R), VIOMMU_S_NOMEM);
    UT_EQ(viommu_n_mappings(rig.v), 1);
    rig_stop(&rig);
}

/* A18: each request sees what the one before it did */
static void requests_take_effect_in_order(void)
{
    UT_REQUIRE(start());
    for (uint64_t i = 0; i < 50; i++) {
        UT_EQ(rig_map(&rig, 1, 0, PAGE - 1, i * PAGE, MAP_RW), VIOMMU_S_OK);
        UT_EQ(rig_lookup(&rig, 8, 5, true), i * PAGE + 5);
        UT_EQ(rig_unmap(&rig, 1, 0, PAGE - 1), VIOMMU_S_OK);
        UT_EQ(rig_lookup(&rig, 8, 5, true), UINT64_MAX);
    }
    rig_stop(&rig);
}

int main(int argc, char **argv)
{
    static const struct ut_case cases[] = {
        UT_CASE(mapping_translates_to_the_byte),
        UT_CASE(unknown_flag_is_inval),
        UT_CASE(mmio_needs_to_be_negotiated),
        UT_CASE(map_needs_an_ordinary_vdomain),
        UT_CASE(inverted_map_is_inval),
        UT_CASE(unaligned_map_is_range),
        UT_CASE(granule_is_the_lowest_bit_of_the_mask),
        UT_CASE(byte_granule_maps_1500_bytes_and_single_ones),
        UT_CASE(map_outside_the_input_range_is_range),
        UT_CASE(wrapping_map_is_range),
        UT_CASE(mapping_may_end_at_the_top),
        UT_CASE(whole_address_space_can_be_one_mapping),
        UT_CASE(memory_that_is_not_the_guests_is_fault),
        UT_CASE(overlap_is_inval),
        UT_CASE(reserved_region_of_any_endpoint_is_inval),
        UT_CASE(mapping_without_access_occupies_addresses_only),
        UT_CASE(access_is_what_the_flags_say),
        UT_CASE(mapping_limit_is_nomem_for_the_whole_device),
        UT_CASE(failing_pin_leaves_no_trace),
        UT_CASE(checks_come_in_the_documented_order),
        UT_CASE(requests_take_effect_in_order),
    };

    return ut_main(argc, argv, "viommu_map", cases, ARRAY_SIZE(cases));
}
