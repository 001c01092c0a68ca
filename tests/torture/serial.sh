#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# torture --serial is a function of its seed: the same seed gives the same report, with all counts
# and the histogram; another seed gives another report.
#
# usage: serial.sh TORTURE
set -u
folder=$(mktemp -d) || exit 99
trap 'rm -rf "$folder"' EXIT

run() { # torture, seed, file
	# The first line has the seed; the line with " s, " has the seconds.
	"$1" --mode counter --serial --threads 16 --operations 100000 --seed "$2" \
		>"$folder/all" || exit 1
	grep -v -e '^torture: seed' -e ' s, ' "$folder/all" >"$folder/$3"
}

run "$1" 7 first
run "$1" 7 again
run "$1" 8 other
if ! cmp "$folder/first" "$folder/again"; then
	echo "two runs with one seed differ"
	exit 1
fi
if cmp -s "$folder/first" "$folder/other"; then
	echo "two runs with different seeds are the same"
	exit 1
fi
grep 'reuse races' "$folder/first"
