/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The iommufd driver under the device core, on a kernel that can be made to fail at every call.
 */
#include <config.h>

#include "backend/iommu/iommufd.h"
#include "tests/support/vfio_rig.h"

#include <errno.h>
#include <string.h>

static struct vfio_rig t;

static bool start(void)
{
    return vfio_rig_start_three(&t, &iommufd_driver);
}

static bool start_with(size_t n)
{
    return vfio_rig_start_with(&t, &iommufd_driver, n);
}

/* --- opening ---------------------------------------------------------------------------------- */

static void endpoint_has_the_limits_of_its_ioas(void)
{
    struct iommu_limits limits;

    UT_REQUIRE(start_with(1));
    iommufd_driver.limits(t.ep[0], &limits);
    UT_EQ(limits.page_size_mask, ~0xfffull);
    UT_EQ(limits.aperture.first, 0);
    UT_EQ(limits.aperture.last, (1ull << 48) - 1);
    UT_REQUIRE(limits.n_resv == 1);
    UT_EQ(limits.resv[0].range.first, 0xfee00000);
    UT_EQ(limits.resv[0].subtype, VIOMMU_RESV_MEM_T_MSI);
    UT_EQ(t.k.calls[MODEL_DESTROY], 1); /* the one for looking */
    UT_TRUE(t.k.devices[0].table == NULL);
    vfio_rig_stop(&t);
}

static void second_of_a_group_is_opened_while_the_first_is_attached(void)
{
    struct iommu_limits limits;

    UT_REQUIRE(start_with(1));
    UT_EQ(rig_attach(&t.rig, 1, 8, 0), VIOMMU_S_OK);
    UT_EQ(vfio_rig_add(&t, 2), 0);
    iommufd_driver.limits(t.ep[2], &limits);
    UT_EQ(limits.aperture.last, (1ull << 48) - 1);
    UT_EQ(limits.n_resv, 1);
    UT_EQ(rig_attach(&t.rig, 1, 10, 0), VIOMMU_S_OK);
    VFIO_CHECK(&t);
    vfio_rig_stop(&t);
}

static void refuse_open(int err, const char *word)
{
    t.why[0] = '\0';
    UT_EQ((int64_t)vfio_rig_open(&t, 0), err);
    UT_TRUE(strstr(t.why, word) != NULL);
    UT_EQ(model_kernel_files(&t.k), t.host ? 1 : 0);
}

static void unfit_devices_are_refused_with_a_reason(void)
{
    UT_REQUIRE(start());
    t.k.no_iommufd = true;
    refuse_open(-ENOENT, "CONFIG_IOMMUFD");
    UT_FALSE(iommufd_driver.usable(&t.k.kernel, "0000:03:00.0"));
    t.k.no_iommufd = false;
    UT_TRUE(iommufd_driver.usable(&t.k.kernel, "0000:03:00.0"));
    UT_FALSE(iommufd_driver.usable(&t.k.kernel, "0000:99:00.0"));
    t.k.no_cdevs = true;
    UT_FALSE(iommufd_driver.usable(&t.k.kernel, "0000:03:00.0"));
    refuse_open(-ENOENT, "no VFIO character device");
    t.k.no_cdevs = false;
    model_kernel_group(&t.k, 5)->resv = "0x000000007b800000 0x000000007b9fffff direct\n";
    refuse_open(-EPERM, "RMRR");
    vfio_rig_stop(&t);
}

/* type1's leak is not iommufd's. */
static void placeholders_do_not_matter(void)
{
    UT_REQUIRE(start());
    t.k.placeholders = true;
    UT_EQ(vfio_rig_add(&t, 0), 0);
    UT_EQ(rig_attach(&t.rig, 1, 8, 0), VIOMMU_S_OK);
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
                vfio_log_begin();
                r = vfio_rig_add(&t, 0);
                (void)vfio_log_end();
                if (t.k.failed && call != MODEL_DESTROY) {
                    injected++;
                    UT_TRUE(r < 0);
                    UT_TRUE(t.why[0] != '\0');
                    UT_EQ(model_kernel_files(&t.k), t.host ? 1 : 0);
                }
                vfio_rig_stop(&t);
                if (!t.k.failed)
                    break;
            }
        }
    }
    /* 2 opens, readlink, cdev's name, regions, BIND, ALLOC, ATTACH, RANGES, DETACH */
    UT_EQ(injected, 5 * 10);
}

/* --- sharing ---------------------------------------------------------------------------------- */

static void all_groups_share_one_ioas_without_replay(void)
{
    unsigned maps;

    UT_REQUIRE(start_with(3));
    UT_EQ(rig_attach(&t.rig, 1, 8, 0), VIOMMU_S_OK);
    vfio_rig_fill(&t, 1);
    maps = t.k.calls[MODEL_IOAS_MAP];
    UT_EQ(rig_attach(&t.rig, 1, 9, 0), VIOMMU_S_OK);
    UT_EQ(rig_attach(&t.rig, 1, 10, 0), VIOMMU_S_OK);
    UT_EQ(t.k.calls[MODEL_IOAS_MAP], maps);
    VFIO_CHECK(&t);
    UT_EQ(rig_map(&t.rig, 1, 0x50000000, 0x50000fff, 0, MAP_RW), VIOMMU_S_OK);
    UT_EQ(t.k.calls[MODEL_IOAS_MAP], maps + 1); /* once for all */
    UT_EQ(rig_unmap(&t.rig, 1, 0, UINT64_MAX), VIOMMU_S_OK);
    UT_EQ(t.k.calls[MODEL_IOAS_UNMAP], 1);
    VFIO_CHECK(&t);
    vfio_rig_stop(&t);
}

static void move_replays_nothing_either_way(void)
{
    unsigned maps;

    UT_REQUIRE(start_with(2));
    UT_EQ(rig_attach(&t.rig, 1, 8, 0), VIOMMU_S_OK);
    vfio_rig_fill(&t, 1);
    UT_EQ(rig_attach(&t.rig, 2, 9, 0), VIOMMU_S_OK);
    UT_EQ(rig_map(&t.rig, 2, 0x1000, 0x1fff, 0x3000, MAP_RW), VIOMMU_S_OK);
    maps = t.k.calls[MODEL_IOAS_MAP];
    UT_EQ(rig_attach(&t.rig, 1, 9, 0), VIOMMU_S_OK);
    VFIO_CHECK(&t);
    UT_EQ(t.k.calls[MODEL_IOAS_MAP], maps);
    UT_EQ(model_kernel_reach(&t.k, &t.k.devices[1]), VFIO_RIG_FILLED);
    vfio_rig_stop(&t);
}

/* D18 */
static void group_that_is_elsewhere_is_unsupp(void)
{
    unsigned attaches;

    UT_REQUIRE(start_with(3));
    UT_EQ(rig_attach(&t.rig, 1, 8, 0), VIOMMU_S_OK);
    vfio_rig_fill(&t, 1);
    attaches = t.k.calls[MODEL_ATTACH];
    VFIO_REFUSED(&t, rig_attach(&t.rig, 2, 10, 0), VIOMMU_S_UNSUPP);
    UT_EQ(t.k.calls[MODEL_ATTACH], attaches); /* the kernel is not asked */
    UT_EQ(rig_attach(&t.rig, 1, 10, 0), VIOMMU_S_OK);
    VFIO_REFUSED(&t, rig_attach(&t.rig, 2, 8, 0), VIOMMU_S_UNSUPP);
    /* one leaves: it alone loses access */
    UT_EQ(rig_detach(&t.rig, 1, 8), VIOMMU_S_OK);
    UT_EQ(model_kernel_reach(&t.k, &t.k.devices[0]), 0);
    UT_EQ(model_kernel_reach(&t.k, &t.k.devices[2]), VFIO_RIG_FILLED);
    VFIO_CHECK(&t);
    vfio_rig_stop(&t);
}

/* An IOMMU of another kind: the kernel says EINVAL, and the endpoint gets an IOAS of its own. */
static void endpoint_that_cannot_share_gets_its_own_ioas(void)
{
    struct viommu_vdomain_info info;

    UT_REQUIRE(start_with(2));
    UT_EQ(rig_attach(&t.rig, 1, 8, 0), VIOMMU_S_OK);
    vfio_rig_fill(&t, 1);
    model_kernel_fail(&t.k, MODEL_ATTACH, 1, 1, EINVAL);
    vfio_log_begin();
    UT_EQ(rig_attach(&t.rig, 1, 9, 0), VIOMMU_S_OK);
    (void)vfio_log_end();
    UT_TRUE(viommu_vdomain_next(t.rig.v, 1, &info));
    UT_EQ(info.n_spaces, 2);
    VFIO_CHECK(&t);
    vfio_rig_stop(&t);
}

static void one_call_per_request(void)
{
    UT_REQUIRE(start_with(2));
    UT_EQ(rig_attach(&t.rig, 1, 8, 0), VIOMMU_S_OK);
    UT_EQ(rig_attach(&t.rig, 1, 9, 0), VIOMMU_S_OK);
    t.k.syscalls = 0;
    UT_EQ(rig_map(&t.rig, 1, 0, RIG_RAM_SIZE - 1, 0, MAP_RW), VIOMMU_S_OK);
    UT_EQ(rig_map(&t.rig, 1, RIG_RAM_SIZE, RIG_RAM_SIZE + 0xfff, 0, 0), VIOMMU_S_OK);
    UT_EQ(t.k.syscalls, 1);
    UT_EQ(rig_unmap(&t.rig, 1, 0, UINT64_MAX), VIOMMU_S_OK);
    UT_EQ(t.k.syscalls, 2);
    vfio_rig_stop(&t);
}

static void adjoining_unmaps_of_a_batch_are_one_call(void)
{
    UT_REQUIRE(start_with(2));
    UT_EQ(rig_attach(&t.rig, 1, 8, 0), VIOMMU_S_OK);
    UT_EQ(rig_attach(&t.rig, 1, 9, 0), VIOMMU_S_OK);
    vfio_rig_fill(&t, 1);
    t.k.syscalls = 0;
    UT_EQ(vfio_rig_unmap_batch(&t, 1, 0, 4 * PAGE, VFIO_RIG_FILLED), VIOMMU_S_OK);
    UT_EQ(t.k.syscalls, 1);
    VFIO_CHECK(&t);
    UT_EQ(model_kernel_reach(&t.k, &t.k.devices[0]), 0);
    vfio_rig_stop(&t);
}

static void whole_address_space_is_unmapped_by_its_own_spelling(void)
{
    struct iommu_status status;

    UT_REQUIRE(start());
    t.k.n_ranges = 0;
    UT_EQ(vfio_rig_add(&t, 0), 0);
    UT_EQ(rig_attach(&t.rig, 1, 8, 0), VIOMMU_S_OK);
    UT_EQ(rig_map(&t.rig, 1, 0, 0xfff, 0, MAP_RW), VIOMMU_S_OK);
    UT_EQ(rig_map(&t.rig, 1, UINT64_MAX - 0xfff, UINT64_MAX, 0x1000, MAP_RW), VIOMMU_S_OK);
    UT_EQ(rig_unmap(&t.rig, 1, 0, UINT64_MAX), VIOMMU_S_OK);
    UT_EQ(model_kernel_reach(&t.k, &t.k.devices[0]), 0);
    iommufd_driver.status(t.ep[0], &status);
    UT_FALSE(status.cut_off);
    VFIO_CHECK(&t);
    vfio_rig_stop(&t);
}

/* --- failures --------------------------------------------------------------------------------- */

static bool first_in(struct vfio_rig *rig)
{
    if (!vfio_rig_two_groups(rig) || rig_attach(&rig->rig, 1, 8, 0) != VIOMMU_S_OK)
        return false;
    vfio_rig_fill(rig, 1);
    return true;
}

static bool both_in_one(struct vfio_rig *rig)
{
    return first_in(rig) && rig_attach(&rig->rig, 1, 9, 0) == VIOMMU_S_OK;
}

static bool both_in_two(struct vfio_rig *rig)
{
    if (!first_in(rig) || rig_attach(&rig->rig, 2, 9, 0) != VIOMMU_S_OK)
        return false;
    vfio_rig_fill(rig, 2);
    return true;
}

static int attach_first(struct vfio_rig *rig)
{
    return rig_attach(&rig->rig, 1, 8, 0);
}

static int move_first(struct vfio_rig *rig)
{
    return rig_attach(&rig->rig, 3, 8, 0);
}

static void every_failing_call_of_every_verb_leaves_host_and_table_in_step(void)
{
    static const struct {
        struct vfio_sweep sweep;
        unsigned injected;
    } sweeps[] = {
        {{"map", both_in_one, vfio_rig_map_some, MODEL_IOAS_MAP, VFIO_REFUSES}, 5 * 3},
        {{"unmap", both_in_one, vfio_rig_unmap_some, MODEL_IOAS_UNMAP, VFIO_BLOCKS}, 6},
        {{"batch of unmaps", both_in_one, vfio_rig_unmap_some_batch, MODEL_IOAS_UNMAP, VFIO_BLOCKS},
         6},
        {{"first attach", vfio_rig_two_groups, attach_first, MODEL_IOAS_ALLOC, VFIO_REFUSES}, 5},
        {{"first attach", vfio_rig_two_groups, attach_first, MODEL_ATTACH, VFIO_REFUSES}, 5},
        {{"move", both_in_two, move_first, MODEL_IOAS_ALLOC, VFIO_REFUSES}, 5},
        {{"move", both_in_two, move_first, MODEL_ATTACH, VFIO_REFUSES}, 5},
        {{"detach", both_in_one, vfio_rig_detach_first, MODEL_DETACH, VFIO_BLOCKS}, 5},
        {{"reset", both_in_two, vfio_rig_reset, MODEL_DETACH, VFIO_BLOCKS}, 5 * 2},
        {{"reset", both_in_two, vfio_rig_reset, MODEL_DESTROY, VFIO_IGNORES}, 5 * 2},
    };

    for (size_t i = 0; i < ARRAY_SIZE(sweeps); i++)
        UT_EQ(vfio_rig_sweep(&t, &iommufd_driver, &sweeps[i].sweep), sweeps[i].injected);
}

/* The device that cannot be taken out has its file closed; attached anew, it is opened anew. */
static void failed_detach_costs_the_device_its_file(void)
{
    struct iommu_status status;
    int fds[IOMMU_N_FDS];

    UT_REQUIRE(start_with(2));
    UT_EQ(iommufd_driver.companion_fds(t.ep[0], fds), 0);
    UT_EQ(rig_attach(&t.rig, 1, 8, 0), VIOMMU_S_OK);
    UT_EQ(rig_attach(&t.rig, 1, 9, 0), VIOMMU_S_OK);
    vfio_rig_fill(&t, 1);
    model_kernel_fail(&t.k, MODEL_DETACH, 1, 1, EINVAL);
    vfio_log_begin();
    UT_EQ(rig_detach(&t.rig, 1, 8), VIOMMU_S_OK);
    UT_TRUE(strstr(vfio_log_end(), "companion") != NULL);
    UT_EQ(t.k.devices[0].resets, 1);
    UT_EQ(t.k.devices[0].open, 0);
    UT_EQ(model_kernel_files(&t.k), 2); /* the iommufd, the other device; no lifeline */
    iommufd_driver.status(t.ep[0], &status);
    UT_TRUE(status.cut_off);
    UT_EQ((int64_t)iommufd_driver.companion_fds(t.ep[0], fds), -ENODEV);
    model_kernel_fail(&t.k, MODEL_OPEN, 1, 1, EBUSY);
    vfio_log_begin();
    VFIO_REFUSED(&t, rig_attach(&t.rig, 1, 8, 0), VIOMMU_S_DEVERR);
    (void)vfio_log_end();
    UT_EQ(rig_attach(&t.rig, 1, 8, 0), VIOMMU_S_OK);
    VFIO_CHECK(&t);
    vfio_rig_stop(&t);
}

static void short_unmap_gives_the_ioas_up(void)
{
    struct iommu_status status;

    UT_REQUIRE(start_with(2));
    UT_EQ(rig_attach(&t.rig, 1, 8, 0), VIOMMU_S_OK);
    vfio_rig_fill(&t, 1);
    model_kernel_fail(&t.k, MODEL_IOAS_UNMAP, 1, 1, MODEL_SHORT);
    vfio_log_begin();
    UT_EQ(rig_unmap(&t.rig, 1, 0, 10 * PAGE - 1), VIOMMU_S_OK);
    UT_TRUE(strstr(vfio_log_end(), "given up") != NULL);
    t.blocked = 1;
    VFIO_CHECK(&t);
    iommufd_driver.status(t.ep[0], &status);
    UT_TRUE(status.cut_off);
    UT_EQ(rig_map(&t.rig, 1, 0x60000000, 0x60000fff, 0, MAP_RW), VIOMMU_S_DEVERR);
    /* another endpoint of the vdomain is not drawn in, and this one can come back */
    UT_EQ(rig_attach(&t.rig, 1, 9, 0), VIOMMU_S_OK);
    VFIO_CHECK(&t);
    UT_EQ(rig_detach(&t.rig, 1, 8), VIOMMU_S_OK);
    UT_EQ(rig_attach(&t.rig, 1, 8, 0), VIOMMU_S_OK);
    t.blocked = 0;
    UT_EQ(rig_map(&t.rig, 1, 0x60000000, 0x60000fff, 0, MAP_RW), VIOMMU_S_OK);
    VFIO_CHECK(&t);
    vfio_rig_stop(&t);
}

/* Given up and not even detachable: the devices are closed. */
static void short_unmap_and_failed_detach_close_the_devices(void)
{
    UT_REQUIRE(start_with(2));
    UT_EQ(rig_attach(&t.rig, 1, 8, 0), VIOMMU_S_OK);
    UT_EQ(rig_attach(&t.rig, 1, 9, 0), VIOMMU_S_OK);
    vfio_rig_fill(&t, 1);
    model_kernel_fail(&t.k, MODEL_IOAS_UNMAP, 1, 1, MODEL_SHORT);
    model_kernel_fail(&t.k, MODEL_DETACH, 1, 1, EBUSY);
    vfio_log_begin();
    UT_EQ(rig_unmap(&t.rig, 1, 0, 10 * PAGE - 1), VIOMMU_S_OK);
    (void)vfio_log_end();
    t.blocked = 3;
    UT_EQ(model_kernel_reach(&t.k, &t.k.devices[0]), 0);
    UT_EQ(model_kernel_reach(&t.k, &t.k.devices[1]), 0);
    UT_EQ(t.k.devices[0].open + t.k.devices[1].open, 1);
    VFIO_CHECK(&t);
    vfio_log_begin();
    vfio_rig_stop(&t);
    (void)vfio_log_end();
}

static void emulated_devices_work_alike(void)
{
    UT_REQUIRE(vfio_rig_start(&t, &iommufd_driver));
    UT_REQUIRE(model_kernel_add(&t.k, "c0ffee00-1234-5678-9abc-def012345678", 7));
    t.k.n_ranges = 0;
    UT_EQ(vfio_rig_add(&t, 0), 0);
    UT_EQ(rig_attach(&t.rig, 1, 8, 0), VIOMMU_S_OK);
    UT_EQ(rig_map(&t.rig, 1, 0, 0xfff, 0, MAP_RW), VIOMMU_S_OK);
    VFIO_CHECK(&t);
    vfio_rig_stop(&t);
}

int main(int argc, char **argv)
{
    static const struct ut_case cases[] = {
        UT_CASE(endpoint_has_the_limits_of_its_ioas),
        UT_CASE(second_of_a_group_is_opened_while_the_first_is_attached),
        UT_CASE(unfit_devices_are_refused_with_a_reason),
        UT_CASE(placeholders_do_not_matter),
        UT_CASE(failed_open_leaves_nothing),
        UT_CASE(all_groups_share_one_ioas_without_replay),
        UT_CASE(move_replays_nothing_either_way),
        UT_CASE(group_that_is_elsewhere_is_unsupp),
        UT_CASE(endpoint_that_cannot_share_gets_its_own_ioas),
        UT_CASE(one_call_per_request),
        UT_CASE(adjoining_unmaps_of_a_batch_are_one_call),
        UT_CASE(whole_address_space_is_unmapped_by_its_own_spelling),
        UT_CASE(every_failing_call_of_every_verb_leaves_host_and_table_in_step),
        UT_CASE(failed_detach_costs_the_device_its_file),
        UT_CASE(short_unmap_gives_the_ioas_up),
        UT_CASE(short_unmap_and_failed_detach_close_the_devices),
        UT_CASE(emulated_devices_work_alike),
    };

    return ut_main(argc, argv, "iommufd", cases, ARRAY_SIZE(cases));
}
