/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Strict parsing of text that comes from an administrator, xenstore or a control client. Empty
 * strings, signs, blanks, overflow and trailing characters are errors: -EINVAL for text that is no
 * number, -ERANGE for one above `max`. *out is written on success only.
 */
#ifndef VIOMMU_COMMON_STRUTIL_H
#define VIOMMU_COMMON_STRUTIL_H

#include "common/compiler.h"
#include "common/range.h"

#include <stddef.h>
#include <stdint.h>

/* Decimal digits, or 0x and hexadecimal digits. No octal: "010" is ten. */
MUST_CHECK int parse_u64(const char *s, uint64_t max, uint64_t *out);
MUST_CHECK int parse_u32(const char *s, uint32_t max, uint32_t *out);

/* "A<sep>B", both as above, A <= B (else -EINVAL): an inclusive range. */
MUST_CHECK int parse_range(const char *s, char sep, uint64_t max, struct range *out);

/* A size in bytes: a number with an optional suffix K, M, G or T (powers of 1,024). */
MUST_CHECK int parse_size(const char *s, uint64_t max, uint64_t *out);

/* An even number of hexadecimal digits to bytes; -ENOSPC when more than `max` bytes. */
MUST_CHECK int parse_hex(const char *s, uint8_t *out, size_t max, size_t *len_out);

/* "0" or "1". */
MUST_CHECK int parse_bool(const char *s, bool *out);

/*
 * Splits "key=value key=value" (blanks between the pairs, none inside). Calls fn for each pair;
 * a non-zero return ends the walk and is passed on. -EINVAL for a word without '=' or with an
 * empty key; a value may be empty or contain '=', and a text of blanks only holds no pairs (0). `s`
 * is not changed; key and value are terminated and live until fn returns; each is at most 255 bytes
 * (-E2BIG beyond).
 */
MUST_CHECK int parse_pairs(const char *s, int (*fn)(const char *key, const char *value, void *ctx),
                           void *ctx);

#endif
