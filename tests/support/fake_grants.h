/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A grant table inside the test process, with the semantics that matter: references to pages of a
 * guest's memory, read-only or not; a revoke fails while the page is mapped; a mapping is a real
 * one of its own, so that use after unmap and a write through a read-only one crash the test.
 * Implements struct grant_ops. Failures and the host's limit (maptrack) can be injected.
 */
#ifndef VIOMMU_TESTS_FAKE_GRANTS_H
#define VIOMMU_TESTS_FAKE_GRANTS_H

#include "backend/virtio/grants.h"

struct fake_grants;

extern const struct grant_ops fake_grants_ops;         /* with copy; ctx is the fake_grants */
extern const struct grant_ops fake_grants_ops_no_copy; /* a platform without it */
extern const struct grant_ops fake_grants_ops_many;    /* without copy, several maps at once */

/*
 * Guest memory of so many pages, zeroed. `direct`: a run of pages that is contiguous in the guest
 * is "mapped" by handing out its address (cheap: replay and benchmarks), without the protection.
 * NULL when the host is short of memory.
 */
struct fake_grants *fake_grants_new(size_t pages, bool direct);
struct fake_grants *fake_grants_free(struct fake_grants *f); /* NULL allowed; returns NULL */

/* The guest's own view of its memory, and its size. */
uint8_t *fake_grants_memory(struct fake_grants *f);
size_t fake_grants_pages(const struct fake_grants *f);

/*
 * The guest grants `n` pages from `page` on as references ref, ref + 1, ... False: outside of its
 * memory, references that wrap, or one in use.
 */
bool fake_grants_grant(struct fake_grants *f, uint32_t ref, size_t page, size_t n, bool read_only);

/* The guest revokes: -EBUSY if one is mapped, -ENOENT if one is not granted; all or none. */
int fake_grants_revoke(struct fake_grants *f, uint32_t ref, size_t n);

/* How often the reference is mapped, how many pages (counted by mapping) and mappings are live. */
size_t fake_grants_live(const struct fake_grants *f, uint32_t ref);
size_t fake_grants_live_pages(const struct fake_grants *f);
size_t fake_grants_live_maps(const struct fake_grants *f);

/* Number of maps (also failed ones, and each of map_many) and calls of copy so far. */
size_t fake_grants_map_calls(const struct fake_grants *f);
/* Calls of map, unmap, map_many and unmap_many so far. */
size_t fake_grants_calls(const struct fake_grants *f);
size_t fake_grants_copy_calls(const struct fake_grants *f);

/* The n-th call of map (copy) from now on fails with `error` (negative); 0 disarms. */
void fake_grants_fail_map(struct fake_grants *f, size_t n, int error);
void fake_grants_fail_copy(struct fake_grants *f, size_t n, int error);

/* Live pages that the host allows; beyond: -ENOMEM. */
void fake_grants_set_limit(struct fake_grants *f, size_t pages);

/* Called at the end of each map and copy, when the guest's memory is about to be looked at. */
void fake_grants_set_hook(struct fake_grants *f, void (*fn)(void *ctx), void *ctx);

/* Unmaps of something that was not mapped: always 0 for correct code. */
size_t fake_grants_errors(const struct fake_grants *f);

#endif
