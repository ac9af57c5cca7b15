/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The layouts of a ring. In any state that keeps the invariants (ring.h), on a ring that has any
 * bytes and other ones at each look, one call of each function of the layout's table: every access
 * stays inside its area (guest_memory.h), every loop ends within the bound (unwinding assertions),
 * and the result is what prove_queue.c trusts in.
 *
 * vq_chain_add and vq_indirect_copy are replaced by what prove_chain.c proves of them.
 */
#define WITHOUT_CHAIN_ADD
#include "tests/prove/ring.h"

static int vq_chain_add_contract(struct virtqueue *vq, struct vring_desc desc);
#ifdef PACKED
#include "backend/virtio/virtqueue_packed.c"
#else
#include "backend/virtio/virtqueue_split.c"
#endif

static uint32_t added, direct; /* in all; without those of a table */
static bool in_table;

int vq_break(struct virtqueue *vq, const char *why)
{
    vq->why = why;
    return -EPROTO;
}

static int vq_chain_add_contract(struct virtqueue *vq, struct vring_desc desc)
{
    bool write = desc.flags & VRING_DESC_F_WRITE;

    PROVE(vq->n_pieces < VQ_AHEAD_PIECES + CHAIN_MOST(vq)); /* there is a place for it */
    if (any_bool())
        return vq_break(vq, "not sound");
    *(write ? &vq->chain.n_writable : &vq->chain.n_readable) += 1;
    vq->n_pieces++;
    added++;
    direct += !in_table;
    return 0;
}

/* The table has any bytes anyway. */
int vq_indirect_copy(struct virtqueue *vq, struct vring_desc desc)
{
    uint32_t n = any_u32();

    if (any_bool())
        return vq_break(vq, "not sound");
    ASSUME(n >= 1 && n <= vq->size && !(desc.flags & VRING_DESC_F_NEXT));
    PROVE(!in_table);
    in_table = true;
    return (int)n;
}

int gmem_check(struct gmem *m, struct range gpa, bool write)
{
    PROVE(false); /* nothing but vq_chain_add does */
    return 0;
}

/* As virtqueue.c has it. */
bool virtqueue_size_valid(uint32_t size, uint64_t features)
{
    return (features & VIRTIO_F_RING_PACKED) || (size & (size - 1)) == 0;
}

static void *area(uint32_t entries, uint32_t per_entry, uint32_t extra)
{
    void *p = malloc(entries * per_entry + extra);

    ASSUME(p);
    return p;
}

static bool same_flight(const struct virtqueue *a, const struct virtqueue *b)
{
    return a->flight_first == b->flight_first && a->flight_end == b->flight_end;
}

static void pop(struct virtqueue *vq)
{
    const struct virtqueue old = *vq;
    uint32_t room = vq->size - ahead(vq, vq->published, vq->next_avail);
    int r;

    ASSUME(!vq->why && vq->n_pieces <= VQ_AHEAD_PIECES);
    r = vq->ops->pop(vq);
    PROVE(r == 1 || r == 0 || r == -EPROTO);
    PROVE((r == -EPROTO) == (vq->why != NULL));
    PROVE(vq->used == old.used && vq->published == old.published && same_flight(vq, &old));
    if (r != 1) {
        PROVE(vq->next_avail == old.next_avail);
        PROVE(r != 0 || vq->n_pieces == old.n_pieces);
        return;
    }
    PROVE(ahead(vq, old.next_avail, vq->next_avail) >= 1);
    PROVE(ahead(vq, old.next_avail, vq->next_avail) <= room);
#ifndef PACKED
    PROVE(vq->chain.head < vq->size && vq->next_avail == (uint16_t)(old.next_avail + 1));
#endif
    PROVE(added >= 1 && added <= CHAIN_MOST(vq) && vq->n_pieces == old.n_pieces + added);
    PROVE((uint32_t)vq->chain.n_readable + vq->chain.n_writable == added);
    /* No more descriptors than the ring has, one of which may be that of a table. */
    PROVE(direct + in_table <= vq->size && added - direct <= vq->size);
}

/* Of a chain in flight, which takes slots between `used` and next_avail. */
static void push(struct virtqueue *vq)
{
    uint32_t n = vq->packed.n_used;

    ASSUME(ahead(vq, vq->published, vq->used) < vq->size);
    vq->ops->push(vq, any_u16(), any_u32());
#ifdef PACKED
    PROVE(vq->packed.n_used == n + 1);
#endif
}

static void shown(struct virtqueue *vq)
{
    uint16_t positions[3] = {any_u16(), any_u16(), any_u16()};
    uint32_t n = any_u8();
    int r;

    ASSUME(n < 3);
    r = vq->ops->shown(vq, positions, n);
    PROVE((r >= 0 && (uint32_t)r <= n && position_valid(vq, positions[r])) ||
          (r == -EPROTO && vq->why));
}

static void others(struct virtqueue *vq, uint8_t which)
{
    const struct virtqueue old = *vq;

    if (which == 0)
        (void)vq->ops->publish(vq);
    else if (which == 1)
        (void)vq->ops->want_kicks(vq);
    else if (which == 2)
        vq->ops->no_kicks(vq);
    else
        (void)vq->ops->has_work(vq);
    PROVE(vq->used == old.used && vq->next_avail == old.next_avail && same_flight(vq, &old));
    PROVE(vq->published == (which == 0 ? old.used : old.published));
    PROVE(vq->why == old.why);
}

/* Any state of a queue of this size. */
static void with_size(uint32_t size)
{
    struct virtqueue queue, *vq = &queue;
    uint8_t which = any_u8();

    vq->ops = &OPS;
    vq->mem = NULL;
    vq->why = any_bool() ? "broken" : NULL;
    vq->size = size;
    vq->table = area(size, sizeof(*vq->table), 0);
    vq->packed.used = area(size, sizeof(*vq->packed.used), 0);
    vq->desc.ptr = area(size, OPS.desc.per_entry, OPS.desc.extra);
    vq->driver.ptr = area(size, OPS.driver.per_entry, OPS.driver.extra);
    vq->device.ptr = area(size, OPS.device.per_entry, OPS.device.extra);
    vq->next_avail = vq->used = vq->published = 0;
    vq->ops->start(vq);
    PROVE(indices_valid(vq) && vq->used == vq->published && vq->used == vq->next_avail);
    vq->next_avail = any_u16();
    vq->used = any_u16();
    vq->published = any_u16();
    vq->split.avail_idx = any_u16();
    vq->packed.wish = any_u32();
    vq->packed.n_used = any_u32();
#ifdef PACKED
    for (uint32_t i = 0; i < size; i++)
        ASSUME(vq->packed.used[i].slot < size);
#endif
    ASSUME(indices_valid(vq) && waiting_valid(vq));
    ASSUME(ahead(vq, vq->published, vq->used) <= ahead(vq, vq->published, vq->next_avail));
#ifdef WALK
    pop(vq);
#else
    if (which == 4)
        push(vq);
    else if (which == 5)
        shown(vq);
    else if (which < 4)
        others(vq, which);
#endif
    PROVE(which == 5 || indices_valid(vq));
    PROVE(which == 5 || which == 4 || waiting_valid(vq));
#ifdef PACKED
    for (uint32_t i = 0; i < size; i++)
        PROVE(vq->packed.used[i].slot < size);
#endif
}

/* Each size by itself: known to cbmc, the areas are small and their ends exact. */
int main(void)
{
    for (uint32_t size = 1; size <= SIZE; size++) {
        if (virtqueue_size_valid(size, FEATURES) && any_bool()) {
            with_size(size);
            return 0;
        }
    }
    return 0;
}
