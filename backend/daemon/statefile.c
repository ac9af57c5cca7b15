/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The state file (statefile.h): layout and writing; statefile_read.c reads it. The buffer belongs
 * to the caller. What is written comes from the device core, checked; what is kept beside the
 * buffer (the map of endpoints to slots, the stack of free slots) is rebuilt when it is loaded.
 */
#include <config.h>

#include "backend/daemon/statefile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend/daemon/control_page.h"
#include "backend/daemon/statefile_priv.h"

/* --- size and life ------------------------------------------------------------------------------
 */

static uint64_t runs_bytes(uint32_t max_runs)
{
    return sizeof(struct sf_run) * (uint64_t)max_runs;
}

static uint64_t whole_size(uint64_t max_mappings, uint64_t max_runs)
{
    return sizeof(struct sf_header) + sizeof(struct sf_attachment) * (uint64_t)STATEFILE_ENDPOINTS +
           2 * sizeof(struct sf_run) * max_runs + sizeof(struct sf_mapping) * max_mappings;
}

uint64_t statefile_size(uint64_t max_mappings, uint32_t max_map_pages)
{
    if (max_mappings > SF_MAX_MAPPINGS || max_map_pages > SF_MAX_MAP_PAGES)
        return 0;
    return whole_size(max_mappings, max_map_pages * (uint64_t)DIRECTORY_MAX_ENTRIES);
}

void sf_place(struct statefile *f, uint32_t max_runs)
{
    uint8_t *at = f->buf;

    f->header = (void *)at;
    at += sizeof(struct sf_header);
    f->attachments = (void *)at;
    at += sizeof(struct sf_attachment) * STATEFILE_ENDPOINTS;
    f->runs[0] = (void *)at;
    at += runs_bytes(max_runs);
    f->runs[1] = (void *)at;
    at += runs_bytes(max_runs);
    f->mappings = (void *)at;
}

bool sf_geometry_fits(const struct statefile *f, uint64_t max_mappings, uint32_t max_map_pages)
{
    uint64_t size = statefile_size(max_mappings, max_map_pages);

    return size != 0 && size <= f->size;
}

int statefile_new(struct statefile **out, void *buf, size_t size)
{
    struct statefile *f;

    if (size < sizeof(struct sf_header) || (uintptr_t)buf % sizeof(uint64_t) != 0)
        return -EINVAL;
    f = calloc(1, sizeof(*f));
    if (!f)
        return -ENOMEM;
    f->buf = buf;
    f->size = size;
    f->header = buf;
    f->slot_of = idmap_new();
    if (!f->slot_of) {
        free(f);
        return -ENOMEM;
    }
    *out = f;
    return 0;
}

struct statefile *statefile_free(struct statefile *f)
{
    if (!f)
        return NULL;
    idmap_free(f->slot_of);
    free(f);
    return NULL;
}

/* --- connection ---------------------------------------------------------------------------------
 */

static int forget_slots(struct statefile *f)
{
    struct idmap *none = idmap_new();

    if (!none)
        return -ENOMEM;
    idmap_free(f->slot_of);
    f->slot_of = none;
    f->free_mapping = SF_NONE;
    f->n_mappings = 0;
    f->n_attachments = 0;
    f->in_request = false;
    return 0;
}

int statefile_begin(struct statefile *f, const struct viommu_config *viommu, uint32_t max_map_pages)
{
    struct sf_header *h;

    if (!f)
        return 0;
    h = f->header;
    sf_store(&h->connected, 0);
    if (!sf_geometry_fits(f, viommu->max_mappings, max_map_pages))
        return -E2BIG;
    memset(h, 0, sizeof(*h));
    h->magic = SF_MAGIC;
    h->version = SF_VERSION;
    h->max_mappings = (uint32_t)viommu->max_mappings;
    h->max_map_pages = max_map_pages;
    h->bypass = sf_pack(0, viommu->bypass, 0);
    h->map = sf_pack_map(0, MAP_VERDICT_OK, SF_NO_RUNS);
    sf_place(f, max_map_pages * DIRECTORY_MAX_ENTRIES);
    return forget_slots(f);
}

static struct sf_queue_setup pack_queue(const struct device_queue_setup *s)
{
    return (struct sf_queue_setup){
        .desc = s->desc, .driver = s->driver, .device = s->device, .size = s->size};
}

static void pack_setup(struct sf_setup *out, const struct statefile_setup *s)
{
    const struct viommu_config *v = &s->viommu;

    memset(out, 0, sizeof(*out));
    memcpy(out->text, s->text, strnlen(s->text, STATEFILE_TEXT_MAX));
    out->has_text = s->has_text;
    out->offered = v->features;
    out->page_size_mask = v->page_size_mask;
    out->input_first = v->input_range.first;
    out->input_last = v->input_range.last;
    out->domain_first = v->domain_range.first;
    out->domain_last = v->domain_range.last;
    out->probe_size = v->probe_size;
    out->max_vdomains = v->max_vdomains;
    out->max_faults = v->max_faults;
    out->max_queue_size = s->max_queue_size;
    out->features = s->connection.features;
    out->control_ref = s->connection.control_ref;
    for (unsigned q = 0; q < VIOMMU_N_QUEUES; q++)
        out->queue[q] = pack_queue(&s->connection.queue[q]);
    memcpy(out->port, s->port, sizeof(out->port));
}

void statefile_commit(struct statefile *f, const struct statefile_setup *setup)
{
    if (!f)
        return;
    pack_setup(&f->header->setup, setup);
    sf_store(&f->header->connected, 1);
}

void statefile_end(struct statefile *f)
{
    if (f)
        sf_store(&f->header->connected, 0);
}

/* --- control page -------------------------------------------------------------------------------
 */

void statefile_status(struct statefile *f, uint8_t status, uint32_t seq)
{
    if (f)
        sf_store(&f->header->status, sf_pack(seq, status, 0));
}

void statefile_bypass(struct statefile *f, uint8_t value, uint8_t verdict, uint32_t seq)
{
    if (f)
        sf_store(&f->header->bypass, sf_pack(seq, value, verdict));
}

void statefile_map_refused(struct statefile *f, uint32_t generation, uint8_t verdict)
{
    if (f)
        sf_store(&f->header->map, sf_pack_map(generation, verdict, sf_map_buffer(f->header->map)));
}

void statefile_map_taken(struct statefile *f, uint32_t generation, const struct gmem_run *runs,
                         size_t n)
{
    unsigned buffer;

    if (!f)
        return;
    buffer = sf_map_buffer(f->header->map) == 0 ? 1 : 0;
    /* A map of more runs than its pages hold cannot have been read. */
    if (n > f->header->max_map_pages * (size_t)DIRECTORY_MAX_ENTRIES)
        n = 0;
    for (size_t i = 0; i < n; i++)
        f->runs[buffer][i] = (struct sf_run){
            .address = runs[i].address,
            .first_ref = runs[i].first_ref,
            .pages = runs[i].pages,
            .flags = runs[i].read_only,
        };
    f->header->n_runs[buffer] = (uint32_t)n;
    f->header->run_generation[buffer] = generation;
    sf_store(&f->header->map, sf_pack_map(generation, MAP_VERDICT_OK, buffer));
}

/* --- queues -------------------------------------------------------------------------------------
 */

void statefile_ring(struct statefile *f, unsigned queue, const struct device_queue_setup *setup,
                    uint32_t seq, uint8_t verdict)
{
    struct sf_ring *ring;
    uint8_t which;

    if (!f)
        return;
    ring = &f->header->ring[queue];
    which = (ring->word & SF_RING_SECOND) ^ SF_RING_SECOND;
    if (setup)
        ring->setup[which] = pack_queue(setup);
    sf_store(&ring->word, sf_pack(seq, verdict, which | (setup ? SF_RING_MAPPED : 0)));
}

void statefile_queue_start(struct statefile *f, unsigned queue, uint16_t position)
{
    struct sf_queue *q;
    uint64_t count;

    if (!f)
        return;
    q = &f->header->queue[queue];
    count = sf_count(q->pushed);
    /* The queue does not run before the device status says so, which is written after this. */
    sf_store(&q->published, sf_pack_position(count, position));
    sf_store(&q->pushed, sf_pack_position(count, position));
}

/* The number of the request that is being carried out; 0: none is. Never 0 for a request. */
static uint64_t request_number(const struct statefile *f)
{
    return f->in_request ? sf_count(f->header->queue[VIOMMU_QUEUE_REQUEST].pushed) + 1 : 0;
}

void statefile_request_begin(struct statefile *f)
{
    if (f)
        f->in_request = true;
}

static void push(struct statefile *f, unsigned queue, const struct statefile_answer *answer,
                 uint16_t position)
{
    struct sf_queue *q = &f->header->queue[queue];
    uint64_t count = sf_count(q->pushed);

    sf_store(&f->header->answers[queue][count % STATEFILE_MAX_PENDING],
             sf_pack_answer(answer->used, position, answer->type, answer->status));
    sf_store(&q->pushed, sf_pack_position(count + 1, position));
}

void statefile_request_done(struct statefile *f, const struct statefile_answer *answer,
                            uint16_t position)
{
    if (!f)
        return;
    push(f, VIOMMU_QUEUE_REQUEST, answer, position);
    f->in_request = false;
}

void statefile_request_skip(struct statefile *f)
{
    struct sf_queue *q;

    if (!f)
        return;
    q = &f->header->queue[VIOMMU_QUEUE_REQUEST];
    sf_store(&q->pushed, q->pushed + sf_pack_position(1, 0));
}

void statefile_event_done(struct statefile *f, uint16_t position)
{
    const struct statefile_answer none = {.type = 0};

    if (f)
        push(f, VIOMMU_QUEUE_EVENT, &none, position);
}

void statefile_published(struct statefile *f, unsigned queue)
{
    if (f)
        sf_store(&f->header->queue[queue].published, f->header->queue[queue].pushed);
}

void statefile_resumed(struct statefile *f, unsigned queue, uint32_t n, bool forget)
{
    struct sf_queue *q = &f->header->queue[queue];
    uint64_t count = sf_count(q->published) + n;
    struct statefile_answer last;

    if (n > 0) {
        statefile_pending(f, queue, n - 1, &last);
        sf_store(&q->published, sf_pack_position(count, last.position));
    }
    if (forget)
        sf_store(&q->pushed, q->published);
}

/* --- mappings -----------------------------------------------------------------------------------
 *
 * A free slot below n_mappings holds the number of the next free one. Slots from n_mappings on have
 * never been used.
 */

static uint32_t next_tag(void *ctx)
{
    const struct statefile *f = ctx;

    return f->free_mapping != SF_NONE ? f->free_mapping : f->n_mappings;
}

static void mapped(void *ctx, uint32_t vdomain, const struct imap_entry *entry)
{
    struct statefile *f = ctx;
    uint32_t slot = entry->tag;
    struct sf_mapping *m = &f->mappings[slot];
    bool fresh = slot == f->n_mappings;

    /* The core holds no more than it was configured for, and the file has that many slots. */
    if (slot >= f->header->max_mappings)
        return;
    if (!fresh)
        f->free_mapping = (uint32_t)m->value;
    m->first = entry->range.first;
    m->last = entry->range.last;
    m->value = entry->value;
    m->vdomain = vdomain;
    m->flags = entry->flags;
    sf_store(&m->number, request_number(f));
    if (fresh)
        sf_store(&f->header->n_mappings, ++f->n_mappings);
}

void sf_free_mapping(struct statefile *f, uint32_t slot)
{
    struct sf_mapping *m = &f->mappings[slot];

    sf_store(&m->number, 0);
    m->value = f->free_mapping;
    f->free_mapping = slot;
}

static void unmapped(void *ctx, uint32_t tag)
{
    struct statefile *f = ctx;

    if (tag < f->n_mappings)
        sf_free_mapping(f, tag);
}

/* --- attachments --------------------------------------------------------------------------------
 *
 * An endpoint has a slot from its first attachment on; when it is unattached the slot can be given
 * to another one. Which slots are free only this process knows.
 */

static bool is_attached(const struct sf_attachment *a)
{
    return a->current != 0 && (a->version[a->current & 1].flags & SF_ATTACHED);
}

static bool take_free_slot(struct statefile *f, uint32_t *slot_out)
{
    if (f->n_attachments < STATEFILE_ENDPOINTS) {
        *slot_out = f->n_attachments;
        return true;
    }
    for (uint32_t i = 0; i < STATEFILE_ENDPOINTS; i++) {
        struct sf_attachment *a = &f->attachments[i];
        uint32_t owner = a->version[a->current & 1].endpoint;

        if (is_attached(a))
            continue;
        if (idmap_get(f->slot_of, owner) == a)
            (void)idmap_remove(f->slot_of, owner);
        *slot_out = i;
        return true;
    }
    return false;
}

int sf_own_slot(struct statefile *f, uint32_t slot, uint32_t endpoint)
{
    return idmap_put(f->slot_of, endpoint, &f->attachments[slot]);
}

static int attaching(void *ctx, uint32_t endpoint)
{
    struct statefile *f = ctx;
    uint32_t slot;
    int r;

    if (idmap_get(f->slot_of, endpoint))
        return 0;
    if (!take_free_slot(f, &slot))
        return -ENOMEM;
    r = sf_own_slot(f, slot, endpoint);
    if (r < 0)
        return r;
    if (slot == f->n_attachments) {
        memset(&f->attachments[slot], 0, sizeof(f->attachments[slot]));
        sf_store(&f->header->n_attachments, ++f->n_attachments);
    }
    return 0;
}

void sf_set_attachment(struct sf_attachment *a, const struct sf_version *v)
{
    uint64_t next = a->current + 1;

    a->version[next & 1] = *v;
    sf_store(&a->current, next);
}

static void attached(void *ctx, uint32_t endpoint, const struct viommu_attachment *now,
                     enum viommu_status status)
{
    struct statefile *f = ctx;
    struct sf_attachment *a = idmap_get(f->slot_of, endpoint);
    struct sf_version v = {
        .endpoint = endpoint,
        .vdomain = now->vdomain,
        .flags = (now->attached ? SF_ATTACHED : 0) | (now->bypass ? SF_BYPASS : 0),
        .status = (uint32_t)status,
        .number = request_number(f),
    };

    /* Without a slot it has never been attached, and is not now. */
    if (a)
        sf_set_attachment(a, &v);
}

const struct viommu_observer statefile_observer = {
    .next_tag = next_tag,
    .mapped = mapped,
    .unmapped = unmapped,
    .attaching = attaching,
    .attached = attached,
};
