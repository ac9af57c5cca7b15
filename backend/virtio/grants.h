/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What guest memory is made of: the contract for reaching pages that the guest has granted.
 * Implemented by backend/platform/ (Xen's gntdev, fakexen), and by a model in tests. Pages are
 * 4 KiB whatever the guest uses. One guest per context.
 */
#ifndef VIOMMU_BACKEND_VIRTIO_GRANTS_H
#define VIOMMU_BACKEND_VIRTIO_GRANTS_H

#include "common/compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GRANT_PAGE_SHIFT 12
#define GRANT_PAGE_SIZE  4096u

/* One piece of a copy; it may not cross a page of the guest. */
struct grant_copy {
    uint32_t ref;
    uint16_t offset; /* in the granted page */
    uint16_t len;    /* offset + len <= 4096 */
    void *local;
    bool to_guest;
};

/* One of several maps or unmaps. */
struct grant_window {
    const uint32_t *refs; /* map_many: in */
    size_t n_pages;
    bool writable; /* map_many: in */
    int status;    /* map_many: out */
    void *addr;    /* map_many: out, if the status is 0 */
};

struct grant_ops {
    /*
     * Maps n_pages granted pages, in the order of `refs`, as one contiguous range of this process,
     * page-aligned. All or nothing: -EFAULT (a reference that the guest did not grant to us, or
     * granted read-only and `writable`), -ENOMEM (a limit of the host), else -errno.
     * One system-call sequence whatever n_pages is.
     */
    int (*map)(void *ctx, const uint32_t *refs, size_t n_pages, bool writable, void **addr_out);

    /* Unmaps exactly what one map gave. On return the guest can revoke. Cannot fail. */
    void (*unmap)(void *ctx, void *addr, size_t n_pages);

    /*
     * The same for several at once, each map with a status of its own. Both NULL where several at
     * once cost as much as one by one.
     */
    void (*map_many)(void *ctx, struct grant_window *windows, size_t n);
    void (*unmap_many)(void *ctx, const struct grant_window *windows, size_t n);

    /*
     * Copies to or from granted pages without mapping them: 0, -EFAULT when any piece is refused
     * (others may have been carried out), else -errno. NULL where the platform has no such thing;
     * then pages are mapped for the time of the copy.
     */
    int (*copy)(void *ctx, const struct grant_copy *pieces, size_t n);
};

#endif
