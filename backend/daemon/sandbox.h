/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a worker gives up before it reads the first byte of its guest (docs/threat-model.md). It
 * cannot be taken back, and holds for everything that the process does from then on.
 *
 * The parts are independent, so that each stops what it can where another one is not to be had: a
 * private view needs CAP_SYS_ADMIN, Landlock a kernel that has it, the filter libseccomp.
 */
#ifndef VIOMMU_BACKEND_DAEMON_SANDBOX_H
#define VIOMMU_BACKEND_DAEMON_SANDBOX_H

#include "common/compiler.h"
#include "common/ioctl_list.h"

#include <sys/types.h>

enum sandbox_part {
    SANDBOX_LIMITS = 1,   /* resource limits, and the first to go when memory is short */
    SANDBOX_VIEW = 2,     /* mount, IPC, network and host name of its own; its root is all but
                           * empty. Skipped without CAP_SYS_ADMIN. */
    SANDBOX_IDENTITY = 4, /* no capability, no new privileges, not traceable, another user if
                           * one is named */
    SANDBOX_PATHS = 8,    /* Landlock: the same paths. Skipped when the kernel lacks it. */
    SANDBOX_FILTER = 16,  /* system calls. Skipped when built without libseccomp. */
    SANDBOX_ALL = 31,
};

struct sandbox_user {
    uid_t uid;
    gid_t gid;
};

#define SANDBOX_MAX_LISTS 2

struct sandbox {
    unsigned parts;
    const struct sandbox_user *user; /* NULL: as it is */
    struct ioctl_list ioctls[SANDBOX_MAX_LISTS];
};

/*
 * Enters: *entered_out has the parts that are in force. -errno with a reason when a part that was
 * wanted and should have worked did not; the process is then good for nothing but to end. The
 * process has one thread.
 */
MUST_CHECK int sandbox_enter(const struct sandbox *s, unsigned *entered_out, char *why,
                             size_t why_size);

/* "limits, view, ..."; "nothing". Returns buf. */
const char *sandbox_parts_text(unsigned parts, char *buf, size_t size);

/*
 * A user and its primary group by name or number, for struct sandbox_user. -ENOENT; -EINVAL for
 * user 0. Reads the user database: not for a process in a sandbox.
 */
MUST_CHECK int sandbox_user_find(const char *name, struct sandbox_user *out);

#endif
