/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * scripted-guest: a fakexen guest that does what it is told, one command per line on standard
 * input, one answer per line on standard output. The demo and the whole-daemon tests drive the real
 * backend with it. `scripted-guest --help` lists the commands.
 */
#include <config.h>

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/le.h"
#include "common/strutil.h"
#include "tests/support/guest/frontend.h"

#define MAX_WORDS  16
#define MAX_ANSWER 1024

struct words {
    char *word[MAX_WORDS];
    unsigned n;
};

/* One answer line; keeps the script's error count. */
static unsigned errors;

static void answer(const char *fmt, ...) PRINTF_LIKE(1, 2);
static void answer(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
    fflush(stdout);
}

static void answer_result(int r)
{
    if (r) {
        errors++;
        answer("error %s", strerror(-r));
    } else {
        answer("ok");
    }
}

/* --- arguments -------------------------------------------------------------------------------- */

static const char *arg_text(const struct words *w, const char *key)
{
    size_t len = strlen(key);

    for (unsigned i = 1; i < w->n; i++) {
        if (strncmp(w->word[i], key, len) == 0 && w->word[i][len] == '=')
            return w->word[i] + len + 1;
    }
    return NULL;
}

static bool arg_bad;

static uint64_t arg(const struct words *w, const char *key, uint64_t fallback)
{
    const char *text = arg_text(w, key);
    uint64_t value = fallback;

    if (text && parse_u64(text, UINT64_MAX, &value))
        arg_bad = true;
    return value;
}

static uint32_t arg32(const struct words *w, const char *key, uint32_t fallback)
{
    uint64_t value = arg(w, key, fallback);

    if (value > UINT32_MAX)
        arg_bad = true;
    return (uint32_t)value;
}

static uint64_t plain(const struct words *w, unsigned i, uint64_t fallback)
{
    uint64_t value = fallback;

    if (i < w->n && parse_u64(w->word[i], UINT64_MAX, &value))
        arg_bad = true;
    return value;
}

static void print_hex(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        printf("%02x", p[i]);
}

/* --- connecting ------------------------------------------------------------------------------- */

static void cmd_start(struct frontend *fe, const struct words *w)
{
    char why[512];
    struct fe_start how = {.queue_size = arg32(w, "size", 64),
                           .features = arg(w, "features", FE_FEATURES_DEFAULT),
                           .packed = arg(w, "packed", 0),
                           .rings_in_map = arg(w, "map-rings", 0),
                           .no_driver_ok = arg(w, "no-driver-ok", 0)};
    int r = fe_start(fe, &how, why, sizeof(why));

    if (r == -ECONNREFUSED)
        answer("refused %s", why);
    else if (r)
        answer_result(r);
    else
        answer("connected features=%#" PRIx64, fe->features);
}

static void cmd_stop(struct frontend *fe, const struct words *w UNUSED)
{
    answer_result(fe_stop(fe));
}

static void cmd_store(struct frontend *fe, const struct words *w UNUSED)
{
    answer_result(fe_store_again(fe));
}

static void cmd_status(struct frontend *fe, const struct words *w)
{
    uint8_t status = fe_device_status(fe);
    int r = 0;

    if (w->n > 1)
        r = fe_status(fe, (uint8_t)plain(w, 1, 0), &status);
    if (r)
        answer_result(r);
    else
        answer("status=%#x", status);
}

static void cmd_reset(struct frontend *fe, const struct words *w UNUSED)
{
    uint8_t status;
    int r = fe_status(fe, 0, &status);

    if (r == 0)
        r = fe_driver_init(fe);
    answer_result(r);
}

static void cmd_state(struct frontend *fe, const struct words *w)
{
    answer_result(fe_write_node(fe, "state", w->n > 1 ? w->word[1] : ""));
}

static void cmd_node(struct frontend *fe, const struct words *w)
{
    char value[512] = "";
    size_t at = 0;

    for (unsigned i = 2; i < w->n && at < sizeof(value); i++)
        at += (size_t)snprintf(value + at, sizeof(value) - at, "%s%s", i > 2 ? " " : "",
                               w->word[i]);
    answer_result(fe_write_node(fe, w->n > 1 ? w->word[1] : "state", value));
}

static void cmd_wait(struct frontend *fe, const struct words *w)
{
    unsigned state = 0;
    int r = fe_wait_backend(fe, 1u << (plain(w, 1, 4) & 15), &state);

    if (r)
        answer_result(r);
    else
        answer("state=%u", state);
}

static void cmd_bypass(struct frontend *fe, const struct words *w)
{
    uint32_t verdict;
    int r = fe_bypass(fe, (uint32_t)plain(w, 1, 0), &verdict);

    if (r)
        answer_result(r);
    else
        answer("verdict=%u", verdict);
}

/* --- memory ----------------------------------------------------------------------------------- */

static void cmd_grant(struct frontend *fe, const struct words *w)
{
    uint32_t p = arg32(w, "p", FE_PAGE_FIRST_FREE), n = arg32(w, "n", 1);
    int r = arg_bad ? -EINVAL : fe_grant(fe, p, n, arg(w, "ro", 0));

    if (r)
        answer_result(r);
    else
        answer("address=%#" PRIx64, fe_grant_address(fe, p));
}

static void cmd_revoke(struct frontend *fe, const struct words *w)
{
    int r = fe_revoke(fe, arg32(w, "p", FE_PAGE_FIRST_FREE), arg32(w, "n", 1));

    if (r == -EBUSY)
        answer("busy");
    else
        answer_result(r);
}

/* publish p=.. n=.. [ro=1]: one more run (granting it too); publish: offers the runs as they are.
 */
static void cmd_publish(struct frontend *fe, const struct words *w)
{
    struct fe_run run = {arg32(w, "p", 0), arg32(w, "n", 1), arg(w, "ro", 0)};
    uint32_t verdict;
    int r = 0;

    if (arg_text(w, "p")) {
        if (fe->n_runs == FE_MAX_RUNS) {
            answer_result(-ENOSPC);
            return;
        }
        r = fe_grant(fe, run.page, run.n, run.read_only);
        if (r == 0)
            fe->runs[fe->n_runs++] = run;
    }
    if (r == 0)
        r = fe_offer_map(fe, &verdict);
    if (r)
        answer_result(r);
    else
        answer("verdict=%u", verdict);
}

static void cmd_unpublish(struct frontend *fe, const struct words *w)
{
    uint32_t p = arg32(w, "p", 0), verdict;
    struct fe_run removed = {0};
    int r = -ENOENT;

    for (unsigned i = 0; i < fe->n_runs; i++) {
        if (fe->runs[i].page != p)
            continue;
        removed = fe->runs[i];
        memmove(&fe->runs[i], &fe->runs[i + 1], (fe->n_runs - i - 1) * sizeof(fe->runs[0]));
        fe->n_runs--;
        r = fe_offer_map(fe, &verdict);
        break;
    }
    if (r) {
        answer_result(r);
        return;
    }
    if (verdict) /* the old map stays, so the run stays */
        fe->runs[fe->n_runs++] = removed;
    answer("verdict=%u", verdict);
}

static bool in_memory(const struct frontend *fe, uint64_t at, uint64_t len)
{
    uint64_t size = (uint64_t)fe->n_pages * FE_PAGE_SIZE;

    return at < size && len <= size - at;
}

static void cmd_poke(struct frontend *fe, const struct words *w)
{
    uint8_t bytes[256];
    uint64_t at = arg(w, "a", 0);
    const char *hex = arg_text(w, "hex");
    size_t len;

    if (!hex || parse_hex(hex, bytes, sizeof(bytes), &len) || !in_memory(fe, at, len)) {
        answer_result(-EINVAL);
        return;
    }
    memcpy(fe->memory + at, bytes, len);
    answer("ok");
}

static void cmd_peek(struct frontend *fe, const struct words *w)
{
    uint64_t at = arg(w, "a", 0), len = arg(w, "len", 16);

    if (!in_memory(fe, at, len)) {
        answer_result(-EINVAL);
        return;
    }
    print_hex(fe->memory + at, len);
    answer("%s", "");
}

/* --- requests --------------------------------------------------------------------------------- */

static void send_request(struct frontend *fe, const uint8_t *req, size_t len, size_t writable,
                         bool properties)
{
    uint8_t reply[2048];
    uint32_t used = 0;
    int r = arg_bad ? -EINVAL : fe_request(fe, req, len, reply, writable, &used);

    if (r == 0 && used > writable)
        r = -EPROTO;
    if (r) {
        answer_result(r);
        return;
    }
    if (used < 4)
        printf("status=none used=%u", used);
    else
        printf("status=%u used=%u", reply[used - 4], used);
    if (properties && used > 4) {
        printf(" props=");
        print_hex(reply, used - 4);
    }
    answer("%s", "");
}

static void cmd_attach(struct frontend *fe, const struct words *w)
{
    uint8_t req[20] = {1};

    le32_store(req + 4, arg32(w, "d", 0));
    le32_store(req + 8, arg32(w, "e", 0));
    le32_store(req + 12, arg32(w, "flags", 0));
    send_request(fe, req, sizeof(req), 4, false);
}

static void cmd_detach(struct frontend *fe, const struct words *w)
{
    uint8_t req[20] = {2};

    le32_store(req + 4, arg32(w, "d", 0));
    le32_store(req + 8, arg32(w, "e", 0));
    send_request(fe, req, sizeof(req), 4, false);
}

static void cmd_map(struct frontend *fe, const struct words *w)
{
    uint8_t req[36] = {3};

    le32_store(req + 4, arg32(w, "d", 0));
    le64_store(req + 8, arg(w, "vs", 0));
    le64_store(req + 16, arg(w, "ve", 0));
    le64_store(req + 24, arg(w, "ps", 0));
    le32_store(req + 32, arg32(w, "f", 0));
    send_request(fe, req, sizeof(req), 4, false);
}

static void cmd_unmap(struct frontend *fe, const struct words *w)
{
    uint8_t req[28] = {4};

    le32_store(req + 4, arg32(w, "d", 0));
    le64_store(req + 8, arg(w, "vs", 0));
    le64_store(req + 16, arg(w, "ve", 0));
    send_request(fe, req, sizeof(req), 4, false);
}

static void cmd_probe(struct frontend *fe, const struct words *w)
{
    uint8_t req[72] = {5};

    le32_store(req + 4, arg32(w, "e", 0));
    send_request(fe, req, sizeof(req), arg32(w, "size", 512) + 4, true);
}

static void cmd_raw(struct frontend *fe, const struct words *w)
{
    uint8_t req[512];
    const char *hex = arg_text(w, "hex");
    size_t len = 0;

    if (hex && parse_hex(hex, req, sizeof(req), &len)) {
        answer_result(-EINVAL);
        return;
    }
    send_request(fe, req, len, arg32(w, "wlen", 4), false);
}

static void cmd_event(struct frontend *fe, const struct words *w)
{
    uint8_t e[24];
    int r = fe_event(fe, (int)plain(w, 1, FE_WAIT_MS), e);

    if (r == -ETIMEDOUT)
        answer("none");
    else if (r)
        answer_result(r);
    else
        answer("fault reason=%u flags=%#x endpoint=%#x address=%#" PRIx64, e[0], le32_load(e + 4),
               le32_load(e + 8), le64_load(e + 16));
}

/*
 * MAPs of n granted pages from p on, the last one first, at vs on; UNMAPs of the same, each a page.
 * In batches; counts those that were answered OK.
 */
struct pages {
    uint32_t vdomain, p, n, batch;
    uint64_t vs;
};

static bool pages_arg(const struct frontend *fe, const struct words *w, struct pages *out)
{
    *out = (struct pages){.vdomain = arg32(w, "d", 1),
                          .p = arg32(w, "p", FE_PAGE_FIRST_FREE),
                          .n = arg32(w, "n", 1),
                          .batch = arg32(w, "batch", 1),
                          .vs = arg(w, "vs", 0)};
    return !arg_bad && out->batch > 0 && out->batch <= 64 && out->p < fe->n_pages &&
           out->n <= fe->n_pages - out->p;
}

static void put_map(const struct frontend *fe, const struct pages *a, uint32_t i, uint8_t *req)
{
    uint64_t first = a->vs + (uint64_t)i * FE_PAGE_SIZE;

    memset(req, 0, 36);
    req[0] = 3;
    le32_store(req + 4, a->vdomain);
    le64_store(req + 8, first);
    le64_store(req + 16, first + FE_PAGE_SIZE - 1);
    le64_store(req + 24, fe_grant_address(fe, a->p + a->n - 1 - i));
    le32_store(req + 32, 3);
}

static void put_unmap(const struct frontend *fe UNUSED, const struct pages *a, uint32_t i,
                      uint8_t *req)
{
    uint64_t first = a->vs + (uint64_t)i * FE_PAGE_SIZE;

    memset(req, 0, 28);
    req[0] = 4;
    le32_store(req + 4, a->vdomain);
    le64_store(req + 8, first);
    le64_store(req + 16, first + FE_PAGE_SIZE - 1);
}

/* One by one as any request is sent (packed, indirect), else as a batch. */
static int send_some(struct frontend *fe, const uint8_t *reqs, size_t len, unsigned n,
                     unsigned *good)
{
    uint8_t tail[4];
    uint32_t used;
    int r;

    if (n > 1)
        return fe_batch(fe, reqs, len, n, good);
    r = fe_request(fe, reqs, len, tail, sizeof(tail), &used);
    *good = r == 0 && used == 4 && tail[0] == 0;
    return r;
}

static int run_pages(struct frontend *fe, const struct pages *a, size_t len,
                     void (*put)(const struct frontend *, const struct pages *, uint32_t,
                                 uint8_t *),
                     uint64_t *ok)
{
    uint8_t reqs[64 * 36];
    int r = 0;

    for (uint32_t i = 0, some; i < a->n && r == 0; i += some) {
        unsigned good = 0;

        some = a->n - i < a->batch ? a->n - i : a->batch;
        for (uint32_t k = 0; k < some; k++)
            put(fe, a, i + k, reqs + k * len);
        r = send_some(fe, reqs, len, some, &good);
        *ok += good;
    }
    return r;
}

static void answer_ok(int r, uint64_t ok)
{
    if (r)
        answer_result(r);
    else
        answer("ok=%" PRIu64, ok);
}

static void cmd_maps(struct frontend *fe, const struct words *w)
{
    struct pages a;
    uint64_t ok = 0;
    int r = pages_arg(fe, w, &a) ? run_pages(fe, &a, 36, put_map, &ok) : -EINVAL;

    answer_ok(r, ok);
}

static void cmd_unmaps(struct frontend *fe, const struct words *w)
{
    struct pages a;
    uint64_t ok = 0;
    int r = pages_arg(fe, w, &a) ? run_pages(fe, &a, 28, put_unmap, &ok) : -EINVAL;

    answer_ok(r, ok);
}

/* `churn n=.. p=..`: how many were answered OK, and how many MAPs were refused because of the host
 * (DEVERR, NOMEM), if any. */
static void churn_one(struct frontend *fe, const struct words *w)
{
    uint64_t n = arg(w, "n", 1000), ok = 0, refused = 0;
    uint32_t p = arg32(w, "p", FE_PAGE_FIRST_FREE), used;
    uint8_t map[36] = {3}, unmap[28] = {4}, tail[4];
    int r = 0;

    le32_store(map + 4, arg32(w, "d", 1));
    le64_store(map + 16, FE_PAGE_SIZE - 1);
    le64_store(map + 24, fe_grant_address(fe, p));
    le32_store(map + 32, 3);
    le32_store(unmap + 4, arg32(w, "d", 1));
    le64_store(unmap + 16, FE_PAGE_SIZE - 1);
    for (uint64_t i = 0; i < n && r == 0; i++) {
        r = fe_request(fe, map, sizeof(map), tail, 4, &used);
        ok += r == 0 && used == 4 && tail[0] == 0;
        refused += r == 0 && used == 4 && (tail[0] == 3 || tail[0] == 8);
        if (r == 0)
            r = fe_request(fe, unmap, sizeof(unmap), tail, 4, &used);
        ok += r == 0 && used == 4 && tail[0] == 0;
    }
    if (r)
        answer_result(r);
    else if (refused)
        answer("ok=%" PRIu64 " refused=%" PRIu64, ok, refused);
    else
        answer("ok=%" PRIu64, ok);
}

/* MAP and UNMAP over and over, of one granted page, or (batch=) of one for each of a batch. */
static void cmd_churn(struct frontend *fe, const struct words *w)
{
    uint64_t n = arg(w, "n", 1000), ok = 0;
    struct pages a;
    int r = -EINVAL;

    if (arg(w, "batch", 1) == 1) {
        churn_one(fe, w);
        return;
    }
    if (pages_arg(fe, w, &a)) {
        a.n = a.batch;
        r = a.n <= fe->n_pages - a.p ? 0 : -EINVAL;
    }
    for (uint64_t i = 0; i < n && r == 0; i += a.batch) {
        r = run_pages(fe, &a, 36, put_map, &ok);
        if (r == 0)
            r = run_pages(fe, &a, 28, put_unmap, &ok);
    }
    answer_ok(r, ok);
}

/* `kick queue=N times=N`: bare notifications. */
static void cmd_kick(struct frontend *fe, const struct words *w)
{
    uint64_t times = arg(w, "times", 1);
    uint32_t queue = arg32(w, "queue", 0);
    int r = queue < 2 ? 0 : -EINVAL;

    for (uint64_t i = 0; i < times && r == 0; i++)
        r = fx_channel_notify(&fe->queue[queue].channel);
    answer_result(r);
}

/* `ring queue=N avail=IDX`: overwrites the available index, as a broken driver would, and kicks. */
static void cmd_ring(struct frontend *fe, const struct words *w)
{
    uint32_t queue = arg32(w, "queue", 0);

    if (queue > 1 || arg_bad) {
        answer_result(-EINVAL);
        return;
    }
    le16_store(fe->memory + (size_t)(FE_PAGE_DESC + 3 * queue + 1) * FE_PAGE_SIZE + 2,
               (uint16_t)arg(w, "avail", 0));
    answer_result(fx_channel_notify(&fe->queue[queue].channel));
}

static void answer_verdict(int r, uint32_t verdict)
{
    if (r)
        answer_result(r);
    else
        answer("verdict=%u", verdict);
}

static void cmd_queue_reset(struct frontend *fe, const struct words *w)
{
    uint32_t queue = arg32(w, "queue", 0), verdict = 0;

    answer_verdict(queue < 2 ? fe_queue_reset(fe, queue, &verdict) : -EINVAL, verdict);
}

static void cmd_queue_enable(struct frontend *fe, const struct words *w)
{
    uint32_t queue = arg32(w, "queue", 0), size = arg32(w, "size", 0), verdict = 0;

    answer_verdict(queue < 2 ? fe_queue_enable(fe, queue, size, &verdict) : -EINVAL, verdict);
}

/* --- the loop --------------------------------------------------------------------------------- */

static const struct command {
    const char *name;
    void (*run)(struct frontend *fe, const struct words *w);
    const char *help;
} commands[] = {
    {"start", cmd_start,
     "[size=N] [features=MASK] [packed=1] [map-rings=1] [no-driver-ok=1]: connect"},
    {"stop", cmd_stop, "reset, close, wait for Closed, revoke the transport's grants"},
    {"store", cmd_store, "connect to xenstore anew"},
    {"status", cmd_status, "[BITS]: write the driver status; prints the device's"},
    {"reset", cmd_reset, "device reset and fresh initialization on the same connection"},
    {"state", cmd_state, "TEXT: write the frontend's state node"},
    {"node", cmd_node, "NAME TEXT...: write any node of the frontend"},
    {"wait", cmd_wait, "N: wait for the backend's state N"},
    {"bypass", cmd_bypass, "0|1: write the config's bypass byte"},
    {"grant", cmd_grant, "p=PAGE n=N [ro=1]: grant pages; prints their grant address"},
    {"revoke", cmd_revoke, "p=PAGE n=N: ok, or busy while the backend maps them"},
    {"publish", cmd_publish, "[p=PAGE n=N [ro=1]]: offer a grant map with one more run"},
    {"unpublish", cmd_unpublish, "p=PAGE: offer the grant map without that run"},
    {"poke", cmd_poke, "a=ADDRESS hex=BYTES: write own memory"},
    {"peek", cmd_peek, "a=ADDRESS len=N: read own memory"},
    {"attach", cmd_attach, "d= e= [flags=]"},
    {"detach", cmd_detach, "d= e="},
    {"map", cmd_map, "d= vs= ve= ps= f="},
    {"unmap", cmd_unmap, "d= vs= ve="},
    {"probe", cmd_probe, "e= [size=]"},
    {"raw", cmd_raw, "hex= wlen="},
    {"event", cmd_event, "[MS]: wait for a fault report"},
    {"maps", cmd_maps, "p= n= vs= [d=] [batch=]: MAP n granted pages one by one, backwards"},
    {"unmaps", cmd_unmaps, "n= vs= [d=] [batch=]: UNMAP n pages one by one"},
    {"churn", cmd_churn, "n= p= [d=] [batch=]: MAP and UNMAP of granted pages, n times"},
    {"kick", cmd_kick, "queue= times=: bare notifications"},
    {"ring", cmd_ring, "queue= avail=: overwrite the available index of a split ring and kick"},
    {"queue-reset", cmd_queue_reset, "queue=: reset one queue (start features=.. with bit 40)"},
    {"queue-enable", cmd_queue_enable, "queue= [size=]: start it afresh"},
};

static void usage(FILE *to)
{
    fprintf(to, "usage: scripted-guest --dir DIR --domid N [--device N] [--pages N]\n\n"
                "Commands, one per line:\n");
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
        fprintf(to, "  %-10s %s\n", commands[i].name, commands[i].help);
}

static void run_line(struct frontend *fe, char *line)
{
    struct words w = {.n = 0};
    char *save = NULL;

    for (char *word = strtok_r(line, " \t\r\n", &save); word && w.n < MAX_WORDS;
         word = strtok_r(NULL, " \t\r\n", &save))
        w.word[w.n++] = word;
    if (w.n == 0 || w.word[0][0] == '#')
        return;
    arg_bad = false;
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        if (strcmp(commands[i].name, w.word[0]) == 0) {
            commands[i].run(fe, &w);
            return;
        }
    }
    errors++;
    answer("error unknown command '%s'", w.word[0]);
}

static int run(const char *dir, uint32_t domid, uint32_t devid, size_t pages)
{
    struct frontend fe;
    char line[MAX_ANSWER];
    int r = fe_open(&fe, dir, domid, devid, pages);

    if (r) {
        fprintf(stderr, "scripted-guest: cannot start in %s as domain %u: %s\n", dir, domid,
                strerror(-r));
        return 1;
    }
    answer("guest %u ready, device %u of domain %u", domid, devid, fe.backend);
    while (fgets(line, sizeof(line), stdin))
        run_line(&fe, line);
    fe_close(&fe);
    return errors ? 1 : 0;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"dir", required_argument, NULL, 'd'},    {"domid", required_argument, NULL, 'g'},
        {"device", required_argument, NULL, 'n'}, {"pages", required_argument, NULL, 'p'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
    };
    const char *dir = NULL;
    uint32_t domid = 0, devid = 0, pages = 4096;
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        int r = 0;

        if (c == 'd')
            dir = optarg;
        else if (c == 'g')
            r = parse_u32(optarg, 0x7fef, &domid);
        else if (c == 'n')
            r = parse_u32(optarg, 0xffff, &devid);
        else if (c == 'p')
            r = parse_u32(optarg, 1u << 20, &pages);
        else if (c == 'h')
            usage(stdout);
        if (c == 'h')
            return 0;
        if (r || c == '?') {
            usage(stderr);
            return 2;
        }
    }
    if (!dir || domid == 0 || pages <= FE_PAGE_FIRST_FREE) {
        usage(stderr);
        return 2;
    }
    return run(dir, domid, devid, pages);
}
