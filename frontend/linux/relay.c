// SPDX-License-Identifier: GPL-2.0
/*
 * Between the driver's private rings and the shadow rings that the backend
 * sees.
 *
 * The stock driver kicks under a spinlock with interrupts off and then spins
 * until everything is answered. So the kick itself does all the work: each
 * request is copied to the granted pool, sent, waited for with the virtual CPU
 * yielded and a time limit, and answered in the private ring. No request is
 * ever left without an answer, and the queue is never marked broken: both
 * would make the driver spin for ever.
 *
 * What is read from shadow rings and pool is hostile and read once.
 */
#include <linux/hash.h>
#include <linux/io.h>
#include <linux/ktime.h>
#include <linux/slab.h>
#include <asm/xen/hypercall.h>
#include <xen/events.h>
#include <xen/interface/sched.h>
#include <xen/interface/vcpu.h>
#include <xen/xen-ops.h>

#include "vx.h"

/* Each request's place in the pool: the request, then the room for its tail. */
#define SLOT_SIZE	128
#define SLOT_ANSWER	96
#define TAIL_SIZE	sizeof(struct virtio_iommu_req_tail)
#define EVENT_SIZE	sizeof(struct virtio_iommu_fault)
#define EVENT_PLACE	32
#define POLL_NS		(10 * NSEC_PER_MSEC)
/* Rounds of one interrupt, so that a flood cannot hold the CPU. */
#define EVENT_ROUNDS	16

/* ---- memory that requests need -------------------------------------------- */

static struct vx_prepared *prepared_take(struct vx *vx, dma_addr_t addr)
{
	struct vx_prepared *prepared;

	hash_for_each_possible(vx->prepared, prepared, node, addr) {
		if (prepared->addr == addr) {
			hash_del(&prepared->node);
			return prepared;
		}
	}
	return NULL;
}

static void prepared_free(struct vx *vx, struct vx_prepared *prepared)
{
	if (!prepared)
		return;
	mirror_spare_free(&vx->mirror, &prepared->spare);
	kfree(prepared);
}

static int reserve(struct vx *vx, struct mirror_mapping *mapping)
{
	int err;

	if (!mapping || vx_static_grants)
		return 0;
	err = vx_mapping_reserve(vx, mapping);
	if (err != -ENOSPC)
		return err;
	/* UNMAPs that the driver has queued but not kicked hold references. */
	vx_relay(vx);
	err = vx_mapping_reserve(vx, mapping);
	if (err)
		dev_err_ratelimited(&vx->xdev->dev,
				    "MAP of %#llx-%#llx refused: no grant references left; raise max_grant_frames of this guest, or use grants=static\n",
				    mapping->first, mapping->last);
	return err;
}

/* The driver maps the device-readable part of a request. NULL: refuse. */
struct vx_prepared *vx_prepare(struct vx *vx, dma_addr_t addr, size_t len)
{
	struct vx_prepared *prepared = kzalloc(sizeof(*prepared), GFP_ATOMIC);
	unsigned long flags;
	int err;

	if (!prepared)
		return NULL;
	prepared->addr = addr;
	err = mirror_prepare(&prepared->spare, phys_to_virt(addr), len);
	spin_lock_irqsave(&vx->relay_lock, flags);
	if (!err)
		err = reserve(vx, prepared->spare.mapping);
	if (!err)
		hash_add(vx->prepared, &prepared->node, addr);
	else
		prepared_free(vx, prepared);
	spin_unlock_irqrestore(&vx->relay_lock, flags);
	return err ? NULL : prepared;
}

/* The request is answered, or was never sent. */
void vx_unprepare(struct vx *vx, dma_addr_t addr)
{
	unsigned long flags;

	spin_lock_irqsave(&vx->relay_lock, flags);
	prepared_free(vx, prepared_take(vx, addr));
	spin_unlock_irqrestore(&vx->relay_lock, flags);
}

/* The driver's queue is gone with whatever it had not sent. */
void vx_unprepare_all(struct vx *vx)
{
	struct vx_prepared *prepared;
	struct hlist_node *next;
	unsigned long flags;
	unsigned int i;

	spin_lock_irqsave(&vx->relay_lock, flags);
	hash_for_each_safe(vx->prepared, i, next, prepared, node) {
		hash_del(&prepared->node);
		prepared_free(vx, prepared);
	}
	spin_unlock_irqrestore(&vx->relay_lock, flags);
}

/* ---- shadow rings ---------------------------------------------------------- */

/* The ring: descriptors on the first page, the two index rings on the second. */
int vx_shadow_init(struct vx *vx, struct vx_shadow *shadow, unsigned int size)
{
	int err = vx_area_alloc(vx, &shadow->area, 2 * XEN_PAGE_SIZE);

	BUILD_BUG_ON(VX_MAX_REQUESTS * sizeof(struct vx_desc) > XEN_PAGE_SIZE);
	BUILD_BUG_ON(VX_MAX_REQUESTS > 256);
	if (err)
		return err;
	shadow->size = size;
	shadow->desc = shadow->area.va;
	shadow->avail = shadow->area.va + XEN_PAGE_SIZE;
	shadow->used = shadow->area.va + XEN_PAGE_SIZE + XEN_PAGE_SIZE / 4;
	return 0;
}

static void shadow_kick(struct vx_shadow *shadow)
{
	virt_mb(); /* our index before the backend's wish for no kicks */
	if (!(le16_to_cpu(READ_ONCE(shadow->used->flags)) & VRING_USED_F_NO_NOTIFY))
		notify_remote_via_irq(shadow->port.irq);
}

static void shadow_post(struct vx_shadow *shadow, u16 head)
{
	u16 at = shadow->avail_idx & (shadow->size - 1);

	WRITE_ONCE(shadow->avail->ring[at], cpu_to_le16(head));
	shadow->avail_idx++;
}

static void shadow_publish(struct vx_shadow *shadow)
{
	virt_wmb(); /* the entries before their index */
	WRITE_ONCE(shadow->avail->idx, cpu_to_le16(shadow->avail_idx));
}

/* What a reset leaves behind: the device starts at index 0 again. */
void vx_rings_clear(struct vx *vx)
{
	struct vx_shadow *both[] = { &vx->requests, &vx->events };
	unsigned long flags;
	unsigned int i;

	spin_lock_irqsave(&vx->event_lock, flags);
	for (i = 0; i < ARRAY_SIZE(both); i++) {
		memset(both[i]->area.va, 0, both[i]->area.pages * XEN_PAGE_SIZE);
		both[i]->avail_idx = 0;
		both[i]->used_idx = 0;
	}
	/* All event buffers are offered at once; requests when they come. */
	for (i = 0; i < vx->events.size; i++) {
		vx->events.desc[i].addr =
			cpu_to_le64(vx_area_addr(&vx->events.pool, i * EVENT_PLACE));
		vx->events.desc[i].len = cpu_to_le32(EVENT_SIZE);
		vx->events.desc[i].flags = cpu_to_le16(VRING_DESC_F_WRITE);
		shadow_post(&vx->events, i);
	}
	shadow_publish(&vx->events);
	spin_unlock_irqrestore(&vx->event_lock, flags);
}

/*
 * Gives the CPU away until the port is notified, or for about POLL_NS. The
 * limit is in the hypervisor's time, which a guest cannot read everywhere; the
 * moment at which this virtual CPU started to run comes close enough: if it is
 * too long ago the hypercall returns at once, and the next one knows better.
 */
static void yield_cpu(struct vx_shadow *shadow)
{
	struct vcpu_runstate_info run;
	struct sched_poll poll = { .nr_ports = 1 };

	if (HYPERVISOR_vcpu_op(VCPUOP_get_runstate_info,
			       xen_vcpu_nr(smp_processor_id()), &run)) {
		HYPERVISOR_sched_op(SCHEDOP_yield, NULL);
		return;
	}
	poll.timeout = run.state_entry_time + POLL_NS;
	set_xen_guest_handle(poll.ports, &shadow->port.port);
	HYPERVISOR_sched_op(SCHEDOP_poll, &poll);
}

/* Waits until that many buffers are used. False: lost, with the reason. */
static bool shadow_wait(struct vx *vx, unsigned int count, const char **why)
{
	struct vx_shadow *shadow = &vx->requests;
	u64 end = ktime_get_mono_fast_ns() + (u64)vx_timeout_ms() * NSEC_PER_MSEC;
	bool late = false;
	u16 used;

	for (;;) {
		xen_clear_irq_pending(shadow->port.irq);
		virt_mb(); /* no answer slips in between the two */
		used = le16_to_cpu(READ_ONCE(shadow->used->idx)) - shadow->used_idx;
		virt_rmb(); /* the index before what it covers */
		if (used == count)
			return true;
		*why = "it claims to have answered more than was asked";
		if (used > count)
			return false;
		*why = "it broke a queue (DEVICE_NEEDS_RESET)";
		if (vx_needs_reset(vx))
			return false;
		*why = "it has not answered in time";
		if (late)
			return false;
		yield_cpu(shadow);
		/* Looked at once more after the time is over. */
		late = ktime_get_mono_fast_ns() >= end;
	}
}

/* Notes which slots are answered, and how. False for an impossible answer. */
static bool shadow_collect(struct vx *vx, unsigned int slots)
{
	struct vx_shadow *shadow = &vx->requests;
	u16 used = le16_to_cpu(READ_ONCE(shadow->used->idx)) - shadow->used_idx;

	virt_rmb(); /* the index before what it covers */
	if (used > slots)
		return false;
	for (; used; used--, shadow->used_idx++) {
		struct vx_used_elem *elem =
			&shadow->used->ring[shadow->used_idx & (shadow->size - 1)];
		u32 id = le32_to_cpu(READ_ONCE(elem->id));
		struct vx_slot *slot;

		if (id & 1 || id / 2 >= slots)
			return false;
		slot = &vx->slots[id / 2];
		if (slot->done)
			return false;
		slot->used_len = le32_to_cpu(READ_ONCE(elem->len));
		slot->done = true;
	}
	return true;
}

/* ---- requests --------------------------------------------------------------- */

static bool is_probe(const struct vx_slot *slot)
{
	return slot->head_of_req.type == VIRTIO_IOMMU_T_PROBE;
}

/* Where the backend writes the answer; PROBE has a place of its own. */
static void *answer_place(struct vx *vx, unsigned int i)
{
	if (is_probe(&vx->slots[i]))
		return vx->probe_area.va;
	return vx->requests.pool.va + i * SLOT_SIZE + SLOT_ANSWER;
}

static void slot_post(struct vx *vx, unsigned int i)
{
	struct vx_shadow *shadow = &vx->requests;
	struct vx_slot *slot = &vx->slots[i];
	struct virtio_iommu_req_map *map = shadow->pool.va + i * SLOT_SIZE;
	struct mirror_mapping *mapping = slot->mapping;
	u64 answer = is_probe(slot) ? vx_area_addr(&vx->probe_area, 0) :
		vx_area_addr(&shadow->pool, i * SLOT_SIZE + SLOT_ANSWER);

	BUILD_BUG_ON(VX_REQ_MAX > SLOT_ANSWER);
	if (slot->prepared)
		mapping = slot->prepared->spare.mapping;
	memcpy(map, slot->req, slot->req_len);
	if (mapping && mapping->pages) {
		if (!mapping->granted)
			vx_mapping_grant(vx, mapping);
		map->phys_start = cpu_to_le64(VX_GRANT_ADDRESS |
					      (u64)mapping->ref << XEN_PAGE_SHIFT);
	}
	memset(answer_place(vx, i), 0xff, slot->answer_len);
	shadow->desc[2 * i].addr = cpu_to_le64(vx_area_addr(&shadow->pool, i * SLOT_SIZE));
	shadow->desc[2 * i].len = cpu_to_le32(slot->req_len);
	shadow->desc[2 * i].flags = cpu_to_le16(VRING_DESC_F_NEXT);
	shadow->desc[2 * i].next = cpu_to_le16(2 * i + 1);
	shadow->desc[2 * i + 1].addr = cpu_to_le64(answer);
	shadow->desc[2 * i + 1].len = cpu_to_le32(slot->answer_len);
	shadow->desc[2 * i + 1].flags = cpu_to_le16(VRING_DESC_F_WRITE);
	shadow_post(shadow, 2 * i);
}

/* Reads one answer, once. Only a whole answer counts. */
static void slot_answer(struct vx *vx, unsigned int i)
{
	struct vx_slot *slot = &vx->slots[i];
	u8 *place = answer_place(vx, i);

	slot->status = VIRTIO_IOMMU_S_DEVERR;
	if (slot->answer)
		memset(slot->answer, 0, slot->answer_len);
	if (slot->used_len != slot->answer_len)
		return;
	slot->status = READ_ONCE(place[slot->answer_len - TAIL_SIZE]);
	if (slot->answer)
		memcpy(slot->answer, place, slot->answer_len - TAIL_SIZE);
}

/* Sends the first slots and waits. Those that are not done stay unanswered. */
static void slots_send(struct vx *vx, unsigned int count)
{
	const char *why;
	unsigned int i;

	if (!count)
		return;
	for (i = 0; i < count; i++)
		slot_post(vx, i);
	shadow_publish(&vx->requests);
	shadow_kick(&vx->requests);
	if (!shadow_wait(vx, count, &why))
		vx_lose(vx, why);
	if (!shadow_collect(vx, count))
		vx_lose(vx, "it answered something that was not asked");
	for (i = 0; i < count; i++) {
		if (vx->slots[i].done)
			slot_answer(vx, i);
	}
}

static const char *type_name(u8 type)
{
	static const char * const names[] = {
		[VIRTIO_IOMMU_T_ATTACH] = "ATTACH",
		[VIRTIO_IOMMU_T_DETACH] = "DETACH",
		[VIRTIO_IOMMU_T_MAP] = "MAP",
		[VIRTIO_IOMMU_T_UNMAP] = "UNMAP",
		[VIRTIO_IOMMU_T_PROBE] = "PROBE",
	};

	return type < ARRAY_SIZE(names) && names[type] ? names[type] : "request";
}

/* The driver throws most statuses away: the first one of a vdomain is said. */
static void complain(struct vx *vx, const struct vx_slot *slot)
{
	struct device *dev = &vx->xdev->dev;
	u8 type = slot->head_of_req.type;

	/* In all these the vdomain is at the same place. */
	if (type < VIRTIO_IOMMU_T_ATTACH || type > VIRTIO_IOMMU_T_UNMAP) {
		dev_warn_ratelimited(dev, "%s refused with status %u\n",
				     type_name(type), slot->status);
		return;
	}
	if (!mirror_complain(&vx->mirror, le32_to_cpu(slot->map.domain)))
		return;
	if (type == VIRTIO_IOMMU_T_MAP || type == VIRTIO_IOMMU_T_UNMAP)
		dev_warn_ratelimited(dev, "%s of %#llx-%#llx in vdomain %u refused with status %u\n",
				     type_name(type),
				     le64_to_cpu(slot->map.virt_start),
				     le64_to_cpu(slot->map.virt_end),
				     le32_to_cpu(slot->map.domain), slot->status);
	else
		dev_warn_ratelimited(dev, "%s of endpoint %#x, vdomain %u, refused with status %u\n",
				     type_name(type),
				     le32_to_cpu(slot->attach.endpoint),
				     le32_to_cpu(slot->attach.domain), slot->status);
}

/* ---- the driver's ring ------------------------------------------------------- */

static void private_used(struct virtqueue *vq, u16 head, u32 len)
{
	const struct vring *vring = virtqueue_get_vring(vq);
	u16 idx = le16_to_cpu((__force __le16)vring->used->idx);
	struct vring_used_elem *elem = &vring->used->ring[idx & (vring->num - 1)];

	elem->id = (__force __virtio32)cpu_to_le32(head);
	elem->len = (__force __virtio32)cpu_to_le32(len);
	smp_wmb(); /* the element before its index */
	WRITE_ONCE(vring->used->idx, (__force __virtio16)cpu_to_le16(idx + 1));
}

static u16 private_avail(struct virtqueue *vq)
{
	const struct vring *vring = virtqueue_get_vring(vq);
	u16 idx = le16_to_cpu((__force __le16)READ_ONCE(vring->avail->idx));

	smp_rmb(); /* the index before what it covers */
	return idx;
}

static u16 private_head(struct virtqueue *vq, u16 at)
{
	const struct vring *vring = virtqueue_get_vring(vq);

	return le16_to_cpu((__force __le16)vring->avail->ring[at & (vring->num - 1)]);
}

struct private_desc {
	void *va;
	u64 addr;
	u32 len;
	u16 flags;
	u16 next;
};

/* The addresses are those that our own DMA operations returned. */
static struct private_desc private_desc(struct virtqueue *vq, u16 i)
{
	const struct vring_desc *desc = &virtqueue_get_vring(vq)->desc[i];
	u64 addr = le64_to_cpu((__force __le64)desc->addr);

	return (struct private_desc) {
		.va = phys_to_virt(addr),
		.addr = addr,
		.len = le32_to_cpu((__force __le32)desc->len),
		.flags = le16_to_cpu((__force __le16)desc->flags),
		.next = le16_to_cpu((__force __le16)desc->next),
	};
}

/* One request of the driver. False for one that cannot be sent. */
static bool slot_fill(struct vx *vx, struct vx_slot *slot, u16 head)
{
	struct virtqueue *vq = vx->vqs[VX_REQUEST_QUEUE];
	struct private_desc req = private_desc(vq, head);
	struct private_desc answer;

	memset(slot, 0, sizeof(*slot));
	slot->head = head;
	slot->prepared = prepared_take(vx, req.addr);
	if (!(req.flags & VRING_DESC_F_NEXT) || req.flags & VRING_DESC_F_WRITE)
		return false;
	answer = private_desc(vq, req.next);
	if (answer.flags != VRING_DESC_F_WRITE || answer.len < TAIL_SIZE)
		return false;
	slot->answer = answer.va;
	slot->answer_len = answer.len;
	slot->req_len = req.len;
	if (req.len < sizeof(struct virtio_iommu_req_head) || req.len > VX_REQ_MAX)
		return false;
	memcpy(slot->req, req.va, req.len);
	return slot->prepared &&
	       answer.len <= (is_probe(slot) ? vx->probe_len : TAIL_SIZE);
}

/* Hands the answer to the driver and to the mirror, in the order of the ring. */
static void slot_finish(struct vx *vx, struct vx_slot *slot)
{
	struct virtio_iommu_req_tail *tail;
	u32 len = 0;

	if (!slot->done) {
		slot->status = VIRTIO_IOMMU_S_DEVERR;
		if (slot->answer)
			memset(slot->answer, 0, slot->answer_len);
		mirror_unanswered(&vx->mirror, slot->req, slot->req_len);
	} else {
		slot->status = mirror_answer(&vx->mirror, slot->req, slot->req_len,
					     slot->status, &slot->prepared->spare);
		if (slot->status)
			complain(vx, slot);
	}
	prepared_free(vx, slot->prepared);
	if (slot->answer) {
		tail = slot->answer + slot->answer_len - TAIL_SIZE;
		tail->status = slot->status;
		len = slot->answer_len;
	}
	private_used(vx->vqs[VX_REQUEST_QUEUE], slot->head, len);
}

/* Takes, sends and answers all that the driver has queued. relay_lock held. */
void vx_relay(struct vx *vx)
{
	struct virtqueue *vq = vx->vqs[VX_REQUEST_QUEUE];

	lockdep_assert_held(&vx->relay_lock);
	if (!vq)
		return;
	while (vx->requests_seen != private_avail(vq)) {
		u16 queued = private_avail(vq) - vx->requests_seen;
		unsigned int count = 0;
		bool good = true;
		unsigned int i;

		/* A bad one, or a PROBE (one place only), ends the batch. */
		while (count < min_t(unsigned int, queued, vx->nslots) && good) {
			good = slot_fill(vx, &vx->slots[count],
					 private_head(vq, vx->requests_seen));
			vx->requests_seen++;
			count++;
			if (good && is_probe(&vx->slots[count - 1]))
				break;
		}
		if (vx->conn == VX_CONN_UP && vx->started)
			slots_send(vx, good ? count : count - 1);
		for (i = 0; i < count; i++)
			slot_finish(vx, &vx->slots[i]);
	}
}

/* The driver's kick. False would break the queue. */
bool vx_relay_requests(struct virtqueue *vq)
{
	struct vx *vx = vx_of(vq->vdev);
	unsigned long flags;

	spin_lock_irqsave(&vx->relay_lock, flags);
	vx_relay(vx);
	spin_unlock_irqrestore(&vx->relay_lock, flags);
	return true;
}

void vx_lose(struct vx *vx, const char *why)
{
	lockdep_assert_held(&vx->relay_lock);
	if (vx->conn != VX_CONN_UP)
		return;
	vx->conn = VX_CONN_LOST;
	vx->started = false;
	dev_err(&vx->xdev->dev,
		"the backend is lost: %s; requests fail until it is back\n", why);
	vx_kick_work(vx, 0);
}

/* ---- replay ------------------------------------------------------------------ */

static void replay_slot(struct vx_slot *slot, u8 type, size_t size)
{
	memset(slot, 0, sizeof(*slot));
	slot->head_of_req.type = type;
	slot->req_len = size - TAIL_SIZE;
	slot->answer_len = TAIL_SIZE;
}

static unsigned int replay_endpoints(struct vx *vx)
{
	struct mirror_endpoint *endpoint;
	unsigned int count = 0;
	unsigned int i;

	while (count < vx->nslots && (endpoint = mirror_dead_endpoint(&vx->mirror))) {
		struct vx_slot *slot = &vx->slots[count++];

		replay_slot(slot, VIRTIO_IOMMU_T_ATTACH, sizeof(slot->attach));
		slot->attach.domain = cpu_to_le32(endpoint->vdomain->id);
		slot->attach.endpoint = cpu_to_le32(endpoint->id);
		slot->attach.flags = cpu_to_le32(endpoint->vdomain->attach_flags);
		endpoint->live = true;
	}
	slots_send(vx, count);
	for (i = 0; i < count; i++) {
		struct vx_slot *slot = &vx->slots[i];

		if (!slot->done || !slot->status)
			continue;
		dev_err(&vx->xdev->dev, "the new backend refuses endpoint %#x with status %u\n",
			le32_to_cpu(slot->attach.endpoint), slot->status);
		mirror_drop_endpoint(&vx->mirror, le32_to_cpu(slot->attach.endpoint));
	}
	return count;
}

static unsigned int replay_mappings(struct vx *vx)
{
	struct mirror_vdomain *vdomain;
	struct mirror_mapping *mapping;
	unsigned int count = 0;
	unsigned int i;

	while (count < vx->nslots &&
	       (mapping = mirror_dead_mapping(&vx->mirror, &vdomain))) {
		struct vx_slot *slot = &vx->slots[count++];

		replay_slot(slot, VIRTIO_IOMMU_T_MAP, sizeof(slot->map));
		slot->map.domain = cpu_to_le32(vdomain->id);
		slot->map.virt_start = cpu_to_le64(mapping->first);
		slot->map.virt_end = cpu_to_le64(mapping->last);
		slot->map.phys_start = cpu_to_le64(mapping->phys);
		slot->map.flags = cpu_to_le32(mapping->flags);
		slot->mapping = mapping;
		slot->vdomain = vdomain;
		mirror_mapping_live(vdomain, mapping);
	}
	slots_send(vx, count);
	for (i = 0; i < count; i++) {
		struct vx_slot *slot = &vx->slots[i];

		if (!slot->done || !slot->status)
			continue;
		complain(vx, slot);
		mirror_drop_mapping(&vx->mirror, slot->vdomain, slot->mapping);
	}
	return count;
}

/*
 * The device runs. A new backend has to know all vdomains before it sees the
 * next request of the driver: it would refuse that one, and an UNMAP that was
 * refused for this reason only would leave a mapping here that the driver has
 * given up, to be told to the backend later.
 */
void vx_relay_start(struct vx *vx)
{
	unsigned long flags;

	spin_lock_irqsave(&vx->relay_lock, flags);
	vx->started = vx->conn == VX_CONN_UP;
	while (vx->started && replay_endpoints(vx))
		;
	spin_unlock_irqrestore(&vx->relay_lock, flags);
}

/*
 * Tells a new backend the next lot of the mappings that the mirror knows. False
 * when there is nothing left. The driver's requests come in between: that is no
 * harm, because nothing is told that has ended meanwhile.
 */
bool vx_replay(struct vx *vx)
{
	unsigned long flags;
	bool more = false;

	spin_lock_irqsave(&vx->relay_lock, flags);
	if (vx->conn == VX_CONN_UP && vx->started)
		more = replay_mappings(vx);
	spin_unlock_irqrestore(&vx->relay_lock, flags);
	return more;
}

/* ---- events ------------------------------------------------------------------ */

/* Hands one report to the driver. False when it has no buffer there. */
static bool event_deliver(struct vx *vx, const void *report)
{
	struct virtqueue *vq = vx->vqs[VX_EVENT_QUEUE];
	struct private_desc desc;
	u16 head;

	if (vx->events_seen == private_avail(vq))
		return false;
	head = private_head(vq, vx->events_seen++);
	desc = private_desc(vq, head);
	if (desc.flags != VRING_DESC_F_WRITE || desc.len < EVENT_SIZE) {
		private_used(vq, head, 0);
		return true;
	}
	memcpy(desc.va, report, EVENT_SIZE);
	private_used(vq, head, EVENT_SIZE);
	return true;
}

/*
 * Moves reports as far as there are some and room for them, at most a ring full
 * of them: a backend that never stops must not hold the CPU. True if any was.
 */
bool vx_relay_events(struct vx *vx)
{
	struct vx_shadow *shadow = &vx->events;
	unsigned int budget = shadow->size;
	u8 report[EVENT_SIZE];
	bool moved = false;
	unsigned long flags;

	spin_lock_irqsave(&vx->event_lock, flags);
	while (shadow->used && vx->vqs[VX_EVENT_QUEUE] && budget--) {
		u16 waiting = le16_to_cpu(READ_ONCE(shadow->used->idx)) - shadow->used_idx;
		struct vx_used_elem *elem;
		u32 id;

		/* More than there are buffers: nothing of it is believed. */
		if (!waiting || waiting > shadow->size)
			break;
		virt_rmb(); /* the index before what it covers */
		elem = &shadow->used->ring[shadow->used_idx & (shadow->size - 1)];
		id = le32_to_cpu(READ_ONCE(elem->id));
		/* Of a backend that cheats only its own reports suffer. */
		if (id < shadow->size && le32_to_cpu(READ_ONCE(elem->len)) == EVENT_SIZE) {
			memcpy(report, shadow->pool.va + id * EVENT_PLACE, EVENT_SIZE);
			if (!event_deliver(vx, report)) {
				vx_kick_work(vx, 100);
				break;
			}
			moved = true;
		}
		shadow->used_idx++;
		if (id < shadow->size)
			shadow_post(shadow, id);
	}
	if (moved) {
		shadow_publish(shadow);
		shadow_kick(shadow);
	}
	spin_unlock_irqrestore(&vx->event_lock, flags);
	return moved;
}

irqreturn_t vx_event_interrupt(int irq, void *data)
{
	struct vx *vx = data;
	unsigned int rounds = 0;

	while (rounds < EVENT_ROUNDS && vx_relay_events(vx)) {
		rounds++;
		vring_interrupt(irq, vx->vqs[VX_EVENT_QUEUE]);
	}
	if (rounds == EVENT_ROUNDS)
		vx_kick_work(vx, 10);
	if (irq)
		xen_irq_lateeoi(irq, rounds ? 0 : XEN_EOI_FLAG_SPURIOUS);
	return IRQ_HANDLED;
}
