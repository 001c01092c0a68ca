/* SPDX-License-Identifier: BSD-2-Clause */
/* Pages changed in place: which become dirty, how many, and what readers see in the meantime. */
#include <folio/pin.h>

#include "write-world.h"

#define FILE_PAGES 4

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

static void *try_locked(void *folio)
{
	assert_int_equal(folio_try_lock(folio), -EAGAIN);
	return NULL;
}

/* ---- the unit of dirtiness ---- */

#define SCAN_PAGES 128

/* Pages that were read into large folios, each half by one call. */
static void scanned_begin(struct world *world)
{
	static char buf[SCAN_PAGES / 2 * PAGE];
	uint64_t i;

	world_begin(world, 4096, 0);
	for (i = 0; i < SCAN_PAGES; i++)
		memset(world->model + i * PAGE, 'a' + (int)(i % 20), PAGE);
	world->size = SCAN_PAGES * PAGE;
	assert_int_equal(folio_file_write(world->file, world->model, world->size, 0), world->size);
	assert_int_equal(folio_file_sync(world->file, NULL, 0), 0);
	assert_int_equal(folio_file_invalidate(world->file, 0, UINT64_MAX), 0);
	assert_int_equal(folio_file_advise(world->file, FOLIO_ADVICE_RANDOM), 0);
	for (i = 0; i < 2; i++) {
		assert_int_equal(folio_file_read(world->file, buf, sizeof(buf), i * sizeof(buf)),
			sizeof(buf));
		assert_memory_equal(buf, world->model + i * sizeof(buf), sizeof(buf));
	}
}

/* Changes page @index in place; then @dirty pages are dirty, and a sync writes them. */
static void change_page(struct world *world, uint64_t index, uint64_t dirty)
{
	struct folio *folio = pin(world->file, index);
	uint64_t written = cache_stats(world->cache).write_bytes;

	assert_int_equal(folio_lock(folio), 0);
	memset(folio_page(folio, index), 'Z', PAGE);
	memset(world->model + index * PAGE, 'Z', PAGE);
	assert_int_equal(folio_mark_dirty(folio, 0), 0);
	assert_int_equal(folio_unlock(folio), 0);
	folio_put(folio);
	assert_int_equal(cache_stats(world->cache).pages_dirty, dirty);
	assert_int_equal(folio_file_sync(world->file, NULL, 0), 0);
	assert_int_equal(cache_stats(world->cache).write_bytes - written, dirty * PAGE);
	check_file(world);
}

/* After a scan, a change of one page makes one page dirty, and one is written. */
static void test_single_page(void **state)
{
	static struct world world;
	struct folio_file *reader;
	struct folio *folio;
	uint64_t i;

	(void)state;
	scanned_begin(&world);
	/* A handle for reading leaves the folio as it is. */
	reader = file_open(world.cache, world.path);
	folio = pin(reader, 70);
	assert_true(folio_order(folio) > 0);
	folio_put(folio);
	for (i = 0; i < SCAN_PAGES; i += 35)
		change_page(&world, i, 1);
	folio = pin(reader, 70);
	assert_int_equal(folio_index(folio), 70);
	assert_int_equal(folio_order(folio), 0);
	folio_put(folio);
	/* What was split off is still cached. */
	assert_int_equal(cache_stats(world.cache).pages_file, SCAN_PAGES);
	assert_int_equal(folio_file_close(reader), 0);
	world_end(&world);
}

/* A folio that another thread has pinned, or that is dirty, stays large: all of it is dirty. */
static void test_pinned_stays_large(void **state)
{
	static struct world world;
	struct folio_file *reader;
	struct folio_pin published;
	struct folio *other;
	uint64_t pages;

	(void)state;
	scanned_begin(&world);
	reader = file_open(world.cache, world.path);
	other = pin(reader, 3);
	pages = UINT64_C(1) << folio_order(other);
	assert_true(pages > 8);
	change_page(&world, 5, pages);
	folio_put(other);
	assert_int_equal(folio_file_pin(reader, 3, 0, &published), 0);
	change_page(&world, 6, pages);
	folio_unpin(&published);
	/* Dirty, and written as a whole anyway. */
	other = pin(reader, 3);
	assert_int_equal(folio_lock(other), 0);
	assert_int_equal(folio_mark_dirty(other, 0), 0);
	assert_int_equal(folio_unlock(other), 0);
	folio_put(other);
	change_page(&world, 7, pages);
	change_page(&world, 7, 1);
	assert_int_equal(folio_file_close(reader), 0);
	world_end(&world);
}

/* Two pages of a large folio are locked as if each had a folio of its own. */
static void test_lock_pages_of_one_folio(void **state)
{
	static struct world world;
	struct folio_file *reader;
	struct folio *folio, *later;
	pthread_t thread;

	(void)state;
	scanned_begin(&world);
	reader = file_open(world.cache, world.path);
	folio = pin(reader, 3);
	later = pin(world.file, SCAN_PAGES - 1);
	assert_ptr_equal(pin(world.file, 4), folio);
	assert_int_equal(folio_lock(folio), 0);
	assert_int_equal(folio_lock(folio), 0);
	assert_int_equal(folio_lock(later), 0);
	assert_int_equal(folio_unlock(folio), 0);
	/* Still locked. */
	assert_int_equal(folio_mark_dirty(folio, 0), 0);
	assert_int_equal(pthread_create(&thread, NULL, try_locked, folio), 0);
	pthread_join(thread, NULL);
	assert_int_equal(folio_unlock(folio), 0);
	assert_int_equal((folio_unlock)(folio), -EINVAL);
	assert_int_equal(folio_unlock(later), 0);
	folio_put(folio);
	folio_put(folio);
	folio_put(later);
	assert_int_equal(folio_file_close(reader), 0);
	world_end(&world);
}

/* ---- readers concurrent with a change ---- */

/*
 * Readers by copy and in place get no half of a change: what they have read when the page is locked
 * is not valid any more, and until it is unlocked they read nothing.
 */
static void test_half_a_change(void **state)
{
	static struct world world;
	const struct folio_view *view;
	struct folio_peek peek = {NULL, 0};
	struct folio *folio;
	char buf[PAGE];
	unsigned tries;

	(void)state;
	scanned_begin(&world);
	if (folio_file_view(world.file, FOLIO_VIEW_LAYOUT, &view)) {
		print_message("# skipped: no views here\n");
		world_end(&world);
		return;
	}
	folio = pin(world.file, 1);
	/* Until eviction need not hear of reads. */
	for (tries = 0; !folio_peek(view, 1, &peek) && tries < 100; tries++)
		assert_int_equal(folio_file_read(world.file, buf, PAGE, PAGE), PAGE);
	assert_non_null(folio_peek(view, 1, &peek));
	assert_true(folio_peek_valid(&peek));
	assert_int_equal(folio_lock(folio), 0);
	assert_false(folio_peek_valid(&peek));
	memset(folio_page(folio, 1), 'b', PAGE / 2);
	assert_null(folio_peek(view, 1, &peek));
	assert_int_equal(folio_file_read_nowait(world.file, buf, PAGE, PAGE), -EDEADLK);
	assert_int_equal(folio_mark_dirty(folio, 0), 0);
	assert_null(folio_peek(view, 1, &peek));
	memset((char *)folio_page(folio, 1) + PAGE / 2, 'b', PAGE / 2);
	assert_int_equal(folio_unlock(folio), 0);
	memset(world.model + PAGE, 'b', PAGE);
	assert_memory_equal(folio_peek(view, 1, &peek), world.model + PAGE, PAGE);
	assert_true(folio_peek_valid(&peek));
	assert_int_equal(folio_file_read(world.file, buf, PAGE, PAGE), PAGE);
	assert_memory_equal(buf, world.model + PAGE, PAGE);
	folio_put(folio);
	world_end(&world);
}

struct split_world {
	struct folio_file *file;
	const struct folio_view *view;
	folio_u32 stop;
};

static bool is_uniform(const char *page)
{
	return page[0] == page[PAGE - 1] && !memcmp(page, page + 1, PAGE - 1);
}

/* Reads all pages, by copy and in place: each is one letter. */
static void *read_uniform(void *arg)
{
	struct split_world *split = arg;
	const void *page;
	char buf[PAGE];
	uint64_t i;

	while (!folio_u32_load_relaxed(&split->stop)) {
		for (i = 0; i < FILE_PAGES; i++) {
			struct folio_peek peek;

			assert_int_equal(folio_file_read(split->file, buf, PAGE, i * PAGE), PAGE);
			assert_true(is_uniform(buf));
			page = folio_peek(split->view, i, &peek);
			if (!page)
				continue;
			folio_peek_copy(buf, page, PAGE);
			if (folio_peek_valid(&peek))
				assert_true(is_uniform(buf));
		}
	}
	return NULL;
}

/* Locks some pages in order, and one out of order, and changes all of them to one letter. */
static void *change_several(void *arg)
{
	struct split_world *split = arg;
	unsigned round, rounds = scaled(2000);
	struct folio *folio[FILE_PAGES];
	uint64_t i, seed = (uintptr_t)&round, wanted;
	bool locked[FILE_PAGES];

	for (i = 0; i < FILE_PAGES; i++)
		folio[i] = pin(split->file, i);
	for (round = 0; round < rounds; round++) {
		wanted = random_next(&seed);
		for (i = 0; i < FILE_PAGES; i++) {
			locked[i] = wanted >> i & 1;
			assert_int_equal(locked[i] ? folio_lock(folio[i]) : 0, 0);
		}
		i = wanted >> 8 & (FILE_PAGES - 1);
		if (!locked[i])
			locked[i] = folio_try_lock(folio[i]) == 0;
		for (i = 0; i < FILE_PAGES; i++) {
			if (!locked[i])
				continue;
			memset(folio_page(folio[i], i), 'a' + (int)(wanted >> 16 & 15), PAGE);
			assert_int_equal(folio_mark_dirty(folio[i], 0), 0);
		}
		for (i = 0; i < FILE_PAGES; i++)
			if (locked[i])
				assert_int_equal(folio_unlock(folio[i]), 0);
	}
	for (i = 0; i < FILE_PAGES; i++)
		folio_put(folio[i]);
	return NULL;
}

/* Threads lock several pages at a time, next to readers and syncs: none waits for ever. */
static void test_several_locks(void **state)
{
	static struct split_world split;
	static struct world world;
	pthread_t writer[2], reader;
	unsigned i;

	(void)state;
	alarm(200);
	pages_begin(&world);
	split = (struct split_world){.file = world.file};
	if (folio_file_view(world.file, FOLIO_VIEW_LAYOUT, &split.view))
		split.view = NULL;
	if (split.view)
		assert_int_equal(pthread_create(&reader, NULL, read_uniform, &split), 0);
	for (i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&writer[i], NULL, change_several, &split), 0);
	for (i = 0; i < 20; i++)
		assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	for (i = 0; i < 2; i++)
		pthread_join(writer[i], NULL);
	folio_u32_store_relaxed(&split.stop, 1);
	if (split.view)
		pthread_join(reader, NULL);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	assert_int_equal(folio_file_read(world.file, world.model, world.size, 0), world.size);
	check_file(&world);
	world_end(&world);
	alarm(0);
}

/* ---- the limit of dirty pages ---- */

/*
 * A writer in place waits as a writer by copy does, at the first lock of its thread only. So the
 * dirty pages exceed the limit by as many as are locked, at most.
 */
static void test_dirty_limit(void **state)
{
	enum { LIMIT = 16, LOCKED = 8 };
	static struct world world;
	struct folio *folio[LOCKED];
	uint64_t i, k;

	(void)state;
	alarm(50);
	world_begin(&world, 512, LIMIT);
	world.size = MODEL_BYTES;
	assert_int_equal(folio_file_write(world.file, world.model, MODEL_BYTES, 0), MODEL_BYTES);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	for (i = 0; i + LOCKED <= MODEL_PAGES; i += LOCKED) {
		for (k = 0; k < LOCKED; k++) {
			folio[k] = pin(world.file, i + k);
			assert_int_equal(folio_lock(folio[k]), 0);
			memset(folio_page(folio[k], i + k), 'b', PAGE);
			assert_int_equal(folio_mark_dirty(folio[k], 0), 0);
		}
		assert_true(cache_stats(world.cache).pages_dirty <= LIMIT + LOCKED);
		for (k = 0; k < LOCKED; k++) {
			assert_int_equal(folio_unlock(folio[k]), 0);
			folio_put(folio[k]);
		}
	}
	assert_true(cache_stats(world.cache).throttled > 0);
	memset(world.model, 'b', MODEL_BYTES);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	check_file(&world);
	world_end(&world);
	alarm(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_single_page),
		cmocka_unit_test(test_pinned_stays_large),
		cmocka_unit_test(test_lock_pages_of_one_folio),
		cmocka_unit_test(test_half_a_change),
		cmocka_unit_test(test_several_locks),
		cmocka_unit_test(test_dirty_limit),
	};

	test_begin("inplace-pages");
	return cmocka_run_group_tests_name("inplace-pages", tests, NULL, NULL);
}
