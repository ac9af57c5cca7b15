/* SPDX-License-Identifier: GPL-2.0 */
/*
 * virtio_xenbus: what its files share. docs/protocol.md is the ABI.
 *
 *   main.c       module, xenbus driver, the one work item that does all waiting
 *   transport.c  virtio_config_ops and the DMA operations of the private rings
 *   connect.c    xenstore handshake, control page
 *   relay.c      private rings <-> shadow rings, requests, events, replay
 *   mirror.c     what the device knows (also built in user space, for its test)
 *   grants.c     granted areas, grant references of mappings
 *   gmap.c       grants=static: the grant map
 *   endpoints.c  the devices behind the IOMMU
 *
 * Locks, outermost first: conn_mutex (connection set up or torn down, may
 * sleep), relay_lock (requests, mirror, conn; interrupts off), event_lock.
 */
#ifndef VX_H
#define VX_H

#include <linux/hashtable.h>
#include <linux/mutex.h>
#include <linux/notifier.h>
#include <linux/property.h>
#include <linux/spinlock.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <uapi/linux/virtio_iommu.h>
#include <xen/grant_table.h>
#include <xen/page.h>
#include <xen/xen.h>
#include <xen/xenbus.h>

#include "mirror.h"

#define VX_VERSION		1
#define VX_MAGIC		0x31495658
#define VX_QUEUES		2
#define VX_REQUEST_QUEUE	0
#define VX_EVENT_QUEUE		1
/* Both rings' sizes; a ring and its tables then fit into two pages. */
#define VX_MAX_REQUESTS		256
#define VX_MAX_EVENTS		64
#define VX_GRANT_ADDRESS	BIT_ULL(63)
/* Longest device-readable part of a request: PROBE. */
#define VX_REQ_MAX		72
#define VX_PROBE_MAX		SZ_64K
#define VX_CONFIG_SIZE		sizeof(struct virtio_iommu_config)
#define VX_HANDSHAKE_MS		30000

/* The control page, docs/protocol.md section 4. */
struct vx_control {
	__le32 magic;
	__le32 version;
	__le32 driver_status;
	__le32 status_seq;
	__le32 bypass;
	__le32 bypass_seq;
	__le32 map_ref;
	__le32 map_generation;
	u8 reserved0[0x100 - 0x20];
	/* Written by the backend. */
	__le32 backend_magic;
	__le32 backend_version;
	__le32 device_status;
	__le32 status_ack;
	__le32 bypass_ack;
	__le32 bypass_verdict;
	__le32 map_answered;
	__le32 map_verdict;
	__le32 map_in_use;
	__le32 config_generation;
	u8 reserved1[0x140 - 0x128];
	u8 config[40];
};

/* Zeroed pages of our own with consecutive references, granted writable. */
struct vx_area {
	void *va;
	unsigned int pages;
	grant_ref_t ref;
};

struct vx_port {
	evtchn_port_t port;
	int irq;
};

/* virtio 1.3, 2.7: the split ring, little-endian whatever the driver's is. */
struct vx_desc {
	__le64 addr;
	__le32 len;
	__le16 flags;
	__le16 next;
};

struct vx_avail {
	__le16 flags;
	__le16 idx;
	__le16 ring[];
};

struct vx_used_elem {
	__le32 id;
	__le32 len;
};

struct vx_used {
	__le16 flags;
	__le16 idx;
	struct vx_used_elem ring[];
};

/* One shadow ring. Everything behind the pointers is hostile to read. */
struct vx_shadow {
	struct vx_area area;
	struct vx_area pool;
	struct vx_desc *desc;
	struct vx_avail *avail;
	struct vx_used *used;
	struct vx_port port;
	unsigned int size;
	u16 avail_idx;
	u16 used_idx;
};

/* What a request was given when the driver mapped it for us. */
struct vx_prepared {
	struct hlist_node node;
	dma_addr_t addr;
	struct mirror_spare spare;
};

/* A request on its way. */
struct vx_slot {
	struct vx_prepared *prepared;
	/* Of the driver: NULL for one that replays the mirror. */
	void *answer;
	struct mirror_vdomain *vdomain;
	struct mirror_mapping *mapping;
	u32 answer_len;
	u32 req_len;
	u32 used_len;
	u16 head;
	bool done;
	u8 status;
	union {
		u8 req[VX_REQ_MAX];
		struct virtio_iommu_req_head head_of_req;
		struct virtio_iommu_req_attach attach;
		struct virtio_iommu_req_detach detach;
		struct virtio_iommu_req_map map;
		struct virtio_iommu_req_unmap unmap;
	};
};

enum vx_conn {
	VX_CONN_NONE,	/* no queues */
	VX_CONN_UP,
	VX_CONN_LOST,	/* requests are answered DEVERR */
};

struct vx;

struct vx_virtio {
	struct virtio_device vdev;
	struct vx *vx;
};

struct vx_endpoint {
	struct list_head list;
	struct platform_device *pdev;
	u32 id;
	bool translated;
	bool is_pci;
	bool seen;
	bool refused;
	bool shown;
	int segment;
	unsigned int bus;
	unsigned int devfn;
};

/* grants=static: the runs of the map, as they were granted. */
struct vx_run {
	struct list_head list;
	u64 addr;
	grant_ref_t ref;
	unsigned int pages;
};

struct vx {
	struct xenbus_device *xdev;
	struct vx_virtio *virtio;
	struct software_node node;
	u64 dma_mask;

	/* Offered by the backend. */
	u64 features;
	unsigned int max_queue;
	unsigned int max_map_pages;
	unsigned int max_grant_pages;

	struct delayed_work work;
	wait_queue_head_t wait;
	/* Counts what the backend's state did. */
	atomic_t backend_events;
	bool removing;
	bool node_added;
	bool bus_watched;
	bool watch_set;
	struct xenbus_watch endpoints_watch;
	struct notifier_block virtio_nb;

	struct mutex conn_mutex;
	struct virtqueue *vqs[VX_QUEUES];
	/* Features of the connection, and config space as it was at first. */
	u64 negotiated;
	u8 config[VX_CONFIG_SIZE];
	bool config_known;
	bool reconnecting;
	/* Virtio device status: what the driver wrote, as far as accepted. */
	u8 status;

	struct vx_area control_area;
	struct vx_control *control;
	struct vx_port control_port;
	u32 config_seen;

	spinlock_t relay_lock;
	enum vx_conn conn;
	bool started;
	struct vx_shadow requests;
	struct vx_area probe_area;
	unsigned int probe_len;
	struct vx_slot *slots;
	unsigned int nslots;
	u16 requests_seen;
	struct mirror mirror;
	DECLARE_HASHTABLE(prepared, 6);
	/* PV guest whose domains flush lazily: MAP is refused (see grants.c). */
	bool lazy_refused;
	/* Every endpoint would get an identity domain: none is shown. */
	bool identity_refused;

	spinlock_t event_lock;
	struct vx_shadow events;
	u16 events_seen;

	struct list_head runs;
	/* What the backend had not let go of when the map ended. */
	struct list_head stale_runs;
	struct vx_area *map_pages;
	unsigned int map_page_count;

	struct mutex endpoints_mutex;
	/* Both to change the list, either to read it. */
	spinlock_t endpoints_lock;
	struct list_head endpoints;
	bool endpoints_allowed;
	struct notifier_block first_nb[2];
	struct notifier_block last_nb[2];
};

unsigned int vx_timeout_ms(void);
extern bool vx_static_grants;
extern const struct virtio_config_ops vx_config_ops;

static inline struct vx *vx_of(struct virtio_device *vdev)
{
	return container_of(vdev, struct vx_virtio, vdev)->vx;
}

static inline u64 vx_area_addr(const struct vx_area *area, size_t offset)
{
	return VX_GRANT_ADDRESS + ((u64)area->ref << XEN_PAGE_SHIFT) + offset;
}

/* main.c */
void vx_kick_work(struct vx *vx, unsigned int delay_ms);

/* transport.c */
void vx_set_dma_ops(struct vx *vx);

/* connect.c: process context. 0 or a negative error, said in the log. */
int vx_read_offer(struct vx *vx);
int vx_connect(struct vx *vx);
void vx_disconnect(struct vx *vx, bool final);
int vx_set_driver_status(struct vx *vx, u8 status);
int vx_set_bypass(struct vx *vx, u8 bypass);
int vx_offer_map(struct vx *vx, u32 ref, bool wait);
/* The backend has said in xenstore or on the control page that it is gone. */
bool vx_needs_reset(struct vx *vx);
int vx_reconnect(struct vx *vx);

/* relay.c */
int vx_shadow_init(struct vx *vx, struct vx_shadow *shadow, unsigned int size);
void vx_rings_clear(struct vx *vx);
void vx_relay_start(struct vx *vx);
void vx_relay(struct vx *vx);
void vx_lose(struct vx *vx, const char *why);
bool vx_relay_requests(struct virtqueue *vq);
bool vx_relay_events(struct vx *vx);
bool vx_replay(struct vx *vx);
irqreturn_t vx_event_interrupt(int irq, void *data);
struct vx_prepared *vx_prepare(struct vx *vx, dma_addr_t addr, size_t len);
void vx_unprepare(struct vx *vx, dma_addr_t addr);
void vx_unprepare_all(struct vx *vx);

/* grants.c */
int vx_area_alloc(struct vx *vx, struct vx_area *area, size_t size);
void vx_area_free(struct vx_area *area);
int vx_mapping_reserve(struct vx *vx, struct mirror_mapping *mapping);
void vx_mapping_grant(struct vx *vx, struct mirror_mapping *mapping);
void vx_mapping_release(struct mirror *mirror, struct mirror_mapping *mapping);
void vx_quarantined(unsigned int pages, u64 phys);
unsigned int vx_refs_per_frame(void);

/* gmap.c */
int vx_static_possible(struct vx *vx);
int vx_static_publish(struct vx *vx);
void vx_static_directory_free(struct vx *vx);
void vx_static_free(struct vx *vx);
void vx_static_forget(struct vx *vx);

/* endpoints.c */
int vx_endpoints_init(struct vx *vx);
void vx_endpoints_update(struct vx *vx);
void vx_endpoints_remove(struct vx *vx);
void vx_endpoints_exit(struct vx *vx);

#endif
