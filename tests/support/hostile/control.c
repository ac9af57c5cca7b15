/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Attacks on a running connection from beside the rings: control page, grant map, event channels,
 * grants that are taken back.
 */
#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "common/le.h"
#include "tests/support/hostile/hostile.h"

#define GRANT (1ull << 63)
/* Words of the control page (docs/protocol.md, section 4). */
#define STATUS_SEQ     0x00c
#define MAP_REF        0x018
#define MAP_GENERATION 0x01c
#define QUEUE          0x040
#define QUEUE_ACK      0x128

static uint8_t *control(struct hostile *h)
{
    return hostile_page(h, FE_PAGE_CONTROL);
}

/* --- the page --------------------------------------------------------------------------------- */

/* The frontend's half as a driver that has just connected has it, but for the number of its last
 * status: the same one would be no change. */
static int restore(struct hostile *h)
{
    uint32_t seq = le32_load(control(h) + STATUS_SEQ);

    memset(control(h), 0, 0x100);
    le32_store(control(h) + STATUS_SEQ, seq);
    le32_store(control(h), 0x31495658);
    le32_store(control(h) + 4, 1);
    return hostile_again(h);
}

/* Each byte of the page in turn, with what the device does about it in between. */
static int control_bytes(struct hostile *h)
{
    static const uint8_t values[] = {0xff, 0x05};
    int r = hostile_connect(h, QUEUE_SIZE);

    for (unsigned v = 0; r == 0 && v < ARRAY_SIZE(values); v++) {
        for (unsigned at = 0; r == 0 && at < FE_PAGE_SIZE; at++) {
            __atomic_store_n(control(h) + at, values[v], __ATOMIC_RELAXED);
            h->variants++;
            /* Behind what has a meaning, the device need not look at each. */
            if (at < 0x180 || at % 64 == 0)
                r = fx_channel_notify(&h->fe.control);
            if (r == 0 && at < 0x180 && at % 4 == 3)
                r = hostile_barrier(h);
        }
        if (r == 0)
            r = restore(h);
    }
    return r;
}

static int control_random(struct hostile *h)
{
    uint64_t n = h->count ? h->count : 100;
    int r = hostile_connect(h, QUEUE_SIZE);

    for (uint64_t i = 0; r == 0 && i < n; i++) {
        for (unsigned at = 0; at < 0x200; at += 4)
            le32_store(control(h) + at, hostile_random(h) >> (hostile_random(h) & 31));
        h->variants++;
        r = fx_channel_notify(&h->fe.control);
        if (r == 0)
            r = hostile_barrier(h);
        if (r == 0 && i % 16 == 0)
            r = restore(h);
    }
    return r ? r : restore(h);
}

/* All status bytes, in an order that no driver has. */
static int control_status(struct hostile *h)
{
    int r = hostile_connect(h, QUEUE_SIZE);

    for (unsigned i = 0; r == 0 && i < 512; i++) {
        uint8_t status = 0, want = (uint8_t)(i * 37 + i / 256);

        h->variants++;
        r = fe_status(&h->fe, want, &status);
        if (r == 0 && want == 0 && status != 0)
            hostile_wrong(h, "a reset leaves status %#x", status);
        if (r == 0 && (status & 4) && !(status & 8))
            hostile_wrong(h, "status %#x: DRIVER_OK without FEATURES_OK", status);
        if (r == 0 && i % 7 == 0)
            r = fe_status(&h->fe, 0, &status);
    }
    return r ? r : hostile_again(h);
}

/* Resets and starts, bypass, commands to queues, over and over. */
static int control_storm(struct hostile *h)
{
    uint64_t n = h->count ? h->count : 100;
    int r = hostile_connect(h, QUEUE_SIZE);

    for (uint64_t i = 0; r == 0 && i < n; i++) {
        uint32_t verdict;
        uint8_t status;

        h->variants++;
        r = hostile_again(h);
        if (r == 0)
            r = fe_bypass(&h->fe, (uint32_t)i % 3, &verdict);
        if (r == 0)
            r = fe_queue_reset(&h->fe, 0, &verdict);
        if (r == 0)
            r = fe_queue_enable(&h->fe, 0, 0, &verdict);
        if (r == 0)
            r = hostile_attach(h, (uint32_t)i, ENDPOINT, &status);
    }
    if (r == 0) {
        uint32_t verdict;

        r = fe_bypass(&h->fe, 0, &verdict);
    }
    return r;
}

/* A page that another thread writes to while the device reads it. */
struct scribbler {
    uint8_t *page;
    unsigned from, to;
    bool stop;
};

static void *scribble(void *ctx)
{
    struct scribbler *s = ctx;
    uint32_t x = 2463534242u;

    while (!__atomic_load_n(&s->stop, __ATOMIC_RELAXED)) {
        x ^= x << 13, x ^= x >> 17, x ^= x << 5;
        __atomic_store_n(s->page + s->from + x % (s->to - s->from), (uint8_t)(x >> 24),
                         __ATOMIC_RELAXED);
    }
    return NULL;
}

static int race_control(struct hostile *h)
{
    /* Not the status words, which carry the barrier. */
    struct scribbler s = {.page = control(h), .from = 0x10, .to = 0xb0};
    uint64_t n = h->count ? h->count : 200;
    pthread_t thread;
    int r = hostile_connect(h, QUEUE_SIZE);

    if (r == 0)
        r = -pthread_create(&thread, NULL, scribble, &s);
    if (r)
        return r;
    for (uint64_t i = 0; r == 0 && i < n; i++) {
        h->variants++;
        r = fx_channel_notify(&h->fe.control);
        if (r == 0)
            r = hostile_barrier(h);
    }
    __atomic_store_n(&s.stop, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    return r ? r : restore(h);
}

/* --- queue commands --------------------------------------------------------------------------- */

static int enable_at(struct hostile *h, const char *label, uint64_t desc, uint64_t driver,
                     uint64_t device, uint32_t size, uint32_t want)
{
    const uint64_t area[3] = {desc, driver, device};
    uint32_t seq = le32_load(control(h) + QUEUE + 4) + 1, verdict;
    int r;

    le32_store(control(h) + QUEUE, 2);
    le32_store(control(h) + QUEUE + 8, size);
    for (unsigned i = 0; i < 3; i++)
        le64_store(control(h) + QUEUE + 0x10 + 8 * i, area[i]);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    le32_store(control(h) + QUEUE + 4, seq);
    r = fx_channel_notify(&h->fe.control);
    if (r == 0)
        r = hostile_barrier(h);
    verdict = le32_load(control(h) + QUEUE_ACK + 4);
    if (r == 0 && le32_load(control(h) + QUEUE_ACK) != seq)
        hostile_wrong(h, "%s: not answered", label);
    if (r == 0)
        hostile_expect_number(h, label, verdict, want);
    return r;
}

/* The rings of a queue that is enabled anew, wherever they should not be. */
static int queue_commands(struct hostile *h)
{
    uint64_t good[3];
    uint32_t verdict = 0;
    int r = hostile_connect(h, QUEUE_SIZE);

    for (unsigned i = 0; i < 3; i++)
        good[i] = hostile_address(h, FE_PAGE_DESC + i);
    if (r == 0)
        r = enable_at(h, "enable of a running queue", good[0], good[1], good[2], 16, 1);
    if (r == 0)
        r = fe_queue_reset(&h->fe, 0, &verdict);
    if (r == 0)
        r = enable_at(h, "outside", 0x1000, good[1], good[2], 16, 2);
    if (r == 0)
        r = enable_at(h, "never granted", good[0], GRANT | 0x12345000, good[2], 16, 2);
    if (r == 0)
        r = enable_at(h, "read-only", good[0], good[1], good[1], 16, 2);
    if (r == 0)
        r = enable_at(h, "misaligned", good[0] + 1, good[1], good[2], 16, 2);
    if (r == 0)
        r = enable_at(h, "wraps", UINT64_MAX - 15, good[1], good[2], 16, 2);
    if (r == 0)
        r = enable_at(h, "longer than its page", good[0], good[1], good[2], 1024, 2);
    if (r == 0)
        r = enable_at(h, "too large", good[0], good[1], good[2], 2048, 2);
    /* The queue is unmapped, so its grant can go. */
    if (r == 0)
        r = fe_revoke(&h->fe, FE_PAGE_DESC + 2, 1);
    if (r == 0)
        r = enable_at(h, "revoked", good[0], good[1], good[2], 16, 2);
    if (r == 0)
        r = fe_grant(&h->fe, FE_PAGE_DESC + 2, 1, false);
    if (r == 0)
        hostile_expect_number(h, "the reference", hostile_address(h, FE_PAGE_DESC + 2), good[2]);
    if (r == 0)
        r = fe_queue_enable(&h->fe, 0, 16, &verdict);
    if (r == 0)
        hostile_expect_number(h, "a sound one after all", verdict, 0);
    return r;
}

/* --- grant map -------------------------------------------------------------------------------- */

struct entry {
    uint64_t address;
    uint32_t ref, pages, flags;
};

static uint8_t *directory(struct hostile *h)
{
    return hostile_page(h, FE_PAGE_DIRECTORY);
}

/* A directory page with these runs; `break_at` changes a byte of it afterwards, -1: none. */
static int offer(struct hostile *h, const char *label, const struct entry *e, unsigned n,
                 int break_at, uint32_t right)
{
    uint32_t generation = le32_load(control(h) + MAP_GENERATION) + 1, verdict;
    int r;

    memset(directory(h), 0, FE_PAGE_SIZE);
    le32_store(directory(h), 0x44495658);
    le32_store(directory(h) + 4, 1);
    le32_store(directory(h) + 8, generation);
    le32_store(directory(h) + 12, n);
    for (unsigned i = 0; i < n && i < 169; i++) {
        uint8_t *at = directory(h) + 32 + 24 * i;

        le64_store(at, e[i].address);
        le32_store(at + 8, e[i].ref);
        le32_store(at + 12, e[i].pages);
        le32_store(at + 16, e[i].flags);
    }
    if (break_at >= 0)
        directory(h)[break_at] ^= 0x5a;
    le32_store(control(h) + MAP_REF, h->fe.refs[FE_PAGE_DIRECTORY]);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    le32_store(control(h) + MAP_GENERATION, generation);
    r = fx_channel_notify(&h->fe.control);
    if (r == 0)
        r = hostile_barrier(h);
    verdict = le32_load(control(h) + 0x11c);
    if (r == 0 && le32_load(control(h) + 0x118) != generation)
        hostile_wrong(h, "%s: not answered", label);
    if (r == 0)
        hostile_expect(h, label, 1u << verdict, right);
    return r;
}

#define TAKEN     (1u << 0)
#define MALFORMED (1u << 1)
#define BUSY      (1u << 2)
#define TOO_LARGE (1u << 3)

static int map_directory(struct hostile *h)
{
    struct entry e = {.address = 0x100000, .pages = 4}, many[170];
    int r = hostile_connect(h, QUEUE_SIZE);

    if (r == 0)
        r = fe_grant(&h->fe, PAGE_SPARE, 8, false);
    e.ref = h->fe.refs[PAGE_SPARE];
    for (unsigned i = 0; i < ARRAY_SIZE(many); i++)
        many[i] = e;
    for (int at = 0; r == 0 && at < 32; at++)
        r = offer(h, "a byte of the head", &e, 1, at, MALFORMED | TOO_LARGE);
    if (r == 0)
        r = offer(h, "a directory that is sound", &e, 1, -1, TAKEN);
    for (int at = 32; r == 0 && at < 56; at++) /* some of them are still addresses */
        r = offer(h, "a byte of a run", &e, 1, at, TAKEN | MALFORMED | TOO_LARGE);
    if (r == 0)
        r = offer(h, "170 runs on a page", many, ARRAY_SIZE(many), -1, MALFORMED);
    e.pages = UINT32_MAX;
    if (r == 0)
        r = offer(h, "references that wrap", &e, 1, -1, MALFORMED | TOO_LARGE);
    e.pages = 0;
    if (r == 0)
        r = offer(h, "an empty run", &e, 1, -1, MALFORMED);
    e.pages = 4;
    e.ref = 0;
    if (r == 0)
        r = offer(h, "reference 0", &e, 1, -1, MALFORMED);
    e.ref = h->fe.refs[PAGE_SPARE];
    e.address = GRANT - 0x1000;
    if (r == 0)
        r = offer(h, "over the end", &e, 1, -1, MALFORMED);
    return r;
}

static int map_chain(struct hostile *h)
{
    struct entry same[169];
    int r = hostile_connect(h, QUEUE_SIZE);

    for (unsigned i = 0; i < ARRAY_SIZE(same); i++)
        same[i] = (struct entry){0x100000ull * (i + 1), 8 + i, 1, 0};
    if (r == 0)
        r = offer(h, "runs that were never granted", same, 169, -1, TAKEN);
    for (unsigned i = 0; i < ARRAY_SIZE(same); i++)
        same[i].address = 0x100000;
    if (r == 0)
        r = offer(h, "169 runs at one address", same, 169, -1, MALFORMED);
    if (r)
        return r;
    /* A page that continues with itself: next is at 0x10. */
    for (int shift = 0; r == 0 && shift < 4; shift++) {
        uint32_t generation = le32_load(control(h) + MAP_GENERATION) + 1;

        memset(directory(h), 0, FE_PAGE_SIZE);
        le32_store(directory(h), 0x44495658);
        le32_store(directory(h) + 4, 1);
        le32_store(directory(h) + 8, generation);
        le32_store(directory(h) + 0x10, shift ? 1u << (10 * shift) : h->fe.refs[FE_PAGE_DIRECTORY]);
        __atomic_thread_fence(__ATOMIC_RELEASE);
        le32_store(control(h) + MAP_GENERATION, generation);
        r = fx_channel_notify(&h->fe.control);
        if (r == 0)
            r = hostile_barrier(h);
        if (r == 0)
            hostile_expect(h, "a directory without an end", 1u << le32_load(control(h) + 0x11c),
                           MALFORMED | TOO_LARGE);
    }
    return r;
}

/* Runs whose grants go before they are used, and while they are. */
static int map_revoked(struct hostile *h)
{
    struct entry e = {.address = 0x100000, .pages = 8};
    uint8_t status = 0xff;
    int r = hostile_connect(h, QUEUE_SIZE);

    if (r == 0)
        r = fe_grant(&h->fe, PAGE_SPARE, 8, false);
    e.ref = h->fe.refs[PAGE_SPARE];
    if (r == 0)
        r = offer(h, "sound", &e, 1, -1, TAKEN);
    if (r == 0)
        r = hostile_attach(h, 1, ENDPOINT, &status);
    if (r == 0)
        r = hostile_map(h, 1, 0, 0x100000, 0x8000, &status);
    if (r == 0)
        hostile_expect_number(h, "MAP", status, 0);
    if (r == 0)
        hostile_expect_number(h, "revoking what is mapped",
                              (uint64_t)-fe_revoke(&h->fe, PAGE_SPARE, 8), EBUSY);
    if (r == 0)
        r = offer(h, "a map without a run in use", NULL, 0, -1, BUSY);
    if (r == 0)
        r = hostile_dma(h, 0x1000);
    if (r >= 0)
        hostile_expect_number(h, "DMA all the while", (uint64_t)r, 0);
    if (r >= 0)
        r = hostile_unmap(h, 1, 0, 0x7fff, &status);
    if (r == 0)
        r = offer(h, "a map without it", NULL, 0, -1, TAKEN);
    if (r == 0)
        r = offer(h, "with it again", &e, 1, -1, TAKEN);
    if (r == 0)
        r = fe_revoke(&h->fe, PAGE_SPARE + 4, 4);
    if (r == 0)
        r = hostile_map(h, 1, 0, 0x100000, 0x8000, &status);
    if (r == 0)
        hostile_expect_number(h, "MAP of what was revoked", status != 0, 1);
    if (r == 0)
        r = hostile_map(h, 1, 0, 0x100000, 0x1000, &status);
    return r;
}

/* --- grants and channels ---------------------------------------------------------------------- */

/* The hypervisor keeps a mapped grant alive; what is not mapped is FAULT. */
static int grants_revoked(struct hostile *h)
{
    const uint32_t pages[] = {FE_PAGE_CONTROL, FE_PAGE_DESC, FE_PAGE_DESC + 1, FE_PAGE_DESC + 5,
                              PAGE_SPARE};
    uint8_t status = 0xff;
    int r = hostile_sound(h);

    for (unsigned i = 0; r == 0 && i < ARRAY_SIZE(pages); i++)
        hostile_expect_number(h, "revoking what is mapped",
                              (uint64_t)-fe_revoke(&h->fe, pages[i], 1), EBUSY);
    if (r == 0)
        r = hostile_dma(h, 0x1000);
    if (r >= 0)
        hostile_expect_number(h, "DMA all the while", (uint64_t)r, 0);
    if (r >= 0)
        r = hostile_unmap(h, 1, 0, 0x3fff, &status);
    if (r == 0)
        r = fe_revoke(&h->fe, PAGE_SPARE + 3, 1);
    if (r == 0)
        r = hostile_map(h, 1, 0, GRANT | (hostile_address(h, PAGE_SPARE)), 0x4000, &status);
    if (r == 0)
        hostile_expect_number(h, "MAP with a page that is revoked is FAULT", status, 7);
    return r;
}

/* A notification can go nowhere; what is on the ring is seen with the next one that comes. */
static int channels_closed(struct hostile *h)
{
    uint8_t status = 0xff;
    int r = 0;

    for (unsigned which = 0; r == 0 && which < 3; which++) {
        struct fx_channel *c;

        r = hostile_connect(h, QUEUE_SIZE);
        if (r == 0)
            r = hostile_attach(h, 1, ENDPOINT, &status);
        c = which == 2 ? &h->fe.control : &h->fe.queue[which].channel;
        if (r == 0)
            r = fx_guest_unbind(h->fe.fx, c);
        c->port = 0;
        h->variants++;
        /* Faults and answers that can no longer be announced. */
        for (unsigned i = 0; r == 0 && i < 20; i++)
            r = hostile_dma(h, 0x5000) < 0 ? -EIO : 0;
        if (r == 0 && which == 1)
            r = hostile_attach(h, 1, ENDPOINT, &status);
        if (r == 0 && status != 0)
            hostile_wrong(h, "ATTACH without an event channel for faults: %u", status);
        if (r == 0)
            r = hostile_close(h);
    }
    return r;
}

/* One pending bit per port is all that a storm can be. */
static int kick_storm(struct hostile *h)
{
    uint64_t n = h->count ? h->count : 100000;
    uint8_t status;
    int r = hostile_connect(h, QUEUE_SIZE);

    for (uint64_t i = 0; r == 0 && i < n; i++) {
        r = fx_channel_notify(&h->fe.queue[0].channel);
        if (r == 0)
            r = fx_channel_notify(&h->fe.queue[1].channel);
        if (r == 0)
            r = fx_channel_notify(&h->fe.control);
        if (r == 0 && i % 1000 == 0)
            r = hostile_attach(h, 1, ENDPOINT, &status);
    }
    h->variants = 3;
    snprintf(h->said, sizeof(h->said), "%" PRIu64 " kicks on each", n);
    return r;
}

const struct attack attacks_control[] = {
    {"control-bytes", SPLIT, control_bytes, "garbage in each byte of the control page", false},
    {"control-random", BOTH, control_random, "control pages of random words", false},
    {"control-status", SPLIT, control_status, "device status in any order", false},
    {"control-storm", BOTH, control_storm, "resets, bypass and queue resets without end", false},
    {"race-control", SPLIT, race_control, "a control page that changes while it is read", false},
    {"queue-commands", BOTH, queue_commands, "queues enabled anew on every wrong ring", false},
    {"map-directory", SPLIT, map_directory, "garbage in a grant-map directory", false},
    {"map-chain", SPLIT, map_chain, "directories without an end", false},
    {"map-revoked", SPLIT, map_revoked, "a grant map's pages revoked", false},
    {"grants-revoked", BOTH, grants_revoked, "grants revoked while mapped", false},
    {"channels-closed", BOTH, channels_closed, "event channels closed", false},
    {"kick-storm", SPLIT, kick_storm, "kick storms", false},
    {.name = NULL},
};
