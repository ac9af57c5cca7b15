/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the harnesses of scripts/prove share. Only cbmc compiles these files; tests/prove/proofs
 * says how.
 *
 * A local variable that was not set has any value: that is cbmc's meaning of it.
 */
#ifndef VIOMMU_TESTS_PROVE_PROVE_H
#define VIOMMU_TESTS_PROVE_PROVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ASSUME(x) __CPROVER_assume(x)
#define PROVE(x)  __CPROVER_assert(x, #x)

/* Any value, new at each call. */
#define ANY(name, type)                 \
    static inline type any_##name(void) \
    {                                   \
        type x;                         \
                                        \
        return x;                       \
    }
ANY(u8, uint8_t)
ANY(u16, uint16_t)
ANY(u32, uint32_t)
ANY(u64, uint64_t)
ANY(int, int)

/* 0 or 1: a bool that was not set may be any byte. */
static inline bool any_bool(void)
{
    return (any_u8() & 1) != 0;
}

#endif
