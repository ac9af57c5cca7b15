/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The Xen lab's frontend: a guest's user-space program that drives the virtio-iommu device over
 * xenbus, written from docs/protocol.md alone. It includes no header of the backend, so that a
 * mistake in one of those cannot hide itself here.
 *
 * Results are lines "TAP ok TEXT" or "TAP not ok TEXT" on standard output; the last line is
 * "TAP end COUNT". What other domains have to do for a test is asked of dom0 through xenstore.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <xen/gntalloc.h>
#include <xenevtchn.h>
#include <xenstore.h>

#define PAGE ((size_t)4096)

/* ---- results ---------------------------------------------------------------------------- */

static unsigned int tests_seen;

static bool check(bool passed, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static bool check(bool passed, const char *format, ...)
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

static void comment(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void comment(const char *format, ...)
{
    va_list args;

    printf("TAP # ");
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    fflush(stdout);
}

static void give_up(const char *format, ...)
    __attribute__((format(printf, 1, 2), noreturn));

static void give_up(const char *format, ...)
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

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- xenstore --------------------------------------------------------------------------- */

static struct xs_handle *store;

/* Returns a string that the caller frees, or NULL. Paths are relative to our own domain's. */
static char *store_read(const char *path)
{
    unsigned int length;

    return xs_read(store, XBT_NULL, path, &length);
}

static void store_write(const char *path, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void store_write(const char *path, const char *format, ...)
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

/* Waits until some watch fires. False when the time is over. */
static bool store_wait(int64_t deadline)
{
    struct pollfd wait = { .fd = xs_fileno(store), .events = POLLIN };
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
static int ask(char *text, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int ask(char *text, size_t size, const char *format, ...)
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

/* ---- grants ----------------------------------------------------------------------------- */

static int gntalloc = -1;
static int kernel_log = -1;
static uint16_t backend_domid;

/* One page of ours, granted to the backend. */
struct page {
    void *data;
    uint64_t index; /* gntalloc's handle */
    uint32_t ref;
};

/*
 * One page at a time: gntalloc takes a whole allocation back in one go only, and the tests take
 * single pages back.
 */
static void page_grant(struct page *page, bool writable)
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

/*
 * Takes a grant back and tells whether the hypervisor let us: the kernel logs "deferring g.e." for
 * a grant that is still mapped by the other side (init-guest switches that message on) and tries
 * again later.
 */
static bool page_revoke(struct page *page)
{
    struct ioctl_gntalloc_dealloc_gref request = { .index = page->index, .count = 1 };
    char line[1024];
    char wanted[64];
    bool deferred = false;
    ssize_t length;

    snprintf(wanted, sizeof(wanted), "deferring g.e. 0x%" PRIx32 " ", page->ref);
    lseek(kernel_log, 0, SEEK_END);
    munmap(page->data, PAGE);
    if (ioctl(gntalloc, IOCTL_GNTALLOC_DEALLOC_GREF, &request)) {
        give_up("gntalloc: taking a page back");
    }
    page->data = NULL;
    while ((length = read(kernel_log, line, sizeof(line) - 1)) > 0) {
        line[length] = '\0';
        if (strstr(line, wanted)) {
            deferred = true;
        }
    }
    return !deferred;
}

/* ---- the lab's platform ------------------------------------------------------------------- */

static void open_platform(void)
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
    value = store_read("device/virtio/0/backend-id");
    if (!value) {
        give_up("xenstore: no device/virtio/0/backend-id");
    }
    backend_domid = (uint16_t)atoi(value);
    free(value);
}

/* Shows without any backend that a guest's user space can grant, take back and be notified. */
static void run_platform(void)
{
    xenevtchn_handle *events = xenevtchn_open(NULL, 0);
    struct page page;
    char text[1024];
    xenevtchn_port_or_error_t port;

    check(true, "xenstore names backend domain %u", backend_domid);
    page_grant(&page, true);
    check(page.ref >= 8, "gntalloc gives reference %" PRIu32, page.ref);
    check(page_revoke(&page), "an unused grant can be taken back at once");
    port = events ? xenevtchn_bind_unbound_port(events, backend_domid) : -1;
    check(port > 0, "evtchn gives port %d", port);
    check(ask(text, sizeof(text), "grants") == 0, "dom0 answers: %s", text);
    if (events) {
        xenevtchn_close(events);
    }
}

int main(int argc, char **argv)
{
    char text[64];

    open_platform();
    if (argc > 1 && strcmp(argv[1], "platform") == 0) {
        run_platform();
    } else {
        comment("the device's part is not written yet");
    }
    printf("TAP end %u\n", tests_seen);
    fflush(stdout);
    ask(text, sizeof(text), "done");
    return 0;
}
