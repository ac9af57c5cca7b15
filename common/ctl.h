/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The control socket: framing and JSON messages over a UNIX stream socket.
 *
 * A frame is a le32 length and that many bytes of UTF-8 JSON (jansson), at most CTL_FRAME_MAX.
 * A request is {"command": NAME, ...}; a response {"ok": true, ...} or
 * {"ok": false, "error": TEXT}. The same frames run between supervisor and worker (with
 * descriptors passed beside them), where either side treats the other's as hostile.
 */
#ifndef VIOMMU_COMMON_CTL_H
#define VIOMMU_COMMON_CTL_H

#include "common/compiler.h"
#include "common/loop.h"

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#define CTL_FRAME_MAX (256u * 1024)
#define CTL_MAX_FDS   4

/* One end of a connection, fed by a loop. */
struct ctl_conn;

struct ctl_conn_ops {
    /*
     * A whole message arrived: an object, borrowed for the call. `fds` are owned by the callee: at
     * most CTL_MAX_FDS, those beyond are closed. The connection may be freed from inside.
     */
    void (*message)(struct ctl_conn *conn, json_t *msg, const int *fds, size_t n_fds, void *ctx);
    /*
     * The peer went away or broke the framing: `reason` is 0 for an orderly end, -EPROTO for a
     * length out of bounds, -EBADMSG for a body that is no JSON object, -ENOBUFS for a peer that
     * does not read, else another -errno. Called once, from the loop and never from inside
     * ctl_conn_send; the callee frees the connection.
     */
    void (*closed)(struct ctl_conn *conn, int reason, void *ctx);
};

/*
 * Wraps a connected stream socket (consumed on success, left to the caller on failure: NULL).
 * Output is queued without limit by this side's own sends only; a peer that does not read while
 * more than 16 MiB are queued is disconnected.
 */
struct ctl_conn *ctl_conn_new(struct loop *loop, int fd, const struct ctl_conn_ops *ops, void *ctx);
struct ctl_conn *ctl_conn_free(struct ctl_conn *conn); /* closes; NULL allowed; returns NULL */

/*
 * Queues a message, and writes at once what the socket takes. Borrows msg; descriptors are
 * duplicated. -EINVAL if msg is no object, -E2BIG, -ENOMEM (or another error of dup); -ENOTCONN
 * when the connection is over: then `closed` was or will be called.
 */
MUST_CHECK int ctl_conn_send(struct ctl_conn *conn, const json_t *msg, const int *fds,
                             size_t n_fds);

/* uid of the peer process when it connected (SO_PEERCRED), or -errno. */
int ctl_conn_peer_uid(const struct ctl_conn *conn);

/*
 * Listening socket at `path` (mode 0600). A path where a live server answers is -EADDRINUSE,
 * something else than a socket -EEXIST; a stale socket is replaced. accept_fn gets each new
 * descriptor (non-blocking, close-on-exec) and owns it; it may free the server.
 */
struct ctl_server;
MUST_CHECK int ctl_server_new(struct ctl_server **out, struct loop *loop, const char *path,
                              void (*accept_fn)(int fd, void *ctx), void *ctx);
struct ctl_server *ctl_server_free(struct ctl_server *server); /* unlinks; returns NULL */

/*
 * Blocking client for command-line tools: connects, sends one request, waits up to timeout_ms for
 * one response (new reference in *response_out; descriptors that came with it go to fds_out, at
 * most CTL_MAX_FDS, when fds_out is not NULL, else they are closed). A negative timeout is none.
 * 0 or -errno: -ETIMEDOUT, -ECONNREFUSED and -ENOENT for a server that is not there, -ECONNRESET
 * for an end instead of a response. Outputs are written on success only.
 */
MUST_CHECK int ctl_call(const char *path, const json_t *request, int timeout_ms,
                        json_t **response_out, int *fds_out, size_t *n_fds_out);

#endif
