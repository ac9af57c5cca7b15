/* SPDX-License-Identifier: GPL-2.0-only */
/* The supervisor's side of brokered grants on Xen. */
#ifndef VIOMMU_BACKEND_PLATFORM_XEN_BROKER_H
#define VIOMMU_BACKEND_PLATFORM_XEN_BROKER_H

#include "backend/platform/broker.h"

extern const struct broker_ops xen_broker;

#endif
