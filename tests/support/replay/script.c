/* SPDX-License-Identifier: GPL-2.0-only */
/* Lines of a replay script: one table of commands and their keys. Made for a million lines. */
#include <config.h>

#include "tests/support/replay/script.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "common/strutil.h"

enum key_type { KEY_NUMBER, KEY_LEN, KEY_RW, KEY_BYPASS, KEY_HEX };

struct key {
    const char *name; /* NULL: a word without name */
    enum key_type type;
    bool optional; /* 0, or no bytes, then */
    size_t offset; /* of a uint64_t in struct script_line */
    uint64_t max;
};

#define MAX_KEYS 5

struct command {
    const char *name;
    enum script_kind kind;
    const char *accepts;
    struct key keys[MAX_KEYS];
    unsigned n_keys;
};

#define FIELD(field_) offsetof(struct script_line, field_)
#define KEY_D                                              \
    {                                                      \
        "d", KEY_NUMBER, false, FIELD(vdomain), UINT32_MAX \
    }
#define KEY_E                                               \
    {                                                       \
        "e", KEY_NUMBER, false, FIELD(endpoint), UINT32_MAX \
    }
#define KEY_VS                                            \
    {                                                     \
        "vs", KEY_NUMBER, false, FIELD(first), UINT64_MAX \
    }
#define KEY_VE                                           \
    {                                                    \
        "ve", KEY_NUMBER, false, FIELD(last), UINT64_MAX \
    }

static const struct command commands[] = {
    {"map",
     SCRIPT_MAP,
     "map d= vs= ve= ps= f=",
     {KEY_D,
      KEY_VS,
      KEY_VE,
      {"ps", KEY_NUMBER, false, FIELD(phys), UINT64_MAX},
      {"f", KEY_NUMBER, false, FIELD(flags), UINT32_MAX}},
     5},
    {"unmap", SCRIPT_UNMAP, "unmap d= vs= ve=", {KEY_D, KEY_VS, KEY_VE}, 3},
    {"attach",
     SCRIPT_ATTACH,
     "attach d= e= [flags=]",
     {KEY_D, KEY_E, {"flags", KEY_NUMBER, true, FIELD(flags), UINT32_MAX}},
     3},
    {"detach", SCRIPT_DETACH, "detach d= e=", {KEY_D, KEY_E}, 2},
    {"probe", SCRIPT_PROBE, "probe e=", {KEY_E}, 1},
    {"raw",
     SCRIPT_RAW,
     "raw [HEXBYTES|-] wlen=0..1048576 (at most 65536 bytes, in all at least one)",
     {{NULL, KEY_HEX, true, 0, 0}, {"wlen", KEY_NUMBER, false, FIELD(wlen), SCRIPT_MAX_WLEN}},
     2},
    {"access",
     SCRIPT_ACCESS,
     "access e= a= len=1..1073741824 rw=r|w",
     {KEY_E,
      {"a", KEY_NUMBER, false, FIELD(address), UINT64_MAX},
      {"len", KEY_LEN, false, FIELD(len), SCRIPT_MAX_ACCESS},
      {"rw", KEY_RW, false, FIELD(write), 0}},
     4},
    {"bypass", SCRIPT_BYPASS, "bypass 0|1", {{NULL, KEY_BYPASS, false, FIELD(bypass), 1}}, 1},
    {"reset", SCRIPT_RESET, "reset", {{NULL, KEY_NUMBER, false, 0, 0}}, 0},
    {"events", SCRIPT_EVENTS, "events", {{NULL, KEY_NUMBER, false, 0, 0}}, 0},
};

static int wrong(char *why, size_t why_size, const char *fmt, ...) PRINTF_LIKE(3, 4);
static int wrong(char *why, size_t why_size, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(why, why_size, fmt, ap);
    va_end(ap);
    return -EINVAL;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The next word of the line, terminated in place, or NULL. A # ends the line. */
static char *next_word(char **rest)
{
    char *word, *c = *rest;

    while (is_blank(*c))
        c++;
    if (*c == '\0' || *c == '#') {
        *c = '\0';
        *rest = c;
        return NULL;
    }
    word = c;
    while (*c && *c != '#' && !is_blank(*c))
        c++;
    if (*c == '#') {
        *c = '\0';
        *rest = c;
    } else {
        *rest = *c ? c + 1 : c;
        *c = '\0';
    }
    return word;
}

static uint64_t *field(struct script_line *line, const struct key *key)
{
    return (uint64_t *)(void *)((char *)line + key->offset);
}

static int parse_value(struct script_line *line, const struct key *key, const char *value)
{
    uint64_t *out = field(line, key);

    switch (key->type) {
    case KEY_NUMBER:
    case KEY_BYPASS:
        return parse_u64(value, key->max, out);
    case KEY_LEN:
        return parse_u64(value, key->max, out) || *out == 0 ? -EINVAL : 0;
    case KEY_RW:
        *out = value[0] == 'w';
        return (value[0] == 'r' || value[0] == 'w') && value[1] == '\0' ? 0 : -EINVAL;
    case KEY_HEX:
        line->raw_len = 0;
        if (strcmp(value, "-") == 0)
            return 0;
        return parse_hex(value, line->raw, sizeof(line->raw), &line->raw_len);
    default:
        return -EINVAL;
    }
}

/* The key that a word gives a value to, or NULL. */
static const struct key *find_key(const struct command *command, char *word, char **value_out)
{
    char *equals = strchr(word, '=');

    *value_out = word;
    if (equals) {
        *equals = '\0';
        *value_out = equals + 1;
    }
    for (unsigned i = 0; i < command->n_keys; i++) {
        const struct key *key = &command->keys[i];

        if (equals ? key->name && strcmp(key->name, word) == 0 : !key->name)
            return key;
    }
    return NULL;
}

static int parse_keys(const struct command *command, char *rest, struct script_line *out, char *why,
                      size_t why_size)
{
    unsigned seen = 0;
    char *word, *value;

    while ((word = next_word(&rest)) != NULL) {
        const struct key *key = find_key(command, word, &value);

        if (!key)
            return wrong(why, why_size, "unknown word '%.40s'; accepted: %s", word,
                         command->accepts);
        if (seen & 1u << (key - command->keys))
            return wrong(why, why_size, "'%.40s' is repeated; accepted: %s", word,
                         command->accepts);
        seen |= 1u << (key - command->keys);
        if (parse_value(out, key, value))
            return wrong(why, why_size, "value '%.40s' of '%s'; accepted: %s", value,
                         key->name ? key->name : command->name, command->accepts);
    }
    for (unsigned i = 0; i < command->n_keys; i++) {
        const struct key *key = &command->keys[i];

        if (seen & 1u << i)
            continue;
        if (!key->optional)
            return wrong(why, why_size, "'%s' is missing; accepted: %s",
                         key->name ? key->name : "value", command->accepts);
        if (key->type == KEY_HEX)
            out->raw_len = 0;
        else
            *field(out, key) = 0;
    }
    return 0;
}

int script_parse(char *line, struct script_line *out, char *why, size_t why_size)
{
    char *rest = line;
    const char *name = next_word(&rest);
    int rc;

    out->kind = SCRIPT_NOTHING;
    if (!name)
        return 0;
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        if (strcmp(commands[i].name, name) != 0)
            continue;
        rc = parse_keys(&commands[i], rest, out, why, why_size);
        if (rc)
            return rc;
        if (commands[i].kind == SCRIPT_RAW && out->raw_len == 0 && out->wlen == 0)
            return wrong(why, why_size, "no byte at all; accepted: %s", commands[i].accepts);
        out->kind = commands[i].kind;
        return 0;
    }
    return wrong(why, why_size,
                 "unknown command '%.40s'; accepted: attach, detach, map, unmap, probe, raw, "
                 "reset, bypass, access, events, # comments",
                 name);
}
