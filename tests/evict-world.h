/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * evict-world.h - a cache on the fault-injecting backend whose file is far larger than its budget.
 */
#ifndef FOLIO_TESTS_EVICT_WORLD_H
#define FOLIO_TESTS_EVICT_WORLD_H

#include "fault-world.h"

#define FILE_PAGES 65536

static inline void evict_world_begin(struct world *world, uint64_t pages)
{
	world->io = io_fault_new(test_seed, 2);
	world->contents = io_fault_add(world->io, "a", FILE_PAGES * PAGE);
	world->cache =
		cache_open(pages, FOLIO_CACHE_NO_READAHEAD | FOLIO_CACHE_NO_HUGE_PAGES, world->io);
	world->file = file_open(world->cache, "a");
}

/*
 * Stops eviction in the background, so that the order of calls alone decides which pages are
 * evicted. The thread reads the mark when it starts, and finds enough free pages by either value.
 */
static inline void quiet_background(struct world *world)
{
	folio_u64_store_relaxed(&world->cache->evict.low, 0);
}

static inline void touch(struct world *world, uint64_t index)
{
	char buf[32];

	assert_int_equal(
		folio_file_read(world->file, buf, sizeof(buf), index * PAGE + 40), sizeof(buf));
	assert_true(
		io_fault_check(world->contents, index * PAGE + 40, buf, sizeof(buf), NULL, NULL));
}

static inline void touch_all(struct world *world, uint64_t first, uint64_t count, unsigned times)
{
	uint64_t i;

	while (times-- > 0)
		for (i = 0; i < count; i++)
			touch(world, first + i);
}

static inline uint64_t cached(struct world *world, uint64_t first, uint64_t count)
{
	uint64_t found = 0;

	while (count-- > 0)
		found += page_cached(world->file, first + count);
	return found;
}

static inline void pin(struct world *world, uint64_t index, struct folio **folio)
{
	*folio = NULL;
	assert_int_equal(folio_file_get(world->file, index, 0, folio), 0);
}

static inline void expect_intact(struct world *world, uint64_t index, struct folio *folio)
{
	assert_true(io_fault_check(
		world->contents, index * PAGE, folio_page(folio, index), PAGE, NULL, NULL));
	assert_true(page_references(world->file, index) >= 2);
}

static inline void *read_one_page_each(void *arg)
{
	struct worker *worker = arg;
	struct shared *shared = worker->shared;
	char buf[64];
	unsigned i;

	for (i = 0; i < shared->steps; i++) {
		uint64_t offset = (1000 + random_below(&worker->random, 60000)) * PAGE;

		if (folio_file_read(shared->world.file, buf, sizeof(buf), offset) != sizeof(buf) ||
			!io_fault_check(
				shared->world.contents, offset, buf, sizeof(buf), NULL, NULL))
			folio_u32_fetch_add_relaxed(&shared->failures, 1);
	}
	return NULL;
}

#endif
