/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The engine of the strict parsers. Text is foreign: a guest's or a mistaken administrator's.
 */
#include <config.h>

#include "xenstore/fields.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/strutil.h"

const char *field_show(char out[FIELD_SHOW_SIZE], const char *value)
{
    const size_t max = FIELD_SHOW_SIZE - sizeof("...");
    size_t i;

    for (i = 0; i < max && value[i]; i++)
        out[i] = (char)(value[i] >= 0x20 && value[i] < 0x7f ? value[i] : '?');
    memcpy(out + i, value[i] ? "..." : "", value[i] ? sizeof("...") : 1);
    return out;
}

int fields_say(char why[CONFIG_WHY_SIZE], const char *node, const char *fmt, ...)
{
    char shown[FIELD_SHOW_SIZE];
    va_list ap;
    int n;

    n = snprintf(why, CONFIG_WHY_SIZE, "%s: ", field_show(shown, node));
    va_start(ap, fmt);
    vsnprintf(why + n, CONFIG_WHY_SIZE - (size_t)n, fmt, ap);
    va_end(ap);
    return -EINVAL;
}

static int number(const struct field *f, const char *value, uint64_t *out)
{
    uint64_t n;
    int r;

    r = parse_u64(value, f->max, &n);
    if (r < 0)
        return r;
    if (n < f->min)
        return -EINVAL;
    *out = n;
    return 0;
}

int field_u64(const struct field *f, const char *value, void *member)
{
    return number(f, value, member);
}

int field_u32(const struct field *f, const char *value, void *member)
{
    uint32_t *out = member;
    uint64_t n;
    int r;

    r = number(f, value, &n);
    if (r < 0)
        return r;
    *out = (uint32_t)n; /* f->max fits */
    return 0;
}

int field_u32_pow2(const struct field *f, const char *value, void *member)
{
    uint64_t n;
    int r;

    r = number(f, value, &n);
    if (r < 0)
        return r;
    return (n & (n - 1)) == 0 ? field_u32(f, value, member) : -EINVAL;
}

int field_u32_mult8(const struct field *f, const char *value, void *member)
{
    uint64_t n;
    int r;

    r = number(f, value, &n);
    if (r < 0)
        return r;
    return n % 8 == 0 ? field_u32(f, value, member) : -EINVAL;
}

int field_range(const struct field *f, const char *value, void *member)
{
    return parse_range(value, ':', f->max, member);
}

int field_bool(const struct field *f UNUSED, const char *value, void *member)
{
    return parse_bool(value, member);
}

struct walk {
    const char *node;
    const struct field *fields;
    size_t n;
    char *out;
    uint32_t seen;
    char *why;
};

static const struct field *find_field(const struct walk *w, const char *key)
{
    for (size_t i = 0; i < w->n; i++) {
        if (strcmp(w->fields[i].key, key) == 0)
            return &w->fields[i];
    }
    return NULL;
}

/* The known keys, for the message about one that is not. */
static int say_unknown(const struct walk *w, const char *key)
{
    char known[160] = "", shown[FIELD_SHOW_SIZE];
    size_t len = 0;

    for (size_t i = 0; i < w->n && len < sizeof(known); i++)
        len += (size_t)snprintf(known + len, sizeof(known) - len, "%s%s", i ? " " : "",
                                w->fields[i].key);
    return fields_say(w->why, w->node, "unknown key \"%s\" (known: %s)", field_show(shown, key),
                      known);
}

static int take_pair(const char *key, const char *value, void *ctx)
{
    struct walk *w = ctx;
    const struct field *f = find_field(w, key);
    char shown[FIELD_SHOW_SIZE];
    uint32_t bit;
    int r;

    if (!f)
        return say_unknown(w, key);
    bit = 1u << (f - w->fields);
    if ((w->seen & bit) && !f->repeat)
        return fields_say(w->why, w->node, "%s= is given twice", f->key);
    w->seen |= bit;
    r = f->parse(f, value, w->out + f->offset);
    if (r < 0)
        fields_say(w->why, w->node, "%s=%s: must be %s", f->key, field_show(shown, value),
                   f->accepts);
    return r;
}

int fields_parse(const char *node, const char *text, const struct field *fields, size_t n,
                 void *out, uint32_t *seen_out, char why[CONFIG_WHY_SIZE])
{
    struct walk w = {.node = node, .fields = fields, .n = n, .out = out, .why = why};
    char shown[FIELD_SHOW_SIZE];
    int r;

    why[0] = '\0';
    r = parse_pairs(text, take_pair, &w);
    if (r < 0) {
        /* No text yet: it was parse_pairs itself that gave up. */
        if (!why[0])
            fields_say(why, node, "\"%s\" is not \"key=value key=value\"", field_show(shown, text));
        return r;
    }
    for (size_t i = 0; i < n; i++) {
        if (fields[i].required && !(w.seen & (1u << i)))
            return fields_say(why, node, "%s= is missing (%s)", fields[i].key, fields[i].accepts);
    }
    *seen_out = w.seen;
    return 0;
}
