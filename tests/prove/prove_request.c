/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The request decoder: reads no byte beyond the request, writes no byte beyond the reply, and its
 * used length is none, the tail's, or what a PROBE fills (virtio 1.3, 5.13.6; docs/conformance.md
 * D11, N1). What the handlers call answers anything.
 */
#include "backend/viommu/viommu_priv.h"

#include <stdlib.h>
#include <string.h>

#include "tests/prove/prove.h"

static struct endpoint any_endpoint;
static struct vdomain any_vdomain, another_vdomain;

void *idmap_get(const struct idmap *map, uint32_t id)
{
    return any_bool() ? &any_endpoint : NULL;
}

struct vdomain *vdomain_search(struct viommu *v, uint32_t id)
{
    return any_bool() ? &any_vdomain : NULL;
}

int vdomain_new(struct viommu *v, uint32_t id, bool bypass, struct vdomain **out)
{
    *out = &another_vdomain;
    return any_bool() ? 0 : -12;
}

enum viommu_status viommu_status_of_errno(int err)
{
    uint8_t status = any_u8();

    ASSUME(status < VIOMMU_N_STATUS);
    return (enum viommu_status)status;
}

static enum viommu_status some_status(void)
{
    return viommu_status_of_errno(0);
}

enum viommu_status vdomain_map(struct viommu *v, struct vdomain *vd, const struct imap_entry *entry)
{
    return some_status();
}

enum viommu_status vdomain_unmap(struct viommu *v, struct vdomain *vd, struct range iova)
{
    PROVE(range_valid(iova));
    return some_status();
}

void unmaps_do(struct viommu *v)
{
    PROVE(v->unmaps.vd);
    v->unmaps.vd = NULL;
}

size_t idmap_count(const struct idmap *map)
{
    return any_u64();
}

bool vdomain_clashes(const struct vdomain *vd, const struct endpoint *ep)
{
    return any_bool();
}

int endpoint_move(struct viommu *v, struct endpoint *ep, struct vdomain *to)
{
    return any_int();
}

void vdomain_drop(struct viommu *v, struct vdomain *vd)
{
    PROVE(vd == &another_vdomain); /* only what the request itself has made */
}

void probe_write(const struct endpoint *ep, uint8_t *area)
{
    PROVE(__CPROVER_w_ok(area, 512)); /* all of probe_size */
}

int main(void)
{
    static struct viommu v;
    size_t req_len = any_u8(), used;
    uint64_t writable = any_u32();
    uint8_t *req, *reply;
    uint8_t type;

    ASSUME(req_len <= VIOMMU_REQ_MAX && writable <= 536);
    v.config.features = any_u64();
    v.config.probe_size = 512;
    v.config.domain_range = (struct range){any_u64(), any_u64()};
    v.config.max_vdomains = any_u64();
    v.negotiated = any_u64();
    any_endpoint.vdomain = any_bool() ? &any_vdomain : NULL;
    any_endpoint.caps = any_u32();
    any_vdomain.id = any_u32();
    any_vdomain.bypass = any_bool();
    any_vdomain.n_endpoints = any_u64();
    /* Exactly as many bytes as there are: whatever reads or writes more is found. */
    req = malloc(req_len);
    reply = malloc(viommu_reply_max(&v) < writable ? viommu_reply_max(&v) : writable);
    ASSUME(req && reply);
    __CPROVER_havoc_object(req);
    type = req_len > 0 ? req[0] : 0;
    used = viommu_request(&v, req, req_len, writable, reply);
    PROVE(used <= writable);
    PROVE(used == 0 || (used >= VIOMMU_TAIL_SIZE && used <= 516));
    if (used > 0) {
        PROVE(type >= VIOMMU_T_ATTACH && type <= VIOMMU_T_PROBE);
        PROVE(req_len >= 20 && writable >= VIOMMU_TAIL_SIZE);
        PROVE(type == VIOMMU_T_PROBE || used == VIOMMU_TAIL_SIZE);
        PROVE(type != VIOMMU_T_PROBE || used == (writable < 516 ? writable : 516));
        PROVE(reply[used - 4] < VIOMMU_N_STATUS);
        PROVE(reply[used - 3] == 0 && reply[used - 2] == 0 && reply[used - 1] == 0);
        if (type == VIOMMU_T_PROBE && used < 516)
            PROVE(reply[used - 4] == VIOMMU_S_INVAL || reply[used - 4] == VIOMMU_S_NOENT);
        if (type == VIOMMU_T_MAP || type == VIOMMU_T_UNMAP)
            PROVE(v.negotiated & VIOMMU_F_MAP_UNMAP);
    }
    free(req);
    free(reply);
    return 0;
}
