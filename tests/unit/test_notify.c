/* SPDX-License-Identifier: GPL-2.0-only */
/* The notification datagram as a service manager receives it. */
#include <config.h>

#include "common/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "tests/support/ut.h"

/* A bound datagram socket; `name` with '@' in front for an abstract one. */
static int listen_on(const char *name)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    memcpy(addr.sun_path, name, strlen(name));
    if (name[0] == '@')
        addr.sun_path[0] = '\0';
    if (fd >= 0 && bind(fd, (struct sockaddr *)&addr,
                        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void check_delivery(const char *name)
{
    char got[100] = "";
    cleanup_fd int fd = listen_on(name);

    UT_REQUIRE(fd >= 0);
    setenv("NOTIFY_SOCKET", name, 1);
    UT_EQ(notify_send("READY=1\nSTATUS=up"), 0);
    UT_EQ(recv(fd, got, sizeof(got) - 1, 0), 17);
    UT_STR(got, "READY=1\nSTATUS=up");
    unsetenv("NOTIFY_SOCKET");
}

static void without_a_manager_nothing_is_sent(void)
{
    unsetenv("NOTIFY_SOCKET");
    UT_EQ(notify_send("READY=1"), 0);
}

static void a_path_and_an_abstract_name_are_reached(void)
{
    char folder[] = "/tmp/ut-notify-XXXXXX", name[100];

    UT_REQUIRE(mkdtemp(folder));
    snprintf(name, sizeof(name), "%s/socket", folder);
    check_delivery(name);
    unlink(name);
    rmdir(folder);
    snprintf(name, sizeof(name), "@ut-notify-%d", (int)getpid());
    check_delivery(name);
}

static void bad_addresses_are_reported(void)
{
    char longest[200];

    memset(longest, 'x', sizeof(longest));
    longest[0] = '/';
    longest[sizeof(longest) - 1] = '\0';
    setenv("NOTIFY_SOCKET", "", 1);
    UT_EQ(notify_send("READY=1"), -EINVAL);
    setenv("NOTIFY_SOCKET", "@", 1);
    UT_EQ(notify_send("READY=1"), -EINVAL);
    setenv("NOTIFY_SOCKET", "relative", 1);
    UT_EQ(notify_send("READY=1"), -EINVAL);
    setenv("NOTIFY_SOCKET", longest, 1);
    UT_EQ(notify_send("READY=1"), -ENAMETOOLONG);
    setenv("NOTIFY_SOCKET", "/nonexistent/socket", 1);
    UT_EQ(notify_send("READY=1"), -ENOENT);
    unsetenv("NOTIFY_SOCKET");
}

int main(int argc, char **argv)
{
    static const struct ut_case cases[] = {
        UT_CASE(without_a_manager_nothing_is_sent),
        UT_CASE(a_path_and_an_abstract_name_are_reached),
        UT_CASE(bad_addresses_are_reported),
    };

    return ut_main(argc, argv, "notify", cases, ARRAY_SIZE(cases));
}
