/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Calls whose device stops completing requests (folio_cache_params.timeout_ms): none hangs, nothing
 * is lost, and when the device continues, so do they.
 */
#include "stalled-device.h"

/*
 * Cached pages are read. A wait for other pages ends at the deadline, and they arrive when the
 * device continues.
 */
static void test_read(void **state)
{
	unsigned char buf[3 * FOLIO_PAGE_SIZE];
	struct folio_range range = {20 * PAGE, 8 * PAGE};
	static char several[6][FOLIO_PAGE_SIZE];
	struct folio_read reads[6];
	struct world world;
	struct folio *folio;
	uint64_t i, fills;

	(void)state;
	world_begin(&world, 128, 16);
	for (i = 0; i < 4; i++)
		check_page(&world, i);
	device_stop(&world.device);
	for (i = 0; i < 4; i++)
		check_page(&world, i);
	fills = cache_stats(world.cache).fills;
	assert_int_equal(folio_file_read(world.file, buf, 100, 7 * PAGE), -ETIMEDOUT);
	assert_int_equal(cache_stats(world.cache).fills, fills + 1);
	/* The page is being read: no caller submits it again. */
	assert_int_equal(folio_file_read(world.file, buf, 100, 7 * PAGE), -ETIMEDOUT);
	assert_int_equal(folio_file_get(world.file, 7, 0, &folio), -ETIMEDOUT);
	assert_int_equal(cache_stats(world.cache).fills, fills + 1);
	assert_int_equal(folio_file_get(world.file, 8, 0, &folio), -ETIMEDOUT);
	assert_int_equal(folio_file_get(world.file, 8, FOLIO_GET_NOWAIT, &folio), -EAGAIN);
	/* The part that is cached. */
	assert_int_equal(folio_file_read(world.file, buf, sizeof(buf), 2 * PAGE), 2 * PAGE);
	for (i = 0; i < 6; i++)
		reads[i] = (struct folio_read){several[i], PAGE, (i % 2 ? 1 : 30 + i) * PAGE, 0};
	assert_int_equal(folio_file_read_batch(world.file, reads, 6, 0), 0);
	for (i = 0; i < 6; i++)
		assert_int_equal(reads[i].result, i % 2 ? (ssize_t)PAGE : -ETIMEDOUT);
	assert_int_equal(folio_file_prefetch(world.file, &range, 1), 8);
	assert_int_equal(folio_file_close(world.file), -ETIMEDOUT);
	device_go(&world.device);
	for (i = 0; i < 30; i++)
		check_page(&world, i);
	assert_int_equal(folio_file_get(world.file, 7, 0, &folio), 0);
	folio_put(folio);
	world_end(&world);
}

/* Shrinking the budget waits no longer than its deadline, and can be tried again. */
static void test_resize(void **state)
{
	unsigned char page[FOLIO_PAGE_SIZE];
	struct world world;
	uint64_t i;
	int r;

	(void)state;
	world_begin(&world, 128, 128);
	device_stop(&world.device);
	for (i = 0; i < 100; i++)
		assert_int_equal(
			folio_file_read_nowait(world.file, page, PAGE, i * 3 * PAGE), -EAGAIN);
	assert_int_equal(folio_cache_resize(world.cache, 64 * PAGE), -ETIMEDOUT);
	assert_in_range(cache_stats(world.cache).pages, 100, 127);
	device_go(&world.device);
	UNTIL_IN_TIME(folio_cache_resize(world.cache, 64 * PAGE));
	assert_int_equal(r, 0);
	/* Half the budget. */
	world.limits.pages /= 2;
	world.limits.dirty /= 2;
	for (i = 0; i < FILE_PAGES; i++)
		check_page(&world, i);
	world_end(&world);
}

static void test_write(void **state)
{
	unsigned char page[FOLIO_PAGE_SIZE];
	struct folio_file *other;
	struct folio *folio;
	struct world world;
	uint64_t i;
	ssize_t r;

	(void)state;
	world_begin(&world, 128, 128);
	write_without_copies(world.cache);
	for (i = 0; i < 8; i++)
		write_page(&world, i, 1000 + i);
	/* The last page of the file, so that a write past the end must wait for it. */
	write_page(&world, FILE_PAGES - 1, 2000);
	device_stop(&world.device);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), -ETIMEDOUT);
	wait_held(&world.device, 2);
	assert_int_equal(folio_file_sync(world.file, NULL, FOLIO_SYNC_DATA), -ETIMEDOUT);
	/* In flight: it cannot be changed, but read. */
	fill_page(page, 3000);
	assert_int_equal(folio_file_write(world.file, page, PAGE, 3 * PAGE), -ETIMEDOUT);
	assert_int_equal(
		folio_file_write(world.file, page, PAGE, (FILE_PAGES + 5) * PAGE), -ETIMEDOUT);
	assert_int_equal(folio_file_size(world.file), FILE_PAGES * PAGE);
	assert_int_equal(folio_file_get(world.file, 3, 0, &folio), 0);
	assert_int_equal(folio_lock(folio), -ETIMEDOUT);
	fill_page(page, 1003);
	assert_memory_equal(folio_page(folio, 3), page, PAGE);
	folio_put(folio);
	/* Other pages can be written up to the file's share of what may be dirty: 18 of 32. */
	for (i = 0; i < 64; i++) {
		fill_page(page, 1100 + i);
		r = folio_file_write(world.file, page, PAGE, (100 + i) * PAGE);
		if (r != (ssize_t)PAGE)
			break;
	}
	assert_int_equal(r, -ETIMEDOUT);
	assert_in_range(i, 9, 32);
	assert_int_equal(folio_file_truncate(world.file, PAGE), -ETIMEDOUT);
	assert_int_equal(folio_file_punch(world.file, 0, 8 * PAGE), -ETIMEDOUT);
	/* A call that continues keeps the handle, also when another handle is open. */
	assert_int_equal(folio_file_close(world.file), -ETIMEDOUT);
	assert_int_equal(folio_file_open(world.cache, world.path, O_RDWR, 0, &other), 0);
	assert_int_equal(folio_file_close(world.file), -ETIMEDOUT);
	assert_int_equal(folio_file_abandon(world.file), -ETIMEDOUT);
	device_go(&world.device);
	UNTIL_IN_TIME(folio_file_sync(world.file, NULL, 0));
	assert_int_equal(r, 0);
	/* Truncation and hole were not started: the sync came before them. */
	for (i = 0; i < 8; i++)
		check_file(&world, i, 1000 + i);
	check_file(&world, FILE_PAGES - 1, 2000);
	check_file(&world, 100, 1100);
	UNTIL_IN_TIME(folio_file_close(other));
	assert_int_equal(r, 0);
	world_end(&world);
}

static bool map_is_locked(struct inode *inode)
{
	bool locked = pthread_rwlock_tryrdlock(&inode->map_lock) != 0;

	if (!locked)
		pthread_rwlock_unlock(&inode->map_lock);
	return locked;
}

/* A truncation whose device does not answer has the file to itself; pages are read all the same. */
static void test_write_during_truncation(void **state)
{
	unsigned char page[FOLIO_PAGE_SIZE];
	struct world world;
	int r;

	(void)state;
	world_begin(&world, 128, 16);
	check_page(&world, 3);
	device_stop(&world.device);
	assert_int_equal(folio_file_truncate(world.file, (FILE_PAGES + 1) * PAGE), -ETIMEDOUT);
	wait_until(map_is_locked(world.file->inode));
	fill_page(page, 1003);
	assert_int_equal(folio_file_write(world.file, page, PAGE, 3 * PAGE), -ETIMEDOUT);
	assert_int_equal(cache_stats(world.cache).pages_dirty, 0);
	check_page(&world, 3);
	device_go(&world.device);
	write_page(&world, 3, 1003);
	assert_int_equal(folio_file_size(world.file), (FILE_PAGES + 1) * PAGE);
	UNTIL_IN_TIME(folio_file_sync(world.file, NULL, 0));
	assert_int_equal(r, 0);
	check_file(&world, 3, 1003);
	world_end(&world);
}

static bool size_is_locked(struct inode *inode)
{
	bool locked = pthread_mutex_trylock(&inode->size_lock) != 0;

	if (!locked)
		pthread_mutex_unlock(&inode->size_lock);
	return locked;
}

/*
 * A sync of a range that makes the file longer, on a device that does not answer: no thread appends
 * in the meantime, but the file is written elsewhere.
 */
static void test_append_during_growth(void **state)
{
	const struct folio_range gap = {FILE_PAGES * PAGE, PAGE};
	unsigned char page[FOLIO_PAGE_SIZE];
	struct world world;
	int r;

	(void)state;
	world_begin(&world, 128, 16);
	check_page(&world, 3);
	write_page(&world, FILE_PAGES + 10, 2010);
	device_stop(&world.device);
	assert_int_equal(folio_file_sync(world.file, &gap, 0), -ETIMEDOUT);
	wait_until(size_is_locked(world.file->inode));
	fill_page(page, 2011);
	assert_int_equal(
		folio_file_write(world.file, page, PAGE, (FILE_PAGES + 11) * PAGE), -ETIMEDOUT);
	assert_int_equal(folio_file_size(world.file), (FILE_PAGES + 11) * PAGE);
	write_page(&world, 3, 1003);
	device_go(&world.device);
	write_page(&world, FILE_PAGES + 11, 2011);
	UNTIL_IN_TIME(folio_file_sync(world.file, NULL, 0));
	assert_int_equal(r, 0);
	check_file(&world, 3, 1003);
	check_file(&world, FILE_PAGES + 10, 2010);
	check_file(&world, FILE_PAGES + 11, 2011);
	world_end(&world);
}

struct reader {
	struct world *world;
	uint64_t index;
	ssize_t now, waits;
};

static void *read_one(void *arg)
{
	struct reader *reader = arg;
	unsigned char page[FOLIO_PAGE_SIZE], right[FOLIO_PAGE_SIZE];
	uint64_t offset = reader->index * PAGE;

	reader->now = folio_file_read_nowait(reader->world->file, page, PAGE, offset);
	reader->waits = folio_file_read(reader->world->file, page, PAGE, offset);
	fill_page(right, reader->index);
	if (reader->waits > 0 && memcmp(page, right, (size_t)reader->waits) != 0)
		reader->waits = -EBADMSG;
	return NULL;
}

/* Another thread changes the page in place, and takes long. */
static void test_read_of_locked_page(void **state)
{
	struct reader reader;
	struct folio *folio;
	struct world world;
	pthread_t thread;

	(void)state;
	world_begin(&world, 128, 16);
	check_page(&world, 3);
	assert_int_equal(folio_file_get(world.file, 3, 0, &folio), 0);
	assert_int_equal(folio_lock(folio), 0);
	reader = (struct reader){.world = &world, .index = 3};
	assert_int_equal(pthread_create(&thread, NULL, read_one, &reader), 0);
	pthread_join(thread, NULL);
	assert_int_equal(reader.now, -EAGAIN);
	assert_int_equal(reader.waits, -ETIMEDOUT);
	assert_int_equal(folio_unlock(folio), 0);
	folio_put(folio);
	read_one(&reader);
	assert_int_equal(reader.now, PAGE);
	assert_int_equal(reader.waits, PAGE);
	world_end(&world);
}

/*
 * A reader waits for a page that another thread has begun to read, without a request slot. That
 * thread leaves at its deadline, and the reader reads the page itself.
 */
static void test_filler_without_slot(void **state)
{
	unsigned char page[FOLIO_PAGE_SIZE];
	struct reader filler, reader;
	pthread_t first, second;
	struct world world;
	uint64_t i;

	(void)state;
#ifdef __SANITIZE_THREAD__
	print_message("# skipped under TSan: the test changes a parameter of a cache in use\n");
	return;
#endif
	world_begin(&world, 128, 16);
	device_stop(&world.device);
	for (i = 0; i < 16; i++)
		assert_int_equal(
			folio_file_read_nowait(world.file, page, PAGE, i * 3 * PAGE), -EAGAIN);
	filler = reader = (struct reader){.world = &world, .index = 300};
	assert_int_equal(pthread_create(&first, NULL, read_one, &filler), 0);
	wait_until(page_cached(world.file, 300));
	/* For calls that begin from here on. */
	world.cache->timeout_ms = 300000;
	assert_int_equal(pthread_create(&second, NULL, read_one, &reader), 0);
	pthread_join(first, NULL);
	assert_int_equal(filler.waits, -ETIMEDOUT);
	device_go(&world.device);
	pthread_join(second, NULL);
	assert_int_equal(reader.waits, PAGE);
	world_end(&world);
}

/* Threads with separate pages, on a device that stops and continues. */
#define THREADS 6

struct worker {
	struct world *world;
	unsigned number;
	folio_u32 *stop;
	uint64_t calls;
	folio_u64 late;
	uint64_t has[FILE_PAGES];
	pthread_t thread;
};

static void work_once(struct worker *worker, uint64_t *random)
{
	uint64_t index = random_below(random, FILE_PAGES / THREADS) * THREADS + worker->number;
	unsigned char page[FOLIO_PAGE_SIZE], got[FOLIO_PAGE_SIZE];
	struct folio_file *file = worker->world->file;
	struct folio *folio;
	uint64_t number;
	ssize_t r;

	switch (random_below(random, 8)) {
	case 0:
		r = folio_file_sync(file, NULL, 0);
		break;
	case 1:
	case 2:
		number = random_below(random, 1 << 20);
		fill_page(page, number);
		r = folio_file_write(file, page, PAGE, index * PAGE);
		if (r == (ssize_t)PAGE)
			worker->has[index] = number;
		break;
	case 3:
		r = folio_file_get(file, index, 0, &folio);
		if (r)
			break;
		fill_page(page, worker->has[index]);
		assert_memory_equal(folio_page(folio, index), page, PAGE);
		r = folio_lock(folio);
		if (!r) {
			number = random_below(random, 1 << 20);
			fill_page(folio_page(folio, index), number);
			r = folio_mark_dirty(folio, 0);
			folio_unlock(folio);
			assert_int_equal(r, 0);
			worker->has[index] = number;
		}
		folio_put(folio);
		if (r == -ENODATA)
			r = 0;
		break;
	default:
		r = folio_file_read(file, got, PAGE, index * PAGE);
		if (r == (ssize_t)PAGE) {
			fill_page(page, worker->has[index]);
			assert_memory_equal(got, page, PAGE);
		}
	}
	assert_true(r >= 0 || r == -ETIMEDOUT || r == -ENOMEM);
	worker->calls++;
	if (r == -ETIMEDOUT)
		folio_u64_fetch_add_relaxed(&worker->late, 1);
}

static void *work(void *arg)
{
	struct worker *worker = arg;
	uint64_t random = test_seed + worker->number;

	while (!folio_u32_load_relaxed(worker->stop))
		work_once(worker, &random);
	return NULL;
}

static void test_stop_and_go(void **state)
{
	static struct worker worker[THREADS];
	uint64_t random = test_seed, calls = 0, late = 0, i;
	struct world world;
	folio_u32 stop;
	unsigned round, t;
	int r;

	(void)state;
	world_begin(&world, 64, 16);
	folio_u32_store_relaxed(&stop, 0);
	for (t = 0; t < THREADS; t++) {
		worker[t] = (struct worker){.world = &world, .number = t, .stop = &stop};
		for (i = 0; i < FILE_PAGES; i++)
			worker[t].has[i] = i;
		assert_int_equal(pthread_create(&worker[t].thread, NULL, work, &worker[t]), 0);
	}
	for (round = 0; round < scaled(40); round++) {
		uint64_t fills = cache_stats(world.cache).fills;

		wait_until(cache_stats(world.cache).fills > fills + 20);
		device_stop(&world.device);
		wait_held(&world.device, 1 + (unsigned)random_below(&random, 4));
		device_go(&world.device);
	}
	/* One stop that lasts longer than all calls. */
	device_stop(&world.device);
	for (t = 0; t < THREADS; t++) {
		uint64_t was = folio_u64_load_relaxed(&worker[t].late);

		wait_until(folio_u64_load_relaxed(&worker[t].late) > was + 1);
	}
	folio_u32_store_relaxed(&stop, 1);
	for (t = 0; t < THREADS; t++) {
		pthread_join(worker[t].thread, NULL);
		calls += worker[t].calls;
		late += folio_u64_load_relaxed(&worker[t].late);
	}
	device_go(&world.device);
	printf("# %llu calls, %llu past the deadline\n", (unsigned long long)calls,
		(unsigned long long)late);
	UNTIL_IN_TIME(folio_file_sync(world.file, NULL, 0));
	assert_int_equal(r, 0);
	for (i = 0; i < FILE_PAGES; i++)
		check_file(&world, i, worker[i % THREADS].has[i]);
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read),
		cmocka_unit_test(test_resize),
		cmocka_unit_test(test_write),
		cmocka_unit_test(test_write_during_truncation),
		cmocka_unit_test(test_append_during_growth),
		cmocka_unit_test(test_read_of_locked_page),
		cmocka_unit_test(test_filler_without_slot),
		cmocka_unit_test(test_stop_and_go),
	};

	test_begin("deadline");
	alarm(300);
	return cmocka_run_group_tests_name("deadline", tests, NULL, NULL);
}
