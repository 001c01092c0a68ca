/* SPDX-License-Identifier: BSD-2-Clause */
/* Completion queues: what waits for what, on a device that stops on command. */
#include <poll.h>
#include <pthread.h>
#include <sys/wait.h>

#include <folio/queue.h>

#include "core/folio.h"
#include "cache/inflight.h"
#include "async/request.h"
#include "stalled-device.h"

#define FOREVER (-1)

static bool readable(struct folio_queue *queue)
{
	struct pollfd fd = {.fd = folio_queue_fd(queue), .events = POLLIN};

	return poll(&fd, 1, 0) == 1;
}

static struct folio_queue *queue_open(struct folio_cache *cache, uint32_t requests)
{
	struct folio_queue_params params = {.size = sizeof(params), .requests = requests};
	struct folio_queue *queue = NULL;

	assert_int_equal(folio_queue_open(cache, &params, &queue), 0);
	assert_false(readable(queue));
	return queue;
}

/* One entry, which there will be. */
static struct folio_queue_entry reap(struct folio_queue *queue)
{
	struct folio_queue_entry entry;

	assert_int_equal(folio_queue_reap(queue, &entry, 1, FOREVER), 1);
	return entry;
}

static void expect_entry(struct folio_queue *queue, uint64_t data, ssize_t result)
{
	struct folio_queue_entry entry = reap(queue);

	assert_int_equal(entry.data, data);
	assert_int_equal(entry.result, result);
}

static void expect_none(struct folio_queue *queue)
{
	struct folio_queue_entry entry;

	assert_int_equal(folio_queue_reap(queue, &entry, 1, 0), 0);
	assert_false(readable(queue));
}

static enum request_state state_of(struct folio_queue *queue, uint64_t data)
{
	enum request_state state = REQUEST_FREE;
	struct request *request;

	pthread_mutex_lock(&queue->lock);
	for (request = queue->all.first; request; request = request->age.next)
		if (request->data == data)
			state = request->state;
	pthread_mutex_unlock(&queue->lock);
	return state;
}

static void check_pages(const char *got, uint64_t index, unsigned pages)
{
	unsigned char page[FOLIO_PAGE_SIZE];
	unsigned i;

	for (i = 0; i < pages; i++) {
		fill_page(page, index + i);
		assert_memory_equal(got + i * PAGE, page, PAGE);
	}
}

static void begin(struct world *world, uint64_t pages, unsigned depth)
{
	world_begin_timed(world, pages, depth, 0, UINT32_MAX);
}

static void end(struct world *world, struct folio_queue *queue)
{
	assert_int_equal(folio_queue_close(queue), 0);
	world_end(world);
}

/* What is cached is copied by the call, which leaves nothing in the queue. */
static void test_hits(void **state)
{
	struct folio_queue *queue;
	struct folio *folio;
	char buf[3 * PAGE];
	struct world world;
	void *page;

	(void)state;
	begin(&world, 128, 8);
	queue = queue_open(world.cache, 4);
	assert_int_equal(folio_file_read(world.file, buf, sizeof(buf), 0), sizeof(buf));
	device_stop(&world.device);
	memset(buf, 0, sizeof(buf));
	assert_int_equal(
		folio_file_read_async(world.file, buf, sizeof(buf), 0, queue, 1), sizeof(buf));
	check_pages(buf, 0, 3);
	assert_int_equal(folio_file_read_async(world.file, buf, 64, PAGE, queue, 1), 64);
	assert_int_equal(folio_file_read_async(world.file, buf, 0, 0, queue, 1), 0);
	/* Past the end. */
	assert_int_equal(
		folio_file_read_async(world.file, buf, 64, FILE_PAGES * PAGE, queue, 1), 0);
	assert_int_equal(folio_file_get_async(world.file, 2, queue, 1, &folio, &page), 0);
	check_pages(page, 2, 1);
	folio_put(folio);
	assert_int_equal(folio_file_write_async(world.file, buf, 64, PAGE, queue, 1), 64);
	assert_null(queue->all.first);
	assert_false(readable(queue));
	assert_int_equal(queue->helpers, 0);
	device_go(&world.device);
	end(&world, queue);
}

/* A pin through a writable handle is of a folio with one page, as with folio_file_get_page. */
static void test_single(void **state)
{
	struct folio_file *reader;
	struct folio_queue *queue;
	struct folio *folio;
	char buf[8 * PAGE];
	struct world world;
	uint64_t i;
	void *page;

	(void)state;
	begin(&world, 128, 8);
	queue = queue_open(world.cache, 1);
	assert_int_equal(folio_file_read(world.file, buf, sizeof(buf), 8 * PAGE), sizeof(buf));
	reader = file_open(world.cache, world.path);
	assert_int_equal(folio_file_get(reader, 8, 0, &folio), 0);
	assert_true(folio_order(folio) > 0);
	folio_put(folio);
	assert_int_equal(folio_file_close(reader), 0);
	device_stop(&world.device);
	for (i = 8; i < 16; i++) {
		assert_int_equal(folio_file_get_async(world.file, i, queue, 1, &folio, &page), 0);
		assert_int_equal(folio_order(folio), 0);
		check_pages(page, i, 1);
		folio_put(folio);
	}
	expect_none(queue);
	device_go(&world.device);
	end(&world, queue);
}

/* A read of many pages is complete when the last one is there; then the descriptor is readable. */
static void test_misses(void **state)
{
	static char buf[40 * FOLIO_PAGE_SIZE];
	struct folio_queue *queue;
	struct folio *folio;
	struct folio_queue_entry entry;
	struct world world;
	void *page;

	(void)state;
	begin(&world, 128, 8);
	queue = queue_open(world.cache, 4);
	/* Page 3 is cached, so the read is of two runs, and of what is cached between them. */
	check_page(&world, 3);
	device_stop(&world.device);
	memset(buf, 0, sizeof(buf));
	assert_int_equal(
		folio_file_read_async(world.file, buf, sizeof(buf), 0, queue, 17), -EINPROGRESS);
	assert_int_equal(
		folio_file_get_async(world.file, 1, queue, 18, &folio, &page), -EINPROGRESS);
	expect_none(queue);
	assert_int_equal(state_of(queue, 17), REQUEST_WAITING);
	assert_int_equal(folio_file_close(world.file), -EBUSY);
	device_go(&world.device);
	while (state_of(queue, 17) != REQUEST_FREE || state_of(queue, 18) != REQUEST_FREE) {
		entry = reap(queue);
		if (entry.data == 17) {
			assert_int_equal(entry.result, sizeof(buf));
			assert_null(entry.folio);
			check_pages(buf, 0, 40);
		} else {
			assert_int_equal(entry.data, 18);
			assert_int_equal(entry.result, 0);
			assert_int_equal(folio_index(entry.folio) <= 1, 1);
			check_pages(entry.page, 1, 1);
			folio_put(entry.folio);
		}
	}
	expect_none(queue);
	assert_int_equal(
		folio_file_get_async(world.file, FILE_PAGES, queue, 1, &folio, &page), -ENODATA);
	assert_int_equal(folio_file_get_async(world.file, UINT64_MAX >> 3, queue, 1, &folio, &page),
		-ENODATA);
	assert_int_equal(queue->helpers, 0);
	end(&world, queue);
}

/* With more reads than io_depth, they wait in the queue, in order, and no call waits. */
static void test_depth(void **state)
{
	static char buf[50][FOLIO_PAGE_SIZE];
	struct folio_queue *queue, *other;
	struct world world;
	uint64_t i, next = 0;

	(void)state;
	begin(&world, 128, 2);
	queue = queue_open(world.cache, 0);
	other = queue_open(world.cache, 0);
	device_stop(&world.device);
	for (i = 0; i < 50; i++)
		assert_int_equal(folio_file_read_async(world.file, buf[i], PAGE, 2 * i * PAGE,
					 i < 40 ? queue : other, i),
			-EINPROGRESS);
	assert_int_equal(device_held(&world.device), 2);
	assert_int_equal(state_of(queue, 1), REQUEST_WAITING);
	assert_int_equal(state_of(queue, 2), REQUEST_STALLED);
	assert_int_equal(state_of(other, 40), REQUEST_STALLED);
	expect_none(queue);
	device_go(&world.device);
	for (i = 0; i < 40; i++) {
		struct folio_queue_entry entry = reap(queue);

		assert_int_equal(entry.result, PAGE);
		check_pages(buf[entry.data], 2 * entry.data, 1);
	}
	for (i = 0; i < 10; i++) {
		struct folio_queue_entry entry = reap(other);

		assert_int_equal(entry.result, PAGE);
		check_pages(buf[entry.data], 2 * entry.data, 1);
	}
	/* Slots are free again; and one request at a time, in order of arrival. */
	assert_int_equal(folio_u32_load_relaxed(&world.cache->request_slots), 2);
	device_stop(&world.device);
	for (i = 0; i < 6; i++)
		assert_int_equal(folio_file_read_async(
					 world.file, buf[i], PAGE, (101 + 2 * i) * PAGE, queue, i),
			-EINPROGRESS);
	/* Cancelled, the first one of those that are stalled lets the others go on. */
	for (i = 0; i < 3; i++) {
		assert_int_equal(folio_queue_cancel(queue, i), 1);
		expect_entry(queue, i, -ECANCELED);
	}
	device_go(&world.device);
	wait_until(folio_u32_load_acquire(&world.cache->request_slots) == 2 &&
		   state_of(queue, 3) == REQUEST_READY);
	/* Two slots are free: the next two get them, not only one. */
	device_stop(&world.device);
	expect_none(queue);
	assert_int_equal(device_held(&world.device), 2);
	assert_int_equal(state_of(queue, 4), REQUEST_WAITING);
	assert_int_equal(state_of(queue, 5), REQUEST_STALLED);
	device_go(&world.device);
	for (i = 0; i < 3; i++) {
		struct folio_queue_entry entry = reap(queue);

		assert_int_equal(entry.result, PAGE);
		next += entry.data;
	}
	assert_int_equal(next, 3 + 4 + 5);
	assert_int_equal(folio_queue_close(other), 0);
	end(&world, queue);
}

/*
 * A slot is returned before the backend has done with the request. The ring wakes those that wait
 * in submit when an eighth of its depth is free: as many requests that have completed leave room
 * for those that have slots.
 */
static void test_room(void **state)
{
	static const unsigned depths[] = {1, 7, 8, 15, 16, 100, 128, 4096};
	struct world world;
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(depths) / sizeof(depths[0]); i++) {
		begin(&world, 128, depths[i]);
		assert_int_equal(folio_u32_load_relaxed(&world.cache->request_slots), depths[i]);
		assert_true(world.device.depth >= depths[i] + world.device.depth / 8);
		world_end(&world);
	}
}

/* A read that begins while others wait for their turn does not overtake them. */
static void test_turn(void **state)
{
	char buf[3][FOLIO_PAGE_SIZE];
	struct folio_queue *queue;
	struct world world;
	uint64_t i;

	(void)state;
	begin(&world, 128, 1);
	queue = queue_open(world.cache, 4);
	device_stop(&world.device);
	for (i = 0; i < 2; i++)
		assert_int_equal(
			folio_file_read_async(world.file, buf[i], PAGE, 2 * i * PAGE, queue, i),
			-EINPROGRESS);
	device_go(&world.device);
	wait_until(state_of(queue, 0) == REQUEST_READY && state_of(queue, 1) == REQUEST_READY);
	assert_int_equal(folio_u32_load_acquire(&world.cache->request_slots), 1);
	/* The slot is free, and the second one has not been continued yet. */
	device_stop(&world.device);
	assert_int_equal(
		folio_file_read_async(world.file, buf[2], PAGE, 4 * PAGE, queue, 2), -EINPROGRESS);
	assert_int_equal(state_of(queue, 2), REQUEST_STALLED);
	expect_entry(queue, 0, PAGE);
	expect_none(queue);
	assert_int_equal(state_of(queue, 1), REQUEST_WAITING);
	assert_int_equal(state_of(queue, 2), REQUEST_STALLED);
	device_go(&world.device);
	/* They end in any order. */
	for (i = 0; i < 2; i++)
		assert_int_equal(reap(queue).result, PAGE);
	assert_null(queue->all.first);
	end(&world, queue);
}

/* Other calls take each slot before a request does: it waits for so many of them, not for all. */
static void test_starved(void **state)
{
	char buf[2][FOLIO_PAGE_SIZE];
	struct folio_queue *queue;
	struct world world;
	unsigned i;

	(void)state;
	begin(&world, 128, 1);
	queue = queue_open(world.cache, 4);
	device_stop(&world.device);
	assert_true(slot_take(world.cache, false, NULL));
	for (i = 0; i < 2; i++)
		assert_int_equal(
			folio_file_read_async(world.file, buf[i], PAGE, 2 * i * PAGE, queue, i),
			-EINPROGRESS);
	for (i = 0; i < REQUEST_TRIES; i++) {
		assert_int_equal(state_of(queue, 0), REQUEST_STALLED);
		/* One begins, and has to wait for the device; another one ends. */
		assert_true(slot_take(world.cache, false, NULL));
		slot_give(world.cache);
		assert_true(readable(queue));
		expect_none(queue);
	}
	wait_calls(&world.device, 1);
	assert_int_equal(state_of(queue, 0), REQUEST_HELPED);
	assert_int_equal(state_of(queue, 1), REQUEST_STALLED);
	device_go(&world.device);
	expect_entry(queue, 0, PAGE);
	check_pages(buf[0], 0, 1);
	expect_none(queue);
	slot_give(world.cache);
	expect_entry(queue, 1, PAGE);
	check_pages(buf[1], 2, 1);
	end(&world, queue);
}

static void *read_one(void *arg)
{
	check_page(arg, 7);
	return NULL;
}

/* A page that another thread reads, or has locked, is waited for. */
static void test_others(void **state)
{
	struct folio_queue *queue;
	struct folio *folio;
	struct world world;
	char buf[FOLIO_PAGE_SIZE];
	pthread_t thread;
	uint64_t fills;

	(void)state;
	begin(&world, 128, 8);
	queue = queue_open(world.cache, 4);
	device_stop(&world.device);
	assert_int_equal(pthread_create(&thread, NULL, read_one, &world), 0);
	wait_calls(&world.device, 1);
	fills = cache_stats(world.cache).fills;
	assert_int_equal(
		folio_file_read_async(world.file, buf, PAGE, 7 * PAGE, queue, 1), -EINPROGRESS);
	assert_int_equal(cache_stats(world.cache).fills, fills);
	expect_none(queue);
	device_go(&world.device);
	expect_entry(queue, 1, PAGE);
	check_pages(buf, 7, 1);
	pthread_join(thread, NULL);
	/* Locked, by this very thread. */
	assert_int_equal(folio_file_get(world.file, 7, 0, &folio), 0);
	assert_int_equal(folio_lock(folio), 0);
	memset(folio_page(folio, 7), 'x', PAGE);
	assert_int_equal(
		folio_file_read_async(world.file, buf, PAGE, 7 * PAGE, queue, 2), -EINPROGRESS);
	expect_none(queue);
	assert_int_equal(state_of(queue, 2), REQUEST_WAITING);
	assert_int_equal(folio_unlock(folio), 0);
	folio_put(folio);
	expect_entry(queue, 2, PAGE);
	assert_int_equal(buf[0], 'x');
	end(&world, queue);
}

/* Pages that leave the file, and a file that becomes shorter, while a read is in flight. */
static void test_changes(void **state)
{
	static char buf[8 * FOLIO_PAGE_SIZE];
	struct folio_queue *queue;
	struct world world;

	(void)state;
	begin(&world, 128, 8);
	queue = queue_open(world.cache, 4);
	device_stop(&world.device);
	assert_int_equal(folio_file_read_async(world.file, buf, sizeof(buf), 8 * PAGE, queue, 1),
		-EINPROGRESS);
	assert_int_equal(folio_file_invalidate(world.file, 0, UINT64_MAX), 0);
	device_go(&world.device);
	expect_entry(queue, 1, sizeof(buf));
	check_pages(buf, 8, 8);
	/* The truncation waits for the fills, which end as soon as the device goes on. */
	device_stop(&world.device);
	assert_int_equal(folio_file_read_async(world.file, buf, sizeof(buf), 20 * PAGE, queue, 2),
		-EINPROGRESS);
	device_go(&world.device);
	assert_int_equal(folio_file_truncate(world.file, 22 * PAGE + 100), 0);
	expect_entry(queue, 2, 2 * PAGE + 100);
	end(&world, queue);
}

/* Each state in which a request can be cancelled, and a queue that is closed with all of them. */
static void test_cancel(void **state)
{
	static char buf[8][FOLIO_PAGE_SIZE];
	struct folio_queue *queue;
	struct folio *folio, *locked;
	struct world world;
	uint64_t i;
	void *page;
	int round;

	(void)state;
	begin(&world, 128, 1);
	check_page(&world, 1);
	for (round = 0; round < 2; round++) {
		/* The read of the round before. */
		wait_until(folio_u32_load_acquire(&world.cache->request_slots) == 1);
		queue = queue_open(world.cache, 12);
		assert_int_equal(folio_file_get(world.file, 1, 0, &locked), 0);
		assert_int_equal(folio_lock(locked), 0);
		device_stop(&world.device);
		assert_int_equal(folio_file_read_async(world.file, buf[0], PAGE,
					 (10 + 10 * round) * PAGE, queue, 0),
			-EINPROGRESS);
		assert_int_equal(folio_file_read_async(world.file, buf[1], PAGE,
					 (12 + 10 * round) * PAGE, queue, 1),
			-EINPROGRESS);
		assert_int_equal(
			folio_file_get_async(world.file, 14 + 10 * round, queue, 2, &folio, &page),
			-EINPROGRESS);
		/* The helpers are in syncs, which wait for the page that is locked. */
		folio_unlock(locked);
		for (i = 0; i < FOLIO_QUEUE_HELPERS + 1; i++)
			assert_int_equal(folio_file_sync_async(world.file, NULL, 0, queue, 4 + i),
				-EINPROGRESS);
		wait_until(state_of(queue, 4) == REQUEST_HELPED &&
			   state_of(queue, 7) == REQUEST_HELPED);
		assert_int_equal(state_of(queue, 0), REQUEST_WAITING);
		assert_int_equal(state_of(queue, 1), REQUEST_STALLED);
		assert_int_equal(state_of(queue, 8), REQUEST_QUEUED);
		assert_int_equal(queue->helpers, FOLIO_QUEUE_HELPERS);
		folio_put(locked);
		if (round == 0) {
			assert_int_equal(folio_queue_cancel(queue, 4), 0);
			assert_int_equal(folio_queue_cancel(queue, 99), 0);
			for (i = 0; i < 3; i++) {
				assert_int_equal(folio_queue_cancel(queue, i), 1);
				assert_true(readable(queue));
				expect_entry(queue, i, -ECANCELED);
			}
			assert_int_equal(folio_queue_cancel(queue, 8), 1);
			assert_int_equal(folio_queue_cancel(queue, 8), 0);
			expect_entry(queue, 8, -ECANCELED);
			expect_none(queue);
			device_go(&world.device);
			for (i = 0; i < FOLIO_QUEUE_HELPERS; i++)
				assert_int_equal(reap(queue).result, 0);
			assert_null(queue->all.first);
		} else {
			assert_int_equal(folio_file_close(world.file), -EBUSY);
			assert_int_equal(folio_cache_close(world.cache), -EBUSY);
			device_go(&world.device);
		}
		assert_int_equal(folio_queue_close(queue), 0);
	}
	world_end(&world);
}

/* A queue is closed with entries that nobody has reaped: what they have pinned is put. */
static void test_close(void **state)
{
	struct folio_queue *queue;
	struct folio *folio;
	struct world world;
	void *page;

	(void)state;
	begin(&world, 128, 8);
	queue = queue_open(world.cache, 1);
	device_stop(&world.device);
	assert_int_equal(
		folio_file_get_async(world.file, 5, queue, 1, &folio, &page), -EINPROGRESS);
	device_go(&world.device);
	wait_until(readable(queue));
	assert_int_equal(folio_queue_close(queue), 0);
	/* A page is there, but not reaped. */
	queue = queue_open(world.cache, 2);
	device_stop(&world.device);
	assert_int_equal(
		folio_file_get_async(world.file, 9, queue, 1, &folio, &page), -EINPROGRESS);
	assert_int_equal(folio_cache_close(world.cache), -EBUSY);
	assert_int_equal(folio_queue_close(queue), 0);
	device_go(&world.device);
	world_end(&world);
}

/* The queue has as many requests as it may have, those that are not reaped included. */
static void test_full(void **state)
{
	struct folio_queue_entry entries[3];
	char buf[3][FOLIO_PAGE_SIZE];
	struct folio_queue *queue;
	struct folio *folio;
	struct world world;
	void *page;

	(void)state;
	begin(&world, 128, 8);
	queue = queue_open(world.cache, 2);
	device_stop(&world.device);
	assert_int_equal(
		folio_file_read_async(world.file, buf[0], PAGE, 0, queue, 0), -EINPROGRESS);
	assert_int_equal(
		folio_file_read_async(world.file, buf[1], PAGE, 8 * PAGE, queue, 1), -EINPROGRESS);
	assert_int_equal(
		folio_file_read_async(world.file, buf[2], PAGE, 9 * PAGE, queue, 2), -EAGAIN);
	assert_int_equal(folio_file_get_async(world.file, 9, queue, 2, &folio, &page), -EAGAIN);
	assert_int_equal(folio_file_sync_async(world.file, NULL, 0, queue, 2), -EAGAIN);
	device_go(&world.device);
	/* Also while both have ended. */
	wait_until(state_of(queue, 0) == REQUEST_READY && state_of(queue, 1) == REQUEST_READY);
	assert_int_equal(
		folio_file_read_async(world.file, buf[2], PAGE, 9 * PAGE, queue, 2), -EAGAIN);
	assert_int_equal(folio_queue_reap(queue, entries, 1, 0), 1);
	/* One more has ended: the descriptor stays readable. */
	assert_true(readable(queue));
	assert_int_equal(folio_queue_reap(queue, entries, 3, 0), 1);
	expect_none(queue);
	device_stop(&world.device);
	assert_int_equal(
		folio_file_read_async(world.file, buf[2], PAGE, 9 * PAGE, queue, 2), -EINPROGRESS);
	device_go(&world.device);
	expect_entry(queue, 2, PAGE);
	end(&world, queue);
}

struct locker {
	struct folio_file *file;
	folio_u32 locked, stop;
};

static void *lock_page(void *arg)
{
	struct locker *locker = arg;
	struct folio *folio;

	assert_int_equal(folio_file_get(locker->file, 60, 0, &folio), 0);
	assert_int_equal(folio_lock(folio), 0);
	folio_u32_store_release(&locker->locked, 1);
	wait_until(folio_u32_load_acquire(&locker->stop));
	assert_int_equal(folio_unlock(folio), 0);
	folio_put(folio);
	return NULL;
}

/* Writes that would wait, and syncs, are done by helpers. */
static void test_writes(void **state)
{
	char buf[2 * FOLIO_PAGE_SIZE];
	struct folio_queue *queue;
	struct folio *folio;
	struct locker locker = {.file = NULL};
	struct world world;
	pthread_t thread;

	(void)state;
	begin(&world, 128, 8);
	queue = queue_open(world.cache, 8);
	memset(buf, 'w', sizeof(buf));
	/* A page that must be read first. */
	device_stop(&world.device);
	assert_int_equal(folio_file_write_async(world.file, buf, 100, 30 * PAGE + 1, queue, 1),
		-EINPROGRESS);
	device_go(&world.device);
	expect_entry(queue, 1, 100);
	/* Pages that need not. */
	device_stop(&world.device);
	assert_int_equal(
		folio_file_write_async(world.file, buf, 2 * PAGE, 40 * PAGE, queue, 2), 2 * PAGE);
	device_go(&world.device);
	/* The second page is locked: the first one is written at once. */
	assert_int_equal(folio_file_get(world.file, 51, 0, &folio), 0);
	check_page(&world, 50);
	assert_int_equal(folio_lock(folio), 0);
	assert_int_equal(
		folio_file_write_async(world.file, buf, 2 * PAGE, 50 * PAGE, queue, 3), -EDEADLK);
	assert_int_equal(folio_unlock(folio), 0);
	folio_put(folio);
	assert_int_equal(
		folio_file_write_async(world.file, buf, 2 * PAGE, 50 * PAGE, queue, 3), 2 * PAGE);
	/* Locked by another thread. */
	locker.file = world.file;
	assert_int_equal(pthread_create(&thread, NULL, lock_page, &locker), 0);
	wait_until(folio_u32_load_acquire(&locker.locked));
	assert_int_equal(
		folio_file_write_async(world.file, buf, 100, 60 * PAGE, queue, 5), -EINPROGRESS);
	expect_none(queue);
	folio_u32_store_release(&locker.stop, 1);
	expect_entry(queue, 5, 100);
	pthread_join(thread, NULL);
	/* Being written back. */
	device_stop(&world.device);
	assert_int_equal(
		folio_file_sync_async(world.file, NULL, FOLIO_SYNC_DATA, queue, 4), -EINPROGRESS);
	wait_until(device_held(&world.device) || world.device.calls);
	expect_none(queue);
	device_go(&world.device);
	expect_entry(queue, 4, 0);
	assert_int_equal(pread(world.fd, buf, 100, 50 * (off_t)PAGE), 100);
	assert_int_equal(buf[99], 'w');
	assert_int_equal(pread(world.fd, buf, 100, 30 * (off_t)PAGE + 1), 100);
	assert_int_equal(buf[99], 'w');
	end(&world, queue);
}

static void not_called(struct watch *watch, uint32_t flags)
{
	(void)watch;
	(void)flags;
	fail();
}

/*
 * A watch is attached only while what it is for lasts: a reader does not wait for write-back, nor
 * does a thread that is to lock a page whose copy is written.
 */
static void test_watch(void **state)
{
	static const struct {
		uint32_t flags;
		bool reads, locks;
	} cases[] = {
		{FOLIO_LOCKED, true, true},
		{FOLIO_UPTODATE, false, false},
		{FOLIO_UPTODATE | FOLIO_LOCKED, true, true},
		{FOLIO_UPTODATE | FOLIO_SETTLING, false, false},
		{FOLIO_UPTODATE | FOLIO_WRITEBACK, false, true},
		{FOLIO_UPTODATE | FOLIO_WRITEBACK | FOLIO_COPIED, false, false},
		{FOLIO_UPTODATE | FOLIO_WRITEBACK | FOLIO_COPIED | FOLIO_LOCKED, true, true},
	};
	struct folio folio;
	unsigned i, to_lock;

	(void)state;
	memset(&folio, 0, sizeof(folio));
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (to_lock = 0; to_lock < 2; to_lock++) {
			struct watch watch = {.ended = not_called};
			bool wanted = to_lock ? cases[i].locks : cases[i].reads, attached;
			uint32_t flags;

			folio_u32_store_relaxed(&folio.flags, cases[i].flags);
			attached = watch_attach(&watch, &folio, to_lock);
			assert_int_equal(watch.link != NULL, attached);
			flags = folio_u32_load_relaxed(&folio.flags);
			watch_detach(&watch);
			assert_int_equal(attached, wanted);
			assert_int_equal(flags, cases[i].flags | (wanted ? FOLIO_WATCHED : 0));
			assert_null(watch.link);
		}
	}
}

/* All memory is pinned: a helper waits for it, and reports that it will not come. */
static void test_memory(void **state)
{
	struct folio *pinned[256], *folio;
	struct folio_queue *queue;
	char buf[FOLIO_PAGE_SIZE];
	struct world world;
	unsigned i, n = 0;
	void *page;

	(void)state;
	begin(&world, 128, 8);
	queue = queue_open(world.cache, 8);
	world.cache->progress.patience_ms = 1;
	while (n < 256 && folio_file_get(world.file, n, 0, &pinned[n]) == 0)
		n++;
	assert_true(n < 256);
	assert_int_equal(
		folio_file_read_async(world.file, buf, PAGE, 300 * PAGE, queue, 1), -EINPROGRESS);
	assert_int_equal(
		folio_file_get_async(world.file, 301, queue, 2, &folio, &page), -EINPROGRESS);
	for (i = 0; i < 2; i++)
		assert_int_equal(reap(queue).result, -ENOMEM);
	for (i = 0; i < n; i++)
		folio_put(pinned[i]);
	device_stop(&world.device);
	assert_int_equal(
		folio_file_read_async(world.file, buf, PAGE, 300 * PAGE, queue, 3), -EINPROGRESS);
	device_go(&world.device);
	expect_entry(queue, 3, PAGE);
	check_pages(buf, 300, 1);
	end(&world, queue);
}

/*
 * A helper waits for memory until a read in flight has ended. What it has got for a request is kept
 * until that is reaped, or the queue is closed.
 */
static void test_fetch(void **state)
{
	struct folio *pinned[256], *folio;
	struct folio_queue *queue;
	struct folio_queue_entry entry;
	char buf[2][FOLIO_PAGE_SIZE];
	struct world world;
	unsigned n, i;
	void *page;
	int round;

	(void)state;
	begin(&world, 128, 8);
	for (round = 0; round < 2; round++) {
		queue = queue_open(world.cache, 8);
		for (n = 0; n < 256; n++)
			if (folio_file_get(world.file, n, 0, &pinned[n]))
				break;
		assert_true(n < 256);
		folio_put(pinned[--n]);
		/* The last free page is being read. */
		device_stop(&world.device);
		assert_int_equal(
			folio_file_read_async(world.file, buf[0], PAGE, 300 * PAGE, queue, 1),
			-EINPROGRESS);
		assert_int_equal(state_of(queue, 1), REQUEST_WAITING);
		assert_int_equal(folio_file_get_async(world.file, 310, queue, 2, &folio, &page),
			-EINPROGRESS);
		assert_int_equal(
			folio_file_read_async(world.file, buf[1], PAGE, 320 * PAGE, queue, 3),
			-EINPROGRESS);
		wait_until(state_of(queue, 2) == REQUEST_HELPED &&
			   state_of(queue, 3) == REQUEST_HELPED);
		expect_none(queue);
		for (i = 0; i < n; i++)
			folio_put(pinned[i]);
		device_go(&world.device);
		if (round == 0) {
			for (i = 0; i < 3; i++) {
				entry = reap(queue);
				assert_int_equal(entry.result, entry.data == 2 ? 0 : PAGE);
				if (entry.folio)
					check_pages(entry.page, 310, 1);
				if (entry.folio)
					folio_put(entry.folio);
			}
			check_pages(buf[1], 320, 1);
			assert_int_equal(queue->fetched, 0);
		} else {
			wait_until(state_of(queue, 2) == REQUEST_ENDED &&
				   state_of(queue, 3) == REQUEST_READY);
			assert_int_equal(page_references(world.file, 310), 2);
			assert_int_equal(page_references(world.file, 320), 2);
		}
		assert_int_equal(folio_queue_close(queue), 0);
		assert_int_equal(folio_file_invalidate(world.file, 0, UINT64_MAX), 0);
	}
	world_end(&world);
}

/* More reads at a time than the cache has pages, without a read that fails. */
static void test_small(void **state)
{
	enum { READS = 48, PAGES = 8 };
	char *buf = malloc(READS * PAGES * PAGE);
	struct folio_queue *queue;
	struct world world;
	uint64_t i, left = 0;

	(void)state;
	assert_non_null(buf);
	begin(&world, 64, 8);
	queue = queue_open(world.cache, READS);
	for (i = 0; i < READS; i++) {
		ssize_t r = folio_file_read_async(world.file, buf + i * PAGES * PAGE, PAGES * PAGE,
			i * PAGES * PAGE, queue, i);

		/* The device may be faster. */
		if (r == -EINPROGRESS)
			left++;
		else
			assert_int_equal(r, PAGES * PAGE);
	}
	while (left--) {
		struct folio_queue_entry entry = reap(queue);

		assert_int_equal(entry.result, PAGES * PAGE);
		check_pages(buf + entry.data * PAGES * PAGE, entry.data * PAGES, PAGES);
	}
	assert_null(queue->all.first);
	assert_int_equal(queue->fetched, 0);
	end(&world, queue);
	free(buf);
}

/* Each state in which the time of a request can end. */
static void test_timeout(void **state)
{
	char buf[2][FOLIO_PAGE_SIZE];
	struct folio_queue *queue;
	struct world world;
	unsigned i;

	(void)state;
	world_begin_timed(&world, 128, 1, TIMEOUT_MS, UINT32_MAX);
	queue = queue_open(world.cache, 4);
	device_stop(&world.device);
	assert_int_equal(
		folio_file_read_async(world.file, buf[0], PAGE, 0, queue, 1), -EINPROGRESS);
	assert_int_equal(
		folio_file_read_async(world.file, buf[1], PAGE, 8 * PAGE, queue, 2), -EINPROGRESS);
	assert_int_equal(folio_file_sync_async(world.file, NULL, 0, queue, 3), -EINPROGRESS);
	for (i = 0; i < 3; i++) {
		struct folio_queue_entry entry = reap(queue);

		/* A sync of a file without changes may have nothing to wait for. */
		assert_true(entry.result == -ETIMEDOUT || (entry.data == 3 && !entry.result));
	}
	expect_none(queue);
	device_go(&world.device);
	for (;;) {
		struct folio_queue_entry entry;
		ssize_t r = folio_file_read_async(world.file, buf[0], PAGE, 16 * PAGE, queue, 4);

		if (r == PAGE)
			break;
		assert_int_equal(r, -EINPROGRESS);
		entry = reap(queue);
		if (entry.result == PAGE)
			break;
		assert_int_equal(entry.result, -ETIMEDOUT);
	}
	check_pages(buf[0], 16, 1);
	end(&world, queue);
}

/* A child of fork has no queue. */
static void test_fork(void **state)
{
	struct folio_queue_entry entry;
	struct folio_queue *queue;
	char buf[FOLIO_PAGE_SIZE];
	struct world world;
	struct folio *folio;
	void *page;
	pid_t child;
	int status;

	(void)state;
	begin(&world, 128, 8);
	queue = queue_open(world.cache, 4);
	device_stop(&world.device);
	assert_int_equal(folio_file_read_async(world.file, buf, PAGE, 0, queue, 1), -EINPROGRESS);
	fflush(stdout);
	child = fork();
	if (!child)
		_exit(folio_queue_reap(queue, &entry, 1, 0) != -ESTALE ||
			folio_queue_fd(queue) != -ESTALE ||
			folio_queue_cancel(queue, 1) != -ESTALE ||
			folio_queue_open(world.cache, NULL, &queue) != -ESTALE ||
			folio_file_read_async(world.file, buf, 1, 0, queue, 1) != -ESTALE ||
			folio_file_get_async(world.file, 0, queue, 1, &folio, &page) != -ESTALE ||
			folio_file_write_async(world.file, buf, 1, 0, queue, 1) != -ESTALE ||
			folio_file_sync_async(world.file, NULL, 0, queue, 1) != -ESTALE ||
			folio_queue_close(queue) != -ESTALE);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	device_go(&world.device);
	expect_entry(queue, 1, PAGE);
	end(&world, queue);
}

static void test_arguments(void **state)
{
	struct folio_queue_params params = {.size = sizeof(params)};
	struct folio_queue_entry entry;
	struct folio_queue *queue, *other;
	struct folio_cache *cache;
	struct folio_file *reader;
	struct world world;
	struct folio *folio;
	char buf[8];
	void *page;

	(void)state;
	begin(&world, 128, 8);
	assert_int_equal(folio_queue_open(NULL, NULL, &queue), -EINVAL);
	assert_int_equal(folio_queue_open(world.cache, NULL, NULL), -EINVAL);
	params.flags = 1;
	assert_int_equal(folio_queue_open(world.cache, &params, &queue), -EINVAL);
	params.flags = 0;
	params.requests = FOLIO_QUEUE_REQUESTS + 1;
	assert_int_equal(folio_queue_open(world.cache, &params, &queue), -EINVAL);
	params.requests = 1;
	params.size = 4;
	assert_int_equal(folio_queue_open(world.cache, &params, &queue), -EINVAL);
	assert_int_equal(folio_queue_open(world.cache, NULL, &queue), 0);
	assert_int_equal(queue->size, 1024);
	assert_int_equal(folio_queue_reap(NULL, &entry, 1, 0), -EINVAL);
	assert_int_equal(folio_queue_reap(queue, NULL, 1, 0), -EINVAL);
	assert_int_equal(folio_queue_reap(queue, &entry, 0, 0), -EINVAL);
	assert_int_equal(folio_queue_reap(queue, &entry, 1, -2), -EINVAL);
	assert_int_equal(folio_queue_reap(queue, &entry, 1, 1), 0);
	assert_int_equal(folio_queue_fd(NULL), -EINVAL);
	assert_int_equal(folio_queue_cancel(NULL, 0), -EINVAL);
	assert_int_equal(folio_queue_close(NULL), -EINVAL);
	assert_int_equal(folio_file_read_async(NULL, buf, 8, 0, queue, 0), -EINVAL);
	assert_int_equal(folio_file_read_async(world.file, buf, 8, 0, NULL, 0), -EINVAL);
	assert_int_equal(folio_file_read_async(world.file, NULL, 8, 0, queue, 0), -EINVAL);
	assert_int_equal(folio_file_read_async(world.file, buf, 8, UINT64_MAX, queue, 0), -EINVAL);
	assert_int_equal(folio_file_get_async(world.file, 0, queue, 0, NULL, &page), -EINVAL);
	assert_int_equal(folio_file_get_async(world.file, 0, queue, 0, &folio, NULL), -EINVAL);
	assert_int_equal(folio_file_write_async(world.file, NULL, 8, 0, queue, 0), -EINVAL);
	assert_int_equal(folio_file_write_async(world.file, buf, 8, INT64_MAX, queue, 0), -EFBIG);
	assert_int_equal(folio_file_sync_async(world.file, NULL, 2, queue, 0), -EINVAL);
	/* A queue of another cache, and a file that is open for reading. */
	cache = cache_open(64, FOLIO_CACHE_NO_HUGE_PAGES, NULL);
	other = queue_open(cache, 1);
	assert_int_equal(folio_file_read_async(world.file, buf, 8, 0, other, 0), -EINVAL);
	reader = file_open(cache, world.path);
	assert_int_equal(folio_file_write_async(reader, buf, 8, 0, other, 0), -EBADF);
	assert_int_equal(folio_file_close(reader), 0);
	assert_int_equal(folio_cache_close(cache), -EBUSY);
	assert_int_equal(folio_queue_close(other), 0);
	assert_int_equal(folio_cache_close(cache), 0);
	end(&world, queue);
}

/* ---- errors of the device ---- */

/*
 * Let one read of the device after the other end, until there is the entry of a request. Returns
 * how many.
 */
static unsigned end_reads(
	struct io_fault *io, struct folio_queue *queue, uint64_t data, ssize_t result)
{
	struct folio_queue_entry entry;
	unsigned reads = 0;
	int n;

	do {
		io_fault_wait_held(io, 1);
		io_fault_release(io, 1);
		reads++;
		wait_until(readable(queue));
		n = folio_queue_reap(queue, &entry, 1, 0);
	} while (!n);
	assert_int_equal(n, 1);
	assert_int_equal(entry.data, data);
	assert_int_equal(entry.result, result);
	return reads;
}

/* The page that cannot be read ends the read, which has the pages before it. */
static void test_errors(void **state)
{
	struct io_fault *io = io_fault_new(test_seed, 2);
	struct io_fault_file *disk = io_fault_add(io, "a", 64 * PAGE);
	struct folio_cache *cache = cache_open(64, FOLIO_CACHE_NO_READAHEAD, io);
	struct folio_file *file = file_open(cache, "a");
	struct folio_queue *queue = queue_open(cache, 4);
	static char buf[16 * FOLIO_PAGE_SIZE];
	struct folio *folio;
	void *page;

	(void)state;
	io_fault_fail_range(disk, 5 * PAGE, 1, EIO);
	io_fault_hold(io);
	assert_int_equal(folio_file_read_async(file, buf, sizeof(buf), 0, queue, 1), -EINPROGRESS);
	/* All pages together, and then one at a time. */
	assert_int_equal(end_reads(io, queue, 1, 5 * PAGE), 1 + 6);
	assert_true(io_fault_check(disk, 0, buf, 5 * PAGE, NULL, NULL));
	assert_int_equal(folio_file_read_async(file, buf, PAGE, 5 * PAGE, queue, 2), -EINPROGRESS);
	assert_int_equal(end_reads(io, queue, 2, -EIO), 1);
	assert_int_equal(folio_file_get_async(file, 5, queue, 3, &folio, &page), -EINPROGRESS);
	assert_int_equal(end_reads(io, queue, 3, -EIO), 1);
	/* Each read tries again. */
	io_fault_fail_range(disk, 0, 0, 0);
	assert_int_equal(folio_file_read_async(file, buf, PAGE, 5 * PAGE, queue, 4), -EINPROGRESS);
	assert_int_equal(end_reads(io, queue, 4, PAGE), 1);
	io_fault_release(io, UINT64_MAX);
	assert_true(io_fault_check(disk, 5 * PAGE, buf, PAGE, NULL, NULL));
	assert_int_equal(folio_queue_close(queue), 0);
	assert_int_equal(folio_file_close(file), 0);
	assert_int_equal(folio_cache_close(cache), 0);
	io_fault_free(io);
}

/* A backend that completes requests before submit returns: no entry is needed. */
static void test_immediate(void **state)
{
	struct io_fault *io = io_fault_new(test_seed, 0);
	struct io_fault_file *disk = io_fault_add(io, "a", 64 * PAGE);
	struct folio_cache *cache = cache_open(64, FOLIO_CACHE_NO_READAHEAD, io);
	struct folio_file *file = file_open(cache, "a");
	struct folio_queue *queue = queue_open(cache, 4);
	static char buf[16 * FOLIO_PAGE_SIZE];
	struct folio *folio;
	void *page;

	(void)state;
	assert_int_equal(folio_file_read_async(file, buf, sizeof(buf), 0, queue, 1), sizeof(buf));
	assert_true(io_fault_check(disk, 0, buf, sizeof(buf), NULL, NULL));
	assert_int_equal(folio_file_get_async(file, 30, queue, 1, &folio, &page), 0);
	assert_true(io_fault_check(disk, 30 * PAGE, page, PAGE, NULL, NULL));
	folio_put(folio);
	expect_none(queue);
	assert_null(queue->all.first);
	assert_int_equal(folio_queue_close(queue), 0);
	assert_int_equal(folio_file_close(file), 0);
	assert_int_equal(folio_cache_close(cache), 0);
	io_fault_free(io);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hits),
		cmocka_unit_test(test_single),
		cmocka_unit_test(test_misses),
		cmocka_unit_test(test_depth),
		cmocka_unit_test(test_room),
		cmocka_unit_test(test_turn),
		cmocka_unit_test(test_starved),
		cmocka_unit_test(test_others),
		cmocka_unit_test(test_changes),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_close),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_writes),
		cmocka_unit_test(test_watch),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_fetch),
		cmocka_unit_test(test_small),
		cmocka_unit_test(test_timeout),
		cmocka_unit_test(test_fork),
		cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_immediate),
	};

	test_begin("async");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
