/* SPDX-License-Identifier: BSD-2-Clause */
/* io-writes.h - tests of writing that every backend passes (unit/io-threads.c, unit/io-uring.c). */
#ifndef FOLIO_TESTS_IO_WRITES_H
#define FOLIO_TESTS_IO_WRITES_H

#include <signal.h>
#include <sys/resource.h>

#include "io-test.h"

/* Lengths around the borders of blocks, in files that end before, in and past the range. */
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
		/* A write that ends inside a block does not end direct I/O. */
		assert_int_equal(io_file_direct(handle), direct);
		world->ops->close(world->context, handle);
	}
	free(model.data);
}

/*
 * Batches of parallel writes to disjoint pages, within @pages pages from @first on. They are read
 * back and compared with the model, which has these pages only.
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
		/* In random order. */
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
		/* Other threads may have made the file longer than this part of it. */
		assert_true(read->result >= (ssize_t)bytes);
		assert_memory_equal(read->memory, model->data + page * PAGE, bytes);
		read_free(read);
	}
}

/* One thread; the file changes its size and gets holes between the batches. */
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

/* Four threads, each in its own part of one file. */
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
	bool direct;

	/* A descriptor that is open for reading only. */
	make_file("errors", 10 * PAGE);
	handle = open_file(world, "errors", 0);
	write = write_new(&group, handle, 0, 4 * PAGE, &random);
	assert_int_equal(write_now(world, write), -EBADF);
	read_free(write);
	world->ops->close(world->context, handle);

	/*
	 * A file size limit that refuses all of the write, its end at and inside a block, or its
	 * tail.
	 */
	for (flags = 0; flags <= FOLIO_IO_BUFFERED; flags++) {
		static const size_t limits[] = {0, 2 * PAGE, 2 * PAGE + 1000, 3 * PAGE};

		handle = open_writable(world, "errors", O_TRUNC, flags);
		direct = io_file_direct(handle);
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
		/* Direct I/O fails where the limit cuts a block, and works when it is gone. */
		assert_int_equal(io_file_direct(handle), direct);
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

		/* A handle that is open for reading only can do neither. */
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
	void *handle;
	int lowest, r, created;

	unlink(path_of("opened"));
	assert_int_equal(try_open(world, path_of("opened"), O_RDWR), -ENOENT);
	handle = open_writable(world, "opened", O_CREAT | O_EXCL | O_NOFOLLOW, 0);
	file = handle;
	assert_int_equal(fcntl(file->fd, F_GETFL) & O_ACCMODE, O_RDWR);
	/* The second descriptor: the same file, buffered, and closed on exec. */
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

	/* Only one more descriptor is available: not enough, and no file is created. */
	lowest = dup(0);
	close(lowest);
	getrlimit(RLIMIT_NOFILE, &limit);
	small = limit;
	small.rlim_cur = (rlim_t)lowest + 1;
	setrlimit(RLIMIT_NOFILE, &small);
	r = try_open(world, path_of("opened"), O_RDWR);
	created = try_open(world, path_of("new"), O_RDWR | O_CREAT | O_EXCL);
	setrlimit(RLIMIT_NOFILE, &limit);
	assert_int_equal(r, -EMFILE);
	assert_int_equal(created, -EMFILE);
	assert_int_equal(access(path_of("new"), F_OK), -1);
	world->ops->close(world->context, handle);
	model_check(&model, "opened");
	free(model.data);
	assert_int_equal(count_fds(), before);
}

/* A write from memory that direct I/O refuses. */
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

#endif
