/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Listening control sockets. The folder that holds the path belongs to root or to the daemon's
 * user, so the path is not under attack; two servers that start at the same instant are kept apart
 * by their caller (the daemon's lock), not here.
 */
#include <config.h>

#include "common/ctl.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define BACKLOG  16
#define PAUSE_MS 200 /* when descriptors have run out: the listener would stay ready */

struct ctl_server {
    int fd;
    struct loop_source *source;
    struct loop_source *pause;
    void (*accept_fn)(int fd, void *ctx);
    void *ctx;
    dev_t dev; /* of the socket in the file system, so as to unlink no other */
    ino_t ino;
    struct sockaddr_un addr;
};

static int probe_socket(const struct sockaddr_un *addr)
{
    cleanup_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0 || errno == EAGAIN)
        return -EADDRINUSE;
    return errno == ECONNREFUSED || errno == ENOENT ? 0 : -errno;
}

/* Makes way at the path: what is there must be a socket that nobody listens on. */
static int remove_stale(const struct sockaddr_un *addr)
{
    struct stat st;
    int r;

    if (lstat(addr->sun_path, &st) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(st.st_mode))
        return -EEXIST;
    r = probe_socket(addr);
    if (r < 0)
        return r;
    return unlink(addr->sun_path) < 0 && errno != ENOENT ? -errno : 0;
}

static int listen_at(struct ctl_server *server)
{
    struct stat st;
    int r = remove_stale(&server->addr);

    if (r < 0)
        return r;
    server->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* Linux gives the path the mode of the unbound socket: there is no moment with another. */
    if (server->fd < 0 || fchmod(server->fd, 0600) < 0 ||
        bind(server->fd, (struct sockaddr *)&server->addr, sizeof(server->addr)) < 0)
        return -errno;
    if (lstat(server->addr.sun_path, &st) < 0)
        return -errno;
    server->dev = st.st_dev;
    server->ino = st.st_ino;
    return listen(server->fd, BACKLOG) < 0 ? -errno : 0;
}

static void on_pause_over(void *ctx)
{
    struct ctl_server *server = ctx;

    if (loop_source_set_events(server->source, LOOP_READ) < 0)
        loop_timer_arm_ms(server->pause, PAUSE_MS);
}

static void on_listener(void *ctx, unsigned events UNUSED)
{
    struct ctl_server *server = ctx;
    int fd = accept4(server->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    /* One a turn: accept_fn may free the server, and the listener stays ready for the others. */
    if (fd >= 0) {
        server->accept_fn(fd, server->ctx);
        return;
    }
    if (errno != EMFILE && errno != ENFILE && errno != ENOMEM && errno != ENOBUFS)
        return;
    if (loop_source_set_events(server->source, 0) == 0)
        loop_timer_arm_ms(server->pause, PAUSE_MS);
}

int ctl_server_new(struct ctl_server **out, struct loop *loop, const char *path,
                   void (*accept_fn)(int fd, void *ctx), void *ctx)
{
    struct ctl_server *server;
    int r;

    if (path[0] == '\0')
        return -EINVAL;
    if (strlen(path) >= sizeof(server->addr.sun_path))
        return -ENAMETOOLONG;
    server = calloc(1, sizeof(*server));
    if (!server)
        return -ENOMEM;
    server->fd = -1;
    server->accept_fn = accept_fn;
    server->ctx = ctx;
    server->addr.sun_family = AF_UNIX;
    memcpy(server->addr.sun_path, path, strlen(path));
    r = listen_at(server);
    if (r < 0)
        goto fail;
    r = -ENOMEM;
    server->pause = loop_add_timer(loop, on_pause_over, server);
    if (server->pause)
        server->source = loop_add_fd(loop, server->fd, LOOP_READ, on_listener, server);
    if (!server->source)
        goto fail;
    *out = server;
    return 0;
fail:
    ctl_server_free(server);
    return r;
}

struct ctl_server *ctl_server_free(struct ctl_server *server)
{
    struct stat st;

    if (!server)
        return NULL;
    loop_source_free(server->source);
    loop_source_free(server->pause);
    if (server->ino != 0 && lstat(server->addr.sun_path, &st) == 0 && st.st_dev == server->dev &&
        st.st_ino == server->ino)
        unlink(server->addr.sun_path);
    if (server->fd >= 0)
        close(server->fd);
    free(server);
    return NULL;
}
