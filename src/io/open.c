/* SPDX-License-Identifier: BSD-2-Clause */
/* open.c - opening a descriptor of a regular file or a block device, and of nothing else. */
#include "io/open.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include "base/descriptor.h"

/* Is one of the numbers 0 to 2 free? */
static bool stdio_is_free(void)
{
	return fcntl(STDIN_FILENO, F_GETFD) < 0 || fcntl(STDOUT_FILENO, F_GETFD) < 0 ||
	       fcntl(STDERR_FILENO, F_GETFD) < 0;
}

/*
 * open(2), with a result above 2. Free numbers below are taken in the meantime, by descriptors that
 * only name the root: to move a descriptor of the file up would mean to close one, which drops the
 * POSIX locks that the program may have on the file.
 */
static int open_above_stdio(const char *path, int flags, mode_t mode)
{
	int taken[STDERR_FILENO + 1], count = 0, fd, error;

	while (count <= STDERR_FILENO && stdio_is_free())
		taken[count++] = open("/", O_PATH | O_CLOEXEC);
	fd = open(path, flags, mode);
	error = errno;
	while (count > 0)
		if (taken[--count] >= 0)
			close(taken[count]);
	errno = error;
	/* Another thread may have closed a standard stream since. */
	return descriptor_above_stdio(fd);
}

int open_check(int fd, struct stat *st)
{
	if (fstat(fd, st) < 0)
		return -errno;
	if (S_ISREG(st->st_mode) || S_ISBLK(st->st_mode))
		return 0;
	if (S_ISLNK(st->st_mode))
		return -ELOOP;
	return S_ISDIR(st->st_mode) ? -EISDIR : -EINVAL;
}

int open_name(const char *path, int flags, struct stat *st)
{
	int fd = open(path, O_PATH | O_CLOEXEC | (flags & O_NOFOLLOW)), r;

	if (fd < 0)
		return -errno;
	r = open_check(fd, st);
	if (!r)
		return fd;
	close(fd);
	return r;
}

/* May the process, by its effective IDs, access the file of @fd with @mode? Returns 0 or -errno. */
static int check_access(int fd, int mode)
{
	char path[32];

	if (faccessat(fd, "", mode, AT_EACCESS | AT_EMPTY_PATH) == 0)
		return 0;
	/* Before Linux 5.8. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (faccessat(AT_FDCWD, path, mode, AT_EACCESS) == 0)
		return 0;
	/*
	 * In a sandbox that denies the system call of both. access(2) judges by the real IDs, so
	 * it answers if they are the effective ones.
	 */
	if (errno == EPERM && getuid() == geteuid() && getgid() == getegid() &&
		access(path, mode) == 0)
		return 0;
	return -errno;
}

int open_allowed(int fd, int flags, const struct stat *st)
{
	int r = check_access(fd, (flags & O_ACCMODE) == O_RDONLY ? R_OK : R_OK | W_OK);

	if (!r && flags & O_NOATIME && st->st_uid != geteuid() && geteuid() != 0)
		return -EPERM;
	return r;
}

int open_reserve(void)
{
	int fd = descriptor_above_stdio(open("/", O_PATH | O_CLOEXEC));

	return fd < 0 ? -errno : fd;
}

int open_again(int fd, int flags)
{
	char path[32];
	int again;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open_above_stdio(path, flags | O_CLOEXEC | O_NOCTTY, 0);
	return again < 0 ? -errno : again;
}

/* As open_checked, without a check before. */
static int open_named(const char *path, int flags, mode_t mode, struct stat *st)
{
	int fd, now, r;

	/*
	 * O_NONBLOCK: do not wait for the peer of a FIFO that has replaced the file since the
	 * check. If another process holds a lease on the file, open fails with EAGAIN; only regular
	 * files have leases, so it is right to wait then.
	 */
	fd = open_above_stdio(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, mode);
	if (fd < 0 && errno == EAGAIN)
		fd = open_above_stdio(path, flags | O_CLOEXEC | O_NOCTTY, mode);
	if (fd < 0)
		return -errno;
	r = open_check(fd, st);
	/* io_uring fails with EAGAIN on a descriptor that still has O_NONBLOCK. */
	now = fcntl(fd, F_GETFL);
	if (!r && (now < 0 || fcntl(fd, F_SETFL, now & ~O_NONBLOCK) < 0))
		r = -errno;
	if (!r)
		return fd;
	close(fd);
	return r;
}

int open_checked(const char *path, int flags, mode_t mode, struct stat *st)
{
	int name, fd = -1;

	flags &= ~O_DIRECT;
	/* The call creates a regular file, or fails. */
	if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL))
		return open_named(path, flags, mode, st);
	name = open_name(path, flags, st);
	if (name == -ENOENT && flags & O_CREAT)
		return open_named(path, flags, mode, st);
	if (name < 0)
		return name;
	/*
	 * With O_CREAT by name, although the file exists: in a directory that others may write to,
	 * the kernel then refuses files of other users (protected_regular in proc(5)). Without
	 * /proc, too; and after an error, so that it is the one that open(2) returns.
	 */
	if (!(flags & O_CREAT))
		fd = open_again(name, flags & ~O_NOFOLLOW);
	if (fd < 0)
		fd = open_named(path, flags, mode, st);
	close(name);
	return fd;
}
