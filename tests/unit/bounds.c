/* SPDX-License-Identifier: BSD-2-Clause */
/* The floor and the ceiling of a file. */
#include <dlfcn.h>
#include <pthread.h>

#include <folio/stats.h>

#include "evict/bounds.h"
#include "evict/refault.h"
#include "evict-world.h"
#include "quiet-cache.h"

#define PAGES 256
#define FLOOR 60

/* The world's file is "a"; a second one, with pages that nothing keeps. */
struct files {
	struct world world;
	struct folio_file *other;
};

static void begin(struct files *files, uint64_t pages, uint32_t flags)
{
	struct world *world = &files->world;

	world->io = io_fault_new(test_seed, 2);
	world->contents = io_fault_add(world->io, "a", FILE_PAGES * PAGE);
	io_fault_add(world->io, "b", FILE_PAGES * PAGE);
	world->cache = cache_open(pages, flags | FOLIO_CACHE_NO_HUGE_PAGES, world->io);
	world->file = file_open(world->cache, "a");
	files->other = file_open(world->cache, "b");
	quiet_background(world);
}

static void end(struct files *files)
{
	assert_int_equal(folio_file_close(files->other), 0);
	world_end(&files->world);
}

static uint64_t has(struct folio_file *file)
{
	struct folio_file_stat stat = {.size = sizeof(stat)};

	assert_int_equal(folio_file_stat(file, &stat), 0);
	return stat.pages;
}

static void read_pages(struct folio_file *file, uint64_t first, uint64_t count)
{
	char buf[32];
	uint64_t i;

	for (i = first; i < first + count; i++)
		assert_int_equal(
			folio_file_read(file, buf, sizeof(buf), i * PAGE + 40), sizeof(buf));
}

static int set(struct folio_file *file, uint64_t floor, uint64_t ceiling)
{
	return folio_file_set_share(file, floor * PAGE, ceiling * PAGE);
}

#if !defined(__SANITIZE_THREAD__)
/* Of this file, if any, the bounds are compared whenever a lock is given up. */
static const struct inode *watched;
static unsigned wrong;

int pthread_mutex_unlock(pthread_mutex_t *mutex)
{
	static int (*real)(pthread_mutex_t *);
	int r;

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "pthread_mutex_unlock");
	r = real(mutex);
	if (watched && mutex == &watched->cache->queues.lock)
		wrong += folio_u64_load_relaxed(&watched->floor) >
			 folio_u64_load_relaxed(&watched->ceiling);
	return r;
}

/* Both bounds change together, for calls of two threads that do not agree. */
static void test_together(void **state)
{
	struct files files;

	(void)state;
	begin(&files, PAGES, FOLIO_CACHE_NO_READAHEAD);
	assert_int_equal(set(files.world.file, 0, FLOOR / 2), 0);
	watched = files.world.file->inode;
	assert_int_equal(set(files.world.file, FLOOR, 2 * FLOOR), 0);
	assert_int_equal(set(files.world.file, 0, FLOOR / 2), 0);
	watched = NULL;
	assert_int_equal(wrong, 0);
	end(&files);
}
#endif

static void test_errors(void **state)
{
	struct files files;
	struct folio_file *file;

	(void)state;
	begin(&files, PAGES, FOLIO_CACHE_NO_READAHEAD);
	file = files.world.file;
	assert_int_equal(set(NULL, 1, 2), -EINVAL);
	assert_int_equal(set(file, 3, 2), -EINVAL);
	assert_int_equal(folio_file_set_share(file, 2, 1), -EINVAL);
	assert_int_equal(folio_file_set_share(file, 1, 1), 0);
	/* Rounded up. */
	assert_int_equal(folio_u64_load_relaxed(&file->inode->floor), 1);
	assert_int_equal(folio_u64_load_relaxed(&file->inode->ceiling), 1);
	assert_int_equal(folio_file_set_share(file, UINT64_MAX, UINT64_MAX), -ENOSPC);
	assert_int_equal(folio_u64_load_relaxed(&file->inode->floor), 1);
	assert_int_equal(set(file, PAGES / 2 + 1, 0), -ENOSPC);
	assert_int_equal(set(file, PAGES / 2, 0), 0);
	assert_int_equal(set(files.other, 1, 0), -ENOSPC);
	assert_int_equal(set(file, PAGES / 2 - 1, 0), 0);
	assert_int_equal(set(files.other, 1, 0), 0);
	/* A close gives the part back. */
	assert_int_equal(set(files.other, 0, 0), 0);
	assert_int_equal(folio_file_close(file), 0);
	assert_int_equal(set(files.other, PAGES / 2, 0), 0);
	files.world.file = file_open(files.world.cache, "a");
	assert_int_equal(folio_u64_load_relaxed(&files.world.file->inode->floor), 0);
	end(&files);
}

/* The pages were used once, and long ago. */
static void test_floor(void **state)
{
	struct folio_file *file;
	struct files files;

	(void)state;
	begin(&files, PAGES, FOLIO_CACHE_NO_READAHEAD);
	file = files.world.file;
	read_pages(file, 0, FLOOR);
	assert_int_equal(set(file, FLOOR, 0), 0);
	read_pages(files.other, 0, 8 * PAGES);
	assert_int_equal(has(file), FLOOR);
	/* Scans find them among those that are pinned, and not among others. */
	assert_int_equal(files.world.cache->queues.parked.pages, FLOOR);
	assert_int_equal(set(file, 0, 0), 0);
	read_pages(files.other, 10000, 2 * PAGES);
	assert_int_equal(has(file), 0);
	end(&files);
}

/* A file with more pages than its floor keeps exactly as many, those that are used most. */
static void test_more_than_floor(void **state)
{
	struct folio_file *file;
	struct files files;
	unsigned i;

	(void)state;
	begin(&files, PAGES, FOLIO_CACHE_NO_READAHEAD);
	file = files.world.file;
	assert_int_equal(set(file, FLOOR, 0), 0);
	for (i = 0; i < 4; i++)
		read_pages(file, 100, FLOOR);
	read_pages(file, 0, 100);
	read_pages(files.other, 0, 8 * PAGES);
	assert_int_equal(has(file), FLOOR);
	assert_int_equal(cached(&files.world, 100, FLOOR), FLOOR);
	/* Others of the file may take their place when these are no longer used. */
	for (i = 0; i < 8; i++) {
		read_pages(file, 1000, FLOOR);
		read_pages(files.other, 10000 + i * 1000, PAGES);
		assert_true(has(file) >= FLOOR);
	}
	assert_true(cached(&files.world, 1000, FLOOR) > FLOOR / 2);
	end(&files);
}

/* A floor is broken before a call fails. */
static void test_nothing_else(void **state)
{
	struct folio *folio[PAGES];
	struct files files;
	unsigned i, n = 0;

	(void)state;
	begin(&files, PAGES, FOLIO_CACHE_NO_READAHEAD);
	read_pages(files.world.file, 0, FLOOR);
	assert_int_equal(set(files.world.file, FLOOR, 0), 0);
	while (n < PAGES && folio_file_get(files.other, n, 0, &folio[n]) == 0) {
		n++;
		assert_true(n > PAGES - FLOOR || has(files.world.file) == FLOOR);
	}
	assert_int_equal(n, PAGES);
	assert_int_equal(has(files.world.file), 0);
	for (i = 0; i < n; i++)
		folio_put(folio[i]);
	end(&files);
}

/* With a smaller budget the floors of two files are smaller in proportion. */
static void test_resize(void **state)
{
	struct files files;
	struct folio_file *third;

	(void)state;
	begin(&files, 2 * PAGES, FOLIO_CACHE_NO_READAHEAD);
	io_fault_add(files.world.io, "c", FILE_PAGES * PAGE);
	third = file_open(files.world.cache, "c");
	assert_int_equal(set(files.world.file, 160, 0), 0);
	assert_int_equal(set(third, 80, 0), 0);
	read_pages(files.world.file, 0, 160);
	read_pages(third, 0, 80);
	read_pages(files.other, 0, 8 * PAGES);
	assert_int_equal(has(files.world.file), 160);
	assert_int_equal(has(third), 80);
	assert_int_equal(folio_cache_resize(files.world.cache, 120 * PAGE), 0);
	quiet_background(&files.world);
	read_pages(files.other, 10000, 8 * PAGES);
	assert_int_equal(has(files.world.file), 40);
	assert_int_equal(has(third), 20);
	/* A smaller floor is no error, although it is still too large. */
	assert_int_equal(set(third, 79, 0), 0);
	assert_int_equal(set(third, 80, 0), -ENOSPC);
	assert_int_equal(folio_cache_resize(files.world.cache, 2 * PAGES * PAGE), 0);
	quiet_background(&files.world);
	read_pages(files.world.file, 0, 160);
	read_pages(files.other, 20000, 8 * PAGES);
	assert_int_equal(has(files.world.file), 160);
	assert_int_equal(folio_file_close(third), 0);
	end(&files);
}

/*
 * Pages far apart need nodes of their own. When these are short, which they are with a small
 * fan-out, pages are evicted that no file keeps.
 */
static void test_nodes(void **state)
{
	const uint64_t many = UINT64_C(1) << 30;
	struct folio_file *far;
	struct files files;
	uint64_t i;

	(void)state;
	begin(&files, PAGES, FOLIO_CACHE_NO_READAHEAD);
	io_fault_add(files.world.io, "far", many * PAGE);
	far = file_open(files.world.cache, "far");
	read_pages(files.world.file, 0, FLOOR);
	assert_int_equal(set(files.world.file, FLOOR, 0), 0);
	for (i = 0; i < 20 * PAGES; i++)
		read_pages(far, i * 1000003 % many, 1);
	assert_int_equal(has(files.world.file), FLOOR);
	assert_int_equal(folio_file_close(far), 0);
	end(&files);
}

/* Also while memory is free. The pages of others stay, and so does a page that is used. */
static void test_ceiling(void **state)
{
	struct files files;
	uint64_t i;

	(void)state;
	begin(&files, PAGES, FOLIO_CACHE_NO_READAHEAD);
	read_pages(files.other, 0, 100);
	assert_int_equal(set(files.world.file, 0, 50), 0);
	for (i = 0; i < 8 * PAGES; i++) {
		read_pages(files.world.file, i, 1);
		if (i % 10 == 0)
			read_pages(files.world.file, 60000, 1);
		assert_true(has(files.world.file) <= 50);
	}
	assert_true(has(files.world.file) > 45);
	assert_true(page_cached(files.world.file, 60000));
	assert_int_equal(has(files.other), 100);
	assert_int_equal(cache_stats(files.world.cache).pages_file, has(files.world.file) + 100);
	/* Less at once, and then as much as there is. */
	assert_int_equal(set(files.world.file, 0, 20), 0);
	assert_int_equal(has(files.world.file), 20);
	assert_int_equal(set(files.world.file, 0, 0), 0);
	read_pages(files.world.file, 10000, 100);
	assert_true(has(files.world.file) >= 100);
	end(&files);
}

/* What makes space for its own file says nothing about the queues. */
static void test_ceiling_apart(void **state)
{
	struct files files;
	struct evict *evict;
	uint64_t evicted;

	(void)state;
	begin(&files, PAGES, FOLIO_CACHE_NO_READAHEAD);
	evict = &files.world.cache->evict;
	evicted = REFAULT_WHOLE / 2;
	folio_u64_store_relaxed(&evict->small_evicted, evicted);
	assert_int_equal(set(files.world.file, 0, 50), 0);
	read_pages(files.world.file, 0, 200);
	read_pages(files.world.file, 0, 200);
	assert_true(cache_stats(files.world.cache).evictions >= 300);
	assert_int_equal(cache_stats(files.world.cache).refaults, 0);
	assert_int_equal(folio_u64_load_relaxed(&evict->clock), 0);
	assert_true(folio_u64_load_relaxed(&evict->small_evicted) == evicted);
	end(&files);
}

/* Pages that cannot be evicted may exceed the ceiling, and cost each call few looks. */
static void test_ceiling_pinned(void **state)
{
	struct folio *folio[40];
	struct files files;
	unsigned i;

	(void)state;
	begin(&files, PAGES, FOLIO_CACHE_NO_READAHEAD);
	assert_int_equal(set(files.world.file, 0, 20), 0);
	for (i = 0; i < 40; i++)
		pin(&files.world, i, &folio[i]);
	assert_int_equal(has(files.world.file), 40);
	for (i = 0; i < 40; i++) {
		expect_intact(&files.world, i, folio[i]);
		folio_put(folio[i]);
	}
	read_pages(files.world.file, 1000, 1);
	assert_true(has(files.world.file) <= 20);
	end(&files);
}

/* One call examines a bounded number of the file's pages, however many are pinned. */
static void test_ceiling_effort(void **state)
{
	enum { PINNED = 600, LOOKS = 256 + 4 };

	static struct folio *folio[PINNED];
	struct files files;
	struct inode *inode;
	uint64_t hand, i;

	(void)state;
	begin(&files, 1024, FOLIO_CACHE_NO_READAHEAD);
	inode = files.world.file->inode;
	for (i = 0; i < PINNED; i++)
		pin(&files.world, i, &folio[i]);
	assert_int_equal(set(files.world.file, 0, 20), 0);
	for (i = 0; i < 50; i++) {
		hand = inode->hand;
		read_pages(files.world.file, 1000 + i, 1);
		/* Pages past the pinned ones are few, and do not matter here. */
		if (hand < PINNED && inode->hand <= PINNED)
			assert_true((inode->hand + PINNED - hand) % PINNED <= LOOKS);
	}
	assert_true(has(files.world.file) <= PINNED + 50);
	for (i = 0; i < PINNED; i++)
		folio_put(folio[i]);
	end(&files);
}

/* What is read ahead is not evicted before it is read, wherever the hand is. */
static void test_ceiling_windows(void **state)
{
	enum { READERS = 2, COUNT = 3000, CEILING = 256, WINDOW = CEILING / 8 };

	static char buf[FOLIO_PAGE_SIZE];
	struct folio_file *file[READERS];
	struct folio_cache_stats stats;
	uint64_t random = test_seed, first[READERS], at[READERS] = {0}, done = 0;
	struct files files;
	unsigned n;

	(void)state;
	begin(&files, 2048, 0);
	assert_int_equal(set(files.world.file, 0, CEILING), 0);
	for (n = 0; n < READERS; n++) {
		file[n] = file_open(files.world.cache, "a");
		first[n] = n * 20000 + random_below(&random, 10000);
	}
	while (done < READERS * COUNT) {
		n = (unsigned)random_below(&random, READERS);
		if (at[n] == COUNT)
			continue;
		assert_int_equal(
			folio_file_read(file[n], buf, PAGE, (first[n] + at[n]++) * PAGE), PAGE);
		done++;
	}
	io_fault_wait_idle(files.world.io);
	stats = cache_stats(files.world.cache);
	assert_true(has(files.world.file) <= CEILING + READERS * WINDOW);
	assert_true(stats.readahead_pages > READERS * COUNT * 9 / 10);
	/* 1.02 with the marks of the hand, 1.16 without. */
	assert_true(stats.fill_bytes / PAGE <= READERS * COUNT * 21 / 20);
	for (n = 0; n < READERS; n++)
		assert_int_equal(folio_file_close(file[n]), 0);
	end(&files);
}

/* A large request, a batch and a prefetch of a file with a small ceiling. */
static void test_ceiling_requests(void **state)
{
	const struct folio_range range = {30000 * PAGE, 200 * PAGE};
	static char buf[100 * FOLIO_PAGE_SIZE];
	struct folio_read batch[100];
	struct files files;
	uint64_t bytes;
	unsigned i;

	(void)state;
	begin(&files, 1024, FOLIO_CACHE_NO_READAHEAD);
	assert_int_equal(set(files.world.file, 0, 32), 0);
	for (i = 0; i < 100; i++)
		batch[i] = (struct folio_read){
			.buf = buf + i * PAGE, .len = PAGE, .offset = (10000 + 2 * i) * PAGE};
	bytes = cache_stats(files.world.cache).fill_bytes;
	assert_int_equal(folio_file_read_batch(files.world.file, batch, 100, 0), 0);
	for (i = 0; i < 100; i++)
		assert_true(batch[i].result == PAGE &&
			    io_fault_check(files.world.contents, batch[i].offset, buf + i * PAGE,
				    PAGE, NULL, NULL));
	assert_int_equal(cache_stats(files.world.cache).fill_bytes - bytes, 100 * PAGE);
	assert_true(has(files.world.file) <= 32 + 4);
	assert_int_equal(folio_file_prefetch(files.world.file, &range, 1), 4);
	expect_read(&files.world, 20000 * PAGE, sizeof(buf), 1);
	read_pages(files.world.file, 40000, 40);
	assert_true(has(files.world.file) <= 32);
	end(&files);
}

/* Random calls: each file has at least its floor, once it had, and little more than its ceiling. */
static void test_random(void **state)
{
	const uint64_t most = 2 * PAGES;
	struct folio_file *file[3];
	uint64_t floor[3] = {0}, ceiling[3] = {0}, had[3], random = test_seed, pages = most, sum;
	struct cache_limits limits;
	struct files files;
	unsigned step, i;

	(void)state;
	begin(&files, most, FOLIO_CACHE_NO_READAHEAD);
	io_fault_add(files.world.io, "c", FILE_PAGES * PAGE);
	file[0] = files.world.file;
	file[1] = files.other;
	file[2] = file_open(files.world.cache, "c");
	limits = limits_of(files.world.cache);
	for (step = 0; step < scaled(30000); step++) {
		unsigned n = (unsigned)random_below(&random, 3);

		for (i = 0, sum = 0; i < 3; i++) {
			had[i] = has(file[i]);
			sum += floor[i];
		}
		if (random_below(&random, 500) == 0) {
			uint64_t low = random_below(&random, most / 3);
			uint64_t high =
				random_below(&random, 2) ? low + random_below(&random, most) : 0;
			int r = set(file[n], low, high);

			assert_int_equal(r, high && low > high ? -EINVAL
					    : low > floor[n] && sum - floor[n] + low > pages / 2
						    ? -ENOSPC
						    : 0);
			if (!r) {
				floor[n] = low;
				ceiling[n] = high;
			}
			had[n] = 0;
		} else if (random_below(&random, 2000) == 0) {
			pages = most / 2 + random_below(&random, most / 2 + 1);
			assert_int_equal(folio_cache_resize(files.world.cache, pages * PAGE), 0);
			quiet_background(&files.world);
			continue;
		} else {
			read_pages(file[n], random_below(&random, 200 << random_below(&random, 4)),
				1 + random_below(&random, 20));
		}
		for (i = 0, sum = 0; i < 3; i++)
			sum += floor[i];
		for (i = 0; i < 3; i++) {
			uint64_t now = has(file[i]), keep = floor[i];

			if (sum > pages / 2)
				keep = floor[i] * (pages / 2) / sum;
			assert_true(now >= (had[i] < keep ? had[i] : keep));
			assert_true(!ceiling[i] || now <= ceiling[i] + ceiling[i] / 16 + 2 ||
				    now <= had[i]);
		}
	}
	assert_int_equal(folio_cache_resize(files.world.cache, most * PAGE), 0);
	expect_quiet(files.world.cache, &limits);
	assert_int_equal(folio_file_close(file[2]), 0);
	end(&files);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#if !defined(__SANITIZE_THREAD__)
		cmocka_unit_test(test_together),
#endif
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_floor),
		cmocka_unit_test(test_more_than_floor),
		cmocka_unit_test(test_nothing_else),
		cmocka_unit_test(test_resize),
		cmocka_unit_test(test_nodes),
		cmocka_unit_test(test_ceiling),
		cmocka_unit_test(test_ceiling_apart),
		cmocka_unit_test(test_ceiling_pinned),
		cmocka_unit_test(test_ceiling_effort),
		cmocka_unit_test(test_ceiling_windows),
		cmocka_unit_test(test_ceiling_requests),
		cmocka_unit_test(test_random),
	};

	test_begin("bounds");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
