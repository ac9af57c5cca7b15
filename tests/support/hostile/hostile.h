/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A guest that does what no driver would do, on fakexen. Each attack is a function with a name; it
 * begins without a connection, tries one thing in all its variants, and says for each which answers
 * of the device are right. What must hold after every attack is checked in main.c: the device
 * serves a sound frontend, and closes without keeping anything of the guest.
 */
#ifndef VIOMMU_TESTS_HOSTILE_H
#define VIOMMU_TESTS_HOSTILE_H

#include "common/compiler.h"
#include "tests/support/guest/frontend.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_SPARE    FE_PAGE_FIRST_FREE /* pages for whatever the attack at hand needs */
#define N_SPARE       48u
#define PAGE_BULK     (PAGE_SPARE + N_SPARE) /* requests of a batch, then all that is left */
#define N_BULK        16u
#define PAGE_REST     (PAGE_BULK + N_BULK)
#define ANSWER_AT     1024u /* on the request page, as the frontend does it */
#define TABLE_AT      3072u
#define ENDPOINT      8u /* the administrator has added 8 and 9 */
#define QUEUE_SIZE    16u
#define F_RING_RESET  (1ull << 40)
#define S_RUNNING     0x0fu /* the driver's status bits when all is well */
#define S_NEEDS_RESET 0x40u

/* What came of it; also as a set of those that are right. */
enum outcome {
    ANSWERED = 1,    /* a used buffer of at least four bytes */
    RETURNED = 2,    /* a used buffer without an answer */
    NEEDS_RESET = 4, /* DEVICE_NEEDS_RESET */
    SILENT = 8,      /* the device looked, and found nothing to do */
    REFUSED = 16,    /* no connection: an `error` node, state 6 */
    CONNECTED = 32,
};

struct hostile {
    struct frontend fe;
    bool packed;
    const char *dir, *control; /* of fakexen; the daemon's control socket */
    uint64_t count;            /* argument of the attack; 0: its default */
    unsigned variants;         /* tried so far */
    char said[256];            /* for the report, if there is anything to tell */
    char wrong[512];           /* the first thing that was not as it must be */
    uint64_t random;
};

/* Layouts that an attack makes a difference for. */
enum { SPLIT = 1, PACKED = 2, BOTH = 3 };

struct attack {
    const char *name;
    unsigned layouts;
    int (*run)(struct hostile *h); /* -errno: the attack could not be carried out */
    const char *what;
    bool last; /* nothing can follow in this guest: its device is gone */
};

/* Ends with a NULL name. */
extern const struct attack attacks_ring[], attacks_setup[], attacks_control[], attacks_volume[];

uint32_t hostile_random(struct hostile *h);
uint8_t *hostile_page(struct hostile *h, uint32_t page);
uint64_t hostile_address(struct hostile *h, uint32_t page); /* grant address */

/* Something that is not as it must be; the first one counts. */
void hostile_wrong(struct hostile *h, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* One more variant: `got` must be one of `right`. */
void hostile_expect(struct hostile *h, const char *label, unsigned got, unsigned right);
/* One more variant: `got` must be `want`. */
void hostile_expect_number(struct hostile *h, const char *label, uint64_t got, uint64_t want);

/* A sound connection with rings of `size`, up to DRIVER_OK. */
MUST_CHECK int hostile_connect(struct hostile *h, uint32_t size);
/* The features and layout that hostile_connect and fe_prepare are to use. */
struct fe_start hostile_how(const struct hostile *h, uint32_t size);
/* State 5, wait for 6, state 6; then revokes all grants: -EBUSY if one is mapped. */
MUST_CHECK int hostile_close(struct hostile *h);
/* Revokes all that is granted and closes the ports. -EBUSY: something is still mapped. */
MUST_CHECK int hostile_abandon(struct hostile *h);
/* Device reset and a new start on the same connection. */
MUST_CHECK int hostile_again(struct hostile *h);
/* Makes sure that the device has looked at everything that was notified before. */
MUST_CHECK int hostile_barrier(struct hostile *h);
/* Kicks queue 0 and waits for what comes of it. With `quiet`, nothing may come of it. */
MUST_CHECK int hostile_kick(struct hostile *h, bool quiet, unsigned *out);

/* The status byte of the answer to a request that a sound driver makes: 0 is OK. -EIO: the device
 * needs a reset. */
MUST_CHECK int hostile_attach(struct hostile *h, uint32_t vdomain, uint32_t endpoint,
                              uint8_t *status_out);
MUST_CHECK int hostile_map(struct hostile *h, uint32_t vdomain, uint64_t iova, uint64_t address,
                           uint64_t size, uint8_t *status_out);
MUST_CHECK int hostile_unmap(struct hostile *h, uint32_t vdomain, uint64_t first, uint64_t last,
                             uint8_t *status_out);
/* No attack at all, what a driver does: connects, attaches, maps four spare pages at 0 of
 * vdomain 1. */
MUST_CHECK int hostile_sound(struct hostile *h);

/* DMA of endpoint 8 by way of the control socket: 0 carried out, 1 refused, -errno. */
MUST_CHECK int hostile_dma(struct hostile *h, uint64_t iova);
/* A number that the administrator sees of this guest's device: `counters` of viommuctl show. */
MUST_CHECK int hostile_counter(struct hostile *h, const char *name, uint64_t *out);

#endif
