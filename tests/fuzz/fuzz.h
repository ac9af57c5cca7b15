/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the fuzz targets share: taking an input apart, and ending loudly when an invariant breaks.
 * A target is LLVMFuzzerTestOneInput in fuzz_X.c. The same object is linked with libFuzzer
 * (scripts/fuzz) and with replay_main.c (`make check`: corpora and past findings).
 *
 * Every input is valid: what it lacks at the end reads as zero. A target keeps nothing from one
 * input to the next that another could see, so a finding replays alone.
 */
#ifndef VIOMMU_TESTS_FUZZ_H
#define VIOMMU_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Aborts: libFuzzer keeps the input then, and a replay fails. */
#define FUZZ_CHECK(cond)                                                                 \
    do {                                                                                 \
        if (!(cond)) {                                                                   \
            fprintf(stderr, "%s:%d: broken invariant: %s\n", __FILE__, __LINE__, #cond); \
            abort();                                                                     \
        }                                                                                \
    } while (0)

struct fuzz_in {
    const uint8_t *p;
    size_t n;
};

/* A private copy of the next bytes, zeros beyond the end; returns how many there were. */
static inline size_t fuzz_take(struct fuzz_in *in, void *out, size_t n)
{
    size_t got = n < in->n ? n : in->n;

    memset(out, 0, n);
    if (got)
        memcpy(out, in->p, got);
    in->p += got;
    in->n -= got;
    return got;
}

static inline uint8_t fuzz_u8(struct fuzz_in *in)
{
    uint8_t v;

    fuzz_take(in, &v, sizeof(v));
    return v;
}

static inline uint16_t fuzz_u16(struct fuzz_in *in)
{
    uint8_t v[2];

    fuzz_take(in, v, sizeof(v));
    return (uint16_t)(v[0] | v[1] << 8);
}

static inline uint32_t fuzz_u32(struct fuzz_in *in)
{
    uint32_t low = fuzz_u16(in);

    return low | (uint32_t)fuzz_u16(in) << 16;
}

static inline uint64_t fuzz_u64(struct fuzz_in *in)
{
    uint64_t low = fuzz_u32(in);

    return low | (uint64_t)fuzz_u32(in) << 32;
}

/* A terminated text (malloc) of the bytes up to the next newline, which is skipped, or to the end;
 * of exact size, so that the sanitizers see a read beyond it. */
static inline char *fuzz_line(struct fuzz_in *in)
{
    const uint8_t *end = in->n ? memchr(in->p, '\n', in->n) : NULL;
    size_t len = end ? (size_t)(end - in->p) : in->n;
    char *text = malloc(len + 1);

    FUZZ_CHECK(text);
    if (len)
        memcpy(text, in->p, len);
    text[len] = '\0';
    in->p += end ? len + 1 : len;
    in->n -= end ? len + 1 : len;
    return text;
}

#endif
