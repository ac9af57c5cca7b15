# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
# Helpers of the Xen lab for the scripts that run inside its domains (busybox). Sourced.

export PATH=/bin:/usr/bin:/sbin:/usr/sbin
export HOME=/root

mount_all() {
    mount -t proc proc /proc
    mount -t sysfs sysfs /sys
    mount -t devtmpfs devtmpfs /dev 2>/dev/null || true # the kernel may have done it
    mkdir -p /dev/pts /dev/shm
    # Without devpts xenconsoled cannot set up a guest's console and xl gives up.
    mount -t devpts devpts /dev/pts
    mount -t tmpfs tmpfs /dev/shm
    mkdir -p /run/xen /run/xenstored /run/lock
}

load_modules() {
    for load_module in "$@"; do
        insmod "/lib/$load_module.ko" || echo "insmod $load_module failed"
    done
}

# Hundredths of a second since boot: busybox has no better clock.
now() {
    read -r now_up _ </proc/uptime
    now_frac=${now_up#*.}
    # A leading zero would make an octal number.
    now_frac=${now_frac#0}
    echo $((${now_up%.*} * 100 + now_frac))
}

# wait_for SECONDS COMMAND...: runs the command until it succeeds. Under emulation everything
# takes its time, so the lab never sleeps for a fixed time instead.
# The command may wait as well: nothing is in a variable.
wait_for() {
    set -- "$(($(now) + $1 * 100))" "$@"
    until wait_for_try "$@"; do
        [ "$(now)" -lt "$1" ] || return 1
        sleep 0.1
    done
}

wait_for_try() {
    shift 2
    "$@"
}

# Nodes below a domain's data/ may be written by the domain itself and by dom0.
store_read() {
    xenstore-read "$1" 2>/dev/null
}

store_is() {
    [ "$(store_read "$1")" = "$2" ]
}

# wait_node SECONDS PATH COMMAND...: runs the command whenever something at or below the path may
# have changed, until it succeeds. Polling instead would take half of the emulated processors'
# time, because starting a program is what is slow there.
#
# The command may itself wait for another node, so everything is in positional parameters and
# redirections of calls, which the shell keeps apart for each level.
wait_node() {
    set -- "$(mktemp -u /tmp/wait.XXXXXX)" "$@"
    mkfifo "$1"
    timeout "$2" xenstore-watch "$3" >"$1" 2>/dev/null &
    wait_node_open "$!" "$@"
}

# PID PIPE SECONDS PATH COMMAND...: an open that waits for the other end fails (EINTR) when any child
# of ours ends meanwhile; then the loop has not run, and the pipe is still there.
wait_node_open() {
    until wait_node_loop "$@" 3<"$2"; do
        [ -p "$2" ] || return 1
    done
}

# PID PIPE SECONDS PATH COMMAND...
wait_node_loop() {
    rm "$2"
    # The first line comes at once: xenstore reports each new watch.
    while read -r _ <&3; do
        if wait_node_try "$@"; then
            kill "$1" 2>/dev/null || true
            wait "$1" 2>/dev/null || true
            return 0
        fi
    done
    wait "$1" 2>/dev/null || true
    return 1
}

wait_node_try() {
    shift 4
    "$@"
}
