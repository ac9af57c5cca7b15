/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a virtqueue does whatever its layout. A queue in any state that keeps the invariants below
 * does one operation; afterwards they hold again: so they hold after any number of operations. The
 * layout does what prove_layout.c proves of it, and nothing else is known of it.
 *
 * OPERATION is one of these, so that each proof is small. SIZE is the largest queue.
 */
#include "tests/prove/ring.h"

#define NEW    0 /* with the layouts as they are: nothing is replaced */
#define ACCESS 1 /* virtqueue_read, _write, _want */
#define REST   2

#if OPERATION != NEW
static bool gmem_read_view(struct gmem *m, uint64_t gpa, void *buf, size_t len);
static bool gmem_write_view(struct gmem *m, uint64_t gpa, const void *buf, size_t len);
#include "backend/virtio/virtqueue.c"
#endif

/* --- guest memory as the queue sees it -------------------------------------------------------- */

static uint8_t buffer[64];
static size_t copied, wanted;
static unsigned n_areas;

int gmem_check(struct gmem *m, struct range gpa, bool write)
{
    return any_bool() ? 0 : -EFAULT;
}

/* Within one of the pieces that were checked? */
#if OPERATION == ACCESS
static struct vq_piece pieces[VQ_AHEAD_PIECES + 2 * SIZE];

static bool is_piece(uint64_t gpa, size_t len)
{
    bool found = false;

    for (uint32_t i = 0; i < VQ_AHEAD_PIECES + 2 * SIZE; i++)
        found |= pieces[i].addr == gpa && len <= pieces[i].len;
    return found;
}
#else
static bool is_piece(uint64_t gpa, size_t len)
{
    return false; /* nobody asks */
}
#endif

/* The next bytes of the buffer. What they are does not matter here. */
static void take(uint64_t gpa, const void *buf, size_t len)
{
    PROVE(is_piece(gpa, len));
    PROVE(buf == buffer + copied && len <= wanted - copied);
    copied += len;
}

static int copy(uint64_t gpa, const void *buf, size_t len)
{
    take(gpa, buf, len);
    return any_bool() ? 0 : any_bool() ? -EFAULT : -EIO;
}

static bool copy_view(uint64_t gpa, const void *buf, size_t len)
{
    if (any_bool())
        return false;
    take(gpa, buf, len);
    return true;
}

#if OPERATION != NEW
static bool gmem_read_view(struct gmem *m, uint64_t gpa, void *buf, size_t len)
{
    return copy_view(gpa, buf, len);
}

static bool gmem_write_view(struct gmem *m, uint64_t gpa, const void *buf, size_t len)
{
    return copy_view(gpa, buf, len);
}
#endif

int gmem_read(struct gmem *m, uint64_t gpa, void *buf, size_t len)
{
    return copy(gpa, buf, len);
}

int gmem_write(struct gmem *m, uint64_t gpa, const void *buf, size_t len)
{
    return copy(gpa, buf, len);
}

/* A hint, that may change nothing. */
void gmem_want_access(struct gmem *m, struct range gpa, bool write)
{
    PROVE(range_valid(gpa));
}

int gmem_area_map(struct gmem *m, struct range gpa, bool write, struct gmem_area *out)
{
    PROVE(range_valid(gpa));
    if (any_bool())
        return any_bool() ? -EFAULT : -ENOMEM;
    n_areas++;
    *out = (struct gmem_area){
        .base = buffer, .ptr = buffer, .pages = 1, .gpa = gpa, .write = write};
    return 0;
}

void gmem_area_unmap(struct gmem *m, struct gmem_area *area)
{
    n_areas -= area->base != NULL;
    *area = GMEM_AREA_NONE;
}

/* --- the layout, as prove_layout.c proves it -------------------------------------------------- */

#if OPERATION != NEW
static void pop_start(struct virtqueue *vq)
{
    PROVE(false);
}

static int pop_any(struct virtqueue *vq)
{
    uint16_t next = any_u16();
    struct vq_chain chain;
    uint32_t n = any_u32();
    int r = any_bool() ? 1 : any_bool() ? 0 : -EPROTO;

    PROVE(!vq->why && indices_valid(vq) && vq->n_pieces <= VQ_AHEAD_PIECES);
    if (r == 0)
        return 0;
    ASSUME(n <= CHAIN_MOST(vq));
    vq->n_pieces += n;
    vq->chain = chain;
    if (r < 0)
        return vq_break(vq, "not sound");
    ASSUME(chain_valid(vq, &chain) && (uint32_t)chain.n_readable + chain.n_writable == n);
    ASSUME(position_valid(vq, next));
    ASSUME(ahead(vq, vq->next_avail, next) >= 1);
    ASSUME(ahead(vq, vq->next_avail, next) <= vq->size - ahead(vq, vq->published, vq->next_avail));
#ifndef PACKED
    ASSUME(next == (uint16_t)(vq->next_avail + 1) && chain.head < vq->size);
#endif
    vq->next_avail = next;
    return 1;
}

static void push_any(struct virtqueue *vq, uint16_t head, uint32_t used)
{
    PROVE(indices_valid(vq) && waiting_valid(vq));
    PROVE(ahead(vq, vq->published, vq->used) < ahead(vq, vq->published, vq->next_avail));
    PROVE(head == vq->flight[vq->flight_first].chain.head);
    PROVE(used <= vq->flight[vq->flight_first].chain.writable);
#ifdef PACKED
    vq->packed.n_used++;
#endif
}

static bool publish_any(struct virtqueue *vq)
{
    vq->published = vq->used;
    vq->packed.n_used = 0;
    return any_bool();
}

static bool look_any(struct virtqueue *vq)
{
    PROVE(!vq->why);
    return any_bool();
}

static void tell_any(struct virtqueue *vq)
{
    PROVE(!vq->why);
}

static int shown_any(struct virtqueue *vq, const uint16_t *positions, uint32_t n)
{
    uint32_t r = any_u32();

    if (any_bool())
        return vq_break(vq, "not sound");
    ASSUME(r <= n && position_valid(vq, positions[r]));
    return (int)r;
}

const struct virtqueue_ops OPS = {
    .start = pop_start,
    .pop = pop_any,
    .push = push_any,
    .publish = publish_any,
    .want_kicks = look_any,
    .no_kicks = tell_any,
    .has_work = look_any,
    .shown = shown_any,
};
#endif

/* --- the invariants of struct virtqueue ------------------------------------------------------- */

static bool is_in_flight(const struct virtqueue *vq, unsigned i)
{
    return i >= vq->flight_first && i < vq->flight_end;
}

/* Chain i, if it is in flight: its slots and its pieces, before those of the next one. */
static bool flight_valid(const struct virtqueue *vq, unsigned i)
{
    const struct vq_flight *f = &vq->flight[i];
    bool last = i + 1 >= vq->flight_end || i + 1 >= VIRTQUEUE_AHEAD;
    uint16_t behind = last ? vq->next_avail : vq->flight[i + 1].before;
    uint32_t end = last ? vq->n_pieces : vq->flight[i + 1].first_piece;

    if (!is_in_flight(vq, i))
        return true;
    if (!position_valid(vq, f->before) || ahead(vq, f->before, behind) == 0)
        return false;
#ifndef PACKED
    if (ahead(vq, f->before, behind) != 1 || f->chain.head >= vq->size)
        return false;
#endif
    if (ahead(vq, vq->used, f->before) + ahead(vq, f->before, vq->next_avail) !=
        ahead(vq, vq->used, vq->next_avail))
        return false;
    return f->chain.place == i && chain_valid(vq, &f->chain) && f->first_piece <= VQ_AHEAD_PIECES &&
           f->first_piece + f->chain.n_readable + f->chain.n_writable <= end;
}

/* Also of a broken queue, whose chains in flight are still answered. */
static bool invariants(const struct virtqueue *vq)
{
    uint32_t out, taken;

    if (!indices_valid(vq) || !waiting_valid(vq))
        return false;
    out = ahead(vq, vq->published, vq->used);
    taken = ahead(vq, vq->used, vq->next_avail);
    if (ahead(vq, vq->published, vq->next_avail) != out + taken)
        return false;
    if (vq->flight_first > vq->flight_end || vq->flight_end > VIRTQUEUE_AHEAD ||
        vq->n_pieces > VQ_AHEAD_PIECES + CHAIN_MOST(vq))
        return false;
    if (vq->flight_first == vq->flight_end)
        return taken == 0;
    if (vq->flight[vq->flight_first].before != vq->used)
        return false;
    for (unsigned i = 0; i < VIRTQUEUE_AHEAD; i++) {
        if (!flight_valid(vq, i))
            return false;
    }
    return true;
}

#if OPERATION != NEW
static struct virtqueue queue;

static struct vq_flight any_flight(void)
{
    struct vq_flight f;

    return f;
}

static struct virtqueue *any_state(void)
{
    struct virtqueue *vq = &queue;

    vq->ops = &OPS;
    vq->size = any_u32();
    ASSUME(virtqueue_size_valid(vq->size, FEATURES) && vq->size <= SIZE);
    vq->event_idx = any_bool();
    vq->indirect = any_bool();
    vq->why = any_bool() ? "broken" : NULL;
    vq->next_avail = any_u16();
    vq->used = any_u16();
    vq->published = any_u16();
    vq->flight_first = any_u8();
    vq->flight_end = any_u8();
    for (unsigned i = 0; i < VIRTQUEUE_AHEAD; i++)
        vq->flight[i] = any_flight();
    vq->packed.n_used = any_u32();
    vq->n_pieces = any_u32();
    ASSUME(invariants(vq));
    return vq;
}
#endif

/* --- one operation ---------------------------------------------------------------------------- */

#if OPERATION == NEW
/* The first state, and what the layouts may touch. Whatever fails, nothing is left over. */
static void operation(void)
{
    struct virtqueue_config config = {.size = any_u32(),
                                      .desc = any_u64(),
                                      .driver = any_u64(),
                                      .device = any_u64(),
                                      .features = any_u64()};
    struct virtqueue *vq = NULL;
    int r;

    ASSUME((config.features & VIRTIO_F_RING_PACKED) == FEATURES);
    r = virtqueue_new(&vq, NULL, &config);
    PROVE(r == 0 || r == -EINVAL || r == -ENOMEM || r == -EFAULT);
    if (r < 0) {
        PROVE(vq == NULL && n_areas == 0);
        return;
    }
    PROVE(vq->size == config.size && virtqueue_size_valid(vq->size, config.features));
    PROVE(vq->ops == &OPS && n_areas == 3);
    PROVE(invariants(vq) && vq->flight_first == vq->flight_end && !virtqueue_broken(vq));
    PROVE(__CPROVER_OBJECT_SIZE(vq->pieces) ==
          (VQ_AHEAD_PIECES + CHAIN_MOST(vq)) * sizeof(*vq->pieces));
    PROVE(__CPROVER_OBJECT_SIZE(vq->table) == vq->size * sizeof(*vq->table));
    PROVE(vq->desc.gpa.first == config.desc && config.desc % 16 == 0);
    PROVE(vq->driver.gpa.first == config.driver && vq->device.gpa.first == config.device);
    PROVE(range_size(vq->desc.gpa) == 16 * vq->size && vq->device.write && !vq->driver.write);
#ifdef PACKED
    PROVE(__CPROVER_OBJECT_SIZE(vq->packed.used) == vq->size * sizeof(*vq->packed.used));
    PROVE(range_size(vq->driver.gpa) == 4 && config.driver % 4 == 0 && vq->desc.write);
    PROVE(range_size(vq->device.gpa) == 4 && config.device % 4 == 0);
#else
    PROVE(range_size(vq->driver.gpa) == 6 + 2 * vq->size && config.driver % 2 == 0);
    PROVE(range_size(vq->device.gpa) == 6 + 8 * vq->size && config.device % 4 == 0);
    PROVE(!vq->desc.write);
#endif
    virtqueue_free(vq);
    PROVE(n_areas == 0);
}

#elif OPERATION == ACCESS
/* The pieces of a chain in flight have the bytes that it speaks of. */
static bool adds_up(const struct virtqueue *vq, const struct vq_flight *f)
{
    uint64_t readable = 0, writable = 0;

    for (uint32_t i = 0; i < 2 * SIZE; i++) {
        if (i < f->chain.n_readable)
            readable += vq->pieces[f->first_piece + i].len;
        else if (i < (uint32_t)f->chain.n_readable + f->chain.n_writable)
            writable += vq->pieces[f->first_piece + i].len;
    }
    return readable == f->chain.readable && writable == f->chain.writable;
}

static struct vq_piece any_piece(void)
{
    struct vq_piece piece;

    return piece;
}

static void operation(void)
{
    struct virtqueue *vq = any_state();
    unsigned which = any_u8();
    bool in_flight, broken = vq->why;
    struct vq_chain chain;
    int r;

    vq->pieces = pieces;
    for (uint32_t i = 0; i < VQ_AHEAD_PIECES + 2 * SIZE; i++)
        pieces[i] = any_piece();
    ASSUME(which < VIRTQUEUE_AHEAD);
    in_flight = is_in_flight(vq, which);
    chain = vq->flight[which].chain;
    ASSUME(!in_flight || adds_up(vq, &vq->flight[which]));
    chain.place = which;
    if (any_bool())
        chain.head = any_u16();
    wanted = any_u8();
    ASSUME(wanted <= sizeof(buffer));
    switch (any_u8() % 3) {
    case 0:
        virtqueue_want(vq, &chain, any_u32(), any_u32());
        break;
    case 1:
        r = virtqueue_read(vq, &chain, buffer, wanted);
        PROVE(r == -EPROTO || (in_flight && r >= 0 && (size_t)r == copied && copied <= wanted &&
                               (copied == wanted || copied == chain.readable)));
        break;
    default:
        r = virtqueue_write(vq, &chain, buffer, wanted);
        PROVE(r == -EPROTO ||
              (in_flight && r == 0 && copied == wanted && wanted <= chain.writable));
        break;
    }
    PROVE(invariants(vq));
    PROVE(!broken || virtqueue_broken(vq));
}

#else
static bool same_chain(const struct vq_chain *a, const struct vq_chain *b)
{
    return a->head == b->head && a->n_readable == b->n_readable && a->n_writable == b->n_writable &&
           a->place == b->place && a->readable == b->readable && a->writable == b->writable;
}

static void pop(struct virtqueue *vq)
{
    struct vq_chain chain;
    bool one_more = any_bool(), broken = vq->why;
    bool had = vq->flight_first < vq->flight_end && !one_more;
    unsigned n = vq->flight_end - vq->flight_first;
    int r = one_more ? virtqueue_pop_ahead(vq, &chain) : virtqueue_pop(vq, &chain);

    PROVE(r == 1 || r == 0 || r == -EPROTO);
    PROVE((r == -EPROTO) == virtqueue_broken(vq));
    PROVE(!broken || r == -EPROTO);
    PROVE(vq->flight_end - vq->flight_first == n + (r == 1 && !had));
    if (r != 1)
        return;
    PROVE(chain.place == (had ? vq->flight_first : vq->flight_end - 1));
    PROVE(same_chain(&chain, &vq->flight[chain.place].chain) && chain_valid(vq, &chain));
    PROVE(had || vq->n_pieces ==
                     vq->flight[chain.place].first_piece + chain.n_readable + chain.n_writable);
}

static void give_back(struct virtqueue *vq)
{
    unsigned which = any_u8(), n = vq->flight_end - vq->flight_first, k;
    uint16_t behind = virtqueue_position(vq);
    struct vq_chain chain;

    ASSUME(which < VIRTQUEUE_AHEAD);
    chain = vq->flight[which].chain;
    chain.place = any_u16();
    if (any_bool())
        chain.head = any_u16();
    if (any_bool()) {
        virtqueue_push(vq, &chain, any_u32());
        k = vq->flight_end - vq->flight_first;
        PROVE(k == n || (k + 1 == n && vq->used == behind));
    } else {
        virtqueue_unpop(vq, &chain);
        k = vq->flight_end - vq->flight_first;
        PROVE(k == n || k + 1 == n);
    }
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

static void operation(void)
{
    struct virtqueue *vq = any_state();
    bool broken = vq->why;

    switch (any_u8()) {
    case 0:
        pop(vq);
        break;
    case 1:
        give_back(vq);
        break;
    case 2:
        (void)virtqueue_publish(vq);
        PROVE(vq->used == vq->published);
        break;
    case 3:
        (void)virtqueue_want_kicks(vq);
        break;
    case 4:
        virtqueue_no_kicks(vq);
        break;
    case 5:
        (void)virtqueue_has_work(vq);
        break;
    default:
        resume(vq);
        break;
    }
    PROVE(invariants(vq));
    PROVE(!broken || virtqueue_broken(vq)); /* for good */
}
#endif

int main(void)
{
    operation();
    return 0;
}
