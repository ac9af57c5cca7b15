/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the proofs of the ring walk share: the invariants of a virtqueue, and the contract of a
 * layout's pop and push. prove_layout.c proves the contract of the layouts; prove_queue.c trusts it
 * and proves that the invariants survive every operation; prove_chain.c proves what the layouts
 * trust: vq_chain_add and vq_indirect_copy.
 */
#ifndef VIOMMU_TESTS_PROVE_RING_H
#define VIOMMU_TESTS_PROVE_RING_H

#include <errno.h>
#include <stdlib.h>

#include "tests/prove/prove.h"

/* The quick ways to guest memory (proof `view`) are left out: the harness's own functions are all
 * there is. Sources under proof are included behind this, for that reason. */
#define gmem_check_quick gmem_check_quick_code
#define gmem_read_quick  gmem_read_quick_code
#define gmem_write_quick gmem_write_quick_code
#define gmem_read_view   gmem_read_view_code
#define gmem_write_view  gmem_write_view_code
#include "backend/virtio/gmem.h"
#undef gmem_check_quick
#undef gmem_read_quick
#undef gmem_write_quick
#undef gmem_read_view
#undef gmem_write_view
#define gmem_check_quick gmem_check
#define gmem_read_quick  gmem_read
#define gmem_write_quick gmem_write

#ifdef WITHOUT_CHAIN_ADD /* the harness has its own */
#define vq_chain_add vq_chain_add_code
#include "backend/virtio/virtqueue_priv.h"
#undef vq_chain_add
#define vq_chain_add vq_chain_add_contract
#else
#include "backend/virtio/virtqueue_priv.h"
#endif

#ifdef PACKED
#define FEATURES VIRTIO_F_RING_PACKED
#define OPS      virtqueue_packed_ops
#else
#define FEATURES 0
#define OPS      virtqueue_split_ops
#endif
#define WRAP 0x8000u

/* Most pieces of a chain: as many direct descriptors as the ring has, and one table. */
#define CHAIN_MOST(vq) (2 * (vq)->size)

#ifdef PACKED
static bool position_valid(const struct virtqueue *vq, uint16_t p)
{
    return (p & (WRAP - 1)) < vq->size;
}

/* Slots from a to b, going on; up to two laps. */
static uint32_t ahead(const struct virtqueue *vq, uint16_t a, uint16_t b)
{
    uint32_t x = (a & (WRAP - 1)) + (a & WRAP ? vq->size : 0);
    uint32_t y = (b & (WRAP - 1)) + (b & WRAP ? vq->size : 0);

    return y >= x ? y - x : y + 2 * vq->size - x;
}
#else
static bool position_valid(const struct virtqueue *vq, uint16_t p)
{
    return true;
}

static uint32_t ahead(const struct virtqueue *vq, uint16_t a, uint16_t b)
{
    return (uint16_t)(b - a);
}
#endif

/* What pop needs, and what holds behind it too. */
static bool indices_valid(const struct virtqueue *vq)
{
    return position_valid(vq, vq->next_avail) && position_valid(vq, vq->used) &&
           position_valid(vq, vq->published) &&
           ahead(vq, vq->published, vq->next_avail) <= vq->size;
}

#ifdef PACKED
/* Each buffer that waits for publishing takes at least a slot. */
static bool waiting_valid(const struct virtqueue *vq)
{
    uint32_t out = ahead(vq, vq->published, vq->used);

    return vq->packed.n_used <= out && (vq->packed.n_used == 0) == (out == 0);
}
#else
static bool waiting_valid(const struct virtqueue *vq)
{
    return true;
}
#endif

/* A chain as pop hands it out: within what a reply can speak of. */
static bool chain_valid(const struct virtqueue *vq, const struct vq_chain *chain)
{
    return (uint32_t)chain->n_readable + chain->n_writable <= CHAIN_MOST(vq) &&
           chain->readable <= UINT32_MAX && chain->writable <= UINT32_MAX &&
           chain->readable + chain->writable <= UINT32_MAX;
}

#endif
