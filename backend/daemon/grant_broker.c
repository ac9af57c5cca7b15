/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The thread of one worker's grant broker (grant_broker.h). It owns the platform's broker from
 * start to end; the loop's thread writes only the number of pages, and hears of the end through an
 * eventfd.
 */
#include <config.h>

#include "backend/daemon/grant_broker.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "common/log.h"

#define STACK_SIZE (128u * 1024)
/* Control page and directory pages are mapped outside of a device's budget. */
#define TRANSPORT_PAGES 64u

struct grant_broker {
    const struct broker_ops *ops;
    struct broker *broker;
    int sock;
    atomic_uint max_pages;
    pthread_t thread;
    int result; /* of the thread, once it has ended */
    int done_fd;
    struct loop_source *done_source;
    grant_broker_done_fn *done;
    void *ctx;
};

static void *run(void *arg)
{
    struct grant_broker *b = arg;

    b->result = broker_serve(b->sock, b->ops, b->broker, &b->max_pages);
    b->ops->close(b->broker);
    (void)eventfd_write(b->done_fd, 1);
    return NULL;
}

/* Signals are the loop's; a thread that could take one would lose it. */
static int start_thread(struct grant_broker *b)
{
    pthread_attr_t attr;
    sigset_t all, before;
    size_t stack = STACK_SIZE > PTHREAD_STACK_MIN ? STACK_SIZE : (size_t)PTHREAD_STACK_MIN;
    int r = pthread_attr_init(&attr);

    if (r != 0)
        return -r;
    sigfillset(&all);
    r = pthread_attr_setstacksize(&attr, stack);
    if (r == 0)
        r = pthread_sigmask(SIG_SETMASK, &all, &before);
    if (r == 0) {
        r = pthread_create(&b->thread, &attr, run, b);
        (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    pthread_attr_destroy(&attr);
    return -r;
}

static void on_done(void *ctx, unsigned events)
{
    struct grant_broker *b = ctx;

    (void)events;
    b->done_source = loop_source_free(b->done_source);
    b->done(b->ctx, b->result);
}

static int start(struct grant_broker *b, struct loop *loop, uint32_t domid)
{
    int r;

    b->done_fd = eventfd(0, EFD_CLOEXEC);
    if (b->done_fd < 0)
        return -errno;
    b->done_source = loop_add_fd(loop, b->done_fd, LOOP_READ, on_done, b);
    if (!b->done_source)
        return -ENOMEM;
    r = b->ops->open(&b->broker, domid);
    if (r < 0)
        return r;
    r = start_thread(b);
    if (r < 0)
        b->ops->close(b->broker);
    return r;
}

static void release(struct grant_broker *b)
{
    loop_source_free(b->done_source);
    if (b->done_fd >= 0)
        close(b->done_fd);
    free(b);
}

int grant_broker_new(struct grant_broker **out, struct loop *loop, const struct broker_ops *ops,
                     uint32_t domid, int sock, grant_broker_done_fn *done, void *ctx)
{
    struct grant_broker *b = calloc(1, sizeof(*b));
    int r;

    if (!b)
        return -ENOMEM;
    b->ops = ops;
    b->sock = sock;
    b->done_fd = -1;
    b->done = done;
    b->ctx = ctx;
    atomic_init(&b->max_pages, 0);
    r = start(b, loop, domid);
    if (r < 0) {
        log_err("grant broker for domain %u: %s", domid, strerror(-r));
        release(b);
        return r;
    }
    *out = b;
    return 0;
}

void grant_broker_set_pages(struct grant_broker *b, uint32_t pages)
{
    atomic_store(&b->max_pages,
                 pages > UINT_MAX - TRANSPORT_PAGES ? pages : pages + TRANSPORT_PAGES);
}

struct grant_broker *grant_broker_free(struct grant_broker *b)
{
    if (!b)
        return NULL;
    (void)shutdown(b->sock, SHUT_RDWR);
    (void)pthread_join(b->thread, NULL);
    close(b->sock);
    release(b);
    return NULL;
}
