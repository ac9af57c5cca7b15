// SPDX-License-Identifier: GPL-2.0
/*
 * A test endpoint: the driver of a "viommu-endpoint" platform device, and of
 * QEMU's `edu` PCI device, whose registers it leaves alone. It uses nothing but
 * the DMA API and says the addresses, so that the lab can let the device read
 * and write them from the driver domain.
 *
 * /dev/viommu-test takes one command per write; a read gives its answer.
 *   coherent SIZE            dma_alloc_coherent      -> "ID IOVA"
 *   single SIZE to|from|both dma_map_single          -> "ID IOVA"
 *   sg PAGES to|from|both    scattered pages         -> "ID IOVA LENGTH ..."
 *   put ID OFFSET HEX        the CPU writes          (offset in the buffer)
 *   get ID OFFSET LENGTH     the CPU reads           -> HEX
 *   free ID
 *   churn COUNT SIZE         map and unmap, COUNT times -> "COUNT NS P50 P99", the
 *                            last two for one pair
 *   hold COUNT SIZE          as many buffers at once    -> "COUNT"
 *   freeall
 *   use NAME                 of several devices the one that all this is done with;
 *                            the first one until then. Buffers must be free
 */
#include <linux/dma-mapping.h>
#include <linux/fs.h>
#include <linux/kernel.h>
#include <linux/ktime.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/platform_device.h>
#include <linux/property.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/uaccess.h>
#include <linux/version.h>

#define BUFFERS		1024
#define DEVICES		4
#define TEXT_MAX	2048

enum kind { NONE, COHERENT, SINGLE, SCATTERED };

struct buffer {
	enum kind kind;
	enum dma_data_direction dir;
	size_t size;
	void *va;
	dma_addr_t addr;
	struct sg_table table;
};

static DEFINE_MUTEX(lock);
static struct device *devices[DEVICES];
static struct device *device;
static struct buffer buffers[BUFFERS];
static char answer[TEXT_MAX];

/* ---- buffers ----------------------------------------------------------------- */

static void free_scattered(struct buffer *buffer)
{
	struct scatterlist *sg;
	int i;

	for_each_sgtable_sg(&buffer->table, sg, i)
		__free_page(sg_page(sg));
	sg_free_table(&buffer->table);
}

static int make_scattered(struct buffer *buffer)
{
	unsigned int pages = DIV_ROUND_UP(buffer->size, PAGE_SIZE);
	struct scatterlist *sg;
	int err;
	int i;

	err = sg_alloc_table(&buffer->table, pages, GFP_KERNEL);
	if (err)
		return err;
	for_each_sgtable_sg(&buffer->table, sg, i) {
		/* Every other page only, so that they are not neighbours. */
		struct page *gap = alloc_page(GFP_KERNEL);
		struct page *page = alloc_page(GFP_KERNEL | __GFP_ZERO);

		if (gap)
			__free_page(gap);
		if (!page) {
			buffer->table.orig_nents = i;
			free_scattered(buffer);
			return -ENOMEM;
		}
		sg_set_page(sg, page, PAGE_SIZE, 0);
	}
	err = dma_map_sgtable(device, &buffer->table, buffer->dir, 0);
	if (err)
		free_scattered(buffer);
	else
		buffer->addr = sg_dma_address(buffer->table.sgl);
	return err;
}

static int make_single(struct buffer *buffer)
{
	buffer->va = alloc_pages_exact(buffer->size, GFP_KERNEL | __GFP_ZERO);
	if (!buffer->va)
		return -ENOMEM;
	buffer->addr = dma_map_single(device, buffer->va, buffer->size, buffer->dir);
	if (!dma_mapping_error(device, buffer->addr))
		return 0;
	free_pages_exact(buffer->va, buffer->size);
	return -EIO;
}

static int make(struct buffer *buffer)
{
	switch (buffer->kind) {
	case COHERENT:
		buffer->va = dma_alloc_coherent(device, buffer->size,
						&buffer->addr, GFP_KERNEL);
		return buffer->va ? 0 : -ENOMEM;
	case SINGLE:
		return make_single(buffer);
	case SCATTERED:
		return make_scattered(buffer);
	default:
		return -EINVAL;
	}
}

static void unmake(struct buffer *buffer)
{
	switch (buffer->kind) {
	case COHERENT:
		dma_free_coherent(device, buffer->size, buffer->va, buffer->addr);
		break;
	case SINGLE:
		dma_unmap_single(device, buffer->addr, buffer->size, buffer->dir);
		free_pages_exact(buffer->va, buffer->size);
		break;
	case SCATTERED:
		dma_unmap_sgtable(device, &buffer->table, buffer->dir, 0);
		free_scattered(buffer);
		break;
	default:
		break;
	}
	buffer->kind = NONE;
}

static void sync_buffer(struct buffer *buffer, bool for_cpu)
{
	if (buffer->kind == SINGLE && for_cpu)
		dma_sync_single_for_cpu(device, buffer->addr, buffer->size, buffer->dir);
	else if (buffer->kind == SINGLE)
		dma_sync_single_for_device(device, buffer->addr, buffer->size, buffer->dir);
	else if (buffer->kind == SCATTERED && for_cpu)
		dma_sync_sgtable_for_cpu(device, &buffer->table, buffer->dir);
	else if (buffer->kind == SCATTERED)
		dma_sync_sgtable_for_device(device, &buffer->table, buffer->dir);
}

static void copy_buffer(struct buffer *buffer, size_t offset, u8 *bytes,
			size_t len, bool write)
{
	sync_buffer(buffer, true);
	if (buffer->kind == SCATTERED && write)
		sg_pcopy_from_buffer(buffer->table.sgl, buffer->table.orig_nents,
				     bytes, len, offset);
	else if (buffer->kind == SCATTERED)
		sg_pcopy_to_buffer(buffer->table.sgl, buffer->table.orig_nents,
				   bytes, len, offset);
	else if (write)
		memcpy(buffer->va + offset, bytes, len);
	else
		memcpy(bytes, buffer->va + offset, len);
	sync_buffer(buffer, false);
}

/* ---- commands ------------------------------------------------------------------ */

static int parse_dir(const char *name, enum dma_data_direction *dir)
{
	if (!strcmp(name, "to"))
		*dir = DMA_TO_DEVICE;
	else if (!strcmp(name, "from"))
		*dir = DMA_FROM_DEVICE;
	else if (!strcmp(name, "both"))
		*dir = DMA_BIDIRECTIONAL;
	else
		return -EINVAL;
	return 0;
}

static struct buffer *free_buffer(void)
{
	unsigned int i;

	for (i = 0; i < BUFFERS; i++) {
		if (buffers[i].kind == NONE)
			return &buffers[i];
	}
	return NULL;
}

static int do_make(enum kind kind, size_t size, const char *dir)
{
	struct buffer *buffer = free_buffer();
	struct scatterlist *sg;
	size_t at;
	int err;
	int i;

	if (!buffer || !size || size > SZ_16M)
		return -EINVAL;
	memset(buffer, 0, sizeof(*buffer));
	err = parse_dir(dir, &buffer->dir);
	if (err)
		return err;
	buffer->kind = kind;
	buffer->size = kind == SCATTERED ? size * PAGE_SIZE : size;
	err = make(buffer);
	if (err) {
		buffer->kind = NONE;
		return err;
	}
	at = scnprintf(answer, TEXT_MAX, "%zu", buffer - buffers);
	if (kind != SCATTERED) {
		scnprintf(answer + at, TEXT_MAX - at, " %pad", &buffer->addr);
		return 0;
	}
	for_each_sgtable_dma_sg(&buffer->table, sg, i)
		at += scnprintf(answer + at, TEXT_MAX - at, " %#llx %u",
				(u64)sg_dma_address(sg), sg_dma_len(sg));
	return 0;
}

static struct buffer *find(unsigned int id, size_t offset, size_t len)
{
	if (id >= BUFFERS || buffers[id].kind == NONE ||
	    offset > buffers[id].size || len > buffers[id].size - offset)
		return NULL;
	return &buffers[id];
}

static int do_put(unsigned int id, size_t offset, const char *hex)
{
	u8 bytes[TEXT_MAX / 2];
	size_t len = strlen(hex) / 2;
	struct buffer *buffer = find(id, offset, len);

	if (!buffer || len > sizeof(bytes) || hex2bin(bytes, hex, len))
		return -EINVAL;
	copy_buffer(buffer, offset, bytes, len, true);
	return 0;
}

static int do_get(unsigned int id, size_t offset, size_t len)
{
	struct buffer *buffer = find(id, offset, len);
	u8 bytes[512];

	if (!buffer || len > sizeof(bytes))
		return -EINVAL;
	copy_buffer(buffer, offset, bytes, len, false);
	*bin2hex(answer, bytes, len) = '\0';
	return 0;
}

static int compare(const void *a, const void *b)
{
	u64 x = *(const u64 *)a;
	u64 y = *(const u64 *)b;

	return x < y ? -1 : x > y;
}

/* Pairs of map and unmap, in turn coherent, single and scattered. */
static int do_churn(unsigned int count, size_t size)
{
	static const enum kind kinds[] = { SINGLE, SCATTERED, COHERENT };
	u64 started = ktime_get_ns();
	u64 *took;
	unsigned int i;
	int err = 0;

	if (!count || count > 100000)
		return -EINVAL;
	took = kvcalloc(count, sizeof(*took), GFP_KERNEL);
	if (!took)
		return -ENOMEM;
	for (i = 0; i < count && !err; i++) {
		struct buffer buffer = {
			.kind = kinds[i % ARRAY_SIZE(kinds)],
			.dir = i & 1 ? DMA_TO_DEVICE : DMA_BIDIRECTIONAL,
			.size = PAGE_ALIGN(size),
		};
		u64 before = ktime_get_ns();

		err = make(&buffer);
		if (!err)
			unmake(&buffer);
		took[i] = ktime_get_ns() - before;
		cond_resched();
	}
	started = ktime_get_ns() - started;
	sort(took, count, sizeof(*took), compare, NULL);
	if (!err)
		scnprintf(answer, TEXT_MAX, "%u %llu %llu %llu", count, started,
			  took[count / 2], took[count - 1 - count / 100]);
	kvfree(took);
	return err;
}

static int do_hold(unsigned int count, size_t size)
{
	unsigned int i;
	int err;

	for (i = 0; i < count; i++) {
		err = do_make(SINGLE, size, "both");
		if (err)
			return err;
		cond_resched();
	}
	scnprintf(answer, TEXT_MAX, "%u", count);
	return 0;
}

static int do_use(const char *name)
{
	unsigned int i;

	for (i = 0; i < BUFFERS; i++) {
		if (buffers[i].kind != NONE)
			return -EBUSY;
	}
	for (i = 0; i < DEVICES; i++) {
		if (devices[i] && !strcmp(dev_name(devices[i]), name)) {
			device = devices[i];
			return 0;
		}
	}
	return -ENODEV;
}

static void free_all(void)
{
	unsigned int i;

	for (i = 0; i < BUFFERS; i++) {
		unmake(&buffers[i]);
		cond_resched();
	}
}

static int command(char *line)
{
	char word[16];
	char third[TEXT_MAX / 2];
	unsigned int a = 0;
	unsigned int b = 0;
	unsigned int len;
	struct buffer *buffer;
	int words;

	words = sscanf(line, "%15s %u %u", word, &a, &b);
	strscpy(answer, "ok", TEXT_MAX);
	if (!strcmp(word, "use") && sscanf(line, "%*s %1000s", third) == 1)
		return do_use(third);
	if (!device)
		return -ENODEV;
	if (words >= 2 && !strcmp(word, "coherent"))
		return do_make(COHERENT, a, "both");
	if (words >= 2 && sscanf(line, "%*s %*u %1000s", third) == 1) {
		if (!strcmp(word, "single"))
			return do_make(SINGLE, a, third);
		if (!strcmp(word, "sg"))
			return do_make(SCATTERED, a, third);
	}
	if (words == 3 && !strcmp(word, "get") &&
	    sscanf(line, "%*s %*u %*u %1000s", third) == 1 && !kstrtouint(third, 0, &len))
		return do_get(a, b, len);
	if (words == 3 && !strcmp(word, "put") &&
	    sscanf(line, "%*s %*u %*u %1000s", third) == 1)
		return do_put(a, b, third);
	if (words == 3 && !strcmp(word, "churn"))
		return do_churn(a, b);
	if (words == 3 && !strcmp(word, "hold"))
		return do_hold(a, b);
	if (!strcmp(word, "freeall")) {
		free_all();
		return 0;
	}
	buffer = words == 2 && !strcmp(word, "free") ? find(a, 0, 0) : NULL;
	if (!buffer)
		return -EINVAL;
	unmake(buffer);
	return 0;
}

static ssize_t test_write(struct file *file, const char __user *from, size_t len,
			  loff_t *at)
{
	char *line;
	int err;

	if (len >= TEXT_MAX)
		return -EINVAL;
	line = memdup_user_nul(from, len);
	if (IS_ERR(line))
		return PTR_ERR(line);
	mutex_lock(&lock);
	err = command(line);
	if (err)
		scnprintf(answer, TEXT_MAX, "error %d", err);
	mutex_unlock(&lock);
	kfree(line);
	return err ? err : len;
}

static ssize_t test_read(struct file *file, char __user *to, size_t len, loff_t *at)
{
	ssize_t done;

	mutex_lock(&lock);
	done = simple_read_from_buffer(to, len, at, answer, strlen(answer));
	mutex_unlock(&lock);
	return done;
}

static const struct file_operations test_fops = {
	.owner = THIS_MODULE,
	.write = test_write,
	.read = test_read,
};

static struct miscdevice test_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "viommu-test",
	.fops = &test_fops,
};

/* ---- the driver ------------------------------------------------------------------ */

static int device_add_one(struct device *dev, unsigned int address_bits)
{
	int err = dma_set_mask_and_coherent(dev, DMA_BIT_MASK(address_bits));
	unsigned int i;

	if (err)
		return err;
	dma_set_max_seg_size(dev, UINT_MAX);
	err = -ENOSPC;
	mutex_lock(&lock);
	for (i = 0; i < DEVICES && err; i++) {
		if (devices[i])
			continue;
		devices[i] = dev;
		err = 0;
	}
	if (!err && !device)
		device = dev;
	mutex_unlock(&lock);
	return err;
}

static void device_gone(struct device *dev)
{
	unsigned int i;

	mutex_lock(&lock);
	if (device == dev) {
		free_all();
		device = NULL;
	}
	for (i = 0; i < DEVICES; i++) {
		if (devices[i] == dev)
			devices[i] = NULL;
	}
	for (i = 0; i < DEVICES && !device; i++)
		device = devices[i];
	mutex_unlock(&lock);
}

static int endpoint_probe(struct platform_device *pdev)
{
	u32 id = 0;
	int err;

	err = device_add_one(&pdev->dev, 48);
	if (err)
		return err;
	device_property_read_u32(&pdev->dev, "viommu,endpoint-id", &id);
	dev_info(&pdev->dev, "test endpoint %#x\n", id);
	return 0;
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
static void endpoint_remove(struct platform_device *pdev)
{
	device_gone(&pdev->dev);
}
#else
static int endpoint_remove(struct platform_device *pdev)
{
	device_gone(&pdev->dev);
	return 0;
}
#endif

static struct platform_driver endpoint_driver = {
	.probe = endpoint_probe,
	.remove = endpoint_remove,
	.driver.name = "viommu-endpoint",
};

static int edu_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	/*
	 * The mediated device behind it takes all addresses. Fewer would not do: pcifront's bus
	 * has windows over all memory, and Linux gives out no IOVAs in a bridge's windows.
	 */
	return device_add_one(&pdev->dev, 48);
}

static void edu_remove(struct pci_dev *pdev)
{
	device_gone(&pdev->dev);
}

static const struct pci_device_id edu_ids[] = {
	{ PCI_DEVICE(0x1234, 0x11e8) },
	{ }
};

static struct pci_driver edu_driver = {
	.name = "viommu-edu",
	.id_table = edu_ids,
	.probe = edu_probe,
	.remove = edu_remove,
};

static int __init test_init(void)
{
	int err = misc_register(&test_misc);

	if (err)
		return err;
	err = platform_driver_register(&endpoint_driver);
	if (err)
		goto undo_misc;
	err = pci_register_driver(&edu_driver);
	if (err)
		goto undo_platform;
	return 0;
undo_platform:
	platform_driver_unregister(&endpoint_driver);
undo_misc:
	misc_deregister(&test_misc);
	return err;
}
module_init(test_init);

static void __exit test_exit(void)
{
	misc_deregister(&test_misc);
	pci_unregister_driver(&edu_driver);
	platform_driver_unregister(&endpoint_driver);
}
module_exit(test_exit);

MODULE_DESCRIPTION("A test endpoint behind virtio-iommu");
MODULE_LICENSE("GPL");
