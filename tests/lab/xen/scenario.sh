# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
# What the Xen lab does, as dom0 sees it. Run by init-dom0: sh scenario.sh RESULTS
#
# Without a daemon in the driver domain's initramfs (run --platform) only the platform is shown:
# domains, device nodes, grants and event channels in the guest.
set -eu
# shellcheck source-path=SCRIPTDIR source=domain.sh
. /lab/domain.sh

results=$1
count=0
if [ -e /lab/platform-only ]; then mode=platform; else mode=device; fi

# ---- results -------------------------------------------------------------------------------

result() {
    count=$((count + 1))
    echo "$1 $count - $2" >>"$results"
    progress "$1 $count - $2"
}

progress() {
    read -r progress_up _ </proc/uptime
    echo "[$progress_up] $1"
}

# check DESCRIPTION COMMAND...: one test, passed when the command succeeds.
check() {
    check_text=$1
    shift
    if "$@"; then
        result ok "$check_text"
    else
        result 'not ok' "$check_text"
    fi
}

comment() {
    echo "# $*" >>"$results"
    progress "# $*"
}

# ---- the driver domain ---------------------------------------------------------------------

drv_number=0

# in_drv COMMAND: runs a shell command in the driver domain; its output ends up in $drv_out.
in_drv() {
    drv_number=$((drv_number + 1))
    xenstore-write "/local/domain/$drv/data/lab/run" "$drv_number $1"
    if ! wait_for 90 wait_node 20 "/local/domain/$drv/data/lab/ran" drv_answered; then
        drv_out="no answer from the driver domain to: $1"
        return 125
    fi
    drv_out=$(store_read "/local/domain/$drv/data/lab/out") || drv_out=''
    return "$drv_status"
}

drv_answered() {
    drv_line=$(store_read "/local/domain/$drv/data/lab/ran") || return 1
    [ "${drv_line%% *}" = "$drv_number" ] || return 1
    drv_status=${drv_line#* }
}

start_drv() {
    cat >/tmp/drv.cfg <<END
name = "drv"
type = "pv"
memory = 256
vcpus = 1
kernel = "/boot/vmlinuz"
ramdisk = "/boot/drv.cpio"
cmdline = "console=hvc0 quiet"
driver_domain = 1
on_crash = "destroy"
END
    xl create /tmp/drv.cfg
    drv=$(xl domid drv)
    wait_node 60 "/local/domain/$drv/data/lab/ready" \
        xenstore-exists "/local/domain/$drv/data/lab/ready"
}

# ---- one guest -----------------------------------------------------------------------------

write_guest_config() {
    # Its own, when the lab was told to give it another than the other domains'.
    guest_image=/boot/vmlinuz-guest
    [ -e $guest_image ] || guest_image=/boot/vmlinuz
    cat >"/tmp/$1.cfg" <<END
name = "$1"
type = "$2"
memory = 256
vcpus = 1
kernel = "$guest_image"
ramdisk = "/boot/guest.cpio"
cmdline = "console=hvc0 quiet"
on_crash = "destroy"
on_reboot = "destroy"
virtio = ["type=virtio,device17,transport=mmio,grant_usage=1,backend=drv"]
END
    # The emulated processor has no RDTSCP to emulate the time stamp counter with, and loses HVM
    # guests that move from one processor to the other (docs/testing.md).
    [ "$2" != pvh ] || printf '%s\n' 'tsc_mode = "native"' 'cpus = "1"' >>"/tmp/$1.cfg"
}

# The nodes that stock libxl writes for the one virtio line, on both sides.
nodes_are_there() {
    be=/local/domain/$drv/backend/virtio/$guest/0
    fe=/local/domain/$guest/device/virtio/0
    store_is "$be/frontend" "$fe" && store_is "$be/frontend-id" "$guest" &&
        store_is "$be/online" 1 && store_is "$be/type" virtio,device17 &&
        store_is "$be/transport" mmio && store_is "$be/grant_usage" 1 &&
        store_is "$be/base" 0 && store_is "$be/irq" 0 &&
        store_is "$fe/backend" "$be" && store_is "$fe/backend-id" "$drv"
}

# What the guest asks of the other domains: it writes "NUMBER VERB ARGUMENTS" into its data/lab/ask
# and waits for "NUMBER STATUS TEXT" in data/lab/answer. "done" is the last request.
serve_guest() {
    served=0
    frontend=running
    wait_node "$1" "$data" serve_one || comment "$name: the guest did not finish in time"
    [ "$frontend" = finished ]
}

# True when the frontend has ended in one way or another.
serve_one() {
    if xenstore-exists "$data/ended"; then
        comment "$name: the frontend died"
        frontend=dead
        return 0
    fi
    # A fault of the emulated processor "reboots" a guest, which these are configured not to survive.
    if ! xenstore-exists "/local/domain/$guest/name"; then
        comment "$name: the guest is gone"
        frontend=dead
        return 0
    fi
    ask=$(store_read "$data/ask") || return 1
    number=${ask%% *}
    [ "$number" != "$served" ] || return 1
    served=$number
    text=''
    status=0
    if [ "${ask#* }" = "done" ]; then
        frontend=finished
    else
        # shellcheck disable=SC2086 # the words of the request
        guest_asks ${ask#* } || status=$?
    fi
    # Nothing but the first line, and not too much of it: nodes are small.
    text=$(printf '%s\n' "$text" | head -n 1 | head -c 1000)
    xenstore-write "$data/answer" "$number $status $text"
    [ "$frontend" = finished ]
}

# The words of a request; what comes of it goes to $text and the status.
guest_asks() {
    asks_status=0
    drv_out=''
    case $1 in
    dma-write) in_drv "viommuctl dma write $device $2 $3 $4" || asks_status=$? ;;
    dma-read) in_drv "viommuctl --json dma read $device $2 $3 $4" || asks_status=$? ;;
    device)
        shift
        asks_endpoint=$1
        shift
        companion "$asks_endpoint" "$*" || asks_status=$?
        ;;
    grants)
        text=$(grants_in_use) || return $?
        return 0
        ;;
    linux-*) linux_asks "$@" || asks_status=$? ;;
    recover-*) recover_asks "$@" || asks_status=$? ;;
    *) return 124 ;;
    esac
    text=$drv_out
    return $asks_status
}

# The guest's grants that the driver domain has mapped at this moment, from the hypervisor itself.
# Its lines are "(XEN) [0x008]  GRANTEE FRAME ...", below a heading for each granting domain.
grants_in_use() {
    xl dmesg -c >/dev/null
    xl debug-keys g
    xl dmesg >/tmp/grants
    # Without the last line the answer would be made of a part of the list.
    grep -q 'gnttab_usage_print_all ] done' /tmp/grants || return 123
    echo "in use: $(awk -v guest="d$guest" -v drv="$drv" '
        /grant-table for remote/ { ours = 0; for (i = 1; i <= NF; i++) if ($i == guest) ours = 1 }
        ours && match($0, /\[0x[0-9a-f]+\]/) {
            ref = substr($0, RSTART + 1, RLENGTH - 2)
            $0 = substr($0, RSTART + RLENGTH)
            if ($1 == drv) printf "%s ", ref
        }' /tmp/grants)end"
}

# The guest's own TAP lines ("TAP ok TEXT") become ours. It says how many there were.
relay_tap() {
    relay_log=/var/log/xen/console/guest-$name.log
    tr -d '\r' <"$relay_log" | sed -n 's/^.*TAP \(ok\|not ok\|#\|end\) /\1|/p' >/tmp/tap
    relay_seen=0
    relay_said=none
    while IFS='|' read -r verdict text; do
        case $verdict in
        '#') comment "$name: $text" ;;
        end) relay_said=$text ;;
        *)
            relay_seen=$((relay_seen + 1))
            result "$verdict" "$name: $text"
            ;;
        esac
    done </tmp/tap
    check "$name: all of the frontend's results arrived ($relay_seen of $relay_said)" \
        test "$relay_seen" = "$relay_said"
}

in_list() {
    xl list | awk -v n="$1" 'NR > 1 && $1 == n { found = 1 } END { exit !found }'
}

run_guest() {
    name=$1
    kind=$2
    write_guest_config "$name" "$kind"
    started=$(now)
    if ! xl create -p "/tmp/$name.cfg"; then
        result 'not ok' "$name: stock xl creates the guest"
        return 0
    fi
    result ok "$name: stock xl creates the guest"
    guest=$(xl domid "$name")
    data=/local/domain/$guest/data/lab
    device=$guest/0
    comment "$name: xl create took $(($(now) - started)) cs"
    check "$name: xl wrote the device's nodes in the driver domain and in the guest" \
        nodes_are_there
    xenstore-ls -p "$be"
    xenstore-ls -p "$fe"

    xenstore-write "$data/mode" "$mode"
    [ "$mode" = platform ] || add_endpoints
    xl unpause "$name"
    check "$name: the frontend ran to its end" serve_guest 240
    relay_tap
    [ "$mode" = platform ] || show_device
    destroy_guest
}

# One endpoint by the tool, one by hand as docs/protocol.md allows: the guest is still paused.
add_endpoints() {
    check "$name: viommuctl adds a soft endpoint" \
        in_drv "viommuctl endpoint add $device id=8 driver=soft"
    [ -z "$drv_out" ] || echo "$drv_out"
    xenstore-write "$be/viommu/endpoint-00000009" \
        'id=0x9 driver=soft resv=0x50000000:0x50000fff:reserved'
    check "$name: the backend shows both endpoints to the guest" \
        wait_node 10 "$be/viommu-endpoints" shows_endpoint_9
}

shows_endpoint_9() {
    case $(store_read "$be/viommu-endpoints") in
    *id=0x9*) return 0 ;;
    *) return 1 ;;
    esac
}

# What the administrator sees while the guest is still there.
show_device() {
    check "$name: viommuctl show" in_drv "viommuctl show $device"
    check "$name: viommuctl mappings shows the last mapping" \
        in_drv "viommuctl mappings $device | grep -i 100000"
    # All of the above was done in here: by a filtered process without capabilities, whose grants
    # a thread of the supervisor maps (libxenstore has another one).
    # One line without a backslash: xenstore-read would print both otherwise.
    status="/proc/\$(viommuctl show $device | grep ^worker | tr -s ' ' | cut -d ' ' -f 2)/status"
    wanted='^(Seccomp:.2|NoNewPrivs:.1|Cap(Prm|Eff|Bnd):.0+)$'
    check "$name: the worker is in its sandbox" \
        in_drv "grep -E '$wanted' $status && test 5 = \$(grep -c -E '$wanted' $status)"
    # shellcheck disable=SC2016 # for the driver domain's shell
    check "$name: and the supervisor has its grant broker" \
        in_drv 'grep -E "^Threads:.([3-9]|..)" "/proc/$(cat /run/lab-daemon.pid)/status"'
}

# DMA goes on in the driver domain until it fails: the guest is destroyed under it.
start_dma() {
    dma="viommuctl dma write $device 8 0x100000 00"
    # One line: xenstore-read would print a line end as \\n.
    loop="(while $dma; do echo x >>/tmp/dma; done) >/dev/null 2>&1 &"
    in_drv "rm -f /tmp/dma; $loop until test -s /tmp/dma; do sleep 0.1; done"
}

destroy_guest() {
    if [ "$mode" = device ]; then
        check "$name: DMA is going on" start_dma
    fi
    destroy_limit
    started=$(now)
    xl destroy "$name"
    took=$(($(now) - started))
    comment "$name: xl destroy took $took cs"
    check "$name: xl destroy ends the guest in less than $limit cs" test $took -lt $limit
    check "$name: the guest is gone from xl list" gone "$name"
    check "$name: the driver domain's nodes of the guest are gone" \
        wait_for 5 no_node "/local/domain/$drv/backend/virtio/$guest/0"
}

# 2 s on a machine that is not busy. On a busy one everything is slower, xl itself included: the
# limit grows with the time of a bare `xl list` (15 cs when quiet), but stays below the 10 s that
# libxl waits for a backend that does not answer.
destroy_limit() {
    started=$(now)
    xl list >/dev/null
    took=$(($(now) - started))
    limit=$((took * 12))
    # The shell that stands in for the daemon is slow.
    [ "$mode" = device ] || limit=900
    [ $limit -gt 200 ] || limit=200
    [ $limit -lt 900 ] || limit=900
    comment "$name: xl list alone takes $took cs on this machine"
}

# Guests that are destroyed before they have said anything, and in the middle of the handshake: paused
# ones, for which dom0 writes what a frontend would.
destroy_early() {
    name=early
    write_guest_config $name pvh
    for early_step in "in state 1" "right after state 3"; do
        check "$early_step: xl creates a paused guest" xl create -p /tmp/$name.cfg
        guest=$(xl domid $name)
        check "$early_step: its device is offered" nodes_are_offered
        [ "$early_step" = "in state 1" ] ||
            xenstore-write "$fe/viommu-version" 1 "$fe/viommu-features" 0x300000004 \
                "$fe/viommu-control" "ref=9 port=1" \
                "$fe/viommu-queue-0" "size=16 desc=0x8000000000009000 driver=0x800000000000a000 device=0x800000000000b000 port=2" \
                "$fe/viommu-queue-1" "size=16 desc=0x8000000000009000 driver=0x800000000000a000 device=0x800000000000b000 port=3" \
                "$fe/state" 3
        check "$early_step: xl destroy ends it" xl destroy $name
        check "$early_step: the guest is gone from xl list" gone $name
        check "$early_step: the driver domain's nodes of it are gone" wait_for 5 no_node "$be"
        check "$early_step: the daemon has no device of it" in_drv "! viommuctl list | grep $guest/0"
    done
}

nodes_are_offered() {
    nodes_are_there && wait_node 20 "$be/state" store_is "$be/state" 2
}

gone() {
    ! in_list "$1"
}

no_node() {
    ! xenstore-exists "$1"
}

# A domain whose memory somebody still holds stays in the list as a zombie without a name.
no_zombies() {
    xl list
    xl list | awk 'NR > 1 && ($1 == "(null)" || $5 ~ /s|d/) { bad = 1 } END { exit bad }'
}

# ---- the lab -------------------------------------------------------------------------------

check "the driver domain starts and is ready" start_drv
check "the driver domain reports no trouble" store_is "/local/domain/$drv/data/lab/ready" yes
check "the driver domain has /dev/xen/gntdev, evtchn and xenbus" in_drv \
    'test -c /dev/xen/gntdev && test -c /dev/xen/evtchn && test -c /dev/xen/xenbus'

# part NAME: is this part of the scenario wanted?
part() {
    [ -e /lab/only ] || return 0
    case " $(cat /lab/only) " in
    *" $1 "*) return 0 ;;
    *) return 1 ;;
    esac
}

# shellcheck source-path=SCRIPTDIR source=scenario-mdev.sh
. /lab/scenario-mdev.sh
if part user; then
    run_guest pvh1 pvh
    run_guest pv1 pv
    [ "$mode" = platform ] || destroy_early
fi
if [ "$mode" = device ] && { part linux || part recover; }; then
    # Without the first part only its functions.
    # shellcheck source-path=SCRIPTDIR source=scenario-linux.sh
    . /lab/scenario-linux.sh
fi
if [ "$mode" = device ] && part vfio; then
    # shellcheck source-path=SCRIPTDIR source=scenario-vfio.sh
    . /lab/scenario-vfio.sh
fi
if [ "$mode" = device ] && part recover; then
    # shellcheck source-path=SCRIPTDIR source=scenario-recover.sh
    . /lab/scenario-recover.sh
fi

# shellcheck source-path=SCRIPTDIR source=scenario-bare.sh
. /lab/scenario-bare.sh
check "no zombie is left" no_zombies
if [ "$mode" = device ]; then
    # shellcheck disable=SC2016 # for the driver domain's shell
    check "the daemon has survived" in_drv 'kill -0 "$(cat /run/lab-daemon.pid)" && viommuctl list'
    check "the daemon has no device left" in_drv '! viommuctl list | grep -E "[0-9]+/0"'
fi
check "the driver domain's kernel has nothing to complain about" in_drv \
    '! dmesg | grep -E "BUG|Oops|WARNING|Bad page|Call Trace"'
echo "1..$count" >>"$results"
# What the daemon had to say, where somebody will want to know.
if grep -q '^not ok' "$results"; then
    tr -d '\r' </var/log/xen/console/guest-drv.log | tail -n 400 | sed 's/^/DRV /'
fi
