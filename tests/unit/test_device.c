/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The device with its transport (backend/daemon/device.h) against docs/protocol.md: a frontend in
 * this process on a model of grant tables, good ones and bad ones.
 */
#include <config.h>

#include "backend/daemon/device.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "backend/daemon/control_page.h"
#include "backend/iommu/soft.h"
#include "common/le.h"
#include "common/log.h"
#include "tests/support/fake_grants.h"
#include "tests/support/guest_ring.h"
#include "tests/support/ut.h"

#define PAGE 4096ull

/* Guest memory: RAM at address 0 for the grant map, then the frontend's pages. */
#define RAM_PAGES      64u
#define RAM_REF        100u
#define FRONTEND_PAGES 128u
#define FRONTEND_REF   1000u
#define READ_ONLY_REF  5000u /* the frontend's pages once more, granted read-only */

#define QUEUE_SIZE 16u
#define MUST       (VIRTIO_F_VERSION_1 | VIRTIO_F_ACCESS_PLATFORM)
#define EP         8u

#define READY (STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK | STATUS_DRIVER_OK)

struct rig {
    struct fake_grants *f;
    struct device *d;
    struct guest_arena arena;
    size_t arena_mark; /* where what a test allocates begins */
    uint8_t *control;
    uint8_t *directory[3];
    struct guest_ring ring[VIOMMU_N_QUEUES];
    struct device_connection c;
    unsigned queue_notified[VIOMMU_N_QUEUES];
    unsigned control_notified;
    size_t maps_when_notified; /* live at the latest notification of a queue */
};

static unsigned log_lines;
static const struct grant_ops *platform = &fake_grants_ops;

static void count_log(enum log_level level, const char *line, void *ctx)
{
    (void)level;
    (void)line;
    (void)ctx;
    log_lines++;
}

/* --- the frontend ------------------------------------------------------------------------------
 */

static void on_queue(void *ctx, unsigned queue)
{
    struct rig *r = ctx;

    r->queue_notified[queue]++;
    r->maps_when_notified = fake_grants_live_maps(r->f);
}

static void on_control(void *ctx)
{
    ((struct rig *)ctx)->control_notified++;
}

static void put(struct rig *r, unsigned offset, uint32_t value)
{
    le32_store(r->control + offset, value);
}

static uint32_t get(const struct rig *r, unsigned offset)
{
    return le32_load(r->control + offset);
}

static uint32_t ref_of(const struct rig *r, const void *p)
{
    return FRONTEND_REF + (uint32_t)((size_t)((const uint8_t *)p - r->arena.memory) / PAGE);
}

static struct device_queue_setup setup_of(const struct guest_ring *ring)
{
    struct virtqueue_config c = guest_ring_config(ring);

    return (struct device_queue_setup){c.size, c.desc, c.driver, c.device};
}

/* Fresh rings at the place where they were. */
static void rig_rings(struct rig *r)
{
    r->arena.next = r->arena_mark;
    for (unsigned q = 0; q < VIOMMU_N_QUEUES; q++) {
        UT_TRUE(guest_ring_init(&r->ring[q], &r->arena, QUEUE_SIZE,
                                r->c.features & ~VIRTIO_F_INDIRECT_DESC));
        r->c.queue[q] = setup_of(&r->ring[q]);
    }
}

static void rig_frontend(struct rig *r)
{
    r->arena = (struct guest_arena){
        .memory = fake_grants_memory(r->f) + RAM_PAGES * PAGE,
        .address = GMEM_GRANT_BIT | (uint64_t)FRONTEND_REF << GRANT_PAGE_SHIFT,
        .size = FRONTEND_PAGES * PAGE,
    };
    r->control = guest_alloc(&r->arena, PAGE, PAGE);
    for (unsigned i = 0; i < ARRAY_SIZE(r->directory); i++)
        r->directory[i] = guest_alloc(&r->arena, PAGE, PAGE);
    r->arena_mark = r->arena.next;
    r->c.control_ref = ref_of(r, r->control);
    rig_rings(r);
    put(r, CONTROL_F_MAGIC, CONTROL_MAGIC);
    put(r, CONTROL_F_VERSION, CONTROL_VERSION);
}

/* A device with one soft endpoint, and a frontend that has prepared everything but not connected.
 */
static bool rig_open(struct rig *r, const struct device_config *config, uint64_t features)
{
    struct viommu_endpoint_config ep = {
        .id = EP, .ops = &soft_iommu_ops, .caps = SOFT_IOMMU_CAPS, .aperture = {0, UINT64_MAX}};
    struct device_config def = DEVICE_CONFIG_DEFAULT;
    struct device_host host = {
        .grants = platform, .notify_queue = on_queue, .notify_control = on_control, .ctx = r};
    const char *why;

    *r = (struct rig){.f = fake_grants_new(RAM_PAGES + FRONTEND_PAGES, false)};
    log_set_sink(count_log, NULL);
    log_lines = 0;
    host.grants_ctx = r->f;
    r->c.features = features;
    if (!r->f || !fake_grants_grant(r->f, RAM_REF, 0, RAM_PAGES, false) ||
        !fake_grants_grant(r->f, FRONTEND_REF, RAM_PAGES, FRONTEND_PAGES, false) ||
        !fake_grants_grant(r->f, READ_ONLY_REF, RAM_PAGES, FRONTEND_PAGES, true) ||
        device_new(&r->d, config ? config : &def, &host, &why) ||
        viommu_endpoint_add(device_viommu(r->d), &ep, &why))
        return false;
    rig_frontend(r);
    return true;
}

static int rig_connect(struct rig *r)
{
    char why[128];

    return device_connect(r->d, &r->c, why, sizeof(why));
}

/* Nothing of the guest is mapped. */
static void check_nothing_mapped(const struct rig *r)
{
    UT_EQ(fake_grants_live_maps(r->f), 0);
    UT_EQ(fake_grants_live_pages(r->f), 0);
    UT_EQ(fake_grants_errors(r->f), 0);
}

static void rig_close(struct rig *r)
{
    if (r->d) {
        device_disconnect(r->d);
        check_nothing_mapped(r);
    }
    r->d = device_free(r->d);
    r->f = fake_grants_free(r->f);
    log_set_sink(NULL, NULL);
}

/* Writes driver_status; returns device_status as acknowledged. */
static uint32_t status(struct rig *r, uint32_t value)
{
    uint32_t seq = get(r, CONTROL_F_STATUS_SEQ) + 1;

    put(r, CONTROL_F_STATUS, value);
    put(r, CONTROL_F_STATUS_SEQ, seq);
    (void)device_control_event(r->d);
    UT_EQ(get(r, CONTROL_B_STATUS_ACK), seq);
    UT_EQ(get(r, CONTROL_B_STATUS), device_status(r->d));
    return get(r, CONTROL_B_STATUS);
}

static void driver_start(struct rig *r)
{
    UT_EQ(status(r, STATUS_ACKNOWLEDGE | STATUS_DRIVER), STATUS_ACKNOWLEDGE | STATUS_DRIVER);
    UT_EQ(status(r, READY & ~STATUS_DRIVER_OK), READY & ~STATUS_DRIVER_OK);
    UT_EQ(status(r, READY), READY);
}

static uint32_t bypass(struct rig *r, uint32_t value)
{
    uint32_t seq = get(r, CONTROL_F_BYPASS_SEQ) + 1;

    put(r, CONTROL_F_BYPASS, value);
    put(r, CONTROL_F_BYPASS_SEQ, seq);
    (void)device_control_event(r->d);
    UT_EQ(get(r, CONTROL_B_BYPASS_ACK), seq);
    return get(r, CONTROL_B_BYPASS_VERDICT);
}

/* Open, connected, DRIVER_OK. */
static bool rig_run(struct rig *r, const struct device_config *config)
{
    if (!rig_open(r, config, MUST | VIOMMU_F_ALL) || rig_connect(r))
        return false;
    driver_start(r);
    return device_status(r->d) == READY;
}

/* --- requests ----------------------------------------------------------------------------------
 */

#define UNWRITTEN 0x100u

/* Posts one request; the answer's tail will be at *tail_out. */
static bool post(struct rig *r, const uint8_t *req, uint32_t len, uint8_t **tail_out)
{
    uint8_t *bytes = guest_alloc(&r->arena, len, 1);
    uint8_t *tail = guest_alloc(&r->arena, VIOMMU_TAIL_SIZE, 1);
    struct guest_buf bufs[2];

    if (!bytes || !tail)
        return false;
    memcpy(bytes, req, len);
    memset(tail, 0xff, VIOMMU_TAIL_SIZE);
    bufs[0] = (struct guest_buf){guest_address(&r->arena, bytes), len, false};
    bufs[1] = (struct guest_buf){guest_address(&r->arena, tail), VIOMMU_TAIL_SIZE, true};
    if (tail_out)
        *tail_out = tail;
    return guest_ring_add(&r->ring[VIOMMU_QUEUE_REQUEST], bufs, 2, 2) >= 0;
}

/* Sends one request and returns its status. */
static unsigned ask(struct rig *r, const uint8_t *req, uint32_t len)
{
    struct guest_ring *ring = &r->ring[VIOMMU_QUEUE_REQUEST];
    uint8_t *tail = NULL;
    uint32_t head, used;

    if (!post(r, req, len, &tail))
        return 0xdead;
    (void)guest_ring_publish(ring);
    (void)device_queue_event(r->d, VIOMMU_QUEUE_REQUEST);
    if (!guest_ring_used(ring, &head, &used))
        return UNWRITTEN + 1;
    if (used == 0)
        return UNWRITTEN;
    UT_EQ(used, VIOMMU_TAIL_SIZE);
    return tail[0];
}

static void attach_bytes(uint8_t req[VIOMMU_ATTACH_SIZE], uint32_t vdomain)
{
    memset(req, 0, VIOMMU_ATTACH_SIZE);
    req[0] = VIOMMU_T_ATTACH;
    le32_store(req + VIOMMU_ATTACH_DOMAIN, vdomain);
    le32_store(req + VIOMMU_ATTACH_ENDPOINT, EP);
}

static unsigned attach(struct rig *r, uint32_t vdomain)
{
    uint8_t req[VIOMMU_ATTACH_SIZE];

    attach_bytes(req, vdomain);
    return ask(r, req, sizeof(req));
}

static unsigned map(struct rig *r, uint64_t first, uint64_t phys)
{
    uint8_t req[VIOMMU_MAP_SIZE] = {VIOMMU_T_MAP};

    le32_store(req + VIOMMU_MAP_DOMAIN, 1);
    le64_store(req + VIOMMU_MAP_VIRT_START, first);
    le64_store(req + VIOMMU_MAP_VIRT_END, first + PAGE - 1);
    le64_store(req + VIOMMU_MAP_PHYS_START, phys);
    le32_store(req + VIOMMU_MAP_FLAGS, VIOMMU_MAP_F_READ | VIOMMU_MAP_F_WRITE);
    return ask(r, req, sizeof(req));
}

static unsigned unmap(struct rig *r, uint64_t first)
{
    uint8_t req[VIOMMU_UNMAP_SIZE] = {VIOMMU_T_UNMAP};

    le32_store(req + VIOMMU_UNMAP_DOMAIN, 1);
    le64_store(req + VIOMMU_UNMAP_VIRT_START, first);
    le64_store(req + VIOMMU_UNMAP_VIRT_END, first + PAGE - 1);
    return ask(r, req, sizeof(req));
}

static int dma_write(struct rig *r, uint64_t iova, uint8_t byte)
{
    return soft_dma(device_viommu(r->d), EP, iova, &byte, 1, true, NULL);
}

/* A DMA that the tables refuse: queues a report. */
static void provoke_fault(struct rig *r, uint64_t iova)
{
    UT_EQ(dma_write(r, iova, 0), -EACCES);
}

/* Posts an event buffer; it is not announced by a kick. */
static uint8_t *post_event(struct rig *r, uint32_t len, bool write)
{
    uint8_t *bytes = guest_alloc(&r->arena, len, 1);
    struct guest_buf buf = {.len = len, .write = write};

    if (!bytes)
        return NULL;
    memset(bytes, 0xee, len);
    buf.addr = guest_address(&r->arena, bytes);
    UT_TRUE(guest_ring_add(&r->ring[VIOMMU_QUEUE_EVENT], &buf, 1, 1) >= 0);
    (void)guest_ring_publish(&r->ring[VIOMMU_QUEUE_EVENT]);
    return bytes;
}

/* The used length of the next event buffer that came back; 0x1000 if none did. */
static uint32_t event_used(struct rig *r)
{
    uint32_t head, used;

    return guest_ring_used(&r->ring[VIOMMU_QUEUE_EVENT], &head, &used) ? used : 0x1000;
}

/* --- grant maps --------------------------------------------------------------------------------
 */

static void directory_head(uint8_t *page, uint32_t generation, uint32_t count, uint32_t next)
{
    memset(page, 0, PAGE);
    le32_store(page + DIRECTORY_MAGIC_AT, DIRECTORY_MAGIC);
    le32_store(page + DIRECTORY_VERSION_AT, DIRECTORY_VERSION);
    le32_store(page + DIRECTORY_GENERATION_AT, generation);
    le32_store(page + DIRECTORY_COUNT_AT, count);
    le32_store(page + DIRECTORY_NEXT_AT, next);
}

static void directory_entry(uint8_t *page, unsigned i, uint64_t address, uint32_t ref,
                            uint32_t pages, uint32_t flags)
{
    uint8_t *entry = page + DIRECTORY_ENTRIES_AT + i * DIRECTORY_ENTRY_SIZE;

    le64_store(entry, address);
    le32_store(entry + 8, ref);
    le32_store(entry + 12, pages);
    le32_store(entry + 16, flags);
}

/* Page 0 of the directory with all of RAM at address 0. */
static void directory_ram(struct rig *r, uint32_t generation)
{
    directory_head(r->directory[0], generation, 1, 0);
    directory_entry(r->directory[0], 0, 0, RAM_REF, RAM_PAGES, 0);
}

static void offer_write(struct rig *r, uint32_t ref, uint32_t generation)
{
    put(r, CONTROL_F_MAP_REF, ref);
    put(r, CONTROL_F_MAP_GENERATION, generation);
}

static uint32_t offer(struct rig *r, uint32_t ref, uint32_t generation)
{
    offer_write(r, ref, generation);
    (void)device_control_event(r->d);
    UT_EQ(get(r, CONTROL_B_MAP_ANSWERED), generation);
    return get(r, CONTROL_B_MAP_VERDICT);
}

static uint32_t offer_ram(struct rig *r, uint32_t generation)
{
    directory_ram(r, generation);
    return offer(r, ref_of(r, r->directory[0]), generation);
}

/* --- configuration -----------------------------------------------------------------------------
 */

static void bad_configuration_is_refused_with_a_reason(void)
{
    struct device_config c[8];
    struct device_host host = {
        .grants = &fake_grants_ops, .notify_queue = on_queue, .notify_control = on_control};

    for (size_t i = 0; i < ARRAY_SIZE(c); i++)
        c[i] = DEVICE_CONFIG_DEFAULT;
    c[0].ring_features = 1ull << 36; /* ORDER_PLATFORM */
    c[1].max_queue_size = 0;
    c[2].max_queue_size = 48;
    c[3].max_queue_size = 2 * VIRTQUEUE_MAX_SIZE;
    c[4].max_map_pages = 0;
    c[5].budget = 0;
    c[6].viommu.page_size_mask = 0;
    c[7].mem.window_pages = 3;
    for (size_t i = 0; i < ARRAY_SIZE(c); i++) {
        struct device *d = NULL;
        const char *why = NULL;

        UT_EQ(device_new(&d, &c[i], &host, &why), -EINVAL);
        UT_TRUE(d == NULL && why && why[0]);
    }
}

static void offered_features_are_the_cores_the_rings_and_the_transports(void)
{
    struct device_config config = DEVICE_CONFIG_DEFAULT;
    struct rig r;

    config.viommu.features = VIOMMU_F_MAP_UNMAP;
    config.ring_features = VIRTIO_F_EVENT_IDX;
    UT_REQUIRE(rig_open(&r, &config, MUST));
    UT_EQ(device_features(r.d), MUST | VIOMMU_F_MAP_UNMAP | VIRTIO_F_EVENT_IDX);
    rig_close(&r);
}

/* --- connecting --------------------------------------------------------------------------------
 */

static void connecting_fills_in_the_backends_half(void)
{
    uint8_t config[VIOMMU_CONFIG_SIZE];
    struct rig r;

    UT_REQUIRE(rig_open(&r, NULL, MUST | VIOMMU_F_ALL));
    memset(r.control + CONTROL_B_MAGIC, 0xee, 0x38);
    UT_EQ(rig_connect(&r), 0);
    UT_TRUE(device_connected(r.d));
    UT_EQ(get(&r, CONTROL_B_MAGIC), CONTROL_MAGIC);
    UT_EQ(get(&r, CONTROL_B_VERSION), CONTROL_VERSION);
    for (unsigned at = CONTROL_B_STATUS; at <= CONTROL_B_QUEUE_VERDICT(1); at += 4)
        UT_EQ(get(&r, at), 0);
    viommu_config_bytes(device_viommu(r.d), config);
    UT_TRUE(memcmp(r.control + CONTROL_B_CONFIG, config, sizeof(config)) == 0);
    UT_EQ(viommu_negotiated(device_viommu(r.d)), VIOMMU_F_ALL);
    UT_EQ(rig_connect(&r), -EBUSY);
    UT_TRUE(device_connected(r.d));
    rig_close(&r);
}

static void fe_unknown_feature(struct rig *r)
{
    r->c.features |= 1u << 3;
}

static void fe_feature_not_offered(struct rig *r)
{
    r->c.features |= 1ull << 36; /* ORDER_PLATFORM */
}

static void fe_no_version_1(struct rig *r)
{
    r->c.features &= ~VIRTIO_F_VERSION_1;
}

static void fe_no_access_platform(struct rig *r)
{
    r->c.features &= ~VIRTIO_F_ACCESS_PLATFORM;
}

static void fe_control_ref_0(struct rig *r)
{
    r->c.control_ref = 0;
}

static void fe_control_not_granted(struct rig *r)
{
    r->c.control_ref = 77;
}

static void fe_control_read_only(struct rig *r)
{
    r->c.control_ref += READ_ONLY_REF - FRONTEND_REF;
}

static void fe_wrong_magic(struct rig *r)
{
    put(r, CONTROL_F_MAGIC, CONTROL_MAGIC + 1);
}

static void fe_wrong_version(struct rig *r)
{
    put(r, CONTROL_F_VERSION, 2);
}

static void fe_queue_size_0(struct rig *r)
{
    r->c.queue[0].size = 0;
}

static void fe_queue_size_odd(struct rig *r)
{
    r->c.queue[1].size = 12;
}

static void fe_queue_too_large(struct rig *r)
{
    r->c.queue[1].size = 2 * VIRTQUEUE_MAX_SIZE;
}

static void fe_desc_misaligned(struct rig *r)
{
    r->c.queue[0].desc += 8;
}

static void fe_driver_misaligned(struct rig *r)
{
    r->c.queue[0].driver += 1;
}

static void fe_device_misaligned(struct rig *r)
{
    r->c.queue[1].device += 2;
}

static void fe_desc_not_granted(struct rig *r)
{
    r->c.queue[1].desc = GMEM_GRANT_BIT | 77u << GRANT_PAGE_SHIFT;
}

static void fe_desc_nowhere(struct rig *r)
{
    r->c.queue[0].desc = 0; /* no grant map */
}

static void fe_area_wraps(struct rig *r)
{
    r->c.queue[0].desc = UINT64_MAX & ~15ull;
}

static void fe_used_read_only(struct rig *r)
{
    r->c.queue[1].device += (uint64_t)(READ_ONLY_REF - FRONTEND_REF) << GRANT_PAGE_SHIFT;
}

static void fe_map_malformed(struct rig *r)
{
    directory_ram(r, 1);
    offer_write(r, ref_of(r, r->directory[0]), 2);
}

static void fe_map_page_not_granted(struct rig *r)
{
    offer_write(r, 77, 1);
}

static void refused_frontends_leave_nothing_and_can_come_again(void)
{
    static const struct {
        void (*spoil)(struct rig *r);
        const char *why; /* begins so */
    } cases[] = {
        {fe_unknown_feature, "features: 0x8 "},
        {fe_feature_not_offered, "features: 0x1000000000 "},
        {fe_no_version_1, "features: bits 32 and 33"},
        {fe_no_access_platform, "features: bits 32 and 33"},
        {fe_control_ref_0, "control page: reference 0 is never"},
        {fe_control_not_granted, "control page: reference 77"},
        {fe_control_read_only, "control page: reference"},
        {fe_wrong_magic, "control page: wrong magic"},
        {fe_wrong_version, "control page: wrong version"},
        {fe_queue_size_0, "queue 0: size 0"},
        {fe_queue_size_odd, "queue 1: size 12"},
        {fe_queue_too_large, "queue 1: size 2048"},
        {fe_desc_misaligned, "queue 0: the ring"},
        {fe_driver_misaligned, "queue 0: the ring"},
        {fe_device_misaligned, "queue 1: the ring"},
        {fe_desc_not_granted, "queue 1: the ring"},
        {fe_desc_nowhere, "queue 0: the ring"},
        {fe_area_wraps, "queue 0: the ring"},
        {fe_used_read_only, "queue 1: the ring"},
        {fe_map_malformed, "grant map: malformed"},
        {fe_map_page_not_granted, "grant map: malformed"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char why[128] = "";
        struct rig r;

        UT_REQUIRE(rig_open(&r, NULL, MUST | VIOMMU_F_ALL));
        cases[i].spoil(&r);
        UT_TRUE(device_connect(r.d, &r.c, why, sizeof(why)) < 0);
        why[strlen(cases[i].why)] = '\0';
        UT_STR(why, cases[i].why);
        check_nothing_mapped(&r);
        UT_FALSE(device_connected(r.d));
        UT_EQ(get(&r, CONTROL_B_MAGIC), 0);
        UT_EQ(viommu_negotiated(device_viommu(r.d)), 0);
        /* The device has not suffered: a frontend that does it right gets its connection. */
        r.c.features = MUST | VIOMMU_F_ALL;
        memset(r.control, 0, PAGE);
        rig_frontend(&r);
        UT_EQ(rig_connect(&r), 0);
        driver_start(&r);
        UT_EQ(attach(&r, 1), VIOMMU_S_OK);
        rig_close(&r);
    }
}

static void a_host_that_fails_at_any_map_leaves_nothing(void)
{
    struct rig r;
    int rc = -ENOMEM;

    UT_REQUIRE(rig_open(&r, NULL, MUST | VIOMMU_F_ALL));
    directory_ram(&r, 1);
    offer_write(&r, ref_of(&r, r.directory[0]), 1);
    for (size_t n = 1; rc; n++) {
        UT_REQUIRE(n < 20);
        fake_grants_fail_map(r.f, n, -ENOMEM);
        rc = rig_connect(&r);
        if (rc) {
            check_nothing_mapped(&r);
            UT_FALSE(device_connected(r.d));
        } else {
            /* The control page, the directory, three areas for each of two rings. */
            UT_EQ(n, 1 + 1 + 6 + 1);
        }
    }
    fake_grants_fail_map(r.f, 0, 0);
    rig_close(&r);
}

static void rings_may_lie_in_the_grant_map_offered_before_state_3(void)
{
    struct guest_arena ram = {.size = RAM_PAGES * PAGE};
    struct rig r;

    UT_REQUIRE(rig_open(&r, NULL, MUST | VIOMMU_F_ALL));
    ram.memory = fake_grants_memory(r.f);
    directory_ram(&r, 7);
    offer_write(&r, ref_of(&r, r.directory[0]), 7);
    UT_TRUE(guest_ring_init(&r.ring[0], &ram, QUEUE_SIZE, MUST));
    r.c.queue[0] = setup_of(&r.ring[0]);
    UT_EQ(rig_connect(&r), 0);
    UT_EQ(get(&r, CONTROL_B_MAP_IN_USE), 7);
    UT_EQ(get(&r, CONTROL_B_MAP_ANSWERED), 7);
    UT_EQ(fake_grants_revoke(r.f, ref_of(&r, r.directory[0]), 1), 0);
    driver_start(&r);
    UT_EQ(attach(&r, 1), VIOMMU_S_OK);
    /* A map without the ring's pages is busy. */
    directory_head(r.directory[1], 8, 0, 0);
    UT_EQ(offer(&r, ref_of(&r, r.directory[1]), 8), MAP_VERDICT_BUSY);
    UT_EQ(get(&r, CONTROL_B_MAP_IN_USE), 7);
    rig_close(&r);
}

/* --- status ------------------------------------------------------------------------------------
 */

static void nothing_happens_before_driver_ok(void)
{
    struct guest_ring *ring;
    uint8_t req[VIOMMU_ATTACH_SIZE];
    struct rig r;

    UT_REQUIRE(rig_open(&r, NULL, MUST | VIOMMU_F_ALL) && rig_connect(&r) == 0);
    ring = &r.ring[VIOMMU_QUEUE_REQUEST];
    attach_bytes(req, 1);
    UT_TRUE(post(&r, req, sizeof(req), NULL));
    (void)guest_ring_publish(ring);
    UT_FALSE(device_queue_event(r.d, VIOMMU_QUEUE_REQUEST));
    UT_EQ(status(&r, READY & ~STATUS_DRIVER_OK), READY & ~STATUS_DRIVER_OK);
    UT_FALSE(device_queue_event(r.d, VIOMMU_QUEUE_REQUEST));
    provoke_fault(&r, 0x1000);
    device_deliver_faults(r.d);
    UT_EQ(guest_ring_used_idx(ring), 0);
    UT_EQ(viommu_n_vdomains(device_viommu(r.d)), 0);
    UT_EQ(r.queue_notified[0] + r.queue_notified[1], 0);
    /* DRIVER_OK looks at the queue without a kick. */
    UT_EQ(status(&r, READY), READY);
    UT_EQ(guest_ring_used_idx(ring), 1);
    UT_EQ(viommu_n_vdomains(device_viommu(r.d)), 1);
    UT_EQ(r.queue_notified[VIOMMU_QUEUE_REQUEST], 1);
    rig_close(&r);
}

static void steps_out_of_order_are_left_out(void)
{
    struct rig r;

    UT_REQUIRE(rig_open(&r, NULL, MUST) && rig_connect(&r) == 0);
    UT_EQ(status(&r, STATUS_ACKNOWLEDGE | STATUS_FEATURES_OK), STATUS_ACKNOWLEDGE);
    UT_EQ(status(&r, STATUS_DRIVER_OK), STATUS_ACKNOWLEDGE);
    UT_EQ(status(&r, STATUS_DRIVER | STATUS_DRIVER_OK), STATUS_ACKNOWLEDGE | STATUS_DRIVER);
    /* Bits stay, whatever is left out later; unknown ones and NEEDS_RESET are not the driver's. */
    UT_EQ(status(&r, 0x70 | STATUS_FEATURES_OK), READY & ~STATUS_DRIVER_OK);
    UT_EQ(status(&r, STATUS_ACKNOWLEDGE), READY & ~STATUS_DRIVER_OK);
    UT_EQ(status(&r, STATUS_DRIVER_OK), READY);
    UT_FALSE(device_needs_reset(r.d));
    rig_close(&r);
}

static void only_a_new_sequence_number_counts(void)
{
    struct rig r;

    UT_REQUIRE(rig_open(&r, NULL, MUST | VIOMMU_F_ALL) && rig_connect(&r) == 0);
    put(&r, CONTROL_F_STATUS, STATUS_ACKNOWLEDGE);
    put(&r, CONTROL_F_BYPASS, 1);
    put(&r, CONTROL_F_MAP_REF, 77);
    UT_FALSE(device_control_event(r.d));
    UT_EQ(device_status(r.d), 0);
    UT_FALSE(viommu_bypass(device_viommu(r.d)));
    UT_EQ(r.control_notified, 0);
    put(&r, CONTROL_F_STATUS_SEQ, 0xffffffff);
    put(&r, CONTROL_F_BYPASS_SEQ, 5);
    UT_FALSE(device_control_event(r.d));
    UT_EQ(device_status(r.d), STATUS_ACKNOWLEDGE);
    UT_TRUE(viommu_bypass(device_viommu(r.d)));
    UT_EQ(r.control_notified, 1);
    /* The number wraps. */
    UT_EQ(status(&r, STATUS_DRIVER), STATUS_ACKNOWLEDGE | STATUS_DRIVER);
    UT_EQ(get(&r, CONTROL_B_STATUS_ACK), 0);
    rig_close(&r);
}

static void failed_stops_the_queues(void)
{
    struct rig r;

    UT_REQUIRE(rig_run(&r, NULL));
    UT_EQ(status(&r, READY | STATUS_FAILED), READY | STATUS_FAILED);
    UT_EQ(attach(&r, 1), UNWRITTEN + 1);
    UT_EQ(status(&r, READY), READY | STATUS_FAILED);
    UT_EQ(attach(&r, 1), UNWRITTEN + 1);
    rig_close(&r);
}

static void driver_ok_twice_does_not_start_the_rings_again(void)
{
    struct virtqueue_stats stats;
    struct rig r;

    UT_REQUIRE(rig_run(&r, NULL));
    UT_EQ(attach(&r, 1), VIOMMU_S_OK);
    UT_EQ(status(&r, READY), READY);
    UT_TRUE(device_queue_stats(r.d, VIOMMU_QUEUE_REQUEST, &stats));
    UT_EQ(stats.avail_seen, 1);
    UT_EQ(viommu_counters(device_viommu(r.d))->requests[VIOMMU_T_ATTACH], 1);
    UT_EQ(attach(&r, 1), VIOMMU_S_OK);
    UT_EQ(guest_ring_used_idx(&r.ring[VIOMMU_QUEUE_REQUEST]), 2);
    rig_close(&r);
}

static void reset_forgets_everything_but_bypass(void)
{
    struct viommu *v;
    struct rig r;

    UT_REQUIRE(rig_run(&r, NULL));
    v = device_viommu(r.d);
    UT_EQ(offer_ram(&r, 1), MAP_VERDICT_OK);
    UT_EQ(bypass(&r, 1), 0);
    UT_EQ(attach(&r, 1), VIOMMU_S_OK);
    UT_EQ(map(&r, 0x1000, 0x2000), VIOMMU_S_OK);
    provoke_fault(&r, 0x5000);
    UT_EQ(viommu_faults_queued(v), 1);
    UT_EQ(status(&r, 0), 0);
    UT_EQ(viommu_n_vdomains(v), 0);
    UT_EQ(viommu_n_mappings(v), 0);
    UT_EQ(viommu_faults_queued(v), 0);
    UT_TRUE(viommu_bypass(v));
    UT_TRUE(r.control[CONTROL_B_CONFIG + VIOMMU_CONFIG_BYPASS] == 1);
    UT_EQ(viommu_negotiated(v), VIOMMU_F_ALL);
    /* Nothing after it, and again from index 0 with the next DRIVER_OK. */
    UT_EQ(attach(&r, 1), UNWRITTEN + 1);
    rig_rings(&r);
    driver_start(&r);
    UT_EQ(attach(&r, 2), VIOMMU_S_OK);
    UT_EQ(guest_ring_used_idx(&r.ring[0]), 1);
    rig_close(&r);
}

static void reset_ends_the_windows_of_grant_addresses(void)
{
    uint64_t phys = GMEM_GRANT_BIT | (uint64_t)RAM_REF << GRANT_PAGE_SHIFT;
    struct rig r;

    UT_REQUIRE(rig_run(&r, NULL));
    UT_EQ(attach(&r, 1), VIOMMU_S_OK);
    UT_EQ(map(&r, 0x1000, phys), VIOMMU_S_OK);
    UT_EQ(fake_grants_revoke(r.f, RAM_REF, 1), -EBUSY);
    UT_EQ(status(&r, 0), 0);
    UT_EQ(fake_grants_revoke(r.f, RAM_REF, 1), 0);
    rig_close(&r);
}

static void a_ring_that_cannot_be_mapped_again_needs_another_reset(void)
{
    struct virtqueue_stats stats;
    struct rig r;

    UT_REQUIRE(rig_run(&r, NULL));
    UT_TRUE(device_queue_stats(r.d, VIOMMU_QUEUE_REQUEST, &stats));
    UT_EQ(status(&r, 0), 0);
    rig_rings(&r);
    fake_grants_fail_map(r.f, 5, -ENOMEM);
    UT_EQ(status(&r, READY), READY | STATUS_NEEDS_RESET);
    UT_TRUE(device_needs_reset(r.d));
    UT_FALSE(device_queue_stats(r.d, VIOMMU_QUEUE_EVENT, &stats));
    UT_EQ(attach(&r, 1), UNWRITTEN + 1);
    UT_EQ(status(&r, 0), 0);
    rig_rings(&r);
    driver_start(&r);
    UT_EQ(attach(&r, 1), VIOMMU_S_OK);
    rig_close(&r);
}

/* --- bypass ------------------------------------------------------------------------------------
 */

static void bypass_is_effective_when_it_is_acknowledged(void)
{
    const uint32_t refused[] = {2, 255, 256, 257, 0x80000000, 0xffffffff};
    struct rig r;

    UT_REQUIRE(rig_run(&r, NULL));
    UT_EQ(offer_ram(&r, 1), MAP_VERDICT_OK);
    UT_EQ(dma_write(&r, 0x3000, 0x11), -EACCES);
    UT_EQ(bypass(&r, 1), 0);
    UT_EQ(r.control[CONTROL_B_CONFIG + VIOMMU_CONFIG_BYPASS], 1);
    UT_EQ(dma_write(&r, 0x3000, 0x12), 0);
    UT_EQ(fake_grants_memory(r.f)[0x3000], 0x12);
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
        UT_EQ(bypass(&r, refused[i]), 1);
        UT_EQ(r.control[CONTROL_B_CONFIG + VIOMMU_CONFIG_BYPASS], 1);
        UT_TRUE(viommu_bypass(device_viommu(r.d)));
    }
    UT_EQ(bypass(&r, 0), 0);
    UT_EQ(dma_write(&r, 0x3000, 0x13), -EACCES);
    UT_EQ(get(&r, CONTROL_B_CONFIG_GENERATION), 0);
    rig_close(&r);
}

static void bypass_is_refused_when_it_was_not_negotiated(void)
{
    struct rig r;

    UT_REQUIRE(rig_open(&r, NULL, MUST | VIOMMU_F_MAP_UNMAP) && rig_connect(&r) == 0);
    driver_start(&r);
    UT_EQ(bypass(&r, 1), 1);
    UT_FALSE(viommu_bypass(device_viommu(r.d)));
    UT_EQ(status(&r, 0), 0);
    UT_EQ(bypass(&r, 1), 1);
    rig_close(&r);
}

/* --- grant maps --------------------------------------------------------------------------------
 */

static void a_map_gives_memory_and_the_next_one_takes_it_away(void)
{
    struct rig r;

    UT_REQUIRE(rig_run(&r, NULL));
    UT_EQ(attach(&r, 1), VIOMMU_S_OK);
    UT_EQ(map(&r, 0x1000, 0x2000), VIOMMU_S_FAULT);
    UT_EQ(offer_ram(&r, 1), MAP_VERDICT_OK);
    UT_EQ(get(&r, CONTROL_B_MAP_IN_USE), 1);
    UT_EQ(map(&r, 0x1000, 0x2000), VIOMMU_S_OK);
    UT_EQ(dma_write(&r, 0x1004, 0x77), 0);
    UT_EQ(fake_grants_memory(r.f)[0x2004], 0x77);
    /* Without the page that is mapped: busy, and everything as before. */
    directory_head(r.directory[1], 2, 1, 0);
    directory_entry(r.directory[1], 0, 8 * PAGE, RAM_REF + 8, 8, 0);
    UT_EQ(offer(&r, ref_of(&r, r.directory[1]), 2), MAP_VERDICT_BUSY);
    UT_EQ(get(&r, CONTROL_B_MAP_IN_USE), 1);
    UT_EQ(dma_write(&r, 0x1004, 0x78), 0);
    UT_EQ(unmap(&r, 0x1000), VIOMMU_S_OK);
    UT_EQ(fake_grants_revoke(r.f, RAM_REF + 2, 1), -EBUSY); /* windows of the map persist */
    directory_head(r.directory[1], 3, 1, 0);
    directory_entry(r.directory[1], 0, 8 * PAGE, RAM_REF + 8, 8, 0);
    UT_EQ(offer(&r, ref_of(&r, r.directory[1]), 3), MAP_VERDICT_OK);
    UT_EQ(get(&r, CONTROL_B_MAP_IN_USE), 3);
    UT_EQ(fake_grants_revoke(r.f, RAM_REF + 2, 1), 0);
    UT_EQ(fake_grants_revoke(r.f, ref_of(&r, r.directory[1]), 1), 0);
    /* Reference 0: the empty map. */
    UT_EQ(offer(&r, 0, 4), MAP_VERDICT_OK);
    UT_EQ(gmem_map_runs(device_gmem(r.d)), 0);
    rig_close(&r);
}

static void dir_magic(struct rig *r)
{
    le32_store(r->directory[0] + DIRECTORY_MAGIC_AT, CONTROL_MAGIC);
}

static void dir_version(struct rig *r)
{
    le32_store(r->directory[0] + DIRECTORY_VERSION_AT, 2);
}

static void dir_generation(struct rig *r)
{
    le32_store(r->directory[0] + DIRECTORY_GENERATION_AT, 1);
}

static void dir_count(struct rig *r)
{
    le32_store(r->directory[0] + DIRECTORY_COUNT_AT, DIRECTORY_MAX_ENTRIES + 1);
}

static void dir_reserved(struct rig *r)
{
    r->directory[0][DIRECTORY_RESERVED_AT + 11] = 1;
}

static void dir_second_page_not_granted(struct rig *r)
{
    le32_store(r->directory[0] + DIRECTORY_NEXT_AT, 77);
}

static void dir_cycle(struct rig *r)
{
    directory_head(r->directory[0], 2, 0, ref_of(r, r->directory[1]));
    directory_head(r->directory[1], 2, 0, ref_of(r, r->directory[0]));
}

static void dir_itself(struct rig *r)
{
    le32_store(r->directory[0] + DIRECTORY_NEXT_AT, ref_of(r, r->directory[0]));
}

static void dir_too_long(struct rig *r)
{
    directory_head(r->directory[0], 2, 0, ref_of(r, r->directory[1]));
    directory_head(r->directory[1], 2, 0, ref_of(r, r->directory[2]));
    directory_head(r->directory[2], 2, 0, 0);
}

static void run_flags(struct rig *r)
{
    directory_entry(r->directory[0], 0, 0, RAM_REF, 1, 2);
}

static void run_reserved(struct rig *r)
{
    r->directory[0][DIRECTORY_ENTRIES_AT + 23] = 1;
}

static void run_unaligned(struct rig *r)
{
    directory_entry(r->directory[0], 0, 0x800, RAM_REF, 1, 0);
}

static void run_bit_63(struct rig *r)
{
    directory_entry(r->directory[0], 0, GMEM_GRANT_BIT, RAM_REF, 1, 0);
}

static void run_into_bit_63(struct rig *r)
{
    directory_entry(r->directory[0], 0, GMEM_GRANT_BIT - PAGE, RAM_REF, 2, 0);
}

static void run_ref_0(struct rig *r)
{
    directory_entry(r->directory[0], 0, 0, 0, 1, 0);
}

static void run_refs_wrap(struct rig *r)
{
    directory_entry(r->directory[0], 0, 0, 0xffffffff, 2, 0);
}

static void run_empty(struct rig *r)
{
    directory_entry(r->directory[0], 0, 0, RAM_REF, 0, 0);
}

static void run_overlap(struct rig *r)
{
    le32_store(r->directory[0] + DIRECTORY_COUNT_AT, 2);
    directory_entry(r->directory[0], 1, PAGE, RAM_REF + 1, 1, 0);
}

static void malformed_maps_leave_the_old_one(void)
{
    static void (*const spoil[])(struct rig * r) = {
        dir_magic,     dir_version,     dir_generation, dir_count,   dir_reserved,
        dir_itself,    dir_cycle,       dir_too_long,   run_flags,   run_reserved,
        run_bit_63,    run_ref_0,       run_empty,      run_overlap, dir_second_page_not_granted,
        run_unaligned, run_into_bit_63, run_refs_wrap,
    };
    struct device_config config = DEVICE_CONFIG_DEFAULT;

    config.max_map_pages = 2;
    for (size_t i = 0; i < ARRAY_SIZE(spoil); i++) {
        struct rig r;
        size_t live;

        UT_REQUIRE(rig_run(&r, &config));
        UT_EQ(offer_ram(&r, 1), MAP_VERDICT_OK);
        live = fake_grants_live_maps(r.f);
        directory_ram(&r, 2);
        spoil[i](&r);
        UT_EQ(offer(&r, ref_of(&r, r.directory[0]), 2), MAP_VERDICT_MALFORMED);
        UT_EQ(get(&r, CONTROL_B_MAP_IN_USE), 1);
        UT_EQ(fake_grants_live_maps(r.f), live);
        UT_EQ(gmem_map_pages(device_gmem(r.d)), RAM_PAGES);
        UT_EQ(offer_ram(&r, 3), MAP_VERDICT_OK);
        /* 0 stands for no map at all and is none that can be offered. */
        UT_EQ(offer(&r, 0, 0), MAP_VERDICT_MALFORMED);
        UT_EQ(get(&r, CONTROL_B_MAP_IN_USE), 3);
        rig_close(&r);
    }
}

static void a_chain_of_full_pages_is_one_map(void)
{
    struct device_config config = DEVICE_CONFIG_DEFAULT;
    uint64_t address = 0;
    struct rig r;

    config.max_map_pages = 3;
    UT_REQUIRE(rig_run(&r, &config));
    for (unsigned p = 0; p < 3; p++) {
        directory_head(r.directory[p], 1, DIRECTORY_MAX_ENTRIES,
                       p < 2 ? ref_of(&r, r.directory[p + 1]) : 0);
        for (unsigned i = 0; i < DIRECTORY_MAX_ENTRIES; i++, address += 2 * PAGE)
            directory_entry(r.directory[p], i, address, RAM_REF, 1, i & 1);
    }
    UT_EQ(offer(&r, ref_of(&r, r.directory[0]), 1), MAP_VERDICT_OK);
    UT_EQ(gmem_map_runs(device_gmem(r.d)), 3 * DIRECTORY_MAX_ENTRIES);
    /* The second entry is read-only. */
    UT_EQ(attach(&r, 1), VIOMMU_S_OK);
    UT_EQ(map(&r, 0, 0), VIOMMU_S_OK);
    UT_EQ(map(&r, PAGE, 2 * PAGE), VIOMMU_S_FAULT);
    rig_close(&r);
}

/* --- request queue -----------------------------------------------------------------------------
 */

static void windows_are_gone_when_the_answer_is_there(void)
{
    uint64_t phys = GMEM_GRANT_BIT | (uint64_t)RAM_REF << GRANT_PAGE_SHIFT;
    size_t before;
    struct rig r;

    UT_REQUIRE(rig_run(&r, NULL));
    before = fake_grants_live_maps(r.f);
    UT_EQ(attach(&r, 1), VIOMMU_S_OK);
    UT_EQ(fake_grants_live_maps(r.f), before); /* of the request's own buffers */
    UT_EQ(map(&r, 0x1000, phys), VIOMMU_S_OK);
    UT_EQ(fake_grants_live(r.f, RAM_REF), 1);
    UT_EQ(map(&r, 0x1000, phys + PAGE), VIOMMU_S_INVAL);
    UT_EQ(fake_grants_live(r.f, RAM_REF + 1), 0);
    UT_EQ(unmap(&r, 0x1000), VIOMMU_S_OK);
    UT_EQ(fake_grants_live(r.f, RAM_REF), 0);
    UT_EQ(fake_grants_revoke(r.f, RAM_REF, 1), 0);
    rig_close(&r);
}

/*
 * A batch of requests shares the windows for its buffers, and none is left when it is answered:
 * the guest may revoke at the notification.
 */
static void without_grant_copy_buffers_are_free_too(void)
{
    size_t before;
    struct rig r;

    platform = &fake_grants_ops_no_copy;
    if (rig_run(&r, NULL)) {
        before = fake_grants_live_maps(r.f);
        UT_EQ(attach(&r, 1), VIOMMU_S_OK);
        UT_EQ(fake_grants_live_maps(r.f), before);
        UT_EQ(r.maps_when_notified, before);
        r.maps_when_notified = 0;
        UT_TRUE(post_event(&r, VIOMMU_FAULT_SIZE, true) != NULL);
        provoke_fault(&r, 0x1000);
        device_deliver_faults(r.d);
        UT_EQ(event_used(&r), VIOMMU_FAULT_SIZE);
        UT_EQ(fake_grants_live_maps(r.f), before);
        UT_EQ(r.maps_when_notified, before);
        rig_close(&r);
    } else {
        UT_TRUE(false);
    }
    platform = &fake_grants_ops;
}

/* A host IOMMU that says what the guest could see when it was called. */
static struct {
    struct rig *r;
    unsigned maps, unmaps;
    bool answered;   /* a used buffer was there at an unmap */
    size_t grants;   /* of the guest's RAM that were mapped at the latest unmap */
    size_t unmapped; /* bytes */
} watch;

static size_t live_ram_grants(struct rig *r)
{
    size_t n = 0;

    for (uint32_t i = 0; i < RAM_PAGES; i++)
        n += fake_grants_live(r->f, RAM_REF + i) > 0;
    return n;
}

static int watch_space_new(struct host_endpoint *ep, struct host_space **out)
{
    (void)ep;
    *out = calloc(1, 1);
    return *out ? 0 : -ENOMEM;
}

static void watch_space_free(struct host_space *space)
{
    free(space);
}

static int watch_attach(struct host_space *space, struct host_endpoint *ep)
{
    (void)space;
    (void)ep;
    return 0;
}

static void watch_detach(struct host_space *space, struct host_endpoint *ep)
{
    (void)space;
    (void)ep;
}

static int watch_map(struct host_space *space, struct range iova, const struct map_source *source,
                     unsigned prot)
{
    (void)space;
    (void)iova;
    (void)source;
    (void)prot;
    watch.maps++;
    return 0;
}

static void watch_unmap(struct host_space *space, struct range iova, uint64_t bytes)
{
    uint32_t head, used;

    (void)space;
    (void)iova;
    watch.unmaps++;
    watch.unmapped += (size_t)bytes;
    watch.grants = live_ram_grants(watch.r);
    watch.answered = watch.answered ||
                     guest_ring_used(&watch.r->ring[VIOMMU_QUEUE_REQUEST], &head, &used);
}

static const struct host_iommu_ops watch_ops = {
    .name = "watch",
    .source = MAP_SOURCE_HVA,
    .space_new = watch_space_new,
    .space_free = watch_space_free,
    .attach = watch_attach,
    .detach = watch_detach,
    .map = watch_map,
    .unmap = watch_unmap,
};

#define N_JOINED 6u

static void unmap_in_one_batch(struct rig *r)
{
    struct guest_ring *ring = &r->ring[VIOMMU_QUEUE_REQUEST];
    uint8_t req[VIOMMU_UNMAP_SIZE] = {VIOMMU_T_UNMAP}, *tail[N_JOINED];
    uint32_t head, used;

    le32_store(req + VIOMMU_UNMAP_DOMAIN, 1);
    for (uint64_t i = 0; i < N_JOINED; i++) {
        le64_store(req + VIOMMU_UNMAP_VIRT_START, i * PAGE);
        le64_store(req + VIOMMU_UNMAP_VIRT_END, (i + 1) * PAGE - 1);
        UT_REQUIRE(post(r, req, sizeof(req), &tail[i]));
    }
    (void)guest_ring_publish(ring);
    (void)device_queue_event(r->d, VIOMMU_QUEUE_REQUEST);
    for (unsigned i = 0; i < N_JOINED; i++) {
        UT_TRUE(guest_ring_used(ring, &head, &used));
        UT_EQ(tail[i][0], VIOMMU_S_OK);
    }
}

/*
 * UNMAPs of a batch are one unmap of the host: made when no answer is visible yet, while the grants
 * are still mapped, which are not any more when the guest is notified.
 */
static void joined_unmaps_are_done_before_any_answer_is_visible(void)
{
    static const uint64_t layouts[] = {0, VIRTIO_F_RING_PACKED};
    const struct viommu_endpoint_config ep = {
        .id = EP + 1, .ops = &watch_ops, .caps = SOFT_IOMMU_CAPS, .aperture = {0, UINT64_MAX}};
    uint64_t phys = GMEM_GRANT_BIT | (uint64_t)RAM_REF << GRANT_PAGE_SHIFT;
    uint8_t req[VIOMMU_ATTACH_SIZE];
    const char *why;
    struct rig r;

    for (size_t i = 0; i < ARRAY_SIZE(layouts); i++) {
        UT_REQUIRE(rig_open(&r, NULL, MUST | VIOMMU_F_ALL | layouts[i]) && rig_connect(&r) == 0);
        driver_start(&r);
        memset(&watch, 0, sizeof(watch));
        watch.r = &r;
        UT_EQ(viommu_endpoint_add(device_viommu(r.d), &ep, &why), 0);
        attach_bytes(req, 1);
        le32_store(req + VIOMMU_ATTACH_ENDPOINT, EP + 1);
        UT_EQ(ask(&r, req, sizeof(req)), VIOMMU_S_OK);
        for (uint64_t k = 0; k < N_JOINED; k++)
            UT_EQ(map(&r, k * PAGE, phys + k * PAGE), VIOMMU_S_OK);
        UT_EQ(watch.maps, N_JOINED);
        r.queue_notified[VIOMMU_QUEUE_REQUEST] = 0;
        unmap_in_one_batch(&r);
        UT_EQ(watch.unmaps, 1);
        UT_EQ(watch.unmapped, N_JOINED * PAGE);
        UT_EQ(watch.grants, N_JOINED);
        UT_FALSE(watch.answered);
        UT_EQ(r.queue_notified[VIOMMU_QUEUE_REQUEST], 1);
        UT_EQ(live_ram_grants(&r), 0);
        rig_close(&r);
    }
}

/* --- windows mapped ahead ----------------------------------------------------------------------
 */

#define N_MIXED 8u

/* MAPs by grant address: good ones, two of one page, refused ones, and UNMAPs between them. */
static uint32_t mixed_request(unsigned i, uint8_t req[VIOMMU_MAP_SIZE])
{
    static const struct {
        bool unmap;
        uint32_t vdomain, page, ref;
    } mixed[N_MIXED] = {
        {false, 1, 0, RAM_REF},
        {false, 1, 1, RAM_REF + 1},
        {true, 1, 0, 0},
        {false, 1, 2, RAM_REF},
        {false, 1, 3, RAM_REF},
        {false, 9, 4, RAM_REF + 4},
        {false, 1, 5, RAM_REF - 1},
        {true, 1, 1, 0},
    };

    memset(req, 0, VIOMMU_MAP_SIZE);
    req[0] = mixed[i].unmap ? VIOMMU_T_UNMAP : VIOMMU_T_MAP;
    le32_store(req + VIOMMU_MAP_DOMAIN, mixed[i].vdomain);
    le64_store(req + VIOMMU_MAP_VIRT_START, mixed[i].page * PAGE);
    le64_store(req + VIOMMU_MAP_VIRT_END, mixed[i].page * PAGE + PAGE - 1);
    if (mixed[i].unmap)
        return VIOMMU_UNMAP_SIZE;
    le64_store(req + VIOMMU_MAP_PHYS_START,
               GMEM_GRANT_BIT | (uint64_t)mixed[i].ref << GRANT_PAGE_SHIFT);
    le32_store(req + VIOMMU_MAP_FLAGS, VIOMMU_MAP_F_READ | VIOMMU_MAP_F_WRITE);
    return VIOMMU_MAP_SIZE;
}

/* The verdicts of the mixed requests, sent one by one or at once. */
static void play_mixed(struct rig *r, bool at_once, unsigned verdict[N_MIXED])
{
    struct guest_ring *ring = &r->ring[VIOMMU_QUEUE_REQUEST];
    uint8_t req[VIOMMU_MAP_SIZE], *tail[N_MIXED] = {NULL};
    uint32_t head, used;

    for (unsigned i = 0; i < N_MIXED; i++) {
        uint32_t len = mixed_request(i, req);

        if (at_once)
            UT_REQUIRE(post(r, req, len, &tail[i]));
        else
            verdict[i] = ask(r, req, len);
    }
    if (!at_once)
        return;
    (void)guest_ring_publish(ring);
    (void)device_queue_event(r->d, VIOMMU_QUEUE_REQUEST);
    for (unsigned i = 0; i < N_MIXED; i++) {
        UT_TRUE(guest_ring_used(ring, &head, &used));
        verdict[i] = tail[i][0];
    }
}

/*
 * A batch maps what its requests need by one call for their buffers and one for what MAPs name, and
 * ends what it has not used or has ended by one more. Verdicts are those of one at a time.
 */
static void a_batch_is_mapped_ahead_and_answers_the_same(void)
{
    static const uint64_t layouts[] = {0, VIRTIO_F_RING_PACKED, VIRTIO_F_IN_ORDER};
    unsigned one_by_one[N_MIXED], at_once[N_MIXED];
    size_t before, calls;
    struct rig r;

    platform = &fake_grants_ops_many;
    for (size_t l = 0; l < ARRAY_SIZE(layouts); l++) {
        for (unsigned batch = 0; batch < 2; batch++) {
            UT_REQUIRE(rig_open(&r, NULL, MUST | VIOMMU_F_ALL | layouts[l]) &&
                       rig_connect(&r) == 0);
            driver_start(&r);
            UT_EQ(attach(&r, 1), VIOMMU_S_OK);
            before = fake_grants_live_maps(r.f);
            calls = fake_grants_calls(r.f);
            play_mixed(&r, batch == 1, batch ? at_once : one_by_one);
            /* The fourth is of what is not granted, tried again by itself. */
            if (batch)
                UT_EQ(fake_grants_calls(r.f) - calls, 4);
            UT_EQ(fake_grants_live_maps(r.f), before + 1);
            UT_EQ(r.maps_when_notified, before + 1);
            UT_EQ(fake_grants_live(r.f, RAM_REF), 1);
            calls = fake_grants_calls(r.f);
            (void)status(&r, 0);
            UT_EQ(fake_grants_calls(r.f) - calls, 1);
            UT_EQ(fake_grants_live(r.f, RAM_REF), 0);
            rig_close(&r);
        }
        for (unsigned i = 0; i < N_MIXED; i++)
            UT_EQ(at_once[i], one_by_one[i]);
        UT_EQ(at_once[3], VIOMMU_S_OK);
        UT_EQ(at_once[4], VIOMMU_S_OK);
        UT_EQ(at_once[5], VIOMMU_S_NOENT);
        UT_EQ(at_once[6], VIOMMU_S_FAULT);
    }
    platform = &fake_grants_ops;
}

/* A broken request ends what is behind it, and what is before it is answered. */
static void a_ring_that_breaks_in_a_batch_answers_what_was_before(void)
{
    const struct guest_buf bad = {0xdead000, 8, false};
    struct guest_ring *ring;
    uint8_t req[VIOMMU_ATTACH_SIZE], *tail[3];
    struct rig r;

    UT_REQUIRE(rig_run(&r, NULL));
    ring = &r.ring[VIOMMU_QUEUE_REQUEST];
    for (uint32_t i = 0; i < 3; i++) {
        attach_bytes(req, i + 1);
        if (i == 2)
            UT_TRUE(guest_ring_add(ring, &bad, 1, 1) >= 0);
        UT_TRUE(post(&r, req, sizeof(req), &tail[i]));
    }
    (void)guest_ring_publish(ring);
    (void)device_queue_event(r.d, VIOMMU_QUEUE_REQUEST);
    UT_EQ(guest_ring_used_idx(ring), 2);
    UT_EQ(tail[0][0], VIOMMU_S_OK);
    UT_EQ(tail[1][0], VIOMMU_S_OK);
    UT_EQ(tail[2][0], 0xff);
    UT_TRUE(device_needs_reset(r.d));
    rig_close(&r);
}

static void the_budget_bounds_a_wake_up_and_each_batch_notifies_once(void)
{
    struct device_config config = DEVICE_CONFIG_DEFAULT;
    uint8_t req[VIOMMU_ATTACH_SIZE];
    struct guest_ring *ring;
    struct rig r;

    config.budget = 3;
    UT_REQUIRE(rig_run(&r, &config));
    ring = &r.ring[VIOMMU_QUEUE_REQUEST];
    for (uint32_t i = 0; i < 7; i++) {
        attach_bytes(req, i);
        UT_TRUE(post(&r, req, sizeof(req), NULL));
    }
    (void)guest_ring_publish(ring);
    UT_TRUE(device_queue_event(r.d, VIOMMU_QUEUE_REQUEST));
    UT_EQ(guest_ring_used_idx(ring), 3);
    UT_EQ(r.queue_notified[VIOMMU_QUEUE_REQUEST], 1);
    UT_EQ(le16_load(&ring->used[0]), 1); /* no kicks, please: work is going on */
    UT_TRUE(device_queue_event(r.d, VIOMMU_QUEUE_REQUEST));
    UT_EQ(guest_ring_used_idx(ring), 6);
    UT_FALSE(device_queue_event(r.d, VIOMMU_QUEUE_REQUEST));
    UT_EQ(guest_ring_used_idx(ring), 7);
    UT_EQ(r.queue_notified[VIOMMU_QUEUE_REQUEST], 3);
    UT_EQ(le16_load(&ring->used[0]), 0); /* kicks again */
    /* A kick without a reason is harmless and silent. */
    UT_FALSE(device_queue_event(r.d, VIOMMU_QUEUE_REQUEST));
    UT_EQ(r.queue_notified[VIOMMU_QUEUE_REQUEST], 3);
    rig_close(&r);
}

static void work_that_driver_ok_finds_beyond_the_budget_is_told(void)
{
    struct device_config config = DEVICE_CONFIG_DEFAULT;
    uint8_t req[VIOMMU_ATTACH_SIZE];
    struct rig r;

    config.budget = 1;
    UT_REQUIRE(rig_open(&r, &config, MUST | VIOMMU_F_ALL) && rig_connect(&r) == 0);
    attach_bytes(req, 1);
    UT_TRUE(post(&r, req, sizeof(req), NULL) && post(&r, req, sizeof(req), NULL));
    (void)guest_ring_publish(&r.ring[VIOMMU_QUEUE_REQUEST]);
    put(&r, CONTROL_F_STATUS, READY);
    put(&r, CONTROL_F_STATUS_SEQ, 1);
    UT_TRUE(device_control_event(r.d));
    UT_EQ(guest_ring_used_idx(&r.ring[VIOMMU_QUEUE_REQUEST]), 1);
    UT_FALSE(device_queue_event(r.d, VIOMMU_QUEUE_REQUEST));
    UT_EQ(guest_ring_used_idx(&r.ring[VIOMMU_QUEUE_REQUEST]), 2);
    rig_close(&r);
}

static void an_unwanted_interrupt_is_not_sent(void)
{
    struct rig r;

    UT_REQUIRE(rig_run(&r, NULL));
    guest_ring_want_interrupts(&r.ring[VIOMMU_QUEUE_REQUEST], false);
    UT_EQ(attach(&r, 1), VIOMMU_S_OK);
    UT_EQ(r.queue_notified[VIOMMU_QUEUE_REQUEST], 0);
    rig_close(&r);
}

static void unknown_types_and_short_requests_come_back_unwritten(void)
{
    const uint8_t unknown[] = {9, 0, 0, 0};
    const uint8_t small[] = {VIOMMU_T_ATTACH, 0};
    struct rig r;

    UT_REQUIRE(rig_run(&r, NULL));
    UT_EQ(ask(&r, unknown, sizeof(unknown)), UNWRITTEN);
    UT_EQ(ask(&r, small, sizeof(small)), UNWRITTEN);
    UT_FALSE(device_needs_reset(r.d));
    rig_close(&r);
}

static void a_broken_ring_publishes_what_was_answered_and_needs_a_reset(void)
{
    uint8_t req[VIOMMU_ATTACH_SIZE];
    struct guest_ring *ring;
    unsigned control;
    struct rig r;

    UT_REQUIRE(rig_run(&r, NULL));
    ring = &r.ring[VIOMMU_QUEUE_REQUEST];
    control = r.control_notified;
    attach_bytes(req, 1);
    UT_TRUE(post(&r, req, sizeof(req), NULL) && post(&r, req, sizeof(req), NULL));
    le16_store(&ring->avail[2 + ring->avail_idx % ring->size], QUEUE_SIZE); /* no such head */
    ring->avail_idx++;
    (void)guest_ring_publish(ring);
    UT_FALSE(device_queue_event(r.d, VIOMMU_QUEUE_REQUEST));
    UT_EQ(guest_ring_used_idx(ring), 2);
    UT_EQ(r.queue_notified[VIOMMU_QUEUE_REQUEST], 1);
    UT_TRUE(device_needs_reset(r.d));
    UT_TRUE(device_needs_reset_why(r.d)[0] != '\0');
    UT_EQ(get(&r, CONTROL_B_STATUS), READY | STATUS_NEEDS_RESET);
    UT_EQ(r.control_notified, control + 1);
    UT_EQ(device_breaks(r.d), 1);
    UT_EQ(log_lines, 1);
    /* Neither kicks nor status bits bring it back; a reset does. */
    UT_FALSE(device_queue_event(r.d, VIOMMU_QUEUE_REQUEST));
    UT_EQ(status(&r, READY), READY | STATUS_NEEDS_RESET);
    UT_FALSE(device_queue_event(r.d, VIOMMU_QUEUE_REQUEST));
    UT_EQ(guest_ring_used_idx(ring), 2);
    UT_EQ(log_lines, 1);
    UT_EQ(status(&r, 0), 0);
    UT_FALSE(device_needs_reset(r.d));
    UT_STR(device_needs_reset_why(r.d), "");
    rig_rings(&r);
    driver_start(&r);
    UT_EQ(attach(&r, 3), VIOMMU_S_OK);
    rig_close(&r);
}

static void a_request_outside_of_memory_breaks_the_device_only(void)
{
    struct guest_buf buf = {.addr = 0x1000, .len = 20}; /* no grant map */
    struct rig r;

    UT_REQUIRE(rig_run(&r, NULL));
    UT_TRUE(guest_ring_add(&r.ring[0], &buf, 1, 1) >= 0);
    (void)guest_ring_publish(&r.ring[0]);
    UT_FALSE(device_queue_event(r.d, VIOMMU_QUEUE_REQUEST));
    UT_TRUE(device_needs_reset(r.d));
    UT_EQ(guest_ring_used_idx(&r.ring[0]), 0);
    /* The control page still works. */
    UT_EQ(bypass(&r, 1), 0);
    rig_close(&r);
}

/* A guest that breaks its ring over and over cannot fill the log. */
static void broken_rings_are_logged_within_a_limit(void)
{
    struct rig r;

    UT_REQUIRE(rig_run(&r, NULL));
    for (unsigned i = 0; i < 100; i++) {
        r.ring[0].avail_idx = QUEUE_SIZE + 1;
        (void)guest_ring_publish(&r.ring[0]);
        UT_FALSE(device_queue_event(r.d, VIOMMU_QUEUE_REQUEST));
        UT_EQ(status(&r, 0), 0);
        rig_rings(&r);
        UT_EQ(status(&r, READY), READY);
    }
    UT_EQ(device_breaks(r.d), 100);
    UT_TRUE(log_lines > 0 && log_lines < 20);
    rig_close(&r);
}

/* --- event queue -------------------------------------------------------------------------------
 */

static void faults_wait_for_buffers_and_are_delivered_without_a_kick(void)
{
    const uint8_t *report;
    struct rig r;

    UT_REQUIRE(rig_run(&r, NULL));
    provoke_fault(&r, 0x1234);
    device_deliver_faults(r.d);
    UT_EQ(r.queue_notified[VIOMMU_QUEUE_EVENT], 0);
    UT_EQ(le16_load(&r.ring[VIOMMU_QUEUE_EVENT].used[0]), 0); /* a kick is wanted */
    report = post_event(&r, 64, true);
    UT_REQUIRE(report);
    device_deliver_faults(r.d);
    UT_EQ(event_used(&r), VIOMMU_FAULT_SIZE);
    UT_EQ(r.queue_notified[VIOMMU_QUEUE_EVENT], 1);
    UT_EQ(le32_load(report), VIOMMU_FAULT_R_DOMAIN);
    UT_EQ(le32_load(report + 4), VIOMMU_FAULT_F_WRITE | VIOMMU_FAULT_F_ADDRESS);
    UT_EQ(le32_load(report + 8), EP);
    UT_EQ(le32_load(report + 12), 0);
    UT_EQ(le64_load(report + 16), 0x1234);
    UT_EQ(report[24], 0xee);
    UT_EQ(viommu_faults_queued(device_viommu(r.d)), 0);
    UT_EQ(le16_load(&r.ring[VIOMMU_QUEUE_EVENT].used[0]), 1); /* nothing to say, no kicks */
    /* Buffers without a report stay where they are. */
    UT_TRUE(post_event(&r, 24, true) != NULL);
    UT_FALSE(device_queue_event(r.d, VIOMMU_QUEUE_EVENT));
    UT_EQ(event_used(&r), 0x1000);
    rig_close(&r);
}

static void any_kick_is_a_chance_to_deliver(void)
{
    struct rig r;

    UT_REQUIRE(rig_run(&r, NULL));
    provoke_fault(&r, 0x1000);
    provoke_fault(&r, 0x2000);
    UT_TRUE(post_event(&r, 24, true) != NULL);
    UT_FALSE(device_queue_event(r.d, VIOMMU_QUEUE_EVENT));
    UT_EQ(event_used(&r), VIOMMU_FAULT_SIZE);
    UT_TRUE(post_event(&r, 24, true) != NULL);
    UT_EQ(attach(&r, 1), VIOMMU_S_OK);
    UT_EQ(event_used(&r), VIOMMU_FAULT_SIZE);
    rig_close(&r);
}

static void short_event_buffers_go_back_empty(void)
{
    uint8_t *small, *readable, *good;
    struct rig r;

    UT_REQUIRE(rig_run(&r, NULL));
    small = post_event(&r, VIOMMU_FAULT_SIZE - 1, true);
    readable = post_event(&r, VIOMMU_FAULT_SIZE, false);
    good = post_event(&r, VIOMMU_FAULT_SIZE, true);
    UT_REQUIRE(small && readable && good);
    provoke_fault(&r, 0x1000);
    device_deliver_faults(r.d);
    UT_EQ(event_used(&r), 0);
    UT_EQ(event_used(&r), 0);
    UT_EQ(event_used(&r), VIOMMU_FAULT_SIZE);
    UT_EQ(small[0], 0xee);
    UT_EQ(readable[0], 0xee);
    UT_EQ(good[0], VIOMMU_FAULT_R_DOMAIN);
    UT_EQ(r.queue_notified[VIOMMU_QUEUE_EVENT], 1);
    /* The report waits if all are too small. */
    for (unsigned i = 0; i < QUEUE_SIZE; i++)
        UT_TRUE(post_event(&r, 8, true) != NULL);
    provoke_fault(&r, 0x2000);
    device_deliver_faults(r.d);
    for (unsigned i = 0; i < QUEUE_SIZE; i++)
        UT_EQ(event_used(&r), 0);
    UT_EQ(viommu_faults_queued(device_viommu(r.d)), 1);
    rig_close(&r);
}

static void many_faults_come_in_order_and_the_rest_later(void)
{
    const uint8_t *report[QUEUE_SIZE];
    struct rig r;

    UT_REQUIRE(rig_run(&r, NULL));
    for (unsigned i = 0; i < 300; i++)
        provoke_fault(&r, 0x1000 * i);
    UT_EQ(viommu_counters(device_viommu(r.d))->faults_lost, 300 - 256);
    for (unsigned done = 0; done < 256; done += QUEUE_SIZE) {
        for (unsigned i = 0; i < QUEUE_SIZE; i++) {
            report[i] = post_event(&r, VIOMMU_FAULT_SIZE, true);
            UT_REQUIRE(report[i]);
        }
        UT_FALSE(device_queue_event(r.d, VIOMMU_QUEUE_EVENT));
        for (unsigned i = 0; i < QUEUE_SIZE; i++) {
            UT_EQ(event_used(&r), VIOMMU_FAULT_SIZE);
            UT_EQ(le64_load(report[i] + 16), 0x1000 * (done + i));
        }
    }
    UT_EQ(viommu_faults_queued(device_viommu(r.d)), 0);
    UT_EQ(r.queue_notified[VIOMMU_QUEUE_EVENT], 256 / QUEUE_SIZE);
    rig_close(&r);
}

static void a_broken_event_queue_needs_a_reset(void)
{
    struct rig r;

    UT_REQUIRE(rig_run(&r, NULL));
    provoke_fault(&r, 0x1000);
    r.ring[VIOMMU_QUEUE_EVENT].avail_idx = QUEUE_SIZE + 1;
    (void)guest_ring_publish(&r.ring[VIOMMU_QUEUE_EVENT]);
    device_deliver_faults(r.d);
    UT_TRUE(device_needs_reset(r.d));
    UT_EQ(attach(&r, 1), UNWRITTEN + 1); /* both queues stop */
    UT_EQ(status(&r, 0), 0);
    rig_rings(&r);
    driver_start(&r);
    UT_EQ(attach(&r, 1), VIOMMU_S_OK);
    rig_close(&r);
}

/* --- packed rings, one queue -------------------------------------------------------------------
 */

#define ALL (MUST | VIOMMU_F_ALL | DEVICE_RING_FEATURES)

static bool rig_run_with(struct rig *r, uint64_t features)
{
    if (!rig_open(r, NULL, features) || rig_connect(r))
        return false;
    driver_start(r);
    return device_status(r->d) == READY;
}

/* Makes a buffer available that is nowhere. */
static void packed_break(struct guest_ring *ring)
{
    struct guest_packed_desc *desc = &ring->packed_desc[ring->next.slot];

    desc->addr = htole64(0x7000000000);
    desc->len = htole32(8);
    desc->flags = htole16(ring->next.wrap ? 0x80 : 0x8000);
}

static void everything_works_on_packed_rings_of_any_size(void)
{
    static const uint32_t sizes[] = {2, 3, 7, 16, 1000, 1024};

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct rig r;

        UT_REQUIRE(rig_open(&r, NULL, ALL));
        r.arena.next = r.arena_mark;
        for (unsigned q = 0; q < VIOMMU_N_QUEUES; q++) {
            UT_REQUIRE(
                guest_ring_init(&r.ring[q], &r.arena, sizes[i], ALL & ~VIRTIO_F_INDIRECT_DESC));
            r.c.queue[q] = setup_of(&r.ring[q]);
        }
        UT_REQUIRE(rig_connect(&r) == 0);
        driver_start(&r);
        UT_EQ(attach(&r, 1), VIOMMU_S_OK);
        UT_EQ(offer_ram(&r, 1), MAP_VERDICT_OK);
        for (unsigned n = 0; n < 20; n++) {
            UT_EQ(map(&r, 0x1000, 0x2000), VIOMMU_S_OK);
            UT_EQ(dma_write(&r, 0x1000, 1), 0);
            UT_EQ(unmap(&r, 0x1000), VIOMMU_S_OK);
            provoke_fault(&r, 0x1000);
            UT_TRUE(post_event(&r, VIOMMU_FAULT_SIZE, true) != NULL);
            device_deliver_faults(r.d);
            UT_EQ(event_used(&r), VIOMMU_FAULT_SIZE);
        }
        /* A broken ring is the end of this connection's luck, and a reset its new beginning. */
        packed_break(&r.ring[0]);
        UT_FALSE(device_queue_event(r.d, VIOMMU_QUEUE_REQUEST));
        UT_TRUE(device_needs_reset(r.d));
        UT_EQ(status(&r, 0), 0);
        for (unsigned q = 0; q < VIOMMU_N_QUEUES; q++) {
            r.arena.next = (size_t)((uint8_t *)r.ring[q].desc - r.arena.memory);
            UT_REQUIRE(
                guest_ring_init(&r.ring[q], &r.arena, sizes[i], ALL & ~VIRTIO_F_INDIRECT_DESC));
        }
        driver_start(&r);
        UT_EQ(attach(&r, 2), VIOMMU_S_OK);
        rig_close(&r);
    }
}

static void packed_set_ups_that_will_not_do_are_refused(void)
{
    char why[128];

    for (unsigned i = 0; i < 4; i++) {
        struct rig r;

        UT_REQUIRE(rig_open(&r, NULL, ALL));
        if (i == 0)
            r.c.queue[1].size = VIRTQUEUE_MAX_SIZE + 1;
        else if (i == 1)
            r.c.queue[1].driver += 2;
        else if (i == 2)
            r.c.queue[1].desc += (uint64_t)(READ_ONLY_REF - FRONTEND_REF) << GRANT_PAGE_SHIFT;
        else
            r.c.queue[1].size = 0;
        UT_TRUE(device_connect(r.d, &r.c, why, sizeof(why)) < 0);
        why[strlen("queue 1: ")] = '\0';
        UT_STR(why, "queue 1: ");
        check_nothing_mapped(&r);
        rig_close(&r);
    }
}

/* Writes a command for one queue; returns the verdict. */
static uint32_t queue_command(struct rig *r, unsigned q, uint32_t command)
{
    unsigned at = CONTROL_F_QUEUE(q);
    uint32_t seq = get(r, at + QUEUE_SEQ_AT) + 1;
    unsigned notified = r->control_notified;

    put(r, at + QUEUE_COMMAND_AT, command);
    put(r, at + QUEUE_SEQ_AT, seq);
    (void)device_control_event(r->d);
    UT_EQ(get(r, CONTROL_B_QUEUE_ACK(q)), seq);
    UT_EQ(r->control_notified, notified + 1);
    return get(r, CONTROL_B_QUEUE_VERDICT(q));
}

static void queue_setup_put(struct rig *r, unsigned q, const struct device_queue_setup *s)
{
    uint8_t *block = r->control + CONTROL_F_QUEUE(q);

    le32_store(block + QUEUE_SIZE_AT, s->size);
    le64_store(block + QUEUE_DESC_AT, s->desc);
    le64_store(block + QUEUE_DRIVER_AT, s->driver);
    le64_store(block + QUEUE_DEVICE_AT, s->device);
}

/* The ring at its place, as new. */
static void ring_again(struct rig *r, unsigned q, uint32_t size)
{
    struct guest_arena arena = r->arena;

    arena.next = (size_t)((uint8_t *)r->ring[q].desc - arena.memory);
    UT_TRUE(guest_ring_init(&r->ring[q], &arena, size, r->c.features & ~VIRTIO_F_INDIRECT_DESC));
    r->ring[q].arena = &r->arena;
}

static void a_queue_is_reset_alone_and_runs_again(void)
{
    static const uint64_t layouts[] = {ALL & ~VIRTIO_F_RING_PACKED, ALL};

    for (size_t i = 0; i < ARRAY_SIZE(layouts); i++) {
        struct virtqueue_stats stats;
        struct rig r;

        UT_REQUIRE(rig_run_with(&r, layouts[i]));
        UT_EQ(offer_ram(&r, 1), MAP_VERDICT_OK);
        UT_EQ(attach(&r, 1), VIOMMU_S_OK);
        UT_EQ(map(&r, 0x1000, 0x2000), VIOMMU_S_OK);
        UT_TRUE(device_queue_stats(r.d, VIOMMU_QUEUE_REQUEST, &stats));
        UT_EQ(queue_command(&r, VIOMMU_QUEUE_REQUEST, QUEUE_COMMAND_RESET), QUEUE_VERDICT_DONE);
        UT_FALSE(device_queue_stats(r.d, VIOMMU_QUEUE_REQUEST, &stats));
        /* Not a device reset: DMA goes on, and the other queue serves. */
        UT_EQ(device_status(r.d), READY);
        UT_EQ(dma_write(&r, 0x1000, 1), 0);
        provoke_fault(&r, 0x5000);
        UT_TRUE(post_event(&r, VIOMMU_FAULT_SIZE, true) != NULL);
        device_deliver_faults(r.d);
        UT_EQ(event_used(&r), VIOMMU_FAULT_SIZE);
        /* Nothing is taken from the queue, and nothing said of it. */
        r.queue_notified[VIOMMU_QUEUE_REQUEST] = 0;
        UT_EQ(unmap(&r, 0x1000), UNWRITTEN + 1);
        UT_EQ(r.queue_notified[VIOMMU_QUEUE_REQUEST], 0);
        UT_EQ(queue_command(&r, VIOMMU_QUEUE_REQUEST, QUEUE_COMMAND_RESET), QUEUE_VERDICT_DONE);
        ring_again(&r, VIOMMU_QUEUE_REQUEST, QUEUE_SIZE);
        UT_EQ(queue_command(&r, VIOMMU_QUEUE_REQUEST, QUEUE_COMMAND_ENABLE), QUEUE_VERDICT_DONE);
        UT_TRUE(device_queue_stats(r.d, VIOMMU_QUEUE_REQUEST, &stats));
        UT_EQ(stats.avail_seen, layouts[i] & VIRTIO_F_RING_PACKED ? 0x8000 : 0);
        UT_EQ(stats.popped, 0);
        UT_EQ(unmap(&r, 0x1000), VIOMMU_S_OK); /* it was still there */
        UT_EQ(unmap(&r, 0x1000), VIOMMU_S_OK);
        UT_EQ(device_breaks(r.d), 0);
        rig_close(&r);
    }
}

static void a_reset_event_queue_keeps_the_faults_for_later(void)
{
    struct rig r;

    UT_REQUIRE(rig_run_with(&r, ALL));
    UT_EQ(queue_command(&r, VIOMMU_QUEUE_EVENT, QUEUE_COMMAND_RESET), QUEUE_VERDICT_DONE);
    provoke_fault(&r, 0x5000);
    device_deliver_faults(r.d);
    UT_FALSE(device_queue_event(r.d, VIOMMU_QUEUE_EVENT));
    UT_EQ(attach(&r, 1), VIOMMU_S_OK);
    UT_EQ(viommu_faults_queued(device_viommu(r.d)), 1);
    ring_again(&r, VIOMMU_QUEUE_EVENT, QUEUE_SIZE);
    UT_TRUE(post_event(&r, VIOMMU_FAULT_SIZE, true) != NULL);
    /* Enabled: looked at without a kick. */
    UT_EQ(queue_command(&r, VIOMMU_QUEUE_EVENT, QUEUE_COMMAND_ENABLE), QUEUE_VERDICT_DONE);
    UT_EQ(event_used(&r), VIOMMU_FAULT_SIZE);
    UT_EQ(viommu_faults_queued(device_viommu(r.d)), 0);
    rig_close(&r);
}

/* virtio 1.3, 2.6.1.2: whatever the driver changed before it enables the queue again counts. */
static void a_queue_may_come_back_with_another_ring(void)
{
    struct device_queue_setup setup;
    struct guest_ring old;
    size_t maps;
    struct rig r;

    UT_REQUIRE(rig_run_with(&r, ALL));
    maps = fake_grants_live_maps(r.f);
    UT_EQ(queue_command(&r, VIOMMU_QUEUE_REQUEST, QUEUE_COMMAND_RESET), QUEUE_VERDICT_DONE);
    UT_EQ(fake_grants_live_maps(r.f), maps - 3);
    old = r.ring[VIOMMU_QUEUE_REQUEST];
    UT_REQUIRE(guest_ring_init(&r.ring[VIOMMU_QUEUE_REQUEST], &r.arena, 77,
                               ALL & ~VIRTIO_F_INDIRECT_DESC));
    setup = setup_of(&r.ring[VIOMMU_QUEUE_REQUEST]);
    queue_setup_put(&r, VIOMMU_QUEUE_REQUEST, &setup);
    UT_EQ(queue_command(&r, VIOMMU_QUEUE_REQUEST, QUEUE_COMMAND_ENABLE), QUEUE_VERDICT_DONE);
    UT_EQ(fake_grants_live_maps(r.f), maps);
    for (unsigned i = 0; i < 100; i++)
        UT_EQ(attach(&r, 1), VIOMMU_S_OK);
    /* After a device reset the node counts again. */
    UT_EQ(status(&r, 0), 0);
    r.ring[VIOMMU_QUEUE_REQUEST] = old;
    ring_again(&r, VIOMMU_QUEUE_REQUEST, QUEUE_SIZE);
    ring_again(&r, VIOMMU_QUEUE_EVENT, QUEUE_SIZE);
    driver_start(&r);
    UT_EQ(attach(&r, 1), VIOMMU_S_OK);
    rig_close(&r);
}

static void queue_commands_out_of_place_are_refused(void)
{
    struct rig r;

    UT_REQUIRE(rig_open(&r, NULL, ALL) && rig_connect(&r) == 0);
    UT_EQ(queue_command(&r, 0, QUEUE_COMMAND_RESET), QUEUE_VERDICT_REFUSED); /* not DRIVER_OK */
    driver_start(&r);
    UT_EQ(queue_command(&r, 0, QUEUE_COMMAND_ENABLE), QUEUE_VERDICT_REFUSED); /* is enabled */
    UT_EQ(queue_command(&r, 1, 0), QUEUE_VERDICT_REFUSED);
    UT_EQ(queue_command(&r, 1, 3), QUEUE_VERDICT_REFUSED);
    UT_EQ(queue_command(&r, 1, UINT32_MAX), QUEUE_VERDICT_REFUSED);
    UT_EQ(attach(&r, 1), VIOMMU_S_OK);
    /* Once is once: the same sequence number again is nothing new. */
    UT_EQ(queue_command(&r, 0, QUEUE_COMMAND_RESET), QUEUE_VERDICT_DONE);
    put(&r, CONTROL_F_QUEUE(0) + QUEUE_COMMAND_AT, QUEUE_COMMAND_ENABLE);
    (void)device_control_event(r.d);
    UT_EQ(attach(&r, 1), UNWRITTEN + 1);
    UT_EQ(queue_command(&r, 0, 3), QUEUE_VERDICT_REFUSED);
    UT_EQ(attach(&r, 1), UNWRITTEN + 1);
    /* A broken device needs more than that. */
    ring_again(&r, 0, QUEUE_SIZE);
    UT_EQ(queue_command(&r, 0, QUEUE_COMMAND_ENABLE), QUEUE_VERDICT_DONE);
    packed_break(&r.ring[0]);
    UT_FALSE(device_queue_event(r.d, VIOMMU_QUEUE_REQUEST));
    UT_TRUE(device_needs_reset(r.d));
    UT_EQ(queue_command(&r, 0, QUEUE_COMMAND_RESET), QUEUE_VERDICT_REFUSED);
    UT_EQ(queue_command(&r, 0, QUEUE_COMMAND_ENABLE), QUEUE_VERDICT_REFUSED);
    UT_TRUE(device_needs_reset(r.d));
    rig_close(&r);
    /* Nor does a driver that has given up get a queue back. */
    UT_REQUIRE(rig_run_with(&r, ALL));
    UT_EQ(queue_command(&r, 0, QUEUE_COMMAND_RESET), QUEUE_VERDICT_DONE);
    UT_EQ(status(&r, READY | STATUS_FAILED), READY | STATUS_FAILED);
    UT_EQ(queue_command(&r, 0, QUEUE_COMMAND_ENABLE), QUEUE_VERDICT_REFUSED);
    rig_close(&r);
}

static void a_queue_that_cannot_be_enabled_stays_reset(void)
{
    struct device_config config = DEVICE_CONFIG_DEFAULT;
    struct device_queue_setup good, bad;
    size_t maps;
    struct rig r;

    config.max_queue_size = QUEUE_SIZE;
    UT_REQUIRE(rig_open(&r, &config, ALL) && rig_connect(&r) == 0);
    driver_start(&r);
    good = setup_of(&r.ring[0]);
    UT_EQ(queue_command(&r, 0, QUEUE_COMMAND_RESET), QUEUE_VERDICT_DONE);
    ring_again(&r, 0, QUEUE_SIZE);
    maps = fake_grants_live_maps(r.f);
    for (unsigned i = 0; i < 5; i++) {
        bad = good;
        bad.size = i == 0 ? QUEUE_SIZE + 1 : bad.size;
        bad.desc += i == 1 ? 8 : 0;
        bad.driver += i == 2 ? 2 : 0;
        bad.device = i == 3 ? 0 : bad.device;
        if (i == 4)
            fake_grants_fail_map(r.f, 2, -ENOMEM);
        queue_setup_put(&r, 0, &bad);
        UT_EQ(queue_command(&r, 0, QUEUE_COMMAND_ENABLE), QUEUE_VERDICT_SETUP);
        UT_EQ(fake_grants_live_maps(r.f), maps);
        UT_FALSE(device_needs_reset(r.d));
        UT_EQ(device_breaks(r.d), 0);
    }
    fake_grants_fail_map(r.f, 0, 0);
    queue_setup_put(&r, 0, &good);
    UT_EQ(queue_command(&r, 0, QUEUE_COMMAND_ENABLE), QUEUE_VERDICT_DONE);
    UT_EQ(attach(&r, 1), VIOMMU_S_OK);
    rig_close(&r);
}

/* To a frontend without the feature the words are reserved: whatever is there means nothing. */
static void queue_words_are_ignored_without_the_feature(void)
{
    struct rig r;
    unsigned notified;

    UT_REQUIRE(rig_run_with(&r, ALL & ~VIRTIO_F_RING_RESET));
    notified = r.control_notified;
    for (unsigned q = 0; q < VIOMMU_N_QUEUES; q++) {
        put(&r, CONTROL_F_QUEUE(q) + QUEUE_COMMAND_AT, QUEUE_COMMAND_RESET);
        put(&r, CONTROL_F_QUEUE(q) + QUEUE_SEQ_AT, 1);
    }
    (void)device_control_event(r.d);
    UT_EQ(r.control_notified, notified);
    UT_EQ(get(&r, CONTROL_B_QUEUE_ACK(0)) + get(&r, CONTROL_B_QUEUE_ACK(1)), 0);
    UT_EQ(attach(&r, 1), VIOMMU_S_OK);
    rig_close(&r);
}

static void a_device_reset_ends_queue_resets(void)
{
    struct rig r;

    UT_REQUIRE(rig_run_with(&r, ALL));
    UT_EQ(queue_command(&r, 0, QUEUE_COMMAND_RESET), QUEUE_VERDICT_DONE);
    UT_EQ(queue_command(&r, 1, QUEUE_COMMAND_RESET), QUEUE_VERDICT_DONE);
    UT_EQ(status(&r, 0), 0);
    rig_rings(&r);
    driver_start(&r);
    UT_EQ(attach(&r, 1), VIOMMU_S_OK);
    /* And a connection that ends with a queue reset leaves nothing behind. */
    UT_EQ(queue_command(&r, 0, QUEUE_COMMAND_RESET), QUEUE_VERDICT_DONE);
    device_disconnect(r.d);
    check_nothing_mapped(&r);
    memset(r.control, 0, PAGE);
    rig_frontend(&r);
    UT_EQ(rig_connect(&r), 0);
    UT_EQ(get(&r, CONTROL_B_QUEUE_ACK(0)) + get(&r, CONTROL_B_QUEUE_ACK(1)), 0);
    driver_start(&r);
    UT_EQ(attach(&r, 1), VIOMMU_S_OK);
    UT_EQ(queue_command(&r, 1, QUEUE_COMMAND_RESET), QUEUE_VERDICT_DONE);
    rig_close(&r);
}

/* --- disconnecting -----------------------------------------------------------------------------
 */

static void disconnecting_lets_go_of_everything(void)
{
    uint64_t phys = GMEM_GRANT_BIT | (uint64_t)(RAM_REF + 9) << GRANT_PAGE_SHIFT;
    struct rig r;

    UT_REQUIRE(rig_run(&r, NULL));
    UT_EQ(offer_ram(&r, 1), MAP_VERDICT_OK);
    UT_EQ(attach(&r, 1), VIOMMU_S_OK);
    UT_EQ(map(&r, 0x1000, 0x2000), VIOMMU_S_OK);
    UT_EQ(map(&r, 0x2000, phys), VIOMMU_S_OK);
    UT_TRUE(fake_grants_live_maps(r.f) > 0);
    device_disconnect(r.d);
    check_nothing_mapped(&r);
    UT_FALSE(device_connected(r.d));
    UT_EQ(device_status(r.d), 0);
    device_disconnect(r.d);
    /* Late notifications and DMA find nothing. */
    UT_FALSE(device_control_event(r.d));
    UT_FALSE(device_queue_event(r.d, VIOMMU_QUEUE_REQUEST));
    provoke_fault(&r, 0x1000);
    device_deliver_faults(r.d);
    check_nothing_mapped(&r);
    UT_EQ(fake_grants_revoke(r.f, FRONTEND_REF, FRONTEND_PAGES), 0);
    UT_TRUE(fake_grants_grant(r.f, FRONTEND_REF, RAM_PAGES, FRONTEND_PAGES, false));
    /* The next frontend starts from nothing and hears nothing of what was before. */
    memset(r.control, 0, PAGE);
    rig_frontend(&r);
    UT_EQ(rig_connect(&r), 0);
    driver_start(&r);
    UT_TRUE(post_event(&r, 24, true) != NULL);
    UT_FALSE(device_queue_event(r.d, VIOMMU_QUEUE_EVENT));
    UT_EQ(event_used(&r), 0x1000);
    UT_EQ(unmap(&r, 0x1000), VIOMMU_S_NOENT);
    rig_close(&r);
}

static void disconnecting_a_broken_device_works_too(void)
{
    struct rig r;

    UT_REQUIRE(rig_run(&r, NULL));
    r.ring[0].avail_idx = QUEUE_SIZE + 1;
    (void)guest_ring_publish(&r.ring[0]);
    UT_FALSE(device_queue_event(r.d, VIOMMU_QUEUE_REQUEST));
    UT_TRUE(device_needs_reset(r.d));
    device_disconnect(r.d);
    check_nothing_mapped(&r);
    UT_FALSE(device_needs_reset(r.d));
    memset(r.control, 0, PAGE);
    rig_frontend(&r);
    UT_EQ(rig_connect(&r), 0);
    driver_start(&r);
    UT_EQ(attach(&r, 1), VIOMMU_S_OK);
    rig_close(&r);
}

static const struct ut_case cases[] = {
    UT_CASE(bad_configuration_is_refused_with_a_reason),
    UT_CASE(offered_features_are_the_cores_the_rings_and_the_transports),
    UT_CASE(connecting_fills_in_the_backends_half),
    UT_CASE(refused_frontends_leave_nothing_and_can_come_again),
    UT_CASE(a_host_that_fails_at_any_map_leaves_nothing),
    UT_CASE(rings_may_lie_in_the_grant_map_offered_before_state_3),
    UT_CASE(nothing_happens_before_driver_ok),
    UT_CASE(steps_out_of_order_are_left_out),
    UT_CASE(only_a_new_sequence_number_counts),
    UT_CASE(failed_stops_the_queues),
    UT_CASE(driver_ok_twice_does_not_start_the_rings_again),
    UT_CASE(reset_forgets_everything_but_bypass),
    UT_CASE(reset_ends_the_windows_of_grant_addresses),
    UT_CASE(a_ring_that_cannot_be_mapped_again_needs_another_reset),
    UT_CASE(bypass_is_effective_when_it_is_acknowledged),
    UT_CASE(bypass_is_refused_when_it_was_not_negotiated),
    UT_CASE(a_map_gives_memory_and_the_next_one_takes_it_away),
    UT_CASE(malformed_maps_leave_the_old_one),
    UT_CASE(a_chain_of_full_pages_is_one_map),
    UT_CASE(windows_are_gone_when_the_answer_is_there),
    UT_CASE(without_grant_copy_buffers_are_free_too),
    UT_CASE(joined_unmaps_are_done_before_any_answer_is_visible),
    UT_CASE(a_batch_is_mapped_ahead_and_answers_the_same),
    UT_CASE(a_ring_that_breaks_in_a_batch_answers_what_was_before),
    UT_CASE(the_budget_bounds_a_wake_up_and_each_batch_notifies_once),
    UT_CASE(work_that_driver_ok_finds_beyond_the_budget_is_told),
    UT_CASE(an_unwanted_interrupt_is_not_sent),
    UT_CASE(unknown_types_and_short_requests_come_back_unwritten),
    UT_CASE(a_broken_ring_publishes_what_was_answered_and_needs_a_reset),
    UT_CASE(a_request_outside_of_memory_breaks_the_device_only),
    UT_CASE(broken_rings_are_logged_within_a_limit),
    UT_CASE(faults_wait_for_buffers_and_are_delivered_without_a_kick),
    UT_CASE(any_kick_is_a_chance_to_deliver),
    UT_CASE(short_event_buffers_go_back_empty),
    UT_CASE(many_faults_come_in_order_and_the_rest_later),
    UT_CASE(a_broken_event_queue_needs_a_reset),
    UT_CASE(everything_works_on_packed_rings_of_any_size),
    UT_CASE(packed_set_ups_that_will_not_do_are_refused),
    UT_CASE(a_queue_is_reset_alone_and_runs_again),
    UT_CASE(a_reset_event_queue_keeps_the_faults_for_later),
    UT_CASE(a_queue_may_come_back_with_another_ring),
    UT_CASE(queue_commands_out_of_place_are_refused),
    UT_CASE(a_queue_that_cannot_be_enabled_stays_reset),
    UT_CASE(queue_words_are_ignored_without_the_feature),
    UT_CASE(a_device_reset_ends_queue_resets),
    UT_CASE(disconnecting_lets_go_of_everything),
    UT_CASE(disconnecting_a_broken_device_works_too),
};

int main(int argc, char **argv)
{
    return ut_main(argc, argv, "device", cases, ARRAY_SIZE(cases));
}
