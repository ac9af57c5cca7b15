/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The nodes that we write. Texts may come from a worker, which is not trusted: they are checked
 * here. Each write happens in a transaction that has looked whether the directory is still the one
 * that discovery knows (see publish.h for why).
 */
#include <config.h>

#include "xenstore/publish.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* --- is it still our directory? --------------------------------------------------------------- */

static int read_child(const struct xsc *xs, uint32_t tx, const char *dir, const char *node,
                      char *buf, size_t size)
{
    char path[XS_PATH_SIZE];
    int r;

    r = xsc_join(path, sizeof(path), dir, node);
    return r < 0 ? r : xsc_read(xs, tx, path, buf, size);
}

/* Absent, or a value that is not the toolstack's "0": online. */
static int read_closing(const struct xsc *xs, uint32_t tx, const struct xs_device *dev,
                        enum xenbus_state state, bool *closing_out)
{
    char text[8];
    int r;

    r = read_child(xs, tx, dev->path, XS_NODE_ONLINE, text, sizeof(text));
    if (r < 0 && r != -ENOENT && r != -E2BIG && r != -EINVAL)
        return r;
    *closing_out = (r == 0 && strcmp(text, "0") == 0) ||
                   (state == XENBUS_CLOSING && !xs_device_wrote(dev, XENBUS_CLOSING));
    return 0;
}

static int check_directory(const struct xsc *xs, uint32_t tx, const struct xs_device *dev,
                           bool *closing_out)
{
    enum xenbus_state state;
    char text[16];
    int r;

    r = read_child(xs, tx, dev->path, XS_NODE_STATE, text, sizeof(text));
    if (r < 0 && r != -E2BIG && r != -EINVAL)
        return r;
    state = xenbus_state_parse(text);
    if (state == XENBUS_INITIALISING && dev->own_state != XENBUS_INITIALISING)
        return -ESTALE;
    if (dev->published) {
        r = read_child(xs, tx, dev->path, XS_NODE_VERSION, text, sizeof(text));
        if (r == -ENOENT)
            return -ESTALE;
        if (r < 0 && r != -E2BIG && r != -EINVAL)
            return r;
    }
    return read_closing(xs, tx, dev, state, closing_out);
}

/* --- a set of writes -------------------------------------------------------------------------- */

#define MAX_WRITES 4

struct job {
    const struct xs_device *dev;
    bool even_if_closing;
    struct {
        const char *node;
        const char *value; /* NULL: remove, absent is fine */
    } writes[MAX_WRITES];
};

static int write_node(const struct xsc *xs, uint32_t tx, const struct xs_device *dev,
                      const char *node, const char *value)
{
    char path[XS_PATH_SIZE];
    int r;

    r = xsc_join(path, sizeof(path), dev->path, node);
    if (r < 0)
        return r;
    if (!value)
        return xsc_rm(xs, tx, path);
    r = xsc_write(xs, tx, path, value);
    if (r < 0)
        return r;
    return xs->ops->set_perms(xs->ctx, tx, path, dev->backend_domid, dev->domid);
}

static int run_job(const struct xsc *xs, uint32_t tx, void *ctx)
{
    const struct job *job = ctx;
    bool closing = false;
    int r;

    r = check_directory(xs, tx, job->dev, &closing);
    if (r < 0)
        return r;
    if (closing && !job->even_if_closing)
        return -ECANCELED;
    for (size_t i = 0; i < MAX_WRITES && job->writes[i].node; i++) {
        r = write_node(xs, tx, job->dev, job->writes[i].node, job->writes[i].value);
        if (r < 0)
            return r;
    }
    return 0;
}

/* --- the six nodes ---------------------------------------------------------------------------- */

static bool endpoints_text_ok(const char *text)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789=:;. ";
    size_t len = strspn(text, allowed);

    return text[len] == '\0' && len <= XS_ENDPOINTS_VALUE_MAX;
}

int publish_nodes(const struct xsc *xs, struct xs_device *dev, const struct publish_offer *offer)
{
    char version[12], features[24], limits[96];
    struct job job = {
        .dev = dev,
        .writes = {{XS_NODE_VERSION, version},
                   {XS_NODE_FEATURES, features},
                   {XS_NODE_LIMITS, limits},
                   {XS_NODE_ENDPOINTS, offer->endpoints}},
    };
    int r;

    if (!offer->endpoints || !endpoints_text_ok(offer->endpoints))
        return -EINVAL;
    snprintf(version, sizeof(version), "%d", XS_VIOMMU_PROTO);
    snprintf(features, sizeof(features), "0x%016" PRIx64, offer->features);
    snprintf(limits, sizeof(limits),
             "queue-size=%" PRIu32 " map-pages=%" PRIu32 " grant-pages=%" PRIu32, offer->queue_size,
             offer->map_pages, offer->grant_pages);
    r = xsc_transaction(xs, run_job, &job);
    if (r == 0)
        dev->published = true;
    return r;
}

int publish_endpoints(const struct xsc *xs, struct xs_device *dev, const char *text)
{
    struct job job = {.dev = dev, .writes = {{XS_NODE_ENDPOINTS, text}}};

    return endpoints_text_ok(text) ? xsc_transaction(xs, run_job, &job) : -EINVAL;
}

int publish_error(const struct xsc *xs, struct xs_device *dev, const char *text)
{
    char clean[XS_ERROR_VALUE_MAX + 1];
    struct job job = {.dev = dev, .even_if_closing = true, .writes = {{XS_NODE_ERROR, clean}}};
    size_t i;

    for (i = 0; i < XS_ERROR_VALUE_MAX && text[i]; i++)
        clean[i] = (char)(text[i] >= 0x20 && text[i] < 0x7f ? text[i] : '?');
    clean[i] = '\0';
    return xsc_transaction(xs, run_job, &job);
}

int publish_error_clear(const struct xsc *xs, struct xs_device *dev)
{
    struct job job = {.dev = dev, .even_if_closing = true, .writes = {{XS_NODE_ERROR, NULL}}};

    return xsc_transaction(xs, run_job, &job);
}

int publish_state(const struct xsc *xs, struct xs_device *dev, enum xenbus_state state)
{
    char value[2] = {(char)('0' + (unsigned)state % 10), '\0'};
    struct job job = {
        .dev = dev,
        .even_if_closing = state == XENBUS_CLOSED,
        .writes = {{XS_NODE_STATE, value}},
    };
    int r;

    if (state != XENBUS_INIT_WAIT && state != XENBUS_CONNECTED && state != XENBUS_CLOSING &&
        state != XENBUS_CLOSED)
        return -EINVAL;
    r = xsc_transaction(xs, run_job, &job);
    if (r == 0) {
        dev->own_state = state;
        dev->unsure_states = 0;
    } else if (r == -EIO) {
        dev->unsure_states |= 1u << (unsigned)state;
    }
    return r;
}

/* --- endpoint nodes --------------------------------------------------------------------------- */

struct endpoint_job {
    const struct xs_device *dev;
    char dir[XS_PATH_SIZE];
    char path[XS_PATH_SIZE];
    const char *value;
};

static int endpoint_job_init(struct endpoint_job *job, const struct xs_device *dev, uint32_t id)
{
    char node[sizeof(XS_NODE_ENDPOINT_PREFIX) + 8];
    int r;

    snprintf(node, sizeof(node), XS_NODE_ENDPOINT_PREFIX "%08" PRIx32, id);
    job->dev = dev;
    r = xsc_join(job->dir, sizeof(job->dir), dev->path, XS_DIR_VIOMMU);
    return r < 0 ? r : xsc_join(job->path, sizeof(job->path), job->dir, node);
}

/*
 * Before the node, so that what is created below it inherits that the guest may not read. Where
 * nodes are known it has been made so with the first of them: to do it again for each node would be
 * an event about the whole directory, and make us read all of it each time.
 */
static int private_directory(const struct xsc *xs, uint32_t tx, const struct endpoint_job *job)
{
    const struct xs_device *dev = job->dev;
    char text[1];
    int r = xsc_read(xs, tx, job->dir, text, sizeof(text));

    if (r == -ENOENT)
        r = xs->ops->mkdir(xs->ctx, tx, job->dir);
    else if (dev->n_endpoints > 0 || dev->config.text)
        return r == -E2BIG || r == -EINVAL ? 0 : r;
    if (r == 0 || r == -E2BIG || r == -EINVAL)
        r = xs->ops->set_perms(xs->ctx, tx, job->dir, dev->backend_domid, XSC_READER_NONE);
    return r;
}

static int run_endpoint_write(const struct xsc *xs, uint32_t tx, void *ctx)
{
    const struct endpoint_job *job = ctx;
    const uint32_t owner = job->dev->backend_domid;
    bool closing;
    char text[1];
    int r;

    r = check_directory(xs, tx, job->dev, &closing);
    if (r < 0)
        return r;
    r = xsc_read(xs, tx, job->path, text, sizeof(text));
    if (r != -ENOENT)
        return r == 0 || r == -E2BIG || r == -EINVAL ? -EEXIST : r;
    r = private_directory(xs, tx, job);
    if (r == 0)
        r = xsc_write(xs, tx, job->path, job->value);
    if (r == 0)
        r = xs->ops->set_perms(xs->ctx, tx, job->path, owner, XSC_READER_NONE);
    return r;
}

int endpoint_node_write(const struct xsc *xs, const struct xs_device *dev,
                        const struct config_endpoint *ep)
{
    char value[XS_ADMIN_VALUE_MAX + 1];
    struct endpoint_job job;
    int r;

    r = config_endpoint_format(ep, value, sizeof(value));
    if (r < 0)
        return r;
    r = endpoint_job_init(&job, dev, ep->id);
    if (r < 0)
        return r;
    job.value = value;
    return xsc_transaction(xs, run_endpoint_write, &job);
}

static int run_endpoint_remove(const struct xsc *xs, uint32_t tx, void *ctx)
{
    const struct endpoint_job *job = ctx;
    bool closing;
    int r;

    r = check_directory(xs, tx, job->dev, &closing);
    return r < 0 ? r : xs->ops->rm(xs->ctx, tx, job->path);
}

int endpoint_node_remove(const struct xsc *xs, const struct xs_device *dev, uint32_t id)
{
    struct endpoint_job job;
    int r;

    r = endpoint_job_init(&job, dev, id);
    return r < 0 ? r : xsc_transaction(xs, run_endpoint_remove, &job);
}

/* --- removal ---------------------------------------------------------------------------------- */

static int run_remove(const struct xsc *xs, uint32_t tx, void *ctx)
{
    const struct xs_device *dev = ctx;
    char text[8];
    int r;

    r = read_child(xs, tx, dev->path, XS_NODE_STATE, text, sizeof(text));
    if (r < 0)
        return r;
    if (xenbus_state_parse(text) != XENBUS_CLOSED)
        return dev->own_state == XENBUS_CLOSED ? -ESTALE : -ECANCELED;
    r = read_child(xs, tx, dev->path, XS_NODE_ONLINE, text, sizeof(text));
    if (r < 0 || strcmp(text, "0") != 0)
        return r;
    return xsc_rm(xs, tx, dev->path);
}

/* xenstored lets a domain's transaction touch some 1,000 nodes, and there may be thousands of
 * endpoints: each then goes by itself. */
static int remove_endpoint_nodes(const struct xsc *xs, const struct xs_device *dev)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < dev->n_endpoints; i++) {
        r = endpoint_node_remove(xs, dev, dev->endpoints[i].id);
        if (r == -ENOENT)
            r = 0;
    }
    return r;
}

int publish_remove(const struct xsc *xs, struct xs_device *dev)
{
    int r;

    if (dev->backend_domid == 0)
        return 0;
    r = xsc_transaction(xs, run_remove, dev);
    if (r == -ENOSPC) {
        r = remove_endpoint_nodes(xs, dev);
        if (r == 0)
            r = xsc_transaction(xs, run_remove, dev);
    }
    return r == -ENOENT ? 0 : r;
}
