// SPDX-License-Identifier: GPL-2.0
/*
 * One connection to the backend: the handshake in xenstore, then the control
 * page. Everything here may sleep, and none of it runs in the xenwatch thread
 * except the end of a device that is being removed, so the backend's state is
 * read, never waited for alone.
 */
#include <linux/kernel.h>
#include <linux/slab.h>
#include <xen/events.h>

#include "vx.h"

/* Any of these states; a directory that is gone reads as XenbusStateUnknown. */
#define STATES_GONE	(BIT(XenbusStateUnknown) | BIT(XenbusStateClosed))
#define STATES_OVER	(STATES_GONE | BIT(XenbusStateClosing))
/* For a backend that is there; one that is not says so when it comes. */
#define RECONNECT_MS	1000
#define ACK_STATUS	1
#define ACK_BYPASS	2
#define ACK_MAP		3

/* ---- xenstore ------------------------------------------------------------------- */

static enum xenbus_state wait_backend(struct vx *vx, unsigned long states,
				      unsigned int ms)
{
	unsigned long end = jiffies + msecs_to_jiffies(ms);
	enum xenbus_state state;

	for (;;) {
		int seen = atomic_read(&vx->backend_events);

		state = xenbus_read_driver_state(vx->xdev->otherend);
		if (state > XenbusStateClosed)
			state = XenbusStateUnknown;
		if (states & BIT(state) || time_after(jiffies, end))
			return state;
		/* Woken by the watch; the time limit serves xenwatch itself. */
		wait_event_timeout(vx->wait,
				   atomic_read(&vx->backend_events) != seen,
				   msecs_to_jiffies(100));
	}
}

static int read_number(struct vx *vx, const char *node, u64 *number)
{
	char *text = xenbus_read(XBT_NIL, vx->xdev->otherend, node, NULL);
	int err;

	if (IS_ERR(text))
		return PTR_ERR(text);
	err = kstrtou64(text, 0, number);
	kfree(text);
	return err;
}

static void read_limit(char *pair, const char *key, unsigned int max,
		       unsigned int *limit)
{
	size_t len = strlen(key);
	unsigned int value;

	if (!strncmp(pair, key, len) && pair[len] == '=' &&
	    !kstrtouint(pair + len + 1, 0, &value) && value)
		*limit = min(value, max);
}

/* What the backend offers, with every number bounded. */
int vx_read_offer(struct vx *vx)
{
	struct device *dev = &vx->xdev->dev;
	char *limits;
	char *rest;
	char *pair;
	u64 version;
	int err;

	err = read_number(vx, "viommu-version", &version);
	if (!err && version != VX_VERSION)
		err = -EPROTONOSUPPORT;
	if (err) {
		dev_err(dev, "the backend speaks no protocol version that is known here\n");
		return err;
	}
	err = read_number(vx, "viommu-features", &vx->features);
	if (err) {
		dev_err(dev, "the backend offers no features\n");
		return err;
	}
	limits = xenbus_read(XBT_NIL, vx->xdev->otherend, "viommu-limits", NULL);
	if (IS_ERR(limits)) {
		dev_err(dev, "the backend names no limits\n");
		return PTR_ERR(limits);
	}
	vx->max_queue = 0;
	vx->max_map_pages = 0;
	vx->max_grant_pages = 0;
	rest = limits;
	while ((pair = strsep(&rest, " "))) {
		read_limit(pair, "queue-size", SZ_32K, &vx->max_queue);
		read_limit(pair, "map-pages", SZ_64K, &vx->max_map_pages);
		read_limit(pair, "grant-pages", INT_MAX, &vx->max_grant_pages);
	}
	kfree(limits);
	if (vx->max_queue < 2) {
		dev_err(dev, "the backend allows no queue of 2 entries\n");
		return -EINVAL;
	}
	vx->max_queue = rounddown_pow_of_two(vx->max_queue);
	return 0;
}

static void say_refused(struct vx *vx)
{
	char *why = xenbus_read(XBT_NIL, vx->xdev->otherend, "error", NULL);

	dev_err(&vx->xdev->dev, "the backend refuses the connection: %.200s\n",
		IS_ERR(why) ? "it gives no reason" : why);
	if (!IS_ERR(why))
		kfree(why);
}

static int write_queue(struct vx *vx, const char *node, struct vx_shadow *shadow)
{
	u64 driver = vx_area_addr(&shadow->area, XEN_PAGE_SIZE);

	return xenbus_printf(XBT_NIL, vx->xdev->nodename, node,
			     "size=%u desc=0x%llx driver=0x%llx device=0x%llx port=%u",
			     shadow->size, vx_area_addr(&shadow->area, 0), driver,
			     driver + XEN_PAGE_SIZE / 4, shadow->port.port);
}

static int write_nodes(struct vx *vx)
{
	const char *dir = vx->xdev->nodename;
	int err;

	err = xenbus_printf(XBT_NIL, dir, "viommu-version", "%u", VX_VERSION);
	if (!err)
		err = xenbus_printf(XBT_NIL, dir, "viommu-features", "0x%llx",
				    vx->negotiated);
	if (!err)
		err = xenbus_printf(XBT_NIL, dir, "viommu-control", "ref=%u port=%u",
				    vx->control_area.ref, vx->control_port.port);
	if (!err)
		err = write_queue(vx, "viommu-queue-0", &vx->requests);
	if (!err)
		err = write_queue(vx, "viommu-queue-1", &vx->events);
	return err;
}

/* ---- event channels --------------------------------------------------------------- */

bool vx_needs_reset(struct vx *vx)
{
	return le32_to_cpu(READ_ONCE(vx->control->device_status)) &
	       VIRTIO_CONFIG_S_NEEDS_RESET;
}

static irqreturn_t control_interrupt(int irq, void *data)
{
	struct vx *vx = data;
	u32 generation = le32_to_cpu(READ_ONCE(vx->control->config_generation));

	wake_up_all(&vx->wait);
	if (vx_needs_reset(vx) || generation != vx->config_seen)
		vx_kick_work(vx, 0);
	xen_irq_lateeoi(irq, 0);
	return IRQ_HANDLED;
}

/* The port of the request queue is only ever polled. */
static irqreturn_t request_interrupt(int irq, void *data)
{
	return IRQ_HANDLED;
}

static int port_open(struct vx *vx, struct vx_port *port, irq_handler_t handler,
		     const char *name)
{
	int err = xenbus_alloc_evtchn(vx->xdev, &port->port);

	if (err)
		return err;
	if (handler == request_interrupt)
		err = bind_evtchn_to_irqhandler(port->port, handler, 0, name, vx);
	else
		err = bind_evtchn_to_irqhandler_lateeoi(port->port, handler, 0,
							name, vx);
	if (err < 0) {
		xenbus_free_evtchn(vx->xdev, port->port);
		return err;
	}
	port->irq = err;
	if (handler == request_interrupt)
		disable_irq(port->irq);
	return 0;
}

static void port_close(struct vx *vx, struct vx_port *port)
{
	if (port->irq)
		unbind_from_irqhandler(port->irq, vx);
	port->irq = 0;
}

/* ---- the control page --------------------------------------------------------------- */

static bool acked(struct vx *vx, unsigned int which)
{
	struct vx_control *control = vx->control;

	switch (which) {
	case ACK_STATUS:
		return READ_ONCE(control->status_ack) == control->status_seq;
	case ACK_BYPASS:
		return READ_ONCE(control->bypass_ack) == control->bypass_seq;
	default:
		return READ_ONCE(control->map_answered) == control->map_generation;
	}
}

static int control_wait(struct vx *vx, unsigned int which)
{
	notify_remote_via_irq(vx->control_port.irq);
	if (wait_event_timeout(vx->wait, acked(vx, which),
			       msecs_to_jiffies(vx_timeout_ms()))) {
		virt_rmb(); /* the acknowledgement before what it answers */
		return 0;
	}
	return -ETIMEDOUT;
}

static void lose(struct vx *vx, const char *why)
{
	unsigned long flags;

	spin_lock_irqsave(&vx->relay_lock, flags);
	vx_lose(vx, why);
	spin_unlock_irqrestore(&vx->relay_lock, flags);
}

int vx_set_driver_status(struct vx *vx, u8 status)
{
	struct vx_control *control = vx->control;
	u32 accepted;

	WRITE_ONCE(control->driver_status, cpu_to_le32(status));
	virt_wmb(); /* the value before its sequence word */
	WRITE_ONCE(control->status_seq,
		   cpu_to_le32(le32_to_cpu(control->status_seq) + 1));
	if (control_wait(vx, ACK_STATUS)) {
		lose(vx, "it has not taken the device status");
		return -ETIMEDOUT;
	}
	accepted = le32_to_cpu(READ_ONCE(control->device_status));
	if ((accepted & status) != status && !(status & VIRTIO_CONFIG_S_FAILED)) {
		dev_err(&vx->xdev->dev, "the backend takes status %#x as %#x\n",
			status, accepted);
		lose(vx, "it has refused the device status");
		return -EPROTO;
	}
	return 0;
}

int vx_set_bypass(struct vx *vx, u8 bypass)
{
	struct vx_control *control = vx->control;

	if (vx->conn != VX_CONN_UP)
		return -ENODEV;
	WRITE_ONCE(control->bypass, cpu_to_le32(bypass));
	virt_wmb(); /* the value before its sequence word */
	WRITE_ONCE(control->bypass_seq,
		   cpu_to_le32(le32_to_cpu(control->bypass_seq) + 1));
	if (control_wait(vx, ACK_BYPASS)) {
		lose(vx, "it has not taken the bypass byte");
		return -ETIMEDOUT;
	}
	if (READ_ONCE(control->bypass_verdict)) {
		dev_err(&vx->xdev->dev, "the backend refuses bypass %u\n", bypass);
		return -EINVAL;
	}
	return 0;
}

/* 0, or -EPROTO with the verdict said. Before state 3 nobody is there to wait for. */
int vx_offer_map(struct vx *vx, u32 ref, bool wait)
{
	struct vx_control *control = vx->control;
	u32 verdict;

	if (!wait) {
		WRITE_ONCE(control->map_ref, cpu_to_le32(ref));
		virt_wmb(); /* the value before its sequence word */
		WRITE_ONCE(control->map_generation, cpu_to_le32(1));
		return 0;
	}
	if (!acked(vx, ACK_MAP) && control_wait(vx, ACK_MAP))
		return -ETIMEDOUT;
	verdict = le32_to_cpu(READ_ONCE(control->map_verdict));
	if (!verdict)
		return 0;
	dev_err(&vx->xdev->dev, "the backend refuses the grant map (verdict %u)\n",
		verdict);
	return -EPROTO;
}

/* Copied once; a new connection must look like the old one to the driver. */
static int read_config(struct vx *vx)
{
	const size_t bypass = offsetof(struct virtio_iommu_config, bypass);
	struct virtio_iommu_config config;
	u32 probe;

	vx->config_seen = le32_to_cpu(READ_ONCE(vx->control->config_generation));
	virt_rmb(); /* the generation before the bytes */
	memcpy(&config, vx->control->config, sizeof(config));
	probe = le32_to_cpu(config.probe_size);
	if (probe > VX_PROBE_MAX - sizeof(struct virtio_iommu_req_tail)) {
		dev_err(&vx->xdev->dev, "the backend asks for %u bytes of probe buffer\n",
			probe);
		return -EPROTO;
	}
	if (vx->config_known && memcmp(&config, vx->config, bypass)) {
		dev_err(&vx->xdev->dev, "the new backend is not like the old one: unbind and bind the driver\n");
		return -EPROTO;
	}
	memcpy(vx->config, &config, VX_CONFIG_SIZE);
	vx->config_known = true;
	vx->probe_len = probe + sizeof(struct virtio_iommu_req_tail);
	return vx_area_alloc(vx, &vx->probe_area, vx->probe_len);
}

/* ---- the connection ------------------------------------------------------------------ */

static int connection_open(struct vx *vx)
{
	unsigned int size[VX_QUEUES] = {
		min_t(unsigned int, vx->max_queue, VX_MAX_REQUESTS),
		min_t(unsigned int, vx->max_queue, VX_MAX_EVENTS),
	};
	int err;

	if (size[VX_REQUEST_QUEUE] / 2 < vx->nslots)
		return -EINVAL;
	err = vx_area_alloc(vx, &vx->control_area, XEN_PAGE_SIZE);
	if (err)
		return err;
	BUILD_BUG_ON(offsetof(struct vx_control, backend_magic) != 0x100);
	BUILD_BUG_ON(offsetof(struct vx_control, config) != 0x140);
	vx->control = vx->control_area.va;
	vx->control->magic = cpu_to_le32(VX_MAGIC);
	vx->control->version = cpu_to_le32(VX_VERSION);
	err = vx_shadow_init(vx, &vx->requests, size[VX_REQUEST_QUEUE]);
	if (!err)
		err = vx_area_alloc(vx, &vx->requests.pool, vx->nslots * 128);
	if (!err)
		err = vx_shadow_init(vx, &vx->events, size[VX_EVENT_QUEUE]);
	if (!err)
		err = vx_area_alloc(vx, &vx->events.pool, XEN_PAGE_SIZE);
	if (!err)
		err = port_open(vx, &vx->control_port, control_interrupt,
				"viommu-control");
	if (!err)
		err = port_open(vx, &vx->requests.port, request_interrupt,
				"viommu-requests");
	if (!err)
		err = port_open(vx, &vx->events.port, vx_event_interrupt,
				"viommu-events");
	if (!err)
		vx_rings_clear(vx);
	return err;
}

/* Starting over, from whatever was there before: protocol, section 3. */
static int wait_ready(struct vx *vx, unsigned int ms)
{
	enum xenbus_state state;

	xenbus_switch_state(vx->xdev, XenbusStateInitialising);
	state = wait_backend(vx, BIT(XenbusStateInitWait), ms);
	return state == XenbusStateInitWait ? 0 : -EAGAIN;
}

static int handshake(struct vx *vx)
{
	enum xenbus_state state;
	int err;

	err = write_nodes(vx);
	if (!err)
		err = xenbus_switch_state(vx->xdev, XenbusStateInitialised);
	if (err)
		return err;
	state = wait_backend(vx, BIT(XenbusStateConnected) | STATES_OVER,
			     VX_HANDSHAKE_MS);
	if (state != XenbusStateConnected) {
		if (BIT(state) & STATES_OVER)
			say_refused(vx);
		else
			dev_err(&vx->xdev->dev, "the backend has not answered in time (state %d)\n",
				state);
		return -ENODEV;
	}
	if (READ_ONCE(vx->control->backend_magic) != cpu_to_le32(VX_MAGIC) ||
	    READ_ONCE(vx->control->backend_version) != cpu_to_le32(VX_VERSION)) {
		dev_err(&vx->xdev->dev, "the backend has not filled in its half of the control page\n");
		return -EPROTO;
	}
	err = vx_static_grants ? vx_offer_map(vx, 0, true) : 0;
	if (!err)
		err = read_config(vx);
	if (err)
		return err;
	return xenbus_switch_state(vx->xdev, XenbusStateConnected);
}

/* A refused setup must fail here, inside find_vqs: set_status could not say so. */
int vx_connect(struct vx *vx)
{
	const u8 status = vx->status & (VIRTIO_CONFIG_S_ACKNOWLEDGE |
					VIRTIO_CONFIG_S_DRIVER |
					VIRTIO_CONFIG_S_FEATURES_OK);
	unsigned long flags;
	int err;

	lockdep_assert_held(&vx->conn_mutex);
	if (vx->removing)
		return -ENODEV;
	err = wait_ready(vx, vx->reconnecting ? RECONNECT_MS : VX_HANDSHAKE_MS);
	if (err) {
		if (!vx->reconnecting)
			dev_err(&vx->xdev->dev, "the backend is not ready\n");
		return err;
	}
	err = vx_read_offer(vx);
	if (!err && (vx->negotiated & ~vx->features)) {
		dev_err(&vx->xdev->dev, "the backend does not offer %#llx any more\n",
			vx->negotiated & ~vx->features);
		err = -EPROTO;
	}
	if (!err)
		err = connection_open(vx);
	if (!err && vx_static_grants)
		err = vx_static_publish(vx);
	if (!err)
		err = handshake(vx);
	vx_static_directory_free(vx);
	if (err)
		return err;
	spin_lock_irqsave(&vx->relay_lock, flags);
	vx->conn = VX_CONN_UP;
	spin_unlock_irqrestore(&vx->relay_lock, flags);
	return vx_set_driver_status(vx, status);
}

/* After this the backend has nothing of ours, or what it has is quarantined. */
void vx_disconnect(struct vx *vx, bool final)
{
	const bool open = vx->control_area.va;
	unsigned long flags;

	lockdep_assert_held(&vx->conn_mutex);
	spin_lock_irqsave(&vx->relay_lock, flags);
	vx->conn = final ? VX_CONN_NONE : VX_CONN_LOST;
	vx->started = false;
	spin_unlock_irqrestore(&vx->relay_lock, flags);
	if (open) {
		xenbus_switch_state(vx->xdev, XenbusStateClosing);
		wait_backend(vx, STATES_GONE | BIT(XenbusStateInitWait), 5000);
	}
	port_close(vx, &vx->events.port);
	port_close(vx, &vx->requests.port);
	port_close(vx, &vx->control_port);
	spin_lock_irqsave(&vx->event_lock, flags);
	vx->events.used = NULL;
	spin_unlock_irqrestore(&vx->event_lock, flags);
	vx_area_free(&vx->probe_area);
	vx_area_free(&vx->events.pool);
	vx_area_free(&vx->events.area);
	vx_area_free(&vx->requests.pool);
	vx_area_free(&vx->requests.area);
	vx_area_free(&vx->control_area);
	vx->control = NULL;
	/* One that waits to start over must stay in state 1. */
	if (open || final)
		xenbus_switch_state(vx->xdev, XenbusStateClosed);
	/* The map does not change: a new connection offers the same again. */
	if (final) {
		vx_static_free(vx);
		vx->config_known = false;
	}
}

/* The driver never learns of it: its queues and what it mapped stay. */
int vx_reconnect(struct vx *vx)
{
	const u8 status = vx->status;
	unsigned long flags;
	int err;

	lockdep_assert_held(&vx->conn_mutex);
	vx_disconnect(vx, false);
	vx->reconnecting = true;
	err = vx_connect(vx);
	vx->reconnecting = false;
	if (!err && status & VIRTIO_CONFIG_S_DRIVER_OK) {
		spin_lock_irqsave(&vx->relay_lock, flags);
		mirror_forget(&vx->mirror);
		spin_unlock_irqrestore(&vx->relay_lock, flags);
		err = vx_set_driver_status(vx, status);
	}
	if (err) {
		vx_disconnect(vx, false);
		return err;
	}
	if (status & VIRTIO_CONFIG_S_DRIVER_OK)
		vx_relay_start(vx);
	/* Lost again meanwhile: that has been said, and another try is on its way. */
	if (vx->conn != VX_CONN_UP)
		return 0;
	dev_info(&vx->xdev->dev, "the backend is back\n");
	return 0;
}
