/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Frames of the control socket, byte by byte. The peer is hostile: it may stop anywhere, send any
 * length and attach descriptors to any byte. A read ends where the frame ends at the latest, so
 * every descriptor that a read brings belongs to the frame that is being read.
 */
#include <config.h>

#include "common/ctl_frame.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#include "common/le.h"

union fd_control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(CTL_MAX_FDS * sizeof(int))];
};

static void take_fd(struct ctl_rx *rx, int fd)
{
    if (rx->n_fds < CTL_MAX_FDS)
        rx->fds[rx->n_fds++] = fd;
    else
        close(fd);
}

static void take_fds(struct ctl_rx *rx, struct msghdr *mh)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t i = 0; i < n; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
            take_fd(rx, fd);
        }
    }
}

/* The kernel itself drops descriptors for which `control` has no room. */
static ssize_t receive(struct ctl_rx *rx, int fd, void *buf, size_t size)
{
    union fd_control control;
    struct iovec iov = {.iov_base = buf, .iov_len = size};
    struct msghdr mh = {.msg_iov = &iov,
                        .msg_iovlen = 1,
                        .msg_control = control.bytes,
                        .msg_controllen = sizeof(control.bytes)};
    ssize_t n;

    do {
        n = recvmsg(fd, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    take_fds(rx, &mh);
    return n;
}

static int begin_body(struct ctl_rx *rx)
{
    uint32_t size = le32_load(rx->head);

    if (size == 0 || size > CTL_FRAME_MAX)
        return -EPROTO;
    rx->body = malloc(size);
    if (!rx->body)
        return -ENOMEM;
    rx->size = size;
    return 0;
}

int ctl_rx_read(struct ctl_rx *rx, int fd)
{
    while (!rx->body || rx->got < CTL_HEAD_SIZE + rx->size) {
        uint8_t *at = rx->body ? rx->body + (rx->got - CTL_HEAD_SIZE) : rx->head + rx->got;
        size_t left = CTL_HEAD_SIZE + rx->size - rx->got;
        ssize_t n = receive(rx, fd, at, left);
        int r;

        if (n == -EAGAIN)
            return 0;
        if (n == 0)
            return rx->got == 0 ? -ENODATA : -ECONNRESET;
        if (n < 0)
            return (int)n;
        rx->got += (size_t)n;
        if (!rx->body && rx->got == CTL_HEAD_SIZE) {
            r = begin_body(rx);
            if (r < 0)
                return r;
        }
    }
    return 1;
}

int ctl_rx_parse(const struct ctl_rx *rx, json_t **msg_out)
{
    json_t *msg = json_loadb((const char *)rx->body, rx->size, JSON_REJECT_DUPLICATES, NULL);

    if (!json_is_object(msg)) {
        json_decref(msg);
        return -EBADMSG;
    }
    *msg_out = msg;
    return 0;
}

void ctl_rx_reset(struct ctl_rx *rx)
{
    for (size_t i = 0; i < rx->n_fds; i++)
        close(rx->fds[i]);
    free(rx->body);
    *rx = (struct ctl_rx){.body = NULL};
}

static int dup_fds(struct ctl_tx *tx, const int *fds, size_t n_fds)
{
    while (tx->n_fds < n_fds) {
        int fd = fcntl(fds[tx->n_fds], F_DUPFD_CLOEXEC, 3);

        if (fd < 0)
            return -errno;
        tx->fds[tx->n_fds++] = fd;
    }
    return 0;
}

int ctl_tx_new(struct ctl_tx **out, const json_t *msg, const int *fds, size_t n_fds)
{
    cleanup_free char *text = NULL;
    struct ctl_tx *tx;
    size_t len;
    int r;

    if (!json_is_object(msg))
        return -EINVAL;
    if (n_fds > CTL_MAX_FDS)
        return -E2BIG;
    text = json_dumps(msg, JSON_COMPACT);
    if (!text)
        return -ENOMEM;
    len = strlen(text);
    if (len > CTL_FRAME_MAX)
        return -E2BIG;
    tx = malloc(sizeof(*tx) + CTL_HEAD_SIZE + len);
    if (!tx)
        return -ENOMEM;
    *tx = (struct ctl_tx){.size = CTL_HEAD_SIZE + len};
    le32_store(tx->data, (uint32_t)len);
    memcpy(tx->data + CTL_HEAD_SIZE, text, len);
    r = dup_fds(tx, fds, n_fds);
    if (r < 0)
        tx = ctl_tx_free(tx);
    *out = tx;
    return r;
}

static void close_tx_fds(struct ctl_tx *tx)
{
    while (tx->n_fds > 0)
        close(tx->fds[--tx->n_fds]);
}

struct ctl_tx *ctl_tx_free(struct ctl_tx *tx)
{
    if (tx)
        close_tx_fds(tx);
    free(tx);
    return NULL;
}

static void attach_fds(const struct ctl_tx *tx, struct msghdr *mh, union fd_control *control)
{
    struct cmsghdr *c;

    if (tx->n_fds == 0)
        return;
    memset(control, 0, sizeof(*control));
    mh->msg_control = control->bytes;
    mh->msg_controllen = CMSG_SPACE(tx->n_fds * sizeof(int));
    c = CMSG_FIRSTHDR(mh);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(tx->n_fds * sizeof(int));
    memcpy(CMSG_DATA(c), tx->fds, tx->n_fds * sizeof(int));
}

int ctl_tx_write(struct ctl_tx *tx, int fd)
{
    while (tx->sent < tx->size) {
        union fd_control control;
        struct iovec iov = {.iov_base = tx->data + tx->sent, .iov_len = tx->size - tx->sent};
        struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
        ssize_t n;

        attach_fds(tx, &mh, &control);
        n = sendmsg(fd, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? 0 : -errno;
        /* They went with the first bytes; what follows goes without. */
        close_tx_fds(tx);
        tx->sent += (size_t)n;
    }
    return 1;
}
