/* SPDX-License-Identifier: GPL-2.0-only */
/* The installed daemon: real Xen and nothing else. */
#include <config.h>

#include "backend/daemon/supervisor.h"

const struct platform_ops *const daemon_platforms[] = {&platform_xen, NULL};

int main(int argc, char **argv)
{
    return daemon_main(argc, argv);
}
