/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Frames of the control socket: le32 length, that many bytes, descriptors beside them. For
 * ctl*.c only; the messages inside are ctl.c's business.
 */
#ifndef VIOMMU_COMMON_CTL_FRAME_H
#define VIOMMU_COMMON_CTL_FRAME_H

#include "common/ctl.h"

#include <stdbool.h>

#define CTL_HEAD_SIZE 4

/* A frame on its way in. Zeroed is the initial state. */
struct ctl_rx {
    uint8_t head[CTL_HEAD_SIZE];
    uint8_t *body; /* NULL until the head is complete */
    size_t size;   /* of the body */
    size_t got;    /* bytes of head and body */
    int fds[CTL_MAX_FDS];
    size_t n_fds;
};

/*
 * Reads on without blocking. 1: a frame is complete. 0: no more for now. Else -errno: -ENODATA is
 * an end between two frames, -ECONNRESET one within a frame, -EPROTO a length of 0 or above
 * CTL_FRAME_MAX. Never reads past the frame. Descriptors beyond CTL_MAX_FDS are closed.
 */
MUST_CHECK int ctl_rx_read(struct ctl_rx *rx, int fd);

/* The object in a complete frame as a new reference; -EBADMSG if there is none. */
MUST_CHECK int ctl_rx_parse(const struct ctl_rx *rx, json_t **msg_out);

/* Back to the initial state: frees the body, closes the descriptors. */
void ctl_rx_reset(struct ctl_rx *rx);

/* A frame on its way out, with descriptors of its own. */
struct ctl_tx {
    struct ctl_tx *next;
    size_t size; /* of data: head and body */
    size_t sent;
    int fds[CTL_MAX_FDS];
    size_t n_fds;
    uint8_t data[];
};

/*
 * Makes a frame; borrows everything. -EINVAL if msg is no object, -E2BIG for too large a message
 * or too many descriptors, -ENOMEM, or what dup failed with.
 */
MUST_CHECK int ctl_tx_new(struct ctl_tx **out, const json_t *msg, const int *fds, size_t n_fds);
struct ctl_tx *ctl_tx_free(struct ctl_tx *tx); /* NULL allowed; returns NULL */

/* Writes on without blocking. 1: all is sent. 0: no more for now. Else -errno. */
MUST_CHECK int ctl_tx_write(struct ctl_tx *tx, int fd);

#endif
