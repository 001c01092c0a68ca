/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sweeps of system calls: a file is opened, used and closed again and again while the first system
 * call fails, then the second, and so on until none is left; once, or from then on. Each function
 * does its work or returns the error, no descriptor leaks, and the file has what was written. The
 * same with a file that says it is a block device, which needs no device.
 */
#include <limits.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <time.h>

#include "io-test.h"
#include "io/space.h"

/* ---- the system calls, in place of those of libc ---- */

#define NOT_REGULAR 0 /* in place of an error: a descriptor turns out to be a FIFO */

static struct {
	bool armed, ever_after, block, no_direct;
	int error;
	unsigned fail_at, calls, injected;
} os;

/* From now on, but only while os.armed is set. */
static void prepare(int error, unsigned nth, bool ever_after)
{
	os.error = error;
	os.fail_at = nth;
	os.ever_after = ever_after;
	os.calls = os.injected = 0;
}

static bool fails(void)
{
	if (!os.armed || (++os.calls != os.fail_at && !(os.ever_after && os.calls > os.fail_at)))
		return false;
	os.injected++;
	errno = os.error;
	return true;
}

static long call(long number, long a, long b, long c, long d, long e)
{
	if (os.error != NOT_REGULAR && fails())
		return -1;
	return syscall(number, a, b, c, d, e);
}

/* As call, of one that no signal interrupts. */
static long call_whole(long number, long a, long b, long c, long d, long e)
{
	return os.error == EINTR ? syscall(number, a, b, c, d, e) : call(number, a, b, c, d, e);
}

#define CALL(number, a, b, c, d, e) call(number, (long)(a), (long)(b), (long)(c), (long)(d), e)
#define CALL_WHOLE(number, a, b, c, d, e) \
	call_whole(number, (long)(a), (long)(b), (long)(c), (long)(d), e)

int open(const char *path, int flags, ...)
{
	va_list list;
	mode_t mode;

	va_start(list, flags);
	mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(list, mode_t) : 0;
	va_end(list);
	return (int)CALL(SYS_openat, AT_FDCWD, path, flags, mode, 0);
}

int fcntl(int fd, int command, ...)
{
	va_list list;
	long argument;

	va_start(list, command);
	argument = va_arg(list, long);
	va_end(list);
	return (int)CALL_WHOLE(SYS_fcntl, fd, command, argument, 0, 0);
}

int fstatat(int fd, const char *path, struct stat *st, int flags)
{
	bool fifo = os.error == NOT_REGULAR && fails();
	int r = (int)CALL_WHOLE(SYS_newfstatat, fd, path, st, flags, 0);

	if (r || !S_ISREG(st->st_mode))
		return r;
	if (fifo) {
		st->st_mode = S_IFIFO | (st->st_mode & ~(mode_t)S_IFMT);
	} else if (os.block) {
		st->st_mode = S_IFBLK | (st->st_mode & ~(mode_t)S_IFMT);
		st->st_rdev = makedev(7, 77);
		st->st_size = 0;
	}
	return r;
}

int fstat(int fd, struct stat *st)
{
	return fstatat(fd, "", st, AT_EMPTY_PATH);
}

int statx(int fd, const char *restrict path, int flags, unsigned mask, struct statx *restrict stx)
{
	return (int)CALL_WHOLE(SYS_statx, fd, path, flags, mask, (long)stx);
}

off_t lseek(int fd, off_t offset, int whence)
{
	return CALL_WHOLE(SYS_lseek, fd, offset, whence, 0, 0);
}

int ioctl(int fd, unsigned long command, ...)
{
	struct stat st;
	va_list list;
	void *argument;

	va_start(list, command);
	argument = va_arg(list, void *);
	va_end(list);
	if (!os.block || command != BLKGETSIZE64)
		return (int)CALL_WHOLE(SYS_ioctl, fd, command, argument, 0, 0);
	if (CALL_WHOLE(SYS_newfstatat, fd, "", &st, AT_EMPTY_PATH, 0) < 0)
		return -1;
	*(uint64_t *)argument = (uint64_t)st.st_size;
	return 0;
}

int name_to_handle_at(int fd, const char *path, struct file_handle *handle, int *mount, int flags)
{
	return (int)CALL_WHOLE(SYS_name_to_handle_at, fd, path, handle, mount, flags);
}

int faccessat(int fd, const char *path, int mode, int flags)
{
	return (int)CALL_WHOLE(SYS_faccessat2, fd, path, mode, flags, 0);
}

int access(const char *path, int mode)
{
	/* No sandbox denies this one. */
	return (int)syscall(SYS_faccessat, AT_FDCWD, path, mode);
}

int fsync(int fd)
{
	return (int)CALL(SYS_fcntl, fd, F_GETFD, 0, 0, 0) < 0 ? -1 : 0;
}

int fdatasync(int fd)
{
	return fsync(fd);
}

int ftruncate(int fd, off_t size)
{
	return (int)CALL(SYS_ftruncate, fd, size, 0, 0, 0);
}

int fallocate(int fd, int mode, off_t offset, off_t len)
{
	return (int)CALL(SYS_fallocate, fd, mode, offset, len, 0);
}

int sync_file_range(int fd, off_t offset, off_t len, unsigned flags)
{
	return (int)CALL_WHOLE(SYS_fcntl, fd, F_GETFD, 0, 0, 0) < 0 ? -1 : 0;
}

/* The descriptor is closed in any case. */
int close(int fd)
{
	bool failed = os.armed && os.error == EINTR && fails();
	int r = (int)syscall(SYS_close, fd);

	errno = failed ? EINTR : errno;
	return failed ? -1 : r;
}

/* Without O_DIRECT, which would wait for the device. */
static ssize_t transfer(long number, int fd, const struct iovec *iov, int count, off_t offset)
{
	char path[32];
	ssize_t done;

	if (!(syscall(SYS_fcntl, fd, F_GETFL) & O_DIRECT))
		return CALL(number, fd, iov, count, offset, 0);
	if (os.no_direct) {
		errno = EINVAL;
		return -1;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	fd = (int)syscall(SYS_openat, AT_FDCWD, path, number == SYS_preadv ? O_RDONLY : O_RDWR);
	done = CALL(number, fd, iov, count, offset, 0);
	syscall(SYS_close, fd);
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

int nanosleep(const struct timespec *time, struct timespec *left)
{
	return 0;
}

/* ---- one use of a file ---- */

#define FILE_PAGES 4
#define FILE_BYTES (FILE_PAGES * PAGE + 100)

/* By a name, by a descriptor of the program, or without opening it. */
enum way { BY_NAME, BY_FD, PROBED, PROBED_BY_FD, WAYS };

struct use {
	enum way way;
	int flags; /* of open(2) */
	unsigned io_flags;
	unsigned char model[FILE_BYTES + PAGE];
	size_t size;
	unsigned failures;
};

static bool failed(struct use *use, const char *what, ssize_t r)
{
	if (r >= 0)
		return false;
	use->failures++;
	/* -EIO: direct I/O cannot be switched off. -EINVAL: it was refused, and stays so. */
	if (r == -os.error || (r == -EIO && os.injected) ||
		(r == -EINVAL && (os.error == NOT_REGULAR || os.no_direct || os.block)) ||
		(r == -EOPNOTSUPP && (!strcmp(what, "punch") || !strcmp(what, "allocate"))) ||
		(r == -ENOSPC && os.block && !strcmp(what, "allocate")))
		return true;
	os.armed = false;
	fail_msg("%s: %s, with number %u failing: %s", what, strerror((int)-r), os.fail_at,
		strerror(os.error));
	return true;
}

static ssize_t run(void *handle, uint32_t op, void *buf, size_t len, uint64_t offset)
{
	const struct iovec iov = {buf, len};
	const struct folio_io_request request = {
		.handle = handle, .offset = offset, .iov = &iov, .iov_count = 1, .op = op};

	return io_file_run(&request);
}

static void write_some(struct use *use, void *handle, uint64_t offset, size_t len)
{
	static unsigned char buf[2 * PAGE] __attribute__((aligned(PAGE)));
	static unsigned char salt;
	ssize_t done;
	int fd;

	memset(buf, ++salt, sizeof(buf));
	if (failed(use, "write", run(handle, FOLIO_IO_WRITE, buf, len, offset))) {
		/* A part may have been written. */
		fd = (int)syscall(SYS_openat, AT_FDCWD, path_of("swept"), O_RDONLY);
		done = syscall(SYS_pread64, fd, buf, len, offset);
		syscall(SYS_close, fd);
		len = done < 0 ? 0 : (size_t)done;
	}
	memcpy(use->model + offset, buf, len);
	if (len && use->size < offset + len)
		use->size = offset + len;
}

/* A call that a signal has interrupted is repeated, but not for ever. */
static int repeated(int r)
{
	assert_true(r != -EINTR || os.ever_after);
	return r;
}

static void change(struct use *use, void *handle)
{
	uint64_t size = use->size + PAGE / 2;
	struct folio_io_extent extents[4];
	unsigned flags;
	int r;

	write_some(use, handle, PAGE, PAGE);
	write_some(use, handle, 3 * PAGE, PAGE + 100);
	for (flags = 0; flags <= FOLIO_IO_DATA_ONLY; flags++)
		failed(use, "sync", repeated(io_file_sync(&backend, handle, flags)));
	failed(use, "flush", repeated(io_file_flush(&backend, handle)));
	failed(use, "extents", io_space_extents(&backend, handle, 0, extents, 4));
	failed(use, "allocate", repeated(io_space_allocate(&backend, handle, 5 * PAGE, PAGE)));
	r = repeated(io_file_punch(&backend, handle, 2 * PAGE, PAGE));
	if (!failed(use, "punch", r))
		memset(use->model + 2 * PAGE, 0, PAGE);
	r = repeated(io_file_truncate(&backend, handle, size));
	/* A device has the size that it has. */
	assert_true(!os.block || r < 0);
	if (!failed(use, "truncate", r))
		use->size = size;
	failed(use, "truncate", io_file_truncate(&backend, handle, use->size));
}

static void use_handle(struct use *use, void *handle)
{
	static unsigned char buf[3 * PAGE] __attribute__((aligned(PAGE)));
	struct folio_io_attr attr = {.struct_size = sizeof(attr),
		.wanted = FOLIO_IO_ATTR_HANDLE | FOLIO_IO_ATTR_BTIME | FOLIO_IO_ATTR_GENERATION |
			  FOLIO_IO_ATTR_MOUNT};
	bool probed = use->way >= PROBED;
	ssize_t r;

	attr.wanted |= probed ? FOLIO_IO_ATTR_ACCESS : FOLIO_IO_ATTR_LIMIT | FOLIO_IO_ATTR_FRESH;
	if (!failed(use, "getattr", io_file_getattr(&backend, handle, &attr))) {
		/* A probe has found a FIFO, which has become a device since. */
		bool changed = os.error == NOT_REGULAR && probed;

		/* A probe of a device has no size. */
		assert_int_equal(attr.size, os.block && probed ? 0 : use->size);
		assert_true((attr.inode == 0) == os.block || changed);
		assert_int_equal(!!(attr.fields & FOLIO_IO_ATTR_LIMIT), !probed);
		assert_int_equal(!!(attr.fields & FOLIO_IO_ATTR_ACCESS), probed);
		if (!probed) {
			assert_int_equal(attr.limit_error, os.block ? ENOSPC : EFBIG);
			assert_true(attr.limit >= attr.size);
			assert_true(!os.block || attr.limit == attr.size);
		}
	}
	if (probed)
		return;
	r = run(handle, FOLIO_IO_READ, buf, sizeof(buf), 0);
	if (!failed(use, "read", r)) {
		assert_int_equal(r, use->size < sizeof(buf) ? use->size : sizeof(buf));
		assert_memory_equal(buf, use->model, (size_t)r);
	}
	if ((use->flags & O_ACCMODE) == O_RDWR)
		change(use, handle);
}

static void use_file(struct use *use, const char *path)
{
	unsigned probe = use->way >= PROBED ? FOLIO_IO_PROBE : 0;
	bool by_fd = use->way == BY_FD || use->way == PROBED_BY_FD;
	struct iovec iov = {use->model, sizeof(use->model)};
	int own = -1, r;
	void *handle;

	if (by_fd)
		own = (int)syscall(SYS_openat, AT_FDCWD, path, use->flags & ~O_EXCL, 0600);
	os.armed = true;
	if (by_fd)
		r = io_file_open_fd(&backend, own, use->flags, use->io_flags | probe, &handle);
	else
		r = io_file_open(&backend, path, use->flags, 0600, use->io_flags | probe, &handle);
	if (!failed(use, "open", r)) {
		use_handle(use, handle);
		io_file_close(&backend, handle);
	}
	os.armed = false;
	if (own >= 0)
		close(own);
	/* What is in the file. */
	own = open(path, O_RDONLY);
	if (own >= 0) {
		unsigned char got[sizeof(use->model)];

		assert_int_equal(pread(own, got, iov.iov_len, 0), use->size);
		assert_memory_equal(got, use->model, use->size);
		close(own);
	} else {
		/* O_EXCL: it has failed. */
		assert_true(use->flags & O_EXCL && use->failures);
	}
}

/* Runs until no call is left that could fail. */
static void sweep(struct use use, int error, bool ever_after)
{
	unsigned fds = count_fds(), nth = 0;
	bool found;

	do {
		make_file("swept", FILE_BYTES);
		use.size = FILE_BYTES;
		memset(use.model, 0, sizeof(use.model));
		memcpy(use.model, right, FILE_BYTES);
		use.failures = 0;
		if (use.flags & O_EXCL) {
			unlink(path_of("swept"));
			memset(use.model, 0, sizeof(use.model));
			use.size = 0;
		}
		prepare(error, ++nth, ever_after);
		use_file(&use, path_of("swept"));
		found = os.injected;
		assert_true(found || (!use.failures || os.block));
		assert_int_equal(count_fds(), fds);
		assert_int_equal(folio_u64_load_relaxed(&backend.files_buffered), 0);
	} while (found);
	assert_true(nth > 1 || error == EINTR);
}

#define ALL 9

/* @kinds: how many of the errors. */
static void sweep_ways(int flags, unsigned io_flags, unsigned kinds)
{
	static const int errors[ALL] = {
		EIO, EPERM, EAGAIN, EINTR, ENOENT, ENOSYS, EMFILE, EINVAL, NOT_REGULAR};
	enum way way;
	unsigned i;

	for (way = 0; way < WAYS; way++) {
		/* A probe has a file that exists, and opens nothing. */
		if (flags & O_EXCL && way != BY_NAME)
			continue;
		for (i = 0; i < kinds; i++) {
			struct use use = {.way = way, .flags = flags, .io_flags = io_flags};

			sweep(use, errors[i], false);
			sweep(use, errors[i], true);
		}
	}
}

static void test_regular(void **state)
{
	sweep_ways(O_RDONLY, 0, ALL);
	sweep_ways(O_RDWR, 0, ALL);
	sweep_ways(O_RDWR, FOLIO_IO_BUFFERED, 2);
}

/* The program's own descriptor has O_DIRECT already. */
static void test_direct(void **state)
{
	sweep_ways(O_RDWR | O_DIRECT, 0, 3);
}

static void test_new(void **state)
{
	sweep_ways(O_RDWR | O_CREAT, 0, 3);
	sweep_ways(O_RDWR | O_CREAT | O_EXCL, 0, ALL);
}

/* The kernel accepts O_DIRECT and then refuses each direct read and write. */
static void test_no_direct(void **state)
{
	os.no_direct = true;
	sweep_ways(O_RDONLY, 0, 3);
	sweep_ways(O_RDWR, 0, 3);
	os.no_direct = false;
}

static void test_block(void **state)
{
	os.block = true;
	sweep_ways(O_RDONLY, 0, 3);
	sweep_ways(O_RDWR, 0, ALL);
	sweep_ways(O_RDWR, FOLIO_IO_BUFFERED, 3);
	os.block = false;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_regular),
		cmocka_unit_test(test_direct),
		cmocka_unit_test(test_new),
		cmocka_unit_test(test_no_direct),
		cmocka_unit_test(test_block),
	};

	return run_io_tests("io-sweep", tests, sizeof(tests) / sizeof(tests[0]));
}
