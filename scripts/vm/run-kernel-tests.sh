#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Runs built test programs on another kernel, in a virtual machine without a disk.
#
#   scripts/vm/run-kernel-tests.sh VMLINUZ PROGRAM…
#
# Everything travels in the initial file system: busybox, the programs, the proxy of their build
# directory, the libraries they need. Each program runs under a timeout; the verdict of each is
# printed with its output, and last: "N passed, M failed on RELEASE". Needs qemu-system-x86_64, busybox-static, cpio.
# Environment: VM_TIMEOUT (seconds for all, 900), VM_MEMORY (2G), VM_CPUS (2), VM_ACCEL (tcg).
set -euo pipefail

[[ $# -ge 2 ]] || { sed -n '4,12s/^# \?//p' "$0" >&2; exit 2; }
kernel=$1
shift

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root"/fs/{bin,dev,proc,sys,tmp,run,build/tests,lib64}
cp "$(command -v busybox)" "$root/fs/bin/busybox"

# carry PROGRAM DIR: with the libraries that it needs.
carry() {
	mkdir -p "$root/fs$2"
	cp "$1" "$root/fs$2/"
	ldd "$1" | grep -oE '/[^ ]+' | sort -u | while read -r library; do
		mkdir -p "$root/fs$(dirname "$library")"
		cp -nL "$library" "$root/fs$library"
	done
}

for program in "$@"; do
	level=$(basename "$(dirname "$program")")
	build=$(dirname "$(dirname "$(dirname "$(realpath "$program")")")")
	carry "$program" "/build/tests/$level"
	[[ ! -x $build/xylem ]] || carry "$build/xylem" /build
done

cat >"$root/fs/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
mount -t cgroup2 none /sys/fs/cgroup
mount -t bpf none /sys/fs/bpf
ip link set lo up
export PATH=/bin CI=1 CMOCKA_MESSAGE_OUTPUT=STDOUT
passed=0 failed=0
for program in /build/tests/*/*; do
	echo "== $(basename $program)"
	if timeout 600 $program; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "== FAILED $(basename $program)"
	fi
done
dmesg | grep -E 'BUG|WARNING|Oops|KASAN' && failed=$((failed + 1))
echo "== $passed passed, $failed failed on $(uname -r)"
poweroff -f
INIT
chmod +x "$root/fs/init"
(cd "$root/fs" && find . | cpio -o -H newc --quiet | gzip -1) >"$root/initrd"

# A /dev/kvm that is there need not work (nested machines): emulation is the default.
accel=${VM_ACCEL:-tcg,thread=multi}
timeout "${VM_TIMEOUT:-900}" qemu-system-x86_64 -accel "$accel" -cpu max -smp "${VM_CPUS:-2}" \
	-m "${VM_MEMORY:-2G}" -nographic -no-reboot -kernel "$kernel" -initrd "$root/initrd" \
	-append "console=ttyS0 quiet panic=-1" </dev/null | tr -d '\r' | tee "$root/log"
grep -q '^== [1-9][0-9]* passed, 0 failed on' "$root/log"
