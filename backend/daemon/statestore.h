/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where the state files of all devices are kept: in memory (memfd) whose descriptors the service
 * manager holds for us (sd_notify, FDSTORE=1), or as files of a directory. Both outlive the
 * supervisor. It never looks into one: the worker does.
 */
#ifndef VIOMMU_BACKEND_DAEMON_STATESTORE_H
#define VIOMMU_BACKEND_DAEMON_STATESTORE_H

#include "common/compiler.h"

#include <stdint.h>

struct state_store;

/*
 * Takes what the service manager has kept (LISTEN_FDS), or opens `dir` (NULL: none). -ENOMEM, or
 * -errno of the directory.
 */
MUST_CHECK int state_store_new(struct state_store **out, const char *dir);
struct state_store *state_store_free(struct state_store *s); /* forgets nothing; returns NULL */

/*
 * The descriptor of a file that a predecessor has left (the caller's), and the pages that its
 * device had leased; -ENOENT.
 */
MUST_CHECK int state_store_adopt(struct state_store *s, uint32_t domid, uint32_t number,
                                 uint32_t *pages_out);

/* After the first look at xenstore: what nobody has adopted belongs to nobody. */
void state_store_adopted_all(struct state_store *s);

/*
 * A new empty file of so many bytes (the caller's), in place of an older one, for a device that has
 * leased so many pages. -errno.
 */
MUST_CHECK int state_store_create(struct state_store *s, uint32_t domid, uint32_t number,
                                  uint32_t pages, uint64_t size);

/*
 * The device needs its file no more, of which `fd` (closed by the caller) is a descriptor. Nothing
 * happens if another device of the same name has a file of its own by now.
 */
void state_store_remove(struct state_store *s, uint32_t domid, uint32_t number, int fd);

#endif
