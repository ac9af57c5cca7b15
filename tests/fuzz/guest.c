/* SPDX-License-Identifier: GPL-2.0-only */
/* The guest of guest.h. */
#include <config.h>

#include "tests/fuzz/guest.h"

#include <errno.h>

#include "backend/iommu/soft.h"
#include "common/le.h"
#include "common/log.h"

static const uint32_t ref_base[] = {GUEST_REF, GUEST_REF_RO, GUEST_REF_HIGH};

/* --- life ------------------------------------------------------------------------------------- */

static void no_log(enum log_level level, const char *line, void *ctx)
{
    (void)level;
    (void)line;
    (void)ctx;
}

static void no_queue(void *ctx, unsigned queue)
{
    (void)ctx;
    FUZZ_CHECK(queue < VIOMMU_N_QUEUES);
}

static void no_control(void *ctx)
{
    (void)ctx;
}

static struct fake_grants *grants(void)
{
    static struct fake_grants *f;

    if (!f) {
        f = fake_grants_new(GUEST_PAGES, false);
        FUZZ_CHECK(f);
        for (unsigned i = 0; i < ARRAY_SIZE(ref_base); i++)
            FUZZ_CHECK(fake_grants_grant(f, ref_base[i], 0, GUEST_PAGES, i == 1));
    }
    return f;
}

static void hook(void *ctx)
{
    struct fuzz_guest *g = ctx;

    g->looks++;
    for (size_t i = 0; i < g->n_flips; i++) {
        if (g->flips[i].skip > 0) {
            g->flips[i].skip--;
            continue;
        }
        g->flips[i].phase = (uint8_t)((g->flips[i].phase + 1) % g->flips[i].period);
        if (g->flips[i].phase != 0)
            continue;
        for (size_t k = 0; k < sizeof(g->flips[i].mask); k++)
            g->mem[g->flips[i].at + k] ^= g->flips[i].mask[k];
    }
}

/* For the ring code of the targets, which is compiled with this hook before each load. */
static struct fuzz_guest *current;

void virtqueue_test_hook(void);
void virtqueue_test_hook(void)
{
    if (current)
        hook(current);
}

static struct device_config tight_or_not(bool tight)
{
    struct device_config config = DEVICE_CONFIG_DEFAULT;

    config.viommu.probe_size = 64;
    config.viommu.max_mappings = GUEST_MAX_MAPS;
    config.viommu.max_vdomains = 4;
    config.viommu.max_faults = 8;
    config.viommu.page_size_mask = ~(uint64_t)0xfff;
    config.mem = (struct gmem_limits){.max_pages = tight ? 24 : 256,
                                      .max_windows = tight ? 12 : 64,
                                      .max_pin_pages = tight ? 8 : 64,
                                      .window_pages = 4};
    config.max_map_pages = GUEST_MAP_PAGES;
    config.max_queue_size = 16;
    config.budget = tight ? 2 : 32;
    config.ring_features = DEVICE_RING_FEATURES;
    return config;
}

static void add_endpoints(struct fuzz_guest *g, bool sound)
{
    static const struct viommu_resv resv = {{0xfee00000, 0xfeefffff}, VIOMMU_RESV_MEM_T_MSI};
    struct viommu_endpoint_config ep = {
        .ops = &soft_iommu_ops, .caps = SOFT_IOMMU_CAPS, .aperture = {0, UINT64_MAX}};
    const char *why;

    for (ep.id = GUEST_EP; ep.id < GUEST_EP + 2; ep.id++) {
        ep.resv = ep.id == GUEST_EP ? &resv : NULL;
        ep.n_resv = ep.id == GUEST_EP ? 1 : 0;
        /* What a state file says that was offered may be too little for an endpoint. */
        FUZZ_CHECK(viommu_endpoint_add(device_viommu(g->d), &ep, &why) == 0 || (!sound && why[0]));
    }
}

int fuzz_guest_device(struct fuzz_guest *g, const struct device_config *config)
{
    struct device_host host = {.grants = g->copy ? &fake_grants_ops : &fake_grants_ops_no_copy,
                               .grants_ctx = g->f,
                               .notify_queue = no_queue,
                               .notify_control = no_control,
                               .ctx = g};
    const char *why;
    int r;

    FUZZ_CHECK(!g->d);
    r = device_new(&g->d, config, &host, &why);
    if (r < 0) {
        FUZZ_CHECK(r == -EINVAL && why[0]);
        g->d = NULL;
        return r;
    }
    device_set_file(g->d, g->file);
    add_endpoints(g, config == &g->config);
    return 0;
}

void fuzz_guest_open(struct fuzz_guest *g, bool copy, bool tight)
{
    memset(g, 0, sizeof(*g));
    log_set_sink(no_log, NULL);
    g->f = grants();
    g->mem = fake_grants_memory(g->f);
    memset(g->mem, 0, GUEST_SIZE);
    g->copy = copy;
    g->config = tight_or_not(tight);
    FUZZ_CHECK(fuzz_guest_device(g, &g->config) == 0);
    g->offered = device_features(g->d);
    current = g;
    fake_grants_set_hook(g->f, hook, g);
}

void fuzz_guest_check_free(const struct fuzz_guest *g)
{
    FUZZ_CHECK(fake_grants_errors(g->f) == 0);
    FUZZ_CHECK(fake_grants_live_pages(g->f) == 0 && fake_grants_live_maps(g->f) == 0);
}

void fuzz_guest_disconnect(struct fuzz_guest *g)
{
    struct gmem_stats stats;

    device_disconnect(g->d);
    fuzz_guest_check(g);
    gmem_get_stats(device_gmem(g->d), &stats);
    FUZZ_CHECK(stats.pages == 0 && stats.windows == 0 && stats.pinned_pages == 0);
    fuzz_guest_check_free(g);
    FUZZ_CHECK(viommu_n_mappings(device_viommu(g->d)) == 0);
    FUZZ_CHECK(viommu_n_vdomains(device_viommu(g->d)) == 0);
    FUZZ_CHECK(gmem_map_runs(device_gmem(g->d)) == 0 && !device_connected(g->d));
}

void fuzz_guest_close(struct fuzz_guest *g)
{
    fuzz_guest_disconnect(g);
    g->d = device_free(g->d);
    current = NULL;
    fake_grants_set_hook(g->f, NULL, NULL);
    fake_grants_fail_map(g->f, 0, 0);
    fake_grants_fail_copy(g->f, 0, 0);
    fake_grants_set_limit(g->f, SIZE_MAX);
    for (uint32_t i = 0; i < ARRAY_SIZE(g->revoked); i++) {
        if (g->revoked[i])
            FUZZ_CHECK(fake_grants_grant(g->f, ref_base[i / GUEST_PAGES] + i % GUEST_PAGES,
                                         i % GUEST_PAGES, 1, i / GUEST_PAGES == 1));
    }
}

/* --- invariants ------------------------------------------------------------------------------- */

/* More than GUEST_MAX_MAPS only after a state file whose writer has changed the limit: as many as
 * fit into a file of its size. */
#define GUEST_MAX_PINS 2048u

struct pinned {
    uint64_t first, last;
    bool write;
};

/* Pages of the grant windows that mappings hold: one window for each run of references and access,
 * however many mappings share it. */
static size_t grant_window_pages(const struct pinned *pins, size_t n)
{
    size_t pages = 0;

    for (size_t i = 0; i < n; i++) {
        size_t k = 0;

        while (k < i && !(pins[k].first == pins[i].first && pins[k].last == pins[i].last &&
                          pins[k].write == pins[i].write))
            k++;
        if (k == i && (pins[i].first & GMEM_GRANT_BIT))
            pages += (size_t)((pins[i].last >> GRANT_PAGE_SHIFT) -
                              (pins[i].first >> GRANT_PAGE_SHIFT)) +
                     1;
    }
    return pages;
}

/* Every mapping's memory is reachable, and nothing is pinned but for mappings. */
static void check_tables(const struct fuzz_guest *g, const struct gmem_stats *stats)
{
    static struct pinned pins[GUEST_MAX_PINS];
    struct viommu *v = device_viommu(g->d);
    struct viommu_vdomain_info vd;
    size_t n = 0, n_all = 0, grants_pages;
    struct imap_entry e;
    bool in_map = false;

    for (uint64_t id = 0; id <= UINT32_MAX && viommu_vdomain_next(v, (uint32_t)id, &vd);
         id = (uint64_t)vd.id + 1) {
        FUZZ_CHECK(vd.n_endpoints > 0);
        for (uint64_t at = 0; viommu_mapping_next(v, vd.id, at, &e); at = e.range.last + 1) {
            bool write = (e.flags & VIOMMU_MAP_F_WRITE) != 0;
            struct range gpa;
            uint64_t len;
            void *hva;

            n_all++;
            FUZZ_CHECK(range_moved(e.range, e.value, &gpa));
            if (e.flags & (VIOMMU_MAP_F_READ | VIOMMU_MAP_F_WRITE)) {
                FUZZ_CHECK(gmem_segment(device_gmem(g->d), gpa, write, &hva, &len) == 0);
                FUZZ_CHECK(len > 0 && len - 1 <= gpa.last - gpa.first && n < GUEST_MAX_PINS);
                pins[n++] = (struct pinned){gpa.first, gpa.last, write};
                in_map = in_map || !(gpa.first & GMEM_GRANT_BIT);
            }
            if (e.range.last == UINT64_MAX)
                break;
        }
    }
    FUZZ_CHECK(n_all == viommu_n_mappings(v));
    grants_pages = grant_window_pages(pins, n);
    FUZZ_CHECK(in_map ? stats->pinned_pages > grants_pages : stats->pinned_pages == grants_pages);
}

void fuzz_guest_check(struct fuzz_guest *g)
{
    struct gmem_stats stats;

    gmem_get_stats(device_gmem(g->d), &stats);
    FUZZ_CHECK(fake_grants_errors(g->f) == 0);
    FUZZ_CHECK(fake_grants_live_pages(g->f) == stats.pages);
    FUZZ_CHECK(fake_grants_live_maps(g->f) == stats.windows);
    FUZZ_CHECK(stats.pinned_pages <= stats.pages);
    FUZZ_CHECK(stats.pages <= device_config(g->d)->mem.max_pages);
    FUZZ_CHECK(stats.windows <= device_config(g->d)->mem.max_windows);
    FUZZ_CHECK(device_needs_reset(g->d) == (device_needs_reset_why(g->d)[0] != '\0'));
    check_tables(g, &stats);
}

/* --- what the guest does ---------------------------------------------------------------------- */

uint32_t fuzz_guest_ref(uint8_t v)
{
    return ref_base[v / 32 % ARRAY_SIZE(ref_base)] + v % 32;
}

uint64_t fuzz_guest_address(struct fuzz_in *in)
{
    uint8_t v = fuzz_u8(in);

    if (v >= 252)
        return fuzz_u64(in);
    if (v >= 224) /* with an offset in the page */
        return GMEM_GRANT_BIT | (uint64_t)fuzz_guest_ref(v & 31) << 12 | (fuzz_u16(in) & 0xfff);
    if (v >= 96)
        return (uint64_t)(v & 31) << 12;
    return GMEM_GRANT_BIT | (uint64_t)fuzz_guest_ref(v) << 12;
}

void fuzz_guest_write(struct fuzz_guest *g, size_t at, struct fuzz_in *in)
{
    uint8_t bytes[64];
    size_t n = fuzz_take(in, bytes, 1 + fuzz_u8(in) % sizeof(bytes));

    at %= GUEST_SIZE;
    memcpy(g->mem + at, bytes, n < GUEST_SIZE - at ? n : GUEST_SIZE - at);
}

void fuzz_guest_flip(struct fuzz_guest *g, size_t at, struct fuzz_in *in)
{
    size_t i = g->n_flips < GUEST_FLIPS ? g->n_flips++ : at % GUEST_FLIPS;
    uint8_t when = fuzz_u8(in);

    g->flips[i].at = at % (GUEST_SIZE - sizeof(g->flips[i].mask));
    g->flips[i].skip = when % 32;
    g->flips[i].period = 1 + when / 32;
    g->flips[i].phase = 0;
    fuzz_take(in, g->flips[i].mask, sizeof(g->flips[i].mask));
}

void fuzz_guest_trouble(struct fuzz_guest *g, struct fuzz_in *in)
{
    static const int errors[] = {-ENOMEM, -EFAULT, -EIO, -EAGAIN};
    uint8_t how = fuzz_u8(in), v = fuzz_u8(in);
    unsigned kind = v % 96 / 32, page = v % GUEST_PAGES;
    uint32_t ref = ref_base[kind] + page;

    switch (how % 5) {
    case 0:
        fake_grants_fail_map(g->f, 1 + v % 8, errors[how / 5 % ARRAY_SIZE(errors)]);
        break;
    case 1:
        fake_grants_fail_copy(g->f, 1 + v % 8, errors[how / 5 % ARRAY_SIZE(errors)]);
        break;
    case 2:
        fake_grants_set_limit(g->f, v < 128 ? v % 32 : SIZE_MAX);
        break;
    case 3:
        if (fake_grants_revoke(g->f, ref, 1) == 0)
            g->revoked[kind * GUEST_PAGES + page] = true;
        break;
    default:
        if (g->revoked[kind * GUEST_PAGES + page]) {
            FUZZ_CHECK(fake_grants_grant(g->f, ref, page, 1, kind == 1));
            g->revoked[kind * GUEST_PAGES + page] = false;
        }
        break;
    }
}

static size_t request_map(uint8_t *req, struct fuzz_in *in)
{
    uint8_t v = fuzz_u8(in), where = fuzz_u8(in);
    uint64_t first = (where & 0x3full) * PAGE, pages = 1 + (where >> 6);

    if (v >= 0xf0)
        first = fuzz_u64(in);
    le32_store(req + VIOMMU_MAP_DOMAIN, v % 5);
    le64_store(req + VIOMMU_MAP_VIRT_START, first);
    le64_store(req + VIOMMU_MAP_VIRT_END, first + pages * PAGE - 1);
    le64_store(req + VIOMMU_MAP_PHYS_START, fuzz_guest_address(in));
    le32_store(req + VIOMMU_MAP_FLAGS, v >= 0xf8 ? v : (v >> 4) & 7);
    return VIOMMU_MAP_SIZE;
}

static size_t request_unmap(uint8_t *req, struct fuzz_in *in)
{
    uint8_t v = fuzz_u8(in), where = fuzz_u8(in);
    uint64_t first = (where & 0x3full) * PAGE, pages = 1 + (where >> 6);

    le32_store(req + VIOMMU_UNMAP_DOMAIN, v % 5);
    le64_store(req + VIOMMU_UNMAP_VIRT_START, v >= 0xf0 ? 0 : first);
    le64_store(req + VIOMMU_UNMAP_VIRT_END, v >= 0xe0 ? UINT64_MAX : first + pages * PAGE - 1);
    return VIOMMU_UNMAP_SIZE;
}

size_t fuzz_guest_request(uint8_t req[VIOMMU_REQ_MAX], struct fuzz_in *in)
{
    uint8_t type = fuzz_u8(in), v;

    memset(req, 0, VIOMMU_REQ_MAX);
    if (type >= 240) { /* any bytes */
        size_t n = type == 255 ? VIOMMU_REQ_MAX : 4 + (size_t)(type - 240) * 4;

        fuzz_take(in, req, n);
        return n;
    }
    req[0] = (uint8_t)(1 + type % 5);
    switch (req[0]) {
    case VIOMMU_T_MAP:
        return request_map(req, in);
    case VIOMMU_T_UNMAP:
        return request_unmap(req, in);
    case VIOMMU_T_PROBE:
        le32_store(req + VIOMMU_PROBE_ENDPOINT, GUEST_EP + fuzz_u8(in) % 3);
        return VIOMMU_PROBE_SIZE;
    default: /* ATTACH and DETACH have the same offsets */
        v = fuzz_u8(in);
        le32_store(req + VIOMMU_ATTACH_DOMAIN, v % 5);
        le32_store(req + VIOMMU_ATTACH_ENDPOINT, GUEST_EP + v / 5 % 3);
        le32_store(req + VIOMMU_ATTACH_FLAGS, req[0] == VIOMMU_T_ATTACH && v >= 192);
        return VIOMMU_ATTACH_SIZE;
    }
}
