#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Round trips: direct TCP, lanes, and the same proxy without its kernel path; everything on one core,
# then on two. Needs root for the lanes. BUILD is the build directory.
. "$(dirname "$0")/bench.sh"

# shellcheck disable=SC2086 # words
compile rtt $library
for cpus in 0,0 0,1; do
	ask=${cpus%,*}
	answer=${cpus#*,}
	[ "$answer" -lt "$(nproc)" ] || continue
	lane=$((20000 + $$ % 20000))
	user=$((lane + 1))
	proxy $lane on taskset -c "$cpus"
	proxy $user off taskset -c "$cpus"
	echo "one side on CPU $ask, the other on CPU $answer, the proxy on $cpus:"
	"$work/rtt" "$ask" "$answer" "lane=127.0.0.1:$lane" "user=127.0.0.1:$user"
	stop
done
