/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Cost of MAP and UNMAP through ring, device and a VFIO driver, in turns with two bare loops on the
 * same files and the same memory:
 *  - "direct": one ioctl per request, as a program makes them that uses VFIO by itself;
 *  - "same calls": the very ioctls that the driver made, fewer when UNMAPs were joined.
 * Prints ns per pair of MAP and UNMAP, the median of the ratio to each, the system calls that the
 * driver and the grants made per request, and our instructions per request where the processor
 * counts them.
 *
 * usage: bench_vfio [--driver=vfio|iommufd] [--rounds=N] [--case=NAME]
 *                   (--model | PCI-ADDRESS | UUID)
 *
 * --model runs on tests/support/model_vfio.c: a test of this program, not of anything's speed, and
 * for tests/bench/instructions.
 */
#include <config.h>

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <linux/perf_event.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "backend/iommu/iommufd.h"
#include "backend/iommu/iommufd_uapi.h"
#include "backend/iommu/vfio.h"
#include "common/le.h"
#include "common/strutil.h"
#include "tests/support/model_vfio.h"
#include "tests/support/replay/guest.h"

#define MEMORY     (16ull << 20) /* that is mapped */
#define POOL       (1ull << 20)  /* behind it: the requests' buffers */
#define FIRST_IOVA (1ull << 30)
#define ENDPOINT   8
#define MAX_BATCH  64u
#define ARG_SIZE   64u

/* --- a kernel that takes notes ---------------------------------------------------------------- */

struct note {
    int fd;
    unsigned long request;
    size_t size;
    uint64_t arg[ARG_SIZE / 8];
};

/* The calls of a batch of MAPs and UNMAPs. */
struct notes {
    struct note v[2 * MAX_BATCH];
    size_t n;
};

struct recorder {
    struct kernel kernel; /* what the driver gets */
    const struct kernel *inner;
    unsigned long calls;
    struct notes *notes; /* NULL: count only */
};

static int rec_open(void *ctx, const char *path)
{
    struct recorder *rec = ctx;

    rec->calls++;
    return rec->inner->ops->open(rec->inner->ctx, path);
}

static void rec_close(void *ctx, int fd)
{
    struct recorder *rec = ctx;

    rec->calls++;
    rec->inner->ops->close(rec->inner->ctx, fd);
}

static int rec_ioctl(void *ctx, int fd, unsigned long request, uintptr_t arg)
{
    struct recorder *rec = ctx;

    rec->calls++;
    if (rec->notes && rec->notes->n < ARRAY_SIZE(rec->notes->v)) {
        struct note *note = &rec->notes->v[rec->notes->n++];

        *note = (struct note){.fd = fd, .request = request};
        /* Both interfaces begin their structs with the size. */
        note->size = *(const uint32_t *)arg;
        if (note->size > sizeof(note->arg))
            return -E2BIG;
        memcpy(note->arg, (const void *)arg, note->size);
    }
    return rec->inner->ops->ioctl(rec->inner->ctx, fd, request, arg);
}

static int rec_readlink(void *ctx, const char *path, char *out, size_t size)
{
    const struct recorder *rec = ctx;

    return rec->inner->ops->readlink(rec->inner->ctx, path, out, size);
}

static int rec_read_text(void *ctx, const char *path, char *out, size_t size)
{
    const struct recorder *rec = ctx;

    return rec->inner->ops->read_text(rec->inner->ctx, path, out, size);
}

static bool rec_exists(void *ctx, const char *path)
{
    const struct recorder *rec = ctx;

    return rec->inner->ops->exists(rec->inner->ctx, path);
}

static int rec_find_name(void *ctx, const char *dir, const char *prefix, char *out, size_t size)
{
    const struct recorder *rec = ctx;

    return rec->inner->ops->find_name(rec->inner->ctx, dir, prefix, out, size);
}

static int rec_pipe(void *ctx, int fds[2])
{
    const struct recorder *rec = ctx;

    return rec->inner->ops->pipe(rec->inner->ctx, fds);
}

static int rec_grep(void *ctx, const char *path, const char *text)
{
    const struct recorder *rec = ctx;

    return rec->inner->ops->grep(rec->inner->ctx, path, text);
}

static const struct kernel_ops rec_ops = {
    .open = rec_open,
    .close = rec_close,
    .ioctl = rec_ioctl,
    .readlink = rec_readlink,
    .read_text = rec_read_text,
    .exists = rec_exists,
    .find_name = rec_find_name,
    .pipe = rec_pipe,
    .grep = rec_grep,
};

/* --- the bench -------------------------------------------------------------------------------- */

struct bench {
    const struct iommu_driver *driver;
    const char *device;
    const char *only; /* the cases of this name; NULL: all */
    unsigned rounds;
    bool on_model;
    struct model_kernel model;
    struct recorder rec;
    struct notes same, direct;
    int counter; /* of instructions; -1: there is none */
    struct iommu_host *host;
    struct host_endpoint *ep;
    struct replay_options options;
    struct guest guest;
};

struct bench_case {
    const char *name;
    unsigned batch;
    uint64_t size, stride; /* of the mappings */
};

/* ns of a batch's MAPs and UNMAPs */
struct times {
    uint64_t through, same, direct;
};

/* What a batch costs that time does not say. */
struct costs {
    unsigned long calls;
    uint64_t instructions; /* 0: not counted */
};

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t iova_of(const struct bench_case *c, unsigned i)
{
    return FIRST_IOVA + i * c->stride;
}

static uint32_t build_map(uint8_t *req, unsigned i, const struct bench_case *c)
{
    uint64_t iova = iova_of(c, i);

    memset(req, 0, VIOMMU_REQ_MAX);
    req[0] = VIOMMU_T_MAP;
    le32_store(req + VIOMMU_MAP_DOMAIN, 1);
    le64_store(req + VIOMMU_MAP_VIRT_START, iova);
    le64_store(req + VIOMMU_MAP_VIRT_END, iova + c->size - 1);
    le64_store(req + VIOMMU_MAP_PHYS_START, i * c->size % MEMORY);
    le32_store(req + VIOMMU_MAP_FLAGS, VIOMMU_MAP_F_READ | VIOMMU_MAP_F_WRITE);
    return VIOMMU_MAP_SIZE;
}

static uint32_t build_unmap(uint8_t *req, unsigned i, const struct bench_case *c)
{
    uint64_t iova = iova_of(c, i);

    memset(req, 0, VIOMMU_REQ_MAX);
    req[0] = VIOMMU_T_UNMAP;
    le32_store(req + VIOMMU_UNMAP_DOMAIN, 1);
    le64_store(req + VIOMMU_UNMAP_VIRT_START, iova);
    le64_store(req + VIOMMU_UNMAP_VIRT_END, iova + c->size - 1);
    return VIOMMU_UNMAP_SIZE;
}

static uint32_t build_attach(uint8_t *req, unsigned i, const struct bench_case *c)
{
    (void)i;
    (void)c;
    memset(req, 0, VIOMMU_REQ_MAX);
    req[0] = VIOMMU_T_ATTACH;
    le32_store(req + VIOMMU_ATTACH_DOMAIN, 1);
    le32_store(req + VIOMMU_ATTACH_ENDPOINT, ENDPOINT);
    return VIOMMU_ATTACH_SIZE;
}

typedef uint32_t build_fn(uint8_t *req, unsigned i, const struct bench_case *c);

/* Requests `first` to `first + n - 1`, in one batch; only the device's part is timed. */
static bool send_batch(struct bench *b, const struct bench_case *c, unsigned first, unsigned n,
                       build_fn *build, uint64_t *ns_io)
{
    struct guest *g = &b->guest;
    uint8_t req[VIOMMU_REQ_MAX], tail[VIOMMU_TAIL_SIZE];
    uint64_t start;
    bool ok = true;

    for (unsigned i = 0; i < n && ok; i++)
        ok = requests_add(g->requests, &g->request_ring, req, build(req, first + i, c),
                          VIOMMU_TAIL_SIZE) != NULL;
    (void)guest_ring_publish(&g->request_ring);
    start = now_ns();
    guest_kick(g);
    *ns_io += now_ns() - start;
    ok = ok && requests_complete(g->requests, &g->request_ring);
    for (unsigned i = 0; i < n && ok; i++) {
        requests_copy(g->requests, &g->requests->v[i], 0, tail, sizeof(tail));
        ok = g->requests->v[i].used == sizeof(tail) && tail[0] == VIOMMU_S_OK;
    }
    requests_clear(g->requests);
    return ok;
}

static bool send_pairs(struct bench *b, const struct bench_case *c, uint64_t *ns_io)
{
    return send_batch(b, c, 0, c->batch, build_map, ns_io) &&
           send_batch(b, c, 0, c->batch, build_unmap, ns_io);
}

/* The noted calls once more, each as it was. */
static bool replay(struct bench *b, const struct notes *notes, uint64_t *ns_out)
{
    const struct kernel *k = b->rec.inner;
    uint64_t arg[ARG_SIZE / 8];
    uint64_t start = now_ns();
    bool ok = true;

    for (size_t i = 0; i < notes->n && ok; i++) {
        const struct note *note = &notes->v[i];

        memcpy(arg, note->arg, note->size);
        ok = k->ops->ioctl(k->ctx, note->fd, note->request, (uintptr_t)arg) == 0;
    }
    *ns_out = now_ns() - start;
    return ok;
}

static bool one_round(struct bench *b, const struct bench_case *c, struct times *t)
{
    t->through = 0;
    return send_pairs(b, c, &t->through) && replay(b, &b->same, &t->same) &&
           replay(b, &b->direct, &t->direct);
}

/* --- what a batch does ------------------------------------------------------------------------ */

static int open_counter(void)
{
    struct perf_event_attr attr = {
        .type = PERF_TYPE_HARDWARE,
        .size = sizeof(attr),
        .config = PERF_COUNT_HW_INSTRUCTIONS,
        .exclude_kernel = 1,
        .exclude_hv = 1,
    };

    return (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
}

static uint64_t read_counter(const struct bench *b)
{
    uint64_t n = 0;

    return b->counter >= 0 && read(b->counter, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

static size_t grant_calls(const struct bench *b)
{
    return fake_grants_map_calls(b->guest.grants) + fake_grants_copy_calls(b->guest.grants);
}

/* Notes the calls of a batch as it is. False if it went wrong. */
static bool note_same(struct bench *b, const struct bench_case *c, unsigned long *calls_out)
{
    size_t before = grant_calls(b);
    uint64_t ns = 0;
    bool ok;

    b->same.n = 0;
    b->rec.notes = &b->same;
    b->rec.calls = 0;
    ok = send_pairs(b, c, &ns);
    b->rec.notes = NULL;
    *calls_out = b->rec.calls + (grant_calls(b) - before);
    return ok;
}

/* Notes the calls when each request is alone in its batch: one ioctl for each. */
static bool note_direct(struct bench *b, const struct bench_case *c)
{
    uint64_t ns = 0;
    bool ok = true;

    b->direct.n = 0;
    b->rec.notes = &b->direct;
    for (unsigned i = 0; i < c->batch && ok; i++)
        ok = send_batch(b, c, i, 1, build_map, &ns);
    for (unsigned i = 0; i < c->batch && ok; i++)
        ok = send_batch(b, c, i, 1, build_unmap, &ns);
    b->rec.notes = NULL;
    return ok && b->direct.n == (size_t)2 * c->batch;
}

/* Once to map the windows of guest memory, then for the record. */
static bool look(struct bench *b, const struct bench_case *c, struct costs *out)
{
    uint64_t ns = 0, start;
    bool ok = send_pairs(b, c, &ns) && note_direct(b, c) && note_same(b, c, &out->calls);

    start = read_counter(b);
    ok = ok && send_pairs(b, c, &ns);
    out->instructions = read_counter(b) - start;
    return ok;
}

/* --- a case ----------------------------------------------------------------------------------- */

static int compare_ratios(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static double median(double *v, size_t n)
{
    qsort(v, n, sizeof(*v), compare_ratios);
    return v[n / 2];
}

static double ratio(uint64_t a, uint64_t b)
{
    return (double)a / (double)(b ? b : 1);
}

static void report(const struct bench *b, const struct bench_case *c, const struct costs *costs,
                   const struct times *sum, double *to_direct, double *to_same)
{
    double pairs = (double)b->rounds * c->batch;

    printf("%s %s batch %u: %.0f ns per MAP+UNMAP; direct %.0f ns, ratio %.3f; "
           "same calls %.0f ns, ratio %.3f; system calls per request %.2f; ",
           b->driver->ops->name, c->name, c->batch, (double)sum->through / pairs,
           (double)sum->direct / pairs, median(to_direct, b->rounds), (double)sum->same / pairs,
           median(to_same, b->rounds), (double)costs->calls / (2 * c->batch));
    if (costs->instructions > 0)
        printf("instructions per request %.0f\n",
               (double)costs->instructions / (2 * (double)c->batch));
    else
        printf("instructions not counted\n");
}

static bool run_case(struct bench *b, const struct bench_case *c)
{
    double *to_direct = calloc(b->rounds, sizeof(*to_direct));
    double *to_same = calloc(b->rounds, sizeof(*to_same));
    struct times sum = {0}, t;
    struct costs costs = {0};
    bool ok = to_direct && to_same && look(b, c, &costs) && one_round(b, c, &t);

    for (unsigned i = 0; i < b->rounds && ok; i++) {
        ok = one_round(b, c, &t);
        to_direct[i] = ratio(t.through, t.direct);
        to_same[i] = ratio(t.through, t.same);
        sum.through += t.through;
        sum.direct += t.direct;
        sum.same += t.same;
    }
    if (ok)
        report(b, c, &costs, &sum, to_direct, to_same);
    else
        fprintf(stderr, "bench_vfio: %s batch %u: a request was refused\n", c->name, c->batch);
    free(to_direct);
    free(to_same);
    return ok;
}

/* --- setting up ------------------------------------------------------------------------------- */

static bool add_endpoint(struct bench *b)
{
    const struct iommu_options options = {.unsafe_pin_leak = false};
    struct iommu_limits limits;
    char why[256] = "";
    const char *reason = why;
    int r = b->driver->host_new(&b->rec.kernel, &b->host, why, sizeof(why));

    if (r == 0)
        r = b->driver->open(b->host, b->device, &options, &b->ep, why, sizeof(why));
    if (r == 0) {
        b->driver->limits(b->ep, &limits);
        r = viommu_endpoint_add(device_viommu(b->guest.device),
                                &(struct viommu_endpoint_config){
                                    .id = ENDPOINT,
                                    .ops = b->driver->ops,
                                    .host = b->ep,
                                    .caps = b->driver->caps,
                                    .page_size_mask = limits.page_size_mask,
                                    .aperture = limits.aperture,
                                    .resv = limits.resv,
                                    .n_resv = limits.n_resv,
                                },
                                &reason);
    }
    if (r < 0)
        fprintf(stderr, "bench_vfio: %s: %s\n", b->device, reason ? reason : strerror(-r));
    return r == 0;
}

static bool set_up(struct bench *b)
{
    char why[256] = "";
    uint64_t ns = 0;

    b->options = (struct replay_options){
        .device = DEVICE_CONFIG_DEFAULT,
        .memory = MEMORY + POOL,
        .queue_size = 256,
        .batch = MAX_BATCH,
    };
    b->options.device.viommu.features &= ~(VIOMMU_F_MMIO | VIOMMU_F_BYPASS_CONFIG);
    b->options.accepted = b->options.device.viommu.features;
    if (b->on_model) {
        model_kernel_init(&b->model);
        b->device = "0000:03:00.0";
        if (!model_kernel_add(&b->model, b->device, 5))
            return false;
    }
    b->rec = (struct recorder){
        .kernel = {.ops = &rec_ops, .ctx = &b->rec},
        .inner = b->on_model ? &b->model.kernel : &kernel_host,
    };
    if (guest_init(&b->guest, &b->options, why, sizeof(why)) < 0) {
        fprintf(stderr, "bench_vfio: %s\n", why);
        return false;
    }
    /* Buffers in the grant map, as a guest with static grants has them: no copy calls. */
    b->guest.requests->pool = (struct guest_arena){
        .memory = fake_grants_memory(b->guest.grants) + MEMORY,
        .address = MEMORY,
        .size = POOL,
    };
    return add_endpoint(b) && send_batch(b, NULL, 0, 1, build_attach, &ns);
}

static uint64_t requests_served(const struct bench *b)
{
    const struct viommu_counters *counters = viommu_counters(device_viommu(b->guest.device));
    uint64_t n = 0;

    for (size_t i = 0; i < ARRAY_SIZE(counters->requests); i++)
        n += counters->requests[i];
    return n;
}

static void tear_down(struct bench *b)
{
    if (b->guest.device && b->ep)
        (void)!viommu_endpoint_remove(device_viommu(b->guest.device), ENDPOINT);
    b->driver->close(b->ep);
    b->host = b->driver->host_free(b->host);
    if (b->guest.options)
        (void)guest_fini(&b->guest);
    if (b->on_model)
        model_kernel_fini(&b->model);
}

static bool take_option(struct bench *b, int key)
{
    uint32_t rounds;

    switch (key) {
    case 'c':
        b->only = optarg;
        return true;
    case 'd':
        b->driver = strcmp(optarg, "vfio") == 0      ? &vfio_driver
                    : strcmp(optarg, "iommufd") == 0 ? &iommufd_driver
                                                     : NULL;
        return b->driver != NULL;
    case 'm':
        b->on_model = true;
        return true;
    case 'r':
        if (parse_u32(optarg, 1000000, &rounds) < 0 || rounds == 0)
            return false;
        b->rounds = rounds;
        return true;
    default:
        return false;
    }
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"case", required_argument, NULL, 'c'},
        {"driver", required_argument, NULL, 'd'},
        {"model", no_argument, NULL, 'm'},
        {"rounds", required_argument, NULL, 'r'},
        {NULL, 0, NULL, 0},
    };
    static const struct bench_case cases[] = {
        {"4 KiB", 64, 4096, 4096},
        {"4 KiB", 1, 4096, 4096},
        {"4 KiB apart", 64, 4096, 8192}, /* no two UNMAPs adjoin */
        {"2 MiB", 64, 2ull << 20, 2ull << 20},
        {"2 MiB", 1, 2ull << 20, 2ull << 20},
    };
    static struct bench b = {.driver = &vfio_driver, .rounds = 200};
    bool ok = true;
    int key;

    while ((key = getopt_long(argc, argv, "", options, NULL)) != -1)
        ok = take_option(&b, key) && ok;
    if (!ok || (argc - optind == 1) == b.on_model || argc - optind > 1) {
        fputs("usage: bench_vfio [--driver=vfio|iommufd] [--rounds=N] [--case=NAME] "
              "(--model | PCI-ADDRESS | UUID)\n",
              stderr);
        return 2;
    }
    b.device = argv[optind];
    b.counter = open_counter();
    ok = set_up(&b);
    for (size_t i = 0; i < ARRAY_SIZE(cases) && ok; i++) {
        if (!b.only || strcmp(b.only, cases[i].name) == 0)
            ok = run_case(&b, &cases[i]);
    }
    if (ok)
        printf("requests in all: %" PRIu64 "\n", requests_served(&b));
    tear_down(&b);
    if (b.counter >= 0)
        close(b.counter);
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
