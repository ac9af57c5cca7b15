/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Virtqueues against a guest driver written from the specification: every framing, wrap-around,
 * notifications against a model, and every way to break a ring. The hostile guest has the ring
 * mapped and writes where it likes. What is true of any virtqueue is tested on both layouts, here;
 * what only a packed ring has is in test_virtqueue_packed.c.
 */
#include <config.h>

#include "backend/virtio/virtqueue.h"

#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <string.h>
#include <time.h>

#include "tests/support/ring_attacks.h"
#include "tests/support/ring_world.h"
#include "tests/support/ut.h"

static void bad_configurations_are_refused(void)
{
    const struct {
        struct virtqueue_config config;
        int want;
    } cases[] = {
        {{0, RW_BASE, RW_BASE + 4096, RW_BASE + 8192, 0}, -EINVAL},
        {{3, RW_BASE, RW_BASE + 4096, RW_BASE + 8192, 0}, -EINVAL},
        {{2048, RW_BASE, RW_BASE + 65536, RW_BASE + 131072, 0}, -EINVAL},
        {{UINT32_MAX, RW_BASE, RW_BASE + 65536, RW_BASE + 131072, 0}, -EINVAL},
        {{4, RW_BASE + 8, RW_BASE + 4096, RW_BASE + 8192, 0}, -EINVAL},
        {{4, RW_BASE, RW_BASE + 4097, RW_BASE + 8192, 0}, -EINVAL},
        {{4, RW_BASE, RW_BASE + 4096, RW_BASE + 8194, 0}, -EINVAL},
        {{4, UINT64_MAX - 15, RW_BASE + 4096, RW_BASE + 8192, 0}, -EINVAL},
        {{4, RW_BASE, UINT64_MAX - 1, RW_BASE + 8192, 0}, -EINVAL},
        {{4, RW_BASE, RW_BASE + 4096, UINT64_MAX - 3, 0}, -EINVAL},
        {{4, RW_OUTSIDE, RW_BASE + 4096, RW_BASE + 8192, 0}, -EFAULT},
        {{4, RW_BASE, RW_OUTSIDE, RW_BASE + 8192, 0}, -EFAULT},
        {{4, RW_BASE, RW_BASE + 4096, RW_OUTSIDE, 0}, -EFAULT},
        {{4, RW_BASE, RW_BASE + 4096, RW_RO_BASE, 0}, -EFAULT},
        {{4, RW_BASE, RW_BASE + 4096, RW_BASE + (RW_PAGES * 4096 - 36), 0}, -EFAULT},
        {{4, RW_RO_BASE, RW_RO_BASE + 4096, RW_BASE + 8192, 0}, 0},
    };

    UT_REQUIRE(rw_open_on(&fake_grants_ops, false));
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        UT_EQ(virtqueue_new(&rw.vq, rw.mem, &cases[i].config), cases[i].want);
        UT_EQ(fake_grants_live_maps(rw.grants), cases[i].want ? 0 : 3);
        rw.vq = virtqueue_free(rw.vq);
        UT_EQ(fake_grants_live_maps(rw.grants), 0);
    }
    for (size_t n = 1; n <= 3; n++) {
        fake_grants_fail_map(rw.grants, n, -ENOMEM);
        UT_EQ(virtqueue_new(&rw.vq, rw.mem, &cases[ARRAY_SIZE(cases) - 1].config), -ENOMEM);
        UT_EQ(fake_grants_live_maps(rw.grants), 0);
    }
    UT_TRUE(virtqueue_free(NULL) == NULL);
    rw_close();
}

static void a_request_goes_through(void)
{
    struct vq_chain chain;
    uint8_t *data, buf[64] = {0};
    uint32_t head, len;

    UT_REQUIRE(rw_open(8, VIRTIO_F_VERSION_1));
    UT_EQ(virtqueue_pop(rw.vq, &chain), 0);
    UT_FALSE(virtqueue_has_work(rw.vq));
    guest_ring_rotate_free(&rw.ring, 5);
    data = rw_request(40, 4, 2);
    UT_REQUIRE(data != NULL);
    memset(data, 0x77, 40);
    UT_FALSE(virtqueue_has_work(rw.vq)); /* not published */
    UT_TRUE(guest_ring_publish(&rw.ring));
    UT_TRUE(virtqueue_has_work(rw.vq));
    UT_EQ(virtqueue_pop(rw.vq, &chain), 1);
    UT_EQ(chain.head, 5);
    UT_EQ(chain.n_readable, 1);
    UT_EQ(chain.n_writable, 1);
    UT_EQ(chain.readable, 40);
    UT_EQ(chain.writable, 4);
    UT_EQ(virtqueue_read(rw.vq, &chain, buf, sizeof(buf)), 40);
    UT_EQ(buf[39], 0x77);
    UT_EQ(buf[40], 0);
    UT_EQ(virtqueue_read(rw.vq, &chain, buf, 0), 0);
    UT_EQ(virtqueue_write(rw.vq, &chain, "\1\2\3\4\5", 5), -EPROTO); /* longer than it is */
    UT_FALSE(virtqueue_broken(rw.vq));
    UT_EQ(virtqueue_write(rw.vq, &chain, "\1\2\3\4", 4), 0);
    UT_EQ(data[40], 1);
    UT_EQ(data[43], 4);
    virtqueue_push(rw.vq, &chain, 4);
    UT_FALSE(guest_ring_used(&rw.ring, &head, &len));
    UT_TRUE(virtqueue_publish(rw.vq));
    UT_FALSE(virtqueue_publish(rw.vq)); /* nothing new */
    UT_REQUIRE(guest_ring_used(&rw.ring, &head, &len));
    UT_EQ(head, 5);
    UT_EQ(len, 4);
    UT_FALSE(guest_ring_used(&rw.ring, &head, &len));
    UT_EQ(virtqueue_pop(rw.vq, &chain), 0);
    rw_close();
}

static void used_length_never_exceeds_the_writable_part(void)
{
    struct vq_chain chain;
    uint32_t head, len = 0;

    UT_REQUIRE(rw_open(4, VIRTIO_F_VERSION_1));
    UT_REQUIRE(rw_request(8, 4, 2) != NULL);
    guest_ring_publish(&rw.ring);
    UT_EQ(virtqueue_pop(rw.vq, &chain), 1);
    virtqueue_push(rw.vq, &chain, UINT32_MAX);
    virtqueue_push(rw.vq, &chain, 4); /* no longer ours: nothing happens */
    virtqueue_publish(rw.vq);
    UT_TRUE(guest_ring_used(&rw.ring, &head, &len));
    UT_EQ(len, 4);
    UT_FALSE(guest_ring_used(&rw.ring, &head, &len));
    rw_close();
}

static void an_unpopped_chain_comes_again(void)
{
    struct vq_chain chain, again;
    struct virtqueue_stats stats;

    UT_REQUIRE(rw_open(4, VIRTIO_F_VERSION_1));
    UT_REQUIRE(rw_request(8, 4, 2) != NULL);
    UT_REQUIRE(rw_request(9, 4, 2) != NULL);
    guest_ring_publish(&rw.ring);
    UT_EQ(virtqueue_pop(rw.vq, &chain), 1);
    virtqueue_unpop(rw.vq, &chain);
    virtqueue_unpop(rw.vq, &chain); /* twice: nothing happens */
    UT_EQ(virtqueue_read(rw.vq, &chain, &again, 1), -EPROTO);
    UT_TRUE(virtqueue_has_work(rw.vq));
    virtqueue_get_stats(rw.vq, &stats);
    UT_EQ(stats.popped, 0);
    UT_EQ(stats.avail_seen, rw.layout ? 0x8000 : 0);
    UT_EQ(virtqueue_pop(rw.vq, &again), 1);
    UT_EQ(again.readable, 8);
    UT_EQ(virtqueue_pop(rw.vq, &again), 1); /* the one in flight */
    UT_EQ(again.readable, 8);
    virtqueue_push(rw.vq, &again, 0);
    UT_EQ(virtqueue_pop(rw.vq, &again), 1);
    UT_EQ(again.readable, 9);
    virtqueue_push(rw.vq, &again, 0);
    virtqueue_get_stats(rw.vq, &stats);
    UT_EQ(stats.popped, 2);
    UT_EQ(stats.pushed, 2);
    UT_EQ(stats.used, rw.layout ? 0 : 2); /* packed: four slots of four, so the wrap counter is 0 */
    UT_EQ(stats.size, 4);
    rw_close();
}

/* However often, beside one that stays in flight. */
static void unpopping_uses_nothing_up(void)
{
    struct vq_chain first, chain;

    UT_REQUIRE(rw_open(4, VIRTIO_F_VERSION_1));
    UT_REQUIRE(rw_request(8, 4, 2) != NULL);
    UT_REQUIRE(rw_request(9, 4, 2) != NULL);
    guest_ring_publish(&rw.ring);
    UT_EQ(virtqueue_pop_ahead(rw.vq, &first), 1);
    for (unsigned i = 0; i < 10000; i++) {
        UT_REQUIRE(virtqueue_pop_ahead(rw.vq, &chain) == 1);
        UT_REQUIRE(chain.readable == 9);
        virtqueue_unpop(rw.vq, &chain);
    }
    rw_close();
}

/* A chain that was given back is nobody's, also when another has its place. */
static void a_chain_that_is_done_is_refused(void)
{
    struct vq_chain old, chain;
    uint8_t *data[2], byte = 1;

    UT_REQUIRE(rw_open(8, VIRTIO_F_VERSION_1));
    for (unsigned i = 0; i < 2; i++) {
        data[i] = rw_request(8, 4, 2);
        UT_REQUIRE(data[i] != NULL);
    }
    guest_ring_publish(&rw.ring);
    UT_EQ(virtqueue_pop(rw.vq, &old), 1);
    virtqueue_push(rw.vq, &old, 0);
    for (unsigned i = 0; i < 2; i++) {
        if (i == 1)
            UT_EQ(virtqueue_pop(rw.vq, &chain), 1);
        UT_EQ(virtqueue_read(rw.vq, &old, &byte, 1), -EPROTO);
        UT_EQ(virtqueue_write(rw.vq, &old, &byte, 1), -EPROTO);
        virtqueue_want(rw.vq, &old, 8, 4);
        virtqueue_push(rw.vq, &old, 1);
        virtqueue_unpop(rw.vq, &old);
    }
    UT_EQ(chain.place, old.place);
    UT_FALSE(virtqueue_broken(rw.vq));
    UT_EQ(virtqueue_read(rw.vq, &chain, &byte, 1), 1); /* it is still in flight */
    virtqueue_push(rw.vq, &chain, 0);
    UT_EQ(virtqueue_pop(rw.vq, &chain), 0);
    UT_EQ(data[0][8], 0);
    UT_EQ(data[1][8], 0);
    rw_close();
}

static void chains_taken_ahead_are_used_in_order(void)
{
    struct vq_chain chain[5], again;
    uint16_t behind[4];
    uint8_t *data[4], byte;
    uint32_t head, len;

    UT_REQUIRE(rw_open(16, VIRTIO_F_VERSION_1));
    for (uint8_t i = 0; i < 4; i++) {
        data[i] = rw_request(10u + i, 4, 2);
        UT_REQUIRE(data[i] != NULL);
        data[i][0] = i;
    }
    guest_ring_publish(&rw.ring);
    for (unsigned i = 0; i < 4; i++) {
        UT_EQ(virtqueue_pop_ahead(rw.vq, &chain[i]), 1);
        UT_EQ(chain[i].readable, 10 + i);
    }
    UT_EQ(virtqueue_pop_ahead(rw.vq, &chain[4]), 0);
    UT_EQ(virtqueue_pop(rw.vq, &again), 1); /* the oldest */
    UT_EQ(again.readable, 10);
    /* Each can be read and written at any time, but only the oldest is pushed. */
    for (unsigned i = 4; i-- > 0;) {
        UT_EQ(virtqueue_read(rw.vq, &chain[i], &byte, 1), 1);
        UT_EQ(byte, i);
        UT_EQ(virtqueue_write(rw.vq, &chain[i], &byte, 1), 0);
        UT_EQ(data[i][10 + i], i);
    }
    virtqueue_push(rw.vq, &chain[1], 1);
    virtqueue_unpop(rw.vq, &chain[1]); /* nor is it the newest */
    for (unsigned i = 0; i < 3; i++) {
        behind[i] = virtqueue_position(rw.vq);
        virtqueue_push(rw.vq, &chain[i], 1 + i);
        UT_EQ(virtqueue_read(rw.vq, &chain[i], &byte, 1), -EPROTO);
    }
    virtqueue_unpop(rw.vq, &chain[3]);
    UT_EQ(virtqueue_position(rw.vq), behind[2]);
    UT_EQ(virtqueue_pop_ahead(rw.vq, &chain[3]), 1);
    UT_EQ(chain[3].readable, 13);
    /* As far as one at a time would have come. */
    UT_EQ(behind[0], rw.layout ? 0x8002 : 1);
    UT_EQ(behind[1], rw.layout ? 0x8004 : 2);
    UT_EQ(behind[2], rw.layout ? 0x8006 : 3);
    UT_EQ(virtqueue_position(rw.vq), rw.layout ? 0x8008 : 4);
    virtqueue_publish(rw.vq);
    for (uint32_t i = 0; i < 3; i++) {
        UT_TRUE(guest_ring_used(&rw.ring, &head, &len));
        UT_EQ(len, 1 + i);
    }
    UT_FALSE(guest_ring_used(&rw.ring, &head, &len));
    rw_close();
}

/* No more than there is room for, and all of them after some pushes. */
static void as_many_as_there_is_room_for_are_taken_ahead(void)
{
    struct guest_buf bufs[250];
    struct vq_chain chain;
    unsigned taken = 0;
    uint8_t *data;

    UT_REQUIRE(rw_open(256, RW_INDIRECT));
    data = guest_alloc(&rw.arena, 250, 1);
    UT_REQUIRE(data != NULL);
    for (size_t i = 0; i < ARRAY_SIZE(bufs); i++)
        bufs[i] = (struct guest_buf){rw_address(data + i), 1, false};
    for (unsigned i = 0; i < 100; i++)
        UT_TRUE(guest_ring_add(&rw.ring, bufs, 1, 1) >= 0);
    UT_TRUE(guest_ring_add(&rw.ring, bufs, 250, 0) >= 0);
    UT_TRUE(guest_ring_add(&rw.ring, bufs, 1, 1) >= 0);
    guest_ring_publish(&rw.ring);
    while (taken < 102) {
        unsigned some = 0;

        while (virtqueue_pop_ahead(rw.vq, &chain) == 1)
            some++;
        UT_REQUIRE(some > 0);
        UT_TRUE(taken ? some <= VIRTQUEUE_AHEAD : some == VIRTQUEUE_AHEAD);
        /* One long chain ends a batch. */
        UT_EQ(chain.readable, taken + some == 101 ? 250 : 1);
        taken += some;
        for (; some > 0; some--) {
            UT_EQ(virtqueue_pop(rw.vq, &chain), 1);
            virtqueue_push(rw.vq, &chain, 0);
        }
    }
    UT_EQ(virtqueue_pop(rw.vq, &chain), 0);
    UT_STR(virtqueue_broken_why(rw.vq), "");
    rw_close();
}

/* Of long chains there are few at a time: their pieces have a bound. */
static void long_chains_are_taken_few_at_a_time(void)
{
    struct guest_buf bufs[250];
    struct vq_chain chain;

    UT_REQUIRE(rw_open(256, RW_INDIRECT));
    for (size_t i = 0; i < ARRAY_SIZE(bufs); i++)
        bufs[i] = (struct guest_buf){rw_memory() + i, 1, false};
    for (unsigned i = 0; i < 10; i++)
        UT_TRUE(guest_ring_add(&rw.ring, bufs, 250, 0) >= 0);
    guest_ring_publish(&rw.ring);
    for (unsigned round = 0; round < 5; round++) {
        for (unsigned i = 0; i < 3; i++)
            UT_EQ(virtqueue_pop_ahead(rw.vq, &chain), i < 2);
        for (unsigned i = 0; i < 2; i++) {
            UT_EQ(virtqueue_pop(rw.vq, &chain), 1);
            UT_EQ(chain.readable, 250);
            virtqueue_push(rw.vq, &chain, 0);
        }
    }
    UT_EQ(virtqueue_pop(rw.vq, &chain), 0);
    rw_close();
}

/* What is behind a chain that breaks the queue is gone with it; what is before it is answered. */
static void a_chain_that_breaks_the_queue_leaves_those_before_it(void)
{
    struct vq_chain chain[4];
    struct guest_buf bad = {RW_OUTSIDE, 8, false};
    uint32_t head, len;
    uint8_t byte = 7;

    UT_REQUIRE(rw_open_on(&fake_grants_ops, true) && rw_start(16, VIRTIO_F_VERSION_1));
    for (unsigned i = 0; i < 3; i++)
        UT_REQUIRE(rw_request(8, 4, 2) != NULL);
    UT_REQUIRE(guest_ring_add(&rw.ring, &bad, 1, 1) >= 0);
    guest_ring_publish(&rw.ring);
    for (unsigned i = 0; i < 3; i++)
        UT_EQ(virtqueue_pop_ahead(rw.vq, &chain[i]), 1);
    UT_EQ(virtqueue_pop_ahead(rw.vq, &chain[3]), -EPROTO);
    UT_TRUE(virtqueue_broken(rw.vq));
    UT_EQ(virtqueue_pop(rw.vq, &chain[3]), -EPROTO);
    UT_EQ(virtqueue_read(rw.vq, &chain[2], &byte, 1), 1);
    fake_grants_fail_copy(rw.grants, 1, -EFAULT);
    UT_EQ(virtqueue_read(rw.vq, &chain[1], &byte, 1), -EPROTO);
    UT_EQ(virtqueue_read(rw.vq, &chain[2], &byte, 1), -EPROTO);
    UT_EQ(virtqueue_write(rw.vq, &chain[0], &byte, 1), 0);
    virtqueue_push(rw.vq, &chain[0], 1);
    virtqueue_push(rw.vq, &chain[1], 1); /* not in flight: nothing happens */
    virtqueue_publish(rw.vq);
    UT_TRUE(guest_ring_used(&rw.ring, &head, &len));
    UT_EQ(len, 1);
    UT_FALSE(guest_ring_used(&rw.ring, &head, &len));
    rw_close();
}

/* Serves one request of a single descriptor; false if anything is not as expected. */
static bool one_round(const struct guest_buf *buf)
{
    struct vq_chain chain;
    uint32_t head = UINT32_MAX, len = 0;
    int added = guest_ring_add(&rw.ring, buf, 1, 1);

    guest_ring_publish(&rw.ring);
    if (added < 0 || virtqueue_pop(rw.vq, &chain) != 1 || chain.head != added ||
        virtqueue_write(rw.vq, &chain, "xyz", 3) != 0)
        return false;
    virtqueue_push(rw.vq, &chain, 3);
    virtqueue_publish(rw.vq);
    return guest_ring_used(&rw.ring, &head, &len) && head == (uint32_t)added && len == 3;
}

static void indices_and_wrap_counters_go_round_for_every_size(void)
{
    static const uint32_t split_sizes[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024};
    static const uint32_t packed_sizes[] = {1, 2, 3, 4, 7, 64, 1000, 1023, 1024};
    const uint32_t *sizes = rw.layout ? packed_sizes : split_sizes;
    size_t n_sizes = rw.layout ? ARRAY_SIZE(packed_sizes) : ARRAY_SIZE(split_sizes);

    for (size_t k = 0; k < n_sizes; k++) {
        uint32_t size = sizes[k];
        uint8_t *data;
        struct guest_buf buf;
        struct vq_chain chain;
        unsigned i;

        UT_REQUIRE(rw_open(size, VIRTIO_F_VERSION_1));
        data = guest_alloc(&rw.arena, 8, 1);
        UT_REQUIRE(data != NULL);
        buf = (struct guest_buf){rw_address(data), 8, true};
        for (i = 0; i < 65536 + 3 * size && one_round(&buf); i++)
            ;
        UT_EQ(i, 65536 + 3 * size);
        /* And a full ring at once. */
        for (i = 0; i < size; i++)
            UT_TRUE(guest_ring_add(&rw.ring, &buf, 1, 1) >= 0);
        guest_ring_publish(&rw.ring);
        for (i = 0; virtqueue_pop(rw.vq, &chain) == 1; i++)
            virtqueue_push(rw.vq, &chain, 1);
        UT_EQ(i, size);
        UT_STR(virtqueue_broken_why(rw.vq), "");
        rw_close();
    }
}

/* Cuts `len` bytes at `data` into up to `max` pieces, empty ones among them. */
static size_t cut(struct guest_buf *bufs, size_t max, uint8_t *const data, uint32_t len, bool write,
                  uint32_t *seed)
{
    size_t n = 0;
    uint32_t at = 0;

    while (n + 1 < max && at < len) {
        uint32_t piece = rw_random(seed) % (len - at + 1);

        bufs[n++] = (struct guest_buf){rw_address(data) + at, piece, write};
        at += piece;
        if (rw_random(seed) % 4 == 0)
            break;
    }
    if (at < len)
        bufs[n++] = (struct guest_buf){rw_address(data) + at, len - at, write};
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
        data[i] = (uint8_t)rw_random(seed);
    n = cut(bufs, 12, data, READABLE, false, seed);
    n += cut(&bufs[n], 12, data + READABLE, WRITABLE, true, seed);
    direct = rw_random(seed) % 3 == 0 ? n : rw_random(seed) % (n + 1);
    guest_ring_rotate_free(&rw.ring, rw_random(seed) % 32);
    UT_REQUIRE(guest_ring_add(&rw.ring, bufs, n, direct) >= 0);
    guest_ring_publish(&rw.ring);
    UT_REQUIRE(virtqueue_pop(rw.vq, &chain) == 1);
    UT_REQUIRE(chain.readable == READABLE && chain.writable == WRITABLE);
    UT_REQUIRE((size_t)chain.n_readable + chain.n_writable == n);
    UT_REQUIRE(virtqueue_read(rw.vq, &chain, got, sizeof(got)) == READABLE);
    UT_REQUIRE(memcmp(got, data, READABLE) == 0);
    for (size_t i = 0; i < WRITABLE; i++)
        answer[i] = (uint8_t)rw_random(seed);
    len = rw_random(seed) % (WRITABLE + 1);
    memset(data + READABLE, 0, WRITABLE + 1);
    UT_REQUIRE(virtqueue_write(rw.vq, &chain, answer, len) == 0);
    UT_REQUIRE(memcmp(data, got, READABLE) == 0);
    UT_REQUIRE(memcmp(data + READABLE, answer, len) == 0);
    UT_REQUIRE(data[READABLE + len] == 0);
    virtqueue_push(rw.vq, &chain, len);
    virtqueue_publish(rw.vq);
    UT_REQUIRE(guest_ring_used(&rw.ring, &head, &len));
}

/* virtio 1.3, 2.7.4.1: no assumption about how a message is cut into descriptors. */
static void every_framing_gives_the_same_bytes(void)
{
    static const struct grant_ops *const ops[] = {&fake_grants_ops, &fake_grants_ops_no_copy};

    for (unsigned world_no = 0; world_no < 4; world_no++) {
        uint32_t seed = world_no + 1;
        uint8_t *data;

        UT_REQUIRE(rw_open_on(ops[world_no % 2], world_no / 2));
        UT_REQUIRE(rw_start(32, RW_INDIRECT));
        data = guest_alloc(&rw.arena, GRANT_PAGE_SIZE + 200, GRANT_PAGE_SIZE);
        UT_REQUIRE(data != NULL);
        for (unsigned i = 0; i < 3000; i++)
            framing_round(data + GRANT_PAGE_SIZE - 100 + i % 120, &seed);
        UT_STR(virtqueue_broken_why(rw.vq), "");
        if (world_no == 2)
            UT_TRUE(fake_grants_copy_calls(rw.grants) > 0);
        rw_close();
    }
}

static void longest_chains_are_taken(void)
{
    struct guest_buf bufs[32];
    struct vq_chain chain;
    uint8_t *data;

    UT_REQUIRE(rw_open(16, RW_INDIRECT));
    data = guest_alloc(&rw.arena, 32, 1);
    UT_REQUIRE(data != NULL);
    for (size_t i = 0; i < 32; i++)
        bufs[i] = (struct guest_buf){rw_address(data + i), 1, i >= 20};
    UT_TRUE(guest_ring_add(&rw.ring, bufs, 16, 16) >= 0); /* all descriptors */
    guest_ring_publish(&rw.ring);
    UT_EQ(virtqueue_pop(rw.vq, &chain), 1);
    UT_EQ(chain.n_readable, 16);
    virtqueue_push(rw.vq, &chain, 0);
    virtqueue_publish(rw.vq);
    UT_TRUE(guest_ring_used(&rw.ring, &(uint32_t){0}, &(uint32_t){0}));
    if (rw.layout) { /* knows no mix */
        UT_TRUE(guest_ring_add(&rw.ring, &bufs[15], 16, 0) >= 0);
    } else {
        UT_TRUE(guest_ring_add(&rw.ring, bufs, 31, 15) >= 0); /* 15 direct, 16 in the table */
    }
    guest_ring_publish(&rw.ring);
    UT_EQ(virtqueue_pop(rw.vq, &chain), 1);
    UT_EQ(chain.n_readable + chain.n_writable, rw.layout ? 16 : 31);
    UT_EQ(chain.writable, 11);
    rw_close();
}

/* Hostile rings (tests/support/ring_attacks.h): what only a split one has. */
static void head_is_size(void)
{
    rw.ring.avail[2] = htole16(8);
}

static void head_is_huge(void)
{
    rw.ring.avail[2] = htole16(0xffff);
}

static void index_is_far_ahead(void)
{
    rw.ring.avail[1] = htole16(9);
}

static void index_went_back(void)
{
    rw.ring.avail[1] = htole16(0xffff);
}

static void next_is_size(void)
{
    rw.ring.desc[0].next = htole16(8);
}

static void next_is_huge(void)
{
    rw.ring.desc[0].next = htole16(0xffff);
}

static void loop_of_one(void)
{
    rw_desc(0, rw_memory(), 8, RW_F_NEXT, 0);
}

static void loop_of_all(void)
{
    for (uint16_t i = 0; i < 8; i++)
        rw_desc(i, rw_memory(), 8, RW_F_NEXT, (i + 1) % 8);
}

static void loop_of_empty_ones(void)
{
    rw_desc(0, RW_OUTSIDE, 0, RW_F_NEXT, 1);
    rw_desc(1, RW_OUTSIDE, 0, RW_F_NEXT, 0);
}

static void table_nested(void)
{
    rw_table(32, 0);
    rw_entry(0, rw_address(rw.ring.tables), 32, RW_F_TABLE, 0);
}

static void table_next_outside(void)
{
    rw_table(32, 0); /* the second entry goes on to the third, which is not in the table */
}

static void table_loop(void)
{
    rw_table(32, 0);
    rw_entry(1, rw_memory(), 8, RW_F_NEXT, 0);
}

static void table_readable_after_direct_writable(void)
{
    rw_table(32, 0);
    rw.ring.desc[3] = rw.ring.desc[0];
    rw_desc(0, rw_memory(), 8, RW_F_NEXT | RW_F_WRITE, 3);
}

static void table_bytes_after_direct_ones(void)
{
    rw_table(32, 0);
    rw.ring.desc[3] = rw.ring.desc[0];
    rw_desc(0, rw_memory(), 4096, RW_F_NEXT, 3);
    rw_entry(0, rw_memory(), 0xfffff000, 0, 0);
}

static const struct rw_attack attacks[] = {
    {"head outside the descriptor table", head_is_size, VIRTIO_F_VERSION_1},
    {"head outside the descriptor table", head_is_huge, VIRTIO_F_VERSION_1},
    {"available index too far ahead", index_is_far_ahead, VIRTIO_F_VERSION_1},
    {"available index too far ahead", index_went_back, VIRTIO_F_VERSION_1},
    {"next outside the descriptor table", next_is_size, VIRTIO_F_VERSION_1},
    {"next outside the descriptor table", next_is_huge, VIRTIO_F_VERSION_1},
    {"chain longer than the queue, or a loop", loop_of_one, VIRTIO_F_VERSION_1},
    {"chain longer than the queue, or a loop", loop_of_all, VIRTIO_F_VERSION_1},
    {"chain longer than the queue, or a loop", loop_of_empty_ones, VIRTIO_F_VERSION_1},
    {"indirect table in an indirect table", table_nested, RW_INDIRECT},
    {"next outside an indirect table", table_next_outside, RW_INDIRECT},
    {"loop in an indirect table", table_loop, RW_INDIRECT},
    {"readable descriptor after a writable one", table_readable_after_direct_writable, RW_INDIRECT},
    {"chain of more than 2^32 - 1 bytes", table_bytes_after_direct_ones, RW_INDIRECT},
};

static void every_violation_breaks_the_queue_for_good(void)
{
    rw_attack_common();
}

static void every_violation_of_a_split_ring_breaks_it_for_good(void)
{
    rw_attack_each(attacks, ARRAY_SIZE(attacks));
}

/* While a batch is not published, its buffers still count: the index may not run on, or back. */
static void index_that_moves_within_a_batch_breaks_the_queue(void)
{
    static const uint16_t bad[] = {2, 9, 0xffff, 0x8000};

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct vq_chain chain;

        UT_REQUIRE(rw_open(8, VIRTIO_F_VERSION_1));
        for (unsigned k = 0; k < 3; k++)
            UT_REQUIRE(rw_request(8, 4, 2) != NULL);
        guest_ring_publish(&rw.ring);
        for (unsigned k = 0; k < 3; k++) {
            UT_REQUIRE(virtqueue_pop(rw.vq, &chain) == 1);
            virtqueue_push(rw.vq, &chain, 4);
        }
        rw.ring.avail[1] = htole16(bad[i]);
        UT_EQ(virtqueue_pop(rw.vq, &chain), -EPROTO);
        UT_STR(virtqueue_broken_why(rw.vq), "available index too far ahead");
        rw_close();
    }
}

static void buffers_that_are_not_granted_break_the_queue_when_touched(void)
{
    struct guest_buf bufs[] = {
        {GMEM_GRANT_BIT | (77ull << GRANT_PAGE_SHIFT), 8, false},
        {GMEM_GRANT_BIT | ((uint64_t)RW_RO_REF << GRANT_PAGE_SHIFT), 8, true},
    };
    struct vq_chain chain;
    uint8_t buf[8] = {0};

    for (size_t i = 0; i < 2; i++) {
        UT_REQUIRE(rw_open(8, VIRTIO_F_VERSION_1));
        UT_REQUIRE(guest_ring_add(&rw.ring, &bufs[i], 1, 1) >= 0);
        guest_ring_publish(&rw.ring);
        UT_EQ(virtqueue_pop(rw.vq, &chain), 1); /* could be memory: only the host knows */
        UT_EQ(i ? virtqueue_write(rw.vq, &chain, buf, 8) : virtqueue_read(rw.vq, &chain, buf, 8),
              -EPROTO);
        UT_STR(virtqueue_broken_why(rw.vq), "buffer that is not the guest's memory");
        virtqueue_push(rw.vq, &chain, 8);
        UT_FALSE(virtqueue_publish(rw.vq));
        rw_close();
    }
}

/* A later piece that could be reached does not make up for the one that could not. */
static void every_piece_of_a_buffer_has_to_be_reached(void)
{
    struct guest_buf bufs[] = {
        {GMEM_GRANT_BIT | (77ull << GRANT_PAGE_SHIFT), 8, false},
        {0, 8, false},
    };
    struct vq_chain chain;
    uint8_t buf[16];

    for (size_t bad = 0; bad < 2; bad++) {
        UT_REQUIRE(rw_open(8, VIRTIO_F_VERSION_1));
        bufs[!bad].addr = rw_memory();
        bufs[bad].addr = GMEM_GRANT_BIT | (77ull << GRANT_PAGE_SHIFT);
        UT_REQUIRE(guest_ring_add(&rw.ring, bufs, 2, 2) >= 0);
        guest_ring_publish(&rw.ring);
        UT_EQ(virtqueue_pop(rw.vq, &chain), 1);
        UT_EQ(virtqueue_read(rw.vq, &chain, buf, 16), -EPROTO);
        UT_STR(virtqueue_broken_why(rw.vq), "buffer that is not the guest's memory");
        rw_close();
    }
}

/* Pieces that do not lie one behind the other, of any length, and one that is empty. */
static void scattered_pieces_are_put_together(void)
{
    static const char text[] = "abcdefghijklmnopqrstuvwxyz";
    static const uint32_t lens[] = {3, 0, 1, 9, 13};
    struct guest_buf bufs[2 * ARRAY_SIZE(lens)];
    struct vq_chain chain;
    char got[27] = "";
    size_t at = 0;

    UT_REQUIRE(rw_open(16, VIRTIO_F_VERSION_1));
    for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
        size_t offset = 64 * GRANT_PAGE_SIZE + (ARRAY_SIZE(lens) - i) * 100;

        bufs[i] = (struct guest_buf){rw_address(rw.arena.memory + offset), lens[i], false};
        bufs[ARRAY_SIZE(lens) + i] = (struct guest_buf){rw_address(rw.arena.memory + offset + 1000),
                                                        lens[i], true};
        memcpy(rw.arena.memory + offset, text + at, lens[i]);
        at += lens[i];
    }
    UT_REQUIRE(guest_ring_add(&rw.ring, bufs, ARRAY_SIZE(bufs), ARRAY_SIZE(bufs)) >= 0);
    guest_ring_publish(&rw.ring);
    UT_EQ(virtqueue_pop(rw.vq, &chain), 1);
    for (size_t n = 0; n <= 26; n++) { /* the beginning is read, never more */
        memset(got, 0, sizeof(got));
        UT_EQ(virtqueue_read(rw.vq, &chain, got, n), n);
        UT_TRUE(memcmp(got, text, n) == 0 && got[n] == 0);
    }
    UT_EQ(virtqueue_write(rw.vq, &chain, text, 26), 0);
    virtqueue_push(rw.vq, &chain, 26);
    at = 0;
    for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
        const uint8_t *piece = rw.arena.memory + 64 * GRANT_PAGE_SIZE +
                               (ARRAY_SIZE(lens) - i) * 100 + 1000;

        UT_TRUE(memcmp(piece, text + at, lens[i]) == 0);
        UT_EQ(piece[lens[i]], 0);
        at += lens[i];
    }
    rw_close();
}

/* What will be read and written is mapped by one call, and nothing else is. */
static void what_is_wanted_is_mapped_and_no_more(void)
{
    const uint64_t base = GMEM_GRANT_BIT | ((uint64_t)RW_REF << GRANT_PAGE_SHIFT);
    const uint64_t ro = GMEM_GRANT_BIT | ((uint64_t)RW_RO_REF << GRANT_PAGE_SHIFT);
    const struct guest_buf bufs[] = {
        {ro + 100 * GRANT_PAGE_SIZE, 50, false},  {ro + 102 * GRANT_PAGE_SIZE, 50, false},
        {ro + 104 * GRANT_PAGE_SIZE, 50, false},  {base + 106 * GRANT_PAGE_SIZE, 50, true},
        {base + 108 * GRANT_PAGE_SIZE, 50, true},
    };
    static const struct {
        size_t read, write;
        size_t pages[5]; /* of each buffer */
    } wants[] = {
        {60, 20, {1, 1, 0, 1, 0}},   {50, 51, {1, 0, 0, 1, 1}}, {9999, 9999, {1, 1, 1, 1, 1}},
        {150, 100, {1, 1, 1, 1, 1}}, {51, 0, {1, 1, 0, 0, 0}},  {0, 1, {0, 0, 0, 1, 0}},
    };
    struct vq_chain chain;
    uint8_t buf[150];

    UT_REQUIRE(rw_open_on(&fake_grants_ops_many, false) && rw_start(8, VIRTIO_F_VERSION_1));
    UT_REQUIRE(guest_ring_add(&rw.ring, bufs, 5, 5) >= 0);
    guest_ring_publish(&rw.ring);
    UT_EQ(virtqueue_pop(rw.vq, &chain), 1);
    for (size_t i = 0; i < ARRAY_SIZE(wants); i++) {
        size_t calls;

        gmem_begin(rw.mem);
        virtqueue_want(rw.vq, &chain, wants[i].read, wants[i].write);
        calls = fake_grants_calls(rw.grants);
        gmem_fetch(rw.mem);
        UT_EQ(fake_grants_calls(rw.grants), calls + 1);
        for (unsigned k = 0; k < 5; k++)
            UT_EQ(fake_grants_live(rw.grants, (k < 3 ? RW_RO_REF : RW_REF) + 100 + 2 * k),
                  wants[i].pages[k]);
        if (wants[i].read <= 150 && wants[i].write <= 100) {
            UT_EQ(virtqueue_read(rw.vq, &chain, buf, wants[i].read), wants[i].read);
            UT_EQ(virtqueue_write(rw.vq, &chain, buf, wants[i].write), 0);
        }
        UT_EQ(fake_grants_calls(rw.grants), calls + 1);
        gmem_end(rw.mem);
    }
    virtqueue_push(rw.vq, &chain, 0);
    rw_close();
}

/* As long as its length can be said, a chain is a chain; nobody gets it in one piece. */
static void the_longest_chain_in_bytes_is_taken(void)
{
    static const struct gmem_run runs[] = {
        {.address = RW_BASE, .first_ref = RW_REF, .pages = RW_PAGES},
        {.address = 1ull << 40, .first_ref = RW_REF + RW_PAGES, .pages = 1u << 20},
    };
    struct guest_buf bufs[2] = {{.len = 16}, {1ull << 40, UINT32_MAX - 16, false}};
    struct vq_chain chain;
    uint8_t byte;

    UT_REQUIRE(rw_open(8, VIRTIO_F_VERSION_1));
    UT_EQ(gmem_set_map(rw.mem, runs, 2), 0);
    bufs[0].addr = rw_memory();
    UT_REQUIRE(guest_ring_add(&rw.ring, bufs, 2, 2) >= 0);
    guest_ring_publish(&rw.ring);
    UT_EQ(virtqueue_pop(rw.vq, &chain), 1);
    UT_EQ(chain.readable, UINT32_MAX);
    UT_EQ(virtqueue_read(rw.vq, &chain, &byte, 1), 1);
    UT_EQ(virtqueue_read(rw.vq, &chain, &byte, SIZE_MAX), -EPROTO); /* no int says how much */
    UT_FALSE(virtqueue_broken(rw.vq));
    virtqueue_push(rw.vq, &chain, 0);
    rw_close();
}

static void a_host_that_cannot_reach_a_buffer_is_told_apart(void)
{
    struct guest_buf buf = {GMEM_GRANT_BIT | ((uint64_t)RW_REF << GRANT_PAGE_SHIFT), 8, false};
    struct vq_chain chain;
    uint8_t byte;

    UT_REQUIRE(rw_open(8, VIRTIO_F_VERSION_1));
    UT_REQUIRE(guest_ring_add(&rw.ring, &buf, 1, 1) >= 0);
    guest_ring_publish(&rw.ring);
    UT_EQ(virtqueue_pop(rw.vq, &chain), 1);
    fake_grants_fail_copy(rw.grants, 1, -EIO);
    UT_EQ(virtqueue_read(rw.vq, &chain, &byte, 1), -EPROTO);
    UT_STR(virtqueue_broken_why(rw.vq), "buffer that the host could not reach");
    rw_close();
}

/* virtio 1.3, 2.7.5.3.2: WRITE on the descriptor of a table is ignored. */
static void write_flag_of_a_table_is_ignored(void)
{
    struct vq_chain chain;

    UT_REQUIRE(rw_open(8, RW_INDIRECT));
    UT_REQUIRE(rw_request(40, 4, 0) != NULL);
    rw.ring.desc[0].flags |= htole16(RW_F_WRITE);
    rw.ring.desc[0].addr = htole64(RW_RO_BASE +
                                   (guest_address(&rw.arena, rw.ring.tables) - RW_BASE));
    guest_ring_publish(&rw.ring);
    UT_EQ(virtqueue_pop(rw.vq, &chain), 1);
    UT_EQ(chain.n_readable, 1);
    UT_EQ(chain.n_writable, 1);
    rw_close();
}

static void a_chain_of_empty_descriptors_is_a_chain(void)
{
    struct guest_buf bufs[] = {{RW_OUTSIDE, 0, false}, {RW_OUTSIDE, 0, true}};
    struct vq_chain chain;
    uint8_t byte;

    UT_REQUIRE(rw_open(8, VIRTIO_F_VERSION_1));
    UT_REQUIRE(guest_ring_add(&rw.ring, bufs, 2, 2) >= 0);
    guest_ring_publish(&rw.ring);
    UT_EQ(virtqueue_pop(rw.vq, &chain), 1);
    UT_EQ(chain.readable + chain.writable, 0);
    UT_EQ(virtqueue_read(rw.vq, &chain, &byte, 1), 0);
    UT_EQ(virtqueue_write(rw.vq, &chain, &byte, 0), 0);
    virtqueue_push(rw.vq, &chain, 0);
    UT_FALSE(virtqueue_broken(rw.vq));
    rw_close();
}

/* After pop the descriptors are the guest's again: nothing that it writes there counts. */
static void rewriting_descriptors_after_pop_has_no_effect(void)
{
    for (size_t n_direct = 0; n_direct <= 2; n_direct++) {
        struct vq_chain chain;
        uint8_t *data, buf[40] = {0};
        uint32_t head, len;

        UT_REQUIRE(rw_open(8, RW_INDIRECT));
        data = rw_request(40, 4, n_direct);
        UT_REQUIRE(data != NULL);
        memset(data, 0x42, 40);
        guest_ring_publish(&rw.ring);
        UT_EQ(virtqueue_pop(rw.vq, &chain), 1);
        memset(rw.ring.desc, 0xff, 8 * sizeof(*rw.ring.desc));
        memset(rw.ring.tables, 0xff, 64 * sizeof(*rw.ring.tables));
        memset(rw.ring.avail, 0xff, rw.layout ? 4 : 6 + 16);
        UT_EQ(virtqueue_read(rw.vq, &chain, buf, 40), 40);
        UT_EQ(buf[0], 0x42);
        UT_EQ(buf[39], 0x42);
        UT_EQ(virtqueue_write(rw.vq, &chain, "abcd", 4), 0);
        UT_TRUE(memcmp(data + 40, "abcd", 4) == 0);
        virtqueue_push(rw.vq, &chain, 4);
        virtqueue_publish(rw.vq);
        UT_REQUIRE(guest_ring_used(&rw.ring, &head, &len));
        UT_EQ(head, chain.head);
        UT_EQ(len, 4);
        rw_close();
    }
}

/* Between the copy of a table and its use: the hook runs when the copy has been made. */
static void spoil_table(void *ctx)
{
    (void)ctx;
    memset(rw.ring.tables, 0xff, 64 * sizeof(*rw.ring.tables));
}

static void a_table_is_used_as_it_was_copied(void)
{
    struct vq_chain chain;

    UT_REQUIRE(
        rw_open_on(&fake_grants_ops, true)); /* grant addresses: the table is copied by call */
    UT_REQUIRE(rw_start(8, RW_INDIRECT));
    UT_REQUIRE(rw_request(40, 4, 0) != NULL);
    guest_ring_publish(&rw.ring);
    fake_grants_set_hook(rw.grants, spoil_table, NULL);
    UT_EQ(virtqueue_pop(rw.vq, &chain), 1);
    UT_EQ(rw.ring.tables[0].flags, 0xffff);
    UT_EQ(chain.readable, 40);
    UT_EQ(chain.writable, 4);
    rw_close();
}

/* A guest that rewrites everything all the time from another CPU. */
static void *scribble(void *ctx)
{
    const bool *stop = ctx;
    uint32_t seed = 7;

    while (!__atomic_load_n(stop, __ATOMIC_RELAXED)) {
        uint32_t i = rw_random(&seed) % 8;
        uint64_t addr = rw_random(&seed) % 2 ? rw_memory() : RW_OUTSIDE;
        uint64_t rest = rw_random(&seed) % 64 | (uint64_t)(rw_random(&seed) % 8) << 32 |
                        (uint64_t)(rw_random(&seed) % 9) << 48;
        uint64_t *words = (void *)(rw_random(&seed) % 2 ? &rw.ring.desc[i] : &rw.ring.tables[i]);

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

    UT_REQUIRE(rw_open(8, RW_INDIRECT));
    UT_REQUIRE(pthread_create(&thread, NULL, scribble, &stop) == 0);
    for (unsigned i = 0; i < 20000; i++) {
        struct virtqueue_config config = guest_ring_config(&rw.ring);
        struct vq_chain chain;
        uint8_t buf[1024] = {0};
        int r;

        rw.vq = virtqueue_free(rw.vq);
        UT_EQ(virtqueue_new(&rw.vq, rw.mem, &config), 0);
        rw.ring.avail[1] = htole16(1);
        r = virtqueue_pop(rw.vq, &chain);
        broken += r < 0;
        popped += r == 1;
        if (r == 1 && (chain.readable > 16 * 64 || chain.writable > 16 * 64 ||
                       virtqueue_read(rw.vq, &chain, buf, sizeof(buf)) != (int)chain.readable ||
                       virtqueue_write(rw.vq, &chain, buf, (size_t)chain.writable) != 0))
            UT_FALSE("a chain that was checked is not what it was");
    }
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    UT_EQ(popped + broken, 20000);
    UT_TRUE(popped > 0);
    UT_TRUE(broken > 0);
    rw_close();
}

static void no_interrupt_flag_is_honoured(void)
{
    struct vq_chain chain;

    UT_REQUIRE(rw_open(8, VIRTIO_F_VERSION_1));
    for (unsigned i = 0; i < 4; i++) {
        bool wanted = i % 2;

        UT_REQUIRE(rw_request(8, 4, 2) != NULL);
        guest_ring_publish(&rw.ring);
        guest_ring_want_interrupts(&rw.ring, wanted);
        *(rw.layout ? rw.ring.avail : guest_ring_used_event(&rw.ring)) = htole16(0x5555);
        UT_EQ(virtqueue_pop(rw.vq, &chain), 1);
        virtqueue_push(rw.vq, &chain, 0);
        UT_EQ(virtqueue_publish(rw.vq), wanted);
        UT_TRUE(guest_ring_used(&rw.ring, &(uint32_t){0}, &(uint32_t){0}));
    }
    rw_close();
}

static uint16_t kick_flags(void)
{
    return le16toh(rw.ring.used[rw.layout ? 1 : 0]);
}

static void kicks_are_suppressed_by_flag_without_event_index(void)
{
    struct vq_chain chain;

    UT_REQUIRE(rw_open(8, VIRTIO_F_VERSION_1));
    virtqueue_no_kicks(rw.vq);
    UT_EQ(kick_flags(), 1);
    UT_REQUIRE(rw_request(8, 4, 2) != NULL);
    UT_FALSE(guest_ring_publish(&rw.ring));
    UT_TRUE(virtqueue_want_kicks(rw.vq)); /* it came meanwhile */
    UT_EQ(kick_flags(), 0);
    UT_EQ(virtqueue_pop(rw.vq, &chain), 1);
    virtqueue_push(rw.vq, &chain, 0);
    UT_FALSE(virtqueue_want_kicks(rw.vq));
    UT_REQUIRE(rw_request(8, 4, 2) != NULL);
    UT_TRUE(guest_ring_publish(&rw.ring));
    UT_EQ(*(rw.layout ? rw.ring.used : guest_ring_avail_event(&rw.ring)), 0);
    rw_close();
}

static void kicks_are_asked_for_by_event_index(void)
{
    struct vq_chain chain;

    UT_REQUIRE(rw_open(8, VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX));
    UT_FALSE(virtqueue_want_kicks(rw.vq));
    UT_REQUIRE(rw_request(8, 4, 2) != NULL);
    UT_TRUE(guest_ring_publish(&rw.ring));
    virtqueue_no_kicks(rw.vq);
    UT_EQ(rw.ring.used[0], 0); /* virtio 1.3, 2.7.10.1: must stay 0 */
    UT_REQUIRE(rw_request(8, 4, 2) != NULL);
    UT_FALSE(guest_ring_publish(&rw.ring)); /* avail_event is behind */
    for (unsigned i = 0; i < 2; i++) {
        UT_EQ(virtqueue_pop(rw.vq, &chain), 1);
        virtqueue_push(rw.vq, &chain, 0);
    }
    UT_FALSE(virtqueue_want_kicks(rw.vq));
    UT_EQ(le16toh(*guest_ring_avail_event(&rw.ring)), 2);
    UT_EQ(rw.ring.used[0], 0);
    virtqueue_publish(rw.vq);
    while (guest_ring_used(&rw.ring, &(uint32_t){0}, &(uint32_t){0}))
        ;
    UT_REQUIRE(rw_request(8, 4, 2) != NULL);
    UT_TRUE(guest_ring_publish(&rw.ring));
    /* A pop that is given back: the kick is wanted for that very buffer. */
    UT_EQ(virtqueue_pop(rw.vq, &chain), 1);
    virtqueue_unpop(rw.vq, &chain);
    UT_TRUE(virtqueue_want_kicks(rw.vq));
    UT_EQ(le16toh(*guest_ring_avail_event(&rw.ring)), 2);
    rw_close();
}

/* Batches of any size around the wrap of indices, with any wish, against the plain definition. */
static void notifications_follow_used_event_as_the_model_does(void)
{
    uint32_t seed = 3;
    uint16_t used = 0;
    struct guest_buf buf;
    uint8_t *data;

    UT_REQUIRE(rw_open(16, VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX));
    data = guest_alloc(&rw.arena, 8, 1);
    UT_REQUIRE(data != NULL);
    buf = (struct guest_buf){rw_address(data), 8, true};
    for (unsigned step = 0; step < 40000; step++) {
        unsigned batch = 1 + rw_random(&seed) % 16;
        uint16_t event = (uint16_t)(used + rw_random(&seed) % 40 - 12);
        bool want = false;
        struct vq_chain chain;

        if (step % 7 == 0)
            event = (uint16_t)rw_random(&seed);
        rw.ring.avail[0] = htole16(rw_random(&seed) % 2); /* ignored (virtio 1.3, 2.7.7.2) */
        *guest_ring_used_event(&rw.ring) = htole16(event);
        for (unsigned i = 0; i < batch; i++)
            UT_REQUIRE(guest_ring_add(&rw.ring, &buf, 1, 1) >= 0);
        guest_ring_publish(&rw.ring);
        for (unsigned i = 0; i < batch; i++) {
            UT_REQUIRE(virtqueue_pop(rw.vq, &chain) == 1);
            virtqueue_push(rw.vq, &chain, 0);
            want |= used++ == event; /* the element at index used_event is written */
        }
        UT_REQUIRE(virtqueue_publish(rw.vq) == want);
        while (guest_ring_used(&rw.ring, &(uint32_t){0}, &(uint32_t){0}))
            ;
    }
    rw_close();
}

static void notifications_are_counted(void)
{
    struct virtqueue_stats stats;
    struct vq_chain chain;

    UT_REQUIRE(rw_open(8, VIRTIO_F_VERSION_1));
    for (unsigned i = 0; i < 4; i++) {
        UT_REQUIRE(rw_request(8, 4, 2) != NULL);
        guest_ring_publish(&rw.ring);
        guest_ring_want_interrupts(&rw.ring, i > 0);
        UT_EQ(virtqueue_pop(rw.vq, &chain), 1);
        virtqueue_push(rw.vq, &chain, 0);
        virtqueue_publish(rw.vq);
        UT_TRUE(guest_ring_used(&rw.ring, &(uint32_t){0}, &(uint32_t){0}));
    }
    virtqueue_get_stats(rw.vq, &stats);
    UT_EQ(stats.notifications, 3);
    UT_EQ(stats.used, rw.layout ? 0 : 4); /* packed: eight slots of eight, one lap */
    UT_EQ(stats.avail_seen, stats.used);
    rw_close();
}

/* --- two sides at once -------------------------------------------------------------------------
 */

/* A device and a driver that sleep until the other one notifies: one that is lost stops both. */
struct duet {
    sem_t kick, interrupt;
    unsigned n;
    bool spin; /* the driver looks again and again, so that both sides meet at every step */
    bool failed;
};

static bool wait_for(struct duet *d, sem_t *sem)
{
    struct timespec end;

    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += 30; /* only a failure waits so long */
    while (sem_timedwait(sem, &end) < 0) {
        if (errno != EINTR) {
            __atomic_store_n(&d->failed, true, __ATOMIC_RELAXED);
            return false;
        }
    }
    return !__atomic_load_n(&d->failed, __ATOMIC_RELAXED);
}

static void *duet_device(void *ctx)
{
    struct duet *d = ctx;
    unsigned done = 0;

    while (done < d->n) {
        struct vq_chain chain;
        uint32_t request = 0;
        int r;

        virtqueue_no_kicks(rw.vq);
        while ((r = virtqueue_pop(rw.vq, &chain)) == 1) {
            if (virtqueue_read(rw.vq, &chain, &request, sizeof(request)) != sizeof(request) ||
                virtqueue_write(rw.vq, &chain, &request, sizeof(request)) < 0)
                r = -EPROTO;
            virtqueue_push(rw.vq, &chain, sizeof(request));
            done++;
        }
        if (virtqueue_publish(rw.vq))
            sem_post(&d->interrupt);
        if (r < 0) {
            __atomic_store_n(&d->failed, true, __ATOMIC_RELAXED);
            sem_post(&d->interrupt);
            break;
        }
        if (done < d->n && !virtqueue_want_kicks(rw.vq) && !wait_for(d, &d->kick))
            break;
    }
    return NULL;
}

/* Takes what came back; false if it is not what was sent. */
static bool duet_take(uint32_t *data, unsigned *taken)
{
    uint32_t head, len;

    while (guest_ring_used(&rw.ring, &head, &len)) {
        uint32_t *pair = &data[2 * (*taken % 16)];

        if (len != 4 || pair[0] != *taken || pair[1] != *taken)
            return false;
        ++*taken;
    }
    return true;
}

/* A driver that spins does not go on before everything is back: a kick that was not asked for in
 * time is then the last one. */
static bool duet_catch_up(struct duet *d, uint32_t *data, unsigned sent, unsigned *taken)
{
    struct timespec start, now;

    clock_gettime(CLOCK_MONOTONIC, &start);
    while (d->spin && *taken < sent) {
        if (!duet_take(data, taken) || __atomic_load_n(&d->failed, __ATOMIC_RELAXED))
            return false;
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec - start.tv_sec > 30) /* only a failure takes so long */
            return false;
    }
    return true;
}

static bool duet_drive(struct duet *d, uint32_t *data)
{
    unsigned sent = 0, taken = 0;
    uint32_t seed = 11;

    while (taken < d->n) {
        unsigned before = taken;

        if (d->spin) {
            for (volatile unsigned i = rw_random(&seed) % 256; i > 0; i--)
                ;
        }
        for (unsigned batch = 1 + rw_random(&seed) % 5;
             batch > 0 && sent < d->n && sent - taken < 16; batch--, sent++) {
            uint32_t *pair = &data[2 * (sent % 16)];
            struct guest_buf bufs[2] = {{rw_address(&pair[0]), 4, false},
                                        {rw_address(&pair[1]), 4, true}};

            pair[0] = sent;
            if (guest_ring_add(&rw.ring, bufs, 2, 2) < 0)
                break;
        }
        if (guest_ring_publish(&rw.ring))
            sem_post(&d->kick);
        guest_ring_want_interrupts(&rw.ring, !d->spin);
        if (!duet_take(data, &taken) || !duet_catch_up(d, data, sent, &taken))
            return false;
        if (!d->spin && taken == before && sent > taken && (sent - taken >= 4 || sent == d->n) &&
            !wait_for(d, &d->interrupt))
            return false;
    }
    return true;
}

static void no_notification_is_lost_between_two_threads(void)
{
    static const uint64_t features[] = {VIRTIO_F_VERSION_1,
                                        VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX};

    for (size_t i = 0; i < 2 * ARRAY_SIZE(features); i++) {
        struct duet d = {.n = ut_quick() ? 2000 : 100000, .spin = i % 2};
        pthread_t thread;
        uint32_t *data;

        UT_REQUIRE(rw_open(8, features[i / 2]));
        data = guest_alloc(&rw.arena, 32 * sizeof(*data), 8);
        UT_REQUIRE(data != NULL);
        UT_REQUIRE(sem_init(&d.kick, 0, 0) == 0 && sem_init(&d.interrupt, 0, 0) == 0);
        UT_REQUIRE(pthread_create(&thread, NULL, duet_device, &d) == 0);
        if (!duet_drive(&d, data)) {
            __atomic_store_n(&d.failed, true, __ATOMIC_RELAXED);
            sem_post(&d.kick);
        }
        pthread_join(thread, NULL);
        UT_FALSE(d.failed);
        UT_STR(virtqueue_broken_why(rw.vq), "");
        sem_destroy(&d.kick);
        sem_destroy(&d.interrupt);
        rw_close();
    }
}

/* --- the list ----------------------------------------------------------------------------------
 */

/* clang-format off */
#define BOTH_LAYOUTS(X)                                          \
    X(a_request_goes_through)                                    \
    X(used_length_never_exceeds_the_writable_part)               \
    X(an_unpopped_chain_comes_again)                             \
    X(unpopping_uses_nothing_up)                                 \
    X(a_chain_that_is_done_is_refused)                           \
    X(chains_taken_ahead_are_used_in_order)                      \
    X(as_many_as_there_is_room_for_are_taken_ahead)              \
    X(long_chains_are_taken_few_at_a_time)                       \
    X(a_chain_that_breaks_the_queue_leaves_those_before_it)      \
    X(indices_and_wrap_counters_go_round_for_every_size)         \
    X(every_framing_gives_the_same_bytes)                        \
    X(longest_chains_are_taken)                                  \
    X(every_violation_breaks_the_queue_for_good)                 \
    X(buffers_that_are_not_granted_break_the_queue_when_touched) \
    X(every_piece_of_a_buffer_has_to_be_reached)                 \
    X(scattered_pieces_are_put_together)                         \
    X(what_is_wanted_is_mapped_and_no_more)                      \
    X(the_longest_chain_in_bytes_is_taken)                       \
    X(a_host_that_cannot_reach_a_buffer_is_told_apart)           \
    X(a_chain_of_empty_descriptors_is_a_chain)                   \
    X(rewriting_descriptors_after_pop_has_no_effect)             \
    X(a_table_is_used_as_it_was_copied)                          \
    X(no_interrupt_flag_is_honoured)                             \
    X(kicks_are_suppressed_by_flag_without_event_index)          \
    X(notifications_are_counted)                                 \
    X(no_notification_is_lost_between_two_threads)
/* clang-format on */

#define DEFINE(fn_)                       \
    static void fn_##_split(void)         \
    {                                     \
        rw.layout = 0;                    \
        fn_();                            \
    }                                     \
    static void fn_##_packed(void)        \
    {                                     \
        rw.layout = VIRTIO_F_RING_PACKED; \
        fn_();                            \
        rw.layout = 0;                    \
    }
BOTH_LAYOUTS(DEFINE)

#define LIST(fn_) UT_CASE(fn_##_split), UT_CASE(fn_##_packed),

static const struct ut_case cases[] = {UT_CASE(bad_configurations_are_refused),
                                       UT_CASE(every_violation_of_a_split_ring_breaks_it_for_good),
                                       UT_CASE(index_that_moves_within_a_batch_breaks_the_queue),
                                       UT_CASE(write_flag_of_a_table_is_ignored),
                                       UT_CASE(a_guest_that_scribbles_while_we_walk_does_no_harm),
                                       UT_CASE(kicks_are_asked_for_by_event_index),
                                       UT_CASE(notifications_follow_used_event_as_the_model_does),
                                       BOTH_LAYOUTS(LIST)};

int main(int argc, char **argv)
{
    return ut_main(argc, argv, "virtqueue", cases, ARRAY_SIZE(cases));
}
