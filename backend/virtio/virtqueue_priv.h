/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside of a virtqueue: what the layouts (virtqueue_split.c, virtqueue_packed.c) share, and the
 * table that each fills in. Only virtqueue.c and the layouts include this.
 */
#ifndef VIOMMU_BACKEND_VIRTIO_VIRTQUEUE_PRIV_H
#define VIOMMU_BACKEND_VIRTIO_VIRTQUEUE_PRIV_H

#include "backend/virtio/virtqueue.h"

#define VRING_DESC_F_NEXT     1u
#define VRING_DESC_F_WRITE    2u
#define VRING_DESC_F_INDIRECT 4u

/* A fuzz target lets its guest write before each load of a ring's word (tests/fuzz/guest.c). */
#ifdef VIRTQUEUE_TEST_HOOK
void virtqueue_test_hook(void);
#define VQ_HOOK() virtqueue_test_hook()
#else
#define VQ_HOOK() ((void)0)
#endif

/* A full barrier. A test lets its guest act in its place (tests/unit/test_virtqueue_fence.c). */
#ifdef VIRTQUEUE_TEST_FENCE
void virtqueue_test_fence(void);
#define VQ_FENCE() virtqueue_test_fence()
#else
#define VQ_FENCE() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#endif

/*
 * A descriptor: in a split ring and its tables as it is in memory. The last two words are the other
 * way round in the memory of a packed ring, and `next` is the buffer id there.
 */
struct vring_desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags;
    uint16_t next;
};
_Static_assert(sizeof(struct vring_desc) == 16, "virtio 1.3, 2.7.5 and 2.8.13");

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

/* A used descriptor that is still to be written: until then the ring has the driver's own, and a
 * successor of this process finds the buffer there (virtqueue_resume). */
struct packed_used {
    uint16_t slot;
    uint16_t flags;
    uint16_t id;
    uint32_t len;
};

/*
 * Positions (next_avail, used, published of struct virtqueue) are {slot: 15, wrap counter: 1} as in
 * the event suppression words (virtio 1.3, 2.8.14).
 */
struct virtqueue_packed {
    uint8_t *desc;
    const uint32_t *driver_event;
    uint32_t *device_event;
    uint32_t wish;            /* as last stored in *device_event */
    uint16_t slots;           /* of the chain under construction */
    uint32_t n_used;          /* pushed, not published */
    struct packed_used *used; /* `size` of them */
};

/* A chain that was popped and not pushed yet. */
struct vq_flight {
    struct vq_chain chain;
    uint32_t first_piece;
    uint16_t before; /* next_avail when it was popped */
};

/* More pieces than a chain of usual framing has; a longer one is the last of those taken ahead. */
#define VQ_AHEAD_PIECES (4 * VIRTQUEUE_AHEAD)

/*
 * A layout. pop is called for a sound queue only; the rest also for chains that were popped before
 * it broke.
 */
struct virtqueue_ops {
    /* Bytes of each area for a ring of this size, and whether we write there. */
    struct {
        uint32_t per_entry, extra, align;
        bool write;
    } desc, driver, device;

    /* Looks up ring pointers in the mapped areas. */
    void (*start)(struct virtqueue *vq);

    /* Walks the next chain into vq->pieces and vq->chain: 1, 0, or -EPROTO after vq_break(). */
    int (*pop)(struct virtqueue *vq);

    /* Writes the used element at vq->used of the chain with this head. */
    void (*push)(struct virtqueue *vq, uint16_t head, uint32_t used);
    bool (*publish)(struct virtqueue *vq);
    bool (*want_kicks)(struct virtqueue *vq);
    void (*no_kicks)(struct virtqueue *vq);
    bool (*has_work)(struct virtqueue *vq);

    /* How many of n buffers were published, as far as the ring tells (see virtqueue_resume); or
     * -EPROTO after vq_break(). */
    int (*shown)(struct virtqueue *vq, const uint16_t *positions, uint32_t n);
};

extern const struct virtqueue_ops virtqueue_split_ops;
extern const struct virtqueue_ops virtqueue_packed_ops;

/*
 * Invariants: next_avail is ahead of used by the chains in flight (used in order, oldest first);
 * used is ahead of published by the pushed buffers that the driver cannot see yet. In a split ring
 * the three are free-running 16-bit indices, in a packed ring positions.
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

    unsigned flight_first, flight_end; /* those of `flight` that are in flight */
    struct vq_chain chain;             /* under construction, or the last one */
    struct vq_piece *pieces; /* of each chain first the readable, then the writable ones */
    uint32_t n_pieces;
    struct vring_desc *table; /* the copy of an indirect table: `size` entries */

    struct virtqueue_split split;
    struct virtqueue_packed packed;
    struct gmem_area desc, driver, device;
    uint64_t popped, pushed, notifications;

    struct vq_flight flight[VIRTQUEUE_AHEAD]; /* last: what every request needs is above */
};

/* Breaks a sound queue for good, for a reason that is static text. Returns -EPROTO. */
int vq_break(struct virtqueue *vq, const char *why) COLD;

/* Chain under construction: forgets the old one. */
static inline void vq_chain_begin(struct virtqueue *vq, uint16_t head)
{
    vq->chain = (struct vq_chain){.head = head};
}

/* Adds a piece, a private copy of a descriptor in native byte order: 0, or -EPROTO. */
static inline int vq_chain_add(struct virtqueue *vq, struct vring_desc desc)
{
    bool write = desc.flags & VRING_DESC_F_WRITE;
    struct vq_chain *chain = &vq->chain;
    struct range gpa;

    /* virtio 1.3, 2.7.4.2, 2.8.5.2: device-writable ones after all readable ones; and what the used
     * length can say bounds them. */
    if (!write && chain->n_writable)
        return vq_break(vq, "readable descriptor after a writable one");
    if (desc.len > UINT32_MAX - (chain->readable + chain->writable))
        return vq_break(vq, "chain of more than 2^32 - 1 bytes");
    if (desc.len > 0) {
        if (!range_from_size(desc.addr, desc.len, &gpa) ||
            gmem_check_quick(vq->mem, gpa, write) < 0)
            return vq_break(vq, "buffer that is not the guest's memory");
    }
    if (write) {
        chain->writable += desc.len;
        chain->n_writable++;
    } else {
        chain->readable += desc.len;
        chain->n_readable++;
    }
    vq->pieces[vq->n_pieces++] = (struct vq_piece){.addr = desc.addr, .len = desc.len};
    return 0;
}

/*
 * Copies the indirect table that `desc` refers to into vq->table and says how many entries it has;
 * or -EPROTO.
 */
int vq_indirect_copy(struct virtqueue *vq, struct vring_desc desc);

#endif
