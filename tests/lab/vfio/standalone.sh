# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh disable=SC2034
# The VFIO lab's proof of itself, without the daemon: both edu devices reach memory through the
# emulated VT-d, and only what is mapped. Sourced in the lab's machine; TAP to standard output.
set -eu
# shellcheck source-path=SCRIPTDIR source=../xen/domain.sh
. /lab/domain.sh

n=0
failures=0
one=0000:00:05.0
two=0000:00:06.0

# Both also come from tests/support/daemon.sh, which is not there when the daemon is left out.
pass() {
    n=$((n + 1))
    echo "ok $n - $1"
}
fail() {
    n=$((n + 1))
    failures=$((failures + 1))
    echo "not ok $n - $1"
    printf '%s\n' "$2" | tail -n 20 | sed 's/^/# /'
}

# shows NAME PATTERN COMMAND...: what the command prints, in one line, matches.
shows() {
    shows_name=$1 shows_pattern=$2
    shift 2
    shows_got=$("$@" 2>&1 | tr '\n' ' ') || true
    # shellcheck disable=SC2254
    case $shows_got in
    $shows_pattern) pass "$shows_name" ;;
    *) fail "$shows_name" "got:  $shows_got
want: $shows_pattern" ;;
    esac
}

group_of() {
    basename "$(readlink "/sys/bus/pci/devices/$1/iommu_group")"
}

# faults DEVICE KIND: the IOMMU's log since the last call of dmesg -c, for one device.
# KIND is Read or Write. The device is printed without its domain: [05.0] as [00:05.0].
faults() {
    dmesg -c >/tmp/faults
    cat /tmp/faults >>/tmp/dmesg
    grep -i "DMAR: \[DMA $2.*\[${1#0000:}\]" /tmp/faults || true
}

# The kernel's DMAR code prints no more than three faults in 5 s (10 lines' worth, three of them
# each). expect_fault, before an access that must fault, waits until the third last is old enough.
fault_times='-1000 -1000 -1000'
expect_fault() {
    wait_for 10 fault_turn
    fault_times="${fault_times#* } $(now)"
    faults "$one" . >/dev/null
}
fault_turn() {
    [ $(($(now) - ${fault_times%% *})) -gt 550 ]
}

# fault_logged DEVICE KIND: waits for such a line, up to 4 s: an interrupt brings it.
fault_logged() {
    logged_tries=0
    until [ $logged_tries -gt 20 ]; do
        logged=$(faults "$1" "$2")
        if [ -n "$logged" ]; then
            printf '%s\n' "$logged"
            return 0
        fi
        logged_tries=$((logged_tries + 1))
        sleep 0.1
    done
}

shows "each edu device has an IOMMU group of its own" yes \
    sh -c "[ '$(group_of $one)' != '$(group_of $two)' ] && printf yes"
shows "both groups belong to vfio-pci" "/dev/vfio/$(group_of $one) /dev/vfio/$(group_of $two) " \
    ls "/dev/vfio/$(group_of $one)" "/dev/vfio/$(group_of $two)"
for device in $one $two; do
    faults "$device" . >/dev/null
    shows "$device: one mapped page is read and another written" \
        '* read 0x100000 6 write 0x102002 6 0000cafe123456780000 ' \
        edu --standalone "$device" poke 0 cafe12345678 map 0x100000 0 r map 0x102000 1 w \
        read 0x100000 6 write 0x102002 6 peek 1 10
    shows "$device: without a fault" '' faults "$device" .
    expect_fault
    shows "$device: nothing is written to a page that is mapped read-only" \
        '* read 0x100000 2 write 0x101000 2 0123 ' \
        edu --standalone "$device" poke 0 cafe poke 1 0123 map 0x100000 0 r map 0x101000 1 r \
        read 0x100000 2 write 0x101000 2 peek 1 2
    shows "$device: and the IOMMU logs the write" '*DMA Write*fault addr 0x101000*' \
        fault_logged "$device" Write
    expect_fault
    shows "$device: nothing is written once the page is unmapped" \
        '* unmap 0x101000 4096 write 0x101000 2 0123 ' \
        edu --standalone "$device" poke 0 cafe poke 1 0123 map 0x100000 0 r map 0x101000 1 rw \
        read 0x100000 2 unmap 0x101000 write 0x101000 2 peek 1 2
    shows "$device: and the IOMMU logs that too" '*DMA Write*fault addr 0x101000*' \
        fault_logged "$device" Write
done

# The labs' own mediated device, where the kernel takes modules: no IOMMU stands behind it, and its
# engine tells itself what it was refused.
mdev_uuid=c0ffee00-1234-4321-8abc-000000000001
mdev_create=$(echo /sys/devices/platform/viommu_mdev/mdev_supported_types/*/create)
if [ -e "$mdev_create" ]; then
    echo $mdev_uuid >"$mdev_create"
    shows "viommu_mdev: mapped pages are read and written" \
        '* read 0x100000 6 write 0x102002 6 0000cafe123456780000 ' \
        edu --standalone $mdev_uuid poke 0 cafe12345678 map 0x100000 0 r map 0x102000 1 rw \
        read 0x100000 6 write 0x102002 6 peek 1 10
    shows "viommu_mdev: a read-only page is not written" \
        '* write 0x100000 6 refused: Operation not permitted cafe ' \
        edu --standalone $mdev_uuid poke 0 cafe map 0x100000 0 r write 0x100000 6 peek 0 2
    shows "viommu_mdev: a page is not written once it is unmapped" \
        '* unmap 0x100000 4096 write 0x100000 6 refused: Invalid argument cafe ' \
        edu --standalone $mdev_uuid poke 0 cafe map 0x100000 0 rw unmap 0x100000 \
        write 0x100000 6 peek 0 2
    shows "viommu_mdev: repeated DMA goes on until it is refused" \
        '* state running unmap 0x100000 4096 wait stopped refused: Invalid argument ' \
        edu --standalone $mdev_uuid map 0x100000 0 rw repeat 0x100000 64 state unmap 0x100000 wait
fi
