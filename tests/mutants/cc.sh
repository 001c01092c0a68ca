#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# cc.sh - the compiler of mutants: compiles each source on its own, through ccache where that is
# installed. Then only the sources that a mutant changes, or whose headers it changes, are compiled.
set -e
cc=cc
command -v ccache >/dev/null && cc='ccache cc'
CCACHE_NOHASHDIR=1
export CCACHE_NOHASHDIR
out=a.out sources= flags= libraries=
while [ $# -gt 0 ]; do
	case $1 in
	-o)
		out=$2
		shift
		;;
	-l*) libraries="$libraries $1" ;;
	*.c) sources="$sources $1" ;;
	*) flags="$flags $1" ;;
	esac
	shift
done
objects=
for source in $sources; do
	object=$(echo "$source" | tr / -).$$.o
	$cc $flags -c -o "$object" "$source"
	objects="$objects $object"
done
cc $flags -o "$out" $objects $libraries
rm -f $objects
