/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Link-time stand-ins for the functions of libxengnttab and libxenevtchn that
 * backend/platform/xen.c calls: they record, and fail on demand. No Xen needed.
 */
#ifndef VIOMMU_TESTS_MOCK_XENLIBS_H
#define VIOMMU_TESTS_MOCK_XENLIBS_H

#include <stdbool.h>
#include <stdint.h>

struct mock_xenlibs {
    /* Failures: errno that the next such call sets, 0 for success. Cleared by the call. */
    int fail_gnttab_open, fail_evtchn_open, fail_map, fail_unmap, fail_copy, fail_bind;
    int fail_restrict, fail_notify, fail_pending, fail_unmask;
    int copy_status_at; /* this piece (counted over all calls, from 0) gets a bad status; -1: none
                         */

    /* gntdev's own calls (backend/platform/xen_gntdev.h): 'r'ecord, 'm'ap, 'f'orget in gnt_trace */
    int fail_gntdev_open, fail_record, fail_gntdev_map;
    unsigned gntdev_opens, records, forgets;
    uint32_t record_domid, record_refs[8], record_n, forget_n;
    uint64_t gntdev_map_index, forget_index;
    bool gntdev_map_writable;
    char gnt_trace[64];

    unsigned restricts;
    uint32_t restrict_domid;
    unsigned gnttab_opens, gnttab_closes, evtchn_opens, evtchn_closes;
    unsigned maps, unmaps, binds, unbinds, notifies, copy_calls;
    uint32_t map_count, map_domid, map_refs[8];
    int map_prot;
    void *unmap_addr;
    uint32_t unmap_count;
    uint32_t copied; /* pieces */
    uint32_t bind_domid, bind_port, unbound_port, notified_port;

    /* Event channels: what is pending, and the calls in order: 'p'ending, un'm'ask. */
    uint32_t pending[8];
    unsigned n_pending;
    bool masked; /* the last delivered port */
    char trace[64];
};

extern struct mock_xenlibs mock_xen;

/* Everything back to nothing; live mappings of an earlier test are not freed. */
void mock_xen_reset(void);
/* Makes a port pending, as a guest's kick does. */
void mock_xen_kick(uint32_t port);

#endif
