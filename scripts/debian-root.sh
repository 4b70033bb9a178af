# The root directory of a Debian 13, whose Dovecot is the 2.4. Made with the
# mirror, proxies and logins of this machine's apt; nothing is installed on the
# machine itself. Sourced by scripts/test and scripts/demo after lib.sh.
# shellcheck shell=bash

suite=trixie
root=$build/$suite
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# mirror_of SUITE: where this machine gets that suite from.
mirror_of() {
	apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' \
		'Created-By: Packages' |
		awk -v suite="$1" '$1 == suite && $2 == "main" { print $3; exit }'
}

machine_suite() {
	(. /etc/os-release && echo "$VERSION_CODENAME")
}

# One-line sources for the root: what this machine has, of the other suite.
root_sources() {
	local here part mirror
	here=$(machine_suite)
	for part in "" -updates -security; do
		mirror=$(mirror_of "$here$part")
		[ -z "$mirror" ] || echo "deb [signed-by=$keyring]" \
			"$mirror $suite$part main"
	done
}

# How this machine's apt reaches its mirrors, for the apt in directory $1.
copy_apt_access() {
	local etc=$1/etc/apt ca
	mkdir -p "$etc/apt.conf.d" "$etc/auth.conf.d"
	apt-config dump | grep '^Acquire::' | grep -v '::IndexTargets' \
		>"$etc/apt.conf.d/90machine"
	eval "$(apt-config shell ca Acquire::https::CaInfo)"
	ca=${ca:-/etc/ssl/certs/ca-certificates.crt}
	if [ -e "$ca" ]; then
		cp "$ca" "$etc/machine-ca.pem"
		echo 'Acquire::https::CaInfo "/etc/apt/machine-ca.pem";' \
			>>"$etc/apt.conf.d/90machine"
	fi
	cat /etc/apt/auth.conf /etc/apt/auth.conf.d/*.conf 2>/dev/null \
		>"$etc/auth.conf"
	chmod 600 "$etc/auth.conf"
	cp -L /etc/resolv.conf "$1/etc/resolv.conf" 2>/dev/null || true
}

# debootstrap fetches with wget, which knows other names for the same.
run_debootstrap() {
	local new=$1 mirror=$2 home=$1.home code http https
	eval "$(apt-config shell http Acquire::http::Proxy \
		https Acquire::https::Proxy)"
	mkdir -p "$home"
	cat /etc/apt/auth.conf /etc/apt/auth.conf.d/*.conf 2>/dev/null \
		>"$home/.netrc"
	chmod 600 "$home/.netrc"
	[ -z "${http:-}" ] || [ "$http" = DIRECT ] || export http_proxy=$http
	[ -z "${https:-}" ] || [ "$https" = DIRECT ] || export https_proxy=$https
	HOME=$home quiet "$build/debootstrap.log" debootstrap \
		--variant=minbase --keyring="$keyring" "$suite" "$new" "$mirror"
	code=$?
	rm -rf "$home"
	return $code
}

# The packages of our list that are for the root too.
root_packages() {
	sed '/^# on the machine itself/,$d; s/#.*//' \
		"$top/scripts/debian-packages.txt" | awk 'NF { print $1 }'
}

# in_root DIRECTORY COMMAND...: in it, with mounts that end with the command.
in_root() {
	local dir=$1
	shift
	# shellcheck disable=SC2016
	setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child \
		--propagation private sh -c '
		root=$1; shift
		mount -t proc proc "$root/proc" &&
			mount --rbind /dev "$root/dev" &&
			exec env -i PATH="$PATH" LC_ALL=C.UTF-8 HOME=/root \
				DEBIAN_FRONTEND=noninteractive \
				chroot "$root" "$@"' sh "$dir" "$@"
}

# An update whose security mirror does not answer goes on without it.
update_root() {
	local list=$1/etc/apt/sources.list
	root_sources >"$list"
	quiet "$build/root-update.log" in_root "$1" apt-get -qq update \
		-o APT::Update::Error-Mode=any && return
	say "going on without $suite-security and $suite-updates"
	root_sources | grep " $suite main" >"$list"
	quiet "$build/root-update.log" in_root "$1" apt-get -qq update \
		-o APT::Update::Error-Mode=any
}

fill_root() {
	local new=$1
	local packages
	mapfile -t packages < <(root_packages)
	# installing starts no daemon
	printf '#!/bin/sh\nexit 101\n' >"$new/usr/sbin/policy-rc.d"
	chmod 755 "$new/usr/sbin/policy-rc.d"
	copy_apt_access "$new"
	update_root "$new" &&
		quiet "$build/root-install.log" in_root "$new" apt-get -qq -y \
			--no-install-recommends install "${packages[@]}" &&
		in_root "$new" apt-get clean &&
		rm -rf "$new"/var/lib/apt/lists/* &&
		rm -f "$new/etc/apt/auth.conf"
}

# Makes the root unless it is there, whole and with the packages of our list.
make_root() {
	local mirror new=$root.new
	root_packages | cmp -s - "$root/packages" && return
	mirror=$(mirror_of "$(machine_suite)")
	if [ -z "$mirror" ]; then
		echo "apt's sources name no mirror of this Debian"
		return 1
	fi
	say "making a Debian 13 root in ${root#"$top"/} (once)"
	rm -rf --one-file-system "$new" "$root"
	mkdir -p "$new"
	if ! run_debootstrap "$new" "$mirror" || ! fill_root "$new"; then
		return 1
	fi
	root_packages >"$new/packages"
	mv "$new" "$root"
}
