/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * When and how a worker enters its sandbox: at the end of its first good `start`, when the platform
 * is open and nothing of the guest has been read. What comes later (other starts, endpoints) lives
 * on what is left.
 */
#include <config.h>

#include "backend/daemon/worker_priv.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "backend/daemon/sandbox.h"
#include "backend/iommu/ioctls.h"

/*
 * A sanitizer's run-time starts threads, traces its own process and reads /proc: such a build is
 * for tests, and has no sandbox.
 */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define BUILT_WITH_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer)
#define BUILT_WITH_SANITIZER 1
#endif
#endif
#ifndef BUILT_WITH_SANITIZER
#define BUILT_WITH_SANITIZER 0
#endif

static int find_user(const struct worker *w, struct sandbox_user *user, struct sandbox *s,
                     char *why, size_t why_size)
{
    int r;

    if (!w->options->worker_user)
        return 0;
    r = sandbox_user_find(w->options->worker_user, user);
    if (r < 0)
        snprintf(why, why_size, "user %s: %s", w->options->worker_user, strerror(-r));
    s->user = user;
    return r;
}

int worker_sandbox(struct worker *w, char *why, size_t why_size)
{
    struct sandbox s = {
        .parts = SANDBOX_ALL,
        .ioctls = {w->brokered ? w->brokered->ioctls : w->ops->ioctls, iommu_ioctls},
    };
    struct sandbox_user user;
    unsigned entered = 0;
    char text[64];
    int r;

    if (w->sandboxed)
        return 0;
    if (!w->options->sandbox || BUILT_WITH_SANITIZER) {
        log_warn("no sandbox: a guest that takes this process over has all that the daemon has");
        w->sandboxed = true;
        return 0;
    }
    r = find_user(w, &user, &s, why, why_size);
    if (r == 0)
        r = sandbox_enter(&s, &entered, why, why_size);
    if (r < 0)
        return r;
    w->sandboxed = true;
    log_info("sandbox: %s", sandbox_parts_text(entered, text, sizeof(text)));
    if (!(entered & (unsigned)SANDBOX_FILTER))
        log_warn("sandbox: built without libseccomp: system calls are not filtered");
    return 0;
}
