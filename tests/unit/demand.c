/* SPDX-License-Identifier: BSD-2-Clause */
/* One miss and many readers: one read of the device, one error, and callers that do not wait. */
#include "fault-world.h"

struct reader {
	struct world *world;
	pthread_t thread;
	uint64_t index;
	bool pins;
	ssize_t result;
	bool wrong;
};

static void *read_a_page(void *arg)
{
	struct reader *reader = arg;
	struct world *world = reader->world;
	char buf[64];

	if (reader->pins) {
		struct folio *folio;
		void *page;

		reader->result = folio_file_get_page(world->file, reader->index, 0, &folio, &page);
		if (reader->result == 0) {
			reader->wrong = !io_fault_check(
				world->contents, reader->index * PAGE, page, PAGE, NULL, NULL);
			folio_put(folio);
			reader->result = sizeof(buf);
		}
	} else {
		reader->result =
			folio_file_read(world->file, buf, sizeof(buf), reader->index * PAGE + 8);
		reader->wrong = reader->result > 0 &&
				!io_fault_check(world->contents, reader->index * PAGE + 8, buf,
					(size_t)reader->result, NULL, NULL);
	}
	return NULL;
}

#define READERS 8

static void readers_begin(struct reader *reader, struct world *world, uint64_t index, uint64_t step)
{
	unsigned i;

	for (i = 0; i < READERS; i++) {
		reader[i] =
			(struct reader){.world = world, .index = index + i * step, .pins = i % 2};
		assert_int_equal(
			pthread_create(&reader[i].thread, NULL, read_a_page, &reader[i]), 0);
	}
}

static void readers_end(struct reader *reader, ssize_t expected)
{
	unsigned i;

	for (i = 0; i < READERS; i++) {
		pthread_join(reader[i].thread, NULL);
		assert_int_equal(reader[i].result, expected);
		assert_false(reader[i].wrong);
	}
}

/* The tree, the reader that fills the folio, and the waiting readers hold one reference each. */
#define all_wait_for(world, index) wait_until(page_references((world)->file, index) == READERS + 1)

static void test_one_read_for_all(void **state)
{
	struct reader reader[READERS];
	struct folio *folio;
	struct world world;
	char buf[64];

	(void)state;
	world_begin(&world, 64, 0, 100 * PAGE);
	io_fault_hold(world.io);
	readers_begin(reader, &world, 7, 0);
	all_wait_for(&world, 7);
	/* The page is in the cache before its read begins. */
	io_fault_wait_held(world.io, 1);
	assert_int_equal(reads(&world), 1);
	/* Callers that do not wait return at once and start no second read. */
	assert_int_equal(folio_file_read_nowait(world.file, buf, sizeof(buf), 7 * PAGE), -EAGAIN);
	assert_int_equal(folio_file_get(world.file, 7, FOLIO_GET_NOWAIT, &folio), -EAGAIN);
	assert_int_equal(reads(&world), 1);
	io_fault_release(world.io, UINT64_MAX);
	readers_end(reader, sizeof(buf));
	assert_int_equal(reads(&world), 1);
	assert_int_equal(cache_stats(world.cache).misses, READERS + 2);
	assert_int_equal(
		folio_file_read_nowait(world.file, buf, sizeof(buf), 7 * PAGE), sizeof(buf));
	assert_int_equal(folio_file_get(world.file, 7, FOLIO_GET_NOWAIT, &folio), 0);
	folio_put(folio);
	assert_int_equal(cache_stats(world.cache).hits, 2);
	world_end(&world);
}

static void test_misses_in_parallel(void **state)
{
	struct reader reader[READERS];
	struct world world;

	(void)state;
	world_begin(&world, 64, FOLIO_CACHE_NO_READAHEAD, 100 * PAGE);
	io_fault_hold(world.io);
	readers_begin(reader, &world, 3, 5);
	io_fault_wait_held(world.io, READERS);
	io_fault_release(world.io, UINT64_MAX);
	readers_end(reader, 64);
	assert_int_equal(reads(&world), READERS);
	world_end(&world);
}

/* All waiting readers get the error, and no later reader does. */
static void test_error_for_all(void **state)
{
	struct reader reader[READERS];
	struct world world;
	unsigned shorten, i;

	(void)state;
	for (shorten = 0; shorten < 2; shorten++) {
		world_begin(&world, 64, 0, 100 * PAGE);
		for (i = 1; i <= 3; i++) {
			io_fault_hold(world.io);
			/* A read that is short, although the file is not, fails as well. */
			if (shorten)
				io_fault_shorten(world.io, 1, 100);
			else
				io_fault_fail(world.io, IO_FAULT_READ, 1, EIO);
			readers_begin(reader, &world, 7, 0);
			all_wait_for(&world, 7);
			io_fault_wait_held(world.io, 1);
			assert_int_equal(reads(&world), 2 * i - 1);
			io_fault_release(world.io, UINT64_MAX);
			readers_end(reader, -EIO);
			assert_int_equal(cache_stats(world.cache).fill_errors, i);
			assert_false(page_cached(world.file, 7));
			expect_read(&world, 7 * PAGE, PAGE, 1);
			assert_int_equal(reads(&world), 2 * i);
			assert_int_equal(folio_file_invalidate(world.file, 0, UINT64_MAX), 0);
		}
		assert_int_equal(cache_stats(world.cache).pages_file, 0);
		world_end(&world);
	}
}

/* The same for a submitted read, for which only readers wait. */
static void test_error_of_prefetch(void **state)
{
	struct folio_range range = {.offset = 7 * PAGE, .len = PAGE};
	struct reader reader[READERS];
	struct world world;

	(void)state;
	world_begin(&world, 64, FOLIO_CACHE_NO_READAHEAD, 100 * PAGE);
	io_fault_hold(world.io);
	io_fault_fail(world.io, IO_FAULT_READ, 1, ENXIO);
	assert_int_equal(folio_file_prefetch(world.file, &range, 1), 1);
	readers_begin(reader, &world, 7, 0);
	/* The request has a separate reference. */
	wait_until(page_references(world.file, 7) == READERS + 2);
	assert_int_equal(reads(&world), 1);
	io_fault_release(world.io, UINT64_MAX);
	readers_end(reader, -ENXIO);
	expect_read(&world, 4 * PAGE, 8 * PAGE, 1);
	world_end(&world);
}

/*
 * Page 40 is bad. Only the readers of that page get the error. If one read of several pages fails,
 * its other pages are read one at a time. @base: all of that is so many pages further on.
 */
static void error_of_neighbour(uint64_t base)
{
	/* Pages in the same folio, and in other folios of the same request. */
	struct folio_range range = {.offset = (base + 30) * PAGE, .len = 20 * PAGE};
	struct reader reader[READERS];
	struct folio *folio;
	struct world world;
	char *buf = malloc(64 * PAGE);
	unsigned i, shorten;
	uint64_t bad = base + 40, before;

	assert_non_null(buf);
	for (shorten = 0; shorten < 2; shorten++) {
		world_begin(&world, 1024, FOLIO_CACHE_NO_READAHEAD, (base + 100) * PAGE);
		/* Readers that wait for the request. */
		io_fault_hold(world.io);
		if (shorten)
			io_fault_shorten(world.io, 1, 3 * PAGE + 100);
		else
			io_fault_fail_range(world.contents, bad * PAGE + 7, 1, EIO);
		assert_int_equal(folio_file_prefetch(world.file, &range, 1), 20);
		readers_begin(reader, &world, bad + 1, 1);
		for (i = 0; i < READERS; i++)
			wait_until(page_references(world.file, bad + 1 + i) >= 3);
		io_fault_release(world.io, UINT64_MAX);
		readers_end(reader, 64);
		io_fault_wait_idle(world.io);
		io_fault_fail_range(world.contents, bad * PAGE + 7, 1, EIO);

		/*
		 * One read of all pages returns those before the bad page, and reads none more than
		 * twice.
		 */
		assert_int_equal(folio_file_invalidate(world.file, 0, UINT64_MAX), 0);
		before = reads(&world);
		assert_int_equal(
			folio_file_read(world.file, buf, 64 * PAGE, base * PAGE), 40 * PAGE);
		assert_true(
			io_fault_check(world.contents, base * PAGE, buf, 40 * PAGE, NULL, NULL));
		assert_int_equal(reads(&world) - before, 1 + 40 + 1);
		assert_int_equal(folio_file_get(world.file, bad, 0, &folio), -EIO);
		assert_int_equal(folio_file_read(world.file, buf, 64 * PAGE, bad * PAGE), -EIO);
		assert_int_equal(
			folio_file_read(world.file, buf, 59 * PAGE, (bad + 1) * PAGE), 59 * PAGE);
		io_fault_fail_range(world.contents, 0, 0, 0);
		expect_read(&world, base * PAGE, 100 * PAGE, 1);
		world_end(&world);
	}
	free(buf);
}

static void test_error_of_neighbour(void **state)
{
	(void)state;
	error_of_neighbour(0);
	/* Page numbers that have more than 32 bits. */
	error_of_neighbour(UINT64_C(1) << 33);
}

/* A read of several pages returns the bytes before the error; the next read returns the error. */
static void test_error_after_some(void **state)
{
	struct world world;
	char buf[10 * FOLIO_PAGE_SIZE];

	(void)state;
	world_begin(&world, 64, FOLIO_CACHE_NO_READAHEAD, 100 * PAGE);
	io_fault_fail_range(world.contents, 5 * PAGE, 1, EIO);
	expect_read(&world, 0, 5 * PAGE, 1);
	assert_int_equal(folio_file_read(world.file, buf, sizeof(buf), 3 * PAGE + 7), 2 * PAGE - 7);
	assert_true(io_fault_check(world.contents, 3 * PAGE + 7, buf, 2 * PAGE - 7, NULL, NULL));
	assert_int_equal(folio_file_read(world.file, buf, sizeof(buf), 5 * PAGE), -EIO);
	assert_int_equal(folio_file_read(world.file, buf, 1, 5 * PAGE), -EIO);
	expect_read(&world, 6 * PAGE, 5 * PAGE, 1);
	io_fault_fail_range(world.contents, 0, 0, 0);
	expect_read(&world, 0, 100 * PAGE, 1);
	world_end(&world);
}

/*
 * Without waiting: -EAGAIN until the page is cached; cached bytes are returned first; an I/O error
 * does not count as lack of memory.
 */
static void test_nowait(void **state)
{
	struct io_fault *io;
	struct folio *folio;
	struct world world;
	char buf[4 * FOLIO_PAGE_SIZE];

	(void)state;
	world_begin(&world, 64, FOLIO_CACHE_NO_READAHEAD, 100 * PAGE);
	io_fault_hold(world.io);
	assert_int_equal(folio_file_read_nowait(world.file, buf, 64, 5 * PAGE), -EAGAIN);
	assert_int_equal(folio_file_get(world.file, 9, FOLIO_GET_NOWAIT, &folio), -EAGAIN);
	io_fault_wait_held(world.io, 2);
	assert_int_equal(folio_file_read_nowait(world.file, buf, 64, 5 * PAGE), -EAGAIN);
	assert_int_equal(reads(&world), 2);
	io_fault_release(world.io, UINT64_MAX);
	io_fault_wait_idle(world.io);
	assert_int_equal(folio_file_read_nowait(world.file, buf, 64, 5 * PAGE), 64);
	assert_true(io_fault_check(world.contents, 5 * PAGE, buf, 64, NULL, NULL));
	assert_int_equal(folio_file_get(world.file, 9, FOLIO_GET_NOWAIT, &folio), 0);
	folio_put(folio);
	io_fault_hold(world.io);
	assert_int_equal(
		folio_file_read_nowait(world.file, buf, sizeof(buf), 5 * PAGE + 8), PAGE - 8);
	assert_true(io_fault_check(world.contents, 5 * PAGE + 8, buf, PAGE - 8, NULL, NULL));
	io_fault_release(world.io, UINT64_MAX);
	io_fault_wait_idle(world.io);
	assert_int_equal(
		folio_file_read_nowait(world.file, buf, sizeof(buf), 5 * PAGE), sizeof(buf));
	assert_int_equal(folio_file_read_nowait(world.file, buf, 64, 100 * PAGE), 0);
	assert_int_equal(folio_file_get(world.file, 100, FOLIO_GET_NOWAIT, &folio), -ENODATA);
	world_end(&world);

	/* This backend completes the read before submit returns. */
	io = io_fault_new(test_seed, 0);
	world.io = io;
	world.contents = io_fault_add(io, "a", 100 * PAGE);
	world.cache = cache_open(64, FOLIO_CACHE_NO_READAHEAD, io);
	world.file = file_open(world.cache, "a");
	assert_int_equal(folio_file_read_nowait(world.file, buf, 64, 0), 64);
	io_fault_fail(io, IO_FAULT_READ, 1, EIO);
	assert_int_equal(folio_file_read_nowait(world.file, buf, 64, 3 * PAGE), -EAGAIN);
	io_fault_fail(io, IO_FAULT_READ, 1, EIO);
	assert_int_equal(folio_file_get(world.file, 3, FOLIO_GET_NOWAIT, &folio), -EAGAIN);
	assert_int_equal(folio_file_read_nowait(world.file, buf, 64, 3 * PAGE), 64);
	assert_int_equal(cache_stats(world.cache).out_of_memory, 0);
	world_end(&world);
}

/*
 * A page is invalidated while it is being read: the waiting readers get it, and the next reader
 * reads it again.
 */
static void test_invalidate_during_read(void **state)
{
	struct reader reader[READERS];
	struct world world;

	(void)state;
	world_begin(&world, 64, 0, 100 * PAGE);
	io_fault_hold(world.io);
	readers_begin(reader, &world, 7, 0);
	all_wait_for(&world, 7);
	assert_int_equal(folio_file_invalidate(world.file, 7 * PAGE, PAGE), 0);
	assert_false(page_cached(world.file, 7));
	io_fault_release(world.io, UINT64_MAX);
	readers_end(reader, 64);
	assert_false(page_cached(world.file, 7));
	assert_int_equal(cache_stats(world.cache).pages_file, 0);
	assert_int_equal(cache_stats(world.cache).invalidations, 1);
	io_fault_change(world.contents);
	expect_read(&world, 7 * PAGE, PAGE, 2);
	assert_int_equal(reads(&world), 2);

	/* The same for a read that fails. */
	assert_int_equal(folio_file_invalidate(world.file, 0, UINT64_MAX), 0);
	io_fault_hold(world.io);
	io_fault_fail(world.io, IO_FAULT_READ, 1, EIO);
	readers_begin(reader, &world, 7, 0);
	all_wait_for(&world, 7);
	assert_int_equal(folio_file_invalidate(world.file, 7 * PAGE, PAGE), 0);
	io_fault_release(world.io, UINT64_MAX);
	readers_end(reader, -EIO);
	assert_int_equal(cache_stats(world.cache).pages_file, 0);
	world_end(&world);
}

/* A backend that returns a number that is no errno has failed all the same. */
static void test_error_without_name(void **state)
{
	struct world world;
	struct folio *folio;
	char buf[64];

	(void)state;
	world_begin(&world, 64, FOLIO_CACHE_NO_READAHEAD, 100 * PAGE);
	io_fault_fail(world.io, IO_FAULT_READ, 1, 5000);
	assert_int_equal(folio_file_read(world.file, buf, sizeof(buf), 5 * PAGE), -EIO);
	io_fault_fail(world.io, IO_FAULT_READ, 1, 4095);
	assert_int_equal(folio_file_get(world.file, 5, 0, &folio), -4095);
	expect_read(&world, 5 * PAGE, 64, 1);
	/* The size of the file is queried for a page past its end. */
	io_fault_fail(world.io, IO_FAULT_GETATTR, 1, EREMOTEIO);
	assert_int_equal(folio_file_get(world.file, 100, 0, &folio), -EREMOTEIO);
	assert_int_equal(folio_file_get(world.file, 100, 0, &folio), -ENODATA);
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_read_for_all),
		cmocka_unit_test(test_misses_in_parallel),
		cmocka_unit_test(test_error_for_all),
		cmocka_unit_test(test_error_of_prefetch),
		cmocka_unit_test(test_error_of_neighbour),
		cmocka_unit_test(test_error_after_some),
		cmocka_unit_test(test_error_without_name),
		cmocka_unit_test(test_nowait),
		cmocka_unit_test(test_invalidate_during_read),
	};

	test_begin("demand");
	return cmocka_run_group_tests_name("demand", tests, NULL, NULL);
}
