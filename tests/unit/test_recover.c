/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A device that is killed at every step, and its successor (backend/daemon/device_recover.c).
 *
 * The guest is this process; the device is a child that shares nothing with it but the guest's
 * memory and the state file, as a worker does. A hook before and after each write to the state
 * file, each grant call, each call to the host's IOMMU and each notification counts; at a chosen
 * count the child ends without another word. What it leaves is what a killed worker leaves.
 *
 * A round is something that the guest does at once. It is played without a death first, which says
 * what must come out: all of the guest's memory, byte for byte (answers, used rings, control page),
 * the tables, the host's tables, and how many pages are mapped. Then it is played again with a
 * death at every count in turn, and with a second death in the successor.
 */
#include <config.h>

#include "backend/daemon/device.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "backend/daemon/control_page.h"
#include "backend/daemon/device_priv.h"
#include "backend/daemon/statefile.h"
#include "backend/iommu/soft.h"
#include "common/le.h"
#include "common/log.h"
#include "tests/support/fake_grants.h"
#include "tests/support/guest_ring.h"
#include "tests/support/state_dump.h"
#include "tests/support/ut.h"

#define PAGE           4096ull
#define RAM_PAGES      16u
#define RAM_REF        100u
#define FRONTEND_PAGES 96u
#define FRONTEND_REF   2000u
#define MEMORY_SIZE    ((RAM_PAGES + FRONTEND_PAGES) * PAGE)

#define QUEUE_SIZE   16u
#define MAX_MAPPINGS 64u
#define SOFT_EP      8u
#define HOST_EP      9u
#define FEATURES     (VIRTIO_F_VERSION_1 | VIRTIO_F_ACCESS_PLATFORM | VIRTIO_F_EVENT_IDX | VIOMMU_F_ALL)
#define READY        (STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK | STATUS_DRIVER_OK)

#define NEVER UINT32_MAX

/* What a child says of itself when it has come to the end. */
struct outcome {
    char state[16384];
    size_t pages; /* mapped: no more than without a death; windows may be kept for later */
    size_t pinned;
    size_t host_bytes; /* in the host's tables */
    int recover;       /* what device_recover returned */
    size_t calls;      /* of the platform, until then */
};

struct world {
    struct fake_grants *f;
    struct guest_arena arena;
    uint8_t *memory, *control, *directory;
    struct guest_ring ring[VIOMMU_N_QUEUES];
    struct device_connection c;
    struct outcome *outcome; /* shared */
    uint8_t *file;           /* shared */
    size_t file_size;
    const uint8_t *tail[QUEUE_SIZE]; /* of the requests of this round */
    unsigned n_tails;
    bool provoke_fault; /* the device sees a DMA that it refuses, each time it starts */
    bool without_host;  /* the administrator has removed HOST_EP */
};

/* The beginning of a round: all that the guest and its device have in common, and the guest. */
struct snapshot {
    uint8_t *memory, *file;
    struct guest_arena arena;
    struct guest_ring ring[VIOMMU_N_QUEUES];
};

/* --- death --------------------------------------------------------------------------------------
 */

#define EXIT_KILLED 42
#define EXIT_FAILED 43
#define EXIT_BROKEN 44 /* a crash, or a sanitizer's */

static uint32_t steps, death = NEVER;

static void step(void)
{
    if (steps++ == death)
        (void)raise(SIGKILL);
}

void statefile_test_hook(void);
void statefile_test_hook(void)
{
    step();
}

static int map_or_die(void *ctx, const uint32_t *refs, size_t n, bool write, void **out)
{
    int r;

    step();
    r = fake_grants_ops.map(ctx, refs, n, write, out);
    step();
    return r;
}

static void unmap_or_die(void *ctx, void *addr, size_t n)
{
    step();
    fake_grants_ops.unmap(ctx, addr, n);
    step();
}

/* Several at once: a death can come between any two of them. */
static void map_many_or_die(void *ctx, struct grant_window *windows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        windows[i].status = map_or_die(ctx, windows[i].refs, windows[i].n_pages,
                                       windows[i].writable, &windows[i].addr);
}

static void unmap_many_or_die(void *ctx, const struct grant_window *windows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        unmap_or_die(ctx, windows[i].addr, windows[i].n_pages);
}

static bool map_ahead;
static struct grant_ops dying_grants;
static uint64_t ring_features = VIRTIO_F_EVENT_IDX;

static void notify_queue(void *ctx, unsigned queue)
{
    (void)ctx;
    (void)queue;
    step();
}

static void notify_control(void *ctx)
{
    (void)ctx;
    step();
}

/* --- a host IOMMU -------------------------------------------------------------------------------
 *
 * Counts what is mapped; a new process finds nothing mapped, as behind VFIO.
 */

static size_t host_bytes;

static int host_space_new(struct host_endpoint *ep, struct host_space **out)
{
    (void)ep;
    step();
    *out = calloc(1, 1);
    return *out ? 0 : -ENOMEM;
}

static void host_space_free(struct host_space *space)
{
    host_bytes = 0; /* one endpoint, so one space at most */
    free(space);
}

static int host_attach(struct host_space *space, struct host_endpoint *ep)
{
    (void)space;
    (void)ep;
    step();
    return 0;
}

static void host_detach(struct host_space *space, struct host_endpoint *ep)
{
    (void)space;
    (void)ep;
    step();
}

static int host_map(struct host_space *space, struct range iova, const struct map_source *source,
                    unsigned prot)
{
    (void)space;
    (void)source;
    (void)prot;
    step();
    host_bytes += (size_t)range_size(iova);
    step();
    return 0;
}

static void host_unmap(struct host_space *space, struct range iova, uint64_t bytes)
{
    (void)space;
    (void)iova;
    step();
    host_bytes -= (size_t)bytes;
    step();
}

static int host_bypass(struct host_endpoint *ep, bool on)
{
    (void)ep;
    (void)on;
    step();
    return 0;
}

static const struct host_iommu_ops host_ops = {
    .name = "host",
    .source = MAP_SOURCE_HVA,
    .space_new = host_space_new,
    .space_free = host_space_free,
    .attach = host_attach,
    .detach = host_detach,
    .map = host_map,
    .unmap = host_unmap,
    .bypass = host_bypass,
};

/* --- the device, in a child ---------------------------------------------------------------------
 */

static bool add_endpoint(struct device *d, uint32_t id, const struct host_iommu_ops *ops,
                         unsigned caps)
{
    const struct viommu_endpoint_config config = {
        .id = id, .ops = ops, .caps = caps, .aperture = {0, UINT64_MAX}};
    const char *why;

    return viommu_endpoint_add(device_viommu(d), &config, &why) == 0;
}

/* What the rounds are made with, but for a test of many mappings. */
static unsigned ram_pages = RAM_PAGES, queue_size = QUEUE_SIZE, max_mappings = MAX_MAPPINGS;

static struct device *make_device(struct world *w, const struct statefile_setup *setup)
{
    const struct device_host host = {.grants = &dying_grants,
                                     .grants_ctx = w->f,
                                     .notify_queue = notify_queue,
                                     .notify_control = notify_control};
    struct device_config config = DEVICE_CONFIG_DEFAULT;
    struct device *d = NULL;
    const char *why;

    config.viommu.max_mappings = max_mappings;
    config.max_map_pages = 1;
    config.budget = 5;
    if (setup)
        config.viommu = setup->viommu;
    if (device_new(&d, &config, &host, &why) ||
        !add_endpoint(d, SOFT_EP, &soft_iommu_ops, SOFT_IOMMU_CAPS) ||
        (!w->without_host &&
         !add_endpoint(d, HOST_EP, &host_ops, (unsigned)(HOST_CAP_MMIO | HOST_CAP_BYPASS))))
        return device_free(d);
    return d;
}

static bool connect_first(struct world *w, struct device *d, struct statefile *f)
{
    struct statefile_setup setup = {.text = "max-mappings=64", .has_text = true};
    char why[128];

    if (device_connect(d, &w->c, why, sizeof(why)))
        return false;
    device_setup(d, &setup);
    statefile_commit(f, &setup);
    return true;
}

/* As a worker's life: everything that there is to do, then an account of it. */
static void live(struct world *w, struct device *d)
{
    struct gmem_stats stats;
    uint8_t byte = 0;
    FILE *out;

    (void)device_control_event(d);
    while (device_queue_event(d, VIOMMU_QUEUE_REQUEST))
        ;
    if (w->provoke_fault) {
        (void)!soft_dma(device_viommu(d), SOFT_EP, 0xdead0000, &byte, 1, true, NULL);
        device_deliver_faults(d);
    }
    death = NEVER;
    out = fmemopen(w->outcome->state, sizeof(w->outcome->state), "w");
    if (out) {
        state_dump(device_viommu(d), out);
        fclose(out);
    }
    gmem_get_stats(device_gmem(d), &stats);
    w->outcome->pages = fake_grants_live_pages(w->f);
    w->outcome->pinned = stats.pinned_pages;
    w->outcome->host_bytes = host_bytes;
}

static int be_device(struct world *w, struct statefile *f, bool first, struct device **d_out)
{
    struct statefile_setup setup;
    const char *reason;
    char why[128];

    if (!first && statefile_read_setup(f, &setup, &reason))
        return EXIT_FAILED;
    *d_out = make_device(w, first ? NULL : &setup);
    if (!*d_out)
        return EXIT_FAILED;
    device_set_file(*d_out, f);
    if (first) {
        if (!connect_first(w, *d_out, f))
            return EXIT_FAILED;
    } else {
        struct gmem_stats stats;

        w->outcome->recover = device_recover(*d_out, &setup, why, sizeof(why));
        gmem_get_stats(device_gmem(*d_out), &stats);
        w->outcome->calls = stats.calls;
        if (w->outcome->recover < 0)
            return EXIT_FAILED;
    }
    live(w, *d_out);
    return 0;
}

static int child(struct world *w, bool first, uint32_t die_at)
{
    struct device *d = NULL;
    struct statefile *f;
    int r;

    steps = 0;
    host_bytes = 0;
    death = die_at;
    if (statefile_new(&f, w->file, w->file_size))
        return EXIT_FAILED;
    r = be_device(w, f, first, &d);
    death = NEVER;
    if (d)
        device_leave_file(d);
    device_free(d);
    statefile_free(f);
    return r;
}

/* Lets a device live until it is done, or dies. Returns its exit code. */
static int run(struct world *w, bool first, uint32_t die_at)
{
    int status;
    pid_t pid;

    fflush(NULL);
    pid = fork();
    if (pid == 0)
        _exit(child(w, first, die_at));
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return EXIT_BROKEN;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        return EXIT_KILLED;
    return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_BROKEN;
}

/* --- the guest ----------------------------------------------------------------------------------
 */

static void put(struct world *w, unsigned offset, uint32_t value)
{
    le32_store(w->control + offset, value);
}

static uint32_t get(const struct world *w, unsigned offset)
{
    return le32_load(w->control + offset);
}

static void write_status(struct world *w, uint32_t value)
{
    put(w, CONTROL_F_STATUS, value);
    put(w, CONTROL_F_STATUS_SEQ, get(w, CONTROL_F_STATUS_SEQ) + 1);
}

static void make_rings(struct world *w)
{
    for (unsigned q = 0; q < VIOMMU_N_QUEUES; q++) {
        struct virtqueue_config c;

        UT_TRUE(guest_ring_init(&w->ring[q], &w->arena, (uint16_t)queue_size, ring_features));
        c = guest_ring_config(&w->ring[q]);
        w->c.queue[q] = (struct device_queue_setup){c.size, c.desc, c.driver, c.device};
    }
}

static void *shared(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

static void quiet(enum log_level level, const char *line, void *ctx)
{
    (void)level;
    (void)line;
    (void)ctx;
}

static bool world_open(struct world *w)
{
    *w = (struct world){.f = fake_grants_new(ram_pages + FRONTEND_PAGES, false)};
    dying_grants = fake_grants_ops;
    dying_grants.map = map_or_die;
    dying_grants.unmap = unmap_or_die;
    if (map_ahead) {
        dying_grants.copy = NULL;
        dying_grants.map_many = map_many_or_die;
        dying_grants.unmap_many = unmap_many_or_die;
    }
    w->file_size = (size_t)statefile_size(max_mappings, 1);
    w->file = shared(w->file_size);
    w->outcome = shared(sizeof(*w->outcome));
    if (!w->f || !w->file || !w->outcome ||
        !fake_grants_grant(w->f, RAM_REF, 0, ram_pages, false) ||
        !fake_grants_grant(w->f, FRONTEND_REF, ram_pages, FRONTEND_PAGES, false))
        return false;
    w->memory = fake_grants_memory(w->f);
    w->arena = (struct guest_arena){
        .memory = w->memory + ram_pages * PAGE,
        .address = GMEM_GRANT_BIT | (uint64_t)FRONTEND_REF << GRANT_PAGE_SHIFT,
        .size = FRONTEND_PAGES * PAGE,
    };
    w->control = guest_alloc(&w->arena, PAGE, PAGE);
    w->directory = guest_alloc(&w->arena, PAGE, PAGE);
    w->c.features = FEATURES | ring_features;
    w->c.control_ref = FRONTEND_REF;
    make_rings(w);
    put(w, CONTROL_F_MAGIC, CONTROL_MAGIC);
    put(w, CONTROL_F_VERSION, CONTROL_VERSION);
    log_set_sink(quiet, NULL);
    return run(w, true, NEVER) == 0;
}

static void world_close(struct world *w)
{
    fake_grants_free(w->f);
    if (w->file)
        munmap(w->file, w->file_size);
    if (w->outcome)
        munmap(w->outcome, sizeof(*w->outcome));
}

/* Posts a request with `room` bytes for the reply; the caller publishes. */
static uint8_t *post(struct world *w, const uint8_t *req, uint32_t len, uint32_t room)
{
    uint8_t *bytes = guest_alloc(&w->arena, len, 1);
    uint8_t *reply = guest_alloc(&w->arena, room, 1);
    struct guest_buf bufs[2];

    if (!bytes || !reply)
        return NULL;
    memcpy(bytes, req, len);
    memset(reply, 0xff, room);
    bufs[0] = (struct guest_buf){guest_address(&w->arena, bytes), len, false};
    bufs[1] = (struct guest_buf){guest_address(&w->arena, reply), room, true};
    w->tail[w->n_tails++ % QUEUE_SIZE] = reply + room - VIOMMU_TAIL_SIZE;
    return guest_ring_add(&w->ring[VIOMMU_QUEUE_REQUEST], bufs, 2,
                          ring_features & VIRTIO_F_INDIRECT_DESC ? 0 : 2) >= 0
               ? reply
               : NULL;
}

static void attach(struct world *w, uint32_t vdomain, uint32_t endpoint, uint32_t flags)
{
    uint8_t req[VIOMMU_ATTACH_SIZE] = {VIOMMU_T_ATTACH};

    le32_store(req + VIOMMU_ATTACH_DOMAIN, vdomain);
    le32_store(req + VIOMMU_ATTACH_ENDPOINT, endpoint);
    le32_store(req + VIOMMU_ATTACH_FLAGS, flags);
    UT_TRUE(post(w, req, sizeof(req), VIOMMU_TAIL_SIZE) != NULL);
}

static void detach(struct world *w, uint32_t vdomain, uint32_t endpoint)
{
    uint8_t req[VIOMMU_DETACH_SIZE] = {VIOMMU_T_DETACH};

    le32_store(req + VIOMMU_DETACH_DOMAIN, vdomain);
    le32_store(req + VIOMMU_DETACH_ENDPOINT, endpoint);
    UT_TRUE(post(w, req, sizeof(req), VIOMMU_TAIL_SIZE) != NULL);
}

static void map(struct world *w, uint32_t vdomain, uint64_t iova, uint64_t pages, uint64_t phys,
                uint32_t flags)
{
    uint8_t req[VIOMMU_MAP_SIZE] = {VIOMMU_T_MAP};

    le32_store(req + VIOMMU_MAP_DOMAIN, vdomain);
    le64_store(req + VIOMMU_MAP_VIRT_START, iova);
    le64_store(req + VIOMMU_MAP_VIRT_END, iova + pages * PAGE - 1);
    le64_store(req + VIOMMU_MAP_PHYS_START, phys);
    le32_store(req + VIOMMU_MAP_FLAGS, flags);
    UT_TRUE(post(w, req, sizeof(req), VIOMMU_TAIL_SIZE) != NULL);
}

static void unmap(struct world *w, uint32_t vdomain, uint64_t first, uint64_t last)
{
    uint8_t req[VIOMMU_UNMAP_SIZE] = {VIOMMU_T_UNMAP};

    le32_store(req + VIOMMU_UNMAP_DOMAIN, vdomain);
    le64_store(req + VIOMMU_UNMAP_VIRT_START, first);
    le64_store(req + VIOMMU_UNMAP_VIRT_END, last);
    UT_TRUE(post(w, req, sizeof(req), VIOMMU_TAIL_SIZE) != NULL);
}

static void probe(struct world *w, uint32_t endpoint)
{
    uint8_t req[VIOMMU_PROBE_SIZE] = {VIOMMU_T_PROBE};

    le32_store(req + VIOMMU_PROBE_ENDPOINT, endpoint);
    UT_TRUE(post(w, req, sizeof(req), 512 + VIOMMU_TAIL_SIZE) != NULL);
}

static void publish(struct world *w)
{
    (void)guest_ring_publish(&w->ring[VIOMMU_QUEUE_REQUEST]);
}

/* The round's requests were answered, each once, with these statuses (digits). */
static void check_answers(struct world *w, const char *statuses)
{
    char got[QUEUE_SIZE + 1] = "";
    uint32_t head, used;
    unsigned n = 0;

    while (n < QUEUE_SIZE && guest_ring_used(&w->ring[VIOMMU_QUEUE_REQUEST], &head, &used)) {
        got[n] = n < w->n_tails ? (char)('0' + *w->tail[n] % 64) : '!';
        n++;
    }
    got[n] = '\0';
    UT_STR(got, statuses);
    w->n_tails = 0;
}

static uint64_t ram_grant(unsigned page)
{
    return GMEM_GRANT_BIT | (uint64_t)(RAM_REF + page) << GRANT_PAGE_SHIFT;
}

/* --- rounds -------------------------------------------------------------------------------------
 */

static bool snapshot_take(const struct world *w, struct snapshot *s)
{
    s->memory = malloc(MEMORY_SIZE);
    s->file = malloc(w->file_size);
    if (!s->memory || !s->file)
        return false;
    memcpy(s->memory, w->memory, MEMORY_SIZE);
    memcpy(s->file, w->file, w->file_size);
    return true;
}

static void snapshot_back(struct world *w, const struct snapshot *s)
{
    memcpy(w->memory, s->memory, MEMORY_SIZE);
    memcpy(w->file, s->file, w->file_size);
}

static void snapshot_free(struct snapshot *s)
{
    free(s->memory);
    free(s->file);
}

static size_t first_difference(const uint8_t *a, const uint8_t *b, size_t n)
{
    size_t i = 0;

    while (i < n && a[i] == b[i])
        i++;
    return i;
}

/* Memory and account after a round with deaths are those of the round without. */
static bool same_outcome(const struct world *w, const uint8_t *memory, const struct outcome *want,
                         uint32_t at)
{
    size_t diff = first_difference(w->memory, memory, MEMORY_SIZE);

    if (diff != MEMORY_SIZE)
        printf("death at %u: guest memory differs at %#zx\n", (unsigned)at, diff);
    if (strcmp(w->outcome->state, want->state) != 0)
        printf("death at %u: tables differ\n--- got\n%s--- want\n%s", (unsigned)at,
               w->outcome->state, want->state);
    if (w->outcome->pages > want->pages || w->outcome->pinned != want->pinned)
        printf("death at %u: %zu pages, %zu pinned, want %zu, %zu\n", (unsigned)at,
               w->outcome->pages, w->outcome->pinned, want->pages, want->pinned);
    if (w->outcome->host_bytes != want->host_bytes)
        printf("death at %u: the host maps %zu bytes, want %zu\n", (unsigned)at,
               w->outcome->host_bytes, want->host_bytes);
    return diff == MEMORY_SIZE && strcmp(w->outcome->state, want->state) == 0 &&
           w->outcome->pages <= want->pages && w->outcome->pinned == want->pinned &&
           w->outcome->host_bytes == want->host_bytes && w->outcome->recover == 0;
}

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#endif

/* A process is made for each death, which takes a sanitizer many times as long: a fifth there. */
static unsigned stride(void)
{
#ifdef SANITIZED
    const unsigned usual = 5;
#else
    const unsigned usual = 1;
#endif

    return ut_quick() ? 29 : usual;
}

/* Plays what the guest has prepared with a death at each count; ends as if there had been none. */
static void play(struct world *w, const char *name)
{
    struct snapshot start, end;
    struct outcome want;
    unsigned bad = 0;
    uint32_t at;

    UT_REQUIRE(snapshot_take(w, &start));
    UT_REQUIRE(run(w, false, NEVER) == 0);
    UT_REQUIRE(w->outcome->recover == 0);
    want = *w->outcome;
    UT_REQUIRE(snapshot_take(w, &end));
    for (at = 0; bad < 3; at += stride()) {
        int r;

        snapshot_back(w, &start);
        r = run(w, false, at);
        if (r == 0)
            break;
        UT_EQ(r, EXIT_KILLED);
        /* Every other time the successor dies as well, somewhere near its beginning. */
        if (at % 2)
            (void)run(w, false, at / 2 % 40);
        if (run(w, false, NEVER) != 0 || !same_outcome(w, end.memory, &want, at))
            bad++;
    }
    printf("    %s: %u deaths\n", name, (unsigned)(at / stride()));
    UT_EQ(bad, 0);
    UT_TRUE(at > 0);
    snapshot_back(w, &end);
    snapshot_free(&start);
    snapshot_free(&end);
}

static void start_driver(struct world *w)
{
    write_status(w, READY);
    play(w, "DRIVER_OK");
    UT_EQ(get(w, CONTROL_B_STATUS), READY);
}

/* --- tests --------------------------------------------------------------------------------------
 */

/* The host unmaps for several UNMAPs at once, after their answers are in the file (viommu.h). */
static void play_joined_unmaps(struct world *w)
{
    const uint32_t rw = VIOMMU_MAP_F_READ | VIOMMU_MAP_F_WRITE;

    for (unsigned i = 0; i < 6; i++)
        map(w, 1, 0x80000 + i * PAGE, 1, ram_grant(8 + i), i % 2 ? rw : VIOMMU_MAP_F_READ);
    publish(w);
    play(w, "MAPs");
    check_answers(w, "000000");

    /* Ascending; a hole; refused ones; descending; the batch's end (budget 5) cuts the last two. */
    unmap(w, 1, 0x80000, 0x80fff);
    unmap(w, 1, 0x81000, 0x81fff);
    unmap(w, 1, 0x81000, 0x82fff);
    unmap(w, 1, 0x85000, 0x85fff);
    unmap(w, 1, 0x84000, 0x84fff);
    unmap(w, 1, 0x83000, 0x83fff);
    unmap(w, 1, 0x82000, 0x84fff);
    publish(w);
    play(w, "joined UNMAPs");
    check_answers(w, "0000000");

    map(w, 1, 0x80000, 1, ram_grant(8), rw);
    map(w, 1, 0x81000, 2, ram_grant(9), rw);
    publish(w);
    play(w, "MAPs again");
    check_answers(w, "00");

    /* A MAP, a refusal and a DETACH behind one that waits. */
    unmap(w, 1, 0x80000, 0x80fff);
    map(w, 1, 0x80000, 1, ram_grant(12), rw);
    unmap(w, 1, 0x80000, 0x80fff);
    unmap(w, 1, 0x81000, 0x81fff);
    unmap(w, 1, 0x81000, 0x82fff);
    unmap(w, 1, 0x83000, 0x83fff);
    detach(w, 1, HOST_EP);
    unmap(w, 1, 0x83000, 0x83fff);
    publish(w);
    play(w, "UNMAPs between other requests");
    check_answers(w, "00050006");
}

static void play_requests(void)
{
    const uint32_t rw = VIOMMU_MAP_F_READ | VIOMMU_MAP_F_WRITE;
    struct world w;

    UT_REQUIRE(world_open(&w));
    start_driver(&w);

    attach(&w, 1, SOFT_EP, 0);
    map(&w, 1, 0x10000, 2, ram_grant(0), rw);
    map(&w, 1, 0x20000, 1, ram_grant(2), VIOMMU_MAP_F_READ);
    attach(&w, 1, HOST_EP, 0);
    map(&w, 1, 0x10000, 1, ram_grant(0), rw);
    map(&w, 1, 0x30000, 1, ram_grant(9), 0);
    probe(&w, SOFT_EP);
    publish(&w);
    play(&w, "ATTACH, MAP, PROBE");
    check_answers(&w, "0000400");

    unmap(&w, 1, 0x10000, 0x2ffff);
    map(&w, 1, 0x10000, 1, ram_grant(4), rw);
    map(&w, 1, 0x40000, 3, ram_grant(5), rw);
    detach(&w, 2, SOFT_EP);
    detach(&w, 1, SOFT_EP);
    detach(&w, 1, SOFT_EP);
    publish(&w);
    play(&w, "UNMAP, DETACH");
    check_answers(&w, "000404");

    play_joined_unmaps(&w);

    attach(&w, 2, HOST_EP, 0);
    map(&w, 2, 0x50000, 1, ram_grant(8), rw);
    attach(&w, 3, SOFT_EP, VIOMMU_ATTACH_F_BYPASS);
    attach(&w, 1, HOST_EP, 0);
    map(&w, 1, 0x50000, 1, ram_grant(8), rw);
    unmap(&w, 7, 0, 0xfff);
    publish(&w);
    play(&w, "moving ATTACH");
    check_answers(&w, "000006");
    world_close(&w);
}

static void no_request_is_lost_or_doubled_by_a_death_at_any_step(void)
{
    play_requests();
}

static void nor_in_a_packed_ring(void)
{
    ring_features = VIRTIO_F_EVENT_IDX | VIRTIO_F_RING_PACKED;
    play_requests();
    ring_features |= VIRTIO_F_INDIRECT_DESC;
    play_requests();
    ring_features = VIRTIO_F_EVENT_IDX;
}

static void nor_where_windows_are_mapped_ahead_of_their_requests(void)
{
    map_ahead = true;
    play_requests();
    ring_features = VIRTIO_F_EVENT_IDX | VIRTIO_F_RING_PACKED | VIRTIO_F_IN_ORDER;
    play_requests();
    ring_features = VIRTIO_F_EVENT_IDX;
    map_ahead = false;
}

#define MANY 1000u

/* MANY mappings of a page each, every third one readable only; with one life for each ring full. */
static void map_many_pages(struct world *w)
{
    uint32_t head, used;

    for (unsigned i = 0; i < MANY; i++) {
        map(w, 1, 0x100000 + i * 2 * PAGE, 1, ram_grant(i),
            VIOMMU_MAP_F_READ | (i % 3 ? VIOMMU_MAP_F_WRITE : 0));
        if ((i + 1) % (queue_size / 2) && i + 1 < MANY)
            continue;
        publish(w);
        UT_EQ(run(w, false, NEVER), 0);
        while (guest_ring_used(&w->ring[VIOMMU_QUEUE_REQUEST], &head, &used))
            UT_EQ(used, VIOMMU_TAIL_SIZE);
    }
}

/*
 * With a grant broker each call is a message. The pages of mappings of a vdomain that has ended are
 * the guest's again: they are not mapped, not even ahead.
 */
static void restored_mappings_take_few_calls_of_the_platform(void)
{
    size_t without;
    struct world w;

    map_ahead = true;
    ram_pages = max_mappings = MANY;
    queue_size = 256;
    UT_REQUIRE(world_open(&w));
    write_status(&w, READY);
    attach(&w, 1, HOST_EP, 0);
    publish(&w);
    UT_EQ(run(&w, false, NEVER), 0);
    check_answers(&w, "0");
    UT_EQ(run(&w, false, NEVER), 0);
    without = w.outcome->calls;
    map_many_pages(&w);
    UT_EQ(run(&w, false, NEVER), 0);
    UT_EQ(w.outcome->recover, 0);
    UT_EQ(w.outcome->pinned, MANY);
    UT_EQ(w.outcome->host_bytes, MANY * PAGE);
    UT_EQ(w.outcome->calls - without, (MANY + GMEM_MAX_WANTS - 1) / GMEM_MAX_WANTS);

    w.without_host = true;
    UT_EQ(run(&w, false, NEVER), 0);
    UT_EQ(w.outcome->recover, 0);
    UT_EQ(w.outcome->pinned, 0);
    UT_EQ(w.outcome->calls, without);
    world_close(&w);
    ram_pages = RAM_PAGES;
    max_mappings = MAX_MAPPINGS;
    queue_size = QUEUE_SIZE;
    map_ahead = false;
}

static void offer_map(struct world *w, uint32_t generation, unsigned pages)
{
    memset(w->directory, 0, PAGE);
    le32_store(w->directory + DIRECTORY_MAGIC_AT, DIRECTORY_MAGIC);
    le32_store(w->directory + DIRECTORY_VERSION_AT, DIRECTORY_VERSION);
    le32_store(w->directory + DIRECTORY_GENERATION_AT, generation);
    le32_store(w->directory + DIRECTORY_COUNT_AT, 1);
    le32_store(w->directory + DIRECTORY_ENTRIES_AT + 8, RAM_REF);
    le32_store(w->directory + DIRECTORY_ENTRIES_AT + 12, pages);
    put(w, CONTROL_F_MAP_REF, FRONTEND_REF + 1);
    put(w, CONTROL_F_MAP_GENERATION, generation);
}

static void write_bypass(struct world *w, uint32_t value)
{
    put(w, CONTROL_F_BYPASS, value);
    put(w, CONTROL_F_BYPASS_SEQ, get(w, CONTROL_F_BYPASS_SEQ) + 1);
}

static void control_page_steps_survive_a_death_at_any_step(void)
{
    const uint32_t rw = VIOMMU_MAP_F_READ | VIOMMU_MAP_F_WRITE;
    struct world w;

    UT_REQUIRE(world_open(&w));
    start_driver(&w);
    offer_map(&w, 1, RAM_PAGES);
    write_bypass(&w, 1);
    attach(&w, 1, HOST_EP, 0);
    map(&w, 1, 0x10000, 1, 0x3000, rw);
    publish(&w);
    play(&w, "grant map, bypass");
    check_answers(&w, "00");
    UT_EQ(get(&w, CONTROL_B_MAP_IN_USE), 1);

    /* Refused: pages in use are missing. The directory's page is the guest's again after that. */
    offer_map(&w, 2, 2);
    write_bypass(&w, 256);
    play(&w, "refused grant map, bypass");
    UT_EQ(get(&w, CONTROL_B_MAP_VERDICT), MAP_VERDICT_BUSY);
    UT_EQ(get(&w, CONTROL_B_BYPASS_VERDICT), 1);
    UT_EQ(w.control[CONTROL_B_CONFIG + VIOMMU_CONFIG_BYPASS], 1);
    memset(w.directory, 0, PAGE);
    map(&w, 1, 0x20000, 1, 0x5000, rw);
    publish(&w);
    play(&w, "MAP by an address of the grant map");
    check_answers(&w, "0");

    write_status(&w, 0);
    play(&w, "device reset");
    UT_EQ(get(&w, CONTROL_B_STATUS), 0);
    make_rings(&w);
    world_close(&w);
}

static void a_reset_device_starts_again_from_index_0(void)
{
    struct world w;
    size_t mark;

    UT_REQUIRE(world_open(&w));
    mark = w.arena.next;
    start_driver(&w);
    attach(&w, 1, HOST_EP, 0);
    attach(&w, 2, SOFT_EP, 0);
    publish(&w);
    play(&w, "before a reset");
    check_answers(&w, "00");
    write_status(&w, 0);
    play(&w, "reset");
    /* The rings are at the same addresses, zeroed. */
    w.arena.next = w.arena.next > mark ? 2 * PAGE : mark;
    make_rings(&w);
    start_driver(&w);
    detach(&w, 1, HOST_EP);
    attach(&w, 4, SOFT_EP, 0);
    publish(&w);
    play(&w, "after a reset");
    check_answers(&w, "40");
    world_close(&w);
}

static void command_queue(struct world *w, unsigned q, uint32_t command)
{
    unsigned at = CONTROL_F_QUEUE(q);

    put(w, at + QUEUE_COMMAND_AT, command);
    put(w, at + QUEUE_SEQ_AT, get(w, at + QUEUE_SEQ_AT) + 1);
}

static void a_single_queue_is_reset_and_enabled_over_a_death_at_any_step(void)
{
    struct guest_ring *ring;
    struct virtqueue_config c;
    struct world w;
    unsigned at = CONTROL_F_QUEUE(VIOMMU_QUEUE_REQUEST);

    ring_features |= VIRTIO_F_RING_RESET;
    UT_REQUIRE(world_open(&w));
    start_driver(&w);
    attach(&w, 1, SOFT_EP, 0);
    publish(&w);
    play(&w, "ATTACH");
    check_answers(&w, "0");
    command_queue(&w, VIOMMU_QUEUE_REQUEST, QUEUE_COMMAND_RESET);
    play(&w, "queue reset");
    UT_EQ(get(&w, CONTROL_B_QUEUE_VERDICT(VIOMMU_QUEUE_REQUEST)), QUEUE_VERDICT_DONE);

    /* At another place, smaller. */
    ring = &w.ring[VIOMMU_QUEUE_REQUEST];
    UT_TRUE(guest_ring_init(ring, &w.arena, 8, ring_features));
    c = guest_ring_config(ring);
    put(&w, at + QUEUE_SIZE_AT, c.size);
    le64_store(w.control + at + QUEUE_DESC_AT, c.desc);
    le64_store(w.control + at + QUEUE_DRIVER_AT, c.driver);
    le64_store(w.control + at + QUEUE_DEVICE_AT, c.device);
    command_queue(&w, VIOMMU_QUEUE_REQUEST, QUEUE_COMMAND_ENABLE);
    detach(&w, 1, SOFT_EP);
    attach(&w, 2, SOFT_EP, 0);
    publish(&w);
    play(&w, "queue enable");
    UT_EQ(get(&w, CONTROL_B_QUEUE_VERDICT(VIOMMU_QUEUE_REQUEST)), QUEUE_VERDICT_DONE);
    check_answers(&w, "00");
    ring_features &= ~VIRTIO_F_RING_RESET;
    world_close(&w);
}

static void a_broken_ring_stays_broken_until_a_reset(void)
{
    struct world w;

    UT_REQUIRE(world_open(&w));
    start_driver(&w);
    attach(&w, 1, SOFT_EP, 0);
    publish(&w);
    w.ring[VIOMMU_QUEUE_REQUEST].avail[1] = 500;
    play(&w, "broken ring");
    UT_EQ(get(&w, CONTROL_B_STATUS), READY | STATUS_NEEDS_RESET);
    world_close(&w);
}

static void a_changed_used_index_needs_a_reset(void)
{
    struct world w;

    UT_REQUIRE(world_open(&w));
    start_driver(&w);
    attach(&w, 1, SOFT_EP, 0);
    publish(&w);
    UT_EQ(run(&w, false, NEVER), 0);
    w.ring[VIOMMU_QUEUE_REQUEST].used[1]++;
    UT_EQ(run(&w, false, NEVER), 0);
    UT_EQ(w.outcome->recover, 1);
    UT_EQ(get(&w, CONTROL_B_STATUS), READY | STATUS_NEEDS_RESET);
    /* And nothing of the old state is there. */
    UT_TRUE(strstr(w.outcome->state, "vdomain 1 ") == NULL);
    world_close(&w);
}

static void revoked_memory_of_a_mapping_needs_a_reset(void)
{
    struct world w;

    UT_REQUIRE(world_open(&w));
    start_driver(&w);
    attach(&w, 1, SOFT_EP, 0);
    map(&w, 1, 0x10000, 1, ram_grant(0), VIOMMU_MAP_F_READ);
    publish(&w);
    UT_EQ(run(&w, false, NEVER), 0);
    UT_EQ(fake_grants_revoke(w.f, RAM_REF, 1), 0);
    UT_EQ(run(&w, false, NEVER), 0);
    UT_EQ(w.outcome->recover, 1);
    UT_EQ(get(&w, CONTROL_B_STATUS), READY | STATUS_NEEDS_RESET);
    world_close(&w);
}

/* Whatever a taken-over worker has written: no crash of its successor, and no page too much. */
static void a_hostile_state_file_is_survived(void)
{
    uint32_t seed = 1;
    struct snapshot start;
    struct world w;

    UT_REQUIRE(world_open(&w));
    start_driver(&w);
    attach(&w, 1, SOFT_EP, 0);
    attach(&w, 1, HOST_EP, 0);
    map(&w, 1, 0x10000, 2, ram_grant(0), VIOMMU_MAP_F_READ);
    publish(&w);
    /* With an answer or two that are not published. */
    UT_EQ(run(&w, false, 40), EXIT_KILLED);
    UT_REQUIRE(snapshot_take(&w, &start));
    for (unsigned i = 0; i < 600 / stride(); i++) {
        int r;

        snapshot_back(&w, &start);
        for (unsigned n = 0; n < 1 + i % 4; n++) {
            seed = seed * 1664525u + 1013904223u;
            /* The parts that are in use: the header, the first records of each table. */
            if (i % 3 == 0)
                w.file[seed % sizeof(uint64_t[600])] ^= (uint8_t)(1u << (seed >> 29));
            else if (i % 3 == 1)
                w.file[w.file_size - MAX_MAPPINGS * 40 + seed % 160] = (uint8_t)(seed >> 24);
            else
                w.file[seed % w.file_size] = (uint8_t)(seed >> 24);
        }
        r = run(&w, false, NEVER);
        UT_TRUE(r == 0 || r == EXIT_FAILED);
        if (r == 0)
            UT_TRUE(get(&w, CONTROL_B_MAGIC) == CONTROL_MAGIC);
    }
    snapshot_free(&start);
    world_close(&w);
}

static void event_buffers_go_on_after_a_death_at_any_step(void)
{
    struct snapshot start;
    struct world w;
    uint32_t at;

    UT_REQUIRE(world_open(&w));
    start_driver(&w);
    attach(&w, 1, SOFT_EP, 0);
    publish(&w);
    for (unsigned i = 0; i < 8; i++) {
        struct guest_buf buf = {.len = VIOMMU_FAULT_SIZE, .write = true};

        buf.addr = guest_address(&w.arena, guest_alloc(&w.arena, VIOMMU_FAULT_SIZE, 8));
        UT_TRUE(guest_ring_add(&w.ring[VIOMMU_QUEUE_EVENT], &buf, 1, 1) >= 0);
    }
    (void)guest_ring_publish(&w.ring[VIOMMU_QUEUE_EVENT]);
    UT_EQ(run(&w, false, NEVER), 0);
    w.provoke_fault = true;
    UT_REQUIRE(snapshot_take(&w, &start));
    for (at = 0;; at++) {
        uint16_t used;
        int r;

        snapshot_back(&w, &start);
        r = run(&w, false, at);
        used = guest_ring_used_idx(&w.ring[VIOMMU_QUEUE_EVENT]);
        UT_TRUE(used <= 1);
        if (r == 0)
            break;
        /* The report of the dead one may be lost; that of its successor is not. */
        UT_EQ(run(&w, false, NEVER), 0);
        UT_EQ(w.outcome->recover, 0);
        UT_EQ(guest_ring_used_idx(&w.ring[VIOMMU_QUEUE_EVENT]), used + 1);
        UT_EQ(get(&w, CONTROL_B_STATUS), READY);
    }
    UT_TRUE(at > 0);
    snapshot_free(&start);
    world_close(&w);
}

static const struct ut_case cases[] = {
    UT_CASE(no_request_is_lost_or_doubled_by_a_death_at_any_step),
    UT_CASE(nor_in_a_packed_ring),
    UT_CASE(nor_where_windows_are_mapped_ahead_of_their_requests),
    UT_CASE(restored_mappings_take_few_calls_of_the_platform),
    UT_CASE(control_page_steps_survive_a_death_at_any_step),
    UT_CASE(a_reset_device_starts_again_from_index_0),
    UT_CASE(a_single_queue_is_reset_and_enabled_over_a_death_at_any_step),
    UT_CASE(a_broken_ring_stays_broken_until_a_reset),
    UT_CASE(a_changed_used_index_needs_a_reset),
    UT_CASE(revoked_memory_of_a_mapping_needs_a_reset),
    UT_CASE(a_hostile_state_file_is_survived),
    UT_CASE(event_buffers_go_on_after_a_death_at_any_step),
};

int main(int argc, char **argv)
{
    return ut_main(argc, argv, "recover", cases, ARRAY_SIZE(cases));
}
