/* SPDX-License-Identifier: BSD-2-Clause */
/* A write to a part of a large folio. */
#include "write-world.h"

/*
 * A write to the beginning splits a large folio that contains the end of the file: the end stays
 * where it was.
 */
static void test_split_keeps_the_end(void **state)
{
	const uint64_t size = 8 * PAGE - PAGE / 2;
	static char copy[8 * PAGE];
	static struct world world;
	char buf[64];

	(void)state;
	world_begin(&world, 1024, 0);
	memset(world.model, 'a', size);
	assert_int_equal(folio_file_write(world.file, world.model, size, 0), size);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	assert_int_equal(folio_file_invalidate(world.file, 0, UINT64_MAX), 0);
	/* One read of the complete file makes a folio of 8 pages. */
	assert_int_equal(folio_file_read(world.file, copy, sizeof(copy), 0), size);
	assert_memory_equal(copy, world.model, size);
	world.model[3] = 'b';
	assert_int_equal(folio_file_write(world.file, "b", 1, 3), 1);
	/* Hits of the last piece. */
	assert_int_equal(folio_file_read(world.file, buf, 1, 7 * PAGE), 1);
	assert_int_equal(folio_file_read(world.file, buf, 64, size), 0);
	assert_int_equal(folio_file_read(world.file, buf, 64, size - 8), 8);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	world.size = size;
	check_file(&world);
	world_end(&world);
}

/*
 * As a read leaves it that began before the cache made the file longer: the folio has fewer valid
 * bytes than the file has, and whatever past them.
 */
static void make_outgrown(struct world *world, uint64_t index, uint32_t valid)
{
	struct folio *folio;
	void *page;

	assert_int_equal(folio_file_get_page(world->file, index, 0, &folio, &page), 0);
	memset((char *)page + valid, 0xee, PAGE - valid);
	set_valid(world->file, folio, valid);
	folio_put(folio);
}

static uint32_t valid_bytes(struct world *world, uint64_t index)
{
	return folio_u32_load_relaxed(
		&entry_folio(tree_load(&world->file->inode->tree, index))->valid);
}

/* The version is even: readers need not lock the page. */
static bool is_settled(struct world *world, uint64_t index)
{
	struct folio *folio = entry_folio(tree_load(&world->file->inode->tree, index));
	uint64_t seen;

	return version_read_begin(pool_version(&world->cache->pool, folio), &seen);
}

/*
 * A dirty page that the file has outgrown gets zeros, up to the end of the file. A reader that has
 * another folio locked does not wait for its lock.
 */
static void test_dirty_outgrown(void **state)
{
	static const char zeros[FOLIO_PAGE_SIZE];
	static struct world world;
	struct folio *folio, *locked;
	char buf[FOLIO_PAGE_SIZE];
	void *page;
	uint64_t i;

	(void)state;
	world_begin(&world, 64, 0);
	assert_int_equal(folio_file_advise(world.file, FOLIO_ADVICE_RANDOM), 0);
	memset(world.model, 'a', PAGE);
	for (i = 0; i < 3; i++)
		assert_int_equal(folio_file_write(world.file, world.model, PAGE, i * PAGE), PAGE);
	assert_int_equal(folio_file_get(world.file, 2, 0, &locked), 0);
	make_outgrown(&world, 0, 100);
	assert_int_equal(folio_lock(locked), 0);
	assert_int_equal(folio_file_read(world.file, buf, 64, 200), -EDEADLK);
	assert_int_equal(folio_unlock(locked), 0);
	assert_int_equal(valid_bytes(&world, 0), 100);
	assert_int_equal(folio_file_read(world.file, buf, PAGE - 100, 100), PAGE - 100);
	assert_memory_equal(buf, zeros, PAGE - 100);
	assert_int_equal(valid_bytes(&world, 0), PAGE);
	assert_true(is_settled(&world, 0));
	assert_int_equal(folio_file_read(world.file, buf, 100, 0), 100);
	assert_memory_equal(buf, world.model, 100);
	/* Nothing of the page is valid. */
	make_outgrown(&world, 1, 0);
	assert_int_equal(folio_lock(locked), 0);
	assert_int_equal(folio_file_get_page(world.file, 1, 0, &folio, &page), -EDEADLK);
	assert_int_equal(folio_unlock(locked), 0);
	assert_int_equal(folio_file_get_page(world.file, 1, 0, &folio, &page), 0);
	assert_memory_equal(page, zeros, PAGE);
	folio_put(folio);
	folio_put(locked);
	/* The end of the file is in the page. */
	assert_int_equal(folio_file_truncate(world.file, 300), 0);
	assert_int_equal(valid_bytes(&world, 0), 300);
	make_outgrown(&world, 0, 50);
	assert_int_equal(folio_file_read(world.file, buf, sizeof(buf), 50), 250);
	assert_memory_equal(buf, zeros, 250);
	assert_int_equal(valid_bytes(&world, 0), 300);
	memset(world.model + 50, 0, PAGE);
	world.size = 300;
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	check_file(&world);
	world_end(&world);
}

/*
 * A clean page that the file has outgrown is read again before a part of it is written; and a write
 * that makes the file longer puts no zeros behind its valid bytes, which are not all that it has.
 */
static void test_clean_outgrown(void **state)
{
	static struct world world;
	char buf[FOLIO_PAGE_SIZE];

	(void)state;
	world_begin(&world, 64, 0);
	assert_int_equal(folio_file_advise(world.file, FOLIO_ADVICE_RANDOM), 0);
	memset(world.model, 'a', 2 * PAGE);
	assert_int_equal(folio_file_write(world.file, world.model, PAGE + 300, 0), PAGE + 300);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	make_outgrown(&world, 0, 100);
	world.model[200] = 'b';
	assert_int_equal(folio_file_write(world.file, "b", 1, 200), 1);
	assert_int_equal(valid_bytes(&world, 0), PAGE);
	assert_int_equal(folio_file_read(world.file, buf, PAGE, 0), PAGE);
	assert_memory_equal(buf, world.model, PAGE);
	/* By now it is dirty: the cache has what the file has not, and that reads as zeros. */
	make_outgrown(&world, 0, 100);
	memset(world.model + 100, 0, PAGE - 100);
	world.model[200] = 'd';
	assert_int_equal(folio_file_write(world.file, "d", 1, 200), 1);
	assert_int_equal(folio_file_read(world.file, buf, PAGE, 0), PAGE);
	assert_memory_equal(buf, world.model, PAGE);
	/* The last page: the write is behind it. */
	make_outgrown(&world, 1, 50);
	memset(world.model + PAGE + 300, 0, PAGE);
	world.model[2 * PAGE] = 'c';
	world.size = 2 * PAGE + 1;
	assert_int_equal(folio_file_write(world.file, "c", 1, 2 * PAGE), 1);
	assert_int_equal(folio_file_read(world.file, buf, PAGE, PAGE), PAGE);
	assert_memory_equal(buf, world.model + PAGE, PAGE);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	check_file(&world);
	world_end(&world);
}

/* A write, and a truncation, end a peek of the page; the next one sees the bytes. */
static void test_peek(void **state)
{
	struct folio_peek peek = {NULL, 0};
	const struct folio_view *view;
	static struct world world;
	const char *page;
	char buf[64];
	unsigned i;

	(void)state;
	world_begin(&world, 64, 0);
	memset(world.model, 'a', PAGE);
	assert_int_equal(folio_file_view(world.file, FOLIO_VIEW_LAYOUT, &view), 0);
	assert_int_equal(folio_file_write(world.file, world.model, PAGE, 0), PAGE);
	for (i = 0; i < 4; i++)
		assert_int_equal(folio_file_read(world.file, buf, sizeof(buf), 0), sizeof(buf));
	page = folio_peek(view, 0, &peek);
	assert_non_null(page);
	assert_int_equal(page[7], 'a');
	assert_true(folio_peek_valid(&peek));
	world.model[7] = 'x';
	assert_int_equal(folio_file_write(world.file, "x", 1, 7), 1);
	assert_false(folio_peek_valid(&peek));
	page = folio_peek(view, 0, &peek);
	assert_non_null(page);
	assert_int_equal(page[7], 'x');
	assert_true(folio_peek_valid(&peek));
	assert_int_equal(folio_file_truncate(world.file, 100), 0);
	assert_false(folio_peek_valid(&peek));
	assert_null(folio_peek(view, 0, &peek));
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_split_keeps_the_end),
		cmocka_unit_test(test_dirty_outgrown),
		cmocka_unit_test(test_clean_outgrown),
		cmocka_unit_test(test_peek),
	};

	test_begin("page");
	return cmocka_run_group_tests_name("page", tests, NULL, NULL);
}
