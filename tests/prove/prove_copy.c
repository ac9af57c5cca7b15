/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Copies by reference: every byte of the access is copied once, in order, to its own place in the
 * buffer; no piece leaves its page; references do not wrap.
 */
#include "tests/prove/prove.h"

#include <errno.h>
#include <string.h>

/* Nothing is mapped here, so nothing is copied from a mapping. */
#define memcpy(to, from, n) PROVE(false && (to) && (from) && (n))
#include "backend/virtio/gmem_access.c"

#define MOST 8192u

static uint64_t start, copied;
static size_t wanted;
static uint8_t buffer[MOST];
static bool to_guest;

int gmem_check(struct gmem *m, struct range gpa, bool write)
{
    PROVE(range_valid(gpa) && gpa.first == start && write == to_guest);
    PROVE(gpa.last - gpa.first == wanted - 1);
    if ((gpa.first & ~GMEM_GRANT_BIT) >> 12 == 0 || (gpa.last & ~GMEM_GRANT_BIT) >> 44 != 0)
        return -EFAULT;
    return 0;
}

struct window *window_covering(const struct gmem *m, uint64_t first, uint64_t last, bool write)
{
    return NULL;
}

bool gmem_fits(const struct gmem *m, size_t pages, size_t windows)
{
    return false;
}

/* The next bytes of the access, and nothing else. */
static void next_bytes(uint32_t ref, size_t offset, size_t len)
{
    uint64_t gpa = start + copied;

    PROVE(len > 0 && offset < 4096 && len <= 4096 - offset);
    PROVE(copied + len <= wanted);
    PROVE((uint64_t)ref == (gpa & ~GMEM_GRANT_BIT) >> 12 && offset == (gpa & 4095));
    copied += len;
}

static int copy(void *ctx, const struct grant_copy *pieces, size_t n)
{
    PROVE(n >= 1 && n <= GMEM_BATCH);
    for (size_t i = 0; i < n; i++) {
        PROVE(pieces[i].local == buffer + copied && pieces[i].to_guest == to_guest);
        next_bytes(pieces[i].ref, pieces[i].offset, pieces[i].len);
    }
    return any_bool() ? 0 : -EFAULT;
}

int main(void)
{
    const struct grant_ops ops = {.copy = copy};
    struct gmem m = {.ops = &ops}; /* no buckets: nobody looks for a window of the grant map */
    int r;

    start = any_u64() | GMEM_GRANT_BIT;
    wanted = any_u16();
    ASSUME(wanted >= 1 && wanted <= MOST);
    to_guest = any_bool();
    r = to_guest ? gmem_write(&m, start, buffer, wanted) : gmem_read(&m, start, buffer, wanted);
    PROVE(r == 0 || r == -EFAULT);
    if (r == 0)
        PROVE(copied == wanted);
    return 0;
}
