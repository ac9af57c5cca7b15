/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The soft host IOMMU driver. The device's interval map is its page table, so mapping costs it
 * nothing and an unmapped address is unreachable at once; translation is exact to the byte.
 * Addresses and lengths come from whoever plays the endpoint and are not trusted.
 */
#include <config.h>

#include "backend/iommu/soft.h"

#include <errno.h>

const struct host_iommu_ops soft_iommu_ops = {
    .name = "soft",
    .source = MAP_SOURCE_GUEST_FRAME,
};

/* Where an access is on its way through the tables. */
struct access {
    struct viommu *v;
    uint32_t endpoint;
    bool write;
};

static struct viommu_fault unknown_fault(const struct access *a)
{
    return (struct viommu_fault){
        .reason = VIOMMU_FAULT_R_UNKNOWN,
        .flags = a->write ? VIOMMU_FAULT_F_WRITE : VIOMMU_FAULT_F_READ,
        .endpoint = a->endpoint,
    };
}

static struct viommu_fault unknown_fault_at(const struct access *a, uint64_t address)
{
    struct viommu_fault fault = unknown_fault(a);

    fault.flags |= VIOMMU_FAULT_F_ADDRESS;
    fault.address = address;
    return fault;
}

static bool is_guest_memory(const struct access *a, struct range gpa)
{
    const struct guest_space *space = viommu_guest_space(a->v);

    return space->ops->check(space->ctx, gpa, a->write) == 0;
}

/* How many bytes at the start of `gpa`, not all of which are guest memory, are. */
static uint64_t reachable_prefix(const struct access *a, struct range gpa)
{
    uint64_t good = 0, bad = gpa.last - gpa.first;

    /* The byte at offset `bad` is the last one that may be the first to fail. */
    while (good < bad) {
        uint64_t middle = good + (bad - good) / 2;

        if (is_guest_memory(a, (struct range){gpa.first, gpa.first + middle}))
            good = middle + 1;
        else
            bad = middle;
    }
    return good;
}

/*
 * Translates the start of `iova`. What a mapping leads to was checked when it was made; identity
 * leads anywhere.
 */
static int next_piece(const struct access *a, struct range iova, struct range *gpa_out,
                      struct viommu_fault *fault_out)
{
    int r = viommu_translate(a->v, a->endpoint, iova, a->write, gpa_out, fault_out);

    if (r < 0)
        return r;
    if (is_guest_memory(a, *gpa_out))
        return 0;
    *fault_out = unknown_fault_at(a, iova.first + reachable_prefix(a, *gpa_out));
    return -EACCES;
}

/* Is all of `iova` reachable? */
static int check_access(const struct access *a, struct range iova, struct viommu_fault *fault_out)
{
    struct range gpa;
    int r;

    for (;;) {
        r = next_piece(a, iova, &gpa, fault_out);
        if (r < 0 || gpa.last - gpa.first == iova.last - iova.first)
            return r;
        iova.first += range_size(gpa);
    }
}

/* Carries out an access that check_access allowed. */
static int copy_access(const struct access *a, struct range iova, uint8_t *buf,
                       struct viommu_fault *fault_out)
{
    const struct guest_space *space = viommu_guest_space(a->v);
    struct range gpa;
    size_t n;
    int r;

    for (;;) {
        r = viommu_translate(a->v, a->endpoint, iova, a->write, &gpa, fault_out);
        if (r < 0)
            return r;
        n = (size_t)range_size(gpa);
        r = a->write ? space->ops->write(space->ctx, gpa.first, buf, n)
                     : space->ops->read(space->ctx, gpa.first, buf, n);
        if (r < 0) {
            *fault_out = unknown_fault_at(a, iova.first);
            return r;
        }
        if (gpa.last - gpa.first == iova.last - iova.first)
            return 0;
        iova.first += n;
        buf += n;
    }
}

int soft_dma(struct viommu *v, uint32_t endpoint, uint64_t iova, void *buf, size_t len, bool write,
             struct viommu_fault *fault_out)
{
    struct access access = {v, endpoint, write};
    struct viommu_fault fault;
    struct range r_iova;
    bool wraps;
    int r;

    if (len == 0)
        return -EINVAL;
    wraps = !range_from_size(iova, len, &r_iova);
    if (wraps)
        r_iova = (struct range){iova, UINT64_MAX};
    r = check_access(&access, r_iova, &fault);
    if (r == 0 && wraps) {
        /* All that there is can be reached; the byte after 2^64-1 has no address to report. */
        fault = unknown_fault(&access);
        r = -EACCES;
    }
    if (r == 0)
        r = copy_access(&access, r_iova, buf, &fault);
    if (r == 0 || r == -ENOENT)
        return r;
    (void)viommu_report_fault(v, &fault);
    if (fault_out)
        *fault_out = fault;
    return r;
}
