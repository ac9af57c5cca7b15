/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The replay tool's guest: memory and grants, control page and rings, with the device in the same
 * process. What the script may name (guest memory) and what makes the device run (control page,
 * rings, request buffers) are different pages.
 */
#ifndef VIOMMU_TESTS_REPLAY_GUEST_H
#define VIOMMU_TESTS_REPLAY_GUEST_H

#include "backend/daemon/device.h"
#include "tests/support/fake_grants.h"
#include "tests/support/replay/options.h"
#include "tests/support/replay/requests.h"

struct guest {
    const struct replay_options *options;
    struct fake_grants *grants;
    struct device *device;
    struct guest_arena arena; /* of the frontend */
    size_t rings_at;          /* where the rings begin in it */
    uint8_t *control;
    struct guest_ring request_ring;
    struct guest_ring event_ring;
    struct guest_arena event_pool;
    struct requests *requests;
    uint64_t features; /* accepted, with the transport's */
    uint64_t lost_before;
};

/*
 * Sets everything up to DRIVER_OK. 0, or -errno with a text in why: -EINVAL means that the device
 * cannot be as the options say.
 */
MUST_CHECK int guest_init(struct guest *g, const struct replay_options *options, char *why,
                          size_t why_size);

/* Disconnects and frees. False if the device left something mapped. */
bool guest_fini(struct guest *g);

/* Device reset and initialisation up to DRIVER_OK. False, with a text, if the device refuses. */
MUST_CHECK bool guest_reset(struct guest *g, char *why, size_t why_size);

/* The driver writes the `bypass` byte. False if the device refuses. */
MUST_CHECK bool guest_bypass(struct guest *g, uint32_t value);

/* Kicks the request queue until the device has nothing left to do. */
void guest_kick(struct guest *g);

/*
 * Posts event buffers until no report is left: how many came, and how many were lost since the
 * last call. False if the event queue made no sense.
 */
MUST_CHECK bool guest_events(struct guest *g, uint64_t *n_out, uint64_t *lost_out);

#endif
