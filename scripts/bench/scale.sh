#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
. "$(dirname "$0")/bench.sh"

usage() {
	cat <<'TEXT'
Usage: scripts/bench/scale.sh [--quick] [CURVE…]

How the cost of a message, or of an operation, grows with the number of things. Curves (all):

  lanes          connections that are lanes, in pairs
  shared         subscribers of one subject that is published on
  flows          routes in the kernel, of one sender
  senders        the same, of a hundred senders
  frames         frames in a send
  subscriptions  subscriptions, three quarters of them with wildcards
  library        subscriptions of one client of libxylem, each with a message
  publishers     publishers to one subscriber
  fan-out        subscribers that get each message
  size           bytes of a message
  loops          threads of the proxy, four pairs beside each other, kernel path off

Each point is a line of JSON in BUILD/bench/scale.jsonl, where those of other curves stay. Needs root for the
lanes. About eight minutes; --quick: small points only, one minute.

Environment: BUILD (the build directory), SECONDS_EACH (of each of three runs for a
point of xylem bench, 1).
TEXT
}

quick=
curves=
for word in "$@"; do
	case $word in
	--quick) quick=1 ;;
	--help) usage && exit ;;
	-*) usage >&2 && exit 2 ;;
	*) curves="$curves $word" ;;
	esac
done
curves=${curves:-lanes shared flows senders frames subscriptions library publishers fan-out size loops}
seconds=${SECONDS_EACH:-${quick:+0.2}}
seconds=${seconds:-1}

out=$build/bench/scale.jsonl
mkdir -p "$build/bench"
touch "$out"
jq -c --arg curves "$curves" 'select(.curve | IN($curves | split(" ")[]) | not)' "$out" >"$work/others"
cp "$work/others" "$out"
next=$((20000 + $$ % 20000))
ulimit -n 20000 2>/dev/null || true

here=$root/scripts/bench
# shellcheck disable=SC2086 # words
compile scale "$here/scale_lanes.c" "$here/scale_flows.c" "$here/scale_subjects.c" \
	"$here/scale_library.c" "$here/wire.c" "$here/gauge.c" $library -lbpf

# points SMALL LARGE: which of the two lists
points() { [ -n "$quick" ] && echo "$1" || echo "$2"; }

# told: to the file, and as progress
told() { tee -a "$out" | cut -c1-160 >&2; }

# serve PATH [OPTION…]: a proxy of the curve's own
serve() {
	next=$((next + 1))
	port=$next path=$1
	shift
	"$build/xylem" serve --listen "127.0.0.1:$port" --kernel-path "$path" \
		--instance "bench-$$-$port" --admin "$work/$port.sock" --log-level error "$@" &
	pids=$!
	until_it "$build/xylem" status --ready --admin "$work/$port.sock"
}

# ended CURVE: how often a loop of the proxy was stuck
ended() {
	"$build/xylem" status --json --admin "$work/$port.sock" |
		jq -c --arg curve "$1" '{bench: "scale", curve: $curve, stuck: .counters.stuck_loops}' |
		told
	stop
}

# of_one CURVE POINTS [OPTION…]: a curve of scale.c
of_one() {
	curve=$1 list=$2
	shift 2
	serve on "$@"
	# shellcheck disable=SC2086 # a list
	"$work/scale" "$curve" "$pids" "$port" "bench-$$-$port" $list | told
	ended "$curve"
}

# works CURVE OPTION POINTS [OPTION…]: a curve of xylem bench, both ways of the proxy
works() {
	curve=$1 option=$2 list=$3
	shift 3
	for path in on off; do
		serve $path
		for x in $list; do
			"$build/xylem" bench publish --server "127.0.0.1:$port" \
				--admin "$work/$port.sock" --duration "${seconds}s" \
				--warmup 200ms --repeat 3 --json "$option" "$x" "$@" |
				curve_line "$curve" "$x" $path | told
		done
		stop
	done
}

# curve_line CURVE X PATH: of the lines of xylem bench that of the fastest run: whatever else the
# machine does makes it slower
curve_line() {
	jq -c -s --arg curve "$1" --arg x "$2" --arg path "$3" '(all(.good)) as $good |
		max_by(.messages_per_second) | {bench: "scale", curve: $curve, x: ($x | tonumber),
		path: $path, message_ns: (1e9 / .messages_per_second),
		messages_per_second, proxy_cpu_ns: .proxy.cpu_ns_per_message,
		switches: .proxy.switches_per_message, lane, $good}'
}

for curve in $curves; do
	echo "== $curve" >&2
	case $curve in
	lanes) of_one lanes "$(points '2 20 200' '2 10 100 1000 2000 4000')" ;;
	shared) of_one shared "$(points '1 10 100' '1 10 100 500 1000 2000 4000')" ;;
	flows) of_one flows "$(points '1 10 100' '1 10 100 1000 10000 100000')" --flows 131072 ;;
	senders) of_one senders "$(points '1 10 100' '1 10 100 1000 10000 100000')" --flows 131072 ;;
	frames) of_one frames '1 2 4 8 16 32 64' ;;
	subscriptions)
		of_one subscriptions \
			"$(points '10 1000 10000' '10 100 1000 10000 100000 300000 1000000')"
		;;
	library) of_one library "$(points '1 10 100' '1 10 100 1000 10000')" ;;
	publishers) works publishers --publishers "$(points '1 4' '1 2 4 8 16 32 64')" ;;
	fan-out)
		works fan-out --subscribers "$(points '1 8' '1 2 4 8 16 32 64 128 256 512')"
		;;
	size)
		works size --size \
			"$(points '64 16384' '64 256 1024 4096 16384 65536 262144 1048576')"
		;;
	loops)
		loops=1
		while [ $loops -le "$(nproc)" ]; do
			serve off --loops $loops
			"$build/xylem" bench publish --pairs --publishers 4 --subscribers 4 \
				--server "127.0.0.1:$port" --admin "$work/$port.sock" \
				--duration "${seconds}s" --warmup 200ms --repeat 3 --json |
				curve_line loops $loops off | told
			stop
			loops=$((loops * 2))
		done
		;;
	*) usage >&2 && exit 2 ;;
	esac
done
if [ "$(jq -s 'map(select(.good == false)) | length' "$out")" != 0 ]; then
	echo "scale: a message was wrong: see $out" >&2
	exit 1
fi
if [ "$(jq -s 'map(.stuck // 0) | add // 0' "$out")" != 0 ]; then
	echo "scale: loops did not come round for 100 ms: this machine was busy otherwise, or they were" >&2
fi
echo "$out: $(wc -l <"$out") lines" >&2
