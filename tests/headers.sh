#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Each public header compiles alone, as C11 and as C++11, without a warning. All of them compile
# together in several files, which are linked into one program; so does the umbrella <folio.h>.
#
# headers.sh CC CXX INCLUDE-DIRECTORY: CC and CXX may have arguments, as in "ccache gcc"
set -u
if [ $# -ne 3 ]; then
	echo "usage: headers.sh CC CXX INCLUDE-DIRECTORY" >&2
	exit 2
fi
cc=$1 cxx=$2 include=$3
warnings='-pedantic -Wall -Wextra -Wundef -Werror'
# -Wshadow in C only: in C++ it objects to a struct and a function of one name, as stat() has.
c="$cc -std=c11 $warnings -Wshadow -Wstrict-prototypes -Wmissing-prototypes"
cplusplus="$cxx -std=c++11 $warnings"
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
# A path without blanks.
ln -s "$(cd "$include" && pwd)" "$work/include" || exit 2
include=$work/include
number=0
failed=0

# check WHAT COMMAND...: one line of TAP
check()
{
	what=$1
	shift
	number=$((number + 1))
	if "$@" >"$work/output" 2>&1; then
		echo "ok $number - $what"
	else
		echo "not ok $number - $what"
		sed 's/^/# /' "$work/output"
		failed=$((failed + 1))
	fi
}

# alone HEADER FLAGS NAME: HEADER as in #include <HEADER>
alone()
{
	# Included twice, to test the guard. ISO C forbids an empty file, hence the last line.
	printf '#include <%s>\n' "$1" "$1" >"$work/alone.c"
	echo 'extern int alone;' >>"$work/alone.c"
	cp "$work/alone.c" "$work/alone.cpp"
	check "$3 alone, C11" $c $2 -I"$include" -c -o "$work/alone.o" "$work/alone.c"
	check "$3 alone, C++11" $cplusplus $2 -I"$include" -c -o "$work/alone.o" \
		"$work/alone.cpp"
}

# together FLAGS NAME
together()
{
	cat "$work/all" >"$work/one.c"
	cat "$work/all" >"$work/two.cpp"
	{
		cat "$work/all"
		echo 'int main(void) { return 0; }'
	} >"$work/main.c"
	set -- "$1 -I$include -c" "$2"
	check "$2, for linking, C11" $c $1 -o "$work/one.o" "$work/one.c"
	check "$2, for linking, C++11" $cplusplus $1 -o "$work/two.o" "$work/two.cpp"
	check "$2, for linking, main" $c $1 -o "$work/main.o" "$work/main.c"
	check "$2, linked" $cxx -o "$work/main" "$work/main.o" "$work/one.o" "$work/two.o"
}

: >"$work/all"
for path in "$include"/folio/*.h; do
	header=${path##*/}
	# Only ref.h may include it.
	[ "$header" = ref-debug.h ] && continue
	if [ ! -f "$path" ]; then
		echo "headers.sh: no headers in $include/folio" >&2
		exit 2
	fi
	alone "folio/$header" "" "folio/$header"
	echo "#include <folio/$header>" >>"$work/all"
done
alone folio.h "" "folio.h"
for header in folio.h folio/ref.h folio/file.h folio/type.h; do
	alone "$header" -DFOLIO_REF_DEBUG "$header with FOLIO_REF_DEBUG"
done
# -O1: the linker must not need the library for inline functions that are never called.
together "-O1" "all headers"
together "-O1 -DFOLIO_REF_DEBUG" "all headers with FOLIO_REF_DEBUG"
echo '#include <folio.h>' >"$work/all"
together "-O1" "folio.h"
together "-O1 -DFOLIO_REF_DEBUG" "folio.h with FOLIO_REF_DEBUG"
# For 32 bits, the headers give one reason why they do not compile; the counter does compile. The
# machine need not have a C library of 32 bits.
mkdir -p "$work/32/gnu"
: >"$work/32/gnu/stubs-32.h"
narrow="-m32 -I$work/32 -isystem /usr/include/$($cc -print-multiarch 2>/dev/null)"
one_reason()
{
	"$@" 2>"$work/reason"
	cat "$work/reason"
	[ "$(grep -c 'error:' "$work/reason")" -eq 1 ] &&
		grep -q 'error:.*folio runs on 64-bit systems only' "$work/reason"
}
echo '#include <pthread.h>' >"$work/probe.c"
if $cc $narrow -fsyntax-only "$work/probe.c" 2>/dev/null; then
	cp "$work/all" "$work/all.c"
	cp "$work/all" "$work/all.cpp"
	check "folio.h for 32 bits, C11" one_reason $c $narrow -I"$include" -fsyntax-only \
		"$work/all.c"
	check "folio.h for 32 bits, C++11" one_reason $cplusplus $narrow -I"$include" \
		-fsyntax-only "$work/all.cpp"
	alone folio/ref.h "$narrow" "folio/ref.h for 32 bits"
else
	number=$((number + 1))
	echo "ok $number - folio.h for 32 bits # SKIP the compiler has no -m32"
fi
echo "1..$number"
[ "$failed" -eq 0 ]
