# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh disable=SC2034,SC2154 # variables from and for scenario.sh
# The mediated device (tests/kmod/viommu_mdev) in the driver domain, for the parts that have it as a
# guest's endpoint. Sourced by scenario.sh.

mdev=c0ffee00-1234-4321-8abc-000000000001

# A command for the driver domain is one line: xenstore's tools do not carry newlines.
mdev_is_there() {
    mdev_create='/sys/devices/platform/viommu_mdev/mdev_supported_types/*/create'
    in_drv "for m in vfio vfio_iommu_type1 mdev viommu_mdev; do insmod /lib/\$m.ko; done" &&
        in_drv "echo $mdev >\$(echo $mdev_create)" &&
        in_drv "echo \$(ls -d /sys/bus/mdev/devices/$mdev /dev/vfio/[0-9]*)"
}

# companion ENDPOINT COMMANDS: what it says becomes one line.
companion() {
    in_drv "s=0; t=\$(viommuctl endpoint open-fd $device $1 -- edu $2 2>&1) || s=\$?; \
echo \$t; exit \$s"
}

# Once per boot, and before the worker that is to use it starts: its sandbox has /dev/vfio only then.
need_mdev() {
    [ "${mdev_made:-no}" = no ] || return 0
    mdev_made=yes
    check "the mediated device is there" mdev_is_there
    comment "$drv_out"
}
