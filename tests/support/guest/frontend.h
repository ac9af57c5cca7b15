/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A virtio-iommu frontend in user space for fakexen guests: docs/protocol.md from the guest's side.
 * It keeps one request in flight and a handful of event buffers posted; main.c drives it by
 * commands. Nothing here is shared with the backend but the protocol's numbers.
 *
 * The guest's memory is one array of pages; page P is at guest address P * 4,096 in a published
 * grant map, and at fe_grant_address() while it is granted.
 */
#ifndef VIOMMU_TESTS_GUEST_FRONTEND_H
#define VIOMMU_TESTS_GUEST_FRONTEND_H

#include "common/compiler.h"
#include "tests/support/fakexen/fx_guest.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <xenstore.h>

#define FE_PAGE_SIZE 4096u
#define FE_MAX_RUNS  128u
#define FE_WAIT_MS   30000

/* The frontend's own pages; what lies behind them is for the script. */
enum fe_pages {
    FE_PAGE_CONTROL = 0,
    FE_PAGE_DIRECTORY,
    FE_PAGE_DESC, /* per queue: descriptors, available ring, used ring */
    FE_PAGE_REQUEST = FE_PAGE_DESC + 6,
    FE_PAGE_EVENTS,
    FE_PAGE_FIRST_FREE = 16,
};

struct fe_run {
    uint32_t page, n;
    bool read_only;
};

struct fe_queue {
    uint32_t size;
    uint16_t avail, used; /* indices; packed: slots */
    bool avail_wrap, used_wrap;
    uint16_t chain; /* packed: slots of the buffers in flight, which are all of this length */
    struct fx_channel channel;
};

struct frontend {
    struct fx_guest *fx;
    struct xs_handle *xs;
    uint32_t domid, backend, devid;
    uint8_t *memory;
    size_t n_pages;
    uint64_t features;
    struct fx_channel control;
    uint32_t *refs; /* per page; 0: not granted */
    struct fe_queue queue[2];
    struct fe_run runs[FE_MAX_RUNS];
    unsigned n_runs;
    bool connected;
    bool rings_in_map;
    char backend_path[128];
    char frontend_path[128];
};

/* Host trouble is -errno everywhere; a backend that does not answer in FE_WAIT_MS is -ETIMEDOUT. */
MUST_CHECK int fe_open(struct frontend *fe, const char *dir, uint32_t domid, uint32_t devid,
                       size_t n_pages);
/* Connects to xenstore anew, after xenstored was restarted. */
MUST_CHECK int fe_store_again(struct frontend *fe);
void fe_close(struct frontend *fe);

/* State 1 to 4 and the virtio driver's way to DRIVER_OK. -ECONNREFUSED: `why` has the error node.
 */
#define FE_FEATURES_DEFAULT 0x33000007full /* what a frontend of the first hour knows */
struct fe_start {
    uint32_t queue_size;
    uint64_t features; /* wanted; those offered of them are taken, if the frontend knows them */
    bool packed;       /* RING_PACKED too; -EPROTO where it is not offered */
    bool rings_in_map; /* ring addresses in the grant map instead of grant addresses */
    bool no_driver_ok; /* stop at state 4 */
};
MUST_CHECK int fe_start(struct frontend *fe, const struct fe_start *how, char *why,
                        size_t why_size);
/* The same in steps, for who wants to do something in between: up to the nodes that state 3 goes
 * with; from there to state 4; and fe_driver_init. */
MUST_CHECK int fe_prepare(struct frontend *fe, const struct fe_start *how);
MUST_CHECK int fe_connect(struct frontend *fe, char *why, size_t why_size);
/* Reset, state 5, wait for 6, state 6, revoke what the transport granted. */
MUST_CHECK int fe_stop(struct frontend *fe);

/* Device status handshake; the acknowledged device status in *out. */
MUST_CHECK int fe_status(struct frontend *fe, uint8_t status, uint8_t *out);
uint8_t fe_device_status(const struct frontend *fe);
MUST_CHECK int fe_bypass(struct frontend *fe, uint32_t value, uint32_t *verdict_out);
/* Resets (RING_RESET) a queue, or starts it afresh with `size` entries (0: as before). */
MUST_CHECK int fe_queue_reset(struct frontend *fe, unsigned queue, uint32_t *verdict_out);
MUST_CHECK int fe_queue_enable(struct frontend *fe, unsigned queue, uint32_t size,
                               uint32_t *verdict_out);
/* Offers fe->runs as a new grant map. */
MUST_CHECK int fe_offer_map(struct frontend *fe, uint32_t *verdict_out);
/* Fresh rings and driver status up to DRIVER_OK, after a reset. */
MUST_CHECK int fe_driver_init(struct frontend *fe);

/* Grants and revokes pages for the backend domain; a page has one grant at a time (-EEXIST).
 * -EBUSY: still mapped there. */
MUST_CHECK int fe_grant(struct frontend *fe, uint32_t page, uint32_t n, bool read_only);
MUST_CHECK int fe_revoke(struct frontend *fe, uint32_t page, uint32_t n);
/* The grant address of a granted page (docs/protocol.md, section 5). */
uint64_t fe_grant_address(const struct frontend *fe, uint32_t page);

/* Sends one request; copies up to `writable` bytes of the answer. Returns the used length. */
MUST_CHECK int fe_request(struct frontend *fe, const void *req, size_t req_len, void *answer,
                          size_t writable, uint32_t *used_out);

/* The next used element of a queue, for who fills rings by hand. False: there is none. */
bool fe_take_used(struct frontend *fe, unsigned queue, uint32_t *id_out, uint32_t *len_out);

/*
 * Sends n requests of req_len bytes each, made available at once; *ok_out: how many were answered
 * OK. Split rings only; -ENOSPC: more than ring or request page have room for.
 */
MUST_CHECK int fe_batch(struct frontend *fe, const uint8_t *reqs, size_t req_len, unsigned n,
                        unsigned *ok_out);

/* The next fault report, waiting up to timeout_ms; -ETIMEDOUT when there is none. */
MUST_CHECK int fe_event(struct frontend *fe, int timeout_ms, uint8_t out[24]);

/* Raw access to xenstore below the frontend's own directory. */
MUST_CHECK int fe_write_node(struct frontend *fe, const char *name, const char *value);
/* Waits for the backend's state to be one of the bits of `mask` (1 << state). */
MUST_CHECK int fe_wait_backend(struct frontend *fe, unsigned mask, unsigned *state_out);

#endif
