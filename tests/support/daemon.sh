# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh disable=SC2034,SC2119,SC2120
#
# Whole-daemon tests on fakexen, as TAP. A script sources this, calls daemon_setup and then checks.
# The cast: fakexen, the real daemon in domain 1, guests that read commands from a pipe.

: "${VIOMMU_BUILDDIR:=.}"
support=$VIOMMU_BUILDDIR/tests/support

n=0
failures=0
pids=''
guest3='' guest4=''

plan() { echo "1..$1"; }
skip_all() {
    echo "1..0 # SKIP $*"
    exit 0
}
pass() {
    n=$((n + 1))
    echo "ok $n - $1"
}
fail() { # fail NAME DETAIL
    n=$((n + 1))
    failures=$((failures + 1))
    echo "not ok $n - $1"
    printf '%s\n' "$2" | tail -n 20 | sed 's/^/# /'
}
bail() {
    echo "Bail out! $*"
    [ ! -f "$dir/daemon.log" ] || tail -n 20 "$dir/daemon.log" | sed 's/^/# /'
    exit 99
}

# is NAME GOT PATTERN: a shell pattern.
is() {
    # shellcheck disable=SC2254
    case $2 in
    $3) pass "$1" ;;
    *) fail "$1" "got:  $2
want: $3" ;;
    esac
}

# eventually NAME PATTERN COMMAND...: repeats the command until its output matches, up to 20 s.
eventually() {
    name=$1 pattern=$2 tries=0
    shift 2
    while :; do
        got=$("$@" 2>&1) || true
        # shellcheck disable=SC2254
        case $got in
        $pattern)
            pass "$name"
            return 0
            ;;
        esac
        tries=$((tries + 1))
        if [ $tries -gt 400 ]; then
            fail "$name" "got:  $got
want: $pattern"
            return 0
        fi
        sleep 0.05
    done
}

await_path() {
    tries=0
    until [ -e "$1" ]; do
        tries=$((tries + 1))
        [ $tries -le 800 ] || bail "$1 did not appear"
        sleep 0.05
    done
}

daemon_cleanup() {
    exec 3>&- 4>&- 2>/dev/null || true
    # shellcheck disable=SC2086
    [ -z "$pids" ] || kill $pids 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$dir"
}

ctl() { "$VIOMMU_BUILDDIR/viommuctl" --control "$dir/control.sock" "$@" 2>&1; }
fxl() { "$support/fakexen/fxl" "$dir" "$@" 2>&1; }
# mapped_grants [DOMID]: the grants that somebody maps.
mapped_grants() { fxl grants | grep -v '"maps":0' | grep -E "\"domid\":${1-[0-9]*}," || true; }
# xs_be read PATH: the real xenstore-read as the backend domain; xs_dom0 as domain 0.
xs_be() { xs_tool "$dir/xenstored-socket.1" "$@"; }
xs_dom0() { xs_tool "$dir/xenstored-socket" "$@"; }
xs_tool() {
    xs_socket=$1 xs_verb=$2
    shift 2
    XENSTORED_PATH=$xs_socket "xenstore-$xs_verb" "$@" 2>&1
}

# daemon_start [OPTION...]: sets $daemon.
daemon_start() {
    XENSTORED_PATH=$dir/xenstored-socket.1 FAKEXEN_DIR=$dir FAKEXEN_DOMID=1 \
        "$support/xen-viommud-fakexen" --platform=fakexen --control "$dir/control.sock" "$@" \
        >>"$dir/daemon.log" 2>&1 &
    daemon=$!
    pids="$pids $daemon"
    await_path "$dir/control.sock"
}

# daemon_setup [fakexen options]: fakexen with backend domain 1, and the daemon in it, with
# $daemon_options.
daemon_setup() {
    [ "${HAVE_XEN-yes}" = yes ] || skip_all "built without the Xen libraries"
    command -v xenstore-ls >/dev/null || skip_all "xenstore-utils are not installed"
    dir=$(mktemp -d)
    trap daemon_cleanup EXIT
    trap 'exit 130' INT TERM
    "$support/fakexen/fakexen" --dir "$dir" "$@" >"$dir/fakexen.log" 2>&1 &
    pids="$pids $!"
    await_path "$dir/toolstack"
    fxl create-domain drv --domid 1 >/dev/null || bail "fakexen does not work"
    # shellcheck disable=SC2086
    daemon_start ${daemon_options-}
}

# guest_start FD DOMID: a guest with device 0, driven through descriptor FD (3 or 4).
guest_start() {
    fxl create-domain "g$2" --domid "$2" >/dev/null
    fxl attach-virtio "$2" 1 0 >/dev/null
    guest_process "$1" "$2"
}
guest_process() {
    rm -f "$dir/in$1"
    mkfifo "$dir/in$1"
    : >"$dir/out$1"
    # The other guest's pipe must not be inherited, or it would never end.
    "$support/scripted-guest" --dir "$dir" --domid "$2" <"$dir/in$1" >"$dir/out$1" \
        2>"$dir/err$1" 3>&- 4>&- &
    eval "guest$1=\$!"
    pids="$pids $!"
    case $1 in
    3) exec 3>"$dir/in3" ;;
    4) exec 4>"$dir/in4" ;;
    esac
    eval "lines$1=1"
    guest_await "$1" 1
}
guest_await() {
    tries=0
    while [ "$(wc -l <"$dir/out$1")" -lt "$2" ]; do
        tries=$((tries + 1))
        [ $tries -le 3000 ] || bail "guest $1 does not answer: $(cat "$dir/err$1")"
        sleep 0.02
    done
}

# g FD COMMAND...: tells guest FD; its answer is in $got.
g() {
    fd=$1
    shift
    g_send "$fd" "$@"
    want_lines=0
    eval "want_lines=\$lines$fd"
    guest_await "$fd" "$want_lines"
    got=$(sed -n "${want_lines}p" "$dir/out$fd")
}
# g_send FD COMMAND...: without waiting for the answer.
g_send() {
    fd=$1
    shift
    printf '%s\n' "$*" >&"$fd"
    eval "lines$fd=\$((lines$fd + 1))"
}
# g_is FD NAME PATTERN COMMAND...
g_is() {
    fd=$1 name=$2 pattern=$3
    shift 3
    g "$fd" "$@"
    is "$name" "$got" "$pattern"
}
# g_eventually FD NAME PATTERN COMMAND...: asks again until the answer matches, up to 20 s.
g_eventually() {
    fd=$1 name=$2 pattern=$3 tries=0
    shift 3
    while :; do
        g "$fd" "$@"
        # shellcheck disable=SC2254
        case $got in
        $pattern) break ;;
        esac
        tries=$((tries + 1))
        [ $tries -le 400 ] || break
        sleep 0.05
    done
    is "$name" "$got" "$pattern"
}
