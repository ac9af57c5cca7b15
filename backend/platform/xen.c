/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The platform contract on Xen: guest memory through gntdev (libxengnttab), event channels through
 * evtchn (libxenevtchn). The guest is hostile: a reference that it did not grant is refused by the
 * hypervisor, and everything that it says by a wrong one comes out as -EFAULT here.
 *
 * gntdev keeps one linear list of live mappings per open file, so callers keep windows few and
 * large (ARCHITECTURE.md, section 3). libxengnttab's mmap retries on EAGAIN for ever: a guest page
 * that its toolstack paged out (mem_paging, which no supported configuration uses) would hang the
 * calling worker, and only that one.
 */
#include <config.h>

#include "backend/platform/platform.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <xen/grant_table.h>
#include <xenevtchn.h>
#include <xengnttab.h>
#include <xentoollog.h>

/* The kernel's own headers, which take their types from those above. */
#include <linux/ioctl.h>
#include <xen/evtchn.h>
#include <xen/gntdev.h>

#include "backend/platform/broker_windows.h"
#include "backend/platform/xen_broker.h"
#include "backend/platform/xen_gntdev.h"
#include "common/log.h"

#define COPY_BATCH 16 /* gntdev itself copies 16 pieces per hypercall */

struct platform {
    struct broker_windows broker;
    struct xentoollog_logger logger; /* the libraries hold a pointer to it */
    struct ratelimit log_limit;
    xengnttab_handle *gnttab; /* NULL with a broker */
    int gntdev;               /* with a broker only */
    xenevtchn_handle *evtchn;
    uint32_t domid;
    struct window *windows;
    struct channel *channels;
};
_Static_assert(offsetof(struct platform, broker) == 0, "a context of broker_grants, too");

/* What is mapped and bound, so that close can end it: the libraries do not keep lists. */
struct window {
    struct window *next;
    void *addr;
    uint32_t n_pages;
    uint32_t broker_id;
};

struct channel {
    struct channel *next;
    uint32_t port;
};

/* ---- logging ---- */

static void log_library(struct xentoollog_logger *logger, xentoollog_level level, int errnoval,
                        const char *context, const char *format, va_list al)
    __attribute__((format(printf, 5, 0)));

/* Libraries log every failed call; a guest can cause those at will, hence the limit. */
static void log_library(struct xentoollog_logger *logger, xentoollog_level level, int errnoval,
                        const char *context, const char *format, va_list al)
{
    struct platform *p = container_of(logger, struct platform, logger);
    char text[256];

    if (level < XTL_NOTICE)
        return;
    vsnprintf(text, sizeof(text), format, al);
    if (errnoval >= 0)
        log_guest(&p->log_limit, "%s: %s: %s", context ? context : "xen", text, strerror(errnoval));
    else
        log_guest(&p->log_limit, "%s: %s", context ? context : "xen", text);
}

static void ignore_destroy(struct xentoollog_logger *logger)
{
    (void)logger; /* part of struct platform */
}

/* ---- grants ---- */

/*
 * The library says NULL and errno. A refused grant is EINVAL from gntdev's mmap whatever the
 * hypervisor's reason was (also an exhausted maptrack table), or EFAULT; a lack of memory or
 * address space of this host is ENOMEM or ENOSPC. All else (EPERM of a filter) is passed on.
 */
static int map_error(int err)
{
    switch (err) {
    case ENOMEM:
    case ENOSPC:
        return -ENOMEM;
    case EPERM:
    case EBADF:
        return -err;
    default:
        return -EFAULT;
    }
}

/* libxengnttab wants a modifiable array, which it does not modify; ours is const. */
static void *map_refs(const struct platform *p, const uint32_t *refs, uint32_t n, int prot)
{
    uint32_t *copy = calloc(n, sizeof(*copy));
    void *addr;
    int err;

    if (!copy) {
        errno = ENOMEM;
        return NULL;
    }
    memcpy(copy, refs, n * sizeof(*copy));
    errno = 0;
    addr = xengnttab_map_domain_grant_refs(p->gnttab, n, p->domid, copy, prot);
    err = errno;
    free(copy);
    errno = err;
    return addr;
}

static int check_count(size_t n_pages)
{
    if (n_pages == 0)
        return -EINVAL;
    /* The library computes lengths in int. gntdev's own limit per call (65,536 pages unless the
     * administrator raised it) answers EINVAL, which is not to be told from a refused grant. */
    return n_pages > INT32_MAX / GRANT_PAGE_SIZE ? -ENOMEM : 0;
}

static int xen_map(void *ctx, const uint32_t *refs, size_t n_pages, bool writable, void **addr_out)
{
    struct platform *p = ctx;
    struct window *w;
    int r = check_count(n_pages);

    if (r < 0)
        return r;
    w = calloc(1, sizeof(*w));
    if (!w)
        return -ENOMEM;
    w->n_pages = (uint32_t)n_pages;
    w->addr = map_refs(p, refs, w->n_pages, writable ? PROT_READ | PROT_WRITE : PROT_READ);
    if (!w->addr) {
        r = map_error(errno);
        free(w);
        return r;
    }
    w->next = p->windows;
    p->windows = w;
    *addr_out = w->addr;
    return 0;
}

static struct window **find_window(struct platform *p, const void *addr, size_t n_pages)
{
    for (struct window **slot = &p->windows; *slot; slot = &(*slot)->next) {
        if ((*slot)->addr == addr && (*slot)->n_pages == n_pages)
            return slot;
    }
    log_err("unmap of %zu granted pages that no map gave", n_pages);
    return NULL;
}

static void window_forget(struct window **slot)
{
    struct window *w = *slot;

    *slot = w->next;
    free(w);
}

/* With exactly the count of its map, gntdev unmaps in this call, unless somebody else holds page
 * references (a VFIO pin): then it happens later and nobody says when. */
static void xen_unmap(void *ctx, void *addr, size_t n_pages)
{
    struct platform *p = ctx;
    struct window **slot = find_window(p, addr, n_pages);

    if (!slot)
        return;
    if (xengnttab_unmap(p->gnttab, addr, (*slot)->n_pages) < 0)
        log_err("cannot unmap %zu granted pages: %s", n_pages, strerror(errno));
    window_forget(slot);
}

static int copy_some(struct platform *p, const struct grant_copy *pieces, uint32_t n)
{
    xengnttab_grant_copy_segment_t segs[COPY_BATCH];

    memset(segs, 0, sizeof(segs));
    for (uint32_t i = 0; i < n; i++) {
        const struct grant_copy *g = &pieces[i];
        union xengnttab_copy_ptr *guest = g->to_guest ? &segs[i].dest : &segs[i].source;
        union xengnttab_copy_ptr *local = g->to_guest ? &segs[i].source : &segs[i].dest;

        guest->foreign.ref = g->ref;
        guest->foreign.offset = g->offset;
        guest->foreign.domid = (uint16_t)p->domid;
        local->virt = g->local;
        segs[i].len = g->len;
        segs[i].flags = g->to_guest ? GNTCOPY_dest_gref : GNTCOPY_source_gref;
    }
    if (xengnttab_grant_copy(p->gnttab, n, segs) < 0)
        return -errno;
    for (uint32_t i = 0; i < n; i++) {
        if (segs[i].status != GNTST_okay)
            return -EFAULT;
    }
    return 0;
}

static int xen_copy(void *ctx, const struct grant_copy *pieces, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (pieces[i].offset > GRANT_PAGE_SIZE ||
            pieces[i].len > GRANT_PAGE_SIZE - pieces[i].offset)
            return -EINVAL;
    }
    while (n) {
        uint32_t some = n < COPY_BATCH ? (uint32_t)n : COPY_BATCH;
        int r = copy_some(ctx, pieces, some);

        if (r < 0)
            return r;
        pieces += some;
        n -= some;
    }
    return 0;
}

static const struct grant_ops xen_grants = {
    .map = xen_map,
    .unmap = xen_unmap,
    .copy = xen_copy,
};

/* ---- grants through a broker ---- */

static struct platform *platform_of(struct broker_windows *b)
{
    return (struct platform *)container_of(b, struct platform, broker);
}

/* From our own file, not from one that comes with an answer. */
static int window_add(struct broker_windows *b, const struct broker_want *want, int fd UNUSED,
                      void **addr_out)
{
    struct platform *p = platform_of(b);
    struct window *w = calloc(1, sizeof(*w));

    if (!w)
        return -ENOMEM;
    w->addr = gntdev_map(p->gntdev, want->offset, want->n, want->writable);
    if (!w->addr) {
        free(w);
        return map_error(errno);
    }
    w->n_pages = want->n;
    w->broker_id = want->id;
    w->next = p->windows;
    p->windows = w;
    *addr_out = w->addr;
    return 0;
}

static bool window_remove(struct broker_windows *b, void *addr, size_t n_pages, uint32_t *id_out)
{
    struct window **slot = find_window(platform_of(b), addr, n_pages);

    if (!slot)
        return false;
    (void)munmap(addr, n_pages * GRANT_PAGE_SIZE);
    *id_out = (*slot)->broker_id;
    window_forget(slot);
    return true;
}

static int broker_error(int status)
{
    return status == -EINVAL ? -EFAULT : status;
}

static const struct broker_window_ops window_ops = {
    .error = broker_error,
    .add = window_add,
    .remove = window_remove,
};

/* ---- event channels ---- */

static void channel_free(struct platform *p, struct channel **slot)
{
    struct channel *c = *slot;

    if (xenevtchn_unbind(p->evtchn, c->port) < 0)
        log_warn("cannot unbind event channel %u: %s", c->port, strerror(errno));
    *slot = c->next;
    free(c);
}

static int xen_bind(struct platform *p, uint32_t remote_port, uint32_t *port_out)
{
    struct channel *c = calloc(1, sizeof(*c));
    xenevtchn_port_or_error_t port;

    if (!c)
        return -ENOMEM;
    port = xenevtchn_bind_interdomain(p->evtchn, p->domid, remote_port);
    if (port < 0) {
        int err = errno;

        free(c);
        /* Xen: EINVAL for a port that does not exist, is bound, or is meant for another domain;
         * ESRCH for a guest that is gone. A security policy says EPERM or EACCES. */
        if (err == EINVAL || err == ESRCH)
            return -ENOENT;
        return err == EACCES ? -EPERM : -err;
    }
    c->port = (uint32_t)port;
    c->next = p->channels;
    p->channels = c;
    *port_out = c->port;
    return 0;
}

static void xen_unbind(struct platform *p, uint32_t port)
{
    for (struct channel **slot = &p->channels; *slot; slot = &(*slot)->next) {
        if ((*slot)->port == port) {
            channel_free(p, slot);
            return;
        }
    }
}

static int xen_notify(struct platform *p, uint32_t port)
{
    return xenevtchn_notify(p->evtchn, port) < 0 ? -errno : 0;
}

static int xen_event_fd(struct platform *p)
{
    return xenevtchn_fd(p->evtchn);
}

/*
 * The file may ignore O_NONBLOCK (xenevtchn.h), so it is asked first. A delivered port is masked
 * until it is unmasked; that is done before the caller looks at the ring, so that a kick that comes
 * while the caller works makes the port pending again instead of being lost.
 */
static int xen_next_event(struct platform *p, uint32_t *port_out)
{
    struct pollfd pfd = {.fd = xenevtchn_fd(p->evtchn), .events = POLLIN};
    xenevtchn_port_or_error_t port;
    int n = poll(&pfd, 1, 0);

    if (n < 0)
        return errno == EINTR ? 0 : -errno;
    if (n == 0)
        return 0;
    port = xenevtchn_pending(p->evtchn);
    if (port < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    if (xenevtchn_unmask(p->evtchn, (evtchn_port_t)port) < 0)
        return -errno;
    *port_out = (uint32_t)port;
    return 1;
}

/* ---- life cycle ---- */

static void xen_close(struct platform *p)
{
    if (!p)
        return;
    while (p->windows && p->gnttab)
        xen_unmap(p, p->windows->addr, p->windows->n_pages);
    while (p->windows)
        broker_grants.unmap(&p->broker, p->windows->addr, p->windows->n_pages);
    while (p->channels)
        channel_free(p, &p->channels);
    if (p->evtchn)
        xenevtchn_close(p->evtchn);
    if (p->gnttab)
        xengnttab_close(p->gnttab);
    if (p->gntdev >= 0)
        close(p->gntdev);
    if (p->broker.sock >= 0)
        close(p->broker.sock);
    free(p);
}

static int open_grants(struct platform *p)
{
    int r;

    errno = 0;
    p->gnttab = xengnttab_open(&p->logger, 0);
    if (p->gnttab)
        return 0;
    r = errno ? -errno : -EIO;
    log_err("cannot open /dev/xen/gntdev (module xen-gntdev): %s", strerror(-r));
    return r;
}

static int open_events(struct platform *p)
{
    int r;

    errno = 0;
    p->evtchn = xenevtchn_open(&p->logger, 0);
    if (!p->evtchn) {
        r = errno ? -errno : -EIO;
        log_err("cannot open /dev/xen/evtchn (module xen-evtchn): %s", strerror(-r));
        return r;
    }
    /* From here on the kernel refuses a port of any other guest, whatever this process asks for. */
    if (xenevtchn_restrict(p->evtchn, (domid_t)p->domid) == 0)
        return 0;
    r = -errno;
    log_err("cannot restrict event channels to domain %u: %s", p->domid, strerror(-r));
    return r;
}

static int new_platform(struct platform **out, uint32_t domid)
{
    struct platform *p;

    if (domid >= DOMID_FIRST_RESERVED) {
        log_err("%u is no Xen domain (0 to %u)", domid, DOMID_FIRST_RESERVED - 1);
        return -EINVAL;
    }
    p = calloc(1, sizeof(*p));
    if (!p)
        return -ENOMEM;
    p->logger.vmessage = log_library;
    p->logger.destroy = ignore_destroy;
    p->log_limit = (struct ratelimit)RATELIMIT_INIT(10, 1000);
    p->domid = domid;
    p->broker.sock = p->gntdev = -1;
    *out = p;
    return 0;
}

static int xen_open(struct platform **out, uint32_t domid)
{
    struct platform *p = NULL;
    int r = new_platform(&p, domid);

    if (r == 0)
        r = open_grants(p);
    if (r == 0)
        r = open_events(p);
    if (r < 0) {
        xen_close(p);
        return r;
    }
    *out = p;
    return 0;
}

static int brokered_open(struct platform **out, uint32_t domid, int sock)
{
    struct platform *p = NULL;
    int r = new_platform(&p, domid);

    if (r == 0)
        r = p->gntdev = broker_file(sock);
    if (r >= 0)
        r = open_events(p);
    else
        log_err("grant broker: %s", strerror(-r));
    if (r < 0) {
        xen_close(p);
        return r;
    }
    p->broker = (struct broker_windows){&window_ops, sock};
    *out = p;
    return 0;
}

/* What libxengnttab and libxenevtchn make of the calls above. */
static const unsigned long ioctls[] = {
    IOCTL_GNTDEV_MAP_GRANT_REF, IOCTL_GNTDEV_UNMAP_GRANT_REF,  IOCTL_GNTDEV_GET_OFFSET_FOR_VADDR,
    IOCTL_GNTDEV_GRANT_COPY,    IOCTL_EVTCHN_BIND_INTERDOMAIN, IOCTL_EVTCHN_UNBIND,
    IOCTL_EVTCHN_NOTIFY,
};

/* Without gntdev's, which the broker makes: this process can map what that has recorded. */
static const unsigned long brokered_ioctls[] = {
    IOCTL_EVTCHN_BIND_INTERDOMAIN,
    IOCTL_EVTCHN_UNBIND,
    IOCTL_EVTCHN_NOTIFY,
};

static const struct platform_brokered brokered = {
    .open = brokered_open,
    .grants = &broker_grants,
    .ioctls = {.requests = brokered_ioctls, .n = ARRAY_SIZE(brokered_ioctls)},
    .broker = &xen_broker,
};

const struct platform_ops platform_xen = {
    .name = "xen",
    .open = xen_open,
    .close = xen_close,
    .grants = &xen_grants,
    .bind = xen_bind,
    .unbind = xen_unbind,
    .notify = xen_notify,
    .event_fd = xen_event_fd,
    .next_event = xen_next_event,
    .ioctls = {.requests = ioctls, .n = ARRAY_SIZE(ioctls)},
    .brokered = &brokered,
};
