/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A device on its test bench: model_space below, model_host and soft endpoints beside it, and the
 * requests of a driver as functions. Every request that is sent has its reply checked for form
 * (used length, zero fill, nothing written beyond).
 */
#ifndef VIOMMU_TESTS_VIOMMU_RIG_H
#define VIOMMU_TESTS_VIOMMU_RIG_H

#include "tests/support/model_host.h"
#include "tests/support/model_space.h"
#include "tests/support/ut.h"

/* What rig_* requests return when the buffer came back unwritten. */
#define RIG_UNWRITTEN (-1)

#define MAP_R  VIOMMU_MAP_F_READ
#define MAP_W  VIOMMU_MAP_F_WRITE
#define MAP_RW (MAP_R | MAP_W)

#define PAGE 0x1000ull

/* Guest memory of every rig: [0, 16 MiB) with bytes, then one read-only MiB with bytes. */
#define RIG_RAM_SIZE  (16ull << 20)
#define RIG_ROM_FIRST RIG_RAM_SIZE
#define RIG_ROM_SIZE  (1ull << 20)
/* Addresses only, for huge mappings: 2^40 to 2^41-1. */
#define RIG_HUGE_FIRST (1ull << 40)

struct rig {
    struct model_space mem;
    struct model_host host;
    struct viommu *v;
    size_t used; /* of the last request */
    uint8_t reply[4096];
};

/*
 * Starts a device with every offered feature negotiated and no endpoints. `config` NULL: the
 * default with an input range and all else of VIOMMU_CONFIG_DEFAULT.
 */
bool rig_start(struct rig *rig, const struct viommu_config *config);

/* Frees the device and asserts that the host and the guest's memory hold nothing of it. */
void rig_stop(struct rig *rig);

/* Adds endpoint `id` (8 + index of the model) on a driver of the model, or a soft one. */
int rig_add(struct rig *rig, uint32_t id, const struct host_iommu_ops *ops);
int rig_add_soft(struct rig *rig, uint32_t id);
int rig_add_resv(struct rig *rig, uint32_t id, const struct host_iommu_ops *ops,
                 const struct viommu_resv *resv, size_t n);

int rig_attach(struct rig *rig, uint32_t vdomain, uint32_t endpoint, uint32_t flags);
int rig_detach(struct rig *rig, uint32_t vdomain, uint32_t endpoint);
int rig_map(struct rig *rig, uint32_t vdomain, uint64_t first, uint64_t last, uint64_t phys,
            uint32_t flags);
int rig_unmap(struct rig *rig, uint32_t vdomain, uint64_t first, uint64_t last);
int rig_probe(struct rig *rig, uint32_t endpoint); /* properties in rig->reply */

/* Any request: status of the tail that a driver would read, or RIG_UNWRITTEN. */
int rig_send(struct rig *rig, const uint8_t *req, size_t len, uint64_t writable);

/* Builds a request in `req` (VIOMMU_REQ_MAX bytes, zeroed): returns its readable size. */
size_t rig_build_attach(uint8_t *req, uint32_t vdomain, uint32_t endpoint, uint32_t flags);
size_t rig_build_detach(uint8_t *req, uint32_t vdomain, uint32_t endpoint);
size_t rig_build_map(uint8_t *req, uint32_t vdomain, uint64_t first, uint64_t last, uint64_t phys,
                     uint32_t flags);
size_t rig_build_unmap(uint8_t *req, uint32_t vdomain, uint64_t first, uint64_t last);
size_t rig_build_probe(uint8_t *req, uint32_t endpoint);

/* Device, host and pins as one text (malloc). */
char *rig_dump(struct rig *rig);

/* Asserts that host, pins and table agree. */
void rig_check(struct rig *rig, const char *file, int line);
#define RIG_CHECK(rig) rig_check((rig), __FILE__, __LINE__)

/* Asserts that `request` gets `status` and changes nothing anywhere. */
#define RIG_REFUSED(rig, request, status) \
    do {                                  \
        char *before_ = rig_dump(rig);    \
        UT_EQ((request), (status));       \
        char *after_ = rig_dump(rig);     \
        UT_STR(after_, before_);          \
        free(before_);                    \
        free(after_);                     \
        RIG_CHECK(rig);                   \
    } while (0)

/* Where an access of one byte leads: the guest address, or UINT64_MAX if it is refused. */
uint64_t rig_lookup(struct rig *rig, uint32_t endpoint, uint64_t iova, bool write);

/* Records calls of host and memory until rig_trace_end, which returns them (malloc). */
void rig_trace_begin(struct rig *rig);
char *rig_trace_end(struct rig *rig);

#endif
