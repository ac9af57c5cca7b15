/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Time per operation and bytes per mapping of the interval map: medians over rounds, for
 * sequential and random keys. The figures are of the machine at hand; compare runs on one machine.
 */
#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "common/imap.h"

#define MAX_ROUNDS 15

enum op { OP_INSERT, OP_LOOKUP, OP_REMOVE, N_OPS };
enum order { ASCENDING, DESCENDING, RANDOM, N_ORDERS };

static const char *const order_names[N_ORDERS] = {"ascending", "descending", "random"};

struct round {
    double ns[N_OPS];
    double bytes;
};

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t random_u64(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static void shuffle(uint64_t *keys, size_t n, uint64_t *rng)
{
    for (size_t i = n - 1; i > 0; i--) {
        size_t j = random_u64(rng) % (i + 1);
        uint64_t key = keys[i];

        keys[i] = keys[j];
        keys[j] = key;
    }
}

/* Pages with a hole after every second, so that neighbours could not be joined either. */
static void make_keys(uint64_t *keys, size_t n, enum order order, uint64_t *rng)
{
    for (size_t i = 0; i < n; i++) {
        size_t at = order == DESCENDING ? n - 1 - i : i;

        keys[i] = (at + at / 2) << 12;
    }
    if (order == RANDOM)
        shuffle(keys, n, rng);
}

static struct range page(uint64_t first)
{
    return (struct range){first, first + 0xfff};
}

static bool run_round(uint64_t *keys, size_t n, enum order order, uint64_t *rng, struct round *out)
{
    struct imap *map = imap_new();
    struct imap_entry e = {.flags = 3};
    size_t hits = 0;
    uint64_t t[4];

    if (!map)
        return false;
    t[0] = now_ns();
    for (size_t i = 0; i < n; i++) {
        e.range = page(keys[i]);
        e.value = keys[i];
        if (imap_insert(map, &e) < 0)
            break;
    }
    t[1] = now_ns();
    out->bytes = (double)imap_memory(map) / (double)n;
    /* Random maps are asked and emptied in another order than they were filled in. */
    if (order == RANDOM)
        shuffle(keys, n, rng);
    t[2] = now_ns();
    for (size_t i = 0; i < n; i++)
        hits += imap_lookup(map, keys[i] + 0x123, &e);
    out->ns[OP_LOOKUP] = (double)(now_ns() - t[2]) / (double)n;
    t[3] = now_ns();
    for (size_t i = 0; i < n; i++)
        hits += imap_remove_within(map, page(keys[i]), NULL, NULL);
    out->ns[OP_REMOVE] = (double)(now_ns() - t[3]) / (double)n;
    out->ns[OP_INSERT] = (double)(t[1] - t[0]) / (double)n;
    imap_free(map);
    return hits == 2 * n;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(const struct round *rounds, unsigned n, enum op op)
{
    double values[MAX_ROUNDS];

    for (unsigned i = 0; i < n; i++)
        values[i] = rounds[i].ns[op];
    qsort(values, n, sizeof(values[0]), compare);
    return values[n / 2];
}

static bool bench(size_t n, unsigned n_rounds, enum order order)
{
    uint64_t *keys = calloc(n, sizeof(keys[0]));
    struct round rounds[MAX_ROUNDS] = {{.bytes = 0}};
    uint64_t rng = 1;
    bool ok = keys != NULL;

    for (unsigned i = 0; i < n_rounds && ok; i++) {
        make_keys(keys, n, order, &rng);
        ok = run_round(keys, n, order, &rng, &rounds[i]);
    }
    if (ok)
        printf("%8zu  %-10s  %8.1f  %8.1f  %8.1f  %12.1f\n", n, order_names[order],
               median(rounds, n_rounds, OP_INSERT), median(rounds, n_rounds, OP_LOOKUP),
               median(rounds, n_rounds, OP_REMOVE), rounds[0].bytes);
    free(keys);
    return ok;
}

int main(void)
{
    static const struct {
        size_t n;
        unsigned rounds;
    } sizes[] = {{1000, MAX_ROUNDS}, {65536, MAX_ROUNDS}, {1000000, 5}};

    printf("%8s  %-10s  %8s  %8s  %8s  %12s\n", "entries", "order", "insert", "lookup", "remove",
           "bytes/entry");
    printf("%8s  %-10s  %8s  %8s  %8s\n", "", "", "ns/op", "ns/op", "ns/op");
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        for (enum order order = 0; order < N_ORDERS; order++) {
            if (!bench(sizes[i].n, sizes[i].rounds, order)) {
                fprintf(stderr, "bench_imap: wrong result or out of memory\n");
                return EXIT_FAILURE;
            }
        }
    }
    return EXIT_SUCCESS;
}
