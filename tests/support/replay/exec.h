/* SPDX-License-Identifier: GPL-2.0-only */
/* Carries out the lines of a script and prints the answers. */
#ifndef VIOMMU_TESTS_REPLAY_EXEC_H
#define VIOMMU_TESTS_REPLAY_EXEC_H

#include <stdio.h>

#include "tests/support/replay/guest.h"

/*
 * Runs the whole script. 0; -EINVAL for a line that is not understood, -errno for a failure, both
 * told on stderr after the answers so far went to `out`. `name` is for messages.
 */
MUST_CHECK int exec_script(struct guest *g, FILE *in, const char *name, FILE *out);

#endif
