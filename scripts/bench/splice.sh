#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Messages between sockets without lanes: xylem's pipes against splice() and tee() through kernel
# pipes, in one run. Arguments: MiB of each run (64), rounds (7). BUILD is the build directory.
. "$(dirname "$0")/bench.sh"

compile splice "$build/libxylem.a"
"$work/splice" "$@"
