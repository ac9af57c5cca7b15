/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Virtqueues: what does not depend on the layout of the ring. Chains as private copies, bounded
 * reads and writes of them, life cycle. The layouts are in virtqueue_split.c and
 * virtqueue_packed.c.
 */
#include <config.h>

#include "backend/virtio/virtqueue.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>

#include "backend/virtio/virtqueue_priv.h"

int vq_break(struct virtqueue *vq, const char *why)
{
    vq->why = why;
    return -EPROTO;
}

int vq_indirect_copy(struct virtqueue *vq, struct vring_desc desc)
{
    uint32_t n = desc.len / sizeof(struct vring_desc);

    if (!vq->indirect)
        return vq_break(vq, "indirect descriptor, but not negotiated");
    if (desc.flags & VRING_DESC_F_NEXT)
        return vq_break(vq, "indirect descriptor with a successor");
    if (n == 0 || desc.len % sizeof(struct vring_desc))
        return vq_break(vq, "indirect table of an odd size");
    if (n > vq->size)
        return vq_break(vq, "indirect table longer than the queue");
    /* WRITE on this descriptor is ignored (virtio 1.3, 2.7.5.3.2, 2.8.7): the table is only read.
     */
    if (gmem_read(vq->mem, desc.addr, vq->table, desc.len) < 0)
        return vq_break(vq, "indirect table that is not the guest's memory");
    /* At most VIRTQUEUE_MAX_SIZE. */
    return (int)n;
}

static int map_area(struct gmem *mem, uint64_t addr, uint64_t bytes, uint32_t align, bool write,
                    struct gmem_area *out)
{
    struct range gpa;

    if (addr % align || !range_from_size(addr, bytes, &gpa))
        return -EINVAL;
    return gmem_area_map(mem, gpa, write, out);
}

static int map_ring(struct virtqueue *vq, const struct virtqueue_config *config)
{
    const struct virtqueue_ops *ops = vq->ops;
    uint64_t n = vq->size;
    int r = map_area(vq->mem, config->desc, ops->desc.per_entry * n + ops->desc.extra,
                     ops->desc.align, ops->desc.write, &vq->desc);

    if (r == 0)
        r = map_area(vq->mem, config->driver, ops->driver.per_entry * n + ops->driver.extra,
                     ops->driver.align, ops->driver.write, &vq->driver);
    if (r == 0)
        r = map_area(vq->mem, config->device, ops->device.per_entry * n + ops->device.extra,
                     ops->device.align, ops->device.write, &vq->device);
    return r;
}

bool virtqueue_size_valid(uint32_t size, uint64_t features)
{
    if (size == 0 || size > VIRTQUEUE_MAX_SIZE)
        return false;
    return (features & VIRTIO_F_RING_PACKED) || (size & (size - 1)) == 0;
}

/* As many direct descriptors as the ring has, and one indirect table, behind what was taken ahead.
 */
static bool alloc_state(struct virtqueue *vq, bool packed)
{
    vq->pieces = calloc(VQ_AHEAD_PIECES + 2 * (size_t)vq->size, sizeof(*vq->pieces));
    vq->table = calloc(vq->size, sizeof(*vq->table));
    if (packed)
        vq->packed.used = calloc(vq->size, sizeof(*vq->packed.used));
    return vq->pieces && vq->table && (!packed || vq->packed.used);
}

int virtqueue_new(struct virtqueue **out, struct gmem *mem, const struct virtqueue_config *config)
{
    bool packed = config->features & VIRTIO_F_RING_PACKED;
    struct virtqueue *vq;
    int r;

    if (!virtqueue_size_valid(config->size, config->features))
        return -EINVAL;
    vq = calloc(1, sizeof(*vq));
    if (!vq)
        return -ENOMEM;
    vq->ops = packed ? &virtqueue_packed_ops : &virtqueue_split_ops;
    vq->mem = mem;
    vq->size = config->size;
    vq->event_idx = config->features & VIRTIO_F_EVENT_IDX;
    vq->indirect = config->features & VIRTIO_F_INDIRECT_DESC;
    r = alloc_state(vq, packed) ? map_ring(vq, config) : -ENOMEM;
    if (r < 0) {
        virtqueue_free(vq);
        return r;
    }
    vq->ops->start(vq);
    *out = vq;
    return 0;
}

struct virtqueue *virtqueue_free(struct virtqueue *vq)
{
    if (!vq)
        return NULL;
    gmem_area_unmap(vq->mem, &vq->device);
    gmem_area_unmap(vq->mem, &vq->driver);
    gmem_area_unmap(vq->mem, &vq->desc);
    free(vq->packed.used);
    free(vq->table);
    free(vq->pieces);
    free(vq);
    return NULL;
}

bool virtqueue_broken(const struct virtqueue *vq)
{
    return vq->why != NULL;
}

const char *virtqueue_broken_why(const struct virtqueue *vq)
{
    return vq->why ? vq->why : "";
}

HOT int virtqueue_pop_ahead(struct virtqueue *vq, struct vq_chain *chain)
{
    struct vq_flight *flight;
    int r;

    if (vq->why)
        return -EPROTO;
    if (vq->flight_first == vq->flight_end)
        vq->flight_first = vq->flight_end = vq->n_pieces = 0;
    if (vq->flight_end == VIRTQUEUE_AHEAD || vq->n_pieces > VQ_AHEAD_PIECES)
        return 0;
    flight = &vq->flight[vq->flight_end];
    flight->first_piece = vq->n_pieces;
    flight->before = vq->next_avail;
    r = vq->ops->pop(vq);
    if (r <= 0)
        return r;
    vq->chain.place = (uint16_t)vq->flight_end++;
    flight->chain = *chain = vq->chain;
    vq->popped++;
    return 1;
}

int virtqueue_pop(struct virtqueue *vq, struct vq_chain *chain)
{
    /* Whoever did not finish with a chain gets it again. */
    if (!vq->why && vq->flight_first < vq->flight_end) {
        *chain = vq->flight[vq->flight_first].chain;
        return 1;
    }
    return virtqueue_pop_ahead(vq, chain);
}

/* A chain that broke the queue, and those behind it, are not to be used any more. */
static COLD int copy_failed(struct virtqueue *vq, const struct vq_chain *chain, int r)
{
    vq->next_avail = vq->flight[chain->place].before;
    vq->flight_end = chain->place;
    return vq_break(vq, r == -EFAULT ? "buffer that is not the guest's memory"
                                     : "buffer that the host could not reach");
}

/* Copies between buf and the chain's pieces from `piece` on; they have `len` bytes. */
static NOINLINE int copy_pieces(struct virtqueue *vq, const struct vq_chain *chain,
                                const struct vq_piece *piece, uint8_t *buf, size_t len, bool write)
{
    while (len > 0) {
        size_t n = piece->len < len ? piece->len : len;
        int r = write ? gmem_write_quick(vq->mem, piece->addr, buf, n)
                      : gmem_read_quick(vq->mem, piece->addr, buf, n);

        if (r < 0)
            return copy_failed(vq, chain, r);
        buf += n;
        len -= n;
        piece++;
    }
    return 0;
}

/* NULL: the chain is not in flight. */
static const struct vq_flight *flight_of(const struct virtqueue *vq, const struct vq_chain *chain)
{
    const struct vq_flight *flight;

    if (chain->place < vq->flight_first || chain->place >= vq->flight_end)
        return NULL;
    flight = &vq->flight[chain->place];
    return chain->head == flight->chain.head ? flight : NULL;
}

/* The pieces that hold `len` bytes from `piece` on; the chain has them. */
static void want_pieces(struct virtqueue *vq, const struct vq_piece *piece, size_t len, bool write)
{
    for (; len > 0; piece++) {
        size_t n = piece->len < len ? piece->len : len;
        struct range gpa;

        if (range_from_size(piece->addr, n, &gpa))
            gmem_want_access(vq->mem, gpa, write);
        len -= n;
    }
}

void virtqueue_want(struct virtqueue *vq, const struct vq_chain *chain, size_t read, size_t write)
{
    const struct vq_flight *flight = flight_of(vq, chain);
    const struct vq_piece *pieces;

    if (!flight)
        return;
    pieces = &vq->pieces[flight->first_piece];
    /* First what is written to: a window for that serves reads of the same page. */
    if (write > chain->writable)
        write = (size_t)chain->writable;
    if (read > chain->readable)
        read = (size_t)chain->readable;
    want_pieces(vq, pieces + chain->n_readable, write, true);
    want_pieces(vq, pieces, read, false);
}

HOT int virtqueue_read(struct virtqueue *vq, const struct vq_chain *chain, void *buf, size_t max)
{
    const struct vq_flight *flight = flight_of(vq, chain);
    const struct vq_piece *piece;
    size_t n;

    if (!flight)
        return -EPROTO;
    n = max < flight->chain.readable ? max : flight->chain.readable;
    if (n > INT32_MAX)
        return -EPROTO;
    piece = &vq->pieces[flight->first_piece];
    /* Mostly it is one piece, and in view. */
    if (LIKELY(n > 0 && n <= piece->len && gmem_read_view(vq->mem, piece->addr, buf, n)))
        return (int)n;
    return copy_pieces(vq, chain, piece, buf, n, false) < 0 ? -EPROTO : (int)n;
}

HOT int virtqueue_write(struct virtqueue *vq, const struct vq_chain *chain, const void *buf,
                        size_t len)
{
    const struct vq_flight *flight = flight_of(vq, chain);
    const struct vq_piece *piece;

    if (!flight || len > flight->chain.writable)
        return -EPROTO;
    piece = &vq->pieces[flight->first_piece + flight->chain.n_readable];
    if (LIKELY(len > 0 && len <= piece->len && gmem_write_view(vq->mem, piece->addr, buf, len)))
        return 0;
    return copy_pieces(vq, chain, piece, (uint8_t *)(uintptr_t)buf, len, true);
}

/* Behind the oldest chain in flight. */
static uint16_t behind_oldest(const struct virtqueue *vq)
{
    return vq->flight_end - vq->flight_first > 1 ? vq->flight[vq->flight_first + 1].before
                                                 : vq->next_avail;
}

HOT void virtqueue_push(struct virtqueue *vq, const struct vq_chain *chain, uint32_t used)
{
    const struct vq_flight *flight = flight_of(vq, chain);

    if (!flight || chain->place != vq->flight_first)
        return;
    /* The length counts bytes of the writable part only (virtio 1.3, 2.7.8.2). */
    if (used > flight->chain.writable)
        used = (uint32_t)flight->chain.writable;
    vq->ops->push(vq, flight->chain.head, used);
    vq->used = behind_oldest(vq);
    vq->flight_first++;
    vq->pushed++;
}

void virtqueue_unpop(struct virtqueue *vq, const struct vq_chain *chain)
{
    const struct vq_flight *flight = flight_of(vq, chain);

    if (!flight || chain->place + 1u != vq->flight_end)
        return;
    vq->next_avail = flight->before;
    vq->n_pieces = flight->first_piece;
    vq->flight_end--;
    vq->popped--;
}

bool virtqueue_publish(struct virtqueue *vq)
{
    bool notify = vq->ops->publish(vq);

    vq->notifications += notify;
    return notify;
}

bool virtqueue_want_kicks(struct virtqueue *vq)
{
    return !vq->why && vq->ops->want_kicks(vq);
}

void virtqueue_no_kicks(struct virtqueue *vq)
{
    if (!vq->why)
        vq->ops->no_kicks(vq);
}

bool virtqueue_has_work(struct virtqueue *vq)
{
    return !vq->why && vq->ops->has_work(vq);
}

HOT uint16_t virtqueue_position(const struct virtqueue *vq)
{
    return behind_oldest(vq);
}

int virtqueue_resume(struct virtqueue *vq, const uint16_t *positions, uint32_t n,
                     uint32_t *shown_out)
{
    int shown = vq->why ? -EPROTO : vq->ops->shown(vq, positions, n);

    if (shown < 0)
        return shown;
    *shown_out = (uint32_t)shown;
    vq->next_avail = vq->used = vq->published = positions[shown];
    return 0;
}

void virtqueue_get_stats(const struct virtqueue *vq, struct virtqueue_stats *out)
{
    *out = (struct virtqueue_stats){.size = vq->size,
                                    .avail_seen = vq->next_avail,
                                    .used = vq->used,
                                    .popped = vq->popped,
                                    .pushed = vq->pushed,
                                    .notifications = vq->notifications};
}
