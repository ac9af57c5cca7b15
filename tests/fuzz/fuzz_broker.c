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
#define MAX_ITEMS    8u /* windows of a message, or ids of an unmap, in most of them */
#define MAX_WINDOWS  (MAX_MESSAGES * MAX_ITEMS)
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
    struct window windows[MAX_WINDOWS];
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
    FUZZ_CHECK(i < MAX_WINDOWS && n > 0 && n <= BROKER_MAX_PAGES);
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
    FUZZ_CHECK(handle >= 1000 && handle < 1000 + MAX_WINDOWS);
    FUZZ_CHECK(n > 0 && b->windows[handle - 1000].n == n);
    b->windows[handle - 1000].n = 0;
    b->pages -= n;
    return 0;
}

static const struct broker_ops model = {.file = model_file, .map = model_map, .unmap = model_unmap};

/* --- a hostile worker ------------------------------------------------------------------------- */

/* What was sent: op, n, and then pages and access of each window, or ids. */
struct message {
    uint32_t words[2 + 2 * MAX_ITEMS];
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
    uint32_t *w = m->words, pages = 0;

    memset(w, how, sizeof(m->words));
    w[0] = 1 + how % 3;
    w[1] = w[0] == BROKER_FILE ? 0 : 1 + (how >> 4) % MAX_ITEMS;
    for (uint32_t i = 0; i < w[1] && w[0] == BROKER_MAP; i++) {
        /* One may be large. */
        w[2 + 2 * i] = 1 + some_number(in) % (i == 0 ? BROKER_MAX_PAGES : 8);
        w[3 + 2 * i] = how >> 3 & 1;
        pages += w[2 + 2 * i];
    }
    for (uint32_t i = 0; i < w[1] && w[0] == BROKER_UNMAP; i++)
        w[2 + i] = some_number(in);
    m->len = 4 * (2 + (size_t)w[1] * (w[0] == BROKER_MAP ? 2 : 1) + pages);
    memset(bytes, how, m->len);
    if (how >= 224) /* a member that is wrong */
        w[how & 3] = some_number(in);
    else if (how >= 208)
        m->len = fuzz_u8(in);
    memcpy(bytes, w, m->len < sizeof(m->words) ? m->len : sizeof(m->words));
    if (how >= 252) {
        m->len = 1 + fuzz_u8(in) % 64;
        fuzz_take(in, bytes, m->len);
    }
    memcpy(w, bytes, sizeof(m->words));
    *n_fds = how & 0x10 ? how >> 5 & 3 : 0;
}

/* A second reading of broker.h. No message of more windows than MAX_ITEMS is sound: what stands
 * where those further on would be is no number of pages. */
static bool is_sound(const struct message *m)
{
    const uint32_t *w = m->words;
    uint64_t words = 2 + 2 * (uint64_t)w[1];

    if (m->len < 8 || m->len % 4)
        return false;
    if (w[0] == BROKER_FILE)
        return m->len == 8 && w[1] == 0;
    if (w[0] == BROKER_UNMAP)
        return w[1] >= 1 && w[1] <= 65536 && m->len == 8 + 4 * (uint64_t)w[1];
    if (w[0] != BROKER_MAP || w[1] < 1 || w[1] > MAX_ITEMS || m->len < 4 * words)
        return false;
    for (uint32_t i = 0; i < w[1]; i++) {
        if (w[2 + 2 * i] == 0 || w[3 + 2 * i] > 1)
            return false;
        words += w[2 + 2 * i];
    }
    return m->len == 4 * words && words - 2 - 2 * (uint64_t)w[1] <= 65536;
}

struct expected {
    struct broker now;         /* as the platform must be asked */
    uint32_t ids[MAX_WINDOWS]; /* of windows, as they were answered */
};

static const struct window *window_of(const struct expected *e, uint32_t id)
{
    for (unsigned i = 0; i < e->now.maps; i++) {
        if (e->now.windows[i].n > 0 && e->ids[i] == id)
            return &e->now.windows[i];
    }
    return NULL;
}

static int expect_map(struct expected *e, uint32_t n, const struct broker_mapped *r)
{
    struct broker_window w = {.fd = -1};
    static uint32_t words[4], refs[BROKER_MAX_PAGES];
    unsigned i = e->now.maps;
    int status;

    if ((uint64_t)e->now.pages + n > atomic_load(&e->now.max_pages))
        return -ENOMEM;
    e->now.with_files = 0;
    status = model_map(&e->now, refs, n, false, &w, words);
    if (status < 0)
        return status;
    /* An id that nothing else has. */
    for (unsigned k = 0; k < i; k++)
        FUZZ_CHECK(e->now.windows[k].n == 0 || e->ids[k] != r->id);
    e->ids[i] = r->id;
    FUZZ_CHECK(r->offset == w.offset && r->n_words == w.n_words);
    return 0;
}

static int expect_unmap(struct expected *e, uint32_t id)
{
    const struct window *w = window_of(e, id);

    return w ? model_unmap(&e->now, w->handle, w->n) : -ENOENT;
}

/* All windows of one message; how many words go with them. */
static size_t expect_maps(struct expected *e, const struct message *m,
                          const struct broker_mapped *mapped, size_t n_fds)
{
    size_t n_words = 0;
    bool any = false;

    for (uint32_t i = 0; i < m->words[1]; i++) {
        const struct broker_mapped *r = &mapped[i];
        int status = expect_map(e, m->words[2 + 2 * i], r);

        FUZZ_CHECK(r->status == status);
        FUZZ_CHECK(status == 0 || (r->id == 0 && r->offset == 0 && r->n_words == 0));
        any = any || status == 0;
        n_words += r->n_words;
    }
    FUZZ_CHECK(any || n_fds == 0);
    return n_words;
}

/* The answers, in order; false for one that is not there. */
static bool expect_answer(struct expected *e, const struct message *m, int sock)
{
    struct {
        struct broker_reply r;
        struct broker_mapped mapped[MAX_ITEMS];
        uint32_t words[4 * MAX_ITEMS];
    } a;
    size_t n_fds, more = 0;
    ssize_t n = take_bytes(sock, &a, sizeof(a), &n_fds);
    int status = 0;

    if (n <= 0)
        return false;
    FUZZ_CHECK(n_fds <= 1 && n <= (ssize_t)sizeof(a));
    if (m->words[0] == BROKER_FILE) {
        status = e->now.has_file ? 0 : -ENODEV;
        FUZZ_CHECK((n_fds == 1) == e->now.has_file);
    } else if (m->words[0] == BROKER_UNMAP) {
        for (uint32_t i = 0; i < m->words[1]; i++) {
            int one = expect_unmap(e, m->words[2 + i]);

            status = status ? status : one;
        }
        FUZZ_CHECK(n_fds == 0);
    } else {
        FUZZ_CHECK(a.r.n == m->words[1]);
        more = a.r.n * sizeof(a.mapped[0]) + expect_maps(e, m, a.mapped, n_fds) * sizeof(uint32_t);
    }
    FUZZ_CHECK(a.r.status == status && n == (ssize_t)(sizeof(a.r) + more));
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
    static struct message sent[MAX_MESSAGES];
    static uint8_t bytes[sizeof(sent[0].words) + 4 * (BROKER_MAX_PAGES + 8 * MAX_ITEMS)];
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

struct answer {
    struct broker_reply head;
    struct broker_mapped mapped[2];
    uint32_t words[64];
};

/* One answer; what it says of itself is right but for what the input changes. */
static bool send_answer(struct fuzz_in *in, int sock, struct answer *a, size_t *len)
{
    uint8_t how = fuzz_u8(in);
    uint32_t n_words = 0;

    memset(a, how, sizeof(*a));
    a->head = (struct broker_reply){.n = how % 3};
    for (uint32_t i = 0; i < a->head.n; i++) {
        a->mapped[i] = (struct broker_mapped){.id = how, .n_words = how / 4 % 5};
        n_words += a->mapped[i].n_words;
    }
    if (how >= 128)
        a->mapped[how & 1].status = -(int32_t)fuzz_u8(in);
    if (how >= 176)
        a->mapped[how & 1].n_words = some_number(in);
    if (how >= 208)
        a->head.status = -(int32_t)fuzz_u8(in);
    if (how >= 224)
        *(how & 1 ? &a->head.status : &a->mapped[0].status) = (int32_t)fuzz_u32(in);
    *len = sizeof(a->head) + a->head.n * sizeof(a->mapped[0]);
    /* The words follow what is there of the windows. */
    memset((uint8_t *)a + *len, how, sizeof(*a) - *len);
    *len += n_words * sizeof(uint32_t);
    if (how >= 240)
        *len = fuzz_u8(in);
    return *len > 0 && fuzz_send(sock, (const uint8_t *)a, *len, how >> 3 & 3);
}

/* Asks for two windows at most. */
static int ask_map(uint8_t how, int sock, const struct answer *sent, size_t len, int *fd)
{
    uint32_t max_words = how % 9, ref = how, *words = calloc(max_words + 1, sizeof(*words));
    struct broker_want wants[2] = {{.refs = &ref, .n = 1}, {.refs = &ref, .n = 1}};
    size_t n = 1 + (how >> 4 & 1), n_words = 0;
    int r;

    FUZZ_CHECK(words);
    words[max_words] = 0xfeedface;
    r = broker_map(sock, wants, n, words, max_words, how & 64 ? fd : NULL);
    for (size_t i = 0; i < n && r == 0; i++) {
        FUZZ_CHECK(wants[i].status <= 0 && wants[i].status == sent->mapped[i].status);
        FUZZ_CHECK(wants[i].n_words == sent->mapped[i].n_words);
        FUZZ_CHECK(wants[i].status == 0 || wants[i].n_words == 0);
        FUZZ_CHECK(wants[i].n_words == 0 || wants[i].words == words + n_words);
        n_words += wants[i].n_words;
    }
    FUZZ_CHECK(n_words <= max_words && words[max_words] == 0xfeedface);
    FUZZ_CHECK(r < 0 || (sent->head.status == 0 && sent->head.n == n &&
                         len == sizeof(sent->head) + n * sizeof(sent->mapped[0]) + n_words * 4));
    free(words);
    return r;
}

static void ask(struct fuzz_in *in, int sock, const struct answer *sent, size_t len)
{
    uint8_t how = fuzz_u8(in);
    uint32_t id = how;
    bool plain = len == sizeof(sent->head) && sent->head.status == 0 && sent->head.n == 0;
    int fd = -1, r;

    if (how < 64)
        r = fd = broker_file(sock);
    else if (how < 128)
        r = broker_unmap(sock, &id, 1);
    else
        r = ask_map(how, sock, sent, len, &fd);
    FUZZ_CHECK(how >= 128 || r < 0 || plain);
    FUZZ_CHECK(how < 64 || r <= 0);
    FUZZ_CHECK(r >= 0 || fd < 0);
    FUZZ_CHECK(fd < 0 || fcntl(fd, F_GETFD) == FD_CLOEXEC);
    if (fd >= 0)
        close(fd);
}

static void fuzz_client(struct fuzz_in *in)
{
    const uint32_t id = 1;
    int sv[2];

    socket_pair(sv);
    for (unsigned i = 0; in->n > 0 && i < MAX_MESSAGES; i++) {
        uint8_t request[64];
        struct answer answer;
        size_t len, n_fds;

        if (!send_answer(in, sv[1], &answer, &len))
            break;
        ask(in, sv[0], &answer, len);
        FUZZ_CHECK(take_bytes(sv[1], request, sizeof(request), &n_fds) > 0 && n_fds == 0);
    }
    shutdown(sv[1], SHUT_WR);
    FUZZ_CHECK(broker_unmap(sv[0], &id, 1) == -EPIPE);
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
