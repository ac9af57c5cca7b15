/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Strict parsers for text from administrators, xenstore and control clients. All of it may be
 * hostile: every function checks the whole text before it writes a result.
 */
#include <config.h>

#include "common/strutil.h"

#include <errno.h>
#include <string.h>

#define WORD_MAX 255 /* bytes of a key or a value */

static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/*
 * All `len` bytes as one number. Text that is no number is -EINVAL however large it would be, so
 * digits are checked to the end after an overflow too.
 */
static int parse_span(const char *s, size_t len, uint64_t max, uint64_t *out)
{
    int base = 10;
    uint64_t value = 0;
    bool overflow = false;

    if (len > 2 && s[0] == '0' && s[1] == 'x') {
        base = 16;
        s += 2;
        len -= 2;
    }
    if (len == 0)
        return -EINVAL;
    for (size_t i = 0; i < len; i++) {
        int digit = digit_value(s[i]);

        if (digit < 0 || digit >= base)
            return -EINVAL;
        if (__builtin_mul_overflow(value, (uint64_t)base, &value) ||
            __builtin_add_overflow(value, (uint64_t)digit, &value))
            overflow = true;
    }
    if (overflow || value > max)
        return -ERANGE;
    *out = value;
    return 0;
}

int parse_u64(const char *s, uint64_t max, uint64_t *out)
{
    return parse_span(s, strlen(s), max, out);
}

int parse_u32(const char *s, uint32_t max, uint32_t *out)
{
    uint64_t value;
    int r = parse_u64(s, max, &value);

    if (r == 0)
        *out = (uint32_t)value;
    return r;
}

int parse_range(const char *s, char sep, uint64_t max, struct range *out)
{
    const char *at = sep == '\0' ? NULL : strchr(s, sep);
    struct range range;
    int r, r_last;

    if (!at)
        return -EINVAL;
    r = parse_span(s, (size_t)(at - s), max, &range.first);
    r_last = parse_u64(at + 1, max, &range.last);
    /* -EINVAL of either half goes before -ERANGE of the other: the text is no range at all. */
    if (r == 0 || r_last == -EINVAL)
        r = r_last;
    if (r < 0)
        return r;
    if (!range_valid(range))
        return -EINVAL;
    *out = range;
    return 0;
}

static unsigned suffix_shift(char c)
{
    static const char suffixes[] = "KMGT";
    const char *at = c == '\0' ? NULL : strchr(suffixes, c);

    return at ? 10 * (unsigned)(at - suffixes + 1) : 0;
}

int parse_size(const char *s, uint64_t max, uint64_t *out)
{
    size_t len = strlen(s);
    unsigned shift = len > 0 ? suffix_shift(s[len - 1]) : 0;
    uint64_t value;
    int r;

    r = parse_span(s, shift ? len - 1 : len, UINT64_MAX, &value);
    if (r < 0)
        return r;
    if (value > UINT64_MAX >> shift || value << shift > max)
        return -ERANGE;
    *out = value << shift;
    return 0;
}

int parse_hex(const char *s, uint8_t *out, size_t max, size_t *len_out)
{
    size_t digits = strlen(s);

    if (digits == 0 || digits % 2 != 0)
        return -EINVAL;
    for (size_t i = 0; i < digits; i++) {
        if (digit_value(s[i]) < 0)
            return -EINVAL;
    }
    if (digits / 2 > max)
        return -ENOSPC;
    for (size_t i = 0; i < digits / 2; i++)
        out[i] = (uint8_t)(digit_value(s[2 * i]) << 4 | digit_value(s[2 * i + 1]));
    *len_out = digits / 2;
    return 0;
}

int parse_bool(const char *s, bool *out)
{
    if (strcmp(s, "0") != 0 && strcmp(s, "1") != 0)
        return -EINVAL;
    *out = s[0] == '1';
    return 0;
}

static int copy_word(char dst[WORD_MAX + 1], const char *src, size_t len)
{
    if (len > WORD_MAX)
        return -E2BIG;
    memcpy(dst, src, len);
    dst[len] = '\0';
    return 0;
}

/* One word of `len` bytes as key and value. A value may contain '=' itself. */
static int split_pair(const char *word, size_t len, char key[WORD_MAX + 1],
                      char value[WORD_MAX + 1])
{
    const char *eq = memchr(word, '=', len);
    size_t key_len;
    int r;

    if (!eq || eq == word)
        return -EINVAL;
    key_len = (size_t)(eq - word);
    r = copy_word(key, word, key_len);
    if (r < 0)
        return r;
    return copy_word(value, eq + 1, len - key_len - 1);
}

int parse_pairs(const char *s, int (*fn)(const char *key, const char *value, void *ctx), void *ctx)
{
    static const char blanks[] = " \t";
    char key[WORD_MAX + 1], value[WORD_MAX + 1];

    for (s += strspn(s, blanks); *s; s += strspn(s, blanks)) {
        size_t len = strcspn(s, blanks);
        int r = split_pair(s, len, key, value);

        if (r == 0)
            r = fn(key, value, ctx);
        if (r != 0)
            return r;
        s += len;
    }
    return 0;
}
