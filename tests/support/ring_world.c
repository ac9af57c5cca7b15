/* SPDX-License-Identifier: GPL-2.0-only */
/* See ring_world.h. */
#include <config.h>

#include "tests/support/ring_world.h"

#include "tests/support/ut.h"

struct ring_world rw;

bool rw_open_on(const struct grant_ops *ops, bool grant_addresses)
{
    const struct gmem_run runs[] = {
        {.address = RW_BASE, .first_ref = RW_REF, .pages = RW_PAGES},
        {.address = RW_RO_BASE, .first_ref = RW_RO_REF, .pages = RW_PAGES, .read_only = true},
    };

    rw.grants = fake_grants_new(RW_PAGES, false);
    if (!rw.grants || !fake_grants_grant(rw.grants, RW_REF, 0, RW_PAGES, false) ||
        !fake_grants_grant(rw.grants, RW_RO_REF, 0, RW_PAGES, true) ||
        gmem_new(&rw.mem, ops, rw.grants, &GMEM_LIMITS_DEFAULT) < 0 ||
        gmem_set_map(rw.mem, runs, 2) < 0)
        return false;
    rw.arena = (struct guest_arena){
        .memory = fake_grants_memory(rw.grants),
        .address = grant_addresses ? GMEM_GRANT_BIT | ((uint64_t)RW_REF << GRANT_PAGE_SHIFT)
                                   : RW_BASE,
        .size = (size_t)RW_PAGES * GRANT_PAGE_SIZE};
    return true;
}

bool rw_start(uint32_t size, uint64_t features)
{
    struct virtqueue_config config;

    if (!guest_ring_init(&rw.ring, &rw.arena, size, features | rw.layout))
        return false;
    config = guest_ring_config(&rw.ring);
    return virtqueue_new(&rw.vq, rw.mem, &config) == 0;
}

bool rw_open(uint32_t size, uint64_t features)
{
    return rw_open_on(&fake_grants_ops, false) && rw_start(size, features);
}

void rw_close(void)
{
    rw.vq = virtqueue_free(rw.vq);
    rw.mem = gmem_free(rw.mem);
    if (rw.grants) {
        UT_EQ(fake_grants_live_pages(rw.grants), 0);
        UT_EQ(fake_grants_errors(rw.grants), 0);
    }
    rw.grants = fake_grants_free(rw.grants);
}

uint64_t rw_address(const void *p)
{
    return guest_address(&rw.arena, p);
}

uint64_t rw_memory(void)
{
    return rw_address(rw.arena.memory + 64 * GRANT_PAGE_SIZE);
}

uint8_t *rw_request(uint32_t readable, uint32_t writable, size_t n_direct)
{
    uint8_t *data = guest_alloc(&rw.arena, readable + writable, 1);
    struct guest_buf bufs[2];

    if (!data)
        return NULL;
    bufs[0] = (struct guest_buf){rw_address(data), readable, false};
    bufs[1] = (struct guest_buf){rw_address(data + readable), writable, true};
    return guest_ring_add(&rw.ring, bufs, 2, n_direct) < 0 ? NULL : data;
}

uint32_t rw_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}
