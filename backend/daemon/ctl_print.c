/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Printing of what the daemon answered. The answer may come from a worker that a guest has taken
 * over: any shape is printed, no shape is relied on, and no byte reaches the terminal unescaped.
 */
#include <config.h>

#include "backend/daemon/ctl_client.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "common/log.h"

#define MAX_DEPTH   8
#define HEX_COLUMNS 16u

void ctl_error(const char *fmt, ...)
{
    va_list args;

    fputs("viommuctl: ", stderr);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
}

void ctl_print_text(FILE *f, const char *text)
{
    char piece[64 * 4 + 4];
    size_t len = strlen(text);

    for (size_t at = 0; at < len; at += 64) {
        size_t n = len - at < 64 ? len - at : 64;

        fputs(log_escape(piece, sizeof(piece), text + at, n, n), f);
    }
}

static void print_indent(int depth)
{
    printf("%*s", 2 * depth, "");
}

static void print_scalar(const json_t *value)
{
    if (json_is_string(value))
        ctl_print_text(stdout, json_string_value(value));
    else if (json_is_integer(value))
        printf("%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_boolean(value))
        fputs(json_is_true(value) ? "yes" : "no", stdout);
    else
        fputs("-", stdout);
}

static bool is_scalar(const json_t *value)
{
    return !json_is_object(value) && !json_is_array(value);
}

static bool all_scalar(const json_t *list)
{
    const json_t *item;
    size_t i;

    json_array_foreach(list, i, item)
    {
        if (!is_scalar(item))
            return false;
    }
    return true;
}

static void print_tree(const json_t *value, int depth);

static void print_list(const json_t *list, int depth)
{
    const json_t *item;
    size_t i;

    json_array_foreach(list, i, item)
    {
        if (json_is_object(item))
            print_indent(depth);
        print_tree(item, json_is_object(item) ? -1 : depth);
    }
}

/* One element of a list: key=value pairs on one line. */
static void print_row(const json_t *object)
{
    const char *key, *sep = "";
    json_t *member;

    /* jansson's iteration macro wants a non-const object; nothing is changed. */
    json_object_foreach((json_t *)(uintptr_t)object, key, member)
    {
        fputs(sep, stdout);
        ctl_print_text(stdout, key);
        fputc('=', stdout);
        if (is_scalar(member))
            print_scalar(member);
        else
            ctl_print_json(member);
        sep = " ";
    }
    fputc('\n', stdout);
}

static void print_member(const char *key, const json_t *member, int depth)
{
    const json_t *item;
    size_t i;

    print_indent(depth);
    ctl_print_text(stdout, key);
    if (is_scalar(member)) {
        printf("%*s", (int)(strlen(key) < 20 ? 20 - strlen(key) : 1), "");
        print_scalar(member);
        fputc('\n', stdout);
    } else if (json_is_array(member) && all_scalar(member)) {
        printf("%*s", (int)(strlen(key) < 20 ? 19 - strlen(key) : 0), "");
        json_array_foreach(member, i, item)
        {
            fputc(' ', stdout);
            print_scalar(item);
        }
        fputc('\n', stdout);
    } else {
        fputs(":\n", stdout);
        print_tree(member, depth + 1);
    }
}

/* depth -1: a row of a list. */
static void print_tree(const json_t *value, int depth)
{
    const char *key;
    json_t *member;

    if (depth > MAX_DEPTH)
        return;
    if (depth < 0) {
        print_row(value);
    } else if (json_is_object(value)) {
        json_object_foreach((json_t *)(uintptr_t)value, key, member)
        {
            print_member(key, member, depth);
        }
    } else if (json_is_array(value)) {
        print_list(value, depth);
    } else {
        print_indent(depth);
        print_scalar(value);
        fputc('\n', stdout);
    }
}

void ctl_print_tree(const json_t *value)
{
    print_tree(value, 0);
}

void ctl_print_json(const json_t *value)
{
    json_dumpf(value, stdout, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_ENCODE_ANY);
}

/* Only letters, digits and '_' may stand in a metric's name. */
static void print_metric_name(const char *group, const char *name)
{
    printf("xen_viommu_%s_", group);
    for (; *name; name++) {
        bool plain = (*name >= 'a' && *name <= 'z') || (*name >= '0' && *name <= '9');

        fputc(plain ? *name : '_', stdout);
    }
}

static void print_metric_group(const char *device, const char *group, const json_t *object)
{
    const char *key;
    json_t *member;

    json_object_foreach((json_t *)(uintptr_t)object, key, member)
    {
        if (!json_is_integer(member))
            continue;
        print_metric_name(group, key);
        printf("{device=\"%s\"} %" JSON_INTEGER_FORMAT "\n", device, json_integer_value(member));
    }
}

static void print_labelled(const char *device, const char *metric, const char *label,
                           const json_t *object)
{
    const char *key;
    json_t *member;

    json_object_foreach((json_t *)(uintptr_t)object, key, member)
    {
        if (!json_is_integer(member))
            continue;
        printf("xen_viommu_%s{device=\"%s\",%s=\"", metric, device, label);
        ctl_print_text(stdout, key);
        printf("\"} %" JSON_INTEGER_FORMAT "\n", json_integer_value(member));
    }
}

void ctl_print_metrics(const char *device, const json_t *show)
{
    const json_t *counters = json_object_get(show, "counters");

    print_labelled(device, "requests", "type", json_object_get(counters, "requests"));
    print_labelled(device, "answers", "status", json_object_get(counters, "answers"));
    print_metric_group(device, "device", counters);
    print_metric_group(device, "memory", json_object_get(show, "memory"));
    print_metric_group(device, "events", json_object_get(show, "events"));
}

void ctl_print_hexdump(uint64_t address, const uint8_t *data, size_t len)
{
    for (size_t at = 0; at < len; at += HEX_COLUMNS) {
        size_t n = len - at < HEX_COLUMNS ? len - at : HEX_COLUMNS;

        printf("%016" PRIx64 " ", address + at);
        for (size_t i = 0; i < HEX_COLUMNS; i++) {
            if (i < n)
                printf(" %02x", data[at + i]);
            else
                fputs("   ", stdout);
        }
        fputs("  |", stdout);
        for (size_t i = 0; i < n; i++)
            fputc(data[at + i] >= ' ' && data[at + i] <= '~' ? data[at + i] : '.', stdout);
        fputs("|\n", stdout);
    }
}
