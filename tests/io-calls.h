/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * io-calls.h - the system calls of the library's backends, in place of those of libc: they fail on
 * command for one descriptor.
 */
#ifndef FOLIO_TESTS_IO_CALLS_H
#define FOLIO_TESTS_IO_CALLS_H

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <folio/atomic.h>

static struct {
	int fd, error;
	bool pretend;
	size_t limit; /* bytes that one call transfers at most */
	folio_u32 failures, calls;
} faulty = {.fd = -1};

/*
 * The next @failures calls on @fd fail with @error. @pretend: the later ones transfer zeros, or do
 * nothing, and succeed; without it they are real.
 */

static inline void calls_fail(int fd, int error, unsigned failures, bool pretend)
{
	faulty.fd = fd;
	faulty.error = error;
	faulty.pretend = pretend;
	faulty.limit = 0;
	folio_u32_store_relaxed(&faulty.calls, 0);
	folio_u32_store_relaxed(&faulty.failures, failures);
}

/* The next @times reads and writes on @fd transfer at most @limit bytes each. */
static inline void calls_shorten(int fd, size_t limit, unsigned times)
{
	calls_fail(fd, 0, times, false);
	faulty.limit = limit;
}

/* Calls on the descriptor since calls_fail or calls_shorten. */
static inline unsigned calls_made(void)
{
	return folio_u32_load_relaxed(&faulty.calls);
}

/* The call fails (-1, with errno), pretends to succeed (1), or is a real one (0). */
static inline int call_result(int fd)
{
	if (fd != faulty.fd)
		return 0;
	folio_u32_fetch_add_relaxed(&faulty.calls, 1);
	if (folio_u32_load_relaxed(&faulty.failures)) {
		folio_u32_fetch_sub_relaxed(&faulty.failures, 1);
		errno = faulty.error;
		return -1;
	}
	return faulty.pretend;
}

static inline ssize_t transfer(long call, int fd, const struct iovec *iov, int count, off_t offset)
{
	int result = call_result(fd), i;
	ssize_t done = 0;

	if (result < 0 && faulty.limit) {
		done = syscall(call, fd, iov, count, offset, 0);
		return done < (ssize_t)faulty.limit ? done : (ssize_t)faulty.limit;
	}
	if (result == 0)
		return syscall(call, fd, iov, count, offset, 0);
	if (result < 0)
		return -1;
	for (i = 0; i < count; i++) {
		if (call == SYS_preadv)
			memset(iov[i].iov_base, 0, iov[i].iov_len);
		done += (ssize_t)iov[i].iov_len;
	}
	return done;
}

ssize_t preadv(int fd, const struct iovec *iov, int count, off_t offset)
{
	return transfer(SYS_preadv, fd, iov, count, offset);
}

ssize_t pwritev(int fd, const struct iovec *iov, int count, off_t offset)
{
	return transfer(SYS_pwritev, fd, iov, count, offset);
}

/* The @nth open from now on fails with @error; 0: none. */
static int open_nth, open_error;

static inline void open_fails(int nth, int error)
{
	open_nth = nth;
	open_error = error;
}

int open(const char *path, int flags, ...)
{
	va_list list;
	mode_t mode;

	va_start(list, flags);
	mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(list, mode_t) : 0;
	va_end(list);
	if (open_nth && --open_nth == 0) {
		errno = open_error;
		return -1;
	}
	return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

static inline int simple(int fd, long call, long first, long second, long third)
{
	int result = call_result(fd);

	if (result == 0)
		return (int)syscall(call, fd, first, second, third);
	return result < 0 ? -1 : 0;
}

int fsync(int fd)
{
	return simple(fd, SYS_fsync, 0, 0, 0);
}

int fdatasync(int fd)
{
	return simple(fd, SYS_fdatasync, 0, 0, 0);
}

int ftruncate(int fd, off_t size)
{
	return simple(fd, SYS_ftruncate, size, 0, 0);
}

int fallocate(int fd, int mode, off_t offset, off_t len)
{
	return simple(fd, SYS_fallocate, mode, offset, len);
}

#endif
