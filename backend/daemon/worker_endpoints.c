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

#include "backend/iommu/soft.h"

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

/* What an endpoint driver brings. A row without ops is a driver that is not built in. */
struct endpoint_driver {
    const struct host_iommu_ops *ops;
    unsigned caps;
};

static const struct endpoint_driver drivers[] = {
    [CONFIG_DRIVER_SOFT] = {.ops = &soft_iommu_ops, .caps = SOFT_IOMMU_CAPS},
};

static const struct endpoint_driver *find_driver(enum config_driver driver)
{
    if ((size_t)driver >= ARRAY_SIZE(drivers) || !drivers[driver].ops)
        return NULL;
    return &drivers[driver];
}

static size_t collect_resv(const struct config_endpoint *ep,
                           struct viommu_resv out[CONFIG_MAX_RESV + 1])
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

static int add_to_device(struct worker *w, const struct config_endpoint *ep,
                         const struct endpoint_driver *driver, char *why, size_t why_size)
{
    struct viommu_resv resv[CONFIG_MAX_RESV + 1];
    const struct viommu_endpoint_config config = {
        .id = ep->id,
        .ops = driver->ops,
        .caps = driver->caps,
        .aperture = {0, UINT64_MAX},
        .resv = resv,
        .n_resv = collect_resv(ep, resv),
    };
    const char *reason = NULL;
    int r = viommu_endpoint_add(device_viommu(w->device), &config, &reason);

    if (r == 0)
        return 0;
    if (r == -EEXIST)
        reason = "there is an endpoint with that id";
    snprintf(why, why_size, "endpoint %#x: %s", ep->id, reason ? reason : strerror(-r));
    return r;
}

int worker_endpoint_add(struct worker *w, const char *text, char *why, size_t why_size)
{
    cleanup_free struct config_endpoint *ep = calloc(1, sizeof(*ep));
    const struct endpoint_driver *driver;
    char parse_why[CONFIG_WHY_SIZE] = "";
    int r;

    if (!ep) {
        snprintf(why, why_size, "out of memory");
        return -ENOMEM;
    }
    r = config_endpoint_parse(NULL, text, ep, parse_why);
    if (r < 0) {
        snprintf(why, why_size, "%s", parse_why);
        return r;
    }
    driver = find_driver(ep->driver);
    if (!driver) {
        snprintf(why, why_size, "endpoint %#x: driver %s is not built in (soft is)", ep->id,
                 config_driver_name(ep->driver));
        return -EOPNOTSUPP;
    }
    r = idmap_put(w->endpoints, ep->id, ep);
    if (r < 0) {
        snprintf(why, why_size, "endpoint %#x: %s", ep->id,
                 r == -EEXIST ? "there is an endpoint with that id" : strerror(-r));
        return r;
    }
    r = add_to_device(w, ep, driver, why, why_size);
    if (r < 0)
        (void)idmap_remove(w->endpoints, ep->id);
    else
        ep = NULL;
    return r;
}

int worker_endpoint_remove(struct worker *w, uint32_t id)
{
    int r = viommu_endpoint_remove(device_viommu(w->device), id);

    if (r == 0)
        free(idmap_remove(w->endpoints, id));
    return r;
}

void worker_endpoints_clear(struct worker *w)
{
    uint32_t id = 0;

    while (w->endpoints && idmap_next(w->endpoints, &id)) {
        if (w->device)
            (void)!viommu_endpoint_remove(device_viommu(w->device), id);
        free(idmap_remove(w->endpoints, id));
    }
}

const struct config_endpoint *worker_endpoint(const struct worker *w, uint32_t id)
{
    return idmap_get(w->endpoints, id);
}

void worker_endpoints_summary(const struct worker *w, char out[CONFIG_SUMMARY_SIZE])
{
    const struct config_endpoint *ep;
    uint32_t id = 0;

    out[0] = '\0';
    while ((ep = idmap_next(w->endpoints, &id)) != NULL) {
        if (!config_summary_add(out, ep) || id == UINT32_MAX)
            return;
        id++;
    }
}
