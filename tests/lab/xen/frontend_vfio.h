/* SPDX-License-Identifier: GPL-2.0-only */
/* The frontend of a guest whose endpoint is a VFIO device: `lab-frontend vfio`. */
#ifndef LAB_FRONTEND_VFIO_H
#define LAB_FRONTEND_VFIO_H

/* Ends with a mapping that the device writes to until somebody stops it. */
void run_vfio(void);

#endif
