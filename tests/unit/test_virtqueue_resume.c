/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * virtqueue_resume: a queue that goes on where another one, on the same ring, was when its process
 * died: before, in the middle of and after a publish. Both layouts.
 */
#include <config.h>

#include "backend/virtio/virtqueue.h"

#include <errno.h>
#include <string.h>

#include "tests/support/ring_world.h"
#include "tests/support/ut.h"

#define SIZE 8u
#define N    3u

static size_t ring_bytes(void)
{
    return SIZE * 16;
}

static uint8_t *ring_memory(void)
{
    return rw.layout ? (uint8_t *)rw.ring.packed_desc : (uint8_t *)rw.ring.desc;
}

/* Three requests, popped and pushed but not published; positions as a device writes them down. */
static void push_three(uint16_t positions[N + 1], size_t n_direct)
{
    struct vq_chain chain;

    for (unsigned i = 0; i < N; i++)
        UT_TRUE(rw_request(8, 4, n_direct) != NULL);
    (void)guest_ring_publish(&rw.ring);
    positions[0] = virtqueue_position(rw.vq);
    for (unsigned i = 0; i < N; i++) {
        UT_EQ(virtqueue_pop(rw.vq, &chain), 1);
        positions[i + 1] = virtqueue_position(rw.vq);
        virtqueue_push(rw.vq, &chain, 4);
    }
}

/* A new queue on the same ring. */
static void replace(void)
{
    struct virtqueue_config c = guest_ring_config(&rw.ring);

    rw.vq = virtqueue_free(rw.vq);
    UT_EQ(virtqueue_new(&rw.vq, rw.mem, &c), 0);
}

/* What was not published is popped again; all answers arrive once. */
static void finish(unsigned shown)
{
    struct vq_chain chain;
    uint32_t head, len;

    for (unsigned i = shown; i < N; i++) {
        UT_EQ(virtqueue_pop(rw.vq, &chain), 1);
        UT_EQ(chain.readable, 8);
        UT_EQ(chain.writable, 4);
        virtqueue_push(rw.vq, &chain, 4);
    }
    UT_EQ(virtqueue_pop(rw.vq, &chain), 0);
    (void)virtqueue_publish(rw.vq);
    for (unsigned i = 0; i < N; i++) {
        UT_TRUE(guest_ring_used(&rw.ring, &head, &len));
        UT_EQ(len, 4);
    }
    UT_FALSE(guest_ring_used(&rw.ring, &head, &len));
}

static void check_death(uint64_t layout, uint64_t features, unsigned laps, bool publish)
{
    uint16_t positions[N + 1];
    uint32_t shown = 77;

    rw.layout = layout;
    UT_REQUIRE(rw_open(SIZE, features | VIRTIO_F_EVENT_IDX));
    for (unsigned i = 0; i <= laps; i++) {
        push_three(positions, features & VIRTIO_F_INDIRECT_DESC ? 0 : 2);
        if (publish || i < laps)
            (void)virtqueue_publish(rw.vq);
        if (i < laps)
            finish(N);
    }
    replace();
    UT_EQ(virtqueue_resume(rw.vq, positions, N, &shown), 0);
    UT_EQ(shown, publish ? N : 0);
    finish(shown);
    rw_close();
    rw.layout = 0;
}

static void what_was_not_published_is_popped_again(void)
{
    for (unsigned laps = 0; laps < 6; laps++) {
        check_death(0, 0, laps, false);
        check_death(0, VIRTIO_F_INDIRECT_DESC, laps, false);
        check_death(VIRTIO_F_RING_PACKED, 0, laps, false);
        check_death(VIRTIO_F_RING_PACKED, VIRTIO_F_INDIRECT_DESC, laps, false);
    }
}

static void what_was_published_is_left_alone(void)
{
    for (unsigned laps = 0; laps < 6; laps++) {
        check_death(0, 0, laps, true);
        check_death(0, VIRTIO_F_INDIRECT_DESC, laps, true);
        check_death(VIRTIO_F_RING_PACKED, 0, laps, true);
        check_death(VIRTIO_F_RING_PACKED, VIRTIO_F_INDIRECT_DESC, laps, true);
    }
}

/* A packed ring is published descriptor by descriptor: death after `done` of them. */
static void check_half(unsigned done, bool indirect)
{
    uint8_t before[SIZE * 16], after[SIZE * 16];
    uint16_t positions[N + 1];
    uint32_t shown;

    rw.layout = VIRTIO_F_RING_PACKED;
    UT_REQUIRE(rw_open(SIZE, VIRTIO_F_EVENT_IDX | (indirect ? VIRTIO_F_INDIRECT_DESC : 0)));
    push_three(positions, indirect ? 0 : 2);
    memcpy(before, ring_memory(), ring_bytes());
    (void)virtqueue_publish(rw.vq);
    memcpy(after, ring_memory(), ring_bytes());
    memcpy(ring_memory(), before, ring_bytes());
    for (unsigned i = 0; i < done; i++) {
        size_t at = (size_t)(positions[i] & 0x7fff) * 16;

        memcpy(ring_memory() + at, after + at, 16);
    }
    replace();
    UT_EQ(virtqueue_resume(rw.vq, positions, N, &shown), 0);
    UT_EQ(shown, done);
    finish(done);
    rw_close();
    rw.layout = 0;
}

static void a_half_published_packed_ring_is_published_to_the_end(void)
{
    for (unsigned done = 0; done <= N; done++) {
        check_half(done, false);
        check_half(done, true);
    }
}

static void a_packed_ring_is_not_written_before_it_is_published(void)
{
    uint8_t before[SIZE * 16];

    rw.layout = VIRTIO_F_RING_PACKED;
    UT_REQUIRE(rw_open(SIZE, VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC));
    for (unsigned i = 0; i < N; i++)
        UT_TRUE(rw_request(8, 4, 0) != NULL);
    (void)guest_ring_publish(&rw.ring);
    memcpy(before, ring_memory(), ring_bytes());
    for (unsigned i = 0; i < N; i++) {
        struct vq_chain chain;

        UT_EQ(virtqueue_pop(rw.vq, &chain), 1);
        virtqueue_push(rw.vq, &chain, 4);
    }
    UT_EQ(memcmp(before, ring_memory(), ring_bytes()), 0);
    (void)virtqueue_publish(rw.vq);
    UT_TRUE(memcmp(before, ring_memory(), ring_bytes()) != 0);
    rw_close();
    rw.layout = 0;
}

static void a_used_index_that_was_changed_breaks_the_queue(void)
{
    uint16_t positions[N + 1], right;
    uint32_t shown;

    UT_REQUIRE(rw_open(SIZE, VIRTIO_F_EVENT_IDX));
    push_three(positions, 2);
    right = rw.ring.used[1];
    rw.ring.used[1] = 9;
    replace();
    UT_EQ(virtqueue_resume(rw.vq, positions, N, &shown), -EPROTO);
    UT_TRUE(virtqueue_broken(rw.vq));
    rw.ring.used[1] = right; /* too late */
    UT_EQ(virtqueue_resume(rw.vq, positions, N, &shown), -EPROTO);
    rw_close();
}

static void a_position_outside_a_packed_ring_breaks_it(void)
{
    uint16_t positions[N + 1];
    uint32_t shown;

    rw.layout = VIRTIO_F_RING_PACKED;
    UT_REQUIRE(rw_open(SIZE, VIRTIO_F_EVENT_IDX));
    push_three(positions, 2);
    positions[N] = 0x8000 | SIZE;
    replace();
    UT_EQ(virtqueue_resume(rw.vq, positions, N, &shown), -EPROTO);
    rw_close();
    rw.layout = 0;
}

static const struct ut_case cases[] = {
    UT_CASE(what_was_not_published_is_popped_again),
    UT_CASE(what_was_published_is_left_alone),
    UT_CASE(a_half_published_packed_ring_is_published_to_the_end),
    UT_CASE(a_packed_ring_is_not_written_before_it_is_published),
    UT_CASE(a_used_index_that_was_changed_breaks_the_queue),
    UT_CASE(a_position_outside_a_packed_ring_breaks_it),
};

int main(int argc, char **argv)
{
    return ut_main(argc, argv, "virtqueue_resume", cases, ARRAY_SIZE(cases));
}
