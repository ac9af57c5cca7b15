/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * fakexen's hypervisor: domains, their memory, grant tables, event channels. Serves DIR/hypervisor
 * (fx_proto.h) and, by the functions below, the toolstack.
 */
#ifndef VIOMMU_TESTS_FAKEXEN_HYPERVISOR_H
#define VIOMMU_TESTS_FAKEXEN_HYPERVISOR_H

#include "common/compiler.h"
#include "common/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HV_DEFAULT_MAPTRACK 262144u /* 1,024 frames of 256 handles */
#define HV_DEFAULT_GRANTS   32768u  /* 64 frames of 512 version 1 entries */
#define HV_MAX_GRANTS       (1u << 24)

struct hypervisor;

/* Listens at `path`; domain 0 exists from the start. */
MUST_CHECK int hv_new(struct hypervisor **out, struct loop *loop, const char *path,
                      uint32_t maptrack);
struct hypervisor *hv_free(struct hypervisor *hv); /* NULL allowed; returns NULL */

/* -EEXIST also for a domain that is dead but whose memory is still mapped. */
MUST_CHECK int hv_domain_create(struct hypervisor *hv, uint32_t domid, uint32_t max_grants);
/* Clients are cut off, ports closed, maps made by the domain released; its own memory lives on
 * while others map it. -ESRCH. */
MUST_CHECK int hv_domain_destroy(struct hypervisor *hv, uint32_t domid);
bool hv_domain_exists(const struct hypervisor *hv, uint32_t domid); /* alive */

struct hv_domain_info {
    uint32_t domid;
    bool dying;        /* destroyed, memory still mapped */
    uint32_t maptrack; /* handles in use by this domain */
    uint32_t n_pages;  /* memory registered */
    uint32_t n_ports;
    uint64_t mapped_here; /* pages of this domain that are mapped, counted per map */
};

void hv_each_domain(const struct hypervisor *hv,
                    void (*fn)(const struct hv_domain_info *info, void *ctx), void *ctx);

/* One call per granted reference. */
void hv_each_grant(const struct hypervisor *hv,
                   void (*fn)(uint32_t domid, uint32_t ref, uint32_t to, bool readonly,
                              uint32_t maps, void *ctx),
                   void *ctx);

/* The nth map, copy or bind from now (1: the next one) fails with `err` > 0. nth 0: never mind.
 * -EINVAL for another operation. */
MUST_CHECK int hv_inject(struct hypervisor *hv, const char *op, uint32_t nth, int err);

/*
 * From now on, `permille` of a thousand maps, copies and binds that concern the domain fail, at
 * random from `seed`, with an errno that is not the guest's fault; with `from`, only maps of
 * references from there on. `permille` 0: none. Returns how many have failed since the last call.
 */
uint64_t hv_faults(struct hypervisor *hv, uint32_t domid, uint32_t permille, uint64_t seed,
                   uint32_t from);

#endif
