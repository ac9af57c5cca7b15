/* SPDX-License-Identifier: GPL-2.0-only */
/* The test bench of vfio_rig.h. */
#include <config.h>

#include "tests/support/vfio_rig.h"

#include "common/log.h"
#include "tests/support/state_dump.h"

#include <errno.h>
#include <string.h>

static char log_text[16384];

static void take_line(enum log_level level UNUSED, const char *line, void *ctx UNUSED)
{
    size_t len = strlen(log_text);

    snprintf(log_text + len, sizeof(log_text) - len, "%s\n", line);
}

void vfio_log_begin(void)
{
    log_text[0] = '\0';
    log_set_sink(take_line, NULL);
}

const char *vfio_log_end(void)
{
    log_set_sink(NULL, NULL);
    return log_text;
}

bool vfio_rig_start(struct vfio_rig *t, const struct iommu_driver *driver)
{
    struct viommu_config config = VIOMMU_CONFIG_DEFAULT;

    memset(t, 0, sizeof(*t));
    config.features &= ~(VIOMMU_F_MMIO | VIOMMU_F_BYPASS_CONFIG);
    t->driver = driver;
    model_kernel_init(&t->k);
    return rig_start(&t->rig, &config);
}

int vfio_rig_open(struct vfio_rig *t, size_t index)
{
    int r = 0;

    if (!t->host)
        r = t->driver->host_new(&t->k.kernel, &t->host, t->why, sizeof(t->why));
    if (r == 0)
        r = t->driver->open(t->host, t->k.devices[index].name, &t->options, &t->ep[index], t->why,
                            sizeof(t->why));
    return r;
}

int vfio_rig_add(struct vfio_rig *t, size_t index)
{
    struct iommu_limits limits;
    const char *why = NULL;
    int r = vfio_rig_open(t, index);

    if (r < 0)
        return r;
    t->driver->limits(t->ep[index], &limits);
    r = viommu_endpoint_add(t->rig.v,
                            &(struct viommu_endpoint_config){
                                .id = 8 + (uint32_t)index,
                                .ops = t->driver->ops,
                                .host = t->ep[index],
                                .caps = t->driver->caps,
                                .page_size_mask = limits.page_size_mask,
                                .aperture = limits.aperture,
                                .resv = limits.resv,
                                .n_resv = limits.n_resv,
                            },
                            &why);
    if (r < 0) {
        snprintf(t->why, sizeof(t->why), "%s", why ? why : "?");
        t->driver->close(t->ep[index]);
        t->ep[index] = NULL;
    }
    return r;
}

void vfio_rig_remove(struct vfio_rig *t, size_t index)
{
    (void)!viommu_endpoint_remove(t->rig.v, 8 + (uint32_t)index);
    t->driver->close(t->ep[index]);
    t->ep[index] = NULL;
}

void vfio_rig_stop(struct vfio_rig *t)
{
    model_kernel_no_fail(&t->k);
    for (size_t i = 0; i < MODEL_DEVICES; i++) {
        if (t->ep[i])
            vfio_rig_remove(t, i);
    }
    if (t->host)
        t->host = t->driver->host_free(t->host);
    UT_EQ(model_kernel_files(&t->k), 0);
    UT_TRUE(t->k.complaint == NULL);
    rig_stop(&t->rig);
    model_kernel_fini(&t->k);
}

int vfio_rig_unmap_batch(struct vfio_rig *t, uint32_t vdomain, uint64_t first, uint64_t size,
                         unsigned n)
{
    int status = VIOMMU_S_OK;

    viommu_batch_begin(t->rig.v);
    for (unsigned i = 0; i < n && status == VIOMMU_S_OK; i++)
        status = rig_unmap(&t->rig, vdomain, first + i * size, first + i * size + size - 1);
    viommu_batch_end(t->rig.v);
    return status;
}

bool vfio_rig_start_three(struct vfio_rig *t, const struct iommu_driver *driver)
{
    return vfio_rig_start(t, driver) && model_kernel_add(&t->k, "0000:03:00.0", 5) &&
           model_kernel_add(&t->k, "0000:04:00.0", 6) && model_kernel_add(&t->k, "0000:03:00.1", 5);
}

bool vfio_rig_start_with(struct vfio_rig *t, const struct iommu_driver *driver, size_t n)
{
    if (!vfio_rig_start_three(t, driver))
        return false;
    for (size_t i = 0; i < n; i++) {
        if (vfio_rig_add(t, i) < 0)
            return false;
    }
    return true;
}

void vfio_rig_fill(struct vfio_rig *t, uint32_t vdomain)
{
    static const uint32_t flags[] = {MAP_RW, MAP_R, MAP_W};

    for (uint64_t i = 0; i < VFIO_RIG_FILLED; i++)
        UT_EQ(rig_map(&t->rig, vdomain, i * 4 * PAGE, (i * 4 + 1 + i % 2) * PAGE - 1, i * PAGE,
                      flags[i % 3]),
              VIOMMU_S_OK);
    UT_EQ(rig_map(&t->rig, vdomain, 0x40000000, 0x40000fff, 0, 0), VIOMMU_S_OK);
}

bool vfio_rig_two_groups(struct vfio_rig *t)
{
    t->rig.mem.segment_max = PAGE;
    return model_kernel_add(&t->k, "0000:03:00.0", 5) &&
           model_kernel_add(&t->k, "0000:04:00.0", 6) && vfio_rig_add(t, 0) == 0 &&
           vfio_rig_add(t, 1) == 0;
}

int vfio_rig_map_some(struct vfio_rig *t)
{
    return rig_map(&t->rig, 1, 0x100000, 0x102fff, 0x5000, MAP_RW);
}

int vfio_rig_unmap_some(struct vfio_rig *t)
{
    return rig_unmap(&t->rig, 1, 4 * PAGE, 40 * PAGE - 1);
}

int vfio_rig_unmap_some_batch(struct vfio_rig *t)
{
    return vfio_rig_unmap_batch(t, 1, 4 * PAGE, 4 * PAGE, 9);
}

int vfio_rig_detach_first(struct vfio_rig *t)
{
    return rig_detach(&t->rig, 1, 8);
}

int vfio_rig_reset(struct vfio_rig *t)
{
    viommu_reset(t->rig.v);
    return viommu_set_features(t->rig.v, viommu_offered(t->rig.v));
}

char *vfio_rig_dump(struct vfio_rig *t)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    if (!out)
        return NULL;
    state_dump(t->rig.v, out);
    model_space_dump(&t->rig.mem, out);
    model_kernel_dump(&t->k, out);
    return fclose(out) == 0 ? text : NULL;
}

void vfio_rig_check(struct vfio_rig *t, const char *file, int line)
{
    const char *wrong = model_kernel_compare(&t->k, t->rig.v, &t->rig.mem, t->blocked);

    ut_eq_str(wrong ? wrong : "agreement", "agreement", "kernel and table", file, line);
    rig_check(&t->rig, file, line);
}

/* --- sweeps ----------------------------------------------------------------------------------- */

static bool is_unmap(enum model_call call)
{
    return call == MODEL_UNMAP_DMA || call == MODEL_IOAS_UNMAP;
}

static int expected_status(int error)
{
    return error == ENOMEM || error == ENOSPC ? VIOMMU_S_NOMEM : VIOMMU_S_DEVERR;
}

static void say(const struct vfio_sweep *sweep, int error, unsigned n)
{
    printf("    %s: call %d, error %d, number %u\n", sweep->name, (int)sweep->call, error, n);
}

/* Devices that an injected failure left without access: those whose driver says so. */
static void find_blocked(struct vfio_rig *t)
{
    for (size_t i = 0; i < MODEL_DEVICES; i++) {
        struct iommu_status status;

        if (!t->ep[i])
            continue;
        t->driver->status(t->ep[i], &status);
        if (status.cut_off)
            t->blocked |= 1u << i;
    }
}

static void judge(struct vfio_rig *t, const struct vfio_sweep *sweep, int error, int status,
                  const char *before)
{
    char *after = vfio_rig_dump(t);

    if (sweep->outcome == VFIO_REFUSES) {
        UT_EQ(status, expected_status(error));
        UT_STR(after, before);
    } else {
        UT_EQ(status, VIOMMU_S_OK);
    }
    find_blocked(t);
    UT_EQ(t->blocked != 0, sweep->outcome == VFIO_BLOCKS);
    for (size_t i = 0; i < MODEL_DEVICES; i++) {
        if (t->blocked & (1u << i))
            UT_EQ(model_kernel_reach(&t->k, &t->k.devices[i]), 0);
    }
    free(after);
}

/* One injection on a fresh rig; false when the failing call was not reached. */
static bool inject(struct vfio_rig *t, const struct iommu_driver *driver,
                   const struct vfio_sweep *sweep, int error, unsigned n)
{
    unsigned failures = CU_get_number_of_failures();
    char *before;
    bool failed;
    int status;

    if (!vfio_rig_start(t, driver) || !sweep->setup(t)) {
        UT_TRUE(!"the rig can be set up");
        return false;
    }
    VFIO_CHECK(t);
    before = vfio_rig_dump(t);
    model_kernel_fail(&t->k, sweep->call, n, 1, error);
    vfio_log_begin();
    status = sweep->request(t);
    (void)vfio_log_end();
    failed = t->k.failed;
    model_kernel_no_fail(&t->k);
    if (failed)
        judge(t, sweep, error, status, before);
    else
        UT_EQ(status, VIOMMU_S_OK);
    VFIO_CHECK(t);
    free(before);
    vfio_log_begin();
    vfio_rig_stop(t);
    (void)vfio_log_end();
    if (CU_get_number_of_failures() != failures)
        say(sweep, error, n);
    return failed;
}

unsigned vfio_rig_sweep(struct vfio_rig *t, const struct iommu_driver *driver,
                        const struct vfio_sweep *sweep)
{
    static const int errors[] = {EINVAL, ENOMEM, ENOSPC, EEXIST, EBUSY, MODEL_SHORT};
    unsigned injected = 0;

    for (size_t e = 0; e < ARRAY_SIZE(errors); e++) {
        if (errors[e] == MODEL_SHORT && !is_unmap(sweep->call))
            continue;
        for (unsigned n = 1; n < 100 && inject(t, driver, sweep, errors[e], n); n++)
            injected++;
    }
    return injected;
}
