#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# What the Xen lab's recovery part does inside the driver domain, as drv-recover.sh COMMAND...
#
#   begin             the daemon anew, with state files and many recoveries allowed
#   kill COUNT HOW    kills the worker COUNT times with -9 and waits for the last successor. HOW:
#                     stopped   stopped first, until the guest's request waits for it for certain
#                     running   at no particular point
#                     twice     running, and its successor while that takes over
#   kill-start COUNT  the same in the background, running; kill-wait waits for the end
#   supervisor        kills the supervisor with -9 and starts it anew
#   times             how long the successors took to take over
set -u
# shellcheck source-path=SCRIPTDIR source=domain.sh
. /lab/domain.sh

log=/tmp/daemon.log
options='--state-dir /run/viommu-states --max-recoveries 100000'

supervisor() {
    cat /run/lab-daemon.pid
}

start_daemon() {
    # shellcheck disable=SC2086 # options, one per word
    xen-viommud $options >>$log 2>&1 &
    echo $! >/run/lab-daemon.pid
    wait_for 20 viommuctl list >/dev/null
}

alive() {
    # Ours to reap or not: a process that is dead but not waited for is gone.
    [ -e "/proc/$1/status" ] && ! grep -q '^State:.Z' "/proc/$1/status"
}

dead() {
    ! alive "$1"
}

# The supervisor has no other children. Busybox has no pgrep here.
worker_is_not() {
    worker=$(grep -l "^PPid:.$(supervisor)\$" /proc/[0-9]*/status 2>/dev/null | tail -n 1)
    worker=${worker#/proc/}
    worker=${worker%/status}
    [ -n "$worker" ] && [ "$worker" != "$1" ] && alive "$worker"
}

took_over() {
    grep -c 'took over within' $log
}

more_than() {
    [ "$(took_over)" -gt "$1" ]
}

kill_one() {
    worker_is_not "${old:-0}" || wait_for 20 worker_is_not "${old:-0}" || return 1
    old=$worker
    if [ "$1" = stopped ]; then
        kill -STOP "$old"
        # Under load the guest runs until it waits for an answer, which is a matter of moments.
        sleep 0.2
    fi
    kill -9 "$old"
}

# Between two kills: a part of a second that is another one each time.
pause() {
    sleep "0.$((killed * 7 % 30 + 10))"
}

kill_many() {
    killed=0
    while [ $killed -lt "$1" ]; do
        before=$(took_over)
        kill_one "$2" || return 1
        killed=$((killed + 1))
        if [ "$2" = twice ]; then
            kill_one running || return 1
            killed=$((killed + 1))
        fi
        wait_for 40 more_than "$before" || return 1
        pause
    done
    echo "killed $killed"
}

restart() {
    old_daemon=$(supervisor)
    kill "-$1" "$old_daemon"
    wait_for 20 dead "$old_daemon" || return 1
    start_daemon
}

case $1 in
begin)
    mkdir -p /run/viommu-states
    restart TERM
    ;;
kill) kill_many "$2" "$3" ;;
kill-start)
    rm -f /tmp/kill-ended
    (kill_many "$2" running && echo yes >/tmp/kill-ended || echo failed >/tmp/kill-ended) \
        >/dev/null 2>&1 &
    ;;
kill-wait)
    wait_for 80 test -e /tmp/kill-ended && grep yes /tmp/kill-ended
    ;;
supervisor) restart KILL ;;
times)
    grep -o 'took over within [0-9]* ms' $log | cut -d ' ' -f 4 | sort -n | awk '
        { t[NR] = $1; sum += $1 }
        END { printf "%d, ms: median %d, p95 %d, longest %d, mean %d\n", NR, t[int((NR + 1) / 2)],
            t[int(NR * 0.95 + 0.99)], t[NR], sum / NR }'
    ;;
*)
    echo "no command $1"
    exit 1
    ;;
esac
