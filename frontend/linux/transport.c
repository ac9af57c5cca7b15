// SPDX-License-Identifier: GPL-2.0
/*
 * The virtio transport as the driver sees it. The queues are private memory:
 * the DMA operations of the xenbus device hand out physical addresses that
 * nobody but relay.c follows, and see each request before it is queued.
 */
#include <linux/dma-map-ops.h>
#include <linux/mm.h>

#include "compat.h"
#include "vx.h"

/* ---- DMA operations of the private rings ------------------------------------ */

static void *vx_dma_alloc(struct device *dev, size_t size, dma_addr_t *handle,
			  gfp_t gfp, unsigned long attrs)
{
	void *va = alloc_pages_exact(size, gfp | __GFP_ZERO);

	if (va)
		*handle = virt_to_phys(va);
	return va;
}

static void vx_dma_free(struct device *dev, size_t size, void *va,
			dma_addr_t handle, unsigned long attrs)
{
	free_pages_exact(va, size);
}

static dma_addr_t vx_dma_map_page(struct device *dev, struct page *page,
				  unsigned long offset, size_t size,
				  enum dma_data_direction dir,
				  unsigned long attrs)
{
	struct vx *vx = dev_get_drvdata(dev);
	dma_addr_t addr = page_to_phys(page) + offset;

	if (dir == DMA_TO_DEVICE && !vx_prepare(vx, addr, size))
		return DMA_MAPPING_ERROR;
	return addr;
}

static void vx_dma_unmap_page(struct device *dev, dma_addr_t addr, size_t size,
			      enum dma_data_direction dir, unsigned long attrs)
{
	if (dir == DMA_TO_DEVICE)
		vx_unprepare(dev_get_drvdata(dev), addr);
}

static int vx_dma_supported(struct device *dev, u64 mask)
{
	return mask == DMA_BIT_MASK(64);
}

static const struct dma_map_ops vx_dma_ops = {
	.alloc = vx_dma_alloc,
	.free = vx_dma_free,
	.map_page = vx_dma_map_page,
	.unmap_page = vx_dma_unmap_page,
	.dma_supported = vx_dma_supported,
};

/*
 * Done again before the queues are made: with CONFIG_XEN_VIRTIO the virtio core
 * puts its grant operations there when it checks the features.
 */
void vx_set_dma_ops(struct vx *vx)
{
	struct device *dev = &vx->xdev->dev;

	vx->dma_mask = DMA_BIT_MASK(64);
	dev->dma_mask = &vx->dma_mask;
	dev->coherent_dma_mask = DMA_BIT_MASK(64);
	set_dma_ops(dev, &vx_dma_ops);
}

/* ---- configuration ------------------------------------------------------------ */

/* Config space exists while there is a connection; 5.13's driver reads it then. */
static void vx_get(struct virtio_device *vdev, unsigned int offset, void *buf,
		   unsigned int len)
{
	struct vx *vx = vx_of(vdev);

	memset(buf, 0, len);
	mutex_lock(&vx->conn_mutex);
	if (vx->config_known && offset < VX_CONFIG_SIZE &&
	    len <= VX_CONFIG_SIZE - offset)
		memcpy(buf, vx->config + offset, len);
	mutex_unlock(&vx->conn_mutex);
}

static void vx_set(struct virtio_device *vdev, unsigned int offset,
		   const void *buf, unsigned int len)
{
	struct vx *vx = vx_of(vdev);

	if (offset != offsetof(struct virtio_iommu_config, bypass) || len != 1 ||
	    !virtio_has_feature(vdev, VIRTIO_IOMMU_F_BYPASS_CONFIG))
		return;
	mutex_lock(&vx->conn_mutex);
	if (!vx_set_bypass(vx, *(const u8 *)buf))
		vx->config[offset] = *(const u8 *)buf;
	mutex_unlock(&vx->conn_mutex);
}

static u32 vx_generation(struct virtio_device *vdev)
{
	struct vx *vx = vx_of(vdev);

	return READ_ONCE(vx->config_seen);
}

static u8 vx_get_status(struct virtio_device *vdev)
{
	struct vx *vx = vx_of(vdev);
	u8 status = vx->status;

	if (READ_ONCE(vx->conn) == VX_CONN_LOST)
		status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	return status;
}

static void vx_set_status(struct virtio_device *vdev, u8 status)
{
	struct vx *vx = vx_of(vdev);

	/* What we add for the driver to read is not the driver's to set. */
	status &= ~VIRTIO_CONFIG_S_NEEDS_RESET;
	mutex_lock(&vx->conn_mutex);
	vx->status = status;
	/* Before find_vqs there is nobody to tell; it catches up then. */
	if (vx->conn == VX_CONN_UP) {
		if (status & VIRTIO_CONFIG_S_DRIVER_OK && !vx->started)
			vx_rings_clear(vx);
		if (!vx_set_driver_status(vx, status) &&
		    status & VIRTIO_CONFIG_S_DRIVER_OK)
			vx_relay_start(vx);
	}
	mutex_unlock(&vx->conn_mutex);
}

static void vx_reset(struct virtio_device *vdev)
{
	struct vx *vx = vx_of(vdev);
	unsigned long flags;

	mutex_lock(&vx->conn_mutex);
	vx->status = 0;
	spin_lock_irqsave(&vx->relay_lock, flags);
	vx->started = false;
	spin_unlock_irqrestore(&vx->relay_lock, flags);
	if (vx->conn == VX_CONN_UP)
		vx_set_driver_status(vx, 0);
	/* The backend has let go of everything, or is not there any more. */
	spin_lock_irqsave(&vx->relay_lock, flags);
	mirror_clear(&vx->mirror);
	spin_unlock_irqrestore(&vx->relay_lock, flags);
	mutex_unlock(&vx->conn_mutex);
}

static u64 vx_get_features(struct virtio_device *vdev)
{
	u64 features = vx_of(vdev)->features;

	/*
	 * The private rings need neither indirect tables nor event indices: a
	 * kick is a function call. Only memory can be granted, and there is no
	 * identity mapping of pages that nobody has granted.
	 */
	features &= GENMASK_ULL(6, 0) | BIT_ULL(VIRTIO_F_VERSION_1) |
		    BIT_ULL(VIRTIO_F_ACCESS_PLATFORM);
	if (!vx_static_grants)
		features &= ~(BIT_ULL(VIRTIO_IOMMU_F_BYPASS_CONFIG) |
			      BIT_ULL(VIRTIO_IOMMU_F_BYPASS) |
			      BIT_ULL(VIRTIO_IOMMU_F_MMIO));
	return features;
}

static int vx_finalize_features(struct virtio_device *vdev)
{
	vring_transport_features(vdev);
	if (!__virtio_test_bit(vdev, VIRTIO_F_VERSION_1) ||
	    !__virtio_test_bit(vdev, VIRTIO_F_ACCESS_PLATFORM))
		return -EINVAL;
	return 0;
}

static const char *vx_bus_name(struct virtio_device *vdev)
{
	return dev_name(&vx_of(vdev)->xdev->dev);
}

/* ---- queues -------------------------------------------------------------------- */

/* Reports that found no buffer are tried again by the work item. */
static bool vx_notify_events(struct virtqueue *vq)
{
	return true;
}

static void vx_free_vqs(struct vx *vx)
{
	struct virtqueue *vqs[VX_QUEUES];
	unsigned long flags;
	unsigned int i;

	memcpy(vqs, vx->vqs, sizeof(vqs));
	spin_lock_irqsave(&vx->relay_lock, flags);
	memset(vx->vqs, 0, sizeof(vx->vqs));
	spin_unlock_irqrestore(&vx->relay_lock, flags);
	for (i = 0; i < VX_QUEUES; i++) {
		if (vqs[i])
			vring_del_virtqueue(vqs[i]);
	}
	vx_unprepare_all(vx);
	kfree(vx->slots);
	vx->slots = NULL;
}

static void vx_del_vqs(struct virtio_device *vdev)
{
	struct vx *vx = vx_of(vdev);
	unsigned long flags;

	mutex_lock(&vx->conn_mutex);
	vx_disconnect(vx, true);
	spin_lock_irqsave(&vx->relay_lock, flags);
	mirror_clear(&vx->mirror);
	spin_unlock_irqrestore(&vx->relay_lock, flags);
	vx_free_vqs(vx);
	mutex_unlock(&vx->conn_mutex);
}

static bool (*const vx_notify[VX_QUEUES])(struct virtqueue *vq) = {
	vx_relay_requests,
	vx_notify_events,
};

static int vx_find_vqs(VX_FIND_VQS_ARGS)
{
	struct vx *vx = vx_of(vdev);
	unsigned int size[VX_QUEUES] = {
		min_t(unsigned int, vx->max_queue, VX_MAX_REQUESTS),
		min_t(unsigned int, vx->max_queue, VX_MAX_EVENTS),
	};
	unsigned int i;
	int err;

	if (nvqs != VX_QUEUES)
		return -EINVAL;
	for (i = 0; i < VX_QUEUES; i++) {
		if (!vx_vq_name(i))
			return -EINVAL;
	}
	vx_set_dma_ops(vx);
	mutex_lock(&vx->conn_mutex);
	vx->negotiated = vdev->features;
	/* Two descriptors each, on either side. */
	vx->nslots = size[VX_REQUEST_QUEUE] / 2;
	vx->requests_seen = 0;
	vx->events_seen = 0;
	vx->slots = kcalloc(vx->nslots, sizeof(*vx->slots), GFP_KERNEL);
	err = vx->slots ? vx_connect(vx) : -ENOMEM;
	if (err)
		goto out;
	for (i = 0; i < VX_QUEUES; i++) {
		struct virtqueue *vq =
			vring_create_virtqueue(i, size[i], PAGE_SIZE, vdev, true,
					       false, vx_vq_ctx(i), vx_notify[i],
					       vx_vq_callback(i), vx_vq_name(i));

		if (!vq) {
			err = -ENOMEM;
			break;
		}
		vq->num_max = size[i];
		vx->vqs[i] = vq;
		vqs[i] = vq;
	}
out:
	if (err) {
		vx_disconnect(vx, true);
		vx_free_vqs(vx);
	}
	mutex_unlock(&vx->conn_mutex);
	return err;
}

const struct virtio_config_ops vx_config_ops = {
	.get = vx_get,
	.set = vx_set,
	.generation = vx_generation,
	.get_status = vx_get_status,
	.set_status = vx_set_status,
	.reset = vx_reset,
	.find_vqs = vx_find_vqs,
	.del_vqs = vx_del_vqs,
	.get_features = vx_get_features,
	.finalize_features = vx_finalize_features,
	.bus_name = vx_bus_name,
};
