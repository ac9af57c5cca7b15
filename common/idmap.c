/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Hash table from ids to pointers: open addressing, linear probing, no tombstones (a removal moves
 * the entries behind it up). The guest chooses the ids, so the hash is simple tabulation with
 * random tables: with linear probing every operation is expected O(1) whatever the ids (Patrascu
 * and Thorup, "The power of simple tabulation hashing", 2012). The tables are made once, by the
 * first map of the process, and tell nobody anything about themselves: no order of the table
 * leaves this file but idmap_for_each, whose callers do not report it.
 */
#include <config.h>

#include "common/idmap.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/random.h>

#define MIN_SLOTS 8u

struct slot {
    void *obj; /* NULL: free */
    uint32_t id;
};

struct idmap {
    size_t n_slots; /* a power of two; at most three quarters are taken */
    size_t count;
    struct slot *slots;
};

static uint32_t hash_tables[4][256];

/* Without getrandom (an old kernel, a strict filter) the kernel's bytes at exec are stretched. */
static void stretch_exec_random(void)
{
    const void *exec_random = (const void *)getauxval(AT_RANDOM);
    uint64_t state = 0;

    if (exec_random)
        memcpy(&state, exec_random, sizeof(state));
    for (size_t i = 0; i < sizeof(hash_tables) / sizeof(uint32_t); i++) {
        uint64_t z = state += 0x9e3779b97f4a7c15u; /* splitmix64 */

        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
        z = (z ^ z >> 27) * 0x94d049bb133111ebu;
        hash_tables[i / 256][i % 256] = (uint32_t)(z >> 32);
    }
}

static void init_hash(void)
{
    static bool done;
    unsigned char *at = (unsigned char *)hash_tables;

    if (done)
        return;
    done = true;
    /* Requests of up to 256 bytes are answered whole or not at all. */
    for (size_t i = 0; i < sizeof(hash_tables); i += 256) {
        if (getrandom(at + i, 256, GRND_NONBLOCK) != 256) {
            stretch_exec_random();
            return;
        }
    }
}

static size_t home_of(const struct idmap *map, uint32_t id)
{
    uint32_t hash = hash_tables[0][id & 0xff] ^ hash_tables[1][id >> 8 & 0xff] ^
                    hash_tables[2][id >> 16 & 0xff] ^ hash_tables[3][id >> 24];

    return hash & (map->n_slots - 1);
}

/* The slot that holds `id`, or the free one where it would go. */
static size_t find_slot(const struct idmap *map, uint32_t id)
{
    size_t i = home_of(map, id);

    while (map->slots[i].obj && map->slots[i].id != id)
        i = (i + 1) & (map->n_slots - 1);
    return i;
}

struct idmap *idmap_new(void)
{
    struct idmap *map = calloc(1, sizeof(*map));

    if (!map)
        return NULL;
    init_hash();
    map->n_slots = MIN_SLOTS;
    map->slots = calloc(map->n_slots, sizeof(map->slots[0]));
    if (!map->slots)
        return idmap_free(map);
    return map;
}

struct idmap *idmap_free(struct idmap *map)
{
    if (map)
        free(map->slots);
    free(map);
    return NULL;
}

size_t idmap_count(const struct idmap *map)
{
    return map->count;
}

void *idmap_get(const struct idmap *map, uint32_t id)
{
    return map->slots[find_slot(map, id)].obj;
}

static int grow(struct idmap *map)
{
    struct idmap bigger = {.n_slots = map->n_slots * 2, .count = map->count};

    bigger.slots = calloc(bigger.n_slots, sizeof(bigger.slots[0]));
    if (!bigger.slots)
        return -ENOMEM;
    for (size_t i = 0; i < map->n_slots; i++) {
        if (map->slots[i].obj)
            bigger.slots[find_slot(&bigger, map->slots[i].id)] = map->slots[i];
    }
    free(map->slots);
    *map = bigger;
    return 0;
}

int idmap_put(struct idmap *map, uint32_t id, void *obj)
{
    int r;

    if (!obj)
        return -EINVAL;
    if (idmap_get(map, id))
        return -EEXIST;
    if (map->count + 1 > map->n_slots / 4 * 3) {
        r = grow(map);
        if (r < 0)
            return r;
    }
    map->slots[find_slot(map, id)] = (struct slot){.obj = obj, .id = id};
    map->count++;
    return 0;
}

void *idmap_remove(struct idmap *map, uint32_t id)
{
    size_t mask = map->n_slots - 1;
    size_t hole = find_slot(map, id);
    void *obj = map->slots[hole].obj;

    if (!obj)
        return NULL;
    /* An entry moves up if the hole lies on the way from its home to where it is. */
    for (size_t i = (hole + 1) & mask; map->slots[i].obj; i = (i + 1) & mask) {
        size_t home = home_of(map, map->slots[i].id);

        if (((i - home) & mask) >= ((i - hole) & mask)) {
            map->slots[hole] = map->slots[i];
            hole = i;
        }
    }
    map->slots[hole].obj = NULL;
    map->count--;
    return obj;
}

void *idmap_next(const struct idmap *map, uint32_t *id_io)
{
    const struct slot *best = NULL;

    for (size_t i = 0; i < map->n_slots; i++) {
        const struct slot *slot = &map->slots[i];

        if (slot->obj && slot->id >= *id_io && (!best || slot->id < best->id))
            best = slot;
    }
    if (!best)
        return NULL;
    *id_io = best->id;
    return best->obj;
}

void idmap_for_each(const struct idmap *map, void (*fn)(uint32_t id, void *obj, void *ctx),
                    void *ctx)
{
    for (size_t i = 0; i < map->n_slots; i++) {
        if (map->slots[i].obj)
            fn(map->slots[i].id, map->slots[i].obj, ctx);
    }
}
