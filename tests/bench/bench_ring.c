/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Cost of the ring alone: pop, read a request of 40 bytes, write an answer of 4, push, publish per
 * batch; and of pinning a page through the grant map. Prints ns per request for each framing.
 *
 * usage: bench_ring [requests]
 */
#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tests/support/fake_grants.h"
#include "tests/support/guest_ring.h"

#define PAGES     4096u
#define BASE      0x40000000u
#define RING_SIZE 256u
#define BATCH     120u

struct bench {
    struct fake_grants *grants;
    struct gmem *mem;
    struct guest_arena arena;
    struct guest_ring ring;
    struct virtqueue *vq;
    uint8_t *buffers; /* a cache line per request of a batch */
};

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void teardown(struct bench *b)
{
    virtqueue_free(b->vq);
    gmem_free(b->mem);
    fake_grants_free(b->grants);
    *b = (struct bench){.vq = NULL};
}

static bool setup(struct bench *b, uint64_t features)
{
    struct gmem_run run = {.address = BASE, .first_ref = 8, .pages = PAGES};
    struct virtqueue_config config;

    *b = (struct bench){.grants = fake_grants_new(PAGES, false)};
    if (!b->grants || !fake_grants_grant(b->grants, 8, 0, PAGES, false) ||
        gmem_new(&b->mem, &fake_grants_ops, b->grants, &GMEM_LIMITS_DEFAULT) < 0 ||
        gmem_set_map(b->mem, &run, 1) < 0)
        return false;
    b->arena = (struct guest_arena){.memory = fake_grants_memory(b->grants),
                                    .address = BASE,
                                    .size = (size_t)PAGES * GRANT_PAGE_SIZE};
    if (!guest_ring_init(&b->ring, &b->arena, RING_SIZE, features))
        return false;
    b->buffers = guest_alloc(&b->arena, (size_t)BATCH * 128, 64);
    config = guest_ring_config(&b->ring);
    return b->buffers && virtqueue_new(&b->vq, b->mem, &config) == 0;
}

static bool fill(struct bench *b, unsigned n, size_t n_direct)
{
    for (unsigned i = 0; i < n; i++) {
        uint64_t at = guest_address(&b->arena, b->buffers + (size_t)i * 128);
        struct guest_buf bufs[2] = {{at, 40, false}, {at + 64, 4, true}};

        if (guest_ring_add(&b->ring, bufs, 2, n_direct) < 0)
            return false;
    }
    guest_ring_publish(&b->ring);
    return true;
}

static bool serve(struct bench *b, unsigned n)
{
    struct vq_chain chain;
    uint8_t request[64], status[4] = {0};

    for (unsigned i = 0; i < n; i++) {
        if (virtqueue_pop(b->vq, &chain) != 1 ||
            virtqueue_read(b->vq, &chain, request, sizeof(request)) != 40 ||
            virtqueue_write(b->vq, &chain, status, sizeof(status)) < 0)
            return false;
        virtqueue_push(b->vq, &chain, sizeof(status));
    }
    virtqueue_publish(b->vq);
    return true;
}

static bool run(const char *name, uint64_t features, size_t n_direct, unsigned long requests)
{
    struct bench b;
    uint64_t spent = 0, start;
    unsigned long done = 0;
    uint32_t head, len;
    bool ok = setup(&b, features);

    while (ok && done < requests) {
        ok = fill(&b, BATCH, n_direct);
        start = now_ns();
        ok = ok && serve(&b, BATCH);
        spent += now_ns() - start;
        done += BATCH;
        while (guest_ring_used(&b.ring, &head, &len))
            ;
    }
    if (ok)
        printf("%-28s %7.1f ns per request\n", name, (double)spent / (double)done);
    teardown(&b);
    return ok;
}

static bool run_pins(unsigned long requests)
{
    struct bench b;
    uint64_t start, random = 1;
    bool ok = setup(&b, VIRTIO_F_VERSION_1);

    start = now_ns();
    for (unsigned long i = 0; ok && i < requests; i++) {
        struct range gpa;

        random = random * 6364136223846793005u + 1442695040888963407u;
        gpa.first = BASE + (random >> 40) % PAGES * GRANT_PAGE_SIZE;
        gpa.last = gpa.first + GRANT_PAGE_SIZE - 1;
        ok = gmem_pin(b.mem, gpa, true) == 0;
        gmem_unpin(b.mem, gpa, true);
    }
    if (ok)
        printf("%-28s %7.1f ns per pair\n", "pin and unpin, random page",
               (double)(now_ns() - start) / (double)requests);
    teardown(&b);
    return ok;
}

int main(int argc, char **argv)
{
    const uint64_t plain = VIRTIO_F_VERSION_1, indirect = plain | VIRTIO_F_INDIRECT_DESC;
    const uint64_t packed = VIRTIO_F_RING_PACKED;
    const struct {
        const char *name;
        uint64_t features;
        size_t n_direct;
    } runs[] = {
        {"split, 2 direct descriptors", plain, 2},
        {"split, indirect table of 2", indirect, 0},
        {"split, 1 direct + indirect", indirect, 1},
        {"split, indirect, event idx", indirect | VIRTIO_F_EVENT_IDX, 0},
        {"packed, 2 direct descriptors", plain | packed, 2},
        {"packed, indirect table of 2", indirect | packed, 0},
        {"packed, indirect, event idx", indirect | packed | VIRTIO_F_EVENT_IDX, 0},
    };
    unsigned long requests = argc > 1 ? strtoul(argv[1], NULL, 0) : 2000000;
    bool ok = requests > 0;

    for (size_t i = 0; ok && i < ARRAY_SIZE(runs); i++)
        ok = run(runs[i].name, runs[i].features, runs[i].n_direct, requests);
    if (!ok || !run_pins(requests)) {
        fputs("bench_ring: set-up or a request failed\n", stderr);
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
