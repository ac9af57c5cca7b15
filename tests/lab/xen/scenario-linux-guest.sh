#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# What a guest of the Xen lab does with the kernel's own virtio_iommu driver: run by init-guest as
# scenario-linux-guest.sh PROGRAM GRANTS [MODULE-PARAMETER...]
#
# Results are lines "TAP ok TEXT" on the console, the last is "TAP end COUNT". The test endpoint
# (tests/kmod) knows nothing but the DMA API; what its device does is asked of dom0, which has it
# done in the driver domain.
set -u
# shellcheck source-path=SCRIPTDIR source=domain.sh
. /lab/domain.sh

count=0
asked=0
program=$1
grants=$2
pairs=$(store_read data/lab/pairs)
shift 2

# ---- results, dom0, the test endpoint ------------------------------------------------------

check() {
    check_text=$1
    shift
    count=$((count + 1))
    if "$@"; then
        echo "TAP ok $check_text"
    else
        echo "TAP not ok $check_text"
    fi
}

comment() {
    echo "TAP # $*"
}

finish() {
    dmesg | grep -iE 'virtio|viommu|iommu' | tail -n 60 | sed 's/^/DMESG /'
    dmesg | grep -E 'BUG|Oops|WARNING|Call Trace|Bad page' && comment "the kernel complains"
    # Where requests fail on purpose the stock driver itself says so with a WARNING.
    [ "${quiet:-yes}" = no ] ||
        check "the guest's kernel has nothing to complain about" quiet_kernel
    echo "TAP end $count"
    ask "done"
    storm
}

# Load for the sake of another guest, while dom0 wants it.
storm() {
    while :; do
        wait_node 600 data/lab/storm store_is data/lab/storm 1
        while store_is data/lab/storm 1; do
            t churn 200 16384
        done
    done
}

quiet_kernel() {
    ! dmesg | grep -qE 'BUG|Oops|WARNING|Call Trace|Bad page'
}

# ask WORDS...: dom0 does it; the status is its status, and $text the first line it said.
ask() {
    asked=$((asked + 1))
    xenstore-write data/lab/ask "$asked $*"
    [ "$*" != "done" ] || return 0
    # On a machine that is very busy a watch has been seen to end early: it is set again.
    wait_for 240 wait_node 30 data/lab/answer answered || {
        text='no answer from dom0'
        return 125
    }
    return "$status"
}

answered() {
    answer=$(store_read data/lab/answer) || return 1
    [ "${answer%% *}" = "$asked" ] || return 1
    answer=${answer#* }
    status=${answer%% *}
    text=${answer#"$status"}
    text=${text# }
}

# t COMMAND...: one command to the test endpoint; its answer goes to $said.
t() {
    if echo "$*" 2>/dev/null >/dev/viommu-test; then
        said=$(cat /dev/viommu-test)
        return 0
    fi
    said=$(cat /dev/viommu-test)
    return 1
}

# Makes a buffer: $id and $iova.
buffer() {
    if ! t "$@"; then
        comment "$*: $said"
        id=9999
        iova=0
        return 1
    fi
    id=${said%% *}
    iova=${said#* }
    # Without leading zeros, as the kernel's messages have it.
    iova=$(plus "${iova%% *}" 0)
}

# plus ADDRESS NUMBER
plus() {
    printf '0x%x' $(($1 + $2))
}

device_writes() {
    ask dma-write 8 "$1" "$2" || {
        comment "the device cannot write (status $status): $text"
        return 1
    }
}

# The device reads and sees these bytes.
device_reads() {
    ask dma-read 8 "$1" $((${#2} / 2)) || {
        # Also where this is what is wanted.
        comment "the device cannot read (status $status): $text"
        return 1
    }
    case $text in
    *"$2"*) return 0 ;;
    *)
        comment "the device read: $text"
        return 1
        ;;
    esac
}

device_refused() {
    ! "$@"
}

cpu_sees() {
    t get "$1" "$2" $((${#3} / 2)) && [ "$said" = "$3" ]
}

parameter() {
    cat "/sys/module/virtio_xenbus/parameters/$1"
}

kernel_says() {
    dmesg | grep -q "$1"
}

# Not on this kernel: counted as skipped, with the reason.
skip() {
    count=$((count + 1))
    echo "TAP ok $1 # SKIP $2"
}

# What 6.1's driver and IOMMU core cannot do.
is_6_1() {
    case $(uname -r) in
    6.1.*) return 0 ;;
    *) return 1 ;;
    esac
}

# ---- steps ---------------------------------------------------------------------------------

endpoint_bound() {
    [ -n "$(ls -d /sys/bus/platform/drivers/viommu-endpoint/viommu-endpoint.* 2>/dev/null)" ]
}

driver_bound() {
    [ -e /sys/bus/virtio/drivers/virtio_iommu/virtio0 ] ||
        [ -n "$(ls -d /sys/bus/virtio/drivers/virtio_iommu/virtio[0-9]* 2>/dev/null)" ]
}

group_has_endpoint() {
    [ -n "$(ls -d /sys/kernel/iommu_groups/*/devices/viommu-endpoint.* 2>/dev/null)" ]
}

load() {
    if is_6_1; then
        [ -e /sys/module/virtio_ring ] || load_modules virtio virtio_ring
    fi
    [ -e /sys/module/virtio_iommu ] || load_modules virtio-iommu viommu_test
    insmod /lib/virtio_xenbus.ko grants="$grants" "$@" || comment "insmod failed"
}

step_start() {
    load "$@"
    check "stock virtio_iommu binds to virtio_xenbus" wait_for 60 driver_bound
    check "the test endpoint appears and binds" wait_for 60 endpoint_bound
    check "/sys/kernel/iommu_groups shows the endpoint" group_has_endpoint
    comment "group type: $(cat /sys/kernel/iommu_groups/*/type)"
}

# check_buffer WHAT COMMAND...: a buffer for both directions; first and last bytes, both ways.
check_buffer() {
    check_what=$1
    size=$2
    shift 2
    check "$check_what is mapped" buffer "$@"
    check "$check_what: the device writes, the CPU sees it" device_writes "$iova" 0123456789abcdef
    check "$check_what: at the first byte" cpu_sees "$id" 0 0123456789abcdef
    check "$check_what: the device writes the last bytes" \
        device_writes "$(plus "$iova" $((size - 4)))" cafe0042
    check "$check_what: at the last byte" cpu_sees "$id" $((size - 4)) cafe0042
    check "$check_what: the CPU writes" t put "$id" 8 5eed5eed
    check "$check_what: the device reads it" device_reads "$(plus "$iova" 8)" 5eed5eed
}

free_buffer() {
    check "$1 is freed" t free "$id"
}

step_dma() {
    check_buffer "dma_alloc_coherent of 16 KiB" 16384 coherent 16384
    free_buffer "it"
    check_buffer "dma_map_single of 4 KiB" 4096 single 4096 both
    free_buffer "it"
    check_buffer "dma_map_single of 2 MiB" 2097152 single 2097152 both
    free_buffer "it"
    check_buffer "a scatterlist of 40 pages" 163840 sg 40 both
    free_buffer "it"
}

step_directions() {
    check "a buffer to the device" buffer single 4096 to
    check "the CPU fills it" t put "$id" 0 600df00d
    check "the device reads it" device_reads "$iova" 600df00d
    check "the device must not write it" device_refused device_writes "$iova" 00000000
    check "nothing has changed" cpu_sees "$id" 0 600df00d
    check "virtio_iommu prints the fault" \
        wait_for 5 kernel_says "fault from EP 8 at $iova \[W"
    free_buffer "it"
    check "a buffer from the device" buffer single 4096 from
    check "the device writes it" device_writes "$iova" 0badcafe
    check "the CPU sees it" cpu_sees "$id" 0 0badcafe
    check "the device must not read it" device_refused device_reads "$iova" 0badcafe
    free_buffer "it"
}

step_outside() {
    check "DMA where nothing is mapped is refused" device_refused device_writes 0x123000 00
    check "virtio_iommu prints the fault of that" \
        wait_for 5 kernel_says 'fault from EP 8 at 0x123000 \[W'
    check "a buffer for a while" buffer coherent 4096
    gone=$iova
    free_buffer "it"
    [ "$1" = lazy ] || check "DMA to a freed buffer is refused" device_refused device_writes "$gone" 00
}

step_many() {
    check "200 buffers of 8 KiB at once" t hold 200 8192
    comment "references held by mappings: $(parameter reserved)"
    check "all are freed" t freeall
}

# viommu/config of this guest says max-mappings=600.
step_limit() {
    if is_6_1; then
        check "of 650 buffers those over the limit are refused" device_refused t hold 650 4096
    else
        check "650 buffers are mapped, as far as a caller of the DMA API can see" t hold 650 4096
    fi
    check "the first MAP that was refused is printed, with range, vdomain and status" wait_for 5 \
        kernel_says 'MAP of 0x[0-9a-f]*-0x[0-9a-f]* in vdomain [0-9]* refused with status 8'
    check "and no other" test "$(dmesg | grep -c 'refused with status 8')" = 1
    check "all are freed" t freeall
}

step_churn() {
    check "$pairs pairs of map and unmap" t churn "$pairs" 16384
    comment "$pairs pairs took (ns in all, median, p99): ${said#* }"
}

no_grant_left() {
    [ "$(parameter reserved)" = 0 ] && [ "$(parameter quarantined)" = 0 ]
}

step_no_leak() {
    [ "$grants" = static ] || check "no reference is held by a mapping, none in quarantine" \
        wait_for 15 no_grant_left
}

step_rebind() {
    name=$(basename "$(ls -d /sys/bus/virtio/drivers/virtio_iommu/virtio[0-9]*)")
    check "the driver unbinds" eval "echo $name >/sys/bus/virtio/drivers/virtio_iommu/unbind"
    check "the endpoint goes with it" eval '! endpoint_bound'
    check "the hypervisor says that no grant is mapped" no_grant_mapped
    check "the driver binds again" eval "echo $name >/sys/bus/virtio/drivers/virtio_iommu/bind"
    check "the endpoint is back" wait_for 60 endpoint_bound
    check_buffer "after that: dma_alloc_coherent" 4096 coherent 4096
    free_buffer "it"
}

no_grant_mapped() {
    ask grants && comment "grants $text" && [ "$text" = "in use: end" ]
}

step_reload() {
    # xenbus holds its drivers while they are bound.
    xen_name=$(basename "$(ls -d /sys/bus/xen/drivers/virtio_xenbus/virtio-*)")
    check "virtio_xenbus unbinds" eval "echo $xen_name >/sys/bus/xen/drivers/virtio_xenbus/unbind"
    check "virtio_xenbus is unloaded" rmmod virtio_xenbus
    check "the hypervisor says that no grant is mapped now" no_grant_mapped
    check "virtio_xenbus is loaded again" insmod /lib/virtio_xenbus.ko grants="$grants" "$@"
    check "the endpoint is there again" wait_for 60 endpoint_bound
    check_buffer "after that: dma_map_single" 4096 single 4096 both
    free_buffer "it"
}

group_type_is() {
    [ "$(cat /sys/kernel/iommu_groups/*/type)" = "$1" ]
}

# The endpoint's default domain becomes another type, as an administrator does it.
step_type() {
    if [ "$2" = refused ] && is_6_1; then
        skip "a domain of type $1 is refused" \
            "6.1's IOMMU core leaves the endpoint without the domain it had"
        return
    fi
    endpoint=$(basename "$(ls -d /sys/bus/platform/drivers/viommu-endpoint/viommu-endpoint.*)")
    group=$(readlink -f "/sys/bus/platform/devices/$endpoint/iommu_group")
    echo "$endpoint" >/sys/bus/platform/drivers/viommu-endpoint/unbind
    if [ "$2" = works ]; then
        check "the endpoint's domain becomes $1" eval "echo $1 >$group/type"
    else
        check "a domain of type $1 is refused" eval "! echo $1 >$group/type"
        check "and the message says why" kernel_says "$3"
    fi
    check "the endpoint binds again" \
        eval "echo $endpoint >/sys/bus/platform/drivers/viommu-endpoint/bind"
    comment "group type: $(cat "$group/type")"
}

# The toolstack asks for a suspend, as for save and migration.
step_suspend() {
    check "dom0 asks for a suspend" ask linux-suspend
    check "it is refused, and why" wait_for 20 kernel_says 'suspend and migration are refused'
    check_buffer "after that: dma_alloc_coherent" 4096 coherent 4096
    free_buffer "it"
}

endpoints_are() {
    # shellcheck disable=SC2012 # the names are the kernel's
    [ "$(ls -d /sys/kernel/iommu_groups/*/devices/viommu-endpoint.* 2>/dev/null | wc -l)" = "$1" ]
}

step_hotplug() {
    check "an endpoint is added" ask linux-endpoint add 0x20
    check "it appears in a group of its own" wait_for 20 endpoints_are 2
    check "it is removed" ask linux-endpoint remove 0x20
    check "it goes" wait_for 20 endpoints_are 1
    check "an endpoint for a PCI device that no IOMMU is programmed for" \
        ask linux-endpoint add 0x21 driver=soft guest=pci:0000:00:00.0
    check "is not shown, and the message says why" wait_for 20 kernel_says \
        'endpoint 0x21: no IOMMU is programmed for the PCI device, so it keeps its own DMA'
    check "it is removed too" ask linux-endpoint remove 0x21
    check_buffer "the other works on" 4096 coherent 4096
    free_buffer "it"
}

# ---- a PCI device ------------------------------------------------------------------------------

pci=0000:00:00.0

pci_in_group() {
    [ -e /sys/bus/pci/drivers/viommu-edu/$pci ] &&
        [ -n "$(ls -d /sys/kernel/iommu_groups/*/devices/$pci 2>/dev/null)" ]
}

pci_without_group() {
    [ -e /sys/bus/pci/drivers/viommu-edu/$pci ] && [ ! -e /sys/bus/pci/devices/$pci/iommu_group ]
}

no_pci() {
    [ ! -e /sys/bus/pci/devices/$pci ]
}

# The engine of the mediated device copies.
engine() {
    ask device 9 "$@" || return 1
    case $text in
    *refused*) return 1 ;;
    esac
}

# The engine cannot, and says so.
engine_refused() {
    ask device 9 "$@"
    case $text in
    *refused*) return 0 ;;
    esac
    comment "the engine: $text"
    return 1
}

pci_dma() {
    check "$1: the PCI device is used" t use $pci
    check "$1: a buffer of the PCI device" buffer coherent 8192
    check "$1: the CPU writes" t put "$id" 0 1badb002feedf00d
    check "$1: the device copies, through VFIO's container in the driver domain" \
        engine "read $iova 64 write $(plus "$iova" 4096) 64"
    check "$1: the CPU sees the copy" cpu_sees "$id" 4096 1badb002feedf00d
    check "$1: a buffer to the device" buffer single 4096 to
    check "$1: the engine reads it" engine "read $iova 64"
    check "$1: it must not write it" engine_refused "write $iova 64"
    gone=$iova
    check "$1: they are freed" t freeall
    check "$1: the engine is refused there" engine_refused "read $gone 64"
}

# dma=translated and guest=pci:...: a device that comes later, then one that is there already.
step_pci() {
    soft=$(basename "$(ls -d /sys/bus/platform/drivers/viommu-endpoint/viommu-endpoint.*)")
    load_modules xen-pcifront
    check "a PCI device that comes is put behind the IOMMU" wait_for 60 pci_in_group
    pci_dma "PCI"
    t use "$soft"
    check "its endpoint is removed" ask linux-endpoint remove 9
    check "the PCI device is taken out" wait_for 20 no_pci
    echo 1 >/sys/bus/pci/rescan
    check "found again, it is behind no IOMMU" wait_for 20 pci_without_group
    check "its endpoint is added" ask linux-pci-endpoint
    check "the PCI device that was there already is put behind the IOMMU" wait_for 20 pci_in_group
    pci_dma "PCI again"
    t use "$soft"
}

# Another guest of the same backend works while this one does.
step_neighbour() {
    check "$1 pairs alone" t churn "$1" 16384
    comment "alone: ns in all, median and p99 of a pair: ${said#* }"
    check "another guest works meanwhile" ask linux-storm 1
    sleep 2
    check "$1 pairs beside it" t churn "$1" 16384
    comment "beside another guest under load: ${said#* }"
    ask linux-storm 0
}

step_lazy() {
    if is_6_1; then
        skip "lazy flushing" "6.1's virtio_iommu has none: it does not send what it defers"
        return
    fi
    step_type DMA-FQ works
    check_buffer "lazy: dma_alloc_coherent" 8192 coherent 8192
    free_buffer "it"
    step_churn
    check "lazy: 200 buffers of 8 KiB at once" t hold 200 8192
    check "lazy: all are freed" t freeall
    step_no_leak
}

step_identity() {
    step_type identity works
    check_buffer "passthrough: dma_alloc_coherent" 8192 coherent 8192
    check "passthrough: the address is the guest's own" test $((iova)) -lt $((0x40000000))
    free_buffer "it"
    step_type DMA works
}

unload() {
    xen_name=$(basename "$(ls -d /sys/bus/xen/drivers/virtio_xenbus/virtio-*)")
    echo "$xen_name" >/sys/bus/xen/drivers/virtio_xenbus/unbind && rmmod virtio_xenbus
}

# step_refused MESSAGE: the module as it is now gives that message and shows no endpoint.
step_refused() {
    check "refused: $1" wait_for 60 kernel_says "$1"
    check "and there is no endpoint" eval '! endpoint_bound'
}

fork_many() {
    forks=0
    while [ $forks -lt "$1" ]; do
        /bin/busybox true || return 1
        forks=$((forks + 1))
    done
}

# A PV guest makes page tables all the time, of pages that DMA has just used.
step_forks() {
    (while :; do t churn 50 16384 || exit 1; done) &
    churner=$!
    check "$1 processes are started under DMA load" fork_many "$1"
    check "the load has gone on meanwhile" kill $churner
    wait $churner 2>/dev/null
    step_no_leak
}

# ---- VFIO in the guest ---------------------------------------------------------------------

# v COMMAND...: one command to the program that owns the endpoint; its answer goes to $said.
v() {
    echo "$*" >&4
    read -r said <&5
    case $said in
    error*)
        comment "$*: $said"
        return 1
        ;;
    esac
}

user_sees() {
    v get "$1" $((${#2} / 2)) && [ "$said" = "$2" ]
}

step_vfio() {
    insmod /lib/vfio.ko
    # A platform device has no interrupts that could be remapped.
    insmod /lib/vfio_iommu_type1.ko allow_unsafe_interrupts=1
    insmod /lib/viommu_vfio.ko
    endpoint=$(basename "$(ls -d /sys/bus/platform/drivers/viommu-endpoint/viommu-endpoint.*)")
    group=$(basename "$(readlink -f "/sys/bus/platform/devices/$endpoint/iommu_group")")
    echo viommu-vfio >"/sys/bus/platform/devices/$endpoint/driver_override"
    echo "$endpoint" >/sys/bus/platform/drivers/viommu-endpoint/unbind
    check "VFIO takes the endpoint" \
        eval "echo $endpoint >/sys/bus/platform/drivers/viommu-vfio/bind"
    mkfifo /tmp/vfio-in /tmp/vfio-out
    # Both ways, so that no open waits: one that does fails (EINTR) when a child ends, and we are
    # everybody's parent here. 6 goes once the program has its own end.
    exec 4<>/tmp/vfio-in 6<>/tmp/vfio-out
    exec 5</tmp/vfio-out
    vfio-guest "$group" "$endpoint" </tmp/vfio-in >/tmp/vfio-out 4>&- 5<&- 6>&- &
    vfio_pid=$!
    read -r said <&5
    exec 6>&-
    comment "vfio-guest: $said"
    check "user space owns its group" test "$said" = ready
    check "VFIO_IOMMU_MAP_DMA of 64 KiB" v map 0x200000 65536
    check "the backend has the MAP" ask linux-has-mapping 200000
    comment "$text"
    check "the device writes" device_writes 0x200010 feedc0de
    check "user space sees it" user_sees 16 feedc0de
    check "user space writes" v put 65532 0ddba11f
    check "the device reads it" device_reads 0x20fffc 0ddba11f
    check "behind the mapping the device is refused" device_refused device_writes 0x210000 00
    check "VFIO_IOMMU_UNMAP_DMA" v unmap 0x200000 65536
    check "the backend has no such mapping any more" device_refused ask linux-has-mapping 200000
    check "the device is refused" device_refused device_writes 0x200010 00
    check "a mapping that is left to the end" v map 0x400000 2097152
    check "2 MiB: the device writes its last bytes" device_writes 0x5ffffc a5a5a5a5
    check "2 MiB: user space sees them" user_sees 2097148 a5a5a5a5
    kill -9 $vfio_pid
    wait $vfio_pid 2>/dev/null
    exec 4>&- 5<&-
    check "when the program dies, the device is refused" \
        wait_for 10 device_refused device_writes 0x400000 00
    step_no_leak
    echo "$endpoint" >/sys/bus/platform/drivers/viommu-vfio/unbind
    echo viommu-endpoint >"/sys/bus/platform/devices/$endpoint/driver_override"
    check "the endpoint goes back to its kernel driver" \
        eval "echo $endpoint >/sys/bus/platform/drivers/viommu-endpoint/bind"
    check_buffer "the DMA API again" 4096 coherent 4096
    free_buffer "it"
}

# ---- a backend that dies -------------------------------------------------------------------

# Writes the longest pause between two of its own ticks, in hundredths of a second.
heartbeat() {
    heartbeat_last=$(now)
    heartbeat_worst=0
    while [ ! -e /tmp/heart-stops ]; do
        heartbeat_now=$(now)
        heartbeat_gap=$((heartbeat_now - heartbeat_last))
        if [ $heartbeat_gap -gt $heartbeat_worst ]; then
            heartbeat_worst=$heartbeat_gap
            echo $heartbeat_worst >/tmp/heart
        fi
        heartbeat_last=$heartbeat_now
        sleep 0.1
    done
}

load_loop() {
    while [ ! -e /tmp/heart-stops ]; do
        t churn 20 16384
        sleep 0.05
    done
}

step_backend_restarts() {
    check "a buffer that stays" buffer coherent 16384
    kept_id=$id
    kept_iova=$iova
    check "another" buffer single 65536 both
    check "the device writes it" device_writes "$kept_iova" 11223344
    check "the daemon ends and is started again" ask linux-restart-daemon
    check "the guest notices" wait_for 30 kernel_says 'the backend is lost'
    check "and is connected again" wait_for 60 kernel_says 'the backend is back'
    sleep 1
    check "what was mapped before works: the device writes" \
        device_writes "$(plus "$kept_iova" 64)" 55667788
    check "and the CPU sees it" cpu_sees "$kept_id" 64 55667788
    check "also in the other buffer" device_writes "$iova" 99aabbcc
    check "the CPU sees that" cpu_sees "$id" 0 99aabbcc
    check "it is freed" t free "$id"
    check "and the device refused there" device_refused device_writes "$iova" 00
    check "the first is freed" t free "$kept_id"
    check_buffer "a new buffer" 8192 coherent 8192
    free_buffer "it"
    step_no_leak
}

# 6.1's driver hands a refused MAP on to the caller of the DMA API, later ones do not.
dma_answers() {
    if is_6_1; then
        ! t churn "$1" 16384
    else
        t churn "$1" 16384
    fi
}

step_backend_dies() {
    dmesg -c >/dev/null
    heartbeat &
    load_loop &
    sleep 1
    comment "longest pause of the guest before: $(cat /tmp/heart) cs"
    check "the driver domain is destroyed under load" ask linux-destroy-backend
    check "the guest notices" wait_for 60 kernel_says 'the backend is lost'
    comment "$(dmesg | grep -m 1 'the backend is lost')"
    sleep 3
    comment "longest pause of the guest meanwhile: $(cat /tmp/heart) cs"
    # One request's time limit (timeout=8), and what emulation adds.
    check "no pause was longer than the time limit of one request, and some" \
        test "$(cat /tmp/heart)" -lt 1500
    started=$(now)
    check "the DMA API still answers" dma_answers 300
    comment "300 pairs without a backend took $(($(now) - started)) cs"
    check "the guest works: 50 processes are started" fork_many 50
    check "no request is waited for any more" test $(($(now) - started)) -lt 1500
    touch /tmp/heart-stops
    wait
    step_no_leak
}

no_device() {
    [ ! -e /sys/bus/xen/devices/virtio-0 ]
}

# What an administrator does when the driver domain is gone: another one, scripts/viommu-reattach.
step_new_backend() {
    # DETACHes fail, which the stock driver says with a WARNING: seen, and not the module's.
    check "the device is taken from the guest" ask linux-detach
    check "it goes, and the endpoint with it" wait_for 60 no_device
    check "another driver domain is started and gets it" ask linux-reattach
    check "the endpoint is there again, without a restart of the guest" wait_for 60 endpoint_bound
    check_buffer "after that: dma_alloc_coherent" 16384 coherent 16384
    free_buffer "it"
    step_no_leak
    check "this driver domain is destroyed too" ask linux-destroy-backend
    check "the module can be unloaded without a backend" unload
}

# ---- workers, supervisor and xenstored that are replaced ------------------------------------

# Pairs of map and unmap until told to stop. Nobody else may use the test endpoint's file meanwhile.
load_start() {
    rm -f /tmp/load-*
    while [ ! -e /tmp/load-stops ]; do
        if t churn 20 16384; then
            echo "${said#* }" >>/tmp/load-done
        else
            echo "$said" >>/tmp/load-failed
        fi
    done &
    load_pid=$!
}

load_was_right() {
    touch /tmp/load-stops
    wait "$load_pid"
    awk '{ if ($1 > m) m = $1; n += 20 } END {
        printf "TAP # %d pairs, the longest 20 took %d ms\n", n, m / 1000000 }' /tmp/load-done
    [ -s /tmp/load-done ] && [ ! -e /tmp/load-failed ]
}

mappings_are_the_same() {
    ask recover-mappings && [ "$text" = "$kept_mappings" ]
}

# A worker that dies while it is asked costs the asker an error, so it is asked again.
mappings_are() {
    wait_for 20 ask recover-count
    [ "$text" = "$1" ] || comment "there are $text mappings"
    [ "$text" = "$1" ]
}

silent_module() {
    ! dmesg | grep -E 'refused|backend is lost|backend is back|still|quarantine'
}

step_kills() {
    step_kills_done=0
    while [ $step_kills_done -lt "$1" ]; do
        for how in running stopped twice; do
            check "the worker is killed with -9: $how" ask recover-drv kill 2 $how
            [ "$status" = 0 ] || comment "$text"
            step_kills_done=$((step_kills_done + 2))
            check "then the device writes what was mapped before" \
                device_writes "$kept_iova" "$(printf '%08x' $step_kills_done)"
        done
    done
}

step_recover() {
    check "a buffer that stays" buffer coherent 16384
    kept_id=$id
    kept_iova=$iova
    check "another, of 4 MiB in pieces" buffer sg 1000 both
    check "both states are watched" ask recover-watch
    check "the backend's table is noted" ask recover-mappings
    kept_mappings=$text
    load_start
    step_kills "$1"
    check "the guest's load went on, no request failed" load_was_right
    check "the table is as before: nothing lost, nothing doubled" mappings_are_the_same
    check "the CPU sees the device's last write" \
        cpu_sees "$kept_id" 0 "$(printf '%08x' $step_kills_done)"

    load_start
    check "the supervisor is killed with -9 and started anew" ask recover-drv supervisor
    check "the device writes: mappings of before are there" \
        wait_for 30 device_writes "$(plus "$kept_iova" 64)" cafe5afe
    check "under that, too, no request failed" load_was_right
    check "and the table is as before" mappings_are_the_same
    check "the CPU sees what was written" cpu_sees "$kept_id" 64 cafe5afe
    check "the states were 4 all the time, nothing was asked of the frontend" ask recover-quiet
    [ "$status" = 0 ] || comment "$text"
    t freeall
}

step_recover_count() {
    check "mappings of the guest at rest" ask recover-count
    rest=$text
    check "kills in the background" ask recover-drv kill-start 5
    for round in 1 2 3 4; do
        check "round $round: 200 buffers of 8 KiB" t hold 200 8192
        check "round $round: are 200 mappings more" mappings_are $((rest + 200))
        check "round $round: all are freed" t freeall
        check "round $round: and gone" mappings_are "$rest"
    done
    check "the kills are over" ask recover-drv kill-wait
}

step_live_update() {
    load_start
    check "xenstored is updated live" ask recover-live-update
    comment "live update: $text"
    check "the guest's load went on" load_was_right
    check "an endpoint's node is written in dom0" ask recover-node 20
    check "the daemon's watch has told it, and the guest's watch the guest" \
        wait_for 30 endpoints_are 2
    check "the node is removed" ask recover-rm 20
    check "that is seen, too" wait_for 30 endpoints_are 1
    check_buffer "after that: dma_alloc_coherent" 4096 coherent 4096
    free_buffer "it"
}

case $program in
full)
    step_start "$@"
    step_dma
    step_directions
    step_outside strict
    step_many
    step_limit
    step_churn
    step_no_leak
    step_suspend
    step_hotplug
    step_rebind
    step_vfio
    step_lazy
    step_type identity refused 'an identity (passthrough) domain needs grants=static'
    step_reload "$@"
    check "it is unloaded" unload
    grants=static
    step_start "$@"
    step_dma
    step_directions
    step_outside strict
    step_churn
    step_lazy
    step_identity
    step_rebind
    check "it is unloaded at the end" unload
    check "the hypervisor says that no grant is mapped at the end" no_grant_mapped
    # For the load beside the next guest.
    grants=on-demand
    load
    check "it is loaded once more" wait_for 60 endpoint_bound
    ;;
pv)
    step_start "$@"
    step_dma
    step_directions
    step_outside strict
    step_many
    step_churn
    step_forks 1000
    step_neighbour 300
    step_no_leak
    step_pci
    step_rebind
    check "the PCI device is behind the IOMMU again" wait_for 20 pci_in_group
    check "it is unloaded" unload
    check "the PCI device is taken out" no_pci
    check "no grant is mapped at the end" no_grant_mapped
    ;;
dead)
    # This guest has the default number of grant frames.
    wanted=$grants
    grants=static
    load
    step_refused 'grants=static is refused: .* pages need max_grant_frames='
    check "it is unloaded" unload
    check "the toolstack takes memory away" ask linux-memory 232
    load
    step_refused 'grants=static is refused: this guest balloons'
    check "it is unloaded" unload
    grants=$wanted
    step_start "$@"
    step_backend_restarts
    step_backend_dies
    step_new_backend
    quiet=no
    ;;
refused-passthrough)
    load
    step_refused 'identity (passthrough) domains are refused with grants=on-demand'
    check "the driver is bound all the same" wait_for 60 driver_bound
    check "it is unloaded" unload
    ;;
recover)
    kills=$1
    shift
    step_start "$@"
    step_recover "$kills"
    step_recover_count
    step_live_update
    step_no_leak
    check "virtio_xenbus and virtio_iommu have said nothing" silent_module
    ;;
refused-pv)
    if is_6_1; then
        # Whatever the command line says.
        step_start "$@"
        check "6.1's driver cannot flush lazily: the domain is strict" group_type_is DMA
        step_dma
        step_no_leak
    else
        load "$@"
        step_refused 'a PV guest must not flush lazily; boot it with iommu.strict=1'
    fi
    check "it is unloaded" unload
    grants=static
    load
    step_refused 'a PV guest needs grants=on-demand and iommu.strict=1'
    ;;
*)
    check "there is a program $program" false
    ;;
esac
finish
