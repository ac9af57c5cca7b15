/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Mapping grants through the supervisor. Whoever may map on a platform can map what any guest has
 * granted to this domain; a broker is a process that may, and maps for one guest only: its requests
 * have no room for another one's name.
 *
 * A worker asks over a SOCK_SEQPACKET socket: one message and one answer for all the windows that a
 * batch of requests maps, and one for all that it unmaps, whatever their sizes. An unmap is
 * answered when it is done, since the guest may revoke once it hears of it. To the broker every
 * message is hostile.
 */
#ifndef VIOMMU_BACKEND_PLATFORM_BROKER_H
#define VIOMMU_BACKEND_PLATFORM_BROKER_H

#include "common/compiler.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BROKER_MAX_PAGES   65536u /* in all windows of a message */
#define BROKER_MAX_WINDOWS 256u   /* in one map */

enum broker_op {
    BROKER_FILE = 1, /* -> the file to map from, if the platform has one */
    BROKER_MAP,      /* broker_map_item[n], u32 refs[] -> broker_mapped[n], and what the platform
                        needs to reach the pages: u32 words[] */
    BROKER_UNMAP,    /* u32 ids[n]: the worker has let go of its mappings */
};

struct broker_request {
    uint32_t op;
    uint32_t n; /* BROKER_MAP, BROKER_UNMAP: windows, else 0 */
};

struct broker_map_item {
    uint32_t n; /* pages */
    uint32_t writable;
};

struct broker_reply {
    int32_t status; /* 0 or -errno; of a BROKER_UNMAP the first that failed, and all were tried */
    uint32_t n;     /* broker_mapped behind it */
};

struct broker_mapped {
    int32_t status; /* 0 or -errno, and then the rest is 0 */
    uint32_t id;
    uint64_t offset; /* in the file */
    uint32_t n_words;
    uint32_t pad;
};

/* --- the supervisor's side -------------------------------------------------------------------- */

struct broker; /* of one guest */

/* What one map gave. */
struct broker_window {
    uint64_t handle; /* the platform's name for it */
    uint64_t offset; /* where it is in the file */
    uint32_t n_words;
    int fd; /* goes with the answer: one that all windows of it can be mapped from, if they are
               writable or this one is not; -1: none. Owned by the caller. */
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
 * What is done when the broker is found to be gone, as it is when the supervisor has died: nothing
 * of the guest can be reached any more, and no request may be judged by that. `lost` does not
 * return. Of the process; NULL, as at first: the calls below return -EPIPE.
 */
void broker_on_lost(void (*lost)(void));

/* A window to map. */
struct broker_want {
    const uint32_t *refs;
    uint32_t n;
    bool writable;
    /* What came of it. */
    int status; /* 0 or -errno of the broker; without 0 nothing of the rest */
    uint32_t id;
    uint64_t offset;
    const uint32_t *words;
    uint32_t n_words;
};

/*
 * One message and its answer: up to BROKER_MAX_WINDOWS windows of BROKER_MAX_PAGES pages in all
 * (more: -EINVAL). `words` has room for max_words, and the windows point there; *fd_out (may be
 * NULL) is -1 or a descriptor. -errno of the socket or of a broker that makes no sense: then no
 * window was mapped as far as the caller can know. Blocks for the answer.
 */
MUST_CHECK int broker_map(int sock, struct broker_want *wants, size_t n, uint32_t *words,
                          size_t max_words, int *fd_out);

/* How many of the first windows go into one message; 0: not even one. */
size_t broker_fits(const struct broker_want *wants, size_t n);

/* Any number; one message for BROKER_MAX_PAGES of them. The first failure. */
MUST_CHECK int broker_unmap(int sock, const uint32_t *ids, size_t n);

MUST_CHECK int broker_file(int sock); /* the descriptor, or -errno; -ENODEV: there is none */

#endif
