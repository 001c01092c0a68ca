/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cache-test.h - helpers of all tests of a cache: seed, scale, opening, closing, waiting for
 * another thread.
 */
#ifndef FOLIO_TESTS_CACHE_TEST_H
#define FOLIO_TESTS_CACHE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <folio/cache.h>

#include "core/heat.h"
#include "core/walk.h"
#include "cache/types.h"
#include "io-fault.h"

#define PAGE ((uint64_t)FOLIO_PAGE_SIZE)

static uint64_t test_seed;

/* Called by main before the tests. */
static inline void test_begin(const char *name)
{
	const char *given = getenv("FOLIO_SEED");

	test_seed = given ? strtoull(given, NULL, 0)
			  : (uint64_t)time(NULL) * 1000003 + (uint64_t)getpid();
	printf("# %s: FOLIO_SEED=%llu\n", name, (unsigned long long)test_seed);
	fflush(stdout);
}

/* SplitMix64 (Steele, Lea, Flood, OOPSLA 2014). */
static inline uint64_t random_next(uint64_t *state)
{
	uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

/* limit > 0 */
static inline uint64_t random_below(uint64_t *state, uint64_t limit)
{
	return random_next(state) % limit;
}

static inline unsigned scaled(unsigned work)
{
	const char *scale = getenv("FOLIO_TEST_SCALE");
	double factor = scale ? atof(scale) : 1;

#if defined(__SANITIZE_THREAD__)
	factor /= 8;
#elif defined(__SANITIZE_ADDRESS__)
	factor /= 3;
#endif
	return factor * work > 1 ? (unsigned)(factor * work) : 1;
}

/* A cache of @pages over @io (NULL: the library's own choice). */
static inline struct folio_cache *cache_open(uint64_t pages, uint32_t flags, struct io_fault *io)
{
	struct folio_cache_params params = {
		.size = sizeof(params),
		.bytes = pages * PAGE,
		.flags = flags,
		.io = io ? &io_fault_ops : NULL,
		.io_context = io,
	};
	struct folio_cache *cache = NULL;

	assert_int_equal(folio_cache_open(&params, &cache), 0);
	return cache;
}

static inline struct folio_file *file_open(struct folio_cache *cache, const char *path)
{
	struct folio_file *file = NULL;

	assert_int_equal(folio_file_open(cache, path, O_RDONLY, 0, &file), 0);
	return file;
}

/* folio_file_get as through a handle for reading: a large folio is not split. */
static inline int get_unsplit(struct folio_file *file, uint64_t index, struct folio **folio)
{
	bool writable = file->writable;
	int r;

	file->writable = false;
	r = folio_file_get(file, index, 0, folio);
	file->writable = writable;
	return r;
}

static inline struct folio_cache_stats cache_stats(struct folio_cache *cache)
{
	struct folio_cache_stats stats = {.size = sizeof(stats)};

	assert_int_equal(folio_cache_stats(cache, &stats), 0);
	return stats;
}

/* Write-back finds no bounce frame: writers of a page wait for its write. Changes internals. */
static inline void write_without_copies(struct folio_cache *cache)
{
	cache->writeback.bounce.count = cache->writeback.bounce.free_count = 0;
}

/* Wait until @condition, which another thread makes true. */
#define wait_until(condition)          \
	do {                           \
		while (!(condition))   \
			sched_yield(); \
	} while (0)

/*
 * The references of the folio that caches a page of a file; 0 if the page is not cached. Reads
 * internals.
 */
/* As if the folio had been filled when the file ended after @valid of its bytes. */
static inline void set_valid(struct folio_file *file, struct folio *folio, uint32_t valid)
{
	pool_change_begin(&file->cache->pool, folio);
	folio_u32_store_relaxed(&folio->valid, valid);
	pool_change_end(&file->cache->pool, folio);
}

static inline uint32_t page_references(struct folio_file *file, uint64_t index)
{
	void *entry = tree_load(&file->inode->tree, index);
	uint32_t count = 0;

	if (entry_is_folio(entry))
		count = folio_ref_count(&entry_folio(entry)->ref);
	return count;
}

/* True if a page of a file is cached or being read. */
static inline bool page_cached(struct folio_file *file, uint64_t index)
{
	return page_references(file, index) > 0;
}

/* The heat of the folio that caches a page of a file. The page must be cached. */
static inline unsigned page_heat(struct folio_file *file, uint64_t index)
{
	struct folio *folio = entry_folio(tree_load(&file->inode->tree, index));

	return folio_u32_load_relaxed(&folio->heat) & HEAT_MASK;
}

#endif
