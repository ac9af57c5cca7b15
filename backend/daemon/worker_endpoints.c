/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Endpoints of a worker's device: from the text of an administrator's node, through the table of
 * endpoint drivers, to the device core. A driver that this program lacks is refused by name.
 */
#include <config.h>

#include "backend/daemon/worker_priv.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "backend/iommu/host_device.h"
#include "backend/iommu/iommufd.h"
#include "backend/iommu/soft.h"
#include "backend/iommu/vfio.h"

/* Interrupt messages of x86 are writes to this window (docs/protocol.md, 8). */
static const struct viommu_resv x86_msi_window = {
    .range = {0xfee00000, 0xfeefffff},
    .subtype = VIOMMU_RESV_MEM_T_MSI,
};
#if defined(__x86_64__) || defined(__i386__)
#define HAVE_X86_MSI true
#else
#define HAVE_X86_MSI false
#endif

#define WHY_SIZE 256

static const struct iommu_driver soft_driver = {.ops = &soft_iommu_ops, .caps = SOFT_IOMMU_CAPS};

/* The endpoint drivers that are built in. CONFIG_DRIVER_AUTO is one of the others. */
static const struct iommu_driver *const drivers[WORKER_N_DRIVERS] = {
    [CONFIG_DRIVER_SOFT] = &soft_driver,
    [CONFIG_DRIVER_VFIO] = &vfio_driver,
    [CONFIG_DRIVER_IOMMUFD] = &iommufd_driver,
};

struct worker_endpoint {
    struct config_endpoint config;
    const struct iommu_driver *driver;
    struct host_endpoint *host; /* NULL: the driver needs none */
    bool reset;                 /* the kernel has reset its device behind the guest's back */
};

/* --- opening ---------------------------------------------------------------------------------- */

static const struct iommu_driver *find_driver(enum config_driver driver)
{
    return (size_t)driver < ARRAY_SIZE(drivers) ? drivers[driver] : NULL;
}

/* The kernel unpins symmetrically behind iommufd and moves endpoints without replay: it is first.
 */
static enum config_driver resolve_driver(const struct config_endpoint *ep)
{
    const struct iommu_driver *iommufd = find_driver(CONFIG_DRIVER_IOMMUFD);

    if (ep->driver != CONFIG_DRIVER_AUTO)
        return ep->driver;
    return iommufd && iommufd->usable(&kernel_host, ep->device) ? CONFIG_DRIVER_IOMMUFD
                                                                : CONFIG_DRIVER_VFIO;
}

static int open_host(struct worker *w, struct worker_endpoint *ep, char *why, size_t why_size)
{
    enum config_driver number = resolve_driver(&ep->config);
    const struct iommu_options options = {.unsafe_pin_leak = ep->config.unsafe_pin_leak};
    const struct iommu_driver *driver = find_driver(number);
    char text[WHY_SIZE] = "";
    int r = 0;

    if (!driver) {
        snprintf(why, why_size, "endpoint %#x: driver %s is not built in", ep->config.id,
                 config_driver_name(number));
        return -EOPNOTSUPP;
    }
    ep->driver = driver;
    if (!driver->open)
        return 0;
    if (!w->hosts[number])
        r = driver->host_new(&kernel_host, &w->hosts[number], text, sizeof(text));
    if (r == 0)
        r = driver->open(w->hosts[number], ep->config.device, &options, &ep->host, text,
                         sizeof(text));
    if (r < 0)
        snprintf(why, why_size, "endpoint %#x: %s", ep->config.id, text);
    return r;
}

static void free_endpoint(struct worker_endpoint *ep)
{
    if (ep && ep->host)
        ep->driver->close(ep->host);
    free(ep);
}

/* --- limits ----------------------------------------------------------------------------------- */

#define MAX_RESV \
    (HOST_DEVICE_MAX_RESV > CONFIG_MAX_RESV ? HOST_DEVICE_MAX_RESV + 1 : CONFIG_MAX_RESV + 1)

static size_t soft_resv(const struct config_endpoint *ep, struct viommu_resv out[MAX_RESV])
{
    size_t n = 0;

    for (size_t i = 0; i < ep->n_resv; i++)
        out[n++] = (struct viommu_resv){ep->resv[i].range, ep->resv[i].msi
                                                               ? VIOMMU_RESV_MEM_T_MSI
                                                               : VIOMMU_RESV_MEM_T_RESERVED};
    if (ep->msi && HAVE_X86_MSI)
        out[n++] = x86_msi_window;
    return n;
}

/* An emulated device has no window of its own, but its guest is a machine that has one. */
static size_t host_resv(const struct iommu_limits *limits, struct viommu_resv out[MAX_RESV])
{
    bool window = HAVE_X86_MSI;
    size_t n = 0;

    for (; n < limits->n_resv && n < MAX_RESV - 1; n++) {
        out[n] = limits->resv[n];
        window = window && out[n].subtype != VIOMMU_RESV_MEM_T_MSI &&
                 !range_overlaps(out[n].range, x86_msi_window.range);
    }
    if (window)
        out[n++] = x86_msi_window;
    return n;
}

static void describe(const struct worker_endpoint *ep, struct viommu_endpoint_config *config,
                     struct viommu_resv resv[MAX_RESV])
{
    struct iommu_limits limits = {.aperture = {0, UINT64_MAX}};

    if (ep->host)
        ep->driver->limits(ep->host, &limits);
    *config = (struct viommu_endpoint_config){
        .id = ep->config.id,
        .ops = ep->driver->ops,
        .host = ep->host,
        .caps = ep->driver->caps,
        .page_size_mask = limits.page_size_mask,
        .aperture = limits.aperture,
        .resv = resv,
        .n_resv = ep->host ? host_resv(&limits, resv) : soft_resv(&ep->config, resv),
    };
}

static bool same_offer(const struct viommu_config *a, const struct viommu_config *b)
{
    return a->features == b->features && a->page_size_mask == b->page_size_mask &&
           a->input_range.first == b->input_range.first &&
           a->input_range.last == b->input_range.last;
}

/*
 * Until a frontend connects, the device follows what its endpoints can do; what the administrator
 * has set by hand stays as it is (docs/protocol.md, 8). If the offer was made already, it has to
 * be made anew.
 */
static int adapt_device(struct worker *w, const struct viommu_endpoint_config *config,
                        const char **reason_out)
{
    struct viommu *v = device_viommu(w->device);
    struct viommu_config before = *viommu_config(v);
    struct viommu_endpoint_config wish = *config;
    int r;

    /* A guest has built on it already; in a successor, one that it does not know of yet. */
    if (device_connected(w->device) || w->may_recover)
        return 0;
    if (config_has(&w->given, CONFIG_MMIO))
        wish.caps |= (unsigned)HOST_CAP_MMIO;
    if (config_has(&w->given, CONFIG_BYPASS_CONFIG))
        wish.caps |= (unsigned)HOST_CAP_BYPASS;
    if (config_has(&w->given, CONFIG_PAGE_SIZE_MASK))
        wish.page_size_mask = 0;
    if (config_has(&w->given, CONFIG_INPUT_RANGE))
        wish.aperture = (struct range){0, UINT64_MAX};
    r = viommu_adapt(v, &wish, reason_out);
    if (r == 0 && w->offered && !same_offer(&before, viommu_config(v)))
        w->offer_stale = true;
    return r;
}

static int add_to_device(struct worker *w, const struct worker_endpoint *ep, char *why,
                         size_t why_size)
{
    struct viommu_resv resv[MAX_RESV];
    struct viommu_endpoint_config config;
    const char *reason = NULL;
    int r;

    describe(ep, &config, resv);
    r = adapt_device(w, &config, &reason);
    if (r == 0)
        r = viommu_endpoint_add(device_viommu(w->device), &config, &reason);
    if (r == 0)
        return 0;
    if (r == -EEXIST)
        reason = "there is an endpoint with that id";
    snprintf(why, why_size, "endpoint %#x: %s", config.id, reason ? reason : strerror(-r));
    return r;
}

/* --- adding and removing ---------------------------------------------------------------------- */

int worker_endpoint_add(struct worker *w, const char *text, char *why, size_t why_size)
{
    struct worker_endpoint *ep = calloc(1, sizeof(*ep));
    char parse_why[CONFIG_WHY_SIZE] = "";
    int r;

    if (!ep) {
        snprintf(why, why_size, "out of memory");
        return -ENOMEM;
    }
    r = config_endpoint_parse(NULL, text, &ep->config, parse_why);
    if (r < 0) {
        snprintf(why, why_size, "%s", parse_why);
        goto fail;
    }
    r = idmap_put(w->endpoints, ep->config.id, ep);
    if (r < 0) {
        snprintf(why, why_size, "endpoint %#x: %s", ep->config.id,
                 r == -EEXIST ? "there is an endpoint with that id" : strerror(-r));
        goto fail;
    }
    r = open_host(w, ep, why, why_size);
    if (r == 0)
        r = add_to_device(w, ep, why, why_size);
    if (r == 0)
        return 0;
    (void)idmap_remove(w->endpoints, ep->config.id);
fail:
    free_endpoint(ep);
    return r;
}

int worker_endpoint_remove(struct worker *w, uint32_t id)
{
    int r;

    /* The windows of a vdomain that ends with it go at once. */
    gmem_begin(device_gmem(w->device));
    r = viommu_endpoint_remove(device_viommu(w->device), id);
    gmem_end(device_gmem(w->device));
    if (r == 0)
        free_endpoint(idmap_remove(w->endpoints, id));
    return r;
}

void worker_endpoints_clear(struct worker *w)
{
    uint32_t id = 0;

    while (w->endpoints && idmap_next(w->endpoints, &id)) {
        if (w->device)
            (void)!viommu_endpoint_remove(device_viommu(w->device), id);
        free_endpoint(idmap_remove(w->endpoints, id));
    }
    for (size_t i = 0; i < ARRAY_SIZE(drivers); i++) {
        if (w->hosts[i])
            w->hosts[i] = drivers[i]->host_free(w->hosts[i]);
    }
}

/* --- looking ---------------------------------------------------------------------------------- */

const struct config_endpoint *worker_endpoint(const struct worker *w, uint32_t id)
{
    const struct worker_endpoint *ep = idmap_get(w->endpoints, id);

    return ep ? &ep->config : NULL;
}

bool worker_endpoint_status(const struct worker *w, uint32_t id, struct iommu_status *out)
{
    const struct worker_endpoint *ep = idmap_get(w->endpoints, id);

    if (!ep || !ep->host)
        return false;
    ep->driver->status(ep->host, out);
    return true;
}

static void endpoint_was_reset(uint32_t id, void *obj, void *ctx)
{
    const struct worker *w = ctx;
    struct worker_endpoint *ep = obj;
    const struct viommu_fault fault = {.reason = VIOMMU_FAULT_R_UNKNOWN, .endpoint = id};

    if (!ep->host)
        return;
    ep->reset = true;
    (void)viommu_report_fault(device_viommu(w->device), &fault);
}

void worker_endpoints_were_reset(struct worker *w)
{
    idmap_for_each(w->endpoints, endpoint_was_reset, w);
}

bool worker_endpoint_was_reset(const struct worker *w, uint32_t id)
{
    const struct worker_endpoint *ep = idmap_get(w->endpoints, id);

    return ep && ep->reset;
}

int worker_companion_fds(const struct worker *w, uint32_t id, int fds[IOMMU_N_FDS])
{
    const struct worker_endpoint *ep = idmap_get(w->endpoints, id);

    if (!ep)
        return -ENOENT;
    return ep->host ? ep->driver->companion_fds(ep->host, fds) : -EOPNOTSUPP;
}

void worker_endpoints_summary(const struct worker *w, char out[CONFIG_SUMMARY_SIZE])
{
    const struct worker_endpoint *ep;
    uint32_t id = 0;

    out[0] = '\0';
    while ((ep = idmap_next(w->endpoints, &id)) != NULL) {
        if (!config_summary_add(out, &ep->config) || id == UINT32_MAX)
            return;
        id++;
    }
}
