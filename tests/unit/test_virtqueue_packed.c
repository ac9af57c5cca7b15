/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Packed rings: what test_virtqueue.c does not test on both layouts. Positions and wrap counters
 * over many laps, event suppression against a model that counts slot by slot, and every way to
 * break the ring.
 */
#include <config.h>

#include "backend/virtio/virtqueue.h"

#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "tests/support/ring_attacks.h"
#include "tests/support/ring_world.h"
#include "tests/support/ut.h"

#define NEXT    0x1
#define WRITE   0x2
#define TABLE   0x4
#define AVAIL   0x80
#define USED    0x8000
#define PLAIN   VIRTIO_F_VERSION_1
#define EVENTS  (VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX)
#define ENABLE  0
#define DISABLE 1
#define DESC    2

static void bad_configurations_are_refused(void)
{
    const uint64_t packed = VIRTIO_F_RING_PACKED;
    const struct {
        struct virtqueue_config config;
        int want;
    } cases[] = {
        {{0, RW_BASE, RW_BASE + 4096, RW_BASE + 8192, packed}, -EINVAL},
        {{1025, RW_BASE, RW_BASE + 65536, RW_BASE + 131072, packed}, -EINVAL},
        {{UINT32_MAX, RW_BASE, RW_BASE + 65536, RW_BASE + 131072, packed}, -EINVAL},
        {{3, RW_BASE + 8, RW_BASE + 4096, RW_BASE + 8192, packed}, -EINVAL},
        {{3, RW_BASE, RW_BASE + 4098, RW_BASE + 8192, packed}, -EINVAL},
        {{3, RW_BASE, RW_BASE + 4096, RW_BASE + 8194, packed}, -EINVAL},
        {{3, UINT64_MAX - 15, RW_BASE + 4096, RW_BASE + 8192, packed}, -EINVAL},
        {{3, RW_OUTSIDE, RW_BASE + 4096, RW_BASE + 8192, packed}, -EFAULT},
        {{3, RW_BASE, RW_OUTSIDE, RW_BASE + 8192, packed}, -EFAULT},
        {{3, RW_BASE, RW_BASE + 4096, RW_OUTSIDE, packed}, -EFAULT},
        {{3, RW_RO_BASE, RW_BASE + 4096, RW_BASE + 8192, packed}, -EFAULT},
        {{3, RW_BASE, RW_BASE + 4096, RW_RO_BASE, packed}, -EFAULT},
        {{3, RW_BASE + RW_PAGES * 4096 - 32, RW_BASE + 4096, RW_BASE + 8192, packed}, -EFAULT},
        /* The driver's word may be read-only, and areas may share a page. */
        {{3, RW_BASE, RW_RO_BASE + 4096, RW_BASE + 48, packed}, 0},
        {{1024, RW_BASE, RW_BASE + 65536 - 4, RW_BASE + 65536, packed}, 0},
    };

    UT_REQUIRE(rw_open_on(&fake_grants_ops, false));
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        UT_EQ(virtqueue_new(&rw.vq, rw.mem, &cases[i].config), cases[i].want);
        UT_EQ(fake_grants_live_maps(rw.grants), cases[i].want ? 0 : 3);
        rw.vq = virtqueue_free(rw.vq);
        UT_EQ(fake_grants_live_maps(rw.grants), 0);
    }
    rw_close();
}

/* --- laps --------------------------------------------------------------------------------------
 */

/* Up to `batch` chains of random length at once, from what is free. Returns the number. */
static unsigned add_chains(uint64_t at, unsigned batch, uint32_t *seed, uint32_t *slots)
{
    struct guest_buf bufs[7];
    unsigned n = 0;

    *slots = 0;
    for (; n < batch; n++) {
        uint32_t len = 1 + rw_random(seed) % ARRAY_SIZE(bufs);

        if (len > rw.ring.size)
            len = rw.ring.size;
        for (uint32_t i = 0; i < len; i++)
            bufs[i] = (struct guest_buf){at + 8 * i, 8, i >= len / 2};
        guest_ring_rotate_free(&rw.ring, rw_random(seed) % 3);
        if (guest_ring_add(&rw.ring, bufs, len, len) < 0)
            break;
        *slots += len;
    }
    return n;
}

/* Serves all of them; false if their number or order is another. */
static bool serve(unsigned n, uint16_t *ids)
{
    struct vq_chain chain;
    unsigned i = 0;

    for (; virtqueue_pop(rw.vq, &chain) == 1; i++) {
        if (i == n)
            return false;
        ids[i] = chain.head;
        virtqueue_push(rw.vq, &chain, i % 2);
    }
    return i == n && !virtqueue_broken(rw.vq);
}

static void chains_of_any_length_go_round_for_every_size(void)
{
    static const uint32_t sizes[] = {1, 2, 3, 7, 1000};

    for (size_t s = 0; s < ARRAY_SIZE(sizes); s++) {
        struct guest_position want = {0, true};
        uint32_t seed = sizes[s], total = 0;
        uint16_t ids[VIRTQUEUE_MAX_SIZE];

        UT_REQUIRE(rw_open(sizes[s], PLAIN));
        while (total < 200 * sizes[s]) {
            struct virtqueue_stats stats;
            uint32_t slots, id, len;
            unsigned n = add_chains(rw_memory(), 1 + rw_random(&seed) % 400, &seed, &slots);

            UT_REQUIRE(n > 0);
            (void)guest_ring_publish(&rw.ring);
            UT_REQUIRE(serve(n, ids));
            UT_REQUIRE(!guest_ring_used(&rw.ring, &id, &len)); /* not before it is published */
            virtqueue_publish(rw.vq);
            UT_REQUIRE((uint16_t)(guest_ring_used_idx(&rw.ring) - rw.ring.used_seen) == n);
            for (unsigned i = 0; i < n; i++)
                UT_REQUIRE(guest_ring_used(&rw.ring, &id, &len) && id == ids[i] && len <= i % 2);
            UT_REQUIRE(!guest_ring_used(&rw.ring, &id, &len));
            total += slots;
            want = guest_ring_advance(&rw.ring, want, slots);
            virtqueue_get_stats(rw.vq, &stats);
            UT_REQUIRE(stats.used == (want.slot | (want.wrap ? 0x8000u : 0)));
            UT_REQUIRE(stats.avail_seen == stats.used);
        }
        rw_close();
    }
}

/* A used descriptor says WRITE only if something was written (virtio 1.3, 2.8.6). */
static void used_descriptors_are_as_they_should_be(void)
{
    const struct guest_packed_desc *desc;
    struct vq_chain chain;

    UT_REQUIRE(rw_open(3, PLAIN));
    desc = rw.ring.packed_desc;
    for (unsigned i = 0; i < 4; i++) {
        uint16_t wrap = 2 * i / 3 % 2 ? 0 : AVAIL | USED; /* in the lap of slot 2 * i */
        uint32_t id, len;
        uint64_t addr;

        UT_REQUIRE(rw_request(8, 4, 2) != NULL);
        (void)guest_ring_publish(&rw.ring);
        addr = desc[2 * i % 3].addr;
        UT_EQ(virtqueue_pop(rw.vq, &chain), 1);
        virtqueue_push(rw.vq, &chain, i % 2 ? 4 : 0);
        virtqueue_publish(rw.vq);
        UT_EQ(le16toh(desc[2 * i % 3].flags), wrap | (i % 2 ? WRITE : 0));
        UT_EQ(le32toh(desc[2 * i % 3].len), i % 2 ? 4 : 0);
        UT_EQ(le16toh(desc[2 * i % 3].id), chain.head);
        UT_EQ(desc[2 * i % 3].addr, addr);
        UT_TRUE(guest_ring_used(&rw.ring, &id, &len));
    }
    rw_close();
}

/* The driver that looks at the oldest one finds all of them (virtio 1.3, 2.8.22). */
static void a_batch_is_visible_at_publish_and_not_before(void)
{
    struct vq_chain chain;

    UT_REQUIRE(rw_open(8, PLAIN));
    for (unsigned i = 0; i < 3; i++)
        UT_REQUIRE(rw_request(8, 4, 2) != NULL);
    (void)guest_ring_publish(&rw.ring);
    for (unsigned i = 0; i < 3; i++) {
        UT_EQ(virtqueue_pop(rw.vq, &chain), 1);
        virtqueue_push(rw.vq, &chain, 4);
        UT_EQ(guest_ring_used_idx(&rw.ring), 0);
        UT_EQ(le16toh(rw.ring.packed_desc[2 * i].flags) & (AVAIL | USED), AVAIL);
    }
    UT_TRUE(virtqueue_publish(rw.vq));
    UT_EQ(guest_ring_used_idx(&rw.ring), 3);
    rw_close();
}

/* The id of a buffer is the driver's own business: any 16 bits, and only the last one counts. */
static void any_id_comes_back_and_it_is_the_last_ones(void)
{
    struct vq_chain chain;

    UT_REQUIRE(rw_open(8, PLAIN));
    UT_REQUIRE(rw_request(8, 4, 2) != NULL);
    rw.ring.packed_desc[0].id = htole16(0x1234);
    rw.ring.packed_desc[1].id = htole16(0xffff);
    (void)guest_ring_publish(&rw.ring);
    UT_EQ(virtqueue_pop(rw.vq, &chain), 1);
    UT_EQ(chain.head, 0xffff);
    virtqueue_push(rw.vq, &chain, 4);
    virtqueue_publish(rw.vq);
    UT_EQ(le16toh(rw.ring.packed_desc[0].id), 0xffff);
    rw_close();
}

/* --- indirect ----------------------------------------------------------------------------------
 */

/* virtio 1.3, 2.8.7: WRITE is the only flag of a table's entries, and nothing on the referring one.
 */
static void other_flags_of_a_table_are_ignored(void)
{
    struct vq_chain chain;

    UT_REQUIRE(rw_open(8, RW_INDIRECT));
    UT_REQUIRE(rw_request(40, 4, 0) != NULL);
    rw.ring.packed_desc[0].addr = htole64(RW_RO_BASE +
                                          (rw_address(rw.ring.packed_tables) - RW_BASE));
    rw.ring.hidden_flags |= WRITE;
    rw.ring.packed_tables[0].flags = htole16(0xffff & ~WRITE);
    rw.ring.packed_tables[1].flags = htole16(WRITE | TABLE);
    rw.ring.packed_tables[1].id = htole16(77);
    (void)guest_ring_publish(&rw.ring);
    UT_EQ(virtqueue_pop(rw.vq, &chain), 1);
    UT_EQ(chain.head, 0);
    UT_EQ(chain.n_readable, 1);
    UT_EQ(chain.readable, 40);
    UT_EQ(chain.n_writable, 1);
    UT_EQ(chain.writable, 4);
    rw_close();
}

/* --- hostile rings -----------------------------------------------------------------------------
 */

static void put(struct guest_packed_desc *desc, uint64_t addr, uint32_t len, uint16_t flags)
{
    desc->addr = htole64(addr);
    desc->len = htole32(len);
    desc->id = 0;
    desc->flags = htole16(flags);
}

/* An available slot of the first lap. */
static void slot(unsigned i, uint64_t addr, uint32_t len, uint16_t flags)
{
    put(&rw.ring.packed_desc[i], addr, len, flags | AVAIL);
}

static void chain_of_all_and_more(void)
{
    for (unsigned i = 0; i < 8; i++)
        slot(i, rw_memory(), 8, NEXT);
}

static void chain_of_empty_ones(void)
{
    for (unsigned i = 0; i < 8; i++)
        slot(i, RW_OUTSIDE, 0, NEXT);
}

static void chain_into_nothing(void)
{
    slot(1, rw_memory(), 8, NEXT | WRITE); /* and the third is still zero */
}

static void chain_into_a_used_one(void)
{
    put(&rw.ring.packed_desc[1], rw_memory(), 8, WRITE | AVAIL | USED);
}

static void chain_into_the_last_lap(void)
{
    put(&rw.ring.packed_desc[1], rw_memory(), 8, WRITE | USED);
}

static void table_within_a_chain(void)
{
    rw_table(16, 0);
    rw.ring.packed_desc[1] = rw.ring.packed_desc[0];
    slot(0, rw_memory(), 8, NEXT);
}

static const struct rw_attack attacks[] = {
    {"chain longer than the queue", chain_of_all_and_more, PLAIN},
    {"chain longer than the queue", chain_of_empty_ones, PLAIN},
    {"chain into a descriptor that is not available", chain_into_nothing, PLAIN},
    {"chain into a descriptor that is not available", chain_into_a_used_one, PLAIN},
    {"chain into a descriptor that is not available", chain_into_the_last_lap, PLAIN},
    {"indirect descriptor within a chain", table_within_a_chain, RW_INDIRECT},
};

static void every_violation_of_a_packed_ring_breaks_it_for_good(void)
{
    rw_attack_each(attacks, ARRAY_SIZE(attacks));
}

/*
 * Three buffers of two slots, taken and answered but not published: six of the eight slots, behind
 * `start` slots that are long done.
 */
static bool open_with_a_batch(unsigned start)
{
    struct guest_buf buf = {.len = 8};
    struct vq_chain chain;

    if (!rw_open(8, PLAIN))
        return false;
    buf.addr = rw_memory();
    for (unsigned k = 0; k < start; k++) {
        if (guest_ring_add(&rw.ring, &buf, 1, 1) < 0)
            return false;
        (void)guest_ring_publish(&rw.ring);
        if (virtqueue_pop(rw.vq, &chain) != 1)
            return false;
        virtqueue_push(rw.vq, &chain, 0);
        virtqueue_publish(rw.vq);
        if (!guest_ring_used(&rw.ring, &(uint32_t){0}, &(uint32_t){0}))
            return false;
    }
    for (unsigned k = 0; k < 3; k++) {
        if (!rw_request(8, 4, 2))
            return false;
    }
    (void)guest_ring_publish(&rw.ring);
    for (unsigned k = 0; k < 3; k++) {
        if (virtqueue_pop(rw.vq, &chain) != 1)
            return false;
        virtqueue_push(rw.vq, &chain, 4);
    }
    return true;
}

/* Slots that the device has not given back cannot have become available again. */
static void slots_made_available_twice_break_the_queue(void)
{
    struct vq_chain chain;

    UT_REQUIRE(open_with_a_batch(0));
    slot(6, rw_memory(), 8, NEXT);
    slot(7, rw_memory(), 8, 0);
    for (unsigned i = 0; i < 6; i++)
        put(&rw.ring.packed_desc[i], rw_memory(), 8, USED); /* the second lap's */
    UT_EQ(virtqueue_pop(rw.vq, &chain), 1);
    virtqueue_push(rw.vq, &chain, 0);
    UT_EQ(virtqueue_pop(rw.vq, &chain), -EPROTO);
    UT_STR(virtqueue_broken_why(rw.vq), "more descriptors available than the queue has");
    /* What was answered before may still be published. */
    virtqueue_publish(rw.vq);
    rw_close();
    UT_REQUIRE(open_with_a_batch(0));
    slot(6, rw_memory(), 8, NEXT);
    slot(7, rw_memory(), 8, NEXT);
    put(&rw.ring.packed_desc[0], rw_memory(), 8, USED);
    UT_EQ(virtqueue_pop(rw.vq, &chain), -EPROTO);
    UT_STR(virtqueue_broken_why(rw.vq), "chain longer than the queue");
    rw_close();
}

/* A chain is no longer than the slots that can be free, wherever in which lap it begins. */
static void what_is_free_is_known_in_every_lap(void)
{
    struct vq_chain chain;

    for (unsigned start = 0; start <= 16; start++) {
        UT_REQUIRE(open_with_a_batch(start));
        for (uint32_t i = 0; i < 8; i++) {
            struct guest_position p = guest_ring_advance(&rw.ring, rw.ring.next, i);

            put(&rw.ring.packed_desc[p.slot], rw_memory(), 8, NEXT | (p.wrap ? AVAIL : USED));
        }
        UT_EQ(virtqueue_pop(rw.vq, &chain), -EPROTO);
        UT_STR(virtqueue_broken_why(rw.vq), "chain longer than the queue");
        rw_close();
    }
}

/* Flags that do not say "available in this lap" are no buffer, whatever else they say. */
static void nonsense_in_the_flags_is_no_work(void)
{
    static const uint16_t flags[] = {0,           USED,   AVAIL | USED, NEXT | WRITE | TABLE,
                                     USED | NEXT, 0x7f7f, 0xffff,       0xff7f};
    struct vq_chain chain;

    UT_REQUIRE(rw_open(8, RW_INDIRECT));
    for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
        rw.ring.packed_desc[0].flags = htole16(flags[i]);
        UT_FALSE(virtqueue_has_work(rw.vq));
        UT_EQ(virtqueue_pop(rw.vq, &chain), 0);
        UT_FALSE(virtqueue_want_kicks(rw.vq));
    }
    UT_FALSE(virtqueue_broken(rw.vq));
    rw_close();
}

/* A guest that rewrites everything all the time from another CPU. */
static void *scribble(void *ctx)
{
    const bool *stop = ctx;
    uint32_t seed = 7;

    while (!__atomic_load_n(stop, __ATOMIC_RELAXED)) {
        uint32_t i = rw_random(&seed) % 8, r = rw_random(&seed);
        uint64_t addr = r % 4 ? rw_memory() : RW_OUTSIDE;
        uint16_t flags = (uint16_t)(r >> 4 & 7) | (r >> 8 & 7 ? AVAIL : USED);
        struct guest_packed_desc *d = r >> 16 & 1 ? &rw.ring.packed_desc[i]
                                                  : &rw.ring.packed_tables[i];

        __atomic_store_n(&d->addr, htole64(addr), __ATOMIC_RELAXED);
        __atomic_store_n(&d->len, htole32(rw_random(&seed) % 64), __ATOMIC_RELAXED);
        __atomic_store_n(&d->flags, htole16(flags), __ATOMIC_RELAXED);
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
    /* Until both kinds were seen: how the two threads are scheduled is not ours to say. */
    for (unsigned i = 0; i < 20000 || ((popped == 0 || broken == 0) && i < 1000000); i++) {
        struct virtqueue_config config = guest_ring_config(&rw.ring);
        struct vq_chain chain;
        uint8_t buf[1024] = {0};
        int r;

        rw.vq = virtqueue_free(rw.vq);
        UT_EQ(virtqueue_new(&rw.vq, rw.mem, &config), 0);
        for (unsigned k = 0; k < 8; k++) {
            r = virtqueue_pop(rw.vq, &chain);
            broken += r < 0;
            popped += r == 1;
            if (r != 1)
                break;
            if (chain.readable > 16 * 64 || chain.writable > 16 * 64 ||
                virtqueue_read(rw.vq, &chain, buf, sizeof(buf)) != (int)chain.readable ||
                virtqueue_write(rw.vq, &chain, buf, (size_t)chain.writable) != 0)
                UT_FALSE("a chain that was checked is not what it was");
            virtqueue_push(rw.vq, &chain, 1);
        }
        (void)virtqueue_publish(rw.vq);
        if (i % 16 == 0)
            sched_yield();
    }
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    UT_TRUE(popped > 0);
    UT_TRUE(broken > 0);
    rw_close();
}

/* --- notifications -----------------------------------------------------------------------------
 */

static void set_event(uint16_t position, uint16_t flags)
{
    rw.ring.avail[0] = htole16(position);
    rw.ring.avail[1] = htole16(flags);
}

/* The plain definition (virtio 1.3, 2.8.10): was the slot in that lap among those just used? */
static bool model_wants(struct guest_position from, uint32_t slots, uint16_t position,
                        uint16_t flags, bool events)
{
    bool want = false;

    if ((flags & 3) == DISABLE)
        return false;
    if ((flags & 3) != DESC || !events || (position & 0x7fffu) >= rw.ring.size)
        return true; /* enabled, or a wish without a meaning: rather one too many */
    for (uint32_t i = 0; i < slots; i++) {
        struct guest_position p = guest_ring_advance(&rw.ring, from, i);

        want |= p.slot == (position & 0x7fffu) && p.wrap == !!(position & 0x8000);
    }
    return want;
}

/* Batches of any size with any wish, in every position of the ring. */
static void notifications_follow_the_drivers_wish_as_the_model_does(void)
{
    static const uint32_t sizes[] = {1, 2, 3, 7, 16};

    for (size_t s = 0; s < 2 * ARRAY_SIZE(sizes); s++) {
        bool events = s % 2;
        uint32_t seed = (uint32_t)s + 1;
        struct guest_position from = {0, true};
        uint16_t ids[VIRTQUEUE_MAX_SIZE];
        unsigned wanted = 0;

        UT_REQUIRE(rw_open(sizes[s / 2], events ? EVENTS : PLAIN));
        for (unsigned step = 0; step < 20000; step++) {
            uint16_t flags = step % 3 ? DESC : (uint16_t)rw_random(&seed);
            uint16_t position = (uint16_t)(rw_random(&seed) % (rw.ring.size + 1) |
                                           (rw_random(&seed) % 2 ? 0x8000u : 0));
            uint32_t slots, id, len;
            unsigned n = add_chains(rw_memory(), 1 + rw_random(&seed) % 6, &seed, &slots);
            bool want = model_wants(from, slots, position, flags, events);

            UT_REQUIRE(n > 0);
            (void)guest_ring_publish(&rw.ring);
            UT_REQUIRE(serve(n, ids));
            set_event(position, flags);
            UT_REQUIRE(virtqueue_publish(rw.vq) == want);
            UT_REQUIRE(!virtqueue_publish(rw.vq)); /* nothing new */
            while (guest_ring_used(&rw.ring, &id, &len))
                ;
            from = guest_ring_advance(&rw.ring, from, slots);
            wanted += want;
        }
        UT_TRUE(wanted > 0 && wanted < 20000);
        rw_close();
    }
}

static void kicks_are_asked_for_by_position(void)
{
    struct vq_chain chain;

    UT_REQUIRE(rw_open(3, EVENTS));
    UT_FALSE(virtqueue_want_kicks(rw.vq));
    UT_EQ(le16toh(rw.ring.used[0]), 0x8000);
    UT_EQ(le16toh(rw.ring.used[1]), DESC);
    UT_REQUIRE(rw_request(8, 4, 2) != NULL);
    UT_TRUE(guest_ring_publish(&rw.ring));
    UT_TRUE(virtqueue_want_kicks(rw.vq)); /* there is something */
    virtqueue_no_kicks(rw.vq);
    UT_EQ(le16toh(rw.ring.used[1]), DISABLE);
    UT_EQ(virtqueue_pop(rw.vq, &chain), 1);
    virtqueue_push(rw.vq, &chain, 0);
    virtqueue_publish(rw.vq);
    UT_FALSE(virtqueue_want_kicks(rw.vq));
    UT_EQ(le16toh(rw.ring.used[0]), 0x8002);
    UT_EQ(le16toh(rw.ring.used[1]), DESC);
    while (guest_ring_used(&rw.ring, &(uint32_t){0}, &(uint32_t){0}))
        ;
    UT_REQUIRE(rw_request(8, 4, 2) != NULL); /* slots 2 and 0 */
    UT_TRUE(guest_ring_publish(&rw.ring));
    /* A pop that is given back: the kick is wanted for that very buffer. */
    UT_EQ(virtqueue_pop(rw.vq, &chain), 1);
    virtqueue_unpop(rw.vq, &chain);
    UT_TRUE(virtqueue_want_kicks(rw.vq));
    UT_EQ(le16toh(rw.ring.used[0]), 0x8002);
    UT_EQ(virtqueue_pop(rw.vq, &chain), 1);
    virtqueue_push(rw.vq, &chain, 0);
    virtqueue_publish(rw.vq);
    UT_FALSE(virtqueue_want_kicks(rw.vq));
    UT_EQ(le16toh(rw.ring.used[0]), 1); /* the second lap */
    rw_close();
}

/* A wish is in the guest's memory and may be overwritten: nothing of it is read back. */
static void a_wish_is_stored_again_only_when_it_changes(void)
{
    UT_REQUIRE(rw_open(4, PLAIN));
    rw.ring.used[1] = htole16(0x7777);
    UT_FALSE(virtqueue_want_kicks(rw.vq));
    UT_EQ(rw.ring.used[1], ENABLE);
    virtqueue_no_kicks(rw.vq);
    UT_EQ(le16toh(rw.ring.used[1]), DISABLE);
    rw.ring.used[1] = htole16(0x7777);
    virtqueue_no_kicks(rw.vq);
    UT_EQ(le16toh(rw.ring.used[1]), 0x7777);
    UT_FALSE(virtqueue_want_kicks(rw.vq));
    UT_EQ(rw.ring.used[1], ENABLE);
    rw_close();
}

static const struct ut_case cases[] = {
    UT_CASE(bad_configurations_are_refused),
    UT_CASE(chains_of_any_length_go_round_for_every_size),
    UT_CASE(used_descriptors_are_as_they_should_be),
    UT_CASE(a_batch_is_visible_at_publish_and_not_before),
    UT_CASE(any_id_comes_back_and_it_is_the_last_ones),
    UT_CASE(other_flags_of_a_table_are_ignored),
    UT_CASE(every_violation_of_a_packed_ring_breaks_it_for_good),
    UT_CASE(slots_made_available_twice_break_the_queue),
    UT_CASE(what_is_free_is_known_in_every_lap),
    UT_CASE(nonsense_in_the_flags_is_no_work),
    UT_CASE(a_guest_that_scribbles_while_we_walk_does_no_harm),
    UT_CASE(notifications_follow_the_drivers_wish_as_the_model_does),
    UT_CASE(kicks_are_asked_for_by_position),
    UT_CASE(a_wish_is_stored_again_only_when_it_changes),
};

int main(int argc, char **argv)
{
    rw.layout = VIRTIO_F_RING_PACKED;
    return ut_main(argc, argv, "virtqueue_packed", cases, ARRAY_SIZE(cases));
}
