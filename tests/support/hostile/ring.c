/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Attacks by what lies in a ring: descriptors, indices, bytes that change while they are read. Each
 * variant begins with a fresh ring, in slot 0.
 */
#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "common/le.h"
#include "tests/support/hostile/hostile.h"

#define NEXT     1u
#define WRITE    2u
#define INDIRECT 4u
#define AVAIL    0x80u
#define USED     0x8000u
#define GRANT    (1ull << 63)
#define ANY      (ANSWERED | RETURNED | NEEDS_RESET)

struct desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags, next; /* packed: the id */
};

static uint8_t *ring(struct hostile *h, unsigned queue, unsigned part)
{
    return hostile_page(h, FE_PAGE_DESC + 3 * queue + part);
}

static void put(uint8_t *table, unsigned i, const struct desc *d)
{
    le64_store(table + 16 * i, d->addr);
    le32_store(table + 16 * i + 8, d->len);
    le16_store(table + 16 * i + 12, d->flags);
    le16_store(table + 16 * i + 14, d->next);
}

/* In packed slots, flags and id change places; all become available, the first one last. */
static void put_packed(struct hostile *h, const struct desc *d, unsigned n)
{
    for (unsigned i = n; i-- > 0;) {
        struct desc slot = {d[i].addr, d[i].len, d[i].next, (uint16_t)(d[i].flags | AVAIL)};

        put(ring(h, 0, 0), i, &slot);
        __atomic_thread_fence(__ATOMIC_RELEASE);
    }
}

static void put_avail(struct hostile *h, unsigned slot, uint16_t head, uint16_t idx)
{
    le16_store(ring(h, 0, 1) + 4 + 2 * slot, head);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    le16_store(ring(h, 0, 1) + 2, idx);
}

/* A table for an indirect descriptor, in its own page. Packed ones have ids, too. */
static void put_table(struct hostile *h, const struct desc *d, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        struct desc slot = d[i];

        if (h->packed)
            slot = (struct desc){d[i].addr, d[i].len, 0, d[i].flags};
        put(hostile_page(h, PAGE_SPARE), i, &slot);
    }
}

/* Makes d[0] .. d[n - 1] available as one buffer, and says what came of it. */
static int fire(struct hostile *h, const char *label, const struct desc *d, unsigned n,
                unsigned right)
{
    unsigned got;
    int r;

    if (h->packed) {
        put_packed(h, d, n);
    } else {
        for (unsigned i = 0; i < n; i++)
            put(ring(h, 0, 0), i, &d[i]);
        put_avail(h, 0, 0, 1);
    }
    r = hostile_kick(h, right & SILENT, &got);
    if (r == 0)
        hostile_expect(h, label, got, right);
    return r ? r : hostile_again(h);
}

/* Connects, with an ATTACH on the request page and pages to play with. */
static int begin(struct hostile *h)
{
    uint8_t *req = hostile_page(h, FE_PAGE_REQUEST);
    int r = hostile_connect(h, QUEUE_SIZE);

    if (r == 0)
        r = fe_grant(&h->fe, PAGE_SPARE, 8, false);
    memset(req, 0, FE_PAGE_SIZE);
    req[0] = 1;
    le32_store(req + 4, 1);
    le32_store(req + 8, ENDPOINT);
    return r;
}

static struct desc readable(struct hostile *h)
{
    return (struct desc){hostile_address(h, FE_PAGE_REQUEST), 20, NEXT, 1};
}

static struct desc writable(struct hostile *h)
{
    return (struct desc){hostile_address(h, FE_PAGE_REQUEST) + ANSWER_AT, 4, WRITE, 0};
}

static struct desc table(struct hostile *h, unsigned n)
{
    return (struct desc){hostile_address(h, PAGE_SPARE), 16 * n, INDIRECT, 0};
}

/* --- the shape of chains ---------------------------------------------------------------------- */

static int loops(struct hostile *h)
{
    struct desc d[QUEUE_SIZE], one;
    int r = begin(h);

    for (unsigned i = 0; i < QUEUE_SIZE; i++) {
        d[i] = readable(h);
        d[i].next = (uint16_t)((i + 1) % QUEUE_SIZE);
    }
    one = d[0];
    one.next = 0;
    put_table(h, d, QUEUE_SIZE);
    if (r == 0)
        r = fire(h, "the whole ring is one chain without an end", d, QUEUE_SIZE, NEEDS_RESET);
    if (r || h->packed)
        return r;
    r = fire(h, "a descriptor that follows itself", &one, 1, NEEDS_RESET);
    d[1].next = 0;
    if (r == 0)
        r = fire(h, "two that follow each other", d, 2, NEEDS_RESET);
    one = table(h, QUEUE_SIZE);
    return r ? r : fire(h, "a loop in an indirect table", &one, 1, NEEDS_RESET);
}

/* The request in pieces of a byte, as many as there may be: this one is sound. */
static int longest(struct hostile *h)
{
    struct desc d[QUEUE_SIZE], t[QUEUE_SIZE];
    unsigned n = h->packed ? 0 : QUEUE_SIZE - 1;

    for (unsigned i = 0; i < n; i++) {
        d[i] = readable(h);
        d[i].addr += i;
        d[i].len = 1;
        d[i].next = (uint16_t)(i + 1);
    }
    d[n] = table(h, QUEUE_SIZE);
    for (unsigned i = 0; i < QUEUE_SIZE; i++) {
        bool last = i + 1 == QUEUE_SIZE;

        t[i] = last ? writable(h) : readable(h);
        t[i].addr += last ? 0 : n + i;
        t[i].len = last ? 4 : i == QUEUE_SIZE - 2 ? 20 - n : 1;
        t[i].next = (uint16_t)(i + 1);
    }
    put_table(h, t, QUEUE_SIZE);
    return fire(h, "as long as it may be", d, n + 1, ANSWERED);
}

static int too_long(struct hostile *h)
{
    struct desc d[2] = {{.addr = 0}};
    int r = begin(h);

    if (r == 0)
        r = longest(h);
    d[0] = table(h, QUEUE_SIZE + 1);
    if (r == 0)
        r = fire(h, "a table longer than the queue", d, 1, NEEDS_RESET);
    d[0] = table(h, 0x0fffffffu);
    if (r == 0)
        r = fire(h, "a table of 4 GiB", d, 1, NEEDS_RESET);
    d[0] = readable(h);
    if (r == 0 && h->packed)
        r = fire(h, "a chain into a slot that was never made available", d, 1, NEEDS_RESET);
    return r;
}

static int outside(struct hostile *h)
{
    static const uint16_t wrong[] = {QUEUE_SIZE, QUEUE_SIZE + 1, 0x7fff, 0xffff};
    int r = begin(h);

    for (unsigned i = 0; r == 0 && i < ARRAY_SIZE(wrong); i++) {
        struct desc d = readable(h), t = table(h, 2);
        unsigned got;

        d.next = wrong[i];
        put_table(h, &d, 1);
        r = fire(h, "next outside the ring", &d, 1, NEEDS_RESET);
        if (r == 0)
            r = fire(h, "next outside the table", &t, 1, NEEDS_RESET);
        put_avail(h, 0, wrong[i], 1);
        if (r == 0)
            r = hostile_kick(h, false, &got);
        if (r == 0)
            hostile_expect(h, "head outside the ring", got, NEEDS_RESET);
        if (r == 0)
            r = hostile_again(h);
    }
    return r;
}

static int lengths(struct hostile *h)
{
    struct desc d[QUEUE_SIZE];
    int r = begin(h);
    const struct desc in = readable(h), out = writable(h);

    for (unsigned i = 0; i < QUEUE_SIZE; i++)
        d[i] = (struct desc){in.addr, UINT32_MAX, NEXT, (uint16_t)(i + 1)};
    d[QUEUE_SIZE - 1].flags = 0;
    if (r == 0)
        r = fire(h, "16 times 4 GiB", d, QUEUE_SIZE, NEEDS_RESET);
    d[0] = in, d[1] = out;
    d[0].len = UINT32_MAX;
    if (r == 0)
        r = fire(h, "4 GiB and an answer", d, 2, NEEDS_RESET);
    d[0].len = UINT32_MAX - 4;
    if (r == 0)
        r = fire(h, "just what a length can say", d, 2, ANSWERED);
    d[0] = in;
    d[1].len = UINT32_MAX - 20;
    if (r == 0)
        r = fire(h, "4 GiB for the answer", d, 2, ANSWERED);
    d[1].len = 0;
    if (r == 0)
        r = fire(h, "no room for the answer", d, 2, RETURNED);
    d[0].len = 0;
    d[1].len = 4;
    if (r == 0)
        r = fire(h, "an empty request", d, 2, RETURNED);
    d[0].addr = UINT64_MAX;
    if (r == 0)
        r = fire(h, "an empty request nowhere", d, 2, RETURNED);
    d[1].len = 0;
    return r ? r : fire(h, "nothing at all", d, 2, RETURNED);
}

static int indirect(struct hostile *h)
{
    static const uint32_t odd[] = {0, 1, 15, 17, 33};
    struct desc t[2] = {{.addr = 0}}, d[2] = {{.addr = 0}};
    int r = begin(h);

    for (unsigned i = 0; r == 0 && i < ARRAY_SIZE(odd); i++) {
        d[0] = table(h, 0);
        d[0].len = odd[i];
        r = fire(h, "a table of an odd size", d, 1, NEEDS_RESET);
    }
    d[0] = table(h, 1);
    put_table(h, d, 1);
    /* The flag means nothing in a packed table (virtio 1.3, 2.8.7): a request like any other. */
    if (r == 0)
        r = fire(h, "a table that refers to itself", d, 1, h->packed ? RETURNED : NEEDS_RESET);
    t[0] = readable(h), t[1] = writable(h);
    put_table(h, t, 2);
    d[0] = table(h, 2), d[1] = writable(h);
    d[0].flags |= NEXT;
    d[0].next = 1;
    if (r == 0)
        r = fire(h, "a table with a successor", d, 2, NEEDS_RESET);
    d[0] = readable(h), d[1] = table(h, 2);
    put_table(h, &t[1], 1);
    d[1].len = 16;
    /* Split rings allow a table at the end of a chain, packed ones do not. */
    if (r == 0)
        r = fire(h, "a table at the end of a chain", d, 2, h->packed ? NEEDS_RESET : ANSWERED);
    d[0] = (struct desc){0x1000, 32, INDIRECT, 0};
    if (r == 0)
        r = fire(h, "a table outside of memory", d, 1, NEEDS_RESET);
    d[0] = (struct desc){UINT64_MAX - 15, 32, INDIRECT, 0};
    return r ? r : fire(h, "a table over the end of the address space", d, 1, NEEDS_RESET);
}

static int order(struct hostile *h)
{
    struct desc d[3] = {{.addr = 0}};
    int r = begin(h);

    d[0] = writable(h), d[1] = readable(h);
    d[0].flags |= NEXT;
    d[0].next = 1;
    d[1].flags = 0;
    put_table(h, d, 2);
    if (r == 0)
        r = fire(h, "writable before readable", d, 2, NEEDS_RESET);
    d[0] = table(h, 2);
    if (r == 0)
        r = fire(h, "and so in a table", d, 1, NEEDS_RESET);
    d[0] = readable(h), d[1] = writable(h), d[2] = readable(h);
    d[1].flags |= NEXT;
    d[1].next = 2;
    d[2].flags = 0;
    return r ? r : fire(h, "readable, writable, readable", d, 3, NEEDS_RESET);
}

/* --- addresses -------------------------------------------------------------------------------- */

/* Page SPARE+7 of the guest, granted to the toolstack's domain instead of the backend's. */
static int grant_to_other(struct hostile *h, uint64_t *address_out)
{
    uint32_t ref;
    int r = fx_guest_grant(h->fe.fx, 0, PAGE_SPARE + N_SPARE - 1, 1, false, &ref);

    *address_out = GRANT | (uint64_t)ref << 12;
    return r;
}

static int revoked(struct hostile *h, uint64_t *address_out)
{
    int r = fe_grant(&h->fe, PAGE_SPARE + 8, 1, false);

    *address_out = hostile_address(h, PAGE_SPARE + 8);
    return r ? r : fe_revoke(&h->fe, PAGE_SPARE + 8, 1);
}

static int addresses(struct hostile *h)
{
    uint64_t wrong[] = {
        0,
        0x1000,
        GRANT - 0x1000,           /* the last page that a grant map could have */
        GRANT,                    /* reference 0 */
        GRANT | 0x12345000,       /* never granted */
        GRANT | 1ull << 44,       /* a reserved bit */
        GRANT | 0xffffffffffeull, /* the last reference, and beyond */
        UINT64_MAX - 1,
        0, /* granted to another domain */
        0, /* revoked */
        0, /* read-only: as an answer */
    };
    const unsigned n = ARRAY_SIZE(wrong);
    uint32_t ref = 0;
    int r = begin(h);

    if (r == 0)
        r = grant_to_other(h, &wrong[n - 3]);
    if (r == 0)
        r = fe_grant(&h->fe, PAGE_SPARE + 9, 1, true);
    if (r == 0)
        r = revoked(h, &wrong[n - 2]);
    wrong[n - 1] = hostile_address(h, PAGE_SPARE + 9);
    for (unsigned i = 0; r == 0 && i < n; i++) {
        struct desc d[] = {readable(h), writable(h)};
        char label[64];

        snprintf(label, sizeof(label), "a request at %#llx", (unsigned long long)wrong[i]);
        d[0].addr = wrong[i];
        r = fire(h, label, d, 2, i == n - 1 ? RETURNED : NEEDS_RESET);
        d[0] = readable(h);
        d[1].addr = wrong[i];
        snprintf(label, sizeof(label), "an answer at %#llx", (unsigned long long)wrong[i]);
        if (r == 0)
            r = fire(h, label, d, 2, NEEDS_RESET);
    }
    ref = (uint32_t)(wrong[n - 3] >> 12);
    return r ? r : fx_guest_ungrant(h->fe.fx, ref, 1);
}

/* Answers into the device's own rings and control page: it believes none of them. */
static int into_rings(struct hostile *h)
{
    static const uint32_t pages[] = {FE_PAGE_DESC,     FE_PAGE_DESC + 1, FE_PAGE_DESC + 2,
                                     FE_PAGE_DESC + 5, FE_PAGE_CONTROL,  FE_PAGE_REQUEST};
    int r = begin(h);

    for (unsigned i = 0; r == 0 && i < ARRAY_SIZE(pages); i++) {
        for (unsigned at = 0; r == 0 && at < 64; at += 20) {
            struct desc d[] = {readable(h), writable(h)};

            d[1].addr = hostile_address(h, pages[i]) + at;
            r = fire(h, "an answer into a ring", d, 2, ANY);
        }
    }
    return r;
}

/* --- indices ---------------------------------------------------------------------------------- */

static int three_requests(struct hostile *h)
{
    uint8_t status;
    int r = 0;

    for (int i = 0; r == 0 && i < 3; i++)
        r = hostile_attach(h, 1, ENDPOINT, &status);
    return r;
}

static int jumps(struct hostile *h)
{
    static const struct {
        const char *label;
        uint16_t by;
        unsigned right;
    } jump[] = {
        {"back by one", 0xffff, NEEDS_RESET},
        {"back to the start", 0xfffd, NEEDS_RESET},
        {"back by the queue's size", (uint16_t)-QUEUE_SIZE, NEEDS_RESET},
        {"one more than the queue has", QUEUE_SIZE + 1, NEEDS_RESET},
        {"32,768 ahead", 0x8000, NEEDS_RESET},
        {"65,535 ahead", 0xffff, NEEDS_RESET},
        {"65,536 ahead, which nobody can see", 0, SILENT},
        {"as much as the queue has, the same head again and again", QUEUE_SIZE, ANSWERED},
    };
    int r = begin(h);

    for (unsigned i = 0; r == 0 && i < ARRAY_SIZE(jump); i++) {
        unsigned got;

        r = three_requests(h);
        put_avail(h, 15, 0, (uint16_t)(h->fe.queue[0].avail + jump[i].by));
        if (r == 0)
            r = hostile_kick(h, jump[i].right & SILENT, &got);
        if (r == 0)
            hostile_expect(h, jump[i].label, got, jump[i].right);
        if (r == 0 && jump[i].right == SILENT)
            r = three_requests(h);
        if (r == 0)
            r = hostile_again(h);
    }
    return r;
}

/* The same with wrap bits: slots out of turn are not the device's. */
static int packed_jumps(struct hostile *h)
{
    static const struct {
        const char *label;
        uint16_t slot, flags;
    } jump[] = {
        {"a slot that was used, made available again", 1, AVAIL},
        {"a slot ahead of its turn", 5, AVAIL},
        {"the next slot of another round", 3, USED},
        {"a slot ahead, available and used", 5, AVAIL | USED},
        {"the last slot", QUEUE_SIZE - 1, AVAIL},
    };
    struct desc all[QUEUE_SIZE];
    int r = begin(h);

    for (unsigned i = 0; r == 0 && i < ARRAY_SIZE(jump); i++) {
        struct desc d = {hostile_address(h, FE_PAGE_REQUEST), 20, 0, jump[i].flags};
        unsigned got;

        r = three_requests(h);
        put(ring(h, 0, 0), jump[i].slot, &d);
        if (r == 0)
            r = hostile_kick(h, true, &got);
        if (r == 0)
            hostile_expect(h, jump[i].label, got, SILENT);
        if (r == 0)
            r = hostile_again(h);
    }
    for (unsigned i = 0; i < QUEUE_SIZE; i++)
        all[i] = (struct desc){0x1000 * i, 64, NEXT, (uint16_t)i};
    return r ? r : fire(h, "all slots at once", all, QUEUE_SIZE, NEEDS_RESET);
}

/* --- anything --------------------------------------------------------------------------------- */

static struct desc random_desc(struct hostile *h)
{
    static const uint16_t flags[] = {0,        NEXT,         WRITE,           NEXT | WRITE,
                                     INDIRECT, INDIRECT | 1, 0xffff & ~AVAIL, 8};
    static const uint32_t lens[] = {0, 4, 16, 20, 32, 36, 256, 4096, 65536, UINT32_MAX};
    const uint64_t addrs[] = {hostile_address(h, FE_PAGE_REQUEST),
                              hostile_address(h, FE_PAGE_REQUEST) + ANSWER_AT,
                              hostile_address(h, PAGE_SPARE),
                              hostile_address(h, PAGE_SPARE + 7) + 4090,
                              hostile_address(h, FE_PAGE_DESC + 2),
                              0x1000,
                              GRANT,
                              (uint64_t)hostile_random(h) << 32 | hostile_random(h)};

    return (struct desc){addrs[hostile_random(h) % ARRAY_SIZE(addrs)],
                         lens[hostile_random(h) % ARRAY_SIZE(lens)],
                         flags[hostile_random(h) % ARRAY_SIZE(flags)],
                         (uint16_t)(hostile_random(h) % (QUEUE_SIZE + 2))};
}

static int anything(struct hostile *h)
{
    uint64_t rounds = h->count ? h->count : 100;
    int r = begin(h);

    while (r == 0 && rounds-- > 0) {
        uint8_t *req = hostile_page(h, FE_PAGE_REQUEST), *t = hostile_page(h, PAGE_SPARE);
        struct desc d[QUEUE_SIZE];

        for (unsigned i = 0; i < 80; i++)
            req[i] = (uint8_t)hostile_random(h);
        req[0] %= 7;
        for (unsigned i = 0; i < 256; i++)
            put(t, i, &(struct desc){.addr = 0});
        for (unsigned i = 0; i < QUEUE_SIZE; i++) {
            d[i] = random_desc(h);
            put_table(h, d, i);
        }
        r = fire(h, "anything", d, QUEUE_SIZE, ANY | SILENT);
    }
    return r;
}

/* --- memory that changes while it is read ----------------------------------------------------- */

struct scribbler {
    uint8_t *at[3];
    size_t len[3];
    bool stop;
    pthread_t thread;
};

static void *scribble(void *ctx)
{
    struct scribbler *s = ctx;
    uint32_t x = 2463534242u;

    while (!__atomic_load_n(&s->stop, __ATOMIC_RELAXED)) {
        for (unsigned i = 0; i < ARRAY_SIZE(s->at); i++) {
            x ^= x << 13, x ^= x >> 17, x ^= x << 5;
            if (s->len[i])
                __atomic_store_n(s->at[i] + x % s->len[i], (uint8_t)(x >> 24) & 0x8f,
                                 __ATOMIC_RELAXED);
        }
    }
    return NULL;
}

static int scribbler_start(struct scribbler *s)
{
    return -pthread_create(&s->thread, NULL, scribble, s);
}

static void scribbler_stop(struct scribbler *s)
{
    __atomic_store_n(&s->stop, true, __ATOMIC_RELAXED);
    pthread_join(s->thread, NULL);
}

/* Only the request: whatever it says in the end, it is answered or comes back. */
static int race_request(struct hostile *h)
{
    struct scribbler s = {.at = {hostile_page(h, FE_PAGE_REQUEST)}, .len = {36}};
    uint64_t n = h->count ? h->count : 500, odd = 0;
    int r = begin(h);

    if (r == 0)
        r = scribbler_start(&s);
    if (r)
        return r;
    for (uint64_t i = 0; r == 0 && i < n; i++) {
        uint8_t status;

        r = i % 2 ? hostile_map(h, 1, 0x1000 * i, hostile_address(h, PAGE_SPARE), 4096, &status)
                  : hostile_attach(h, 1, ENDPOINT, &status);
        odd += status != 0;
    }
    scribbler_stop(&s);
    h->variants += (unsigned)n;
    snprintf(h->said, sizeof(h->said), "%llu of them refused", (unsigned long long)odd);
    return r;
}

/* Rings, tables and requests at once. */
static int race_ring(struct hostile *h)
{
    uint64_t n = h->count ? h->count : 100, broken = 0;
    int r = begin(h);

    for (uint64_t i = 0; r == 0 && i < n; i++) {
        struct scribbler s = {
            .at = {ring(h, 0, 0), ring(h, 0, 1), hostile_page(h, FE_PAGE_REQUEST) + TABLE_AT},
            .len = {16 * QUEUE_SIZE, h->packed ? 4 : 4 + 2 * QUEUE_SIZE, 64},
        };
        unsigned got;

        r = scribbler_start(&s);
        if (r)
            break;
        for (unsigned k = 0; r == 0 && k < 8; k++)
            r = fx_channel_notify(&h->fe.queue[0].channel);
        if (r == 0)
            r = hostile_kick(h, true, &got);
        scribbler_stop(&s);
        broken += (fe_device_status(&h->fe) & S_NEEDS_RESET) != 0;
        h->variants++;
        if (r == 0)
            r = hostile_again(h);
    }
    snprintf(h->said, sizeof(h->said), "%llu of them broke the ring", (unsigned long long)broken);
    return r;
}

/* --- the event queue -------------------------------------------------------------------------- */

/* A fault takes the first event buffer, which is not what it should be. */
static int event_buffer(struct hostile *h, const char *label, uint64_t addr, uint32_t len,
                        uint16_t flags, bool breaks)
{
    struct desc d = {addr, len, flags, 0};
    int r = 0;

    if (h->packed)
        d = (struct desc){addr, len, 0, (uint16_t)(flags | AVAIL)};
    put(ring(h, 1, 0), 0, &d);
    r = hostile_dma(h, 0x10000);
    if (r == 1)
        hostile_expect_number(h, label, (fe_device_status(&h->fe) & S_NEEDS_RESET) != 0, breaks);
    else if (r == 0)
        hostile_wrong(h, "DMA outside of any mapping was carried out");
    return r < 0 ? r : hostile_again(h);
}

static int events(struct hostile *h)
{
    int r = begin(h);
    uint64_t good = hostile_address(h, FE_PAGE_EVENTS);

    if (r == 0)
        r = event_buffer(h, "too small by a byte", good, 23, WRITE, false);
    if (r == 0)
        r = event_buffer(h, "not writable", good, 24, 0, false);
    if (r == 0)
        r = event_buffer(h, "nowhere", 0x1000, 24, WRITE, true);
    if (r == 0)
        r = event_buffer(h, "never granted", GRANT | 0x12345000, 24, WRITE, true);
    if (r == 0)
        r = event_buffer(h, "in a ring that is read-only", hostile_address(h, FE_PAGE_DESC + 4), 24,
                         WRITE, true);
    if (r == 0)
        r = event_buffer(h, "4 GiB", good, UINT32_MAX, WRITE, false);
    if (r == 0 && !h->packed)
        r = event_buffer(h, "a chain without an end", good, 24, WRITE | NEXT, true);
    return r ? r : event_buffer(h, "an odd table", good, 24, INDIRECT, true);
}

const struct attack attacks_ring[] = {
    {"desc-loops", BOTH, loops, "descriptors that loop", false},
    {"desc-long", BOTH, too_long, "chains and tables over the queue's size", false},
    {"desc-outside", SPLIT, outside, "indices of descriptors outside the ring", false},
    {"desc-lengths", BOTH, lengths, "lengths of zero and of 4 GiB", false},
    {"desc-indirect", BOTH, indirect, "tables within tables, and odd ones", false},
    {"desc-order", BOTH, order, "readable after writable descriptors", false},
    {"desc-addresses", BOTH, addresses, "buffers outside, revoked, read-only, others'", false},
    {"desc-into-rings", BOTH, into_rings, "answers into rings and control page", false},
    {"index-jumps", SPLIT, jumps, "avail index back and up to 65,536 ahead", false},
    {"index-jumps-packed", PACKED, packed_jumps, "slots out of turn", false},
    {"anything", BOTH, anything, "random descriptors, tables and requests", false},
    {"race-request", BOTH, race_request, "request bytes that change between reads", false},
    {"race-ring", BOTH, race_ring, "rings and tables that change between reads", false},
    {"event-buffers", BOTH, events, "event buffers of every wrong kind", false},
    {.name = NULL},
};
