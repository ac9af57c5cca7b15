/* SPDX-License-Identifier: GPL-2.0-only */
/* The blocking client of the control socket: one request, one response, one deadline for both. */
#include <config.h>

#include "common/ctl.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "common/ctl_frame.h"

struct deadline {
    bool none;
    uint64_t at_ms;
};

static int wait_for(int fd, short events, const struct deadline *deadline)
{
    struct pollfd pfd = {.fd = fd, .events = events};
    uint64_t now = loop_now_ms();
    uint64_t left = deadline->at_ms > now ? deadline->at_ms - now : 0;
    int timeout = deadline->none ? -1 : left > INT_MAX ? INT_MAX : (int)left;
    int n = poll(&pfd, 1, timeout);

    if (n < 0)
        return errno == EINTR ? 0 : -errno;
    return n == 0 ? -ETIMEDOUT : 0;
}

/* A full backlog makes connect wait, for as long as the socket's send timeout says. */
static int connect_to(const char *path, int timeout_ms, int *fd_out)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct timeval patience = {.tv_sec = timeout_ms / 1000,
                               .tv_usec = timeout_ms % 1000 * (suseconds_t)1000};
    cleanup_fd int fd = -1;

    if (strlen(path) >= sizeof(addr.sun_path))
        return -ENAMETOOLONG;
    memcpy(addr.sun_path, path, strlen(path));
    if (timeout_ms < 0)
        patience = (struct timeval){.tv_sec = 0}; /* no limit */
    else if (timeout_ms == 0)
        patience = (struct timeval){.tv_usec = 1};
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0)
        return -errno;
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
        return errno == EAGAIN ? -ETIMEDOUT : -errno;
    *fd_out = fd;
    fd = -1;
    return 0;
}

static int send_request(int fd, const json_t *request, const struct deadline *deadline)
{
    struct ctl_tx *tx;
    int r = ctl_tx_new(&tx, request, NULL, 0);

    if (r < 0)
        return r;
    while ((r = ctl_tx_write(tx, fd)) == 0) {
        r = wait_for(fd, POLLOUT, deadline);
        if (r < 0)
            break;
    }
    ctl_tx_free(tx);
    return r < 0 ? r : 0;
}

static int receive_response(int fd, struct ctl_rx *rx, const struct deadline *deadline)
{
    int r;

    while ((r = ctl_rx_read(rx, fd)) == 0) {
        r = wait_for(fd, POLLIN, deadline);
        if (r < 0)
            return r;
    }
    /* An end instead of a response is no orderly end. */
    return r == -ENODATA ? -ECONNRESET : r < 0 ? r : 0;
}

int ctl_call(const char *path, const json_t *request, int timeout_ms, json_t **response_out,
             int *fds_out, size_t *n_fds_out)
{
    struct deadline deadline = {.none = timeout_ms < 0};
    struct ctl_rx rx = {.body = NULL};
    cleanup_fd int fd = -1;
    int r;

    if (timeout_ms >= 0)
        deadline.at_ms = loop_now_ms() + (uint64_t)timeout_ms;
    r = connect_to(path, timeout_ms, &fd);
    if (r == 0)
        r = send_request(fd, request, &deadline);
    if (r == 0)
        r = receive_response(fd, &rx, &deadline);
    if (r == 0)
        r = ctl_rx_parse(&rx, response_out);
    if (r == 0 && fds_out) {
        memcpy(fds_out, rx.fds, rx.n_fds * sizeof(rx.fds[0]));
        *n_fds_out = rx.n_fds;
        rx.n_fds = 0;
    }
    ctl_rx_reset(&rx);
    return r;
}
