/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests of several threads in two completion queues, while others evict, invalidate, lock and
 * write pages, and cancel requests. Every page says which page it is, whatever is written to it;
 * each request ends exactly once.
 */
#include <pthread.h>
#include <unistd.h>

#include <folio/queue.h>

#include "cache-test.h"

enum {
	CACHE_PAGES = 256,
	FILE_PAGES = 2048,
	THREADS = 3,
	WORDS = FOLIO_PAGE_SIZE / 8,
	DEPTH = 24,     /* requests of one thread in flight */
	PAGES_MAX = 20, /* of one read */
	BURST = 8,
};

/*
 * Writes store what was there. With a reader that has the page pinned they are a race of the
 * program, which the thread sanitizer would report.
 */
#if defined(__SANITIZE_THREAD__)
#define PINS false
#else
#define PINS true
#endif

/* One request; its address is its data. */
struct slot {
	folio_u32 busy; /* 1: in flight. Set by the owner, cleared by the thread that reaps it */
	folio_u64 ends;
	uint64_t begins, first, pages;
	enum { READ, GET, WRITE, SYNC } kind;
	uint64_t (*buf)[WORDS];
};

static struct {
	struct folio_cache *cache;
	struct folio_file *file;
	struct folio_queue *queue[2];
	folio_u32 stop, left;
	folio_u64 ended, at_once, full, wrong, cancelled;
} world;

static uint64_t label(uint64_t index)
{
	return (index + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

static void check(const uint64_t *page, uint64_t index)
{
	unsigned i;

	for (i = 0; i < WORDS; i += 37)
		if (page[i] != label(index))
			folio_u64_fetch_add_relaxed(&world.wrong, 1);
}

static void check_result(struct slot *slot, int64_t result, struct folio *folio, void *page)
{
	uint64_t i;

	if (result == -ECANCELED) {
		folio_u64_fetch_add_relaxed(&world.cancelled, 1);
		return;
	}
	switch (slot->kind) {
	case READ:
		if (result != (int64_t)(slot->pages * PAGE))
			folio_u64_fetch_add_relaxed(&world.wrong, 1);
		for (i = 0; i < slot->pages; i++)
			check(slot->buf[i], slot->first + i);
		break;
	case GET:
		if (result) {
			folio_u64_fetch_add_relaxed(&world.wrong, 1);
			break;
		}
		check(page, slot->first);
		folio_put(folio);
		break;
	case WRITE:
		if (result != (int64_t)PAGE)
			folio_u64_fetch_add_relaxed(&world.wrong, 1);
		break;
	case SYNC:
		if (result)
			folio_u64_fetch_add_relaxed(&world.wrong, 1);
		break;
	}
}

static int64_t submit(
	struct slot *slot, struct folio_queue *queue, struct folio **folio, void **page)
{
	uint64_t data = (uintptr_t)slot, i;

	switch (slot->kind) {
	case READ:
		memset(slot->buf, 0, slot->pages * PAGE);
		return folio_file_read_async(
			world.file, slot->buf, slot->pages * PAGE, slot->first * PAGE, queue, data);
	case GET:
		return folio_file_get_async(world.file, slot->first, queue, data, folio, page);
	case WRITE:
		for (i = 0; i < WORDS; i++)
			slot->buf[0][i] = label(slot->first);
		return folio_file_write_async(
			world.file, slot->buf, PAGE, slot->first * PAGE, queue, data);
	case SYNC:
		break;
	}
	return folio_file_sync_async(world.file, NULL, FOLIO_SYNC_DATA, queue, data);
}

static void begin(struct slot *slot, uint64_t *random)
{
	uint64_t kind = random_below(random, 64);
	struct folio *folio = NULL;
	void *page = NULL;
	int64_t r;

	slot->kind = kind < 1 ? SYNC : kind < 6 ? WRITE : kind < 16 && PINS ? GET : READ;
	slot->pages = 1 + random_below(random, PAGES_MAX);
	slot->first = random_below(random, FILE_PAGES - PAGES_MAX);
	slot->begins++;
	folio_u32_store_release(&slot->busy, 1);
	r = submit(slot, world.queue[random_below(random, 2)], &folio, &page);
	if (r == -EINPROGRESS)
		return;
	if (r == -EAGAIN) {
		slot->begins--;
		folio_u64_fetch_add_relaxed(&world.full, 1);
	} else {
		check_result(slot, r, folio, page);
		folio_u64_fetch_add_relaxed(&slot->ends, 1);
		folio_u64_fetch_add_relaxed(&world.at_once, 1);
	}
	folio_u32_store_release(&slot->busy, 0);
}

static void reap(struct folio_queue *queue, int timeout_ms)
{
	struct folio_queue_entry entry[BURST];
	int n = folio_queue_reap(queue, entry, BURST, timeout_ms), i;

	for (i = 0; i < n; i++) {
		struct slot *slot = (struct slot *)(uintptr_t)entry[i].data;

		check_result(slot, entry[i].result, entry[i].folio, entry[i].page);
		folio_u64_fetch_add_relaxed(&slot->ends, 1);
		folio_u64_fetch_add_relaxed(&world.ended, 1);
		folio_u32_store_release(&slot->busy, 0);
	}
	if (n < 0)
		folio_u64_fetch_add_relaxed(&world.wrong, 1);
}

static void *run(void *arg)
{
	uint64_t random = test_seed + (uintptr_t)arg, requests = scaled(20000);
	struct slot *slots = calloc(DEPTH, sizeof(*slots));
	unsigned i;

	for (i = 0; i < DEPTH; i++)
		slots[i].buf = aligned_alloc(64, PAGES_MAX * PAGE);
	while (requests) {
		struct slot *slot = &slots[random_below(&random, DEPTH)];

		if (!folio_u32_load_acquire(&slot->busy)) {
			begin(slot, &random);
			requests--;
		} else if (random_below(&random, 64) == 0)
			folio_queue_cancel(world.queue[random_below(&random, 2)], (uintptr_t)slot);
		reap(world.queue[random_below(&random, 2)], random_below(&random, 4) == 0);
	}
	/* Any thread may reap the requests of another one: all stay until the last has ended. */
	for (i = 0; i < DEPTH; i++)
		while (folio_u32_load_acquire(&slots[i].busy)) {
			reap(world.queue[0], 1);
			reap(world.queue[1], 1);
		}
	folio_u32_fetch_sub_release(&world.left, 1);
	wait_until(!folio_u32_load_acquire(&world.left));
	for (i = 0; i < DEPTH; i++) {
		if (folio_u64_load_relaxed(&slots[i].ends) != slots[i].begins)
			folio_u64_fetch_add_relaxed(&world.wrong, 1);
		free(slots[i].buf);
	}
	free(slots);
	return NULL;
}

/* Changes, from outside of the queues. */
static void *disturb(void *arg)
{
	uint64_t random = test_seed + 1000;

	(void)arg;
	while (!folio_u32_load_acquire(&world.stop)) {
		uint64_t index = random_below(&random, FILE_PAGES);
		struct folio *folio;

		if (random_below(&random, 2)) {
			folio_file_invalidate(world.file, index * PAGE, 16 * PAGE);
		} else if (folio_file_get(world.file, index, 0, &folio) == 0) {
			if (folio_lock(folio) == 0) {
				sched_yield();
				folio_unlock(folio);
			}
			folio_put(folio);
		}
		sched_yield();
	}
	return NULL;
}

static void test_race(void **state)
{
	struct folio_cache_params params = {
		.size = sizeof(params),
		.bytes = CACHE_PAGES * PAGE,
		.flags = FOLIO_CACHE_NO_HUGE_PAGES,
		.io_depth = 8,
	};
	struct folio_queue_params small = {.size = sizeof(small), .requests = DEPTH};
	char path[] = "folio-async-XXXXXX";
	pthread_t thread[THREADS], disturber;
	uint64_t page[WORDS], i, j;
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	for (i = 0; i < FILE_PAGES; i++) {
		for (j = 0; j < WORDS; j++)
			page[j] = label(i);
		assert_int_equal(pwrite(fd, page, PAGE, (off_t)(i * PAGE)), PAGE);
	}
	assert_int_equal(folio_cache_open(&params, &world.cache), 0);
	assert_int_equal(folio_file_open(world.cache, path, O_RDWR, 0, &world.file), 0);
	assert_int_equal(folio_queue_open(world.cache, NULL, &world.queue[0]), 0);
	assert_int_equal(folio_queue_open(world.cache, &small, &world.queue[1]), 0);
	folio_u32_store_relaxed(&world.left, THREADS);
	for (i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, run, (void *)(uintptr_t)i), 0);
	assert_int_equal(pthread_create(&disturber, NULL, disturb, NULL), 0);
	for (i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	folio_u32_store_release(&world.stop, 1);
	pthread_join(disturber, NULL);
	printf("# %llu entries, %llu results at once, %llu refused, %llu cancelled\n",
		(unsigned long long)world.ended, (unsigned long long)world.at_once,
		(unsigned long long)world.full, (unsigned long long)world.cancelled);
	assert_int_equal(folio_u64_load_relaxed(&world.wrong), 0);
	assert_true(folio_u64_load_relaxed(&world.ended) > 0);
	for (i = 0; i < 2; i++)
		assert_int_equal(folio_queue_close(world.queue[i]), 0);
	assert_int_equal(folio_file_close(world.file), 0);
	assert_int_equal(folio_cache_close(world.cache), 0);
	close(fd);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_race),
	};

	test_begin("async-race");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
