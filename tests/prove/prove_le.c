/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * common/le.h: the readers of descriptors, requests and directory entries touch exactly their bytes
 * and put them together in little-endian order; writers are their inverse.
 */
#include "common/le.h"

#include "tests/prove/prove.h"

static uint64_t value_of(const uint8_t *p, unsigned n)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < n; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

int main(void)
{
    uint8_t bytes[16], before[16];
    size_t at = any_u8(), look = any_u8();
    uint64_t v = any_u64();
    unsigned n;

    ASSUME(at < sizeof(bytes) && look < sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++)
        before[i] = bytes[i] = any_u8();
    switch (any_u8() % 3) {
    case 0:
        ASSUME(at <= sizeof(bytes) - 2);
        n = 2;
        PROVE(le16_load(bytes + at) == value_of(bytes + at, 2));
        le16_store(bytes + at, (uint16_t)(v & UINT16_MAX));
        PROVE(value_of(bytes + at, 2) == (v & UINT16_MAX));
        break;
    case 1:
        ASSUME(at <= sizeof(bytes) - 4);
        n = 4;
        PROVE(le32_load(bytes + at) == value_of(bytes + at, 4));
        le32_store(bytes + at, (uint32_t)(v & UINT32_MAX));
        PROVE(value_of(bytes + at, 4) == (v & UINT32_MAX));
        break;
    default:
        ASSUME(at <= sizeof(bytes) - 8);
        n = 8;
        PROVE(le64_load(bytes + at) == value_of(bytes + at, 8));
        le64_store(bytes + at, v);
        PROVE(value_of(bytes + at, 8) == v);
        break;
    }
    if (look < at || look >= at + n)
        PROVE(bytes[look] == before[look]);
    return 0;
}
