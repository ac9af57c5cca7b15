/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The supervisor's requests to a worker: one table, one handler each. A handler says no with an
 * error reply; a request that a sound supervisor cannot have sent ends the worker.
 */
#include <config.h>

#include "backend/daemon/worker_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "backend/iommu/soft.h"
#include "common/strutil.h"

struct request {
    uint32_t id;
    const json_t *msg;
};

/* A reply that was built up to `r`: handed over, or dropped when memory was short. */
static json_t *finish(json_t *reply, int r)
{
    if (r == 0)
        return reply;
    json_decref(reply);
    return NULL;
}

/* --- life of the device ----------------------------------------------------------------------- */

static json_t *do_start(struct worker *w, const struct request *req)
{
    struct msg_start start;
    char why[MSG_ERROR_MAX + 1] = "";

    if (msg_parse_start(req->msg, &start) < 0)
        return NULL;
    if (worker_start(w, &start, why, sizeof(why)) < 0)
        return msg_new_error(req->id, "%s", why);
    return msg_new_ok(req->id);
}

static json_t *do_offer(struct worker *w, const struct request *req)
{
    char endpoints[CONFIG_SUMMARY_SIZE];
    const struct msg_offer offer = {
        .features = device_features(w->device),
        .queue_size = w->config.max_queue_size,
        .map_pages = w->config.max_map_pages,
        .grant_pages = (uint32_t)w->config.mem.max_pin_pages,
        .endpoints = endpoints,
    };
    json_t *reply = msg_new_ok(req->id);

    w->offered = true;
    worker_endpoints_summary(w, endpoints);
    return reply ? finish(reply, msg_add_offer(reply, &offer)) : NULL;
}

static json_t *do_connect(struct worker *w, const struct request *req)
{
    char why[MSG_ERROR_MAX + 1] = "";
    struct config_fe_raw raw;

    if (msg_parse_connect(req->msg, &raw) < 0)
        return NULL;
    if (worker_connect(w, &raw, why, sizeof(why)) < 0)
        return msg_new_error(req->id, "%s", why);
    return msg_new_ok(req->id);
}

static json_t *do_recover(struct worker *w, const struct request *req)
{
    char why[MSG_ERROR_MAX + 1] = "";
    bool may = w->may_recover;

    w->may_recover = false;
    if (!may)
        return msg_new_error(req->id, "the device was not started from a state file");
    if (worker_recover(w, why, sizeof(why)) < 0)
        return msg_new_error(req->id, "%s", why);
    return msg_new_ok(req->id);
}

static json_t *do_disconnect(struct worker *w, const struct request *req)
{
    worker_disconnect(w);
    return msg_new_ok(req->id);
}

/* --- endpoints -------------------------------------------------------------------------------- */

static json_t *reply_with_endpoints(struct worker *w, const struct request *req)
{
    json_t *reply = msg_new_ok(req->id);
    char endpoints[CONFIG_SUMMARY_SIZE];

    int r;

    if (!reply)
        return NULL;
    worker_endpoints_summary(w, endpoints);
    r = json_object_set_new(reply, "endpoints", json_string(endpoints));
    if (w->offer_stale)
        r |= json_object_set_new(reply, "restart", json_true());
    return finish(reply, r);
}

static json_t *do_endpoint_add(struct worker *w, const struct request *req)
{
    const char *text = msg_text(req->msg, "endpoint", XS_ADMIN_VALUE_MAX, false);
    char why[MSG_ERROR_MAX + 1] = "";

    if (!text)
        return NULL;
    if (worker_endpoint_add(w, text, why, sizeof(why)) < 0)
        return msg_new_error(req->id, "%s", why);
    return reply_with_endpoints(w, req);
}

static json_t *do_endpoint_remove(struct worker *w, const struct request *req)
{
    uint32_t id;

    if (msg_u32(req->msg, "endpoint", UINT32_MAX, &id) < 0)
        return NULL;
    if (worker_endpoint_remove(w, id) < 0)
        return msg_new_error(req->id, "there is no endpoint %#x", id);
    return reply_with_endpoints(w, req);
}

/* The files go with the reply; what the supervisor gets of the host is nothing else. */
static json_t *do_endpoint_open_fd(struct worker *w, const struct request *req)
{
    json_t *reply;
    uint32_t id;
    int r;

    if (msg_u32(req->msg, "endpoint", UINT32_MAX, &id) < 0)
        return NULL;
    r = worker_companion_fds(w, id, w->reply_fds);
    if (r == -ENOENT)
        return msg_new_error(req->id, "there is no endpoint %#x", id);
    if (r == -EOPNOTSUPP)
        return msg_new_error(req->id, "endpoint %#x has no device of the host", id);
    if (r < 0)
        return msg_new_error(req->id, "endpoint %#x: %s", id, strerror(-r));
    reply = msg_new_ok(req->id);
    if (reply)
        w->n_reply_fds = IOMMU_N_FDS;
    return reply;
}

/* --- dma -------------------------------------------------------------------------------------- */

struct dma {
    uint32_t endpoint;
    uint64_t iova;
    size_t len;
};

static const char *fault_reason_name(enum viommu_fault_reason reason)
{
    static const char *const names[] = {
        [VIOMMU_FAULT_R_UNKNOWN] = "unknown",
        [VIOMMU_FAULT_R_DOMAIN] = "domain",
        [VIOMMU_FAULT_R_MAPPING] = "mapping",
    };

    return (size_t)reason < ARRAY_SIZE(names) ? names[reason] : "unknown";
}

static json_t *fault_reply(const struct request *req, const struct dma *dma,
                           const struct viommu_fault *fault)
{
    json_t *reply = msg_new_error(req->id, "endpoint %#x: the access to %#" PRIx64 " was refused",
                                  dma->endpoint, dma->iova);
    json_t *detail = json_object();
    int r;

    r = json_object_set_new(detail, "reason", json_string(fault_reason_name(fault->reason)));
    r |= json_object_set_new(detail, "code", json_integer((json_int_t)fault->reason));
    r |= json_object_set_new(detail, "flags", msg_new_u64(fault->flags));
    if (fault->flags & VIOMMU_FAULT_F_ADDRESS)
        r |= json_object_set_new(detail, "address", msg_new_u64(fault->address));
    r |= json_object_set_new(reply, "fault", detail);
    return finish(reply, r);
}

/*
 * Carries out the access as the endpoint would; NULL if it went well, else the refusal. A refused
 * access has raised a fault report, which goes to the guest at once.
 */
static json_t *access_or_refuse(struct worker *w, const struct request *req, const struct dma *dma,
                                uint8_t *buf, bool write)
{
    const struct config_endpoint *ep = worker_endpoint(w, dma->endpoint);
    struct viommu_fault fault = {.reason = VIOMMU_FAULT_R_UNKNOWN};
    int r;

    if (!ep)
        return msg_new_error(req->id, "there is no endpoint %#x", dma->endpoint);
    if (ep->driver != CONFIG_DRIVER_SOFT)
        return msg_new_error(req->id, "endpoint %#x has driver %s: only soft endpoints can do this",
                             dma->endpoint, config_driver_name(ep->driver));
    r = soft_dma(device_viommu(w->device), dma->endpoint, dma->iova, buf, dma->len, write, &fault);
    device_deliver_faults(w->device);
    return r < 0 ? fault_reply(req, dma, &fault) : NULL;
}

static char *hex_of(const uint8_t *data, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    char *text = calloc(len + 1, 2);

    for (size_t i = 0; text && i < len; i++) {
        text[2 * i] = digits[data[i] >> 4];
        text[2 * i + 1] = digits[data[i] & 0xf];
    }
    return text;
}

static json_t *do_dma_read(struct worker *w, const struct request *req)
{
    cleanup_free uint8_t *buf = calloc(MSG_DMA_MAX, 1);
    cleanup_free char *hex = NULL;
    struct dma dma;
    uint32_t len;
    json_t *reply;

    if (!buf)
        return NULL;
    if (msg_u32(req->msg, "endpoint", UINT32_MAX, &dma.endpoint) < 0 ||
        msg_u64(req->msg, "iova", &dma.iova) < 0 ||
        msg_u32(req->msg, "length", MSG_DMA_MAX, &len) < 0 || len == 0)
        return msg_new_error(req->id, "dma-read: endpoint, iova and length (1 to %u) are wanted",
                             MSG_DMA_MAX);
    dma.len = len;
    reply = access_or_refuse(w, req, &dma, buf, false);
    if (reply)
        return reply;
    hex = hex_of(buf, dma.len);
    reply = msg_new_ok(req->id);
    return hex && reply ? finish(reply, json_object_set_new(reply, "data", json_string(hex)))
                        : finish(reply, -ENOMEM);
}

static json_t *do_dma_write(struct worker *w, const struct request *req)
{
    const char *hex = json_string_value(json_object_get(req->msg, "data"));
    cleanup_free uint8_t *buf = calloc(MSG_DMA_MAX, 1);
    struct dma dma;
    json_t *reply;

    if (!buf)
        return NULL;
    if (msg_u32(req->msg, "endpoint", UINT32_MAX, &dma.endpoint) < 0 ||
        msg_u64(req->msg, "iova", &dma.iova) < 0 || !hex ||
        parse_hex(hex, buf, MSG_DMA_MAX, &dma.len) < 0)
        return msg_new_error(
            req->id, "dma-write: endpoint, iova and data (1 to %u bytes) are wanted", MSG_DMA_MAX);
    reply = access_or_refuse(w, req, &dma, buf, true);
    return reply ? reply : msg_new_ok(req->id);
}

/* --- looking ---------------------------------------------------------------------------------- */

static json_t *do_show(struct worker *w, const struct request *req)
{
    json_t *reply = msg_new_ok(req->id);

    return reply ? finish(reply, worker_report_show(w, req->msg, reply)) : NULL;
}

static json_t *do_mappings(struct worker *w, const struct request *req)
{
    json_t *reply = msg_new_ok(req->id);
    int r = reply ? worker_report_mappings(w, req->msg, reply) : -ENOMEM;

    if (r != -EPROTO)
        return finish(reply, r);
    json_decref(reply);
    return msg_new_error(req->id, "mappings: vdomain, first, one and limit (1 to %u) are wanted",
                         MSG_PAGE_MAX);
}

static json_t *do_log_level(struct worker *w, const struct request *req)
{
    const char *name = msg_text(req->msg, "level", 16, false);
    enum log_level level;

    (void)w;
    if (!name || log_level_parse(name, &level) < 0)
        return NULL;
    log_set_level(level);
    return msg_new_ok(req->id);
}

/* --- table ------------------------------------------------------------------------------------ */

static const struct {
    const char *name;
    bool needs_device;
    json_t *(*run)(struct worker *w, const struct request *req);
} commands[] = {
    {"start", false, do_start},
    {"offer", true, do_offer},
    {"connect", true, do_connect},
    {"recover", true, do_recover},
    {"disconnect", false, do_disconnect},
    {"endpoint-add", true, do_endpoint_add},
    {"endpoint-remove", true, do_endpoint_remove},
    {"endpoint-open-fd", true, do_endpoint_open_fd},
    {"dma-read", true, do_dma_read},
    {"dma-write", true, do_dma_write},
    {"show", true, do_show},
    {"mappings", true, do_mappings},
    {"log-level", false, do_log_level},
};

json_t *worker_command(struct worker *w, const json_t *msg)
{
    struct request req = {.msg = msg};
    const char *name;

    if (msg_parse_request(msg, &name, &req.id) < 0)
        return NULL;
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        if (strcmp(commands[i].name, name) != 0)
            continue;
        if (commands[i].needs_device && !w->device)
            return msg_new_error(req.id, "the device has not been started");
        return commands[i].run(w, &req);
    }
    return msg_new_error(req.id, "unknown command '%s'", name);
}
