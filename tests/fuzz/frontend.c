/* SPDX-License-Identifier: GPL-2.0-only */
/* The driver of frontend.h. */
#include <config.h>

#include "tests/fuzz/frontend.h"

#include "backend/daemon/statefile.h"
#include "backend/iommu/soft.h"
#include "common/le.h"

/* Pages of the guest. */
#define CONTROL_PAGE   0u
#define DIRECTORY_PAGE 1u
#define RING_PAGE      2u  /* to 7: both rings and their indirect tables */
#define BUFFER_PAGE    8u  /* to 11 */
#define RAM_PAGE       12u /* to the end: what requests map */

enum header_flags {
    H_INDIRECT = 1,
    H_EVENT_IDX = 2,
    H_PACKED = 4,
    H_NO_COPY = 8,
    H_TIGHT = 16,
    H_GRANT_MAP = 32,
    H_RINGS_IN_MAP = 64,
    H_ODD_RINGS = 128,
};

/* In the byte with the second queue's size. */
enum more_flags {
    M_IN_ORDER = 32,
    M_RING_RESET = 64,
    M_ANY_SIZE = 128, /* packed rings need no power of two */
};

static uint8_t *control(struct frontend *f)
{
    return f->g.mem + CONTROL_PAGE * PAGE;
}

static void put(struct frontend *f, unsigned offset, uint32_t value)
{
    le32_store(control(f) + offset, value);
}

/* --- connecting ------------------------------------------------------------------------------- */

/* One run: the guest's pages at addresses from 0 on. */
static void directory(struct frontend *f)
{
    uint8_t *page = f->g.mem + DIRECTORY_PAGE * PAGE, *entry = page + DIRECTORY_ENTRIES_AT;

    memset(page, 0, PAGE);
    le32_store(page + DIRECTORY_MAGIC_AT, DIRECTORY_MAGIC);
    le32_store(page + DIRECTORY_VERSION_AT, DIRECTORY_VERSION);
    le32_store(page + DIRECTORY_GENERATION_AT, 1);
    le32_store(page + DIRECTORY_COUNT_AT, 1);
    le64_store(entry, 0);
    le32_store(entry + 8, GUEST_REF);
    le32_store(entry + 12, GUEST_PAGES);
    put(f, CONTROL_F_MAP_REF, GUEST_REF + DIRECTORY_PAGE);
    put(f, CONTROL_F_MAP_GENERATION, 1);
}

/* Sound rings; `c` keeps what was connected when they are laid out again. */
static void rings_init(struct frontend *f)
{
    uint64_t base = (uint64_t)RING_PAGE * PAGE;

    if (!(f->flags & H_GRANT_MAP) || !(f->flags & H_RINGS_IN_MAP))
        base = GMEM_GRANT_BIT | (uint64_t)(GUEST_REF + RING_PAGE) << GRANT_PAGE_SHIFT;
    f->arena = (struct guest_arena){.memory = f->g.mem + RING_PAGE * PAGE,
                                    .address = base,
                                    .size = (RAM_PAGE - RING_PAGE) * PAGE};
    for (unsigned q = 0; q < VIOMMU_N_QUEUES; q++) {
        uint32_t size = 1u << f->size[q] % 5;

        if (f->size[1] & M_ANY_SIZE && f->c.features & VIRTIO_F_RING_PACKED)
            size = 1u + f->size[q] % 16;
        FUZZ_CHECK(guest_ring_init(&f->ring[q], &f->arena, size, f->c.features));
    }
}

static void rings_offer(struct frontend *f)
{
    for (unsigned q = 0; q < VIOMMU_N_QUEUES; q++) {
        struct virtqueue_config c = guest_ring_config(&f->ring[q]);

        f->c.queue[q] = (struct device_queue_setup){c.size, c.desc, c.driver, c.device};
    }
}

static void odd_rings(struct frontend *f, struct fuzz_in *in)
{
    unsigned q = fuzz_u8(in) & 1;
    uint8_t which = fuzz_u8(in);

    if (which & 1)
        f->c.queue[q].size = fuzz_u32(in);
    if (which & 2)
        f->c.queue[q].desc = fuzz_guest_address(in);
    if (which & 4)
        f->c.queue[q].driver = fuzz_guest_address(in);
    if (which & 8)
        f->c.queue[q].device = fuzz_guest_address(in);
    if (which & 16)
        f->c.features ^= 1ull << (fuzz_u8(in) & 63);
    if (which & 32)
        f->c.control_ref = fuzz_guest_ref(fuzz_u8(in));
}

static void set_status(struct frontend *f, uint32_t status)
{
    put(f, CONTROL_F_STATUS, status);
    put(f, CONTROL_F_STATUS_SEQ, le32_load(control(f) + CONTROL_F_STATUS_SEQ) + 1);
    (void)device_control_event(f->g.d);
}

static void commit(struct frontend *f)
{
    struct statefile_setup setup = {.has_text = false};

    if (!f->g.file)
        return;
    device_setup(f->g.d, &setup);
    statefile_commit(f->g.file, &setup);
}

void frontend_connect(struct frontend *f, struct fuzz_in *in)
{
    char why[200];

    f->rough = (f->flags & H_ODD_RINGS) != 0;

    fuzz_take(in, f->size, sizeof(f->size));
    memset(control(f), 0, PAGE);
    put(f, CONTROL_F_MAGIC, CONTROL_MAGIC);
    put(f, CONTROL_F_VERSION, CONTROL_VERSION);
    if (f->flags & H_GRANT_MAP)
        directory(f);
    f->c = (struct device_connection){.features = GUEST_MUST | VIOMMU_F_ALL,
                                      .control_ref = GUEST_REF + CONTROL_PAGE};
    if (f->flags & H_INDIRECT)
        f->c.features |= VIRTIO_F_INDIRECT_DESC;
    if (f->flags & H_EVENT_IDX)
        f->c.features |= VIRTIO_F_EVENT_IDX;
    if (f->flags & H_PACKED)
        f->c.features |= VIRTIO_F_RING_PACKED;
    if (f->size[1] & M_IN_ORDER)
        f->c.features |= VIRTIO_F_IN_ORDER;
    if (f->size[1] & M_RING_RESET)
        f->c.features |= VIRTIO_F_RING_RESET;
    f->c.features &= f->g.offered;
    rings_init(f);
    rings_offer(f);
    if (f->flags & H_ODD_RINGS)
        odd_rings(f, in);
    why[0] = '\0';
    if (device_connect(f->g.d, &f->c, why, sizeof(why)) < 0) {
        FUZZ_CHECK(why[0] && memchr(why, '\0', sizeof(why)));
        FUZZ_CHECK(!device_connected(f->g.d));
        return;
    }
    commit(f);
    set_status(f, GUEST_READY);
}

/* --- steps ------------------------------------------------------------------------------------ */

/* Room for a buffer, round and round: a later one may overwrite one that is still in flight. */
static size_t buffer(struct frontend *f)
{
    size_t at = f->next_buffer;

    f->next_buffer = (at + 160) % (4 * PAGE - 160);
    return BUFFER_PAGE * PAGE + at;
}

static uint64_t buffer_address(const struct frontend *f, size_t at)
{
    if (f->flags & H_GRANT_MAP && f->flags & H_RINGS_IN_MAP)
        return at;
    return (GMEM_GRANT_BIT | (uint64_t)GUEST_REF << GRANT_PAGE_SHIFT) + at;
}

/* A request in one of many framings. */
static void step_request(struct frontend *f, struct fuzz_in *in)
{
    uint8_t how = fuzz_u8(in), req[VIOMMU_REQ_MAX];
    size_t len = fuzz_guest_request(req, in), at = buffer(f), n = 0;
    uint32_t tail = req[0] == VIOMMU_T_PROBE ? 68 : 4, cut;
    struct guest_buf bufs[4];

    memcpy(f->g.mem + at, req, len);
    cut = how & 1 ? (uint32_t)len / 2 : 0;
    if (cut)
        bufs[n++] = (struct guest_buf){buffer_address(f, at), cut, false};
    bufs[n++] = (struct guest_buf){buffer_address(f, at + cut), (uint32_t)len - cut, false};
    cut = how & 2 ? 2 : 0;
    if (how & 4)
        tail += how >> 3;
    if (cut)
        bufs[n++] = (struct guest_buf){buffer_address(f, at + 80), cut, true};
    bufs[n++] = (struct guest_buf){buffer_address(f, at + 80 + cut), tail - cut, true};
    (void)guest_ring_add(&f->ring[0], bufs, n, how & 0x80 ? (how >> 5) % 4u : n);
    (void)guest_ring_publish(&f->ring[0]);
}

static void step_event_buffer(struct frontend *f, struct fuzz_in *in)
{
    uint8_t how = fuzz_u8(in);
    struct guest_buf buf = {buffer_address(f, buffer(f)), how >= 240 ? how - 240u : 24, true};

    (void)guest_ring_add(&f->ring[1], &buf, 1, how & 1);
    (void)guest_ring_publish(&f->ring[1]);
}

/* Arbitrary bytes: in the rings mostly. */
static void step_write(struct frontend *f, struct fuzz_in *in)
{
    uint16_t at = fuzz_u16(in);

    f->rough = true;
    fuzz_guest_write(&f->g, RING_PAGE * PAGE + (size_t)at % ((BUFFER_PAGE - RING_PAGE) * PAGE), in);
}

static void step_write_anywhere(struct frontend *f, struct fuzz_in *in)
{
    f->rough = true;
    fuzz_guest_write(&f->g, fuzz_u32(in), in);
}

/* One descriptor, index or event word, by its meaning. */
static void step_ring_word(struct frontend *f, struct fuzz_in *in)
{
    uint8_t what = fuzz_u8(in);
    uint8_t *area[] = {(uint8_t *)f->ring[what & 1].desc, (uint8_t *)f->ring[what & 1].avail,
                       (uint8_t *)f->ring[what & 1].used};
    unsigned i = fuzz_u8(in) % f->ring[what & 1].size;
    uint8_t *desc = area[0] ? area[0] + (size_t)i * 16 : f->g.mem + RING_PAGE * PAGE;

    f->rough = true;
    switch (what >> 1 & 7) {
    case 0:
        le64_store(desc, fuzz_guest_address(in));
        break;
    case 1:
        le32_store(desc + 8, what & 0x80 ? fuzz_u32(in) : fuzz_u8(in) * 16u);
        break;
    case 2:
        le16_store(desc + 12, what & 0x80 ? fuzz_u16(in) : fuzz_u8(in) & 7);
        break;
    case 3:
        le16_store(desc + 14, what & 0x80 ? fuzz_u16(in) : fuzz_u8(in) & 15);
        break;
    case 4:
        if (area[1])
            le16_store(area[1] + 2 * (what >> 4 & 1), fuzz_u16(in));
        break;
    case 5:
        if (f->ring[what & 1].packed) /* AVAIL and USED beside the other flags */
            le16_store(desc + 14, (uint16_t)(fuzz_u8(in) & 7) | (what & 0x40 ? 0x80 : 0) |
                                      (what & 0x80 ? 0x8000 : 0));
        else if (area[1])
            le16_store(area[1] + 2, (uint16_t)(le16_load(area[1] + 2) + 1 + fuzz_u8(in) % 4));
        break;
    case 6:
        if (area[1])
            le16_store(area[1] + 4 + 2 * (size_t)i, fuzz_u8(in));
        break;
    default:
        if (area[2])
            le16_store(area[2] + 2 * (what >> 4 & 1), fuzz_u16(in));
        break;
    }
}

static void step_flip(struct frontend *f, struct fuzz_in *in)
{
    uint16_t at = fuzz_u16(in);

    f->rough = true;
    /* Rings and buffers: where the device reads twice if anywhere. */
    fuzz_guest_flip(&f->g, RING_PAGE * PAGE + (size_t)at % ((RAM_PAGE - RING_PAGE) * PAGE), in);
}

static void step_trouble(struct frontend *f, struct fuzz_in *in)
{
    f->rough = true;
    fuzz_guest_trouble(&f->g, in);
}

static void step_kick(struct frontend *f, struct fuzz_in *in)
{
    unsigned q = fuzz_u8(in) % VIOMMU_N_QUEUES, rounds = 0;

    /* What is left is bounded by what the ring can hold. */
    while (device_queue_event(f->g.d, q) && rounds++ < 8)
        q = 0;
}

static void step_control(struct frontend *f, struct fuzz_in *in)
{
    uint8_t v = fuzz_u8(in);

    if (v & 0x80) {
        fuzz_guest_write(&f->g, v % 0x28u, in);
        f->rough = true;
    }
    (void)device_control_event(f->g.d);
}

static void step_status(struct frontend *f, struct fuzz_in *in)
{
    static const uint8_t values[] = {0, GUEST_READY, 3, 11, GUEST_READY | STATUS_FAILED};
    uint8_t v = fuzz_u8(in);

    set_status(f, v < 224 ? values[v % ARRAY_SIZE(values)] : v);
    /* A driver zeroes its rings between a reset and DRIVER_OK; this one does so half of the time.
     */
    if (device_status(f->g.d) == 0 && v & 0x40) {
        rings_init(f);
        set_status(f, GUEST_READY);
    }
}

/* Reset of one queue, and enabling it again, with its first setup or another one. */
static void step_queue(struct frontend *f, struct fuzz_in *in)
{
    uint8_t v = fuzz_u8(in);
    unsigned q = v & 1, at = CONTROL_F_QUEUE(q);
    uint8_t *page = control(f);

    f->rough = true;
    if (v & 0x40) {
        uint64_t desc = fuzz_guest_address(in);

        put(f, at + QUEUE_SIZE_AT, v & 0x80 ? fuzz_u8(in) : 1u << (v >> 2) % 5);
        le64_store(page + at + QUEUE_DESC_AT, desc);
        le64_store(page + at + QUEUE_DRIVER_AT, v & 0x20 ? fuzz_guest_address(in) : desc + 512);
        le64_store(page + at + QUEUE_DEVICE_AT, desc + 1024);
    }
    put(f, at + QUEUE_COMMAND_AT, v & 0x10 ? v : 1 + (v >> 1 & 1));
    put(f, at + QUEUE_SEQ_AT, le32_load(page + at + QUEUE_SEQ_AT) + 1);
    (void)device_control_event(f->g.d);
}

static void step_dma(struct frontend *f, struct fuzz_in *in)
{
    uint8_t v = fuzz_u8(in), bytes[256];
    uint64_t iova = (v & 0x3full) * PAGE + fuzz_u16(in) % PAGE;
    size_t len = 1 + fuzz_u8(in);

    memset(bytes, v, sizeof(bytes));
    (void)!soft_dma(device_viommu(f->g.d), GUEST_EP + (v >> 7), iova, bytes, len, v & 0x40, NULL);
    device_deliver_faults(f->g.d);
}

static void step_reap(struct frontend *f, struct fuzz_in *in)
{
    uint8_t v = fuzz_u8(in);
    struct guest_ring *ring = &f->ring[v & 1];
    uint32_t head, len;

    for (uint32_t i = 0; i < ring->size && guest_ring_used(ring, &head, &len); i++)
        ;
    guest_ring_want_interrupts(ring, v & 2);
}

static void step_reconnect(struct frontend *f, struct fuzz_in *in)
{
    fuzz_guest_disconnect(&f->g);
    if (fuzz_u8(in) & 1)
        f->flags = fuzz_u8(in) & (uint8_t) ~(H_NO_COPY | H_TIGHT);
    frontend_connect(f, in);
}

static void (*const steps[])(struct frontend *f, struct fuzz_in *in) = {
    step_request,      step_kick,    step_request,   step_ring_word, step_kick,
    step_write,        step_request, step_kick,      step_ring_word, step_write_anywhere,
    step_flip,         step_trouble, step_dma,       step_control,   step_status,
    step_event_buffer, step_reap,    step_reconnect, step_queue,
};

void frontend_step(struct frontend *f, uint8_t op, struct fuzz_in *in)
{
    steps[op % ARRAY_SIZE(steps)](f, in);
}

void frontend_open(struct frontend *f, struct fuzz_in *in)
{
    memset(f, 0, sizeof(*f));
    f->flags = fuzz_u8(in);
    fuzz_guest_open(&f->g, !(f->flags & H_NO_COPY), f->flags & H_TIGHT);
}
