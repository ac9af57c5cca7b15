/* SPDX-License-Identifier: GPL-2.0-only */
/* The hostile guest: takes the names of attacks from its input and says what came of each. */
#include <config.h>

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/ctl.h"
#include "common/le.h"
#include "common/loop.h"
#include "common/strutil.h"
#include "tests/support/hostile/hostile.h"

static const struct attack *const tables[] = {attacks_ring, attacks_setup, attacks_control,
                                              attacks_volume};

/* --- verdicts --------------------------------------------------------------------------------- */

void hostile_wrong(struct hostile *h, const char *fmt, ...)
{
    va_list ap;

    if (h->wrong[0])
        return;
    va_start(ap, fmt);
    vsnprintf(h->wrong, sizeof(h->wrong), fmt, ap);
    va_end(ap);
}

static const char *outcome_name(unsigned outcome)
{
    switch (outcome) {
    case ANSWERED:
        return "answered";
    case RETURNED:
        return "returned";
    case NEEDS_RESET:
        return "needs-reset";
    case SILENT:
        return "silent";
    case REFUSED:
        return "refused";
    case CONNECTED:
        return "connected";
    default:
        return "?";
    }
}

void hostile_expect(struct hostile *h, const char *label, unsigned got, unsigned right)
{
    char wanted[128] = "";

    h->variants++;
    if (got & right)
        return;
    for (unsigned bit = 1; bit <= CONNECTED; bit <<= 1) {
        if (right & bit)
            snprintf(wanted + strlen(wanted), sizeof(wanted) - strlen(wanted), " %s",
                     outcome_name(bit));
    }
    hostile_wrong(h, "%s: %s, not one of:%s", label, outcome_name(got), wanted);
}

void hostile_expect_number(struct hostile *h, const char *label, uint64_t got, uint64_t want)
{
    h->variants++;
    if (got != want)
        hostile_wrong(h, "%s: %" PRIu64 ", not %" PRIu64, label, got, want);
}

/* xorshift64: the same numbers in every run. */
uint32_t hostile_random(struct hostile *h)
{
    h->random ^= h->random << 13;
    h->random ^= h->random >> 7;
    h->random ^= h->random << 17;
    return (uint32_t)(h->random >> 32);
}

/* --- connections ------------------------------------------------------------------------------ */

uint8_t *hostile_page(struct hostile *h, uint32_t page)
{
    return h->fe.memory + (size_t)page * FE_PAGE_SIZE;
}

uint64_t hostile_address(struct hostile *h, uint32_t page)
{
    return fe_grant_address(&h->fe, page);
}

struct fe_start hostile_how(const struct hostile *h, uint32_t size)
{
    return (struct fe_start){
        .queue_size = size, .features = FE_FEATURES_DEFAULT | F_RING_RESET, .packed = h->packed};
}

int hostile_connect(struct hostile *h, uint32_t size)
{
    struct fe_start how = hostile_how(h, size);
    char why[256];
    int r = fe_start(&h->fe, &how, why, sizeof(why));

    if (r == -ECONNREFUSED)
        hostile_wrong(h, "a sound connection is refused: %s", why);
    return r;
}

int hostile_abandon(struct hostile *h)
{
    struct frontend *fe = &h->fe;
    struct fx_channel *channels[] = {&fe->control, &fe->queue[0].channel, &fe->queue[1].channel};
    int r = 0;

    for (uint32_t p = 0, n; r == 0 && p < fe->n_pages; p += n) {
        for (n = 0; p + n < fe->n_pages && fe->refs[p + n]; n++)
            ;
        if (n)
            r = fe_revoke(fe, p, n);
        else
            n = 1;
    }
    fe->n_runs = 0;
    for (unsigned i = 0; r == 0 && i < ARRAY_SIZE(channels); i++) {
        if (channels[i]->port)
            r = fx_guest_unbind(fe->fx, channels[i]);
        channels[i]->port = 0;
    }
    return r;
}

int hostile_close(struct hostile *h)
{
    int r = fe_write_node(&h->fe, "state", "5");

    if (r == 0)
        r = fe_wait_backend(&h->fe, 1u << 6, NULL);
    if (r == 0)
        r = fe_write_node(&h->fe, "state", "6");
    h->fe.connected = false;
    return r ? r : hostile_abandon(h);
}

int hostile_again(struct hostile *h)
{
    uint8_t status;
    int r = fe_status(&h->fe, 0, &status);

    return r ? r : fe_driver_init(&h->fe);
}

/* The loop takes what is pending in rounds: after two answers, an earlier kick was seen, too. */
int hostile_barrier(struct hostile *h)
{
    uint8_t status;
    int r = fe_status(&h->fe, S_RUNNING, &status);

    return r ? r : fe_status(&h->fe, S_RUNNING, &status);
}

static bool look(struct hostile *h, unsigned *out)
{
    uint32_t id, len;

    if (fe_take_used(&h->fe, 0, &id, &len))
        *out = len >= 4 ? ANSWERED : RETURNED;
    else if (fe_device_status(&h->fe) & S_NEEDS_RESET)
        *out = NEEDS_RESET;
    else
        return false;
    return true;
}

static int wait_any(struct hostile *h, uint64_t deadline)
{
    const struct fx_channel *channels[] = {&h->fe.queue[0].channel, &h->fe.control};
    struct pollfd fds[] = {{.fd = channels[0]->own_fd, .events = POLLIN},
                           {.fd = channels[1]->own_fd, .events = POLLIN}};
    uint64_t now = loop_now_ms();

    if (now >= deadline)
        return -ETIMEDOUT;
    if (poll(fds, 2, (int)(deadline - now)) < 0)
        return -errno;
    for (unsigned i = 0; i < 2; i++) {
        int r = fds[i].revents ? fx_channel_wait(channels[i], 0) : 0;

        if (r < 0)
            return r;
    }
    return 0;
}

int hostile_kick(struct hostile *h, bool quiet, unsigned *out)
{
    uint64_t deadline = loop_now_ms() + FE_WAIT_MS;
    int r = fx_channel_notify(&h->fe.queue[0].channel);

    *out = SILENT;
    if (r == 0 && quiet) {
        r = hostile_barrier(h);
        (void)look(h, out);
        return r;
    }
    while (r == 0 && !look(h, out))
        r = wait_any(h, deadline);
    return r;
}

/* --- sound requests --------------------------------------------------------------------------- */

static int request(struct hostile *h, const uint8_t *req, size_t len, uint8_t *status_out)
{
    uint8_t tail[4] = {0xff};
    uint32_t used;
    int r = fe_request(&h->fe, req, len, tail, sizeof(tail), &used);

    *status_out = used == sizeof(tail) ? tail[0] : 0xff;
    return r;
}

int hostile_attach(struct hostile *h, uint32_t vdomain, uint32_t endpoint, uint8_t *status_out)
{
    uint8_t req[20] = {1};

    le32_store(req + 4, vdomain);
    le32_store(req + 8, endpoint);
    return request(h, req, sizeof(req), status_out);
}

int hostile_map(struct hostile *h, uint32_t vdomain, uint64_t iova, uint64_t address, uint64_t size,
                uint8_t *status_out)
{
    uint8_t req[36] = {3};

    le32_store(req + 4, vdomain);
    le64_store(req + 8, iova);
    le64_store(req + 16, iova + size - 1);
    le64_store(req + 24, address);
    le32_store(req + 32, 3);
    return request(h, req, sizeof(req), status_out);
}

int hostile_unmap(struct hostile *h, uint32_t vdomain, uint64_t first, uint64_t last,
                  uint8_t *status_out)
{
    uint8_t req[28] = {4};

    le32_store(req + 4, vdomain);
    le64_store(req + 8, first);
    le64_store(req + 16, last);
    return request(h, req, sizeof(req), status_out);
}

int hostile_sound(struct hostile *h)
{
    uint8_t status = 0xff;
    int r = hostile_connect(h, QUEUE_SIZE);

    if (r == 0)
        r = fe_grant(&h->fe, PAGE_SPARE, 4, false);
    if (r == 0)
        r = hostile_attach(h, 1, ENDPOINT, &status);
    if (r == 0)
        r = hostile_map(h, 1, 0, hostile_address(h, PAGE_SPARE), 0x4000, &status);
    if (r == 0)
        hostile_expect_number(h, "MAP", status, 0);
    return r;
}

/* One call to the daemon about this guest's device; takes the reference of `request`. */
static int control_call(struct hostile *h, json_t *request, json_t **reply_out)
{
    char device[32];
    int r = -ENOMEM;

    snprintf(device, sizeof(device), "%" PRIu32 "/%" PRIu32, h->fe.domid, h->fe.devid);
    if (json_object_set_new(request, "device", json_string(device)) == 0)
        r = ctl_call(h->control, request, FE_WAIT_MS, reply_out, NULL, NULL);
    json_decref(request);
    return r;
}

int hostile_dma(struct hostile *h, uint64_t iova)
{
    char address[32];
    json_t *reply = NULL;
    int r;

    snprintf(address, sizeof(address), "%#" PRIx64, iova);
    r = control_call(h,
                     json_pack("{s:s, s:i, s:s, s:s}", "command", "dma-write", "endpoint",
                               (int)ENDPOINT, "iova", address, "data", "00"),
                     &reply);
    if (r == 0)
        r = json_is_true(json_object_get(reply, "ok")) ? 0 : 1;
    json_decref(reply);
    return r;
}

int hostile_counter(struct hostile *h, const char *name, uint64_t *out)
{
    json_t *reply = NULL, *value;
    int r = control_call(h, json_pack("{s:s}", "command", "show"), &reply);

    value = json_object_get(json_object_get(reply, "counters"), name);
    if (r == 0 && !json_is_integer(value))
        r = -EPROTO;
    if (r == 0)
        *out = (uint64_t)json_integer_value(value);
    json_decref(reply);
    return r;
}

/* --- running ---------------------------------------------------------------------------------- */

/*
 * What must hold whatever was done: the device serves this guest, at the latest after a reset, or
 * after a new connection where there is none; and when it has closed, all grants can be revoked.
 */
static int settle(struct hostile *h)
{
    uint8_t status = 0xff;
    int r = 0;

    if (!h->fe.connected) {
        r = hostile_abandon(h);
        if (r == 0)
            r = hostile_connect(h, QUEUE_SIZE);
    } else if (fe_device_status(&h->fe) != S_RUNNING) {
        r = hostile_again(h);
    }
    if (r == 0)
        r = hostile_attach(h, 1, ENDPOINT, &status);
    if (r == 0 && status != 0)
        hostile_wrong(h, "afterwards ATTACH is answered %u", status);
    if (r)
        hostile_wrong(h, "afterwards the device does not serve this guest: %s", strerror(-r));
    r = hostile_close(h);
    if (r == -EBUSY)
        hostile_wrong(h, "a grant stays mapped after the device has closed");
    return r;
}

static void run_attack(struct hostile *h, const struct attack *a)
{
    int r;

    h->variants = 0;
    h->said[0] = h->wrong[0] = '\0';
    h->random = 0x9e3779b97f4a7c15ull;
    r = a->run(h);
    if (r < 0)
        hostile_wrong(h, "variant %u: %s", h->variants, strerror(-r));
    if (!a->last) {
        r = settle(h);
        if (r < 0)
            hostile_wrong(h, "it does not close: %s", strerror(-r));
    }
    if (h->wrong[0])
        printf("wrong %s: %s\n", a->name, h->wrong);
    else
        printf("ok %s: %u variants%s%s\n", a->name, h->variants, h->said[0] ? ", " : "", h->said);
    fflush(stdout);
}

static const struct attack *attack_find(const char *name)
{
    for (size_t t = 0; t < ARRAY_SIZE(tables); t++) {
        for (const struct attack *a = tables[t]; a->name; a++) {
            if (strcmp(a->name, name) == 0)
                return a;
        }
    }
    return NULL;
}

/* "NAME LAYOUT [COUNT]" */
static void run_line(struct hostile *h, char *line)
{
    char *save = NULL;
    const char *name = strtok_r(line, " \n", &save), *layout = strtok_r(NULL, " \n", &save);
    const char *count = strtok_r(NULL, " \n", &save);
    const struct attack *a = name ? attack_find(name) : NULL;

    h->count = 0;
    if (!a || !layout || (count && parse_u64(count, UINT64_MAX, &h->count) < 0)) {
        printf("wrong: \"%s\" is no attack\n", name ? name : "");
        fflush(stdout);
        return;
    }
    h->packed = strcmp(layout, "packed") == 0;
    run_attack(h, a);
}

/* One line per attack and layout, for scripts: "NAME LAYOUT TEXT". */
static void list(unsigned table)
{
    for (const struct attack *a = tables[table]; a->name; a++) {
        if (a->last)
            continue;
        if (a->layouts & SPLIT)
            printf("%s split %s\n", a->name, a->what);
        if (a->layouts & PACKED)
            printf("%s packed %s\n", a->name, a->what);
    }
}

static int usage(FILE *to)
{
    fputs("usage: hostile-guest --dir DIR --domid N --control SOCKET [--pages N]\n"
          "       hostile-guest --list ring|setup|control|volume\n"
          "Reads lines \"ATTACK split|packed [COUNT]\"; answers \"ok ...\" or \"wrong ...\".\n",
          to);
    return to == stdout ? 0 : 2;
}

static int list_named(const char *name)
{
    static const char *const names[] = {"ring", "setup", "control", "volume"};

    for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
        if (strcmp(names[i], name) == 0) {
            list(i);
            return 0;
        }
    }
    return usage(stderr);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"dir", required_argument, NULL, 'd'},     {"domid", required_argument, NULL, 'g'},
        {"control", required_argument, NULL, 'c'}, {"pages", required_argument, NULL, 'p'},
        {"list", required_argument, NULL, 'l'},    {NULL, 0, NULL, 0},
    };
    struct hostile h = {.dir = NULL};
    uint32_t domid = 0, pages = 1024;
    char line[256];
    int c, r = 0;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == 'l')
            return list_named(optarg);
        if (c == 'd')
            h.dir = optarg;
        else if (c == 'c')
            h.control = optarg;
        else if (c == 'g')
            r |= parse_u32(optarg, 0x7fef, &domid);
        else if (c == 'p')
            r |= parse_u32(optarg, 1u << 20, &pages);
        else
            return usage(stderr);
    }
    if (r || !h.dir || !h.control || domid == 0 || pages <= PAGE_REST)
        return usage(stderr);
    r = fe_open(&h.fe, h.dir, domid, 0, pages);
    if (r) {
        fprintf(stderr, "hostile-guest: cannot start as domain %u: %s\n", domid, strerror(-r));
        return 1;
    }
    puts("ready");
    fflush(stdout);
    while (fgets(line, sizeof(line), stdin))
        run_line(&h, line);
    fe_close(&h.fe);
    return 0;
}
