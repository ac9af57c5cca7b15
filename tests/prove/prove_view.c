/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * backend/virtio/gmem.h: the quick ways to guest memory touch only bytes that are in view, copy
 * them all or none, and otherwise do what the function behind them does.
 */
#include <string.h>

#include "backend/virtio/gmem.h"

#include "tests/prove/prove.h"

#define MAPPED 24u /* bytes of guest memory that are in view at most */
#define BUFFER 40u

struct world {
    struct gmem_view view; /* first: a struct gmem begins with it */
    uint8_t mapped[MAPPED], before[MAPPED];
    uint8_t buf[BUFFER], buf_before[BUFFER];
};
static unsigned slow; /* calls of the function behind */

int gmem_check(struct gmem *m, struct range gpa, bool write)
{
    (void)m, (void)gpa, (void)write;
    slow++;
    return -1;
}

int gmem_read(struct gmem *m, uint64_t gpa, void *buf, size_t len)
{
    (void)m, (void)gpa, (void)buf, (void)len;
    slow++;
    return -1;
}

int gmem_write(struct gmem *m, uint64_t gpa, const void *buf, size_t len)
{
    (void)m, (void)gpa, (void)buf, (void)len;
    slow++;
    return -1;
}

/* As window_view leaves it: what is in view does not wrap; to write all of it, or nothing. */
static void any_view(struct world *w)
{
    struct world any;

    *w = any;
    w->view.base = w->mapped;
    ASSUME(w->view.readable_bytes <= MAPPED);
    ASSUME(w->view.address <= UINT64_MAX - MAPPED);
    ASSUME(w->view.writable_bytes == 0 || w->view.writable_bytes == w->view.readable_bytes);
    memcpy(w->before, w->mapped, MAPPED);
    memcpy(w->buf_before, w->buf, BUFFER);
}

static bool in_view(const struct gmem_view *v, uint64_t bytes, uint64_t gpa, size_t len)
{
    return gpa >= v->address && gpa - v->address < bytes && len <= bytes - (gpa - v->address);
}

static void reads(void)
{
    struct world w;
    uint64_t gpa = any_u64();
    size_t len = any_u64(), i = any_u64();
    int r;

    any_view(&w);
    slow = 0;
    ASSUME(len <= BUFFER && i < BUFFER);
    r = gmem_read_quick((struct gmem *)&w, gpa, w.buf, len);
    PROVE((r == 0) == in_view(&w.view, w.view.readable_bytes, gpa, len) && slow == (r != 0));
    if (r == 0 && i < len)
        PROVE(w.buf[i] == w.mapped[gpa - w.view.address + i]);
    else
        PROVE(w.buf[i] == w.buf_before[i]);
    ASSUME(i < MAPPED);
    PROVE(w.mapped[i] == w.before[i]);
}

static void writes(void)
{
    struct world w;
    uint64_t gpa = any_u64();
    size_t len = any_u64(), i = any_u64();
    int r;

    any_view(&w);
    slow = 0;
    ASSUME(len <= BUFFER && i < MAPPED);
    r = gmem_write_quick((struct gmem *)&w, gpa, w.buf, len);
    PROVE((r == 0) == in_view(&w.view, w.view.writable_bytes, gpa, len) && slow == (r != 0));
    if (r == 0 && i >= gpa - w.view.address && i - (gpa - w.view.address) < len)
        PROVE(w.mapped[i] == w.buf[i - (gpa - w.view.address)]);
    else
        PROVE(w.mapped[i] == w.before[i]);
}

static void checks(void)
{
    struct world w;
    struct range gpa = {any_u64(), any_u64()};
    int r;

    any_view(&w);
    slow = 0;
    r = gmem_check_quick((struct gmem *)&w, gpa, any_bool());
    PROVE((r == 0) == (gpa.first <= gpa.last && w.view.writable.first <= gpa.first &&
                       gpa.last <= w.view.writable.last));
    PROVE(slow == (r != 0));
}

int main(void)
{
    reads();
    writes();
    checks();
    return 0;
}
