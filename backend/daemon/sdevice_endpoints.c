/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The administrator's endpoints of one device. Nodes in xenstore are the truth: what appears there
 * is handed to the worker, what disappears is taken away again. viommuctl's endpoints take the same
 * way, only that its caller is told the worker's verdict, and that a refused one leaves no node.
 */
#include <config.h>

#include "backend/daemon/sdevice_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A request to the worker about one endpoint. */
struct endpoint_call {
    struct sdevice *dev;
    uint32_t id;
    uint32_t serial;
    sdevice_done_fn *fn; /* NULL: nobody asked, the log is told */
    void *ctx;
};

/* --- the list --------------------------------------------------------------------------------- */

static struct known_endpoint **find_slot(struct sdevice *dev, uint32_t id)
{
    struct known_endpoint **at = &dev->known;

    while (*at && (*at)->id < id)
        at = &(*at)->next;
    return at;
}

static struct known_endpoint *find_known(struct sdevice *dev, uint32_t id)
{
    struct known_endpoint *k = *find_slot(dev, id);

    return k && k->id == id ? k : NULL;
}

/* NULL when memory is short. `text` is copied. */
static struct known_endpoint *add_known(struct sdevice *dev, uint32_t id, const char *text)
{
    struct known_endpoint **at = find_slot(dev, id);
    struct known_endpoint *k = calloc(1, sizeof(*k));

    if (!k)
        return NULL;
    k->text = strdup(text);
    if (!k->text) {
        free(k);
        return NULL;
    }
    k->id = id;
    k->serial = ++dev->serial;
    k->next = *at;
    *at = k;
    return k;
}

static void drop_known(struct sdevice *dev, uint32_t id)
{
    struct known_endpoint **at = find_slot(dev, id);
    struct known_endpoint *k = *at;

    if (!k || k->id != id)
        return;
    *at = k->next;
    free(k->text);
    free(k);
}

void sdevice_forget_endpoints(struct sdevice *dev)
{
    while (dev->known)
        drop_known(dev, dev->known->id);
}

/* --- requests --------------------------------------------------------------------------------- */

static void finish_call(struct endpoint_call *call, const char *error)
{
    if (call->fn)
        call->fn(call->ctx, error);
    free(call);
}

/* What both answers carry on success: the new value of viommu-endpoints. */
static void take_value(struct sdevice *dev, const json_t *msg)
{
    const char *value = msg_text(msg, "endpoints", XS_ENDPOINTS_VALUE_MAX, true);

    if (value) {
        sdevice_endpoints_value(dev, value);
        return;
    }
    log_err("%s: the worker's answer makes no sense, it is killed", dev->name);
    if (dev->link)
        link_kill(dev->link);
}

/* An endpoint that viommuctl brought and that is refused leaves no node behind. */
static void take_back_node(struct endpoint_call *call)
{
    struct sdevice *dev = call->dev;
    int r;

    drop_known(dev, call->id);
    r = dev->xs ? endpoint_node_remove(dev->env->xs, dev->xs, call->id) : 0;
    if (r < 0 && r != -ENOENT)
        log_err("%s: cannot remove the node of endpoint %#x: %s", dev->name, call->id,
                strerror(-r));
}

static void on_refused(struct endpoint_call *call, struct known_endpoint *k, const char *why)
{
    log_guest(&call->dev->admin_limit, "%s: endpoint refused: %s", call->dev->name, why);
    if (k) {
        k->state = KNOWN_REFUSED;
        snprintf(k->why, sizeof(k->why), "%s", why);
    }
    if (call->fn)
        take_back_node(call);
}

static void on_added(void *ctx, int error, const struct msg_reply *reply, json_t *msg)
{
    struct endpoint_call *call = ctx;
    struct sdevice *dev = call->dev;
    struct known_endpoint *k = find_known(dev, call->id);

    if (k && k->serial != call->serial)
        k = NULL; /* removed meanwhile; its own request follows */
    if (error < 0) {
        if (k)
            k->state = KNOWN_WAITING;
        finish_call(call, "the worker is gone; the endpoint is added when the device starts again");
        return;
    }
    if (reply->ok) {
        if (k)
            k->state = KNOWN_ACTIVE;
        take_value(dev, msg);
        finish_call(call, NULL);
        /* It fits because the worker offers less now: that is published by starting anew, as long
         * as nobody can have built on the old offer. */
        if (json_is_true(json_object_get(msg, "restart")))
            sdevice_config_changed(dev);
        return;
    }
    on_refused(call, k, reply->error);
    finish_call(call, reply->error);
}

static void on_removed(void *ctx, int error, const struct msg_reply *reply, json_t *msg)
{
    struct endpoint_call *call = ctx;

    if (error == 0 && reply->ok)
        take_value(call->dev, msg);
    /* A worker that never had it, or that is gone, has it no more. */
    finish_call(call, NULL);
}

static struct endpoint_call *new_call(struct sdevice *dev, uint32_t id, sdevice_done_fn *fn,
                                      void *ctx)
{
    struct endpoint_call *call = calloc(1, sizeof(*call));

    if (call)
        *call = (struct endpoint_call){.dev = dev, .id = id, .fn = fn, .ctx = ctx};
    return call;
}

static json_t *new_message(struct sdevice *dev, const char *command, json_t *endpoint)
{
    json_t *msg = msg_new_request(command, link_next_id(dev->link));

    if (json_object_set_new(msg, "endpoint", endpoint) < 0) {
        json_decref(msg);
        return NULL;
    }
    return msg;
}

/* Hands one endpoint to the worker; the caller of viommuctl, if any, hears of it. */
static void send_add(struct sdevice *dev, struct known_endpoint *k, sdevice_done_fn *fn, void *ctx)
{
    struct endpoint_call *call = new_call(dev, k->id, fn, ctx);
    int r;

    k->state = KNOWN_SENT;
    if (call)
        call->serial = k->serial;
    r = call ? link_request(dev->link, new_message(dev, "endpoint-add", json_string(k->text)),
                            on_added, call)
             : -ENOMEM;
    if (r == 0)
        return;
    free(call);
    log_err("%s: endpoint %#x not handed to the worker: %s", dev->name, k->id, strerror(-r));
    k->state = KNOWN_WAITING;
    if (fn)
        fn(ctx, "the worker does not take it now; it is added when the device starts again");
}

static void send_remove(struct sdevice *dev, uint32_t id, sdevice_done_fn *fn, void *ctx)
{
    struct endpoint_call *call = new_call(dev, id, fn, ctx);
    int r = call ? link_request(dev->link,
                                new_message(dev, "endpoint-remove", json_integer((json_int_t)id)),
                                on_removed, call)
                 : -ENOMEM;

    if (r == 0)
        return;
    free(call);
    /* An endpoint that is configured no more must not stay reachable. */
    log_err("%s: endpoint %#x not taken from the worker: %s; it is killed", dev->name, id,
            strerror(-r));
    link_kill(dev->link);
    if (fn)
        fn(ctx, NULL);
}

/* --- nodes ------------------------------------------------------------------------------------ */

/* Does the node say what its name says? A broken one stays listed, with the reason. */
static bool check_node(struct sdevice *dev, struct known_endpoint *k, const struct xs_admin_node *n)
{
    struct config_endpoint *ep = calloc(1, sizeof(*ep));
    char name[32], why[CONFIG_WHY_SIZE] = "out of memory";
    int r = -ENOMEM;

    snprintf(name, sizeof(name), XS_NODE_ENDPOINT_PREFIX "%08x", k->id);
    if (!n->text)
        snprintf(why, sizeof(why), "%s is longer than %d bytes, or not printable ASCII", name,
                 XS_ADMIN_VALUE_MAX);
    else if (ep)
        r = config_endpoint_parse(name, n->text, ep, why);
    free(ep);
    if (r == 0)
        return true;
    k->state = KNOWN_REFUSED;
    snprintf(k->why, sizeof(k->why), "%s", why);
    log_guest(&dev->admin_limit, "%s: endpoint refused: %s", dev->name, k->why);
    return false;
}

static void node_appeared(struct sdevice *dev, const struct xs_endpoint_node *node)
{
    struct known_endpoint *k = add_known(dev, node->id, node->value.text ? node->value.text : "");

    if (!k) {
        log_err("%s: out of memory for endpoint %#x", dev->name, node->id);
        return;
    }
    if (check_node(dev, k, &node->value) && dev->link)
        send_add(dev, k, NULL, NULL);
}

static void known_vanished(struct sdevice *dev, const struct known_endpoint *k)
{
    uint32_t id = k->id;
    bool sent = k->state == KNOWN_ACTIVE || k->state == KNOWN_SENT;

    drop_known(dev, id);
    if (sent && dev->link)
        send_remove(dev, id, NULL, NULL);
}

static bool same_text(const struct known_endpoint *k, const struct xs_endpoint_node *node)
{
    return strcmp(k->text, node->value.text ? node->value.text : "") == 0;
}

void sdevice_endpoints_changed(struct sdevice *dev)
{
    struct known_endpoint *k, *next;

    if (!dev->xs)
        return;
    for (k = dev->known; k; k = next) {
        const struct xs_endpoint_node *node = xs_device_endpoint(dev->xs, k->id);

        next = k->next;
        if (!node || !same_text(k, node))
            known_vanished(dev, k);
    }
    /* Both ascend. What appears goes before `k`. */
    k = dev->known;
    for (size_t i = 0; i < dev->xs->n_endpoints; i++) {
        const struct xs_endpoint_node *node = &dev->xs->endpoints[i];

        while (k && k->id < node->id)
            k = k->next;
        if (!k || k->id != node->id)
            node_appeared(dev, node);
    }
}

/* A new worker, or a device made anew: those refused before get another chance. */
void sdevice_send_endpoints(struct sdevice *dev)
{
    sdevice_forget_endpoints(dev);
    sdevice_endpoints_changed(dev);
}

/* --- viommuctl -------------------------------------------------------------------------------- */

static size_t count_known(const struct sdevice *dev)
{
    size_t n = 0;

    for (const struct known_endpoint *k = dev->known; k; k = k->next)
        n++;
    return n;
}

/* What speaks against a new endpoint before anybody is asked: a text, or NULL. */
static const char *check_new(struct sdevice *dev, const struct config_endpoint *ep)
{
    if (!dev->xs || dev->phase == XB_PHASE_ENDING || dev->phase == XB_PHASE_ENDED)
        return "the device is being removed";
    if (find_known(dev, ep->id))
        return "there is an endpoint with that id (remove it first)";
    if (count_known(dev) >= DISCOVER_MAX_ENDPOINTS)
        return "the device has as many endpoints as are served";
    return NULL;
}

static const char *node_error(int r)
{
    switch (r) {
    case -EEXIST:
        return "there is an endpoint node with that id (remove it first)";
    case -ENOENT:
    case -ESTALE:
    case -ECANCELED:
        return "the device is being removed";
    default:
        return "its node cannot be written to or removed from xenstore";
    }
}

static void add_endpoint(struct sdevice *dev, const struct config_endpoint *ep, sdevice_done_fn *fn,
                         void *ctx)
{
    char text[XS_ADMIN_VALUE_MAX + 1];
    struct known_endpoint *k;
    int r = config_endpoint_format(ep, text, sizeof(text));

    if (r == 0)
        r = endpoint_node_write(dev->env->xs, dev->xs, ep);
    if (r < 0) {
        log_warn("%s: node of endpoint %#x: %s", dev->name, ep->id, strerror(-r));
        fn(ctx, node_error(r));
        return;
    }
    k = add_known(dev, ep->id, text);
    if (k && dev->link)
        send_add(dev, k, fn, ctx);
    else
        fn(ctx, NULL); /* discovery brings the node to the next worker */
}

void sdevice_endpoint_add(struct sdevice *dev, const char *text, sdevice_done_fn *fn, void *ctx)
{
    cleanup_free struct config_endpoint *ep = calloc(1, sizeof(*ep));
    char why[CONFIG_WHY_SIZE] = "";
    const char *error;

    if (!ep) {
        fn(ctx, "out of memory");
        return;
    }
    if (config_endpoint_parse(NULL, text, ep, why) < 0) {
        fn(ctx, why);
        return;
    }
    error = check_new(dev, ep);
    if (error)
        fn(ctx, error);
    else
        add_endpoint(dev, ep, fn, ctx);
}

void sdevice_endpoint_remove(struct sdevice *dev, uint32_t id, sdevice_done_fn *fn, void *ctx)
{
    const struct known_endpoint *k = find_known(dev, id);
    bool sent;
    int r;

    if (!dev->xs || !k) {
        fn(ctx, "there is no such endpoint (viommuctl endpoint list shows them)");
        return;
    }
    sent = k->state == KNOWN_ACTIVE || k->state == KNOWN_SENT;
    r = endpoint_node_remove(dev->env->xs, dev->xs, id);
    if (r < 0 && r != -ENOENT) {
        log_warn("%s: node of endpoint %#x: %s", dev->name, id, strerror(-r));
        fn(ctx, node_error(r));
        return;
    }
    drop_known(dev, id);
    if (sent && dev->link)
        send_remove(dev, id, fn, ctx);
    else
        fn(ctx, NULL);
}

static json_t *new_row(const struct known_endpoint *k)
{
    static const char *const states[] = {
        [KNOWN_WAITING] = "waiting",
        [KNOWN_SENT] = "waiting",
        [KNOWN_ACTIVE] = "active",
        [KNOWN_REFUSED] = "refused",
    };

    return json_pack("{s:o, s:s, s:s, s:s*}", "id", msg_new_u64(k->id), "state", states[k->state],
                     "node", k->text, "why", k->state == KNOWN_REFUSED ? k->why : NULL);
}

json_t *sdevice_endpoint_list(const struct sdevice *dev)
{
    json_t *list = json_array();

    for (const struct known_endpoint *k = dev->known; k; k = k->next) {
        if (json_array_append_new(list, new_row(k)) < 0)
            break;
    }
    return list;
}
