/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The guest driver of guest_ring.h, written from virtio 1.3, 2.7 and 2.8 and not from the device's
 * code, so that a misunderstanding shows. Little-endian hosts and others alike.
 */
#include <config.h>

#include "tests/support/guest_ring.h"

#include <endian.h>
#include <string.h>

#define DESC_F_NEXT     1
#define DESC_F_WRITE    2
#define DESC_F_INDIRECT 4
#define DESC_F_AVAIL    0x80
#define DESC_F_USED     0x8000

/* Packed event suppression: which word of the two, and what it may say. */
#define EVENT_POSITION 0
#define EVENT_FLAGS    1
#define EVENT_ENABLE   0
#define EVENT_DISABLE  1
#define EVENT_DESC     2

void *guest_alloc(struct guest_arena *arena, size_t size, size_t align)
{
    size_t at = (arena->next + align - 1) & ~(align - 1);

    if (at < arena->next || at > arena->size || size > arena->size - at)
        return NULL;
    arena->next = at + size;
    memset(arena->memory + at, 0, size);
    return arena->memory + at;
}

uint64_t guest_address(const struct guest_arena *arena, const void *p)
{
    return arena->address + (uint64_t)((const uint8_t *)p - arena->memory);
}

static void store_idx(uint16_t *p, uint16_t v)
{
    __atomic_store_n(p, htole16(v), __ATOMIC_RELEASE);
}

static uint16_t load_idx(const uint16_t *p)
{
    return le16toh(__atomic_load_n(p, __ATOMIC_ACQUIRE));
}

static uint16_t take_free(struct guest_ring *ring)
{
    uint16_t i = ring->free[ring->free_first];

    ring->free_first = (ring->free_first + 1) % ring->size;
    ring->n_free--;
    return i;
}

static void put_free(struct guest_ring *ring, uint16_t i)
{
    ring->free[(ring->free_first + ring->n_free) % ring->size] = i;
    ring->n_free++;
}

static bool size_valid(uint32_t size, bool packed)
{
    return size > 0 && size <= VIRTQUEUE_MAX_SIZE && (packed || (size & (size - 1)) == 0);
}

bool guest_ring_init(struct guest_ring *ring, struct guest_arena *arena, uint32_t size,
                     uint64_t features)
{
    bool packed = features & VIRTIO_F_RING_PACKED;

    if (!size_valid(size, packed))
        return false;
    memset(ring, 0, sizeof(*ring));
    ring->arena = arena;
    ring->size = size;
    ring->features = features;
    ring->packed = packed;
    ring->desc = guest_alloc(arena, sizeof(struct guest_desc) * size, 16);
    ring->avail = guest_alloc(arena, packed ? 4 : 6 + 2 * (size_t)size, packed ? 4 : 2);
    ring->used = guest_alloc(arena, packed ? 4 : 6 + 8 * (size_t)size, 4);
    if (features & VIRTIO_F_INDIRECT_DESC)
        ring->tables = guest_alloc(arena, sizeof(struct guest_desc) * size * size, 16);
    if (!ring->desc || !ring->avail || !ring->used ||
        ((features & VIRTIO_F_INDIRECT_DESC) && !ring->tables))
        return false;
    for (uint32_t i = 0; i < size; i++)
        put_free(ring, (uint16_t)i);
    ring->n_free_slots = size;
    ring->next.wrap = ring->kicked.wrap = ring->taken.wrap = true;
    return true;
}

struct virtqueue_config guest_ring_config(const struct guest_ring *ring)
{
    return (struct virtqueue_config){.size = ring->size,
                                     .desc = guest_address(ring->arena, ring->desc),
                                     .driver = guest_address(ring->arena, ring->avail),
                                     .device = guest_address(ring->arena, ring->used),
                                     .features = ring->features};
}

void guest_ring_rotate_free(struct guest_ring *ring, unsigned steps)
{
    /* IN_ORDER: the driver takes descriptors in the order of the table (virtio 1.3, 2.7.9). */
    if (!ring->packed && (ring->features & VIRTIO_F_IN_ORDER))
        return;
    while (ring->n_free > 1 && steps-- > 0)
        put_free(ring, take_free(ring));
}

/* --- split (virtio 1.3, 2.7) -------------------------------------------------------------------
 */

static struct guest_desc make_desc(const struct guest_buf *buf)
{
    return (struct guest_desc){.addr = htole64(buf->addr),
                               .len = htole32(buf->len),
                               .flags = htole16(buf->write ? DESC_F_WRITE : 0)};
}

static struct guest_desc make_table(struct guest_ring *ring, uint16_t head,
                                    const struct guest_buf *bufs, size_t n)
{
    struct guest_desc *table = &ring->tables[(size_t)head * ring->size];

    for (size_t i = 0; i < n; i++) {
        table[i] = make_desc(&bufs[i]);
        if (i + 1 < n) {
            table[i].flags |= htole16(DESC_F_NEXT);
            table[i].next = htole16((uint16_t)(i + 1));
        }
    }
    return (struct guest_desc){.addr = htole64(guest_address(ring->arena, table)),
                               .len = htole32((uint32_t)(n * sizeof(*table))),
                               .flags = htole16(DESC_F_INDIRECT)};
}

static int split_add(struct guest_ring *ring, const struct guest_buf *bufs, size_t n,
                     size_t n_direct)
{
    size_t n_desc = n_direct >= n ? n : n_direct + 1;
    uint16_t head, i;

    if (n == 0 || n_desc > ring->n_free)
        return -1;
    if (n_direct < n && (!ring->tables || n - n_direct > ring->size))
        return -1;
    head = i = take_free(ring);
    for (size_t k = 0; k < n_desc; k++) {
        struct guest_desc desc = k < n_direct
                                     ? make_desc(&bufs[k])
                                     : make_table(ring, head, &bufs[n_direct], n - n_direct);

        if (k + 1 < n_desc) {
            ring->link[i] = take_free(ring);
            desc.flags |= htole16(DESC_F_NEXT);
            desc.next = htole16(ring->link[i]);
        }
        ring->desc[i] = desc;
        i = ring->link[i];
    }
    ring->chain_len[head] = (uint16_t)n_desc;
    ring->avail[2 + ring->avail_idx % ring->size] = htole16(head);
    ring->avail_idx++;
    return head;
}

static bool split_publish(struct guest_ring *ring)
{
    uint16_t now = ring->avail_idx, before = ring->kicked_idx;

    store_idx(&ring->avail[1], now);
    /* Our index before our look at the device's wish; pairs with virtqueue_want_kicks(). */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    ring->kicked_idx = now;
    if (now == before)
        return false;
    if (ring->features & VIRTIO_F_EVENT_IDX) {
        uint16_t event = load_idx(guest_ring_avail_event(ring));

        return (uint16_t)(now - event - 1) < (uint16_t)(now - before);
    }
    return !(load_idx(&ring->used[0]) & 1);
}

static bool split_used(struct guest_ring *ring, uint32_t *head_out, uint32_t *len_out)
{
    uint32_t element[2];
    uint16_t i;

    if (load_idx(&ring->used[1]) == ring->used_seen)
        return false;
    memcpy(element, (uint8_t *)ring->used + 4 + 8 * (ring->used_seen % ring->size),
           sizeof(element));
    ring->used_seen++;
    *head_out = le32toh(element[0]);
    *len_out = le32toh(element[1]);
    if (*head_out >= ring->size || ring->chain_len[*head_out] == 0)
        return true; /* not ours: the caller sees it by the head */
    i = (uint16_t)*head_out;
    for (uint16_t k = 0; k < ring->chain_len[*head_out]; k++) {
        put_free(ring, i);
        i = ring->link[i];
    }
    ring->chain_len[*head_out] = 0;
    return true;
}

/* --- packed (virtio 1.3, 2.8) ------------------------------------------------------------------
 */

struct guest_position guest_ring_advance(const struct guest_ring *ring, struct guest_position from,
                                         uint32_t n)
{
    while (n-- > 0) {
        from.slot++;
        if (from.slot == ring->size) {
            from.slot = 0;
            from.wrap = !from.wrap;
        }
    }
    return from;
}

static bool same_position(struct guest_position a, struct guest_position b)
{
    return a.slot == b.slot && a.wrap == b.wrap;
}

static uint16_t avail_bits(bool wrap)
{
    return wrap ? DESC_F_AVAIL : DESC_F_USED;
}

static struct guest_packed_desc make_packed(const struct guest_buf *buf)
{
    return (struct guest_packed_desc){.addr = htole64(buf->addr),
                                      .len = htole32(buf->len),
                                      .flags = buf->write ? DESC_F_WRITE : 0};
}

static struct guest_packed_desc make_packed_table(struct guest_ring *ring, uint16_t id,
                                                  const struct guest_buf *bufs, size_t n)
{
    struct guest_packed_desc *table = &ring->packed_tables[(size_t)id * ring->size];

    for (size_t i = 0; i < n; i++) {
        table[i] = make_packed(&bufs[i]);
        table[i].flags = htole16(table[i].flags);
    }
    return (struct guest_packed_desc){.addr = htole64(guest_address(ring->arena, table)),
                                      .len = htole32((uint32_t)(n * sizeof(*table))),
                                      .flags = DESC_F_INDIRECT};
}

/* Flags in native order; those of the first slot that nobody may see yet are kept back. */
static void put_slot(struct guest_ring *ring, struct guest_packed_desc desc)
{
    struct guest_packed_desc *slot = &ring->packed_desc[ring->next.slot];
    uint16_t flags = desc.flags | avail_bits(ring->next.wrap);

    slot->addr = desc.addr;
    slot->len = desc.len;
    slot->id = desc.id;
    if (ring->hidden) {
        slot->flags = htole16(flags);
    } else {
        ring->hidden = true;
        ring->hidden_slot = ring->next.slot;
        ring->hidden_flags = flags;
    }
    ring->next = guest_ring_advance(ring, ring->next, 1);
    ring->n_free_slots--;
}

static int packed_add(struct guest_ring *ring, const struct guest_buf *bufs, size_t n,
                      size_t n_direct)
{
    bool indirect = n_direct == 0;
    size_t slots = indirect ? 1 : n;
    uint16_t id;

    if (n == 0 || slots > ring->n_free_slots || ring->n_free == 0)
        return -1;
    if (indirect && (!ring->tables || n > ring->size))
        return -1;
    id = take_free(ring);
    for (size_t k = 0; k < slots; k++) {
        struct guest_packed_desc desc = indirect ? make_packed_table(ring, id, bufs, n)
                                                 : make_packed(&bufs[k]);

        if (k + 1 < slots)
            desc.flags |= DESC_F_NEXT;
        else
            desc.id = htole16(id); /* of the others it means nothing */
        put_slot(ring, desc);
    }
    ring->chain_len[id] = (uint16_t)slots;
    ring->avail_idx++;
    return id;
}

/* Is the slot at `event` among those from `kicked` on, up to `next`? One by one: nothing clever. */
static bool passed(const struct guest_ring *ring, struct guest_position event)
{
    for (struct guest_position p = ring->kicked; !same_position(p, ring->next);
         p = guest_ring_advance(ring, p, 1)) {
        if (same_position(p, event))
            return true;
    }
    return false;
}

static bool packed_publish(struct guest_ring *ring)
{
    uint16_t position, flags;
    bool kick;

    if (ring->hidden)
        store_idx(&ring->packed_desc[ring->hidden_slot].flags, ring->hidden_flags);
    ring->hidden = false;
    /* Our flags before our look at the device's wish; pairs with virtqueue_want_kicks(). */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    flags = load_idx(&ring->used[EVENT_FLAGS]);
    position = load_idx(&ring->used[EVENT_POSITION]);
    kick = flags == EVENT_ENABLE;
    if (flags == EVENT_DESC)
        kick = passed(ring, (struct guest_position){position & 0x7fff, position & 0x8000});
    kick = kick && !same_position(ring->kicked, ring->next);
    ring->kicked = ring->next;
    return kick;
}

static bool is_used(const struct guest_ring *ring, struct guest_position p)
{
    uint16_t flags = load_idx(&ring->packed_desc[p.slot].flags);

    return (flags & DESC_F_AVAIL ? p.wrap : !p.wrap) && (flags & DESC_F_USED ? p.wrap : !p.wrap);
}

static bool packed_used(struct guest_ring *ring, uint32_t *head_out, uint32_t *len_out)
{
    const struct guest_packed_desc *desc = &ring->packed_desc[ring->taken.slot];
    uint16_t id, slots;

    if (!is_used(ring, ring->taken))
        return false;
    id = le16toh(desc->id);
    *head_out = id;
    *len_out = le16toh(desc->flags) & DESC_F_WRITE ? le32toh(desc->len) : 0;
    ring->used_seen++;
    if (id >= ring->size || ring->chain_len[id] == 0) {
        ring->taken = guest_ring_advance(ring, ring->taken, 1);
        return true; /* not ours: the caller sees it by the id */
    }
    slots = ring->chain_len[id];
    ring->chain_len[id] = 0;
    ring->taken = guest_ring_advance(ring, ring->taken, slots);
    ring->n_free_slots += slots;
    put_free(ring, id);
    return true;
}

static uint16_t packed_used_idx(const struct guest_ring *ring)
{
    struct guest_position p = ring->taken;
    uint16_t n = ring->used_seen;

    for (uint32_t left = ring->size - ring->n_free_slots; left > 0 && is_used(ring, p); n++) {
        uint16_t id = le16toh(ring->packed_desc[p.slot].id);
        uint32_t slots = id < ring->size && ring->chain_len[id] ? ring->chain_len[id] : 1;

        p = guest_ring_advance(ring, p, slots);
        left -= slots < left ? slots : left;
    }
    return n;
}

static void packed_want_interrupts(struct guest_ring *ring, bool wanted)
{
    bool events = ring->features & VIRTIO_F_EVENT_IDX;
    uint16_t position = (uint16_t)(ring->taken.slot | (ring->taken.wrap ? 0x8000 : 0));

    /* The position first, for a device that reads both at once (virtio 1.3, 2.8.14). */
    if (wanted && events)
        store_idx(&ring->avail[EVENT_POSITION], position);
    store_idx(&ring->avail[EVENT_FLAGS],
              !wanted ? EVENT_DISABLE : (events ? EVENT_DESC : EVENT_ENABLE));
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* --- both --------------------------------------------------------------------------------------
 */

int guest_ring_add(struct guest_ring *ring, const struct guest_buf *bufs, size_t n, size_t n_direct)
{
    return (ring->packed ? packed_add : split_add)(ring, bufs, n, n_direct);
}

bool guest_ring_publish(struct guest_ring *ring)
{
    return ring->packed ? packed_publish(ring) : split_publish(ring);
}

bool guest_ring_used(struct guest_ring *ring, uint32_t *head_out, uint32_t *len_out)
{
    return (ring->packed ? packed_used : split_used)(ring, head_out, len_out);
}

void guest_ring_want_interrupts(struct guest_ring *ring, bool wanted)
{
    if (ring->packed) {
        packed_want_interrupts(ring, wanted);
        return;
    }
    if (ring->features & VIRTIO_F_EVENT_IDX)
        store_idx(guest_ring_used_event(ring),
                  wanted ? ring->used_seen : (uint16_t)(ring->used_seen - 1));
    else
        store_idx(&ring->avail[0], !wanted);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

uint16_t *guest_ring_used_event(struct guest_ring *ring)
{
    return &ring->avail[2 + ring->size];
}

uint16_t *guest_ring_avail_event(struct guest_ring *ring)
{
    return &ring->used[2 + 4 * (size_t)ring->size];
}

uint16_t guest_ring_used_idx(const struct guest_ring *ring)
{
    return ring->packed ? packed_used_idx(ring) : load_idx(&ring->used[1]);
}
