/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a worker shows of its device, as JSON. Every reply is bounded, in size (a frame) and in work
 * (the guest waits meanwhile), whatever the guest has built up: long lists are cut or paged.
 * 64-bit numbers travel as "0x..." texts.
 */
#include <config.h>

#include "backend/daemon/worker_priv.h"

#include <errno.h>
#include <string.h>

#define SHOW_MAX_VDOMAINS  128u
#define SHOW_MAX_ENDPOINTS 64u
#define PAGE_VDOMAINS      16u /* vdomains looked at for one page of mappings */

/* Sets a member, remembering the first failure: json_object_set_new takes NULL for a failure. */
static void put(json_t *obj, int *r, const char *key, json_t *value)
{
    if (json_object_set_new(obj, key, value) < 0)
        *r = -ENOMEM;
}

static void put_count(json_t *obj, int *r, const char *key, uint64_t value)
{
    put(obj, r, key, json_integer((json_int_t)(value & INT64_MAX)));
}

static json_t *new_range(struct range range)
{
    return json_pack("[o, o]", msg_new_u64(range.first), msg_new_u64(range.last));
}

struct bit_name {
    uint64_t bit;
    const char *name;
};

static json_t *new_bits(uint64_t value, const struct bit_name *names, size_t n)
{
    json_t *list = json_array();

    for (size_t i = 0; i < n; i++) {
        if ((value & names[i].bit) && json_array_append_new(list, json_string(names[i].name)) < 0)
            break;
    }
    return list;
}

static json_t *new_features(uint64_t features)
{
    static const struct bit_name names[] = {
        {VIOMMU_F_INPUT_RANGE, "INPUT_RANGE"},
        {VIOMMU_F_DOMAIN_RANGE, "DOMAIN_RANGE"},
        {VIOMMU_F_MAP_UNMAP, "MAP_UNMAP"},
        {VIOMMU_F_PROBE, "PROBE"},
        {VIOMMU_F_MMIO, "MMIO"},
        {VIOMMU_F_BYPASS_CONFIG, "BYPASS_CONFIG"},
        {VIRTIO_F_INDIRECT_DESC, "INDIRECT_DESC"},
        {VIRTIO_F_EVENT_IDX, "EVENT_IDX"},
        {VIRTIO_F_VERSION_1, "VERSION_1"},
        {VIRTIO_F_ACCESS_PLATFORM, "ACCESS_PLATFORM"},
    };

    return new_bits(features, names, ARRAY_SIZE(names));
}

static json_t *new_status(uint8_t status)
{
    static const struct bit_name names[] = {
        {0x01, "ACKNOWLEDGE"}, {0x02, "DRIVER"},      {0x08, "FEATURES_OK"},
        {0x04, "DRIVER_OK"},   {0x40, "NEEDS_RESET"}, {0x80, "FAILED"},
    };

    return new_bits(status, names, ARRAY_SIZE(names));
}

static json_t *new_config(struct worker *w, int *r)
{
    const struct viommu_config *c = viommu_config(device_viommu(w->device));
    json_t *obj = json_object();

    put(obj, r, "page_size_mask", msg_new_u64(c->page_size_mask));
    put(obj, r, "input_range", new_range(c->input_range));
    put(obj, r, "domain_range", new_range(c->domain_range));
    put_count(obj, r, "probe_size", c->probe_size);
    put(obj, r, "bypass", json_boolean(viommu_bypass(device_viommu(w->device))));
    put_count(obj, r, "max_mappings", c->max_mappings);
    put_count(obj, r, "max_vdomains", c->max_vdomains);
    put_count(obj, r, "max_faults", c->max_faults);
    put_count(obj, r, "max_pages", w->config.mem.max_pages);
    put_count(obj, r, "max_windows", w->config.mem.max_windows);
    put_count(obj, r, "queue_size", w->config.max_queue_size);
    return obj;
}

static json_t *new_vdomain_row(const struct viommu_vdomain_info *info)
{
    return json_pack("{s:I, s:b, s:I, s:I}", "id", (json_int_t)info->id, "bypass", info->bypass,
                     "mappings", (json_int_t)info->n_mappings, "endpoints",
                     (json_int_t)info->n_endpoints);
}

static json_t *new_vdomains(const struct viommu *v, int *r)
{
    struct viommu_vdomain_info info;
    json_t *list = json_array();
    uint32_t id = 0;

    for (unsigned i = 0; i < SHOW_MAX_VDOMAINS && viommu_vdomain_next(v, id, &info); i++) {
        if (json_array_append_new(list, new_vdomain_row(&info)) < 0)
            *r = -ENOMEM;
        if (info.id == UINT32_MAX)
            break;
        id = info.id + 1;
    }
    return list;
}

static json_t *new_resv_text(const struct viommu_endpoint_info *info)
{
    json_t *list = json_array();

    for (size_t i = 0; i < info->n_resv && i < CONFIG_MAX_RESV + 3; i++) {
        json_t *row = json_pack("[o, o, s]", msg_new_u64(info->resv[i].range.first),
                                msg_new_u64(info->resv[i].range.last),
                                info->resv[i].subtype == VIOMMU_RESV_MEM_T_MSI ? "msi"
                                                                               : "reserved");

        if (json_array_append_new(list, row) < 0)
            break;
    }
    return list;
}

static void put_host(json_t *row, int *r, const struct iommu_status *host)
{
    put_count(row, r, "group", host->group);
    put(row, r, "host", host->cut_off ? json_string("cut off") : json_string(host->space));
    if (host->counted)
        put_count(row, r, "entries", host->entries);
    if (host->counted && host->entries_max > 0)
        put_count(row, r, "entries_max", host->entries_max);
}

static json_t *new_endpoint_row(const struct worker *w, const struct viommu_endpoint_info *info,
                                int *r)
{
    struct iommu_status host;
    json_t *row = json_object();

    put(row, r, "id", msg_new_u64(info->id));
    put(row, r, "driver", json_string(info->driver));
    put(row, r, "vdomain", info->attached ? json_integer(info->vdomain) : json_null());
    put(row, r, "bypass", json_boolean(info->bypass));
    if (worker_endpoint_status(w, info->id, &host))
        put_host(row, r, &host);
    if (worker_endpoint_was_reset(w, info->id))
        put(row, r, "reset", json_true());
    put(row, r, "resv", new_resv_text(info));
    return row;
}

static json_t *new_endpoints(const struct worker *w, int *r)
{
    const struct viommu *v = device_viommu(w->device);
    struct viommu_endpoint_info info;
    json_t *list = json_array();
    uint32_t id = 0;

    for (unsigned i = 0; i < SHOW_MAX_ENDPOINTS && viommu_endpoint_next(v, id, &info); i++) {
        if (json_array_append_new(list, new_endpoint_row(w, &info, r)) < 0)
            *r = -ENOMEM;
        if (info.id == UINT32_MAX)
            break;
        id = info.id + 1;
    }
    return list;
}

static json_t *new_requests(const struct viommu_counters *c, int *r)
{
    json_t *obj = json_object();

    put_count(obj, r, "unanswered", c->requests[0]);
    for (unsigned type = 1; type < VIOMMU_N_TYPES; type++)
        put_count(obj, r, viommu_type_name(type), c->requests[type]);
    return obj;
}

static json_t *new_answers(const struct viommu_counters *c, int *r)
{
    json_t *obj = json_object();

    for (unsigned status = 0; status < VIOMMU_N_STATUS; status++)
        put_count(obj, r, viommu_status_name(status), c->status[status]);
    return obj;
}

static json_t *new_counters(struct worker *w, int *r)
{
    const struct viommu *v = device_viommu(w->device);
    const struct viommu_counters *c = viommu_counters(v);
    json_t *obj = json_object();

    put(obj, r, "requests", new_requests(c, r));
    put(obj, r, "answers", new_answers(c, r));
    put_count(obj, r, "mappings", viommu_n_mappings(v));
    put_count(obj, r, "vdomains", viommu_n_vdomains(v));
    put_count(obj, r, "endpoints", viommu_n_endpoints(v));
    put_count(obj, r, "mapped", c->mapped);
    put_count(obj, r, "unmapped", c->unmapped);
    put_count(obj, r, "host_maps", c->host_maps);
    put_count(obj, r, "host_unmaps", c->host_unmaps);
    put_count(obj, r, "faults", c->faults);
    put_count(obj, r, "faults_lost", c->faults_lost);
    put_count(obj, r, "faults_queued", viommu_faults_queued(v));
    put_count(obj, r, "resets", c->resets);
    put_count(obj, r, "breaks", device_breaks(w->device));
    return obj;
}

static json_t *new_memory(struct worker *w, int *r)
{
    struct gmem *mem = device_gmem(w->device);
    struct gmem_stats stats;
    json_t *obj = json_object();

    gmem_get_stats(mem, &stats);
    put_count(obj, r, "map_runs", gmem_map_runs(mem));
    put_count(obj, r, "map_pages", gmem_map_pages(mem));
    put_count(obj, r, "pages", stats.pages);
    put_count(obj, r, "windows", stats.windows);
    put_count(obj, r, "pinned_pages", stats.pinned_pages);
    put_count(obj, r, "maps", stats.maps);
    put_count(obj, r, "unmaps", stats.unmaps);
    put_count(obj, r, "copies", stats.copies);
    put_count(obj, r, "calls", stats.calls);
    put_count(obj, r, "replaced", stats.replaced);
    put_count(obj, r, "refused", stats.refused);
    return obj;
}

static json_t *new_queues(struct worker *w, int *r)
{
    static const char *const names[VIOMMU_N_QUEUES] = {"request", "event"};
    json_t *list = json_array();

    for (unsigned i = 0; i < VIOMMU_N_QUEUES; i++) {
        struct virtqueue_stats stats;
        json_t *row;

        if (!device_queue_stats(w->device, i, &stats))
            continue;
        row = json_object();
        put(row, r, "queue", json_string(names[i]));
        put_count(row, r, "size", stats.size);
        put_count(row, r, "avail", stats.avail_seen);
        put_count(row, r, "used", stats.used);
        put_count(row, r, "popped", stats.popped);
        put_count(row, r, "pushed", stats.pushed);
        put_count(row, r, "notifications", stats.notifications);
        if (json_array_append_new(list, row) < 0)
            *r = -ENOMEM;
    }
    return list;
}

static json_t *new_events(const struct worker *w, int *r)
{
    json_t *obj = json_object();

    put_count(obj, r, "wakeups", w->counts.wakeups);
    put_count(obj, r, "events", w->counts.events);
    put_count(obj, r, "strange", w->counts.strange);
    put_count(obj, r, "notify_failed", w->counts.notify_failed);
    put_count(obj, r, "log_lines_suppressed", w->log_limit.suppressed_total);
    return obj;
}

int worker_report_show(struct worker *w, const json_t *msg, json_t *reply)
{
    struct viommu *v = device_viommu(w->device);
    int r = 0;

    (void)msg;
    put(reply, &r, "connected", json_boolean(device_connected(w->device)));
    put(reply, &r, "device_status", new_status(device_status(w->device)));
    put(reply, &r, "needs_reset",
        device_needs_reset(w->device) ? json_string(device_needs_reset_why(w->device))
                                      : json_null());
    put(reply, &r, "features_offered", new_features(device_features(w->device)));
    put(reply, &r, "features_negotiated", new_features(w->negotiated));
    put(reply, &r, "config", new_config(w, &r));
    put(reply, &r, "vdomains", new_vdomains(v, &r));
    put(reply, &r, "endpoints", new_endpoints(w, &r));
    put(reply, &r, "queues", new_queues(w, &r));
    put(reply, &r, "counters", new_counters(w, &r));
    put(reply, &r, "memory", new_memory(w, &r));
    put(reply, &r, "events", new_events(w, &r));
    return r;
}

/* --- mappings --------------------------------------------------------------------------------- */

struct page {
    uint32_t vdomain;
    uint64_t first;
    bool one;
    uint32_t left;
    unsigned vdomains_left;
    json_t *list;
};

static json_t *new_mapping(uint32_t vdomain, const struct imap_entry *entry)
{
    char flags[4] = "";
    size_t n = 0;

    if (entry->flags & VIOMMU_MAP_F_READ)
        flags[n++] = 'r';
    if (entry->flags & VIOMMU_MAP_F_WRITE)
        flags[n++] = 'w';
    if (entry->flags & VIOMMU_MAP_F_MMIO)
        flags[n++] = 'm';
    return json_pack("{s:I, s:o, s:o, s:o, s:s}", "vdomain", (json_int_t)vdomain, "first",
                     msg_new_u64(entry->range.first), "last", msg_new_u64(entry->range.last),
                     "address", msg_new_u64(entry->value), "flags", flags);
}

/*
 * Adds a vdomain's mappings from p->first on. 1: the page is full, and p->first is where the next
 * one begins; 0: the vdomain is done.
 */
static int fill_vdomain(const struct viommu *v, struct page *p)
{
    struct imap_entry entry;

    while (viommu_mapping_next(v, p->vdomain, p->first, &entry)) {
        if (p->left == 0)
            return 1;
        if (json_array_append_new(p->list, new_mapping(p->vdomain, &entry)) < 0)
            return -ENOMEM;
        p->left--;
        if (entry.range.last == UINT64_MAX)
            return 0;
        p->first = entry.range.last + 1;
    }
    return 0;
}

/* 1: there is a next page, which begins at p's position; 0: this was the last. */
static int fill_page(const struct viommu *v, struct page *p)
{
    struct viommu_vdomain_info info;

    while (viommu_vdomain_next(v, p->vdomain, &info)) {
        int r;

        if (p->one && info.id != p->vdomain)
            return 0;
        if (info.id != p->vdomain) {
            p->vdomain = info.id;
            p->first = 0;
        }
        if (p->vdomains_left-- == 0)
            return 1;
        r = fill_vdomain(v, p);
        if (r != 0)
            return r;
        if (p->one || p->vdomain == UINT32_MAX)
            return 0;
        p->vdomain++;
        p->first = 0;
    }
    return 0;
}

int worker_report_mappings(struct worker *w, const json_t *msg, json_t *reply)
{
    const json_t *one = json_object_get(msg, "one");
    struct page p = {.one = json_is_true(one), .vdomains_left = PAGE_VDOMAINS};
    int r;

    if (msg_u32(msg, "vdomain", UINT32_MAX, &p.vdomain) < 0 ||
        msg_u64(msg, "first", &p.first) < 0 || msg_u32(msg, "limit", MSG_PAGE_MAX, &p.left) < 0 ||
        p.left == 0 || !json_is_boolean(one))
        return -EPROTO;
    p.list = json_array();
    if (json_object_set_new(reply, "mappings", p.list) < 0)
        return -ENOMEM;
    r = fill_page(device_viommu(w->device), &p);
    if (r <= 0)
        return r;
    return json_object_set_new(reply, "next",
                               json_pack("{s:I, s:o}", "vdomain", (json_int_t)p.vdomain, "first",
                                         msg_new_u64(p.first))) < 0
               ? -ENOMEM
               : 0;
}
