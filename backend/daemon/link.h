/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The supervisor's end of one worker: the process, the connection to it, and the requests that it
 * has not answered. Whatever a worker sends is hostile; the first message that is not the
 * next expected answer ends it.
 *
 * A link lives until its process has been reaped, because only then is everything unmapped that
 * the worker had mapped. Its leased pages are returned then.
 */
#ifndef VIOMMU_BACKEND_DAEMON_LINK_H
#define VIOMMU_BACKEND_DAEMON_LINK_H

#include "backend/daemon/budget.h"
#include "backend/daemon/msg.h"
#include "backend/daemon/options.h"
#include "common/loop.h"

#include <sys/types.h>

struct link;

/* All workers of a supervisor. */
struct link_set {
    struct loop *loop;
    const struct daemon_options *options;
    struct page_budget budget;
    struct link *first;
    struct loop_source *sigchld;
    void (*reaped)(void *ctx); /* a link is gone; may be NULL */
    void *ctx;
};

/* -ENOMEM. */
MUST_CHECK int link_set_init(struct link_set *set, struct loop *loop,
                             const struct daemon_options *options);
/* Kills and reaps what is left (waits for it). */
void link_set_fini(struct link_set *set);

/* The process is gone: `how` says how it ended. Called once, after all requests have failed with
 * -EPIPE; not called after link_stop. */
typedef void link_lost_fn(void *ctx, const char *how);

/*
 * An answer: error 0, reply and message (borrowed) are set, reply->ok may be false. Or error
 * -EPIPE: the worker is gone or was stopped.
 */
typedef void link_reply_fn(void *ctx, int error, const struct msg_reply *reply, json_t *msg);

/*
 * Lets the link's worker map grants of guest `domid`, through a broker if there is to be one; once
 * for all. To be called before the first `start`. -errno with a logged reason.
 */
MUST_CHECK int link_serve_grants(struct link *link, uint32_t domid);

/* Starts a worker. -errno. `name` (copied) is for the log. */
MUST_CHECK int link_new(struct link **out, struct link_set *set, const char *name,
                        link_lost_fn *lost, void *ctx);

/*
 * The id for the next request of this link, which is to be sent with it at once.
 */
uint32_t link_next_id(struct link *link);

/*
 * Sends a request (consumes the reference; NULL is -ENOMEM). fn is called exactly once if 0 is
 * returned, never otherwise. -EPIPE, -EBUSY (too many unanswered), -ENOMEM.
 */
MUST_CHECK int link_request(struct link *link, json_t *request, link_reply_fn *fn, void *ctx);

/* As link_request, for a request whose answer may come with up to max_fds descriptors. */
MUST_CHECK int link_request_fds(struct link *link, json_t *request, size_t max_fds,
                                link_reply_fn *fn, void *ctx);

/* As link_request, with a descriptor beside it (-1: none), which stays the caller's. */
MUST_CHECK int link_request_with(struct link *link, json_t *request, int fd, link_reply_fn *fn,
                                 void *ctx);

/* Ends a worker that holds nothing of a guest: it goes by itself, or is killed after a second. Its
 * requests fail now; the owner forgets the link. NULL allowed; returns NULL. */
struct link *link_stop(struct link *link);

/* SIGKILL. `lost` follows when the process has been reaped. */
void link_kill(struct link *link);

pid_t link_pid(const struct link *link);
uint32_t link_pages(const struct link *link);

/*
 * Changes the lease: returns the old one and leases anew, all that is wanted or (`share`) at most
 * half of what is left. The number of pages, 0: none left.
 */
uint32_t link_lease(struct link *link, uint32_t want, bool share);

/* Tells all workers the log level. */
void link_set_log_level(struct link_set *set, enum log_level level);

#endif
