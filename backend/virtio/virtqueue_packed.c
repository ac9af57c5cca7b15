/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Packed virtqueues (virtio 1.3, 2.8). One ring of descriptors that driver and device both write,
 * and a word of each side that says which notifications it wants. All of it is the guest's and
 * changes under us: one atomic load per word, checks and uses on the value loaded. Little-endian.
 *
 * A descriptor is {addr: 64, len: 32, id: 16, flags: 16}. It is available when AVAIL equals the
 * wrap counter of the lap and USED does not, and used when both equal it. Buffers are used in
 * order, so that the slot to write is always the first slot of the oldest buffer taken.
 */
#include <config.h>

#include <endian.h>
#include <errno.h>

#include "backend/virtio/virtqueue_priv.h"

#define DESC_SIZE     16u
#define DESC_LEN      8u
#define DESC_ID       12u
#define DESC_FLAGS    14u
#define DESC_F_AVAIL  (1u << 7)
#define DESC_F_USED   (1u << 15)
#define POSITION_WRAP 0x8000u

/* An event suppression word: position below, flags in bits 16 and 17 (virtio 1.3, 2.8.14). */
#define EVENT_ENABLE      0u
#define EVENT_DISABLE     1u
#define EVENT_DESC        2u
#define EVENT_FLAGS(word) ((word) >> 16 & 3u)

_Static_assert(VIRTQUEUE_MAX_SIZE < POSITION_WRAP, "15 bits for the slot");

static uint16_t slot_of(uint16_t position)
{
    return position & (POSITION_WRAP - 1);
}

static bool wrap_of(uint16_t position)
{
    return position & POSITION_WRAP;
}

/* `n` slots on, at most a lap: the wrap counter flips when the last slot is passed. */
static uint16_t advance(const struct virtqueue *vq, uint16_t position, uint32_t n)
{
    uint32_t slot = slot_of(position) + n;
    uint16_t wrap = position & POSITION_WRAP;

    if (slot >= vq->size)
        return (uint16_t)((slot - vq->size) | (wrap ^ POSITION_WRAP));
    return (uint16_t)(slot | wrap);
}

/* Slots from one position to another that is not behind it: positions repeat every two laps. */
static uint32_t distance(const struct virtqueue *vq, uint16_t from, uint16_t to)
{
    uint32_t a = slot_of(from) + (wrap_of(from) ? 0 : vq->size);
    uint32_t b = slot_of(to) + (wrap_of(to) ? 0 : vq->size);

    return b >= a ? b - a : b + 2 * vq->size - a;
}

static void packed_start(struct virtqueue *vq)
{
    struct virtqueue_packed *p = &vq->packed;

    p->desc = vq->desc.ptr;
    p->driver_event = (const void *)vq->driver.ptr;
    p->device_event = (void *)vq->device.ptr;
    p->wish = UINT32_MAX; /* none stored yet */
    /* Both wrap counters start at 1 (virtio 1.3, 2.8.1). */
    vq->next_avail = vq->used = vq->published = POSITION_WRAP;
}

static uint8_t *desc_at(const struct virtqueue *vq, uint16_t position)
{
    return vq->packed.desc + DESC_SIZE * (size_t)slot_of(position);
}

/*
 * The flags of a descriptor. Acquire: pairs with the driver's write barrier before it stores the
 * flags of a chain's first descriptor (virtio 1.3, 2.8.21.1), so that this descriptor's other words
 * and the rest of the chain are there.
 */
static uint16_t load_flags(const struct virtqueue *vq, uint16_t position)
{
    const uint16_t *flags = (const void *)(desc_at(vq, position) + DESC_FLAGS);

    VQ_HOOK();
    return le16toh(__atomic_load_n(flags, __ATOMIC_ACQUIRE));
}

static bool is_available(uint16_t flags, uint16_t position)
{
    bool wrap = wrap_of(position);

    return !!(flags & DESC_F_AVAIL) == wrap && !!(flags & DESC_F_USED) != wrap;
}

static bool packed_has_work(struct virtqueue *vq)
{
    return is_available(load_flags(vq, vq->next_avail), vq->next_avail);
}

/* What belongs to flags that were loaded before. */
static struct vring_desc load_desc(const struct virtqueue *vq, uint16_t position, uint16_t flags)
{
    const uint8_t *desc = desc_at(vq, position);
    uint64_t addr;
    uint32_t len;
    uint16_t id;

    VQ_HOOK();
    addr = __atomic_load_n((const uint64_t *)(const void *)desc, __ATOMIC_RELAXED);
    VQ_HOOK();
    len = __atomic_load_n((const uint32_t *)(const void *)(desc + DESC_LEN), __ATOMIC_RELAXED);
    VQ_HOOK();
    id = __atomic_load_n((const uint16_t *)(const void *)(desc + DESC_ID), __ATOMIC_RELAXED);
    return (struct vring_desc){
        .addr = le64toh(addr), .len = le32toh(len), .flags = flags, .next = le16toh(id)};
}

/* All of a table, in sequence: of its flags only WRITE means anything (virtio 1.3, 2.8.7). */
static NOINLINE int walk_table(struct virtqueue *vq, struct vring_desc ref)
{
    int n = vq_indirect_copy(vq, ref);
    int r = n < 0 ? n : 0;

    for (int i = 0; r == 0 && i < n; i++) {
        const struct vring_desc *raw = &vq->table[i];
        struct vring_desc desc = {.addr = le64toh(raw->addr),
                                  .len = le32toh(raw->len),
                                  .flags = le16toh(raw->next) & VRING_DESC_F_WRITE};

        r = vq_chain_add(vq, desc);
    }
    return r;
}

/*
 * The buffer whose first descriptor has these flags, at most `room` slots long. Its id is in the
 * last descriptor (virtio 1.3, 2.8.6).
 */
static int walk_chain(struct virtqueue *vq, uint16_t flags, uint32_t room)
{
    uint16_t position = vq->next_avail;

    vq_chain_begin(vq, 0);
    for (uint32_t slots = 1;; slots++) {
        struct vring_desc desc = load_desc(vq, position, flags);
        int r;

        if ((flags & VRING_DESC_F_INDIRECT) && slots > 1)
            return vq_break(vq, "indirect descriptor within a chain");
        r = flags & VRING_DESC_F_INDIRECT ? walk_table(vq, desc) : vq_chain_add(vq, desc);
        if (r < 0)
            return r;
        position = advance(vq, position, 1);
        if (!(flags & VRING_DESC_F_NEXT)) {
            vq->chain.head = desc.next;
            vq->packed.slots = (uint16_t)slots;
            return 0;
        }
        if (slots == room)
            return vq_break(vq, "chain longer than the queue");
        /* A descriptor that was not made available is not to be used (virtio 1.3, 2.8.9). */
        flags = load_flags(vq, position);
        if (!is_available(flags, position))
            return vq_break(vq, "chain into a descriptor that is not available");
    }
}

static HOT int packed_pop(struct virtqueue *vq)
{
    uint16_t flags = load_flags(vq, vq->next_avail);
    uint32_t room;
    int r;

    if (!is_available(flags, vq->next_avail))
        return 0;
    /* What we took and did not publish is still ours: nobody can have made it available again. */
    room = vq->size - distance(vq, vq->published, vq->next_avail);
    if (room == 0)
        return vq_break(vq, "more descriptors available than the queue has");
    r = walk_chain(vq, flags, room);
    if (r < 0)
        return r;
    vq->next_avail = advance(vq, vq->next_avail, vq->packed.slots);
    return 1;
}

static HOT void packed_push(struct virtqueue *vq, uint16_t head, uint32_t used)
{
    struct virtqueue_packed *p = &vq->packed;
    uint16_t flags = wrap_of(vq->used) ? DESC_F_AVAIL | DESC_F_USED : 0;

    if (used > 0) /* else the length says nothing (virtio 1.3, 2.8.6); it is 0 all the same */
        flags |= VRING_DESC_F_WRITE;
    p->used[p->n_used++] = (struct packed_used){
        .slot = slot_of(vq->used), .flags = flags, .id = head, .len = used};
}

/* Does the driver want to hear of the slots from `before` up to `now`, not included? */
static bool wants_notification(const struct virtqueue *vq, uint16_t before, uint16_t now)
{
    uint32_t event;
    uint16_t position;

    VQ_HOOK();
    event = le32toh(__atomic_load_n(vq->packed.driver_event, __ATOMIC_RELAXED));
    position = (uint16_t)event;
    if (EVENT_FLAGS(event) == EVENT_DISABLE)
        return false;
    if (EVENT_FLAGS(event) == EVENT_DESC && vq->event_idx && slot_of(position) < vq->size)
        return distance(vq, before, position) < distance(vq, before, now);
    /* Enabled; or a wish that has no meaning: a notification too many does no harm. */
    return true;
}

static bool packed_publish(struct virtqueue *vq)
{
    struct virtqueue_packed *p = &vq->packed;
    uint16_t before = vq->published;

    if (p->n_used == 0)
        return false;
    /*
     * Release: our reads and writes of buffer and descriptor come before the flags that give them
     * back; pairs with the driver's read barrier between flags and id or len (virtio 1.3,
     * 2.8.22). In order: whoever finds the ring after our death sees how far we came.
     */
    for (uint32_t i = 0; i < p->n_used; i++) {
        const struct packed_used *u = &p->used[i];
        uint8_t *desc = desc_at(vq, u->slot);

        __atomic_store_n((uint32_t *)(void *)(desc + DESC_LEN), htole32(u->len), __ATOMIC_RELAXED);
        __atomic_store_n((uint16_t *)(void *)(desc + DESC_ID), htole16(u->id), __ATOMIC_RELAXED);
        __atomic_store_n((uint16_t *)(void *)(desc + DESC_FLAGS), htole16(u->flags),
                         __ATOMIC_RELEASE);
    }
    p->n_used = 0;
    vq->published = vq->used;
    /* Full: our flags before our load of the driver's wish. The driver stores its wish, has a full
     * barrier, and loads the flags: one of us sees the other (virtio 1.3, 2.8.22). */
    VQ_FENCE();
    return wants_notification(vq, before, vq->published);
}

/* Position and flags in one store, so that the driver never sees a mix of two wishes. */
static void store_wish(struct virtqueue *vq, uint32_t wish)
{
    if (vq->packed.wish == wish)
        return;
    vq->packed.wish = wish;
    __atomic_store_n(vq->packed.device_event, htole32(wish), __ATOMIC_RELAXED);
}

static bool packed_want_kicks(struct virtqueue *vq)
{
    store_wish(vq, vq->event_idx ? EVENT_DESC << 16 | vq->next_avail : EVENT_ENABLE << 16);
    /* Full: our wish before our look at the flags. The driver stores the flags of its descriptors,
     * has a full barrier, and loads our wish (virtio 1.3, 2.8.21.2): a buffer is kicked for or
     * seen here. */
    VQ_FENCE();
    return packed_has_work(vq);
}

static void packed_no_kicks(struct virtqueue *vq)
{
    store_wish(vq, EVENT_DISABLE << 16);
}

/*
 * Buffers are published in order, each by its flags (packed_publish). As long as these are those of
 * a descriptor that is available in this lap it was not: what the driver puts there later belongs
 * to the next lap.
 */
static int packed_shown(struct virtqueue *vq, const uint16_t *positions, uint32_t n)
{
    uint32_t shown = n;

    for (uint32_t i = 0; i <= n; i++) {
        if (slot_of(positions[i]) >= vq->size)
            return vq_break(vq, "position outside the ring");
        if (i < shown && is_available(load_flags(vq, positions[i]), positions[i]))
            shown = i;
    }
    return (int)shown;
}

const struct virtqueue_ops virtqueue_packed_ops = {
    .desc = {.per_entry = DESC_SIZE, .extra = 0, .align = 16, .write = true},
    .driver = {.per_entry = 0, .extra = 4, .align = 4},
    .device = {.per_entry = 0, .extra = 4, .align = 4, .write = true},
    .start = packed_start,
    .pop = packed_pop,
    .push = packed_push,
    .publish = packed_publish,
    .want_kicks = packed_want_kicks,
    .no_kicks = packed_no_kicks,
    .has_work = packed_has_work,
    .shown = packed_shown,
};
