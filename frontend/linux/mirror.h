/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the device knows, kept on the guest's side: vdomains, the endpoints in
 * them and their mappings, as the answers to requests made them.
 *
 * It says when a mapping has ended, so that its grants can be taken back, and
 * it is what a new backend is told after the old one died. It does no I/O and
 * takes no locks: the caller serialises. tests/unit/test_mirror.c compiles it
 * in user space.
 */
#ifndef VX_MIRROR_H
#define VX_MIRROR_H

#ifdef __KERNEL__
#include <linux/rbtree.h>
#include <linux/types.h>
#else
#include "mirror_shim.h"
#endif

struct mirror_mapping {
	struct rb_node node;
	u64 first;
	u64 last;
	u64 phys;
	u32 flags;
	/* Consecutive grant references, one per page; none when pages is 0. */
	u32 ref;
	u32 pages;
	bool granted;
	/* Known to the backend of now (see mirror_forget()). */
	bool live;
};

struct mirror_vdomain {
	struct rb_node node;
	struct rb_root mappings;
	u32 id;
	u32 attach_flags;
	u32 endpoints;
	/* mirror_complain() has said yes. */
	bool complained;
	/* Mappings that are not live, and where the first of them can be. */
	unsigned long pending;
	u64 pending_from;
};

struct mirror_endpoint {
	struct rb_node node;
	struct mirror_vdomain *vdomain;
	u32 id;
	bool live;
};

struct mirror {
	struct rb_root vdomains;
	struct rb_root endpoints;
	unsigned long mappings;
	/* Ends the grants of a mapping; the mirror then frees it. */
	void (*release)(struct mirror *mirror, struct mirror_mapping *mapping);
};

/*
 * Memory that one request may need once it is answered. It is taken before
 * the request is sent, because an answer cannot be refused.
 */
struct mirror_spare {
	struct mirror_mapping *mapping;
	struct mirror_vdomain *vdomain;
	struct mirror_endpoint *endpoint;
};

void mirror_init(struct mirror *mirror,
		 void (*release)(struct mirror *mirror,
				 struct mirror_mapping *mapping));

/*
 * Takes what the request (its device-readable part) can need. 0, -ENOMEM, or
 * -EINVAL for a MAP whose range is inverted. Unknown requests need nothing.
 */
int mirror_prepare(struct mirror_spare *spare, const void *req, size_t len);

/* Gives back what no answer has used, grants of the mapping included. */
void mirror_spare_free(struct mirror *mirror, struct mirror_spare *spare);

/*
 * The backend answered the request with a status. Returns the status to hand
 * to the driver: the same, or DEVERR for an OK that contradicts what the same
 * backend said before, or OK for a DETACH of an endpoint that it has lost. A
 * refused UNMAP or DETACH ends what it names all the same, as below.
 */
u8 mirror_answer(struct mirror *mirror, const void *req, size_t len, u8 status,
		 struct mirror_spare *spare);

/*
 * The request will never be answered. What would have ended something ends it
 * all the same: the driver does not look at such a status and reuses memory.
 * What the backend still has mapped is then found in use, and held.
 */
void mirror_unanswered(struct mirror *mirror, const void *req, size_t len);

/* True once per vdomain, and always for one that does not exist. */
bool mirror_complain(struct mirror *mirror, u32 vdomain);

/* Reset: everything ends. */
void mirror_clear(struct mirror *mirror);

/* A new backend knows nothing yet: nothing is live any more. */
void mirror_forget(struct mirror *mirror);

/* Something that is not live, or NULL. A mapping only in a vdomain that is. */
struct mirror_endpoint *mirror_dead_endpoint(struct mirror *mirror);
struct mirror_mapping *mirror_dead_mapping(struct mirror *mirror,
					   struct mirror_vdomain **vdomain);
void mirror_mapping_live(struct mirror_vdomain *vdomain,
			 struct mirror_mapping *mapping);

/* One mapping, or one endpoint, that a new backend has refused. */
void mirror_drop_mapping(struct mirror *mirror, struct mirror_vdomain *vdomain,
			 struct mirror_mapping *mapping);
void mirror_drop_endpoint(struct mirror *mirror, u32 id);

#endif
