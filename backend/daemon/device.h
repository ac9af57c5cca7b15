/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One virtio-iommu with its transport: the control page, the two virtqueues, guest memory and the
 * device core, put together as docs/protocol.md says. Knows no hypervisor, no event loop and no
 * xenstore: the worker, the replay tool and the tests give it grants and two ways to notify.
 *
 * Everything that the guest writes is hostile. A broken ring puts this device into NEEDS_RESET and
 * nothing else.
 */
#ifndef VIOMMU_BACKEND_DAEMON_DEVICE_H
#define VIOMMU_BACKEND_DAEMON_DEVICE_H

#include "backend/viommu/viommu.h"
#include "backend/virtio/gmem.h"
#include "backend/virtio/virtqueue.h"

struct device;
struct statefile;

struct device_config {
    struct viommu_config viommu;
    struct gmem_limits mem;
    uint64_t ring_features;  /* offered besides VERSION_1 and ACCESS_PLATFORM */
    uint32_t max_queue_size; /* a power of two, at most VIRTQUEUE_MAX_SIZE */
    uint32_t max_map_pages;  /* directory pages of a grant map */
    unsigned budget;         /* requests per device_queue_event */
};

/* Those that can be offered. */
#define DEVICE_RING_FEATURES                                                                  \
    (VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX | VIRTIO_F_RING_PACKED | VIRTIO_F_IN_ORDER | \
     VIRTIO_F_RING_RESET)

#define DEVICE_CONFIG_DEFAULT                  \
    ((struct device_config){                   \
        .viommu = VIOMMU_CONFIG_DEFAULT,       \
        .mem = GMEM_LIMITS_DEFAULT,            \
        .ring_features = DEVICE_RING_FEATURES, \
        .max_queue_size = VIRTQUEUE_MAX_SIZE,  \
        .max_map_pages = 64,                   \
        .budget = 256,                         \
    })

/* What the device needs of the world around it; copied, the pointers outlive the device. */
struct device_host {
    const struct grant_ops *grants;
    void *grants_ctx;
    void (*notify_queue)(void *ctx, unsigned queue);
    void (*notify_control)(void *ctx);
    void *ctx;
};

/* -EINVAL with *why_out (static text), -ENOMEM. */
MUST_CHECK int device_new(struct device **out, const struct device_config *config,
                          const struct device_host *host, const char **why_out);
struct device *device_free(struct device *d); /* disconnects; NULL allowed; returns NULL */

/* All feature bits offered: device bits, ring bits, VERSION_1 and ACCESS_PLATFORM. */
uint64_t device_features(const struct device *d);

/* What the frontend's nodes say (xenstore/config.h parses them), checked here once more. */
struct device_queue_setup {
    uint32_t size;
    uint64_t desc, driver, device;
};
struct device_connection {
    uint64_t features;
    uint32_t control_ref;
    struct device_queue_setup queue[VIOMMU_N_QUEUES];
};

/*
 * State 3 to 4: checks, maps the control page, takes the grant map offered there, maps the rings,
 * fills in the backend's half. All or nothing: -errno, with a text for the `error` node in why
 * (why_size bytes).
 */
MUST_CHECK int device_connect(struct device *d, const struct device_connection *c, char *why,
                              size_t why_size);

/*
 * From now on the device writes a state file (backend/daemon/statefile.h; outlives it; NULL: none):
 * from device_connect on its tables, and after statefile_commit, which is the caller's, it counts.
 * Only while not connected. device_setup fills in what the device knows for that commit.
 */
struct statefile_setup;
void device_set_file(struct device *d, struct statefile *f);
/* This process ends, in whatever state the device is: the file stays as it is. */
void device_leave_file(struct device *d);
void device_setup(const struct device *d, struct statefile_setup *out);

/*
 * In place of device_connect, in a successor: goes on with the connection in the state file, as if
 * nothing had happened. The device was made with the configuration of the setup and has its
 * endpoints. Answers what was carried out and not published, and notifies; the caller then looks at
 * the control page and the queues without waiting for a kick. 0; 1 if the file (or a guest that
 * revoked what it had mapped) allows no more than to tell the driver, by NEEDS_RESET: connected as
 * well; or as device_connect.
 */
MUST_CHECK int device_recover(struct device *d, const struct statefile_setup *setup, char *why,
                              size_t why_size);

/* Stops, resets the device, unmaps rings, control page and all guest memory. Twice is allowed. */
void device_disconnect(struct device *d);
bool device_connected(const struct device *d);

/*
 * The control port was notified (or may have been): status, bypass, grant map, queue reset. To be
 * called once after connecting too, when the ports are bound: the frontend may have written before.
 * DRIVER_OK looks at both queues here, as enabling a queue does; true if work is left on them: as
 * with device_queue_event.
 */
bool device_control_event(struct device *d);

/*
 * A queue's port was notified: carries out up to `budget` requests, delivers faults, publishes,
 * notifies. True if work is left on it: the caller comes back with device_queue_event (of queue 0,
 * if it was for both) after the other sources had their turn.
 */
bool device_queue_event(struct device *d, unsigned queue);

/* Delivers queued fault reports to posted event buffers. Called after every soft DMA. */
void device_deliver_faults(struct device *d);

bool device_needs_reset(const struct device *d);
const char *device_needs_reset_why(const struct device *d); /* "" if not */
uint64_t device_breaks(const struct device *d);             /* how often it came to that */
uint8_t device_status(const struct device *d);

struct viommu *device_viommu(struct device *d);
struct gmem *device_gmem(struct device *d);
const struct device_config *device_config(const struct device *d);
/* Statistics of a ring; false while it is not mapped. */
bool device_queue_stats(const struct device *d, unsigned queue, struct virtqueue_stats *out);

#endif
