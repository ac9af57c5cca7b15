/* SPDX-License-Identifier: GPL-2.0-only */
/* Client side of fakexen's hypervisor socket (fx_client.h), for the platform and the guest. */
#include <config.h>

#include "tests/support/fakexen/fx_client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define MAX_PARTS 4

static int send_all(int sock, struct iovec *iov, size_t n_iov, int fd)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = n_iov};

    if (fd >= 0) {
        struct cmsghdr *c;

        msg.msg_control = control.bytes;
        msg.msg_controllen = sizeof(control.bytes);
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &fd, sizeof(int));
    }
    for (;;) {
        ssize_t n = sendmsg(sock, &msg, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        msg.msg_control = NULL;
        msg.msg_controllen = 0;
        while (msg.msg_iovlen && (size_t)n >= msg.msg_iov->iov_len) {
            n -= (ssize_t)msg.msg_iov->iov_len;
            msg.msg_iov++;
            msg.msg_iovlen--;
        }
        if (msg.msg_iovlen == 0)
            return 0;
        msg.msg_iov->iov_base = (char *)msg.msg_iov->iov_base + n;
        msg.msg_iov->iov_len -= (size_t)n;
    }
}

static void take_fds(struct msghdr *msg, int *fds)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
            c->cmsg_len <= CMSG_LEN(sizeof(int) * FX_MAX_FDS))
            memcpy(fds, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
    }
}

static int receive_all(int sock, void *buf, size_t len, int *fds)
{
    char *at = buf;

    while (len) {
        union {
            struct cmsghdr align;
            char bytes[CMSG_SPACE(sizeof(int) * FX_MAX_FDS)];
        } control = {0};
        struct iovec iov = {.iov_base = at, .iov_len = len};
        struct msghdr msg = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
        ssize_t n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -ECONNRESET;
        take_fds(&msg, fds);
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

static int receive_reply(int sock, uint32_t type, void *reply, size_t reply_size, int *fds)
{
    struct fx_hdr hdr;
    int r = receive_all(sock, &hdr, sizeof(hdr), fds);

    if (r < 0)
        return r;
    if (hdr.type != type || hdr.len != (hdr.status == 0 ? reply_size : 0))
        return -EPROTO;
    return hdr.status < 0 ? hdr.status : receive_all(sock, reply, hdr.len, fds);
}

int fx_call(int sock, uint32_t type, const struct fx_buf *parts, size_t n, int send_fd, void *reply,
            size_t reply_size, int *fds_out)
{
    struct fx_hdr hdr = {.type = type};
    struct iovec iov[1 + MAX_PARTS] = {{.iov_base = &hdr, .iov_len = sizeof(hdr)}};
    int fds[FX_MAX_FDS] = {-1, -1};
    size_t len = 0;
    int r;

    if (n > MAX_PARTS)
        return -EINVAL;
    for (size_t i = 0; i < n; i++) {
        /* sendmsg does not write through it */
        memcpy(&iov[1 + i].iov_base, &parts[i].data, sizeof(void *));
        iov[1 + i].iov_len = parts[i].len;
        len += parts[i].len;
    }
    if (len > FX_BODY_MAX)
        return -E2BIG;
    hdr.len = (uint32_t)len;
    r = send_all(sock, iov, 1 + n, send_fd);
    if (r == 0)
        r = receive_reply(sock, type, reply, reply_size, fds);
    for (size_t i = 0; i < FX_MAX_FDS; i++) {
        if (fds_out && r == 0)
            fds_out[i] = fds[i];
        else if (fds[i] >= 0)
            close(fds[i]);
    }
    return r;
}

int fx_connect(const char *dir, uint32_t domid)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    struct fx_hello hello = {.domid = domid};
    struct fx_buf part = {.data = &hello, .len = sizeof(hello)};
    cleanup_fd int sock = -1;
    int r, out;

    r = snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/hypervisor", dir);
    if (r < 0 || (size_t)r >= sizeof(sa.sun_path))
        return -ENAMETOOLONG;
    sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (sock < 0 || connect(sock, (const struct sockaddr *)(const void *)&sa, sizeof(sa)) < 0)
        return -errno;
    r = fx_call(sock, FX_HELLO, &part, 1, -1, NULL, 0, NULL);
    if (r < 0)
        return r;
    out = sock;
    sock = -1;
    return out;
}
