/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Endpoints: adding and removing them, and moving them between vdomains.
 *
 * Endpoints come from the administrator's configuration; who adds one is trusted, but gets a
 * reason when it does not fit what the config space already promised the guest.
 */
#include <config.h>

#include "backend/viommu/viommu_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* --- reserved regions ------------------------------------------------------------------------- */

static int compare_resv(const void *a, const void *b)
{
    const struct viommu_resv *x = a, *y = b;

    if (x->range.first != y->range.first)
        return x->range.first < y->range.first ? -1 : 1;
    return 0;
}

/* What is wrong with a sorted list, or NULL. */
static const char *check_resv(const struct viommu_resv *resv, size_t n)
{
    size_t n_msi = 0;

    for (size_t i = 0; i < n; i++) {
        if (!range_valid(resv[i].range))
            return "a reserved region ends before it starts";
        if (i > 0 && range_overlaps(resv[i - 1].range, resv[i].range))
            return "reserved regions overlap"; /* D49 */
        if (resv[i].subtype == VIOMMU_RESV_MEM_T_MSI)
            n_msi++;
        else if (resv[i].subtype != VIOMMU_RESV_MEM_T_RESERVED)
            return "a reserved region has an unknown subtype";
    }
    return n_msi > 1 ? "more than one MSI window" : NULL; /* D48 */
}

/*
 * Appends `hole`, less what the n_given sorted regions reserve already (D49), to a list that has
 * room: at most one piece more than there are regions within the hole.
 */
static void add_hole(struct viommu_resv *list, size_t n_given, size_t *n_io, struct range hole)
{
    for (size_t i = 0; i < n_given; i++) {
        struct range given = list[i].range;

        if (!range_overlaps(given, hole))
            continue;
        if (given.first > hole.first) {
            list[(*n_io)++] = (struct viommu_resv){{hole.first, given.first - 1},
                                                   VIOMMU_RESV_MEM_T_RESERVED};
        }
        if (given.last >= hole.last)
            return;
        hole.first = given.last + 1;
    }
    list[(*n_io)++] = (struct viommu_resv){hole, VIOMMU_RESV_MEM_T_RESERVED};
}

/* Fills ep->resv: the given regions and what the host's aperture leaves out of the input range. */
static int collect_resv(const struct viommu *v, struct endpoint *ep,
                        const struct viommu_endpoint_config *config, const char **why_out)
{
    struct range input = v->config.input_range, aperture = config->aperture;
    size_t n = config->n_resv;

    /* Each given region can split a hole in two; there are two holes. */
    if (n > (SIZE_MAX / sizeof(*ep->resv) - 2) / 2)
        return -ENOMEM;
    ep->resv = calloc(2 * n + 2, sizeof(*ep->resv));
    if (!ep->resv)
        return -ENOMEM;
    if (n > 0) {
        memcpy(ep->resv, config->resv, n * sizeof(*ep->resv));
        qsort(ep->resv, n, sizeof(*ep->resv), compare_resv);
    }
    *why_out = check_resv(ep->resv, n);
    if (*why_out)
        return -EINVAL;
    if (!range_valid(aperture) || !range_overlaps(aperture, input)) {
        *why_out = "the host can translate nothing of the input range";
        return -EINVAL;
    }
    ep->n_resv = n;
    if (aperture.first > input.first)
        add_hole(ep->resv, n, &ep->n_resv, (struct range){input.first, aperture.first - 1});
    if (aperture.last < input.last)
        add_hole(ep->resv, n, &ep->n_resv, (struct range){aperture.last + 1, input.last});
    qsort(ep->resv, ep->n_resv, sizeof(*ep->resv), compare_resv);
    return 0;
}

/* xorshift64. Regions are the administrator's, so a fixed seed will do. */
static uint32_t next_priority(struct viommu *v)
{
    v->random ^= v->random << 13;
    v->random ^= v->random >> 7;
    v->random ^= v->random << 17;
    return (uint32_t)(v->random >> 32);
}

static int make_resv_nodes(struct viommu *v, struct endpoint *ep)
{
    ep->resv_nodes = calloc(ep->n_resv + 1, sizeof(*ep->resv_nodes));
    if (!ep->resv_nodes)
        return -ENOMEM;
    for (size_t i = 0; i < ep->n_resv; i++) {
        ep->resv_nodes[i].range = ep->resv[i].range;
        ep->resv_nodes[i].priority = next_priority(v);
    }
    return 0;
}

/* --- adding and removing ---------------------------------------------------------------------- */

/* Does the endpoint keep what the config space promises? NULL, or why not. */
static const char *check_fit(const struct viommu *v, const struct endpoint *ep,
                             uint64_t page_size_mask)
{
    /* The lowest bit; of no bits it is 0, and fits. */
    if ((page_size_mask & -page_size_mask) > viommu_granule(v))
        return "the host's smallest page is larger than the granule";
    if (ep->ops->source == MAP_SOURCE_HANDLE)
        return "the driver maps handles, which guest memory does not have";
    if (viommu_has(v, VIOMMU_F_MMIO) && !(ep->caps & HOST_CAP_MMIO))
        return "the driver has no MMIO mappings, but the device offers them (viommu/config mmio=0)";
    if (viommu_has(v, VIOMMU_F_BYPASS_CONFIG) && !(ep->caps & HOST_CAP_BYPASS))
        return "the driver has no bypass, but the device offers it "
               "(viommu/config bypass-config=0)";
    if (viommu_has(v, VIOMMU_F_PROBE) && ep->n_resv > v->config.probe_size / VIOMMU_RESV_MEM_SIZE)
        return "more reserved regions than probe_size holds";
    return NULL;
}

static void endpoint_link(struct viommu *v, struct endpoint *ep)
{
    ep->next = v->endpoints;
    if (ep->next)
        ep->next->prev = ep;
    v->endpoints = ep;
}

void endpoint_drop(struct viommu *v, struct endpoint *ep)
{
    if (ep->prev)
        ep->prev->next = ep->next;
    else
        v->endpoints = ep->next;
    if (ep->next)
        ep->next->prev = ep->prev;
    (void)idmap_remove(v->endpoint_ids, ep->id);
    free(ep->resv_nodes);
    free(ep->resv);
    free(ep);
}

/* Registers a complete endpoint and makes the host treat it as an unattached one. */
static int endpoint_enlist(struct viommu *v, struct endpoint *ep)
{
    int r = idmap_put(v->endpoint_ids, ep->id, ep);

    if (r < 0)
        return r;
    r = host_enter(v, ep, NULL, v->bypass);
    if (r < 0) {
        (void)idmap_remove(v->endpoint_ids, ep->id);
        return r;
    }
    endpoint_link(v, ep);
    return 0;
}

int viommu_endpoint_add(struct viommu *v, const struct viommu_endpoint_config *config,
                        const char **why_out)
{
    struct endpoint *ep;
    int r;

    *why_out = NULL;
    if (idmap_get(v->endpoint_ids, config->id))
        return -EEXIST;
    ep = calloc(1, sizeof(*ep));
    if (!ep)
        return -ENOMEM;
    ep->id = config->id;
    ep->ops = config->ops;
    ep->host = config->host;
    ep->caps = config->caps;
    r = collect_resv(v, ep, config, why_out);
    if (r == 0)
        r = make_resv_nodes(v, ep);
    if (r == 0) {
        *why_out = check_fit(v, ep, config->page_size_mask);
        r = *why_out ? -EINVAL : endpoint_enlist(v, ep);
    }
    if (r < 0) {
        free(ep->resv_nodes);
        free(ep->resv);
        free(ep);
    }
    return r;
}

/* The device's configuration as the endpoint needs it; NULL, or why there is none. */
static const char *adapted(const struct viommu *v, const struct viommu_endpoint_config *endpoint,
                           struct viommu_config *config)
{
    uint64_t smallest = endpoint->page_size_mask & -endpoint->page_size_mask;

    if (!(endpoint->caps & HOST_CAP_MMIO))
        config->features &= ~VIOMMU_F_MMIO;
    if (!(endpoint->caps & HOST_CAP_BYPASS))
        config->features &= ~VIOMMU_F_BYPASS_CONFIG;
    if (smallest != 0)
        config->page_size_mask &= -smallest;
    if (config->page_size_mask == 0)
        return "the host's smallest page is larger than any that the device offers";
    if (!viommu_has(v, VIOMMU_F_INPUT_RANGE))
        return NULL;
    if (!range_valid(endpoint->aperture) ||
        !range_overlaps(endpoint->aperture, config->input_range))
        return "the host can translate nothing of the input range";
    config->input_range = range_intersect(config->input_range, endpoint->aperture);
    return NULL;
}

int viommu_adapt(struct viommu *v, const struct viommu_endpoint_config *config,
                 const char **why_out)
{
    struct viommu_config changed = v->config;

    if (v->negotiated != 0 || idmap_count(v->vdomains) > 0)
        return -EBUSY;
    *why_out = adapted(v, config, &changed);
    if (*why_out)
        return -EINVAL;
    /* Unattached endpoints leave identity first; taking it away cannot fail. */
    if (!(changed.features & VIOMMU_F_BYPASS_CONFIG)) {
        (void)!endpoints_set_identity(v, false);
        changed.bypass = false;
        v->bypass = false;
    }
    v->config = changed;
    return 0;
}

int viommu_endpoint_remove(struct viommu *v, uint32_t id)
{
    struct endpoint *ep = idmap_get(v->endpoint_ids, id);

    if (!ep)
        return -ENOENT;
    endpoint_take_out(v, ep);
    endpoint_drop(v, ep);
    return 0;
}

/* --- membership ------------------------------------------------------------------------------- */

static void vdomain_link(struct vdomain *vd, struct endpoint *ep)
{
    ep->vdomain = vd;
    vd->n_endpoints++;
    resv_add(&vd->resv, ep->resv_nodes, ep->n_resv);
}

/*
 * Takes the endpoint, whose DMA reaches nothing of it any more, off its vdomain's books. The
 * last one takes the vdomain with it (N6): host tables first, then the pins.
 */
static void vdomain_unlink(struct viommu *v, struct endpoint *ep, struct vspace *left)
{
    struct vdomain *vd = ep->vdomain;

    if (!vd)
        return;
    resv_remove(&vd->resv, ep->resv_nodes, ep->n_resv);
    ep->vdomain = NULL;
    vd->n_endpoints--;
    space_drop_if_empty(vd, left);
    if (vd->n_endpoints == 0)
        vdomain_drop(v, vd);
}

void endpoint_tell(const struct viommu *v, const struct endpoint *ep, const struct vdomain *vd,
                   enum viommu_status status)
{
    struct viommu_attachment now = {
        .attached = vd != NULL,
        .bypass = vd && vd->bypass,
        .vdomain = vd ? vd->id : 0,
    };

    if (v->observer)
        v->observer->attached(v->observer_ctx, ep->id, &now, status);
}

void endpoint_take_out(struct viommu *v, struct endpoint *ep)
{
    struct vspace *left = ep->space;

    unmaps_finish(v);
    host_leave(ep);
    if (ep->vdomain)
        endpoint_tell(v, ep, NULL, VIOMMU_S_OK);
    vdomain_unlink(v, ep, left);
}

int endpoint_move(struct viommu *v, struct endpoint *ep, struct vdomain *to)
{
    bool identity = to ? to->bypass : v->bypass;
    bool was_identity = ep->identity;
    struct vspace *left = ep->space;
    int r;

    /* From one identity to another, nothing changes on the host. */
    if (!(identity && was_identity)) {
        host_leave(ep);
        r = host_enter(v, ep, to, identity);
        if (r < 0 && host_return(v, ep, left, was_identity) == 0)
            return r;
        if (r < 0) {
            log_guest(&v->log_limit,
                      "endpoint %" PRIu32 ": the host neither moves it nor takes it "
                      "back (%s); it stays blocked",
                      ep->id, strerror(-r));
            endpoint_tell(v, ep, NULL, viommu_status_of_errno(-EIO));
            vdomain_unlink(v, ep, left);
            return -EIO;
        }
    }
    endpoint_tell(v, ep, to, VIOMMU_S_OK);
    vdomain_unlink(v, ep, left);
    if (to)
        vdomain_link(to, ep);
    return 0;
}

int endpoints_set_identity(struct viommu *v, bool on)
{
    struct endpoint *ep;
    int r = 0;

    for (ep = v->endpoints; ep; ep = ep->next) {
        if (ep->vdomain || ep->identity == on)
            continue;
        if (on)
            r = host_enter(v, ep, NULL, true);
        else
            host_leave(ep);
        if (r < 0)
            break;
    }
    if (r == 0)
        return 0;
    /* Only switching on fails, and only with the byte at 0, when no unattached one had it. */
    for (ep = ep->prev; ep; ep = ep->prev) {
        if (!ep->vdomain)
            host_leave(ep);
    }
    return r;
}
