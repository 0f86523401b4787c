#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Memory of the proxy per idle connection: lanes, TCP without the kernel path, UNIX sockets; the
# first argument is how many. Needs root for the lanes. BUILD is the build directory.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
build=${BUILD:-$root/build}

CONNECTIONS=${1:-4000} XYLEM="$build/xylem" "$build/tests/e2e/test_idle" 2>&1 |
	sed -n 's/^ *\([0-9]* idle connections\)/\1/p'
