/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The replay tool's guest, a frontend as docs/protocol.md describes it: see guest.h. Owns the
 * grants and the device.
 */
#include <config.h>

#include "tests/support/replay/guest.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/daemon/control_page.h"
#include "backend/iommu/soft.h"
#include "common/le.h"

/*
 * References, far from the numbers that scripts are likely to write as grant addresses: those are
 * refused like any grant that the guest never made.
 */
#define MEMORY_REF   0x5a000000u
#define FRONTEND_REF 0xa5000000u

#define POOL_SIZE       (4u << 20)
#define EVENT_POOL_SIZE (VIRTQUEUE_MAX_SIZE * VIOMMU_FAULT_SIZE)

static int failed(char *why, size_t why_size, int rc, const char *fmt, ...) PRINTF_LIKE(4, 5);
static int failed(char *why, size_t why_size, int rc, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(why, why_size, fmt, ap);
    va_end(ap);
    return rc;
}

/* --- control page ------------------------------------------------------------------------------
 */

static uint32_t *control_word(struct guest *g, unsigned offset)
{
    return (uint32_t *)(void *)(g->control + offset);
}

static uint32_t control_get(struct guest *g, unsigned offset)
{
    return le32toh(__atomic_load_n(control_word(g, offset), __ATOMIC_ACQUIRE));
}

static void control_put(struct guest *g, unsigned offset, uint32_t value)
{
    __atomic_store_n(control_word(g, offset), htole32(value), __ATOMIC_RELEASE);
}

/* Kicks that nobody waits for: the device answers within the call. */
static void ignore_queue(void *ctx, unsigned queue)
{
    (void)ctx;
    (void)queue;
}

static void ignore_control(void *ctx)
{
    (void)ctx;
}

static bool write_status(struct guest *g, uint32_t status)
{
    uint32_t seq = control_get(g, CONTROL_F_STATUS_SEQ) + 1;

    control_put(g, CONTROL_F_STATUS, status);
    control_put(g, CONTROL_F_STATUS_SEQ, seq);
    if (device_control_event(g->device))
        guest_kick(g);
    return control_get(g, CONTROL_B_STATUS_ACK) == seq &&
           control_get(g, CONTROL_B_STATUS) == status;
}

bool guest_bypass(struct guest *g, uint32_t value)
{
    uint32_t seq = control_get(g, CONTROL_F_BYPASS_SEQ) + 1;

    control_put(g, CONTROL_F_BYPASS, value);
    control_put(g, CONTROL_F_BYPASS_SEQ, seq);
    if (device_control_event(g->device))
        guest_kick(g);
    return control_get(g, CONTROL_B_BYPASS_ACK) == seq &&
           control_get(g, CONTROL_B_BYPASS_VERDICT) == 0;
}

/* --- rings -------------------------------------------------------------------------------------
 */

static bool rings_init(struct guest *g)
{
    uint32_t size = g->options->queue_size;
    uint64_t features = g->features;

    /* Without --indirect no tables are needed, whatever was negotiated. */
    if (!g->options->framing.indirect)
        features &= ~VIRTIO_F_INDIRECT_DESC;
    g->arena.next = g->rings_at;
    return guest_ring_init(&g->request_ring, &g->arena, size, features) &&
           guest_ring_init(&g->event_ring, &g->arena, size, features & ~VIRTIO_F_INDIRECT_DESC);
}

static bool driver_start(struct guest *g, char *why, size_t why_size)
{
    static const uint32_t steps[] = {
        STATUS_ACKNOWLEDGE | STATUS_DRIVER,
        STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK,
        STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK | STATUS_DRIVER_OK,
    };

    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        if (!write_status(g, steps[i])) {
            (void)failed(why, why_size, 0, "the device refused status %#x", (unsigned)steps[i]);
            return false;
        }
    }
    return true;
}

bool guest_reset(struct guest *g, char *why, size_t why_size)
{
    requests_clear(g->requests);
    if (!write_status(g, 0) || !rings_init(g)) {
        (void)failed(why, why_size, 0, "the device refused the reset");
        return false;
    }
    return driver_start(g, why, why_size);
}

void guest_kick(struct guest *g)
{
    while (device_queue_event(g->device, VIOMMU_QUEUE_REQUEST))
        ;
}

/* --- events ------------------------------------------------------------------------------------
 */

static bool post_events(struct guest *g, size_t n)
{
    g->event_pool.next = 0;
    for (size_t i = 0; i < n; i++) {
        const void *bytes = guest_alloc(&g->event_pool, VIOMMU_FAULT_SIZE, 1);
        struct guest_buf buf = {.len = VIOMMU_FAULT_SIZE, .write = true};

        if (!bytes)
            return false;
        buf.addr = guest_address(&g->event_pool, bytes);
        if (guest_ring_add(&g->event_ring, &buf, 1, 1) < 0)
            return false;
    }
    (void)guest_ring_publish(&g->event_ring);
    return true;
}

bool guest_events(struct guest *g, uint64_t *n_out, uint64_t *lost_out)
{
    struct viommu *v = device_viommu(g->device);
    uint64_t lost = viommu_counters(v)->faults_lost;
    uint32_t head, len;

    *n_out = 0;
    *lost_out = lost - g->lost_before;
    g->lost_before = lost;
    /* No more buffers than reports, so that how many can wait does not depend on older lines. */
    while (viommu_faults_queued(v) > 0 && !device_needs_reset(g->device)) {
        size_t n = viommu_faults_queued(v);

        if (!post_events(g, n < g->event_ring.size ? n : g->event_ring.size))
            return false;
        (void)device_queue_event(g->device, VIOMMU_QUEUE_EVENT);
        for (; guest_ring_used(&g->event_ring, &head, &len); n--) {
            if (n == 0 || len != VIOMMU_FAULT_SIZE)
                return false;
            ++*n_out;
        }
        if (n != viommu_faults_queued(v))
            return false;
    }
    return true;
}

/* --- setting up --------------------------------------------------------------------------------
 */

/* Bytes that rings and buffers take, with room for alignment. */
static size_t frontend_size(const struct replay_options *o)
{
    size_t ring = (size_t)o->queue_size * (16 + 2 + 8) + 64;
    size_t tables = o->framing.indirect ? (size_t)o->queue_size * o->queue_size * 16 : 0;

    return 2 * GRANT_PAGE_SIZE + 2 * ring + tables + POOL_SIZE + EVENT_POOL_SIZE +
           4 * GRANT_PAGE_SIZE;
}

static bool pool_take(struct guest_arena *arena, size_t size, struct guest_arena *out)
{
    uint8_t *bytes = guest_alloc(arena, size, 16);

    if (!bytes)
        return false;
    *out = (struct guest_arena){
        .memory = bytes, .address = guest_address(arena, bytes), .size = size};
    return true;
}

/* A directory of one page that says where guest memory is; 0 when there is none. */
static uint32_t directory_fill(struct guest *g, uint32_t pages)
{
    uint8_t *page = guest_alloc(&g->arena, GRANT_PAGE_SIZE, GRANT_PAGE_SIZE);
    uint8_t *entry = page + DIRECTORY_ENTRIES_AT;

    if (!page || pages == 0)
        return 0;
    le32_store(page + DIRECTORY_MAGIC_AT, DIRECTORY_MAGIC);
    le32_store(page + DIRECTORY_VERSION_AT, DIRECTORY_VERSION);
    le32_store(page + DIRECTORY_GENERATION_AT, 1);
    le32_store(page + DIRECTORY_COUNT_AT, 1);
    le64_store(entry, 0);
    le32_store(entry + 8, MEMORY_REF);
    le32_store(entry + 12, pages);
    return FRONTEND_REF + (uint32_t)((size_t)(page - g->arena.memory) / GRANT_PAGE_SIZE);
}

static bool memory_init(struct guest *g)
{
    uint32_t pages = (uint32_t)(g->options->memory / GRANT_PAGE_SIZE);
    size_t frontend = (frontend_size(g->options) + GRANT_PAGE_SIZE - 1) / GRANT_PAGE_SIZE;
    struct guest_arena pool;
    uint32_t directory;

    g->grants = fake_grants_new(pages + frontend, true);
    if (!g->grants || (pages > 0 && !fake_grants_grant(g->grants, MEMORY_REF, 0, pages, false)) ||
        !fake_grants_grant(g->grants, FRONTEND_REF, pages, frontend, false))
        return false;
    g->arena = (struct guest_arena){
        .memory = fake_grants_memory(g->grants) + (size_t)pages * GRANT_PAGE_SIZE,
        .address = GMEM_GRANT_BIT | (uint64_t)FRONTEND_REF << GRANT_PAGE_SHIFT,
        .size = frontend * GRANT_PAGE_SIZE,
    };
    g->control = guest_alloc(&g->arena, GRANT_PAGE_SIZE, GRANT_PAGE_SIZE);
    directory = directory_fill(g, pages);
    if (!g->control || !pool_take(&g->arena, EVENT_POOL_SIZE, &g->event_pool) ||
        !pool_take(&g->arena, POOL_SIZE, &pool))
        return false;
    g->rings_at = g->arena.next;
    g->requests = requests_new(pool, g->options->queue_size, g->options->framing);
    control_put(g, CONTROL_F_MAGIC, CONTROL_MAGIC);
    control_put(g, CONTROL_F_VERSION, CONTROL_VERSION);
    control_put(g, CONTROL_F_MAP_REF, directory);
    control_put(g, CONTROL_F_MAP_GENERATION, 1);
    return g->requests && rings_init(g);
}

static int endpoint_add(struct guest *g, uint32_t id, char *why, size_t why_size)
{
    const struct replay_options *o = g->options;
    cleanup_free struct viommu_resv *resv = calloc(o->n_resv + 1, sizeof(*resv));
    struct viommu_endpoint_config config = {
        .id = id,
        .ops = &soft_iommu_ops,
        .caps = SOFT_IOMMU_CAPS,
        .aperture = {0, UINT64_MAX},
        .resv = resv,
    };
    const char *reason = "out of memory";
    int rc;

    if (!resv)
        return -ENOMEM;
    for (size_t i = 0; i < o->n_resv; i++) {
        if (o->resv[i].endpoint == id)
            resv[config.n_resv++] = o->resv[i].resv;
    }
    rc = viommu_endpoint_add(device_viommu(g->device), &config, &reason);
    if (rc == -EEXIST) {
        reason = "named twice";
        rc = -EINVAL;
    }
    return rc ? failed(why, why_size, rc, "endpoint %#x: %s", (unsigned)id, reason) : 0;
}

static int device_init(struct guest *g, char *why, size_t why_size)
{
    struct device_host host = {
        .grants = &fake_grants_ops,
        .grants_ctx = g->grants,
        .notify_queue = ignore_queue,
        .notify_control = ignore_control,
    };
    const char *reason;
    int rc;

    rc = device_new(&g->device, &g->options->device, &host, &reason);
    if (rc)
        return failed(why, why_size, rc, "%s", reason);
    for (size_t i = 0; i < g->options->n_endpoints && !rc; i++)
        rc = endpoint_add(g, g->options->endpoints[i], why, why_size);
    return rc;
}

static struct device_queue_setup setup_of(const struct guest_ring *ring)
{
    struct virtqueue_config c = guest_ring_config(ring);

    return (struct device_queue_setup){c.size, c.desc, c.driver, c.device};
}

static int connect(struct guest *g, char *why, size_t why_size)
{
    struct device_connection c = {.features = g->features, .control_ref = FRONTEND_REF};
    int rc;

    c.queue[VIOMMU_QUEUE_REQUEST] = setup_of(&g->request_ring);
    c.queue[VIOMMU_QUEUE_EVENT] = setup_of(&g->event_ring);
    rc = device_connect(g->device, &c, why, why_size);
    if (rc)
        return rc;
    return driver_start(g, why, why_size) ? 0 : -EIO;
}

int guest_init(struct guest *g, const struct replay_options *options, char *why, size_t why_size)
{
    int rc;

    *g = (struct guest){.options = options};
    g->features = options->accepted | VIRTIO_F_VERSION_1 | VIRTIO_F_ACCESS_PLATFORM;
    if (!memory_init(g))
        rc = failed(why, why_size, -ENOMEM, "no memory for a guest of this size");
    else
        rc = device_init(g, why, why_size);
    if (!rc)
        rc = connect(g, why, why_size);
    if (rc)
        (void)guest_fini(g);
    return rc;
}

bool guest_fini(struct guest *g)
{
    bool clean;

    g->device = device_free(g->device);
    clean = !g->grants ||
            (fake_grants_live_maps(g->grants) == 0 && fake_grants_errors(g->grants) == 0);
    g->requests = requests_free(g->requests);
    g->grants = fake_grants_free(g->grants);
    return clean;
}
