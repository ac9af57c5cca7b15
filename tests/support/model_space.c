/* SPDX-License-Identifier: GPL-2.0-only */
/* The fake guest_space of model_space.h. */
#include <config.h>

#include "tests/support/model_space.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* Pointers of regions without bytes are made up; they are never followed. */
#define FAKE_HVA_BASE ((uintptr_t)1 << 62)
#define PAGE_SIZE     ((size_t)4096)

void model_space_init(struct model_space *s)
{
    *s = (struct model_space){.n_regions = 0};
}

void model_space_fini(struct model_space *s)
{
    for (size_t i = 0; i < s->n_regions; i++)
        free(s->regions[i].block);
    free(s->pins);
    *s = (struct model_space){.n_regions = 0};
}

bool model_space_add(struct model_space *s, struct range gpa, bool read_only, bool with_bytes)
{
    struct model_region *region = &s->regions[s->n_regions];

    if (s->n_regions == MODEL_SPACE_REGIONS)
        return false;
    *region = (struct model_region){.gpa = gpa, .read_only = read_only};
    if (with_bytes) {
        region->block = calloc(1, (size_t)range_size(gpa) + PAGE_SIZE - 1);
        if (!region->block)
            return false;
        region->bytes = region->block + (-(uintptr_t)region->block & (PAGE_SIZE - 1));
    }
    s->n_regions++;
    return true;
}

void model_space_fail(struct model_space *s, enum model_space_verb verb, unsigned n, int error)
{
    s->fail_at[verb] = s->calls[verb] + n;
    s->fail_with = error;
}

static int enter(struct model_space *s, enum model_space_verb verb)
{
    s->calls[verb]++;
    return s->calls[verb] == s->fail_at[verb] ? s->fail_with : 0;
}

static void trace(struct model_space *s, const char *verb, struct range r, bool write)
{
    if (s->trace) {
        fprintf(s->trace, "%s %#" PRIx64 "-%#" PRIx64 " %s\n", verb, r.first, r.last,
                write ? "rw" : "r");
    }
}

static const struct model_region *find(const struct model_space *s, uint64_t gpa)
{
    for (size_t i = 0; i < s->n_regions; i++) {
        if (range_contains_addr(s->regions[i].gpa, gpa))
            return &s->regions[i];
    }
    return NULL;
}

/* Regions may touch, so a range may run over several. */
static int reachable(const struct model_space *s, struct range gpa, bool write)
{
    for (;;) {
        const struct model_region *region = find(s, gpa.first);

        if (!region || (write && region->read_only))
            return -EFAULT;
        if (region->gpa.last >= gpa.last)
            return 0;
        gpa.first = region->gpa.last + 1;
    }
}

static int space_check(void *ctx, struct range gpa, bool write)
{
    struct model_space *s = ctx;
    int r = enter(s, SPACE_CHECK);

    return r < 0 ? r : reachable(s, gpa, write);
}

/* Up to the end of the region, or of what shall be contiguous. */
static struct guest_piece piece_at(const struct model_space *s, struct range gpa)
{
    struct range piece = range_intersect(gpa, find(s, gpa.first)->gpa);

    if (s->segment_max && piece.last / s->segment_max != piece.first / s->segment_max)
        piece.last = (piece.first / s->segment_max + 1) * s->segment_max - 1;
    return (struct guest_piece){model_space_hva(s, gpa.first), range_size(piece)};
}

static int space_pin(void *ctx, struct range gpa, bool write, struct guest_piece *first_out)
{
    struct model_space *s = ctx;
    int r = enter(s, SPACE_PIN);

    if (r == 0)
        r = reachable(s, gpa, write);
    if (r < 0)
        return r;
    if (s->n_pins == s->pins_room) {
        size_t room = s->pins_room ? 2 * s->pins_room : 64;
        struct model_pin *pins = reallocarray(s->pins, room, sizeof(*pins));

        if (!pins)
            return -ENOMEM;
        s->pins = pins;
        s->pins_room = room;
    }
    s->pins[s->n_pins++] = (struct model_pin){gpa, write};
    *first_out = piece_at(s, gpa);
    trace(s, "pin", gpa, write);
    return 0;
}

static struct model_pin *find_pin(const struct model_space *s, struct range gpa, bool write)
{
    for (size_t i = s->n_pins; i-- > 0;) {
        struct model_pin *pin = &s->pins[i];

        if (pin->gpa.first == gpa.first && pin->gpa.last == gpa.last && pin->write == write)
            return pin;
    }
    return NULL;
}

static void space_unpin(void *ctx, struct range gpa, bool write)
{
    struct model_space *s = ctx;
    struct model_pin *pin = find_pin(s, gpa, write);

    (void)enter(s, SPACE_UNPIN);
    trace(s, "unpin", gpa, write);
    if (!pin) {
        s->complaint = s->complaint ? s->complaint : "unpin of what is not pinned";
        return;
    }
    *pin = s->pins[--s->n_pins];
}

static int space_segment(void *ctx, struct range gpa, bool write, struct guest_piece *out)
{
    struct model_space *s = ctx;
    int r = enter(s, SPACE_SEGMENT);
    bool pinned = false;

    if (r < 0)
        return r;
    for (size_t i = 0; i < s->n_pins && !pinned; i++)
        pinned = range_contains(s->pins[i].gpa, gpa) && s->pins[i].write == write;
    if (!pinned) {
        s->complaint = s->complaint ? s->complaint : "segment of what is not pinned";
        return -EFAULT;
    }
    *out = piece_at(s, gpa);
    return 0;
}

void *model_space_hva(const struct model_space *s, uint64_t gpa)
{
    const struct model_region *region = find(s, gpa);

    if (!region)
        return NULL;
    if (region->bytes)
        return region->bytes + (gpa - region->gpa.first);
    return (void *)(FAKE_HVA_BASE + (uintptr_t)gpa);
}

bool model_space_gpa(const struct model_space *s, const void *hva, uint64_t *gpa_out)
{
    uintptr_t p = (uintptr_t)hva;

    for (size_t i = 0; i < s->n_regions; i++) {
        const struct model_region *region = &s->regions[i];
        uintptr_t base = region->bytes ? (uintptr_t)region->bytes
                                       : FAKE_HVA_BASE + (uintptr_t)region->gpa.first;

        if (p - base <= range_size(region->gpa) - 1) {
            *gpa_out = region->gpa.first + (p - base);
            return true;
        }
    }
    return false;
}

static int copy(struct model_space *s, uint64_t gpa, void *buf, const void *from, size_t len)
{
    uint8_t *in = buf;
    const uint8_t *out = from;
    struct range r;

    if (!range_from_size(gpa, len, &r) || reachable(s, r, from != NULL) < 0)
        return -EFAULT;
    for (size_t i = 0; i < len; i++) {
        const struct model_region *region = find(s, gpa + i);

        if (!region->bytes)
            return -EFAULT;
        if (from)
            region->bytes[gpa + i - region->gpa.first] = out[i];
        else
            in[i] = region->bytes[gpa + i - region->gpa.first];
    }
    return 0;
}

static int space_read(void *ctx, uint64_t gpa, void *buf, size_t len)
{
    int r = enter(ctx, SPACE_READ);

    return r < 0 ? r : copy(ctx, gpa, buf, NULL, len);
}

static int space_write(void *ctx, uint64_t gpa, const void *buf, size_t len)
{
    int r = enter(ctx, SPACE_WRITE);

    return r < 0 ? r : copy(ctx, gpa, NULL, buf, len);
}

struct guest_space model_space_guest(struct model_space *s)
{
    static const struct guest_space_ops ops = {
        .check = space_check,
        .pin = space_pin,
        .unpin = space_unpin,
        .segment = space_segment,
        .read = space_read,
        .write = space_write,
    };

    return (struct guest_space){.ops = &ops, .ctx = s};
}

size_t model_space_pinned(const struct model_space *s, struct range gpa, bool write)
{
    size_t n = 0;

    for (size_t i = 0; i < s->n_pins; i++) {
        const struct model_pin *pin = &s->pins[i];

        n += pin->gpa.first == gpa.first && pin->gpa.last == gpa.last && pin->write == write;
    }
    return n;
}

static int compare_pins(const void *a, const void *b)
{
    const struct model_pin *x = a, *y = b;

    if (x->gpa.first != y->gpa.first)
        return x->gpa.first < y->gpa.first ? -1 : 1;
    if (x->gpa.last != y->gpa.last)
        return x->gpa.last < y->gpa.last ? -1 : 1;
    return (int)x->write - (int)y->write;
}

void model_space_dump(struct model_space *s, FILE *out)
{
    if (s->n_pins)
        qsort(s->pins, s->n_pins, sizeof(*s->pins), compare_pins);
    for (size_t i = 0; i < s->n_pins; i++) {
        fprintf(out, "pin %#" PRIx64 "-%#" PRIx64 " %s\n", s->pins[i].gpa.first,
                s->pins[i].gpa.last, s->pins[i].write ? "rw" : "r");
    }
}
