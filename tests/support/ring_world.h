/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What tests of virtqueues start from: guest memory with its grants, a ring in it, the guest driver
 * and the device's queue. One world at a time.
 */
#ifndef VIOMMU_TESTS_RING_WORLD_H
#define VIOMMU_TESTS_RING_WORLD_H

#include "tests/support/fake_grants.h"
#include "tests/support/guest_ring.h"

#define RW_PAGES    512u
#define RW_REF      1000u
#define RW_BASE     0x40000000ull
#define RW_RO_BASE  0x60000000ull /* the same pages again, read-only */
#define RW_RO_REF   9000u
#define RW_OUTSIDE  0x7000000000ull /* no memory there */
#define RW_INDIRECT (VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC)

struct ring_world {
    uint64_t layout; /* 0 or VIRTIO_F_RING_PACKED: added to the features of every ring */
    struct fake_grants *grants;
    struct gmem *mem;
    struct guest_arena arena;
    struct guest_ring ring;
    struct virtqueue *vq;
};
extern struct ring_world rw;

/* Guest memory; its arena is in the grant map, or grant addresses. */
bool rw_open_on(const struct grant_ops *ops, bool grant_addresses);
/* A ring and its queue. */
bool rw_start(uint32_t size, uint64_t features);
/* Both. */
bool rw_open(uint32_t size, uint64_t features);
/* Frees everything and checks that nothing stayed mapped. */
void rw_close(void);

uint64_t rw_address(const void *p);
uint64_t rw_memory(void); /* some pages that nothing else uses */

/* Adds a request of one readable and one writable buffer; returns the readable part, or NULL. */
uint8_t *rw_request(uint32_t readable, uint32_t writable, size_t n_direct);

/* Fixed sequence of 24-bit numbers. */
uint32_t rw_random(uint32_t *state);

#endif
