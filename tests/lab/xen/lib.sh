# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
# shellcheck disable=SC2034 # the variables are for the scripts that source this file
# Helpers of the Xen lab, for the scripts that run on the host. Sourced, never run.

lab_dir=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
lab_top=$(CDPATH='' cd -- "$lab_dir/../../.." && pwd)

say() {
    printf 'xen-lab: %s\n' "$*" >&2
}

die() {
    say "FAILED: $*"
    exit 1
}

# need PROGRAM PACKAGE ...: ends the script with one message that names every missing package.
need() {
    missing=''
    while [ $# -ge 2 ]; do
        command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
        shift 2
    done
    [ -z "$missing" ] || die "programs are missing; install with: apt-get install$missing"
}

need_root() {
    [ "$(id -u)" = 0 ] || die "must run as root (chroot, mounts, device nodes)"
}

cache_dir() {
    printf '%s\n' "${VIOMMU_LAB_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/xen-viommu}"
}

# Everything that the lab builds with, boots and runs comes out of one Debian 13 tree.
lab_suite=trixie
lab_xen=4.20
lab_packages="gcc make libc6-dev autoconf automake pkg-config
    libxen-dev libcunit1-dev libjansson-dev libseccomp-dev
    linux-image-amd64 linux-headers-amd64
    xen-hypervisor-$lab_xen-amd64 xen-utils-$lab_xen xenstore-utils
    qemu-system-x86 kmod cpio xz-utils busybox-static ${VIOMMU_LAB_EXTRA_PACKAGES:-}"
# Guests may have Debian 12's kernel instead (VIOMMU_LAB_GUEST=6.1). Its modules are built in a
# tree of that release; the programs stay Debian 13's.
lab_packages_6_1="gcc make libc6-dev linux-image-amd64 linux-headers-amd64 linux-source-6.1 xz-utils"
# Raise this when the way the tree is made changes: older trees are then not used any more.
lab_tree_format=1

# lab_package_list SUITE
lab_package_list() {
    case $1 in
    "$lab_suite") lab_package_words=$lab_packages ;;
    bookworm) lab_package_words=$lab_packages_6_1 ;;
    *) die "no packages are known for a tree of $1" ;;
    esac
    # shellcheck disable=SC2086 # the list is meant to be split
    printf '%s\n' $lab_package_words | sort
}

# tree_path [SUITE]
tree_path() {
    tree_suite=${1:-$lab_suite}
    key=$({ echo "$tree_suite $lab_tree_format"; lab_package_list "$tree_suite"; } |
        sha256sum | cut -c1-16)
    printf '%s/tree-%s-%s\n' "$(cache_dir)" "$tree_suite" "$key"
}

# in_tree TREE FOLDER COMMAND...: runs a command inside the tree, with FOLDER at /mnt. The mounts
# live in a namespace of their own, so that nothing is left behind whatever happens, and the tree
# itself stays as it was made.
in_tree() {
    in_tree_root=$1
    in_tree_folder=$2
    shift 2
    # shellcheck disable=SC2016 # for the inner shell
    unshare --mount --propagation private -- sh -euc '
        mount --bind "$2" "$1/mnt"
        mount -t proc proc "$1/proc"
        root=$1
        shift 2
        exec chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LC_ALL=C.UTF-8 "$@"
    ' sh "$in_tree_root" "$in_tree_folder" "$@"
}

# emulate SECONDS TREE FOLDER LOG ARGUMENT...: QEMU in FOLDER, without hardware virtualization, for so
# long at most; the serial console goes to LOG. The tree's QEMU, not the machine's: with Debian 12's
# (7.2) Xen's HVM guests sometimes end in a triple fault (docs/testing.md).
emulate() {
    emulate_limit=$1 emulate_tree=$2 emulate_folder=$3 emulate_log=$4
    shift 4
    # shellcheck disable=SC2016 # for the inner shell
    in_tree "$emulate_tree" "$emulate_folder" sh -euc 'cd /mnt && exec "$@"' sh \
        timeout -k 5 "$emulate_limit" qemu-system-x86_64 -accel tcg -nodefaults -no-user-config \
        -display none -monitor none -serial stdio -no-reboot "$@" </dev/null >"$emulate_log"
}
