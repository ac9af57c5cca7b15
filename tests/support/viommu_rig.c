/* SPDX-License-Identifier: GPL-2.0-only */
/* The test bench of viommu_rig.h. */
#include <config.h>

#include "tests/support/viommu_rig.h"

#include "backend/iommu/soft.h"
#include "common/le.h"
#include "tests/support/state_dump.h"

#include <string.h>

#define CANARY 0xa5

static char *trace_text;
static size_t trace_size;

bool rig_start(struct rig *rig, const struct viommu_config *config)
{
    struct viommu_config standard = VIOMMU_CONFIG_DEFAULT;
    struct guest_space space;

    memset(rig, 0, sizeof(*rig));
    model_space_init(&rig->mem);
    model_host_init(&rig->host);
    space = model_space_guest(&rig->mem);
    return model_space_add(&rig->mem, (struct range){0, RIG_RAM_SIZE - 1}, false, true) &&
           model_space_add(&rig->mem,
                           (struct range){RIG_ROM_FIRST, RIG_ROM_FIRST + RIG_ROM_SIZE - 1}, true,
                           true) &&
           model_space_add(&rig->mem, (struct range){RIG_HUGE_FIRST, 2 * RIG_HUGE_FIRST - 1}, false,
                           false) &&
           viommu_new(&rig->v, config ? config : &standard, &space) == 0 &&
           viommu_set_features(rig->v, viommu_offered(rig->v)) == 0;
}

void rig_stop(struct rig *rig)
{
    if (rig->v)
        RIG_CHECK(rig);
    rig->v = viommu_free(rig->v);
    UT_EQ(rig->host.n_spaces, 0);
    for (size_t i = 0; i < MODEL_HOST_ENDPOINTS; i++)
        UT_TRUE(!rig->host.endpoints[i].space && !rig->host.endpoints[i].identity);
    UT_EQ(rig->mem.n_pins, 0);
    UT_STR(rig->host.complaint ? rig->host.complaint : "none", "none");
    UT_STR(rig->mem.complaint ? rig->mem.complaint : "none", "none");
    model_host_fini(&rig->host);
    model_space_fini(&rig->mem);
}

int rig_add_resv(struct rig *rig, uint32_t id, const struct host_iommu_ops *ops,
                 const struct viommu_resv *resv, size_t n)
{
    struct viommu_endpoint_config config = {
        .id = id,
        .ops = ops,
        .host = ops == &soft_iommu_ops ? NULL
                                       : &rig->host.endpoints[(id - 8) % MODEL_HOST_ENDPOINTS],
        .caps = SOFT_IOMMU_CAPS,
        .aperture = {0, UINT64_MAX},
        .resv = resv,
        .n_resv = n,
    };
    const char *why;

    return viommu_endpoint_add(rig->v, &config, &why);
}

int rig_add(struct rig *rig, uint32_t id, const struct host_iommu_ops *ops)
{
    return rig_add_resv(rig, id, ops, NULL, 0);
}

int rig_add_soft(struct rig *rig, uint32_t id)
{
    return rig_add(rig, id, &soft_iommu_ops);
}

int rig_send(struct rig *rig, const uint8_t *req, size_t len, uint64_t writable)
{
    size_t max = viommu_reply_max(rig->v), tail;
    uint8_t *block = malloc(1 + len), *copy;
    bool clean = true;

    if (!block)
        return -2;
    copy = block + 1; /* ends with the block, also a request of no bytes: for the sanitizers */
    if (len)
        memcpy(copy, req, len);
    memset(rig->reply, CANARY, sizeof(rig->reply));
    rig->used = viommu_request(rig->v, copy, len, writable, rig->reply);
    free(block);
    UT_TRUE(rig->used <= max && rig->used <= writable);
    for (size_t i = rig->used; i < sizeof(rig->reply); i++)
        clean = clean && rig->reply[i] == CANARY;
    UT_TRUE(clean);
    if (rig->used == 0)
        return RIG_UNWRITTEN;
    /* Linux takes any other used length than the response's size for success (8.3). */
    UT_EQ(rig->used, req[0] != VIOMMU_T_PROBE ? 4 : writable < max ? writable : max);
    tail = rig->used - VIOMMU_TAIL_SIZE;
    UT_TRUE(rig->reply[tail + 1] == 0 && rig->reply[tail + 2] == 0 && rig->reply[tail + 3] == 0);
    return rig->reply[tail];
}

size_t rig_build_attach(uint8_t *req, uint32_t vdomain, uint32_t endpoint, uint32_t flags)
{
    memset(req, 0, VIOMMU_REQ_MAX);
    req[0] = VIOMMU_T_ATTACH;
    le32_store(req + VIOMMU_ATTACH_DOMAIN, vdomain);
    le32_store(req + VIOMMU_ATTACH_ENDPOINT, endpoint);
    le32_store(req + VIOMMU_ATTACH_FLAGS, flags);
    return VIOMMU_ATTACH_SIZE;
}

size_t rig_build_detach(uint8_t *req, uint32_t vdomain, uint32_t endpoint)
{
    memset(req, 0, VIOMMU_REQ_MAX);
    req[0] = VIOMMU_T_DETACH;
    le32_store(req + VIOMMU_DETACH_DOMAIN, vdomain);
    le32_store(req + VIOMMU_DETACH_ENDPOINT, endpoint);
    return VIOMMU_DETACH_SIZE;
}

size_t rig_build_map(uint8_t *req, uint32_t vdomain, uint64_t first, uint64_t last, uint64_t phys,
                     uint32_t flags)
{
    memset(req, 0, VIOMMU_REQ_MAX);
    req[0] = VIOMMU_T_MAP;
    le32_store(req + VIOMMU_MAP_DOMAIN, vdomain);
    le64_store(req + VIOMMU_MAP_VIRT_START, first);
    le64_store(req + VIOMMU_MAP_VIRT_END, last);
    le64_store(req + VIOMMU_MAP_PHYS_START, phys);
    le32_store(req + VIOMMU_MAP_FLAGS, flags);
    return VIOMMU_MAP_SIZE;
}

size_t rig_build_unmap(uint8_t *req, uint32_t vdomain, uint64_t first, uint64_t last)
{
    memset(req, 0, VIOMMU_REQ_MAX);
    req[0] = VIOMMU_T_UNMAP;
    le32_store(req + VIOMMU_UNMAP_DOMAIN, vdomain);
    le64_store(req + VIOMMU_UNMAP_VIRT_START, first);
    le64_store(req + VIOMMU_UNMAP_VIRT_END, last);
    return VIOMMU_UNMAP_SIZE;
}

size_t rig_build_probe(uint8_t *req, uint32_t endpoint)
{
    memset(req, 0, VIOMMU_REQ_MAX);
    req[0] = VIOMMU_T_PROBE;
    le32_store(req + VIOMMU_PROBE_ENDPOINT, endpoint);
    return VIOMMU_PROBE_SIZE;
}

int rig_attach(struct rig *rig, uint32_t vdomain, uint32_t endpoint, uint32_t flags)
{
    uint8_t req[VIOMMU_REQ_MAX];
    size_t n = rig_build_attach(req, vdomain, endpoint, flags);

    return rig_send(rig, req, n, VIOMMU_TAIL_SIZE);
}

int rig_detach(struct rig *rig, uint32_t vdomain, uint32_t endpoint)
{
    uint8_t req[VIOMMU_REQ_MAX];
    size_t n = rig_build_detach(req, vdomain, endpoint);

    return rig_send(rig, req, n, VIOMMU_TAIL_SIZE);
}

int rig_map(struct rig *rig, uint32_t vdomain, uint64_t first, uint64_t last, uint64_t phys,
            uint32_t flags)
{
    uint8_t req[VIOMMU_REQ_MAX];
    size_t n = rig_build_map(req, vdomain, first, last, phys, flags);

    return rig_send(rig, req, n, VIOMMU_TAIL_SIZE);
}

int rig_unmap(struct rig *rig, uint32_t vdomain, uint64_t first, uint64_t last)
{
    uint8_t req[VIOMMU_REQ_MAX];
    size_t n = rig_build_unmap(req, vdomain, first, last);

    return rig_send(rig, req, n, VIOMMU_TAIL_SIZE);
}

int rig_probe(struct rig *rig, uint32_t endpoint)
{
    uint8_t req[VIOMMU_REQ_MAX];
    size_t n = rig_build_probe(req, endpoint);

    return rig_send(rig, req, n, viommu_reply_max(rig->v));
}

char *rig_dump(struct rig *rig)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    if (!out)
        return NULL;
    state_dump(rig->v, out);
    model_host_dump(&rig->host, out);
    model_space_dump(&rig->mem, out);
    return fclose(out) == 0 ? text : NULL;
}

/* Pins must be exactly the mappings with access, of all vdomains, once each. */
static const char *compare_pins(struct rig *rig)
{
    struct viommu_vdomain_info vd;
    struct imap_entry e;
    size_t n = 0;

    for (uint32_t id = 0; viommu_vdomain_next(rig->v, id, &vd); id = vd.id + 1) {
        for (uint64_t at = 0; viommu_mapping_next(rig->v, vd.id, at, &e); at = e.range.last + 1) {
            struct range gpa;

            if (e.flags & MAP_RW) {
                n++;
                if (!range_moved(e.range, e.value, &gpa) ||
                    model_space_pinned(&rig->mem, gpa, (e.flags & MAP_W) != 0) == 0)
                    return "a mapping's memory is not pinned";
            }
            if (e.range.last == UINT64_MAX)
                break;
        }
        if (vd.id == UINT32_MAX)
            break;
    }
    return n == rig->mem.n_pins ? NULL : "more is pinned than mapped";
}

void rig_check(struct rig *rig, const char *file, int line)
{
    const char *wrong = model_host_compare(&rig->host, rig->v, &rig->mem);

    if (!wrong)
        wrong = rig->mem.complaint;
    if (!wrong)
        wrong = compare_pins(rig);
    ut_eq_str(wrong ? wrong : "agreement", "agreement", "host, pins and table", file, line);
}

uint64_t rig_lookup(struct rig *rig, uint32_t endpoint, uint64_t iova, bool write)
{
    struct viommu_fault fault;
    struct range gpa;

    if (viommu_translate(rig->v, endpoint, (struct range){iova, iova}, write, &gpa, &fault) < 0)
        return UINT64_MAX;
    return gpa.first;
}

void rig_trace_begin(struct rig *rig)
{
    FILE *out = open_memstream(&trace_text, &trace_size);

    rig->host.trace = out;
    rig->mem.trace = out;
}

char *rig_trace_end(struct rig *rig)
{
    FILE *out = rig->host.trace;

    rig->host.trace = NULL;
    rig->mem.trace = NULL;
    if (!out || fclose(out) != 0)
        return NULL;
    return trace_text;
}
