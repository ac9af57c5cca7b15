# SPDX-License-Identifier: GPL-2.0-only

if HAVE_XEN
man_MANS += docs/man/xen-viommud.8 docs/man/viommuctl.8
endif
TEMPLATES += docs/man/xen-viommud.8 docs/man/viommuctl.8
EXTRA_DIST += docs/threat-model.md docs/architecture.md docs/porting.md
