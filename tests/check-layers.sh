#!/bin/sh
# Dependencies run one way: doors -> core -> common. Says each line that breaks
# that, and fails. Argument: the tree to check, default this one.
set -u
cd "${1:-${top_srcdir:-$(dirname "$0")/..}}" || exit 1

# lists of files are split at spaces: no file of ours has one in its name
# shellcheck disable=SC2046,SC2086

# rule TEXT: the lines on standard input break the rule TEXT
rule() {
	lines=$(cat)
	[ -z "$lines" ] || printf '%s:\n%s\n\n' "$1" "$lines"
}

sources() {
	find "$@" -name '*.[ch]' 2>/dev/null | sort
}

# /dev/null so that no list of files is empty
includes() {
	grep -Hn '^[[:space:]]*#[[:space:]]*include' "$@" /dev/null
}

# What pure files may include: Dovecot's headers of plain values, the C
# library's, and each other.
values='lib|array|buffer|str|str-sanitize|strfuncs|strescape|strnum|hash'
values="$values|hash-method|hex-binary|base64|sha1|sha2|hmac|unichar"
values="$values|wildcard-match|net|imap-utf7|imap-match|mail-types"
values="$values|iso8601-date|utc-offset|utc-mktime|crc32|llist|priorityq"
values="$values|safe-memset"
system='ctype|limits|regex|stdint|stddef|stdarg|string|strings|time'

# What pure files may not call: they get values and a time.
calls='time|gettimeofday|clock_gettime|random|rand|i_rand[a-z_]*|random_fill'
calls="$calls|open|fopen|read|write|unlink|getenv|socket|connect|sleep|usleep"
calls="$calls|io_add|timeout_add[a-z_]*|event_create|e_(debug|info|warning|error)"
calls="$calls|i_(debug|info|warning|error)"

# What asks which Dovecot this is, or what configure found out about it.
versions='DOVECOT_(PREREQ|VERSION|REVISION|NAME|[0-9])|PACKAGE_(VERSION|STRING)'
versions="$versions|(ifn?def|defined)[( ]+(HAVE_|PIGEONHOLE)"

pure=$(sources plugins/*/core plugins/common)
count=$(echo "$pure" | grep -c .)

rules() {
	ours=$(for file in $pure; do basename "${file%.[ch]}"; done |
		sort -u | paste -sd '|')
	includes $pure |
		grep -Ev "include[[:space:]]+\"(core/)?($values|$ours)\.h\"" |
		grep -Ev "include[[:space:]]+<($system)\.h>" |
		grep -v 'include COMPAT_JSON_H$' |
		rule 'a pure file includes what is not a plain value'

	grep -HnE "(^|[^a-zA-Z0-9_>.])($calls)[[:space:]]*\(" $pure /dev/null |
		grep -vE ':[0-9]+:[[:space:]]*(/?\*|//)' |
		rule 'a pure file reads the clock, files, the environment or logs'
	grep -HnE '(ioloop_time|ioloop_timeval|current_ioloop|[^_]errno)' \
		$pure /dev/null | rule 'a pure file looks at the world'

	includes $(sources plugins/common) | grep -E '"(core/|\.\./)' |
		rule 'plugins/common includes a file of a plugin'
	includes $(sources plugins/imapsync-pull) | grep -F 'cred-notify' |
		rule 'imapsync-pull includes a file of cred-notify'
	includes $(sources plugins/cred-notify) | grep -F 'imapsync' |
		rule 'cred-notify includes a file of imapsync-pull'

	# What differs in more than names has a file for each, *-2.3.c and
	# *-2.4.c, which configure chooses: they need not ask either.
	grep -HnE "$versions" $(sources plugins tests) /dev/null |
		grep -vE '^plugins/common/dovecot-compat\.h:' |
		rule 'a file other than dovecot-compat.h asks for the version'
}

if [ "$count" -lt 5 ]; then
	echo "only $count pure files found in $PWD: this is not the tree"
	exit 1
fi
report=$(rules)
if [ -n "$report" ]; then
	echo "$report"
	exit 1
fi
echo "$count pure files, no rule broken"
