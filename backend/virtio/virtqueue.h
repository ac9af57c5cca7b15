/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The device side of a virtqueue (virtio 1.3, 2.6 to 2.8), split or packed behind the same
 * functions.
 *
 * The ring is hostile memory that changes while we read it: each descriptor, index and event word
 * is loaded once, and checks and uses are on the copy. Whatever violates the ring's rules (more
 * available than the queue holds, a head or next outside the table, a loop, a chain longer than the
 * queue or into descriptors that are not available, a readable descriptor after a writable one, an
 * odd indirect table or one where none may be, an address that is not the guest's memory) makes the
 * queue broken: -EPROTO from then on, for good. The caller sets DEVICE_NEEDS_RESET.
 *
 * Buffers are used in the order in which they were made available, each with a used element of its
 * own. That is all that IN_ORDER asks of a device.
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
#define VIRTIO_F_RING_RESET      (1ull << 40)

struct virtqueue;

struct virtqueue_config {
    uint32_t size;     /* see virtqueue_size_valid */
    uint64_t desc;     /* descriptor area, 16-byte aligned; writable memory for a packed ring */
    uint64_t driver;   /* driver area: available ring, 2-byte aligned; packed: 4 bytes, aligned */
    uint64_t device;   /* device area: used ring, 4-byte aligned; packed: 4 bytes, aligned */
    uint64_t features; /* negotiated: RING_PACKED, INDIRECT_DESC and EVENT_IDX matter */
};

/* 1 to VIRTQUEUE_MAX_SIZE; a power of two unless the ring is packed. */
bool virtqueue_size_valid(uint32_t size, uint64_t features);

/*
 * Maps the ring and starts at index 0. -EINVAL: size, alignment, or an area that wraps; -EFAULT:
 * not guest memory (or read-only where we write); -ENOMEM. `mem` outlives the queue.
 */
MUST_CHECK int virtqueue_new(struct virtqueue **out, struct gmem *mem,
                             const struct virtqueue_config *config);
struct virtqueue *virtqueue_free(struct virtqueue *vq); /* NULL allowed; returns NULL */

/*
 * For a device that dies and has a successor on the same ring. virtqueue_position is behind
 * the oldest chain in flight, or where the next pop is: opaque, of this layout. A fresh queue
 * resumes from n + 1 of them: that of the last publish that is known of, and one after each of the
 * n buffers pushed since. The ring itself says how many of these were published (*shown_out): the
 * queue goes on behind them, so that the next pop returns the first that was not. -EPROTO: the ring
 * says something impossible, and is broken.
 */
uint16_t virtqueue_position(const struct virtqueue *vq);
MUST_CHECK int virtqueue_resume(struct virtqueue *vq, const uint16_t *positions, uint32_t n,
                                uint32_t *shown_out);

bool virtqueue_broken(const struct virtqueue *vq);
const char *virtqueue_broken_why(const struct virtqueue *vq); /* static text; "" if it is sound */

/*
 * A buffer taken from the queue: checked, bounded, and held by index only. In flight until it is
 * pushed.
 */
struct vq_chain {
    uint16_t head;       /* of a packed ring: the buffer id */
    uint16_t n_readable; /* descriptors */
    uint16_t n_writable;
    uint16_t place;    /* among those in flight */
    uint64_t readable; /* bytes; at most 2^32 - 1 in all */
    uint64_t writable;
};

/*
 * 1: *chain is the next buffer to use: the oldest in flight, or else the next available one; 0:
 * none is available; -EPROTO: the queue is broken.
 */
MUST_CHECK int virtqueue_pop(struct virtqueue *vq, struct vq_chain *chain);

/*
 * Takes one more available buffer, behind those that are in flight: 1; 0: none is available, or so
 * many are in flight that some have to be pushed first; -EPROTO: the queue is broken (those in
 * flight are not: they can be read, written and pushed).
 */
#ifndef VIRTQUEUE_AHEAD /* tests/prove has fewer */
#define VIRTQUEUE_AHEAD 64u
#endif
MUST_CHECK int virtqueue_pop_ahead(struct virtqueue *vq, struct vq_chain *chain);

/* Says ahead (gmem_want_access) that so many bytes of a chain in flight will be read and written,
 * or as many as it has. */
void virtqueue_want(struct virtqueue *vq, const struct vq_chain *chain, size_t read, size_t write);

/*
 * Copies the first min(max, readable) bytes of the readable part, once. Returns the number, or
 * -EPROTO (a buffer that is not guest memory breaks the queue: this chain and those behind it are
 * not in flight any more, those before it are).
 */
MUST_CHECK int virtqueue_read(struct virtqueue *vq, const struct vq_chain *chain, void *buf,
                              size_t max);

/* Copies len <= writable bytes to the start of the writable part. 0 or -EPROTO. */
MUST_CHECK int virtqueue_write(struct virtqueue *vq, const struct vq_chain *chain, const void *buf,
                               size_t len);

/* Puts the chain, the oldest in flight, on the used ring with `used` bytes written; the driver sees
 * it at virtqueue_publish. */
void virtqueue_push(struct virtqueue *vq, const struct vq_chain *chain, uint32_t used);

/* Gives the chain popped last back unused: the next pop returns it again. */
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
    uint16_t avail_seen; /* next available index; packed: slot, and wrap counter in bit 15 */
    uint16_t used;       /* next used index that will be written; packed: as above */
    uint64_t popped, pushed, notifications;
};
void virtqueue_get_stats(const struct virtqueue *vq, struct virtqueue_stats *out);

#endif
