# SPDX-License-Identifier: GPL-2.0-only
include tests/support/fakexen/local.mk
include tests/support/guest/local.mk
include tests/support/hostile/local.mk
