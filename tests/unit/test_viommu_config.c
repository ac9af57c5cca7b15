/* SPDX-License-Identifier: GPL-2.0-only */
/* Life cycle, features, config space, the bypass byte, reset. */
#include <config.h>

#include "common/le.h"
#include "common/log.h"
#include "tests/support/viommu_rig.h"

#include <errno.h>
#include <string.h>

static struct rig rig;

static void sound_configurations_are_accepted(void)
{
    struct viommu_config c = VIOMMU_CONFIG_DEFAULT;

    UT_TRUE(viommu_config_check(&c) == NULL);
    c.page_size_mask = 1; /* byte granule */
    c.probe_size = 0;
    c.max_mappings = 0;
    c.max_vdomains = 0;
    c.max_faults = 0;
    UT_TRUE(viommu_config_check(&c) == NULL);
    c.probe_size = VIOMMU_PROBE_SIZE_MAX;
    c.max_faults = SIZE_MAX / sizeof(struct viommu_fault);
    UT_TRUE(viommu_config_check(&c) == NULL);
    c.features = 0;
    c.input_range = (struct range){5, 4}; /* not offered: not looked at */
    c.domain_range = (struct range){1ull << 32, 3};
    UT_TRUE(viommu_config_check(&c) == NULL);
}

static void unsound_configurations_are_refused_with_a_reason(void)
{
    static const struct {
        struct viommu_config c;
        const char *word;
    } bad[] = {
        {{.page_size_mask = 0}, "page_size_mask"},
        {{.page_size_mask = 1, .features = 1ull << 3}, "features"}, /* D2: F_BYPASS */
        {{.page_size_mask = 1, .features = 1ull << 7}, "features"},
        {{.page_size_mask = 1, .features = VIOMMU_F_INPUT_RANGE, .input_range = {1, 0}},
         "input_range"},
        {{.page_size_mask = 1, .features = VIOMMU_F_DOMAIN_RANGE, .domain_range = {1, 0}},
         "domain_range"},
        {{.page_size_mask = 1, .features = VIOMMU_F_DOMAIN_RANGE, .domain_range = {0, 1ull << 32}},
         "domain_range"},
        {{.page_size_mask = 1, .probe_size = 12}, "multiple of 8"},
        {{.page_size_mask = 1, .probe_size = VIOMMU_PROBE_SIZE_MAX + 8}, "larger"},
        {{.page_size_mask = 1, .max_faults = SIZE_MAX}, "max_faults"},
    };
    struct model_space mem;
    struct guest_space space;

    model_space_init(&mem);
    space = model_space_guest(&mem);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        const char *why = viommu_config_check(&bad[i].c);
        struct viommu *v = NULL;

        UT_REQUIRE(why != NULL);
        UT_TRUE(strstr(why, bad[i].word) != NULL);
        UT_EQ(viommu_new(&v, &bad[i].c, &space), -EINVAL);
        UT_TRUE(v == NULL);
    }
    model_space_fini(&mem);
}

static void free_takes_null(void)
{
    UT_TRUE(viommu_free(NULL) == NULL);
}

static void nothing_is_negotiated_at_first_and_only_offers_can_be(void)
{
    struct viommu_config c = VIOMMU_CONFIG_DEFAULT;

    c.features &= ~VIOMMU_F_MMIO;
    UT_REQUIRE(rig_start(&rig, &c));
    viommu_reset(rig.v);
    UT_EQ(viommu_negotiated(rig.v), 0);
    UT_EQ(viommu_offered(rig.v), c.features);
    UT_EQ(viommu_set_features(rig.v, VIOMMU_F_MMIO), -EINVAL);
    UT_EQ(viommu_set_features(rig.v, 1ull << 3), -EINVAL);
    UT_EQ(viommu_negotiated(rig.v), 0);
    UT_EQ(viommu_set_features(rig.v, VIOMMU_F_MAP_UNMAP), 0);
    UT_EQ(viommu_negotiated(rig.v), VIOMMU_F_MAP_UNMAP);
    rig_stop(&rig);
}

/* D1, D2, D3 */
static void default_offer_has_map_unmap_and_no_old_bypass(void)
{
    struct viommu_config c = VIOMMU_CONFIG_DEFAULT;

    UT_TRUE((c.features & VIOMMU_F_MAP_UNMAP) != 0);
    UT_EQ(c.features & 1ull << 3, 0);
}

static void config_bytes_show_what_was_configured(void)
{
    struct viommu_config c = VIOMMU_CONFIG_DEFAULT;
    uint8_t b[VIOMMU_CONFIG_SIZE];

    c.page_size_mask = 0x40201000; /* D5: more bits than the granule */
    c.input_range = (struct range){0x1000, 0x7fffffffffull};
    c.domain_range = (struct range){3, 0x7fffffff};
    c.probe_size = 504;
    c.bypass = true; /* D6 */
    UT_REQUIRE(rig_start(&rig, &c));
    memset(b, 0xff, sizeof(b));
    viommu_config_bytes(rig.v, b);
    UT_EQ(le64_load(b), 0x40201000);
    UT_EQ(le64_load(b + 8), 0x1000);
    UT_EQ(le64_load(b + 16), 0x7fffffffffull);
    UT_EQ(le32_load(b + 24), 3);
    UT_EQ(le32_load(b + 28), 0x7fffffff);
    UT_EQ(le32_load(b + 32), 504);
    UT_EQ(le32_load(b + 36), 1); /* and three reserved zeroes */
    UT_EQ(viommu_reply_max(rig.v), 508);
    rig_stop(&rig);
}

static void fields_that_are_not_offered_read_as_no_limit(void)
{
    struct viommu_config c = VIOMMU_CONFIG_DEFAULT;
    uint8_t b[VIOMMU_CONFIG_SIZE];

    c.features = VIOMMU_F_MAP_UNMAP;
    c.input_range = (struct range){1, 2};
    c.domain_range = (struct range){1, 2};
    c.bypass = true;
    UT_REQUIRE(rig_start(&rig, &c));
    viommu_config_bytes(rig.v, b);
    UT_EQ(le64_load(b + 8), 0);
    UT_EQ(le64_load(b + 16), UINT64_MAX);
    UT_EQ(le32_load(b + 24), 0);
    UT_EQ(le32_load(b + 28), UINT32_MAX);
    UT_EQ(le32_load(b + 32), 0);
    UT_EQ(le32_load(b + 36), 0);
    UT_FALSE(viommu_bypass(rig.v));
    /* ... and limit nothing */
    UT_EQ(rig_add_soft(&rig, 8), 0);
    UT_EQ(rig_lookup(&rig, 8, 0x1000, false), UINT64_MAX);
    UT_EQ(rig_attach(&rig, 77, 8, 0), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 77, PAGE, 2 * PAGE - 1, 0, MAP_R), VIOMMU_S_OK);
    rig_stop(&rig);
}

/* V2-V4, D9 */
static void bypass_byte_takes_only_0_and_1_and_only_when_negotiated(void)
{
    UT_REQUIRE(rig_start(&rig, NULL));
    for (unsigned value = 2; value < 256; value++)
        UT_EQ(viommu_bypass_write(rig.v, (uint8_t)value), -EINVAL);
    UT_FALSE(viommu_bypass(rig.v));
    UT_EQ(viommu_bypass_write(rig.v, 1), 0);
    UT_TRUE(viommu_bypass(rig.v));
    UT_EQ(viommu_bypass_write(rig.v, 2), -EINVAL);
    UT_TRUE(viommu_bypass(rig.v));
    UT_EQ(viommu_set_features(rig.v, VIOMMU_F_MAP_UNMAP), 0);
    UT_EQ(viommu_bypass_write(rig.v, 0), -EPERM);
    UT_TRUE(viommu_bypass(rig.v));
    rig_stop(&rig);
}

/* A20, N4, D14 */
static void bypass_byte_rules_unattached_endpoints_at_once(void)
{
    UT_REQUIRE(rig_start(&rig, NULL));
    UT_EQ(rig_add_soft(&rig, 8), 0);
    UT_EQ(rig_add(&rig, 9, &model_host_ops), 0);
    UT_EQ(rig_lookup(&rig, 8, 0x1234, true), UINT64_MAX);
    UT_EQ(viommu_bypass_write(rig.v, 1), 0);
    UT_EQ(rig_lookup(&rig, 8, 0x1234, true), 0x1234);
    UT_EQ(rig_lookup(&rig, 9, 0x1234, true), 0x1234);
    UT_TRUE(rig.host.endpoints[1].identity);
    UT_EQ(viommu_bypass_write(rig.v, 1), 0); /* again: no second host call */
    UT_EQ(rig.host.calls[HOST_BYPASS_ON], 1);
    UT_EQ(viommu_bypass_write(rig.v, 0), 0);
    UT_EQ(rig_lookup(&rig, 8, 0x1234, true), UINT64_MAX);
    UT_FALSE(rig.host.endpoints[1].identity);
    rig_stop(&rig);
}

/* N4, both lines of the truth table */
static void bypass_truth_table(void)
{
    for (unsigned byte = 0; byte < 2; byte++) {
        UT_REQUIRE(rig_start(&rig, NULL));
        UT_EQ(viommu_bypass_write(rig.v, (uint8_t)byte), 0);
        UT_EQ(rig_add_soft(&rig, 8), 0);  /* unattached: the byte */
        UT_EQ(rig_add_soft(&rig, 9), 0);  /* ordinary vdomain: never */
        UT_EQ(rig_add_soft(&rig, 10), 0); /* bypass vdomain: always */
        UT_EQ(rig_attach(&rig, 1, 9, 0), VIOMMU_S_OK);
        UT_EQ(rig_attach(&rig, 2, 10, VIOMMU_ATTACH_F_BYPASS), VIOMMU_S_OK);
        UT_EQ(rig_lookup(&rig, 8, 0x5000, true), byte ? 0x5000 : UINT64_MAX);
        UT_EQ(rig_lookup(&rig, 9, 0x5000, true), UINT64_MAX);
        UT_EQ(rig_lookup(&rig, 10, 0x5000, true), 0x5000);
        /* N7: DETACH may drop an endpoint into bypass */
        UT_EQ(rig_detach(&rig, 1, 9), VIOMMU_S_OK);
        UT_EQ(rig_detach(&rig, 2, 10), VIOMMU_S_OK);
        UT_EQ(rig_lookup(&rig, 9, 0x5000, true), byte ? 0x5000 : UINT64_MAX);
        UT_EQ(rig_lookup(&rig, 10, 0x5000, true), byte ? 0x5000 : UINT64_MAX);
        rig_stop(&rig);
    }
}

/* D6 and 1.6: offered is enough, nothing needs to be negotiated */
static void initial_bypass_holds_before_any_driver(void)
{
    struct viommu_config c = VIOMMU_CONFIG_DEFAULT;

    c.bypass = true;
    UT_REQUIRE(rig_start(&rig, &c));
    UT_EQ(viommu_set_features(rig.v, 0), 0);
    UT_EQ(rig_add(&rig, 8, &model_host_ops), 0);
    UT_EQ(rig_lookup(&rig, 8, 0x5000, true), 0x5000);
    UT_TRUE(rig.host.endpoints[0].identity);
    rig_stop(&rig);
}

static void bypass_write_is_undone_when_the_host_refuses(void)
{
    UT_REQUIRE(rig_start(&rig, NULL));
    for (uint32_t id = 8; id < 12; id++)
        UT_EQ(rig_add(&rig, id, &model_host_ops), 0);
    UT_EQ(rig_add(&rig, 12, &model_host_ops), 0);
    UT_EQ(rig_attach(&rig, 1, 12, 0), VIOMMU_S_OK); /* it is not concerned */
    for (unsigned n = 1; n <= 4; n++) {
        model_host_fail(&rig.host, HOST_BYPASS_ON, n, 1, -EIO);
        RIG_REFUSED(&rig, viommu_bypass_write(rig.v, 1), -EIO);
        UT_FALSE(viommu_bypass(rig.v));
    }
    UT_EQ(viommu_bypass_write(rig.v, 1), 0);
    RIG_CHECK(&rig);
    rig_stop(&rig);
}

/* N5, D7, G9 and ARCHITECTURE.md section 8: reset forgets everything but the bypass byte */
static void reset_forgets_everything_but_the_bypass_byte(void)
{
    struct viommu_fault fault = {.endpoint = 8};
    char *fresh, *after;

    UT_REQUIRE(rig_start(&rig, NULL));
    UT_EQ(viommu_bypass_write(rig.v, 1), 0);
    UT_EQ(rig_add(&rig, 8, &model_host_ops), 0);
    UT_EQ(rig_add(&rig, 9, &model_host_ops), 0);
    UT_EQ(rig_add_soft(&rig, 10), 0);
    UT_EQ(viommu_set_features(rig.v, 0), 0);
    fresh = rig_dump(&rig);
    UT_EQ(viommu_set_features(rig.v, viommu_offered(rig.v)), 0);
    for (uint32_t id = 8; id < 11; id++)
        UT_EQ(rig_attach(&rig, 1, id, 0), VIOMMU_S_OK);
    UT_EQ(rig_attach(&rig, 2, 10, VIOMMU_ATTACH_F_BYPASS), VIOMMU_S_OK);
    for (uint64_t i = 0; i < 100; i++)
        UT_EQ(rig_map(&rig, 1, i * PAGE, i * PAGE + PAGE - 1, i * PAGE, MAP_RW), VIOMMU_S_OK);
    UT_TRUE(viommu_report_fault(rig.v, &fault));
    UT_EQ(rig.host.n_spaces, 2);
    UT_EQ(rig.mem.n_pins, 100);
    viommu_reset(rig.v);
    after = rig_dump(&rig);
    UT_STR(after, fresh);
    UT_TRUE(viommu_bypass(rig.v));
    UT_EQ(rig.mem.n_pins, 0);
    UT_EQ(rig.host.n_spaces, 0);
    UT_EQ(viommu_faults_queued(rig.v), 0);
    UT_EQ(viommu_counters(rig.v)->resets, 1);
    UT_EQ(viommu_counters(rig.v)->unmapped, 100);
    UT_EQ(rig_lookup(&rig, 8, 0x5000, true), 0x5000);
    free(fresh);
    free(after);
    rig_stop(&rig);
}

/* D8: a system reset is a new device */
static void bypass_byte_is_initial_again_in_a_new_device(void)
{
    UT_REQUIRE(rig_start(&rig, NULL));
    UT_EQ(viommu_bypass_write(rig.v, 1), 0);
    rig_stop(&rig);
    UT_REQUIRE(rig_start(&rig, NULL));
    UT_FALSE(viommu_bypass(rig.v));
    rig_stop(&rig);
}

static void host_is_released_before_memory_at_reset_and_removal(void)
{
    for (int pass = 0; pass < 2; pass++) {
        char *trace;

        UT_REQUIRE(rig_start(&rig, NULL));
        UT_EQ(rig_add(&rig, 8, &model_host_ops), 0);
        UT_EQ(rig_attach(&rig, 1, 8, 0), VIOMMU_S_OK);
        UT_EQ(rig_map(&rig, 1, 0, PAGE - 1, 0, MAP_RW), VIOMMU_S_OK);
        rig_trace_begin(&rig);
        if (pass == 0)
            viommu_reset(rig.v);
        else
            UT_EQ(viommu_endpoint_remove(rig.v, 8), 0);
        trace = rig_trace_end(&rig);
        UT_STR(trace, "detach 0\nspace_free 0\nunpin 0-0xfff rw\n");
        free(trace);
        rig_stop(&rig);
    }
}

/* A reset does not interrupt DMA that needs no driver. */
static void reset_leaves_unattached_endpoints_where_they_are(void)
{
    char *trace;

    UT_REQUIRE(rig_start(&rig, NULL));
    UT_EQ(viommu_bypass_write(rig.v, 1), 0);
    UT_EQ(rig_add(&rig, 8, &model_host_ops), 0);
    rig_trace_begin(&rig);
    viommu_reset(rig.v);
    trace = rig_trace_end(&rig);
    UT_STR(trace, "");
    free(trace);
    rig_stop(&rig);
}

static unsigned log_lines;

static void count_line(enum log_level level, const char *line, void *ctx)
{
    (void)level;
    (void)line;
    (void)ctx;
    log_lines++;
}

/* A guest can reset as often as it likes. */
static void trouble_at_resets_is_logged_within_a_limit(void)
{
    UT_REQUIRE(rig_start(&rig, NULL));
    log_lines = 0;
    log_set_sink(count_line, NULL);
    UT_EQ(viommu_bypass_write(rig.v, 1), 0);
    UT_EQ(rig_add(&rig, 8, &model_host_ops), 0);
    for (unsigned i = 0; i < 100; i++) {
        UT_EQ(viommu_set_features(rig.v, VIOMMU_F_ALL), 0);
        UT_EQ(rig_attach(&rig, 1, 8, 0), VIOMMU_S_OK);
        if (i > 0)
            model_host_fail(&rig.host, HOST_BYPASS_ON, 1, 1, -EIO);
        viommu_reset(rig.v);
        UT_EQ(log_lines > 0, i > 0);
    }
    UT_TRUE(log_lines < 30);
    log_set_sink(NULL, NULL);
    rig_stop(&rig);
}

/* A host that refuses bypass after a reset leaves the endpoint blocked, never open by mistake. */
static void endpoint_without_its_bypass_after_reset_is_blocked(void)
{
    UT_REQUIRE(rig_start(&rig, NULL));
    UT_EQ(viommu_bypass_write(rig.v, 1), 0);
    UT_EQ(rig_add(&rig, 8, &model_host_ops), 0);
    UT_EQ(rig_attach(&rig, 1, 8, 0), VIOMMU_S_OK);
    model_host_fail(&rig.host, HOST_BYPASS_ON, 1, 1, -EIO);
    viommu_reset(rig.v);
    UT_TRUE(viommu_bypass(rig.v));
    UT_EQ(rig_lookup(&rig, 8, 0x5000, true), UINT64_MAX);
    RIG_CHECK(&rig);
    /* the next reset or write of the byte tries again */
    UT_EQ(viommu_set_features(rig.v, VIOMMU_F_ALL), 0);
    UT_EQ(viommu_bypass_write(rig.v, 1), 0);
    UT_EQ(rig_lookup(&rig, 8, 0x5000, true), 0x5000);
    rig_stop(&rig);
}

static void host_failures_become_the_documented_verdicts(void)
{
    static const struct {
        int err;
        enum viommu_status status;
    } want[] = {
        {0, VIOMMU_S_OK},
        {-ENOMEM, VIOMMU_S_NOMEM},
        {-ENOSPC, VIOMMU_S_NOMEM},
        {-EDQUOT, VIOMMU_S_NOMEM},
        {-EFAULT, VIOMMU_S_FAULT},
        {-EBUSY, VIOMMU_S_UNSUPP},
        {-EXDEV, VIOMMU_S_UNSUPP},
        {-EIO, VIOMMU_S_DEVERR},
        {-EINVAL, VIOMMU_S_DEVERR},
        {-EEXIST, VIOMMU_S_DEVERR},
        {-12345, VIOMMU_S_DEVERR},
        {-ENODEV, VIOMMU_S_DEVERR},
        {-EOPNOTSUPP, VIOMMU_S_UNSUPP},
    };

    for (size_t i = 0; i < ARRAY_SIZE(want); i++)
        UT_EQ(viommu_status_of_errno(want[i].err), want[i].status);
    UT_STR(viommu_status_name(VIOMMU_S_NOENT), "NOENT");
    UT_STR(viommu_status_name(9), "?");
    UT_STR(viommu_type_name(VIOMMU_T_UNMAP), "UNMAP");
    UT_STR(viommu_type_name(6), "?");
}

int main(int argc, char **argv)
{
    static const struct ut_case cases[] = {
        UT_CASE(sound_configurations_are_accepted),
        UT_CASE(unsound_configurations_are_refused_with_a_reason),
        UT_CASE(free_takes_null),
        UT_CASE(nothing_is_negotiated_at_first_and_only_offers_can_be),
        UT_CASE(default_offer_has_map_unmap_and_no_old_bypass),
        UT_CASE(config_bytes_show_what_was_configured),
        UT_CASE(fields_that_are_not_offered_read_as_no_limit),
        UT_CASE(bypass_byte_takes_only_0_and_1_and_only_when_negotiated),
        UT_CASE(bypass_byte_rules_unattached_endpoints_at_once),
        UT_CASE(bypass_truth_table),
        UT_CASE(initial_bypass_holds_before_any_driver),
        UT_CASE(bypass_write_is_undone_when_the_host_refuses),
        UT_CASE(reset_forgets_everything_but_the_bypass_byte),
        UT_CASE(bypass_byte_is_initial_again_in_a_new_device),
        UT_CASE(host_is_released_before_memory_at_reset_and_removal),
        UT_CASE(reset_leaves_unattached_endpoints_where_they_are),
        UT_CASE(trouble_at_resets_is_logged_within_a_limit),
        UT_CASE(endpoint_without_its_bypass_after_reset_is_blocked),
        UT_CASE(host_failures_become_the_documented_verdicts),
    };

    return ut_main(argc, argv, "viommu_config", cases, ARRAY_SIZE(cases));
}
