/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Replacing a device's worker while a guest is connected (docs/architecture.md, "Recovery"): the
 * state file that each worker writes, and the successor that goes on from it. The xenbus state
 * machine sees nothing of it, unless it fails.
 */
#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "backend/daemon/control_page.h"
#include "backend/daemon/device.h"
#include "backend/daemon/sdevice_priv.h"
#include "backend/daemon/statefile.h"

/* Workers that die one after the other are not replaced for ever. */
#define WINDOW_MS        60000u
#define RECOVER_LIMIT_MS 15000u

/* --- the file -----------------------------------------------------------------------------------
 */

void sdevice_renew_state(struct sdevice *dev, const struct config_device *config)
{
    const struct device_config def = DEVICE_CONFIG_DEFAULT;
    uint64_t mappings = config_has(config, CONFIG_MAX_MAPPINGS) ? config->max_mappings
                                                                : def.viommu.max_mappings;
    uint64_t size = statefile_size(mappings, def.max_map_pages);
    int fd;

    if (dev->state_fd >= 0 && size == dev->state_size && dev->pages == dev->state_pages)
        return;
    sdevice_drop_state(dev);
    fd = size > 0 ? state_store_create(dev->env->states, dev->domid, dev->number, dev->pages, size)
                  : -EFBIG;
    if (fd < 0) {
        log_warn("%s: no state file, its worker cannot be replaced: %s", dev->name, strerror(-fd));
        return;
    }
    dev->state_fd = fd;
    dev->state_size = size;
    dev->state_pages = dev->pages;
}

void sdevice_drop_state(struct sdevice *dev)
{
    if (dev->state_fd < 0)
        return;
    state_store_remove(dev->env->states, dev->domid, dev->number, dev->state_fd);
    close(dev->state_fd);
    dev->state_fd = -1;
    dev->state_size = 0;
}

bool sdevice_adopt_state(struct sdevice *dev)
{
    int fd = state_store_adopt(dev->env->states, dev->domid, dev->number, &dev->pages);

    if (fd < 0)
        return false;
    dev->state_fd = fd;
    dev->state_size = 0;
    return true;
}

/* --- the successor ------------------------------------------------------------------------------
 */

/* What the new worker says of its endpoints is published when it has all of them. */
static void end_recovering(struct sdevice *dev)
{
    dev->recovering = false;
    if (dev->phase == XB_PHASE_CONNECTED)
        loop_timer_disarm(dev->phase_timer);
}

static void on_recovered(void *ctx, int error, const struct msg_reply *reply, json_t *msg)
{
    struct sdevice *dev = ctx;

    (void)msg;
    if (error < 0)
        return;
    end_recovering(dev);
    if (dev->start_failed || !reply->ok) {
        if (!dev->start_failed)
            snprintf(dev->why, sizeof(dev->why), "%s", reply->error);
        log_err("%s: the worker cannot be replaced: %s", dev->name, dev->why);
        sdevice_feed(dev, XB_REFUSED);
        return;
    }
    dev->recoveries++;
    dev->recovery_ms = loop_now_ms() - dev->recovery_began_ms;
    log_info("%s: worker %d took over within %u ms", dev->name, (int)link_pid(dev->link),
             (unsigned)dev->recovery_ms);
    sdevice_endpoints_value(dev, dev->recovered_value);
    dev->env->changed(dev->env->ctx);
}

static bool within_limit(struct sdevice *dev)
{
    uint64_t now = loop_now_ms();

    if (now - dev->window_began_ms > WINDOW_MS || dev->n_in_window == 0) {
        dev->window_began_ms = now;
        dev->n_in_window = 0;
    }
    return dev->n_in_window++ < dev->env->options->max_recoveries;
}

static int start_successor(struct sdevice *dev, const char *how)
{
    int r = link_new(&dev->link, &dev->env->links, dev->name, sdevice_on_lost, dev);

    if (r < 0) {
        dev->link = NULL;
        snprintf(dev->why, sizeof(dev->why),
                 "the backend's worker was lost (%s), no other starts: %s", how, strerror(-r));
        return r;
    }
    /* What the dead one had: its guest may be using all of it. */
    if (link_lease(dev->link, dev->pages, false) == 0) {
        dev->link = link_stop(dev->link);
        snprintf(dev->why, sizeof(dev->why), "the budget of grant pages is used up");
        return -ENOMEM;
    }
    dev->pages = link_pages(dev->link);
    return 0;
}

static void send_recover(struct sdevice *dev)
{
    json_t *msg;

    dev->recovering = true;
    dev->recovered_value[0] = '\0';
    loop_timer_arm_ms(dev->phase_timer, RECOVER_LIMIT_MS);
    sdevice_send_start(dev, true);
    sdevice_send_endpoints(dev);
    msg = msg_new_request("recover", link_next_id(dev->link));
    if (link_request(dev->link, msg, on_recovered, dev) < 0)
        link_kill(dev->link);
}

bool sdevice_recover(struct sdevice *dev, const char *how)
{
    if (dev->phase != XB_PHASE_CONNECTED || !dev->xs || dev->state_fd < 0)
        return false;
    if (dev->env->options->max_recoveries == 0)
        return false;
    if (!within_limit(dev)) {
        snprintf(dev->why, sizeof(dev->why),
                 "the backend's worker died %u times within a minute, at last: %s",
                 dev->n_in_window, how);
        log_err("%s: %s", dev->name, dev->why);
        return false;
    }
    if (!dev->recovering)
        dev->recovery_began_ms = loop_now_ms();
    if (start_successor(dev, how) < 0) {
        log_err("%s: %s", dev->name, dev->why);
        return false;
    }
    send_recover(dev);
    return true;
}
