/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A fake host IOMMU driver: spaces with a byte-exact record of what is mapped, groups that can or
 * cannot share a space, failures on demand. Whatever the device does against the contract of
 * host_iommu.h is kept as a complaint.
 */
#ifndef VIOMMU_TESTS_MODEL_HOST_H
#define VIOMMU_TESTS_MODEL_HOST_H

#include "backend/viommu/viommu.h"
#include "tests/support/model_space.h"

#include <stdio.h>

#define MODEL_HOST_ENDPOINTS 8

struct model_host;

struct host_endpoint {
    struct model_host *host;
    unsigned index;
    unsigned group; /* endpoints of one group can only be in one space */
    struct host_space *space;
    bool identity;
};

enum model_host_verb {
    HOST_SPACE_NEW,
    HOST_SPACE_FREE,
    HOST_ATTACH,
    HOST_DETACH,
    HOST_MAP,
    HOST_UNMAP,
    HOST_BYPASS_ON,
    HOST_BYPASS_OFF,
    HOST_N_VERBS
};

struct model_host {
    struct host_endpoint endpoints[MODEL_HOST_ENDPOINTS];
    struct host_space *spaces;
    size_t n_spaces;
    unsigned n_made;   /* spaces ever made */
    bool groups_share; /* one space takes any group (iommufd); else -EXDEV (type1) */
    size_t max_pieces; /* of a space, then -ENOSPC; 0: no limit */
    unsigned calls[HOST_N_VERBS];
    unsigned
        fail_at[HOST_N_VERBS]; /* first call (from 1, counted in `calls`) that fails; 0: none */
    unsigned fail_to[HOST_N_VERBS]; /* last one */
    int fail_with;
    const char *complaint;
    FILE *trace;
};

/* Two drivers over one model: by address of this process, by guest address. */
extern const struct host_iommu_ops model_host_ops;
extern const struct host_iommu_ops model_host_frame_ops;

/* Endpoint i is in group i. */
void model_host_init(struct model_host *h);
void model_host_fini(struct model_host *h);

/* Makes calls n to n + count - 1 from now (1: the next) of a verb fail. */
void model_host_fail(struct model_host *h, enum model_host_verb verb, unsigned n, unsigned count,
                     int error);

/*
 * Compares every space with the table, byte by byte, and where every endpoint is with where it
 * belongs. The device's endpoint ids are 8 + index. NULL if all agrees, else what does not.
 */
const char *model_host_compare(const struct model_host *h, const struct viommu *v,
                               const struct model_space *mem);

/* Writes everything mapped and attached, in a fixed order, pieces that continue joined. */
void model_host_dump(const struct model_host *h, FILE *out);

#endif
