#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Messages between sockets without lanes: xylem's pipes against splice() and tee() through kernel
# pipes, in one run. Arguments: MiB of each run (64), rounds (7). BUILD is the build directory.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
build=${BUILD:-$root/build}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

${CC:-cc} -std=gnu17 -D_GNU_SOURCE -O2 -Wall -Wextra -Werror -I"$root/include" \
	"$root/scripts/bench/splice.c" "$build/libxylem.a" -pthread -o "$work/splice"
"$work/splice" "$@"
