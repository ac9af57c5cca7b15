/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A device that goes on where a dead worker has left it (device_recover, docs/architecture.md,
 * "Recovery"). Everything in the state file is taken for hostile, and so is the guest, which may
 * have changed its memory meanwhile: each step is one that a connection or a request takes as well,
 * with the same checks.
 */
#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/daemon/device_priv.h"

static void words_take(struct device *d, const struct statefile_contents *c)
{
    const struct statefile_words *w = &c->words;

    d->status = w->status;
    d->status_seq = w->status_seq;
    d->bypass_seq = w->bypass_seq;
    d->bypass_verdict = w->bypass_verdict;
    d->map_generation = w->map_answered;
    d->map_verdict = w->map_verdict;
    d->map_in_use = w->map_in_use;
    for (unsigned q = 0; q < VIOMMU_N_QUEUES; q++) {
        d->queue_seq[q] = c->queue[q].seq;
        d->queue_verdict[q] = c->queue[q].verdict;
    }
    if (d->status & STATUS_NEEDS_RESET)
        d->broken_why = "broken before this worker took over";
}

/* --- tables -------------------------------------------------------------------------------------
 */

static bool has_endpoint(struct device *d, uint32_t id)
{
    struct viommu_endpoint_info info;

    return viommu_endpoint_next(d->viommu, id, &info) && info.id == id;
}

static bool has_vdomain(struct device *d, uint32_t id)
{
    struct viommu_vdomain_info info;

    return viommu_vdomain_next(d->viommu, id, &info) && info.id == id;
}

static int restore_attachment(void *ctx, uint32_t endpoint, const struct viommu_attachment *a)
{
    struct device *d = ctx;
    enum viommu_status status = viommu_restore_attachment(d->viommu, endpoint, a);

    if (status == VIOMMU_S_OK)
        return 0;
    /* Removed by the administrator, or refused by the host now: as if it was removed. */
    if (!has_endpoint(d, endpoint)) {
        log_warn("endpoint %#" PRIx32 " is not there any more and leaves its vdomain", endpoint);
        return 1;
    }
    log_err("endpoint %#" PRIx32 " cannot be attached to vdomain %" PRIu32 " again: %s", endpoint,
            a->vdomain, viommu_status_name(status));
    return -EPROTO;
}

/* 0, or -EPROTO if it cannot be made again. */
static int restore_mapping(struct device *d, const struct statefile_mapping *m)
{
    enum viommu_status status = viommu_restore_mapping(d->viommu, m->vdomain, &m->entry);

    if (status == VIOMMU_S_OK)
        return 0;
    /* It has ended: its last endpoint went first, or was removed by the administrator. */
    if (!has_vdomain(d, m->vdomain)) {
        statefile_forget_mapping(d->file, m);
        return 0;
    }
    log_err("vdomain %" PRIu32 ": %#" PRIx64 " cannot be mapped again: %s", m->vdomain,
            m->entry.range.first, viommu_status_name(status));
    return -EPROTO;
}

/* What an ended mapping had is the guest's again: it is not to be mapped even for a moment. */
static void want_mapping(struct device *d, const struct statefile_mapping *m)
{
    struct range gpa;
    bool write;

    if (has_vdomain(d, m->vdomain) && viommu_mapping_pins(d->viommu, &m->entry, &gpa, &write))
        gmem_want_pin(d->mem, gpa, write);
}

/* The mappings from slot *at on, as many as are mapped by one call of the platform: their number,
 * 0 if there are no more, or -EPROTO. */
static int restore_some(struct device *d, uint32_t *at)
{
    struct statefile_mapping some[GMEM_MAX_WANTS];
    int n = 0;

    while (n < (int)ARRAY_SIZE(some) && statefile_next_mapping(d->file, at, &some[n]))
        want_mapping(d, &some[n++]);
    gmem_fetch(d->mem);
    for (int i = 0; i < n; i++) {
        if (restore_mapping(d, &some[i]))
            return -EPROTO;
    }
    return n;
}

static int restore_mappings(struct device *d)
{
    uint32_t at = 0;
    int n;

    gmem_begin(d->mem);
    do {
        n = restore_some(d, &at);
    } while (n > 0);
    gmem_end(d->mem);
    return n;
}

static const char *restore_map(struct device *d)
{
    struct gmem_run *runs;
    size_t n;
    int rc = statefile_read_map(d->file, &runs, &n);

    if (rc == 0) {
        rc = gmem_set_map(d->mem, runs, n);
        free(runs);
    }
    return rc == 0 ? NULL : "the grant map cannot be taken again";
}

/* While the device runs, a queue can be another one than at first, or none (RING_RESET). */
static bool map_rings(struct device *d, const struct statefile_contents *c)
{
    char why[128];

    if (!control_status_runs(d->status))
        return device_map_rings(d, why, sizeof(why)) == 0;
    for (unsigned q = 0; q < VIOMMU_N_QUEUES; q++) {
        const struct statefile_queue *queue = &c->queue[q];

        if (queue->mapped &&
            (queue->setup.size > d->config.max_queue_size || device_map_ring(d, q, &queue->setup)))
            return false;
    }
    return true;
}

/* NULL, or why the old state cannot be had again; what was built stays for the caller to undo. */
static const char *rebuild(struct device *d, const struct statefile_contents *c)
{
    if (!map_rings(d, c))
        return "a ring cannot be mapped again";
    if (statefile_each_attachment(d->file, restore_attachment, d))
        return "an endpoint cannot be attached again";
    if (restore_mappings(d))
        return "a mapping cannot be made again";
    return NULL;
}

/* --- queues -------------------------------------------------------------------------------------
 */

/* The reply to a request that was carried out: as the first time, from its record. */
static int reply_again(struct device *d, const struct vq_chain *chain,
                       const struct statefile_answer *answer)
{
    struct virtqueue *vq = d->vq[VIOMMU_QUEUE_REQUEST];
    uint8_t req[VIOMMU_REQ_MAX];
    size_t used = answer->used;
    int n;

    if (used > viommu_reply_max(d->viommu) || used > chain->writable)
        return -EPROTO;
    n = virtqueue_read(vq, chain, req, sizeof(req));
    if (n < 0)
        return n;
    memset(d->reply, 0, used);
    if (used > 0)
        d->reply[used - VIOMMU_TAIL_SIZE] = answer->status;
    /* Properties are no state: they are the same again, and asking for them changes nothing. */
    if (answer->type == VIOMMU_T_PROBE && n > 0 && req[0] == VIOMMU_T_PROBE)
        used = viommu_request(d->viommu, req, (size_t)n, chain->writable, d->reply);
    if (used > 0 && virtqueue_write(vq, chain, d->reply, used))
        return -EPROTO;
    return (int)used;
}

/* The next request of the ring gets its recorded answer; `fresh`: which is not in the file yet. */
static bool answer_one(struct device *d, const struct statefile_answer *answer, bool fresh)
{
    struct virtqueue *vq = d->vq[VIOMMU_QUEUE_REQUEST];
    struct vq_chain chain;
    int used;

    if (virtqueue_pop(vq, &chain) != 1)
        return false;
    used = reply_again(d, &chain, answer);
    if (used < 0)
        return false;
    if (fresh)
        statefile_request_done(d->file, answer, virtqueue_position(vq));
    virtqueue_push(vq, &chain, (uint32_t)used);
    return true;
}

/* Looks how far the dead worker has come: *shown_out of the pending buffers are the driver's. */
static bool resume_queue(struct device *d, unsigned queue, const struct statefile_queue *q,
                         uint32_t *shown_out)
{
    uint16_t positions[STATEFILE_MAX_PENDING + 1] = {q->published};

    for (uint32_t i = 0; i < q->pending; i++) {
        struct statefile_answer answer;

        statefile_pending(d->file, queue, i, &answer);
        positions[i + 1] = answer.position;
    }
    return virtqueue_resume(d->vq[queue], positions, q->pending, shown_out) == 0;
}

static bool answer_pending(struct device *d, const struct statefile_contents *c, uint32_t pending)
{
    bool ok = true;

    gmem_begin(d->mem);
    for (uint32_t i = 0; i < pending && ok; i++) {
        struct statefile_answer answer;

        statefile_pending(d->file, VIOMMU_QUEUE_REQUEST, i, &answer);
        ok = answer_one(d, &answer, false);
    }
    if (ok && c->happened)
        ok = answer_one(d, &c->answer, true);
    gmem_end(d->mem);
    return ok;
}

static bool resume_requests(struct device *d, const struct statefile_contents *c)
{
    const struct statefile_queue *q = &c->queue[VIOMMU_QUEUE_REQUEST];
    uint32_t shown;

    if (!d->vq[VIOMMU_QUEUE_REQUEST]) {
        if (c->happened)
            statefile_request_skip(d->file);
        return true;
    }
    if (!resume_queue(d, VIOMMU_QUEUE_REQUEST, q, &shown))
        return false;
    statefile_resumed(d->file, VIOMMU_QUEUE_REQUEST, shown, false);
    if (!answer_pending(d, c, q->pending - shown))
        return false;
    device_publish(d, VIOMMU_QUEUE_REQUEST);
    return true;
}

/* Reports that waited, or were pushed and not published, are lost with the old worker. */
static bool resume_events(struct device *d, const struct statefile_contents *c)
{
    const struct statefile_queue *q = &c->queue[VIOMMU_QUEUE_EVENT];
    uint32_t shown;

    if (!d->vq[VIOMMU_QUEUE_EVENT])
        return true;
    if (!resume_queue(d, VIOMMU_QUEUE_EVENT, q, &shown))
        return false;
    statefile_resumed(d->file, VIOMMU_QUEUE_EVENT, shown, true);
    return true;
}

/* NULL, or why not. */
static const char *resume(struct device *d, const struct statefile_contents *c)
{
    if (!control_status_runs(d->status)) {
        if (c->happened)
            statefile_request_skip(d->file);
        return NULL;
    }
    d->rings_fresh = false;
    d->running = true;
    if (resume_events(d, c) && resume_requests(d, c))
        return NULL;
    statefile_request_skip(d->file);
    return "a ring does not fit the state file";
}

/* --- the whole ----------------------------------------------------------------------------------
 */

/* Nothing of the old state can be had: an empty device whose driver is told to reset it. */
static void start_broken(struct device *d, const struct statefile_setup *setup, const char *why)
{
    struct viommu_config now = *viommu_config(d->viommu);
    struct gmem_run *runs = NULL;
    size_t n = 0;

    viommu_observe(d->viommu, NULL, NULL);
    viommu_reset(d->viommu);
    device_unmap_rings(d);
    d->rings_fresh = false;
    now.bypass = viommu_bypass(d->viommu);
    if (gmem_map_runs(d->mem) == 0 || statefile_read_map(d->file, &runs, &n))
        n = 0;
    if (statefile_begin(d->file, &now, d->config.max_map_pages) == 0) {
        statefile_map_taken(d->file, d->map_in_use, runs, n);
        if (d->map_generation != d->map_in_use)
            statefile_map_refused(d->file, d->map_generation, d->map_verdict);
        statefile_bypass(d->file, now.bypass, d->bypass_verdict, d->bypass_seq);
        statefile_commit(d->file, setup);
    }
    free(runs);
    device_break(d, "recovery", why);
}

static int take_over(struct device *d, const struct statefile_setup *setup,
                     const struct statefile_contents *contents, const char *bad)
{
    if (viommu_set_features(d->viommu, d->connection.features & VIOMMU_F_ALL))
        bad = "the features are not offered any more";
    if (!bad)
        bad = restore_map(d);
    if (!bad)
        bad = rebuild(d, contents);
    d->connected = true;
    viommu_observe(d->viommu, &statefile_observer, d->file);
    if (!bad)
        bad = resume(d, contents);
    if (bad) {
        start_broken(d, setup, bad);
        viommu_observe(d->viommu, &statefile_observer, d->file);
        if (viommu_set_features(d->viommu, d->connection.features & VIOMMU_F_ALL))
            log_err("features that were accepted are refused after a crash");
    }
    control_fill(d);
    d->host.notify_control(d->host.ctx);
    return bad ? 1 : 0;
}

int device_recover(struct device *d, const struct statefile_setup *setup, char *why,
                   size_t why_size)
{
    struct statefile_contents contents;
    const char *bad = NULL;
    int rc;

    if (d->connected || !d->file)
        return -EBUSY;
    rc = device_check_connection(d, &setup->connection, why, why_size);
    if (rc)
        return rc;
    d->connection = setup->connection;
    rc = statefile_load(d->file, &contents, &bad);
    if (rc == 0)
        bad = NULL;
    else if (rc == -EPROTO)
        log_err("state file: %s makes no sense", bad);
    else
        bad = "out of memory";
    words_take(d, &contents);
    rc = device_map_control(d, why, why_size);
    if (rc) {
        device_forget_guest(d);
        return rc;
    }
    return take_over(d, setup, &contents, bad);
}
