/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * sysfs for the VFIO drivers. The kernel is trusted, but its text formats are not taken for
 * granted: what is not understood makes the device unfit instead of being skipped.
 */
#include <config.h>

#include "backend/iommu/host_device.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/strutil.h"

#define RESV_TEXT_SIZE 4096 /* a sysfs attribute has at most a page */

#define XEN_PLACEHOLDERS "Xen scratch"

/* --- device and group ------------------------------------------------------------------------- */

int host_device_find(const struct kernel *k, const char *name, struct host_device *out, char *why,
                     size_t why_size)
{
    struct host_device dev = {.emulated = !strchr(name, ':')};
    char path[HOST_PATH_SIZE], target[256];
    const char *base;
    uint32_t group = 0;
    int r;

    if (strlen(name) >= sizeof(dev.name))
        return -ENAMETOOLONG;
    memcpy(dev.name, name, strlen(name) + 1);
    snprintf(dev.sysfs, sizeof(dev.sysfs), "/sys/bus/%s/devices/%s", dev.emulated ? "mdev" : "pci",
             name);
    snprintf(path, sizeof(path), "%s/iommu_group", dev.sysfs);
    r = k->ops->readlink(k->ctx, path, target, sizeof(target));
    if (r < 0) {
        snprintf(why, why_size, "%s has no IOMMU group (%s): %s", name, strerror(-r),
                 dev.emulated ? "there is no such mdev"
                              : "no such device, or the host has no IOMMU that Linux can see");
        return r == -ENOENT ? -ENODEV : r;
    }
    base = strrchr(target, '/');
    if (!base || parse_u32(base + 1, INT32_MAX, &group) < 0) {
        snprintf(why, why_size, "%s: the name of its IOMMU group makes no sense", name);
        return -ENODEV;
    }
    dev.group = group;
    *out = dev;
    return 0;
}

/* --- reserved regions ------------------------------------------------------------------------- */

/* The reserved region with the lowest address in `range`, or NULL. */
static const struct viommu_resv *first_in(const struct host_resv *resv, struct range range)
{
    const struct viommu_resv *first = NULL;

    for (size_t i = 0; i < resv->n; i++) {
        const struct viommu_resv *region = &resv->regions[i];

        if (range_overlaps(region->range, range) &&
            (!first || region->range.first < first->range.first))
            first = region;
    }
    return first;
}

static bool has_msi(const struct host_resv *resv)
{
    for (size_t i = 0; i < resv->n; i++) {
        if (resv->regions[i].subtype == VIOMMU_RESV_MEM_T_MSI)
            return true;
    }
    return false;
}

static int append(struct host_resv *resv, struct range range, uint8_t subtype)
{
    if (resv->n == ARRAY_SIZE(resv->regions))
        return -E2BIG;
    resv->regions[resv->n++] = (struct viommu_resv){range, subtype};
    return 0;
}

int host_resv_add(struct host_resv *resv, struct range range, uint8_t subtype)
{
    const size_t before = resv->n;
    const struct viommu_resv *taken;
    int r = 0;

    if (!range_valid(range))
        return -EINVAL;
    if (subtype == VIOMMU_RESV_MEM_T_MSI && (has_msi(resv) || first_in(resv, range)))
        subtype = VIOMMU_RESV_MEM_T_RESERVED;
    while (r == 0 && (taken = first_in(resv, range)) != NULL) {
        struct range over = taken->range;

        if (over.first > range.first)
            r = append(resv, (struct range){range.first, over.first - 1}, subtype);
        if (over.last >= range.last)
            goto out;
        range.first = over.last + 1;
    }
    if (r == 0)
        r = append(resv, range, subtype);
out:
    if (r < 0)
        resv->n = before;
    return r;
}

/* "0xFIRST 0xLAST TYPE" */
static int add_line(struct host_resv *resv, char *line, bool msi_pass, char *why, size_t why_size)
{
    char *save = NULL;
    const char *first = strtok_r(line, " ", &save);
    const char *last = strtok_r(NULL, " ", &save);
    const char *type = strtok_r(NULL, " ", &save);
    struct range range;

    if (!first || !last || !type || parse_u64(first, UINT64_MAX, &range.first) < 0 ||
        parse_u64(last, UINT64_MAX, &range.last) < 0 || !range_valid(range)) {
        snprintf(why, why_size, "the kernel's list of reserved regions makes no sense");
        return -EINVAL;
    }
    if (strcmp(type, "direct") == 0) {
        snprintf(why, why_size,
                 "the firmware wants %#llx to %#llx mapped one to one for it (RMRR): it cannot be "
                 "given to a guest",
                 (unsigned long long)range.first, (unsigned long long)range.last);
        return -EPERM;
    }
    /* The window first, so that it is not cut by what overlaps it. */
    if ((strcmp(type, "msi") == 0) != msi_pass)
        return 0;
    if (host_resv_add(resv, range, msi_pass ? VIOMMU_RESV_MEM_T_MSI : VIOMMU_RESV_MEM_T_RESERVED) ==
        0)
        return 0;
    snprintf(why, why_size, "it has more than %d reserved regions", HOST_DEVICE_MAX_RESV);
    return -E2BIG;
}

static int add_lines(struct host_resv *resv, const char *text, bool msi_pass, char *why,
                     size_t why_size)
{
    cleanup_free char *copy = strdup(text);
    char *save = NULL;
    int r = 0;

    if (!copy) {
        snprintf(why, why_size, "out of memory");
        return -ENOMEM;
    }
    for (char *line = strtok_r(copy, "\n", &save); line && r == 0;
         line = strtok_r(NULL, "\n", &save))
        r = add_line(resv, line, msi_pass, why, why_size);
    return r;
}

int host_resv_read(const struct kernel *k, unsigned group, struct host_resv *out, char *why,
                   size_t why_size)
{
    cleanup_free char *text = malloc(RESV_TEXT_SIZE + 1);
    char path[HOST_PATH_SIZE];
    int r;

    if (!text) {
        snprintf(why, why_size, "out of memory");
        return -ENOMEM;
    }
    snprintf(path, sizeof(path), "/sys/kernel/iommu_groups/%u/reserved_regions", group);
    r = k->ops->read_text(k->ctx, path, text, RESV_TEXT_SIZE + 1);
    if (r < 0) {
        snprintf(why, why_size, "%s: %s", path, strerror(-r));
        return r;
    }
    out->n = 0;
    r = add_lines(out, text, true, why, why_size);
    return r < 0 ? r : add_lines(out, text, false, why, why_size);
}

int host_resv_add_holes(struct host_resv *resv, const struct range *ranges, size_t n,
                        struct range *aperture_out)
{
    if (n == 0)
        return -EINVAL;
    for (size_t i = 0; i < n; i++) {
        int r;

        if (!range_valid(ranges[i]) || (i > 0 && ranges[i].first <= ranges[i - 1].last))
            return -EINVAL;
        if (i == 0 || ranges[i].first == ranges[i - 1].last + 1)
            continue;
        r = host_resv_add(resv, (struct range){ranges[i - 1].last + 1, ranges[i].first - 1},
                          VIOMMU_RESV_MEM_T_RESERVED);
        if (r < 0)
            return r;
    }
    *aperture_out = (struct range){ranges[0].first, ranges[n - 1].last};
    return 0;
}

/* --- the rest --------------------------------------------------------------------------------- */

bool host_pins_leak(const struct kernel *k)
{
    /* What cannot be looked at is taken for the worse. */
    return k->ops->grep(k->ctx, "/proc/iomem", XEN_PLACEHOLDERS) != -ENOENT;
}

int lifeline_open(const struct kernel *k, struct lifeline *line)
{
    int fds[2], r;

    if (line->ours >= 0)
        return 0;
    r = k->ops->pipe(k->ctx, fds);
    if (r == 0)
        *line = (struct lifeline){.theirs = fds[0], .ours = fds[1]};
    return r;
}

void lifeline_cut(const struct kernel *k, struct lifeline *line)
{
    kernel_close(k, &line->ours);
    kernel_close(k, &line->theirs);
}

int host_map_errno(int r)
{
    return r >= 0 || r == -ENOSPC || r == -ENOMEM ? r : -EIO;
}
