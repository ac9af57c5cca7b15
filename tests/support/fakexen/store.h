/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * fakexen's xenstore tree: nodes, permissions, transactions, quotas, as the C xenstored has them.
 * Pure: no sockets. Every call acts for one Xen domain; domid 0 is privileged. A call that fails
 * changes nothing. Errors are -errno, the ones that the real xenstored would put on the wire.
 *
 * Paths are absolute and have passed store_path_valid (or name a special node, "@...", where a
 * call says so).
 */
#ifndef VIOMMU_TESTS_FAKEXEN_STORE_H
#define VIOMMU_TESTS_FAKEXEN_STORE_H

#include "common/compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

/* xenstored's default quotas for an unprivileged domain. */
#define STORE_QUOTA_NODES     1000
#define STORE_QUOTA_NODE_SIZE 2048
#define STORE_QUOTA_PERMS     5
#define STORE_QUOTA_TX_NODES  1024

#define STORE_PERMS_MAX 16 /* for anybody */
#define STORE_DOMID_MAX 0x7fefu

enum store_access { STORE_READ = 1, STORE_WRITE = 2, STORE_OWNER = 4 };

/* The first entry names the owner, and what domains that are not listed may do. */
struct store_perms {
    size_t n;
    struct store_perm {
        uint32_t domid;
        unsigned access; /* STORE_READ | STORE_WRITE */
    } p[STORE_PERMS_MAX];
};

/* A change that watches may want to hear of, with the permissions that decide who may. */
struct store_event {
    TAILQ_ENTRY(store_event) link;
    char *path;
    bool exact; /* a node below a removed one: only for watches on this very path */
    struct store_perms perms;
    struct store_perms old_perms;
};

struct store;
struct store_tx;

struct store *store_new(void);             /* NULL when memory is short */
struct store *store_free(struct store *s); /* no transaction may be open */

/* True for a well-formed absolute path that `domid` may use. */
bool store_path_valid(const char *path, uint32_t domid);

/* Of all calls below `tx` may be NULL: the call is then a transaction of its own. Results that
 * point into the store live until the next call. */
MUST_CHECK int store_read(struct store *s, struct store_tx *tx, uint32_t domid, const char *path,
                          const void **data_out, size_t *len_out);
/* Names of children, each terminated, one after another; `gen_out` changes when they do. */
MUST_CHECK int store_list(struct store *s, struct store_tx *tx, uint32_t domid, const char *path,
                          const char **names_out, size_t *len_out, uint64_t *gen_out);
MUST_CHECK int store_write(struct store *s, struct store_tx *tx, uint32_t domid, const char *path,
                           const void *data, size_t len);
MUST_CHECK int store_mkdir(struct store *s, struct store_tx *tx, uint32_t domid, const char *path);
MUST_CHECK int store_rm(struct store *s, struct store_tx *tx, uint32_t domid, const char *path);
MUST_CHECK int store_get_perms(struct store *s, struct store_tx *tx, uint32_t domid,
                               const char *path, struct store_perms *out); /* also "@..." */
MUST_CHECK int store_set_perms(struct store *s, struct store_tx *tx, uint32_t domid,
                               const char *path, const struct store_perms *perms); /* also "@..." */

MUST_CHECK int store_tx_start(struct store *s, uint32_t domid, struct store_tx **out);
/* -EAGAIN: somebody else changed what this transaction saw. `tx` is gone in every case. */
MUST_CHECK int store_tx_commit(struct store_tx *tx);
void store_tx_abort(struct store_tx *tx); /* NULL allowed */

/* Queues an event for a special node ("@releaseDomain"). */
MUST_CHECK int store_raise(struct store *s, const char *special);

/* Takes the oldest event (of committed changes only), NULL if there is none. */
struct store_event *store_take_event(struct store *s);
bool store_event_visible(struct store *s, const struct store_event *ev, uint32_t domid);
struct store_event *store_event_free(struct store_event *ev); /* NULL allowed; returns NULL */

/* A domain died: what it owned goes, and it leaves all permission lists (XSA-322). */
MUST_CHECK int store_domain_gone(struct store *s, uint32_t domid);

/* Nodes that count against `domid`'s quota. */
size_t store_owned(const struct store *s, uint32_t domid);

#endif
