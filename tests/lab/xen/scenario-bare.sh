# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh disable=SC2154 # variables from scenario.sh
# What the emulated processor does to PVH guests that have no device of ours and no driver domain: they
# only start processes. Sourced by scenario.sh, whose helpers it uses. Not one of run's default parts: with
# the QEMUs of Debian 12 and 13 those on processor 0 end in a triple fault (docs/testing.md).

# bare_guest NAME PROCESSOR
bare_guest() {
    write_guest_config "$1" pvh
    sed -i -e '/^virtio/d' -e "s/^cpus = .*/cpus = \"$2\"/" "/tmp/$1.cfg"
    xl create -p "/tmp/$1.cfg" || return 0
    xenstore-write "/local/domain/$(xl domid "$1")/data/lab/mode" bare
    xl unpause "$1"
}

bare_lives() { # NAME: within the time it has started processes, and still does
    bare_data=/local/domain/$(xl domid "$1")/data/lab || return 1
    bare_before=$(store_read "$bare_data/started") || return 1
    comment "$1: $bare_before processes started"
    wait_for 60 bare_goes_on
}
bare_goes_on() { [ "$(store_read "$bare_data/started")" -gt "$bare_before" ]; }

part bare || return 0

xl destroy drv
for round in 1 2 3; do
    for name in bare00 bare11 bare12; do
        bare_name=${name#bare}
        bare_guest $name "${bare_name%?}"
    done
    sleep 90 # nothing to wait for: this is how long they have to survive
    if bare_lives bare00; then bare_end=lives; else bare_end='is lost'; fi
    comment "round $round: bare00, on processor 0, $bare_end"
    for name in bare11 bare12; do
        check "round $round: $name, on processor 1, lives" bare_lives $name
    done
    for name in bare00 bare11 bare12; do
        xl destroy $name 2>/dev/null || true
    done
done
check "the driver domain starts again" start_drv
