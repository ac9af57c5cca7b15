/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A guest for the targets that go through backend/daemon/device.c: memory, grants of it, and a
 * device with two soft endpoints. The guest's memory may change whenever the device maps, copies or
 * loads a word of a ring (fuzz_guest_flip), and the platform may fail.
 *
 * The grant table is made once and put back in order after each input, because making it anew
 * costs more than most inputs.
 */
#ifndef VIOMMU_TESTS_FUZZ_GUEST_H
#define VIOMMU_TESTS_FUZZ_GUEST_H

#include "backend/daemon/control_page.h"
#include "backend/daemon/device.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/fake_grants.h"

#define PAGE            4096u
#define GUEST_PAGES     24u
#define GUEST_SIZE      (GUEST_PAGES * PAGE)
#define GUEST_REF       100u        /* page i, writable */
#define GUEST_REF_RO    200u        /* page i, read-only */
#define GUEST_REF_HIGH  0xffffffe8u /* page i, writable, up to the last reference */
#define GUEST_EP        8u          /* and 9 */
#define GUEST_MAX_MAPS  32u
#define GUEST_MAP_PAGES 3u /* directory pages of a grant map */
#define GUEST_FLIPS     4u
#define GUEST_MUST      (VIRTIO_F_VERSION_1 | VIRTIO_F_ACCESS_PLATFORM)
#define GUEST_READY     (STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK | STATUS_DRIVER_OK)

struct fuzz_guest {
    struct fake_grants *f;
    uint8_t *mem; /* the guest's view */
    struct device *d;
    struct device_config config; /* the first device's */
    struct statefile *file;      /* that devices write; NULL: none, as after fuzz_guest_open */
    bool copy;
    uint64_t offered;
    bool revoked[3 * GUEST_PAGES];
    struct {
        size_t at;
        uint8_t mask[8];
        uint8_t skip;   /* so many looks without a change */
        uint8_t period; /* then one with each so many */
        uint8_t phase;
    } flips[GUEST_FLIPS];
    size_t n_flips;
    unsigned looks; /* of the device at guest memory through map and copy */
};

/* The platform has grant copy or not; `tight`: few pages and windows, a small batch. */
void fuzz_guest_open(struct fuzz_guest *g, bool copy, bool tight);

/*
 * A device with its endpoints in place of g->d, which must be NULL, that writes g->file. -EINVAL:
 * not with this configuration.
 */
int fuzz_guest_device(struct fuzz_guest *g, const struct device_config *config);

/* Asserts that pages mapped, pins and tables agree. After each call of the device. */
void fuzz_guest_check(struct fuzz_guest *g);

/* Disconnects, asserts that nothing is left, and frees the device. The platform is sound again. */
void fuzz_guest_close(struct fuzz_guest *g);

/* Asserts that the platform has nothing mapped for the guest. */
void fuzz_guest_check_free(const struct fuzz_guest *g);

/* Disconnects and asserts that nothing is left: the device can be connected again. */
void fuzz_guest_disconnect(struct fuzz_guest *g);

/* The number of a grant that is there, from a byte: writable, read-only or at the upper end. */
uint32_t fuzz_guest_ref(uint8_t v);

/* One of the addresses that may mean something, or any. */
uint64_t fuzz_guest_address(struct fuzz_in *in);

/* Writes bytes of the input to guest memory, somewhere. */
void fuzz_guest_write(struct fuzz_guest *g, size_t at, struct fuzz_in *in);

/* From now on eight bytes toggle when the device looks at guest memory: each time, or every second
 * to eighth time. */
void fuzz_guest_flip(struct fuzz_guest *g, size_t at, struct fuzz_in *in);

/* Trouble: a map or copy that fails, a limit of the host, a grant revoked or given again. */
void fuzz_guest_trouble(struct fuzz_guest *g, struct fuzz_in *in);

/* A request from few bytes, mostly a sensible one. Returns its length. */
size_t fuzz_guest_request(uint8_t req[VIOMMU_REQ_MAX], struct fuzz_in *in);

#endif
