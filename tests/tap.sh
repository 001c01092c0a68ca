# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=sh
#
# tap.sh - what the tests of the folio command share: sourced with the command as $1. Sets $folio,
# and goes to an empty folder $dir that is removed at the end. Prints TAP; the last line of a test
# is "finish".

case $1 in
*/*) folio=$1 ;;
*) folio=$(command -v "$1") ;;
esac
if [ ! -x "$folio" ]; then
	echo "usage: $0 FOLIO" >&2
	exit 2
fi
folio=$(cd "$(dirname "$folio")" && pwd)/$(basename "$folio")

dir=$(mktemp -d "${TMPDIR:-/tmp}/folio-command-XXXXXX") || exit 1
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM
cd "$dir" || exit 1

count=0
failures=0

# check NAME COMMAND...: the command succeeds.
check() {
	name=$1
	shift
	count=$((count + 1))
	if "$@" >log 2>&1; then
		echo "ok $count - $name"
	else
		failures=$((failures + 1))
		echo "not ok $count - $name"
		sed 's/^/# /' log
	fi
}

skip() {
	count=$((count + 1))
	echo "ok $count - $1 # SKIP $2"
}

# random_files SIZE...: files file-SIZE with random contents, so that bytes of a wrong offset are
# detected. They are the same each time.
random_files() {
	python3 - "$@" <<'PYTHON' || exit 1
import random, sys
for size in map(int, sys.argv[1:]):
    with open('file-%d' % size, 'wb') as file:
        file.write(random.Random(size).randbytes(size))
PYTHON
}

# A sanitizer adds memory of its own, and must be loaded before other libraries.
sanitized() {
	ldd "$folio" 2>/dev/null | grep -q 'lib[atu][bs]*san'
}

# says MESSAGE: the command has printed "folio: MESSAGE" to the file err, and nothing else. The
# complete text is compared: a pattern would also accept the message of another mistake.
says() {
	printf 'folio: %s\n' "$1" | cmp -s - err && return
	echo "expected: folio: $1"
	return 1
}

# refuses STATUS MESSAGE ARGUMENT...: exits with STATUS, and prints this message and nothing else.
refuses() {
	status=$1
	message=$2
	shift 2
	"$folio" "$@" >out 2>err
	got=$?
	echo "folio $*: status $got, stderr:"
	cat err
	[ $got -eq "$status" ] && [ ! -s out ] && says "$message"
}

# has_line PATTERN FILE: the pattern matches a line of the file from its first to its last
# character. One that matches an empty line, a usage line or a message matches too much, and fails.
has_line() {
	if printf '%s\n' '' 'usage: folio COMMAND [ARGUMENT...]' 'folio: nosuch: Is a directory' \
		"folio: --threads takes a number from 1 to 256, not '0'" | grep -q -x -e "$1"; then
		echo "this pattern matches too much: $1"
		return 1
	fi
	grep -q -x -e "$1" "$2" && return
	echo "no line of $2 matches: $1"
	return 1
}

finish() {
	echo "1..$count"
	[ $failures -eq 0 ]
}
