/* SPDX-License-Identifier: GPL-2.0-only */
/* The grant table of fake_grants.h. Guest memory is a memfd that each mapping maps again. */
#include <config.h>

#include "tests/support/fake_grants.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define LEAF_REFS   65536u
#define MAP_BUCKETS 1024u

struct grant {
    size_t page;
    uint32_t live;
    bool granted;
    bool read_only;
};

struct mapping {
    struct mapping *next;
    uint8_t *addr;
    size_t n;
    bool direct;
    uint32_t refs[];
};

struct fake_grants {
    int fd;
    bool direct;
    uint8_t *memory;
    size_t pages;
    struct grant *leaves[UINT32_MAX / LEAF_REFS + 1];
    struct mapping *maps[MAP_BUCKETS];
    size_t live_pages, live_maps, limit;
    size_t map_calls, copy_calls, calls, errors;
    size_t fail_map_in, fail_copy_in;
    int map_error, copy_error;
    void (*hook)(void *ctx);
    void *hook_ctx;
};

struct fake_grants *fake_grants_new(size_t pages, bool direct)
{
    struct fake_grants *f = calloc(1, sizeof(*f));
    void *memory;

    if (!f)
        return NULL;
    f->fd = memfd_create("fake-guest", MFD_CLOEXEC);
    f->pages = pages;
    f->direct = direct;
    f->limit = SIZE_MAX;
    if (f->fd < 0 || ftruncate(f->fd, (off_t)(pages * GRANT_PAGE_SIZE)) < 0)
        return fake_grants_free(f);
    memory = mmap(NULL, pages * GRANT_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd, 0);
    if (memory == MAP_FAILED)
        return fake_grants_free(f);
    f->memory = memory;
    return f;
}

struct fake_grants *fake_grants_free(struct fake_grants *f)
{
    if (!f)
        return NULL;
    for (size_t i = 0; i < MAP_BUCKETS; i++) {
        while (f->maps[i]) {
            struct mapping *map = f->maps[i];

            f->maps[i] = map->next;
            if (!map->direct)
                munmap(map->addr, map->n * GRANT_PAGE_SIZE);
            free(map);
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(f->leaves); i++)
        free(f->leaves[i]);
    if (f->memory)
        munmap(f->memory, f->pages * GRANT_PAGE_SIZE);
    if (f->fd >= 0)
        close(f->fd);
    free(f);
    return NULL;
}

uint8_t *fake_grants_memory(struct fake_grants *f)
{
    return f->memory;
}

size_t fake_grants_pages(const struct fake_grants *f)
{
    return f->pages;
}

static struct grant *grant_of(const struct fake_grants *f, uint32_t ref)
{
    struct grant *leaf = f->leaves[ref / LEAF_REFS];

    return leaf && leaf[ref % LEAF_REFS].granted ? &leaf[ref % LEAF_REFS] : NULL;
}

static bool refs_wrap(uint32_t ref, size_t n)
{
    return n == 0 || n - 1 > UINT32_MAX - ref;
}

bool fake_grants_grant(struct fake_grants *f, uint32_t ref, size_t page, size_t n, bool read_only)
{
    if (refs_wrap(ref, n) || page > f->pages || n > f->pages - page)
        return false;
    for (size_t i = 0; i < n; i++) {
        struct grant **leaf = &f->leaves[(ref + i) / LEAF_REFS];

        if (!*leaf)
            *leaf = calloc(LEAF_REFS, sizeof(**leaf));
        if (!*leaf || grant_of(f, (uint32_t)(ref + i)))
            return false;
    }
    for (size_t i = 0; i < n; i++)
        f->leaves[(ref + i) / LEAF_REFS][(ref + i) % LEAF_REFS] = (struct grant){
            .page = page + i, .granted = true, .read_only = read_only};
    return true;
}

int fake_grants_revoke(struct fake_grants *f, uint32_t ref, size_t n)
{
    if (refs_wrap(ref, n))
        return -ENOENT;
    for (size_t i = 0; i < n; i++) {
        const struct grant *grant = grant_of(f, (uint32_t)(ref + i));

        if (!grant)
            return -ENOENT;
        if (grant->live)
            return -EBUSY;
    }
    for (size_t i = 0; i < n; i++)
        grant_of(f, (uint32_t)(ref + i))->granted = false;
    return 0;
}

size_t fake_grants_live(const struct fake_grants *f, uint32_t ref)
{
    const struct grant *grant = grant_of(f, ref);

    return grant ? grant->live : 0;
}

size_t fake_grants_live_pages(const struct fake_grants *f)
{
    return f->live_pages;
}

size_t fake_grants_live_maps(const struct fake_grants *f)
{
    return f->live_maps;
}

size_t fake_grants_map_calls(const struct fake_grants *f)
{
    return f->map_calls;
}

size_t fake_grants_calls(const struct fake_grants *f)
{
    return f->calls;
}

size_t fake_grants_copy_calls(const struct fake_grants *f)
{
    return f->copy_calls;
}

void fake_grants_fail_map(struct fake_grants *f, size_t n, int error)
{
    f->fail_map_in = n;
    f->map_error = error;
}

void fake_grants_fail_copy(struct fake_grants *f, size_t n, int error)
{
    f->fail_copy_in = n;
    f->copy_error = error;
}

void fake_grants_set_limit(struct fake_grants *f, size_t pages)
{
    f->limit = pages;
}

void fake_grants_set_hook(struct fake_grants *f, void (*fn)(void *ctx), void *ctx)
{
    f->hook = fn;
    f->hook_ctx = ctx;
}

size_t fake_grants_errors(const struct fake_grants *f)
{
    return f->errors;
}

static void run_hook(struct fake_grants *f)
{
    if (f->hook)
        f->hook(f->hook_ctx);
}

static struct mapping **bucket_of(struct fake_grants *f, const void *addr)
{
    return &f->maps[((uintptr_t)addr / GRANT_PAGE_SIZE) % MAP_BUCKETS];
}

/* Pages from refs[0] on that follow each other in the guest, too. */
static size_t contiguous(const struct fake_grants *f, const uint32_t *refs, size_t n)
{
    size_t i = 1;

    while (i < n && grant_of(f, refs[i])->page == grant_of(f, refs[0])->page + i)
        i++;
    return i;
}

static int map_pages(struct fake_grants *f, struct mapping *map, bool writable)
{
    int prot = writable ? PROT_READ | PROT_WRITE : PROT_READ;
    uint8_t *base;

    if (f->direct && contiguous(f, map->refs, map->n) == map->n) {
        map->direct = true;
        map->addr = f->memory + grant_of(f, map->refs[0])->page * GRANT_PAGE_SIZE;
        return 0;
    }
    base = mmap(NULL, map->n * GRANT_PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
        return -ENOMEM;
    for (size_t i = 0, n; i < map->n; i += n) {
        off_t offset = (off_t)(grant_of(f, map->refs[i])->page * GRANT_PAGE_SIZE);

        n = contiguous(f, &map->refs[i], map->n - i);
        if (mmap(base + i * GRANT_PAGE_SIZE, n * GRANT_PAGE_SIZE, prot, MAP_SHARED | MAP_FIXED,
                 f->fd, offset) == MAP_FAILED) {
            munmap(base, map->n * GRANT_PAGE_SIZE);
            return -ENOMEM;
        }
    }
    map->addr = base;
    return 0;
}

static int check_refs(const struct fake_grants *f, const uint32_t *refs, size_t n, bool writable)
{
    for (size_t i = 0; i < n; i++) {
        const struct grant *grant = grant_of(f, refs[i]);

        if (!grant || (writable && grant->read_only))
            return -EFAULT;
    }
    return n > 0 ? 0 : -EINVAL;
}

static bool injected(size_t *countdown)
{
    return *countdown > 0 && --*countdown == 0;
}

static int do_map(struct fake_grants *f, const uint32_t *refs, size_t n_pages, bool writable,
                  void **addr_out)
{
    struct mapping *map;
    int r;

    f->map_calls++;
    if (injected(&f->fail_map_in))
        return f->map_error;
    r = check_refs(f, refs, n_pages, writable);
    if (r < 0)
        return r;
    if (f->live_pages > f->limit || n_pages > f->limit - f->live_pages)
        return -ENOMEM;
    map = calloc(1, sizeof(*map) + n_pages * sizeof(map->refs[0]));
    if (!map)
        return -ENOMEM;
    map->n = n_pages;
    memcpy(map->refs, refs, n_pages * sizeof(refs[0]));
    r = map_pages(f, map, writable);
    if (r < 0) {
        free(map);
        return r;
    }
    for (size_t i = 0; i < n_pages; i++)
        grant_of(f, refs[i])->live++;
    map->next = *bucket_of(f, map->addr);
    *bucket_of(f, map->addr) = map;
    f->live_pages += n_pages;
    f->live_maps++;
    *addr_out = map->addr;
    run_hook(f);
    return 0;
}

static void do_unmap(struct fake_grants *f, void *addr, size_t n_pages)
{
    struct mapping **link = bucket_of(f, addr), *map;

    while (*link && ((*link)->addr != addr || (*link)->n != n_pages))
        link = &(*link)->next;
    map = *link;
    if (!map) {
        f->errors++;
        return;
    }
    *link = map->next;
    for (size_t i = 0; i < n_pages; i++)
        grant_of(f, map->refs[i])->live--;
    f->live_pages -= n_pages;
    f->live_maps--;
    if (!map->direct)
        munmap(map->addr, n_pages * GRANT_PAGE_SIZE);
    free(map);
}

static int fake_map(void *ctx, const uint32_t *refs, size_t n_pages, bool writable, void **addr_out)
{
    struct fake_grants *f = ctx;

    f->calls++;
    return do_map(f, refs, n_pages, writable, addr_out);
}

static void fake_unmap(void *ctx, void *addr, size_t n_pages)
{
    struct fake_grants *f = ctx;

    f->calls++;
    do_unmap(f, addr, n_pages);
}

static void fake_map_many(void *ctx, struct grant_window *windows, size_t n)
{
    struct fake_grants *f = ctx;

    f->calls++;
    for (size_t i = 0; i < n; i++)
        windows[i].status = do_map(f, windows[i].refs, windows[i].n_pages, windows[i].writable,
                                   &windows[i].addr);
}

static void fake_unmap_many(void *ctx, const struct grant_window *windows, size_t n)
{
    struct fake_grants *f = ctx;

    f->calls++;
    for (size_t i = 0; i < n; i++)
        do_unmap(f, windows[i].addr, windows[i].n_pages);
}

static int fake_copy(void *ctx, const struct grant_copy *pieces, size_t n)
{
    struct fake_grants *f = ctx;

    f->copy_calls++;
    if (injected(&f->fail_copy_in))
        return f->copy_error;
    for (size_t i = 0; i < n; i++) {
        const struct grant_copy *piece = &pieces[i];
        uint8_t *guest;

        if (check_refs(f, &piece->ref, 1, piece->to_guest) < 0)
            return -EFAULT;
        if (piece->offset + piece->len > (int)GRANT_PAGE_SIZE)
            return -EINVAL;
        guest = f->memory + grant_of(f, piece->ref)->page * GRANT_PAGE_SIZE + piece->offset;
        memcpy(piece->to_guest ? guest : piece->local, piece->to_guest ? piece->local : guest,
               piece->len);
    }
    run_hook(f);
    return 0;
}

const struct grant_ops fake_grants_ops = {
    .map = fake_map,
    .unmap = fake_unmap,
    .copy = fake_copy,
};

const struct grant_ops fake_grants_ops_no_copy = {
    .map = fake_map,
    .unmap = fake_unmap,
};

const struct grant_ops fake_grants_ops_many = {
    .map = fake_map,
    .unmap = fake_unmap,
    .map_many = fake_map_many,
    .unmap_many = fake_unmap_many,
};
