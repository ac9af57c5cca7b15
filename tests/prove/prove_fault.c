/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The fault queue: never outside its slots, first in first out, full is full, losses counted; a
 * report has zeroes wherever nothing is said (virtio 1.3, 5.13.6.9).
 */
#include "backend/viommu/viommu_priv.h"

#include <stdlib.h>

#include "common/le.h"
#include "tests/prove/prove.h"

static bool known;

void *idmap_get(const struct idmap *map, uint32_t id)
{
    return known ? &known : NULL;
}

static bool invariants(const struct fault_queue *q)
{
    return q->count <= q->size && (q->size == 0 ? q->head == 0 : q->head < q->size);
}

int main(void)
{
    static struct viommu v;
    struct viommu_fault fault = {
        .reason = any_u8() % 3, .flags = any_u32(), .endpoint = any_u32(), .address = any_u64()};
    uint8_t out[VIOMMU_FAULT_SIZE];
    size_t size = any_u8(), before;
    bool took;

    ASSUME(size <= 4);
    if (fault_queue_init(&v.faults, size) < 0)
        return 0;
    v.faults.head = any_u64();
    v.faults.count = any_u64();
    ASSUME(invariants(&v.faults));
    before = v.faults.count;
    known = any_bool();
    took = viommu_report_fault(&v, &fault);
    PROVE(invariants(&v.faults));
    PROVE(took == (known && before < size) && v.faults.count == before + took);
    PROVE(v.counters.faults_lost == !took);
    if (viommu_fault_peek(&v, out)) {
        PROVE(v.faults.count > 0);
        PROVE(out[1] == 0 && out[2] == 0 && out[3] == 0 && le32_load(out + 12) == 0);
        PROVE((le32_load(out + 4) & ~0x103u) == 0);
        if (took && before == 0) {
            PROVE(out[0] == (uint8_t)fault.reason && le32_load(out + 8) == fault.endpoint);
            PROVE(le64_load(out + 16) ==
                  (fault.flags & VIOMMU_FAULT_F_ADDRESS ? fault.address : 0));
        }
    } else {
        PROVE(v.faults.count == 0);
    }
    before = v.faults.count;
    viommu_fault_drop(&v);
    PROVE(invariants(&v.faults) && v.faults.count == (before ? before - 1 : 0));
    fault_queue_clear(&v.faults);
    PROVE(invariants(&v.faults) && v.faults.count == 0);
    free(v.faults.slots);
    return 0;
}
