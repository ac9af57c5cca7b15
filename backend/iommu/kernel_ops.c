/* SPDX-License-Identifier: GPL-2.0-only */
/* The real kernel behind kernel_ops.h: one system call each, errno turned into a return value. */
#include <config.h>

#include "backend/iommu/kernel_ops.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

static int host_open(void *ctx UNUSED, const char *path)
{
    int fd;

    do {
        fd = open(path, O_RDWR | O_CLOEXEC);
    } while (fd < 0 && errno == EINTR);
    return fd < 0 ? -errno : fd;
}

static void host_close(void *ctx UNUSED, int fd)
{
    (void)close(fd);
}

static HOT int host_ioctl(void *ctx UNUSED, int fd, unsigned long request, uintptr_t arg)
{
    int r;

    do {
        r = ioctl(fd, request, arg);
    } while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : r;
}

static int host_readlink(void *ctx UNUSED, const char *path, char *out, size_t size)
{
    ssize_t n = readlink(path, out, size);

    if (n < 0)
        return -errno;
    if ((size_t)n >= size)
        return -ENAMETOOLONG;
    out[n] = '\0';
    return 0;
}

/* Reads up to the end of the file or of the buffer. */
static ssize_t read_all(int fd, char *out, size_t size)
{
    size_t got = 0;

    while (got < size) {
        ssize_t n = read(fd, out + got, size - got);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        got += (size_t)n;
    }
    return (ssize_t)got;
}

static int host_read_text(void *ctx UNUSED, const char *path, char *out, size_t size)
{
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return -errno;
    n = read_all(fd, out, size);
    if (n < 0)
        return (int)n;
    if ((size_t)n >= size)
        return -EFBIG;
    out[n] = '\0';
    return (int)n;
}

static bool host_exists(void *ctx UNUSED, const char *path)
{
    return access(path, F_OK) == 0;
}

static int host_find_name(void *ctx UNUSED, const char *dir, const char *prefix, char *out,
                          size_t size)
{
    DIR *d = opendir(dir);
    const struct dirent *entry;
    int r = -ENOENT;

    if (!d)
        return -errno;
    while (r == -ENOENT && (entry = readdir(d)) != NULL) {
        size_t len = strlen(entry->d_name);

        if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0 || entry->d_name[0] == '.')
            continue;
        r = len < size ? 0 : -ENAMETOOLONG;
        if (r == 0)
            memcpy(out, entry->d_name, len + 1);
    }
    (void)closedir(d);
    return r;
}

static int host_pipe(void *ctx UNUSED, int fds[2])
{
    return pipe2(fds, O_CLOEXEC) < 0 ? -errno : 0;
}

static int host_grep(void *ctx UNUSED, const char *path, const char *text)
{
    FILE *f = fopen(path, "re");
    int r = -ENOENT;
    char *line = NULL;
    size_t room = 0;

    if (!f)
        return -errno;
    while (r == -ENOENT && getline(&line, &room, f) >= 0) {
        if (strstr(line, text))
            r = 0;
    }
    if (r == -ENOENT && ferror(f))
        r = -EIO;
    free(line);
    (void)fclose(f);
    return r;
}

static const struct kernel_ops host_ops = {
    .open = host_open,
    .close = host_close,
    .ioctl = host_ioctl,
    .readlink = host_readlink,
    .read_text = host_read_text,
    .exists = host_exists,
    .find_name = host_find_name,
    .pipe = host_pipe,
    .grep = host_grep,
};

const struct kernel kernel_host = {.ops = &host_ops, .ctx = NULL};
