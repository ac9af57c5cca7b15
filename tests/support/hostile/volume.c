/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Attacks by quantity: mappings, vdomains, pages, windows, faults, whatever a guest can ask for
 * without end. Requests go out in batches, from pages in a grant map.
 */
#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/le.h"
#include "common/loop.h"
#include "tests/support/hostile/hostile.h"

#define BIG_QUEUE  256u
#define BATCH      (BIG_QUEUE / 2) /* a readable and a writable descriptor each */
#define SLOT       128u            /* of the bulk pages: request, and answer at 64 */
#define MAX_STATUS 10u
#define NOMEM      8

/* Request `i` of a run: its length. */
typedef size_t make_fn(struct hostile *h, uint64_t i, uint8_t *req);

static uint8_t *slot(struct hostile *h, unsigned i)
{
    return hostile_page(h, PAGE_BULK) + SLOT * i;
}

static void put(uint8_t *desc, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
    le64_store(desc, addr);
    le32_store(desc + 8, len);
    le16_store(desc + 12, flags);
    le16_store(desc + 14, next);
}

static void post(struct hostile *h, unsigned i, size_t len)
{
    uint64_t at = (uint64_t)PAGE_BULK * FE_PAGE_SIZE + SLOT * i;
    uint8_t *desc = hostile_page(h, FE_PAGE_DESC), *avail = hostile_page(h, FE_PAGE_DESC + 1);
    struct fe_queue *q = &h->fe.queue[0];

    put(desc + 32 * i, at, (uint32_t)len, 1, (uint16_t)(2 * i + 1));
    put(desc + 32 * i + 16, at + 64, 4, 2, 0);
    le16_store(avail + 4 + 2 * (q->avail % BIG_QUEUE), (uint16_t)(2 * i));
    q->avail++;
}

/* Waits for n answers, and counts what they say. */
static int collect(struct hostile *h, unsigned n, uint64_t count[MAX_STATUS])
{
    uint64_t deadline = loop_now_ms() + FE_WAIT_MS;
    int r = 0;

    while (r >= 0 && n > 0) {
        uint32_t id, len;
        uint64_t now = loop_now_ms();

        if (fe_take_used(&h->fe, 0, &id, &len)) {
            uint8_t status = id < 2 * BATCH && len == 4 ? slot(h, id / 2)[64] : 0xff;

            count[status < MAX_STATUS ? status : MAX_STATUS - 1]++;
            n--;
        } else if (fe_device_status(&h->fe) & S_NEEDS_RESET) {
            return -EIO;
        } else if (now >= deadline) {
            return -ETIMEDOUT;
        } else {
            r = fx_channel_wait(&h->fe.queue[0].channel, 100);
        }
    }
    return r < 0 ? r : 0;
}

/* n requests; how many were answered with which status. */
static int run(struct hostile *h, uint64_t n, make_fn *make, uint64_t count[MAX_STATUS])
{
    int r = 0;

    memset(count, 0, MAX_STATUS * sizeof(count[0]));
    for (uint64_t i = 0; r == 0 && i < n;) {
        unsigned k = 0;

        for (; k < BATCH && i < n; k++, i++) {
            memset(slot(h, k), 0, SLOT);
            post(h, k, make(h, i, slot(h, k)));
        }
        __atomic_thread_fence(__ATOMIC_RELEASE);
        le16_store(hostile_page(h, FE_PAGE_DESC + 1) + 2, h->fe.queue[0].avail);
        r = fx_channel_notify(&h->fe.queue[0].channel);
        if (r == 0)
            r = collect(h, k, count);
    }
    return r;
}

/* A connection whose grant map has the bulk pages and what else there is. */
static int begin(struct hostile *h, uint32_t n_pages)
{
    struct frontend *fe = &h->fe;
    uint32_t verdict = 0;
    int r = hostile_connect(h, BIG_QUEUE);

    if (r == 0)
        r = fe_grant(fe, PAGE_BULK, n_pages, false);
    fe->runs[fe->n_runs++] = (struct fe_run){PAGE_BULK, n_pages, false};
    if (r == 0)
        r = fe_offer_map(fe, &verdict);
    if (r == 0)
        hostile_expect_number(h, "the grant map", verdict, 0);
    return r;
}

static int expect_counter(struct hostile *h, const char *name, uint64_t want)
{
    uint64_t got;
    int r = hostile_counter(h, name, &got);

    if (r == 0)
        hostile_expect_number(h, name, got, want);
    return r;
}

static size_t make_attach(uint32_t vdomain, uint32_t endpoint, uint8_t *req)
{
    req[0] = 1;
    le32_store(req + 4, vdomain);
    le32_store(req + 8, endpoint);
    return 20;
}

static size_t make_map(uint32_t vdomain, uint64_t iova, uint64_t address, uint8_t *req)
{
    req[0] = 3;
    le32_store(req + 4, vdomain);
    le64_store(req + 8, iova);
    le64_store(req + 16, iova + FE_PAGE_SIZE - 1);
    le64_store(req + 24, address);
    le32_store(req + 32, 3);
    return 36;
}

/* --- mappings --------------------------------------------------------------------------------- */

/* Every other page from 2^40 on, so that no two are neighbours and none is reserved; in no order.
 */
static size_t mapping(struct hostile *h UNUSED, uint64_t i, uint8_t *req)
{
    uint64_t scattered = i * 0x9e3779b1u % (1u << 24);

    return make_map(1, (1ull << 40) + (scattered << 13), (uint64_t)PAGE_BULK * FE_PAGE_SIZE, req);
}

/* `count` mappings, which is all that there may be (max-mappings); then one more. */
static int mappings(struct hostile *h)
{
    uint64_t n = h->count ? h->count : 1u << 20, count[MAX_STATUS], started;
    uint8_t status = 0xff;
    int r = begin(h, N_BULK);

    if (r == 0)
        r = hostile_attach(h, 1, ENDPOINT, &status);
    started = loop_now_ms();
    if (r == 0)
        r = run(h, n + 1, mapping, count);
    if (r)
        return r;
    hostile_expect_number(h, "MAPs that are OK", count[0], n);
    hostile_expect_number(h, "MAPs that are NOMEM", count[NOMEM], 1);
    snprintf(h->said, sizeof(h->said), "%" PRIu64 " mappings in %" PRIu64 " ms", n,
             loop_now_ms() - started);
    r = expect_counter(h, "mappings", n);
    if (r == 0)
        r = hostile_unmap(h, 1, 0, UINT64_MAX, &status);
    if (r == 0)
        hostile_expect_number(h, "one UNMAP of all", status, 0);
    if (r == 0)
        r = expect_counter(h, "mappings", 0);
    if (r == 0)
        r = run(h, 1000, mapping, count);
    if (r == 0)
        hostile_expect_number(h, "MAPs afterwards", count[0], 1000);
    return r;
}

/* The same, and the device is left to get rid of them. */
static int mappings_left(struct hostile *h)
{
    uint64_t n = h->count ? h->count : 50000, count[MAX_STATUS];
    uint8_t status = 0xff;
    int r = begin(h, N_BULK);

    if (r == 0)
        r = hostile_attach(h, 1, ENDPOINT, &status);
    if (r == 0)
        r = run(h, n, mapping, count);
    if (r == 0)
        hostile_expect_number(h, "MAPs that are OK", count[0], n);
    return r;
}

/* --- vdomains --------------------------------------------------------------------------------- */

static size_t attach_two(struct hostile *h UNUSED, uint64_t i, uint8_t *req)
{
    return make_attach((uint32_t)(i * 65537), ENDPOINT + i % 2, req);
}

static int attaches(struct hostile *h)
{
    uint64_t n = h->count ? h->count : 65536, count[MAX_STATUS];
    int r = begin(h, N_BULK);

    if (r == 0)
        r = run(h, n, attach_two, count);
    if (r == 0)
        hostile_expect_number(h, "ATTACHes that are OK", count[0], n);
    return r ? r : expect_counter(h, "vdomains", 2);
}

#define FIRST_OF_MANY 0x1000u

/* 0x1000 and on; the last is the one that every device has. */
static uint32_t endpoint_of(const struct hostile *h, uint64_t i)
{
    return i + 1 == h->count ? ENDPOINT : FIRST_OF_MANY + (uint32_t)i;
}

static size_t attach_each(struct hostile *h, uint64_t i, uint8_t *req)
{
    return make_attach((uint32_t)i, endpoint_of(h, i), req);
}

static size_t map_each(struct hostile *h UNUSED, uint64_t i, uint8_t *req)
{
    return make_map((uint32_t)i, 0x1000 * i, (uint64_t)PAGE_BULK * FE_PAGE_SIZE, req);
}

static size_t detach_each(struct hostile *h, uint64_t i, uint8_t *req)
{
    req[0] = 2;
    le32_store(req + 4, (uint32_t)i);
    le32_store(req + 8, endpoint_of(h, i));
    return 20;
}

/* `count` endpoints, which the administrator has added: each in its own vdomain. */
static int endpoints(struct hostile *h)
{
    uint64_t count[MAX_STATUS];
    int r = begin(h, N_BULK);

    if (r == 0)
        r = run(h, h->count, attach_each, count);
    if (r == 0)
        hostile_expect_number(h, "ATTACHes that are OK", count[0], h->count);
    if (r == 0)
        r = run(h, h->count, map_each, count);
    if (r == 0)
        hostile_expect_number(h, "MAPs that are OK", count[0], h->count);
    if (r == 0)
        r = expect_counter(h, "vdomains", h->count);
    if (r == 0)
        r = run(h, h->count / 2, detach_each, count);
    if (r == 0)
        hostile_expect_number(h, "DETACHes that are OK", count[0], h->count / 2);
    return r ? r : expect_counter(h, "vdomains", h->count - h->count / 2);
}

/* --- pages ------------------------------------------------------------------------------------ */

static size_t map_one_page(struct hostile *h, uint64_t i, uint8_t *req)
{
    return make_map(1, (1ull << 40) + 0x2000 * i, hostile_address(h, PAGE_REST + (uint32_t)i), req);
}

/* One grant per MAP until the lease of pages or the windows are used up; NOMEM then, and all comes
 * back with an UNMAP. */
static int budget(struct hostile *h)
{
    uint64_t n = h->fe.n_pages - PAGE_REST, count[MAX_STATUS], first = 0;
    uint8_t status = 0xff;
    int r = begin(h, N_BULK);

    if (r == 0)
        r = fe_grant(&h->fe, PAGE_REST, (uint32_t)n, false);
    for (unsigned round = 0; r == 0 && round < 2; round++) {
        r = hostile_attach(h, 1, ENDPOINT, &status);
        if (r == 0)
            r = run(h, n, map_one_page, count);
        if (r)
            break;
        hostile_expect_number(h, "answers other than OK and NOMEM", n - count[0] - count[NOMEM], 0);
        if (round == 0)
            first = count[0];
        hostile_expect_number(h, "as many as the first time", count[0], first);
        if (count[0] == n)
            hostile_wrong(h, "no limit was met with %" PRIu64 " pages", n);
        r = hostile_unmap(h, 1, 0, UINT64_MAX, &status);
    }
    snprintf(h->said, sizeof(h->said), "%" PRIu64 " of %" PRIu64 " pages", first, n);
    return r;
}

/* The same in large pieces: the lease and nothing else is the limit. */
static int budget_large(struct hostile *h)
{
    uint32_t n = (uint32_t)(h->fe.n_pages - PAGE_REST), got = 0;
    uint8_t status = 0;
    int r = begin(h, N_BULK);

    if (r == 0)
        r = hostile_attach(h, 1, ENDPOINT, &status);
    if (r == 0)
        r = fe_grant(&h->fe, PAGE_REST, n, false);
    for (uint32_t i = 0; r == 0 && status == 0 && i + 64 <= n; i += 64) {
        r = hostile_map(h, 1, (1ull << 40) + 4096ull * i, hostile_address(h, PAGE_REST + i),
                        64 * 4096, &status);
        got += status == 0 ? 64 : 0;
    }
    if (r == 0 && status == 0)
        hostile_wrong(h, "no limit was met with %u pages", n);
    if (r == 0)
        r = hostile_attach(h, 1, ENDPOINT, &status);
    if (r == 0)
        hostile_expect_number(h, "other requests with nothing left", status, 0);
    snprintf(h->said, sizeof(h->said), "%u pages", got);
    return r;
}

/* --- faults ----------------------------------------------------------------------------------- */

/* All reports that are to be had: those that wait come as buffers go back. */
static int drain(struct hostile *h, uint64_t *seen)
{
    uint64_t before;
    int r;

    do {
        uint8_t report[24];

        before = *seen;
        while ((r = fe_event(&h->fe, 0, report)) == 0)
            ++*seen;
        if (r == -ETIMEDOUT)
            r = hostile_barrier(h);
    } while (r == 0 && *seen > before);
    return r;
}

/* DMA outside of all mappings, more than there are event buffers and places in the queue. */
static int faults(struct hostile *h)
{
    uint64_t n = h->count ? h->count : 600, seen = 0;
    int r = hostile_connect(h, QUEUE_SIZE);

    for (uint64_t i = 0; r >= 0 && i < n; i++) {
        r = hostile_dma(h, 0x1000 * i);
        if (r == 0)
            hostile_wrong(h, "DMA outside of any mapping was carried out");
    }
    if (r >= 0)
        r = drain(h, &seen);
    if (r == 0)
        r = expect_counter(h, "faults_lost", n < 256 + QUEUE_SIZE ? 0 : n - 256 - QUEUE_SIZE);
    hostile_expect_number(h, "reports: a ring of buffers, and those that waited", seen,
                          n < 256 + QUEUE_SIZE ? n : 256 + QUEUE_SIZE);
    snprintf(h->said, sizeof(h->said), "%" PRIu64 " faults, %" PRIu64 " reports", n, seen);
    return r;
}

const struct attack attacks_volume[] = {
    {"mappings", SPLIT, mappings, "as many mappings as there may be, and one more", false},
    {"mappings-left", SPLIT, mappings_left, "mappings that are left to the device", false},
    {"attaches", SPLIT, attaches, "ATTACHes of two endpoints to ever other vdomains", false},
    {"budget", SPLIT, budget, "pages until the lease is used up, one by one", false},
    {"budget-large", SPLIT, budget_large, "pages until the lease is used up", false},
    {"faults", SPLIT, faults, "a fault storm without event buffers", false},
    {"endpoints", SPLIT, endpoints, "many endpoints in as many vdomains", false},
    {.name = NULL},
};
