/* SPDX-License-Identifier: GPL-2.0-only */
/* The canonical text of state_dump.h, from the public views only. */
#include <config.h>

#include "tests/support/state_dump.h"

#include <inttypes.h>

static void dump_bytes(const char *what, const uint8_t *bytes, size_t n, FILE *out)
{
    fprintf(out, "%s ", what);
    for (size_t i = 0; i < n; i++)
        fprintf(out, "%02x", bytes[i]);
    fputc('\n', out);
}

static void dump_mappings(const struct viommu *v, uint32_t vdomain, FILE *out)
{
    struct imap_entry e;
    uint64_t next = 0;

    while (viommu_mapping_next(v, vdomain, next, &e)) {
        fprintf(out, "  %#" PRIx64 "-%#" PRIx64 " -> %#" PRIx64 " flags %" PRIu32 "\n",
                e.range.first, e.range.last, e.value, e.flags);
        if (e.range.last == UINT64_MAX)
            break;
        next = e.range.last + 1;
    }
}

static void dump_vdomains(const struct viommu *v, FILE *out)
{
    struct viommu_vdomain_info vd;
    uint32_t id = 0;

    while (viommu_vdomain_next(v, id, &vd)) {
        fprintf(out, "vdomain %" PRIu32 " bypass %d mappings %zu endpoints %zu spaces %zu\n", vd.id,
                vd.bypass, vd.n_mappings, vd.n_endpoints, vd.n_spaces);
        dump_mappings(v, vd.id, out);
        if (vd.id == UINT32_MAX)
            break;
        id = vd.id + 1;
    }
}

static void dump_endpoints(const struct viommu *v, FILE *out)
{
    struct viommu_endpoint_info ep;
    uint32_t id = 0;

    while (viommu_endpoint_next(v, id, &ep)) {
        fprintf(out, "endpoint %" PRIu32 " %s attached %d vdomain %" PRIu32 " bypass %d\n", ep.id,
                ep.driver, ep.attached, ep.vdomain, ep.bypass);
        for (size_t i = 0; i < ep.n_resv; i++) {
            fprintf(out, "  resv %#" PRIx64 "-%#" PRIx64 " %u\n", ep.resv[i].range.first,
                    ep.resv[i].range.last, ep.resv[i].subtype);
        }
        if (ep.id == UINT32_MAX)
            break;
        id = ep.id + 1;
    }
}

void state_dump(const struct viommu *v, FILE *out)
{
    uint8_t config[VIOMMU_CONFIG_SIZE], fault[VIOMMU_FAULT_SIZE];

    viommu_config_bytes(v, config);
    fprintf(out, "offered %#" PRIx64 " negotiated %#" PRIx64 "\n", viommu_offered(v),
            viommu_negotiated(v));
    dump_bytes("config", config, sizeof(config), out);
    fprintf(out, "vdomains %zu endpoints %zu mappings %zu faults %zu\n", viommu_n_vdomains(v),
            viommu_n_endpoints(v), viommu_n_mappings(v), viommu_faults_queued(v));
    if (viommu_fault_peek(v, fault))
        dump_bytes("fault", fault, sizeof(fault), out);
    dump_vdomains(v, out);
    dump_endpoints(v, out);
}
