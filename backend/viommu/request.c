/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Requests (virtio 1.3, 5.13.6): one table, decoded once from the private copy that the caller
 * made of guest memory. Every byte is the guest's choice. Handlers check in the order of
 * docs/conformance.md (A12) and return a verdict; nothing here calls the host.
 */
#include <config.h>

#include "backend/viommu/viommu_priv.h"
#include "common/le.h"

#include <string.h>

struct attach {
    uint32_t id;
    uint32_t flags;
    bool bypass;
    struct endpoint *ep;
    struct vdomain *vd; /* NULL: to be created */
};

/* All that can be refused before anything is created. */
static enum viommu_status check_attach(struct viommu *v, const uint8_t *req, const struct attach *a)
{
    if (le32_load(req + VIOMMU_ATTACH_RESERVED) != 0)
        return VIOMMU_S_INVAL; /* D15 */
    if (a->flags & ~VIOMMU_ATTACH_F_BYPASS)
        return VIOMMU_S_INVAL; /* D16 */
    if (a->bypass && !viommu_agreed(v, VIOMMU_F_BYPASS_CONFIG))
        return VIOMMU_S_INVAL; /* A6 */
    if (!a->ep)
        return VIOMMU_S_NOENT; /* D17 */
    if (!range_contains_addr(v->config.domain_range, a->id))
        return VIOMMU_S_RANGE; /* N3, A3 */
    if (a->vd && a->vd->bypass != a->bypass)
        return VIOMMU_S_INVAL; /* D19 */
    if (a->bypass && !(a->ep->caps & HOST_CAP_BYPASS))
        return VIOMMU_S_UNSUPP;
    if (a->vd && a->vd != a->ep->vdomain && vdomain_clashes(a->vd, a->ep))
        return VIOMMU_S_UNSUPP; /* D21 */
    return VIOMMU_S_OK;
}

/* A vdomain that ends with the endpoint's move makes room for the new one (A19). */
static bool vdomain_limit_reached(const struct viommu *v, const struct endpoint *ep)
{
    size_t n = idmap_count(v->vdomains);

    if (ep->vdomain && ep->vdomain->n_endpoints == 1)
        n--;
    return n >= v->config.max_vdomains;
}

static enum viommu_status handle_attach(struct viommu *v, const uint8_t *req)
{
    struct attach a = {
        .id = le32_load(req + VIOMMU_ATTACH_DOMAIN),
        .flags = le32_load(req + VIOMMU_ATTACH_FLAGS),
        .ep = idmap_get(v->endpoint_ids, le32_load(req + VIOMMU_ATTACH_ENDPOINT)),
    };
    enum viommu_status status;
    bool created = false;
    int r;

    a.bypass = (a.flags & VIOMMU_ATTACH_F_BYPASS) != 0;
    a.vd = vdomain_find(v, a.id);
    status = check_attach(v, req, &a);
    if (status != VIOMMU_S_OK)
        return status;
    if (a.vd && a.vd == a.ep->vdomain)
        return VIOMMU_S_OK; /* A10: nothing changes */
    if (v->observer && v->observer->attaching(v->observer_ctx, a.ep->id) < 0)
        return VIOMMU_S_NOMEM;
    if (!a.vd) {
        if (vdomain_limit_reached(v, a.ep))
            return VIOMMU_S_NOMEM;
        r = vdomain_new(v, a.id, a.bypass, &a.vd);
        if (r < 0)
            return viommu_status_of_errno(r);
        created = true;
    }
    r = endpoint_move(v, a.ep, a.vd);
    if (r < 0 && created)
        vdomain_drop(v, a.vd);
    return viommu_status_of_errno(r);
}

/*
 * Linux detaches an endpoint from its one bypass vdomain, whose id is domain_range.start, with
 * domain = 0. Where 0 is no id at all, it can mean nothing else; INVAL is only a MAY (D25).
 */
static bool means_its_bypass_vdomain(const struct viommu *v, const struct endpoint *ep, uint32_t id)
{
    return id == 0 && !range_contains_addr(v->config.domain_range, 0) && ep->vdomain->bypass;
}

static enum viommu_status handle_detach(struct viommu *v, const uint8_t *req)
{
    uint32_t id = le32_load(req + VIOMMU_DETACH_DOMAIN);
    struct endpoint *ep = idmap_get(v->endpoint_ids, le32_load(req + VIOMMU_DETACH_ENDPOINT));

    if (!ep)
        return VIOMMU_S_NOENT; /* D24 */
    if (!ep->vdomain)
        return VIOMMU_S_INVAL; /* D25 */
    if (ep->vdomain->id != id && !means_its_bypass_vdomain(v, ep, id))
        return VIOMMU_S_INVAL; /* D25 */
    return viommu_status_of_errno(endpoint_move(v, ep, NULL));
}

/* The vdomain of a MAP or UNMAP, or why there is none (D30, D31, D35, D36). */
static enum viommu_status mappable_vdomain(struct viommu *v, uint32_t id, struct vdomain **out)
{
    *out = vdomain_find(v, id);
    if (!*out)
        return VIOMMU_S_NOENT;
    return (*out)->bypass ? VIOMMU_S_INVAL : VIOMMU_S_OK;
}

static enum viommu_status map_entry(struct viommu *v, uint32_t id, const struct imap_entry *entry)
{
    enum viommu_status status;
    struct vdomain *vd;

    if (entry->flags & ~VIOMMU_MAP_F_MASK)
        return VIOMMU_S_INVAL; /* D29 */
    if ((entry->flags & VIOMMU_MAP_F_MMIO) && !viommu_agreed(v, VIOMMU_F_MMIO))
        return VIOMMU_S_INVAL; /* A5 */
    status = mappable_vdomain(v, id, &vd);
    return status == VIOMMU_S_OK ? vdomain_map(v, vd, entry) : status;
}

static struct imap_entry decode_map(const uint8_t *req)
{
    return (struct imap_entry){
        .range = {le64_load(req + VIOMMU_MAP_VIRT_START), le64_load(req + VIOMMU_MAP_VIRT_END)},
        .value = le64_load(req + VIOMMU_MAP_PHYS_START),
        .flags = le32_load(req + VIOMMU_MAP_FLAGS),
    };
}

static HOT enum viommu_status handle_map(struct viommu *v, const uint8_t *req)
{
    struct imap_entry entry = decode_map(req);

    if (v->observer)
        entry.tag = v->observer->next_tag(v->observer_ctx);
    return map_entry(v, le32_load(req + VIOMMU_MAP_DOMAIN), &entry);
}

static HOT enum viommu_status handle_unmap(struct viommu *v, const uint8_t *req)
{
    struct range iova = {le64_load(req + VIOMMU_UNMAP_VIRT_START),
                         le64_load(req + VIOMMU_UNMAP_VIRT_END)};
    enum viommu_status status;
    struct vdomain *vd;

    status = mappable_vdomain(v, le32_load(req + VIOMMU_UNMAP_DOMAIN), &vd);
    if (status != VIOMMU_S_OK)
        return status;
    if (!range_valid(iova))
        return VIOMMU_S_INVAL; /* A15 */
    if (le32_load(req + VIOMMU_UNMAP_RESERVED) != 0)
        return VIOMMU_S_INVAL; /* D34 */
    return vdomain_unmap(v, vd, iova);
}

static enum viommu_status handle_probe(struct viommu *v, const uint8_t *req, bool fits,
                                       uint8_t *area)
{
    const struct endpoint *ep = idmap_get(v->endpoint_ids, le32_load(req + VIOMMU_PROBE_ENDPOINT));

    if (!ep)
        return VIOMMU_S_NOENT; /* D40 */
    if (!fits)
        return VIOMMU_S_INVAL; /* D45 */
    probe_write(ep, area);
    return VIOMMU_S_OK;
}

static const struct request {
    size_t size;      /* of the readable part */
    uint64_t offered; /* feature that must have been offered, or 0 (D41, A8) */
    uint64_t agreed;  /* feature that must have been negotiated, or 0 (A7) */
    enum viommu_status (*handle)(struct viommu *v, const uint8_t *req); /* NULL: PROBE */
} requests[VIOMMU_N_TYPES] = {
    [VIOMMU_T_ATTACH] = {.size = VIOMMU_ATTACH_SIZE, .handle = handle_attach},
    [VIOMMU_T_DETACH] = {.size = VIOMMU_DETACH_SIZE, .handle = handle_detach},
    [VIOMMU_T_MAP] = {.size = VIOMMU_MAP_SIZE, .agreed = VIOMMU_F_MAP_UNMAP, .handle = handle_map},
    [VIOMMU_T_UNMAP] = {.size = VIOMMU_UNMAP_SIZE,
                        .agreed = VIOMMU_F_MAP_UNMAP,
                        .handle = handle_unmap},
    [VIOMMU_T_PROBE] = {.size = VIOMMU_PROBE_SIZE, .offered = VIOMMU_F_PROBE},
};

/* The type's table row, or NULL if the buffer has to go back unwritten (N1, D11, D41, A7). */
static const struct request *find_request(const struct viommu *v, const uint8_t *req,
                                          size_t req_len, uint64_t writable)
{
    const struct request *request;

    if (req_len < VIOMMU_HEAD_SIZE || writable < VIOMMU_TAIL_SIZE)
        return NULL;
    /* The head's reserved bytes are ignored (D12). */
    if (req[0] >= ARRAY_SIZE(requests))
        return NULL;
    request = &requests[req[0]];
    if (request->size == 0 || req_len < request->size)
        return NULL;
    if ((v->config.features & request->offered) != request->offered ||
        (v->negotiated & request->agreed) != request->agreed)
        return NULL;
    return request;
}

size_t viommu_reply_max(const struct viommu *v)
{
    return (size_t)v->config.probe_size + VIOMMU_TAIL_SIZE;
}

/* The status, and the tail's reserved bytes as zeroes (D13). */
static inline void answer(struct viommu *v, uint8_t type, enum viommu_status status, uint8_t *tail)
{
    le32_store(tail, (uint32_t)status);
    v->counters.requests[type]++;
    v->counters.status[status]++;
}

/*
 * PROBE has a reply of its own: properties, then the tail. A property area that is too small gets
 * no property (D45), and its tail at the very end, where the driver looks for it.
 */
static NOINLINE size_t request_with_properties(struct viommu *v, const uint8_t *req,
                                               uint64_t writable, uint8_t *reply)
{
    size_t full = viommu_reply_max(v);
    size_t used = writable < full ? (size_t)writable : full;

    memset(reply, 0, used); /* unused properties (D46) */
    answer(v, req[0], handle_probe(v, req, used == full, reply), reply + used - VIOMMU_TAIL_SIZE);
    return used;
}

HOT size_t viommu_request(struct viommu *v, const uint8_t *req, size_t req_len, uint64_t writable,
                          uint8_t *reply)
{
    const struct request *request = find_request(v, req, req_len, writable);

    if (!request) {
        v->counters.requests[0]++;
        return 0;
    }
    if (request->handle != handle_unmap)
        unmaps_finish(v);
    if (!request->handle)
        return request_with_properties(v, req, writable, reply);
    answer(v, req[0], request->handle(v, req), reply);
    return VIOMMU_TAIL_SIZE;
}

void viommu_batch_begin(struct viommu *v)
{
    v->batch = true;
}

void viommu_batch_end(struct viommu *v)
{
    v->batch = false;
    unmaps_finish(v);
}

bool viommu_mapping_pins(const struct viommu *v, const struct imap_entry *entry,
                         struct range *gpa_out, bool *write_out)
{
    uint64_t granule = viommu_granule(v);

    *write_out = (entry->flags & VIOMMU_MAP_F_WRITE) != 0;
    return !(entry->flags & ~VIOMMU_MAP_F_MASK) && mapping_has_access(entry->flags) &&
           range_valid(entry->range) && range_aligned(entry->range, granule) &&
           (entry->value & (granule - 1)) == 0 &&
           range_contains(v->config.input_range, entry->range) &&
           range_moved(entry->range, entry->value, gpa_out);
}

bool viommu_request_pins(const struct viommu *v, const uint8_t *req, size_t req_len,
                         struct range *gpa_out, bool *write_out)
{
    struct imap_entry entry;

    if (req_len < VIOMMU_MAP_SIZE || req[0] != VIOMMU_T_MAP)
        return false;
    entry = decode_map(req);
    return viommu_mapping_pins(v, &entry, gpa_out, write_out);
}

/* --- a successor ------------------------------------------------------------------------------ */

enum viommu_status viommu_restore_attachment(struct viommu *v, uint32_t endpoint,
                                             const struct viommu_attachment *a)
{
    uint8_t req[VIOMMU_ATTACH_SIZE] = {VIOMMU_T_ATTACH};

    le32_store(req + VIOMMU_ATTACH_DOMAIN, a->vdomain);
    le32_store(req + VIOMMU_ATTACH_ENDPOINT, endpoint);
    le32_store(req + VIOMMU_ATTACH_FLAGS, a->bypass ? VIOMMU_ATTACH_F_BYPASS : 0);
    return handle_attach(v, req);
}

enum viommu_status viommu_restore_mapping(struct viommu *v, uint32_t vdomain,
                                          const struct imap_entry *entry)
{
    return map_entry(v, vdomain, entry);
}
