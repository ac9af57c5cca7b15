# SPDX-License-Identifier: GPL-2.0-only

TEMPLATES += scripts/xen-viommud.service
EXTRA_DIST += scripts/viommu-reattach
if HAVE_XEN
if INSTALL_UNITS
systemdsystemunit_DATA = scripts/xen-viommud.service
endif
endif
