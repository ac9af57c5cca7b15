/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where state files are kept (backend/daemon/statestore.h): a directory, and the descriptor store
 * of a service manager that this process stands in for.
 */
#include <config.h>

#include "backend/daemon/statestore.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/ut.h"

static char folder[] = "/tmp/ut-states-XXXXXX";

static void name_in(char *out, size_t size, const char *name)
{
    snprintf(out, size, "%s/%s", folder, name);
}

static bool exists(const char *name)
{
    char path[128];

    name_in(path, sizeof(path), name);
    return access(path, F_OK) == 0;
}

static bool folder_open(void)
{
    snprintf(folder, sizeof(folder), "/tmp/ut-states-XXXXXX");
    return mkdtemp(folder) != NULL;
}

/* --- a directory --------------------------------------------------------------------------------
 */

static void a_file_outlives_the_store_that_made_it(void)
{
    struct state_store *s;
    uint32_t pages = 0;
    char byte = 'x';
    int fd;

    UT_REQUIRE(folder_open());
    UT_REQUIRE(state_store_new(&s, folder) == 0);
    UT_EQ(state_store_adopt(s, 3, 0, &pages), -ENOENT);
    fd = state_store_create(s, 3, 0, 4711, 8192);
    UT_REQUIRE(fd >= 0);
    UT_EQ(pwrite(fd, &byte, 1, 100), 1);
    close(fd);
    state_store_free(s);

    UT_REQUIRE(state_store_new(&s, folder) == 0);
    UT_EQ(state_store_adopt(s, 3, 1, &pages), -ENOENT);
    UT_EQ(state_store_adopt(s, 30, 0, &pages), -ENOENT);
    fd = state_store_adopt(s, 3, 0, &pages);
    UT_REQUIRE(fd >= 0);
    UT_EQ(pages, 4711);
    byte = 0;
    UT_EQ(pread(fd, &byte, 1, 100), 1);
    UT_EQ(byte, 'x');
    UT_EQ(state_store_adopt(s, 3, 0, &pages), -ENOENT); /* once */
    state_store_adopted_all(s);
    UT_TRUE(exists("viommu-3-0-4711"));
    state_store_remove(s, 3, 0, fd);
    UT_FALSE(exists("viommu-3-0-4711"));
    close(fd);
    state_store_free(s);
    UT_EQ(rmdir(folder), 0);
}

static void what_nobody_adopts_is_removed(void)
{
    struct state_store *s;
    int fd;

    UT_REQUIRE(folder_open());
    UT_REQUIRE(state_store_new(&s, folder) == 0);
    fd = state_store_create(s, 1, 2, 3, 4096);
    UT_TRUE(fd >= 0);
    close(fd);
    state_store_free(s);
    UT_REQUIRE(state_store_new(&s, folder) == 0);
    UT_TRUE(exists("viommu-1-2-3"));
    state_store_adopted_all(s);
    UT_FALSE(exists("viommu-1-2-3"));
    state_store_free(s);
    UT_EQ(rmdir(folder), 0);
}

static void a_device_of_the_same_name_keeps_its_own_file(void)
{
    struct state_store *s;
    int old, new;

    UT_REQUIRE(folder_open());
    UT_REQUIRE(state_store_new(&s, folder) == 0);
    old = state_store_create(s, 5, 0, 10, 4096);
    new = state_store_create(s, 5, 0, 20, 4096);
    UT_REQUIRE(old >= 0 && new >= 0);
    UT_FALSE(exists("viommu-5-0-10"));
    state_store_remove(s, 5, 0, old);
    UT_TRUE(exists("viommu-5-0-20"));
    state_store_remove(s, 5, 0, new);
    UT_FALSE(exists("viommu-5-0-20"));
    close(old);
    close(new);
    state_store_free(s);
    UT_EQ(rmdir(folder), 0);
}

static void a_missing_directory_is_an_error(void)
{
    struct state_store *s;

    UT_EQ(state_store_new(&s, "/nonexistent/directory"), -ENOENT);
}

/* --- a service manager --------------------------------------------------------------------------
 */

/* The next message; a descriptor that came with it, or -1. */
static int receive(int sock, char *text, size_t size)
{
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec iov = {.iov_base = text, .iov_len = size - 1};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof(control.bytes)};
    ssize_t n = recvmsg(sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    const struct cmsghdr *c = n >= 0 ? CMSG_FIRSTHDR(&msg) : NULL;
    int fd = -1;

    text[n > 0 ? n : 0] = '\0';
    if (c && c->cmsg_type == SCM_RIGHTS)
        memcpy(&fd, CMSG_DATA(c), sizeof(fd));
    return fd;
}

static int listen_as_manager(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    name_in(addr.sun_path, sizeof(addr.sun_path), "notify");
    if (sock < 0 || bind(sock, (struct sockaddr *)&addr, sizeof(addr)) < 0)
        return -1;
    (void)setenv("NOTIFY_SOCKET", addr.sun_path, 1);
    return sock;
}

static void memory_is_left_with_the_service_manager(void)
{
    char text[128];
    struct state_store *s;
    int sock, fd, kept;

    UT_REQUIRE(folder_open());
    sock = listen_as_manager();
    UT_REQUIRE(sock >= 0);
    UT_REQUIRE(state_store_new(&s, NULL) == 0);
    fd = state_store_create(s, 7, 1, 99, 8192);
    UT_REQUIRE(fd >= 0);
    kept = receive(sock, text, sizeof(text));
    UT_STR(text, "FDSTORE=1\nFDNAME=viommu-7-1-99");
    UT_TRUE(kept >= 0);
    UT_EQ(ftruncate(fd, 1), -1); /* sealed */
    UT_EQ(ftruncate(fd, 1 << 20), -1);
    state_store_remove(s, 7, 1, fd);
    UT_EQ(receive(sock, text, sizeof(text)), -1);
    UT_STR(text, "FDSTOREREMOVE=1\nFDNAME=viommu-7-1-99");
    close(kept);
    close(fd);
    close(sock);
    state_store_free(s);
    (void)unsetenv("NOTIFY_SOCKET");
    name_in(text, sizeof(text), "notify");
    (void)unlink(text);
    UT_EQ(rmdir(folder), 0);
}

/* What a process does that was started with descriptors 3 and 4. Not 0: what is wrong. */
static int adopt_listened(void)
{
    struct state_store *s;
    uint32_t pages = 0;
    struct stat st;
    int fd;

    if (state_store_new(&s, NULL))
        return 1;
    fd = state_store_adopt(s, 7, 1, &pages);
    if (fd < 0 || pages != 99 || fstat(fd, &st) < 0 || st.st_size != 1234)
        return 2;
    if (state_store_adopt(s, 8, 1, &pages) != -ENOENT || getenv("LISTEN_FDS"))
        return 3;
    if (fcntl(4, F_GETFD) >= 0) /* a name that is not ours */
        return 4;
    state_store_free(s);
    close(fd);
    return 0;
}

static int be_started(const char *pid)
{
    int fd = memfd_create("test", 0);

    if (fd < 0 || ftruncate(fd, 1234) < 0 || (fd != 3 && dup2(fd, 3) < 0) || dup2(3, 4) < 0)
        return 9;
    (void)setenv("LISTEN_PID", pid, 1);
    (void)setenv("LISTEN_FDS", "2", 1);
    (void)setenv("LISTEN_FDNAMES", "viommu-7-1-99:other", 1);
    return adopt_listened();
}

static int in_a_child(bool own_pid)
{
    char pid[16];
    pid_t child;
    int status;

    fflush(NULL);
    child = fork();
    if (child == 0) {
        snprintf(pid, sizeof(pid), "%d", own_pid ? (int)getpid() : 1);
        _exit(be_started(pid));
    }
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status))
        return -1;
    return WEXITSTATUS(status);
}

static void descriptors_that_were_kept_are_adopted(void)
{
    UT_EQ(in_a_child(true), 0);
}

static void descriptors_for_another_process_are_not(void)
{
    UT_EQ(in_a_child(false), 2);
}

static const struct ut_case cases[] = {
    UT_CASE(a_file_outlives_the_store_that_made_it),
    UT_CASE(what_nobody_adopts_is_removed),
    UT_CASE(a_device_of_the_same_name_keeps_its_own_file),
    UT_CASE(a_missing_directory_is_an_error),
    UT_CASE(memory_is_left_with_the_service_manager),
    UT_CASE(descriptors_that_were_kept_are_adopted),
    UT_CASE(descriptors_for_another_process_are_not),
};

int main(int argc, char **argv)
{
    return ut_main(argc, argv, "statestore", cases, ARRAY_SIZE(cases));
}
