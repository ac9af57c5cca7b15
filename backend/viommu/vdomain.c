/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Vdomains and their mappings: MAP, UNMAP and translation (virtio 1.3, 5.13.6.5 and 5.13.6.6).
 *
 * The interval map is the truth that the host's tables (space.c) and the pins of guest memory
 * follow. Values arrive decoded but unchecked.
 */
#include <config.h>

#include "backend/viommu/viommu_priv.h"

#include <errno.h>

static const struct range everything = {0, UINT64_MAX};

struct vdomain *vdomain_search(struct viommu *v, uint32_t id)
{
    struct vdomain *vd = idmap_get(v->vdomains, id);

    if (vd)
        v->last_vdomain = vd;
    return vd;
}

int vdomain_new(struct viommu *v, uint32_t id, bool bypass, struct vdomain **out)
{
    struct vdomain *vd = calloc(1, sizeof(*vd));
    int r;

    if (!vd)
        return -ENOMEM;
    vd->id = id;
    vd->bypass = bypass;
    vd->map = imap_new();
    r = vd->map ? idmap_put(v->vdomains, id, vd) : -ENOMEM;
    if (r < 0) {
        imap_free(vd->map);
        free(vd);
        return r;
    }
    *out = vd;
    return 0;
}

/* Ends the pin of a mapping that is leaving the table; the host has dropped it by now. */
static HOT void unpin_entry(const struct imap_entry *entry, void *ctx)
{
    struct viommu *v = ctx;
    struct range gpa;

    if (mapping_has_access(entry->flags) && range_moved(entry->range, entry->value, &gpa))
        v->space.ops->unpin(v->space.ctx, gpa, (entry->flags & VIOMMU_MAP_F_WRITE) != 0);
}

/* The same for one that is still in the record. */
static void drop_entry(const struct imap_entry *entry, void *ctx)
{
    struct viommu *v = ctx;

    if (v->observer)
        v->observer->unmapped(v->observer_ctx, entry->tag);
    unpin_entry(entry, v);
}

static void forget_mappings(struct viommu *v, struct vdomain *vd, struct range iova,
                            void (*end)(const struct imap_entry *entry, void *ctx))
{
    size_t n = imap_remove_within(vd->map, iova, end, v);

    v->n_mappings -= n;
    v->counters.unmapped += n;
}

/* An entry of an UNMAP leaves the record; what of it the host has mapped is added up. */
static HOT void leave_record(const struct imap_entry *entry, void *ctx)
{
    struct viommu *v = ctx;
    struct extent *mapped = &v->unmaps.mapped;

    if (v->observer)
        v->observer->unmapped(v->observer_ctx, entry->tag);
    if (!mapping_has_access(entry->flags))
        return;
    mapped->range = mapped->any ? range_hull(mapped->range, entry->range) : entry->range;
    mapped->any = true;
    mapped->bytes += range_size(entry->range);
}

HOT void unmaps_do(struct viommu *v)
{
    struct unmaps *todo = &v->unmaps;
    struct vdomain *vd = todo->vd;

    todo->vd = NULL;
    spaces_unmap(v, vd, &todo->mapped);
    todo->mapped = (struct extent){.any = false};
    forget_mappings(v, vd, todo->iova, unpin_entry);
}

void vdomain_drop(struct viommu *v, struct vdomain *vd)
{
    forget_mappings(v, vd, everything, drop_entry);
    (void)idmap_remove(v->vdomains, vd->id);
    if (v->last_vdomain == vd)
        v->last_vdomain = NULL;
    imap_free(vd->map);
    free(vd);
}

bool vdomain_clashes(const struct vdomain *vd, const struct endpoint *ep)
{
    for (size_t i = 0; i < ep->n_resv; i++) {
        if (imap_first_in(vd->map, ep->resv[i].range, NULL))
            return true;
    }
    return false;
}

/* The checks that need no memory and no host; *gpa_out is the guest range on success. */
static enum viommu_status check_map(struct viommu *v, const struct vdomain *vd,
                                    const struct imap_entry *entry, struct range *gpa_out)
{
    uint64_t granule = viommu_granule(v);
    bool write = (entry->flags & VIOMMU_MAP_F_WRITE) != 0;

    /* One byte (first == last) is a mapping if the granule is a byte (A1). */
    if (!range_valid(entry->range))
        return VIOMMU_S_INVAL;
    if (!range_aligned(entry->range, granule) || (entry->value & (granule - 1)) != 0)
        return VIOMMU_S_RANGE; /* D27 */
    if (!range_contains(v->config.input_range, entry->range))
        return VIOMMU_S_RANGE; /* N2, A2 */
    if (!range_moved(entry->range, entry->value, gpa_out))
        return VIOMMU_S_RANGE; /* A16 */
    if (v->space.ops->check(v->space.ctx, *gpa_out, write) < 0)
        return VIOMMU_S_FAULT; /* N9, A17 */
    if (resv_overlaps(vd->resv, entry->range))
        return VIOMMU_S_INVAL; /* D50, A4: for every endpoint that would see the mapping */
    if (v->n_mappings >= v->config.max_mappings) {
        /* An overlap (D28) comes before a limit (A12); below, the insertion finds it. */
        return imap_first_in(vd->map, entry->range, NULL) ? VIOMMU_S_INVAL : VIOMMU_S_NOMEM;
    }
    return VIOMMU_S_OK;
}

HOT enum viommu_status vdomain_map(struct viommu *v, struct vdomain *vd,
                                   const struct imap_entry *entry)
{
    bool write = (entry->flags & VIOMMU_MAP_F_WRITE) != 0;
    bool access = mapping_has_access(entry->flags);
    enum viommu_status status;
    struct guest_piece first;
    struct range gpa;
    int r;

    status = check_map(v, vd, entry, &gpa);
    if (status != VIOMMU_S_OK)
        return status;
    /*
     * The table first: it alone allocates, and taking the entry out again cannot fail. Nobody
     * looks at the table before the host has followed.
     */
    r = imap_insert(vd->map, entry);
    if (r < 0)
        return r == -EEXIST ? VIOMMU_S_INVAL /* D28 */ : viommu_status_of_errno(r);
    if (access) {
        r = v->space.ops->pin(v->space.ctx, gpa, write, &first);
        if (r < 0)
            goto undo_insert;
        r = spaces_map(v, vd, entry, &first);
        if (r < 0)
            goto undo_pin;
    }
    v->n_mappings++;
    v->counters.mapped++;
    if (v->observer)
        v->observer->mapped(v->observer_ctx, vd->id, entry);
    return VIOMMU_S_OK;

undo_pin:
    v->space.ops->unpin(v->space.ctx, gpa, write);
undo_insert:
    (void)imap_remove_within(vd->map, entry->range, NULL, NULL);
    return viommu_status_of_errno(r);
}

HOT enum viommu_status vdomain_unmap(struct viommu *v, struct vdomain *vd, struct range iova)
{
    struct unmaps *todo = &v->unmaps;

    /* What is left to be done is still in the table: only a range beside it can be judged by it. */
    if (todo->vd != vd || !range_adjoins(todo->iova, iova))
        unmaps_finish(v);
    /*
     * All or nothing (D37); holes and emptiness are fine (D38). The record goes by the answer: a
     * process that dies takes the host's part with it.
     */
    if (!imap_for_each_whole(vd->map, iova, leave_record, v))
        return VIOMMU_S_RANGE;
    todo->iova = todo->vd ? range_hull(todo->iova, iova) : iova;
    todo->vd = vd;
    if (!v->batch)
        unmaps_finish(v);
    return VIOMMU_S_OK;
}

static int refuse(struct viommu_fault *fault_out, enum viommu_fault_reason reason,
                  uint32_t endpoint, uint64_t address, bool write)
{
    *fault_out = (struct viommu_fault){
        .reason = reason,
        .flags = VIOMMU_FAULT_F_ADDRESS | (write ? VIOMMU_FAULT_F_WRITE : VIOMMU_FAULT_F_READ),
        .endpoint = endpoint,
        .address = address,
    };
    return -EACCES;
}

/* The guest range behind the part of `iova` that begins at its start and lies in one mapping. */
static bool lookup_piece(const struct vdomain *vd, struct range iova, bool write,
                         struct range *gpa_out)
{
    uint32_t needed = write ? VIOMMU_MAP_F_WRITE : VIOMMU_MAP_F_READ;
    struct imap_entry entry;

    if (!imap_lookup(vd->map, iova.first, &entry) || (entry.flags & needed) == 0)
        return false;
    iova = range_intersect(iova, entry.range);
    return range_moved(iova, entry.value + (iova.first - entry.range.first), gpa_out);
}

int viommu_translate(struct viommu *v, uint32_t endpoint, struct range iova, bool write,
                     struct range *gpa_out, struct viommu_fault *fault_out)
{
    const struct endpoint *ep = idmap_get(v->endpoint_ids, endpoint);
    struct range piece;
    uint64_t next;

    unmaps_finish(v);
    if (!ep)
        return -ENOENT;
    if (!range_valid(iova))
        return -EINVAL;
    if (ep->identity) {
        *gpa_out = iova;
        return 0;
    }
    if (!ep->vdomain)
        return refuse(fault_out, VIOMMU_FAULT_R_DOMAIN, endpoint, iova.first, write);
    if (!lookup_piece(ep->vdomain, iova, write, gpa_out))
        return refuse(fault_out, VIOMMU_FAULT_R_MAPPING, endpoint, iova.first, write);
    /* Mappings that continue both here and in guest memory make one piece. */
    while (range_size(*gpa_out) != range_size(iova)) {
        next = iova.first + range_size(*gpa_out);
        if (!lookup_piece(ep->vdomain, (struct range){next, iova.last}, write, &piece) ||
            gpa_out->last == UINT64_MAX || piece.first != gpa_out->last + 1)
            break;
        gpa_out->last = piece.last;
    }
    return 0;
}
