/* SPDX-License-Identifier: GPL-2.0-only */
/* The naive model of naive_viommu.h, from virtio 1.3, 5.13.6 and docs/conformance.md. */
#include <config.h>

#include "tests/support/naive_viommu.h"

#include <string.h>

static unsigned members(const struct naive_viommu *n, uint32_t vdomain)
{
    unsigned count = 0;

    for (unsigned i = 0; i < NAIVE_ENDPOINTS; i++)
        count += vdomain && n->vdomain[i] == vdomain;
    return count;
}

static size_t count_maps(const struct naive_viommu *n)
{
    size_t count = 0;

    for (size_t i = 0; i < NAIVE_MAX_MAP; i++)
        count += n->maps[i].used;
    return count;
}

static bool hits(const struct naive_map *m, uint32_t vdomain, uint64_t first, uint64_t last)
{
    return m->used && m->vdomain == vdomain && m->first <= last && first <= m->last;
}

static void leave(struct naive_viommu *n, unsigned index)
{
    uint32_t old = n->vdomain[index];

    n->vdomain[index] = 0;
    if (!old || members(n, old))
        return;
    for (size_t i = 0; i < NAIVE_MAX_MAP; i++) {
        if (n->maps[i].used && n->maps[i].vdomain == old)
            n->maps[i].used = false;
    }
}

int naive_attach(struct naive_viommu *n, uint32_t vdomain, uint32_t endpoint, uint32_t flags)
{
    unsigned index = endpoint - 8, n_vdomains = 0;
    bool exists;

    if (flags & ~VIOMMU_ATTACH_F_BYPASS)
        return VIOMMU_S_INVAL;
    if (endpoint < 8 || index >= NAIVE_ENDPOINTS)
        return VIOMMU_S_NOENT;
    if (vdomain < 1 || vdomain > 4)
        return VIOMMU_S_RANGE;
    exists = members(n, vdomain) > 0;
    if (exists && n->is_bypass[vdomain] != (flags == VIOMMU_ATTACH_F_BYPASS))
        return VIOMMU_S_INVAL;
    if (n->vdomain[index] == vdomain)
        return VIOMMU_S_OK;
    for (size_t i = 0; index == 1 && i < NAIVE_MAX_MAP; i++) {
        if (hits(&n->maps[i], vdomain, n->resv.first, n->resv.last))
            return VIOMMU_S_UNSUPP;
    }
    for (uint32_t d = 1; d <= 4; d++)
        n_vdomains += members(n, d) > 0;
    if (members(n, n->vdomain[index]) == 1)
        n_vdomains--;
    if (!exists && n_vdomains >= n->max_vdomains)
        return VIOMMU_S_NOMEM;
    leave(n, index);
    n->vdomain[index] = vdomain;
    n->is_bypass[vdomain] = flags == VIOMMU_ATTACH_F_BYPASS;
    return VIOMMU_S_OK;
}

int naive_detach(struct naive_viommu *n, uint32_t vdomain, uint32_t endpoint)
{
    unsigned index = endpoint - 8;

    if (endpoint < 8 || index >= NAIVE_ENDPOINTS)
        return VIOMMU_S_NOENT;
    if (!n->vdomain[index])
        return VIOMMU_S_INVAL;
    /* vdomain 0 is no id here: it means the endpoint's bypass vdomain */
    if (vdomain == 0 && !n->is_bypass[n->vdomain[index]])
        return VIOMMU_S_INVAL;
    if (vdomain != 0 && n->vdomain[index] != vdomain)
        return VIOMMU_S_INVAL;
    leave(n, index);
    return VIOMMU_S_OK;
}

static int find_vdomain(const struct naive_viommu *n, uint32_t vdomain)
{
    if (!members(n, vdomain))
        return VIOMMU_S_NOENT;
    return n->is_bypass[vdomain] ? VIOMMU_S_INVAL : VIOMMU_S_OK;
}

static int map_ranges(const struct naive_viommu *n, const struct naive_map *m)
{
    if (m->last < m->first)
        return VIOMMU_S_INVAL;
    if (m->first % n->granule || (m->last + 1) % n->granule || m->phys % n->granule)
        return VIOMMU_S_RANGE;
    if (m->first < n->input.first || m->last > n->input.last)
        return VIOMMU_S_RANGE;
    if (m->phys + (m->last - m->first) < m->phys)
        return VIOMMU_S_RANGE;
    if (m->phys + (m->last - m->first) >=
        ((m->flags & VIOMMU_MAP_F_WRITE) ? n->ram_end : n->rom_end))
        return VIOMMU_S_FAULT;
    return VIOMMU_S_OK;
}

int naive_map(struct naive_viommu *n, const struct naive_map *m)
{
    struct naive_map *slot = NULL;
    int status;

    if (m->flags & ~VIOMMU_MAP_F_MASK)
        return VIOMMU_S_INVAL;
    status = find_vdomain(n, m->vdomain);
    if (status == VIOMMU_S_OK)
        status = map_ranges(n, m);
    if (status != VIOMMU_S_OK)
        return status;
    for (size_t i = 0; i < NAIVE_MAX_MAP; i++) {
        if (hits(&n->maps[i], m->vdomain, m->first, m->last))
            return VIOMMU_S_INVAL;
        if (!n->maps[i].used)
            slot = &n->maps[i];
    }
    if (n->vdomain[1] == m->vdomain && m->first <= n->resv.last && n->resv.first <= m->last)
        return VIOMMU_S_INVAL;
    if (count_maps(n) >= n->max_maps)
        return VIOMMU_S_NOMEM;
    *slot = *m;
    slot->used = true;
    return VIOMMU_S_OK;
}

int naive_unmap(struct naive_viommu *n, uint32_t vdomain, uint64_t first, uint64_t last)
{
    int status = find_vdomain(n, vdomain);

    if (status != VIOMMU_S_OK)
        return status;
    if (last < first)
        return VIOMMU_S_INVAL;
    for (size_t i = 0; i < NAIVE_MAX_MAP; i++) {
        const struct naive_map *m = &n->maps[i];

        if (hits(m, vdomain, first, last) && (m->first < first || m->last > last))
            return VIOMMU_S_RANGE;
    }
    for (size_t i = 0; i < NAIVE_MAX_MAP; i++) {
        if (hits(&n->maps[i], vdomain, first, last))
            n->maps[i].used = false;
    }
    return VIOMMU_S_OK;
}

void naive_reset(struct naive_viommu *n)
{
    for (unsigned i = 0; i < NAIVE_ENDPOINTS; i++)
        leave(n, i);
}

uint64_t naive_lookup(const struct naive_viommu *n, unsigned index, uint64_t addr, bool write)
{
    uint32_t vd = n->vdomain[index];

    if (vd ? n->is_bypass[vd] : n->bypass_byte)
        return addr;
    for (size_t i = 0; vd && i < NAIVE_MAX_MAP; i++) {
        const struct naive_map *m = &n->maps[i];

        if (hits(m, vd, addr, addr) &&
            (m->flags & (write ? VIOMMU_MAP_F_WRITE : VIOMMU_MAP_F_READ)))
            return m->phys + (addr - m->first);
    }
    return UINT64_MAX;
}

/* --- comparing -------------------------------------------------------------------------------- */

static const char *compare_mappings(const struct naive_viommu *n, const struct viommu *v)
{
    for (size_t i = 0; i < NAIVE_MAX_MAP; i++) {
        const struct naive_map *m = &n->maps[i];
        struct imap_entry e;

        if (!m->used)
            continue;
        if (!viommu_mapping_next(v, m->vdomain, m->first, &e) || e.range.first != m->first ||
            e.range.last != m->last || e.value != m->phys || e.flags != m->flags)
            return "a mapping differs";
    }
    return count_maps(n) == viommu_n_mappings(v) ? NULL : "the number of mappings differs";
}

static const char *compare_members(const struct naive_viommu *n, const struct viommu *v)
{
    struct viommu_endpoint_info info;
    struct viommu_vdomain_info vd;
    size_t count = 0;

    for (unsigned i = 0; i < NAIVE_ENDPOINTS; i++) {
        uint32_t want = n->vdomain[i];

        if (!viommu_endpoint_next(v, 8 + i, &info) || info.id != 8 + i)
            return "an endpoint is missing";
        if (info.attached != (want != 0) || (want && info.vdomain != want))
            return "an attachment differs";
        if (info.bypass != (want ? n->is_bypass[want] : n->bypass_byte))
            return "the bypass of an endpoint differs";
    }
    for (uint32_t d = 1; d <= 4; d++) {
        if (!members(n, d))
            continue;
        count++;
        if (!viommu_vdomain_next(v, d, &vd) || vd.id != d || vd.bypass != n->is_bypass[d] ||
            vd.n_endpoints != members(n, d))
            return "a vdomain differs";
    }
    return count == viommu_n_vdomains(v) ? NULL : "the number of vdomains differs";
}

const char *naive_compare(const struct naive_viommu *n, const struct viommu *v)
{
    const char *wrong = compare_members(n, v);

    return wrong ? wrong : compare_mappings(n, v);
}

bool naive_follow(struct naive_viommu *n, const struct viommu *v)
{
    struct viommu_endpoint_info info;
    struct viommu_vdomain_info vd;
    struct imap_entry e;
    size_t count = 0;

    memset(n->maps, 0, sizeof(n->maps));
    n->bypass_byte = viommu_bypass(v);
    for (unsigned i = 0; i < NAIVE_ENDPOINTS; i++) {
        if (!viommu_endpoint_next(v, 8 + i, &info) || info.id != 8 + i)
            return false;
        n->vdomain[i] = info.attached ? info.vdomain : 0;
    }
    for (uint32_t d = 1; viommu_vdomain_next(v, d, &vd); d = vd.id + 1) {
        if (vd.id >= NAIVE_VDOMAINS)
            return false;
        n->is_bypass[vd.id] = vd.bypass;
        for (uint64_t at = 0; viommu_mapping_next(v, vd.id, at, &e); at = e.range.last + 1) {
            if (count == NAIVE_MAX_MAP)
                return false;
            n->maps[count++] = (struct naive_map){vd.id,   e.range.first, e.range.last,
                                                  e.value, e.flags,       true};
            if (e.range.last == UINT64_MAX)
                break;
        }
    }
    return true;
}
