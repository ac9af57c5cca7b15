/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The control page (docs/protocol.md, 4): device status, the `bypass` byte, grant maps, single
 * queues. The page is guest memory; of each word the frontend owns one load decides. What we store
 * there is for the frontend only and never read back: the truth is in struct device.
 */
#include <config.h>

#include "backend/daemon/device_priv.h"

#include <errno.h>
#include <stdlib.h>

#include "common/le.h"

_Static_assert(VIOMMU_CONFIG_SIZE % 4 == 0, "config space is stored as whole words");

const char *control_check(const struct device *d)
{
    if (control_load(d, CONTROL_F_MAGIC) != CONTROL_MAGIC)
        return "wrong magic";
    if (control_load(d, CONTROL_F_VERSION) != CONTROL_VERSION)
        return "wrong version";
    return NULL;
}

static void config_store(struct device *d)
{
    uint8_t bytes[VIOMMU_CONFIG_SIZE];

    viommu_config_bytes(d->viommu, bytes);
    for (unsigned i = 0; i < VIOMMU_CONFIG_SIZE; i += 4)
        control_store(d, CONTROL_B_CONFIG + i, le32_load(bytes + i));
}

/* --- status (virtio 1.3, 2.1) ------------------------------------------------------------------
 */

struct status_write {
    bool pending;
    uint32_t seq;
    uint8_t value;
};

static struct status_write status_load(const struct device *d)
{
    struct status_write w = {.seq = control_load_seq(d, CONTROL_F_STATUS_SEQ)};

    w.pending = w.seq != d->status_seq;
    if (w.pending)
        w.value = (uint8_t)control_load(d, CONTROL_F_STATUS);
    return w;
}

/* Bits are only ever added; a step without the one before it is left out (protocol 4.1). */
static uint8_t status_accept(uint8_t present, uint8_t wanted)
{
    uint8_t status = present | (wanted & (STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FAILED));

    if (status & STATUS_DRIVER)
        status |= wanted & STATUS_FEATURES_OK;
    if (status & STATUS_FEATURES_OK)
        status |= wanted & STATUS_DRIVER_OK;
    return status;
}

bool control_status_runs(uint8_t status)
{
    return (status & (STATUS_DRIVER_OK | STATUS_NEEDS_RESET | STATUS_FAILED)) == STATUS_DRIVER_OK;
}

/* True if the queues were started. */
static bool status_apply(struct device *d, const struct status_write *w)
{
    bool started = false;
    uint8_t before = d->status;

    if (w->value == 0) {
        device_reset(d);
    } else {
        d->status = status_accept(before, w->value);
        if (!control_status_runs(d->status))
            d->running = false;
        else if (!(before & STATUS_DRIVER_OK))
            started = device_start(d);
    }
    d->status_seq = w->seq;
    statefile_status(d->file, d->status, d->status_seq);
    control_store(d, CONTROL_B_STATUS, d->status);
    control_store_ack(d, CONTROL_B_STATUS_ACK, w->seq);
    return started;
}

/* --- bypass ------------------------------------------------------------------------------------
 */

/* True if there was something to answer. */
static bool bypass_take(struct device *d)
{
    uint32_t seq = control_load_seq(d, CONTROL_F_BYPASS_SEQ);
    uint32_t value;
    bool refused;

    if (seq == d->bypass_seq)
        return false;
    value = control_load(d, CONTROL_F_BYPASS);
    /* The word is wider than the byte: 256 is not 0. */
    refused = value > UINT8_MAX || viommu_bypass_write(d->viommu, (uint8_t)value) != 0;
    d->bypass_seq = seq;
    d->bypass_verdict = refused;
    statefile_bypass(d->file, viommu_bypass(d->viommu), d->bypass_verdict, seq);
    config_store(d);
    control_store(d, CONTROL_B_BYPASS_VERDICT, d->bypass_verdict);
    control_store_ack(d, CONTROL_B_BYPASS_ACK, seq);
    return true;
}

/* --- grant map ---------------------------------------------------------------------------------
 */

static uint32_t map_verdict_of_errno(int rc)
{
    switch (rc) {
    case 0:
        return MAP_VERDICT_OK;
    case -EBUSY:
        return MAP_VERDICT_BUSY;
    case -ENOMEM:
        return MAP_VERDICT_TOO_LARGE;
    default:
        return MAP_VERDICT_MALFORMED;
    }
}

static uint32_t map_set(struct device *d, uint32_t ref, uint32_t generation)
{
    struct grant_map map;
    uint32_t verdict;

    if (generation == 0) /* stands for "none offered" */
        return MAP_VERDICT_MALFORMED;
    verdict = grant_map_read(d->host.grants, d->host.grants_ctx, ref, generation,
                             d->config.max_map_pages, &map);
    if (verdict != MAP_VERDICT_OK)
        return verdict;
    verdict = map_verdict_of_errno(gmem_set_map(d->mem, map.runs, map.n));
    if (verdict == MAP_VERDICT_OK)
        statefile_map_taken(d->file, generation, map.runs, map.n);
    free(map.runs);
    return verdict;
}

uint32_t control_take_map(struct device *d, bool *taken_out)
{
    uint32_t generation = control_load_seq(d, CONTROL_F_MAP_GENERATION);
    uint32_t ref, verdict;

    *taken_out = generation != d->map_generation;
    if (!*taken_out)
        return MAP_VERDICT_OK;
    ref = control_load(d, CONTROL_F_MAP_REF);
    verdict = map_set(d, ref, generation);
    d->map_generation = generation;
    d->map_verdict = (uint8_t)verdict;
    if (verdict == MAP_VERDICT_OK) {
        d->map_in_use = generation;
        control_store(d, CONTROL_B_MAP_IN_USE, generation);
    } else {
        statefile_map_refused(d->file, generation, d->map_verdict);
    }
    control_store(d, CONTROL_B_MAP_VERDICT, verdict);
    control_store_ack(d, CONTROL_B_MAP_ANSWERED, generation);
    return verdict;
}

/* --- one queue (virtio 1.3, 2.6.1) -------------------------------------------------------------
 */

static uint64_t load_address(const struct device *d, unsigned offset)
{
    uint64_t low = control_load(d, offset);

    return (uint64_t)control_load(d, offset + 4) << 32 | low;
}

/* QUEUE_VERDICT_*. */
static uint32_t queue_carry_out(struct device *d, unsigned q, uint32_t command)
{
    unsigned at = CONTROL_F_QUEUE(q);
    struct device_queue_setup setup;

    if (command == QUEUE_COMMAND_RESET)
        return device_queue_reset(d, q) ? QUEUE_VERDICT_REFUSED : QUEUE_VERDICT_DONE;
    if (command != QUEUE_COMMAND_ENABLE)
        return QUEUE_VERDICT_REFUSED;
    setup.size = control_load(d, at + QUEUE_SIZE_AT);
    setup.desc = load_address(d, at + QUEUE_DESC_AT);
    setup.driver = load_address(d, at + QUEUE_DRIVER_AT);
    setup.device = load_address(d, at + QUEUE_DEVICE_AT);
    switch (device_queue_enable(d, q, setup.size ? &setup : NULL)) {
    case 0:
        return QUEUE_VERDICT_DONE;
    case -EBUSY:
        return QUEUE_VERDICT_REFUSED;
    default:
        return QUEUE_VERDICT_SETUP;
    }
}

/* True if there was something to answer; *enabled_out is set if a queue runs again. */
static bool queue_take(struct device *d, unsigned q, bool *enabled_out)
{
    unsigned at = CONTROL_F_QUEUE(q);
    uint32_t seq, command, verdict;

    /* Reserved words to a frontend that did not accept the feature. */
    if (!(d->connection.features & VIRTIO_F_RING_RESET))
        return false;
    seq = control_load_seq(d, at + QUEUE_SEQ_AT);
    if (seq == d->queue_seq[q])
        return false;
    command = control_load(d, at + QUEUE_COMMAND_AT);
    verdict = queue_carry_out(d, q, command);
    if (command == QUEUE_COMMAND_ENABLE && verdict == QUEUE_VERDICT_DONE)
        *enabled_out = true;
    d->queue_seq[q] = seq;
    d->queue_verdict[q] = (uint8_t)verdict;
    statefile_ring(d->file, q, d->vq[q] ? &d->queue[q] : NULL, seq, d->queue_verdict[q]);
    control_store(d, CONTROL_B_QUEUE_VERDICT(q), verdict);
    control_store_ack(d, CONTROL_B_QUEUE_ACK(q), seq);
    return true;
}

/* --- the page as a whole -----------------------------------------------------------------------
 */

void control_fill(struct device *d)
{
    control_store(d, CONTROL_B_VERSION, CONTROL_VERSION);
    control_store(d, CONTROL_B_STATUS, d->status);
    control_store_ack(d, CONTROL_B_STATUS_ACK, d->status_seq);
    control_store(d, CONTROL_B_BYPASS_VERDICT, d->bypass_verdict);
    control_store_ack(d, CONTROL_B_BYPASS_ACK, d->bypass_seq);
    control_store(d, CONTROL_B_MAP_VERDICT, d->map_verdict);
    control_store(d, CONTROL_B_MAP_IN_USE, d->map_in_use);
    control_store_ack(d, CONTROL_B_MAP_ANSWERED, d->map_generation);
    control_store(d, CONTROL_B_CONFIG_GENERATION, 0);
    for (unsigned q = 0; q < VIOMMU_N_QUEUES; q++) {
        control_store(d, CONTROL_B_QUEUE_VERDICT(q), d->queue_verdict[q]);
        control_store_ack(d, CONTROL_B_QUEUE_ACK(q), d->queue_seq[q]);
    }
    config_store(d);
    control_store_ack(d, CONTROL_B_MAGIC, CONTROL_MAGIC);
}

bool device_control_event(struct device *d)
{
    struct status_write w;
    bool started = false;
    bool answered;
    bool left = false;

    if (!d->connected)
        return false;
    /*
     * A frontend that does not wait between its steps gets the order that it means: a reset
     * frees what a new grant map may lack, queues start with the map that was offered first, and
     * single queues are reset in a device that runs.
     */
    w = status_load(d);
    if (w.pending && w.value == 0)
        (void)status_apply(d, &w);
    (void)control_take_map(d, &answered);
    answered = bypass_take(d) || answered;
    if (w.pending && w.value != 0)
        started = status_apply(d, &w);
    for (unsigned q = 0; q < VIOMMU_N_QUEUES; q++)
        answered = queue_take(d, q, &started) || answered;
    if (answered || w.pending)
        d->host.notify_control(d->host.ctx);
    if (started)
        left = device_queue_event(d, VIOMMU_QUEUE_REQUEST);
    return left;
}
