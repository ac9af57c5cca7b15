/* SPDX-License-Identifier: GPL-2.0-only */
/* fakexen's xenstore tree: permissions, transactions, quotas, events, as the real xenstored's. */
#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/fakexen/store.h"
#include "tests/support/ut.h"

static const struct store_perms home_of_1 = {.n = 1, .p = {{.domid = 1, .access = 0}}};
static const struct store_perms shared_1_2 = {
    .n = 2, .p = {{.domid = 1, .access = 0}, {.domid = 2, .access = STORE_READ}}};

static void drain(struct store *s)
{
    struct store_event *ev;

    while ((ev = store_take_event(s)))
        store_event_free(ev);
}

/* A tree with a directory /h that belongs to domain 1, no events pending. */
static struct store *new_store(void)
{
    struct store *s = store_new();

    if (!s || store_mkdir(s, NULL, 0, "/h") < 0 ||
        store_set_perms(s, NULL, 0, "/h", &home_of_1) < 0)
        return store_free(s);
    drain(s);
    return s;
}

static int put(struct store *s, struct store_tx *tx, uint32_t domid, const char *path,
               const char *value)
{
    return store_write(s, tx, domid, path, value, strlen(value));
}

static const char *get(struct store *s, struct store_tx *tx, uint32_t domid, const char *path)
{
    static char out[64];
    const void *data;
    size_t len;
    int r = store_read(s, tx, domid, path, &data, &len);

    if (r < 0)
        snprintf(out, sizeof(out), "error %d", -r);
    else
        snprintf(out, sizeof(out), "%.*s", (int)len, (const char *)data);
    return out;
}

static void paths_are_checked(void)
{
    static const struct {
        const char *path;
        uint32_t domid;
        bool valid;
    } cases[] = {
        {"/", 1, true},     {"/a", 1, true},     {"/a/b-c_d@0", 1, true},
        {"", 1, false},     {"a", 1, false},     {"/a/", 1, false},
        {"//", 1, false},   {"/a//b", 1, false}, {"/a,b", 1, false},
        {"/a b", 1, false}, {"/a\n", 1, false},  {"@releaseDomain", 1, false},
        {"/a:b", 1, false}, {"/../x", 1, false},
    };
    static char path[4096];

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        UT_EQ(store_path_valid(cases[i].path, cases[i].domid), cases[i].valid);
    memset(path, 'a', sizeof(path));
    path[0] = '/';
    path[2048] = '\0';
    UT_TRUE(store_path_valid(path, 1));
    path[2048] = 'a';
    path[2049] = '\0';
    UT_FALSE(store_path_valid(path, 1));
    UT_TRUE(store_path_valid(path, 0));
    memcpy(path, "/local/domain/1/", 16);
    path[2049] = 'a';
    path[2064] = '\0';
    UT_TRUE(store_path_valid(path, 1)); /* only what is behind the home counts */
    path[2064] = 'a';
    path[3071] = '\0';
    UT_TRUE(store_path_valid(path, 0));
    path[3071] = 'a';
    path[3072] = '\0';
    UT_FALSE(store_path_valid(path, 0));
}

static void writing_creates_the_directories_above(void)
{
    struct store *s = new_store();
    const char *names;
    size_t len;
    uint64_t gen;

    UT_REQUIRE(s != NULL);
    UT_EQ(put(s, NULL, 1, "/h/a/b", "x"), 0);
    UT_EQ(put(s, NULL, 1, "/h/c", "y"), 0);
    UT_STR(get(s, NULL, 1, "/h/a"), "");
    UT_STR(get(s, NULL, 1, "/h/a/b"), "x");
    UT_EQ(store_list(s, NULL, 1, "/h", &names, &len, &gen), 0);
    UT_EQ(len, 4);
    UT_EQ(memcmp(names, "a\0c", 4), 0);
    store_free(s);
}

static void access_is_by_owner_then_list_then_default(void)
{
    struct store *s = new_store();

    UT_REQUIRE(s != NULL);
    UT_EQ(put(s, NULL, 1, "/h/n", "v"), 0);
    UT_EQ(store_set_perms(s, NULL, 1, "/h/n", &shared_1_2), 0);
    UT_STR(get(s, NULL, 2, "/h/n"), "v");
    UT_EQ(put(s, NULL, 2, "/h/n", "w"), -EACCES);
    UT_EQ(store_rm(s, NULL, 2, "/h/n"), -EACCES);
    UT_STR(get(s, NULL, 3, "/h/n"), "error 13");
    UT_STR(get(s, NULL, 0, "/h/n"), "v");
    UT_STR(get(s, NULL, 1, "/h/n"), "v"); /* nothing changed by the refused */
    store_free(s);
}

static void a_stranger_does_not_learn_whether_a_node_exists(void)
{
    struct store *s = new_store();

    UT_REQUIRE(s != NULL);
    UT_EQ(put(s, NULL, 1, "/h/n", "v"), 0);
    UT_STR(get(s, NULL, 2, "/h/n"), "error 13");
    UT_STR(get(s, NULL, 2, "/h/none"), "error 13");
    UT_STR(get(s, NULL, 1, "/h/none"), "error 2");
    UT_STR(get(s, NULL, 1, "/h/none/deep"), "error 2");
    store_free(s);
}

static void new_nodes_inherit_but_belong_to_their_creator(void)
{
    static const struct store_perms both = {
        .n = 2, .p = {{.domid = 1, .access = 0}, {.domid = 2, .access = STORE_READ | STORE_WRITE}}};
    struct store *s = new_store();
    struct store_perms perms;

    UT_REQUIRE(s != NULL);
    UT_EQ(store_set_perms(s, NULL, 1, "/h", &both), 0);
    UT_EQ(put(s, NULL, 2, "/h/by2", ""), 0);
    UT_EQ(store_get_perms(s, NULL, 0, "/h/by2", &perms), 0);
    UT_EQ(perms.n, 2);
    UT_EQ(perms.p[0].domid, 2);
    UT_EQ(put(s, NULL, 0, "/h/by0", ""), 0);
    UT_EQ(store_get_perms(s, NULL, 0, "/h/by0", &perms), 0);
    UT_EQ(perms.p[0].domid, 1); /* what dom0 makes in a guest's directory is the guest's */
    UT_EQ(store_owned(s, 2), 1);
    store_free(s);
}

static void only_the_owner_sets_permissions_and_keeps_owning(void)
{
    struct store *s = new_store();
    struct store_perms give = {.n = 1, .p = {{.domid = 2, .access = 0}}};
    struct store_perms many = {.n = STORE_QUOTA_PERMS + 1, .p = {{.domid = 1, .access = 0}}};

    UT_REQUIRE(s != NULL);
    UT_EQ(store_set_perms(s, NULL, 2, "/h", &shared_1_2), -EACCES);
    UT_EQ(store_set_perms(s, NULL, 1, "/h", &give), -EPERM);
    UT_EQ(store_set_perms(s, NULL, 1, "/h", &many), -ENOSPC);
    many.n = STORE_QUOTA_PERMS;
    UT_EQ(store_set_perms(s, NULL, 1, "/h", &many), 0);
    UT_EQ(store_set_perms(s, NULL, 0, "/h", &give), 0);
    UT_EQ(store_owned(s, 1), 0);
    UT_EQ(store_owned(s, 2), 1);
    give.p[0].domid = STORE_DOMID_MAX + 1;
    UT_EQ(store_set_perms(s, NULL, 0, "/h", &give), -EINVAL);
    give.n = 0;
    UT_EQ(store_set_perms(s, NULL, 0, "/h", &give), -EINVAL);
    store_free(s);
}

static void removing_takes_the_tree_below(void)
{
    struct store *s = new_store();

    UT_REQUIRE(s != NULL);
    UT_EQ(put(s, NULL, 1, "/h/a/b/c", "x"), 0);
    UT_EQ(store_owned(s, 1), 4);
    UT_EQ(store_rm(s, NULL, 1, "/h/a"), 0);
    UT_STR(get(s, NULL, 0, "/h/a/b/c"), "error 2");
    UT_EQ(store_owned(s, 1), 1);
    UT_EQ(store_rm(s, NULL, 1, "/h/a"), 0);         /* gone already, directory there */
    UT_EQ(store_rm(s, NULL, 1, "/h/a/b"), -ENOENT); /* no directory either */
    UT_EQ(store_rm(s, NULL, 0, "/"), -EINVAL);
    store_free(s);
}

static void a_transaction_is_isolated_until_its_commit(void)
{
    struct store *s = new_store();
    struct store_tx *tx;

    UT_REQUIRE(s != NULL);
    UT_EQ(put(s, NULL, 1, "/h/n", "old"), 0);
    UT_EQ(store_tx_start(s, 1, &tx), 0);
    UT_EQ(put(s, tx, 1, "/h/n", "new"), 0);
    UT_EQ(put(s, tx, 1, "/h/m", "made"), 0);
    UT_STR(get(s, tx, 1, "/h/n"), "new");
    UT_STR(get(s, NULL, 1, "/h/n"), "old");
    UT_STR(get(s, NULL, 1, "/h/m"), "error 2");
    UT_EQ(store_tx_commit(tx), 0);
    UT_STR(get(s, NULL, 1, "/h/n"), "new");
    UT_STR(get(s, NULL, 1, "/h/m"), "made");
    UT_EQ(store_tx_start(s, 1, &tx), 0);
    UT_EQ(store_rm(s, tx, 1, "/h/n"), 0);
    UT_STR(get(s, tx, 1, "/h/n"), "error 2");
    store_tx_abort(tx);
    UT_STR(get(s, NULL, 1, "/h/n"), "new");
    store_free(s);
}

static void a_conflict_fails_the_commit_and_changes_nothing(void)
{
    struct store *s = new_store();
    struct store_tx *tx;

    UT_REQUIRE(s != NULL);
    UT_EQ(put(s, NULL, 1, "/h/n", "1"), 0);
    drain(s);
    UT_EQ(store_tx_start(s, 1, &tx), 0);
    UT_STR(get(s, tx, 1, "/h/n"), "1"); /* reading is enough to depend on it */
    UT_EQ(put(s, tx, 1, "/h/m", "from tx"), 0);
    UT_EQ(put(s, NULL, 1, "/h/n", "2"), 0);
    drain(s);
    UT_STR(get(s, tx, 1, "/h/n"), "1"); /* what it saw stays */
    UT_EQ(store_tx_commit(tx), -EAGAIN);
    UT_STR(get(s, NULL, 1, "/h/m"), "error 2");
    UT_TRUE(store_take_event(s) == NULL);
    UT_EQ(store_owned(s, 1), 2);
    store_free(s);
}

static void creation_by_others_conflicts_too(void)
{
    struct store *s = new_store();
    struct store_tx *tx;

    UT_REQUIRE(s != NULL);
    UT_EQ(store_tx_start(s, 1, &tx), 0);
    UT_STR(get(s, tx, 1, "/h/n"), "error 2");
    UT_EQ(put(s, NULL, 1, "/h/n", "theirs"), 0);
    UT_EQ(put(s, tx, 1, "/h/other", "x"), 0);
    UT_EQ(store_tx_commit(tx), -EAGAIN);
    UT_STR(get(s, NULL, 1, "/h/other"), "error 2");
    store_free(s);
}

static void changes_elsewhere_do_not_conflict(void)
{
    struct store *s = new_store();
    struct store_tx *tx;

    UT_REQUIRE(s != NULL);
    UT_EQ(put(s, NULL, 1, "/h/a", "1"), 0);
    UT_EQ(put(s, NULL, 1, "/h/b", "1"), 0);
    UT_EQ(store_tx_start(s, 1, &tx), 0);
    UT_EQ(put(s, tx, 1, "/h/a", "2"), 0);
    UT_EQ(put(s, NULL, 1, "/h/b", "2"), 0);
    UT_EQ(store_tx_commit(tx), 0);
    UT_STR(get(s, NULL, 1, "/h/a"), "2");
    store_free(s);
}

static void node_quota_holds_and_a_refused_path_leaves_nothing(void)
{
    struct store *s = new_store();
    struct store_tx *tx;
    char path[64];

    UT_REQUIRE(s != NULL);
    for (unsigned i = 1; i < STORE_QUOTA_NODES - 1; i++) {
        snprintf(path, sizeof(path), "/h/n%u", i);
        if (put(s, NULL, 1, path, "") < 0)
            break;
    }
    UT_EQ(store_owned(s, 1), STORE_QUOTA_NODES - 1);
    UT_EQ(put(s, NULL, 1, "/h/x/y", ""), -ENOSPC); /* one fits, two do not */
    UT_STR(get(s, NULL, 1, "/h/x"), "error 2");
    UT_EQ(store_owned(s, 1), STORE_QUOTA_NODES - 1);
    UT_EQ(store_tx_start(s, 1, &tx), 0);
    UT_EQ(put(s, tx, 1, "/h/x/y", ""), -ENOSPC);
    UT_EQ(store_tx_commit(tx), -ENOSPC); /* half of it was in the transaction */
    UT_STR(get(s, NULL, 1, "/h/x"), "error 2");
    UT_EQ(put(s, NULL, 1, "/h/last", ""), 0);
    UT_EQ(put(s, NULL, 1, "/h/more", ""), -ENOSPC);
    UT_EQ(put(s, NULL, 1, "/h/last", "still writable"), 0);
    UT_EQ(put(s, NULL, 0, "/h/more", ""), 0); /* dom0 has no quota */
    UT_EQ(store_rm(s, NULL, 1, "/h/n1"), 0);
    store_free(s);
}

static void two_transactions_cannot_beat_the_quota_together(void)
{
    struct store *s = new_store();
    struct store_tx *a, *b;
    char path[64];

    UT_REQUIRE(s != NULL);
    for (unsigned i = 1; i < STORE_QUOTA_NODES - 2; i++) {
        snprintf(path, sizeof(path), "/h/n%u", i);
        if (put(s, NULL, 1, path, "") < 0)
            break;
    }
    UT_EQ(put(s, NULL, 1, "/h/d", ""), 0);
    UT_EQ(store_owned(s, 1), STORE_QUOTA_NODES - 1);
    UT_EQ(store_tx_start(s, 1, &a), 0);
    UT_EQ(store_tx_start(s, 1, &b), 0);
    UT_EQ(put(s, a, 1, "/h/n1/x", ""), 0);
    UT_EQ(put(s, b, 1, "/h/n2/x", ""), 0);
    UT_EQ(store_tx_commit(a), 0);
    UT_EQ(store_tx_commit(b), -ENOSPC);
    UT_EQ(store_owned(s, 1), STORE_QUOTA_NODES);
    store_free(s);
}

static void node_size_is_limited_for_the_unprivileged(void)
{
    static char big[STORE_QUOTA_NODE_SIZE + 1];
    struct store *s = new_store();

    UT_REQUIRE(s != NULL);
    UT_EQ(store_write(s, NULL, 1, "/h/n", big, STORE_QUOTA_NODE_SIZE), 0);
    UT_EQ(store_write(s, NULL, 1, "/h/n", big, sizeof(big)), -ENOSPC);
    UT_EQ(store_write(s, NULL, 0, "/h/n", big, sizeof(big)), 0);
    store_free(s);
}

static void a_transaction_of_the_unprivileged_touches_a_bounded_number_of_nodes(void)
{
    struct store *s = new_store();
    struct store_tx *tx;
    char path[64];
    unsigned n = 0;

    UT_REQUIRE(s != NULL);
    UT_EQ(store_tx_start(s, 1, &tx), 0);
    do
        snprintf(path, sizeof(path), "/h/n%u", n);
    while (strcmp(get(s, tx, 1, path), "error 2") == 0 && ++n < 2 * STORE_QUOTA_TX_NODES);
    UT_STR(get(s, tx, 1, path), "error 28");
    UT_TRUE(n < STORE_QUOTA_TX_NODES);
    store_tx_abort(tx);
    store_free(s);
}

static void events_come_with_the_commit_in_order(void)
{
    struct store *s = new_store();
    struct store_event *ev;
    struct store_tx *tx;

    UT_REQUIRE(s != NULL);
    UT_EQ(store_tx_start(s, 1, &tx), 0);
    UT_EQ(put(s, tx, 1, "/h/a/b", ""), 0);
    UT_EQ(put(s, tx, 1, "/h/c", ""), 0);
    UT_TRUE(store_take_event(s) == NULL);
    UT_EQ(store_tx_commit(tx), 0);
    ev = store_take_event(s);
    UT_REQUIRE(ev != NULL);
    UT_STR(ev->path, "/h/a/b");
    store_event_free(ev);
    ev = store_take_event(s);
    UT_REQUIRE(ev != NULL);
    UT_STR(ev->path, "/h/c");
    store_event_free(ev);
    UT_TRUE(store_take_event(s) == NULL);
    store_free(s);
}

static void events_below_a_removed_node_are_exact(void)
{
    struct store *s = new_store();
    struct store_event *ev;

    UT_REQUIRE(s != NULL);
    UT_EQ(put(s, NULL, 1, "/h/a/b", ""), 0);
    drain(s);
    UT_EQ(store_rm(s, NULL, 1, "/h/a"), 0);
    ev = store_take_event(s);
    UT_REQUIRE(ev != NULL);
    UT_STR(ev->path, "/h/a/b");
    UT_TRUE(ev->exact);
    store_event_free(ev);
    ev = store_take_event(s);
    UT_REQUIRE(ev != NULL);
    UT_STR(ev->path, "/h/a");
    UT_FALSE(ev->exact);
    UT_TRUE(store_event_visible(s, ev, 1));
    UT_FALSE(store_event_visible(s, ev, 2));
    store_event_free(ev);
    store_free(s);
}

static void who_lost_access_still_hears_of_the_change(void)
{
    struct store *s = new_store();
    struct store_event *ev;

    UT_REQUIRE(s != NULL);
    UT_EQ(put(s, NULL, 1, "/h/n", ""), 0);
    UT_EQ(store_set_perms(s, NULL, 1, "/h/n", &shared_1_2), 0);
    drain(s);
    UT_EQ(store_set_perms(s, NULL, 1, "/h/n", &home_of_1), 0);
    ev = store_take_event(s);
    UT_REQUIRE(ev != NULL);
    UT_TRUE(store_event_visible(s, ev, 2));
    UT_FALSE(store_event_visible(s, ev, 3));
    store_event_free(ev);
    store_free(s);
}

static void special_nodes_are_for_the_privileged_unless_given(void)
{
    static const struct store_perms give = {
        .n = 2, .p = {{.domid = 0, .access = 0}, {.domid = 1, .access = STORE_READ}}};
    struct store *s = new_store();
    struct store_event *ev;

    UT_REQUIRE(s != NULL);
    UT_EQ(store_set_perms(s, NULL, 1, "@releaseDomain", &give), -EACCES);
    UT_EQ(store_raise(s, "@releaseDomain"), 0);
    ev = store_take_event(s);
    UT_REQUIRE(ev != NULL);
    UT_TRUE(store_event_visible(s, ev, 0));
    UT_FALSE(store_event_visible(s, ev, 1));
    store_event_free(ev);
    UT_EQ(store_set_perms(s, NULL, 0, "@releaseDomain", &give), 0);
    UT_EQ(store_raise(s, "@releaseDomain"), 0);
    ev = store_take_event(s);
    UT_REQUIRE(ev != NULL);
    UT_TRUE(store_event_visible(s, ev, 1));
    store_event_free(ev);
    UT_EQ(store_raise(s, "@nothing"), -ENOENT);
    store_free(s);
}

static void a_dead_domain_leaves_the_tree(void)
{
    struct store *s = new_store();
    struct store_perms perms;

    UT_REQUIRE(s != NULL);
    UT_EQ(put(s, NULL, 1, "/h/n", ""), 0);
    UT_EQ(store_set_perms(s, NULL, 1, "/h/n", &shared_1_2), 0);
    UT_EQ(put(s, NULL, 0, "/x/y", ""), 0);
    UT_EQ(store_set_perms(s, NULL, 0, "/x/y", &(struct store_perms){.n = 1, .p = {{.domid = 2}}}),
          0);
    UT_EQ(store_domain_gone(s, 2), 0);
    UT_STR(get(s, NULL, 0, "/x/y"), "error 2");
    UT_STR(get(s, NULL, 0, "/x"), "");
    UT_EQ(store_get_perms(s, NULL, 0, "/h/n", &perms), 0);
    UT_EQ(perms.n, 1);
    UT_EQ(store_owned(s, 2), 0);
    store_free(s);
}

static const struct ut_case cases[] = {
    UT_CASE(paths_are_checked),
    UT_CASE(writing_creates_the_directories_above),
    UT_CASE(access_is_by_owner_then_list_then_default),
    UT_CASE(a_stranger_does_not_learn_whether_a_node_exists),
    UT_CASE(new_nodes_inherit_but_belong_to_their_creator),
    UT_CASE(only_the_owner_sets_permissions_and_keeps_owning),
    UT_CASE(removing_takes_the_tree_below),
    UT_CASE(a_transaction_is_isolated_until_its_commit),
    UT_CASE(a_conflict_fails_the_commit_and_changes_nothing),
    UT_CASE(creation_by_others_conflicts_too),
    UT_CASE(changes_elsewhere_do_not_conflict),
    UT_CASE(node_quota_holds_and_a_refused_path_leaves_nothing),
    UT_CASE(two_transactions_cannot_beat_the_quota_together),
    UT_CASE(node_size_is_limited_for_the_unprivileged),
    UT_CASE(a_transaction_of_the_unprivileged_touches_a_bounded_number_of_nodes),
    UT_CASE(events_come_with_the_commit_in_order),
    UT_CASE(events_below_a_removed_node_are_exact),
    UT_CASE(who_lost_access_still_hears_of_the_change),
    UT_CASE(special_nodes_are_for_the_privileged_unless_given),
    UT_CASE(a_dead_domain_leaves_the_tree),
};

int main(int argc, char **argv)
{
    return ut_main(argc, argv, "fakexen store", cases, ARRAY_SIZE(cases));
}
