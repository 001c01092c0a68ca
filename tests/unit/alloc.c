/* SPDX-License-Identifier: BSD-2-Clause */
/* folio_alloc: its arguments, private folios, and the cache's budget. */
#include "cache-test.h"

static void test_alloc_invalid(void **state)
{
	struct folio_cache *cache = cache_open(64, 0, NULL);
	struct folio *folio = NULL;
	unsigned type;

	(void)state;
	assert_int_equal(folio_alloc(NULL, 0, FOLIO_TYPE_PRIVATE, NULL, &folio), -EINVAL);
	assert_int_equal(folio_alloc(cache, 0, FOLIO_TYPE_PRIVATE, NULL, NULL), -EINVAL);
	assert_int_equal(
		folio_alloc(cache, FOLIO_ORDER_MAX + 1, FOLIO_TYPE_PRIVATE, NULL, &folio), -EINVAL);
	assert_int_equal(folio_alloc(cache, UINT32_MAX, FOLIO_TYPE_PRIVATE, NULL, &folio), -EINVAL);
	for (type = 0; type < 100; type++)
		if (type != FOLIO_TYPE_PRIVATE)
			assert_int_equal(folio_alloc(cache, 0, type, NULL, &folio), -EINVAL);
	assert_null(folio);
	assert_int_equal(folio_cache_close(cache), 0);
}

static void test_private(void **state)
{
	struct folio_cache *cache = cache_open(1024, 0, NULL);
	struct folio_cache_stats stats;
	unsigned order;

	(void)state;
	for (order = 0; order <= FOLIO_ORDER_MAX; order++) {
		struct folio *folio = NULL;

		assert_int_equal(folio_alloc(cache, order, FOLIO_TYPE_PRIVATE, &order, &folio), 0);
		assert_int_equal(folio_order(folio), order);
		assert_int_equal(folio_size(folio), PAGE << order);
		assert_int_equal((uintptr_t)folio_data(folio) % folio_size(folio), 0);
		assert_ptr_equal(folio_owner(folio), &order);
		memset(folio_data(folio), 0x5a, folio_size(folio));
		stats = cache_stats(cache);
		assert_int_equal(stats.pages_private, 1u << order);
		assert_int_equal(stats.pages_free, 1024 - (1u << order));
		assert_int_equal(stats.pages_file, 0);
		folio_get(folio);
		folio_put(folio);
		assert_int_equal(((unsigned char *)folio_data(folio))[folio_size(folio) - 1], 0x5a);
		folio_put(folio);
		stats = cache_stats(cache);
		assert_int_equal(stats.pages_private, 0);
		assert_int_equal(stats.pages_free, 1024);
	}
	assert_int_equal(folio_cache_close(cache), 0);
}

/* The complete budget can be allocated and no page more; freed pages can be allocated again. */
static void test_budget(void **state)
{
	static struct folio *folio[1000];
	struct folio_cache *cache = cache_open(1000, 0, NULL);
	unsigned i, round;

	(void)state;
	for (round = 0; round < 3; round++) {
		struct folio *more = NULL;

		for (i = 0; i < 1000; i++)
			assert_int_equal(
				folio_alloc(cache, 0, FOLIO_TYPE_PRIVATE, NULL, &folio[i]), 0);
		assert_int_equal(folio_alloc(cache, 0, FOLIO_TYPE_PRIVATE, NULL, &more), -ENOMEM);
		assert_int_equal(
			folio_alloc(cache, FOLIO_ORDER_MAX, FOLIO_TYPE_PRIVATE, NULL, &more),
			-ENOMEM);
		assert_null(more);
		folio_put(folio[round]);
		assert_int_equal(folio_alloc(cache, 0, FOLIO_TYPE_PRIVATE, NULL, &folio[round]), 0);
		/*
		 * Every second page: half of the memory is free, and no two free pages are
		 * adjacent.
		 */
		for (i = 0; i < 1000; i++) {
			if ((uintptr_t)folio_data(folio[i]) / PAGE % 2) {
				folio_put(folio[i]);
				folio[i] = NULL;
			}
		}
		assert_int_equal(cache_stats(cache).pages_free, 500);
		assert_int_equal(folio_alloc(cache, 1, FOLIO_TYPE_PRIVATE, NULL, &more), -ENOMEM);
		for (i = 0; i < 1000; i++)
			if (folio[i])
				folio_put(folio[i]);
		assert_int_equal(cache_stats(cache).pages_free, 1000);
	}
	assert_int_equal(cache_stats(cache).out_of_memory, 9);
	assert_int_equal(folio_cache_close(cache), 0);
}

/* File pages are evicted to make space. */
static void test_alloc_evicts(void **state)
{
	struct io_fault *io = io_fault_new(test_seed, 1);
	struct io_fault_file *contents = io_fault_add(io, "a", 4096 * PAGE);
	struct folio_cache *cache = cache_open(1024, 0, io);
	struct folio_file *file = file_open(cache, "a");
	struct folio *folio[2] = {NULL};
	uint64_t index;
	char buf[64];

	(void)state;
	for (index = 0; index < 4096; index++)
		assert_int_equal(
			folio_file_read(file, buf, sizeof(buf), index * PAGE), sizeof(buf));
	io_fault_wait_idle(io);
	assert_true(cache_stats(cache).pages_free < 512);
	assert_int_equal(
		folio_alloc(cache, FOLIO_ORDER_MAX, FOLIO_TYPE_PRIVATE, NULL, &folio[0]), 0);
	assert_int_equal(
		folio_alloc(cache, FOLIO_ORDER_MAX, FOLIO_TYPE_PRIVATE, NULL, &folio[1]), 0);
	assert_int_equal(cache_stats(cache).pages_private, 1024);
	/* No page is left for the file. */
	assert_int_equal(folio_file_read(file, buf, sizeof(buf), 0), -ENOMEM);
	folio_put(folio[0]);
	assert_int_equal(folio_file_read(file, buf, sizeof(buf), 0), sizeof(buf));
	assert_true(io_fault_check(contents, 0, buf, sizeof(buf), NULL, NULL));
	assert_int_equal(folio_file_close(file), 0);
	folio_put(folio[1]);
	assert_int_equal(folio_cache_close(cache), 0);
	io_fault_free(io);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_alloc_invalid),
		cmocka_unit_test(test_private),
		cmocka_unit_test(test_budget),
		cmocka_unit_test(test_alloc_evicts),
	};

	test_begin("alloc");
	return cmocka_run_group_tests_name("alloc", tests, NULL, NULL);
}
