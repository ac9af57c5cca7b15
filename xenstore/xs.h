/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A xenstore connection behind an ops table, so that everything above runs in unit tests on the
 * in-memory xenstore of tests/support/xs_fake.h. The real one, xsc_open(), is a thin layer over
 * libxenstore. Functions are called xsc_*, because xs_* is libxenstore's.
 *
 * All calls block for a round trip to xenstored, except next_event and fd. One thread uses a
 * connection. Errors are -errno as xenstored sends them: -ENOENT, -EACCES (for a frontend's node
 * it means "gone", too: a parent that we may not read is all that is left), -EAGAIN from a
 * transaction's end, -ENOSPC (quota), -EIO (the connection is lost).
 */
#ifndef VIOMMU_XENSTORE_XS_H
#define VIOMMU_XENSTORE_XS_H

#include "common/compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define XSC_TX_NONE     0u         /* outside any transaction */
#define XSC_READER_NONE UINT32_MAX /* no domain but the owner may read */

#define XSC_EVENT_PATH_SIZE  3073 /* XENSTORE_ABS_PATH_MAX and a terminator */
#define XSC_EVENT_TOKEN_SIZE 64

struct xsc_event {
    char path[XSC_EVENT_PATH_SIZE];
    char token[XSC_EVENT_TOKEN_SIZE];
};

/* What a xenstore offers. `ctx` is that of struct xsc. All members are mandatory. */
struct xs_ops {
    /* A malloc'ed value with a terminator behind its *len_out bytes, which may contain NULs. */
    int (*read)(void *ctx, uint32_t tx, const char *path, char **value_out, size_t *len_out);
    /* Creates the node and missing parents if need be. */
    int (*write)(void *ctx, uint32_t tx, const char *path, const void *value, size_t len);
    /* Removes the node and all below it; -ENOENT if it is not there. */
    int (*rm)(void *ctx, uint32_t tx, const char *path);
    /* An existing node is left as it is, and no error. */
    int (*mkdir)(void *ctx, uint32_t tx, const char *path);
    /* Names of the children, all in one malloc'ed block (free() once). */
    int (*list)(void *ctx, uint32_t tx, const char *path, char ***names_out, size_t *n_out);
    /* Owner, and one domain that may read (XSC_READER_NONE: none). Never creates the node. */
    int (*set_perms)(void *ctx, uint32_t tx, const char *path, uint32_t owner, uint32_t reader);
    int (*tx_start)(void *ctx, uint32_t *tx_out);
    /* Ends the transaction in any case. -EAGAIN: somebody interfered, nothing was changed. */
    int (*tx_end)(void *ctx, uint32_t tx, bool abort);
    /* Fires once at once, then for every change at or below `path`. -EEXIST if there already. */
    int (*watch)(void *ctx, const char *path, const char *token);
    int (*unwatch)(void *ctx, const char *path, const char *token);
    /* 1 and *out: an event; 0: none waiting; -errno: the connection is lost. Does not block. */
    int (*next_event)(void *ctx, struct xsc_event *out);
    /*
     * Readable when next_event has something to say. Level. Stays the same, is not the caller's.
     * A lost connection does not make libxenstore's readable: only a request notices, so a loop
     * makes one now and then (discover_rescan).
     */
    int (*fd)(void *ctx);
    void (*close)(void *ctx);
};

struct xsc {
    const struct xs_ops *ops;
    void *ctx;
};

/*
 * Connects to xenstored: $XENSTORED_PATH, its socket, or /dev/xen/xenbus. In a thread-safe
 * libxenstore the first watch starts a reader thread; its signals are all blocked. Never use the
 * connection after fork(). -errno; *out is then unusable.
 */
MUST_CHECK int xsc_open(struct xsc *out);

/* Closes; watches end. Zeroed: allowed, and afterwards so. */
void xsc_close(struct xsc *xs);

/*
 * Reads a value of at most `size` - 1 bytes as a terminated string. -E2BIG: longer; -EINVAL: it
 * contains a NUL; else -errno of the store. `buf` is the empty string on failure.
 */
MUST_CHECK int xsc_read(const struct xsc *xs, uint32_t tx, const char *path, char *buf,
                        size_t size);
MUST_CHECK int xsc_write(const struct xsc *xs, uint32_t tx, const char *path, const char *value);
MUST_CHECK int xsc_rm(const struct xsc *xs, uint32_t tx, const char *path); /* absent is fine */
MUST_CHECK int xsc_list(const struct xsc *xs, uint32_t tx, const char *path, char ***names_out,
                        size_t *n_out);

/*
 * Runs body(xs, tx, ctx) in a transaction, again from the start when somebody interfered, at most
 * 32 times (-EAGAIN then). A body that returns an error aborts the transaction; its error is
 * returned. The body must have no side effect but through tx.
 */
MUST_CHECK int xsc_transaction(const struct xsc *xs,
                               int (*body)(const struct xsc *xs, uint32_t tx, void *ctx),
                               void *ctx);

/*
 * Our own domid, from the relative node "domid". A store over a socket that has no such node is
 * dom0's: 0. -EINVAL for a value that is no domid.
 */
MUST_CHECK int xsc_own_domid(const struct xsc *xs, uint32_t *domid_out);

/* "A/B" into a path buffer of XS_PATH_SIZE; -ENAMETOOLONG. */
MUST_CHECK int xsc_join(char *out, size_t size, const char *dir, const char *node);

#endif
