/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The daemon for a machine without Xen: the same objects as the installed xen-viommud with the fake
 * hypervisor's platform. For tests and the demo, never installed.
 */
#include <config.h>

#include "backend/daemon/supervisor.h"

const struct platform_ops *const daemon_platforms[] = {&platform_fakexen, NULL};

int main(int argc, char **argv)
{
    return daemon_main(argc, argv);
}
