# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=sh
# What the benches share; to be sourced. Sets $root, $build, $library and $work, a directory that goes
# at the end. The processes in $pids end with the bench, or by stop().
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
build=${BUILD:-$root/build}
work=$(mktemp -d)
pids=
# To be linked: the library, and what it needs.
# shellcheck disable=SC2034 # by those who source this
library="$build/libxylem.a $(sed -n 's/^Libs.private: //p' "$build/xylem.pc")"

stop() {
	for pid in $pids; do
		kill "$pid" 2>/dev/null || true
	done
	wait
	pids=
}
trap 'stop; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

# until_it COMMAND…: waits until it succeeds.
until_it() {
	n=0
	until "$@" >/dev/null 2>&1; do
		n=$((n + 1))
		[ $n -lt 100 ] || { echo "$(basename "$0"): never came true: $*" >&2; exit 1; }
		sleep 0.1
	done
}

# compile NAME [ARGUMENT…]: scripts/bench/NAME.c into $work/NAME
compile() {
	name=$1
	shift
	${CC:-cc} -std=gnu17 -D_GNU_SOURCE -O2 -Wall -Wextra -Werror -pthread -I"$root/include" \
		"$root/scripts/bench/$name.c" "$@" -o "$work/$name"
}

# proxy PORT KERNEL_PATH [COMMAND…]: xylem on that port, started by the command; its pid is $!
proxy() {
	port=$1 path=$2
	shift 2
	"$@" "$build/xylem" serve --listen "127.0.0.1:$port" --kernel-path "$path" \
		--instance "bench-$$-$port" --admin "$work/$port.sock" --log-level error &
	pids="$pids $!"
	until_it "$build/xylem" status --ready --admin "$work/$port.sock"
}
