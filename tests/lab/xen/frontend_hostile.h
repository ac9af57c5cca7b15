/* SPDX-License-Identifier: GPL-2.0-only */
/* What no driver would do, on real Xen: the most telling cases of tests/hostile_*.tap. */
#ifndef LAB_FRONTEND_HOSTILE_H
#define LAB_FRONTEND_HOSTILE_H

#include <stdbool.h>

/* On a device that runs, which is as it was afterwards. */
void hostile_rings(void);
void hostile_control(void);
/* Without a connection, in state 2, with pages and ports open; and so it ends. */
void hostile_nodes(void);
/* On a device that runs, whose connection is started over by it. */
void hostile_channels(void);

/* Of frontend.c. */
void restart_device(const char *what);
void check_connection_refused(const char *what);
bool connection_revoke(void);

#endif
