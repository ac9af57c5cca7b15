/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Mapping grants through the supervisor. Whoever may map on a platform can map what any guest has
 * granted to this domain; a broker is a process that may, and maps for one guest only: its requests
 * have no room for another one's name.
 *
 * A worker asks over a SOCK_SEQPACKET socket, one message and one answer for each map or unmap
 * whatever its size. To the broker every message is hostile.
 */
#ifndef VIOMMU_BACKEND_PLATFORM_BROKER_H
#define VIOMMU_BACKEND_PLATFORM_BROKER_H

#include "common/compiler.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BROKER_MAX_PAGES 65536u /* in one map */

enum broker_op {
    BROKER_FILE = 1, /* -> the file to map from, if the platform has one */
    BROKER_MAP,      /* refs[n] -> id, and what the platform needs to reach the pages */
    BROKER_UNMAP,    /* id: the worker has let go of its mapping */
};

struct broker_request {
    uint32_t op;
    uint32_t n;        /* BROKER_MAP: pages, else 0 */
    uint32_t writable; /* BROKER_MAP: 0 or 1, else 0 */
    uint32_t id;       /* BROKER_UNMAP, else 0 */
};

struct broker_reply {
    int32_t status; /* 0 or -errno */
    uint32_t id;
    uint32_t n_words;
    uint32_t pad;
    uint64_t offset; /* in the file */
};

/* --- the supervisor's side -------------------------------------------------------------------- */

struct broker; /* of one guest */

/* What one map gave. */
struct broker_window {
    uint64_t handle; /* the platform's name for it */
    uint64_t offset; /* where it is in the file */
    uint32_t n_words;
    int fd; /* goes with the answer; -1: none. Owned by the caller. */
};

struct broker_ops {
    /* -errno with a logged reason. */
    int (*open)(struct broker **out, uint32_t domid);
    void (*close)(struct broker *b); /* ends what is left; NULL allowed */
    int (*file)(struct broker *b);   /* to map from: borrowed; -1: none */

    /* As grant_ops.map, of the guest of open. `words` has room for n. */
    int (*map)(struct broker *b, const uint32_t *refs, uint32_t n, bool writable,
               struct broker_window *out, uint32_t *words);
    int (*unmap)(struct broker *b, uint64_t handle, uint32_t n);
    /* open is called by another thread than the others, and before them. */
};

/*
 * Answers what comes over `sock` until its other end is closed (0), a message breaks the protocol
 * (-EPROTO) or an answer cannot be sent (-errno); `close` then ends what is still mapped. No more
 * than *max_pages are mapped at any time. Blocks; logs nothing; uses nothing but its arguments, so
 * that it can have a thread of its own.
 */
int broker_serve(int sock, const struct broker_ops *ops, struct broker *b,
                 const atomic_uint *max_pages);

/* Socket pair with room for the largest message; -errno. */
MUST_CHECK int broker_socketpair(int sv[2]);

/* --- the worker's side ------------------------------------------------------------------------ */

/*
 * One request and its answer. `words` has room for max_words; *fd_out (may be NULL) is -1 or a
 * descriptor. 0 or -errno of the broker or of the socket. Blocks for the answer.
 */
MUST_CHECK int broker_call(int sock, const struct broker_request *request, const uint32_t *refs,
                           struct broker_reply *reply, uint32_t *words, uint32_t max_words,
                           int *fd_out);

MUST_CHECK int broker_file(int sock); /* the descriptor, or -errno; -ENODEV: there is none */
MUST_CHECK int broker_unmap(int sock, uint32_t id);

#endif
