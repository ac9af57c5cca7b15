/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A guest's driver that is sound in most steps and hostile in some, for the targets that run a
 * connected device: requests in many framings, event buffers, DMA by soft endpoints, control page,
 * arbitrary bytes in rings and buffers, memory that changes while the device looks at it, a
 * platform in trouble. Each step takes what it needs from the input.
 */
#ifndef VIOMMU_TESTS_FUZZ_FRONTEND_H
#define VIOMMU_TESTS_FUZZ_FRONTEND_H

#include "tests/fuzz/guest.h"
#include "tests/support/guest_ring.h"

struct frontend {
    struct fuzz_guest g;
    struct guest_arena arena;
    struct guest_ring ring[VIOMMU_N_QUEUES];
    struct device_connection c;
    size_t next_buffer;
    uint8_t flags, size[VIOMMU_N_QUEUES];
    /* The guest has done what may break its device: it wrote to what is the device's, took grants
     * back, or the platform failed. Since it connected. */
    bool rough;
};

/* Takes the first byte: platform, budget, features, where the rings are. Not connected yet. */
void frontend_open(struct frontend *f, struct fuzz_in *in);

/* Connects, and sets DRIVER_OK if that went well; with a state file, commits it. */
void frontend_connect(struct frontend *f, struct fuzz_in *in);

/* One step of the guest, chosen by `op`. */
void frontend_step(struct frontend *f, uint8_t op, struct fuzz_in *in);

#endif
