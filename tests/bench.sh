#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# bench.sh FOLIO - tests the benchmarks of the folio command from outside: what they print in each
# format, and what they do to files. Prints TAP. Needs python3, and cc for some of the checks.

. "$(dirname "$0")/tap.sh"

random_files 4095 65536 $(((1 << 20) + 7)) $(((9 << 20) + 4095))

cat >results.py <<'PYTHON'
"""results.py FORMAT FILE WORKLOAD...: FILE has that format, and rows of these workloads."""
import csv, json, os, re, sys
import xml.etree.ElementTree

form, path, workloads = sys.argv[1], sys.argv[2], sys.argv[3:]
if form == 'svg':
    root = xml.etree.ElementTree.parse(path).getroot()
    assert root.tag.endswith('}svg'), root.tag
    texts = [''.join(text.itertext()) for text in root.iter() if text.tag.endswith('}text')]
    for workload in workloads:
        assert any(text.startswith(workload + ':') for text in texts), workload
    bars = [rect for rect in root.iter() if rect.tag.endswith('}rect')]
    assert all(float(bar.get('width')) >= 0 for bar in bars)
    # The average width of characters in the widest of the fonts.
    for text in root.iter():
        if not text.tag.endswith('}text') or text.get('text-anchor') != 'start':
            continue
        if text.get('class') != 'title':
            content = ''.join(text.itertext())
            assert float(text.get('x')) + 7.1 * len(content) <= float(root.get('width')), content
    assert len(bars) > 3 * len(workloads)
elif form == 'json':
    with open(path) as file:
        report = json.load(file)
    assert re.fullmatch(r'\d+\.\d+\.\d+', report['version']), report['version']
    assert re.fullmatch('folio bench .* --json --svg picture.svg', report['command'])
    assert report['machine']['cpu'] and report['machine']['processors'] >= 1
    choices = '/sys/kernel/mm/transparent_hugepage/enabled'
    if os.path.exists(choices):
        with open(choices) as file:
            assert '[%s]' % report['machine']['huge_pages'] in file.read().split()
    seen = {row['workload'] for row in report['results']}
    assert set(workloads) <= seen, seen
    for row in report['results']:
        rate = row['ops_per_second']
        assert row['rounds'] == len(row['samples']) >= 5, row
        assert rate['min'] <= rate['low'] <= rate['median'] <= rate['high'] <= rate['max'], row
        assert min(row['samples']) == rate['min'] and max(row['samples']) == rate['max'], row
        assert row['workload'] in ('freeze', 'freeze readers') or rate['min'] > 0, row
elif form == 'csv':
    with open(path, newline='') as file:
        rows = list(csv.reader(file))
    assert all(len(row) == len(rows[0]) for row in rows)
    assert len(set(rows[0])) == len(rows[0])
    table = [dict(zip(rows[0], row)) for row in rows[1:]]
    assert set(workloads) <= {row['workload'] for row in table}
    for row in table:
        assert row['machine_cpu'] and re.fullmatch(r'\d+\.\d+\.\d+', row['version'])
        assert re.fullmatch('folio bench .* --csv', row['command']), row['command']
        assert float(row['ops_low']) <= float(row['ops_per_second']) <= float(row['ops_high'])
PYTHON

# measures WORKLOADS ARGUMENT...: in all formats, with only the results on standard output.
measures() {
	workloads=$1
	shift
	"$folio" bench "$@" --json --svg picture.svg >out 2>err
	got=$?
	echo "folio bench $* --json: status $got"
	cat err
	[ $got -eq 0 ] && [ ! -s err ] && python3 -m json.tool <out >/dev/null &&
		python3 results.py json out $workloads &&
		python3 results.py svg picture.svg $workloads ||
		return 1
	"$folio" bench "$@" --csv >out 2>err
	got=$?
	echo "folio bench $* --csv: status $got"
	cat err
	[ $got -eq 0 ] && [ ! -s err ] && python3 results.py csv out $workloads
}

# table BYTES ARGUMENT...: the tables of --all, which have the lines of standard input. In these, a
# run of blanks is one.
number='[0-9][0-9.]*'
row="$number $number $number%.*"
table() {
	bytes=$1
	shift
	"$folio" bench "$@" --all >out 2>err
	got=$?
	cat out err
	[ $got -eq 0 ] && [ ! -s err ] || return 1
	sed 's/  */ /g; s/^ //; s/ $//' out >lines
	has_line "Verified: all $bytes bytes, by copy and by pin, 2 threads, $number s\\." lines ||
		return 1
	while read -r line; do
		has_line "$line" lines || return 1
	done
}
read_table() {
	table 1048583 file-1048583 --seconds 0.2 --threads 2 <<LINES
hot: 64-byte reads of one page (.*)
uniform: 64-byte reads anywhere in the file (.*)
zipf: the same, pages chosen by Zipf's law, exponent 0\\.99 (.*)
chain: as uniform, but each offset depends on the data of the read before (.*)
threads contender M/s ns/op spread x 1 thr x pread x mmap x bare array
threads contender M/s ns/op spread x 1 thr x pread x mmap x bare array x add+sub
1 folio copy $row
1 folio batch $row
1 folio peek $row
1 folio pin $row
1 folio publish $row
1 pread $row
1 mmap $row
1 bare array $row
1 add+sub $row
2 folio copy $row
2 pread $row
Eighth: not measured, the file is smaller than 4 MiB\\.
Misses: not measured, the file is smaller than 8 MiB\\.
LINES
}
# All of these reads hit.
eighth_table() {
	table 9441279 file-9441279 --seconds 0.4 --threads 2 "$@" <<LINES || return 1
eighth: 64-byte reads of random pages that a cache of an eighth of the file holds (.*)
Eighth: measured with a cache of 1\\.125 MiB, 864 KiB of which are read\\.
LINES
	! grep "that should all hit" out
}

check "bench" measures "hot uniform zipf chain" file-1048583 --seconds 0.2 --threads 2
check "bench --all" read_table
check "bench --all, an eighth of the file cached" eighth_table
check "bench --all, an eighth cached, and not the entire file" eighth_table --cache 4M --depth 8
check "bench of a file of less than a page" measures "hot uniform zipf" file-4095 \
	--seconds 0.1 --threads 1

# A name longer than a line, with control characters and bytes that are not UTF-8.
odd_name() {
	rm -rf deep
	mkdir -p "deep/$(printf '%0120d' 0)" || return 1
	odd=deep/$(printf '%0120d' 0)/$(printf 'a\033[2Jb\tc\377d\n%0120d' 1)
	cp file-65536 "$odd"
	measures hot "$odd" --seconds 0.05 --threads 1 &&
		"$folio" bench "$odd" --seconds 0.05 --threads 1 >table &&
		"$folio" bench "$odd" --seconds 0.05 --threads 1 --csv >results || return 1
	head -n 3 table
	python3 - <<'PYTHON'
import unicodedata
for name in 'table', 'results':
    with open(name, encoding='utf-8', newline='') as file:
        text = file.read()
    assert all(c == '\n' or unicodedata.category(c) != 'Cc' for c in text), name
PYTHON
}
check "bench of a file with an odd name" odd_name
check "bench with more threads than processors" measures "hot" file-65536 --seconds 0.1 \
	--threads 9
check "bench of a file larger than the cache" measures \
	"hot uniform zipf chain eighth miss miss-known sequential" file-9441279 --seconds 0.2 \
	--cache 4M --depth 8
check "bench ref" measures "get+put release junk freeze" ref --seconds 0.2 --threads 3

# On one cache line many threads are not faster than one, even if few of them had a processor in a
# sample.
crowd() {
	"$folio" bench ref --threads 64 --seconds 0.1 --json >out 2>err || return 1
	python3 - <<'PYTHON'
import json, sys
with open('out') as file:
    rows = [row for row in json.load(file)['results'] if row['workload'] == 'get+put']
for contender in 'load + CAS loop', 'CAS assuming 1', 'fetch-add, bit':
    rate = {row['threads']: row['ops_per_second'] for row in rows if row['contender'] == contender}
    print(contender, rate[1], rate[64])
    assert rate[64]['median'] <= 4 * rate[1]['max']
PYTHON
}
check "bench ref with 64 threads does not report a rate that no processor reached" crowd

# Overwrites a copy.
written_over() {
	file=$1
	shift
	cp "$file" scratch
	measures "hot uniform random sequential" write scratch --overwrite "$@" &&
		! cmp -s "$file" scratch
}
check "bench write" written_over file-9441279 --seconds 0.2 --threads 2
check "bench write of 16 pages, a sync after every write" written_over file-65536 --seconds 0.1 \
	--threads 1 --sync 1
check "bench write with more threads than processors" written_over file-1048583 --seconds 0.1 \
	--threads 9
check "bench write of a file larger than the cache" written_over file-9441279 --seconds 0.1 \
	--cache 1M --sync 100

write_table() {
	table 9441279 write scratch --overwrite --seconds 0.1 --threads 2 <<LINES
hot: 64-byte overwrites in one page, no sync (.*)
uniform: 64-byte overwrites anywhere in .* of cached data, no sync (.*)
random: 4 KiB writes anywhere in .*, a sync after every 32 (.*)
sequential: 256 KiB writes in sequence, a sync after every 32 (.*)
threads contender M/s ns/op spread x 1 thr x pwrite x mmap
threads contender k/s ns/op spread x 1 thr x pwrite+fdatasync
1 folio write $row
1 folio in place $row
1 pwrite $row
1 mmap $row
1 folio write+sync $row
1 pwrite+fdatasync $row
2 folio write $row
2 folio write+sync $row
LINES
}
check "bench write --all" write_table

nothing_left() {
	rm -rf own
	mkdir own
	TMPDIR=$dir/own measures "hot" "$@" --seconds 0.1 --threads 1 || return 1
	ls -A own
	[ -z "$(ls -A own)" ]
}
check "bench without a file leaves nothing behind" nothing_left
check "bench write without a file leaves nothing behind" nothing_left write

# The mode of an old picture and a symbolic link to it are kept; no other file is left.
picture_replaced() {
	rm -rf pictures
	mkdir pictures
	echo old >pictures/it
	chmod 640 pictures/it
	ln -s it pictures/link
	"$folio" bench file-65536 --threads 1 --seconds 0.05 --svg pictures/link >out || return 1
	ls -l pictures
	[ -L pictures/link ] && python3 results.py svg pictures/it hot &&
		[ "$(stat -c %a pictures/it)" = 640 ] && [ "$(ls -A pictures | wc -l)" -eq 2 ]
}
check "a picture replaces the old one" picture_replaced

# A picture that is larger than a file may be. The results are printed all the same.
picture_fails() {
	echo old >pictures/it
	(
		trap '' XFSZ
		ulimit -f 1
		"$folio" bench file-65536 --threads 1 --seconds 0.05 --svg pictures/it 2>err |
			cat >out
	)
	cat err
	ls -l pictures
	says "cannot write pictures/it: File too large" &&
		[ "$(cat pictures/it)" = old ] && [ "$(ls -A pictures | wc -l)" -eq 2 ]
}
check "if a picture cannot be written, the old one is kept" picture_fails

# A full pipe with O_NONBLOCK.
slow_reader() {
	python3 - "$folio" <<'PYTHON'
import json, os, subprocess, sys, fcntl
reader, writer = os.pipe()
fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
os.set_blocking(writer, False)
process = subprocess.Popen([sys.argv[1], 'bench', 'ref', '--threads', '1', '--seconds', '0.05',
                            '--json'], stdout=writer)
os.close(writer)
with open(reader) as file:
    report = json.load(file)
sys.exit(process.wait())
PYTHON
}
check "results to a full non-blocking pipe" slow_reader

# The kernel returns another byte than the cache. The command cannot know which of them is wrong.
mismatch() {
	differ="cache and kernel return different bytes at offset 700001"
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
/* The name of pread with 64-bit offsets. */
ssize_t pread64(int fd, void *buf, size_t len, off_t offset);
ssize_t pread64(int fd, void *buf, size_t len, off_t offset)
{
	return pread(fd, buf, len, offset);
}
C
	cc -D_GNU_SOURCE -shared -fPIC -o other.so other.c -ldl &&
		LD_PRELOAD=$dir/other.so refuses 1 "file-1048583: $differ" \
			bench file-1048583 --threads 2 &&
		cp file-1048583 scratch &&
		LD_PRELOAD=$dir/other.so refuses 1 "scratch: $differ" bench write scratch \
			--overwrite --threads 2 --seconds 0.1
}
# Truncated in the seventh sample, which reads the mapping, or in the fourth one, which writes to
# it. Each sample sleeps twice; the second sleep is its measured part. 4 GiB are 0 in 32 bits.
shorter() {
	cat >shorter.c <<'C'
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
int nanosleep(const struct timespec *time, struct timespec *left)
{
	static int calls;

	if (++calls == 2 * atoi(getenv("SAMPLES")) + 1 && truncate("scratch", 0))
		_exit(9);
	return clock_nanosleep(CLOCK_MONOTONIC, 0, time, left);
}
C
	cc -D_GNU_SOURCE -shared -fPIC -o shorter.so shorter.c || return 1
	cp file-65536 scratch
	SAMPLES=6 LD_PRELOAD=$dir/shorter.so refuses 1 \
		"scratch: the file became shorter while it was read" \
		bench scratch --threads 1 --seconds 0.1 || return 1
	truncate -s 4G scratch
	SAMPLES=3 LD_PRELOAD=$dir/shorter.so refuses 1 \
		"scratch: the file became shorter while it was written" \
		bench write scratch --overwrite --threads 1 --seconds 0.1 --cache 16M || return 1
}
if sanitized || ! command -v cc >/dev/null; then
	skip "bench of a file that is truncated" "sanitized, or no compiler"
else
	check "bench of a file that is truncated" shorter
fi

if sanitized || ! command -v cc >/dev/null; then
	skip "bench reports a byte that differs" "sanitized, or no compiler"
else
	check "bench reports a byte that differs" mismatch
fi

finish
