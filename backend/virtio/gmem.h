/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guest memory through grants (docs/protocol.md, "Addresses"). Two kinds of address, both usable
 * at once:
 *
 *  - a grant address: bit 63 set, reference in bits 12 to 43, bits 44 to 62 zero, page offset
 *    below; n pages are n consecutive references whose end stays below 2^32. A window is shared by
 *    the pins of the same reference run and access, and unmapped with the last of them or at the
 *    end of the section (gmem_begin) that it is in. Nothing is cached longer.
 *  - an address in the grant map that the guest published: a sorted list of runs. Windows of
 *    runs persist within a budget: a pin in the steady state makes no system call. Windows that
 *    nothing pins are replaced, least recently used first, when the budget is short.
 *
 * Anything else is -EFAULT. Every number in an address or run is the guest's and is checked.
 * One thread; nothing blocks but the platform's map and unmap calls.
 */
#ifndef VIOMMU_BACKEND_VIRTIO_GMEM_H
#define VIOMMU_BACKEND_VIRTIO_GMEM_H

#include "backend/virtio/grants.h"
#include "common/range.h"

#include <string.h>

#define GMEM_GRANT_BIT (1ull << 63)

struct gmem;

struct gmem_limits {
    size_t max_pages;     /* mapped at once in all; beyond: -ENOMEM */
    size_t max_windows;   /* mappings at once (VMAs, gntdev entries); beyond: -ENOMEM */
    size_t max_pin_pages; /* of one pin; beyond: -ENOMEM */
    size_t window_pages;  /* of a persistent window; a power of two */
};
/* One page and one window of the limits are kept for reads and writes of what is not pinned. */
#define GMEM_LIMITS_DEFAULT \
    ((struct gmem_limits){  \
        .max_pages = 65536, .max_windows = 4096, .max_pin_pages = 65536, .window_pages = 512})

/* One run of the grant map: `pages` pages at guest address `address` are the references
 * first_ref, first_ref + 1, ... */
struct gmem_run {
    uint64_t address; /* page-aligned, bit 63 clear */
    uint32_t first_ref;
    uint32_t pages;
    bool read_only;
};

/* -EINVAL (limits), -ENOMEM. ops and ctx outlive the gmem. */
MUST_CHECK int gmem_new(struct gmem **out, const struct grant_ops *ops, void *ctx,
                        const struct gmem_limits *limits);

/* Unmaps everything, pinned or not, and frees. NULL allowed; returns NULL. */
struct gmem *gmem_free(struct gmem *m);

/*
 * Replaces the grant map (n may be 0). -EINVAL: a run is empty, unaligned, wraps, reaches bit 63
 * or overlaps another (any order is accepted), or uses references that wrap or reference 0;
 * -EBUSY: a pin or area uses pages that the new map lacks or backs with other references or less
 * access (a persistent window that is pinned in part counts as a whole: it cannot be unmapped in
 * parts); -ENOMEM. The old map stays then. On success the windows of pages that are gone or
 * changed are unmapped when this returns; windows of unchanged pages stay.
 */
MUST_CHECK int gmem_set_map(struct gmem *m, const struct gmem_run *runs, size_t n);

/* Number of runs and pages of the present grant map. */
size_t gmem_map_runs(const struct gmem *m);
uint64_t gmem_map_pages(const struct gmem *m);

/* As in struct guest_space_ops (backend/viommu/guest_space.h), which these implement. */
MUST_CHECK NOINLINE int gmem_check(struct gmem *m, struct range gpa, bool write);
MUST_CHECK int gmem_pin(struct gmem *m, struct range gpa, bool write);
void gmem_unpin(struct gmem *m, struct range gpa, bool write);
MUST_CHECK int gmem_segment(struct gmem *m, struct range gpa, bool write, void **hva_out,
                            uint64_t *len_out);
MUST_CHECK int gmem_pin_segment(struct gmem *m, struct range gpa, bool write, void **hva_out,
                                uint64_t *len_out); /* both at once */
/* Copies; an unpinned grant address is reached by grant copy or for the time of the call. */
MUST_CHECK NOINLINE int gmem_read(struct gmem *m, uint64_t gpa, void *buf, size_t len);
MUST_CHECK NOINLINE int gmem_write(struct gmem *m, uint64_t gpa, const void *buf, size_t len);

/*
 * The three of these that every request needs several times, for callers that are themselves quick:
 * what was last looked up is looked at first. Every struct gmem begins with a struct gmem_view.
 */
struct gmem_view {
    struct range writable; /* that gmem_check would let pass, also to write */
    uint64_t address;      /* a part of guest memory that is mapped at `base` and needs no book- */
    uint8_t *base;         /* keeping: so many bytes to read, and to write */
    uint64_t readable_bytes, writable_bytes;
};
#define GMEM_VIEW_NONE ((struct gmem_view){.writable = {1, 0}})

static inline const struct gmem_view *gmem_view(const struct gmem *m)
{
    return (const struct gmem_view *)m;
}

MUST_CHECK static inline int gmem_check_quick(struct gmem *m, struct range gpa, bool write)
{
    if (LIKELY(range_valid(gpa) && range_contains(gmem_view(m)->writable, gpa)))
        return 0;
    return gmem_check(m, gpa, write);
}

/* Each byte once: the guest may write meanwhile. A call costs more than a few words do. */
static inline void gmem_copy_words(uint8_t *to, const uint8_t *from, size_t len)
{
    for (; len >= 16; len -= 16, to += 16, from += 16)
        memcpy(to, from, 16);
    if (len & 8) {
        memcpy(to, from, 8);
        to += 8;
        from += 8;
    }
    if (len & 4) {
        memcpy(to, from, 4);
        to += 4;
        from += 4;
    }
    for (len &= 3; len > 0; len--)
        *to++ = *from++;
    /* The compiler must not read guest memory again instead of the copy. */
    __asm__ volatile("" ::: "memory");
}
#define GMEM_FEW_WORDS 128u /* bytes */

/* True: all of it was in view, and is copied. */
static inline bool gmem_read_view(const struct gmem *m, uint64_t gpa, void *buf, size_t len)
{
    const struct gmem_view *view = gmem_view(m);
    uint64_t skip = gpa - view->address;

    if (UNLIKELY(len > GMEM_FEW_WORDS || skip >= view->readable_bytes ||
                 len > view->readable_bytes - skip))
        return false;
    gmem_copy_words(buf, view->base + skip, len);
    return true;
}

static inline bool gmem_write_view(const struct gmem *m, uint64_t gpa, const void *buf, size_t len)
{
    const struct gmem_view *view = gmem_view(m);
    uint64_t skip = gpa - view->address;

    if (UNLIKELY(len > GMEM_FEW_WORDS || skip >= view->writable_bytes ||
                 len > view->writable_bytes - skip))
        return false;
    gmem_copy_words(view->base + skip, buf, len);
    return true;
}

MUST_CHECK static inline int gmem_read_quick(struct gmem *m, uint64_t gpa, void *buf, size_t len)
{
    return gmem_read_view(m, gpa, buf, len) ? 0 : gmem_read(m, gpa, buf, len);
}

MUST_CHECK static inline int gmem_write_quick(struct gmem *m, uint64_t gpa, const void *buf,
                                              size_t len)
{
    return gmem_write_view(m, gpa, buf, len) ? 0 : gmem_write(m, gpa, buf, len);
}

/*
 * An area that stays mapped contiguously until gmem_area_unmap: rings, the control page. The
 * pages of `gpa` may be any mix of runs; a grant address is n consecutive references. The
 * pointer is guest memory: only volatile or atomic single accesses, or one bounded copy.
 */
struct gmem_area {
    void *base;   /* of the first page's mapping, page-aligned */
    uint8_t *ptr; /* the byte at gpa.first */
    size_t pages;
    struct range gpa;
    bool write;
};
#define GMEM_AREA_NONE ((struct gmem_area){.base = NULL})
MUST_CHECK int gmem_area_map(struct gmem *m, struct range gpa, bool write, struct gmem_area *out);
void gmem_area_unmap(struct gmem *m, struct gmem_area *area); /* twice and unmapped allowed */

/*
 * Sections: while one is open, windows of grant addresses that nothing pins any more, and those
 * that unpinned reads and writes need, may be kept; unmaps of any kind may wait. Closing unmaps
 * all of them, at once where the platform can (grant_ops.unmap_many). What a call answers does not
 * depend on it: a window that is only kept goes when its room is needed. Sections nest. Close it
 * before the guest learns that the batch is done (virtqueue_publish): it may revoke from then on.
 */
void gmem_begin(struct gmem *m);
void gmem_end(struct gmem *m);

/* Hints that are kept until they are fetched; more are forgotten. */
#define GMEM_MAX_WANTS 128u

/*
 * Ahead of a batch of requests, within a section: this range will be pinned (read, written). Only a
 * hint, by values that are the guest's and unchecked. gmem_fetch then maps, at once, what of it are
 * grant addresses without a window and fits; it does nothing where the platform has no
 * grant_ops.map_many. A hint that was not used, or whose map failed, changes no answer.
 */
void gmem_want_pin(struct gmem *m, struct range gpa, bool write);
void gmem_want_access(struct gmem *m, struct range gpa, bool write);
void gmem_fetch(struct gmem *m);
bool gmem_fetches(const struct gmem *m); /* false: hints are not worth the caller's time */

struct gmem_stats {
    size_t pages;   /* mapped now */
    size_t windows; /* now, of all kinds */
    size_t pinned_pages;
    uint64_t maps, unmaps, copies; /* windows (those that succeeded), and calls of copy */
    uint64_t calls;                /* of the platform, in all; with a grant broker, messages */
    uint64_t replaced;             /* persistent windows thrown out for others */
    uint64_t refused;              /* -ENOMEM answers */
};
void gmem_get_stats(const struct gmem *m, struct gmem_stats *out);

#endif
