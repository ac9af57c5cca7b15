/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The virtio-iommu device: vdomains, endpoints, mappings, requests, faults. No I/O of its own:
 * guest memory is reached through guest_space.h, the host's IOMMU through host_iommu.h, requests
 * and replies are byte strings that somebody else carries through a virtqueue.
 *
 * Every byte of a request is hostile. The order is always: decode, check everything, reserve, call
 * the host, commit; a refused request leaves the device and the host as they were.
 *
 * One thread. No function blocks, except as the two contracts say.
 */
#ifndef VIOMMU_BACKEND_VIOMMU_VIOMMU_H
#define VIOMMU_BACKEND_VIOMMU_VIOMMU_H

#include "backend/viommu/guest_space.h"
#include "backend/viommu/host_iommu.h"
#include "backend/viommu/wire.h"
#include "common/compiler.h"
#include "common/imap.h"

#include <stddef.h>
#include <stdint.h>

struct viommu;

#define VIOMMU_PROBE_SIZE_MAX 65536u

struct viommu_config {
    uint64_t features;         /* offered: bits of VIOMMU_F_ALL */
    uint64_t page_size_mask;   /* not 0 (D4); the lowest bit is the granule, 1 allowed */
    struct range input_range;  /* enforced when INPUT_RANGE is offered */
    struct range domain_range; /* 32-bit ids; enforced when DOMAIN_RANGE is offered */
    uint32_t probe_size;       /* multiple of 8, at most VIOMMU_PROBE_SIZE_MAX */
    bool bypass;               /* initial value of the config byte */
    size_t max_mappings;       /* of the whole device; beyond: NOMEM */
    size_t max_vdomains;       /* beyond: NOMEM */
    size_t max_faults;         /* reports kept while no event buffer is there; beyond: lost */
};

#define VIOMMU_CONFIG_DEFAULT               \
    ((struct viommu_config){                \
        .features = VIOMMU_F_ALL,           \
        .page_size_mask = ~(uint64_t)0xfff, \
        .input_range = {0, UINT64_MAX},     \
        .domain_range = {0, UINT32_MAX},    \
        .probe_size = 512,                  \
        .max_mappings = 1u << 20,           \
        .max_vdomains = 1u << 16,           \
        .max_faults = 256,                  \
    })

/* NULL if the configuration is sound, else a static text that says what is wrong. */
const char *viommu_config_check(const struct viommu_config *config);

/* A device without endpoints; `space` is copied. -EINVAL (config), -ENOMEM. */
MUST_CHECK int viommu_new(struct viommu **out, const struct viommu_config *config,
                          const struct guest_space *space);

/* Detaches everything from the host, unpins all guest memory, frees. NULL allowed; returns NULL. */
struct viommu *viommu_free(struct viommu *v);

/* --- virtio life cycle ------------------------------------------------------------------------ */

/*
 * Accepts the driver's features (5.13.3; bits of VIOMMU_F_ALL): -EINVAL if a bit was not offered.
 * Until the first call nothing is negotiated.
 */
MUST_CHECK int viommu_set_features(struct viommu *v, uint64_t features);
uint64_t viommu_offered(const struct viommu *v);
uint64_t viommu_negotiated(const struct viommu *v);

/*
 * Device reset: every endpoint unattached, vdomains, mappings and queued faults gone, nothing
 * negotiated; the `bypass` byte stays (D7). When it returns, the host and the grant windows
 * hold nothing of the old state.
 */
void viommu_reset(struct viommu *v);

/* The 40 config bytes as the driver reads them. */
void viommu_config_bytes(const struct viommu *v, uint8_t out[VIOMMU_CONFIG_SIZE]);

bool viommu_bypass(const struct viommu *v);

/*
 * The driver writes the config's `bypass` byte: effective for unattached endpoints on return (A20).
 * -EINVAL for a value that is not 0 or 1, -EPERM when BYPASS_CONFIG was not negotiated; the old
 * value stays then (V2-V4, D9). -errno of the host when an endpoint cannot follow; unchanged.
 */
MUST_CHECK int viommu_bypass_write(struct viommu *v, uint8_t value);

/* --- endpoints -------------------------------------------------------------------------------- */

struct viommu_resv {
    struct range range;
    uint8_t subtype; /* VIOMMU_RESV_MEM_T_* */
};

struct viommu_endpoint_config {
    uint32_t id;
    const struct host_iommu_ops *ops; /* outlives the endpoint */
    struct host_endpoint *host;       /* the driver's handle; outlives the endpoint here */
    unsigned caps;                    /* enum host_caps */
    uint64_t page_size_mask;          /* of the host; 0: any */
    struct range aperture;            /* IOVAs the host can translate */
    const struct viommu_resv *resv;   /* copied; any order */
    size_t n_resv;
};

/*
 * Adds an endpoint, unattached. What the config space says is fixed, so an endpoint that does not
 * fit is refused: -EEXIST, -ENOMEM, or -EINVAL with *why_out (static text): overlapping or
 * inverted regions (D49), two MSI windows (D48), a coarser granule, more regions than probe_size
 * holds, no MMIO or bypass although offered. An aperture narrower than the input range becomes
 * RESERVED regions at both ends.
 */
MUST_CHECK int viommu_endpoint_add(struct viommu *v, const struct viommu_endpoint_config *config,
                                   const char **why_out);

/*
 * Makes what the device will offer fit an endpoint that is there before the guest looks: MMIO and
 * BYPASS_CONFIG (and `bypass` with it) are withdrawn if its driver lacks them, page sizes below the
 * host's smallest are taken away, the input range (where offered) ends with the host's aperture.
 * Only while nothing is negotiated and no endpoint is attached: -EBUSY. -EINVAL with *why_out:
 * nothing would be left. Unchanged then. Endpoints that fitted before fit afterwards.
 */
MUST_CHECK int viommu_adapt(struct viommu *v, const struct viommu_endpoint_config *config,
                            const char **why_out);

/* Detaches (as DETACH does) and forgets the endpoint. -ENOENT. */
MUST_CHECK int viommu_endpoint_remove(struct viommu *v, uint32_t id);

/* --- requests --------------------------------------------------------------------------------- */

/* The largest reply: probe_size + 4. */
size_t viommu_reply_max(const struct viommu *v);

/*
 * Carries out one request.
 *
 * `req` holds the first min(readable, VIOMMU_REQ_MAX) bytes of the readable part, `req_len` how
 * many; `writable` is the size of the writable part, `reply` has viommu_reply_max() bytes.
 * Returns the used length: that many bytes of `reply` go to the start of the writable part.
 * 0 means that the buffer goes back unwritten (N1, D11, D41).
 */
size_t viommu_request(struct viommu *v, const uint8_t *req, size_t req_len, uint64_t writable,
                      uint8_t *reply);

/*
 * Requests whose answers are shown to the guest together. Within a batch, UNMAPs of one vdomain in
 * a row, each adjoining what those before it cover, become one unmap of the host. That is done, and
 * their pins end, before a request of another kind is carried out, before an endpoint is taken
 * out (reset, removal) or an address translated, and at the latest when viommu_batch_end returns:
 * only then may an answer be shown. The answers do not depend on it, since an unmap of the host
 * cannot fail. Until it is done, "looking inside" below still shows the mappings. Batches do not
 * nest; outside of one, each UNMAP is carried out by itself.
 */
void viommu_batch_begin(struct viommu *v);
void viommu_batch_end(struct viommu *v);

/*
 * Looks at a request before its turn: true if it is a MAP of sound form, which pins *gpa_out if it
 * is not refused for what the device is like then. Changes nothing.
 */
bool viommu_request_pins(const struct viommu *v, const uint8_t *req, size_t req_len,
                         struct range *gpa_out, bool *write_out);

/* Host failure to guest verdict: the one place where the two meet. */
enum viommu_status viommu_status_of_errno(int err);
const char *viommu_status_name(unsigned status);
const char *viommu_type_name(unsigned type);

/* --- a record of the device, and a successor from it ------------------------------------------ */

/* Where an endpoint is. */
struct viommu_attachment {
    bool attached;
    bool bypass; /* of the vdomain */
    uint32_t vdomain;
};

/*
 * Somebody who keeps a record from which the vdomains can be built anew after this process has
 * died. The calls come in the middle of a request (or reset, or removal), at points where the
 * outcome can no longer change. None may fail but `attaching`; all are on the request's path.
 */
struct viommu_observer {
    /* The tag (struct imap_entry) for the mapping that may be made next. Changes nothing. */
    uint32_t (*next_tag)(void *ctx);
    /* A mapping was made, under the tag of the latest next_tag. The request's answer is OK. */
    void (*mapped)(void *ctx, uint32_t vdomain, const struct imap_entry *entry);
    /*
     * The mapping with this tag has ended: it has left the host's tables, the table and its pins
     * before the answer to the request is shown (viommu_batch_end), not always before this call.
     */
    void (*unmapped)(void *ctx, uint32_t tag);
    /* `endpoint` may be attached or moved next: 0, or -ENOMEM to refuse it. */
    int (*attaching)(void *ctx, uint32_t endpoint);
    /*
     * The endpoint is there now, and nothing can go wrong any more: the request's answer, if this
     * is one, is `status`. Called before the mappings of a vdomain that ends with it are unmapped.
     */
    void (*attached)(void *ctx, uint32_t endpoint, const struct viommu_attachment *now,
                     enum viommu_status status);
};

/* From now on; NULL ends it. `ops` and `ctx` outlive the device. */
void viommu_observe(struct viommu *v, const struct viommu_observer *ops, void *ctx);

/*
 * Rebuilds from such a record, before viommu_observe: first all attachments, then the mappings.
 * Checked like requests of the guest, with the negotiated features set before: the verdict that a
 * request would have got. The tag of the entry is kept.
 */
MUST_CHECK enum viommu_status viommu_restore_attachment(struct viommu *v, uint32_t endpoint,
                                                        const struct viommu_attachment *a);
MUST_CHECK enum viommu_status viommu_restore_mapping(struct viommu *v, uint32_t vdomain,
                                                     const struct imap_entry *entry);
/* As viommu_request_pins: what viommu_restore_mapping will pin if it does not refuse. */
bool viommu_mapping_pins(const struct viommu *v, const struct imap_entry *entry,
                         struct range *gpa_out, bool *write_out);

/* --- translation and faults ------------------------------------------------------------------- */

struct viommu_fault {
    enum viommu_fault_reason reason;
    uint32_t flags; /* VIOMMU_FAULT_F_* */
    uint32_t endpoint;
    uint64_t address;
};

/*
 * Translates the start of `iova` for one endpoint, exact to the byte: 0 and the guest range of the
 * longest prefix that is contiguous (bypass: all of it), or -EACCES and the fault for the first
 * byte, which is not reported yet. -ENOENT: no such endpoint; -EINVAL: an inverted range.
 */
MUST_CHECK int viommu_translate(struct viommu *v, uint32_t endpoint, struct range iova, bool write,
                                struct range *gpa_out, struct viommu_fault *fault_out);

/* Queues a fault report. False if it was lost (queue full, or no such endpoint; counted). */
bool viommu_report_fault(struct viommu *v, const struct viommu_fault *fault);

/* The guest memory that translations lead to. */
const struct guest_space *viommu_guest_space(const struct viommu *v);

/* Queued reports; viommu_fault_peek writes the oldest one's 24 bytes, viommu_fault_drop removes
 * it. False when there is none. */
size_t viommu_faults_queued(const struct viommu *v);
bool viommu_fault_peek(const struct viommu *v, uint8_t out[VIOMMU_FAULT_SIZE]);
void viommu_fault_drop(struct viommu *v);

/* Counts a report that was taken off the queue but could not be delivered. */
void viommu_fault_lost(struct viommu *v);

/* --- looking inside --------------------------------------------------------------------------- */

struct viommu_counters {
    uint64_t requests[VIOMMU_N_TYPES]; /* by type; [0]: unanswered (unknown type, too short) */
    uint64_t status[VIOMMU_N_STATUS];  /* answers by status */
    uint64_t mapped, unmapped;         /* mappings created and removed since the start */
    uint64_t host_maps, host_unmaps;   /* calls to the host IOMMU */
    uint64_t faults, faults_lost;      /* reports in all, and those of them that were lost */
    uint64_t resets;
};

const struct viommu_counters *viommu_counters(const struct viommu *v);
const struct viommu_config *viommu_config(const struct viommu *v);
size_t viommu_n_mappings(const struct viommu *v);

struct viommu_vdomain_info {
    uint32_t id;
    bool bypass;
    size_t n_mappings;
    size_t n_endpoints;
    size_t n_spaces;
};
size_t viommu_n_vdomains(const struct viommu *v);
/* The vdomain with the lowest id >= id. False if there is none. */
bool viommu_vdomain_next(const struct viommu *v, uint32_t id, struct viommu_vdomain_info *out);

struct viommu_endpoint_info {
    uint32_t id;
    const char *driver;
    bool attached;
    uint32_t vdomain;               /* if attached */
    bool bypass;                    /* its DMA is identity now */
    const struct viommu_resv *resv; /* sorted; borrowed until the endpoint goes */
    size_t n_resv;
};
size_t viommu_n_endpoints(const struct viommu *v);
bool viommu_endpoint_next(const struct viommu *v, uint32_t id, struct viommu_endpoint_info *out);

/*
 * The mapping of a vdomain with the lowest address that overlaps [first, 2^64-1]: range, value
 * (guest address) and flags (MAP flags). False if there is none or no such vdomain.
 */
bool viommu_mapping_next(const struct viommu *v, uint32_t vdomain, uint64_t first,
                         struct imap_entry *out);

#endif
