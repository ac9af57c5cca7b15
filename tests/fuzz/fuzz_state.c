/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Successors (backend/daemon/device_recover.c, statefile_read.c). A guest uses its device as in
 * fuzz_ring; now and then the device's process ends, and a new one goes on with the state file as
 * it is, or as somebody who had taken the old one over has left it: words of each record changed by
 * their meaning, or any bytes.
 *
 * The new one refuses, starts with NEEDS_RESET, or goes on. In each case no more is mapped than its
 * own limits allow, pins and tables agree, and nothing is left in the end. If nobody has touched
 * file, rings and platform it must go on, with the same tables.
 */
#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>

#include "backend/daemon/statefile_priv.h"
#include "tests/fuzz/frontend.h"
#include "tests/support/state_dump.h"

#define MAX_STEPS   120u
#define MAX_DEATHS  8u
#define MAX_CHANGES 12u
#define DEATH       224u /* steps from here on */

/* What an administrator's limit of faults or vdomains may cost is not the question here. */
#define MAX_LIMIT 65536u

#define DUMP_SIZE 32768u

struct life {
    struct frontend f;
    uint8_t *buf;
    size_t size;
    bool changed; /* the file, by somebody else, since the guest connected */
    char before[DUMP_SIZE], after[DUMP_SIZE];
};

static void file_new(struct life *l)
{
    if (!l->buf) {
        l->size = (size_t)statefile_size(GUEST_MAX_MAPS, GUEST_MAP_PAGES);
        l->buf = mmap(NULL, l->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        FUZZ_CHECK(l->buf != MAP_FAILED);
    } else {
        /* Zeroed, at the price of the pages that were used. */
        FUZZ_CHECK(madvise(l->buf, l->size, MADV_DONTNEED) == 0);
    }
    FUZZ_CHECK(statefile_new(&l->f.g.file, l->buf, l->size) == 0);
    device_set_file(l->f.g.d, l->f.g.file);
}

/* --- changing the file ------------------------------------------------------------------------ */

static uint64_t some_value(uint64_t old, struct fuzz_in *in)
{
    uint8_t v = fuzz_u8(in);

    if (v < 64)
        return v;
    if (v < 128)
        return old + v - 96;
    if (v < 192)
        return old ^ 1ull << (v - 128);
    if (v < 208)
        return old + ((uint64_t)(v - 200) << 16); /* of a count with a position */
    if (v < 224)
        return UINT64_MAX >> (v - 208) * 4;
    if (v < 232) /* two 32-bit words: what a count, a limit or a flag looks like */
        return (uint64_t)fuzz_u8(in) << 32 | fuzz_u8(in);
    return fuzz_u64(in);
}

/* The record whose words are changed: each table has more of them than an input uses. */
static uint64_t *some_record(struct life *l, struct fuzz_in *in, size_t *n_words)
{
    struct sf_header *h = (void *)l->buf;
    struct statefile at = {.buf = l->buf};
    uint8_t what = fuzz_u8(in), i = what / 8;

    sf_place(&at, GUEST_MAP_PAGES * DIRECTORY_MAX_ENTRIES);
    switch (what % 8) {
    case 0:
        *n_words = offsetof(struct sf_header, setup) / 8;
        return (void *)l->buf;
    case 1: /* of the setup, what follows the text */
        *n_words = (sizeof(struct sf_setup) - offsetof(struct sf_setup, has_text)) / 8;
        return &h->setup.has_text;
    case 2: /* control page, rings, counts, queues */
    case 3:
        *n_words = (offsetof(struct sf_header, answers) - offsetof(struct sf_header, status)) / 8;
        return &h->status;
    case 4:
        *n_words = 1;
        return &h->answers[i & 1][i / 2];
    case 5:
        *n_words = sizeof(struct sf_attachment) / 8;
        return (void *)&at.attachments[i % 4];
    case 6:
        *n_words = sizeof(struct sf_run) / 8;
        return (void *)&at.runs[i & 1][i / 2 % 4];
    default:
        *n_words = sizeof(struct sf_mapping) / 8;
        return (void *)&at.mappings[i % GUEST_MAX_MAPS];
    }
}

static void change_word(struct life *l, struct fuzz_in *in)
{
    size_t n;
    uint64_t *words = some_record(l, in, &n), *word = &words[fuzz_u8(in) % n];

    *word = some_value(*word, in);
}

static void change_bytes(struct life *l, struct fuzz_in *in)
{
    uint8_t bytes[64];
    size_t at = fuzz_u32(in) % l->size, n = fuzz_take(in, bytes, 1 + fuzz_u8(in) % sizeof(bytes));

    memcpy(l->buf + at, bytes, n < l->size - at ? n : l->size - at);
}

static void change_file(struct life *l, unsigned n, struct fuzz_in *in)
{
    for (unsigned i = 0; i < n && in->n > 0; i++) {
        if (in->p[0] == 255) {
            (void)fuzz_u8(in);
            change_bytes(l, in);
        } else {
            change_word(l, in);
        }
        l->changed = true;
    }
}

/* --- death and successor ---------------------------------------------------------------------- */

/* Tables and endpoints; queued faults go with the old process. */
static void dump_tables(const struct fuzz_guest *g, char *text)
{
    FILE *out = fmemopen(text, DUMP_SIZE, "w");
    const char *rest;

    FUZZ_CHECK(out);
    state_dump(device_viommu(g->d), out);
    fclose(out);
    rest = strstr(text, "\nvdomain ");
    if (!rest)
        rest = strstr(text, "\nendpoint ");
    if (!rest)
        rest = "";
    memmove(text, rest, strlen(rest) + 1);
}

/* As a worker ends: the file stays, everything else goes. */
static void die(struct life *l)
{
    struct fuzz_guest *g = &l->f.g;

    device_leave_file(g->d);
    g->d = device_free(g->d);
    g->file = statefile_free(g->file);
    fuzz_guest_check_free(g);
}

/* The configuration that a worker makes of the setup; false: it refuses. */
static bool configure(const struct fuzz_guest *g, const struct statefile_setup *setup,
                      struct device_config *config)
{
    *config = g->config;
    config->viommu = setup->viommu;
    config->max_queue_size = setup->max_queue_size;
    config->max_map_pages = setup->max_map_pages;
    return setup->viommu.max_faults <= MAX_LIMIT && setup->viommu.max_vdomains <= MAX_LIMIT;
}

/* 0, 1 or -errno as device_recover; -errno also if it did not come to that. */
static int recover(struct life *l)
{
    struct fuzz_guest *g = &l->f.g;
    struct statefile_setup setup;
    struct device_config config;
    const char *reason = NULL;
    char why[200] = "";
    int r = statefile_read_setup(g->file, &setup, &reason);

    if (r < 0) {
        FUZZ_CHECK(r == -ENOENT || (r == -EPROTO && reason && reason[0]));
        return r;
    }
    FUZZ_CHECK(memchr(setup.text, '\0', sizeof(setup.text)));
    if (!configure(g, &setup, &config))
        return -EINVAL;
    r = fuzz_guest_device(g, &config);
    if (r < 0)
        return r;
    r = device_recover(g->d, &setup, why, sizeof(why));
    FUZZ_CHECK(r <= 1 && (r < 0) == !device_connected(g->d));
    FUZZ_CHECK(r >= 0 || memchr(why, '\0', sizeof(why)));
    FUZZ_CHECK(r != 1 || (device_needs_reset(g->d) && viommu_n_vdomains(device_viommu(g->d)) == 0));
    fuzz_guest_check(g);
    return r;
}

/* A device for a guest that starts over: the supervisor's answer to a refusal. The file is used
 * again with whatever is in it. */
static void start_over(struct life *l, struct fuzz_in *in)
{
    struct fuzz_guest *g = &l->f.g;

    if (g->d) {
        FUZZ_CHECK(!device_connected(g->d));
        g->d = device_free(g->d);
    }
    fuzz_guest_check_free(g);
    FUZZ_CHECK(fuzz_guest_device(g, &g->config) == 0);
    frontend_connect(&l->f, in);
    /* One that is refused at once has not written to the file. */
    l->changed = l->changed && !device_connected(g->d);
}

static void step_death(struct life *l, unsigned changes, struct fuzz_in *in)
{
    struct fuzz_guest *g = &l->f.g;
    bool was_connected = device_connected(g->d), was_broken = device_needs_reset(g->d);
    uint8_t status = device_status(g->d);
    int r;

    dump_tables(g, l->before);
    die(l);
    change_file(l, changes, in);
    FUZZ_CHECK(statefile_new(&g->file, l->buf, l->size) == 0);
    r = recover(l);
    if (!l->changed) {
        FUZZ_CHECK(was_connected || r == -ENOENT);
        FUZZ_CHECK(l->f.rough || !was_connected || r == 0);
        if (r == 0) {
            dump_tables(g, l->after);
            FUZZ_CHECK(strcmp(l->before, l->after) == 0);
            FUZZ_CHECK(device_status(g->d) == status && device_needs_reset(g->d) == was_broken);
        }
    }
    if (r < 0)
        start_over(l, in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct life l;
    struct fuzz_in in = {data, size};
    unsigned deaths = 0;

    frontend_open(&l.f, &in);
    l.changed = false;
    file_new(&l);
    frontend_connect(&l.f, &in);
    for (unsigned i = 0; in.n > 0 && i < MAX_STEPS; i++) {
        uint8_t op = fuzz_u8(&in);

        if (op < DEATH)
            frontend_step(&l.f, op, &in);
        else if (deaths++ < MAX_DEATHS)
            step_death(&l, (op - DEATH) % (MAX_CHANGES + 1), &in);
        fuzz_guest_check(&l.f.g);
    }
    fuzz_guest_close(&l.f.g);
    l.f.g.file = statefile_free(l.f.g.file);
    return 0;
}
