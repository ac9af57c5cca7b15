# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh disable=SC2154
# tests/bench/bench_vfio on a device behind the emulated VT-d. Sourced after standalone.sh, whose
# helpers it uses. The times are comments: a busy machine is no reason to fail. How many system
# calls a request costs is no matter of speed.
read -r driver </lab/driver

bench_out=$(bench_vfio --driver="$driver" --rounds=100 "$one" 2>&1) ||
    bench_out="failed: $bench_out"
printf '%s\n' "$bench_out" | sed 's/^/# /'
for size in '4 KiB' '2 MiB'; do
    shows "$driver, $size, batches of 64: a call for each MAP and one for all UNMAPs" \
        "$driver $size batch 64: *; system calls per request 0.51; *" \
        sh -c "printf '%s\\n' \"\$1\" | grep '$size batch 64:'" sh "$bench_out"
done
shows "$driver, UNMAPs that do not adjoin: one call per request" \
    "$driver 4 KiB apart batch 64: *; system calls per request 1.00; *" \
    sh -c "printf '%s\\n' \"\$1\" | grep '4 KiB apart batch 64:'" sh "$bench_out"
