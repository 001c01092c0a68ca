/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Callers that find no free page: they wait while other threads hold pages for a moment, and fail
 * with -ENOMEM when all remaining references are pins.
 */
#include "evict-world.h"

/* One page is enough for any number of readers of other pages, one at a time: none is refused. */
static void test_one_page_for_all(void **state)
{
	static const unsigned left[] = {1, 2, 3};
	struct folio *folio[64];
	struct worker worker[THREADS];
	unsigned i, l;

	(void)state;
	for (l = 0; l < sizeof(left) / sizeof(left[0]); l++) {
		struct shared shared = {.steps = scaled(3000)};

		evict_world_begin(&shared.world, 64);
		for (i = 0; i < 64 - left[l]; i++)
			pin(&shared.world, i, &folio[i]);
		for (i = 0; i < THREADS; i++) {
			worker[i] = (struct worker){.shared = &shared, .random = test_seed + i};
			assert_int_equal(pthread_create(&worker[i].thread, NULL, read_one_page_each,
						 &worker[i]),
				0);
		}
		for (i = 0; i < THREADS; i++)
			pthread_join(worker[i].thread, NULL);
		assert_int_equal(folio_u32_load_relaxed(&shared.failures), 0);
		assert_int_equal(cache_stats(shared.world.cache).out_of_memory, 0);
		for (i = 0; i < 64 - left[l]; i++) {
			expect_intact(&shared.world, i, folio[i]);
			folio_put(folio[i]);
		}
		world_end(&shared.world);
	}
}

static void *read_and_be_refused(void *arg)
{
	struct worker *worker = arg;
	struct shared *shared = worker->shared;
	char buf[64];
	unsigned i;

	for (i = 0; i < shared->steps; i++) {
		uint64_t offset = (1000 + random_below(&worker->random, 60000)) * PAGE;

		if (folio_file_read(shared->world.file, buf, sizeof(buf), offset) != -ENOMEM)
			folio_u32_fetch_add_relaxed(&shared->failures, 1);
	}
	return NULL;
}

static void *read_pinned(void *arg)
{
	struct worker *worker = arg;
	struct shared *shared = worker->shared;
	char buf[512];

	while (!folio_u32_load_relaxed(&shared->stop)) {
		uint64_t offset = random_below(&worker->random, 64) * PAGE + 8;
		struct folio *folio;

		if (folio_file_read(shared->world.file, buf, sizeof(buf), offset) != sizeof(buf) ||
			!io_fault_check(
				shared->world.contents, offset, buf, sizeof(buf), NULL, NULL) ||
			folio_file_get(shared->world.file, offset / PAGE, 0, &folio))
			folio_u32_fetch_add_relaxed(&shared->failures, 1);
		else
			folio_put(folio);
	}
	return NULL;
}

/*
 * Several callers find everything pinned at the same time. Each is refused: no caller takes another
 * one's search as a reason to continue its own. Readers of cached pages are not disturbed.
 */
static void test_all_refused(void **state)
{
	struct shared shared = {.steps = scaled(2000)};
	struct folio *folio[64];
	struct worker worker[THREADS];
	unsigned i;

	(void)state;
	evict_world_begin(&shared.world, 64);
	for (i = 0; i < 64; i++)
		pin(&shared.world, i, &folio[i]);
	for (i = 0; i < THREADS; i++) {
		worker[i] = (struct worker){.shared = &shared, .random = test_seed + i};
		assert_int_equal(pthread_create(&worker[i].thread, NULL,
					 i == 0 ? read_pinned : read_and_be_refused, &worker[i]),
			0);
	}
	for (i = 1; i < THREADS; i++)
		pthread_join(worker[i].thread, NULL);
	folio_u32_store_relaxed(&shared.stop, 1);
	pthread_join(worker[0].thread, NULL);
	assert_int_equal(folio_u32_load_relaxed(&shared.failures), 0);
	for (i = 0; i < 64; i++) {
		expect_intact(&shared.world, i, folio[i]);
		folio_put(folio[i]);
	}
	world_end(&shared.world);
}

static void *read_one(void *arg)
{
	struct worker *worker = arg;
	char buf[64];

	if (folio_file_read(worker->shared->world.file, buf, sizeof(buf), 500 * PAGE) !=
			sizeof(buf) ||
		!io_fault_check(
			worker->shared->world.contents, 500 * PAGE, buf, sizeof(buf), NULL, NULL))
		folio_u32_fetch_add_relaxed(&worker->shared->failures, 1);
	return NULL;
}

/*
 * Pages that are being read are not pins: a caller that needs one waits for the device and is not
 * refused.
 */
static void test_waits_for_fills(void **state)
{
	struct shared shared = {0};
	struct worker worker[THREADS];
	struct progress *progress;
	uint64_t started = 0;
	unsigned i;

	(void)state;
	evict_world_begin(&shared.world, 64);
	progress = &shared.world.cache->progress;
	io_fault_hold(shared.world.io);
	for (i = 0; i < 64 && cache_stats(shared.world.cache).pages_free; i++) {
		struct folio_range range = {.offset = i * PAGE, .len = PAGE};

		started += (uint64_t)folio_file_prefetch(shared.world.file, &range, 1);
	}
	assert_int_equal(started, 64);
	for (i = 0; i < THREADS; i++) {
		worker[i] = (struct worker){.shared = &shared, .random = test_seed + i};
		assert_int_equal(pthread_create(&worker[i].thread, NULL, read_one, &worker[i]), 0);
	}
	wait_until(folio_u32_load_relaxed(&progress->waiters) == THREADS);
	io_fault_release(shared.world.io, UINT64_MAX);
	for (i = 0; i < THREADS; i++)
		pthread_join(worker[i].thread, NULL);
	assert_int_equal(folio_u32_load_relaxed(&shared.failures), 0);
	assert_int_equal(cache_stats(shared.world.cache).out_of_memory, 0);
	world_end(&shared.world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_page_for_all),
		cmocka_unit_test(test_all_refused),
		cmocka_unit_test(test_waits_for_fills),
	};

	test_begin("progress");
	return cmocka_run_group_tests_name("progress", tests, NULL, NULL);
}
