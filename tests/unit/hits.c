/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hits of pages in folios of every order, whose frames other pages had before; of pages that the
 * file fills only in part; and which of them eviction hears of.
 */
#include "evict-world.h"
#include "core/walk.h"
#include "read/fill.h"

/* The largest order of a folio of a file: no read fills more. */
#define ORDER_MAX 8
_Static_assert(FILL_PAGES_MAX == 1 << ORDER_MAX, "as many pages as one read fills");

static uint64_t hits(struct world *world)
{
	return cache_stats(world->cache).hits;
}

/* By copy and by pin. */
static void expect_pages(struct world *world, uint64_t first, uint64_t count)
{
	struct folio *folio;
	uint64_t i;
	void *page;

	for (i = first; i < first + count; i++) {
		expect_read(world, i * PAGE + 8, 100, 1);
		assert_int_equal(folio_file_get_page(world->file, i, 0, &folio, &page), 0);
		assert_ptr_equal(page, folio_page(folio, i));
		assert_true(io_fault_check(world->contents, i * PAGE, page, PAGE, NULL, NULL));
		folio_put(folio);
	}
}

/* Short reads across the border of two pages are hits in one folio, and two reads in two. */
static void expect_borders(struct world *world, uint64_t first, uint64_t count)
{
	uint64_t i;

	for (i = first + 1; i <= first + count; i++)
		expect_read(world, i * PAGE - 50, 100, 1);
}

static void test_every_order(void **state)
{
	struct world world;
	unsigned order;

	(void)state;
	evict_world_begin(&world, 32 << ORDER_MAX);
	for (order = 0; order <= ORDER_MAX; order++) {
		uint64_t n = UINT64_C(1) << order, before;

		expect_read(&world, n * PAGE, n * PAGE, 1);
		before = hits(&world);
		expect_pages(&world, n, n);
		assert_int_equal(hits(&world), before + 2 * n);
		expect_borders(&world, n, n);
		assert_int_equal(folio_file_invalidate(world.file, 0, UINT64_MAX), 0);
	}
	world_end(&world);
}

/* Other pages get the frames of folios of each order: no read gets the bytes of the former ones. */
static void test_reused_frames(void **state)
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

/*
 * The last page of a file, whose folio has fewer valid bytes than it has space: reads end where the
 * file does, and the rest of the folio is not in the file, neither for copies nor for pins.
 */
static void test_part_of_a_folio(void **state)
{
	static const uint64_t sizes[] = {1, 100, PAGE - 1, PAGE + 1, 3 * PAGE + 7, 16 * PAGE - 1};
	struct folio *folio;
	unsigned s, again;
	char buf[64];
	void *page;

	(void)state;
	for (s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		uint64_t size = sizes[s], at = size > 20 ? size - 20 : 0;
		uint64_t pages = (size + PAGE - 1) / PAGE;
		struct world world;

		world_begin(&world, 64, FOLIO_CACHE_NO_READAHEAD, size);
		for (again = 0; again < 5; again++) {
			assert_int_equal(
				folio_file_read(world.file, buf, sizeof(buf), at), size - at);
			assert_true(io_fault_check(world.contents, at, buf, size - at, NULL, NULL));
			assert_int_equal(folio_file_read(world.file, buf, 1, size), 0);
			assert_int_equal(folio_file_read(world.file, buf, 1, size - 1), 1);
			assert_int_equal(
				folio_file_get_page(world.file, pages - 1, 0, &folio, &page), 0);
			folio_put(folio);
			assert_int_equal(
				folio_file_get_page(world.file, pages, 0, &folio, &page), -ENODATA);
		}
		world_end(&world);
	}
}

/* A short read at every offset and of every length that a hit serves, around a page's end. */
static void test_lengths(void **state)
{
	struct world world;
	uint64_t offset;
	unsigned len;

	(void)state;
	world_begin(&world, 64, FOLIO_CACHE_NO_READAHEAD, 4 * PAGE);
	expect_read(&world, 0, 4 * PAGE, 1);
	for (offset = PAGE - 140; offset <= PAGE + 4; offset++)
		for (len = 0; len <= 130; len++)
			expect_read(&world, offset, len, 1);
	world_end(&world);
}

static bool wants_touch(struct world *world, uint64_t index)
{
	struct folio *folio = entry_folio(tree_load(&world->file->inode->tree, index));
	uint64_t word =
		folio_u64_load_relaxed(pool_version(&world->cache->pool, folio)) & VERSION_TOUCH;

	/* The flag is there as long as a read changes the heat. */
	assert_int_equal(word != 0, page_heat(world->file, index) < HEAT_HOT);
	return word;
}

/*
 * Eviction hears of the reads of a page until it is hot, and again after it has lowered the heat:
 * by a copy, a pin, a long read and a batch.
 */
static void read_by(struct world *world, unsigned way, uint64_t index)
{
	struct folio_read read = {.offset = index * PAGE, .len = 64};
	char buf[FOLIO_PAGE_SIZE];
	struct folio *folio;

	read.buf = buf;
	switch (way) {
	case 0:
		expect_read(world, index * PAGE, 64, 1);
		break;
	case 1:
		assert_int_equal(folio_file_get(world->file, index, 0, &folio), 0);
		folio_put(folio);
		break;
	case 2:
		expect_read(world, index * PAGE, PAGE, 1);
		break;
	default:
		assert_int_equal(folio_file_read_batch(world->file, &read, 1, 0), 0);
		assert_int_equal(read.result, 64);
	}
}

static void test_touch(void **state)
{
	enum { BUDGET = 256, WAYS = 4 };
	struct world world;
	unsigned way, round;
	uint64_t i;

	(void)state;
	evict_world_begin(&world, BUDGET);
	quiet_background(&world);
	for (way = 0; way < WAYS; way++) {
		read_by(&world, way, way);
		assert_true(wants_touch(&world, way));
		read_by(&world, way, way);
		assert_true(wants_touch(&world, way));
		read_by(&world, way, way);
		assert_false(wants_touch(&world, way));
	}
	/* The hand passes; then the same again. */
	for (round = 0; round < 2; round++) {
		for (i = 0; i < 4 * BUDGET; i++)
			touch(&world, 1000 + round * 10000 + i);
		for (way = 0; way < WAYS; way++) {
			if (!page_cached(world.file, way))
				continue;
			wants_touch(&world, way);
			for (i = 0; i < 3; i++)
				read_by(&world, way, way);
			assert_false(wants_touch(&world, way));
		}
	}
	world_end(&world);
}

/* How many of the cached pages of a file a hit finds without a walk from the root. */
static uint64_t found_at_once(struct folio_file *file, uint64_t pages, uint64_t *cached_pages)
{
	struct tree *tree = &file->inode->tree;
	struct tree_place place;
	uint64_t i, found = 0;

	for (i = 0; i < pages; i++) {
		void *entry = tree_load(tree, i);

		if (!entry_is_folio(entry))
			continue;
		++*cached_pages;
		found += tree_walk_directory(tree, i, &place) == entry;
	}
	return found;
}

/*
 * A hit of a cached page does not depend on luck, and not on how much of a file is cached: an
 * eighth of it, at random offsets and in ever smaller parts; many files together; small files. (In
 * the small ones the root is a leaf, and their trees have their own directories.)
 */
static void test_found_at_once(void **state)
{
	enum { BUDGET = 4096, FILES = 60 };
	static const uint64_t sizes[] = {8 * BUDGET / FILES, 20, 64, 65};
	uint64_t random = test_seed, n, cached_pages, found;
	struct folio_file *file[FILES];
	struct world world;
	char name[16], byte;
	unsigned s, i;

	(void)state;
	evict_world_begin(&world, BUDGET);
	for (n = 0; n < 4 * BUDGET; n++) {
		/* Half of them near the beginning, in ever smaller parts. */
		uint64_t below = 8 * BUDGET >> (n % 2 ? random_below(&random, 12) : 0);

		assert_int_equal(
			folio_file_read(world.file, &byte, 1, random_below(&random, below) * PAGE),
			1);
	}
	cached_pages = 0;
	found = found_at_once(world.file, 8 * BUDGET, &cached_pages);
	assert_true(cached_pages > BUDGET / 2);
	assert_int_equal(found, cached_pages);
	for (s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		for (i = 0; i < FILES; i++) {
			snprintf(name, sizeof(name), "%u-%u", s, i);
			io_fault_add(world.io, name, sizes[s] * PAGE);
			file[i] = file_open(world.cache, name);
		}
		for (n = 0; n < 4 * BUDGET; n++)
			assert_int_equal(folio_file_read(file[random_below(&random, FILES)], &byte,
						 1, random_below(&random, sizes[s]) * PAGE),
				1);
		cached_pages = found = 0;
		for (i = 0; i < FILES; i++) {
			found += found_at_once(file[i], sizes[s], &cached_pages);
			assert_int_equal(folio_file_close(file[i]), 0);
		}
		assert_true(cached_pages > sizes[s]);
		assert_int_equal(found, cached_pages);
	}
	world_end(&world);
}

/* The same for a file that is one large folio: its pages are in more than one block. */
static void test_found_in_one_folio(void **state)
{
	uint64_t cached_pages, pages;
	struct world world;

	(void)state;
	evict_world_begin(&world, 32 << ORDER_MAX);
	for (pages = 1; pages <= 1 << ORDER_MAX; pages *= 2) {
		cached_pages = 0;
		expect_read(&world, 0, pages * PAGE, 1);
		assert_int_equal(found_at_once(world.file, pages, &cached_pages), pages);
		assert_int_equal(cached_pages, pages);
		assert_int_equal(folio_file_invalidate(world.file, 0, UINT64_MAX), 0);
	}
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_order),
		cmocka_unit_test(test_reused_frames),
		cmocka_unit_test(test_part_of_a_folio),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_touch),
		cmocka_unit_test(test_found_at_once),
		cmocka_unit_test(test_found_in_one_folio),
	};

	test_begin("hits");
	return cmocka_run_group_tests_name("hits", tests, NULL, NULL);
}
