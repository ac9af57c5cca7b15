# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh disable=SC2034,SC2154
#
# Shared by scripts/check, scripts/demo and the labs: packages, build trees, counting results.
# Sourced with the repository's root in $top.

# What a plain build, its tests and the demo need, as Debian packages.
build_packages="gcc make autoconf automake pkg-config libjansson-dev libxen-dev libcunit1-dev \
libseccomp-dev xenstore-utils"
# What scripts/check needs besides.
check_packages="clang libclang-rt-14-dev clang-format valgrind shellcheck man-db ccache python3 \
xz-utils git"
# What the labs need besides.
lab_packages="mmdebstrap cpio xz-utils busybox-static"

say() { printf '%s\n' "$*"; }
die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 2
}

package_present() {
    dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q '^install ok installed$'
}

# Installs the named packages when run as root; otherwise says which are missing and ends.
need_packages() {
    missing=
    for package; do
        package_present "$package" || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" -ne 0 ]; then
        die "these Debian packages are missing (apt-get install them, or run as root):$missing"
    fi
    say "installing:$missing"
    log=$(mktemp)
    # Package lists of a fresh machine may be old or absent: update once, then install.
    # shellcheck disable=SC2086
    if ! { apt-get -q update && DEBIAN_FRONTEND=noninteractive \
        apt-get -q -y --no-install-recommends install $missing; } >"$log" 2>&1; then
        cat "$log" >&2
        die "apt could not install:$missing"
    fi
    rm -f "$log"
}

compiler() {
    if command -v ccache >/dev/null 2>&1; then printf 'ccache %s' "$1"; else printf '%s' "$1"; fi
}

# autoreconf, when a source of it is newer than configure.
bootstrap() {
    if [ -x "$top/configure" ] && [ -z "$(find "$top" -path "$top/build" -prune -o \
        \( -name '*.mk' -o -name Makefile.am -o -name configure.ac \) -newer "$top/configure" \
        -print | head -n 1)" ]; then
        return 0
    fi
    (cd "$top" && autoreconf -fi) >"$top/.bootstrap.log" 2>&1 || {
        cat "$top/.bootstrap.log" >&2
        die "autoreconf failed"
    }
    rm -f "$top/.bootstrap.log"
}

# build_tree NAME CC [configure options]: a VPATH tree in build/NAME, configured and up to date.
build_tree() {
    tree=$top/build/$1 cc=$2
    shift 2
    mkdir -p "$tree"
    if [ ! -f "$tree/Makefile" ] ||
        [ -n "$(find "$top/configure" -newer "$tree/Makefile")" ]; then
        (cd "$tree" && "$top/configure" -q CC="$(compiler "$cc")" "$@") >"$tree/configure.out" 2>&1 || {
            tail -n 30 "$tree/configure.out" >&2
            die "configure failed in $tree"
        }
    fi
    make -C "$tree" -j"$(nproc)" -s >"$tree/make.out" 2>&1 || {
        tail -n 60 "$tree/make.out" >&2
        die "make failed in $tree"
    }
}
