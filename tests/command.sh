#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# command.sh FOLIO - tests the folio command from outside: its help, and that cat prints the
# contents of a file. bench.sh tests the benchmarks, refuse.sh what the command refuses, cp.sh the
# copies of cp. Prints TAP. Needs python3.

. "$(dirname "$0")/tap.sh"

# ---- help and version ----

# explains LINE ARGUMENT...: the help, which begins with this line.
explains() {
	line=$1
	shift
	"$folio" "$@" >out 2>err
	got=$?
	echo "folio $*: status $got"
	cat out err
	[ $got -eq 0 ] && [ ! -s err ] && [ "$(head -n 1 out)" = "usage: $line" ] &&
		[ "$(wc -l <out)" -gt 4 ]
}
for help in --help -h help; do
	check "folio $help" explains "folio COMMAND [ARGUMENT...]" $help
done
for command in cat cp bench; do
	check "the help names $command" grep -q "^  $command  *[A-Za-z]" out
done
while IFS='|' read -r command line; do
	check "folio $command --help" explains "$line" $command --help
	check "folio $command -h" explains "$line" $command -h
	check "folio help $command" explains "$line" help $command
done <<'LINES'
cat|folio cat FILE [--cache SIZE] [--threads N] [--offset N] [--length N]
cp|folio cp SRC DST [--cache SIZE] [--in-place] [--preserve]
bench|folio bench [FILE] [--cache SIZE] [--threads N] [--seconds S] [--depth N]
bench ref|folio bench ref [--threads N] [--seconds S] [--all | --json | --csv]
bench write|folio bench write [FILE --overwrite] [--cache SIZE] [--threads N]
LINES
version() {
	"$folio" "$1" >out 2>err || return 1
	cat out err
	[ ! -s err ] && [ "$(wc -l <out)" -eq 1 ] &&
		has_line 'folio [0-9][0-9]*\.[0-9][0-9]*\.[0-9][0-9]*' out
}
check "--version" version --version
check "-V" version -V

# ---- cat: the contents of the file ----

random_files 1 63 4095 4096 4097 65536 $(((1 << 20) + 7)) $(((9 << 20) + 4095))
python3 - <<'PYTHON' || exit 1
with open('sparse', 'wb') as file:
    file.truncate(48 << 20)
    file.seek((20 << 20) + 5)
    file.write(b'an island')
PYTHON
: >file-0

same_as_file() {
	file=$1
	shift
	"$folio" cat "$file" "$@" >out 2>err
	got=$?
	echo "folio cat $file $*: status $got"
	cat err
	[ $got -eq 0 ] && [ ! -s err ] && cmp out "$file"
}

for file in file-* sparse; do
	for threads in 1 3; do
		check "cat $file, $threads threads" same_as_file "$file" --threads $threads
		check "cat $file, $threads threads, smallest cache" same_as_file "$file" \
			--threads $threads --cache 256K
	done
done
check "cat with more threads than pages" same_as_file file-1048583 --threads 256 --cache 256K
cp file-4097 ./--name
check "cat of a file named like an option" same_as_file ./--name
check "cat with --cache=SIZE and --threads=N" same_as_file file-4096 --cache=1M --threads=2

same_as_part() {
	file=$1 offset=$2 length=$3
	shift 3
	tail -c +$((offset + 1)) "$file" | head -c "$length" >expected
	"$folio" cat "$file" --offset "$offset" --length "$length" "$@" >out 2>err
	got=$?
	echo "folio cat $file --offset $offset --length $length $*: status $got"
	cat err
	[ $got -eq 0 ] && [ ! -s err ] && cmp out expected
}

for part in "0 0" "0 1" "0 4096" "1 4096" "4095 1" "4095 2" "4096 4096" "5000 100000" \
	"1048575 2" "1048576 7" "1048576 8" "1048582 1" "1048583 1" "1048584 1" "0 1048583" \
	"0 9999999" "99999999 1"; do
	set -- $part
	check "cat from $1, $2 bytes" same_as_part file-1048583 "$1" "$2"
	check "cat from $1, $2 bytes, 3 threads" same_as_part file-1048583 "$1" "$2" --threads 3 \
		--cache 256K
done
check "cat from the middle of a hole" same_as_part sparse 20971000 1000

repeated() {
	"$folio" cat file-4097 --length 1 --threads 2 --length=4096 >out &&
		head -c 4096 file-4097 | cmp - out
}
check "the last value of a repeated option counts" repeated

suffixes() {
	"$folio" cat file-9441279 --offset 1M --length 3k >out &&
		dd if=file-9441279 bs=1024 skip=1024 \
		count=3 >expected && cmp out expected
}
check "suffixes of offset and length" suffixes

far_offset() {
	"$folio" cat file-1 --offset 9223372036854775807 --length 9223372036854775807 >out &&
		[ ! -s out ]
}
check "cat from the largest offset" far_offset

# ---- cat: outputs that end early, files that change ----

# If the reader closes the pipe: no message, and failure by SIGPIPE, or by EPIPE if that is ignored.
closed_pipe() {
	{
		"$folio" cat sparse --threads "$1" 2>err
		echo $? >status
	} | head -c 1 >/dev/null
	cat status err
	[ "$(cat status)" -ne 0 ] && [ ! -s err ]
}
closed_pipe_ignored() {
	(
		trap '' PIPE
		closed_pipe "$1"
	) && [ "$(cat status)" -eq 1 ]
}
for threads in 1 3; do
	check "cat to a closed pipe, $threads threads" closed_pipe $threads
	check "cat to a closed pipe, SIGPIPE ignored, $threads threads" closed_pipe_ignored $threads
done

same_file() {
	cp file-4096 loop
	"$folio" cat loop >>loop 2>err
	got=$?
	cat err
	[ $got -eq 1 ] && says "loop: standard output is the same file" && cmp loop file-4096
}
check "cat to the file itself" same_file

# The pipe holds less than the file, so that cat is still running when the file changes.
growing() {
	cp file-9441279 changing
	"$folio" cat changing --threads "$1" | {
		head -c 4096 >out
		cat file-1048583 >>changing
		cat >>out
	}
	cmp out changing
}
shrinking() {
	cp file-9441279 changing
	"$folio" cat changing --cache 1M --threads "$1" | {
		head -c 4096 >out
		truncate -s 5000001 changing
		cat >>out
	}
	cmp out changing
}
for threads in 1 3; do
	check "cat of a growing file, $threads threads" growing $threads
	check "cat of a shrinking file, $threads threads" shrinking $threads
done

# The cache of 64 MiB and the rest of the process.
memory() {
	truncate -s 256M large
	python3 - "$folio" "$1" <<'PYTHON'
import resource, subprocess, sys
subprocess.run([sys.argv[1], 'cat', 'large', '--cache', '64M', '--threads', sys.argv[2]],
               stdout=subprocess.DEVNULL, check=True)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
print('peak %.1f MiB' % peak)
sys.exit(peak >= 96)
PYTHON
}
for threads in 1 4; do
	if sanitized; then
		skip "memory of cat, $threads threads" "sanitized"
	else
		check "memory of cat, $threads threads" memory $threads
	fi
done

finish
