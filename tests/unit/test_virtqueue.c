/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Split rings against a guest driver written from the specification: every framing, wrap-around,
 * notifications against a model, and every way to break a ring. The hostile guest has the ring
 * mapped and writes where it likes.
 */
#include <config.h>

#include "backend/virtio/virtqueue.h"

#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "tests/support/fake_grants.h"
#include "tests/support/guest_ring.h"
#include "tests/support/ut.h"

#define PAGES    512u
#define REF      1000u
#define BASE     0x40000000ull
#define OUTSIDE  0x7000000000ull /* no memory there */
#define RO_BASE  0x60000000ull   /* the same pages again, read-only */
#define RO_REF   9000u
#define INDIRECT (VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC)
#define NEXT     1
#define WRITE    2
#define TABLE    4

static struct fake_grants *grants;
static struct gmem *mem;
static struct guest_arena arena;
static struct guest_ring ring;
static struct virtqueue *vq;

static bool world_on(const struct grant_ops *ops, bool grant_addresses)
{
    const struct gmem_run runs[] = {
        {.address = BASE, .first_ref = REF, .pages = PAGES},
        {.address = RO_BASE, .first_ref = RO_REF, .pages = PAGES, .read_only = true},
    };

    grants = fake_grants_new(PAGES, false);
    if (!grants || !fake_grants_grant(grants, REF, 0, PAGES, false) ||
        !fake_grants_grant(grants, RO_REF, 0, PAGES, true) ||
        gmem_new(&mem, ops, grants, &GMEM_LIMITS_DEFAULT) < 0 || gmem_set_map(mem, runs, 2) < 0)
        return false;
    arena = (struct guest_arena){
        .memory = fake_grants_memory(grants),
        .address = grant_addresses ? GMEM_GRANT_BIT | ((uint64_t)REF << GRANT_PAGE_SHIFT) : BASE,
        .size = (size_t)PAGES * GRANT_PAGE_SIZE};
    return true;
}

static bool start(uint32_t size, uint64_t features)
{
    struct virtqueue_config config;

    if (!guest_ring_init(&ring, &arena, size, features))
        return false;
    config = guest_ring_config(&ring);
    return virtqueue_new(&vq, mem, &config) == 0;
}

static bool world(uint32_t size, uint64_t features)
{
    return world_on(&fake_grants_ops, false) && start(size, features);
}

static void end(void)
{
    vq = virtqueue_free(vq);
    mem = gmem_free(mem);
    if (grants) {
        UT_EQ(fake_grants_live_pages(grants), 0);
        UT_EQ(fake_grants_errors(grants), 0);
    }
    grants = fake_grants_free(grants);
}

static uint64_t address_of(const void *p)
{
    return guest_address(&arena, p);
}

/* A request of one readable and one writable buffer; returns the readable part. */
static uint8_t *simple_request(uint32_t readable, uint32_t writable, size_t n_direct)
{
    uint8_t *data = guest_alloc(&arena, readable + writable, 1);
    struct guest_buf bufs[2];

    if (!data)
        return NULL;
    bufs[0] = (struct guest_buf){address_of(data), readable, false};
    bufs[1] = (struct guest_buf){address_of(data + readable), writable, true};
    return guest_ring_add(&ring, bufs, 2, n_direct) < 0 ? NULL : data;
}

static void bad_configurations_are_refused(void)
{
    const struct {
        struct virtqueue_config config;
        int want;
    } cases[] = {
        {{0, BASE, BASE + 4096, BASE + 8192, 0}, -EINVAL},
        {{3, BASE, BASE + 4096, BASE + 8192, 0}, -EINVAL},
        {{2048, BASE, BASE + 65536, BASE + 131072, 0}, -EINVAL},
        {{UINT32_MAX, BASE, BASE + 65536, BASE + 131072, 0}, -EINVAL},
        {{4, BASE + 8, BASE + 4096, BASE + 8192, 0}, -EINVAL},
        {{4, BASE, BASE + 4097, BASE + 8192, 0}, -EINVAL},
        {{4, BASE, BASE + 4096, BASE + 8194, 0}, -EINVAL},
        {{4, BASE, BASE + 4096, BASE + 8192, VIRTIO_F_RING_PACKED}, -EINVAL},
        {{4, UINT64_MAX - 15, BASE + 4096, BASE + 8192, 0}, -EINVAL},
        {{4, BASE, UINT64_MAX - 1, BASE + 8192, 0}, -EINVAL},
        {{4, BASE, BASE + 4096, UINT64_MAX - 3, 0}, -EINVAL},
        {{4, OUTSIDE, BASE + 4096, BASE + 8192, 0}, -EFAULT},
        {{4, BASE, OUTSIDE, BASE + 8192, 0}, -EFAULT},
        {{4, BASE, BASE + 4096, OUTSIDE, 0}, -EFAULT},
        {{4, BASE, BASE + 4096, RO_BASE, 0}, -EFAULT},
        {{4, BASE, BASE + 4096, BASE + (PAGES * 4096 - 36), 0}, -EFAULT},
        {{4, RO_BASE, RO_BASE + 4096, BASE + 8192, 0}, 0},
    };

    UT_REQUIRE(world_on(&fake_grants_ops, false));
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        UT_EQ(virtqueue_new(&vq, mem, &cases[i].config), cases[i].want);
        UT_EQ(fake_grants_live_maps(grants), cases[i].want ? 0 : 3);
        vq = virtqueue_free(vq);
        UT_EQ(fake_grants_live_maps(grants), 0);
    }
    for (size_t n = 1; n <= 3; n++) {
        fake_grants_fail_map(grants, n, -ENOMEM);
        UT_EQ(virtqueue_new(&vq, mem, &cases[ARRAY_SIZE(cases) - 1].config), -ENOMEM);
        UT_EQ(fake_grants_live_maps(grants), 0);
    }
    UT_TRUE(virtqueue_free(NULL) == NULL);
    end();
}

static void a_request_goes_through(void)
{
    struct vq_chain chain;
    uint8_t *data, buf[64] = {0};
    uint32_t head, len;

    UT_REQUIRE(world(8, VIRTIO_F_VERSION_1));
    UT_EQ(virtqueue_pop(vq, &chain), 0);
    UT_FALSE(virtqueue_has_work(vq));
    guest_ring_rotate_free(&ring, 5);
    data = simple_request(40, 4, 2);
    UT_REQUIRE(data != NULL);
    memset(data, 0x77, 40);
    UT_FALSE(virtqueue_has_work(vq)); /* not published */
    UT_TRUE(guest_ring_publish(&ring));
    UT_TRUE(virtqueue_has_work(vq));
    UT_EQ(virtqueue_pop(vq, &chain), 1);
    UT_EQ(chain.head, 5);
    UT_EQ(chain.n_readable, 1);
    UT_EQ(chain.n_writable, 1);
    UT_EQ(chain.readable, 40);
    UT_EQ(chain.writable, 4);
    UT_EQ(virtqueue_read(vq, &chain, buf, sizeof(buf)), 40);
    UT_EQ(buf[39], 0x77);
    UT_EQ(buf[40], 0);
    UT_EQ(virtqueue_read(vq, &chain, buf, 0), 0);
    UT_EQ(virtqueue_write(vq, &chain, "\1\2\3\4\5", 5), -EPROTO); /* longer than it is */
    UT_FALSE(virtqueue_broken(vq));
    UT_EQ(virtqueue_write(vq, &chain, "\1\2\3\4", 4), 0);
    UT_EQ(data[40], 1);
    UT_EQ(data[43], 4);
    virtqueue_push(vq, &chain, 4);
    UT_FALSE(guest_ring_used(&ring, &head, &len));
    UT_TRUE(virtqueue_publish(vq));
    UT_FALSE(virtqueue_publish(vq)); /* nothing new */
    UT_REQUIRE(guest_ring_used(&ring, &head, &len));
    UT_EQ(head, 5);
    UT_EQ(len, 4);
    UT_FALSE(guest_ring_used(&ring, &head, &len));
    UT_EQ(virtqueue_pop(vq, &chain), 0);
    end();
}

static void used_length_never_exceeds_the_writable_part(void)
{
    struct vq_chain chain;
    uint32_t head, len = 0;

    UT_REQUIRE(world(4, VIRTIO_F_VERSION_1));
    UT_REQUIRE(simple_request(8, 4, 2) != NULL);
    guest_ring_publish(&ring);
    UT_EQ(virtqueue_pop(vq, &chain), 1);
    virtqueue_push(vq, &chain, UINT32_MAX);
    virtqueue_push(vq, &chain, 4); /* no longer ours: nothing happens */
    virtqueue_publish(vq);
    UT_TRUE(guest_ring_used(&ring, &head, &len));
    UT_EQ(len, 4);
    UT_FALSE(guest_ring_used(&ring, &head, &len));
    end();
}

static void an_unpopped_chain_comes_again(void)
{
    struct vq_chain chain, again;
    struct virtqueue_stats stats;

    UT_REQUIRE(world(4, VIRTIO_F_VERSION_1));
    UT_REQUIRE(simple_request(8, 4, 2) != NULL);
    UT_REQUIRE(simple_request(9, 4, 2) != NULL);
    guest_ring_publish(&ring);
    UT_EQ(virtqueue_pop(vq, &chain), 1);
    virtqueue_unpop(vq, &chain);
    virtqueue_unpop(vq, &chain); /* twice: nothing happens */
    UT_EQ(virtqueue_read(vq, &chain, &again, 1), -EPROTO);
    UT_TRUE(virtqueue_has_work(vq));
    virtqueue_get_stats(vq, &stats);
    UT_EQ(stats.popped, 0);
    UT_EQ(stats.avail_seen, 0);
    UT_EQ(virtqueue_pop(vq, &again), 1);
    UT_EQ(again.readable, 8);
    UT_EQ(virtqueue_pop(vq, &again), 1); /* the one in flight */
    UT_EQ(again.readable, 8);
    virtqueue_push(vq, &again, 0);
    UT_EQ(virtqueue_pop(vq, &again), 1);
    UT_EQ(again.readable, 9);
    virtqueue_push(vq, &again, 0);
    virtqueue_get_stats(vq, &stats);
    UT_EQ(stats.popped, 2);
    UT_EQ(stats.pushed, 2);
    UT_EQ(stats.used, 2);
    UT_EQ(stats.size, 4);
    end();
}

/* Serves one request of a single descriptor; false if anything is not as expected. */
static bool one_round(const struct guest_buf *buf)
{
    struct vq_chain chain;
    uint32_t head = UINT32_MAX, len = 0;
    int added = guest_ring_add(&ring, buf, 1, 1);

    guest_ring_publish(&ring);
    if (added < 0 || virtqueue_pop(vq, &chain) != 1 || chain.head != added ||
        virtqueue_write(vq, &chain, "xyz", 3) != 0)
        return false;
    virtqueue_push(vq, &chain, 3);
    virtqueue_publish(vq);
    return guest_ring_used(&ring, &head, &len) && head == (uint32_t)added && len == 3;
}

static void indices_wrap_at_65536_for_every_size(void)
{
    for (uint32_t size = 1; size <= VIRTQUEUE_MAX_SIZE; size *= 2) {
        uint8_t *data;
        struct guest_buf buf;
        struct vq_chain chain;
        unsigned i;

        UT_REQUIRE(world(size, VIRTIO_F_VERSION_1));
        data = guest_alloc(&arena, 8, 1);
        UT_REQUIRE(data != NULL);
        buf = (struct guest_buf){address_of(data), 8, true};
        for (i = 0; i < 65536 + 3 * size && one_round(&buf); i++)
            ;
        UT_EQ(i, 65536 + 3 * size);
        /* And a full ring at once. */
        for (i = 0; i < size; i++)
            UT_TRUE(guest_ring_add(&ring, &buf, 1, 1) >= 0);
        guest_ring_publish(&ring);
        for (i = 0; virtqueue_pop(vq, &chain) == 1; i++)
            virtqueue_push(vq, &chain, 1);
        UT_EQ(i, size);
        UT_STR(virtqueue_broken_why(vq), "");
        end();
    }
}

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* Cuts `len` bytes at `data` into up to `max` pieces, empty ones among them. */
static size_t cut(struct guest_buf *bufs, size_t max, uint8_t *const data, uint32_t len, bool write,
                  uint32_t *seed)
{
    size_t n = 0;
    uint32_t at = 0;

    while (n + 1 < max && at < len) {
        uint32_t piece = next_random(seed) % (len - at + 1);

        bufs[n++] = (struct guest_buf){address_of(data) + at, piece, write};
        at += piece;
        if (next_random(seed) % 4 == 0)
            break;
    }
    if (at < len)
        bufs[n++] = (struct guest_buf){address_of(data) + at, len - at, write};
    return n;
}

static void framing_round(uint8_t *data, uint32_t *seed)
{
    enum { READABLE = 40, WRITABLE = 68 };
    struct guest_buf bufs[32];
    struct vq_chain chain;
    uint8_t got[READABLE + 8] = {0}, answer[WRITABLE];
    uint32_t head, len = 0;
    size_t n, direct;

    for (size_t i = 0; i < READABLE + WRITABLE; i++)
        data[i] = (uint8_t)next_random(seed);
    n = cut(bufs, 12, data, READABLE, false, seed);
    n += cut(&bufs[n], 12, data + READABLE, WRITABLE, true, seed);
    direct = next_random(seed) % 3 == 0 ? n : next_random(seed) % (n + 1);
    guest_ring_rotate_free(&ring, next_random(seed) % 32);
    UT_REQUIRE(guest_ring_add(&ring, bufs, n, direct) >= 0);
    guest_ring_publish(&ring);
    UT_REQUIRE(virtqueue_pop(vq, &chain) == 1);
    UT_REQUIRE(chain.readable == READABLE && chain.writable == WRITABLE);
    UT_REQUIRE((size_t)chain.n_readable + chain.n_writable == n);
    UT_REQUIRE(virtqueue_read(vq, &chain, got, sizeof(got)) == READABLE);
    UT_REQUIRE(memcmp(got, data, READABLE) == 0);
    for (size_t i = 0; i < WRITABLE; i++)
        answer[i] = (uint8_t)next_random(seed);
    len = next_random(seed) % (WRITABLE + 1);
    memset(data + READABLE, 0, WRITABLE + 1);
    UT_REQUIRE(virtqueue_write(vq, &chain, answer, len) == 0);
    UT_REQUIRE(memcmp(data, got, READABLE) == 0);
    UT_REQUIRE(memcmp(data + READABLE, answer, len) == 0);
    UT_REQUIRE(data[READABLE + len] == 0);
    virtqueue_push(vq, &chain, len);
    virtqueue_publish(vq);
    UT_REQUIRE(guest_ring_used(&ring, &head, &len));
}

/* virtio 1.3, 2.7.4.1: no assumption about how a message is cut into descriptors. */
static void every_framing_gives_the_same_bytes(void)
{
    static const struct grant_ops *const ops[] = {&fake_grants_ops, &fake_grants_ops_no_copy};

    for (unsigned world_no = 0; world_no < 4; world_no++) {
        uint32_t seed = world_no + 1;
        uint8_t *data;

        UT_REQUIRE(world_on(ops[world_no % 2], world_no / 2));
        UT_REQUIRE(start(32, INDIRECT));
        data = guest_alloc(&arena, GRANT_PAGE_SIZE + 200, GRANT_PAGE_SIZE);
        UT_REQUIRE(data != NULL);
        for (unsigned i = 0; i < 3000; i++)
            framing_round(data + GRANT_PAGE_SIZE - 100 + i % 120, &seed);
        UT_STR(virtqueue_broken_why(vq), "");
        if (world_no == 2)
            UT_TRUE(fake_grants_copy_calls(grants) > 0);
        end();
    }
}

static void longest_chains_are_taken(void)
{
    struct guest_buf bufs[32];
    struct vq_chain chain;
    uint8_t *data;

    UT_REQUIRE(world(16, INDIRECT));
    data = guest_alloc(&arena, 32, 1);
    UT_REQUIRE(data != NULL);
    for (size_t i = 0; i < 32; i++)
        bufs[i] = (struct guest_buf){address_of(data + i), 1, i >= 20};
    UT_TRUE(guest_ring_add(&ring, bufs, 16, 16) >= 0); /* all descriptors */
    guest_ring_publish(&ring);
    UT_EQ(virtqueue_pop(vq, &chain), 1);
    UT_EQ(chain.n_readable, 16);
    virtqueue_push(vq, &chain, 0);
    virtqueue_publish(vq);
    UT_TRUE(guest_ring_used(&ring, &(uint32_t){0}, &(uint32_t){0}));
    UT_TRUE(guest_ring_add(&ring, bufs, 31, 15) >= 0); /* 15 direct, 16 in the table */
    guest_ring_publish(&ring);
    UT_EQ(virtqueue_pop(vq, &chain), 1);
    UT_EQ(chain.n_readable + chain.n_writable, 31);
    UT_EQ(chain.writable, 11);
    end();
}

/* Hostile rings: a sound request is there, then one thing is made wrong. Words as on the wire. */
struct attack {
    const char *why; /* must be the reason */
    void (*fn)(void);
    uint64_t features;
};

static void set_desc(struct guest_desc *desc, uint64_t addr, uint32_t len, uint16_t flags,
                     uint16_t next)
{
    desc->addr = htole64(addr);
    desc->len = htole32(len);
    desc->flags = htole16(flags);
    desc->next = htole16(next);
}

static uint64_t some_memory(void)
{
    return address_of(arena.memory + 64 * GRANT_PAGE_SIZE);
}

static void head_is_size(void)
{
    ring.avail[2] = htole16(8);
}

static void head_is_huge(void)
{
    ring.avail[2] = htole16(0xffff);
}

static void index_is_far_ahead(void)
{
    ring.avail[1] = htole16(9);
}

static void index_went_back(void)
{
    ring.avail[1] = htole16(0xffff);
}

static void next_is_size(void)
{
    ring.desc[0].next = htole16(8);
}

static void next_is_huge(void)
{
    ring.desc[0].next = htole16(0xffff);
}

static void loop_of_one(void)
{
    set_desc(&ring.desc[0], some_memory(), 8, NEXT, 0);
}

static void loop_of_all(void)
{
    for (uint16_t i = 0; i < 8; i++)
        set_desc(&ring.desc[i], some_memory(), 8, NEXT, (i + 1) % 8);
}

static void loop_of_empty_ones(void)
{
    set_desc(&ring.desc[0], OUTSIDE, 0, NEXT, 1);
    set_desc(&ring.desc[1], OUTSIDE, 0, NEXT, 0);
}

static void readable_last(void)
{
    set_desc(&ring.desc[0], some_memory(), 8, NEXT | WRITE, 1);
    set_desc(&ring.desc[1], some_memory(), 8, 0, 0);
}

static void empty_readable_last(void)
{
    set_desc(&ring.desc[0], some_memory(), 0, NEXT | WRITE, 1);
    set_desc(&ring.desc[1], some_memory(), 0, 0, 0);
}

static void too_many_bytes(void)
{
    const uint32_t quarter = 0x40000000;

    /* The check of the sum must come first: so much memory there is not. */
    set_desc(&ring.desc[0], some_memory(), 16, NEXT, 1);
    set_desc(&ring.desc[1], some_memory(), 4 * quarter - 16, WRITE, 0);
}

static void no_memory_to_read(void)
{
    set_desc(&ring.desc[0], OUTSIDE, 8, 0, 0);
}

static void no_memory_to_write(void)
{
    ring.desc[1].addr = htole64(RO_BASE);
}

static void memory_ends_too_early(void)
{
    set_desc(&ring.desc[0], BASE + PAGES * 4096 - 8, 9, 0, 0);
}

static void address_wraps(void)
{
    set_desc(&ring.desc[0], UINT64_MAX - 3, 8, 0, 0);
}

static void bad_grant_bits(void)
{
    set_desc(&ring.desc[0], GMEM_GRANT_BIT | (1ull << 50) | ((uint64_t)REF << 12), 8, 0, 0);
}

static void set_table(uint32_t bytes, uint16_t flags)
{
    set_desc(&ring.desc[0], address_of(ring.tables), bytes, TABLE | flags, 1);
    for (size_t i = 0; i < 8; i++)
        set_desc(&ring.tables[i], some_memory(), 8, i < 7 ? NEXT : 0, (uint16_t)(i + 1));
}

static void table_not_negotiated(void)
{
    set_desc(&ring.desc[0], some_memory(), 32, TABLE, 0);
}

static void table_with_next(void)
{
    set_table(16, NEXT);
}

static void table_empty(void)
{
    set_table(0, 0);
}

static void table_odd(void)
{
    set_table(40, 0);
}

static void table_too_long(void)
{
    set_table(9 * 16, 0);
}

static void table_huge(void)
{
    set_table(0xfffffff0, 0);
}

static void table_outside(void)
{
    set_table(32, 0);
    ring.desc[0].addr = htole64(OUTSIDE);
}

static void table_nested(void)
{
    set_table(32, 0);
    set_desc(&ring.tables[0], address_of(ring.tables), 32, TABLE, 0);
}

static void table_next_outside(void)
{
    set_table(32, 0); /* the second entry goes on to the third, which is not in the table */
}

static void table_loop(void)
{
    set_table(32, 0);
    set_desc(&ring.tables[1], some_memory(), 8, NEXT, 0);
}

static void table_readable_last(void)
{
    set_table(32, 0);
    set_desc(&ring.tables[0], some_memory(), 8, NEXT | WRITE, 1);
    set_desc(&ring.tables[1], some_memory(), 8, 0, 0);
}

static void table_readable_after_direct_writable(void)
{
    set_table(32, 0);
    ring.desc[3] = ring.desc[0];
    set_desc(&ring.desc[0], some_memory(), 8, NEXT | WRITE, 3);
}

static void table_bytes(void)
{
    set_table(32, 0);
    ring.desc[3] = ring.desc[0];
    set_desc(&ring.desc[0], some_memory(), 4096, NEXT, 3);
    set_desc(&ring.tables[0], some_memory(), 0xfffff000, 0, 0);
}

static const struct attack attacks[] = {
    {"head outside the descriptor table", head_is_size, VIRTIO_F_VERSION_1},
    {"head outside the descriptor table", head_is_huge, VIRTIO_F_VERSION_1},
    {"available index too far ahead", index_is_far_ahead, VIRTIO_F_VERSION_1},
    {"available index too far ahead", index_went_back, VIRTIO_F_VERSION_1},
    {"next outside the descriptor table", next_is_size, VIRTIO_F_VERSION_1},
    {"next outside the descriptor table", next_is_huge, VIRTIO_F_VERSION_1},
    {"chain longer than the queue, or a loop", loop_of_one, VIRTIO_F_VERSION_1},
    {"chain longer than the queue, or a loop", loop_of_all, VIRTIO_F_VERSION_1},
    {"chain longer than the queue, or a loop", loop_of_empty_ones, VIRTIO_F_VERSION_1},
    {"readable descriptor after a writable one", readable_last, VIRTIO_F_VERSION_1},
    {"readable descriptor after a writable one", empty_readable_last, VIRTIO_F_VERSION_1},
    {"chain of more than 2^32 - 1 bytes", too_many_bytes, VIRTIO_F_VERSION_1},
    {"buffer that is not the guest's memory", no_memory_to_read, VIRTIO_F_VERSION_1},
    {"buffer that is not the guest's memory", no_memory_to_write, VIRTIO_F_VERSION_1},
    {"buffer that is not the guest's memory", memory_ends_too_early, VIRTIO_F_VERSION_1},
    {"buffer that is not the guest's memory", address_wraps, VIRTIO_F_VERSION_1},
    {"buffer that is not the guest's memory", bad_grant_bits, VIRTIO_F_VERSION_1},
    {"indirect descriptor, but not negotiated", table_not_negotiated, VIRTIO_F_VERSION_1},
    {"indirect descriptor with a successor", table_with_next, INDIRECT},
    {"indirect table of an odd size", table_empty, INDIRECT},
    {"indirect table of an odd size", table_odd, INDIRECT},
    {"indirect table longer than the queue", table_too_long, INDIRECT},
    {"indirect table longer than the queue", table_huge, INDIRECT},
    {"indirect table that is not the guest's memory", table_outside, INDIRECT},
    {"indirect table in an indirect table", table_nested, INDIRECT},
    {"next outside an indirect table", table_next_outside, INDIRECT},
    {"loop in an indirect table", table_loop, INDIRECT},
    {"readable descriptor after a writable one", table_readable_last, INDIRECT},
    {"readable descriptor after a writable one", table_readable_after_direct_writable, INDIRECT},
    {"chain of more than 2^32 - 1 bytes", table_bytes, INDIRECT},
};

static void every_violation_breaks_the_queue_for_good(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(attacks); i++) {
        struct vq_chain chain;
        uint8_t byte;

        UT_REQUIRE(world(8, attacks[i].features));
        UT_REQUIRE(simple_request(40, 4, 2) != NULL);
        guest_ring_publish(&ring);
        attacks[i].fn();
        UT_FALSE(virtqueue_broken(vq));
        UT_TRUE(virtqueue_has_work(vq));
        UT_EQ(virtqueue_pop(vq, &chain), -EPROTO);
        UT_TRUE(virtqueue_broken(vq));
        UT_STR(virtqueue_broken_why(vq), attacks[i].why);
        /* A sound ring comes too late. */
        set_desc(&ring.desc[0], some_memory(), 8, 0, 0);
        ring.avail[1] = htole16(1);
        ring.avail[2] = 0;
        UT_EQ(virtqueue_pop(vq, &chain), -EPROTO);
        UT_EQ(virtqueue_read(vq, &(struct vq_chain){.head = 0}, &byte, 1), -EPROTO);
        virtqueue_push(vq, &(struct vq_chain){.head = 0}, 0);
        UT_FALSE(virtqueue_publish(vq));
        UT_FALSE(virtqueue_want_kicks(vq));
        UT_FALSE(virtqueue_has_work(vq));
        virtqueue_no_kicks(vq);
        UT_EQ(guest_ring_used_idx(&ring), 0);
        UT_EQ(ring.used[0], 0);
        end();
    }
}

/* While a batch is not published, its buffers still count: the index may not run on, or back. */
static void index_that_moves_within_a_batch_breaks_the_queue(void)
{
    static const uint16_t bad[] = {2, 9, 0xffff, 0x8000};

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct vq_chain chain;

        UT_REQUIRE(world(8, VIRTIO_F_VERSION_1));
        for (unsigned k = 0; k < 3; k++)
            UT_REQUIRE(simple_request(8, 4, 2) != NULL);
        guest_ring_publish(&ring);
        for (unsigned k = 0; k < 3; k++) {
            UT_REQUIRE(virtqueue_pop(vq, &chain) == 1);
            virtqueue_push(vq, &chain, 4);
        }
        ring.avail[1] = htole16(bad[i]);
        UT_EQ(virtqueue_pop(vq, &chain), -EPROTO);
        UT_STR(virtqueue_broken_why(vq), "available index too far ahead");
        end();
    }
}

static void buffers_that_are_not_granted_break_the_queue_when_touched(void)
{
    struct guest_buf bufs[] = {
        {GMEM_GRANT_BIT | (77ull << GRANT_PAGE_SHIFT), 8, false},
        {GMEM_GRANT_BIT | ((uint64_t)RO_REF << GRANT_PAGE_SHIFT), 8, true},
    };
    struct vq_chain chain;
    uint8_t buf[8] = {0};

    for (size_t i = 0; i < 2; i++) {
        UT_REQUIRE(world(8, VIRTIO_F_VERSION_1));
        UT_REQUIRE(guest_ring_add(&ring, &bufs[i], 1, 1) >= 0);
        guest_ring_publish(&ring);
        UT_EQ(virtqueue_pop(vq, &chain), 1); /* could be memory: only the host knows */
        UT_EQ(i ? virtqueue_write(vq, &chain, buf, 8) : virtqueue_read(vq, &chain, buf, 8),
              -EPROTO);
        UT_STR(virtqueue_broken_why(vq), "buffer that is not the guest's memory");
        virtqueue_push(vq, &chain, 8);
        UT_FALSE(virtqueue_publish(vq));
        end();
    }
}

static void a_host_that_cannot_reach_a_buffer_is_told_apart(void)
{
    struct guest_buf buf = {GMEM_GRANT_BIT | ((uint64_t)REF << GRANT_PAGE_SHIFT), 8, false};
    struct vq_chain chain;
    uint8_t byte;

    UT_REQUIRE(world(8, VIRTIO_F_VERSION_1));
    UT_REQUIRE(guest_ring_add(&ring, &buf, 1, 1) >= 0);
    guest_ring_publish(&ring);
    UT_EQ(virtqueue_pop(vq, &chain), 1);
    fake_grants_fail_copy(grants, 1, -EIO);
    UT_EQ(virtqueue_read(vq, &chain, &byte, 1), -EPROTO);
    UT_STR(virtqueue_broken_why(vq), "buffer that the host could not reach");
    end();
}

/* virtio 1.3, 2.7.5.3.2: WRITE on the descriptor of a table is ignored. */
static void write_flag_of_a_table_is_ignored(void)
{
    struct vq_chain chain;

    UT_REQUIRE(world(8, INDIRECT));
    UT_REQUIRE(simple_request(40, 4, 0) != NULL);
    ring.desc[0].flags |= htole16(WRITE);
    ring.desc[0].addr = htole64(RO_BASE + (guest_address(&arena, ring.tables) - BASE));
    guest_ring_publish(&ring);
    UT_EQ(virtqueue_pop(vq, &chain), 1);
    UT_EQ(chain.n_readable, 1);
    UT_EQ(chain.n_writable, 1);
    end();
}

static void a_chain_of_empty_descriptors_is_a_chain(void)
{
    struct guest_buf bufs[] = {{OUTSIDE, 0, false}, {OUTSIDE, 0, true}};
    struct vq_chain chain;
    uint8_t byte;

    UT_REQUIRE(world(8, VIRTIO_F_VERSION_1));
    UT_REQUIRE(guest_ring_add(&ring, bufs, 2, 2) >= 0);
    guest_ring_publish(&ring);
    UT_EQ(virtqueue_pop(vq, &chain), 1);
    UT_EQ(chain.readable + chain.writable, 0);
    UT_EQ(virtqueue_read(vq, &chain, &byte, 1), 0);
    UT_EQ(virtqueue_write(vq, &chain, &byte, 0), 0);
    virtqueue_push(vq, &chain, 0);
    UT_FALSE(virtqueue_broken(vq));
    end();
}

/* After pop the descriptors are the guest's again: nothing that it writes there counts. */
static void rewriting_descriptors_after_pop_has_no_effect(void)
{
    for (size_t n_direct = 0; n_direct <= 2; n_direct++) {
        struct vq_chain chain;
        uint8_t *data, buf[40] = {0};

        UT_REQUIRE(world(8, INDIRECT));
        data = simple_request(40, 4, n_direct);
        UT_REQUIRE(data != NULL);
        memset(data, 0x42, 40);
        guest_ring_publish(&ring);
        UT_EQ(virtqueue_pop(vq, &chain), 1);
        memset(ring.desc, 0xff, 8 * sizeof(*ring.desc));
        memset(ring.tables, 0xff, 64 * sizeof(*ring.tables));
        memset(ring.avail, 0xff, 6 + 16);
        UT_EQ(virtqueue_read(vq, &chain, buf, 40), 40);
        UT_EQ(buf[0], 0x42);
        UT_EQ(buf[39], 0x42);
        UT_EQ(virtqueue_write(vq, &chain, "abcd", 4), 0);
        UT_TRUE(memcmp(data + 40, "abcd", 4) == 0);
        virtqueue_push(vq, &chain, 4);
        virtqueue_publish(vq);
        UT_EQ(le16toh(ring.used[1]), 1);
        end();
    }
}

/* Between the copy of a table and its use: the hook runs when the copy has been made. */
static void spoil_table(void *ctx)
{
    (void)ctx;
    memset(ring.tables, 0xff, 64 * sizeof(*ring.tables));
}

static void a_table_is_used_as_it_was_copied(void)
{
    struct vq_chain chain;

    UT_REQUIRE(world_on(&fake_grants_ops, true)); /* grant addresses: the table is copied by call */
    UT_REQUIRE(start(8, INDIRECT));
    UT_REQUIRE(simple_request(40, 4, 0) != NULL);
    guest_ring_publish(&ring);
    fake_grants_set_hook(grants, spoil_table, NULL);
    UT_EQ(virtqueue_pop(vq, &chain), 1);
    UT_EQ(ring.tables[0].flags, 0xffff);
    UT_EQ(chain.readable, 40);
    UT_EQ(chain.writable, 4);
    end();
}

/* A guest that rewrites everything all the time from another CPU. */
static void *scribble(void *ctx)
{
    const bool *stop = ctx;
    uint32_t seed = 7;

    while (!__atomic_load_n(stop, __ATOMIC_RELAXED)) {
        uint32_t i = next_random(&seed) % 8;
        uint64_t addr = next_random(&seed) % 2 ? some_memory() : OUTSIDE;
        uint64_t rest = next_random(&seed) % 64 | (uint64_t)(next_random(&seed) % 8) << 32 |
                        (uint64_t)(next_random(&seed) % 9) << 48;
        uint64_t *words = (void *)(next_random(&seed) % 2 ? &ring.desc[i] : &ring.tables[i]);

        __atomic_store_n(&words[0], htole64(addr), __ATOMIC_RELAXED);
        __atomic_store_n(&words[1], htole64(rest), __ATOMIC_RELAXED);
    }
    return NULL;
}

static void a_guest_that_scribbles_while_we_walk_does_no_harm(void)
{
    unsigned popped = 0, broken = 0;
    pthread_t thread;
    bool stop = false;

    UT_REQUIRE(world(8, INDIRECT));
    UT_REQUIRE(pthread_create(&thread, NULL, scribble, &stop) == 0);
    for (unsigned i = 0; i < 20000; i++) {
        struct virtqueue_config config = guest_ring_config(&ring);
        struct vq_chain chain;
        uint8_t buf[1024] = {0};
        int r;

        vq = virtqueue_free(vq);
        UT_EQ(virtqueue_new(&vq, mem, &config), 0);
        ring.avail[1] = htole16(1);
        r = virtqueue_pop(vq, &chain);
        broken += r < 0;
        popped += r == 1;
        if (r == 1 && (chain.readable > 16 * 64 || chain.writable > 16 * 64 ||
                       virtqueue_read(vq, &chain, buf, sizeof(buf)) != (int)chain.readable ||
                       virtqueue_write(vq, &chain, buf, (size_t)chain.writable) != 0))
            UT_FALSE("a chain that was checked is not what it was");
    }
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    UT_EQ(popped + broken, 20000);
    UT_TRUE(popped > 0);
    UT_TRUE(broken > 0);
    end();
}

static void no_interrupt_flag_is_honoured(void)
{
    struct vq_chain chain;

    UT_REQUIRE(world(8, VIRTIO_F_VERSION_1));
    for (unsigned i = 0; i < 4; i++) {
        bool wanted = i % 2;

        UT_REQUIRE(simple_request(8, 4, 2) != NULL);
        guest_ring_publish(&ring);
        guest_ring_want_interrupts(&ring, wanted);
        *guest_ring_used_event(&ring) = htole16(0x5555); /* ignored */
        UT_EQ(virtqueue_pop(vq, &chain), 1);
        virtqueue_push(vq, &chain, 0);
        UT_EQ(virtqueue_publish(vq), wanted);
        UT_TRUE(guest_ring_used(&ring, &(uint32_t){0}, &(uint32_t){0}));
    }
    end();
}

static void kicks_are_suppressed_by_flag_without_event_index(void)
{
    struct vq_chain chain;

    UT_REQUIRE(world(8, VIRTIO_F_VERSION_1));
    virtqueue_no_kicks(vq);
    UT_EQ(le16toh(ring.used[0]), 1);
    UT_REQUIRE(simple_request(8, 4, 2) != NULL);
    UT_FALSE(guest_ring_publish(&ring));
    UT_TRUE(virtqueue_want_kicks(vq)); /* it came meanwhile */
    UT_EQ(ring.used[0], 0);
    UT_EQ(virtqueue_pop(vq, &chain), 1);
    virtqueue_push(vq, &chain, 0);
    UT_FALSE(virtqueue_want_kicks(vq));
    UT_REQUIRE(simple_request(8, 4, 2) != NULL);
    UT_TRUE(guest_ring_publish(&ring));
    UT_EQ(*guest_ring_avail_event(&ring), 0);
    end();
}

static void kicks_are_asked_for_by_event_index(void)
{
    struct vq_chain chain;

    UT_REQUIRE(world(8, VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX));
    UT_FALSE(virtqueue_want_kicks(vq));
    UT_REQUIRE(simple_request(8, 4, 2) != NULL);
    UT_TRUE(guest_ring_publish(&ring));
    virtqueue_no_kicks(vq);
    UT_EQ(ring.used[0], 0); /* virtio 1.3, 2.7.10.1: must stay 0 */
    UT_REQUIRE(simple_request(8, 4, 2) != NULL);
    UT_FALSE(guest_ring_publish(&ring)); /* avail_event is behind */
    for (unsigned i = 0; i < 2; i++) {
        UT_EQ(virtqueue_pop(vq, &chain), 1);
        virtqueue_push(vq, &chain, 0);
    }
    UT_FALSE(virtqueue_want_kicks(vq));
    UT_EQ(le16toh(*guest_ring_avail_event(&ring)), 2);
    UT_EQ(ring.used[0], 0);
    virtqueue_publish(vq);
    while (guest_ring_used(&ring, &(uint32_t){0}, &(uint32_t){0}))
        ;
    UT_REQUIRE(simple_request(8, 4, 2) != NULL);
    UT_TRUE(guest_ring_publish(&ring));
    /* A pop that is given back: the kick is wanted for that very buffer. */
    UT_EQ(virtqueue_pop(vq, &chain), 1);
    virtqueue_unpop(vq, &chain);
    UT_TRUE(virtqueue_want_kicks(vq));
    UT_EQ(le16toh(*guest_ring_avail_event(&ring)), 2);
    end();
}

/* Batches of any size around the wrap of indices, with any wish, against the plain definition. */
static void notifications_follow_used_event_as_the_model_does(void)
{
    uint32_t seed = 3;
    uint16_t used = 0;
    struct guest_buf buf;
    uint8_t *data;

    UT_REQUIRE(world(16, VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX));
    data = guest_alloc(&arena, 8, 1);
    UT_REQUIRE(data != NULL);
    buf = (struct guest_buf){address_of(data), 8, true};
    for (unsigned step = 0; step < 40000; step++) {
        unsigned batch = 1 + next_random(&seed) % 16;
        uint16_t event = (uint16_t)(used + next_random(&seed) % 40 - 12);
        bool want = false;
        struct vq_chain chain;

        if (step % 7 == 0)
            event = (uint16_t)next_random(&seed);
        ring.avail[0] = htole16(next_random(&seed) % 2); /* ignored (virtio 1.3, 2.7.7.2) */
        *guest_ring_used_event(&ring) = htole16(event);
        for (unsigned i = 0; i < batch; i++)
            UT_REQUIRE(guest_ring_add(&ring, &buf, 1, 1) >= 0);
        guest_ring_publish(&ring);
        for (unsigned i = 0; i < batch; i++) {
            UT_REQUIRE(virtqueue_pop(vq, &chain) == 1);
            virtqueue_push(vq, &chain, 0);
            want |= used++ == event; /* the element at index used_event is written */
        }
        UT_REQUIRE(virtqueue_publish(vq) == want);
        while (guest_ring_used(&ring, &(uint32_t){0}, &(uint32_t){0}))
            ;
    }
    end();
}

static void notifications_are_counted(void)
{
    struct virtqueue_stats stats;
    struct vq_chain chain;

    UT_REQUIRE(world(8, VIRTIO_F_VERSION_1));
    for (unsigned i = 0; i < 4; i++) {
        UT_REQUIRE(simple_request(8, 4, 2) != NULL);
        guest_ring_publish(&ring);
        guest_ring_want_interrupts(&ring, i > 0);
        UT_EQ(virtqueue_pop(vq, &chain), 1);
        virtqueue_push(vq, &chain, 0);
        virtqueue_publish(vq);
        UT_TRUE(guest_ring_used(&ring, &(uint32_t){0}, &(uint32_t){0}));
    }
    virtqueue_get_stats(vq, &stats);
    UT_EQ(stats.notifications, 3);
    UT_EQ(stats.used, 4);
    UT_EQ(stats.avail_seen, 4);
    end();
}

static const struct ut_case cases[] = {
    UT_CASE(bad_configurations_are_refused),
    UT_CASE(a_request_goes_through),
    UT_CASE(used_length_never_exceeds_the_writable_part),
    UT_CASE(an_unpopped_chain_comes_again),
    UT_CASE(indices_wrap_at_65536_for_every_size),
    UT_CASE(every_framing_gives_the_same_bytes),
    UT_CASE(longest_chains_are_taken),
    UT_CASE(every_violation_breaks_the_queue_for_good),
    UT_CASE(index_that_moves_within_a_batch_breaks_the_queue),
    UT_CASE(buffers_that_are_not_granted_break_the_queue_when_touched),
    UT_CASE(a_host_that_cannot_reach_a_buffer_is_told_apart),
    UT_CASE(write_flag_of_a_table_is_ignored),
    UT_CASE(a_chain_of_empty_descriptors_is_a_chain),
    UT_CASE(rewriting_descriptors_after_pop_has_no_effect),
    UT_CASE(a_table_is_used_as_it_was_copied),
    UT_CASE(a_guest_that_scribbles_while_we_walk_does_no_harm),
    UT_CASE(no_interrupt_flag_is_honoured),
    UT_CASE(kicks_are_suppressed_by_flag_without_event_index),
    UT_CASE(kicks_are_asked_for_by_event_index),
    UT_CASE(notifications_follow_used_event_as_the_model_does),
    UT_CASE(notifications_are_counted),
};

int main(int argc, char **argv)
{
    return ut_main(argc, argv, "virtqueue", cases, ARRAY_SIZE(cases));
}
