/* SPDX-License-Identifier: GPL-2.0-only */
/* The kernel of model_vfio.h. */
#include <config.h>

#include "tests/support/model_vfio.h"

#include "backend/iommu/iommufd_uapi.h"
#include "common/imap.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/vfio.h>
#include <string.h>

#define FIRST_FD   100
#define PAGE_MASK_ 0xfffull

struct model_table {
    struct model_table *next;
    uint32_t id;
    bool ioas;
    bool type1;       /* SET_IOMMU was done */
    unsigned open;    /* container: descriptors of it */
    struct imap *map; /* value: address, flags: 1 read, 2 write */
};

static void complain(struct model_kernel *m, const char *what)
{
    m->complaint = m->complaint ? m->complaint : what;
}

/* Counts a call; the errno to fail with, or 0. */
static int enter(struct model_kernel *m, enum model_call call)
{
    unsigned n = ++m->calls[call];

    if (m->fail_at[call] == 0 || n < m->fail_at[call] || n > m->fail_to[call])
        return 0;
    m->failed = true;
    return m->fail_with[call];
}

/* --- tables ----------------------------------------------------------------------------------- */

static struct model_table *table_new(struct model_kernel *m, bool ioas)
{
    struct model_table *table = calloc(1, sizeof(*table));

    if (!table)
        return NULL;
    table->map = imap_new();
    if (!table->map) {
        free(table);
        return NULL;
    }
    table->id = ++m->last_id;
    table->ioas = ioas;
    table->next = m->tables;
    m->tables = table;
    return table;
}

static void table_free(struct model_kernel *m, struct model_table *table)
{
    for (struct model_table **at = &m->tables; *at; at = &(*at)->next) {
        if (*at == table) {
            *at = table->next;
            break;
        }
    }
    imap_free(table->map);
    free(table);
}

static struct model_table *find_ioas(const struct model_kernel *m, uint32_t id)
{
    struct model_table *table = m->tables;

    while (table && !(table->ioas && table->id == id))
        table = table->next;
    return table;
}

static bool table_in_use(const struct model_kernel *m, const struct model_table *table)
{
    for (size_t i = 0; i < m->n_groups; i++) {
        if (m->groups[i].table == table)
            return true;
    }
    for (size_t i = 0; i < m->n_devices; i++) {
        if (m->devices[i].table == table)
            return true;
    }
    return false;
}

static uint64_t page_sizes(const struct model_kernel *m)
{
    return m->page_sizes ? m->page_sizes : 0x40201000;
}

static bool translatable(const struct model_kernel *m, struct range iova)
{
    for (size_t i = 0; i < m->n_ranges; i++) {
        if (range_contains(m->ranges[i], iova))
            return true;
    }
    return m->n_ranges == 0;
}

static int table_map(struct model_kernel *m, struct model_table *table, uint64_t first,
                     uint64_t size, uint64_t hva, uint32_t flags)
{
    uint64_t mask = (page_sizes(m) & -page_sizes(m)) - 1;
    struct imap_entry entry = {.value = hva, .flags = flags};
    int r;

    if (flags == 0 || ((first | size | hva) & mask) != 0 ||
        !range_from_size(first, size, &entry.range) || !translatable(m, entry.range)) {
        complain(m, "a mapping that no kernel takes");
        return -EINVAL;
    }
    r = imap_insert(table->map, &entry);
    if (r == -EEXIST)
        complain(m, "a mapping over another");
    return r;
}

static void count_removed(const struct imap_entry *entry, void *ctx)
{
    *(uint64_t *)ctx += range_size(entry->range);
}

/* Bytes removed; the first mapping stays if the kernel is made to fall short. */
static int table_unmap(struct model_kernel *m, struct model_table *table, struct range iova,
                       bool fall_short, uint64_t *bytes_out)
{
    struct imap_entry first;

    if (!imap_covers_whole_entries(table->map, iova)) {
        complain(m, "an unmap that splits a mapping");
        return -EINVAL;
    }
    *bytes_out = 0;
    if (fall_short && imap_first_in(table->map, iova, &first)) {
        if (first.range.last == iova.last)
            return 0;
        iova.first = first.range.last + 1;
    }
    (void)imap_remove_within(table->map, iova, count_removed, bytes_out);
    return 0;
}

/* --- files ------------------------------------------------------------------------------------ */

static struct model_file *find_file(struct model_kernel *m, int fd)
{
    struct model_file *file;

    if (fd < FIRST_FD || fd >= FIRST_FD + MODEL_FILES ||
        m->files[fd - FIRST_FD].type == MODEL_FILE_NONE) {
        complain(m, "a call on a closed descriptor");
        return NULL;
    }
    file = &m->files[fd - FIRST_FD];
    return file;
}

static int file_new(struct model_kernel *m, struct model_file file)
{
    for (int i = 0; i < MODEL_FILES; i++) {
        if (m->files[i].type == MODEL_FILE_NONE) {
            m->files[i] = file;
            return FIRST_FD + i;
        }
    }
    return -EMFILE;
}

struct model_group *model_kernel_group(struct model_kernel *m, unsigned number)
{
    for (size_t i = 0; i < m->n_groups; i++) {
        if (m->groups[i].number == number)
            return &m->groups[i];
    }
    return NULL;
}

static bool group_has_open_device(const struct model_kernel *m, unsigned group)
{
    for (size_t i = 0; i < m->n_devices; i++) {
        if (m->devices[i].group == group && m->devices[i].open > 0)
            return true;
    }
    return false;
}

/* The last group takes a container's mappings with it; the last file the container. */
static void leave_container(struct model_kernel *m, struct model_group *group)
{
    struct model_table *table = group->table;

    group->table = NULL;
    if (!table || table_in_use(m, table))
        return;
    (void)imap_remove_within(table->map, (struct range){0, UINT64_MAX}, NULL, NULL);
    table->type1 = false;
    if (table->open == 0)
        table_free(m, table);
}

/* A device's file holds its group's. */
static void release_group(struct model_kernel *m, struct model_group *group)
{
    if (group->open == 0 && !group_has_open_device(m, group->number))
        leave_container(m, group);
}

static void release_device(struct model_kernel *m, struct model_device *dev)
{
    struct model_group *group = model_kernel_group(m, dev->group);

    if (--dev->open > 0)
        return;
    dev->table = NULL;
    dev->bound = false;
    release_group(m, group);
}

static void model_close(void *ctx, int fd)
{
    struct model_kernel *m = ctx;
    struct model_file *file = find_file(m, fd);
    struct model_file old;

    m->syscalls++;
    if (!file)
        return;
    old = *file;
    *file = (struct model_file){.type = MODEL_FILE_NONE};
    if (old.type == MODEL_FILE_CONTAINER && --old.table->open == 0 && !table_in_use(m, old.table))
        table_free(m, old.table);
    if (old.type == MODEL_FILE_GROUP && --old.group->open == 0)
        release_group(m, old.group);
    if (old.type == MODEL_FILE_DEVICE || old.type == MODEL_FILE_CDEV)
        release_device(m, old.device);
}

static int open_container(struct model_kernel *m)
{
    struct model_table *table = table_new(m, false);
    int fd;

    if (!table)
        return -ENOMEM;
    table->open = 1;
    fd = file_new(m, (struct model_file){.type = MODEL_FILE_CONTAINER, .table = table});
    if (fd < 0)
        table_free(m, table);
    return fd;
}

static int open_cdev(struct model_kernel *m, unsigned index)
{
    int fd;

    if (index >= m->n_devices || m->no_cdevs)
        return -ENOENT;
    fd = file_new(m, (struct model_file){.type = MODEL_FILE_CDEV, .device = &m->devices[index]});
    if (fd >= 0)
        m->devices[index].open++;
    return fd;
}

static int open_group(struct model_kernel *m, unsigned number)
{
    struct model_group *group = model_kernel_group(m, number);

    if (!group)
        return -ENOENT;
    if (group->open > 0 || group_has_open_device(m, number))
        return -EBUSY;
    group->open++;
    return file_new(m, (struct model_file){.type = MODEL_FILE_GROUP, .group = group});
}

static int model_open(void *ctx, const char *path)
{
    struct model_kernel *m = ctx;
    int r = enter(m, MODEL_OPEN);
    unsigned number;
    char end;

    m->syscalls++;
    if (r != 0)
        return -r;
    if (strcmp(path, "/dev/vfio/vfio") == 0)
        return open_container(m);
    if (strcmp(path, "/dev/iommu") == 0)
        return m->no_iommufd ? -ENOENT
                             : file_new(m, (struct model_file){.type = MODEL_FILE_IOMMUFD});
    if (sscanf(path, "/dev/vfio/devices/vfio%u%c", &number, &end) == 1)
        return open_cdev(m, number);
    if (sscanf(path, "/dev/vfio/%u%c", &number, &end) == 1)
        return open_group(m, number);
    return -ENOENT;
}

/* --- sysfs ------------------------------------------------------------------------------------ */

static struct model_device *find_device(struct model_kernel *m, const char *path, const char *rest)
{
    char wanted[160];

    for (size_t i = 0; i < m->n_devices; i++) {
        snprintf(wanted, sizeof(wanted), "/sys/bus/%s/devices/%s/%s",
                 m->devices[i].emulated ? "mdev" : "pci", m->devices[i].name, rest);
        if (strcmp(path, wanted) == 0)
            return &m->devices[i];
    }
    return NULL;
}

static int model_readlink(void *ctx, const char *path, char *out, size_t size)
{
    struct model_kernel *m = ctx;
    int r = enter(m, MODEL_READLINK);
    const struct model_device *dev = find_device(m, path, "iommu_group");

    m->syscalls++;
    if (r != 0)
        return -r;
    if (!dev)
        return -ENOENT;
    snprintf(out, size, "../../../kernel/iommu_groups/%u", dev->group);
    return 0;
}

static int model_read_text(void *ctx, const char *path, char *out, size_t size)
{
    struct model_kernel *m = ctx;
    int r = enter(m, MODEL_READ_TEXT);
    const struct model_group *group;
    unsigned number;

    m->syscalls++;
    if (r != 0)
        return -r;
    if (sscanf(path, "/sys/kernel/iommu_groups/%u/reserved_regions", &number) != 1)
        return -ENOENT;
    group = model_kernel_group(m, number);
    if (!group)
        return -ENOENT;
    if (strlen(group->resv) >= size)
        return -EFBIG;
    memcpy(out, group->resv, strlen(group->resv) + 1);
    return (int)strlen(group->resv);
}

static bool model_exists(void *ctx, const char *path)
{
    struct model_kernel *m = ctx;

    m->syscalls++;
    return strcmp(path, "/dev/iommu") == 0 && !m->no_iommufd;
}

static int model_find_name(void *ctx, const char *dir, const char *prefix, char *out, size_t size)
{
    struct model_kernel *m = ctx;
    int r = enter(m, MODEL_FIND_NAME);
    const struct model_device *dev = find_device(m, dir, "vfio-dev");

    m->syscalls++;
    if (r != 0)
        return -r;
    if (!dev || m->no_cdevs || strcmp(prefix, "vfio") != 0)
        return -ENOENT;
    snprintf(out, size, "vfio%u", (unsigned)(dev - m->devices));
    return 0;
}

static int model_pipe(void *ctx, int fds[2])
{
    struct model_kernel *m = ctx;
    int r = enter(m, MODEL_PIPE);

    m->syscalls++;
    if (r != 0)
        return -r;
    fds[0] = file_new(m, (struct model_file){.type = MODEL_FILE_PIPE});
    fds[1] = file_new(m, (struct model_file){.type = MODEL_FILE_PIPE});
    return fds[0] < 0 || fds[1] < 0 ? -EMFILE : 0;
}

static int model_grep(void *ctx, const char *path, const char *text)
{
    struct model_kernel *m = ctx;
    int r = enter(m, MODEL_GREP);

    m->syscalls++;
    if (r != 0)
        return -r;
    if (strcmp(path, "/proc/iomem") != 0 || strcmp(text, "Xen scratch") != 0)
        complain(m, "grep of an unknown file");
    return m->placeholders ? 0 : -ENOENT;
}

/* --- ioctls of type1 -------------------------------------------------------------------------- */

struct call_args {
    struct model_kernel *m;
    struct model_file *file;
    uintptr_t arg;
    bool fall_short;
};

static int do_api_version(const struct call_args *c UNUSED)
{
    return VFIO_API_VERSION;
}

static int do_check_extension(const struct call_args *c)
{
    return c->arg == VFIO_TYPE1v2_IOMMU;
}

static int do_set_iommu(const struct call_args *c)
{
    if (c->arg != VFIO_TYPE1v2_IOMMU || c->file->table->type1 ||
        !table_in_use(c->m, c->file->table))
        return -EINVAL;
    c->file->table->type1 = true;
    return 0;
}

static int do_get_status(const struct call_args *c)
{
    struct vfio_group_status *status = (void *)c->arg;

    status->flags = c->file->group->unviable ? 0 : VFIO_GROUP_FLAGS_VIABLE;
    if (c->file->group->table)
        status->flags |= VFIO_GROUP_FLAGS_CONTAINER_SET;
    return 0;
}

static int do_set_container(const struct call_args *c)
{
    const struct model_file *container = find_file(c->m, *(const int *)c->arg);

    if (!container || container->type != MODEL_FILE_CONTAINER || c->file->group->table)
        return -EINVAL;
    c->file->group->table = container->table;
    return 0;
}

static int do_unset_container(const struct call_args *c)
{
    if (!c->file->group->table)
        return -EINVAL;
    if (group_has_open_device(c->m, c->file->group->number))
        return -EBUSY;
    leave_container(c->m, c->file->group);
    return 0;
}

static int do_get_device_fd(const struct call_args *c)
{
    struct model_kernel *m = c->m;
    const char *name = (const char *)c->arg;

    if (!c->file->group->table || !c->file->group->table->type1)
        return -EINVAL;
    for (size_t i = 0; i < m->n_devices; i++) {
        struct model_device *dev = &m->devices[i];
        int fd;

        if (strcmp(dev->name, name) != 0 || dev->group != c->file->group->number)
            continue;
        fd = file_new(m, (struct model_file){.type = MODEL_FILE_DEVICE, .device = dev});
        if (fd >= 0)
            dev->open++;
        return fd;
    }
    return -ENODEV;
}

static int do_device_reset(const struct call_args *c)
{
    c->file->device->resets++;
    return 0;
}

static size_t entry_limit(const struct model_kernel *m)
{
    return m->entry_limit ? m->entry_limit : 65535;
}

struct info_reply {
    struct vfio_iommu_type1_info info;
    uint32_t pad;
    struct {
        struct vfio_info_cap_header header;
        uint32_t nr_iovas;
        uint32_t reserved;
        struct vfio_iova_range ranges[MODEL_RANGES];
    } iova;
    struct {
        struct vfio_info_cap_header header;
        uint32_t avail;
    } dma;
};

static int do_get_info(const struct call_args *c)
{
    const struct model_kernel *m = c->m;
    struct vfio_iommu_type1_info *out = (void *)c->arg;
    uint32_t room = out->argsz;
    struct info_reply reply = {
        .info = {.argsz = sizeof(reply),
                 .flags = VFIO_IOMMU_INFO_PGSIZES | VFIO_IOMMU_INFO_CAPS,
                 .iova_pgsizes = page_sizes(m)},
        .iova = {.header = {.id = VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, .version = 1},
                 .nr_iovas = (uint32_t)m->n_ranges},
        .dma = {.header = {.id = VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, .version = 1}},
    };

    for (size_t i = 0; i < m->n_ranges; i++)
        reply.iova.ranges[i] = (struct vfio_iova_range){m->ranges[i].first, m->ranges[i].last};
    reply.iova.header.next = offsetof(struct info_reply, dma);
    reply.dma.avail = (uint32_t)(entry_limit(m) - imap_count(c->file->table->map));
    if (m->no_caps)
        reply.info.argsz = sizeof(reply.info);
    if (m->no_caps || room < sizeof(reply)) {
        if (m->no_caps)
            reply.info.flags = VFIO_IOMMU_INFO_PGSIZES;
        memcpy(out, &reply.info, sizeof(reply.info));
        return 0;
    }
    /* Emulated groups have no list of ranges. */
    reply.info.cap_offset = m->n_ranges > 0 ? (uint32_t)offsetof(struct info_reply, iova)
                                            : (uint32_t)offsetof(struct info_reply, dma);
    memcpy(out, &reply, sizeof(reply));
    return 0;
}

static int do_map_dma(const struct call_args *c)
{
    const struct vfio_iommu_type1_dma_map *map = (const void *)c->arg;

    if (map->argsz != sizeof(*map) || !c->file->table->type1) {
        complain(c->m, "MAP_DMA without a type1 container, or of another size");
        return -EINVAL;
    }
    if (imap_count(c->file->table->map) >= entry_limit(c->m))
        return -ENOSPC;
    return table_map(c->m, c->file->table, map->iova, map->size, map->vaddr, map->flags);
}

static int do_unmap_dma(const struct call_args *c)
{
    struct vfio_iommu_type1_dma_unmap *unmap = (void *)c->arg;
    struct range iova;
    uint64_t bytes = 0;
    int r;

    if (unmap->flags == VFIO_DMA_UNMAP_FLAG_ALL && unmap->iova == 0 && unmap->size == 0) {
        iova = (struct range){0, UINT64_MAX};
    } else if (unmap->argsz != sizeof(*unmap) || unmap->flags != 0 ||
               !range_from_size(unmap->iova, unmap->size, &iova)) {
        complain(c->m, "UNMAP_DMA of a range that is none");
        return -EINVAL;
    }
    r = table_unmap(c->m, c->file->table, iova, c->fall_short, &bytes);
    if (r == 0)
        unmap->size = bytes;
    return r;
}

/* --- ioctls of iommufd ------------------------------------------------------------------------ */

static int do_bind(const struct call_args *c)
{
    const struct ufd_vfio_bind *bind = (const void *)c->arg;
    const struct model_file *iommufd = find_file(c->m, bind->iommufd);

    if (!iommufd || iommufd->type != MODEL_FILE_IOMMUFD || bind->flags != 0 ||
        c->file->device->bound)
        return -EINVAL;
    c->file->device->bound = true;
    return 0;
}

/* A group has one table at a time. */
static int do_attach(const struct call_args *c)
{
    struct ufd_vfio_attach *attach = (void *)c->arg;
    struct model_table *table = find_ioas(c->m, attach->pt_id);
    const struct model_device *self = c->file->device;

    if (!self->bound || !table)
        return -ENOENT;
    for (size_t i = 0; i < c->m->n_devices; i++) {
        const struct model_device *dev = &c->m->devices[i];

        if (dev != self && dev->group == self->group && dev->table && dev->table != table)
            return -EINVAL;
    }
    c->file->device->table = table;
    attach->pt_id = 1000 + table->id;
    return 0;
}

static int do_detach(const struct call_args *c)
{
    if (!c->file->device->table)
        complain(c->m, "a device is detached that is not attached");
    c->file->device->table = NULL;
    return 0;
}

static int do_destroy(const struct call_args *c)
{
    const struct ufd_destroy *destroy = (const void *)c->arg;
    struct model_table *table = find_ioas(c->m, destroy->id);

    if (!table)
        return -ENOENT;
    if (table_in_use(c->m, table)) {
        complain(c->m, "an IOAS is destroyed while a device is attached");
        return -EBUSY;
    }
    table_free(c->m, table);
    return 0;
}

static int do_ioas_alloc(const struct call_args *c)
{
    struct ufd_ioas_alloc *alloc = (void *)c->arg;
    struct model_table *table = table_new(c->m, true);

    if (!table)
        return -ENOMEM;
    alloc->out_ioas_id = table->id;
    return 0;
}

static int do_iova_ranges(const struct call_args *c)
{
    struct ufd_ioas_iova_ranges *query = (void *)c->arg;
    struct ufd_iova_range *out = (void *)(uintptr_t)query->allowed_iovas;
    const struct model_table *table = find_ioas(c->m, query->ioas_id);
    static const struct range everything[1] = {{0, UINT64_MAX}};
    const struct range *ranges = c->m->n_ranges ? c->m->ranges : everything;
    uint32_t n = c->m->n_ranges ? (uint32_t)c->m->n_ranges : 1, room = query->num_iovas;

    if (!table || !table_in_use(c->m, table))
        complain(c->m, "ranges of an IOAS without a device");
    query->num_iovas = n;
    query->out_iova_alignment = page_sizes(c->m) & -page_sizes(c->m);
    if (n > room)
        return -EMSGSIZE;
    for (uint32_t i = 0; i < n; i++)
        out[i] = (struct ufd_iova_range){ranges[i].first, ranges[i].last};
    return 0;
}

static int do_ioas_map(const struct call_args *c)
{
    const struct ufd_ioas_map *map = (const void *)c->arg;
    struct model_table *table = find_ioas(c->m, map->ioas_id);
    uint32_t flags = ((map->flags & UFD_MAP_READABLE) ? 1u : 0u) |
                     ((map->flags & UFD_MAP_WRITEABLE) ? 2u : 0u);

    if (!table || map->size != sizeof(*map) || !(map->flags & UFD_MAP_FIXED_IOVA))
        return -ENOENT;
    return table_map(c->m, table, map->iova, map->length, map->user_va, flags);
}

static int do_ioas_unmap(const struct call_args *c)
{
    struct ufd_ioas_unmap *unmap = (void *)c->arg;
    struct model_table *table = find_ioas(c->m, unmap->ioas_id);
    struct range iova = {0, UINT64_MAX};
    uint64_t bytes = 0;
    int r;

    if (!table)
        return -ENOENT;
    if (!(unmap->iova == 0 && unmap->length == UINT64_MAX) &&
        !range_from_size(unmap->iova, unmap->length, &iova))
        return -EOVERFLOW;
    if (!imap_first_in(table->map, iova, NULL))
        return -ENOENT;
    r = table_unmap(c->m, table, iova, c->fall_short, &bytes);
    if (r == 0)
        unmap->length = bytes;
    return r;
}

/* --- the table of ioctls ---------------------------------------------------------------------- */

static const struct {
    unsigned long request;
    enum model_call call;
    enum model_file_type type;
    int (*run)(const struct call_args *c);
} ioctls[] = {
    {VFIO_GET_API_VERSION, MODEL_GET_API_VERSION, MODEL_FILE_CONTAINER, do_api_version},
    {VFIO_CHECK_EXTENSION, MODEL_CHECK_EXTENSION, MODEL_FILE_CONTAINER, do_check_extension},
    {VFIO_SET_IOMMU, MODEL_SET_IOMMU, MODEL_FILE_CONTAINER, do_set_iommu},
    {VFIO_IOMMU_GET_INFO, MODEL_GET_INFO, MODEL_FILE_CONTAINER, do_get_info},
    {VFIO_IOMMU_MAP_DMA, MODEL_MAP_DMA, MODEL_FILE_CONTAINER, do_map_dma},
    {VFIO_IOMMU_UNMAP_DMA, MODEL_UNMAP_DMA, MODEL_FILE_CONTAINER, do_unmap_dma},
    {VFIO_GROUP_GET_STATUS, MODEL_GROUP_GET_STATUS, MODEL_FILE_GROUP, do_get_status},
    {VFIO_GROUP_SET_CONTAINER, MODEL_GROUP_SET_CONTAINER, MODEL_FILE_GROUP, do_set_container},
    {VFIO_GROUP_UNSET_CONTAINER, MODEL_GROUP_UNSET_CONTAINER, MODEL_FILE_GROUP, do_unset_container},
    {VFIO_GROUP_GET_DEVICE_FD, MODEL_GROUP_GET_DEVICE_FD, MODEL_FILE_GROUP, do_get_device_fd},
    {VFIO_DEVICE_RESET, MODEL_DEVICE_RESET, MODEL_FILE_DEVICE, do_device_reset},
    {VFIO_DEVICE_RESET, MODEL_DEVICE_RESET, MODEL_FILE_CDEV, do_device_reset},
    {UFD_VFIO_BIND, MODEL_BIND, MODEL_FILE_CDEV, do_bind},
    {UFD_VFIO_ATTACH, MODEL_ATTACH, MODEL_FILE_CDEV, do_attach},
    {UFD_VFIO_DETACH, MODEL_DETACH, MODEL_FILE_CDEV, do_detach},
    {UFD_DESTROY, MODEL_DESTROY, MODEL_FILE_IOMMUFD, do_destroy},
    {UFD_IOAS_ALLOC, MODEL_IOAS_ALLOC, MODEL_FILE_IOMMUFD, do_ioas_alloc},
    {UFD_IOAS_IOVA_RANGES, MODEL_IOVA_RANGES, MODEL_FILE_IOMMUFD, do_iova_ranges},
    {UFD_IOAS_MAP, MODEL_IOAS_MAP, MODEL_FILE_IOMMUFD, do_ioas_map},
    {UFD_IOAS_UNMAP, MODEL_IOAS_UNMAP, MODEL_FILE_IOMMUFD, do_ioas_unmap},
};

static int model_ioctl(void *ctx, int fd, unsigned long request, uintptr_t arg)
{
    struct model_kernel *m = ctx;
    struct model_file *file = find_file(m, fd);
    struct call_args c = {.m = m, .file = file, .arg = arg};
    int r;

    m->syscalls++;
    for (size_t i = 0; file && i < ARRAY_SIZE(ioctls); i++) {
        if (ioctls[i].request != request || ioctls[i].type != file->type)
            continue;
        r = enter(m, ioctls[i].call);
        c.fall_short = r == MODEL_SHORT;
        return r == 0 || c.fall_short ? ioctls[i].run(&c) : -r;
    }
    complain(m, "an ioctl that the file does not have");
    return -ENOTTY;
}

static const struct kernel_ops model_ops = {
    .open = model_open,
    .close = model_close,
    .ioctl = model_ioctl,
    .readlink = model_readlink,
    .read_text = model_read_text,
    .exists = model_exists,
    .find_name = model_find_name,
    .pipe = model_pipe,
    .grep = model_grep,
};

/* --- for tests -------------------------------------------------------------------------------- */

void model_kernel_init(struct model_kernel *m)
{
    *m = (struct model_kernel){
        .ranges = {{0, 0xfedfffff}, {0xfef00000, (1ull << 48) - 1}},
        .n_ranges = 2,
    };
    m->kernel = (struct kernel){.ops = &model_ops, .ctx = m};
}

void model_kernel_fini(struct model_kernel *m)
{
    while (m->tables)
        table_free(m, m->tables);
}

struct model_device *model_kernel_add(struct model_kernel *m, const char *name, unsigned group)
{
    struct model_device *dev = &m->devices[m->n_devices];

    if (m->n_devices == MODEL_DEVICES || m->n_groups == MODEL_GROUPS)
        return NULL;
    m->n_devices++;
    *dev = (struct model_device){.name = name, .group = group, .emulated = !strchr(name, ':')};
    if (!model_kernel_group(m, group))
        m->groups[m->n_groups++] = (struct model_group){
            .number = group,
            .resv = dev->emulated ? "" : "0x00000000fee00000 0x00000000feefffff msi\n"};
    return dev;
}

void model_kernel_fail(struct model_kernel *m, enum model_call call, unsigned n, unsigned count,
                       int error)
{
    m->fail_at[call] = m->calls[call] + n;
    m->fail_to[call] = m->fail_at[call] + count - 1;
    m->fail_with[call] = error;
    m->failed = false;
}

void model_kernel_no_fail(struct model_kernel *m)
{
    memset(m->fail_at, 0, sizeof(m->fail_at));
}

void model_kernel_companion(struct model_kernel *m, struct model_device *dev, bool has)
{
    if (has)
        dev->open++;
    else
        release_device(m, dev);
}

size_t model_kernel_files(const struct model_kernel *m)
{
    size_t n = 0;

    for (size_t i = 0; i < MODEL_FILES; i++)
        n += m->files[i].type != MODEL_FILE_NONE;
    return n;
}

static const struct model_table *table_of(const struct model_kernel *m,
                                          const struct model_device *dev)
{
    if (dev->table)
        return dev->table;
    for (size_t i = 0; i < m->n_groups; i++) {
        if (m->groups[i].number == dev->group)
            return m->groups[i].table;
    }
    return NULL;
}

size_t model_kernel_reach(const struct model_kernel *m, const struct model_device *dev)
{
    const struct model_table *table = table_of(m, dev);

    return table ? imap_count(table->map) : 0;
}

/* One mapping of the device's table against the host's pieces; *n_io counts those. */
static const char *compare_mapping(const struct model_table *table, const struct imap_entry *entry,
                                   const struct model_space *mem, size_t *n_io)
{
    uint64_t at = entry->range.first, gpa;
    struct imap_entry piece;

    for (;; at = piece.range.last + 1, (*n_io)++) {
        if (!table || !imap_lookup(table->map, at, &piece))
            return "the host lacks a mapping of the table";
        if (piece.range.first != at || piece.range.last > entry->range.last)
            return "the host maps other addresses than the table";
        if (piece.flags != (entry->flags & 3))
            return "the host maps with other access than the table";
        if (!model_space_gpa(mem, (const void *)(uintptr_t)piece.value, &gpa) ||
            gpa != entry->value + (at - entry->range.first))
            return "the host maps to other memory than the table";
        if (piece.range.last == entry->range.last) {
            (*n_io)++;
            return NULL;
        }
    }
}

static const char *compare_vdomain(const struct model_table *table, const struct viommu *v,
                                   uint32_t vdomain, const struct model_space *mem)
{
    struct imap_entry entry;
    const char *wrong;
    uint64_t next = 0;
    size_t n = 0;

    while (viommu_mapping_next(v, vdomain, next, &entry)) {
        if (entry.flags & (VIOMMU_MAP_F_READ | VIOMMU_MAP_F_WRITE)) {
            wrong = compare_mapping(table, &entry, mem, &n);
            if (wrong)
                return wrong;
        }
        if (entry.range.last == UINT64_MAX)
            break;
        next = entry.range.last + 1;
    }
    return n == (table ? imap_count(table->map) : 0) ? NULL : "the host maps more than the table";
}

/* Another endpoint of the group that is attached: its vdomain is what the whole group sees. */
static bool sibling_vdomain(const struct model_kernel *m, const struct viommu *v, size_t index,
                            uint32_t *vdomain_out)
{
    struct viommu_endpoint_info info;

    for (size_t i = 0; i < m->n_devices; i++) {
        uint32_t id = 8 + (uint32_t)i;

        if (m->devices[i].group == m->devices[index].group && !m->devices[i].table &&
            viommu_endpoint_next(v, id, &info) && info.id == id && info.attached) {
            *vdomain_out = info.vdomain;
            return true;
        }
    }
    return false;
}

const char *model_kernel_compare(const struct model_kernel *m, const struct viommu *v,
                                 const struct model_space *mem, unsigned blocked)
{
    struct viommu_endpoint_info info;
    const char *wrong = m->complaint;
    uint32_t vdomain;

    for (size_t i = 0; i < m->n_devices && !wrong; i++) {
        const struct model_device *dev = &m->devices[i];
        uint32_t id = 8 + (uint32_t)i;
        bool there = viommu_endpoint_next(v, id, &info) && info.id == id;

        if (there && info.attached && !(blocked & (1u << i)))
            wrong = compare_vdomain(table_of(m, dev), v, info.vdomain, mem);
        else if (model_kernel_reach(m, dev) > 0 &&
                 (dev->table || !sibling_vdomain(m, v, i, &vdomain) || (blocked & (1u << i))))
            wrong = "a device reaches what it should not";
    }
    return wrong;
}

static int dump_entry(const struct imap_entry *entry, void *ctx)
{
    fprintf(ctx, "  %#" PRIx64 "-%#" PRIx64 " -> %#" PRIx64 " %u\n", entry->range.first,
            entry->range.last, entry->value, entry->flags);
    return 0;
}

void model_kernel_dump(const struct model_kernel *m, FILE *out)
{
    for (size_t i = 0; i < m->n_devices; i++) {
        const struct model_table *table = table_of(m, &m->devices[i]);

        fprintf(out, "host %s open %u\n", m->devices[i].name, m->devices[i].open);
        if (table)
            (void)imap_for_each(table->map, (struct range){0, UINT64_MAX}, dump_entry, out);
    }
    fprintf(out, "host files %zu\n", model_kernel_files(m));
}
