#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Fetches the newest Debian cloud kernel of a series and unpacks it, without installing it.
#
#   scripts/vm/fetch-kernel.sh SERIES DIR     5.10, 6.1 or 6.12; e.g. 6.1 build/vm
#
# Packages come from the machine's own Debian archives with other suites, through an apt state of
# its own below DIR, with Debian's keyring; the machine's package lists stay as they are. What was
# fetched is used for a day before apt is asked again, and for as long as apt cannot be reached.
# The last line is the image.
set -euo pipefail

[[ $# == 2 ]] || { sed -n '4,11s/^# \?//p' "$0" >&2; exit 2; }
series=$1 cache=$(realpath -m "$2")/$1
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
case $series in
5.10) suites='bullseye bullseye-security' ;;
6.1) suites='bookworm bookworm-security' ;;
6.12) suites='trixie trixie-security' ;;
*) echo "no suite is known to have Linux $series" >&2; exit 2 ;;
esac

image() {
	find "$cache/boot" -name 'vmlinuz-*' 2>/dev/null | sort -V | tail -n 1
}

# The machine's archive of that name: debian or debian-security.
archive() {
	cat /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources} 2>/dev/null |
		grep -v '^#' | grep -oE "https?://[^ ]+/$1/?( |\$)" | head -n 1 | tr -d ' '
}

sources() {
	local suite url name
	for suite in $suites; do
		# A security suite lives in the archive of that name.
		name=debian
		[[ $suite != *-security ]] || name=debian-security
		url=$(archive $name) || true
		[[ -z $url ]] || echo "deb [arch=amd64 signed-by=$keyring] $url $suite main"
	done
}

# Newest first; an index may name packages that are gone from the archive.
download() {
	local package candidates
	mkdir -p "$cache"/apt/{lists,cache}/partial "$cache"/apt/cache/archives/partial
	sources >"$cache/apt/sources.list"
	[[ -s $cache/apt/sources.list ]] || {
		echo "apt's sources here name no Debian archive to fetch Linux $series from" >&2
		return 1
	}
	local -a state=(-o Dir::State::lists="$cache/apt/lists" -o Dir::Cache="$cache/apt/cache"
		-o Dir::Etc::sourcelist="$cache/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
		-o APT::Sandbox::User=root -o Acquire::http::Timeout=30 -o Acquire::https::Timeout=30)
	# One suite that cannot be reached is not the end, but no reason to go back to an older kernel.
	apt-get -q "${state[@]}" -o APT::Update::Error-Mode=any update >&2 || [[ -z $(image) ]] ||
		return 1
	candidates=$(apt-cache "${state[@]}" search --names-only \
		"^linux-image-${series//./\\.}\\..*-cloud-amd64-unsigned\$" | cut -d' ' -f1 | sort -rV)
	for package in $candidates; do
		rm -rf "${cache:?}/new"
		mkdir "$cache/new"
		(cd "$cache/new" && apt-get -q "${state[@]}" download "$package" >&2) || continue
		dpkg-deb --fsys-tarfile "$cache/new/$package"_*.deb |
			tar -C "$cache/new" -x ./boot || continue
		rm -rf "${cache:?}/boot" "$cache"/*.deb
		mv "$cache"/new/* "$cache/" && touch "$cache/asked"
		return
	done
	echo "no cloud kernel of $series could be fetched from: $suites" >&2
	return 1
}

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
if [[ -z $(image) || -z $(find "$cache/asked" -mtime -1 2>/dev/null) ]]; then
	if ! download; then
		[[ $(image) ]] || exit 1
		echo "apt cannot be asked: the kernel fetched before is used" >&2
	fi
fi
image
