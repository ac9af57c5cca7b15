/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One device as the supervisor sees it: the directory in xenstore, the xenbus state machine, the
 * worker behind it, and the administrator's endpoints.
 */
#ifndef VIOMMU_BACKEND_DAEMON_SDEVICE_H
#define VIOMMU_BACKEND_DAEMON_SDEVICE_H

#include "backend/daemon/link.h"
#include "backend/daemon/statestore.h"
#include "xenstore/discover.h"

#include <stdbool.h>

struct sdevice;

/* What all devices share. */
struct sdevice_env {
    struct loop *loop;
    const struct daemon_options *options;
    const struct xsc *xs;
    struct link_set links;
    struct state_store *states;
    /* A device wants to be freed (sdevice_free), but not from inside this call. */
    void (*forgotten)(struct sdevice *dev, void *ctx);
    /* A device's phase has changed. */
    void (*changed)(void *ctx);
    /* A device has noticed that the connection to xenstore is lost: sdevice_store_back follows. */
    void (*store_lost)(void *ctx);
    void *ctx;
};

/* A device for a directory that has appeared; runs nothing before sdevice_begin. NULL: -ENOMEM. */
struct sdevice *sdevice_new(struct sdevice_env *env, struct xs_device *xs);
struct sdevice *sdevice_free(struct sdevice *dev); /* NULL allowed; returns NULL */
void sdevice_begin(struct sdevice *dev);

/* Discovery's news (xenstore/discover.h). */
void sdevice_vanished(struct sdevice *dev);
void sdevice_frontend_state(struct sdevice *dev, enum xenbus_state state);
void sdevice_closing(struct sdevice *dev);
void sdevice_config_changed(struct sdevice *dev);
void sdevice_endpoints_changed(struct sdevice *dev);

/*
 * There is a connection to xenstore again, and discovery has looked: what could not be written
 * meanwhile is written now.
 */
void sdevice_store_back(struct sdevice *dev);

/* The daemon ends: state 5, everything unmapped, state 6. */
void sdevice_shutdown(struct sdevice *dev);

/* Nothing of the guest is held and no worker is starting. */
bool sdevice_idle(const struct sdevice *dev);
bool sdevice_is_forgotten(const struct sdevice *dev);

uint32_t sdevice_domid(const struct sdevice *dev);
uint32_t sdevice_number(const struct sdevice *dev);
bool sdevice_has_directory(const struct sdevice *dev);

/* NULL: no worker, or one that has not been started. */
struct link *sdevice_link(const struct sdevice *dev);

/* --- control ---------------------------------------------------------------------------------- */

/* Members for `list`: device, state, frontend, worker, pages, error. New reference. */
json_t *sdevice_summary(const struct sdevice *dev);

/* Array of the administrator's endpoints: id, node, state, why. New reference. */
json_t *sdevice_endpoint_list(const struct sdevice *dev);

/*
 * Adds or removes an endpoint: its node first, so that it survives a restart, then the worker.
 * `fn` is called once, perhaps at once, with NULL or a text that says why not; a refused endpoint
 * leaves no node behind.
 */
typedef void sdevice_done_fn(void *ctx, const char *error);
void sdevice_endpoint_add(struct sdevice *dev, const char *text, sdevice_done_fn *fn, void *ctx);
void sdevice_endpoint_remove(struct sdevice *dev, uint32_t id, sdevice_done_fn *fn, void *ctx);

#endif
