/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The type1 driver under the device core, on a kernel that can be made to fail at every call: the
 * guest's status is right, and what the host maps is what the tables say.
 */
#include <config.h>

#include "backend/iommu/host_device.h"
#include "backend/iommu/vfio.h"
#include "tests/support/vfio_rig.h"

#include <errno.h>
#include <string.h>

static struct vfio_rig t;

static bool start(void)
{
    return vfio_rig_start_three(&t, &vfio_driver);
}

static bool start_with(size_t n)
{
    return vfio_rig_start_with(&t, &vfio_driver, n);
}

/* --- opening ---------------------------------------------------------------------------------- */

static void endpoint_has_the_limits_of_its_group(void)
{
    struct iommu_limits limits;

    UT_REQUIRE(start_with(1));
    vfio_driver.limits(t.ep[0], &limits);
    UT_EQ(limits.page_size_mask, 0x40201000);
    UT_EQ(limits.aperture.first, 0);
    UT_EQ(limits.aperture.last, (1ull << 48) - 1);
    UT_REQUIRE(limits.n_resv == 1);
    UT_EQ(limits.resv[0].range.first, 0xfee00000);
    UT_EQ(limits.resv[0].range.last, 0xfeefffff);
    UT_EQ(limits.resv[0].subtype, VIOMMU_RESV_MEM_T_MSI);
    UT_EQ(rig_attach(&t.rig, 1, 8, 0), VIOMMU_S_OK);
    UT_EQ(rig_map(&t.rig, 1, 0xfee00000, 0xfee00fff, 0, MAP_RW), VIOMMU_S_INVAL);
    UT_EQ(rig_map(&t.rig, 1, 1ull << 48, (1ull << 48) + 0xfff, 0, MAP_RW), VIOMMU_S_INVAL);
    UT_EQ(rig_map(&t.rig, 1, (1ull << 48) - 0x1000, (1ull << 48) - 1, 0, MAP_RW), VIOMMU_S_OK);
    VFIO_CHECK(&t);
    vfio_rig_stop(&t);
}

static void holes_and_foreign_regions_are_reserved(void)
{
    struct iommu_limits limits;

    UT_REQUIRE(start());
    model_kernel_group(&t.k, 5)->resv = "0x00000000000a0000 0x00000000000bffff reserved\n"
                                        "0x00000000e0000000 0x00000000efffffff direct-relaxable\n"
                                        "0x00000000fee00000 0x00000000feefffff msi\n";
    t.k.ranges[0] = (struct range){0x1000, 0xdfffffff};
    t.k.ranges[1] = (struct range){0xff000000, 0x7fffffffff};
    UT_EQ(vfio_rig_add(&t, 0), 0);
    vfio_driver.limits(t.ep[0], &limits);
    UT_EQ(limits.aperture.first, 0x1000);
    /* msi, reserved, relaxable, and the two pieces of the hole around the window */
    UT_REQUIRE(limits.n_resv == 5);
    UT_EQ(rig_attach(&t.rig, 1, 8, 0), VIOMMU_S_OK);
    UT_EQ(rig_map(&t.rig, 1, 0, 0xfff, 0, MAP_R), VIOMMU_S_INVAL);
    UT_EQ(rig_map(&t.rig, 1, 0xa0000, 0xa0fff, 0, MAP_R), VIOMMU_S_INVAL);
    UT_EQ(rig_map(&t.rig, 1, 0xf0000000, 0xf0000fff, 0, MAP_R), VIOMMU_S_INVAL);
    UT_EQ(rig_map(&t.rig, 1, 0xfef00000, 0xfef00fff, 0, MAP_R), VIOMMU_S_INVAL);
    UT_EQ(rig_map(&t.rig, 1, 0xff000000, 0xff000fff, 0, MAP_R), VIOMMU_S_OK);
    vfio_rig_stop(&t);
}

static void refuse_open(int err, const char *word)
{
    t.why[0] = '\0';
    UT_EQ((int64_t)vfio_rig_open(&t, 0), err);
    UT_TRUE(strstr(t.why, word) != NULL);
    if (!strstr(t.why, word))
        printf("    why: %s\n", t.why);
    UT_EQ(model_kernel_files(&t.k), 0);
}

static void unfit_devices_are_refused_with_a_reason(void)
{
    UT_REQUIRE(start());
    model_kernel_group(&t.k, 5)->resv = "0x000000007b800000 0x000000007b9fffff direct\n";
    refuse_open(-EPERM, "RMRR");
    model_kernel_group(&t.k, 5)->resv = "nonsense\n";
    refuse_open(-EINVAL, "makes no sense");
    model_kernel_group(&t.k, 5)->resv = "";
    model_kernel_group(&t.k, 5)->unviable = true;
    refuse_open(-EPERM, "another driver");
    model_kernel_group(&t.k, 5)->unviable = false;
    model_kernel_companion(&t.k, &t.k.devices[2], true); /* another program's */
    refuse_open(-EBUSY, "another program");
    model_kernel_companion(&t.k, &t.k.devices[2], false);
    model_kernel_fail(&t.k, MODEL_SET_IOMMU, 1, 1, EPERM);
    refuse_open(-EPERM, "allow_unsafe_interrupts");
    t.k.devices[0].name = "0000:99:00.0";
    t.k.devices[0].emulated = true; /* its link is elsewhere */
    refuse_open(-ENODEV, "no IOMMU group");
    vfio_rig_stop(&t);
}

static void nonsense_about_the_container_is_refused(void)
{
    UT_REQUIRE(start());
    t.k.ranges[1] = t.k.ranges[0];
    refuse_open(-EINVAL, "IOVA ranges");
    t.k.ranges[1] = (struct range){5, 4};
    refuse_open(-EINVAL, "IOVA ranges");
    vfio_rig_stop(&t);
}

static void old_kernel_without_capabilities_is_served(void)
{
    struct iommu_limits limits;
    struct iommu_status status;

    UT_REQUIRE(start());
    t.k.no_caps = true;
    UT_EQ(vfio_rig_add(&t, 0), 0);
    vfio_driver.limits(t.ep[0], &limits);
    UT_EQ(limits.aperture.last, UINT64_MAX);
    vfio_driver.status(t.ep[0], &status);
    UT_FALSE(status.counted);
    vfio_rig_stop(&t);
}

/* Every call of an open fails with every error: nothing stays open. */
static void failed_open_leaves_nothing(void)
{
    static const int errors[] = {EINVAL, ENOMEM, ENOSPC, EEXIST, EBUSY};
    unsigned injected = 0;

    for (unsigned call = 0; call < MODEL_N_CALLS; call++) {
        for (size_t e = 0; e < ARRAY_SIZE(errors); e++) {
            for (unsigned n = 1;; n++) {
                int r;

                UT_REQUIRE(start());
                model_kernel_fail(&t.k, call, n, 1, errors[e]);
                r = vfio_rig_add(&t, 0);
                if (t.k.failed) {
                    injected++;
                    UT_TRUE(r < 0);
                    UT_TRUE(t.why[0] != '\0');
                    UT_EQ(model_kernel_files(&t.k), 0);
                }
                vfio_rig_stop(&t);
                if (!t.k.failed)
                    break;
            }
        }
    }
    /* 2 opens, readlink, regions, placeholders, 6 ioctls to join, 2 of GET_INFO */
    UT_EQ(injected, 5 * 13);
}

static void coarse_host_is_refused(void)
{
    UT_REQUIRE(start());
    t.k.page_sizes = 0x10000;
    UT_EQ((int64_t)vfio_rig_add(&t, 0), -EINVAL);
    UT_TRUE(strstr(t.why, "granule") != NULL);
    vfio_rig_stop(&t);
}

/* --- groups ----------------------------------------------------------------------------------- */

static void two_groups_in_one_vdomain_have_a_container_each(void)
{
    UT_REQUIRE(start_with(2));
    UT_EQ(rig_attach(&t.rig, 1, 8, 0), VIOMMU_S_OK);
    vfio_rig_fill(&t, 1);
    UT_EQ(rig_attach(&t.rig, 1, 9, 0), VIOMMU_S_OK); /* replayed */
    VFIO_CHECK(&t);
    UT_EQ(model_kernel_reach(&t.k, &t.k.devices[1]), VFIO_RIG_FILLED);
    UT_EQ(rig_map(&t.rig, 1, 0x50000000, 0x50000fff, 0, MAP_RW), VIOMMU_S_OK);
    VFIO_CHECK(&t);
    UT_EQ(rig_unmap(&t.rig, 1, 0, UINT64_MAX), VIOMMU_S_OK);
    VFIO_CHECK(&t);
    vfio_rig_stop(&t);
}

/* D18: a group is in one vdomain at a time */
static void group_that_is_elsewhere_is_unsupp(void)
{
    UT_REQUIRE(start_with(3));
    UT_EQ(rig_attach(&t.rig, 1, 8, 0), VIOMMU_S_OK);
    vfio_rig_fill(&t, 1);
    VFIO_REFUSED(&t, rig_attach(&t.rig, 2, 10, 0), VIOMMU_S_UNSUPP);
    UT_EQ(rig_attach(&t.rig, 1, 10, 0), VIOMMU_S_OK);
    VFIO_CHECK(&t);
    VFIO_REFUSED(&t, rig_attach(&t.rig, 2, 8, 0), VIOMMU_S_UNSUPP);
    /* the rest of the group keeps the mappings when one leaves */
    UT_EQ(rig_detach(&t.rig, 1, 8), VIOMMU_S_OK);
    UT_EQ(model_kernel_reach(&t.k, &t.k.devices[2]), VFIO_RIG_FILLED);
    UT_EQ(rig_detach(&t.rig, 1, 10), VIOMMU_S_OK);
    UT_EQ(model_kernel_reach(&t.k, &t.k.devices[2]), 0);
    UT_EQ(rig_attach(&t.rig, 2, 8, 0), VIOMMU_S_OK);
    VFIO_CHECK(&t);
    vfio_rig_stop(&t);
}

/* LAB.md: a group cannot leave a container while a device file is open, a companion's too */
static void moves_work_while_a_companion_has_the_device_open(void)
{
    UT_REQUIRE(start_with(2));
    model_kernel_companion(&t.k, &t.k.devices[0], true);
    UT_EQ(rig_attach(&t.rig, 1, 8, 0), VIOMMU_S_OK);
    vfio_rig_fill(&t, 1);
    UT_EQ(rig_attach(&t.rig, 2, 9, 0), VIOMMU_S_OK);
    UT_EQ(rig_map(&t.rig, 2, 0x1000, 0x1fff, 0x3000, MAP_RW), VIOMMU_S_OK);
    UT_EQ(rig_attach(&t.rig, 2, 8, 0), VIOMMU_S_OK);
    VFIO_CHECK(&t);
    UT_EQ(model_kernel_reach(&t.k, &t.k.devices[0]), 1);
    viommu_reset(t.rig.v);
    UT_EQ(model_kernel_reach(&t.k, &t.k.devices[0]), 0);
    model_kernel_companion(&t.k, &t.k.devices[0], false);
    vfio_rig_stop(&t);
}

static void removed_endpoint_reaches_nothing_and_closes_its_group(void)
{
    UT_REQUIRE(start_with(3));
    UT_EQ(rig_attach(&t.rig, 1, 8, 0), VIOMMU_S_OK);
    vfio_rig_fill(&t, 1);
    vfio_rig_remove(&t, 0);
    UT_EQ(model_kernel_reach(&t.k, &t.k.devices[0]), 0);
    UT_EQ(model_kernel_files(&t.k), 6); /* of each group: container, file, one device */
    vfio_rig_remove(&t, 2);
    UT_EQ(model_kernel_files(&t.k), 3);
    UT_EQ(vfio_rig_add(&t, 0), 0); /* the group can be had again */
    vfio_rig_stop(&t);
}

/* --- mappings --------------------------------------------------------------------------------- */

static void one_call_per_window_and_none_without_access(void)
{
    UT_REQUIRE(start_with(1));
    UT_EQ(rig_attach(&t.rig, 1, 8, 0), VIOMMU_S_OK);
    t.k.syscalls = 0;
    UT_EQ(rig_map(&t.rig, 1, 0, RIG_RAM_SIZE - 1, 0, MAP_RW), VIOMMU_S_OK);
    UT_EQ(t.k.syscalls, 1);
    UT_EQ(rig_map(&t.rig, 1, RIG_RAM_SIZE, RIG_RAM_SIZE + 0xfff, 0, 0), VIOMMU_S_OK);
    UT_EQ(t.k.syscalls, 1);
    UT_EQ(rig_unmap(&t.rig, 1, 0, UINT64_MAX), VIOMMU_S_OK);
    UT_EQ(t.k.syscalls, 2);
    UT_EQ(rig_map(&t.rig, 1, 0, 0xfff, 0, 0), VIOMMU_S_OK);
    UT_EQ(rig_unmap(&t.rig, 1, 0, 0xfff), VIOMMU_S_OK);
    UT_EQ(t.k.syscalls, 2);
    VFIO_CHECK(&t);
    vfio_rig_stop(&t);
}

/* One for each container; a MAP between two of them keeps its place. */
static void adjoining_unmaps_of_a_batch_are_one_call(void)
{
    UT_REQUIRE(start_with(2));
    UT_EQ(vfio_rig_add(&t, 2), 0); /* of the first one's group */
    for (uint32_t id = 8; id <= 10; id++)
        UT_EQ(rig_attach(&t.rig, 1, id, 0), VIOMMU_S_OK);
    vfio_rig_fill(&t, 1);
    t.k.syscalls = 0;
    viommu_batch_begin(t.rig.v);
    UT_EQ(rig_unmap(&t.rig, 1, 0, 4 * PAGE - 1), VIOMMU_S_OK);
    UT_EQ(rig_unmap(&t.rig, 1, 4 * PAGE, 8 * PAGE - 1), VIOMMU_S_OK);
    UT_EQ(t.k.syscalls, 0);
    UT_EQ(rig_map(&t.rig, 1, 4 * PAGE, 5 * PAGE - 1, 0, MAP_R), VIOMMU_S_OK);
    UT_EQ(t.k.syscalls, 2 + 2);
    UT_EQ(rig_unmap(&t.rig, 1, 4 * PAGE, 5 * PAGE - 1), VIOMMU_S_OK);
    viommu_batch_end(t.rig.v);
    UT_EQ(t.k.syscalls, 4 + 2);
    VFIO_CHECK(&t);
    t.k.syscalls = 0;
    UT_EQ(vfio_rig_unmap_batch(&t, 1, 8 * PAGE, 4 * PAGE, VFIO_RIG_FILLED - 2), VIOMMU_S_OK);
    UT_EQ(t.k.syscalls, 2);
    VFIO_CHECK(&t);
    for (size_t i = 0; i < 3; i++)
        UT_EQ(model_kernel_reach(&t.k, &t.k.devices[i]), 0);
    vfio_rig_stop(&t);
}

/* Nothing that unmaps rightly may cost a device its files. */
static bool untouched(size_t index)
{
    struct iommu_status status;

    vfio_driver.status(t.ep[index], &status);
    return !status.cut_off && t.k.devices[index].resets == 0;
}

static void full_range_unmap_is_clipped_to_what_is_mapped(void)
{
    UT_REQUIRE(start());
    t.k.n_ranges = 0; /* an emulated group: all of 2^64 */
    UT_EQ(vfio_rig_add(&t, 0), 0);
    UT_EQ(rig_attach(&t.rig, 1, 8, 0), VIOMMU_S_OK);
    UT_EQ(rig_map(&t.rig, 1, 0, 0xfff, 0, MAP_RW), VIOMMU_S_OK);
    UT_EQ(rig_map(&t.rig, 1, UINT64_MAX - 0xfff, UINT64_MAX, 0x1000, MAP_RW), VIOMMU_S_OK);
    UT_EQ(rig_unmap(&t.rig, 1, 0, UINT64_MAX), VIOMMU_S_OK); /* a size that no ioctl carries */
    UT_TRUE(untouched(0));
    UT_EQ(model_kernel_reach(&t.k, &t.k.devices[0]), 0);
    /* a mapping over the middle is not split either, also when the endpoint leaves */
    UT_EQ(rig_map(&t.rig, 1, 0, 0xfff, 0, MAP_RW), VIOMMU_S_OK);
    UT_EQ(rig_map(&t.rig, 1, (1ull << 63) - 0x1000, (1ull << 63) + 0xfff, 0, MAP_RW), VIOMMU_S_OK);
    UT_EQ(rig_map(&t.rig, 1, UINT64_MAX - 0xfff, UINT64_MAX, 0x1000, MAP_RW), VIOMMU_S_OK);
    VFIO_CHECK(&t);
    UT_EQ(rig_detach(&t.rig, 1, 8), VIOMMU_S_OK);
    UT_EQ(model_kernel_reach(&t.k, &t.k.devices[0]), 0);
    vfio_rig_stop(&t);
}

static void mappings_in_any_order_leave_with_the_endpoint(void)
{
    UT_REQUIRE(start_with(1));
    for (unsigned round = 0; round < 2; round++) {
        UT_EQ(rig_attach(&t.rig, 1, 8, 0), VIOMMU_S_OK);
        UT_EQ(rig_map(&t.rig, 1, 0x20000000, 0x20000fff, 0, MAP_RW), VIOMMU_S_OK);
        UT_EQ(rig_map(&t.rig, 1, 0x10000000, 0x10000fff, 0, MAP_RW), VIOMMU_S_OK);
        UT_EQ(rig_map(&t.rig, 1, 0x30000000, 0x30001fff, 0, MAP_R), VIOMMU_S_OK);
        UT_EQ(rig_unmap(&t.rig, 1, 0x20000000, 0x20000fff), VIOMMU_S_OK);
        UT_EQ(rig_detach(&t.rig, 1, 8), VIOMMU_S_OK);
        UT_EQ(model_kernel_reach(&t.k, &t.k.devices[0]), 0);
        UT_TRUE(untouched(0));
    }
    vfio_rig_stop(&t);
}

static void entry_limit_is_nomem_and_shown(void)
{
    struct iommu_status status;

    UT_REQUIRE(start());
    t.k.entry_limit = 3;
    UT_EQ(vfio_rig_add(&t, 0), 0);
    UT_EQ(rig_attach(&t.rig, 1, 8, 0), VIOMMU_S_OK);
    for (uint64_t i = 0; i < 3; i++)
        UT_EQ(rig_map(&t.rig, 1, i * PAGE, (i + 1) * PAGE - 1, 0, MAP_R), VIOMMU_S_OK);
    VFIO_REFUSED(&t, rig_map(&t.rig, 1, 3 * PAGE, 4 * PAGE - 1, 0, MAP_R), VIOMMU_S_NOMEM);
    vfio_driver.status(t.ep[0], &status);
    UT_TRUE(status.counted);
    UT_EQ(status.entries, 3);
    UT_EQ(status.entries_max, 3);
    UT_EQ(status.group, 5);
    UT_STR(status.space, "type1 container of group 5");
    UT_EQ(rig_unmap(&t.rig, 1, 0, PAGE - 1), VIOMMU_S_OK);
    UT_EQ(rig_map(&t.rig, 1, 3 * PAGE, 4 * PAGE - 1, 0, MAP_R), VIOMMU_S_OK);
    vfio_rig_stop(&t);
}

static void entry_limit_of_a_replay_is_nomem(void)
{
    UT_REQUIRE(start_with(1));
    UT_EQ(vfio_rig_add(&t, 1), 0);
    UT_EQ(rig_attach(&t.rig, 1, 8, 0), VIOMMU_S_OK);
    vfio_rig_fill(&t, 1);
    t.k.entry_limit = 3;
    VFIO_REFUSED(&t, rig_attach(&t.rig, 1, 9, 0), VIOMMU_S_NOMEM);
    vfio_rig_stop(&t);
}

/* --- failures --------------------------------------------------------------------------------- */

static bool two_in_one_vdomain(struct vfio_rig *rig)
{
    bool ok = vfio_rig_two_groups(rig) && rig_attach(&rig->rig, 1, 8, 0) == VIOMMU_S_OK &&
              rig_attach(&rig->rig, 1, 9, 0) == VIOMMU_S_OK;

    if (ok)
        vfio_rig_fill(rig, 1);
    return ok;
}

static bool two_in_two_vdomains(struct vfio_rig *rig)
{
    bool ok = two_in_one_vdomain(rig) && rig_attach(&rig->rig, 2, 9, 0) == VIOMMU_S_OK;

    if (ok)
        vfio_rig_fill(rig, 2);
    return ok;
}

static bool one_of_two(struct vfio_rig *rig)
{
    return two_in_one_vdomain(rig) && rig_detach(&rig->rig, 1, 9) == VIOMMU_S_OK;
}

static int attach_second(struct vfio_rig *rig)
{
    return rig_attach(&rig->rig, 1, 9, 0);
}

static int move_second(struct vfio_rig *rig)
{
    return rig_attach(&rig->rig, 1, 9, 0);
}

static void every_failing_call_of_every_verb_leaves_host_and_table_in_step(void)
{
    static const struct {
        struct vfio_sweep sweep;
        unsigned injected;
    } sweeps[] = {
        /* three pieces in two containers */
        {{"map", two_in_one_vdomain, vfio_rig_map_some, MODEL_MAP_DMA, VFIO_REFUSES}, 5 * 6},
        {{"unmap", two_in_one_vdomain, vfio_rig_unmap_some, MODEL_UNMAP_DMA, VFIO_BLOCKS}, 6 * 2},
        {{"batch of unmaps", two_in_one_vdomain, vfio_rig_unmap_some_batch, MODEL_UNMAP_DMA,
          VFIO_BLOCKS},
         6 * 2},
        /* 18 pieces */
        {{"attach", one_of_two, attach_second, MODEL_MAP_DMA, VFIO_REFUSES}, 5 * 18},
        {{"move", two_in_two_vdomains, move_second, MODEL_MAP_DMA, VFIO_REFUSES}, 5 * 18},
        {{"detach", two_in_one_vdomain, vfio_rig_detach_first, MODEL_UNMAP_DMA, VFIO_BLOCKS}, 6},
        {{"reset", two_in_two_vdomains, vfio_rig_reset, MODEL_UNMAP_DMA, VFIO_BLOCKS}, 6 * 2},
    };

    for (size_t i = 0; i < ARRAY_SIZE(sweeps); i++)
        UT_EQ(vfio_rig_sweep(&t, &vfio_driver, &sweeps[i].sweep), sweeps[i].injected);
}

/* What a failed move has put back can be taken out again. */
static void undone_move_keeps_the_account(void)
{
    UT_REQUIRE(vfio_rig_start(&t, &vfio_driver));
    UT_REQUIRE(two_in_two_vdomains(&t));
    model_kernel_fail(&t.k, MODEL_MAP_DMA, 5, 1, ENOSPC);
    vfio_log_begin();
    VFIO_REFUSED(&t, rig_attach(&t.rig, 1, 9, 0), VIOMMU_S_NOMEM);
    (void)vfio_log_end();
    UT_EQ(rig_unmap(&t.rig, 2, 0, 10 * PAGE - 1), VIOMMU_S_OK);
    VFIO_CHECK(&t);
    UT_EQ(rig_detach(&t.rig, 2, 9), VIOMMU_S_OK);
    UT_TRUE(untouched(1));
    VFIO_CHECK(&t);
    vfio_rig_stop(&t);
}

/* The placeholders are looked for at each first attach: not being able to look refuses. */
static void attach_without_knowing_the_placeholders_is_refused(void)
{
    UT_REQUIRE(start_with(1));
    model_kernel_fail(&t.k, MODEL_GREP, 1, 1, EACCES);
    vfio_log_begin();
    VFIO_REFUSED(&t, rig_attach(&t.rig, 1, 8, 0), VIOMMU_S_UNSUPP);
    UT_TRUE(strstr(vfio_log_end(), "unsafe-pin-leak") != NULL);
    vfio_rig_stop(&t);
}

/* A move whose replay fails, and whose way back fails: blocked, told, and consistent. */
static void move_that_cannot_be_undone_ends_blocked(void)
{
    UT_REQUIRE(vfio_rig_start(&t, &vfio_driver));
    UT_REQUIRE(two_in_two_vdomains(&t));
    model_kernel_fail(&t.k, MODEL_MAP_DMA, 3, 1000, EBUSY);
    vfio_log_begin();
    UT_EQ(rig_attach(&t.rig, 1, 9, 0), VIOMMU_S_DEVERR);
    (void)vfio_log_end();
    model_kernel_no_fail(&t.k);
    UT_EQ(model_kernel_reach(&t.k, &t.k.devices[1]), 0);
    UT_EQ(viommu_n_vdomains(t.rig.v), 1);
    VFIO_CHECK(&t);
    UT_EQ(rig_attach(&t.rig, 1, 9, 0), VIOMMU_S_OK);
    VFIO_CHECK(&t);
    vfio_rig_stop(&t);
}

/* --- cut off ---------------------------------------------------------------------------------- */

/* Endpoint 8 of vdomain 1 with its mappings, cut off by an unmap that fell short. */
static bool cut_off_first(bool companion)
{
    int fds[IOMMU_N_FDS];

    if (!start_with(2))
        return false;
    if (companion && vfio_driver.companion_fds(t.ep[0], fds) < 0)
        return false;
    if (companion)
        model_kernel_companion(&t.k, &t.k.devices[0], true);
    if (rig_attach(&t.rig, 1, 8, 0) != VIOMMU_S_OK)
        return false;
    vfio_rig_fill(&t, 1);
    model_kernel_fail(&t.k, MODEL_UNMAP_DMA, 1, 1, MODEL_SHORT);
    vfio_log_begin();
    return rig_unmap(&t.rig, 1, 0, 40 * PAGE - 1) == VIOMMU_S_OK;
}

static void short_unmap_costs_the_device_its_access(void)
{
    struct iommu_status status;
    int fds[IOMMU_N_FDS];

    UT_REQUIRE(cut_off_first(false));
    UT_TRUE(strstr(vfio_log_end(), "instead of") != NULL);
    UT_EQ(t.k.devices[0].resets, 1);
    UT_EQ(t.k.devices[0].open, 0);
    UT_EQ(model_kernel_reach(&t.k, &t.k.devices[0]), 0);
    vfio_driver.status(t.ep[0], &status);
    UT_TRUE(status.cut_off);
    UT_EQ((int64_t)vfio_driver.companion_fds(t.ep[0], fds), -ENODEV);
    t.blocked = 1;
    /* what cannot be made visible is not mapped */
    UT_EQ(rig_map(&t.rig, 1, 0x60000000, 0x60000fff, 0, MAP_RW), VIOMMU_S_DEVERR);
    UT_EQ(rig_unmap(&t.rig, 1, 0, UINT64_MAX), VIOMMU_S_OK);
    VFIO_CHECK(&t);
    /* attached anew, it is opened anew */
    UT_EQ(rig_attach(&t.rig, 2, 8, 0), VIOMMU_S_OK);
    t.blocked = 0;
    UT_EQ(rig_map(&t.rig, 2, 0x60000000, 0x60000fff, 0, MAP_RW), VIOMMU_S_OK);
    VFIO_CHECK(&t);
    vfio_driver.status(t.ep[0], &status);
    UT_FALSE(status.cut_off);
    vfio_rig_stop(&t);
}

static void rest_of_a_cut_off_group_is_refused(void)
{
    UT_REQUIRE(cut_off_first(false));
    t.blocked = 1;
    UT_EQ((int64_t)vfio_rig_add(&t, 2), -EIO);
    UT_TRUE(strstr(t.why, "cut off") != NULL);
    (void)vfio_log_end();
    vfio_rig_stop(&t);
    UT_REQUIRE(start_with(3));
    UT_EQ(rig_attach(&t.rig, 1, 8, 0), VIOMMU_S_OK);
    vfio_rig_fill(&t, 1);
    model_kernel_fail(&t.k, MODEL_UNMAP_DMA, 1, 1, EBUSY);
    vfio_log_begin();
    UT_EQ(rig_unmap(&t.rig, 1, 0, 40 * PAGE - 1), VIOMMU_S_OK);
    t.blocked = 5;
    VFIO_REFUSED(&t, rig_attach(&t.rig, 1, 10, 0), VIOMMU_S_DEVERR);
    /* once all are out, all come back */
    UT_EQ(rig_detach(&t.rig, 1, 8), VIOMMU_S_OK);
    UT_EQ(rig_attach(&t.rig, 1, 10, 0), VIOMMU_S_OK);
    UT_EQ(rig_attach(&t.rig, 1, 8, 0), VIOMMU_S_OK);
    t.blocked = 0;
    (void)vfio_log_end();
    VFIO_CHECK(&t);
    vfio_rig_stop(&t);
}

static void companion_of_a_cut_off_device_is_told_to_end(void)
{
    size_t files;

    UT_REQUIRE(cut_off_first(true));
    UT_TRUE(strstr(vfio_log_end(), "companion") != NULL);
    files = model_kernel_files(&t.k);
    UT_EQ(files, 3); /* the other endpoint's: no pipe, nothing of group 5 */
    UT_TRUE(model_kernel_reach(&t.k, &t.k.devices[0]) > 0); /* the kernel holds on for it */
    model_kernel_companion(&t.k, &t.k.devices[0], false);
    UT_EQ(model_kernel_reach(&t.k, &t.k.devices[0]), 0);
    t.blocked = 1;
    VFIO_CHECK(&t);
    vfio_rig_stop(&t);
}

static void revival_that_fails_leaves_the_device_cut_off(void)
{
    static const enum model_call calls[] = {
        MODEL_OPEN,
        MODEL_GET_API_VERSION,
        MODEL_CHECK_EXTENSION,
        MODEL_SET_IOMMU,
        MODEL_GROUP_GET_STATUS,
        MODEL_GROUP_SET_CONTAINER,
        MODEL_GROUP_GET_DEVICE_FD,
    };

    UT_REQUIRE(cut_off_first(false));
    t.blocked = 1;
    UT_EQ(rig_detach(&t.rig, 1, 8), VIOMMU_S_OK);
    for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
        model_kernel_fail(&t.k, calls[i], 1, 1, EBUSY);
        VFIO_REFUSED(&t, rig_attach(&t.rig, 1, 8, 0), VIOMMU_S_DEVERR);
        UT_TRUE(t.k.failed);
        UT_EQ(model_kernel_files(&t.k), 3);
        model_kernel_no_fail(&t.k);
    }
    UT_EQ(rig_attach(&t.rig, 1, 8, 0), VIOMMU_S_OK);
    t.blocked = 0;
    VFIO_CHECK(&t);
    (void)vfio_log_end();
    vfio_rig_stop(&t);
}

/* --- companions ------------------------------------------------------------------------------- */

static void companion_gets_the_device_and_a_lifeline(void)
{
    int a[IOMMU_N_FDS], b[IOMMU_N_FDS];

    UT_REQUIRE(start_with(1));
    model_kernel_fail(&t.k, MODEL_PIPE, 1, 1, EMFILE);
    UT_EQ((int64_t)vfio_driver.companion_fds(t.ep[0], a), -EMFILE);
    UT_EQ(vfio_driver.companion_fds(t.ep[0], a), 0);
    UT_EQ(model_kernel_files(&t.k), 5);
    UT_EQ(vfio_driver.companion_fds(t.ep[0], b), 0);
    UT_EQ(model_kernel_files(&t.k), 5); /* one lifeline for all */
    UT_EQ(a[IOMMU_FD_DEVICE], b[IOMMU_FD_DEVICE]);
    UT_EQ(t.k.files[a[IOMMU_FD_DEVICE] - 100].type, MODEL_FILE_DEVICE);
    UT_EQ(t.k.files[a[IOMMU_FD_LIFELINE] - 100].type, MODEL_FILE_PIPE);
    vfio_rig_remove(&t, 0);
    UT_EQ(model_kernel_files(&t.k), 0);
    vfio_rig_stop(&t);
}

/* --- pins ------------------------------------------------------------------------------------- */

static void leaking_kernel_is_refused_unless_it_is_wanted(void)
{
    UT_REQUIRE(start());
    t.k.placeholders = true;
    refuse_open(-EOPNOTSUPP, "driver=iommufd");
    t.options.unsafe_pin_leak = true;
    UT_EQ(vfio_rig_add(&t, 0), 0);
    UT_EQ(rig_attach(&t.rig, 1, 8, 0), VIOMMU_S_OK);
    vfio_rig_stop(&t);
}

/* LAB.md, section 2: the region appears with the first grant, that is, after the endpoint */
static void leak_that_shows_later_refuses_the_attach(void)
{
    UT_REQUIRE(start_with(2));
    UT_EQ(rig_attach(&t.rig, 1, 9, 0), VIOMMU_S_OK);
    t.k.placeholders = true;
    vfio_log_begin();
    VFIO_REFUSED(&t, rig_attach(&t.rig, 1, 8, 0), VIOMMU_S_UNSUPP);
    UT_TRUE(strstr(vfio_log_end(), "unsafe-pin-leak=1") != NULL);
    vfio_rig_stop(&t);
}

static void emulated_devices_pin_nothing_and_are_exempt(void)
{
    UT_REQUIRE(vfio_rig_start(&t, &vfio_driver));
    UT_REQUIRE(model_kernel_add(&t.k, "c0ffee00-1234-5678-9abc-def012345678", 7));
    t.k.placeholders = true;
    t.k.n_ranges = 0;
    UT_EQ(vfio_rig_add(&t, 0), 0);
    UT_EQ(rig_attach(&t.rig, 1, 8, 0), VIOMMU_S_OK);
    UT_EQ(rig_map(&t.rig, 1, 0, 0xfff, 0, MAP_RW), VIOMMU_S_OK);
    VFIO_CHECK(&t);
    vfio_rig_stop(&t);
}

static void bypass_is_unsupp(void)
{
    struct viommu_config config = VIOMMU_CONFIG_DEFAULT;

    UT_EQ(vfio_driver.caps & HOST_CAP_BYPASS, 0);
    config.features &= ~VIOMMU_F_MMIO;
    memset(&t, 0, sizeof(t));
    t.driver = &vfio_driver;
    model_kernel_init(&t.k);
    UT_REQUIRE(rig_start(&t.rig, &config) && model_kernel_add(&t.k, "0000:03:00.0", 5));
    UT_EQ((int64_t)vfio_rig_add(&t, 0), -EINVAL);
    UT_TRUE(strstr(t.why, "bypass") != NULL);
    vfio_rig_stop(&t);
}

/* --- reserved regions ------------------------------------------------------------------------- */

static void regions_never_overlap_and_have_one_window(void)
{
    struct host_resv resv = {.n = 0};

    UT_EQ(host_resv_add(&resv, (struct range){0x1000, 0x1fff}, VIOMMU_RESV_MEM_T_MSI), 0);
    UT_EQ(host_resv_add(&resv, (struct range){0x3000, 0x3fff}, VIOMMU_RESV_MEM_T_MSI), 0);
    UT_EQ(host_resv_add(&resv, (struct range){0, 0x4fff}, VIOMMU_RESV_MEM_T_RESERVED), 0);
    UT_EQ(host_resv_add(&resv, (struct range){0x1800, 0x3800}, VIOMMU_RESV_MEM_T_RESERVED), 0);
    UT_EQ(resv.n, 5);
    for (size_t i = 0; i < resv.n; i++) {
        UT_EQ(resv.regions[i].subtype == VIOMMU_RESV_MEM_T_MSI, i == 0);
        for (size_t j = 0; j < i; j++)
            UT_FALSE(range_overlaps(resv.regions[i].range, resv.regions[j].range));
    }
    UT_EQ((int64_t)host_resv_add(&resv, (struct range){1, 0}, VIOMMU_RESV_MEM_T_RESERVED), -EINVAL);
    /* a window that cannot be whole is none */
    resv.n = 0;
    UT_EQ(host_resv_add(&resv, (struct range){0x1000, 0x1fff}, VIOMMU_RESV_MEM_T_RESERVED), 0);
    UT_EQ(host_resv_add(&resv, (struct range){0x1800, 0x2fff}, VIOMMU_RESV_MEM_T_MSI), 0);
    UT_EQ(resv.regions[1].subtype, VIOMMU_RESV_MEM_T_RESERVED);
    UT_EQ(resv.regions[1].range.first, 0x2000);
}

static void too_many_regions_leave_the_list_as_it_was(void)
{
    struct host_resv resv = {.n = 0};

    for (uint64_t i = 0; i < HOST_DEVICE_MAX_RESV - 1; i++)
        UT_EQ(host_resv_add(&resv, (struct range){i * 0x2000, i * 0x2000 + 0xfff},
                            VIOMMU_RESV_MEM_T_RESERVED),
              0);
    UT_EQ((int64_t)host_resv_add(&resv, (struct range){0, UINT64_MAX}, VIOMMU_RESV_MEM_T_RESERVED),
          -E2BIG);
    UT_EQ(resv.n, HOST_DEVICE_MAX_RESV - 1);
}

int main(int argc, char **argv)
{
    static const struct ut_case cases[] = {
        UT_CASE(endpoint_has_the_limits_of_its_group),
        UT_CASE(holes_and_foreign_regions_are_reserved),
        UT_CASE(unfit_devices_are_refused_with_a_reason),
        UT_CASE(nonsense_about_the_container_is_refused),
        UT_CASE(old_kernel_without_capabilities_is_served),
        UT_CASE(failed_open_leaves_nothing),
        UT_CASE(coarse_host_is_refused),
        UT_CASE(two_groups_in_one_vdomain_have_a_container_each),
        UT_CASE(group_that_is_elsewhere_is_unsupp),
        UT_CASE(moves_work_while_a_companion_has_the_device_open),
        UT_CASE(removed_endpoint_reaches_nothing_and_closes_its_group),
        UT_CASE(one_call_per_window_and_none_without_access),
        UT_CASE(adjoining_unmaps_of_a_batch_are_one_call),
        UT_CASE(full_range_unmap_is_clipped_to_what_is_mapped),
        UT_CASE(mappings_in_any_order_leave_with_the_endpoint),
        UT_CASE(entry_limit_is_nomem_and_shown),
        UT_CASE(entry_limit_of_a_replay_is_nomem),
        UT_CASE(every_failing_call_of_every_verb_leaves_host_and_table_in_step),
        UT_CASE(attach_without_knowing_the_placeholders_is_refused),
        UT_CASE(undone_move_keeps_the_account),
        UT_CASE(move_that_cannot_be_undone_ends_blocked),
        UT_CASE(short_unmap_costs_the_device_its_access),
        UT_CASE(rest_of_a_cut_off_group_is_refused),
        UT_CASE(companion_of_a_cut_off_device_is_told_to_end),
        UT_CASE(revival_that_fails_leaves_the_device_cut_off),
        UT_CASE(companion_gets_the_device_and_a_lifeline),
        UT_CASE(leaking_kernel_is_refused_unless_it_is_wanted),
        UT_CASE(leak_that_shows_later_refuses_the_attach),
        UT_CASE(emulated_devices_pin_nothing_and_are_exempt),
        UT_CASE(bypass_is_unsupp),
        UT_CASE(regions_never_overlap_and_have_one_window),
        UT_CASE(too_many_regions_leave_the_list_as_it_was),
    };

    return ut_main(argc, argv, "vfio", cases, ARRAY_SIZE(cases));
}
