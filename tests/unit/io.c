/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The library's own backends, each put through the same tests on real files. What is right is what
 * pread of the same range answers. Files lie in TMPDIR, or /var/tmp, where direct I/O works as a
 * rule.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <folio/folio.h>

#include "io.h"

#define PAGE FOLIO_PAGE_SIZE

static char directory[256];
static uint64_t seed = 1;
static unsigned scale = 1;

/* The beginning of every file of make_file, as right_byte says. */
#define RANDOM_SIZE (3 * 1024 * 1024 + 777)
static unsigned char right[RANDOM_SIZE];

static uint64_t draw(uint64_t *state, uint64_t below)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state % below;
}

/* ---- files ---- */

static char *path_of(const char *name)
{
	static _Thread_local char path[512];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return path;
}

static unsigned char right_byte(uint64_t offset)
{
	uint64_t word = (offset / 8 + 1) * 0x9e3779b97f4a7c15u;

	return (unsigned char)(word >> (offset % 8 * 8));
}

static void fill_right(unsigned char *data, uint64_t offset, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		data[i] = right_byte(offset + i);
}

/* A file of @size bytes, each as right_byte says. */
static void make_file(const char *name, size_t size)
{
	int fd = open(path_of(name), O_RDWR | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, right, size), size);
	assert_int_equal(fsync(fd), 0);
	close(fd);
}

static unsigned count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned count = 0;

	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

/* ---- requests ---- */

/* What a group of requests waits on. */
struct group {
	pthread_mutex_t lock;
	pthread_cond_t done;
	unsigned pending;
};

#define GROUP_INIT                                                     \
	{                                                              \
		PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0 \
	}

/* A request with memory of its own. completed must go from 0 to 1 once. */
struct read {
	struct folio_io_request request;
	struct iovec iov[FOLIO_IO_IOV_MAX];
	unsigned char *memory;
	size_t wanted;
	struct group *group;
	ssize_t result;
	unsigned completed;
};

static void completed(struct folio_io_request *request, ssize_t result)
{
	struct read *read = (struct read *)request;
	struct group *group = read->group;

	read->result = result;
	read->completed++;
	/* The request is the caller's again: what the backend still has in it must not matter. */
	memset(&read->request, 0xee, sizeof(read->request));
	pthread_mutex_lock(&group->lock);
	if (--group->pending == 0)
		pthread_cond_signal(&group->done);
	pthread_mutex_unlock(&group->lock);
}

static void group_wait(struct group *group)
{
	pthread_mutex_lock(&group->lock);
	while (group->pending)
		pthread_cond_wait(&group->done, &group->lock);
	pthread_mutex_unlock(&group->lock);
}

/* @pages pages in @parts parts, of lengths drawn at random, in memory that is not in order. */
static struct read *read_new(struct group *group, void *handle, uint64_t offset, unsigned pages,
	unsigned parts, uint64_t *random)
{
	struct read *read = calloc(1, sizeof(*read));
	unsigned i, left = pages, len;
	unsigned char *end;

	assert_non_null(read);
	/* Rotated by the last part, so that parts do not follow one another in memory. */
	read->wanted = (size_t)pages * PAGE;
	read->memory = aligned_alloc(PAGE, read->wanted);
	assert_non_null(read->memory);
	memset(read->memory, 0xaa, read->wanted);
	end = read->memory + read->wanted;
	for (i = 0; i < parts; i++) {
		len = i == parts - 1 ? left : 1 + (unsigned)draw(random, left - (parts - 1 - i));
		left -= len;
		end -= (size_t)len * PAGE;
		read->iov[i] = (struct iovec){end, (size_t)len * PAGE};
	}
	read->group = group;
	read->request = (struct folio_io_request){
		.handle = handle,
		.offset = offset,
		.iov = read->iov,
		.iov_count = parts,
		.complete = completed,
	};
	pthread_mutex_lock(&group->lock);
	group->pending++;
	pthread_mutex_unlock(&group->lock);
	return read;
}

static void read_free(struct read *read)
{
	free(read->memory);
	free(read);
}

/* Check the bytes of a read of a file of make_file that has @size bytes, RANDOM_SIZE at most. */
static void check(
	const struct iovec *iov, uint64_t offset, size_t wanted, size_t size, ssize_t result)
{
	size_t expected = offset < size ? size - offset : 0, done, part, i;
	const unsigned char *data;

	if (expected > wanted)
		expected = wanted;
	assert_int_equal(result, expected);
	for (done = 0; done < expected; done += part, iov++) {
		data = iov->iov_base;
		part = iov->iov_len < expected - done ? iov->iov_len : expected - done;
		if (memcmp(data, right + offset + done, part) == 0)
			continue;
		for (i = 0; data[i] == right[offset + done + i]; i++)
			;
		fail_msg("byte %zu is wrong", (size_t)offset + done + i);
	}
}

static void read_check_and_free(struct read *read, uint64_t offset, size_t size)
{
	assert_int_equal(read->completed, 1);
	check(read->iov, offset, read->wanted, size, read->result);
	read_free(read);
}

/* ---- one backend ---- */

struct world {
	const struct folio_io_ops *ops;
	void *context;
	unsigned depth;
};

static int start(void **state, const struct folio_io_ops *ops, unsigned depth)
{
	struct world *world = calloc(1, sizeof(*world));
	int error;

	world->ops = ops;
	world->depth = depth;
	error = ops->create(&world->context, depth);
	*state = world;
	if (error)
		print_message("%s: create: %s\n", ops->name, strerror(-error));
	return error;
}

static int start_uring(void **state)
{
	return start(state, &folio_io_uring, 32);
}

static int start_threads(void **state)
{
	return start(state, &folio_io_threads, 32);
}

static int stop(void **state)
{
	struct world *world = *state;

	world->ops->destroy(world->context);
	free(world);
	return 0;
}

static void *open_file(struct world *world, const char *name, unsigned io_flags)
{
	void *handle;

	assert_int_equal(
		world->ops->open(world->context, path_of(name), O_RDONLY, 0, io_flags, &handle), 0);
	return handle;
}

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

/* Random ranges in batches of random size, some past the end. */
static void random_reads(struct world *world, void *handle, uint64_t random, unsigned rounds)
{
	enum { BATCH = 64 };
	struct folio_io_request *requests[BATCH];
	struct group group = GROUP_INIT;
	struct read *reads[BATCH];
	uint64_t offsets[BATCH];
	unsigned i, count, pages, parts;

	while (rounds--) {
		count = 1 + (unsigned)draw(&random, BATCH);
		for (i = 0; i < count; i++) {
			pages = 1 + (unsigned)draw(&random, draw(&random, 8) ? 4 : 128);
			parts = 1 + (unsigned)draw(&random,
					    pages < FOLIO_IO_IOV_MAX ? pages : FOLIO_IO_IOV_MAX);
			offsets[i] = draw(&random, RANDOM_SIZE / PAGE + 4) * PAGE;
			reads[i] = read_new(&group, handle, offsets[i], pages, parts, &random);
			requests[i] = &reads[i]->request;
		}
		world->ops->submit(world->context, requests, count);
		group_wait(&group);
		for (i = 0; i < count; i++)
			read_check_and_free(reads[i], offsets[i], RANDOM_SIZE);
	}
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

struct submitter {
	struct world *world;
	void *handle;
	uint64_t random;
};

static void *run_submitter(void *arg)
{
	struct submitter *submitter = arg;

	random_reads(submitter->world, submitter->handle, submitter->random, 15 * scale);
	return NULL;
}

/* Four of them, with up to 64 requests each, share 32 places. */
static void test_submitters(void **state)
{
	struct submitter submitter[4];
	struct world *world = *state;
	pthread_t thread[4];
	unsigned i;
	void *handle;

	make_file("random", RANDOM_SIZE);
	handle = open_file(world, "random", 0);
	for (i = 0; i < 4; i++) {
		submitter[i] = (struct submitter){world, handle, seed + 10 + i};
		assert_int_equal(pthread_create(&thread[i], NULL, run_submitter, &submitter[i]), 0);
	}
	for (i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	world->ops->close(world->context, handle);
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
 * More than the kernel reads at once, so that reads come short in the middle of a vector and of an
 * element. The memory is one piece that is mapped again and again, the file is a hole with a few
 * bytes at its end.
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

/* Bytes that are there stay right while the file grows and shrinks, and nothing hangs. */
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

static int try_open(struct world *world, const char *path, int flags)
{
	void *handle;
	int error = world->ops->open(world->context, path, flags, 0, 0, &handle);

	if (!error)
		world->ops->close(world->context, handle);
	return error;
}

static void test_open_errors(void **state)
{
	struct world *world = *state;
	unsigned before = count_fds();

	assert_int_equal(try_open(world, path_of("none"), O_RDONLY), -ENOENT);
	assert_int_equal(try_open(world, directory, O_RDONLY), -EISDIR);
	assert_int_equal(try_open(world, "/dev/null", O_RDONLY), -EINVAL);
	assert_int_equal(mkfifo(path_of("fifo"), 0600), 0);
	assert_int_equal(try_open(world, path_of("fifo"), O_RDONLY), -EINVAL);
	unlink(path_of("fifo"));
	make_file("target", 1);
	assert_int_equal(symlink("target", path_of("link")), 0);
	assert_int_equal(try_open(world, path_of("link"), O_RDONLY | O_NOFOLLOW), -ELOOP);
	assert_int_equal(try_open(world, path_of("link"), O_RDONLY), 0);
	unlink(path_of("link"));
	if (geteuid() != 0) {
		assert_int_equal(chmod(path_of("target"), 0), 0);
		assert_int_equal(try_open(world, path_of("target"), O_RDONLY), -EACCES);
	}
	unlink(path_of("target"));
	assert_int_equal(count_fds(), before);
}

/* A descriptor that is open for writing only answers EBADF to every read. */
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

static void test_attributes(void **state)
{
	struct timespec times[2] = {{0, UTIME_OMIT}, {1234567, 89}};
	struct folio_io_attr first, second;
	struct world *world = *state;
	struct io_file *file;
	void *handle, *again;
	struct stat st;
	int flags;

	/*
	 * Created by the open: this must work in one go, whether the file system has direct I/O or
	 * not.
	 */
	unlink(path_of("attributes"));
	assert_int_equal(world->ops->open(world->context, path_of("attributes"),
				 O_RDWR | O_CREAT | O_EXCL, 0600, 0, &handle),
		0);
	assert_int_equal(stat(path_of("attributes"), &st), 0);
	assert_int_equal(utimensat(AT_FDCWD, path_of("attributes"), times, 0), 0);
	assert_int_equal(truncate(path_of("attributes"), 0), 0);
	assert_int_equal(utimensat(AT_FDCWD, path_of("attributes"), times, 0), 0);

	again = open_file(world, "attributes", FOLIO_IO_BUFFERED);
	assert_int_equal(world->ops->getattr(world->context, handle, &first), 0);
	assert_int_equal(world->ops->getattr(world->context, again, &second), 0);
	assert_memory_equal(&first, &second, sizeof(first));
	assert_int_equal(first.device, st.st_dev);
	assert_int_equal(first.inode, st.st_ino);
	assert_int_equal(first.size, 0);
	assert_int_equal(first.mtime_sec, 1234567);
	assert_int_equal(first.mtime_nsec, 89);
	assert_int_equal(truncate(path_of("attributes"), 12345), 0);
	assert_int_equal(world->ops->getattr(world->context, handle, &first), 0);
	assert_int_equal(first.size, 12345);

	file = handle;
	flags = fcntl(file->fd, F_GETFL);
	assert_int_equal(!!(flags & O_DIRECT), io_file_direct(file));
	assert_int_equal(flags & O_NONBLOCK, 0);
	assert_true(fcntl(file->fd, F_GETFD) & FD_CLOEXEC);
	file = again;
	assert_int_equal(fcntl(file->fd, F_GETFL) & (O_DIRECT | O_NONBLOCK), 0);
	assert_false(io_file_direct(file));
	world->ops->close(world->context, handle);
	world->ops->close(world->context, again);
}

/* Files of procfs are regular, refuse O_DIRECT, and have a size of 0 but bytes nevertheless. */
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
 * Memory that direct I/O refuses stands in for a file system that finds out late that it cannot do
 * it.
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

/* What depth promises, seen from outside: requests that submit took and that did not complete. */
struct gate {
	pthread_mutex_t lock;
	pthread_cond_t moved;
	unsigned returned, finished, total, depth;
};

struct gated {
	struct folio_io_request request;
	struct iovec iov;
	struct gate *gate;
};

/*
 * Nothing completes before depth requests are in: a backend that lets in fewer hangs. Then callers
 * and completions run side by side, and one that lets in more is found out.
 */
static void pass_gate(struct folio_io_request *request, ssize_t result)
{
	struct gate *gate = ((struct gated *)request)->gate;

	assert_int_equal(result, PAGE);
	free(((struct gated *)request)->iov.iov_base);
	free(request);
	pthread_mutex_lock(&gate->lock);
	while (gate->returned < gate->depth)
		pthread_cond_wait(&gate->moved, &gate->lock);
	gate->finished++;
	pthread_cond_broadcast(&gate->moved);
	pthread_mutex_unlock(&gate->lock);
}

static void test_depth(void **state)
{
	static const unsigned depths[] = {1, 2, 7};
	struct world *world = *state;
	struct folio_io_request *request;
	struct gated *gated;
	unsigned d, i, round;
	void *context, *handle;

	make_file("depth", 64 * PAGE);
	for (d = 0; d < 3; d++) {
		struct gate gate = {
			PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, 0, 0};

		gate.depth = depths[d];
		assert_int_equal(world->ops->create(&context, depths[d]), 0);
		assert_int_equal(
			world->ops->open(context, path_of("depth"), O_RDONLY, 0, 0, &handle), 0);
		for (round = 0; round < 20 * scale; round++) {
			gate.total = 3 * depths[d] + 5;
			gate.returned = gate.finished = 0;
			for (i = 0; i < gate.total; i++) {
				gated = calloc(1, sizeof(*gated));
				gated->gate = &gate;
				gated->iov = (struct iovec){aligned_alloc(PAGE, PAGE), PAGE};
				gated->request = (struct folio_io_request){
					.handle = handle,
					.offset = i * PAGE,
					.iov = &gated->iov,
					.iov_count = 1,
					.complete = pass_gate,
				};
				request = &gated->request;
				world->ops->submit(context, &request, 1);
				pthread_mutex_lock(&gate.lock);
				gate.returned++;
				assert_true(gate.returned - gate.finished <= gate.depth);
				pthread_cond_broadcast(&gate.moved);
				pthread_mutex_unlock(&gate.lock);
			}
			pthread_mutex_lock(&gate.lock);
			while (gate.finished < gate.total)
				pthread_cond_wait(&gate.moved, &gate.lock);
			pthread_mutex_unlock(&gate.lock);
		}
		world->ops->close(context, handle);
		world->ops->destroy(context);
	}
}

/* Far more in one call than may be in flight. */
static void test_many(void **state)
{
	enum { COUNT = 3000 };
	struct folio_io_request **requests = calloc(COUNT, sizeof(*requests));
	struct read **reads = calloc(COUNT, sizeof(struct read *));
	struct group group = GROUP_INIT;
	struct world *world = *state;
	uint64_t random = seed;
	void *handle;
	unsigned i;

	make_file("many", 100 * PAGE);
	handle = open_file(world, "many", 0);
	for (i = 0; i < COUNT; i++) {
		reads[i] = read_new(&group, handle, i % 100 * PAGE, 1, 1, &random);
		requests[i] = &reads[i]->request;
	}
	world->ops->submit(world->context, requests, COUNT);
	group_wait(&group);
	for (i = 0; i < COUNT; i++)
		read_check_and_free(reads[i], i % 100 * PAGE, 100 * PAGE);
	world->ops->close(world->context, handle);
	free(reads);
	free(requests);
}

struct leaver {
	struct world *world;
	struct folio_io_request *requests[32];
};

static void *submit_and_leave(void *arg)
{
	struct leaver *leaver = arg;

	leaver->world->ops->submit(leaver->world->context, leaver->requests, 32);
	return NULL;
}

/* A thread that submits and ends at once takes nothing with it. */
static void test_leaver(void **state)
{
	struct group group = GROUP_INIT;
	struct leaver leaver = {.world = *state};
	struct world *world = *state;
	struct read *reads[32];
	uint64_t random = seed;
	pthread_t thread;
	unsigned i, round, flags;
	void *handle;
	int fd;

	make_file("random", RANDOM_SIZE);
	for (round = 0; round < 10 * scale; round++) {
		/* Buffered reads of pages that the kernel does not have are those it puts off. */
		flags = round % 2 ? FOLIO_IO_BUFFERED : 0;
		handle = open_file(world, "random", flags);
		fd = open(path_of("random"), O_RDONLY);
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		close(fd);
		for (i = 0; i < 32; i++) {
			reads[i] = read_new(&group, handle, i * 20 * PAGE, 2, 1, &random);
			leaver.requests[i] = &reads[i]->request;
		}
		assert_int_equal(pthread_create(&thread, NULL, submit_and_leave, &leaver), 0);
		pthread_join(thread, NULL);
		group_wait(&group);
		for (i = 0; i < 32; i++)
			read_check_and_free(reads[i], i * 20 * PAGE, RANDOM_SIZE);
		world->ops->close(world->context, handle);
	}
}

struct waker {
	struct folio_io_request request;
	struct iovec iov;
	int event;
};

static void wake(struct folio_io_request *request, ssize_t result)
{
	eventfd_write(((struct waker *)request)->event, (eventfd_t)result);
}

/*
 * A program that waits for something else while its reads are in flight is not disturbed by EINTR.
 */
static void test_undisturbed(void **state)
{
	struct epoll_event event = {.events = EPOLLIN};
	struct world *world = *state;
	struct waker waker = {.event = eventfd(0, 0)};
	struct folio_io_request *request = &waker.request;
	uint64_t random = seed;
	eventfd_t value;
	unsigned i;
	void *handle;
	int poll = epoll_create1(0);

	make_file("random", RANDOM_SIZE);
	handle = open_file(world, "random", 0);
	assert_int_equal(epoll_ctl(poll, EPOLL_CTL_ADD, waker.event, &event), 0);
	waker.iov = (struct iovec){aligned_alloc(PAGE, PAGE), PAGE};
	for (i = 0; i < 100 * scale; i++) {
		waker.request = (struct folio_io_request){
			.handle = handle,
			.offset = draw(&random, RANDOM_SIZE / PAGE) * PAGE,
			.iov = &waker.iov,
			.iov_count = 1,
			.complete = wake,
		};
		world->ops->submit(world->context, &request, 1);
		assert_int_equal(epoll_wait(poll, &event, 1, -1), 1);
		assert_int_equal(eventfd_read(waker.event, &value), 0);
		assert_int_equal(value, PAGE);
	}
	free(waker.iov.iov_base);
	world->ops->close(world->context, handle);
	close(poll);
	close(waker.event);
}

static void test_start_stop(void **state)
{
	struct group group = GROUP_INIT;
	struct folio_io_request *request;
	struct world *world = *state;
	unsigned i, fds = count_fds();
	uint64_t random = seed;
	void *context, *handle;
	struct read *read;

	make_file("start", PAGE);
	assert_int_equal(world->ops->create(&context, 0), -EINVAL);
	for (i = 0; i < 30 * scale; i++) {
		assert_int_equal(world->ops->create(&context, 1 + i % 5), 0);
		if (i % 3) {
			assert_int_equal(world->ops->open(context, path_of("start"), O_RDONLY, 0, 0,
						 &handle),
				0);
			read = read_new(&group, handle, 0, 1, 1, &random);
			request = &read->request;
			world->ops->submit(context, &request, 1);
			group_wait(&group);
			read_check_and_free(read, 0, PAGE);
			world->ops->close(context, handle);
		}
		world->ops->destroy(context);
	}
	assert_int_equal(count_fds(), fds);
}

/* The backend's threads have names and take no signals. */
static void test_threads(void **state)
{
	const char *name;
	struct world *world = *state;
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;
	char path[300], line[256];
	unsigned found = 0;
	sigset_t own;

	name = world->ops == &folio_io_uring ? "folio-uring\n" : "folio-io\n";
	while ((entry = readdir(dir))) {
		unsigned long long blocked = 0;
		FILE *file;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
		file = fopen(path, "r");
		if (!file)
			continue;
		if (!fgets(line, sizeof(line), file))
			line[0] = 0;
		fclose(file);
		if (strcmp(line, name) != 0)
			continue;
		found++;
		snprintf(path, sizeof(path), "/proc/self/task/%s/status", entry->d_name);
		file = fopen(path, "r");
		while (fgets(line, sizeof(line), file))
			sscanf(line, "SigBlk: %llx", &blocked);
		fclose(file);
		/* Bits of signals 1 .. 31 but for SIGKILL and SIGSTOP, which nobody can block. */
		assert_int_equal(blocked & 0x7ffbfeffu, 0x7ffbfeffu);
	}
	closedir(dir);
	assert_true(found >= 1);
	/* The caller's own mask is as it was. */
	pthread_sigmask(SIG_SETMASK, NULL, &own);
	assert_false(sigismember(&own, SIGINT));
}

/* Somebody who holds a lease on the file is asked to give it back, and waited for. */
static void *give_lease_back(void *arg)
{
	sigset_t set;
	int got;

	sigemptyset(&set);
	sigaddset(&set, SIGIO);
	sigwait(&set, &got);
	fcntl(*(int *)arg, F_SETLEASE, F_UNLCK);
	return NULL;
}

static void test_lease(void **state)
{
	sigset_t set, old;
	pthread_t thread;
	int fd;

	make_file("lease", 10);
	fd = open(path_of("lease"), O_RDONLY);
	sigemptyset(&set);
	sigaddset(&set, SIGIO);
	pthread_sigmask(SIG_BLOCK, &set, &old);
	if (fcntl(fd, F_SETLEASE, F_WRLCK) < 0) {
		print_message("no leases here: %s\n", strerror(errno));
	} else {
		assert_int_equal(pthread_create(&thread, NULL, give_lease_back, &fd), 0);
		assert_int_equal(try_open(*state, path_of("lease"), O_RDONLY), 0);
		pthread_join(thread, NULL);
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	close(fd);
}

/* ---- writes ---- */

/* What a file must have. */
struct model {
	unsigned char *data; /* of capacity; zeros behind size */
	size_t size, capacity;
};

static void model_init(struct model *model, size_t capacity)
{
	*model = (struct model){calloc(1, capacity), 0, capacity};
	assert_non_null(model->data);
}

static void model_truncate(struct model *model, size_t size)
{
	if (size < model->size)
		memset(model->data + size, 0, model->size - size);
	model->size = size;
}

/* The model's file is what is on the disk, by another descriptor. */
static void model_check(const struct model *model, const char *name)
{
	unsigned char *data = malloc(model->capacity + PAGE);
	int fd = open(path_of(name), O_RDONLY);
	size_t i;

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, data, model->capacity + PAGE, 0), model->size);
	close(fd);
	for (i = 0; i < model->size; i++)
		if (data[i] != model->data[i])
			fail_msg("byte %zu of %zu is %#x, not %#x", i, model->size, data[i],
				model->data[i]);
	free(data);
}

/* A write of @len bytes, drawn at random. */
static struct read *write_new(
	struct group *group, void *handle, uint64_t offset, size_t len, uint64_t *random)
{
	unsigned pages = (unsigned)((len + PAGE - 1) / PAGE), i;
	unsigned parts =
		1 + (unsigned)draw(random, pages < FOLIO_IO_IOV_MAX ? pages : FOLIO_IO_IOV_MAX);
	struct read *write = read_new(group, handle, offset, pages, parts, random);

	for (i = 0; i < write->wanted; i += sizeof(uint64_t)) {
		draw(random, 1);
		memcpy(write->memory + i, random, sizeof(uint64_t));
	}
	write->iov[parts - 1].iov_len -= write->wanted - len;
	write->wanted = len;
	write->request.op = FOLIO_IO_WRITE;
	return write;
}

/* The write that was at @offset has ended well: the model has it, too. */
static void write_model_and_free(struct read *write, struct model *model, uint64_t offset)
{
	const struct iovec *iov = write->iov;
	size_t done = 0;

	assert_int_equal(write->completed, 1);
	assert_int_equal(write->result, write->wanted);
	assert_true(offset + write->wanted <= model->capacity);
	for (; done < write->wanted; done += iov->iov_len, iov++)
		memcpy(model->data + offset + done, iov->iov_base, iov->iov_len);
	if (model->size < offset + done)
		model->size = offset + done;
	read_free(write);
}

static ssize_t write_now(struct world *world, struct read *write)
{
	struct folio_io_request *request = &write->request;

	world->ops->submit(world->context, &request, 1);
	group_wait(write->group);
	assert_int_equal(write->completed, 1);
	return write->result;
}

static void *open_writable(struct world *world, const char *name, int flags, unsigned io_flags)
{
	void *handle;

	assert_int_equal(world->ops->open(world->context, path_of(name), O_RDWR | flags, 0600,
				 io_flags, &handle),
		0);
	return handle;
}

/* Every length around the borders of blocks, on files that end before, in and behind the range. */
static void test_write_sizes(void **state)
{
	static const size_t sizes[] = {0, 1, 4095, 4096, 5000, 8192, 12800, 50000};
	static const size_t cuts[] = {0, 1, 511, 512, 513, 4000, 4095};
	struct group group = GROUP_INIT;
	struct world *world = *state;
	uint64_t random = seed, offset;
	unsigned i, k, flags, pages;
	struct folio_io_attr attr;
	struct model model;
	struct read *write;
	void *handle;
	bool direct;

	model_init(&model, 60000);
	for (flags = 0; flags <= FOLIO_IO_BUFFERED; flags++) {
		handle = open_writable(world, "sizes", O_CREAT | O_TRUNC, flags);
		direct = io_file_direct(handle);
		for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			for (k = 0; k < sizeof(cuts) / sizeof(cuts[0]); k++) {
				pages = 1 + (unsigned)draw(&random, 5);
				offset = draw(&random, 4) * PAGE;
				assert_int_equal(
					world->ops->truncate(world->context, handle, sizes[i]), 0);
				model_truncate(&model, sizes[i]);
				write = write_new(
					&group, handle, offset, pages * PAGE - cuts[k], &random);
				write_now(world, write);
				write_model_and_free(write, &model, offset);
				assert_int_equal(
					world->ops->getattr(world->context, handle, &attr), 0);
				assert_int_equal(attr.size, model.size);
				model_check(&model, "sizes");
			}
		}
		/* What ends inside a block is no reason to give up. */
		assert_int_equal(io_file_direct(handle), direct);
		world->ops->close(world->context, handle);
	}
	free(model.data);
}

/*
 * Batches of writes beside each other, none on another's pages, in @pages pages from @first on; read back, and
 * compared with the model, which has these pages alone.
 */
static void random_writes(struct world *world, void *handle, struct model *model, uint64_t first,
	unsigned pages, uint64_t random, unsigned rounds)
{
	enum { BATCH = 48 };
	struct folio_io_request *requests[BATCH];
	struct group group = GROUP_INIT;
	struct read *writes[BATCH], *read;
	uint64_t offsets[BATCH], page;
	unsigned i, count, len;
	size_t bytes;

	while (rounds--) {
		count = 0;
		for (page = draw(&random, 8); page < pages && count < BATCH;
			page += len + draw(&random, 6)) {
			len = 1 + (unsigned)draw(&random, draw(&random, 8) ? 3 : 80);
			if (len > pages - page)
				len = (unsigned)(pages - page);
			bytes = (size_t)len * PAGE - (draw(&random, 3) ? 0 : draw(&random, PAGE));
			offsets[count] = page * PAGE;
			writes[count] =
				write_new(&group, handle, (first + page) * PAGE, bytes, &random);
			requests[count] = &writes[count]->request;
			count++;
		}
		/* Not from the front to the end alone. */
		for (i = 1; i < count; i++) {
			unsigned k = (unsigned)draw(&random, i + 1);
			struct folio_io_request *other = requests[k];

			requests[k] = requests[i];
			requests[i] = other;
		}
		world->ops->submit(world->context, requests, count);
		group_wait(&group);
		for (i = 0; i < count; i++)
			write_model_and_free(writes[i], model, offsets[i]);
		if (draw(&random, 4) == 0)
			assert_int_equal(world->ops->sync(world->context, handle,
						 (unsigned)draw(&random, 2)),
				0);
		page = draw(&random, pages);
		read = read_new(&group, handle, (first + page) * PAGE, 1, 1, &random);
		bytes = model->size > page * PAGE ? model->size - page * PAGE : 0;
		bytes = bytes < PAGE ? bytes : PAGE;
		write_now(world, read);
		/* Others may have made the file longer than this part of it. */
		assert_true(read->result >= (ssize_t)bytes);
		assert_memory_equal(read->memory, model->data + page * PAGE, bytes);
		read_free(read);
	}
}

/* One thread, and the file changes its size and gets holes meanwhile. */
static void test_write_random(void **state)
{
	enum { PAGES = 300 };
	struct world *world = *state;
	uint64_t random = seed + 20, size, from, len;
	unsigned flags, round;
	struct model model;
	void *handle;
	int r;

	for (flags = 0; flags <= FOLIO_IO_BUFFERED; flags++) {
		model_init(&model, PAGES * PAGE);
		handle = open_writable(world, "writes", O_CREAT | O_TRUNC, flags);
		for (round = 0; round < 12 * scale; round++) {
			random_writes(world, handle, &model, 0, PAGES, random + round, 2);
			model_check(&model, "writes");
			size = draw(&random, 3) ? model.size : draw(&random, PAGES * PAGE);
			assert_int_equal(world->ops->truncate(world->context, handle, size), 0);
			model_truncate(&model, size);
			if (size < 2 * PAGE)
				continue;
			from = draw(&random, size / PAGE);
			len = 1 + draw(&random, size / PAGE - from);
			r = world->ops->punch(world->context, handle, from * PAGE, len * PAGE);
			if (r == 0)
				memset(model.data + from * PAGE, 0, len * PAGE);
			else
				assert_int_equal(r, -EOPNOTSUPP);
			model_check(&model, "writes");
		}
		assert_int_equal(world->ops->sync(world->context, handle, 0), 0);
		world->ops->close(world->context, handle);
		model_check(&model, "writes");
		free(model.data);
	}
}

struct writer {
	struct world *world;
	void *handle;
	struct model model;
	uint64_t first, random;
};

static void *run_writer(void *arg)
{
	struct writer *writer = arg;

	random_writes(writer->world, writer->handle, &writer->model, writer->first, 200,
		writer->random, 10 * scale);
	return NULL;
}

/* Four of them, each in its own part of one file. */
static void test_writers(void **state)
{
	enum { WRITERS = 4, PAGES = 200 };
	struct writer writer[WRITERS];
	struct world *world = *state;
	pthread_t thread[WRITERS];
	struct model all;
	unsigned i;
	void *handle;

	model_init(&all, WRITERS * PAGES * PAGE);
	handle = open_writable(world, "writers", O_CREAT | O_TRUNC, 0);
	for (i = 0; i < WRITERS; i++) {
		writer[i] = (struct writer){.world = world,
			.handle = handle,
			.first = i * PAGES,
			.random = seed + 30 + i};
		model_init(&writer[i].model, PAGES * PAGE);
		assert_int_equal(pthread_create(&thread[i], NULL, run_writer, &writer[i]), 0);
	}
	for (i = 0; i < WRITERS; i++) {
		pthread_join(thread[i], NULL);
		memcpy(all.data + i * PAGES * PAGE, writer[i].model.data, writer[i].model.size);
		if (writer[i].model.size)
			all.size = i * PAGES * PAGE + writer[i].model.size;
		free(writer[i].model.data);
	}
	model_check(&all, "writers");
	world->ops->close(world->context, handle);
	free(all.data);
}

static void test_write_errors(void **state)
{
	struct rlimit limit, small;
	struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
	struct group group = GROUP_INIT;
	struct world *world = *state;
	unsigned flags, i, fds = count_fds();
	uint64_t random = seed;
	struct folio_io_attr attr;
	struct read *write;
	ssize_t result[4];
	void *handle;
	int truncated;

	/* A descriptor that is open for reading only. */
	make_file("errors", 10 * PAGE);
	handle = open_file(world, "errors", 0);
	write = write_new(&group, handle, 0, 4 * PAGE, &random);
	assert_int_equal(write_now(world, write), -EBADF);
	read_free(write);
	world->ops->close(world->context, handle);

	/* What the process may not write: all of it; only its end, on a block's border and inside; the tail. */
	for (flags = 0; flags <= FOLIO_IO_BUFFERED; flags++) {
		static const size_t limits[] = {0, 2 * PAGE, 2 * PAGE + 1000, 3 * PAGE};

		handle = open_writable(world, "errors", O_TRUNC, flags);
		assert_int_equal(sigaction(SIGXFSZ, &ignore, &before), 0);
		assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
		small = limit;
		for (i = 0; i < 4; i++) {
			write = write_new(&group, handle, 0, 3 * PAGE + 100, &random);
			small.rlim_cur = limits[i];
			setrlimit(RLIMIT_FSIZE, &small);
			result[i] = write_now(world, write);
			setrlimit(RLIMIT_FSIZE, &limit);
			assert_int_equal(world->ops->getattr(world->context, handle, &attr), 0);
			assert_true(attr.size <= limits[i]);
			read_free(write);
		}
		small.rlim_cur = PAGE;
		setrlimit(RLIMIT_FSIZE, &small);
		truncated = world->ops->truncate(world->context, handle, 4 * PAGE);
		setrlimit(RLIMIT_FSIZE, &limit);
		sigaction(SIGXFSZ, &before, NULL);
		for (i = 0; i < 4; i++)
			assert_int_equal(result[i], -EFBIG);
		assert_int_equal(truncated, -EFBIG);
		world->ops->close(world->context, handle);
	}
	assert_int_equal(count_fds(), fds);
}

static void test_truncate_punch_sync(void **state)
{
	struct world *world = *state;
	struct folio_io_attr attr;
	struct model model;
	struct stat st;
	unsigned flags;
	void *handle;
	int r;

	model_init(&model, 200 * PAGE);
	for (flags = 0; flags <= FOLIO_IO_BUFFERED; flags++) {
		make_file("changed", 100 * PAGE);
		memcpy(model.data, right, 100 * PAGE);
		model.size = 100 * PAGE;
		handle = open_writable(world, "changed", 0, flags);

		assert_int_equal(world->ops->truncate(world->context, handle, 50 * PAGE + 10), 0);
		model_truncate(&model, 50 * PAGE + 10);
		model_check(&model, "changed");
		assert_int_equal(world->ops->truncate(world->context, handle, 120 * PAGE), 0);
		model_truncate(&model, 120 * PAGE);
		model_check(&model, "changed");
		assert_int_equal(world->ops->truncate(world->context, handle, UINT64_MAX), -EINVAL);

		r = world->ops->punch(world->context, handle, 3 * PAGE, 40 * PAGE);
		if (r) {
			assert_int_equal(r, -EOPNOTSUPP);
		} else {
			memset(model.data + 3 * PAGE, 0, 40 * PAGE);
			assert_int_equal(stat(path_of("changed"), &st), 0);
			assert_true(st.st_blocks * 512 < 40 * PAGE);
		}
		model_check(&model, "changed");

		assert_int_equal(world->ops->sync(world->context, handle, 0), 0);
		assert_int_equal(world->ops->sync(world->context, handle, FOLIO_IO_DATA_ONLY), 0);
		assert_int_equal(world->ops->getattr(world->context, handle, &attr), 0);
		assert_int_equal(attr.size, 120 * PAGE);
		world->ops->close(world->context, handle);

		/* Not by who may only read. */
		handle = open_file(world, "changed", flags);
		assert_int_equal(world->ops->truncate(world->context, handle, 0), -EINVAL);
		assert_int_equal(world->ops->punch(world->context, handle, 0, PAGE), -EBADF);
		world->ops->close(world->context, handle);
		model_check(&model, "changed");
	}
	free(model.data);
}

static void test_open_writable(void **state)
{
	struct group group = GROUP_INIT;
	struct world *world = *state;
	struct rlimit limit, small;
	unsigned before = count_fds();
	struct io_file *file;
	struct folio_io_attr attr;
	uint64_t random = seed;
	struct read *write;
	struct model model;
	void *handle, *direct;
	int lowest, r;

	unlink(path_of("opened"));
	assert_int_equal(try_open(world, path_of("opened"), O_RDWR), -ENOENT);
	handle = open_writable(world, "opened", O_CREAT | O_EXCL | O_NOFOLLOW, 0);
	file = handle;
	assert_int_equal(fcntl(file->fd, F_GETFL) & O_ACCMODE, O_RDWR);
	/* The second descriptor: of the same file, buffered, and inherited by nobody. */
	if (io_file_direct(file)) {
		assert_true(file->buffered >= 0);
		assert_int_equal(
			fcntl(file->buffered, F_GETFL) & (O_ACCMODE | O_DIRECT | O_NONBLOCK),
			O_RDWR);
		assert_true(fcntl(file->buffered, F_GETFD) & FD_CLOEXEC);
	}
	assert_int_equal(try_open(world, path_of("opened"), O_RDWR | O_CREAT | O_EXCL), -EEXIST);
	assert_int_equal(try_open(world, path_of("opened"), O_RDWR | O_APPEND), -EINVAL);
	model_init(&model, 10 * PAGE);
	write = write_new(&group, handle, PAGE, 3 * PAGE + 5, &random);
	write_now(world, write);
	write_model_and_free(write, &model, PAGE);
	world->ops->close(world->context, handle);
	model_check(&model, "opened");

	handle = open_writable(world, "opened", O_CREAT, 0);
	assert_int_equal(world->ops->getattr(world->context, handle, &attr), 0);
	assert_int_equal(attr.size, 4 * PAGE + 5);
	world->ops->close(world->context, handle);
	handle = open_writable(world, "opened", O_TRUNC, 0);
	assert_int_equal(world->ops->getattr(world->context, handle, &attr), 0);
	assert_int_equal(attr.size, 0);
	model_truncate(&model, 0);

	/* Room for one descriptor, but not for two: the file does without direct I/O. */
	lowest = dup(0);
	close(lowest);
	getrlimit(RLIMIT_NOFILE, &limit);
	small = limit;
	small.rlim_cur = (rlim_t)lowest + 1;
	setrlimit(RLIMIT_NOFILE, &small);
	r = world->ops->open(world->context, path_of("opened"), O_RDWR, 0, 0, &direct);
	setrlimit(RLIMIT_NOFILE, &limit);
	assert_int_equal(r, 0);
	assert_false(io_file_direct(direct));
	write = write_new(&group, direct, 0, 3 * PAGE + 5, &random);
	write_now(world, write);
	write_model_and_free(write, &model, 0);
	world->ops->close(world->context, direct);
	world->ops->close(world->context, handle);
	model_check(&model, "opened");
	free(model.data);
	assert_int_equal(count_fds(), before);
}

/* Memory that direct I/O refuses, written. */
static void test_write_direct_fails(void **state)
{
	struct group group = GROUP_INIT;
	struct world *world = *state;
	uint64_t random = seed;
	struct read *write;
	struct model model;
	void *handle;

	model_init(&model, 10 * PAGE);
	handle = open_writable(world, "late", O_CREAT | O_TRUNC, 0);
	write = write_new(&group, handle, PAGE, PAGE + 100, &random);
	write->iov[0] = (struct iovec){write->memory + 1, PAGE + 100};
	write->request.iov_count = 1;
	write_now(world, write);
	write_model_and_free(write, &model, PAGE);
	world->ops->close(world->context, handle);
	model_check(&model, "late");
	free(model.data);
}

/* ---- what the backends share ---- */

/* How attempts are judged that a real file can hardly be brought to. */
static void test_repeat(void **state)
{
	struct io_file *file;
	size_t done = 0;
	ssize_t result;
	void *handle;

	make_file("repeat", 10000);
	assert_int_equal(io_file_open(NULL, path_of("repeat"), O_RDONLY, 0, 0, &handle), 0);
	file = handle;
	folio_u32_store_relaxed(&file->direct, 1);

	/* Whole; at the end of the file; behind it. */
	result = 8192;
	assert_false(io_file_repeat(file, FOLIO_IO_READ, 0, 8192, true, &done, &result));
	assert_int_equal(result, 8192);
	done = 4096;
	result = 10000 - 4096;
	assert_false(io_file_repeat(file, FOLIO_IO_READ, 0, 16384, true, &done, &result));
	assert_int_equal(result, 10000);
	done = 0;
	result = 0;
	assert_false(io_file_repeat(file, FOLIO_IO_READ, 12288, 4096, true, &done, &result));
	assert_int_equal(result, 0);

	/* A short read on a block's border goes on, and stays direct. */
	done = 0;
	result = 4096;
	assert_true(io_file_repeat(file, FOLIO_IO_READ, 0, 16384, true, &done, &result));
	assert_int_equal(done, 4096);
	assert_true(io_file_direct(file));

	/* Nothing new is the end. An error after some bytes is an error. */
	result = 0;
	assert_false(io_file_repeat(file, FOLIO_IO_READ, 0, 16384, true, &done, &result));
	assert_int_equal(result, 4096);
	result = -EIO;
	assert_false(io_file_repeat(file, FOLIO_IO_READ, 0, 16384, true, &done, &result));
	assert_int_equal(result, -EIO);

	/* What is no error. */
	result = -EINTR;
	assert_true(io_file_repeat(file, FOLIO_IO_READ, 0, 16384, true, &done, &result));
	result = -EAGAIN;
	assert_true(io_file_repeat(file, FOLIO_IO_READ, 0, 16384, true, &done, &result));
	assert_int_equal(done, 4096);

	/* EINVAL from a buffered attempt is final, from a direct one it ends direct I/O. */
	result = -EINVAL;
	assert_false(io_file_repeat(file, FOLIO_IO_READ, 0, 16384, false, &done, &result));
	assert_int_equal(result, -EINVAL);
	assert_true(io_file_direct(file));
	assert_true(io_file_repeat(file, FOLIO_IO_READ, 0, 16384, true, &done, &result));
	assert_false(io_file_direct(file));
	assert_int_equal(fcntl(file->fd, F_GETFL) & O_DIRECT, 0);
	/* Another thread's attempt that was under way then. */
	result = -EINVAL;
	assert_true(io_file_repeat(file, FOLIO_IO_READ, 0, 16384, true, &done, &result));

	/* A write goes on from wherever it stopped, and is an error when it does not get on. */
	done = 0;
	result = 5000;
	assert_true(io_file_repeat(file, FOLIO_IO_WRITE, 0, 9000, true, &done, &result));
	assert_int_equal(done, 5000);
	result = 0;
	assert_false(io_file_repeat(file, FOLIO_IO_WRITE, 0, 9000, false, &done, &result));
	assert_int_equal(result, -EIO);
	result = 4000;
	assert_false(io_file_repeat(file, FOLIO_IO_WRITE, 0, 9000, false, &done, &result));
	assert_int_equal(result, 9000);
	result = -ENOSPC;
	assert_false(io_file_repeat(file, FOLIO_IO_WRITE, 0, 9000, true, &done, &result));
	assert_int_equal(result, -ENOSPC);

	/*
	 * A direct read that stops in a block before the end: the file grew, a buffered one goes
	 * on.
	 */
	folio_u32_store_relaxed(&file->direct, 1);
	done = 0;
	result = 5000;
	assert_true(io_file_repeat(file, FOLIO_IO_READ, 0, 16384, true, &done, &result));
	assert_int_equal(done, 5000);
	assert_false(io_file_direct(file));
	io_file_close(NULL, handle);
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

/* A write to a file of direct I/O, cut where the last whole block ends. */
static void test_attempt(void **state)
{
	struct io_file file = {.fd = 5, .buffered = 6};
	const struct iovec iov[2] = {
		{(void *)0x10000, 2 * PAGE}, {(void *)0x20000, 3 * PAGE + 100}};
	/* From done on: the descriptor, where in memory, how much, how many. */
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
		io_attempt(&attempt, &request, steps[i].done);
		assert_int_equal(attempt.offset, 7 * PAGE + steps[i].done);
		assert_int_equal(attempt.fd, steps[i].fd);
		assert_int_equal(attempt.direct, steps[i].fd == 5);
		assert_int_equal(attempt.rest.count, steps[i].count);
		assert_int_equal((uintptr_t)attempt.rest.iov->iov_base, steps[i].base);
		assert_int_equal(attempt.rest.iov->iov_len, steps[i].len);
	}
	/* Buffered files and reads are never cut. */
	request.op = FOLIO_IO_READ;
	io_attempt(&attempt, &request, 0);
	assert_int_equal(attempt.rest.count, 2);
	assert_true(attempt.direct);
	request.op = FOLIO_IO_WRITE;
	folio_u32_store_relaxed(&file.direct, 0);
	io_attempt(&attempt, &request, 0);
	assert_int_equal(attempt.rest.count, 2);
	assert_int_equal(attempt.fd, 5);
	assert_false(attempt.direct);
}

/* Answer one of io_uring's calls with EPERM: io_uring_setup, as container run-times do, or the one that is used later. */
static bool deny_uring(unsigned call)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(filter) / sizeof(filter[0]), filter};

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static void choose_and_read(const struct folio_io_ops *expected)
{
	const struct folio_io_ops *ops = NULL;
	struct world world = {0};
	void *handle;

	assert_int_equal(io_choose(&ops, &world.context, 8), 0);
	if (expected)
		assert_ptr_equal(ops, expected);
	world.ops = ops;
	handle = open_file(&world, "random", 0);
	random_reads(&world, handle, seed, 2);
	ops->close(world.context, handle);
	ops->destroy(world.context);
}

static void test_choose(void **state)
{
	static const unsigned calls[] = {SYS_io_uring_setup, SYS_io_uring_enter};
	void *context = NULL;
	int status;
	pid_t child;
	unsigned i;

	make_file("random", RANDOM_SIZE);
	choose_and_read(NULL);
	for (i = 0; i < 2; i++) {
		fflush(NULL);
		child = fork();
		if (child == 0) {
			alarm(60);
			if (!deny_uring(calls[i]))
				_exit(2);
			if (folio_io_uring.create(&context, 8) != -EPERM)
				_exit(3);
			choose_and_read(&folio_io_threads);
			_exit(0);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), 0);
	}
}

/* ---- */

static bool uring_works(void)
{
	void *context = NULL;
	int error = folio_io_uring.create(&context, 4);

	if (!error)
		folio_io_uring.destroy(context);
	else
		print_message("# io_uring is not tested here: %s\n", strerror(-error));
	return !error;
}

static bool tell(const char *path, const char *format, unsigned number)
{
	FILE *file = fopen(path, "w");

	return file && fprintf(file, format, number) > 0 && fclose(file) == 0;
}

/* Root of a tree of mounts of one's own. */
static bool become_root(void)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();

	return unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 &&
	       tell("/proc/self/setgroups", "deny", 0) &&
	       tell("/proc/self/uid_map", "0 %u 1\n", uid) &&
	       tell("/proc/self/gid_map", "0 %u 1\n", gid);
}

/* A file system with room for eight pages. In a child: it gets a tree of mounts of its own. */
static void run_full(const struct folio_io_ops *ops)
{
	struct world world = {.ops = ops};
	struct group group = GROUP_INIT;
	uint64_t random = seed;
	struct read *write;
	unsigned flags;
	void *handle;

	assert_int_equal(ops->create(&world.context, 4), 0);
	for (flags = 0; flags <= FOLIO_IO_BUFFERED; flags++) {
		handle = open_writable(&world, "full", O_CREAT | O_TRUNC, flags);
		write = write_new(&group, handle, 0, 20 * PAGE, &random);
		assert_int_equal(write_now(&world, write), -ENOSPC);
		read_free(write);
		/* And goes on when there is room. */
		assert_int_equal(ops->truncate(world.context, handle, 0), 0);
		write = write_new(&group, handle, 0, 5 * PAGE + 7, &random);
		assert_int_equal(write_now(&world, write), 5 * PAGE + 7);
		read_free(write);
		ops->close(world.context, handle);
	}
	ops->destroy(world.context);
}

static void test_write_full(void **state)
{
	int status;
	pid_t child;

	fflush(NULL);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		if (unshare(CLONE_NEWNS) < 0 && !become_root())
			_exit(77);
		if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
			mount("none", directory, "tmpfs", 0, "size=32k") < 0)
			_exit(77);
		run_full(&folio_io_threads);
		if (uring_works())
			run_full(&folio_io_uring);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		print_message("# no file system of one's own here\n");
	else
		assert_int_equal(WEXITSTATUS(status), 0);
}

static void clean(void)
{
	DIR *dir = opendir(directory);
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		unlink(path_of(entry->d_name));
	if (dir)
		closedir(dir);
	rmdir(directory);
}

#define TEST(test, start)                                 \
	{                                                 \
#test " " #start, test, start, stop, NULL \
	}
#define BACKEND_TESTS(start)                                                                       \
	TEST(test_sizes, start), TEST(test_nothing, start), TEST(test_random, start),              \
		TEST(test_submitters, start), TEST(test_sparse, start), TEST(test_long, start),    \
		TEST(test_resized, start), TEST(test_open_errors, start),                          \
		TEST(test_read_errors, start), TEST(test_attributes, start),                       \
		TEST(test_no_direct, start), TEST(test_direct_fails, start),                       \
		TEST(test_depth, start), TEST(test_many, start), TEST(test_leaver, start),         \
		TEST(test_undisturbed, start), TEST(test_start_stop, start),                       \
		TEST(test_threads, start), TEST(test_lease, start), TEST(test_write_sizes, start), \
		TEST(test_write_random, start), TEST(test_writers, start),                         \
		TEST(test_write_errors, start), TEST(test_truncate_punch_sync, start),             \
		TEST(test_open_writable, start), TEST(test_write_direct_fails, start)
#define SHARED_TESTS                                                           \
	cmocka_unit_test(test_repeat), cmocka_unit_test(test_rest),            \
		cmocka_unit_test(test_attempt), cmocka_unit_test(test_choose), \
		cmocka_unit_test(test_write_full)

int main(void)
{
	const struct CMUnitTest all[] = {
		SHARED_TESTS, BACKEND_TESTS(start_threads), BACKEND_TESTS(start_uring)};
	const struct CMUnitTest denied[] = {SHARED_TESTS, BACKEND_TESTS(start_threads)};
	const char *given;
	int failed;

	given = getenv("FOLIO_SEED");
	seed = given ? strtoull(given, NULL, 0) : (uint64_t)getpid() * 0x9e3779b97f4a7c15u | 1;
	seed = seed ? seed : 1;
	given = getenv("FOLIO_TEST_SCALE");
	scale = given && atoi(given) > 0 ? (unsigned)atoi(given) : 1;
	printf("# FOLIO_SEED=%#llx\n", (unsigned long long)seed);
	fill_right(right, 0, RANDOM_SIZE);
	given = getenv("TMPDIR");
	snprintf(directory, sizeof(directory), "%s/folio-io-XXXXXX", given ? given : "/var/tmp");
	if (!mkdtemp(directory)) {
		perror(directory);
		return 1;
	}

	if (uring_works())
		failed = cmocka_run_group_tests_name("io", all, NULL, NULL);
	else
		failed = cmocka_run_group_tests_name("io", denied, NULL, NULL);
	clean();
	return failed;
}
