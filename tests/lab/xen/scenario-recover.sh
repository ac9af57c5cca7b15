# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh disable=SC2016,SC2034,SC2154
# Recovery on real Xen: the worker of a stock Linux guest is killed under load, then the supervisor,
# then xenstored is updated live. The guest must see none of it. Sourced by scenario.sh, after
# scenario-linux.sh for its functions.

recover_be() {
    echo "/local/domain/$drv/backend/virtio/$device"
}

recover_fe() {
    echo "/local/domain/$guest/device/virtio/0"
}

# What only this part's guest asks.
recover_asks() {
    case $1 in
    recover-drv)
        shift
        in_drv "sh /lab/drv-recover.sh $*"
        ;;
    recover-mappings) in_drv "viommuctl mappings $device | md5sum" ;;
    recover-count)
        in_drv "m=\$(viommuctl mappings $device) && echo \"\$m\" | awk '/^vdomain/ { n++ } END { print n + 0 }'"
        ;;
    recover-watch) watch_states ;;
    recover-quiet) states_quiet ;;
    recover-live-update) live_update ;;
    recover-node)
        # By hand, so that only a watch can tell the daemon.
        xenstore-write "$(recover_be)/viommu/endpoint-000000$2" "id=0x$2 driver=soft"
        ;;
    recover-rm) xenstore-rm "$(recover_be)/viommu/endpoint-000000$2" ;;
    *) return 124 ;;
    esac
}

# The same xenstored with another process image, in the middle of its work.
live_update() {
    updated_pid=$(cat /run/xen/xenstored.pid)
    updated_status=0
    drv_out=$(xenstore-control live-update -t 20 /bin/xenstored 2>&1) || updated_status=$?
    # The new program's arguments say that it has taken over.
    drv_out="$(echo "$drv_out" | tail -n 1) $(tr '\0' ' ' <"/proc/$updated_pid/cmdline")"
    [ $updated_status = 0 ] && xenstore-exists /
}

# Each change of both states is one line; the watch itself makes one for each.
watch_states() {
    : >/tmp/states
    xenstore-watch "$(recover_be)/state" "$(recover_fe)/state" >/tmp/states 2>/dev/null &
    states_pid=$!
    wait_for 10 states_seen 2
}

states_seen() {
    [ "$(wc -l </tmp/states)" = "$1" ]
}

states_quiet() {
    kill "$states_pid"
    wait "$states_pid" 2>/dev/null || true
    drv_out=$(tr '\n' ' ' </tmp/states)
    states_seen 2 && store_is "$(recover_be)/state" 4 && store_is "$(recover_fe)/state" 4
}

run_recover() {
    check "recover: the daemon is started with a directory for state files" \
        in_drv "sh /lab/drv-recover.sh begin"
    # On a busy machine a successor takes its time: by way of the pairs the guest has more.
    linux_pairs=3000
    # run_linux ends the guest only when it is told to.
    linux_keep=yes
    run_linux recover1 pvh iommu.strict=1 "recover on-demand $(cat /lab/kills) timeout=60" \
        'max_grant_frames = 256'
    linux_keep=no
    check "recover: all of the successors" in_drv "sh /lab/drv-recover.sh times"
    comment "recover: successors and their times: $drv_out"
    end_linux recover1
    check "recover: no state file is left" in_drv 'test -z "$(ls /run/viommu-states)"'
    in_drv 'sed "s/^/DAEMON /" /tmp/daemon.log >/dev/console'
}

run_recover
