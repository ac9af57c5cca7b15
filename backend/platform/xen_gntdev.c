/* SPDX-License-Identifier: GPL-2.0-only */
/* gntdev's calls (xen_gntdev.h): the kernel's interface as <xen/gntdev.h> has it. */
#include <config.h>

#include "backend/platform/xen_gntdev.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>

#include <xen/grant_table.h>

/* The kernel's own header, which takes its types from the one above. */
#include <linux/ioctl.h>
#include <xen/gntdev.h>

#include "backend/virtio/grants.h"

/* A page that its toolstack has paged out takes a while; one that stays out is refused. */
#define PAGED_OUT_TRIES 100
#define PAGED_OUT_NS    1000000

int gntdev_open(void)
{
    int fd = open("/dev/xen/gntdev", O_RDWR | O_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

int gntdev_record(int fd, uint32_t domid, const uint32_t *refs, uint32_t n, uint64_t *index_out)
{
    /* The struct has one reference at least. */
    struct ioctl_gntdev_map_grant_ref *op = calloc(
        1, sizeof(*op) + (size_t)n * sizeof(struct ioctl_gntdev_grant_ref));
    int r = 0;

    if (!op)
        return -ENOMEM;
    op->count = n;
    for (uint32_t i = 0; i < n; i++)
        op->refs[i] = (struct ioctl_gntdev_grant_ref){.domid = domid, .ref = refs[i]};
    if (ioctl(fd, IOCTL_GNTDEV_MAP_GRANT_REF, op) < 0)
        r = -errno;
    else
        *index_out = op->index;
    free(op);
    return r;
}

int gntdev_forget(int fd, uint64_t index, uint32_t n)
{
    struct ioctl_gntdev_unmap_grant_ref op = {.index = index, .count = n};

    return ioctl(fd, IOCTL_GNTDEV_UNMAP_GRANT_REF, &op) < 0 ? -errno : 0;
}

void *gntdev_map(int fd, uint64_t index, uint32_t n, bool writable)
{
    const struct timespec pause = {.tv_nsec = PAGED_OUT_NS};
    int prot = writable ? PROT_READ | PROT_WRITE : PROT_READ;

    for (int i = 0;; i++) {
        void *addr = mmap(NULL, (size_t)n * GRANT_PAGE_SIZE, prot, MAP_SHARED, fd, (off_t)index);

        if (addr != MAP_FAILED)
            return addr;
        if (errno != EAGAIN || i == PAGED_OUT_TRIES)
            return NULL;
        (void)nanosleep(&pause, NULL);
    }
}
