/* SPDX-License-Identifier: GPL-2.0-only */
/* Options of the replay tool. */
#ifndef VIOMMU_TESTS_REPLAY_OPTIONS_H
#define VIOMMU_TESTS_REPLAY_OPTIONS_H

#include "backend/daemon/device.h"
#include "tests/support/replay/requests.h"

struct replay_resv {
    uint32_t endpoint;
    struct viommu_resv resv;
};

struct replay_options {
    const char *script; /* NULL: standard input */
    struct device_config device;
    uint64_t accepted; /* device and ring features that the driver accepts */
    uint64_t memory;
    uint32_t *endpoints;
    size_t n_endpoints;
    struct replay_resv *resv;
    size_t n_resv;
    uint32_t queue_size;
    uint32_t batch; /* requests per kick */
    struct framing framing;
};

enum options_verdict { OPTIONS_RUN, OPTIONS_HELP, OPTIONS_WRONG };

/* Reads the command line; says on stderr what is wrong with it. options_free either way. */
enum options_verdict options_parse(struct replay_options *o, int argc, char **argv);
void options_free(struct replay_options *o);

#endif
