#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Makes the root filesystem of a container that runs the program, and nothing else: the program and
# the libraries that it names.
#
#   scripts/image/root.sh PROGRAM DIRECTORY
#
# DIRECTORY must be empty or not there. Prints the number of bytes of all files.
set -euo pipefail
program=$1 root=$2

mkdir -p "$root"
[[ -z $(ls -A "$root") ]] || { echo "image: $root is not empty" >&2 && exit 1; }
# Places for what is mounted.
mkdir -p "$root"/{bin,dev,etc,host,proc,run,sys,tmp}
install -m 755 -s "$program" "$root/bin/xylem"
ldd "$program" | grep -o '/[^ ]*' | while read -r library; do
	install -D -m 755 "$library" "$root$library"
done
find "$root" -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum }'
