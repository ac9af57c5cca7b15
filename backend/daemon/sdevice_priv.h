/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The insides of a supervised device, shared by sdevice.c (state machine, worker),
 * sdevice_endpoints.c (the administrator's endpoints) and sdevice_recover.c (state file,
 * successor).
 *
 * Invariants:
 * - xs is NULL once the directory has vanished; nothing is published then.
 * - link is the present worker; a stopped or lost one is not seen here any more.
 * - known lists the endpoints that the worker has been told of, or will be told of when it
 *   starts, whatever its answer was.
 */
#ifndef VIOMMU_BACKEND_DAEMON_SDEVICE_PRIV_H
#define VIOMMU_BACKEND_DAEMON_SDEVICE_PRIV_H

#include "backend/daemon/sdevice.h"
#include "xenstore/publish.h"
#include "xenstore/xenbus.h"

#define SDEVICE_MAX_EVENTS 16

/* What is to be written when xenstore is back (sdevice_store.c). */
enum sdevice_owed {
    OWED_ERROR = 1 << 0, /* `error` with the reason of that time; excludes the next */
    OWED_CLEAR_ERROR = 1 << 1,
    OWED_NODES = 1 << 2,
    OWED_ENDPOINTS = 1 << 3,
    OWED_STATE = 1 << 4, /* owed_state */
    OWED_REMOVE = 1 << 5,
    OWED_CONNECT = 1 << 6, /* the frontend's nodes could not be read */
};

enum known_state {
    KNOWN_WAITING, /* no worker has it yet */
    KNOWN_SENT,
    KNOWN_ACTIVE,
    KNOWN_REFUSED,
};

struct known_endpoint {
    struct known_endpoint *next; /* ascending by id */
    uint32_t id;
    uint32_t serial; /* tells an endpoint from a later one with the same id */
    enum known_state state;
    char *text; /* the node's value; NULL: unusable, see why */
    char why[MSG_ERROR_MAX + 1];
};

struct sdevice {
    struct sdevice_env *env;
    struct xs_device *xs;
    uint32_t domid, number;
    char name[32];
    enum xenbus_phase phase;
    enum xenbus_event events[SDEVICE_MAX_EVENTS]; /* still to be carried out */
    unsigned n_events;
    bool running;   /* events are being carried out */
    bool failed;    /* an action has failed: the rest of the list is dropped */
    bool giving_up; /* the worker was killed because the store fails: no successor */
    bool forgotten;
    char why[MSG_ERROR_MAX + 1]; /* for the next ERROR action */

    struct link *link;
    struct loop_source *phase_timer; /* the worker's answer is due */
    struct loop_source *start_timer; /* a start was put off */
    struct ratelimit starts;         /* processes */
    struct ratelimit log_limit;      /* what the frontend did wrong */
    struct ratelimit admin_limit;    /* what the administrator has to mend: each start tells it */
    struct ratelimit phase_limit;    /* changes of phase, which a frontend brings about at will */
    unsigned n_starts;               /* starts whose `offer` has not been answered */
    bool start_failed;               /* the latest `start` was refused; why says it */

    struct publish_offer offer;
    char endpoints_value[CONFIG_SUMMARY_SIZE]; /* as the worker said it last */
    bool published;
    unsigned owed; /* enum sdevice_owed */
    enum xenbus_state owed_state;
    char owed_error[MSG_ERROR_MAX + 1];

    struct known_endpoint *known;
    uint32_t serial;

    char *config_text; /* of viommu/config when the device was started; NULL: none was there */
    bool config_kept;  /* the text is known: this supervisor started the device */

    int state_fd; /* of the state file; -1: none */
    uint64_t state_size;
    uint32_t state_pages;                      /* leased when it was made */
    uint32_t pages;                            /* leased last */
    bool recovering;                           /* a successor has not answered yet */
    char recovered_value[CONFIG_SUMMARY_SIZE]; /* its viommu-endpoints so far */
    uint64_t recovery_began_ms, recovery_ms;
    uint64_t recoveries;
    uint64_t window_began_ms;
    unsigned n_in_window;
};

/* --- sdevice_endpoints.c ---------------------------------------------------------------------- */

/* A new worker knows no endpoint: sends all, in one go. */
void sdevice_send_endpoints(struct sdevice *dev);
void sdevice_forget_endpoints(struct sdevice *dev);

/* --- sdevice_recover.c ------------------------------------------------------------------------ */

/* Sees that there is a state file of the right size; without one the device works as well. */
void sdevice_renew_state(struct sdevice *dev, const struct config_device *config);
void sdevice_drop_state(struct sdevice *dev);
/* Takes the file that an earlier supervisor has left. */
bool sdevice_adopt_state(struct sdevice *dev);

/*
 * The worker is gone (`how`): starts a successor, if a guest is connected and it may have one.
 * False: nothing was started, and `why` may say more.
 */
bool sdevice_recover(struct sdevice *dev, const char *how);

/* --- sdevice_store.c -------------------------------------------------------------------------- */

/* Each writes nodes of ours; a lost connection puts the write off, another failure ends the worker.
 */
void sdevice_write_nodes(struct sdevice *dev);
void sdevice_write_endpoints(struct sdevice *dev);
void sdevice_write_state(struct sdevice *dev, enum xenbus_state state);
void sdevice_write_error(struct sdevice *dev, const char *text); /* NULL: removes it */
void sdevice_remove_directory(struct sdevice *dev);
/* A call to the store has given `r`: true if that means that the connection is lost. */
bool sdevice_owes(struct sdevice *dev, unsigned owed, int r);

/* --- sdevice.c -------------------------------------------------------------------------------- */

/* The worker said what viommu-endpoints has to say now. */
void sdevice_endpoints_value(struct sdevice *dev, const char *value);

void sdevice_feed(struct sdevice *dev, enum xenbus_event event);
/* Reads the frontend's nodes and hands them to the worker. */
void sdevice_connect(struct sdevice *dev);
link_lost_fn sdevice_on_lost;
/* Sends `start` with the state file; its answer is in start_failed and why. */
void sdevice_send_start(struct sdevice *dev, bool recover);

#endif
