/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The control socket. Only root and the daemon's own user may speak here, so a request is checked
 * for shape, not for malice; what it wants of a device is handed to the device's worker, whose
 * answer is bounded but otherwise as hostile as the guest. Nothing waits: every request that needs
 * a worker is a call that is answered later, or given up after some seconds.
 */
#include <config.h>

#include "backend/daemon/admin.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "backend/iommu/driver.h"
#include "common/ctl.h"
#include "common/strutil.h"

#define MAX_SESSIONS    64u
#define CALL_TIMEOUT_MS 10000u

struct session {
    struct session *next;
    struct admin *admin;
    struct ctl_conn *conn;
};

/*
 * A request on its way. It ends when whoever works on it says so; its session may be gone by then
 * (NULL), or may have been told that it took too long.
 */
struct admin_call {
    struct admin_call *next;
    struct admin *admin;
    struct session *session;
    struct loop_source *timer;
    json_t *reply; /* what the supervisor itself has to say; NULL: nothing */
};

struct admin {
    struct sdevice_env *env;
    const struct admin_ops *ops;
    void *ctx;
    struct ctl_server *server;
    struct session *sessions;
    unsigned n_sessions;
    struct admin_call *calls;
};

/* --- replies ---------------------------------------------------------------------------------- */

static json_t *new_error(const char *text)
{
    return json_pack("{s:b, s:s}", "ok", 0, "error", text);
}

/* Consumes the reply; descriptors are borrowed. */
static void send_reply_fds(struct session *s, json_t *reply, const int *fds, size_t n_fds)
{
    int r = reply ? ctl_conn_send(s->conn, reply, fds, n_fds) : -ENOMEM;

    json_decref(reply);
    if (r == -E2BIG) {
        reply = new_error("the answer does not fit into a message");
        r = ctl_conn_send(s->conn, reply, NULL, 0);
        json_decref(reply);
    }
    if (r < 0)
        log_warn("control socket: cannot answer: %s", strerror(-r));
}

static void send_reply(struct session *s, json_t *reply)
{
    send_reply_fds(s, reply, NULL, 0);
}

/* --- calls ------------------------------------------------------------------------------------ */

static void on_call_timeout(void *ctx)
{
    struct admin_call *call = ctx;

    if (!call->session)
        return;
    send_reply(call->session, new_error("the device's worker does not answer"));
    call->session = NULL;
}

/* Takes over `reply` (may be NULL). NULL when memory is short. */
static struct admin_call *new_call(struct session *s, json_t *reply)
{
    struct admin_call *call = calloc(1, sizeof(*call));

    if (!call) {
        json_decref(reply);
        return NULL;
    }
    call->timer = loop_add_timer(s->admin->env->loop, on_call_timeout, call);
    if (!call->timer) {
        json_decref(reply);
        free(call);
        return NULL;
    }
    loop_timer_arm_ms(call->timer, CALL_TIMEOUT_MS);
    call->admin = s->admin;
    call->session = s;
    call->reply = reply;
    call->next = s->admin->calls;
    s->admin->calls = call;
    return call;
}

static void free_call(struct admin_call *call)
{
    for (struct admin_call **at = &call->admin->calls; *at; at = &(*at)->next) {
        if (*at == call) {
            *at = call->next;
            break;
        }
    }
    loop_source_free(call->timer);
    json_decref(call->reply);
    free(call);
}

/* Ends the call with that reply (consumed). */
static void finish_call(struct admin_call *call, json_t *reply)
{
    if (call->session)
        send_reply(call->session, reply);
    else
        json_decref(reply);
    free_call(call);
}

/* The worker's members after the supervisor's own, which it cannot replace. */
static json_t *merge(json_t *own, const json_t *msg)
{
    json_t *reply = own ? json_incref(own) : json_object();
    const char *key;
    json_t *value;

    /* jansson's iteration macro wants a non-const object; nothing is changed. */
    json_object_foreach((json_t *)(uintptr_t)msg, key, value)
    {
        if (strcmp(key, "id") != 0 && !json_object_get(reply, key))
            (void)json_object_set(reply, key, value);
    }
    return reply;
}

static void on_reply(void *ctx, int error, const struct msg_reply *reply, json_t *msg)
{
    struct admin_call *call = ctx;

    (void)reply;
    if (error < 0)
        finish_call(call, new_error("the device's worker is gone"));
    else
        finish_call(call, merge(call->reply, msg));
}

static void on_endpoint_done(void *ctx, const char *error)
{
    finish_call(ctx, error ? new_error(error) : json_pack("{s:b}", "ok", 1));
}

/* --- commands --------------------------------------------------------------------------------- */

struct request {
    struct admin *admin;
    struct session *session;
    struct sdevice *dev; /* NULL for commands without a device */
    const json_t *msg;
};

/*
 * A command's handler: returns the reply, or NULL when a call takes care of it (or memory is
 * short, which the session is told by being closed).
 */
typedef json_t *command_fn(const struct request *req);

static json_t *do_list(const struct request *req)
{
    const struct page_budget *budget = &req->admin->env->links.budget;
    json_t *list = json_array();
    struct sdevice *dev = NULL;

    while ((dev = req->admin->ops->next(req->admin->ctx, dev)) != NULL)
        (void)json_array_append_new(list, sdevice_summary(dev));
    return json_pack("{s:b, s:o, s:{s:I, s:I}}", "ok", 1, "devices", list, "pages", "total",
                     (json_int_t)budget->total, "leased", (json_int_t)budget->leased);
}

/* Sends the client's request on, with a number of ours. `own` (consumed, may be NULL) goes before
 * the worker's members in the reply. */
static json_t *forward(const struct request *req, json_t *own, size_t max_fds, link_reply_fn *fn)
{
    struct link *link = sdevice_link(req->dev);
    struct admin_call *call = new_call(req->session, own);
    json_t *msg = json_copy((json_t *)(uintptr_t)req->msg);
    int r;

    if (!call || !msg ||
        json_object_set_new(msg, "id", json_integer((json_int_t)link_next_id(link))) < 0) {
        json_decref(msg);
        if (call)
            free_call(call);
        return new_error("out of memory");
    }
    (void)json_object_del(msg, "device");
    r = link_request_fds(link, msg, max_fds, fn, call);
    if (r == 0)
        return NULL;
    free_call(call);
    return new_error(r == -EBUSY ? "the device's worker has too much to do"
                                 : "the device's worker is gone");
}

static json_t *do_show(const struct request *req)
{
    json_t *own = sdevice_summary(req->dev);

    if (sdevice_link(req->dev))
        return forward(req, own, 0, on_reply);
    (void)json_object_set_new(own, "ok", json_true());
    return own;
}

static json_t *do_forward(const struct request *req)
{
    if (!sdevice_link(req->dev))
        return new_error("the device has no worker (viommuctl list shows its state)");
    return forward(req, NULL, 0, on_reply);
}

/* Is an open file what its worker, which a guest may have taken over, says that it is? */
static bool is_file(int fd, const char *prefix)
{
    char path[32], target[128];
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    n = readlink(path, target, sizeof(target) - 1);
    if (n < 0)
        return false;
    target[n] = '\0';
    return strncmp(target, prefix, strlen(prefix)) == 0;
}

static bool are_companion_fds(const int *fds)
{
    return (is_file(fds[IOMMU_FD_DEVICE], "anon_inode:[vfio-device]") ||
            is_file(fds[IOMMU_FD_DEVICE], "/dev/vfio/devices/")) &&
           is_file(fds[IOMMU_FD_LIFELINE], "pipe:[");
}

static void on_companion_fds(void *ctx, int error, const struct msg_reply *reply, json_t *msg)
{
    struct admin_call *call = ctx;

    if (error < 0 || !reply->ok) {
        on_reply(ctx, error, reply, msg);
        return;
    }
    if (reply->n_fds != IOMMU_N_FDS || !are_companion_fds(reply->fds)) {
        log_err("a worker's answer to endpoint-open-fd is no VFIO device: not handed out");
        finish_call(call, new_error("the worker's answer makes no sense"));
        return;
    }
    if (call->session)
        send_reply_fds(call->session, merge(call->reply, msg), reply->fds, reply->n_fds);
    free_call(call);
}

/* Registers and interrupts of a device, to root only: this is more than looking and configuring. */
static json_t *do_endpoint_open_fd(const struct request *req)
{
    uint32_t id;

    if (msg_u32(req->msg, "endpoint", UINT32_MAX, &id) < 0)
        return new_error("endpoint: a number from 0 to 0xffffffff is wanted");
    if (ctl_conn_peer_uid(req->session->conn) != 0)
        return new_error("only root gets device files");
    if (!sdevice_link(req->dev))
        return new_error("the device has no worker (viommuctl list shows its state)");
    log_info("endpoint %#x of %s: its device file was asked for by uid 0", id,
             msg_text(req->msg, "device", 24, false));
    return forward(req, NULL, IOMMU_N_FDS, on_companion_fds);
}

static json_t *do_endpoint_list(const struct request *req)
{
    return json_pack("{s:b, s:o}", "ok", 1, "endpoints", sdevice_endpoint_list(req->dev));
}

static json_t *do_endpoint_add(const struct request *req)
{
    const char *text = msg_text(req->msg, "endpoint", XS_ADMIN_VALUE_MAX, false);
    struct admin_call *call;

    if (!text)
        return new_error(
            "endpoint: pairs such as id=0x8 driver=soft are wanted, at most 1024 bytes");
    call = new_call(req->session, NULL);
    if (!call)
        return new_error("out of memory");
    sdevice_endpoint_add(req->dev, text, on_endpoint_done, call);
    return NULL;
}

static json_t *do_endpoint_remove(const struct request *req)
{
    struct admin_call *call;
    uint32_t id;

    if (msg_u32(req->msg, "id", UINT32_MAX, &id) < 0)
        return new_error("id: a number from 0 to 0xffffffff is wanted");
    call = new_call(req->session, NULL);
    if (!call)
        return new_error("out of memory");
    sdevice_endpoint_remove(req->dev, id, on_endpoint_done, call);
    return NULL;
}

static json_t *do_log_level(const struct request *req)
{
    const char *name = msg_text(req->msg, "level", 16, false);
    enum log_level level;

    if (!name || log_level_parse(name, &level) < 0)
        return new_error("level: " LOG_LEVEL_NAMES " is wanted");
    log_set_level(level);
    link_set_log_level(&req->admin->env->links, level);
    return json_pack("{s:b, s:s}", "ok", 1, "level", name);
}

static const struct {
    const char *name;
    bool needs_device;
    command_fn *run;
} commands[] = {
    {"list", false, do_list},
    {"show", true, do_show},
    {"mappings", true, do_forward},
    {"dma-read", true, do_forward},
    {"dma-write", true, do_forward},
    {"endpoint-list", true, do_endpoint_list},
    {"endpoint-add", true, do_endpoint_add},
    {"endpoint-remove", true, do_endpoint_remove},
    {"endpoint-open-fd", true, do_endpoint_open_fd},
    {"log-level", false, do_log_level},
};

/* --- requests --------------------------------------------------------------------------------- */

/* "DOMID/NUMBER"; NULL if it is not that, or no such device is there. */
static struct sdevice *find_device(struct admin *admin, const json_t *msg)
{
    const char *text = msg_text(msg, "device", 24, false);
    const char *slash = text ? strchr(text, '/') : NULL;
    uint32_t domid = 0, number = 0;
    char first[24];

    if (!slash)
        return NULL;
    memcpy(first, text, (size_t)(slash - text));
    first[slash - text] = '\0';
    if (parse_u32(first, XS_DOMID_MAX, &domid) < 0 ||
        parse_u32(slash + 1, XS_DEVID_MAX, &number) < 0)
        return NULL;
    return admin->ops->find(admin->ctx, domid, number);
}

static json_t *run_request(struct session *s, const json_t *msg)
{
    const char *name = msg_text(msg, "command", 32, false);
    struct request req = {.admin = s->admin, .session = s, .msg = msg};

    for (size_t i = 0; name && i < ARRAY_SIZE(commands); i++) {
        if (strcmp(commands[i].name, name) != 0)
            continue;
        if (commands[i].needs_device) {
            req.dev = find_device(s->admin, msg);
            if (!req.dev)
                return new_error("there is no such device (viommuctl list shows them)");
        }
        return commands[i].run(&req);
    }
    return new_error("unknown command");
}

static void on_message(struct ctl_conn *conn, json_t *msg, const int *fds, size_t n_fds, void *ctx)
{
    struct session *s = ctx;
    json_t *reply;

    (void)conn;
    for (size_t i = 0; i < n_fds; i++)
        close(fds[i]);
    reply = run_request(s, msg);
    if (reply)
        send_reply(s, reply);
}

/* --- sessions --------------------------------------------------------------------------------- */

static void free_session(struct session *s)
{
    struct admin *admin = s->admin;

    for (struct admin_call *call = admin->calls; call; call = call->next) {
        if (call->session == s)
            call->session = NULL;
    }
    for (struct session **at = &admin->sessions; *at; at = &(*at)->next) {
        if (*at == s) {
            *at = s->next;
            break;
        }
    }
    admin->n_sessions--;
    ctl_conn_free(s->conn);
    free(s);
}

static void on_closed(struct ctl_conn *conn, int reason, void *ctx)
{
    (void)conn;
    (void)reason;
    free_session(ctx);
}

static const struct ctl_conn_ops conn_ops = {.message = on_message, .closed = on_closed};

static bool may_enter(const struct ctl_conn *conn)
{
    int uid = ctl_conn_peer_uid(conn);

    return uid == 0 || (uid > 0 && (uid_t)uid == geteuid());
}

static void on_accept(int fd, void *ctx)
{
    struct admin *admin = ctx;
    struct session *s = admin->n_sessions < MAX_SESSIONS ? calloc(1, sizeof(*s)) : NULL;

    if (s)
        s->conn = ctl_conn_new(admin->env->loop, fd, &conn_ops, s);
    if (!s || !s->conn) {
        log_warn("control socket: connection refused: too many, or out of memory");
        close(fd);
        free(s);
        return;
    }
    if (!may_enter(s->conn)) {
        log_warn("control socket: connection of a foreign user refused");
        ctl_conn_free(s->conn);
        free(s);
        return;
    }
    s->admin = admin;
    s->next = admin->sessions;
    admin->sessions = s;
    admin->n_sessions++;
}

/* --- life ------------------------------------------------------------------------------------- */

static int make_directory(const char *socket_path)
{
    cleanup_free char *dir = strdup(socket_path);
    char *slash = dir ? strrchr(dir, '/') : NULL;

    if (!dir)
        return -ENOMEM;
    if (!slash || slash == dir)
        return 0;
    *slash = '\0';
    if (mkdir(dir, 0700) < 0 && errno != EEXIST) {
        log_err("%s: %s", dir, strerror(errno));
        return -errno;
    }
    return 0;
}

int admin_new(struct admin **out, struct sdevice_env *env, const struct admin_ops *ops, void *ctx)
{
    const char *path = env->options->control_path;
    struct admin *admin = calloc(1, sizeof(*admin));
    int r;

    if (!admin)
        return -ENOMEM;
    admin->env = env;
    admin->ops = ops;
    admin->ctx = ctx;
    r = make_directory(path);
    if (r == 0) {
        r = ctl_server_new(&admin->server, env->loop, path, on_accept, admin);
        if (r < 0)
            log_err("control socket %s: %s", path,
                    r == -EADDRINUSE ? "another daemon answers there" : strerror(-r));
    }
    if (r < 0) {
        free(admin);
        return r;
    }
    *out = admin;
    return 0;
}

struct admin *admin_free(struct admin *admin)
{
    if (!admin)
        return NULL;
    admin->server = ctl_server_free(admin->server);
    while (admin->sessions)
        free_session(admin->sessions);
    while (admin->calls)
        free_call(admin->calls);
    free(admin);
    return NULL;
}
