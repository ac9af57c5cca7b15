/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The host's side of a vdomain: its spaces, and which of them an endpoint is in. Everything that
 * calls a host IOMMU driver is here. Nothing here decides about requests: callers have checked
 * them, and keep the interval map and the pins in step.
 */
#include <config.h>

#include "backend/viommu/viommu_priv.h"

#include <errno.h>

static unsigned prot_of(uint32_t flags)
{
    unsigned prot = 0;

    if (flags & VIOMMU_MAP_F_READ)
        prot |= HOST_PROT_READ;
    if (flags & VIOMMU_MAP_F_WRITE)
        prot |= HOST_PROT_WRITE;
    if (flags & VIOMMU_MAP_F_MMIO)
        prot |= HOST_PROT_MMIO;
    return prot;
}

static void space_unmap(struct viommu *v, struct vspace *space, struct range iova, uint64_t bytes)
{
    v->counters.host_unmaps++;
    space->ops->unmap(space->host, iova, bytes);
}

/* The piece of an entry's memory that begins behind `iova`. */
static int piece_behind(struct viommu *v, const struct imap_entry *entry, uint64_t iova,
                        struct guest_piece *out)
{
    bool write = (entry->flags & VIOMMU_MAP_F_WRITE) != 0;
    struct range rest = {iova, entry->range.last}, gpa;

    /* Does not wrap: checked when the entry was made. */
    if (!range_moved(rest, entry->value + (iova - entry->range.first), &gpa))
        return -EFAULT;
    return v->space.ops->segment(v->space.ctx, gpa, write, out);
}

static int part_map(struct viommu *v, const struct vspace *space, struct range iova,
                    const struct map_source *source, uint32_t flags)
{
    v->counters.host_maps++;
    return space->ops->map(space->host, iova, source, prot_of(flags));
}

/* The same for one piece of memory after another, the first of which is known; all or nothing. */
static int parts_map(struct viommu *v, struct vspace *space, const struct imap_entry *entry,
                     const struct guest_piece *first)
{
    struct guest_piece piece = *first;
    struct range part = entry->range;
    int r;

    for (;;) {
        const struct map_source source = {.type = MAP_SOURCE_HVA, .hva = piece.hva};

        r = -EFAULT;
        if (piece.bytes - 1 > entry->range.last - part.first)
            break;
        part.last = part.first + (piece.bytes - 1);
        r = part_map(v, space, part, &source, entry->flags);
        if (r < 0 || part.last == entry->range.last)
            break;
        part.first = part.last + 1;
        r = piece_behind(v, entry, part.first, &piece);
        if (r < 0)
            break;
    }
    if (r < 0 && part.first != entry->range.first) {
        struct range done = {entry->range.first, part.first - 1};

        space_unmap(v, space, done, range_size(done));
    }
    return r;
}

/* Maps an entry, whose memory begins with the piece `first`, in one space. */
static HOT int space_map(struct viommu *v, struct vspace *space, const struct imap_entry *entry,
                         const struct guest_piece *first)
{
    struct map_source source = {.type = space->ops->source};

    if (source.type == MAP_SOURCE_GUEST_FRAME)
        source.guest_address = entry->value;
    else if (first->bytes == range_size(entry->range))
        source.hva = first->hva;
    else
        return parts_map(v, space, entry, first);
    return part_map(v, space, entry->range, &source, entry->flags);
}

HOT int spaces_map(struct viommu *v, struct vdomain *vd, const struct imap_entry *entry,
                   const struct guest_piece *first)
{
    for (struct vspace *space = vd->first_space; space; space = space->next) {
        int r = space_map(v, space, entry, first);

        if (r == 0)
            continue;
        for (space = space->prev; space; space = space->prev)
            space_unmap(v, space, entry->range, range_size(entry->range));
        return r;
    }
    return 0;
}

HOT void spaces_unmap(struct viommu *v, const struct vdomain *vd, const struct extent *mapped)
{
    if (!mapped->any)
        return;
    for (struct vspace *space = vd->first_space; space; space = space->next)
        space_unmap(v, space, mapped->range, mapped->bytes);
}

static void space_link(struct vdomain *vd, struct vspace *space)
{
    space->prev = vd->last_space;
    if (vd->last_space)
        vd->last_space->next = space;
    else
        vd->first_space = space;
    vd->last_space = space;
}

void space_drop_if_empty(struct vdomain *vd, struct vspace *space)
{
    if (!space || space->n_endpoints > 0)
        return;
    if (space->prev)
        space->prev->next = space->next;
    else
        vd->first_space = space->next;
    if (space->next)
        space->next->prev = space->prev;
    else
        vd->last_space = space->prev;
    space->ops->space_free(space->host);
    free(space);
}

struct replay {
    struct viommu *v;
    struct vspace *space;
};

static int replay_entry(const struct imap_entry *entry, void *ctx)
{
    const struct replay *replay = ctx;
    struct guest_piece first;
    int r;

    if (!mapping_has_access(entry->flags))
        return 0;
    r = piece_behind(replay->v, entry, entry->range.first, &first);
    return r < 0 ? r : space_map(replay->v, replay->space, entry, &first);
}

/*
 * Puts the endpoint, as the first, into a space that holds nothing, and all the vdomain's mappings
 * after it. On failure it is out again; what was replayed is still there.
 */
static int enter_empty_space(struct viommu *v, struct endpoint *ep, struct vdomain *vd,
                             struct vspace *space)
{
    struct replay replay = {v, space};
    int r = ep->ops->attach(space->host, ep->host);

    if (r < 0)
        return r;
    r = imap_for_each(vd->map, (struct range){0, UINT64_MAX}, replay_entry, &replay);
    if (r < 0) {
        ep->ops->detach(space->host, ep->host);
        return r;
    }
    space->n_endpoints = 1;
    ep->space = space;
    return 0;
}

/* A space of its own for the endpoint, with all the vdomain's mappings. */
static int enter_new_space(struct viommu *v, struct endpoint *ep, struct vdomain *vd)
{
    cleanup_free struct vspace *space = calloc(1, sizeof(*space));
    int r;

    if (!space)
        return -ENOMEM;
    space->ops = ep->ops;
    r = ep->ops->space_new(ep->host, &space->host);
    if (r < 0)
        return r;
    r = enter_empty_space(v, ep, vd, space);
    if (r < 0) {
        /* What was replayed goes with the space. */
        ep->ops->space_free(space->host);
        return r;
    }
    space_link(vd, space);
    space = NULL;
    return 0;
}

static int enter_space(struct viommu *v, struct endpoint *ep, struct vdomain *vd)
{
    for (struct vspace *space = vd->first_space; space; space = space->next) {
        int r;

        if (space->ops != ep->ops)
            continue;
        r = ep->ops->attach(space->host, ep->host);
        if (r == -EXDEV)
            continue;
        if (r < 0)
            return r;
        space->n_endpoints++;
        ep->space = space;
        return 0;
    }
    return enter_new_space(v, ep, vd);
}

int host_enter(struct viommu *v, struct endpoint *ep, struct vdomain *vd, bool identity)
{
    int r = 0;

    if (identity) {
        if (ep->ops->bypass)
            r = ep->ops->bypass(ep->host, true);
        ep->identity = r == 0;
    } else if (vd && ep->ops->space_new) {
        r = enter_space(v, ep, vd);
    }
    return r;
}

int host_return(struct viommu *v, struct endpoint *ep, struct vspace *space, bool identity)
{
    int r = 0;

    if (space && space->n_endpoints == 0 && ep->ops->forgets)
        return enter_empty_space(v, ep, ep->vdomain, space);
    if (space) {
        r = ep->ops->attach(space->host, ep->host);
        if (r == 0) {
            ep->space = space;
            space->n_endpoints++;
        }
    } else if (identity) {
        if (ep->ops->bypass)
            r = ep->ops->bypass(ep->host, true);
        ep->identity = r == 0;
    }
    return r;
}

void host_leave(struct endpoint *ep)
{
    if (ep->identity && ep->ops->bypass)
        (void)ep->ops->bypass(ep->host, false);
    ep->identity = false;
    if (ep->space) {
        ep->ops->detach(ep->space->host, ep->host);
        ep->space->n_endpoints--;
        ep->space = NULL;
    }
}
