#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Two newline servers, one on pipes (docs/examples/lines.c) and one on plain buffers
# (lines_plain.c), with lines of 16 B to 64 KiB, and a server that sends back what it reads, all in
# one run. Arguments: MiB of each run (32), rounds (7). BUILD is the build directory.
#
# Columns: bytes of a line; MiB/s and CPU time per GiB of the server on pipes; of that on plain
# buffers; of the one that only copies; CPU time, and time, of plain buffers divided by that of pipes.
# The same as JSON in BUILD/bench/lines.jsonl.
. "$(dirname "$0")/bench.sh"

compile lines_plain
compile lines_load
mkdir -p "$build/bench"

# serve NAME COMMAND…: adds PID=PORT to $servers
servers=
serve() {
	name=$1
	shift
	"$@" >"$work/$name" &
	pids="$pids $!"
	until_it grep -q port "$work/$name"
	servers="$servers $!=$(sed 's/.* //' "$work/$name")"
}

serve pipes "$build/examples/lines" --port 0
serve plain "$work/lines_plain"
serve copy "$work/lines_plain" copy
# shellcheck disable=SC2086 # three words
"$work/lines_load" $servers "$@" | tee "$build/bench/lines.jsonl" |
	jq -r --unbuffered '[.line, (.pipes, .plain, .copy | .mib_s, .cpu_ms_gib), .ratio_cpu,
		.ratio_wall] | map(tostring) | join(" ")' |
	while read -r line pipes pipes_cpu plain plain_cpu copy copy_cpu cpu wall; do
		printf '%6d  %6.0f MiB/s %5.0f ms/GiB   %6.0f MiB/s %5.0f ms/GiB' \
			"$line" "$pipes" "$pipes_cpu" "$plain" "$plain_cpu"
		printf '   %6.0f MiB/s %5.0f ms/GiB   %.2f %.2f\n' "$copy" "$copy_cpu" "$cpu" "$wall"
	done
