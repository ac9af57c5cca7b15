/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Small helpers that every module uses: attributes, array sizes, owners that clean up after
 * themselves.
 */
#ifndef VIOMMU_COMMON_COMPILER_H
#define VIOMMU_COMMON_COMPILER_H

#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#define ARRAY_SIZE(a)          (sizeof(a) / sizeof((a)[0]))
#define MUST_CHECK             __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define UNUSED                 __attribute__((unused))
#define LIKELY(x)              __builtin_expect(!!(x), 1)
#define UNLIKELY(x)            __builtin_expect(!!(x), 0)
/* Rare, and out of the way of what is not. */
#define NOINLINE __attribute__((noinline))
#define COLD     __attribute__((cold, noinline))
/* On the path of every request: these lie together, so that they take few pages. */
#define HOT __attribute__((hot))

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

static inline void cleanup_free_fn(void *p)
{
    free(*(void **)p);
}

static inline void cleanup_fd_fn(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

/* Owners: released when the variable goes out of scope; reset it to NULL or -1 on hand-over. */
#define cleanup_free __attribute__((cleanup(cleanup_free_fn)))
#define cleanup_fd   __attribute__((cleanup(cleanup_fd_fn)))

#endif
