/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Reading a state file (statefile.h) that another process has left. Its writer may have been in a
 * guest's hands: every number is checked before it is used, and what cannot be checked here (is
 * this range mappable, is that page granted) is checked by whoever is handed it, like a request.
 * The writer is dead, so nothing changes meanwhile.
 */
#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend/daemon/control_page.h"
#include "backend/daemon/statefile_priv.h"

static int refuse(const char **why_out, const char *why)
{
    *why_out = why;
    return -EPROTO;
}

/* --- setup --------------------------------------------------------------------------------------
 */

static bool text_sound(const char *text, size_t size)
{
    size_t len = strnlen(text, size);

    if (len > STATEFILE_TEXT_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < ' ' || text[i] > '~')
            return false;
    }
    return true;
}

static bool numbers_sound(const struct sf_setup *s)
{
    bool sound = s->probe_size <= UINT32_MAX && s->max_queue_size <= UINT32_MAX &&
                 s->control_ref <= UINT32_MAX && s->max_vdomains <= UINT32_MAX &&
                 s->max_faults <= UINT32_MAX;

    for (unsigned q = 0; q < VIOMMU_N_QUEUES; q++)
        sound = sound && s->queue[q].size <= UINT32_MAX;
    return sound;
}

static struct device_queue_setup unpack_queue(const struct sf_queue_setup *s)
{
    return (struct device_queue_setup){(uint32_t)s->size, s->desc, s->driver, s->device};
}

static void unpack_setup(const struct sf_header *h, struct statefile_setup *out)
{
    const struct sf_setup *s = &h->setup;

    *out = (struct statefile_setup){
        .has_text = s->has_text != 0,
        .viommu =
            {
                .features = s->offered,
                .page_size_mask = s->page_size_mask,
                .input_range = {s->input_first, s->input_last},
                .domain_range = {s->domain_first, s->domain_last},
                .probe_size = (uint32_t)s->probe_size,
                .bypass = (h->bypass >> 8 & 1) != 0,
                .max_mappings = h->max_mappings,
                .max_vdomains = (size_t)s->max_vdomains,
                .max_faults = (size_t)s->max_faults,
            },
        .max_queue_size = (uint32_t)s->max_queue_size,
        .max_map_pages = h->max_map_pages,
        .connection = {.features = s->features, .control_ref = (uint32_t)s->control_ref},
    };
    memcpy(out->text, s->text, strnlen(s->text, STATEFILE_TEXT_MAX));
    memcpy(out->port, s->port, sizeof(out->port));
    for (unsigned q = 0; q < VIOMMU_N_QUEUES; q++)
        out->connection.queue[q] = unpack_queue(&s->queue[q]);
}

int statefile_read_setup(const struct statefile *f, struct statefile_setup *out,
                         const char **why_out)
{
    const struct sf_header *h = f->header;

    if (h->magic != SF_MAGIC || h->version != SF_VERSION)
        return h->magic == 0 ? -ENOENT : refuse(why_out, "written by another version");
    if (sf_load(&h->connected) == 0)
        return -ENOENT;
    if (!sf_geometry_fits(f, h->max_mappings, h->max_map_pages))
        return refuse(why_out, "limits that do not fit its size");
    if (!text_sound(h->setup.text, sizeof(h->setup.text)))
        return refuse(why_out, "configuration text");
    if (!numbers_sound(&h->setup))
        return refuse(why_out, "numbers of the connection");
    unpack_setup(h, out);
    return 0;
}

/* --- checking -----------------------------------------------------------------------------------
 */

struct loading {
    struct statefile *f;
    struct statefile_contents *out;
    uint64_t next; /* number of the first request without an answer */
    const char *why;
};

static const char *check_words(const struct statefile *f, struct statefile_words *w)
{
    const struct sf_header *h = f->header;
    unsigned buffer = sf_map_buffer(h->map);

    *w = (struct statefile_words){
        .status = (uint8_t)(h->status >> 8),
        .status_seq = (uint32_t)(h->status >> 32),
        .bypass = (uint8_t)(h->bypass >> 8),
        .bypass_verdict = (uint8_t)h->bypass,
        .bypass_seq = (uint32_t)(h->bypass >> 32),
        .map_verdict = (uint8_t)(h->map >> 8),
        .map_answered = (uint32_t)(h->map >> 32),
    };
    if (w->bypass > 1 || w->bypass_verdict > 1)
        return "bypass byte";
    if (w->map_verdict > MAP_VERDICT_TOO_LARGE || buffer > SF_NO_RUNS)
        return "answer to a grant map";
    if (buffer == SF_NO_RUNS)
        return NULL;
    if (h->n_runs[buffer] > h->max_map_pages * (uint64_t)DIRECTORY_MAX_ENTRIES)
        return "number of runs of the grant map";
    w->map_in_use = h->run_generation[buffer];
    return NULL;
}

static const char *check_queue(const struct sf_queue *q, const struct sf_ring *ring,
                               struct statefile_queue *out)
{
    const struct sf_queue_setup *setup = &ring->setup[ring->word & SF_RING_SECOND];
    uint64_t pushed = sf_count(q->pushed), published = sf_count(q->published);

    if (pushed < published || pushed - published > STATEFILE_MAX_PENDING)
        return "position of a queue";
    *out = (struct statefile_queue){
        .published = (uint16_t)q->published,
        .pending = (uint32_t)(pushed - published),
        .mapped = (ring->word & SF_RING_MAPPED) != 0,
        .setup = unpack_queue(setup),
        .seq = (uint32_t)(ring->word >> 32),
        .verdict = (uint8_t)(ring->word >> 8),
    };
    if (setup->size > UINT32_MAX)
        return "size of a queue";
    return NULL;
}

static const char *check_answers(const struct statefile *f, uint32_t pending)
{
    struct statefile_answer a;

    for (uint32_t i = 0; i < pending; i++) {
        statefile_pending(f, VIOMMU_QUEUE_REQUEST, i, &a);
        if (a.type >= VIOMMU_N_TYPES || a.status >= VIOMMU_N_STATUS ||
            a.used > VIOMMU_PROBE_SIZE_MAX + VIOMMU_TAIL_SIZE ||
            (a.used > 0 && a.used < VIOMMU_TAIL_SIZE))
            return "answer to a request";
    }
    return NULL;
}

/* A record by the request without an answer: that has happened. There is one at most. */
static bool note_happened(struct loading *l, uint64_t number, uint8_t type, uint32_t status)
{
    if (number > l->next)
        return false;
    if (number != l->next)
        return true;
    if (l->out->happened)
        return false;
    l->out->happened = true;
    l->out->answer = (struct statefile_answer){
        .type = type, .status = (uint8_t)status, .used = VIOMMU_TAIL_SIZE};
    return true;
}

static int load_attachment(struct loading *l, uint32_t slot)
{
    const struct sf_attachment *a = &l->f->attachments[slot];
    const struct sf_version *v = &a->version[a->current & 1];
    int r;

    if (a->current == 0)
        return 0;
    if (v->flags > (SF_ATTACHED | SF_BYPASS) || v->status >= VIOMMU_N_STATUS ||
        !note_happened(l, v->number, VIOMMU_T_ATTACH, v->status))
        return refuse(&l->why, "attachment");
    if (!(v->flags & SF_ATTACHED))
        return 0;
    if (v->status != VIOMMU_S_OK)
        return refuse(&l->why, "attachment");
    l->out->n_attachments++;
    r = sf_own_slot(l->f, slot, v->endpoint);
    if (r == -EEXIST)
        return refuse(&l->why, "endpoint that is attached twice");
    return r;
}

static int load_mapping(struct loading *l, uint32_t slot)
{
    const struct sf_mapping *m = &l->f->mappings[slot];

    if (m->number == 0) {
        sf_free_mapping(l->f, slot);
        return 0;
    }
    if (!note_happened(l, m->number, VIOMMU_T_MAP, VIOMMU_S_OK))
        return refuse(&l->why, "mapping of a request that has not been");
    l->out->n_mappings++;
    return 0;
}

static int load_tables(struct loading *l)
{
    const struct sf_header *h = l->f->header;
    int r = 0;

    if (h->n_attachments > STATEFILE_ENDPOINTS || h->n_mappings > h->max_mappings)
        return refuse(&l->why, "number of records");
    l->f->n_attachments = (uint32_t)h->n_attachments;
    l->f->n_mappings = (uint32_t)h->n_mappings;
    for (uint32_t i = 0; i < l->f->n_attachments && r == 0; i++)
        r = load_attachment(l, i);
    /* Downwards: the lowest free slot is then the first to be used. */
    for (uint32_t i = l->f->n_mappings; i > 0 && r == 0; i--)
        r = load_mapping(l, i - 1);
    return r;
}

static const char *check_header(const struct statefile *f, struct statefile_contents *out)
{
    const struct sf_header *h = f->header;
    const char *why = check_words(f, &out->words);

    for (unsigned q = 0; q < VIOMMU_N_QUEUES && !why; q++)
        why = check_queue(&h->queue[q], &h->ring[q], &out->queue[q]);
    return why ? why : check_answers(f, out->queue[VIOMMU_QUEUE_REQUEST].pending);
}

int statefile_load(struct statefile *f, struct statefile_contents *out, const char **why_out)
{
    struct loading l = {.f = f, .out = out};
    int r;

    *out = (struct statefile_contents){.happened = false};
    *why_out = "";
    sf_place(f, f->header->max_map_pages * DIRECTORY_MAX_ENTRIES);
    f->free_mapping = SF_NONE;
    l.why = check_header(f, out);
    if (l.why)
        return refuse(why_out, l.why);
    l.next = sf_count(f->header->queue[VIOMMU_QUEUE_REQUEST].pushed) + 1;
    r = load_tables(&l);
    if (r == -EPROTO)
        *why_out = l.why;
    return r;
}

/* --- contents -----------------------------------------------------------------------------------
 */

int statefile_read_map(const struct statefile *f, struct gmem_run **out, size_t *n_out)
{
    unsigned buffer = sf_map_buffer(f->header->map);
    size_t n = buffer == SF_NO_RUNS ? 0 : f->header->n_runs[buffer];
    struct gmem_run *runs = n > 0 ? calloc(n, sizeof(*runs)) : NULL;

    if (n > 0 && !runs)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        const struct sf_run *run = &f->runs[buffer][i];

        runs[i] = (struct gmem_run){.address = run->address,
                                    .first_ref = run->first_ref,
                                    .pages = run->pages,
                                    .read_only = run->flags != 0};
    }
    *out = runs;
    *n_out = n;
    return 0;
}

int statefile_each_attachment(struct statefile *f,
                              int (*fn)(void *ctx, uint32_t endpoint,
                                        const struct viommu_attachment *a),
                              void *ctx)
{
    for (uint32_t i = 0; i < f->n_attachments; i++) {
        struct sf_attachment *a = &f->attachments[i];
        struct sf_version v = a->version[a->current & 1];
        struct viommu_attachment now = {
            .attached = true, .bypass = (v.flags & SF_BYPASS) != 0, .vdomain = v.vdomain};
        int r;

        if (a->current == 0 || !(v.flags & SF_ATTACHED))
            continue;
        r = fn(ctx, v.endpoint, &now);
        if (r < 0)
            return r;
        if (r > 0) {
            /* It keeps its number: a request that has happened stays so. */
            v.flags = 0;
            sf_set_attachment(a, &v);
        }
    }
    return 0;
}

bool statefile_next_mapping(const struct statefile *f, uint32_t *at_inout,
                            struct statefile_mapping *out)
{
    while (*at_inout < f->n_mappings) {
        uint32_t slot = (*at_inout)++;
        const struct sf_mapping *m = &f->mappings[slot];

        if (m->number == 0)
            continue;
        out->vdomain = m->vdomain;
        out->entry = (struct imap_entry){
            .range = {m->first, m->last}, .value = m->value, .flags = m->flags, .tag = slot};
        return true;
    }
    return false;
}

void statefile_forget_mapping(struct statefile *f, const struct statefile_mapping *mapping)
{
    sf_free_mapping(f, mapping->entry.tag);
}

void statefile_pending(const struct statefile *f, unsigned queue, uint32_t i,
                       struct statefile_answer *out)
{
    const struct sf_header *h = f->header;
    uint64_t at = sf_count(h->queue[queue].published) + i;
    uint64_t word = h->answers[queue][at % STATEFILE_MAX_PENDING];

    *out = (struct statefile_answer){.used = (uint32_t)(word >> 32),
                                     .position = (uint16_t)(word >> 16),
                                     .type = (uint8_t)(word >> 8),
                                     .status = (uint8_t)word};
}
