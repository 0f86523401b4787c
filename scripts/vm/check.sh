#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Runs tests on other kernels, in virtual machines without a disk, two at a time, and prints a table.
#
#   scripts/vm/check.sh [GUEST…]     all by default: 5.10 6.1 6.12 6.1:no-btf 5.10:no-bpf
#
# A guest is a series of kernels, of which the newest that apt offers is taken, and a mode:
# lanes (default), no-btf (the kernel shows no BTF of its own and is locked down), no-bpf (no cgroup
# v2 and no bpf file system: no lanes, everything else).
#
# Environment: BUILD (build), VM_CACHE (where kernels are kept), VM_GUESTS (2 at a time), VM_CHAOS
# (seconds of chaos, 0: none), VM_TESTS (instead of the lists below: LEVEL/TEST …), VM_TIMEOUT
# (seconds for a guest, 1800), VM_MACHINE (QEMU's options of clock and processors), VM_CPU (what is
# emulated), VM_KEEP=1 (no new guests: prints the table of the last run), CHECK_SKIPS=forbid (a
# kernel that cannot be fetched, or a test that skips for a reason not listed in scripts/vm/known, is
# a failure).
set -euo pipefail

here=$(dirname "$(realpath "$0")")
build=$(realpath -m "${BUILD:-build}")
cache=${VM_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/xylem/vm}
# A guest's time is made of its instructions, one a nanosecond, and leaps while it sleeps: however busy
# this machine is, a guest's clocks are right, its timeouts are as wide as they look, its kernel sees
# no stall, and to wait costs nothing. That takes one processor. With several (and their own time)
# whatever is bounded by time may fail: VM_MACHINE='-accel tcg,thread=multi -smp 2'. A /dev/kvm that
# is there need not work (nested machines).
read -ra machine <<<"${VM_MACHINE:--accel tcg -icount shift=0,sleep=off -smp 1}"
# What copies memory by one instruction for each string is fast on a processor, and an emulator does
# it byte by byte; with five levels of page tables it walks one more.
cpu=${VM_CPU:-max,-erms,-fsrm,-la57}
guests=("$@")
[[ ${#guests[@]} -gt 0 ]] || guests=(5.10 6.1 6.12 6.1:no-btf 5.10:no-bpf)

# On each kernel all of the kernel level, and end to end what rests on the kernel most; what takes long
# is shared out. Left out, because each takes about a minute of emulation, and for VM_TESTS by hand:
# test_return (a promise of 100 ms), test_never_reads_alone (one of a second, and half a gigabyte), and
# test_block, test_overflow and test_overflow_policies (policies of user space, with seconds of sending
# at a full queue).
mapfile -t tests < <(cd "$here/../../tests" && printf '%s\n' kernel/test_*.c | sed 's/\.c$//'
	printf 'e2e/test_%s\n' delivery credit groups attack_credit)
declare -A more=(
	[5.10]='e2e/test_bounds e2e/test_stalled'
	[6.1]='e2e/test_attack_identity e2e/test_confine'
	[6.12]='e2e/test_stuck'
)
declare -A few=(
	[no-btf]='kernel/test_reasons kernel/test_redirect e2e/test_delivery'
	[no-bpf]='e2e/test_delivery e2e/test_serve_options'
)

# boot DIRECTORY IMAGE WORD…: with these words on the kernel's command line.
boot() {
	local dir=$1 image=$2
	# Left out is what is dear when it is emulated: mitigations, clearing and checking of memory, a
	# clock that is no register. Kernels that have KFENCE look for bad use of memory.
	local words='console=ttyS0 loglevel=7 panic=-1 kfence.sample_interval=100 tsc=reliable'
	words+=' mitigations=off init_on_alloc=0 hardened_usercopy=off'
	shift 2
	timeout -k 5 "${VM_TIMEOUT:-1800}" qemu-system-x86_64 "${machine[@]}" -cpu "$cpu" -m 2G \
		-display none -monitor none -no-reboot -kernel "$image" -initrd "$dir/initrd" \
		-append "$words $*" \
		-serial "file:$dir/console" -serial "file:$dir/output" -serial "file:$dir/results" \
		-serial "file:$dir/chaos" \
		</dev/null >"$dir/qemu" 2>&1 &
	# timeout has a process group of its own, which a terminal's ^C does not reach.
	# shellcheck disable=SC2064 # this very process, whatever runs later
	trap "kill $! 2>/dev/null" TERM
	wait $! || echo "exit status $?" >>"$dir/qemu"
}

# One guest, in a directory of its own; report.py says what came of it.
guest() {
	local name=$1 series=${1%%:*} mode=lanes dir=$2 image planned words=()
	[[ $name != *:* ]] || mode=${name#*:}
	image=$(cat "$cache/$series.image")
	read -ra planned <<<"${VM_TESTS:-${few[$mode]:-${tests[*]} ${more[$series]:-}}}"
	words=("XY_MODE=$mode" XY_TEST_SCALE=20 CHECK_TIMEOUT=300 JOBS=1)
	if [[ $mode == lanes && ${VM_CHAOS:-10} != 0 ]]; then
		words+=("XY_CHAOS=${VM_CHAOS:-10}")
	fi
	[[ $mode != no-btf ]] || words+=(lockdown=confidentiality)
	[[ $mode != no-bpf ]] || words+=(XYLEM_KERNEL_PATH=off)
	"$here/make-initrd.sh" "$build" "$dir/initrd" "${planned[@]}"
	printf '%s\n' "${planned[@]}" >"$dir/planned"
	[[ ${words[*]} != *XY_CHAOS* ]] || echo chaos >>"$dir/planned"
	echo doctor >>"$dir/planned"
	SECONDS=0
	boot "$dir" "$image" "${words[@]}"
	echo "$SECONDS" >"$dir/seconds"
	rm "$dir/initrd"
	echo "$name: $SECONDS s" >&2
}

trap 'trap - INT TERM; kill -- $(jobs -p) 2>/dev/null; wait; exit 130' INT TERM
work=$build/vm
if [[ ${VM_KEEP:-} != 1 ]]; then
	rm -rf "$work"
	mkdir -p "$work" "$cache"
	missing=()
	for series in $(printf '%s\n' "${guests[@]%%:*}" | sort -uV); do
		if "$here/fetch-kernel.sh" "$series" "$cache" >"$work/fetch" 2>"$work/fetch.log"; then
			tail -n 1 "$work/fetch" >"$cache/$series.image"
			grep '^apt cannot' "$work/fetch.log" >&2 || true
		else
			sed "s/^/    | /" "$work/fetch.log" >&2
			missing+=("$series")
		fi
	done
	running=0
	for name in "${guests[@]}"; do
		dir=$work/$name
		mkdir -p "$dir"
		if [[ " ${missing[*]} " == *" ${name%%:*} "* ]]; then
			echo "no kernel" >"$dir/missing"
			continue
		fi
		if ((running >= ${VM_GUESTS:-2})); then
			wait -n || true
			running=$((running - 1))
		fi
		guest "$name" "$dir" &
		running=$((running + 1))
	done
	wait
fi
python3 "$here/report.py" "$work" "$build/check.results" "${guests[@]}"
