/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Event loop. Four kinds of source: descriptors and signals (each signal has a signalfd of its
 * own) live in the epoll set, armed timers in a heap ordered by deadline, deferred work in a list.
 *
 * A turn takes a snapshot and serves it: the events that epoll reported, then the timers that had
 * expired, then the work deferred so far. Timers and work added meanwhile wait for the next turn,
 * so that no source can starve the others. A source freed during a turn is marked dead at once and
 * its memory stays until the turn ends, since the snapshot may still name it.
 */
#include <config.h>

#include "common/loop.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <time.h>

#define EVENTS_PER_TURN 64
#define NOT_IN_HEAP     SIZE_MAX

enum source_type { SOURCE_FD, SOURCE_SIGNAL, SOURCE_TIMER, SOURCE_DEFERRED };

/* Circular lists with a head: a source is in `sources` or `dead`, and in at most one run list. */
struct link {
    struct link *prev, *next;
};

struct loop_source {
    struct loop *loop;
    enum source_type type;
    bool dead;
    struct link member; /* of loop->sources or loop->dead */
    struct link run;    /* of loop->deferred or a turn's list; alone if idle */
    void *ctx;
    union {
        loop_fd_fn *fd;
        loop_fn *plain;
        loop_signal_fn *signal;
    } fn;
    int fd; /* SOURCE_FD: borrowed; SOURCE_SIGNAL: owned */
    int signo;
    uint64_t deadline_ms;
    size_t heap_index;
};

struct loop {
    int epoll_fd;
    bool in_turn;
    bool quit;
    int quit_code;
    struct link sources;
    struct link dead;
    struct link deferred;
    sigset_t signals;          /* that have a source */
    struct loop_source **heap; /* armed timers, the earliest first */
    size_t n_armed;
    size_t n_timers; /* that exist: the heap has room for all, so arming cannot fail */
};

static void link_init(struct link *l)
{
    l->prev = l->next = l;
}

static bool link_alone(const struct link *l)
{
    return l->next == l;
}

static void link_remove(struct link *l)
{
    l->prev->next = l->next;
    l->next->prev = l->prev;
    link_init(l);
}

static void link_append(struct link *head, struct link *l)
{
    l->prev = head->prev;
    l->next = head;
    head->prev->next = l;
    head->prev = l;
}

/* Moves all of `from` to the empty list `to`. */
static void link_move_all(struct link *from, struct link *to)
{
    if (link_alone(from))
        return;
    *to = *from;
    to->prev->next = to;
    to->next->prev = to;
    link_init(from);
}

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t loop_now_ms(void)
{
    return now_ns() / 1000000u;
}

/* The heap of armed timers. */

static void heap_set(struct loop *loop, size_t i, struct loop_source *s)
{
    loop->heap[i] = s;
    s->heap_index = i;
}

static void heap_up(struct loop *loop, size_t i)
{
    struct loop_source *s = loop->heap[i];

    while (i > 0 && loop->heap[(i - 1) / 2]->deadline_ms > s->deadline_ms) {
        heap_set(loop, i, loop->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    heap_set(loop, i, s);
}

static void heap_down(struct loop *loop, size_t i)
{
    struct loop_source *s = loop->heap[i];

    for (;;) {
        size_t child = 2 * i + 1;

        if (child + 1 < loop->n_armed &&
            loop->heap[child + 1]->deadline_ms < loop->heap[child]->deadline_ms)
            child++;
        if (child >= loop->n_armed || loop->heap[child]->deadline_ms >= s->deadline_ms)
            break;
        heap_set(loop, i, loop->heap[child]);
        i = child;
    }
    heap_set(loop, i, s);
}

static void heap_remove(struct loop_source *s)
{
    struct loop *loop = s->loop;
    size_t i = s->heap_index;
    struct loop_source *moved;

    if (i == NOT_IN_HEAP)
        return;
    s->heap_index = NOT_IN_HEAP;
    moved = loop->heap[--loop->n_armed];
    if (moved == s)
        return;
    heap_set(loop, i, moved);
    heap_up(loop, i);
    heap_down(loop, moved->heap_index);
}

struct loop *loop_new(void)
{
    struct loop *loop = calloc(1, sizeof(*loop));

    if (!loop)
        return NULL;
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll_fd < 0) {
        free(loop);
        return NULL;
    }
    link_init(&loop->sources);
    link_init(&loop->dead);
    link_init(&loop->deferred);
    sigemptyset(&loop->signals);
    return loop;
}

static void free_dead(struct loop *loop)
{
    while (!link_alone(&loop->dead)) {
        struct loop_source *s = container_of(loop->dead.next, struct loop_source, member);

        link_remove(&s->member);
        free(s);
    }
}

struct loop *loop_free(struct loop *loop)
{
    if (!loop)
        return NULL;
    while (!link_alone(&loop->sources))
        loop_source_free(container_of(loop->sources.next, struct loop_source, member));
    free_dead(loop);
    close(loop->epoll_fd);
    free(loop->heap);
    free(loop);
    return NULL;
}

static struct loop_source *new_source(struct loop *loop, enum source_type type, void *ctx)
{
    struct loop_source *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->loop = loop;
    s->type = type;
    s->ctx = ctx;
    s->fd = -1;
    s->heap_index = NOT_IN_HEAP;
    link_init(&s->run);
    link_append(&loop->sources, &s->member);
    return s;
}

/* Undoes new_source for a source that nothing refers to yet; keeps errno. */
static struct loop_source *drop_source(struct loop_source *s)
{
    int saved_errno = errno;

    link_remove(&s->member);
    if (s->type == SOURCE_SIGNAL && s->fd >= 0)
        close(s->fd);
    free(s);
    errno = saved_errno;
    return NULL;
}

static struct epoll_event epoll_event_of(struct loop_source *s, unsigned events)
{
    struct epoll_event ev = {.data.ptr = s};

    if (events & LOOP_READ)
        ev.events |= EPOLLIN;
    if (events & LOOP_WRITE)
        ev.events |= EPOLLOUT;
    return ev;
}

struct loop_source *loop_add_fd(struct loop *loop, int fd, unsigned events, loop_fd_fn *fn,
                                void *ctx)
{
    struct loop_source *s = new_source(loop, SOURCE_FD, ctx);
    struct epoll_event ev;

    if (!s)
        return NULL;
    s->fn.fd = fn;
    s->fd = fd;
    ev = epoll_event_of(s, events);
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
        return drop_source(s);
    return s;
}

int loop_source_set_events(struct loop_source *s, unsigned events)
{
    struct epoll_event ev = epoll_event_of(s, events);

    if (s->dead || s->type != SOURCE_FD)
        return -EINVAL;
    return epoll_ctl(s->loop->epoll_fd, EPOLL_CTL_MOD, s->fd, &ev) < 0 ? -errno : 0;
}

struct loop_source *loop_add_timer(struct loop *loop, loop_fn *fn, void *ctx)
{
    struct loop_source *s = new_source(loop, SOURCE_TIMER, ctx);
    struct loop_source **heap;

    if (!s)
        return NULL;
    s->fn.plain = fn;
    heap = reallocarray(loop->heap, loop->n_timers + 1, sizeof(heap[0]));
    if (!heap)
        return drop_source(s);
    loop->heap = heap;
    loop->n_timers++;
    return s;
}

void loop_timer_arm_ms(struct loop_source *s, uint64_t ms)
{
    struct loop *loop = s->loop;
    /* Rounded up: a timer may be late by a millisecond but is never early. */
    uint64_t now = ms > 0 ? (now_ns() + 999999u) / 1000000u : loop_now_ms();

    if (s->dead)
        return;
    loop_timer_disarm(s);
    if (__builtin_add_overflow(now, ms, &s->deadline_ms))
        s->deadline_ms = UINT64_MAX;
    heap_set(loop, loop->n_armed++, s);
    heap_up(loop, s->heap_index);
}

void loop_timer_disarm(struct loop_source *s)
{
    heap_remove(s);
    link_remove(&s->run); /* it may have expired in this turn without having run yet */
}

struct loop_source *loop_add_signal(struct loop *loop, int signo, loop_signal_fn *fn, void *ctx)
{
    struct loop_source *s;
    struct epoll_event ev;
    sigset_t mask;

    sigemptyset(&mask);
    if (sigaddset(&mask, signo) < 0)
        return NULL;
    /* Two readers would take each other's signals. */
    if (sigismember(&loop->signals, signo)) {
        errno = EEXIST;
        return NULL;
    }
    s = new_source(loop, SOURCE_SIGNAL, ctx);
    if (!s)
        return NULL;
    s->fn.signal = fn;
    s->signo = signo;
    s->fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    ev = epoll_event_of(s, LOOP_READ);
    if (s->fd < 0 || epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, s->fd, &ev) < 0 ||
        sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
        return drop_source(s);
    sigaddset(&loop->signals, signo);
    return s;
}

struct loop_source *loop_add_deferred(struct loop *loop, loop_fn *fn, void *ctx)
{
    struct loop_source *s = new_source(loop, SOURCE_DEFERRED, ctx);

    if (s)
        s->fn.plain = fn;
    return s;
}

void loop_defer(struct loop_source *s)
{
    if (!s->dead && link_alone(&s->run))
        link_append(&s->loop->deferred, &s->run);
}

struct loop_source *loop_source_free(struct loop_source *s)
{
    struct loop *loop;

    if (!s || s->dead)
        return NULL;
    loop = s->loop;
    s->dead = true;
    heap_remove(s);
    link_remove(&s->run);
    link_remove(&s->member);
    if (s->type == SOURCE_FD || s->type == SOURCE_SIGNAL)
        epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, s->fd, NULL);
    if (s->type == SOURCE_SIGNAL) {
        close(s->fd);
        sigdelset(&loop->signals, s->signo);
    }
    if (s->type == SOURCE_TIMER)
        loop->n_timers--;
    link_append(&loop->dead, &s->member);
    if (!loop->in_turn)
        free_dead(loop);
    return NULL;
}

/* One signal per call: the descriptor stays ready while there are more. */
static void serve_signal(struct loop_source *s)
{
    struct signalfd_siginfo info;

    if (read(s->fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        s->fn.signal(s->ctx, (int)info.ssi_signo);
}

static void serve_event(const struct epoll_event *ev)
{
    struct loop_source *s = ev->data.ptr;
    unsigned events = 0;

    if (s->dead)
        return;
    if (s->type == SOURCE_SIGNAL) {
        serve_signal(s);
        return;
    }
    if (ev->events & EPOLLIN)
        events |= LOOP_READ;
    if (ev->events & EPOLLOUT)
        events |= LOOP_WRITE;
    if (ev->events & (EPOLLERR | EPOLLHUP))
        events |= LOOP_HANGUP;
    s->fn.fd(s->ctx, events);
}

/* Calls each source of `run` once. A callback may take others out of the list, or free them. */
static void serve_list(struct link *run)
{
    while (!link_alone(run)) {
        struct loop_source *s = container_of(run->next, struct loop_source, run);

        link_remove(&s->run);
        s->fn.plain(s->ctx);
    }
}

static void collect_expired(struct loop *loop, struct link *run)
{
    uint64_t now = loop_now_ms();

    while (loop->n_armed > 0 && loop->heap[0]->deadline_ms <= now) {
        struct loop_source *s = loop->heap[0];

        heap_remove(s);
        link_append(run, &s->run);
    }
}

static int wait_ms(const struct loop *loop, int timeout_ms)
{
    uint64_t now, left;

    if (!link_alone(&loop->deferred))
        return 0;
    if (loop->n_armed == 0)
        return timeout_ms;
    now = loop_now_ms();
    left = loop->heap[0]->deadline_ms > now ? loop->heap[0]->deadline_ms - now : 0;
    if (timeout_ms >= 0 && left > (uint64_t)timeout_ms)
        return timeout_ms;
    return left > INT_MAX ? INT_MAX : (int)left;
}

int loop_turn(struct loop *loop, int timeout_ms)
{
    struct epoll_event events[EVENTS_PER_TURN];
    struct link run;
    int n;

    if (loop->in_turn)
        return -EBUSY;
    n = epoll_wait(loop->epoll_fd, events, EVENTS_PER_TURN, wait_ms(loop, timeout_ms));
    if (n < 0 && errno != EINTR)
        return -errno;
    loop->in_turn = true;
    link_init(&run);
    collect_expired(loop, &run);
    for (int i = 0; i < n; i++)
        serve_event(&events[i]);
    serve_list(&run);
    link_move_all(&loop->deferred, &run);
    serve_list(&run);
    loop->in_turn = false;
    free_dead(loop);
    return 0;
}

int loop_run(struct loop *loop)
{
    while (!loop->quit) {
        int r = loop_turn(loop, -1);

        if (r < 0)
            return r;
    }
    loop->quit = false;
    return loop->quit_code;
}

void loop_quit(struct loop *loop, int code)
{
    loop->quit = true;
    loop->quit_code = code;
}
