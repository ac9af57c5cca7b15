/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the layouts do with a descriptor (vq_chain_add) and with one that refers to a table
 * (vq_indirect_copy): any descriptor, in any state of a chain that has a place left.
 */
#include "tests/prove/ring.h"

#include "backend/virtio/virtqueue.c"

static struct vq_piece pieces[VQ_AHEAD_PIECES + 2 * SIZE];
static struct vring_desc table[SIZE];
static unsigned checks, reads;
static struct range checked;
static bool checked_write;

int gmem_check(struct gmem *m, struct range gpa, bool write)
{
    PROVE(range_valid(gpa) && checks == 0);
    checks++;
    checked = gpa;
    checked_write = write;
    return any_bool() ? 0 : -EFAULT;
}

int gmem_read(struct gmem *m, uint64_t gpa, void *buf, size_t len)
{
    PROVE(buf == table && reads == 0);
    PROVE(len > 0 && len % sizeof(table[0]) == 0 && __CPROVER_w_ok(buf, len));
    reads++;
    return any_bool() ? 0 : any_bool() ? -EFAULT : -EIO;
}

/* Not called here. */
int gmem_write(struct gmem *m, uint64_t gpa, const void *buf, size_t len)
{
    PROVE(false);
    return 0;
}
const struct virtqueue_ops virtqueue_split_ops, virtqueue_packed_ops;

static void add(struct virtqueue *vq, struct vring_desc desc)
{
    const struct vq_chain old = vq->chain;
    uint32_t n = vq->n_pieces, other = any_u32();
    bool write = desc.flags & VRING_DESC_F_WRITE;
    struct vq_piece same;
    int r;

    ASSUME(n < VQ_AHEAD_PIECES + CHAIN_MOST(vq) && chain_valid(vq, &old));
    ASSUME((uint32_t)old.n_readable + old.n_writable < CHAIN_MOST(vq));
    ASSUME(other < VQ_AHEAD_PIECES + CHAIN_MOST(vq) && other != n);
    same = pieces[other];
    r = vq_chain_add(vq, desc);
    PROVE(pieces[other].addr == same.addr && pieces[other].len == same.len);
    PROVE((r == 0 && !vq->why) || (r == -EPROTO && vq->why));
    if (r < 0) {
        PROVE(vq->n_pieces == n);
        return;
    }
    PROVE(vq->n_pieces == n + 1);
    PROVE(pieces[n].addr == desc.addr && pieces[n].len == desc.len);
    /* In the order of the specification, counted and summed up, and the guest's memory. */
    PROVE(write || old.n_writable == 0);
    PROVE(vq->chain.n_readable == old.n_readable + !write);
    PROVE(vq->chain.n_writable == old.n_writable + write);
    PROVE(vq->chain.readable == old.readable + (write ? 0 : desc.len));
    PROVE(vq->chain.writable == old.writable + (write ? desc.len : 0));
    PROVE(vq->chain.head == old.head && chain_valid(vq, &vq->chain));
    PROVE(desc.len == 0 || (checks == 1 && checked.first == desc.addr && checked_write == write &&
                            checked.last - checked.first == desc.len - 1));
}

static void table_copy(struct virtqueue *vq, struct vring_desc desc)
{
    uint32_t pieces_before = vq->n_pieces;
    int r = vq_indirect_copy(vq, desc);

    PROVE((r >= 1 && !vq->why) || (r == -EPROTO && vq->why));
    PROVE(vq->n_pieces == pieces_before);
    if (r < 0)
        return;
    PROVE((uint32_t)r <= vq->size && reads == 1);
    PROVE(vq->indirect && !(desc.flags & VRING_DESC_F_NEXT) && desc.len == (uint32_t)r * 16);
}

int main(void)
{
    struct virtqueue queue, *vq = &queue;
    struct vring_desc desc;

    ASSUME(vq->size >= 1 && vq->size <= SIZE);
    vq->why = NULL;
    vq->pieces = pieces;
    vq->table = table;
    __CPROVER_havoc_object(pieces);
    if (any_bool())
        add(vq, desc);
    else
        table_copy(vq, desc);
    return 0;
}
