/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The strict parsers: for every key what is accepted at both ends of its range, and what is
 * refused, with the output untouched and a message that names node, key and accepted values.
 */
#include <config.h>

#include "xenstore/config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/compiler.h"
#include "tests/support/ut.h"

static bool printable(const char *s)
{
    for (; *s; s++) {
        if (*s < 0x20 || *s > 0x7e)
            return false;
    }
    return true;
}

/* --- viommu/config ---------------------------------------------------------------------------- */

/* Refused with `err`, *out unchanged, and each of the words in the message. */
static void refuse_device(const char *text, int err, const char *word)
{
    struct config_device c, before;
    char why[CONFIG_WHY_SIZE];

    memset(&c, 0xa5, sizeof(c));
    memcpy(&before, &c, sizeof(c));
    UT_EQ((int64_t)config_device_parse(text, &c, why), (int64_t)err);
    UT_TRUE(memcmp(&c, &before, sizeof(c)) == 0);
    UT_TRUE(strncmp(why, "viommu/config: ", 15) == 0);
    if (!strstr(why, word))
        UT_STR(why, word);
    UT_TRUE(printable(why));
}

static void config_may_be_absent_or_empty(void)
{
    static const char *const texts[] = {NULL, "", " "};
    char why[CONFIG_WHY_SIZE];

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct config_device c = {.present = 77};

        UT_EQ(config_device_parse(texts[i], &c, why), 0);
        UT_EQ(c.present, 0);
        UT_EQ(c.max_mappings, 0);
        UT_STR(why, "");
    }
}

static void config_takes_every_key(void)
{
    struct config_device c;
    char why[CONFIG_WHY_SIZE];

    UT_REQUIRE(
        config_device_parse("page-size-mask=0xfffffffffffff000 input-range=0x1000:0xffff "
                            "domain-range=1:9 bypass=1 bypass-config=1 mmio=1 probe-size=1024 "
                            "max-mappings=11 max-vdomains=12 max-faults=13 max-pages=14 "
                            "max-windows=15 queue-size=256",
                            &c, why) == 0);
    UT_EQ(c.present, (1u << CONFIG_N_KEYS) - 1);
    UT_EQ(c.page_size_mask, UINT64_C(0xfffffffffffff000));
    UT_EQ(c.input_range.first, 0x1000);
    UT_EQ(c.input_range.last, 0xffff);
    UT_EQ(c.domain_range.first, 1);
    UT_EQ(c.domain_range.last, 9);
    UT_TRUE(c.bypass && c.bypass_config && c.mmio);
    UT_EQ(c.probe_size, 1024);
    UT_EQ(c.max_mappings, 11);
    UT_EQ(c.max_vdomains, 12);
    UT_EQ(c.max_faults, 13);
    UT_EQ(c.max_pages, 14);
    UT_EQ(c.max_windows, 15);
    UT_EQ(c.queue_size, 256);
}

static void config_says_what_was_given(void)
{
    struct config_device c;
    char why[CONFIG_WHY_SIZE];

    UT_REQUIRE(config_device_parse("bypass=0  max-pages=7", &c, why) == 0);
    UT_TRUE(config_has(&c, CONFIG_BYPASS) && config_has(&c, CONFIG_MAX_PAGES));
    UT_FALSE(config_has(&c, CONFIG_BYPASS_CONFIG) || config_has(&c, CONFIG_QUEUE_SIZE));
    UT_FALSE(c.bypass);
}

static void config_bounds_are_exact(void)
{
    static const char *const good[] = {
        "page-size-mask=1",
        "page-size-mask=18446744073709551615",
        "input-range=0:0xffffffffffffffff",
        "input-range=5:5",
        "domain-range=0:4294967295",
        "probe-size=8",
        "probe-size=65536",
        "max-mappings=1",
        "max-mappings=4294967295",
        "max-vdomains=4294967295",
        "max-faults=4294967295",
        "max-pages=4294967295",
        "max-windows=4294967295",
        "queue-size=1",
        "queue-size=1024",
        "queue-size=0x10",
    };
    char why[CONFIG_WHY_SIZE];

    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        struct config_device c;

        UT_EQ(config_device_parse(good[i], &c, why), 0);
        UT_STR(why, "");
    }
}

static void config_refuses_values_out_of_bounds(void)
{
    refuse_device("page-size-mask=0", -EINVAL, "not 0");
    refuse_device("page-size-mask=18446744073709551616", -ERANGE, "64-bit");
    refuse_device("input-range=2:1", -EINVAL, "A <= B");
    refuse_device("input-range=1", -EINVAL, "A:B");
    refuse_device("input-range=1:", -EINVAL, "A:B");
    refuse_device("input-range=:1", -EINVAL, "A:B");
    refuse_device("input-range=1:2:3", -EINVAL, "A:B");
    refuse_device("input-range=0:0x10000000000000000", -ERANGE, "A:B");
    refuse_device("domain-range=0:4294967296", -ERANGE, "32-bit");
    refuse_device("bypass=2", -EINVAL, "0 or 1");
    refuse_device("bypass=yes", -EINVAL, "0 or 1");
    refuse_device("bypass-config=2", -EINVAL, "0 or 1");
    refuse_device("mmio=2", -EINVAL, "0 or 1");
    refuse_device("probe-size=0", -EINVAL, "multiple of 8");
    refuse_device("probe-size=12", -EINVAL, "multiple of 8");
    refuse_device("probe-size=65544", -ERANGE, "65536");
    refuse_device("queue-size=0", -EINVAL, "power of two");
    refuse_device("queue-size=100", -EINVAL, "power of two");
    refuse_device("queue-size=2048", -ERANGE, "1024");
}

/* For each numeric key the ways in which a text is no number. */
static void config_refuses_what_is_no_number(void)
{
    static const char *const keys[] = {"page-size-mask", "probe-size", "max-mappings",
                                       "max-vdomains",   "max-faults", "max-pages",
                                       "max-windows",    "queue-size"};
    static const char *const values[] = {"", "+8", "-8", "8x", "0x", "8,", "x8", "8K", "0x8g"};

    for (size_t k = 0; k < ARRAY_SIZE(keys); k++) {
        for (size_t v = 0; v < ARRAY_SIZE(values); v++) {
            char text[64];

            snprintf(text, sizeof(text), "%s=%s", keys[k], values[v]);
            refuse_device(text, -EINVAL, keys[k]);
        }
    }
}

static void config_refuses_zero_limits_and_overflow(void)
{
    static const char *const keys[] = {"max-mappings", "max-vdomains", "max-faults", "max-pages",
                                       "max-windows"};

    for (size_t k = 0; k < ARRAY_SIZE(keys); k++) {
        char text[64];

        snprintf(text, sizeof(text), "%s=0", keys[k]);
        refuse_device(text, -EINVAL, "1 to 4294967295");
        snprintf(text, sizeof(text), "%s=4294967296", keys[k]);
        refuse_device(text, -ERANGE, "1 to 4294967295");
        snprintf(text, sizeof(text), "%s=99999999999999999999999", keys[k]);
        refuse_device(text, -ERANGE, keys[k]);
    }
}

static void config_refuses_repeated_unknown_and_malformed_pairs(void)
{
    refuse_device("bypass=1 bypass=1", -EINVAL, "bypass= is given twice");
    refuse_device("max-pages=1 bypass=1 max-pages=1", -EINVAL, "max-pages= is given twice");
    refuse_device("frobnicate=1", -EINVAL, "unknown key \"frobnicate\" (known: page-size-mask");
    refuse_device("frobnicate=1", -EINVAL, "queue-size)");
    refuse_device("Bypass=1", -EINVAL, "unknown key");
    refuse_device("bypass", -EINVAL, "key=value");
    refuse_device("=1", -EINVAL, "key=value");
    refuse_device("bypass = 1", -EINVAL, "key=value");
    refuse_device("bypass=1;max-pages=2", -EINVAL, "bypass");
    refuse_device("bypass=1\n", -EINVAL, "bypass");
    refuse_device("bypass=\x1b[31m\xff", -EINVAL, "bypass=?[31m?");
}

static void config_refuses_words_without_end(void)
{
    char text[600];

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    refuse_device(text, -EINVAL, "...");
    memcpy(text, "max-pages=", 10);
    refuse_device(text, -E2BIG, "...");
}

/* --- viommu/endpoint-* ------------------------------------------------------------------------ */

#define NODE_8 "endpoint-00000008"

static void refuse_endpoint(const char *name, const char *text, int err, const char *word)
{
    struct config_endpoint ep, before;
    char why[CONFIG_WHY_SIZE];

    memset(&ep, 0xa5, sizeof(ep));
    memcpy(&before, &ep, sizeof(ep));
    UT_EQ((int64_t)config_endpoint_parse(name, text, &ep, why), (int64_t)err);
    UT_TRUE(memcmp(&ep, &before, sizeof(ep)) == 0);
    if (!strstr(why, word))
        UT_STR(why, word);
    UT_TRUE(printable(why));
}

static void a_soft_endpoint_needs_id_and_driver(void)
{
    struct config_endpoint ep;
    char why[CONFIG_WHY_SIZE];

    UT_REQUIRE(config_endpoint_parse(NODE_8, "id=0x8 driver=soft", &ep, why) == 0);
    UT_EQ(ep.id, 8);
    UT_EQ(ep.driver, CONFIG_DRIVER_SOFT);
    UT_TRUE(ep.msi);
    UT_FALSE(ep.has_guest);
    UT_STR(ep.device, "");
    UT_EQ(ep.n_resv, 0);
    refuse_endpoint(NODE_8, "driver=soft", -EINVAL, NODE_8 ": id= is missing");
    refuse_endpoint(NODE_8, "id=8", -EINVAL, "driver= is missing (soft, vfio, iommufd or auto)");
    refuse_endpoint(NODE_8, "", -EINVAL, "id= is missing");
}

static void a_soft_endpoint_takes_everything_of_its_kind(void)
{
    struct config_endpoint ep;
    char why[CONFIG_WHY_SIZE];

    UT_REQUIRE(config_endpoint_parse(NULL,
                                     "resv=0x1000:0x1fff:reserved driver=soft id=4294967295 msi=0 "
                                     "guest=pci:0001:0a:1F.7 resv=0:0xffffffffffffffff:msi",
                                     &ep, why) == 0);
    UT_EQ(ep.id, UINT32_MAX);
    UT_FALSE(ep.msi);
    UT_TRUE(ep.has_guest);
    UT_EQ(ep.guest.segment, 1);
    UT_EQ(ep.guest.bus, 10);
    UT_EQ(ep.guest.device, 31);
    UT_EQ(ep.guest.function, 7);
    UT_REQUIRE(ep.n_resv == 2);
    UT_EQ(ep.resv[0].range.first, 0x1000);
    UT_EQ(ep.resv[0].range.last, 0x1fff);
    UT_FALSE(ep.resv[0].msi);
    UT_EQ(ep.resv[1].range.last, UINT64_MAX);
    UT_TRUE(ep.resv[1].msi);
}

static void host_endpoints_need_a_device(void)
{
    struct config_endpoint ep;
    char why[CONFIG_WHY_SIZE];

    UT_REQUIRE(config_endpoint_parse(NODE_8, "id=8 driver=vfio device=0000:0A:00.1", &ep, why) ==
               0);
    UT_EQ(ep.driver, CONFIG_DRIVER_VFIO);
    UT_STR(ep.device, "0000:0a:00.1");
    UT_FALSE(ep.msi);
    UT_REQUIRE(config_endpoint_parse(
                   NODE_8, "id=8 driver=iommufd device=C0FFEE00-1234-5678-9abc-def012345678", &ep,
                   why) == 0);
    UT_EQ(ep.driver, CONFIG_DRIVER_IOMMUFD);
    UT_STR(ep.device, "c0ffee00-1234-5678-9abc-def012345678");
    refuse_endpoint(NODE_8, "id=8 driver=vfio", -EINVAL, "device= is missing: driver=vfio");
    refuse_endpoint(NODE_8, "id=8 driver=soft device=0000:03:00.0", -EINVAL, "device= goes with");
    refuse_endpoint(NODE_8, "id=8 driver=vfio device=0000:03:00.0 msi=1", -EINVAL, "msi= goes");
    refuse_endpoint(NODE_8, "id=8 driver=iommufd device=0000:03:00.0 resv=0:1:msi", -EINVAL,
                    "resv= goes with driver=soft, not iommufd");
    refuse_endpoint(NODE_8, "id=8 driver=iommufd device=0000:03:00.0 unsafe-pin-leak=1", -EINVAL,
                    "unsafe-pin-leak= goes with driver=vfio or auto, not iommufd");
    refuse_endpoint(NODE_8, "id=8 driver=soft unsafe-pin-leak=0", -EINVAL,
                    "unsafe-pin-leak= goes with");
    refuse_endpoint(NODE_8, "id=8 driver=vfio device=0000:03:00.0 unsafe-pin-leak=2", -EINVAL,
                    "0 or 1");
    refuse_endpoint(NODE_8, "id=8 driver=auto", -EINVAL, "device= is missing: driver=auto needs");
}

static void a_device_is_nothing_but_an_address_or_a_uuid(void)
{
    static const char *const bad[] = {
        "",
        "03:00.0",
        "0000:03:00.8",
        "0000:03:20.0",
        "0000:03:00",
        "0000:03:00.0x",
        "00000:03:00.0",
        "../../etc/passwd",
        "0000:03:00.0/../x",
        "c0ffee00-1234-5678-9abc-def01234567",
        "c0ffee00-1234-5678-9abc-def0123456789",
        "c0ffee00+1234-5678-9abc-def012345678",
        "c0ffee001-234-5678-9abc-def012345678",
        "g0ffee00-1234-5678-9abc-def012345678",
    };

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        char text[128];

        snprintf(text, sizeof(text), "id=8 driver=vfio device=%s", bad[i]);
        refuse_endpoint(NODE_8, text, -EINVAL, "SSSS:BB:DD.F");
    }
}

static void endpoint_values_are_strict(void)
{
    refuse_endpoint(NODE_8, "id=-8 driver=soft", -EINVAL, "32-bit");
    refuse_endpoint(NODE_8, "id= driver=soft", -EINVAL, "32-bit");
    refuse_endpoint(NODE_8, "id=4294967296 driver=soft", -ERANGE, "32-bit");
    refuse_endpoint(NODE_8, "id=8 id=8 driver=soft", -EINVAL, "id= is given twice");
    refuse_endpoint(NODE_8, "id=8 driver=Soft", -EINVAL, "soft, vfio, iommufd or auto");
    refuse_endpoint(NODE_8, "id=8 driver=", -EINVAL, "soft, vfio, iommufd or auto");
    refuse_endpoint(NODE_8, "id=8 driver=soft color=red", -EINVAL, "unknown key \"color\"");
    refuse_endpoint(NODE_8, "id=8 driver=soft msi=2", -EINVAL, "0 or 1");
    refuse_endpoint(NODE_8, "id=8 driver=soft msi=0 msi=0", -EINVAL, "twice");
    refuse_endpoint(NODE_8, "id=8 driver=soft guest=0000:00:05.0", -EINVAL, "pci:SSSS");
    refuse_endpoint(NODE_8, "id=8 driver=soft guest=pci:", -EINVAL, "pci:SSSS");
    refuse_endpoint(NODE_8, "id=8 driver=soft guest=pci:0000:00:05.0x", -EINVAL, "pci:SSSS");
    refuse_endpoint(NODE_8, "id=8 driver=soft guest=pci:0000:00:05.8", -EINVAL, "pci:SSSS");
    refuse_endpoint(NODE_8, "id=8 driver=soft resv=0:1", -EINVAL, "A:B:reserved");
    refuse_endpoint(NODE_8, "id=8 driver=soft resv=0:1:", -EINVAL, "A:B:reserved");
    refuse_endpoint(NODE_8, "id=8 driver=soft resv=0:1:msix", -EINVAL, "A:B:reserved");
    refuse_endpoint(NODE_8, "id=8 driver=soft resv=2:1:msi", -EINVAL, "A <= B");
    refuse_endpoint(NODE_8, "id=8 driver=soft resv=msi", -EINVAL, "A:B:reserved");
    refuse_endpoint(NODE_8, "id=8 driver=soft resv=0:0x10000000000000000:msi", -ERANGE, "A:B");
}

static void regions_are_limited_in_number(void)
{
    char text[1200] = "id=8 driver=soft", why[CONFIG_WHY_SIZE];
    struct config_endpoint ep;

    for (unsigned i = 0; i < CONFIG_MAX_RESV; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), " resv=%u:%u:msi", i, i);
    UT_EQ(config_endpoint_parse(NODE_8, text, &ep, why), 0);
    UT_EQ(ep.n_resv, CONFIG_MAX_RESV);
    snprintf(text + strlen(text), sizeof(text) - strlen(text), " resv=99:99:msi");
    refuse_endpoint(NODE_8, text, -E2BIG, "at most 32");
}

static void a_nodes_name_has_one_spelling(void)
{
    static const char *const bad[] = {
        "endpoint-8",         "endpoint-0000000A",
        "endpoint-000000080", "endpoint-",
        "endpoint-0000000g",  "Endpoint-00000008",
        "endpoint-0000000 ",  "config",
        "endpoint-0x000008",  "",
    };
    uint32_t id = 77;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        UT_EQ((int64_t)config_endpoint_id(bad[i], &id), -EINVAL);
    UT_EQ(id, 77);
    UT_EQ(config_endpoint_id("endpoint-0000000a", &id), 0);
    UT_EQ(id, 10);
    UT_EQ(config_endpoint_id("endpoint-ffffffff", &id), 0);
    UT_EQ(id, UINT32_MAX);
}

static void a_nodes_name_and_id_must_agree(void)
{
    refuse_endpoint("endpoint-00000009", "id=8 driver=soft", -EINVAL,
                    "endpoint-00000009: id=0x8 is not the number");
    refuse_endpoint("endpoint-8", "id=8 driver=soft", -EINVAL, "8 lower-case hex digits");
}

static void same_endpoint(const struct config_endpoint *a, const struct config_endpoint *b)
{
    UT_EQ(a->id, b->id);
    UT_EQ(a->driver, b->driver);
    UT_STR(a->device, b->device);
    UT_EQ(a->has_guest, b->has_guest);
    UT_TRUE(memcmp(&a->guest, &b->guest, sizeof(a->guest)) == 0);
    UT_EQ(a->msi, b->msi);
    UT_EQ(a->unsafe_pin_leak, b->unsafe_pin_leak);
    UT_REQUIRE(a->n_resv == b->n_resv);
    for (size_t i = 0; i < a->n_resv; i++) {
        UT_EQ(a->resv[i].range.first, b->resv[i].range.first);
        UT_EQ(a->resv[i].range.last, b->resv[i].range.last);
        UT_EQ(a->resv[i].msi, b->resv[i].msi);
    }
}

static void a_formatted_endpoint_parses_back(void)
{
    static const char *const texts[] = {
        "id=0x8 driver=soft",
        "id=0xffffffff driver=soft guest=pci:0000:00:05.0 msi=0",
        "id=0x8 driver=soft resv=0x1000:0x1fff:reserved resv=0:0xffffffffffffffff:msi",
        "id=0x9 driver=vfio device=0000:03:00.0 guest=pci:ffff:ff:1f.7",
        "id=0x9 driver=iommufd device=c0ffee00-1234-5678-9abc-def012345678",
        "id=0x9 driver=auto device=0000:03:00.0 unsafe-pin-leak=1",
    };

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        char text[XS_ADMIN_VALUE_MAX + 1], why[CONFIG_WHY_SIZE];
        struct config_endpoint a, b;

        UT_REQUIRE(config_endpoint_parse(NULL, texts[i], &a, why) == 0);
        UT_REQUIRE(config_endpoint_format(&a, text, sizeof(text)) == 0);
        UT_REQUIRE(config_endpoint_parse(NULL, text, &b, why) == 0);
        same_endpoint(&a, &b);
        if (i != 2)
            UT_STR(text, texts[i]);
        UT_EQ((int64_t)config_endpoint_format(&a, text, strlen(texts[i])), -E2BIG);
        UT_STR(text, "");
    }
}

static void the_summary_tells_the_guest_no_more_than_it_may_know(void)
{
    static const char *const texts[] = {
        "id=8 driver=soft resv=0:1:msi",
        "id=9 driver=vfio device=0000:03:00.0 guest=pci:0000:00:05.0",
        "id=10 driver=auto device=c0ffee00-1234-5678-9abc-def012345678 unsafe-pin-leak=1",
    };
    struct config_endpoint eps[3];
    char out[CONFIG_SUMMARY_SIZE], why[CONFIG_WHY_SIZE];

    for (size_t i = 0; i < 3; i++)
        UT_REQUIRE(config_endpoint_parse(NULL, texts[i], &eps[i], why) == 0);
    UT_EQ(config_summary(eps, 3, out), 3);
    UT_STR(out, "id=0x8 dma=soft;id=0x9 dma=translated guest=pci:0000:00:05.0;"
                "id=0xa dma=translated");
    UT_EQ(config_summary(eps, 0, out), 0);
    UT_STR(out, "");
}

static void the_summary_leaves_out_what_does_not_fit(void)
{
    static struct config_endpoint eps[200];
    char out[CONFIG_SUMMARY_SIZE];
    size_t n, len;

    for (unsigned i = 0; i < 200; i++)
        eps[i] = (struct config_endpoint){.id = UINT32_MAX - i};
    n = config_summary(eps, 200, out);
    /* "id=0xffffffff dma=soft" is 22 bytes: 87 groups with 86 separators are exactly 2,000. */
    UT_EQ(n, 87);
    len = strlen(out);
    UT_EQ(len, XS_ENDPOINTS_VALUE_MAX);
    UT_FALSE(config_summary_add(out, &eps[n]));
    UT_EQ(strlen(out), len);
    UT_TRUE(out[len - 1] == 't');
}

/* --- the frontend's nodes --------------------------------------------------------------------- */

#define FEATURES (UINT64_C(3) << 32 | 0x3000007f)

static const struct config_offer offer = {.features = FEATURES, .queue_size_max = 1024};

static void set(struct config_fe_raw *raw, enum config_fe_node node, const char *text)
{
    config_fe_raw_set(raw, node, text, strlen(text));
}

static void good_raw(struct config_fe_raw *raw)
{
    memset(raw, 0, sizeof(*raw));
    set(raw, CONFIG_FE_VERSION, "1");
    set(raw, CONFIG_FE_FEATURES, "0x330000047");
    set(raw, CONFIG_FE_CONTROL, "ref=8 port=3");
    set(raw, CONFIG_FE_QUEUE_0,
        "size=256 desc=0x8000000000009000 driver=0x800000000000a000 device=0x800000000000b000 "
        "port=4");
    set(raw, CONFIG_FE_QUEUE_1, "port=5 size=0x10 desc=0x1000 device=8196 driver=4098");
}

static void refuse_raw(const struct config_fe_raw *raw, int err, const char *word)
{
    struct config_frontend fe, before;
    char why[CONFIG_WHY_SIZE];

    memset(&fe, 0xa5, sizeof(fe));
    memcpy(&before, &fe, sizeof(fe));
    UT_EQ((int64_t)config_frontend_parse(raw, &offer, &fe, why), (int64_t)err);
    UT_TRUE(memcmp(&fe, &before, sizeof(fe)) == 0);
    if (!strstr(why, word))
        UT_STR(why, word);
    UT_TRUE(printable(why));
}

static void refuse_node(enum config_fe_node node, const char *text, int err, const char *word)
{
    struct config_fe_raw raw;

    good_raw(&raw);
    set(&raw, node, text);
    refuse_raw(&raw, err, word);
}

static void a_good_frontend_is_taken(void)
{
    struct config_frontend fe;
    struct config_fe_raw raw;
    char why[CONFIG_WHY_SIZE];

    good_raw(&raw);
    UT_REQUIRE(config_frontend_parse(&raw, &offer, &fe, why) == 0);
    UT_EQ(fe.features, UINT64_C(0x330000047));
    UT_EQ(fe.control.ref, 8);
    UT_EQ(fe.control.port, 3);
    UT_EQ(fe.queue[0].size, 256);
    UT_EQ(fe.queue[0].desc, UINT64_C(0x8000000000009000));
    UT_EQ(fe.queue[0].driver, UINT64_C(0x800000000000a000));
    UT_EQ(fe.queue[0].device, UINT64_C(0x800000000000b000));
    UT_EQ(fe.queue[0].port, 4);
    UT_EQ(fe.queue[1].size, 16);
    UT_EQ(fe.queue[1].desc, 0x1000);
    UT_EQ(fe.queue[1].driver, 4098);
    UT_EQ(fe.queue[1].device, 8196);
    UT_EQ(fe.queue[1].port, 5);
    UT_STR(why, "");
}

static void every_frontend_node_must_be_there_and_legible(void)
{
    for (unsigned i = 0; i < CONFIG_FE_N_NODES; i++) {
        const char *name = config_fe_node_name((enum config_fe_node)i);
        struct config_fe_raw raw;
        char text[300];

        good_raw(&raw);
        raw.node[i].status = CONFIG_FE_ABSENT;
        refuse_raw(&raw, -ENOENT, name);
        memset(text, '1', sizeof(text));
        config_fe_raw_set(&raw, (enum config_fe_node)i, text, 256);
        UT_EQ(raw.node[i].status, CONFIG_FE_TOO_LONG);
        UT_STR(raw.node[i].text, "");
        refuse_raw(&raw, -E2BIG, name);
        config_fe_raw_set(&raw, (enum config_fe_node)i, "1\0", 2);
        UT_EQ(raw.node[i].status, CONFIG_FE_BAD_BYTES);
        UT_STR(raw.node[i].text, "");
        refuse_raw(&raw, -EINVAL, name);
        refuse_node((enum config_fe_node)i, "", i == CONFIG_FE_VERSION ? -EPROTO : -EINVAL, name);
        raw.node[i].status = (enum config_fe_status)99;
        refuse_raw(&raw, -ENOENT, name);
    }
}

static void raw_values_are_bounded_and_printable(void)
{
    struct config_fe_raw raw;
    char text[256];

    memset(text, '~', sizeof(text));
    config_fe_raw_set(&raw, CONFIG_FE_CONTROL, text, 255);
    UT_EQ(raw.node[CONFIG_FE_CONTROL].status, CONFIG_FE_PRESENT);
    UT_EQ(strlen(raw.node[CONFIG_FE_CONTROL].text), 255);
    for (unsigned c = 0; c < 256; c++) {
        text[0] = (char)c;
        config_fe_raw_set(&raw, CONFIG_FE_CONTROL, text, 1);
        UT_EQ(raw.node[CONFIG_FE_CONTROL].status,
              c >= 0x20 && c <= 0x7e ? CONFIG_FE_PRESENT : CONFIG_FE_BAD_BYTES);
    }
    UT_STR(config_fe_node_name((enum config_fe_node)99), "?");
}

static void a_node_without_an_end_is_refused(void)
{
    struct config_fe_raw raw;

    good_raw(&raw);
    memset(raw.node[CONFIG_FE_CONTROL].text, '1', sizeof(raw.node[0].text));
    refuse_raw(&raw, -EINVAL, "not terminated");
}

static void only_version_1_is_spoken(void)
{
    static const char *const bad[] = {"0", "2", "01x", "-1", "1 ", "+1", "18446744073709551617"};

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        refuse_node(CONFIG_FE_VERSION, bad[i], -EPROTO, "viommu-version: \"");
}

static void features_are_a_subset_with_version_1_and_access_platform(void)
{
    refuse_node(CONFIG_FE_FEATURES, "0x330000087", -EINVAL, "bits 0x80 were not offered");
    refuse_node(CONFIG_FE_FEATURES, "0x8000000330000047", -EINVAL, "not offered");
    refuse_node(CONFIG_FE_FEATURES, "0x100000000", -EINVAL, "bits 32");
    refuse_node(CONFIG_FE_FEATURES, "0x200000000", -EINVAL, "bits 32");
    refuse_node(CONFIG_FE_FEATURES, "0", -EINVAL, "bits 32");
    refuse_node(CONFIG_FE_FEATURES, "x", -EINVAL, "64-bit");
    refuse_node(CONFIG_FE_FEATURES, "-1", -EINVAL, "64-bit");
    refuse_node(CONFIG_FE_FEATURES, "0x10000000000000000", -ERANGE, "64-bit");
}

static void control_is_strict(void)
{
    static const struct {
        const char *text;
        int err;
        const char *word;
    } bad[] = {
        {"ref=0 port=3", -EINVAL, "ref=0: must be a grant reference"},
        {"ref=4294967296 port=3", -ERANGE, "ref="},
        {"ref=8", -EINVAL, "port= is missing"},
        {"port=3", -EINVAL, "ref= is missing"},
        {"ref=8 port=", -EINVAL, "port=: must be"},
        {"ref= port=3", -EINVAL, "ref=: must be"},
        {"ref=8 port=+3", -EINVAL, "port=+3"},
        {"ref=-8 port=3", -EINVAL, "ref=-8"},
        {"ref=8 port=3 port=3", -EINVAL, "port= is given twice"},
        {"ref=8 ref=8 port=3", -EINVAL, "ref= is given twice"},
        {"ref=8 port=3 x=1", -EINVAL, "unknown key \"x\""},
        {"ref=8 port=3 ", -EINVAL, "one blank"},
        {" ref=8 port=3", -EINVAL, "one blank"},
        {"ref=8  port=3", -EINVAL, "one blank"},
        {"ref=8,port=3", -EINVAL, "ref=8,port=3"},
        {"ref=8 port=3x", -EINVAL, "port=3x"},
        {"ref=8 port=4294967296", -ERANGE, "port="},
        {"ref", -EINVAL, "key=value"},
        {"8 3", -EINVAL, "key=value"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        refuse_node(CONFIG_FE_CONTROL, bad[i].text, bad[i].err, bad[i].word);
}

static void a_tab_is_no_blank(void)
{
    struct config_fe_raw raw;

    /* config_fe_raw_set would not let it pass; the parser does not rely on that. */
    good_raw(&raw);
    snprintf(raw.node[CONFIG_FE_CONTROL].text, 20, "ref=8\tport=3");
    refuse_raw(&raw, -EINVAL, "one blank");
}

/* Both queues: each key missing, twice, empty, signed, trailing, too large. */
static void queues_are_strict(void)
{
    static const char *const keys[] = {"size", "desc", "driver", "device", "port"};
    static const char *const good[] = {"16", "4096", "8192", "12288", "6"};
    static const char *const bad[] = {"", "+1", "-1", "1x", "0x", "1,", "18446744073709551616"};

    for (unsigned q = 0; q < 2; q++) {
        enum config_fe_node node = q == 0 ? CONFIG_FE_QUEUE_0 : CONFIG_FE_QUEUE_1;

        for (size_t k = 0; k < ARRAY_SIZE(keys); k++) {
            for (size_t b = 0; b < ARRAY_SIZE(bad) + 2; b++) {
                char text[256] = "";

                for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
                    size_t at = strlen(text);

                    if (i == k && b == ARRAY_SIZE(bad))
                        continue; /* missing */
                    snprintf(text + at, sizeof(text) - at, "%s%s=%s", at ? " " : "", keys[i],
                             i == k && b < ARRAY_SIZE(bad) ? bad[b] : good[i]);
                    at = strlen(text);
                    if (i == k && b > ARRAY_SIZE(bad)) /* twice */
                        snprintf(text + at, sizeof(text) - at, " %s=%s", keys[i], good[i]);
                }
                refuse_node(node, text, b == ARRAY_SIZE(bad) - 1 ? -ERANGE : -EINVAL, keys[k]);
            }
        }
    }
}

static void queue_limits_are_exact(void)
{
    struct config_fe_raw raw;
    struct config_frontend fe;
    char why[CONFIG_WHY_SIZE];

    good_raw(&raw);
    set(&raw, CONFIG_FE_QUEUE_0, "size=1024 desc=0 driver=0 device=0 port=0");
    set(&raw, CONFIG_FE_QUEUE_1,
        "size=1 desc=0xfffffffffffffff0 driver=0xfffffffffffffffe "
        "device=0xfffffffffffffffc port=4294967295");
    UT_EQ(config_frontend_parse(&raw, &offer, &fe, why), 0);
    refuse_node(CONFIG_FE_QUEUE_0, "size=2048 desc=0 driver=0 device=0 port=9", -ERANGE,
                "1 to 1024");
    refuse_node(CONFIG_FE_QUEUE_0, "size=0 desc=0 driver=0 device=0 port=9", -EINVAL,
                "power of two");
    refuse_node(CONFIG_FE_QUEUE_1, "size=3 desc=0 driver=0 device=0 port=9", -EINVAL,
                "power of two");
    refuse_node(CONFIG_FE_QUEUE_1, "size=4294967296 desc=0 driver=0 device=0 port=9", -ERANGE,
                "size=");
    refuse_node(CONFIG_FE_QUEUE_0, "size=1 desc=8 driver=0 device=0 port=9", -EINVAL,
                "desc=0x8: must be a multiple of 16");
    refuse_node(CONFIG_FE_QUEUE_0, "size=1 desc=0 driver=1 device=0 port=9", -EINVAL,
                "driver=0x1: must be a multiple of 2");
    refuse_node(CONFIG_FE_QUEUE_1, "size=1 desc=0 driver=0 device=2 port=9", -EINVAL,
                "viommu-queue-1: device=0x2: must be a multiple of 4");
}

/* virtio 1.3, 2.8: any size, and 4-byte event suppression areas. */
static void packed_queues_have_other_limits(void)
{
    const struct config_offer packed = {.features = FEATURES | UINT64_C(1) << 34,
                                        .queue_size_max = 1024};
    static const struct {
        const char *text;
        int want;
        const char *word;
    } cases[] = {
        {"size=1 desc=0 driver=0 device=0 port=9", 0, ""},
        {"size=1000 desc=16 driver=4 device=4 port=9", 0, ""},
        {"size=1024 desc=16 driver=4 device=8 port=9", 0, ""},
        {"size=0 desc=16 driver=4 device=8 port=9", -EINVAL, "size=0"},
        {"size=1025 desc=16 driver=4 device=8 port=9", -ERANGE, "must be a number, 1 to 1024"},
        {"size=3 desc=8 driver=4 device=8 port=9", -EINVAL, "desc=0x8: must be a multiple of 16"},
        {"size=3 desc=0 driver=2 device=8 port=9", -EINVAL, "driver=0x2: must be a multiple of 4"},
        {"size=3 desc=0 driver=4 device=6 port=9", -EINVAL, "device=0x6: must be a multiple of 4"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct config_fe_raw raw;
        struct config_frontend fe;
        char why[CONFIG_WHY_SIZE];

        good_raw(&raw);
        set(&raw, CONFIG_FE_FEATURES, "0x730000047");
        set(&raw, CONFIG_FE_QUEUE_1, "size=7 desc=0x1000 driver=4096 device=4100 port=5");
        set(&raw, CONFIG_FE_QUEUE_0, cases[i].text);
        UT_EQ(config_frontend_parse(&raw, &packed, &fe, why), cases[i].want);
        UT_TRUE(strstr(why, cases[i].word) != NULL);
        /* Offered is not accepted. */
        set(&raw, CONFIG_FE_FEATURES, "0x330000047");
        UT_TRUE(config_frontend_parse(&raw, &packed, &fe, why) < 0);
    }
}

static void the_three_ports_differ(void)
{
    refuse_node(CONFIG_FE_CONTROL, "ref=8 port=4", -EINVAL, "three different");
    refuse_node(CONFIG_FE_CONTROL, "ref=8 port=5", -EINVAL, "three different");
    refuse_node(CONFIG_FE_QUEUE_0, "size=1 desc=0 driver=0 device=0 port=5", -EINVAL,
                "three different");
}

int main(int argc, char **argv)
{
    static const struct ut_case cases[] = {
        UT_CASE(config_may_be_absent_or_empty),
        UT_CASE(config_takes_every_key),
        UT_CASE(config_says_what_was_given),
        UT_CASE(config_bounds_are_exact),
        UT_CASE(config_refuses_values_out_of_bounds),
        UT_CASE(config_refuses_what_is_no_number),
        UT_CASE(config_refuses_zero_limits_and_overflow),
        UT_CASE(config_refuses_repeated_unknown_and_malformed_pairs),
        UT_CASE(config_refuses_words_without_end),
        UT_CASE(a_soft_endpoint_needs_id_and_driver),
        UT_CASE(a_soft_endpoint_takes_everything_of_its_kind),
        UT_CASE(host_endpoints_need_a_device),
        UT_CASE(a_device_is_nothing_but_an_address_or_a_uuid),
        UT_CASE(endpoint_values_are_strict),
        UT_CASE(regions_are_limited_in_number),
        UT_CASE(a_nodes_name_has_one_spelling),
        UT_CASE(a_nodes_name_and_id_must_agree),
        UT_CASE(a_formatted_endpoint_parses_back),
        UT_CASE(the_summary_tells_the_guest_no_more_than_it_may_know),
        UT_CASE(the_summary_leaves_out_what_does_not_fit),
        UT_CASE(a_good_frontend_is_taken),
        UT_CASE(every_frontend_node_must_be_there_and_legible),
        UT_CASE(raw_values_are_bounded_and_printable),
        UT_CASE(a_node_without_an_end_is_refused),
        UT_CASE(only_version_1_is_spoken),
        UT_CASE(features_are_a_subset_with_version_1_and_access_platform),
        UT_CASE(control_is_strict),
        UT_CASE(a_tab_is_no_blank),
        UT_CASE(queues_are_strict),
        UT_CASE(queue_limits_are_exact),
        UT_CASE(packed_queues_have_other_limits),
        UT_CASE(the_three_ports_differ),
    };

    return ut_main(argc, argv, "config", cases, ARRAY_SIZE(cases));
}
