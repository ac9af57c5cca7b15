/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The grant map: runs that the guest published. Every number here is the guest's; a map is
 * checked as a whole before anything of the old one changes.
 */
#include <config.h>

#include "backend/virtio/gmem_priv.h"

#include <errno.h>
#include <stdlib.h>

const struct run *runs_search(struct runs *map, uint64_t frame)
{
    size_t low = 0, high = map->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (map->v[middle].last < frame)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == map->n || map->v[low].first > frame)
        return NULL;
    map->hint = low;
    return &map->v[low];
}

static int run_from_guest(struct run *out, const struct gmem_run *in)
{
    struct range bytes;

    if (in->pages == 0 || in->address % GRANT_PAGE_SIZE || in->first_ref == 0)
        return -EINVAL;
    if (!range_from_size(in->address, (uint64_t)in->pages << GRANT_PAGE_SHIFT, &bytes) ||
        gmem_is_grant(bytes.last))
        return -EINVAL;
    if (in->pages - 1 > UINT32_MAX - in->first_ref)
        return -EINVAL;
    *out = (struct run){.first = gmem_frame(bytes.first),
                        .last = gmem_frame(bytes.last),
                        .first_ref = in->first_ref,
                        .read_only = in->read_only};
    return 0;
}

static int compare_runs(const void *a, const void *b)
{
    const struct run *x = a, *y = b;

    return (x->first > y->first) - (x->first < y->first);
}

/* Fills in how far an access that starts in a run can go; -EINVAL if runs overlap. */
static int runs_link(struct runs *runs)
{
    for (size_t i = runs->n; i-- > 0;) {
        struct run *run = &runs->v[i];
        const struct run *next = i + 1 < runs->n ? run + 1 : NULL;

        if (next && next->first <= run->last)
            return -EINVAL;
        run->reach = run->last;
        run->reach_writable = run->last;
        if (next && next->first == run->last + 1) {
            run->reach = next->reach;
            if (!next->read_only)
                run->reach_writable = next->reach_writable;
        }
        runs->pages += run->last - run->first + 1;
    }
    return 0;
}

static int runs_build(struct runs *out, const struct gmem_run *runs, size_t n)
{
    struct runs built = {.n = n};
    int r = 0;

    if (n > 0) {
        built.v = calloc(n, sizeof(*built.v));
        if (!built.v)
            return -ENOMEM;
    }
    for (size_t i = 0; i < n && r == 0; i++)
        r = run_from_guest(&built.v[i], &runs[i]);
    if (r == 0 && n > 0) {
        qsort(built.v, n, sizeof(*built.v), compare_runs);
        r = runs_link(&built);
    }
    if (r < 0) {
        free(built.v);
        return r;
    }
    *out = built;
    return 0;
}

/* Does the map back each of the frames with these references, and if so, how? */
enum backing { BACKING_OTHER, BACKING_READ_ONLY, BACKING_WRITABLE, BACKING_MIXED };

static enum backing backing_of(struct runs *map, uint64_t first, uint64_t last, uint32_t first_ref)
{
    bool writable = false, read_only = false;
    uint32_t ref = first_ref;

    for (uint64_t frame = first;;) {
        const struct run *run = runs_find(map, frame);
        uint64_t end;

        if (!run || run_ref(run, frame) != ref)
            return BACKING_OTHER;
        *(run->read_only ? &read_only : &writable) = true;
        end = gmem_min(run->last, last);
        if (end == last)
            break;
        ref += (uint32_t)(end - frame) + 1;
        frame = end + 1;
    }
    if (writable && read_only)
        return BACKING_MIXED;
    return writable ? BACKING_WRITABLE : BACKING_READ_ONLY;
}

static bool window_still_good(struct runs *next, const struct window *w)
{
    enum backing backing = backing_of(next, w->first, w->last, w->first_ref);

    if (w->writable)
        return backing == BACKING_WRITABLE;
    return w->pins ? backing != BACKING_OTHER : backing == BACKING_READ_ONLY;
}

static bool area_still_good(struct runs *map, struct runs *next, const struct area_record *area)
{
    uint64_t last = gmem_page(area->gpa.last);

    if (gmem_is_grant(area->gpa.first))
        return true;
    for (uint64_t frame = gmem_page(area->gpa.first); frame <= last;) {
        const struct run *run = runs_find(map, frame);
        enum backing backing;
        uint64_t end;

        if (!run)
            return false;
        end = gmem_min(run->last, last);
        backing = backing_of(next, frame, end, run_ref(run, frame));
        if (backing == BACKING_OTHER || (area->write && backing != BACKING_WRITABLE))
            return false;
        frame = end + 1;
    }
    return true;
}

/* A pinned window counts as a whole: it cannot be unmapped in parts. */
static bool users_still_good(struct gmem *m, struct runs *next)
{
    for (const struct area_record *area = m->areas; area; area = area->next) {
        if (!area_still_good(&m->map, next, area))
            return false;
    }
    for (size_t i = 0; i < m->pool_used; i++) {
        const struct window *w = &m->pool[i];

        if (w->base && !w->grant && w->pins && !window_still_good(next, w))
            return false;
    }
    return true;
}

int gmem_set_map(struct gmem *m, const struct gmem_run *runs, size_t n)
{
    struct runs next;
    int r = runs_build(&next, runs, n);

    if (r < 0)
        return r;
    if (!users_still_good(m, &next)) {
        free(next.v);
        return -EBUSY;
    }
    m->section++;
    for (size_t i = 0; i < m->pool_used; i++) {
        struct window *w = &m->pool[i];

        if (!w->base || w->grant)
            continue;
        if (!window_still_good(&next, w))
            window_destroy(m, w);
        else
            w->stale = !w->writable &&
                       backing_of(&next, w->first, w->last, w->first_ref) != BACKING_READ_ONLY;
    }
    m->section--;
    gmem_flush(m);
    free(m->map.v);
    m->map = next;
    m->view.writable = GMEM_VIEW_NONE.writable;
    return 0;
}

size_t gmem_map_runs(const struct gmem *m)
{
    return m->map.n;
}

uint64_t gmem_map_pages(const struct gmem *m)
{
    return m->map.pages;
}

/* References are bits 12 to 43 and their end stays below 2^32. No address of a range has more upper
 * bits than its last one. */
/* References from 1 to 2^32 - 1: 0 is never valid (docs/protocol.md, section 5). */
static bool grant_range_valid(struct range gpa)
{
    return (gpa.first & ~GMEM_GRANT_BIT) >> GRANT_PAGE_SHIFT != 0 &&
           (gpa.last & ~GMEM_GRANT_BIT) >> (GRANT_PAGE_SHIFT + 32) == 0;
}

int gmem_check(struct gmem *m, struct range gpa, bool write)
{
    const struct run *run;
    uint64_t last;

    if (!range_valid(gpa))
        return -EFAULT;
    if (gmem_is_grant(gpa.first))
        return grant_range_valid(gpa) ? 0 : -EFAULT;
    run = runs_find(&m->map, gmem_frame(gpa.first));
    last = gmem_frame(gpa.last);
    if (!run || last > run->reach || (write && (run->read_only || last > run->reach_writable)))
        return -EFAULT;
    if (!run->read_only)
        m->view.writable = (struct range){run->first << GRANT_PAGE_SHIFT,
                                          ((run->reach_writable + 1) << GRANT_PAGE_SHIFT) - 1};
    return 0;
}
