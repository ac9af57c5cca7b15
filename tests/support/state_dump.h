/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The whole state of a device as text, so that "unchanged" can be asserted: features, config
 * space, vdomains, mappings, endpoints, queued faults. Counters are left out.
 */
#ifndef VIOMMU_TESTS_STATE_DUMP_H
#define VIOMMU_TESTS_STATE_DUMP_H

#include "backend/viommu/viommu.h"

#include <stdio.h>

void state_dump(const struct viommu *v, FILE *out);

#endif
