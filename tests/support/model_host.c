/* SPDX-License-Identifier: GPL-2.0-only */
/* The fake host IOMMU driver of model_host.h. */
#include <config.h>

#include "tests/support/model_host.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

struct piece {
    struct range iova;
    struct map_source source;
    unsigned prot;
};

struct host_space {
    struct model_host *host;
    struct host_space *next;
    unsigned number;
    enum map_source_type source;
    size_t n_endpoints;
    struct piece *pieces; /* in ascending order */
    size_t n_pieces, room;
};

void model_host_init(struct model_host *h)
{
    *h = (struct model_host){.spaces = NULL};
    for (unsigned i = 0; i < MODEL_HOST_ENDPOINTS; i++)
        h->endpoints[i] = (struct host_endpoint){.host = h, .index = i, .group = i};
}

static void complain(struct model_host *h, const char *what)
{
    if (!h->complaint)
        h->complaint = what;
}

void model_host_fini(struct model_host *h)
{
    while (h->spaces) {
        struct host_space *space = h->spaces;

        h->spaces = space->next;
        free(space->pieces);
        free(space);
    }
}

void model_host_fail(struct model_host *h, enum model_host_verb verb, unsigned n, unsigned count,
                     int error)
{
    h->fail_at[verb] = h->calls[verb] + n;
    h->fail_to[verb] = h->fail_at[verb] + count - 1;
    h->fail_with = error;
}

static int enter(struct model_host *h, enum model_host_verb verb)
{
    unsigned n = ++h->calls[verb];

    return h->fail_at[verb] && h->fail_at[verb] <= n && n <= h->fail_to[verb] ? h->fail_with : 0;
}

static int new_space(struct host_endpoint *ep, struct host_space **out, enum map_source_type source)
{
    struct model_host *h = ep->host;
    struct host_space *space;
    int r = enter(h, HOST_SPACE_NEW);

    if (r < 0)
        return r;
    space = calloc(1, sizeof(*space));
    if (!space)
        return -ENOMEM;
    space->host = h;
    space->number = h->n_made++;
    space->source = source;
    space->next = h->spaces;
    h->spaces = space;
    h->n_spaces++;
    if (h->trace)
        fprintf(h->trace, "space_new %u\n", space->number);
    *out = space;
    return 0;
}

static int host_space_new(struct host_endpoint *ep, struct host_space **out)
{
    return new_space(ep, out, MAP_SOURCE_HVA);
}

static int host_frame_space_new(struct host_endpoint *ep, struct host_space **out)
{
    return new_space(ep, out, MAP_SOURCE_GUEST_FRAME);
}

static void host_space_free(struct host_space *space)
{
    struct model_host *h = space->host;
    struct host_space **link = &h->spaces;

    (void)enter(h, HOST_SPACE_FREE);
    if (h->trace)
        fprintf(h->trace, "space_free %u\n", space->number);
    if (space->n_endpoints)
        complain(h, "space_free with endpoints");
    while (*link && *link != space)
        link = &(*link)->next;
    if (!*link) {
        complain(h, "space_free of no space");
        return;
    }
    *link = space->next;
    h->n_spaces--;
    free(space->pieces);
    free(space);
}

static int attach_allowed(const struct host_space *space, const struct host_endpoint *ep)
{
    const struct model_host *h = ep->host;

    for (unsigned i = 0; i < MODEL_HOST_ENDPOINTS; i++) {
        const struct host_endpoint *other = &h->endpoints[i];

        if (!other->space)
            continue;
        if (other->group == ep->group && other->space != space)
            return -EBUSY;
        if (other->space == space && other->group != ep->group && !h->groups_share)
            return -EXDEV;
    }
    return 0;
}

static int host_attach(struct host_space *space, struct host_endpoint *ep)
{
    struct model_host *h = ep->host;
    int r = enter(h, HOST_ATTACH);

    if (ep->space || ep->identity)
        complain(h, "attach of an endpoint that is somewhere already");
    if (r == 0)
        r = attach_allowed(space, ep);
    if (h->trace)
        fprintf(h->trace, "attach %u to %u%s\n", ep->index, space->number, r < 0 ? " fails" : "");
    if (r < 0)
        return r;
    ep->space = space;
    space->n_endpoints++;
    return 0;
}

static void host_detach(struct host_space *space, struct host_endpoint *ep)
{
    struct model_host *h = ep->host;

    (void)enter(h, HOST_DETACH);
    if (h->trace)
        fprintf(h->trace, "detach %u\n", ep->index);
    if (ep->space != space) {
        complain(h, "detach from a space that the endpoint is not in");
        return;
    }
    ep->space = NULL;
    space->n_endpoints--;
}

/* The first piece that ends at `addr` or later. */
static size_t lower_bound(const struct host_space *space, uint64_t addr)
{
    size_t low = 0, high = space->n_pieces;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (space->pieces[middle].iova.last < addr)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int host_map(struct host_space *space, struct range iova, const struct map_source *source,
                    unsigned prot)
{
    struct model_host *h = space->host;
    size_t at = lower_bound(space, iova.first);
    int r = enter(h, HOST_MAP);

    if (h->trace) {
        fprintf(h->trace, "map %u %#" PRIx64 "-%#" PRIx64 "%s\n", space->number, iova.first,
                iova.last, r < 0 ? " fails" : "");
    }
    if (r < 0)
        return r;
    if (space->n_endpoints == 0)
        complain(h, "map in a space without endpoints");
    if (!range_valid(iova) || source->type != space->source || (prot & 3) == 0)
        complain(h, "map with bad arguments");
    if (at < space->n_pieces && range_overlaps(space->pieces[at].iova, iova))
        complain(h, "map over a mapping");
    if (h->max_pieces && space->n_pieces >= h->max_pieces)
        return -ENOSPC;
    if (space->n_pieces == space->room) {
        size_t room = space->room ? 2 * space->room : 16;
        struct piece *pieces = reallocarray(space->pieces, room, sizeof(*pieces));

        if (!pieces)
            return -ENOMEM;
        space->pieces = pieces;
        space->room = room;
    }
    memmove(&space->pieces[at + 1], &space->pieces[at],
            (space->n_pieces - at) * sizeof(*space->pieces));
    space->pieces[at] = (struct piece){iova, *source, prot};
    space->n_pieces++;
    return 0;
}

static void host_unmap(struct host_space *space, struct range iova, uint64_t bytes)
{
    struct model_host *h = space->host;
    size_t first = lower_bound(space, iova.first), end = first;
    uint64_t removed = 0;

    (void)enter(h, HOST_UNMAP);
    if (h->trace) {
        fprintf(h->trace, "unmap %u %#" PRIx64 "-%#" PRIx64 " of %#" PRIx64 "\n", space->number,
                iova.first, iova.last, bytes);
    }
    for (; end < space->n_pieces && space->pieces[end].iova.first <= iova.last; end++) {
        if (!range_contains(iova, space->pieces[end].iova))
            complain(h, "unmap splits a mapping");
        removed += range_size(space->pieces[end].iova);
    }
    if (removed != bytes || end == first)
        complain(h, "unmap of another size than what is mapped");
    memmove(&space->pieces[first], &space->pieces[end],
            (space->n_pieces - end) * sizeof(*space->pieces));
    space->n_pieces -= end - first;
}

static int host_bypass(struct host_endpoint *ep, bool on)
{
    struct model_host *h = ep->host;
    int r = enter(h, on ? HOST_BYPASS_ON : HOST_BYPASS_OFF);

    if (h->trace) {
        fprintf(h->trace, "bypass %u %s%s\n", ep->index, on ? "on" : "off",
                on && r < 0 ? " fails" : "");
    }
    if (ep->space || ep->identity == on)
        complain(h, "bypass where it makes no sense");
    if (on && r < 0)
        return r;
    ep->identity = on;
    return 0;
}

const struct host_iommu_ops model_host_ops = {
    .name = "model",
    .source = MAP_SOURCE_HVA,
    .space_new = host_space_new,
    .space_free = host_space_free,
    .attach = host_attach,
    .detach = host_detach,
    .map = host_map,
    .unmap = host_unmap,
    .bypass = host_bypass,
};

const struct host_iommu_ops model_host_frame_ops = {
    .name = "model-frames",
    .source = MAP_SOURCE_GUEST_FRAME,
    .space_new = host_frame_space_new,
    .space_free = host_space_free,
    .attach = host_attach,
    .detach = host_detach,
    .map = host_map,
    .unmap = host_unmap,
    .bypass = host_bypass,
};

/* --- comparing -------------------------------------------------------------------------------- */

static bool piece_gpa(const struct piece *piece, const struct model_space *mem, uint64_t *gpa_out)
{
    *gpa_out = piece->source.guest_address;
    return piece->source.type == MAP_SOURCE_GUEST_FRAME ||
           model_space_gpa(mem, piece->source.hva, gpa_out);
}

/* Does one mapping consist of pieces, from *at_io on, that say the same? */
static const char *compare_mapping(const struct host_space *space, const struct imap_entry *entry,
                                   const struct model_space *mem, size_t *at_io)
{
    uint64_t addr = entry->range.first, gpa;

    for (; *at_io < space->n_pieces; addr = space->pieces[(*at_io)++].iova.last + 1) {
        const struct piece *piece = &space->pieces[*at_io];

        if (piece->iova.first != addr || piece->iova.last > entry->range.last)
            return "the host maps other addresses than the table";
        if (piece->prot != (entry->flags & VIOMMU_MAP_F_MASK))
            return "the host maps with other access than the table";
        if (!piece_gpa(piece, mem, &gpa) || gpa != entry->value + (addr - entry->range.first))
            return "the host maps to other memory than the table";
        if (piece->iova.last == entry->range.last) {
            (*at_io)++;
            return NULL;
        }
    }
    return "the host lacks a mapping of the table";
}

static const char *compare_space(const struct host_space *space, const struct viommu *v,
                                 uint32_t vdomain, const struct model_space *mem)
{
    struct imap_entry entry;
    const char *wrong;
    uint64_t next = 0;
    size_t at = 0;

    while (viommu_mapping_next(v, vdomain, next, &entry)) {
        if (entry.flags & (VIOMMU_MAP_F_READ | VIOMMU_MAP_F_WRITE)) {
            wrong = compare_mapping(space, &entry, mem, &at);
            if (wrong)
                return wrong;
        }
        if (entry.range.last == UINT64_MAX)
            break;
        next = entry.range.last + 1;
    }
    return at == space->n_pieces ? NULL : "the host maps more than the table";
}

static const char *compare_endpoint(const struct model_host *h, const struct viommu *v,
                                    const struct viommu_endpoint_info *info,
                                    const struct model_space *mem)
{
    const struct host_endpoint *ep;
    struct viommu_vdomain_info vd;

    if (info->id < 8 || info->id - 8 >= MODEL_HOST_ENDPOINTS || strncmp(info->driver, "model", 5))
        return NULL;
    ep = &h->endpoints[info->id - 8];
    if (ep->identity != info->bypass)
        return "the host's bypass of an endpoint differs from the device's";
    if (!info->attached || info->bypass)
        return ep->space ? "an endpoint without mappings is in a space" : NULL;
    if (!ep->space)
        return "an attached endpoint is in no space";
    if (!viommu_vdomain_next(v, info->vdomain, &vd) || vd.id != info->vdomain)
        return "an attached endpoint has no vdomain";
    return compare_space(ep->space, v, vd.id, mem);
}

const char *model_host_compare(const struct model_host *h, const struct viommu *v,
                               const struct model_space *mem)
{
    struct viommu_endpoint_info info;
    const char *wrong = h->complaint;
    uint32_t id = 0;

    while (!wrong && viommu_endpoint_next(v, id, &info)) {
        wrong = compare_endpoint(h, v, &info, mem);
        if (info.id == UINT32_MAX)
            break;
        id = info.id + 1;
    }
    for (const struct host_space *s = h->spaces; s && !wrong; s = s->next) {
        if (s->n_endpoints == 0)
            wrong = "the host has a space without endpoints";
    }
    return wrong;
}

static bool continues(const struct piece *a, const struct piece *b)
{
    return a->iova.last != UINT64_MAX && a->iova.last + 1 == b->iova.first && a->prot == b->prot &&
           a->source.guest_address + range_size(a->iova) == b->source.guest_address;
}

static void dump_space(const struct host_space *space, FILE *out)
{
    for (size_t i = 0; i < space->n_pieces; i++) {
        const struct piece *first = &space->pieces[i];

        while (i + 1 < space->n_pieces && continues(&space->pieces[i], &space->pieces[i + 1]))
            i++;
        fprintf(out, "  %#" PRIx64 "-%#" PRIx64 " -> %#" PRIx64 " prot %u\n", first->iova.first,
                space->pieces[i].iova.last, first->source.guest_address, first->prot);
    }
}

void model_host_dump(const struct model_host *h, FILE *out)
{
    fprintf(out, "host spaces %zu\n", h->n_spaces);
    for (unsigned i = 0; i < MODEL_HOST_ENDPOINTS; i++) {
        const struct host_endpoint *ep = &h->endpoints[i];

        if (!ep->space && !ep->identity)
            continue;
        fprintf(out, "host endpoint %u %s\n", i, ep->identity ? "identity" : "space");
        if (ep->space)
            dump_space(ep->space, out);
    }
}
