#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Packs an initial file system that runs built tests: scripts/vm/init, busybox, the runner, the
# tests, the program, the chaos run, and the libraries that they need.
#
#   scripts/vm/make-initrd.sh BUILD FILE LEVEL/TEST…     e.g. build build/vm/initrd kernel/test_slots
set -euo pipefail

[[ $# -ge 3 ]] || { sed -n '4,8s/^# \?//p' "$0" >&2; exit 2; }
here=$(dirname "$(realpath "$0")")
build=$(realpath "$1") file=$(realpath -m "$2")
shift 2

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
# Tests run as others, too.
chmod 755 "$root"
mkdir -p "$root"/{bin,dev,etc,proc,sys,tmp,run,lib64,xylem/{scripts,build}}
chmod 1777 "$root/tmp"
mkdir -p "$root"/xylem/tests/{kernel,e2e}
# Users that tests name.
printf '%s\n' root:x:0:0::/tmp:/bin/sh nobody:x:65534:65534::/tmp:/bin/sh >"$root/etc/passwd"
printf '%s\n' root:x:0: nogroup:x:65534: >"$root/etc/group"
install -m 600 /dev/null "$root/etc/shadow"

# carry PROGRAM DIRECTORY: with the libraries that it needs.
carry() {
	local library
	mkdir -p "$root$2"
	cp "$1" "$root$2/"
	while read -r library; do
		mkdir -p "$root$(dirname "$library")"
		cp -nL "$library" "$root$library"
	done < <(ldd "$1" 2>/dev/null | grep -oE '/[^ ]+' | grep -vF "$build/" | sort -u)
}

cp "$here/init" "$root/init"
cp "$here/../check.sh" "$root/xylem/scripts/"
carry "$(command -v busybox)" /bin
carry "$(command -v bash)" /bin
carry "$(command -v realpath)" /bin
carry "$build/xylem" /xylem/build
for test in "$@"; do
	carry "$build/tests/$test" "/xylem/build/tests/$(dirname "$test")"
	# The runner asks whether a test still has its source.
	touch "$root/xylem/tests/$test.c"
done
for extra in chaos/chaos tests/{faults,captive,kernel}.so examples/lines; do
	[[ ! -e $build/$extra ]] || carry "$build/$extra" "/xylem/build/$(dirname "$extra")"
done
cp -P "$build"/libxylem.so* "$root/xylem/build/"

# Not compressed: a guest without KVM unpacks slowly.
mkdir -p "$(dirname "$file")"
(cd "$root" && find . | cpio -o -H newc --quiet) >"$file.tmp"
mv "$file.tmp" "$file"
