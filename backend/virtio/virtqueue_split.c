/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Split virtqueues (virtio 1.3, 2.7). Everything in the three areas is the guest's and changes
 * under us: one atomic load per word, checks and uses on the value loaded. Little-endian.
 *
 * Four orders matter, two at each end, and each is named where it is made: look() and
 * split_publish() for the data, split_publish() and split_want_kicks() for the notifications.
 * Everything else may be relaxed: descriptors and ring entries are loaded behind look(), used
 * elements are stored before split_publish(), and a "no kicks, please" that comes late costs a
 * kick.
 *
 * Areas: 16 bytes per descriptor; available ring {flags, idx, ring[size], used_event}; used ring
 * {flags, idx, {id, len}[size], avail_event}, 16-bit words but id and len of 32 bits.
 */
#include <config.h>

#include <endian.h>
#include <errno.h>

#include "backend/virtio/virtqueue_priv.h"

#define AVAIL_FLAGS 0
#define AVAIL_IDX   1
#define AVAIL_RING  2
#define USED_FLAGS  0
#define USED_IDX    1

#define AVAIL_F_NO_INTERRUPT 1u
#define USED_F_NO_NOTIFY     1u

static uint16_t load16(const uint16_t *p)
{
    VQ_HOOK();
    return le16toh(__atomic_load_n(p, __ATOMIC_RELAXED));
}

static void store16(uint16_t *p, uint16_t v)
{
    __atomic_store_n(p, htole16(v), __ATOMIC_RELAXED);
}

static void split_start(struct virtqueue *vq)
{
    struct virtqueue_split *s = &vq->split;
    const uint16_t *avail = (const void *)vq->driver.ptr;
    uint8_t *used = vq->device.ptr;

    s->desc = (const void *)vq->desc.ptr;
    s->avail = avail;
    s->used_event = avail + AVAIL_RING + vq->size;
    s->used_head = (void *)used;
    s->used_ring = (void *)(used + 4);
    s->avail_event = (void *)(used + 4 + 8 * (size_t)vq->size);
}

/*
 * Looks at the driver's index. Acquire: pairs with the write barrier between the driver's stores
 * to ring and descriptors and its store of idx (virtio 1.3, 2.7.13.3), so that what the index
 * covers is there.
 */
static uint16_t look(struct virtqueue *vq)
{
    uint16_t idx;

    VQ_HOOK();
    idx = __atomic_load_n(&vq->split.avail[AVAIL_IDX], __ATOMIC_ACQUIRE);
    vq->split.avail_idx = le16toh(idx);
    return vq->split.avail_idx;
}

static bool split_has_work(struct virtqueue *vq)
{
    return vq->split.avail_idx != vq->next_avail || look(vq) != vq->next_avail;
}

static struct vring_desc load_desc(const struct virtqueue *vq, uint16_t i)
{
    const uint64_t *words = &vq->split.desc[2 * (size_t)i];
    uint64_t addr, rest;

    VQ_HOOK();
    addr = le64toh(__atomic_load_n(&words[0], __ATOMIC_RELAXED));
    VQ_HOOK();
    rest = le64toh(__atomic_load_n(&words[1], __ATOMIC_RELAXED));
    return (struct vring_desc){.addr = addr,
                               .len = (uint32_t)rest,
                               .flags = (uint16_t)(rest >> 32),
                               .next = (uint16_t)(rest >> 48)};
}

static struct vring_desc table_desc(const struct virtqueue *vq, int i)
{
    const struct vring_desc *raw = &vq->table[i];

    return (struct vring_desc){.addr = le64toh(raw->addr),
                               .len = le32toh(raw->len),
                               .flags = le16toh(raw->flags),
                               .next = le16toh(raw->next)};
}

/* A table starts at entry 0 and is linked by `next` (virtio 1.3, 2.7.5.3). */
static NOINLINE int walk_table(struct virtqueue *vq, struct vring_desc ref)
{
    int n = vq_indirect_copy(vq, ref), i = 0, steps = 0;

    if (n < 0)
        return n;
    for (;;) {
        struct vring_desc desc = table_desc(vq, i);
        int r;

        if (++steps > n)
            return vq_break(vq, "loop in an indirect table");
        if (desc.flags & VRING_DESC_F_INDIRECT)
            return vq_break(vq, "indirect table in an indirect table");
        r = vq_chain_add(vq, desc);
        if (r < 0 || !(desc.flags & VRING_DESC_F_NEXT))
            return r;
        i = desc.next;
        if (i >= n)
            return vq_break(vq, "next outside an indirect table");
    }
}

/* Direct descriptors, and as the last one perhaps an indirect table (virtio 1.3, 2.7.5.3.2). */
static int walk_chain(struct virtqueue *vq, uint16_t head)
{
    uint32_t steps = 0;
    uint16_t i = head;

    vq_chain_begin(vq, head);
    for (;;) {
        struct vring_desc desc = load_desc(vq, i);
        int r;

        if (++steps > vq->size)
            return vq_break(vq, "chain longer than the queue, or a loop");
        if (desc.flags & VRING_DESC_F_INDIRECT)
            return walk_table(vq, desc);
        r = vq_chain_add(vq, desc);
        if (r < 0 || !(desc.flags & VRING_DESC_F_NEXT))
            return r;
        i = desc.next;
        if (i >= vq->size)
            return vq_break(vq, "next outside the descriptor table");
    }
}

static HOT int split_pop(struct virtqueue *vq)
{
    uint16_t head, ahead;
    int r;

    if (vq->split.avail_idx == vq->next_avail)
        look(vq);
    ahead = (uint16_t)(vq->split.avail_idx - vq->next_avail);
    if (ahead == 0)
        return 0;
    /* What we took and did not publish is still out with us: with it, no more than the queue. */
    if (ahead > vq->size - (uint16_t)(vq->next_avail - vq->published))
        return vq_break(vq, "available index too far ahead");
    head = load16(&vq->split.avail[AVAIL_RING + (vq->next_avail & (vq->size - 1))]);
    if (head >= vq->size)
        return vq_break(vq, "head outside the descriptor table");
    r = walk_chain(vq, head);
    if (r < 0)
        return r;
    vq->next_avail++;
    return 1;
}

static HOT void split_push(struct virtqueue *vq, uint16_t head, uint32_t used)
{
    uint32_t *element = &vq->split.used_ring[2 * (size_t)(vq->used & (vq->size - 1))];

    __atomic_store_n(&element[0], htole32(head), __ATOMIC_RELAXED);
    __atomic_store_n(&element[1], htole32(used), __ATOMIC_RELAXED);
}

static bool split_publish(struct virtqueue *vq)
{
    uint16_t before = vq->published, now = vq->used;

    if (before == now)
        return false;
    /* Release: all that we did with the buffers (reads of requests and descriptors, writes of
     * answers and elements) comes before the index that gives them back; pairs with the driver's
     * read barrier between used idx and the element (virtio 1.3, 2.7.8.2). */
    __atomic_store_n(&vq->split.used_head[USED_IDX], htole16(now), __ATOMIC_RELEASE);
    vq->published = now;
    /* Full: our store of used idx before our load of the driver's wish. The driver stores its wish
     * (flags or used_event), has a full barrier, and loads used idx: one of us sees the other. */
    VQ_FENCE();
    if (vq->event_idx) {
        uint16_t event = load16(vq->split.used_event);

        /* virtio 1.3, 2.7.7.2: the element at index used_event is among those just written. */
        return (uint16_t)(now - event - 1) < (uint16_t)(now - before);
    }
    return !(load16(&vq->split.avail[AVAIL_FLAGS]) & AVAIL_F_NO_INTERRUPT);
}

static bool split_want_kicks(struct virtqueue *vq)
{
    if (vq->event_idx)
        store16(vq->split.avail_event, vq->next_avail);
    else
        store16(&vq->split.used_head[USED_FLAGS], 0);
    /* Full: our wish before our look at avail idx. The driver stores avail idx, has a full barrier,
     * and loads our wish (virtio 1.3, 2.7.13.4.1): a buffer is kicked for or seen here. */
    VQ_FENCE();
    return split_has_work(vq);
}

static void split_no_kicks(struct virtqueue *vq)
{
    /* With event indices the flags stay 0 (virtio 1.3, 2.7.10.1), and an avail_event that is left
     * behind keeps the driver silent. */
    if (!vq->event_idx)
        store16(&vq->split.used_head[USED_FLAGS], USED_F_NO_NOTIFY);
}

/* The used index is ours alone to write: a driver that has changed it has broken its ring. */
static int split_shown(struct virtqueue *vq, const uint16_t *positions, uint32_t n)
{
    uint16_t idx = load16(&vq->split.used_head[USED_IDX]);

    /* Nothing that was available is known any more: the driver's index is looked at anew. */
    vq->split.avail_idx = idx;
    for (uint32_t i = 0; i <= n; i++) {
        if (positions[i] == idx)
            return (int)i;
    }
    return vq_break(vq, "used index that the device did not write");
}

const struct virtqueue_ops virtqueue_split_ops = {
    .desc = {.per_entry = 16, .extra = 0, .align = 16},
    .driver = {.per_entry = 2, .extra = 6, .align = 2},
    .device = {.per_entry = 8, .extra = 6, .align = 4, .write = true},
    .start = split_start,
    .pop = split_pop,
    .push = split_push,
    .publish = split_publish,
    .want_kicks = split_want_kicks,
    .no_kicks = split_no_kicks,
    .has_work = split_has_work,
    .shown = split_shown,
};
