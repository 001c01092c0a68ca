#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# command.sh FOLIO - the folio command from outside: exit statuses, messages, and that cat gives what is
# in the file. Prints TAP. Needs python3, and cc for one of the checks.

case $1 in
*/*) folio=$1 ;;
*) folio=$(command -v "$1") ;;
esac
if [ ! -x "$folio" ]; then
	echo "usage: command.sh FOLIO" >&2
	exit 2
fi
folio=$(cd "$(dirname "$folio")" && pwd)/$(basename "$folio")

dir=$(mktemp -d "${TMPDIR:-/tmp}/folio-command-XXXXXX") || exit 1
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM
cd "$dir" || exit 1

count=0
failures=0

# check NAME COMMAND...: the command succeeds.
check() {
	name=$1
	shift
	count=$((count + 1))
	if "$@" >log 2>&1; then
		echo "ok $count - $name"
	else
		failures=$((failures + 1))
		echo "not ok $count - $name"
		sed 's/^/# /' log
	fi
}

skip() {
	count=$((count + 1))
	echo "ok $count - $1 # SKIP $2"
}

# A sanitizer's own memory counts as the command's, and it has to be loaded first.
sanitized() {
	ldd "$folio" 2>/dev/null | grep -q 'lib[atu][bs]*san'
}

# refuses STATUS PATTERN ARGUMENT...: ends with STATUS, says one sentence that matches, and nothing else.
refuses() {
	status=$1
	pattern=$2
	shift 2
	"$folio" "$@" >out 2>err
	got=$?
	echo "folio $*: status $got, stderr:"
	cat err
	[ $got -eq "$status" ] && [ ! -s out ] && [ "$(wc -l <err)" -eq 1 ] &&
		grep -q '^folio: ' err && grep -q -e "$pattern" err
}

# explains PATTERN ARGUMENT...: succeeds and says so on standard output.
explains() {
	pattern=$1
	shift
	"$folio" "$@" >out 2>err
	got=$?
	echo "folio $*: status $got"
	cat out err
	[ $got -eq 0 ] && [ ! -s err ] && grep -q -e "$pattern" out
}

# ---- help and version ----

for help in "--help" "-h" "help"; do
	check "folio $help" explains "^usage: folio COMMAND" $help
done
for command in "cat" "bench" "bench ref"; do
	check "folio $command --help" explains "folio $command" $command --help
	check "folio help $command" explains "folio $command" help $command
done
check "--version" explains '^folio [0-9]*\.[0-9]*\.[0-9]*$' --version

# ---- wrong arguments ----

printf x >one
check "no command" refuses 2 "no command"
check "unknown command" refuses 2 "'nonsense'" nonsense
check "unknown option before the command" refuses 2 "'--nonsense'" --nonsense
check "help for nothing" refuses 2 "'nonsense'" help nonsense
check "cat without a file" refuses 2 "name of a file" cat
check "cat of two files" refuses 2 "'two'" cat one two
check "cat with an unknown option" refuses 2 "'--nonsense'" cat one --nonsense
check "cat with an option of bench" refuses 2 "'--svg'" cat one --svg x
check "option without its value" refuses 2 "--cache wants a value" cat one --cache
for size in "" x 12X 1.5M -1 " 1" 1KK 0x10 99999999999999999999 16777216T; do
	check "size '$size'" refuses 2 "--cache.*'$size'\|--cache $size" cat one --cache "$size"
done
check "cache too small" refuses 2 "least" cat one --cache 4K
check "size too large" refuses 2 "most" cat one --offset 9223372036854775808
for threads in 0 -1 x 1K 4294967297; do
	check "threads '$threads'" refuses 2 "--threads.*'$threads'" cat one --threads "$threads"
	check "threads of bench ref '$threads'" refuses 2 "--threads.*'$threads'" bench ref \
		--threads "$threads"
done
for seconds in 0 -1 x 1s nan inf 1e9; do
	check "seconds '$seconds'" refuses 2 "--seconds.*'$seconds'" bench one --seconds "$seconds"
done
check "JSON and CSV" refuses 2 "exclude" bench one --json --csv
check "JSON and CSV of bench ref" refuses 2 "exclude" bench ref --json --csv
check "flag with a value" refuses 2 "takes no value" bench one --json=yes
check "bench of two files" refuses 2 "'two'" bench one two
check "bench ref of a file" refuses 2 "'one'" bench ref one

# ---- files that cannot be read ----

: >empty
for command in cat bench; do
	check "$command of no file" refuses 1 "nosuch: No such file or directory" $command nosuch
	check "$command of a directory" refuses 1 "Is a directory" $command .
	check "$command of a device" refuses 1 "neither a regular file nor" $command /dev/null
	if [ "$(id -u)" -ne 0 ]; then
		: >secret
		chmod 0 secret
		check "$command of an unreadable file" refuses 1 "Permission denied" $command secret
	else
		skip "$command of an unreadable file" "root reads everything"
	fi
done
check "bench of an empty file" refuses 1 "too few" bench empty
check "picture that cannot be written" refuses 1 "nosuch/x.svg" bench one --svg nosuch/x.svg
TMPDIR=$dir/nosuch check "own file that cannot be made" refuses 1 "$dir/nosuch" bench
check "option after --" refuses 1 "'\{0,1\}--json" cat -- --json

# ---- cat: what is in the file ----

# Words that differ everywhere.
python3 - <<'PYTHON' || exit 1
import random
generator = random.Random(1)
sizes = [1, 63, 4095, 4096, 4097, 65536, (1 << 20) + 7, (9 << 20) + 4095]
for size in sizes:
    with open('file-%d' % size, 'wb') as file:
        file.write(generator.randbytes(size))
with open('sparse', 'wb') as file:
    file.truncate(48 << 20)
    file.seek((20 << 20) + 5)
    file.write(b'an island')
PYTHON
ln empty file-0

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
		check "cat $file, $threads threads, least cache" same_as_file "$file" \
			--threads $threads --cache 256K
	done
done
check "cat with more threads than pages" same_as_file file-1048583 --threads 256 --cache 256K
cp file-4097 ./--name
check "cat of a name like an option" same_as_file ./--name
check "cat of a block-sized name with =" same_as_file file-4096 --cache=1M --threads=2

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

suffixes() {
	"$folio" cat file-9441279 --offset 1M --length 3k >out && dd if=file-9441279 bs=1024 skip=1024 \
		count=3 >expected && cmp out expected
}
check "suffixes of offset and length" suffixes

far_offset() {
	"$folio" cat file-1 --offset 9223372036854775807 --length 9223372036854775807 >out && [ ! -s out ]
}
check "cat from the last offset there is" far_offset

# ---- cat: outputs that end early, files that change ----

full_output() {
	"$folio" cat file-4096 >/dev/full 2>err
	got=$?
	cat err
	[ $got -eq 1 ] && grep -q '^folio: .*standard output' err && [ "$(wc -l <err)" -eq 1 ]
}
full_help() {
	"$folio" --help >/dev/full 2>err
	got=$?
	cat err
	[ $got -eq 1 ] && grep -q '^folio: .*standard output' err
}
if [ -c /dev/full ]; then
	check "cat to a full device" full_output
	check "help to a full device" full_help
else
	skip "cat to a full device" "no /dev/full"
	skip "help to a full device" "no /dev/full"
fi

# Ends quietly, and not well, when the reader has gone: by SIGPIPE, and by EPIPE where that is ignored.
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
	[ $got -eq 1 ] && grep -q '^folio: loop: ' err && cmp loop file-4096
}
check "cat to the file itself" same_file

# The pipe holds less than the file, so that cat is still busy when the file changes.
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

# 64 MiB and what the process is beside that.
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

# ---- bench ----

cat >results.py <<'PYTHON'
"""results.py FORMAT FILE WORKLOAD...: the file is of that format and has rows of these workloads."""
import csv, json, sys
import xml.etree.ElementTree

form, path, wanted = sys.argv[1], sys.argv[2], sys.argv[3:]
if form == 'svg':
    root = xml.etree.ElementTree.parse(path).getroot()
    assert root.tag.endswith('}svg'), root.tag
    texts = [''.join(text.itertext()) for text in root.iter() if text.tag.endswith('}text')]
    for workload in wanted:
        assert any(text.startswith(workload + ':') for text in texts), workload
    bars = [rect for rect in root.iter() if rect.tag.endswith('}rect')]
    assert all(float(bar.get('width')) >= 0 for bar in bars)
    assert len(bars) > 3 * len(wanted)
elif form == 'json':
    with open(path) as file:
        report = json.load(file)
    assert report['version'] and report['command'].startswith('folio bench')
    assert report['machine']['cpu'] and report['machine']['processors'] >= 1
    seen = {row['workload'] for row in report['results']}
    assert set(wanted) <= seen, seen
    for row in report['results']:
        rate = row['ops_per_second']
        assert row['rounds'] == len(row['samples']) >= 5, row
        assert rate['min'] <= rate['low'] <= rate['median'] <= rate['high'] <= rate['max'], row
        assert min(row['samples']) == rate['min'] and max(row['samples']) == rate['max'], row
        assert row['workload'] == 'freeze' or row['workload'] == 'beside freeze' or rate['min'] > 0, row
elif form == 'csv':
    with open(path, newline='') as file:
        rows = list(csv.reader(file))
    assert all(len(row) == len(rows[0]) for row in rows)
    assert len(set(rows[0])) == len(rows[0])
    table = [dict(zip(rows[0], row)) for row in rows[1:]]
    assert set(wanted) <= {row['workload'] for row in table}
    for row in table:
        assert row['machine_cpu'] and row['version'] and row['command']
        assert float(row['ops_low']) <= float(row['ops_per_second']) <= float(row['ops_high'])
PYTHON

# measures WORKLOADS ARGUMENT...: in all formats, with nothing but the results on standard output.
measures() {
	workloads=$1
	shift
	"$folio" bench "$@" --json --svg picture.svg >out 2>err
	got=$?
	echo "folio bench $* --json: status $got"
	cat err
	[ $got -eq 0 ] && [ ! -s err ] && python3 -m json.tool <out >/dev/null &&
		python3 results.py json out $workloads && python3 results.py svg picture.svg $workloads ||
		return 1
	"$folio" bench "$@" --csv >out 2>err
	got=$?
	echo "folio bench $* --csv: status $got"
	cat err
	[ $got -eq 0 ] && [ ! -s err ] && python3 results.py csv out $workloads
}

table() {
	"$folio" bench file-1048583 --seconds 1 --threads 2 >out 2>err
	got=$?
	cat out err
	[ $got -eq 0 ] && [ ! -s err ] && grep -q '^Verified: all 1048583 bytes' out || return 1
	for word in "^hot:" "^uniform:" "^zipf:" "folio copy" "folio pin" "pread" "mmap" "x 1 thr"; do
		grep -q "$word" out || return 1
	done
}

check "bench" measures "hot uniform zipf chain" file-1048583 --seconds 1 --threads 2
check "bench, the table" table
check "bench of a line" measures "hot uniform zipf" file-4095 --seconds 0.5 --threads 1
check "bench with more threads than processors" measures "hot" file-65536 --seconds 0.5 --threads 9
check "bench of a file larger than the cache" measures \
	"hot uniform zipf miss miss-known sequential" file-9441279 --seconds 1 --cache 4M --depth 8
check "bench ref" measures "get+put release junk freeze" ref --seconds 1 --threads 3

nothing_left() {
	mkdir own
	TMPDIR=$dir/own measures "hot" --seconds 0.5 --threads 1 || return 1
	ls -A own
	[ -z "$(ls -A own)" ]
}
check "bench of a file of its own leaves nothing behind" nothing_left

no_empty_picture() {
	refuses 1 "nosuch" bench nosuch --svg new.svg && [ ! -e new.svg ] &&
		echo old >old.svg && refuses 1 "nosuch" bench nosuch --svg old.svg && grep -q old old.svg
}
check "a picture is not touched when the run fails" no_empty_picture

# A kernel that gives another byte than the cache: the command cannot know which of them is wrong.
mismatch() {
	cat >other.c <<'C'
#include <dlfcn.h>
#include <sys/types.h>
ssize_t pread(int fd, void *buf, size_t len, off_t offset);
ssize_t pread(int fd, void *buf, size_t len, off_t offset)
{
	static ssize_t (*real)(int, void *, size_t, off_t);
	ssize_t got;

	if (!real)
		real = (ssize_t(*)(int, void *, size_t, off_t))dlsym(RTLD_NEXT, "pread");
	got = real(fd, buf, len, offset);
	if (got > 0 && offset <= 700001 && offset + got > 700001)
		((char *)buf)[700001 - offset] ^= 1;
	return got;
}
/* Its name where offsets are asked to be of 64 bits. */
ssize_t pread64(int fd, void *buf, size_t len, off_t offset);
ssize_t pread64(int fd, void *buf, size_t len, off_t offset)
{
	return pread(fd, buf, len, offset);
}
C
	cc -D_GNU_SOURCE -shared -fPIC -o other.so other.c -ldl &&
		LD_PRELOAD=$dir/other.so refuses 1 "offset 700001" bench file-1048583 --threads 2
}
if sanitized || ! command -v cc >/dev/null; then
	skip "bench finds a byte that differs" "sanitized, or no compiler"
else
	check "bench finds a byte that differs" mismatch
fi

echo "1..$count"
[ $failures -eq 0 ]
