/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The device's insides, shared by device.c (life cycle, queues), control.c (the control page) and
 * grant_map.c (directories).
 *
 * Invariants between two calls:
 * - connected: the control page is mapped, both virtqueues exist unless starting them failed
 *   (NEEDS_RESET then) or one was reset alone, and the features of the connection are the
 * negotiated ones.
 * - not connected: nothing of the guest is mapped and no fault of it is queued for the next one.
 * - running implies connected, DRIVER_OK, neither FAILED nor NEEDS_RESET: only then are the rings
 *   read or written (virtio 1.3, 2.1.2: nothing before DRIVER_OK, nothing after a reset).
 */
#ifndef VIOMMU_BACKEND_DAEMON_DEVICE_PRIV_H
#define VIOMMU_BACKEND_DAEMON_DEVICE_PRIV_H

#include "backend/daemon/control_page.h"
#include "backend/daemon/device.h"
#include "backend/daemon/statefile.h"
#include "common/log.h"

#include <endian.h>

/* A request that was taken off the ring: its bytes are copied once. */
struct device_request {
    struct vq_chain chain;
    size_t len; /* of what was copied */
    uint8_t bytes[VIOMMU_REQ_MAX];
};

struct device {
    struct device_config config;
    struct device_host host;
    struct gmem *mem;
    struct viommu *viommu;
    uint8_t *reply; /* viommu_reply_max() bytes */

    bool connected;
    bool running;
    bool rings_fresh; /* the queues are at index 0 and have never run */
    struct device_connection connection;
    struct gmem_area control;
    struct virtqueue *vq[VIOMMU_N_QUEUES];            /* NULL while running: that queue is reset */
    struct device_queue_setup queue[VIOMMU_N_QUEUES]; /* as mapped now, or last */

    uint8_t status;      /* as on the control page */
    uint32_t status_seq; /* the last one answered; so the next three */
    uint32_t bypass_seq;
    uint32_t map_generation; /* the last one answered */
    uint32_t map_in_use;
    uint8_t bypass_verdict, map_verdict;

    uint32_t queue_seq[VIOMMU_N_QUEUES];
    uint8_t queue_verdict[VIOMMU_N_QUEUES];

    struct statefile *file; /* NULL: no successor could go on */

    const char *broken_why; /* "" unless NEEDS_RESET */
    uint64_t breaks;
    struct ratelimit log_limit;

    struct device_request ahead[VIRTQUEUE_AHEAD]; /* last: what every request needs is above */
};

/*
 * Words of the control page: guest memory, so each is one aligned 32-bit access, and what was
 * loaded once is never loaded again for the same decision.
 */
static inline uint32_t *control_word(const struct device *d, unsigned offset)
{
    return (uint32_t *)(void *)(d->control.ptr + offset);
}

static inline uint32_t control_load(const struct device *d, unsigned offset)
{
    return le32toh(__atomic_load_n(control_word(d, offset), __ATOMIC_RELAXED));
}

/* A sequence word: the value that belongs to it is loaded afterwards. */
static inline uint32_t control_load_seq(const struct device *d, unsigned offset)
{
    return le32toh(__atomic_load_n(control_word(d, offset), __ATOMIC_ACQUIRE));
}

static inline void control_store(const struct device *d, unsigned offset, uint32_t value)
{
    __atomic_store_n(control_word(d, offset), htole32(value), __ATOMIC_RELAXED);
}

/* An acknowledgement: everything stored before it is visible first. */
static inline void control_store_ack(const struct device *d, unsigned offset, uint32_t value)
{
    __atomic_store_n(control_word(d, offset), htole32(value), __ATOMIC_RELEASE);
}

/* --- device.c --------------------------------------------------------------------------------- */

/*
 * DRIVER_OK: both queues from index 0. False if a ring can no longer be mapped; the device needs
 * a reset then.
 */
MUST_CHECK bool device_start(struct device *d);

/* Steps of connecting, for device_recover too: -errno with a text in why. */
MUST_CHECK int device_check_connection(const struct device *d, const struct device_connection *c,
                                       char *why, size_t why_size);
MUST_CHECK int device_map_control(struct device *d, char *why, size_t why_size);
MUST_CHECK int device_map_ring(struct device *d, unsigned queue,
                               const struct device_queue_setup *setup);
MUST_CHECK int device_map_rings(struct device *d, char *why, size_t why_size);
void device_unmap_rings(struct device *d);
/* Lets go of everything of the guest. */
void device_forget_guest(struct device *d);

/* Makes pushed buffers visible and tells the driver if it wants to know. */
void device_publish(struct device *d, unsigned queue);

/* Device reset (5.13.5; protocol 4.1): queues stopped, everything but the `bypass` byte forgotten.
 */
void device_reset(struct device *d);

/*
 * Queue reset (virtio 1.3, 2.6.1): the ring is unmapped and forgotten; vdomains and mappings stay.
 * -EBUSY: the device does not run. A queue that is reset stays so.
 */
MUST_CHECK int device_queue_reset(struct device *d, unsigned queue);

/*
 * Starts a queue that was reset at its beginning, with this set-up or (NULL) that of the
 * connection. -EBUSY: the device does not run, or the queue was not reset; else -errno for a set-up
 * that will not do, and the queue stays reset.
 */
MUST_CHECK int device_queue_enable(struct device *d, unsigned queue,
                                   const struct device_queue_setup *setup);

/* The device cannot go on: stops the queues; `why` is static text. Logged and counted once. */
void device_break(struct device *d, const char *what, const char *why);

/* --- control.c -------------------------------------------------------------------------------- */

/* Checks the frontend's magic and version. NULL, or what is wrong. */
const char *control_check(const struct device *d);

/*
 * Takes the grant map that is offered now, if it is not the one answered last: MAP_VERDICT_*.
 * *taken_out says whether there was one.
 */
uint32_t control_take_map(struct device *d, bool *taken_out);

/* Do the queues run with this status? From DRIVER_OK until FAILED, NEEDS_RESET or a reset. */
bool control_status_runs(uint8_t status);

/* Fills in the backend's half, from what the device knows. */
void control_fill(struct device *d);

/* --- grant_map.c ------------------------------------------------------------------------------ */

struct grant_map {
    struct gmem_run *runs;
    size_t n;
};

/*
 * Reads the directory chain that begins at page `ref` (0: an empty map), at most `max_pages` pages
 * long, each mapped read-only, copied once and unmapped. MAP_VERDICT_OK: out->runs are the
 * caller's; their values are unchecked, gmem_set_map does that. Otherwise nothing to free.
 */
MUST_CHECK uint32_t grant_map_read(const struct grant_ops *ops, void *ctx, uint32_t ref,
                                   uint32_t generation, uint32_t max_pages, struct grant_map *out);

#endif
