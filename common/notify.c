/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * sd_notify(3) in a page: one datagram to the socket that the service manager names. The variable
 * comes from whoever started the process, who is trusted.
 */
#include <config.h>

#include "common/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

static int send_to(int sock, const struct sockaddr_un *addr, size_t addr_len, const char *state,
                   int fd)
{
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {.bytes = {0}};
    struct iovec iov = {.iov_base = (void *)(uintptr_t)state, .iov_len = strlen(state)};
    struct msghdr msg = {
        .msg_name = (void *)(uintptr_t)addr,
        .msg_namelen = (socklen_t)addr_len,
        .msg_iov = &iov,
        .msg_iovlen = 1,
    };

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
    return sendmsg(sock, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int notify_send(const char *state)
{
    return notify_send_fd(state, -1);
}

int notify_send_fd(const char *state, int passed_fd)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct timeval patience = {.tv_sec = 1};
    size_t len = path ? strlen(path) : 0;
    cleanup_fd int fd = -1;

    if (!path)
        return 0;
    if ((path[0] != '/' && path[0] != '@') || len < 2)
        return -EINVAL;
    if (len >= sizeof(addr.sun_path))
        return -ENAMETOOLONG;
    memcpy(addr.sun_path, path, len);
    /* An abstract name begins with a zero byte and has no terminator: its length counts. */
    if (path[0] == '@')
        addr.sun_path[0] = '\0';

    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0)
        return -errno;
    return send_to(fd, &addr, offsetof(struct sockaddr_un, sun_path) + len, state, passed_fd);
}
