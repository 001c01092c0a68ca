/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The distance of a file's hints: it follows the size of most folios, and does not change with
 * every page while there are as many of one kind as of the other. And the hints themselves, of
 * folios of every order.
 */
#include "evict-world.h"
#include "cache/hint.h"
#include "read/fill.h"

#define PAGES ((uint8_t)FOLIO_PAGE_SHIFT)
#define RUNS  ((uint8_t)(FOLIO_PAGE_SHIFT + HINT_ORDER))

static void count(struct inode *inode, unsigned order, int64_t folios)
{
	struct folio folio = {.order = (uint8_t)order};
	int64_t pages = INT64_C(1) << order;

	for (; folios > 0; folios--)
		inode_account_locked(inode, &folio, pages);
	for (; folios < 0; folios++)
		inode_account_locked(inode, &folio, -pages);
}

static struct inode *inode_new(void)
{
	struct inode *inode = aligned_alloc(64, (sizeof(*inode) + 63) & ~(size_t)63);

	assert_non_null(inode);
	memset(inode, 0, sizeof(*inode));
	folio_u8_store_relaxed(&inode->hint_shift, PAGES);
	return inode;
}

static void test_majority(void **state)
{
	struct inode *inode = inode_new();

	(void)state;
	count(inode, 0, 10);
	assert_int_equal(folio_u8_load_relaxed(&inode->hint_shift), PAGES);
	count(inode, HINT_ORDER, 1);
	assert_int_equal(folio_u8_load_relaxed(&inode->hint_shift), RUNS);
	count(inode, HINT_ORDER - 1, 3);
	assert_int_equal(folio_u8_load_relaxed(&inode->hint_shift), PAGES);
	count(inode, FOLIO_ORDER_MAX, 1);
	assert_int_equal(folio_u8_load_relaxed(&inode->hint_shift), RUNS);
	/* No page is left; then the first page read decides. */
	count(inode, FOLIO_ORDER_MAX, -1);
	count(inode, HINT_ORDER, -1);
	count(inode, HINT_ORDER - 1, -3);
	count(inode, 0, -10);
	count(inode, 0, 1);
	assert_int_equal(folio_u8_load_relaxed(&inode->hint_shift), PAGES);
	free(inode);
}

/* The ratio moves around one half, to both sides: at most one change. */
static void test_about_as_many(void **state)
{
	int64_t small;

	(void)state;
	for (small = 4 * 64 - 40; small <= 8 * 64 + 40; small += 10) {
		struct inode *inode = inode_new();
		uint8_t shift = PAGES;
		unsigned changes = 0, round, i;

		count(inode, HINT_ORDER, 8);
		count(inode, 0, small);
		for (round = 0; round < 10; round++) {
			for (i = 0; i < 100; i++) {
				count(inode, 0, i < 50 ? 1 : -1);
				changes += shift != folio_u8_load_relaxed(&inode->hint_shift);
				shift = folio_u8_load_relaxed(&inode->hint_shift);
			}
		}
		assert_true(changes <= 2);
		free(inode);
	}
}

/* A hint has the frame and the order; a frame whose number is too large has the hint of frame 0. */
static void test_words(void **state)
{
	const uint64_t pages = UINT64_C(1) << HINT_PAGE_BITS;
	unsigned order;

	(void)state;
	for (order = 0; order <= FOLIO_ORDER_MAX; order++) {
		const uint64_t frames[] = {0, UINT64_C(1) << order, pages - (UINT64_C(1) << order)};
		unsigned i;

		for (i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
			assert_int_equal(hint_page(hint_make(frames[i], order)), frames[i]);
			assert_int_equal(hint_order(hint_make(frames[i], order)), order);
		}
		assert_int_equal(hint_make(pages, order), 0);
		assert_int_equal(hint_make(POOL_NONE - 1, order), 0);
	}
}

/* The largest order of a folio of a file: no read fills more. */
#define ORDER_MAX 8
_Static_assert(FILL_PAGES_MAX == 1 << ORDER_MAX, "as many pages as one read fills");

/* The hint of each page of the folio, and of no page around it, leads to it. */
static void expect_hints(struct world *world, uint64_t first, unsigned order)
{
	struct inode *inode = world->file->inode;
	struct folio *folio = entry_folio(tree_load(&inode->tree, first));
	uint32_t hint = hint_make(pool_page(&world->cache->pool, folio), order);
	uint64_t n = UINT64_C(1) << order, i;

	assert_int_equal(
		folio_u8_load_relaxed(&inode->hint_shift), order >= HINT_ORDER ? RUNS : PAGES);
	for (i = first - n; i < first + 2 * n; i++) {
		uint32_t found = folio_u32_load_relaxed(hint_slot(world->file, inode, i * PAGE));

		assert_int_equal(found == hint, i >= first && i < first + n);
	}
}

/* By copy and by pin; the first of the two corrects a hint that is of no use. */
static void expect_pages(struct world *world, uint64_t first, uint64_t count)
{
	struct folio *folio;
	uint64_t i;
	void *page;

	for (i = first; i < first + count; i++) {
		if (i % 2)
			expect_read(world, i * PAGE + 8, 100, 1);
		assert_int_equal(folio_file_get_page(world->file, i, 0, &folio, &page), 0);
		assert_ptr_equal(page, folio_page(folio, i));
		assert_true(io_fault_check(world->contents, i * PAGE, page, PAGE, NULL, NULL));
		folio_put(folio);
		if (i % 2 == 0)
			expect_read(world, i * PAGE + 8, 100, 1);
	}
}

static void test_every_order(void **state)
{
	struct world world;
	unsigned order;

	(void)state;
	evict_world_begin(&world, 32 << ORDER_MAX);
	for (order = 0; order <= ORDER_MAX; order++) {
		uint64_t n = UINT64_C(1) << order, hits;

		expect_read(&world, n * PAGE, n * PAGE, 1);
		expect_hints(&world, n, order);
		hits = cache_stats(world.cache).hits;
		expect_pages(&world, n, n);
		assert_int_equal(cache_stats(world.cache).hits, hits + 2 * n);
		expect_hints(&world, n, order);
		assert_int_equal(folio_file_invalidate(world.file, 0, UINT64_MAX), 0);
	}
	world_end(&world);
}

/* Other pages get the frames to which hints lead: no read by such a hint gets their bytes. */
static void test_stale_hints(void **state)
{
	enum { COUNT = 1 << ORDER_MAX };
	struct world world;
	unsigned before, after;
	uint64_t i;

	(void)state;
	evict_world_begin(&world, 32 << ORDER_MAX);
	for (before = 0; before <= ORDER_MAX; before++) {
		for (after = 0; after <= ORDER_MAX; after++) {
			for (i = 0; i < COUNT; i += UINT64_C(1) << before)
				expect_read(&world, i * PAGE, PAGE << before, 1);
			assert_int_equal(folio_file_invalidate(world.file, 0, UINT64_MAX), 0);
			for (i = COUNT; i < 2 * COUNT; i += UINT64_C(1) << after)
				expect_read(&world, i * PAGE, PAGE << after, 1);
			expect_pages(&world, 0, COUNT);
			expect_pages(&world, COUNT, COUNT);
			assert_int_equal(folio_file_invalidate(world.file, 0, UINT64_MAX), 0);
		}
	}
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_majority),
		cmocka_unit_test(test_about_as_many),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_every_order),
		cmocka_unit_test(test_stale_hints),
	};

	test_begin("hint");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
