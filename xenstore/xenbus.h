/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The backend's state machine (docs/protocol.md, section 3), as data: a phase and an event give a
 * list of actions, to be carried out in order, and the next phase. Pure; the supervisor runs it.
 *
 * The phases are finer than the xenbus states, because starting, connecting and disconnecting are
 * done by a worker process and take time. The worker's part of the bargain:
 *
 *   action START       -> event READY, REFUSED or LOST
 *   action CONNECT     -> event CONNECTED, REFUSED or LOST
 *   action DISCONNECT  -> event DISCONNECTED or LOST (also in answer to a CONNECT still running,
 *                         whose own answer may come before it and is ignored)
 *
 * LOST means that the worker's process is gone, and with it everything that it had mapped and
 * bound. A worker that does not answer in time is killed by the supervisor, which makes it LOST.
 * (Recovery: a supervisor that gives the connection to a successor simply does not feed LOST.)
 */
#ifndef VIOMMU_XENSTORE_XENBUS_H
#define VIOMMU_XENSTORE_XENBUS_H

#include <stdbool.h>

enum xenbus_state {
    XENBUS_NONE = 0, /* a value that is no state: ignored */
    XENBUS_INITIALISING = 1,
    XENBUS_INIT_WAIT = 2,
    XENBUS_INITIALISED = 3,
    XENBUS_CONNECTED = 4,
    XENBUS_CLOSING = 5,
    XENBUS_CLOSED = 6,
    XENBUS_GONE = 7, /* no value: the node or its directory is gone or not readable */
};

/* Value of a state node: 1 to 6, else XENBUS_NONE. */
enum xenbus_state xenbus_state_parse(const char *text);
const char *xenbus_state_name(enum xenbus_state state);

enum xenbus_phase {
    XB_PHASE_NEW,        /* just found: feed xenbus_event_found() */
    XB_PHASE_STARTING,   /* waiting for READY; state not yet 2 (or 2 and about to be refreshed) */
    XB_PHASE_WAITING,    /* state 2 */
    XB_PHASE_CONNECTING, /* state 2, the worker checks and maps */
    XB_PHASE_CONNECTED,  /* state 4 */
    XB_PHASE_RESTARTING, /* the frontend starts over; waiting for DISCONNECTED, then a new start */
    XB_PHASE_CLOSING,    /* waiting for DISCONNECTED, then state 6 */
    XB_PHASE_CLOSED,     /* state 6; the frontend may start anew. Worker running or not */
    XB_PHASE_ENDING,     /* the toolstack removes us: waiting for DISCONNECTED, then 6 for good */
    XB_PHASE_VANISHING,  /* the directory is gone: waiting for DISCONNECTED, writes nothing */
    XB_PHASE_ENDED,      /* nothing runs, waiting for the directory to vanish (or forgotten) */
    XB_N_PHASES
};

enum xenbus_event {
    /* How the directory was found (xenbus_event_found). */
    XB_FOUND_FRESH,     /* own state 1, 2, 3 or none: nobody can be connected */
    XB_FOUND_CONNECTED, /* own state 4, or our own 5: an earlier supervisor has left it behind */
    XB_FOUND_RUNNING,   /* own state 4, and the connection can be taken over: not from
                           xenbus_event_found */
    XB_FOUND_CLOSED,    /* own state 6 */
    XB_FOUND_ENDING,    /* online 0 */
    /* From the worker. */
    XB_READY,        /* configuration accepted; offer known */
    XB_CONNECTED,    /* everything checked, mapped and bound, control page filled in */
    XB_REFUSED,      /* start or connection refused, or the worker gives up; it is still there */
    XB_DISCONNECTED, /* everything unmapped and unbound */
    XB_LOST,         /* the worker's process is gone, or could not be started */
    /* The frontend's state, from discover_ops.frontend_state (xenbus_event_frontend). */
    XB_FE_NONE,
    XB_FE_INITIALISING,
    XB_FE_INIT_WAIT,
    XB_FE_INITIALISED,
    XB_FE_CONNECTED,
    XB_FE_CLOSING,
    XB_FE_CLOSED,
    XB_FE_GONE,
    /* Our own directory. */
    XB_OWN_CLOSING,    /* discover_ops.closing */
    XB_OWN_GONE,       /* discover_ops.vanished */
    XB_CONFIG_CHANGED, /* discover_ops.config_changed */
    XB_N_EVENTS
};

enum xenbus_action {
    XB_DO_NOTHING, /* ends a list */
    XB_DO_START,   /* see that a worker with the present viommu/config runs (a running one that has
                      it may stay, another is replaced: nothing is connected); then feed READY */
    XB_DO_CLEAR_ERROR, /* publish_error_clear */
    XB_DO_PUBLISH,     /* publish_nodes */
    XB_DO_STATE_2,     /* publish_state */
    XB_DO_RECHECK, /* feed the frontend's state as last reported: changes may have been ignored */
    XB_DO_CONNECT, /* frontend_nodes_read, hand them to the worker */
    XB_DO_RECOVER, /* a successor takes the connection over; fails like a running one: REFUSED, LOST
                    */
    XB_DO_STATE_4,
    XB_DO_ERROR, /* publish_error with the reason */
    XB_DO_STATE_5,
    XB_DO_DISCONNECT, /* the worker stops the rings, unmaps and unbinds everything */
    XB_DO_STATE_6,
    XB_DO_REMOVE, /* publish_remove: the toolstack is waiting for the directory to go */
    XB_DO_STOP,   /* end the worker, if there is one; its LOST is not fed */
    XB_DO_FORGET, /* drop the device */
};

#define XB_MAX_ACTIONS 5

struct xenbus_step {
    enum xenbus_phase next;
    enum xenbus_action actions[XB_MAX_ACTIONS]; /* ended by XB_DO_NOTHING or the array's end */
};

/*
 * What to do. Every pair is defined: events without a meaning in a phase have no action and keep
 * the phase. The caller sets the phase before it carries out the actions, because RECHECK (always
 * the last one) and actions that fail at once feed new events. A STATE_* or PUBLISH that fails
 * with -ENOENT or -ESTALE (the directory is gone or a new one), or with -ECANCELED (the toolstack
 * closes) needs no action: discovery reports it. One with -EIO (the connection
 * is lost) is repeated when there is a connection again. Any other failure of theirs (quota) is
 * like LOST after a STOP.
 */
struct xenbus_step xenbus_next(enum xenbus_phase phase, enum xenbus_event event);

/* The first event for a directory with that own state and `online`. */
enum xenbus_event xenbus_event_found(enum xenbus_state own, bool online);
enum xenbus_event xenbus_event_frontend(enum xenbus_state frontend);

/* True between CONNECT and DISCONNECTED: guest memory may be mapped. */
bool xenbus_phase_holds_guest(enum xenbus_phase phase);

/* For logs and `viommuctl show`. */
const char *xenbus_phase_name(enum xenbus_phase phase);
const char *xenbus_event_name(enum xenbus_event event);
const char *xenbus_action_name(enum xenbus_action action);

#endif
