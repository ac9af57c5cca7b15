// SPDX-License-Identifier: GPL-2.0
/*
 * A VFIO driver for the platform device "viommu-endpoint", so that user space
 * in a guest can take the endpoint: a real IOMMU group behind virtio-iommu, a
 * real container. The device has no registers; its DMA is asked for in the
 * driver domain. Bind it by driver_override.
 */
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/uaccess.h>
#include <linux/version.h>
#include <linux/vfio.h>

struct endpoint {
	struct vfio_device vdev;
};

static int endpoint_open(struct vfio_device *vdev)
{
	return 0;
}

/* Before 6.2 the driver frees what vfio_alloc_device() gave it. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
static void endpoint_release(struct vfio_device *vdev)
{
	vfio_free_device(vdev);
}
#else
#define endpoint_release NULL
#endif

static long endpoint_ioctl(struct vfio_device *vdev, unsigned int cmd, unsigned long arg)
{
	unsigned long minsz = offsetofend(struct vfio_device_info, num_irqs);
	struct vfio_device_info info;

	if (cmd != VFIO_DEVICE_GET_INFO)
		return -ENOTTY;
	if (copy_from_user(&info, (void __user *)arg, minsz))
		return -EFAULT;
	if (info.argsz < minsz)
		return -EINVAL;
	info.flags = VFIO_DEVICE_FLAGS_PLATFORM;
	info.num_regions = 0;
	info.num_irqs = 0;
	return copy_to_user((void __user *)arg, &info, minsz) ? -EFAULT : 0;
}

static const struct vfio_device_ops endpoint_ops = {
	.name = "viommu-vfio",
	.release = endpoint_release,
	.open_device = endpoint_open,
	.ioctl = endpoint_ioctl,
#if IS_ENABLED(CONFIG_IOMMUFD)
	.bind_iommufd = vfio_iommufd_physical_bind,
	.unbind_iommufd = vfio_iommufd_physical_unbind,
	.attach_ioas = vfio_iommufd_physical_attach_ioas,
	.detach_ioas = vfio_iommufd_physical_detach_ioas,
#endif
};

static int endpoint_probe(struct platform_device *pdev)
{
	struct endpoint *endpoint;
	int err;

	endpoint = vfio_alloc_device(endpoint, vdev, &pdev->dev, &endpoint_ops);
	if (IS_ERR(endpoint))
		return PTR_ERR(endpoint);
	platform_set_drvdata(pdev, endpoint);
	err = vfio_register_group_dev(&endpoint->vdev);
	if (err)
		vfio_put_device(&endpoint->vdev);
	return err;
}

static int endpoint_gone(struct platform_device *pdev)
{
	struct endpoint *endpoint = platform_get_drvdata(pdev);

	vfio_unregister_group_dev(&endpoint->vdev);
	vfio_put_device(&endpoint->vdev);
	return 0;
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
static void endpoint_remove(struct platform_device *pdev)
{
	endpoint_gone(pdev);
}
#else
#define endpoint_remove endpoint_gone
#endif

static struct platform_driver endpoint_driver = {
	.probe = endpoint_probe,
	.remove = endpoint_remove,
	.driver.name = "viommu-vfio",
	/* The DMA is user space's, not the DMA API's. */
	.driver_managed_dma = true,
};
module_platform_driver(endpoint_driver);

MODULE_DESCRIPTION("VFIO access to a test endpoint behind virtio-iommu");
MODULE_LICENSE("GPL");
