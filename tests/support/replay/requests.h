/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Requests on their way: buffers of the request queue, cut into descriptors as the options say,
 * offered in batches, and taken back in order. Their bytes are in a pool of the frontend's arena.
 */
#ifndef VIOMMU_TESTS_REPLAY_REQUESTS_H
#define VIOMMU_TESTS_REPLAY_REQUESTS_H

#include "tests/support/guest_ring.h"

struct framing {
    bool indirect;
    bool scatter; /* many small descriptors at odd addresses */
};

struct request {
    uint64_t line; /* of the output */
    bool probe;    /* its answer has properties */
    uint32_t head;
    uint32_t first_piece; /* of the writable part */
    uint32_t n_pieces;
    uint32_t writable;
    uint32_t used;
    bool done;
};

#define REQUESTS_MAX_PIECES 65536u

struct requests {
    struct guest_arena pool; /* its `next` goes back to 0 when nothing is in flight */
    struct framing framing;
    uint32_t size; /* of the queue */
    uint64_t random;
    uint32_t n; /* in flight */
    uint32_t n_pieces;
    struct request v[VIRTQUEUE_MAX_SIZE];
    struct guest_buf pieces[REQUESTS_MAX_PIECES];
};

struct requests *requests_new(struct guest_arena pool, uint32_t size, struct framing framing);
struct requests *requests_free(struct requests *q);

/*
 * Prepares a request with these readable bytes and `writable` bytes for the answer (one of them not
 * 0). NULL if it has to wait until what is in flight has come back; if nothing is, it can never
 * be sent. The device sees it at guest_ring_publish.
 */
struct request *requests_add(struct requests *q, struct guest_ring *ring, const uint8_t *readable,
                             uint32_t len, uint32_t writable);

/*
 * Takes what came back; v[0] to v[n-1] say if and how. False if the used ring makes no sense: an
 * answer out of order or longer than its buffer.
 */
MUST_CHECK bool requests_complete(struct requests *q, struct guest_ring *ring);

/* Copies `len` bytes at `offset` of the writable part, which has them. */
void requests_copy(const struct requests *q, const struct request *r, uint32_t offset, uint8_t *to,
                   uint32_t len);

/* Forgets what was in flight. */
void requests_clear(struct requests *q);

#endif
