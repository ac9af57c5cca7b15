/* SPDX-License-Identifier: GPL-2.0-only */
/* See frontend_hostile.h. */
#define _GNU_SOURCE
#include "frontend_hostile.h"
#include "frontend_device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VDOMAIN  7u
#define ENDPOINT 8u
#define GRANT    (UINT64_C(1) << 63)

static bool needs_reset(void *arg)
{
    (void)arg;
    return (load32(&control->device_status) & STATUS_NEEDS_RESET) != 0;
}

/* The device must ask for a reset, and work after it. */
static void check_breaks(const char *what)
{
    xenevtchn_notify(events, requests.port);
    check(wait_until(needs_reset, NULL, PATIENCE_MS), "%s: the device needs a reset", what);
    restart_device(what);
    attach(VDOMAIN, ENDPOINT, 0, 0, OK, what);
}

/* An ATTACH in two descriptors, of which the test spoils one. */
static struct descriptor *sound_chain(void)
{
    static const struct attach_request request = {
        .type = T_ATTACH, .domain = VDOMAIN, .endpoint = ENDPOINT};

    memcpy(request_page.data, &request, sizeof(request));
    requests.descriptors[0] = (struct descriptor){
        .address = request_address, .length = sizeof(request), .flags = DESC_NEXT, .next = 1};
    requests.descriptors[1] = (struct descriptor){
        .address = answer_address, .length = 4, .flags = DESC_WRITE};
    return requests.descriptors;
}

static void index_jumps(void)
{
    static const struct {
        uint16_t by;
        const char *what;
    } jumps[] = {{0xffff, "the available index goes back by one"},
                 {QUEUE_SIZE + 1, "the available index is one too far ahead"},
                 {0x8000, "the available index is 32,768 ahead"}};

    for (size_t i = 0; i < sizeof(jumps) / sizeof(jumps[0]); i++) {
        sound_chain();
        store16(&requests.available[1], (uint16_t)(requests.available[1] + jumps[i].by));
        check_breaks(jumps[i].what);
    }
}

static void chains(void)
{
    struct descriptor *d = sound_chain();

    d[0].next = 0;
    queue_add(&requests, 0);
    check_breaks("a descriptor that follows itself");

    d = sound_chain();
    d[0].length = UINT32_MAX;
    queue_add(&requests, 0);
    check_breaks("a buffer of 4 GiB and one more");

    sound_chain();
    memcpy((uint8_t *)request_page.data + 0x800,
           &(struct descriptor){
               .address = request_address + 0x800, .length = 16, .flags = DESC_INDIRECT},
           sizeof(struct descriptor));
    d[0] = (struct descriptor){
        .address = request_address + 0x800, .length = 16, .flags = DESC_INDIRECT};
    queue_add(&requests, 0);
    check_breaks("an indirect table in an indirect table");
}

static void addresses(void)
{
    struct page page;
    struct descriptor *d;
    uint64_t address;

    page_grant(&page, true);
    address = grant_address(&page);
    check(page_revoke(&page), "a page is granted and revoked");
    d = sound_chain();
    d[0].address = address;
    queue_add(&requests, 0);
    check_breaks("a request on a page that was revoked");

    d = sound_chain();
    d[1].address = GRANT | UINT64_C(0x7fff) << 12;
    queue_add(&requests, 0);
    check_breaks("an answer to a reference that was never granted");

    d = sound_chain();
    d[1].address = request_address;
    queue_add(&requests, 0);
    check_breaks("an answer to a page that is read-only");
}

void hostile_rings(void)
{
    index_jumps();
    chains();
    addresses();
    for (int i = 0; i < 20000; i++) {
        xenevtchn_notify(events, requests.port);
        xenevtchn_notify(events, control_port);
    }
    attach(VDOMAIN, ENDPOINT, 0, 0, OK, "ATTACH after 40,000 kicks");
    detach(VDOMAIN, ENDPOINT, OK, "DETACH after them");
}

/* Everything on the page but the words of the status handshake, by which we know that it was read.
 */
void hostile_control(void)
{
    uint8_t *bytes = (uint8_t *)control;
    uint32_t state = 12345;
    bool answered = true;

    for (int round = 0; answered && round < 100; round++) {
        for (size_t at = 0x10; at < 0x100; at++) {
            state = state * 1664525 + 1013904223;
            bytes[at] = round ? (uint8_t)(state >> 24) : 0xff;
        }
        memset(bytes + 0x110, (int)(state >> 16), PAGE - 0x110);
        answered = set_status(STATUS_ACKNOWLEDGE | STATUS_DRIVER) != UINT32_MAX;
    }
    check(answered, "100 control pages of garbage: each time the status is answered");
    memset(bytes + 0x10, 0, 0xf0);
    restart_device("after the garbage");
    attach(VDOMAIN, ENDPOINT, 0, 0, OK, "ATTACH after the garbage");
    detach(VDOMAIN, ENDPOINT, OK, "DETACH after the garbage");
}

void hostile_nodes(void)
{
    static const char *const nodes[] = {"version", "features", "control", "queue-0", "queue-1"};
    char node[64];

    for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++) {
        char what[64];

        connection_write_nodes();
        snprintf(node, sizeof(node), "device/virtio/0/viommu-%s", nodes[i]);
        store_write(node, "%s", "ref=-1 port=zap \xff\x01 size=99999999999999999999");
        snprintf(what, sizeof(what), "garbage in viommu-%s", nodes[i]);
        check_connection_refused(what);
    }
    connection_write_nodes();
    store_write("device/virtio/0/viommu-queue-0",
                "size=%u desc=0x%" PRIx64 " driver=0x%" PRIx64 " device=0x%" PRIx64
                " port=%" PRIu32,
                QUEUE_SIZE, GRANT | UINT64_C(0x7fff) << 12, requests.address + 0x400,
                requests.address + 0x800, requests.port);
    check_connection_refused("a ring on a reference that was never granted");

    connection_write_nodes();
    store_write("device/virtio/0/viommu-queue-0",
                "size=%u desc=0x%" PRIx64 " driver=0x%" PRIx64 " device=0x%" PRIx64 " port=1000",
                QUEUE_SIZE, requests.address, requests.address + 0x400, requests.address + 0x800);
    check_connection_refused("an event channel that is not there");
}

void hostile_channels(void)
{
    attach(VDOMAIN, ENDPOINT, 0, 0, OK, "ATTACH before the event channels close");
    xenevtchn_unbind(events, requests.port);
    xenevtchn_unbind(events, faults.port);
    check(set_status(STATUS_ACKNOWLEDGE | STATUS_DRIVER) != UINT32_MAX,
          "without the queues' event channels the control page still works");
    requests.port = port_open();
    faults.port = port_open();
    frontend_state(1);
    check(backend_wait(2, 2) == 2, "event channels closed: the backend lets a new start follow");
    check(connection_revoke(), "event channels closed: all grants are free");
    connection_open();
    connection_write_nodes();
    if (!check(connection_start(), "event channels closed: the next connection is accepted"))
        give_up("no connection after the event channels were closed");
    restart_device("the connection after the closed event channels");
}
