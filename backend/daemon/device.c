/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One virtio-iommu with its transport: see device.h. This file has the life of a connection and the
 * two queues; control.c has the control page. Owns the guest memory, the device core and the
 * virtqueues; borrows the grants and the ways to notify. All of the guest's values arrive through
 * the checks of gmem, virtqueue and viommu.
 */
#include <config.h>

#include "backend/daemon/device.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/daemon/device_priv.h"

#define MUST_FEATURES   (VIRTIO_F_VERSION_1 | VIRTIO_F_ACCESS_PLATFORM)
#define MAP_PAGES_BOUND 65536u

/* --- guest memory for the device core ----------------------------------------------------------
 */

static HOT int space_check(void *ctx, struct range gpa, bool write)
{
    return gmem_check_quick(ctx, gpa, write);
}

static HOT int space_pin(void *ctx, struct range gpa, bool write, struct guest_piece *first_out)
{
    return gmem_pin_segment(ctx, gpa, write, &first_out->hva, &first_out->bytes);
}

static HOT void space_unpin(void *ctx, struct range gpa, bool write)
{
    gmem_unpin(ctx, gpa, write);
}

static int space_segment(void *ctx, struct range gpa, bool write, struct guest_piece *out)
{
    return gmem_segment(ctx, gpa, write, &out->hva, &out->bytes);
}

static int space_read(void *ctx, uint64_t gpa, void *buf, size_t len)
{
    return gmem_read(ctx, gpa, buf, len);
}

static int space_write(void *ctx, uint64_t gpa, const void *buf, size_t len)
{
    return gmem_write(ctx, gpa, buf, len);
}

static const struct guest_space_ops gmem_space_ops = {
    .check = space_check,
    .pin = space_pin,
    .unpin = space_unpin,
    .segment = space_segment,
    .read = space_read,
    .write = space_write,
};

/* --- creation ----------------------------------------------------------------------------------
 */

static const char *config_check(const struct device_config *c)
{
    if (c->ring_features & ~DEVICE_RING_FEATURES)
        return "ring features: only INDIRECT_DESC, EVENT_IDX, RING_PACKED, IN_ORDER and RING_RESET "
               "can be offered";
    if (!virtqueue_size_valid(c->max_queue_size, 0))
        return "queue size: a power of two from 1 to 1024 is needed";
    if (c->max_map_pages == 0 || c->max_map_pages > MAP_PAGES_BOUND)
        return "directory pages: 1 to 65536";
    if (c->budget == 0)
        return "budget: at least one request";
    return viommu_config_check(&c->viommu);
}

static int device_build(struct device *d, const char **why_out)
{
    struct guest_space space = {.ops = &gmem_space_ops};
    int rc;

    rc = gmem_new(&d->mem, d->host.grants, d->host.grants_ctx, &d->config.mem);
    if (rc) {
        if (rc == -EINVAL)
            *why_out = "limits of guest memory";
        return rc;
    }
    space.ctx = d->mem;
    rc = viommu_new(&d->viommu, &d->config.viommu, &space);
    if (rc)
        return rc;
    d->reply = calloc(1, viommu_reply_max(d->viommu));
    return d->reply ? 0 : -ENOMEM;
}

int device_new(struct device **out, const struct device_config *config,
               const struct device_host *host, const char **why_out)
{
    struct device *d;
    int rc;

    *why_out = config_check(config);
    if (*why_out)
        return -EINVAL;
    *why_out = "out of memory";
    d = calloc(1, sizeof(*d));
    if (!d)
        return -ENOMEM;
    d->config = *config;
    d->host = *host;
    d->control = GMEM_AREA_NONE;
    d->broken_why = "";
    d->log_limit = (struct ratelimit)RATELIMIT_INIT(5, 10000);
    rc = device_build(d, why_out);
    if (rc) {
        device_free(d);
        return rc;
    }
    *why_out = "";
    *out = d;
    return 0;
}

struct device *device_free(struct device *d)
{
    if (!d)
        return NULL;
    device_disconnect(d);
    viommu_free(d->viommu);
    gmem_free(d->mem);
    free(d->reply);
    free(d);
    return NULL;
}

uint64_t device_features(const struct device *d)
{
    return viommu_offered(d->viommu) | d->config.ring_features | MUST_FEATURES;
}

/* --- connection --------------------------------------------------------------------------------
 */

/* Says why a connection is refused; returns rc. */
static int refuse(char *why, size_t why_size, int rc, const char *fmt, ...) PRINTF_LIKE(4, 5);
static int refuse(char *why, size_t why_size, int rc, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(why, why_size, fmt, ap);
    va_end(ap);
    return rc;
}

static bool queue_size_sound(const struct device *d, uint64_t features, uint32_t size)
{
    return virtqueue_size_valid(size, features) && size <= d->config.max_queue_size;
}

int device_check_connection(const struct device *d, const struct device_connection *c, char *why,
                            size_t why_size)
{
    uint64_t unknown = c->features & ~device_features(d);

    if (unknown)
        return refuse(why, why_size, -EINVAL, "features: %#" PRIx64 " was not offered", unknown);
    if ((c->features & MUST_FEATURES) != MUST_FEATURES)
        return refuse(why, why_size, -EINVAL, "features: bits 32 and 33 are needed");
    if (c->control_ref == 0)
        return refuse(why, why_size, -EINVAL, "control page: reference 0 is never valid");
    for (unsigned q = 0; q < VIOMMU_N_QUEUES; q++) {
        if (!queue_size_sound(d, c->features, c->queue[q].size))
            return refuse(
                why, why_size, -EINVAL, "queue %u: size %" PRIu32 " is not a %s from 1 to %" PRIu32,
                q, c->queue[q].size, c->features & VIRTIO_F_RING_PACKED ? "number" : "power of two",
                d->config.max_queue_size);
    }
    return 0;
}

int device_map_control(struct device *d, char *why, size_t why_size)
{
    uint32_t ref = d->connection.control_ref;
    struct range page;
    const char *wrong;
    int rc;

    if (!range_from_size(GMEM_GRANT_BIT | (uint64_t)ref << GRANT_PAGE_SHIFT, GRANT_PAGE_SIZE,
                         &page))
        return refuse(why, why_size, -EINVAL, "control page: reference %" PRIu32, ref);
    rc = gmem_area_map(d->mem, page, true, &d->control);
    if (rc)
        return refuse(why, why_size, rc,
                      "control page: reference %" PRIu32 " cannot be mapped writable: %s", ref,
                      strerror(-rc));
    wrong = control_check(d);
    if (wrong)
        return refuse(why, why_size, -EINVAL, "control page: %s", wrong);
    return 0;
}

static int first_map_take(struct device *d, char *why, size_t why_size)
{
    static const char *const verdicts[] = {"in use", "malformed", "busy", "too large"};
    bool taken;
    uint32_t verdict = control_take_map(d, &taken);

    if (verdict != MAP_VERDICT_OK)
        return refuse(why, why_size, -EINVAL, "grant map: %s", verdicts[verdict]);
    return 0;
}

int device_map_ring(struct device *d, unsigned q, const struct device_queue_setup *s)
{
    struct virtqueue_config config = {
        .size = s->size,
        .desc = s->desc,
        .driver = s->driver,
        .device = s->device,
        .features = d->connection.features,
    };
    int rc = virtqueue_new(&d->vq[q], d->mem, &config);

    if (!rc)
        d->queue[q] = *s;
    return rc;
}

int device_map_rings(struct device *d, char *why, size_t why_size)
{
    for (unsigned q = 0; q < VIOMMU_N_QUEUES; q++) {
        int rc = device_map_ring(d, q, &d->connection.queue[q]);

        if (rc)
            return refuse(why, why_size, rc, "queue %u: the ring cannot be mapped: %s", q,
                          rc == -EINVAL ? "misaligned or wrapping area" : strerror(-rc));
    }
    d->rings_fresh = true;
    return 0;
}

void device_unmap_rings(struct device *d)
{
    gmem_begin(d->mem);
    for (unsigned q = 0; q < VIOMMU_N_QUEUES; q++)
        d->vq[q] = virtqueue_free(d->vq[q]);
    gmem_end(d->mem);
}

/* Lets go of everything of the guest; also what a failed connect leaves. */
void device_forget_guest(struct device *d)
{
    d->running = false;
    device_unmap_rings(d);
    gmem_area_unmap(d->mem, &d->control);
    /* Nothing is pinned any more, so this cannot be busy, and an empty map needs no memory. */
    if (gmem_set_map(d->mem, NULL, 0))
        log_err("guest memory stays mapped after the end of a connection");
    d->status = 0;
    d->status_seq = 0;
    d->bypass_seq = 0;
    d->map_generation = 0;
    d->map_in_use = 0;
    d->bypass_verdict = 0;
    d->map_verdict = MAP_VERDICT_OK;
    memset(d->queue_seq, 0, sizeof(d->queue_seq));
    memset(d->queue_verdict, QUEUE_VERDICT_DONE, sizeof(d->queue_verdict));
    d->broken_why = "";
}

/* Faults of endpoints that had no guest to tell belong to no connection. */
static void stale_faults_drop(struct device *d)
{
    while (viommu_faults_queued(d->viommu) > 0) {
        viommu_fault_drop(d->viommu);
        viommu_fault_lost(d->viommu);
    }
}

/* Without a file that fits, the device works, only that nobody can take it over. */
static void file_begin(struct device *d)
{
    struct viommu_config now = *viommu_config(d->viommu);

    now.bypass = viommu_bypass(d->viommu);
    viommu_observe(d->viommu, NULL, NULL);
    if (!d->file)
        return;
    if (statefile_begin(d->file, &now, d->config.max_map_pages)) {
        log_warn("no usable state file: a crash of this worker ends its connection");
        d->file = NULL;
        return;
    }
    viommu_observe(d->viommu, &statefile_observer, d->file);
}

void device_set_file(struct device *d, struct statefile *f)
{
    if (!d->connected)
        d->file = f;
}

void device_leave_file(struct device *d)
{
    viommu_observe(d->viommu, NULL, NULL);
    d->file = NULL;
}

void device_setup(const struct device *d, struct statefile_setup *out)
{
    out->viommu = *viommu_config(d->viommu);
    out->max_queue_size = d->config.max_queue_size;
    out->max_map_pages = d->config.max_map_pages;
    out->connection = d->connection;
}

int device_connect(struct device *d, const struct device_connection *c, char *why, size_t why_size)
{
    int rc;

    if (d->connected)
        return refuse(why, why_size, -EBUSY, "already connected");
    rc = device_check_connection(d, c, why, why_size);
    if (rc)
        return rc;
    d->connection = *c;
    file_begin(d);
    rc = device_map_control(d, why, why_size);
    if (!rc)
        rc = first_map_take(d, why, why_size);
    if (!rc)
        rc = device_map_rings(d, why, why_size);
    if (!rc) {
        rc = viommu_set_features(d->viommu, c->features & VIOMMU_F_ALL);
        if (rc)
            (void)refuse(why, why_size, rc, "features: refused by the device");
    }
    if (rc) {
        device_forget_guest(d);
        return rc;
    }
    stale_faults_drop(d);
    control_fill(d);
    d->connected = true;
    return 0;
}

void device_disconnect(struct device *d)
{
    if (!d->connected)
        return;
    d->running = false;
    statefile_end(d->file);
    /* All windows at once. */
    gmem_begin(d->mem);
    viommu_reset(d->viommu);
    device_forget_guest(d);
    gmem_end(d->mem);
    d->connected = false;
}

bool device_connected(const struct device *d)
{
    return d->connected;
}

/* --- start, reset, failure ---------------------------------------------------------------------
 */

bool device_start(struct device *d)
{
    if (!d->rings_fresh) {
        device_unmap_rings(d);
        for (unsigned q = 0; q < VIOMMU_N_QUEUES; q++) {
            if (device_map_ring(d, q, &d->connection.queue[q])) {
                device_break(d, "start", "a ring can no longer be mapped");
                return false;
            }
        }
    }
    d->rings_fresh = false;
    for (unsigned q = 0; q < VIOMMU_N_QUEUES; q++) {
        statefile_queue_start(d->file, q, virtqueue_position(d->vq[q]));
        statefile_ring(d->file, q, &d->queue[q], d->queue_seq[q], d->queue_verdict[q]);
    }
    d->running = true;
    return true;
}

void device_reset(struct device *d)
{
    d->running = false;
    gmem_begin(d->mem);
    viommu_reset(d->viommu);
    gmem_end(d->mem);
    /* The features were settled by the frontend's node, for the whole connection (protocol 4.1). */
    if (viommu_set_features(d->viommu, d->connection.features & VIOMMU_F_ALL))
        log_err("features that were accepted are refused after a reset");
    d->status = 0;
    d->broken_why = "";
}

int device_queue_reset(struct device *d, unsigned queue)
{
    if (!d->running)
        return -EBUSY;
    /* Nothing is in flight between two calls: what was taken is answered and published. */
    d->vq[queue] = virtqueue_free(d->vq[queue]);
    return 0;
}

int device_queue_enable(struct device *d, unsigned queue, const struct device_queue_setup *setup)
{
    int rc;

    if (!d->running || d->vq[queue])
        return -EBUSY;
    if (!setup)
        setup = &d->connection.queue[queue];
    if (!queue_size_sound(d, d->connection.features, setup->size))
        return -EINVAL;
    rc = device_map_ring(d, queue, setup);
    if (!rc)
        statefile_queue_start(d->file, queue, virtqueue_position(d->vq[queue]));
    return rc;
}

void device_break(struct device *d, const char *what, const char *why)
{
    /* Once per reset: nothing that could come here runs again before one. */
    d->running = false;
    d->status |= STATUS_NEEDS_RESET;
    d->broken_why = why;
    d->breaks++;
    statefile_status(d->file, d->status, d->status_seq);
    log_guest(&d->log_limit, "%s: %s; the device needs a reset", what, why);
    /* virtio 1.3, 2.1.2: a configuration change notification goes with it. */
    control_store_ack(d, CONTROL_B_STATUS, d->status);
    d->host.notify_control(d->host.ctx);
}

/* --- request queue -----------------------------------------------------------------------------
 */

/* Carries out the oldest request in flight: 0 or -EPROTO. */
static int request_serve(struct device *d, const struct device_request *request)
{
    const struct vq_chain *chain = &request->chain;
    struct virtqueue *vq = d->vq[VIOMMU_QUEUE_REQUEST];
    struct statefile_answer answer = {.type = 0};
    size_t used;

    statefile_request_begin(d->file);
    used = viommu_request(d->viommu, request->bytes, request->len, chain->writable, d->reply);
    if (used > 0)
        answer = (struct statefile_answer){.type = request->bytes[0],
                                           .status = d->reply[used - VIOMMU_TAIL_SIZE],
                                           .used = (uint32_t)used};
    statefile_request_done(d->file, &answer, virtqueue_position(vq));
    if (used > 0) {
        int rc = virtqueue_write(vq, chain, d->reply, used);

        if (rc)
            return rc;
    }
    virtqueue_push(vq, chain, (uint32_t)used);
    return 0;
}

/* Pops up to `max` chains: their number. 0 or -EPROTO in *rc_out: there are no more. */
static unsigned requests_pop(struct device *d, unsigned max, int *rc_out)
{
    struct virtqueue *vq = d->vq[VIOMMU_QUEUE_REQUEST];
    bool hints = gmem_fetches(d->mem);
    unsigned n = 0;

    for (; n < max && n < VIRTQUEUE_AHEAD; n++) {
        struct vq_chain *chain = &d->ahead[n].chain;

        *rc_out = virtqueue_pop_ahead(vq, chain);
        if (*rc_out <= 0)
            break;
        if (hints)
            virtqueue_want(vq, chain, VIOMMU_REQ_MAX, viommu_reply_max(d->viommu));
    }
    gmem_fetch(d->mem);
    return n;
}

/*
 * The same, and copies the requests. What they need of grants (their buffers, then the pages that
 * MAPs name) is mapped ahead, by one call of the platform each. What breaks the ring concerns only
 * what is behind the requests that are returned.
 */
static unsigned requests_take(struct device *d, unsigned max, int *rc_out)
{
    struct virtqueue *vq = d->vq[VIOMMU_QUEUE_REQUEST];
    bool hints = gmem_fetches(d->mem);
    unsigned n = requests_pop(d, max, rc_out);

    for (unsigned i = 0; i < n; i++) {
        struct device_request *request = &d->ahead[i];
        int len = virtqueue_read(vq, &request->chain, request->bytes, VIOMMU_REQ_MAX);
        struct range gpa;
        bool write;

        if (len < 0) {
            *rc_out = len;
            n = i;
            break;
        }
        request->len = (size_t)len;
        if (hints && viommu_request_pins(d->viommu, request->bytes, request->len, &gpa, &write))
            gmem_want_pin(d->mem, gpa, write);
    }
    gmem_fetch(d->mem);
    return n;
}

void device_publish(struct device *d, unsigned queue)
{
    bool wanted = virtqueue_publish(d->vq[queue]);

    statefile_published(d->file, queue);
    if (wanted)
        d->host.notify_queue(d->host.ctx, queue);
}

/* Up to `budget` requests; true if the queue may hold more. */
static HOT bool requests_run(struct device *d)
{
    struct virtqueue *vq = d->vq[VIOMMU_QUEUE_REQUEST];
    unsigned done = 0;
    int rc = 1;

    virtqueue_no_kicks(vq);
    gmem_begin(d->mem);
    viommu_batch_begin(d->viommu);
    while (rc > 0 && done < d->config.budget) {
        unsigned n = requests_take(d, d->config.budget - done, &rc);

        /* Strictly in the order of the ring. */
        for (unsigned i = 0; i < n; i++) {
            int served = request_serve(d, &d->ahead[i]);

            if (served) {
                rc = served;
                break;
            }
            done++;
        }
    }
    /* Before the driver sees an answer: the host lets go of what was unmapped, then we do; what it
     * got back it may revoke (protocol 5). */
    viommu_batch_end(d->viommu);
    gmem_end(d->mem);
    if (done > 0)
        device_publish(d, VIOMMU_QUEUE_REQUEST);
    if (rc < 0) {
        device_break(d, "request queue", virtqueue_broken_why(vq));
        return false;
    }
    return virtqueue_has_work(vq) || virtqueue_want_kicks(vq);
}

/* --- event queue -------------------------------------------------------------------------------
 */

/*
 * Puts the oldest report into the next event buffer. 1: a buffer went back; 0: nothing to report
 * or no buffer; -EPROTO.
 */
static int event_deliver(struct device *d)
{
    struct virtqueue *vq = d->vq[VIOMMU_QUEUE_EVENT];
    uint8_t report[VIOMMU_FAULT_SIZE];
    struct vq_chain chain;
    int rc;

    if (!viommu_fault_peek(d->viommu, report))
        return 0;
    rc = virtqueue_pop(vq, &chain);
    if (rc <= 0)
        return rc;
    /* One report never spans buffers (D56); one that is too small goes back empty. */
    if (chain.writable < VIOMMU_FAULT_SIZE) {
        statefile_event_done(d->file, virtqueue_position(vq));
        virtqueue_push(vq, &chain, 0);
        return 1;
    }
    rc = virtqueue_write(vq, &chain, report, sizeof(report));
    if (rc)
        return rc;
    statefile_event_done(d->file, virtqueue_position(vq));
    virtqueue_push(vq, &chain, sizeof(report));
    viommu_fault_drop(d->viommu);
    return 1;
}

/* At most one round of the ring; true if more can be delivered at once. */
static bool events_run(struct device *d)
{
    struct virtqueue *vq = d->vq[VIOMMU_QUEUE_EVENT];
    uint32_t size = d->queue[VIOMMU_QUEUE_EVENT].size;
    uint32_t done = 0;
    int rc = 1;

    if (!vq || viommu_faults_queued(d->viommu) == 0)
        return false;
    gmem_begin(d->mem);
    while (done < size) {
        rc = event_deliver(d);
        if (rc <= 0)
            break;
        done++;
    }
    gmem_end(d->mem);
    if (done > 0)
        device_publish(d, VIOMMU_QUEUE_EVENT);
    if (rc < 0) {
        device_break(d, "event queue", virtqueue_broken_why(vq));
        return false;
    }
    if (viommu_faults_queued(d->viommu) > 0)
        return virtqueue_want_kicks(vq);
    virtqueue_no_kicks(vq);
    return false;
}

/* --- what the loop calls -----------------------------------------------------------------------
 */

bool device_queue_event(struct device *d, unsigned queue)
{
    bool left = false;

    if (!d->running)
        return false;
    if (queue == VIOMMU_QUEUE_REQUEST && d->vq[VIOMMU_QUEUE_REQUEST])
        left = requests_run(d);
    /* Linux posts its event buffers without a kick: any queue's kick is a chance to look. */
    if (d->running)
        left = events_run(d) || left;
    return left;
}

void device_deliver_faults(struct device *d)
{
    if (d->running)
        (void)events_run(d);
}

/* --- looking inside ----------------------------------------------------------------------------
 */

bool device_needs_reset(const struct device *d)
{
    return (d->status & STATUS_NEEDS_RESET) != 0;
}

const char *device_needs_reset_why(const struct device *d)
{
    return d->broken_why;
}

uint64_t device_breaks(const struct device *d)
{
    return d->breaks;
}

uint8_t device_status(const struct device *d)
{
    return d->status;
}

struct viommu *device_viommu(struct device *d)
{
    return d->viommu;
}

struct gmem *device_gmem(struct device *d)
{
    return d->mem;
}

const struct device_config *device_config(const struct device *d)
{
    return &d->config;
}

bool device_queue_stats(const struct device *d, unsigned queue, struct virtqueue_stats *out)
{
    if (queue >= VIOMMU_N_QUEUES || !d->vq[queue])
        return false;
    virtqueue_get_stats(d->vq[queue], out);
    return true;
}
