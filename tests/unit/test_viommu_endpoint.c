/* SPDX-License-Identifier: GPL-2.0-only */
/* Adding and removing endpoints, reserved regions, PROBE. */
#include <config.h>

#include "backend/iommu/soft.h"
#include "common/le.h"
#include "tests/support/viommu_rig.h"

#include <errno.h>
#include <string.h>

static struct rig rig;

static const struct viommu_resv two_regions[] = {
    {{0xfee00000, 0xfeefffff}, VIOMMU_RESV_MEM_T_MSI},
    {{0x10000, 0x1ffff}, VIOMMU_RESV_MEM_T_RESERVED},
};

static struct viommu_endpoint_config endpoint_config(uint32_t id)
{
    return (struct viommu_endpoint_config){
        .id = id,
        .ops = &soft_iommu_ops,
        .caps = SOFT_IOMMU_CAPS,
        .aperture = {0, UINT64_MAX},
    };
}

static void expect_misfit(const struct viommu_endpoint_config *config, const char *word)
{
    char *before = rig_dump(&rig), *after;
    const char *why = NULL;

    UT_EQ(viommu_endpoint_add(rig.v, config, &why), -EINVAL);
    UT_TRUE(why != NULL && strstr(why, word) != NULL);
    after = rig_dump(&rig);
    UT_STR(after, before);
    free(before);
    free(after);
}

static void misfits_are_refused_with_a_reason(void)
{
    static const struct viommu_resv overlapping[] = {{{0x1000, 0x2000}, 0}, {{0x2000, 0x2fff}, 0}};
    static const struct viommu_resv apart[] = {
        {{0x5000, 0x8fff}, 0}, {{0x1000, 0x1fff}, 0}, {{0x8000, 0x9fff}, 0}};
    static const struct viommu_resv inverted[] = {{{0x2000, 0x1fff}, 0}};
    static const struct viommu_resv two_msi[] = {{{0, 0xfff}, 1}, {{0x2000, 0x2fff}, 1}};
    static const struct viommu_resv subtype[] = {{{0, 0xfff}, 2}};
    struct viommu_endpoint_config c;

    UT_REQUIRE(rig_start(&rig, NULL));
    c = endpoint_config(8);
    c.resv = overlapping, c.n_resv = 2;
    expect_misfit(&c, "overlap"); /* D49 */
    c.resv = apart, c.n_resv = 3;
    expect_misfit(&c, "overlap");
    c.resv = inverted, c.n_resv = 1;
    expect_misfit(&c, "ends before");
    c.resv = two_msi, c.n_resv = 2;
    expect_misfit(&c, "MSI"); /* D48 */
    c.resv = subtype, c.n_resv = 1;
    expect_misfit(&c, "subtype");
    c = endpoint_config(8);
    c.page_size_mask = ~(uint64_t)0xffff;
    expect_misfit(&c, "page");
    c = endpoint_config(8);
    c.caps = HOST_CAP_BYPASS;
    expect_misfit(&c, "MMIO");
    c.caps = HOST_CAP_MMIO;
    expect_misfit(&c, "bypass");
    c = endpoint_config(8);
    c.aperture = (struct range){9, 8};
    expect_misfit(&c, "translate");
    rig_stop(&rig);
}

static void aperture_outside_of_the_input_range_is_refused(void)
{
    struct viommu_config config = VIOMMU_CONFIG_DEFAULT;
    struct viommu_endpoint_config c = endpoint_config(8);

    config.input_range = (struct range){0x1000, 0xffff};
    UT_REQUIRE(rig_start(&rig, &config));
    c.aperture = (struct range){0, 0xfff};
    expect_misfit(&c, "nothing of the input range");
    c.aperture = (struct range){0x10000, UINT64_MAX};
    expect_misfit(&c, "nothing of the input range");
    rig_stop(&rig);
}

static void more_regions_than_there_is_memory_are_refused(void)
{
    struct viommu_endpoint_config c = endpoint_config(8);
    const char *why;

    UT_REQUIRE(rig_start(&rig, NULL));
    c.resv = two_regions, c.n_resv = SIZE_MAX;
    UT_EQ(viommu_endpoint_add(rig.v, &c, &why), -ENOMEM);
    c.n_resv = SIZE_MAX / 2 + 1; /* twice that is nothing */
    UT_EQ(viommu_endpoint_add(rig.v, &c, &why), -ENOMEM);
    rig_stop(&rig);
}

static void driver_of_handles_is_refused(void)
{
    static const struct host_iommu_ops handles = {.name = "handles", .source = MAP_SOURCE_HANDLE};
    struct viommu_endpoint_config c = endpoint_config(8);

    UT_REQUIRE(rig_start(&rig, NULL));
    c.ops = &handles;
    expect_misfit(&c, "handles");
    rig_stop(&rig);
}

static void capabilities_matter_only_for_what_is_offered(void)
{
    struct viommu_config config = VIOMMU_CONFIG_DEFAULT;
    struct viommu_endpoint_config c = endpoint_config(8);
    const char *why;

    config.features &= ~(VIOMMU_F_MMIO | VIOMMU_F_BYPASS_CONFIG);
    UT_REQUIRE(rig_start(&rig, &config));
    c.caps = 0;
    UT_EQ(viommu_endpoint_add(rig.v, &c, &why), 0);
    UT_TRUE(why == NULL);
    rig_stop(&rig);
}

static void more_regions_than_probe_size_holds_are_refused(void)
{
    struct viommu_config config = VIOMMU_CONFIG_DEFAULT;
    struct viommu_endpoint_config c = endpoint_config(8);
    const char *why;

    config.probe_size = 40; /* one property and a rest */
    UT_REQUIRE(rig_start(&rig, &config));
    c.resv = two_regions, c.n_resv = 2;
    expect_misfit(&c, "probe_size");
    c.n_resv = 1;
    UT_EQ(viommu_endpoint_add(rig.v, &c, &why), 0);
    rig_stop(&rig);
    /* Who cannot be told of them may still not map there. */
    config.features &= ~VIOMMU_F_PROBE;
    UT_REQUIRE(rig_start(&rig, &config));
    c.n_resv = 2;
    UT_EQ(viommu_endpoint_add(rig.v, &c, &why), 0);
    UT_EQ(rig_attach(&rig, 1, 8, 0), VIOMMU_S_OK);
    RIG_REFUSED(&rig, rig_map(&rig, 1, 0x10000, 0x10fff, 0, MAP_R), VIOMMU_S_INVAL);
    rig_stop(&rig);
}

static void id_that_is_taken_is_refused_and_any_id_is_legal(void)
{
    struct viommu_endpoint_info info;
    struct viommu_endpoint_config c = endpoint_config(UINT32_MAX);
    const char *why;

    UT_REQUIRE(rig_start(&rig, NULL));
    UT_EQ(viommu_endpoint_add(rig.v, &c, &why), 0);
    why = "?";
    UT_EQ(viommu_endpoint_add(rig.v, &c, &why), -EEXIST);
    UT_TRUE(why == NULL);
    c.caps = 0; /* it would not fit either */
    UT_EQ(viommu_endpoint_add(rig.v, &c, &why), -EEXIST);
    UT_TRUE(why == NULL);
    c = endpoint_config(0);
    UT_EQ(viommu_endpoint_add(rig.v, &c, &why), 0);
    UT_EQ(viommu_n_endpoints(rig.v), 2);
    UT_TRUE(viommu_endpoint_next(rig.v, 1, &info));
    UT_EQ(info.id, UINT32_MAX);
    UT_STR(info.driver, "soft");
    UT_EQ(viommu_endpoint_remove(rig.v, 5), -ENOENT);
    UT_EQ(viommu_endpoint_remove(rig.v, UINT32_MAX), 0);
    UT_FALSE(viommu_endpoint_next(rig.v, 1, &info));
    rig_stop(&rig);
}

static void expect_resv(const struct viommu_resv *want, size_t n)
{
    struct viommu_endpoint_info info;

    UT_REQUIRE(viommu_endpoint_next(rig.v, 8, &info));
    UT_EQ(info.n_resv, n);
    for (size_t i = 0; i < n && i < info.n_resv; i++) {
        UT_EQ(info.resv[i].range.first, want[i].range.first);
        UT_EQ(info.resv[i].range.last, want[i].range.last);
        UT_EQ(info.resv[i].subtype, want[i].subtype);
    }
}

static void narrow_aperture_becomes_reserved_regions(void)
{
    static const struct viommu_resv want[] = {
        {{0x1000, 0xffff}, 0}, {{0x20000, 0x2ffff}, 1}, {{0x8000000000, 0xffffffffff}, 0}};
    struct viommu_config config = VIOMMU_CONFIG_DEFAULT;
    struct viommu_endpoint_config c = endpoint_config(8);
    const char *why;

    config.input_range = (struct range){0x1000, 0xffffffffff};
    UT_REQUIRE(rig_start(&rig, &config));
    c.aperture = (struct range){0x10000, 0x7fffffffff};
    c.resv = &want[1], c.n_resv = 1;
    UT_EQ(viommu_endpoint_add(rig.v, &c, &why), 0);
    expect_resv(want, 3);
    rig_stop(&rig);
}

/* Both ends of all addresses, given regions that begin where they do, or none. */
static void holes_reach_from_the_first_address_to_the_last(void)
{
    static const struct viommu_resv want[] = {{{0, 0xffff}, 0}, {{1ull << 48, UINT64_MAX}, 0}};
    static const struct viommu_resv given[] = {{{0, 0xfff}, 1},
                                               {{UINT64_MAX - 0xfff, UINT64_MAX}, 0}};
    static const struct viommu_resv beside[] = {{{0, 0xfff}, 1},
                                                {{0x1000, 0xffff}, 0},
                                                {{1ull << 48, UINT64_MAX - 0x1000}, 0},
                                                {{UINT64_MAX - 0xfff, UINT64_MAX}, 0}};
    struct viommu_endpoint_config c = endpoint_config(8);
    const char *why;

    UT_REQUIRE(rig_start(&rig, NULL));
    c.aperture = (struct range){0x10000, (1ull << 48) - 1};
    UT_EQ(viommu_endpoint_add(rig.v, &c, &why), 0);
    expect_resv(want, 2);
    UT_EQ(viommu_endpoint_remove(rig.v, 8), 0);
    c.resv = given, c.n_resv = 2;
    UT_EQ(viommu_endpoint_add(rig.v, &c, &why), 0);
    expect_resv(beside, 4);
    UT_EQ(viommu_endpoint_remove(rig.v, 8), 0);
    c = endpoint_config(8);
    c.resv = given, c.n_resv = 1;
    UT_EQ(viommu_endpoint_add(rig.v, &c, &why), 0);
    expect_resv(given, 1);
    rig_stop(&rig);
}

/* D49 must hold between what the host reports and what its aperture leaves out. */
static void aperture_holes_leave_given_regions_alone(void)
{
    static const struct viommu_resv given[] = {
        {{0x7ff0, 0x80ff}, 0}, {{0x9000, 0x9fff}, 1}, {{0xf000, 0xffff}, 0}};
    static const struct viommu_resv want[] = {{{0x7ff0, 0x80ff}, 0},
                                              {{0x8100, 0x8fff}, 0},
                                              {{0x9000, 0x9fff}, 1},
                                              {{0xa000, 0xefff}, 0},
                                              {{0xf000, 0xffff}, 0}};
    struct viommu_config config = VIOMMU_CONFIG_DEFAULT;
    struct viommu_endpoint_config c = endpoint_config(8);
    const char *why;

    config.input_range = (struct range){0, 0xffff};
    UT_REQUIRE(rig_start(&rig, &config));
    c.aperture = (struct range){0, 0x7fff};
    c.resv = given, c.n_resv = 3;
    UT_EQ(viommu_endpoint_add(rig.v, &c, &why), 0);
    expect_resv(want, 5);
    rig_stop(&rig);
}

static void add_fails_cleanly_when_the_host_refuses_bypass(void)
{
    struct viommu_config config = VIOMMU_CONFIG_DEFAULT;

    config.bypass = true;
    UT_REQUIRE(rig_start(&rig, &config));
    model_host_fail(&rig.host, HOST_BYPASS_ON, 1, 1, -EIO);
    RIG_REFUSED(&rig, rig_add(&rig, 8, &model_host_ops), -EIO);
    UT_EQ(rig_add(&rig, 8, &model_host_ops), 0);
    rig_stop(&rig);
}

static void removal_detaches_and_makes_the_endpoint_unknown(void)
{
    UT_REQUIRE(rig_start(&rig, NULL));
    UT_EQ(rig_add(&rig, 8, &model_host_ops), 0);
    UT_EQ(rig_add(&rig, 9, &model_host_ops), 0);
    UT_EQ(rig_attach(&rig, 1, 8, 0), VIOMMU_S_OK);
    UT_EQ(rig_attach(&rig, 1, 9, 0), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 1, 0, PAGE - 1, 0, MAP_RW), VIOMMU_S_OK);
    UT_EQ(viommu_endpoint_remove(rig.v, 8), 0);
    UT_EQ(rig_attach(&rig, 1, 8, 0), VIOMMU_S_NOENT);
    UT_EQ(viommu_n_mappings(rig.v), 1); /* 9 is still there */
    RIG_CHECK(&rig);
    UT_EQ(viommu_endpoint_remove(rig.v, 9), 0);
    UT_EQ(viommu_n_vdomains(rig.v), 0);
    UT_EQ(viommu_n_mappings(rig.v), 0);
    rig_stop(&rig);
}

/* --- PROBE ------------------------------------------------------------------------------------ */

/* D42, D43, D44, D46, D47 */
static void probe_lists_the_regions_and_zeroes_the_rest(void)
{
    const uint8_t *p = rig.reply;

    UT_REQUIRE(rig_start(&rig, NULL));
    UT_EQ(rig_add_resv(&rig, 8, &soft_iommu_ops, two_regions, 2), 0);
    UT_EQ(rig_probe(&rig, 8), VIOMMU_S_OK);
    UT_EQ(rig.used, 516);
    UT_EQ(le16_load(p), VIOMMU_PROBE_T_RESV_MEM); /* the four reserved bits are zero */
    UT_EQ(le16_load(p + 2), 20);
    UT_EQ(le32_load(p + 4), VIOMMU_RESV_MEM_T_RESERVED); /* and three reserved bytes */
    UT_EQ(le64_load(p + 8), 0x10000);
    UT_EQ(le64_load(p + 16), 0x1ffff);
    UT_EQ(le16_load(p + 24), VIOMMU_PROBE_T_RESV_MEM);
    UT_EQ(le16_load(p + 26), 20);
    UT_EQ(le32_load(p + 28), VIOMMU_RESV_MEM_T_MSI);
    UT_EQ(le64_load(p + 32), 0xfee00000);
    UT_EQ(le64_load(p + 40), 0xfeefffff);
    for (size_t i = 48; i < 516; i++)
        UT_EQ(p[i], 0);
    rig_stop(&rig);
}

static void probe_fills_the_area_to_the_last_property(void)
{
    struct viommu_config config = VIOMMU_CONFIG_DEFAULT;

    config.probe_size = 48;
    UT_REQUIRE(rig_start(&rig, &config));
    UT_EQ(rig_add_resv(&rig, 8, &soft_iommu_ops, two_regions, 2), 0);
    UT_EQ(rig_probe(&rig, 8), VIOMMU_S_OK);
    UT_EQ(rig.used, 52);
    UT_EQ(le64_load(rig.reply + 40), 0xfeefffff);
    UT_EQ(le32_load(rig.reply + 48), 0);
    rig_stop(&rig);
}

/* D40 and 8.3: full used length, zeroed properties */
static void probe_of_an_unknown_endpoint_is_noent(void)
{
    UT_REQUIRE(rig_start(&rig, NULL));
    UT_EQ(rig_add_resv(&rig, 8, &soft_iommu_ops, two_regions, 2), 0);
    RIG_REFUSED(&rig, rig_probe(&rig, 9), VIOMMU_S_NOENT);
    UT_EQ(rig.used, 516);
    for (size_t i = 0; i < 512; i++)
        UT_EQ(rig.reply[i], 0);
    rig_stop(&rig);
}

/* D39 */
static void probe_ignores_its_reserved_bytes(void)
{
    uint8_t req[VIOMMU_REQ_MAX];

    UT_REQUIRE(rig_start(&rig, NULL));
    UT_EQ(rig_add_soft(&rig, 8), 0);
    rig_build_probe(req, 8);
    memset(req + 8, 0xff, 64);
    UT_EQ(rig_send(&rig, req, sizeof(req), 516), VIOMMU_S_OK);
    rig_stop(&rig);
}

/* D45: every size of a writable part that is too small, and the one that is just right */
static void probe_with_a_small_area_gets_no_property_and_inval_at_the_end(void)
{
    struct viommu_config config = VIOMMU_CONFIG_DEFAULT;
    uint8_t req[VIOMMU_REQ_MAX];

    config.probe_size = 64;
    UT_REQUIRE(rig_start(&rig, &config));
    UT_EQ(rig_add_resv(&rig, 8, &soft_iommu_ops, two_regions, 2), 0);
    rig_build_probe(req, 8);
    for (uint64_t n = 0; n < 4; n++)
        UT_EQ(rig_send(&rig, req, sizeof(req), n), RIG_UNWRITTEN);
    for (uint64_t n = 4; n < 68; n++) {
        UT_EQ(rig_send(&rig, req, sizeof(req), n), VIOMMU_S_INVAL);
        UT_EQ(rig.used, n);
        for (uint64_t i = 0; i < n - 4; i++)
            UT_EQ(rig.reply[i], 0);
    }
    UT_EQ(rig_send(&rig, req, sizeof(req), 68), VIOMMU_S_OK);
    rig_stop(&rig);
}

static void probe_with_a_large_area_has_its_tail_behind_probe_size(void)
{
    uint8_t req[VIOMMU_REQ_MAX];

    UT_REQUIRE(rig_start(&rig, NULL));
    UT_EQ(rig_add_soft(&rig, 8), 0);
    rig_build_probe(req, 8);
    UT_EQ(rig_send(&rig, req, sizeof(req), 4000), VIOMMU_S_OK);
    UT_EQ(rig.used, 516);
    UT_EQ(rig_send(&rig, req, sizeof(req), UINT64_MAX), VIOMMU_S_OK);
    UT_EQ(rig.used, 516);
    rig_stop(&rig);
}

/* D41, A8 */
static void probe_needs_to_be_offered_but_not_negotiated(void)
{
    struct viommu_config config = VIOMMU_CONFIG_DEFAULT;
    uint8_t req[VIOMMU_REQ_MAX];

    UT_REQUIRE(rig_start(&rig, NULL));
    UT_EQ(rig_add_soft(&rig, 8), 0);
    UT_EQ(viommu_set_features(rig.v, 0), 0);
    UT_EQ(rig_probe(&rig, 8), VIOMMU_S_OK);
    rig_stop(&rig);
    config.features &= ~VIOMMU_F_PROBE;
    UT_REQUIRE(rig_start(&rig, &config));
    UT_EQ(rig_add_soft(&rig, 8), 0);
    rig_build_probe(req, 8);
    UT_EQ(rig_send(&rig, req, sizeof(req), 516), RIG_UNWRITTEN);
    rig_stop(&rig);
}

/* --- adapting --------------------------------------------------------------------------------- */

/* A host like type1's behind VT-d: no MMIO, no bypass, 48 bits. */
static struct viommu_endpoint_config poor_endpoint(void)
{
    struct viommu_endpoint_config c = endpoint_config(8);

    c.caps = 0;
    c.page_size_mask = 0x40210000;
    c.aperture = (struct range){0x10000, (1ull << 48) - 1};
    return c;
}

static bool start_adaptable(bool bypass)
{
    struct viommu_config config = VIOMMU_CONFIG_DEFAULT;

    config.bypass = bypass;
    if (!rig_start(&rig, &config))
        return false;
    viommu_reset(rig.v); /* nothing negotiated */
    return true;
}

static void device_follows_what_an_endpoint_lacks(void)
{
    struct viommu_endpoint_config c = poor_endpoint();
    const char *why = NULL;

    UT_REQUIRE(start_adaptable(true));
    UT_TRUE(rig_add_soft(&rig, 9) == 0);
    expect_misfit(&c, "granule");
    UT_EQ(viommu_adapt(rig.v, &c, &why), 0);
    UT_EQ(viommu_offered(rig.v), VIOMMU_F_ALL & ~(VIOMMU_F_MMIO | VIOMMU_F_BYPASS_CONFIG));
    UT_EQ(viommu_config(rig.v)->page_size_mask, ~0xffffull);
    UT_EQ(viommu_config(rig.v)->input_range.first, 0x10000);
    UT_EQ(viommu_config(rig.v)->input_range.last, (1ull << 48) - 1);
    /* `bypass` is nothing that a driver could end any more, so it ends here */
    UT_FALSE(viommu_bypass(rig.v));
    UT_FALSE(viommu_config(rig.v)->bypass);
    UT_EQ(rig_lookup(&rig, 9, 0x1000, false), UINT64_MAX);
    UT_EQ(viommu_endpoint_add(rig.v, &c, &why), 0);
    UT_EQ(viommu_set_features(rig.v, VIOMMU_F_BYPASS_CONFIG), -EINVAL);
    UT_EQ(viommu_adapt(rig.v, &c, &why), 0); /* once more changes nothing */
    UT_EQ(viommu_config(rig.v)->page_size_mask, ~0xffffull);
    rig_stop(&rig);
}

static void device_of_able_endpoints_stays_as_it_is(void)
{
    struct viommu_config config = VIOMMU_CONFIG_DEFAULT;
    struct viommu_endpoint_config c = endpoint_config(8);
    const char *why = NULL;

    UT_REQUIRE(start_adaptable(true));
    UT_EQ(viommu_adapt(rig.v, &c, &why), 0);
    UT_EQ(viommu_offered(rig.v), config.features);
    UT_EQ(viommu_config(rig.v)->page_size_mask, config.page_size_mask);
    UT_EQ(viommu_config(rig.v)->input_range.last, UINT64_MAX);
    UT_TRUE(viommu_bypass(rig.v));
    rig_stop(&rig);
}

/* Where no input range is offered, the aperture becomes reserved regions. */
static void input_range_that_is_not_offered_stays_everything(void)
{
    static const struct viommu_resv want[] = {{{0, 0xffff}, 0}, {{1ull << 48, UINT64_MAX}, 0}};
    struct viommu_config config = VIOMMU_CONFIG_DEFAULT;
    struct viommu_endpoint_config c = poor_endpoint();
    const char *why = NULL;

    config.features &= ~VIOMMU_F_INPUT_RANGE;
    UT_REQUIRE(rig_start(&rig, &config));
    viommu_reset(rig.v);
    UT_EQ(viommu_adapt(rig.v, &c, &why), 0);
    UT_EQ(viommu_config(rig.v)->input_range.first, 0);
    UT_EQ(viommu_config(rig.v)->input_range.last, UINT64_MAX);
    UT_EQ(viommu_endpoint_add(rig.v, &c, &why), 0);
    expect_resv(want, 2);
    rig_stop(&rig);
}

/* `bypass` that the last driver had ended does not come back with a device that lacks it. */
static void initial_bypass_ends_with_the_feature(void)
{
    struct viommu_endpoint_config c = poor_endpoint();
    const char *why = NULL;

    UT_REQUIRE(start_adaptable(true));
    UT_EQ(viommu_set_features(rig.v, VIOMMU_F_ALL), 0);
    UT_EQ(viommu_bypass_write(rig.v, 0), 0);
    viommu_reset(rig.v);
    UT_EQ(viommu_adapt(rig.v, &c, &why), 0);
    UT_FALSE(viommu_bypass(rig.v));
    UT_FALSE(viommu_config(rig.v)->bypass);
    rig_stop(&rig);
}

static void expect_unadaptable(const struct viommu_endpoint_config *c, int err, const char *word)
{
    char *before = rig_dump(&rig), *after;
    const char *why = NULL;

    UT_EQ((int64_t)viommu_adapt(rig.v, c, &why), err);
    UT_TRUE(!word || (why != NULL && strstr(why, word) != NULL));
    UT_EQ(viommu_offered(rig.v), VIOMMU_F_ALL);
    UT_EQ(viommu_config(rig.v)->page_size_mask, ~0xfffull);
    UT_EQ(viommu_config(rig.v)->input_range.last, UINT64_MAX);
    after = rig_dump(&rig);
    UT_STR(after, before);
    free(before);
    free(after);
}

static void device_that_somebody_builds_on_is_not_adapted(void)
{
    struct viommu_endpoint_config c = poor_endpoint();

    UT_REQUIRE(rig_start(&rig, NULL)); /* negotiated */
    expect_unadaptable(&c, -EBUSY, NULL);
    rig_stop(&rig);
    UT_REQUIRE(start_adaptable(false));
    UT_TRUE(rig_add_soft(&rig, 9) == 0);
    UT_EQ(rig_attach(&rig, 1, 9, 0), VIOMMU_S_OK);
    expect_unadaptable(&c, -EBUSY, NULL);
    rig_stop(&rig);
}

static void device_is_not_adapted_to_nothing(void)
{
    struct viommu_endpoint_config c = poor_endpoint();
    struct viommu_config config = VIOMMU_CONFIG_DEFAULT;
    const char *why = NULL;

    UT_REQUIRE(start_adaptable(false));
    c.aperture = (struct range){2, 1};
    expect_unadaptable(&c, -EINVAL, "nothing of the input range");
    rig_stop(&rig);
    config.input_range = (struct range){0x1000, 0xffff};
    c = poor_endpoint(); /* from 0x10000 */
    UT_REQUIRE(rig_start(&rig, &config));
    viommu_reset(rig.v);
    UT_EQ((int64_t)viommu_adapt(rig.v, &c, &why), -EINVAL);
    UT_EQ(viommu_config(rig.v)->input_range.last, 0xffff);
    rig_stop(&rig);
    config = VIOMMU_CONFIG_DEFAULT;
    config.page_size_mask = 0x1000; /* one size only */
    c = poor_endpoint();
    UT_REQUIRE(rig_start(&rig, &config));
    viommu_reset(rig.v);
    UT_EQ((int64_t)viommu_adapt(rig.v, &c, &why), -EINVAL);
    UT_TRUE(why != NULL && strstr(why, "smallest page") != NULL);
    UT_EQ(viommu_config(rig.v)->page_size_mask, 0x1000);
    UT_EQ(viommu_offered(rig.v), VIOMMU_F_ALL);
    rig_stop(&rig);
}

int main(int argc, char **argv)
{
    static const struct ut_case cases[] = {
        UT_CASE(misfits_are_refused_with_a_reason),
        UT_CASE(aperture_outside_of_the_input_range_is_refused),
        UT_CASE(more_regions_than_there_is_memory_are_refused),
        UT_CASE(driver_of_handles_is_refused),
        UT_CASE(capabilities_matter_only_for_what_is_offered),
        UT_CASE(more_regions_than_probe_size_holds_are_refused),
        UT_CASE(id_that_is_taken_is_refused_and_any_id_is_legal),
        UT_CASE(narrow_aperture_becomes_reserved_regions),
        UT_CASE(holes_reach_from_the_first_address_to_the_last),
        UT_CASE(aperture_holes_leave_given_regions_alone),
        UT_CASE(add_fails_cleanly_when_the_host_refuses_bypass),
        UT_CASE(removal_detaches_and_makes_the_endpoint_unknown),
        UT_CASE(device_follows_what_an_endpoint_lacks),
        UT_CASE(device_of_able_endpoints_stays_as_it_is),
        UT_CASE(input_range_that_is_not_offered_stays_everything),
        UT_CASE(initial_bypass_ends_with_the_feature),
        UT_CASE(device_that_somebody_builds_on_is_not_adapted),
        UT_CASE(device_is_not_adapted_to_nothing),
        UT_CASE(probe_lists_the_regions_and_zeroes_the_rest),
        UT_CASE(probe_fills_the_area_to_the_last_property),
        UT_CASE(probe_of_an_unknown_endpoint_is_noent),
        UT_CASE(probe_ignores_its_reserved_bytes),
        UT_CASE(probe_with_a_small_area_gets_no_property_and_inval_at_the_end),
        UT_CASE(probe_with_a_large_area_has_its_tail_behind_probe_size),
        UT_CASE(probe_needs_to_be_offered_but_not_negotiated),
    };

    return ut_main(argc, argv, "viommu_endpoint", cases, ARRAY_SIZE(cases));
}
