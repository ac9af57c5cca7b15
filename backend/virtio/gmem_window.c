/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Windows: what is mapped, where to find it, and what goes when the budget is short.
 *
 * Map windows are in a hash by chunk, keyed with a random number because the guest chooses the
 * addresses. Grant windows overlap as the guest likes, so they are in a search tree by first
 * reference that knows the highest end below each node (an interval tree, balanced as a treap).
 */
#include <config.h>

#include "backend/virtio/gmem_priv.h"

#include <errno.h>

uint64_t gmem_random(struct gmem *m)
{
    /* xorshift64*: balances trees and spreads keys, nothing more. The seed is the system's. */
    m->random ^= m->random >> 12;
    m->random ^= m->random << 25;
    m->random ^= m->random >> 27;
    return m->random * 0x2545f4914f6cdd1dull;
}

/* Lists of windows that nothing pins */

static struct wlist *wlist_of(struct gmem *m, const struct window *w)
{
    return w->grant ? &m->temps : &m->idle;
}

static void unview(struct gmem *m)
{
    m->viewed = NULL;
    m->view.readable_bytes = m->view.writable_bytes = 0;
}

/* As the youngest. */
static void wlist_add(struct gmem *m, struct window *w)
{
    struct wlist *list = wlist_of(m, w);

    if (w != m->viewed)
        unview(m);
    w->newer = NULL;
    w->older = list->newest;
    if (list->newest)
        list->newest->newer = w;
    else
        list->oldest = w;
    list->newest = w;
}

/* If it is in its list. */
static void wlist_remove(struct gmem *m, struct window *w)
{
    struct wlist *list = wlist_of(m, w);

    if (!w->older && !w->newer && list->oldest != w)
        return;
    *(w->older ? &w->older->newer : &list->oldest) = w->newer;
    *(w->newer ? &w->newer->older : &list->newest) = w->older;
    w->older = w->newer = NULL;
}

void window_view(struct gmem *m, struct window *w)
{
    if (w->pins == 0 && wlist_of(m, w)->newest != w) {
        wlist_remove(m, w);
        wlist_add(m, w);
    }
    m->viewed = w;
    m->view.address = w->first << GRANT_PAGE_SHIFT | (w->grant ? GMEM_GRANT_BIT : 0);
    m->view.base = w->base;
    m->view.readable_bytes = (uint64_t)window_pages(w) << GRANT_PAGE_SHIFT;
    m->view.writable_bytes = w->writable ? m->view.readable_bytes : 0;
}

/* Grant windows by reference */

static int compare_refs(const struct window *w, uint64_t first, uint64_t last)
{
    if (w->first != first)
        return w->first < first ? -1 : 1;
    return (w->last > last) - (w->last < last);
}

static void tree_update(struct window *t)
{
    t->max_last = t->last;
    if (t->left && t->left->max_last > t->max_last)
        t->max_last = t->left->max_last;
    if (t->right && t->right->max_last > t->max_last)
        t->max_last = t->right->max_last;
}

static void tree_split(struct window *t, const struct window *at, struct window **below,
                       struct window **above)
{
    if (!t) {
        *below = *above = NULL;
    } else if (compare_refs(t, at->first, at->last) < 0) {
        tree_split(t->right, at, &t->right, above);
        *below = t;
        tree_update(t);
    } else {
        tree_split(t->left, at, below, &t->left);
        *above = t;
        tree_update(t);
    }
}

static struct window *tree_join(struct window *below, struct window *above)
{
    if (!below || !above)
        return below ? below : above;
    if (below->priority > above->priority) {
        below->right = tree_join(below->right, above);
        tree_update(below);
        return below;
    }
    above->left = tree_join(below, above->left);
    tree_update(above);
    return above;
}

static struct window *tree_insert(struct window *t, struct window *w)
{
    if (!t || w->priority > t->priority) {
        tree_split(t, w, &w->left, &w->right);
        t = w;
    } else if (compare_refs(t, w->first, w->last) > 0) {
        t->left = tree_insert(t->left, w);
    } else {
        t->right = tree_insert(t->right, w);
    }
    tree_update(t);
    return t;
}

static struct window *tree_remove(struct window *t, const struct window *w)
{
    if (!t)
        return NULL;
    if (t == w)
        return tree_join(t->left, t->right);
    if (compare_refs(t, w->first, w->last) > 0)
        t->left = tree_remove(t->left, w);
    else
        t->right = tree_remove(t->right, w);
    tree_update(t);
    return t;
}

struct window *window_of_refs(const struct gmem *m, uint64_t first, uint64_t last, bool write)
{
    struct window *t = m->grants[write];

    while (t) {
        int order = compare_refs(t, first, last);

        if (order == 0)
            return t;
        t = order > 0 ? t->left : t->right;
    }
    return NULL;
}

static struct window *tree_covering(struct window *t, uint64_t first, uint64_t last)
{
    while (t && t->max_last >= last) {
        bool in_left = t->left && t->left->max_last >= last;

        if (t->first > first) {
            t = t->left;
        } else if (t->last >= last) {
            return t;
        } else {
            /* Everything to the left begins early enough, too: if one there reaches `last`, it
             * covers both. */
            t = in_left ? t->left : t->right;
        }
    }
    return NULL;
}

struct window *window_covering(const struct gmem *m, uint64_t first, uint64_t last, bool write)
{
    struct window *w = tree_covering(m->grants[1], first, last);

    if (!w && !write)
        w = tree_covering(m->grants[0], first, last);
    return w;
}

/* Map windows by frame */

void window_hole(struct gmem *m, uint64_t frame, bool write, struct window_spec *out)
{
    const struct run *run = runs_find(&m->map, frame);
    uint64_t mask = (UINT64_C(1) << m->chunk_shift) - 1;
    uint64_t first = frame & ~mask, last = frame | mask;

    if (first < run->first)
        first = run->first;
    last = gmem_min(last, run->last);
    for (const struct window *w = *bucket_of(m, frame); w; w = w->next) {
        if (write && !w->writable)
            continue;
        if (w->first > frame && w->first <= last)
            last = w->first - 1;
        else if (w->last < frame && w->last >= first)
            first = w->last + 1;
    }
    *out = (struct window_spec){.first = first,
                                .last = last,
                                .first_ref = run_ref(run, first),
                                .writable = !run->read_only};
}

/* Budget */

bool gmem_fits(const struct gmem *m, size_t pages, size_t windows)
{
    return pages <= m->limits.max_pages - GMEM_RESERVE - m->held_pages &&
           windows <= m->limits.max_windows - GMEM_RESERVE - m->held_windows;
}

void gmem_make_room(struct gmem *m, size_t pages, size_t windows)
{
    size_t pages_allowed = m->limits.max_pages - GMEM_RESERVE - pages;
    size_t windows_allowed = m->limits.max_windows - GMEM_RESERVE - windows;

    while (m->pages > pages_allowed || m->windows > windows_allowed) {
        struct window *w = m->temps.oldest ? m->temps.oldest : m->idle.oldest;

        if (!w)
            return;
        m->replaced += !w->grant;
        window_destroy(m, w);
    }
}

/* Life */

void gmem_flush(struct gmem *m)
{
    size_t n = m->n_dead;

    if (n == 0)
        return;
    m->n_dead = m->dead_pages = 0;
    if (m->ops->unmap_many && n > 1) {
        m->calls++;
        m->ops->unmap_many(m->ctx, m->dead, n);
        return;
    }
    m->calls += n;
    for (size_t i = 0; i < n; i++)
        m->ops->unmap(m->ctx, m->dead[i].addr, m->dead[i].n_pages);
}

bool gmem_drop_temps(struct gmem *m)
{
    bool any = m->temps.oldest || m->n_dead > 0;

    while (m->temps.oldest)
        window_destroy(m, m->temps.oldest);
    gmem_flush(m);
    return any;
}

/* What waits for its unmap is mapped as well: no more than the limits in all. */
static void make_room_in_fact(struct gmem *m, size_t pages, size_t windows)
{
    if (m->n_dead > 0 && (m->pages + m->dead_pages + pages > m->limits.max_pages ||
                          m->windows + m->n_dead + windows > m->limits.max_windows))
        gmem_flush(m);
}

static void count_map(struct gmem *m, size_t n)
{
    m->maps++;
    m->pages += n;
    m->windows++;
}

int gmem_platform_map(struct gmem *m, const uint32_t *refs, size_t n, bool writable, void **out)
{
    int r;

    make_room_in_fact(m, n, 1);
    m->calls++;
    r = m->ops->map(m->ctx, refs, n, writable, out);
    /* The host's limit may be lower than ours, and reached by what is only kept. */
    if (r == -ENOMEM && gmem_drop_temps(m)) {
        m->calls++;
        r = m->ops->map(m->ctx, refs, n, writable, out);
    }
    if (r == 0)
        count_map(m, n);
    return r;
}

void gmem_platform_unmap(struct gmem *m, void *base, size_t n)
{
    m->unmaps++;
    m->pages -= n;
    m->windows--;
    m->dead[m->n_dead++] = (struct grant_window){.addr = base, .n_pages = n};
    m->dead_pages += n;
    if (!m->section || m->n_dead == m->limits.max_windows)
        gmem_flush(m);
}

static struct window *pool_get(struct gmem *m)
{
    struct window *w = m->free;

    if (w)
        m->free = w->next;
    else if (m->pool_used < m->limits.max_windows)
        w = &m->pool[m->pool_used++];
    return w;
}

static void pool_put(struct gmem *m, struct window *w)
{
    *w = (struct window){.next = m->free};
    m->free = w;
}

static void window_insert(struct gmem *m, struct window *w, const struct window_spec *spec,
                          void *base)
{
    *w = (struct window){.first = spec->first,
                         .last = spec->last,
                         .base = base,
                         .first_ref = spec->first_ref,
                         .grant = spec->grant,
                         .writable = spec->writable,
                         .serial = m->serial};
    if (w->grant) {
        w->priority = (uint32_t)gmem_random(m);
        m->grants[w->writable] = tree_insert(m->grants[w->writable], w);
    } else {
        struct window **bucket = bucket_of(m, w->first);

        w->next = *bucket;
        *bucket = w;
    }
}

int window_new(struct gmem *m, const struct window_spec *spec, struct window **out)
{
    size_t n = (size_t)(spec->last - spec->first) + 1;
    struct window *w = NULL;
    void *base = NULL;
    int r;

    if (n <= m->n_refs)
        w = pool_get(m);
    if (!w)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        m->refs[i] = spec->first_ref + (uint32_t)i;
    r = gmem_platform_map(m, m->refs, n, spec->writable, &base);
    if (r < 0) {
        pool_put(m, w);
        return r;
    }
    window_insert(m, w, spec, base);
    *out = w;
    return 0;
}

void windows_new(struct gmem *m, const struct want *wants, size_t n)
{
    struct grant_window maps[GMEM_MAX_WANTS];
    struct window *windows[GMEM_MAX_WANTS];
    size_t pages = 0;

    for (size_t i = 0; i < n; i++) {
        maps[i] = (struct grant_window){.refs = &m->refs[pages],
                                        .n_pages = wants[i].last - wants[i].first + 1u,
                                        .writable = wants[i].write,
                                        .status = -ENOMEM};
        for (size_t k = 0; k < maps[i].n_pages; k++)
            m->refs[pages++] = wants[i].first + (uint32_t)k;
    }
    for (size_t i = 0; i < n; i++) {
        windows[i] = pool_get(m);
        if (!windows[i])
            n = i;
    }
    make_room_in_fact(m, pages, n);
    m->calls++;
    m->ops->map_many(m->ctx, maps, n);
    for (size_t i = 0; i < n; i++) {
        struct window_spec spec = {wants[i].first, wants[i].last, wants[i].first, true,
                                   wants[i].write};

        if (maps[i].status < 0) {
            pool_put(m, windows[i]);
            continue;
        }
        count_map(m, maps[i].n_pages);
        window_insert(m, windows[i], &spec, maps[i].addr);
        wlist_add(m, windows[i]);
    }
}

void window_destroy(struct gmem *m, struct window *w)
{
    if (w == m->viewed)
        unview(m);
    if (w->pins) {
        m->held_pages -= window_pages(w);
        m->held_windows--;
        m->pinned_pages -= window_pages(w);
    } else {
        wlist_remove(m, w);
    }
    if (w->grant) {
        m->grants[w->writable] = tree_remove(m->grants[w->writable], w);
    } else {
        struct window **link = bucket_of(m, w->first);

        while (*link && *link != w)
            link = &(*link)->next;
        if (*link)
            *link = w->next;
    }
    gmem_platform_unmap(m, w->base, window_pages(w));
    pool_put(m, w);
}

void window_pin_first(struct gmem *m, struct window *w)
{
    w->pins = 1;
    wlist_remove(m, w);
    m->held_pages += window_pages(w);
    m->held_windows++;
    m->pinned_pages += window_pages(w);
}

void window_unpin_last(struct gmem *m, struct window *w)
{
    if (w->stale || (w->grant && !m->section)) {
        window_destroy(m, w);
        return;
    }
    w->pins = 0;
    m->held_pages -= window_pages(w);
    m->held_windows--;
    m->pinned_pages -= window_pages(w);
    wlist_add(m, w);
}
