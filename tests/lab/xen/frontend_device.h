/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The frontend's side of docs/protocol.md, written from that page alone: control page, rings,
 * requests, fault reports. Whatever is sent can be wrong on purpose; the tests decide.
 */
#ifndef LAB_FRONTEND_DEVICE_H
#define LAB_FRONTEND_DEVICE_H

#include "frontend_guest.h"

/* The control page: docs/protocol.md, section 4. */
#define CONTROL_MAGIC 0x31495658u

#define STATUS_ACKNOWLEDGE 0x01u
#define STATUS_DRIVER      0x02u
#define STATUS_DRIVER_OK   0x04u
#define STATUS_FEATURES_OK 0x08u
#define STATUS_NEEDS_RESET 0x40u

struct control {
    uint32_t magic;
    uint32_t version;
    uint32_t driver_status;
    uint32_t status_seq;
    uint32_t bypass;
    uint32_t bypass_seq;
    uint32_t map_ref;
    uint32_t map_generation;
    uint32_t reserved1[56];
    uint32_t backend_magic; /* 0x100 */
    uint32_t backend_version;
    uint32_t device_status;
    uint32_t status_ack;
    uint32_t bypass_ack;
    uint32_t bypass_verdict;
    uint32_t map_answered;
    uint32_t map_verdict;
    uint32_t map_in_use; /* 0x120 */
    uint32_t config_generation;
    uint32_t reserved2[6];
    /* 0x140: virtio's config space of the device */
    uint64_t page_size_mask;
    uint64_t input_start;
    uint64_t input_end;
    uint32_t domain_start;
    uint32_t domain_end;
    uint32_t probe_size;
    uint8_t config_bypass;
    uint8_t config_reserved[3];
};

/* Split rings: virtio 1.3, section 2.7. */
#define DESC_NEXT     1u
#define DESC_WRITE    2u
#define DESC_INDIRECT 4u

struct descriptor {
    uint64_t address;
    uint32_t length;
    uint16_t flags;
    uint16_t next;
};

struct used_element {
    uint32_t id;
    uint32_t length;
};

#define QUEUE_SIZE 32u

/* One queue in one page: descriptors at 0, available ring at 0x400, used ring at 0x800. */
struct queue {
    struct page page;
    uint64_t address; /* of the page, as the backend is told */
    struct descriptor *descriptors;
    uint16_t *available; /* flags, index, entries, used_event */
    uint16_t *used_head; /* flags, index */
    struct used_element *used;
    uint16_t *available_event;
    uint32_t port;
    uint16_t seen; /* used entries that we have taken */
};

/* Features that the tests know. */
#define FEATURE(bit)      (UINT64_C(1) << (bit))
#define F_INPUT_RANGE     0
#define F_DOMAIN_RANGE    1
#define F_MAP_UNMAP       2
#define F_PROBE           4
#define F_MMIO            5
#define F_BYPASS_CONFIG   6
#define F_INDIRECT_DESC   28
#define F_EVENT_IDX       29
#define F_VERSION_1       32
#define F_ACCESS_PLATFORM 33

/* Requests: virtio 1.3, section 5.13.6. */
#define OK     0
#define UNSUPP 2
#define INVAL  4
#define RANGE  5
#define NOENT  6
#define FAULT  7

#define MAP_READ  1u
#define MAP_WRITE 2u

#define T_ATTACH 1
#define T_DETACH 2
#define T_MAP    3
#define T_UNMAP  4
#define T_PROBE  5

struct attach_request {
    uint8_t type;
    uint8_t reserved1[3];
    uint32_t domain;
    uint32_t endpoint;
    uint32_t flags;
    uint32_t reserved2;
};

struct map_request {
    uint8_t type;
    uint8_t reserved1[3];
    uint32_t domain;
    uint64_t virt_start;
    uint64_t virt_end;
    uint64_t phys_start; /* UNMAP ends with 4 reserved bytes here */
    uint32_t flags;
};

struct probe_request {
    uint8_t type;
    uint8_t reserved1[3];
    uint32_t endpoint;
    uint8_t reserved2[64];
};

#define MAP_BYTES   36u
#define UNMAP_BYTES 28u

/* How a request lies in descriptors: the backend must not care. */
enum layout {
    LAYOUT_PLAIN,     /* one descriptor to read, one to write */
    LAYOUT_SCATTERED, /* many small ones */
    LAYOUT_INDIRECT,  /* scattered, in an indirect table */
};

struct answer {
    bool came;
    uint32_t used;
    const uint8_t *bytes; /* written part, in the answers' page */
};

#define ANSWER_FILL 0xee

/* Fault reports: virtio 1.3, section 5.13.6.10. */
#define FAULT_DOMAIN  1
#define FAULT_MAPPING 2
#define FAULT_READ    1u
#define FAULT_WRITE   2u
#define FAULT_ADDRESS 0x100u

struct fault_report {
    uint8_t reason;
    uint8_t reserved1[3];
    uint32_t flags;
    uint32_t endpoint;
    uint32_t reserved2;
    uint64_t address;
};

#define FAULT_BUFFERS 8u

/* The connection that is open, and its parts: see frontend_device.c. */
extern uint64_t features_offered;
extern uint64_t features;
extern struct page control_page;
extern struct control *control;
extern uint32_t control_port;
extern struct queue requests;
extern struct queue faults;
extern struct page request_page;
extern uint64_t request_address;
extern struct page answer_page;
extern uint64_t answer_address;

char *backend_read(const char *node);
int backend_wait(int wanted, int other);
void queue_clear(struct queue *queue);
void connection_open(void);
void write_queue_node(const char *node, const struct queue *queue, unsigned int size,
                      const char *more);
void connection_write_nodes(void);
void frontend_state(int state);
bool connection_start(void);
uint32_t set_status(uint32_t status);
uint32_t offer_map(uint32_t ref);
uint32_t set_bypass(uint32_t value);
void queue_add(struct queue *queue, uint16_t first_descriptor);
void queue_kick(struct queue *queue, uint16_t added);
bool queue_take(struct queue *queue, struct used_element *element, int patience_ms);
struct answer send_request(const void *request, size_t request_bytes, size_t answer_bytes,
                           enum layout layout);
bool check_status(struct answer answer, uint32_t bytes, uint8_t status, const char *what);
void attach(uint32_t domain, uint32_t endpoint, uint32_t flags, uint32_t reserved, uint8_t status,
            const char *what);
void detach(uint32_t domain, uint32_t endpoint, uint8_t status, const char *what);
void map_laid(uint32_t domain, uint64_t start, uint64_t end, uint64_t phys, uint32_t flags,
              enum layout layout, uint8_t status, const char *what);
void map(uint32_t domain, uint64_t start, uint64_t end, uint64_t phys, uint32_t flags,
         uint8_t status, const char *what);
void unmap(uint32_t domain, uint64_t start, uint64_t end, uint8_t status, const char *what);
void post_fault_buffer(uint16_t number);
bool take_fault(struct fault_report *report, uint32_t *used, int patience_ms);

#endif
