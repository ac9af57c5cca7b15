/* SPDX-License-Identifier: GPL-2.0-only */
/* The supervisor's control socket: what viommuctl asks for. */
#ifndef VIOMMU_BACKEND_DAEMON_ADMIN_H
#define VIOMMU_BACKEND_DAEMON_ADMIN_H

#include "backend/daemon/sdevice.h"

struct admin;

struct admin_ops {
    /* The device with that domid and number that has a directory; NULL if there is none. */
    struct sdevice *(*find)(void *ctx, uint32_t domid, uint32_t number);
    /* The device after `dev` (NULL: the first); NULL at the end. */
    struct sdevice *(*next)(void *ctx, struct sdevice *dev);
};

/*
 * Listens at env->options->control_path, whose directory is made (mode 0700) if need be. -errno,
 * with a logged reason. ops and ctx are borrowed.
 */
MUST_CHECK int admin_new(struct admin **out, struct sdevice_env *env, const struct admin_ops *ops,
                         void *ctx);
/* After the devices: requests of theirs that are still open end with them. */
struct admin *admin_free(struct admin *admin); /* NULL allowed; returns NULL */

#endif
