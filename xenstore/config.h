/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Strict parsers for the values of xenstore nodes (docs/protocol.md, sections 2 and 8). Pure: no
 * xenstore, no allocation, no log; the worker links this file (and common/) only.
 *
 * Parsers write *out on success only. On failure they return -EINVAL (-ERANGE for a number above
 * its limit, -E2BIG for too many regions) and a text in `why` that names the node, the key and
 * what would have been accepted, in printable ASCII whatever the value was.
 */
#ifndef VIOMMU_XENSTORE_CONFIG_H
#define VIOMMU_XENSTORE_CONFIG_H

#include "common/compiler.h"
#include "common/range.h"
#include "xenstore/paths.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONFIG_WHY_SIZE 256

/* --- viommu/config ---------------------------------------------------------------------------- */

enum config_key {
    CONFIG_PAGE_SIZE_MASK, /* not 0 */
    CONFIG_INPUT_RANGE,
    CONFIG_DOMAIN_RANGE, /* 32 bits */
    CONFIG_BYPASS,
    CONFIG_BYPASS_CONFIG, /* whether to offer BYPASS_CONFIG */
    CONFIG_MMIO,          /* whether to offer MMIO */
    CONFIG_PROBE_SIZE,    /* multiple of 8, 8 to 65,536 */
    CONFIG_MAX_MAPPINGS,  /* this and the next four: 1 to 2^32 - 1 */
    CONFIG_MAX_VDOMAINS,
    CONFIG_MAX_FAULTS,
    CONFIG_MAX_PAGES,
    CONFIG_MAX_WINDOWS,
    CONFIG_QUEUE_SIZE, /* power of two, 1 to 1,024 */
    CONFIG_N_KEYS
};

struct config_device {
    uint32_t present; /* bit 1u << enum config_key: given; the fields of others are 0 */
    uint64_t page_size_mask;
    struct range input_range;
    struct range domain_range;
    bool bypass;
    bool bypass_config;
    bool mmio;
    uint32_t probe_size;
    uint32_t max_mappings;
    uint32_t max_vdomains;
    uint32_t max_faults;
    uint32_t max_pages;
    uint32_t max_windows;
    uint32_t queue_size;
};

static inline bool config_has(const struct config_device *c, enum config_key key)
{
    return (c->present >> key) & 1;
}

/* `text` NULL (there is no such node) or empty: nothing is present, which is fine. */
MUST_CHECK int config_device_parse(const char *text, struct config_device *out,
                                   char why[CONFIG_WHY_SIZE]);

/* --- viommu/endpoint-XXXXXXXX ----------------------------------------------------------------- */

enum config_driver {
    CONFIG_DRIVER_SOFT,
    CONFIG_DRIVER_VFIO,
    CONFIG_DRIVER_IOMMUFD,
    CONFIG_DRIVER_AUTO, /* iommufd where the host has it, else vfio */
};
const char *config_driver_name(enum config_driver driver);

#define CONFIG_MAX_RESV    32
#define CONFIG_DEVICE_SIZE 40 /* a UUID (36) or a PCI address, and a terminator */

struct config_pci {
    uint16_t segment;
    uint8_t bus;
    uint8_t device;   /* 0 to 31 */
    uint8_t function; /* 0 to 7 */
};

struct config_resv {
    struct range range;
    bool msi; /* else reserved */
};

struct config_endpoint {
    uint32_t id;
    enum config_driver driver;
    char device[CONFIG_DEVICE_SIZE]; /* all but soft: PCI address "0000:03:00.0" or mdev UUID, in
                                        lower case; soft: "" */
    bool has_guest;
    struct config_pci guest;
    bool msi; /* soft: advertise the x86 MSI window (default); else false: the host says */
    bool unsafe_pin_leak; /* vfio, auto: type1 may be used although it leaks pins of grants */
    size_t n_resv;
    struct config_resv resv[CONFIG_MAX_RESV]; /* soft only; as given, not checked for overlap */
};

/*
 * `name` is the node's name, "endpoint-0000000a"; NULL when the text does not come from a node
 * (`viommuctl endpoint add`), else its number must be that of `id=`.
 */
MUST_CHECK int config_endpoint_parse(const char *name, const char *text,
                                     struct config_endpoint *out, char why[CONFIG_WHY_SIZE]);

/* "endpoint-" and 8 lower-case hex digits to the id; -EINVAL for any other name. */
MUST_CHECK int config_endpoint_id(const char *name, uint32_t *id_out);

/* The node's value for an endpoint; parses back to the same. -E2BIG if it does not fit. */
MUST_CHECK int config_endpoint_format(const struct config_endpoint *ep, char *out, size_t size);

/*
 * The value of viommu-endpoints: what the guest may know, in the order given, at most
 * XS_ENDPOINTS_VALUE_MAX bytes: the group that does not fit and those after it are left out.
 * Returns the number of groups that are in it. Start with out[0] == '\0' and append one by one
 * with the second form, which returns false when there is no room (nothing is appended).
 */
#define CONFIG_SUMMARY_SIZE (XS_ENDPOINTS_VALUE_MAX + 1)
size_t config_summary(const struct config_endpoint *eps, size_t n, char out[CONFIG_SUMMARY_SIZE]);
bool config_summary_add(char out[CONFIG_SUMMARY_SIZE], const struct config_endpoint *ep);

/* --- the frontend's nodes --------------------------------------------------------------------- */

enum config_fe_node {
    CONFIG_FE_VERSION,
    CONFIG_FE_FEATURES,
    CONFIG_FE_CONTROL,
    CONFIG_FE_QUEUE_0,
    CONFIG_FE_QUEUE_1,
    CONFIG_FE_N_NODES
};

/* Name of the node below the frontend's directory, XS_NODE_*. */
const char *config_fe_node_name(enum config_fe_node node);

enum config_fe_status {
    CONFIG_FE_ABSENT, /* not there, or not readable by us */
    CONFIG_FE_PRESENT,
    CONFIG_FE_TOO_LONG,  /* above XS_FRONTEND_VALUE_MAX */
    CONFIG_FE_BAD_BYTES, /* something else than printable ASCII */
};

/*
 * The nodes as read, not interpreted: what the supervisor hands to the worker. `text` is printable
 * ASCII (so it travels as a JSON string as it is), empty unless CONFIG_FE_PRESENT.
 */
struct config_fe_raw {
    struct {
        enum config_fe_status status;
        char text[XS_FRONTEND_VALUE_MAX + 1];
    } node[CONFIG_FE_N_NODES];
};

struct config_control {
    uint32_t ref; /* not 0 */
    uint32_t port;
};

struct config_queue {
    uint32_t size;   /* 1 to the limit; a power of two unless the rings are packed */
    uint64_t desc;   /* multiple of 16 */
    uint64_t driver; /* multiple of 2; of 4 if the rings are packed */
    uint64_t device; /* multiple of 4 */
    uint32_t port;
};

struct config_frontend {
    uint64_t features; /* a subset of the offer, with bits 32 and 33 */
    struct config_control control;
    struct config_queue queue[2];
};

struct config_offer {
    uint64_t features;
    uint32_t queue_size_max; /* power of two */
};

/*
 * Everything that section 2 demands of the frontend's nodes, the three different ports included.
 * Whether addresses and references are the guest's memory shows when they are mapped. -EPROTO for a
 * version that is not ours, -ENOENT for a missing node, else as above.
 */
MUST_CHECK int config_frontend_parse(const struct config_fe_raw *raw,
                                     const struct config_offer *offer, struct config_frontend *out,
                                     char why[CONFIG_WHY_SIZE]);

/* Value to status and text as described at struct config_fe_raw. */
void config_fe_raw_set(struct config_fe_raw *raw, enum config_fe_node node, const char *value,
                       size_t len);

#endif
