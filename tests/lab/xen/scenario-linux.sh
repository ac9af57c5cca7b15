# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
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
            in_drv "viommuctl endpoint add $device id=$3 driver=soft"
        else
            in_drv "viommuctl endpoint remove $device $3"
        fi
        ;;
    linux-destroy-backend) xl destroy "$linux_drv" ;;
    *) return 124 ;;
    esac
}

# A driver domain that a guest may destroy; $drv is put back when that guest is done.
start_second_drv() {
    sed 's/^name = .*/name = "drv2"/' /tmp/drv.cfg >/tmp/drv2.cfg
    xl create /tmp/drv2.cfg
    drv=$(xl domid drv2)
    linux_drv=$drv
    wait_node 60 "/local/domain/$drv/data/lab/ready" \
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
    check "$name: viommuctl adds a soft endpoint" \
        in_drv "viommuctl endpoint add $device id=8 driver=soft"
    xl unpause "$name"
    started=$(now)
    check "$name: the guest ran to its end" serve_guest $((600 + linux_pairs / 5))
    comment "$name: it took $(($(now) - started)) cs"
    relay_tap
    # The whole story for the serial log.
    sed "s/^/LINUX /" "/var/log/xen/console/guest-$name.log" | tr -d '\r' | grep -v 'TAP ok'
    [ "${linux_keep:-no}" = yes ] || end_linux "$name"
}

end_linux() {
    xl destroy "$1"
    check "$1: the guest is gone from xl list" gone "$1"
}

linux_pairs=$(cat /lab/pairs)

run_linux linux1 pv '' "refused-pv on-demand"

first_drv=$drv
first_drv_number=$drv_number
drv_number=0
if start_second_drv; then
    linux_backend=drv2
    run_linux linux2 pvh iommu.strict=1 "dead on-demand timeout=8"
    xl destroy drv2 2>/dev/null || true
else
    result 'not ok' "a second driver domain starts"
fi
linux_backend=drv
drv=$first_drv
drv_number=$first_drv_number

linux_keep=yes
run_linux linux3 pvh iommu.strict=1 "full on-demand" 'max_grant_frames = 256'
linux_keep=no
linux_neighbour=$guest
run_linux linux4 pv iommu.strict=1 "pv on-demand"
end_linux linux3
