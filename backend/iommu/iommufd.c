/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * iommufd and VFIO cdevs.
 *
 * The kernel keeps an IOAS' mappings whether or not a device is attached, so a space here is no
 * more than a number and a count. Two things are this file's own: the rule that a group's endpoints
 * are in one IOAS at a time (the kernel's answer to a breach is a plain EINVAL), and what
 * happens when the kernel does not let go: the endpoints concerned are cut off.
 */
#include <config.h>

#include "backend/iommu/iommufd.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/vfio.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#ifdef HAVE_LINUX_IOMMUFD_H
#include <linux/iommufd.h>
#endif

#include "backend/iommu/host_device.h"
#include "backend/iommu/iommufd_uapi.h"
#include "common/log.h"

#ifdef HAVE_LINUX_IOMMUFD_H
#define SAME_FIELD(a, x, b, y) _Static_assert(offsetof(a, x) == offsetof(b, y), #a "." #x)
_Static_assert(UFD_DESTROY == IOMMU_DESTROY && UFD_IOAS_ALLOC == IOMMU_IOAS_ALLOC &&
                   UFD_IOAS_IOVA_RANGES == IOMMU_IOAS_IOVA_RANGES &&
                   UFD_IOAS_MAP == IOMMU_IOAS_MAP && UFD_IOAS_UNMAP == IOMMU_IOAS_UNMAP,
               "request numbers");
_Static_assert(UFD_MAP_FIXED_IOVA == IOMMU_IOAS_MAP_FIXED_IOVA &&
                   UFD_MAP_WRITEABLE == IOMMU_IOAS_MAP_WRITEABLE &&
                   UFD_MAP_READABLE == IOMMU_IOAS_MAP_READABLE,
               "flags");
_Static_assert(sizeof(struct ufd_destroy) == sizeof(struct iommu_destroy) &&
                   sizeof(struct ufd_ioas_alloc) == sizeof(struct iommu_ioas_alloc) &&
                   sizeof(struct ufd_iova_range) == sizeof(struct iommu_iova_range) &&
                   sizeof(struct ufd_ioas_iova_ranges) == sizeof(struct iommu_ioas_iova_ranges) &&
                   sizeof(struct ufd_ioas_map) == sizeof(struct iommu_ioas_map) &&
                   sizeof(struct ufd_ioas_unmap) == sizeof(struct iommu_ioas_unmap),
               "sizes");
SAME_FIELD(struct ufd_ioas_alloc, out_ioas_id, struct iommu_ioas_alloc, out_ioas_id);
SAME_FIELD(struct ufd_ioas_iova_ranges, num_iovas, struct iommu_ioas_iova_ranges, num_iovas);
SAME_FIELD(struct ufd_ioas_iova_ranges, allowed_iovas, struct iommu_ioas_iova_ranges,
           allowed_iovas);
SAME_FIELD(struct ufd_ioas_map, ioas_id, struct iommu_ioas_map, ioas_id);
SAME_FIELD(struct ufd_ioas_map, user_va, struct iommu_ioas_map, user_va);
SAME_FIELD(struct ufd_ioas_map, length, struct iommu_ioas_map, length);
SAME_FIELD(struct ufd_ioas_map, iova, struct iommu_ioas_map, iova);
SAME_FIELD(struct ufd_ioas_unmap, iova, struct iommu_ioas_unmap, iova);
SAME_FIELD(struct ufd_ioas_unmap, length, struct iommu_ioas_unmap, length);
#endif
/* The kernel's VFIO structs may grow; ours are their beginnings. */
#ifdef VFIO_DEVICE_BIND_IOMMUFD
_Static_assert(UFD_VFIO_BIND == VFIO_DEVICE_BIND_IOMMUFD &&
                   UFD_VFIO_ATTACH == VFIO_DEVICE_ATTACH_IOMMUFD_PT &&
                   UFD_VFIO_DETACH == VFIO_DEVICE_DETACH_IOMMUFD_PT,
               "request numbers");
_Static_assert(offsetof(struct ufd_vfio_bind, iommufd) ==
                       offsetof(struct vfio_device_bind_iommufd, iommufd) &&
                   offsetof(struct ufd_vfio_bind, out_devid) ==
                       offsetof(struct vfio_device_bind_iommufd, out_devid) &&
                   offsetof(struct ufd_vfio_attach, pt_id) ==
                       offsetof(struct vfio_device_attach_iommufd_pt, pt_id),
               "fields");
#endif

#define DEV_IOMMU  "/dev/iommu"
#define MAX_RANGES 64u

/* A host that fails can be made to fail again and again by a guest. */
#define LOG_BURST       10
#define LOG_INTERVAL_MS 10000

struct iommu_host {
    const struct kernel *k;
    struct ratelimit log_limit;
    int iommufd;
    struct host_endpoint *endpoints;
};

struct host_endpoint {
    struct host_endpoint *next;
    struct iommu_host *host;
    struct host_device dev;
    int device; /* -1: cut off */
    struct lifeline lifeline;
    struct host_space *space;
    uint64_t alignment;
    struct range aperture;
    struct host_resv resv;
};

struct host_space {
    struct iommu_host *host;
    uint32_t ioas;
    size_t n_endpoints;
    bool cut_off; /* what it maps is not certain: nobody is attached to it any more */
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

/* --- calls ------------------------------------------------------------------------------------ */

static int ioas_new(const struct iommu_host *host, uint32_t *ioas_out)
{
    struct ufd_ioas_alloc alloc = {.size = sizeof(alloc)};
    int r = kernel_ioctl(host->k, host->iommufd, UFD_IOAS_ALLOC, &alloc);

    if (r == 0)
        *ioas_out = alloc.out_ioas_id;
    return r;
}

static void ioas_free(const struct iommu_host *host, uint32_t ioas)
{
    struct ufd_destroy destroy = {.size = sizeof(destroy), .id = ioas};
    int r = kernel_ioctl(host->k, host->iommufd, UFD_DESTROY, &destroy);

    if (r < 0)
        log_err("iommufd: IOAS %" PRIu32 " cannot be destroyed: %s", ioas, strerror(-r));
}

static int ioctl_attach(const struct host_endpoint *ep, uint32_t ioas)
{
    struct ufd_vfio_attach attach = {.argsz = sizeof(attach), .pt_id = ioas};

    return kernel_ioctl(ep->host->k, ep->device, UFD_VFIO_ATTACH, &attach);
}

static int ioctl_detach(const struct host_endpoint *ep)
{
    struct ufd_vfio_detach detach = {.argsz = sizeof(detach)};

    return kernel_ioctl(ep->host->k, ep->device, UFD_VFIO_DETACH, &detach);
}

/* --- losing access ---------------------------------------------------------------------------- */

static void close_device(struct host_endpoint *ep)
{
    lifeline_cut(ep->host->k, &ep->lifeline);
    kernel_close(ep->host->k, &ep->device);
}

static void cut_off(struct host_endpoint *ep)
{
    log_err("device %s is cut off: reset and closed; a companion that has it open has been told "
            "to end",
            ep->dev.name);
    (void)kernel_ioctl_value(ep->host->k, ep->device, VFIO_DEVICE_RESET, 0);
    close_device(ep);
}

/* Out of its IOAS, one way or the other. */
static void take_out(struct host_endpoint *ep)
{
    int r = ep->device >= 0 ? ioctl_detach(ep) : 0;

    if (r < 0) {
        log_err("device %s cannot be detached: %s", ep->dev.name, strerror(-r));
        cut_off(ep);
    }
}

/* The space may map what its vdomain does not: none of its endpoints may reach it. */
static void cut_off_space(struct host_space *space)
{
    space->cut_off = true;
    log_err("iommufd: IOAS %" PRIu32 " is given up, its endpoints are blocked", space->ioas);
    for (struct host_endpoint *ep = space->host->endpoints; ep; ep = ep->next) {
        if (ep->space == space)
            take_out(ep);
    }
}

/* --- opening ---------------------------------------------------------------------------------- */

static int cdev_path(const struct kernel *k, const struct host_device *dev, char *out, size_t size)
{
    char dir[HOST_PATH_SIZE], name[32];
    int r;

    snprintf(dir, sizeof(dir), "%s/vfio-dev", dev->sysfs);
    r = k->ops->find_name(k->ctx, dir, "vfio", name, sizeof(name));
    if (r == 0)
        snprintf(out, size, "/dev/vfio/devices/%s", name);
    return r;
}

static int open_device(struct host_endpoint *ep, char *why, size_t why_size)
{
    struct ufd_vfio_bind bind = {.argsz = sizeof(bind), .iommufd = ep->host->iommufd};
    const struct kernel *k = ep->host->k;
    char path[HOST_PATH_SIZE];
    int r = cdev_path(k, &ep->dev, path, sizeof(path));

    if (r < 0)
        return refuse(why, why_size, r,
                      "%s has no VFIO character device (is it bound to vfio-pci, and has the "
                      "kernel CONFIG_VFIO_DEVICE_CDEV?)",
                      ep->dev.name);
    r = k->ops->open(k->ctx, path);
    if (r < 0)
        return refuse(why, why_size, r, "%s: %s", path, strerror(-r));
    ep->device = r;
    r = kernel_ioctl(k, ep->device, UFD_VFIO_BIND, &bind);
    if (r < 0) {
        kernel_close(k, &ep->device);
        return refuse(why, why_size, r, "%s cannot be bound to iommufd: %s", ep->dev.name,
                      strerror(-r));
    }
    return 0;
}

/* What an IOAS can map while the endpoint is attached to it. */
static int read_ranges(struct host_endpoint *ep, uint32_t ioas)
{
    struct ufd_iova_range got[MAX_RANGES];
    struct range ranges[MAX_RANGES];
    struct ufd_ioas_iova_ranges query = {
        .size = sizeof(query),
        .ioas_id = ioas,
        .num_iovas = MAX_RANGES,
        .allowed_iovas = (uintptr_t)got,
    };
    int r = kernel_ioctl(ep->host->k, ep->host->iommufd, UFD_IOAS_IOVA_RANGES, &query);

    if (r < 0)
        return r;
    if (query.num_iovas > MAX_RANGES)
        return -E2BIG;
    for (size_t i = 0; i < query.num_iovas; i++)
        ranges[i] = (struct range){got[i].start, got[i].last};
    if (query.out_iova_alignment == 0 ||
        (query.out_iova_alignment & (query.out_iova_alignment - 1)) != 0)
        return -EPROTO;
    ep->alignment = query.out_iova_alignment;
    return host_resv_add_holes(&ep->resv, ranges, query.num_iovas, &ep->aperture);
}

/* The limits depend on the device, so it is attached to an empty IOAS for a moment. */
static int describe(struct host_endpoint *ep, char *why, size_t why_size)
{
    uint32_t ioas = 0;
    int r = host_resv_read(ep->host->k, ep->dev.group, &ep->resv, why, why_size);

    if (r < 0)
        return r;
    r = ioas_new(ep->host, &ioas);
    if (r < 0)
        return refuse(why, why_size, r, "iommufd makes no IOAS: %s", strerror(-r));
    r = ioctl_attach(ep, ioas);
    if (r == 0) {
        r = read_ranges(ep, ioas);
        take_out(ep);
    }
    ioas_free(ep->host, ioas);
    if (r == 0 && ep->device < 0)
        r = -EIO;
    if (r < 0)
        return refuse(why, why_size, r, "what the IOMMU can do for %s is not told: %s",
                      ep->dev.name, strerror(-r));
    return 0;
}

/* A group whose other endpoint is attached cannot be tried out; it has the same limits. */
static const struct host_endpoint *sibling_in_a_space(const struct host_endpoint *ep)
{
    for (const struct host_endpoint *other = ep->host->endpoints; other; other = other->next) {
        if (other != ep && other->dev.group == ep->dev.group && other->space)
            return other;
    }
    return NULL;
}

static int take_limits(struct host_endpoint *ep, char *why, size_t why_size)
{
    const struct host_endpoint *other = sibling_in_a_space(ep);

    if (!other)
        return describe(ep, why, why_size);
    ep->alignment = other->alignment;
    ep->aperture = other->aperture;
    ep->resv = other->resv;
    return 0;
}

static int iommufd_open(struct iommu_host *host, const char *device,
                        const struct iommu_options *options, struct host_endpoint **out, char *why,
                        size_t why_size)
{
    struct host_endpoint *ep = calloc(1, sizeof(*ep));
    int r;

    (void)options;
    if (!ep)
        return refuse(why, why_size, -ENOMEM, "out of memory");
    ep->host = host;
    ep->device = -1;
    ep->lifeline = LIFELINE_NONE;
    r = host_device_find(host->k, device, &ep->dev, why, why_size);
    if (r == 0)
        r = open_device(ep, why, why_size);
    if (r == 0)
        r = take_limits(ep, why, why_size);
    if (r < 0) {
        close_device(ep);
        free(ep);
        return r;
    }
    ep->next = host->endpoints;
    host->endpoints = ep;
    *out = ep;
    return 0;
}

static void iommufd_close(struct host_endpoint *ep)
{
    if (!ep)
        return;
    for (struct host_endpoint **at = &ep->host->endpoints; *at; at = &(*at)->next) {
        if (*at == ep) {
            *at = ep->next;
            break;
        }
    }
    close_device(ep);
    free(ep);
}

static int iommufd_host_new(const struct kernel *k, struct iommu_host **out, char *why,
                            size_t why_size)
{
    struct iommu_host *host = calloc(1, sizeof(*host));
    int r;

    if (!host)
        return refuse(why, why_size, -ENOMEM, "out of memory");
    r = k->ops->open(k->ctx, DEV_IOMMU);
    if (r < 0) {
        free(host);
        return refuse(why, why_size, r, DEV_IOMMU ": %s (has the kernel CONFIG_IOMMUFD?)",
                      strerror(-r));
    }
    host->k = k;
    host->log_limit = (struct ratelimit)RATELIMIT_INIT(LOG_BURST, LOG_INTERVAL_MS);
    host->iommufd = r;
    *out = host;
    return 0;
}

static struct iommu_host *iommufd_host_free(struct iommu_host *host)
{
    if (host)
        kernel_close(host->k, &host->iommufd);
    free(host);
    return NULL;
}

static bool iommufd_usable(const struct kernel *k, const char *device)
{
    char path[HOST_PATH_SIZE], why[256];
    struct host_device dev;

    return k->ops->exists(k->ctx, DEV_IOMMU) &&
           host_device_find(k, device, &dev, why, sizeof(why)) == 0 &&
           cdev_path(k, &dev, path, sizeof(path)) == 0;
}

static void iommufd_limits(const struct host_endpoint *ep, struct iommu_limits *out)
{
    *out = (struct iommu_limits){
        .page_size_mask = -ep->alignment,
        .aperture = ep->aperture,
        .resv = ep->resv.regions,
        .n_resv = ep->resv.n,
    };
}

static void iommufd_status(const struct host_endpoint *ep, struct iommu_status *out)
{
    *out = (struct iommu_status){
        .group = ep->dev.group,
        .cut_off = ep->device < 0 || (ep->space && ep->space->cut_off),
    };
    if (ep->space)
        snprintf(out->space, sizeof(out->space), "IOAS %" PRIu32, ep->space->ioas);
}

static int iommufd_companion_fds(struct host_endpoint *ep, int fds[IOMMU_N_FDS])
{
    int r;

    if (ep->device < 0)
        return -ENODEV;
    r = lifeline_open(ep->host->k, &ep->lifeline);
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
    int r;

    if (!space)
        return -ENOMEM;
    space->host = ep->host;
    r = ioas_new(ep->host, &space->ioas);
    if (r < 0) {
        free(space);
        return host_map_errno(r);
    }
    *out = space;
    return 0;
}

static void space_free(struct host_space *space)
{
    ioas_free(space->host, space->ioas);
    free(space);
}

static int space_attach(struct host_space *space, struct host_endpoint *ep)
{
    const struct host_endpoint *other = sibling_in_a_space(ep);
    char why[256] = "";
    int r;

    if (other && other->space != space)
        return -EBUSY;
    /* Given up, but not for good: an endpoint that can be had anew gets a space of its own. */
    if (space->cut_off)
        return -EXDEV;
    if (ep->device < 0) {
        r = open_device(ep, why, sizeof(why));
        if (r < 0) {
            log_guest(&ep->host->log_limit, "device %s stays cut off: %s", ep->dev.name, why);
            return -EIO;
        }
    }
    r = ioctl_attach(ep, space->ioas);
    if (r < 0) {
        log_guest(&ep->host->log_limit, "device %s cannot be attached to IOAS %" PRIu32 ": %s",
                  ep->dev.name, space->ioas, strerror(-r));
        /* The IOMMU behind it may differ from that of the endpoints there. */
        return r == -EINVAL && space->n_endpoints > 0 ? -EXDEV : host_map_errno(r);
    }
    ep->space = space;
    space->n_endpoints++;
    return 0;
}

static void space_detach(struct host_space *space, struct host_endpoint *ep)
{
    if (!space->cut_off)
        take_out(ep);
    ep->space = NULL;
    space->n_endpoints--;
}

static HOT int space_map(struct host_space *space, struct range iova,
                         const struct map_source *source, unsigned prot)
{
    struct ufd_ioas_map map = {
        .size = sizeof(map),
        .flags = UFD_MAP_FIXED_IOVA | ((prot & HOST_PROT_READ) ? UFD_MAP_READABLE : 0u) |
                 ((prot & HOST_PROT_WRITE) ? UFD_MAP_WRITEABLE : 0u),
        .ioas_id = space->ioas,
        .user_va = (uintptr_t)source->hva,
        .length = range_size(iova),
        .iova = iova.first,
    };
    int r;

    if (space->cut_off)
        return -EIO;
    r = kernel_ioctl(space->host->k, space->host->iommufd, UFD_IOAS_MAP, &map);
    if (r < 0)
        log_guest(&space->host->log_limit,
                  "IOAS %" PRIu32 ": cannot map %#" PRIx64 "-%#" PRIx64 ": %s", space->ioas,
                  iova.first, iova.last, strerror(-r));
    return host_map_errno(r);
}

static HOT void space_unmap(struct host_space *space, struct range iova, uint64_t bytes)
{
    struct ufd_ioas_unmap unmap = {
        .size = sizeof(unmap),
        .ioas_id = space->ioas,
        .iova = iova.first,
        .length = range_size(iova),
    };
    int r;

    if (space->cut_off)
        return;
    /* The size 2^64 has a spelling of its own here. */
    if (unmap.length == 0)
        unmap.length = UINT64_MAX;
    r = kernel_ioctl(space->host->k, space->host->iommufd, UFD_IOAS_UNMAP, &unmap);
    if (r == 0 && unmap.length == bytes)
        return;
    log_err("IOAS %" PRIu32 ": cannot unmap %#" PRIx64 "-%#" PRIx64 ": %s, %#" PRIx64
            " of %#" PRIx64 " bytes",
            space->ioas, iova.first, iova.last, r < 0 ? strerror(-r) : "short",
            r < 0 ? 0 : (uint64_t)unmap.length, bytes);
    cut_off_space(space);
}

static const struct host_iommu_ops iommufd_ops = {
    .name = "iommufd",
    .source = MAP_SOURCE_HVA,
    .space_new = space_new,
    .space_free = space_free,
    .attach = space_attach,
    .detach = space_detach,
    .map = space_map,
    .unmap = space_unmap,
};

const struct iommu_driver iommufd_driver = {
    .ops = &iommufd_ops,
    .caps = 0,
    .host_new = iommufd_host_new,
    .host_free = iommufd_host_free,
    .usable = iommufd_usable,
    .open = iommufd_open,
    .close = iommufd_close,
    .limits = iommufd_limits,
    .status = iommufd_status,
    .companion_fds = iommufd_companion_fds,
};
