/* SPDX-License-Identifier: GPL-2.0-only */
/* See ring_attacks.h. Words are as on the wire. */
#include <config.h>

#include "tests/support/ring_attacks.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "tests/support/ut.h"

#define PACKED_AVAIL 0x80u

void rw_desc(unsigned i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
    if (rw.layout) {
        rw.ring.packed_desc[i] = (struct guest_packed_desc){
            .addr = htole64(addr),
            .len = htole32(len),
            .flags = htole16((uint16_t)(flags | PACKED_AVAIL))};
        return;
    }
    rw.ring.desc[i] = (struct guest_desc){
        .addr = htole64(addr), .len = htole32(len), .flags = htole16(flags), .next = htole16(next)};
}

void rw_entry(unsigned i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
    if (rw.layout) {
        rw.ring.packed_tables[i] = (struct guest_packed_desc){
            .addr = htole64(addr), .len = htole32(len), .flags = htole16(flags)};
        return;
    }
    rw.ring.tables[i] = (struct guest_desc){
        .addr = htole64(addr), .len = htole32(len), .flags = htole16(flags), .next = htole16(next)};
}

void rw_table(uint32_t bytes, uint16_t flags)
{
    const void *table = rw.layout ? (const void *)rw.ring.packed_tables : rw.ring.tables;

    rw_desc(0, rw_address(table), bytes, RW_F_TABLE | flags, 1);
    for (unsigned i = 0; i < 8; i++)
        rw_entry(i, rw_memory(), 8, i < 7 ? RW_F_NEXT : 0, (uint16_t)(i + 1));
}

/* --- attacks ---------------------------------------------------------------------------------- */

static void readable_last(void)
{
    rw_desc(0, rw_memory(), 8, RW_F_NEXT | RW_F_WRITE, 1);
    rw_desc(1, rw_memory(), 8, 0, 0);
}

static void empty_readable_last(void)
{
    rw_desc(0, rw_memory(), 0, RW_F_NEXT | RW_F_WRITE, 1);
    rw_desc(1, rw_memory(), 0, 0, 0);
}

/* The check of the sum must come first: so much memory there is not. */
static void too_many_bytes(void)
{
    rw_desc(0, rw_memory(), 16, RW_F_NEXT, 1);
    rw_desc(1, rw_memory(), 0xfffffff0, RW_F_WRITE, 0);
}

static void no_memory_to_read(void)
{
    rw_desc(0, RW_OUTSIDE, 8, 0, 0);
}

/* What follows is sound and does not make up for it. */
static void no_memory_at_first(void)
{
    rw_desc(0, RW_OUTSIDE, 8, RW_F_NEXT, 1);
    rw_desc(1, rw_memory(), 8, RW_F_WRITE, 0);
}

static void no_memory_to_write(void)
{
    rw_desc(1, RW_RO_BASE, 8, RW_F_WRITE, 0);
}

static void memory_ends_too_early(void)
{
    rw_desc(0, RW_BASE + RW_PAGES * 4096 - 8, 9, 0, 0);
}

static void address_wraps(void)
{
    rw_desc(0, UINT64_MAX - 3, 8, 0, 0);
}

static void bad_grant_bits(void)
{
    rw_desc(0, GMEM_GRANT_BIT | (1ull << 50) | ((uint64_t)RW_REF << 12), 8, 0, 0);
}

static void table_not_negotiated(void)
{
    rw_desc(0, rw_memory(), 32, RW_F_TABLE, 0);
}

static void table_with_next(void)
{
    rw_table(16, RW_F_NEXT);
}

static void table_empty(void)
{
    rw_table(0, 0);
}

static void table_odd(void)
{
    rw_table(40, 0);
}

static void table_too_long(void)
{
    rw_table(9 * 16, 0);
}

static void table_huge(void)
{
    rw_table(0xfffffff0, 0);
}

static void table_outside(void)
{
    rw_desc(0, RW_OUTSIDE, 32, RW_F_TABLE, 0);
}

static void table_of_outside(void)
{
    rw_table(32, 0);
    rw_entry(1, RW_OUTSIDE, 1, 0, 0);
}

static void table_from_outside(void)
{
    rw_table(32, 0);
    rw_entry(0, RW_OUTSIDE, 1, RW_F_NEXT, 1);
}

static void table_readable_last(void)
{
    rw_table(32, 0);
    rw_entry(0, rw_memory(), 8, RW_F_NEXT | RW_F_WRITE, 1);
    rw_entry(1, rw_memory(), 8, 0, 0);
}

static void table_bytes(void)
{
    rw_table(32, 0);
    rw_entry(0, rw_memory(), 4096, RW_F_NEXT, 1);
    rw_entry(1, rw_memory(), 0xfffff000, 0, 0);
}

static const struct rw_attack common[] = {
    {"readable descriptor after a writable one", readable_last, VIRTIO_F_VERSION_1},
    {"readable descriptor after a writable one", empty_readable_last, VIRTIO_F_VERSION_1},
    {"chain of more than 2^32 - 1 bytes", too_many_bytes, VIRTIO_F_VERSION_1},
    {"buffer that is not the guest's memory", no_memory_to_read, VIRTIO_F_VERSION_1},
    {"buffer that is not the guest's memory", no_memory_at_first, VIRTIO_F_VERSION_1},
    {"buffer that is not the guest's memory", no_memory_to_write, VIRTIO_F_VERSION_1},
    {"buffer that is not the guest's memory", memory_ends_too_early, VIRTIO_F_VERSION_1},
    {"buffer that is not the guest's memory", address_wraps, VIRTIO_F_VERSION_1},
    {"buffer that is not the guest's memory", bad_grant_bits, VIRTIO_F_VERSION_1},
    {"buffer that is not the guest's memory", table_of_outside, RW_INDIRECT},
    {"buffer that is not the guest's memory", table_from_outside, RW_INDIRECT},
    {"indirect descriptor, but not negotiated", table_not_negotiated, VIRTIO_F_VERSION_1},
    {"indirect descriptor with a successor", table_with_next, RW_INDIRECT},
    {"indirect table of an odd size", table_empty, RW_INDIRECT},
    {"indirect table of an odd size", table_odd, RW_INDIRECT},
    {"indirect table longer than the queue", table_too_long, RW_INDIRECT},
    {"indirect table longer than the queue", table_huge, RW_INDIRECT},
    {"indirect table that is not the guest's memory", table_outside, RW_INDIRECT},
    {"readable descriptor after a writable one", table_readable_last, RW_INDIRECT},
    {"chain of more than 2^32 - 1 bytes", table_bytes, RW_INDIRECT},
};

/* --- running them ----------------------------------------------------------------------------- */

static void make_sound(void)
{
    rw_desc(0, rw_memory(), 8, 0, 0);
    if (!rw.layout) {
        rw.ring.avail[1] = htole16(1);
        rw.ring.avail[2] = 0;
    }
}

static void expect_broken(const struct rw_attack *attack)
{
    struct vq_chain chain;

    UT_FALSE(virtqueue_broken(rw.vq));
    UT_TRUE(virtqueue_has_work(rw.vq));
    UT_EQ(virtqueue_pop(rw.vq, &chain), -EPROTO);
    UT_TRUE(virtqueue_broken(rw.vq));
    UT_STR(virtqueue_broken_why(rw.vq), attack->why);
}

static void expect_still_broken(void)
{
    struct vq_chain chain = {.head = 0};
    uint8_t byte;

    UT_EQ(virtqueue_pop(rw.vq, &chain), -EPROTO);
    UT_EQ(virtqueue_read(rw.vq, &(struct vq_chain){.head = 0}, &byte, 1), -EPROTO);
    virtqueue_push(rw.vq, &(struct vq_chain){.head = 0}, 0);
    UT_FALSE(virtqueue_publish(rw.vq));
    UT_FALSE(virtqueue_want_kicks(rw.vq));
    UT_FALSE(virtqueue_has_work(rw.vq));
    virtqueue_no_kicks(rw.vq);
}

void rw_attack_each(const struct rw_attack *attacks, size_t n)
{
    static uint8_t before[RW_PAGES * GRANT_PAGE_SIZE];

    for (size_t i = 0; i < n; i++) {
        UT_REQUIRE(rw_open(8, attacks[i].features));
        UT_REQUIRE(rw_request(40, 4, 2) != NULL);
        (void)guest_ring_publish(&rw.ring);
        attacks[i].fn();
        memcpy(before, rw.arena.memory, sizeof(before));
        expect_broken(&attacks[i]);
        UT_TRUE(memcmp(before, rw.arena.memory, sizeof(before)) == 0);
        make_sound(); /* too late */
        memcpy(before, rw.arena.memory, sizeof(before));
        expect_still_broken();
        UT_TRUE(memcmp(before, rw.arena.memory, sizeof(before)) == 0);
        rw_close();
    }
}

void rw_attack_common(void)
{
    rw_attack_each(common, ARRAY_SIZE(common));
}
