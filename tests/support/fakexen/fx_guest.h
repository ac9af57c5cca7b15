/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a guest's kernel gives to a frontend, on fakexen: memory, grants, event channels, xenstore.
 * For the scripted guest and for tests. Everything blocks as a hypercall does; only waits take a
 * time limit. All functions return 0 or -errno unless they say otherwise. One thread.
 */
#ifndef VIOMMU_TESTS_FX_GUEST_H
#define VIOMMU_TESTS_FX_GUEST_H

#include "common/compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct xs_handle;
struct fx_guest;

/* Opens domain `domid` of the server in `dir`, with n_pages of zeroed memory (0: none, as a backend
 * domain's toolbox). One memory per domain: -EEXIST for a second. */
MUST_CHECK int fx_guest_open(struct fx_guest **out, const char *dir, uint32_t domid,
                             uint32_t n_pages);
/* The process lets go: ports closed. Memory and grants stay while the domain lives. NULL allowed.
 */
void fx_guest_close(struct fx_guest *g);

uint32_t fx_guest_domid(const struct fx_guest *g);
uint32_t fx_guest_n_pages(const struct fx_guest *g);
/* The whole memory, page 0 first; guest-physical address 0 is its first byte. */
void *fx_guest_memory(struct fx_guest *g);
/* A run of pages that no earlier call gave: a bump allocator, nothing is ever freed. -ENOMEM. */
MUST_CHECK int fx_guest_alloc(struct fx_guest *g, uint32_t n_pages, uint32_t *page_out);

/* Grants pages page .. page + n - 1 to domain `to`, by consecutive references from *ref_out on. */
MUST_CHECK int fx_guest_grant(struct fx_guest *g, uint32_t to, uint32_t page, uint32_t n,
                              bool readonly, uint32_t *ref_out);
/* Ends n grants: -EBUSY while one of them is mapped, and then all stay. */
MUST_CHECK int fx_guest_ungrant(struct fx_guest *g, uint32_t ref, uint32_t n);

struct fx_channel {
    uint32_t port;
    int own_fd; /* readable when pending; for a caller's own poll */
    int peer_fd;
};

MUST_CHECK int fx_guest_alloc_unbound(struct fx_guest *g, uint32_t remote, struct fx_channel *out);
/* As the backend's side of a channel; a new binding is pending once, as on Xen. */
MUST_CHECK int fx_guest_bind(struct fx_guest *g, uint32_t domid, uint32_t port,
                             struct fx_channel *out);
MUST_CHECK int fx_guest_unbind(struct fx_guest *g, struct fx_channel *c);
MUST_CHECK int fx_channel_notify(const struct fx_channel *c);
/* Takes the pending event, waiting for it up to timeout_ms: 1, 0 (none), -errno. */
MUST_CHECK int fx_channel_wait(const struct fx_channel *c, int timeout_ms);

/* The domain's own xenstore connection, opened at the first call; NULL (errno) when it fails. */
struct xs_handle *fx_guest_xs(struct fx_guest *g);
/* Another one, when xenstored was started anew; on Xen a guest's own is never lost. */
struct xs_handle *fx_guest_xs_again(struct fx_guest *g);

/* libxenstore on the socket of domain `domid` of the server in `dir`. NULL with errno. */
struct xs_handle *fx_xs_open(const char *dir, uint32_t domid);
/* Writes a node. */
MUST_CHECK int fx_xs_write(struct xs_handle *xs, const char *path, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
/* Reads a node as a string of less than `size` bytes (-E2BIG). */
MUST_CHECK int fx_xs_read(struct xs_handle *xs, const char *path, char *out, size_t size);
/* Waits until the node's value is `value` (NULL: until the node is gone). 0, -ETIMEDOUT, -errno. */
MUST_CHECK int fx_xs_wait(struct xs_handle *xs, const char *path, const char *value,
                          int timeout_ms);

#endif
