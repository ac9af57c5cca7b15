/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The frontend's nodes (docs/protocol.md, section 2): written by the guest, so hostile. Pure; the
 * worker is the only one that interprets them.
 */
#include <config.h>

#include "xenstore/config.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "common/strutil.h"
#include "xenstore/fields.h"

#define FEATURE_VERSION_1       (UINT64_C(1) << 32)
#define FEATURE_ACCESS_PLATFORM (UINT64_C(1) << 33)
#define FEATURE_RING_PACKED     (UINT64_C(1) << 34)
#define FEATURES_REQUIRED       (FEATURE_VERSION_1 | FEATURE_ACCESS_PLATFORM)

static const char *const node_names[CONFIG_FE_N_NODES] = {
    [CONFIG_FE_VERSION] = XS_NODE_VERSION, [CONFIG_FE_FEATURES] = XS_NODE_FEATURES,
    [CONFIG_FE_CONTROL] = XS_NODE_CONTROL, [CONFIG_FE_QUEUE_0] = XS_NODE_QUEUE_0,
    [CONFIG_FE_QUEUE_1] = XS_NODE_QUEUE_1,
};

const char *config_fe_node_name(enum config_fe_node node)
{
    return (unsigned)node < CONFIG_FE_N_NODES ? node_names[node] : "?";
}

static bool printable(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (s[i] < 0x20 || s[i] > 0x7e)
            return false;
    }
    return true;
}

void config_fe_raw_set(struct config_fe_raw *raw, enum config_fe_node node, const char *value,
                       size_t len)
{
    raw->node[node].text[0] = '\0';
    if (len > XS_FRONTEND_VALUE_MAX) {
        raw->node[node].status = CONFIG_FE_TOO_LONG;
        return;
    }
    if (!printable(value, len)) {
        raw->node[node].status = CONFIG_FE_BAD_BYTES;
        return;
    }
    memcpy(raw->node[node].text, value, len);
    raw->node[node].text[len] = '\0';
    raw->node[node].status = CONFIG_FE_PRESENT;
}

/* "key=value key=value" with one blank between pairs and none elsewhere. */
static bool single_blanks(const char *s)
{
    size_t len = strlen(s);

    return len > 0 && s[0] != ' ' && s[len - 1] != ' ' && !strstr(s, "  ") && !strchr(s, '\t');
}

static int check_present(const struct config_fe_raw *raw, enum config_fe_node node,
                         char why[CONFIG_WHY_SIZE])
{
    const char *name = node_names[node];

    switch (raw->node[node].status) {
    case CONFIG_FE_PRESENT:
        break;
    case CONFIG_FE_TOO_LONG:
        fields_say(why, name, "longer than %d bytes", XS_FRONTEND_VALUE_MAX);
        return -E2BIG;
    case CONFIG_FE_BAD_BYTES:
        return fields_say(why, name, "contains something else than printable ASCII");
    case CONFIG_FE_ABSENT:
    default:
        fields_say(why, name, "the node is missing or not readable for the backend");
        return -ENOENT;
    }
    /* The supervisor has bounded it; this keeps a faulty one from mattering. */
    if (!memchr(raw->node[node].text, '\0', sizeof(raw->node[node].text)))
        return fields_say(why, name, "not terminated");
    return 0;
}

static int check_version(const char *text, char why[CONFIG_WHY_SIZE])
{
    char shown[FIELD_SHOW_SIZE];
    uint64_t version;

    if (parse_u64(text, UINT64_MAX, &version) == 0 && version == XS_VIOMMU_PROTO)
        return 0;
    fields_say(why, XS_NODE_VERSION, "\"%s\": must be %d", field_show(shown, text),
               XS_VIOMMU_PROTO);
    return -EPROTO;
}

static int check_features(const char *text, uint64_t offered, uint64_t *out,
                          char why[CONFIG_WHY_SIZE])
{
    char shown[FIELD_SHOW_SIZE];
    uint64_t features;
    int r;

    r = parse_u64(text, UINT64_MAX, &features);
    if (r < 0) {
        fields_say(why, XS_NODE_FEATURES, "\"%s\": must be a 64-bit number",
                   field_show(shown, text));
        return r;
    }
    if (features & ~offered)
        return fields_say(why, XS_NODE_FEATURES,
                          "%#" PRIx64 ": bits %#" PRIx64 " were not offered (%#" PRIx64 ")",
                          features, features & ~offered, offered);
    if ((features & FEATURES_REQUIRED) != FEATURES_REQUIRED)
        return fields_say(why, XS_NODE_FEATURES,
                          "%#" PRIx64 ": bits 32 (VERSION_1) and 33 (ACCESS_PLATFORM) must be set",
                          features);
    *out = features;
    return 0;
}

#define REQUIRED(type_, key_, member_, parse_, min_, max_, accepts_)                   \
    {                                                                                  \
        .key = key_, .parse = parse_, .offset = offsetof(type_, member_), .min = min_, \
        .max = max_, .required = true, .accepts = accepts_                             \
    }

static const struct field control_fields[] = {
    REQUIRED(struct config_control, "ref", ref, field_u32, 1, UINT32_MAX,
             "a grant reference, 1 to 4294967295"),
    REQUIRED(struct config_control, "port", port, field_u32, 0, UINT32_MAX,
             "an event channel port"),
};

static const struct field queue_fields[] = {
    REQUIRED(struct config_queue, "size", size, field_u32, 1, UINT32_MAX,
             "a power of two, with packed rings any number"),
    REQUIRED(struct config_queue, "desc", desc, field_u64, 0, UINT64_MAX, "an address"),
    REQUIRED(struct config_queue, "driver", driver, field_u64, 0, UINT64_MAX, "an address"),
    REQUIRED(struct config_queue, "device", device, field_u64, 0, UINT64_MAX, "an address"),
    REQUIRED(struct config_queue, "port", port, field_u32, 0, UINT32_MAX, "an event channel port"),
};

static int parse_pair_node(const struct config_fe_raw *raw, enum config_fe_node node,
                           const struct field *fields, size_t n, void *out,
                           char why[CONFIG_WHY_SIZE])
{
    const char *text = raw->node[node].text;
    uint32_t seen;

    if (!single_blanks(text))
        return fields_say(why, node_names[node],
                          "must be \"key=value key=value\" with one blank between the pairs");
    return fields_parse(node_names[node], text, fields, n, out, &seen, why);
}

/* virtio 1.3, 2.7 and 2.8: size and alignment of the three parts of a ring. */
static int check_queue(const char *node, const struct config_queue *q, bool packed,
                       uint32_t size_max, char why[CONFIG_WHY_SIZE])
{
    const struct {
        const char *key;
        uint64_t address;
        unsigned align;
    } areas[] = {
        {"desc", q->desc, 16}, {"driver", q->driver, packed ? 4 : 2}, {"device", q->device, 4}};
    bool too_large = q->size > size_max;

    if (too_large || (!packed && (q->size & (q->size - 1)) != 0)) {
        fields_say(why, node, "size=%" PRIu32 ": must be a %s, 1 to %" PRIu32, q->size,
                   packed ? "number" : "power of two", size_max);
        return too_large ? -ERANGE : -EINVAL;
    }
    for (size_t i = 0; i < ARRAY_SIZE(areas); i++) {
        if (areas[i].address % areas[i].align != 0)
            return fields_say(why, node, "%s=%#" PRIx64 ": must be a multiple of %u", areas[i].key,
                              areas[i].address, areas[i].align);
    }
    return 0;
}

static int parse_queue(const struct config_fe_raw *raw, unsigned i, bool packed, uint32_t size_max,
                       struct config_queue *out, char why[CONFIG_WHY_SIZE])
{
    enum config_fe_node node = i == 0 ? CONFIG_FE_QUEUE_0 : CONFIG_FE_QUEUE_1;
    int r;

    r = parse_pair_node(raw, node, queue_fields, ARRAY_SIZE(queue_fields), out, why);
    return r < 0 ? r : check_queue(node_names[node], out, packed, size_max, why);
}

int config_frontend_parse(const struct config_fe_raw *raw, const struct config_offer *offer,
                          struct config_frontend *out, char why[CONFIG_WHY_SIZE])
{
    struct config_frontend fe = {0};
    int r;

    why[0] = '\0';
    for (unsigned i = 0; i < CONFIG_FE_N_NODES; i++) {
        r = check_present(raw, (enum config_fe_node)i, why);
        if (r < 0)
            return r;
    }
    r = check_version(raw->node[CONFIG_FE_VERSION].text, why);
    if (r == 0)
        r = check_features(raw->node[CONFIG_FE_FEATURES].text, offer->features, &fe.features, why);
    if (r == 0)
        r = parse_pair_node(raw, CONFIG_FE_CONTROL, control_fields, ARRAY_SIZE(control_fields),
                            &fe.control, why);
    for (unsigned i = 0; r == 0 && i < 2; i++)
        r = parse_queue(raw, i, fe.features & FEATURE_RING_PACKED, offer->queue_size_max,
                        &fe.queue[i], why);
    if (r < 0)
        return r;
    if (fe.control.port == fe.queue[0].port || fe.control.port == fe.queue[1].port ||
        fe.queue[0].port == fe.queue[1].port)
        return fields_say(why, XS_NODE_CONTROL,
                          "the ports of " XS_NODE_CONTROL ", " XS_NODE_QUEUE_0
                          " and " XS_NODE_QUEUE_1 " must be three different ones");
    *out = fe;
    return 0;
}
