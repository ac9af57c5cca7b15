/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The Xen lab's frontend: a guest's user-space program that drives the virtio-iommu device over
 * xenbus and checks what comes back. It includes no header of the backend: the protocol is what
 * docs/protocol.md says, not what the backend happens to do.
 *
 * The last line is "TAP end COUNT". What other domains have to do for a test is asked of dom0.
 */
#define _GNU_SOURCE
#include "frontend_device.h"
#include "frontend_hostile.h"
#include "frontend_vfio.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- DMA, carried out by the backend's soft endpoint ---------------------------------------- */

/* Endpoint 8 is what the scenario set up plainly; 9 has a reserved region. */
#define ENDPOINT          8u
#define ENDPOINT_RESERVED 9u
#define RESERVED_START    UINT64_C(0x50000000)
#define RESERVED_END      UINT64_C(0x50000fff)
#define MSI_START         UINT64_C(0xfee00000)
#define MSI_END           UINT64_C(0xfeefffff)

static void to_hex(char *text, const uint8_t *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    }
}

static bool dma_write(uint64_t address, const uint8_t *bytes, size_t length)
{
    char hex[513];
    char text[1024];

    to_hex(hex, bytes, length);
    return ask(text, sizeof(text), "dma-write %u 0x%" PRIx64 " %s", ENDPOINT, address, hex) == 0;
}

/* As one line of JSON, which holds the bytes as hexadecimal digits. */
static bool dma_read(uint64_t address, size_t length, char *text, size_t size)
{
    return ask(text, size, "dma-read %u 0x%" PRIx64 " %zu", ENDPOINT, address, length) == 0;
}

/* True when the endpoint could read and saw these bytes. */
static bool dma_reads(uint64_t address, const uint8_t *bytes, size_t length)
{
    char hex[513];
    char text[1024];

    to_hex(hex, bytes, length);
    return dma_read(address, length, text, sizeof(text)) && strstr(text, hex);
}

/* A DMA that must be refused, and the one report that must come of it. */
static void check_refused(bool write, uint64_t address, uint8_t reason, const char *what)
{
    static const uint8_t bytes[4] = {1, 2, 3, 4};
    struct fault_report report;
    uint32_t used = 0;
    uint32_t wanted = FAULT_ADDRESS | (write ? FAULT_WRITE : FAULT_READ);
    char text[1024];
    bool done;
    bool came;

    while (take_fault(&report, &used, 0)) {
        check(false, "%s: a fault report that nobody asked for", what);
    }
    done = write ? dma_write(address, bytes, sizeof(bytes))
                 : dma_read(address, sizeof(bytes), text, sizeof(text));
    check(!done, "%s: the DMA is refused", what);
    memset(&report, 0xff, sizeof(report));
    came = take_fault(&report, &used, PATIENCE_MS);
    check(came && used == sizeof(report) && report.reason == reason && report.flags == wanted &&
              report.endpoint == ENDPOINT && report.address == address && !report.reserved1[0] &&
              !report.reserved1[1] && !report.reserved1[2],
          "%s: the report arrives: reason %u flags 0x%" PRIx32 " endpoint %" PRIu32
          " address 0x%" PRIx64 " used %" PRIu32,
          what, report.reason, report.flags, report.endpoint, report.address, used);
}

/* Different bytes for each call, so that an old copy is never taken for a new one. */
static void fresh_bytes(uint8_t *bytes, size_t length)
{
    static uint32_t state = 0x9e3779b9;

    for (size_t i = 0; i < length; i++) {
        state = state * 1664525 + 1013904223;
        bytes[i] = (uint8_t)(state >> 24);
    }
}

/* The hypervisor's own view: is this grant mapped by the backend now? */
static bool grant_in_use(uint32_t ref)
{
    char text[1024];
    char wanted[32];

    if (ask(text, sizeof(text), "grants")) {
        give_up("dom0 cannot list the grants in use: %s", text);
    }
    snprintf(wanted, sizeof(wanted), " 0x%03" PRIx32 " ", ref);
    return strstr(text, wanted) != NULL;
}

/* ---- the platform, without a device --------------------------------------------------------- */

/* Shows without any backend that a guest's user space can grant, take back and be notified. */
static void run_platform(void)
{
    struct page pages[4];

    check(true, "xenstore names backend domain %u", backend_domid);
    pages_grant(pages, 4, true);
    check(true, "gntalloc gives 4 consecutive references from %" PRIu32, pages[0].ref);
    check(!grant_in_use(pages[0].ref), "the hypervisor says that nobody has mapped them");
    check(pages_revoke(pages, 4), "unused grants can be taken back at once");
    check(port_open() > 0, "evtchn gives a port");
}

/* ---- the device: setting up ----------------------------------------------------------------- */

/* Everything that section 2 says the backend writes before it is ready. */
static void test_discovery(void)
{
    char watched[512];
    char *version;
    char *offered;
    char *limits;
    char *endpoints;

    snprintf(watched, sizeof(watched), "%s", backend_path);
    if (!xs_watch(store, watched, "backend")) {
        give_up("xenstore: watching the backend's directory");
    }
    if (!check(backend_wait(2, 2) == 2, "the backend waits for us in state 2")) {
        give_up("no backend");
    }
    version = backend_read("viommu-version");
    check(version && strcmp(version, "1") == 0, "viommu-version is 1");
    offered = backend_read("viommu-features");
    check(offered && strlen(offered) == 18 && strncmp(offered, "0x", 2) == 0,
          "viommu-features is 0x and 16 digits: %s", offered ? offered : "(none)");
    features_offered = offered ? strtoull(offered, NULL, 16) : 0;
    check((features_offered & FEATURE(F_VERSION_1)) && (features_offered & FEATURE(F_MAP_UNMAP)) &&
              (features_offered & FEATURE(F_ACCESS_PLATFORM)),
          "VERSION_1, ACCESS_PLATFORM and MAP_UNMAP are offered");
    limits = backend_read("viommu-limits");
    check(limits && strstr(limits, "queue-size=") && strstr(limits, "map-pages=") &&
              strstr(limits, "grant-pages="),
          "viommu-limits: %s", limits ? limits : "(none)");
    endpoints = backend_read("viommu-endpoints");
    check(endpoints && strstr(endpoints, "id=0x8 dma=soft") && strstr(endpoints, "id=0x9 "),
          "viommu-endpoints: %s", endpoints ? endpoints : "(none)");
    free(version);
    free(offered);
    free(limits);
    free(endpoints);
    features = features_offered &
               (FEATURE(F_INPUT_RANGE) | FEATURE(F_DOMAIN_RANGE) | FEATURE(F_MAP_UNMAP) |
                FEATURE(F_PROBE) | FEATURE(F_MMIO) | FEATURE(F_BYPASS_CONFIG) |
                FEATURE(F_INDIRECT_DESC) | FEATURE(F_EVENT_IDX) | FEATURE(F_VERSION_1) |
                FEATURE(F_ACCESS_PLATFORM));
}

/* Tries a connection with something wrong in it; the backend must say why and start afresh. */
void check_connection_refused(const char *what)
{
    char *error;
    bool started = connection_start();

    error = backend_read("error");
    check(!started && error && *error, "%s is refused: %s", what, error ? error : "(no reason)");
    free(error);
    frontend_state(1);
    check(backend_wait(2, 2) == 2, "%s: the backend is ready again", what);
    error = backend_read("error");
    check(!error, "%s: the reason is gone after the new start", what);
    free(error);
}

static void test_refused_connections(void)
{
    connection_write_nodes();
    write_queue_node("device/virtio/0/viommu-queue-0", &requests, 15, "");
    check_connection_refused("a queue of 15 entries");

    connection_write_nodes();
    write_queue_node("device/virtio/0/viommu-queue-1", &faults, QUEUE_SIZE, " colour=blue");
    check_connection_refused("an unknown key");

    connection_write_nodes();
    store_write("device/virtio/0/viommu-features", "0x%" PRIx64,
                features & ~FEATURE(F_ACCESS_PLATFORM));
    check_connection_refused("a connection without ACCESS_PLATFORM");

    connection_write_nodes();
    store_write("device/virtio/0/viommu-control", "ref=%" PRIu32 " port=%" PRIu32, request_page.ref,
                control_port);
    check_connection_refused("a control page that is granted read-only");
}

/* From an accepted connection to a device that works. */
static void start_device(void)
{
    uint32_t status = STATUS_ACKNOWLEDGE | STATUS_DRIVER;

    check(set_status(status) == status, "ACKNOWLEDGE and DRIVER are echoed");
    check(set_status(status | STATUS_DRIVER_OK) == status,
          "DRIVER_OK without FEATURES_OK is refused");
    check(set_status(0) == 0, "a reset is answered");
    check(set_status(status | STATUS_FEATURES_OK) == (status | STATUS_FEATURES_OK),
          "FEATURES_OK is accepted");
    status |= STATUS_FEATURES_OK | STATUS_DRIVER_OK;
    check(set_status(status) == status, "DRIVER_OK is accepted");
    for (uint16_t i = 0; i < FAULT_BUFFERS; i++) {
        post_fault_buffer(i);
    }
}

void restart_device(const char *what)
{
    uint32_t status = STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK | STATUS_DRIVER_OK;

    check(set_status(0) == 0, "%s: the reset is answered", what);
    queue_clear(&requests);
    queue_clear(&faults);
    check(set_status(status) == status, "%s: the device works again", what);
    for (uint16_t i = 0; i < FAULT_BUFFERS; i++) {
        post_fault_buffer(i);
    }
}

static void test_connect(void)
{
    char *error;

    connection_write_nodes();
    if (!check(connection_start(), "the backend accepts the connection")) {
        error = backend_read("error");
        give_up("refused: %s", error ? error : "without a reason");
    }
    check(load32(&control->backend_magic) == CONTROL_MAGIC && control->backend_version == 1,
          "the control page is the backend's too");
    check((control->page_size_mask & -control->page_size_mask) == PAGE,
          "page_size_mask 0x%" PRIx64 " says pages of 4 KiB", control->page_size_mask);
    comment("input range 0x%" PRIx64 " to 0x%" PRIx64 ", vdomains %" PRIu32 " to %" PRIu32
            ", probe_size %" PRIu32 ", bypass %u",
            control->input_start, control->input_end, control->domain_start, control->domain_end,
            control->probe_size, control->config_bypass);
}

/* ---- the device: requests ------------------------------------------------------------------- */

static void check_probe(uint32_t endpoint, uint8_t subtype, uint64_t start, uint64_t end,
                        enum layout layout, const char *what)
{
    struct probe_request request = {.type = T_PROBE, .endpoint = endpoint};
    struct answer answer = send_request(&request, sizeof(request), control->probe_size + 4, layout);
    bool found = false;

    check_status(answer, control->probe_size + 4, OK, what);
    for (uint32_t at = 0; answer.came && at + 4 <= control->probe_size;) {
        uint16_t type;
        uint16_t length;
        uint64_t first;
        uint64_t last;

        memcpy(&type, answer.bytes + at, 2);
        memcpy(&length, answer.bytes + at + 2, 2);
        if ((type & 0xfff) == 0 || at + 4u + length > control->probe_size) {
            break;
        }
        if (type == 1 && length == 20) {
            memcpy(&first, answer.bytes + at + 8, 8);
            memcpy(&last, answer.bytes + at + 16, 8);
            found = found || (answer.bytes[at + 4] == subtype && first == start && last == end);
        }
        at += 4u + length;
    }
    check(found, "%s: region 0x%" PRIx64 " to 0x%" PRIx64 " of subtype %u", what, start, end,
          subtype);
}

static void test_probe(void)
{
    struct probe_request request = {.type = T_PROBE, .endpoint = 77};

    if (!check(features & FEATURE(F_PROBE), "PROBE is offered")) {
        return;
    }
    check_probe(ENDPOINT, 1, MSI_START, MSI_END, LAYOUT_PLAIN, "PROBE of endpoint 8");
    check_probe(ENDPOINT_RESERVED, 0, RESERVED_START, RESERVED_END, LAYOUT_PLAIN,
                "PROBE of endpoint 9");
    check_status(send_request(&request, sizeof(request), control->probe_size + 4, LAYOUT_PLAIN),
                 control->probe_size + 4, NOENT, "PROBE of an unknown endpoint");
}

/* Requests that virtio says come back unwritten. */
static void test_unknown(void)
{
    struct attach_request request = {.type = 0x42};
    struct answer answer = send_request(&request, sizeof(request), 4, LAYOUT_PLAIN);

    check(answer.came && answer.used == 0 && answer.bytes[0] == ANSWER_FILL,
          "a request of unknown type comes back unwritten, used %" PRIu32, answer.used);
    request.type = T_ATTACH;
    answer = send_request(&request, 8, 4, LAYOUT_PLAIN);
    check(answer.came && answer.used == 0 && answer.bytes[0] == ANSWER_FILL,
          "a request that is too short comes back unwritten, used %" PRIu32, answer.used);
    answer = send_request(&request, sizeof(request), 3, LAYOUT_PLAIN);
    check(answer.came && answer.used == 0 && answer.bytes[0] == ANSWER_FILL,
          "a request without room for its status comes back unwritten, used %" PRIu32, answer.used);
}

/* Virtual addresses of the tests; one page each unless it says otherwise. */
#define VA      UINT64_C(0x100000)
#define VA_LAST (VA + PAGE - 1)
#define VDOMAIN 1u

static void test_attach_errors(const struct page *page)
{
    map(VDOMAIN, VA, VA_LAST, grant_address(page), MAP_READ, NOENT,
        "MAP in a vdomain that does not exist");
    unmap(VDOMAIN, VA, VA_LAST, NOENT, "UNMAP in a vdomain that does not exist");
    attach(VDOMAIN, 77, 0, 0, NOENT, "ATTACH of an unknown endpoint");
    attach(VDOMAIN, ENDPOINT, 0, 1, INVAL, "ATTACH with a reserved field set");
    attach(VDOMAIN, ENDPOINT, 0x80, 0, INVAL, "ATTACH with an unknown flag");
    detach(VDOMAIN, 77, NOENT, "DETACH of an unknown endpoint");
    detach(VDOMAIN, ENDPOINT, INVAL, "DETACH of an endpoint that is not attached");
    check_refused(true, VA, FAULT_DOMAIN, "an endpoint in no vdomain");
}

/* None of these may leave anything behind; the page is taken back at the end to see that. */
static void test_map_errors(struct page *page, struct page *read_only)
{
    uint64_t address = grant_address(page);

    map(VDOMAIN, VA, VA - 1, address, MAP_READ, INVAL, "MAP that ends before it starts");
    map(VDOMAIN, VA + 1, VA_LAST, address, MAP_READ, RANGE, "MAP that starts inside a page");
    map(VDOMAIN, VA, VA_LAST - 1, address, MAP_READ, RANGE, "MAP that ends inside a page");
    map(VDOMAIN, VA, VA_LAST, address + 8, MAP_READ, RANGE, "MAP of an unaligned address");
    map(VDOMAIN, VA, VA_LAST, address, 0x80, INVAL, "MAP with an unknown flag");
    map(VDOMAIN, MSI_START, MSI_START + PAGE - 1, address, MAP_READ, INVAL,
        "MAP in the MSI window");
    map(VDOMAIN, VA, VA_LAST, UINT64_C(1) << 63, MAP_READ, FAULT, "MAP of reference 0");
    map(VDOMAIN, VA, VA_LAST, UINT64_C(1) << 63 | UINT64_C(0x3fff0) << 12, MAP_READ, FAULT,
        "MAP of a reference that was never granted");
    map(VDOMAIN, VA, VA_LAST, address | UINT64_C(1) << 50, MAP_READ, FAULT,
        "MAP of a grant address with a reserved bit");
    map(VDOMAIN, VA, VA_LAST, UINT64_C(0x123456000), MAP_READ, FAULT,
        "MAP of an address that is in no grant map");
    map(VDOMAIN, VA, VA_LAST, grant_address(read_only), MAP_READ | MAP_WRITE, FAULT,
        "MAP for writing of a page granted read-only");
    check(!grant_in_use(page->ref), "after refused MAPs the hypervisor sees no mapping");
    check(page_revoke(page), "after refused MAPs the page can be taken back");
}

/* The main road: map, DMA both ways, partial unmap refused, unmap, DMA refused, grants free. */
static void test_map_dma(void)
{
    struct page pages[3];
    uint8_t bytes[64];

    pages_grant(pages, 3, true);
    map(VDOMAIN, VA, VA + 3 * PAGE - 1, grant_address(&pages[0]), MAP_READ | MAP_WRITE, OK,
        "MAP of three pages by grant address");
    fresh_bytes(bytes, sizeof(bytes));
    check(dma_write(VA + 0x123, bytes, 16), "the endpoint writes");
    check(memcmp((uint8_t *)pages[0].data + 0x123, bytes, 16) == 0,
          "the bytes are in our memory, at the right offset");
    check(((uint8_t *)pages[0].data)[0x122] == 0 && ((uint8_t *)pages[0].data)[0x133] == 0,
          "and nothing beside them");
    fresh_bytes(bytes, sizeof(bytes));
    check(dma_write(VA + 2 * PAGE - 32, bytes, 64), "the endpoint writes across two pages");
    check(memcmp((uint8_t *)pages[1].data + PAGE - 32, bytes, 32) == 0 &&
              memcmp(pages[2].data, bytes + 32, 32) == 0,
          "the bytes are in both pages");
    fresh_bytes(bytes, sizeof(bytes));
    memcpy((uint8_t *)pages[2].data + PAGE - 16, bytes, 16);
    check(dma_reads(VA + 3 * PAGE - 16, bytes, 16), "the endpoint reads what we wrote");
    check_refused(true, VA + 3 * PAGE, FAULT_MAPPING, "a write just behind the mapping");
    check(grant_in_use(pages[1].ref), "the hypervisor sees the backend's mapping");

    map(VDOMAIN, VA + PAGE, VA + 2 * PAGE - 1, grant_address(&pages[0]), MAP_READ, INVAL,
        "MAP over an existing mapping");
    unmap(VDOMAIN, VA, VA_LAST, RANGE, "UNMAP of a part of a mapping");
    fresh_bytes(bytes, sizeof(bytes));
    check(dma_write(VA, bytes, 4) && memcmp(pages[0].data, bytes, 4) == 0,
          "after the refused UNMAP the mapping still works");
    unmap(VDOMAIN, VA, VA + 3 * PAGE - 1, OK, "UNMAP of the whole mapping");
    check(!grant_in_use(pages[1].ref), "after UNMAP the hypervisor sees no mapping");
    check_refused(true, VA, FAULT_MAPPING, "a write after UNMAP");
    check_refused(false, VA + PAGE, FAULT_MAPPING, "a read after UNMAP");
    check(pages_revoke(pages, 3), "after UNMAP the grants can be taken back at once");
    unmap(VDOMAIN, 0, UINT64_MAX, OK, "UNMAP of nothing");
}

/* Shows that the check for revoked grants can fail at all, and what UNMAP does to such a page. */
static void test_revoke_too_early(void)
{
    struct page page;
    uint32_t ref;

    page_grant(&page, true);
    ref = page.ref;
    map(VDOMAIN, VA, VA_LAST, grant_address(&page), MAP_READ | MAP_WRITE, OK,
        "MAP of a page that is then taken back too early");
    check(!page_revoke(&page), "the kernel says that the page is still in use");
    unmap(VDOMAIN, VA, VA_LAST, OK, "UNMAP of that page");
    check(kernel_wait(LOG_FREED, ref), "after UNMAP the kernel's own second try frees it");
}

static void test_permissions(void)
{
    struct page page;
    uint8_t bytes[16];

    page_grant(&page, false);
    map(VDOMAIN, VA, VA_LAST, grant_address(&page), MAP_READ, OK,
        "MAP for reading of a page granted read-only");
    fresh_bytes(bytes, sizeof(bytes));
    memcpy(page.data, bytes, sizeof(bytes));
    check(dma_reads(VA, bytes, sizeof(bytes)), "the endpoint reads it");
    check_refused(true, VA + 8, FAULT_MAPPING, "a write to a mapping without WRITE");
    check(memcmp(page.data, bytes, sizeof(bytes)) == 0, "the page did not change");
    unmap(VDOMAIN, VA, VA_LAST, OK, "UNMAP of the read-only mapping");
    check(page_revoke(&page), "the read-only grant can be taken back");
}

/* The same requests however they lie in descriptors. */
static void test_layouts(void)
{
    struct page page;
    uint64_t address;

    page_grant(&page, true);
    address = grant_address(&page);
    map_laid(VDOMAIN, VA, VA_LAST, address, MAP_READ, LAYOUT_SCATTERED, OK,
             "MAP scattered over small descriptors");
    if (check(features & FEATURE(F_INDIRECT_DESC), "INDIRECT_DESC is offered")) {
        map_laid(VDOMAIN, VA, VA_LAST, address, MAP_READ, LAYOUT_INDIRECT, INVAL,
                 "the same MAP in an indirect table finds the mapping there");
    }
    unmap(VDOMAIN, VA, VA_LAST, OK, "UNMAP of it");
    check(page_revoke(&page), "its grant can be taken back");
}

/* Many requests in one kick: answered in order, with one look at the ring. */
static void test_batch(void)
{
    struct map_request request = {.type = T_MAP, .domain = VDOMAIN, .flags = MAP_READ};
    struct page page;
    struct used_element element;
    unsigned int in_order = 0;
    unsigned int good = 0;

    page_grant(&page, true);
    request.phys_start = grant_address(&page);
    memset(answer_page.data, ANSWER_FILL, PAGE);
    for (uint16_t i = 0; i < QUEUE_SIZE / 2; i++) {
        request.virt_start = VA + i * PAGE;
        request.virt_end = request.virt_start + PAGE - 1;
        memcpy((uint8_t *)request_page.data + i * 64u, &request, MAP_BYTES);
        requests.descriptors[2 * i] = (struct descriptor){
            .address = request_address + i * 64u,
            .length = MAP_BYTES,
            .flags = DESC_NEXT,
            .next = (uint16_t)(2 * i + 1),
        };
        requests.descriptors[2 * i + 1] = (struct descriptor){
            .address = answer_address + i * 4u,
            .length = 4,
            .flags = DESC_WRITE,
        };
        queue_add(&requests, (uint16_t)(2 * i));
    }
    queue_kick(&requests, QUEUE_SIZE / 2);
    for (uint16_t i = 0; i < QUEUE_SIZE / 2; i++) {
        if (!queue_take(&requests, &element, PATIENCE_MS)) {
            break;
        }
        in_order += element.id == 2u * i;
        good += element.length == 4 && ((uint8_t *)answer_page.data)[i * 4] == OK;
    }
    check(in_order == QUEUE_SIZE / 2 && good == QUEUE_SIZE / 2,
          "%u MAPs with one notification: %u in order, %u OK", QUEUE_SIZE / 2, in_order, good);
    unmap(VDOMAIN, VA, VA + QUEUE_SIZE * PAGE, OK, "one UNMAP ends them all");
    check(page_revoke(&page), "the page that they shared can be taken back");
}

/* What else ends mappings: moving the last endpoint away, and DETACH. */
static void test_move_and_detach(void)
{
    struct page page;
    uint8_t bytes[4];

    page_grant(&page, true);
    map(VDOMAIN, VA, VA_LAST, grant_address(&page), MAP_READ | MAP_WRITE, OK, "MAP before moves");
    attach(VDOMAIN, ENDPOINT, 0, 0, OK, "ATTACH to the same vdomain again");
    fresh_bytes(bytes, sizeof(bytes));
    check(dma_write(VA, bytes, 4) && memcmp(page.data, bytes, 4) == 0,
          "which leaves its mapping in place");
    attach(VDOMAIN + 1, ENDPOINT, 0, 0, OK, "ATTACH that moves the only endpoint away");
    check(page_revoke(&page), "the vdomain and its mapping are gone: the grant is free");
    unmap(VDOMAIN, VA, VA_LAST, NOENT, "UNMAP in the vdomain that ceased to exist");
    check_refused(false, VA, FAULT_MAPPING, "a read in the new, empty vdomain");

    page_grant(&page, true);
    map(VDOMAIN + 1, VA, VA_LAST, grant_address(&page), MAP_READ | MAP_WRITE, OK,
        "MAP before DETACH");
    detach(VDOMAIN, ENDPOINT, INVAL, "DETACH from another vdomain");
    detach(VDOMAIN + 1, ENDPOINT, OK, "DETACH");
    check(page_revoke(&page), "after DETACH the grant is free");
    check_refused(true, VA, FAULT_DOMAIN, "a write after DETACH");
}

/* ---- the device: grant maps ----------------------------------------------------------------- */

#define DIRECTORY_MAGIC 0x44495658u
#define RUN_READ_ONLY   1u
#define MAP_BASE        UINT64_C(0x40000000)

struct run {
    uint64_t address;
    uint32_t first_ref;
    uint32_t pages;
    uint32_t flags;
    uint32_t reserved;
};

struct directory {
    uint32_t magic;
    uint32_t version;
    uint32_t generation;
    uint32_t count;
    uint32_t next;
    uint32_t reserved[3];
    struct run runs[169];
};

_Static_assert(sizeof(struct run) == 24, "run");
_Static_assert(offsetof(struct directory, runs) == 0x20, "directory");
_Static_assert(sizeof(struct directory) <= 4096, "directory");

/* An empty directory page for the next offer. */
static struct directory *directory_init(struct page *page, uint32_t next)
{
    struct directory *directory;

    page_grant(page, false);
    directory = page->data;
    directory->magic = DIRECTORY_MAGIC;
    directory->version = 1;
    directory->generation = control->map_generation + 1;
    directory->next = next;
    return directory;
}

static void directory_add(struct directory *directory, uint64_t address, const struct page *first,
                          uint32_t pages, uint32_t flags)
{
    directory->runs[directory->count++] = (struct run){
        .address = address,
        .first_ref = first->ref,
        .pages = pages,
        .flags = flags,
    };
}

/* Offers a map; map_in_use must change with the verdict 0 and with no other. */
static void check_offer(uint32_t ref, uint32_t wanted, const char *what)
{
    uint32_t before = control->map_in_use;
    uint32_t verdict = offer_map(ref);
    uint32_t in_use = wanted == 0 ? control->map_generation : before;

    check(verdict == wanted && control->map_in_use == in_use,
          "%s: verdict %" PRIu32 " (wanted %" PRIu32 "), generation %" PRIu32 " in use", what,
          verdict, wanted, control->map_in_use);
}

/*
 * Two runs of writable pages and one of a read-only page, on a chain of two directory pages.
 * Guest addresses go on across runs, references do not, so a MAP may cross.
 */
static void test_grant_map(void)
{
    struct page chain[2];
    struct page low[4];
    struct page high[4];
    struct page fixed;
    struct directory *directory;
    uint8_t bytes[32];

    pages_grant(low, 4, true);
    pages_grant(high, 4, true);
    page_grant(&fixed, false);
    directory = directory_init(&chain[1], 0);
    directory_add(directory, MAP_BASE, &low[0], 4, 0);
    directory = directory_init(&chain[0], chain[1].ref);
    directory_add(directory, MAP_BASE + 4 * PAGE, &high[0], 4, 0);
    directory_add(directory, MAP_BASE + 0x100000, &fixed, 1, RUN_READ_ONLY);
    check_offer(chain[0].ref, 0, "a grant map of three runs");
    check(pages_revoke(chain, 2), "its directory pages can be taken back");

    attach(VDOMAIN, ENDPOINT, 0, 0, OK, "ATTACH for the grant map");
    map(VDOMAIN, VA, VA + 2 * PAGE - 1, MAP_BASE + 3 * PAGE, MAP_READ | MAP_WRITE, OK,
        "MAP by guest address, across two runs");
    fresh_bytes(bytes, sizeof(bytes));
    check(dma_write(VA + PAGE - 16, bytes, 32), "the endpoint writes across the runs");
    check(memcmp((uint8_t *)low[3].data + PAGE - 16, bytes, 16) == 0 &&
              memcmp(high[0].data, bytes + 16, 16) == 0,
          "the bytes are in both runs' pages");
    map(VDOMAIN, VA + 0x10000, VA + 0x10fff, MAP_BASE + 0x100000, MAP_READ | MAP_WRITE, FAULT,
        "MAP for writing of a read-only run");
    map(VDOMAIN, VA + 0x10000, VA + 0x10fff, MAP_BASE + 0x100000, MAP_READ, OK,
        "MAP for reading of a read-only run");
    map(VDOMAIN, VA + 0x20000, VA + 0x21fff, MAP_BASE + 7 * PAGE, MAP_READ, FAULT,
        "MAP that leaves the grant map");

    directory = directory_init(&chain[0], 0);
    directory_add(directory, MAP_BASE, &low[0], 4, 0);
    check_offer(chain[0].ref, 2, "a map that lacks pages in use");
    check(page_revoke(&chain[0]), "its directory page can be taken back");
    fresh_bytes(bytes, sizeof(bytes));
    check(dma_write(VA, bytes, 8) && memcmp(low[3].data, bytes, 8) == 0,
          "the old map stays in use");
    directory = directory_init(&chain[0], 0);
    directory_add(directory, MAP_BASE + 8, &low[0], 4, 0);
    check_offer(chain[0].ref, 1, "a malformed map");
    page_revoke(&chain[0]);

    unmap(VDOMAIN, 0, UINT64_MAX, OK, "UNMAP of everything");
    directory = directory_init(&chain[0], 0);
    directory_add(directory, MAP_BASE, &low[0], 4, 0);
    check_offer(chain[0].ref, 0, "a smaller map, now that nothing is in use");
    page_revoke(&chain[0]);
    check(pages_revoke(high, 4) && page_revoke(&fixed), "the dropped runs' grants are free");
    check_offer(0, 0, "an empty map");
    check(pages_revoke(low, 4), "all of the grant map's grants are free");
    detach(VDOMAIN, ENDPOINT, OK, "DETACH after the grant map");
}

/* ---- the device: bypass, reset, broken rings ------------------------------------------------ */

static void test_bypass(void)
{
    struct page directory_page;
    struct directory *directory;
    struct page page;
    uint8_t bytes[8];
    uint32_t before = control->config_bypass;

    if (!(features & FEATURE(F_BYPASS_CONFIG))) {
        comment("BYPASS_CONFIG is not offered");
        check(set_bypass(1) == 1, "writing bypass without BYPASS_CONFIG is refused");
        return;
    }
    page_grant(&page, true);
    directory = directory_init(&directory_page, 0);
    directory_add(directory, MAP_BASE, &page, 1, 0);
    check_offer(directory_page.ref, 0, "a grant map for bypass");
    page_revoke(&directory_page);
    check(set_bypass(2) == 1 && control->config_bypass == before, "bypass 2 is refused");
    check(set_bypass(1) == 0 && control->config_bypass == 1, "bypass 1 is taken");
    fresh_bytes(bytes, sizeof(bytes));
    check(dma_write(MAP_BASE + 4, bytes, 8) && memcmp((uint8_t *)page.data + 4, bytes, 8) == 0,
          "an endpoint in bypass writes to the guest address itself");
    check(set_bypass(0) == 0 && control->config_bypass == 0, "bypass 0 is taken");
    check_refused(true, MAP_BASE, FAULT_DOMAIN, "without bypass");
    check_offer(0, 0, "an empty map after bypass");
    check(page_revoke(&page), "its page can be taken back");
}

static void test_reset(void)
{
    struct page page;

    page_grant(&page, true);
    attach(VDOMAIN, ENDPOINT, 0, 0, OK, "ATTACH before a reset");
    map(VDOMAIN, VA, VA_LAST, grant_address(&page), MAP_READ | MAP_WRITE, OK, "MAP before a reset");
    check(set_status(0) == 0, "the reset is answered");
    check(page_revoke(&page), "after the reset the mapped page's grant is free");
    restart_device("a second reset");
    unmap(VDOMAIN, VA, VA_LAST, NOENT, "UNMAP after the reset finds no vdomain");
}

static bool needs_reset(void *arg)
{
    (void)arg;
    return (load32(&control->device_status) & STATUS_NEEDS_RESET) != 0;
}

static void test_broken_ring(void)
{
    queue_add(&requests, QUEUE_SIZE + 5);
    xenevtchn_notify(events, requests.port);
    check(wait_until(needs_reset, NULL, PATIENCE_MS),
          "a descriptor number outside the ring: the device needs a reset");
    restart_device("after the broken ring");
    attach(VDOMAIN, ENDPOINT, 0, 0, OK, "ATTACH on the repaired ring");
    detach(VDOMAIN, ENDPOINT, OK, "DETACH on the repaired ring");
}

/* ---- the device: ending, starting over ------------------------------------------------------ */

bool connection_revoke(void)
{
    bool all = page_revoke(&control_page);

    all = page_revoke(&requests.page) && all;
    all = page_revoke(&faults.page) && all;
    all = page_revoke(&request_page) && all;
    all = page_revoke(&answer_page) && all;
    xenevtchn_unbind(events, control_port);
    xenevtchn_unbind(events, requests.port);
    xenevtchn_unbind(events, faults.port);
    return all;
}

static void test_close(void)
{
    check(set_status(0) == 0, "the last reset is answered");
    frontend_state(5);
    check(backend_wait(6, 6) == 6, "the backend closes");
    frontend_state(6);
    check(connection_revoke(), "rings, buffers and control page can be taken back");
}

/*
 * The second connection: the rings and buffers lie in a grant map that is there from the start, a
 * request is in the ring before DRIVER_OK.
 */
static void test_second_connection(void)
{
    uint32_t status = STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK;
    struct attach_request request = {.type = T_ATTACH, .domain = VDOMAIN, .endpoint = ENDPOINT};
    struct page directory_page;
    struct directory *directory;
    struct used_element element = {0, 0};

    frontend_state(1);
    check(backend_wait(2, 2) == 2, "the backend is ready for a new connection");
    connection_open();
    directory = directory_init(&directory_page, 0);
    directory_add(directory, MAP_BASE, &requests.page, 1, 0);
    directory_add(directory, MAP_BASE + PAGE, &faults.page, 1, 0);
    directory_add(directory, MAP_BASE + 2 * PAGE, &request_page, 1, RUN_READ_ONLY);
    directory_add(directory, MAP_BASE + 3 * PAGE, &answer_page, 1, 0);
    requests.address = MAP_BASE;
    faults.address = MAP_BASE + PAGE;
    request_address = MAP_BASE + 2 * PAGE;
    answer_address = MAP_BASE + 3 * PAGE;
    control->map_ref = directory_page.ref;
    control->map_generation = directory->generation;
    connection_write_nodes();
    if (!check(connection_start(), "a connection with its rings in a grant map is accepted")) {
        give_up("no second connection");
    }
    check(control->map_answered == control->map_generation && control->map_verdict == 0,
          "its grant map is in use");
    check(page_revoke(&directory_page), "its directory page can be taken back");

    set_status(status);
    memcpy(request_page.data, &request, sizeof(request));
    memset(answer_page.data, ANSWER_FILL, PAGE);
    requests.descriptors[0] = (struct descriptor){
        .address = request_address,
        .length = sizeof(request),
        .flags = DESC_NEXT,
        .next = 1,
    };
    requests.descriptors[1] = (struct descriptor){
        .address = answer_address,
        .length = 4,
        .flags = DESC_WRITE,
    };
    queue_add(&requests, 0);
    status |= STATUS_DRIVER_OK;
    check(set_status(status) == status, "DRIVER_OK with a request in the ring");
    check(queue_take(&requests, &element, PATIENCE_MS) && element.length == 4 &&
              ((uint8_t *)answer_page.data)[0] == OK,
          "it is answered without a kick");
    for (uint16_t i = 0; i < FAULT_BUFFERS; i++) {
        post_fault_buffer(i);
    }
    check_offer(0, 2, "a map without the rings' pages");
}

/* A new kernel in the same guest knows nothing of the old connection and just begins. */
static void test_start_over(void)
{
    struct page page;

    page_grant(&page, true);
    map(VDOMAIN, VA, VA_LAST, grant_address(&page), MAP_READ | MAP_WRITE, OK,
        "MAP before starting over");
    frontend_state(1);
    check(backend_wait(2, 2) == 2, "starting over without closing: the backend follows");
    check(page_revoke(&page) && connection_revoke(), "all grants of the old connection are free");
    connection_open();
    connection_write_nodes();
    check(connection_start(), "the new connection is accepted");
    restart_device("the new connection");
}

/* What is left when dom0 destroys us: a connected device with a mapping that DMA goes to. */
static void leave_running(void)
{
    static struct page page;
    uint8_t bytes[8];

    page_grant(&page, true);
    attach(VDOMAIN, ENDPOINT, 0, 0, OK, "the last ATTACH");
    map(VDOMAIN, VA, VA_LAST, grant_address(&page), MAP_READ | MAP_WRITE, OK, "the last MAP");
    fresh_bytes(bytes, sizeof(bytes));
    check(dma_write(VA, bytes, 8) && memcmp(page.data, bytes, 8) == 0, "the last DMA");
}

static void run_device(void)
{
    struct page page;
    struct page read_only;

    test_discovery();
    connection_open();
    test_refused_connections();
    hostile_nodes();
    test_connect();
    start_device();
    test_probe();
    test_unknown();

    page_grant(&page, true);
    page_grant(&read_only, false);
    test_attach_errors(&page);
    attach(VDOMAIN, ENDPOINT, 0, 0, OK, "ATTACH");
    test_map_errors(&page, &read_only);
    page_revoke(&read_only);
    test_map_dma();
    test_revoke_too_early();
    test_permissions();
    test_layouts();
    test_batch();
    test_move_and_detach();
    test_grant_map();
    test_bypass();
    test_reset();
    test_broken_ring();
    hostile_rings();
    hostile_control();
    hostile_channels();
    test_close();
    test_second_connection();
    test_start_over();
    leave_running();
    check(lost_notifications == 0, "%u notifications were missing", lost_notifications);
}

int main(int argc, char **argv)
{
    char text[64];

    guest_open();
    if (argc > 1 && strcmp(argv[1], "platform") == 0) {
        run_platform();
    } else if (argc > 1 && strcmp(argv[1], "vfio") == 0) {
        run_vfio();
    } else {
        run_device();
    }
    printf("TAP end %u\n", tests_seen);
    fflush(stdout);
    ask(text, sizeof(text), "done");
    /* dom0 ends the guest. A process that ended would let go of everything itself. */
    for (;;) {
        pause();
    }
}
