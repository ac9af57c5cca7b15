/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The control page's verdicts (docs/protocol.md, 4.1 and 4.4): bits are only added, no step is
 * taken before the one it needs, nothing but the driver's own bits comes in, a device that failed
 * does not run.
 */
#include "backend/daemon/control.c"

#include "tests/prove/prove.h"

int main(void)
{
    uint8_t present = any_u8(), wanted = any_u8(), s = status_accept(present, wanted);
    int rc = any_int();
    uint32_t verdict = map_verdict_of_errno(rc);

    PROVE((s & present) == present);
    PROVE((s & ~present & ~wanted) == 0);
    PROVE((s & ~present &
           ~(STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FAILED | STATUS_FEATURES_OK |
             STATUS_DRIVER_OK)) == 0);
    if (s & ~present & STATUS_FEATURES_OK)
        PROVE(s & STATUS_DRIVER);
    if (s & ~present & STATUS_DRIVER_OK)
        PROVE(s & STATUS_FEATURES_OK);
    if (control_status_runs(s)) {
        PROVE(s & STATUS_DRIVER_OK);
        PROVE(!(s & (STATUS_NEEDS_RESET | STATUS_FAILED)));
    }
    /* In one write or in several: no order of writes gets further than all at once. */
    PROVE((status_accept(status_accept(present, wanted), wanted) & ~s) == 0);
    PROVE((verdict == MAP_VERDICT_OK) == (rc == 0));
    return 0;
}
