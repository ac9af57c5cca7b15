/* SPDX-License-Identifier: GPL-2.0-only */
/* libxengnttab and libxenevtchn for test_platform_xen (mock_xenlibs.h). */
#include <config.h>

#include "tests/support/mock_xenlibs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <xen/grant_table.h>
#include <xenevtchn.h>
#include <xengnttab.h>
#include <xentoollog.h>

#include "backend/platform/xen_gntdev.h"
#include "common/compiler.h"

struct xengntdev_handle {
    struct xentoollog_logger *logger;
};

struct xenevtchn_handle {
    struct xentoollog_logger *logger;
    int fd; /* readable while something is pending, like the device */
};

struct mock_xenlibs mock_xen;
static struct xenevtchn_handle *events;

void mock_xen_reset(void)
{
    memset(&mock_xen, 0, sizeof(mock_xen));
    mock_xen.copy_status_at = -1;
}

static bool failed(int *err)
{
    int e = *err;

    *err = 0;
    if (e)
        errno = e;
    return e != 0;
}

/* The libraries log a failed call through their logger before they return. */
static void complain(struct xentoollog_logger *logger, const char *format, ...) PRINTF_LIKE(2, 3);
static void complain(struct xentoollog_logger *logger, const char *format, ...)
{
    int err = errno;
    va_list ap;

    va_start(ap, format);
    if (logger)
        logger->vmessage(logger, XTL_ERROR, err, "mock", format, ap);
    va_end(ap);
    errno = err;
}

static void trace(char c)
{
    size_t len = strlen(mock_xen.trace);

    if (len + 1 < sizeof(mock_xen.trace))
        mock_xen.trace[len] = c;
}

/* ---- gntdev itself ---- */

static void gnt_trace(char c)
{
    size_t len = strlen(mock_xen.gnt_trace);

    if (len + 1 < sizeof(mock_xen.gnt_trace))
        mock_xen.gnt_trace[len] = c;
}

int gntdev_open(void)
{
    if (failed(&mock_xen.fail_gntdev_open))
        return -errno;
    mock_xen.gntdev_opens++;
    return open("/dev/null", O_RDWR | O_CLOEXEC);
}

int gntdev_record(int fd, uint32_t domid, const uint32_t *refs, uint32_t n, uint64_t *index_out)
{
    (void)fd;
    if (failed(&mock_xen.fail_record))
        return -errno;
    gnt_trace('r');
    mock_xen.record_domid = domid;
    mock_xen.record_n = n;
    memcpy(mock_xen.record_refs, refs, (n < 8 ? n : 8) * sizeof(*refs));
    *index_out = ++mock_xen.records * 0x10000ull;
    return 0;
}

int gntdev_forget(int fd, uint64_t index, uint32_t n)
{
    (void)fd;
    gnt_trace('f');
    mock_xen.forgets++;
    mock_xen.forget_index = index;
    mock_xen.forget_n = n;
    return 0;
}

void *gntdev_map(int fd, uint64_t index, uint32_t n, bool writable)
{
    void *addr;

    (void)fd;
    gnt_trace('m');
    mock_xen.gntdev_map_index = index;
    mock_xen.gntdev_map_writable = writable;
    if (failed(&mock_xen.fail_gntdev_map))
        return NULL;
    addr = mmap(NULL, (size_t)n * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return addr == MAP_FAILED ? NULL : addr;
}

int xenevtchn_restrict(xenevtchn_handle *xce, domid_t domid)
{
    (void)xce;
    if (failed(&mock_xen.fail_restrict))
        return -1;
    mock_xen.restricts++;
    mock_xen.restrict_domid = domid;
    return 0;
}

/* ---- gnttab ---- */

xengnttab_handle *xengnttab_open(struct xentoollog_logger *logger, unsigned open_flags)
{
    xengnttab_handle *h;

    (void)open_flags;
    if (failed(&mock_xen.fail_gnttab_open))
        return NULL;
    h = calloc(1, sizeof(*h));
    if (h)
        h->logger = logger;
    mock_xen.gnttab_opens++;
    return h;
}

int xengnttab_close(xengnttab_handle *xgt)
{
    mock_xen.gnttab_closes++;
    free(xgt);
    return 0;
}

void *xengnttab_map_domain_grant_refs(xengnttab_handle *xgt, uint32_t count, uint32_t domid,
                                      uint32_t *refs, int prot)
{
    void *addr;

    mock_xen.map_count = count;
    mock_xen.map_domid = domid;
    mock_xen.map_prot = prot;
    memcpy(mock_xen.map_refs, refs, (count < 8 ? count : 8) * sizeof(*refs));
    if (failed(&mock_xen.fail_map)) {
        complain(xgt->logger, "mmap failed");
        return NULL;
    }
    addr = mmap(NULL, (size_t)count * 4096, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (addr == MAP_FAILED)
        return NULL;
    mock_xen.maps++;
    return addr;
}

int xengnttab_unmap(xengnttab_handle *xgt, void *start_address, uint32_t count)
{
    mock_xen.unmaps++;
    mock_xen.unmap_addr = start_address;
    mock_xen.unmap_count = count;
    munmap(start_address, (size_t)count * 4096);
    if (failed(&mock_xen.fail_unmap)) {
        complain(xgt->logger, "unmap failed");
        return -1;
    }
    return 0;
}

int xengnttab_grant_copy(xengnttab_handle *xgt, uint32_t count,
                         xengnttab_grant_copy_segment_t *segs)
{
    mock_xen.copy_calls++;
    if (failed(&mock_xen.fail_copy)) {
        complain(xgt->logger, "grant copy failed");
        return -1;
    }
    for (uint32_t i = 0; i < count; i++, mock_xen.copied++) {
        segs[i].status = (int)mock_xen.copied == mock_xen.copy_status_at ? GNTST_bad_gntref
                                                                         : GNTST_okay;
        if (segs[i].flags == GNTCOPY_source_gref)
            memset(segs[i].dest.virt, (int)segs[i].source.foreign.ref, segs[i].len);
    }
    return 0;
}

/* ---- evtchn ---- */

xenevtchn_handle *xenevtchn_open(struct xentoollog_logger *logger, unsigned int flags)
{
    xenevtchn_handle *h;

    (void)flags;
    if (failed(&mock_xen.fail_evtchn_open))
        return NULL;
    h = calloc(1, sizeof(*h));
    if (!h)
        return NULL;
    h->logger = logger;
    h->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    events = h;
    mock_xen.evtchn_opens++;
    return h;
}

int xenevtchn_close(xenevtchn_handle *xce)
{
    mock_xen.evtchn_closes++;
    close(xce->fd);
    free(xce);
    events = NULL;
    return 0;
}

int xenevtchn_fd(xenevtchn_handle *xce)
{
    return xce->fd;
}

xenevtchn_port_or_error_t xenevtchn_bind_interdomain(xenevtchn_handle *xce, uint32_t domid,
                                                     evtchn_port_t remote_port)
{
    mock_xen.bind_domid = domid;
    mock_xen.bind_port = remote_port;
    if (failed(&mock_xen.fail_bind)) {
        complain(xce->logger, "bind failed");
        return -1;
    }
    return (xenevtchn_port_or_error_t)(100 + mock_xen.binds++);
}

int xenevtchn_unbind(xenevtchn_handle *xce, evtchn_port_t port)
{
    (void)xce;
    mock_xen.unbinds++;
    mock_xen.unbound_port = port;
    return 0;
}

int xenevtchn_notify(xenevtchn_handle *xce, evtchn_port_t port)
{
    (void)xce;
    mock_xen.notifies++;
    mock_xen.notified_port = port;
    return failed(&mock_xen.fail_notify) ? -1 : 0;
}

void mock_xen_kick(uint32_t port)
{
    mock_xen.pending[mock_xen.n_pending++] = port;
    if (events)
        eventfd_write(events->fd, 1);
}

xenevtchn_port_or_error_t xenevtchn_pending(xenevtchn_handle *xce)
{
    uint32_t port;
    eventfd_t count;

    trace('p');
    if (failed(&mock_xen.fail_pending))
        return -1;
    if (mock_xen.n_pending == 0)
        abort(); /* the device would block: the caller did not look first */
    port = mock_xen.pending[0];
    memmove(mock_xen.pending, mock_xen.pending + 1,
            --mock_xen.n_pending * sizeof(mock_xen.pending[0]));
    if (mock_xen.n_pending == 0 && eventfd_read(xce->fd, &count) < 0)
        return -1;
    mock_xen.masked = true;
    return (xenevtchn_port_or_error_t)port;
}

int xenevtchn_unmask(xenevtchn_handle *xce, evtchn_port_t port)
{
    (void)xce;
    (void)port;
    trace('m');
    if (failed(&mock_xen.fail_unmask))
        return -1;
    mock_xen.masked = false;
    return 0;
}
