#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# refuse.sh FOLIO - tests what the folio command refuses: wrong arguments, and files that it cannot
# read or replace. Each exit status and each message is compared exactly. Prints TAP.

. "$(dirname "$0")/tap.sh"

# ---- wrong arguments ----

printf x >one
check "no command" refuses 2 "no command given; 'folio --help' lists the commands"
check "unknown command" refuses 2 "unknown command 'nonsense'; 'folio --help' lists the commands" \
	nonsense
check "unknown option before the command" refuses 2 \
	"unknown option '--nonsense'; 'folio --help' lists the options" --nonsense
check "help for an unknown command" refuses 2 \
	"unknown command 'nonsense'; 'folio --help' lists the commands" help nonsense
check "help for an unknown benchmark" refuses 2 \
	"unknown command 'bench nonsense'; 'folio bench --help' lists the benchmarks" \
	help bench nonsense
check "help for two commands" refuses 2 \
	"help takes the name of one command; 'cp' is one argument too many" help cat cp
check "help for a benchmark with one more argument" refuses 2 \
	"help takes the name of one command; 'more' is one argument too many" help bench ref more
for option in --version -V --help -h; do
	check "$option with an argument" refuses 2 \
		"$option takes no argument, but was given 'more'" $option more
done
check "cat without a file" refuses 2 \
	"cat needs the name of a file; 'folio cat --help' explains it" cat
check "cat of two files" refuses 2 \
	"'two' is one argument too many for cat; 'folio cat --help' explains it" cat one two
check "cat with an unknown option" refuses 2 \
	"cat has no option '--nonsense'; 'folio cat --help' lists its options" cat one --nonsense
check "cat with the beginning of an option" refuses 2 \
	"cat has no option '--cach'; 'folio cat --help' lists its options" cat one --cach 1M
check "cat with an option of bench" refuses 2 \
	"cat has no option '--svg'; 'folio cat --help' lists its options" cat one --svg x
check "option without a value" refuses 2 "--cache needs a value" cat one --cache
for size in "" x 12X 1.5M -1 +1 " 1" "1 " 1KK 1MB 1KiB K 0x10 99999999999999999999 16777216T; do
	check "size '$size'" refuses 2 \
		"--cache takes a size such as 512M (suffixes K, M, G, T), not '$size'" \
		cat one --cache "$size"
done
for size in 0 1 4K 262143 255K; do
	check "cache of $size" refuses 2 "--cache $size is too small: the minimum is 256K" \
		cat one --cache $size
	check "cp, cache of $size" refuses 2 "--cache $size is too small: the minimum is 256K" \
		cp one two --cache $size
done
check "size too large" refuses 2 \
	"--offset 9223372036854775808 is too large: the maximum is 9223372036854775807" \
	cat one --offset 9223372036854775808

# takes OPTION VALUES COMMAND VALUE: the command refuses a value that is none of these.
takes() {
	option=$1 values=$2 command=$3 value=$4
	check "$command $option '$value'" refuses 2 "$option takes $values, not '$value'" \
		$command "$option" "$value"
}
for threads in "" 0 -1 x 1K 1.0 "1 " 4294967297 18446744073709551617; do
	takes --threads "a number from 1 to 256" "cat one" "$threads"
	takes --threads "a number from 1 to 512" "bench ref" "$threads"
done
takes --threads "a number from 1 to 256" "cat one" 257
takes --threads "a number from 1 to 512" "bench ref" 513
for seconds in "" 0 0.0 -1 x 1s nan inf 1e9 0x10 1e1 . 1.2.3 86401 86400.1; do
	takes --seconds "a number of seconds, more than 0 and at most 86400" "bench one" "$seconds"
done
for depth in 0 -1 x 1025; do
	takes --depth "a number from 1 to 1024" "bench one" "$depth"
done
for sync in 0 -1 x 1000001; do
	takes --sync "a number from 1 to 1000000" "bench write" "$sync"
done
exclusive="--all, --json and --csv exclude each other"
check "--json and --csv" refuses 2 "$exclusive" bench one --json --csv
check "--all and --json" refuses 2 "$exclusive" bench one --all --json
check "--all and --csv" refuses 2 "$exclusive" bench one --csv --all
check "bench ref, --json and --csv" refuses 2 "$exclusive" bench ref --json --csv
check "bench write, --json and --csv" refuses 2 "$exclusive" bench write --json --csv
check "flag with a value" refuses 2 "--json takes no value" bench one --json=yes
check "bench of two files" refuses 2 \
	"'two' is one argument too many for bench; 'folio bench --help' explains it" bench one two
check "bench ref of a file" refuses 2 \
	"'one' is one argument too many for bench ref; 'folio bench ref --help' explains it" \
	bench ref one
cp_names="cp needs the names of a file and of its copy; 'folio cp --help' explains it"
check "cp without names" refuses 2 "$cp_names" cp
check "cp without a second name" refuses 2 "$cp_names" cp one
check "cp with a third name" refuses 2 \
	"'three' is one argument too many for cp; 'folio cp --help' explains it" cp one two three
check "cp with an option of cat" refuses 2 \
	"cp has no option '--offset'; 'folio cp --help' lists its options" cp one two --offset 1
check "bench write --overwrite without a file" refuses 2 \
	"--overwrite needs the name of the file that may be overwritten" bench write --overwrite
check "bench write of a file without --overwrite" refuses 2 \
	"bench write destroys the contents of one: confirm with --overwrite" bench write one
check "option after --" refuses 1 "--json: No such file or directory" cat -- --json

# ---- files that cannot be read ----

: >empty
missing="No such file or directory"
not_a_file="neither a regular file nor a block device"
for command in cat bench; do
	check "$command of a missing file" refuses 1 "nosuch: $missing" $command nosuch
	check "$command of a directory" refuses 1 ".: Is a directory" $command .
	check "$command of a device" refuses 1 "/dev/null: $not_a_file" $command /dev/null
	if [ "$(id -u)" -ne 0 ]; then
		: >secret
		chmod 0 secret
		check "$command of an unreadable file" refuses 1 "secret: Permission denied" \
			$command secret
	else
		skip "$command of an unreadable file" "root reads everything"
	fi
done
check "bench of an empty file" refuses 1 \
	"empty: 0 bytes are too few to measure; at least 64 are needed" bench empty
check "bench write of a file that is too small" refuses 1 \
	"one: 1 bytes are too few to measure; at least 8192 are needed" bench write one --overwrite
check "bench write of a missing file" refuses 1 "nosuch: $missing" bench write nosuch --overwrite
check "bench write of a directory" refuses 1 ".: Is a directory" bench write . --overwrite
check "cp of a missing file" refuses 1 "nosuch: $missing" cp nosuch two
check "cp of a directory" refuses 1 ".: Is a directory" cp . two
check "cp of a device" refuses 1 "/dev/null: $not_a_file" cp /dev/null two
check "cp to a directory" refuses 1 ".: Is a directory" cp one .
check "cp into a missing directory" refuses 1 "nosuch/two: $missing" cp one nosuch/two
check "cp to a device" refuses 1 "/dev/null: not a regular file, and cannot be replaced by one" \
	cp one /dev/null
ln one link
ln -s one symlink
for copy in one link symlink; do
	check "cp of a file to itself, $copy" refuses 1 "one and $copy are the same file" \
		cp one $copy
done
if [ "$(id -u)" -ne 0 ]; then
	printf old >readonly
	chmod 444 readonly
	check "cp of an unreadable file" refuses 1 "secret: Permission denied" cp secret two
	check "cp to a read-only file" refuses 1 "readonly: Permission denied" cp one readonly
else
	skip "cp of an unreadable file" "root reads everything"
	skip "cp to a read-only file" "root writes everything"
fi

# The kernel reports the size 0 for these; a cache would treat them as empty.
sizeless="/proc/self/status: the kernel does not report its size"
for command in cat bench cp; do
	copy=
	[ $command != cp ] || copy=two
	if [ -r /proc/self/status ]; then
		check "$command of a file without a size" refuses 1 "$sizeless" \
			$command /proc/self/status $copy
	else
		skip "$command of a file without a size" "no /proc"
	fi
done
mkfifo fifo
check "cat of a pipe" refuses 1 "fifo: $not_a_file" cat fifo
check "cp of a pipe" refuses 1 "fifo: $not_a_file" cp fifo two
check "bench of a pipe" refuses 1 "fifo: $not_a_file" bench fifo
check "bench write of a pipe" refuses 1 "fifo: $not_a_file" bench write fifo --overwrite

nothing_copied() {
	[ ! -e two ] && [ "$(cat one)" = x ]
}
check "none of these commands has copied anything" nothing_copied

# ---- pictures that would replace another file ----

head -c 65536 /dev/zero >measured
ln measured other-name
ln -s measured soft-name
ln -s nowhere dangling
for picture in measured other-name soft-name; do
	over="--svg $picture would overwrite the file that is measured"
	check "bench, picture over the measured file, $picture" refuses 2 "$over" \
		bench measured --svg $picture
	check "bench write, picture over the measured file, $picture" refuses 2 "$over" \
		bench write measured --overwrite --svg $picture
done
check "picture over a pipe" refuses 1 "cannot write fifo: it exists and is not a regular file" \
	bench measured --svg fifo
check "picture over a device" refuses 1 \
	"cannot write /dev/null: it exists and is not a regular file" bench ref --svg /dev/null
check "picture over a directory" refuses 1 "cannot write .: Is a directory" bench measured --svg .
check "picture over a symbolic link to nothing" refuses 1 \
	"cannot write dangling: it is a symbolic link to nothing" bench measured --svg dangling
check "picture that cannot be written" refuses 1 "cannot write nosuch/x.svg: $missing" \
	bench one --svg nosuch/x.svg
TMPDIR=$dir/nosuch check "own file that cannot be created" refuses 1 \
	"cannot create a file of 256 MiB in $dir/nosuch: $missing" bench
measured_is_there() {
	ls -l
	head -c 65536 /dev/zero | cmp - measured && [ -L soft-name ] && [ -L dangling ] &&
		[ -p fifo ]
}
check "none of these commands has changed a file" measured_is_there

no_empty_picture() {
	refuses 1 "nosuch: $missing" bench nosuch --svg new.svg && [ ! -e new.svg ] &&
		echo old >old.svg && refuses 1 "nosuch: $missing" bench nosuch --svg old.svg &&
		[ "$(cat old.svg)" = old ]
}
check "a failed run does not change the picture" no_empty_picture

# ---- output that cannot be written ----

# closed ARGUMENT...: with standard output closed; no other file gets the output.
closed() {
	"$folio" "$@" 2>err >&-
	got=$?
	echo "folio $* >&-: status $got"
	cat err
	[ $got -eq 1 ] && says "cannot write to standard output: Bad file descriptor" &&
		head -c 65536 /dev/zero | cmp - measured && [ ! -e new.svg ]
}
check "cat to a closed output" closed cat one
check "help to a closed output" closed --help
check "bench to a closed output" closed bench measured --svg new.svg
check "bench write to a closed output" closed bench write measured --overwrite
check "bench ref to a closed output" closed bench ref --svg new.svg
all_closed() {
	"$folio" cp one closed-copy <&- >&- 2>&- && cmp one closed-copy &&
		! "$folio" cat nosuch <&- 2>&- &&
		[ "$("$folio" cat one <&- 2>&-)" = x ]
}
check "all standard descriptors closed" all_closed

# full ARGUMENT...: on a device that is full.
full() {
	"$folio" "$@" >/dev/full 2>err
	got=$?
	cat err
	[ $got -eq 1 ] && says "cannot write to standard output: No space left on device"
}
if [ -c /dev/full ]; then
	check "cat to a full device" full cat one
	check "help to a full device" full --help
	# More than the buffer of stdio holds: the reported error is that of the first write.
	check "results to a full device" full bench ref --threads 1 --seconds 0.05 --json
else
	skip "cat to a full device" "no /dev/full"
	skip "help to a full device" "no /dev/full"
	skip "results to a full device" "no /dev/full"
fi

finish
