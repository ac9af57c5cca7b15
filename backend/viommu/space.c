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

/*
 * Maps the contiguous piece that a mapping begins with, which is mostly all of it: its last address
 * is in *last_out.
 */
static int piece_map(struct viommu *v, struct vspace *space, const struct imap_entry *mapping,
                     uint64_t *last_out)
{
    struct range gpa, iova = mapping->range;
    struct map_source source = {.type = space->ops->source};
    uint64_t len;
    int r;

    /* Does not wrap: checked when the entry was made. */
    if (!range_moved(iova, mapping->value, &gpa))
        return -EFAULT;
    if (source.type == MAP_SOURCE_GUEST_FRAME) {
        source.guest_address = gpa.first;
    } else {
        r = v->space.ops->segment(v->space.ctx, gpa, (mapping->flags & VIOMMU_MAP_F_WRITE) != 0,
                                  &source.hva, &len);
        if (r < 0)
            return r;
        /* From one byte to all of them. */
        if (len - 1 > gpa.last - gpa.first)
            return -EFAULT;
        iova.last = iova.first + (len - 1);
    }
    v->counters.host_maps++;
    *last_out = iova.last;
    return space->ops->map(space->host, iova, &source, prot_of(mapping->flags));
}

/* Maps an entry in one space, contiguous piece by piece; all or nothing. */
static int space_map(struct viommu *v, struct vspace *space, const struct imap_entry *entry)
{
    struct imap_entry left = *entry;
    uint64_t last;
    int r;

    while ((r = piece_map(v, space, &left, &last)) == 0 && last != entry->range.last) {
        left.value += last - left.range.first + 1;
        left.range.first = last + 1;
    }
    if (r < 0 && left.range.first != entry->range.first) {
        struct range done = {entry->range.first, left.range.first - 1};

        space_unmap(v, space, done, range_size(done));
    }
    return r;
}

int spaces_map(struct viommu *v, struct vdomain *vd, const struct imap_entry *entry)
{
    for (struct vspace *space = vd->first_space; space; space = space->next) {
        int r = space_map(v, space, entry);

        if (r == 0)
            continue;
        for (space = space->prev; space; space = space->prev)
            space_unmap(v, space, entry->range, range_size(entry->range));
        return r;
    }
    return 0;
}

void spaces_unmap(struct viommu *v, const struct vdomain *vd, const struct extent *mapped)
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

    return mapping_has_access(entry->flags) ? space_map(replay->v, replay->space, entry) : 0;
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
