/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A stream of requests against the device core and against the naive model of it
 * (tests/support/naive_viommu.h): every status and the whole state must agree after each request,
 * the fake host must hold exactly the tables, and the pins must be exactly the mappings. Calls of
 * host and guest memory fail on demand: a refused request has changed nothing then.
 */
#include <config.h>

#include "backend/viommu/viommu.h"

#include <errno.h>

#include "backend/iommu/soft.h"
#include "common/le.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/model_host.h"
#include "tests/support/model_space.h"
#include "tests/support/naive_viommu.h"
#include "tests/support/state_dump.h"

#define PAGE      0x1000ull
#define RAM       (48 * PAGE)
#define ROM       (8 * PAGE)
#define CANARY    0xa5
#define UNWRITTEN (-1)
#define MAX_STEPS 200u

static struct {
    struct model_space mem;
    struct model_host host;
    struct viommu *v;
    struct naive_viommu naive;
    uint8_t reply[1024];
    bool armed;
    int error;
} t;

/* --- the device and its model ----------------------------------------------------------------- */

static void add(uint32_t id, const struct host_iommu_ops *ops, const struct viommu_resv *resv)
{
    struct viommu_endpoint_config config = {
        .id = id,
        .ops = ops,
        .host = ops == &soft_iommu_ops ? NULL : &t.host.endpoints[id - 8],
        .caps = SOFT_IOMMU_CAPS,
        .aperture = {0, UINT64_MAX},
        .resv = resv,
        .n_resv = resv ? 1 : 0,
    };
    const char *why;

    FUZZ_CHECK(viommu_endpoint_add(t.v, &config, &why) == 0);
}

static void start(uint8_t flags)
{
    static const struct viommu_resv resv = {{20 * PAGE, 21 * PAGE - 1}, 0};
    struct viommu_config c = VIOMMU_CONFIG_DEFAULT;
    struct guest_space space;

    memset(&t, 0, sizeof(t));
    t.naive = (struct naive_viommu){
        .max_maps = flags & 1 ? 12 : NAIVE_MAX_MAP,
        .max_vdomains = flags & 2 ? 2 : 4,
        .granule = flags & 4 ? 1 : PAGE,
        .input = {PAGE, 36 * PAGE - 1},
        .resv = resv.range,
        .ram_end = RAM,
        .rom_end = RAM + ROM,
    };
    model_space_init(&t.mem);
    model_host_init(&t.host);
    t.mem.segment_max = flags & 8 ? 3 * PAGE : 0;
    t.host.groups_share = flags & 16;
    space = model_space_guest(&t.mem);
    FUZZ_CHECK(model_space_add(&t.mem, (struct range){0, RAM - 1}, false, true));
    FUZZ_CHECK(model_space_add(&t.mem, (struct range){RAM, RAM + ROM - 1}, true, true));
    c.page_size_mask = -t.naive.granule;
    c.input_range = t.naive.input;
    c.domain_range = (struct range){1, 4};
    c.max_mappings = t.naive.max_maps;
    c.max_vdomains = t.naive.max_vdomains;
    FUZZ_CHECK(viommu_new(&t.v, &c, &space) == 0);
    FUZZ_CHECK(viommu_reply_max(t.v) <= sizeof(t.reply));
    FUZZ_CHECK(viommu_set_features(t.v, VIOMMU_F_ALL) == 0);
    add(8, &model_host_ops, NULL);
    add(9, &model_host_ops, &resv);
    add(10, &model_host_ops, NULL);
    add(11, &model_host_frame_ops, NULL);
    add(12, &soft_iommu_ops, NULL);
}

/* Pins must be exactly the mappings with access, once each. */
static void check_pins(void)
{
    size_t n = 0;

    for (size_t i = 0; i < NAIVE_MAX_MAP; i++) {
        const struct naive_map *m = &t.naive.maps[i];
        bool write = (m->flags & VIOMMU_MAP_F_WRITE) != 0;

        if (!m->used || !(m->flags & (VIOMMU_MAP_F_READ | VIOMMU_MAP_F_WRITE)))
            continue;
        n++;
        FUZZ_CHECK(model_space_pinned(
                       &t.mem, (struct range){m->phys, m->phys + (m->last - m->first)}, write) > 0);
    }
    FUZZ_CHECK(n == t.mem.n_pins);
}

static void check_all(void)
{
    const char *wrong = naive_compare(&t.naive, t.v);

    if (!wrong)
        wrong = model_host_compare(&t.host, t.v, &t.mem);
    if (!wrong)
        wrong = t.mem.complaint ? t.mem.complaint : t.host.complaint;
    if (wrong)
        fprintf(stderr, "%s\n", wrong);
    FUZZ_CHECK(!wrong);
    check_pins();
}

static void stop(void)
{
    t.v = viommu_free(t.v);
    FUZZ_CHECK(t.host.n_spaces == 0 && t.mem.n_pins == 0);
    for (size_t i = 0; i < MODEL_HOST_ENDPOINTS; i++)
        FUZZ_CHECK(!t.host.endpoints[i].space && !t.host.endpoints[i].identity);
    FUZZ_CHECK(!t.mem.complaint && !t.host.complaint);
    model_host_fini(&t.host);
    model_space_fini(&t.mem);
}

static char *dump(void)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    FUZZ_CHECK(out);
    state_dump(t.v, out);
    model_host_dump(&t.host, out);
    model_space_dump(&t.mem, out);
    FUZZ_CHECK(fclose(out) == 0);
    return text;
}

/* --- failures --------------------------------------------------------------------------------- */

static const enum model_host_verb host_verbs[] = {HOST_MAP, HOST_SPACE_NEW, HOST_ATTACH,
                                                  HOST_BYPASS_ON};
static const enum model_space_verb space_verbs[] = {SPACE_PIN, SPACE_SEGMENT};

static void arm(struct fuzz_in *in)
{
    static const int errors[] = {-ENOMEM, -ENOSPC, -EIO, -EINVAL, -EBUSY};
    uint8_t how = fuzz_u8(in);
    unsigned n = 1 + fuzz_u8(in) % 3;

    t.error = errors[how % ARRAY_SIZE(errors)];
    t.armed = true;
    if (how & 0x80)
        model_space_fail(&t.mem, space_verbs[(how >> 5) % 2], n, t.error);
    else
        model_host_fail(&t.host, host_verbs[(how >> 5) % 4], n, 1, t.error);
}

/* Did a call of the last step fail? */
static bool failed(void)
{
    for (unsigned i = 0; i < HOST_N_VERBS; i++) {
        if (t.host.fail_at[i] && t.host.calls[i] >= t.host.fail_at[i])
            return true;
    }
    for (unsigned i = 0; i < SPACE_N_VERBS; i++) {
        if (t.mem.fail_at[i] && t.mem.calls[i] >= t.mem.fail_at[i])
            return true;
    }
    return false;
}

static void disarm(void)
{
    memset(t.host.fail_at, 0, sizeof(t.host.fail_at));
    memset(t.mem.fail_at, 0, sizeof(t.mem.fail_at));
    t.armed = false;
}

/* --- requests --------------------------------------------------------------------------------- */

/* Status of the tail, or UNWRITTEN; the reply's form is checked. */
static int send(const uint8_t *req, size_t len, uint64_t writable)
{
    uint8_t *copy = malloc(len ? len : 1); /* of exact size, for the sanitizers */
    size_t max = viommu_reply_max(t.v), used;
    const uint8_t *tail;

    FUZZ_CHECK(copy);
    if (len)
        memcpy(copy, req, len);
    memset(t.reply, CANARY, sizeof(t.reply));
    used = viommu_request(t.v, copy, len, writable, t.reply);
    free(copy);
    FUZZ_CHECK(used <= max && used <= writable);
    for (size_t i = used; i < sizeof(t.reply); i++)
        FUZZ_CHECK(t.reply[i] == CANARY);
    if (used == 0)
        return UNWRITTEN;
    FUZZ_CHECK(used == (req[0] != VIOMMU_T_PROBE ? 4 : writable < max ? writable : max));
    tail = t.reply + used - VIOMMU_TAIL_SIZE;
    FUZZ_CHECK(tail[0] < VIOMMU_N_STATUS && !tail[1] && !tail[2] && !tail[3]);
    return tail[0];
}

/*
 * A request whose status is known: of the naive model, which has not carried it out yet. `got` of
 * the device decides with an injected failure.
 */
struct step {
    uint8_t req[VIOMMU_REQ_MAX];
    size_t len;
    struct naive_viommu after;
    int want;
};

static uint64_t address(struct fuzz_in *in)
{
    uint16_t v = fuzz_u16(in);
    uint64_t addr = (v & 0x3f) * PAGE;

    switch (v >> 13) {
    case 0:
        return addr + (v >> 6 & 0x7f);
    case 1:
        return UINT64_MAX - (v & 0x1fff);
    case 2:
        return fuzz_u64(in);
    default:
        return addr;
    }
}

static uint64_t last_of(struct fuzz_in *in, uint64_t first)
{
    uint8_t v = fuzz_u8(in);
    uint64_t last = first + (1 + v % 8) * PAGE - 1;

    if (v >= 248)
        return address(in);
    if (v >= 240)
        return address(in) - 1;
    if (t.naive.granule == 1 && v & 0x40)
        last = first + v;
    return last < first ? UINT64_MAX : last;
}

static void step_attach(struct step *s, struct fuzz_in *in)
{
    uint8_t ids = fuzz_u8(in), flags = fuzz_u8(in);
    uint32_t vdomain = ids % 6, endpoint = 8 + (ids >> 4) % 8;

    flags = flags >= 250 ? flags : flags & 1;
    s->req[0] = VIOMMU_T_ATTACH;
    le32_store(s->req + VIOMMU_ATTACH_DOMAIN, vdomain);
    le32_store(s->req + VIOMMU_ATTACH_ENDPOINT, endpoint);
    le32_store(s->req + VIOMMU_ATTACH_FLAGS, flags);
    s->len = VIOMMU_ATTACH_SIZE;
    s->want = naive_attach(&s->after, vdomain, endpoint, flags);
}

static void step_detach(struct step *s, struct fuzz_in *in)
{
    uint8_t ids = fuzz_u8(in);
    uint32_t vdomain = ids % 6, endpoint = 8 + (ids >> 4) % 8;

    s->req[0] = VIOMMU_T_DETACH;
    le32_store(s->req + VIOMMU_DETACH_DOMAIN, vdomain);
    le32_store(s->req + VIOMMU_DETACH_ENDPOINT, endpoint);
    s->len = VIOMMU_DETACH_SIZE;
    s->want = naive_detach(&s->after, vdomain, endpoint);
}

static void step_map(struct step *s, struct fuzz_in *in)
{
    uint8_t v = fuzz_u8(in);
    struct naive_map m = {.vdomain = v % 6, .flags = v >> 4};

    m.first = address(in);
    m.last = last_of(in, m.first);
    m.phys = (fuzz_u8(in) % 64) * PAGE;
    if (v >= 0x80)
        m.phys = address(in);
    m.flags &= v >= 0xf8 ? 15 : 7;
    s->req[0] = VIOMMU_T_MAP;
    le32_store(s->req + VIOMMU_MAP_DOMAIN, m.vdomain);
    le64_store(s->req + VIOMMU_MAP_VIRT_START, m.first);
    le64_store(s->req + VIOMMU_MAP_VIRT_END, m.last);
    le64_store(s->req + VIOMMU_MAP_PHYS_START, m.phys);
    le32_store(s->req + VIOMMU_MAP_FLAGS, m.flags);
    s->len = VIOMMU_MAP_SIZE;
    s->want = naive_map(&s->after, &m);
}

static void step_unmap(struct step *s, struct fuzz_in *in)
{
    uint8_t v = fuzz_u8(in);
    uint32_t vdomain = v % 6;
    uint64_t first = address(in), last = last_of(in, first);
    const struct naive_map *m = &t.naive.maps[NAIVE_MAX_MAP - 1 - v / 6 % 16];

    if (m->used && v >= 96) { /* one that is there */
        vdomain = m->vdomain;
        first = m->first;
        last = m->last;
    }
    s->req[0] = VIOMMU_T_UNMAP;
    le32_store(s->req + VIOMMU_UNMAP_DOMAIN, vdomain);
    le64_store(s->req + VIOMMU_UNMAP_VIRT_START, first);
    le64_store(s->req + VIOMMU_UNMAP_VIRT_END, last);
    s->len = VIOMMU_UNMAP_SIZE;
    s->want = naive_unmap(&s->after, vdomain, first, last);
}

static void step_probe(struct step *s, struct fuzz_in *in)
{
    uint32_t endpoint = 8 + fuzz_u8(in) % 8;

    s->req[0] = VIOMMU_T_PROBE;
    le32_store(s->req + VIOMMU_PROBE_ENDPOINT, endpoint);
    s->len = VIOMMU_PROBE_SIZE;
    s->want = endpoint < 8 + NAIVE_ENDPOINTS ? VIOMMU_S_OK : VIOMMU_S_NOENT;
}

/* Compares a verdict with the model's, and lets the model follow. */
static void settle(int got, int want, const struct naive_viommu *after, const char *before)
{
    if (t.armed && failed()) {
        char *now = dump();

        FUZZ_CHECK(got == VIOMMU_S_OK || !strcmp(now, before));
        free(now);
        FUZZ_CHECK(naive_follow(&t.naive, t.v));
        return;
    }
    if (got != want)
        fprintf(stderr, "status %d, the model says %d\n", got, want);
    FUZZ_CHECK(got == want);
    t.naive = *after;
}

static void do_request(struct fuzz_in *in)
{
    static void (*const steps[])(struct step * s, struct fuzz_in * in) = {
        step_map, step_attach, step_unmap, step_detach, step_map, step_unmap, step_probe, step_map,
    };
    struct step s = {.after = t.naive};
    char *before = t.armed ? dump() : NULL;
    int got;

    steps[fuzz_u8(in) % ARRAY_SIZE(steps)](&s, in);
    got = send(s.req, s.len, s.req[0] == VIOMMU_T_PROBE ? viommu_reply_max(t.v) : VIOMMU_TAIL_SIZE);
    settle(got, s.want, &s.after, before);
    free(before);
}

/* Any bytes: refused or carried out, the model follows; a refusal changes nothing. */
static void do_raw(struct fuzz_in *in)
{
    uint8_t req[VIOMMU_REQ_MAX + 8];
    size_t len = fuzz_u8(in) % (sizeof(req) + 1);
    uint64_t writable = fuzz_u16(in) % 1024;
    char *before = dump(), *after;
    int got;

    fuzz_take(in, req, len);
    if (len > VIOMMU_REQ_MAX) /* the caller hands over that many at most */
        len = VIOMMU_REQ_MAX;
    got = send(req, len, writable);
    after = dump();
    FUZZ_CHECK(got == VIOMMU_S_OK || !strcmp(before, after));
    free(before);
    free(after);
    FUZZ_CHECK(naive_follow(&t.naive, t.v));
}

static void do_device(struct fuzz_in *in)
{
    uint8_t v = fuzz_u8(in);
    struct naive_viommu after = t.naive;
    char *before = t.armed ? dump() : NULL;
    int rc;

    if (v < 64) {
        disarm();
        viommu_reset(t.v);
        FUZZ_CHECK(viommu_set_features(t.v, VIOMMU_F_ALL) == 0);
        naive_reset(&t.naive);
    } else {
        v %= 3;
        rc = viommu_bypass_write(t.v, v);
        after.bypass_byte = v < 2 ? v : t.naive.bypass_byte;
        settle(-rc, v < 2 ? 0 : EINVAL, &after, before);
    }
    free(before);
}

static void do_lookup(struct fuzz_in *in)
{
    unsigned index = fuzz_u8(in) % NAIVE_ENDPOINTS;
    bool write = fuzz_u8(in) & 1;
    uint64_t addr = address(in), want = naive_lookup(&t.naive, index, addr, write);
    struct viommu_fault fault;
    struct range gpa;
    int rc = viommu_translate(t.v, 8 + index, (struct range){addr, addr}, write, &gpa, &fault);

    if (addr == UINT64_MAX) /* the model's word for "refused" */
        return;
    FUZZ_CHECK((rc == 0) == (want != UINT64_MAX));
    FUZZ_CHECK(rc != 0 || (gpa.first == want && gpa.last == want));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_in in = {data, size};

    start(fuzz_u8(&in));
    for (unsigned i = 0; in.n > 0 && i < MAX_STEPS; i++) {
        uint8_t op = fuzz_u8(&in);
        bool fails = op >= 208 && op < 240;

        if (fails)
            arm(&in);
        if (op < 176 || (fails && op < 232))
            do_request(&in);
        else if (op < 192)
            do_lookup(&in);
        else if (op < 208)
            do_raw(&in);
        else
            do_device(&in);
        disarm();
        check_all();
    }
    stop();
    return 0;
}
