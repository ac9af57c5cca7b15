/* SPDX-License-Identifier: GPL-2.0-only */
/* Sockets of the targets whose peers send descriptors, and a look at what was left open. */
#ifndef VIOMMU_TESTS_FUZZ_SOCK_H
#define VIOMMU_TESTS_FUZZ_SOCK_H

#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#define FUZZ_MAX_FDS 8u

/*
 * Sends without blocking, n bytes in one call, with n_fds descriptors (at most FUZZ_MAX_FDS) of
 * /dev/null beside them. False when nothing was sent, or there was nothing to send.
 */
static inline bool fuzz_send(int sock, const void *bytes, size_t n, size_t n_fds)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(FUZZ_MAX_FDS * sizeof(int))];
    } control = {.bytes = {0}};
    struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = n};
    struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t sent = -1;
    int fd = -1;

    if (n_fds > 0) {
        struct cmsghdr *c;

        fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        FUZZ_CHECK(fd >= 0 && n_fds <= FUZZ_MAX_FDS);
        mh.msg_control = control.bytes;
        mh.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        c = CMSG_FIRSTHDR(&mh);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        for (size_t i = 0; i < n_fds; i++)
            memcpy(CMSG_DATA(c) + i * sizeof(int), &fd, sizeof(fd));
    }
    if (n > 0)
        sent = sendmsg(sock, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (fd >= 0)
        close(fd);
    return sent > 0;
}

/* Number of open descriptors, of those that a target could have left open. */
static inline unsigned fuzz_open_descriptors(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 128; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

#endif
