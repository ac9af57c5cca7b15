/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The grant broker's protocol: what a sound worker gets, and what a hostile one does not. The
 * platform behind the broker is a model here; test_platform_xen and test_platform_fakexen have the
 * real ones.
 */
#include <config.h>

#include "backend/platform/broker.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/ut.h"

/* What the broker asked its platform for. */
struct broker {
    unsigned maps, unmaps, n_words;
    uint32_t last_n, last_ref;
    uint64_t last_handle;
    bool last_writable;
    int fail_map;
    uint32_t refuse_ref; /* a window with this first reference is not the guest's */
    int file;
    bool file_per_map;
};

struct rig {
    struct broker platform;
    int sock; /* the worker's end */
    int far;
    atomic_uint max_pages;
    pthread_t thread;
    int result;
};

static int model_file(struct broker *b)
{
    return b->file;
}

static int model_map(struct broker *b, const uint32_t *refs, uint32_t n, bool writable,
                     struct broker_window *out, uint32_t *words)
{
    int r = -b->fail_map;

    b->fail_map = 0;
    if (r < 0)
        return r;
    if (b->refuse_ref && refs[0] == b->refuse_ref)
        return -EINVAL;
    b->maps++;
    b->last_n = n;
    b->last_ref = refs[n - 1];
    b->last_writable = writable;
    out->handle = 1000 + b->maps;
    out->offset = b->maps * 4096ull;
    out->n_words = b->n_words;
    for (unsigned i = 0; i < b->n_words; i++)
        words[i] = refs[i] + 1;
    if (b->file_per_map)
        out->fd = dup(STDIN_FILENO);
    return 0;
}

static int model_unmap(struct broker *b, uint64_t handle, uint32_t n)
{
    b->unmaps++;
    b->last_handle = handle;
    b->last_n = n;
    return 0;
}

static const struct broker_ops model = {.file = model_file, .map = model_map, .unmap = model_unmap};

static void *serve(void *arg)
{
    struct rig *r = arg;

    r->result = broker_serve(r->far, &model, &r->platform, &r->max_pages);
    close(r->far);
    return NULL;
}

static bool setup(struct rig *r, unsigned max_pages)
{
    int sv[2];

    memset(r, 0, sizeof(*r));
    r->platform.file = -1;
    r->result = 1;
    atomic_init(&r->max_pages, max_pages);
    if (broker_socketpair(sv) < 0)
        return false;
    r->sock = sv[0];
    r->far = sv[1];
    return pthread_create(&r->thread, NULL, serve, r) == 0;
}

static void teardown(struct rig *r, int result)
{
    (void)shutdown(r->sock, SHUT_RDWR);
    (void)pthread_join(r->thread, NULL);
    close(r->sock);
    UT_EQ((int64_t)r->result, (int64_t)result);
}

/* A window of n pages from reference 100 on. */
static int map(const struct rig *r, uint32_t n, struct broker_want *out)
{
    uint32_t *refs = calloc(n, sizeof(*refs));
    int result;

    if (!refs)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++)
        refs[i] = 100 + i;
    *out = (struct broker_want){.refs = refs, .n = n, .writable = true};
    result = broker_map(r->sock, out, 1, NULL, 0, NULL);
    free(refs);
    return result < 0 ? result : out->status;
}

static int unmap(const struct rig *r, uint32_t id)
{
    return broker_unmap(r->sock, &id, 1);
}

static void a_map_is_one_message_whatever_its_size(void)
{
    static const uint32_t sizes[] = {1, 2, 512, 4096, BROKER_MAX_PAGES};
    struct broker_want reply;
    struct rig r;

    UT_REQUIRE(setup(&r, 2 * BROKER_MAX_PAGES));
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        UT_EQ(map(&r, sizes[i], &reply), 0);
        UT_EQ(r.platform.maps, i + 1);
        UT_EQ(r.platform.last_n, sizes[i]);
        UT_EQ(r.platform.last_ref, 100 + sizes[i] - 1);
        UT_TRUE(r.platform.last_writable);
        UT_EQ(reply.offset, (i + 1) * 4096);
        UT_EQ(unmap(&r, reply.id), 0);
        UT_EQ(r.platform.last_handle, 1001 + i);
        UT_EQ(r.platform.last_n, sizes[i]);
    }
    teardown(&r, 0);
}

static void no_more_pages_are_mapped_than_leased(void)
{
    struct broker_want first, second;
    struct rig r;

    UT_REQUIRE(setup(&r, 100));
    UT_EQ(map(&r, 101, &first), -ENOMEM);
    UT_EQ(map(&r, 60, &first), 0);
    UT_EQ(map(&r, 41, &second), -ENOMEM);
    UT_EQ(map(&r, 40, &second), 0);
    UT_EQ(map(&r, 1, &second), -ENOMEM);
    UT_EQ(r.platform.maps, 2);
    UT_EQ(unmap(&r, first.id), 0);
    UT_EQ(map(&r, 60, &first), 0);
    /* A lease that shrinks takes nothing away, and gives nothing more. */
    atomic_store(&r.max_pages, 10);
    UT_EQ(unmap(&r, first.id), 0);
    UT_EQ(map(&r, 1, &first), -ENOMEM);
    teardown(&r, 0);
}

static void failed_maps_cost_nothing(void)
{
    struct broker_want reply;
    struct rig r;

    UT_REQUIRE(setup(&r, 10));
    for (int i = 0; i < 20; i++) {
        r.platform.fail_map = EINVAL;
        UT_EQ(map(&r, 10, &reply), -EINVAL);
    }
    UT_EQ(map(&r, 10, &reply), 0);
    UT_EQ(r.platform.unmaps, 0);
    teardown(&r, 0);
}

static void only_what_was_mapped_can_be_unmapped_and_once(void)
{
    struct broker_want reply;
    struct rig r;

    UT_REQUIRE(setup(&r, 10));
    UT_EQ(unmap(&r, 0), -ENOENT);
    UT_EQ(unmap(&r, 1), -ENOENT);
    UT_EQ(map(&r, 10, &reply), 0);
    UT_EQ(unmap(&r, reply.id + 1), -ENOENT);
    UT_EQ(unmap(&r, 1001), -ENOENT); /* the platform's name for it is nobody's business */
    UT_EQ(r.platform.unmaps, 0);
    UT_EQ(unmap(&r, reply.id), 0);
    UT_EQ(unmap(&r, reply.id), -ENOENT);
    UT_EQ(r.platform.unmaps, 1);
    /* Unmapping twice would otherwise be a way to a larger lease. */
    UT_EQ(map(&r, 11, &reply), -ENOMEM);
    teardown(&r, 0);
}

/* n windows of two pages each, from reference 100 on. */
static void two_pages_each(struct broker_want *wants, uint32_t *refs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        refs[2 * i] = 100 + 2 * (uint32_t)i;
        refs[2 * i + 1] = refs[2 * i] + 1;
        wants[i] = (struct broker_want){.refs = &refs[2 * i], .n = 2};
    }
}

static void many_windows_are_one_message_and_fail_one_by_one(void)
{
    static struct broker_want wants[BROKER_MAX_WINDOWS];
    static uint32_t refs[2 * BROKER_MAX_WINDOWS], ids[BROKER_MAX_WINDOWS];
    struct rig r;

    UT_REQUIRE(setup(&r, 2 * BROKER_MAX_WINDOWS - 4));
    two_pages_each(wants, refs, BROKER_MAX_WINDOWS);
    r.platform.refuse_ref = 104;
    UT_EQ(broker_map(r.sock, wants, BROKER_MAX_WINDOWS, NULL, 0, NULL), 0);
    UT_EQ(r.platform.maps, BROKER_MAX_WINDOWS - 2);
    for (size_t i = 0, n = 0; i < BROKER_MAX_WINDOWS; i++) {
        /* One is refused, and the last one finds the lease used up by the others. */
        int expected = i == 2 ? -EINVAL : i == BROKER_MAX_WINDOWS - 1 ? -ENOMEM : 0;

        UT_EQ(wants[i].status, expected);
        if (expected == 0)
            UT_EQ(wants[i].offset, ++n * 4096);
        ids[i] = wants[i].id;
    }
    /* What has no window is not there, and the others go all the same. */
    UT_EQ(broker_unmap(r.sock, ids, BROKER_MAX_WINDOWS), -ENOENT);
    UT_EQ(r.platform.unmaps, BROKER_MAX_WINDOWS - 2);
    UT_EQ(broker_map(r.sock, wants, 1, NULL, 0, NULL), 0);
    UT_EQ(wants[0].status, 0);
    teardown(&r, 0);
}

static void a_message_has_a_most(void)
{
    static struct broker_want wants[BROKER_MAX_WINDOWS + 1];
    static uint32_t refs[2 * BROKER_MAX_WINDOWS + 2];
    struct rig r;

    two_pages_each(wants, refs, ARRAY_SIZE(wants));
    UT_EQ(broker_fits(wants, ARRAY_SIZE(wants)), BROKER_MAX_WINDOWS);
    wants[3].n = BROKER_MAX_PAGES - 5;
    UT_EQ(broker_fits(wants, ARRAY_SIZE(wants)), 3);
    wants[3].n = BROKER_MAX_PAGES - 6;
    UT_EQ(broker_fits(wants, ARRAY_SIZE(wants)), 4);
    wants[0].n = BROKER_MAX_PAGES + 1;
    UT_EQ(broker_fits(wants, 1), 0);
    wants[0].n = 0;
    UT_EQ(broker_fits(wants, 1), 0);
    /* Nothing of that is sent: the broker is as it was. */
    UT_REQUIRE(setup(&r, 100));
    UT_EQ(broker_map(r.sock, wants, 1, NULL, 0, NULL), -EINVAL);
    UT_EQ(broker_map(r.sock, wants, 0, NULL, 0, NULL), -EINVAL);
    UT_EQ(broker_file(r.sock), -ENODEV);
    UT_EQ(r.platform.maps, 0);
    teardown(&r, 0);
}

static void files_come_with_the_answer(void)
{
    static const uint32_t refs[] = {5, 6};
    struct broker_want wants[2] = {{.refs = refs, .n = 2}, {.refs = &refs[1], .n = 1}};
    struct stat own, got;
    uint32_t words[4] = {0};
    struct rig r;
    int fd = -1;

    UT_REQUIRE(setup(&r, 10));
    UT_EQ(broker_file(r.sock), -ENODEV);
    r.platform.file = STDIN_FILENO;
    fd = broker_file(r.sock);
    UT_TRUE(fd > STDERR_FILENO);
    UT_TRUE(fstat(fd, &got) == 0 && fstat(STDIN_FILENO, &own) == 0 && got.st_ino == own.st_ino);
    close(fd);
    r.platform.file_per_map = true;
    r.platform.n_words = 1;
    UT_EQ(broker_map(r.sock, wants, 2, words, 4, &fd), 0);
    UT_TRUE(fd > STDERR_FILENO);
    close(fd);
    UT_REQUIRE(wants[0].n_words == 1 && wants[1].n_words == 1);
    UT_EQ(wants[0].words[0], 6);
    UT_EQ(wants[1].words[0], 7);
    /* More than there is room for is a breach of the broker's, and no overrun. */
    UT_EQ(broker_map(r.sock, wants, 2, words, 1, &fd), -EPROTO);
    teardown(&r, 0);
}

/* Each ends the broker with -EPROTO, and nothing has been mapped. */
static void malformed_messages_end_the_broker(void)
{
    static const struct {
        uint32_t words[8];
        size_t len;
    } bad[] = {
        {{0}, 8},
        {{4}, 8},
        {{UINT32_MAX}, 8},
        {{BROKER_FILE}, 7},
        {{BROKER_FILE}, 1},
        {{BROKER_FILE}, 12},
        {{BROKER_FILE, 1}, 8},
        {{BROKER_MAP, 0}, 8},
        {{BROKER_MAP, 1}, 8},
        {{BROKER_MAP, 1, 1, 0}, 16},    /* no reference */
        {{BROKER_MAP, 1, 1, 0, 5}, 19}, /* a part of one */
        {{BROKER_MAP, 1, 1, 0, 5, 6}, 24},
        {{BROKER_MAP, 1, 2, 0, 5}, 20},
        {{BROKER_MAP, 1, 0, 0}, 16},
        {{BROKER_MAP, 1, 1, 2, 5}, 20}, /* writable */
        {{BROKER_MAP, 1, UINT32_MAX, 0, 5}, 20},
        {{BROKER_MAP, 1, 0x40000001, 0, 5}, 20},             /* times 4 is 4 in 32 bits */
        {{BROKER_MAP, 2, 1, 0, UINT32_MAX, 0}, 24},          /* 2^32 pages are 0 in 32 bits */
        {{BROKER_MAP, 2, 1, 0, 5, 6}, 24},                   /* the second is no window */
        {{BROKER_MAP, BROKER_MAX_WINDOWS + 1, 1, 0, 5}, 20}, /* and enough bytes, below */
        {{BROKER_MAP, BROKER_MAX_WINDOWS + 1, 1, 0, 5}, 8 + 12 * (BROKER_MAX_WINDOWS + 1)},
        {{BROKER_MAP, 0x20000000, 1, 0, 5}, 20},
        {{BROKER_MAP, 1, BROKER_MAX_PAGES + 1, 0}, 16 + 4 * (BROKER_MAX_PAGES + 1)},
        {{BROKER_UNMAP, 0}, 8},
        {{BROKER_UNMAP, 1}, 8},
        {{BROKER_UNMAP, 1, 1, 1}, 16},
        {{BROKER_UNMAP, 0x40000001, 1}, 12},
        {{BROKER_UNMAP, UINT32_MAX, 1}, 12},
        {{BROKER_UNMAP, BROKER_MAX_PAGES + 1}, 8 + 4 * (BROKER_MAX_PAGES + 1)},
    };

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        uint8_t *message = calloc(1, bad[i].len + sizeof(bad[i].words));
        struct rig r;
        char byte;

        UT_REQUIRE(message != NULL);
        UT_REQUIRE(setup(&r, 100));
        memcpy(message, bad[i].words, sizeof(bad[i].words));
        UT_EQ(send(r.sock, message, bad[i].len, MSG_NOSIGNAL), bad[i].len);
        UT_TRUE(recv(r.sock, &byte, 1, 0) <= 0);
        UT_EQ(r.platform.maps, 0);
        teardown(&r, -EPROTO);
        free(message);
    }
}

/* Descriptors that a worker sends along are dropped by the kernel: there is no room for them. */
static void descriptors_from_a_worker_are_not_taken(void)
{
    uint32_t request[] = {BROKER_UNMAP, 1, 3};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {.bytes = {0}};
    struct iovec iov = {request, sizeof(request)};
    struct msghdr mh = {.msg_iov = &iov,
                        .msg_iovlen = 1,
                        .msg_control = control.bytes,
                        .msg_controllen = sizeof(control.bytes)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&mh);
    struct broker_reply reply;
    int fds[2];
    struct rig r;
    char byte;

    UT_REQUIRE(setup(&r, 100));
    UT_REQUIRE(pipe(fds) == 0);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &fds[1], sizeof(int));
    UT_EQ(sendmsg(r.sock, &mh, 0), sizeof(request));
    UT_EQ(recv(r.sock, &reply, sizeof(reply), 0), sizeof(reply));
    close(fds[1]);
    /* Nobody else has the writing end: the reader sees the end at once. */
    UT_EQ(read(fds[0], &byte, 1), 0);
    close(fds[0]);
    teardown(&r, 0);
}

/* Sends an answer as a broker does, with two descriptors. */
static bool answer_with(int sock, struct broker_reply *reply, int fd)
{
    const int twice[2] = {fd, fd};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(twice))];
    } control = {.bytes = {0}};
    struct iovec iov = {reply, sizeof(*reply)};
    struct msghdr mh = {.msg_iov = &iov,
                        .msg_iovlen = 1,
                        .msg_control = control.bytes,
                        .msg_controllen = sizeof(control.bytes)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&mh);

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(twice));
    memcpy(CMSG_DATA(c), twice, sizeof(twice));
    return sendmsg(sock, &mh, 0) == (ssize_t)sizeof(*reply);
}

static void a_worker_keeps_one_descriptor_of_an_answer(void)
{
    struct broker_reply good = {.status = 0}, odd = {.status = 7};
    const uint32_t id = 1;
    int fds[2], sv[2], fd;
    char byte;

    UT_REQUIRE(broker_socketpair(sv) == 0 && pipe(fds) == 0);
    UT_TRUE(answer_with(sv[1], &good, fds[1]));
    fd = broker_file(sv[0]);
    UT_TRUE(fd >= 0);
    close(fd);
    /* Neither 0 nor an error: nothing is kept. */
    UT_TRUE(answer_with(sv[1], &odd, fds[1]));
    UT_EQ(broker_file(sv[0]), -EPROTO);
    UT_TRUE(answer_with(sv[1], &odd, fds[1]));
    UT_EQ(broker_unmap(sv[0], &id, 1), -EPROTO);
    close(fds[1]);
    UT_EQ(read(fds[0], &byte, 1), 0);
    close(fds[0]);
    close(sv[0]);
    close(sv[1]);
}

static void end_with_42(void)
{
    _exit(42);
}

static void a_worker_whose_broker_is_gone_ends_before_it_judges(void)
{
    const uint32_t id = 1;

    for (int step = 0; step < 2; step++) {
        int sv[2], status = 0;
        pid_t child;

        UT_REQUIRE(broker_socketpair(sv) == 0);
        child = fork();
        if (child == 0) {
            close(sv[1]);
            broker_on_lost(end_with_42);
            /* Gone before the message, or instead of an answer. */
            (void)!broker_unmap(sv[0], &id, 1);
            _exit(0);
        }
        close(sv[0]);
        if (step == 1) {
            char message[64];

            UT_TRUE(recv(sv[1], message, sizeof(message), 0) > 0);
        }
        close(sv[1]);
        UT_REQUIRE(child > 0 && waitpid(child, &status, 0) == child);
        UT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 42);
    }
}

static const struct ut_case cases[] = {
    UT_CASE(a_map_is_one_message_whatever_its_size),
    UT_CASE(no_more_pages_are_mapped_than_leased),
    UT_CASE(failed_maps_cost_nothing),
    UT_CASE(many_windows_are_one_message_and_fail_one_by_one),
    UT_CASE(a_message_has_a_most),
    UT_CASE(only_what_was_mapped_can_be_unmapped_and_once),
    UT_CASE(files_come_with_the_answer),
    UT_CASE(malformed_messages_end_the_broker),
    UT_CASE(descriptors_from_a_worker_are_not_taken),
    UT_CASE(a_worker_keeps_one_descriptor_of_an_answer),
    UT_CASE(a_worker_whose_broker_is_gone_ends_before_it_judges),
};

int main(int argc, char **argv)
{
    alarm(120);
    return ut_main(argc, argv, "broker", cases, ARRAY_SIZE(cases));
}
