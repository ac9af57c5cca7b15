/* SPDX-License-Identifier: GPL-2.0-only */
/* Offsets and numbers of the control page and the grant-map directory (docs/protocol.md, 4, 6). */
#ifndef VIOMMU_BACKEND_DAEMON_CONTROL_PAGE_H
#define VIOMMU_BACKEND_DAEMON_CONTROL_PAGE_H

#define CONTROL_MAGIC   0x31495658u
#define CONTROL_VERSION 1u

/* Written by the frontend. */
#define CONTROL_F_MAGIC          0x000u
#define CONTROL_F_VERSION        0x004u
#define CONTROL_F_STATUS         0x008u
#define CONTROL_F_STATUS_SEQ     0x00cu
#define CONTROL_F_BYPASS         0x010u
#define CONTROL_F_BYPASS_SEQ     0x014u
#define CONTROL_F_MAP_REF        0x018u
#define CONTROL_F_MAP_GENERATION 0x01cu
#define CONTROL_F_QUEUE(q_)      (0x040u + 0x40u * (q_))
/* Offsets in a queue's block; addresses are two words, low and high. */
#define QUEUE_COMMAND_AT 0x00u
#define QUEUE_SEQ_AT     0x04u
#define QUEUE_SIZE_AT    0x08u
#define QUEUE_DESC_AT    0x10u
#define QUEUE_DRIVER_AT  0x18u
#define QUEUE_DEVICE_AT  0x20u

/* Written by the backend. */
#define CONTROL_B_MAGIC             0x100u
#define CONTROL_B_VERSION           0x104u
#define CONTROL_B_STATUS            0x108u
#define CONTROL_B_STATUS_ACK        0x10cu
#define CONTROL_B_BYPASS_ACK        0x110u
#define CONTROL_B_BYPASS_VERDICT    0x114u
#define CONTROL_B_MAP_ANSWERED      0x118u
#define CONTROL_B_MAP_VERDICT       0x11cu
#define CONTROL_B_MAP_IN_USE        0x120u
#define CONTROL_B_CONFIG_GENERATION 0x124u
#define CONTROL_B_QUEUE_ACK(q_)     (0x128u + 8u * (q_))
#define CONTROL_B_QUEUE_VERDICT(q_) (0x12cu + 8u * (q_))
#define CONTROL_B_CONFIG            0x140u

#define QUEUE_COMMAND_RESET   1u
#define QUEUE_COMMAND_ENABLE  2u
#define QUEUE_VERDICT_DONE    0u
#define QUEUE_VERDICT_REFUSED 1u
#define QUEUE_VERDICT_SETUP   2u

#define MAP_VERDICT_OK        0u
#define MAP_VERDICT_MALFORMED 1u
#define MAP_VERDICT_BUSY      2u
#define MAP_VERDICT_TOO_LARGE 3u

/* Directory pages. */
#define DIRECTORY_MAGIC         0x44495658u
#define DIRECTORY_VERSION       1u
#define DIRECTORY_MAX_ENTRIES   169u
#define DIRECTORY_MAGIC_AT      0x00u
#define DIRECTORY_VERSION_AT    0x04u
#define DIRECTORY_GENERATION_AT 0x08u
#define DIRECTORY_COUNT_AT      0x0cu
#define DIRECTORY_NEXT_AT       0x10u
#define DIRECTORY_RESERVED_AT   0x14u
#define DIRECTORY_ENTRIES_AT    0x20u
#define DIRECTORY_ENTRY_SIZE    24u

/* Virtio device status bits (virtio 1.3, 2.1). */
#define STATUS_ACKNOWLEDGE 0x01u
#define STATUS_DRIVER      0x02u
#define STATUS_DRIVER_OK   0x04u
#define STATUS_FEATURES_OK 0x08u
#define STATUS_NEEDS_RESET 0x40u
#define STATUS_FAILED      0x80u

#endif
