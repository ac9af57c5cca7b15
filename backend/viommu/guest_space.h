/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the device needs to know of guest memory: the contract between a vdomain's mappings and
 * whatever makes guest addresses reachable (backend/virtio/gmem.h through the worker's glue; a
 * model in tests). Guest ranges are inclusive bytes.
 *
 * None of these may wait for xenstore or for the guest.
 */
#ifndef VIOMMU_BACKEND_VIOMMU_GUEST_SPACE_H
#define VIOMMU_BACKEND_VIOMMU_GUEST_SPACE_H

#include "common/compiler.h"
#include "common/range.h"

#include <stddef.h>

/* Guest memory that is contiguous in this process' addresses. */
struct guest_piece {
    void *hva;
    uint64_t bytes; /* > 0 */
};

struct guest_space_ops {
    /*
     * Could every byte of `gpa` be this guest's memory, writable if `write`? Only looks at
     * addresses: no system call, no change. 0 or -EFAULT.
     */
    int (*check)(void *ctx, struct range gpa, bool write);

    /*
     * Makes `gpa` reachable until unpin, all or nothing: 0, -EFAULT (not the guest's, or read-only
     * and `write`), -ENOMEM (a limit or the budget), another -errno for a failure of the host.
     * *first_out is the piece that begins at gpa.first, as segment says it.
     */
    int (*pin)(void *ctx, struct range gpa, bool write, struct guest_piece *first_out);

    /*
     * Ends one pin of exactly this range and access. When it was the last pin of a grant window,
     * that window is unmapped before this returns. Cannot fail.
     */
    void (*unpin)(void *ctx, struct range gpa, bool write);

    /*
     * The piece of a pinned range that begins at gpa.first, at most the range's size. 0, or -EFAULT
     * if it is not pinned.
     */
    int (*segment)(void *ctx, struct range gpa, bool write, struct guest_piece *out);

    /*
     * Copies between `buf` and guest memory, pinned or not. All or nothing is not promised:
     * 0, -EFAULT, -ENOMEM or another -errno.
     */
    int (*read)(void *ctx, uint64_t gpa, void *buf, size_t len);
    int (*write)(void *ctx, uint64_t gpa, const void *buf, size_t len);
};

struct guest_space {
    const struct guest_space_ops *ops;
    void *ctx;
};

#endif
