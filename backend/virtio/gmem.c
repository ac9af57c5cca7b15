/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guest memory: life cycle, pins and areas. Addresses are the guest's and arrive here unchecked;
 * from gmem_check() on they are page numbers of the grant map or references.
 */
#include <config.h>

#include "backend/virtio/gmem.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "backend/virtio/gmem_priv.h"

static unsigned log2_ceil(size_t n)
{
    unsigned bits = 0;

    while (((size_t)1 << bits) < n)
        bits++;
    return bits;
}

static bool limits_valid(const struct gmem_limits *limits)
{
    const size_t most = (size_t)1 << 31;

    return limits->max_pages > GMEM_RESERVE && limits->max_pages <= most &&
           limits->max_windows > GMEM_RESERVE && limits->max_windows <= most &&
           limits->max_pin_pages > 0 && limits->max_pin_pages <= most && limits->window_pages > 0 &&
           limits->window_pages <= most && (limits->window_pages & (limits->window_pages - 1)) == 0;
}

static int seed(struct gmem *m)
{
    uint64_t random[2];

    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return -EIO;
    m->hash_key = random[0] | 1;
    m->random = random[1] | 1;
    return 0;
}

static size_t scratch_size(const struct gmem_limits *limits)
{
    size_t n = limits->max_pin_pages;

    if (limits->window_pages > n)
        n = limits->window_pages;
    if (n < GMEM_BATCH)
        n = GMEM_BATCH;
    return n;
}

int gmem_new(struct gmem **out, const struct grant_ops *ops, void *ctx,
             const struct gmem_limits *limits)
{
    struct gmem *m;
    unsigned bits;
    int r;

    if (!limits_valid(limits))
        return -EINVAL;
    m = calloc(1, sizeof(*m));
    if (!m)
        return -ENOMEM;
    /* At least one bit: the shift below must stay under 64. */
    bits = log2_ceil(limits->max_windows);
    m->view = GMEM_VIEW_NONE;
    m->ops = ops;
    m->ctx = ctx;
    m->limits = *limits;
    m->chunk_shift = log2_ceil(limits->window_pages);
    m->bucket_shift = 64 - bits;
    m->n_refs = scratch_size(limits);
    m->pool = calloc(limits->max_windows, sizeof(*m->pool));
    m->buckets = calloc((size_t)1 << bits, sizeof(struct window *));
    m->refs = calloc(m->n_refs, sizeof(*m->refs));
    m->dead = calloc(limits->max_windows, sizeof(*m->dead));
    r = m->pool && m->buckets && m->refs && m->dead ? seed(m) : -ENOMEM;
    if (r < 0) {
        gmem_free(m);
        return r;
    }
    *out = m;
    return 0;
}

struct gmem *gmem_free(struct gmem *m)
{
    if (!m)
        return NULL;
    m->section++;
    while (m->areas) {
        struct area_record *area = m->areas;

        m->areas = area->next;
        gmem_platform_unmap(m, area->base, area->pages);
        free(area);
    }
    for (size_t i = 0; i < m->pool_used; i++) {
        if (m->pool[i].base)
            window_destroy(m, &m->pool[i]);
    }
    gmem_flush(m);
    free(m->map.v);
    free(m->pool);
    free(m->buckets);
    free(m->refs);
    free(m->dead);
    free(m);
    return NULL;
}

static int refuse(struct gmem *m)
{
    m->refused++;
    return -ENOMEM;
}

/* Pins of grant addresses */

static int pin_refs(struct gmem *m, uint64_t first, uint64_t last, bool write)
{
    struct window *w = window_of_refs(m, first, last, write);
    size_t n = (size_t)(last - first) + 1;
    struct window_spec spec = {.first = first,
                               .last = last,
                               .first_ref = (uint32_t)first,
                               .grant = true,
                               .writable = write};
    int r;

    /* One that is there already, if only for the section, has its room. */
    if (!w) {
        if (!gmem_fits(m, n, 1))
            return refuse(m);
        gmem_make_room(m, n, 1);
        r = window_new(m, &spec, &w);
        if (r < 0)
            return r;
    }
    window_pin(m, w);
    return 0;
}

/* Pins of grant-map addresses */

/* What the holes in a range need at the least: each a window of just the pages asked for. */
struct need {
    size_t pages, windows;
};

/* Pins the windows that are there, so that none of them makes room for another. */
static void pin_windows(struct gmem *m, uint64_t first, uint64_t last, bool write,
                        struct need *need)
{
    for (uint64_t frame = first; frame <= last;) {
        struct window *w = window_of_frame(m, frame, write);
        struct window_spec hole;
        uint64_t end;

        if (w) {
            window_pin(m, w);
            end = w->last;
        } else {
            window_hole(m, frame, write, &hole);
            end = gmem_min(hole.last, last);
            need->pages += (size_t)(end - frame) + 1;
            need->windows++;
        }
        frame = end + 1;
    }
}

static int pin_hole(struct gmem *m, struct window_spec *hole, uint64_t first, uint64_t last,
                    struct need *rest)
{
    size_t pages = (size_t)(hole->last - hole->first) + 1;
    size_t wanted = (size_t)(last - first) + 1;
    struct window *w;
    int r;

    rest->pages -= wanted;
    rest->windows--;
    if (!gmem_fits(m, pages + rest->pages, 1 + rest->windows)) {
        hole->first_ref += (uint32_t)(first - hole->first);
        hole->first = first;
        hole->last = last;
        pages = wanted;
    }
    gmem_make_room(m, pages, 1);
    r = window_new(m, hole, &w);
    if (r < 0)
        return r;
    window_pin(m, w);
    return 0;
}

static int pin_holes(struct gmem *m, uint64_t first, uint64_t last, bool write, struct need *need)
{
    for (uint64_t frame = first; frame <= last;) {
        struct window *w = window_of_frame(m, frame, write);
        struct window_spec hole;
        uint64_t end;
        int r;

        if (w) {
            end = w->last;
        } else {
            window_hole(m, frame, write, &hole);
            end = gmem_min(hole.last, last);
            r = pin_hole(m, &hole, frame, end, need);
            if (r < 0)
                return r;
        }
        frame = end + 1;
    }
    return 0;
}

/* Windows that the present serial made go altogether: only an undo meets them. */
static void unpin_frames(struct gmem *m, uint64_t first, uint64_t last, bool write, bool undo)
{
    for (uint64_t frame = first; frame <= last;) {
        struct window *w = window_of_frame(m, frame, write);
        struct window_spec hole;
        uint64_t end;

        if (w) {
            end = w->last;
            if (undo && w->serial == m->serial)
                window_destroy(m, w);
            else
                window_unpin(m, w);
        } else if (runs_find(&m->map, frame)) {
            window_hole(m, frame, write, &hole);
            end = hole.last;
        } else {
            return; /* never pinned: the caller's mistake */
        }
        frame = end + 1;
    }
}

static int pin_frames(struct gmem *m, uint64_t first, uint64_t last, bool write)
{
    struct need need = {0, 0};
    int r;

    m->serial++;
    pin_windows(m, first, last, write, &need);
    if (need.windows == 0)
        return 0;
    r = gmem_fits(m, need.pages, need.windows) ? pin_holes(m, first, last, write, &need)
                                               : refuse(m);
    if (r < 0)
        unpin_frames(m, first, last, write, true);
    return r;
}

static NOINLINE int pin_any(struct gmem *m, struct range gpa, bool write)
{
    uint64_t first = gmem_page(gpa.first), last = gmem_page(gpa.last);
    int r = gmem_check(m, gpa, write);

    if (r < 0)
        return r;
    if (last - first >= m->limits.max_pin_pages)
        return refuse(m);
    return gmem_is_grant(gpa.first) ? pin_refs(m, first, last, write)
                                    : pin_frames(m, first, last, write);
}

/*
 * The window of the grant map that serves a pin of the whole range alone, or NULL. It could not be
 * there if the map did not have its pages.
 */
static inline struct window *window_of_pin(const struct gmem *m, struct range gpa, bool write)
{
    uint64_t first = gmem_frame(gpa.first), last = gmem_frame(gpa.last);
    struct window *w;

    if (gmem_is_grant(gpa.first) || !range_valid(gpa) || last - first >= m->limits.max_pin_pages)
        return NULL;
    w = window_of_frame(m, first, write);
    return w && last <= w->last ? w : NULL;
}

int gmem_pin(struct gmem *m, struct range gpa, bool write)
{
    struct window *w = window_of_pin(m, gpa, write);

    if (!w)
        return pin_any(m, gpa, write);
    window_pin(m, w);
    return 0;
}

static NOINLINE void unpin_any(struct gmem *m, struct range gpa, bool write)
{
    uint64_t first = gmem_page(gpa.first), last = gmem_page(gpa.last);
    struct window *w;

    if (!gmem_is_grant(gpa.first)) {
        unpin_frames(m, first, last, write, false);
        return;
    }
    w = window_of_refs(m, first, last, write);
    if (w)
        window_unpin(m, w);
}

HOT void gmem_unpin(struct gmem *m, struct range gpa, bool write)
{
    struct window *w = window_of_pin(m, gpa, write);

    if (LIKELY(w))
        window_unpin(m, w);
    else
        unpin_any(m, gpa, write);
}

/* The window through which a pinned grant address is reached, or NULL. */
static NOINLINE const struct window *window_of_pinned_refs(struct gmem *m, struct range gpa,
                                                           bool write)
{
    uint64_t first = gmem_page(gpa.first), last = gmem_page(gpa.last);
    struct window *w;

    if (gmem_check(m, gpa, write) < 0)
        return NULL;
    /* The very window of the pin if there is one: another that covers it may end earlier. */
    w = window_of_refs(m, first, last, write);
    return w && w->pins ? w : window_covering(m, first, last, write);
}

int gmem_segment(struct gmem *m, struct range gpa, bool write, void **hva_out, uint64_t *len_out)
{
    const struct window *w;

    if (!range_valid(gpa))
        return -EFAULT;
    /* A pinned window is proof of what it maps; beyond it nothing is said here. */
    w = gmem_is_grant(gpa.first) ? window_of_pinned_refs(m, gpa, write)
                                 : window_of_frame(m, gmem_frame(gpa.first), write);
    if (!w || !w->pins)
        return -EFAULT;
    *hva_out = window_at(w, gpa.first);
    *len_out = gmem_min(window_bytes_from(w, gpa.first) - 1, gpa.last - gpa.first) + 1;
    return 0;
}

static NOINLINE int pin_segment_any(struct gmem *m, struct range gpa, bool write, void **hva_out,
                                    uint64_t *len_out)
{
    int r = pin_any(m, gpa, write);

    /* What is pinned has a first piece. */
    return r < 0 ? r : gmem_segment(m, gpa, write, hva_out, len_out);
}

HOT int gmem_pin_segment(struct gmem *m, struct range gpa, bool write, void **hva_out,
                         uint64_t *len_out)
{
    struct window *w = window_of_pin(m, gpa, write);

    if (UNLIKELY(!w))
        return pin_segment_any(m, gpa, write, hva_out, len_out);
    *hva_out = window_at(w, gpa.first);
    *len_out = gpa.last - gpa.first + 1;
    window_pin(m, w);
    return 0;
}

/* Areas */

static void area_refs(struct gmem *m, struct range gpa, size_t n)
{
    uint64_t page = gmem_page(gpa.first);

    for (size_t i = 0; i < n; i++) {
        if (gmem_is_grant(gpa.first))
            m->refs[i] = (uint32_t)(page + i);
        else
            m->refs[i] = run_ref(runs_find(&m->map, page + i), page + i);
    }
}

static int area_map(struct gmem *m, struct area_record *area)
{
    int r;

    if (area->pages > m->limits.max_pin_pages || !gmem_fits(m, area->pages, 1))
        return refuse(m);
    gmem_make_room(m, area->pages, 1);
    area_refs(m, area->gpa, area->pages);
    r = gmem_platform_map(m, m->refs, area->pages, area->write, &area->base);
    if (r < 0)
        return r;
    m->held_pages += area->pages;
    m->held_windows++;
    area->next = m->areas;
    m->areas = area;
    return 0;
}

int gmem_area_map(struct gmem *m, struct range gpa, bool write, struct gmem_area *out)
{
    struct area_record *area;
    int r = gmem_check(m, gpa, write);

    if (r < 0)
        return r;
    area = calloc(1, sizeof(*area));
    if (!area)
        return -ENOMEM;
    area->gpa = gpa;
    area->write = write;
    area->pages = (size_t)(gmem_page(gpa.last) - gmem_page(gpa.first)) + 1;
    r = area_map(m, area);
    if (r < 0) {
        free(area);
        return r;
    }
    *out = (struct gmem_area){.base = area->base,
                              .ptr = (uint8_t *)area->base + gpa.first % GRANT_PAGE_SIZE,
                              .pages = area->pages,
                              .gpa = gpa,
                              .write = write};
    return 0;
}

void gmem_area_unmap(struct gmem *m, struct gmem_area *area)
{
    struct area_record **link = &m->areas;

    while (area->base && *link && (*link)->base != area->base)
        link = &(*link)->next;
    if (area->base && *link) {
        struct area_record *record = *link;

        *link = record->next;
        m->held_pages -= record->pages;
        m->held_windows--;
        gmem_platform_unmap(m, record->base, record->pages);
        free(record);
    }
    *area = GMEM_AREA_NONE;
}

void gmem_get_stats(const struct gmem *m, struct gmem_stats *out)
{
    *out = (struct gmem_stats){.pages = m->pages,
                               .windows = m->windows,
                               .pinned_pages = m->pinned_pages,
                               .maps = m->maps,
                               .unmaps = m->unmaps,
                               .copies = m->copies,
                               .calls = m->calls,
                               .replaced = m->replaced,
                               .refused = m->refused};
}
