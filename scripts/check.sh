#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Runs built tests and counts what they say.
#
#   scripts/check.sh LEVEL…     levels: unit, fuzz, kernel, e2e, model, pods
#
# A test is a program $BUILD/tests/LEVEL/test_* (cmocka), or a script tests/LEVEL/test_*.py. Both
# speak TAP on standard output; one that prints no plan counts as one test, by its exit status. Each
# runs under a timeout, two at a time; those named test_*_alone run one at a time after the others.
#
# Environment: BUILD (build), JOBS (2), CHECK_ONLY (substring of a test's name),
# CHECK_TIMEOUT (seconds, overrides the level's), CHECK_SKIPS=forbid (a skip is a failure),
# CHECK_AGAIN=1 (a program that fails without a sanitizer's report runs once more, alone: in builds
# that are many times slower a bound may be missed for that reason only; it is told, and why).
# CHECK_RESULTS (a file, to which lines are added when a program ends: "seconds", a number and the
# program; "ok", "fail" or "skip", program: test, for each of its tests).
# Tests find the binary in $XYLEM and the build in $XY_BUILD, both absolute.
#
# Prints failing and skipped tests with their output, the slowest ones, and last:
# N passed, M failed, K skipped.
set -uo pipefail

cd "$(dirname "$0")/.." || exit 1
BUILD=$(realpath -m "${BUILD:-build}")
JOBS=${JOBS:-2}
export XY_BUILD=$BUILD XYLEM=$BUILD/xylem CMOCKA_MESSAGE_OUTPUT=TAP PYTHONUNBUFFERED=1
export PYTHONDONTWRITEBYTECODE=1
declare -A TIMEOUT=([unit]=300 [fuzz]=300 [kernel]=900 [e2e]=900 [model]=600 [pods]=600)
passed=0 failed=0 skipped=0
record=${CHECK_RESULTS:-/dev/null}

results=$(mktemp -d) || exit 1
trap 'rm -rf "$results"' EXIT
trap 'trap - INT TERM; kill -- $(jobs -p) 2>/dev/null; wait; exit 130' INT TERM

# Runs one test; leaves out, err and status in its directory.
run_one() {
	local level=$1 test=$2 dir=$3 limit=${CHECK_TIMEOUT:-${TIMEOUT[$1]:-300}} status=0
	local -a command=("$test")
	[[ $test == *.py ]] && command=(python3 "$test")
	mkdir -p "$dir"
	SECONDS=0
	timeout -k 5 "$limit" "${command[@]}" >"$dir/out" 2>"$dir/err" </dev/null &
	# timeout has a process group of its own, which a terminal's ^C does not reach.
	# shellcheck disable=SC2064 # this very process, whatever runs later
	trap "kill $! 2>/dev/null" TERM
	wait $! 2>/dev/null || status=$?
	[[ $status == 124 || $status == 137 ]] && echo "# killed: longer than $limit s" >>"$dir/out"
	echo "$SECONDS $level/$(basename "$test")" >"$dir/seconds"
	echo "$status" >"$dir/status"
	{
		echo "seconds $(cat "$dir/seconds")"
		parse "$dir/out" "$level/$(basename "$test")" "$status"
	} >>"$record"
}

# TAP to "ok|fail|skip NAME" lines. cmocka writes a skip as "not ok", and ends without its plan
# when it dies; what the plan promised and never came is a failure.
parse() {
	awk -v program="$2" -v status="$3" '
		/^1\.\.[0-9]+/ { plan += substr($1, 4); planned = 1; next }
		/^(not )?ok [0-9]+/ {
			good = $1 == "ok"
			sub(/^(not )?ok [0-9]+( -)? */, "")
			seen++
			if (match($0, /# *[Ss][Kk][Ii][Pp]/)) {
				name = substr($0, 1, RSTART - 1) substr($0, RSTART + RLENGTH)
				gsub(/^ +| +$/, "", name)
				print "skip", program ": " name
			} else {
				print good ? "ok" : "fail", program ": " $0
				bad += !good
			}
		}
		END {
			if (!planned && !seen) {
				print status == 0 ? "ok" : status == 77 ? "skip" : "fail", program
			} else if (planned && seen < plan) {
				for (i = seen; i < plan; i++)
					print "fail", program ": never ran (exit status " status ")"
			} else if (status != 0 && !bad) {
				print "fail", program ": exit status " status
			}
		}' "$1"
}

report() {
	local level=$1 test=$2 dir=$3 name verdict title shown=0
	name=$level/$(basename "$test")
	while read -r verdict title; do
		case $verdict in
		ok) passed=$((passed + 1)) ;;
		skip)
			skipped=$((skipped + 1))
			echo "SKIPPED $title"
			[[ ${CHECK_SKIPS:-} == forbid ]] && shown=1
			;;
		fail)
			failed=$((failed + 1))
			echo "FAILED $title"
			shown=1
			;;
		esac
	done < <(parse "$dir/out" "$name" "$(cat "$dir/status")")
	if [[ $shown == 1 ]]; then
		sed 's/^/    | /' "$dir/out" | grep -v '^    | ok ' | tail -n 60
		tail -n 60 "$dir/err" | sed 's/^/    ! /'
	elif grep -q 'skip' "$dir/out"; then
		grep -i '^#\? *skip' "$dir/out" | sort -u | sed 's/^/    | /'
	fi
}

run_batch() {
	local width=$1 level=$2 test
	shift 2
	for test in "$@"; do
		while (($(jobs -rp | wc -l) >= width)); do
			wait -n
		done
		run_one "$level" "$test" "$results/$level/$(basename "$test")" &
	done
	wait
}

# What failed for no reason that a sanitizer gave, once more. A test that fails leaves what it held:
# leaks are a reason only where none failed.
run_again() {
	local level=$1 test dir reports
	shift
	for test in "$@"; do
		dir=$results/$level/$(basename "$test")
		[[ $(cat "$dir/status") == 0 ]] && continue
		reports='ERROR: AddressSanitizer|WARNING: ThreadSanitizer|runtime error:'
		grep -q '^not ok' "$dir/out" || reports+='|ERROR: LeakSanitizer'
		grep -qE "$reports" "$dir/out" "$dir/err" && continue
		echo "AGAIN $level/$(basename "$test"), because of:"
		grep -hE '^not ok|: error: |ERROR' "$dir/out" "$dir/err" | head -n 20 | sed 's/^/# /'
		run_one "$level" "$test" "$dir"
	done
}

for level in "$@"; do
	together=() alone=()
	for test in "$BUILD/tests/$level"/test_* "tests/$level"/test_*.py; do
		[[ -f $test && (-x $test || $test == *.py) ]] || continue
		[[ $test == *"${CHECK_ONLY:-}"* ]] || continue
		# A build directory outlives sources: run only what still has one.
		[[ $test == *.py || -f tests/$level/$(basename "$test").c ]] || continue
		case ${test%.py} in
		*_alone) alone+=("$test") ;;
		*) together+=("$test") ;;
		esac
	done
	run_batch "$JOBS" "$level" "${together[@]}"
	run_batch 1 "$level" "${alone[@]}"
	[[ ${CHECK_AGAIN:-} != 1 ]] || run_again "$level" "${together[@]}" "${alone[@]}"
	for test in "${together[@]}" "${alone[@]}"; do
		report "$level" "$test" "$results/$level/$(basename "$test")"
	done
	[[ ${#together[@]} -gt 0 || ${#alone[@]} -gt 0 ]] || echo "no tests at level $level"
done

slowest=$(sort -rn "$results"/*/*/seconds 2>/dev/null | head -n 6 |
	awk '$1 >= 10 { printf "%s%s %d s", (n++ ? ", " : ""), $2, $1 }')
[[ -z $slowest ]] || echo "slowest: $slowest"
if [[ ${CHECK_SKIPS:-} == forbid && $skipped -gt 0 ]]; then
	echo "skips count as failures here (CHECK_SKIPS=forbid)"
	failed=$((failed + skipped)) skipped=0
fi
echo "$passed passed, $failed failed, $skipped skipped"
[[ $failed == 0 && $((passed + skipped)) -gt 0 ]]
