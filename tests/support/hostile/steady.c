/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The well-behaved guest beside a hostile one: MAP and UNMAP of a granted page, some hundred times
 * a second, for as long as it runs. For each line of input it says how that went since the last.
 */
#include <config.h>

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/le.h"
#include "common/strutil.h"
#include "tests/support/guest/frontend.h"

#define PAUSE_MS    2 /* between two requests: it is a guest, not a benchmark */
#define MAX_SAMPLES 100000u
#define DATA_PAGE   FE_PAGE_FIRST_FREE

struct steady {
    struct frontend fe;
    bool mapped;
    uint64_t wrong, n;
    uint32_t us[MAX_SAMPLES]; /* the latest ones */
};

static uint64_t now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static int compare(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

/* "n=.. wrong=.. p50=.. p99=.. max=.." in microseconds; then all over again. */
static void report(struct steady *s)
{
    size_t n = s->n < MAX_SAMPLES ? s->n : MAX_SAMPLES;

    qsort(s->us, n, sizeof(s->us[0]), compare);
    printf("n=%" PRIu64 " wrong=%" PRIu64 " p50=%u p99=%u max=%u\n", s->n, s->wrong,
           n ? s->us[n / 2] : 0, n ? s->us[n - 1 - (n - 1) / 100] : 0, n ? s->us[n - 1] : 0);
    fflush(stdout);
    s->n = s->wrong = 0;
}

static int one(struct steady *s)
{
    uint8_t req[36] = {s->mapped ? 4 : 3}, tail[4] = {0xff};
    uint64_t started = now_us();
    uint32_t used = 0;
    int r;

    le32_store(req + 4, 1);
    le64_store(req + 16, FE_PAGE_SIZE - 1);
    le64_store(req + 24, fe_grant_address(&s->fe, DATA_PAGE));
    le32_store(req + 32, 3);
    if (s->mapped)
        memset(req + 24, 0, 12);
    r = fe_request(&s->fe, req, s->mapped ? 28 : 36, tail, sizeof(tail), &used);
    s->us[s->n++ % MAX_SAMPLES] = (uint32_t)(now_us() - started);
    s->wrong += r || used != 4 || tail[0] != 0;
    s->mapped = !s->mapped;
    return r;
}

static int attach(struct steady *s)
{
    uint8_t req[20] = {1}, tail[4];
    uint32_t used;
    int r;

    le32_store(req + 4, 1);
    le32_store(req + 8, 8);
    r = fe_request(&s->fe, req, sizeof(req), tail, sizeof(tail), &used);
    return r ? r : tail[0] ? -EPROTO : 0;
}

static int start(struct steady *s, const char *dir, uint32_t domid)
{
    const struct fe_start how = {.queue_size = 16, .features = FE_FEATURES_DEFAULT};
    char why[256];
    int r = fe_open(&s->fe, dir, domid, 0, 64);

    if (r == 0)
        r = fe_start(&s->fe, &how, why, sizeof(why));
    if (r == 0)
        r = fe_grant(&s->fe, DATA_PAGE, 1, false);
    return r ? r : attach(s);
}

/* After a line, at least one more request that began after it. */
static int run(struct steady *s)
{
    struct pollfd in = {.fd = 0, .events = POLLIN};
    char line[64];
    int r;

    for (;;) {
        bool asked = poll(&in, 1, PAUSE_MS) > 0;

        if (asked && !fgets(line, sizeof(line), stdin))
            return 0;
        r = one(s);
        if (asked)
            report(s);
        if (r)
            return r;
    }
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"dir", required_argument, NULL, 'd'},
                                            {"domid", required_argument, NULL, 'g'},
                                            {NULL, 0, NULL, 0}};
    static struct steady s;
    const char *dir = NULL;
    uint32_t domid = 0;
    int c, r = 0;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == 'd')
            dir = optarg;
        else if (c != 'g' || parse_u32(optarg, 0x7fef, &domid) < 0)
            r = 2;
    }
    if (r || !dir || domid == 0) {
        fputs("usage: steady-guest --dir DIR --domid N\n", stderr);
        return 2;
    }
    setvbuf(stdin, NULL, _IONBF, 0); /* or poll() would miss a second line */
    r = start(&s, dir, domid);
    if (r == 0) {
        puts("ready");
        fflush(stdout);
        r = run(&s);
    }
    if (r)
        fprintf(stderr, "steady-guest: %s\n", strerror(-r));
    fe_close(&s.fe);
    return r ? 1 : 0;
}
