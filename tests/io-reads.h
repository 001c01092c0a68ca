/* SPDX-License-Identifier: BSD-2-Clause */
/* io-reads.h - tests of reading that every backend passes (unit/io-threads.c, unit/io-uring.c). */
#ifndef FOLIO_TESTS_IO_READS_H
#define FOLIO_TESTS_IO_READS_H

#include <sys/mman.h>

#include "io-calls.h"
#include "io-test.h"

static void test_sizes(void **state)
{
	static const size_t sizes[] = {
		0, 1, 511, 512, 513, 4095, 4096, 4097, 8191, 8192, 12800, 70000};
	struct world *world = *state;
	struct folio_io_attr attr;
	struct group group = GROUP_INIT;
	struct folio_io_request *request;
	struct read *read;
	uint64_t random = seed, offset;
	unsigned i, flags, pages;
	void *handle;

	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		make_file("sizes", sizes[i]);
		for (flags = 0; flags <= FOLIO_IO_BUFFERED; flags++) {
			handle = open_file(world, "sizes", flags);
			assert_int_equal(world->ops->getattr(world->context, handle, &attr), 0);
			assert_int_equal(attr.size, sizes[i]);
			for (offset = 0; offset <= sizes[i] + 2 * PAGE; offset += PAGE) {
				for (pages = 1; pages <= 6; pages++) {
					read = read_new(&group, handle, offset, pages,
						1 + (unsigned)draw(&random, pages), &random);
					request = &read->request;
					check(read->iov, offset, read->wanted, sizes[i],
						world->ops->read(world->context, handle, read->iov,
							request->iov_count, offset));
					memset(read->memory, 0xaa, read->wanted);
					world->ops->submit(world->context, &request, 1);
					group_wait(&group);
					read_check_and_free(read, offset, sizes[i]);
				}
			}
			world->ops->close(world->context, handle);
		}
	}
}

static void test_nothing(void **state)
{
	struct world *world = *state;
	void *handle;

	make_file("nothing", 10);
	handle = open_file(world, "nothing", 0);
	assert_int_equal(world->ops->read(world->context, handle, NULL, 0, 0), 0);
	world->ops->submit(world->context, NULL, 0);
	world->ops->close(world->context, handle);
}

static void test_random(void **state)
{
	struct world *world = *state;
	void *direct, *buffered;

	make_file("random", RANDOM_SIZE);
	direct = open_file(world, "random", 0);
	buffered = open_file(world, "random", FOLIO_IO_BUFFERED);
	random_reads(world, direct, seed, 50 * scale);
	random_reads(world, buffered, seed + 1, 50 * scale);
	world->ops->close(world->context, direct);
	world->ops->close(world->context, buffered);
}

static void test_sparse(void **state)
{
	static const uint64_t written[] = {0, 5, 262143, 262144, 1048575};
	uint64_t size = (uint64_t)1 << 32, offset;
	unsigned char data[PAGE], zero[PAGE] = {0};
	struct group group = GROUP_INIT;
	struct folio_io_request *request;
	struct world *world = *state;
	uint64_t random = seed;
	struct read *read;
	void *handle;
	unsigned i, k;
	int fd;

	fd = open(path_of("sparse"), O_RDWR | O_CREAT | O_TRUNC, 0600);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	for (i = 0; i < 5; i++) {
		fill_right(data, written[i] * PAGE, PAGE);
		assert_int_equal(pwrite(fd, data, PAGE, (off_t)(written[i] * PAGE)), PAGE);
	}
	close(fd);
	handle = open_file(world, "sparse", 0);
	for (i = 0; i < 5; i++) {
		offset = (written[i] ? written[i] - 1 : 0) * PAGE;
		read = read_new(&group, handle, offset, 3, 3, &random);
		request = &read->request;
		world->ops->submit(world->context, &request, 1);
		group_wait(&group);
		assert_int_equal(read->result, size - offset < 3 * PAGE ? size - offset : 3 * PAGE);
		for (k = 0; k < (unsigned)read->result / PAGE; k++) {
			unsigned j;
			bool there = false;

			for (j = 0; j < 5; j++)
				there |= written[j] == offset / PAGE + k;
			fill_right(data, offset + k * PAGE, PAGE);
			assert_memory_equal(read->iov[k].iov_base, there ? data : zero, PAGE);
		}
		read_free(read);
	}
	world->ops->close(world->context, handle);
	unlink(path_of("sparse"));
}

/*
 * A read longer than the kernel performs at once, so that reads come short in the middle of a
 * vector and of an element. The memory is one piece that is mapped many times; the file is a hole
 * with a few bytes at its end.
 */
static void test_long(void **state)
{
	enum { PIECE = 1 << 24, PIECES = 130, ELEMENTS = 13 };
	const size_t size = (size_t)PIECE * PIECES, tail = 3 * PAGE;
	int memory = memfd_create("memory", MFD_CLOEXEC), fd;
	struct iovec iov[ELEMENTS];
	struct folio_io_request *request;
	struct group group = GROUP_INIT;
	struct world *world = *state;
	struct read read;
	unsigned char *map;
	void *handle;
	unsigned i;

	assert_int_equal(ftruncate(memory, PIECE), 0);
	map = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_ptr_not_equal(map, MAP_FAILED);
	for (i = 0; i < PIECES; i++)
		assert_ptr_not_equal(mmap(map + (size_t)i * PIECE, PIECE, PROT_READ | PROT_WRITE,
					     MAP_SHARED | MAP_FIXED, memory, 0),
			MAP_FAILED);
	for (i = 0; i < ELEMENTS; i++)
		iov[i] = (struct iovec){map + size / ELEMENTS * i, size / ELEMENTS};
	fd = open(path_of("long"), O_RDWR | O_CREAT | O_TRUNC, 0600);
	assert_int_equal(pwrite(fd, right, tail, (off_t)(size - tail)), tail);
	assert_int_equal(fsync(fd), 0);
	close(fd);

	handle = open_file(world, "long", 0);
	for (i = 0; i < 2; i++) {
		read = (struct read){.group = &group};
		read.iov[0] = (struct iovec){map, size};
		read.request = (struct folio_io_request){
			.handle = handle,
			.iov = i ? iov : read.iov,
			.iov_count = i ? ELEMENTS : 1,
			.complete = completed,
		};
		memset(map + size - tail, 0xaa, tail);
		group.pending = 1;
		request = &read.request;
		world->ops->submit(world->context, &request, 1);
		group_wait(&group);
		assert_int_equal(read.result, size);
		assert_memory_equal(map + size - tail, right, tail);
	}
	world->ops->close(world->context, handle);
	unlink(path_of("long"));
	munmap(map, size);
	close(memory);
}

/* The bytes of the file stay right while it grows and shrinks, and nothing hangs. */
struct resizer {
	int fd;
	uint64_t random;
	folio_u32 stop;
};

static void *run_resizer(void *arg)
{
	struct resizer *resizer = arg;
	unsigned char data[64];
	uint64_t size;

	while (!folio_u32_load_relaxed(&resizer->stop)) {
		size = draw(&resizer->random, 20 * PAGE);
		if (ftruncate(resizer->fd, (off_t)size) < 0)
			break;
		fill_right(data, size, sizeof(data));
		if (pwrite(resizer->fd, data, sizeof(data), (off_t)size) < 0)
			break;
	}
	return NULL;
}

static void test_resized(void **state)
{
	struct resizer resizer = {.random = seed + 5};
	struct group group = GROUP_INIT;
	struct folio_io_request *request;
	struct world *world = *state;
	uint64_t random = seed, offset;
	pthread_t thread;
	struct read *read;
	void *handle;
	unsigned i;
	ssize_t k;

	make_file("resized", 20 * PAGE);
	resizer.fd = open(path_of("resized"), O_RDWR);
	handle = open_file(world, "resized", 0);
	assert_int_equal(pthread_create(&thread, NULL, run_resizer, &resizer), 0);
	for (i = 0; i < 200 * scale; i++) {
		offset = draw(&random, 20) * PAGE;
		read = read_new(&group, handle, offset, 8, 1, &random);
		request = &read->request;
		world->ops->submit(world->context, &request, 1);
		group_wait(&group);
		assert_true(read->result >= 0 && read->result <= 8 * PAGE);
		for (k = 0; k < read->result; k++) {
			if (read->memory[k] && read->memory[k] != right_byte(offset + (uint64_t)k))
				fail_msg("byte %zu is wrong", (size_t)offset + (size_t)k);
		}
		read_free(read);
	}
	folio_u32_store_relaxed(&resizer.stop, 1);
	pthread_join(thread, NULL);
	close(resizer.fd);
	world->ops->close(world->context, handle);
}

/* Every read from a descriptor that is open for writing only returns -EBADF. */
static void test_read_errors(void **state)
{
	struct group group = GROUP_INIT;
	struct folio_io_request *request;
	struct world *world = *state;
	uint64_t random = seed;
	struct read *read;
	void *handle;

	make_file("errors", 10 * PAGE);
	assert_int_equal(
		world->ops->open(world->context, path_of("errors"), O_WRONLY, 0, 0, &handle), 0);
	read = read_new(&group, handle, 0, 4, 2, &random);
	assert_int_equal(world->ops->read(world->context, handle, read->iov, 2, 0), -EBADF);
	request = &read->request;
	world->ops->submit(world->context, &request, 1);
	group_wait(&group);
	assert_int_equal(read->result, -EBADF);
	read_free(read);
	world->ops->close(world->context, handle);
}

/*
 * A file whose reads and writes fail with EAGAIN or EINTR, a few times or for ever. A ring gets
 * EINVAL, because of the offset, and leaves the request to a thread.
 */
static void expect_tries(
	struct world *world, struct io_file *file, uint32_t op, int error, unsigned failures)
{
	struct group group = GROUP_INIT;
	struct folio_io_request *request;
	uint64_t random = seed;
	struct read *read;
	bool lasting = failures >= IO_TRIES;
	ssize_t expected = lasting ? -error : 4 * (ssize_t)PAGE;
	unsigned calls = lasting ? IO_TRIES : failures + 1;

	read = read_new(&group, file, UINT64_C(1) << 63, 4, 2, &random);
	read->request.op = op;
	request = &read->request;
	if (op == FOLIO_IO_READ) {
		calls_fail(file->fd, error, failures, true);
		assert_int_equal(
			world->ops->read(world->context, file, read->iov, 2, UINT64_C(1) << 63),
			expected);
		assert_int_equal(calls_made(), calls);
	}
	calls_fail(file->fd, error, failures, true);
	world->ops->submit(world->context, &request, 1);
	group_wait(&group);
	assert_int_equal(read->completed, 1);
	assert_int_equal(read->result, expected);
	assert_int_equal(calls_made(), calls);
	calls_fail(-1, 0, 0, false);
	read_free(read);
}

static void test_again(void **state)
{
	static const int errors[] = {EAGAIN, EINTR};
	static const unsigned failures[] = {3, UINT_MAX};
	struct io_file file = {.buffered = -1};
	unsigned i, k;

	make_file("again", 10 * PAGE);
	file.fd = open(path_of("again"), O_RDWR);
	assert_true(file.fd >= 0);
	folio_u32_store_relaxed(&file.direct, 1);
	for (i = 0; i < 2; i++) {
		for (k = 0; k < 2; k++) {
			expect_tries(*state, &file, FOLIO_IO_READ, errors[i], failures[k]);
			expect_tries(*state, &file, FOLIO_IO_WRITE, errors[i], failures[k]);
		}
	}
	close(file.fd);
}

/* Files of procfs are regular and refuse O_DIRECT; their size is 0, yet they have bytes. */
static void test_no_direct(void **state)
{
	struct group group = GROUP_INIT;
	struct folio_io_request *request;
	struct world *world = *state;
	char expected[PAGE] = "";
	uint64_t random = seed;
	struct read *read;
	ssize_t len;
	void *handle;
	int fd;

	fd = open("/proc/version", O_RDONLY);
	len = pread(fd, expected, sizeof(expected), 0);
	assert_true(len > 0);
	close(fd);
	assert_int_equal(
		world->ops->open(world->context, "/proc/version", O_RDONLY, 0, 0, &handle), 0);
	assert_false(io_file_direct(handle));
	/* Nor can they be read without blocking. */
	assert_true(((struct io_file *)handle)->blocks);
	read = read_new(&group, handle, 0, 1, 1, &random);
	request = &read->request;
	world->ops->submit(world->context, &request, 1);
	group_wait(&group);
	assert_int_equal(read->result, len);
	assert_memory_equal(read->memory, expected, (size_t)len);
	read_free(read);
	world->ops->close(world->context, handle);
}

/*
 * Memory that direct I/O refuses stands in for a file system that refuses direct I/O only when it
 * reads.
 */
static void test_direct_fails(void **state)
{
	unsigned char *memory = aligned_alloc(PAGE, 3 * PAGE);
	struct group group = GROUP_INIT;
	struct folio_io_request *request;
	struct world *world = *state;
	struct iovec odd = {memory + 1, 2 * PAGE};
	uint64_t random = seed;
	struct read *read;
	void *handle;

	make_file("late", 10000);
	handle = open_file(world, "late", 0);
	check(&odd, PAGE, 2 * PAGE, 10000, world->ops->read(world->context, handle, &odd, 1, PAGE));
	world->ops->close(world->context, handle);

	handle = open_file(world, "late", 0);
	memset(memory, 0, 3 * PAGE);
	read = read_new(&group, handle, PAGE, 2, 1, &random);
	request = &read->request;
	read->iov[0].iov_base = memory + 1;
	world->ops->submit(world->context, &request, 1);
	group_wait(&group);
	read_check_and_free(read, PAGE, 10000);
	world->ops->close(world->context, handle);
	free(memory);
}

#endif
