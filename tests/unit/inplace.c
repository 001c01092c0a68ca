/* SPDX-License-Identifier: BSD-2-Clause */
/* Pages changed in place: locking, marking dirty, unlocking, and misuse of the lock. */
#include "asleep.h"
#include "write-world.h"
#include "cache/thread.h"

/* ---- misuse: the functions return it, and the macros of FOLIO_REF_DEBUG would report it ---- */

#define TRY_LOCK(folio)           (folio_lock)(folio)
#define TRY_MARK_DIRTY(folio, at) (folio_mark_dirty)(folio, at)
#define TRY_UNLOCK(folio)         (folio_unlock)(folio)

#define FILE_PAGES                4

/* Each page is a folio. */
static void pages_begin(struct world *world)
{
	uint64_t i;

	world_begin(world, 64, 0);
	assert_int_equal(folio_file_advise(world->file, FOLIO_ADVICE_RANDOM), 0);
	memset(world->model, 'a', FILE_PAGES * PAGE);
	world->size = FILE_PAGES * PAGE;
	for (i = 0; i < FILE_PAGES; i++)
		assert_int_equal(folio_file_write(world->file, world->model, PAGE, i * PAGE), PAGE);
}

static struct folio *pin(struct folio_file *file, uint64_t index)
{
	struct folio *folio;

	assert_int_equal(folio_file_get(file, index, 0, &folio), 0);
	return folio;
}

/* The page is cached and can be read by copy. */
static void expect_readable(struct world *world, uint64_t index)
{
	char buf[8];

	assert_int_equal(
		folio_file_read_nowait(world->file, buf, sizeof(buf), index * PAGE), sizeof(buf));
	assert_memory_equal(buf, world->model + index * PAGE, sizeof(buf));
}

/* A page that is unlocked once too often stays as it is. */
static void test_unlock_twice(void **state)
{
	static struct world world;
	struct folio *folio;

	(void)state;
	pages_begin(&world);
	folio = pin(world.file, 1);
	assert_int_equal(TRY_UNLOCK(folio), -EINVAL);
	expect_readable(&world, 1);
	assert_int_equal(folio_lock(folio), 0);
	assert_int_equal(folio_unlock(folio), 0);
	assert_int_equal(TRY_UNLOCK(folio), -EINVAL);
	expect_readable(&world, 1);
	assert_int_equal(TRY_MARK_DIRTY(folio, 0), -EINVAL);
	assert_int_equal(TRY_UNLOCK(NULL), -EINVAL);
	/* A lock that was refused needs no unlock. */
	assert_int_equal(folio_file_truncate(world.file, PAGE), 0);
	assert_int_equal(folio_lock(folio), -ENODATA);
	assert_int_equal(TRY_UNLOCK(folio), -EINVAL);
	folio_put(folio);
	world_end(&world);
}

static void *lock_dropped(void *folio)
{
	assert_int_equal(TRY_LOCK(folio), -ENODATA);
	assert_int_equal(TRY_LOCK(folio), -ENODATA);
	return NULL;
}

static void *lock_once(void *folio)
{
	return (void *)(intptr_t)folio_lock(folio);
}

/* Two threads wait for the lock of a page that is dropped: it is refused to both. */
static void test_dropped_while_awaited(void **state)
{
	static struct world world;
	struct folio *folio;
	pthread_t thread[2];
	unsigned i;
	void *r;

	(void)state;
	alarm(50);
	pages_begin(&world);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	folio = pin(world.file, 1);
	assert_int_equal(folio_lock(folio), 0);
	for (i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, lock_once, folio), 0);
	wait_until(asleep(&folio->flags) == 2);
	assert_int_equal(folio_file_invalidate(world.file, PAGE, PAGE), 0);
	assert_int_equal(folio_unlock(folio), 0);
	for (i = 0; i < 2; i++) {
		pthread_join(thread[i], &r);
		assert_int_equal((intptr_t)r, -ENODATA);
	}
	folio_put(folio);
	world_end(&world);
}

/*
 * The lock of a page that its file has dropped is refused as often as a thread asks for it, and
 * leaves nothing locked.
 */
static void test_lock_of_dropped_page(void **state)
{
	static struct world world;
	struct folio *folio;
	pthread_t thread;
	unsigned how;

	(void)state;
	alarm(50);
	pages_begin(&world);
	for (how = 0; how < 3; how++) {
		assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
		folio = pin(world.file, 1);
		if (how == 0)
			assert_int_equal(folio_file_invalidate(world.file, PAGE, PAGE), 0);
		if (how == 1)
			assert_int_equal(folio_file_punch(world.file, PAGE, PAGE), 0);
		if (how == 2)
			assert_int_equal(folio_file_truncate(world.file, PAGE), 0);
		lock_dropped(folio);
		assert_int_equal(pthread_create(&thread, NULL, lock_dropped, folio), 0);
		pthread_join(thread, NULL);
		folio_put(folio);
		assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
		expect_quiet(world.cache, &world.limits);
		assert_int_equal(folio_file_write(world.file, world.model, PAGE, PAGE), PAGE);
		folio = pin(world.file, 1);
		assert_int_equal(folio_lock(folio), 0);
		assert_int_equal(folio_mark_dirty(folio, 0), 0);
		assert_int_equal(folio_unlock(folio), 0);
		folio_put(folio);
	}
	world.size = 2 * PAGE;
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	check_file(&world);
	world_end(&world);
	alarm(0);
}

/* The order of locks: of two pages of a file, and of files of two caches. */
static void test_two_locks(void **state)
{
	static struct world world, second;
	struct folio *a, *between, *b, *other;

	(void)state;
	pages_begin(&world);
	pages_begin(&second);
	assert_true(folio_file_number(world.file) < folio_file_number(second.file));
	assert_int_equal(folio_file_number(NULL), 0);
	a = pin(world.file, 0);
	between = pin(world.file, 1);
	b = pin(world.file, 2);
	other = pin(second.file, 0);
	assert_int_equal(folio_lock(b), 0);
	assert_int_equal(TRY_LOCK(a), -EDEADLK);
	assert_int_equal(TRY_LOCK(b), -EDEADLK);
	assert_int_equal((folio_try_lock)(b), -EDEADLK);
	assert_int_equal(TRY_MARK_DIRTY(a, 0), -EINVAL);
	assert_int_equal(TRY_UNLOCK(a), -EINVAL);
	expect_readable(&world, 0);
	assert_int_equal(folio_try_lock(a), 0);
	/* After the last one that was locked, but not after all. */
	assert_int_equal(TRY_LOCK(between), -EDEADLK);
	assert_int_equal(folio_lock(other), 0);
	/* The order counts what is locked now, whatever was unlocked first. */
	assert_int_equal(folio_unlock(b), 0);
	assert_int_equal(TRY_LOCK(b), -EDEADLK);
	assert_int_equal(folio_try_lock(b), 0);
	assert_int_equal(folio_unlock(other), 0);
	assert_int_equal(folio_unlock(b), 0);
	assert_int_equal(folio_lock(b), 0);
	assert_int_equal(folio_unlock(a), 0);
	assert_int_equal(folio_unlock(b), 0);
	expect_readable(&world, 0);
	expect_readable(&world, 2);
	folio_put(other);
	folio_put(between);
	folio_put(b);
	folio_put(a);
	world_end(&second);
	world_end(&world);
}

/*
 * While its thread has a folio locked, a call does not wait for the lock of a folio: that could be
 * this one, or its holder could wait for this one.
 */
static void test_calls_under_lock(void **state)
{
	const char *absent = "folio-inplace-absent";
	static struct world world;
	struct folio *folio, *second;
	struct folio_file *file;
	char buf[8];

	(void)state;
	pages_begin(&world);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	assert_int_equal(folio_file_invalidate(world.file, 0, UINT64_MAX), 0);
	folio = pin(world.file, 0);
	assert_int_equal(folio_lock(folio), 0);
	assert_int_equal(folio_file_read(world.file, buf, sizeof(buf), 0), -EDEADLK);
	assert_int_equal(folio_file_write(world.file, "x", 1, 0), -EDEADLK);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), -EDEADLK);
	assert_int_equal(folio_file_truncate(world.file, 0), -EDEADLK);
	assert_int_equal(folio_file_punch(world.file, 0, PAGE), -EDEADLK);
	assert_int_equal(folio_file_close(world.file), -EDEADLK);
	/* A file that would be truncated is not created either. */
	assert_int_equal(
		folio_file_open(world.cache, absent, O_RDWR | O_CREAT | O_TRUNC, 0600, &file),
		-EDEADLK);
	assert_int_equal(access(absent, F_OK), -1);
	assert_int_equal(
		folio_file_open(world.cache, world.path, O_RDWR | O_TRUNC, 0, &file), -EDEADLK);
	/* Other pages, cached or not. */
	second = pin(world.file, 2);
	assert_int_equal(folio_file_read(world.file, buf, sizeof(buf), PAGE), sizeof(buf));
	assert_memory_equal(buf, world.model + PAGE, sizeof(buf));
	expect_readable(&world, 2);
	folio_put(second);
	memset(folio_page(folio, 0), 'b', 8);
	memset(world.model, 'b', 8);
	assert_int_equal(folio_mark_dirty(folio, 0), 0);
	assert_int_equal(folio_unlock(folio), 0);
	folio_put(folio);
	expect_readable(&world, 0);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	check_file(&world);
	world_end(&world);
}

/*
 *	first                                           second
 *	locks page 0                                    locks page 1
 *	reads page 1                                    reads page 0
 */
static void *read_under_lock(void *arg)
{
	struct world *world = arg;
	struct folio *folio = pin(world->file, 1);
	char byte;

	assert_int_equal(folio_lock(folio), 0);
	assert_int_equal(folio_file_read(world->file, &byte, 1, 0), -EDEADLK);
	assert_int_equal(folio_unlock(folio), 0);
	folio_put(folio);
	return NULL;
}

static void test_read_of_another_lock(void **state)
{
	static struct world world;
	struct folio *folio;
	pthread_t thread;

	(void)state;
	pages_begin(&world);
	folio = pin(world.file, 0);
	assert_int_equal(folio_lock(folio), 0);
	assert_int_equal(pthread_create(&thread, NULL, read_under_lock, &world), 0);
	pthread_join(thread, NULL);
	assert_int_equal(folio_unlock(folio), 0);
	folio_put(folio);
	world_end(&world);
}

static void *use_lock_of_other(void *folio)
{
	assert_int_equal(TRY_UNLOCK(folio), -EINVAL);
	assert_int_equal(TRY_MARK_DIRTY(folio, 0), -EINVAL);
	return NULL;
}

/* A lock belongs to its thread. */
static void test_lock_of_another_thread(void **state)
{
	static struct world world;
	struct folio *folio;
	pthread_t thread;

	(void)state;
	pages_begin(&world);
	folio = pin(world.file, 3);
	assert_int_equal(folio_lock(folio), 0);
	assert_int_equal(pthread_create(&thread, NULL, use_lock_of_other, folio), 0);
	pthread_join(thread, NULL);
	assert_int_equal(folio_mark_dirty(folio, 0), 0);
	assert_int_equal(folio_unlock(folio), 0);
	folio_put(folio);
	expect_readable(&world, 3);
	world_end(&world);
}

/* ---- another thread opens the file for writing ---- */

struct reader {
	struct folio_file *file;
	folio_u32 ready, opened;
	int sync, mark, close;
};

/*
 * Uses a handle for reading after another thread has opened the file for writing. The words in
 * between are relaxed: the thread sanitizer then reports each plain field that the open stores and
 * that these calls read.
 */
static void *use_reader(void *arg)
{
	struct reader *reader = arg;
	struct folio *folio;
	char byte;

	assert_int_equal(folio_file_read(reader->file, &byte, 1, 0), 1);
	folio_u32_store_relaxed(&reader->ready, 1);
	wait_until(folio_u32_load_relaxed(&reader->opened));
	reader->sync = folio_file_sync(reader->file, NULL, 0);
	/* Pinned now: the open drops the pages of a file that has changed so recently. */
	folio = pin(reader->file, 0);
	reader->mark = folio_lock(folio);
	if (!reader->mark) {
		reader->mark = folio_mark_dirty(folio, 0);
		folio_unlock(folio);
	}
	folio_put(folio);
	reader->close = folio_file_close(reader->file);
	return NULL;
}

static void test_open_for_writing_while_read(void **state)
{
	static struct reader reader;
	static struct world world;
	pthread_t thread;

	(void)state;
	world_begin(&world, 64, 0);
	world.size = 1;
	world.model[0] = 'a';
	assert_int_equal(folio_file_write(world.file, "a", 1, 0), 1);
	assert_int_equal(folio_file_close(world.file), 0);
	memset(&reader, 0, sizeof(reader));
	reader.file = file_open(world.cache, world.path);
	assert_int_equal(pthread_create(&thread, NULL, use_reader, &reader), 0);
	wait_until(folio_u32_load_relaxed(&reader.ready));
	assert_int_equal(folio_file_open(world.cache, world.path, O_RDWR, 0, &world.file), 0);
	folio_u32_store_relaxed(&reader.opened, 1);
	pthread_join(thread, NULL);
	assert_int_equal(reader.sync, 0);
	assert_int_equal(reader.mark, 0);
	assert_int_equal(reader.close, 0);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	check_file(&world);
	world_end(&world);
}

/* Pages of files that are open for reading can be locked, and not be marked dirty. */
static void test_read_only(void **state)
{
	struct folio_cache *cache = cache_open(64, 0, NULL);
	static struct world world;
	struct folio_file *file;
	struct folio *folio;

	(void)state;
	pages_begin(&world);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	file = file_open(cache, world.path);
	folio = pin(file, 1);
	assert_int_equal(folio_lock(folio), 0);
	assert_int_equal(folio_mark_dirty(folio, 0), -EBADF);
	assert_int_equal(folio_unlock(folio), 0);
	assert_int_equal(cache_stats(cache).pages_dirty, 0);
	assert_memory_equal(folio_page(folio, 1), world.model + PAGE, PAGE);
	folio_put(folio);
	assert_int_equal(folio_file_close(file), 0);
	assert_int_equal(folio_cache_close(cache), 0);
	world_end(&world);
}

static void *try_locked(void *folio)
{
	assert_int_equal(folio_try_lock(folio), -EAGAIN);
	assert_int_equal(TRY_UNLOCK(folio), -EINVAL);
	return NULL;
}

/* A page that another thread has locked, and one that is dropped. */
static void test_try_lock(void **state)
{
	static struct world world;
	struct folio *folio;
	pthread_t thread;

	(void)state;
	pages_begin(&world);
	folio = pin(world.file, 1);
	assert_int_equal(folio_try_lock(folio), 0);
	assert_int_equal(pthread_create(&thread, NULL, try_locked, folio), 0);
	pthread_join(thread, NULL);
	memset(folio_page(folio, 1), 'b', PAGE);
	memset(world.model + PAGE, 'b', PAGE);
	assert_int_equal(folio_mark_dirty(folio, 0), 0);
	assert_int_equal(folio_unlock(folio), 0);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	check_file(&world);
	assert_int_equal(folio_file_truncate(world.file, PAGE), 0);
	assert_int_equal(folio_try_lock(folio), -ENODATA);
	assert_int_equal((folio_try_lock)(NULL), -EINVAL);
	folio_put(folio);
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unlock_twice),
		cmocka_unit_test(test_lock_of_dropped_page),
		cmocka_unit_test(test_dropped_while_awaited),
		cmocka_unit_test(test_two_locks),
		cmocka_unit_test(test_read_only),
		cmocka_unit_test(test_try_lock),
		cmocka_unit_test(test_calls_under_lock),
		cmocka_unit_test(test_read_of_another_lock),
		cmocka_unit_test(test_lock_of_another_thread),
		cmocka_unit_test(test_open_for_writing_while_read),
	};

	test_begin("inplace");
	return cmocka_run_group_tests_name("inplace", tests, NULL, NULL);
}
