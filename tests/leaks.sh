#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# leaks.sh FOLIO LIBRARY - tests that the folio command gives back what it takes: memory, mappings
# and descriptors. LIBRARY is built from leaks.c. Prints TAP. Needs python3.

library=$2
case $library in
/*) ;;
*) library=$PWD/$library ;;
esac
. "$(dirname "$0")/tap.sh"

random_files 65536 9441279

# leaves ALLOCATIONS STATUS ARGUMENT...: the command exits with STATUS and leaves so many
# allocations, and nothing else. The list of a thread's counts is freed at the end of the thread;
# that of the first thread ends with the process. The slots of a thread that publishes pins stay for
# the next thread: in bench, the first one checks such reads, and all others are measured.
leaves() {
	expected=$1 status=$2
	shift 2
	LD_PRELOAD=$library "$folio" "$@" >out 2>err
	got=$?
	echo "folio $*: status $got, stderr:"
	cat err
	[ $got -eq "$status" ] &&
		grep -q -x "left: $expected allocations, 0 bytes, 0 descriptors" err
}

if sanitized; then
	skip "what the command leaves" "the sanitizer looks for it"
	finish
	exit
fi

check "version" leaves 0 0 --version
check "cat" leaves 1 0 cat file-9441279
check "cat of a part" leaves 1 0 cat file-9441279 --threads 3 --offset 100 --length 50000
check "cat of a missing file" leaves 0 1 cat nosuch
check "cp" leaves 1 0 cp file-9441279 copy
check "cp over a file" leaves 1 0 cp file-65536 copy
check "cp of a missing file" leaves 0 1 cp nosuch copy
check "cp to where no file can be created" leaves 0 1 cp file-65536 /proc/copy
check "bench" leaves 4 0 bench file-65536 --threads 2 --seconds 0.2
check "bench, misses" leaves 3 0 bench file-9441279 --threads 1 --seconds 0.4 --cache 4M --depth 4
check "bench --json" leaves 3 0 bench file-65536 --threads 1 --seconds 0.1 --json
check "bench --csv" leaves 3 0 bench file-65536 --threads 1 --seconds 0.1 --csv
check "bench --all --svg" leaves 3 0 bench file-65536 --threads 1 --seconds 0.1 --all --svg picture
check "bench with a picture where no file can be created" leaves 0 1 bench file-65536 --svg /proc/it
check "bench of a missing file" leaves 0 1 bench nosuch
check "bench ref" leaves 0 0 bench ref --threads 2 --seconds 0.2
check "bench write" leaves 1 0 bench write copy --overwrite --threads 2 --seconds 0.2

finish
