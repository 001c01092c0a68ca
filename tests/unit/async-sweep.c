/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A sequence of calls on a completion queue is repeated while the first allocation fails, then the
 * second, and so on until there are no more; once, and from then on. The start of a thread counts
 * as one. Each request ends once, with its result or -ENOMEM; nothing wrong is read, and nothing
 * leaks. The same for descriptors.
 */
#include "alloc-fault.h"

#include <folio/queue.h>

#include "quiet-cache.h"

enum { FILE_PAGES = 400, READS = 12, PAGES = 5, TIMEOUT_MS = 100000 };

static unsigned char expected[FILE_PAGES * FOLIO_PAGE_SIZE];
static char bufs[READS][PAGES * FOLIO_PAGE_SIZE];

struct world {
	struct folio_cache *cache;
	struct folio_file *file;
	struct cache_limits limits;
	char path[32];
};

/* What a run has found; judged when nothing fails any longer. */
struct run {
	uint64_t failures, wrong;
	unsigned begun, ended;
};

static void judge(struct run *run, uint64_t data, ssize_t r, struct folio *folio, const void *page)
{
	uint64_t first = data % FILE_PAGES;

	if (r == -ENOMEM) {
		run->failures++;
		return;
	}
	if (data < FILE_PAGES) {
		/* A read; a part of it, if the rest has failed. */
		if (r <= 0 || r > PAGES * (ssize_t)PAGE ||
			memcmp(bufs[first / PAGES % READS], expected + first * PAGE, (size_t)r))
			run->wrong++;
		run->failures += r != PAGES * (ssize_t)PAGE;
	} else if (data < 2 * FILE_PAGES) {
		if (r || memcmp(page, expected + first * PAGE, PAGE))
			run->wrong++;
		if (!r)
			folio_put(folio);
	} else if (r != 0 && r != 100) {
		run->wrong++;
	}
}

static void reap_all(struct folio_queue *queue, struct run *run)
{
	struct folio_queue_entry entry;

	while (run->ended < run->begun) {
		if (folio_queue_reap(queue, &entry, 1, -1) != 1) {
			run->wrong++;
			return;
		}
		judge(run, entry.data, entry.result, entry.folio, entry.page);
		run->ended++;
	}
}

static void use(struct folio_queue *queue, struct world *world, struct run *run)
{
	uint64_t i, base = 0;
	ssize_t r;

	for (i = 0; i < READS; i++) {
		uint64_t first = base + i * PAGES;

		r = folio_file_read_async(
			world->file, bufs[i], sizeof(bufs[i]), first * PAGE, queue, first);
		if (r == -EINPROGRESS)
			run->begun++;
		else
			judge(run, first, r, NULL, NULL);
	}
	for (i = 0; i < 4; i++) {
		struct folio *folio = NULL;
		void *page = NULL;
		uint64_t first = 100 + i * 7;

		r = folio_file_get_async(
			world->file, first, queue, FILE_PAGES + first, &folio, &page);
		if (r == -EINPROGRESS)
			run->begun++;
		else
			judge(run, FILE_PAGES + first, r, folio, page);
	}
	/* Writes what is there already; the page must be read first. */
	r = folio_file_write_async(world->file, expected + 200 * PAGE + 10, 100, 200 * PAGE + 10,
		queue, 2 * FILE_PAGES);
	if (r == -EINPROGRESS)
		run->begun++;
	else
		judge(run, 2 * FILE_PAGES, r, NULL, NULL);
	r = folio_file_sync_async(world->file, NULL, 0, queue, 2 * FILE_PAGES);
	if (r == -EINPROGRESS)
		run->begun++;
	else
		judge(run, 2 * FILE_PAGES, r, NULL, NULL);
	reap_all(queue, run);
}

static void open_world(struct world *world, uint32_t timeout_ms)
{
	struct folio_cache_params params = {
		.size = sizeof(params),
		.bytes = 256 * PAGE,
		.flags = FOLIO_CACHE_NO_HUGE_PAGES | FOLIO_CACHE_NO_READAHEAD,
		.io_depth = 4,
		.io = &folio_io_threads,
		.dirty_age_ms = UINT32_MAX,
		.timeout_ms = timeout_ms,
	};
	uint64_t i;
	int fd;

	strcpy(world->path, "folio-sweep-XXXXXX");
	fd = mkstemp(world->path);
	assert_true(fd >= 0);
	for (i = 0; i < sizeof(expected); i++)
		expected[i] = (unsigned char)(i * 31 + i / PAGE);
	assert_int_equal(write(fd, expected, sizeof(expected)), sizeof(expected));
	close(fd);
	assert_int_equal(folio_cache_open(&params, &world->cache), 0);
	world->limits = limits_of(world->cache);
	assert_int_equal(folio_file_open(world->cache, world->path, O_RDWR, 0, &world->file), 0);
}

static void close_world(struct world *world)
{
	assert_int_equal(folio_file_close(world->file), 0);
	assert_int_equal(folio_cache_close(world->cache), 0);
	unlink(world->path);
}

/* One sequence, in which the @nth allocation fails. Returns how many failed. */
static uint64_t sweep_once(struct world *world, uint64_t nth, bool ever_after)
{
	struct run run = {.failures = 0};
	struct folio_queue *queue = NULL;
	uint64_t failed;
	int r;

	assert_int_equal(folio_file_sync(world->file, NULL, 0), 0);
	assert_int_equal(folio_file_invalidate(world->file, 0, UINT64_MAX), 0);
	arm(nth, ever_after);
	r = folio_queue_open(world->cache, NULL, &queue);
	if (!r) {
		use(queue, world, &run);
		r = folio_queue_close(queue);
	}
	disarm();
	failed = folio_u64_load_relaxed(&injected);
	assert_true(r == 0 || (r == -ENOMEM && failed));
	assert_int_equal(run.wrong, 0);
	assert_int_equal(run.begun, run.ended);
	assert_true(failed || !run.failures);
	expect_quiet(world->cache, &world->limits);
	return failed;
}

static void sweep(uint32_t timeout_ms)
{
	struct world world;
	uint64_t nth;
	int ever_after;

	if (!SWEEPS_ALLOCATIONS) {
		printf("# skipped: the sanitizer has its own allocations\n");
		return;
	}
	open_world(&world, timeout_ms);
	/* The backend's threads are started, and the calling thread is attached. */
	sweep_once(&world, 0, false);
	for (ever_after = 0; ever_after < 2; ever_after++)
		for (nth = 1; sweep_once(&world, nth, ever_after); nth++)
			continue;
	printf("# %llu allocations\n", (unsigned long long)nth - 1);
	sweep_once(&world, 0, false);
	close_world(&world);
}

static void test_allocations(void **state)
{
	(void)state;
	sweep(0);
}

static void test_allocations_with_deadlines(void **state)
{
	(void)state;
	sweep(TIMEOUT_MS);
}

static void test_descriptors(void **state)
{
	struct folio_queue *queue;
	struct world world;
	unsigned before;

	(void)state;
	open_world(&world, 0);
	before = open_files();
	allow_descriptors(0);
	assert_int_equal(folio_queue_open(world.cache, NULL, &queue), -EMFILE);
	allow_descriptors(UINT_MAX);
	assert_int_equal(open_files(), before);
	assert_int_equal(folio_queue_open(world.cache, NULL, &queue), 0);
	assert_int_equal(folio_queue_close(queue), 0);
	assert_int_equal(open_files(), before);
	close_world(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_allocations),
		cmocka_unit_test(test_allocations_with_deadlines),
		cmocka_unit_test(test_descriptors),
	};

	if (alloc_begin())
		return 1;
	test_begin("async-sweep");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
