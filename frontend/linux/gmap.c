// SPDX-License-Identifier: GPL-2.0
/*
 * grants=static: all RAM of the guest is granted once and published as a grant
 * map (docs/protocol.md, section 6) with as few runs as possible.
 *
 * Not on PV guests: a page that the backend has mapped could never become a
 * page table. Not where memory balloons: a granted page cannot be given away.
 */
#include <linux/ioport.h>
#include <linux/mm.h>
#include <linux/nodemask.h>
#include <linux/mmzone.h>
#include <linux/slab.h>

#include "vx.h"

#define DIRECTORY_MAGIC		0x44495658
#define DIRECTORY_ENTRIES	169
#define LEAST_RUN		64

struct directory_entry {
	__le64 addr;
	__le32 first_ref;
	__le32 pages;
	__le32 flags;
	__le32 reserved;
};

struct directory {
	__le32 magic;
	__le32 version;
	__le32 generation;
	__le32 count;
	__le32 next;
	u8 reserved[12];
	struct directory_entry entry[DIRECTORY_ENTRIES];
};

static unsigned long last_pfn(void)
{
	unsigned long end = 0;
	int nid;

	for_each_online_node(nid)
		end = max(end, (unsigned long)node_end_pfn(nid));
	return end;
}

static bool is_ram(unsigned long pfn)
{
	return pfn_valid(pfn) && page_is_ram(pfn);
}

/* The next run of RAM at or after a frame. False when there is none. */
static bool next_run(unsigned long *pfn, unsigned long *pages)
{
	unsigned long end = last_pfn();
	unsigned long first = *pfn;

	for (; first < end && !is_ram(first); first++)
		cond_resched();
	*pfn = first;
	for (; first < end && is_ram(first); first++)
		cond_resched();
	*pages = first - *pfn;
	return *pages;
}

static unsigned long ram_pages(void)
{
	unsigned long total = 0;
	unsigned long pages;
	unsigned long pfn;

	for (pfn = 0; next_run(&pfn, &pages); pfn += pages)
		total += pages;
	return total;
}

/* What must hold before the device is registered; the reason is said. */
int vx_static_possible(struct vx *vx)
{
	struct device *dev = &vx->xdev->dev;
	unsigned int per_frame = vx_refs_per_frame();
	unsigned long pages;
	u64 target;
	u64 most;

	if (!xen_feature(XENFEAT_auto_translated_physmap)) {
		dev_err(dev, "grants=static is refused: a PV guest needs grants=on-demand and iommu.strict=1 on the kernel's command line\n");
		return -EPERM;
	}
	most = xenbus_read_unsigned("memory", "static-max", 0);
	target = xenbus_read_unsigned("memory", "target", 0);
	/* libxl leaves a little slack between the two; a balloon is larger. */
	if (!most || !target || target + SZ_4M / 1024 < most) {
		dev_err(dev, "grants=static is refused: this guest balloons (target %llu of %llu KiB); use grants=on-demand\n",
			target, most);
		return -EPERM;
	}
	pages = ram_pages();
	if (pages + pages / 64 > (unsigned long)gnttab_max_grant_frames() * per_frame) {
		dev_err(dev, "grants=static is refused: %lu pages need max_grant_frames=%lu in the guest's configuration, not %u; or use grants=on-demand\n",
			pages, DIV_ROUND_UP(pages + pages / 64, per_frame) + 16,
			gnttab_max_grant_frames());
		return -ENOSPC;
	}
	return 0;
}

static int grant_run(struct vx *vx, unsigned long pfn, unsigned int pages)
{
	struct vx_run *run = kzalloc(sizeof(*run), GFP_KERNEL);
	unsigned int i;

	if (!run)
		return -ENOMEM;
	if (gnttab_alloc_grant_reference_seq(pages, &run->ref)) {
		kfree(run);
		return -ENOSPC;
	}
	run->addr = (u64)pfn << PAGE_SHIFT;
	run->pages = pages;
	for (i = 0; i < pages; i++)
		gnttab_grant_foreign_access_ref(run->ref + i, vx->xdev->otherend_id,
						pfn_to_gfn(pfn + i), 0);
	list_add_tail(&run->list, &vx->runs);
	return 0;
}

/*
 * One run if there are so many references in a row, which there need not be
 * once others have come and gone: then as few as halving finds.
 */
static int grant_span(struct vx *vx, unsigned long pfn, unsigned int pages)
{
	unsigned int part = pages;
	int err;

	while (pages) {
		part = min(part, pages);
		err = grant_run(vx, pfn, part);
		if (err == -ENOSPC && part > LEAST_RUN) {
			part /= 2;
			continue;
		}
		if (err)
			return err;
		pfn += part;
		pages -= part;
	}
	return 0;
}

static int grant_all(struct vx *vx)
{
	unsigned long pages;
	unsigned long pfn;
	int err;

	if (!list_empty(&vx->runs))
		return 0;
	for (pfn = 0; next_run(&pfn, &pages); pfn += pages) {
		err = pages > INT_MAX ? -E2BIG : grant_span(vx, pfn, pages);
		if (err) {
			dev_err(&vx->xdev->dev, "grants=static: %lu pages from %#llx cannot be granted (%d): raise max_grant_frames\n",
				pages, (u64)pfn << PAGE_SHIFT, err);
			vx_static_free(vx);
			return err;
		}
	}
	return 0;
}

static int write_directory(struct vx *vx)
{
	struct vx_run *run = list_first_entry(&vx->runs, struct vx_run, list);
	unsigned int page;

	for (page = 0; page < vx->map_page_count; page++) {
		struct directory *directory = vx->map_pages[page].va;
		unsigned int i = 0;

		BUILD_BUG_ON(sizeof(*directory) > XEN_PAGE_SIZE);
		directory->magic = cpu_to_le32(DIRECTORY_MAGIC);
		directory->version = cpu_to_le32(VX_VERSION);
		directory->generation = cpu_to_le32(1);
		if (page + 1 < vx->map_page_count)
			directory->next = cpu_to_le32(vx->map_pages[page + 1].ref);
		while (i < DIRECTORY_ENTRIES && !list_entry_is_head(run, &vx->runs, list)) {
			directory->entry[i].addr = cpu_to_le64(run->addr);
			directory->entry[i].first_ref = cpu_to_le32(run->ref);
			directory->entry[i].pages = cpu_to_le32(run->pages);
			run = list_next_entry(run, list);
			i++;
		}
		directory->count = cpu_to_le32(i);
	}
	return 0;
}

/* Before state 3: the backend takes the map with the connection. */
int vx_static_publish(struct vx *vx)
{
	struct vx_run *run;
	unsigned int runs = 0;
	unsigned int i;
	int err;

	err = grant_all(vx);
	if (err)
		return err;
	list_for_each_entry(run, &vx->runs, list)
		runs++;
	vx->map_page_count = DIV_ROUND_UP(runs, DIRECTORY_ENTRIES);
	if (!runs || vx->map_page_count > vx->max_map_pages) {
		dev_err(&vx->xdev->dev, "grants=static: %u runs do not fit the backend's %u directory pages\n",
			runs, vx->max_map_pages);
		return -E2BIG;
	}
	vx->map_pages = kcalloc(vx->map_page_count, sizeof(*vx->map_pages), GFP_KERNEL);
	if (!vx->map_pages)
		return -ENOMEM;
	for (i = 0; i < vx->map_page_count; i++) {
		err = vx_area_alloc(vx, &vx->map_pages[i], XEN_PAGE_SIZE);
		if (err)
			return err;
	}
	err = write_directory(vx);
	return err ? err : vx_offer_map(vx, vx->map_pages[0].ref, false);
}

/* The backend has its own copy once it has answered. */
void vx_static_directory_free(struct vx *vx)
{
	unsigned int i;

	for (i = 0; vx->map_pages && i < vx->map_page_count; i++)
		vx_area_free(&vx->map_pages[i]);
	kfree(vx->map_pages);
	vx->map_pages = NULL;
}

/* One more page, always the one below the last, that cannot be taken back yet. */
static void keep_page(struct vx *vx, u64 addr, grant_ref_t ref)
{
	struct vx_run *run = list_first_entry_or_null(&vx->stale_runs, struct vx_run, list);

	if (!run || run->ref != ref + 1 || run->addr != addr + PAGE_SIZE) {
		run = kzalloc(sizeof(*run), GFP_KERNEL);
		/* Then it stays granted for good. */
		if (!run)
			return;
		list_add(&run->list, &vx->stale_runs);
	}
	run->addr = addr;
	run->ref = ref;
	run->pages++;
}

/* Ends what can be ended; the rest goes to the stale runs. Frees the run. */
static unsigned int end_run(struct vx *vx, struct vx_run *run)
{
	unsigned int kept = 0;

	while (run->pages--) {
		grant_ref_t ref = run->ref + run->pages;

		if (gnttab_try_end_foreign_access(ref))
			continue;
		keep_page(vx, run->addr + ((u64)run->pages << PAGE_SHIFT), ref);
		kept++;
	}
	list_del(&run->list);
	kfree(run);
	return kept;
}

/*
 * Ends the map's grants. The pages are anybody's, or free: they cannot be held
 * as the driver's pages are, so what the backend still has mapped stays granted
 * and is tried again next time.
 */
void vx_static_free(struct vx *vx)
{
	LIST_HEAD(stale);
	struct vx_run *run;
	struct vx_run *next;

	list_splice_init(&vx->stale_runs, &stale);
	list_for_each_entry_safe(run, next, &stale, list)
		end_run(vx, run);
	list_for_each_entry_safe(run, next, &vx->runs, list) {
		u64 addr = run->addr;

		vx_quarantined(end_run(vx, run), addr);
	}
}

/* The module goes: what is still granted stays so for good. */
void vx_static_forget(struct vx *vx)
{
	struct vx_run *run;
	struct vx_run *next;

	vx_static_free(vx);
	list_for_each_entry_safe(run, next, &vx->stale_runs, list) {
		list_del(&run->list);
		kfree(run);
	}
}
