/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The worker's sandbox, attacked from inside: each attack runs in a process of its own, first with
 * no sandbox (it must succeed, or it proves nothing), then behind each part that is said to stop it
 * with all the others off, then behind all of them. Attacks that need privilege run as root only.
 */
#include <config.h>

#include "backend/daemon/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>

#include "tests/support/ut.h"

#ifdef HAVE_SECCOMP
#define HAVE_FILTER 1
#else
#define HAVE_FILTER 0
#endif

/* What the sandbox lets pass; FIONREAD stands for any other. */
static const unsigned long allowed_requests[] = {TIOCOUTQ};
static int pipe_fds[2];
static int grown_fd; /* an empty file, open for writing */
static pid_t victim; /* a process that attacks can be aimed at */
static char file[] = "/tmp/test_sandbox.XXXXXX";

/* 0 for an attack that succeeded, else errno. */
static int outcome(bool success)
{
    return success ? 0 : errno ? errno : EIO;
}

/* --- attacks ---------------------------------------------------------------------------------- */

static int run_a_program(void)
{
    execl("/bin/true", "true", (char *)NULL);
    return outcome(false);
}

static int start_a_process(void)
{
    pid_t pid = fork();

    if (pid == 0)
        _exit(0);
    return outcome(pid > 0);
}

static int open_a_socket(void)
{
    return outcome(socket(AF_UNIX, SOCK_STREAM, 0) >= 0);
}

static int write_a_file(void)
{
    return outcome(open(file, O_WRONLY) >= 0);
}

static int make_a_file(void)
{
    char name[sizeof(file) + 4];

    snprintf(name, sizeof(name), "%s.new", file);
    return outcome(open(name, O_RDWR | O_CREAT | O_TRUNC, 0600) >= 0);
}

static int read_a_file(void)
{
    return outcome(open("/etc/passwd", O_RDONLY) >= 0);
}

static int list_a_folder(void)
{
    return outcome(open("/etc", O_RDONLY | O_DIRECTORY) >= 0);
}

static int remove_a_file(void)
{
    return outcome(unlink(file) == 0);
}

static int trace_a_process(void)
{
    return outcome(ptrace(PTRACE_ATTACH, victim, NULL, NULL) == 0);
}

static int signal_a_process(void)
{
    return outcome(kill(victim, SIGURG) == 0);
}

static int signal_its_thread(void)
{
    return outcome(syscall(SYS_tgkill, victim, victim, SIGURG) == 0);
}

/* Signals by the back door: an owner of a descriptor gets SIGIO. */
static int own_a_descriptor(void)
{
    return outcome(fcntl(pipe_fds[0], F_SETOWN, victim) == 0);
}

static int forbidden_ioctl(void)
{
    int n;

    return outcome(ioctl(pipe_fds[0], FIONREAD, &n) == 0);
}

/* The kernel ignores the upper half, so a filter that compares all of it could be gone around. */
static int forbidden_ioctl_in_disguise(void)
{
    int n;

    return outcome(syscall(SYS_ioctl, pipe_fds[0], FIONREAD | (1ul << 32), &n) == 0);
}

static int make_memory_executable(void)
{
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return outcome(p != MAP_FAILED && mprotect(p, 4096, PROT_READ | PROT_EXEC) == 0);
}

static int map_executable_memory(void)
{
    return outcome(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
                   MAP_FAILED);
}

static int make_a_memory_file(void)
{
    return outcome(memfd_create("test", 0) >= 0);
}

static int mount_something(void)
{
    return outcome(mount("none", "/", "tmpfs", 0, NULL) == 0);
}

static int change_the_root(void)
{
    return outcome(chroot("/") == 0);
}

static int new_namespace(void)
{
    return outcome(unshare(CLONE_NEWUTS) == 0);
}

static int become_another_user(void)
{
    return outcome(setresuid(65534, 65534, 65534) == 0);
}

static int open_a_raw_socket(void)
{
    return outcome(socket(AF_INET, SOCK_RAW, 1) >= 0);
}

static int set_the_host_name(void)
{
    char name[65];

    return outcome(gethostname(name, sizeof(name)) == 0 && sethostname(name, strlen(name)) == 0);
}

static int dump_memory(void)
{
    return outcome(prctl(PR_GET_DUMPABLE) == 1);
}

static int gain_by_execution(void)
{
    return outcome(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0);
}

static int hold_a_capability(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3] = {{.effective = 0}};
    uint32_t any = 0;

    errno = EPERM;
    if (syscall(SYS_capget, &head, caps) < 0)
        return errno;
    for (size_t i = 0; i < ARRAY_SIZE(caps); i++)
        any |= caps[i].effective | caps[i].permitted | caps[i].inheritable;
    if (prctl(PR_CAPBSET_READ, CAP_SYS_ADMIN, 0, 0, 0) == 1)
        any = 1;
    return outcome(any != 0);
}

static int live_longer_than_others(void)
{
    char text[16] = "";
    int fd = open("/proc/self/oom_score_adj", O_RDONLY);
    ssize_t n = read(fd, text, sizeof(text) - 1);

    errno = EPERM;
    return outcome(n > 0 && strtol(text, NULL, 10) < 200);
}

static int use_many_files(void)
{
    struct rlimit r;

    errno = EPERM;
    return outcome(getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_max > 4096);
}

static int leave_a_process(void)
{
    struct rlimit r;

    errno = EPERM;
    return outcome(getrlimit(RLIMIT_NPROC, &r) == 0 && r.rlim_max > 0);
}

/* Not by asking what the limits are: a file that is open already. */
static int grow_a_file(void)
{
    (void)signal(SIGXFSZ, SIG_IGN);
    return outcome(write(grown_fd, "x", 1) == 1);
}

static int set_a_limit(void)
{
    struct rlimit r;

    return outcome(getrlimit(RLIMIT_CORE, &r) == 0 && setrlimit(RLIMIT_CORE, &r) == 0);
}

/* Back to where it was is allowed without privilege. */
static int be_spared_by_writing(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY);

    return outcome(fd >= 0 && write(fd, "0", 1) == 1);
}

static int become_traceable_again(void)
{
    return outcome(prctl(PR_SET_DUMPABLE, 1) == 0);
}

static int take_a_capability(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3] = {{.effective = 0}};
    const uint32_t wanted = CAP_TO_MASK(CAP_SYS_ADMIN);

    caps[CAP_TO_INDEX(CAP_SYS_ADMIN)].effective = wanted;
    caps[CAP_TO_INDEX(CAP_SYS_ADMIN)].permitted = wanted;
    return outcome(syscall(SYS_capset, &head, caps) == 0);
}

#define ROOT true
#define ANY  false

static const struct attack {
    const char *name;
    int (*run)(void);
    unsigned stopped_by; /* by each of these parts alone */
    bool root;           /* succeeds only as root without a sandbox */
} attacks[] = {
    {"run a program", run_a_program, SANDBOX_FILTER | SANDBOX_PATHS | SANDBOX_VIEW, ANY},
    {"start a process", start_a_process, SANDBOX_FILTER, ANY},
    {"open a socket", open_a_socket, SANDBOX_FILTER, ANY},
    {"write a file", write_a_file, SANDBOX_FILTER | SANDBOX_PATHS | SANDBOX_VIEW, ANY},
    {"make a file", make_a_file, SANDBOX_FILTER | SANDBOX_PATHS | SANDBOX_VIEW, ANY},
    {"read a file", read_a_file, SANDBOX_FILTER | SANDBOX_PATHS | SANDBOX_VIEW, ANY},
    {"list a folder", list_a_folder, SANDBOX_FILTER | SANDBOX_PATHS | SANDBOX_VIEW, ANY},
    {"remove a file", remove_a_file, SANDBOX_FILTER | SANDBOX_PATHS | SANDBOX_VIEW, ANY},
    {"trace a process", trace_a_process, SANDBOX_FILTER | SANDBOX_PATHS, ANY},
    {"signal a process", signal_a_process, SANDBOX_FILTER, ANY},
    {"signal a thread", signal_its_thread, SANDBOX_FILTER, ANY},
    {"own a descriptor", own_a_descriptor, SANDBOX_FILTER, ANY},
    {"a forbidden ioctl", forbidden_ioctl, SANDBOX_FILTER, ANY},
    {"an ioctl in disguise", forbidden_ioctl_in_disguise, SANDBOX_FILTER, ANY},
    {"make memory executable", make_memory_executable, SANDBOX_FILTER, ANY},
    {"map executable memory", map_executable_memory, SANDBOX_FILTER, ANY},
    {"make a memory file", make_a_memory_file, SANDBOX_FILTER, ANY},
    {"leave a process behind", leave_a_process, SANDBOX_LIMITS, ANY},
    {"be spared when memory is short", live_longer_than_others, SANDBOX_LIMITS, ANY},
    {"use many files", use_many_files, SANDBOX_LIMITS, ANY},
    {"grow a file", grow_a_file, SANDBOX_LIMITS, ANY},
    {"set a limit", set_a_limit, SANDBOX_FILTER, ANY},
    {"be spared by saying so", be_spared_by_writing, SANDBOX_FILTER | SANDBOX_PATHS | SANDBOX_VIEW,
     ANY},
    {"be traced", dump_memory, SANDBOX_IDENTITY, ANY},
    {"become traceable again", become_traceable_again, SANDBOX_FILTER, ANY},
    {"gain privilege by execution", gain_by_execution, SANDBOX_IDENTITY, ANY},
    {"mount", mount_something, SANDBOX_FILTER | SANDBOX_IDENTITY | SANDBOX_PATHS, ROOT},
    {"change the root", change_the_root, SANDBOX_FILTER | SANDBOX_IDENTITY, ROOT},
    {"a new namespace", new_namespace, SANDBOX_FILTER | SANDBOX_IDENTITY, ROOT},
    {"become another user", become_another_user, SANDBOX_FILTER | SANDBOX_IDENTITY, ROOT},
    {"open a raw socket", open_a_raw_socket, SANDBOX_FILTER | SANDBOX_IDENTITY, ROOT},
    {"set the host name", set_the_host_name, SANDBOX_FILTER | SANDBOX_IDENTITY, ROOT},
    {"hold a capability", hold_a_capability, SANDBOX_IDENTITY, ROOT},
    {"take a capability", take_a_capability, SANDBOX_FILTER | SANDBOX_IDENTITY, ROOT},
};

/* --- running them ----------------------------------------------------------------------------- */

#define CANNOT_ENTER 250

static bool is_root(void)
{
    return geteuid() == 0;
}

static int enter(unsigned parts, unsigned *entered_out)
{
    const struct sandbox s = {
        .parts = parts,
        .ioctls = {{allowed_requests, ARRAY_SIZE(allowed_requests)}},
    };
    char why[256];

    return sandbox_enter(&s, entered_out, why, sizeof(why));
}

/* A log that is a file may grow, and with it every other one: the sandbox must find none. */
static void log_elsewhere(void)
{
    int fd = open("/dev/null", O_WRONLY);

    if (fd < 0 || dup2(fd, STDERR_FILENO) < 0)
        _exit(CANNOT_ENTER);
}

/* Attacks on mounts and names must not hit the machine that runs the tests. */
static void shelter(void)
{
    if (is_root() && unshare(CLONE_NEWNS | CLONE_NEWUTS) == 0)
        (void)mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
    grown_fd = open(file, O_WRONLY | O_CLOEXEC);
    if (grown_fd < 0 || pipe(pipe_fds) < 0)
        _exit(CANNOT_ENTER);
    log_elsewhere();
}

/* In a process of its own: 0 the attack succeeded, errno, or -SIGSYS for one that was killed. */
static int attack(const struct attack *a, unsigned parts)
{
    pid_t pid = fork();
    unsigned entered = 0;
    int status;

    if (pid == 0) {
        shelter();
        if (parts && (enter(parts, &entered) < 0 || entered != parts))
            _exit(CANNOT_ENTER);
        errno = 0;
        _exit(a->run() & 0x7f);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return CANNOT_ENTER;
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

/* The parts that can be had here: all, but for privilege, an old kernel, a build without them. */
static unsigned available;

static bool find_available(void)
{
    int report[2];
    pid_t pid;

    if (pipe(report) < 0)
        return false;
    pid = fork();
    if (pid == 0) {
        shelter();
        if (enter(SANDBOX_ALL, &available) < 0)
            available = 0;
        _exit(write(report[1], &available, sizeof(available)) < 0);
    }
    close(report[1]);
    if (read(report[0], &available, sizeof(available)) != (ssize_t)sizeof(available))
        available = 0;
    close(report[0]);
    return pid > 0 && waitpid(pid, NULL, 0) == pid && available != 0;
}

static void make_victim(void)
{
    int fd = mkstemp(file);

    if (fd >= 0)
        close(fd);
    victim = fork();
    if (victim == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
            pause();
    }
}

static void end_victim(void)
{
    (void)kill(victim, SIGKILL);
    (void)waitpid(victim, NULL, 0);
    (void)unlink(file);
}

/* The attack that removes the file needs it anew. */
static void renew_file(void)
{
    int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd >= 0)
        close(fd);
}

static void expect(const struct attack *a, unsigned parts, bool stopped)
{
    char text[64];
    int r;

    renew_file();
    r = attack(a, parts);
    if (r == CANNOT_ENTER || (r != 0) != stopped || (r < 0 && r != -SIGSYS))
        printf("# %s, behind %s: %d\n", a->name, sandbox_parts_text(parts, text, sizeof(text)), r);
    UT_TRUE(r != CANNOT_ENTER);
    UT_EQ(r != 0, stopped);
    UT_TRUE(r >= 0 || r == -SIGSYS);
}

static void each_attack_succeeds_without_a_sandbox(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(attacks); i++) {
        if (!attacks[i].root || is_root())
            expect(&attacks[i], 0, false);
    }
}

static void each_part_stops_its_attacks_alone(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(attacks); i++) {
        for (unsigned part = 1; part <= SANDBOX_FILTER; part <<= 1) {
            if ((attacks[i].stopped_by & part & available) && (!attacks[i].root || is_root()))
                expect(&attacks[i], part, true);
        }
    }
}

static void the_whole_sandbox_stops_every_attack(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(attacks); i++) {
        if (attacks[i].stopped_by & available)
            expect(&attacks[i], available, true);
    }
}

/* --- what a worker lives on ------------------------------------------------------------------- */

static int work_as_usual(void)
{
    char byte = 'x', text[8];
    int fd = eventfd(0, EFD_CLOEXEC), queued;
    void *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED || munmap(p, 1 << 20) < 0)
        return 1;
    p = realloc(malloc(1 << 20), 1 << 22);
    free(p);
    if (!p || fd < 0 || eventfd_write(fd, 1) < 0 || close(fd) < 0)
        return 2;
    if (write(pipe_fds[1], &byte, 1) != 1 || read(pipe_fds[0], &byte, 1) != 1)
        return 3;
    /* On a pipe this one means nothing, but it gets there. */
    if (ioctl(pipe_fds[0], TIOCOUTQ, &queued) < 0 && errno == EPERM)
        return 4;
    if (fcntl(pipe_fds[0], F_GETFD) < 0)
        return 5;
    /* VFIO's way: sysfs is there to read, when there is a way to limit what is opened. */
    if ((available & (unsigned)(SANDBOX_VIEW | SANDBOX_PATHS)) &&
        readlink("/sys/bus/none", text, sizeof(text)) < 0 && errno != ENOENT)
        return 6;
    if ((available & (unsigned)(SANDBOX_VIEW | SANDBOX_PATHS)) &&
        open("/sys/kernel", O_RDONLY | O_DIRECTORY) < 0)
        return 7;
    return 0;
}

static void a_worker_can_work_in_it(void)
{
    static const struct attack work = {.run = work_as_usual};

    UT_EQ(attack(&work, available), 0);
}

static int end_by_abort(void)
{
    abort();
}

static void a_failed_check_still_ends_it_as_such(void)
{
    static const struct attack end = {.run = end_by_abort};

    UT_EQ(attack(&end, available), -SIGABRT);
}

static void the_calls_of_an_attacker_end_the_process(void)
{
    static const char *const names[] = {"run a program",   "start a process",
                                        "trace a process", "signal a process",
                                        "mount",           "become another user"};

    for (size_t n = 0; HAVE_FILTER && n < ARRAY_SIZE(names); n++) {
        for (size_t i = 0; i < ARRAY_SIZE(attacks); i++) {
            if (strcmp(attacks[i].name, names[n]) == 0)
                UT_EQ(attack(&attacks[i], available), -SIGSYS);
        }
    }
}

/* --- user ------------------------------------------------------------------------------------- */

static int be_another_user(void)
{
    const struct sandbox_user nobody = {65534, 65534};
    const struct sandbox s = {
        .parts = SANDBOX_ALL & ~(unsigned)SANDBOX_FILTER,
        .user = &nobody,
    };
    unsigned entered;
    gid_t groups[4];
    int signo = 0;
    char why[256];

    if (sandbox_enter(&s, &entered, why, sizeof(why)) < 0)
        return 1;
    if (getuid() != 65534 || geteuid() != 65534 || getegid() != 65534 || getgroups(4, groups) != 0)
        return 2;
    /* It still ends with its supervisor. */
    if (prctl(PR_GET_PDEATHSIG, &signo) < 0 || signo != SIGKILL)
        return 3;
    return setresuid(0, 0, 0) == 0 ? 4 : 0;
}

static void a_worker_user_is_for_good(void)
{
    static const struct attack change = {.run = be_another_user};

    if (is_root())
        UT_EQ(attack(&change, 0), 0);
}

/* --- what nobody can be asked for ------------------------------------------------------------- */

#define REPORT_USER "--report-user"

/* This program once more, for everybody, owned by root and with the bit that makes them root. */
static bool make_set_user_id_program(const char *name)
{
    static char buf[65536];
    int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    int to = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
    ssize_t n = -1;

    while (from >= 0 && to >= 0 && (n = read(from, buf, sizeof(buf))) > 0) {
        if (write(to, buf, (size_t)n) != n)
            break;
    }
    if (from >= 0)
        close(from);
    if (to >= 0)
        close(to);
    return n == 0 && chmod(name, 04755) == 0;
}

static char program[sizeof(file) + 8];

/* As nobody, perhaps behind one part that says no_new_privs: is it root's program afterwards? */
static int run_set_user_id_program(bool sandbox)
{
    const struct sandbox_user nobody = {65534, 65534};
    const struct sandbox s = {.parts = SANDBOX_IDENTITY, .user = &nobody};
    unsigned entered;
    char why[256];

    if (sandbox && sandbox_enter(&s, &entered, why, sizeof(why)) < 0)
        return CANNOT_ENTER;
    if (!sandbox && setresuid(65534, 65534, 65534) < 0)
        return CANNOT_ENTER;
    execl(program, program, REPORT_USER, (char *)NULL);
    return CANNOT_ENTER;
}

static int run_it_freely(void)
{
    return run_set_user_id_program(false);
}

static int run_it_inside(void)
{
    return run_set_user_id_program(true);
}

static void a_set_user_id_program_gives_nothing(void)
{
    static const struct attack freely = {.run = run_it_freely}, inside = {.run = run_it_inside};

    snprintf(program, sizeof(program), "%s.suid", file);
    if (is_root() && make_set_user_id_program(program)) {
        /* Not on a file system without such programs. */
        if (attack(&freely, 0) == 0)
            UT_EQ(attack(&inside, 0), EPERM);
        else
            printf("# no set-user-id programs in /tmp\n");
    }
    (void)unlink(program);
}

#ifdef __x86_64__
/* getpid by the gate of 32-bit programs, whose numbers are others. */
static int call_by_another_gate(void)
{
    long r = 20;

    __asm__ volatile("int $0x80" : "+a"(r) : : "memory", "r8", "r9", "r10", "r11");
    errno = ENOSYS;
    return outcome(r == getpid());
}
#else
static int call_by_another_gate(void)
{
    return ENOSYS;
}
#endif

static void another_ABI_is_no_way_around_the_filter(void)
{
    static const struct attack other = {.run = call_by_another_gate};

    if (!HAVE_FILTER || attack(&other, 0) != 0)
        printf("# no filter, or a kernel without 32-bit programs\n");
    else
        UT_EQ(attack(&other, SANDBOX_FILTER), -SIGSYS);
}

/*
 * The administrator's limit of pinned memory stays; for root, for whom there was none, there is
 * none after the capability has gone. (Not for a root that cannot change limits, as in a
 * container.)
 */
static int pin_memory(void)
{
    const struct rlimit small = {65536, 65536}, none = {RLIM_INFINITY, RLIM_INFINITY};
    const struct sandbox s = {.parts = SANDBOX_LIMITS | SANDBOX_IDENTITY};
    struct rlimit before, after;
    size_t size = 1 << 22;
    unsigned entered;
    char why[256];
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bool lifted = setrlimit(RLIMIT_MEMLOCK, &none) == 0 && is_root();

    if (p == MAP_FAILED || (lifted && setrlimit(RLIMIT_MEMLOCK, &small) < 0) ||
        getrlimit(RLIMIT_MEMLOCK, &before) < 0 || sandbox_enter(&s, &entered, why, sizeof(why)) < 0)
        return CANNOT_ENTER;
    if (lifted)
        return outcome(mlock(p, size) == 0);
    errno = EPERM;
    return outcome(getrlimit(RLIMIT_MEMLOCK, &after) == 0 && after.rlim_cur == before.rlim_cur &&
                   after.rlim_max == before.rlim_max && mlock(p, 4096) == 0);
}

static void limits_leave_pins_alone(void)
{
    static const struct attack pin = {.run = pin_memory};

    UT_EQ(attack(&pin, 0), 0);
}

static void users_are_found_by_name_and_number(void)
{
    struct sandbox_user user = {7, 7};

    UT_EQ(sandbox_user_find("no-such-user-here", &user), -ENOENT);
    UT_EQ(sandbox_user_find("", &user), -ENOENT);
    UT_EQ(sandbox_user_find("0", &user), -EINVAL);
    UT_EQ(sandbox_user_find("root", &user), -EINVAL);
    UT_EQ(user.uid, 7);
    UT_EQ(sandbox_user_find("65534", &user), 0);
    UT_EQ(user.uid, 65534);
    UT_EQ(sandbox_user_find("nobody", &user), 0);
    UT_EQ(user.uid, 65534);
}

static void a_part_that_cannot_be_had_is_an_error_only_if_it_should_work(void)
{
    char text[64];

    UT_STR(sandbox_parts_text(0, text, sizeof(text)), "nothing");
    UT_STR(sandbox_parts_text(SANDBOX_ALL, text, sizeof(text)),
           "limits, view, identity, paths, filter");
    UT_STR(sandbox_parts_text(SANDBOX_ALL, text, 8), "limits,");
    UT_EQ((available & SANDBOX_FILTER) != 0, HAVE_FILTER);
    UT_TRUE(available & SANDBOX_LIMITS);
    UT_TRUE(available & SANDBOX_IDENTITY);
    printf("# available here: %s\n", sandbox_parts_text(available, text, sizeof(text)));
}

static const struct ut_case cases[] = {
    UT_CASE(a_part_that_cannot_be_had_is_an_error_only_if_it_should_work),
    UT_CASE(each_attack_succeeds_without_a_sandbox),
    UT_CASE(each_part_stops_its_attacks_alone),
    UT_CASE(the_whole_sandbox_stops_every_attack),
    UT_CASE(the_calls_of_an_attacker_end_the_process),
    UT_CASE(a_worker_can_work_in_it),
    UT_CASE(a_failed_check_still_ends_it_as_such),
    UT_CASE(a_worker_user_is_for_good),
    UT_CASE(a_set_user_id_program_gives_nothing),
    UT_CASE(another_ABI_is_no_way_around_the_filter),
    UT_CASE(limits_leave_pins_alone),
    UT_CASE(users_are_found_by_name_and_number),
};

int main(int argc, char **argv)
{
    int r;

    if (argc == 2 && strcmp(argv[1], REPORT_USER) == 0)
        return geteuid() == 0 ? 0 : EPERM;
    setvbuf(stdout, NULL, _IONBF, 0);
    make_victim();
    if (!find_available()) {
        end_victim();
        printf("# no part of the sandbox can be had here\n");
        return 77;
    }
    r = ut_main(argc, argv, "sandbox", cases, ARRAY_SIZE(cases));
    end_victim();
    return r;
}
