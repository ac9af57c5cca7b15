/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a supervised device writes to xenstore. While the connection is lost nothing can be
 * written: the device goes on, since no request of the guest needs the store, and remembers what
 * it owes. The last value counts: nobody could have seen those before it.
 */
#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "backend/daemon/sdevice_priv.h"

/* Time for the worker to answer a connect that was put off (sdevice.c has the usual limits). */
#define CONNECT_LIMIT_MS 15000u

bool sdevice_owes(struct sdevice *dev, unsigned owed, int r)
{
    if (r != -EIO)
        return false;
    dev->owed |= owed;
    dev->env->store_lost(dev->env->ctx);
    return true;
}

/*
 * After a write to our directory: the three errors that discovery will report by itself are no
 * failure, nor is a lost connection; any other is like a lost worker.
 */
static void check_written(struct sdevice *dev, const char *what, unsigned owed, int r)
{
    dev->owed &= ~owed;
    if (r == 0)
        return;
    if (r == -ENOENT || r == -ESTALE || r == -ECANCELED || sdevice_owes(dev, owed, r)) {
        log_debug("%s: %s not written: %s", dev->name, what, strerror(-r));
        return;
    }
    log_err("%s: cannot write %s to xenstore: %s", dev->name, what, strerror(-r));
    dev->failed = true;
    snprintf(dev->why, sizeof(dev->why), "the backend cannot write to xenstore");
    if (!dev->link) {
        sdevice_feed(dev, XB_LOST);
        return;
    }
    /* State 6 says that nothing is mapped: LOST is fed when the process has ended, not before. */
    dev->giving_up = true;
    link_kill(dev->link);
}

void sdevice_write_nodes(struct sdevice *dev)
{
    if (dev->xs)
        check_written(dev, "viommu-*", OWED_NODES | OWED_ENDPOINTS,
                      publish_nodes(dev->env->xs, dev->xs, &dev->offer));
}

void sdevice_write_endpoints(struct sdevice *dev)
{
    if (dev->xs)
        check_written(dev, "viommu-endpoints", OWED_ENDPOINTS,
                      publish_endpoints(dev->env->xs, dev->xs, dev->endpoints_value));
}

void sdevice_write_state(struct sdevice *dev, enum xenbus_state state)
{
    dev->owed_state = state;
    if (dev->xs)
        check_written(dev, "state", OWED_STATE, publish_state(dev->env->xs, dev->xs, state));
}

void sdevice_write_error(struct sdevice *dev, const char *text)
{
    if (!dev->xs)
        return;
    dev->owed &= ~(unsigned)(OWED_ERROR | OWED_CLEAR_ERROR);
    if (!text) {
        check_written(dev, "error", OWED_CLEAR_ERROR, publish_error_clear(dev->env->xs, dev->xs));
        return;
    }
    if (text != dev->owed_error)
        snprintf(dev->owed_error, sizeof(dev->owed_error), "%s", text);
    check_written(dev, "error", OWED_ERROR, publish_error(dev->env->xs, dev->xs, text));
}

void sdevice_remove_directory(struct sdevice *dev)
{
    if (dev->xs)
        check_written(dev, "removal", OWED_REMOVE, publish_remove(dev->env->xs, dev->xs));
}

static void connect_now(struct sdevice *dev)
{
    if (dev->phase != XB_PHASE_CONNECTING)
        return;
    loop_timer_arm_ms(dev->phase_timer, CONNECT_LIMIT_MS);
    sdevice_connect(dev);
}

/* In the order in which the state machine writes them: the state says that the rest is there. */
void sdevice_store_back(struct sdevice *dev)
{
    unsigned owed = dev->owed;

    dev->owed = 0;
    if (owed & OWED_ERROR)
        sdevice_write_error(dev, dev->owed_error);
    if (owed & OWED_CLEAR_ERROR)
        sdevice_write_error(dev, NULL);
    if ((owed & OWED_NODES) && dev->published)
        sdevice_write_nodes(dev);
    else if ((owed & OWED_ENDPOINTS) && dev->published)
        sdevice_write_endpoints(dev);
    if (owed & OWED_STATE)
        sdevice_write_state(dev, dev->owed_state);
    if (owed & OWED_REMOVE)
        sdevice_remove_directory(dev);
    if (owed & OWED_CONNECT)
        connect_now(dev);
}
