/* SPDX-License-Identifier: GPL-2.0-only */
/* The ioctls that a module makes while it serves a guest: a worker's filter lets no other pass. */
#ifndef VIOMMU_COMMON_IOCTL_LIST_H
#define VIOMMU_COMMON_IOCTL_LIST_H

#include <stddef.h>

struct ioctl_list {
    const unsigned long *requests; /* static */
    size_t n;
};

#endif
