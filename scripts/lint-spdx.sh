#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Checks that every file of ours says its licence in its first lines, and the right one.
set -euo pipefail
cd "$(dirname "$0")/.."
bad=0 files=0

want() {
	case $1 in
	bpf/*) echo 'GPL-2.0-only OR BSD-2-Clause' ;;
	user/client/* | include/*) echo 'LGPL-2.1-only OR BSD-2-Clause' ;;
	*) echo 'BSD-2-Clause' ;;
	esac
}

while read -r file; do
	files=$((files + 1))
	found=$(head -n 3 "$file" | sed -n 's/.*SPDX-License-Identifier: *//p' | sed 's: *\*/ *$::')
	expected=$(want "$file")
	case $file:${found#(} in
	# Shared by the programs and the library: all three.
	include/xylem/maps.h:"GPL-2.0-only OR BSD-2-Clause) OR LGPL-2.1-only") ;;
	# Pipes are library code that lives in io.
	user/io/*:"LGPL-2.1-only OR BSD-2-Clause") ;;
	*:"$expected" | *:"$expected)") ;;
	*:) echo "$file: no SPDX-License-Identifier in its first three lines" >&2 && bad=1 ;;
	*) echo "$file: SPDX says '$found', expected '$expected'" >&2 && bad=1 ;;
	esac
done < <(find Makefile .ci bpf include scripts tests user -type f \
	\( -name '*.[ch]' -o -name '*.sh' -o -name '*.py' -o -name '*.map' -o -name '*.in' \
	-o -name Makefile -o -path .ci/run \) | sort)

[[ $bad == 0 ]] && echo "licences: $files files"
exit $bad
