/* SPDX-License-Identifier: GPL-2.0-only */
/* Windows through a broker (broker_windows.h). */
#include <config.h>

#include "backend/platform/broker_windows.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"

/* The windows that fit into one message: at least one, or 0. */
static size_t wants_of(const struct grant_window *windows, size_t n, struct broker_want *wants)
{
    size_t some = 0;

    for (; some < n && some < BROKER_MAX_WINDOWS && windows[some].n_pages <= BROKER_MAX_PAGES;
         some++)
        wants[some] = (struct broker_want){.refs = windows[some].refs,
                                           .n = (uint32_t)windows[some].n_pages,
                                           .writable = windows[some].writable};
    return broker_fits(wants, some);
}

static int ask(const struct broker_windows *b, struct broker_want *wants, size_t n,
               uint32_t **words_out, int *fd_out)
{
    size_t max_words = 0;

    for (size_t i = 0; b->ops->words && i < n; i++)
        max_words += wants[i].n;
    *words_out = max_words > 0 ? calloc(max_words, sizeof(**words_out)) : NULL;
    if (max_words > 0 && !*words_out)
        return -ENOMEM;
    return broker_map(b->sock, wants, n, *words_out, max_words, fd_out);
}

/* One message for all, and one more for what could not be mapped then: it is for the guest to
 * choose whether there is any. */
static void map_some(struct broker_windows *b, struct grant_window *windows,
                     struct broker_want *wants, size_t n)
{
    uint32_t lost[BROKER_MAX_WINDOWS];
    cleanup_free uint32_t *words = NULL;
    cleanup_fd int fd = -1;
    size_t n_lost = 0;
    int r = ask(b, wants, n, &words, &fd);

    for (size_t i = 0; i < n; i++) {
        int status = r < 0 ? r : wants[i].status;

        if (status < 0) {
            windows[i].status = b->ops->error(status);
            continue;
        }
        windows[i].status = b->ops->add(b, &wants[i], fd, &windows[i].addr);
        if (windows[i].status < 0)
            lost[n_lost++] = wants[i].id;
    }
    if (n_lost > 0)
        (void)!broker_unmap(b->sock, lost, n_lost);
}

static void map_many(void *ctx, struct grant_window *windows, size_t n)
{
    struct broker_want wants[BROKER_MAX_WINDOWS];

    while (n > 0) {
        size_t some = wants_of(windows, n, wants);

        if (some > 0) {
            map_some(ctx, windows, wants, some);
        } else {
            windows[0].status = windows[0].n_pages == 0 ? -EINVAL : -ENOMEM;
            some = 1;
        }
        windows += some;
        n -= some;
    }
}

/* The mappings go first: what the broker then forgets is unmapped in its call, before it answers.
 */
static void unmap_some(struct broker_windows *b, const struct grant_window *windows, size_t n)
{
    uint32_t ids[BROKER_MAX_WINDOWS];
    size_t n_ids = 0;
    int r = 0;

    for (size_t i = 0; i < n; i++) {
        if (b->ops->remove(b, windows[i].addr, windows[i].n_pages, &ids[n_ids]))
            n_ids++;
    }
    if (n_ids > 0)
        r = broker_unmap(b->sock, ids, n_ids);
    if (r < 0)
        log_err("the grant broker does not unmap: %s", strerror(-r));
}

static void unmap_many(void *ctx, const struct grant_window *windows, size_t n)
{
    while (n > 0) {
        size_t some = n < BROKER_MAX_WINDOWS ? n : BROKER_MAX_WINDOWS;

        unmap_some(ctx, windows, some);
        windows += some;
        n -= some;
    }
}

static int map_one(void *ctx, const uint32_t *refs, size_t n_pages, bool writable, void **addr_out)
{
    struct grant_window w = {.refs = refs, .n_pages = n_pages, .writable = writable};

    map_many(ctx, &w, 1);
    if (w.status == 0)
        *addr_out = w.addr;
    return w.status;
}

static void unmap_one(void *ctx, void *addr, size_t n_pages)
{
    const struct grant_window w = {.addr = addr, .n_pages = n_pages};

    unmap_some(ctx, &w, 1);
}

const struct grant_ops broker_grants = {
    .map = map_one,
    .unmap = unmap_one,
    .map_many = map_many,
    .unmap_many = unmap_many,
};
