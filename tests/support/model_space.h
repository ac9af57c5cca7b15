/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A fake guest_space: regions of guest memory, failures on demand, and an account of every pin
 * that a test can compare with what it expects. A wrong unpin is kept as a complaint.
 */
#ifndef VIOMMU_TESTS_MODEL_SPACE_H
#define VIOMMU_TESTS_MODEL_SPACE_H

#include "backend/viommu/guest_space.h"

#include <stdio.h>

#define MODEL_SPACE_REGIONS 8

struct model_region {
    struct range gpa;
    bool read_only;
    uint8_t *bytes; /* NULL: addresses only, reads and writes fail; page-aligned like grants */
    uint8_t *block; /* what is to be freed */
};

struct model_pin {
    struct range gpa;
    bool write;
};

enum model_space_verb {
    SPACE_CHECK,
    SPACE_PIN,
    SPACE_UNPIN,
    SPACE_SEGMENT,
    SPACE_READ,
    SPACE_WRITE,
    SPACE_N_VERBS
};

struct model_space {
    struct model_region regions[MODEL_SPACE_REGIONS];
    size_t n_regions;
    struct model_pin *pins;
    size_t n_pins, pins_room;
    uint64_t segment_max;            /* pieces end at multiples of it; 0: no limit */
    unsigned calls[SPACE_N_VERBS];   /* since the start */
    unsigned fail_at[SPACE_N_VERBS]; /* the call (from 1, counted in `calls`) that fails; 0: none */
    int fail_with;                   /* -errno */
    const char *complaint;           /* the first breach of the contract, or NULL */
    FILE *trace;                     /* calls are written here, or NULL */
};

void model_space_init(struct model_space *s);
void model_space_fini(struct model_space *s);

/* Adds guest memory. False when memory is short or there is no room. */
bool model_space_add(struct model_space *s, struct range gpa, bool read_only, bool with_bytes);

struct guest_space model_space_guest(struct model_space *s);

/* Makes the n-th call from now of a verb (1: the next) fail. */
void model_space_fail(struct model_space *s, enum model_space_verb verb, unsigned n, int error);

/* The pointer that stands for a guest address, NULL if there is no memory. */
void *model_space_hva(const struct model_space *s, uint64_t gpa);

/* The guest address that a pointer stands for. False if it is none. */
bool model_space_gpa(const struct model_space *s, const void *hva, uint64_t *gpa_out);

/* How many pins of exactly this range and access there are. */
size_t model_space_pinned(const struct model_space *s, struct range gpa, bool write);

/* Writes the pins in a fixed order. */
void model_space_dump(struct model_space *s, FILE *out);

#endif
