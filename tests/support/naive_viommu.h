/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A naive virtio-iommu: arrays, a linear search for everything, the clauses written down in the
 * plainest way. What the device answers and what it holds must agree with it (random tests and
 * fuzzers). Knows no host and no failures; needs no CUnit.
 */
#ifndef VIOMMU_TESTS_NAIVE_VIOMMU_H
#define VIOMMU_TESTS_NAIVE_VIOMMU_H

#include "backend/viommu/viommu.h"

#define NAIVE_ENDPOINTS 5u /* ids from 8 on; index 1 has the reserved region */
#define NAIVE_VDOMAINS  6u /* 1 to 4 are in domain_range */
#define NAIVE_MAX_MAP   64u

struct naive_map {
    uint32_t vdomain;
    uint64_t first, last, phys;
    uint32_t flags;
    bool used;
};

struct naive_viommu {
    /* What the device is made with. */
    size_t max_maps, max_vdomains;
    uint64_t granule;
    struct range input, resv;
    uint64_t ram_end, rom_end; /* guest memory: [0, ram_end) writable, [ram_end, rom_end) not */

    uint32_t vdomain[NAIVE_ENDPOINTS]; /* 0: none (0 is outside domain_range) */
    bool is_bypass[NAIVE_VDOMAINS];
    struct naive_map maps[NAIVE_MAX_MAP];
    bool bypass_byte;
};

/* Each carries out a request if it is good, and returns its status. */
int naive_attach(struct naive_viommu *n, uint32_t vdomain, uint32_t endpoint, uint32_t flags);
int naive_detach(struct naive_viommu *n, uint32_t vdomain, uint32_t endpoint);
int naive_map(struct naive_viommu *n, const struct naive_map *m);
int naive_unmap(struct naive_viommu *n, uint32_t vdomain, uint64_t first, uint64_t last);
void naive_reset(struct naive_viommu *n);

/* Where an access of one byte leads: the guest address, or UINT64_MAX if it is refused. */
uint64_t naive_lookup(const struct naive_viommu *n, unsigned index, uint64_t addr, bool write);

/* NULL if the device's endpoints, vdomains and mappings are the model's, else what is not. */
const char *naive_compare(const struct naive_viommu *n, const struct viommu *v);

/* Copies attachments, mappings and the byte from the device: after a step that the model cannot
 * foresee. False if they do not fit the model. */
bool naive_follow(struct naive_viommu *n, const struct viommu *v);

#endif
