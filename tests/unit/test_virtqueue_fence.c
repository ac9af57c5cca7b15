/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The four full barriers of the rings. Two threads that race lose nothing most of the time, so here
 * the driver acts exactly where the barrier is: what the device stored before must be there, and
 * what the driver stores then must be seen.
 */
#include <config.h>

#include "backend/virtio/virtqueue.h"
#include "tests/support/ring_world.h"
#include "tests/support/ut.h"

#include "common/compiler.h"

static void (*meanwhile)(void); /* once */
static unsigned n_fences;
static bool kick_wanted;

void virtqueue_test_fence(void);
void virtqueue_test_fence(void)
{
    void (*act)(void) = meanwhile;

    n_fences++;
    meanwhile = NULL;
    if (act)
        act();
}

static const uint64_t features[] = {
    VIRTIO_F_VERSION_1,
    VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX,
    VIRTIO_F_VERSION_1 | VIRTIO_F_RING_PACKED,
    VIRTIO_F_VERSION_1 | VIRTIO_F_RING_PACKED | VIRTIO_F_EVENT_IDX,
};

static void driver_wants_an_interrupt(void)
{
    UT_EQ(guest_ring_used_idx(&rw.ring), 1); /* what the device stored before is there */
    guest_ring_want_interrupts(&rw.ring, true);
}

static void a_wish_for_an_interrupt_is_seen_after_the_used_buffer(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
        struct vq_chain chain;
        bool interrupt;

        UT_REQUIRE(rw_open(8, features[i]));
        guest_ring_want_interrupts(&rw.ring, false);
        UT_REQUIRE(rw_request(4, 4, 2) != NULL);
        guest_ring_publish(&rw.ring);
        UT_REQUIRE(virtqueue_pop(rw.vq, &chain) == 1);
        virtqueue_push(rw.vq, &chain, 0);
        UT_EQ(guest_ring_used_idx(&rw.ring), 0);
        n_fences = 0;
        meanwhile = driver_wants_an_interrupt;
        interrupt = virtqueue_publish(rw.vq);
        UT_EQ(n_fences, 1);
        UT_TRUE(interrupt); /* what the driver stored is seen */
        rw_close();
    }
}

static void driver_publishes(void)
{
    kick_wanted = guest_ring_publish(&rw.ring);
}

static void a_buffer_is_kicked_for_or_seen(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
        bool work;

        UT_REQUIRE(rw_open(8, features[i]));
        virtqueue_no_kicks(rw.vq);
        UT_REQUIRE(rw_request(4, 4, 2) != NULL);
        n_fences = 0;
        kick_wanted = false;
        meanwhile = driver_publishes;
        work = virtqueue_want_kicks(rw.vq);
        UT_EQ(n_fences, 1);
        UT_TRUE(kick_wanted); /* what the device stored before is there */
        UT_TRUE(work);        /* what the driver stored is seen */
        rw_close();
    }
}

int main(int argc, char **argv)
{
    static const struct ut_case cases[] = {
        UT_CASE(a_wish_for_an_interrupt_is_seen_after_the_used_buffer),
        UT_CASE(a_buffer_is_kicked_for_or_seen),
    };

    return ut_main(argc, argv, "virtqueue_fence", cases, ARRAY_SIZE(cases));
}
