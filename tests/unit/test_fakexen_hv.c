/* SPDX-License-Identifier: GPL-2.0-only */
/* fakexen's hypervisor, over its socket: grants, maptrack, event channels, death, hostile input. */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "tests/support/fakexen/fx_client.h"
#include "tests/support/fakexen/fx_guest.h"
#include "tests/support/fakexen/fx_server.h"
#include "tests/support/ut.h"

#define DRV      1
#define GUEST    2
#define MAPTRACK 16

/* A server with a driver domain and a guest of 8 pages. */
struct rig {
    struct fx_server server;
    struct fx_guest *guest;
    int drv; /* the backend's connection */
};

static bool setup(struct rig *r)
{
    memset(r, 0, sizeof(*r));
    r->drv = -1;
    if (fx_server_start(&r->server, MAPTRACK) < 0)
        return false;
    if (fx_create_domain(r->server.dir, "drv", DRV, true) < 0 ||
        fx_create_domain(r->server.dir, "g", GUEST, false) < 0 ||
        fx_guest_open(&r->guest, r->server.dir, GUEST, 8) < 0)
        return false;
    r->drv = fx_connect(r->server.dir, DRV);
    return r->drv >= 0;
}

static void teardown(struct rig *r)
{
    fx_guest_close(r->guest);
    if (r->drv >= 0)
        close(r->drv);
    UT_EQ(fx_server_stop(&r->server), 0);
}

struct mapping {
    uint64_t id;
    uint32_t page; /* of the first reference */
    int fd;
};

static int map_as(int sock, uint32_t domid, uint32_t ref, uint32_t n, bool writable,
                  struct mapping *out)
{
    struct fx_map m = {.domid = domid, .writable = writable, .n = n};
    uint32_t refs[64];
    struct fx_buf parts[] = {{&m, sizeof(m)}, {refs, n * sizeof(refs[0])}};
    struct {
        struct fx_map_reply head;
        uint32_t pages[64];
    } reply;
    int fds[FX_MAX_FDS];
    int r;

    for (uint32_t i = 0; i < n; i++)
        refs[i] = ref + i;
    r = fx_call(sock, FX_MAP, parts, 2, -1, &reply, sizeof(reply.head) + n * sizeof(refs[0]), fds);
    if (r == 0)
        *out = (struct mapping){.id = reply.head.map_id, .page = reply.pages[0], .fd = fds[0]};
    return r;
}

static int map(const struct rig *r, uint32_t ref, uint32_t n, bool writable, struct mapping *out)
{
    return map_as(r->drv, GUEST, ref, n, writable, out);
}

static int unmap(const struct rig *r, struct mapping *m)
{
    struct fx_unmap u = {.map_id = m->id};

    if (m->fd >= 0)
        close(m->fd);
    m->fd = -1;
    return fx_call(r->drv, FX_UNMAP, &(struct fx_buf){&u, sizeof(u)}, 1, -1, NULL, 0, NULL);
}

static uint64_t count(const struct rig *r, uint32_t domid, const char *key)
{
    uint64_t n = UINT64_MAX;

    return fx_domain_count(r->server.dir, domid, key, &n) < 0 ? UINT64_MAX : n;
}

static void a_grant_gives_the_page_and_no_other(void)
{
    struct rig r;
    struct mapping m = {0};
    uint32_t ref;
    char *page;

    UT_REQUIRE(setup(&r));
    memcpy((char *)fx_guest_memory(r.guest) + 3 * FX_PAGE_SIZE, "page three", 11);
    UT_EQ(fx_guest_grant(r.guest, DRV, 3, 2, false, &ref), 0);
    UT_EQ(map(&r, ref, 1, true, &m), 0);
    UT_EQ(m.page, 3);
    page = mmap(NULL, FX_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, m.fd,
                (off_t)m.page * FX_PAGE_SIZE);
    UT_REQUIRE(page != MAP_FAILED);
    UT_STR(page, "page three");
    memcpy(page, "answered", 9);
    UT_STR((char *)fx_guest_memory(r.guest) + 3 * FX_PAGE_SIZE, "answered");
    munmap(page, FX_PAGE_SIZE);
    UT_EQ(unmap(&r, &m), 0);
    UT_EQ(unmap(&r, &m), -ENOENT);
    UT_EQ(map(&r, ref + 2, 1, false, &m), -EINVAL); /* not granted */
    UT_EQ(map(&r, ref + 1, 2, false, &m), -EINVAL); /* one of two is not */
    UT_EQ(map(&r, UINT32_MAX - 1, 1, false, &m), -EINVAL);
    UT_EQ(count(&r, GUEST, "mapped"), 0);
    teardown(&r);
}

static void a_grant_serves_its_domain_only(void)
{
    struct rig r;
    struct mapping m = {0};
    uint32_t ref;
    int other;

    UT_REQUIRE(setup(&r));
    UT_EQ(fx_create_domain(r.server.dir, "other", 3, true), 0);
    UT_EQ(fx_guest_grant(r.guest, DRV, 0, 1, false, &ref), 0);
    other = fx_connect(r.server.dir, 3);
    UT_REQUIRE(other >= 0);
    UT_EQ(map_as(other, GUEST, ref, 1, false, &m), -EINVAL);
    UT_EQ(map_as(r.drv, 3, ref, 1, false, &m), -EINVAL);
    UT_EQ(map_as(r.drv, 77, ref, 1, false, &m), -EINVAL);
    close(other);
    teardown(&r);
}

static void a_read_only_grant_cannot_be_written_by_any_way(void)
{
    struct rig r;
    struct mapping m = {0};
    uint32_t ref;

    UT_REQUIRE(setup(&r));
    UT_EQ(fx_guest_grant(r.guest, DRV, 1, 1, true, &ref), 0);
    UT_EQ(map(&r, ref, 1, true, &m), -EINVAL);
    UT_EQ(map(&r, ref, 1, false, &m), 0);
    UT_TRUE(mmap(NULL, FX_PAGE_SIZE, PROT_WRITE, MAP_SHARED, m.fd, FX_PAGE_SIZE) == MAP_FAILED);
    UT_EQ(errno, EACCES);
    UT_TRUE(pwrite(m.fd, "x", 1, 0) < 0);
    UT_EQ(unmap(&r, &m), 0);
    teardown(&r);
}

static void a_read_only_map_of_a_writable_grant_is_read_only(void)
{
    struct rig r;
    struct mapping m = {0};
    uint32_t ref;

    UT_REQUIRE(setup(&r));
    UT_EQ(fx_guest_grant(r.guest, DRV, 1, 1, false, &ref), 0);
    UT_EQ(map(&r, ref, 1, false, &m), 0);
    UT_EQ(fcntl(m.fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    UT_EQ(unmap(&r, &m), 0);
    teardown(&r);
}

static void revoking_fails_while_mapped_and_ends_nothing(void)
{
    struct rig r;
    struct mapping m = {0}, again = {0};
    uint32_t ref;

    UT_REQUIRE(setup(&r));
    UT_EQ(fx_guest_grant(r.guest, DRV, 0, 4, false, &ref), 0);
    UT_EQ(map(&r, ref + 2, 1, true, &m), 0);
    UT_EQ(fx_guest_ungrant(r.guest, ref, 4), -EBUSY);
    UT_EQ(map(&r, ref, 4, true, &again), 0); /* all four are still granted */
    UT_EQ(unmap(&r, &again), 0);
    UT_EQ(fx_guest_ungrant(r.guest, ref + 2, 1), -EBUSY);
    UT_EQ(unmap(&r, &m), 0);
    UT_EQ(fx_guest_ungrant(r.guest, ref, 4), 0);
    UT_EQ(fx_guest_ungrant(r.guest, ref, 4), -ENOENT);
    UT_EQ(map(&r, ref, 1, true, &m), -EINVAL);
    teardown(&r);
}

static void references_are_consecutive_and_reused(void)
{
    struct rig r;
    uint32_t a, b, c;

    UT_REQUIRE(setup(&r));
    UT_EQ(fx_guest_grant(r.guest, DRV, 0, 3, false, &a), 0);
    UT_EQ(fx_guest_grant(r.guest, DRV, 3, 1, false, &b), 0);
    UT_EQ(b, a + 3);
    UT_EQ(fx_guest_ungrant(r.guest, a, 3), 0);
    UT_EQ(fx_guest_grant(r.guest, DRV, 4, 4, false, &c), 0); /* does not fit into the gap */
    UT_EQ(c, b + 1);
    UT_EQ(fx_guest_grant(r.guest, DRV, 0, 2, false, &c), 0);
    UT_EQ(c, a);
    teardown(&r);
}

static void grants_of_pages_that_do_not_exist_are_refused(void)
{
    struct rig r;
    uint32_t ref = 12345;

    UT_REQUIRE(setup(&r));
    UT_EQ(fx_guest_grant(r.guest, DRV, 8, 1, false, &ref), -EINVAL);
    UT_EQ(fx_guest_grant(r.guest, DRV, 7, 2, false, &ref), -EINVAL);
    UT_EQ(fx_guest_grant(r.guest, DRV, UINT32_MAX, 1, false, &ref), -EINVAL);
    UT_EQ(fx_guest_grant(r.guest, DRV, 0, 0, false, &ref), -EINVAL);
    UT_EQ(ref, 12345);
    teardown(&r);
}

static void the_grant_table_has_a_limit(void)
{
    struct rig r;
    struct fx_guest *g;
    uint32_t ref;

    UT_REQUIRE(setup(&r));
    UT_EQ(fx_order(r.server.dir,
                   json_pack("{s:s, s:s, s:i, s:i}", "command", "create-domain", "name", "small",
                             "domid", 5, "max-grants", 10),
                   NULL),
          0);
    UT_REQUIRE(fx_guest_open(&g, r.server.dir, 5, 8) == 0);
    UT_EQ(fx_guest_grant(g, DRV, 0, 3, false, &ref), -ENOSPC);
    UT_EQ(fx_guest_grant(g, DRV, 0, 2, false, &ref), 0);
    fx_guest_close(g);
    teardown(&r);
}

static void maptrack_bounds_all_maps_of_a_domain(void)
{
    struct rig r;
    struct mapping a = {0}, b = {0}, c = {0};
    uint32_t ref;
    int second;

    UT_REQUIRE(setup(&r));
    UT_EQ(fx_guest_grant(r.guest, DRV, 0, 8, false, &ref), 0);
    second = fx_connect(r.server.dir, DRV);
    UT_REQUIRE(second >= 0);
    UT_EQ(map(&r, ref, 8, true, &a), 0);
    UT_EQ(map_as(second, GUEST, ref, 7, true, &b), 0);
    UT_EQ(map(&r, ref, 2, true, &c), -ENOSPC); /* one handle is left */
    UT_EQ(count(&r, DRV, "maptrack"), MAPTRACK - 1);
    UT_EQ(map(&r, ref, 1, true, &c), 0);
    UT_EQ(unmap(&r, &c), 0);
    close(b.fd);
    close(second); /* a worker that dies gives its handles back */
    while (count(&r, DRV, "maptrack") != 8) {
        UT_REQUIRE(count(&r, DRV, "maptrack") >= 8);
    }
    UT_EQ(map(&r, ref, 8, true, &c), 0);
    UT_EQ(unmap(&r, &c), 0);
    UT_EQ(unmap(&r, &a), 0);
    UT_EQ(count(&r, DRV, "maptrack"), 0);
    teardown(&r);
}

static void a_dead_guests_memory_lives_while_mapped(void)
{
    struct rig r;
    struct mapping m = {0}, other = {0};
    uint32_t ref;
    char c = 0;

    UT_REQUIRE(setup(&r));
    *(char *)fx_guest_memory(r.guest) = 'z';
    UT_EQ(fx_guest_grant(r.guest, DRV, 0, 2, false, &ref), 0);
    UT_EQ(map(&r, ref, 1, true, &m), 0);
    UT_EQ(fx_destroy_domain(r.server.dir, GUEST), 0);
    UT_EQ(pread(m.fd, &c, 1, (off_t)m.page * FX_PAGE_SIZE), 1);
    UT_EQ(c, 'z');
    UT_EQ(map(&r, ref + 1, 1, false, &other), -EINVAL);
    UT_EQ(count(&r, GUEST, "mapped"), 1);
    UT_EQ(fx_create_domain(r.server.dir, "g", GUEST, false), -EEXIST);
    UT_EQ(unmap(&r, &m), 0);
    UT_EQ(count(&r, GUEST, "mapped"), UINT64_MAX);                /* gone for good */
    UT_EQ(fx_create_domain(r.server.dir, "g", GUEST, false), 0);  /* the domid is free */
    UT_TRUE(fx_guest_grant(r.guest, DRV, 0, 1, false, &ref) < 0); /* cut off */
    teardown(&r);
}

static void copies_check_each_piece(void)
{
    struct rig r;
    uint32_t rw, ro;
    struct {
        struct fx_copy head;
        struct fx_copy_piece pieces[3];
        char to[4];
    } q = {.head = {.domid = GUEST, .n = 3}, .to = "new"};
    struct {
        int32_t status[3];
        char from[4];
    } a;

    UT_REQUIRE(setup(&r));
    memcpy((char *)fx_guest_memory(r.guest) + 4092, "old", 4);
    UT_EQ(fx_guest_grant(r.guest, DRV, 0, 1, false, &rw), 0);
    UT_EQ(fx_guest_grant(r.guest, DRV, 1, 1, true, &ro), 0);
    q.pieces[0] = (struct fx_copy_piece){.ref = rw, .offset = 4092, .len = 4};
    q.pieces[1] = (struct fx_copy_piece){.ref = ro, .offset = 0, .len = 2, .to_guest = 1};
    q.pieces[2] = (struct fx_copy_piece){.ref = rw, .offset = 0, .len = 2, .to_guest = 1};
    UT_EQ(fx_call(r.drv, FX_COPY, &(struct fx_buf){&q, sizeof(q)}, 1, -1, &a, sizeof(a), NULL), 0);
    UT_EQ(a.status[0], 0);
    UT_STR(a.from, "old");
    UT_EQ(a.status[1], -EINVAL);
    UT_EQ(a.status[2], 0);
    UT_EQ(memcmp(fx_guest_memory(r.guest), "w", 2), 0); /* the last two bytes of "new\0" */
    UT_EQ(((char *)fx_guest_memory(r.guest))[4096], 0);
    q.pieces[0].offset = 4093; /* over the page's end */
    UT_EQ(fx_call(r.drv, FX_COPY, &(struct fx_buf){&q, sizeof(q)}, 1, -1, &a, sizeof(a), NULL), 0);
    UT_EQ(a.status[0], -EINVAL);
    teardown(&r);
}

static void events_are_remembered_and_coalesced(void)
{
    struct rig r;
    struct fx_guest *back;
    struct fx_channel g, b;

    UT_REQUIRE(setup(&r));
    UT_REQUIRE(fx_guest_open(&back, r.server.dir, DRV, 0) == 0);
    UT_EQ(fx_guest_alloc_unbound(r.guest, DRV, &g), 0);
    UT_EQ(fx_channel_notify(&g), 0); /* nobody there: remembered by the binding */
    UT_EQ(fx_guest_bind(back, GUEST, g.port, &b), 0);
    UT_EQ(fx_channel_wait(&b, 0), 1); /* a new binding is pending */
    UT_EQ(fx_channel_wait(&b, 0), 0);
    UT_EQ(fx_channel_notify(&g), 0);
    UT_EQ(fx_channel_notify(&g), 0);
    UT_EQ(fx_channel_wait(&b, 1000), 1);
    UT_EQ(fx_channel_wait(&b, 0), 0);
    UT_EQ(fx_channel_notify(&b), 0);
    UT_EQ(fx_channel_wait(&g, 1000), 1);
    UT_EQ(fx_channel_wait(&g, 0), 0);
    UT_EQ(fx_guest_unbind(back, &b), 0);
    UT_EQ(fx_guest_unbind(r.guest, &g), 0);
    fx_guest_close(back);
    teardown(&r);
}

static void ports_bind_once_and_for_their_domain(void)
{
    struct rig r;
    struct fx_guest *back, *other;
    struct fx_channel g, b, x;

    UT_REQUIRE(setup(&r));
    UT_EQ(fx_create_domain(r.server.dir, "other", 3, true), 0);
    UT_REQUIRE(fx_guest_open(&back, r.server.dir, DRV, 0) == 0);
    UT_REQUIRE(fx_guest_open(&other, r.server.dir, 3, 0) == 0);
    UT_EQ(fx_guest_alloc_unbound(r.guest, DRV, &g), 0);
    UT_EQ(fx_guest_bind(other, GUEST, g.port, &x), -EINVAL);
    UT_EQ(fx_guest_bind(back, GUEST, g.port + 1, &x), -EINVAL);
    UT_EQ(fx_guest_bind(back, 55, g.port, &x), -ESRCH);
    UT_EQ(fx_guest_bind(back, GUEST, g.port, &b), 0);
    UT_EQ(fx_guest_bind(back, GUEST, g.port, &x), -EINVAL);
    UT_EQ(fx_guest_unbind(back, &b), 0);
    UT_EQ(fx_guest_bind(back, GUEST, g.port, &b), 0); /* a successor binds the same port */
    UT_EQ(fx_channel_wait(&b, 0), 1);
    fx_guest_close(other);
    fx_guest_close(back);
    close(b.own_fd);
    close(b.peer_fd);
    UT_EQ(fx_guest_unbind(r.guest, &g), 0);
    teardown(&r);
}

static void peer_death_is_silent(void)
{
    struct rig r;
    struct fx_guest *back;
    struct fx_channel g, b;

    UT_REQUIRE(setup(&r));
    UT_REQUIRE(fx_guest_open(&back, r.server.dir, DRV, 0) == 0);
    UT_EQ(fx_guest_alloc_unbound(r.guest, DRV, &g), 0);
    UT_EQ(fx_guest_bind(back, GUEST, g.port, &b), 0);
    UT_EQ(fx_channel_wait(&b, 0), 1);
    UT_EQ(fx_destroy_domain(r.server.dir, GUEST), 0);
    UT_EQ(fx_channel_wait(&b, 0), 0); /* no event says so */
    UT_EQ(fx_channel_notify(&b), 0);
    UT_EQ(count(&r, DRV, "ports"), 1);
    UT_EQ(fx_guest_unbind(back, &b), 0);
    UT_EQ(count(&r, DRV, "ports"), 0);
    close(g.own_fd);
    close(g.peer_fd);
    fx_guest_close(back);
    teardown(&r);
}

static void injected_failures_hit_the_nth_call(void)
{
    struct rig r;
    struct mapping m = {0};
    uint32_t ref;

    UT_REQUIRE(setup(&r));
    UT_EQ(fx_guest_grant(r.guest, DRV, 0, 1, false, &ref), 0);
    UT_EQ(fx_inject(r.server.dir, "map", 2, ENOMEM), 0);
    UT_EQ(map(&r, ref, 1, true, &m), 0);
    UT_EQ(unmap(&r, &m), 0);
    UT_EQ(map(&r, ref, 1, true, &m), -ENOMEM);
    UT_EQ(map(&r, ref, 1, true, &m), 0);
    UT_EQ(unmap(&r, &m), 0);
    UT_EQ(fx_inject(r.server.dir, "unmap", 1, EIO), -EINVAL); /* cannot fail */
    teardown(&r);
}

static void memory_must_be_unshrinkable_and_comes_once(void)
{
    struct rig r;
    struct fx_memory m = {.n_pages = 1};
    struct fx_buf body = {&m, sizeof(m)};
    struct fx_guest *again;
    int fd = memfd_create("loose", MFD_ALLOW_SEALING);

    UT_REQUIRE(setup(&r));
    UT_REQUIRE(fd >= 0 && ftruncate(fd, FX_PAGE_SIZE) == 0);
    UT_EQ(fx_call(r.drv, FX_MEMORY, &body, 1, fd, NULL, 0, NULL), -EINVAL);
    UT_EQ(fx_call(r.drv, FX_MEMORY, &body, 1, -1, NULL, 0, NULL), -EINVAL);
    UT_EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    m.n_pages = 2; /* more than there is */
    UT_EQ(fx_call(r.drv, FX_MEMORY, &body, 1, fd, NULL, 0, NULL), -EINVAL);
    UT_EQ(fx_guest_open(&again, r.server.dir, GUEST, 1), -EEXIST);
    close(fd);
    teardown(&r);
}

static void nonsense_is_refused_or_disconnected(void)
{
    struct rig r;
    struct fx_map m = {.domid = GUEST, .n = UINT32_MAX};
    struct fx_copy c = {.domid = GUEST, .n = UINT32_MAX};
    struct fx_hdr huge = {.type = FX_MAP, .len = UINT32_MAX};
    struct fx_guest *none;
    char byte;

    UT_REQUIRE(setup(&r));
    UT_EQ(fx_guest_open(&none, r.server.dir, 77, 0), -ESRCH);
    UT_EQ(fx_call(r.drv, 0, NULL, 0, -1, NULL, 0, NULL), -ENOSYS);
    UT_EQ(fx_call(r.drv, 4711, NULL, 0, -1, NULL, 0, NULL), -ENOSYS);
    UT_EQ(fx_call(r.drv, FX_MAP, NULL, 0, -1, NULL, 0, NULL), -EINVAL);
    UT_EQ(fx_call(r.drv, FX_MAP, &(struct fx_buf){&m, sizeof(m)}, 1, -1, NULL, 0, NULL), -EINVAL);
    m.n = 0;
    UT_EQ(fx_call(r.drv, FX_MAP, &(struct fx_buf){&m, sizeof(m)}, 1, -1, NULL, 0, NULL), -EINVAL);
    UT_EQ(fx_call(r.drv, FX_COPY, &(struct fx_buf){&c, sizeof(c)}, 1, -1, NULL, 0, NULL), -EINVAL);
    UT_EQ(fx_call(r.drv, FX_UNBIND, &(struct fx_buf){&c, sizeof(c)}, 1, -1, NULL, 0, NULL),
          -EINVAL);
    UT_EQ(fx_call(r.drv, FX_HELLO, &(struct fx_buf){&m, 4}, 1, -1, NULL, 0, NULL), -EISCONN);
    UT_EQ(write(r.drv, &huge, sizeof(huge)), sizeof(huge));
    UT_EQ(read(r.drv, &byte, 1), 0);      /* disconnected, nothing allocated */
    UT_EQ(count(&r, GUEST, "mapped"), 0); /* and it still serves */
    teardown(&r);
}

static const struct ut_case cases[] = {
    UT_CASE(a_grant_gives_the_page_and_no_other),
    UT_CASE(a_grant_serves_its_domain_only),
    UT_CASE(a_read_only_grant_cannot_be_written_by_any_way),
    UT_CASE(a_read_only_map_of_a_writable_grant_is_read_only),
    UT_CASE(revoking_fails_while_mapped_and_ends_nothing),
    UT_CASE(references_are_consecutive_and_reused),
    UT_CASE(grants_of_pages_that_do_not_exist_are_refused),
    UT_CASE(the_grant_table_has_a_limit),
    UT_CASE(maptrack_bounds_all_maps_of_a_domain),
    UT_CASE(a_dead_guests_memory_lives_while_mapped),
    UT_CASE(copies_check_each_piece),
    UT_CASE(events_are_remembered_and_coalesced),
    UT_CASE(ports_bind_once_and_for_their_domain),
    UT_CASE(peer_death_is_silent),
    UT_CASE(injected_failures_hit_the_nth_call),
    UT_CASE(memory_must_be_unshrinkable_and_comes_once),
    UT_CASE(nonsense_is_refused_or_disconnected),
};

int main(int argc, char **argv)
{
    alarm(120); /* a server that does not answer is a failure, not a hang */
    return ut_main(argc, argv, "fakexen hypervisor", cases, ARRAY_SIZE(cases));
}
