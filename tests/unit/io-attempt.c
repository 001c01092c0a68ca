/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests as one or more attempts: what each attempt covers, and what its result means. */
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "io-calls.h"
#include "io-test.h"

static bool failing_getattr;

int fstat(int fd, struct stat *st)
{
	if (failing_getattr) {
		errno = EIO;
		return -1;
	}
	return (int)syscall(SYS_fstat, fd, st);
}

/* Judge one attempt at @request, for @len bytes. */
static enum io_verdict judge(
	struct folio_io_request request, size_t len, bool direct, size_t *done, ssize_t *result)
{
	const struct iovec iov = {.iov_len = len};

	request.iov = &iov;
	request.iov_count = 1;
	return io_judge(&request, direct, done, result);
}

/* Results of attempts that are hard to get from a real file. */
static void test_judge(void **state)
{
	struct folio_io_request read = {.op = FOLIO_IO_READ}, read_end = read;
	struct folio_io_request write = {.op = FOLIO_IO_WRITE};
	size_t done = 0;
	ssize_t result;
	void *handle;

	make_file("judge", 10000);
	assert_int_equal(io_file_open(&backend, path_of("judge"), O_RDONLY, 0, 0, &handle), 0);
	read.handle = read_end.handle = write.handle = handle;
	read_end.offset = 12288;

	/* Complete; at the end of the file; past the end. */
	result = 8192;
	assert_int_equal(judge(read, 8192, true, &done, &result), IO_ENDED);
	assert_int_equal(result, 8192);
	done = 4096;
	result = 10000 - 4096;
	assert_int_equal(judge(read, 16384, true, &done, &result), IO_ENDED);
	assert_int_equal(result, 10000);
	done = 0;
	result = 0;
	assert_int_equal(judge(read_end, 4096, true, &done, &result), IO_ENDED);
	assert_int_equal(result, 0);

	/* A short read that ends at a block's border continues. */
	done = 0;
	result = 4096;
	assert_int_equal(judge(read, 16384, true, &done, &result), IO_SHORT);
	assert_int_equal(done, 4096);

	/* No more bytes mean the end. An error after some bytes is an error. */
	result = 0;
	assert_int_equal(judge(read, 16384, true, &done, &result), IO_ENDED);
	assert_int_equal(result, 4096);
	result = -EIO;
	assert_int_equal(judge(read, 16384, true, &done, &result), IO_ENDED);
	assert_int_equal(result, -EIO);

	/* Errors that may not last. EINVAL of a buffered attempt is final. */
	result = -EINTR;
	assert_int_equal(judge(read, 16384, true, &done, &result), IO_FAILED);
	result = -EAGAIN;
	assert_int_equal(judge(read, 16384, false, &done, &result), IO_FAILED);
	result = -EINVAL;
	assert_int_equal(judge(read, 16384, true, &done, &result), IO_FAILED);
	assert_int_equal(done, 4096);
	result = -EINVAL;
	assert_int_equal(judge(read, 16384, false, &done, &result), IO_ENDED);
	assert_int_equal(result, -EINVAL);

	/* A write continues from wherever it stopped, and fails if it makes no progress. */
	done = 0;
	result = 5000;
	assert_int_equal(judge(write, 9000, true, &done, &result), IO_SHORT);
	assert_int_equal(done, 5000);
	result = 0;
	assert_int_equal(judge(write, 9000, false, &done, &result), IO_ENDED);
	assert_int_equal(result, -EIO);
	result = 4000;
	assert_int_equal(judge(write, 9000, false, &done, &result), IO_ENDED);
	assert_int_equal(result, 9000);
	result = -ENOSPC;
	assert_int_equal(judge(write, 9000, true, &done, &result), IO_ENDED);
	assert_int_equal(result, -ENOSPC);

	/* A direct read cannot continue inside a block. A buffered one can. */
	done = 0;
	result = 5000;
	assert_int_equal(judge(read, 16384, true, &done, &result), IO_FAILED);
	done = 0;
	result = 5000;
	assert_int_equal(judge(read, 16384, false, &done, &result), IO_SHORT);
	assert_int_equal(done, 5000);

	/* Whether the file has more cannot be queried. */
	failing_getattr = true;
	done = 0;
	result = 5000;
	assert_int_equal(judge(read, 16384, true, &done, &result), IO_ENDED);
	assert_int_equal(result, -EIO);
	failing_getattr = false;
	io_file_close(&backend, handle);
}

static void test_rest(void **state)
{
	struct iovec iov[4] = {{(void *)0x1000, 100}, {(void *)0x2000, 0}, {(void *)0x3000, 50},
		{(void *)0x4000, 7}};
	struct io_rest rest;
	size_t done, expected;

	assert_int_equal(io_length(iov, 4), 157);
	for (done = 0; done < 157; done++) {
		io_rest(&rest, iov, 4, done);
		if (done == 0 || done == 100 || done == 150)
			assert_ptr_equal(rest.iov, done == 0     ? &iov[0]
						   : done == 100 ? &iov[2]
								 : &iov[3]);
		else
			assert_ptr_equal(rest.iov, &rest.part);
		expected = done < 100   ? 0x1000 + done
			   : done < 150 ? 0x3000 + done - 100
					: 0x4000 + done - 150;
		assert_int_equal((uintptr_t)rest.iov->iov_base, expected);
		expected = done < 100 ? 100 - done : done < 150 ? 150 - done : 157 - done;
		assert_int_equal(rest.iov->iov_len, expected);
	}
	io_rest(&rest, iov, 4, 0);
	assert_int_equal(rest.count, 4);
	io_rest(&rest, iov, 4, 100);
	assert_int_equal(rest.count, 2);
	io_rest(&rest, iov, 4, 157);
	assert_int_equal(rest.count, 0);
}

/* A write with direct I/O, cut at its last complete block. */
static void test_attempt(void **state)
{
	struct io_file file = {.fd = 5, .buffered = 6};
	const struct iovec iov[2] = {
		{(void *)0x10000, 2 * PAGE}, {(void *)0x20000, 3 * PAGE + 100}};
	/* From done on: the descriptor, the address, the length, the number of elements. */
	static const struct {
		size_t done;
		int fd;
		uintptr_t base;
		size_t len;
		unsigned count;
	} steps[] = {
		{0, 5, 0x10000, 2 * PAGE, 1},
		{PAGE, 5, 0x10000 + PAGE, PAGE, 1},
		{PAGE + 1, 6, 0x10000 + PAGE + 1, PAGE - 1, 1},
		{2 * PAGE, 5, 0x20000, 3 * PAGE, 1},
		{3 * PAGE, 5, 0x20000 + PAGE, 2 * PAGE, 1},
		{3 * PAGE + 512, 6, 0x20000 + PAGE + 512, 2 * PAGE + 100 - 512, 1},
		{5 * PAGE, 6, 0x20000 + 3 * PAGE, 100, 1},
		{5 * PAGE + 99, 6, 0x20000 + 3 * PAGE + 99, 1, 1},
	};
	struct folio_io_request request = {.handle = &file,
		.offset = 7 * PAGE,
		.iov = iov,
		.iov_count = 2,
		.op = FOLIO_IO_WRITE};
	struct io_attempt attempt;
	unsigned i;

	folio_u32_store_relaxed(&file.direct, 1);
	for (i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		io_attempt(&attempt, &request, steps[i].done, false);
		assert_int_equal(attempt.offset, 7 * PAGE + steps[i].done);
		assert_int_equal(attempt.fd, steps[i].fd);
		assert_int_equal(attempt.direct, steps[i].fd == 5);
		assert_int_equal(attempt.rest.count, steps[i].count);
		assert_int_equal((uintptr_t)attempt.rest.iov->iov_base, steps[i].base);
		assert_int_equal(attempt.rest.iov->iov_len, steps[i].len);
	}
	/* Buffered files and reads are never cut. */
	request.op = FOLIO_IO_READ;
	io_attempt(&attempt, &request, 0, false);
	assert_int_equal(attempt.rest.count, 2);
	assert_true(attempt.direct);
	request.op = FOLIO_IO_WRITE;
	folio_u32_store_relaxed(&file.direct, 0);
	io_attempt(&attempt, &request, 0, false);
	assert_int_equal(attempt.rest.count, 2);
	assert_int_equal(attempt.fd, 5);
	assert_false(attempt.direct);
}

/* A call that fails with EINTR is repeated, but not for ever. */
static void test_interrupted(void **state)
{
	struct io_file *file;
	void *handle;
	int fd;

	make_file("interrupted", 10 * PAGE);
	assert_int_equal(io_file_open(&backend, path_of("interrupted"), O_RDWR, 0, 0, &handle), 0);
	file = handle;
	fd = file->fd;
	calls_fail(fd, EINTR, 2, true);
	assert_int_equal(io_file_sync(NULL, handle, 0), 0);
	assert_int_equal(calls_made(), 3);
	calls_fail(fd, EINTR, UINT_MAX, true);
	assert_int_equal(io_file_sync(NULL, handle, 0), -EINTR);
	assert_int_equal(calls_made(), IO_TRIES);
	calls_fail(fd, EINTR, UINT_MAX, true);
	assert_int_equal(io_file_sync(NULL, handle, FOLIO_IO_DATA_ONLY), -EINTR);
	assert_int_equal(calls_made(), IO_TRIES);
	calls_fail(fd, EINTR, UINT_MAX, true);
	assert_int_equal(io_file_truncate(NULL, handle, 5), -EINTR);
	assert_int_equal(calls_made(), IO_TRIES);
	calls_fail(fd, EINTR, UINT_MAX, true);
	assert_int_equal(io_file_punch(NULL, handle, 0, PAGE), -EINTR);
	assert_int_equal(calls_made(), IO_TRIES);
	calls_fail(-1, 0, 0, false);
	io_file_close(&backend, handle);
}

/* A file of ten pages that uses direct I/O; NULL if the file system has none. */
static struct io_file *open_direct(int flags)
{
	void *handle;

	make_file("direct", 10 * PAGE);
	assert_int_equal(io_file_open(&backend, path_of("direct"), flags, 0, 0, &handle), 0);
	if (io_file_direct(handle))
		return handle;
	print_message("# skipped: no direct I/O\n");
	io_file_close(&backend, handle);
	return NULL;
}

/* Run one request for @len bytes at @offset, and check the bytes that it has read. */
static ssize_t run(struct io_file *file, uint32_t op, uint64_t offset, size_t len)
{
	unsigned char *memory = aligned_alloc(PAGE, 10 * PAGE);
	struct iovec iov = {memory, len};
	struct folio_io_request request = {
		.handle = file, .offset = offset, .iov = &iov, .iov_count = 1, .op = op};
	ssize_t result;

	memset(memory, 0xaa, 10 * PAGE);
	if (op == FOLIO_IO_WRITE)
		fill_right(memory, offset, len);
	result = io_file_run(&request);
	if (op == FOLIO_IO_READ && result > 0)
		assert_memory_equal(memory, right + offset, (size_t)result);
	free(memory);
	return result;
}

static void expect_direct(struct io_file *file, bool direct)
{
	assert_int_equal(io_file_direct(file), direct);
	assert_int_equal(!!(fcntl(file->fd, F_GETFL) & O_DIRECT), direct);
	assert_int_equal(io_file_direct_use(&backend, file),
		direct ? FOLIO_DIRECT_USED : FOLIO_DIRECT_REFUSED);
	assert_int_equal(folio_u64_load_relaxed(&backend.files_buffered), !direct);
}

/*
 * Direct I/O is refused once: the file continues to use it. It is refused again: buffered I/O,
 * which succeeds, takes over for good.
 */
static void test_refused(void **state)
{
	static const int flags[] = {O_RDONLY, O_RDWR, O_RDWR};
	static const uint32_t ops[] = {FOLIO_IO_READ, FOLIO_IO_READ, FOLIO_IO_WRITE};
	struct io_file *file;
	unsigned i;

	for (i = 0; i < 3; i++) {
		file = open_direct(flags[i]);
		if (!file)
			return;
		calls_fail(file->fd, EINVAL, 1, false);
		assert_int_equal(run(file, ops[i], 2 * PAGE, 3 * PAGE), 3 * PAGE);
		assert_int_equal(calls_made(), 2);
		expect_direct(file, true);
		calls_fail(file->fd, EINVAL, 2, false);
		assert_int_equal(run(file, ops[i], 2 * PAGE, 3 * PAGE), 3 * PAGE);
		expect_direct(file, false);
		calls_fail(file->fd, EINVAL, 0, false);
		assert_int_equal(run(file, ops[i], 2 * PAGE, 3 * PAGE), 3 * PAGE);
		assert_int_equal(calls_made(), 1);
		calls_fail(-1, 0, 0, false);
		io_file_close(&backend, file);
	}
}

/* Buffered I/O fails as well: direct I/O was not the reason, and the file continues to use it. */
static void test_refused_with_error(void **state)
{
	struct rlimit limit, small;
	struct io_file *file = open_direct(O_RDWR);
	ssize_t result;

	if (!file)
		return;
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &limit);
	small = limit;
	small.rlim_cur = 3 * PAGE + 100;
	calls_fail(file->fd, EINVAL, UINT_MAX, false);
	setrlimit(RLIMIT_FSIZE, &small);
	result = run(file, FOLIO_IO_WRITE, 2 * PAGE, 3 * PAGE);
	setrlimit(RLIMIT_FSIZE, &limit);
	signal(SIGXFSZ, SIG_DFL);
	calls_fail(-1, 0, 0, false);
	assert_int_equal(result, -EFBIG);
	expect_direct(file, true);
	io_file_close(&backend, file);
}

/*
 * On a thread of the program: a write past RLIMIT_FSIZE leaves no signal, and one that was pending
 * before stays.
 */
static void test_masked(void **state)
{
	struct rlimit limit, small;
	sigset_t blocked, before, pending;
	struct io_file *file;
	unsigned i;

	make_file("masked", PAGE);
	assert_int_equal(io_file_open(&backend, path_of("masked"), O_RDWR, 0, FOLIO_IO_BUFFERED,
				 (void **)&file),
		0);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGXFSZ);
	pthread_sigmask(SIG_BLOCK, &blocked, &before);
	getrlimit(RLIMIT_FSIZE, &limit);
	small = limit;
	small.rlim_cur = 3 * PAGE;
	for (i = 0; i < 2; i++) {
		struct iovec iov = {right, PAGE};
		struct folio_io_request request = {.op = FOLIO_IO_WRITE,
			.handle = file,
			.iov = &iov,
			.iov_count = 1,
			.offset = 3 * PAGE};
		ssize_t result;

		if (i)
			raise(SIGXFSZ);
		setrlimit(RLIMIT_FSIZE, &small);
		result = io_file_run_masked(&request);
		setrlimit(RLIMIT_FSIZE, &limit);
		assert_int_equal(result, -EFBIG);
		sigpending(&pending);
		assert_int_equal(sigismember(&pending, SIGXFSZ), i);
	}
	sigwaitinfo(&blocked, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	io_file_close(&backend, file);
}

/*
 * A direct read ends inside a block. If the file has grown since, it is repeated from the start of
 * that block on. If it ends there each time, a buffered read continues.
 */
static void test_stopped(void **state)
{
	static const int flags[] = {O_RDONLY, O_RDWR};
	struct io_file *file;
	unsigned i;

	for (i = 0; i < 2; i++) {
		file = open_direct(flags[i]);
		if (!file)
			return;
		calls_shorten(file->fd, PAGE + 700, 1);
		assert_int_equal(run(file, FOLIO_IO_READ, 2 * PAGE, 5 * PAGE), 5 * PAGE);
		assert_int_equal(calls_made(), 2);
		expect_direct(file, true);
		/* At first the second block ends early, then the third: the file grows. */
		calls_shorten(file->fd, PAGE + 700, 3);
		assert_int_equal(run(file, FOLIO_IO_READ, 2 * PAGE, 5 * PAGE), 5 * PAGE);
		assert_int_equal(calls_made(), 4);
		expect_direct(file, true);
		calls_shorten(file->fd, 700, 2);
		assert_int_equal(run(file, FOLIO_IO_READ, 2 * PAGE, 5 * PAGE), 5 * PAGE);
		expect_direct(file, false);
		calls_fail(-1, 0, 0, false);
		io_file_close(&backend, file);
	}
}

/*
 * The second descriptor of a file that is open for writing cannot be opened. If that may not last,
 * neither is the first one. The third call opens it: the first two check and open the file.
 */
static void test_no_second(void **state)
{
	static const int lasting[] = {ENOENT, EACCES}, passing[] = {EMFILE, ENFILE, ENOMEM};
	struct io_file *file = open_direct(O_RDWR);
	unsigned i, fds;
	void *handle;

	if (!file)
		return;
	io_file_close(&backend, file);
	fds = count_fds();
	for (i = 0; i < 3; i++) {
		open_fails(3, passing[i]);
		assert_int_equal(io_file_open(&backend, path_of("direct"), O_RDWR, 0, 0, &handle),
			-passing[i]);
		assert_int_equal(count_fds(), fds);
	}
	for (i = 0; i < 2; i++) {
		open_fails(3, lasting[i]);
		assert_int_equal(
			io_file_open(&backend, path_of("direct"), O_RDWR, 0, 0, &handle), 0);
		file = handle;
		assert_int_equal(io_file_direct_use(&backend, handle), FOLIO_DIRECT_NO_SECOND);
		assert_int_equal(fcntl(file->fd, F_GETFL) & O_DIRECT, 0);
		assert_int_equal(run(file, FOLIO_IO_WRITE, PAGE, 2 * PAGE), 2 * PAGE);
		io_file_close(&backend, handle);
	}
	assert_int_equal(folio_u64_load_relaxed(&backend.files_buffered), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_judge),
		cmocka_unit_test(test_rest),
		cmocka_unit_test(test_attempt),
		cmocka_unit_test(test_interrupted),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_refused_with_error),
		cmocka_unit_test(test_masked),
		cmocka_unit_test(test_stopped),
		cmocka_unit_test(test_no_second),
	};

	return run_io_tests("io-attempt", tests, sizeof(tests) / sizeof(tests[0]));
}
