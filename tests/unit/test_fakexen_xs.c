/* SPDX-License-Identifier: GPL-2.0-only */
/* fakexen's xenstored: the real libxenstore against it, then raw and hostile bytes. */
#include <config.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <xen/io/xs_wire.h>
#include <xenstore.h>

#include "tests/support/fakexen/fx_guest.h"
#include "tests/support/fakexen/fx_server.h"
#include "tests/support/ut.h"

#define HANG_MS 10000 /* a limit against hanging, not a wait */

struct rig {
    struct fx_server server;
    struct xs_handle *dom0, *drv, *guest;
};

static bool setup(struct rig *r)
{
    memset(r, 0, sizeof(*r));
    if (fx_server_start(&r->server, 0) < 0 || fx_create_domain(r->server.dir, "drv", 1, true) < 0 ||
        fx_create_domain(r->server.dir, "g", 2, false) < 0)
        return false;
    r->dom0 = fx_xs_open(r->server.dir, 0);
    r->drv = fx_xs_open(r->server.dir, 1);
    r->guest = fx_xs_open(r->server.dir, 2);
    return r->dom0 && r->drv && r->guest;
}

static void teardown(struct rig *r)
{
    xs_close(r->dom0);
    xs_close(r->drv);
    xs_close(r->guest);
    UT_EQ(fx_server_stop(&r->server), 0);
}

/* The next watch event as "path token", "none" when there is none within the limit. */
static const char *next_event(struct xs_handle *xs, int timeout_ms)
{
    static char out[512];
    struct pollfd pfd = {.fd = xs_fileno(xs), .events = POLLIN};
    char **event = xs_check_watch(xs);

    if (!event && poll(&pfd, 1, timeout_ms) > 0)
        event = xs_check_watch(xs);
    snprintf(out, sizeof(out), "%s%s%s", event ? event[XS_WATCH_PATH] : "none", event ? " " : "",
             event ? event[XS_WATCH_TOKEN] : "");
    free(event);
    return out;
}

/* True when no event is on its way: a round trip after the change has pushed all out. */
static bool quiet(struct xs_handle *xs)
{
    free(xs_get_domain_path(xs, 1));
    return strcmp(next_event(xs, 0), "none") == 0;
}

static const char *get(struct xs_handle *xs, xs_transaction_t t, const char *path)
{
    static char out[64];
    unsigned len;
    char *text = xs_read(xs, t, path, &len);

    if (text)
        snprintf(out, sizeof(out), "%s", text);
    else
        snprintf(out, sizeof(out), "error %d", errno);
    free(text);
    return out;
}

static void relative_paths_are_the_domains_own(void)
{
    struct rig r;
    char *path;

    UT_REQUIRE(setup(&r));
    UT_EQ(fx_xs_write(r.guest, "data/x", "%d", 7), 0);
    UT_STR(get(r.guest, XBT_NULL, "/local/domain/2/data/x"), "7");
    UT_STR(get(r.dom0, XBT_NULL, "/local/domain/2/data/x"), "7");
    UT_STR(get(r.drv, XBT_NULL, "/local/domain/2/data/x"), "error 13");
    UT_STR(get(r.guest, XBT_NULL, "name"), "g");
    path = xs_get_domain_path(r.guest, 2);
    UT_STR(path, "/local/domain/2");
    free(path);
    teardown(&r);
}

static void only_the_privileged_ask_about_domains(void)
{
    struct rig r;

    UT_REQUIRE(setup(&r));
    UT_TRUE(xs_is_domain_introduced(r.dom0, 2));
    UT_FALSE(xs_is_domain_introduced(r.dom0, 9));
    errno = 0;
    UT_FALSE(xs_is_domain_introduced(r.drv, 2));
    UT_EQ(errno, EACCES);
    teardown(&r);
}

static void transactions_conflict_and_are_redone(void)
{
    struct rig r;
    xs_transaction_t t;

    UT_REQUIRE(setup(&r));
    UT_EQ(fx_xs_write(r.guest, "data/n", "1"), 0);
    t = xs_transaction_start(r.guest);
    UT_REQUIRE(t != XBT_NULL);
    UT_STR(get(r.guest, t, "data/n"), "1");
    UT_EQ(fx_xs_write(r.dom0, "/local/domain/2/data/n", "2"), 0);
    UT_TRUE(xs_write(r.guest, t, "data/m", "x", 1));
    UT_FALSE(xs_transaction_end(r.guest, t, false));
    UT_EQ(errno, EAGAIN);
    UT_STR(get(r.guest, XBT_NULL, "data/m"), "error 2");
    t = xs_transaction_start(r.guest);
    UT_TRUE(xs_write(r.guest, t, "data/m", "x", 1));
    UT_TRUE(xs_transaction_end(r.guest, t, false));
    UT_STR(get(r.guest, XBT_NULL, "data/m"), "x");
    UT_FALSE(xs_transaction_end(r.guest, t, false)); /* over */
    UT_EQ(errno, ENOENT);
    UT_FALSE(xs_write(r.guest, 4711, "data/m", "x", 1));
    UT_EQ(errno, ENOENT);
    teardown(&r);
}

static void a_watch_fires_at_once_and_on_changes_below(void)
{
    struct rig r;

    UT_REQUIRE(setup(&r));
    UT_TRUE(xs_watch(r.guest, "data", "tok"));
    UT_STR(next_event(r.guest, HANG_MS), "data tok"); /* also when nothing is there */
    UT_EQ(fx_xs_write(r.dom0, "/local/domain/2/data/deep/node", "x"), 0);
    UT_STR(next_event(r.guest, HANG_MS), "data/deep/node tok"); /* relative, as it was set */
    UT_EQ(fx_xs_write(r.dom0, "/local/domain/2/dataother", "x"), 0);
    UT_TRUE(quiet(r.guest));
    UT_TRUE(xs_rm(r.dom0, XBT_NULL, "/local/domain/2/data/deep"));
    UT_STR(next_event(r.guest, HANG_MS), "data/deep tok");
    UT_TRUE(quiet(r.guest));
    UT_FALSE(xs_watch(r.guest, "data", "tok"));
    UT_EQ(errno, EEXIST);
    UT_TRUE(xs_unwatch(r.guest, "data", "tok"));
    UT_FALSE(xs_unwatch(r.guest, "data", "tok"));
    UT_EQ(errno, ENOENT);
    UT_EQ(fx_xs_write(r.guest, "data/x", "x"), 0);
    UT_TRUE(quiet(r.guest));
    teardown(&r);
}

static void removing_a_directory_fires_watches_on_nodes_below(void)
{
    struct rig r;

    UT_REQUIRE(setup(&r));
    UT_EQ(fx_xs_write(r.guest, "data/a/state", "4"), 0);
    UT_TRUE(xs_watch(r.guest, "/local/domain/2/data/a/state", "s"));
    UT_STR(next_event(r.guest, HANG_MS), "/local/domain/2/data/a/state s");
    UT_TRUE(xs_rm(r.dom0, XBT_NULL, "/local/domain/2/data/a"));
    UT_STR(next_event(r.guest, HANG_MS), "/local/domain/2/data/a/state s");
    UT_TRUE(quiet(r.guest));
    teardown(&r);
}

static void events_of_transactions_come_after_the_commit(void)
{
    struct rig r;
    xs_transaction_t t;

    UT_REQUIRE(setup(&r));
    UT_TRUE(xs_watch(r.guest, "data", "t"));
    UT_STR(next_event(r.guest, HANG_MS), "data t");
    t = xs_transaction_start(r.dom0);
    UT_TRUE(xs_write(r.dom0, t, "/local/domain/2/data/x", "1", 1));
    UT_TRUE(quiet(r.guest));
    UT_TRUE(xs_transaction_end(r.dom0, t, false));
    UT_STR(next_event(r.guest, HANG_MS), "data/x t");
    t = xs_transaction_start(r.dom0);
    UT_TRUE(xs_write(r.dom0, t, "/local/domain/2/data/x", "2", 1));
    UT_TRUE(xs_transaction_end(r.dom0, t, true));
    UT_TRUE(quiet(r.guest));
    teardown(&r);
}

static void what_a_domain_may_not_read_does_not_reach_its_watches(void)
{
    struct rig r;

    UT_REQUIRE(setup(&r));
    UT_TRUE(xs_watch(r.drv, "/local/domain/2", "spy"));
    UT_STR(next_event(r.drv, HANG_MS), "/local/domain/2 spy"); /* the first is free */
    UT_EQ(fx_xs_write(r.guest, "data/secret", "x"), 0);
    UT_TRUE(quiet(r.drv));
    teardown(&r);
}

static void release_domain_is_heard_by_the_privileged(void)
{
    struct rig r;

    UT_REQUIRE(setup(&r));
    UT_TRUE(xs_watch(r.dom0, "@releaseDomain", "gone"));
    UT_STR(next_event(r.dom0, HANG_MS), "@releaseDomain gone");
    UT_TRUE(xs_watch(r.dom0, "@introduceDomain", "new"));
    UT_STR(next_event(r.dom0, HANG_MS), "@introduceDomain new");
    UT_TRUE(xs_watch(r.drv, "@releaseDomain", "gone"));
    UT_STR(next_event(r.drv, HANG_MS), "@releaseDomain gone");
    UT_EQ(fx_create_domain(r.server.dir, "h", 3, false), 0);
    UT_STR(next_event(r.dom0, HANG_MS), "@introduceDomain new");
    UT_EQ(fx_destroy_domain(r.server.dir, 3), 0);
    UT_STR(next_event(r.dom0, HANG_MS), "@releaseDomain gone");
    UT_TRUE(quiet(r.drv));
    UT_STR(get(r.dom0, XBT_NULL, "/local/domain/3"), "error 2");
    UT_FALSE(xs_is_domain_introduced(r.dom0, 3));
    teardown(&r);
}

static void permissions_travel_over_the_wire(void)
{
    struct xs_permissions set[] = {{.id = 1, .perms = XS_PERM_NONE},
                                   {.id = 2, .perms = XS_PERM_READ | XS_PERM_WRITE}};
    struct xs_permissions *is;
    struct rig r;
    unsigned n = 0;

    UT_REQUIRE(setup(&r));
    UT_EQ(fx_xs_write(r.drv, "data/n", "x"), 0);
    UT_TRUE(xs_set_permissions(r.drv, XBT_NULL, "data/n", set, 2));
    is = xs_get_permissions(r.guest, XBT_NULL, "/local/domain/1/data/n", &n);
    UT_REQUIRE(is != NULL && n == 2);
    UT_EQ(is[0].id, 1);
    UT_EQ(is[0].perms, XS_PERM_NONE);
    UT_EQ(is[1].id, 2);
    UT_EQ(is[1].perms, XS_PERM_READ | XS_PERM_WRITE);
    free(is);
    UT_EQ(fx_xs_write(r.guest, "/local/domain/1/data/n", "written"), 0);
    UT_FALSE(xs_set_permissions(r.guest, XBT_NULL, "/local/domain/1/data/n", set, 2));
    UT_EQ(errno, EACCES);
    UT_FALSE(xs_write(r.drv, XBT_NULL, "/local/domain/1/backend/virtio/9/9", "", 0));
    UT_EQ(errno, EACCES);                         /* a driver domain cannot make its own backends */
    UT_EQ(fx_xs_write(r.drv, "libxl/x", "1"), 0); /* driver_domain=1 */
    teardown(&r);
}

static void quotas_of_an_unprivileged_domain_hold(void)
{
    static char big[2049];
    struct rig r;
    xs_transaction_t t;
    char name[32];
    unsigned n;

    UT_REQUIRE(setup(&r));
    for (n = 0; n < 200; n++) {
        snprintf(name, sizeof(name), "t%u", n);
        if (!xs_watch(r.guest, "data", name))
            break;
    }
    UT_EQ(n, 128);
    UT_EQ(errno, E2BIG);
    for (n = 0; n < 20; n++) {
        t = xs_transaction_start(r.guest);
        if (t == XBT_NULL)
            break;
    }
    UT_EQ(n, 10);
    UT_EQ(errno, ENOSPC);
    UT_TRUE(xs_transaction_start(r.drv) != XBT_NULL); /* a quota of its own */
    UT_FALSE(xs_write(r.guest, XBT_NULL, "data/big", big, sizeof(big)));
    UT_EQ(errno, ENOSPC);
    UT_TRUE(xs_write(r.guest, XBT_NULL, "data/big", big, sizeof(big) - 1));
    teardown(&r);
}

static void a_directory_of_many_names_comes_in_parts(void)
{
    struct rig r;
    unsigned n = 0;
    char name[64], **names;

    UT_REQUIRE(setup(&r));
    for (unsigned i = 0; i < 600; i++) {
        snprintf(name, sizeof(name), "/big/a-rather-long-name-of-a-node-%04u", i);
        if (fx_xs_write(r.dom0, name, "x") < 0)
            break;
    }
    names = xs_directory(r.dom0, XBT_NULL, "/big", &n); /* E2BIG, then DIRECTORY_PART */
    UT_EQ(n, 600);
    UT_STR(names && n == 600 ? names[599] : NULL, "a-rather-long-name-of-a-node-0599");
    free(names);
    teardown(&r);
}

/* ---- raw bytes ---- */

static int raw_connect(const struct rig *r, const char *suffix)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/xenstored-socket%s", r->server.dir, suffix);
    if (fd < 0 || connect(fd, (const struct sockaddr *)(const void *)&sa, sizeof(sa)) < 0)
        return -1;
    return fd;
}

/* Sends a request and returns the reply's text ("closed" when there is none). */
static const char *raw(int fd, uint32_t type, uint32_t tx, const char *body, uint32_t len)
{
    static char out[8192];
    struct xsd_sockmsg hdr = {.type = type, .req_id = 42, .tx_id = tx, .len = len};

    if (write(fd, &hdr, sizeof(hdr)) < 0 || (len && body && write(fd, body, len) < 0))
        return "closed";
    if (recv(fd, &hdr, sizeof(hdr), MSG_WAITALL) != (ssize_t)sizeof(hdr) || hdr.len >= sizeof(out))
        return "closed";
    if (hdr.len && recv(fd, out, hdr.len, MSG_WAITALL) != (ssize_t)hdr.len)
        return "closed";
    UT_EQ(hdr.req_id, 42);
    out[hdr.len] = '\0';
    return out;
}

static void malformed_requests_get_an_error(void)
{
    static const struct {
        uint32_t type;
        const char *body;
        uint32_t len;
        const char *answer;
    } reqs[] = {
        {XS_READ, "", 0, "EINVAL"},
        {XS_READ, "data", 4, "EINVAL"}, /* not terminated */
        {XS_READ, "data\0x", 7, "EINVAL"},
        {XS_READ, "data//x", 8, "EINVAL"},
        {XS_READ, "@releaseDomain", 15, "EINVAL"},
        {XS_READ, "/local/domain/2/\xff", 18, "EINVAL"},
        {XS_WRITE, "data", 4, "EINVAL"},
        {XS_RM, "/", 2, "EACCES"},
        {XS_WATCH, "data", 5, "EINVAL"}, /* no token */
        {XS_WATCH, "data\0tok", 8, "EINVAL"},
        {XS_UNWATCH, "data\0tok", 9, "ENOENT"},
        {XS_SET_PERMS, "data", 5, "EINVAL"},
        {XS_SET_PERMS, "data\0x1", 8, "EINVAL"},
        {XS_SET_PERMS, "data\0n99999", 12, "EINVAL"},
        {XS_SET_PERMS, "data\0n", 7, "EINVAL"},
        {XS_DIRECTORY_PART, "data", 5, "EINVAL"},
        {XS_DIRECTORY_PART, "data\0x", 7, "EINVAL"},
        {XS_GET_DOMAIN_PATH, "x", 2, "EINVAL"},
        {XS_TRANSACTION_END, "T", 2, "ENOENT"},
        {XS_TRANSACTION_END, "X", 2, "EINVAL"},
        {XS_CONTROL, "check", 6, "EACCES"},
        {XS_INTRODUCE, "", 1, "ENOSYS"},
        {XS_TYPE_COUNT, "", 0, "ENOSYS"},
        {0xffffffff, "", 0, "ENOSYS"},
    };
    struct rig r;
    int fd;

    UT_REQUIRE(setup(&r));
    fd = raw_connect(&r, ".2");
    UT_REQUIRE(fd >= 0);
    for (size_t i = 0; i < ARRAY_SIZE(reqs); i++)
        UT_STR(raw(fd, reqs[i].type, 0, reqs[i].body, reqs[i].len), reqs[i].answer);
    UT_STR(raw(fd, XS_READ, 0, "name", 5), "g"); /* and it goes on */
    close(fd);
    teardown(&r);
}

static void too_long_a_message_ends_the_connection_only(void)
{
    static char body[4096];
    static const uint32_t lens[] = {4097, 0x7fffffff, 0x80000000, 0xffffffff};
    struct rig r;
    int fd;

    UT_REQUIRE(setup(&r));
    for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
        fd = raw_connect(&r, ".2");
        UT_REQUIRE(fd >= 0);
        UT_STR(raw(fd, XS_READ, 0, NULL, lens[i]), "closed");
        close(fd);
    }
    fd = raw_connect(&r, "");
    UT_REQUIRE(fd >= 0);
    memset(body, 'x', sizeof(body));
    memcpy(body, "/n", 3);
    UT_STR(raw(fd, XS_WRITE, 0, body, 4096), "OK"); /* the longest */
    close(fd);
    UT_STR(get(r.guest, XBT_NULL, "name"), "g");
    teardown(&r);
}

static void a_connection_that_dies_midway_leaves_nothing(void)
{
    struct rig r;
    struct xsd_sockmsg hdr = {.type = XS_WRITE, .len = 100};
    xs_transaction_t t;
    int fd;

    UT_REQUIRE(setup(&r));
    fd = raw_connect(&r, ".2");
    UT_REQUIRE(fd >= 0);
    UT_EQ(write(fd, &hdr, sizeof(hdr)), sizeof(hdr));
    UT_EQ(write(fd, "data/x", 7), 7);
    close(fd);
    fd = raw_connect(&r, ".2");
    UT_REQUIRE(fd >= 0);
    for (unsigned i = 0; i < 10; i++)
        UT_STR(raw(fd, XS_TRANSACTION_START, 0, "", 1) ? "started" : "", "started");
    close(fd); /* its ten transactions go with it */
    do
        t = xs_transaction_start(r.guest);
    while (t == XBT_NULL && errno == ENOSPC);
    UT_TRUE(t != XBT_NULL);
    UT_STR(get(r.guest, XBT_NULL, "data/x"), "error 2");
    teardown(&r);
}

static void a_dead_domains_connections_end(void)
{
    struct rig r;
    int fd;

    UT_REQUIRE(setup(&r));
    fd = raw_connect(&r, ".2");
    UT_REQUIRE(fd >= 0);
    UT_STR(raw(fd, XS_READ, 0, "name", 5), "g");
    UT_EQ(fx_destroy_domain(r.server.dir, 2), 0);
    UT_STR(raw(fd, XS_READ, 0, "name", 5), "closed");
    close(fd);
    UT_EQ(raw_connect(&r, ".2"), -1);
    teardown(&r);
}

static const struct ut_case cases[] = {
    UT_CASE(relative_paths_are_the_domains_own),
    UT_CASE(only_the_privileged_ask_about_domains),
    UT_CASE(transactions_conflict_and_are_redone),
    UT_CASE(a_watch_fires_at_once_and_on_changes_below),
    UT_CASE(removing_a_directory_fires_watches_on_nodes_below),
    UT_CASE(events_of_transactions_come_after_the_commit),
    UT_CASE(what_a_domain_may_not_read_does_not_reach_its_watches),
    UT_CASE(release_domain_is_heard_by_the_privileged),
    UT_CASE(permissions_travel_over_the_wire),
    UT_CASE(quotas_of_an_unprivileged_domain_hold),
    UT_CASE(a_directory_of_many_names_comes_in_parts),
    UT_CASE(malformed_requests_get_an_error),
    UT_CASE(too_long_a_message_ends_the_connection_only),
    UT_CASE(a_connection_that_dies_midway_leaves_nothing),
    UT_CASE(a_dead_domains_connections_end),
};

int main(int argc, char **argv)
{
    alarm(120);               /* a server that does not answer is a failure, not a hang */
    signal(SIGPIPE, SIG_IGN); /* cut-off connections are written to */
    return ut_main(argc, argv, "fakexen xenstored", cases, ARRAY_SIZE(cases));
}
