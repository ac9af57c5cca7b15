/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The strict parsers: numbers (common/strutil.h) against a second implementation, the values of
 * xenstore nodes (xenstore/config.h) against what their header promises, and where there is a
 * formatter, there and back. The first byte chooses the parser, lines are its texts.
 */
#include <config.h>

#include "xenstore/config.h"

#include <errno.h>
#include <inttypes.h>

#include "common/strutil.h"
#include "tests/fuzz/fuzz.h"
#include "xenstore/xenbus.h"

/* --- numbers ---------------------------------------------------------------------------------- */

/* A number as strutil.h describes it, by long arithmetic in decimal or hexadecimal text. */
static int plain_number(const char *s, size_t len, uint64_t max, uint64_t *out)
{
    bool hex = len > 2 && s[0] == '0' && s[1] == 'x';
    const char *digits = hex ? "0123456789abcdef" : "0123456789";
    unsigned __int128 value = 0;

    if (len == 0)
        return -EINVAL;
    for (size_t i = hex ? 2 : 0; i < len; i++) {
        char c = s[i] >= 'A' && s[i] <= 'F' ? (char)(s[i] - 'A' + 'a') : s[i];
        const char *at = c ? strchr(digits, c) : NULL;

        if (!at)
            return -EINVAL;
        value = value * strlen(digits) + (unsigned)(at - digits);
        if (value > UINT64_MAX)
            value = (unsigned __int128)UINT64_MAX + 1; /* stays too large */
    }
    if (value > max)
        return -ERANGE;
    *out = (uint64_t)value;
    return 0;
}

static void try_range(const char *text, uint64_t max)
{
    struct range r = {7, 3}, halves = {0, 0};
    const char *colon = strchr(text, ':');
    int rc = parse_range(text, ':', max, &r), first, last;

    if (rc < 0) {
        FUZZ_CHECK(r.first == 7 && r.last == 3);
        return;
    }
    FUZZ_CHECK(colon);
    first = plain_number(text, (size_t)(colon - text), max, &halves.first);
    last = plain_number(colon + 1, strlen(colon + 1), max, &halves.last);
    FUZZ_CHECK(first == 0 && last == 0 && r.first == halves.first && r.last == halves.last);
    FUZZ_CHECK(range_valid(r));
}

static void try_hex(const char *text)
{
    uint8_t bytes[32];
    size_t n = 999;
    int rc = parse_hex(text, bytes, sizeof(bytes), &n);
    char back[3];

    FUZZ_CHECK(rc == 0 || rc == -EINVAL || rc == -ENOSPC);
    if (rc < 0)
        return;
    FUZZ_CHECK(n > 0 && n <= sizeof(bytes) && strlen(text) == 2 * n);
    for (size_t i = 0; i < n; i++) {
        snprintf(back, sizeof(back), "%02x", bytes[i]);
        FUZZ_CHECK((back[0] | 32) == (text[2 * i] | 32));
        FUZZ_CHECK((back[1] | 32) == (text[2 * i + 1] | 32));
    }
}

static void try_size(const char *text, uint64_t max)
{
    size_t len = strlen(text);
    const char *at = len ? strchr("KMGT", text[len - 1]) : NULL;
    unsigned shift = at ? 10 * (1 + (unsigned)(at - "KMGT")) : 0;
    uint64_t got = 12345, want = 0;
    int rc = parse_size(text, max, &got);
    int plain = plain_number(text, shift ? len - 1 : len, UINT64_MAX, &want);

    if (plain == 0 && (want > UINT64_MAX >> shift || want << shift > max))
        plain = -ERANGE;
    FUZZ_CHECK(rc == plain);
    FUZZ_CHECK(got == (rc == 0 ? want << shift : 12345));
}

static void fuzz_numbers(struct fuzz_in *in)
{
    uint64_t max = UINT64_MAX >> (fuzz_u8(in) & 63);
    char *text = fuzz_line(in);
    uint64_t got = 12345, want = 12345;
    uint32_t small = 99;
    bool flag = false;

    FUZZ_CHECK(parse_u64(text, max, &got) == plain_number(text, strlen(text), max, &want));
    FUZZ_CHECK(got == want);
    if (parse_u32(text, (uint32_t)max, &small) == 0)
        FUZZ_CHECK(small <= (uint32_t)max && small == want);
    try_range(text, max);
    try_size(text, max);
    try_hex(text);
    FUZZ_CHECK((parse_bool(text, &flag) == 0) == (!strcmp(text, "0") || !strcmp(text, "1")));
    FUZZ_CHECK(flag == !strcmp(text, "1"));
    (void)xenbus_state_parse(text);
    free(text);
}

/* --- nodes of the administrator --------------------------------------------------------------- */

static void check_why(int rc, const char *why)
{
    size_t len = strnlen(why, CONFIG_WHY_SIZE);

    FUZZ_CHECK(rc < 0 && len > 0 && len < CONFIG_WHY_SIZE);
    for (size_t i = 0; i < len; i++)
        FUZZ_CHECK(why[i] >= ' ' && why[i] <= '~');
}

static void check_untouched(const void *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        FUZZ_CHECK(((const uint8_t *)p)[i] == 0x5a);
}

static bool pow2_upto(uint32_t v, uint32_t max)
{
    return v != 0 && v <= max && (v & (v - 1)) == 0;
}

static void fuzz_device(struct fuzz_in *in)
{
    char *text = fuzz_line(in), why[CONFIG_WHY_SIZE];
    struct config_device c;
    int rc;

    memset(&c, 0x5a, sizeof(c));
    rc = config_device_parse(text, &c, why);
    free(text);
    if (rc) {
        check_why(rc, why);
        check_untouched(&c, sizeof(c));
        return;
    }
    FUZZ_CHECK(c.present < 1u << CONFIG_N_KEYS);
    FUZZ_CHECK(config_has(&c, CONFIG_PAGE_SIZE_MASK) == (c.page_size_mask != 0));
    FUZZ_CHECK(range_valid(c.input_range) && range_valid(c.domain_range));
    FUZZ_CHECK(c.domain_range.last <= UINT32_MAX);
    FUZZ_CHECK(config_has(&c, CONFIG_PROBE_SIZE) == (c.probe_size != 0));
    FUZZ_CHECK(c.probe_size % 8 == 0 && c.probe_size <= 65536);
    FUZZ_CHECK(config_has(&c, CONFIG_MAX_MAPPINGS) == (c.max_mappings != 0));
    FUZZ_CHECK(config_has(&c, CONFIG_MAX_VDOMAINS) == (c.max_vdomains != 0));
    FUZZ_CHECK(config_has(&c, CONFIG_MAX_FAULTS) == (c.max_faults != 0));
    FUZZ_CHECK(config_has(&c, CONFIG_MAX_PAGES) == (c.max_pages != 0));
    FUZZ_CHECK(config_has(&c, CONFIG_MAX_WINDOWS) == (c.max_windows != 0));
    FUZZ_CHECK(!config_has(&c, CONFIG_QUEUE_SIZE) || pow2_upto(c.queue_size, 1024));
}

static void check_same_endpoint(const struct config_endpoint *a, const struct config_endpoint *b)
{
    FUZZ_CHECK(a->id == b->id && a->driver == b->driver && !strcmp(a->device, b->device));
    FUZZ_CHECK(a->has_guest == b->has_guest && a->msi == b->msi);
    FUZZ_CHECK(a->unsafe_pin_leak == b->unsafe_pin_leak && a->n_resv == b->n_resv);
    if (a->has_guest)
        FUZZ_CHECK(a->guest.segment == b->guest.segment && a->guest.bus == b->guest.bus &&
                   a->guest.device == b->guest.device && a->guest.function == b->guest.function);
    for (size_t i = 0; i < a->n_resv; i++)
        FUZZ_CHECK(a->resv[i].range.first == b->resv[i].range.first &&
                   a->resv[i].range.last == b->resv[i].range.last &&
                   a->resv[i].msi == b->resv[i].msi);
}

static void check_endpoint(const struct config_endpoint *ep)
{
    struct config_endpoint again;
    char text[4096], why[CONFIG_WHY_SIZE], summary[CONFIG_SUMMARY_SIZE];

    FUZZ_CHECK(ep->n_resv <= CONFIG_MAX_RESV);
    FUZZ_CHECK(memchr(ep->device, '\0', sizeof(ep->device)));
    FUZZ_CHECK((ep->driver == CONFIG_DRIVER_SOFT) == (ep->device[0] == '\0'));
    FUZZ_CHECK(ep->guest.device < 32 && ep->guest.function < 8);
    for (size_t i = 0; i < ep->n_resv; i++)
        FUZZ_CHECK(range_valid(ep->resv[i].range));
    FUZZ_CHECK(config_endpoint_format(ep, text, sizeof(text)) == 0);
    FUZZ_CHECK(config_endpoint_parse(NULL, text, &again, why) == 0);
    check_same_endpoint(ep, &again);
    /* A buffer that is too small by one is refused, one that fits exactly is not. */
    FUZZ_CHECK(config_endpoint_format(ep, why, strlen(text) < sizeof(why) ? strlen(text) : 1) < 0);
    FUZZ_CHECK(config_summary(ep, 1, summary) == 1 && strlen(summary) < sizeof(summary));
}

static void fuzz_endpoint(struct fuzz_in *in)
{
    char *name = fuzz_line(in), *text = fuzz_line(in), why[CONFIG_WHY_SIZE], canonical[32];
    struct config_endpoint ep;
    uint32_t id;
    int rc;

    memset(&ep, 0x5a, sizeof(ep));
    rc = config_endpoint_parse(name[0] ? name : NULL, text, &ep, why);
    if (rc) {
        check_why(rc, why);
        check_untouched(&ep, sizeof(ep));
    } else {
        check_endpoint(&ep);
    }
    if (config_endpoint_id(name, &id) == 0) {
        snprintf(canonical, sizeof(canonical), XS_NODE_ENDPOINT_PREFIX "%08" PRIx32, id);
        FUZZ_CHECK(!strcmp(name, canonical));
        FUZZ_CHECK(rc || ep.id == id);
    } else {
        FUZZ_CHECK(rc || !name[0]);
    }
    free(name);
    free(text);
}

/* As many copies of one endpoint as there is room for. */
static void fuzz_summary(struct fuzz_in *in)
{
    unsigned n = fuzz_u8(in);
    char *text = fuzz_line(in), why[CONFIG_WHY_SIZE], summary[CONFIG_SUMMARY_SIZE];
    struct config_endpoint *eps = calloc(n + 1, sizeof(*eps));
    size_t groups = 0, added;

    FUZZ_CHECK(eps);
    if (config_endpoint_parse(NULL, text, &eps[0], why) == 0) {
        for (unsigned i = 1; i < n; i++)
            eps[i] = eps[0];
        added = config_summary(eps, n, summary);
        for (const char *at = summary; *at; at = strchr(at, ';') ? strchr(at, ';') + 1 : "")
            groups++;
        FUZZ_CHECK(added == groups && added <= n);
        FUZZ_CHECK(strlen(summary) <= XS_ENDPOINTS_VALUE_MAX);
        FUZZ_CHECK(added == n || !config_summary_add(summary, &eps[0]));
    }
    free(eps);
    free(text);
}

/* --- nodes of the frontend -------------------------------------------------------------------- */

static void check_queue(const struct config_queue *q, uint32_t max)
{
    FUZZ_CHECK(pow2_upto(q->size, max));
    FUZZ_CHECK(q->desc % 16 == 0 && q->driver % 2 == 0 && q->device % 4 == 0);
}

static void fuzz_frontend(struct fuzz_in *in)
{
    uint8_t flags = fuzz_u8(in);
    struct config_offer offer = {.features = 0x330000000ull | (flags & 0x77),
                                 .queue_size_max = 1u << (flags % 11)};
    struct config_fe_raw *raw = calloc(1, sizeof(*raw));
    struct config_frontend fe;
    char why[CONFIG_WHY_SIZE];
    int rc;

    FUZZ_CHECK(raw);
    for (unsigned i = 0; i < CONFIG_FE_N_NODES; i++) {
        char *line = fuzz_line(in);

        config_fe_raw_set(raw, (enum config_fe_node)i, line, strlen(line));
        free(line);
        FUZZ_CHECK(strlen(raw->node[i].text) <= XS_FRONTEND_VALUE_MAX);
        if (flags & 0x80 && fuzz_u8(in) == 0)
            raw->node[i].status = CONFIG_FE_ABSENT;
    }
    memset(&fe, 0x5a, sizeof(fe));
    rc = config_frontend_parse(raw, &offer, &fe, why);
    free(raw);
    if (rc) {
        check_why(rc, why);
        check_untouched(&fe, sizeof(fe));
        return;
    }
    FUZZ_CHECK((fe.features & ~offer.features) == 0 && fe.features >> 32 == 3);
    FUZZ_CHECK(fe.control.ref != 0);
    check_queue(&fe.queue[0], offer.queue_size_max);
    check_queue(&fe.queue[1], offer.queue_size_max);
    FUZZ_CHECK(fe.queue[0].port != fe.queue[1].port && fe.queue[0].port != fe.control.port &&
               fe.queue[1].port != fe.control.port);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const parsers[])(struct fuzz_in * in) = {
        fuzz_numbers, fuzz_device, fuzz_endpoint, fuzz_summary, fuzz_frontend,
    };
    struct fuzz_in in = {data, size};

    parsers[fuzz_u8(&in) % ARRAY_SIZE(parsers)](&in);
    return 0;
}
