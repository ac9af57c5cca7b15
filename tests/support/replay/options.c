/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Options of the replay tool: one table with each option's parser and the text of what it accepts,
 * which is its help and its error message.
 */
#include <config.h>

#include "tests/support/replay/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/strutil.h"

#define MAX_ENDPOINTS 65536u
#define MAX_MEMORY    (64ull << 30)
#define DEFAULT_QUEUE 256u

struct parsing {
    struct replay_options *o;
    uint64_t offered; /* --offer, if has_offer */
    uint64_t accepted;
    bool has_offer;
};

/* --- lists -------------------------------------------------------------------------------------
 */

/* Calls fn for each word of a comma-separated list; words are terminated and not empty. */
static int for_each_word(const char *list, int (*fn)(struct parsing *p, char *word, void *ctx),
                         struct parsing *p, void *ctx)
{
    cleanup_free char *copy = strdup(list);
    char *rest = copy, *word;
    int rc = 0;

    if (!copy)
        return -ENOMEM;
    while (!rc && (word = strsep(&rest, ",")) != NULL)
        rc = *word ? fn(p, word, ctx) : -EINVAL;
    return rc;
}

/* --- features ----------------------------------------------------------------------------------
 */

#define DEFAULT_FEATURES (VIOMMU_F_ALL | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX)
#define RING_FEATURES \
    (VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX | VIRTIO_F_RING_PACKED | VIRTIO_F_IN_ORDER)
#define FEATURES (VIOMMU_F_ALL | RING_FEATURES)
#define ALWAYS   (VIRTIO_F_VERSION_1 | VIRTIO_F_ACCESS_PLATFORM)

static const struct {
    const char *name;
    uint64_t bit;
} feature_names[] = {
    {"input_range", VIOMMU_F_INPUT_RANGE},
    {"domain_range", VIOMMU_F_DOMAIN_RANGE},
    {"map_unmap", VIOMMU_F_MAP_UNMAP},
    {"probe", VIOMMU_F_PROBE},
    {"mmio", VIOMMU_F_MMIO},
    {"bypass_config", VIOMMU_F_BYPASS_CONFIG},
    {"indirect_desc", VIRTIO_F_INDIRECT_DESC},
    {"event_idx", VIRTIO_F_EVENT_IDX},
    {"packed", VIRTIO_F_RING_PACKED},
    {"ring_packed", VIRTIO_F_RING_PACKED},
    {"in_order", VIRTIO_F_IN_ORDER},
    {"version_1", VIRTIO_F_VERSION_1},
    {"access_platform", VIRTIO_F_ACCESS_PLATFORM},
    {"none", 0},
    {"all", DEFAULT_FEATURES}, /* on a split ring: packed and in_order are asked for by name */
};

static int feature_add(struct parsing *p, char *word, void *ctx)
{
    static const char *const prefixes[] = {"virtio_iommu_f_", "virtio_f_", "viommu_f_", "f_"};
    uint64_t *bits = ctx;
    uint32_t number;

    (void)p;
    if (parse_u32(word, 63, &number) == 0) {
        if (((1ull << number) & ~(FEATURES | ALWAYS)) != 0)
            return -EINVAL;
        *bits |= 1ull << number;
        return 0;
    }
    for (char *c = word; *c; c++)
        *c = *c == '-' ? '_' : *c;
    for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
        if (strncasecmp(word, prefixes[i], strlen(prefixes[i])) == 0) {
            word += strlen(prefixes[i]);
            break;
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(feature_names); i++) {
        if (strcasecmp(word, feature_names[i].name) == 0) {
            *bits |= feature_names[i].bit;
            return 0;
        }
    }
    return -EINVAL;
}

static int set_features(struct parsing *p, const char *s)
{
    p->accepted = 0;
    return for_each_word(s, feature_add, p, &p->accepted);
}

static int set_offer(struct parsing *p, const char *s)
{
    p->offered = 0;
    p->has_offer = true;
    return for_each_word(s, feature_add, p, &p->offered);
}

/* --- endpoints ---------------------------------------------------------------------------------
 */

static int endpoint_add(struct parsing *p, char *word, void *ctx)
{
    struct replay_options *o = p->o;
    struct range ids;
    uint32_t *grown;

    (void)ctx;
    if (!strchr(word, '-')) {
        if (parse_u64(word, UINT32_MAX, &ids.first))
            return -EINVAL;
        ids.last = ids.first;
    } else if (parse_range(word, '-', UINT32_MAX, &ids)) {
        return -EINVAL;
    }
    if (ids.last - ids.first >= MAX_ENDPOINTS - o->n_endpoints)
        return -EINVAL;
    grown = reallocarray(o->endpoints, o->n_endpoints + (size_t)range_size(ids), sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    o->endpoints = grown;
    for (uint64_t id = ids.first; id <= ids.last; id++)
        grown[o->n_endpoints++] = (uint32_t)id;
    return 0;
}

static int set_endpoints(struct parsing *p, const char *s)
{
    p->o->n_endpoints = 0;
    return for_each_word(s, endpoint_add, p, NULL);
}

static int add_resv(struct parsing *p, const char *s)
{
    cleanup_free char *copy = strdup(s);
    struct replay_options *o = p->o;
    struct replay_resv resv = {.endpoint = 0};
    char *range, *type, *middle;
    struct replay_resv *grown;

    if (!copy)
        return -ENOMEM;
    range = strchr(copy, ':');
    type = strrchr(copy, ':');
    if (!range || type == range)
        return -EINVAL;
    *range++ = '\0';
    *type++ = '\0';
    middle = strchr(range, ':');
    if (!middle || parse_u32(copy, UINT32_MAX, &resv.endpoint) ||
        parse_range(range, ':', UINT64_MAX, &resv.resv.range))
        return -EINVAL;
    if (strcmp(type, "msi") == 0)
        resv.resv.subtype = VIOMMU_RESV_MEM_T_MSI;
    else if (strcmp(type, "reserved") == 0)
        resv.resv.subtype = VIOMMU_RESV_MEM_T_RESERVED;
    else
        return -EINVAL;
    grown = reallocarray(o->resv, o->n_resv + 1, sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    o->resv = grown;
    o->resv[o->n_resv++] = resv;
    return 0;
}

/* --- numbers -----------------------------------------------------------------------------------
 */

static int set_input_range(struct parsing *p, const char *s)
{
    return parse_range(s, ':', UINT64_MAX, &p->o->device.viommu.input_range);
}

static int set_domain_range(struct parsing *p, const char *s)
{
    return parse_range(s, ':', UINT32_MAX, &p->o->device.viommu.domain_range);
}

static int set_page_size_mask(struct parsing *p, const char *s)
{
    uint64_t *mask = &p->o->device.viommu.page_size_mask;
    int rc = parse_u64(s, UINT64_MAX, mask);

    return rc || *mask == 0 ? -EINVAL : 0;
}

static int set_bypass(struct parsing *p, const char *s)
{
    return parse_bool(s, &p->o->device.viommu.bypass);
}

static int set_count(const char *s, size_t *out)
{
    uint64_t n;
    int rc = parse_u64(s, SIZE_MAX, &n);

    if (!rc)
        *out = (size_t)n;
    return rc;
}

static int set_max_mappings(struct parsing *p, const char *s)
{
    return set_count(s, &p->o->device.viommu.max_mappings);
}

static int set_max_vdomains(struct parsing *p, const char *s)
{
    return set_count(s, &p->o->device.viommu.max_vdomains);
}

static int set_probe_size(struct parsing *p, const char *s)
{
    uint32_t *size = &p->o->device.viommu.probe_size;
    int rc = parse_u32(s, VIOMMU_PROBE_SIZE_MAX, size);

    return rc || *size % 8 ? -EINVAL : 0;
}

static int set_memory(struct parsing *p, const char *s)
{
    int rc = parse_size(s, MAX_MEMORY, &p->o->memory);

    return rc || p->o->memory % GRANT_PAGE_SIZE ? -EINVAL : 0;
}

static int set_batch(struct parsing *p, const char *s)
{
    int rc = parse_u32(s, UINT32_MAX, &p->o->batch);

    return rc || p->o->batch == 0 ? -EINVAL : 0;
}

static int set_queue_size(struct parsing *p, const char *s)
{
    uint32_t *size = &p->o->queue_size;
    int rc = parse_u32(s, VIRTQUEUE_MAX_SIZE, size);

    return rc || *size < 2 ? -EINVAL : 0;
}

static int set_indirect(struct parsing *p, const char *s)
{
    (void)s;
    p->o->framing.indirect = true;
    return 0;
}

static int set_scatter(struct parsing *p, const char *s)
{
    (void)s;
    p->o->framing.scatter = true;
    return 0;
}

/* --- the table ---------------------------------------------------------------------------------
 */

static const struct {
    const char *name;
    int (*set)(struct parsing *p, const char *value);
    const char *value; /* NULL: none */
    const char *accepts;
} table[] = {
    {"endpoints", set_endpoints, "LIST",
     "soft endpoints: ids or ranges A-B, separated by commas (default 8,9)"},
    {"input-range", set_input_range, "A:B", "first and last address (default: 64 bits)"},
    {"domain-range", set_domain_range, "A:B", "first and last vdomain id (default: 32 bits)"},
    {"page-size-mask", set_page_size_mask, "M",
     "a number that is not 0; its lowest bit is the granule (default 0xfffffffffffff000)"},
    {"bypass", set_bypass, "0|1", "initial value of the bypass byte (default 0)"},
    {"resv", add_resv, "E:A:B:reserved|msi",
     "a reserved region of an endpoint: id, first and last address, subtype; may repeat"},
    {"max-mappings", set_max_mappings, "N", "a number (default 1048576)"},
    {"max-vdomains", set_max_vdomains, "N", "a number (default 65536)"},
    {"probe-size", set_probe_size, "N", "a multiple of 8, up to 65536 (default 512)"},
    {"features", set_features, "LIST",
     "what is offered and accepted: input_range, domain_range, map_unmap, probe, mmio, "
     "bypass_config, indirect_desc, event_idx, packed, in_order, bit numbers, none, or all: those "
     "before packed (default all)"},
    {"offer", set_offer, "LIST", "what is offered, if it is more than --features; names as there"},
    {"memory", set_memory, "SIZE",
     "guest memory from address 0: a multiple of 4096 up to 64G, suffixes K M G (default 64M)"},
    {"indirect", set_indirect, NULL, "send requests in indirect descriptors"},
    {"scatter", set_scatter, NULL, "cut requests into many small descriptors"},
    {"batch", set_batch, "N", "requests per kick, at least 1 (default 1)"},
    {"queue-size", set_queue_size, "N",
     "a power of two from 2 to 1024, with packed any number (default 256)"},
    {"help", NULL, NULL, "this text"},
};

static void usage(FILE *to)
{
    fputs("Usage: viommu-replay [OPTION]... [SCRIPT]\n"
          "Runs a script of virtio-iommu requests against the device in this process and prints "
          "one line\nfor each. Without SCRIPT, or if it is -, standard input is read.\n\n",
          to);
    for (size_t i = 0; i < ARRAY_SIZE(table); i++)
        fprintf(to, "  --%s%s%s\n        %s\n", table[i].name, table[i].value ? " " : "",
                table[i].value ? table[i].value : "", table[i].accepts);
    fputs("\nNumbers are decimal, or 0x and hexadecimal. Script lines:\n"
          "  attach d=1 e=8 [flags=0]    detach d=1 e=8\n"
          "  map d=1 vs=0x1000 ve=0x1fff ps=0x2000 f=3    unmap d=1 vs=0x1000 ve=0x1fff\n"
          "  probe e=8    raw HEXBYTES|- wlen=N    reset    bypass 0|1\n"
          "  access e=8 a=0x1000 len=4 rw=r|w    events    # comment\n",
          to);
}

static bool check_features(struct parsing *p)
{
    uint64_t offered = p->has_offer ? p->offered & FEATURES : p->accepted & FEATURES;

    p->o->accepted = p->accepted & FEATURES;
    p->o->device.viommu.features = offered & VIOMMU_F_ALL;
    p->o->device.ring_features = offered & RING_FEATURES;
    if (p->o->accepted & ~offered) {
        fprintf(stderr, "viommu-replay: --offer: must hold everything in --features\n");
        return false;
    }
    if (p->o->framing.indirect && !(p->o->accepted & VIRTIO_F_INDIRECT_DESC)) {
        fprintf(stderr, "viommu-replay: --indirect: needs indirect_desc in --features\n");
        return false;
    }
    return true;
}

/* Sizes that are no power of two are for packed rings, whichever option comes first. */
static bool check_queue_size(const struct replay_options *o)
{
    if (virtqueue_size_valid(o->queue_size, o->accepted))
        return true;
    fprintf(stderr, "viommu-replay: --queue-size: a power of two is needed without packed\n");
    return false;
}

static bool check_resv(const struct replay_options *o)
{
    for (size_t i = 0; i < o->n_resv; i++) {
        size_t e = 0;

        while (e < o->n_endpoints && o->endpoints[e] != o->resv[i].endpoint)
            e++;
        if (e == o->n_endpoints) {
            fprintf(stderr, "viommu-replay: --resv: endpoint %#x is not in --endpoints\n",
                    (unsigned)o->resv[i].endpoint);
            return false;
        }
    }
    return true;
}

/* Room for all of the guest: limits of guest memory are not what a replay is about. */
static void size_limits(struct replay_options *o)
{
    size_t pages = (size_t)(o->memory / GRANT_PAGE_SIZE);

    o->device.mem.max_pages = 2 * pages + 65536;
    o->device.mem.max_pin_pages = pages + 65536;
    o->device.mem.max_windows = pages / 256 + 65536;
    o->device.max_queue_size = VIRTQUEUE_MAX_SIZE;
}

static enum options_verdict parse_all(struct parsing *p, int argc, char **argv)
{
    struct option longs[ARRAY_SIZE(table) + 1] = {{.name = NULL}};
    int index, c;

    for (size_t i = 0; i < ARRAY_SIZE(table); i++)
        longs[i] = (struct option){.name = table[i].name,
                                   .has_arg = table[i].value ? required_argument : no_argument};
    while ((c = getopt_long(argc, argv, "", longs, &index)) != -1) {
        if (c != 0) {
            fprintf(stderr, "viommu-replay: --help lists the options\n");
            return OPTIONS_WRONG;
        }
        if (!table[index].set) {
            usage(stdout);
            return OPTIONS_HELP;
        }
        if (table[index].set(p, optarg)) {
            fprintf(stderr, "viommu-replay: --%s '%s': accepted is %s: %s\n", table[index].name,
                    optarg, table[index].value, table[index].accepts);
            return OPTIONS_WRONG;
        }
    }
    if (argc - optind > 1) {
        fprintf(stderr, "viommu-replay: one script at most, also '%s'\n", argv[optind + 1]);
        return OPTIONS_WRONG;
    }
    if (argc > optind && strcmp(argv[optind], "-") != 0)
        p->o->script = argv[optind];
    return check_features(p) && check_queue_size(p->o) && check_resv(p->o) ? OPTIONS_RUN
                                                                           : OPTIONS_WRONG;
}

enum options_verdict options_parse(struct replay_options *o, int argc, char **argv)
{
    struct parsing p = {.o = o, .accepted = DEFAULT_FEATURES};
    enum options_verdict verdict;

    *o = (struct replay_options){
        .device = DEVICE_CONFIG_DEFAULT,
        .memory = 64u << 20,
        .queue_size = DEFAULT_QUEUE,
        .batch = 1,
    };
    if (set_endpoints(&p, "8,9")) {
        fprintf(stderr, "viommu-replay: out of memory\n");
        return OPTIONS_WRONG;
    }
    verdict = parse_all(&p, argc, argv);
    size_limits(o);
    return verdict;
}

void options_free(struct replay_options *o)
{
    free(o->endpoints);
    free(o->resv);
}
