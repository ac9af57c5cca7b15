/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The grant map's directory pages (docs/protocol.md, 6) to a list of runs for backend/virtio/gmem.
 * The pages are the guest's and may change while they are read, so each is copied once and only
 * the copy is looked at. A chain that closes to a ring ends at the page limit like any long one.
 */
#include <config.h>

#include "backend/daemon/device_priv.h"

#include <stdlib.h>
#include <string.h>

#include "common/le.h"

#define ENTRY_ADDRESS   0u
#define ENTRY_FIRST_REF 8u
#define ENTRY_PAGES     12u
#define ENTRY_FLAGS     16u
#define ENTRY_RESERVED  20u

#define ENTRY_F_READ_ONLY 1u

_Static_assert(DIRECTORY_ENTRIES_AT + DIRECTORY_MAX_ENTRIES * DIRECTORY_ENTRY_SIZE <=
                   GRANT_PAGE_SIZE,
               "a full directory fits its page");

/* One private copy of a directory page: 0 or -errno. */
static int page_copy(const struct grant_ops *ops, void *ctx, uint32_t ref, uint8_t *page)
{
    void *addr;
    int rc;

    rc = ops->map(ctx, &ref, 1, false, &addr);
    if (rc)
        return rc;
    memcpy(page, addr, GRANT_PAGE_SIZE);
    ops->unmap(ctx, addr, 1);
    /* The compiler must not look at the guest's page again instead of the copy. */
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    return 0;
}

static bool all_zero(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i])
            return false;
    }
    return true;
}

static bool page_sound(const uint8_t *page, uint32_t generation)
{
    return le32_load(page + DIRECTORY_MAGIC_AT) == DIRECTORY_MAGIC &&
           le32_load(page + DIRECTORY_VERSION_AT) == DIRECTORY_VERSION &&
           le32_load(page + DIRECTORY_GENERATION_AT) == generation &&
           le32_load(page + DIRECTORY_COUNT_AT) <= DIRECTORY_MAX_ENTRIES &&
           all_zero(page + DIRECTORY_RESERVED_AT, DIRECTORY_ENTRIES_AT - DIRECTORY_RESERVED_AT);
}

static bool entry_decode(const uint8_t *entry, struct gmem_run *run)
{
    uint32_t flags = le32_load(entry + ENTRY_FLAGS);

    if ((flags & ~ENTRY_F_READ_ONLY) || le32_load(entry + ENTRY_RESERVED))
        return false;
    *run = (struct gmem_run){
        .address = le64_load(entry + ENTRY_ADDRESS),
        .first_ref = le32_load(entry + ENTRY_FIRST_REF),
        .pages = le32_load(entry + ENTRY_PAGES),
        .read_only = (flags & ENTRY_F_READ_ONLY) != 0,
    };
    return true;
}

/* Appends the runs of a page whose header is sound. */
static uint32_t page_append(const uint8_t *page, struct grant_map *map)
{
    uint32_t count = le32_load(page + DIRECTORY_COUNT_AT);
    struct gmem_run *runs;

    if (count == 0)
        return MAP_VERDICT_OK;
    runs = reallocarray(map->runs, map->n + count, sizeof(*runs));
    if (!runs)
        return MAP_VERDICT_TOO_LARGE;
    map->runs = runs;
    for (uint32_t i = 0; i < count; i++) {
        if (!entry_decode(page + DIRECTORY_ENTRIES_AT + i * DIRECTORY_ENTRY_SIZE, &runs[map->n]))
            return MAP_VERDICT_MALFORMED;
        map->n++;
    }
    return MAP_VERDICT_OK;
}

static uint32_t chain_append(const struct grant_ops *ops, void *ctx, uint32_t ref,
                             uint32_t generation, uint32_t max_pages, struct grant_map *map)
{
    uint8_t page[GRANT_PAGE_SIZE];
    uint32_t verdict;

    for (uint32_t n = 0; ref != 0; n++) {
        if (n == max_pages)
            return MAP_VERDICT_MALFORMED;
        if (page_copy(ops, ctx, ref, page) || !page_sound(page, generation))
            return MAP_VERDICT_MALFORMED;
        verdict = page_append(page, map);
        if (verdict != MAP_VERDICT_OK)
            return verdict;
        ref = le32_load(page + DIRECTORY_NEXT_AT);
    }
    return MAP_VERDICT_OK;
}

uint32_t grant_map_read(const struct grant_ops *ops, void *ctx, uint32_t ref, uint32_t generation,
                        uint32_t max_pages, struct grant_map *out)
{
    struct grant_map map = {.runs = NULL};
    uint32_t verdict;

    verdict = chain_append(ops, ctx, ref, generation, max_pages, &map);
    if (verdict == MAP_VERDICT_OK)
        *out = map;
    else
        free(map.runs);
    return verdict;
}
