/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The one place where host failures (-errno) become guest verdicts, and the names of numbers for
 * logs and tools. Pure functions.
 */
#include <config.h>

#include "backend/viommu/viommu.h"

#include <errno.h>

/* Whatever is not listed is the device's own trouble: DEVERR. */
static const struct {
    int err;
    enum viommu_status status;
} verdicts[] = {
    {0, VIOMMU_S_OK},
    {-ENOMEM, VIOMMU_S_NOMEM},
    {-ENOSPC, VIOMMU_S_NOMEM},
    {-EDQUOT, VIOMMU_S_NOMEM},
    {-EFAULT, VIOMMU_S_FAULT},
    /* The endpoint's group or tables are tied to others (D18, D20). */
    {-EBUSY, VIOMMU_S_UNSUPP},
    {-EXDEV, VIOMMU_S_UNSUPP},
    {-EOPNOTSUPP, VIOMMU_S_UNSUPP},
};

enum viommu_status viommu_status_of_errno(int err)
{
    for (size_t i = 0; i < ARRAY_SIZE(verdicts); i++) {
        if (verdicts[i].err == err)
            return verdicts[i].status;
    }
    return VIOMMU_S_DEVERR;
}

const char *viommu_status_name(unsigned status)
{
    static const char *const names[VIOMMU_N_STATUS] = {
        [VIOMMU_S_OK] = "OK",         [VIOMMU_S_IOERR] = "IOERR", [VIOMMU_S_UNSUPP] = "UNSUPP",
        [VIOMMU_S_DEVERR] = "DEVERR", [VIOMMU_S_INVAL] = "INVAL", [VIOMMU_S_RANGE] = "RANGE",
        [VIOMMU_S_NOENT] = "NOENT",   [VIOMMU_S_FAULT] = "FAULT", [VIOMMU_S_NOMEM] = "NOMEM",
    };

    return status < ARRAY_SIZE(names) ? names[status] : "?";
}

const char *viommu_type_name(unsigned type)
{
    static const char *const names[VIOMMU_N_TYPES] = {
        "unanswered",           [VIOMMU_T_ATTACH] = "ATTACH", [VIOMMU_T_DETACH] = "DETACH",
        [VIOMMU_T_MAP] = "MAP", [VIOMMU_T_UNMAP] = "UNMAP",   [VIOMMU_T_PROBE] = "PROBE",
    };

    return type < ARRAY_SIZE(names) ? names[type] : "?";
}
