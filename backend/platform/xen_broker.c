/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The broker's side of Xen's grants: it records what its worker asks for in an open gntdev file,
 * always under the guest's own domid, and the worker maps from the same file. Recording checks
 * nothing; a wrong reference is refused where it is mapped, in the worker.
 */
#include <config.h>

#include "backend/platform/xen_broker.h"

#include <errno.h>
#include <string.h>

#include "backend/platform/xen_gntdev.h"
#include "common/log.h"

struct broker {
    int gntdev;
    uint32_t domid;
};

static int xen_broker_open(struct broker **out, uint32_t domid)
{
    struct broker *b = calloc(1, sizeof(*b));

    if (!b)
        return -ENOMEM;
    b->domid = domid;
    b->gntdev = gntdev_open();
    if (b->gntdev < 0) {
        int r = b->gntdev;

        log_err("cannot open /dev/xen/gntdev (module xen-gntdev): %s", strerror(-r));
        free(b);
        return r;
    }
    *out = b;
    return 0;
}

static void xen_broker_close(struct broker *b)
{
    if (b)
        close(b->gntdev);
    free(b);
}

static int xen_broker_file(struct broker *b)
{
    return b->gntdev;
}

static int xen_broker_map(struct broker *b, const uint32_t *refs, uint32_t n, bool writable,
                          struct broker_window *out, uint32_t *words)
{
    int r = gntdev_record(b->gntdev, b->domid, refs, n, &out->handle);

    (void)writable; /* is decided by the mapping, and by the grant */
    (void)words;
    out->offset = out->handle;
    return r;
}

static int xen_broker_unmap(struct broker *b, uint64_t handle, uint32_t n)
{
    return gntdev_forget(b->gntdev, handle, n);
}

const struct broker_ops xen_broker = {
    .open = xen_broker_open,
    .close = xen_broker_close,
    .file = xen_broker_file,
    .map = xen_broker_map,
    .unmap = xen_broker_unmap,
};
