/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A guest that writes arbitrary ring memory, also while the device reads it, through
 * backend/daemon/device.c with soft endpoints. Well-formed requests, event buffers and DMA are
 * among the steps (frontend.c), so that the garbage meets a device that has state. After each step
 * the pages mapped, the pins and the tables must agree; after a disconnect nothing is left.
 *
 * The layout of the rings follows a bit of the input.
 */
#include <config.h>

#include "tests/fuzz/frontend.h"

#define MAX_STEPS 160u

/* A device that needs a reset touches its rings no more. */
static uint64_t activity(const struct fuzz_guest *g)
{
    struct virtqueue_stats s;
    uint64_t n = 0;

    for (unsigned q = 0; q < VIOMMU_N_QUEUES; q++) {
        if (device_queue_stats(g->d, q, &s))
            n += s.popped + s.pushed;
    }
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct frontend f;
    struct fuzz_in in = {data, size};

    frontend_open(&f, &in);
    frontend_connect(&f, &in);
    fuzz_guest_check(&f.g);
    for (unsigned i = 0; in.n > 0 && i < MAX_STEPS; i++) {
        bool stopped = device_needs_reset(f.g.d);
        uint64_t before = activity(&f.g), breaks = device_breaks(f.g.d);

        frontend_step(&f, fuzz_u8(&in), &in);
        fuzz_guest_check(&f.g);
        FUZZ_CHECK(!stopped || !device_needs_reset(f.g.d) || device_breaks(f.g.d) != breaks ||
                   activity(&f.g) == before);
    }
    fuzz_guest_close(&f.g);
    return 0;
}
