/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The property list of PROBE (virtio 1.3, 5.13.6.7). viommu_endpoint_add made sure that it fits;
 * what is not written stays zero, which also ends the list.
 */
#include <config.h>

#include "backend/viommu/viommu_priv.h"
#include "common/le.h"

/* Offsets in a RESV_MEM property. */
#define PROP_TYPE    0u
#define PROP_LENGTH  2u
#define RESV_SUBTYPE 4u
#define RESV_START   8u
#define RESV_END     16u

void probe_write(const struct endpoint *ep, uint8_t *area)
{
    for (size_t i = 0; i < ep->n_resv; i++) {
        uint8_t *prop = area + i * VIOMMU_RESV_MEM_SIZE;

        le16_store(prop + PROP_TYPE, VIOMMU_PROBE_T_RESV_MEM);
        le16_store(prop + PROP_LENGTH, VIOMMU_RESV_MEM_LENGTH);
        prop[RESV_SUBTYPE] = ep->resv[i].subtype;
        le64_store(prop + RESV_START, ep->resv[i].range.first);
        le64_store(prop + RESV_END, ep->resv[i].range.last);
    }
}
