/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Control connections on a loop: whole messages in, a bounded queue of messages out. The peer is
 * hostile: whatever it does, the worst is that this connection ends. Servers are in ctl_server.c,
 * the blocking client in ctl_client.c.
 *
 * A connection may be freed from inside its message callback: then its memory stays until the
 * callback has returned. Its end is reported from a deferred source, never from inside a send.
 */
#include <config.h>

#include "common/ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/socket.h>

#include "common/ctl_frame.h"

#define QUEUE_MAX         ((size_t)16 * 1024 * 1024)
#define MESSAGES_PER_TURN 4 /* then the other sources have their turn */

struct ctl_conn {
    int fd;
    const struct ctl_conn_ops *ops;
    void *ctx;
    struct loop_source *source; /* NULL once the connection has ended */
    struct loop_source *end;    /* deferred: reports the end */
    int end_reason;
    bool writing; /* the loop waits for room in the socket */
    bool busy;    /* in on_events: memory is needed */
    bool freed;   /* by the owner, while busy */
    struct ctl_rx rx;
    struct ctl_tx *queue, **queue_tail;
    size_t queued; /* bytes of whole frames in the queue */
};

static void drop_queue(struct ctl_conn *conn)
{
    while (conn->queue) {
        struct ctl_tx *tx = conn->queue;

        conn->queue = tx->next;
        ctl_tx_free(tx);
    }
    conn->queue_tail = &conn->queue;
    conn->queued = 0;
}

/* The connection is over: nothing more is read or written, and the owner will hear of it once. */
static void end_conn(struct ctl_conn *conn, int reason)
{
    if (!conn->source)
        return;
    conn->source = loop_source_free(conn->source);
    conn->end_reason = reason;
    drop_queue(conn);
    ctl_rx_reset(&conn->rx);
    loop_defer(conn->end);
}

static void report_end(void *ctx)
{
    struct ctl_conn *conn = ctx;

    conn->ops->closed(conn, conn->end_reason, conn->ctx);
}

static int flush(struct ctl_conn *conn)
{
    int r = 1;

    while (conn->queue && r == 1) {
        struct ctl_tx *tx = conn->queue;

        r = ctl_tx_write(tx, conn->fd);
        if (r == 1) {
            conn->queued -= tx->size;
            conn->queue = tx->next;
            if (!conn->queue)
                conn->queue_tail = &conn->queue;
            ctl_tx_free(tx);
        }
    }
    if (r < 0 || conn->writing == (conn->queue != NULL))
        return r < 0 ? r : 0;
    conn->writing = !conn->writing;
    return loop_source_set_events(conn->source, conn->writing ? LOOP_READ | LOOP_WRITE : LOOP_READ);
}

/* Hands over the frame in rx, whose descriptors become the callee's. */
static int deliver(struct ctl_conn *conn)
{
    int fds[CTL_MAX_FDS];
    size_t n_fds = conn->rx.n_fds;
    json_t *msg;
    int r = ctl_rx_parse(&conn->rx, &msg);

    if (r < 0)
        return r;
    for (size_t i = 0; i < n_fds; i++)
        fds[i] = conn->rx.fds[i];
    conn->rx.n_fds = 0;
    ctl_rx_reset(&conn->rx);
    conn->ops->message(conn, msg, fds, n_fds, conn->ctx);
    json_decref(msg);
    return 0;
}

static void read_messages(struct ctl_conn *conn)
{
    for (unsigned i = 0; i < MESSAGES_PER_TURN; i++) {
        int r = ctl_rx_read(&conn->rx, conn->fd);

        if (r == 0)
            return;
        if (r == 1)
            r = deliver(conn);
        if (r < 0)
            end_conn(conn, r == -ENODATA ? 0 : r);
        /* The callback may have ended or freed it. */
        if (!conn->source)
            return;
    }
}

static void release(struct ctl_conn *conn)
{
    ctl_rx_reset(&conn->rx);
    drop_queue(conn);
    free(conn);
}

static void on_events(void *ctx, unsigned events)
{
    struct ctl_conn *conn = ctx;
    int r;

    conn->busy = true;
    /* A peer that said its last word and closed is heard first. */
    if (events & (LOOP_READ | LOOP_HANGUP))
        read_messages(conn);
    if (conn->source && (events & LOOP_WRITE)) {
        r = flush(conn);
        if (r < 0)
            end_conn(conn, r);
    }
    conn->busy = false;
    if (conn->freed)
        release(conn);
}

struct ctl_conn *ctl_conn_new(struct loop *loop, int fd, const struct ctl_conn_ops *ops, void *ctx)
{
    struct ctl_conn *conn = calloc(1, sizeof(*conn));
    int flags = fcntl(fd, F_GETFL);

    if (!conn || flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        goto fail;
    conn->ops = ops;
    conn->ctx = ctx;
    conn->fd = fd;
    conn->queue_tail = &conn->queue;
    conn->end = loop_add_deferred(loop, report_end, conn);
    if (!conn->end)
        goto fail;
    conn->source = loop_add_fd(loop, fd, LOOP_READ, on_events, conn);
    if (!conn->source)
        goto fail;
    return conn;
fail:
    if (conn)
        loop_source_free(conn->end);
    free(conn);
    return NULL;
}

struct ctl_conn *ctl_conn_free(struct ctl_conn *conn)
{
    if (!conn || conn->freed)
        return NULL;
    conn->source = loop_source_free(conn->source);
    conn->end = loop_source_free(conn->end);
    close(conn->fd);
    conn->freed = true;
    if (!conn->busy)
        release(conn);
    return NULL;
}

int ctl_conn_send(struct ctl_conn *conn, const json_t *msg, const int *fds, size_t n_fds)
{
    struct ctl_tx *tx;
    int r;

    if (!conn->source)
        return -ENOTCONN;
    r = ctl_tx_new(&tx, msg, fds, n_fds);
    if (r < 0)
        return r;
    if (tx->size > QUEUE_MAX - conn->queued) {
        ctl_tx_free(tx);
        end_conn(conn, -ENOBUFS);
        return -ENOTCONN;
    }
    conn->queued += tx->size;
    *conn->queue_tail = tx;
    conn->queue_tail = &tx->next;
    /* With others in front of it the loop is waiting to write already. */
    r = conn->queue == tx ? flush(conn) : 0;
    if (r < 0) {
        end_conn(conn, r);
        return -ENOTCONN;
    }
    return 0;
}

int ctl_conn_peer_uid(const struct ctl_conn *conn)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);

    if (getsockopt(conn->fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
        return -errno;
    return cred.uid <= INT32_MAX ? (int)cred.uid : -EOVERFLOW;
}
