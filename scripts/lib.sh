# Shared by what stands here: packages, builds, a clean environment.
# shellcheck shell=bash

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$top/build
python=/usr/bin/python3

# Debian's own tools, whatever else this machine has in front of them.
export PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL=C.UTF-8
unset CC CFLAGS CPPFLAGS LDFLAGS MAKEFLAGS DESTDIR
for name in $(compgen -e PYTHON; compgen -e PYENV; compgen -e PYTEST); do
	unset "$name"
done
export PYTHONDONTWRITEBYTECODE=1
umask 022

say() {
	printf '==> %s\n' "$*"
}

die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

need_root() {
	[ "$(id -u)" = 0 ] ||
		die "must be run as root: private mount namespaces and mail users need it"
}

# Two at once in one tree would get in each other's way.
be_alone() {
	mkdir -p "$build"
	exec 9>"$build/lock"
	flock -n 9 || die "another one is at work in $build"
}

# The packages of the list that are not installed.
missing_packages() {
	local name
	sed 's/#.*//' "$top/scripts/debian-packages.txt" | while read -r name; do
		[ -z "$name" ] ||
			dpkg-query -W -f '${db:Status-Status}\n' "$name" 2>/dev/null |
			grep -qx installed || echo "$name"
	done
}

policy=/usr/sbin/policy-rc.d

restore_policy() {
	rm -f "$policy"
	[ ! -e "$policy.imapsync" ] || mv "$policy.imapsync" "$policy"
}

# Installing starts no daemon: while it lasts, policy-rc.d forbids it.
install_packages() {
	local missing
	mapfile -t missing < <(missing_packages)
	[ ${#missing[@]} -gt 0 ] || return 0
	command -v apt-get >/dev/null ||
		die "not a Debian; these packages are needed: ${missing[*]}"
	say "installing ${missing[*]}"
	(
		trap restore_policy EXIT
		trap 'exit 1' INT TERM HUP
		[ ! -e "$policy" ] || mv "$policy" "$policy.imapsync"
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod 755 "$policy"
		export DEBIAN_FRONTEND=noninteractive
		quiet "$build/apt-update.log" apt-get update -qq &&
			quiet "$build/apt-install.log" apt-get install -y -qq \
				--no-install-recommends "${missing[@]}"
	) || die "apt-get failed"
}

# quiet LOG COMMAND...: its output goes to LOG, and is shown if it fails.
quiet() {
	local log=$1
	shift
	"$@" >"$log" 2>&1 && return 0
	grep -nE '(error|warning)[: ]|\*\*\*' "$log" | head -n 40
	echo "--- last lines of $log"
	tail -n 25 "$log"
	return 1
}

# The Dovecot that this system has: 2.3 or 2.4.
dovecot_release() {
	dovecot --version 2>/dev/null | sed -n 's/^\([0-9]*\.[0-9]*\)\..*/\1/p'
}

# All files of the tree that are not made.
source_files() {
	cd "$top" || return
	git -c safe.directory='*' ls-files -co --exclude-standard 2>/dev/null ||
		find . -path ./build -prune -o -type f -print
}

# copy_sources RELEASE: each Dovecot's autotools get a tree of their own, for
# what they leave in it is not the same.
copy_sources() {
	local dir=$build/$1
	mkdir -p "$dir/src"
	source_files | while read -r file; do
		[ ! -f "$top/$file" ] || echo "$file"
	done | sort >"$dir/files.new"
	if [ -e "$dir/files" ]; then
		(cd "$dir/src" && comm -23 ../files ../files.new |
			xargs -r -d '\n' rm -f)
	fi
	(cd "$top" && xargs -d '\n' cp -pu --parents -t "$dir/src") \
		<"$dir/files.new" && mv "$dir/files.new" "$dir/files"
}

# build_tree NAME [VAR=value | --option]...: builds in a directory of that name
# below $work, anew if it was configured otherwise or for another Dovecot.
build_tree() {
	local dir=$work/$1 source=$work/src
	shift
	set -- --enable-werror --enable-cred-notify "$@"
	local stamp
	stamp="$* $(dpkg-query -W -f '${Version} ' dovecot-dev gcc 2>/dev/null)"
	if [ "$(cat "$dir/stamp" 2>/dev/null)" != "$stamp" ]; then
		rm -rf "$dir"
		mkdir -p "$dir"
		[ -x "$source/configure" ] ||
			quiet "$dir/autogen.log" "$source/autogen.sh" || return 1
		(cd "$dir" && quiet configure.log "$source/configure" \
			--prefix=/usr --sysconfdir=/etc "$@") || return 1
		echo "$stamp" >"$dir/stamp"
	fi
	quiet "$dir/make.log" make -C "$dir" -j"$(nproc)" all &&
		quiet "$dir/make-tests.log" \
			make -C "$dir" -j"$(nproc)" check TESTS=
}

# The installation that the private Dovecots get to see.
stage() {
	rm -rf "$work/stage"
	quiet "$work/stage.log" make -C "$work/gcc" install \
		DESTDIR="$work/stage"
}

# Namespaces of our own for a command: it meets no port, no process and no mount
# of the machine's, and whatever it leaves ends with it, and it with us.
namespaces=(setpriv --pdeathsig KILL unshare --mount --net --pid --fork
	--kill-child --propagation private)

# Whether this machine lets us have them.
may_enter() {
	"${namespaces[@]}" sh -c 'mount -t tmpfs tmpfs /mnt && chroot / true' \
		2>/dev/null
}

# enter ROOT COMMAND...: becomes it, in ROOT: / or that of the other Debian.
enter() {
	exec "${namespaces[@]}" "$top/scripts/inside" "$@"
}
