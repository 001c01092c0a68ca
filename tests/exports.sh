#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Checks that the library exports exactly the symbols that its map file lists.
#
# exports.sh LIBRARY MAP-FILE
set -u
if [ $# -ne 2 ] || [ ! -r "$1" ] || [ ! -r "$2" ]; then
	echo "usage: exports.sh LIBRARY MAP-FILE" >&2
	exit 2
fi
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
export LC_ALL=C

nm -D --defined-only "$1" >"$work/nm" || exit 2
# Strip the version after @. The versions themselves are absolute symbols, not exports.
awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' "$work/nm" | sort -u >"$work/exported"
# Strip comments of both kinds, then take the names between "global:" and "local:".
sed -e 's/#.*//' -e 's,/\*[^*]*\*/,,g' "$2" | tr ';{}' '\n\n\n' |
	awk '{ sub(/^[ \t]+/, ""); sub(/[ \t]+$/, "") }
		sub(/^global:[ \t]*/, "") { listed = 1 }
		/^local:/ { listed = 0 }
		listed && $0 != ""' | sort >"$work/listed"
if [ ! -s "$work/listed" ]; then
	echo "exports.sh: $2 lists nothing" >&2
	exit 2
fi

failed=0
report()
{
	if [ -s "$work/difference" ]; then
		echo "$1:"
		sed 's/^/  /' "$work/difference"
		failed=1
	fi
}
comm -23 "$work/exported" "$work/listed" >"$work/difference"
report "exported but not listed in $2"
comm -13 "$work/exported" "$work/listed" >"$work/difference"
report "listed in $2 but not exported"
uniq -d "$work/listed" >"$work/difference"
report "listed twice in $2"
grep '[^A-Za-z0-9_]' "$work/listed" >"$work/difference"
report "listed in $2 as a pattern"
[ "$failed" -eq 0 ] && echo "$(wc -l <"$work/listed") symbols, as listed"
exit $failed
