/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What frontend/linux/mirror.c takes from the kernel, for test_mirror in user space. The trees
 * are not balanced: the mirror knows only the interface. kzalloc and kfree count, and can fail.
 */
#ifndef VIOMMU_TESTS_MIRROR_SHIM_H
#define VIOMMU_TESTS_MIRROR_SHIM_H

#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <linux/virtio_iommu.h>

#define u8          uint8_t
#define u32         uint32_t
#define u64         uint64_t
#define le32_to_cpu le32toh
#define le64_to_cpu le64toh
#define GFP_ATOMIC  0

void *kzalloc(size_t size, int flags);
void kfree(const void *memory);

struct rb_node {
    struct rb_node *rb_parent;
    struct rb_node *rb_left;
    struct rb_node *rb_right;
};

struct rb_root {
    struct rb_node *rb_node;
};

#define RB_ROOT      \
    (struct rb_root) \
    {                \
        NULL         \
    }
#define rb_entry(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

struct rb_node *rb_first(const struct rb_root *root);
struct rb_node *rb_next(const struct rb_node *node);
void rb_erase(struct rb_node *node, struct rb_root *root);
struct rb_node *rb_find(const void *key, const struct rb_root *root,
                        int (*cmp)(const void *key, const struct rb_node *node));
/* The node that was there already, or NULL once the new one is in. */
struct rb_node *rb_find_add(struct rb_node *node, struct rb_root *root,
                            int (*cmp)(struct rb_node *node, const struct rb_node *other));

#endif
