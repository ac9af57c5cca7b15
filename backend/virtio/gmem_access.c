/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Copies between private memory and the guest's, pinned or not. The guest may write while we
 * copy: each byte is read once, into a buffer that only we can change.
 */
#include <config.h>

#include "backend/virtio/gmem_priv.h"

#include <errno.h>
#include <string.h>

/* One access: as much of it as is left. */
struct access {
    uint64_t gpa;
    uint8_t *buf;
    size_t len; /* > 0 */
    bool write;
};

static void access_advance(struct access *a, size_t n)
{
    a->gpa += n;
    a->buf += n;
    a->len -= n;
}

/* Copies what lies in a mapping: `at` is where the access begins, `bytes` are mapped from there. */
static void access_mapped(struct access *a, uint8_t *at, uint64_t bytes)
{
    size_t n = (size_t)gmem_min(a->len, bytes);

    if (a->write)
        memcpy(at, a->buf, n);
    else
        memcpy(a->buf, at, n);
    /* The compiler must not read guest memory again instead of the copy. */
    __asm__ volatile("" ::: "memory");
    access_advance(a, n);
}

static void access_window(struct gmem *m, struct access *a, struct window *w)
{
    window_view(m, w);
    access_mapped(a, window_at(w, a->gpa), window_bytes_from(w, a->gpa));
}

/* How many pages of references from `ref` on this step takes. */
static size_t step_pages(const struct access *a)
{
    uint64_t bytes = a->gpa % GRANT_PAGE_SIZE + a->len;

    if (bytes > GMEM_BATCH * GRANT_PAGE_SIZE)
        return GMEM_BATCH;
    return (size_t)((bytes + GRANT_PAGE_SIZE - 1) >> GRANT_PAGE_SHIFT);
}

static int access_by_copy(struct gmem *m, struct access *a, uint32_t ref, size_t pages)
{
    struct grant_copy pieces[GMEM_BATCH];
    size_t total = 0, n = 0;
    int r;

    while (n < pages && total < a->len) {
        size_t offset = (a->gpa + total) % GRANT_PAGE_SIZE;
        size_t len = (size_t)gmem_min(GRANT_PAGE_SIZE - offset, a->len - total);

        pieces[n] = (struct grant_copy){.ref = ref + (uint32_t)n,
                                        .offset = (uint16_t)offset,
                                        .len = (uint16_t)len,
                                        .local = a->buf + total,
                                        .to_guest = a->write};
        total += len;
        n++;
    }
    m->copies++;
    m->calls++;
    r = m->ops->copy(m->ctx, pieces, n);
    if (r == 0)
        access_advance(a, total);
    return r;
}

/* One page, mapped for the time of the copy: the reserve of the budget is for this. */
static int access_transient(struct gmem *m, struct access *a, uint32_t ref)
{
    size_t skip = a->gpa % GRANT_PAGE_SIZE;
    void *base;
    int r = gmem_platform_map(m, &ref, 1, a->write, &base);

    if (r < 0)
        return r;
    access_mapped(a, (uint8_t *)base + skip, GRANT_PAGE_SIZE - skip);
    gmem_platform_unmap(m, base, 1);
    return 0;
}

/* By reference, without a window of the grant map. */
static int access_refs(struct gmem *m, struct access *a, uint32_t ref, size_t pages)
{
    return m->ops->copy ? access_by_copy(m, a, ref, pages) : access_transient(m, a, ref);
}

static int access_grant(struct gmem *m, struct access *a)
{
    uint64_t ref = gmem_page(a->gpa);
    struct window *w = window_covering(m, ref, ref, a->write);
    size_t pages = step_pages(a);
    int r;

    if (!w && !m->ops->copy && gmem_fits(m, pages, 1)) {
        struct window_spec spec = {.first = ref,
                                   .last = ref + pages - 1,
                                   .first_ref = (uint32_t)ref,
                                   .grant = true,
                                   .writable = a->write};

        gmem_make_room(m, pages, 1);
        r = window_new(m, &spec, &w);
        if (r < 0)
            return r;
        access_window(m, a, w);
        if (!m->section)
            window_destroy(m, w);
        return 0;
    }
    if (!w)
        return access_refs(m, a, (uint32_t)ref, pages);
    access_window(m, a, w);
    return 0;
}

static int access_frame(struct gmem *m, struct access *a)
{
    uint64_t frame = gmem_page(a->gpa);
    struct window *w = window_of_frame(m, frame, a->write);
    struct window_spec hole;
    uint32_t ref;
    size_t pages;
    int r;

    if (LIKELY(w)) {
        access_window(m, a, w);
        return 0;
    }
    window_hole(m, frame, a->write, &hole);
    pages = (size_t)(hole.last - hole.first) + 1;
    ref = hole.first_ref + (uint32_t)(frame - hole.first);
    if (gmem_fits(m, pages, 1)) {
        gmem_make_room(m, pages, 1);
        r = window_new(m, &hole, &w);
        if (r == 0)
            access_window(m, a, w);
        /* The host may have room for less than a window. */
        if (r != -ENOMEM)
            return r;
    }
    return access_refs(m, a, ref, 1);
}

static int access_all(struct gmem *m, struct access *a)
{
    struct range gpa;
    int r;

    if (a->len == 0)
        return 0;
    if (!range_from_size(a->gpa, a->len, &gpa))
        return -EFAULT;
    r = gmem_check(m, gpa, a->write);
    while (r == 0 && a->len > 0)
        r = gmem_is_grant(a->gpa) ? access_grant(m, a) : access_frame(m, a);
    return r;
}

int gmem_read(struct gmem *m, uint64_t gpa, void *buf, size_t len)
{
    return access_all(m, &(struct access){.gpa = gpa, .buf = buf, .len = len});
}

int gmem_write(struct gmem *m, uint64_t gpa, const void *buf, size_t len)
{
    /* Not written through: access_mapped() and the copies look at `write`. */
    uint8_t *from = (uint8_t *)(uintptr_t)buf;

    return access_all(m, &(struct access){.gpa = gpa, .buf = from, .len = len, .write = true});
}

void gmem_begin(struct gmem *m)
{
    m->section++;
}

void gmem_end(struct gmem *m)
{
    if (m->section == 0 || --m->section > 0)
        return;
    /* Still as in the section, so that all of it goes at once. */
    m->section++;
    (void)gmem_drop_temps(m);
    m->section--;
    m->n_wants = 0;
}

/* Windows ahead of their use */

static bool want_known(const struct gmem *m, const struct want *want)
{
    /* The latest first: buffers of a batch lie beside each other. */
    for (size_t i = m->n_wants; i-- > 0;) {
        const struct want *w = &m->wants[i];

        /* There is one window of the same references and access, whatever it is wanted for. */
        if (want->pin ? w->first == want->first && w->last == want->last && w->write == want->write
                      : w->first <= want->first && w->last >= want->last && w->write >= want->write)
            return true;
    }
    return false;
}

static void add_want(struct gmem *m, struct range gpa, bool write, bool pin, uint64_t max_pages)
{
    uint64_t first = gmem_page(gpa.first), last = gmem_page(gpa.last);
    struct want want = {.first = (uint32_t)first, .write = write, .pin = pin};

    if (!m->ops->map_many || !m->section || !gmem_is_grant(gpa.first) ||
        gmem_check(m, gpa, write) < 0)
        return;
    if (last - first >= max_pages) {
        if (pin)
            return;
        last = first + max_pages - 1;
    }
    want.last = (uint32_t)last;
    if (m->n_wants < GMEM_MAX_WANTS && !want_known(m, &want))
        m->wants[m->n_wants++] = want;
}

void gmem_want_pin(struct gmem *m, struct range gpa, bool write)
{
    add_want(m, gpa, write, true, m->limits.max_pin_pages);
}

void gmem_want_access(struct gmem *m, struct range gpa, bool write)
{
    /* As access_grant maps. */
    add_want(m, gpa, write, false, GMEM_BATCH);
}

static bool want_there(const struct gmem *m, const struct want *w)
{
    return w->pin ? window_of_refs(m, w->first, w->last, w->write) != NULL
                  : window_covering(m, w->first, w->first, w->write) != NULL;
}

bool gmem_fetches(const struct gmem *m)
{
    return m->ops->map_many != NULL;
}

void gmem_fetch(struct gmem *m)
{
    size_t n = 0, pages = 0, room = m->n_refs;

    for (size_t i = 0; i < m->n_wants; i++) {
        size_t more = m->wants[i].last - m->wants[i].first + 1u;

        if (want_there(m, &m->wants[i]) || more > room - pages ||
            !gmem_fits(m, pages + more, n + 1))
            continue;
        m->wants[n++] = m->wants[i];
        pages += more;
    }
    m->n_wants = 0;
    /* A single pin costs the same when it is made, and nothing if it is not. */
    if (n == 0 || (n == 1 && m->wants[0].pin))
        return;
    gmem_make_room(m, pages, n);
    windows_new(m, m->wants, n);
}
