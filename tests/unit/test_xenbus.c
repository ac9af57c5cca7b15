/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The xenbus state machine: every pair of phase and event against a second, textual statement of
 * docs/protocol.md, section 3, and against the invariants that any such table must have.
 */
#include <config.h>

#include "xenstore/xenbus.h"

#include <stdio.h>
#include <string.h>

#include "common/compiler.h"
#include "tests/support/ut.h"

struct row {
    enum xenbus_phase phase;
    enum xenbus_event event;
    enum xenbus_phase next;
    const char *actions;
};

#define DISCONNECT_ON_FRONTEND(phase_)                                                 \
    {XB_PHASE_##phase_, XB_FE_INITIALISING, XB_PHASE_RESTARTING, "disconnect"},        \
        {XB_PHASE_##phase_, XB_FE_INIT_WAIT, XB_PHASE_RESTARTING, "disconnect"},       \
        {XB_PHASE_##phase_, XB_FE_CLOSING, XB_PHASE_CLOSING, "disconnect"},            \
        {XB_PHASE_##phase_, XB_FE_CLOSED, XB_PHASE_CLOSING, "disconnect"},             \
        {XB_PHASE_##phase_, XB_FE_GONE, XB_PHASE_CLOSING, "disconnect"},               \
        {XB_PHASE_##phase_, XB_OWN_CLOSING, XB_PHASE_ENDING, "disconnect"},            \
        {XB_PHASE_##phase_, XB_OWN_GONE, XB_PHASE_VANISHING, "disconnect"},            \
        {XB_PHASE_##phase_, XB_REFUSED, XB_PHASE_CLOSING, "error state-5 disconnect"}, \
    {                                                                                  \
        XB_PHASE_##phase_, XB_LOST, XB_PHASE_CLOSED, "error state-5 state-6 recheck"   \
    }

#define STOP_ON_OWN(phase_)                                                     \
    {XB_PHASE_##phase_, XB_OWN_CLOSING, XB_PHASE_ENDED, "stop state-6 remove"}, \
    {                                                                           \
        XB_PHASE_##phase_, XB_OWN_GONE, XB_PHASE_ENDED, "stop forget"           \
    }

/* Everything that is not "nothing, same phase". */
static const struct row rows[] = {
    {XB_PHASE_NEW, XB_FOUND_FRESH, XB_PHASE_STARTING, "start"},
    {XB_PHASE_NEW, XB_FOUND_CONNECTED, XB_PHASE_CLOSED, "error state-5 state-6 recheck"},
    {XB_PHASE_NEW, XB_FOUND_RUNNING, XB_PHASE_CONNECTED, "recover recheck"},
    {XB_PHASE_NEW, XB_FOUND_CLOSED, XB_PHASE_CLOSED, "recheck"},
    {XB_PHASE_NEW, XB_FOUND_ENDING, XB_PHASE_ENDED, "state-6 remove"},
    {XB_PHASE_NEW, XB_OWN_CLOSING, XB_PHASE_ENDED, "state-6 remove"},
    {XB_PHASE_NEW, XB_OWN_GONE, XB_PHASE_ENDED, "forget"},

    {XB_PHASE_STARTING, XB_READY, XB_PHASE_WAITING, "clear-error publish state-2 recheck"},
    {XB_PHASE_STARTING, XB_REFUSED, XB_PHASE_CLOSED, "error state-5 state-6"},
    {XB_PHASE_STARTING, XB_LOST, XB_PHASE_CLOSED, "error state-5 state-6"},
    {XB_PHASE_STARTING, XB_CONFIG_CHANGED, XB_PHASE_STARTING, "start"},
    STOP_ON_OWN(STARTING),

    {XB_PHASE_WAITING, XB_FE_INITIALISED, XB_PHASE_CONNECTING, "connect"},
    {XB_PHASE_WAITING, XB_FE_CLOSING, XB_PHASE_CLOSED, "state-6"},
    {XB_PHASE_WAITING, XB_FE_CLOSED, XB_PHASE_CLOSED, "state-6"},
    {XB_PHASE_WAITING, XB_FE_GONE, XB_PHASE_CLOSED, "state-6"},
    {XB_PHASE_WAITING, XB_REFUSED, XB_PHASE_CLOSED, "error state-5 state-6"},
    {XB_PHASE_WAITING, XB_LOST, XB_PHASE_CLOSED, "error state-5 state-6"},
    {XB_PHASE_WAITING, XB_CONFIG_CHANGED, XB_PHASE_STARTING, "start"},
    STOP_ON_OWN(WAITING),

    {XB_PHASE_CONNECTING, XB_CONNECTED, XB_PHASE_CONNECTED, "state-4"},
    DISCONNECT_ON_FRONTEND(CONNECTING),
    DISCONNECT_ON_FRONTEND(CONNECTED),

    {XB_PHASE_RESTARTING, XB_DISCONNECTED, XB_PHASE_STARTING, "start"},
    {XB_PHASE_RESTARTING, XB_LOST, XB_PHASE_STARTING, "start"},
    {XB_PHASE_RESTARTING, XB_FE_CLOSING, XB_PHASE_CLOSING, ""},
    {XB_PHASE_RESTARTING, XB_FE_CLOSED, XB_PHASE_CLOSING, ""},
    {XB_PHASE_RESTARTING, XB_FE_GONE, XB_PHASE_CLOSING, ""},
    {XB_PHASE_RESTARTING, XB_OWN_CLOSING, XB_PHASE_ENDING, ""},
    {XB_PHASE_RESTARTING, XB_OWN_GONE, XB_PHASE_VANISHING, ""},

    {XB_PHASE_CLOSING, XB_DISCONNECTED, XB_PHASE_CLOSED, "state-6 recheck"},
    {XB_PHASE_CLOSING, XB_LOST, XB_PHASE_CLOSED, "state-6 recheck"},
    {XB_PHASE_CLOSING, XB_OWN_CLOSING, XB_PHASE_ENDING, ""},
    {XB_PHASE_CLOSING, XB_OWN_GONE, XB_PHASE_VANISHING, ""},

    {XB_PHASE_CLOSED, XB_FE_INITIALISING, XB_PHASE_STARTING, "start"},
    {XB_PHASE_CLOSED, XB_FE_INIT_WAIT, XB_PHASE_STARTING, "start"},
    {XB_PHASE_CLOSED, XB_CONFIG_CHANGED, XB_PHASE_CLOSED, "recheck"},
    STOP_ON_OWN(CLOSED),

    {XB_PHASE_ENDING, XB_DISCONNECTED, XB_PHASE_ENDED, "state-6 stop remove"},
    {XB_PHASE_ENDING, XB_LOST, XB_PHASE_ENDED, "state-6 remove"},
    {XB_PHASE_ENDING, XB_OWN_GONE, XB_PHASE_VANISHING, ""},

    {XB_PHASE_VANISHING, XB_DISCONNECTED, XB_PHASE_ENDED, "stop forget"},
    {XB_PHASE_VANISHING, XB_LOST, XB_PHASE_ENDED, "forget"},

    {XB_PHASE_ENDED, XB_OWN_CLOSING, XB_PHASE_ENDED, "state-6 remove"},
    {XB_PHASE_ENDED, XB_OWN_GONE, XB_PHASE_ENDED, "forget"},
};

static const char *actions_text(const struct xenbus_step *step, char *out, size_t size)
{
    size_t at = 0;

    out[0] = '\0';
    for (size_t i = 0; i < XB_MAX_ACTIONS && step->actions[i] != XB_DO_NOTHING; i++)
        at += (size_t)snprintf(out + at, size - at, "%s%s", i ? " " : "",
                               xenbus_action_name(step->actions[i]));
    return out;
}

static bool has(const struct xenbus_step *step, enum xenbus_action action)
{
    for (size_t i = 0; i < XB_MAX_ACTIONS && step->actions[i] != XB_DO_NOTHING; i++) {
        if (step->actions[i] == action)
            return true;
    }
    return false;
}

#define FOR_EACH_PAIR(p, e)                                                \
    for (enum xenbus_phase p = (enum xenbus_phase)0; p < XB_N_PHASES; p++) \
        for (enum xenbus_event e = (enum xenbus_event)0; e < XB_N_EVENTS; e++)

static void every_pair_is_as_the_protocol_says(void)
{
    FOR_EACH_PAIR(phase, event)
    {
        const struct row *row = NULL;
        struct xenbus_step step = xenbus_next(phase, event);
        char text[128], got[256], want[256];

        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
            if (rows[i].phase == phase && rows[i].event == event) {
                UT_TRUE(row == NULL);
                row = &rows[i];
            }
        }
        snprintf(got, sizeof(got), "%s + %s -> %s: %s", xenbus_phase_name(phase),
                 xenbus_event_name(event), xenbus_phase_name(step.next),
                 actions_text(&step, text, sizeof(text)));
        snprintf(want, sizeof(want), "%s + %s -> %s: %s", xenbus_phase_name(phase),
                 xenbus_event_name(event), xenbus_phase_name(row ? row->next : phase),
                 row ? row->actions : "");
        UT_STR(got, want);
    }
}

static void guest_memory_is_let_go_only_by_the_worker(void)
{
    FOR_EACH_PAIR(phase, event)
    {
        struct xenbus_step step = xenbus_next(phase, event);
        bool held = xenbus_phase_holds_guest(phase), holds = xenbus_phase_holds_guest(step.next);
        bool released = event == XB_DISCONNECTED || event == XB_LOST;

        if (held && !holds)
            UT_TRUE(released);
        /* 6 tells the guest that it may revoke; START would forget what is mapped. */
        if (held && !released)
            UT_FALSE(has(&step, XB_DO_STATE_6) || has(&step, XB_DO_STOP) ||
                     has(&step, XB_DO_FORGET) || has(&step, XB_DO_START) ||
                     has(&step, XB_DO_CONNECT));
        if (!held && holds)
            UT_TRUE((phase == XB_PHASE_WAITING && has(&step, XB_DO_CONNECT)) ||
                    (phase == XB_PHASE_NEW && has(&step, XB_DO_RECOVER)));
        /* DISCONNECT exactly once on the way out. */
        UT_EQ(has(&step, XB_DO_DISCONNECT),
              (phase == XB_PHASE_CONNECTING || phase == XB_PHASE_CONNECTED) && holds &&
                  step.next != phase && step.next != XB_PHASE_CONNECTED);
    }
}

/* libxl waits for it; 6 must be there first, and the worker's VFIO files closed. */
static void the_directory_is_removed_last_and_only_at_the_end(void)
{
    FOR_EACH_PAIR(phase, event)
    {
        struct xenbus_step step = xenbus_next(phase, event);

        UT_EQ(has(&step, XB_DO_REMOVE), step.next == XB_PHASE_ENDED && has(&step, XB_DO_STATE_6));
        for (size_t i = 0; i + 1 < XB_MAX_ACTIONS; i++) {
            if (step.actions[i] == XB_DO_REMOVE)
                UT_EQ(step.actions[i + 1], XB_DO_NOTHING);
        }
    }
}

static void connected_is_said_only_when_the_worker_is(void)
{
    FOR_EACH_PAIR(phase, event)
    {
        struct xenbus_step step = xenbus_next(phase, event);

        if (has(&step, XB_DO_STATE_4))
            UT_TRUE(phase == XB_PHASE_CONNECTING && event == XB_CONNECTED);
        if (has(&step, XB_DO_STATE_2))
            UT_TRUE(event == XB_READY && has(&step, XB_DO_PUBLISH));
        if (has(&step, XB_DO_STATE_5))
            UT_TRUE(has(&step, XB_DO_ERROR));
    }
}

static void a_vanished_directory_is_never_written_to(void)
{
    FOR_EACH_PAIR(phase, event)
    {
        struct xenbus_step step = xenbus_next(phase, event);

        if (event != XB_OWN_GONE && phase != XB_PHASE_VANISHING)
            continue;
        UT_FALSE(has(&step, XB_DO_STATE_2) || has(&step, XB_DO_STATE_4) ||
                 has(&step, XB_DO_STATE_5) || has(&step, XB_DO_STATE_6) ||
                 has(&step, XB_DO_ERROR) || has(&step, XB_DO_CLEAR_ERROR) ||
                 has(&step, XB_DO_PUBLISH) || has(&step, XB_DO_START) || has(&step, XB_DO_REMOVE));
        UT_TRUE(step.next == XB_PHASE_VANISHING || step.next == XB_PHASE_ENDED);
        UT_EQ(has(&step, XB_DO_FORGET), step.next == XB_PHASE_ENDED);
    }
}

/* From any phase: the toolstack's request ends with 6, whatever the frontend does meanwhile. */
static void removal_ends_with_6_without_the_frontend(void)
{
    static const enum xenbus_event ends[] = {XB_DISCONNECTED, XB_LOST};

    for (enum xenbus_phase phase = (enum xenbus_phase)0; phase < XB_N_PHASES; phase++) {
        for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
            struct xenbus_step step = xenbus_next(phase, XB_OWN_CLOSING);

            if (phase == XB_PHASE_VANISHING) {
                UT_EQ(step.next, XB_PHASE_VANISHING);
                continue;
            }
            if (phase == XB_PHASE_ENDING || step.next == XB_PHASE_ENDING) {
                for (unsigned e = XB_FE_NONE; e <= XB_FE_GONE; e++)
                    UT_EQ(xenbus_next(step.next, (enum xenbus_event)e).next, XB_PHASE_ENDING);
                step = xenbus_next(XB_PHASE_ENDING, ends[i]);
            }
            UT_EQ(step.next, XB_PHASE_ENDED);
            UT_TRUE(has(&step, XB_DO_STATE_6));
        }
    }
    /* Nothing leads out of it. */
    for (enum xenbus_event event = (enum xenbus_event)0; event < XB_N_EVENTS; event++)
        UT_EQ(xenbus_next(XB_PHASE_ENDED, event).next, XB_PHASE_ENDED);
}

/* With a frontend that stays in a state, rechecks come to rest; a start that fails does not loop.
 */
static void rechecks_come_to_rest(void)
{
    for (unsigned fe = XENBUS_NONE; fe <= XENBUS_GONE; fe++) {
        FOR_EACH_PAIR(phase, event)
        {
            struct xenbus_step step = xenbus_next(phase, event);
            unsigned starts = has(&step, XB_DO_START), turns = 0;

            while (turns++ < 20) {
                if (has(&step, XB_DO_RECHECK))
                    step = xenbus_next(step.next, xenbus_event_frontend((enum xenbus_state)fe));
                else if (has(&step, XB_DO_START))
                    step = xenbus_next(step.next, XB_LOST);
                else
                    break;
                starts += has(&step, XB_DO_START);
            }
            UT_TRUE(turns < 10);
            UT_TRUE(starts <= 1);
        }
    }
}

static void recheck_is_always_last(void)
{
    FOR_EACH_PAIR(phase, event)
    {
        struct xenbus_step step = xenbus_next(phase, event);

        for (size_t i = 0; i + 1 < XB_MAX_ACTIONS; i++) {
            if (step.actions[i] == XB_DO_RECHECK || step.actions[i] == XB_DO_NOTHING)
                UT_EQ(step.actions[i + 1], XB_DO_NOTHING);
        }
    }
}

static void a_value_outside_the_enums_does_nothing(void)
{
    struct xenbus_step step = xenbus_next((enum xenbus_phase)99, XB_READY);

    UT_EQ(step.next, 99);
    UT_EQ(step.actions[0], XB_DO_NOTHING);
    step = xenbus_next(XB_PHASE_STARTING, (enum xenbus_event)99);
    UT_EQ(step.next, XB_PHASE_STARTING);
    UT_EQ(step.actions[0], XB_DO_NOTHING);
    UT_STR(xenbus_phase_name((enum xenbus_phase)99), "?");
    UT_STR(xenbus_event_name((enum xenbus_event)99), "?");
    UT_STR(xenbus_action_name((enum xenbus_action)99), "?");
    UT_STR(xenbus_state_name((enum xenbus_state)99), "?");
    UT_EQ(xenbus_event_frontend((enum xenbus_state)99), XB_FE_NONE);
}

static void everything_has_a_name(void)
{
    for (unsigned i = 0; i < XB_N_PHASES; i++)
        UT_TRUE(xenbus_phase_name((enum xenbus_phase)i) != NULL);
    for (unsigned i = 0; i < XB_N_EVENTS; i++)
        UT_TRUE(xenbus_event_name((enum xenbus_event)i) != NULL);
    for (unsigned i = 0; i <= XB_DO_FORGET; i++)
        UT_TRUE(xenbus_action_name((enum xenbus_action)i) != NULL);
    UT_STR(xenbus_state_name(XENBUS_CONNECTED), "Connected");
    UT_STR(xenbus_state_name(XENBUS_GONE), "gone");
}

static void states_are_parsed_strictly(void)
{
    static const struct {
        const char *text;
        enum xenbus_state state;
    } cases[] = {
        {"1", XENBUS_INITIALISING},  {"2", XENBUS_INIT_WAIT},
        {"3", XENBUS_INITIALISED},   {"4", XENBUS_CONNECTED},
        {"5", XENBUS_CLOSING},       {"6", XENBUS_CLOSED},
        {"0x4", XENBUS_CONNECTED},   {"0", XENBUS_NONE},
        {"7", XENBUS_NONE},          {"8", XENBUS_NONE},
        {"", XENBUS_NONE},           {" 4", XENBUS_NONE},
        {"4 ", XENBUS_NONE},         {"4\n", XENBUS_NONE},
        {"+4", XENBUS_NONE},         {"-1", XENBUS_NONE},
        {"44", XENBUS_NONE},         {"four", XENBUS_NONE},
        {"4294967300", XENBUS_NONE}, {"18446744073709551620", XENBUS_NONE},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        UT_EQ(xenbus_state_parse(cases[i].text), cases[i].state);
}

static void what_is_found_decides_the_first_event(void)
{
    UT_EQ(xenbus_event_found(XENBUS_INITIALISING, true), XB_FOUND_FRESH);
    UT_EQ(xenbus_event_found(XENBUS_INIT_WAIT, true), XB_FOUND_FRESH);
    UT_EQ(xenbus_event_found(XENBUS_INITIALISED, true), XB_FOUND_FRESH);
    UT_EQ(xenbus_event_found(XENBUS_NONE, true), XB_FOUND_FRESH);
    UT_EQ(xenbus_event_found(XENBUS_CONNECTED, true), XB_FOUND_CONNECTED);
    UT_EQ(xenbus_event_found(XENBUS_CLOSING, true), XB_FOUND_CONNECTED);
    UT_EQ(xenbus_event_found(XENBUS_CLOSED, true), XB_FOUND_CLOSED);
    for (unsigned s = XENBUS_NONE; s <= XENBUS_CLOSED; s++)
        UT_EQ(xenbus_event_found((enum xenbus_state)s, false), XB_FOUND_ENDING);
}

static void frontend_states_are_events(void)
{
    UT_EQ(xenbus_event_frontend(XENBUS_NONE), XB_FE_NONE);
    UT_EQ(xenbus_event_frontend(XENBUS_INITIALISING), XB_FE_INITIALISING);
    UT_EQ(xenbus_event_frontend(XENBUS_INIT_WAIT), XB_FE_INIT_WAIT);
    UT_EQ(xenbus_event_frontend(XENBUS_INITIALISED), XB_FE_INITIALISED);
    UT_EQ(xenbus_event_frontend(XENBUS_CONNECTED), XB_FE_CONNECTED);
    UT_EQ(xenbus_event_frontend(XENBUS_CLOSING), XB_FE_CLOSING);
    UT_EQ(xenbus_event_frontend(XENBUS_CLOSED), XB_FE_CLOSED);
    UT_EQ(xenbus_event_frontend(XENBUS_GONE), XB_FE_GONE);
}

int main(int argc, char **argv)
{
    static const struct ut_case cases[] = {
        UT_CASE(every_pair_is_as_the_protocol_says),
        UT_CASE(guest_memory_is_let_go_only_by_the_worker),
        UT_CASE(the_directory_is_removed_last_and_only_at_the_end),
        UT_CASE(connected_is_said_only_when_the_worker_is),
        UT_CASE(a_vanished_directory_is_never_written_to),
        UT_CASE(removal_ends_with_6_without_the_frontend),
        UT_CASE(rechecks_come_to_rest),
        UT_CASE(recheck_is_always_last),
        UT_CASE(a_value_outside_the_enums_does_nothing),
        UT_CASE(everything_has_a_name),
        UT_CASE(states_are_parsed_strictly),
        UT_CASE(what_is_found_decides_the_first_event),
        UT_CASE(frontend_states_are_events),
    };

    return ut_main(argc, argv, "xenbus", cases, ARRAY_SIZE(cases));
}
