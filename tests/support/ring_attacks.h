/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Hostile rings for tests of virtqueues: a sound request is there, then one thing is made wrong.
 * What is wrong in any layout is here; what only one layout has, its test adds.
 */
#ifndef VIOMMU_TESTS_RING_ATTACKS_H
#define VIOMMU_TESTS_RING_ATTACKS_H

#include "tests/support/ring_world.h"

/* Flags of descriptors, in both layouts. */
#define RW_F_NEXT  1u
#define RW_F_WRITE 2u
#define RW_F_TABLE 4u

struct rw_attack {
    const char *why; /* must be the queue's reason */
    void (*fn)(void);
    uint64_t features;
};

/*
 * Descriptor i of rw's ring. In a packed ring it is available, in the first lap, with id 0; `next`
 * is for split ones.
 */
void rw_desc(unsigned i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next);
/* Entry i of the first indirect table. */
void rw_entry(unsigned i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next);
/* Descriptor 0 refers to `bytes` of that table, which has eight entries, each going on to the next.
 */
void rw_table(uint32_t bytes, uint16_t flags);

/*
 * Each attack, on a ring of eight with a request in it (40 bytes and 4, at its beginning), breaks
 * the queue for its reason, for good, and nothing is written to the guest.
 */
void rw_attack_each(const struct rw_attack *attacks, size_t n);

/* Those that are wrong in both layouts. */
void rw_attack_common(void);

#endif
