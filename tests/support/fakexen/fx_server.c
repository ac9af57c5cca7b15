/* SPDX-License-Identifier: GPL-2.0-only */
/* Starting and steering fakexen from a test (fx_server.h). */
#include <config.h>

#include "tests/support/fakexen/fx_server.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "common/ctl.h"

#define ORDER_MS 20000 /* a limit against hanging, not a wait */

extern char **environ;

static int spawn(struct fx_server *s, uint32_t maptrack, int out_fd)
{
    const char *build = getenv("VIOMMU_BUILDDIR");
    char path[4096], track[16], flag_dir[] = "--dir", flag_track[] = "--maptrack";
    char flag_parent[] = "--exit-with-parent";
    char *argv[] = {path, flag_parent, flag_dir, s->dir, maptrack ? flag_track : NULL, track, NULL};
    posix_spawn_file_actions_t actions;
    int r;

    snprintf(path, sizeof(path), "%s/tests/support/fakexen/fakexen", build ? build : ".");
    snprintf(track, sizeof(track), "%u", maptrack);
    r = posix_spawn_file_actions_init(&actions);
    if (r)
        return -r;
    r = posix_spawn_file_actions_adddup2(&actions, out_fd, STDOUT_FILENO);
    if (r == 0)
        r = posix_spawn(&s->pid, path, &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    return -r;
}

static void remove_dir(const char *dir)
{
    DIR *d = opendir(dir);
    const struct dirent *e;

    while (d && (e = readdir(d)))
        unlinkat(dirfd(d), e->d_name, 0);
    if (d)
        closedir(d);
    rmdir(dir);
}

int fx_server_start(struct fx_server *s, uint32_t maptrack)
{
    char word[8];
    int fds[2];
    ssize_t n;
    int r;

    s->pid = -1;
    strncpy(s->dir, "/tmp/fakexen-XXXXXX", sizeof(s->dir));
    if (!mkdtemp(s->dir) || pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    r = spawn(s, maptrack, fds[1]);
    close(fds[1]);
    n = r < 0 ? 0 : read(fds[0], word, sizeof(word));
    close(fds[0]);
    if (r == 0 && (n < 6 || memcmp(word, "ready\n", 6) != 0)) {
        waitpid(s->pid, NULL, 0);
        r = -EIO;
    }
    if (r < 0)
        remove_dir(s->dir);
    return r;
}

int fx_server_stop(struct fx_server *s)
{
    int status;

    if (kill(s->pid, SIGTERM) < 0 || waitpid(s->pid, &status, 0) < 0)
        return -errno;
    remove_dir(s->dir);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EIO;
}

int fx_order(const char *dir, json_t *request_stolen, json_t **reply_out)
{
    char path[128];
    json_t *reply = NULL;
    int r = -ENOMEM;

    snprintf(path, sizeof(path), "%s/toolstack", dir);
    if (request_stolen)
        r = ctl_call(path, request_stolen, ORDER_MS, &reply, NULL, NULL);
    json_decref(request_stolen);
    if (r == 0 && !json_is_true(json_object_get(reply, "ok")))
        r = -(int)json_integer_value(json_object_get(reply, "errno"));
    if (r == 0 && reply_out)
        *reply_out = json_incref(reply);
    json_decref(reply);
    return r;
}

int fx_create_domain(const char *dir, const char *name, uint32_t domid, bool driver_domain)
{
    return fx_order(dir,
                    json_pack("{s:s, s:s, s:i, s:b}", "command", "create-domain", "name", name,
                              "domid", (int)domid, "driver-domain", driver_domain),
                    NULL);
}

int fx_destroy_domain(const char *dir, uint32_t domid)
{
    return fx_order(dir, json_pack("{s:s, s:i}", "command", "destroy", "domid", (int)domid), NULL);
}

int fx_inject(const char *dir, const char *op, uint32_t nth, int err)
{
    return fx_order(dir,
                    json_pack("{s:s, s:s, s:i, s:i}", "command", "inject", "op", op, "nth",
                              (int)nth, "errno", err),
                    NULL);
}

int fx_domain_count(const char *dir, uint32_t domid, const char *key, uint64_t *out)
{
    json_t *reply, *domain;
    size_t i;
    int r = fx_order(dir, json_pack("{s:s}", "command", "list"), &reply);

    if (r < 0)
        return r;
    r = -ESRCH;
    json_array_foreach(json_object_get(reply, "domains"), i, domain)
    {
        if (json_integer_value(json_object_get(domain, "domid")) == (json_int_t)domid) {
            *out = (uint64_t)json_integer_value(json_object_get(domain, key));
            r = 0;
        }
    }
    json_decref(reply);
    return r;
}
