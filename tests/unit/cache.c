/* SPDX-License-Identifier: BSD-2-Clause */
/* Opening and closing a cache: its parameters, its backend, and many caches at the same time. */
#include "fault-world.h"

static void test_cache_params(void **state)
{
	struct folio_cache_params good = {.size = sizeof(good), .bytes = FOLIO_CACHE_BYTES_MIN},
				  params;
	struct folio_cache *cache = NULL;

	(void)state;
	assert_int_equal(folio_cache_open(NULL, &cache), -EINVAL);
	assert_int_equal(folio_cache_open(&good, NULL), -EINVAL);
	params = good;
	/* All fields of the first version are required. */
	params.size = offsetof(struct folio_cache_params, dirty_bytes) - 1;
	assert_int_equal(folio_cache_open(&params, &cache), -EINVAL);
	params = good;
	params.bytes--;
	assert_int_equal(folio_cache_open(&params, &cache), -EINVAL);
	params = good;
	params.bytes = UINT64_MAX;
	assert_int_equal(folio_cache_open(&params, &cache), -EINVAL);
	params = good;
	params.flags = 1u << 20;
	assert_int_equal(folio_cache_open(&params, &cache), -EINVAL);
	params = good;
	params.io_depth = UINT32_MAX;
	assert_int_equal(folio_cache_open(&params, &cache), -EINVAL);
	assert_null(cache);
	assert_int_equal(folio_cache_close(NULL), -EINVAL);
	/* The budget is rounded down to pages. */
	params = good;
	params.bytes += PAGE - 1;
	assert_int_equal(folio_cache_open(&params, &cache), 0);
	assert_int_equal(cache_stats(cache).pages, 64);
	assert_int_equal(cache_stats(cache).pages_free, 64);
	assert_non_null(cache_stats(cache).io);
	assert_int_equal(folio_cache_close(cache), 0);
	assert_string_equal(folio_version(), FOLIO_VERSION);
}

static void test_cache_backend_fails(void **state)
{
	struct io_fault *io = io_fault_new(test_seed, 1);
	struct folio_cache_params params = {
		.size = sizeof(params), .bytes = 64 * PAGE, .io = &io_fault_ops, .io_context = io};
	struct folio_cache *cache = NULL;

	(void)state;
	io_fault_fail(io, IO_FAULT_CREATE, 1, EPERM);
	assert_int_equal(folio_cache_open(&params, &cache), -EPERM);
	assert_null(cache);
	assert_int_equal(folio_cache_open(&params, &cache), 0);
	assert_string_equal(cache_stats(cache).io, "fault");
	assert_int_equal(folio_cache_close(cache), 0);
	io_fault_free(io);
}

/* The nodes of the trees are in huge pages, unless the program wants none. */
static void test_huge_pages(void **state)
{
	struct io_fault *io = io_fault_new(test_seed, 0);
	struct folio_cache *cache;

	(void)state;
	cache = cache_open(64, 0, io);
	assert_true(cache->tree_budget.huge_pages);
	assert_int_equal(folio_cache_close(cache), 0);
	cache = cache_open(64, FOLIO_CACHE_NO_HUGE_PAGES, io);
	assert_false(cache->tree_budget.huge_pages);
	assert_int_equal(folio_cache_close(cache), 0);
	io_fault_free(io);
}

/* A backend that lacks a function which a cache needs is refused. */
static void test_cache_backend_incomplete(void **state)
{
	struct io_fault *io = io_fault_new(test_seed, 0);
	struct folio_io_ops ops = io_fault_ops;
	/* Without a default: one that is missing would be refused later. */
	struct folio_cache_params params = {.size = sizeof(params),
		.bytes = 64 * PAGE,
		.bytes_max = 64 * PAGE,
		.io_depth = 8,
		.io = &ops,
		.io_context = io};
	struct folio_cache *cache = NULL;

	(void)state;
#define REFUSED(change)                                                       \
	do {                                                                  \
		ops = io_fault_ops;                                           \
		change;                                                       \
		assert_int_equal(folio_cache_open(&params, &cache), -EINVAL); \
	} while (0)
	REFUSED(ops = (struct folio_io_ops){0});
	REFUSED(ops.size = 0);
	REFUSED(ops.size = offsetof(struct folio_io_ops, sync) - 1);
	REFUSED(ops.name = NULL);
	REFUSED(ops.create = NULL);
	REFUSED(ops.destroy = NULL);
	REFUSED(ops.open = NULL);
	REFUSED(ops.close = NULL);
	REFUSED(ops.getattr = NULL);
	REFUSED(ops.read = NULL);
	REFUSED(ops.submit = NULL);
	/* All functions that write, or none of them. */
	ops.sync = ops.sync ? ops.sync : (int (*)(void *, void *, unsigned))abort;
	REFUSED(ops.truncate = ops.truncate ? NULL : (int (*)(void *, void *, uint64_t))abort);
	REFUSED((ops.sync = (int (*)(void *, void *, unsigned))abort,
		ops.truncate = (int (*)(void *, void *, uint64_t))abort,
		ops.size = offsetof(struct folio_io_ops, punch)));
#undef REFUSED
	assert_null(cache);
	io_fault_free(io);
}

/*
 * Tables of programs that were compiled with other headers: one without the functions for writing,
 * and one that has a function more. The cache reads no byte past the end of the first.
 */
static void test_cache_backend_of_other_version(void **state)
{
	const size_t sizes[] = {offsetof(struct folio_io_ops, sync),
		sizeof(struct folio_io_ops) + sizeof(void (*)(void))};
	struct folio_cache_params params = {.size = sizeof(params), .bytes = 64 * PAGE};
	struct folio_io_ops *ops;
	struct folio_cache *cache;
	struct folio_file *file;
	unsigned i;
	char buf[64];

	(void)state;
	for (i = 0; i < 2; i++) {
		struct io_fault *io = io_fault_new(test_seed, 1);

		io_fault_add(io, "a", 10 * PAGE);
		ops = malloc(sizes[i]);
		memset(ops, 0xff, sizes[i]);
		memcpy(ops, &io_fault_ops, sizes[i] < sizeof(*ops) ? sizes[i] : sizeof(*ops));
		ops->size = sizes[i];
		params.io = ops;
		params.io_context = io;
		assert_int_equal(folio_cache_open(&params, &cache), 0);
		/* The table is copied. */
		memset(ops, 0xff, sizes[i]);
		free(ops);
		file = file_open(cache, "a");
		assert_int_equal(folio_file_read(file, buf, sizeof(buf), PAGE), sizeof(buf));
		assert_int_equal(folio_file_close(file), 0);
		if (i == 0)
			assert_int_equal(folio_file_open(cache, "a", O_RDWR, 0, &file), -EROFS);
		assert_int_equal(folio_cache_close(cache), 0);
		io_fault_free(io);
	}
}

static unsigned depth_of_backend;

static int create_with_depth(void **context, unsigned depth)
{
	depth_of_backend = depth;
	return io_fault_ops.create(context, depth);
}

/*
 * A backend is created for a seventh more requests than the cache may have in flight; for twice as
 * many with a timeout, so that none finds it full.
 */
static void test_depth(void **state)
{
	static const struct {
		uint32_t wanted, timeout_ms, expected;
	} given[] = {{0, 0, 146}, {1, 0, 1}, {4096, 0, 4681}, {0, 1000, 256}, {4096, 1000, 8192}};
	struct io_fault *io = io_fault_new(test_seed, 0);
	struct folio_io_ops ops = io_fault_ops;
	struct folio_cache_params params = {
		.size = sizeof(params), .bytes = 64 * PAGE, .io = &ops, .io_context = io};
	struct folio_cache *cache = NULL;
	unsigned i;

	(void)state;
	ops.create = create_with_depth;
	for (i = 0; i < sizeof(given) / sizeof(given[0]); i++) {
		params.io_depth = given[i].wanted;
		params.timeout_ms = given[i].timeout_ms;
		assert_int_equal(folio_cache_open(&params, &cache), 0);
		assert_int_equal(depth_of_backend, given[i].expected);
		assert_int_equal(folio_cache_close(cache), 0);
	}
	params.io_depth = 4097;
	assert_int_equal(folio_cache_open(&params, &cache), -EINVAL);
	io_fault_free(io);
}

#define CACHES 64 /* as folio/cache.h promises */

static void test_many_caches(void **state)
{
	struct io_fault *io[CACHES];
	struct folio_cache *cache[CACHES], *more = NULL;
	struct folio_cache_params params = {
		.size = sizeof(params), .bytes = 64 * PAGE, .flags = FOLIO_CACHE_NO_HUGE_PAGES};
	unsigned i, round;

	(void)state;
	for (i = 0; i < CACHES; i++) {
		io[i] = io_fault_new(i, 0);
		io_fault_add(io[i], "a", 10 * PAGE);
		cache[i] = cache_open(64, FOLIO_CACHE_NO_HUGE_PAGES, io[i]);
	}
	assert_int_equal(folio_cache_open(&params, &more), -EMFILE);
	assert_int_equal(folio_cache_close(cache[17]), 0);
	cache[17] = cache_open(64, FOLIO_CACHE_NO_HUGE_PAGES, io[17]);
	/* One thread uses more caches than it remembers; all of its counts are kept. */
	for (round = 1; round <= 3; round++) {
		for (i = 0; i < CACHES; i++) {
			struct folio_file *file = file_open(cache[i], "a");
			char buf[64];

			assert_int_equal(
				folio_file_read(file, buf, sizeof(buf), PAGE), sizeof(buf));
			assert_int_equal(
				folio_file_read(file, buf, sizeof(buf), PAGE), sizeof(buf));
			assert_int_equal(folio_file_close(file), 0);
		}
		for (i = 0; i < CACHES; i++) {
			assert_int_equal(cache_stats(cache[i]).misses, round);
			assert_int_equal(cache_stats(cache[i]).hits, round);
		}
	}
	for (i = 0; i < CACHES; i++) {
		assert_int_equal(folio_cache_close(cache[i]), 0);
		io_fault_free(io[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cache_params),
		cmocka_unit_test(test_huge_pages),
		cmocka_unit_test(test_cache_backend_fails),
		cmocka_unit_test(test_cache_backend_incomplete),
		cmocka_unit_test(test_cache_backend_of_other_version),
		cmocka_unit_test(test_depth),
		cmocka_unit_test(test_many_caches),
	};

	test_begin("cache");
	return cmocka_run_group_tests_name("cache", tests, NULL, NULL);
}
