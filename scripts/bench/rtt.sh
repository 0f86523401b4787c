#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Round trips: direct TCP, lanes, and the same proxy without its kernel path; everything on one core,
# then on two. Needs root for the lanes. BUILD is the build directory.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
build=${BUILD:-$root/build}
work=$(mktemp -d)
pids=

stop() {
	for pid in $pids; do
		kill "$pid" 2>/dev/null || true
	done
	wait
	pids=
}
trap 'stop; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

# serve CPUS NAME KERNEL_PATH
serve() {
	taskset -c "$1" "$build/xylem" serve --listen "127.0.0.1:$2" --kernel-path "$3" \
		--instance "rtt-$$-$2" --admin "$work/$2.sock" --log-level warn &
	pids="$pids $!"
	n=0
	until "$build/xylem" status --ready --admin "$work/$2.sock" >/dev/null 2>&1; do
		n=$((n + 1))
		if [ $n -ge 100 ]; then
			echo "rtt.sh: the proxy does not start" >&2
			exit 1
		fi
		sleep 0.1
	done
}

${CC:-cc} -std=gnu17 -D_GNU_SOURCE -O2 -Wall -Wextra -Werror -pthread -I"$root/include" \
	"$root/scripts/bench/rtt.c" "$build/libxylem.a" -ljansson -lisal -lurcu-memb \
	-lurcu-common -o "$work/rtt"

for cpus in 0,0 0,1; do
	ask=${cpus%,*}
	answer=${cpus#*,}
	[ "$answer" -lt "$(nproc)" ] || continue
	port=$((20000 + $$ % 20000))
	serve "$cpus" $port on
	serve "$cpus" $((port + 1)) off
	echo "one side on CPU $ask, the other on CPU $answer, the proxy on $cpus:"
	"$work/rtt" "$ask" "$answer" "lane=127.0.0.1:$port" "user=127.0.0.1:$((port + 1))"
	stop
done
