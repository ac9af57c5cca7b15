/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Building and checking the messages between supervisor and worker. Every parse function takes a
 * peer's object and looks at its type, members and lengths before anything is used; the first
 * wrong thing is -EPROTO and the caller ends that peer.
 */
#include <config.h>

#include "backend/daemon/msg.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/strutil.h"
#include "xenstore/paths.h"

#define COMMAND_MAX  32u
#define PLATFORM_MAX 32u

static bool printable(char c)
{
    return c >= ' ' && c <= '~';
}

bool msg_text_ok(const char *text, size_t len, size_t max)
{
    if (!text || len == 0 || len > max)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!printable(text[i]))
            return false;
    }
    return true;
}

const char *msg_text(const json_t *obj, const char *key, size_t max, bool empty_ok)
{
    const json_t *member = json_object_get(obj, key);
    const char *text = json_string_value(member);

    if (!text)
        return NULL;
    if (empty_ok && json_string_length(member) == 0)
        return text;
    return msg_text_ok(text, json_string_length(member), max) ? text : NULL;
}

int msg_u32(const json_t *obj, const char *key, uint32_t max, uint32_t *out)
{
    const json_t *member = json_object_get(obj, key);
    json_int_t value;

    if (!json_is_integer(member))
        return -EPROTO;
    value = json_integer_value(member);
    if (value < 0 || value > (json_int_t)max)
        return -EPROTO;
    *out = (uint32_t)value;
    return 0;
}

int msg_u64(const json_t *obj, const char *key, uint64_t *out)
{
    const char *text = msg_text(obj, key, 24, false);

    return text && parse_u64(text, UINT64_MAX, out) == 0 ? 0 : -EPROTO;
}

json_t *msg_new_u64(uint64_t value)
{
    char text[24];

    snprintf(text, sizeof(text), "%#" PRIx64, value);
    return json_string(value == 0 ? "0x0" : text);
}

int msg_parse_request(const json_t *msg, const char **command_out, uint32_t *id_out)
{
    const char *command = msg_text(msg, "command", COMMAND_MAX, false);

    if (!command || msg_u32(msg, "id", INT32_MAX, id_out) < 0)
        return -EPROTO;
    *command_out = command;
    return 0;
}

json_t *msg_new_request(const char *command, uint32_t id)
{
    return json_pack("{s:s, s:I}", "command", command, "id", (json_int_t)id);
}

json_t *msg_new_start(uint32_t id, const struct msg_start *s)
{
    return json_pack("{s:s, s:I, s:s, s:I, s:I, s:I, s:b, s:s*}", "command", "start", "id",
                     (json_int_t)id, "platform", s->platform, "domid", (json_int_t)s->domid,
                     "number", (json_int_t)s->number, "pages", (json_int_t)s->pages, "recover",
                     s->recover, "config", s->config);
}

int msg_parse_start(const json_t *msg, struct msg_start *out)
{
    struct msg_start s = {.platform = msg_text(msg, "platform", PLATFORM_MAX, false)};

    if (!s.platform || msg_u32(msg, "domid", XS_DOMID_MAX, &s.domid) < 0 ||
        msg_u32(msg, "number", XS_DEVID_MAX, &s.number) < 0 ||
        msg_u32(msg, "pages", UINT32_MAX, &s.pages) < 0 ||
        !json_is_boolean(json_object_get(msg, "recover")))
        return -EPROTO;
    s.recover = json_is_true(json_object_get(msg, "recover"));
    if (json_object_get(msg, "config")) {
        s.config = msg_text(msg, "config", XS_ADMIN_VALUE_MAX, true);
        if (!s.config)
            return -EPROTO;
    }
    *out = s;
    return 0;
}

/* A node travels as its text, or as its status where there is none to hand on. */
static json_t *node_value(const struct config_fe_raw *raw, size_t i)
{
    if (raw->node[i].status == CONFIG_FE_PRESENT)
        return json_string(raw->node[i].text);
    return json_integer((json_int_t)raw->node[i].status);
}

json_t *msg_new_connect(uint32_t id, const struct config_fe_raw *raw)
{
    json_t *nodes = json_array();
    int r = nodes ? 0 : -1;

    for (size_t i = 0; i < CONFIG_FE_N_NODES && r == 0; i++)
        r = json_array_append_new(nodes, node_value(raw, i));
    if (r < 0) {
        json_decref(nodes);
        return NULL;
    }
    return json_pack("{s:s, s:I, s:o}", "command", "connect", "id", (json_int_t)id, "nodes", nodes);
}

static int parse_node(const json_t *value, struct config_fe_raw *raw, size_t i)
{
    size_t len = json_string_length(value);

    if (json_is_string(value)) {
        if (len > 0 && !msg_text_ok(json_string_value(value), len, XS_FRONTEND_VALUE_MAX))
            return -EPROTO;
        raw->node[i].status = CONFIG_FE_PRESENT;
        memcpy(raw->node[i].text, json_string_value(value), len + 1);
        return 0;
    }
    raw->node[i].text[0] = '\0';
    switch (json_is_integer(value) ? json_integer_value(value) : -1) {
    case CONFIG_FE_ABSENT:
        raw->node[i].status = CONFIG_FE_ABSENT;
        return 0;
    case CONFIG_FE_TOO_LONG:
        raw->node[i].status = CONFIG_FE_TOO_LONG;
        return 0;
    case CONFIG_FE_BAD_BYTES:
        raw->node[i].status = CONFIG_FE_BAD_BYTES;
        return 0;
    default:
        return -EPROTO;
    }
}

int msg_parse_connect(const json_t *msg, struct config_fe_raw *out)
{
    const json_t *nodes = json_object_get(msg, "nodes");
    struct config_fe_raw raw;

    if (!json_is_array(nodes) || json_array_size(nodes) != CONFIG_FE_N_NODES)
        return -EPROTO;
    for (size_t i = 0; i < CONFIG_FE_N_NODES; i++) {
        if (parse_node(json_array_get(nodes, i), &raw, i) < 0)
            return -EPROTO;
    }
    *out = raw;
    return 0;
}

int msg_parse_reply(const json_t *msg, struct msg_reply *out)
{
    const json_t *ok = json_object_get(msg, "ok");
    struct msg_reply reply = {.error = ""};

    if (!json_is_boolean(ok) || msg_u32(msg, "id", INT32_MAX, &reply.id) < 0)
        return -EPROTO;
    reply.ok = json_is_true(ok);
    if (!reply.ok) {
        reply.error = msg_text(msg, "error", MSG_ERROR_MAX, false);
        if (!reply.error)
            return -EPROTO;
    }
    *out = reply;
    return 0;
}

json_t *msg_new_ok(uint32_t id)
{
    return json_pack("{s:I, s:b}", "id", (json_int_t)id, "ok", 1);
}

json_t *msg_new_error(uint32_t id, const char *fmt, ...)
{
    char text[MSG_ERROR_MAX + 1];
    va_list args;
    int n;

    va_start(args, fmt);
    n = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (n <= 0)
        return json_pack("{s:I, s:b, s:s}", "id", (json_int_t)id, "ok", 0, "error", "failed");
    for (char *c = text; *c; c++) {
        if (!printable(*c))
            *c = '?';
    }
    return json_pack("{s:I, s:b, s:s}", "id", (json_int_t)id, "ok", 0, "error", text);
}

int msg_add_offer(json_t *reply, const struct msg_offer *offer)
{
    int r = json_object_set_new(reply, "features", msg_new_u64(offer->features));

    r |= json_object_set_new(reply, "queue_size", json_integer(offer->queue_size));
    r |= json_object_set_new(reply, "map_pages", json_integer(offer->map_pages));
    r |= json_object_set_new(reply, "grant_pages", json_integer(offer->grant_pages));
    r |= json_object_set_new(reply, "endpoints", json_string(offer->endpoints));
    return r == 0 ? 0 : -ENOMEM;
}

int msg_parse_offer(const json_t *msg, struct msg_offer *out)
{
    struct msg_offer o = {.endpoints = msg_text(msg, "endpoints", XS_ENDPOINTS_VALUE_MAX, true)};

    if (!o.endpoints || msg_u64(msg, "features", &o.features) < 0 ||
        msg_u32(msg, "queue_size", 32768, &o.queue_size) < 0 ||
        msg_u32(msg, "map_pages", UINT32_MAX, &o.map_pages) < 0 ||
        msg_u32(msg, "grant_pages", UINT32_MAX, &o.grant_pages) < 0)
        return -EPROTO;
    *out = o;
    return 0;
}
