#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Proves that tests can fail: breaks the product in many small ways, and expects red each time.
#
#   scripts/mutants.sh [NAME…]    runs these mutants, or all
#   scripts/mutants.sh --check    only looks: headers, named tests, does every patch apply? Has every
#                                 test that docs/RELIABILITY.md names a mutant?
#
# A mutant is tests/mutants/NAME.patch: header lines, an empty line, a small `git diff`:
#
#   Breaks: one sentence that says which mechanism is disabled
#   Red: LEVEL/PROGRAM [TEST FUNCTION]     or: Red: LEVEL/SCRIPT.py [FUNCTION]     or: Red: chaos
#   Build: asan or tsan                    (optional: it must fail in that sanitizer's build)
#
# Each gets a copy of the tree (without what git ignores) and of the build directory (with its
# timestamps, so that only what the patch touches is built again), and its test program must fail
# there within $MUTANT_TIMEOUT seconds (120); running longer counts as red, crashing too.
#
# Environment: BUILD (build; already built), JOBS (2).
# Prints TAP, and last: N killed, M alive. "Alive" are also patches that do not apply or build.
set -uo pipefail

cd "$(dirname "$0")/.." || exit 1
top=$PWD
BUILD=${BUILD:-build}
JOBS=${JOBS:-2}
patches=tests/mutants

# Everything from the first "diff" on is the patch's own.
header() {
	sed -n -e '/^diff /q' -e "s/^$2: *//p" "$1"
}

# Prints what is wrong with a patch file.
complaints() {
	local patch=$1 program function source
	[[ $(header "$patch" Breaks | wc -l) == 1 ]] || echo "$patch: one line 'Breaks: …' is needed"
	[[ $(header "$patch" Red | wc -l) == 1 ]] || echo "$patch: one line 'Red: LEVEL/PROGRAM [TEST]' is needed"
	read -r program function <<<"$(header "$patch" Red)"
	source=tests/$program
	[[ $program == *.py ]] || source=tests/$program.c
	[[ $program == chaos ]] && source=tests/chaos/chaos.c
	if [[ ! -f $source ]]; then
		echo "$patch: there is no $source"
	elif [[ -n $function ]] && ! grep -qw -- "$function" "$source"; then
		echo "$patch: there is no test $function in $source"
	fi
	[[ $(header "$patch" Build) =~ ^(asan|tsan)?$ ]] || echo "$patch: 'Build:' is asan or tsan"
	git apply --check "$patch" 2>&1 || echo "$patch: does not apply"
}

# Programs that docs/RELIABILITY.md says show something, and that no mutant turns red.
unproven() {
	sed -n '/^## Figures/q; /^|/p' docs/RELIABILITY.md |
		grep -oE '(unit|fuzz|kernel|e2e)/test_[a-z_]+' | sort -u |
		grep -vxFf <(for patch in "$patches"/*.patch; do header "$patch" Red; done | cut -d' ' -f1)
}

if [[ ${1:-} == --check ]]; then
	found=0 bad=0
	for patch in "$patches"/*.patch; do
		[[ -e $patch ]] || continue
		found=$((found + 1))
		complaint=$(complaints "$patch")
		[[ -z $complaint ]] || { echo "$complaint" >&2 && bad=1; }
	done
	while read -r program; do
		echo "docs/RELIABILITY.md: no mutant turns $program red" >&2 && bad=1
	done < <(unproven)
	[[ $bad == 0 ]] && echo "mutants: $found patches apply"
	exit "$bad"
fi

[[ $BUILD != /* ]] || { echo "mutants: BUILD must be relative to the tree, not $BUILD" >&2 && exit 2; }
[[ -x $BUILD/xylem ]] || { echo "mutants: $BUILD/xylem is not built" >&2 && exit 2; }
names=("$@")
if [[ $# == 0 ]]; then
	mapfile -t names < <(find "$patches" -name '*.patch' -printf '%f\n' | sed 's/\.patch$//' | sort)
fi

work=$top/$BUILD/mutants
rm -rf "$work"
mkdir -p "$work" || exit 1
trap 'trap - INT TERM; kill -- $(jobs -p) 2>/dev/null; wait; exit 130' INT TERM

# The tree and a build directory, without the test programs: those are linked anew. Of a build that
# is not there everything is made.
copy_tree() {
	mkdir -p "$1/$2" &&
		git ls-files -z --cached --others --exclude-standard |
		tar -c --null --ignore-failed-read -T - | tar -x -C "$1" &&
		{ [[ ! -d $2 ]] || tar -c -C "$2" --exclude=./mutants --exclude=./fuzz --exclude=./tests . |
			tar -x -C "$1/$2"; }
}

# Prints how the mutant ended: "red", or what is wrong.
verdict() {
	local patch=$top/$patches/$1.patch copy=$work/$1 program function flavour build status=0
	[[ -f $patch ]] || { echo "there is no $patches/$1.patch" && return; }
	read -r program function <<<"$(header "$patch" Red)"
	flavour=$(header "$patch" Build)
	build=$BUILD${flavour:+-$flavour}
	copy_tree "$copy" "$build" >"$copy.log" 2>&1 || { echo "cannot be copied" && return; }
	cd "$copy" || exit
	# Not taken for a directory of the repository that it lies in: git would skip every file.
	GIT_CEILING_DIRECTORIES=$work git apply "$patch" >>"$copy.log" 2>&1 ||
		{ echo "does not apply" && return; }
	local -a targets=("$build/tests/$program") command=("$build/tests/$program")
	if [[ $program == *.py ]]; then
		targets=() command=(python3 "tests/$program")
		[[ $program != pods/* ]] || targets=("$build/tests/pods/foreign.bpf.o")
	elif [[ $program == chaos ]]; then
		targets=("$build/chaos/chaos" "$build/chaos/libchaos.so")
		command=("$build/chaos/chaos" "$build/chaos" 60 1 60000)
	fi
	make BUILD="$BUILD" FLAVOUR="$flavour" "$build/xylem" "${targets[@]}" >>"$copy.log" 2>&1 ||
		{ echo "does not build" && return; }
	CHAOS_STOP=1 XYLEM=$copy/$build/xylem XY_BUILD=$copy/$build XY_TEST_FILTER=$function CMOCKA_MESSAGE_OUTPUT=TAP \
		timeout -k 5 "${MUTANT_TIMEOUT:-120}" "${command[@]}" >"$copy.tap" 2>>"$copy.log" </dev/null &
	# timeout has a process group of its own, which a terminal's ^C does not reach.
	# shellcheck disable=SC2064 # this very process, whatever runs later
	trap "kill $! 2>/dev/null" TERM
	wait $! 2>/dev/null || status=$?
	if [[ $status != 0 ]]; then
		echo red
	elif grep -qE '^ok |^0 corrupt' "$copy.tap"; then
		echo "survives: the test is green"
	else
		echo "no test ran"
	fi
}

run_one() {
	local start=$SECONDS
	verdict "$1" >"$work/$1.verdict"
	echo "$((SECONDS - start))" >"$work/$1.seconds"
	rm -rf "${work:?}/$1"
}

for name in "${names[@]}"; do
	while (($(jobs -rp | wc -l) >= JOBS)); do
		wait -n
	done
	run_one "$name" &
done
wait

killed=0 alive=0 number=0
echo "1..${#names[@]}"
for name in "${names[@]}"; do
	number=$((number + 1)) end=$(cat "$work/$name.verdict")
	what="$name: ${end:-died} ($(header "$patches/$name.patch" Red 2>/dev/null), $(cat "$work/$name.seconds") s)"
	if [[ $end == red ]]; then
		killed=$((killed + 1))
		echo "ok $number - $what"
	else
		alive=$((alive + 1))
		echo "not ok $number - $what"
		tail -n 15 "$work/$name.log" 2>/dev/null | sed 's/^/# /'
	fi
done
echo "$killed killed, $alive alive"
[[ $alive == 0 ]]
