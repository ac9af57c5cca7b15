/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A kernel of its own behind kernel_ops.h: groups, type1 containers, VFIO cdevs, IOASes and their
 * mappings, as far as the drivers use them, with the rules that matter (what EBUSY protects, when
 * mappings die, what an unmap may split). Every call can be made to fail, and what every device
 * reaches can be compared with the device's own tables.
 */
#ifndef VIOMMU_TESTS_MODEL_VFIO_H
#define VIOMMU_TESTS_MODEL_VFIO_H

#include "backend/iommu/kernel_ops.h"
#include "backend/viommu/viommu.h"
#include "tests/support/model_space.h"

#include <stdio.h>

#define MODEL_DEVICES 6
#define MODEL_GROUPS  6
#define MODEL_FILES   64
#define MODEL_TABLES  32
#define MODEL_RANGES  4

/* Calls, one by one. */
enum model_call {
    MODEL_OPEN,
    MODEL_READLINK,
    MODEL_READ_TEXT,
    MODEL_FIND_NAME,
    MODEL_PIPE,
    MODEL_GREP,
    MODEL_GET_API_VERSION,
    MODEL_CHECK_EXTENSION,
    MODEL_SET_IOMMU,
    MODEL_GROUP_GET_STATUS,
    MODEL_GROUP_SET_CONTAINER,
    MODEL_GROUP_UNSET_CONTAINER,
    MODEL_GROUP_GET_DEVICE_FD,
    MODEL_DEVICE_RESET,
    MODEL_GET_INFO,
    MODEL_MAP_DMA,
    MODEL_UNMAP_DMA,
    MODEL_BIND,
    MODEL_ATTACH,
    MODEL_DETACH,
    MODEL_DESTROY,
    MODEL_IOAS_ALLOC,
    MODEL_IOVA_RANGES,
    MODEL_IOAS_MAP,
    MODEL_IOAS_UNMAP,
    MODEL_N_CALLS
};

/* Instead of an errno: UNMAP_DMA and IOAS_UNMAP leave the first mapping of the range and say so. */
#define MODEL_SHORT 1000

struct model_table; /* what a container or an IOAS maps */

struct model_device {
    const char *name;
    unsigned group;
    bool emulated;
    unsigned open;             /* descriptors of it, a companion's too */
    struct model_table *table; /* cdev: the IOAS that it is attached to */
    bool bound;
    unsigned resets;
};

struct model_group {
    unsigned number;
    const char *resv; /* text of reserved_regions */
    bool unviable;
    unsigned open;
    struct model_table *table; /* the container that it is in */
};

enum model_file_type {
    MODEL_FILE_NONE,
    MODEL_FILE_CONTAINER,
    MODEL_FILE_GROUP,
    MODEL_FILE_DEVICE,
    MODEL_FILE_CDEV,
    MODEL_FILE_IOMMUFD,
    MODEL_FILE_PIPE,
};

struct model_file {
    enum model_file_type type;
    struct model_table *table;
    struct model_group *group;
    struct model_device *device;
};

struct model_kernel {
    struct kernel kernel;
    struct model_device devices[MODEL_DEVICES];
    size_t n_devices;
    struct model_group groups[MODEL_GROUPS];
    size_t n_groups;
    struct model_file files[MODEL_FILES]; /* descriptor 100 is the first */
    struct model_table *tables;
    uint32_t last_id;

    bool no_iommufd; /* no /dev/iommu */
    bool no_cdevs;
    bool placeholders;   /* Xen scratch in /proc/iomem */
    size_t entry_limit;  /* of a container; 0: 65,535 */
    uint64_t page_sizes; /* 0: 4 KiB, 2 MiB, 1 GiB */
    struct range ranges[MODEL_RANGES];
    size_t n_ranges;
    bool no_caps; /* GET_INFO of an old kernel */

    unsigned calls[MODEL_N_CALLS];
    unsigned fail_at[MODEL_N_CALLS]; /* first call that fails, from 1; 0: none */
    unsigned fail_to[MODEL_N_CALLS];
    int fail_with[MODEL_N_CALLS]; /* errno, or MODEL_SHORT */
    bool failed;                  /* a failure was injected */
    unsigned long syscalls;
    const char *complaint; /* what the drivers did wrong, or NULL */
};

/* A kernel with 2^48 of IOVA less the x86 MSI window, and no devices. */
void model_kernel_init(struct model_kernel *m);
void model_kernel_fini(struct model_kernel *m);

/* Adds a device to a group (made if new). PCI address or UUID, static text. */
struct model_device *model_kernel_add(struct model_kernel *m, const char *name, unsigned group);
struct model_group *model_kernel_group(struct model_kernel *m, unsigned number);

/* Makes calls n to n + count - 1 from now (1: the next) fail with an errno (or MODEL_SHORT). */
void model_kernel_fail(struct model_kernel *m, enum model_call call, unsigned n, unsigned count,
                       int error);
void model_kernel_no_fail(struct model_kernel *m);

/* A companion duplicates the device's descriptor, or closes its own. */
void model_kernel_companion(struct model_kernel *m, struct model_device *dev, bool has);

/* How many descriptors the drivers have open. */
size_t model_kernel_files(const struct model_kernel *m);

/* How many mappings the device reaches. */
size_t model_kernel_reach(const struct model_kernel *m, const struct model_device *dev);

/*
 * Compares what every device reaches with the table of its endpoint (ids are 8 + index of the
 * device), byte by byte. An endpoint in `blocked` (bit per device) must reach nothing. NULL if
 * all agrees, else what does not.
 */
const char *model_kernel_compare(const struct model_kernel *m, const struct viommu *v,
                                 const struct model_space *mem, unsigned blocked);

/* Writes what every device reaches, in a fixed order. */
void model_kernel_dump(const struct model_kernel *m, FILE *out);

#endif
