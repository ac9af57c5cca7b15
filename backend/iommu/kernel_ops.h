/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every call that the VFIO drivers make into the kernel, as a table, so that each can be made to
 * fail (tests/support/model_vfio.h is a kernel of its own behind the same table).
 *
 * Functions return what the call returned, or -errno. None retries: EINTR is handled inside.
 */
#ifndef VIOMMU_BACKEND_IOMMU_KERNEL_OPS_H
#define VIOMMU_BACKEND_IOMMU_KERNEL_OPS_H

#include "common/compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kernel_ops {
    /* Opens for reading and writing, close-on-exec: a descriptor. */
    int (*open)(void *ctx, const char *path);
    void (*close)(void *ctx, int fd);

    /* `arg` is a pointer or a number, as the request wants it. */
    int (*ioctl)(void *ctx, int fd, unsigned long request, uintptr_t arg);

    /* The target of a symbolic link, terminated. -ENAMETOOLONG when it does not fit. */
    int (*readlink)(void *ctx, const char *path, char *out, size_t size);

    /* A whole file as text, terminated: its length. -EFBIG when it does not fit. */
    int (*read_text)(void *ctx, const char *path, char *out, size_t size);

    bool (*exists)(void *ctx, const char *path);

    /* The first name in a directory that begins with `prefix`; -ENOENT when there is none. */
    int (*find_name)(void *ctx, const char *dir, const char *prefix, char *out, size_t size);

    /* A close-on-exec pipe: [0] to read, [1] to write. 0 or -errno. */
    int (*pipe)(void *ctx, int fds[2]);

    /* 0 if the file has a line that contains `text`, -ENOENT if not. For long files. */
    int (*grep)(void *ctx, const char *path, const char *text);
};

struct kernel {
    const struct kernel_ops *ops;
    void *ctx;
};

/* The real one. */
extern const struct kernel kernel_host;

static inline int kernel_ioctl(const struct kernel *k, int fd, unsigned long request, void *arg)
{
    return k->ops->ioctl(k->ctx, fd, request, (uintptr_t)arg);
}

static inline int kernel_ioctl_value(const struct kernel *k, int fd, unsigned long request,
                                     unsigned long value)
{
    return k->ops->ioctl(k->ctx, fd, request, value);
}

/* Closes and forgets; -1 is allowed. */
static inline void kernel_close(const struct kernel *k, int *fd_io)
{
    if (*fd_io >= 0)
        k->ops->close(k->ctx, *fd_io);
    *fd_io = -1;
}

#endif
