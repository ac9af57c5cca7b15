/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Running the program that drives an endpoint's registers and interrupts. While it has the VFIO
 * device open, the kernel keeps the device's IOMMU tables, even if the worker dies: so this process
 * watches the lifeline, which hangs up with the endpoint or the worker, and ends the program then.
 */
#include <config.h>

#include "backend/daemon/ctl_client.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#define GRACE_MS 2000 /* between SIGTERM and SIGKILL */

extern char **environ;

struct companion {
    pid_t pid;
    int signals;
    int lifeline;
    bool ending; /* it was asked to end */
};

static int set_number(const char *name, int fd)
{
    char text[16];

    snprintf(text, sizeof(text), "%d", fd);
    return setenv(name, text, 1) < 0 ? -errno : 0;
}

/* A duplicate onto itself loses close-on-exec. */
static int add_files(posix_spawn_file_actions_t *actions, int device, int lifeline)
{
    int r = posix_spawn_file_actions_adddup2(actions, device, device);

    return r ? -r : -posix_spawn_file_actions_adddup2(actions, lifeline, lifeline);
}

static int spawn_with(posix_spawnattr_t *attr, const sigset_t *mask, char **argv,
                      posix_spawn_file_actions_t *actions, pid_t *pid_out)
{
    int r = posix_spawnattr_setsigmask(attr, mask);

    if (r == 0)
        r = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGMASK);
    if (r == 0)
        r = posix_spawnp(pid_out, argv[0], actions, attr, argv, environ);
    return -r;
}

static int spawn_companion(char **argv, int device, int lifeline, const sigset_t *mask,
                           pid_t *pid_out)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    int r;

    if (set_number("VIOMMU_DEVICE_FD", device) < 0 ||
        set_number("VIOMMU_LIFELINE_FD", lifeline) < 0)
        return -ENOMEM;
    r = -posix_spawn_file_actions_init(&actions);
    if (r < 0)
        return r;
    r = add_files(&actions, device, lifeline);
    if (r == 0)
        r = -posix_spawnattr_init(&attr);
    if (r == 0) {
        r = spawn_with(&attr, mask, argv, &actions, pid_out);
        posix_spawnattr_destroy(&attr);
    }
    posix_spawn_file_actions_destroy(&actions);
    return r;
}

static int exit_code(int status)
{
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* True when the program has ended: *code_out is its exit status. */
static bool take_signals(struct companion *c, int *code_out)
{
    struct signalfd_siginfo info;
    int status;

    while (read(c->signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo != SIGCHLD)
            (void)kill(c->pid, (int)info.ssi_signo);
    }
    if (waitpid(c->pid, &status, WNOHANG) != c->pid)
        return false;
    *code_out = exit_code(status);
    return true;
}

static int watch(struct companion *c)
{
    struct pollfd polled[2] = {{.fd = c->signals, .events = POLLIN}, {.fd = c->lifeline}};
    int code = CTL_REFUSED;

    for (;;) {
        int n = poll(polled, 2, c->ending ? GRACE_MS : -1);

        if (n < 0 && errno != EINTR)
            return code;
        if (take_signals(c, &code))
            return code;
        if (n == 0)
            (void)kill(c->pid, SIGKILL);
        if (n > 0 && polled[1].revents != 0) {
            ctl_error("the endpoint is gone: the program is ended");
            (void)kill(c->pid, SIGTERM);
            c->ending = true;
            polled[1].fd = -1;
        }
    }
}

int ctl_run_companion(char **argv, int device_fd, int lifeline_fd)
{
    cleanup_fd int device = device_fd;
    cleanup_fd int lifeline = lifeline_fd;
    cleanup_fd int signals = -1;
    struct companion c = {.lifeline = lifeline_fd};
    sigset_t ours, before;
    int r;

    sigemptyset(&ours);
    sigaddset(&ours, SIGCHLD);
    sigaddset(&ours, SIGTERM);
    sigaddset(&ours, SIGHUP);
    sigaddset(&ours, SIGINT);
    if (sigprocmask(SIG_BLOCK, &ours, &before) < 0)
        return CTL_REFUSED;
    c.signals = signals = signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK);
    r = signals < 0 ? -errno : spawn_companion(argv, device, lifeline, &before, &c.pid);
    /* The program alone has the device now: its end is the end of the file. */
    close(device);
    device = -1;
    if (r < 0) {
        ctl_error("%s: %s", argv[0], strerror(-r));
        r = CTL_REFUSED;
    } else {
        r = watch(&c);
    }
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
    return r;
}
