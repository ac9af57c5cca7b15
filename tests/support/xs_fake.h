/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A xenstore in memory behind struct xs_ops, for unit tests: nodes with owner and reader,
 * snapshot transactions that fail with EAGAIN when somebody interfered, watches with xenstored's
 * rules (one event at registration, one for each change at or below, one for each watched node
 * that goes with a removed tree), a domain's quotas, and injected trouble.
 *
 * xs_fake_put and _del are other parties (toolstack, guest): never refused, no quota.
 */
#ifndef VIOMMU_TESTS_XS_FAKE_H
#define VIOMMU_TESTS_XS_FAKE_H

#include "xenstore/xs.h"

#define XS_FAKE_NODES   4500 /* of the tree: more than any device may have endpoints */
#define XS_FAKE_QUOTA   1000 /* of a driver domain */
#define XS_FAKE_WATCHES 128
#define XS_FAKE_EVENTS  8192
#define XS_FAKE_VALUE   3072

enum xs_fake_op {
    XS_FAKE_READ,
    XS_FAKE_WRITE,
    XS_FAKE_RM,
    XS_FAKE_MKDIR,
    XS_FAKE_LIST,
    XS_FAKE_SET_PERMS,
    XS_FAKE_TX_START,
    XS_FAKE_TX_END,
    XS_FAKE_WATCH,
    XS_FAKE_UNWATCH,
    XS_FAKE_NEXT_EVENT,
    XS_FAKE_N_OPS
};

struct xs_fake_node {
    char *path;
    char *value;
    size_t len;
    uint32_t owner;
    uint32_t reader;
};

struct xs_fake_tree {
    struct xs_fake_node nodes[XS_FAKE_NODES]; /* by path */
    size_t n;
};

struct xs_fake {
    struct xs_fake_tree *tree;
    struct xs_fake_tree *tx; /* the one open transaction's copy, or NULL */
    unsigned changes;        /* of `tree` */
    unsigned tx_changes;     /* as it was when the transaction began */
    char *tx_fired[64];      /* paths changed in it */
    size_t n_tx_fired;
    struct {
        char *path;
        char *token;
    } watches[XS_FAKE_WATCHES];
    size_t n_watches;
    struct xsc_event *events[XS_FAKE_EVENTS];
    size_t n_events;

    uint32_t domid; /* who we are: owner of what we create */

    /* Trouble. */
    int fail_err; /* the call number fail_at (from 1) of fail_op fails with it */
    enum xs_fake_op fail_op;
    unsigned fail_at;       /* 0: never; counts down */
    bool fail_all;          /* every call fails with fail_err */
    unsigned lose_at;       /* the end of a transaction, counted down, works but is answered -EIO */
    bool drop_events;       /* events are lost */
    const char *unreadable; /* paths that begin with it: -EACCES */
    unsigned conflicts;     /* so many transactions end with EAGAIN */
    /* Called before each call (number `n`, from 1) as somebody else's chance; may put and del. */
    void (*hook)(struct xs_fake *f, enum xs_fake_op op, const char *path, void *ctx);
    void *hook_ctx;

    unsigned calls[XS_FAKE_N_OPS];
    unsigned n_calls;
};

struct xs_fake *xs_fake_new(uint32_t domid);
struct xs_fake *xs_fake_free(struct xs_fake *f); /* returns NULL */
struct xsc xs_fake_client(struct xs_fake *f);

/* Other parties. put creates parents; del removes the tree below, too; both fire watches. */
void xs_fake_put(struct xs_fake *f, const char *path, const char *value);
void xs_fake_put_bytes(struct xs_fake *f, const char *path, const void *value, size_t len);
void xs_fake_del(struct xs_fake *f, const char *path);
/* An event without a reason. */
void xs_fake_spurious(struct xs_fake *f, const char *path, const char *token);

/* NULL if there is no such node. */
const char *xs_fake_get(const struct xs_fake *f, const char *path);
const struct xs_fake_node *xs_fake_node(const struct xs_fake *f, const char *path);
/* All paths and values, for "unchanged" asserts; caller frees. */
char *xs_fake_dump(const struct xs_fake *f);

/* What libxl does for one device, and undoes. `b`: the backend's domid. */
void xs_fake_add_device(struct xs_fake *f, uint32_t b, uint32_t domid, uint32_t devid);
void xs_fake_remove_device(struct xs_fake *f, uint32_t b, uint32_t domid, uint32_t devid);
/* "/local/domain/B/backend/virtio/F/N/NODE" (node NULL: the directory); one of four buffers. */
const char *xs_fake_be(uint32_t b, uint32_t domid, uint32_t devid, const char *node);
const char *xs_fake_fe(uint32_t domid, uint32_t devid, const char *node);

#endif
