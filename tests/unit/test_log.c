/* SPDX-License-Identifier: GPL-2.0-only */
/* Log lines as a sink and as stderr see them, the rate limit by an explicit clock, escaping. */
#include <config.h>

#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "tests/support/ut.h"

struct seen {
    unsigned n;
    enum log_level level;
    char line[2048]; /* the last one */
};

static void see(enum log_level level, const char *line, void *ctx)
{
    struct seen *seen = ctx;

    seen->n++;
    seen->level = level;
    snprintf(seen->line, sizeof(seen->line), "%s", line);
    errno = EXDEV; /* a sink may spoil errno, the logger must not */
}

static void lines_carry_tag_and_text(void)
{
    struct seen seen = {.n = 0};

    log_init("d3/0", LOG_LEVEL_INFO);
    log_set_sink(see, &seen);
    log_warn("%d of %s", 7, "many");
    UT_STR(seen.line, "d3/0: 7 of many");
    UT_EQ(seen.level, LOG_LEVEL_WARN);
    log_init(NULL, LOG_LEVEL_INFO);
    log_err("plain");
    UT_STR(seen.line, "plain");
    UT_EQ(seen.level, LOG_LEVEL_ERR);
    UT_EQ(seen.n, 2);
    log_set_sink(NULL, NULL);
}

static void levels_above_the_limit_are_silent(void)
{
    struct seen seen = {.n = 0};

    log_init("t", LOG_LEVEL_WARN);
    log_set_sink(see, &seen);
    log_info("no");
    log_debug("no");
    UT_EQ(seen.n, 0);
    log_set_level(LOG_LEVEL_DEBUG);
    UT_EQ(log_get_level(), LOG_LEVEL_DEBUG);
    log_info("yes");
    log_debug("yes");
    UT_EQ(seen.n, 2);
    UT_EQ(seen.level, LOG_LEVEL_DEBUG);
    log_set_level(LOG_LEVEL_ERR);
    log_warn("no");
    UT_EQ(seen.n, 2);
    log_set_sink(NULL, NULL);
}

static void errno_is_preserved_and_printable(void)
{
    struct seen seen = {.n = 0};
    struct ratelimit rl = RATELIMIT_INIT(1, 1000);

    log_init("t", LOG_LEVEL_INFO);
    log_set_sink(see, &seen);
    errno = ENOENT;
    log_info("%m");
    UT_EQ(errno, ENOENT);
    UT_STR(seen.line, "t: No such file or directory");
    errno = EACCES;
    log_guest(&rl, "%m");
    UT_EQ(errno, EACCES);
    UT_STR(seen.line, "t: Permission denied");
    log_set_sink(NULL, NULL);
}

static void control_characters_cannot_forge_lines(void)
{
    struct seen seen = {.n = 0};

    log_init("t", LOG_LEVEL_INFO);
    log_set_sink(see, &seen);
    log_info("a\nb\r\x1b[2Jc\x7f\td");
    UT_STR(seen.line, "t: a?b??[2Jc??d");
    log_set_sink(NULL, NULL);
}

static void long_lines_end_in_dots(void)
{
    struct seen seen = {.n = 0};
    char text[3000];
    size_t len;

    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    log_init("t", LOG_LEVEL_INFO);
    log_set_sink(see, &seen);
    log_info("%s", text);
    len = strlen(seen.line);
    UT_EQ(len, 1023);
    UT_STR(seen.line + len - 4, "x...");
    log_init(text, LOG_LEVEL_INFO);
    log_info("end");
    UT_STR(seen.line + strlen(seen.line) - 6, "x: end");
    log_set_sink(NULL, NULL);
}

/* What log_info("hello") and log_warn("hello") write to a stderr that is `fd`. */
static void capture(int fd, bool as_journal, char *out, size_t size)
{
    int saved = dup(STDERR_FILENO);
    char stream[64];
    struct stat st;
    ssize_t n;

    fstat(fd, &st);
    snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev,
             (uintmax_t)st.st_ino + !as_journal);
    setenv("JOURNAL_STREAM", stream, 1);
    dup2(fd, STDERR_FILENO);
    log_init("t", LOG_LEVEL_INFO);
    log_info("hello");
    log_warn("hello");
    dup2(saved, STDERR_FILENO);
    close(saved);
    unsetenv("JOURNAL_STREAM");
    n = pread(fd, out, size - 1, 0);
    out[n > 0 ? n : 0] = '\0';
}

static void stderr_gets_levels_and_the_journal_priorities(void)
{
    char text[200];
    int fd = memfd_create("stderr", MFD_CLOEXEC);

    UT_REQUIRE(fd >= 0);
    capture(fd, false, text, sizeof(text));
    UT_STR(text, "t: hello\nwarning: t: hello\n");
    close(fd);
    fd = memfd_create("stderr", MFD_CLOEXEC);
    UT_REQUIRE(fd >= 0);
    capture(fd, true, text, sizeof(text));
    UT_STR(text, "<6>t: hello\n<4>t: hello\n");
    close(fd);
}

static void a_burst_passes_and_then_one_line_an_interval(void)
{
    struct ratelimit rl = RATELIMIT_INIT(3, 1000);
    uint64_t suppressed = 99, now = 5000000;

    for (unsigned i = 0; i < 3; i++) {
        UT_TRUE(ratelimit_pass(&rl, now, &suppressed));
        UT_EQ(suppressed, 0);
    }
    suppressed = 99;
    for (unsigned i = 0; i < 10; i++)
        UT_FALSE(ratelimit_pass(&rl, now + 999, &suppressed));
    UT_EQ(suppressed, 99);
    UT_TRUE(ratelimit_pass(&rl, now + 1000, &suppressed));
    UT_EQ(suppressed, 10);
    UT_FALSE(ratelimit_pass(&rl, now + 1000, &suppressed));
    UT_FALSE(ratelimit_pass(&rl, now + 1999, &suppressed));
    UT_TRUE(ratelimit_pass(&rl, now + 2000, &suppressed));
    UT_EQ(suppressed, 2);
    UT_EQ(rl.suppressed_total, 12);
}

static void a_quiet_time_refills_no_more_than_the_burst(void)
{
    struct ratelimit rl = RATELIMIT_INIT(2, 10);

    UT_TRUE(ratelimit_pass(&rl, 0, NULL));
    UT_TRUE(ratelimit_pass(&rl, 0, NULL));
    UT_FALSE(ratelimit_pass(&rl, 9, NULL));
    UT_TRUE(ratelimit_pass(&rl, UINT64_MAX - 5, NULL));
    UT_TRUE(ratelimit_pass(&rl, UINT64_MAX - 5, NULL));
    UT_FALSE(ratelimit_pass(&rl, UINT64_MAX - 5, NULL));
}

static void fractions_of_an_interval_are_not_lost(void)
{
    struct ratelimit rl = RATELIMIT_INIT(2, 10);

    UT_TRUE(ratelimit_pass(&rl, 100, NULL));
    UT_TRUE(ratelimit_pass(&rl, 100, NULL));
    UT_FALSE(ratelimit_pass(&rl, 107, NULL));
    UT_TRUE(ratelimit_pass(&rl, 113, NULL));
    UT_TRUE(ratelimit_pass(&rl, 120, NULL));
    UT_FALSE(ratelimit_pass(&rl, 121, NULL));
}

static void odd_limits_and_clocks_do_no_harm(void)
{
    struct ratelimit none = RATELIMIT_INIT(0, 10), free_running = RATELIMIT_INIT(1, 0);
    struct ratelimit back = RATELIMIT_INIT(1, 10);

    UT_FALSE(ratelimit_pass(&none, 1000, NULL));
    UT_TRUE(ratelimit_pass(&free_running, 5, NULL));
    UT_TRUE(ratelimit_pass(&free_running, 5, NULL));
    UT_TRUE(ratelimit_pass(&back, 1000, NULL));
    UT_FALSE(ratelimit_pass(&back, 10, NULL));
    UT_TRUE(ratelimit_pass(&back, 1010, NULL));
}

static void a_guest_cannot_flood_the_log(void)
{
    struct seen seen = {.n = 0};
    /* An interval that no run of the test outlasts. */
    struct ratelimit rl = RATELIMIT_INIT(2, 3600 * 1000);

    log_init("t", LOG_LEVEL_WARN);
    log_set_sink(see, &seen);
    for (unsigned i = 0; i < 1000; i++)
        log_guest(&rl, "bad request %u", i);
    UT_EQ(seen.n, 2);
    UT_EQ(seen.level, LOG_LEVEL_WARN);
    UT_STR(seen.line, "t: bad request 1");
    UT_EQ(rl.suppressed, 998);
    rl.tokens = 1;
    log_guest(&rl, "once more");
    UT_STR(seen.line, "t: once more (998 similar lines suppressed)");
    UT_EQ(rl.suppressed, 0);
    UT_EQ(rl.suppressed_total, 998);
    log_set_level(LOG_LEVEL_ERR);
    rl.tokens = 1;
    log_guest(&rl, "silent");
    UT_EQ(rl.tokens, 1);
    UT_EQ(seen.n, 3);
    log_set_sink(NULL, NULL);
}

static void outside_bytes_are_escaped(void)
{
    static const struct {
        const char *in;
        size_t len, max, out_size;
        const char *out;
    } cases[] = {
        {"plain text~!", 12, 100, 100, "plain text~!"},
        {"", 0, 100, 100, ""},
        {NULL, 0, 100, 100, ""},
        {"a\nb\0c\x1b\x7f\xff", 8, 100, 100, "a\\x0ab\\x00c\\x1b\\x7f\\xff"},
        {"\\x41", 4, 100, 100, "\\x5cx41"},
        {"abcdef", 6, 6, 100, "abcdef"},
        {"abcdef", 6, 5, 100, "abcde..."},
        {"abcdef", 6, 0, 100, "..."},
        {"abcdef", 6, 6, 7, "abcdef"},
        {"abcdef", 6, 6, 6, "ab..."},
        {"\x01\x02", 2, 2, 9, "\\x01\\x02"},
        {"\x01\x02", 2, 2, 8, "\\x01..."},
        {"\x01\x02", 2, 2, 7, "..."},
        {"abcdef", 6, 6, 3, ".."},
        {"abcdef", 6, 6, 1, ""},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char out[128];

        memset(out, '#', sizeof(out));
        UT_TRUE(log_escape(out, cases[i].out_size, cases[i].in, cases[i].len, cases[i].max) == out);
        UT_STR(out, cases[i].out);
        UT_EQ(out[cases[i].out_size], '#');
    }
}

static void escaping_into_nothing_writes_nothing(void)
{
    char out[1] = {'#'};

    UT_STR(log_escape(out, 0, "abc", 3, 3), "");
    UT_EQ(out[0], '#');
}

int main(int argc, char **argv)
{
    static const struct ut_case cases[] = {
        UT_CASE(lines_carry_tag_and_text),
        UT_CASE(levels_above_the_limit_are_silent),
        UT_CASE(errno_is_preserved_and_printable),
        UT_CASE(control_characters_cannot_forge_lines),
        UT_CASE(long_lines_end_in_dots),
        UT_CASE(stderr_gets_levels_and_the_journal_priorities),
        UT_CASE(a_burst_passes_and_then_one_line_an_interval),
        UT_CASE(a_quiet_time_refills_no_more_than_the_burst),
        UT_CASE(fractions_of_an_interval_are_not_lost),
        UT_CASE(odd_limits_and_clocks_do_no_harm),
        UT_CASE(a_guest_cannot_flood_the_log),
        UT_CASE(outside_bytes_are_escaped),
        UT_CASE(escaping_into_nothing_writes_nothing),
    };

    return ut_main(argc, argv, "log", cases, ARRAY_SIZE(cases));
}
