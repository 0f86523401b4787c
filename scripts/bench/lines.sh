#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Newline servers: on pipes (docs/examples/lines.c), on plain buffers and on stdio (lines_plain.c),
# with lines of 16 B to 64 KiB; and a server that sends back what it reads; all in one run.
# Arguments: MiB of each run (32), rounds (7). BUILD is the build directory.
#
# Columns: bytes of a line; of each server MiB/s and CPU time in ms per GiB; CPU time of plain buffers,
# and of stdio, divided by that of pipes. The same as JSON in BUILD/bench/lines.jsonl.
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
serve stdio "$work/lines_plain" stdio
serve copy "$work/lines_plain" copy
printf '%6s' bytes
printf '  %17s' pipes plain stdio copy
printf '  %11s  %11s\n' plain/pipes stdio/pipes
# shellcheck disable=SC2086 # four words
"$work/lines_load" $servers "$@" | tee "$build/bench/lines.jsonl" |
	jq -r --unbuffered '[.line, (.pipes, .plain, .stdio, .copy | .mib_s, .cpu_ms_gib),
		.plain.cpu_ms_gib / .pipes.cpu_ms_gib, .stdio.cpu_ms_gib / .pipes.cpu_ms_gib] | @sh' |
	while read -r row; do
		# shellcheck disable=SC2086 # eleven numbers
		printf '%6d  %8.0f %8.0f  %8.0f %8.0f  %8.0f %8.0f  %8.0f %8.0f  %11.2f  %11.2f\n' $row
	done
