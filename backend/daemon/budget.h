/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The grant pages that all workers together may map. Xen's handle table is one per backend domain
 * and cannot be read, so the supervisor hands out leases from a configured total: a guest can then
 * starve neither its neighbours nor the other backends of this domain.
 */
#ifndef VIOMMU_BACKEND_DAEMON_BUDGET_H
#define VIOMMU_BACKEND_DAEMON_BUDGET_H

#include <stdint.h>

/* Less than this is of no use: control page, two rings of 1,024 entries and something to map. */
#define BUDGET_MIN_LEASE 64u

/* Invariant: leased is the sum of the leases in force, and at most total. */
struct page_budget {
    uint64_t total;
    uint64_t leased;
};

/*
 * Leases `want` pages, or what is left of them if that is at least BUDGET_MIN_LEASE. Returns the
 * number, 0 if nothing was leased.
 */
static inline uint32_t budget_lease(struct page_budget *b, uint32_t want)
{
    uint64_t left = b->total - b->leased;
    uint32_t got = want <= left ? want : (uint32_t)left;

    if (got < want && got < BUDGET_MIN_LEASE)
        return 0;
    b->leased += got;
    return got;
}

/*
 * The same for a device that asked for no number of its own: at most half of what is left, so that
 * there is something for every further device too.
 */
static inline uint32_t budget_lease_share(struct page_budget *b, uint32_t want)
{
    uint64_t half = (b->total - b->leased) / 2;

    if (half < BUDGET_MIN_LEASE)
        half = BUDGET_MIN_LEASE;
    return budget_lease(b, want <= half ? want : (uint32_t)half);
}

/* Gives a lease back. */
static inline void budget_return(struct page_budget *b, uint32_t pages)
{
    b->leased -= pages <= b->leased ? pages : b->leased;
}

#endif
