/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * gntdev's calls, apart: with a broker, one process records what is to be mapped and another one
 * maps it, which libxengnttab cannot say. One system call each; tests link others.
 */
#ifndef VIOMMU_BACKEND_PLATFORM_XEN_GNTDEV_H
#define VIOMMU_BACKEND_PLATFORM_XEN_GNTDEV_H

#include "common/compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

MUST_CHECK int gntdev_open(void); /* a descriptor, or -errno */

/* Records n references of a domain in the open file: *index_out is where mmap finds them. Checks
 * none of them. Does not block. -errno. */
MUST_CHECK int gntdev_record(int fd, uint32_t domid, const uint32_t *refs, uint32_t n,
                             uint64_t *index_out);

/* Ends a record; what is not in use elsewhere is unmapped on return. -errno. */
MUST_CHECK int gntdev_forget(int fd, uint64_t index, uint32_t n);

/* Maps what is recorded at `index`: NULL with errno. */
void *gntdev_map(int fd, uint64_t index, uint32_t n, bool writable);

#endif
