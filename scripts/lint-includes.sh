#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Checks that includes point one way:
#   cmd -> edge -> core -> {kernel, proto, io} -> base;  cmd -> client -> {proto, io, base}
# include/xylem includes nothing of user/; bpf/ only the kernel's UAPI, libbpf's helpers and
# include/xylem, never a vmlinux.h.
set -euo pipefail
cd "$(dirname "$0")/.."

declare -A MAY=(
	[base]="base"
	[io]="io base"
	[proto]="proto base"
	[kernel]="kernel base"
	[core]="core kernel proto io base"
	[edge]="edge core kernel proto io base"
	[client]="client proto io base"
	[cmd]="cmd edge core client kernel proto io base"
)
bad=0 files=0

complain() {
	echo "$1:$2: $3" >&2
	bad=1
}

for file in user/*/*.[ch]; do
	layer=${file#user/} layer=${layer%%/*}
	files=$((files + 1))
	if [[ -z ${MAY[$layer]:-} ]]; then
		complain "$file" 1 "no such layer: $layer"
		continue
	fi
	while IFS=: read -r line text; do
		path=${text#*\"} path=${path%%\"*}
		[[ $path == xylem.skel.h && $layer == kernel ]] && continue
		if [[ $path != */* || ! -e user/$path ]]; then
			complain "$file" "$line" "\"$path\" is not a path below user/"
		elif [[ " ${MAY[$layer]} " != *" ${path%%/*} "* ]]; then
			complain "$file" "$line" "$layer must not include ${path%%/*} (\"$path\")"
		fi
	done < <(grep -nE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' "$file")
done

for file in include/xylem/*.h; do
	files=$((files + 1))
	while IFS=: read -r line text; do
		complain "$file" "$line" "a public header includes only <…>"
	done < <(grep -nE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' "$file")
done

for file in bpf/*.[ch]; do
	[[ -e $file ]] || continue
	files=$((files + 1))
	while IFS=: read -r line text; do
		path=${text#*[<\"]} path=${path%%[>\"]*}
		case $path in
		linux/* | bpf/* | asm/* | xylem/*) ;;
		*) [[ -e bpf/$path ]] || complain "$file" "$line" "kernel programs must not include $path" ;;
		esac
	done < <(grep -nE '^[[:space:]]*#[[:space:]]*include' "$file")
done

[[ $bad == 0 ]] && echo "includes: $files files"
exit $bad
