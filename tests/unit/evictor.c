/* SPDX-License-Identifier: BSD-2-Clause */
/* The background thread that evicts. */
#include "evict-world.h"
#include "evict/limits.h"

/* The background thread frees pages without a call. */
static void test_background(void **state)
{
	struct world world;
	unsigned round;

	(void)state;
	evict_world_begin(&world, 1024);
	assert_true(world.cache->evict.low > 0);
	for (round = 0; round < 10; round++) {
		touch_all(&world, round * 1500, 1500, 1);
		wait_until(cache_stats(world.cache).pages_free >= world.cache->evict.low);
	}
	/* It leaves the other pages alone. */
	assert_true(cache_stats(world.cache).pages_file >= 1024 / 2);
	world_end(&world);
}

/*
 * A file and its cache are closed while the background thread holds some of the pages: close waits
 * for it and does not take its references for pins.
 */
static void test_close_during_eviction(void **state)
{
	unsigned i, rounds = scaled(300);

	(void)state;
	for (i = 0; i < rounds; i++) {
		struct world world;

		evict_world_begin(&world, 64);
		touch_all(&world, 0, 57 + i % 10, 1);
		world_end(&world);
	}
}

/* Pages that the background thread has evicted. */
static uint64_t evicted(struct world *world)
{
	struct folio_cache_stats stats = cache_stats(world->cache);

	return stats.evictions - stats.evictions_direct;
}

/* Reads pages one after the other until the background thread evicts again. */
static void expect_background(struct world *world)
{
	uint64_t before = evicted(world), index = 0;

	wait_until((touch(world, 1000 + index++ % 30000), evicted(world) > before));
}

/*
 * Everything was pinned, or the program's own, so that the background thread gave up. When it is
 * put, the thread works as before.
 */
static void test_after_all_pinned(void **state)
{
	enum { PAGES = 1024, ORDER = 5 };
	static char buf[FOLIO_PAGE_SIZE << ORDER];
	static struct folio *folio[PAGES];
	unsigned order;
	uint64_t i;

	(void)state;
	for (order = 0; order <= ORDER; order++) {
		uint64_t n = UINT64_C(1) << order;
		struct world world;

		evict_world_begin(&world, PAGES);
		/* In pieces that are one folio each; the thread would evict some. */
		quiet_background(&world);
		for (i = 0; i < PAGES; i += n) {
			assert_int_equal(
				folio_file_read(world.file, buf, n * PAGE, i * PAGE), n * PAGE);
			pin(&world, i, &folio[i / n]);
		}
		evict_set_budget(world.cache, PAGES);
		assert_int_equal(folio_file_read(world.file, buf, 1, 60000 * PAGE), -ENOMEM);
		for (i = 0; i < PAGES; i += n)
			folio_put(folio[i / n]);
		expect_background(&world);
		assert_int_equal(folio_file_invalidate(world.file, 0, FILE_PAGES * PAGE), 0);
		for (i = 0; i < PAGES; i += n)
			assert_int_equal(folio_alloc(world.cache, order, FOLIO_TYPE_PRIVATE, NULL,
						 &folio[i / n]),
				0);
		assert_int_equal(folio_file_read(world.file, buf, 1, 60000 * PAGE), -ENOMEM);
		/* There is nothing in the queues, and the thread is not woken for that again. */
		wait_until(folio_u32_load_relaxed(&world.cache->evict.stuck));
		for (i = 0; i < PAGES; i += n)
			folio_put(folio[i / n]);
		expect_background(&world);
		world_end(&world);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_background),
		cmocka_unit_test(test_close_during_eviction),
		cmocka_unit_test(test_after_all_pinned),
	};

	test_begin("evictor");
	return cmocka_run_group_tests_name("evictor", tests, NULL, NULL);
}
