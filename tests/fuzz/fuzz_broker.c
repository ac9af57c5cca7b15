/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Both ends of the grant broker's socket (backend/platform/broker.c). A worker that was taken over
 * sends any messages, with descriptors beside them, to a broker in front of a platform that may
 * fail: what is mapped and answered must be what a second reading of the messages says, never more
 * than is leased, nothing is unmapped that was not mapped, and the first malformed message is the
 * last. The other way round, a worker that asks gets any answers.
 *
 * One thread: the messages are in the socket before the other end reads them.
 */
#include <config.h>

#include "backend/platform/broker.h"

#include <errno.h>

#include "common/compiler.h"
#include "tests/fuzz/sock.h"

#define MAX_MESSAGES 40u
#define MAX_FDS      4u
#define FAILURE      (-EIO)

/* --- the socket ------------------------------------------------------------------------------- */

static void socket_pair(int sv[2])
{
    FUZZ_CHECK(broker_socketpair(sv) == 0);
}

/* -1 when there is none. Descriptors are counted and closed. */
static ssize_t take_bytes(int sock, void *bytes, size_t room, size_t *n_fds_out)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(MAX_FDS * sizeof(int))];
    } control;
    struct iovec iov = {bytes, room};
    struct msghdr mh = {.msg_iov = &iov,
                        .msg_iovlen = 1,
                        .msg_control = control.bytes,
                        .msg_controllen = sizeof(control.bytes)};
    ssize_t n = recvmsg(sock, &mh, MSG_DONTWAIT | MSG_TRUNC | MSG_CMSG_CLOEXEC);

    *n_fds_out = 0;
    for (struct cmsghdr *c = n >= 0 ? CMSG_FIRSTHDR(&mh) : NULL; c; c = CMSG_NXTHDR(&mh, c)) {
        for (size_t i = 0; CMSG_LEN((i + 1) * sizeof(int)) <= c->cmsg_len; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
            close(fd);
            ++*n_fds_out;
        }
    }
    return n;
}

/* --- a platform ------------------------------------------------------------------------------- */

struct window {
    uint64_t handle;
    uint32_t n; /* 0: not mapped */
};

struct broker {
    struct window windows[MAX_MESSAGES];
    unsigned maps, unmaps; /* so often asked */
    uint32_t pages;
    uint64_t fails;      /* bit by map: it does */
    uint64_t with_files; /* bit by map */
    bool has_file;
    atomic_uint max_pages;
    unsigned max_after; /* that many maps another number of pages is leased */
    uint32_t max_then;
};

static int model_file(struct broker *b)
{
    return b->has_file ? STDIN_FILENO : -1;
}

static bool bit(uint64_t bits, unsigned i)
{
    return bits >> i % 64 & 1;
}

static int model_map(struct broker *b, const uint32_t *refs, uint32_t n, bool writable,
                     struct broker_window *out, uint32_t *words)
{
    unsigned i = b->maps++;

    (void)writable;
    FUZZ_CHECK(i < MAX_MESSAGES && n > 0 && n <= BROKER_MAX_PAGES);
    FUZZ_CHECK(b->pages + n <= atomic_load(&b->max_pages));
    if (b->maps == b->max_after)
        atomic_store(&b->max_pages, b->max_then);
    if (bit(b->with_files, i))
        out->fd = dup(STDIN_FILENO);
    if (bit(b->fails, i))
        return FAILURE;
    b->windows[i] = (struct window){.handle = 1000 + i, .n = n};
    b->pages += n;
    out->handle = 1000 + i;
    out->offset = i;
    /* The ends of what came are read. */
    out->n_words = n < 4 ? n : 4;
    for (uint32_t k = 0; k < out->n_words; k++)
        words[k] = refs[k] ^ refs[n - 1];
    return 0;
}

static int model_unmap(struct broker *b, uint64_t handle, uint32_t n)
{
    b->unmaps++;
    FUZZ_CHECK(handle >= 1000 && handle < 1000 + MAX_MESSAGES);
    FUZZ_CHECK(n > 0 && b->windows[handle - 1000].n == n);
    b->windows[handle - 1000].n = 0;
    b->pages -= n;
    return 0;
}

static const struct broker_ops model = {.file = model_file, .map = model_map, .unmap = model_unmap};

/* --- a hostile worker ------------------------------------------------------------------------- */

struct message {
    struct broker_request head;
    size_t len;
};

static uint32_t some_number(struct fuzz_in *in)
{
    static const uint32_t numbers[] = {0,          1,     2,      64,        BROKER_MAX_PAGES,
                                       0x40000001, 65537, 0xffff, UINT32_MAX};
    uint8_t v = fuzz_u8(in);

    return v < 192 ? v % 48 : v < 240 ? numbers[v % ARRAY_SIZE(numbers)] : fuzz_u32(in);
}

/* What is sent next; `bytes` has room for any. */
static void some_message(struct fuzz_in *in, struct message *m, uint8_t *bytes, size_t *n_fds)
{
    uint8_t how = fuzz_u8(in);

    m->head = (struct broker_request){.op = 1 + how % 3};
    if (m->head.op == BROKER_MAP) {
        m->head.n = 1 + some_number(in) % BROKER_MAX_PAGES;
        m->head.writable = how >> 3 & 1;
    } else if (m->head.op == BROKER_UNMAP) {
        m->head.id = some_number(in);
    }
    m->len = sizeof(m->head) + m->head.n * sizeof(uint32_t);
    memset(bytes, how, m->len);
    if (how >= 224) { /* a member that is wrong */
        uint32_t *members[] = {&m->head.op, &m->head.n, &m->head.writable, &m->head.id};

        *members[how & 3] = some_number(in);
    } else if (how >= 208) {
        m->len = fuzz_u8(in);
    }
    memcpy(bytes, &m->head, sizeof(m->head));
    if (how >= 252) {
        m->len = 1 + fuzz_u8(in) % 64;
        fuzz_take(in, bytes, m->len);
    }
    memcpy(&m->head, bytes, sizeof(m->head));
    *n_fds = how & 0x10 ? how >> 5 & 3 : 0;
}

/* A second reading of broker.h. */
static bool is_sound(const struct message *m)
{
    const struct broker_request *q = &m->head;

    if (m->len < sizeof(*q) || q->op < BROKER_FILE || q->op > BROKER_UNMAP)
        return false;
    if (q->op != BROKER_MAP)
        return m->len == sizeof(*q) && !q->n && !q->writable && (q->op == BROKER_UNMAP || !q->id);
    return q->n >= 1 && q->n <= 65536 && q->writable < 2 && !q->id &&
           m->len - sizeof(*q) == (uint64_t)q->n * 4;
}

struct expected {
    struct broker now;          /* as the platform must be asked */
    uint32_t ids[MAX_MESSAGES]; /* of windows, as they were answered */
};

static const struct window *window_of(const struct expected *e, uint32_t id)
{
    for (unsigned i = 0; i < e->now.maps; i++) {
        if (e->now.windows[i].n > 0 && e->ids[i] == id)
            return &e->now.windows[i];
    }
    return NULL;
}

static int expect_map(struct expected *e, const struct message *m, const struct broker_reply *r)
{
    struct broker_window w = {.fd = -1};
    static uint32_t words[4], refs[BROKER_MAX_PAGES];
    unsigned i = e->now.maps;
    int status;

    if ((uint64_t)e->now.pages + m->head.n > atomic_load(&e->now.max_pages))
        return -ENOMEM;
    e->now.with_files = 0;
    status = model_map(&e->now, refs, m->head.n, false, &w, words);
    if (status < 0)
        return status;
    /* An id that nothing else has. */
    for (unsigned k = 0; k < i; k++)
        FUZZ_CHECK(e->now.windows[k].n == 0 || e->ids[k] != r->id);
    e->ids[i] = r->id;
    FUZZ_CHECK(r->offset == w.offset && r->n_words == w.n_words);
    return 0;
}

static int expect_unmap(struct expected *e, const struct message *m)
{
    const struct window *w = window_of(e, m->head.id);

    return w ? model_unmap(&e->now, w->handle, w->n) : -ENOENT;
}

/* The answers, in order; false for one that is not there. */
static bool expect_answer(struct expected *e, const struct message *m, int sock)
{
    struct {
        struct broker_reply r;
        uint32_t words[8];
    } a;
    size_t n_fds;
    ssize_t n = take_bytes(sock, &a, sizeof(a), &n_fds);
    int status;

    if (n <= 0)
        return false;
    FUZZ_CHECK(n == (ssize_t)(sizeof(a.r) + a.r.n_words * sizeof(uint32_t)) && a.r.n_words <= 4);
    FUZZ_CHECK(n_fds <= 1);
    switch (m->head.op) {
    case BROKER_FILE:
        status = e->now.has_file ? 0 : -ENODEV;
        FUZZ_CHECK((n_fds == 1) == e->now.has_file);
        break;
    case BROKER_MAP:
        status = expect_map(e, m, &a.r);
        FUZZ_CHECK(status == 0 || n_fds == 0);
        break;
    default:
        status = expect_unmap(e, m);
        FUZZ_CHECK(n_fds == 0);
        break;
    }
    FUZZ_CHECK(a.r.status == status && (status == 0 || a.r.n_words == 0));
    return true;
}

static void some_platform(struct fuzz_in *in, struct broker *b)
{
    uint8_t how = fuzz_u8(in);

    memset(b, 0, sizeof(*b));
    atomic_init(&b->max_pages, how & 1 ? 70000 : how & 2 ? 100 : 20);
    b->has_file = how & 4;
    b->fails = how & 8 ? fuzz_u32(in) : 0;
    b->with_files = how & 16 ? fuzz_u32(in) : 0;
    b->max_after = how & 32 ? 1 + fuzz_u8(in) % 16 : 0;
    b->max_then = some_number(in);
}

static void fuzz_server(struct fuzz_in *in)
{
    static uint8_t bytes[sizeof(struct broker_request) + sizeof(uint32_t) * BROKER_MAX_PAGES];
    static struct message sent[MAX_MESSAGES];
    static struct expected e;
    struct broker platform;
    unsigned n = 0, answered = 0, sound = 0;
    int sv[2], r;

    some_platform(in, &platform);
    memset(&e, 0, sizeof(e));
    memcpy(&e.now, &platform, sizeof(platform));
    socket_pair(sv);
    while (in->n > 0 && n < MAX_MESSAGES) {
        size_t n_fds;

        some_message(in, &sent[n], bytes, &n_fds);
        if (sent[n].len == 0 || !fuzz_send(sv[0], bytes, sent[n].len, n_fds))
            break;
        n++;
    }
    shutdown(sv[0], SHUT_WR);
    r = broker_serve(sv[1], &model, &platform, &platform.max_pages);
    while (sound < n && is_sound(&sent[sound]))
        sound++;
    FUZZ_CHECK(r == (sound < n ? -EPROTO : 0));
    while (answered < sound && expect_answer(&e, &sent[answered], sv[0]))
        answered++;
    FUZZ_CHECK(answered == sound);
    FUZZ_CHECK(platform.maps == e.now.maps && platform.unmaps == e.now.unmaps);
    FUZZ_CHECK(platform.pages == e.now.pages);
    FUZZ_CHECK(!memcmp(platform.windows, e.now.windows, sizeof(platform.windows)));
    close(sv[0]);
    close(sv[1]);
}

/* --- a hostile broker ------------------------------------------------------------------------- */

/* One answer; what it says of itself is right but for what the input changes. */
static bool send_answer(struct fuzz_in *in, int sock, struct broker_reply *head, size_t *len)
{
    uint8_t how = fuzz_u8(in), bytes[sizeof(*head) + 256];

    *head = (struct broker_reply){.id = how, .n_words = how % 5};
    if (how >= 128)
        head->status = -(int32_t)fuzz_u8(in);
    if (how >= 192)
        head->n_words = some_number(in);
    if (how >= 224)
        head->status = (int32_t)fuzz_u32(in);
    *len = sizeof(*head) + head->n_words % 64 * sizeof(uint32_t);
    if (how >= 240)
        *len = fuzz_u8(in);
    memset(bytes, how, sizeof(bytes));
    memcpy(bytes, head, sizeof(*head));
    return *len > 0 && fuzz_send(sock, bytes, *len, how >> 3 & 3);
}

static void ask(struct fuzz_in *in, int sock, const struct broker_reply *sent, size_t len)
{
    struct broker_request request = {.op = BROKER_MAP, .n = 1};
    uint8_t how = fuzz_u8(in);
    uint32_t max_words = how % 9, ref = how, *words = calloc(max_words + 1, sizeof(*words));
    struct broker_reply got;
    int fd = -1, r;
    bool fits = len >= sizeof(*sent) && len == sizeof(*sent) + (uint64_t)sent->n_words * 4;

    FUZZ_CHECK(words);
    words[max_words] = 0xfeedface;
    if (how < 64) {
        r = fd = broker_file(sock);
        FUZZ_CHECK(r < 0 || (fits && sent->status == 0 && sent->n_words == 0));
    } else if (how < 128) {
        r = broker_unmap(sock, how);
        FUZZ_CHECK(r <= 0 && (r < 0 || (fits && sent->status == 0 && sent->n_words == 0)));
    } else {
        r = broker_call(sock, &request, &ref, &got, words, max_words, how & 64 ? &fd : NULL);
        FUZZ_CHECK(r <= 0);
        FUZZ_CHECK(r < 0 || (fits && sent->status == 0 && got.n_words <= max_words));
        FUZZ_CHECK(r == 0 || fd < 0);
    }
    FUZZ_CHECK(words[max_words] == 0xfeedface);
    FUZZ_CHECK(fd < 0 || fcntl(fd, F_GETFD) == FD_CLOEXEC);
    if (fd >= 0)
        close(fd);
    free(words);
}

static void fuzz_client(struct fuzz_in *in)
{
    int sv[2];

    socket_pair(sv);
    for (unsigned i = 0; in->n > 0 && i < MAX_MESSAGES; i++) {
        uint8_t request[64];
        struct broker_reply head;
        size_t len, n_fds;

        if (!send_answer(in, sv[1], &head, &len))
            break;
        ask(in, sv[0], &head, len);
        FUZZ_CHECK(take_bytes(sv[1], request, sizeof(request), &n_fds) > 0 && n_fds == 0);
    }
    shutdown(sv[1], SHUT_WR);
    FUZZ_CHECK(broker_unmap(sv[0], 1) == -EPIPE);
    close(sv[0]);
    close(sv[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_in in = {data, size};
    unsigned before = fuzz_open_descriptors();

    if (fuzz_u8(&in) & 1)
        fuzz_client(&in);
    else
        fuzz_server(&in);
    FUZZ_CHECK(fuzz_open_descriptors() == before);
    return 0;
}
