/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The guest driver of guest_ring.h, written from virtio 1.3, 2.7 and not from the device's code, so
 * that a misunderstanding shows. Little-endian hosts and others alike.
 */
#include <config.h>

#include "tests/support/guest_ring.h"

#include <endian.h>
#include <string.h>

#define DESC_F_NEXT     1
#define DESC_F_WRITE    2
#define DESC_F_INDIRECT 4

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

bool guest_ring_init(struct guest_ring *ring, struct guest_arena *arena, uint32_t size,
                     uint64_t features)
{
    if (size == 0 || size > VIRTQUEUE_MAX_SIZE || (size & (size - 1)))
        return false;
    memset(ring, 0, sizeof(*ring));
    ring->arena = arena;
    ring->size = size;
    ring->features = features;
    ring->desc = guest_alloc(arena, sizeof(struct guest_desc) * size, 16);
    ring->avail = guest_alloc(arena, 6 + 2 * (size_t)size, 2);
    ring->used = guest_alloc(arena, 6 + 8 * (size_t)size, 4);
    if (features & VIRTIO_F_INDIRECT_DESC)
        ring->tables = guest_alloc(arena, sizeof(struct guest_desc) * size * size, 16);
    if (!ring->desc || !ring->avail || !ring->used ||
        ((features & VIRTIO_F_INDIRECT_DESC) && !ring->tables))
        return false;
    for (uint32_t i = 0; i < size; i++)
        put_free(ring, (uint16_t)i);
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
    while (ring->n_free > 1 && steps-- > 0)
        put_free(ring, take_free(ring));
}

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

int guest_ring_add(struct guest_ring *ring, const struct guest_buf *bufs, size_t n, size_t n_direct)
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

bool guest_ring_publish(struct guest_ring *ring)
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

bool guest_ring_used(struct guest_ring *ring, uint32_t *head_out, uint32_t *len_out)
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

void guest_ring_want_interrupts(struct guest_ring *ring, bool wanted)
{
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
    return load_idx(&ring->used[1]);
}
