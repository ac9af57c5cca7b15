# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh disable=SC2154
# The VFIO lab's story: a guest on fakexen, the daemon, and two devices of the host behind two of
# the guest's endpoints. Sourced after standalone.sh, whose helpers it uses; the rest comes from
# tests/support/daemon.sh. Guest page P is at guest address P * 4,096; devices reach 28 bits.

# daemon.sh starts to count anew.
standalone_n=$n standalone_failures=$failures
VIOMMU_BUILDDIR=/build
# shellcheck source-path=SCRIPTDIR source=../../support/daemon.sh
. /build/tests/support/daemon.sh
n=$standalone_n
failures=$((failures + standalone_failures))
read -r driver </lab/driver

# device ENDPOINT COMMAND...: the edu device behind endpoint 8 or 9 does that, through the file
# that the daemon hands out.
device() {
    device_endpoint=$1
    shift
    ctl endpoint open-fd 2/0 "$device_endpoint" -- edu "$@"
}
address_of() { [ "$1" = 8 ] && echo "$one" || echo "$two"; }

# blocked NAME ENDPOINT read|write IOVA: the access faults in the IOMMU's log.
blocked() {
    expect_fault
    # The engine takes what it is told; whether it arrived is seen below and by the caller.
    shows "$1: the device tries" "$3 $4 6 " device "$2" "$3" "$4" 6
    case $3 in
    read) blocked_kind=Read ;;
    *) blocked_kind=Write ;;
    esac
    shows "$1: the IOMMU logs the fault" \
        "*DMA $blocked_kind*fault addr $(printf '0x%x' $(($4 & ~4095)))*" \
        fault_logged "$(address_of "$2")" $blocked_kind
}
# What the host can do decides what the device offers; it is offered anew as long as no frontend
# has connected.
add_endpoints() {
    shows "endpoint 8 is the first device" '' \
        ctl endpoint add 2/0 id=8 driver="$driver" device="$one"
    shows "endpoint 9 is the second" '' ctl endpoint add 2/0 id=9 driver="$driver" device="$two"
}
both_listed() {
    ctl endpoint list 2/0 | tr '\n' ' '
}
# grant PAGE N: sets $address.
grant() {
    g 3 grant "p=$1" "n=$2"
    address=${got#address=}
}
# plus ADDRESS PAGES: the shell's numbers have 63 bits, grant addresses 64.
plus() {
    printf '0x8%015x' $((0x${1#0x8} + $2 * 4096))
}

daemon_setup
# Its folder goes with the scenario; /init prints the log.
ln "$dir/daemon.log" /tmp/daemon.log
guest_start 3 2
eventually "the device is offered" 2 xs_be read backend/virtio/2/0/state
add_endpoints
eventually "both are in the list" '*0x8*'"$one"'*0x9*'"$two"'*' both_listed
# Nothing of what follows makes sense without them.
[ $failures = "$standalone_failures" ] || bail "there are no endpoints"
eventually "the guest is told that a host IOMMU is behind them" \
    '*id=0x8 dma=translated*id=0x9 dma=translated*' xs_be read backend/virtio/2/0/viommu-endpoints
g_is 3 "the guest connects" 'connected*' start size=64

# --- reserved regions -----------------------------------------------------------------------------
shows "the kernel reserves an MSI window" '*0x00000000fee00000 0x00000000feefffff msi*' \
    cat "/sys/kernel/iommu_groups/$(group_of "$one")/reserved_regions"
g_is 3 "PROBE shows it as an MSI region" \
    'status=0 used=516 props=*01001400010000000000e0fe00000000ffffeffe00000000*' probe e=8
g_is 3 "ATTACH" 'status=0 used=4' attach d=1 e=8
grant 100 4
g_is 3 "MAP over the MSI window is refused" 'status=4 used=4' \
    map d=1 vs=0xfee00000 ve=0xfee00fff ps="$address" f=3

# --- DMA ------------------------------------------------------------------------------------------
# Page 100 is read-only for devices, page 101 writable.
g_is 3 "MAP for reading" 'status=0 used=4' map d=1 vs=0x100000 ve=0x100fff ps="$address" f=1
g_is 3 "MAP for reading and writing" 'status=0 used=4' \
    map d=1 vs=0x102000 ve=0x102fff ps="$(plus "$address" 1)" f=3
g 3 poke a=0x64000 hex=cafe12345678
faults "$one" . >/dev/null
shows "the device reads and writes" 'read 0x100000 6 write 0x102ff0 6 ' \
    device 8 read 0x100000 6 write 0x102ff0 6
g_is 3 "its bytes are in the guest's page" cafe12345678 peek a=0x65ff0 len=6
shows "without a fault" '' faults "$one" .
case $driver in
vfio) space="\"type1 container of group $(group_of "$one")\",\"entries\":2" ;;
*) space='"IOAS' ;; # which counts no entries
esac
shows "show tells where its mappings are, its group and the entries in use" \
    "*\"group\":$(group_of "$one"),\"host\":$space*" ctl show 2/0 --json

# Not the page that was read: QEMU stops a write to a page that its IOTLB knows, but logs nothing.
g_is 3 "MAP of another page for reading" 'status=0 used=4' \
    map d=1 vs=0x103000 ve=0x103fff ps="$(plus "$address" 2)" f=1
g 3 poke a=0x66100 hex=112233445566
blocked "read-only mapping" 8 write 0x103100
g_is 3 "nothing is written to a page mapped for reading" 112233445566 peek a=0x66100 len=6
g 3 poke a=0x64100 hex=112233445566
shows "nor to one that was read before" 'write 0x100100 6 ' device 8 write 0x100100 6
g_is 3 "which stays as it was" 112233445566 peek a=0x64100 len=6

g_is 3 "a mapped page cannot be revoked" busy revoke p=101 n=1
g_is 3 "UNMAP" 'status=0 used=4' unmap d=1 vs=0x102000 ve=0x102fff
g_is 3 "the page can be revoked once UNMAP is answered" ok revoke p=101 n=1
g 3 poke a=0x65ff0 hex=aabbccddeeff
blocked "after UNMAP" 8 write 0x102ff0
g_is 3 "nothing is written after UNMAP" aabbccddeeff peek a=0x65ff0 len=6
shows "what stayed mapped is still reached" 'read 0x100000 6 ' device 8 read 0x100000 6

# --- two endpoints, two vdomains ------------------------------------------------------------------
grant 110 4
g_is 3 "a second endpoint joins the vdomain" 'status=0 used=4' attach d=1 e=9
g_is 3 "MAP for both" 'status=0 used=4' map d=1 vs=0x104000 ve=0x104fff ps="$address" f=3
shows "the second device sees the mappings made before and after" \
    'read 0x100000 6 write 0x104000 6 ' device 9 read 0x100000 6 write 0x104000 6
g_is 3 "its bytes are in the guest's page" cafe12345678 peek a=0x6e000 len=6
shows "the first one too" 'read 0x100000 6 write 0x104010 6 ' \
    device 8 read 0x100000 6 write 0x104010 6
g_is 3 "and its bytes" cafe12345678 peek a=0x6e010 len=6

g_is 3 "the second moves to a vdomain of its own" 'status=0 used=4' attach d=2 e=9
g 3 poke a=0x6e000 hex=010203040506
blocked "old vdomain's mapping after the move" 9 write 0x104000
g_is 3 "nothing is written there" 010203040506 peek a=0x6e000 len=6
g_is 3 "the same IOVA is another page there" 'status=0 used=4' \
    map d=2 vs=0x104000 ve=0x104fff ps="$(plus "$address" 1)" f=3
shows "the moved device writes" 'write 0x104000 6 ' device 9 write 0x104000 6
g_is 3 "to the new vdomain's page" cafe12345678 peek a=0x6f000 len=6
g_is 3 "not to the old one's" 010203040506 peek a=0x6e000 len=6
g_is 3 "the first follows" 'status=0 used=4' attach d=2 e=8
g_is 3 "the empty vdomain is gone" 'status=6 used=4' unmap d=1 vs=0x0 ve=0xffffff
shows "and reaches the same page" 'write 0x104010 6 ' device 8 write 0x104010 6
g_is 3 "with its own bytes" cafe12345678 peek a=0x6f010 len=6

# --- replay ---------------------------------------------------------------------------------------
# Pages run backwards, so that no two mappings could be one.
grant 1000 1000
g_is 3 "the first attaches to a fresh vdomain" 'status=0 used=4' attach d=3 e=8
began=$(now)
i=0
wrong=
# 32 requests at a time: the ring has 64 descriptors. In parts, because the helper does not wait for
# ever.
while [ $i -lt 1000 ]; do
    g 3 maps d=3 "vs=$((0x1000000 + i * 4096))" "p=$((1875 - i))" n=125 batch=32
    [ "$got" = ok=125 ] || wrong="$wrong $got"
    i=$((i + 125))
done
is "1,000 pages are mapped" "$wrong" ''
echo "# 1,000 MAP requests took $(($(now) - began)) cs"
began=$(now)
g_is 3 "the second attaches: they are replayed" 'status=0 used=4' attach d=3 e=9
echo "# ATTACH with 1,000 mappings took $(($(now) - began)) cs"
# First, last and one in between: pages 1999, 1000 and 1499.
for pair in 0x1000000:0x7cf000 0x13e7000:0x3e8000 0x11f4000:0x5db000; do
    g 3 poke "a=${pair#*:}" hex=a0a1a2a3a4a5
    shows "the second device reaches ${pair%:*}" "read ${pair%:*} 6 write *" \
        device 9 read "${pair%:*}" 6 write $((${pair%:*} + 32)) 6
    g_is 3 "in the page that was meant" a0a1a2a3a4a5 peek "a=$((${pair#*:} + 32))" len=6
done

# --- detach, reset --------------------------------------------------------------------------------
g_is 3 "DETACH" 'status=0 used=4' detach d=3 e=9
g 3 poke a=0x7cf040 hex=010203040506
blocked "after DETACH" 9 write 0x1000040
g_is 3 "nothing is written after DETACH" 010203040506 peek a=0x7cf040 len=6
shows "the endpoint that stayed still writes" 'read 0x1000000 6 write 0x1000040 6 ' \
    device 8 read 0x1000000 6 write 0x1000040 6
g_is 3 "to that page" a0a1a2a3a4a5 peek a=0x7cf040 len=6
began=$(now)
g_is 3 "device reset with all 1,000 mappings" ok reset
echo "# reset with 1,000 mappings took $(($(now) - began)) cs"
g_is 3 "all pages can be revoked then" ok revoke p=1000 n=1000
g 3 poke a=0x7cf040 hex=010203040506
blocked "after the reset" 8 write 0x1000040
g_is 3 "nothing is written after the reset" 010203040506 peek a=0x7cf040 len=6

# --- a dead worker --------------------------------------------------------------------------------
grant 200 1
g_is 3 "ATTACH again" 'status=0 used=4' attach d=1 e=8
g_is 3 "MAP again" 'status=0 used=4' map d=1 vs=0x200000 ve=0x200fff ps="$address" f=3
g 3 poke a=0xc8000 hex=0a0b0c0d0e0f
shows "the device writes" 'read 0x200000 6 write 0x200010 6 ' \
    device 8 read 0x200000 6 write 0x200010 6
g_is 3 "and arrives" 0a0b0c0d0e0f peek a=0xc8010 len=6
worker=$(ctl show 2/0 | awk '$1 == "worker" { print $2 }')
# The supervisor is stopped, so that no successor takes the group at once.
kill -STOP "$daemon"
kill -9 "$worker"
g 3 poke a=0xc8010 hex=010203040506
expect_fault
eventually "with its worker killed by -9 the device's group is free" 'write 0x200010 6' \
    edu --standalone "$one" write 0x200010 6
shows "a freshly opened container reaches none of the old mappings" \
    '*DMA Write*fault addr 0x200000*' fault_logged "$one" Write
g_is 3 "nothing is written" 010203040506 peek a=0xc8010 len=6
kill -CONT "$daemon"
eventually "a successor takes over" '*recoveries*1*' ctl show 2/0
is "the guest's device stays Connected" "$(xs_be read backend/virtio/2/0/state)" 4
shows "the mappings are in the successor's container" 'read 0x200000 6 write 0x200010 6 ' \
    device 8 read 0x200000 6 write 0x200010 6
g_is 3 "the device's bytes arrive" 0a0b0c0d0e0f peek a=0xc8010 len=6
shows "show says that the kernel has reset both devices" '*"reset":true*"reset":true*' \
    ctl show 2/0 --json
g 3 event
first=$got
g 3 event
# In no particular order.
is "the guest is told so, with reason UNKNOWN" "$first; $got" \
    'fault reason=0 *endpoint=0x[89] *; fault reason=0 *endpoint=0x[89] *'
is "for each of them" "$(printf '%s\n' "$first" "$got" | grep -o 'endpoint=0x[89]' | sort -u | wc -l)" 2
g 3 poke a=0xc8010 hex=010203040506
g_is 3 "the guest starts over" 'connected*' start size=64
eventually "the endpoints are back" '*0x8*'"$one"'*0x9*'"$two"'*' both_listed
g_is 3 "and is served" 'status=0 used=4' attach d=1 e=8
blocked "with a new worker" 8 write 0x200010
g_is 3 "nothing is written by it either" 010203040506 peek a=0xc8010 len=6

# --- the table's limit ----------------------------------------------------------------------------
limit=/sys/module/vfio_iommu_type1/parameters/dma_entry_limit
if [ "$driver" = vfio ]; then
    g 3 detach d=1 e=8
    ctl endpoint remove 2/0 8 >/dev/null || true
    # It holds for containers that are opened from now on.
    full=$(cat $limit)
    echo 20 >$limit
    shows "the endpoint comes again, with a limit of 20 entries" '*' \
        ctl endpoint add 2/0 id=8 driver="$driver" device="$one"
    grant 300 40
    g_eventually 3 "ATTACH" 'status=0 used=4' attach d=1 e=8
    i=0
    statuses=''
    while [ $i -lt 22 ]; do
        g 3 map d=1 "vs=$((0x300000 + i * 8192))" "ve=$((0x300fff + i * 8192))" \
            "ps=$(plus "$address" $i)" f=3
        status=${got#status=}
        statuses=$statuses${status%% *}
        i=$((i + 1))
    done
    is "20 mappings fit, the rest is answered NOMEM" "$statuses" 0000000000000000000088
    shows "show tells that the table is full" '*20*20*' ctl show 2/0
    g_is 3 "after an UNMAP" 'status=0 used=4' unmap d=1 vs=0x300000 ve=0x300fff
    g_is 3 "there is room for one" 'status=0 used=4' \
        map d=1 vs=0x400000 ve=0x400fff ps="$address" f=3
    g 3 poke a=0x12c000 hex=0a0b0c0d0e0f
    shows "which the device reaches" 'read 0x400000 6 write 0x400010 6 ' \
        device 8 read 0x400000 6 write 0x400010 6
    g_is 3 "with its bytes" 0a0b0c0d0e0f peek a=0x12c010 len=6
    echo "$full" >$limit
else
    pass "20 mappings fit, the rest is answered NOMEM # SKIP iommufd has no limit of entries"
fi

# --- the end --------------------------------------------------------------------------------------
elapsed=$(fxl destroy 2)
if [ "${elapsed%% *}" -lt 2000 ]; then
    pass "destroy takes less than 2 s"
else
    fail "destroy takes less than 2 s" "$elapsed"
fi
eventually "nothing of the guest is mapped" '' mapped_grants
eventually "the first device's group is free again" 'write 0x300000 6' \
    edu --standalone "$one" write 0x300000 6
eventually "and the second's" 'write 0x300000 6' edu --standalone "$two" write 0x300000 6
shows "the kernel has nothing to complain about" '' \
    sh -c 'cat /tmp/dmesg /tmp/faults | grep -E "BUG|Oops|WARNING|Bad page|Call Trace"'
