/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The backend that other tests rely on: it fails and holds requests on command, and its check of
 * contents finds every wrong byte.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <folio/folio.h>

#include "fake-file.h"
#include "io-fault.h"

#define PAGE  FOLIO_PAGE_SIZE
#define PAGES 8

static uint64_t seed = 1;

/* A backend with an open file of 100 pages and some bytes. */
struct world {
	struct io_fault *io;
	struct io_fault_file *file;
	void *context;
	void *handle;
	unsigned char *memory; /* PAGES of them */
};

#define FILE_SIZE (100 * PAGE + 100)

static struct world *open_world(unsigned threads, unsigned depth)
{
	struct world *world = calloc(1, sizeof(*world));

	world->io = io_fault_new(seed, threads);
	world->context = world->io;
	world->memory = aligned_alloc(PAGE, PAGES * PAGE);
	memset(world->memory, 0xaa, PAGES * PAGE);
	world->file = io_fault_add(world->io, "file", FILE_SIZE);
	assert_int_equal(io_fault_ops.create(&world->context, depth), 0);
	assert_int_equal(
		io_fault_ops.open(world->context, "file", O_RDONLY, 0, 0, &world->handle), 0);
	return world;
}

static void close_world(struct world *world)
{
	assert_int_equal(io_fault_opens(world->io), 1);
	io_fault_ops.close(world->context, world->handle);
	assert_int_equal(io_fault_opens(world->io), 0);
	io_fault_ops.destroy(world->context);
	io_fault_free(world->io);
	free(world->memory);
	free(world);
}

/* Reads @pages at @page into the memory, in two parts if there are two or more. */
static ssize_t read_pages(struct world *world, uint64_t page, unsigned pages)
{
	struct iovec iov[2] = {{world->memory, PAGE}, {world->memory + PAGE, (pages - 1) * PAGE}};

	return io_fault_ops.read(
		world->context, world->handle, iov, pages > 1 ? 2 : 1, page * PAGE);
}

struct request {
	struct folio_io_request request;
	struct iovec iov;
	struct log *log;
	ssize_t result;
};

/* The order in which requests completed. */
struct log {
	pthread_mutex_t lock;
	pthread_cond_t moved;
	unsigned count;
	struct request *order[256];
};

#define LOG_INIT                                                        \
	{                                                               \
		PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, \
		{                                                       \
			NULL                                            \
		}                                                       \
	}

static void completed(struct folio_io_request *base, ssize_t result)
{
	struct request *request = (struct request *)base;
	struct log *log = request->log;

	request->result = result;
	pthread_mutex_lock(&log->lock);
	log->order[log->count++] = request;
	pthread_cond_broadcast(&log->moved);
	pthread_mutex_unlock(&log->lock);
}

static void log_wait(struct log *log, unsigned count)
{
	pthread_mutex_lock(&log->lock);
	while (log->count < count)
		pthread_cond_wait(&log->moved, &log->lock);
	pthread_mutex_unlock(&log->lock);
}

static unsigned log_count(struct log *log)
{
	unsigned count;

	pthread_mutex_lock(&log->lock);
	count = log->count;
	pthread_mutex_unlock(&log->lock);
	return count;
}

static void submit(struct world *world, struct request *request, struct log *log, uint64_t page)
{
	struct folio_io_request *base = &request->request;

	request->log = log;
	request->iov = (struct iovec){aligned_alloc(PAGE, PAGE), PAGE};
	request->request = (struct folio_io_request){
		.handle = world->handle,
		.offset = page * PAGE,
		.iov = &request->iov,
		.iov_count = 1,
		.complete = completed,
	};
	io_fault_ops.submit(world->context, &base, 1);
}

static void test_contents(void **state)
{
	struct world *world = open_world(0, 4);
	unsigned char *memory = world->memory, before;
	uint64_t oldest, newest, word;
	unsigned i;

	assert_int_equal(read_pages(world, 3, 4), 4 * PAGE);
	assert_true(io_fault_check(world->file, 3 * PAGE, memory, 4 * PAGE, &oldest, &newest));
	assert_int_equal(oldest, 1);
	assert_int_equal(newest, 1);
	for (i = 0; i < 4 * PAGE; i += 8) {
		memcpy(&word, memory + i, 8);
		assert_true(word == io_fault_word(world->file, 1, 3 * PAGE + i));
	}
	/* Every wrong byte is found, wherever the checked part begins and ends. */
	for (i = 0; i < 4 * PAGE; i++) {
		unsigned begin = i < 70 ? 0 : i - i % 70, len = 1 + i % 200;

		if (begin + len > 4 * PAGE)
			len = 4 * PAGE - begin;
		assert_true(io_fault_check(
			world->file, 3 * PAGE + begin, memory + begin, len, NULL, NULL));
		before = memory[i];
		memory[i] ^= 1 << i % 8;
		assert_int_equal(io_fault_check(world->file, 3 * PAGE + begin, memory + begin, len,
					 NULL, NULL),
			i < begin || i >= begin + len);
		memory[i] = before;
	}
	/* Another page, another offset, another file. */
	assert_false(io_fault_check(world->file, 4 * PAGE, memory, 64, NULL, NULL));
	assert_false(io_fault_check(world->file, 3 * PAGE + 8, memory, 64, NULL, NULL));
	assert_false(io_fault_check(
		io_fault_add(world->io, "other", PAGE), 3 * PAGE, memory, 64, NULL, NULL));
	/* Nothing to check. */
	assert_true(io_fault_check(world->file, 3 * PAGE, memory, 0, NULL, NULL));
	close_world(world);
}

static void test_generations(void **state)
{
	struct world *world = open_world(0, 4);
	struct folio_io_attr before, after;
	uint64_t oldest, newest;
	unsigned char *memory = world->memory;

	assert_int_equal(read_pages(world, 0, 2), 2 * PAGE);
	before = after = (struct folio_io_attr){.struct_size = sizeof(before)};
	assert_int_equal(io_fault_ops.getattr(world->context, world->handle, &before), 0);
	assert_int_equal(io_fault_change(world->file), 2);
	assert_int_equal(io_fault_ops.getattr(world->context, world->handle, &after), 0);
	assert_int_equal(after.fields, FOLIO_IO_ATTR_CTIME);
	assert_int_equal(before.ctime_sec + 1, after.ctime_sec);
	assert_int_equal(before.ctime_nsec, after.ctime_nsec);
	assert_int_equal(before.mtime_sec, after.mtime_sec);
	assert_int_equal(before.mtime_nsec, after.mtime_nsec);
	assert_int_equal(before.inode, after.inode);
	assert_int_equal(read_pages(world, 0, 1), PAGE);
	assert_true(io_fault_check(world->file, 0, memory, 2 * PAGE, &oldest, &newest));
	assert_int_equal(oldest, 1);
	assert_int_equal(newest, 2);
	/* A page of which a part is older is wrong; so is one from the future. */
	assert_int_equal(io_fault_change(world->file), 3);
	assert_int_equal(read_pages(world, 0, 1), PAGE);
	memcpy(memory + PAGE, memory, PAGE);
	assert_int_equal(io_fault_change(world->file), 4);
	assert_int_equal(read_pages(world, 0, 1), PAGE);
	memcpy(memory + PAGE / 2, memory + PAGE + PAGE / 2, PAGE / 2);
	assert_false(io_fault_check(world->file, 0, memory, PAGE, NULL, NULL));
	assert_true(io_fault_check(world->file, 0, memory, PAGE / 2, &oldest, NULL));
	assert_int_equal(oldest, 4);
	/* Parts without a complete word are recognized by their bytes. */
	assert_true(io_fault_check(world->file, 3, memory + 3, 5, &oldest, NULL));
	assert_int_equal(oldest, 4);
	assert_true(io_fault_check(world->file, PAGE - 6, memory + PAGE - 6, 6, &oldest, NULL));
	assert_int_equal(oldest, 3);
	close_world(world);
}

static void test_sizes(void **state)
{
	struct world *world = open_world(0, 4);
	unsigned i;

	io_fault_set_end(world->file, UINT64_MAX);
	assert_int_equal(read_pages(world, 99, 4), PAGE + 100);
	assert_true(io_fault_check(world->file, 99 * PAGE, world->memory, PAGE + 100, NULL, NULL));
	for (i = PAGE + 100; i < 4 * PAGE; i++)
		assert_int_equal(world->memory[i], 0xdb);
	assert_int_equal(read_pages(world, 101, 1), 0);
	assert_int_equal(read_pages(world, 1000, 1), 0);
	io_fault_resize(world->file, 5 * PAGE + 1);
	io_fault_set_end(world->file, UINT64_MAX);
	assert_int_equal(read_pages(world, 5, 2), 1);
	assert_int_equal(read_pages(world, 6, 2), 0);
	io_fault_resize(world->file, (uint64_t)1 << 44);
	assert_int_equal(read_pages(world, ((uint64_t)1 << 32) - 2, 4), 2 * PAGE);
	assert_true(io_fault_check(
		world->file, ((uint64_t)1 << 44) - 2 * PAGE, world->memory, 2 * PAGE, NULL, NULL));
	/* The largest size, and a page whose index has the same lower half as another one. */
	io_fault_resize(world->file, INT64_MAX);
	assert_int_equal(read_pages(world, ((uint64_t)1 << 51) - 1, 1), PAGE - 1);
	assert_true(io_fault_check(
		world->file, ((uint64_t)1 << 63) - PAGE, world->memory, PAGE - 1, NULL, NULL));
	assert_int_equal(read_pages(world, ((uint64_t)5 << 32) + 7, 1), PAGE);
	assert_true(io_fault_check(
		world->file, (((uint64_t)5 << 32) + 7) * PAGE, world->memory, PAGE, NULL, NULL));
	assert_false(io_fault_check(
		world->file, (((uint64_t)4 << 32) + 7) * PAGE, world->memory, PAGE, NULL, NULL));
	close_world(world);
}

static void test_bytes(void **state)
{
	static const unsigned char bytes[10] = "0123456789";
	struct world *world = open_world(0, 4);
	void *generated = world->handle;

	io_fault_add_bytes(world->io, "bytes", bytes, 10);
	assert_int_equal(
		io_fault_ops.open(world->context, "bytes", O_RDONLY, 0, 0, &world->handle), 0);
	assert_int_equal(read_pages(world, 0, 1), 10);
	assert_memory_equal(world->memory, bytes, 10);
	io_fault_ops.close(world->context, world->handle);
	world->handle = generated;
	close_world(world);
}

static void test_names(void **state)
{
	struct world *world = open_world(0, 4);
	struct folio_io_attr old = {.size = 0}, new = {.size = 0};
	struct io_fault_file *file;
	void *handle;

	assert_int_equal(
		io_fault_ops.open(world->context, "none", O_RDONLY, 0, 0, &handle), -ENOENT);
	file = io_fault_add(world->io, "file", PAGE);
	assert_int_equal(io_fault_ops.open(world->context, "file", O_RDONLY, 0, 0, &handle), 0);
	assert_int_equal(io_fault_ops.getattr(world->context, world->handle, &old), 0);
	assert_int_equal(io_fault_ops.getattr(world->context, handle, &new), 0);
	assert_int_equal(old.device, new.device);
	assert_int_not_equal(old.inode, new.inode);
	assert_int_equal(io_fault_opens(world->io), 2);
	assert_int_equal(new.size, PAGE);
	assert_int_equal(read_pages(world, 0, 1), PAGE);
	assert_true(io_fault_check(world->file, 0, world->memory, PAGE, NULL, NULL));
	assert_false(io_fault_check(file, 0, world->memory, PAGE, NULL, NULL));
	io_fault_ops.close(world->context, handle);
	close_world(world);
}

/* Another file is on another device, has the same inode number, and reports no ctime. */
static void test_devices(void **state)
{
	struct world *world = open_world(0, 4);
	struct folio_io_attr first = {.struct_size = sizeof(first)}, second = first, later;
	void *handle, *probe;

	io_fault_add(world->io, "other", PAGE);
	assert_int_equal(io_fault_ops.open(world->context, "other", O_RDONLY, 0, 0, &handle), 0);
	assert_int_equal(io_fault_ops.getattr(world->context, world->handle, &first), 0);
	assert_int_equal(io_fault_ops.getattr(world->context, handle, &second), 0);
	assert_int_not_equal(first.device, second.device);
	assert_int_equal(first.inode, second.inode);
	assert_int_equal(second.fields, 0);
	/* A caller with a shorter struct gets less. */
	first = (struct folio_io_attr){.size = 0};
	assert_int_equal(io_fault_ops.getattr(world->context, world->handle, &first), 0);
	assert_int_equal(first.fields, 0);
	assert_int_equal(first.ctime_sec, 0);
	io_fault_ops.close(world->context, handle);

	/* By a descriptor, and as a probe, which is no open. */
	assert_int_equal(io_fault_ops.open_fd(world->context, io_fault_fd(world->file), O_RDONLY,
				 FOLIO_IO_PROBE, &probe),
		0);
	assert_int_equal(io_fault_opens(world->io), 2);
	assert_int_equal(io_fault_calls(world->io, IO_FAULT_OPEN), 2);
	later = (struct folio_io_attr){
		.struct_size = sizeof(later), .wanted = FOLIO_IO_ATTR_ACCESS};
	assert_int_equal(io_fault_ops.getattr(world->context, probe, &later), 0);
	assert_int_equal(later.inode, first.inode);
	assert_int_equal(later.fields, FOLIO_IO_ATTR_CTIME | FOLIO_IO_ATTR_ACCESS);
	io_fault_ops.close(world->context, probe);
	close_world(world);
}

/* Of two changes in a row, one shows in the nanoseconds alone, the other in the seconds alone. */
static void test_times(void **state)
{
	struct fake_file file = {.device = 2, .inode = 1};
	struct folio_io_attr last = {.size = 0}, attr = {.size = 0};
	unsigned sec = 0, nsec = 0;

	fake_attr(&file, 0, false, &last);
	for (file.changes = 1; file.changes <= 100; file.changes++) {
		fake_attr(&file, 0, false, &attr);
		assert_true(attr.mtime_sec > last.mtime_sec || attr.mtime_nsec > last.mtime_nsec);
		assert_true(attr.mtime_sec == last.mtime_sec || attr.mtime_nsec == last.mtime_nsec);
		sec += attr.mtime_sec != last.mtime_sec;
		nsec += attr.mtime_nsec != last.mtime_nsec;
		last = attr;
	}
	assert_int_equal(sec, 50);
	assert_int_equal(nsec, 50);
}

/* What a cache does wrong ends the program. */
static void wrong_read(struct world *world)
{
	read_pages(world, 100, 2);
}

static void wrong_size(struct world *world)
{
	io_fault_resize(world->file, PAGE + 1);
	io_fault_set_end(world->file, PAGE + 1);
	read_pages(world, 2, 1);
}

static void wrong_handle(struct world *world)
{
	io_fault_ops.close(world->context, world->handle);
	io_fault_ops.open(world->context, "file", O_RDONLY, 0, FOLIO_IO_PROBE, &world->handle);
	read_pages(world, 0, 1);
}

static void wrong_close(struct world *world)
{
	io_fault_ops.destroy(world->context);
}

static void wrong_submit(struct world *world)
{
	static struct request request;
	static struct log log = LOG_INIT;
	struct folio_io_request *twice[2] = {&request.request, &request.request};

	io_fault_hold(world->io);
	submit(world, &request, &log, 0);
	io_fault_ops.submit(world->context, twice, 1);
}

static void test_faults(void **state)
{
	static void (*const wrong[])(struct world * world) = {
		wrong_read, wrong_size, wrong_handle, wrong_close, wrong_submit};
	unsigned i;
	int status;

	for (i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		pid_t child = fork();

		if (!child) {
			signal(SIGABRT, SIG_DFL);
			freopen("/dev/null", "w", stderr);
			wrong[i](open_world(1, 4));
			_exit(0);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	}
}

static void test_failures(void **state)
{
	struct world *world = open_world(0, 4);
	struct request request[2];
	struct log log = LOG_INIT;
	struct folio_io_attr attr = {.size = 0};
	unsigned i, failed = 0;
	void *handle;

	/* The third read, on any path; then none. */
	io_fault_fail(world->io, IO_FAULT_READ, 3, EIO);
	assert_int_equal(read_pages(world, 0, 1), PAGE);
	submit(world, &request[0], &log, 1);
	submit(world, &request[1], &log, 2);
	assert_int_equal(request[0].result, PAGE);
	assert_int_equal(request[1].result, -EIO);
	assert_int_equal(((unsigned char *)request[1].iov.iov_base)[100], 0xdb);
	assert_int_equal(read_pages(world, 0, 1), PAGE);
	assert_int_equal(io_fault_injected(world->io), 1);
	assert_int_equal(io_fault_calls(world->io, IO_FAULT_READ), 4);
	assert_int_equal(io_fault_bytes(world->io), 4 * PAGE);
	for (i = 0; i < 2; i++)
		free(request[i].iov.iov_base);
	/* Cancelled. */
	io_fault_fail(world->io, IO_FAULT_READ, 1, EIO);
	io_fault_fail(world->io, IO_FAULT_READ, 0, 0);
	assert_int_equal(read_pages(world, 0, 1), PAGE);

	io_fault_fail(world->io, IO_FAULT_OPEN, 1, EMFILE);
	assert_int_equal(
		io_fault_ops.open(world->context, "file", O_RDONLY, 0, 0, &handle), -EMFILE);
	io_fault_fail(world->io, IO_FAULT_GETATTR, 2, ESTALE);
	assert_int_equal(io_fault_ops.getattr(world->context, world->handle, &attr), 0);
	assert_int_equal(io_fault_ops.getattr(world->context, world->handle, &attr), -ESTALE);
	assert_int_equal(io_fault_ops.getattr(world->context, world->handle, &attr), 0);

	io_fault_shorten(world->io, 2, PAGE + 5);
	assert_int_equal(read_pages(world, 0, 4), 4 * PAGE);
	assert_int_equal(read_pages(world, 0, 4), PAGE + 5);
	assert_true(io_fault_check(world->file, 0, world->memory, PAGE + 5, NULL, NULL));
	for (i = PAGE + 5; i < 4 * PAGE; i++)
		assert_int_equal(world->memory[i], 0xdb);
	assert_int_equal(read_pages(world, 0, 4), 4 * PAGE);

	io_fault_fail_range(world->file, 10 * PAGE, 1, ENODATA);
	assert_int_equal(read_pages(world, 9, 1), PAGE);
	assert_int_equal(read_pages(world, 9, 2), -ENODATA);
	assert_int_equal(read_pages(world, 10, 1), -ENODATA);
	assert_int_equal(read_pages(world, 11, 1), PAGE);
	io_fault_fail_range(world->file, 0, 0, 0);
	assert_int_equal(read_pages(world, 10, 1), PAGE);

	io_fault_fail_randomly(world->io, IO_FAULT_READ, 65536 / 4, EIO);
	for (i = 0; i < 4000; i++)
		failed += read_pages(world, 0, 1) == -EIO;
	assert_in_range(failed, 800, 1200);
	io_fault_fail_randomly(world->io, IO_FAULT_READ, 0, 0);
	assert_int_equal(read_pages(world, 0, 1), PAGE);
	close_world(world);

	/* After a failed create the next one succeeds. */
	world = calloc(1, sizeof(*world));
	world->io = io_fault_new(seed, 1);
	world->context = world->io;
	io_fault_fail(world->io, IO_FAULT_CREATE, 1, ENOSYS);
	assert_int_equal(io_fault_ops.create(&world->context, 1), -ENOSYS);
	assert_int_equal(io_fault_ops.create(&world->context, 1), 0);
	io_fault_ops.destroy(world->context);
	assert_int_equal(io_fault_ops.create(&world->context, 1), 0);
	io_fault_ops.destroy(world->context);
	io_fault_free(world->io);
	free(world);
}

struct reader {
	struct world *world;
	ssize_t result;
};

static void *run_reader(void *arg)
{
	struct reader *reader = arg;

	reader->result = read_pages(reader->world, 7, 2);
	return NULL;
}

static void test_hold(void **state)
{
	struct world *world = open_world(2, 16);
	struct reader reader = {.world = world};
	struct request request[8];
	struct log log = LOG_INIT;
	pthread_t thread;
	unsigned i;

	io_fault_hold(world->io);
	for (i = 0; i < 8; i++)
		submit(world, &request[i], &log, i);
	assert_int_equal(pthread_create(&thread, NULL, run_reader, &reader), 0);
	io_fault_wait_held(world->io, 9);
	assert_int_equal(log_count(&log), 0);

	/* A read returns the contents at its release, not at its submission. */
	io_fault_change(world->file);
	io_fault_release(world->io, 3);
	io_fault_wait_held(world->io, 6);
	assert_true(log_count(&log) <= 3);
	io_fault_change(world->file);
	io_fault_release(world->io, UINT64_MAX);
	pthread_join(thread, NULL);
	assert_int_equal(reader.result, 2 * PAGE);
	log_wait(&log, 8);
	io_fault_wait_idle(world->io);
	assert_int_equal(io_fault_in_flight_max(world->io), 8);
	for (i = 0; i < 8; i++) {
		uint64_t generation;

		assert_int_equal(request[i].result, PAGE);
		assert_true(io_fault_check(
			world->file, i * PAGE, request[i].iov.iov_base, PAGE, &generation, NULL));
		assert_true(generation >= 2);
		free(request[i].iov.iov_base);
	}
	close_world(world);
}

/*
 * With one thread the seed alone decides the order of completion, which is not that of submission.
 */
static void test_order(void **state)
{
	unsigned order[3][64], i, round;

	for (round = 0; round < 3; round++) {
		struct log log = LOG_INIT;
		struct request request[64];
		struct world *world;

		seed += round == 2;
		world = open_world(1, 64);
		seed -= round == 2;
		io_fault_hold(world->io);
		for (i = 0; i < 64; i++)
			submit(world, &request[i], &log, i);
		io_fault_release(world->io, UINT64_MAX);
		log_wait(&log, 64);
		io_fault_wait_idle(world->io);
		for (i = 0; i < 64; i++) {
			order[round][i] = (unsigned)(log.order[i] - request);
			free(request[i].iov.iov_base);
		}
		close_world(world);
	}
	assert_memory_equal(order[0], order[1], sizeof(order[0]));
	assert_memory_not_equal(order[0], order[2], sizeof(order[0]));
	for (i = 0; i < 64 && order[0][i] == i; i++)
		;
	assert_true(i < 64);
}

struct many {
	struct world *world;
	struct log *log;
	struct request request[64];
};

static void *run_many(void *arg)
{
	struct many *many = arg;
	unsigned i;

	for (i = 0; i < 64; i++)
		submit(many->world, &many->request[i], many->log, i);
	return NULL;
}

/* Submit waits for a free slot. */
static void test_depth(void **state)
{
	struct world *world = open_world(2, 5);
	struct many many = {.world = world};
	struct log log = LOG_INIT;
	pthread_t thread;
	unsigned i;

	many.log = &log;
	io_fault_hold(world->io);
	assert_int_equal(pthread_create(&thread, NULL, run_many, &many), 0);
	io_fault_wait_held(world->io, 5);
	io_fault_release(world->io, UINT64_MAX);
	pthread_join(thread, NULL);
	log_wait(&log, 64);
	io_fault_wait_idle(world->io);
	assert_int_equal(io_fault_in_flight_max(world->io), 5);
	for (i = 0; i < 64; i++)
		free(many.request[i].iov.iov_base);
	close_world(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_contents),
		cmocka_unit_test(test_generations),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_devices),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_failures),
		cmocka_unit_test(test_hold),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_depth),
	};
	const char *given = getenv("FOLIO_SEED");

	if (given)
		seed = strtoull(given, NULL, 0);
	printf("# FOLIO_SEED=%#llx\n", (unsigned long long)seed);
	return cmocka_run_group_tests_name("io-fault", tests, NULL, NULL);
}
