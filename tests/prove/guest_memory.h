/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guest memory for the ring harnesses, included before everything else (-include): a load gives any
 * value, each time a new one, because the guest writes while we read; a store changes nothing that
 * a load would see. What is proven of both is that they stay inside their area.
 */
#ifndef VIOMMU_TESTS_PROVE_GUEST_MEMORY_H
#define VIOMMU_TESTS_PROVE_GUEST_MEMORY_H

#include "tests/prove/prove.h"

static inline uint64_t guest_any(size_t size)
{
    return size == 8 ? any_u64() : size == 4 ? any_u32() : any_u16();
}

#define __atomic_load_n(p, order)                                                              \
    (__CPROVER_assert(__CPROVER_r_ok((p), sizeof(*(p))) && (uintptr_t)(p) % sizeof(*(p)) == 0, \
                      "load inside its area"),                                                 \
     (__typeof__(*(p)))guest_any(sizeof(*(p))))
#define __atomic_store_n(p, v, order)                                                          \
    ((void)(v),                                                                                \
     __CPROVER_assert(__CPROVER_w_ok((p), sizeof(*(p))) && (uintptr_t)(p) % sizeof(*(p)) == 0, \
                      "store inside its area"))
#define __atomic_thread_fence(order) ((void)0)

#endif
