/* SPDX-License-Identifier: GPL-2.0-only */
/* viommuctl's companion runner: what the program gets, and when it is ended. */
#include <config.h>

#include "backend/daemon/ctl_client.h"
#include "tests/support/ut.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Runs a shell line with a file for the device; `life` stays open if it is not NULL. */
static int run(const char *line, int *life)
{
    char sh[] = "sh", c[] = "-c", script[512];
    char *argv[] = {sh, c, script, NULL};
    int device = memfd_create("device", MFD_CLOEXEC), fds[2];

    snprintf(script, sizeof(script), "%s", line);
    if (device < 0 || pipe2(fds, O_CLOEXEC) < 0)
        return -1;
    if (life)
        *life = fds[1];
    else
        close(fds[1]);
    return ctl_run_companion(argv, device, fds[0]);
}

static void exit_status_is_the_programs_own(void)
{
    int life;

    UT_EQ(run("exit 0", &life), 0);
    close(life);
    UT_EQ(run("exit 7", &life), 7);
    close(life);
    UT_EQ(run("kill -9 $$", &life), 128 + SIGKILL);
    close(life);
}

static void program_has_both_files(void)
{
    int life;

    UT_EQ(run("case $(readlink /proc/$$/fd/$VIOMMU_DEVICE_FD) in /memfd:device*) ;; *) exit 1 ;; "
              "esac\n"
              "case $(readlink /proc/$$/fd/$VIOMMU_LIFELINE_FD) in pipe:*) ;; *) exit 2 ;; esac",
              &life),
          0);
    close(life);
}

static void signals_reach_the_program_as_they_were(void)
{
    int life;

    UT_EQ(run("kill -TERM $$; exit 5", &life), 128 + SIGTERM);
    close(life);
}

/* viommuctl does not keep the device open behind the program's back */
static void device_is_the_programs_alone(void)
{
    int life;

    /* tried until viommuctl, which may still be on its way, has closed it */
    UT_EQ(run("for try in 1 2 3 4 5 6 7 8 9; do kept=\n"
              "for fd in /proc/$PPID/fd/*; do\n"
              "case $(readlink $fd) in /memfd:device*) kept=yes ;; esac; done\n"
              "test -n \"$kept\" || exit 0; done; exit 1",
              &life),
          0);
    close(life);
}

static void program_ends_with_the_endpoint(void)
{
    UT_EQ(run("exec sleep 1000", NULL), 128 + SIGTERM);
}

static void program_that_is_not_there_is_refused(void)
{
    char name[] = "/nonexistent/companion";
    char *argv[] = {name, NULL};
    int fds[2], before, after, code;

    UT_REQUIRE(pipe2(fds, O_CLOEXEC) == 0);
    before = dup(0);
    close(before);
    /* Under valgrind posix_spawn cannot tell: the child ends with 127, as a shell's would. */
    code = ctl_run_companion(argv, dup(fds[1]), dup(fds[0]));
    UT_TRUE(code == CTL_REFUSED || code == 127);
    after = dup(0);
    close(after);
    UT_EQ(after, before); /* everything is closed again */
    close(fds[0]);
    close(fds[1]);
}

int main(int argc, char **argv)
{
    static const struct ut_case cases[] = {
        UT_CASE(exit_status_is_the_programs_own),
        UT_CASE(program_has_both_files),
        UT_CASE(signals_reach_the_program_as_they_were),
        UT_CASE(device_is_the_programs_alone),
        UT_CASE(program_ends_with_the_endpoint),
        UT_CASE(program_that_is_not_there_is_refused),
    };

    return ut_main(argc, argv, "companion", cases, ARRAY_SIZE(cases));
}
