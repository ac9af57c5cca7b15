/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The guest's side of the platform for the lab's frontend: results, xenstore, grants, event
 * channels, and requests to the other domains, which dom0's scenario carries out.
 */
#define _GNU_SOURCE
#include "frontend_guest.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <xen/gntalloc.h>

/* ---- results -------------------------------------------------------------------------------- */

unsigned int tests_seen;

bool check(bool passed, const char *format, ...)
{
    va_list args;

    tests_seen++;
    printf("TAP %s ", passed ? "ok" : "not ok");
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    fflush(stdout);
    return passed;
}

void comment(const char *format, ...)
{
    va_list args;

    printf("TAP # ");
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    fflush(stdout);
}

void give_up(const char *format, ...)
{
    va_list args;

    tests_seen++;
    printf("TAP not ok ");
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf(" (%s)\nTAP end %u\n", strerror(errno), tests_seen);
    fflush(stdout);
    exit(1);
}

int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- xenstore ------------------------------------------------------------------------------- */

struct xs_handle *store;

/* Returns a string that the caller frees, or NULL. Paths are relative to our own domain's. */
char *store_read(const char *path)
{
    unsigned int length;

    return xs_read(store, XBT_NULL, path, &length);
}

void store_write(const char *path, const char *format, ...)
{
    char value[2048];
    va_list args;

    va_start(args, format);
    vsnprintf(value, sizeof(value), format, args);
    va_end(args);
    if (!xs_write(store, XBT_NULL, path, value, (unsigned int)strlen(value))) {
        give_up("xenstore: writing %s", path);
    }
}

/* Waits until some watch fires; the caller then looks again. False when the time is over. */
bool store_wait(int64_t deadline)
{
    struct pollfd wait = {.fd = xs_fileno(store), .events = POLLIN};
    char **event = xs_check_watch(store);

    while (!event) {
        int64_t left = deadline - now_ms();

        if (left <= 0) {
            return false;
        }
        poll(&wait, 1, (int)left);
        event = xs_check_watch(store);
    }
    free(event);
    return true;
}

/*
 * Asks dom0's scenario for something and returns its exit status, or -1 when no answer came.
 * The first line of what was printed goes to text.
 */
int ask(char *text, size_t size, const char *format, ...)
{
    static unsigned int number;
    char request[1600];
    int64_t deadline = now_ms() + 40000;
    va_list args;

    va_start(args, format);
    vsnprintf(request, sizeof(request), format, args);
    va_end(args);
    store_write("data/lab/ask", "%u %s", ++number, request);

    for (;;) {
        char *answer = store_read("data/lab/answer");
        unsigned int answered;
        int status;
        int length;

        if (answer && sscanf(answer, "%u %d%n", &answered, &status, &length) == 2 &&
            answered == number) {
            snprintf(text, size, "%s", answer[length] == ' ' ? answer + length + 1 : "");
            free(answer);
            return status;
        }
        free(answer);
        if (!store_wait(deadline)) {
            snprintf(text, size, "no answer from dom0");
            return -1;
        }
    }
}

/* ---- grants --------------------------------------------------------------------------------- */

static int gntalloc = -1;
static int kernel_log = -1;
uint16_t backend_domid;

/*
 * One page at a time: gntalloc takes a whole allocation back in one go only, and the tests take
 * single pages back.
 */
void page_grant(struct page *page, bool writable)
{
    struct ioctl_gntalloc_alloc_gref request = {
        .domid = backend_domid,
        .flags = writable ? GNTALLOC_FLAG_WRITABLE : 0,
        .count = 1,
    };

    if (ioctl(gntalloc, IOCTL_GNTALLOC_ALLOC_GREF, &request)) {
        give_up("gntalloc: granting a page");
    }
    page->index = request.index;
    page->ref = request.gref_ids[0];
    page->data = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, gntalloc,
                      (off_t)request.index);
    if (page->data == MAP_FAILED) {
        give_up("gntalloc: mapping the granted page");
    }
    memset(page->data, 0, PAGE);
}

/* Reads the kernel's log on from where it was read last. True when the message came. */
bool kernel_says(const char *message, uint32_t ref)
{
    char line[1024];
    char wanted[64];
    bool found = false;
    ssize_t length;

    snprintf(wanted, sizeof(wanted), "%s 0x%" PRIx32 " ", message, ref);
    for (;;) {
        length = read(kernel_log, line, sizeof(line) - 1);
        if (length < 0 && errno == EPIPE) {
            continue; /* the ring went round: reading goes on behind the gap */
        }
        if (length <= 0) {
            return found;
        }
        line[length] = '\0';
        if (strstr(line, wanted)) {
            found = true;
        }
    }
}

bool kernel_wait(const char *message, uint32_t ref)
{
    struct pollfd wait = {.fd = kernel_log, .events = POLLIN};
    int64_t deadline = now_ms() + PATIENCE_MS;

    while (!kernel_says(message, ref)) {
        int64_t left = deadline - now_ms();

        if (left <= 0) {
            return false;
        }
        poll(&wait, 1, (int)left);
    }
    return true;
}

/* Takes a grant back. True when the hypervisor let us, so that nobody has the page mapped. */
bool page_revoke(struct page *page)
{
    struct ioctl_gntalloc_dealloc_gref request = {.index = page->index, .count = 1};

    lseek(kernel_log, 0, SEEK_END);
    munmap(page->data, PAGE);
    if (ioctl(gntalloc, IOCTL_GNTALLOC_DEALLOC_GREF, &request)) {
        give_up("gntalloc: taking a page back");
    }
    page->data = NULL;
    return !kernel_says(LOG_DEFERRED, page->ref);
}

/* In reverse: the kernel hands the references out again in ascending order then. */
bool pages_revoke(struct page *pages, size_t count)
{
    bool all = true;

    while (count) {
        all = page_revoke(&pages[--count]) && all;
    }
    return all;
}

/*
 * Grants `count` pages with consecutive references. gntalloc takes the kernel's next free
 * reference each time, so the pages that did not continue the run are simply given back.
 */
void pages_grant(struct page *pages, size_t count, bool writable)
{
    struct page spare[512];
    size_t spares = 0;
    size_t run = 0;

    while (run < count) {
        if (spares + run + 1 >= sizeof(spare) / sizeof(spare[0])) {
            give_up("no %zu consecutive grant references", count);
        }
        page_grant(&pages[run], writable);
        if (run && pages[run].ref != pages[run - 1].ref + 1) {
            memcpy(&spare[spares], pages, run * sizeof(*pages));
            spares += run;
            pages[0] = pages[run];
            run = 0;
        }
        run++;
    }
    pages_revoke(spare, spares);
}

/* The address by which the backend finds a granted page without any grant map. */
uint64_t grant_address(const struct page *page)
{
    return UINT64_C(1) << 63 | (uint64_t)page->ref << 12;
}

/* ---- event channels ------------------------------------------------------------------------- */

xenevtchn_handle *events;
unsigned int lost_notifications;

uint32_t port_open(void)
{
    xenevtchn_port_or_error_t port = xenevtchn_bind_unbound_port(events, backend_domid);

    if (port <= 0) {
        give_up("evtchn: allocating a port");
    }
    return (uint32_t)port;
}

/*
 * Waits for a condition on shared memory, looking again after each notification only. One that
 * became true without any is counted: the backend then forgot to notify.
 */
bool wait_until(bool (*condition)(void *), void *arg, int patience_ms)
{
    struct pollfd wait = {.fd = xenevtchn_fd(events), .events = POLLIN};
    int64_t deadline = now_ms() + patience_ms;

    while (!condition(arg)) {
        int64_t left = deadline - now_ms();
        xenevtchn_port_or_error_t port;

        if (left <= 0 || poll(&wait, 1, (int)left) == 0) {
            if (!condition(arg)) {
                return false;
            }
            lost_notifications++;
            return true;
        }
        port = xenevtchn_pending(events);
        if (port > 0) {
            xenevtchn_unmask(events, (evtchn_port_t)port);
        }
    }
    return true;
}

/* ---- opening all of it ---------------------------------------------------------------------- */

char *backend_path;

void guest_open(void)
{
    char *value;

    store = xs_open(0);
    if (!store) {
        give_up("xenstore cannot be reached");
    }
    if (!xs_watch(store, "data/lab/answer", "answer")) {
        give_up("xenstore: watching dom0's answers");
    }
    gntalloc = open("/dev/xen/gntalloc", O_RDWR | O_CLOEXEC);
    if (gntalloc < 0) {
        give_up("/dev/xen/gntalloc");
    }
    kernel_log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (kernel_log < 0) {
        give_up("/dev/kmsg");
    }
    events = xenevtchn_open(NULL, 0);
    if (!events) {
        give_up("/dev/xen/evtchn");
    }
    value = store_read("device/virtio/0/backend-id");
    backend_path = store_read("device/virtio/0/backend");
    if (!value || !backend_path) {
        give_up("xenstore: no device/virtio/0/backend and backend-id");
    }
    backend_domid = (uint16_t)strtoul(value, NULL, 10);
    free(value);
}
