/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One claimed directory /local/domain/B/backend/virtio/F/N: what discovery knows of it and what
 * publishing needs. Made, kept current and freed by discover.c; others read it.
 */
#ifndef VIOMMU_XENSTORE_DEVICE_H
#define VIOMMU_XENSTORE_DEVICE_H

#include "xenstore/paths.h"
#include "xenstore/xenbus.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An administrator's node, as read. */
struct xs_admin_node {
    char *text; /* printable ASCII; NULL: absent, or `error` says why it cannot be used */
    int error;  /* 0; -E2BIG: above XS_ADMIN_VALUE_MAX; -EINVAL: not printable ASCII; or other */
};

struct xs_endpoint_node {
    uint32_t id; /* from the node's name */
    struct xs_admin_node value;
};

struct xs_device {
    uint32_t domid;         /* F, the frontend's */
    uint32_t devid;         /* N */
    uint32_t backend_domid; /* B, ours */
    char path[XS_DEVICE_PATH_SIZE];
    char frontend[XS_DEVICE_PATH_SIZE];

    enum xenbus_state found_state; /* own state and online when it appeared, for */
    bool found_online;             /* xenbus_event_found() */
    enum xenbus_state own_state;   /* what we wrote last, at first what we found */
    unsigned unsure_states;        /* bit 1u << state: written, but the reply was lost */
    bool published;                /* we have written viommu-version: it must be there */
    enum xenbus_state fe_state;    /* as last reported to frontend_state */

    struct xs_admin_node config;        /* viommu/config */
    struct xs_endpoint_node *endpoints; /* viommu/endpoint-*, ascending by id */
    size_t n_endpoints;

    void *user; /* the supervisor's, NULL at first; not touched here */
};

/* Could our state in the store be one that we have written, as far as we know? */
static inline bool xs_device_wrote(const struct xs_device *dev, enum xenbus_state state)
{
    return state == dev->own_state || (dev->unsure_states >> (unsigned)state & 1u) != 0;
}

/* NULL: there is none with that id. O(log n). */
const struct xs_endpoint_node *xs_device_endpoint(const struct xs_device *dev, uint32_t id);

#endif
