/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * io-test.h - helpers for tests of the library's backends on real files. Read data are compared
 * with what pread(2) of the same range returns. The files are in TMPDIR, or in /var/tmp, where
 * direct I/O usually works.
 */
#ifndef FOLIO_TESTS_IO_TEST_H
#define FOLIO_TESTS_IO_TEST_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <folio/folio.h>

#include "io/attempt.h"
#include "io/file.h"

#define PAGE FOLIO_PAGE_SIZE

static char directory[256];
static struct io_backend backend __attribute__((unused)); /* context of io_file_* alone */
static uint64_t seed = 1;
static unsigned scale = 1;

/* The first bytes of every file of make_file, as right_byte defines them. */
#define RANDOM_SIZE (3 * 1024 * 1024 + 777)
static unsigned char right[RANDOM_SIZE];

static inline uint64_t draw(uint64_t *state, uint64_t below)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state % below;
}

/* ---- files ---- */

static inline char *path_of(const char *name)
{
	static _Thread_local char path[512];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return path;
}

static inline unsigned char right_byte(uint64_t offset)
{
	uint64_t word = (offset / 8 + 1) * 0x9e3779b97f4a7c15u;

	return (unsigned char)(word >> (offset % 8 * 8));
}

static inline void fill_right(unsigned char *data, uint64_t offset, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		data[i] = right_byte(offset + i);
}

/* Makes a file of @size bytes, as right_byte defines them. */
static inline void make_file(const char *name, size_t size)
{
	int fd = open(path_of(name), O_RDWR | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, right, size), size);
	assert_int_equal(fsync(fd), 0);
	close(fd);
}

static inline unsigned count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned count = 0;

	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

/* ---- requests ---- */

/* A group of requests and the wait for its end. */
struct group {
	pthread_mutex_t lock;
	pthread_cond_t done;
	unsigned pending;
};

#define GROUP_INIT                                                     \
	{                                                              \
		PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0 \
	}

/* A request with separate memory. completed must go from 0 to 1 once. */
struct read {
	struct folio_io_request request;
	struct iovec iov[FOLIO_IO_IOV_MAX];
	unsigned char *memory;
	size_t wanted;
	struct group *group;
	ssize_t result;
	unsigned completed;
	char thread[16]; /* the name of the one that completed it */
};

static inline void completed(struct folio_io_request *request, ssize_t result)
{
	struct read *read = (struct read *)request;
	struct group *group = read->group;

	read->result = result;
	read->completed++;
	pthread_getname_np(pthread_self(), read->thread, sizeof(read->thread));
	/* The request belongs to the caller again: the backend must not use what is left in it. */
	memset(&read->request, 0xee, sizeof(read->request));
	pthread_mutex_lock(&group->lock);
	if (--group->pending == 0)
		pthread_cond_signal(&group->done);
	pthread_mutex_unlock(&group->lock);
}

static inline void group_wait(struct group *group)
{
	pthread_mutex_lock(&group->lock);
	while (group->pending)
		pthread_cond_wait(&group->done, &group->lock);
	pthread_mutex_unlock(&group->lock);
}

/* @pages pages in @parts parts of random lengths, which are not in order in memory. */
static inline struct read *read_new(struct group *group, void *handle, uint64_t offset,
	unsigned pages, unsigned parts, uint64_t *random)
{
	struct read *read = calloc(1, sizeof(*read));
	unsigned i, left = pages, len;
	unsigned char *end;

	assert_non_null(read);
	/* The first part lies last in memory, so that no part follows the one before it. */
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

static inline void read_free(struct read *read)
{
	free(read->memory);
	free(read);
}

/* Checks the bytes of a read of a file of make_file that has @size bytes, at most RANDOM_SIZE. */
static inline void check(
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

static inline void read_check_and_free(struct read *read, uint64_t offset, size_t size)
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

static inline int start(void **state, const struct folio_io_ops *ops, unsigned depth)
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

static inline int stop(void **state)
{
	struct world *world = *state;

	world->ops->destroy(world->context);
	free(world);
	return 0;
}

static inline void *open_file(struct world *world, const char *name, unsigned io_flags)
{
	void *handle;

	assert_int_equal(
		world->ops->open(world->context, path_of(name), O_RDONLY, 0, io_flags, &handle), 0);
	return handle;
}

/* Reads random ranges in batches of random size, some of them past the end of the file. */
static inline void random_reads(struct world *world, void *handle, uint64_t random, unsigned rounds)
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

static inline int try_open(struct world *world, const char *path, int flags)
{
	void *handle;
	int error = world->ops->open(world->context, path, flags, 0, 0, &handle);

	if (!error)
		world->ops->close(world->context, handle);
	return error;
}

/* The contents that a file must have. */
struct model {
	unsigned char *data; /* capacity bytes; zeros past size */
	size_t size, capacity;
};

static inline void model_init(struct model *model, size_t capacity)
{
	*model = (struct model){calloc(1, capacity), 0, capacity};
	assert_non_null(model->data);
}

static inline void model_truncate(struct model *model, size_t size)
{
	if (size < model->size)
		memset(model->data + size, 0, model->size - size);
	model->size = size;
}

/* Compares the model with the file, read through another descriptor. */
static inline void model_check(const struct model *model, const char *name)
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

/* A write of @len random bytes. */
static inline struct read *write_new(
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

/* Applies a write at @offset that succeeded to the model. */
static inline void write_model_and_free(struct read *write, struct model *model, uint64_t offset)
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

static inline ssize_t write_now(struct world *world, struct read *write)
{
	struct folio_io_request *request = &write->request;

	world->ops->submit(world->context, &request, 1);
	group_wait(write->group);
	assert_int_equal(write->completed, 1);
	return write->result;
}

static inline void *open_writable(
	struct world *world, const char *name, int flags, unsigned io_flags)
{
	void *handle;

	assert_int_equal(world->ops->open(world->context, path_of(name), O_RDWR | flags, 0600,
				 io_flags, &handle),
		0);
	return handle;
}

static inline void clean(void)
{
	DIR *dir = opendir(directory);
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		unlink(path_of(entry->d_name));
	if (dir)
		closedir(dir);
	rmdir(directory);
}

static inline int run_io_tests(const char *name, const struct CMUnitTest *tests, size_t count)
{
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
	failed = _cmocka_run_group_tests(name, tests, count, NULL, NULL);
	clean();
	return failed;
}

#endif
