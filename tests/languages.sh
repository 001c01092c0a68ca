#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Checks that the library, the command and the examples are configured on a machine without a C++
# compiler, as the README says: without the tests, nothing needs one.
#
# languages.sh MESON SOURCE-FOLDER
set -u
if [ $# -ne 2 ] || [ ! -r "$2/meson.build" ]; then
	echo "usage: languages.sh MESON SOURCE-FOLDER" >&2
	exit 2
fi
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT

if ! CXX=false "$1" setup -Dtests=false -Dbench=false "$work/build" "$2" >"$work/output" 2>&1; then
	echo "meson setup fails without a C++ compiler:"
	tail -n 20 "$work/output"
	exit 1
fi
if grep -n 'cpp_COMPILER' "$work/build/build.ninja"; then
	echo "a target is compiled as C++"
	exit 1
fi
grep -q 'c_COMPILER' "$work/build/build.ninja" || exit 1
echo "configured without a C++ compiler"
