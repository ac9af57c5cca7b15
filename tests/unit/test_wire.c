/* SPDX-License-Identifier: GPL-2.0-only */
/* wire.h against the numbers and layouts of <linux/virtio_iommu.h>. */
#include <config.h>

#include "backend/viommu/wire.h"

#include <linux/virtio_ids.h>
#include <linux/virtio_iommu.h>
#include <stddef.h>

#include "tests/support/ut.h"

#define READABLE(type) offsetof(struct type, tail)

static void identity_and_feature_bits_match_linux(void)
{
    UT_EQ(VIOMMU_DEVICE_ID, VIRTIO_ID_IOMMU);
    UT_EQ(VIOMMU_F_INPUT_RANGE, 1ull << VIRTIO_IOMMU_F_INPUT_RANGE);
    UT_EQ(VIOMMU_F_DOMAIN_RANGE, 1ull << VIRTIO_IOMMU_F_DOMAIN_RANGE);
    UT_EQ(VIOMMU_F_MAP_UNMAP, 1ull << VIRTIO_IOMMU_F_MAP_UNMAP);
    UT_EQ(VIOMMU_F_PROBE, 1ull << VIRTIO_IOMMU_F_PROBE);
    UT_EQ(VIOMMU_F_MMIO, 1ull << VIRTIO_IOMMU_F_MMIO);
    UT_EQ(VIOMMU_F_BYPASS_CONFIG, 1ull << VIRTIO_IOMMU_F_BYPASS_CONFIG);
    /* D2, D3 */
    UT_EQ(VIOMMU_F_ALL & 1ull << VIRTIO_IOMMU_F_BYPASS, 0);
    UT_EQ(VIOMMU_F_ALL, 0x77);
}

static void config_layout_matches_linux(void)
{
    UT_EQ(VIOMMU_CONFIG_SIZE, sizeof(struct virtio_iommu_config));
    UT_EQ(VIOMMU_CONFIG_PAGE_SIZE_MASK, offsetof(struct virtio_iommu_config, page_size_mask));
    UT_EQ(VIOMMU_CONFIG_INPUT_START, offsetof(struct virtio_iommu_config, input_range.start));
    UT_EQ(VIOMMU_CONFIG_INPUT_END, offsetof(struct virtio_iommu_config, input_range.end));
    UT_EQ(VIOMMU_CONFIG_DOMAIN_START, offsetof(struct virtio_iommu_config, domain_range.start));
    UT_EQ(VIOMMU_CONFIG_DOMAIN_END, offsetof(struct virtio_iommu_config, domain_range.end));
    UT_EQ(VIOMMU_CONFIG_PROBE_SIZE, offsetof(struct virtio_iommu_config, probe_size));
    UT_EQ(VIOMMU_CONFIG_BYPASS, offsetof(struct virtio_iommu_config, bypass));
}

static void types_and_statuses_match_linux(void)
{
    UT_EQ(VIOMMU_T_ATTACH, VIRTIO_IOMMU_T_ATTACH);
    UT_EQ(VIOMMU_T_DETACH, VIRTIO_IOMMU_T_DETACH);
    UT_EQ(VIOMMU_T_MAP, VIRTIO_IOMMU_T_MAP);
    UT_EQ(VIOMMU_T_UNMAP, VIRTIO_IOMMU_T_UNMAP);
    UT_EQ(VIOMMU_T_PROBE, VIRTIO_IOMMU_T_PROBE);
    UT_EQ(VIOMMU_S_OK, VIRTIO_IOMMU_S_OK);
    UT_EQ(VIOMMU_S_IOERR, VIRTIO_IOMMU_S_IOERR);
    UT_EQ(VIOMMU_S_UNSUPP, VIRTIO_IOMMU_S_UNSUPP);
    UT_EQ(VIOMMU_S_DEVERR, VIRTIO_IOMMU_S_DEVERR);
    UT_EQ(VIOMMU_S_INVAL, VIRTIO_IOMMU_S_INVAL);
    UT_EQ(VIOMMU_S_RANGE, VIRTIO_IOMMU_S_RANGE);
    UT_EQ(VIOMMU_S_NOENT, VIRTIO_IOMMU_S_NOENT);
    UT_EQ(VIOMMU_S_FAULT, VIRTIO_IOMMU_S_FAULT);
    UT_EQ(VIOMMU_S_NOMEM, VIRTIO_IOMMU_S_NOMEM);
}

static void request_layouts_match_linux(void)
{
    UT_EQ(VIOMMU_HEAD_SIZE, sizeof(struct virtio_iommu_req_head));
    UT_EQ(VIOMMU_TAIL_SIZE, sizeof(struct virtio_iommu_req_tail));
    UT_EQ(VIOMMU_ATTACH_SIZE, READABLE(virtio_iommu_req_attach));
    UT_EQ(VIOMMU_DETACH_SIZE, READABLE(virtio_iommu_req_detach));
    UT_EQ(VIOMMU_MAP_SIZE, READABLE(virtio_iommu_req_map));
    UT_EQ(VIOMMU_UNMAP_SIZE, READABLE(virtio_iommu_req_unmap));
    UT_EQ(VIOMMU_PROBE_SIZE, sizeof(struct virtio_iommu_req_probe));
    UT_EQ(VIOMMU_REQ_MAX, VIOMMU_PROBE_SIZE);
    UT_EQ(VIOMMU_ATTACH_DOMAIN, offsetof(struct virtio_iommu_req_attach, domain));
    UT_EQ(VIOMMU_ATTACH_ENDPOINT, offsetof(struct virtio_iommu_req_attach, endpoint));
    UT_EQ(VIOMMU_ATTACH_FLAGS, offsetof(struct virtio_iommu_req_attach, flags));
    UT_EQ(VIOMMU_ATTACH_RESERVED, offsetof(struct virtio_iommu_req_attach, reserved));
    UT_EQ(VIOMMU_ATTACH_F_BYPASS, VIRTIO_IOMMU_ATTACH_F_BYPASS);
    UT_EQ(VIOMMU_DETACH_DOMAIN, offsetof(struct virtio_iommu_req_detach, domain));
    UT_EQ(VIOMMU_DETACH_ENDPOINT, offsetof(struct virtio_iommu_req_detach, endpoint));
    UT_EQ(VIOMMU_MAP_DOMAIN, offsetof(struct virtio_iommu_req_map, domain));
    UT_EQ(VIOMMU_MAP_VIRT_START, offsetof(struct virtio_iommu_req_map, virt_start));
    UT_EQ(VIOMMU_MAP_VIRT_END, offsetof(struct virtio_iommu_req_map, virt_end));
    UT_EQ(VIOMMU_MAP_PHYS_START, offsetof(struct virtio_iommu_req_map, phys_start));
    UT_EQ(VIOMMU_MAP_FLAGS, offsetof(struct virtio_iommu_req_map, flags));
    UT_EQ(VIOMMU_MAP_F_READ, VIRTIO_IOMMU_MAP_F_READ);
    UT_EQ(VIOMMU_MAP_F_WRITE, VIRTIO_IOMMU_MAP_F_WRITE);
    UT_EQ(VIOMMU_MAP_F_MMIO, VIRTIO_IOMMU_MAP_F_MMIO);
    UT_EQ(VIOMMU_MAP_F_MASK, VIRTIO_IOMMU_MAP_F_MASK);
    UT_EQ(VIOMMU_UNMAP_DOMAIN, offsetof(struct virtio_iommu_req_unmap, domain));
    UT_EQ(VIOMMU_UNMAP_VIRT_START, offsetof(struct virtio_iommu_req_unmap, virt_start));
    UT_EQ(VIOMMU_UNMAP_VIRT_END, offsetof(struct virtio_iommu_req_unmap, virt_end));
    UT_EQ(VIOMMU_UNMAP_RESERVED, offsetof(struct virtio_iommu_req_unmap, reserved));
    UT_EQ(VIOMMU_PROBE_ENDPOINT, offsetof(struct virtio_iommu_req_probe, endpoint));
}

static void properties_and_faults_match_linux(void)
{
    UT_EQ(VIOMMU_PROBE_T_RESV_MEM, VIRTIO_IOMMU_PROBE_T_RESV_MEM);
    UT_EQ(VIOMMU_PROP_HEAD_SIZE, sizeof(struct virtio_iommu_probe_property));
    UT_EQ(VIOMMU_RESV_MEM_SIZE, sizeof(struct virtio_iommu_probe_resv_mem));
    UT_EQ(VIOMMU_RESV_MEM_LENGTH, VIOMMU_RESV_MEM_SIZE - VIOMMU_PROP_HEAD_SIZE);
    UT_EQ(VIOMMU_RESV_MEM_T_RESERVED, VIRTIO_IOMMU_RESV_MEM_T_RESERVED);
    UT_EQ(VIOMMU_RESV_MEM_T_MSI, VIRTIO_IOMMU_RESV_MEM_T_MSI);
    UT_EQ(VIOMMU_FAULT_SIZE, sizeof(struct virtio_iommu_fault));
    UT_EQ(VIOMMU_FAULT_R_UNKNOWN, VIRTIO_IOMMU_FAULT_R_UNKNOWN);
    UT_EQ(VIOMMU_FAULT_R_DOMAIN, VIRTIO_IOMMU_FAULT_R_DOMAIN);
    UT_EQ(VIOMMU_FAULT_R_MAPPING, VIRTIO_IOMMU_FAULT_R_MAPPING);
    UT_EQ(VIOMMU_FAULT_F_READ, VIRTIO_IOMMU_FAULT_F_READ);
    UT_EQ(VIOMMU_FAULT_F_WRITE, VIRTIO_IOMMU_FAULT_F_WRITE);
    UT_EQ(VIOMMU_FAULT_F_ADDRESS, VIRTIO_IOMMU_FAULT_F_ADDRESS);
}

int main(int argc, char **argv)
{
    static const struct ut_case cases[] = {
        UT_CASE(identity_and_feature_bits_match_linux), UT_CASE(config_layout_matches_linux),
        UT_CASE(types_and_statuses_match_linux),        UT_CASE(request_layouts_match_linux),
        UT_CASE(properties_and_faults_match_linux),
    };

    return ut_main(argc, argv, "wire", cases, sizeof(cases) / sizeof(cases[0]));
}
