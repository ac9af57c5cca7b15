/* SPDX-License-Identifier: GPL-2.0-only */
/* The guest's side of fakexen (fx_guest.h). */
#include <config.h>

#include "tests/support/fakexen/fx_guest.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include <xenstore.h>

#include "common/loop.h"
#include "tests/support/fakexen/fx_client.h"

#define FIRST_REF 8u /* Xen's reserved entries, which a guest never hands out */
#define MAX_REFS  (1u << 24)

struct fx_guest {
    int sock;
    uint32_t domid;
    char *dir;
    uint32_t n_pages;
    uint32_t n_allocated;
    char *memory;
    uint32_t refs_size;
    bool *refs; /* in use */
    struct xs_handle *xs;
};

static int call(const struct fx_guest *g, uint32_t type, const void *body, size_t len, void *reply,
                size_t reply_len, int *fds_out)
{
    return fx_call(g->sock, type, &(struct fx_buf){body, len}, 1, -1, reply, reply_len, fds_out);
}

/* ---- life cycle, memory ---- */

static int add_memory(struct fx_guest *g, uint32_t n_pages)
{
    struct fx_memory m = {.n_pages = n_pages};
    size_t len = (size_t)n_pages * FX_PAGE_SIZE;
    cleanup_fd int fd = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    void *memory;
    int r;

    if (fd < 0 || ftruncate(fd, (off_t)len) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return -errno;
    r = fx_call(g->sock, FX_MEMORY, &(struct fx_buf){&m, sizeof(m)}, 1, fd, NULL, 0, NULL);
    if (r < 0)
        return r;
    memory = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        return -errno;
    g->memory = memory;
    g->n_pages = n_pages;
    return 0;
}

int fx_guest_open(struct fx_guest **out, const char *dir, uint32_t domid, uint32_t n_pages)
{
    struct fx_guest *g = calloc(1, sizeof(*g));
    int r;

    if (!g)
        return -ENOMEM;
    g->domid = domid;
    g->dir = strdup(dir);
    g->sock = r = g->dir ? fx_connect(dir, domid) : -ENOMEM;
    if (r >= 0)
        r = n_pages ? add_memory(g, n_pages) : 0;
    if (r < 0) {
        fx_guest_close(g);
        return r;
    }
    *out = g;
    return 0;
}

void fx_guest_close(struct fx_guest *g)
{
    if (!g)
        return;
    if (g->xs)
        xs_close(g->xs);
    if (g->memory)
        munmap(g->memory, (size_t)g->n_pages * FX_PAGE_SIZE);
    if (g->sock >= 0)
        close(g->sock);
    free(g->refs);
    free(g->dir);
    free(g);
}

uint32_t fx_guest_domid(const struct fx_guest *g)
{
    return g->domid;
}

uint32_t fx_guest_n_pages(const struct fx_guest *g)
{
    return g->n_pages;
}

void *fx_guest_memory(struct fx_guest *g)
{
    return g->memory;
}

int fx_guest_alloc(struct fx_guest *g, uint32_t n_pages, uint32_t *page_out)
{
    if (n_pages > g->n_pages - g->n_allocated)
        return -ENOMEM;
    *page_out = g->n_allocated;
    g->n_allocated += n_pages;
    return 0;
}

/* ---- grants ---- */

static int refs_reserve(struct fx_guest *g, uint32_t size)
{
    bool *refs;

    if (size <= g->refs_size)
        return 0;
    if (size > MAX_REFS)
        return -ENOSPC;
    refs = realloc(g->refs, size * sizeof(*refs));
    if (!refs)
        return -ENOMEM;
    memset(refs + g->refs_size, 0, (size - g->refs_size) * sizeof(*refs));
    g->refs = refs;
    g->refs_size = size;
    return 0;
}

/* The lowest run of n free references, the array grown to hold it. */
static int refs_find(struct fx_guest *g, uint32_t n, uint32_t *ref_out)
{
    uint32_t start = FIRST_REF;

    if (n > MAX_REFS - FIRST_REF)
        return -ENOSPC;
    for (uint32_t at = FIRST_REF; at < g->refs_size && at - start < n; at++) {
        if (g->refs[at])
            start = at + 1;
    }
    *ref_out = start;
    return refs_reserve(g, start + n);
}

int fx_guest_grant(struct fx_guest *g, uint32_t to, uint32_t page, uint32_t n, bool readonly,
                   uint32_t *ref_out)
{
    struct fx_grant grant = {.n = n, .domid = to, .page = page, .readonly = readonly};
    int r = refs_find(g, n, &grant.ref);

    if (r == 0)
        r = call(g, FX_GRANT, &grant, sizeof(grant), NULL, 0, NULL);
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < n; i++)
        g->refs[grant.ref + i] = true;
    *ref_out = grant.ref;
    return 0;
}

int fx_guest_ungrant(struct fx_guest *g, uint32_t ref, uint32_t n)
{
    struct fx_ungrant u = {.ref = ref, .n = n};
    int r = call(g, FX_UNGRANT, &u, sizeof(u), NULL, 0, NULL);

    for (uint32_t i = 0; r == 0 && i < n; i++)
        g->refs[ref + i] = false;
    return r;
}

/* ---- event channels ---- */

static int open_channel(struct fx_guest *g, uint32_t type, const struct fx_port *request,
                        struct fx_channel *out)
{
    struct fx_port reply;
    int fds[FX_MAX_FDS];
    int r = call(g, type, request, sizeof(*request), &reply, sizeof(reply), fds);

    if (r == 0)
        *out = (struct fx_channel){.port = reply.port, .own_fd = fds[0], .peer_fd = fds[1]};
    return r;
}

int fx_guest_alloc_unbound(struct fx_guest *g, uint32_t remote, struct fx_channel *out)
{
    return open_channel(g, FX_ALLOC_UNBOUND, &(struct fx_port){.domid = remote}, out);
}

int fx_guest_bind(struct fx_guest *g, uint32_t domid, uint32_t port, struct fx_channel *out)
{
    return open_channel(g, FX_BIND, &(struct fx_port){.domid = domid, .port = port}, out);
}

int fx_guest_unbind(struct fx_guest *g, struct fx_channel *c)
{
    struct fx_port u = {.port = c->port};
    int r = call(g, FX_UNBIND, &u, sizeof(u), NULL, 0, NULL);

    close(c->own_fd);
    close(c->peer_fd);
    c->own_fd = c->peer_fd = -1;
    return r;
}

int fx_channel_notify(const struct fx_channel *c)
{
    return eventfd_write(c->peer_fd, 1) < 0 && errno != EAGAIN ? -errno : 0;
}

int fx_channel_wait(const struct fx_channel *c, int timeout_ms)
{
    struct pollfd pfd = {.fd = c->own_fd, .events = POLLIN};
    eventfd_t count;
    int n = poll(&pfd, 1, timeout_ms);

    if (n <= 0)
        return n < 0 ? -errno : 0;
    return eventfd_read(c->own_fd, &count) < 0 ? (errno == EAGAIN ? 0 : -errno) : 1;
}

/* ---- xenstore ---- */

struct xs_handle *fx_xs_open(const char *dir, uint32_t domid)
{
    static const char name[] = "XENSTORED_PATH";
    const char *old = getenv(name);
    cleanup_free char *saved = old ? strdup(old) : NULL;
    struct xs_handle *xs;
    char path[4096];
    int err;

    if (domid == 0)
        snprintf(path, sizeof(path), "%s/xenstored-socket", dir);
    else
        snprintf(path, sizeof(path), "%s/xenstored-socket.%" PRIu32, dir, domid);
    if ((old && !saved) || setenv(name, path, 1) < 0)
        return NULL;
    xs = xs_open(XS_OPEN_SOCKETONLY);
    err = errno;
    if (saved)
        setenv(name, saved, 1);
    else
        unsetenv(name);
    errno = err;
    return xs;
}

struct xs_handle *fx_guest_xs(struct fx_guest *g)
{
    if (!g->xs)
        g->xs = fx_xs_open(g->dir, g->domid);
    return g->xs;
}

struct xs_handle *fx_guest_xs_again(struct fx_guest *g)
{
    if (g->xs)
        xs_close(g->xs);
    g->xs = NULL;
    return fx_guest_xs(g);
}

int fx_xs_write(struct xs_handle *xs, const char *path, const char *fmt, ...)
{
    char text[4096];
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= sizeof(text))
        return -E2BIG;
    return xs_write(xs, XBT_NULL, path, text, (unsigned)n) ? 0 : -errno;
}

int fx_xs_read(struct xs_handle *xs, const char *path, char *out, size_t size)
{
    unsigned len;
    cleanup_free char *text = xs_read(xs, XBT_NULL, path, &len);

    if (!text)
        return -errno;
    if (len >= size)
        return -E2BIG;
    memcpy(out, text, len + 1);
    return 0;
}

/* True when the node is as wanted; an error other than a missing node goes to *r_out. */
static bool node_is(struct xs_handle *xs, const char *path, const char *value, int *r_out)
{
    char now[4096];
    int r = fx_xs_read(xs, path, now, sizeof(now));

    *r_out = r == -ENOENT ? 0 : r;
    if (r == -ENOENT)
        return !value;
    return r == 0 && value && strcmp(now, value) == 0;
}

static int wait_events(struct xs_handle *xs, uint64_t until)
{
    struct pollfd pfd = {.fd = xs_fileno(xs), .events = POLLIN};
    uint64_t now = loop_now_ms();
    int n = poll(&pfd, 1, now < until ? (int)(until - now) : 0);
    char **event;

    if (n < 0 && errno != EINTR)
        return -errno;
    if (n == 0)
        return -ETIMEDOUT;
    while ((event = xs_check_watch(xs)))
        free(event);
    return 0;
}

int fx_xs_wait(struct xs_handle *xs, const char *path, const char *value, int timeout_ms)
{
    uint64_t until = loop_now_ms() + (uint64_t)timeout_ms;
    int r = 0;

    if (!xs_watch(xs, path, "fx_xs_wait"))
        return -errno;
    while (r == 0 && !node_is(xs, path, value, &r)) {
        if (r == 0)
            r = wait_events(xs, until);
    }
    xs_unwatch(xs, path, "fx_xs_wait");
    return r;
}
