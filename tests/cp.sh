#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# cp.sh FOLIO - tests folio cp from outside: it copies a file or changes nothing, gives no more
# access than the file that it replaces, and works in unusual directories. Prints TAP. Needs
# python3, and cc for some of the checks; root and name spaces for some.

# A shell cannot undo that its parent ignores a signal, as nohup does. Some checks need all of them.
if [ -z "$CP_DEFAULT_SIGNALS" ]; then
	exec env --default-signal CP_DEFAULT_SIGNALS=yes bash "$0" "$@"
fi

. "$(dirname "$0")/tap.sh"

# Random contents, so that bytes of a wrong offset are detected.
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
: >file-0

mkdir copies

# copies FILE ARGUMENT...: to copies/FILE, the only file there afterwards; prints nothing.
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
	check "cp $file, smallest cache" copies "$file" --cache 256K
done

# The copy takes as much space as the file, except for rounding by the file system.
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
	check "cp of a hole of 1 TiB after a few bytes" holes tail
	rm tail
else
	skip "cp of a hole of 1 TiB after a few bytes" "no such large files here"
fi

mode() {
	(
		umask 027
		cp file-4097 source
		chmod 0757 source
		"$folio" cp source copies/new && stat -c %a copies/new &&
			[ "$(stat -c %a copies/new)" = 750 ] &&
			chmod 444 source && rm copies/new && "$folio" cp source copies/new &&
			[ "$(stat -c %a copies/new)" = 440 ]
		got=$?
		rm -f copies/new source
		exit $got
	)
}
check "cp gives a new file the mode of the source, less the umask" mode

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
check "cp replaces the target of a symbolic link, and not its hard links" replaced

# A set-user-ID program of another user is still a program of that user, not of root.
owner() {
	printf old >copies/old
	chown 4242:4243 copies/old && chmod 6755 copies/old &&
		"$folio" cp file-4097 copies/old || return 1
	ls -Aln copies
	[ "$(stat -c %u:%g:%a copies/old)" = 4242:4243:6755 ] && cmp file-4097 copies/old
	got=$?
	rm copies/*
	return $got
}
# Without the capability to change the owner of a file.
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
	check "cp as root keeps the owner of the replaced file" owner
	if setpriv --bounding-set -chown true 2>/dev/null; then
		check "cp without CAP_CHOWN clears the set-user-ID bit" no_owner
	else
		skip "cp without CAP_CHOWN clears the set-user-ID bit" "no setpriv"
	fi
else
	skip "cp as root keeps the owner of the replaced file" "not root"
	skip "cp without CAP_CHOWN clears the set-user-ID bit" "not root"
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
check "cp replaces a symbolic link to nothing" dangling

# silent: folio has printed nothing. The shell may report that a signal ended it.
silent() {
	! grep -q '^folio:' err
}

# fails MESSAGE ENVIRONMENT...: cp of 9 MiB to copies/it fails, with this message, or killed and
# silent if it is empty. copies/it is unchanged, or does not exist as before.
fails() {
	message=$1
	shift
	for old in no yes; do
		[ $old = no ] || printf old >copies/it
		(
			trap '' XFSZ
			env "$@" "$folio" cp file-9441279 copies/it
		) >out 2>err
		got=$?
		echo "status $got, existed before: $old"
		cat out err
		ls -Al copies
		[ ! -s out ] || return 1
		if [ "$message" ]; then
			[ $got -eq 1 ] && says "$message" || return 1
		else
			[ $got -eq 137 ] && silent || return 1
		fi
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
		fails 'copies/it: File too large' --
	)
}
check "cp past the file size limit changes nothing" file_size_limit

if unshare -rm mount -t tmpfs -o size=4m tmpfs copies 2>/dev/null; then
	cat >full.sh <<'SHELL'
mount -t tmpfs -o size=4m tmpfs copies || exit 1
for old in no yes; do
	[ $old = no ] || printf old >copies/it
	"$1" cp file-9441279 copies/it 2>err
	got=$?
	cat err
	ls -Al copies
	[ $got -eq 1 ] && echo 'folio: copies/it: No space left on device' | cmp - err || exit 1
done
[ "$(cat copies/it)" = old ] && [ "$(ls -A copies)" = it ]
SHELL
	check "cp to a full file system changes nothing" unshare -rm sh full.sh "$folio"
else
	skip "cp to a full file system changes nothing" "cannot mount one"
fi

# Calls that fail, or during which a signal arrives: FAULTS is a list of CALL=ERRNO or CALL=sSIGNAL.
cat >faults.c <<'C'
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/*
 * -1 and errno, if the call is to fail. FAULTS=CALL=m: the file CHANGED gets the mode 600.
 * FAULTS=CALL=l: it is renamed to "moved", and a link to LINK takes its place.
 */
static int act(const char *call)
{
	const char *faults = getenv("FAULTS"), *at = faults ? strstr(faults, call) : NULL;

	if (!at || at[strlen(call)] != '=')
		return 0;
	at += strlen(call) + 1;
	if (*at == 's') {
		raise(atoi(at + 1));
		return 0;
	}
	if (*at == 'm')
		return chmod(getenv("CHANGED"), 0600);
	if (*at == 'l')
		return syscall(SYS_renameat2, AT_FDCWD, getenv("CHANGED"), AT_FDCWD, "moved", 0) ||
		       symlink(getenv("LINK"), getenv("CHANGED"));
	errno = atoi(at);
	return -1;
}

int fsync(int fd)
{
	struct stat stat;

	return act(!fstat(fd, &stat) && S_ISDIR(stat.st_mode) ? "sync-directory" : "sync-file");
}

int syncfs(int fd)
{
	return act("sync-all");
}

char *realpath(const char *path, char *buffer)
{
	char *(*real)(const char *, char *) = dlvsym(RTLD_NEXT, "realpath", "GLIBC_2.3");

	if (!real)
		real = dlsym(RTLD_NEXT, "realpath");
	return act("realpath") ? NULL : real(path, buffer);
}

int fsetxattr(int fd, const char *name, const void *value, size_t size, int flags)
{
	return act("setxattr") ? -1 : (int)syscall(SYS_fsetxattr, fd, name, value, size, flags);
}

int renameat(int from, const char *old, int to, const char *new)
{
	return act("rename") ? -1 : (int)syscall(SYS_renameat2, from, old, to, new, 0);
}

int rename(const char *old, const char *new)
{
	return renameat(AT_FDCWD, old, AT_FDCWD, new);
}

#define MODE(flags)                                                                                \
	({                                                                                         \
		va_list args;                                                                      \
		va_start(args, flags);                                                             \
		va_arg(args, mode_t);                                                              \
	})

static int open_at(int at, const char *path, int flags, mode_t mode)
{
	if (!strcmp(path, "fifo") && !(flags & O_PATH) && act("open-fifo"))
		return -1;
	if ((flags & O_TMPFILE) == O_TMPFILE && act("tmpfile"))
		return -1;
	return (int)syscall(SYS_openat, at, path, flags, mode);
}

int openat(int at, const char *path, int flags, ...)
{
	return open_at(at, path, flags, MODE(flags));
}

int open(const char *path, int flags, ...)
{
	return open_at(AT_FDCWD, path, flags, MODE(flags));
}

/* Their names with 64-bit offsets. */
int openat64(int at, const char *path, int flags, ...) __attribute__((alias("openat")));
int open64(const char *path, int flags, ...) __attribute__((alias("open")));
C
faults=
if ! sanitized && cc -D_GNU_SOURCE -shared -fPIC -w -o faults.so faults.c 2>/dev/null; then
	faults=$dir/faults.so
fi
eio=5 eacces=13 einval=22 enotsup=95

# check_faults NAME COMMAND...: check, if calls can fail.
check_faults() {
	if [ "$faults" ]; then
		check "$@"
	else
		skip "$1" "sanitized, or no compiler"
	fi
}

# with FAULTS COMMAND...
with() {
	list=$1
	shift
	LD_PRELOAD=$faults FAULTS=$list "$@"
}

# ends_with STATUS FAULTS: so does cp to copies/it.
ends_with() {
	with "$2" "$folio" cp file-4097 copies/it >out 2>err
	got=$?
	echo "status $got"
	cat out err
	ls -Al copies
	[ $got -eq "$1" ] && [ ! -s out ] && { [ "$got" -eq 1 ] || silent; }
}

check_faults "cp whose sync fails changes nothing" fails 'copies/it: Input/output error' \
	LD_PRELOAD="$faults" FAULTS=sync-file=$eio
check_faults "cp that is killed changes nothing" fails '' LD_PRELOAD="$faults" FAULTS=sync-file=s9

# rename_fails FAULTS REASON HINT: the rename fails for that reason. No temporary file remains, and
# the target is the same file as before. HINT follows the reason if the target exists.
rename_fails() {
	faults_now=$1
	for old in no yes; do
		message="copies/it: $2"
		before=
		if [ $old = yes ]; then
			printf old >copies/it
			before=$(stat -c '%i %h %a %u %s %y' copies/it)
			message="copies/it: ${3:+cannot be replaced: }$2$3"
		fi
		ends_with 1 "$faults_now" && says "$message" || return 1
		if [ $old = no ]; then
			[ -z "$(ls -A copies)" ] || return 1
		else
			[ "$(stat -c '%i %h %a %u %s %y' copies/it)" = "$before" ] &&
				[ "$(cat copies/it)" = old ] && [ "$(ls -A copies)" = it ] ||
				return 1
		fi
	done
	"$folio" cp file-4097 copies/it && cmp file-4097 copies/it && rm copies/it
}
hint='; --in-place writes to it'
for tmpfile in "" " tmpfile=$enotsup"; do
	about=${tmpfile:+, files with names}
	check_faults "cp whose rename fails changes nothing$about" rename_fails \
		"rename=$eio$tmpfile" 'Input/output error' ''
	check_faults "cp that may not rename changes nothing$about" rename_fails \
		"rename=$eacces$tmpfile" 'Permission denied' "$hint"
done

# The name may not be durable.
not_for_good() {
	ends_with 1 "$1" &&
		says 'copies/it: copied, but may be lost if the power fails: Input/output error' &&
		cmp file-4097 copies/it && [ "$(ls -A copies)" = it ] && rm copies/it
}
# A file system that does not sync directories is synced as a whole.
for_good() {
	ends_with 0 "$1" && cmp file-4097 copies/it && [ "$(ls -A copies)" = it ] && rm copies/it
}
check_faults "cp whose directory cannot be synced reports it" not_for_good sync-directory=$eio
for error in $einval $enotsup; do
	check_faults "cp where directories are not synced, error $error" for_good \
		sync-directory=$error
	check_faults "cp where directories are not synced, error $error, and all is reports it" \
		not_for_good "sync-directory=$error sync-all=$eio"
	check_faults "cp where nothing can be synced as a whole, error $error" for_good \
		"sync-directory=$error sync-all=$error"
done

# ---- signals, where a file cannot be without a name ----

check_faults "cp where files need a name" for_good tmpfile=$enotsup
ended_by() {
	for old in no yes; do
		[ $old = no ] || printf old >copies/it
		ends_with $((128 + $2)) "$1" || return 1
		if [ $old = no ]; then
			[ -z "$(ls -A copies)" ] || return 1
		else
			[ "$(cat copies/it)" = old ] && [ "$(ls -A copies)" = it ] || return 1
		fi
	done
	rm copies/it
}
for signal in 1 2 3 15 24 25; do
	check_faults "cp that signal $signal ends leaves nothing" ended_by \
		"tmpfile=$enotsup sync-file=s$signal" $signal
done
# A refused file is not opened: a process that waits for a reader of the pipe would go on.
unopened() {
	mkfifo fifo &&
		with open-fifo=s9 refuses 1 "fifo: neither a regular file nor a block device" \
			cp fifo copies/it
	got=$?
	rm -f fifo
	return $got
}
check_faults "cp of a pipe does not open it" unopened
check_faults "cp that fails leaves nothing" fails 'copies/it: Input/output error' \
	LD_PRELOAD="$faults" FAULTS="tmpfile=$enotsup sync-file=$eio"
# In the moment between the temporary name and the other one.
ended_late() {
	ends_with 143 "$1 rename=s15" && cmp file-4097 copies/it && [ "$(ls -A copies)" = it ] &&
		rm copies/it
}
check_faults "cp that a signal ends at the rename leaves the copy" ended_late ""
check_faults "cp that a signal ends at the rename leaves the copy, files with names" ended_late \
	tmpfile=$enotsup
ignoring() {
	(
		trap '' HUP
		for_good "tmpfile=$enotsup sync-file=s1"
	)
}
check_faults "cp ignores a signal that its parent ignored" ignoring

# ---- who may read the copy ----

# acl.py set FILE ENTRY...; acl.py set-default FOLDER ENTRY...; acl.py show FILE. An entry is
# user:4242:rw, or with an empty number for the owner, the group. Without an ACL, show prints the
# mode.
cat >acl.py <<'PYTHON'
import os, struct, sys
names = {'user': (1, 2), 'group': (4, 8), 'mask': (16,), 'other': (32,)}
def entry(text):
    kind, number, rights = text.split(':')
    tag = names[kind][1 if number else 0]
    bits = sum(4 >> 'rwx'.index(right) for right in rights if right != '-')
    return struct.pack('<HHI', tag, bits, int(number) if number else 0xffffffff)
def show(path):
    print('%o' % (os.stat(path).st_mode & 0o7777))
    try:
        blob = os.getxattr(path, 'system.posix_acl_access')
    except OSError:
        return
    for tag, bits, number in struct.iter_unpack('<HHI', blob[4:]):
        kind = [kind for kind in names if tag in names[kind]][0]
        print(kind, '' if number == 0xffffffff else number, bits)
command, path, *entries = sys.argv[1:]
if command == 'show':
    show(path)
else:
    kind = 'default' if command == 'set-default' else 'access'
    blob = struct.pack('<I', 2) + b''.join(map(entry, entries))
    os.setxattr(path, 'system.posix_acl_' + kind, blob)
PYTHON
acl() {
	python3 acl.py "$@"
}
: >probe
acls=
if acl set probe user::rw user:4242:rw group::- mask::rw other::- 2>/dev/null; then
	acls=yes
fi
attributes=
if python3 -c 'import os; os.setxattr("probe", "user.probe", b"")' 2>/dev/null; then
	attributes=yes
fi
rm probe

# check_if NEEDED NAME COMMAND...: check if the variable is not empty.
check_if() {
	eval "needed=\$$1"
	case $1 in
	acls) reason="no access control lists here" ;;
	attributes) reason="no extended attributes here" ;;
	root) reason="not root" ;;
	unshared) reason="cannot mount" ;;
	*) reason="no $1" ;;
	esac
	shift
	if [ "$needed" ]; then
		check "$@"
	else
		skip "$1" "$reason"
	fi
}
root=
if [ "$(id -u)" -eq 0 ]; then
	root=yes
fi

# The group of the file has no rights; the mask, which the mode shows as the group's, does.
acl_kept() {
	printf old >copies/old
	acl set copies/old user::rw user:4242:rw group::- mask::rw other::- &&
		acl show copies/old >before && "$folio" cp file-4097 copies/old &&
		acl show copies/old >after && diff before after && cmp file-4097 copies/old
	got=$?
	rm -f copies/*
	return $got
}
check_if acls "cp keeps the access control list of the replaced file" acl_kept

# Neither the default ACL of the directory nor the umask changes the rights of a replaced file.
mode_kept() {
	mkdir copies/inner && printf old >copies/inner/old && chmod 640 copies/inner/old &&
		acl set-default copies/inner user::rwx user:4242:rwx group::rwx mask::rwx \
			other::rwx &&
		acl show copies/inner/old >before && "$folio" cp file-4097 copies/inner/old &&
		acl show copies/inner/old >after && diff before after
	got=$?
	rm -rf copies/*
	return $got
}
check_if acls "cp gives a replaced file no default access control list" mode_kept

# As a shell creates it.
default_acl() {
	mkdir copies/inner && acl set-default copies/inner "$@" || return 1
	(
		umask 022
		cp file-4097 source && chmod 644 source && "$folio" cp source copies/inner/new &&
			cat source >copies/inner/usual
	) && acl show copies/inner/new >new && acl show copies/inner/usual >usual && cat new &&
		diff usual new
	got=$?
	rm -rf copies/* source
	return $got
}
check_if acls "cp of a new file follows the default access control list" default_acl \
	user::rw group::r other::-
check_if acls "cp of a new file follows a default access control list with users" default_acl \
	user::rw user:4242:r group::- mask::r other::-

# A mode that gives the owner no right to write. The copy is written all the same.
poor_mode() {
	cp file-4097 source
	chmod "$1" source
	plainly "$folio" cp source copies/new && [ "$(stat -c %a copies/new)" = "$1" ] &&
		cmp file-4097 copies/new
	got=$?
	rm -f copies/* source
	return $got
}
# plainly COMMAND...: root without the rights to ignore modes and owners.
plainly() {
	if [ "$root" ]; then
		setpriv --bounding-set -dac_override,-dac_read_search,-fowner,-chown,-fsetid "$@"
	else
		"$@"
	fi
}
plain=
if plainly true 2>/dev/null; then
	plain=yes
fi
check_if plain "cp of a read-only file gives a read-only file" poor_mode 444
check_if plain "cp of a file of a private mode" poor_mode 400

# The umask denies the owner everything.
poor_umask() {
	(
		umask 777
		plainly "$folio" cp file-4097 copies/new && [ "$(stat -c %a copies/new)" = 0 ]
	) && chmod 600 copies/new && cmp file-4097 copies/new
	got=$?
	rm -f copies/new
	return $got
}
check_if plain "cp of a new file that nobody may read" poor_umask

# The new group gets what the old group and others had: its members may have been either.
narrowed() {
	printf old >copies/old
	chown 4242:4243 copies/old && chmod "$1" copies/old &&
		setpriv --bounding-set -chown "$folio" cp file-4097 copies/old || return 1
	ls -Aln copies
	[ "$(stat -c %u:%g:%a copies/old)" = "0:0:$2" ]
	got=$?
	rm copies/*
	return $got
}
narrowed_acl() {
	printf old >copies/old
	chown 4242:4243 copies/old &&
		acl set copies/old user::rw user:4242:rw group::rw mask::rw other::r &&
		setpriv --bounding-set -chown "$folio" cp file-4097 copies/old &&
		acl set copies/other user::rw user:4242:rw group::r mask::rw other::r || return 1
	acl show copies/other >expected && acl show copies/old | diff expected -
	got=$?
	rm copies/*
	return $got
}
if [ "$root" ] && [ "$plain" ]; then
	check "cp that cannot keep the group gives the new one no rights" narrowed 660 600
	check "cp that cannot keep the group gives others no rights" narrowed 604 600
	check "cp that cannot keep the group keeps the rights of all" narrowed 664 644
	: >copies/other
	check_if acls "cp that cannot keep the group, with an access control list" narrowed_acl
else
	skip "cp that cannot keep the group" "not root, or no setpriv"
fi

# closed FILE ARGUMENT...: while the copy is written, FILE is closed to all but the owner.
closed() {
	cp file-4097 source && printf old >copies/it && chmod 644 source copies/it || return 1
	CHANGED=$1
	export CHANGED
	shift
	with tmpfile=m "$folio" cp source copies/it "$@" && ls -Al copies &&
		[ "$(stat -c %a copies/it)" = 600 ] && cmp source copies/it
	got=$?
	unset CHANGED
	rm -f source copies/it
	return $got
}
check_faults "cp gives no access that was taken away during the copy" closed copies/it
check_faults "cp --preserve gives no access that was taken away during the copy" closed source \
	--preserve

# A link takes the place of the target, after the kernel has allowed it, or of its directory.
link_at_last() {
	mkdir copies/inner copies/other && printf old >copies/inner/it &&
		printf other >copies/other/it || return 1
	CHANGED=copies/inner$1 LINK=$PWD/copies/other$1 with "$2=l" \
		"$folio" cp file-4097 copies/inner/it
	got=$?
	ls -AlR copies moved
	[ "$(cat copies/other/it)" = other ] && [ "$(ls -A copies/other)" = it ] &&
		[ $got -eq 1 ] && [ "$(cat "moved$3")" = old ] &&
		{ [ ! -d moved ] || [ "$(ls -A moved)" = it ]; }
	got=$?
	rm -rf copies/* moved
	return $got
}
check_faults "cp to a link that was a file does not follow it" link_at_last /it realpath
check_faults "cp to a directory that is moved changes nothing" link_at_last "" tmpfile /it

# ---- --preserve ----

cat >preserved.py <<'PYTHON'
"""preserved.py ORIGINAL COPY: mode, owner, times, ACL and attributes are the same."""
import os, sys
def all_of(path):
    stat = os.stat(path)
    names = [name for name in os.listxattr(path) if name != 'security.selinux']
    return (oct(stat.st_mode), stat.st_uid, stat.st_gid, stat.st_mtime_ns,
            {name: os.getxattr(path, name) for name in names})
accessed = os.stat(sys.argv[2]).st_atime_ns
original, copy = map(all_of, sys.argv[1:])
print(accessed, original[:4], copy[:4], *original[4], '/', *copy[4])
sys.exit(original != copy or accessed != 123456789)
PYTHON
age() {
	touch -a -d @0.123456789 original && touch -m -d @987654321.123456789 original
}
preserved() {
	cp file-65536 original && chmod 604 original || return 1
	while [ $# -gt 0 ]; do
		case $1 in
		acl) acl set original user::rw user:4242:r group::- mask::r other::- ;;
		attributes) python3 - ;;
		owner) chown 4242:4243 original && chmod 6755 original ;;
		capability) python3 - capability ;;
		esac <<'PYTHON' || return 1
import os, sys
if len(sys.argv) > 1:
    os.setxattr('original', 'security.capability', bytes.fromhex('01000002' + '00' * 16))
else:
    os.setxattr('original', 'user.long', b'x' * 1000)
    os.setxattr('original', 'user.empty', b'')
PYTHON
		shift
	done
	printf old >copies/old && printf old >copies/other || return 1
	for target in "new" "old" "other --in-place"; do
		age && "$folio" cp --preserve original copies/$target &&
			python3 preserved.py original "copies/${target%% *}" || return 1
	done
	rm original copies/*
}
check "cp --preserve keeps mode and times" preserved
check_if acls "cp --preserve keeps the access control list" preserved acl
check_if attributes "cp --preserve keeps extended attributes" preserved attributes
check_if root "cp --preserve as root keeps owner and set-user-ID bit" preserved owner
check_if root "cp --preserve as root keeps capabilities" preserved owner capability

# Attributes may be set only on a file that its owner may write.
preserved_read_only() {
	(
		umask "$1"
		printf contents >source && chmod 600 source &&
			python3 -c 'import os; os.setxattr("source", "user.it", b"value")' &&
			chmod 444 source && plainly "$folio" cp source copies/it --preserve &&
			[ "$(stat -c %a copies/it)" = 444 ] &&
			python3 -c 'import os; print(os.getxattr("copies/it", "user.it"))'
		got=$?
		rm -f source copies/it
		exit $got
	)
}
if [ "$plain" ]; then
	for umask in 022 777; do
		check_if attributes \
			"cp --preserve keeps attributes of a read-only file, umask $umask" \
			preserved_read_only $umask
	done
else
	skip "cp --preserve keeps attributes of a read-only file" "no setpriv"
fi

# What the file system of the target cannot hold is not lost in silence.
not_preserved() {
	cp file-4097 original && printf old >copies/it &&
		python3 -c 'import os; os.setxattr("original", "user.it", b"")' || return 1
	with setxattr=$enotsup "$folio" cp original copies/it --preserve 2>err
	got=$?
	cat err
	[ $got -eq 1 ] &&
		says 'copies/it: the attribute user.it cannot be copied: Operation not supported' &&
		[ "$(cat copies/it)" = old ] && [ "$(ls -A copies)" = it ] &&
		"$folio" cp original copies/it && rm copies/it original
}
if [ "$attributes" ]; then
	check_faults "cp --preserve that cannot keep an attribute changes nothing" not_preserved
else
	skip "cp --preserve that cannot keep an attribute changes nothing" "no attributes here"
fi

# On a terminal it shows its progress, and erases it at the end.
on_terminal() {
	python3 - "$folio" <<'PYTHON'
import os, pty, re, subprocess, sys
master, slave = pty.openpty()
process = subprocess.Popen([sys.argv[1], 'cp', 'file-9441279', 'copies/it'], stderr=slave)
os.close(slave)
shown = b''
while True:
    try:
        part = os.read(master, 4096)
    except OSError:
        break
    if not part:
        break
    shown += part
print(shown)
lines = shown.split(b'\r\x1b[K')
sys.exit(process.wait() or len(lines) < 4 or lines[0] or lines[-1] or
         lines[-2] != b'syncing copies/it' or
         any(not re.fullmatch(rb'copying file-9441279: [0-9]+ % of 9\.004 MiB', line)
             for line in lines[1:-2]))
PYTHON
}
check "cp on a terminal shows progress" on_terminal

# A longer line than the terminal has would wrap, and its first part would not be erased.
narrow_terminal() {
	python3 - "$folio" <<'PYTHON'
import fcntl, os, pty, struct, subprocess, sys, termios
master, slave = pty.openpty()
fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 20, 0, 0))
process = subprocess.Popen([sys.argv[1], 'cp', 'file-9441279', 'copies/it'], stderr=slave)
os.close(slave)
shown = b''
while True:
    try:
        part = os.read(master, 4096)
    except OSError:
        break
    if not part:
        break
    shown += part
lines = shown.split(b'\r\x1b[K')
print(lines)
sys.exit(process.wait() or
         set(lines) != {b'', b'copying file-944127', b'syncing copies/it'})
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

# ---- directories and files that cannot be replaced ----

# Writable, but not readable.
unreadable() {
	mkdir copies/inner && printf old >copies/inner/old && chmod 300 copies/inner &&
		plainly "$folio" cp file-4097 copies/inner/new &&
		plainly "$folio" cp file-4097 copies/inner/old
	got=$?
	chmod 700 copies/inner
	ls -Al copies/inner
	[ $got -eq 0 ] && cmp file-4097 copies/inner/new && cmp file-4097 copies/inner/old &&
		[ "$(ls -A copies/inner | wc -l)" -eq 2 ] && rm -r copies/inner
}
check_if plain "cp into a directory that cannot be read" unreadable

# in_place FILE: written to, under all of its names.
in_place() {
	cp file-65536 copies/old && ln copies/old copies/other && chmod 604 copies/old &&
		"$folio" cp "$1" copies/old --in-place && cmp "$1" copies/old &&
		cmp "$1" copies/other && [ "$(stat -c %a copies/old)" = 604 ] &&
		[ "$(ls -A copies | wc -l)" -eq 2 ] && rm copies/*
}
for file in file-0 file-4097 file-1048583 sparse; do
	check "cp --in-place of $file" in_place $file
done
in_place_new() {
	"$folio" cp file-4097 copies/new --in-place && cmp file-4097 copies/new && rm copies/new
}
check "cp --in-place to a new file" in_place_new
check "cp --in-place of a file to itself" refuses 1 "file-1 and file-1 are the same file" \
	cp file-1 file-1 --in-place

# hinted REASON TARGET: cp refuses to replace, and names the option with which it works.
hinted() {
	printf 'an old file' >expected
	plainly "$folio" cp file-4097 "$2" 2>err
	got=$?
	cat err
	[ $got -eq 1 ] && says "$2: cannot be replaced: $1; --in-place writes to it" &&
		cmp expected "$2" &&
		[ "$(ls -A copies/inner | wc -l)" -eq 1 ] &&
		plainly "$folio" cp file-4097 "$2" --in-place && cmp file-4097 "$2"
}
protected() {
	mkdir copies/inner && printf 'an old file' >copies/inner/old && chmod 500 copies/inner &&
		hinted "Permission denied" copies/inner/old
	got=$?
	chmod 700 copies/inner
	rm -r copies/inner
	return $got
}
check_if plain "cp to a file in a directory that cannot be written" protected
sticky() {
	mkdir copies/inner && printf 'an old file' >copies/inner/old &&
		chown 4242 copies/inner/old && chmod 666 copies/inner/old &&
		chown 4243 copies/inner && chmod 1777 copies/inner &&
		hinted "Operation not permitted" copies/inner/old
	got=$?
	rm -r copies/inner
	return $got
}
if [ "$plain" ]; then
	check_if root "cp to a file of another user in a sticky directory" sticky
else
	skip "cp to a file of another user in a sticky directory" "no setpriv"
fi

# In a separate mount name space, if the kernel allows that.
unshared=
if unshare -rm mount -t tmpfs -o size=4m tmpfs copies 2>/dev/null; then
	unshared=yes
fi
cat >bound.sh <<'SHELL'
mkdir copies/inner && printf 'an old file' >bound && : >copies/inner/old &&
	mount --bind bound copies/inner/old || exit 1
"$1" cp file-4097 copies/inner/old 2>err
got=$?
cat err
[ $got -eq 1 ] && [ "$(cat bound)" = 'an old file' ] && [ "$(ls -A copies/inner)" = old ] &&
	echo "folio: copies/inner/old: cannot be replaced: Device or resource busy;" \
		"--in-place writes to it" | cmp - err &&
	"$1" cp file-4097 copies/inner/old --in-place && cmp file-4097 bound
SHELL
bound() {
	unshare -rm sh bound.sh "$folio"
	got=$?
	rm -rf copies/inner bound
	return $got
}
check_if unshared "cp to a file that is a mount point" bound

cat >proc.sh <<'SHELL'
mount -t tmpfs tmpfs /proc || exit 1
"$1" cp file-4097 copies/it && cmp file-4097 copies/it &&
	"$1" cp file-65536 copies/it && cmp file-65536 copies/it &&
	"$1" cp file-1 copies/it --in-place && cmp file-1 copies/it && [ "$(ls -A copies)" = it ]
SHELL
# The command finds its library through /proc.
without_proc() {
	library=$(ldd "$folio" | sed -n 's/.*=> \(.*\)\/libfolio.*/\1/p')
	LD_LIBRARY_PATH=$library unshare -rm sh proc.sh "$folio"
	got=$?
	rm -f copies/it
	return $got
}
if sanitized; then
	skip "cp without /proc" "the sanitizer reads it"
else
	check_if unshared "cp without /proc" without_proc
fi

finish
