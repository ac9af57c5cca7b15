/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The table of docs/protocol.md, section 3. A pair that is not in it means: nothing, same phase.
 * `next` is stored plus one, so that 0 in a designated initialiser means "not in the table".
 */
#include <config.h>

#include "xenstore/xenbus.h"

#include <stddef.h>

#include "common/compiler.h"
#include "common/strutil.h"

struct cell {
    unsigned char next_plus_1;
    unsigned char actions[XB_MAX_ACTIONS];
};

#define GO(phase, ...)                                                  \
    {                                                                   \
        .next_plus_1 = XB_PHASE_##phase + 1, .actions = { __VA_ARGS__ } \
    }

/* The reason, then both states: for a frontend that watches either of them. */
#define REFUSE XB_DO_ERROR, XB_DO_STATE_5, XB_DO_STATE_6

static const struct cell table[XB_N_PHASES][XB_N_EVENTS] = {
    [XB_PHASE_NEW] =
        {
            [XB_FOUND_FRESH] = GO(STARTING, XB_DO_START),
            /* Its worker is dead and nothing is mapped: the frontend has to start over. */
            [XB_FOUND_CONNECTED] = GO(CLOSED, REFUSE, XB_DO_RECHECK),
            /* RECHECK: the frontend may have gone on while nobody looked. */
            [XB_FOUND_RUNNING] = GO(CONNECTED, XB_DO_RECOVER, XB_DO_RECHECK),
            [XB_FOUND_CLOSED] = GO(CLOSED, XB_DO_RECHECK),
            [XB_FOUND_ENDING] = GO(ENDED, XB_DO_STATE_6, XB_DO_REMOVE),
            [XB_OWN_CLOSING] = GO(ENDED, XB_DO_STATE_6, XB_DO_REMOVE),
            [XB_OWN_GONE] = GO(ENDED, XB_DO_FORGET),
        },
    [XB_PHASE_STARTING] =
        {
            [XB_READY] = GO(WAITING, XB_DO_CLEAR_ERROR, XB_DO_PUBLISH, XB_DO_STATE_2,
                            XB_DO_RECHECK),
            /* No RECHECK: a frontend that sits at 1 would start a worker that cannot, for ever. */
            [XB_REFUSED] = GO(CLOSED, REFUSE),
            [XB_LOST] = GO(CLOSED, REFUSE),
            [XB_CONFIG_CHANGED] = GO(STARTING, XB_DO_START),
            [XB_OWN_CLOSING] = GO(ENDED, XB_DO_STOP, XB_DO_STATE_6, XB_DO_REMOVE),
            [XB_OWN_GONE] = GO(ENDED, XB_DO_STOP, XB_DO_FORGET),
        },
    [XB_PHASE_WAITING] =
        {
            [XB_FE_INITIALISED] = GO(CONNECTING, XB_DO_CONNECT),
            [XB_FE_CLOSING] = GO(CLOSED, XB_DO_STATE_6),
            [XB_FE_CLOSED] = GO(CLOSED, XB_DO_STATE_6),
            [XB_FE_GONE] = GO(CLOSED, XB_DO_STATE_6),
            [XB_REFUSED] = GO(CLOSED, REFUSE),
            [XB_LOST] = GO(CLOSED, REFUSE),
            /* Written between `xl create -p` and `xl unpause`: a paused guest has read nothing. */
            [XB_CONFIG_CHANGED] = GO(STARTING, XB_DO_START),
            [XB_OWN_CLOSING] = GO(ENDED, XB_DO_STOP, XB_DO_STATE_6, XB_DO_REMOVE),
            [XB_OWN_GONE] = GO(ENDED, XB_DO_STOP, XB_DO_FORGET),
        },
    [XB_PHASE_CONNECTING] =
        {
            [XB_CONNECTED] = GO(CONNECTED, XB_DO_STATE_4),
            [XB_REFUSED] = GO(CLOSING, XB_DO_ERROR, XB_DO_STATE_5, XB_DO_DISCONNECT),
            [XB_LOST] = GO(CLOSED, REFUSE, XB_DO_RECHECK),
            [XB_FE_INITIALISING] = GO(RESTARTING, XB_DO_DISCONNECT),
            [XB_FE_INIT_WAIT] = GO(RESTARTING, XB_DO_DISCONNECT),
            [XB_FE_CLOSING] = GO(CLOSING, XB_DO_DISCONNECT),
            [XB_FE_CLOSED] = GO(CLOSING, XB_DO_DISCONNECT),
            [XB_FE_GONE] = GO(CLOSING, XB_DO_DISCONNECT),
            [XB_OWN_CLOSING] = GO(ENDING, XB_DO_DISCONNECT),
            [XB_OWN_GONE] = GO(VANISHING, XB_DO_DISCONNECT),
        },
    [XB_PHASE_CONNECTED] =
        {
            [XB_REFUSED] = GO(CLOSING, XB_DO_ERROR, XB_DO_STATE_5, XB_DO_DISCONNECT),
            [XB_LOST] = GO(CLOSED, REFUSE, XB_DO_RECHECK),
            [XB_FE_INITIALISING] = GO(RESTARTING, XB_DO_DISCONNECT),
            [XB_FE_INIT_WAIT] = GO(RESTARTING, XB_DO_DISCONNECT),
            [XB_FE_CLOSING] = GO(CLOSING, XB_DO_DISCONNECT),
            [XB_FE_CLOSED] = GO(CLOSING, XB_DO_DISCONNECT),
            [XB_FE_GONE] = GO(CLOSING, XB_DO_DISCONNECT),
            [XB_OWN_CLOSING] = GO(ENDING, XB_DO_DISCONNECT),
            [XB_OWN_GONE] = GO(VANISHING, XB_DO_DISCONNECT),
        },
    [XB_PHASE_RESTARTING] =
        {
            [XB_DISCONNECTED] = GO(STARTING, XB_DO_START),
            [XB_LOST] = GO(STARTING, XB_DO_START),
            [XB_FE_CLOSING] = GO(CLOSING, XB_DO_NOTHING),
            [XB_FE_CLOSED] = GO(CLOSING, XB_DO_NOTHING),
            [XB_FE_GONE] = GO(CLOSING, XB_DO_NOTHING),
            [XB_OWN_CLOSING] = GO(ENDING, XB_DO_NOTHING),
            [XB_OWN_GONE] = GO(VANISHING, XB_DO_NOTHING),
        },
    [XB_PHASE_CLOSING] =
        {
            /* RECHECK: the frontend may have gone on to 1 while the worker was unmapping. */
            [XB_DISCONNECTED] = GO(CLOSED, XB_DO_STATE_6, XB_DO_RECHECK),
            [XB_LOST] = GO(CLOSED, XB_DO_STATE_6, XB_DO_RECHECK),
            [XB_OWN_CLOSING] = GO(ENDING, XB_DO_NOTHING),
            [XB_OWN_GONE] = GO(VANISHING, XB_DO_NOTHING),
        },
    [XB_PHASE_CLOSED] =
        {
            [XB_FE_INITIALISING] = GO(STARTING, XB_DO_START),
            [XB_FE_INIT_WAIT] = GO(STARTING, XB_DO_START),
            [XB_CONFIG_CHANGED] = GO(CLOSED, XB_DO_RECHECK),
            [XB_OWN_CLOSING] = GO(ENDED, XB_DO_STOP, XB_DO_STATE_6, XB_DO_REMOVE),
            [XB_OWN_GONE] = GO(ENDED, XB_DO_STOP, XB_DO_FORGET),
        },
    [XB_PHASE_ENDING] =
        {
            /* STATE_6 first: xl waits for it, not for our process. */
            [XB_DISCONNECTED] = GO(ENDED, XB_DO_STATE_6, XB_DO_STOP, XB_DO_REMOVE),
            [XB_LOST] = GO(ENDED, XB_DO_STATE_6, XB_DO_REMOVE),
            [XB_OWN_GONE] = GO(VANISHING, XB_DO_NOTHING),
        },
    [XB_PHASE_VANISHING] =
        {
            [XB_DISCONNECTED] = GO(ENDED, XB_DO_STOP, XB_DO_FORGET),
            [XB_LOST] = GO(ENDED, XB_DO_FORGET),
        },
    [XB_PHASE_ENDED] =
        {
            [XB_OWN_CLOSING] = GO(ENDED, XB_DO_STATE_6, XB_DO_REMOVE),
            [XB_OWN_GONE] = GO(ENDED, XB_DO_FORGET),
        },
};

struct xenbus_step xenbus_next(enum xenbus_phase phase, enum xenbus_event event)
{
    struct xenbus_step step = {.next = phase, .actions = {XB_DO_NOTHING}};
    const struct cell *cell;

    if ((unsigned)phase >= XB_N_PHASES || (unsigned)event >= XB_N_EVENTS)
        return step;
    cell = &table[phase][event];
    if (cell->next_plus_1 == 0)
        return step;
    step.next = (enum xenbus_phase)(cell->next_plus_1 - 1);
    for (size_t i = 0; i < XB_MAX_ACTIONS; i++)
        step.actions[i] = (enum xenbus_action)cell->actions[i];
    return step;
}

enum xenbus_event xenbus_event_found(enum xenbus_state own, bool online)
{
    if (!online)
        return XB_FOUND_ENDING;
    /* 5 while online is our own, from a refusal that a dead supervisor did not finish. */
    if (own == XENBUS_CONNECTED || own == XENBUS_CLOSING)
        return XB_FOUND_CONNECTED;
    return own == XENBUS_CLOSED ? XB_FOUND_CLOSED : XB_FOUND_FRESH;
}

enum xenbus_event xenbus_event_frontend(enum xenbus_state frontend)
{
    if ((unsigned)frontend > XENBUS_GONE)
        return XB_FE_NONE;
    return (enum xenbus_event)(XB_FE_NONE + (unsigned)frontend);
}

bool xenbus_phase_holds_guest(enum xenbus_phase phase)
{
    return phase == XB_PHASE_CONNECTING || phase == XB_PHASE_CONNECTED ||
           phase == XB_PHASE_RESTARTING || phase == XB_PHASE_CLOSING || phase == XB_PHASE_ENDING ||
           phase == XB_PHASE_VANISHING;
}

enum xenbus_state xenbus_state_parse(const char *text)
{
    uint32_t value;

    if (parse_u32(text, XENBUS_CLOSED, &value) < 0)
        return XENBUS_NONE;
    return (enum xenbus_state)value;
}

static const char *name_of(const char *const *names, size_t n, unsigned i)
{
    return i < n ? names[i] : "?";
}

const char *xenbus_state_name(enum xenbus_state state)
{
    static const char *const names[] = {"none",      "Initialising", "InitWait", "Initialised",
                                        "Connected", "Closing",      "Closed",   "gone"};

    return name_of(names, ARRAY_SIZE(names), (unsigned)state);
}

const char *xenbus_phase_name(enum xenbus_phase phase)
{
    static const char *const names[XB_N_PHASES] = {
        "new",     "starting", "waiting", "connecting", "connected", "restarting",
        "closing", "closed",   "ending",  "vanishing",  "ended"};

    return name_of(names, ARRAY_SIZE(names), (unsigned)phase);
}

const char *xenbus_event_name(enum xenbus_event event)
{
    static const char *const names[XB_N_EVENTS] = {
        [XB_FOUND_FRESH] = "found-fresh",       [XB_FOUND_CONNECTED] = "found-connected",
        [XB_FOUND_RUNNING] = "found-running",   [XB_FOUND_CLOSED] = "found-closed",
        [XB_FOUND_ENDING] = "found-ending",     [XB_READY] = "ready",
        [XB_CONNECTED] = "connected",           [XB_REFUSED] = "refused",
        [XB_DISCONNECTED] = "disconnected",     [XB_LOST] = "lost",
        [XB_FE_NONE] = "frontend-none",         [XB_FE_INITIALISING] = "frontend-1",
        [XB_FE_INIT_WAIT] = "frontend-2",       [XB_FE_INITIALISED] = "frontend-3",
        [XB_FE_CONNECTED] = "frontend-4",       [XB_FE_CLOSING] = "frontend-5",
        [XB_FE_CLOSED] = "frontend-6",          [XB_FE_GONE] = "frontend-gone",
        [XB_OWN_CLOSING] = "own-closing",       [XB_OWN_GONE] = "own-gone",
        [XB_CONFIG_CHANGED] = "config-changed",
    };

    return name_of(names, ARRAY_SIZE(names), (unsigned)event);
}

const char *xenbus_action_name(enum xenbus_action action)
{
    static const char *const names[] = {
        [XB_DO_NOTHING] = "nothing",
        [XB_DO_START] = "start",
        [XB_DO_CLEAR_ERROR] = "clear-error",
        [XB_DO_PUBLISH] = "publish",
        [XB_DO_STATE_2] = "state-2",
        [XB_DO_RECHECK] = "recheck",
        [XB_DO_CONNECT] = "connect",
        [XB_DO_RECOVER] = "recover",
        [XB_DO_STATE_4] = "state-4",
        [XB_DO_ERROR] = "error",
        [XB_DO_STATE_5] = "state-5",
        [XB_DO_DISCONNECT] = "disconnect",
        [XB_DO_STATE_6] = "state-6",
        [XB_DO_REMOVE] = "remove",
        [XB_DO_STOP] = "stop",
        [XB_DO_FORGET] = "forget",
    };

    return name_of(names, ARRAY_SIZE(names), (unsigned)action);
}
