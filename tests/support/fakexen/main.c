/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * fakexen: a stand-in for hypervisor, xenstored and toolstack on a machine without Xen, for tests
 * and the demo. One process, one loop, all its sockets in one directory:
 *   hypervisor            fx_proto.h, for platform/fakexen.c and fx_guest.c
 *   xenstored-socket[.N]  xenstore's wire protocol as domain 0 [domain N]: XENSTORED_PATH
 *   toolstack             control frames, for fxl
 */
#include <config.h>

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "common/log.h"
#include "common/loop.h"
#include "common/notify.h"
#include "common/strutil.h"
#include "tests/support/fakexen/hypervisor.h"
#include "tests/support/fakexen/store.h"
#include "tests/support/fakexen/toolstack.h"
#include "tests/support/fakexen/xenstored.h"

struct options {
    const char *dir;
    uint32_t maptrack;
    bool exit_with_parent;
};

static void usage(FILE *to)
{
    fputs("usage: fakexen --dir DIR [--maptrack HANDLES] [--exit-with-parent]\n"
          "Stands in for Xen, xenstored and the toolstack; stays in the foreground and prints\n"
          "\"ready\" when its sockets in DIR (created if missing) are listening.\n"
          "  --maptrack HANDLES  grant mappings that one domain may hold (default 262144)\n"
          "  --exit-with-parent  end with the process that started it, for tests\n",
          to);
}

/* 0 to run, else an exit code + 1. */
static int parse(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {{"dir", required_argument, NULL, 'd'},
                                          {"maptrack", required_argument, NULL, 'm'},
                                          {"exit-with-parent", no_argument, NULL, 'p'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    int c;

    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (c == 'd') {
            o->dir = optarg;
        } else if (c == 'p') {
            o->exit_with_parent = true;
        } else if (c == 'm' && parse_u32(optarg, 1u << 30, &o->maptrack) == 0) {
            continue;
        } else {
            usage(c == 'h' ? stdout : stderr);
            return c == 'h' ? EXIT_SUCCESS + 1 : EXIT_FAILURE + 1;
        }
    }
    if (optind == argc && o->dir)
        return 0;
    usage(stderr);
    return EXIT_FAILURE + 1;
}

static void on_signal(void *ctx, int signo)
{
    (void)signo;
    loop_quit(ctx, 0);
}

struct server {
    struct loop *loop;
    struct store *store;
    struct hypervisor *hv;
    struct xenstored *xs;
    struct toolstack *ts;
};

static int start(struct server *s, const struct options *o)
{
    char path[4096];
    int r;

    if (o->exit_with_parent && prctl(PR_SET_PDEATHSIG, SIGTERM) < 0)
        return -errno;
    s->loop = loop_new();
    s->store = store_new();
    if (!s->loop || !s->store || !loop_add_signal(s->loop, SIGTERM, on_signal, s->loop) ||
        !loop_add_signal(s->loop, SIGINT, on_signal, s->loop))
        return -ENOMEM;
    if (mkdir(o->dir, 0700) < 0 && errno != EEXIST)
        return -errno;
    snprintf(path, sizeof(path), "%s/hypervisor", o->dir);
    r = hv_new(&s->hv, s->loop, path, o->maptrack);
    if (r == 0)
        r = xenstored_new(&s->xs, s->loop, o->dir, s->store);
    snprintf(path, sizeof(path), "%s/toolstack", o->dir);
    if (r == 0)
        r = toolstack_new(&s->ts, s->loop, path, s->hv, s->xs, s->store);
    return r;
}

static void stop(struct server *s)
{
    toolstack_free(s->ts);
    xenstored_free(s->xs);
    hv_free(s->hv);
    store_free(s->store);
    loop_free(s->loop);
}

int main(int argc, char **argv)
{
    struct options o = {.maptrack = HV_DEFAULT_MAPTRACK};
    struct server s = {0};
    int r = parse(argc, argv, &o);

    if (r)
        return r - 1;
    log_init("fakexen", LOG_LEVEL_INFO);
    r = start(&s, &o);
    if (r < 0) {
        log_err("cannot serve in %s: %s", o.dir, strerror(-r));
    } else {
        puts("ready");
        fflush(stdout);
        if (notify_send("READY=1") < 0)
            log_warn("cannot notify the service manager");
        r = loop_run(s.loop);
    }
    stop(&s);
    return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
