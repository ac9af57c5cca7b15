/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The hypervisor behind one contract: one guest's memory and event channels. Implementations: xen
 * (libxengnttab, libxenevtchn) and, in test builds only, fakexen. docs/porting.md says how a static
 * platform (seL4 dataports: no revoke, no map cost) fits.
 *
 * A platform is opened by the process that uses it and never crosses a fork.
 */
#ifndef VIOMMU_BACKEND_PLATFORM_PLATFORM_H
#define VIOMMU_BACKEND_PLATFORM_PLATFORM_H

#include "backend/platform/broker.h"
#include "backend/virtio/grants.h"
#include "common/compiler.h"
#include "common/ioctl_list.h"

#include <stdint.h>

struct platform;

/*
 * The same guest with a grant broker (broker.h) between this process and the platform: what a
 * process can map is then up to another one. Event channels stay with the process.
 */
struct platform_brokered {
    /* As open below; `sock` leads to the broker and belongs to the platform on success. */
    int (*open)(struct platform **out, uint32_t domid, int sock);
    const struct grant_ops *grants;
    struct ioctl_list ioctls;
    const struct broker_ops *broker; /* for the other end */
};

struct platform_ops {
    const char *name;

    /* Opens the way to guest `domid`. -errno with a logged reason. */
    int (*open)(struct platform **out, uint32_t domid);

    /* Releases everything that is still mapped or bound. NULL allowed. */
    void (*close)(struct platform *p);

    /* Granted pages; the context of each call is the struct platform. */
    const struct grant_ops *grants;

    /*
     * Binds the port that the guest allocated for us: local port in *port_out, or -errno (-ENOENT,
     * -EPERM: no such port for us).
     */
    int (*bind)(struct platform *p, uint32_t remote_port, uint32_t *port_out);
    void (*unbind)(struct platform *p, uint32_t port);

    /* Notifies the peer. Succeeds also when the peer is gone. */
    int (*notify)(struct platform *p, uint32_t port);

    /* Becomes readable when a port is pending. Owned by the platform, constant. */
    int (*event_fd)(struct platform *p);

    /* Takes one pending port and re-arms it, so that a kick during its handling is not lost.
     * 1, 0 (none pending), -errno. Does not block. */
    int (*next_event)(struct platform *p, uint32_t *port_out);

    /*
     * The ioctls that the functions above make, but for open: whatever open needs is done when the
     * worker's filter comes down. Otherwise a platform lives on what every worker may do
     * (backend/daemon/sandbox_filter.c): memory, epoll, messages on open sockets.
     */
    struct ioctl_list ioctls;

    const struct platform_brokered *brokered; /* NULL: there is no such thing */
};

extern const struct platform_ops platform_xen;
extern const struct platform_ops platform_fakexen; /* test builds only */

#endif
