/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The frontend's side of docs/protocol.md: connecting, the control page, the two queues, and
 * requests, one at a time. See frontend_device.h.
 */
#define _GNU_SOURCE
#include "frontend_device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(offsetof(struct control, backend_magic) == 0x100, "control page");
_Static_assert(offsetof(struct control, map_in_use) == 0x120, "control page");
_Static_assert(offsetof(struct control, page_size_mask) == 0x140, "control page");
_Static_assert(offsetof(struct control, config_bypass) == 0x164, "control page");
_Static_assert(sizeof(struct attach_request) == 20, "ATTACH");
_Static_assert(offsetof(struct map_request, flags) == 32, "MAP");
_Static_assert(sizeof(struct probe_request) == 72, "PROBE");
_Static_assert(sizeof(struct fault_report) == 24, "fault report");

/* Where the parts of a queue lie in its page. */
#define AVAILABLE_OFFSET 0x400u
#define USED_OFFSET      0x800u

/* ---- the connection ------------------------------------------------------------------------- */

uint64_t features_offered;
uint64_t features;
struct page control_page;
struct control *control;
uint32_t control_port;
struct queue requests;
struct queue faults;

/*
 * Where requests and answers lie. The requests' page is granted read-only: the backend must not
 * need more. The answers' page is all 0xee before each request.
 */
struct page request_page;
uint64_t request_address;
struct page answer_page;
uint64_t answer_address;

char *backend_read(const char *node)
{
    char path[512];

    snprintf(path, sizeof(path), "%s/%s", backend_path, node);
    return store_read(path);
}

static int backend_state(void)
{
    char *value = backend_read("state");
    int state = value ? (int)strtol(value, NULL, 10) : 0;

    free(value);
    return state;
}

/* Waits for the backend to reach one of two states; 0 when it does not. */
int backend_wait(int wanted, int other)
{
    int64_t deadline = now_ms() + PATIENCE_MS;

    for (;;) {
        int state = backend_state();

        if (state == wanted || state == other) {
            return state;
        }
        if (!store_wait(deadline)) {
            return 0;
        }
    }
}

static void queue_layout(struct queue *queue)
{
    uint8_t *base = queue->page.data;

    queue->descriptors = (struct descriptor *)base;
    queue->available = (uint16_t *)(base + AVAILABLE_OFFSET);
    queue->used_head = (uint16_t *)(base + USED_OFFSET);
    queue->used = (struct used_element *)(base + USED_OFFSET + 4);
    queue->available_event = (uint16_t *)(queue->used + QUEUE_SIZE);
}

void queue_clear(struct queue *queue)
{
    memset(queue->page.data, 0, PAGE);
    queue->seen = 0;
}

/* All pages and ports of a connection; the addresses are grant addresses until somebody changes
 * them. */
void connection_open(void)
{
    page_grant(&control_page, true);
    control = control_page.data;
    page_grant(&requests.page, true);
    page_grant(&faults.page, true);
    page_grant(&request_page, false);
    page_grant(&answer_page, true);
    requests.address = grant_address(&requests.page);
    faults.address = grant_address(&faults.page);
    request_address = grant_address(&request_page);
    answer_address = grant_address(&answer_page);
    queue_layout(&requests);
    queue_layout(&faults);
    requests.seen = 0;
    faults.seen = 0;
    control_port = port_open();
    requests.port = port_open();
    faults.port = port_open();
    control->magic = CONTROL_MAGIC;
    control->version = 1;
}

void write_queue_node(const char *node, const struct queue *queue, unsigned int size,
                      const char *more)
{
    store_write(node,
                "size=%u desc=0x%" PRIx64 " driver=0x%" PRIx64 " device=0x%" PRIx64 " port=%" PRIu32
                "%s",
                size, queue->address, queue->address + AVAILABLE_OFFSET,
                queue->address + USED_OFFSET, queue->port, more);
}

/* Writes all nodes as they should be; a test may spoil one before state 3 is written. */
void connection_write_nodes(void)
{
    store_write("device/virtio/0/viommu-version", "1");
    store_write("device/virtio/0/viommu-features", "0x%" PRIx64, features);
    store_write("device/virtio/0/viommu-control", "ref=%" PRIu32 " port=%" PRIu32, control_page.ref,
                control_port);
    write_queue_node("device/virtio/0/viommu-queue-0", &requests, QUEUE_SIZE, "");
    write_queue_node("device/virtio/0/viommu-queue-1", &faults, QUEUE_SIZE, "");
}

void frontend_state(int state)
{
    store_write("device/virtio/0/state", "%d", state);
}

/* Goes on from state 3. True when the backend accepted the connection. */
bool connection_start(void)
{
    frontend_state(3);
    if (backend_wait(4, 6) == 4) {
        frontend_state(4);
        return true;
    }
    return false;
}

/* ---- steps on the control page -------------------------------------------------------------- */

static bool status_answered(void *arg)
{
    (void)arg;
    return load32(&control->status_ack) == control->status_seq;
}

/* Writes the driver's status and returns the device's, or ~0 when no answer came. */
uint32_t set_status(uint32_t status)
{
    control->driver_status = status;
    store32(&control->status_seq, control->status_seq + 1);
    xenevtchn_notify(events, control_port);
    if (!wait_until(status_answered, NULL, PATIENCE_MS)) {
        return UINT32_MAX;
    }
    return control->device_status;
}

static bool map_handled(void *arg)
{
    (void)arg;
    return load32(&control->map_answered) == control->map_generation;
}

/* Offers the grant map that starts at a directory page and returns the verdict, ~0 without one. */
uint32_t offer_map(uint32_t ref)
{
    control->map_ref = ref;
    store32(&control->map_generation, control->map_generation + 1);
    xenevtchn_notify(events, control_port);
    if (!wait_until(map_handled, NULL, PATIENCE_MS)) {
        return UINT32_MAX;
    }
    return control->map_verdict;
}

static bool bypass_handled(void *arg)
{
    (void)arg;
    return load32(&control->bypass_ack) == control->bypass_seq;
}

uint32_t set_bypass(uint32_t value)
{
    control->bypass = value;
    store32(&control->bypass_seq, control->bypass_seq + 1);
    xenevtchn_notify(events, control_port);
    if (!wait_until(bypass_handled, NULL, PATIENCE_MS)) {
        return UINT32_MAX;
    }
    return control->bypass_verdict;
}

/* ---- queues --------------------------------------------------------------------------------- */

/* Makes a chain available and notifies the backend if it asked for that. */
void queue_add(struct queue *queue, uint16_t first_descriptor)
{
    uint16_t index = queue->available[1];

    queue->available[2 + index % QUEUE_SIZE] = first_descriptor;
    store16(&queue->available[1], (uint16_t)(index + 1));
}

void queue_kick(struct queue *queue, uint16_t added)
{
    uint16_t now = queue->available[1];
    bool wanted;

    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (features & FEATURE(F_EVENT_IDX)) {
        wanted = (uint16_t)(now - load16(queue->available_event) - 1) < added;
    } else {
        wanted = !(load16(&queue->used_head[0]) & 1);
    }
    if (wanted) {
        xenevtchn_notify(events, queue->port);
    }
}

static bool queue_has_used(void *arg)
{
    struct queue *queue = arg;

    if (load16(&queue->used_head[1]) != queue->seen) {
        return true;
    }
    /* Ask for a notification of the very next entry, then look again. */
    queue->available[2 + QUEUE_SIZE] = queue->seen;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return load16(&queue->used_head[1]) != queue->seen;
}

bool queue_take(struct queue *queue, struct used_element *element, int patience_ms)
{
    if (!wait_until(queue_has_used, queue, patience_ms)) {
        return false;
    }
    *element = queue->used[queue->seen % QUEUE_SIZE];
    queue->seen++;
    return true;
}

/* ---- requests: virtio 1.3, section 5.13.6 --------------------------------------------------- */

#define TABLE_OFFSET 0x800u

/* Cuts one buffer into descriptors of at most `piece` bytes, appended at *count. */
static void cut(struct descriptor *table, uint16_t *count, uint64_t address, size_t length,
                size_t piece, uint16_t flags)
{
    while (length) {
        size_t part = length < piece ? length : piece;

        table[*count].address = address;
        table[*count].length = (uint32_t)part;
        table[*count].flags = flags | DESC_NEXT;
        table[*count].next = (uint16_t)(*count + 1);
        (*count)++;
        address += part;
        length -= part;
    }
}

/* Sends one request and waits for it. The descriptors are all free: one request at a time. */
struct answer send_request(const void *request, size_t request_bytes, size_t answer_bytes,
                           enum layout layout)
{
    struct answer answer = {.bytes = answer_page.data};
    struct descriptor *table = requests.descriptors;
    uint16_t count = 0;
    size_t piece = layout == LAYOUT_PLAIN ? PAGE : 7;
    struct used_element element;

    memcpy(request_page.data, request, request_bytes);
    memset(answer_page.data, ANSWER_FILL, PAGE);
    if (layout == LAYOUT_INDIRECT) {
        table = (struct descriptor *)((uint8_t *)request_page.data + TABLE_OFFSET);
    }
    cut(table, &count, request_address, request_bytes, piece, 0);
    cut(table, &count, answer_address, answer_bytes, layout == LAYOUT_PLAIN ? PAGE : 3, DESC_WRITE);
    table[count - 1].flags &= (uint16_t)~DESC_NEXT;
    if (layout == LAYOUT_INDIRECT) {
        requests.descriptors[0] = (struct descriptor){
            .address = request_address + TABLE_OFFSET,
            .length = (uint32_t)(count * sizeof(*table)),
            .flags = DESC_INDIRECT,
        };
    }
    queue_add(&requests, 0);
    queue_kick(&requests, 1);
    if (!queue_take(&requests, &element, PATIENCE_MS)) {
        give_up("no answer to a request of type %u", *(const uint8_t *)request);
    }
    answer.came = element.id == 0;
    answer.used = element.length;
    return answer;
}

/* Checks an answer of `bytes` bytes whose status is the first of its last four. */
bool check_status(struct answer answer, uint32_t bytes, uint8_t status, const char *what)
{
    uint8_t got = answer.came && bytes >= 4 ? answer.bytes[bytes - 4] : 0xff;

    return check(answer.came && answer.used == bytes && got == status,
                 "%s: status %u, used %" PRIu32 " (wanted %u, %" PRIu32 ")", what, got, answer.used,
                 status, bytes);
}

void attach(uint32_t domain, uint32_t endpoint, uint32_t flags, uint32_t reserved, uint8_t status,
            const char *what)
{
    struct attach_request request = {.type = T_ATTACH,
                                     .domain = domain,
                                     .endpoint = endpoint,
                                     .flags = flags,
                                     .reserved2 = reserved};

    check_status(send_request(&request, sizeof(request), 4, LAYOUT_PLAIN), 4, status, what);
}

void detach(uint32_t domain, uint32_t endpoint, uint8_t status, const char *what)
{
    struct attach_request request = {.type = T_DETACH, .domain = domain, .endpoint = endpoint};

    check_status(send_request(&request, sizeof(request), 4, LAYOUT_PLAIN), 4, status, what);
}

void map_laid(uint32_t domain, uint64_t start, uint64_t end, uint64_t phys, uint32_t flags,
              enum layout layout, uint8_t status, const char *what)
{
    struct map_request request = {.type = T_MAP,
                                  .domain = domain,
                                  .virt_start = start,
                                  .virt_end = end,
                                  .phys_start = phys,
                                  .flags = flags};

    check_status(send_request(&request, MAP_BYTES, 4, layout), 4, status, what);
}

void map(uint32_t domain, uint64_t start, uint64_t end, uint64_t phys, uint32_t flags,
         uint8_t status, const char *what)
{
    map_laid(domain, start, end, phys, flags, LAYOUT_PLAIN, status, what);
}

void unmap(uint32_t domain, uint64_t start, uint64_t end, uint8_t status, const char *what)
{
    struct map_request request = {
        .type = T_UNMAP, .domain = domain, .virt_start = start, .virt_end = end};

    check_status(send_request(&request, UNMAP_BYTES, 4, LAYOUT_PLAIN), 4, status, what);
}

/* ---- fault reports: virtio 1.3, section 5.13.6.10 ------------------------------------------- */

#define FAULT_OFFSET 0xc00u

/* Posts a buffer; they lie in the queue's own page, which the backend may write to. */
void post_fault_buffer(uint16_t number)
{
    size_t offset = FAULT_OFFSET + number * sizeof(struct fault_report);

    memset((uint8_t *)faults.page.data + offset, ANSWER_FILL, sizeof(struct fault_report));
    faults.descriptors[number] = (struct descriptor){
        .address = faults.address + offset,
        .length = sizeof(struct fault_report),
        .flags = DESC_WRITE,
    };
    queue_add(&faults, number);
    queue_kick(&faults, 1);
}

bool take_fault(struct fault_report *report, uint32_t *used, int patience_ms)
{
    struct used_element element;

    if (!queue_take(&faults, &element, patience_ms) || element.id >= FAULT_BUFFERS) {
        return false;
    }
    memcpy(report, (uint8_t *)faults.page.data + FAULT_OFFSET + element.id * sizeof(*report),
           sizeof(*report));
    *used = element.length;
    post_fault_buffer((uint16_t)element.id);
    return true;
}
