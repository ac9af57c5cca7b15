/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A small guest driver: lays out a split or packed ring in guest memory, makes buffers available in
 * every framing that virtio allows, and takes them back. For unit tests, the replay tool,
 * benchmarks and fuzzers; a test that wants a broken ring writes into it through the pointers.
 *
 * Guest memory is one linear arena: byte i at `memory + i` is guest address `address + i` (a run of
 * the grant map, or consecutive references).
 */
#ifndef VIOMMU_TESTS_GUEST_RING_H
#define VIOMMU_TESTS_GUEST_RING_H

#include "backend/virtio/virtqueue.h"

struct guest_arena {
    uint8_t *memory;
    uint64_t address;
    size_t size;
    size_t next; /* first free byte */
};

/* `size` bytes, aligned (a power of two), zeroed; NULL when the arena is full. Never freed. */
void *guest_alloc(struct guest_arena *arena, size_t size, size_t align);
uint64_t guest_address(const struct guest_arena *arena, const void *p);

struct guest_desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags, next;
};

struct guest_packed_desc {
    uint64_t addr;
    uint32_t len;
    uint16_t id, flags;
};

/* A place in a packed ring. */
struct guest_position {
    uint32_t slot;
    bool wrap;
};

struct guest_ring {
    struct guest_arena *arena;
    uint32_t size;
    uint64_t features;
    bool packed;
    union {
        struct guest_desc *desc;
        struct guest_packed_desc *packed_desc;
    };
    uint16_t *avail; /* flags, idx, ring[size], used_event; packed: the driver's off_wrap, flags */
    uint16_t *used;  /* flags, idx, {id, len}[size], avail_event; packed: the device's */
    union {          /* per head or id, `size` entries: for indirect requests */
        struct guest_desc *tables;
        struct guest_packed_desc *packed_tables;
    };

    uint16_t avail_idx;  /* as the driver has prepared it */
    uint16_t kicked_idx; /* as it was at the last kick decision */
    uint16_t used_seen;  /* next used element to take; packed: number of those taken */
    uint32_t free_first, n_free;
    uint16_t free[VIRTQUEUE_MAX_SIZE];      /* queue of free descriptors; packed: of ids */
    uint16_t link[VIRTQUEUE_MAX_SIZE];      /* next descriptor of a chain */
    uint16_t chain_len[VIRTQUEUE_MAX_SIZE]; /* descriptors of the chain with this head; 0: none */

    /* Packed only. */
    struct guest_position next, kicked, taken; /* as the three indices above */
    uint32_t n_free_slots;
    uint32_t hidden_slot; /* first slot that is prepared and not published */
    uint16_t hidden_flags;
    bool hidden;
};

/*
 * Allocates the ring in the arena, packed if `features` has RING_PACKED. False: it is full or the
 * size is no ring size.
 */
bool guest_ring_init(struct guest_ring *ring, struct guest_arena *arena, uint32_t size,
                     uint64_t features);
/* What a driver tells the device. */
struct virtqueue_config guest_ring_config(const struct guest_ring *ring);

/* guest_ring_add takes the descriptor that has been free longest; this puts it at the end, so that
 * chains are scattered over the table. In a packed ring it does so with the buffer ids. */
void guest_ring_rotate_free(struct guest_ring *ring, unsigned steps);

struct guest_buf {
    uint64_t addr;
    uint32_t len;
    bool write; /* device-writable */
};

/*
 * Puts `bufs` on the available ring: the first n_direct as direct descriptors, the others in an
 * indirect table (none if n_direct >= n). A packed ring knows no mix: all are direct there unless
 * n_direct is 0. The device sees it at guest_ring_publish. Returns the head, in a packed ring the
 * buffer id; or -1 when descriptors or the table are short.
 */
int guest_ring_add(struct guest_ring *ring, const struct guest_buf *bufs, size_t n,
                   size_t n_direct);

/* Publishes what was added. True if the device asked for a kick. */
bool guest_ring_publish(struct guest_ring *ring);

/* Takes the next used buffer, whose descriptors are free again. False if there is none. */
bool guest_ring_used(struct guest_ring *ring, uint32_t *head_out, uint32_t *len_out);

/* Asks to be notified at the next used buffer, or not at all (split with event idx: far away). */
void guest_ring_want_interrupts(struct guest_ring *ring, bool wanted);

/* How many used buffers the device has made visible so far, modulo 65536. */
uint16_t guest_ring_used_idx(const struct guest_ring *ring);

/* Raw words of a split ring. */
uint16_t *guest_ring_used_event(struct guest_ring *ring);
uint16_t *guest_ring_avail_event(struct guest_ring *ring);

/* `n` slots further in a packed ring. */
struct guest_position guest_ring_advance(const struct guest_ring *ring, struct guest_position from,
                                         uint32_t n);

#endif
