/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * VFIO type1v2.
 *
 * A group cannot leave its container while a file of one of its devices is open, and a companion
 * may have one: so the container stays, and what changes is its contents. The device core maps
 * everything when a space gets its first endpoint; when the last one leaves, everything is taken
 * out. One ioctl per piece of a mapping, never one per page.
 *
 * The kernel is trusted to do what it says it did, not to succeed. A group whose mappings cannot be
 * taken out is cut off: devices reset, every file closed, companions told to end.
 */
#include <config.h>

#include "backend/iommu/vfio.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/vfio.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "backend/iommu/host_device.h"
#include "common/log.h"

#define INFO_SIZE_MAX 65536u
#define MAX_RANGES    32u

/* A host that fails can be made to fail again and again by a guest. */
#define LOG_BURST       10
#define LOG_INTERVAL_MS 10000

struct iommu_host {
    const struct kernel *k;
    struct ratelimit log_limit;
    struct vfio_group *groups;
};

struct vfio_group {
    struct vfio_group *next;
    struct iommu_host *host;
    unsigned number;
    bool emulated;
    bool cut_off; /* no file is open */
    int container, file;
    struct host_endpoint *endpoints;

    uint64_t page_sizes;
    struct range aperture;
    struct host_resv resv;
    size_t max_entries; /* of an empty container; 0: not told */

    struct host_space *space; /* whose mappings the container holds, or NULL */
    size_t n_inside;          /* endpoints in that space */
};

struct host_endpoint {
    struct host_endpoint *next; /* of the group */
    struct vfio_group *group;
    char name[HOST_DEVICE_NAME_SIZE];
    struct iommu_options options;
    int device;
    struct lifeline lifeline;
};

struct host_space {
    struct vfio_group *group;
    uint64_t bytes;      /* mapped, in all */
    struct range extent; /* that contains all of them; if there are any */
};

/* Says why an endpoint is refused; returns r. */
static int refuse(char *why, size_t why_size, int r, const char *fmt, ...) PRINTF_LIKE(4, 5);
static int refuse(char *why, size_t why_size, int r, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(why, why_size, fmt, args);
    va_end(args);
    return r;
}

/* --- losing access ---------------------------------------------------------------------------- */

static void close_device(const struct kernel *k, struct host_endpoint *ep)
{
    lifeline_cut(k, &ep->lifeline);
    kernel_close(k, &ep->device);
}

/* With its last file a container forgets everything that it maps. */
static void close_group(struct vfio_group *group)
{
    const struct kernel *k = group->host->k;

    kernel_close(k, &group->file);
    kernel_close(k, &group->container);
}

/* The container cannot be trusted any more. */
static void cut_off(struct vfio_group *group)
{
    const struct kernel *k = group->host->k;

    if (group->cut_off)
        return;
    group->cut_off = true;
    for (struct host_endpoint *ep = group->endpoints; ep; ep = ep->next) {
        log_err("device %s is cut off: reset and closed", ep->name);
        if (ep->device >= 0)
            (void)kernel_ioctl_value(k, ep->device, VFIO_DEVICE_RESET, 0);
        close_device(k, ep);
    }
    if (kernel_ioctl_value(k, group->file, VFIO_GROUP_UNSET_CONTAINER, 0) < 0)
        log_err("group %u: a device file is still open elsewhere; its companion has been told to "
                "end, and until then the device may reach what was mapped",
                group->number);
    close_group(group);
}

/* --- mappings --------------------------------------------------------------------------------- */

static COLD int map_failed(const struct vfio_group *group, struct range iova, int r)
{
    log_guest(&group->host->log_limit, "group %u: cannot map %#" PRIx64 "-%#" PRIx64 ": %s",
              group->number, iova.first, iova.last, strerror(-r));
    return host_map_errno(r);
}

static int dma_map(const struct vfio_group *group, struct range iova, const void *hva,
                   unsigned prot)
{
    struct vfio_iommu_type1_dma_map map = {
        .argsz = sizeof(map),
        .flags = ((prot & HOST_PROT_READ) ? VFIO_DMA_MAP_FLAG_READ : 0u) |
                 ((prot & HOST_PROT_WRITE) ? VFIO_DMA_MAP_FLAG_WRITE : 0u),
        .vaddr = (uintptr_t)hva,
        .iova = iova.first,
        .size = range_size(iova),
    };
    int r = kernel_ioctl(group->host->k, group->container, VFIO_IOMMU_MAP_DMA, &map);

    return LIKELY(r == 0) ? 0 : map_failed(group, iova, r);
}

/* Takes `bytes` mapped bytes within `iova`, which splits no mapping, out, or all access ends. */
static void take_out(struct vfio_group *group, struct range iova, uint64_t bytes)
{
    struct vfio_iommu_type1_dma_unmap unmap = {
        .argsz = sizeof(unmap),
        .iova = iova.first,
        .size = range_size(iova),
    };
    int r;

    /* Whoever unmaps from the first to the last of 2^64 addresses, a size that no argument can
     * carry, unmaps everything. */
    if (unmap.size == 0)
        unmap.flags = VFIO_DMA_UNMAP_FLAG_ALL;
    r = kernel_ioctl(group->host->k, group->container, VFIO_IOMMU_UNMAP_DMA, &unmap);
    if (r == 0 && unmap.size == bytes)
        return;
    if (r < 0)
        log_err("group %u: cannot unmap %#" PRIx64 "-%#" PRIx64 ": %s", group->number, iova.first,
                iova.last, strerror(-r));
    else
        log_err("group %u: unmapped %#" PRIx64 " bytes instead of %#" PRIx64, group->number,
                (uint64_t)unmap.size, bytes);
    cut_off(group);
}

/* --- opening a group -------------------------------------------------------------------------- */

static int open_container(struct vfio_group *group, char *why, size_t why_size)
{
    const struct kernel *k = group->host->k;
    int r = k->ops->open(k->ctx, "/dev/vfio/vfio");

    if (r < 0)
        return refuse(why, why_size, r, "/dev/vfio/vfio: %s (is the module vfio loaded?)",
                      strerror(-r));
    group->container = r;
    r = kernel_ioctl_value(k, group->container, VFIO_GET_API_VERSION, 0);
    if (r != VFIO_API_VERSION)
        return refuse(why, why_size, r < 0 ? r : -EPROTO, "VFIO has an unknown version");
    r = kernel_ioctl_value(k, group->container, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU);
    if (r <= 0)
        return refuse(why, why_size, r < 0 ? r : -EOPNOTSUPP,
                      "VFIO has no type1 version 2 (is the module vfio_iommu_type1 loaded?)");
    return 0;
}

static int open_file(struct vfio_group *group, char *why, size_t why_size)
{
    const struct kernel *k = group->host->k;
    struct vfio_group_status status = {.argsz = sizeof(status)};
    char path[HOST_PATH_SIZE];
    int r;

    snprintf(path, sizeof(path), "/dev/vfio/%u", group->number);
    r = k->ops->open(k->ctx, path);
    if (r < 0)
        return refuse(why, why_size, r, "%s: %s (%s)", path, strerror(-r),
                      r == -EBUSY ? "another program has the group"
                                  : "is the device bound to vfio-pci, or its mdev driver loaded?");
    group->file = r;
    r = kernel_ioctl(k, group->file, VFIO_GROUP_GET_STATUS, &status);
    if (r < 0)
        return refuse(why, why_size, r, "group %u: %s", group->number, strerror(-r));
    if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE))
        return refuse(why, why_size, -EPERM,
                      "group %u has a device that another driver of the host uses", group->number);
    return 0;
}

static int join_container(struct vfio_group *group, char *why, size_t why_size)
{
    const struct kernel *k = group->host->k;
    int container = group->container;
    int r = kernel_ioctl(k, group->file, VFIO_GROUP_SET_CONTAINER, &container);

    if (r < 0)
        return refuse(why, why_size, r, "group %u cannot enter a container: %s", group->number,
                      strerror(-r));
    r = kernel_ioctl_value(k, group->container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU);
    if (r < 0)
        return refuse(why, why_size, r, "group %u: type1 cannot be set: %s%s", group->number,
                      strerror(-r),
                      r == -EPERM ? " (no interrupt remapping? then only the parameter "
                                    "allow_unsafe_interrupts of vfio_iommu_type1 allows it)"
                                  : "");
    return 0;
}

static int open_group_files(struct vfio_group *group, char *why, size_t why_size)
{
    int r = open_container(group, why, why_size);

    if (r == 0)
        r = open_file(group, why, why_size);
    if (r == 0)
        r = join_container(group, why, why_size);
    if (r < 0)
        close_group(group);
    return r;
}

static int open_device(struct host_endpoint *ep, char *why, size_t why_size)
{
    int r = kernel_ioctl(ep->group->host->k, ep->group->file, VFIO_GROUP_GET_DEVICE_FD, ep->name);

    if (r < 0)
        return refuse(why, why_size, r, "%s cannot be opened: %s", ep->name, strerror(-r));
    ep->device = r;
    return 0;
}

/* --- what the container can do ---------------------------------------------------------------- */

/* The whole of a growing struct; NULL with -errno in *r_out. */
static struct vfio_iommu_type1_info *read_info(const struct vfio_group *group, int *r_out)
{
    struct vfio_iommu_type1_info head = {.argsz = sizeof(head)};
    struct vfio_iommu_type1_info *info;
    uint32_t size;

    *r_out = kernel_ioctl(group->host->k, group->container, VFIO_IOMMU_GET_INFO, &head);
    if (*r_out < 0)
        return NULL;
    size = head.argsz > sizeof(head) ? head.argsz : (uint32_t)sizeof(head);
    *r_out = -EPROTO;
    if (size > INFO_SIZE_MAX)
        return NULL;
    info = calloc(1, size);
    *r_out = -ENOMEM;
    if (!info)
        return NULL;
    info->argsz = size;
    *r_out = kernel_ioctl(group->host->k, group->container, VFIO_IOMMU_GET_INFO, info);
    if (*r_out == 0 && info->argsz > size)
        *r_out = -EAGAIN; /* it grew in between: somebody else has the container */
    if (*r_out < 0) {
        free(info);
        return NULL;
    }
    info->argsz = size;
    return info;
}

/* A capability of at least `size` bytes, *room_out bytes from its start to the end; or NULL. */
static const void *find_cap(const struct vfio_iommu_type1_info *info, uint16_t id, size_t size,
                            size_t *room_out)
{
    const uint8_t *base = (const uint8_t *)info;
    struct vfio_info_cap_header header;
    uint32_t at = (info->flags & VFIO_IOMMU_INFO_CAPS) ? info->cap_offset : 0;

    while (at >= sizeof(*info) && at % 8 == 0 && at < info->argsz &&
           info->argsz - at >= sizeof(header)) {
        memcpy(&header, base + at, sizeof(header));
        *room_out = info->argsz - at;
        if (header.id == id && *room_out >= size)
            return base + at;
        /* Forward only, so that the chain ends. */
        if (header.next <= at)
            break;
        at = header.next;
    }
    return NULL;
}

/* How many mappings the container still takes; 0: not told, or none. */
static size_t entries_left(const struct vfio_iommu_type1_info *info)
{
    const struct vfio_iommu_type1_info_dma_avail *avail;
    size_t room;

    avail = find_cap(info, VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, sizeof(*avail), &room);
    return avail ? avail->avail : 0;
}

static int read_entries_left(const struct vfio_group *group, size_t *left_out)
{
    cleanup_free struct vfio_iommu_type1_info *info = NULL;
    int r;

    info = read_info(group, &r);
    if (info)
        *left_out = entries_left(info);
    return r;
}

/* The translatable ranges; the whole of 2^64 when the kernel names none (emulated groups). */
static int take_ranges(struct vfio_group *group, const struct vfio_iommu_type1_info *info)
{
    const struct vfio_iommu_type1_info_cap_iova_range *cap;
    struct range ranges[MAX_RANGES] = {{0, UINT64_MAX}};
    size_t n = 1, room = 0;

    cap = find_cap(info, VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, sizeof(*cap), &room);
    if (cap) {
        n = cap->nr_iovas;
        if (n > MAX_RANGES || n > (room - sizeof(*cap)) / sizeof(cap->iova_ranges[0]))
            return -E2BIG;
        for (size_t i = 0; i < n; i++)
            ranges[i] = (struct range){cap->iova_ranges[i].start, cap->iova_ranges[i].end};
    }
    return host_resv_add_holes(&group->resv, ranges, n, &group->aperture);
}

static int describe(struct vfio_group *group, char *why, size_t why_size)
{
    cleanup_free struct vfio_iommu_type1_info *info = NULL;
    int r;

    r = host_resv_read(group->host->k, group->number, &group->resv, why, why_size);
    if (r < 0)
        return r;
    info = read_info(group, &r);
    if (!info)
        return refuse(why, why_size, r, "group %u: what its IOMMU can do is not told: %s",
                      group->number, strerror(-r));
    /* The smallest page that the interface knows is this system's. */
    group->page_sizes = (info->flags & VFIO_IOMMU_INFO_PGSIZES) && info->iova_pgsizes
                            ? info->iova_pgsizes
                            : -(uint64_t)sysconf(_SC_PAGESIZE);
    group->max_entries = entries_left(info);
    r = take_ranges(group, info);
    if (r < 0)
        return refuse(why, why_size, r, "group %u: the IOVA ranges of its IOMMU make no sense",
                      group->number);
    return 0;
}

/* --- groups and endpoints --------------------------------------------------------------------- */

static struct vfio_group *find_group(const struct iommu_host *host, unsigned number)
{
    struct vfio_group *group = host->groups;

    while (group && group->number != number)
        group = group->next;
    return group;
}

static void free_group(struct vfio_group *group)
{
    for (struct vfio_group **at = &group->host->groups; *at; at = &(*at)->next) {
        if (*at == group) {
            *at = group->next;
            break;
        }
    }
    close_group(group);
    free(group);
}

static int new_group(struct iommu_host *host, const struct host_device *dev,
                     struct vfio_group **out, char *why, size_t why_size)
{
    struct vfio_group *group = calloc(1, sizeof(*group));
    int r;

    if (!group)
        return refuse(why, why_size, -ENOMEM, "out of memory");
    group->host = host;
    group->number = dev->group;
    group->emulated = dev->emulated;
    group->container = group->file = -1;
    r = open_group_files(group, why, why_size);
    if (r == 0)
        r = describe(group, why, why_size);
    if (r < 0) {
        close_group(group);
        free(group);
        return r;
    }
    group->next = host->groups;
    host->groups = group;
    *out = group;
    return 0;
}

/* A group that was cut off gets another chance when an endpoint of it is attached anew. */
static int revive(struct vfio_group *group)
{
    char why[256] = "";
    int r = open_group_files(group, why, sizeof(why));

    for (struct host_endpoint *ep = group->endpoints; ep && r == 0; ep = ep->next)
        r = open_device(ep, why, sizeof(why));
    if (r < 0) {
        log_guest(&group->host->log_limit, "group %u stays cut off: %s", group->number, why);
        for (struct host_endpoint *ep = group->endpoints; ep; ep = ep->next)
            close_device(group->host->k, ep);
        close_group(group);
        return -EIO;
    }
    group->cut_off = false;
    return 0;
}

#define LEAK_TEXT                                                                            \
    "this kernel maps grants into placeholder pages (Xen scratch in /proc/iomem), which "    \
    "VFIO type1 never unpins: the guest could not take its pages back. Use driver=iommufd, " \
    "or a kernel without CONFIG_XEN_UNPOPULATED_ALLOC, or allow it with unsafe-pin-leak=1"

/* A mediated device has no IOMMU behind it, so that type1 pins nothing for it. */
static bool leaks(const struct vfio_group *group, const struct iommu_options *options)
{
    return !group->emulated && !options->unsafe_pin_leak && host_pins_leak(group->host->k);
}

static int vfio_open(struct iommu_host *host, const char *device,
                     const struct iommu_options *options, struct host_endpoint **out, char *why,
                     size_t why_size)
{
    struct vfio_group *group;
    struct host_endpoint *ep;
    struct host_device dev;
    int r = host_device_find(host->k, device, &dev, why, why_size);

    if (r < 0)
        return r;
    ep = calloc(1, sizeof(*ep));
    if (!ep)
        return refuse(why, why_size, -ENOMEM, "out of memory");
    group = find_group(host, dev.group);
    if (!group)
        r = new_group(host, &dev, &group, why, why_size);
    else if (group->cut_off)
        r = refuse(why, why_size, -EIO, "group %u is cut off", group->number);
    if (r < 0)
        goto free_ep;
    *ep = (struct host_endpoint){
        .group = group, .options = *options, .device = -1, .lifeline = LIFELINE_NONE};
    memcpy(ep->name, dev.name, sizeof(ep->name));
    r = leaks(group, options) ? refuse(why, why_size, -EOPNOTSUPP, "%s", LEAK_TEXT)
                              : open_device(ep, why, why_size);
    if (r < 0)
        goto drop_group;
    ep->next = group->endpoints;
    group->endpoints = ep;
    *out = ep;
    return 0;

drop_group:
    if (!group->endpoints)
        free_group(group);
free_ep:
    free(ep);
    return r;
}

static void vfio_close(struct host_endpoint *ep)
{
    struct vfio_group *group;

    if (!ep)
        return;
    group = ep->group;
    for (struct host_endpoint **at = &group->endpoints; *at; at = &(*at)->next) {
        if (*at == ep) {
            *at = ep->next;
            break;
        }
    }
    close_device(group->host->k, ep);
    if (!group->endpoints)
        free_group(group);
    free(ep);
}

static int vfio_host_new(const struct kernel *k, struct iommu_host **out, char *why,
                         size_t why_size)
{
    struct iommu_host *host = calloc(1, sizeof(*host));

    if (!host)
        return refuse(why, why_size, -ENOMEM, "out of memory");
    host->k = k;
    host->log_limit = (struct ratelimit)RATELIMIT_INIT(LOG_BURST, LOG_INTERVAL_MS);
    *out = host;
    return 0;
}

static struct iommu_host *vfio_host_free(struct iommu_host *host)
{
    free(host);
    return NULL;
}

static bool vfio_usable(const struct kernel *k, const char *device)
{
    struct host_device dev;
    char why[256];

    return host_device_find(k, device, &dev, why, sizeof(why)) == 0;
}

static void vfio_limits(const struct host_endpoint *ep, struct iommu_limits *out)
{
    const struct vfio_group *group = ep->group;

    *out = (struct iommu_limits){
        .page_size_mask = group->page_sizes,
        .aperture = group->aperture,
        .resv = group->resv.regions,
        .n_resv = group->resv.n,
    };
}

static void vfio_status(const struct host_endpoint *ep, struct iommu_status *out)
{
    const struct vfio_group *group = ep->group;
    size_t left = 0;

    *out = (struct iommu_status){.group = group->number, .cut_off = group->cut_off};
    if (!group->cut_off && group->max_entries > 0 && read_entries_left(group, &left) == 0) {
        out->counted = true;
        out->entries = left < group->max_entries ? group->max_entries - left : 0;
        out->entries_max = group->max_entries;
    }
    if (!group->cut_off)
        snprintf(out->space, sizeof(out->space), "type1 container of group %u", group->number);
}

static int vfio_companion_fds(struct host_endpoint *ep, int fds[IOMMU_N_FDS])
{
    int r;

    if (ep->device < 0)
        return -ENODEV;
    r = lifeline_open(ep->group->host->k, &ep->lifeline);
    if (r < 0)
        return r;
    fds[IOMMU_FD_DEVICE] = ep->device;
    fds[IOMMU_FD_LIFELINE] = ep->lifeline.theirs;
    return 0;
}

/* --- spaces: the contract with the device core ------------------------------------------------ */

static int space_new(struct host_endpoint *ep, struct host_space **out)
{
    struct host_space *space = calloc(1, sizeof(*space));

    if (!space)
        return -ENOMEM;
    space->group = ep->group;
    *out = space;
    return 0;
}

static void space_free(struct host_space *space)
{
    free(space);
}

/* The first endpoint in: the group is in no space, its container is empty. */
static int enter_container(struct host_space *space, const struct host_endpoint *ep)
{
    struct vfio_group *group = space->group;
    int r = group->cut_off ? revive(group) : 0;

    if (r < 0)
        return r;
    /* Asked again, because the placeholders may have come with this guest's rings. */
    if (leaks(group, &ep->options)) {
        log_guest(&group->host->log_limit, "device %s not attached: %s", ep->name, LEAK_TEXT);
        return -EOPNOTSUPP;
    }
    group->space = space;
    return 0;
}

static int space_attach(struct host_space *space, struct host_endpoint *ep)
{
    struct vfio_group *group = ep->group;
    int r = 0;

    if (space->group != group)
        return -EXDEV;
    if (group->space && group->space != space)
        return -EBUSY;
    if (!group->space)
        r = enter_container(space, ep);
    else if (group->cut_off)
        r = -EIO;
    if (r == 0)
        group->n_inside++;
    return r;
}

static void space_detach(struct host_space *space, struct host_endpoint *ep)
{
    struct vfio_group *group = ep->group;

    /* The rest of the group still needs the mappings: a group is not isolated within itself. */
    if (--group->n_inside > 0)
        return;
    if (space->bytes > 0 && !group->cut_off)
        take_out(group, space->extent, space->bytes);
    space->bytes = 0;
    group->space = NULL;
}

static HOT int space_map(struct host_space *space, struct range iova,
                         const struct map_source *source, unsigned prot)
{
    int r = space->group->cut_off ? -EIO : dma_map(space->group, iova, source->hva, prot);

    if (r < 0)
        return r;
    space->extent = space->bytes == 0 ? iova : range_hull(space->extent, iova);
    space->bytes += range_size(iova);
    return 0;
}

static HOT void space_unmap(struct host_space *space, struct range iova, uint64_t bytes)
{
    if (!space->group->cut_off)
        take_out(space->group, iova, bytes);
    space->bytes -= bytes;
}

static const struct host_iommu_ops vfio_ops = {
    .name = "vfio",
    .source = MAP_SOURCE_HVA,
    .forgets = true,
    .space_new = space_new,
    .space_free = space_free,
    .attach = space_attach,
    .detach = space_detach,
    .map = space_map,
    .unmap = space_unmap,
};

const struct iommu_driver vfio_driver = {
    .ops = &vfio_ops,
    .caps = 0,
    .host_new = vfio_host_new,
    .host_free = vfio_host_free,
    .usable = vfio_usable,
    .open = vfio_open,
    .close = vfio_close,
    .limits = vfio_limits,
    .status = vfio_status,
    .companion_fds = vfio_companion_fds,
};
