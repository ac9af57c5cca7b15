/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The grant map's directory: each page is mapped and unmapped once and read as one copy; entries
 * stay inside the page; the walk ends at the page limit; what is handed out has sound flags only.
 */
#include "backend/daemon/device_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/prove/prove.h"

#define PAGES   2u
#define ENTRIES 3u

static uint8_t guest_page[GRANT_PAGE_SIZE];
static unsigned mapped, maps;

/* The page is another one at each map. Only sound counts up to the bound are followed. */
static int map(void *ctx, const uint32_t *refs, size_t n, bool writable, void **addr_out)
{
    uint32_t count;

    PROVE(n == 1 && refs[0] != 0 && !writable && mapped == 0);
    if (any_bool())
        return -EFAULT;
    __CPROVER_havoc_object(guest_page);
    memcpy(&count, guest_page + DIRECTORY_COUNT_AT, 4);
    ASSUME(count <= ENTRIES || count > DIRECTORY_MAX_ENTRIES);
    mapped++;
    maps++;
    *addr_out = guest_page;
    return 0;
}

static void unmap(void *ctx, void *addr, size_t n)
{
    PROVE(addr == guest_page && n == 1 && mapped == 1);
    mapped--;
    __CPROVER_havoc_object(guest_page); /* the guest goes on writing */
}

int main(void)
{
    const struct grant_ops ops = {.map = map, .unmap = unmap};
    uint32_t ref = any_u32(), max = any_u32(), verdict;
    struct grant_map out = {.runs = NULL};

    ASSUME(max <= PAGES);
    verdict = grant_map_read(&ops, NULL, ref, any_u32(), max, &out);
    PROVE(mapped == 0 && maps <= max);
    PROVE(verdict == MAP_VERDICT_OK || verdict == MAP_VERDICT_MALFORMED ||
          verdict == MAP_VERDICT_TOO_LARGE);
    if (verdict != MAP_VERDICT_OK) {
        PROVE(out.runs == NULL);
        return 0;
    }
    PROVE(out.n <= PAGES * ENTRIES);
    PROVE(out.n == 0 || __CPROVER_r_ok(out.runs, out.n * sizeof(*out.runs)));
    PROVE(ref != 0 || out.n == 0);
    free(out.runs);
    return 0;
}
