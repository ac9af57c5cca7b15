/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * No memory: each operation of the core that allocates is tried with every one of its allocations
 * failing. It says so, changes nothing, keeps nothing, and works when there is memory again.
 */
#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "tests/support/ring_world.h"
#include "tests/support/viommu_rig.h"

/* The linker sends the program's calls here (-Wl,--wrap). */
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void __real_free(void *p);
void __wrap_free(void *p);
ssize_t __real_getrandom(void *buf, size_t size, unsigned flags);
ssize_t __wrap_getrandom(void *buf, size_t size, unsigned flags);

static int fail_at = -1; /* so many more succeed; -1: all do */
static bool fail_once;   /* those behind that one succeed again; else none does */
static bool refused, no_random;
static long live; /* blocks; only differences over one operation mean something */

static bool refuse(void)
{
    if (fail_at == 0) {
        refused = true;
        if (fail_once)
            fail_at = -1;
        return true;
    }
    if (fail_at > 0)
        fail_at--;
    return false;
}

void *__wrap_malloc(size_t size)
{
    if (refuse())
        return NULL;
    live++;
    return __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    if (refuse())
        return NULL;
    live++;
    return __real_calloc(n, size);
}

void __wrap_free(void *p)
{
    live -= p != NULL;
    __real_free(p);
}

ssize_t __wrap_getrandom(void *buf, size_t size, unsigned flags)
{
    if (no_random) {
        errno = ENOSYS;
        return -1;
    }
    return __real_getrandom(buf, size, flags);
}

static struct rig rig;

static char *no_dump(void)
{
    return calloc(1, 1);
}

static char *device_dump(void)
{
    return rig_dump(&rig);
}

/*
 * Runs `op` with its first, second, ... allocation failing, alone and with all behind it, until it
 * gets through with all of them. Each time it answers `answer`, and `dump` shows what it did
 * before. Returns how many allocations failed.
 */
static unsigned fails_everywhere(int (*op)(void), int answer, char *(*dump)(void))
{
    for (unsigned i = 0;; i++) {
        unsigned n = i / 2;
        char *before = dump(), *after;
        long blocks = live;
        int r;

        refused = false;
        fail_once = i % 2;
        fail_at = (int)n;
        r = op();
        fail_at = -1;
        blocks = live - blocks;
        if (!refused) {
            UT_EQ(r, 0);
            free(before);
            return n;
        }
        UT_EQ(r, answer);
        UT_EQ(blocks, 0);
        after = dump();
        UT_STR(after, before);
        free(before);
        free(after);
    }
}

/* --- guest memory and rings ------------------------------------------------------------------- */

static struct gmem *mem;
static struct gmem_area area;
static struct gmem_run runs[] = {{.address = RW_BASE, .first_ref = RW_REF, .pages = RW_PAGES}};

static int make_gmem(void)
{
    return gmem_new(&mem, &fake_grants_ops, rw.grants, &GMEM_LIMITS_DEFAULT);
}

static int set_map(void)
{
    return gmem_set_map(mem, runs, 1);
}

static int map_area(void)
{
    struct range gpa = {RW_BASE, RW_BASE + 2 * GRANT_PAGE_SIZE - 1};

    return gmem_area_map(mem, gpa, true, &area);
}

/* What a failure may not change of it. */
static char *gmem_dump(void)
{
    char *text = malloc(100);
    struct gmem_stats s;

    gmem_get_stats(mem, &s);
    if (text)
        snprintf(text, 100, "%zu runs, %zu pages in %zu windows", gmem_map_runs(mem), s.pages,
                 s.windows);
    return text;
}

static void guest_memory(void)
{
    rw.grants = fake_grants_new(RW_PAGES, false);
    UT_REQUIRE(rw.grants && fake_grants_grant(rw.grants, RW_REF, 0, RW_PAGES, false));
    UT_EQ(fails_everywhere(make_gmem, -ENOMEM, no_dump), 5);
    UT_EQ(fails_everywhere(set_map, -ENOMEM, gmem_dump), 1);
    UT_TRUE(fails_everywhere(map_area, -ENOMEM, gmem_dump) >= 1);
    gmem_area_unmap(mem, &area);
    mem = gmem_free(mem);
    rw_close();
}

static void guest_memory_without_random_numbers(void)
{
    long before;

    rw.grants = fake_grants_new(RW_PAGES, false);
    UT_REQUIRE(rw.grants);
    before = live;
    no_random = true;
    UT_EQ(make_gmem(), -EIO);
    no_random = false;
    UT_EQ(live - before, 0);
    rw_close();
}

static struct virtqueue_config ring;

static int make_ring(void)
{
    return virtqueue_new(&rw.vq, rw.mem, &ring);
}

static char *ring_dump(void)
{
    mem = rw.mem;
    return gmem_dump();
}

static void rings(void)
{
    static const uint64_t layouts[] = {0, VIRTIO_F_RING_PACKED};

    for (size_t i = 0; i < ARRAY_SIZE(layouts); i++) {
        UT_REQUIRE(rw_open(8, layouts[i]));
        ring = guest_ring_config(&rw.ring);
        rw.vq = virtqueue_free(rw.vq);
        /* The queue, its pieces and table, used elements if packed, and what its areas take. */
        UT_TRUE(fails_everywhere(make_ring, -ENOMEM, ring_dump) >= 6 + i);
        rw_close();
    }
    mem = NULL;
}

/* --- the device ------------------------------------------------------------------------------- */

static int make_device(void)
{
    struct viommu_config config = VIOMMU_CONFIG_DEFAULT;
    struct guest_space space = model_space_guest(&rig.mem);

    return viommu_new(&rig.v, &config, &space);
}

static void device(void)
{
    UT_REQUIRE(rig_start(&rig, NULL));
    rig.v = viommu_free(rig.v);
    UT_TRUE(fails_everywhere(make_device, -ENOMEM, no_dump) >= 4);
    rig_stop(&rig);
}

static const struct viommu_resv regions[] = {{{0x100000, 0x1fffff}, VIOMMU_RESV_MEM_T_RESERVED},
                                             {{0x300000, 0x3fffff}, VIOMMU_RESV_MEM_T_MSI}};

static int add_endpoint(void)
{
    return rig_add_resv(&rig, 8, &model_host_ops, regions, ARRAY_SIZE(regions));
}

static void endpoint(void)
{
    UT_REQUIRE(rig_start(&rig, NULL));
    UT_TRUE(fails_everywhere(add_endpoint, -ENOMEM, device_dump) >= 3);
    rig_stop(&rig);
}

static uint8_t request[VIOMMU_REQ_MAX];
static size_t request_size;

/* Straight to the device: what carries requests in the rig allocates, too. */
static int send_request(void)
{
    if (viommu_request(rig.v, request, request_size, VIOMMU_TAIL_SIZE, rig.reply) !=
        VIOMMU_TAIL_SIZE)
        return RIG_UNWRITTEN;
    return rig.reply[0];
}

static void attach_and_map(void)
{
    UT_REQUIRE(rig_start(&rig, NULL));
    UT_EQ(rig_add(&rig, 8, &model_host_ops), 0);
    UT_EQ(rig_add(&rig, 9, &model_host_ops), 0);
    /* The vdomain, its table, its place in the index; the space and what the driver takes. */
    request_size = rig_build_attach(request, 1, 8, 0);
    UT_TRUE(fails_everywhere(send_request, VIOMMU_S_NOMEM, device_dump) >= 4);
    request_size = rig_build_map(request, 1, PAGE, 3 * PAGE - 1, 5 * PAGE, MAP_RW);
    UT_TRUE(fails_everywhere(send_request, VIOMMU_S_NOMEM, device_dump) >= 1);
    RIG_CHECK(&rig);
    /* A second space, with the mapping replayed into it. */
    request_size = rig_build_attach(request, 1, 9, 0);
    UT_TRUE(fails_everywhere(send_request, VIOMMU_S_NOMEM, device_dump) >= 2);
    RIG_CHECK(&rig);
    /* A move to a vdomain that does not exist yet: back to where it was. */
    request_size = rig_build_attach(request, 2, 9, 0);
    UT_TRUE(fails_everywhere(send_request, VIOMMU_S_NOMEM, device_dump) >= 4);
    RIG_CHECK(&rig);
    rig_stop(&rig);
}

static uint32_t next_endpoint;

static int add_soft_endpoint(void)
{
    return rig_add_soft(&rig, next_endpoint);
}

/* So many that the indices of endpoints and of vdomains have to grow. */
static void many_endpoints_and_vdomains(void)
{
    unsigned most = 0, least = UINT32_MAX;

    UT_REQUIRE(rig_start(&rig, NULL));
    for (next_endpoint = 8; next_endpoint < 28; next_endpoint++) {
        unsigned n;

        UT_TRUE(fails_everywhere(add_soft_endpoint, -ENOMEM, device_dump) >= 3);
        request_size = rig_build_attach(request, next_endpoint, next_endpoint, 0);
        n = fails_everywhere(send_request, VIOMMU_S_NOMEM, device_dump);
        most = n > most ? n : most;
        least = n < least ? n : least;
    }
    UT_TRUE(most > least);
    rig_stop(&rig);
}

int main(int argc, char **argv)
{
    static const struct ut_case cases[] = {
        UT_CASE(guest_memory),
        UT_CASE(guest_memory_without_random_numbers),
        UT_CASE(rings),
        UT_CASE(device),
        UT_CASE(endpoint),
        UT_CASE(attach_and_map),
        UT_CASE(many_endpoints_and_vdomains),
    };

    return ut_main(argc, argv, "no_memory", cases, ARRAY_SIZE(cases));
}
