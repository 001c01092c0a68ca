#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Each public header compiles alone, as C11 and as C++11, without a warning; and all together in
# several files that are linked into one program.
#
# headers.sh CC CXX INCLUDE-DIRECTORY
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
# Under a name without blanks.
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

# alone HEADER FLAGS NAME
alone()
{
	# Twice: the guard works. The last line: a file that has nothing is no C file.
	printf '#include <folio/%s>\n' "$1" "$1" >"$work/alone.c"
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
	# Included by ref.h and by nobody else.
	[ "$header" = ref-debug.h ] && continue
	if [ ! -f "$path" ]; then
		echo "headers.sh: no headers in $include/folio" >&2
		exit 2
	fi
	alone "$header" "" "$header"
	echo "#include <folio/$header>" >>"$work/all"
done
alone ref.h -DFOLIO_REF_DEBUG "ref.h with FOLIO_REF_DEBUG"
# -O1: inline functions that nobody calls must not be looked for when linking.
together "-O1" "all headers"
together "-O1 -DFOLIO_REF_DEBUG" "all headers with FOLIO_REF_DEBUG"
echo "1..$number"
[ "$failed" -eq 0 ]
