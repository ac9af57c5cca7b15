/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside of gmem: shared by gmem.c (life cycle, pins, areas), gmem_map.c (runs and the grant map),
 * gmem_window.c (windows, budget, replacement) and gmem_access.c (copies).
 *
 * A page number is a guest frame (address / 4096) or a reference, by kind of window; intervals of
 * both are inclusive.
 */
#ifndef VIOMMU_BACKEND_VIRTIO_GMEM_PRIV_H
#define VIOMMU_BACKEND_VIRTIO_GMEM_PRIV_H

#include "backend/virtio/gmem.h"

/* Pages and windows of the budget that pins and areas never get, so that a guest that pins all it
 * may can still be read and answered. */
#define GMEM_RESERVE 1u

/* Most pages that one copy or one temporary window takes at a time. */
#define GMEM_BATCH 16u

/*
 * One mapping of the platform. Of the grant map: never crosses a chunk (window_pages frames,
 * aligned) and describes its backing itself (references from first_ref on), so that a change of
 * the runs around it does not concern it. Windows of one access never overlap. A read-only window
 * and a writable one do only when a run that was pinned read-only became writable: the older is
 * `stale`, serves the reads as long as it is pinned, and goes with its last pin.
 *
 * Of a grant address: one per (references, access).
 */
struct window {
    uint64_t first, last; /* frames or references */
    uint8_t *base;        /* NULL: not in use */
    uint32_t first_ref;
    bool grant;
    bool writable;
    bool stale;
    uint64_t pins;
    uint64_t serial;             /* of the pin that made it, for undoing that */
    struct window *next;         /* of the bucket, or of the free list */
    struct window *left, *right; /* grant windows: tree by (first, last), a heap by priority */
    uint64_t max_last;           /* of the subtree */
    uint32_t priority;
    struct window *older, *newer; /* in a wlist, while nothing pins it */
};

struct wlist {
    struct window *oldest, *newest;
};

struct run {
    uint64_t first, last; /* frames */
    uint32_t first_ref;
    bool read_only;
    /* The last frame up to which runs follow without a hole: of any kind, and (where this run is
     * writable) of writable ones. */
    uint64_t reach, reach_writable;
};

/* Sorted and disjoint. */
struct runs {
    struct run *v;
    size_t n;
    uint64_t pages;
    size_t hint; /* the run found last */
};

struct area_record {
    struct area_record *next;
    void *base;
    size_t pages;
    struct range gpa;
    bool write;
};

/* A window that would be used: references of a grant address. */
struct want {
    uint32_t first, last;
    bool write;
    bool pin; /* exactly these references; else any window that covers them will do */
};

/*
 * pages and windows count what is mapped, but for `dead`; held_pages and held_windows the part of
 * it that cannot be replaced (pinned windows, areas). held <= mapped <= limit - GMEM_RESERVE,
 * except that one temporary window of GMEM_RESERVE pages may come on top during one call.
 */
struct gmem {
    struct gmem_view view;       /* of `viewed`, for gmem.h; must come first */
    const struct window *viewed; /* the window copied to or from last, or NULL: pinned, or else the
                                    youngest of its list */
    const struct grant_ops *ops;
    void *ctx;
    struct gmem_limits limits;
    unsigned chunk_shift; /* log2(window_pages) */

    struct runs map;

    struct window *pool; /* max_windows of them */
    size_t pool_used;    /* beyond: never used */
    struct window *free;
    struct window **buckets; /* map windows by chunk */
    unsigned bucket_shift;
    uint64_t hash_key;        /* random and odd: the guest chooses the chunks */
    struct window *grants[2]; /* trees, by access */
    uint64_t random;
    struct wlist idle;  /* map windows that nothing pins */
    struct wlist temps; /* grant windows kept for the section only */
    unsigned section;
    struct grant_window *dead; /* gone but for their unmap: max_windows of room */
    size_t n_dead, dead_pages;
    struct want wants[GMEM_MAX_WANTS];
    size_t n_wants;
    struct area_record *areas;
    uint32_t *refs; /* scratch for one call of map */
    size_t n_refs;
    uint64_t serial;

    size_t pages, windows;
    size_t held_pages, held_windows;
    size_t pinned_pages;
    uint64_t maps, unmaps, copies, calls, replaced, refused;
};

_Static_assert(offsetof(struct gmem, view) == 0, "gmem_view()");

static inline uint64_t gmem_frame(uint64_t gpa)
{
    return gpa >> GRANT_PAGE_SHIFT;
}

static inline bool gmem_is_grant(uint64_t gpa)
{
    return (gpa & GMEM_GRANT_BIT) != 0;
}

/* The page number of a valid address: a reference or a frame. */
static inline uint64_t gmem_page(uint64_t gpa)
{
    return gmem_frame(gpa & ~GMEM_GRANT_BIT);
}

static inline uint64_t gmem_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline size_t window_pages(const struct window *w)
{
    return (size_t)(w->last - w->first) + 1;
}

/* gmem_map.c */

/* The same as runs_find without a look at the run found last. */
const struct run *runs_search(struct runs *map, uint64_t frame);

/* The run that contains the frame, or NULL. O(log n), less when it is the last one again. */
static inline const struct run *runs_find(struct runs *map, uint64_t frame)
{
    /* An empty map has no array, and NULL no offsets. */
    if (LIKELY(map->hint < map->n)) {
        const struct run *last = map->v + map->hint;

        if (LIKELY(last->first <= frame && frame <= last->last))
            return last;
    }
    return runs_search(map, frame);
}

static inline uint32_t run_ref(const struct run *run, uint64_t frame)
{
    return run->first_ref + (uint32_t)(frame - run->first);
}

/* gmem_window.c */

/* Would `pages` more pages in `windows` more windows fit if everything idle made room? */
bool gmem_fits(const struct gmem *m, size_t pages, size_t windows);

/* Unmaps idle windows, oldest first, until that much fits. For what gmem_fits() allows. */
void gmem_make_room(struct gmem *m, size_t pages, size_t windows);

/* One call of the platform; counts. 0 or -errno. */
int gmem_platform_map(struct gmem *m, const uint32_t *refs, size_t n, bool writable, void **out);
/* Within a section this may wait for gmem_flush. */
void gmem_platform_unmap(struct gmem *m, void *base, size_t n);
/* What was to be unmapped is. */
void gmem_flush(struct gmem *m);
/* Ends all windows that are only kept for the section. False if there was nothing. */
bool gmem_drop_temps(struct gmem *m);

/* What a window shall map. */
struct window_spec {
    uint64_t first, last;
    uint32_t first_ref;
    bool grant, writable;
};

/*
 * A new window, in its lookup structure and in no list, with no pins. The room must have been
 * made. *out is set on success only.
 */
MUST_CHECK int window_new(struct gmem *m, const struct window_spec *spec, struct window **out);
/* New windows of grant addresses (n <= GMEM_MAX_WANTS, refs for all in m->refs), kept for the
 * section: as many as the platform gives. */
void windows_new(struct gmem *m, const struct want *wants, size_t n);
void window_destroy(struct gmem *m, struct window *w); /* unmaps; pinned or not */

/* It is copied to or from: without a pin it is the youngest of its list now. */
void window_view(struct gmem *m, struct window *w);

/* The first and the last pin change the books. */
void window_pin_first(struct gmem *m, struct window *w);
void window_unpin_last(struct gmem *m, struct window *w);

static inline void window_pin(struct gmem *m, struct window *w)
{
    if (w->pins > 0)
        w->pins++;
    else
        window_pin_first(m, w);
}

/* The last pin of a stale window ends it; of a grant window, too, or else the section does. */
static inline void window_unpin(struct gmem *m, struct window *w)
{
    if (w->pins > 1)
        w->pins--;
    else if (w->pins == 1)
        window_unpin_last(m, w);
}

/* Where an address that is in the window is mapped, and how many bytes there are from there on. */
static inline uint8_t *window_at(const struct window *w, uint64_t gpa)
{
    return w->base + ((gpa & ~GMEM_GRANT_BIT) - (w->first << GRANT_PAGE_SHIFT));
}

static inline uint64_t window_bytes_from(const struct window *w, uint64_t gpa)
{
    return ((w->last + 1) << GRANT_PAGE_SHIFT) - (gpa & ~GMEM_GRANT_BIT);
}

static inline struct window **bucket_of(const struct gmem *m, uint64_t frame)
{
    return &m->buckets[((frame >> m->chunk_shift) * m->hash_key) >> m->bucket_shift];
}

/* The window of the grant map that serves accesses to the frame, or NULL. O(1). */
static inline struct window *window_of_frame(const struct gmem *m, uint64_t frame, bool write)
{
    struct window *found = NULL;

    for (struct window *w = *bucket_of(m, frame); w; w = w->next) {
        if (frame < w->first || frame > w->last || (write && !w->writable))
            continue;
        found = w;
        /* Reads stay with the older, read-only window: so a pin and its unpin choose the same. */
        if (write || !w->writable)
            break;
    }
    return found;
}

/*
 * The part of the grant map around `frame` that one new window could map: within the chunk, the
 * run and the neighbouring windows. The frame must be in the map and without a window.
 */
void window_hole(struct gmem *m, uint64_t frame, bool write, struct window_spec *out);

/* The grant window of exactly these references and access, or NULL. */
struct window *window_of_refs(const struct gmem *m, uint64_t first, uint64_t last, bool write);
/* Any grant window that covers them and allows the access, or NULL. O(log n). */
struct window *window_covering(const struct gmem *m, uint64_t first, uint64_t last, bool write);

uint64_t gmem_random(struct gmem *m);

#endif
