/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Everything that differs between the kernels this module builds for (6.1 to
 * 6.12) and nothing else.
 */
#ifndef VX_COMPAT_H
#define VX_COMPAT_H

#include <linux/iommu.h>
#include <linux/of.h>
#include <linux/platform_device.h>
#include <linux/version.h>
#include <linux/virtio_config.h>
#include <xen/xenbus.h>

/* 6.11 put the arrays of find_vqs into one array of structures. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
#define VX_FIND_VQS_ARGS						\
	struct virtio_device *vdev, unsigned int nvqs,			\
	struct virtqueue *vqs[], struct virtqueue_info vqs_info[],	\
	struct irq_affinity *desc
#define vx_vq_name(i)		(vqs_info[i].name)
#define vx_vq_callback(i)	(vqs_info[i].callback)
#define vx_vq_ctx(i)		(vqs_info[i].ctx)
#else
#define VX_FIND_VQS_ARGS						\
	struct virtio_device *vdev, unsigned int nvqs,			\
	struct virtqueue *vqs[], vq_callback_t *callbacks[],		\
	const char * const names[], const bool *ctx,			\
	struct irq_affinity *desc
#define vx_vq_name(i)		(names[i])
#define vx_vq_callback(i)	(callbacks[i])
#define vx_vq_ctx(i)		(ctx ? ctx[i] : false)
#endif

/* 6.11 looks the operations up by the firmware node itself. */
static inline int vx_fwspec_init(struct device *dev,
				 struct fwnode_handle *fwnode)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
	return iommu_fwspec_init(dev, fwnode);
#else
	int err;

	/* All buses have the same; a device that is not added yet has no bus. */
	if (!platform_bus_type.iommu_ops)
		return -EPROBE_DEFER;
	err = iommu_fwspec_init(dev, fwnode, platform_bus_type.iommu_ops);
	/* Freeing puts every kind of node, this gets device tree nodes only. */
	if (!err && !is_of_node(fwnode))
		fwnode_handle_get(fwnode);
	return err;
#endif
}

/* The bus became const in 6.4. */
static inline int vx_bus_register_notifier(const struct bus_type *bus,
					   struct notifier_block *nb)
{
	return bus_register_notifier((void *)bus, nb);
}

static inline void vx_bus_unregister_notifier(const struct bus_type *bus,
					      struct notifier_block *nb)
{
	bus_unregister_notifier((void *)bus, nb);
}

#endif
