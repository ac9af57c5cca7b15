/* SPDX-License-Identifier: GPL-2.0-only */
/* platform_fakexen against the fakexen server, through the platform contract. */
#include <config.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>

#include "backend/platform/platform.h"
#include "tests/support/fakexen/fx_client.h"
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

/* ---- with a broker ---- */

#define OTHER 3

struct brokered {
    struct rig rig;
    struct fx_guest *other;
    struct platform *p;
    struct broker *broker;
    pthread_t thread;
    int sock, far;
    atomic_uint max_pages;
};

static void *serve(void *arg)
{
    struct brokered *b = arg;

    (void)broker_serve(b->far, ops->brokered->broker, b->broker, &b->max_pages);
    ops->brokered->broker->close(b->broker);
    close(b->far);
    return NULL;
}

/* Two guests, and a worker of the first with its broker. */
static bool brokered_setup(struct brokered *b)
{
    int sv[2];

    memset(b, 0, sizeof(*b));
    atomic_init(&b->max_pages, 100);
    if (!setup(&b->rig) || fx_create_domain(b->rig.server.dir, "o", OTHER, false) < 0 ||
        fx_guest_open(&b->other, b->rig.server.dir, OTHER, 8) < 0 || broker_socketpair(sv) < 0 ||
        ops->brokered->broker->open(&b->broker, GUEST) < 0)
        return false;
    b->sock = sv[0];
    b->far = sv[1];
    return pthread_create(&b->thread, NULL, serve, b) == 0 &&
           ops->brokered->open(&b->p, GUEST, b->sock) == 0;
}

static void brokered_teardown(struct brokered *b)
{
    ops->close(b->p);
    (void)pthread_join(b->thread, NULL);
    fx_guest_close(b->other);
    teardown(&b->rig);
}

static void pages_come_through_the_broker(void)
{
    const struct grant_ops *grants = ops->brokered->grants;
    struct brokered b;
    uint32_t ref, ro, bad[2];
    void *addr, *second;

    UT_REQUIRE(brokered_setup(&b));
    page(&b.rig, 3)[0] = 'x';
    page(&b.rig, 4)[0] = 'y';
    UT_EQ(fx_guest_grant(b.rig.guest, DRV, 3, 2, false, &ref), 0);
    UT_EQ(fx_guest_grant(b.rig.guest, DRV, 6, 1, true, &ro), 0);
    UT_EQ(grants->map(b.p, (uint32_t[]){ref + 1, ref}, 2, true, &addr), 0);
    UT_EQ(((char *)addr)[0], 'y');
    UT_EQ(((char *)addr)[GRANT_PAGE_SIZE], 'x');
    ((char *)addr)[1] = 'z';
    UT_EQ(page(&b.rig, 4)[1], 'z');
    UT_EQ(grants->map(b.p, &ro, 1, true, &second), -EFAULT);
    bad[0] = ref;
    bad[1] = 63;
    UT_EQ(grants->map(b.p, bad, 2, false, &second), -EFAULT);
    UT_EQ(count(&b.rig, GUEST, "mapped"), 2);
    grants->unmap(b.p, addr, 2);
    UT_EQ(fx_guest_ungrant(b.rig.guest, ref, 2), 0); /* on return the guest can revoke */
    UT_EQ(grants->map(b.p, &ro, 1, false, &addr), 0);
    brokered_teardown(&b);
}

/* A worker that was taken over: it says to broker and hypervisor whatever it likes. */
static void a_worker_cannot_map_what_another_guest_granted(void)
{
    struct fx_map m = {.domid = OTHER, .n = 1};
    struct fx_copy copy = {.domid = OTHER, .n = 1};
    struct fx_port port = {.domid = OTHER};
    struct fx_hello hello = {.domid = OTHER};
    uint8_t reply[sizeof(struct fx_map_reply) + sizeof(uint32_t)];
    struct fx_copy_piece piece = {.len = 1};
    struct fx_channel channel;
    struct grant_window many[8];
    struct brokered b;
    uint32_t refs[8], ref, i;
    void *addr = &b;
    int sock;

    UT_REQUIRE(brokered_setup(&b));
    UT_EQ(fx_guest_alloc_unbound(b.other, DRV, &channel), 0);
    /* A reference that the first guest does not have, so that the number alone decides. */
    UT_EQ(fx_guest_grant(b.other, DRV, 0, 8, false, &ref), 0);
    /* Through the broker: every number there is. */
    for (i = ref; i < ref + 8; i++)
        UT_EQ(ops->brokered->grants->map(b.p, &i, 1, false, &addr), -EFAULT);
    UT_TRUE(addr == &b);
    /* And all of them in one message. */
    for (i = 0; i < ARRAY_SIZE(many); i++) {
        refs[i] = ref + i;
        many[i] = (struct grant_window){.refs = &refs[i], .n_pages = 1};
    }
    ops->brokered->grants->map_many(b.p, many, ARRAY_SIZE(many));
    for (i = 0; i < ARRAY_SIZE(many); i++)
        UT_EQ(many[i].status, -EFAULT);
    UT_EQ(count(&b.rig, OTHER, "mapped"), 0);

    /* Around it: a connection in the state in which the worker has its own. */
    sock = fx_connect(b.rig.server.dir, DRV);
    UT_REQUIRE(sock >= 0);
    hello.domid = GUEST;
    UT_EQ(fx_call(sock, FX_RESTRICT, &(struct fx_buf){&hello, sizeof(hello)}, 1, -1, NULL, 0, NULL),
          0);
    UT_EQ(fx_call(sock, FX_MAP, (struct fx_buf[]){{&m, sizeof(m)}, {&ref, sizeof(ref)}}, 2, -1,
                  reply, sizeof(reply), NULL),
          -EPERM);
    piece.ref = ref;
    UT_EQ(fx_call(sock, FX_COPY, (struct fx_buf[]){{&copy, sizeof(copy)}, {&piece, sizeof(piece)}},
                  2, -1, reply, 5, NULL),
          -EPERM);
    port.port = channel.port;
    UT_EQ(fx_call(sock, FX_BIND, &(struct fx_buf){&port, sizeof(port)}, 1, -1, &port, sizeof(port),
                  NULL),
          -EPERM);
    hello.domid = OTHER;
    UT_EQ(fx_call(sock, FX_RESTRICT, &(struct fx_buf){&hello, sizeof(hello)}, 1, -1, NULL, 0, NULL),
          -EPERM);
    close(sock);
    UT_EQ(count(&b.rig, OTHER, "mapped"), 0);

    /* It can fail: without a broker the same worker reads the other guest's page. */
    sock = fx_connect(b.rig.server.dir, DRV);
    UT_REQUIRE(sock >= 0);
    UT_EQ(fx_call(sock, FX_MAP, (struct fx_buf[]){{&m, sizeof(m)}, {&ref, sizeof(ref)}}, 2, -1,
                  reply, sizeof(reply), NULL),
          0);
    UT_EQ(count(&b.rig, OTHER, "mapped"), 1);
    close(sock);
    UT_EQ(fx_guest_unbind(b.other, &channel), 0);
    brokered_teardown(&b);
}

static void many_windows_come_through_the_broker(void)
{
    const struct grant_ops *grants = ops->brokered->grants;
    struct brokered b;
    uint32_t ref, ro, bad = 0xfffffff0;
    UT_REQUIRE(brokered_setup(&b));
    UT_EQ(fx_guest_grant(b.rig.guest, DRV, 0, 4, false, &ref), 0);
    UT_EQ(fx_guest_grant(b.rig.guest, DRV, 5, 1, true, &ro), 0);
    {
        const uint32_t refs[] = {ref + 2, ref, ro};
        struct grant_window w[] = {
            {.refs = &refs[2], .n_pages = 1},
            {.refs = refs, .n_pages = 2, .writable = true},
            {.refs = &bad, .n_pages = 1},
            {.refs = &refs[2], .n_pages = 1, .writable = true},
        };
        uint8_t *memory = fx_guest_memory(b.rig.guest);

        memory[0] = 0x10;
        memory[2 * GRANT_PAGE_SIZE] = 0x12;
        memory[5 * GRANT_PAGE_SIZE] = 0x15;
        grants->map_many(b.p, w, ARRAY_SIZE(w));
        UT_EQ(w[0].status, 0);
        UT_EQ(w[1].status, 0);
        UT_EQ(w[2].status, -EFAULT);
        UT_EQ(w[3].status, -EFAULT);
        UT_REQUIRE(w[0].status == 0 && w[1].status == 0);
        UT_EQ(*(uint8_t *)w[0].addr, 0x15);
        UT_EQ(*(uint8_t *)w[1].addr, 0x12);
        UT_EQ(((uint8_t *)w[1].addr)[GRANT_PAGE_SIZE], 0x10);
        ((uint8_t *)w[1].addr)[GRANT_PAGE_SIZE] = 0x20;
        UT_EQ(memory[0], 0x20);
        UT_EQ(count(&b.rig, GUEST, "mapped"), 3);
        grants->unmap_many(b.p, w, 2);
        UT_EQ(count(&b.rig, GUEST, "mapped"), 0);
    }
    brokered_teardown(&b);
}

static void the_end_of_a_worker_unmaps_what_its_broker_has(void)
{
    struct brokered b;
    uint32_t ref;
    void *addr;

    UT_REQUIRE(brokered_setup(&b));
    UT_EQ(fx_guest_grant(b.rig.guest, DRV, 3, 2, false, &ref), 0);
    UT_EQ(ops->brokered->grants->map(b.p, &ref, 1, true, &addr), 0);
    UT_EQ(count(&b.rig, GUEST, "mapped"), 1);
    (void)shutdown(b.sock, SHUT_RDWR); /* as SIGKILL does */
    (void)pthread_join(b.thread, NULL);
    UT_EQ(count(&b.rig, GUEST, "mapped"), 0);
    ops->close(b.p);
    fx_guest_close(b.other);
    teardown(&b.rig);
}

static const struct ut_case cases[] = {
    UT_CASE(pages_come_through_the_broker),
    UT_CASE(a_worker_cannot_map_what_another_guest_granted),
    UT_CASE(many_windows_come_through_the_broker),
    UT_CASE(the_end_of_a_worker_unmaps_what_its_broker_has),
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
