/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Carries out the lines of a script: see exec.h. Requests gather until --batch are there; every
 * other line first waits for them, so that the output is in the order of the script.
 */
#include <config.h>

#include "tests/support/replay/exec.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "backend/iommu/soft.h"
#include "common/le.h"
#include "tests/support/replay/script.h"

#define WRITE_PATTERN 0xa5

struct exec {
    struct guest *g;
    FILE *out;
    const char *name;
    uint64_t line_number; /* of the script */
    uint64_t answered;    /* lines of output that are taken */
    bool broken_told;
    uint8_t *data; /* of accesses */
    size_t data_size;
    uint8_t *reply;
    struct script_line line;
};

static int complain(const struct exec *x, int rc, const char *what)
{
    fprintf(stderr, "viommu-replay: %s:%" PRIu64 ": %s\n", x->name, x->line_number, what);
    return rc;
}

/* --- answers -----------------------------------------------------------------------------------
 */

static void print_hex(FILE *out, const uint8_t *bytes, size_t n)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < n; i++) {
        putc(digits[bytes[i] >> 4], out);
        putc(digits[bytes[i] & 15], out);
    }
}

/* The tail is the last four bytes that the device wrote (5.13.6.2). */
static void print_answer(struct exec *x, const struct request *r)
{
    uint32_t tail = r->used - VIOMMU_TAIL_SIZE;
    uint8_t status;

    if (!r->done || r->used < VIOMMU_TAIL_SIZE) {
        fprintf(x->out, "%" PRIu64 " status=none used=%" PRIu32 "\n", r->line,
                r->done ? r->used : 0);
        return;
    }
    requests_copy(x->g->requests, r, tail, &status, 1);
    fprintf(x->out, "%" PRIu64 " status=%u used=%" PRIu32, r->line, status, r->used);
    if (r->probe) {
        requests_copy(x->g->requests, r, 0, x->reply, tail);
        fputs(" props=", x->out);
        print_hex(x->out, x->reply, tail);
    }
    putc('\n', x->out);
}

static void tell_broken(struct exec *x)
{
    if (x->broken_told)
        return;
    x->broken_told = true;
    fprintf(stderr,
            "viommu-replay: %s:%" PRIu64 ": the device needs a reset (%s); until then requests "
            "are not answered\n",
            x->name, x->line_number, device_needs_reset_why(x->g->device));
}

/* Sends what has gathered, waits for the answers and prints them. */
static int flush_requests(struct exec *x)
{
    struct guest *g = x->g;
    bool all_done;

    if (g->requests->n == 0)
        return 0;
    (void)guest_ring_publish(&g->request_ring);
    guest_kick(g);
    if (!requests_complete(g->requests, &g->request_ring))
        return complain(x, -EIO, "the used ring makes no sense");
    all_done = g->requests->v[g->requests->n - 1].done;
    if (!all_done && !device_needs_reset(g->device))
        return complain(x, -EIO, "the device left a request unanswered");
    if (device_needs_reset(g->device))
        tell_broken(x);
    for (uint32_t i = 0; i < g->requests->n; i++)
        print_answer(x, &g->requests->v[i]);
    requests_clear(g->requests);
    return 0;
}

/* --- requests ----------------------------------------------------------------------------------
 */

static int send(struct exec *x, const uint8_t *bytes, uint32_t len, uint32_t writable, bool probe)
{
    struct guest *g = x->g;
    struct request *r;
    int rc;

    if (device_needs_reset(g->device)) {
        tell_broken(x);
        fprintf(x->out, "%" PRIu64 " status=none used=0\n", ++x->answered);
        return 0;
    }
    r = requests_add(g->requests, &g->request_ring, bytes, len, writable);
    if (!r) {
        rc = flush_requests(x);
        if (rc)
            return rc;
        if (device_needs_reset(g->device))
            return send(x, bytes, len, writable, probe);
        r = requests_add(g->requests, &g->request_ring, bytes, len, writable);
        if (!r)
            return complain(x, -EINVAL, "the request does not fit into the queue");
    }
    r->line = ++x->answered;
    r->probe = probe;
    return g->requests->n >= g->options->batch ? flush_requests(x) : 0;
}

static int send_attach(struct exec *x)
{
    uint8_t req[VIOMMU_ATTACH_SIZE] = {VIOMMU_T_ATTACH};

    le32_store(req + VIOMMU_ATTACH_DOMAIN, (uint32_t)x->line.vdomain);
    le32_store(req + VIOMMU_ATTACH_ENDPOINT, (uint32_t)x->line.endpoint);
    le32_store(req + VIOMMU_ATTACH_FLAGS, (uint32_t)x->line.flags);
    return send(x, req, sizeof(req), VIOMMU_TAIL_SIZE, false);
}

static int send_detach(struct exec *x)
{
    uint8_t req[VIOMMU_DETACH_SIZE] = {VIOMMU_T_DETACH};

    le32_store(req + VIOMMU_DETACH_DOMAIN, (uint32_t)x->line.vdomain);
    le32_store(req + VIOMMU_DETACH_ENDPOINT, (uint32_t)x->line.endpoint);
    return send(x, req, sizeof(req), VIOMMU_TAIL_SIZE, false);
}

static int send_map(struct exec *x)
{
    uint8_t req[VIOMMU_MAP_SIZE] = {VIOMMU_T_MAP};

    le32_store(req + VIOMMU_MAP_DOMAIN, (uint32_t)x->line.vdomain);
    le64_store(req + VIOMMU_MAP_VIRT_START, x->line.first);
    le64_store(req + VIOMMU_MAP_VIRT_END, x->line.last);
    le64_store(req + VIOMMU_MAP_PHYS_START, x->line.phys);
    le32_store(req + VIOMMU_MAP_FLAGS, (uint32_t)x->line.flags);
    return send(x, req, sizeof(req), VIOMMU_TAIL_SIZE, false);
}

static int send_unmap(struct exec *x)
{
    uint8_t req[VIOMMU_UNMAP_SIZE] = {VIOMMU_T_UNMAP};

    le32_store(req + VIOMMU_UNMAP_DOMAIN, (uint32_t)x->line.vdomain);
    le64_store(req + VIOMMU_UNMAP_VIRT_START, x->line.first);
    le64_store(req + VIOMMU_UNMAP_VIRT_END, x->line.last);
    return send(x, req, sizeof(req), VIOMMU_TAIL_SIZE, false);
}

static int send_probe(struct exec *x)
{
    uint8_t req[VIOMMU_PROBE_SIZE] = {VIOMMU_T_PROBE};
    uint32_t area = viommu_config(device_viommu(x->g->device))->probe_size;

    le32_store(req + VIOMMU_PROBE_ENDPOINT, (uint32_t)x->line.endpoint);
    return send(x, req, sizeof(req), area + VIOMMU_TAIL_SIZE, true);
}

static int send_raw(struct exec *x)
{
    bool probe = x->line.raw_len > 0 && x->line.raw[0] == VIOMMU_T_PROBE;

    return send(x, x->line.raw, (uint32_t)x->line.raw_len, (uint32_t)x->line.wlen, probe);
}

/* --- everything else ---------------------------------------------------------------------------
 */

static int do_reset(struct exec *x)
{
    char why[128];

    if (!guest_reset(x->g, why, sizeof(why)))
        return complain(x, -EIO, why);
    x->broken_told = false;
    return 0;
}

static int do_bypass(struct exec *x)
{
    if (!guest_bypass(x->g, (uint32_t)x->line.bypass))
        (void)complain(x, 0, "the device refused the new value of bypass");
    return 0;
}

static int data_grow(struct exec *x, size_t len)
{
    uint8_t *grown;

    if (len <= x->data_size)
        return 0;
    grown = realloc(x->data, len);
    if (!grown)
        return complain(x, -ENOMEM, "no memory for an access of this length");
    x->data = grown;
    x->data_size = len;
    return 0;
}

static int do_access(struct exec *x)
{
    struct viommu_fault fault = {.address = 0};
    size_t len = (size_t)x->line.len;
    bool write = x->line.write;
    int rc = data_grow(x, len);

    if (rc)
        return rc;
    if (write)
        memset(x->data, WRITE_PATTERN, len);
    rc = soft_dma(device_viommu(x->g->device), (uint32_t)x->line.endpoint, x->line.address, x->data,
                  len, write, &fault);
    if (rc == -ENOENT)
        return complain(x, -EINVAL, "access: no such endpoint; accepted are those of --endpoints");
    device_deliver_faults(x->g->device);
    x->answered++;
    if (rc == 0)
        fprintf(x->out, "%" PRIu64 " ok\n", x->answered);
    else
        fprintf(x->out, "%" PRIu64 " fault reason=%u flags=0x%" PRIx32 " address=0x%" PRIx64 "\n",
                x->answered, (unsigned)fault.reason, fault.flags, fault.address);
    return 0;
}

static int do_events(struct exec *x)
{
    uint64_t n, lost;

    if (!guest_events(x->g, &n, &lost))
        return complain(x, -EIO, "the event queue makes no sense");
    fprintf(x->out, "%" PRIu64 " events=%" PRIu64 " lost=%" PRIu64 "\n", ++x->answered, n, lost);
    return 0;
}

static int (*const actions[])(struct exec *x) = {
    [SCRIPT_ATTACH] = send_attach, [SCRIPT_DETACH] = send_detach, [SCRIPT_MAP] = send_map,
    [SCRIPT_UNMAP] = send_unmap,   [SCRIPT_PROBE] = send_probe,   [SCRIPT_RAW] = send_raw,
    [SCRIPT_RESET] = do_reset,     [SCRIPT_BYPASS] = do_bypass,   [SCRIPT_ACCESS] = do_access,
    [SCRIPT_EVENTS] = do_events,
};

static bool is_request(enum script_kind kind)
{
    return kind >= SCRIPT_ATTACH && kind <= SCRIPT_RAW;
}

/* --- the script --------------------------------------------------------------------------------
 */

static int exec_line(struct exec *x, char *text, size_t len)
{
    char why[256];
    int rc;

    if (strlen(text) != len)
        return complain(x, -EINVAL, "a NUL byte; accepted: text");
    if (script_parse(text, &x->line, why, sizeof(why)))
        return complain(x, -EINVAL, why);
    if (x->line.kind == SCRIPT_NOTHING)
        return 0;
    if (!is_request(x->line.kind)) {
        rc = flush_requests(x);
        if (rc)
            return rc;
    }
    return actions[x->line.kind](x);
}

static int exec_lines(struct exec *x, FILE *in)
{
    char *text = NULL;
    size_t size = 0;
    ssize_t len;
    int rc = 0;

    while (!rc && (len = getline(&text, &size, in)) >= 0) {
        x->line_number++;
        rc = exec_line(x, text, (size_t)len);
    }
    if (!rc && ferror(in))
        rc = complain(x, -EIO, "cannot be read");
    free(text);
    return rc;
}

int exec_script(struct guest *g, FILE *in, const char *name, FILE *out)
{
    struct exec *x = calloc(1, sizeof(*x));
    int rc = -ENOMEM, flushed;

    if (!x) {
        fprintf(stderr, "viommu-replay: out of memory\n");
        return rc;
    }
    *x = (struct exec){.g = g, .out = out, .name = name};
    x->reply = malloc(viommu_reply_max(device_viommu(g->device)));
    if (x->reply) {
        rc = exec_lines(x, in);
        /* What was sent before a line that is wrong has its answer all the same. */
        flushed = flush_requests(x);
        if (!rc)
            rc = flushed;
    }
    free(x->reply);
    free(x->data);
    free(x);
    return rc;
}
