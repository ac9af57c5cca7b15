/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A worker is this program executed anew, never a bare fork: it shares no memory, no lock and no
 * library state with the supervisor, and its address space has a layout of its own.
 */
#include <config.h>

#include "backend/daemon/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define SELF "/proc/self/exe"

extern char **environ;

static int set_attributes(posix_spawnattr_t *attr)
{
    sigset_t none, all;
    int r;

    /* The loop blocks the signals that it watches; a worker starts with a clean slate. */
    sigemptyset(&none);
    sigfillset(&all);
    r = posix_spawnattr_setsigmask(attr, &none);
    if (r == 0)
        r = posix_spawnattr_setsigdefault(attr, &all);
    if (r == 0)
        r = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    return -r;
}

static int spawn_with(posix_spawn_file_actions_t *actions, posix_spawnattr_t *attr,
                      const int fds[2], char **argv, pid_t *pid_out)
{
    int r = set_attributes(attr);

    if (r < 0)
        return r;
    /* Everything of ours is close-on-exec; the duplicates are not. */
    r = posix_spawn_file_actions_adddup2(actions, fds[0], WORKER_FD);
    if (r == 0 && fds[1] >= 0)
        r = posix_spawn_file_actions_adddup2(actions, fds[1], BROKER_FD);
    if (r == 0)
        r = posix_spawn(pid_out, SELF, actions, attr, argv, environ);
    return -r;
}

static int spawn(const int fds[2], char **argv, pid_t *pid_out)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    int r;

    r = -posix_spawn_file_actions_init(&actions);
    if (r < 0)
        return r;
    r = -posix_spawnattr_init(&attr);
    if (r == 0) {
        r = spawn_with(&actions, &attr, fds, argv, pid_out);
        posix_spawnattr_destroy(&attr);
    }
    posix_spawn_file_actions_destroy(&actions);
    return r;
}

/* What a worker has of the daemon's command line. */
struct arguments {
    char level[32];
    char platform[64];
    char user[96];
    char *argv[9];
};

static int make_arguments(const struct daemon_options *options, bool broker, struct arguments *a)
{
    static char name[] = "xen-viommud-worker", fd[] = "--worker=3", syslog_flag[] = "--syslog";
    static char no_sandbox[] = "--no-sandbox", broker_flag[] = "--broker=4";
    size_t n = 0;

    _Static_assert(WORKER_FD == 3 && BROKER_FD == 4, "fd and broker_flag name them");
    snprintf(a->level, sizeof(a->level), "--log-level=%s", log_level_name(log_get_level()));
    snprintf(a->platform, sizeof(a->platform), "--platform=%s", options->platform->name);
    a->argv[n++] = name;
    a->argv[n++] = fd;
    a->argv[n++] = a->level;
    a->argv[n++] = a->platform;
    if (broker)
        a->argv[n++] = broker_flag;
    if (options->syslog)
        a->argv[n++] = syslog_flag;
    if (!options->sandbox)
        a->argv[n++] = no_sandbox;
    if (options->worker_user) {
        int len = snprintf(a->user, sizeof(a->user), "--worker-user=%s", options->worker_user);

        if (len < 0 || (size_t)len >= sizeof(a->user))
            return -ENAMETOOLONG;
        a->argv[n++] = a->user;
    }
    a->argv[n] = NULL;
    return 0;
}

/* A descriptor that dup2 in the child may not hit: above those that the child gets. */
static int high_duplicate(int fd)
{
    int high = fcntl(fd, F_DUPFD_CLOEXEC, BROKER_FD + 1);

    return high < 0 ? -errno : high;
}

int worker_spawn(const struct daemon_options *options, int broker_fd, pid_t *pid_out, int *fd_out)
{
    cleanup_fd int theirs = -1, broker = -1;
    struct arguments arguments;
    int sv[2], r;

    r = make_arguments(options, broker_fd >= 0, &arguments);
    if (r == 0 && broker_fd >= 0)
        r = broker = high_duplicate(broker_fd);
    if (r < 0)
        return r;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
        return -errno;
    r = theirs = high_duplicate(sv[1]);
    close(sv[1]);
    if (r >= 0)
        r = spawn((int[2]){theirs, broker}, arguments.argv, pid_out);
    if (r < 0) {
        close(sv[0]);
        return r;
    }
    *fd_out = sv[0];
    return 0;
}

const char *worker_status_text(int status, char *buf, size_t size)
{
    if (WIFSIGNALED(status))
        snprintf(buf, size, "killed by signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else
        snprintf(buf, size, "exited with code %d", WEXITSTATUS(status));
    return buf;
}
