/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The supervisor's grant broker for one worker: a thread that answers that worker's map requests,
 * for that worker's guest. It has nothing in common with the rest of the supervisor, so that no
 * guest's MAP waits for xenstore or for another guest.
 */
#ifndef VIOMMU_BACKEND_DAEMON_GRANT_BROKER_H
#define VIOMMU_BACKEND_DAEMON_GRANT_BROKER_H

#include "backend/platform/platform.h"
#include "common/loop.h"

struct grant_broker;

/* The worker has let go of its socket (reason 0), or sent what a sound one does not: -errno. What
 * it had mapped is ended. Called once, from the loop; the callee frees the broker. */
typedef void grant_broker_done_fn(void *ctx, int reason);

/* Serves `sock`, which it owns on success, for guest `domid`. -errno with a logged reason. */
MUST_CHECK int grant_broker_new(struct grant_broker **out, struct loop *loop,
                                const struct broker_ops *ops, uint32_t domid, int sock,
                                grant_broker_done_fn *done, void *ctx);

/* Pages that may be mapped from now on, besides the few of the transport itself; 0 at first. */
void grant_broker_set_pages(struct grant_broker *b, uint32_t pages);

/* Ends it and waits for its thread. NULL allowed; returns NULL. */
struct grant_broker *grant_broker_free(struct grant_broker *b);

#endif
