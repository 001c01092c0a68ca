/* SPDX-License-Identifier: BSD-2-Clause */
/* Many threads on one file that changes its contents or its size, and on several caches. */
#include "fault-world.h"

/*
 * Reads, pins, prefetches and opens. Every page is of a generation no older than the last one
 * dropped.
 */
static void *use_file(void *arg)
{
	struct worker *worker = arg;
	struct shared *shared = worker->shared;
	struct folio_file *file = NULL, *own = NULL;
	char buf[3 * FOLIO_PAGE_SIZE];
	unsigned i;

	for (i = 0; i < shared->steps; i++) {
		uint64_t floor = folio_u64_load_acquire(&shared->floor), oldest = UINT64_MAX;
		uint64_t index = random_below(&worker->random, shared->pages - 4);
		struct folio_range range = {.offset = index * PAGE, .len = 3 * PAGE};
		struct folio *folio;
		uint64_t len;
		void *page;
		ssize_t n;

		file = own ? own : shared->world.file;
		switch (random_below(&worker->random, 10)) {
		case 0:
			failed(shared, folio_file_prefetch(file, &range, 1) < 0);
			break;
		case 1:
			if (own) {
				failed(shared, folio_file_close(own) != 0);
				own = NULL;
			} else if (folio_file_open(shared->world.cache, "a", O_RDONLY, 0, &own)) {
				failed(shared, true);
				own = NULL;
			}
			break;
		case 2 ... 4:
			if (folio_file_get_page(file, index, 0, &folio, &page)) {
				failed(shared, true);
				break;
			}
			failed(shared, !io_fault_check(shared->world.contents, index * PAGE, page,
					       PAGE, &oldest, NULL) ||
					       oldest < floor);
			folio_put(folio);
			break;
		default:
			len = random_below(&worker->random, 4) ? 64 : sizeof(buf);
			n = folio_file_read(file, buf, len, index * PAGE);
			failed(shared, n != (ssize_t)len ||
					       !io_fault_check(shared->world.contents, index * PAGE,
						       buf, len, &oldest, NULL) ||
					       oldest < floor);
		}
	}
	if (own)
		failed(shared, folio_file_close(own) != 0);
	return NULL;
}

static void *change_file(void *arg)
{
	struct worker *worker = arg;
	struct shared *shared = worker->shared;

	while (!folio_u32_load_relaxed(&shared->stop)) {
		uint64_t generation = io_fault_change(shared->world.contents);

		if (random_below(&worker->random, 2))
			failed(shared,
				folio_file_invalidate(shared->world.file, 0, UINT64_MAX) != 0);
		else
			failed(shared, folio_file_revalidate(shared->world.file) < 0);
		folio_u64_store_release(&shared->floor, generation);
		sched_yield();
	}
	return NULL;
}

static void test_threads_and_changes(void **state)
{
	static const uint64_t budgets[] = {64, 1024};
	struct worker worker[THREADS];
	unsigned b, i;

	(void)state;
	for (b = 0; b < 2; b++) {
		struct shared shared = {.steps = scaled(12000), .pages = 300};

		world_begin(&shared.world, budgets[b], 0, shared.pages * PAGE);
		for (i = 0; i < THREADS; i++) {
			worker[i] = (struct worker){.shared = &shared, .random = test_seed + i};
			assert_int_equal(pthread_create(&worker[i].thread, NULL,
						 i ? use_file : change_file, &worker[i]),
				0);
		}
		for (i = 1; i < THREADS; i++)
			pthread_join(worker[i].thread, NULL);
		folio_u32_store_relaxed(&shared.stop, 1);
		pthread_join(worker[0].thread, NULL);
		assert_int_equal(folio_u32_load_relaxed(&shared.failures), 0);
		world_end(&shared.world);
	}
}

/* The size changes under readers: they get fewer bytes, but none that the file never had. */
static void *read_to_the_end(void *arg)
{
	struct worker *worker = arg;
	struct shared *shared = worker->shared;
	char buf[3 * FOLIO_PAGE_SIZE];
	unsigned i;

	for (i = 0; i < shared->steps; i++) {
		uint64_t offset = random_below(&worker->random, shared->pages * PAGE);
		uint64_t len = random_below(&worker->random, 4) ? 100 : sizeof(buf);
		ssize_t n = folio_file_read(shared->world.file, buf, len, offset);

		failed(shared, n < 0 || n > (ssize_t)len ||
				       !io_fault_check(shared->world.contents, offset, buf,
					       (size_t)n, NULL, NULL));
	}
	return NULL;
}

static void *change_size(void *arg)
{
	struct worker *worker = arg;
	struct shared *shared = worker->shared;

	while (!folio_u32_load_relaxed(&shared->stop)) {
		io_fault_resize(shared->world.contents,
			random_below(&worker->random, shared->pages * PAGE));
		if (random_below(&worker->random, 4))
			failed(shared, folio_file_revalidate(shared->world.file) < 0);
		sched_yield();
	}
	return NULL;
}

static void test_threads_and_sizes(void **state)
{
	struct shared shared = {.steps = scaled(30000), .pages = 12};
	struct worker worker[THREADS];
	unsigned i;

	(void)state;
	world_begin(&shared.world, 64, 0, shared.pages * PAGE);
	for (i = 0; i < THREADS; i++) {
		worker[i] = (struct worker){.shared = &shared, .random = test_seed + i};
		assert_int_equal(pthread_create(&worker[i].thread, NULL,
					 i ? read_to_the_end : change_size, &worker[i]),
			0);
	}
	for (i = 1; i < THREADS; i++)
		pthread_join(worker[i].thread, NULL);
	folio_u32_store_relaxed(&shared.stop, 1);
	pthread_join(worker[0].thread, NULL);
	assert_int_equal(folio_u32_load_relaxed(&shared.failures), 0);
	world_end(&shared.world);
}

/* Threads that use several caches in random order and then end: their counts are kept. */
struct tour {
	struct folio_file **file;
	uint64_t random;
	pthread_t thread;
	uint64_t asked[12];
};

static void *visit_caches(void *arg)
{
	struct tour *tour = arg;
	char buf[64];
	unsigned i;

	for (i = 0; i < 500; i++) {
		uint64_t which = random_below(&tour->random, 12);

		if (folio_file_read(tour->file[which], buf, sizeof(buf),
			    random_below(&tour->random, 90) * PAGE) == sizeof(buf))
			tour->asked[which]++;
	}
	return NULL;
}

static void test_several_caches(void **state)
{
	struct io_fault *io[12];
	struct folio_cache *cache[12];
	struct folio_file *file[12];
	uint64_t asked[12] = {0};
	struct tour tour[THREADS];
	unsigned i, t, round;

	(void)state;
	for (i = 0; i < 12; i++) {
		io[i] = io_fault_new(test_seed + i, 1);
		io_fault_add(io[i], "a", 100 * PAGE);
		cache[i] = cache_open(64, 0, io[i]);
		file[i] = file_open(cache[i], "a");
	}
	for (round = 0; round < 5; round++) {
		for (t = 0; t < THREADS; t++) {
			tour[t] = (struct tour){.file = file, .random = test_seed + t + 10 * round};
			assert_int_equal(
				pthread_create(&tour[t].thread, NULL, visit_caches, &tour[t]), 0);
		}
		for (t = 0; t < THREADS; t++) {
			pthread_join(tour[t].thread, NULL);
			for (i = 0; i < 12; i++)
				asked[i] += tour[t].asked[i];
		}
		for (i = 0; i < 12; i++) {
			struct folio_cache_stats stats = cache_stats(cache[i]);

			assert_int_equal(stats.hits + stats.misses, asked[i]);
		}
	}
	for (i = 0; i < 12; i++) {
		assert_int_equal(folio_file_close(file[i]), 0);
		assert_int_equal(folio_cache_close(cache[i]), 0);
		io_fault_free(io[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threads_and_changes),
		cmocka_unit_test(test_threads_and_sizes),
		cmocka_unit_test(test_several_caches),
	};

	test_begin("read-threads");
	return cmocka_run_group_tests_name("read-threads", tests, NULL, NULL);
}
