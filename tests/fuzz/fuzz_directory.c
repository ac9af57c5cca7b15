/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The control page and the grant map's directories, word by word and while they change. Where
 * nothing changes under the device, a second reading of the directory, as docs/protocol.md section
 * 6 has it, foretells the verdict; a map that is not taken leaves the old one, one that is taken
 * covers exactly its pages. MAPs go straight to the device core, so that maps can be busy.
 */
#include <config.h>

#include "backend/daemon/device.h"

#include <errno.h>

#include "common/le.h"
#include "tests/fuzz/guest.h"

#define MAX_STEPS 128u
#define MAX_RUNS  (3 * DIRECTORY_MAX_ENTRIES)

/* Pages of the guest: 0 the control page, 1 to 4 directories, 5 and 6 the rings, others RAM. */
#define DIR_PAGE  1u
#define N_DIRS    4u
#define RING_PAGE 5u
#define MAX_CHAIN 3u /* as guest.c configures the device */

static struct {
    struct fuzz_guest g;
    bool trouble; /* the second reading may have seen something else */
} t;

static void put(unsigned offset, uint32_t value)
{
    le32_store(t.g.mem + offset, value);
}

static uint32_t get(unsigned offset)
{
    return le32_load(t.g.mem + offset);
}

/* --- the second reading ----------------------------------------------------------------------- */

struct second {
    struct gmem_run runs[MAX_RUNS];
    size_t n;
    uint64_t pages;
};

/* The guest's page behind a reference, NULL if it has not granted it. */
static const uint8_t *page_of(uint32_t ref)
{
    static const uint32_t base[] = {GUEST_REF, GUEST_REF_RO, GUEST_REF_HIGH};

    for (unsigned i = 0; i < ARRAY_SIZE(base); i++) {
        if (ref - base[i] < GUEST_PAGES)
            return t.g.revoked[i * GUEST_PAGES + (ref - base[i])]
                       ? NULL
                       : t.g.mem + (size_t)(ref - base[i]) * PAGE;
    }
    return NULL;
}

static bool run_good(const uint8_t *e, struct second *s)
{
    struct gmem_run r = {le64_load(e), le32_load(e + 8), le32_load(e + 12), le32_load(e + 16) & 1};
    uint64_t last = r.address + (uint64_t)r.pages * PAGE - 1;

    if (le32_load(e + 16) > 1 || le32_load(e + 20))
        return false;
    if (r.pages == 0 || r.address % PAGE || r.first_ref == 0)
        return false;
    if (last >> 63 || r.address >> 63 || (uint64_t)r.first_ref + r.pages - 1 > UINT32_MAX)
        return false;
    for (size_t i = 0; i < s->n; i++) {
        uint64_t other = s->runs[i].address + (uint64_t)s->runs[i].pages * PAGE - 1;

        if (r.address <= other && s->runs[i].address <= last)
            return false;
    }
    s->runs[s->n++] = r;
    s->pages += r.pages;
    return true;
}

/* True if the chain at `ref` is a well-formed map of that generation. */
static bool second_reading(uint32_t ref, uint32_t generation, struct second *s)
{
    s->n = 0;
    s->pages = 0;
    for (unsigned length = 0; ref; length++) {
        const uint8_t *p = page_of(ref);

        if (length == MAX_CHAIN || !p || le32_load(p) != 0x44495658 || le32_load(p + 4) != 1 ||
            le32_load(p + 8) != generation || le32_load(p + 12) > 169 || le32_load(p + 0x14) ||
            le32_load(p + 0x18) || le32_load(p + 0x1c))
            return false;
        for (uint32_t i = 0; i < le32_load(p + 12); i++) {
            if (!run_good(p + 0x20 + (size_t)i * 24, s))
                return false;
        }
        ref = le32_load(p + 0x10);
    }
    return generation != 0;
}

/* --- steps ------------------------------------------------------------------------------------ */

/* Exactly the pages of the runs are the guest's memory, with the access that they say. */
static void check_map(const struct second *s)
{
    struct gmem *mem = device_gmem(t.g.d);

    FUZZ_CHECK(gmem_map_pages(mem) == s->pages && gmem_map_runs(mem) <= s->n);
    for (size_t i = 0; i < s->n; i++) {
        const struct gmem_run *r = &s->runs[i];
        struct range all = {r->address, r->address + (uint64_t)r->pages * PAGE - 1};

        FUZZ_CHECK(gmem_check(mem, all, false) == 0);
        FUZZ_CHECK(gmem_check(mem, all, true) == (r->read_only ? -EFAULT : 0));
    }
}

/* Tells the device, and compares what it did with an offered map. */
static void control_event(void)
{
    static struct second s;
    struct gmem *mem = device_gmem(t.g.d);
    uint32_t generation = get(CONTROL_F_MAP_GENERATION);
    uint64_t pages = gmem_map_pages(mem);
    size_t runs = gmem_map_runs(mem);
    bool good = second_reading(get(CONTROL_F_MAP_REF), generation, &s), offered;
    uint32_t verdict;

    /* What the device answered last is its own; the page may say something else by now. */
    put(CONTROL_B_MAP_VERDICT, 99);
    (void)device_control_event(t.g.d);
    fuzz_guest_check(&t.g);
    verdict = get(CONTROL_B_MAP_VERDICT);
    offered = verdict != 99;
    if (t.trouble)
        return;
    if (!offered || verdict != MAP_VERDICT_OK)
        FUZZ_CHECK(gmem_map_pages(mem) == pages && gmem_map_runs(mem) == runs);
    if (!offered || !device_connected(t.g.d))
        return;
    FUZZ_CHECK(verdict <= MAP_VERDICT_TOO_LARGE && get(CONTROL_B_MAP_ANSWERED) == generation);
    FUZZ_CHECK(good == (verdict != MAP_VERDICT_MALFORMED));
    if (verdict == MAP_VERDICT_OK) {
        FUZZ_CHECK(get(CONTROL_B_MAP_IN_USE) == generation);
        check_map(&s);
    }
}

static void step_header(struct fuzz_in *in)
{
    uint8_t what = fuzz_u8(in), v = fuzz_u8(in);
    uint8_t *page = t.g.mem + (DIR_PAGE + what % N_DIRS) * PAGE;
    unsigned word = (what >> 2) % 8;

    le32_store(page + 4 * (size_t)word, what & 0x80 ? fuzz_u32(in) : v);
    if (word == 4 && !(what & 0x80)) /* next */
        le32_store(page + 0x10, v & 1 ? GUEST_REF + DIR_PAGE + (v >> 1) % N_DIRS : 0);
    if (word == 2 && !(what & 0x80)) /* generation */
        le32_store(page + 8, get(CONTROL_F_MAP_GENERATION) + (v & 1));
}

static void step_entry(struct fuzz_in *in)
{
    uint8_t what = fuzz_u8(in), where = fuzz_u8(in), ref = fuzz_u8(in), pages = fuzz_u8(in);
    uint8_t flags = fuzz_u8(in);
    uint8_t *page = t.g.mem + (DIR_PAGE + what % N_DIRS) * PAGE;
    uint8_t *e = page + DIRECTORY_ENTRIES_AT + (size_t)(what >> 2) % 8 * DIRECTORY_ENTRY_SIZE;

    le64_store(e, where >= 240 ? fuzz_u64(in) : (uint64_t)where * PAGE);
    le32_store(e + 8, ref >= 250 ? fuzz_u32(in) : ref >= 240 ? 0 : fuzz_guest_ref(ref));
    le32_store(e + 12, pages >= 240 ? fuzz_u32(in) : pages % 16);
    le32_store(e + 16, flags >= 240 ? fuzz_u32(in) : flags & 1);
    le32_store(e + 20, flags == 239 ? fuzz_u32(in) : 0);
    if (pages < 128 && le32_load(page + DIRECTORY_COUNT_AT) < 8)
        le32_store(page + DIRECTORY_COUNT_AT, (what >> 2) % 8 + 1u);
}

/* A well-formed map of some runs, offered and taken if nothing is in the way. */
static void step_offer(struct fuzz_in *in)
{
    uint8_t v = fuzz_u8(in);
    uint32_t generation = get(CONTROL_F_MAP_GENERATION) + 1;

    for (unsigned i = 0; i < N_DIRS && v < 192; i++) {
        uint8_t *page = t.g.mem + (DIR_PAGE + i) * PAGE;

        le32_store(page, DIRECTORY_MAGIC);
        le32_store(page + DIRECTORY_VERSION_AT, DIRECTORY_VERSION);
        le32_store(page + DIRECTORY_GENERATION_AT, generation);
    }
    put(CONTROL_F_MAP_REF, v % 8 == 7 ? fuzz_u32(in) : v % 8 == 6 ? 0 : GUEST_REF + 1 + v % 4);
    put(CONTROL_F_MAP_GENERATION, generation);
    control_event();
}

/* Any word of the page, frontend's or backend's. */
static void step_word(struct fuzz_in *in)
{
    uint8_t what = fuzz_u8(in);
    unsigned offset = what & 0x40 ? 0x100 + (what & 15) * 4u : (what & 7) * 4u;

    put(offset, what & 0x80 ? fuzz_u32(in) : get(offset) + 1);
    control_event();
}

static void step_status(struct fuzz_in *in)
{
    put(CONTROL_F_STATUS, fuzz_u8(in) & 1 ? GUEST_READY : fuzz_u8(in));
    put(CONTROL_F_STATUS_SEQ, get(CONTROL_F_STATUS_SEQ) + 1);
    control_event();
}

static void step_bypass(struct fuzz_in *in)
{
    uint8_t v = fuzz_u8(in);
    uint32_t value = v < 128 ? v & 1u : v < 192 ? v * 256u + (v & 1u) : fuzz_u32(in);
    bool before = viommu_bypass(device_viommu(t.g.d)), after;

    put(CONTROL_F_BYPASS, value);
    put(CONTROL_F_BYPASS_SEQ, get(CONTROL_F_BYPASS_SEQ) + 1);
    put(CONTROL_B_BYPASS_VERDICT, 99);
    control_event();
    after = viommu_bypass(device_viommu(t.g.d));
    /* With a word of the backend's that others changed, the page says nothing. */
    if (!device_connected(t.g.d) || t.trouble || get(CONTROL_B_BYPASS_VERDICT) == 99)
        return;
    FUZZ_CHECK(get(CONTROL_B_BYPASS_ACK) == get(CONTROL_F_BYPASS_SEQ));
    FUZZ_CHECK(get(CONTROL_B_BYPASS_VERDICT) == 1 || (value <= 1 && after == value));
    FUZZ_CHECK(get(CONTROL_B_BYPASS_VERDICT) == 0 || after == before);
}

static void step_request(struct fuzz_in *in)
{
    uint8_t req[VIOMMU_REQ_MAX], reply[128];
    size_t len = fuzz_guest_request(req, in);

    FUZZ_CHECK(viommu_reply_max(device_viommu(t.g.d)) <= sizeof(reply));
    if (device_connected(t.g.d))
        (void)viommu_request(device_viommu(t.g.d), req, len, 68, reply);
}

static void step_flip(struct fuzz_in *in)
{
    t.trouble = true;
    fuzz_guest_flip(&t.g, fuzz_u16(in) % ((DIR_PAGE + N_DIRS) * PAGE), in);
}

static void step_trouble(struct fuzz_in *in)
{
    t.trouble = true;
    fuzz_guest_trouble(&t.g, in);
}

static void step_write(struct fuzz_in *in)
{
    fuzz_guest_write(&t.g, fuzz_u16(in) % ((DIR_PAGE + N_DIRS) * PAGE), in);
}

static struct device_queue_setup ring_at(unsigned page, bool in_map)
{
    uint64_t at = in_map ? (uint64_t)page * PAGE
                         : GMEM_GRANT_BIT | (uint64_t)(GUEST_REF + page) << GRANT_PAGE_SHIFT;

    return (struct device_queue_setup){
        .size = 4, .desc = at, .driver = at + 512, .device = at + 1024};
}

static void step_connect(struct fuzz_in *in)
{
    uint8_t v = fuzz_u8(in);
    struct device_connection c = {
        .features = (GUEST_MUST | VIOMMU_F_ALL) & ~(uint64_t)(v & 0x40),
        .control_ref = v >= 240 ? fuzz_guest_ref(v) : GUEST_REF,
        .queue = {ring_at(RING_PAGE, v & 1), ring_at(RING_PAGE + 1, v & 2)}};
    char why[200] = "";

    if (v < 200) {
        fuzz_guest_disconnect(&t.g);
        put(CONTROL_F_MAGIC, CONTROL_MAGIC);
        put(CONTROL_F_VERSION, CONTROL_VERSION);
    }
    if (device_connect(t.g.d, &c, why, sizeof(why)) < 0)
        FUZZ_CHECK(why[0]);
    else
        FUZZ_CHECK(get(CONTROL_B_MAGIC) == CONTROL_MAGIC || c.control_ref != GUEST_REF);
}

static void (*const steps[])(struct fuzz_in *in) = {
    step_offer,   step_entry,   step_header, step_offer, step_entry,   step_word,
    step_request, step_status,  step_bypass, step_flip,  step_connect, step_write,
    step_trouble, step_request, step_entry,  step_offer,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t plain[] = {0};
    struct fuzz_in in = {data, size}, first = {plain, sizeof(plain)};
    uint8_t flags;

    memset(&t, 0, sizeof(t));
    flags = fuzz_u8(&in);
    fuzz_guest_open(&t.g, flags & 1, flags & 2);
    t.trouble = flags & 2; /* limits are not the second reading's business */
    if (flags & 4)
        fuzz_take(&in, t.g.mem + CONTROL_F_STATUS, 24);
    step_connect(&first);
    fuzz_guest_check(&t.g);
    for (unsigned i = 0; in.n > 0 && i < MAX_STEPS; i++) {
        steps[fuzz_u8(&in) % ARRAY_SIZE(steps)](&in);
        fuzz_guest_check(&t.g);
    }
    fuzz_guest_close(&t.g);
    return 0;
}
