/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A service manager's descriptor store, with systemd's protocol (sd_notify(3), sd_listen_fds(3)):
 *
 *   fdkeeper SOCKET PROGRAM ARGUMENT...
 *
 * runs the program with NOTIFY_SOCKET, keeps the descriptors that it sends with FDSTORE=1, drops
 * those it names with FDSTOREREMOVE=1, and starts it anew with what is kept (LISTEN_FDS) whenever
 * a signal has ended it. Ends when the program does, with its status. One line for each event.
 */
#include <config.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_KEPT  64
#define NAME_SIZE 64
#define FD_FIRST  3

static struct {
    char name[NAME_SIZE];
    int fd;
} kept[MAX_KEPT];
static unsigned n_kept;
static const char *socket_path;

static void die(const char *what)
{
    perror(what);
    exit(99);
}

static int open_socket(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", socket_path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
        die("bind");
    return fd;
}

static int open_signals(void)
{
    sigset_t set;
    int fd;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    fd = signalfd(-1, &set, SFD_CLOEXEC);
    if (fd < 0)
        die("signalfd");
    return fd;
}

/* --- the program ------------------------------------------------------------------------------ */

/* Kept descriptors become 3, 4, ...: first out of the way, since they may be in it. */
static void place_descriptors(char *names, size_t size)
{
    size_t at = 0;

    for (unsigned i = 0; i < n_kept; i++) {
        kept[i].fd = dup2(kept[i].fd, 200 + (int)i);
        if (kept[i].fd < 0)
            die("dup2");
        at += (size_t)snprintf(names + at, size - at, "%s%s", i ? ":" : "", kept[i].name);
    }
    for (unsigned i = 0; i < n_kept; i++) {
        if (dup2(kept[i].fd, FD_FIRST + (int)i) < 0)
            die("dup2");
        close(kept[i].fd);
    }
}

static void run_program(char **argv)
{
    char names[MAX_KEPT * NAME_SIZE] = "", number[16];
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setenv("NOTIFY_SOCKET", socket_path, 1);
    if (n_kept > 0) {
        place_descriptors(names, sizeof(names));
        snprintf(number, sizeof(number), "%u", n_kept);
        setenv("LISTEN_FDS", number, 1);
        setenv("LISTEN_FDNAMES", names, 1);
        snprintf(number, sizeof(number), "%d", (int)getpid());
        setenv("LISTEN_PID", number, 1);
    }
    execv(argv[0], argv);
    die(argv[0]);
}

static pid_t start(char **argv)
{
    pid_t pid = fork();

    if (pid < 0)
        die("fork");
    if (pid == 0)
        run_program(argv);
    printf("start %d\n", (int)pid);
    return pid;
}

/* --- messages --------------------------------------------------------------------------------- */

static void drop(const char *name)
{
    for (unsigned i = 0; i < n_kept; i++) {
        if (strcmp(kept[i].name, name) != 0)
            continue;
        close(kept[i].fd);
        kept[i--] = kept[--n_kept];
        printf("dropped %s\n", name);
    }
}

static void keep(const char *name, int fd)
{
    if (n_kept == MAX_KEPT || fd < 0) {
        printf("not kept %s\n", name);
        return;
    }
    snprintf(kept[n_kept].name, sizeof(kept[n_kept].name), "%s", name);
    kept[n_kept++].fd = fd;
    printf("kept %s\n", name);
}

static bool has_line(const char *text, const char *line)
{
    const char *at = strstr(text, line);

    return at && (at == text || at[-1] == '\n') &&
           (at[strlen(line)] == '\n' || at[strlen(line)] == '\0');
}

static void take_message(int from)
{
    char text[1024], name[NAME_SIZE] = "", control[CMSG_SPACE(sizeof(int))];
    struct iovec iov = {text, sizeof(text) - 1};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = sizeof(control)};
    ssize_t n = recvmsg(from, &msg, MSG_CMSG_CLOEXEC);
    const struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&msg);
    const char *at;
    int fd = -1;

    if (n < 0)
        return;
    text[n] = '\0';
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
        memcpy(&fd, CMSG_DATA(c), sizeof(fd));
    at = strstr(text, "FDNAME=");
    if (at)
        snprintf(name, sizeof(name), "%.*s", (int)strcspn(at + 7, "\n"), at + 7);
    if (has_line(text, "FDSTORE=1")) {
        keep(name, fd);
        return;
    }
    if (has_line(text, "FDSTOREREMOVE=1"))
        drop(name);
    if (fd >= 0)
        close(fd);
}

/* -1: goes on. */
static int take_signal(int signals, pid_t *pid, char **argv)
{
    struct signalfd_siginfo info;
    int status;

    if (read(signals, &info, sizeof(info)) != sizeof(info))
        return -1;
    if (info.ssi_signo == SIGTERM) {
        kill(*pid, SIGTERM);
        return -1;
    }
    if (waitpid(*pid, &status, WNOHANG) != *pid)
        return -1;
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    *pid = start(argv);
    return -1;
}

int main(int argc, char **argv)
{
    struct pollfd fds[2] = {{.events = POLLIN}, {.events = POLLIN}};
    int status = -1;
    pid_t pid;

    if (argc < 3)
        return 99;
    socket_path = argv[1];
    setvbuf(stdout, NULL, _IOLBF, 0);
    fds[0].fd = open_socket();
    fds[1].fd = open_signals();
    pid = start(argv + 2);
    while (status < 0) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            die("poll");
        /* What a program said before its end comes first. */
        if (fds[0].revents)
            take_message(fds[0].fd);
        else if (fds[1].revents)
            status = take_signal(fds[1].fd, &pid, argv + 2);
    }
    printf("end with %u, status %d\n", n_kept, status);
    return status;
}
