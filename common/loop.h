/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Event loop on epoll: descriptors, timers, signals, and work put off to the next turn.
 *
 * One thread owns a loop and everything in it. Level-triggered. The loop never owns a descriptor:
 * loop_source_free must come before close(). A source may be freed from inside any callback,
 * its own included; no callback of a freed source runs afterwards.
 */
#ifndef VIOMMU_COMMON_LOOP_H
#define VIOMMU_COMMON_LOOP_H

#include "common/compiler.h"

#include <stdint.h>

struct loop;
struct loop_source;

enum loop_events {
    LOOP_READ = 1,
    LOOP_WRITE = 2,
    LOOP_HANGUP = 4, /* delivered, whether asked for or not, on error or hang-up */
};

typedef void loop_fd_fn(void *ctx, unsigned events);
typedef void loop_fn(void *ctx);
typedef void loop_signal_fn(void *ctx, int signo);

struct loop *loop_new(void); /* NULL when resources are short */
/* Frees remaining sources too; not from inside a callback. NULL allowed; returns NULL. */
struct loop *loop_free(struct loop *loop);

/* Descriptor source; `events` of LOOP_READ | LOOP_WRITE. NULL when resources are short. */
struct loop_source *loop_add_fd(struct loop *loop, int fd, unsigned events, loop_fd_fn *fn,
                                void *ctx);
MUST_CHECK int loop_source_set_events(struct loop_source *s, unsigned events);

/*
 * Timer source, created disarmed. One shot; monotonic clock. Arming replaces an earlier arming; a
 * timer is never early, and one armed in a turn runs in the next turn at the soonest.
 */
struct loop_source *loop_add_timer(struct loop *loop, loop_fn *fn, void *ctx);
void loop_timer_arm_ms(struct loop_source *s, uint64_t ms);
void loop_timer_disarm(struct loop_source *s);

/*
 * Signal source: blocks `signo` for the process and delivers it in the loop. One source per signal
 * and loop (NULL, errno EEXIST, for another). The signal stays blocked when the source is freed,
 * and a program that is started inherits the block: see sigprocmask(2).
 */
struct loop_source *loop_add_signal(struct loop *loop, int signo, loop_signal_fn *fn, void *ctx);

/*
 * Deferred source, created idle: loop_defer makes fn run once, after the events of the current
 * turn and before the loop sleeps. Used to requeue work that used up its budget, in turn with
 * the other sources.
 */
struct loop_source *loop_add_deferred(struct loop *loop, loop_fn *fn, void *ctx);
void loop_defer(struct loop_source *s);

/* Removes and frees the source. NULL allowed; returns NULL. */
struct loop_source *loop_source_free(struct loop_source *s);

/*
 * Runs until loop_quit; returns the code given there, or -errno if epoll fails. The turn in which
 * loop_quit is called is finished first; loop_quit before loop_run makes it return at once.
 */
int loop_run(struct loop *loop);
void loop_quit(struct loop *loop, int code);

/*
 * One turn: waits up to timeout_ms (-1: no limit, 0: only looks). Returns 0 or -errno; -EBUSY from
 * inside a callback. For tests.
 */
MUST_CHECK int loop_turn(struct loop *loop, int timeout_ms);

/* Milliseconds of the monotonic clock. */
uint64_t loop_now_ms(void);

#endif
