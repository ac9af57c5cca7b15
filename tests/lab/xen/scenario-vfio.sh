# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh disable=SC2034,SC2154 # variables from and for scenario.sh
# VFIO on real Xen: a mediated device of our own (tests/kmod/viommu_mdev) in the driver domain is
# the guest's endpoint. Sourced by scenario.sh, whose helpers it uses. There is no IOMMU in a Xen
# domain, but group, container and mappings are VFIO's own, and the pages are the guest's, through
# gntdev.

# The companion ends at once when it cannot have the device: then nobody else may be using it.
engine_runs() {
    companion 8 state
    case $drv_out in
    *running*) return 0 ;;
    *) return 1 ;;
    esac
}

run_vfio_guest() {
    name=$1
    write_guest_config "$name" "$2"
    check "$name: stock xl creates the guest" xl create -p "/tmp/$name.cfg"
    guest=$(xl domid "$name")
    data=/local/domain/$guest/data/lab
    device=$guest/0
    xenstore-write "$data/mode" vfio
    check "$name: viommuctl adds the mediated device as an endpoint" \
        in_drv "viommuctl endpoint add $device id=8 driver=vfio device=$mdev"
    [ -z "$drv_out" ] || comment "$name: $drv_out"
    xl unpause "$name"
    check "$name: the frontend ran to its end" serve_guest 240
    relay_tap
    check "$name: viommuctl show tells the group" in_drv "viommuctl show $device | grep -i group"
    check "$name: the device is writing when the guest is destroyed" engine_runs
    destroy_limit
    started=$(now)
    xl destroy "$name"
    took=$(($(now) - started))
    comment "$name: xl destroy in the middle of DMA took $took cs"
    check "$name: xl destroy ends the guest in less than $limit cs" \
        test "$took" -lt "$limit"
    check "$name: the guest is gone from xl list" gone "$name"
    check "$name: the driver domain's nodes of the guest are gone" \
        wait_for 5 no_node "/local/domain/$drv/backend/virtio/$guest/0"
    check "$name: no zombie is left" no_zombies
    check "$name: no page of any guest is mapped by VFIO or the daemon" no_grants_in_use
    check "$name: the device can be opened anew, its engine stands still" in_drv \
        "echo \$(edu --standalone $mdev map 0x100000 0 rw state write 0x101000 64) | \
grep 'state stopped write 0x101000 64 refused'"
}

no_grants_in_use() {
    guest_grants=$(grants_in_use) || return 1
    [ "$guest_grants" = 'in use: end' ]
}

need_mdev
run_vfio_guest vfio1 pvh
run_vfio_guest vfio2 pv
check "VFIO left no trace in the driver domain's kernel log" in_drv \
    '! dmesg | grep -E "BUG|Oops|WARNING|Bad page|Call Trace"'
