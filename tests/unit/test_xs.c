/* SPDX-License-Identifier: GPL-2.0-only */
/* The helpers on struct xs_ops: bounded values, transactions tried again, our own domid. */
#include <config.h>

#include "xenstore/xs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/ut.h"
#include "tests/support/xs_fake.h"
#include "xenstore/paths.h"

static void values_are_bounded(void)
{
    struct xs_fake *f = xs_fake_new(1);
    struct xsc xs = xs_fake_client(f);
    char buf[5];

    xs_fake_put(f, "/a", "1234");
    UT_EQ(xsc_read(&xs, XSC_TX_NONE, "/a", buf, sizeof(buf)), 0);
    UT_STR(buf, "1234");
    xs_fake_put(f, "/a", "12345");
    UT_EQ((int64_t)xsc_read(&xs, XSC_TX_NONE, "/a", buf, sizeof(buf)), -E2BIG);
    UT_STR(buf, "");
    xs_fake_put_bytes(f, "/a", "1\0002", 3);
    UT_EQ((int64_t)xsc_read(&xs, XSC_TX_NONE, "/a", buf, sizeof(buf)), -EINVAL);
    UT_STR(buf, "");
    xs_fake_put_bytes(f, "/a", "\0", 1);
    UT_EQ((int64_t)xsc_read(&xs, XSC_TX_NONE, "/a", buf, sizeof(buf)), -EINVAL);
    xs_fake_put(f, "/a", "");
    UT_EQ(xsc_read(&xs, XSC_TX_NONE, "/a", buf, sizeof(buf)), 0);
    UT_STR(buf, "");
    UT_EQ((int64_t)xsc_read(&xs, XSC_TX_NONE, "/b", buf, sizeof(buf)), -ENOENT);
    UT_STR(buf, "");
    xs_fake_free(f);
}

static void errors_are_passed_on(void)
{
    struct xs_fake *f = xs_fake_new(1);
    struct xsc xs = xs_fake_client(f);
    cleanup_free char **names = NULL;
    char buf[5];
    size_t n;

    f->fail_all = true;
    f->fail_err = -EIO;
    UT_EQ((int64_t)xsc_read(&xs, XSC_TX_NONE, "/a", buf, sizeof(buf)), -EIO);
    UT_EQ((int64_t)xsc_write(&xs, XSC_TX_NONE, "/a", "1"), -EIO);
    UT_EQ((int64_t)xsc_rm(&xs, XSC_TX_NONE, "/a"), -EIO);
    UT_EQ((int64_t)xsc_list(&xs, XSC_TX_NONE, "/", &names, &n), -EIO);
    f->fail_all = false;
    UT_EQ(xsc_rm(&xs, XSC_TX_NONE, "/a"), 0);
    xs_fake_free(f);
}

static int add_one(const struct xsc *xs, uint32_t tx, void *ctx)
{
    unsigned *runs = ctx;
    char buf[8];
    int r;

    (*runs)++;
    r = xsc_read(xs, tx, "/n", buf, sizeof(buf));
    if (r < 0)
        return r;
    buf[0]++;
    return xsc_write(xs, tx, "/n", buf);
}

static void transactions_are_tried_again(void)
{
    struct xs_fake *f = xs_fake_new(1);
    struct xsc xs = xs_fake_client(f);
    unsigned runs = 0;

    xs_fake_put(f, "/n", "1");
    f->conflicts = 31;
    UT_EQ(xsc_transaction(&xs, add_one, &runs), 0);
    UT_EQ(runs, 32);
    UT_STR(xs_fake_get(f, "/n"), "2");
    runs = 0;
    f->conflicts = 32;
    UT_EQ((int64_t)xsc_transaction(&xs, add_one, &runs), -EAGAIN);
    UT_EQ(runs, 32);
    UT_STR(xs_fake_get(f, "/n"), "2");
    UT_TRUE(f->tx == NULL);
    xs_fake_free(f);
}

static void interfere_once(struct xs_fake *f, enum xs_fake_op op, const char *path UNUSED,
                           void *ctx)
{
    unsigned *left = ctx;

    if (op == XS_FAKE_WRITE && *left > 0) {
        (*left)--;
        xs_fake_put(f, "/n", "5");
    }
}

static void a_transaction_sees_what_interfered(void)
{
    struct xs_fake *f = xs_fake_new(1);
    struct xsc xs = xs_fake_client(f);
    unsigned runs = 0, left = 1;

    xs_fake_put(f, "/n", "1");
    f->hook = interfere_once;
    f->hook_ctx = &left;
    UT_EQ(xsc_transaction(&xs, add_one, &runs), 0);
    UT_EQ(runs, 2);
    UT_STR(xs_fake_get(f, "/n"), "6");
    xs_fake_free(f);
}

static int write_and_fail(const struct xsc *xs, uint32_t tx, void *ctx)
{
    int r = xsc_write(xs, tx, "/n", ctx);

    return r < 0 ? r : -ENOSPC;
}

static void what_a_failed_body_wrote_is_forgotten(void)
{
    struct xs_fake *f = xs_fake_new(1);
    struct xsc xs = xs_fake_client(f);
    char value[] = "2";

    xs_fake_put(f, "/n", "1");
    UT_EQ((int64_t)xsc_transaction(&xs, write_and_fail, value), -ENOSPC);
    UT_STR(xs_fake_get(f, "/n"), "1");
    UT_TRUE(f->tx == NULL);
    xs_fake_free(f);
}

static void a_failed_body_changes_nothing(void)
{
    struct xs_fake *f = xs_fake_new(1);
    struct xsc xs = xs_fake_client(f);
    unsigned runs = 0;

    UT_EQ((int64_t)xsc_transaction(&xs, add_one, &runs), -ENOENT);
    UT_EQ(runs, 1);
    UT_TRUE(f->tx == NULL);
    xs_fake_put(f, "/n", "1");
    f->fail_err = -ENOSPC;
    f->fail_op = XS_FAKE_WRITE;
    f->fail_at = 1;
    UT_EQ((int64_t)xsc_transaction(&xs, add_one, &runs), -ENOSPC);
    UT_STR(xs_fake_get(f, "/n"), "1");
    UT_TRUE(f->tx == NULL);
    f->fail_op = XS_FAKE_TX_START;
    f->fail_at = 1;
    UT_EQ((int64_t)xsc_transaction(&xs, add_one, &runs), -ENOSPC);
    f->fail_op = XS_FAKE_TX_END;
    f->fail_at = 1;
    UT_EQ((int64_t)xsc_transaction(&xs, add_one, &runs), -ENOSPC);
    UT_STR(xs_fake_get(f, "/n"), "1");
    xs_fake_free(f);
}

static void our_domid_is_read_strictly(void)
{
    static const char *const bad[] = {"",   "-1", "x",     "5 ",         " 5",
                                      "5x", "+5", "32752", "4294967296", "1111111111111111111111"};
    struct xs_fake *f = xs_fake_new(5);
    struct xsc xs = xs_fake_client(f);
    uint32_t domid = 77;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        xs_fake_put(f, "domid", bad[i]);
        UT_EQ((int64_t)xsc_own_domid(&xs, &domid), -EINVAL);
    }
    UT_EQ(domid, 77);
    xs_fake_put(f, "domid", "32751");
    UT_EQ(xsc_own_domid(&xs, &domid), 0);
    UT_EQ(domid, 32751);
    xs_fake_del(f, "domid");
    UT_EQ(xsc_own_domid(&xs, &domid), 0);
    UT_EQ(domid, 0);
    f->fail_all = true;
    f->fail_err = -EIO;
    UT_EQ((int64_t)xsc_own_domid(&xs, &domid), -EIO);
    xs_fake_free(f);
}

static void joined_paths_fit_or_are_refused(void)
{
    char out[8];

    UT_EQ(xsc_join(out, sizeof(out), "/ab", "cde"), 0);
    UT_STR(out, "/ab/cde");
    UT_EQ((int64_t)xsc_join(out, sizeof(out), "/ab", "cdef"), -ENAMETOOLONG);
    UT_STR(out, "");
    UT_EQ((int64_t)xsc_join(out, sizeof(out), "/abcdefg", ""), -ENAMETOOLONG);
    UT_EQ((int64_t)xsc_join(out, sizeof(out), "", "abcdefgh"), -ENAMETOOLONG);
    UT_EQ(xsc_join(out, sizeof(out), "/abcde", ""), 0);
    UT_EQ((int64_t)xsc_join(out, sizeof(out), "/abcdef", ""), -ENAMETOOLONG);
}

static void a_closed_connection_can_be_closed_again(void)
{
    struct xs_fake *f = xs_fake_new(5);
    struct xsc xs = xs_fake_client(f);

    xsc_close(&xs);
    UT_TRUE(xs.ops == NULL && xs.ctx == NULL);
    xsc_close(&xs);
    xs_fake_free(f);
}

int main(int argc, char **argv)
{
    static const struct ut_case cases[] = {
        UT_CASE(values_are_bounded),
        UT_CASE(errors_are_passed_on),
        UT_CASE(transactions_are_tried_again),
        UT_CASE(a_transaction_sees_what_interfered),
        UT_CASE(what_a_failed_body_wrote_is_forgotten),
        UT_CASE(a_failed_body_changes_nothing),
        UT_CASE(our_domid_is_read_strictly),
        UT_CASE(joined_paths_fit_or_are_refused),
        UT_CASE(a_closed_connection_can_be_closed_again),
    };

    return ut_main(argc, argv, "xs", cases, ARRAY_SIZE(cases));
}
