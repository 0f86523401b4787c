#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Fetches a Debian cloud kernel and unpacks it, without installing it.
#
#   scripts/vm/fetch-kernel.sh SUITE VERSION DIR     e.g. bullseye 5.10 build/vm
#
# Packages come from the machine's own Debian archive with another suite, through an apt state of
# its own below DIR; the machine's package lists stay as they are. The last line is the image.
set -euo pipefail

[[ $# == 3 ]] || { sed -n '4,9s/^# \?//p' "$0" >&2; exit 2; }
suite=$1 version=$2 dir=$(realpath -m "$3")
cache=$dir/$suite-$version

newest() {
	find "$cache/unpacked/boot" -name 'vmlinuz-*' 2>/dev/null | sort -V | tail -n 1
}

if [[ -z $(newest) ]]; then
	# A security suite lives in the archive of that name.
	directory=debian
	[[ $suite != *-security ]] || directory=debian-security
	archive=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources} 2>/dev/null |
		grep -v '^#' | grep -oE "https?://[^ ]+/$directory/?( |\$)" | head -n 1 || true)
	[[ $archive ]] || {
		echo "apt's sources here name no $directory archive to fetch $suite from" >&2
		exit 1
	}
	keyring=/usr/share/keyrings/debian-archive-keyring.gpg
	mkdir -p "$cache"/apt/{lists,cache}/partial "$cache"/apt/cache/archives/partial
	echo "deb [signed-by=$keyring] ${archive% } $suite main" \
		>"$cache/apt/sources.list"
	state=(-o Dir::State::lists="$cache/apt/lists" -o Dir::Cache="$cache/apt/cache"
		-o Dir::Etc::sourcelist="$cache/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
		-o APT::Sandbox::User=root)
	apt-get -q "${state[@]}" update >&2
	package=$(apt-cache "${state[@]}" search --names-only \
		"^linux-image-${version//./\\.}.*-cloud-amd64-unsigned\$" |
		cut -d' ' -f1 | sort -V | tail -n 1)
	[[ $package ]] || { echo "no cloud kernel $version in $suite" >&2; exit 1; }
	(cd "$cache" && apt-get -q "${state[@]}" download "$package" >&2)
	dpkg-deb -x "$cache/$package"_*.deb "$cache/unpacked"
fi
newest
