// SPDX-License-Identifier: GPL-2.0-only
/*
 * A mediated VFIO device for the project's labs: a DMA engine without hardware. There is no IOMMU
 * behind it (inside a Xen domain Linux sees none), but its group, its container and its mappings
 * are VFIO's own; the engine reaches memory through vfio_dma_rw() only, at the IOVAs that userspace
 * mapped. It pins nothing.
 *
 * It looks like QEMU's `edu` device as a PCI function, as far as its DMA engine goes, so that one
 * program drives both: BAR 0 has the registers below, by read() and write() on the device file.
 * Beyond edu: STATUS tells how the last run ended, and REPEAT goes on until a run fails.
 *
 *   echo UUID >/sys/devices/platform/viommu_mdev/mdev_supported_types/TYPE/create
 */
#include <linux/iommu.h>
#include <linux/mdev.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/version.h>
#include <linux/vfio.h>
#include <linux/workqueue.h>

#define REG_ID     0x00
#define REG_SRC    0x80
#define REG_DST    0x88
#define REG_COUNT  0x90
#define REG_CMD    0x98
#define REG_STATUS 0xa0

#define ID_VALUE   0x010000edu
#define CMD_RUN    0x01u
#define CMD_WRITE  0x02u /* from the device's buffer to memory */
#define CMD_REPEAT 0x10u

#define BUFFER_START 0x40000u /* in SRC or DST: the device's own buffer */
#define BUFFER_SIZE  4096u
#define BAR_SIZE     0x100000u
#define CONFIG_SIZE  256u
#define REGION_SHIFT 40

struct viommu_mdev {
	struct vfio_device vdev;
	/* The registers and the buffer; the worker takes it for the time of one run. */
	struct mutex lock;
	struct work_struct work;
	u8 config[CONFIG_SIZE];
	u64 src, dst, count;
	u32 cmd, status;
	u8 buffer[BUFFER_SIZE];
};

static struct platform_device *viommu_pdev;
static struct mdev_parent viommu_parent;

static struct viommu_mdev *to_viommu(struct vfio_device *vdev)
{
	return container_of(vdev, struct viommu_mdev, vdev);
}

/* ---- the engine --------------------------------------------------------------------------- */

static int viommu_run(struct viommu_mdev *m)
{
	bool write = m->cmd & CMD_WRITE;
	u64 local = write ? m->src : m->dst;
	u64 iova = write ? m->dst : m->src;

	if (!(m->config[PCI_COMMAND] & PCI_COMMAND_MASTER))
		return -EACCES;
	if (local < BUFFER_START || m->count == 0 || m->count > BUFFER_SIZE ||
	    local - BUFFER_START > BUFFER_SIZE - m->count)
		return -ERANGE;
	return vfio_dma_rw(&m->vdev, iova, m->buffer + (local - BUFFER_START), m->count, write);
}

/* In a kernel thread: vfio_dma_rw() borrows the address space of whoever mapped the IOVA. */
static void viommu_work(struct work_struct *work)
{
	struct viommu_mdev *m = container_of(work, struct viommu_mdev, work);
	int r;

	mutex_lock(&m->lock);
	if (m->cmd & CMD_RUN) {
		r = viommu_run(m);
		m->status = r < 0 ? -r : 0;
		if (r == 0 && (m->cmd & CMD_REPEAT))
			queue_work(system_unbound_wq, &m->work);
		else
			m->cmd &= ~CMD_RUN;
	}
	mutex_unlock(&m->lock);
}

static void viommu_stop(struct viommu_mdev *m)
{
	mutex_lock(&m->lock);
	m->cmd = 0;
	mutex_unlock(&m->lock);
	cancel_work_sync(&m->work);
}

/* ---- registers ---------------------------------------------------------------------------- */

static u64 viommu_read_reg(const struct viommu_mdev *m, u64 at)
{
	switch (at) {
	case REG_ID:
		return ID_VALUE;
	case REG_SRC:
		return m->src;
	case REG_DST:
		return m->dst;
	case REG_COUNT:
		return m->count;
	case REG_CMD:
		return m->cmd;
	case REG_STATUS:
		return m->status;
	default:
		return ~0ull;
	}
}

static void viommu_write_reg(struct viommu_mdev *m, u64 at, u64 value)
{
	/* A running engine cannot be reprogrammed, only stopped. */
	if (m->cmd & CMD_RUN) {
		if (at == REG_CMD && !(value & CMD_RUN))
			m->cmd = 0;
		return;
	}
	switch (at) {
	case REG_SRC:
		m->src = value;
		break;
	case REG_DST:
		m->dst = value;
		break;
	case REG_COUNT:
		m->count = value;
		break;
	case REG_CMD:
		m->cmd = value & (CMD_RUN | CMD_WRITE | CMD_REPEAT);
		if (m->cmd & CMD_RUN)
			queue_work(system_unbound_wq, &m->work);
		break;
	default:
		break;
	}
}

static int viommu_access_bar(struct viommu_mdev *m, void *data, size_t len, u64 at, bool write)
{
	u64 value = 0;

	if ((len != 4 && len != 8) || at % len || at > BAR_SIZE - len)
		return -EINVAL;
	if (write) {
		memcpy(&value, data, len);
		viommu_write_reg(m, at, value);
	} else {
		value = viommu_read_reg(m, at);
		memcpy(data, &value, len);
	}
	return 0;
}

static int viommu_access_config(struct viommu_mdev *m, u8 *data, size_t len, u64 at, bool write)
{
	size_t i;

	if (at > CONFIG_SIZE - len)
		return -EINVAL;
	for (i = 0; i < len; i++) {
		if (!write)
			data[i] = m->config[at + i];
		else if (at + i == PCI_COMMAND)
			m->config[PCI_COMMAND] =
				data[i] & (PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	}
	return 0;
}

static int viommu_access(struct viommu_mdev *m, void *data, size_t len, loff_t pos, bool write)
{
	u64 at = pos & (BIT_ULL(REGION_SHIFT) - 1);
	int r;

	mutex_lock(&m->lock);
	switch (pos >> REGION_SHIFT) {
	case VFIO_PCI_BAR0_REGION_INDEX:
		r = viommu_access_bar(m, data, len, at, write);
		break;
	case VFIO_PCI_CONFIG_REGION_INDEX:
		r = viommu_access_config(m, data, len, at, write);
		break;
	default:
		r = -EINVAL;
		break;
	}
	mutex_unlock(&m->lock);
	return r;
}

/* One access of up to 8 bytes each. */
static ssize_t viommu_read(struct vfio_device *vdev, char __user *buf, size_t count, loff_t *ppos)
{
	u8 data[8] = {};
	size_t len = min(count, sizeof(data));
	int r;

	if (len == 0)
		return 0;
	r = viommu_access(to_viommu(vdev), data, len, *ppos, false);
	if (r)
		return r;
	if (copy_to_user(buf, data, len))
		return -EFAULT;
	*ppos += len;
	return len;
}

static ssize_t viommu_write(struct vfio_device *vdev, const char __user *buf, size_t count,
			    loff_t *ppos)
{
	u8 data[8];
	size_t len = min(count, sizeof(data));
	int r;

	if (len == 0)
		return 0;
	if (copy_from_user(data, buf, len))
		return -EFAULT;
	r = viommu_access(to_viommu(vdev), data, len, *ppos, true);
	if (r)
		return r;
	*ppos += len;
	return len;
}

/* ---- VFIO --------------------------------------------------------------------------------- */

static long viommu_device_info(unsigned long arg)
{
	unsigned long minsz = offsetofend(struct vfio_device_info, num_irqs);
	struct vfio_device_info info;

	if (copy_from_user(&info, (void __user *)arg, minsz))
		return -EFAULT;
	if (info.argsz < minsz)
		return -EINVAL;
	info.flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET;
	info.num_regions = VFIO_PCI_NUM_REGIONS;
	info.num_irqs = 0;
	return copy_to_user((void __user *)arg, &info, minsz) ? -EFAULT : 0;
}

static long viommu_region_info(unsigned long arg)
{
	unsigned long minsz = offsetofend(struct vfio_region_info, offset);
	struct vfio_region_info info;

	if (copy_from_user(&info, (void __user *)arg, minsz))
		return -EFAULT;
	if (info.argsz < minsz || info.index >= VFIO_PCI_NUM_REGIONS)
		return -EINVAL;
	info.offset = (u64)info.index << REGION_SHIFT;
	info.flags = 0;
	info.size = 0;
	info.cap_offset = 0;
	if (info.index == VFIO_PCI_BAR0_REGION_INDEX)
		info.size = BAR_SIZE;
	else if (info.index == VFIO_PCI_CONFIG_REGION_INDEX)
		info.size = CONFIG_SIZE;
	if (info.size)
		info.flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
	return copy_to_user((void __user *)arg, &info, minsz) ? -EFAULT : 0;
}

static void viommu_reset(struct viommu_mdev *m)
{
	viommu_stop(m);
	mutex_lock(&m->lock);
	m->src = 0;
	m->dst = 0;
	m->count = 0;
	m->status = 0;
	m->config[PCI_COMMAND] = 0;
	memset(m->buffer, 0, sizeof(m->buffer));
	mutex_unlock(&m->lock);
}

static long viommu_ioctl(struct vfio_device *vdev, unsigned int cmd, unsigned long arg)
{
	switch (cmd) {
	case VFIO_DEVICE_GET_INFO:
		return viommu_device_info(arg);
	case VFIO_DEVICE_GET_REGION_INFO:
		return viommu_region_info(arg);
	case VFIO_DEVICE_RESET:
		viommu_reset(to_viommu(vdev));
		return 0;
	default:
		return -ENOTTY;
	}
}

static int viommu_open(struct vfio_device *vdev)
{
	return 0;
}

/* The last file of the device is gone; the container follows. */
static void viommu_close(struct vfio_device *vdev)
{
	viommu_reset(to_viommu(vdev));
}

static int viommu_init_device(struct vfio_device *vdev)
{
	struct viommu_mdev *m = to_viommu(vdev);

	mutex_init(&m->lock);
	INIT_WORK(&m->work, viommu_work);
	m->config[PCI_VENDOR_ID] = 0x34;
	m->config[PCI_VENDOR_ID + 1] = 0x12;
	m->config[PCI_DEVICE_ID] = 0xe8;
	m->config[PCI_DEVICE_ID + 1] = 0x11;
	return 0;
}

static void viommu_release_device(struct vfio_device *vdev)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
	vfio_free_device(vdev);
#endif
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
/* iommufd asks for it; nothing is pinned here that would have to be let go. */
static void viommu_dma_unmap(struct vfio_device *vdev, u64 iova, u64 length)
{
}
#endif

static const struct vfio_device_ops viommu_ops = {
	.name = "viommu_mdev",
	.init = viommu_init_device,
	.release = viommu_release_device,
	.open_device = viommu_open,
	.close_device = viommu_close,
	.read = viommu_read,
	.write = viommu_write,
	.ioctl = viommu_ioctl,
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
	.dma_unmap = viommu_dma_unmap,
	.bind_iommufd = vfio_iommufd_emulated_bind,
	.unbind_iommufd = vfio_iommufd_emulated_unbind,
	.attach_ioas = vfio_iommufd_emulated_attach_ioas,
#endif
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 5, 0)
	.detach_ioas = vfio_iommufd_emulated_detach_ioas,
#endif
};

/* ---- mediated devices --------------------------------------------------------------------- */

static int viommu_probe(struct mdev_device *mdev)
{
	struct viommu_mdev *m;
	int r;

	m = vfio_alloc_device(viommu_mdev, vdev, &mdev->dev, &viommu_ops);
	if (IS_ERR(m))
		return PTR_ERR(m);
	r = vfio_register_emulated_iommu_dev(&m->vdev);
	if (r) {
		vfio_put_device(&m->vdev);
		return r;
	}
	dev_set_drvdata(&mdev->dev, m);
	return 0;
}

static void viommu_remove(struct mdev_device *mdev)
{
	struct viommu_mdev *m = dev_get_drvdata(&mdev->dev);

	vfio_unregister_group_dev(&m->vdev);
	vfio_put_device(&m->vdev);
}

static struct mdev_driver viommu_driver = {
	.device_api = VFIO_DEVICE_API_PCI_STRING,
	.max_instances = 16,
	.probe = viommu_probe,
	.remove = viommu_remove,
	.driver = {
		.name = "viommu_mdev",
		.owner = THIS_MODULE,
		.mod_name = KBUILD_MODNAME,
	},
};

static struct mdev_type viommu_type = {
	.sysfs_name = "dma",
	.pretty_name = "DMA engine without hardware",
};

static struct mdev_type *viommu_types[] = {&viommu_type};

static int __init viommu_init(void)
{
	int r;

	viommu_pdev = platform_device_register_simple("viommu_mdev", PLATFORM_DEVID_NONE, NULL, 0);
	if (IS_ERR(viommu_pdev))
		return PTR_ERR(viommu_pdev);
	r = mdev_register_driver(&viommu_driver);
	if (r)
		goto unregister_device;
	r = mdev_register_parent(&viommu_parent, &viommu_pdev->dev, &viommu_driver, viommu_types,
				 ARRAY_SIZE(viommu_types));
	if (r)
		goto unregister_driver;
	return 0;

unregister_driver:
	mdev_unregister_driver(&viommu_driver);
unregister_device:
	platform_device_unregister(viommu_pdev);
	return r;
}
module_init(viommu_init);

static void __exit viommu_exit(void)
{
	mdev_unregister_parent(&viommu_parent);
	mdev_unregister_driver(&viommu_driver);
	platform_device_unregister(viommu_pdev);
}
module_exit(viommu_exit);

MODULE_DESCRIPTION("A mediated VFIO device with a DMA engine, for xen-viommu's labs");
MODULE_LICENSE("GPL");
MODULE_SOFTDEP("pre: vfio_iommu_type1");
