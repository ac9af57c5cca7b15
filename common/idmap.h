/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Hash table from 32-bit ids to pointers: endpoints and vdomains of a device. The objects belong
 * to the caller. Ids are chosen by the guest, so the hash is keyed with a random seed of the
 * process: chosen ids cannot make lookups slow.
 */
#ifndef VIOMMU_COMMON_IDMAP_H
#define VIOMMU_COMMON_IDMAP_H

#include "common/compiler.h"

#include <stddef.h>
#include <stdint.h>

struct idmap;

struct idmap *idmap_new(void);
struct idmap *idmap_free(struct idmap *map); /* NULL allowed; returns NULL; objects untouched */

size_t idmap_count(const struct idmap *map);

void *idmap_get(const struct idmap *map, uint32_t id); /* NULL if absent */

/* -EEXIST if the id is taken, -EINVAL if `obj` is NULL, -ENOMEM; unchanged then. */
MUST_CHECK int idmap_put(struct idmap *map, uint32_t id, void *obj);

/* Removes and returns the object, NULL if absent. Cannot fail. */
void *idmap_remove(struct idmap *map, uint32_t id);

/*
 * Iterates in ascending order of ids: *id_io is the lowest id to consider on entry and the id
 * found on return. NULL when there is none. O(n) per call is allowed: for listings only.
 */
void *idmap_next(const struct idmap *map, uint32_t *id_io);

/* Calls fn for every object in no particular order; fn must not change the map. O(n). */
void idmap_for_each(const struct idmap *map, void (*fn)(uint32_t id, void *obj, void *ctx),
                    void *ctx);

#endif
