// SPDX-License-Identifier: GPL-2.0
/*
 * The devices behind the IOMMU, as the backend's viommu-endpoints names them.
 * Neither ACPI nor a device tree knows them: a firmware specification is put
 * on each device before the IOMMU core looks at it, which is when the device
 * is added to its bus.
 *
 *   dma=soft        a platform device "viommu-endpoint" of our own
 *   dma=translated  the PCI device that guest=pci:... names. Only where the
 *                   backend says that an IOMMU is programmed for it: otherwise
 *                   the guest would hand IOVAs to untranslated hardware.
 */
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/property.h>
#include <linux/slab.h>

#include "compat.h"
#include "vx.h"

#define NODE	"viommu-endpoints"

static bool pci = true;
module_param(pci, bool, 0444);
MODULE_PARM_DESC(pci, "put PCI devices that the backend names behind its IOMMU (default on): it is believed that it translates their DMA");

static const struct bus_type *const buses[] = {
	&platform_bus_type,
#ifdef CONFIG_PCI
	&pci_bus_type,
#endif
};

static struct fwnode_handle *our_node(struct vx *vx)
{
	return dev_fwnode(&vx->xdev->dev);
}

static int set_fwspec(struct vx *vx, struct device *dev, u32 id)
{
	int err = vx_fwspec_init(dev, our_node(vx));

	if (!err)
		err = iommu_fwspec_add_ids(dev, &id, 1);
	if (err)
		iommu_fwspec_free(dev);
	return err;
}

static bool is_ours(struct vx *vx, struct device *dev)
{
	struct iommu_fwspec *fwspec = dev_iommu_fwspec_get(dev);

	return fwspec && fwspec->iommu_fwnode == our_node(vx);
}

/* ---- PCI -------------------------------------------------------------------------- */

#ifdef CONFIG_PCI
/* Hotplug calls this as well as we do: the mutex may or may not be held. */
static bool find_pci(struct vx *vx, struct pci_dev *pdev, u32 *id)
{
	struct vx_endpoint *endpoint;
	bool found = false;

	spin_lock(&vx->endpoints_lock);
	list_for_each_entry(endpoint, &vx->endpoints, list) {
		if (pci && endpoint->is_pci && endpoint->translated &&
		    endpoint->segment == pci_domain_nr(pdev->bus) &&
		    endpoint->bus == pdev->bus->number &&
		    endpoint->devfn == pdev->devfn) {
			*id = endpoint->id;
			found = true;
		}
	}
	spin_unlock(&vx->endpoints_lock);
	return found;
}

static void pci_added(struct vx *vx, struct device *dev)
{
	u32 id;
	int err;

	if (!READ_ONCE(vx->endpoints_allowed) || dev_iommu_fwspec_get(dev) ||
	    !find_pci(vx, to_pci_dev(dev), &id))
		return;
	err = set_fwspec(vx, dev, id);
	if (err)
		dev_err(dev, "endpoint %#x cannot be set up (%d)\n", id, err);
}

/*
 * A device that is there already was looked at by the IOMMU core when it was
 * added, and is not looked at again: it is taken out and found anew.
 */
static void pci_reprobe(struct vx *vx, struct vx_endpoint *endpoint)
{
	struct pci_dev *pdev = pci_get_domain_bus_and_slot(endpoint->segment,
							   endpoint->bus,
							   endpoint->devfn);
	struct pci_bus *bus = pci_find_bus(endpoint->segment, endpoint->bus);

	if (bus && !(pdev && is_ours(vx, &pdev->dev))) {
		pci_lock_rescan_remove();
		if (pdev)
			pci_stop_and_remove_bus_device(pdev);
		pci_rescan_bus(bus);
		pci_unlock_rescan_remove();
	}
	pci_dev_put(pdev);
}
#else
static void pci_added(struct vx *vx, struct device *dev)
{
}

static void pci_reprobe(struct vx *vx, struct vx_endpoint *endpoint)
{
}
#endif

/* ---- bus notifiers ------------------------------------------------------------------ */

static int first_notify(struct vx *vx, unsigned long action, struct device *dev)
{
	if (action == BUS_NOTIFY_ADD_DEVICE && dev_is_pci(dev))
		pci_added(vx, dev);
	return NOTIFY_DONE;
}

/*
 * After the IOMMU core, before any driver: a PV guest that flushes lazily would
 * keep pages granted that it uses as page tables meanwhile.
 */
static int last_notify(struct vx *vx, unsigned long action, struct device *dev)
{
	struct iommu_domain *domain;

	if (action != BUS_NOTIFY_ADD_DEVICE || !is_ours(vx, dev))
		return NOTIFY_DONE;
	domain = iommu_get_domain_for_dev(dev);
	if (domain && domain->type == IOMMU_DOMAIN_DMA_FQ && xen_pv_domain()) {
		vx->lazy_refused = true;
		dev_err(dev, "refused: a PV guest must not flush lazily; boot it with iommu.strict=1\n");
	}
	return NOTIFY_DONE;
}

static int first_notify_0(struct notifier_block *nb, unsigned long action, void *dev)
{
	return first_notify(container_of(nb, struct vx, first_nb[0]), action, dev);
}

static int first_notify_1(struct notifier_block *nb, unsigned long action, void *dev)
{
	return first_notify(container_of(nb, struct vx, first_nb[1]), action, dev);
}

static int last_notify_0(struct notifier_block *nb, unsigned long action, void *dev)
{
	return last_notify(container_of(nb, struct vx, last_nb[0]), action, dev);
}

static int last_notify_1(struct notifier_block *nb, unsigned long action, void *dev)
{
	return last_notify(container_of(nb, struct vx, last_nb[1]), action, dev);
}

/* ---- soft endpoints ------------------------------------------------------------------- */

static int soft_add(struct vx *vx, struct vx_endpoint *endpoint)
{
	const struct property_entry properties[] = {
		PROPERTY_ENTRY_U32("viommu,endpoint-id", endpoint->id),
		{ }
	};
	struct platform_device *pdev =
		platform_device_alloc("viommu-endpoint", PLATFORM_DEVID_AUTO);
	int err;

	if (!pdev)
		return -ENOMEM;
	pdev->dev.parent = &vx->xdev->dev;
	err = device_create_managed_software_node(&pdev->dev, properties, NULL);
	if (!err)
		err = set_fwspec(vx, &pdev->dev, endpoint->id);
	if (err)
		goto put;
	err = platform_device_add(pdev);
	if (err) {
		iommu_fwspec_free(&pdev->dev);
		goto put;
	}
	if (vx->lazy_refused) {
		platform_device_unregister(pdev);
		return -EPERM;
	}
	/* Its driver would do DMA that the backend refuses: better none at all. */
	if (!iommu_get_domain_for_dev(&pdev->dev)) {
		dev_err(&pdev->dev, "endpoint %#x has no IOMMU domain\n", endpoint->id);
		platform_device_unregister(pdev);
		return -ENODEV;
	}
	endpoint->pdev = pdev;
	return 0;
put:
	platform_device_put(pdev);
	return err;
}

static void endpoint_show(struct vx *vx, struct vx_endpoint *endpoint)
{
	int err = 0;

	if (!endpoint->translated && !endpoint->is_pci) {
		if (!endpoint->pdev && !endpoint->refused)
			err = soft_add(vx, endpoint);
	} else if (!endpoint->translated) {
		if (!endpoint->refused)
			dev_warn(&vx->xdev->dev,
				 "endpoint %#x: no IOMMU is programmed for the PCI device, so it keeps its own DMA\n",
				 endpoint->id);
		endpoint->refused = true;
	} else if (endpoint->is_pci && !pci) {
		if (!endpoint->refused)
			dev_warn(&vx->xdev->dev,
				 "endpoint %#x: PCI devices are left alone (pci=0)\n",
				 endpoint->id);
		endpoint->refused = true;
	} else if (endpoint->is_pci && !endpoint->shown) {
		/* Once: one that comes later is seen when it is added. */
		endpoint->shown = true;
		pci_reprobe(vx, endpoint);
	}
	if (!err)
		return;
	endpoint->refused = true;
	dev_err(&vx->xdev->dev, "endpoint %#x cannot be shown (%d)\n", endpoint->id, err);
}

/* The device must not go on with addresses that nothing translates any more. */
static void endpoint_hide(struct vx *vx, struct vx_endpoint *endpoint)
{
	if (endpoint->pdev)
		platform_device_unregister(endpoint->pdev);
	endpoint->pdev = NULL;
	endpoint->refused = false;
#ifdef CONFIG_PCI
	if (endpoint->is_pci && endpoint->translated) {
		struct pci_dev *pdev =
			pci_get_domain_bus_and_slot(endpoint->segment,
						    endpoint->bus, endpoint->devfn);

		if (pdev && is_ours(vx, &pdev->dev))
			pci_stop_and_remove_bus_device_locked(pdev);
		pci_dev_put(pdev);
	}
#endif
}

static void endpoint_drop(struct vx *vx, struct vx_endpoint *endpoint)
{
	endpoint_hide(vx, endpoint);
	spin_lock(&vx->endpoints_lock);
	list_del(&endpoint->list);
	spin_unlock(&vx->endpoints_lock);
	kfree(endpoint);
}

/* ---- the list -------------------------------------------------------------------------- */

static bool parse_pair(struct vx_endpoint *endpoint, char *pair, bool first)
{
	unsigned int segment;
	unsigned int bus;
	unsigned int slot;
	unsigned int function;
	char end;

	if (first)
		return !strncmp(pair, "id=", 3) &&
		       !kstrtou32(pair + 3, 0, &endpoint->id);
	if (!strcmp(pair, "dma=translated"))
		endpoint->translated = true;
	else if (!strncmp(pair, "guest=pci:", 10)) {
		if (sscanf(pair + 10, "%4x:%2x:%2x.%1x%c", &segment, &bus, &slot,
			   &function, &end) != 4 || slot > 31 || function > 7)
			return false;
		endpoint->is_pci = true;
		endpoint->segment = segment;
		endpoint->bus = bus;
		endpoint->devfn = PCI_DEVFN(slot, function);
	}
	/* Pairs that are not known are to be ignored. */
	return true;
}

static bool parse_group(struct vx_endpoint *endpoint, char *group)
{
	bool first = true;
	char *pair;

	memset(endpoint, 0, sizeof(*endpoint));
	group = strim(group);
	while ((pair = strsep(&group, " "))) {
		if (!parse_pair(endpoint, pair, first))
			return false;
		first = false;
	}
	return true;
}

static struct vx_endpoint *same_endpoint(struct vx *vx, const struct vx_endpoint *wanted)
{
	struct vx_endpoint *endpoint;

	list_for_each_entry(endpoint, &vx->endpoints, list) {
		if (endpoint->id == wanted->id &&
		    endpoint->translated == wanted->translated &&
		    endpoint->is_pci == wanted->is_pci &&
		    endpoint->segment == wanted->segment &&
		    endpoint->bus == wanted->bus && endpoint->devfn == wanted->devfn)
			return endpoint;
	}
	return NULL;
}

static void note_group(struct vx *vx, char *group)
{
	struct vx_endpoint wanted;
	struct vx_endpoint *endpoint;

	if (!*strim(group))
		return;
	if (!parse_group(&wanted, group)) {
		dev_warn_ratelimited(&vx->xdev->dev, "an endpoint that cannot be read: %.60s\n",
				     group);
		return;
	}
	endpoint = same_endpoint(vx, &wanted);
	if (!endpoint) {
		endpoint = kmemdup(&wanted, sizeof(wanted), GFP_KERNEL);
		if (!endpoint)
			return;
		spin_lock(&vx->endpoints_lock);
		list_add_tail(&endpoint->list, &vx->endpoints);
		spin_unlock(&vx->endpoints_lock);
	}
	endpoint->seen = true;
}

static void read_list(struct vx *vx)
{
	char *text = xenbus_read(XBT_NIL, vx->xdev->otherend, NODE, NULL);
	struct vx_endpoint *endpoint;
	struct vx_endpoint *next;
	char *rest = text;
	char *group;

	/* A backend that is away for a while takes no endpoint with it. */
	if (IS_ERR(text))
		return;
	list_for_each_entry(endpoint, &vx->endpoints, list)
		endpoint->seen = false;
	while ((group = strsep(&rest, ";")))
		note_group(vx, group);
	kfree(text);
	list_for_each_entry_safe(endpoint, next, &vx->endpoints, list) {
		if (endpoint->seen)
			continue;
		endpoint_drop(vx, endpoint);
	}
}

/* The virtio driver is bound: only now does an fwspec find its operations. */
void vx_endpoints_update(struct vx *vx)
{
	struct vx_endpoint *endpoint;

	mutex_lock(&vx->endpoints_mutex);
	if (vx->endpoints_allowed) {
		read_list(vx);
		list_for_each_entry(endpoint, &vx->endpoints, list)
			endpoint_show(vx, endpoint);
	}
	mutex_unlock(&vx->endpoints_mutex);
}

/* Before the virtio driver goes: it can still answer the DETACHes. */
void vx_endpoints_remove(struct vx *vx)
{
	struct vx_endpoint *endpoint;
	struct vx_endpoint *next;

	mutex_lock(&vx->endpoints_mutex);
	vx->endpoints_allowed = false;
	list_for_each_entry_safe(endpoint, next, &vx->endpoints, list) {
		endpoint_drop(vx, endpoint);
	}
	mutex_unlock(&vx->endpoints_mutex);
}

int vx_endpoints_init(struct vx *vx)
{
	unsigned int i;
	int err;

	vx->first_nb[0].notifier_call = first_notify_0;
	vx->first_nb[1].notifier_call = first_notify_1;
	vx->last_nb[0].notifier_call = last_notify_0;
	vx->last_nb[1].notifier_call = last_notify_1;
	for (i = 0; i < ARRAY_SIZE(buses); i++) {
		/* The IOMMU core's own notifier has priority 0. */
		vx->first_nb[i].priority = INT_MAX;
		vx->last_nb[i].priority = INT_MIN;
		err = vx_bus_register_notifier(buses[i], &vx->first_nb[i]);
		if (err)
			goto undo;
		err = vx_bus_register_notifier(buses[i], &vx->last_nb[i]);
		if (err) {
			vx_bus_unregister_notifier(buses[i], &vx->first_nb[i]);
			goto undo;
		}
	}
	return 0;
undo:
	while (i-- > 0) {
		vx_bus_unregister_notifier(buses[i], &vx->last_nb[i]);
		vx_bus_unregister_notifier(buses[i], &vx->first_nb[i]);
	}
	return err;
}

void vx_endpoints_exit(struct vx *vx)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(buses); i++) {
		vx_bus_unregister_notifier(buses[i], &vx->last_nb[i]);
		vx_bus_unregister_notifier(buses[i], &vx->first_nb[i]);
	}
}
