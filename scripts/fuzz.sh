#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Lets fuzzers explore for a while, from their corpora on, and says what each found.
#
#   scripts/fuzz.sh BUILD [NAME…]      fuzzers are BUILD/fuzzers/NAME; all by default
#
# What they discover stays in BUILD/corpus/NAME, and the next round goes on from there; inputs that
# crash are kept in BUILD/crashes. `scripts/fuzz.sh --merge BUILD NAME…` adds to the tree's corpus
# what reaches code that it does not reach.
#
# Environment: FUZZ_SECONDS (60) for each, JOBS (2) at a time.
# Exit status: 1 when any crashed, leaked or hung.
set -uo pipefail

cd "$(dirname "$0")/.." || exit 1
merge=no
[[ ${1:-} == --merge ]] && merge=yes && shift
build=$1
shift
seconds=${FUZZ_SECONDS:-60}
names=("$@")
[[ $# -gt 0 ]] || mapfile -t names < <(find "$build/fuzzers" -type f -printf '%f\n' | sort)
crashes=$build/crashes
mkdir -p "$crashes"
trap 'trap - INT TERM; kill -KILL -- $(jobs -p) 2>/dev/null; wait; exit 130' INT TERM

export ASAN_OPTIONS=${ASAN_OPTIONS:-allocator_may_return_null=1:handle_abort=1}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}

options=(-max_len=16384 -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=1)

if [[ $merge == yes ]]; then
	for name in "${names[@]}"; do
		"$build/fuzzers/$name" "${options[@]}" -use_counters=0 -max_len=400 -merge=1 "tests/fuzz/corpus/$name" \
			"$build/corpus/$name" 2>&1 | tail -n 3
	done
	exit
fi

explore() {
	local name=$1
	mkdir -p "$build/corpus/$name"
	"$build/fuzzers/$name" "${options[@]}" -max_total_time="$seconds" \
		-artifact_prefix="$crashes/$name-" "$build/corpus/$name" "tests/fuzz/corpus/$name" \
		>"$build/$name.log" 2>&1 </dev/null
	echo $? >"$build/$name.status"
}

for name in "${names[@]}"; do
	while (($(jobs -rp | wc -l) >= ${JOBS:-2})); do
		wait -n
	done
	explore "$name" &
done
wait

bad=0
for name in "${names[@]}"; do
	status=$(cat "$build/$name.status") log=$build/$name.log
	runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
	covered=$(grep -o 'cov: [0-9]*' "$log" | tail -n 1)
	found=$(grep -c 'Test unit written to' "$log")
	printf '%-10s %10s runs   %-12s %s crashes\n' "$name" "${runs:-?}" "${covered:-cov: ?}" "$found"
	if [[ $status != 0 ]]; then
		bad=1
		grep -vE '^(#[0-9]|INFO:|stat::|NEW_FUNC)' "$log" | tail -n 60 | sed 's/^/    | /'
	fi
done
[[ $bad == 0 ]] || echo "inputs that crash are in $crashes; give one to $build/fuzzers/NAME to repeat it"
exit "$bad"
