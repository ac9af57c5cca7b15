/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * viommu-replay: a script of requests against the device core, through real rings, in one process.
 * Exit: 0 the script ran, 1 the device or the host failed, 2 wrong option or script line.
 */
#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/replay/exec.h"

#define EXIT_FAILED 1
#define EXIT_WRONG  2

static int exit_code(int rc)
{
    if (rc == 0)
        return 0;
    return rc == -EINVAL ? EXIT_WRONG : EXIT_FAILED;
}

static int run(const struct replay_options *o, FILE *in)
{
    struct guest g;
    char why[256];
    int rc;

    rc = guest_init(&g, o, why, sizeof(why));
    if (rc) {
        fprintf(stderr, "viommu-replay: %s\n", why);
        return exit_code(rc);
    }
    rc = exec_script(&g, in, o->script ? o->script : "stdin", stdout);
    if (!guest_fini(&g)) {
        fprintf(stderr, "viommu-replay: the device left guest memory mapped\n");
        rc = rc ? rc : -EIO;
    }
    if ((fflush(stdout) || ferror(stdout)) && !rc) {
        fprintf(stderr, "viommu-replay: standard output: %s\n", strerror(errno));
        rc = -EIO;
    }
    return exit_code(rc);
}

int main(int argc, char **argv)
{
    struct replay_options o;
    FILE *in = stdin;
    int code = EXIT_WRONG;

    switch (options_parse(&o, argc, argv)) {
    case OPTIONS_RUN:
        if (o.script)
            in = fopen(o.script, "re");
        if (!in) {
            fprintf(stderr, "viommu-replay: %s: %s\n", o.script, strerror(errno));
            break;
        }
        code = run(&o, in);
        if (in != stdin)
            fclose(in);
        break;
    case OPTIONS_HELP:
        code = 0;
        break;
    case OPTIONS_WRONG:
        break;
    }
    options_free(&o);
    return code;
}
