/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Layout of the state file, shared by statefile.c (writing) and statefile_read.c. Native byte order
 * and alignment: it never leaves the machine, and a program of another version refuses it.
 */
#ifndef VIOMMU_BACKEND_DAEMON_STATEFILE_PRIV_H
#define VIOMMU_BACKEND_DAEMON_STATEFILE_PRIV_H

#include "backend/daemon/statefile.h"
#include "common/idmap.h"

#define SF_MAGIC         0x31465356554d4d4fULL
#define SF_VERSION       1u
#define SF_MAX_MAPPINGS  (1ull << 28)
#define SF_MAX_MAP_PAGES 65536u
#define SF_NONE          UINT32_MAX
#define SF_NO_RUNS       2u /* buffer number of an empty grant map */

struct sf_queue_setup {
    uint64_t desc, driver, device;
    uint64_t size;
};

struct sf_setup {
    char text[STATEFILE_TEXT_MAX + 8];
    uint64_t has_text;
    uint64_t offered, page_size_mask;
    uint64_t input_first, input_last, domain_first, domain_last;
    uint64_t probe_size, max_vdomains, max_faults;
    uint64_t max_queue_size;
    uint64_t features, control_ref;
    struct sf_queue_setup queue[VIOMMU_N_QUEUES];
    uint32_t port[STATEFILE_N_PORTS];
};

/* A ring as it is mapped: that of the two setups which the word names. */
struct sf_ring {
    uint64_t word; /* sf_pack: {seq, verdict, SF_RING_*} */
    struct sf_queue_setup setup[2];
};
#define SF_RING_SECOND 1u
#define SF_RING_MAPPED 2u

/* Words of {count: 48, position: 16}. */
struct sf_queue {
    uint64_t pushed, published;
};

struct sf_header {
    uint64_t magic;
    uint32_t version, max_mappings, max_map_pages;
    uint64_t connected; /* 1: the rest counts */
    struct sf_setup setup;
    uint64_t status, bypass, map; /* sf_pack, sf_pack_map */
    struct sf_ring ring[VIOMMU_N_QUEUES];
    uint32_t n_runs[2], run_generation[2];
    uint64_t n_mappings, n_attachments; /* slots that have ever been used */
    struct sf_queue queue[VIOMMU_N_QUEUES];
    /* By count: {used: 32, position behind it: 16, type: 8, status: 8}. */
    uint64_t answers[VIOMMU_N_QUEUES][STATEFILE_MAX_PENDING];
};
_Static_assert(sizeof(struct sf_header) % 8 == 0, "what follows is aligned");

#define SF_ATTACHED 1u
#define SF_BYPASS   2u

struct sf_version {
    uint32_t endpoint, vdomain, flags, status;
    uint64_t number; /* of the request that made it; 0: none did */
};

/* The version that counts is number `current` modulo 2; current 0: never attached. */
struct sf_attachment {
    uint64_t current;
    struct sf_version version[2];
};

struct sf_run {
    uint64_t address;
    uint32_t first_ref, pages;
    uint64_t flags;
};

struct sf_mapping {
    uint64_t first, last, value;
    uint32_t vdomain, flags;
    uint64_t number; /* of the request that made it; 0: a free slot */
};

struct statefile {
    uint8_t *buf;
    size_t size;
    struct sf_header *header;
    struct sf_attachment *attachments;
    struct sf_run *runs[2];
    struct sf_mapping *mappings;

    struct idmap *slot_of; /* endpoint id to struct sf_attachment */
    uint32_t n_mappings, n_attachments;
    uint32_t free_mapping;
    bool in_request;
};

/* A test counts the writes, and dies between two of them. */
#ifdef STATEFILE_TEST_HOOK
void statefile_test_hook(void);
#define SF_HOOK() statefile_test_hook()
#else
#define SF_HOOK() ((void)0)
#endif

/* The last write of a record: the compiler must not move it before the others. */
static inline void sf_store(uint64_t *word, uint64_t value)
{
    SF_HOOK();
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
    SF_HOOK();
}

static inline uint64_t sf_load(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static inline uint64_t sf_pack(uint32_t high, uint8_t a, uint8_t b)
{
    return (uint64_t)high << 32 | (uint64_t)a << 8 | b;
}

static inline uint64_t sf_pack_answer(uint32_t used, uint16_t position, uint8_t type,
                                      uint8_t status)
{
    return (uint64_t)used << 32 | (uint64_t)position << 16 | (uint64_t)type << 8 | status;
}

static inline uint64_t sf_pack_map(uint32_t generation, uint8_t verdict, unsigned buffer)
{
    return sf_pack(generation, verdict, (uint8_t)buffer);
}

static inline unsigned sf_map_buffer(uint64_t word)
{
    return (unsigned)(word & 0xff);
}

static inline uint64_t sf_pack_position(uint64_t count, uint16_t position)
{
    return count << 16 | position;
}

static inline uint64_t sf_count(uint64_t word)
{
    return word >> 16;
}

/* --- statefile.c --------------------------------------------------------------------------------
 */

/* Finds the tables of a file with room for so many runs. */
void sf_place(struct statefile *f, uint32_t max_runs);
bool sf_geometry_fits(const struct statefile *f, uint64_t max_mappings, uint32_t max_map_pages);
void sf_free_mapping(struct statefile *f, uint32_t slot);
MUST_CHECK int sf_own_slot(struct statefile *f, uint32_t slot, uint32_t endpoint);
void sf_set_attachment(struct sf_attachment *a, const struct sf_version *v);

#endif
