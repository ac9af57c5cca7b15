/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The device as a whole: life cycle, features, config space (virtio 1.3, 5.13.3 to 5.13.5), and
 * the views that tools get. What the guest asks for is in request.c.
 */
#include <config.h>

#include "backend/viommu/viommu_priv.h"
#include "common/le.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* A host that fails can be made to fail again and again by a guest. */
#define LOG_BURST       10
#define LOG_INTERVAL_MS 10000

const char *viommu_config_check(const struct viommu_config *config)
{
    if (config->features & ~VIOMMU_F_ALL)
        return "features holds bits that the device does not have";
    if (config->page_size_mask == 0)
        return "page_size_mask is 0"; /* D4 */
    if ((config->features & VIOMMU_F_INPUT_RANGE) && !range_valid(config->input_range))
        return "input_range ends before it starts";
    if ((config->features & VIOMMU_F_DOMAIN_RANGE) &&
        (!range_valid(config->domain_range) || config->domain_range.last > UINT32_MAX))
        return "domain_range is not a range of 32-bit numbers";
    if (config->probe_size % 8 != 0)
        return "probe_size is not a multiple of 8";
    if (config->probe_size > VIOMMU_PROBE_SIZE_MAX)
        return "probe_size is larger than 65536";
    if (config->max_faults > SIZE_MAX / sizeof(struct viommu_fault))
        return "max_faults is too large";
    return NULL;
}

int viommu_new(struct viommu **out, const struct viommu_config *config,
               const struct guest_space *space)
{
    struct viommu *v;

    if (viommu_config_check(config))
        return -EINVAL;
    v = calloc(1, sizeof(*v));
    if (!v)
        return -ENOMEM;
    v->config = *config;
    v->space = *space;
    v->random = 0x9e3779b97f4a7c15u;
    v->log_limit = (struct ratelimit)RATELIMIT_INIT(LOG_BURST, LOG_INTERVAL_MS);
    /* Ranges that are not offered limit nothing (5.13.4), and read as such. */
    if (!viommu_has(v, VIOMMU_F_INPUT_RANGE))
        v->config.input_range = (struct range){0, UINT64_MAX};
    if (!viommu_has(v, VIOMMU_F_DOMAIN_RANGE))
        v->config.domain_range = (struct range){0, UINT32_MAX};
    if (!viommu_has(v, VIOMMU_F_PROBE))
        v->config.probe_size = 0;
    if (!viommu_has(v, VIOMMU_F_BYPASS_CONFIG))
        v->config.bypass = false;
    v->bypass = v->config.bypass;
    v->vdomains = idmap_new();
    v->endpoint_ids = idmap_new();
    if (!v->vdomains || !v->endpoint_ids || fault_queue_init(&v->faults, config->max_faults) < 0) {
        viommu_free(v);
        return -ENOMEM;
    }
    *out = v;
    return 0;
}

struct viommu *viommu_free(struct viommu *v)
{
    if (!v)
        return NULL;
    while (v->endpoints) {
        endpoint_take_out(v, v->endpoints);
        endpoint_drop(v, v->endpoints);
    }
    idmap_free(v->vdomains);
    idmap_free(v->endpoint_ids);
    free(v->faults.slots);
    free(v);
    return NULL;
}

int viommu_set_features(struct viommu *v, uint64_t features)
{
    if (features & ~v->config.features)
        return -EINVAL;
    v->negotiated = features;
    return 0;
}

void viommu_observe(struct viommu *v, const struct viommu_observer *ops, void *ctx)
{
    v->observer = ops;
    v->observer_ctx = ctx;
}

uint64_t viommu_offered(const struct viommu *v)
{
    return v->config.features;
}

uint64_t viommu_negotiated(const struct viommu *v)
{
    return v->negotiated;
}

void viommu_reset(struct viommu *v)
{
    int r;

    /* The last endpoint of a vdomain takes its mappings and pins along. */
    for (struct endpoint *ep = v->endpoints; ep; ep = ep->next) {
        if (ep->vdomain)
            endpoint_take_out(v, ep);
    }
    for (struct endpoint *ep = v->endpoints; ep; ep = ep->next) {
        if (!v->bypass || ep->identity)
            continue;
        r = host_enter(v, ep, NULL, true);
        if (r < 0) {
            log_guest(&v->log_limit,
                      "endpoint %" PRIu32 ": no bypass after reset (%s); it stays "
                      "blocked",
                      ep->id, strerror(-r));
        }
    }
    v->negotiated = 0;
    fault_queue_clear(&v->faults);
    v->counters.resets++;
}

void viommu_config_bytes(const struct viommu *v, uint8_t out[VIOMMU_CONFIG_SIZE])
{
    memset(out, 0, VIOMMU_CONFIG_SIZE);
    le64_store(out + VIOMMU_CONFIG_PAGE_SIZE_MASK, v->config.page_size_mask);
    le64_store(out + VIOMMU_CONFIG_INPUT_START, v->config.input_range.first);
    le64_store(out + VIOMMU_CONFIG_INPUT_END, v->config.input_range.last);
    le32_store(out + VIOMMU_CONFIG_DOMAIN_START, (uint32_t)v->config.domain_range.first);
    le32_store(out + VIOMMU_CONFIG_DOMAIN_END, (uint32_t)v->config.domain_range.last);
    le32_store(out + VIOMMU_CONFIG_PROBE_SIZE, v->config.probe_size);
    out[VIOMMU_CONFIG_BYPASS] = v->bypass;
}

bool viommu_bypass(const struct viommu *v)
{
    return v->bypass;
}

int viommu_bypass_write(struct viommu *v, uint8_t value)
{
    int r;

    if (value > 1)
        return -EINVAL; /* V4, D9 */
    if (!viommu_agreed(v, VIOMMU_F_BYPASS_CONFIG))
        return -EPERM; /* V2 */
    r = endpoints_set_identity(v, value == 1);
    if (r < 0)
        return r;
    v->bypass = value == 1;
    return 0;
}

/* --- looking inside --------------------------------------------------------------------------- */

const struct guest_space *viommu_guest_space(const struct viommu *v)
{
    return &v->space;
}

const struct viommu_counters *viommu_counters(const struct viommu *v)
{
    return &v->counters;
}

const struct viommu_config *viommu_config(const struct viommu *v)
{
    return &v->config;
}

size_t viommu_n_mappings(const struct viommu *v)
{
    return v->n_mappings;
}

size_t viommu_n_vdomains(const struct viommu *v)
{
    return idmap_count(v->vdomains);
}

bool viommu_vdomain_next(const struct viommu *v, uint32_t id, struct viommu_vdomain_info *out)
{
    const struct vdomain *vd = idmap_next(v->vdomains, &id);

    if (!vd)
        return false;
    *out = (struct viommu_vdomain_info){
        .id = vd->id,
        .bypass = vd->bypass,
        .n_mappings = imap_count(vd->map),
        .n_endpoints = vd->n_endpoints,
    };
    for (const struct vspace *space = vd->first_space; space; space = space->next)
        out->n_spaces++;
    return true;
}

size_t viommu_n_endpoints(const struct viommu *v)
{
    return idmap_count(v->endpoint_ids);
}

bool viommu_endpoint_next(const struct viommu *v, uint32_t id, struct viommu_endpoint_info *out)
{
    const struct endpoint *ep = idmap_next(v->endpoint_ids, &id);

    if (!ep)
        return false;
    *out = (struct viommu_endpoint_info){
        .id = ep->id,
        .driver = ep->ops->name,
        .attached = ep->vdomain != NULL,
        .vdomain = ep->vdomain ? ep->vdomain->id : 0,
        .bypass = ep->identity,
        .resv = ep->resv,
        .n_resv = ep->n_resv,
    };
    return true;
}

bool viommu_mapping_next(const struct viommu *v, uint32_t vdomain, uint64_t first,
                         struct imap_entry *out)
{
    const struct vdomain *vd = idmap_get(v->vdomains, vdomain);

    return vd && imap_first_in(vd->map, (struct range){first, UINT64_MAX}, out);
}
