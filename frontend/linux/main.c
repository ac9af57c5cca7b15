// SPDX-License-Identifier: GPL-2.0
/*
 * virtio_xenbus: virtio over xenbus, for the kernel's own virtio_iommu driver
 * in a Xen guest. This file: the module, the xenbus driver, and the one work
 * item in which everything that waits is done.
 */
#include <linux/dma-map-ops.h>
#include <linux/interrupt.h>
#include <linux/module.h>
#include <linux/pm_domain.h>
#include <linux/slab.h>
#include <xen/platform_pci.h>
#include <uapi/linux/virtio_ids.h>

#include "compat.h"
#include "vx.h"

#define RETRY_MS	5000

static char *grants = "on-demand";
module_param(grants, charp, 0444);
MODULE_PARM_DESC(grants, "on-demand (default): grant what is mapped; static: grant all memory once");

static unsigned int timeout = 10;
module_param(timeout, uint, 0644);
MODULE_PARM_DESC(timeout, "seconds to wait for the backend's answer to a request (1 to 120, default 10)");

bool vx_static_grants;

unsigned int vx_timeout_ms(void)
{
	return clamp(READ_ONCE(timeout), 1U, 120U) * 1000;
}

void vx_kick_work(struct vx *vx, unsigned int delay_ms)
{
	/* A wish for sooner wins; one for later never puts off what is due. */
	if (READ_ONCE(vx->removing))
		return;
	if (delay_ms)
		queue_delayed_work(system_long_wq, &vx->work, msecs_to_jiffies(delay_ms));
	else
		mod_delayed_work(system_long_wq, &vx->work, 0);
}

/* ---- suspend ---------------------------------------------------------------------- */

/* Asked before anything is suspended, unlike a xenbus driver's own callback. */
static int vx_pm_prepare(struct device *dev)
{
	dev_err(dev, "suspend and migration are refused: pages are granted to another domain; unload virtio_xenbus first\n");
	return -EBUSY;
}

static struct dev_pm_domain vx_pm_domain = {
	.ops = {
		.prepare = vx_pm_prepare,
	},
};

/* ---- the virtio device --------------------------------------------------------------- */

static void virtio_release(struct device *dev)
{
	kfree(container_of(dev_to_virtio(dev), struct vx_virtio, vdev));
}

static int virtio_notify(struct notifier_block *nb, unsigned long action, void *data)
{
	struct vx *vx = container_of(nb, struct vx, virtio_nb);

	if (!vx->virtio || data != &vx->virtio->vdev.dev)
		return NOTIFY_DONE;
	if (action == BUS_NOTIFY_BOUND_DRIVER)
		vx_kick_work(vx, 0);
	else if (action == BUS_NOTIFY_UNBIND_DRIVER)
		vx_endpoints_remove(vx);
	return NOTIFY_DONE;
}

static int virtio_register(struct vx *vx)
{
	struct vx_virtio *virtio = kzalloc(sizeof(*virtio), GFP_KERNEL);
	int err;

	if (!virtio)
		return -ENOMEM;
	virtio->vx = vx;
	virtio->vdev.id.device = VIRTIO_ID_IOMMU;
	virtio->vdev.id.vendor = VIRTIO_DEV_ANY_ID;
	virtio->vdev.config = &vx_config_ops;
	virtio->vdev.dev.parent = &vx->xdev->dev;
	virtio->vdev.dev.release = virtio_release;
	vx->virtio = virtio;
	err = register_virtio_device(&virtio->vdev);
	if (err) {
		vx->virtio = NULL;
		put_device(&virtio->vdev.dev);
		return err;
	}
	vx->virtio_nb.notifier_call = virtio_notify;
	vx->bus_watched = !bus_register_notifier(virtio->vdev.dev.bus, &vx->virtio_nb);
	return 0;
}

static void virtio_unregister(struct vx *vx)
{
	struct vx_virtio *virtio = vx->virtio;

	vx_endpoints_remove(vx);
	if (!virtio)
		return;
	if (vx->bus_watched)
		bus_unregister_notifier(virtio->vdev.dev.bus, &vx->virtio_nb);
	vx->bus_watched = false;
	unregister_virtio_device(&virtio->vdev);
	vx->virtio = NULL;
}

/*
 * Once the driver is fully bound: one that is still in its probe, or on its
 * way out, holds the device's lock.
 */
static void allow_endpoints(struct vx *vx)
{
	struct device *dev = &vx->virtio->vdev.dev;

	/* An identity domain that cannot be made is a WARNING of the IOMMU core. */
	if (vx->identity_refused)
		return;
	device_lock(dev);
	if (dev->driver) {
		mutex_lock(&vx->endpoints_mutex);
		vx->endpoints_allowed = true;
		mutex_unlock(&vx->endpoints_mutex);
	}
	device_unlock(dev);
}

/* ---- the work item --------------------------------------------------------------------- */

static bool backend_offline(struct vx *vx)
{
	return !xenbus_read_unsigned(vx->xdev->otherend, "online", 1);
}

/* First start: what the backend offers, then the virtio device. */
static void start(struct vx *vx)
{
	enum xenbus_state state = xenbus_read_driver_state(vx->xdev->otherend);
	int err;

	if (state != XenbusStateInitWait)
		return;
	err = vx_read_offer(vx);
	if (!err && vx_static_grants)
		err = vx_static_possible(vx);
	vx->identity_refused = !vx_static_grants && iommu_default_passthrough();
	if (!err && vx->identity_refused)
		dev_err(&vx->xdev->dev,
			"identity (passthrough) domains are refused with grants=on-demand: boot with iommu.passthrough=0, or use grants=static\n");
	if (!err)
		err = virtio_register(vx);
	if (err) {
		xenbus_dev_error(vx->xdev, err, "the device cannot be started");
		/* Nothing that time would change: until the module is loaded anew. */
		vx->removing = true;
		/* xenbus would have the loading of the module wait for us. */
		xenbus_switch_state(vx->xdev, XenbusStateClosed);
	}
}

static void check_events(struct vx *vx)
{
	if (!vx->events.port.irq)
		return;
	disable_irq(vx->events.port.irq);
	local_irq_disable();
	vx_event_interrupt(0, vx);
	local_irq_enable();
	enable_irq(vx->events.port.irq);
}

/* True when the driver is to be told of new bytes. */
static bool check_config(struct vx *vx)
{
	u32 generation;

	if (vx->conn != VX_CONN_UP)
		return false;
	generation = le32_to_cpu(READ_ONCE(vx->control->config_generation));
	if (generation == vx->config_seen)
		return false;
	virt_rmb(); /* the generation before the bytes */
	memcpy(vx->config, vx->control->config, VX_CONFIG_SIZE);
	WRITE_ONCE(vx->config_seen, generation);
	return true;
}

/* Has the connection ended without the driver? Then a new one is tried. */
static void check_connection(struct vx *vx)
{
	enum xenbus_state state;
	unsigned long flags;

	if (vx->conn == VX_CONN_UP) {
		state = xenbus_read_driver_state(vx->xdev->otherend);
		spin_lock_irqsave(&vx->relay_lock, flags);
		if (state != XenbusStateConnected)
			vx_lose(vx, "it has closed the connection");
		else if (vx_needs_reset(vx))
			vx_lose(vx, "it broke a queue (DEVICE_NEEDS_RESET)");
		spin_unlock_irqrestore(&vx->relay_lock, flags);
	}
	if (vx->conn == VX_CONN_LOST && !backend_offline(vx) && vx_reconnect(vx))
		vx_kick_work(vx, RETRY_MS);
}

static void vx_work(struct work_struct *work)
{
	struct vx *vx = container_of(to_delayed_work(work), struct vx, work);
	bool changed = false;

	if (READ_ONCE(vx->removing))
		return;
	if (!vx->virtio) {
		start(vx);
		if (!vx->virtio)
			return;
	}
	if (backend_offline(vx)) {
		/* The toolstack takes the device away. */
		virtio_unregister(vx);
		xenbus_switch_state(vx->xdev, XenbusStateClosed);
		return;
	}
	mutex_lock(&vx->conn_mutex);
	if (vx->vqs[VX_REQUEST_QUEUE]) {
		check_connection(vx);
		changed = check_config(vx);
		check_events(vx);
	}
	mutex_unlock(&vx->conn_mutex);
	if (changed)
		virtio_config_changed(&vx->virtio->vdev);
	while (!READ_ONCE(vx->removing) && vx_replay(vx))
		cond_resched();
	allow_endpoints(vx);
	vx_endpoints_update(vx);
}

/* ---- xenbus ------------------------------------------------------------------------------ */

static void endpoints_changed(struct xenbus_watch *watch, const char *path,
			      const char *token)
{
	vx_kick_work(container_of(watch, struct vx, endpoints_watch), 0);
}

/* In the xenwatch thread: only says that there is something to do. */
static void vx_backend_changed(struct xenbus_device *xdev, enum xenbus_state state)
{
	struct vx *vx = dev_get_drvdata(&xdev->dev);

	if (!vx)
		return;
	atomic_inc(&vx->backend_events);
	wake_up_all(&vx->wait);
	vx_kick_work(vx, 0);
}

static int check_type(struct xenbus_device *xdev)
{
	char *type = xenbus_read(XBT_NIL, xdev->otherend, "type", NULL);
	int err = 0;

	if (IS_ERR(type))
		return PTR_ERR(type);
	/* 0x17 is 23, a virtio-iommu; a base means that libxl set up virtio-mmio. */
	if (strcmp(type, "virtio,device17") ||
	    xenbus_read_unsigned(xdev->otherend, "base", 0))
		err = -ENODEV;
	kfree(type);
	return err;
}

static int watch_endpoints(struct vx *vx)
{
	int err;

	vx->endpoints_watch.callback = endpoints_changed;
	vx->endpoints_watch.node = kasprintf(GFP_KERNEL, "%s/viommu-endpoints",
					     vx->xdev->otherend);
	if (!vx->endpoints_watch.node)
		return -ENOMEM;
	err = register_xenbus_watch(&vx->endpoints_watch);
	vx->watch_set = !err;
	return err;
}

static void vx_init(struct vx *vx)
{
	INIT_DELAYED_WORK(&vx->work, vx_work);
	init_waitqueue_head(&vx->wait);
	mutex_init(&vx->conn_mutex);
	spin_lock_init(&vx->relay_lock);
	spin_lock_init(&vx->event_lock);
	hash_init(vx->prepared);
	mirror_init(&vx->mirror, vx_mapping_release);
	INIT_LIST_HEAD(&vx->runs);
	INIT_LIST_HEAD(&vx->stale_runs);
	mutex_init(&vx->endpoints_mutex);
	spin_lock_init(&vx->endpoints_lock);
	INIT_LIST_HEAD(&vx->endpoints);
}

static void vx_free(struct vx *vx)
{
	struct xenbus_device *xdev = vx->xdev;

	if (vx->watch_set)
		unregister_xenbus_watch(&vx->endpoints_watch);
	kfree(vx->endpoints_watch.node);
	WRITE_ONCE(vx->removing, true);
	cancel_delayed_work_sync(&vx->work);
	virtio_unregister(vx);
	cancel_delayed_work_sync(&vx->work);
	vx_static_forget(vx);
	if (vx->node_added)
		device_remove_software_node(&xdev->dev);
	kfree(vx->node.name);
	/* dev_pm_domain_set() wants a device without a driver. */
	xdev->dev.pm_domain = NULL;
	dev_set_drvdata(&xdev->dev, NULL);
	set_dma_ops(&xdev->dev, NULL);
	xdev->dev.dma_mask = NULL;
	kfree(vx);
}

static int vx_probe(struct xenbus_device *xdev, const struct xenbus_device_id *id)
{
	struct vx *vx;
	int err = check_type(xdev);

	if (err)
		return err;
	vx = kzalloc(sizeof(*vx), GFP_KERNEL);
	if (!vx)
		return -ENOMEM;
	vx->xdev = xdev;
	vx_init(vx);
	dev_set_drvdata(&xdev->dev, vx);
	vx_set_dma_ops(vx);
	/* How the IOMMU core finds the IOMMU of an endpoint: by firmware node. */
	vx->node.name = kasprintf(GFP_KERNEL, "%s-%s", KBUILD_MODNAME, dev_name(&xdev->dev));
	if (!vx->node.name) {
		err = -ENOMEM;
		goto fail;
	}
	err = device_add_software_node(&xdev->dev, &vx->node);
	if (err)
		goto fail;
	vx->node_added = true;
	err = vx_endpoints_init(vx);
	if (err)
		goto fail;
	err = watch_endpoints(vx);
	if (err) {
		vx_endpoints_exit(vx);
		goto fail;
	}
	dev_pm_domain_set(&xdev->dev, &vx_pm_domain);
	/* Also over whatever a kernel before us has left there. */
	xenbus_printf(XBT_NIL, xdev->nodename, "state", "%d", XenbusStateInitialising);
	xdev->state = XenbusStateInitialising;
	vx_kick_work(vx, 0);
	return 0;
fail:
	vx_free(vx);
	return err;
}

static void vx_remove(struct xenbus_device *xdev)
{
	struct vx *vx = dev_get_drvdata(&xdev->dev);

	vx_endpoints_exit(vx);
	vx_free(vx);
}

static const struct xenbus_device_id vx_ids[] = {
	{ "virtio" },
	{ "" }
};
MODULE_ALIAS("xen:virtio");

static struct xenbus_driver vx_driver = {
	.name = KBUILD_MODNAME,
	.ids = vx_ids,
	.probe = vx_probe,
	.remove = vx_remove,
	.otherend_changed = vx_backend_changed,
	/* Booting must not wait for a backend that may never come. */
	.not_essential = true,
};

static int __init vx_module_init(void)
{
	if (!xen_domain())
		return -ENODEV;
	if (!strcmp(grants, "static")) {
		vx_static_grants = true;
	} else if (strcmp(grants, "on-demand")) {
		pr_err("virtio_xenbus: grants=%s is neither on-demand nor static\n", grants);
		return -EINVAL;
	}
	return xenbus_register_frontend(&vx_driver);
}
module_init(vx_module_init);

static void __exit vx_module_exit(void)
{
	xenbus_unregister_driver(&vx_driver);
}
module_exit(vx_module_exit);

MODULE_DESCRIPTION("virtio over xenbus, for virtio_iommu in Xen guests");
MODULE_LICENSE("GPL");
