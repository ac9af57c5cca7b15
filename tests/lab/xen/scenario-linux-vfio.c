/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * User space in the lab's guest that owns the test endpoint through VFIO (type1): maps memory of
 * its own for the device and shows what arrives there. One answer line per command line.
 *
 * Usage: vfio-guest GROUP DEVICE
 *   map IOVA LENGTH     fresh memory -> "ok" or "error TEXT"; the last one is what get and put mean
 *   unmap IOVA LENGTH
 *   get OFFSET LENGTH   -> hexadecimal bytes
 *   put OFFSET HEX
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <linux/vfio.h>

static unsigned char *memory;
static size_t memory_size;

static void fail(const char *what)
{
    printf("error %s: %s\n", what, strerror(errno));
    exit(1);
}

static int take_device(const char *group_name, const char *device_name)
{
    struct vfio_group_status status = {.argsz = sizeof(status)};
    char path[64];
    int container = open("/dev/vfio/vfio", O_RDWR);
    int group;

    if (container < 0) {
        fail("/dev/vfio/vfio");
    }
    snprintf(path, sizeof(path), "/dev/vfio/%s", group_name);
    group = open(path, O_RDWR);
    if (group < 0) {
        fail(path);
    }
    if (ioctl(group, VFIO_GROUP_GET_STATUS, &status) || !(status.flags & VFIO_GROUP_FLAGS_VIABLE)) {
        fail("the group is not viable");
    }
    if (ioctl(group, VFIO_GROUP_SET_CONTAINER, &container)) {
        fail("VFIO_GROUP_SET_CONTAINER");
    }
    if (ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU)) {
        fail("VFIO_SET_IOMMU");
    }
    if (ioctl(group, VFIO_GROUP_GET_DEVICE_FD, device_name) < 0) {
        fail("VFIO_GROUP_GET_DEVICE_FD");
    }
    return container;
}

static void map(int container, uint64_t iova, size_t length)
{
    struct vfio_iommu_type1_dma_map request = {
        .argsz = sizeof(request),
        .flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
        .iova = iova,
        .size = length,
    };

    memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE,
                  -1, 0);
    if (memory == MAP_FAILED) {
        fail("mmap");
    }
    memory_size = length;
    request.vaddr = (uintptr_t)memory;
    if (ioctl(container, VFIO_IOMMU_MAP_DMA, &request)) {
        printf("error VFIO_IOMMU_MAP_DMA: %s\n", strerror(errno));
    } else {
        printf("ok\n");
    }
}

static void unmap(int container, uint64_t iova, size_t length)
{
    struct vfio_iommu_type1_dma_unmap request = {
        .argsz = sizeof(request),
        .iova = iova,
        .size = length,
    };

    if (ioctl(container, VFIO_IOMMU_UNMAP_DMA, &request) || request.size != length) {
        printf("error VFIO_IOMMU_UNMAP_DMA: %s\n", strerror(errno));
    } else {
        printf("ok\n");
    }
}

static void get(size_t offset, size_t length)
{
    if (offset > memory_size || length > memory_size - offset) {
        printf("error range\n");
        return;
    }
    for (size_t i = 0; i < length; i++) {
        printf("%02x", memory[offset + i]);
    }
    printf("\n");
}

static void put(size_t offset, const char *hex)
{
    size_t length = strlen(hex) / 2;
    unsigned int byte;

    if (offset > memory_size || length > memory_size - offset) {
        printf("error range\n");
        return;
    }
    for (size_t i = 0; i < length; i++) {
        if (sscanf(hex + 2 * i, "%2x", &byte) != 1) {
            printf("error hex\n");
            return;
        }
        memory[offset + i] = (unsigned char)byte;
    }
    printf("ok\n");
}

int main(int argc, char **argv)
{
    char line[256];
    char word[16];
    char first[64];
    char second[128];
    int container;

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc != 3) {
        fprintf(stderr, "usage: vfio-guest GROUP DEVICE\n");
        return 2;
    }
    container = take_device(argv[1], argv[2]);
    printf("ready\n");
    while (fgets(line, sizeof(line), stdin)) {
        if (sscanf(line, "%15s %63s %127s", word, first, second) != 3) {
            printf("error words\n");
        } else if (strcmp(word, "map") == 0) {
            map(container, strtoull(first, NULL, 0), strtoull(second, NULL, 0));
        } else if (strcmp(word, "unmap") == 0) {
            unmap(container, strtoull(first, NULL, 0), strtoull(second, NULL, 0));
        } else if (strcmp(word, "get") == 0) {
            get(strtoull(first, NULL, 0), strtoull(second, NULL, 0));
        } else if (strcmp(word, "put") == 0) {
            put(strtoull(first, NULL, 0), second);
        } else {
            printf("error word\n");
        }
    }
    return 0;
}
