/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The files that a worker can still reach, twice: as the only mounts of a root of its own, and as
 * Landlock rules. They are what opening a VFIO endpoint needs (backend/iommu/host_device.c, vfio.c,
 * iommufd.c), which may happen at any time; nothing else is opened in a sandbox.
 *
 * Both are bound to what is there when the sandbox is entered: a host that loads its VFIO modules
 * later has no /dev/vfio for workers that run already (docs/operations.md).
 */
#include <config.h>

#include "backend/daemon/sandbox_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static const struct reachable {
    const char *path;
    bool directory;
    bool device; /* to be opened for reading and writing */
} reachable[] = {
    {"/sys", true, false},
    {"/proc/iomem", false, false},
    {"/dev/vfio", true, true},
    {"/dev/iommu", false, true},
};

/* --- view ------------------------------------------------------------------------------------- */

/* Any directory does: it only carries the new root until that is the root. */
static const char *find_stage(void)
{
    static const char *const candidates[] = {"/tmp", "/run", "/mnt", "/var", "/etc"};

    for (size_t i = 0; i < ARRAY_SIZE(candidates); i++) {
        if (access(candidates[i], X_OK) == 0)
            return candidates[i];
    }
    return NULL;
}

static int make_target(const struct reachable *item, const char *stage, char *path)
{
    /* "/tmp/dev/vfio": the directories on the way, then the thing itself. */
    for (char *slash = path + strlen(stage) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = '\0';
        if (mkdir(path, 0755) < 0 && errno != EEXIST)
            return -errno;
        *slash = '/';
    }
    if (item->directory)
        return mkdir(path, 0755) < 0 && errno != EEXIST ? -errno : 0;
    return mknod(path, S_IFREG | 0444, 0) < 0 && errno != EEXIST ? -errno : 0;
}

/* A bind mount takes no flags, so these come with a second call. */
static int bind_item(const struct reachable *item, const char *stage)
{
    unsigned long flags = MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NOEXEC;
    char target[64];
    int r;

    if (access(item->path, F_OK) < 0)
        return 0;
    snprintf(target, sizeof(target), "%s%s", stage, item->path);
    r = make_target(item, stage, target);
    if (r < 0)
        return r;
    /* Not recursive: of /sys only sysfs itself, no cgroups, no debugfs. */
    if (mount(item->path, target, NULL, MS_BIND, NULL) < 0)
        return -errno;
    if (!item->device)
        flags |= MS_NODEV;
    return mount(NULL, target, NULL, flags, NULL) < 0 ? -errno : 0;
}

/*
 * The stage becomes the root. An initramfs cannot be pivoted away (EINVAL): there the stage is
 * moved over it, as switch_root(8) does, and without CAP_SYS_CHROOT nobody gets below it.
 */
static int change_root(const char *stage)
{
    if (chdir(stage) < 0)
        return -errno;
    if (syscall(SYS_pivot_root, ".", ".") == 0) {
        /* The old root is now mounted on top of the new one. */
        if (umount2(".", MNT_DETACH) < 0)
            return -errno;
    } else if (errno != EINVAL || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0) {
        return -errno;
    }
    return chdir("/") < 0 ? -errno : 0;
}

int sandbox_view(void)
{
    const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    const char *stage = find_stage();
    int r;

    if (!stage)
        return -ENOENT;
    if (unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWUTS) < 0) {
        /* A service manager's filter (RestrictNamespaces=) or a kernel without one of them. */
        return errno == EPERM || errno == ENOSYS || errno == EINVAL ? 0 : -errno;
    }
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", stage, "tmpfs", flags, "size=64k,nr_inodes=32,mode=0755") < 0)
        return -errno;
    for (size_t i = 0; i < ARRAY_SIZE(reachable); i++) {
        r = bind_item(&reachable[i], stage);
        if (r < 0)
            return r;
    }
    r = change_root(stage);
    if (r < 0)
        return r;
    return mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | flags, NULL) < 0 ? -errno : 1;
}

/* --- paths ------------------------------------------------------------------------------------ */

/*
 * Landlock's interface in names of our own: the headers of many systems know only its beginning
 * (Debian 12: version 2). The kernel takes a struct as long as its version knows it.
 */
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule       445
#define SYS_landlock_restrict_self  446
#endif

#define LL_VERSION   1u /* flag: only tell the version */
#define LL_PATH_RULE 1

#define LL_WRITE_FILE (1ull << 1)
#define LL_READ_FILE  (1ull << 2)
#define LL_READ_DIR   (1ull << 3)
#define LL_REFER      (1ull << 13) /* version 2 */
#define LL_TRUNCATE   (1ull << 14) /* version 3 */
#define LL_ALL_V1     ((1ull << 13) - 1)

#define LL_NET_ALL   3ull /* version 4: bind and connect of TCP */
#define LL_SCOPE_ALL 3ull /* version 6: abstract sockets, and signals to other processes */

struct ll_ruleset {
    uint64_t fs;
    uint64_t net;
    uint64_t scoped;
};

struct ll_path {
    uint64_t allowed;
    int32_t fd;
} __attribute__((packed));

static size_t ruleset_for(long version, struct ll_ruleset *out)
{
    *out = (struct ll_ruleset){.fs = LL_ALL_V1};
    if (version >= 2)
        out->fs |= LL_REFER;
    if (version >= 3)
        out->fs |= LL_TRUNCATE;
    if (version >= 4)
        out->net = LL_NET_ALL;
    if (version >= 6)
        out->scoped = LL_SCOPE_ALL;
    if (version >= 6)
        return sizeof(*out);
    return version >= 4 ? offsetof(struct ll_ruleset, scoped) : offsetof(struct ll_ruleset, net);
}

static int add_rule(int ruleset, const struct reachable *item)
{
    cleanup_fd int fd = open(item->path, O_PATH | O_CLOEXEC);
    struct ll_path rule = {.allowed = LL_READ_FILE, .fd = fd};

    if (fd < 0) /* not here, or (another user) not for us */
        return errno == ENOENT || errno == EACCES ? 0 : -errno;
    if (item->directory)
        rule.allowed |= LL_READ_DIR;
    if (item->device)
        rule.allowed |= LL_WRITE_FILE;
    return syscall(SYS_landlock_add_rule, ruleset, LL_PATH_RULE, &rule, 0) < 0 ? -errno : 0;
}

int sandbox_paths(void)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LL_VERSION);
    struct ll_ruleset attr;
    cleanup_fd int ruleset = -1;
    size_t size;

    /* ENOSYS: not built in; EOPNOTSUPP: switched off at boot; EPERM: a filter around us. */
    if (version < 1)
        return errno == ENOSYS || errno == EOPNOTSUPP || errno == EPERM ? 0 : -errno;
    size = ruleset_for(version, &attr);
    ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, size, 0);
    if (ruleset < 0)
        return -errno;
    for (size_t i = 0; i < ARRAY_SIZE(reachable); i++) {
        int r = add_rule(ruleset, &reachable[i]);

        if (r < 0)
            return r;
    }
    /* Without privilege, only a process that can gain none may restrict itself. */
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    return syscall(SYS_landlock_restrict_self, ruleset, 0) < 0 ? -errno : 1;
}
