/* SPDX-License-Identifier: GPL-2.0-only */
/* The daemon's command line: defaults, every option, and what is refused. */
#include <config.h>

#include "backend/daemon/options.h"

#include <argp.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/ut.h"

static const struct platform_ops first_platform = {.name = "first"};
static const struct platform_ops second_platform = {.name = "second"};
const struct platform_ops *const daemon_platforms[] = {&first_platform, &second_platform, NULL};

#define MAX_ARGS 4

static int parse(const char *a, const char *b, struct daemon_options *out)
{
    /* Options keep pointers into argv, as they may into main's. */
    static char words[MAX_ARGS][64] = {"xen-viommud"};
    char *argv[MAX_ARGS + 1] = {words[0]};
    int argc = 1;

    if (a) {
        snprintf(words[argc], sizeof(words[0]), "%s", a);
        argv[argc] = words[argc];
        argc++;
    }
    if (b) {
        snprintf(words[argc], sizeof(words[0]), "%s", b);
        argv[argc] = words[argc];
        argc++;
    }
    return daemon_options_parse(argc, argv, ARGP_SILENT, out);
}

static void defaults_make_a_supervisor_on_the_first_platform(void)
{
    struct daemon_options o;

    UT_EQ(parse(NULL, NULL, &o), 0);
    UT_EQ(o.worker_fd, (uint64_t)-1);
    UT_EQ(o.log_level, LOG_LEVEL_INFO);
    UT_FALSE(o.syslog);
    UT_TRUE(o.sandbox);
    UT_TRUE(o.worker_user == NULL);
    UT_TRUE(o.grant_broker);
    UT_EQ(o.broker_fd, (uint64_t)-1);
    UT_TRUE(o.platform == &first_platform);
    UT_EQ(o.pages, 65536);
    UT_EQ(o.pages_per_device, 16384);
    UT_TRUE(strstr(o.control_path, "/xen-viommu/control.sock") != NULL);
}

static void options_take_their_values(void)
{
    struct daemon_options o;

    UT_EQ(parse("--log-level=debug", "--syslog", &o), 0);
    UT_EQ(o.log_level, LOG_LEVEL_DEBUG);
    UT_TRUE(o.syslog);
    UT_EQ(parse("--pages=1000", "--pages-per-device=0x3e8", &o), 0);
    UT_EQ(o.pages, 1000);
    UT_EQ(o.pages_per_device, 1000);
    UT_EQ(parse("--pages=100", NULL, &o), 0);
    UT_EQ(o.pages_per_device, 100); /* a small total is enough to say */
    UT_EQ(o.max_recoveries, 5);
    UT_TRUE(o.state_dir == NULL);
    UT_EQ(parse("--max-recoveries=0", "--state-dir=/run/x", &o), 0);
    UT_EQ(o.max_recoveries, 0);
    UT_STR(o.state_dir, "/run/x");
    UT_EQ(parse("--worker=3", "--platform=second", &o), 0);
    UT_EQ(o.worker_fd, 3);
    UT_TRUE(o.platform == &second_platform);
    UT_EQ(parse("--worker-user=nobody", "--grant-broker=off", &o), 0);
    UT_STR(o.worker_user, "nobody");
    UT_TRUE(o.sandbox);
    UT_FALSE(o.grant_broker);
    UT_EQ(parse("--no-sandbox", "--grant-broker=on", &o), 0);
    UT_FALSE(o.sandbox);
    UT_TRUE(o.grant_broker);
    UT_EQ(parse("--worker=3", "--broker=4", &o), 0);
    UT_EQ(o.broker_fd, 4);
}

static void wrong_values_are_refused_and_nothing_is_written(void)
{
    static const char *const bad[][2] = {
        {"--log-level=loud", NULL},
        {"--log-level=", NULL},
        {"--control=relative/path", NULL},
        {"--control=", NULL},
        {"--pages=0", NULL},
        {"--pages=-1", NULL},
        {"--pages=12x", NULL},
        {"--pages=99999999999999999999", NULL},
        {"--pages-per-device=0", NULL},
        {"--pages=100", "--pages-per-device=101"},
        {"--state-dir=relative", NULL},
        {"--max-recoveries=-1", NULL},
        {"--max-recoveries=1000001", NULL},
        {"--max-recoveries=many", NULL},
        {"--worker=2", NULL},
        {"--broker=2", NULL},
        {"--grant-broker=", NULL},
        {"--grant-broker=yes", NULL},
        {"--no-sandbox", "--worker-user=nobody"},
        {"--no-sandbox=x", NULL},
        {"--worker=x", NULL},
        {"--platform=third", NULL},
        {"--unknown", NULL},
        {"argument", NULL},
    };

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct daemon_options o = {.pages = 77};

        UT_TRUE(parse(bad[i][0], bad[i][1], &o) != 0);
        UT_EQ(o.pages, 77);
    }
}

static void log_levels_have_names_that_parse_back(void)
{
    enum log_level out = LOG_LEVEL_ERR;

    for (enum log_level level = LOG_LEVEL_ERR; level <= LOG_LEVEL_DEBUG; level++) {
        UT_EQ(log_level_parse(log_level_name(level), &out), 0);
        UT_EQ(out, level);
    }
    UT_TRUE(log_level_parse("Info", &out) < 0);
    UT_EQ(out, LOG_LEVEL_DEBUG);
}

static const struct ut_case cases[] = {
    UT_CASE(defaults_make_a_supervisor_on_the_first_platform),
    UT_CASE(options_take_their_values),
    UT_CASE(wrong_values_are_refused_and_nothing_is_written),
    UT_CASE(log_levels_have_names_that_parse_back),
};

int main(int argc, char **argv)
{
    return ut_main(argc, argv, "options", cases, ARRAY_SIZE(cases));
}
