/* SPDX-License-Identifier: GPL-2.0-only */
/* platform_fakexen against the fakexen server, through the platform contract. */
#include <config.h>

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "backend/platform/platform.h"
#include "tests/support/fakexen/fx_guest.h"
#include "tests/support/fakexen/fx_server.h"
#include "tests/support/ut.h"

#define DRV   1
#define GUEST 2

struct rig {
    struct fx_server server;
    struct fx_guest *guest;
    struct platform *p;
};

static const struct platform_ops *const ops = &platform_fakexen;

static bool setup(struct rig *r)
{
    memset(r, 0, sizeof(*r));
    if (fx_server_start(&r->server, 64) < 0)
        return false;
    setenv("FAKEXEN_DIR", r->server.dir, 1);
    setenv("FAKEXEN_DOMID", "1", 1);
    return fx_create_domain(r->server.dir, "drv", DRV, true) == 0 &&
           fx_create_domain(r->server.dir, "g", GUEST, false) == 0 &&
           fx_guest_open(&r->guest, r->server.dir, GUEST, 128) == 0 && ops->open(&r->p, GUEST) == 0;
}

static void teardown(struct rig *r)
{
    ops->close(r->p);
    fx_guest_close(r->guest);
    UT_EQ(fx_server_stop(&r->server), 0);
}

static char *page(struct rig *r, uint32_t n)
{
    return (char *)fx_guest_memory(r->guest) + (size_t)n * GRANT_PAGE_SIZE;
}

static uint64_t count(const struct rig *r, uint32_t domid, const char *key)
{
    uint64_t n = UINT64_MAX;

    return fx_domain_count(r->server.dir, domid, key, &n) < 0 ? UINT64_MAX : n;
}

static void open_needs_its_environment(void)
{
    struct platform *p = NULL;

    unsetenv("FAKEXEN_DIR");
    UT_EQ(ops->open(&p, GUEST), -EINVAL);
    setenv("FAKEXEN_DIR", "/nonexistent", 1);
    setenv("FAKEXEN_DOMID", "x", 1);
    UT_EQ(ops->open(&p, GUEST), -EINVAL);
    setenv("FAKEXEN_DOMID", "1", 1);
    UT_EQ(ops->open(&p, GUEST), -ENOENT);
    UT_TRUE(p == NULL);
    ops->close(NULL);
}

static void pages_appear_in_the_order_of_the_references(void)
{
    struct rig r;
    uint32_t a, b, refs[4];
    void *addr;
    char *m;

    UT_REQUIRE(setup(&r));
    for (uint32_t i = 0; i < 8; i++)
        page(&r, i)[0] = (char)('0' + i);
    UT_EQ(fx_guest_grant(r.guest, DRV, 2, 2, false, &a), 0);
    UT_EQ(fx_guest_grant(r.guest, DRV, 7, 1, false, &b), 0);
    refs[0] = b;
    refs[1] = a;
    refs[2] = a + 1;
    refs[3] = b; /* the same page twice is one more handle */
    UT_REQUIRE(ops->grants->map(r.p, refs, 4, true, &addr) == 0);
    m = addr;
    UT_EQ((uintptr_t)m % GRANT_PAGE_SIZE, 0);
    UT_EQ(m[0], '7');
    UT_EQ(m[GRANT_PAGE_SIZE], '2');
    UT_EQ(m[2 * GRANT_PAGE_SIZE], '3');
    UT_EQ(m[3 * GRANT_PAGE_SIZE], '7');
    m[5] = 'w';
    UT_EQ(page(&r, 7)[5], 'w');
    UT_EQ(count(&r, GUEST, "mapped"), 4);
    UT_EQ(fx_guest_ungrant(r.guest, a, 2), -EBUSY);
    ops->grants->unmap(r.p, addr, 4);
    UT_EQ(fx_guest_ungrant(r.guest, a, 2), 0); /* on return the guest can revoke */
    UT_EQ(count(&r, GUEST, "mapped"), 0);
    teardown(&r);
}

static void refused_maps_leave_nothing_and_say_why(void)
{
    struct rig r;
    uint32_t ro, rw, refs[65];
    void *addr = &r;

    UT_REQUIRE(setup(&r));
    UT_EQ(fx_guest_grant(r.guest, DRV, 0, 1, true, &ro), 0);
    UT_EQ(fx_guest_grant(r.guest, DRV, 1, 65, false, &rw), 0);
    UT_EQ(ops->grants->map(r.p, &ro, 1, true, &addr), -EFAULT);
    refs[0] = rw;
    refs[1] = rw + 65; /* not granted */
    UT_EQ(ops->grants->map(r.p, refs, 2, false, &addr), -EFAULT);
    for (uint32_t i = 0; i < 65; i++)
        refs[i] = rw + i;
    UT_EQ(ops->grants->map(r.p, refs, 65, false, &addr), -ENOMEM); /* the server's maptrack is 64 */
    UT_EQ(ops->grants->map(r.p, refs, 0, false, &addr), -EINVAL);
    UT_EQ(fx_inject(r.server.dir, "map", 1, EPERM), 0);
    UT_EQ(ops->grants->map(r.p, refs, 1, false, &addr), -EPERM);
    UT_TRUE(addr == (void *)&r);
    UT_EQ(count(&r, GUEST, "mapped"), 0);
    UT_EQ(count(&r, DRV, "maptrack"), 0);
    UT_EQ(ops->grants->map(r.p, &ro, 1, false, &addr), 0);
    ops->grants->unmap(r.p, addr, 2); /* not what was mapped: refused, logged */
    UT_EQ(count(&r, GUEST, "mapped"), 1);
    ops->grants->unmap(r.p, addr, 1);
    UT_EQ(count(&r, GUEST, "mapped"), 0);
    teardown(&r);
}

static void copies_go_both_ways_in_batches(void)
{
    struct rig r;
    struct grant_copy pieces[200];
    char bytes[200];
    uint32_t rw, ro;

    UT_REQUIRE(setup(&r));
    UT_EQ(fx_guest_grant(r.guest, DRV, 0, 1, false, &rw), 0);
    UT_EQ(fx_guest_grant(r.guest, DRV, 1, 1, true, &ro), 0);
    memset(page(&r, 0), 'g', 200);
    for (unsigned i = 0; i < 200; i++) {
        bytes[i] = 'l';
        pieces[i] = (struct grant_copy){
            .ref = rw, .offset = (uint16_t)i, .len = 1, .local = &bytes[i], .to_guest = i % 2 == 0};
    }
    UT_EQ(ops->grants->copy(r.p, pieces, 200), 0);
    for (unsigned i = 0; i < 200; i++) {
        UT_EQ(page(&r, 0)[i], i % 2 == 0 ? 'l' : 'g');
        UT_EQ(bytes[i], i % 2 == 0 ? 'l' : 'g');
    }
    pieces[0] = (struct grant_copy){.ref = ro, .len = 1, .local = bytes, .to_guest = true};
    UT_EQ(ops->grants->copy(r.p, pieces, 1), -EFAULT);
    UT_EQ(page(&r, 1)[0], 0);
    pieces[0].to_guest = false;
    UT_EQ(ops->grants->copy(r.p, pieces, 1), 0);
    pieces[0].offset = 4096;
    UT_EQ(ops->grants->copy(r.p, pieces, 1), -EINVAL);
    pieces[0].ref = ro + 1;
    pieces[0].offset = 0;
    UT_EQ(ops->grants->copy(r.p, pieces, 1), -EFAULT);
    teardown(&r);
}

static int readable(int fd)
{
    struct pollfd pfd = {.fd = fd, .events = POLLIN};

    return poll(&pfd, 1, 0);
}

static void a_kick_during_handling_is_not_lost(void)
{
    struct rig r;
    struct fx_channel a, b;
    uint32_t pa, pb, port = 0;

    UT_REQUIRE(setup(&r));
    UT_EQ(fx_guest_alloc_unbound(r.guest, DRV, &a), 0);
    UT_EQ(fx_guest_alloc_unbound(r.guest, DRV, &b), 0);
    UT_EQ(ops->bind(r.p, a.port, &pa), 0);
    UT_EQ(ops->next_event(r.p, &port), 1); /* pending after the binding */
    UT_EQ(port, pa);
    UT_EQ(ops->bind(r.p, b.port, &pb), 0);
    UT_EQ(ops->next_event(r.p, &port), 1);
    UT_EQ(port, pb);
    UT_EQ(ops->next_event(r.p, &port), 0);
    UT_EQ(readable(ops->event_fd(r.p)), 0);
    UT_EQ(fx_channel_notify(&a), 0);
    UT_EQ(fx_channel_notify(&a), 0);
    UT_EQ(readable(ops->event_fd(r.p)), 1);
    UT_EQ(ops->next_event(r.p, &port), 1);
    UT_EQ(port, pa);
    UT_EQ(fx_channel_notify(&a), 0); /* while the first is being handled */
    UT_EQ(ops->next_event(r.p, &port), 1);
    UT_EQ(port, pa);
    UT_EQ(ops->next_event(r.p, &port), 0);
    UT_EQ(ops->notify(r.p, pb), 0);
    UT_EQ(fx_channel_wait(&b, 1000), 1);
    UT_EQ(fx_channel_wait(&a, 0), 0);
    ops->unbind(r.p, pb);
    UT_EQ(fx_channel_notify(&b), 0);
    UT_EQ(ops->next_event(r.p, &port), 0);
    UT_EQ(ops->notify(r.p, pb), -EINVAL);
    UT_EQ(fx_guest_unbind(r.guest, &a), 0);
    UT_EQ(fx_guest_unbind(r.guest, &b), 0);
    teardown(&r);
}

static void binding_what_is_not_for_us_fails(void)
{
    struct rig r;
    struct fx_channel c;
    uint32_t port = 99;

    UT_REQUIRE(setup(&r));
    UT_EQ(fx_guest_alloc_unbound(r.guest, 0, &c), 0);
    UT_EQ(ops->bind(r.p, c.port, &port), -ENOENT);
    UT_EQ(ops->bind(r.p, c.port + 1, &port), -ENOENT);
    UT_EQ(fx_inject(r.server.dir, "bind", 1, EPERM), 0);
    UT_EQ(ops->bind(r.p, c.port, &port), -EPERM);
    UT_EQ(port, 99);
    UT_EQ(fx_guest_unbind(r.guest, &c), 0);
    UT_EQ(fx_destroy_domain(r.server.dir, GUEST), 0);
    UT_EQ(ops->bind(r.p, 1, &port), -ENOENT);
    teardown(&r);
}

static void notify_succeeds_when_the_guest_is_gone(void)
{
    struct rig r;
    struct fx_channel c;
    uint32_t port, ref;
    void *addr;

    UT_REQUIRE(setup(&r));
    UT_EQ(fx_guest_alloc_unbound(r.guest, DRV, &c), 0);
    UT_EQ(ops->bind(r.p, c.port, &port), 0);
    UT_EQ(fx_guest_grant(r.guest, DRV, 0, 1, false, &ref), 0);
    UT_EQ(ops->grants->map(r.p, &ref, 1, true, &addr), 0);
    UT_EQ(fx_destroy_domain(r.server.dir, GUEST), 0);
    UT_EQ(ops->notify(r.p, port), 0);
    memset(addr, 1, GRANT_PAGE_SIZE); /* still there, no signal */
    ops->grants->unmap(r.p, addr, 1);
    UT_EQ(count(&r, GUEST, "mapped"), UINT64_MAX);
    close(c.own_fd);
    close(c.peer_fd);
    teardown(&r);
}

static void close_releases_everything(void)
{
    struct rig r;
    struct fx_channel c;
    uint32_t port, ref;
    void *addr;

    UT_REQUIRE(setup(&r));
    UT_EQ(fx_guest_alloc_unbound(r.guest, DRV, &c), 0);
    UT_EQ(ops->bind(r.p, c.port, &port), 0);
    UT_EQ(fx_guest_grant(r.guest, DRV, 0, 3, false, &ref), 0);
    UT_EQ(ops->grants->map(r.p, &ref, 1, true, &addr), 0);
    UT_EQ(ops->grants->map(r.p, &ref, 1, false, &addr), 0);
    ops->close(r.p);
    r.p = NULL;
    UT_EQ(count(&r, GUEST, "mapped"), 0);
    UT_EQ(count(&r, DRV, "ports"), 0);
    UT_EQ(fx_guest_ungrant(r.guest, ref, 3), 0);
    UT_EQ(fx_guest_unbind(r.guest, &c), 0);
    teardown(&r);
}

static const struct ut_case cases[] = {
    UT_CASE(open_needs_its_environment),
    UT_CASE(pages_appear_in_the_order_of_the_references),
    UT_CASE(refused_maps_leave_nothing_and_say_why),
    UT_CASE(copies_go_both_ways_in_batches),
    UT_CASE(a_kick_during_handling_is_not_lost),
    UT_CASE(binding_what_is_not_for_us_fails),
    UT_CASE(notify_succeeds_when_the_guest_is_gone),
    UT_CASE(close_releases_everything),
};

int main(int argc, char **argv)
{
    alarm(120); /* a server that does not answer is a failure, not a hang */
    return ut_main(argc, argv, "platform fakexen", cases, ARRAY_SIZE(cases));
}
