/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The sandbox of a worker, in the one order that works: what needs privilege comes before the
 * privilege goes, and the filter, which forbids all of this, comes last.
 *
 * A worker holds what it was given before (platform files, its socket, standard error), so that a
 * guest that has taken it over has these and nothing else.
 */
#include <config.h>

#include "backend/daemon/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "backend/daemon/sandbox_priv.h"
#include "common/strutil.h"

/* Before the supervisor and the rest of the domain: a worker costs one guest, and is replaced. */
#define OOM_SCORE 200
/* Device files and lifelines of endpoints; the guest's memory costs none. */
#define MAX_FILES 4096u

/* --- capabilities ----------------------------------------------------------------------------- */

static int read_capabilities(struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3])
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};

    return syscall(SYS_capget, &head, caps) < 0 ? -errno : 0;
}

static bool have_capability(unsigned cap)
{
    struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3];

    return read_capabilities(caps) == 0 &&
           (caps[CAP_TO_INDEX(cap)].effective & CAP_TO_MASK(cap)) != 0;
}

/* Also from the bounding set, where that is allowed: nothing is executed any more anyway. */
static int drop_bounding(void)
{
    if (!have_capability(CAP_SETPCAP))
        return 0;
    for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++) {
        if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
            return -errno;
    }
    return 0;
}

static int drop_capabilities(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{.effective = 0}};

    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        return -errno;
    return syscall(SYS_capset, &head, none) < 0 ? -errno : 0;
}

/* --- limits ----------------------------------------------------------------------------------- */

static int limit(int resource, rlim_t value)
{
    struct rlimit r;

    if (getrlimit(resource, &r) < 0)
        return -errno;
    if (r.rlim_max > value)
        r.rlim_max = value;
    r.rlim_cur = r.rlim_max;
    return setrlimit(resource, &r) < 0 ? -errno : 0;
}

/*
 * With CAP_IPC_LOCK the pins of VFIO had no limit, and the lease of pages is what bounds them: that
 * stays so when the capability goes. Without it the limit is the administrator's and is left alone.
 */
static void keep_pins(void)
{
    const struct rlimit none = {RLIM_INFINITY, RLIM_INFINITY};

    if (have_capability(CAP_IPC_LOCK))
        (void)setrlimit(RLIMIT_MEMLOCK, &none);
}

/* Only upwards: somebody else may have said that this process matters even less. */
static int set_oom_score(void)
{
    cleanup_fd int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
    char text[16] = "";
    ssize_t n;

    if (fd < 0)
        return errno == ENOENT ? 0 : -errno; /* no /proc here */
    n = read(fd, text, sizeof(text) - 1);
    if (n < 0)
        return -errno;
    if (strtol(text, NULL, 10) >= OOM_SCORE)
        return 0;
    n = snprintf(text, sizeof(text), "%d", OOM_SCORE);
    return pwrite(fd, text, (size_t)n, 0) == n ? 0 : -errno;
}

static int set_limits(void)
{
    static const struct {
        int resource;
        rlim_t value;
    } table[] = {
        {RLIMIT_CORE, 0},     {RLIMIT_NPROC, 0},  {RLIMIT_NOFILE, MAX_FILES},
        {RLIMIT_MSGQUEUE, 0}, {RLIMIT_RTPRIO, 0}, {RLIMIT_FSIZE, 0},
    };
    struct stat st;

    keep_pins();
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        int r;

        /* A log that goes to a file has to grow. */
        if (table[i].resource == RLIMIT_FSIZE && fstat(STDERR_FILENO, &st) == 0 &&
            S_ISREG(st.st_mode))
            continue;
        r = limit(table[i].resource, table[i].value);
        if (r < 0)
            return r;
    }
    return set_oom_score();
}

/* --- identity --------------------------------------------------------------------------------- */

int sandbox_user_find(const char *name, struct sandbox_user *out)
{
    const struct passwd *pw = getpwnam(name);
    uint32_t uid;

    if (!pw && parse_u32(name, UINT32_MAX - 1, &uid) == 0)
        pw = getpwuid(uid);
    if (!pw)
        return -ENOENT;
    if (pw->pw_uid == 0)
        return -EINVAL;
    *out = (struct sandbox_user){.uid = pw->pw_uid, .gid = pw->pw_gid};
    return 0;
}

static int become(const struct sandbox_user *user)
{
    if (setgroups(0, NULL) < 0 || setresgid(user->gid, user->gid, user->gid) < 0 ||
        setresuid(user->uid, user->uid, user->uid) < 0)
        return -errno;
    return 0;
}

/* Not dumpable: a worker of the same user cannot trace this one or read its memory. */
static int set_identity(const struct sandbox_user *user)
{
    int r = drop_bounding();

    if (r == 0 && user)
        r = become(user);
    if (r == 0)
        r = drop_capabilities();
    if (r < 0)
        return r;
    /* Changing the user has cleared the signal for the supervisor's death. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_SET_DUMPABLE, 0) < 0)
        return -errno;
    return 0;
}

/* --- all of it -------------------------------------------------------------------------------- */

static int enter_limits(const struct sandbox *s, unsigned entered)
{
    int r = set_limits();

    (void)s;
    (void)entered;
    return r < 0 ? r : 1;
}

static int enter_view(const struct sandbox *s, unsigned entered)
{
    (void)s;
    (void)entered;
    return have_capability(CAP_SYS_ADMIN) ? sandbox_view() : 0;
}

static int enter_identity(const struct sandbox *s, unsigned entered)
{
    int r = set_identity(s->user);

    (void)entered;
    return r < 0 ? r : 1;
}

static int enter_paths(const struct sandbox *s, unsigned entered)
{
    (void)s;
    (void)entered;
    return sandbox_paths();
}

static const struct {
    enum sandbox_part part;
    const char *name;
    int (*enter)(const struct sandbox *s, unsigned entered);
} parts[] = {
    {SANDBOX_LIMITS, "limits", enter_limits},       {SANDBOX_VIEW, "view", enter_view},
    {SANDBOX_IDENTITY, "identity", enter_identity}, {SANDBOX_PATHS, "paths", enter_paths},
    {SANDBOX_FILTER, "filter", sandbox_filter},
};

int sandbox_enter(const struct sandbox *s, unsigned *entered_out, char *why, size_t why_size)
{
    unsigned entered = 0;

    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        int r;

        if (!(s->parts & (unsigned)parts[i].part))
            continue;
        r = parts[i].enter(s, entered);
        if (r < 0) {
            snprintf(why, why_size, "sandbox: %s: %s", parts[i].name, strerror(-r));
            return r;
        }
        if (r > 0)
            entered |= (unsigned)parts[i].part;
    }
    *entered_out = entered;
    return 0;
}

const char *sandbox_parts_text(unsigned set, char *buf, size_t size)
{
    size_t at = 0;

    snprintf(buf, size, "nothing");
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        if ((set & (unsigned)parts[i].part) && at < size)
            at += (size_t)snprintf(buf + at, size - at, "%s%s", at ? ", " : "", parts[i].name);
    }
    return buf;
}
