/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The device side of a virtqueue (virtio 1.3, 2.6 to 2.8). Split rings here; the packed layout
 * fits behind the same functions.
 *
 * The ring is hostile memory that changes while we read it: each descriptor, index and event word
 * is loaded once, and checks and uses are on the copy. Whatever violates the ring's rules (an
 * available index more than the queue size ahead, a head or next outside the table, a loop, a
 * chain longer than the queue, a readable descriptor after a writable one, a nested or odd indirect
 * table, an address that is not the guest's memory) makes the queue broken: -EPROTO from then on,
 * for good. The caller sets DEVICE_NEEDS_RESET.
 *
 * Buffers are used in the order in which they were made available, one at a time.
 */
#ifndef VIOMMU_BACKEND_VIRTIO_VIRTQUEUE_H
#define VIOMMU_BACKEND_VIRTIO_VIRTQUEUE_H

#include "backend/virtio/gmem.h"

#define VIRTQUEUE_MAX_SIZE 1024u

/* Generic feature bits that concern rings. */
#define VIRTIO_F_INDIRECT_DESC   (1ull << 28)
#define VIRTIO_F_EVENT_IDX       (1ull << 29)
#define VIRTIO_F_VERSION_1       (1ull << 32)
#define VIRTIO_F_ACCESS_PLATFORM (1ull << 33)
#define VIRTIO_F_RING_PACKED     (1ull << 34)
#define VIRTIO_F_IN_ORDER        (1ull << 35)

struct virtqueue;

struct virtqueue_config {
    uint32_t size;     /* a power of two, 1 to VIRTQUEUE_MAX_SIZE */
    uint64_t desc;     /* descriptor area, 16-byte aligned */
    uint64_t driver;   /* driver area (available ring), 2-byte aligned */
    uint64_t device;   /* device area (used ring), 4-byte aligned */
    uint64_t features; /* negotiated */
};

/*
 * Maps the ring and starts at index 0. -EINVAL: size, alignment, or an area that wraps; -EFAULT:
 * not guest memory (or read-only where we write); -ENOMEM. `mem` outlives the queue.
 */
MUST_CHECK int virtqueue_new(struct virtqueue **out, struct gmem *mem,
                             const struct virtqueue_config *config);
struct virtqueue *virtqueue_free(struct virtqueue *vq); /* NULL allowed; returns NULL */

/*
 * For a device that dies and has a successor on the same ring. virtqueue_position is where the
 * device goes on after what it has popped so far: opaque, of this layout. A fresh queue resumes
 * from two of them, that of the last publish and that of the last push: if the ring itself says
 * that the pushed buffers were published (*shown_out) the queue goes on behind them, else the next
 * pop returns the first of them once more. -EPROTO: the ring says neither, and is broken.
 */
uint16_t virtqueue_position(const struct virtqueue *vq);
MUST_CHECK int virtqueue_resume(struct virtqueue *vq, uint16_t published, uint16_t pushed,
                                bool *shown_out);

bool virtqueue_broken(const struct virtqueue *vq);
const char *virtqueue_broken_why(const struct virtqueue *vq); /* static text; "" if it is sound */

/*
 * A buffer taken from the queue: checked, bounded, and held by index only. Each queue has one
 * chain in flight at most.
 */
struct vq_chain {
    uint16_t head;
    uint16_t n_readable; /* descriptors */
    uint16_t n_writable;
    uint64_t readable; /* bytes; at most 2^32 - 1 in all */
    uint64_t writable;
};

/* 1: *chain is the next buffer; 0: none is available; -EPROTO: the queue is broken. */
MUST_CHECK int virtqueue_pop(struct virtqueue *vq, struct vq_chain *chain);

/*
 * Copies the first min(max, readable) bytes of the readable part, once. Returns the number, or
 * -EPROTO (a buffer that is not guest memory breaks the queue).
 */
MUST_CHECK int virtqueue_read(struct virtqueue *vq, const struct vq_chain *chain, void *buf,
                              size_t max);

/* Copies len <= writable bytes to the start of the writable part. 0 or -EPROTO. */
MUST_CHECK int virtqueue_write(struct virtqueue *vq, const struct vq_chain *chain, const void *buf,
                               size_t len);

/* Puts the chain on the used ring with `used` bytes written; the driver sees it at
 * virtqueue_publish. */
void virtqueue_push(struct virtqueue *vq, const struct vq_chain *chain, uint32_t used);

/* Gives a popped chain back unused: the next pop returns it again. */
void virtqueue_unpop(struct virtqueue *vq, const struct vq_chain *chain);

/* Makes all pushed buffers visible. True if the driver asked for a notification of them. */
bool virtqueue_publish(struct virtqueue *vq);

/*
 * Asks the driver for kicks (or to leave them out while we are working anyway).
 * virtqueue_want_kicks returns true if buffers became available meanwhile, so that the caller goes
 * on instead of sleeping.
 */
bool virtqueue_want_kicks(struct virtqueue *vq);
void virtqueue_no_kicks(struct virtqueue *vq);

/* Are buffers available? Looks at the index only. */
bool virtqueue_has_work(struct virtqueue *vq);

struct virtqueue_stats {
    uint32_t size;
    uint16_t avail_seen; /* next available index that will be taken */
    uint16_t used;       /* next used index that will be written */
    uint64_t popped, pushed, notifications;
};
void virtqueue_get_stats(const struct virtqueue *vq, struct virtqueue_stats *out);

#endif
