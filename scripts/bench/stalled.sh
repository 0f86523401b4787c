#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# A healthy and a never-reading subscriber beside each other: xylem under each overflow policy, with
# its kernel path on and off, NATS and Redis; one after the other in one run. Needs root for the
# lanes, and the packages nats-server redis-server libnats-dev libhiredis-dev (a server that is
# missing is left out). BUILD is the build directory, DURATION the seconds of each run (9).
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
build=${BUILD:-$root/build}
duration=${DURATION:-9}
work=$(mktemp -d)
pids=
PATH=$PATH:/usr/sbin

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
		[ $n -lt 100 ] || { echo "stalled.sh: never came true: $*" >&2; exit 1; }
		sleep 0.1
	done
}

${CC:-cc} -std=gnu17 -D_GNU_SOURCE -O2 -Wall -Wextra -Werror -pthread -I"$root/include" \
	"$root/scripts/bench/stalled.c" "$build/libxylem.a" -lnats -lhiredis -ljansson -lisal \
	-lurcu-memb -lurcu-common -o "$work/stalled"

port=$((20000 + $$ % 20000))
printf '%-28s %8s %8s %13s %13s %8s %9s %12s\n' "$duration s, 20,000/s of 1 KiB" alone beside \
	"longest stall" "worst latency" lost cut peak

for path in on off; do
	for policy in block drop-newest drop-oldest disconnect; do
		port=$((port + 1))
		"$build/xylem" serve --listen "127.0.0.1:$port" --kernel-path $path \
			--instance "stalled-$$-$port" --admin "$work/admin.sock" --log-level error &
		pids=$!
		until_it "$build/xylem" status --ready --admin "$work/admin.sock"
		"$work/stalled" "$duration" "$pids" "xylem $policy, lanes $path" xylem \
			"127.0.0.1:$port" "$policy"
		stop
	done
done

port=$((port + 1))
if command -v nats-server >/dev/null; then
	nats-server -a 127.0.0.1 -p $port >"$work/nats.log" 2>&1 &
	pids=$!
	until_it grep -q 'Server is ready' "$work/nats.log"
	"$work/stalled" "$duration" "$pids" "NATS" nats "127.0.0.1:$port"
	stop
fi

port=$((port + 1))
if command -v redis-server >/dev/null; then
	redis-server --bind 127.0.0.1 --port $port --save '' --appendonly no >"$work/redis.log" 2>&1 &
	pids=$!
	until_it grep -q 'Ready to accept' "$work/redis.log"
	"$work/stalled" "$duration" "$pids" "Redis" redis "127.0.0.1:$port"
	stop
fi
