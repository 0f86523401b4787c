#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Two newline servers, one on pipes (docs/examples/lines.c) and one on plain buffers
# (lines_plain.c), with lines of 16 B to 64 KiB, in one run. Arguments: MiB of each run (32), rounds
# (7). BUILD is the build directory.
#
# Columns: bytes of a line; MiB/s and CPU time per GiB of the server on pipes; the same on plain
# buffers; CPU time of plain buffers divided by that of pipes.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
build=${BUILD:-$root/build}
work=$(mktemp -d)
pids=
trap 'for pid in $pids; do kill "$pid" 2>/dev/null || true; done; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

for program in lines_plain lines_load; do
	${CC:-cc} -std=gnu17 -D_GNU_SOURCE -O2 -Wall -Wextra -Werror \
		"$root/scripts/bench/$program.c" -pthread -o "$work/$program"
done

# serve NAME COMMAND…: adds PID=PORT to $servers
servers=
serve() {
	name=$1
	shift
	"$@" >"$work/$name" &
	pids="$pids $!"
	n=0
	until grep -q port "$work/$name"; do
		n=$((n + 1))
		if [ $n -ge 100 ]; then
			echo "lines.sh: $name does not start" >&2
			exit 1
		fi
		sleep 0.1
	done
	servers="$servers $!=$(sed 's/.* //' "$work/$name")"
}

serve pipes "$build/examples/lines" --port 0
serve plain "$work/lines_plain"
# shellcheck disable=SC2086 # two words
"$work/lines_load" $servers "$@"
