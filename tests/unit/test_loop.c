/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The event loop over pipes, with a clock of the test's own: nothing here sleeps or measures time.
 */
#include <config.h>

#include "common/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#include "tests/support/ut.h"

/* The linker sends the loop's calls here (-Wl,--wrap). */
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts);
int __real_epoll_wait(int fd, struct epoll_event *events, int n, int timeout_ms);
int __wrap_epoll_wait(int fd, struct epoll_event *events, int n, int timeout_ms);

static uint64_t clock_ns;
static int last_timeout;

int __wrap_clock_gettime(clockid_t clock UNUSED, struct timespec *ts)
{
    ts->tv_sec = (time_t)(clock_ns / 1000000000u);
    ts->tv_nsec = (long)(clock_ns % 1000000000u);
    return 0;
}

/* Notes how long the loop would sleep, and looks only. */
int __wrap_epoll_wait(int fd, struct epoll_event *events, int n, int timeout_ms)
{
    last_timeout = timeout_ms;
    return __real_epoll_wait(fd, events, n, 0);
}

static void set_clock_ms(uint64_t ms)
{
    clock_ns = ms * 1000000u;
}

/* What callbacks did, as letters in order. */
static char trail[128];

static void leave(char c)
{
    size_t len = strlen(trail);

    if (len + 1 < sizeof(trail)) {
        trail[len] = c;
        trail[len + 1] = '\0';
    }
}

static const char *turn(struct loop *loop)
{
    trail[0] = '\0';
    UT_EQ(loop_turn(loop, 0), 0);
    return trail;
}

struct actor {
    struct loop *loop;
    struct loop_source *own;
    struct loop_source *victim;
    char name;
    unsigned events;
    bool free_own, free_victim, disarm_victim, again, quit;
};

static void act(void *ctx)
{
    struct actor *a = ctx;

    leave(a->name);
    if (a->free_victim)
        a->victim = loop_source_free(a->victim);
    if (a->disarm_victim)
        loop_timer_disarm(a->victim);
    if (a->again && a->own)
        loop_defer(a->own);
    if (a->free_own)
        a->own = loop_source_free(a->own);
    if (a->quit)
        loop_quit(a->loop, 42);
}

static void act_fd(void *ctx, unsigned events)
{
    ((struct actor *)ctx)->events = events;
    act(ctx);
}

static void act_signal(void *ctx, int signo)
{
    ((struct actor *)ctx)->events = (unsigned)signo;
    act(ctx);
}

static void act_timer_again(void *ctx)
{
    struct actor *a = ctx;

    leave(a->name);
    loop_timer_arm_ms(a->own, 0);
}

static void descriptors_are_level_triggered(void)
{
    struct loop *loop = loop_new();
    struct actor a = {.name = 'r'}, w = {.name = 'w'};
    char byte;
    int fds[2];

    UT_REQUIRE(loop && pipe2(fds, O_CLOEXEC | O_NONBLOCK) == 0);
    a.own = loop_add_fd(loop, fds[0], LOOP_READ, act_fd, &a);
    UT_REQUIRE(a.own);
    UT_STR(turn(loop), "");
    UT_EQ(write(fds[1], "xy", 2), 2);
    UT_STR(turn(loop), "r");
    UT_EQ(a.events, LOOP_READ);
    UT_EQ(read(fds[0], &byte, 1), 1);
    UT_STR(turn(loop), "r");
    UT_EQ(read(fds[0], &byte, 1), 1);
    UT_STR(turn(loop), "");
    w.own = loop_add_fd(loop, fds[1], 0, act_fd, &w);
    UT_REQUIRE(w.own);
    UT_STR(turn(loop), "");
    UT_EQ(loop_source_set_events(w.own, LOOP_WRITE), 0);
    UT_STR(turn(loop), "w");
    UT_EQ(w.events, LOOP_WRITE);
    loop_source_free(w.own);
    close(fds[1]);
    UT_STR(turn(loop), "r");
    UT_EQ(a.events, LOOP_HANGUP);
    UT_EQ(loop_source_set_events(a.own, 0), 0);
    UT_STR(turn(loop), "r");
    loop_source_free(a.own);
    UT_STR(turn(loop), "");
    close(fds[0]);
    loop_free(loop);
}

static void impossible_descriptors_are_refused(void)
{
    struct loop *loop = loop_new();
    struct actor a = {.name = 'a'};
    int fds[2];

    UT_REQUIRE(loop && pipe2(fds, O_CLOEXEC) == 0);
    UT_TRUE(!loop_add_fd(loop, -1, LOOP_READ, act_fd, &a));
    UT_EQ(errno, EBADF);
    a.own = loop_add_fd(loop, fds[0], LOOP_READ, act_fd, &a);
    UT_TRUE(a.own != NULL);
    UT_TRUE(!loop_add_fd(loop, fds[0], LOOP_READ, act_fd, &a));
    UT_EQ(errno, EEXIST);
    UT_STR(turn(loop), "");
    loop_free(loop);
    close(fds[0]);
    close(fds[1]);
}

/* Two ready descriptors, the first served frees the other: whichever epoll reports first. */
static void a_source_freed_by_another_does_not_run(void)
{
    struct loop *loop = loop_new();
    struct actor a = {.name = 'x', .free_victim = true}, b = a;
    int pair[2];

    UT_REQUIRE(loop && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    UT_EQ(write(pair[0], "x", 1), 1);
    UT_EQ(write(pair[1], "x", 1), 1);
    a.own = b.victim = loop_add_fd(loop, pair[0], LOOP_READ, act_fd, &a);
    b.own = a.victim = loop_add_fd(loop, pair[1], LOOP_READ, act_fd, &b);
    UT_STR(turn(loop), "x");
    UT_STR(turn(loop), "x");
    loop_free(loop);
    close(pair[0]);
    close(pair[1]);
}

static void every_kind_of_source_can_free_itself(void)
{
    struct loop *loop = loop_new();
    struct actor a[4];
    int fds[2];

    UT_REQUIRE(loop && pipe2(fds, O_CLOEXEC) == 0);
    UT_EQ(write(fds[1], "x", 1), 1);
    set_clock_ms(100);
    for (unsigned i = 0; i < 4; i++)
        a[i] = (struct actor){.name = (char)('0' + i), .free_own = true};
    a[0].own = loop_add_fd(loop, fds[0], LOOP_READ, act_fd, &a[0]);
    a[1].own = loop_add_signal(loop, SIGUSR1, act_signal, &a[1]);
    a[2].own = loop_add_timer(loop, act, &a[2]);
    a[3].own = loop_add_deferred(loop, act, &a[3]);
    UT_REQUIRE(a[0].own && a[1].own && a[2].own && a[3].own);
    loop_timer_arm_ms(a[2].own, 0);
    loop_defer(a[3].own);
    raise(SIGUSR1);
    UT_EQ(strlen(turn(loop)), 4);
    UT_STR(trail + 2, "23");
    for (unsigned i = 0; i < 4; i++)
        UT_TRUE(!a[i].own);
    UT_STR(turn(loop), "");
    UT_TRUE(!loop_source_free(NULL));
    loop_free(loop);
    close(fds[0]);
    close(fds[1]);
}

static void timers_run_in_order_of_their_deadlines(void)
{
    struct loop *loop = loop_new();
    struct actor a[8];
    static const unsigned ms[8] = {50, 20, 80, 10, 70, 30, 60, 40};

    UT_REQUIRE(loop);
    set_clock_ms(1000);
    for (unsigned i = 0; i < 8; i++) {
        a[i] = (struct actor){.name = (char)('0' + ms[i] / 10)};
        a[i].own = loop_add_timer(loop, act, &a[i]);
        UT_REQUIRE(a[i].own);
        loop_timer_arm_ms(a[i].own, ms[i]);
    }
    set_clock_ms(1009);
    UT_STR(turn(loop), "");
    set_clock_ms(1010);
    UT_STR(turn(loop), "1");
    UT_STR(turn(loop), "");
    loop_timer_disarm(a[1].own);
    loop_timer_arm_ms(a[5].own, 35); /* 1045 instead of 1030 */
    set_clock_ms(1055);
    UT_STR(turn(loop), "435");
    loop_source_free(a[6].own);
    set_clock_ms(5000);
    UT_STR(turn(loop), "78");
    UT_STR(turn(loop), "");
    loop_free(loop);
}

static void timers_are_never_early(void)
{
    struct loop *loop = loop_new();
    struct actor a = {.name = 't'};

    UT_REQUIRE(loop);
    a.own = loop_add_timer(loop, act, &a);
    clock_ns = 10900000; /* 10.9 ms: five later is 15.9 */
    loop_timer_arm_ms(a.own, 5);
    clock_ns = 15800000;
    UT_STR(turn(loop), "");
    clock_ns = 16000000;
    UT_STR(turn(loop), "t");
    loop_timer_arm_ms(a.own, UINT64_MAX);
    clock_ns = UINT64_MAX;
    UT_STR(turn(loop), "");
    loop_free(loop);
}

static void the_loop_sleeps_until_the_next_thing_to_do(void)
{
    struct loop *loop = loop_new();
    struct actor t = {.name = 't'}, d = {.name = 'd'};

    UT_REQUIRE(loop);
    t.own = loop_add_timer(loop, act, &t);
    d.own = loop_add_deferred(loop, act, &d);
    UT_REQUIRE(t.own && d.own);
    set_clock_ms(100);
    UT_EQ(loop_turn(loop, -1), 0);
    UT_EQ(last_timeout, -1);
    UT_EQ(loop_turn(loop, 7), 0);
    UT_EQ(last_timeout, 7);
    loop_timer_arm_ms(t.own, 30);
    UT_EQ(loop_turn(loop, -1), 0);
    UT_EQ(last_timeout, 30);
    UT_EQ(loop_turn(loop, 7), 0);
    UT_EQ(last_timeout, 7);
    set_clock_ms(500);
    UT_EQ(loop_turn(loop, -1), 0);
    UT_EQ(last_timeout, 0);
    loop_timer_arm_ms(t.own, 1ull << 40);
    UT_EQ(loop_turn(loop, -1), 0);
    UT_EQ(last_timeout, INT32_MAX);
    loop_defer(d.own);
    UT_EQ(loop_turn(loop, -1), 0);
    UT_EQ(last_timeout, 0);
    loop_free(loop);
}

static void a_timer_armed_in_a_turn_waits_for_the_next(void)
{
    struct loop *loop = loop_new();
    struct actor a = {.name = 'a'};

    UT_REQUIRE(loop);
    set_clock_ms(100);
    a.own = loop_add_timer(loop, act_timer_again, &a);
    UT_REQUIRE(a.own);
    loop_timer_arm_ms(a.own, 0);
    UT_STR(turn(loop), "a");
    UT_STR(turn(loop), "a");
    loop_free(loop);
}

static void an_expired_timer_can_still_be_stopped(void)
{
    for (unsigned i = 0; i < 2; i++) {
        struct loop *loop = loop_new();
        struct actor a = {.name = 'a', .free_victim = i == 0, .disarm_victim = i == 1};
        struct actor b = {.name = 'b'};

        UT_REQUIRE(loop);
        set_clock_ms(100);
        a.own = loop_add_timer(loop, act, &a);
        b.own = a.victim = loop_add_timer(loop, act, &b);
        UT_REQUIRE(a.own && b.own);
        loop_timer_arm_ms(a.own, 1);
        loop_timer_arm_ms(b.own, 2);
        set_clock_ms(200);
        UT_STR(turn(loop), "a");
        UT_STR(turn(loop), "");
        loop_free(loop);
    }
}

static void deferred_work_takes_turns_with_the_others(void)
{
    struct loop *loop = loop_new();
    struct actor a = {.name = 'a', .again = true}, b = {.name = 'b'}, r = {.name = 'r'};
    int fds[2];

    UT_REQUIRE(loop && pipe2(fds, O_CLOEXEC) == 0);
    UT_EQ(write(fds[1], "x", 1), 1);
    a.own = loop_add_deferred(loop, act, &a);
    b.own = loop_add_deferred(loop, act, &b);
    r.own = loop_add_fd(loop, fds[0], LOOP_READ, act_fd, &r);
    UT_REQUIRE(a.own && b.own && r.own);
    UT_STR(turn(loop), "r");
    loop_defer(a.own);
    loop_defer(b.own);
    loop_defer(a.own); /* once is enough */
    UT_STR(turn(loop), "rab");
    UT_STR(turn(loop), "ra");
    a.again = false;
    UT_STR(turn(loop), "ra");
    UT_STR(turn(loop), "r");
    loop_free(loop);
    close(fds[0]);
    close(fds[1]);
}

static void deferred_work_can_be_freed_before_it_runs(void)
{
    struct loop *loop = loop_new();
    struct actor a = {.name = 'a', .free_victim = true}, b = {.name = 'b'};

    UT_REQUIRE(loop);
    a.own = loop_add_deferred(loop, act, &a);
    b.own = a.victim = loop_add_deferred(loop, act, &b);
    UT_REQUIRE(a.own && b.own);
    loop_defer(a.own);
    loop_defer(b.own);
    UT_STR(turn(loop), "a");
    UT_STR(turn(loop), "");
    loop_free(loop);
}

static void signals_arrive_in_the_loop(void)
{
    struct loop *loop = loop_new();
    struct actor a = {.name = 'u'}, b = {.name = 'h'};

    UT_REQUIRE(loop);
    a.own = loop_add_signal(loop, SIGUSR1, act_signal, &a);
    b.own = loop_add_signal(loop, SIGHUP, act_signal, &b);
    UT_REQUIRE(a.own && b.own);
    UT_TRUE(!loop_add_signal(loop, SIGUSR1, act_signal, &a));
    UT_EQ(errno, EEXIST);
    UT_TRUE(!loop_add_signal(loop, 9999, act_signal, &a));
    raise(SIGUSR1);
    UT_STR(turn(loop), "u");
    UT_EQ(a.events, SIGUSR1);
    raise(SIGHUP);
    UT_STR(turn(loop), "h");
    UT_EQ(b.events, SIGHUP);
    UT_STR(turn(loop), "");
    a.own = loop_source_free(a.own);
    a.own = loop_add_signal(loop, SIGUSR1, act_signal, &a);
    UT_TRUE(a.own != NULL);
    loop_free(loop);
}

static struct loop *outer;

static void turn_inside(void *ctx)
{
    *(int *)ctx = loop_turn(outer, 0);
}

static void a_turn_inside_a_turn_is_refused(void)
{
    struct loop_source *s;
    int result = 0;

    outer = loop_new();
    UT_REQUIRE(outer);
    s = loop_add_deferred(outer, turn_inside, &result);
    UT_REQUIRE(s);
    loop_defer(s);
    UT_EQ(loop_turn(outer, 0), 0);
    UT_EQ(result, -EBUSY);
    loop_free(outer);
}

static void the_loop_runs_until_told_to_quit(void)
{
    struct loop *loop = loop_new();
    struct actor a = {.name = 'a', .quit = true}, b = {.name = 'b'};

    UT_REQUIRE(loop);
    a.loop = loop;
    a.own = loop_add_deferred(loop, act, &a);
    b.own = loop_add_deferred(loop, act, &b);
    UT_REQUIRE(a.own && b.own);
    loop_defer(a.own);
    loop_defer(b.own);
    trail[0] = '\0';
    UT_EQ(loop_run(loop), 42);
    UT_STR(trail, "ab");
    loop_quit(loop, 7);
    UT_EQ(loop_run(loop), 7);
    UT_STR(trail, "ab");
    loop_defer(a.own);
    UT_EQ(loop_run(loop), 42);
    UT_STR(trail, "aba");
    UT_TRUE(!loop_free(loop));
    UT_TRUE(!loop_free(NULL));
}

int main(int argc, char **argv)
{
    static const struct ut_case cases[] = {
        UT_CASE(descriptors_are_level_triggered),
        UT_CASE(impossible_descriptors_are_refused),
        UT_CASE(a_source_freed_by_another_does_not_run),
        UT_CASE(every_kind_of_source_can_free_itself),
        UT_CASE(timers_run_in_order_of_their_deadlines),
        UT_CASE(timers_are_never_early),
        UT_CASE(the_loop_sleeps_until_the_next_thing_to_do),
        UT_CASE(a_timer_armed_in_a_turn_waits_for_the_next),
        UT_CASE(an_expired_timer_can_still_be_stopped),
        UT_CASE(deferred_work_takes_turns_with_the_others),
        UT_CASE(deferred_work_can_be_freed_before_it_runs),
        UT_CASE(signals_arrive_in_the_loop),
        UT_CASE(a_turn_inside_a_turn_is_refused),
        UT_CASE(the_loop_runs_until_told_to_quit),
    };

    return ut_main(argc, argv, "loop", cases, ARRAY_SIZE(cases));
}
