/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * "key=value key=value" into a struct, by table: the one engine behind all strict parsers of
 * config.h, so that they agree on what is refused and how the message reads. Internal to xenstore/.
 */
#ifndef VIOMMU_XENSTORE_FIELDS_H
#define VIOMMU_XENSTORE_FIELDS_H

#include "common/compiler.h"
#include "xenstore/config.h"

#define FIELD_VALUE_MAX 255 /* parse_pairs' own limit */

struct field {
    const char *key;
    /* Stores the value at `member`: 0, -EINVAL, -ERANGE, -E2BIG. */
    int (*parse)(const struct field *f, const char *value, void *member);
    size_t offset; /* of the member in the struct that is filled */
    uint64_t min;  /* for the numbers below */
    uint64_t max;
    bool required;
    bool repeat;         /* may come more than once */
    const char *accepts; /* the accepted values, for the message */
};

int field_u64(const struct field *f, const char *value, void *member);
int field_u32(const struct field *f, const char *value, void *member);
int field_u32_pow2(const struct field *f, const char *value, void *member);
int field_u32_mult8(const struct field *f, const char *value, void *member);
int field_range(const struct field *f, const char *value, void *member); /* "A:B" */
int field_bool(const struct field *f, const char *value, void *member);

/*
 * Parses `text` with at most 32 fields. *seen_out gets a bit per field that was there. On failure
 * -errno and `why`; what `out` holds is then of no use.
 */
MUST_CHECK int fields_parse(const char *node, const char *text, const struct field *fields,
                            size_t n, void *out, uint32_t *seen_out, char why[CONFIG_WHY_SIZE]);

/* "NODE: text" in `why`, made printable. Always -EINVAL. */
int fields_say(char why[CONFIG_WHY_SIZE], const char *node, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* A short printable form of a foreign value, for messages: at most 40 characters and "...". */
#define FIELD_SHOW_SIZE 44
const char *field_show(char out[FIELD_SHOW_SIZE], const char *value);

#endif
