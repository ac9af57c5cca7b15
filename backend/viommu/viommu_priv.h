/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The device's insides, for the files of this folder and for tests that must look.
 *
 * Invariants between two requests, as soon as what UNMAPs of a batch have left to be done
 * (struct unmaps) is done:
 * - An endpoint is in at most one vdomain; a vdomain has at least one endpoint.
 * - An endpoint whose driver has spaces is in one of its vdomain's spaces exactly if that vdomain
 *   is not a bypass one; a space of a vdomain has at least one endpoint.
 * - Every space of a vdomain maps exactly what the vdomain's map holds with READ or WRITE, and
 *   exactly those entries are pinned in guest memory, once each.
 * - `identity` says what the host does: true in a bypass vdomain and for an unattached endpoint
 *   while the `bypass` byte is 1. Only a host that failed to follow leaves it false; such an
 *   endpoint is blocked, never the other way round.
 */
#ifndef VIOMMU_BACKEND_VIOMMU_VIOMMU_PRIV_H
#define VIOMMU_BACKEND_VIOMMU_VIOMMU_PRIV_H

#include "backend/viommu/viommu.h"
#include "common/idmap.h"
#include "common/log.h"

/* One set of host tables of a vdomain. */
struct vspace {
    struct vspace *prev, *next; /* in the vdomain */
    const struct host_iommu_ops *ops;
    struct host_space *host;
    size_t n_endpoints;
};

/* A reserved region of an endpoint, in the tree of its vdomain while it is attached. */
struct resv_node {
    struct range range;
    uint64_t max_last; /* of the subtree */
    uint32_t priority; /* random: a heap by it */
    struct resv_node *left, *right;
};

/* The extent of what the host has mapped of some entries, and its size in all. */
struct extent {
    bool any;
    struct range range;
    uint64_t bytes; /* 0 stands for 2^64 */
};

struct vdomain {
    uint32_t id;
    bool bypass;
    struct imap *map; /* IOVA to guest address; flags are MAP flags */
    struct vspace *first_space, *last_space;
    size_t n_endpoints;
    struct resv_node *resv; /* of all its endpoints */
};

struct endpoint {
    uint32_t id;
    const struct host_iommu_ops *ops;
    struct host_endpoint *host;
    unsigned caps;
    struct viommu_resv *resv; /* sorted, disjoint, within the input range or as the host says */
    size_t n_resv;
    struct resv_node *resv_nodes; /* n_resv of them, one for each region */
    struct vdomain *vdomain;      /* NULL: unattached */
    struct vspace *space;
    bool identity;
    struct endpoint *prev, *next; /* all endpoints of the device */
};

/*
 * What UNMAPs of a batch have left to be done: these mappings have been answered for and are out of
 * the observer's record, but still in the table, in every space and pinned. Nobody looks at them
 * there but another UNMAP, which a range that only adjoins cannot mislead.
 */
struct unmaps {
    struct vdomain *vd; /* NULL: nothing is left */
    struct range iova;  /* the ranges of the requests, joined; splits no entry */
    struct extent mapped;
};

struct fault_queue {
    struct viommu_fault *slots;
    size_t size, head, count;
};

struct viommu {
    struct viommu_config config; /* ranges widened to everything when they are not offered */
    struct guest_space space;
    uint64_t negotiated;
    bool bypass; /* the config byte */
    struct idmap *vdomains;
    struct idmap *endpoint_ids;
    struct endpoint *endpoints;
    struct vdomain *last_vdomain; /* of the last MAP or UNMAP; NULL or alive */
    size_t n_mappings;
    bool batch; /* between viommu_batch_begin and viommu_batch_end */
    struct unmaps unmaps;
    struct fault_queue faults;
    struct viommu_counters counters;
    struct ratelimit log_limit;
    const struct viommu_observer *observer; /* may be NULL */
    void *observer_ctx;
    uint64_t random; /* balances trees, nothing more */
};

/* The granule: lowest bit of the mask (D4). */
static inline uint64_t viommu_granule(const struct viommu *v)
{
    return v->config.page_size_mask & -v->config.page_size_mask;
}

static inline bool viommu_has(const struct viommu *v, uint64_t feature)
{
    return (v->config.features & feature) != 0;
}

static inline bool viommu_agreed(const struct viommu *v, uint64_t feature)
{
    return (v->negotiated & feature) != 0;
}

/* --- vdomain.c: vdomains and the mappings in them --------------------------------------------- */

/* NULL: there is none. Mostly it is the one of the last request. */
struct vdomain *vdomain_search(struct viommu *v, uint32_t id);
static inline struct vdomain *vdomain_find(struct viommu *v, uint32_t id)
{
    struct vdomain *last = v->last_vdomain;

    return LIKELY(last && last->id == id) ? last : vdomain_search(v, id);
}

/* Creates an empty vdomain without endpoints; the caller gives it one or drops it. -ENOMEM. */
MUST_CHECK int vdomain_new(struct viommu *v, uint32_t id, bool bypass, struct vdomain **out);

/*
 * Destroys a vdomain without endpoints and spaces: forgets its mappings and unpins their memory.
 */
void vdomain_drop(struct viommu *v, struct vdomain *vd);

/* True if a mapping of the vdomain overlaps one of the endpoint's reserved regions (D21). */
bool vdomain_clashes(const struct vdomain *vd, const struct endpoint *ep);

enum viommu_status vdomain_map(struct viommu *v, struct vdomain *vd,
                               const struct imap_entry *entry);

/* Within a batch, the host's part may be left to unmaps_finish. */
enum viommu_status vdomain_unmap(struct viommu *v, struct vdomain *vd, struct range iova);

/* Does what UNMAPs have left to be done: host, table, pins, in this order. */
void unmaps_do(struct viommu *v);
static inline void unmaps_finish(struct viommu *v)
{
    if (v->unmaps.vd)
        unmaps_do(v);
}

/* --- space.c: the host's side ------------------------------------------------------------------
 */

/* Would this mapping exist in host tables and be pinned? */
static inline bool mapping_has_access(uint32_t flags)
{
    return (flags & (VIOMMU_MAP_F_READ | VIOMMU_MAP_F_WRITE)) != 0;
}

/*
 * Maps an entry, whose memory begins with the piece `first`, in every space of the vdomain, or in
 * none: 0 or -errno of the host.
 */
MUST_CHECK int spaces_map(struct viommu *v, struct vdomain *vd, const struct imap_entry *entry,
                          const struct guest_piece *first);

/* Removes what the host has mapped of some entries, and nothing else is in it, from every space. */
void spaces_unmap(struct viommu *v, const struct vdomain *vd, const struct extent *mapped);

/*
 * Puts an endpoint that is nowhere on the host where an endpoint of `vd` (NULL: none) with
 * `identity` belongs, replaying mappings where a space is new. 0, or -errno and still nowhere.
 */
MUST_CHECK int host_enter(struct viommu *v, struct endpoint *ep, struct vdomain *vd, bool identity);

/* Takes the endpoint out; its space stays in the vdomain, even if it is empty now. */
void host_leave(struct endpoint *ep);

/*
 * Undoes host_leave: puts the endpoint, which is nowhere and in no other vdomain's books, back into
 * the space that it left, or into identity. 0, or -errno and still nowhere.
 */
MUST_CHECK int host_return(struct viommu *v, struct endpoint *ep, struct vspace *space,
                           bool identity);

/* Frees the space if no endpoint is in it. */
void space_drop_if_empty(struct vdomain *vd, struct vspace *space);

/* --- endpoint.c ------------------------------------------------------------------------------- */

/*
 * Moves an endpoint to `to` (NULL: unattached, following the `bypass` byte). 0; or -errno, and
 * everything is as before, except if the host even refuses to take the endpoint back: it ends
 * unattached and blocked then, and -EIO is returned.
 */
MUST_CHECK int endpoint_move(struct viommu *v, struct endpoint *ep, struct vdomain *to);

/* Unattaches without asking for identity: for reset and removal. Cannot fail. */
void endpoint_take_out(struct viommu *v, struct endpoint *ep);

/* Makes unattached endpoints follow `on`: 0 or -errno, and nothing has changed then. */
MUST_CHECK int endpoints_set_identity(struct viommu *v, bool on);

/* Tells the observer that the endpoint is in `vd` (NULL: nowhere) now. */
void endpoint_tell(const struct viommu *v, const struct endpoint *ep, const struct vdomain *vd,
                   enum viommu_status status);

/* Frees an endpoint that was taken out. */
void endpoint_drop(struct viommu *v, struct endpoint *ep);

/* --- resv.c ----------------------------------------------------------------------------------- */

/* Puts nodes, whose range and priority are set, into a tree; takes nodes of a tree out of it. */
void resv_add(struct resv_node **tree, struct resv_node *nodes, size_t n);
void resv_remove(struct resv_node **tree, const struct resv_node *nodes, size_t n);

/* True if one of the regions overlaps `r`. O(log n). */
bool resv_overlaps(const struct resv_node *tree, struct range r);

/* --- probe.c ---------------------------------------------------------------------------------- */

/* Writes the endpoint's properties to the zeroed area of probe_size bytes, which holds them. */
void probe_write(const struct endpoint *ep, uint8_t *area);

/* --- fault.c ---------------------------------------------------------------------------------- */

MUST_CHECK int fault_queue_init(struct fault_queue *q, size_t size);
void fault_queue_clear(struct fault_queue *q);

#endif
