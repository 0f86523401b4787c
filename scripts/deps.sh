#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
#
# What the project needs of the system, in one list.
#
#   scripts/deps.sh check STAGE…     names what is missing; exit status 1 if anything is
#   scripts/deps.sh install STAGE…   installs what is missing, and only that (root, apt-get)
#   scripts/deps.sh list             prints the packages
#
# Stages: build, check, lint, tidy, fuzz, bench, pods, vm, peers. Programs and headers are probed instead of asking dpkg, so that
# a hand-built library counts.
set -euo pipefail

# stage   package          probe
LIST='
build     gcc              program gcc
build     libc6-dev        header  stdio.h
build     linux-libc-dev   header  linux/bpf.h
build     pkg-config       program pkg-config
build     clang            program clang
build     bpftool          program bpftool
build     libbpf-dev       header  bpf/libbpf.h
build     libelf-dev       header  libelf.h
build     zlib1g-dev       header  zlib.h
build     libjansson-dev   header  jansson.h
build     liburcu-dev      header  urcu/urcu-memb.h
build     libisal-dev      header  isa-l/crc.h
build     libseccomp-dev   header  seccomp.h
build     uthash-dev       header  uthash.h
build     libssl-dev       header  openssl/ssl.h
check     libcmocka-dev    header  cmocka.h
check     python3          program python3
check     jq               program jq
check     spin             program spin
check     gpg              program gpg
check     gpg-agent        program gpg-agent
lint      clang-format     program clang-format
tidy      clang-tidy       program clang-tidy
fuzz      libclang-rt-dev  runtime fuzzer
bench     gnuplot-nox      program gnuplot
pods      runc             program runc
pods      iproute2         program ip
pods      python3-yaml     module  yaml
pods      systemd          program systemd-analyze
vm        qemu-system-x86  program qemu-system-x86_64
vm        busybox-static   program busybox
vm        cpio             program cpio
vm        debian-archive-keyring file /usr/share/keyrings/debian-archive-keyring.gpg
peers     python3          program python3
peers     nats-server      program nats-server
peers     redis-server     program redis-server
peers     mosquitto        program mosquitto
peers     haproxy          program haproxy
peers     nginx-light      program nginx
peers     libnginx-mod-stream file /usr/lib/nginx/modules/ngx_stream_module.so
peers     strace           program strace
peers     libnats-dev      header  nats/nats.h
peers     libhiredis-dev   header  hiredis/hiredis.h
peers     libzmq3-dev      header  zmq.h
peers     libmosquitto-dev header  mosquitto.h
'

# bpftool lives where only root's PATH looks.
PATH=$PATH:/usr/sbin:/sbin

have_header() {
	if command -v "${CC:-gcc}" >/dev/null; then
		printf '#if !__has_include(<%s>)\n#error missing\n#endif\n' "$1" |
			"${CC:-gcc}" -E -x c - >/dev/null 2>&1
	else
		compgen -G "/usr/include/$1" >/dev/null || compgen -G "/usr/include/*-linux-gnu*/$1" >/dev/null
	fi
}

# Of clang's runtime libraries.
have_runtime() {
	compgen -G "$(clang -print-runtime-dir 2>/dev/null)/libclang_rt.$1*" >/dev/null
}

missing() {
	local stage package kind what
	while read -r stage package kind what; do
		[[ -n $stage && " $* " == *" $stage "* ]] || continue
		case $kind in
		program) command -v "$what" >/dev/null || echo "$package" ;;
		header) have_header "$what" || echo "$package" ;;
		runtime) have_runtime "$what" || echo "$package" ;;
		module) python3 -c "import $what" 2>/dev/null || echo "$package" ;;
		file) [[ -e $what ]] || echo "$package" ;;
		esac
	done <<<"$LIST"
}

verb=${1:-}
[[ $# -gt 0 ]] && shift
case $verb in
check)
	mapfile -t packages < <(missing "$@")
	[[ ${#packages[@]} == 0 ]] && exit 0
	echo "missing packages: ${packages[*]}" >&2
	if [[ " $* " =~ " "(tidy|fuzz|bench|pods|vm|peers)" " ]]; then
		echo "install them with: apt-get install ${packages[*]}" >&2
	else
		echo "install them with: make deps (as root)" >&2
	fi
	exit 1
	;;
install)
	mapfile -t packages < <(missing "$@")
	[[ ${#packages[@]} == 0 ]] && exit 0
	if ! command -v apt-get >/dev/null; then
		echo "deps: no apt-get here; install the equivalents of: ${packages[*]}" >&2
		exit 1
	fi
	if [[ $(id -u) != 0 ]]; then
		echo "deps: as root, run: apt-get install ${packages[*]}" >&2
		exit 1
	fi
	echo "deps: installing ${packages[*]}"
	export DEBIAN_FRONTEND=noninteractive
	apt-get -qq update
	apt-get -qq -y --no-install-recommends install "${packages[@]}" >/dev/null
	mapfile -t packages < <(missing "$@")
	if [[ ${#packages[@]} != 0 ]]; then
		echo "deps: still missing after the installation: ${packages[*]}" >&2
		exit 1
	fi
	;;
list)
	awk 'NF { print $2 }' <<<"$LIST"
	;;
*)
	sed -n '3,/^set/{/^#/s/^# \?//p}' "$0" >&2
	exit 2
	;;
esac
