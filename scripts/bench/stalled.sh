#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
. "$(dirname "$0")/bench.sh"

usage() {
	cat <<'TEXT'
Usage: scripts/bench/stalled.sh [--judge]

A healthy and a never-reading subscriber beside each other: xylem under each overflow policy, with its
kernel path on and off, NATS and Redis; one after the other in one run. Needs root for the lanes, and
the packages nats-server redis-server libnats-dev libhiredis-dev (a server that is missing is left
out).

  --judge  xylem alone, and each figure against what is promised: with drop-newest, drop-oldest and
           disconnect the publisher stalls for at most 10 ms and the healthy subscriber waits for at
           most 40 ms; with block at most the stalled one's patience and 100 ms, once; nothing is lost
           for the healthy one. Names each figure that misses, and exits 1. For a machine that does
           nothing else, before a release: what it judges is time, so no test runs it. Which mechanism
           keeps a promise is tested by counters: tests/e2e/test_stalled.c.

Environment: BUILD (the build directory), DURATION (seconds of each run, 9), PATHS (on off), POLICIES
(block drop-newest drop-oldest disconnect).
TEXT
}

judge=
case ${1:-} in
'') ;;
--judge) judge=--judge ;;
--help) usage && exit ;;
*) usage >&2 && exit 2 ;;
esac

duration=${DURATION:-9}
PATH=$PATH:/usr/sbin
missed=0

# shellcheck disable=SC2086 # words
compile stalled $library -lnats -lhiredis
next=$((20000 + $$ % 20000))
printf '%-28s %8s %8s %13s %13s %8s %9s %12s\n' "$duration s, 20,000/s of 1 KiB" alone beside \
	"longest stall" "worst latency" lost cut peak

for path in ${PATHS:-on off}; do
	for policy in ${POLICIES:-block drop-newest drop-oldest disconnect}; do
		next=$((next + 1))
		proxy $next $path
		"$work/stalled" $judge "$duration" $! "xylem $policy, lanes $path" xylem \
			"127.0.0.1:$next" $policy || missed=1
		stop
	done
done
[ -z "$judge" ] || exit $missed
[ $missed = 0 ]

next=$((next + 1))
if command -v nats-server >/dev/null; then
	nats-server -a 127.0.0.1 -p $next >"$work/nats.log" 2>&1 &
	pids=$!
	until_it grep -q 'Server is ready' "$work/nats.log"
	"$work/stalled" "$duration" "$pids" "NATS" nats "127.0.0.1:$next"
	stop
fi

next=$((next + 1))
if command -v redis-server >/dev/null; then
	redis-server --bind 127.0.0.1 --port $next --save '' --appendonly no >"$work/redis.log" 2>&1 &
	pids=$!
	until_it grep -q 'Ready to accept' "$work/redis.log"
	"$work/stalled" "$duration" "$pids" "Redis" redis "127.0.0.1:$next"
	stop
fi
