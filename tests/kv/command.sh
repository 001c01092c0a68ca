#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# command.sh - the command kv, as a user runs it.
#     command.sh KV
set -u
kv=$1
folder=$(mktemp -d "$PWD/kv-command.XXXXXX") || exit 1
trap 'rm -rf "$folder"' EXIT
number=0 failed=0

check() { # name, what was expected, what came
	number=$((number + 1))
	if [ "$2" = "$3" ]; then
		echo "ok $number - $1"
	else
		echo "not ok $number - $1"
		printf '# expected: %s\n# found:    %s\n' "$2" "$3"
		failed=1
	fi
}

# Standard output, then standard error, then the status.
run() {
	"$kv" "$@" >"$folder/out" 2>"$folder/err"
	local status=$?
	printf '%s|%s|%s' "$(cat "$folder/out")" "$(cat "$folder/err")" "$status"
}

store=$folder/store
for i in $(seq 2500); do printf 'key%05d\tvalue %d\n' "$i" "$i"; done >"$folder/lines"

check "no arguments" \
	"|kv: Usage: kv load|get|scan|check|bench STORE ...; main.c has the arguments.|2" \
	"$(run)"
check "too few arguments" "|kv: Usage: kv get STORE KEY.|2" "$(run get "$store")"
check "a number that is none" "|kv: COUNT is a number, not x.|2" "$(run scan "$store" a x)"
check "an option that is none" "|kv: --rows 5 is no option of kv bench.|2" \
	"$(run bench "$folder" --rows 5)"
check "no store" "|kv: $store: No such file or directory|1" "$(run get "$store" a)"
check "load" "2500 records loaded||0" "$(run load "$store" "$folder/lines")"
check "load from a pipe" "1 records loaded" "$(printf 'other\tone' | "$kv" load "$store" 2>&1)"
check "get" "value 17||0" "$(run get "$store" key00017)"
check "get what is not there" "|kv: key: there is no such key|1" "$(run get "$store" key)"
check "scan all" "$(cat "$folder/lines"; printf 'other\tone')||0" "$(run scan "$store")"
check "scan a part" "$(sed -n 100,102p "$folder/lines")||0" "$(run scan "$store" key00100 3)"
case $(run check "$store") in
"valid: 2501 records, "*" 0 pages without a parent's link||0") check "check" "" "" ;;
*) check "check" "valid: 2501 records, ..." "$(run check "$store")" ;;
esac
check "a line without a tab" "|kv: line 1: there is no tab; the lines before it are loaded|1" \
	"$(echo notab >"$folder/bad" && run load "$store" "$folder/bad")"
printf '\377' | dd of="$store" bs=1 seek=2000 conv=notrunc 2>/dev/null
case $(run check "$store") in
"|kv: $store: "*"|1") check "a damaged page" "" "" ;;
*) check "a damaged page" "an error" "$(run check "$store")" ;;
esac
mkdir "$folder/group" && : >"$folder/group/memory.max" && : >"$folder/group/cgroup.procs"
mkdir "$folder/bench"
"$kv" bench "$folder/bench" --records 10000 --seconds 1 --rounds 1 --cgroup "$folder/group" \
	>"$folder/out" 2>"$folder/err"
check "bench: quiet, all three tables" "0 3" \
	"$(wc -c <"$folder/err") $(grep -c '^random' "$folder/out")"
check "bench: joins the cgroup" "yes" \
	"$([ -s "$folder/group/cgroup.procs" ] && [ -s "$folder/group/memory.max" ] && echo yes)"
echo "1..$number"
exit $failed
