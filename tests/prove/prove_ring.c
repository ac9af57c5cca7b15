/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The ring walk. A virtqueue in any state that keeps the invariants below does one operation, on a
 * ring that has any bytes and other ones at each look. Afterwards the invariants hold again: so
 * they hold after any number of operations. Every access stays inside its area (guest_memory.h);
 * every loop ends within the bound (unwinding assertions); what is handed out is within the limits.
 */
#include "backend/virtio/virtqueue.h"

#include <errno.h>
#include <stdlib.h>

#include "backend/virtio/virtqueue_priv.h"
#include "tests/prove/prove.h"

#ifdef PACKED
#define FEATURES VIRTIO_F_RING_PACKED
#else
#define FEATURES 0
#endif
#define WRAP 0x8000u

/* --- guest memory as the queue sees it -------------------------------------------------------- */

/* One buffer of any length that gmem_check has let pass, and one that it has not. */
static struct range checked;
static bool checked_write, was_checked;

int gmem_check(struct gmem *m, struct range gpa, bool write)
{
    PROVE(range_valid(gpa));
    if (any_bool())
        return -EFAULT;
    checked = gpa;
    checked_write = write;
    was_checked = true;
    return 0;
}

int gmem_read(struct gmem *m, uint64_t gpa, void *buf, size_t len)
{
    PROVE(len == 0 || __CPROVER_w_ok(buf, len));
    if (len > 0)
        __CPROVER_havoc_slice(buf, len);
    return any_bool() ? 0 : any_bool() ? -EFAULT : -EIO;
}

int gmem_write(struct gmem *m, uint64_t gpa, const void *buf, size_t len)
{
    PROVE(len == 0 || __CPROVER_r_ok(buf, len));
    return any_bool() ? 0 : any_bool() ? -EFAULT : -EIO;
}

/* A hint, that may change nothing. */
void gmem_want_access(struct gmem *m, struct range gpa, bool write)
{
    PROVE(range_valid(gpa));
}

/* Exactly as many bytes as were asked for: what lies behind is not ours. */
int gmem_area_map(struct gmem *m, struct range gpa, bool write, struct gmem_area *out)
{
    void *p = malloc((size_t)(gpa.last - gpa.first) + 1);

    if (!p || any_bool())
        return -EFAULT;
    *out = (struct gmem_area){.base = p, .ptr = p, .pages = 1, .gpa = gpa, .write = write};
    return 0;
}

void gmem_area_unmap(struct gmem *m, struct gmem_area *area)
{
    *area = GMEM_AREA_NONE;
}

/* Nothing was looked up before: each check and copy is one of the calls above. */
static struct gmem_view nothing_seen = {.writable = {1, 0}};

/* --- the invariants of struct virtqueue ------------------------------------------------------- */

#ifdef PACKED
static bool position_valid(const struct virtqueue *vq, uint16_t p)
{
    return (p & (WRAP - 1)) < vq->size;
}

/* Slots from a to b, going on; up to two laps. */
static uint32_t ahead(const struct virtqueue *vq, uint16_t a, uint16_t b)
{
    uint32_t x = (a & (WRAP - 1)) + (a & WRAP ? vq->size : 0);
    uint32_t y = (b & (WRAP - 1)) + (b & WRAP ? vq->size : 0);

    return y >= x ? y - x : y + 2 * vq->size - x;
}
#else
static bool position_valid(const struct virtqueue *vq, uint16_t p)
{
    return true;
}

static uint32_t ahead(const struct virtqueue *vq, uint16_t a, uint16_t b)
{
    return (uint16_t)(b - a);
}
#endif

static bool is_in_flight(const struct virtqueue *vq, unsigned i)
{
    return i >= vq->flight_first && i < vq->flight_end;
}

/* Chain i, if it is in flight: its slots and its pieces, before those of the next one. */
static bool flight_valid(const struct virtqueue *vq, unsigned i)
{
    const struct vq_flight *f = &vq->flight[i];
    bool last = i + 1 == vq->flight_end;
    uint16_t behind = last ? vq->next_avail : vq->flight[i + 1].before;
    uint32_t end = last ? vq->n_pieces : vq->flight[i + 1].first_piece;
    uint32_t n = (uint32_t)f->chain.n_readable + f->chain.n_writable;

    if (!is_in_flight(vq, i))
        return true;
#ifdef PACKED
    if (!position_valid(vq, f->before) || ahead(vq, f->before, behind) == 0)
        return false;
#else
    if (ahead(vq, f->before, behind) != 1 || f->chain.head >= vq->size)
        return false;
#endif
    if (ahead(vq, vq->used, f->before) + ahead(vq, f->before, vq->next_avail) !=
        ahead(vq, vq->used, vq->next_avail))
        return false;
    return f->chain.place == i && n <= 2 * vq->size && f->first_piece <= VQ_AHEAD_PIECES &&
           f->first_piece + n <= end && f->chain.readable <= UINT32_MAX &&
           f->chain.writable <= UINT32_MAX && f->chain.readable + f->chain.writable <= UINT32_MAX;
}

/* Also of a broken queue, whose chains in flight are still answered. */
static bool invariants(const struct virtqueue *vq)
{
    uint32_t out, taken;

    if (!position_valid(vq, vq->next_avail) || !position_valid(vq, vq->used) ||
        !position_valid(vq, vq->published))
        return false;
    out = ahead(vq, vq->published, vq->used);
    taken = ahead(vq, vq->used, vq->next_avail);
    if (out + taken > vq->size || ahead(vq, vq->published, vq->next_avail) != out + taken)
        return false;
#ifdef PACKED
    /* Each buffer that waits for publishing takes at least a slot. */
    if (vq->packed.n_used > out || (vq->packed.n_used == 0) != (out == 0))
        return false;
#endif
    if (vq->flight_first > vq->flight_end || vq->flight_end > VIRTQUEUE_AHEAD ||
        vq->n_pieces > VQ_AHEAD_PIECES + 2 * vq->size)
        return false;
    if (vq->flight_first == vq->flight_end)
        return taken == 0;
    return vq->flight[vq->flight_first].before == vq->used && flight_valid(vq, 0) &&
           flight_valid(vq, 1);
}
_Static_assert(VIRTQUEUE_AHEAD == 2, "flight_valid of each");

static uint64_t sum(const struct virtqueue *vq, uint32_t first, uint32_t n)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < VQ_AHEAD_PIECES + 2 * MOST; i++) {
        if (i >= first && i < first + n)
            bytes += vq->pieces[i].len;
    }
    return bytes;
}

/* The pieces have the bytes that the chains speak of. */
static bool pieces_add_up(const struct virtqueue *vq)
{
    for (unsigned i = 0; i < VIRTQUEUE_AHEAD; i++) {
        const struct vq_flight *f = &vq->flight[i];

        if (is_in_flight(vq, i) &&
            (sum(vq, f->first_piece, f->chain.n_readable) != f->chain.readable ||
             sum(vq, f->first_piece + f->chain.n_readable, f->chain.n_writable) !=
                 f->chain.writable))
            return false;
    }
    return true;
}

static struct vq_flight any_flight(void)
{
    struct vq_flight f;

    return f;
}

/* Any state of a queue that virtqueue_new made. */
static void any_state(struct virtqueue *vq)
{
    vq->next_avail = any_u16();
    vq->used = any_u16();
    vq->published = any_u16();
    vq->flight_first = any_u8();
    vq->flight_end = any_u8();
    vq->flight[0] = any_flight();
    vq->flight[1] = any_flight();
    vq->split.avail_idx = any_u16();
    vq->packed.wish = any_u32();
    vq->packed.slots = any_u16();
    vq->packed.n_used = any_u32();
    vq->n_pieces = any_u32();
    vq->why = any_bool() ? "broken" : NULL;
    for (uint32_t i = 0; i < MOST; i++) {
#ifdef PACKED
        if (i < vq->size) {
            vq->packed.used[i].slot = any_u16();
            ASSUME(vq->packed.used[i].slot < vq->size);
        }
#endif
    }
    for (uint32_t i = 0; i < VQ_AHEAD_PIECES + 2 * MOST; i++) {
        if (i < VQ_AHEAD_PIECES + 2 * vq->size)
            vq->pieces[i].len = any_u32();
    }
    ASSUME(invariants(vq) && pieces_add_up(vq));
}

/* --- one operation ---------------------------------------------------------------------------- */

static void pop(struct virtqueue *vq)
{
    struct vq_chain chain;
    bool one_more = any_bool(), broken = vq->why;
    bool had = vq->flight_first < vq->flight_end && !one_more;
    int r;

    was_checked = false;
    r = one_more ? virtqueue_pop_ahead(vq, &chain) : virtqueue_pop(vq, &chain);
    PROVE(r == 1 || r == 0 || r == -EPROTO);
    PROVE((r == -EPROTO) == virtqueue_broken(vq));
    PROVE(!broken || r == -EPROTO);
    if (r != 1)
        return;
    PROVE(is_in_flight(vq, chain.place));
    PROVE(chain.head == vq->flight[chain.place].chain.head);
    PROVE(chain.n_readable + chain.n_writable <= 2 * vq->size);
    PROVE(chain.readable + chain.writable <= UINT32_MAX);
    if (had)
        return;
    /* What was handed out as the last piece is what was checked last, for the right access. */
    if (chain.n_readable + chain.n_writable > 0 && vq->pieces[vq->n_pieces - 1].len > 0) {
        const struct vq_piece *last = &vq->pieces[vq->n_pieces - 1];

        PROVE(was_checked && checked.first == last->addr);
        PROVE(checked.last - checked.first == last->len - 1);
        PROVE(checked_write == (chain.n_writable > 0));
    }
}

static void read_and_write(struct virtqueue *vq)
{
    struct vq_chain chain = vq->flight[any_bool()].chain;
    uint8_t buf[8];
    size_t n = any_u8();
    int r;

    ASSUME(n <= sizeof(buf));
    if (any_bool())
        chain.head = any_u16();
    if (any_bool())
        virtqueue_want(vq, &chain, any_u32(), any_u32());
    if (any_bool()) {
        r = virtqueue_read(vq, &chain, buf, n);
        PROVE(r == -EPROTO || (r >= 0 && (size_t)r <= n && (uint64_t)r <= chain.readable));
    } else {
        r = virtqueue_write(vq, &chain, buf, n);
        PROVE(r == -EPROTO || (r == 0 && n <= chain.writable));
    }
}

static void give_back(struct virtqueue *vq)
{
    struct vq_chain chain = vq->flight[any_bool()].chain;

    if (any_bool())
        chain.head = any_u16();
    if (any_bool())
        virtqueue_push(vq, &chain, any_u32());
    else
        virtqueue_unpop(vq, &chain);
}

static void resume(struct virtqueue *vq)
{
    uint16_t positions[3] = {any_u16(), any_u16(), any_u16()};
    uint32_t n = any_u8(), shown;

    ASSUME(n < 3);
    /* Of a fresh queue. */
    vq->flight_first = vq->flight_end = 0;
    vq->next_avail = vq->used = vq->published;
    vq->packed.n_used = 0;
    if (virtqueue_resume(vq, positions, n, &shown) == 0) {
        PROVE(shown <= n);
        PROVE(vq->next_avail == positions[shown]);
    }
}

int main(void)
{
    struct virtqueue_config config = {.size = any_u32(),
                                      .desc = any_u64(),
                                      .driver = any_u64(),
                                      .device = any_u64(),
                                      .features = FEATURES};
    struct virtqueue *vq = NULL;
    bool broken;

    ASSUME(config.size <= MOST);
    config.features |= any_bool() ? VIRTIO_F_INDIRECT_DESC : 0;
    config.features |= any_bool() ? VIRTIO_F_EVENT_IDX : 0;
    if (virtqueue_new(&vq, (struct gmem *)&nothing_seen, &config) < 0)
        return 0;
    PROVE(vq->size >= 1 && vq->size <= MOST);
    PROVE(invariants(vq));
    any_state(vq);
    broken = vq->why;
    switch (any_u8() % 8) {
    case 0:
        pop(vq);
        break;
    case 1:
        read_and_write(vq);
        break;
    case 2:
        give_back(vq);
        break;
    case 3:
        (void)virtqueue_publish(vq);
        PROVE(vq->used == vq->published);
        break;
    case 4:
        (void)virtqueue_want_kicks(vq);
        break;
    case 5:
        virtqueue_no_kicks(vq);
        break;
    case 6:
        (void)virtqueue_has_work(vq);
        break;
    default:
        resume(vq);
        break;
    }
    PROVE(invariants(vq));
    PROVE(pieces_add_up(vq));
    PROVE(!broken || virtqueue_broken(vq)); /* for good */
    virtqueue_free(vq);
    return 0;
}
