#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Draws what the benches measured: BUILD/bench/*.jsonl, as far as it is there, into docs/plots/*.svg
# (or the directory that is the first argument).
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
build=${BUILD:-$root/build}
to=${1:-$root/docs/plots}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
scale=$build/bench/scale.jsonl
results=$build/bench/results.jsonl
lines=$build/bench/lines.jsonl
mkdir -p "$to"
"$root/scripts/deps.sh" check check bench

# series LABEL FILE FILTER [ARGUMENT…]: points "x y" of one curve, if there are any. The filter gets
# all lines and gives [x, y]; of several y of one x the median is taken.
series() {
	label=$1 file=$2 filter=$3
	shift 3
	[ -s "$file" ] || return 0
	jq -r -s "$@" "[.[] | $filter | select(.[1] != null and .[1] > 0)] | group_by(.[0])[] |
		sort_by(.[1])[length / 2 | floor] | @tsv" "$file" >"$work/points"
	[ "$(wc -l <"$work/points")" -gt 1 ] || return 0
	n=$((n + 1))
	mv "$work/points" "$work/$n"
	printf '%s"%s" using 1:2 with linespoints linewidth 2 pointtype 7 pointsize 0.4 title "%s"' \
		"${plots:+, }" "$work/$n" "$label" >>"$work/plots"
	plots=1
}

# plot NAME TITLE X Y [COMMAND…]: the series since the last plot; nothing if there are none
plot() {
	name=$1 title=$2 x=$3 y=$4
	shift 4
	if [ -n "$plots" ]; then
		{
			echo 'set terminal svg size 720,400 dynamic noenhanced font "sans-serif,13" linewidth 1'
			echo "set output '$work/$name.svg'"
			printf 'set title "%s"\nset xlabel "%s"\nset ylabel "%s"\n' "$title" "$x" "$y"
			echo 'set key outside right top reverse Left samplen 1.5'
			echo 'set grid linecolor rgb "#808080" linewidth 0.4 dashtype 3'
			echo 'set border 3; set tics nomirror; set autoscale xfix; set logscale x; set yrange [0:*]'
			i=0
			for colour in 2f81f7 d1712c 3fa45b a371f7 d64d4d 7d8590 b8860b 1b9aaa e377c2 6f8f2f \
				8c6bb1 c98a8a 4e9a9a; do
				i=$((i + 1))
				echo "set linetype $i linecolor rgb '#$colour'"
			done
			for command in "$@"; do
				echo "$command"
			done
			echo "plot $(cat "$work/plots")"
		} >"$work/script"
		gnuplot "$work/script"
		"$root/scripts/bench/svg.py" <"$work/$name.svg" >"$to/$name.svg"
		echo "$to/$name.svg"
	fi
	: >"$work/plots"
	plots=
}
plots=
n=0
: >"$work/plots"

# ---- scale.jsonl -------------------------------------------------------------------------------

# of CURVE MEMBER LABEL [PATH]
of() {
	series "$3" "$scale" "select(.curve == \$curve and (\$path == \"\" or .path == \$path)) |
		[.x, .$2]" --arg curve "$1" --arg path "${4:-}"
}
count='set format x "%.0s%c"'

# Times of the proxy's CPU and of the verdict: other work on the machine disturbs these least.
of lanes verdict_ns "median of bursts"
of lanes verdict_best_ns "best burst"
plot scale-lanes "The verdict, lanes at random" lanes ns "$count"

of lanes open_cpu_us "opening a lane"
of shared subscribe_cpu_us "one more subscriber of a subject"
plot scale-open "Becoming one of many: proxy's CPU" "lanes, subscribers" µs "$count"

of flows verdict_ns "one sender, median"
of flows verdict_best_ns "one sender, best burst"
of senders verdict_ns "100 senders, median"
of senders verdict_best_ns "100 senders, best burst"
plot scale-flows "The verdict, flows at random" flows ns "$count"

of subscriptions subscribe_cpu_us "SUBSCRIBE"
of subscriptions declare_cpu_us "DECLARE: a look-up"
of subscriptions publish_cpu_us "a message to three"
of subscriptions change_cpu_us "SUBSCRIBE where messages flow"
plot scale-subscriptions "Subscriptions, three quarters with wildcards: proxy's CPU" subscriptions µs \
	"$count"

of publishers message_ns "kernel path on" on
of publishers message_ns "kernel path off" off
of publishers proxy_cpu_ns "proxy's CPU, on" on
of publishers proxy_cpu_ns "proxy's CPU, off" off
plot scale-publishers "64 B to one subscriber: time of a message" publishers ns "set xtics (1,2,4,8,16,32,64)"

of fan-out message_ns "kernel path on" on
of fan-out message_ns "kernel path off" off
of fan-out proxy_cpu_ns "proxy's CPU, on" on
of fan-out proxy_cpu_ns "proxy's CPU, off" off
plot scale-fan-out "64 B to each of many: time of a delivery" subscribers ns \
	"set xtics (1,2,4,8,16,32,64,128,256,512)"

of frames verdict_ns "verdict"
of frames verdict_best_ns "its best burst"
plot verdict "client_verdict, by the frames of a send" frames ns "set xtics (1,2,4,8,16,32,64)"

bytes='set format x "%.0b%B"; set logscale x 2'
for path in on off; do
	series "kernel path $path" "$scale" 'select(.curve == "size" and .path == $path) |
		[.x, .x * .messages_per_second / 1048576]' --arg path $path
done
plot scale-size "One publisher, one subscriber" "bytes of a message" MiB/s "$bytes"

# ---- lines.jsonl -------------------------------------------------------------------------------

series "pipes" "$lines" '[.line, .pipes.cpu_ms_gib]'
series "plain buffers" "$lines" '[.line, .plain.cpu_ms_gib]'
series "stdio" "$lines" '[.line, .stdio.cpu_ms_gib]'
series "copying alone" "$lines" '[.line, .copy.cpu_ms_gib]'
plot lines "A newline server: its CPU time" "bytes of a line" "ms/GiB" "$bytes" "set logscale y; set yrange [*:*]"
series "plain buffers" "$lines" '[.line, .plain.cpu_ms_gib / .pipes.cpu_ms_gib]'
series "stdio" "$lines" '[.line, .stdio.cpu_ms_gib / .pipes.cpu_ms_gib]'
plot lines-ratio "A newline server: CPU time, divided by that on pipes" "bytes of a line" ratio "$bytes"

# ---- results.jsonl: xylem and its peers --------------------------------------------------------

transports() {
	[ ! -s "$results" ] ||
		jq -r 'select(.kind == "run") | .transport' "$results" | sort -u |
			sed -n '/^xylem/p; /^xylem/!H; ${x; s/^\n//; p}'
}
for placement in one free; do
	for transport in $(transports); do
		series "$transport" "$results" 'select(.kind == "run" and .case == "request" and
			.transport == $transport and .placement == $placement and .size == 64) |
			.latency // {} | ([1, .min_ns], [2, .p50_ns], [3, .p90_ns], [4, .p99_ns],
			[5, .p99_9_ns]) | [.[0], (.[1] // 0) / 1000]' \
			--arg transport "$transport" --arg placement $placement
	done
	plot latency-$placement "Round trip, 64 B, $([ $placement = one ] && echo "one core" || echo "all cores")" \
		percentile µs "unset logscale x; set logscale y; set yrange [*:*]" \
		'set xtics ("min" 1, "50" 2, "90" 3, "99" 4, "99.9" 5)'
done
for case in batch each fan8; do
	for transport in $(transports); do
		series "$transport" "$results" 'select(.kind == "run" and .case == $case and
			.transport == $transport) | [.size, .messages_per_second / 1000]' \
			--arg transport "$transport" --arg case $case
	done
	case $case in
	batch) title="One to one, as the library sends" ;;
	each) title="One to one, a send for each message" ;;
	fan8) title="One to eight, deliveries, as the library sends" ;;
	esac
	plot throughput-$case "$title" "bytes of a message" "thousands a second" "$bytes" \
		"set logscale y; set yrange [*:*]"
done

servers() {
	[ ! -s "$results" ] ||
		jq -r 'select(.kind == "connections") | .server' "$results" | sort -u
}
for server in $(servers); do
	series "$server" "$results" 'select(.kind == "connections" and .server == $server) |
		[.connections, .bytes_each / 1024]' --arg server "$server"
done
plot connections "Memory of an idle subscriber" connections KiB "$count"
