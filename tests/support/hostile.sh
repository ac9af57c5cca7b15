# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh disable=SC2034,SC2154,SC2119,SC2120
#
# Shared by tests/hostile_*.tap: a hostile guest in domain 2 (descriptors 3 and 5), a well-behaved
# one in domain 3 (4 and 6) whose requests go on all the while, and what must hold after each case.
# shellcheck source=tests/support/daemon.sh
. "${VIOMMU_SRCDIR:-.}/tests/support/daemon.sh"

# With sanitizers everything takes several times as long, and freed memory is kept for a while.
slow() { nm "$support/xen-viommud-fakexen" | grep -q __asan_init; }

# hostile_setup [fakexen options]: the daemon, and the well-behaved guest at work.
hostile_setup() {
    daemon_setup "$@"
    mkfifo "$dir/in3" "$dir/out5" "$dir/in4" "$dir/out6"
    fxl create-domain steady --domid 3 >/dev/null
    fxl attach-virtio 3 1 0 >/dev/null
    await_offer 3
    ctl endpoint add 3/0 id=8 driver=soft >/dev/null || bail "no endpoint: $(ctl list)"
    "$support/steady-guest" --dir "$dir" --domid 3 <"$dir/in4" >"$dir/out6" 2>"$dir/err4" &
    pids="$pids $!"
    exec 4>"$dir/in4" 6<"$dir/out6"
    read -r got <&6 || bail "the well-behaved guest does not start: $(cat "$dir/err4")"
}

await_offer() { # DOMID: its device is at InitWait
    tries=0
    until [ "$(xs_be read "backend/virtio/$1/0/state")" = 2 ]; do
        tries=$((tries + 1))
        [ $tries -le 400 ] || bail "no device for domain $1"
        sleep 0.05
    done
}

# hostile_guest [CONFIG [guest options]]: domain 2, its device with endpoints 8 and 9, its program.
hostile_guest() {
    config=${1-}
    shift $(($# < 1 ? $# : 1))
    fxl create-domain hostile --domid 2 >/dev/null
    fxl attach-virtio 2 1 0 >/dev/null
    [ -z "$config" ] || xs_be write backend/virtio/2/0/viommu/config "$config"
    await_offer 2
    ctl endpoint add 2/0 id=8 driver=soft >/dev/null
    ctl endpoint add 2/0 id=9 driver=soft >/dev/null
    hostile_process "$@"
}
hostile_process() {
    # The other guest's pipe must not be inherited, or it would never end.
    "$support/hostile-guest" --dir "$dir" --domid 2 --control "$dir/control.sock" "$@" \
        <"$dir/in3" >"$dir/out5" 2>"$dir/err3" 4>&- 6<&- &
    pids="$pids $!"
    hostile_pid=$!
    exec 3>"$dir/in3" 5<"$dir/out5"
    read -r got <&5 || bail "the hostile guest does not start: $(cat "$dir/err3")"
}
hostile_gone() { # the guest's process, after its domain
    kill -9 "$hostile_pid" 2>/dev/null || true
    exec 3>&- 5<&-
    wait "$hostile_pid" 2>/dev/null || true
}

# One line to a guest and its answer in $got; each of its waits has a deadline, so it does answer.
tell() { # FD-IN FD-OUT TEXT
    got=dead
    (printf '%s\n' "$3" >&"$1") 2>/dev/null || return 0
    read -r got <&"$2" || got=dead
}

workers() { pgrep -P "$daemon" | tr '\n' ' '; }
open_files() { # PID...
    for open_pid; do
        set -- "/proc/$open_pid/fd/"*
        printf '%s ' $#
    done
}
memory_kb() { awk -v name="${2-VmRSS}:" '$1 == name { print $2 }' "/proc/$1/status"; }

# What is held at this moment: pages of the hostile guest that anybody maps, event channels of the
# backend domain, workers, their and the supervisor's open files. The other guest's page comes and
# goes with its requests, so maptrack handles are counted at the end only.
holdings() {
    holdings_workers=$(workers)
    fxl list | sed -n -e 's/.*"domid":1,.*"ports":\([0-9]*\),.*/ports \1/p' \
        -e 's/.*"domid":2,.*"mapped":\([0-9]*\).*/pages of the guest \1/p'
    # shellcheck disable=SC2086
    echo "workers $holdings_workers files $(open_files "$daemon" $holdings_workers)"
}

# settled FUNCTION: what it prints, once that no longer changes: the other guest has only just
# started, or a device is still closing. One look would compare all that follows with a moment.
settled() {
    settled='' same=0
    while [ $same -lt 5 ]; do
        now=$("$1")
        if [ "$now" = "$settled" ]; then same=$((same + 1)); else same=0; fi
        settled=$now
        sleep 0.1
    done
    echo "$settled"
}

steady() { # sets $steady to how the other guest has fared since the last time
    tell 4 6 report
    steady=$got
}

# attack NAME LAYOUT TEXT [COUNT]: one case; $at_rest is what must be there afterwards, no more and
# no less.
attack() {
    steady
    steady_before=$steady
    tell 3 5 "$1 $2 ${4-}"
    attack_said=$got
    steady
    judge "$3 ($1, $2)"
}

# judge NAME: by what the guest said, by the other guest, and by what is left.
judge() {
    judge_left=$(holdings)
    # The other guest's worker may be in the middle of a map, the supervisor at the end of a call.
    judge_tries=0
    while [ "$judge_left" != "$at_rest" ] && [ $judge_tries -lt 1000 ]; do
        judge_tries=$((judge_tries + 1))
        sleep 0.02
        judge_left=$(holdings)
    done
    case $attack_said/$steady in
    "ok "*/"n="[1-9]*" wrong=0 "*)
        if [ "$judge_left" = "$at_rest" ]; then
            pass "$1"
        else
            fail "$1" "$attack_said
left behind: $judge_left
not as before: $at_rest"
        fi
        ;;
    *) fail "$1" "$attack_said
the other guest: $steady" ;;
    esac
    echo "#   ${attack_said#ok *: }; other guest, in us, before: ${steady_before% wrong=*}" \
        "${steady_before#* wrong=0 }; during: ${steady% wrong=*} ${steady#* wrong=0 }"
}

# attacks TABLE: all of a table of the hostile guest's.
attacks() {
    "$support/hostile-guest" --list "$1" >"$dir/attacks"
    while read -r attack_1 attack_2 attack_3; do
        attack "$attack_1" "$attack_2" "$attack_3"
    done <"$dir/attacks"
}
n_attacks() { "$support/hostile-guest" --list "$1" | wc -l; }

# The first case, and what is there after it: a guest that did nothing wrong has been and gone.
rest() {
    tell 3 5 "sound split"
    is "a sound frontend connects and closes" "$got" 'ok sound*'
    at_rest=$(settled holdings)
    supervisor_kb=$(memory_kb "$daemon")
}

# hostile_destroyed NAME: its domain has been destroyed; nothing is left of it but what was there
# before it came ($before_it).
hostile_destroyed() {
    eventually "$1: its device, worker and files are gone" "$before_it" presence
    is "$1: nothing of it stays mapped" "$(mapped_grants 2)" ''
}
presence() {
    # shellcheck disable=SC2046
    echo "$(ctl list | grep -c '2/0') devices, files $(open_files "$daemon" $(workers)) $(fxl list |
        sed -n -e 's/.*"domid":1,.*"ports":\([0-9]*\),.*/ports \1/p' -e 's/.*"domid":2,.*/domain 2/p' |
        tr '\n' ' ')"
}

# The end of all: the hostile guest goes, and its worker, files and memory with it.
hostile_end() {
    fxl destroy 2 >/dev/null
    hostile_gone
    hostile_destroyed "destroyed"
    daemon_end
}

# $kept_kb: what malloc may keep of memory that was freed.
daemon_end() {
    now_kb=$(memory_kb "$daemon")
    echo "# the supervisor has $now_kb KiB; after the first connection it had $supervisor_kb"
    if slow; then
        pass "the supervisor has not grown # SKIP sanitizers keep freed memory"
    elif [ "$now_kb" -le $((supervisor_kb + ${kept_kb:-2048})) ]; then
        pass "the supervisor has not grown"
    else
        fail "the supervisor has not grown" "$supervisor_kb KiB, then $now_kb KiB"
    fi
    steady
    is "the other guest is served" "$steady" 'n=[1-9]* wrong=0 *'
    kill -TERM "$daemon"
    if wait "$daemon"; then pass "the daemon ends with 0"; else fail "the daemon ends with 0" "$?"; fi
    is "nothing at all stays mapped or bound" "$(mapped_grants)$(fxl list | grep '"domid":1,')" \
        '*"maptrack":0,*"ports":0,*'
}
