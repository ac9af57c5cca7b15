/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Logging: stderr (with <N> priorities when stderr is the journal's), or syslog's daemon facility
 * when stderr is closed or /dev/null at the time of log_init. Preserves errno. A line is at most
 * 1,023 bytes (longer ones end in "...") and holds no control characters ('?' stands for them).
 * Whatever a guest or frontend can trigger goes through a rate limit, so that a guest cannot flood
 * the log: the first few lines appear, then one line says how many were suppressed.
 */
#ifndef VIOMMU_COMMON_LOG_H
#define VIOMMU_COMMON_LOG_H

#include "common/compiler.h"

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* `tag` (copied, may be NULL) goes in front of each line: the program, or "d<domid>/<device>". */
void log_init(const char *tag, enum log_level max_level);
void log_set_level(enum log_level max_level);
enum log_level log_get_level(void);

void log_err(const char *fmt, ...) PRINTF_LIKE(1, 2);
void log_warn(const char *fmt, ...) PRINTF_LIKE(1, 2);
void log_info(const char *fmt, ...) PRINTF_LIKE(1, 2);
void log_debug(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* Tests: lines (with the tag, without a level) go to fn instead; NULL restores. */
void log_set_sink(void (*fn)(enum log_level level, const char *line, void *ctx), void *ctx);

/* Token bucket: `burst` lines at once, then one per `interval_ms`. */
struct ratelimit {
    unsigned burst;
    unsigned interval_ms;
    unsigned tokens;
    uint64_t refilled_ms;
    uint64_t suppressed; /* since the last line that passed */
    uint64_t suppressed_total;
};
#define RATELIMIT_INIT(burst_, interval_ms_)                                 \
    {                                                                        \
        .burst = (burst_), .interval_ms = (interval_ms_), .tokens = (burst_) \
    }

/*
 * True if a line may be printed at `now_ms` (loop_now_ms()); *suppressed_out (may be NULL) lines
 * were not since the last one. Written when true is returned only.
 */
bool ratelimit_pass(struct ratelimit *rl, uint64_t now_ms, uint64_t *suppressed_out);

/* A warning that a guest can trigger: printed if the limit lets it, with the suppressed count. */
void log_guest(struct ratelimit *rl, const char *fmt, ...) PRINTF_LIKE(2, 3);

/*
 * Escapes bytes that came from outside for a log line or a terminal: printable ASCII but the
 * backslash stays, anything else becomes \xNN, and more than `max` input bytes, or more than fit
 * into `out`, end in "...". `out` gets a terminated string of at most out_size bytes. Returns out
 * ("" if out_size is 0).
 */
const char *log_escape(char *out, size_t out_size, const char *in, size_t len, size_t max);

#endif
