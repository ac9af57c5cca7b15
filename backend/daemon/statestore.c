/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Keeping state files (statestore.h). Names are made from two numbers; what is found under another
 * name is not ours and is closed, or left alone. The directory is the administrator's and trusted,
 * as is the service manager.
 */
#include <config.h>

#include "backend/daemon/statestore.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "common/log.h"
#include "common/notify.h"
#include "common/strutil.h"

#define NAME_SIZE       48
#define LISTEN_FD_FIRST 3
#define MAX_LISTEN_FDS  65536u

struct kept {
    struct kept *next;
    char name[NAME_SIZE];
    int fd;     /* kept by the service manager, not adopted yet; -1 otherwise */
    bool owned; /* a device has it */
    ino_t file; /* if so: which one */
};

struct state_store {
    int dir; /* -1: memory */
    struct kept *kept;
};

/* "viommu-DOMID-NUMBER-PAGES"; the part before PAGES is the device's. */
static void make_prefix(char prefix[NAME_SIZE], uint32_t domid, uint32_t number)
{
    snprintf(prefix, NAME_SIZE, "viommu-%u-%u-", (unsigned)domid, (unsigned)number);
}

static struct kept *find(struct state_store *s, const char *prefix)
{
    for (struct kept *k = s->kept; k; k = k->next) {
        if (strncmp(k->name, prefix, strlen(prefix)) == 0)
            return k;
    }
    return NULL;
}

static struct kept *add(struct state_store *s, const char *name, int fd)
{
    struct kept *k = calloc(1, sizeof(*k));

    if (!k)
        return NULL;
    memcpy(k->name, name, strnlen(name, sizeof(k->name) - 1));
    k->fd = fd;
    k->next = s->kept;
    s->kept = k;
    return k;
}

/* --- the service manager ------------------------------------------------------------------------
 */

static void tell_manager(const char *what, const char *name, int fd)
{
    char state[96];
    int r;

    snprintf(state, sizeof(state), "%s\nFDNAME=%s", what, name);
    r = notify_send_fd(state, fd);
    if (r < 0)
        log_warn("the service manager was not told about %s: %s", name, strerror(-r));
}

/* Number of descriptors that were handed to this very process. */
static uint32_t listen_fds(void)
{
    const char *pid = getenv("LISTEN_PID"), *n = getenv("LISTEN_FDS");
    uint64_t value;
    uint32_t fds = 0;

    if (!pid || !n || parse_u64(pid, UINT32_MAX, &value) < 0 || value != (uint64_t)getpid())
        return 0;
    return parse_u32(n, MAX_LISTEN_FDS, &fds) < 0 ? 0 : fds;
}

static void keep_fd(struct state_store *s, int fd, const char *name, size_t len)
{
    char text[NAME_SIZE];
    bool ours = len < sizeof(text) && strncmp(name, "viommu-", 7) == 0;

    if (ours) {
        memcpy(text, name, len);
        text[len] = '\0';
        ours = !find(s, text) && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 && add(s, text, fd);
    }
    if (!ours)
        close(fd);
}

static void take_listen_fds(struct state_store *s)
{
    const char *names = getenv("LISTEN_FDNAMES");
    uint32_t n = listen_fds();

    for (uint32_t i = 0; i < n; i++) {
        size_t len = names ? strcspn(names, ":") : 0;

        keep_fd(s, LISTEN_FD_FIRST + (int)i, names ? names : "", len);
        if (names)
            names += len + (names[len] == ':');
    }
    /* Not for the workers. */
    (void)unsetenv("LISTEN_PID");
    (void)unsetenv("LISTEN_FDS");
    (void)unsetenv("LISTEN_FDNAMES");
}

/* --- life ---------------------------------------------------------------------------------------
 */

/* Notes what is there; a file is opened when its device asks for it. */
static int list_dir(struct state_store *s)
{
    int fd = openat(s->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *entry;

    if (!dir) {
        r = -errno;
        if (fd >= 0)
            close(fd);
        return r;
    }
    while (r == 0 && (entry = readdir(dir)) != NULL) {
        if (strncmp(entry->d_name, "viommu-", 7) == 0 && strlen(entry->d_name) < NAME_SIZE &&
            !add(s, entry->d_name, -1))
            r = -ENOMEM;
    }
    closedir(dir);
    return r;
}

static int open_dir(struct state_store *s, const char *dir)
{
    s->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return s->dir < 0 ? -errno : list_dir(s);
}

int state_store_new(struct state_store **out, const char *dir)
{
    struct state_store *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return -ENOMEM;
    s->dir = -1;
    take_listen_fds(s);
    r = dir ? open_dir(s, dir) : 0;
    if (r < 0) {
        state_store_free(s);
        return r;
    }
    *out = s;
    return 0;
}

struct state_store *state_store_free(struct state_store *s)
{
    if (!s)
        return NULL;
    while (s->kept) {
        struct kept *k = s->kept;

        s->kept = k->next;
        if (k->fd >= 0)
            close(k->fd);
        free(k);
    }
    if (s->dir >= 0)
        close(s->dir);
    free(s);
    return NULL;
}

/* --- files --------------------------------------------------------------------------------------
 */

/* 0: none. */
static ino_t file_of(int fd)
{
    struct stat st;

    return fd >= 0 && fstat(fd, &st) == 0 ? st.st_ino : 0;
}

int state_store_adopt(struct state_store *s, uint32_t domid, uint32_t number, uint32_t *pages_out)
{
    char prefix[NAME_SIZE];
    struct kept *k;
    int fd;

    make_prefix(prefix, domid, number);
    k = find(s, prefix);
    if (!k || k->owned || parse_u32(k->name + strlen(prefix), UINT32_MAX, pages_out) < 0)
        return -ENOENT;
    fd = s->dir >= 0 ? openat(s->dir, k->name, O_RDWR | O_NOFOLLOW | O_CLOEXEC) : k->fd;
    if (fd < 0)
        return -ENOENT;
    k->fd = -1;
    k->owned = true;
    k->file = file_of(fd);
    return fd;
}

static void drop(struct state_store *s, struct kept **at)
{
    struct kept *k = *at;

    *at = k->next;
    if (k->fd >= 0)
        close(k->fd);
    if (s->dir >= 0)
        (void)unlinkat(s->dir, k->name, 0);
    else
        tell_manager("FDSTOREREMOVE=1", k->name, -1);
    free(k);
}

void state_store_adopted_all(struct state_store *s)
{
    struct kept **at = &s->kept;

    while (*at) {
        if ((*at)->owned)
            at = &(*at)->next;
        else
            drop(s, at);
    }
}

static int make_file(const struct state_store *s, const char *name)
{
    int fd;

    if (s->dir >= 0)
        fd = openat(s->dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    else
        fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd < 0 ? -errno : fd;
}

/* A worker must not be able to shrink what its successor has mapped. */
static int set_size(const struct state_store *s, int fd, uint64_t size)
{
    if (size > INT64_MAX)
        return -EFBIG;
    if (ftruncate(fd, (off_t)size) < 0)
        return -errno;
    if (s->dir < 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return -errno;
    return 0;
}

static void forget(struct state_store *s, const char *prefix)
{
    struct kept **at = &s->kept;

    while (*at) {
        if (strncmp((*at)->name, prefix, strlen(prefix)) == 0)
            drop(s, at);
        else
            at = &(*at)->next;
    }
}

int state_store_create(struct state_store *s, uint32_t domid, uint32_t number, uint32_t pages,
                       uint64_t size)
{
    char prefix[NAME_SIZE], name[NAME_SIZE];
    struct kept *k;
    int fd, r;

    make_prefix(prefix, domid, number);
    forget(s, prefix);
    snprintf(name, sizeof(name), "viommu-%u-%u-%u", (unsigned)domid, (unsigned)number,
             (unsigned)pages);
    k = add(s, name, -1);
    if (!k)
        return -ENOMEM;
    k->owned = true;
    fd = make_file(s, k->name);
    r = fd < 0 ? fd : set_size(s, fd, size);
    if (r < 0) {
        if (fd >= 0)
            close(fd);
        forget(s, prefix);
        return r;
    }
    k->file = file_of(fd);
    if (s->dir < 0)
        tell_manager("FDSTORE=1", k->name, fd);
    return fd;
}

void state_store_remove(struct state_store *s, uint32_t domid, uint32_t number, int fd)
{
    char prefix[NAME_SIZE];
    const struct kept *k;

    make_prefix(prefix, domid, number);
    k = find(s, prefix);
    if (k && fd >= 0 && k->file == file_of(fd))
        forget(s, prefix);
}
