/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Helpers on struct xs_ops that every user of a store needs: bounded values, transactions that are
 * tried again, our own domid. Works on the real store (xs.c) and on the tests' one alike. Values
 * are foreign input: a guest may have written them.
 */
#include <config.h>

#include "xenstore/xs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/strutil.h"
#include "xenstore/paths.h"

#define TX_TRIES 32

void xsc_close(struct xsc *xs)
{
    if (xs->ops)
        xs->ops->close(xs->ctx);
    *xs = (struct xsc){0};
}

int xsc_read(const struct xsc *xs, uint32_t tx, const char *path, char *buf, size_t size)
{
    cleanup_free char *value = NULL;
    size_t len = 0;
    int r;

    buf[0] = '\0';
    r = xs->ops->read(xs->ctx, tx, path, &value, &len);
    if (r < 0)
        return r;
    if (len >= size)
        return -E2BIG;
    if (memchr(value, '\0', len))
        return -EINVAL;
    memcpy(buf, value, len);
    buf[len] = '\0';
    return 0;
}

int xsc_write(const struct xsc *xs, uint32_t tx, const char *path, const char *value)
{
    return xs->ops->write(xs->ctx, tx, path, value, strlen(value));
}

int xsc_rm(const struct xsc *xs, uint32_t tx, const char *path)
{
    int r = xs->ops->rm(xs->ctx, tx, path);

    return r == -ENOENT ? 0 : r;
}

int xsc_list(const struct xsc *xs, uint32_t tx, const char *path, char ***names_out, size_t *n_out)
{
    return xs->ops->list(xs->ctx, tx, path, names_out, n_out);
}

int xsc_transaction(const struct xsc *xs, int (*body)(const struct xsc *xs, uint32_t tx, void *ctx),
                    void *ctx)
{
    for (unsigned i = 0; i < TX_TRIES; i++) {
        uint32_t tx = XSC_TX_NONE;
        int r, end;

        r = xs->ops->tx_start(xs->ctx, &tx);
        if (r < 0)
            return r;
        r = body(xs, tx, ctx);
        end = xs->ops->tx_end(xs->ctx, tx, r < 0);
        if (r < 0)
            return r;
        if (end != -EAGAIN)
            return end;
    }
    return -EAGAIN;
}

int xsc_own_domid(const struct xsc *xs, uint32_t *domid_out)
{
    char text[16];
    uint32_t domid;
    int r;

    r = xsc_read(xs, XSC_TX_NONE, XS_PATH_OWN_DOMID, text, sizeof(text));
    if (r == -ENOENT) {
        *domid_out = 0;
        return 0;
    }
    if (r < 0)
        return r == -E2BIG ? -EINVAL : r;
    if (parse_u32(text, XS_DOMID_MAX, &domid) < 0)
        return -EINVAL;
    *domid_out = domid;
    return 0;
}

int xsc_join(char *out, size_t size, const char *dir, const char *node)
{
    size_t dir_len = strlen(dir), node_len = strlen(node);

    if (dir_len >= size || node_len >= size - dir_len || size - dir_len - node_len < 2) {
        out[0] = '\0';
        return -ENAMETOOLONG;
    }
    memcpy(out, dir, dir_len);
    out[dir_len] = '/';
    memcpy(out + dir_len + 1, node, node_len + 1);
    return 0;
}
