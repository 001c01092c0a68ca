/* SPDX-License-Identifier: BSD-2-Clause */
/* Pages that are written once: they leave like pages that are read once, when they are written. */
#include "evict-world.h"

#define PAGES    256
#define SMALL    (PAGES / 10)
#define HOT      220                       /* pages that were read often */
#define WRITTEN  (PAGES - SMALL - HOT - 1) /* pages to write, in adjacent places */
#define WRITE_AT 30000

/* ---- the fault-injecting backend; writes are held, or fail, and their data is lost ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct folio_io_request *held;
static bool holds;
static int write_error;

static void complete_write(struct folio_io_request *request)
{
	ssize_t bytes = 0;
	uint32_t i;

	for (i = 0; i < request->iov_count; i++)
		bytes += (ssize_t)request->iov[i].iov_len;
	request->complete(request, write_error ? -write_error : bytes);
}

static void submit(void *context, struct folio_io_request **requests, unsigned count)
{
	unsigned i;

	for (i = 0; i < count; i++) {
		bool hold;

		if (requests[i]->op == FOLIO_IO_READ) {
			io_fault_ops.submit(context, &requests[i], 1);
			continue;
		}
		pthread_mutex_lock(&lock);
		hold = holds;
		if (hold) {
			requests[i]->next = held;
			held = requests[i];
		}
		pthread_mutex_unlock(&lock);
		if (!hold)
			complete_write(requests[i]);
	}
}

static bool any_held(void)
{
	bool any;

	pthread_mutex_lock(&lock);
	any = held != NULL;
	pthread_mutex_unlock(&lock);
	return any;
}

static void release(void)
{
	struct folio_io_request *request, *next;

	pthread_mutex_lock(&lock);
	request = held;
	held = NULL;
	holds = false;
	pthread_mutex_unlock(&lock);
	for (; request; request = next) {
		next = request->next;
		complete_write(request);
	}
}

static int sync_file(void *context, void *handle, unsigned flags)
{
	(void)context, (void)handle, (void)flags;
	return 0;
}

static int truncate_file(void *context, void *handle, uint64_t size)
{
	(void)context, (void)handle, (void)size;
	return 0;
}

static int punch_file(void *context, void *handle, uint64_t offset, uint64_t len)
{
	(void)context, (void)handle, (void)offset, (void)len;
	return 0;
}

/* ---- the tests ---- */

/* Nothing is written because of its age. The hot pages are in the main queue. */
static void begin(struct world *world, bool hold, int error)
{
	static struct folio_io_ops ops;
	struct folio_cache_params params = {
		.size = sizeof(params),
		.bytes = PAGES * PAGE,
		.flags = FOLIO_CACHE_NO_READAHEAD | FOLIO_CACHE_NO_HUGE_PAGES,
		.io = &ops,
		.dirty_age_ms = UINT32_MAX,
	};

	ops = io_fault_ops;
	ops.submit = submit;
	ops.sync = sync_file;
	ops.truncate = truncate_file;
	ops.punch = punch_file;
	held = NULL;
	holds = hold;
	write_error = error;
	world->io = io_fault_new(test_seed, 2);
	world->contents = io_fault_add(world->io, "a", FILE_PAGES * PAGE);
	params.io_context = world->io;
	assert_int_equal(folio_cache_open(&params, &world->cache), 0);
	assert_int_equal(folio_file_open(world->cache, "a", O_RDWR, 0, &world->file), 0);
	quiet_background(world);
	touch_all(world, 0, HOT, 3);
	touch_all(world, 1000, 2 * PAGES, 1);
	assert_int_equal(cached(world, 0, HOT), HOT);
}

static void write_some(struct world *world, uint64_t count, unsigned times)
{
	static char page[FOLIO_PAGE_SIZE];
	uint64_t i;

	while (times-- > 0)
		for (i = 0; i < count; i++)
			assert_int_equal(
				folio_file_write(world->file, page, PAGE, (WRITE_AT + i) * PAGE),
				PAGE);
}

static void write_pages(struct world *world, unsigned times)
{
	write_some(world, WRITTEN, times);
}

static uint64_t dirty(struct world *world)
{
	return cache_stats(world->cache).pages_dirty;
}

/* The flusher visits no file, and will not visit this one. All writes end during a visit. */
static bool flusher_rests(struct world *world)
{
	struct writeback *writeback = &world->cache->writeback;
	bool rests;

	pthread_mutex_lock(&writeback->lock);
	rests = !writeback->current && !folio_u32_load_relaxed(&world->file->inode->dirty_wanted);
	pthread_mutex_unlock(&writeback->lock);
	return rests;
}

/*
 * Dirty newcomers are not evicted, take no space from hot pages, and are written because a scan
 * found them. From then on they leave before hot pages, and before other newcomers are old.
 */
static void test_written_once(void **state)
{
	struct world world;

	(void)state;
	begin(&world, true, 0);
	write_pages(&world, 1);
	touch_all(&world, 5000, 2 * PAGES, 1);
	/* In this order: a visit has submitted its writes when it ends. */
	assert_true(!flusher_rests(&world) || any_held());
	touch_all(&world, 10000, 2 * PAGES, 1);
	assert_int_equal(cached(&world, WRITE_AT, WRITTEN), WRITTEN);
	assert_int_equal(cached(&world, 0, HOT), HOT);
	release();
	wait_until(dirty(&world) == 0);
	touch_all(&world, 15000, 4 * WRITTEN, 1);
	assert_int_equal(cached(&world, WRITE_AT, WRITTEN), 0);
	assert_int_equal(cached(&world, 0, HOT), HOT);
	world_end(&world);
}

/*
 * More dirty newcomers wait than the small queue may have. Pages that are read for the first time,
 * or were read ahead, stay as long as they otherwise would.
 */
static void test_read_while_others_wait(void **state)
{
	const uint64_t many = SMALL + SMALL / 4; /* a writer of more would have to wait */
	struct world world;

	(void)state;
	begin(&world, true, 0);
	write_some(&world, many, 1);
	touch_all(&world, 5000, 2 * PAGES, 1);
	assert_int_equal(cached(&world, WRITE_AT, many), many);
	touch_all(&world, 10000, SMALL, 1);
	assert_int_equal(cached(&world, 10000, SMALL), SMALL);
	/* Hot pages make space for those that wait, and for no others. */
	assert_true(cached(&world, 0, HOT) >= PAGES - SMALL - many - 2);
	release();
	world_end(&world);
}

#define PART (PAGES / 32) /* pages that leave the hot set unchanged, before they go first */

static void write_once(struct world *world, uint64_t index, size_t len)
{
	static char page[FOLIO_PAGE_SIZE];

	assert_int_equal(
		folio_file_write_flags(world->file, page, len, index * PAGE, FOLIO_WRITE_ONCE),
		len);
}

/* Writes of four times the cache that leave the hot set unchanged: they wait for write-back. */
static void test_hot_set_unchanged(void **state)
{
	struct world world;
	uint64_t i;

	(void)state;
	begin(&world, false, 0);
	for (i = 0; i < 4 * PAGES; i++) {
		write_once(&world, WRITE_AT + i, i % 5 ? PAGE : 100);
		assert_true(dirty(&world) <= PART);
	}
	/* What is in flight cannot be evicted, and may take the place of a few. */
	assert_true(cached(&world, 0, HOT) >= HOT - PART);
	/* Those that the last ones make space for are written. */
	assert_true(cached(&world, WRITE_AT, 4 * PAGES) <= 3 * PART);
	wait_until(flusher_rests(&world));
	world_end(&world);
}

/* Such pages are written early, and leave first once they are written. */
static void test_written_early(void **state)
{
	struct world world;
	uint64_t i;

	(void)state;
	begin(&world, true, 0);
	/* The last of these writes is the first that finds more than half of the part dirty. */
	for (i = 0; i < PART / 2 + 2; i++)
		write_once(&world, WRITE_AT + i, PAGE);
	wait_until(any_held());
	for (; i < PART; i++)
		write_once(&world, WRITE_AT + i, PAGE);
	release();
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	touch_all(&world, 5000, 9 * PART + 2, 1);
	assert_int_equal(cached(&world, WRITE_AT, PART), 0);
	assert_int_equal(cached(&world, 0, HOT), HOT);
	world_end(&world);
}

/* Such a write of a page that was cached leaves its heat; one that counts makes the page stay. */
static void test_written_where_cached(void **state)
{
	const uint64_t cold = 1000 + 2 * PAGES - 1;
	struct world world;
	unsigned i;

	(void)state;
	begin(&world, false, 0);
	for (i = 0; i < 4; i++) {
		write_once(&world, cold, PAGE);
		assert_int_equal(page_heat(world.file, cold), HEAT_COLD);
	}
	write_once(&world, WRITE_AT, PAGE);
	for (i = 0; i < 3; i++)
		write_some(&world, 1, 1);
	assert_int_equal(page_heat(world.file, WRITE_AT), HEAT_HOT);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	for (i = 1; i < 4 * PAGES; i++)
		write_once(&world, WRITE_AT + i, PAGE);
	assert_true(page_cached(world.file, WRITE_AT));
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	world_end(&world);
}

/* Written pages of a file with a ceiling leave when they are written. */
static void test_written_with_ceiling(void **state)
{
	const uint64_t ceiling = 20;
	struct folio_file_stat stat = {.size = sizeof(stat)};
	struct world world;

	(void)state;
	begin(&world, false, 0);
	assert_int_equal(folio_file_set_share(world.file, 0, ceiling * PAGE), 0);
	write_some(&world, 4 * PAGES, 1);
	/* The hand passes each of them twice, and finds those that are dirty again. */
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	touch(&world, 5000);
	touch(&world, 5001);
	assert_int_equal(folio_file_stat(world.file, &stat), 0);
	assert_true(stat.pages <= ceiling);
	world_end(&world);
}

/* If a part of a large folio is written so, its pieces leave first, as the folio would have. */
static void test_written_in_part(void **state)
{
	static char buf[16 * FOLIO_PAGE_SIZE];
	struct world world;
	uint64_t i;

	(void)state;
	begin(&world, false, 0);
	assert_int_equal(folio_file_invalidate(world.file, 60 * PAGE, UINT64_MAX), 0);
	assert_int_equal(
		folio_file_read_flags(world.file, buf, sizeof(buf), 4096 * PAGE, FOLIO_READ_ONCE),
		sizeof(buf));
	assert_true(folio_order(entry_folio(tree_load(&world.file->inode->tree, 4096))) > 0);
	write_once(&world, 4097, 100);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	for (i = 0; i < 16; i++) {
		struct folio *folio = entry_folio(tree_load(&world.file->inode->tree, 4096 + i));

		assert_int_equal(folio_u8_load_relaxed(&folio->queue), QUEUE_ONCE);
	}
	touch_all(&world, 5000, 2 * PAGES, 1);
	assert_int_equal(cached(&world, 4096, 16), 0);
	world_end(&world);
}

/* Pages that are written again and again are hot, without a read, also after write-back. */
static void test_written_often(void **state)
{
	struct world world;

	(void)state;
	begin(&world, false, 0);
	write_pages(&world, 3);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	touch_all(&world, 5000, 2 * PAGES, 1);
	assert_int_equal(cached(&world, WRITE_AT, WRITTEN), WRITTEN);
	world_end(&world);
}

/* If the device refuses the pages, scans do not have them written again and again. */
static void test_refused(void **state)
{
	struct folio_cache_stats before, after;
	struct world world;

	(void)state;
	begin(&world, false, EIO);
	write_pages(&world, 1);
	/* Each of the pages is found in the small queue once. */
	touch_all(&world, 5000, PAGES, 1);
	wait_until(flusher_rests(&world));
	before = cache_stats(world.cache);
	assert_true(before.write_errors > 0);
	touch_all(&world, 10000, 2 * PAGES, 1);
	assert_true(flusher_rests(&world));
	after = cache_stats(world.cache);
	assert_int_equal(after.write_errors, before.write_errors);
	assert_int_equal(dirty(&world), WRITTEN);
	write_error = 0;
	folio_file_sync(world.file, NULL, 0);
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_written_once),
		cmocka_unit_test(test_read_while_others_wait),
		cmocka_unit_test(test_written_often),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_hot_set_unchanged),
		cmocka_unit_test(test_written_early),
		cmocka_unit_test(test_written_where_cached),
		cmocka_unit_test(test_written_in_part),
		cmocka_unit_test(test_written_with_ceiling),
	};

	test_begin("newcomers");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
