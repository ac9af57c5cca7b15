/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * virtio-iommu on the wire: numbers, offsets and sizes (virtio 1.3, 5.13). Requests are read and
 * replies written with common/le.h at these offsets; no struct is ever laid over guest memory.
 * tests/unit/test_wire.c compares each number with <linux/virtio_iommu.h>.
 */
#ifndef VIOMMU_BACKEND_VIOMMU_WIRE_H
#define VIOMMU_BACKEND_VIOMMU_WIRE_H

#include <stdint.h>

#define VIOMMU_DEVICE_ID 23u

/* Device feature bits (5.13.3). Bit 3, the superseded global bypass, is never offered (D2, D3). */
#define VIOMMU_F_INPUT_RANGE   (1ull << 0)
#define VIOMMU_F_DOMAIN_RANGE  (1ull << 1)
#define VIOMMU_F_MAP_UNMAP     (1ull << 2)
#define VIOMMU_F_PROBE         (1ull << 4)
#define VIOMMU_F_MMIO          (1ull << 5)
#define VIOMMU_F_BYPASS_CONFIG (1ull << 6)
#define VIOMMU_F_ALL                                                                      \
    (VIOMMU_F_INPUT_RANGE | VIOMMU_F_DOMAIN_RANGE | VIOMMU_F_MAP_UNMAP | VIOMMU_F_PROBE | \
     VIOMMU_F_MMIO | VIOMMU_F_BYPASS_CONFIG)

/* Queues (5.13.2). */
#define VIOMMU_QUEUE_REQUEST 0u
#define VIOMMU_QUEUE_EVENT   1u
#define VIOMMU_N_QUEUES      2u

/* Config space (5.13.4). */
#define VIOMMU_CONFIG_SIZE           40u
#define VIOMMU_CONFIG_PAGE_SIZE_MASK 0u
#define VIOMMU_CONFIG_INPUT_START    8u
#define VIOMMU_CONFIG_INPUT_END      16u
#define VIOMMU_CONFIG_DOMAIN_START   24u
#define VIOMMU_CONFIG_DOMAIN_END     28u
#define VIOMMU_CONFIG_PROBE_SIZE     32u
#define VIOMMU_CONFIG_BYPASS         36u

/* Request types (5.13.6). */
enum viommu_type {
    VIOMMU_T_ATTACH = 1,
    VIOMMU_T_DETACH = 2,
    VIOMMU_T_MAP = 3,
    VIOMMU_T_UNMAP = 4,
    VIOMMU_T_PROBE = 5,
};
#define VIOMMU_N_TYPES 6u

/* Guest verdicts (5.13.6): what a request's tail says. */
enum viommu_status {
    VIOMMU_S_OK = 0,
    VIOMMU_S_IOERR = 1,
    VIOMMU_S_UNSUPP = 2,
    VIOMMU_S_DEVERR = 3,
    VIOMMU_S_INVAL = 4,
    VIOMMU_S_RANGE = 5,
    VIOMMU_S_NOENT = 6,
    VIOMMU_S_FAULT = 7,
    VIOMMU_S_NOMEM = 8,
};
#define VIOMMU_N_STATUS 9u

/* Device-readable bytes of each request. */
#define VIOMMU_HEAD_SIZE   4u
#define VIOMMU_TAIL_SIZE   4u
#define VIOMMU_ATTACH_SIZE 20u
#define VIOMMU_DETACH_SIZE 20u
#define VIOMMU_MAP_SIZE    36u
#define VIOMMU_UNMAP_SIZE  28u
#define VIOMMU_PROBE_SIZE  72u
#define VIOMMU_REQ_MAX     72u

/* Offsets in the readable part. */
#define VIOMMU_ATTACH_DOMAIN    4u
#define VIOMMU_ATTACH_ENDPOINT  8u
#define VIOMMU_ATTACH_FLAGS     12u
#define VIOMMU_ATTACH_RESERVED  16u
#define VIOMMU_DETACH_DOMAIN    4u
#define VIOMMU_DETACH_ENDPOINT  8u
#define VIOMMU_MAP_DOMAIN       4u
#define VIOMMU_MAP_VIRT_START   8u
#define VIOMMU_MAP_VIRT_END     16u
#define VIOMMU_MAP_PHYS_START   24u
#define VIOMMU_MAP_FLAGS        32u
#define VIOMMU_UNMAP_DOMAIN     4u
#define VIOMMU_UNMAP_VIRT_START 8u
#define VIOMMU_UNMAP_VIRT_END   16u
#define VIOMMU_UNMAP_RESERVED   24u
#define VIOMMU_PROBE_ENDPOINT   4u

#define VIOMMU_ATTACH_F_BYPASS 1u

#define VIOMMU_MAP_F_READ  1u
#define VIOMMU_MAP_F_WRITE 2u
#define VIOMMU_MAP_F_MMIO  4u
#define VIOMMU_MAP_F_MASK  7u

/* PROBE properties (5.13.6.7). */
#define VIOMMU_PROBE_T_RESV_MEM    1u
#define VIOMMU_PROP_HEAD_SIZE      4u
#define VIOMMU_RESV_MEM_LENGTH     20u /* without the head */
#define VIOMMU_RESV_MEM_SIZE       24u /* with the head */
#define VIOMMU_RESV_MEM_T_RESERVED 0u
#define VIOMMU_RESV_MEM_T_MSI      1u

/* Fault reports (5.13.6.9). */
#define VIOMMU_FAULT_SIZE 24u
enum viommu_fault_reason {
    VIOMMU_FAULT_R_UNKNOWN = 0,
    VIOMMU_FAULT_R_DOMAIN = 1,
    VIOMMU_FAULT_R_MAPPING = 2,
};
#define VIOMMU_FAULT_F_READ    (1u << 0)
#define VIOMMU_FAULT_F_WRITE   (1u << 1)
#define VIOMMU_FAULT_F_ADDRESS (1u << 8)

#endif
