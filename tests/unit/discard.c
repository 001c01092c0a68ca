/* SPDX-License-Identifier: BSD-2-Clause */
/* Dropping dirty pages that cannot be written. */
#include <sys/stat.h>

#include "write-world.h"

/* Writes that touch this range fail. */
static folio_u64 bad_from, bad_to;

static void failing_submit(void *context, struct folio_io_request **requests, unsigned count)
{
	unsigned i, k;

	for (i = 0; i < count; i++) {
		uint64_t from = requests[i]->offset, to = from;

		for (k = 0; k < requests[i]->iov_count; k++)
			to += requests[i]->iov[k].iov_len;
		if (requests[i]->op == FOLIO_IO_WRITE && from < folio_u64_load_relaxed(&bad_to) &&
			to > folio_u64_load_relaxed(&bad_from))
			requests[i]->complete(requests[i], -EIO);
		else
			folio_io_threads.submit(context, &requests[i], 1);
	}
}

static void set_bad(uint64_t first, uint64_t pages)
{
	folio_u64_store_relaxed(&bad_from, first * PAGE);
	folio_u64_store_relaxed(&bad_to, (first + pages) * PAGE);
}

static unsigned log_calls;

static int count_log_calls(void *context, uint64_t sequence)
{
	(void)context;
	(void)sequence;
	log_calls++;
	return 0;
}

static unsigned flushes;

static int count_flushes(void *context, void *handle)
{
	(void)context;
	(void)handle;
	flushes++;
	return 0;
}

/* A file of @pages pages 'o', which the device has. */
static void failing_world_begin(struct world *world, uint64_t pages)
{
	static struct folio_io_ops ops;
	struct folio_cache_params params = {
		.size = sizeof(params),
		.bytes = 256 * PAGE,
		.io = &ops,
		.dirty_age_ms = UINT32_MAX,
		.before_writeback = count_log_calls,
	};
	int fd;

	ops = folio_io_threads;
	ops.submit = failing_submit;
	ops.flush = count_flushes;
	set_bad(0, 0);
	memset(world, 0, sizeof(*world));
	strcpy(world->path, "folio-discard-XXXXXX");
	fd = mkstemp(world->path);
	assert_true(fd >= 0);
	memset(world->model, 'o', pages * PAGE);
	world->size = pages * PAGE;
	assert_int_equal(write(fd, world->model, world->size), world->size);
	close(fd);
	world_open(world, &params);
}

static void write_pages(struct world *world, uint64_t first, uint64_t pages, char byte)
{
	static char buf[64 * FOLIO_PAGE_SIZE];

	memset(buf, byte, pages * PAGE);
	assert_int_equal(
		folio_file_write(world->file, buf, pages * PAGE, first * PAGE), pages * PAGE);
	memset(world->model + first * PAGE, byte, pages * PAGE);
	if (world->size < (first + pages) * PAGE)
		world->size = (first + pages) * PAGE;
}

static int discard(struct world *world, uint64_t first, uint64_t pages)
{
	return folio_file_discard(world->file, first * PAGE, pages * PAGE);
}

/* What the cache reads, and what the device has after a sync. */
static void check_contents(struct world *world)
{
	static char buf[MODEL_BYTES];

	assert_int_equal(folio_file_size(world->file), world->size);
	assert_int_equal(folio_file_read(world->file, buf, sizeof(buf), 0), world->size);
	assert_memory_equal(buf, world->model, world->size);
	assert_int_equal(folio_file_sync(world->file, NULL, 0), 0);
	assert_int_equal(cache_stats(world->cache).pages_dirty, 0);
	check_file(world);
}

/* A page that cannot be written is given up. The others are synced, and its old bytes are read. */
static void test_one_page(void **state)
{
	static struct world world;

	(void)state;
	failing_world_begin(&world, 8);
	write_pages(&world, 3, 1, 'x');
	write_pages(&world, 5, 1, 'y');
	set_bad(3, 1);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), -EIO);
	/* A range that covers the page only in part leaves it. */
	assert_int_equal(folio_file_discard(world.file, 3 * PAGE + 1, 2 * PAGE - 2), 0);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), -EIO);
	assert_int_equal(discard(&world, 3, 1), 0);
	memset(world.model + 3 * PAGE, 'o', PAGE);
	check_contents(&world);
	world_end(&world);
}

/* The error of a write-back that no sync has reported yet is reported once after the discard. */
static void test_error_stays(void **state)
{
	static struct world world;
	struct folio_file *other;

	(void)state;
	failing_world_begin(&world, 8);
	assert_int_equal(folio_file_open(world.cache, world.path, O_RDONLY, 0, &other), 0);
	write_pages(&world, 3, 1, 'x');
	set_bad(3, 1);
	assert_int_equal(folio_file_sync(other, NULL, 0), -EIO);
	assert_int_equal(discard(&world, 3, 1), 0);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), -EIO);
	assert_int_equal(folio_file_sync(other, NULL, 0), 0);
	memset(world.model + 3 * PAGE, 'o', PAGE);
	check_contents(&world);
	assert_int_equal(folio_file_close(other), 0);
	world_end(&world);
}

/* Bytes past the end of the device's file are gone with their pages, unless others follow. */
static void test_end_of_file(void **state)
{
	static struct world world;
	uint64_t i;

	(void)state;
	failing_world_begin(&world, 2);
	/* Each page is a folio. */
	for (i = 2; i < 6; i++)
		write_pages(&world, i, 1, 'x');
	set_bad(4, 2);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), -EIO);
	assert_int_equal(discard(&world, 4, 1), 0);
	memset(world.model + 4 * PAGE, 0, PAGE);
	assert_int_equal(folio_file_size(world.file), 6 * PAGE);
	assert_int_equal(folio_file_discard(world.file, 4 * PAGE + 1, UINT64_MAX), 0);
	world.size = 5 * PAGE;
	check_contents(&world);
	/* A write in flight may have made the file longer; a discard does not cut that. */
	write_pages(&world, 3, 1, 'y');
	assert_int_equal(discard(&world, 3, 9), 0);
	memset(world.model + 3 * PAGE, 'x', PAGE);
	check_contents(&world);
	write_pages(&world, 9, 1, 'z');
	assert_int_equal(folio_file_discard(world.file, 0, UINT64_MAX), 0);
	world.size = 5 * PAGE;
	check_contents(&world);
	world_end(&world);
}

/* A folio of several pages that is only partly in the range: its other pages are written. */
static void test_large_folio(void **state)
{
	static struct world world;
	struct folio *folio;
	uint64_t version, last;

	(void)state;
	failing_world_begin(&world, 16);
	write_pages(&world, 0, 16, 'x');
	assert_int_equal(folio_file_get(world.file, 6, 0, &folio), 0);
	assert_true(folio_order(folio) > 0);
	set_bad(0, 16);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), -EIO);
	/* As a program leaves it that has marked it dirty in place when the file was shorter. */
	last = folio_index(folio) + (UINT64_C(1) << folio_order(folio)) - 1;
	memset((char *)folio_page(folio, last) + 100, 0xee, PAGE - 100);
	memset(world.model + last * PAGE + 100, 0, PAGE - 100);
	set_valid(world.file, folio, (uint32_t)(folio_size(folio) - PAGE + 100));
	assert_int_equal(discard(&world, 6, 1), -EIO);
	assert_int_equal(cache_stats(world.cache).pages_dirty, 16);
	assert_true(version_read_begin(pool_version(&world.cache->pool, folio), &version));
	set_bad(6, 1);
	log_calls = 0;
	assert_int_equal(discard(&world, 6, 1), 0);
	assert_int_equal(log_calls, 1);
	folio_put(folio);
	/* The discard that failed. */
	assert_int_equal(folio_file_sync(world.file, NULL, 0), -EIO);
	memset(world.model + 6 * PAGE, 'o', PAGE);
	check_contents(&world);
	world_end(&world);
}

/* The close asks the file system whether it has kept what the discard has written. */
static void test_close_after_large_folio(void **state)
{
	static struct world world;

	(void)state;
	failing_world_begin(&world, 8);
	write_pages(&world, 0, 8, 'x');
	assert_int_equal(discard(&world, 6, 1), 0);
	assert_int_equal(cache_stats(world.cache).pages_dirty, 0);
	flushes = 0;
	world_end(&world);
	assert_int_equal(flushes, 1);
}

static void *mark_discarded(void *arg)
{
	struct world *world = arg;

	assert_int_equal(discard(world, 3, 1), 0);
	return NULL;
}

/* A thread that has a page pinned, or locked, keeps its memory, which is never written. */
static void test_pinned_and_locked(void **state)
{
	static struct world world;
	struct folio *folio;
	pthread_t thread;
	void *page;

	(void)state;
	failing_world_begin(&world, 8);
	write_pages(&world, 3, 1, 'x');
	assert_int_equal(folio_file_get_page(world.file, 3, 0, &folio, &page), 0);
	assert_int_equal(folio_lock(folio), 0);
	assert_int_equal(pthread_create(&thread, NULL, mark_discarded, &world), 0);
	pthread_join(thread, NULL);
	assert_int_equal(((char *)page)[7], 'x');
	assert_int_equal(folio_mark_dirty(folio, 0), -ENODATA);
	assert_int_equal(folio_unlock(folio), 0);
	assert_int_equal(folio_lock(folio), -ENODATA);
	folio_put(folio);
	memset(world.model + 3 * PAGE, 'o', PAGE);
	check_contents(&world);
	world_end(&world);
}

static void test_arguments(void **state)
{
	static struct world world;
	struct folio_file *reader;
	struct folio *folio;

	(void)state;
	failing_world_begin(&world, 2);
	reader = file_open(world.cache, world.path);
	write_pages(&world, 0, 1, 'x');
	assert_int_equal(folio_file_get(world.file, 0, 0, &folio), 0);
	assert_int_equal(folio_lock(folio), 0);
	assert_int_equal(folio_file_discard(world.file, 0, PAGE), -EDEADLK);
	assert_int_equal(folio_unlock(folio), 0);
	folio_put(folio);
	assert_int_equal(folio_file_discard(NULL, 0, PAGE), -EINVAL);
	assert_int_equal(folio_file_discard(world.file, 2, UINT64_MAX - 1), -EINVAL);
	assert_int_equal(folio_file_discard(reader, 0, PAGE), -EBADF);
	assert_int_equal(folio_file_discard(world.file, 0, 0), 0);
	assert_int_equal(folio_file_discard(world.file, 2 * PAGE, UINT64_MAX), 0);
	assert_int_equal(folio_file_discard(world.file, 0, PAGE - 1), 0);
	check_contents(&world);
	assert_int_equal(folio_file_close(reader), 0);
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_page),
		cmocka_unit_test(test_error_stays),
		cmocka_unit_test(test_end_of_file),
		cmocka_unit_test(test_large_folio),
		cmocka_unit_test(test_close_after_large_folio),
		cmocka_unit_test(test_pinned_and_locked),
		cmocka_unit_test(test_arguments),
	};

	test_begin("discard");
	return cmocka_run_group_tests_name("discard", tests, NULL, NULL);
}
