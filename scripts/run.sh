#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Shows xylem at work: a proxy on loopback with a cgroup of its own, and the real commands in
# processes of their own exchange lines, a large message and requests. Everything received is
# compared with what was sent. Leaves nothing behind; exit status 0 if all of it held.
#
# Environment: BUILD (build), RUN_TEXT_MB (64), RUN_BINARY_MB (48), RUN_KEEP=1 (keep the files).
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

XYLEM=$(realpath -m "${BUILD:-build}")/xylem
REPORT=scripts/run_report.py
TEXT_MB=${RUN_TEXT_MB:-64}
BINARY_MB=${RUN_BINARY_MB:-48}
# Longer than any step may take on a slow machine; what hangs must not hang for ever.
LIMIT=300
PATH=$PATH:/usr/sbin:/sbin
export PYTHONDONTWRITEBYTECODE=1

instance=run-$$
work='' cgroup='' pins=''
proxies=()
failures=0 checked=0

say() { printf '%s\n' "$*"; }
fail() {
	say "  FAILED: $*"
	failures=$((failures + 1))
}
die() {
	say "run: $*" >&2
	exit 1
}
status() { "$XYLEM" status --json --instance "$1"; }

# The whole tree of a step ends before the next thing is looked at.
end() {
	local pid
	for pid in "$@"; do
		kill "$pid" 2>/dev/null
	done
	for pid in "$@"; do
		wait "$pid" 2>/dev/null
	done
}

cleanup() {
	local result=$? running
	trap - EXIT INT TERM HUP
	# Only what still runs: a pid that was waited for may be somebody else's by now.
	mapfile -t running < <(jobs -rp)
	[[ -n $cgroup ]] && mapfile -t -O ${#running[@]} running <"$cgroup/cgroup.procs"
	end "${running[@]}"
	if [[ -n $cgroup && -d $cgroup ]]; then
		# A process leaves its cgroup when it is reaped, which may be after its parent saw it end.
		for _ in {1..100}; do
			rmdir "$cgroup" 2>/dev/null && break
			sleep 0.05
		done
		[[ -d $cgroup ]] && say "run: left behind: $cgroup" >&2 && result=1
	fi
	local left
	for left in "/run/xylem/$instance"* ${pins:+"$pins"}; do
		# Only a proxy that died leaves them.
		[[ -e $left ]] && say "run: left behind, removed: $left" >&2 && rm -rf "$left" && result=1
	done
	if [[ -n $work ]]; then
		if [[ $result != 0 && -n ${RUN_KEEP:-} ]]; then
			say "run: files kept in $work" >&2
		else
			rm -rf "$work"
		fi
	fi
	exit "$result"
}

# start NAME COMMAND…: a client in a process of its own, in the cgroup; its pid in $started.
start() {
	local name=$1
	shift
	(
		echo "$BASHPID" >"$cgroup/cgroup.procs"
		exec timeout -k 10 "$LIMIT" "$XYLEM" "$@" --name "$name"
	) </dev/null 2>"$work/$name.err" &
	started=$!
}

# finish PID NAME: the client must end well.
finish() {
	local result=0
	wait "$1" || result=$?
	if [[ $result != 0 ]]; then
		fail "$2 ended with status $result: $(tail -n 3 "$work/$2.err" 2>/dev/null)"
	fi
}

# until_true WHAT COMMAND…: a condition, looked at again and again until LIMIT seconds are over.
until_true() {
	local what=$1 end=$((SECONDS + LIMIT))
	shift
	until "$@"; do
		((SECONDS < end)) || die "waited in vain for $what"
		kill -0 "${proxies[@]}" 2>/dev/null || die "the proxy died: $(tail -n 5 "$work"/proxy*.log)"
		sleep 0.02
	done
}
has_subscribers() { status "$1" | python3 $REPORT subscribed "$2" "$3"; }
wait_subscribed() { until_true "subscribers of $2" has_subscribers "$@"; }

# same FILE COPY WHAT
same() {
	local sent received
	sent=$(sha256sum <"$1") received=$(sha256sum <"$2" 2>/dev/null)
	checked=$((checked + 1))
	if [[ $sent == "$received" ]]; then
		say "  $3: $(stat -c %s "$2") bytes, sha256 ${sent:0:12}… as sent"
	else
		fail "$3: sha256 ${received:0:12} ($(stat -c %s "$2" 2>/dev/null) bytes), sent ${sent:0:12}"
	fi
}

# Each part by itself must hold: the many small frames of requests would hide a bad one.
share() {
	status "$instance" | python3 $REPORT share "$1" "$2" "$work/totals" "${@:3}"
	case $? in
	0) ;;
	2) fail "$1: the kernel moved less than 99 %" ;;
	*) fail "$1: no such connections" ;;
	esac
}

start_proxy() {
	local name=$1
	shift
	# A signal to timeout is passed on, and followed by SIGKILL if the proxy does not end.
	timeout -k 15 $((10 * LIMIT)) "$XYLEM" serve --instance "$name" --log-level warn "$@" \
		2>"$work/proxy-$name.log" &
	proxies+=($!)
	until_true "the proxy" "$XYLEM" status --ready --instance "$name"
}

# ---- preparation -------------------------------------------------------------------------------
[[ -x $XYLEM ]] || die "$XYLEM is not built; run make"
[[ $(id -u) == 0 ]] || die "the kernel path needs root; run as root"
mount=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
[[ -n $mount ]] || die "no cgroup v2 is mounted; mount one: mount -t cgroup2 none /mnt"

trap cleanup EXIT
trap 'exit 130' INT TERM HUP
work=$(mktemp -d)
cgroup=$mount/xylem-$instance
mkdir "$cgroup" || { cgroup=''; die "cannot make a cgroup below $mount"; }

say "xylem: $("$XYLEM" --version), Linux $(uname -r), $(nproc) cores"
lines=$(python3 $REPORT text "$work/text" 1 "$TEXT_MB")
fan_lines=$(python3 $REPORT text "$work/fan" 2 $((TEXT_MB / 4 + 1)))
python3 $REPORT binary "$work/binary" 3 "$BINARY_MB"
say "input: $lines lines in $TEXT_MB MiB of text, $fan_lines lines for the fan-out," \
	"$BINARY_MB MiB of binary"

export XYLEM_SERVER
XYLEM_SERVER=127.0.0.1:$(python3 $REPORT port)
start_proxy "$instance" --listen "$XYLEM_SERVER" --cgroup "$cgroup" --kernel-path auto
why=$(status "$instance" | python3 $REPORT kernel) || fail "no kernel path: $why"
pins=$(status "$instance" | python3 $REPORT pins)

# ---- (a) a large text, line by line ------------------------------------------------------------
say "(a) text line by line: three publishers to a subscriber each, one of them slow; one to three"
subs=() held=()
for i in 1 2; do
	start "sub-$i" sub --count "$lines" --output "$work/text.$i" "lines.$i"
	subs+=("$started")
done
# Its reader takes 24 MB/s, far less than the publisher gives: brake and return keep the lane.
(
	echo "$BASHPID" >"$cgroup/cgroup.procs"
	timeout -k 10 "$LIMIT" "$XYLEM" sub --count "$lines" --name sub-slow lines.slow 2>"$work/sub-slow.err" |
		python3 $REPORT slowly 24000000 >"$work/text.slow"
) </dev/null &
slow=$!
for i in 1 2 3; do
	start "fan-$i" sub --count "$fan_lines" --output "$work/fan.$i" fan.out
	subs+=("$started")
done
for subject in lines.1 lines.2 lines.slow; do
	wait_subscribed "$instance" $subject 1
done
wait_subscribed "$instance" fan.out 3
begun=$EPOCHREALTIME
for i in 1 2 slow; do
	start "one-$i" pub --lines --file "$work/text" --hold "lines.$i"
	held+=("$started")
done
start many-1 pub --lines --file "$work/fan" --hold fan.out
held+=("$started")
i=0
for name in sub-1 sub-2 fan-1 fan-2 fan-3; do
	finish "${subs[$i]}" $name
	i=$((i + 1))
done
finish "$slow" sub-slow
took=$(python3 -c "print(f'{$EPOCHREALTIME - $begun:.1f}')")
for i in 1 2 slow; do
	same "$work/text" "$work/text.$i" "lines.$i"
	rm -f "$work/text.$i"
done
for i in 1 2 3; do
	same "$work/fan" "$work/fan.$i" "fan.out, subscriber $i"
	rm -f "$work/fan.$i"
done
say "  $((3 * lines + 3 * fan_lines)) deliveries in $took s"
share "one lane as receiver" counts one-1 one-2
share "one slow lane as receiver" counts one-slow
share "three receivers (a fan-out is the proxy's work)" shown many-1
end "${held[@]}"

# ---- (b) a large binary as one message ---------------------------------------------------------
say "(b) $BINARY_MB MiB of binary as one message: two publishers to a subscriber each, ten times"
subs=() held=()
for i in 1 2; do
	start "bin-sub-$i" sub --count 10 --raw --output "$work/binary.$i" "binary.$i"
	subs+=("$started")
done
for i in 1 2; do
	wait_subscribed "$instance" "binary.$i" 1
done
begun=$EPOCHREALTIME
for i in 1 2; do
	start "bin-pub-$i" pub --file "$work/binary" --count 10 --hold "binary.$i"
	held+=("$started")
done
for i in 1 2; do
	finish "${subs[$((i - 1))]}" "bin-sub-$i"
done
took=$(python3 -c "print(f'{$EPOCHREALTIME - $begun:.1f}')")
for _ in {1..10}; do
	cat "$work/binary"
done >"$work/binaries"
for i in 1 2; do
	same "$work/binaries" "$work/binary.$i" "binary.$i, ten messages"
	rm -f "$work/binary.$i"
done
rm -f "$work/binaries"
say "  20 deliveries in $took s"
share "one lane as receiver" counts bin-pub
end "${held[@]}"

# ---- (c) request and reply ---------------------------------------------------------------------
say "(c) request and reply"
services=()
start rep-echo reply --echo echo.all
services+=("$started")
start rep-sum reply --command sha256sum sum.all
services+=("$started")
wait_subscribed "$instance" echo.all 1
wait_subscribed "$instance" sum.all 1
head -c 1000000 "$work/binary" >"$work/piece"
start req-file request --file "$work/piece" --raw --output "$work/piece.back" echo.all
finish "$started" req-file
same "$work/piece" "$work/piece.back" "echo of a file"
start req-sum request --file "$work/piece" --raw --output "$work/sum.back" sum.all
finish "$started" req-sum
sha256sum <"$work/piece" >"$work/sum"
same "$work/sum" "$work/sum.back" "reply of a command"

# 64 bytes, asked one after the other.
message=$(printf '%064d' 7)
trips() { # INSTANCE SERVER
	start "req-trip-$1" request --count 20000 --summary --hold --server "$2" \
		--output "$work/trips-$1" echo.all "$message"
	held=("$started")
	until_true "round trips" test -s "$work/trips-$1"
}
trips "$instance" "$XYLEM_SERVER"
say "  20000 replies to 20000 requests"
share "requests, one lane as receiver" counts req-trip
share "replies, one lane as receiver" counts rep-echo
if [[ -n $pins ]]; then
	say "pinned maps, while requester and repliers are still connected"
	python3 $REPORT maps "$pins" || fail "bpftool map dump"
fi
end "${held[@]}" "${services[@]}"

say "round trip of 64 bytes through the proxy's subject, two processes"
off_server=127.0.0.1:$(python3 $REPORT port)
start_proxy "$instance-off" --listen "$off_server" --kernel-path off
start rep-off reply --echo --server "$off_server" echo.all
services=("$started")
wait_subscribed "$instance-off" echo.all 1
trips "$instance-off" "$off_server"
end "${held[@]}" "${services[@]}"
python3 $REPORT round-trips "$(cat "$work/trips-$instance")" "$(cat "$work/trips-$instance-off")" ||
	fail "round trips"

# ---- the end -----------------------------------------------------------------------------------
say "in all"
python3 $REPORT total "$work/totals" || fail "no totals"
say "  $checked files compared, $failures failures"
for pid in "${proxies[@]}"; do
	kill "$pid"
	wait "$pid" || fail "a proxy ended with status $?"
done
proxies=()
for log in "$work"/proxy-*.log; do
	[[ -s $log ]] && sed "s/^/  proxy: /" "$log" | head -n 20
done
[[ $failures == 0 ]]
