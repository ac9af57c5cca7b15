/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Attacks by how a connection is set up: xenstore nodes, states, ring addresses, ports, the first
 * words of the control page. A wrong one is refused with an `error` node, and nothing stays.
 */
#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/le.h"
#include "tests/support/hostile/hostile.h"

#define GRANT   (1ull << 63)
#define N_NODES ARRAY_SIZE(nodes)

static const char *const nodes[] = {"viommu-version", "viommu-features", "viommu-control",
                                    "viommu-queue-0", "viommu-queue-1"};

/* Up to just before state 3, without anything that an earlier variant has left. */
static int prepare(struct hostile *h)
{
    struct fe_start how = hostile_how(h, QUEUE_SIZE);
    int r = hostile_abandon(h);

    return r ? r : fe_prepare(&h->fe, &how);
}

/* State 3, what comes of it, and back. A connection that works is started, and serves a request. */
static int conclude(struct hostile *h, const char *label, unsigned right)
{
    char why[256];
    int r = fe_connect(&h->fe, why, sizeof(why));

    if (r && r != -ECONNREFUSED)
        return r;
    hostile_expect(h, label, r ? REFUSED : CONNECTED, right);
    if (r && strcmp(why, "(no error node)") == 0)
        hostile_wrong(h, "%s: refused without a word", label);
    r = hostile_close(h);
    if (r == -EBUSY)
        hostile_wrong(h, "%s: a grant stays mapped", label);
    return r;
}

static int write_queue(struct hostile *h, unsigned q, uint64_t size, const uint64_t area[3],
                       uint32_t port)
{
    char text[200];

    snprintf(text, sizeof(text),
             "size=%" PRIu64 " desc=%#" PRIx64 " driver=%#" PRIx64 " device=%#" PRIx64 " port=%u",
             size, area[0], area[1], area[2], port);
    return fe_write_node(&h->fe, q ? "viommu-queue-1" : "viommu-queue-0", text);
}

static void sound_areas(struct hostile *h, unsigned q, uint64_t area[3])
{
    for (uint32_t part = 0; part < 3; part++)
        area[part] = hostile_address(h, FE_PAGE_DESC + 3 * q + part);
}

/* One area of queue 0 at a wrong address, each in turn. */
static int wrong_area(struct hostile *h, const char *what, uint64_t address)
{
    int r = 0;

    for (unsigned part = 0; r == 0 && part < 3; part++) {
        uint64_t area[3];
        char label[96];

        r = prepare(h);
        sound_areas(h, 0, area);
        area[part] = address;
        if (r == 0)
            r = write_queue(h, 0, QUEUE_SIZE, area, h->fe.queue[0].channel.port);
        snprintf(label, sizeof(label), "area %u %s", part, what);
        if (r == 0)
            r = conclude(h, label, REFUSED);
    }
    return r;
}

static int ring_outside(struct hostile *h)
{
    int r = wrong_area(h, "at 0 without a map", 0);

    if (r == 0)
        r = wrong_area(h, "at the end of the map's space", GRANT - 0x1000);
    if (r == 0)
        r = wrong_area(h, "at reference 0", GRANT);
    if (r == 0)
        r = wrong_area(h, "at a reference never granted", GRANT | 0x12345000);
    if (r == 0)
        r = wrong_area(h, "with a reserved bit", GRANT | 1ull << 44);
    if (r == 0)
        r = wrong_area(h, "over the last reference", GRANT | 0xffffffffff0ull);
    if (r == 0)
        r = wrong_area(h, "over the end of the address space", UINT64_MAX - 15);
    return r ? r : wrong_area(h, "misaligned", GRANT | 0x8001);
}

/* A ring whose grant goes, or is not what the device needs of it. */
static int ring_grants(struct hostile *h)
{
    int r = 0;

    for (uint32_t part = 0; r == 0 && part < 3; part++) {
        uint32_t page = FE_PAGE_DESC + part;
        bool written = part == 2 || (h->packed && part == 0);

        r = prepare(h);
        if (r == 0)
            r = fe_revoke(&h->fe, page, 1);
        if (r == 0)
            r = conclude(h, "revoked before state 3", REFUSED);
        if (r == 0)
            r = prepare(h);
        if (r == 0)
            r = fe_revoke(&h->fe, page, 1);
        if (r == 0)
            r = fe_grant(&h->fe, page, 1, true);
        if (r == 0) { /* the new grant has the same reference: the lowest free one */
            uint64_t area[3];

            sound_areas(h, 0, area);
            r = write_queue(h, 0, QUEUE_SIZE, area, h->fe.queue[0].channel.port);
        }
        if (r == 0)
            r = conclude(h, "read-only", written ? REFUSED : CONNECTED);
    }
    if (r == 0)
        r = prepare(h);
    if (r == 0)
        r = fe_revoke(&h->fe, FE_PAGE_CONTROL, 1);
    if (r == 0)
        r = fe_grant(&h->fe, FE_PAGE_CONTROL, 1, true);
    if (r == 0) {
        char text[64];

        snprintf(text, sizeof(text), "ref=%u port=%u", h->fe.refs[FE_PAGE_CONTROL],
                 h->fe.control.port);
        r = fe_write_node(&h->fe, "viommu-control", text);
    }
    return r ? r : conclude(h, "a control page that is read-only", REFUSED);
}

/* Rings on top of each other: sound as addresses, so they connect; then nothing they say makes
 * sense, and all that may come of it is answers or NEEDS_RESET. */
static int ring_overlap(struct hostile *h)
{
    static const uint32_t target[] = {FE_PAGE_DESC + 2, FE_PAGE_DESC + 5, FE_PAGE_CONTROL,
                                      FE_PAGE_EVENTS};
    int r = 0;

    for (unsigned i = 0; r == 0 && i < ARRAY_SIZE(target); i++) {
        uint64_t area[3];
        char why[256];

        r = prepare(h);
        area[0] = area[1] = area[2] = hostile_address(h, target[i]);
        for (unsigned q = 0; r == 0 && q < 2; q++)
            r = write_queue(h, q, QUEUE_SIZE, area, h->fe.queue[q].channel.port);
        if (r == 0)
            r = fe_connect(&h->fe, why, sizeof(why));
        for (unsigned k = 0; r == 0 && k < 64; k++) {
            uint8_t *page = hostile_page(h, target[i]);
            uint8_t status;

            for (unsigned at = 0; at < 512; at++)
                page[at] = (uint8_t)hostile_random(h);
            if (target[i] == FE_PAGE_CONTROL)
                le32_store(page, 0x31495658);
            r = fe_status(&h->fe, k % 4 ? S_RUNNING : 0, &status);
            if (r == 0)
                r = fx_channel_notify(&h->fe.queue[k % 2].channel);
        }
        h->variants++;
        if (r == 0)
            r = hostile_close(h);
        if (r == 0)
            memset(hostile_page(h, FE_PAGE_EVENTS), 0, FE_PAGE_SIZE);
    }
    return r;
}

static int queue_sizes(struct hostile *h)
{
    static const uint64_t size[] = {0, 3, 17, 1025, 2048, 65536, 0x100000000, UINT64_MAX};
    int r = 0;

    for (unsigned i = 0; r == 0 && i < ARRAY_SIZE(size); i++) {
        bool sound = h->packed && size[i] && size[i] <= 256;
        uint64_t area[3];
        char label[48];

        r = prepare(h);
        sound_areas(h, 0, area);
        if (r == 0)
            r = write_queue(h, 0, size[i], area, h->fe.queue[0].channel.port);
        snprintf(label, sizeof(label), "size %" PRIu64, size[i]);
        if (r == 0)
            r = conclude(h, label, sound ? CONNECTED : REFUSED);
    }
    return r;
}

static int ports(struct hostile *h)
{
    static const uint32_t wrong[] = {0, 999, 65535, UINT32_MAX};
    int r = 0;

    for (unsigned i = 0; r == 0 && i < ARRAY_SIZE(wrong) + 2; i++) {
        uint32_t port = i < ARRAY_SIZE(wrong) ? wrong[i] : 0;
        uint64_t area[3];

        r = prepare(h);
        sound_areas(h, 0, area);
        if (r == 0 && i == ARRAY_SIZE(wrong)) /* closed again before the backend can bind it */
            r = fx_guest_unbind(h->fe.fx, &h->fe.queue[0].channel);
        if (r == 0 && i >= ARRAY_SIZE(wrong)) /* its own, or another queue's */
            port = h->fe.queue[i - ARRAY_SIZE(wrong)].channel.port;
        if (r == 0)
            r = write_queue(h, 0, QUEUE_SIZE, area, port);
        if (i == ARRAY_SIZE(wrong))
            h->fe.queue[0].channel.port = 0;
        if (r == 0)
            r = conclude(h, "a port that cannot be bound", REFUSED);
    }
    return r;
}

/* --- nodes and states ------------------------------------------------------------------------- */

static int write_raw(struct hostile *h, const char *name, const char *value, size_t len)
{
    char path[256];

    snprintf(path, sizeof(path), "%s/%s", h->fe.frontend_path, name);
    return xs_write(h->fe.xs, XBT_NULL, path, value, (unsigned)len) ? 0 : -errno;
}

static int remove_node(struct hostile *h, const char *name)
{
    char path[256];

    snprintf(path, sizeof(path), "%s/%s", h->fe.frontend_path, name);
    return xs_rm(h->fe.xs, XBT_NULL, path) ? 0 : -errno;
}

static int node_garbage(struct hostile *h)
{
    static const char *const garbage[] = {
        "",
        " ",
        "-1",
        "0x",
        "1e3",
        "18446744073709551616",
        "size=16",
        "ref=8 port=1 ref=9",
        "ref=0 port=4294967296",
        "ref=8  port=1",
        "size=16 desc=0x8000000000009000 driver=-0x1 device=zap port=",
        "=====",
        "%n%n%s",
        "../../../domain/0",
        "\xff\xfe\x01\n\x1b[2J",
    };
    char big[1500];
    int r = 0;

    memset(big, '1', sizeof(big));
    for (unsigned n = 0; r == 0 && n < N_NODES; n++) {
        for (unsigned i = 0; r == 0 && i < ARRAY_SIZE(garbage) + 3; i++) {
            r = prepare(h);
            if (r == 0 && i < ARRAY_SIZE(garbage))
                r = fe_write_node(&h->fe, nodes[n], garbage[i]);
            else if (r == 0 && i == ARRAY_SIZE(garbage))
                r = write_raw(h, nodes[n], big, sizeof(big));
            else if (r == 0 && i == ARRAY_SIZE(garbage) + 1)
                r = write_raw(h, nodes[n], "1\0001\000", 4);
            else if (r == 0)
                r = remove_node(h, nodes[n]);
            if (r == 0)
                r = conclude(h, nodes[n], REFUSED);
        }
    }
    return r;
}

static int feature_bits(struct hostile *h)
{
    int r = 0;

    for (unsigned bit = 0; r == 0 && bit < 64; bit += 3) {
        uint64_t features = (h->fe.features | 3ull << 32) ^ 1ull << bit;
        char text[32];

        r = prepare(h);
        features = h->fe.features ^ 1ull << bit;
        snprintf(text, sizeof(text), "%#" PRIx64, features);
        if (r == 0)
            r = fe_write_node(&h->fe, "viommu-features", text);
        /* Less is allowed, but for bits 32 and 33; bit 34 changes what rings must be like. */
        if (r == 0)
            r = conclude(h, text, CONNECTED | REFUSED);
    }
    return r;
}

/* Any states, in any order, with and without what belongs to them. */
static int state_order(struct hostile *h)
{
    static const char *const states[] = {"0",  "1",  "2",     "3",   "4",  "5",
                                         "6",  "7",  "",      "33",  "-3", "4294967299",
                                         " 3", "3 ", "three", "\x03"};
    uint64_t n = h->count ? h->count : 600;
    int r = prepare(h);

    for (uint64_t i = 0; r == 0 && i < n; i++) {
        unsigned pick = hostile_random(h) % (3 * ARRAY_SIZE(states));

        h->variants++;
        /* Mostly the states that mean something; now and then with the time to come to something:
         * 2 follows on 1, and a verdict on 3. */
        if (pick >= ARRAY_SIZE(states))
            pick %= 7;
        r = fe_write_node(&h->fe, "state", states[pick]);
        if (r == 0 && pick == 1 && hostile_random(h) % 2 == 0)
            r = fe_wait_backend(&h->fe, 1u << 2, NULL);
        if (r == 0 && pick == 1 && hostile_random(h) % 2 == 0)
            r = fe_write_node(&h->fe, "state", "3");
        if (r == 0 && hostile_random(h) % 32 == 0)
            r = fe_write_node(&h->fe, nodes[i % N_NODES], "1");
    }
    /* Back to something that ends: 1, and then in order. */
    if (r == 0)
        r = fe_write_node(&h->fe, "state", "1");
    if (r == 0)
        r = fe_wait_backend(&h->fe, 1u << 2, NULL);
    return r ? r : hostile_close(h);
}

/* The backend may not look at what it is told to look at. */
static int state_hidden(struct hostile *h)
{
    struct xs_permissions hidden = {.id = h->fe.domid, .perms = XS_PERM_NONE};
    struct xs_permissions shown[] = {{.id = h->fe.domid, .perms = XS_PERM_NONE},
                                     {.id = h->fe.backend, .perms = XS_PERM_READ}};
    char path[256];
    int r = hostile_connect(h, QUEUE_SIZE);

    snprintf(path, sizeof(path), "%s/state", h->fe.frontend_path);
    if (r == 0 && !xs_set_permissions(h->fe.xs, XBT_NULL, path, &hidden, 1))
        r = -errno;
    if (r == 0)
        r = fe_wait_backend(&h->fe, 1u << 6, NULL);
    h->fe.connected = false;
    h->variants++;
    if (r == 0 && !xs_set_permissions(h->fe.xs, XBT_NULL, path, shown, 2))
        r = -errno;
    return r ? r : hostile_abandon(h);
}

/* The guest removes its own directory while it is connected, and mapped. */
static int directory_removed(struct hostile *h)
{
    uint8_t status = 0xff;
    int r = hostile_connect(h, QUEUE_SIZE);

    if (r == 0)
        r = fe_grant(&h->fe, PAGE_SPARE, 1, false);
    if (r == 0)
        r = hostile_attach(h, 1, ENDPOINT, &status);
    if (r == 0)
        r = hostile_map(h, 1, 0x1000, hostile_address(h, PAGE_SPARE), 4096, &status);
    if (r == 0)
        hostile_expect_number(h, "MAP", status, 0);
    if (r == 0)
        r = xs_rm(h->fe.xs, XBT_NULL, h->fe.frontend_path) ? 0 : -errno;
    if (r == 0)
        r = fe_wait_backend(&h->fe, 1u << 6, NULL);
    return r ? r : hostile_abandon(h);
}

/* One step further each time, then it falls silent: the toolstack destroys the guest there. */
static int step(struct hostile *h)
{
    struct fe_start how = hostile_how(h, QUEUE_SIZE);
    uint64_t steps = h->count;
    uint8_t status;
    char why[256];
    int r = 0;

    if (steps == 1)
        r = fe_write_node(&h->fe, "state", "1");
    if (steps >= 2)
        r = fe_prepare(&h->fe, &how);
    if (r == 0 && steps == 3)
        r = fe_write_node(&h->fe, "state", "3");
    if (r == 0 && steps >= 4)
        r = fe_connect(&h->fe, why, sizeof(why));
    if (r == 0 && steps == 5)
        r = fe_status(&h->fe, 3, &status);
    if (r == 0 && steps == 6)
        r = fe_status(&h->fe, 0xb, &status);
    if (r == 0 && steps >= 7)
        r = fe_driver_init(&h->fe);
    if (r == 0 && steps >= 8)
        r = hostile_attach(h, 1, ENDPOINT, &status);
    if (r == 0 && steps >= 9)
        r = fe_grant(&h->fe, PAGE_SPARE, 16, false);
    if (r == 0 && steps >= 9)
        r = hostile_map(h, 1, 0, hostile_address(h, PAGE_SPARE), 16 * 4096, &status);
    if (r == 0 && steps == 10)
        r = fe_write_node(&h->fe, "state", "5");
    if (r == 0 && steps == 11)
        r = fe_write_node(&h->fe, "state", "1");
    if (r == 0 && steps == 12)
        r = fe_status(&h->fe, 0, &status);
    h->variants++;
    return r;
}

/* The words of the control page that are read at state 4, bit by bit. */
static int control_magic(struct hostile *h)
{
    int r = 0;

    for (unsigned bit = 0; r == 0 && bit < 64; bit += 5) {
        r = prepare(h);
        hostile_page(h, FE_PAGE_CONTROL)[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (r == 0)
            r = conclude(h, "magic or version", REFUSED);
    }
    return r;
}

const struct attack attacks_setup[] = {
    {"sound", BOTH, hostile_sound, "no attack: what a driver does", false},
    {"ring-outside", BOTH, ring_outside, "ring areas outside of granted memory", false},
    {"ring-grants", BOTH, ring_grants, "ring areas revoked or read-only", false},
    {"ring-overlap", BOTH, ring_overlap, "rings on top of each other", false},
    {"queue-sizes", BOTH, queue_sizes, "queue sizes", false},
    {"ports", SPLIT, ports, "ports that are not there, or closed, or used twice", false},
    {"node-garbage", SPLIT, node_garbage, "garbage in each node, and none", false},
    {"feature-bits", SPLIT, feature_bits, "features that were not offered", false},
    {"state-order", SPLIT, state_order, "states in any order", false},
    {"state-hidden", SPLIT, state_hidden, "a state node that the backend may not read", false},
    {"control-magic", SPLIT, control_magic, "magic and version of the control page", false},
    {"directory-removed", SPLIT, directory_removed, "the frontend's directory removed", true},
    {"step", BOTH, step, "a part of the handshake", true},
    {.name = NULL},
};
