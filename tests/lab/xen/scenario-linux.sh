# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh disable=SC2154
# The Xen lab's guests with a stock kernel: virtio_xenbus and Debian's virtio_iommu instead of the
# lab's own frontend. Sourced by scenario.sh when its own guests are done.

# What only the guests with a stock kernel ask; the output goes to $drv_out like the others'.
# shellcheck disable=SC2016 # for the driver domain's shell
linux_asks() {
    case $1 in
    linux-restart-daemon)
        # One line: xenstore-read shows a line break as two characters.
        restart='old=$(cat /run/lab-daemon.pid); kill $old;'
        restart="$restart"' while kill -0 $old 2>/dev/null; do sleep 0.1; done;'
        restart="$restart"' xen-viommud $(cat /lab/daemon-options 2>/dev/null)'
        restart="$restart"' >/dev/console 2>&1 & echo $! >/run/lab-daemon.pid'
        in_drv "$restart"
        ;;
    linux-has-mapping) in_drv "viommuctl mappings $device | grep -i $2" ;;
    linux-suspend) xenstore-write "/local/domain/$guest/control/shutdown" suspend ;;
    linux-storm) xenstore-write "/local/domain/$linux_neighbour/data/lab/storm" "$2" ;;
    linux-endpoint)
        if [ "$2" = add ]; then
            in_drv "viommuctl endpoint add $device id=$3 ${4:-driver=soft} ${5:-}"
        else
            in_drv "viommuctl endpoint remove $device $3"
        fi
        ;;
    linux-pci-endpoint) add_pci_endpoint ;;
    linux-memory) xl mem-set "$name" "$2" ;;
    linux-destroy-backend) xl destroy "$drv" ;;
    linux-detach) viommu-reattach detach "$guest" ;;
    linux-reattach)
        start_other_drv drv3 && viommu-reattach attach "$guest" "$drv" &&
            wait_for 20 in_drv "viommuctl list | grep $device" &&
            in_drv "viommuctl endpoint add $device id=8 driver=soft"
        ;;
    *) return 124 ;;
    esac
}

# The mediated device of the driver domain is what the guest's PCI device is behind an IOMMU.
add_pci_endpoint() {
    in_drv "viommuctl endpoint add $device id=9 driver=vfio device=$mdev guest=pci:0000:00:00.0"
}

# Gives the guest QEMU's edu device with pciback and pcifront: 0000:00:00.0 there. By hand, because
# xl wants an IOMMU below; the guest reads the device's configuration and does not use it.
give_pci() {
    load_modules xen-pciback
    edu=0000:00:05.0
    echo $edu >/sys/bus/pci/drivers/pciback/new_slot
    [ -e /sys/bus/pci/drivers/pciback/$edu ] || echo $edu >/sys/bus/pci/drivers/pciback/bind
    pci_be=/local/domain/0/backend/pci/$guest/0
    pci_fe=/local/domain/$guest/device/pci/0
    xenstore-write "$pci_fe" ''
    xenstore-chmod "$pci_fe" "n$guest" r0
    xenstore-write "$pci_fe/backend" "$pci_be" "$pci_fe/backend-id" 0 "$pci_fe/state" 1
    xenstore-write "$pci_be" ''
    xenstore-chmod "$pci_be" n0 "r$guest"
    xenstore-write "$pci_be/frontend-id" "$guest" "$pci_be/frontend" "$pci_fe" \
        "$pci_be/online" 1 "$pci_be/num_devs" 1 "$pci_be/dev-0" $edu "$pci_be/state-0" 1 \
        "$pci_be/state" 1
}

take_pci() {
    xenstore-rm "/local/domain/0/backend/pci/$guest" || true
}

# A driver domain that a guest may destroy; $drv is put back when that guest is done.
start_other_drv() {
    sed "s/^name = .*/name = \"$1\"/" /tmp/drv.cfg >"/tmp/$1.cfg"
    xl create "/tmp/$1.cfg"
    drv=$(xl domid "$1")
    drv_number=0
    wait_node 120 "/local/domain/$drv/data/lab/ready" \
        xenstore-exists "/local/domain/$drv/data/lab/ready"
}

# write_linux_config NAME TYPE CMDLINE [LINE...]
write_linux_config() {
    write_guest_config "$1" "$2"
    sed -i "s/^cmdline = .*/cmdline = \"console=hvc0 quiet $3\"/" "/tmp/$1.cfg"
    linux_config=/tmp/$1.cfg
    sed -i "s/backend=drv/backend=${linux_backend:-drv}/" "$linux_config"
    shift 3
    for config_line in "$@"; do
        echo "$config_line" >>"$linux_config"
    done
}

# run_linux NAME TYPE CMDLINE MODE [LINE...]: MODE is what init-guest gets after "linux".
run_linux() {
    name=$1
    wanted_guest || return 0
    linux_mode=$4
    linux_type=$2
    linux_cmdline=$3
    shift 4
    write_linux_config "$name" "$linux_type" "$linux_cmdline" "$@"
    if ! xl create -p "/tmp/$name.cfg"; then
        result 'not ok' "$name: stock xl creates the guest"
        return 0
    fi
    guest=$(xl domid "$name")
    data=/local/domain/$guest/data/lab
    device=$guest/0
    xenstore-write "$data/mode" "linux $linux_mode" "$data/pairs" "$linux_pairs"
    [ -z "${linux_settings:-}" ] || xenstore-write \
        "/local/domain/$drv/backend/virtio/$guest/0/viommu/config" "$linux_settings"
    check "$name: viommuctl adds a soft endpoint" \
        in_drv "viommuctl endpoint add $device id=8 driver=soft"
    if [ "${linux_pci:-no}" = yes ]; then
        check "$name: viommuctl adds the mediated device as the endpoint of a PCI device" \
            add_pci_endpoint
        check "$name: the guest gets a PCI device" give_pci
    fi
    xl unpause "$name"
    started=$(now)
    check "$name: the guest ran to its end" serve_guest $((600 + linux_pairs / 5))
    comment "$name: it took $(($(now) - started)) cs"
    relay_tap
    # The whole story for the serial log.
    sed "s/^/LINUX /" "/var/log/xen/console/guest-$name.log" | tr -d '\r' | grep -v 'TAP ok'
    [ "${linux_pci:-no}" = no ] || take_pci
    [ "${linux_keep:-no}" = yes ] || end_linux "$name"
}

wanted_guest() {
    case " $(cat /lab/guests) " in
    *" $name "*) return 0 ;;
    *) return 1 ;;
    esac
}

end_linux() {
    xl destroy "$1"
    check "$1: the guest is gone from xl list" gone "$1"
}

# ---- the part ------------------------------------------------------------------------------

linux_pairs=$(cat /lab/pairs)

part linux || return 0

run_linux linux1 pv '' "refused-pv on-demand"
run_linux linux5 pvh iommu.passthrough=1 "refused-passthrough on-demand"

first_drv=$drv
first_drv_number=$drv_number
name=linux2
if ! wanted_guest; then
    :
elif start_other_drv drv2; then
    linux_backend=drv2
    run_linux linux2 pvh iommu.strict=1 "dead on-demand timeout=8"
    for other in drv2 drv3; do
        xl destroy $other 2>/dev/null || true
    done
else
    result 'not ok' "a second driver domain starts"
fi
linux_backend=drv
drv=$first_drv
drv_number=$first_drv_number

linux_keep=yes
linux_settings=max-mappings=600
run_linux linux3 pvh iommu.strict=1 "full on-demand" 'max_grant_frames = 256'
linux_keep=no
linux_settings=''
linux_neighbour=${guest:-}
need_mdev
linux_pci=yes
run_linux linux4 pv iommu.strict=1 "pv on-demand"
linux_pci=no
name=linux3
! wanted_guest || end_linux linux3
