/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * viommuctl's commands. Each is one request to the daemon, or several pages of one; a big listing
 * or transfer is cut into pieces here so that it never holds up a worker's guest.
 */
#include <config.h>

#include "backend/daemon/ctl_client.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/daemon/msg.h"
#include "backend/iommu/driver.h"
#include "common/ctl.h"
#include "common/range.h"
#include "common/strutil.h"

#define TIMEOUT_MS 20000
#define DMA_MAX    (16u * 1024 * 1024)
#define WORDS_MAX  1024u

static void json_cleanup_fn(json_t **value)
{
    json_decref(*value);
}
#define cleanup_json __attribute__((cleanup(json_cleanup_fn)))

/* --- calling ---------------------------------------------------------------------------------- */

/* The reply's error, and the fault that it may come with. */
static void print_refusal(const json_t *reply)
{
    const char *error = json_string_value(json_object_get(reply, "error"));
    const json_t *fault = json_object_get(reply, "fault");

    fputs("viommuctl: ", stderr);
    ctl_print_text(stderr, error ? error : "the daemon's answer makes no sense");
    fputc('\n', stderr);
    if (json_is_object(fault)) {
        const char *reason = msg_text(fault, "reason", MSG_ERROR_MAX, false);
        const char *address = msg_text(fault, "address", MSG_ERROR_MAX, false);

        fprintf(stderr, "fault: reason %s, address %s\n", reason ? reason : "?",
                address ? address : "unknown");
    }
}

/*
 * One request; takes the request's reference. Only a good reply is handed over (new reference),
 * with its descriptors if somebody wants them (fds_out not NULL, CTL_MAX_FDS of them); what went
 * wrong has been printed otherwise.
 */
static enum ctl_exit call_fds(const struct ctl_args *args, json_t *request, json_t **reply_out,
                              int *fds_out, size_t *n_fds_out)
{
    cleanup_json json_t *req = request;
    json_t *reply = NULL;
    int r;

    if (!req) {
        ctl_error("out of memory");
        return CTL_REFUSED;
    }
    r = ctl_call(args->socket, req, TIMEOUT_MS, &reply, fds_out, n_fds_out);
    if (r == -ENOENT || r == -ECONNREFUSED) {
        ctl_error("nobody listens at %s: is xen-viommud running? (--control PATH names its socket)",
                  args->socket);
        return CTL_REFUSED;
    }
    if (r < 0) {
        ctl_error("%s: %s", args->socket, strerror(-r));
        return CTL_REFUSED;
    }
    if (!json_is_true(json_object_get(reply, "ok"))) {
        if (args->json) {
            ctl_print_json(reply);
            fputc('\n', stdout);
        }
        print_refusal(reply);
        json_decref(reply);
        return CTL_REFUSED;
    }
    json_object_del(reply, "ok");
    *reply_out = reply;
    return CTL_DONE;
}

static enum ctl_exit call(const struct ctl_args *args, json_t *request, json_t **reply_out)
{
    return call_fds(args, request, reply_out, NULL, NULL);
}

static enum ctl_exit check_device(const char *device)
{
    const char *slash = strchr(device, '/');
    char domid[8];
    uint32_t value;

    if (slash && (size_t)(slash - device) < sizeof(domid)) {
        memcpy(domid, device, (size_t)(slash - device));
        domid[slash - device] = '\0';
        if (parse_u32(domid, 0x7fef, &value) == 0 && parse_u32(slash + 1, INT32_MAX, &value) == 0)
            return CTL_DONE;
    }
    ctl_error("'%s' is no device: DOMID/NUMBER is wanted, such as 2/0 (viommuctl list shows them)",
              device);
    return CTL_USAGE;
}

static enum ctl_exit check_endpoint(const char *text, uint32_t *out)
{
    if (parse_u32(text, UINT32_MAX, out) == 0)
        return CTL_DONE;
    ctl_error("'%s' is no endpoint: a number from 0 to 0xffffffff is wanted", text);
    return CTL_USAGE;
}

static void print_reply(const struct ctl_args *args, const json_t *reply)
{
    if (!args->json) {
        ctl_print_tree(reply);
        return;
    }
    ctl_print_json(reply);
    fputc('\n', stdout);
}

/* A command whose only argument, if any, is a device, and whose reply is printed as it is. */
static enum ctl_exit call_device(const struct ctl_args *args, const char *command,
                                 json_t **reply_out)
{
    enum ctl_exit e = check_device(args->argv[0]);

    if (e != CTL_DONE)
        return e;
    return call(args, json_pack("{s:s, s:s}", "command", command, "device", args->argv[0]),
                reply_out);
}

/* --- list, show, metrics, log-level ----------------------------------------------------------- */

static const char *text_or(const json_t *obj, const char *key, const char *fallback)
{
    const char *text = msg_text(obj, key, MSG_ERROR_MAX, false);

    return text ? text : fallback;
}

static enum ctl_exit run_list(const struct ctl_args *args)
{
    cleanup_json json_t *reply = NULL;
    enum ctl_exit e = call(args, json_pack("{s:s}", "command", "list"), &reply);
    const json_t *device;
    size_t i;

    if (e != CTL_DONE)
        return e;
    if (args->json) {
        print_reply(args, reply);
        return CTL_DONE;
    }
    json_array_foreach(json_object_get(reply, "devices"), i, device)
    {
        printf("%-10s %-12s frontend %-12s", text_or(device, "device", "?"),
               text_or(device, "state", "?"), text_or(device, "frontend", "?"));
        if (json_is_integer(json_object_get(device, "worker")))
            printf(" worker %" JSON_INTEGER_FORMAT " pages %" JSON_INTEGER_FORMAT,
                   json_integer_value(json_object_get(device, "worker")),
                   json_integer_value(json_object_get(device, "pages")));
        if (*text_or(device, "error", ""))
            printf(" error: %s", text_or(device, "error", ""));
        fputc('\n', stdout);
    }
    return CTL_DONE;
}

static enum ctl_exit run_show(const struct ctl_args *args)
{
    cleanup_json json_t *reply = NULL;
    enum ctl_exit e = call_device(args, "show", &reply);

    if (e == CTL_DONE)
        print_reply(args, reply);
    return e;
}

static enum ctl_exit run_metrics(const struct ctl_args *args)
{
    cleanup_json json_t *reply = NULL;
    cleanup_json json_t *metrics = NULL;
    enum ctl_exit e = call_device(args, "show", &reply);

    if (e != CTL_DONE)
        return e;
    if (!json_is_object(json_object_get(reply, "counters"))) {
        ctl_error("device %s counts nothing: it has no worker", args->argv[0]);
        return CTL_REFUSED;
    }
    if (!args->json) {
        ctl_print_metrics(args->argv[0], reply);
        return CTL_DONE;
    }
    metrics = json_pack("{s:O*, s:O*, s:O*}", "counters", json_object_get(reply, "counters"),
                        "memory", json_object_get(reply, "memory"), "events",
                        json_object_get(reply, "events"));
    print_reply(args, metrics);
    return CTL_DONE;
}

static enum ctl_exit run_log_level(const struct ctl_args *args)
{
    cleanup_json json_t *reply = NULL;
    enum ctl_exit e = call(
        args, json_pack("{s:s, s:s}", "command", "log-level", "level", args->argv[0]), &reply);

    if (e == CTL_DONE && args->json)
        print_reply(args, reply);
    return e;
}

/* --- mappings --------------------------------------------------------------------------------- */

struct listing {
    const struct ctl_args *args;
    uint32_t vdomain; /* where the next page begins */
    uint64_t first;
    bool one_vdomain;
    uint64_t left; /* mappings still wanted */
    bool printed_any;
};

static void print_mapping(struct listing *l, const json_t *mapping)
{
    if (l->args->json) {
        fputs(l->printed_any ? ",\n" : "\n", stdout);
        ctl_print_json(mapping);
    } else {
        printf("vdomain %-5" JSON_INTEGER_FORMAT " %18s - %18s -> %18s %s\n",
               json_integer_value(json_object_get(mapping, "vdomain")),
               text_or(mapping, "first", "?"), text_or(mapping, "last", "?"),
               text_or(mapping, "address", "?"), text_or(mapping, "flags", "?"));
    }
    l->printed_any = true;
}

/* One page. *more_out: another follows, from where l stands now. */
static enum ctl_exit list_page(struct listing *l, bool *more_out)
{
    uint64_t limit = l->left < MSG_PAGE_MAX ? l->left : MSG_PAGE_MAX;
    cleanup_json json_t *reply = NULL;
    const json_t *mapping, *next;
    enum ctl_exit e;
    size_t i;

    e = call(l->args,
             json_pack("{s:s, s:s, s:I, s:o, s:b, s:I}", "command", "mappings", "device",
                       l->args->argv[0], "vdomain", (json_int_t)l->vdomain, "first",
                       msg_new_u64(l->first), "one", l->one_vdomain, "limit", (json_int_t)limit),
             &reply);
    if (e != CTL_DONE)
        return e;
    json_array_foreach(json_object_get(reply, "mappings"), i, mapping)
    {
        if (l->left == 0)
            break;
        print_mapping(l, mapping);
        l->left--;
    }
    next = json_object_get(reply, "next");
    *more_out = l->left > 0 && msg_u32(next, "vdomain", UINT32_MAX, &l->vdomain) == 0 &&
                msg_u64(next, "first", &l->first) == 0;
    return CTL_DONE;
}

static enum ctl_exit start_listing(const struct ctl_args *args, struct listing *l)
{
    *l = (struct listing){.args = args, .left = UINT64_MAX};
    if (args->vdomain) {
        l->one_vdomain = true;
        if (parse_u32(args->vdomain, UINT32_MAX, &l->vdomain) < 0) {
            ctl_error("--vdomain: '%s' is no number from 0 to 0xffffffff", args->vdomain);
            return CTL_USAGE;
        }
    }
    if (args->limit && (parse_u64(args->limit, UINT64_MAX, &l->left) < 0 || l->left == 0)) {
        ctl_error("--limit: '%s' is no number of mappings (at least 1)", args->limit);
        return CTL_USAGE;
    }
    return check_device(args->argv[0]);
}

static enum ctl_exit run_mappings(const struct ctl_args *args)
{
    struct listing l;
    enum ctl_exit e = start_listing(args, &l);
    bool more = true;

    if (e == CTL_DONE && args->json)
        fputs("{\"mappings\":[", stdout);
    while (e == CTL_DONE && more)
        e = list_page(&l, &more);
    if (e == CTL_DONE && args->json)
        fputs("\n]}\n", stdout);
    return e;
}

/* --- endpoints -------------------------------------------------------------------------------- */

/* The words of the command line as one node text. */
static char *join_words(const struct ctl_args *args, int from)
{
    char *text = calloc(1, WORDS_MAX);
    size_t at = 0;

    for (int i = from; text && i < args->argc; i++) {
        int n = snprintf(text + at, WORDS_MAX - at, "%s%s", i > from ? " " : "", args->argv[i]);

        if (n < 0 || (size_t)n >= WORDS_MAX - at)
            break; /* cut text is longer than any node may be: the daemon refuses it */
        at += (size_t)n;
    }
    return text;
}

static enum ctl_exit run_endpoint_add(const struct ctl_args *args)
{
    cleanup_free char *words = join_words(args, 1);
    cleanup_json json_t *reply = NULL;
    enum ctl_exit e = check_device(args->argv[0]);

    if (e != CTL_DONE)
        return e;
    e = call(args,
             json_pack("{s:s, s:s, s:s}", "command", "endpoint-add", "device", args->argv[0],
                       "endpoint", words ? words : ""),
             &reply);
    if (e == CTL_DONE)
        print_reply(args, reply);
    return e;
}

static enum ctl_exit run_endpoint_remove(const struct ctl_args *args)
{
    cleanup_json json_t *reply = NULL;
    enum ctl_exit e = check_device(args->argv[0]);
    uint32_t id;

    if (e == CTL_DONE)
        e = check_endpoint(args->argv[1], &id);
    if (e != CTL_DONE)
        return e;
    e = call(args,
             json_pack("{s:s, s:s, s:I}", "command", "endpoint-remove", "device", args->argv[0],
                       "id", (json_int_t)id),
             &reply);
    if (e == CTL_DONE)
        print_reply(args, reply);
    return e;
}

static enum ctl_exit run_endpoint_open_fd(const struct ctl_args *args)
{
    cleanup_json json_t *reply = NULL;
    enum ctl_exit e = check_device(args->argv[0]);
    int fds[CTL_MAX_FDS];
    size_t n_fds = 0;
    uint32_t id;

    if (e == CTL_DONE)
        e = check_endpoint(args->argv[1], &id);
    if (e == CTL_DONE)
        e = call_fds(args,
                     json_pack("{s:s, s:s, s:I}", "command", "endpoint-open-fd", "device",
                               args->argv[0], "endpoint", (json_int_t)id),
                     &reply, fds, &n_fds);
    if (e != CTL_DONE)
        return e;
    if (n_fds != IOMMU_N_FDS) {
        while (n_fds > 0)
            close(fds[--n_fds]);
        ctl_error("the daemon's answer has not brought the files");
        return CTL_REFUSED;
    }
    return (enum ctl_exit)ctl_run_companion(args->argv + 2, fds[IOMMU_FD_DEVICE],
                                            fds[IOMMU_FD_LIFELINE]);
}

static const char *node_text(const json_t *endpoint)
{
    const char *text = msg_text(endpoint, "node", XS_ADMIN_VALUE_MAX, false);

    return text ? text : "-";
}

static enum ctl_exit run_endpoint_list(const struct ctl_args *args)
{
    cleanup_json json_t *reply = NULL;
    enum ctl_exit e = call_device(args, "endpoint-list", &reply);
    const json_t *endpoint;
    size_t i;

    if (e != CTL_DONE)
        return e;
    if (args->json) {
        print_reply(args, reply);
        return CTL_DONE;
    }
    json_array_foreach(json_object_get(reply, "endpoints"), i, endpoint)
    {
        printf("%-10s %-10s %s", text_or(endpoint, "id", "?"), text_or(endpoint, "state", "?"),
               node_text(endpoint));
        if (*text_or(endpoint, "why", ""))
            printf(" (%s)", text_or(endpoint, "why", ""));
        fputc('\n', stdout);
    }
    return CTL_DONE;
}

/* --- dma -------------------------------------------------------------------------------------- */

struct transfer {
    const struct ctl_args *args;
    uint32_t endpoint;
    uint64_t iova;
    uint8_t *data;
    size_t len;
};

static enum ctl_exit start_transfer(const struct ctl_args *args, struct transfer *t)
{
    enum ctl_exit e = check_device(args->argv[0]);

    t->args = args;
    if (e == CTL_DONE)
        e = check_endpoint(args->argv[1], &t->endpoint);
    if (e == CTL_DONE && parse_u64(args->argv[2], UINT64_MAX, &t->iova) < 0) {
        ctl_error("'%s' is no address: a number from 0 to 2^64-1 is wanted", args->argv[2]);
        e = CTL_USAGE;
    }
    return e;
}

/* A transfer of several pieces must not wrap; one piece may try to, and the device refuses it. */
static enum ctl_exit check_transfer(const struct transfer *t)
{
    struct range whole;

    if (t->len > MSG_DMA_MAX && !range_from_size(t->iova, t->len, &whole)) {
        ctl_error("%zu bytes at %#" PRIx64 " pass the end of the address space", t->len, t->iova);
        return CTL_USAGE;
    }
    return CTL_DONE;
}

static char *hex_of(const uint8_t *data, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    char *text = calloc(len + 1, 2);

    for (size_t i = 0; text && i < len; i++) {
        text[2 * i] = digits[data[i] >> 4];
        text[2 * i + 1] = digits[data[i] & 0xf];
    }
    return text;
}

static enum ctl_exit read_piece(struct transfer *t, size_t at, size_t n)
{
    cleanup_json json_t *reply = NULL;
    enum ctl_exit e;
    const char *hex;
    size_t got;

    e = call(t->args,
             json_pack("{s:s, s:s, s:I, s:o, s:I}", "command", "dma-read", "device",
                       t->args->argv[0], "endpoint", (json_int_t)t->endpoint, "iova",
                       msg_new_u64(t->iova + at), "length", (json_int_t)n),
             &reply);
    if (e != CTL_DONE)
        return e;
    hex = json_string_value(json_object_get(reply, "data"));
    if (!hex || parse_hex(hex, t->data + at, n, &got) < 0 || got != n) {
        ctl_error("the worker's answer makes no sense");
        return CTL_REFUSED;
    }
    return CTL_DONE;
}

static enum ctl_exit write_piece(struct transfer *t, size_t at, size_t n)
{
    cleanup_free char *hex = hex_of(t->data + at, n);
    cleanup_json json_t *reply = NULL;

    return call(t->args,
                json_pack("{s:s, s:s, s:I, s:o, s:s}", "command", "dma-write", "device",
                          t->args->argv[0], "endpoint", (json_int_t)t->endpoint, "iova",
                          msg_new_u64(t->iova + at), "data", hex ? hex : ""),
                &reply);
}

static enum ctl_exit transfer_all(struct transfer *t,
                                  enum ctl_exit (*piece)(struct transfer *, size_t, size_t))
{
    for (size_t at = 0; at < t->len;) {
        size_t n = t->len - at < MSG_DMA_MAX ? t->len - at : MSG_DMA_MAX;
        enum ctl_exit e = piece(t, at, n);

        if (e != CTL_DONE) {
            if (at > 0)
                ctl_error("%zu bytes were transferred before", at);
            return e;
        }
        at += n;
    }
    return CTL_DONE;
}

static enum ctl_exit save_data(const struct transfer *t)
{
    FILE *f = fopen(t->args->output, "wb");
    bool good = f && fwrite(t->data, 1, t->len, f) == t->len;

    if (f && fclose(f) != 0)
        good = false;
    if (good)
        return CTL_DONE;
    ctl_error("%s: %s", t->args->output, strerror(errno));
    return CTL_REFUSED;
}

static enum ctl_exit print_data(const struct transfer *t)
{
    cleanup_free char *hex = NULL;

    if (t->args->output)
        return save_data(t);
    if (!t->args->json) {
        ctl_print_hexdump(t->iova, t->data, t->len);
        return CTL_DONE;
    }
    hex = hex_of(t->data, t->len);
    if (!hex) {
        ctl_error("out of memory");
        return CTL_REFUSED;
    }
    printf("{\"iova\":\"%#" PRIx64 "\",\"data\":\"%s\"}\n", t->iova, hex);
    return CTL_DONE;
}

static enum ctl_exit run_dma_read(const struct ctl_args *args)
{
    cleanup_free uint8_t *data = NULL;
    struct transfer t = {.args = args};
    enum ctl_exit e = start_transfer(args, &t);
    uint64_t len = 0;

    if (e != CTL_DONE)
        return e;
    if (parse_size(args->argv[3], DMA_MAX, &len) < 0 || len == 0) {
        ctl_error("'%s' is no length: 1 to 16M bytes are wanted", args->argv[3]);
        return CTL_USAGE;
    }
    t.len = (size_t)len;
    t.data = data = calloc(t.len, 1);
    if (!data) {
        ctl_error("out of memory");
        return CTL_REFUSED;
    }
    e = check_transfer(&t);
    if (e == CTL_DONE)
        e = transfer_all(&t, read_piece);
    return e == CTL_DONE ? print_data(&t) : e;
}

static enum ctl_exit load_file(const char *path, uint8_t *data, size_t *len_out)
{
    FILE *f = fopen(path, "rb");
    enum ctl_exit e = CTL_DONE;

    if (!f) {
        ctl_error("%s: %s", path, strerror(errno));
        return CTL_REFUSED;
    }
    *len_out = fread(data, 1, DMA_MAX, f);
    if (ferror(f)) {
        ctl_error("%s: %s", path, strerror(errno));
        e = CTL_REFUSED;
    } else if (*len_out == 0 || fgetc(f) != EOF) {
        ctl_error("%s: 1 to 16M bytes are wanted", path);
        e = CTL_USAGE;
    }
    fclose(f);
    return e;
}

static enum ctl_exit load_data(const struct ctl_args *args, uint8_t *data, size_t *len_out)
{
    if ((args->argc == 4) == (args->input != NULL)) {
        ctl_error("dma write takes its bytes either as HEX or from --input FILE");
        return CTL_USAGE;
    }
    if (args->input)
        return load_file(args->input, data, len_out);
    if (parse_hex(args->argv[3], data, DMA_MAX, len_out) < 0) {
        ctl_error("'%s' are no bytes: an even number of hexadecimal digits is wanted, such as "
                  "00ff10",
                  args->argv[3]);
        return CTL_USAGE;
    }
    return CTL_DONE;
}

static enum ctl_exit run_dma_write(const struct ctl_args *args)
{
    cleanup_free uint8_t *data = calloc(DMA_MAX, 1);
    struct transfer t = {.args = args, .data = data};
    enum ctl_exit e = start_transfer(args, &t);

    if (!data) {
        ctl_error("out of memory");
        return CTL_REFUSED;
    }
    if (e == CTL_DONE)
        e = load_data(args, data, &t.len);
    if (e == CTL_DONE)
        e = check_transfer(&t);
    if (e == CTL_DONE)
        e = transfer_all(&t, write_piece);
    if (e == CTL_DONE && args->json)
        printf("{\"iova\":\"%#" PRIx64 "\",\"written\":%zu}\n", t.iova, t.len);
    return e;
}

/* --- table ------------------------------------------------------------------------------------ */

const struct ctl_command ctl_commands[] = {
    {"list", "", "the devices, their states and workers", 0, 0, 0, run_list},
    {"show", "DEVICE", "features, configuration, vdomains, endpoints, counters, memory, queues", 1,
     1, 0, run_show},
    {"mappings", "DEVICE [--vdomain N] [--limit N]", "the mappings of all vdomains, or of one", 1,
     1, CTL_OPT_VDOMAIN | CTL_OPT_LIMIT, run_mappings},
    {"metrics", "DEVICE", "counters as text that Prometheus reads", 1, 1, 0, run_metrics},
    {"endpoint add", "DEVICE id=N driver=NAME [KEY=VALUE]...", "add an endpoint", 2, 64, 0,
     run_endpoint_add},
    {"endpoint remove", "DEVICE ID", "detach and remove an endpoint", 2, 2, 0, run_endpoint_remove},
    {"endpoint list", "DEVICE", "the endpoints, and why one was refused", 1, 1, 0,
     run_endpoint_list},
    {"endpoint open-fd", "DEVICE ENDPOINT -- PROGRAM [ARGUMENT]...",
     "run a program that gets the endpoint's VFIO device file", 3, INT_MAX, 0,
     run_endpoint_open_fd},
    {"dma read", "DEVICE ENDPOINT IOVA LENGTH [--output FILE]", "read as a soft endpoint", 4, 4,
     CTL_OPT_OUTPUT, run_dma_read},
    {"dma write", "DEVICE ENDPOINT IOVA (HEX | --input FILE)", "write as a soft endpoint", 3, 4,
     CTL_OPT_INPUT, run_dma_write},
    {"log-level", "LEVEL", "error, warning, info or debug, for the daemon and its workers", 1, 1, 0,
     run_log_level},
};
const size_t n_ctl_commands = ARRAY_SIZE(ctl_commands);
