/* SPDX-License-Identifier: GPL-2.0-only */
/* The device and a host IOMMU driver: spaces, replay, rollback of everything that can fail. */
#include <config.h>

#include "common/log.h"
#include "tests/support/viommu_rig.h"

#include <errno.h>
#include <string.h>

static struct rig rig;

#define BYPASS   VIOMMU_ATTACH_F_BYPASS
#define N_REPLAY 20u

/* Model endpoints 8 to 8 + n - 1, unattached. */
static bool start(unsigned n)
{
    bool ok = rig_start(&rig, NULL);

    for (unsigned i = 0; ok && i < n; i++)
        ok = rig_add(&rig, 8 + i, &model_host_ops) == 0;
    return ok;
}

/* N_REPLAY mappings of two pages each, every fifth without access. */
static void fill(uint32_t vdomain)
{
    for (uint64_t i = 0; i < N_REPLAY; i++) {
        UT_EQ(rig_map(&rig, vdomain, 4 * i * PAGE, (4 * i + 2) * PAGE - 1, 8 * i * PAGE,
                      i % 5 == 4 ? 0
                      : i % 2    ? MAP_R
                                 : MAP_RW),
              VIOMMU_S_OK);
    }
}

#define N_REPLAYED (N_REPLAY - N_REPLAY / 5)

static size_t n_spaces(uint32_t vdomain)
{
    struct viommu_vdomain_info info;

    return viommu_vdomain_next(rig.v, vdomain, &info) && info.id == vdomain ? info.n_spaces : 99;
}

/* --- spaces ----------------------------------------------------------------------------------- */

static void groups_that_cannot_share_get_a_space_each(void)
{
    UT_REQUIRE(start(3));
    for (uint32_t id = 8; id < 11; id++)
        UT_EQ(rig_attach(&rig, 1, id, 0), VIOMMU_S_OK);
    UT_EQ(n_spaces(1), 3);
    fill(1);
    UT_EQ(rig.host.calls[HOST_MAP], 3 * N_REPLAYED);
    UT_EQ(viommu_counters(rig.v)->host_maps, 3 * N_REPLAYED);
    RIG_CHECK(&rig);
    UT_EQ(rig_detach(&rig, 1, 9), VIOMMU_S_OK);
    UT_EQ(n_spaces(1), 2);
    RIG_CHECK(&rig);
    UT_EQ(rig_detach(&rig, 1, 10), VIOMMU_S_OK); /* the last, and another one behind */
    UT_EQ(rig_attach(&rig, 1, 9, 0), VIOMMU_S_OK);
    UT_EQ(n_spaces(1), 2);
    RIG_CHECK(&rig);
    UT_EQ(rig_unmap(&rig, 1, 0, UINT64_MAX), VIOMMU_S_OK);
    UT_EQ(rig.host.calls[HOST_UNMAP], 2);
    UT_EQ(viommu_counters(rig.v)->host_unmaps, 2);
    rig_stop(&rig);
}

static void driver_that_shares_gets_one_space_and_no_replay(void)
{
    UT_REQUIRE(start(3));
    rig.host.groups_share = true;
    UT_EQ(rig_attach(&rig, 1, 8, 0), VIOMMU_S_OK);
    fill(1);
    UT_EQ(rig_attach(&rig, 1, 9, 0), VIOMMU_S_OK);
    UT_EQ(rig_attach(&rig, 1, 10, 0), VIOMMU_S_OK);
    UT_EQ(n_spaces(1), 1);
    UT_EQ(rig.host.calls[HOST_MAP], N_REPLAYED);
    RIG_CHECK(&rig);
    UT_EQ(rig_detach(&rig, 1, 8), VIOMMU_S_OK);
    RIG_CHECK(&rig);
    rig_stop(&rig);
}

static void two_drivers_in_one_vdomain_have_their_own_spaces(void)
{
    UT_REQUIRE(start(1));
    rig.host.groups_share = true;
    UT_EQ(rig_add(&rig, 9, &model_host_frame_ops), 0);
    UT_EQ(rig_add_soft(&rig, 20), 0);
    UT_EQ(rig_attach(&rig, 1, 8, 0), VIOMMU_S_OK);
    UT_EQ(rig_attach(&rig, 1, 20, 0), VIOMMU_S_OK);
    fill(1);
    UT_EQ(rig_attach(&rig, 1, 9, 0), VIOMMU_S_OK);
    UT_EQ(n_spaces(1), 2);
    RIG_CHECK(&rig);
    UT_EQ(rig_unmap(&rig, 1, 0, 8 * PAGE - 1), VIOMMU_S_OK);
    RIG_CHECK(&rig);
    rig_stop(&rig);
}

static void endpoints_of_one_group_share_its_space(void)
{
    UT_REQUIRE(start(2));
    rig.host.endpoints[1].group = rig.host.endpoints[0].group;
    UT_EQ(rig_attach(&rig, 1, 8, 0), VIOMMU_S_OK);
    UT_EQ(rig_attach(&rig, 1, 9, 0), VIOMMU_S_OK);
    UT_EQ(n_spaces(1), 1);
    rig_stop(&rig);
}

/* D18, D20: the rest of the group is in another vdomain */
static void group_that_is_elsewhere_is_unsupp(void)
{
    UT_REQUIRE(start(2));
    rig.host.endpoints[1].group = rig.host.endpoints[0].group;
    UT_EQ(rig_attach(&rig, 1, 8, 0), VIOMMU_S_OK);
    RIG_REFUSED(&rig, rig_attach(&rig, 2, 9, 0), VIOMMU_S_UNSUPP);
    UT_EQ(rig_attach(&rig, 1, 9, 0), VIOMMU_S_OK);
    RIG_REFUSED(&rig, rig_attach(&rig, 2, 9, 0), VIOMMU_S_UNSUPP); /* a move, undone */
    rig_stop(&rig);
}

static void scattered_memory_is_mapped_piece_by_piece(void)
{
    UT_REQUIRE(start(1));
    rig.mem.segment_max = 3 * PAGE;
    UT_EQ(rig_attach(&rig, 1, 8, 0), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 1, 0x100000, 0x109fff, 0x2000, MAP_RW), VIOMMU_S_OK);
    UT_EQ(rig.host.calls[HOST_MAP], 4); /* 2, 3-5, 6-8, 9-11 */
    RIG_CHECK(&rig);
    UT_EQ(rig_unmap(&rig, 1, 0x100000, 0x109fff), VIOMMU_S_OK);
    UT_EQ(rig.host.calls[HOST_UNMAP], 1);
    RIG_CHECK(&rig);
    rig_stop(&rig);
}

/* Also the very first byte and the very last one. */
static void replay_leaves_out_no_address(void)
{
    struct viommu_config c = VIOMMU_CONFIG_DEFAULT;

    c.page_size_mask = 1;
    UT_REQUIRE(rig_start(&rig, &c));
    UT_EQ(rig_add(&rig, 8, &model_host_ops), 0);
    UT_EQ(rig_add(&rig, 9, &model_host_ops), 0);
    UT_EQ(rig_attach(&rig, 1, 8, 0), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 1, 0, 0, 5, MAP_RW), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 1, UINT64_MAX, UINT64_MAX, 6, MAP_RW), VIOMMU_S_OK);
    UT_EQ(rig_attach(&rig, 1, 9, 0), VIOMMU_S_OK);
    RIG_CHECK(&rig);
    rig_stop(&rig);
}

/* --- failures --------------------------------------------------------------------------------- */

/* ARCHITECTURE.md section 8: a failed host map is never reported as OK. Every piece of every space
 * fails once. */
static void failed_host_map_is_undone_everywhere(void)
{
    static const struct {
        int err;
        enum viommu_status status;
    } fails[] = {{-ENOSPC, VIOMMU_S_NOMEM}, {-ENOMEM, VIOMMU_S_NOMEM}, {-EINVAL, VIOMMU_S_DEVERR}};

    UT_REQUIRE(start(3));
    rig.mem.segment_max = PAGE;
    for (uint32_t id = 8; id < 11; id++)
        UT_EQ(rig_attach(&rig, 1, id, 0), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 1, 0, PAGE - 1, 0, MAP_RW), VIOMMU_S_OK);
    for (size_t f = 0; f < ARRAY_SIZE(fails); f++) {
        for (unsigned n = 1; n <= 12; n++) {
            model_host_fail(&rig.host, HOST_MAP, n, 1, fails[f].err);
            RIG_REFUSED(&rig, rig_map(&rig, 1, PAGE, 5 * PAGE - 1, 0, MAP_RW), fails[f].status);
        }
    }
    UT_EQ(rig_map(&rig, 1, PAGE, 5 * PAGE - 1, 0, MAP_RW), VIOMMU_S_OK);
    rig_stop(&rig);
}

static void rollback_of_a_map_runs_in_reverse(void)
{
    char *trace;

    UT_REQUIRE(start(3));
    for (uint32_t id = 8; id < 11; id++)
        UT_EQ(rig_attach(&rig, 1, id, 0), VIOMMU_S_OK);
    rig_trace_begin(&rig);
    model_host_fail(&rig.host, HOST_MAP, 3, 1, -ENOSPC);
    UT_EQ(rig_map(&rig, 1, 0, PAGE - 1, 0, MAP_R), VIOMMU_S_NOMEM);
    trace = rig_trace_end(&rig);
    UT_STR(trace, "pin 0-0xfff r\nmap 0 0-0xfff\nmap 1 0-0xfff\nmap 2 0-0xfff fails\n"
                  "unmap 1 0-0xfff of 0x1000\nunmap 0 0-0xfff of 0x1000\nunpin 0-0xfff r\n");
    free(trace);
    rig_stop(&rig);
}

static void unreachable_segment_is_undone(void)
{
    UT_REQUIRE(start(2));
    rig.mem.segment_max = PAGE;
    UT_EQ(rig_attach(&rig, 1, 8, 0), VIOMMU_S_OK);
    UT_EQ(rig_attach(&rig, 1, 9, 0), VIOMMU_S_OK);
    /* The first of the three pieces comes with the pin, for both spaces. */
    for (unsigned n = 1; n <= 4; n++) {
        model_space_fail(&rig.mem, SPACE_SEGMENT, n, -EFAULT);
        RIG_REFUSED(&rig, rig_map(&rig, 1, 0, 3 * PAGE - 1, 0, MAP_R), VIOMMU_S_FAULT);
    }
    rig_stop(&rig);
}

static uint64_t pin_size, segment_size;

static int pin_of_any_size(void *ctx, struct range gpa, bool write, struct guest_piece *first_out)
{
    int r = model_space_guest(ctx).ops->pin(ctx, gpa, write, first_out);

    first_out->bytes = pin_size;
    return r;
}

static int segment_of_any_size(void *ctx, struct range gpa, bool write, struct guest_piece *out)
{
    int r = model_space_guest(ctx).ops->segment(ctx, gpa, write, out);

    if (gpa.first == 3 * PAGE)
        out->bytes = segment_size;
    return r;
}

/* A piece of guest memory that is not in the mapping is never given to the host. */
static void segment_that_leaves_the_mapping_is_not_mapped(void)
{
    static const uint64_t sizes[] = {0, PAGE + 1, 2 * PAGE, UINT64_MAX};
    static const uint64_t pins[] = {0, 2 * PAGE + 1, 3 * PAGE, UINT64_MAX};
    struct viommu_config c = VIOMMU_CONFIG_DEFAULT;
    struct guest_space space;
    struct guest_space_ops ops;

    UT_REQUIRE(start(0));
    rig.v = viommu_free(rig.v);
    space = model_space_guest(&rig.mem);
    ops = *space.ops;
    ops.pin = pin_of_any_size;
    ops.segment = segment_of_any_size;
    space.ops = &ops;
    UT_REQUIRE(viommu_new(&rig.v, &c, &space) == 0);
    UT_EQ(viommu_set_features(rig.v, VIOMMU_F_ALL), 0);
    rig.mem.segment_max = PAGE;
    UT_EQ(rig_add(&rig, 8, &model_host_ops), 0);
    UT_EQ(rig_attach(&rig, 1, 8, 0), VIOMMU_S_OK);
    pin_size = PAGE;
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        unsigned n = rig.host.calls[HOST_MAP];

        segment_size = sizes[i];
        RIG_REFUSED(&rig, rig_map(&rig, 1, 0, 2 * PAGE - 1, 2 * PAGE, MAP_R), VIOMMU_S_FAULT);
        UT_EQ(rig.host.calls[HOST_MAP] - n, 1); /* the piece before it */
    }
    segment_size = PAGE;
    for (size_t i = 0; i < ARRAY_SIZE(pins); i++) {
        unsigned n = rig.host.calls[HOST_MAP];

        pin_size = pins[i];
        RIG_REFUSED(&rig, rig_map(&rig, 1, 0, 2 * PAGE - 1, 2 * PAGE, MAP_R), VIOMMU_S_FAULT);
        UT_EQ(rig.host.calls[HOST_MAP] - n, 0);
    }
    pin_size = PAGE;
    UT_EQ(rig_map(&rig, 1, 0, 2 * PAGE - 1, 2 * PAGE, MAP_R), VIOMMU_S_OK);
    rig_stop(&rig);
}

/* The host's own limit (type1: 65,535 entries) */
static void full_host_is_nomem(void)
{
    UT_REQUIRE(start(1));
    rig.host.max_pieces = 2;
    UT_EQ(rig_attach(&rig, 1, 8, 0), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 1, 0, PAGE - 1, 0, MAP_R), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 1, PAGE, 2 * PAGE - 1, 0, MAP_R), VIOMMU_S_OK);
    RIG_REFUSED(&rig, rig_map(&rig, 1, 2 * PAGE, 3 * PAGE - 1, 0, MAP_R), VIOMMU_S_NOMEM);
    UT_EQ(rig_unmap(&rig, 1, 0, PAGE - 1), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 1, 2 * PAGE, 3 * PAGE - 1, 0, MAP_R), VIOMMU_S_OK);
    rig_stop(&rig);
}

static void refused_first_attach_leaves_nothing(void)
{
    UT_REQUIRE(start(1));
    model_host_fail(&rig.host, HOST_SPACE_NEW, 1, 1, -ENOMEM);
    RIG_REFUSED(&rig, rig_attach(&rig, 1, 8, 0), VIOMMU_S_NOMEM);
    model_host_fail(&rig.host, HOST_ATTACH, 1, 1, -EBUSY);
    RIG_REFUSED(&rig, rig_attach(&rig, 1, 8, 0), VIOMMU_S_UNSUPP);
    model_host_fail(&rig.host, HOST_ATTACH, 1, 1, -EIO);
    RIG_REFUSED(&rig, rig_attach(&rig, 1, 8, 0), VIOMMU_S_DEVERR);
    model_host_fail(&rig.host, HOST_BYPASS_ON, 1, 1, -EIO);
    RIG_REFUSED(&rig, rig_attach(&rig, 1, 8, BYPASS), VIOMMU_S_DEVERR);
    UT_EQ(viommu_n_vdomains(rig.v), 0);
    UT_EQ(rig_attach(&rig, 1, 8, 0), VIOMMU_S_OK);
    rig_stop(&rig);
}

/* Replay fails at every mapping in turn, for an endpoint that was nowhere. */
static void replay_is_undone_at_every_mapping(void)
{
    UT_REQUIRE(start(2));
    UT_EQ(rig_attach(&rig, 1, 8, 0), VIOMMU_S_OK);
    fill(1);
    for (unsigned n = 1; n <= N_REPLAYED; n++) {
        model_host_fail(&rig.host, HOST_MAP, n, 1, -ENOSPC);
        RIG_REFUSED(&rig, rig_attach(&rig, 1, 9, 0), VIOMMU_S_NOMEM);
    }
    for (unsigned n = 1; n <= N_REPLAYED; n++) {
        model_space_fail(&rig.mem, SPACE_SEGMENT, n, -EFAULT);
        RIG_REFUSED(&rig, rig_attach(&rig, 1, 9, 0), VIOMMU_S_FAULT);
    }
    UT_EQ(rig_attach(&rig, 1, 9, 0), VIOMMU_S_OK);
    RIG_CHECK(&rig);
    rig_stop(&rig);
}

/* A11: a move that fails anywhere is undone: from alone, from company, from bypass, from nowhere */
static void failed_move_is_undone_at_every_step(void)
{
    for (int pass = 0; pass < 4; pass++) {
        UT_REQUIRE(start(2));
        rig.host.groups_share = pass == 1; /* 8 and 9 share a space */
        UT_EQ(rig_add(&rig, 10, pass == 1 ? &model_host_frame_ops : &model_host_ops), 0);
        UT_EQ(rig_attach(&rig, 1, 8, pass == 2 ? BYPASS : 0), VIOMMU_S_OK);
        if (pass == 1)
            UT_EQ(rig_attach(&rig, 1, 9, 0), VIOMMU_S_OK);
        if (pass == 3)
            UT_EQ(rig_detach(&rig, 1, 8), VIOMMU_S_OK);
        else if (pass != 2)
            fill(1);
        UT_EQ(rig_attach(&rig, 2, 10, 0), VIOMMU_S_OK);
        fill(2);
        for (unsigned n = 1; n <= N_REPLAYED; n++) {
            model_host_fail(&rig.host, HOST_MAP, n, 1, -ENOSPC);
            RIG_REFUSED(&rig, rig_attach(&rig, 2, 8, 0), VIOMMU_S_NOMEM);
        }
        model_host_fail(&rig.host, HOST_SPACE_NEW, 1, 1, -ENOMEM);
        RIG_REFUSED(&rig, rig_attach(&rig, 2, 8, 0), VIOMMU_S_NOMEM);
        /* the attach to the existing space, if the driver has one there, then the new one's */
        for (unsigned n = 1; n <= (pass == 1 ? 1 : 2); n++) {
            model_host_fail(&rig.host, HOST_ATTACH, n, 1, -EIO);
            RIG_REFUSED(&rig, rig_attach(&rig, 2, 8, 0), VIOMMU_S_DEVERR);
        }
        UT_EQ(rig_attach(&rig, 2, 8, 0), VIOMMU_S_OK);
        RIG_CHECK(&rig);
        rig_stop(&rig);
    }
}

static void move_back_needs_no_replay_and_old_state_goes_last(void)
{
    char *trace;

    UT_REQUIRE(start(2));
    UT_EQ(rig_attach(&rig, 1, 8, 0), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 1, 0, PAGE - 1, 0, MAP_R), VIOMMU_S_OK);
    UT_EQ(rig_attach(&rig, 2, 9, 0), VIOMMU_S_OK);
    UT_EQ(rig_map(&rig, 2, PAGE, 2 * PAGE - 1, 0, MAP_W), VIOMMU_S_OK);
    rig_trace_begin(&rig);
    model_host_fail(&rig.host, HOST_MAP, 1, 1, -ENOSPC);
    UT_EQ(rig_attach(&rig, 2, 8, 0), VIOMMU_S_NOMEM);
    trace = rig_trace_end(&rig);
    UT_STR(trace, "detach 0\nattach 0 to 1 fails\nspace_new 2\nattach 0 to 2\n"
                  "map 2 0x1000-0x1fff fails\ndetach 0\nspace_free 2\nattach 0 to 0\n");
    free(trace);
    rig_trace_begin(&rig);
    UT_EQ(rig_attach(&rig, 2, 8, 0), VIOMMU_S_OK);
    trace = rig_trace_end(&rig);
    UT_STR(trace, "detach 0\nattach 0 to 1 fails\nspace_new 3\nattach 0 to 3\n"
                  "map 3 0x1000-0x1fff\nspace_free 0\nunpin 0-0xfff r\n");
    free(trace);
    rig_stop(&rig);
}

static unsigned log_lines;

static void count_line(enum log_level level, const char *line, void *ctx)
{
    (void)level;
    (void)line;
    (void)ctx;
    log_lines++;
}

/* The host does not even take the endpoint back: blocked, DEVERR, and nothing is left over. */
static void endpoint_that_nobody_takes_ends_blocked(void)
{
    for (int pass = 0; pass < 2; pass++) {
        UT_REQUIRE(start(2));
        UT_EQ(viommu_bypass_write(rig.v, 1), 0); /* it must not fall into bypass */
        UT_EQ(rig_attach(&rig, 1, 8, 0), VIOMMU_S_OK);
        fill(1);
        if (pass == 1)
            UT_EQ(rig_attach(&rig, 2, 9, 0), VIOMMU_S_OK);
        model_host_fail(&rig.host, HOST_ATTACH, 1, 9, -EIO);
        log_lines = 0;
        log_set_sink(count_line, NULL);
        UT_EQ(rig_attach(&rig, 2, 8, 0), VIOMMU_S_DEVERR);
        log_set_sink(NULL, NULL);
        UT_EQ(log_lines, 1);
        UT_EQ(rig_lookup(&rig, 8, 0, false), UINT64_MAX);
        UT_FALSE(rig.host.endpoints[0].identity);
        UT_EQ(viommu_n_vdomains(rig.v), pass);
        UT_EQ(viommu_n_mappings(rig.v), 0);
        RIG_CHECK(&rig);
        model_host_fail(&rig.host, HOST_ATTACH, 100, 1, -EIO);
        UT_EQ(rig_attach(&rig, 1, 8, 0), VIOMMU_S_OK);
        RIG_CHECK(&rig);
        rig_stop(&rig);
    }
}

/* --- bypass ----------------------------------------------------------------------------------- */

static void bypass_is_switched_at_every_transition(void)
{
    char *trace;

    UT_REQUIRE(start(1));
    rig_trace_begin(&rig);
    UT_EQ(viommu_bypass_write(rig.v, 1), 0);
    UT_EQ(rig_attach(&rig, 1, 8, BYPASS), VIOMMU_S_OK); /* identity before and after */
    UT_EQ(rig_attach(&rig, 2, 8, 0), VIOMMU_S_OK);
    UT_EQ(rig_detach(&rig, 2, 8), VIOMMU_S_OK); /* N7 */
    UT_EQ(viommu_bypass_write(rig.v, 0), 0);
    UT_EQ(rig_attach(&rig, 1, 8, BYPASS), VIOMMU_S_OK);
    UT_EQ(rig_detach(&rig, 1, 8), VIOMMU_S_OK);
    trace = rig_trace_end(&rig);
    UT_STR(trace, "bypass 0 on\n"
                  "bypass 0 off\nspace_new 0\nattach 0 to 0\n"
                  "detach 0\nbypass 0 on\nspace_free 0\n"
                  "bypass 0 off\n"
                  "bypass 0 on\n"
                  "bypass 0 off\n");
    free(trace);
    rig_stop(&rig);
}

static void detach_into_bypass_that_fails_is_undone(void)
{
    UT_REQUIRE(start(2));
    UT_EQ(viommu_bypass_write(rig.v, 1), 0);
    UT_EQ(rig_attach(&rig, 1, 8, 0), VIOMMU_S_OK);
    fill(1);
    model_host_fail(&rig.host, HOST_BYPASS_ON, 1, 1, -EIO);
    RIG_REFUSED(&rig, rig_detach(&rig, 1, 8), VIOMMU_S_DEVERR);
    UT_EQ(rig_detach(&rig, 1, 8), VIOMMU_S_OK);
    RIG_CHECK(&rig);
    rig_stop(&rig);
}

static void move_into_a_bypass_vdomain_that_fails_is_undone(void)
{
    UT_REQUIRE(start(2));
    UT_EQ(rig_attach(&rig, 1, 8, 0), VIOMMU_S_OK);
    fill(1);
    model_host_fail(&rig.host, HOST_BYPASS_ON, 1, 1, -EBUSY);
    RIG_REFUSED(&rig, rig_attach(&rig, 2, 8, BYPASS), VIOMMU_S_UNSUPP);
    UT_EQ(rig_attach(&rig, 2, 8, BYPASS), VIOMMU_S_OK);
    UT_EQ(viommu_n_mappings(rig.v), 0);
    RIG_CHECK(&rig);
    rig_stop(&rig);
}

int main(int argc, char **argv)
{
    static const struct ut_case cases[] = {
        UT_CASE(groups_that_cannot_share_get_a_space_each),
        UT_CASE(driver_that_shares_gets_one_space_and_no_replay),
        UT_CASE(two_drivers_in_one_vdomain_have_their_own_spaces),
        UT_CASE(endpoints_of_one_group_share_its_space),
        UT_CASE(group_that_is_elsewhere_is_unsupp),
        UT_CASE(scattered_memory_is_mapped_piece_by_piece),
        UT_CASE(replay_leaves_out_no_address),
        UT_CASE(failed_host_map_is_undone_everywhere),
        UT_CASE(rollback_of_a_map_runs_in_reverse),
        UT_CASE(unreachable_segment_is_undone),
        UT_CASE(segment_that_leaves_the_mapping_is_not_mapped),
        UT_CASE(full_host_is_nomem),
        UT_CASE(refused_first_attach_leaves_nothing),
        UT_CASE(replay_is_undone_at_every_mapping),
        UT_CASE(failed_move_is_undone_at_every_step),
        UT_CASE(move_back_needs_no_replay_and_old_state_goes_last),
        UT_CASE(endpoint_that_nobody_takes_ends_blocked),
        UT_CASE(bypass_is_switched_at_every_transition),
        UT_CASE(detach_into_bypass_that_fails_is_undone),
        UT_CASE(move_into_a_bypass_vdomain_that_fails_is_undone),
    };

    return ut_main(argc, argv, "viommu_host", cases, ARRAY_SIZE(cases));
}
