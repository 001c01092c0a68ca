#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# command.sh FOLIO - the folio command from outside: exit statuses, messages, that cat gives what is in the file, that cp
# makes a copy of it or changes nothing. Prints TAP. Needs python3, and cc for some of the checks.

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
for command in "cat" "cp" "bench" "bench ref" "bench write"; do
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
check "help for no benchmark" refuses 2 "'bench nonsense'" help bench nonsense
check "help for more than one" refuses 2 "'cp'" help cat cp
check "help for a benchmark and more" refuses 2 "'more'" help bench ref more
for option in --version -V --help -h; do
	check "$option with an argument" refuses 2 "no argument.*'more'" $option more
done
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
for seconds in 0 -1 x 1s nan inf 1e9 0x10 1e1 . 1.2.3; do
	check "seconds '$seconds'" refuses 2 "--seconds.*'$seconds'" bench one --seconds "$seconds"
done
check "JSON and CSV" refuses 2 "exclude" bench one --json --csv
check "JSON and CSV of bench ref" refuses 2 "exclude" bench ref --json --csv
check "flag with a value" refuses 2 "takes no value" bench one --json=yes
check "bench of two files" refuses 2 "'two'" bench one two
check "bench ref of a file" refuses 2 "'one'" bench ref one
check "cp without names" refuses 2 "names of a file" cp
check "cp without a second name" refuses 2 "names of a file" cp one
check "cp with a third name" refuses 2 "'three'" cp one two three
check "cp with an option of cat" refuses 2 "'--offset'" cp one two --offset 1
check "cp with too small a cache" refuses 2 "least" cp one two --cache 4K
check "bench write of no file that may be lost" refuses 2 "--overwrite wants" bench write --overwrite
check "bench write of a file that may not be lost" refuses 2 "--overwrite" bench write one
for sync in 0 -1 x 1000001; do
	check "bench write with sync '$sync'" refuses 2 "--sync.*'$sync'" bench write --sync "$sync"
done

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
check "bench write of too small a file" refuses 1 "too few" bench write one --overwrite
check "bench write of no file" refuses 1 "nosuch: No such file" bench write nosuch --overwrite
check "bench write of a directory" refuses 1 "Is a directory" bench write . --overwrite
check "cp of no file" refuses 1 "nosuch: No such file or directory" cp nosuch two
check "cp of a directory" refuses 1 "^folio: \\.: Is a directory" cp . two
check "cp of a device" refuses 1 "/dev/null: neither a regular file nor" cp /dev/null two
check "cp to a directory" refuses 1 "Is a directory" cp one .
check "cp to a directory that is not there" refuses 1 "nosuch/two: No such file" cp one nosuch/two
check "cp to a device" refuses 1 "/dev/null: not a regular file" cp one /dev/null
check "cp of a file to itself" refuses 1 "same file" cp one one
ln one link
ln -s one symlink
check "cp of a file to another name of it" refuses 1 "same file" cp one link
check "cp of a file to a link to it" refuses 1 "same file" cp one symlink
if [ "$(id -u)" -ne 0 ]; then
	printf old >readonly
	chmod 444 readonly
	check "cp of an unreadable file" refuses 1 "secret: Permission denied" cp secret two
	check "cp to a file that is not to be written" refuses 1 "readonly: Permission denied" cp one \
		readonly
else
	skip "cp of an unreadable file" "root reads everything"
	skip "cp to a file that is not to be written" "root writes everything"
fi

# Whose size the system does not tell: a cache takes them for empty.
if [ -r /proc/self/status ]; then
	for command in cat bench; do
		check "$command of a file without a size" refuses 1 "status: the system does not tell its size" \
			$command /proc/self/status
	done
	check "cp of a file without a size" refuses 1 "status: the system does not tell its size" \
		cp /proc/self/status two
else
	for command in cat bench cp; do
		skip "$command of a file without a size" "no /proc"
	done
fi
mkfifo fifo
check "cat of a pipe" refuses 1 "fifo: neither a regular file nor" cat fifo
check "cp of a pipe" refuses 1 "fifo: neither a regular file nor" cp fifo two
check "bench of a pipe" refuses 1 "fifo: neither a regular file nor" bench fifo
check "bench write of a pipe" refuses 1 "fifo: neither a regular file nor" bench write fifo --overwrite

nothing_copied() {
	[ ! -e two ] && [ "$(cat one)" = x ]
}
check "none of these has copied anything" nothing_copied

# Pictures that would take the place of something else.
head -c 65536 /dev/zero >measured
ln measured other-name
ln -s measured soft-name
ln -s nowhere dangling
for picture in measured other-name soft-name; do
	check "picture of bench in the place of the file, $picture" refuses 2 "file that is measured" \
		bench measured --svg $picture
	check "picture of bench write in the place of the file, $picture" refuses 2 "file that is measured" \
		bench write measured --overwrite --svg $picture
done
check "picture that is a pipe" refuses 1 "fifo: .*not a regular file" bench measured --svg fifo
check "picture that is a device" refuses 1 "/dev/null: .*not a regular file" bench ref --svg /dev/null
check "picture that is a directory" refuses 1 "Is a directory" bench measured --svg .
check "picture that is a link to nothing" refuses 1 "dangling: .*nowhere" bench measured --svg dangling
check "picture that cannot be written" refuses 1 "nosuch/x.svg" bench one --svg nosuch/x.svg
measured_is_there() {
	ls -l
	head -c 65536 /dev/zero | cmp - measured && [ -L soft-name ] && [ -L dangling ] && [ -p fifo ]
}
check "none of these has touched anything" measured_is_there
rm measured other-name soft-name dangling fifo

# closed STATUS PATTERN ARGUMENT...: with standard output closed; nothing is written to another file instead.
closed() {
	status=$1 pattern=$2
	shift 2
	cp file-65536 scratch
	"$folio" "$@" 2>err >&-
	got=$?
	echo "folio $* >&-: status $got"
	cat err
	[ $got -eq "$status" ] && [ "$(wc -l <err)" -eq 1 ] && grep -q "^folio: .*$pattern" err &&
		cmp file-65536 scratch && [ ! -e new.svg ]
}
head -c 65536 /dev/zero >file-65536
check "cat to a closed output" closed 1 "Bad file descriptor" cat one
check "help to a closed output" closed 1 "Bad file descriptor" --help
check "bench to a closed output" closed 1 "Bad file descriptor" bench scratch --svg new.svg
check "bench write to a closed output" closed 1 "Bad file descriptor" bench write scratch --overwrite
check "bench ref to a closed output" closed 1 "Bad file descriptor" bench ref --svg new.svg
all_closed() {
	"$folio" cp one closed-copy <&- >&- 2>&- && cmp one closed-copy && ! "$folio" cat nosuch <&- 2>&- &&
		[ "$("$folio" cat one <&- 2>&-)" = x ]
	got=$?
	rm -f closed-copy
	return $got
}
check "no standard descriptor at all" all_closed
rm scratch file-65536
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

repeated() {
	"$folio" cat file-4097 --length 1 --threads 2 --length=4096 >out && head -c 4096 file-4097 | cmp - out
}
check "the last of a repeated option counts" repeated

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

# ---- cp ----

mkdir copies

# copies FILE ARGUMENT...: to copies/FILE, of which there is nothing else then; says nothing.
copies() {
	file=$1
	shift
	"$folio" cp "$file" "copies/$file" "$@" >out 2>err
	got=$?
	echo "folio cp $file copies/$file $*: status $got"
	cat out err
	ls -Als copies "$file"
	[ $got -eq 0 ] && [ ! -s out ] && [ ! -s err ] && cmp "$file" "copies/$file" &&
		[ "$(ls -A copies)" = "$file" ] && rm "copies/$file"
}

for file in file-* sparse; do
	check "cp $file" copies "$file"
	check "cp $file, least cache" copies "$file" --cache 256K
done

# The copy takes no more room than the file, but for what a file system rounds up to.
holes() {
	"$folio" cp "$1" copies/it || return 1
	ls -ls "$1" copies/it
	[ "$(stat -c %s copies/it)" -eq "$(stat -c %s "$1")" ] &&
		[ "$(stat -c %b copies/it)" -le $(($(stat -c %b "$1") + 64)) ]
	got=$?
	rm copies/it
	return $got
}
check "cp of a file with holes has holes" holes sparse
if truncate -s 1T tail 2>/dev/null; then
	printf 'a head' | dd of=tail conv=notrunc status=none
	check "cp of a file that is all hole but for its head" holes tail
	rm tail
else
	skip "cp of a file that is all hole but for its head" "no such large files here"
fi

mode() {
	(
		umask 027
		cp file-4097 source
		chmod 0757 source
		"$folio" cp source copies/new && stat -c %a copies/new && [ "$(stat -c %a copies/new)" = 750 ] &&
			chmod 444 source && rm copies/new && "$folio" cp source copies/new &&
			[ "$(stat -c %a copies/new)" = 440 ]
		got=$?
		rm -f copies/new source
		exit $got
	)
}
check "cp gives a new file the mode of the old, as far as the umask lets it" mode

replaced() {
	cp file-65536 copies/old
	chmod 604 copies/old
	ln copies/old copies/other
	ln -s old copies/soft
	"$folio" cp file-4097 copies/soft || return 1
	ls -Al copies
	cmp file-4097 copies/old && cmp file-65536 copies/other && [ -L copies/soft ] &&
		[ "$(stat -c %a copies/old)" = 604 ] && [ "$(ls -A copies | wc -l)" -eq 3 ]
	got=$?
	rm copies/*
	return $got
}
check "cp replaces a file, not what other names it has, and goes through a link" replaced

# A stranger's program that runs as him is his, and does so, still; it is not one that runs as root.
owner() {
	printf old >copies/old
	chown 4242:4243 copies/old && chmod 6755 copies/old && "$folio" cp file-4097 copies/old || return 1
	ls -Aln copies
	[ "$(stat -c %u:%g:%a copies/old)" = 4242:4243:6755 ] && cmp file-4097 copies/old
	got=$?
	rm copies/*
	return $got
}
# Without the right to give files away.
no_owner() {
	printf old >copies/old
	chown 4242:4243 copies/old && chmod 6755 copies/old &&
		setpriv --bounding-set -chown "$folio" cp file-4097 copies/old || return 1
	ls -Aln copies
	[ "$(stat -c %u:%a copies/old)" = 0:755 ] && cmp file-4097 copies/old
	got=$?
	rm copies/*
	return $got
}
if [ "$(id -u)" -eq 0 ]; then
	check "cp as root leaves a file to its owner" owner
	if setpriv --bounding-set -chown true 2>/dev/null; then
		check "cp that may not do so takes the set-user-ID bit away" no_owner
	else
		skip "cp that may not do so takes the set-user-ID bit away" "no setpriv"
	fi
else
	skip "cp as root leaves a file to its owner" "not root"
	skip "cp that may not do so takes the set-user-ID bit away" "not root"
fi

dangling() {
	ln -s nowhere copies/link
	"$folio" cp file-4097 copies/link || return 1
	ls -Al copies
	[ ! -L copies/link ] && cmp file-4097 copies/link && [ "$(ls -A copies)" = link ]
	got=$?
	rm -f copies/*
	return $got
}
check "cp takes the place of a link that leads nowhere" dangling

# fails PATTERN ENVIRONMENT...: cp of 9 MiB to copies/it ends so, and copies/it is as it was, or not there.
fails() {
	pattern=$1
	shift
	for old in no yes; do
		[ $old = no ] || printf old >copies/it
		(
			trap '' XFSZ
			env "$@" "$folio" cp file-9441279 copies/it
		) >out 2>err
		got=$?
		echo "status $got, there was one: $old"
		cat out err
		ls -Al copies
		[ $got -ne 0 ] && [ ! -s out ] && { [ -z "$pattern" ] || grep -q "$pattern" err; } || return 1
		if [ $old = no ]; then
			[ -z "$(ls -A copies)" ] || return 1
		else
			[ "$(cat copies/it)" = old ] && [ "$(ls -A copies)" = it ] || return 1
		fi
	done
	rm copies/it
}
file_size_limit() {
	(
		ulimit -f 1000
		fails '^folio: copies/it: File too large$' --
	)
}
check "cp past the limit of a file's size changes nothing" file_size_limit

# In a name space of our own, where the system lets us.
if unshare -rm mount -t tmpfs -o size=4m tmpfs copies 2>/dev/null; then
	cat >full.sh <<'SHELL'
mount -t tmpfs -o size=4m tmpfs copies || exit 1
for old in no yes; do
	[ $old = no ] || printf old >copies/it
	"$1" cp file-9441279 copies/it 2>err
	got=$?
	cat err
	ls -Al copies
	[ $got -eq 1 ] && grep -q '^folio: copies/it: No space left on device$' err || exit 1
done
[ "$(cat copies/it)" = old ] && [ "$(ls -A copies)" = it ]
SHELL
	check "cp to a full file system changes nothing" unshare -rm sh full.sh "$folio"
else
	skip "cp to a full file system changes nothing" "cannot mount one"
fi

# A device that fails to sync, and a process that is killed when all is written but nothing synced.
cat >fsync.c <<'C'
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
int fsync(int fd)
{
	struct stat stat;
	const char *what = getenv("FSYNC");

	if (fstat(fd, &stat) || (!strcmp(what, "directory") != !!S_ISDIR(stat.st_mode)))
		return 0;
	if (!strcmp(what, "kill"))
		raise(SIGKILL);
	errno = EIO;
	return -1;
}
C
if ! sanitized && cc -D_GNU_SOURCE -shared -fPIC -o fsync.so fsync.c 2>/dev/null; then
	check "cp whose sync fails changes nothing" fails '^folio: copies/it: Input/output error$' \
		LD_PRELOAD="$dir/fsync.so" FSYNC=fail
	check "cp that is killed changes nothing" fails '' LD_PRELOAD="$dir/fsync.so" FSYNC=kill
	not_for_good() {
		LD_PRELOAD=$dir/fsync.so FSYNC=directory refuses 1 "copies/it:.*Input/output error" cp file-4097 \
			copies/it && cmp file-4097 copies/it && rm copies/it
	}
	check "cp whose directory cannot be synced says so" not_for_good
else
	for what in "whose sync fails" "that is killed" "whose directory cannot be synced"; do
		skip "cp $what" "sanitized, or no compiler"
	done
fi

# On a terminal it says how far it is, and takes that away.
on_terminal() {
	python3 - "$folio" <<'PYTHON'
import os, pty, subprocess, sys
master, slave = pty.openpty()
process = subprocess.Popen([sys.argv[1], 'cp', 'file-9441279', 'copies/it'], stderr=slave)
os.close(slave)
said = b''
while True:
    try:
        part = os.read(master, 4096)
    except OSError:
        break
    if not part:
        break
    said += part
print(said)
sys.exit(process.wait() or b'copying file-9441279' not in said or not said.endswith(b'\r\x1b[K'))
PYTHON
}
check "cp on a terminal shows progress" on_terminal

# What is longer than the line of the terminal would go on in the next, and stay there.
narrow_terminal() {
	python3 - "$folio" <<'PYTHON'
import fcntl, os, pty, struct, subprocess, sys, termios
master, slave = pty.openpty()
fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 20, 0, 0))
process = subprocess.Popen([sys.argv[1], 'cp', 'file-9441279', 'copies/it'], stderr=slave)
os.close(slave)
said = b''
while True:
    try:
        part = os.read(master, 4096)
    except OSError:
        break
    if not part:
        break
    said += part
lines = said.split(b'\r\x1b[K')
print(lines)
sys.exit(process.wait() or b'copying file-944127' not in lines or max(map(len, lines)) >= 20)
PYTHON
}
check "cp on a narrow terminal shows as much as fits" narrow_terminal
rm -f copies/it

memory_cp() {
	dd if=/dev/zero of=large bs=1M count=128 status=none
	python3 - "$folio" <<'PYTHON'
import resource, subprocess, sys
subprocess.run([sys.argv[1], 'cp', 'large', 'copies/large', '--cache', '16M'], check=True)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
print('peak %.1f MiB' % peak)
sys.exit(peak >= 48)
PYTHON
	got=$?
	rm large copies/large
	return $got
}
if sanitized; then
	skip "memory of cp" "sanitized"
else
	check "memory of cp" memory_cp
fi

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
    # As wide as characters of the widest of the fonts are on average.
    for text in root.iter():
        if text.tag.endswith('}text') and text.get('text-anchor') == 'start' and text.get('class') != 'title':
            length = len(''.join(text.itertext()))
            assert float(text.get('x')) + 7.1 * length <= float(root.get('width')), ''.join(text.itertext())
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
	for word in "^hot:" "^uniform:" "^zipf:" "folio copy" "folio batch" "folio pin" "pread" "mmap" "x 1 thr"; do
		grep -q "$word" out || return 1
	done
}

check "bench" measures "hot uniform zipf chain" file-1048583 --seconds 1 --threads 2
check "bench, the table" table
check "bench of a line" measures "hot uniform zipf" file-4095 --seconds 0.5 --threads 1

# A name that does not fit into a line, with what moves a cursor and what is no UTF-8.
odd_name() {
	rm -rf deep
	mkdir -p "deep/$(printf '%0120d' 0)" || return 1
	odd=deep/$(printf '%0120d' 0)/$(printf 'a\033[2Jb\tc\377d\n%0120d' 1)
	cp file-65536 "$odd"
	measures hot "$odd" --seconds 0.05 --threads 1 && "$folio" bench "$odd" --seconds 0.05 --threads 1 >table &&
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
check "bench with more threads than processors" measures "hot" file-65536 --seconds 0.5 --threads 9
check "bench of a file larger than the cache" measures \
	"hot uniform zipf miss miss-known sequential" file-9441279 --seconds 1 --cache 4M --depth 8
check "bench ref" measures "get+put release junk freeze" ref --seconds 1 --threads 3

# On one line many threads do no more than one alone does, however few of them had a processor in a sample.
crowd() {
	"$folio" bench ref --threads 64 --seconds 0.5 --json >out 2>err || return 1
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
check "bench ref with far more threads than processors adds no rates up that were not there" crowd

# May be lost: a copy is written over.
written_over() {
	file=$1
	shift
	cp "$file" scratch
	measures "hot uniform random sequential" write scratch --overwrite "$@" && ! cmp -s "$file" scratch
}
check "bench write" written_over file-9441279 --seconds 1 --threads 2
check "bench write of a few pages, a sync after each write" written_over file-65536 --seconds 0.5 --threads 1 \
	--sync 1
check "bench write with more threads than processors" written_over file-1048583 --seconds 0.5 --threads 9
check "bench write of a file larger than the cache" written_over file-9441279 --seconds 0.5 --cache 1M \
	--sync 100

write_table() {
	"$folio" bench write scratch --overwrite --seconds 0.5 --threads 2 >out 2>err
	got=$?
	cat out err
	[ $got -eq 0 ] && [ ! -s err ] && grep -q '^Verified: all 9441279 bytes' out || return 1
	for word in "^hot:" "^uniform:" "^random:" "^sequential:" "folio write" "folio in place" "pwrite" "mmap" \
		"folio write+sync" "x pwrite+fdatasync"; do
		grep -q "$word" out || return 1
	done
}
check "bench write, the table" write_table

nothing_left() {
	rm -rf own
	mkdir own
	TMPDIR=$dir/own measures "hot" "$@" --seconds 0.5 --threads 1 || return 1
	ls -A own
	[ -z "$(ls -A own)" ]
}
check "bench of a file of its own leaves nothing behind" nothing_left
check "bench write of a file of its own leaves nothing behind" nothing_left write

no_empty_picture() {
	refuses 1 "nosuch" bench nosuch --svg new.svg && [ ! -e new.svg ] &&
		echo old >old.svg && refuses 1 "nosuch" bench nosuch --svg old.svg && grep -q old old.svg
}
check "a picture is not touched when the run fails" no_empty_picture

# The mode of an old picture stays, and a link to it; nothing is beside it.
picture_replaced() {
	rm -rf pictures
	mkdir pictures
	echo old >pictures/it
	chmod 640 pictures/it
	ln -s it pictures/link
	"$folio" bench file-65536 --threads 1 --seconds 0.05 --svg pictures/link >out || return 1
	ls -l pictures
	[ -L pictures/link ] && python3 results.py svg pictures/it hot && [ "$(stat -c %a pictures/it)" = 640 ] &&
		[ "$(ls -A pictures | wc -l)" -eq 2 ]
}
check "a picture takes the place of the old one" picture_replaced

# A picture that does not fit; and the results have come all the same.
picture_fails() {
	echo old >pictures/it
	(
		trap '' XFSZ
		ulimit -f 1
		"$folio" bench file-65536 --threads 1 --seconds 0.05 --svg pictures/it 2>err | cat >out
	)
	cat err
	ls -l pictures
	grep -q '^folio: cannot write pictures/it: File too large$' err && [ "$(cat pictures/it)" = old ] &&
		[ "$(ls -A pictures | wc -l)" -eq 2 ]
}
check "a picture that cannot be written leaves the old one" picture_fails

# More than stdio keeps: the reason is that of the first write.
full_results() {
	refuses_to_full=$("$folio" bench ref --threads 1 --seconds 0.05 --json 2>&1 >/dev/full)
	got=$?
	echo "status $got: $refuses_to_full"
	[ $got -eq 1 ] && [ "$refuses_to_full" = "folio: cannot write to standard output: No space left on device" ]
}
if [ -c /dev/full ]; then
	check "results to a full device" full_results
else
	skip "results to a full device" "no /dev/full"
fi

# A pipe that is full and does not wait.
slow_reader() {
	python3 - "$folio" <<'PYTHON'
import json, os, subprocess, sys, fcntl
reader, writer = os.pipe()
fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
os.set_blocking(writer, False)
process = subprocess.Popen([sys.argv[1], 'bench', 'ref', '--threads', '1', '--seconds', '0.05', '--json'],
                           stdout=writer)
os.close(writer)
with open(reader) as file:
    report = json.load(file)
sys.exit(process.wait())
PYTHON
}
check "results to a pipe that does not wait" slow_reader

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
		LD_PRELOAD=$dir/other.so refuses 1 "offset 700001" bench file-1048583 --threads 2 &&
		cp file-1048583 scratch &&
		LD_PRELOAD=$dir/other.so refuses 1 "offset 700001" bench write scratch --overwrite --threads 2 \
			--seconds 0.5
}
# Made shorter in the fifth sample, which is of the mapping: the second sleep of each sample is the measured part of it.
shorter() {
	cat >shorter.c <<'C'
#include <time.h>
#include <unistd.h>
int nanosleep(const struct timespec *time, struct timespec *left)
{
	static int calls;

	if (++calls == 2 * 4 + 1 && truncate("scratch", 0))
		_exit(9);
	return clock_nanosleep(CLOCK_MONOTONIC, 0, time, left);
}
C
	cc -D_GNU_SOURCE -shared -fPIC -o shorter.so shorter.c || return 1
	cp file-65536 scratch
	LD_PRELOAD=$dir/shorter.so refuses 1 "scratch: it was made shorter while it was read" bench scratch \
		--threads 1 --seconds 0.5 || return 1
}
if sanitized || ! command -v cc >/dev/null; then
	skip "bench of a file that becomes shorter" "sanitized, or no compiler"
else
	check "bench of a file that becomes shorter" shorter
fi

if sanitized || ! command -v cc >/dev/null; then
	skip "bench finds a byte that differs" "sanitized, or no compiler"
else
	check "bench finds a byte that differs" mismatch
fi

echo "1..$count"
[ $failures -eq 0 ]
