/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The part of the kernel's iommufd interface that iommufd.c uses, in names of our own, because the
 * headers of many systems lack it (Debian 12: no linux/iommufd.h, and a linux/vfio.h without
 * cdevs). Where they have it, iommufd.c checks that both say the same.
 */
#ifndef VIOMMU_BACKEND_IOMMU_IOMMUFD_UAPI_H
#define VIOMMU_BACKEND_IOMMU_IOMMUFD_UAPI_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* --- /dev/iommu: every struct begins with its own size ---------------------------------------- */

#define UFD_TYPE (';')

#define UFD_DESTROY          _IO(UFD_TYPE, 0x80)
#define UFD_IOAS_ALLOC       _IO(UFD_TYPE, 0x81)
#define UFD_IOAS_IOVA_RANGES _IO(UFD_TYPE, 0x84)
#define UFD_IOAS_MAP         _IO(UFD_TYPE, 0x85)
#define UFD_IOAS_UNMAP       _IO(UFD_TYPE, 0x86)

struct ufd_destroy {
    __u32 size;
    __u32 id;
};

struct ufd_ioas_alloc {
    __u32 size;
    __u32 flags; /* 0 */
    __u32 out_ioas_id;
};

struct ufd_iova_range {
    __aligned_u64 start;
    __aligned_u64 last;
};

struct ufd_ioas_iova_ranges {
    __u32 size;
    __u32 ioas_id;
    __u32 num_iovas; /* room; then how many there are */
    __u32 reserved;
    __aligned_u64 allowed_iovas; /* array of struct ufd_iova_range */
    __aligned_u64 out_iova_alignment;
};

#define UFD_MAP_FIXED_IOVA 1u
#define UFD_MAP_WRITEABLE  2u
#define UFD_MAP_READABLE   4u

struct ufd_ioas_map {
    __u32 size;
    __u32 flags;
    __u32 ioas_id;
    __u32 reserved;
    __aligned_u64 user_va;
    __aligned_u64 length;
    __aligned_u64 iova;
};

struct ufd_ioas_unmap {
    __u32 size;
    __u32 ioas_id;
    __aligned_u64 iova;
    __aligned_u64 length; /* then: bytes unmapped; 2^64 - 1 with iova 0: everything */
};

/* --- VFIO cdev (/dev/vfio/devices/vfioN) ------------------------------------------------------ */

#define UFD_VFIO_BIND   _IO(';', 100 + 18)
#define UFD_VFIO_ATTACH _IO(';', 100 + 19)
#define UFD_VFIO_DETACH _IO(';', 100 + 20)

struct ufd_vfio_bind {
    __u32 argsz;
    __u32 flags;   /* 0 */
    __s32 iommufd; /* descriptor */
    __u32 out_devid;
};

struct ufd_vfio_attach {
    __u32 argsz;
    __u32 flags; /* 0 */
    __u32 pt_id; /* of the IOAS; then: of the page table that was found or made */
};

struct ufd_vfio_detach {
    __u32 argsz;
    __u32 flags; /* 0 */
};

#endif
