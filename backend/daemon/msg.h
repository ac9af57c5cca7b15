/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Messages between the supervisor and a worker (docs/architecture.md, "Messages"): JSON frames of
 * common/ctl.h. The supervisor asks, {"command": NAME, "id": N, ...}; the worker answers each
 * request once, {"id": N, "ok": true, ...} or {"id": N, "ok": false, "error": TEXT}. A worker never
 * speaks unasked.
 *
 * Either side takes the other's messages for hostile. Texts are printable ASCII of a bounded
 * length, so that they can go into a xenstore node, a log line or a terminal as they are.
 */
#ifndef VIOMMU_BACKEND_DAEMON_MSG_H
#define VIOMMU_BACKEND_DAEMON_MSG_H

#include "common/compiler.h"
#include "xenstore/config.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MSG_ERROR_MAX 255u   /* bytes of an error text */
#define MSG_DMA_MAX   65536u /* bytes of one dma-read or dma-write */
#define MSG_PAGE_MAX  500u   /* mappings in one reply */

/* True for 1 to max bytes of printable ASCII (blank to tilde); false for anything else or NULL. */
bool msg_text_ok(const char *text, size_t len, size_t max);

/* A member that is such a text (borrowed), else NULL. `empty_ok` lets "" pass. */
const char *msg_text(const json_t *obj, const char *key, size_t max, bool empty_ok);

/* A member that is a whole number from 0 to max. -EPROTO if it is absent or anything else. */
MUST_CHECK int msg_u32(const json_t *obj, const char *key, uint32_t max, uint32_t *out);

/* As msg_u32, for 64 bits: these travel as text, "0x..." (JSON has no unsigned 64-bit numbers). */
MUST_CHECK int msg_u64(const json_t *obj, const char *key, uint64_t *out);

/* New reference to a "0x..." text; NULL when memory is short. */
json_t *msg_new_u64(uint64_t value);

/* --- requests --------------------------------------------------------------------------------- */

/* Command and id of a request. -EPROTO. The name is borrowed. */
MUST_CHECK int msg_parse_request(const json_t *msg, const char **command_out, uint32_t *id_out);

struct msg_start {
    const char *platform;
    uint32_t domid;
    uint32_t number;
    uint32_t pages;     /* leased grant pages */
    const char *config; /* raw text of viommu/config, NULL if absent */
    bool recover;       /* as the state file beside it says, within the limits of `config`;
                         * `recover` follows */
};
json_t *msg_new_start(uint32_t id, const struct msg_start *s);
/* -EPROTO; strings and array are borrowed from msg. */
MUST_CHECK int msg_parse_start(const json_t *msg, struct msg_start *out);

/* The frontend's nodes as the supervisor read them, uninterpreted. */
json_t *msg_new_connect(uint32_t id, const struct config_fe_raw *raw);
MUST_CHECK int msg_parse_connect(const json_t *msg, struct config_fe_raw *out);

/* A request without arguments. NULL, as from all msg_new_*, when memory is short. */
json_t *msg_new_request(const char *command, uint32_t id);

/* --- replies ---------------------------------------------------------------------------------- */

struct msg_reply {
    uint32_t id;
    bool ok;
    const char *error; /* borrowed; "" if ok */
    const int *fds;    /* descriptors that came with it, of link.c: borrowed for the call */
    size_t n_fds;
};
/* -EPROTO for anything but a well-formed reply. */
MUST_CHECK int msg_parse_reply(const json_t *msg, struct msg_reply *out);

json_t *msg_new_ok(uint32_t id);
/* The text is cut to MSG_ERROR_MAX bytes, and what is not printable ASCII becomes '?'. */
json_t *msg_new_error(uint32_t id, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* The answer to `offer`: what the supervisor publishes for the worker. */
struct msg_offer {
    uint64_t features;
    uint32_t queue_size;
    uint32_t map_pages;
    uint32_t grant_pages;
    const char *endpoints; /* value of viommu-endpoints, may be ""; borrowed */
};
/* Adds the members to a reply. -ENOMEM. */
MUST_CHECK int msg_add_offer(json_t *reply, const struct msg_offer *offer);
MUST_CHECK int msg_parse_offer(const json_t *msg, struct msg_offer *out);

#endif
