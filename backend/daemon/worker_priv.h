/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The worker's insides, shared by worker.c (process, loop, ports, device), worker_endpoints.c,
 * worker_commands.c (the supervisor's requests) and worker_report.c (what they show).
 *
 * Invariants:
 * - device is not NULL from a good `start` on; platform and sandbox with it.
 * - ports are bound (n_bound of them) only while the device is connected.
 */
#ifndef VIOMMU_BACKEND_DAEMON_WORKER_PRIV_H
#define VIOMMU_BACKEND_DAEMON_WORKER_PRIV_H

#include "backend/daemon/device.h"
#include "backend/daemon/msg.h"
#include "backend/daemon/options.h"
#include "backend/daemon/statefile.h"
#include "backend/iommu/driver.h"
#include "common/ctl.h"
#include "common/idmap.h"
#include "common/log.h"
#include "common/loop.h"
#include "xenstore/config.h"

/* Ports of a connection, in the order in which they are bound. */
enum worker_port {
    PORT_CONTROL,
    PORT_QUEUE_0,
    PORT_QUEUE_1,
    N_PORTS,
};

/* CONFIG_DRIVER_AUTO stands for one of those before it. */
#define WORKER_N_DRIVERS CONFIG_DRIVER_AUTO

struct worker_events {
    uint64_t wakeups; /* of the loop for event channels */
    uint64_t events;  /* ports taken */
    uint64_t strange; /* of a port that is not ours */
    uint64_t notify_failed;
};

struct worker {
    const struct daemon_options *options;
    struct loop *loop;
    struct ctl_conn *conn;

    const struct platform_ops *ops;
    struct platform *platform; /* from the first start to the end: a sandbox cannot open another */
    const struct platform_brokered *brokered; /* NULL: this process maps grants itself */
    bool sandboxed;
    uint32_t domid;
    struct loop_source *events;   /* on the platform's descriptor */
    struct loop_source *leftover; /* goes on with work that the budget left */
    bool work_left;
    struct worker_events counts;
    struct ratelimit log_limit;

    struct device_config config;
    struct config_device given; /* what of it the administrator has set */
    struct device *device;
    bool offered;                               /* `offer` has been answered */
    bool offer_stale;                           /* and no longer says what the device offers */
    struct idmap *endpoints;                    /* of struct worker_endpoint */
    struct iommu_host *hosts[WORKER_N_DRIVERS]; /* of drivers in use */

    int reply_fds[IOMMU_N_FDS]; /* borrowed: go with the reply that is being made */
    size_t n_reply_fds;

    struct statefile *file; /* NULL: none */
    void *file_map;
    size_t file_size;
    int file_fd;                              /* holds the lock */
    int msg_fd;                               /* came with the message in hand; -1 */
    char config_text[STATEFILE_TEXT_MAX + 1]; /* of viommu/config */
    bool has_config_text;
    struct statefile_setup setup; /* read from the file: start with `recover` until `recover` */
    bool may_recover;

    uint64_t negotiated; /* features of the connection, 0 without one */
    uint32_t port[N_PORTS];
    unsigned n_bound;
    bool reset_logged; /* NEEDS_RESET has been logged */
};

/* --- worker.c --------------------------------------------------------------------------------- */

/* Makes the device anew; what was there is disconnected and freed first. -errno with a text. */
MUST_CHECK int worker_start(struct worker *w, const struct msg_start *start, char *why,
                            size_t why_size);
MUST_CHECK int worker_connect(struct worker *w, const struct config_fe_raw *raw, char *why,
                              size_t why_size);
void worker_disconnect(struct worker *w);
MUST_CHECK int worker_bind_ports(struct worker *w, const uint32_t remote[N_PORTS], char *why,
                                 size_t why_size);
void worker_notify_all(struct worker *w);
/* Control page and both queues, as after a notification of each. */
void worker_look_everywhere(struct worker *w);

/* --- worker_state.c --------------------------------------------------------------------------- */

/* Takes the descriptor over. Waits up to five seconds for another process to let go of it. */
MUST_CHECK int worker_state_open(struct worker *w, int fd);
void worker_state_close(struct worker *w);
/* The connection, with these ports of the guest, counts from now on. */
void worker_state_commit(struct worker *w, const uint32_t remote[N_PORTS]);
/* What the file says of its connection, to w->setup; -errno with a text. */
MUST_CHECK int worker_state_read(struct worker *w, char *why, size_t why_size);
/* In place of worker_connect, after a `start` with recover and the endpoints. */
MUST_CHECK int worker_recover(struct worker *w, char *why, size_t why_size);

/* --- worker_sandbox.c ------------------------------------------------------------------------- */

/* Enters the sandbox, once; before the guest's first byte is read. -errno with a text. */
MUST_CHECK int worker_sandbox(struct worker *w, char *why, size_t why_size);

/* --- worker_endpoints.c ----------------------------------------------------------------------- */

/* Text of an endpoint node to an endpoint of the device; -errno with a text, nothing changed. */
MUST_CHECK int worker_endpoint_add(struct worker *w, const char *text, char *why, size_t why_size);
MUST_CHECK int worker_endpoint_remove(struct worker *w, uint32_t id); /* -ENOENT */
void worker_endpoints_clear(struct worker *w);
const struct config_endpoint *worker_endpoint(const struct worker *w, uint32_t id);
/* False for an endpoint that has nothing of the host. */
bool worker_endpoint_status(const struct worker *w, uint32_t id, struct iommu_status *out);
/* As companion_fds in backend/iommu/driver.h; -ENOENT, -EOPNOTSUPP (no device of the host). */
MUST_CHECK int worker_companion_fds(const struct worker *w, uint32_t id, int fds[IOMMU_N_FDS]);
/* The kernel resets the devices of the host when their files close: marks them and tells the
 * guest, by a fault with reason UNKNOWN for each. */
void worker_endpoints_were_reset(struct worker *w);
bool worker_endpoint_was_reset(const struct worker *w, uint32_t id);
/* Value of viommu-endpoints. */
void worker_endpoints_summary(const struct worker *w, char out[CONFIG_SUMMARY_SIZE]);

/* --- worker_commands.c ------------------------------------------------------------------------ */

/* Carries out one request and returns the reply; NULL when the request is malformed or memory is
 * short, which ends the worker. */
json_t *worker_command(struct worker *w, const json_t *msg);

/* --- worker_report.c -------------------------------------------------------------------------- */

/* Each adds its members to a reply. -ENOMEM; -EPROTO for wrong arguments in `msg`. */
MUST_CHECK int worker_report_show(struct worker *w, const json_t *msg, json_t *reply);
MUST_CHECK int worker_report_mappings(struct worker *w, const json_t *msg, json_t *reply);

#endif
