// SPDX-License-Identifier: GPL-2.0
/*
 * The guest's own record of vdomains, endpoints and mappings (see mirror.h).
 * The driver and the requests are trusted, answers are not.
 */
#include "mirror.h"

#ifdef __KERNEL__
#include <linux/errno.h>
#include <linux/slab.h>
#include <uapi/linux/virtio_iommu.h>
#endif

static int vdomain_cmp(const void *key, const struct rb_node *node)
{
	u32 id = *(const u32 *)key;
	u32 other = rb_entry(node, struct mirror_vdomain, node)->id;

	return id < other ? -1 : id > other;
}

static int vdomain_cmp_nodes(struct rb_node *node, const struct rb_node *other)
{
	return vdomain_cmp(&rb_entry(node, struct mirror_vdomain, node)->id, other);
}

static int endpoint_cmp(const void *key, const struct rb_node *node)
{
	u32 id = *(const u32 *)key;
	u32 other = rb_entry(node, struct mirror_endpoint, node)->id;

	return id < other ? -1 : id > other;
}

static int endpoint_cmp_nodes(struct rb_node *node, const struct rb_node *other)
{
	return endpoint_cmp(&rb_entry(node, struct mirror_endpoint, node)->id, other);
}

/* Ranges that share an address are the same key: no two such are ever in. */
static int mapping_cmp_nodes(struct rb_node *node, const struct rb_node *other)
{
	const struct mirror_mapping *a = rb_entry(node, struct mirror_mapping, node);
	const struct mirror_mapping *b = rb_entry(other, struct mirror_mapping, node);

	if (a->last < b->first)
		return -1;
	return a->first > b->last;
}

static struct mirror_vdomain *find_vdomain(struct mirror *mirror, u32 id)
{
	struct rb_node *node = rb_find(&id, &mirror->vdomains, vdomain_cmp);

	return node ? rb_entry(node, struct mirror_vdomain, node) : NULL;
}

static struct mirror_endpoint *find_endpoint(struct mirror *mirror, u32 id)
{
	struct rb_node *node = rb_find(&id, &mirror->endpoints, endpoint_cmp);

	return node ? rb_entry(node, struct mirror_endpoint, node) : NULL;
}

void mirror_init(struct mirror *mirror,
		 void (*release)(struct mirror *mirror,
				 struct mirror_mapping *mapping))
{
	mirror->vdomains = RB_ROOT;
	mirror->endpoints = RB_ROOT;
	mirror->mappings = 0;
	mirror->release = release;
}

static int prepare_map(struct mirror_spare *spare,
		       const struct virtio_iommu_req_map *req)
{
	struct mirror_mapping *mapping;
	u64 first = le64_to_cpu(req->virt_start);
	u64 last = le64_to_cpu(req->virt_end);

	if (last < first)
		return -EINVAL;
	mapping = kzalloc(sizeof(*mapping), GFP_ATOMIC);
	if (!mapping)
		return -ENOMEM;
	mapping->first = first;
	mapping->last = last;
	mapping->phys = le64_to_cpu(req->phys_start);
	mapping->flags = le32_to_cpu(req->flags);
	spare->mapping = mapping;
	return 0;
}

static int prepare_attach(struct mirror_spare *spare,
			  const struct virtio_iommu_req_attach *req)
{
	spare->vdomain = kzalloc(sizeof(*spare->vdomain), GFP_ATOMIC);
	spare->endpoint = kzalloc(sizeof(*spare->endpoint), GFP_ATOMIC);
	if (!spare->vdomain || !spare->endpoint) {
		kfree(spare->vdomain);
		kfree(spare->endpoint);
		spare->vdomain = NULL;
		spare->endpoint = NULL;
		return -ENOMEM;
	}
	spare->vdomain->mappings = RB_ROOT;
	spare->vdomain->id = le32_to_cpu(req->domain);
	spare->vdomain->attach_flags = le32_to_cpu(req->flags);
	spare->endpoint->id = le32_to_cpu(req->endpoint);
	return 0;
}

/* True for a request of this type that is long enough to be one. */
static bool is_request(const void *req, size_t len, u8 type, size_t size)
{
	const struct virtio_iommu_req_head *head = req;

	return len >= size - sizeof(struct virtio_iommu_req_tail) &&
	       head->type == type;
}

#define IS_REQUEST(req, len, type, what) \
	is_request(req, len, type, sizeof(struct virtio_iommu_req_##what))

int mirror_prepare(struct mirror_spare *spare, const void *req, size_t len)
{
	memset(spare, 0, sizeof(*spare));
	if (IS_REQUEST(req, len, VIRTIO_IOMMU_T_MAP, map))
		return prepare_map(spare, req);
	if (IS_REQUEST(req, len, VIRTIO_IOMMU_T_ATTACH, attach))
		return prepare_attach(spare, req);
	return 0;
}

static void free_mapping(struct mirror *mirror, struct mirror_mapping *mapping)
{
	if (mapping->pages)
		mirror->release(mirror, mapping);
	kfree(mapping);
}

void mirror_spare_free(struct mirror *mirror, struct mirror_spare *spare)
{
	if (spare->mapping)
		free_mapping(mirror, spare->mapping);
	kfree(spare->vdomain);
	kfree(spare->endpoint);
	memset(spare, 0, sizeof(*spare));
}

void mirror_drop_mapping(struct mirror *mirror, struct mirror_vdomain *vdomain,
			 struct mirror_mapping *mapping)
{
	rb_erase(&mapping->node, &vdomain->mappings);
	mirror->mappings--;
	if (!mapping->live)
		vdomain->pending--;
	free_mapping(mirror, mapping);
}

/* The last endpoint has left: the vdomain and its mappings are gone. */
static void drop_vdomain(struct mirror *mirror, struct mirror_vdomain *vdomain)
{
	struct rb_node *node;

	while ((node = rb_first(&vdomain->mappings)))
		mirror_drop_mapping(mirror, vdomain,
				    rb_entry(node, struct mirror_mapping, node));
	rb_erase(&vdomain->node, &mirror->vdomains);
	kfree(vdomain);
}

static void leave_vdomain(struct mirror *mirror, struct mirror_vdomain *vdomain)
{
	if (!--vdomain->endpoints)
		drop_vdomain(mirror, vdomain);
}

void mirror_drop_endpoint(struct mirror *mirror, u32 id)
{
	struct mirror_endpoint *endpoint = find_endpoint(mirror, id);

	if (!endpoint)
		return;
	leave_vdomain(mirror, endpoint->vdomain);
	rb_erase(&endpoint->node, &mirror->endpoints);
	kfree(endpoint);
}

static void attached(struct mirror *mirror, struct mirror_spare *spare)
{
	struct mirror_vdomain *vdomain = find_vdomain(mirror, spare->vdomain->id);
	struct mirror_endpoint *endpoint = find_endpoint(mirror, spare->endpoint->id);
	struct mirror_vdomain *old = endpoint ? endpoint->vdomain : NULL;

	if (!vdomain) {
		vdomain = spare->vdomain;
		spare->vdomain = NULL;
		rb_find_add(&vdomain->node, &mirror->vdomains, vdomain_cmp_nodes);
	}
	if (!endpoint) {
		endpoint = spare->endpoint;
		spare->endpoint = NULL;
		rb_find_add(&endpoint->node, &mirror->endpoints, endpoint_cmp_nodes);
	}
	endpoint->live = true;
	if (old == vdomain)
		return;
	endpoint->vdomain = vdomain;
	vdomain->endpoints++;
	if (old)
		leave_vdomain(mirror, old);
}

static u8 mapped(struct mirror *mirror, const struct virtio_iommu_req_map *req,
		 struct mirror_spare *spare)
{
	struct mirror_vdomain *vdomain = find_vdomain(mirror, le32_to_cpu(req->domain));

	/* A backend that says OK here lies: it has no such vdomain, or twice. */
	if (!vdomain || rb_find_add(&spare->mapping->node, &vdomain->mappings,
				    mapping_cmp_nodes))
		return VIRTIO_IOMMU_S_DEVERR;
	spare->mapping->live = true;
	spare->mapping = NULL;
	mirror->mappings++;
	return VIRTIO_IOMMU_S_OK;
}

/* The mapping with the lowest address that ends at or after an address. */
static struct mirror_mapping *first_mapping(struct mirror_vdomain *vdomain, u64 addr)
{
	struct rb_node *node = vdomain->mappings.rb_node;
	struct mirror_mapping *found = NULL;

	while (node) {
		struct mirror_mapping *mapping =
			rb_entry(node, struct mirror_mapping, node);

		if (mapping->last >= addr) {
			found = mapping;
			node = node->rb_left;
		} else {
			node = node->rb_right;
		}
	}
	return found;
}

/* virtio 1.3, 5.13.6.6: mappings inside the range go, none is ever split. */
static void unmapped(struct mirror *mirror, const struct virtio_iommu_req_unmap *req)
{
	struct mirror_vdomain *vdomain = find_vdomain(mirror, le32_to_cpu(req->domain));
	u64 first = le64_to_cpu(req->virt_start);
	u64 last = le64_to_cpu(req->virt_end);
	struct mirror_mapping *mapping;

	if (!vdomain)
		return;
	mapping = first_mapping(vdomain, first);
	while (mapping && mapping->last <= last) {
		struct rb_node *next = rb_next(&mapping->node);

		if (mapping->first >= first)
			mirror_drop_mapping(mirror, vdomain, mapping);
		mapping = next ? rb_entry(next, struct mirror_mapping, node) : NULL;
	}
}

static void detached(struct mirror *mirror, const struct virtio_iommu_req_detach *req)
{
	struct mirror_endpoint *endpoint =
		find_endpoint(mirror, le32_to_cpu(req->endpoint));

	if (endpoint && endpoint->vdomain->id == le32_to_cpu(req->domain))
		mirror_drop_endpoint(mirror, endpoint->id);
}

/*
 * The backend does not know an endpoint any more that was attached: it has been
 * taken away, which ends as a DETACH does. Nothing is left to be refused.
 */
static bool already_gone(struct mirror *mirror, const void *req, size_t len, u8 status)
{
	const struct virtio_iommu_req_detach *detach = req;

	return status == VIRTIO_IOMMU_S_NOENT &&
	       IS_REQUEST(req, len, VIRTIO_IOMMU_T_DETACH, detach) &&
	       find_endpoint(mirror, le32_to_cpu(detach->endpoint));
}

u8 mirror_answer(struct mirror *mirror, const void *req, size_t len, u8 status,
		 struct mirror_spare *spare)
{
	if (already_gone(mirror, req, len, status)) {
		const struct virtio_iommu_req_detach *detach = req;

		mirror_drop_endpoint(mirror, le32_to_cpu(detach->endpoint));
		status = VIRTIO_IOMMU_S_OK;
	}
	if (status == VIRTIO_IOMMU_S_OK && spare->mapping)
		status = mapped(mirror, req, spare);
	else if (status == VIRTIO_IOMMU_S_OK && spare->endpoint)
		attached(mirror, spare);
	else
		mirror_unanswered(mirror, req, len);
	mirror_spare_free(mirror, spare);
	return status;
}

void mirror_unanswered(struct mirror *mirror, const void *req, size_t len)
{
	if (IS_REQUEST(req, len, VIRTIO_IOMMU_T_UNMAP, unmap))
		unmapped(mirror, req);
	else if (IS_REQUEST(req, len, VIRTIO_IOMMU_T_DETACH, detach))
		detached(mirror, req);
}

bool mirror_complain(struct mirror *mirror, u32 id)
{
	struct mirror_vdomain *vdomain = find_vdomain(mirror, id);

	if (!vdomain)
		return true;
	if (vdomain->complained)
		return false;
	vdomain->complained = true;
	return true;
}

void mirror_clear(struct mirror *mirror)
{
	struct rb_node *node;

	while ((node = rb_first(&mirror->endpoints)))
		mirror_drop_endpoint(mirror,
				     rb_entry(node, struct mirror_endpoint, node)->id);
}

void mirror_forget(struct mirror *mirror)
{
	struct rb_node *node;
	struct rb_node *sub;

	for (node = rb_first(&mirror->endpoints); node; node = rb_next(node))
		rb_entry(node, struct mirror_endpoint, node)->live = false;
	for (node = rb_first(&mirror->vdomains); node; node = rb_next(node)) {
		struct mirror_vdomain *vdomain =
			rb_entry(node, struct mirror_vdomain, node);

		vdomain->pending = 0;
		vdomain->pending_from = 0;
		for (sub = rb_first(&vdomain->mappings); sub; sub = rb_next(sub)) {
			rb_entry(sub, struct mirror_mapping, node)->live = false;
			vdomain->pending++;
		}
	}
}

struct mirror_endpoint *mirror_dead_endpoint(struct mirror *mirror)
{
	struct rb_node *node;

	for (node = rb_first(&mirror->endpoints); node; node = rb_next(node)) {
		struct mirror_endpoint *endpoint =
			rb_entry(node, struct mirror_endpoint, node);

		if (!endpoint->live)
			return endpoint;
	}
	return NULL;
}

struct mirror_mapping *mirror_dead_mapping(struct mirror *mirror,
					   struct mirror_vdomain **vdomain)
{
	struct mirror_mapping *mapping;
	struct rb_node *node;
	struct rb_node *sub;

	for (node = rb_first(&mirror->vdomains); node; node = rb_next(node)) {
		*vdomain = rb_entry(node, struct mirror_vdomain, node);
		if (!(*vdomain)->pending)
			continue;
		mapping = first_mapping(*vdomain, (*vdomain)->pending_from);
		while (mapping && mapping->live) {
			sub = rb_next(&mapping->node);
			mapping = sub ? rb_entry(sub, struct mirror_mapping, node) : NULL;
		}
		if (mapping) {
			(*vdomain)->pending_from = mapping->first;
			return mapping;
		}
	}
	return NULL;
}

void mirror_mapping_live(struct mirror_vdomain *vdomain,
			 struct mirror_mapping *mapping)
{
	if (!mapping->live)
		vdomain->pending--;
	mapping->live = true;
}
