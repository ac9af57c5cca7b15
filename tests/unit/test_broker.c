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

#include "tests/support/ut.h"

/* What the broker asked its platform for. */
struct broker {
    unsigned maps, unmaps, n_words;
    uint32_t last_n, last_ref;
    uint64_t last_handle;
    bool last_writable;
    int fail_map;
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

static int map(const struct rig *r, uint32_t n, struct broker_reply *reply)
{
    const struct broker_request request = {.op = BROKER_MAP, .n = n, .writable = 1};
    uint32_t *refs = calloc(n, sizeof(*refs));
    int result;

    if (!refs)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++)
        refs[i] = 100 + i;
    result = broker_call(r->sock, &request, refs, reply, NULL, 0, NULL);
    free(refs);
    return result;
}

static void a_map_is_one_message_whatever_its_size(void)
{
    static const uint32_t sizes[] = {1, 2, 512, 4096, BROKER_MAX_PAGES};
    struct broker_reply reply;
    struct rig r;

    UT_REQUIRE(setup(&r, 2 * BROKER_MAX_PAGES));
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        UT_EQ(map(&r, sizes[i], &reply), 0);
        UT_EQ(r.platform.maps, i + 1);
        UT_EQ(r.platform.last_n, sizes[i]);
        UT_EQ(r.platform.last_ref, 100 + sizes[i] - 1);
        UT_TRUE(r.platform.last_writable);
        UT_EQ(reply.offset, (i + 1) * 4096);
        UT_EQ(broker_unmap(r.sock, reply.id), 0);
        UT_EQ(r.platform.last_handle, 1001 + i);
        UT_EQ(r.platform.last_n, sizes[i]);
    }
    teardown(&r, 0);
}

static void no_more_pages_are_mapped_than_leased(void)
{
    struct broker_reply first, second;
    struct rig r;

    UT_REQUIRE(setup(&r, 100));
    UT_EQ(map(&r, 101, &first), -ENOMEM);
    UT_EQ(map(&r, 60, &first), 0);
    UT_EQ(map(&r, 41, &second), -ENOMEM);
    UT_EQ(map(&r, 40, &second), 0);
    UT_EQ(map(&r, 1, &second), -ENOMEM);
    UT_EQ(r.platform.maps, 2);
    UT_EQ(broker_unmap(r.sock, first.id), 0);
    UT_EQ(map(&r, 60, &first), 0);
    /* A lease that shrinks takes nothing away, and gives nothing more. */
    atomic_store(&r.max_pages, 10);
    UT_EQ(broker_unmap(r.sock, first.id), 0);
    UT_EQ(map(&r, 1, &first), -ENOMEM);
    teardown(&r, 0);
}

static void failed_maps_cost_nothing(void)
{
    struct broker_reply reply;
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
    struct broker_reply reply;
    struct rig r;

    UT_REQUIRE(setup(&r, 10));
    UT_EQ(broker_unmap(r.sock, 0), -ENOENT);
    UT_EQ(broker_unmap(r.sock, 1), -ENOENT);
    UT_EQ(map(&r, 10, &reply), 0);
    UT_EQ(broker_unmap(r.sock, reply.id + 1), -ENOENT);
    UT_EQ(broker_unmap(r.sock, 1001),
          -ENOENT); /* the platform's name for it is nobody's business */
    UT_EQ(r.platform.unmaps, 0);
    UT_EQ(broker_unmap(r.sock, reply.id), 0);
    UT_EQ(broker_unmap(r.sock, reply.id), -ENOENT);
    UT_EQ(r.platform.unmaps, 1);
    /* Unmapping twice would otherwise be a way to a larger lease. */
    UT_EQ(map(&r, 11, &reply), -ENOMEM);
    teardown(&r, 0);
}

static void files_come_with_the_answer(void)
{
    const struct broker_request request = {.op = BROKER_MAP, .n = 2};
    static const uint32_t refs[] = {5, 6};
    struct broker_reply reply;
    struct stat own, got;
    uint32_t words[2] = {0};
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
    r.platform.n_words = 2;
    UT_EQ(broker_call(r.sock, &request, refs, &reply, words, 2, &fd), 0);
    UT_TRUE(fd > STDERR_FILENO);
    close(fd);
    UT_EQ(words[0], 6);
    UT_EQ(words[1], 7);
    /* More than there is room for is a breach of the broker's, and no overrun. */
    UT_EQ(broker_call(r.sock, &request, refs, &reply, words, 1, &fd), -EPROTO);
    teardown(&r, 0);
}

/* Each ends the broker with -EPROTO, and nothing has been mapped. */
static void malformed_messages_end_the_broker(void)
{
    static const struct {
        struct broker_request head;
        size_t len; /* in all */
    } bad[] = {
        {{.op = 0}, 16},
        {{.op = 4}, 16},
        {{.op = UINT32_MAX}, 16},
        {{.op = BROKER_MAP, .n = 0}, 16},
        {{.op = BROKER_MAP, .n = 1}, 16},
        {{.op = BROKER_MAP, .n = 1}, 19},
        {{.op = BROKER_MAP, .n = 1}, 24},
        {{.op = BROKER_MAP, .n = 2}, 20},
        {{.op = BROKER_MAP, .n = UINT32_MAX}, 20},
        {{.op = BROKER_MAP, .n = 0x40000001}, 20}, /* times 4 is 4 in 32 bits */
        {{.op = BROKER_MAP, .n = BROKER_MAX_PAGES + 1}, 16 + 4 * (BROKER_MAX_PAGES + 1)},
        {{.op = BROKER_MAP, .n = 1, .writable = 2}, 20},
        {{.op = BROKER_MAP, .n = 1, .id = 1}, 20},
        {{.op = BROKER_UNMAP, .n = 1}, 16},
        {{.op = BROKER_UNMAP, .id = 1}, 20},
        {{.op = BROKER_FILE, .id = 1}, 16},
        {{.op = BROKER_FILE}, 15},
        {{.op = BROKER_FILE}, 1},
    };

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        uint8_t *message = calloc(1, bad[i].len + sizeof(bad[i].head));
        struct rig r;
        char byte;

        UT_REQUIRE(message != NULL);
        UT_REQUIRE(setup(&r, 100));
        memcpy(message, &bad[i].head, sizeof(bad[i].head));
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
    struct broker_request request = {.op = BROKER_UNMAP, .id = 3};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {.bytes = {0}};
    struct iovec iov = {&request, sizeof(request)};
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
    UT_EQ(broker_unmap(sv[0], 1), -EPROTO);
    close(fds[1]);
    UT_EQ(read(fds[0], &byte, 1), 0);
    close(fds[0]);
    close(sv[0]);
    close(sv[1]);
}

static const struct ut_case cases[] = {
    UT_CASE(a_map_is_one_message_whatever_its_size),
    UT_CASE(no_more_pages_are_mapped_than_leased),
    UT_CASE(failed_maps_cost_nothing),
    UT_CASE(only_what_was_mapped_can_be_unmapped_and_once),
    UT_CASE(files_come_with_the_answer),
    UT_CASE(malformed_messages_end_the_broker),
    UT_CASE(descriptors_from_a_worker_are_not_taken),
    UT_CASE(a_worker_keeps_one_descriptor_of_an_answer),
};

int main(int argc, char **argv)
{
    alarm(120);
    return ut_main(argc, argv, "broker", cases, ARRAY_SIZE(cases));
}
