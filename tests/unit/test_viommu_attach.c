/* SPDX-License-Identifier: GPL-2.0-only */
/* ATTACH and DETACH, clause by clause. */
#include <config.h>

#include "backend/iommu/soft.h"
#include "backend/viommu/viommu_priv.h"
#include "common/le.h"
#include "tests/support/viommu_rig.h"

#include <string.h>

static struct rig rig;

#define BYPASS VIOMMU_ATTACH_F_BYPASS

/* Soft endpoint 8 and model endpoints 9, 10. */
static bool start_with(const struct viommu_config *config)
{
    return rig_start(&rig, config) && rig_add_soft(&rig, 8) == 0 &&
           rig_add(&rig, 9, &model_host_ops) == 0 && rig_add(&rig, 10, &model_host_ops) == 0;
}

static bool start(void)
{
    return start_with(NULL);
}

static uint32_t vdomain_of(uint32_t endpoint)
{
    struct viommu_endpoint_info info;

    if (!viommu_endpoint_next(rig.v, endpoint, &info) || info.id != endpoint || !info.attached)
        return UINT32_MAX;
    return info.vdomain;
}

/* D22, N6 */
static void attach_creates_the_vdomain_and_last_detach_ends_it(void)
{
    UT_REQUIRE(start());
    UT_EQ(rig_attach(&rig, 5, 8, 0), VIOMMU_S_OK);
    UT_EQ(vdomain_of(8), 5);
    UT_EQ(viommu_n_vdomains(rig.v), 1);
    UT_EQ(rig_attach(&rig, 5, 9, 0), VIOMMU_S_OK);
    UT_EQ(viommu_n_vdomains(rig.v), 1);
    UT_EQ(rig_map(&rig, 5, 0, PAGE - 1, 0, MAP_R), VIOMMU_S_OK);
    UT_EQ(rig_detach(&rig, 5, 8), VIOMMU_S_OK);
    UT_EQ(viommu_n_mappings(rig.v), 1);
    UT_EQ(rig_detach(&rig, 5, 9), VIOMMU_S_OK);
    UT_EQ(viommu_n_vdomains(rig.v), 0);
    UT_EQ(viommu_n_mappings(rig.v), 0);
    UT_EQ(rig_map(&rig, 5, 0, PAGE - 1, 0, MAP_R), VIOMMU_S_NOENT);
    /* the id may come back as anything */
    UT_EQ(rig_attach(&rig, 5, 8, BYPASS), VIOMMU_S_OK);
    rig_stop(&rig);
}

/* D15: each byte of the field */
static void attach_with_reserved_bytes_is_inval(void)
{
    uint8_t req[VIOMMU_REQ_MAX];

    UT_REQUIRE(start());
    for (size_t i = 0; i < 4; i++) {
        rig_build_attach(req, 1, 8, 0);
        req[VIOMMU_ATTACH_RESERVED + i] = 0x80;
        RIG_REFUSED(&rig, rig_send(&rig, req, VIOMMU_ATTACH_SIZE, 4), VIOMMU_S_INVAL);
    }
    rig_stop(&rig);
}

/* D16: each bit */
static void attach_with_an_unknown_flag_is_inval(void)
{
    UT_REQUIRE(start());
    for (unsigned bit = 1; bit < 32; bit++) {
        RIG_REFUSED(&rig, rig_attach(&rig, 1, 8, 1u << bit), VIOMMU_S_INVAL);
        RIG_REFUSED(&rig, rig_attach(&rig, 1, 8, 1u << bit | BYPASS), VIOMMU_S_INVAL);
    }
    rig_stop(&rig);
}

/* A6 */
static void bypass_flag_without_negotiation_is_inval(void)
{
    UT_REQUIRE(start());
    UT_EQ(viommu_set_features(rig.v, VIOMMU_F_ALL & ~VIOMMU_F_BYPASS_CONFIG), 0);
    RIG_REFUSED(&rig, rig_attach(&rig, 1, 8, BYPASS), VIOMMU_S_INVAL);
    UT_EQ(rig_attach(&rig, 1, 8, 0), VIOMMU_S_OK);
    rig_stop(&rig);
}

/* D17 */
static void attach_of_an_unknown_endpoint_is_noent(void)
{
    UT_REQUIRE(start());
    RIG_REFUSED(&rig, rig_attach(&rig, 1, 7, 0), VIOMMU_S_NOENT);
    RIG_REFUSED(&rig, rig_attach(&rig, 1, UINT32_MAX, 0), VIOMMU_S_NOENT);
    rig_stop(&rig);
}

/* A3, N3, V12: enforced whether negotiated or not */
static void vdomain_outside_domain_range(void)
{
    struct viommu_config c = VIOMMU_CONFIG_DEFAULT;

    c.domain_range = (struct range){10, 20};
    UT_REQUIRE(start_with(&c));
    for (int pass = 0; pass < 2; pass++) {
        RIG_REFUSED(&rig, rig_attach(&rig, 9, 8, 0), VIOMMU_S_RANGE);
        RIG_REFUSED(&rig, rig_attach(&rig, 21, 8, 0), VIOMMU_S_RANGE);
        RIG_REFUSED(&rig, rig_attach(&rig, 0, 8, BYPASS), VIOMMU_S_RANGE);
        RIG_REFUSED(&rig, rig_attach(&rig, UINT32_MAX, 8, 0), VIOMMU_S_RANGE);
        RIG_REFUSED(&rig, rig_map(&rig, 21, 0, PAGE - 1, 0, MAP_R), VIOMMU_S_NOENT);
        RIG_REFUSED(&rig, rig_unmap(&rig, 21, 0, PAGE - 1), VIOMMU_S_NOENT);
        RIG_REFUSED(&rig, rig_detach(&rig, 21, 8), VIOMMU_S_INVAL);
        UT_EQ(rig_attach(&rig, 10, 8, 0), VIOMMU_S_OK);
        UT_EQ(rig_attach(&rig, 20, 8, 0), VIOMMU_S_OK);
        UT_EQ(rig_detach(&rig, 20, 8), VIOMMU_S_OK);
        UT_EQ(viommu_set_features(rig.v, VIOMMU_F_ALL & ~VIOMMU_F_DOMAIN_RANGE), 0);
    }
    rig_stop(&rig);
}

/* D19, V15, V16 */
static void bypass_flag_must_match_the_vdomains_kind(void)
{
    UT_REQUIRE(start());
    UT_EQ(rig_attach(&rig, 1, 8, 0), VIOMMU_S_OK);
    UT_EQ(rig_attach(&rig, 2, 9, BYPASS), VIOMMU_S_OK);
    RIG_REFUSED(&rig, rig_attach(&rig, 1, 10, BYPASS), VIOMMU_S_INVAL);
    RIG_REFUSED(&rig, rig_attach(&rig, 2, 10, 0), VIOMMU_S_INVAL);
    /* also for an endpoint that is in it already, and for one that would have to move */
    RIG_REFUSED(&rig, rig_attach(&rig, 1, 8, BYPASS), VIOMMU_S_INVAL);
    RIG_REFUSED(&rig, rig_attach(&rig, 2, 9, 0), VIOMMU_S_INVAL);
    RIG_REFUSED(&rig, rig_attach(&rig, 2, 8, 0), VIOMMU_S_INVAL);
    UT_EQ(rig_attach(&rig, 2, 10, BYPASS), VIOMMU_S_OK);
    rig_stop(&rig);
}

/* D18, N8 */
static void several_endpoints_share_a_vdomain_and_its_mappings(void)
{
    UT_REQUIRE(start());
    UT_EQ(rig_attach(&rig, 1, 8, 0), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 1, 0, PAGE - 1, 0x8000, MAP_RW), VIOMMU_S_OK);
    UT_EQ(rig_attach(&rig, 1, 9, 0), VIOMMU_S_OK);
    UT_EQ(rig_attach(&rig, 1, 10, 0), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 1, PAGE, 2 * PAGE - 1, 0x9000, MAP_RW), VIOMMU_S_OK);
    for (uint32_t id = 8; id <= 10; id++) {
        UT_EQ(rig_lookup(&rig, id, 0x10, true), 0x8010);
        UT_EQ(rig_lookup(&rig, id, 0x1010, true), 0x9010);
    }
    RIG_CHECK(&rig);
    UT_EQ(rig_unmap(&rig, 1, 0, PAGE - 1), VIOMMU_S_OK);
    RIG_CHECK(&rig);
    for (uint32_t id = 8; id <= 10; id++)
        UT_EQ(rig_lookup(&rig, id, 0x10, true), UINT64_MAX);
    rig_stop(&rig);
}

static void vdomains_are_isolated_from_one_another(void)
{
    UT_REQUIRE(start());
    UT_EQ(rig_attach(&rig, 1, 8, 0), VIOMMU_S_OK);
    UT_EQ(rig_attach(&rig, 2, 9, 0), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 1, 0, PAGE - 1, 0x8000, MAP_RW), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 2, 0, PAGE - 1, 0x9000, MAP_R), VIOMMU_S_OK);
    UT_EQ(rig_lookup(&rig, 8, 0, true), 0x8000);
    UT_EQ(rig_lookup(&rig, 9, 0, false), 0x9000);
    UT_EQ(rig_lookup(&rig, 9, 0, true), UINT64_MAX);
    rig_stop(&rig);
}

/* A10 and ARCHITECTURE.md section 8: re-attach to the same vdomain changes nothing */
static void reattach_to_the_same_vdomain_changes_nothing(void)
{
    UT_REQUIRE(start());
    UT_EQ(rig_attach(&rig, 1, 9, 0), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 1, 0, PAGE - 1, 0x8000, MAP_RW), VIOMMU_S_OK);
    RIG_REFUSED(&rig, rig_attach(&rig, 1, 9, 0), VIOMMU_S_OK);
    UT_EQ(rig.host.calls[HOST_ATTACH], 1);
    UT_EQ(rig.host.calls[HOST_DETACH], 0);
    UT_EQ(rig_attach(&rig, 2, 10, BYPASS), VIOMMU_S_OK);
    RIG_REFUSED(&rig, rig_attach(&rig, 2, 10, BYPASS), VIOMMU_S_OK);
    UT_EQ(rig.host.calls[HOST_BYPASS_ON], 1);
    rig_stop(&rig);
}

/* D20 */
static void attach_elsewhere_moves_the_endpoint(void)
{
    UT_REQUIRE(start());
    UT_EQ(rig_attach(&rig, 1, 9, 0), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 1, 0, PAGE - 1, 0x8000, MAP_RW), VIOMMU_S_OK);
    UT_EQ(rig_attach(&rig, 2, 8, 0), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 2, 0, PAGE - 1, 0x9000, MAP_RW), VIOMMU_S_OK);
    UT_EQ(rig_attach(&rig, 2, 9, 0), VIOMMU_S_OK);
    UT_EQ(vdomain_of(9), 2);
    UT_EQ(rig_lookup(&rig, 9, 0, true), 0x9000);
    /* the old vdomain died with its last endpoint */
    UT_EQ(viommu_n_vdomains(rig.v), 1);
    UT_EQ(viommu_n_mappings(rig.v), 1);
    RIG_CHECK(&rig);
    /* into bypass and out again */
    UT_EQ(rig_attach(&rig, 3, 9, BYPASS), VIOMMU_S_OK);
    UT_EQ(rig_lookup(&rig, 9, 0x123, true), 0x123);
    RIG_CHECK(&rig);
    UT_EQ(rig_attach(&rig, 2, 9, 0), VIOMMU_S_OK);
    UT_EQ(rig_lookup(&rig, 9, 0x123, true), 0x9123);
    RIG_CHECK(&rig);
    rig_stop(&rig);
}

/* D21, V14 */
static void attach_whose_reserved_region_is_mapped_is_unsupp(void)
{
    static const struct viommu_resv resv[] = {{{0x5000, 0x5fff}, VIOMMU_RESV_MEM_T_RESERVED}};

    UT_REQUIRE(start());
    UT_EQ(rig_add_resv(&rig, 11, &model_host_ops, resv, 1), 0);
    UT_EQ(rig_attach(&rig, 1, 8, 0), VIOMMU_S_OK);
    UT_EQ(rig_attach(&rig, 2, 11, 0), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 1, 0x4000, 0x5fff, 0, MAP_R), VIOMMU_S_OK);
    /* it stays where it was */
    RIG_REFUSED(&rig, rig_attach(&rig, 1, 11, 0), VIOMMU_S_UNSUPP);
    UT_EQ(vdomain_of(11), 2);
    UT_EQ(rig_unmap(&rig, 1, 0x4000, 0x5fff), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 1, 0x4000, 0x4fff, 0, MAP_R), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 1, 0x6000, 0x6fff, 0, MAP_R), VIOMMU_S_OK);
    UT_EQ(rig_attach(&rig, 1, 11, 0), VIOMMU_S_OK);
    rig_stop(&rig);
}

/* An endpoint without the capability is refused when it is added; this is the second line. */
static void bypass_vdomain_needs_an_endpoint_that_can(void)
{
    struct endpoint *ep;

    UT_REQUIRE(start());
    ep = idmap_get(rig.v->endpoint_ids, 9);
    UT_REQUIRE(ep != NULL);
    ep->caps &= ~(unsigned)HOST_CAP_BYPASS;
    RIG_REFUSED(&rig, rig_attach(&rig, 1, 9, BYPASS), VIOMMU_S_UNSUPP);
    UT_EQ(rig_attach(&rig, 1, 9, 0), VIOMMU_S_OK);
    rig_stop(&rig);
}

/* A19 */
static void vdomain_limit_is_nomem_and_counts_net(void)
{
    struct viommu_config c = VIOMMU_CONFIG_DEFAULT;

    c.max_vdomains = 2;
    UT_REQUIRE(start_with(&c));
    UT_EQ(rig_attach(&rig, 1, 8, 0), VIOMMU_S_OK);
    UT_EQ(rig_attach(&rig, 2, 9, 0), VIOMMU_S_OK);
    RIG_REFUSED(&rig, rig_attach(&rig, 3, 10, 0), VIOMMU_S_NOMEM);
    UT_EQ(rig_attach(&rig, 2, 10, 0), VIOMMU_S_OK);
    RIG_REFUSED(&rig, rig_attach(&rig, 3, 10, 0), VIOMMU_S_NOMEM);
    /* a sole endpoint that moves frees its old vdomain */
    UT_EQ(rig_attach(&rig, 3, 8, 0), VIOMMU_S_OK);
    UT_EQ(viommu_n_vdomains(rig.v), 2);
    UT_EQ(rig_detach(&rig, 3, 8), VIOMMU_S_OK);
    UT_EQ(rig_attach(&rig, 4, 8, 0), VIOMMU_S_OK);
    rig_stop(&rig);
}

static void no_vdomains_allowed_is_nomem(void)
{
    struct viommu_config c = VIOMMU_CONFIG_DEFAULT;

    c.max_vdomains = 0;
    UT_REQUIRE(start_with(&c));
    RIG_REFUSED(&rig, rig_attach(&rig, 1, 8, 0), VIOMMU_S_NOMEM);
    rig_stop(&rig);
}

/* A11 and ARCHITECTURE.md section 8: a refused ATTACH leaves the old attachment */
static void refused_attach_leaves_the_old_attachment(void)
{
    struct viommu_config c = VIOMMU_CONFIG_DEFAULT;

    c.domain_range = (struct range){0, 100};
    UT_REQUIRE(start_with(&c));
    UT_EQ(rig_attach(&rig, 1, 9, 0), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 1, 0, PAGE - 1, 0x8000, MAP_RW), VIOMMU_S_OK);
    UT_EQ(rig_attach(&rig, 2, 8, BYPASS), VIOMMU_S_OK);
    RIG_REFUSED(&rig, rig_attach(&rig, 2, 9, 0), VIOMMU_S_INVAL);
    RIG_REFUSED(&rig, rig_attach(&rig, 101, 9, 0), VIOMMU_S_RANGE);
    RIG_REFUSED(&rig, rig_attach(&rig, 3, 9, 2), VIOMMU_S_INVAL);
    UT_EQ(rig_lookup(&rig, 9, 0x10, true), 0x8010);
    rig_stop(&rig);
}

/* --- DETACH ----------------------------------------------------------------------------------- */

/* D23 */
static void detach_ignores_its_reserved_bytes(void)
{
    uint8_t req[VIOMMU_REQ_MAX];

    UT_REQUIRE(start());
    UT_EQ(rig_attach(&rig, 1, 8, 0), VIOMMU_S_OK);
    rig_build_detach(req, 1, 8);
    memset(req + 12, 0xff, 8);
    UT_EQ(rig_send(&rig, req, VIOMMU_DETACH_SIZE, 4), VIOMMU_S_OK);
    UT_EQ(vdomain_of(8), UINT32_MAX);
    rig_stop(&rig);
}

/* D24 */
static void detach_of_an_unknown_endpoint_is_noent(void)
{
    UT_REQUIRE(start());
    UT_EQ(rig_attach(&rig, 1, 8, 0), VIOMMU_S_OK);
    RIG_REFUSED(&rig, rig_detach(&rig, 1, 7), VIOMMU_S_NOENT);
    rig_stop(&rig);
}

/* D25 */
static void detach_from_the_wrong_vdomain_is_inval(void)
{
    UT_REQUIRE(start());
    RIG_REFUSED(&rig, rig_detach(&rig, 1, 8), VIOMMU_S_INVAL); /* no such vdomain */
    UT_EQ(rig_attach(&rig, 1, 8, 0), VIOMMU_S_OK);
    UT_EQ(rig_attach(&rig, 2, 9, 0), VIOMMU_S_OK);
    RIG_REFUSED(&rig, rig_detach(&rig, 2, 8), VIOMMU_S_INVAL);
    RIG_REFUSED(&rig, rig_detach(&rig, 3, 8), VIOMMU_S_INVAL);
    RIG_REFUSED(&rig, rig_detach(&rig, 1, 10), VIOMMU_S_INVAL); /* not attached at all */
    UT_EQ(rig_detach(&rig, 1, 8), VIOMMU_S_OK);
    RIG_REFUSED(&rig, rig_detach(&rig, 1, 8), VIOMMU_S_INVAL);
    rig_stop(&rig);
}

/* D26, D14 */
static void detached_endpoint_reaches_nothing(void)
{
    UT_REQUIRE(start());
    for (uint32_t id = 8; id <= 10; id++)
        UT_EQ(rig_attach(&rig, 1, id, 0), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 1, 0, PAGE - 1, 0x8000, MAP_RW), VIOMMU_S_OK);
    UT_EQ(rig_detach(&rig, 1, 9), VIOMMU_S_OK);
    UT_TRUE(rig.host.endpoints[1].space == NULL);
    UT_EQ(rig_lookup(&rig, 9, 0, false), UINT64_MAX);
    UT_EQ(rig_lookup(&rig, 10, 0, false), 0x8000);
    RIG_CHECK(&rig);
    rig_stop(&rig);
}

/* Section 8.1: Linux detaches from its bypass vdomain with domain 0 */
static void linux_detach_of_the_bypass_vdomain_works(void)
{
    struct viommu_config c = VIOMMU_CONFIG_DEFAULT;

    /* by default that is the right id */
    UT_REQUIRE(start());
    UT_EQ(rig_attach(&rig, 0, 8, BYPASS), VIOMMU_S_OK);
    UT_EQ(rig_detach(&rig, 0, 8), VIOMMU_S_OK);
    rig_stop(&rig);
    /* else 0 is no id, and means the endpoint's bypass vdomain */
    c.domain_range = (struct range){1, 100};
    UT_REQUIRE(start_with(&c));
    UT_EQ(rig_attach(&rig, 1, 8, BYPASS), VIOMMU_S_OK);
    UT_EQ(rig_attach(&rig, 2, 9, 0), VIOMMU_S_OK);
    RIG_REFUSED(&rig, rig_detach(&rig, 0, 9), VIOMMU_S_INVAL);  /* an ordinary one */
    RIG_REFUSED(&rig, rig_detach(&rig, 0, 10), VIOMMU_S_INVAL); /* unattached */
    RIG_REFUSED(&rig, rig_detach(&rig, 2, 8), VIOMMU_S_INVAL);
    UT_EQ(rig_detach(&rig, 0, 8), VIOMMU_S_OK);
    UT_EQ(rig_lookup(&rig, 8, 0, false), UINT64_MAX);
    rig_stop(&rig);
    /* where 0 is a legal id, it is only that vdomain's */
    UT_REQUIRE(start());
    UT_EQ(rig_attach(&rig, 1, 8, BYPASS), VIOMMU_S_OK);
    RIG_REFUSED(&rig, rig_detach(&rig, 0, 8), VIOMMU_S_INVAL);
    rig_stop(&rig);
}

int main(int argc, char **argv)
{
    static const struct ut_case cases[] = {
        UT_CASE(attach_creates_the_vdomain_and_last_detach_ends_it),
        UT_CASE(attach_with_reserved_bytes_is_inval),
        UT_CASE(attach_with_an_unknown_flag_is_inval),
        UT_CASE(bypass_flag_without_negotiation_is_inval),
        UT_CASE(attach_of_an_unknown_endpoint_is_noent),
        UT_CASE(vdomain_outside_domain_range),
        UT_CASE(bypass_flag_must_match_the_vdomains_kind),
        UT_CASE(several_endpoints_share_a_vdomain_and_its_mappings),
        UT_CASE(vdomains_are_isolated_from_one_another),
        UT_CASE(reattach_to_the_same_vdomain_changes_nothing),
        UT_CASE(attach_elsewhere_moves_the_endpoint),
        UT_CASE(attach_whose_reserved_region_is_mapped_is_unsupp),
        UT_CASE(bypass_vdomain_needs_an_endpoint_that_can),
        UT_CASE(vdomain_limit_is_nomem_and_counts_net),
        UT_CASE(no_vdomains_allowed_is_nomem),
        UT_CASE(refused_attach_leaves_the_old_attachment),
        UT_CASE(detach_ignores_its_reserved_bytes),
        UT_CASE(detach_of_an_unknown_endpoint_is_noent),
        UT_CASE(detach_from_the_wrong_vdomain_is_inval),
        UT_CASE(detached_endpoint_reaches_nothing),
        UT_CASE(linux_detach_of_the_bypass_vdomain_works),
    };

    return ut_main(argc, argv, "viommu_attach", cases, ARRAY_SIZE(cases));
}
