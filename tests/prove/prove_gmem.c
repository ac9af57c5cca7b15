/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guest addresses. gmem_set_map takes a grant map of any numbers, gmem_check any range: the
 * verdicts are those of the protocol (docs/protocol.md, 5), read page by page.
 */
#include "backend/virtio/gmem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend/virtio/gmem_priv.h"
#include "tests/prove/prove.h"

/* No windows here: never called. */
void window_destroy(struct gmem *m, struct window *w)
{
    PROVE(false);
}

/* The library's is not part of the proof: of the few elements here, any sort will do. */
void qsort(void *base, size_t n, size_t size, int (*compare)(const void *, const void *))
{
    struct run *v = base;

    PROVE(size == sizeof(*v) && n <= MOST);
    for (size_t i = 0; i + 1 < MOST; i++) {
        for (size_t j = 0; j + 1 < MOST; j++) {
            if (j + 1 < n && compare(&v[j], &v[j + 1]) > 0) {
                struct run t = v[j];

                v[j] = v[j + 1];
                v[j + 1] = t;
            }
        }
    }
}

static bool run_valid(const struct gmem_run *r)
{
    unsigned __int128 end = (unsigned __int128)r->address + ((unsigned __int128)r->pages << 12);

    return r->pages > 0 && (r->address & 4095) == 0 && end <= GMEM_GRANT_BIT && r->first_ref != 0 &&
           (uint64_t)r->first_ref + r->pages - 1 <= UINT32_MAX;
}

static bool run_has(const struct gmem_run *r, uint64_t addr)
{
    return addr >= r->address && (addr - r->address) >> 12 < r->pages;
}

static bool map_valid(const struct gmem_run *runs, size_t n)
{
    for (size_t i = 0; i < MOST; i++) {
        if (i < n && !run_valid(&runs[i]))
            return false;
    }
    for (size_t i = 0; i < MOST; i++) {
        for (size_t j = i + 1; j < MOST; j++) {
            if (j < n && (run_has(&runs[i], runs[j].address) || run_has(&runs[j], runs[i].address)))
                return false;
        }
    }
    return true;
}

/* Is this address guest memory, for this access? */
static bool reachable(const struct gmem_run *runs, size_t n, uint64_t addr, bool write)
{
    if (addr & GMEM_GRANT_BIT)
        return (addr >> 12 & 0x7ffff00000000) == 0 && (addr >> 12 & UINT32_MAX) != 0;
    for (size_t i = 0; i < MOST; i++) {
        if (i < n && run_has(&runs[i], addr))
            return !write || !runs[i].read_only;
    }
    return false;
}

/* The first address of the range that is not, or ends a run, after at most n + 1 steps. */
static bool all_reachable(const struct gmem_run *runs, size_t n, struct range gpa, bool write)
{
    uint64_t at = gpa.first;

    for (size_t step = 0; step <= MOST; step++) {
        bool found = false;

        for (size_t i = 0; i < MOST; i++) {
            if (!found && i < n && run_has(&runs[i], at) && (!write || !runs[i].read_only)) {
                uint64_t last = runs[i].address + ((uint64_t)runs[i].pages << 12) - 1;

                if (last >= gpa.last)
                    return true;
                at = last + 1;
                found = true;
            }
        }
        if (!found)
            return false;
    }
    return false;
}

int main(void)
{
    static struct gmem m;
    struct gmem_run runs[MOST];
    struct range gpa = {any_u64(), any_u64()};
    uint64_t addr = any_u64();
    size_t n = any_u8();
    bool write = any_bool();
    int r;

    ASSUME(n <= MOST);
    for (size_t i = 0; i < MOST; i++)
        runs[i] = (struct gmem_run){any_u64(), any_u32(), any_u32(), any_bool()};
    r = gmem_set_map(&m, runs, n);
    PROVE(r == 0 || r == -ENOMEM || r == -EINVAL);
    if (r == -ENOMEM)
        return 0;
    PROVE((r == 0) == map_valid(runs, n));
    if (r < 0) {
        PROVE(m.map.n == 0 && m.map.v == NULL);
        n = 0;
    }
    m.map.hint = any_u64();
    r = gmem_check(&m, gpa, write);
    PROVE(r == 0 || r == -EFAULT);
    if (r == 0 && gpa.first <= addr && addr <= gpa.last)
        PROVE(reachable(runs, n, addr, write)); /* sound: every byte of it is guest memory */
    if (gpa.first > gpa.last)
        PROVE(r == -EFAULT);
    else if (gpa.first & GMEM_GRANT_BIT)
        PROVE((r == 0) ==
              (reachable(runs, n, gpa.first, write) && reachable(runs, n, gpa.last, write)));
    else
        PROVE((r == 0) == all_reachable(runs, n, gpa, write)); /* and complete */
    return 0;
}
