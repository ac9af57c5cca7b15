/* SPDX-License-Identifier: GPL-2.0-only */
/* platform_xen against mocked Xen libraries: errno mapping, exact unmaps, the order of unmasking.
 */
#include <config.h>

#include <errno.h>
#include <linux/ioctl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "backend/platform/platform.h"
#include "common/log.h"
#include "tests/support/mock_xenlibs.h"
#include "tests/support/ut.h"

#define GUEST 7

static const struct platform_ops *const ops = &platform_xen;

static struct platform *open_guest(void)
{
    struct platform *p = NULL;

    mock_xen_reset();
    return ops->open(&p, GUEST) == 0 ? p : NULL;
}

static void open_fails_whole_and_says_why(void)
{
    struct platform *p = NULL;

    mock_xen_reset();
    mock_xen.fail_gnttab_open = ENOENT;
    UT_EQ(ops->open(&p, GUEST), -ENOENT);
    UT_EQ(mock_xen.evtchn_opens, 0);
    mock_xen.fail_evtchn_open = EACCES;
    UT_EQ(ops->open(&p, GUEST), -EACCES);
    UT_EQ(mock_xen.gnttab_closes, 1);
    UT_EQ(ops->open(&p, 0x7ff0), -EINVAL); /* DOMID_SELF */
    UT_EQ(ops->open(&p, UINT32_MAX), -EINVAL);
    UT_EQ(mock_xen.gnttab_opens, 1);
    UT_TRUE(p == NULL);
    ops->close(NULL);
}

static void event_channels_are_bound_to_the_guest_by_the_kernel(void)
{
    struct platform *p = open_guest();

    UT_REQUIRE(p != NULL);
    UT_EQ(mock_xen.restricts, 1);
    UT_EQ(mock_xen.restrict_domid, GUEST);
    ops->close(p);
    mock_xen_reset();
    p = NULL;
    mock_xen.fail_restrict = EPERM;
    UT_EQ(ops->open(&p, GUEST), -EPERM);
    UT_TRUE(p == NULL);
    UT_EQ(mock_xen.evtchn_closes, 1);
    UT_EQ(mock_xen.gnttab_closes, 1);
}

static void a_map_is_one_call_with_the_guests_domid(void)
{
    static const uint32_t refs[] = {9, 8, 42};
    struct platform *p = open_guest();
    void *addr;

    UT_REQUIRE(p != NULL);
    UT_EQ(ops->grants->map(p, refs, 3, true, &addr), 0);
    UT_EQ(mock_xen.maps, 1);
    UT_EQ(mock_xen.map_count, 3);
    UT_EQ(mock_xen.map_domid, GUEST);
    UT_EQ(mock_xen.map_prot, PROT_READ | PROT_WRITE);
    UT_EQ(memcmp(mock_xen.map_refs, refs, sizeof(refs)), 0);
    ops->grants->unmap(p, addr, 3);
    UT_EQ(ops->grants->map(p, refs, 1, false, &addr), 0);
    UT_EQ(mock_xen.map_prot, PROT_READ);
    ops->grants->unmap(p, addr, 1);
    ops->close(p);
}

static void map_failures_are_the_guests_or_the_hosts(void)
{
    static const struct {
        int err, result;
    } cases[] = {
        {EINVAL, -EFAULT}, {EFAULT, -EFAULT}, {ENOENT, -EFAULT}, {EIO, -EFAULT},
        {ENOMEM, -ENOMEM}, {ENOSPC, -ENOMEM}, {EPERM, -EPERM},   {EBADF, -EBADF},
    };
    uint32_t ref = 1;
    struct platform *p = open_guest();
    void *addr = &ref;

    UT_REQUIRE(p != NULL);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        mock_xen.fail_map = cases[i].err;
        UT_EQ(ops->grants->map(p, &ref, 1, true, &addr), cases[i].result);
    }
    UT_EQ(ops->grants->map(p, &ref, 0, true, &addr), -EINVAL);
    UT_EQ(ops->grants->map(p, &ref, 1u << 20, true, &addr), -ENOMEM); /* no read of refs */
    UT_TRUE(addr == &ref);
    UT_EQ(mock_xen.maps, 0);
    ops->close(p);
    UT_EQ(mock_xen.unmaps, 0); /* nothing half-mapped was kept */
}

static void unmapping_takes_exactly_what_was_mapped(void)
{
    static const uint32_t refs[] = {1, 2, 3, 4};
    struct platform *p = open_guest();
    void *a, *b;

    UT_REQUIRE(p != NULL);
    UT_EQ(ops->grants->map(p, refs, 4, true, &a), 0);
    UT_EQ(ops->grants->map(p, refs, 2, true, &b), 0);
    ops->grants->unmap(p, a, 3); /* a part: gntdev cannot, so the library is not asked */
    UT_EQ(mock_xen.unmaps, 0);
    ops->grants->unmap(p, (char *)a + GRANT_PAGE_SIZE, 3);
    UT_EQ(mock_xen.unmaps, 0);
    ops->grants->unmap(p, a, 4);
    UT_EQ(mock_xen.unmaps, 1);
    UT_TRUE(mock_xen.unmap_addr == a);
    UT_EQ(mock_xen.unmap_count, 4);
    ops->grants->unmap(p, a, 4); /* once */
    UT_EQ(mock_xen.unmaps, 1);
    mock_xen.fail_unmap = EINVAL; /* cannot fail for the caller: logged, forgotten */
    ops->grants->unmap(p, b, 2);
    UT_EQ(mock_xen.unmaps, 2);
    ops->close(p);
    UT_EQ(mock_xen.unmaps, 2);
}

static void close_releases_maps_then_ports_then_files(void)
{
    static const uint32_t refs[] = {1, 2};
    struct platform *p = open_guest();
    uint32_t port;
    void *addr;

    UT_REQUIRE(p != NULL);
    UT_EQ(ops->grants->map(p, refs, 2, true, &addr), 0);
    UT_EQ(ops->grants->map(p, refs, 1, true, &addr), 0);
    UT_EQ(ops->bind(p, 5, &port), 0);
    ops->close(p);
    UT_EQ(mock_xen.unmaps, 2);
    UT_EQ(mock_xen.unbinds, 1);
    UT_EQ(mock_xen.unbound_port, port);
    UT_EQ(mock_xen.gnttab_closes, 1);
    UT_EQ(mock_xen.evtchn_closes, 1);
}

static void copies_go_in_batches_and_check_each_status(void)
{
    struct platform *p = open_guest();
    struct grant_copy pieces[40];
    uint8_t bytes[40];

    UT_REQUIRE(p != NULL);
    for (unsigned i = 0; i < 40; i++)
        pieces[i] = (struct grant_copy){.ref = i, .len = 1, .local = &bytes[i]};
    UT_EQ(ops->grants->copy(p, pieces, 40), 0);
    UT_EQ(mock_xen.copied, 40);
    for (unsigned i = 0; i < 40; i++)
        UT_EQ(bytes[i], i);
    mock_xen.copied = 0;
    mock_xen.copy_status_at = 39;
    UT_EQ(ops->grants->copy(p, pieces, 40), -EFAULT);
    mock_xen.fail_copy = ENOMEM;
    UT_EQ(ops->grants->copy(p, pieces, 1), -ENOMEM);
    mock_xen.copied = 0;
    pieces[3].offset = 4096;
    UT_EQ(ops->grants->copy(p, pieces, 40), -EINVAL);
    UT_EQ(mock_xen.copied, 0); /* checked before anything is copied */
    UT_EQ(ops->grants->copy(p, pieces, 0), 0);
    ops->close(p);
}

static void bind_failures_tell_absent_from_forbidden(void)
{
    static const struct {
        int err, result;
    } cases[] = {
        {EINVAL, -ENOENT}, {ESRCH, -ENOENT}, {EPERM, -EPERM}, {EACCES, -EPERM}, {ENOSPC, -ENOSPC},
    };
    struct platform *p = open_guest();
    uint32_t port = 9;

    UT_REQUIRE(p != NULL);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        mock_xen.fail_bind = cases[i].err;
        UT_EQ(ops->bind(p, 5, &port), cases[i].result);
    }
    UT_EQ(port, 9);
    UT_EQ(ops->bind(p, 5, &port), 0);
    UT_EQ(mock_xen.bind_domid, GUEST);
    UT_EQ(mock_xen.bind_port, 5);
    UT_EQ(ops->notify(p, port), 0);
    UT_EQ(mock_xen.notified_port, port);
    mock_xen.fail_notify = ENOTCONN;
    UT_EQ(ops->notify(p, port), -ENOTCONN);
    ops->unbind(p, port);
    ops->unbind(p, port); /* not bound any more */
    UT_EQ(mock_xen.unbinds, 1);
    ops->close(p);
    UT_EQ(mock_xen.unbinds, 1);
}

static void a_port_is_unmasked_before_it_is_handled(void)
{
    struct platform *p = open_guest();
    uint32_t port = 0;

    UT_REQUIRE(p != NULL);
    UT_EQ(ops->next_event(p, &port), 0); /* looks first: pending would block */
    UT_STR(mock_xen.trace, "");
    mock_xen_kick(100);
    mock_xen_kick(101);
    UT_EQ(ops->next_event(p, &port), 1);
    UT_EQ(port, 100);
    UT_STR(mock_xen.trace, "pm");
    UT_FALSE(mock_xen.masked);
    UT_EQ(ops->next_event(p, &port), 1);
    UT_EQ(port, 101);
    UT_EQ(ops->next_event(p, &port), 0);
    UT_STR(mock_xen.trace, "pmpm");
    ops->close(p);
}

static void event_failures_are_passed_on(void)
{
    struct platform *p = open_guest();
    uint32_t port = 77;

    UT_REQUIRE(p != NULL);
    mock_xen_kick(100);
    mock_xen.fail_pending = EFBIG; /* the kernel's ring overflowed */
    UT_EQ(ops->next_event(p, &port), -EFBIG);
    mock_xen.fail_pending = EAGAIN;
    UT_EQ(ops->next_event(p, &port), 0);
    mock_xen.fail_unmask = EIO;
    UT_EQ(ops->next_event(p, &port), -EIO);
    UT_EQ(port, 77);
    ops->close(p);
}

static unsigned n_lines;

static void count_line(enum log_level level, const char *line, void *ctx)
{
    (void)level;
    (void)line;
    (void)ctx;
    n_lines++;
}

static void a_guest_cannot_flood_the_log_by_bad_references(void)
{
    uint32_t ref = 1;
    struct platform *p = open_guest();
    void *addr;

    UT_REQUIRE(p != NULL);
    log_set_sink(count_line, NULL);
    for (unsigned i = 0; i < 1000; i++) {
        mock_xen.fail_map = EINVAL;
        UT_EQ(ops->grants->map(p, &ref, 1, true, &addr), -EFAULT);
    }
    log_set_sink(NULL, NULL);
    UT_TRUE(n_lines > 0);
    UT_TRUE(n_lines < 100);
    ops->close(p);
}

/* ---- with a broker ---- */

struct brokered {
    struct platform *p;
    struct broker *broker;
    pthread_t thread;
    int far;
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

static bool brokered_setup(struct brokered *b)
{
    int sv[2];

    mock_xen_reset();
    *b = (struct brokered){.p = NULL};
    atomic_init(&b->max_pages, 100);
    if (broker_socketpair(sv) < 0 || ops->brokered->broker->open(&b->broker, GUEST) < 0)
        return false;
    b->far = sv[1];
    return pthread_create(&b->thread, NULL, serve, b) == 0 &&
           ops->brokered->open(&b->p, GUEST, sv[0]) == 0;
}

static void brokered_teardown(struct brokered *b)
{
    ops->close(b->p);
    (void)pthread_join(b->thread, NULL);
}

static void a_broker_records_and_the_worker_maps(void)
{
    static const uint32_t refs[] = {9, 8, 42};
    const struct grant_ops *grants = ops->brokered->grants;
    struct brokered b;
    void *addr;

    UT_REQUIRE(brokered_setup(&b));
    UT_EQ(mock_xen.gnttab_opens, 0);
    UT_EQ(mock_xen.gntdev_opens, 1);
    UT_EQ(grants->map(b.p, refs, 3, true, &addr), 0);
    UT_EQ(mock_xen.record_domid, GUEST);
    UT_EQ(mock_xen.record_n, 3);
    UT_EQ(memcmp(mock_xen.record_refs, refs, sizeof(refs)), 0);
    UT_EQ(mock_xen.gntdev_map_index, 0x10000);
    UT_TRUE(mock_xen.gntdev_map_writable);
    UT_STR(mock_xen.gnt_trace, "rm");
    grants->unmap(b.p, addr, 3);
    UT_STR(mock_xen.gnt_trace, "rmf");
    UT_EQ(mock_xen.forget_index, 0x10000);
    UT_EQ(mock_xen.forget_n, 3);
    UT_EQ(grants->map(b.p, refs, 1, false, &addr), 0);
    UT_FALSE(mock_xen.gntdev_map_writable);
    brokered_teardown(&b); /* ends what is mapped */
    UT_STR(mock_xen.gnt_trace, "rmfrmf");
    UT_EQ(mock_xen.maps, 0);
}

static void refused_brokered_maps_leave_no_record(void)
{
    static const struct {
        int record, map, result;
        const char *trace;
    } table[] = {
        {0, EINVAL, -EFAULT, "rmf"}, /* a reference that was not granted */
        {0, ENOMEM, -ENOMEM, "rmf"},
        {EINVAL, 0, -EFAULT, ""},
        {ENOMEM, 0, -ENOMEM, ""},
    };
    const struct grant_ops *grants = ops->brokered->grants;
    uint32_t refs[101] = {5};
    struct brokered b;
    void *addr = &b;

    UT_REQUIRE(brokered_setup(&b));
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        mock_xen.gnt_trace[0] = '\0';
        memset(mock_xen.gnt_trace, 0, sizeof(mock_xen.gnt_trace));
        mock_xen.fail_record = table[i].record;
        mock_xen.fail_gntdev_map = table[i].map;
        UT_EQ(grants->map(b.p, refs, 100, true, &addr), table[i].result);
        UT_STR(mock_xen.gnt_trace, table[i].trace);
    }
    UT_EQ(grants->map(b.p, refs, 101, true, &addr), -ENOMEM); /* the lease */
    UT_EQ(grants->map(b.p, refs, 0, true, &addr), -EINVAL);
    UT_EQ(grants->map(b.p, refs, BROKER_MAX_PAGES + 1, true, &addr), -ENOMEM);
    UT_TRUE(addr == &b);
    UT_EQ(grants->map(b.p, refs, 100, true, &addr), 0);
    brokered_teardown(&b);
}

/* One message records all; the one that cannot be mapped then fails alone and is forgotten. */
static void many_windows_are_recorded_then_mapped(void)
{
    static const uint32_t refs[] = {5, 6, 7, 8};
    const struct grant_ops *grants = ops->brokered->grants;
    struct grant_window w[] = {
        {.refs = refs, .n_pages = 2, .writable = true},
        {.refs = &refs[2], .n_pages = 1},
        {.refs = &refs[3], .n_pages = 1},
    };
    struct brokered b;

    UT_REQUIRE(brokered_setup(&b));
    mock_xen.fail_gntdev_map = EINVAL;
    grants->map_many(b.p, w, 3);
    UT_EQ(w[0].status, -EFAULT);
    UT_EQ(w[1].status, 0);
    UT_EQ(w[2].status, 0);
    UT_STR(mock_xen.gnt_trace, "rrrmmmf");
    UT_EQ(mock_xen.forget_n, 2);
    grants->unmap_many(b.p, &w[1], 2);
    UT_STR(mock_xen.gnt_trace, "rrrmmmfff");
    /* None is too many, and what fits into no message is refused alone. */
    w[0].n_pages = BROKER_MAX_PAGES + 1;
    w[1].n_pages = 0;
    grants->map_many(b.p, w, 3);
    UT_EQ(w[0].status, -ENOMEM);
    UT_EQ(w[1].status, -EINVAL);
    UT_EQ(w[2].status, 0);
    UT_STR(mock_xen.gnt_trace, "rrrmmmfffrm");
    brokered_teardown(&b);
    UT_STR(mock_xen.gnt_trace, "rrrmmmfffrmf");
}

static void a_dead_broker_is_a_failure_and_no_hang(void)
{
    const struct grant_ops *grants = ops->brokered->grants;
    uint32_t ref = 5;
    struct brokered b;
    void *addr;

    UT_REQUIRE(brokered_setup(&b));
    UT_EQ(grants->map(b.p, &ref, 1, true, &addr), 0);
    (void)shutdown(b.far, SHUT_RDWR);
    (void)pthread_join(b.thread, NULL);
    UT_TRUE(grants->map(b.p, &ref, 1, true, &addr) < 0);
    ops->close(b.p);
}

static void a_brokered_worker_has_no_way_around_its_broker(void)
{
    const struct ioctl_list *list = &ops->brokered->ioctls;

    UT_TRUE(ops->brokered->grants->copy == NULL);
    UT_TRUE(list->n > 0);
    for (size_t i = 0; i < list->n; i++)
        UT_EQ(_IOC_TYPE(list->requests[i]), 'E'); /* evtchn's; gntdev's are 'G' */
    /* And the broker's requests have no room for a domain at all. */
    UT_EQ(sizeof(struct broker_request), 2 * sizeof(uint32_t));
    UT_EQ(sizeof(struct broker_map_item), 2 * sizeof(uint32_t));
}

static void brokered_open_fails_whole(void)
{
    struct platform *p = NULL;
    struct broker *broker = NULL;
    int sv[2];

    mock_xen_reset();
    mock_xen.fail_gntdev_open = ENOENT;
    UT_EQ(ops->brokered->broker->open(&broker, GUEST), -ENOENT);
    UT_TRUE(broker == NULL);
    UT_REQUIRE(broker_socketpair(sv) == 0);
    close(sv[1]);
    UT_TRUE(ops->brokered->open(&p, GUEST, sv[0]) < 0);
    UT_EQ(ops->brokered->open(&p, 0x7ff0, sv[0]), -EINVAL);
    UT_TRUE(p == NULL);
    UT_EQ(close(sv[0]), 0); /* is still the caller's */
    UT_EQ(mock_xen.evtchn_opens, mock_xen.evtchn_closes);
}

static const struct ut_case cases[] = {
    UT_CASE(a_broker_records_and_the_worker_maps),
    UT_CASE(refused_brokered_maps_leave_no_record),
    UT_CASE(many_windows_are_recorded_then_mapped),
    UT_CASE(a_dead_broker_is_a_failure_and_no_hang),
    UT_CASE(a_brokered_worker_has_no_way_around_its_broker),
    UT_CASE(brokered_open_fails_whole),
    UT_CASE(open_fails_whole_and_says_why),
    UT_CASE(event_channels_are_bound_to_the_guest_by_the_kernel),
    UT_CASE(a_map_is_one_call_with_the_guests_domid),
    UT_CASE(map_failures_are_the_guests_or_the_hosts),
    UT_CASE(unmapping_takes_exactly_what_was_mapped),
    UT_CASE(close_releases_maps_then_ports_then_files),
    UT_CASE(copies_go_in_batches_and_check_each_status),
    UT_CASE(bind_failures_tell_absent_from_forbidden),
    UT_CASE(a_port_is_unmasked_before_it_is_handled),
    UT_CASE(event_failures_are_passed_on),
    UT_CASE(a_guest_cannot_flood_the_log_by_bad_references),
};

int main(int argc, char **argv)
{
    return ut_main(argc, argv, "platform xen", cases, ARRAY_SIZE(cases));
}
