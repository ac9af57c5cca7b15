/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The system calls of a worker, by libseccomp: an allow-list of what serving a guest takes. Of the
 * rest, what only an attacker would try ends the process; a call that merely is not listed (a libc
 * that learned something new) is refused with EPERM and does not cost a guest its device.
 *
 * A filter sees numbers, not paths and not what a descriptor is: paths are sandbox_view.c's, and
 * files are opened before or through it.
 */
#include <config.h>

#include "backend/daemon/sandbox_priv.h"

#ifdef HAVE_SECCOMP

#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <stdint.h>
#include <sys/mman.h>

/* Allowed whatever the arguments are. */
static const int plain_calls[] = {
    /* descriptors that are open */
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(readv),
    SCMP_SYS(writev),
    SCMP_SYS(pread64),
    SCMP_SYS(pwrite64),
    SCMP_SYS(close),
    SCMP_SYS(lseek),
    SCMP_SYS(fstat),
    SCMP_SYS(newfstatat),
    SCMP_SYS(statx),
    SCMP_SYS(pipe2),
    SCMP_SYS(eventfd2),
    SCMP_SYS(getdents64),
    /* messages on the sockets that are open; syslog() */
    SCMP_SYS(sendmsg),
    SCMP_SYS(recvmsg),
    SCMP_SYS(sendto),
    SCMP_SYS(recvfrom),
    /* the loop */
    SCMP_SYS(epoll_create1),
    SCMP_SYS(epoll_ctl),
    SCMP_SYS(epoll_wait),
    SCMP_SYS(epoll_pwait),
    SCMP_SYS(epoll_pwait2),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(restart_syscall),
    /* memory: mmap and mprotect are below */
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    SCMP_SYS(brk),
    /* time, chance, identity, waiting, ending */
    SCMP_SYS(clock_gettime),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(getrandom),
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(futex),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(sched_yield),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
};

/* With a view or Landlock only: what they find is decided there. */
static const int path_calls[] = {
    SCMP_SYS(access),   SCMP_SYS(faccessat),  SCMP_SYS(faccessat2),
    SCMP_SYS(readlink), SCMP_SYS(readlinkat),
};

/* No sound worker ever makes these: the process ends, and the audit log says which it was. */
static const int deadly_calls[] = {
    SCMP_SYS(execve),
    SCMP_SYS(execveat),
    SCMP_SYS(fork),
    SCMP_SYS(vfork),
    SCMP_SYS(clone),
    SCMP_SYS(clone3),
    SCMP_SYS(ptrace),
    SCMP_SYS(process_vm_readv),
    SCMP_SYS(process_vm_writev),
    SCMP_SYS(pidfd_open),
    SCMP_SYS(pidfd_getfd),
    SCMP_SYS(pidfd_send_signal),
    SCMP_SYS(kill),
    SCMP_SYS(tkill),
    SCMP_SYS(rt_sigqueueinfo),
    SCMP_SYS(mount),
    SCMP_SYS(umount2),
    SCMP_SYS(move_mount),
    SCMP_SYS(open_tree),
    SCMP_SYS(fsopen),
    SCMP_SYS(pivot_root),
    SCMP_SYS(chroot),
    SCMP_SYS(unshare),
    SCMP_SYS(setns),
    SCMP_SYS(bpf),
    SCMP_SYS(userfaultfd),
    SCMP_SYS(perf_event_open),
    SCMP_SYS(io_uring_setup),
    SCMP_SYS(keyctl),
    SCMP_SYS(add_key),
    SCMP_SYS(init_module),
    SCMP_SYS(finit_module),
    SCMP_SYS(kexec_load),
    SCMP_SYS(kexec_file_load),
    SCMP_SYS(reboot),
    SCMP_SYS(setuid),
    SCMP_SYS(setresuid),
    SCMP_SYS(setreuid),
    SCMP_SYS(setgid),
    SCMP_SYS(setresgid),
    SCMP_SYS(setregid),
    SCMP_SYS(setgroups),
    SCMP_SYS(capset),

    SCMP_SYS(shmat),
    SCMP_SYS(open_by_handle_at),
};

/* F_SETLK: the lock of a state file. F_SETOWN is not here: it sends signals to any process. */
static const uint32_t fcntl_commands[] = {
    F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC, F_SETLK,
};

/* Flags that make, change or grow a file. */
#define OPEN_FORBIDDEN \
    ((uint64_t)(O_CREAT | O_TRUNC | O_APPEND | O_TMPFILE | O_PATH) & ~(uint64_t)O_DIRECTORY)

static int add_calls(scmp_filter_ctx f, uint32_t action, const int *calls, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int r = seccomp_rule_add(f, action, calls[i], 0);

        if (r < 0)
            return r;
    }
    return 0;
}

/* The kernel looks at the low half of a command or request only, and so do these. */
static int allow_value(scmp_filter_ctx f, int call, unsigned arg, uint32_t value)
{
    const struct scmp_arg_cmp cmp = {
        .arg = arg, .op = SCMP_CMP_MASKED_EQ, .datum_a = UINT32_MAX, .datum_b = value};

    return seccomp_rule_add_array(f, SCMP_ACT_ALLOW, call, 1, &cmp);
}

static int allow_without(scmp_filter_ctx f, int call, unsigned arg, uint64_t bits)
{
    const struct scmp_arg_cmp cmp = {.arg = arg, .op = SCMP_CMP_MASKED_EQ, .datum_a = bits};

    return seccomp_rule_add_array(f, SCMP_ACT_ALLOW, call, 1, &cmp);
}

static int add_ioctls(scmp_filter_ctx f, const struct sandbox *s)
{
    for (size_t i = 0; i < SANDBOX_MAX_LISTS; i++) {
        for (size_t k = 0; k < s->ioctls[i].n; k++) {
            int r = allow_value(f, SCMP_SYS(ioctl), 1, (uint32_t)s->ioctls[i].requests[k]);

            if (r < 0)
                return r;
        }
    }
    return 0;
}

static int add_checked_calls(scmp_filter_ctx f, unsigned entered)
{
    int r = allow_without(f, SCMP_SYS(mmap), 2, PROT_EXEC);

    if (r == 0)
        r = allow_without(f, SCMP_SYS(mprotect), 2, PROT_EXEC);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(fcntl_commands); i++)
        r = allow_value(f, SCMP_SYS(fcntl), 1, fcntl_commands[i]);
    /* abort() signals its own thread; no other process can be named. */
    if (r == 0)
        r = allow_value(f, SCMP_SYS(tgkill), 0, (uint32_t)getpid());
    if (r < 0 || !(entered & (unsigned)(SANDBOX_VIEW | SANDBOX_PATHS)))
        return r;
    r = allow_without(f, SCMP_SYS(openat), 2, OPEN_FORBIDDEN);
    return r < 0 ? r : add_calls(f, SCMP_ACT_ALLOW, path_calls, ARRAY_SIZE(path_calls));
}

static int build(scmp_filter_ctx f, const struct sandbox *s, unsigned entered)
{
    /* Other ABIs of the same machine (32 bits, x32) have numbers of their own: none of them. */
    int r = seccomp_attr_set(f, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);

    if (r == 0)
        r = add_calls(f, SCMP_ACT_ALLOW, plain_calls, ARRAY_SIZE(plain_calls));
    if (r == 0)
        r = add_calls(f, SCMP_ACT_KILL_PROCESS, deadly_calls, ARRAY_SIZE(deadly_calls));
    if (r == 0)
        r = add_checked_calls(f, entered);
    return r == 0 ? add_ioctls(f, s) : r;
}

int sandbox_filter(const struct sandbox *s, unsigned entered)
{
    scmp_filter_ctx f = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    int r;

    if (!f)
        return -ENOMEM;
    r = build(f, s, entered);
    if (r == 0)
        r = seccomp_load(f);
    seccomp_release(f);
    return r < 0 ? r : 1;
}

#else

int sandbox_filter(const struct sandbox *s, unsigned entered)
{
    (void)s;
    (void)entered;
    return 0;
}

#endif
