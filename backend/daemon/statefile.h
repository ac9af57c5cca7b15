/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A device's state file: what a successor needs when the worker has died. A block of memory that
 * outlives the worker (a memfd or a file that the supervisor keeps), written by one worker at a
 * time. This module knows its layout and nothing of processes.
 *
 * A record counts by its last write, an aligned word, and the words are written in program order: a
 * process that is killed leaves a prefix of its writes behind. (Against the machine's own crash
 * the file is no help, and need not be: guests die with it.) So for each request:
 *
 *   1. nothing of it in the file: it has not happened, and is carried out by the successor. What it
 *      had done on the host or to grants has gone with the process.
 *   2. UNMAP, and vdomains that end: mappings go from the file one by one. Killed in between, the
 *      request is carried out again, which removes the rest and answers the same.
 *   3. MAP, ATTACH and DETACH: one record, marked with the request's number. From its last write on
 *      the request has happened, with the answer in the record.
 *   4. the answer of every request, with the ring's position behind it, before it is visible.
 *   5. what has been published. A file that was written up to 4 does not say whether the ring was;
 *      that the ring itself says (virtqueue_resume).
 *
 * When it is read, every byte is taken for hostile: a guest may have taken the worker over.
 *
 * Cost: a MAP writes one record of 40 bytes and two words, an UNMAP one word for each mapping and
 * two for the request. Free slots are kept as a stack, so that the file is as dense as the table.
 */
#ifndef VIOMMU_BACKEND_DAEMON_STATEFILE_H
#define VIOMMU_BACKEND_DAEMON_STATEFILE_H

#include "backend/daemon/device.h"

#define STATEFILE_N_PORTS     3
#define STATEFILE_TEXT_MAX    1024u
#define STATEFILE_MAX_PENDING VIRTQUEUE_MAX_SIZE /* answers not yet published */
#define STATEFILE_ENDPOINTS   16384u             /* attached at once */

struct statefile;

/* Bytes of a file for so many mappings and directory pages of a grant map; 0: too large. */
uint64_t statefile_size(uint64_t max_mappings, uint32_t max_map_pages);

/* --- life ---------------------------------------------------------------------------------------
 */

/* Works on `size` bytes at `buf` (page-aligned; outlive it; not cleared). -EINVAL, -ENOMEM. */
MUST_CHECK int statefile_new(struct statefile **out, void *buf, size_t size);
struct statefile *statefile_free(struct statefile *f); /* NULL allowed; returns NULL */

/* What a connection was made of. */
struct statefile_setup {
    char text[STATEFILE_TEXT_MAX + 1]; /* of viommu/config; printable ASCII or empty */
    bool has_text;
    struct viommu_config viommu; /* as it was offered in the end; `bypass` as it is now */
    uint32_t max_queue_size;
    uint32_t max_map_pages;
    struct device_connection connection;
    uint32_t port[STATEFILE_N_PORTS]; /* of the guest */
};

/* --- writing ------------------------------------------------------------------------------------
 *
 * All of these take NULL for "no file" and do nothing then.
 */

/* A new connection: empty tables. It does not count before statefile_commit. -E2BIG: the file is
 * too small for this device; -ENOMEM. */
MUST_CHECK int statefile_begin(struct statefile *f, const struct viommu_config *viommu,
                               uint32_t max_map_pages);
void statefile_commit(struct statefile *f, const struct statefile_setup *setup);
/* The connection has ended, or is about to. */
void statefile_end(struct statefile *f);

/* Words of the control page, in the order in which their answers become visible. */
struct statefile_words {
    uint8_t status;
    uint32_t status_seq;
    uint8_t bypass;
    uint8_t bypass_verdict;
    uint32_t bypass_seq;
    uint8_t map_verdict;
    uint32_t map_answered; /* generation */
    uint32_t map_in_use;   /* generation */
};
void statefile_status(struct statefile *f, uint8_t status, uint32_t seq);
void statefile_bypass(struct statefile *f, uint8_t value, uint8_t verdict, uint32_t seq);
/* An answer to a grant map that was refused, or (runs) taken. */
void statefile_map_refused(struct statefile *f, uint32_t generation, uint8_t verdict);
void statefile_map_taken(struct statefile *f, uint32_t generation, const struct gmem_run *runs,
                         size_t n);

/*
 * The answer to a command for one queue (RING_RESET), or the start of the device: it is mapped with
 * this setup, or (NULL) not mapped. For one that is mapped, statefile_queue_start comes first.
 */
void statefile_ring(struct statefile *f, unsigned queue, const struct device_queue_setup *setup,
                    uint32_t seq, uint8_t verdict);
/* A queue starts from `position` (virtqueue_position). */
void statefile_queue_start(struct statefile *f, unsigned queue, uint16_t position);

/* The answer to a request: position behind it. */
struct statefile_answer {
    uint8_t type; /* VIOMMU_T_*, 0: unanswered */
    uint8_t status;
    uint32_t used;
    uint16_t position; /* read only: behind it */
};
void statefile_request_begin(struct statefile *f);
void statefile_request_done(struct statefile *f, const struct statefile_answer *answer,
                            uint16_t position);
/* The queue does not run: no request will get the number after the last one. */
void statefile_request_skip(struct statefile *f);
/* A buffer of the event queue is about to be pushed. */
void statefile_event_done(struct statefile *f, uint16_t position);
/* Everything pushed on the queue so far has been published. */
void statefile_published(struct statefile *f, unsigned queue);

/* The core's changes; the context is the struct statefile. */
extern const struct viommu_observer statefile_observer;

/* --- reading ------------------------------------------------------------------------------------
 */

/*
 * Is there a connection in it that this program can take over? 0 and the setup; -ENOENT: none;
 * -EPROTO with a static text in *why_out: the part that says so is unusable.
 */
MUST_CHECK int statefile_read_setup(const struct statefile *f, struct statefile_setup *out,
                                    const char **why_out);

struct statefile_queue {
    uint16_t published; /* position, for virtqueue_resume */
    uint32_t pending;   /* pushed after that, perhaps published */
    bool mapped;        /* while the device runs: false if this queue is reset */
    struct device_queue_setup setup;
    uint32_t seq;
    uint8_t verdict;
};

struct statefile_contents {
    struct statefile_words words;
    struct statefile_queue queue[VIOMMU_N_QUEUES];
    /*
     * The request after the last answered one has happened as well, with this answer: to be given
     * with statefile_request_done, or skipped.
     */
    bool happened;
    struct statefile_answer answer;
    uint32_t n_attachments, n_mappings;
};

/*
 * Checks all the rest, once. -EPROTO with a static text, -ENOMEM. There may be mappings of vdomains
 * without an endpoint: these have ended. Only after this, and before anything else is written:
 */
MUST_CHECK int statefile_load(struct statefile *f, struct statefile_contents *out,
                              const char **why_out);
/* The runs of the grant map: *n_out of them, the caller frees. -ENOMEM; values unchecked. */
MUST_CHECK int statefile_read_map(const struct statefile *f, struct gmem_run **out, size_t *n_out);

/*
 * Attachments, each once, in no order. A visitor returns 0 to keep the record, 1 to have it
 * forgotten, or -errno to stop, which is passed on.
 */
MUST_CHECK int statefile_each_attachment(struct statefile *f,
                                         int (*fn)(void *ctx, uint32_t endpoint,
                                                   const struct viommu_attachment *a),
                                         void *ctx);

/* Mappings, each once, in no order: the next one from slot *at_inout on (at first 0), which moves
 * behind it; false: there are no more. The entry's tag is set. */
struct statefile_mapping {
    uint32_t vdomain;
    struct imap_entry entry;
};
bool statefile_next_mapping(const struct statefile *f, uint32_t *at_inout,
                            struct statefile_mapping *out);
/* One of those is not there any more. */
void statefile_forget_mapping(struct statefile *f, const struct statefile_mapping *mapping);

/* The i-th answer after the last known publish (0 is the oldest); i < pending. */
void statefile_pending(const struct statefile *f, unsigned queue, uint32_t i,
                       struct statefile_answer *out);
/* The first n of them have been published. Those after them are pushed again, or (forgotten) not.
 */
void statefile_resumed(struct statefile *f, unsigned queue, uint32_t n, bool forget);

#endif
