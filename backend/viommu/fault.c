/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Fault reports (virtio 1.3, 5.13.6.9): a bounded first-in-first-out queue between whoever sees a
 * fault and the event queue. A guest that posts no buffers, or an endpoint that faults without
 * end, costs a fixed amount of memory: the oldest reports are kept, because the first fault
 * explains the others; the newest are lost and counted.
 */
#include <config.h>

#include "backend/viommu/viommu_priv.h"
#include "common/le.h"

#include <errno.h>
#include <string.h>

/* Offsets in a report. */
#define FAULT_REASON   0u
#define FAULT_FLAGS    4u
#define FAULT_ENDPOINT 8u
#define FAULT_ADDRESS  16u

#define FAULT_F_MASK (VIOMMU_FAULT_F_READ | VIOMMU_FAULT_F_WRITE | VIOMMU_FAULT_F_ADDRESS)

int fault_queue_init(struct fault_queue *q, size_t size)
{
    *q = (struct fault_queue){.size = size};
    if (size == 0)
        return 0;
    q->slots = calloc(size, sizeof(*q->slots));
    return q->slots ? 0 : -ENOMEM;
}

void fault_queue_clear(struct fault_queue *q)
{
    q->head = 0;
    q->count = 0;
}

bool viommu_report_fault(struct viommu *v, const struct viommu_fault *fault)
{
    struct fault_queue *q = &v->faults;

    v->counters.faults++;
    /* D54: a report about an endpoint that the guest does not know helps nobody. */
    if (q->count == q->size || !idmap_get(v->endpoint_ids, fault->endpoint)) {
        v->counters.faults_lost++;
        return false;
    }
    q->slots[(q->head + q->count) % q->size] = *fault;
    q->count++;
    return true;
}

size_t viommu_faults_queued(const struct viommu *v)
{
    return v->faults.count;
}

bool viommu_fault_peek(const struct viommu *v, uint8_t out[VIOMMU_FAULT_SIZE])
{
    const struct fault_queue *q = &v->faults;
    const struct viommu_fault *fault;

    if (q->count == 0)
        return false;
    fault = &q->slots[q->head];
    /* Reserved fields and undefined flags are zero (D52, D53). */
    memset(out, 0, VIOMMU_FAULT_SIZE);
    out[FAULT_REASON] = (uint8_t)fault->reason;
    le32_store(out + FAULT_FLAGS, fault->flags & FAULT_F_MASK);
    le32_store(out + FAULT_ENDPOINT, fault->endpoint);
    if (fault->flags & VIOMMU_FAULT_F_ADDRESS)
        le64_store(out + FAULT_ADDRESS, fault->address);
    return true;
}

void viommu_fault_drop(struct viommu *v)
{
    struct fault_queue *q = &v->faults;

    if (q->count == 0)
        return;
    q->head = (q->head + 1) % q->size;
    q->count--;
}

void viommu_fault_lost(struct viommu *v)
{
    v->counters.faults_lost++;
}
