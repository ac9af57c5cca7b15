/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The administrator's nodes: viommu/config, viommu/endpoint-*, and the summary of endpoints for
 * the guest. The frontend's nodes are in config_frontend.c; both stand on fields.c.
 *
 * Pure: the supervisor and the worker both link it. Values come from the domain's administrator,
 * who errs; the messages are for him.
 */
#include <config.h>

#include "xenstore/config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/strutil.h"
#include "xenstore/fields.h"

#define NODE_DEVICE XS_DIR_VIOMMU "/" XS_NODE_CONFIG

/* --- viommu/config ---------------------------------------------------------------------------- */

#define DEVICE_FIELD(key_, member_, parse_, min_, max_, accepts_)                        \
    {                                                                                    \
        .key = key_, .parse = parse_, .offset = offsetof(struct config_device, member_), \
        .min = min_, .max = max_, .accepts = accepts_                                    \
    }
#define DEVICE_LIMIT(key_, member_) \
    DEVICE_FIELD(key_, member_, field_u32, 1, UINT32_MAX, "a number, 1 to 4294967295")

static const struct field device_fields[CONFIG_N_KEYS] = {
    [CONFIG_PAGE_SIZE_MASK] = DEVICE_FIELD("page-size-mask", page_size_mask, field_u64, 1,
                                           UINT64_MAX, "a 64-bit number, not 0"),
    [CONFIG_INPUT_RANGE] = DEVICE_FIELD("input-range", input_range, field_range, 0, UINT64_MAX,
                                        "A:B, 64-bit numbers, A <= B"),
    [CONFIG_DOMAIN_RANGE] = DEVICE_FIELD("domain-range", domain_range, field_range, 0, UINT32_MAX,
                                         "A:B, 32-bit numbers, A <= B"),
    [CONFIG_BYPASS] = DEVICE_FIELD("bypass", bypass, field_bool, 0, 1, "0 or 1"),
    [CONFIG_BYPASS_CONFIG] = DEVICE_FIELD("bypass-config", bypass_config, field_bool, 0, 1,
                                          "0 or 1"),
    [CONFIG_MMIO] = DEVICE_FIELD("mmio", mmio, field_bool, 0, 1, "0 or 1"),
    [CONFIG_PROBE_SIZE] = DEVICE_FIELD("probe-size", probe_size, field_u32_mult8, 8, 65536,
                                       "a multiple of 8, 8 to 65536"),
    [CONFIG_MAX_MAPPINGS] = DEVICE_LIMIT("max-mappings", max_mappings),
    [CONFIG_MAX_VDOMAINS] = DEVICE_LIMIT("max-vdomains", max_vdomains),
    [CONFIG_MAX_FAULTS] = DEVICE_LIMIT("max-faults", max_faults),
    [CONFIG_MAX_PAGES] = DEVICE_LIMIT("max-pages", max_pages),
    [CONFIG_MAX_WINDOWS] = DEVICE_LIMIT("max-windows", max_windows),
    [CONFIG_QUEUE_SIZE] = DEVICE_FIELD("queue-size", queue_size, field_u32_pow2, 1, 1024,
                                       "a power of two, 1 to 1024"),
};

int config_device_parse(const char *text, struct config_device *out, char why[CONFIG_WHY_SIZE])
{
    struct config_device c = {0};
    int r;

    r = fields_parse(NODE_DEVICE, text ? text : "", device_fields, CONFIG_N_KEYS, &c, &c.present,
                     why);
    if (r < 0)
        return r;
    *out = c;
    return 0;
}

/* --- viommu/endpoint-XXXXXXXX ----------------------------------------------------------------- */

static const char *const driver_names[] = {
    [CONFIG_DRIVER_SOFT] = "soft",
    [CONFIG_DRIVER_VFIO] = "vfio",
    [CONFIG_DRIVER_IOMMUFD] = "iommufd",
    [CONFIG_DRIVER_AUTO] = "auto",
};

const char *config_driver_name(enum config_driver driver)
{
    return (unsigned)driver < ARRAY_SIZE(driver_names) ? driver_names[driver] : "?";
}

static int field_driver(const struct field *f UNUSED, const char *value, void *member)
{
    enum config_driver *driver = member;

    for (size_t i = 0; i < ARRAY_SIZE(driver_names); i++) {
        if (strcmp(value, driver_names[i]) == 0) {
            *driver = (enum config_driver)i;
            return 0;
        }
    }
    return -EINVAL;
}

static bool hex_digit(char c, unsigned *digit_out)
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    const char *at = c == '\0' ? NULL : strchr(digits, c);

    if (!at)
        return false;
    *digit_out = (unsigned)(at - digits) % 16;
    return true;
}

/* Exactly `len` hex digits; advances *s. */
static bool take_hex(const char **s, unsigned len, unsigned *out)
{
    unsigned value = 0, digit;

    for (unsigned i = 0; i < len; i++) {
        if (!hex_digit((*s)[i], &digit))
            return false;
        value = value << 4 | digit;
    }
    *s += len;
    *out = value;
    return true;
}

static bool take_char(const char **s, char c)
{
    if (**s != c)
        return false;
    (*s)++;
    return true;
}

/* SSSS:BB:DD.F, all of it. */
static int parse_pci(const char *s, struct config_pci *out)
{
    unsigned segment, bus, device, function;

    if (!take_hex(&s, 4, &segment) || !take_char(&s, ':') || !take_hex(&s, 2, &bus) ||
        !take_char(&s, ':') || !take_hex(&s, 2, &device) || !take_char(&s, '.') ||
        !take_hex(&s, 1, &function) || *s != '\0' || device > 31 || function > 7)
        return -EINVAL;
    *out = (struct config_pci){(uint16_t)segment, (uint8_t)bus, (uint8_t)device, (uint8_t)function};
    return 0;
}

/* 8-4-4-4-12 hex digits. */
static bool is_uuid(const char *s)
{
    unsigned digit;
    size_t i;

    for (i = 0; s[i]; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;

        if (dash ? s[i] != '-' : !hex_digit(s[i], &digit))
            return false;
    }
    return i == 36;
}

/* The address becomes part of a sysfs path: nothing but these two forms passes. */
static int field_device(const struct field *f UNUSED, const char *value, void *member)
{
    struct config_pci pci;
    char *out = member;
    size_t i;

    if (!is_uuid(value) && parse_pci(value, &pci) < 0)
        return -EINVAL;
    for (i = 0; value[i]; i++)
        out[i] = (char)(value[i] >= 'A' && value[i] <= 'F' ? value[i] - 'A' + 'a' : value[i]);
    out[i] = '\0';
    return 0;
}

static int field_guest(const struct field *f UNUSED, const char *value, void *member)
{
    struct config_endpoint *ep = member;
    int r;

    if (strncmp(value, "pci:", 4) != 0)
        return -EINVAL;
    r = parse_pci(value + 4, &ep->guest);
    ep->has_guest = r == 0;
    return r;
}

static int field_resv(const struct field *f, const char *value, void *member)
{
    struct config_endpoint *ep = member;
    const char *type = strrchr(value, ':');
    struct config_resv resv;
    char span[FIELD_VALUE_MAX + 1];
    size_t len;
    int r;

    if (!type)
        return -EINVAL;
    if (ep->n_resv == CONFIG_MAX_RESV)
        return -E2BIG;
    len = (size_t)(type - value);
    memcpy(span, value, len);
    span[len] = '\0';
    r = parse_range(span, ':', f->max, &resv.range);
    if (r < 0)
        return r;
    resv.msi = strcmp(type, ":msi") == 0;
    if (!resv.msi && strcmp(type, ":reserved") != 0)
        return -EINVAL;
    ep->resv[ep->n_resv++] = resv;
    return 0;
}

enum {
    EP_ID,
    EP_DRIVER,
    EP_DEVICE,
    EP_GUEST,
    EP_RESV,
    EP_MSI,
    EP_UNSAFE_PIN_LEAK,
    EP_N_KEYS,
};

static const struct field endpoint_fields[EP_N_KEYS] = {
    [EP_ID] = {.key = "id",
               .parse = field_u32,
               .offset = offsetof(struct config_endpoint, id),
               .max = UINT32_MAX,
               .required = true,
               .accepts = "a 32-bit number"},
    [EP_DRIVER] = {.key = "driver",
                   .parse = field_driver,
                   .offset = offsetof(struct config_endpoint, driver),
                   .required = true,
                   .accepts = "soft, vfio, iommufd or auto"},
    [EP_DEVICE] = {.key = "device",
                   .parse = field_device,
                   .offset = offsetof(struct config_endpoint, device),
                   .accepts = "a PCI address SSSS:BB:DD.F or the UUID of an mdev"},
    [EP_GUEST] = {.key = "guest", .parse = field_guest, .accepts = "pci:SSSS:BB:DD.F"},
    [EP_RESV] = {.key = "resv",
                 .parse = field_resv,
                 .max = UINT64_MAX,
                 .repeat = true,
                 .accepts = "A:B:reserved or A:B:msi, A <= B, at most 32 times"},
    [EP_MSI] = {.key = "msi",
                .parse = field_bool,
                .offset = offsetof(struct config_endpoint, msi),
                .max = 1,
                .accepts = "0 or 1"},
    [EP_UNSAFE_PIN_LEAK] = {.key = "unsafe-pin-leak",
                            .parse = field_bool,
                            .offset = offsetof(struct config_endpoint, unsafe_pin_leak),
                            .max = 1,
                            .accepts = "0 or 1"},
};

/* Which keys go with which driver; `seen` has a bit per key. */
static int check_driver_keys(const char *node, const struct config_endpoint *ep, uint32_t seen,
                             char why[CONFIG_WHY_SIZE])
{
    const char *driver = config_driver_name(ep->driver);
    bool has_device = seen & (1u << EP_DEVICE);

    if ((seen & (1u << EP_UNSAFE_PIN_LEAK)) && ep->driver != CONFIG_DRIVER_VFIO &&
        ep->driver != CONFIG_DRIVER_AUTO)
        return fields_say(why, node, "unsafe-pin-leak= goes with driver=vfio or auto, not %s",
                          driver);
    if (ep->driver == CONFIG_DRIVER_SOFT) {
        if (!has_device)
            return 0;
        return fields_say(why, node, "device= goes with driver=vfio, iommufd or auto, not soft");
    }
    if (!has_device)
        return fields_say(why, node, "device= is missing: driver=%s needs %s", driver,
                          endpoint_fields[EP_DEVICE].accepts);
    if (seen & (1u << EP_RESV))
        return fields_say(why, node, "resv= goes with driver=soft, not %s (the host knows)",
                          driver);
    if (seen & (1u << EP_MSI))
        return fields_say(why, node, "msi= goes with driver=soft, not %s (the host knows)", driver);
    return 0;
}

int config_endpoint_id(const char *name, uint32_t *id_out)
{
    const size_t prefix = sizeof(XS_NODE_ENDPOINT_PREFIX) - 1;
    unsigned id;

    if (strncmp(name, XS_NODE_ENDPOINT_PREFIX, prefix) != 0)
        return -EINVAL;
    name += prefix;
    /* One spelling for each number: two nodes are two endpoints. */
    if (strpbrk(name, "ABCDEF") || !take_hex(&name, 8, &id) || *name != '\0')
        return -EINVAL;
    *id_out = id;
    return 0;
}

static int check_name(const char *name, uint32_t id, char why[CONFIG_WHY_SIZE])
{
    uint32_t from_name;

    if (!name)
        return 0;
    if (config_endpoint_id(name, &from_name) < 0)
        return fields_say(why, name,
                          "the node's name must be " XS_NODE_ENDPOINT_PREFIX
                          " and 8 lower-case hex digits");
    if (from_name != id)
        return fields_say(why, name, "id=%#" PRIx32 " is not the number in the node's name", id);
    return 0;
}

int config_endpoint_parse(const char *name, const char *text, struct config_endpoint *out,
                          char why[CONFIG_WHY_SIZE])
{
    const char *node = name ? name : "endpoint";
    struct config_endpoint ep = {0};
    uint32_t seen = 0;
    int r;

    r = fields_parse(node, text, endpoint_fields, EP_N_KEYS, &ep, &seen, why);
    if (r == 0)
        r = check_name(name, ep.id, why);
    if (r == 0)
        r = check_driver_keys(node, &ep, seen, why);
    if (r < 0)
        return r;
    if (ep.driver == CONFIG_DRIVER_SOFT && !(seen & (1u << EP_MSI)))
        ep.msi = true;
    *out = ep;
    return 0;
}

/* --- writing ---------------------------------------------------------------------------------- */

/* Appends to the string in `out`; false, and unchanged, when it does not fit. */
static bool append(char *out, size_t size, const char *fmt, ...) PRINTF_LIKE(3, 4);
static bool append(char *out, size_t size, const char *fmt, ...)
{
    size_t len = strlen(out);
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(out + len, size - len, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < size - len)
        return true;
    out[len] = '\0';
    return false;
}

static bool append_guest(char *out, size_t size, const struct config_endpoint *ep)
{
    if (!ep->has_guest)
        return true;
    return append(out, size, " guest=pci:%04x:%02x:%02x.%x", ep->guest.segment, ep->guest.bus,
                  ep->guest.device, ep->guest.function);
}

int config_endpoint_format(const struct config_endpoint *ep, char *out, size_t size)
{
    bool fits;

    if (size == 0)
        return -E2BIG;
    out[0] = '\0';
    fits = append(out, size, "id=%#" PRIx32 " driver=%s", ep->id, config_driver_name(ep->driver));
    if (fits && ep->device[0])
        fits = append(out, size, " device=%s", ep->device);
    fits = fits && append_guest(out, size, ep);
    for (size_t i = 0; fits && i < ep->n_resv; i++)
        fits = append(out, size, " resv=%#" PRIx64 ":%#" PRIx64 ":%s", ep->resv[i].range.first,
                      ep->resv[i].range.last, ep->resv[i].msi ? "msi" : "reserved");
    if (fits && ep->driver == CONFIG_DRIVER_SOFT && !ep->msi)
        fits = append(out, size, " msi=0");
    if (fits && ep->unsafe_pin_leak)
        fits = append(out, size, " unsafe-pin-leak=1");
    if (fits)
        return 0;
    out[0] = '\0';
    return -E2BIG;
}

bool config_summary_add(char out[CONFIG_SUMMARY_SIZE], const struct config_endpoint *ep)
{
    const char *dma = ep->driver == CONFIG_DRIVER_SOFT ? "soft" : "translated";
    size_t len = strlen(out);

    if (append(out, CONFIG_SUMMARY_SIZE, "%sid=%#" PRIx32 " dma=%s", len ? ";" : "", ep->id, dma) &&
        append_guest(out, CONFIG_SUMMARY_SIZE, ep))
        return true;
    out[len] = '\0';
    return false;
}

size_t config_summary(const struct config_endpoint *eps, size_t n, char out[CONFIG_SUMMARY_SIZE])
{
    size_t i;

    out[0] = '\0';
    for (i = 0; i < n; i++) {
        if (!config_summary_add(out, &eps[i]))
            break;
    }
    return i;
}
