// SPDX-License-Identifier: GPL-2.0
/*
 * Grants: areas of our own pages (rings, pools, control page), and the pages
 * that MAP names with grants=on-demand.
 *
 * A reference that the backend still uses when it has to end is handed to the
 * kernel's own list of deferred references, which keeps the page and retries:
 * neither is used for anything else before.
 */
#include <linux/atomic.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <xen/interface/grant_table.h>
#include <asm/xen/hypercall.h>

#include "vx.h"

static unsigned int max_grants;
module_param(max_grants, uint, 0444);
MODULE_PARM_DESC(max_grants,
		 "most pages mapped at once with grants=on-demand (0: three quarters of what the grant table can hold)");

static atomic_t grants_reserved = ATOMIC_INIT(0);

static atomic_t quarantined = ATOMIC_INIT(0);

static int quarantined_get(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%d\n", atomic_read(&quarantined));
}

static const struct kernel_param_ops quarantined_ops = {
	.get = quarantined_get,
};
module_param_cb(quarantined, &quarantined_ops, NULL, 0444);
MODULE_PARM_DESC(quarantined,
		 "pages that the backend still had mapped when their grant had to end (read only)");

static int reserved_get(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%d\n", atomic_read(&grants_reserved));
}

static const struct kernel_param_ops reserved_ops = {
	.get = reserved_get,
};
module_param_cb(reserved, &reserved_ops, NULL, 0444);
MODULE_PARM_DESC(reserved, "grant references that mappings hold now (read only)");

unsigned int vx_refs_per_frame(void)
{
	struct gnttab_get_version version = { .dom = DOMID_SELF };

	if (!HYPERVISOR_grant_table_op(GNTTABOP_get_version, &version, 1) &&
	    version.version == 2)
		return XEN_PAGE_SIZE / sizeof(union grant_entry_v2);
	return XEN_PAGE_SIZE / sizeof(struct grant_entry_v1);
}

/* Leaves a quarter of the table to the guest's other frontends. */
static unsigned int grants_limit(void)
{
	unsigned int limit = READ_ONCE(max_grants);

	if (!limit) {
		limit = gnttab_max_grant_frames() * vx_refs_per_frame();
		limit -= limit / 4;
		WRITE_ONCE(max_grants, limit);
	}
	return limit;
}

int vx_area_alloc(struct vx *vx, struct vx_area *area, size_t size)
{
	unsigned int i;

	area->pages = DIV_ROUND_UP(size, XEN_PAGE_SIZE);
	area->va = alloc_pages_exact(area->pages * XEN_PAGE_SIZE,
				     GFP_KERNEL | __GFP_ZERO);
	if (!area->va)
		return -ENOMEM;
	if (gnttab_alloc_grant_reference_seq(area->pages, &area->ref)) {
		free_pages_exact(area->va, area->pages * XEN_PAGE_SIZE);
		area->va = NULL;
		dev_err(&vx->xdev->dev,
			"no %u consecutive grant references: raise max_grant_frames\n",
			area->pages);
		return -ENOSPC;
	}
	for (i = 0; i < area->pages; i++)
		gnttab_grant_foreign_access_ref(area->ref + i,
						vx->xdev->otherend_id,
						virt_to_gfn(area->va + i * XEN_PAGE_SIZE),
						0);
	return 0;
}

/* A page that the backend still has mapped stays until it lets go. */
void vx_area_free(struct vx_area *area)
{
	unsigned int i;

	if (!area->va)
		return;
	for (i = area->pages; i-- > 0;)
		gnttab_end_foreign_access(area->ref + i,
					  virt_to_page(area->va + i * XEN_PAGE_SIZE));
	area->va = NULL;
}

/*
 * Called when the driver adds the request, before anything is sent: the one
 * place where a failure still reaches the caller of the DMA API.
 */
int vx_mapping_reserve(struct vx *vx, struct mirror_mapping *mapping)
{
	u64 pages = ((mapping->last - mapping->first) >> XEN_PAGE_SHIFT) + 1;
	unsigned int limit = grants_limit();
	grant_ref_t ref;
	u64 i;

	if (vx->lazy_refused)
		return -EPERM;
	/* A backend whose granule is smaller: whole pages are what can be granted. */
	if (!PAGE_ALIGNED(mapping->first | (mapping->last + 1) | mapping->phys))
		return -EINVAL;
	if (pages > vx->max_grant_pages || pages > limit) {
		dev_err_ratelimited(&vx->xdev->dev,
				    "MAP of %#llx-%#llx refused: %llu pages; an identity (passthrough) domain needs grants=static, grants=on-demand maps at most %u pages at once\n",
				    mapping->first, mapping->last, pages,
				    min(vx->max_grant_pages, limit));
		return -E2BIG;
	}
	for (i = 0; i < pages; i++) {
		if (!pfn_valid(PHYS_PFN(mapping->phys + (i << XEN_PAGE_SHIFT)))) {
			dev_err_ratelimited(&vx->xdev->dev,
					    "MAP of %#llx-%#llx refused: %#llx is no memory of this guest\n",
					    mapping->first, mapping->last,
					    mapping->phys + (i << XEN_PAGE_SHIFT));
			return -EFAULT;
		}
	}
	if (atomic_add_return(pages, &grants_reserved) > limit ||
	    gnttab_alloc_grant_reference_seq(pages, &ref)) {
		atomic_sub(pages, &grants_reserved);
		return -ENOSPC;
	}
	mapping->ref = ref;
	mapping->pages = pages;
	return 0;
}

void vx_mapping_grant(struct vx *vx, struct mirror_mapping *mapping)
{
	bool readonly = !(mapping->flags & VIRTIO_IOMMU_MAP_F_WRITE);
	unsigned long pfn = PHYS_PFN(mapping->phys);
	u32 i;

	BUILD_BUG_ON(PAGE_SIZE != XEN_PAGE_SIZE);
	for (i = 0; i < mapping->pages; i++)
		gnttab_grant_foreign_access_ref(mapping->ref + i,
						vx->xdev->otherend_id,
						pfn_to_gfn(pfn + i), readonly);
	mapping->granted = true;
}

/* Counts pages that the backend still has mapped, and says so. */
void vx_quarantined(unsigned int pages, u64 phys)
{
	if (pages)
		pr_err_ratelimited("virtio_xenbus: the backend still uses %u pages from %#llx that it had to let go of; they are kept until it does (%d so far)\n",
				   pages, phys,
				   atomic_add_return(pages, &quarantined));
}

/*
 * Ends grants of pages that the driver had mapped. With lazy flushing its
 * caller may have freed a page before the UNMAP was even sent: such a page
 * cannot be held, and its reference is given up for good.
 */
static void end_run(grant_ref_t ref, unsigned int pages, u64 phys)
{
	unsigned int kept = 0;
	unsigned int i;

	/* Downwards, so that the kernel hands them out again in a row. */
	for (i = pages; i-- > 0;) {
		struct page *page;

		if (gnttab_try_end_foreign_access(ref + i))
			continue;
		page = pfn_to_page(PHYS_PFN(phys) + i);
		if (get_page_unless_zero(compound_head(page)))
			gnttab_end_foreign_access(ref + i, page);
		kept++;
	}
	vx_quarantined(kept, phys);
}

void vx_mapping_release(struct mirror *mirror, struct mirror_mapping *mapping)
{
	if (mapping->granted)
		end_run(mapping->ref, mapping->pages, mapping->phys);
	else
		gnttab_free_grant_reference_seq(mapping->ref, mapping->pages);
	atomic_sub(mapping->pages, &grants_reserved);
	mapping->pages = 0;
}
