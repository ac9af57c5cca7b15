/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The protocol of DIR/hypervisor: what a Xen domain asks of fakexen's "hypervisor". A UNIX stream
 * of messages, each a header and `len` bytes, in the machine's own byte order: both ends run on one
 * machine, like a hypercall. A client sends one request and waits for its reply (same type and id,
 * `status` 0 or -errno, an error without a body). Descriptors travel beside the header.
 */
#ifndef VIOMMU_TESTS_FX_PROTO_H
#define VIOMMU_TESTS_FX_PROTO_H

#include <stdint.h>

#define FX_PAGE_SIZE 4096u
#define FX_BODY_MAX  (1024u * 1024)
#define FX_MAP_MAX   65536u /* pages in one map: gntdev's default limit */
#define FX_COPY_MAX  128u   /* pieces in one copy */
#define FX_MAX_FDS   2

enum fx_type {
    FX_HELLO = 1,     /* fx_hello; first message: which domain this client belongs to */
    FX_MEMORY,        /* fx_memory + a memfd sealed against resizing: the domain's memory, once */
    FX_GRANT,         /* fx_grant */
    FX_UNGRANT,       /* fx_ungrant; -EBUSY while one of them is mapped, and then none is ended */
    FX_MAP,           /* fx_map, u32 refs[n] -> fx_map_reply, u32 pages[n] + the granter's memory,
                         open for reading only unless `writable` */
    FX_UNMAP,         /* fx_unmap */
    FX_COPY,          /* fx_copy, fx_copy_piece[n], bytes towards the guest
                         -> i32 status[n], bytes from the guest */
    FX_ALLOC_UNBOUND, /* fx_port{domid} -> fx_port{port} + own eventfd, peer's eventfd */
    FX_BIND,          /* fx_port{domid, port} -> fx_port{local port} + the same two */
    FX_UNBIND,        /* fx_port{port}: closes the caller's own port */
    FX_RESTRICT,      /* fx_hello: for good, only ports of that domain can be bound, and nothing
                         be mapped, copied, granted or offered: EVTCHN_RESTRICT_DOMID, and a
                         process that holds no gntdev */
};

/* The same 16 bytes, with the length last, as xenstore's header: stream.c serves both. */
struct fx_hdr {
    uint32_t type;
    uint32_t id;
    int32_t status;
    uint32_t len;
};

struct fx_hello {
    uint32_t domid;
};

struct fx_memory {
    uint32_t n_pages;
};

/* References ref .. ref + n - 1 give pages page .. page + n - 1 to `domid`. */
struct fx_grant {
    uint32_t ref;
    uint32_t n;
    uint32_t domid;
    uint32_t page;
    uint32_t readonly;
};

struct fx_ungrant {
    uint32_t ref;
    uint32_t n;
};

struct fx_map {
    uint32_t domid;
    uint32_t writable;
    uint32_t n;
};

struct fx_map_reply {
    uint64_t map_id;
    uint32_t n;
    uint32_t pad;
};

struct fx_unmap {
    uint64_t map_id;
};

struct fx_copy {
    uint32_t domid;
    uint32_t n;
};

struct fx_copy_piece {
    uint32_t ref;
    uint16_t offset;
    uint16_t len;
    uint32_t to_guest;
};

struct fx_port {
    uint32_t domid;
    uint32_t port;
};

#endif
