/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Requests on their way: see requests.h. The ring itself is tests/support/guest_ring.c; here is
 * how a request becomes descriptors and an answer becomes bytes again.
 */
#include <config.h>

#include "tests/support/replay/requests.h"

#include <stdlib.h>
#include <string.h>

struct requests *requests_new(struct guest_arena pool, uint32_t size, struct framing framing)
{
    struct requests *q = calloc(1, sizeof(*q));

    if (!q)
        return NULL;
    q->pool = pool;
    q->size = size;
    q->framing = framing;
    q->random = 0x9e3779b97f4a7c15u;
    return q;
}

struct requests *requests_free(struct requests *q)
{
    free(q);
    return NULL;
}

void requests_clear(struct requests *q)
{
    q->pool.next = 0;
    q->n = 0;
    q->n_pieces = 0;
}

/* xorshift64 with a fixed seed: the same script is always cut in the same way. */
static uint32_t random_below(struct requests *q, uint32_t bound)
{
    q->random ^= q->random << 13;
    q->random ^= q->random >> 7;
    q->random ^= q->random << 17;
    return (uint32_t)(q->random >> 33) % bound;
}

/* --- cutting -----------------------------------------------------------------------------------
 */

static bool add_piece(struct requests *q, uint32_t len, bool write)
{
    uint8_t *bytes;

    if (q->n_pieces == REQUESTS_MAX_PIECES)
        return false;
    bytes = guest_alloc(&q->pool, len, 1);
    if (!bytes)
        return false;
    /* So that what the device did not write does not look like an answer. */
    if (write)
        memset(bytes, 0xff, len);
    q->pieces[q->n_pieces++] = (struct guest_buf){
        .addr = guest_address(&q->pool, bytes), .len = len, .write = write};
    return true;
}

/* Cuts one part of a request into at most `max` pieces. */
static bool cut(struct requests *q, uint32_t len, uint32_t max, bool write)
{
    uint32_t most;

    /* `max` may be 0 then: the other part took all descriptors. */
    if (len == 0)
        return true;
    most = len / max * 2 + 7;
    for (uint32_t left = max; len > 0; left--) {
        uint32_t take = len;

        if (q->framing.scatter && left > 1) {
            uint32_t some = 1 + random_below(q, most);

            if (some < take)
                take = some;
            (void)guest_alloc(&q->pool, random_below(q, 16), 1); /* a gap; none if it is full */
        }
        if (!add_piece(q, take, write))
            return false;
        len -= take;
    }
    return true;
}

static uint8_t *piece_bytes(const struct requests *q, const struct guest_buf *piece)
{
    return q->pool.memory + (piece->addr - q->pool.address);
}

/* Descriptors before the one of an indirect table (2.7.5.3.2), or all without tables. */
static size_t direct_descriptors(struct requests *q, uint32_t n)
{
    if (!q->framing.indirect)
        return n;
    return q->framing.scatter ? random_below(q, n < 3 ? n : 3) : 0;
}

static bool add_parts(struct requests *q, const uint8_t *readable, uint32_t len, uint32_t writable,
                      uint32_t *first_writable)
{
    uint32_t first = q->n_pieces;
    uint32_t max = q->size;

    /* A chain is never longer than the queue (2.7.5.2). */
    if (!cut(q, len, writable ? max / 2 : max, false))
        return false;
    for (uint32_t i = first; i < q->n_pieces; i++) {
        memcpy(piece_bytes(q, &q->pieces[i]), readable, q->pieces[i].len);
        readable += q->pieces[i].len;
    }
    *first_writable = q->n_pieces;
    return cut(q, writable, max - (q->n_pieces - first), true);
}

struct request *requests_add(struct requests *q, struct guest_ring *ring, const uint8_t *readable,
                             uint32_t len, uint32_t writable)
{
    uint32_t first = q->n_pieces, first_writable, n;
    size_t pool_next = q->pool.next;
    int head = -1;

    if (q->n < VIRTQUEUE_MAX_SIZE && add_parts(q, readable, len, writable, &first_writable)) {
        n = q->n_pieces - first;
        if (q->framing.scatter)
            guest_ring_rotate_free(ring, random_below(q, 4));
        if (n > 0)
            head = guest_ring_add(ring, &q->pieces[first], n, direct_descriptors(q, n));
    }
    if (head < 0) {
        q->n_pieces = first;
        q->pool.next = pool_next;
        return NULL;
    }
    q->v[q->n] = (struct request){
        .head = (uint32_t)head,
        .first_piece = first_writable,
        .n_pieces = q->n_pieces - first_writable,
        .writable = writable,
    };
    return &q->v[q->n++];
}

/* --- answers -----------------------------------------------------------------------------------
 */

bool requests_complete(struct requests *q, struct guest_ring *ring)
{
    uint32_t head, used;

    for (uint32_t i = 0; guest_ring_used(ring, &head, &used); i++) {
        struct request *r = &q->v[i];

        if (i == q->n || head != r->head || used > r->writable)
            return false;
        r->used = used;
        r->done = true;
    }
    return true;
}

void requests_copy(const struct requests *q, const struct request *r, uint32_t offset, uint8_t *to,
                   uint32_t len)
{
    for (uint32_t i = r->first_piece; i < r->first_piece + r->n_pieces && len > 0; i++) {
        const struct guest_buf *piece = &q->pieces[i];
        uint32_t n;

        if (offset >= piece->len) {
            offset -= piece->len;
            continue;
        }
        n = piece->len - offset < len ? piece->len - offset : len;
        memcpy(to, piece_bytes(q, piece) + offset, n);
        to += n;
        len -= n;
        offset = 0;
    }
}
