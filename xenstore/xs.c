/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The real store: struct xs_ops on libxenstore. The only file that includes its header, and built
 * only where the Xen libraries are. Everything above uses the table (xsc.c has the helpers).
 *
 * libxenstore serves watches from a thread of its own once the first one is set; requests are
 * serialized by its locks, and its descriptor is then a pipe that says "events are waiting".
 */
#include <config.h>

#include "xenstore/xs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xenstore.h>

/* A lost connection shows as EBADF when libxenstore's reader has closed it, or as EPIPE. */
static int store_error(void)
{
    switch (errno) {
    case 0:
    case EBADF:
    case EPIPE:
    case ECONNRESET:
        return -EIO;
    default:
        return -errno;
    }
}

static int real_read(void *ctx, uint32_t tx, const char *path, char **value_out, size_t *len_out)
{
    unsigned int len = 0;
    char *value = xs_read(ctx, tx, path, &len);

    if (!value)
        return store_error();
    *value_out = value;
    *len_out = len;
    return 0;
}

static int real_write(void *ctx, uint32_t tx, const char *path, const void *value, size_t len)
{
    if (len > UINT16_MAX)
        return -E2BIG;
    return xs_write(ctx, tx, path, value, (unsigned int)len) ? 0 : store_error();
}

static int real_rm(void *ctx, uint32_t tx, const char *path)
{
    return xs_rm(ctx, tx, path) ? 0 : store_error();
}

static int real_mkdir(void *ctx, uint32_t tx, const char *path)
{
    return xs_mkdir(ctx, tx, path) ? 0 : store_error();
}

static int real_list(void *ctx, uint32_t tx, const char *path, char ***names_out, size_t *n_out)
{
    unsigned int n = 0;
    char **names = xs_directory(ctx, tx, path, &n);

    if (!names)
        return store_error();
    *names_out = names;
    *n_out = n;
    return 0;
}

static int real_set_perms(void *ctx, uint32_t tx, const char *path, uint32_t owner, uint32_t reader)
{
    /* The first entry names the owner, and what domains that are not listed may do. */
    struct xs_permissions perms[2] = {
        {.id = owner, .perms = XS_PERM_NONE},
        {.id = reader, .perms = XS_PERM_READ},
    };
    unsigned int n = reader == XSC_READER_NONE ? 1 : 2;

    return xs_set_permissions(ctx, tx, path, perms, n) ? 0 : store_error();
}

static int real_tx_start(void *ctx, uint32_t *tx_out)
{
    xs_transaction_t tx = xs_transaction_start(ctx);

    if (tx == XBT_NULL)
        return store_error();
    *tx_out = tx;
    return 0;
}

static int real_tx_end(void *ctx, uint32_t tx, bool abort)
{
    return xs_transaction_end(ctx, tx, abort) ? 0 : store_error();
}

static int real_watch(void *ctx, const char *path, const char *token)
{
    return xs_watch(ctx, path, token) ? 0 : store_error();
}

static int real_unwatch(void *ctx, const char *path, const char *token)
{
    return xs_unwatch(ctx, path, token) ? 0 : store_error();
}

static void copy_bounded(char *out, size_t size, const char *in)
{
    size_t len = strnlen(in, size - 1);

    memcpy(out, in, len);
    out[len] = '\0';
}

static int real_next_event(void *ctx, struct xsc_event *out)
{
    char **event = xs_check_watch(ctx);

    if (!event)
        return errno == EAGAIN ? 0 : -EIO;
    copy_bounded(out->path, sizeof(out->path), event[XS_WATCH_PATH]);
    copy_bounded(out->token, sizeof(out->token), event[XS_WATCH_TOKEN]);
    free(event);
    return 1;
}

static int real_fd(void *ctx)
{
    return xs_fileno(ctx);
}

static void real_close(void *ctx)
{
    xs_close(ctx);
}

static const struct xs_ops real_ops = {
    .read = real_read,
    .write = real_write,
    .rm = real_rm,
    .mkdir = real_mkdir,
    .list = real_list,
    .set_perms = real_set_perms,
    .tx_start = real_tx_start,
    .tx_end = real_tx_end,
    .watch = real_watch,
    .unwatch = real_unwatch,
    .next_event = real_next_event,
    .fd = real_fd,
    .close = real_close,
};

int xsc_open(struct xsc *out)
{
    struct xs_handle *handle;

    errno = 0;
    handle = xs_open(0);
    if (!handle)
        return errno ? -errno : -EIO;
    /* Makes the pipe before there are watches: from now on the descriptor stays the same. */
    if (xs_fileno(handle) < 0) {
        xs_close(handle);
        return -EMFILE;
    }
    *out = (struct xsc){&real_ops, handle};
    return 0;
}
