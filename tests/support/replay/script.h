/* SPDX-License-Identifier: GPL-2.0-only */
/* Lines of a replay script. */
#ifndef VIOMMU_TESTS_REPLAY_SCRIPT_H
#define VIOMMU_TESTS_REPLAY_SCRIPT_H

#include "common/compiler.h"

#include <stdbool.h>
#include <stdint.h>

enum script_kind {
    SCRIPT_NOTHING, /* blank, comment */
    SCRIPT_ATTACH,
    SCRIPT_DETACH,
    SCRIPT_MAP,
    SCRIPT_UNMAP,
    SCRIPT_PROBE,
    SCRIPT_RAW,
    SCRIPT_RESET,
    SCRIPT_BYPASS,
    SCRIPT_ACCESS,
    SCRIPT_EVENTS,
};

#define SCRIPT_MAX_RAW    65536u
#define SCRIPT_MAX_WLEN   (1u << 20)
#define SCRIPT_MAX_ACCESS (1u << 30)

/* What a line says; only its own fields have meaning. */
struct script_line {
    enum script_kind kind;
    uint64_t vdomain, endpoint, flags; /* 32 bits each, checked */
    uint64_t first, last, phys;
    uint64_t address, len;
    uint64_t write; /* 0 or 1 */
    uint64_t bypass;
    uint64_t wlen;
    size_t raw_len;
    uint8_t raw[SCRIPT_MAX_RAW];
};

/*
 * Reads one line, which is changed on the way. 0, or -EINVAL with a text that says what is accepted
 * in why.
 */
MUST_CHECK int script_parse(char *line, struct script_line *out, char *why, size_t why_size);

#endif
