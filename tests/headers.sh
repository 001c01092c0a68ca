#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Each public header compiles alone, as C11 and as C++11, without a warning. All of them compile
# together in several files, which are linked into one program; so does the umbrella <folio.h>, and
# a program that uses the macros and the inline functions, which it links nothing for.
#
# The compilers are those given, and GCC or Clang, whichever these are not, where it is installed.
#
# headers.sh CC CXX INCLUDE-DIRECTORY: CC and CXX may have arguments, as in "ccache gcc"
set -u
if [ $# -ne 3 ]; then
	echo "usage: headers.sh CC CXX INCLUDE-DIRECTORY" >&2
	exit 2
fi
include=$3
warnings='-pedantic -Wall -Wextra -Wundef -Wshadow -Wcast-qual -Werror'

# use CC CXX: the compilers of the checks that follow
use()
{
	cc=$1 cxx=$2
	name=${cxx##* }
	c_any="$cc $warnings -Wstrict-prototypes -Wmissing-prototypes"
	cplusplus_any="$cxx $warnings -Wold-style-cast"
	c="$c_any -std=c11"
	cplusplus="$cplusplus_any -std=c++11"
	# GCC warns that its ThreadSanitizer does not support fences (folio_fence_acquire).
	no_tsan=
	$cc --version | grep -q clang || no_tsan=-Wno-tsan
	echo "# compilers: $cc ($($cc --version | sed q)), $cxx ($($cxx --version | sed q))"
}

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
	check "$3 alone, C11, $name" $c $2 -I"$include" -c -o "$work/alone.o" "$work/alone.c"
	check "$3 alone, C++11, $name" $cplusplus $2 -I"$include" -c -o "$work/alone.o" \
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
	set -- "$1 -I$include -c" "$2, $name"
	check "$2, for linking, C11" $c $1 -o "$work/one.o" "$work/one.c"
	check "$2, for linking, C++11" $cplusplus $1 -o "$work/two.o" "$work/two.cpp"
	check "$2, for linking, main" $c $1 -o "$work/main.o" "$work/main.c"
	check "$2, linked" $cxx -o "$work/main" "$work/main.o" "$work/one.o" "$work/two.o"
}

# A program in the common part of C and C++.
cat >"$work/program" <<'END'
#include <folio.h>

struct node {
	uint32_t keys;
	uint64_t key[8];
};

/* Both names, and pointers to the functions. */
int count(struct folio_cache *cache, struct folio_file *file);
int count(struct folio_cache *cache, struct folio_file *file)
{
	int (*read_counters)(struct folio_cache *, struct folio_cache_stats *) = folio_cache_stats;
	struct folio_cache_stats stats;
	struct folio_file_stat stat;

	stats.size = sizeof(stats);
	stat.size = sizeof(stat);
	return folio_cache_stats(cache, &stats) || read_counters(cache, &stats) ||
	       folio_file_stat(file, &stat);
}

int peek(struct folio_file *file, const struct folio_view *view, folio_peek_fn *visit);
int peek(struct folio_file *file, const struct folio_view *view, folio_peek_fn *visit)
{
	struct folio_peek state;
	const void *page = folio_peek(view, 7, &state);
	const struct node *node = FOLIO_CAST_(const struct node *, page);
	struct node copy;
	uint64_t sum = 0;

	if (!page)
		return folio_peek_visit(file, view, 7, visit, &sum);
	if (FOLIO_PEEK_LOAD(&node->keys) < 8)
		sum += FOLIO_PEEK_LOAD(&node->key[3]);
	folio_peek_copy(&copy, page, sizeof(copy));
	return folio_peek_valid(&state) && sum + copy.keys;
}

int change(struct folio_cache *cache, struct folio_file *file, struct folio_ref *ref);
int change(struct folio_cache *cache, struct folio_file *file, struct folio_ref *ref)
{
	struct folio_pin pin;
	struct folio *folio;
	void *page;

	if (folio_file_pin(file, 3, 0, &pin) || folio_pin_convert(&pin))
		return 1;
	folio_unpin(&pin);
	if (folio_file_get(file, 3, 0, &folio) || folio_file_get_page(file, 3, 0, &folio, &page) ||
		folio_alloc(cache, folio_order(folio), FOLIO_TYPE_PRIVATE, NULL, &folio))
		return 1;
	folio_get(folio);
	memset(folio_page(folio, folio_index(folio)), 1, folio_size(folio));
	if (folio_lock(folio) || folio_mark_dirty(folio, 1) || folio_unlock(folio))
		return folio_data(folio) == folio_owner(folio);
	folio_put(folio);
	folio_ref_init_frozen(ref);
	folio_ref_unfreeze(ref, 1);
	folio_ref_get(ref);
	folio_ref_get_n(ref, 2);
	return folio_ref_try_get(ref) && folio_ref_try_get_n(ref, 2) && folio_ref_put(ref) &&
	       folio_ref_put_n(ref, 2) && folio_ref_try_freeze(ref, 1) &&
	       folio_ref_is_frozen(ref) && folio_ref_count(ref);
}
END

# inline_in OBJECT: it takes none of the inline functions from a library
inline_in()
{
	nm -u "$1" | sed 's/.* //' | sort >"$work/undefined"
	# FOLIO_REF_FUNCTION_ makes the names of the counter's.
	sed -n '/^FOLIO_INLINE_/{
		s/.*FUNCTION_(\([a-z_]*\),.*/folio_ref_\1/p
		s/.* \**\(folio_[a-z_]*\)(.*/\1/p
	}' "$include"/folio/*.h | sort >"$work/inline"
	[ "$(wc -l <"$work/inline")" -ge 25 ] || return 1
	comm -12 "$work/undefined" "$work/inline" >"$work/outside"
	cat "$work/outside"
	[ ! -s "$work/outside" ]
}

# program FLAGS STANDARD...: the program in each standard of C or C++
program()
{
	flags=$1
	shift
	for standard in "$@"; do
		case $standard in
		*++*)
			cp "$work/program" "$work/program.cpp"
			set -- $cplusplus_any "$work/program.cpp"
			;;
		*)
			cp "$work/program" "$work/program.c"
			set -- $c_any "$work/program.c"
			;;
		esac
		check "program, $flags, $standard, $name" "$@" -std=$standard $flags \
			-I"$include" -c -o "$work/program.o"
		check "program, $flags, $standard, $name, is inline" inline_in "$work/program.o"
	done
}

one_reason()
{
	"$@" 2>"$work/reason"
	cat "$work/reason"
	[ "$(grep -c 'error:' "$work/reason")" -eq 1 ] &&
		grep -q 'error:.*folio runs on 64-bit systems only' "$work/reason"
}

# all: the checks with the compilers in use
all()
{
	: >"$work/all"
	for path in "$include"/folio/*.h; do
		header=${path##*/}
		if [ ! -f "$path" ]; then
			echo "headers.sh: no headers in $include/folio" >&2
			exit 2
		fi
		alone "folio/$header" "" "folio/$header"
		alone "folio/$header" -DFOLIO_REF_DEBUG "folio/$header with FOLIO_REF_DEBUG"
		echo "#include <folio/$header>" >>"$work/all"
	done
	alone folio.h "" "folio.h"
	alone folio.h -DFOLIO_REF_DEBUG "folio.h with FOLIO_REF_DEBUG"
	# -O1: the linker must not need the library for inline functions that are never called.
	together "-O1" "all headers"
	together "-O1 -DFOLIO_REF_DEBUG" "all headers with FOLIO_REF_DEBUG"
	echo '#include <folio.h>' >"$work/all"
	together "-O1" "folio.h"
	together "-O1 -DFOLIO_REF_DEBUG" "folio.h with FOLIO_REF_DEBUG"
	program -O0 c11 c++11
	program "-O2 -DNDEBUG" c11 gnu17 c++11 gnu++14 c++17 c++20
	program "-O1 -DFOLIO_REF_DEBUG" c11 c++11 c++20
	program "-O1 -fsanitize=address,undefined" c11 c++11
	program "-O1 -fsanitize=thread $no_tsan" c11 c++11
	# For 32 bits, the headers give one reason why they do not compile; the counter does
	# compile. The machine need not have a C library of 32 bits.
	mkdir -p "$work/32/gnu"
	: >"$work/32/gnu/stubs-32.h"
	narrow="-m32 -I$work/32 -isystem /usr/include/$($cc -print-multiarch 2>/dev/null)"
	echo '#include <pthread.h>' >"$work/probe.c"
	if $cc $narrow -fsyntax-only "$work/probe.c" 2>/dev/null; then
		cp "$work/all" "$work/all.c"
		cp "$work/all" "$work/all.cpp"
		check "folio.h for 32 bits, C11, $name" one_reason $c $narrow -I"$include" \
			-fsyntax-only "$work/all.c"
		check "folio.h for 32 bits, C++11, $name" one_reason $cplusplus $narrow \
			-I"$include" -fsyntax-only "$work/all.cpp"
		alone folio/ref.h "$narrow" "folio/ref.h for 32 bits"
	else
		number=$((number + 1))
		echo "ok $number - folio.h for 32 bits, $name # SKIP the compiler has no -m32"
	fi
}

use "$1" "$2"
all
case $($2 --version) in
*clang*) other='gcc g++' ;;
*) other='clang clang++' ;;
esac
if command -v ${other#* } >/dev/null && command -v ${other% *} >/dev/null; then
	use ${other% *} ${other#* }
	all
else
	echo "# compilers: $other are not installed"
fi
echo "1..$number"
[ "$failed" -eq 0 ]
