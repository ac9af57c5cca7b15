/* SPDX-License-Identifier: GPL-2.0-only */
/* docs/protocol.md from the guest's side; see frontend.h. */
#include <config.h>

#include "tests/support/guest/frontend.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/le.h"
#include "common/loop.h"
#include "common/strutil.h"

/* Control page (section 4). */
enum {
    F_MAGIC = 0x000,
    F_VERSION = 0x004,
    F_STATUS = 0x008,
    F_STATUS_SEQ = 0x00c,
    F_BYPASS = 0x010,
    F_BYPASS_SEQ = 0x014,
    F_MAP_REF = 0x018,
    F_MAP_GENERATION = 0x01c,
    F_QUEUE = 0x040, /* 0x40 per queue: command, sequence, size */
    B_MAGIC = 0x100,
    B_STATUS = 0x108,
    B_STATUS_ACK = 0x10c,
    B_BYPASS_ACK = 0x110,
    B_BYPASS_VERDICT = 0x114,
    B_MAP_ANSWERED = 0x118,
    B_MAP_VERDICT = 0x11c,
    B_QUEUE_ACK = 0x128, /* 8 per queue: acknowledgement, verdict */
};
#define MAGIC_CONTROL   0x31495658u
#define MAGIC_DIRECTORY 0x44495658u

#define S_ACKNOWLEDGE 1u
#define S_DRIVER      2u
#define S_DRIVER_OK   4u
#define S_FEATURES_OK 8u

#define DESC_F_NEXT     1u
#define DESC_F_WRITE    2u
#define DESC_F_INDIRECT 4u
#define PACKED_F_AVAIL  0x80u
#define PACKED_F_USED   0x8000u
#define F_INDIRECT_DESC (1ull << 28)
#define F_RING_PACKED   (1ull << 34)
#define F_RING_RESET    (1ull << 40)

#define EVENT_BUFFERS    16u
#define EVENT_SIZE       24u
#define REQUEST_READABLE 1024u /* of the request page; the rest is for the answer and the table */
#define REQUEST_TABLE    3072u

static uint8_t *page(const struct frontend *fe, uint32_t p)
{
    return fe->memory + (size_t)p * FE_PAGE_SIZE;
}

static uint32_t *word(const struct frontend *fe, unsigned offset)
{
    return (uint32_t *)(void *)(page(fe, FE_PAGE_CONTROL) + offset);
}

static void put_word(const struct frontend *fe, unsigned offset, uint32_t value)
{
    __atomic_store_n(word(fe, offset), htole32(value), __ATOMIC_RELEASE);
}

static uint32_t get_word(const struct frontend *fe, unsigned offset)
{
    return le32toh(__atomic_load_n(word(fe, offset), __ATOMIC_ACQUIRE));
}

/* Waits until an acknowledgement equals what we sent; every notification is only a hint to look. */
static int wait_word(struct frontend *fe, unsigned offset, uint32_t value)
{
    uint64_t deadline = loop_now_ms() + FE_WAIT_MS;
    int r = 0;

    while (r >= 0 && get_word(fe, offset) != value) {
        uint64_t now = loop_now_ms();

        if (now >= deadline)
            return -ETIMEDOUT;
        r = fx_channel_wait(&fe->control, (int)(deadline - now));
    }
    return r < 0 ? r : 0;
}

/* A value, its sequence word, a notification, and the backend's acknowledgement. */
static int ask(struct frontend *fe, unsigned value_at, uint32_t value, unsigned seq_at,
               unsigned ack_at)
{
    uint32_t seq = get_word(fe, seq_at) + 1;
    int r;

    put_word(fe, value_at, value);
    put_word(fe, seq_at, seq);
    r = fx_channel_notify(&fe->control);
    return r ? r : wait_word(fe, ack_at, seq);
}

/* --- xenstore --------------------------------------------------------------------------------- */

int fe_write_node(struct frontend *fe, const char *name, const char *value)
{
    char path[256];

    snprintf(path, sizeof(path), "%s/%s", fe->frontend_path, name);
    return xs_write(fe->xs, XBT_NULL, path, value, (unsigned)strlen(value)) ? 0 : -errno;
}

static char *read_backend_node(struct frontend *fe, const char *name)
{
    char path[256];
    unsigned len;

    snprintf(path, sizeof(path), "%s/%s", fe->backend_path, name);
    return xs_read(fe->xs, XBT_NULL, path, &len);
}

static unsigned backend_state(struct frontend *fe)
{
    cleanup_free char *text = read_backend_node(fe, "state");
    uint32_t state;

    return text && parse_u32(text, 6, &state) == 0 ? state : 0;
}

static void drain_watches(struct frontend *fe)
{
    char **event;

    while ((event = xs_check_watch(fe->xs)) != NULL)
        free(event);
}

int fe_wait_backend(struct frontend *fe, unsigned mask, unsigned *state_out)
{
    uint64_t deadline = loop_now_ms() + FE_WAIT_MS;
    struct pollfd pfd = {.fd = xs_fileno(fe->xs), .events = POLLIN};

    for (;;) {
        unsigned state = backend_state(fe);
        uint64_t now = loop_now_ms();

        if (state_out)
            *state_out = state;
        if (mask & (1u << state))
            return 0;
        if (now >= deadline)
            return -ETIMEDOUT;
        if (poll(&pfd, 1, (int)(deadline - now)) > 0)
            drain_watches(fe);
    }
}

/* --- grants ----------------------------------------------------------------------------------- */

static bool pages_valid(const struct frontend *fe, uint32_t first, uint32_t n)
{
    return n > 0 && first < fe->n_pages && n <= fe->n_pages - first;
}

int fe_grant(struct frontend *fe, uint32_t first, uint32_t n, bool read_only)
{
    uint32_t ref;
    int r;

    if (!pages_valid(fe, first, n))
        return -ERANGE;
    for (uint32_t i = 0; i < n; i++) {
        if (fe->refs[first + i])
            return -EEXIST;
    }
    r = fx_guest_grant(fe->fx, fe->backend, first, n, read_only, &ref);
    for (uint32_t i = 0; r == 0 && i < n; i++)
        fe->refs[first + i] = ref + i;
    return r;
}

/* Consecutive pages were granted with consecutive references, so runs of both are ended at once. */
int fe_revoke(struct frontend *fe, uint32_t first, uint32_t n)
{
    if (!pages_valid(fe, first, n))
        return -ERANGE;
    for (uint32_t i = 0, run; i < n; i += run) {
        uint32_t ref = fe->refs[first + i];
        int r;

        if (ref == 0)
            return -ENOENT;
        for (run = 1; i + run < n && fe->refs[first + i + run] == ref + run; run++)
            ;
        r = fx_guest_ungrant(fe->fx, ref, run);
        if (r)
            return r;
        memset(&fe->refs[first + i], 0, run * sizeof(fe->refs[0]));
    }
    return 0;
}

uint64_t fe_grant_address(const struct frontend *fe, uint32_t p)
{
    return 1ull << 63 | (uint64_t)fe->refs[p] << 12;
}

int fe_offer_map(struct frontend *fe, uint32_t *verdict_out)
{
    uint8_t *dir = page(fe, FE_PAGE_DIRECTORY);
    uint32_t generation = get_word(fe, F_MAP_GENERATION) + 1;
    int r;

    memset(dir, 0, FE_PAGE_SIZE);
    le32_store(dir, MAGIC_DIRECTORY);
    le32_store(dir + 4, 1);
    le32_store(dir + 8, generation);
    le32_store(dir + 12, fe->n_runs);
    for (unsigned i = 0; i < fe->n_runs; i++) {
        uint8_t *e = dir + 32 + 24 * i;

        le64_store(e, (uint64_t)fe->runs[i].page * FE_PAGE_SIZE);
        le32_store(e + 8, fe->refs[fe->runs[i].page]);
        le32_store(e + 12, fe->runs[i].n);
        le32_store(e + 16, fe->runs[i].read_only);
    }
    put_word(fe, F_MAP_REF, fe->refs[FE_PAGE_DIRECTORY]);
    put_word(fe, F_MAP_GENERATION, generation);
    if (!fe->connected) { /* taken when the backend connects */
        *verdict_out = 0;
        return 0;
    }
    r = fx_channel_notify(&fe->control);
    if (r == 0)
        r = wait_word(fe, B_MAP_ANSWERED, generation);
    *verdict_out = get_word(fe, B_MAP_VERDICT);
    return r;
}

/* --- rings ------------------------------------------------------------------------------------ */

static uint8_t *ring_page(const struct frontend *fe, unsigned queue, unsigned part)
{
    return page(fe, FE_PAGE_DESC + 3 * queue + part);
}

static uint64_t ring_address(const struct frontend *fe, unsigned queue, unsigned part, bool in_map)
{
    uint32_t p = FE_PAGE_DESC + 3 * queue + part;

    return in_map ? (uint64_t)p * FE_PAGE_SIZE : fe_grant_address(fe, p);
}

static void put_desc(uint8_t *desc, uint64_t addr, uint32_t len, unsigned flags, unsigned next)
{
    le64_store(desc, addr);
    le32_store(desc + 8, len);
    le16_store(desc + 12, (uint16_t)flags);
    le16_store(desc + 14, (uint16_t)next);
}

static bool packed(const struct frontend *fe)
{
    return fe->features & F_RING_PACKED;
}

static uint16_t *packed_flags(const struct frontend *fe, unsigned queue, uint16_t slot)
{
    return (uint16_t *)(void *)(ring_page(fe, queue, 0) + 16 * slot + 14);
}

static void packed_step(const struct fe_queue *q, uint16_t *slot, bool *wrap)
{
    if (++*slot == q->size) {
        *slot = 0;
        *wrap = !*wrap;
    }
}

struct buffer {
    uint64_t addr;
    uint32_t len;
    unsigned flags; /* DESC_F_WRITE, DESC_F_INDIRECT */
};

/* One buffer of consecutive slots; the flags of the first one make it available. */
static void packed_post(struct frontend *fe, unsigned queue, const struct buffer *parts, uint16_t n,
                        uint16_t id)
{
    struct fe_queue *q = &fe->queue[queue];
    uint16_t first = q->avail, first_flags = 0;

    for (uint16_t i = 0; i < n; i++) {
        unsigned flags = parts[i].flags | (i + 1u < n ? DESC_F_NEXT : 0) |
                         (q->avail_wrap ? PACKED_F_AVAIL : PACKED_F_USED);

        if (i == 0)
            first_flags = (uint16_t)flags;
        /* The slot's old flags stay for now where they would make the chain available. */
        put_desc(ring_page(fe, queue, 0) + 16 * q->avail, parts[i].addr, parts[i].len, id,
                 i == 0 ? le16toh(*packed_flags(fe, queue, first)) : flags);
        packed_step(q, &q->avail, &q->avail_wrap);
    }
    q->chain = n;
    __atomic_store_n(packed_flags(fe, queue, first), htole16(first_flags), __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* as in make_available() */
}

static bool packed_take(struct frontend *fe, unsigned queue, uint32_t *id_out, uint32_t *len_out)
{
    struct fe_queue *q = &fe->queue[queue];
    const uint8_t *desc = ring_page(fe, queue, 0) + 16 * q->used;
    uint16_t flags = le16toh(__atomic_load_n(packed_flags(fe, queue, q->used), __ATOMIC_ACQUIRE));

    if (!!(flags & PACKED_F_AVAIL) != q->used_wrap || !!(flags & PACKED_F_USED) != q->used_wrap)
        return false;
    *id_out = le16_load(desc + 12);
    *len_out = le32_load(desc + 8);
    for (uint16_t i = 0; i < q->chain; i++)
        packed_step(q, &q->used, &q->used_wrap);
    return true;
}

static void make_available(struct frontend *fe, unsigned queue, uint16_t head)
{
    struct fe_queue *q = &fe->queue[queue];
    uint16_t *ring = (uint16_t *)(void *)ring_page(fe, queue, 1);

    ring[2 + q->avail % q->size] = htole16(head);
    q->avail++;
    __atomic_store_n(&ring[1], htole16(q->avail), __ATOMIC_RELEASE);
    /* The device's suppression words are read after the index is out (G35); the frontend always
     * kicks, which every device must bear. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

bool fe_take_used(struct frontend *fe, unsigned queue, uint32_t *id_out, uint32_t *len_out)
{
    struct fe_queue *q = &fe->queue[queue];
    uint8_t *used = ring_page(fe, queue, 2);
    uint16_t idx = le16toh(__atomic_load_n((uint16_t *)(void *)(used + 2), __ATOMIC_ACQUIRE));
    const uint8_t *e = used + 4 + 8 * (q->used % q->size);

    if (packed(fe))
        return packed_take(fe, queue, id_out, len_out);
    if (idx == q->used)
        return false;
    *id_out = le32_load(e);
    *len_out = le32_load(e + 4);
    q->used++;
    /* With EVENT_IDX: the next one is wanted too. */
    le16_store(ring_page(fe, queue, 1) + 4 + 2 * q->size, q->used);
    return true;
}

static void post_event_buffer(struct frontend *fe, uint16_t i)
{
    const struct buffer buffer = {
        .addr = fe_grant_address(fe, FE_PAGE_EVENTS) + i * EVENT_SIZE,
        .len = EVENT_SIZE,
        .flags = DESC_F_WRITE,
    };

    if (packed(fe)) {
        packed_post(fe, 1, &buffer, 1, i);
        return;
    }
    put_desc(ring_page(fe, 1, 0) + 16 * i, buffer.addr, buffer.len, buffer.flags, 0);
    make_available(fe, 1, i);
}

static void clear_ring(struct frontend *fe, unsigned queue)
{
    struct fe_queue *q = &fe->queue[queue];

    for (unsigned part = 0; part < 3; part++)
        memset(ring_page(fe, queue, part), 0, FE_PAGE_SIZE);
    q->avail = q->used = 0;
    q->avail_wrap = q->used_wrap = true;
}

static void post_event_buffers(struct frontend *fe)
{
    unsigned buffers = fe->queue[1].size < EVENT_BUFFERS ? fe->queue[1].size : EVENT_BUFFERS;

    for (uint16_t i = 0; i < buffers; i++)
        post_event_buffer(fe, i);
}

int fe_driver_init(struct frontend *fe)
{
    uint8_t status;
    int r;

    clear_ring(fe, 0);
    clear_ring(fe, 1);
    r = fe_status(fe, S_ACKNOWLEDGE | S_DRIVER, &status);
    if (r == 0)
        r = fe_status(fe, S_ACKNOWLEDGE | S_DRIVER | S_FEATURES_OK, &status);
    if (r)
        return r;
    if (!(status & S_FEATURES_OK))
        return -EPROTO;
    r = fe_status(fe, S_ACKNOWLEDGE | S_DRIVER | S_FEATURES_OK | S_DRIVER_OK, &status);
    /* As Linux does: buffers appear after DRIVER_OK, and nobody kicks. */
    if (r == 0)
        post_event_buffers(fe);
    return r;
}

/* Readable and writable part, directly or in a table. */
static void packed_request(struct frontend *fe, size_t req_len, size_t writable)
{
    uint64_t base = fe_grant_address(fe, FE_PAGE_REQUEST);
    uint8_t *table = page(fe, FE_PAGE_REQUEST) + REQUEST_TABLE;
    struct buffer parts[2];
    uint16_t n = 0;

    if (req_len)
        parts[n++] = (struct buffer){.addr = base, .len = (uint32_t)req_len};
    if (writable)
        parts[n++] = (struct buffer){
            .addr = base + REQUEST_READABLE, .len = (uint32_t)writable, .flags = DESC_F_WRITE};
    if (fe->features & F_INDIRECT_DESC) {
        for (unsigned i = 0; i < n; i++)
            put_desc(table + 16 * i, parts[i].addr, parts[i].len, 0, parts[i].flags);
        parts[0] = (struct buffer){
            .addr = base + REQUEST_TABLE, .len = 16u * n, .flags = DESC_F_INDIRECT};
        n = 1;
    }
    packed_post(fe, 0, parts, n, 0);
}

static void split_request(struct frontend *fe, size_t req_len, size_t writable)
{
    uint64_t base = fe_grant_address(fe, FE_PAGE_REQUEST);
    bool indirect = fe->features & F_INDIRECT_DESC;
    uint8_t *table = indirect ? page(fe, FE_PAGE_REQUEST) + REQUEST_TABLE : ring_page(fe, 0, 0);
    unsigned n = 0;

    if (req_len)
        put_desc(table + 16 * n++, base, (uint32_t)req_len, 0, 0);
    if (writable)
        put_desc(table + 16 * n++, base + REQUEST_READABLE, (uint32_t)writable, DESC_F_WRITE, 0);
    if (n == 2) {
        le16_store(table + 12, DESC_F_NEXT);
        le16_store(table + 14, 1);
    }
    if (indirect)
        put_desc(ring_page(fe, 0, 0), base + REQUEST_TABLE, 16 * n, DESC_F_INDIRECT, 0);
    make_available(fe, 0, 0);
}

/* Waits for the next used element of the request queue. */
static int await_used(struct frontend *fe, uint32_t *id_out, uint32_t *used_out)
{
    uint64_t deadline = loop_now_ms() + FE_WAIT_MS;

    while (!fe_take_used(fe, 0, id_out, used_out)) {
        int r;

        if (loop_now_ms() >= deadline)
            return -ETIMEDOUT;
        /* Short looks: a broken ring is announced on the control port, not here. */
        r = fx_channel_wait(&fe->queue[0].channel, 50);
        if (r < 0)
            return r;
        if (fe_device_status(fe) & 0x40)
            return -EIO;
    }
    return 0;
}

int fe_batch(struct frontend *fe, const uint8_t *reqs, size_t req_len, unsigned n, unsigned *ok_out)
{
    uint64_t base = fe_grant_address(fe, FE_PAGE_REQUEST);
    uint8_t *buffer = page(fe, FE_PAGE_REQUEST), *desc = ring_page(fe, 0, 0);
    uint16_t *ring = (uint16_t *)(void *)ring_page(fe, 0, 1);
    struct fe_queue *q = &fe->queue[0];
    size_t slot = req_len + 4;
    int r;

    if (packed(fe) || n * slot > FE_PAGE_SIZE || 2 * n > q->size)
        return -ENOSPC;
    memset(buffer, 0xaa, FE_PAGE_SIZE);
    for (unsigned i = 0; i < n; i++) {
        memcpy(buffer + i * slot, reqs + i * req_len, req_len);
        put_desc(desc + 32 * i, base + i * slot, (uint32_t)req_len, DESC_F_NEXT, 2 * i + 1);
        put_desc(desc + 32 * i + 16, base + i * slot + req_len, 4, DESC_F_WRITE, 0);
        ring[2 + (uint16_t)(q->avail + i) % q->size] = htole16((uint16_t)(2 * i));
    }
    q->avail = (uint16_t)(q->avail + n);
    __atomic_store_n(&ring[1], htole16(q->avail), __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* as in make_available() */
    *ok_out = 0;
    r = fx_channel_notify(&q->channel);
    for (unsigned i = 0; i < n && r == 0; i++) {
        uint32_t id = 0, used = 0;

        r = await_used(fe, &id, &used);
        if (r == 0 && id != 2 * i)
            r = -EPROTO;
        *ok_out += r == 0 && used == 4 && buffer[i * slot + req_len] == 0;
    }
    return r;
}

int fe_request(struct frontend *fe, const void *req, size_t req_len, void *answer, size_t writable,
               uint32_t *used_out)
{
    uint8_t *buffer = page(fe, FE_PAGE_REQUEST);
    uint32_t id;
    int r;

    if (req_len > REQUEST_READABLE || writable > REQUEST_TABLE - REQUEST_READABLE ||
        req_len + writable == 0)
        return -EINVAL;
    memcpy(buffer, req, req_len);
    memset(buffer + REQUEST_READABLE, 0xaa, REQUEST_TABLE - REQUEST_READABLE);
    if (packed(fe))
        packed_request(fe, req_len, writable);
    else
        split_request(fe, req_len, writable);
    r = fx_channel_notify(&fe->queue[0].channel);
    if (r)
        return r;
    r = await_used(fe, &id, used_out);
    if (r)
        return r;
    if (id != 0)
        return -EPROTO;
    memcpy(answer, buffer + REQUEST_READABLE, writable);
    return 0;
}

int fe_event(struct frontend *fe, int timeout_ms, uint8_t out[24])
{
    uint64_t deadline = loop_now_ms() + (uint64_t)timeout_ms;
    uint32_t id, len;
    int r;

    while (!fe_take_used(fe, 1, &id, &len)) {
        uint64_t now = loop_now_ms();

        if (now >= deadline)
            return -ETIMEDOUT;
        r = fx_channel_wait(&fe->queue[1].channel, (int)(deadline - now));
        if (r < 0)
            return r;
    }
    if (id >= EVENT_BUFFERS || len != EVENT_SIZE)
        return -EPROTO;
    memcpy(out, page(fe, FE_PAGE_EVENTS) + id * EVENT_SIZE, EVENT_SIZE);
    post_event_buffer(fe, (uint16_t)id);
    return fx_channel_notify(&fe->queue[1].channel);
}

/* --- life cycle ------------------------------------------------------------------------------- */

uint8_t fe_device_status(const struct frontend *fe)
{
    return (uint8_t)get_word(fe, B_STATUS);
}

int fe_status(struct frontend *fe, uint8_t status, uint8_t *out)
{
    int r = ask(fe, F_STATUS, status, F_STATUS_SEQ, B_STATUS_ACK);

    *out = fe_device_status(fe);
    return r;
}

int fe_bypass(struct frontend *fe, uint32_t value, uint32_t *verdict_out)
{
    int r = ask(fe, F_BYPASS, value, F_BYPASS_SEQ, B_BYPASS_ACK);

    *verdict_out = get_word(fe, B_BYPASS_VERDICT);
    return r;
}

/* A command to one queue (protocol, 4.2). */
static int queue_command(struct frontend *fe, unsigned queue, uint32_t command, uint32_t *verdict)
{
    unsigned at = F_QUEUE + 0x40 * queue, answer_at = B_QUEUE_ACK + 8 * queue;
    int r = ask(fe, at, command, at + 4, answer_at);

    *verdict = get_word(fe, answer_at + 4);
    return r;
}

int fe_queue_reset(struct frontend *fe, unsigned queue, uint32_t *verdict_out)
{
    return queue_command(fe, queue, 1, verdict_out);
}

int fe_queue_enable(struct frontend *fe, unsigned queue, uint32_t size, uint32_t *verdict_out)
{
    unsigned at = F_QUEUE + 0x40 * queue;
    int r;

    if (size)
        fe->queue[queue].size = size;
    clear_ring(fe, queue);
    put_word(fe, at + 8, size);
    for (unsigned part = 0; size && part < 3; part++) {
        uint64_t address = ring_address(fe, queue, part, fe->rings_in_map);

        put_word(fe, at + 0x10 + 8 * part, (uint32_t)address);
        put_word(fe, at + 0x14 + 8 * part, (uint32_t)(address >> 32));
    }
    r = queue_command(fe, queue, 2, verdict_out);
    if (r == 0 && *verdict_out == 0 && queue == 1)
        post_event_buffers(fe);
    return r;
}

static int write_number_node(struct frontend *fe, const char *name, uint64_t value)
{
    char text[32];

    snprintf(text, sizeof(text), "%#llx", (unsigned long long)value);
    return fe_write_node(fe, name, text);
}

static int write_transport_nodes(struct frontend *fe, bool in_map)
{
    char text[160];
    int r = fe_write_node(fe, "viommu-version", "1");

    if (r == 0)
        r = write_number_node(fe, "viommu-features", fe->features);
    snprintf(text, sizeof(text), "ref=%u port=%u", fe->refs[FE_PAGE_CONTROL], fe->control.port);
    if (r == 0)
        r = fe_write_node(fe, "viommu-control", text);
    for (unsigned q = 0; r == 0 && q < 2; q++) {
        char name[32];

        snprintf(name, sizeof(name), "viommu-queue-%u", q);
        snprintf(text, sizeof(text), "size=%u desc=%#llx driver=%#llx device=%#llx port=%u",
                 fe->queue[q].size, (unsigned long long)ring_address(fe, q, 0, in_map),
                 (unsigned long long)ring_address(fe, q, 1, in_map),
                 (unsigned long long)ring_address(fe, q, 2, in_map), fe->queue[q].channel.port);
        r = fe_write_node(fe, name, text);
    }
    return r;
}

static int alloc_ports(struct frontend *fe)
{
    int r = fx_guest_alloc_unbound(fe->fx, fe->backend, &fe->control);

    for (unsigned q = 0; r == 0 && q < 2; q++)
        r = fx_guest_alloc_unbound(fe->fx, fe->backend, &fe->queue[q].channel);
    return r;
}

/* The transport's own pages. Read-only where the device only reads: descriptors and available
 * rings prove that it does. Packed descriptors are written by both. */
static int grant_transport(struct frontend *fe)
{
    int r = fe_grant(fe, FE_PAGE_CONTROL, 1, false);

    if (r == 0)
        r = fe_grant(fe, FE_PAGE_DIRECTORY, 1, true);
    for (uint32_t q = 0; r == 0 && q < 2; q++) {
        r = fe_grant(fe, FE_PAGE_DESC + 3 * q, 1, !packed(fe));
        if (r == 0)
            r = fe_grant(fe, FE_PAGE_DESC + 3 * q + 1, 1, true);
        if (r == 0)
            r = fe_grant(fe, FE_PAGE_DESC + 3 * q + 2, 1, false);
    }
    if (r == 0)
        r = fe_grant(fe, FE_PAGE_REQUEST, 2, false);
    return r;
}

static int revoke_transport(struct frontend *fe)
{
    int r = fe_revoke(fe, FE_PAGE_CONTROL, 2);

    if (r == 0)
        r = fe_revoke(fe, FE_PAGE_DESC, FE_PAGE_EVENTS - FE_PAGE_DESC + 1);
    if (r == 0)
        r = fx_guest_unbind(fe->fx, &fe->control);
    for (unsigned q = 0; r == 0 && q < 2; q++)
        r = fx_guest_unbind(fe->fx, &fe->queue[q].channel);
    return r;
}

/* Bits that this frontend does not know are not accepted: IN_ORDER, for one, would bind it. */
static int take_features(struct frontend *fe, const struct fe_start *how)
{
    cleanup_free char *text = read_backend_node(fe, "viommu-features");
    uint64_t known = FE_FEATURES_DEFAULT | F_RING_RESET | (how->packed ? F_RING_PACKED : 0);
    uint64_t wanted = how->features | 1ull << 32 | 1ull << 33 | (how->packed ? F_RING_PACKED : 0);
    uint64_t offered;

    if (!text || parse_u64(text, UINT64_MAX, &offered))
        return -EPROTO;
    fe->features = offered & wanted & known;
    return how->packed && !packed(fe) ? -EPROTO : 0;
}

/* The grant map that covers the rings, when their addresses are to lie in it. */
static void add_transport_runs(struct frontend *fe)
{
    for (uint32_t q = 0; q < 2; q++) {
        fe->runs[fe->n_runs++] = (struct fe_run){FE_PAGE_DESC + 3 * q, 1, !packed(fe)};
        fe->runs[fe->n_runs++] = (struct fe_run){FE_PAGE_DESC + 3 * q + 1, 1, true};
        fe->runs[fe->n_runs++] = (struct fe_run){FE_PAGE_DESC + 3 * q + 2, 1, false};
    }
}

int fe_prepare(struct frontend *fe, const struct fe_start *how)
{
    uint32_t verdict;
    int r = fe_write_node(fe, "state", "1");

    if (r == 0)
        r = fe_wait_backend(fe, 1u << 2, NULL);
    if (r == 0)
        r = take_features(fe, how);
    fe->connected = false;
    /* What an earlier connection that the backend ended left behind: nothing maps it any more. */
    if (r == 0 && fe->refs[FE_PAGE_CONTROL])
        r = revoke_transport(fe);
    if (r == 0)
        r = alloc_ports(fe);
    if (r == 0)
        r = grant_transport(fe);
    if (r)
        return r;
    fe->queue[0].size = fe->queue[1].size = how->queue_size;
    memset(page(fe, FE_PAGE_CONTROL), 0, FE_PAGE_SIZE);
    put_word(fe, F_MAGIC, MAGIC_CONTROL);
    put_word(fe, F_VERSION, 1);
    fe->rings_in_map = how->rings_in_map;
    if (how->rings_in_map)
        add_transport_runs(fe);
    if (fe->n_runs) {
        r = fe_offer_map(fe, &verdict);
        if (r)
            return r;
    }
    return write_transport_nodes(fe, how->rings_in_map);
}

int fe_connect(struct frontend *fe, char *why, size_t why_size)
{
    unsigned state;
    int r = fe_write_node(fe, "state", "3");

    *why = '\0';
    if (r == 0)
        r = fe_wait_backend(fe, 1u << 4 | 1u << 5 | 1u << 6, &state);
    if (r)
        return r;
    if (state != 4) {
        cleanup_free char *text = read_backend_node(fe, "error");

        snprintf(why, why_size, "%s", text ? text : "(no error node)");
        return -ECONNREFUSED;
    }
    if (get_word(fe, B_MAGIC) != MAGIC_CONTROL)
        return -EPROTO;
    fe->connected = true;
    return fe_write_node(fe, "state", "4");
}

int fe_start(struct frontend *fe, const struct fe_start *how, char *why, size_t why_size)
{
    int r = fe_prepare(fe, how);

    *why = '\0';
    if (r == 0)
        r = fe_connect(fe, why, why_size);
    return r || how->no_driver_ok ? r : fe_driver_init(fe);
}

int fe_stop(struct frontend *fe)
{
    uint8_t status;
    int r = fe_status(fe, 0, &status);

    if (r == 0)
        r = fe_write_node(fe, "state", "5");
    if (r == 0)
        r = fe_wait_backend(fe, 1u << 6, NULL);
    if (r == 0)
        r = fe_write_node(fe, "state", "6");
    fe->connected = false;
    return r ? r : revoke_transport(fe);
}

static int find_backend(struct frontend *fe)
{
    char path[256];
    unsigned len;
    cleanup_free char *id = NULL;
    cleanup_free char *backend = NULL;

    snprintf(fe->frontend_path, sizeof(fe->frontend_path), "/local/domain/%u/device/virtio/%u",
             fe->domid, fe->devid);
    snprintf(path, sizeof(path), "%s/backend-id", fe->frontend_path);
    id = xs_read(fe->xs, XBT_NULL, path, &len);
    snprintf(path, sizeof(path), "%s/backend", fe->frontend_path);
    backend = xs_read(fe->xs, XBT_NULL, path, &len);
    if (!id || !backend || parse_u32(id, UINT32_MAX, &fe->backend))
        return -ENODEV;
    snprintf(fe->backend_path, sizeof(fe->backend_path), "%s", backend);
    snprintf(path, sizeof(path), "%s/state", backend);
    return xs_watch(fe->xs, path, "backend") ? 0 : -errno;
}

int fe_open(struct frontend *fe, const char *dir, uint32_t domid, uint32_t devid, size_t n_pages)
{
    int r;

    *fe = (struct frontend){.domid = domid, .devid = devid, .n_pages = n_pages};
    fe->refs = calloc(n_pages, sizeof(fe->refs[0]));
    if (!fe->refs)
        return -ENOMEM;
    r = fx_guest_open(&fe->fx, dir, domid, (uint32_t)n_pages);
    if (r)
        return r;
    fe->memory = fx_guest_memory(fe->fx);
    fe->xs = fx_guest_xs(fe->fx);
    if (!fe->xs)
        return -EIO;
    return find_backend(fe);
}

int fe_store_again(struct frontend *fe)
{
    fe->xs = fx_guest_xs_again(fe->fx);
    return fe->xs ? find_backend(fe) : -EIO;
}

void fe_close(struct frontend *fe)
{
    fx_guest_close(fe->fx);
    free(fe->refs);
    *fe = (struct frontend){.fx = NULL};
}
