/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside of a virtqueue: what the layouts (virtqueue_split.c, later packed) share, and the table
 * that each fills in. Only virtqueue.c and the layouts include this.
 */
#ifndef VIOMMU_BACKEND_VIRTIO_VIRTQUEUE_PRIV_H
#define VIOMMU_BACKEND_VIRTIO_VIRTQUEUE_PRIV_H

#include "backend/virtio/virtqueue.h"

#define VRING_DESC_F_NEXT     1u
#define VRING_DESC_F_WRITE    2u
#define VRING_DESC_F_INDIRECT 4u

/* A descriptor as it is in memory; `next` is the buffer id's place in a packed ring. */
struct vring_desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags;
    uint16_t next;
};
_Static_assert(sizeof(struct vring_desc) == 16, "virtio 1.3, 2.7.5");

/* A piece of the present chain: private, checked. */
struct vq_piece {
    uint64_t addr;
    uint32_t len;
};

struct virtqueue_split {
    const uint64_t *desc; /* two words per descriptor */
    const uint16_t *avail;
    uint16_t *used_head; /* flags, index */
    uint32_t *used_ring; /* id and length of each element */
    uint16_t *avail_event;
    const uint16_t *used_event;
    uint16_t avail_idx; /* as last looked at */
};

/*
 * A layout. All are called for a sound queue only; pop and unpop alternate with push as in
 * virtqueue.h.
 */
struct virtqueue_ops {
    /* Bytes of each area for a ring of this size. */
    struct {
        uint32_t per_entry, extra, align;
    } desc, driver, device;

    /* Looks up ring pointers in the mapped areas. */
    void (*start)(struct virtqueue *vq);

    /* Walks the next chain into vq->pieces and vq->chain: 1, 0, or -EPROTO after vq_break(). */
    int (*pop)(struct virtqueue *vq);

    void (*unpop)(struct virtqueue *vq);
    void (*push)(struct virtqueue *vq, uint32_t used);
    bool (*publish)(struct virtqueue *vq);
    bool (*want_kicks)(struct virtqueue *vq);
    void (*no_kicks)(struct virtqueue *vq);
    bool (*has_work)(struct virtqueue *vq);

    /*
     * Has what was pushed between two positions been published, as far as the ring tells?
     * 1, 0, or -EPROTO after vq_break().
     */
    int (*shown)(struct virtqueue *vq, uint16_t published, uint16_t pushed);
};

extern const struct virtqueue_ops virtqueue_split_ops;

/*
 * Invariants: next_avail - used is 1 while a chain is in flight, else 0 (used in order, one at a
 * time); used - published is the number of pushed buffers that the driver cannot see yet.
 */
struct virtqueue {
    const struct virtqueue_ops *ops;
    struct gmem *mem;
    uint32_t size;
    bool event_idx;
    bool indirect;
    const char *why; /* broken, or NULL */

    uint16_t next_avail;
    uint16_t used;
    uint16_t published;

    bool in_flight;
    struct vq_chain chain;
    struct vq_piece *pieces; /* first the readable, then the writable ones of the chain */
    uint32_t n_pieces;
    struct vring_desc *table; /* the copy of an indirect table: `size` entries */

    struct virtqueue_split split;
    struct gmem_area desc, driver, device;
    uint64_t popped, pushed, notifications;
};

/* Breaks a sound queue for good, for a reason that is static text. Returns -EPROTO. */
int vq_break(struct virtqueue *vq, const char *why);

/* Chain under construction: forgets the old one. */
void vq_chain_begin(struct virtqueue *vq, uint16_t head);

/* Adds a piece, a private copy of a descriptor in native byte order: 0, or -EPROTO. */
int vq_chain_add(struct virtqueue *vq, const struct vring_desc *desc);

/*
 * Copies the indirect table that `desc` refers to into vq->table and says how many entries it has:
 * 0 or -EPROTO.
 */
int vq_indirect_copy(struct virtqueue *vq, const struct vring_desc *desc, uint32_t *n_out);

#endif
