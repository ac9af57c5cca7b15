/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Logging. Where lines go is found out once, by log_init: stderr if there is one, with the
 * journal's priorities if it is the journal's, else syslog. One write per line, so that lines of
 * several processes do not mix. One thread per process logs.
 */
#include <config.h>

#include "common/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <syslog.h>

#include "common/loop.h"

#define LINE_SIZE 1024
#define TAG_SIZE  64

enum target { TARGET_STDERR, TARGET_JOURNAL, TARGET_SYSLOG };

static const struct {
    int priority;
    const char *name; /* in front of a line on a plain stderr */
} levels[] = {
    [LOG_LEVEL_ERR] = {LOG_ERR, "error: "},
    [LOG_LEVEL_WARN] = {LOG_WARNING, "warning: "},
    [LOG_LEVEL_INFO] = {LOG_INFO, ""},
    [LOG_LEVEL_DEBUG] = {LOG_DEBUG, "debug: "},
};

static char tag[TAG_SIZE];
static enum log_level max_level = LOG_LEVEL_INFO;
static enum target target = TARGET_STDERR;
static void (*sink_fn)(enum log_level level, const char *line, void *ctx);
static void *sink_ctx;

/* JOURNAL_STREAM names the device and inode of a stderr that systemd connected (sd-daemon(3)). */
static bool is_journal(const struct stat *st)
{
    const char *stream = getenv("JOURNAL_STREAM");
    char own[64];

    snprintf(own, sizeof(own), "%ju:%ju", (uintmax_t)st->st_dev, (uintmax_t)st->st_ino);
    return stream && strcmp(stream, own) == 0;
}

static enum target find_target(void)
{
    struct stat st;

    if (fstat(STDERR_FILENO, &st) < 0)
        return TARGET_SYSLOG;
    /* Linux's /dev/null is character device 1:3. */
    if (S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3))
        return TARGET_SYSLOG;
    return is_journal(&st) ? TARGET_JOURNAL : TARGET_STDERR;
}

void log_init(const char *new_tag, enum log_level new_max_level)
{
    snprintf(tag, sizeof(tag), "%s", new_tag ? new_tag : "");
    max_level = new_max_level;
    target = find_target();
    /* At once: a worker in its sandbox cannot connect any more. */
    if (target == TARGET_SYSLOG)
        openlog(tag[0] ? tag : NULL, LOG_PID | LOG_NDELAY, LOG_DAEMON);
}

void log_set_level(enum log_level new_max_level)
{
    max_level = new_max_level;
}

enum log_level log_get_level(void)
{
    return max_level;
}

void log_set_sink(void (*fn)(enum log_level level, const char *line, void *ctx), void *ctx)
{
    sink_fn = fn;
    sink_ctx = ctx;
}

static void write_stderr(enum log_level level, const char *line)
{
    char out[LINE_SIZE + 32];
    int len;

    if (target == TARGET_JOURNAL)
        len = snprintf(out, sizeof(out), "<%d>%s\n", levels[level].priority, line);
    else
        len = snprintf(out, sizeof(out), "%s%s\n", levels[level].name, line);
    while (write(STDERR_FILENO, out, (size_t)len) < 0 && errno == EINTR)
        ;
}

/* The tag and the text on one line, whatever the text holds: no control character gets out. */
static void emit(enum log_level level, const char *text)
{
    char line[LINE_SIZE];
    /* syslog puts the tag in front itself. */
    bool tagged = tag[0] && (sink_fn || target != TARGET_SYSLOG);
    int len = snprintf(line, sizeof(line), "%s%s%s", tagged ? tag : "", tagged ? ": " : "", text);

    if (len >= LINE_SIZE)
        memcpy(&line[LINE_SIZE - 4], "...", 4);
    for (char *p = line; *p; p++) {
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = '?';
    }
    if (sink_fn)
        sink_fn(level, line, sink_ctx);
    else if (target == TARGET_SYSLOG)
        syslog(levels[level].priority, "%s", line);
    else
        write_stderr(level, line);
}

static void vlog(enum log_level level, const char *fmt, va_list args) PRINTF_LIKE(2, 0);

static void vlog(enum log_level level, const char *fmt, va_list args)
{
    int saved_errno = errno;
    char text[LINE_SIZE];

    if (level <= max_level) {
        /* %m in a format stands for the caller's errno. */
        vsnprintf(text, sizeof(text), fmt, args);
        emit(level, text);
    }
    errno = saved_errno;
}

#define DEFINE_LOG(name, level)     \
    void name(const char *fmt, ...) \
    {                               \
        va_list args;               \
                                    \
        va_start(args, fmt);        \
        vlog(level, fmt, args);     \
        va_end(args);               \
    }

DEFINE_LOG(log_err, LOG_LEVEL_ERR)
DEFINE_LOG(log_warn, LOG_LEVEL_WARN)
DEFINE_LOG(log_info, LOG_LEVEL_INFO)
DEFINE_LOG(log_debug, LOG_LEVEL_DEBUG)

static void refill(struct ratelimit *rl, uint64_t now_ms)
{
    uint64_t elapsed = now_ms > rl->refilled_ms ? now_ms - rl->refilled_ms : 0;
    uint64_t earned = rl->interval_ms > 0 ? elapsed / rl->interval_ms : UINT64_MAX;

    if (earned >= rl->burst - rl->tokens) {
        rl->tokens = rl->burst;
        rl->refilled_ms = now_ms;
    } else {
        rl->tokens += (unsigned)earned;
        rl->refilled_ms += earned * rl->interval_ms;
    }
}

bool ratelimit_pass(struct ratelimit *rl, uint64_t now_ms, uint64_t *suppressed_out)
{
    refill(rl, now_ms);
    if (rl->tokens == 0) {
        rl->suppressed++;
        rl->suppressed_total++;
        return false;
    }
    rl->tokens--;
    if (suppressed_out)
        *suppressed_out = rl->suppressed;
    rl->suppressed = 0;
    return true;
}

void log_guest(struct ratelimit *rl, const char *fmt, ...)
{
    int saved_errno = errno;
    char text[LINE_SIZE];
    uint64_t suppressed;
    va_list args;

    if (max_level < LOG_LEVEL_WARN || !ratelimit_pass(rl, loop_now_ms(), &suppressed))
        goto out;
    errno = saved_errno;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (suppressed > 0)
        log_warn("%.900s (%" PRIu64 " similar lines suppressed)", text, suppressed);
    else
        log_warn("%s", text);
out:
    errno = saved_errno;
}

static bool escape_leaves(unsigned char c)
{
    return c >= ' ' && c < 0x7f && c != '\\';
}

const char *log_escape(char *out, size_t out_size, const char *in, size_t len, size_t max)
{
    static const char digits[] = "0123456789abcdef";
    size_t n = len < max ? len : max, at = 0, needed = 0, room_for_dots, i;

    if (out_size == 0)
        return "";
    for (i = 0; i < n && needed < out_size; i++)
        needed += escape_leaves((unsigned char)in[i]) ? 1 : 4;
    room_for_dots = n == len && needed < out_size ? 0 : 3;
    for (i = 0; i < n; i++) {
        unsigned char c = (unsigned char)in[i];

        if (at + (escape_leaves(c) ? 1 : 4) + room_for_dots >= out_size)
            break;
        if (escape_leaves(c)) {
            out[at++] = (char)c;
        } else {
            out[at++] = '\\';
            out[at++] = 'x';
            out[at++] = digits[c >> 4];
            out[at++] = digits[c & 15];
        }
    }
    for (unsigned dots = 0; i < len && dots < 3 && at + 1 < out_size; dots++)
        out[at++] = '.';
    out[at] = '\0';
    return out;
}
