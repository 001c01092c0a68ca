/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The sequence numbers that before_writeback gets: exactly the largest of the folios that a pass
 * writes, and none that it has had already.
 */
#include <folio/range.h>
#include <folio/sequence.h>

#include "write-world.h"
#include "read/fill.h"

/* What before_writeback got since the last expect_calls, and what it returns. */
static uint64_t calls[16];
static unsigned call_count;
static int refusal;

static int record(void *context, uint64_t sequence)
{
	assert_ptr_equal(context, calls);
	assert_true(call_count < sizeof(calls) / sizeof(calls[0]));
	calls[call_count++] = sequence;
	return refusal;
}

#define EXPECT_CALLS(...)                                                               \
	do {                                                                            \
		static const uint64_t expected_[] = {__VA_ARGS__};                      \
                                                                                        \
		assert_int_equal(call_count, sizeof(expected_) / sizeof(expected_[0])); \
		assert_memory_equal(calls, expected_, sizeof(expected_));               \
		call_count = 0;                                                         \
	} while (0)

static folio_u32 device_error, device_sync_error;
static folio_u32 device_syncs;
/* Called once: before a write; in a sync of the device. */
static void (*in_write)(void), (*in_sync)(void);

static void call_once(void (**call)(void))
{
	void (*once)(void) = *call;

	*call = NULL;
	if (once)
		once();
}

static int failing_sync(void *context, void *handle, unsigned flags)
{
	uint32_t error = folio_u32_load_relaxed(&device_sync_error);

	folio_u32_fetch_add_relaxed(&device_syncs, 1);
	call_once(&in_sync);
	return error ? -(int)error : folio_io_threads.sync(context, handle, flags);
}

static void failing_submit(void *context, struct folio_io_request **requests, unsigned count)
{
	uint32_t error = folio_u32_load_relaxed(&device_error);
	unsigned i;

	if (requests[0]->op == FOLIO_IO_WRITE)
		call_once(&in_write);
	for (i = 0; i < count; i++) {
		if (error && requests[i]->op == FOLIO_IO_WRITE)
			requests[i]->complete(requests[i], -(ssize_t)error);
		else
			folio_io_threads.submit(context, &requests[i], 1);
	}
}

/* A cache of @pages, @most after a resize, with a file of @size zero bytes. */
static void log_world_begin(struct world *world, uint64_t pages, uint64_t most, uint64_t size)
{
	static struct folio_io_ops ops;
	struct folio_cache_params params = {
		.size = sizeof(params),
		.bytes = pages * PAGE,
		.bytes_max = most * PAGE,
		.io = &ops,
		.dirty_age_ms = UINT32_MAX,
		.before_writeback = record,
		.before_writeback_context = calls,
	};
	int fd;

	ops = folio_io_threads;
	ops.submit = failing_submit;
	ops.sync = failing_sync;
	folio_u32_store_relaxed(&device_error, 0);
	folio_u32_store_relaxed(&device_sync_error, 0);
	folio_u32_store_relaxed(&device_syncs, 0);
	in_write = in_sync = NULL;
	call_count = 0;
	refusal = 0;
	memset(world, 0, sizeof(*world));
	strcpy(world->path, "folio-sequence-XXXXXX");
	fd = mkstemp(world->path);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	close(fd);
	world->size = size;
	world_open(world, &params);
	/* Each page that is read is a folio. */
	assert_int_equal(folio_file_advise(world->file, FOLIO_ADVICE_RANDOM), 0);
}

static void mark_folio(struct folio *folio, uint64_t sequence)
{
	assert_int_equal(folio_lock(folio), 0);
	assert_int_equal(folio_mark_dirty(folio, sequence), 0);
	assert_int_equal(folio_unlock(folio), 0);
}

static void mark(struct world *world, uint64_t index, uint64_t sequence)
{
	struct folio *folio;

	assert_int_equal(get_unsplit(world->file, index, &folio), 0);
	mark_folio(folio, sequence);
	folio_put(folio);
}

static int sync_pages(struct world *world, uint64_t first, uint64_t count)
{
	const struct folio_range range = {first * PAGE, count * PAGE};

	return folio_file_sync(world->file, &range, 0);
}

static int sync_all(struct world *world)
{
	return folio_file_sync(world->file, NULL, 0);
}

/*
 * A smaller number comes after a larger one. What is in the log already needs no call, and pages
 * without a number always do.
 */
static void test_smaller_number_later(void **state)
{
	static struct world world;
	struct folio *folio;

	(void)state;
	log_world_begin(&world, 64, 0, 8 * PAGE);
	mark(&world, 2, 100);
	mark(&world, 2, 50);
	assert_int_equal(sync_all(&world), 0);
	EXPECT_CALLS(100);
	mark(&world, 2, 7);
	mark(&world, 5, 100);
	assert_int_equal(sync_all(&world), 0);
	assert_int_equal(call_count, 0);
	/* Under one lock. */
	assert_int_equal(folio_file_get(world.file, 3, 0, &folio), 0);
	assert_int_equal(folio_lock(folio), 0);
	assert_int_equal(folio_mark_dirty(folio, 120), 0);
	assert_int_equal(folio_mark_dirty(folio, 130), 0);
	assert_int_equal(folio_mark_dirty(folio, 110), 0);
	assert_int_equal(folio_unlock(folio), 0);
	folio_put(folio);
	assert_int_equal(sync_all(&world), 0);
	EXPECT_CALLS(130);
	/* Next to writes by copy, which have no number. */
	mark(&world, 4, 140);
	assert_int_equal(folio_file_write(world.file, "x", 1, 4 * PAGE), 1);
	assert_int_equal(folio_file_write(world.file, "x", 1, 5 * PAGE), 1);
	mark(&world, 5, 141);
	assert_int_equal(sync_pages(&world, 4, 1), 0);
	assert_int_equal(sync_pages(&world, 5, 1), 0);
	EXPECT_CALLS(140, 141);
	/* Once the page is written, it has no number. */
	assert_int_equal(folio_file_write(world.file, "x", 1, 4 * PAGE), 1);
	assert_int_equal(sync_all(&world), 0);
	EXPECT_CALLS(0);
	world.model[4 * PAGE] = world.model[5 * PAGE] = 'x';
	check_file(&world);
	world_end(&world);
	assert_int_equal(call_count, 0);
}

/* Numbers use all 64 bits and have no sign. */
static void test_smallest_and_largest(void **state)
{
	static struct world world;

	(void)state;
	log_world_begin(&world, 64, 0, 8 * PAGE);
	mark(&world, 1, 0);
	assert_int_equal(sync_all(&world), 0);
	EXPECT_CALLS(0);
	mark(&world, 1, 1);
	assert_int_equal(sync_all(&world), 0);
	EXPECT_CALLS(1);
	mark(&world, 3, UINT32_MAX);
	mark(&world, 5, UINT32_MAX - 1);
	assert_int_equal(sync_all(&world), 0);
	EXPECT_CALLS(UINT32_MAX);
	mark(&world, 5, 1);
	mark(&world, 6, (uint64_t)UINT32_MAX + 1);
	assert_int_equal(sync_all(&world), 0);
	EXPECT_CALLS((uint64_t)UINT32_MAX + 1);
	mark(&world, 1, INT64_MAX);
	mark(&world, 2, (uint64_t)INT64_MAX + 1);
	assert_int_equal(sync_all(&world), 0);
	EXPECT_CALLS((uint64_t)INT64_MAX + 1);
	mark(&world, 1, UINT64_MAX);
	mark(&world, 1, 0);
	assert_int_equal(sync_all(&world), 0);
	EXPECT_CALLS(UINT64_MAX);
	world_end(&world);
}

/* One call for all runs of a pass, whatever the order of their numbers; none for other pages. */
static void test_passes(void **state)
{
	static struct world world;
	uint64_t i;

	(void)state;
	log_world_begin(&world, 64, 0, 16 * PAGE);
	for (i = 0; i < 4; i++)
		mark(&world, i, 103 - i);
	assert_int_equal(sync_all(&world), 0);
	EXPECT_CALLS(103);
	for (i = 4; i-- > 0;)
		mark(&world, i, 200 + i);
	assert_int_equal(sync_all(&world), 0);
	EXPECT_CALLS(203);
	mark(&world, 0, 305);
	mark(&world, 1, 390);
	mark(&world, 2, 306);
	mark(&world, 4, 308);
	mark(&world, 6, 370);
	mark(&world, 7, 309);
	assert_int_equal(sync_all(&world), 0);
	EXPECT_CALLS(390);
	/* A sync of a range takes the pages of the range only. */
	mark(&world, 0, 403);
	mark(&world, 1, 402);
	mark(&world, 2, 404);
	assert_int_equal(sync_pages(&world, 1, 1), 0);
	EXPECT_CALLS(402);
	assert_int_equal(folio_file_close(world.file), 0);
	EXPECT_CALLS(404);
	assert_int_equal(folio_cache_close(world.cache), 0);
	unlink(world.path);
}

/* A refused number is asked for again. A page that could not be written keeps its number. */
static void test_failed_writeback(void **state)
{
	static struct world world;

	(void)state;
	log_world_begin(&world, 64, 0, 8 * PAGE);
	mark(&world, 1, 100);
	mark(&world, 2, 60);
	refusal = -ENOSPC;
	assert_int_equal(sync_all(&world), -ENOSPC);
	EXPECT_CALLS(100);
	assert_int_equal(cache_stats(world.cache).pages_dirty, 2);
	assert_int_equal(cache_stats(world.cache).writes, 0);
	assert_int_equal(cache_stats(world.cache).write_errors, 1);
	refusal = 0;
	folio_u32_store_relaxed(&device_error, EIO);
	assert_int_equal(sync_all(&world), -EIO);
	EXPECT_CALLS(100);
	/* Smaller and larger ones are added. */
	mark(&world, 1, 150);
	mark(&world, 1, 50);
	mark(&world, 2, 180);
	assert_int_equal(sync_pages(&world, 1, 1), -EIO);
	EXPECT_CALLS(150);
	folio_u32_store_relaxed(&device_error, 0);
	assert_int_equal(sync_pages(&world, 2, 1), 0);
	EXPECT_CALLS(180);
	assert_int_equal(sync_all(&world), 0);
	assert_int_equal(call_count, 0);
	mark(&world, 1, 9);
	mark(&world, 2, 188);
	assert_int_equal(sync_pages(&world, 1, 1), 0);
	assert_int_equal(call_count, 0);
	assert_int_equal(sync_all(&world), 0);
	EXPECT_CALLS(188);
	world_end(&world);
}

/* The pages that are dropped in one of these ways have numbers, and other pages get the frames. */
enum way { SYNC, CLOSE, DISCARD, TRUNCATE, PUNCH, ABANDON, WAYS };

static void give_up(struct world *world, enum way way, uint64_t pages)
{
	const struct folio_cache_stats had = cache_stats(world->cache);

	assert_int_equal(had.pages_dirty, pages);
	switch (way) {
	case SYNC:
		assert_int_equal(sync_all(world), 0);
		break;
	case CLOSE:
		assert_int_equal(folio_file_close(world->file), 0);
		break;
	case DISCARD:
		assert_int_equal(folio_file_discard(world->file, 0, pages * PAGE), 0);
		break;
	case TRUNCATE:
		assert_int_equal(folio_file_truncate(world->file, 0), 0);
		assert_int_equal(folio_file_truncate(world->file, world->size), 0);
		break;
	case PUNCH:
		assert_int_equal(folio_file_punch(world->file, 0, pages * PAGE), 0);
		break;
	case ABANDON:
		/* It keeps a file whose pages could be written. */
		folio_u32_store_relaxed(&device_error, EIO);
		assert_int_equal(sync_all(world), -EIO);
		assert_int_equal(folio_file_abandon(world->file), -EIO);
		folio_u32_store_relaxed(&device_error, 0);
		break;
	case WAYS:
		break;
	}
	if (way == CLOSE || way == ABANDON)
		assert_int_equal(
			folio_file_open(world->cache, world->path, O_RDWR, 0, &world->file), 0);
	assert_int_equal(folio_file_advise(world->file, FOLIO_ADVICE_RANDOM), 0);
	assert_int_equal(folio_file_invalidate(world->file, 0, UINT64_MAX), 0);
	assert_int_equal(cache_stats(world->cache).pages_free, had.pages);
	call_count = 0;
}

/* All frames are pinned, so those of the earlier pages are among them. */
static void test_frame_used_again(void **state)
{
	enum { FRAMES = 96, MARKED = 8 };
	struct folio *folio[FRAMES];
	static struct world world;
	uint64_t i, last = 0;
	enum way way;

	(void)state;
	log_world_begin(&world, 64, FRAMES, MODEL_BYTES);
	assert_int_equal(folio_cache_resize(world.cache, FRAMES * PAGE), 0);
	world.limits = limits_of(world.cache);
	for (way = SYNC; way < WAYS; way++) {
		/* Larger than those that follow, if they are dropped without being logged. */
		for (i = 0; i < MARKED; i++)
			mark(&world, i, last + 1000);
		if (way != DISCARD && way != TRUNCATE)
			last += 1000;
		give_up(&world, way, MARKED);
		for (i = 0; i < FRAMES; i++)
			assert_int_equal(folio_file_get(world.file, 100 + i, 0, &folio[i]), 0);
		/* More than may be dirty: a thread is throttled at its first lock only. */
		for (i = 0; i < FRAMES; i++)
			assert_int_equal(folio_lock(folio[i]), 0);
		for (i = 0; i < FRAMES; i++)
			assert_int_equal(folio_mark_dirty(folio[i], last + 1 + i), 0);
		for (i = 0; i < FRAMES; i++)
			assert_int_equal(folio_unlock(folio[i]), 0);
		for (i = 0; i < FRAMES; i++) {
			assert_int_equal(sync_pages(&world, 100 + i, 1), 0);
			assert_int_equal(call_count, 1);
			assert_int_equal(calls[0], last + 1 + i);
			call_count = 0;
		}
		last += FRAMES;
		for (i = 0; i < FRAMES; i++)
			folio_put(folio[i]);
		assert_int_equal(folio_file_invalidate(world.file, 0, UINT64_MAX), 0);
	}
	world_end(&world);
}

/* The largest order of a folio of a file: no read fills more. */
#define ORDER_MAX 8
_Static_assert(FILL_PAGES_MAX == 1 << ORDER_MAX, "as many pages as one read fills");

/* Reads 2^@order pages by one call, into one folio. */
static void read_folio(struct world *world, uint64_t index, unsigned order)
{
	size_t len = (size_t)FOLIO_PAGE_SIZE << order;
	char *buf = malloc(len);
	struct folio *folio;

	assert_non_null(buf);
	assert_int_equal(folio_file_read(world->file, buf, len, index * PAGE), len);
	free(buf);
	assert_int_equal(get_unsplit(world->file, index, &folio), 0);
	assert_int_equal(folio_order(folio), order);
	folio_put(folio);
}

/* A folio has one number, whichever of its pages is marked and written. */
static void test_every_order(void **state)
{
	static struct world world;
	unsigned order;

	(void)state;
	log_world_begin(&world, UINT64_C(32) << ORDER_MAX, 0, 1024 * PAGE);
	/* Folio n has pages 2^n .. 2^(n+1) - 1. */
	for (order = 0; order <= ORDER_MAX; order++)
		read_folio(&world, UINT64_C(1) << order, order);
	for (order = 0; order <= ORDER_MAX; order++) {
		uint64_t first = UINT64_C(1) << order, last = 2 * first - 1;

		mark(&world, last, 1000 + order);
		mark(&world, first, 500 + order);
		mark(&world, first + first / 2, 600 + order);
		assert_int_equal(sync_pages(&world, last, 1), 0);
		assert_int_equal(call_count, 1);
		assert_int_equal(calls[0], 1000 + order);
		call_count = 0;
	}
	/* All folios make one run, which then has so many pages that it takes no more. */
	for (order = 0; order <= ORDER_MAX; order++)
		mark(&world, (UINT64_C(2) << order) - 1, 2020 - order);
	mark(&world, UINT64_C(2) << ORDER_MAX, 2010);
	assert_int_equal(sync_all(&world), 0);
	EXPECT_CALLS(2020);
	/* The parts of a folio begin without a number. */
	for (order = 0; order <= ORDER_MAX; order++) {
		uint64_t last = (UINT64_C(2) << order) - 1;
		struct folio *folio;

		assert_int_equal(folio_file_write(world.file, "x", 1, last * PAGE), 1);
		assert_int_equal(get_unsplit(world.file, last, &folio), 0);
		assert_int_equal(folio_order(folio), 0);
		folio_put(folio);
		assert_int_equal(sync_all(&world), 0);
		EXPECT_CALLS(0);
		mark(&world, last, 3000 + order);
		assert_int_equal(sync_all(&world), 0);
		assert_int_equal(call_count, 1);
		assert_int_equal(calls[0], 3000 + order);
		call_count = 0;
	}
	world_end(&world);
}

/* What a discard writes of a folio at its edge has the number of the folio. */
static void test_discard_writes_edge(void **state)
{
	static struct world world;

	(void)state;
	log_world_begin(&world, 1024, 0, 64 * PAGE);
	read_folio(&world, 8, 3);
	mark(&world, 9, 200);
	mark(&world, 15, 70);
	refusal = -ENOSPC;
	assert_int_equal(folio_file_discard(world.file, 10 * PAGE, PAGE), -ENOSPC);
	EXPECT_CALLS(200);
	mark(&world, 8, 100);
	refusal = 0;
	folio_u32_store_relaxed(&device_error, EIO);
	assert_int_equal(folio_file_discard(world.file, 10 * PAGE, PAGE), -EIO);
	EXPECT_CALLS(200);
	folio_u32_store_relaxed(&device_error, 0);
	assert_int_equal(folio_file_discard(world.file, 10 * PAGE, PAGE), 0);
	assert_int_equal(call_count, 0);
	mark(&world, 9, 205);
	assert_int_equal(sync_all(&world), -EIO);
	EXPECT_CALLS(205);
	/* Without a number; nor is there a call if no byte outside is written. */
	read_folio(&world, 16, 3);
	assert_int_equal(folio_file_advise(world.file, FOLIO_ADVICE_NORMAL), 0);
	mark(&world, 17, 0);
	assert_int_equal(folio_file_discard(world.file, 18 * PAGE, PAGE), 0);
	EXPECT_CALLS(0);
	mark(&world, 20, 300);
	assert_int_equal(folio_file_discard(world.file, 16 * PAGE, 8 * PAGE), 0);
	assert_int_equal(call_count, 0);
	world_end(&world);
}

/* A page that is cut inside, or in which a hole gets zeros, is still the page that was marked. */
static void test_partly_cut(void **state)
{
	static struct world world;

	(void)state;
	log_world_begin(&world, 1024, 0, 8 * PAGE);
	read_folio(&world, 4, 2);
	mark(&world, 1, 30);
	mark(&world, 6, 40);
	assert_int_equal(folio_file_punch(world.file, PAGE + 10, 100), 0);
	assert_int_equal(folio_file_truncate(world.file, 5 * PAGE + 10), 0);
	assert_int_equal(call_count, 0);
	assert_int_equal(sync_pages(&world, 0, 2), 0);
	assert_int_equal(sync_all(&world), 0);
	EXPECT_CALLS(30, 40);
	mark(&world, 5, 60);
	assert_int_equal(folio_file_truncate(world.file, PAGE + 10), 0);
	mark(&world, 1, 50);
	assert_int_equal(sync_all(&world), 0);
	EXPECT_CALLS(50);
	world_end(&world);
}

/* ---- writes by copy ---- */

/* Cached, uncached and new pages, pages that are dirty already, and the end of the file. */
static void test_write_logged(void **state)
{
	static struct world world;
	uint64_t offset;

	(void)state;
	log_world_begin(&world, 64, 0, 4 * PAGE + 10);
	memset(world.model, 'a', 4 * PAGE + 10);
	assert_int_equal(folio_file_write_logged(world.file, world.model, 10, 0, 0, 5), 10);
	assert_int_equal(sync_all(&world), 0);
	EXPECT_CALLS(5);
	assert_int_equal(folio_file_write(world.file, world.model, PAGE, 0), PAGE);
	assert_int_equal(folio_file_write_logged(world.file, world.model, 10, 0, 0, 7), 10);
	assert_int_equal(folio_file_write_logged(world.file, world.model, 10, 0, 0, 6), 10);
	assert_int_equal(sync_pages(&world, 0, 1), 0);
	EXPECT_CALLS(7);
	assert_int_equal(
		folio_file_write_logged(world.file, world.model + PAGE, 3 * PAGE, PAGE, 0, 8),
		3 * PAGE);
	assert_int_equal(sync_pages(&world, 3, 1), 0);
	EXPECT_CALLS(8);
	assert_int_equal(folio_file_write_logged(
				 world.file, world.model, 10, 4 * PAGE, FOLIO_WRITE_ONCE, 10),
		10);
	/* Past the end: new folios. */
	assert_int_equal(
		folio_file_append_logged(world.file, world.model, PAGE, 0, 11, &offset), PAGE);
	assert_int_equal(offset, 4 * PAGE + 10);
	assert_int_equal(sync_pages(&world, 5, 1), 0);
	EXPECT_CALLS(11);
	assert_int_equal(sync_all(&world), 0);
	assert_int_equal(call_count, 0);
	memset(world.model, 'a', 5 * PAGE + 10);
	world.size = 5 * PAGE + 10;
	check_file(&world);
	assert_int_equal(folio_file_write_logged(world.file, world.model, 1, 0, ~0u, 1), -EINVAL);
	assert_int_equal(folio_file_write_logged(NULL, world.model, 1, 0, 0, 1), -EINVAL);
	assert_int_equal(folio_file_append_logged(world.file, NULL, 1, 0, 1, &offset), -EINVAL);
	world_end(&world);
}

/* ---- what is durable ---- */

static uint64_t oldest(struct world *world)
{
	uint64_t sequence = 0;

	assert_int_equal(folio_file_oldest_sequence(world->file, &sequence), 0);
	assert_true(sequence > 0);
	return sequence;
}

static int write_back(struct world *world, uint64_t index)
{
	return folio_file_writeback(world->file, index * PAGE, PAGE, FOLIO_WRITEBACK_WAIT);
}

static void test_oldest(void **state)
{
	static struct world world;

	(void)state;
	log_world_begin(&world, 64, 0, 16 * PAGE);
	assert_int_equal(oldest(&world), UINT64_MAX);
	mark(&world, 1, 0);
	assert_int_equal(oldest(&world), UINT64_MAX);
	mark(&world, 3, 10);
	mark(&world, 5, 7);
	assert_int_equal(oldest(&world), 7);
	mark(&world, 5, 20);
	mark(&world, 9, 6);
	assert_int_equal(oldest(&world), 6);
	mark(&world, 9, 5);
	assert_int_equal(oldest(&world), 5);
	assert_int_equal(sync_pages(&world, 9, 1), 0);
	assert_int_equal(oldest(&world), 7);
	/* Written, and not synced; until any sync of the device. */
	assert_int_equal(write_back(&world, 5), 0);
	assert_int_equal(oldest(&world), 7);
	mark(&world, 5, 30);
	assert_int_equal(oldest(&world), 7);
	assert_int_equal(sync_pages(&world, 0, 1), 0);
	assert_int_equal(oldest(&world), 10);
	assert_int_equal(sync_pages(&world, 3, 1), 0);
	assert_int_equal(oldest(&world), 30);
	/* A write that fails, and a sync that writes another page. */
	folio_u32_store_relaxed(&device_error, EIO);
	assert_int_equal(sync_all(&world), -EIO);
	folio_u32_store_relaxed(&device_error, 0);
	assert_int_equal(oldest(&world), 30);
	mark(&world, 5, 40);
	assert_int_equal(sync_pages(&world, 0, 1), 0);
	assert_int_equal(oldest(&world), 30);
	refusal = -ENOSPC;
	assert_int_equal(sync_all(&world), -ENOSPC);
	refusal = 0;
	assert_int_equal(oldest(&world), 30);
	assert_int_equal(sync_all(&world), 0);
	assert_int_equal(oldest(&world), UINT64_MAX);
	/* Dropped. */
	mark(&world, 3, 50);
	mark(&world, 15, 60);
	assert_int_equal(folio_file_discard(world.file, 3 * PAGE, PAGE), 0);
	assert_int_equal(oldest(&world), 60);
	assert_int_equal(folio_file_truncate(world.file, 8 * PAGE), 0);
	assert_int_equal(oldest(&world), UINT64_MAX);
	world.size = 8 * PAGE;
	call_count = 0;
	world_end(&world);
}

/* The device fails to sync: what it had is not durable, whatever a later sync returns. */
static void test_oldest_lost(void **state)
{
	static struct world world;
	struct folio_file *other;

	(void)state;
	log_world_begin(&world, 64, 0, 16 * PAGE);
	mark(&world, 3, 10);
	folio_u32_store_relaxed(&device_sync_error, EIO);
	assert_int_equal(sync_all(&world), -EIO);
	assert_int_equal(oldest(&world), 10);
	folio_u32_store_relaxed(&device_sync_error, 0);
	mark(&world, 4, 20);
	assert_int_equal(sync_all(&world), -EIO);
	assert_int_equal(oldest(&world), 10);
	assert_int_equal(folio_file_checkpoint(world.file, 5), -EIO);
	assert_int_equal(folio_file_checkpoint(world.file, 15), -EIO);
	assert_int_equal(oldest(&world), 10);
	/* Until all handles are closed. */
	assert_int_equal(folio_file_open(world.cache, world.path, O_RDONLY, 0, &other), 0);
	assert_int_equal(folio_file_close(world.file), 0);
	world.file = other;
	assert_int_equal(oldest(&world), 10);
	assert_int_equal(folio_file_close(world.file), 0);
	assert_int_equal(folio_file_open(world.cache, world.path, O_RDWR, 0, &world.file), 0);
	assert_int_equal(oldest(&world), UINT64_MAX);
	call_count = 0;
	world_end(&world);
}

static struct world *moment_world;
static uint64_t moment_oldest;

static void look_at_oldest(void)
{
	moment_oldest = oldest(moment_world);
}

static void *mark_and_write(void *arg)
{
	mark(arg, 7, 15);
	assert_int_equal(write_back(arg, 7), 0);
	return NULL;
}

static void write_in_sync(void)
{
	pthread_t thread;

	moment_oldest = oldest(moment_world);
	assert_int_equal(pthread_create(&thread, NULL, mark_and_write, moment_world), 0);
	pthread_join(thread, NULL);
}

/*
 * What is written in the course of a sync that fails may be lost, too: the device reports each
 * error once.
 */
static void test_oldest_lost_in_sync(void **state)
{
	static struct world world;

	(void)state;
	log_world_begin(&world, 64, 0, 16 * PAGE);
	moment_world = &world;
	mark(&world, 3, 20);
	folio_u32_store_relaxed(&device_sync_error, EIO);
	in_sync = write_in_sync;
	assert_int_equal(sync_all(&world), -EIO);
	folio_u32_store_relaxed(&device_sync_error, 0);
	assert_int_equal(oldest(&world), 15);
	assert_int_equal(sync_all(&world), -EIO);
	assert_int_equal(oldest(&world), 15);
	call_count = 0;
	assert_int_equal(folio_file_close(world.file), 0);
	assert_int_equal(folio_cache_close(world.cache), 0);
	unlink(world.path);
}

/*
 * In flight to the file, a change counts; in the device's sync as well. What is written in the
 * course of the device's sync is not durable when that has ended.
 */
static void test_oldest_in_flight(void **state)
{
	static struct world world;

	(void)state;
	log_world_begin(&world, 64, 0, 16 * PAGE);
	moment_world = &world;
	mark(&world, 3, 10);
	in_write = look_at_oldest;
	assert_int_equal(write_back(&world, 3), 0);
	assert_int_equal(moment_oldest, 10);
	moment_oldest = 0;
	in_sync = write_in_sync;
	assert_int_equal(sync_all(&world), 0);
	assert_int_equal(moment_oldest, 10);
	assert_int_equal(oldest(&world), 15);
	assert_int_equal(sync_all(&world), 0);
	assert_int_equal(oldest(&world), UINT64_MAX);
	call_count = 0;
	world_end(&world);
}

static unsigned device_syncs_since(unsigned *had)
{
	unsigned now = folio_u32_load_relaxed(&device_syncs), since = now - *had;

	*had = now;
	return since;
}

/* Only pages with a change up to the position are written, and only if one is there. */
static void test_checkpoint(void **state)
{
	static struct world world;
	unsigned syncs = 0;

	(void)state;
	log_world_begin(&world, 64, 0, 16 * PAGE);
	mark(&world, 1, 10);
	mark(&world, 2, 20);
	mark(&world, 3, 0);
	mark(&world, 4, 5);
	mark(&world, 4, 30);
	assert_int_equal(folio_file_checkpoint(world.file, 0), 0);
	assert_int_equal(folio_file_checkpoint(world.file, 4), 0);
	assert_int_equal(call_count, 0);
	assert_int_equal(device_syncs_since(&syncs), 0);
	assert_int_equal(folio_file_checkpoint(world.file, 10), 0);
	EXPECT_CALLS(30);
	assert_int_equal(device_syncs_since(&syncs), 1);
	assert_int_equal(cache_stats(world.cache).pages_dirty, 2);
	assert_int_equal(oldest(&world), 20);
	assert_int_equal(folio_file_checkpoint(world.file, 10), 0);
	assert_int_equal(device_syncs_since(&syncs), 0);
	/* Written already. */
	mark(&world, 5, 40);
	assert_int_equal(write_back(&world, 5), 0);
	EXPECT_CALLS(40);
	assert_int_equal(folio_file_checkpoint(world.file, 19), 0);
	assert_int_equal(device_syncs_since(&syncs), 0);
	assert_int_equal(folio_file_checkpoint(world.file, 20), 0);
	assert_int_equal(device_syncs_since(&syncs), 1);
	assert_int_equal(oldest(&world), UINT64_MAX);
	/* Failures: reported once, and the changes are not durable. */
	mark(&world, 1, 50);
	refusal = -ENOSPC;
	assert_int_equal(folio_file_checkpoint(world.file, 50), -ENOSPC);
	refusal = 0;
	folio_u32_store_relaxed(&device_error, EIO);
	assert_int_equal(folio_file_checkpoint(world.file, 50), -EIO);
	folio_u32_store_relaxed(&device_error, 0);
	assert_int_equal(device_syncs_since(&syncs), 0);
	assert_int_equal(oldest(&world), 50);
	assert_int_equal(folio_file_checkpoint(world.file, UINT64_MAX), 0);
	assert_int_equal(oldest(&world), UINT64_MAX);
	/* The page without a number. */
	assert_int_equal(cache_stats(world.cache).pages_dirty, 1);
	call_count = 0;
	world_end(&world);
}

static void test_arguments(void **state)
{
	static struct world world;
	struct folio *folio;
	uint64_t sequence;

	(void)state;
	log_world_begin(&world, 64, 0, 16 * PAGE);
	assert_int_equal(folio_file_oldest_sequence(NULL, &sequence), -EINVAL);
	assert_int_equal(folio_file_oldest_sequence(world.file, NULL), -EINVAL);
	assert_int_equal(folio_file_checkpoint(NULL, 1), -EINVAL);
	assert_int_equal(folio_file_get(world.file, 0, 0, &folio), 0);
	assert_int_equal(folio_lock(folio), 0);
	assert_int_equal(folio_mark_dirty(folio, 3), 0);
	assert_int_equal(folio_file_checkpoint(world.file, 1), -EDEADLK);
	assert_int_equal(oldest(&world), 3);
	assert_int_equal(folio_unlock(folio), 0);
	folio_put(folio);
	call_count = 0;
	world_end(&world);
	/* Without before_writeback, no number is recorded. */
	world_begin(&world, 64, 0);
	assert_int_equal(folio_file_write_logged(world.file, "a", 1, 0, 0, 7), 1);
	assert_int_equal(folio_file_oldest_sequence(world.file, &sequence), -EOPNOTSUPP);
	assert_int_equal(folio_file_checkpoint(world.file, 1), -EOPNOTSUPP);
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_smaller_number_later),
		cmocka_unit_test(test_smallest_and_largest),
		cmocka_unit_test(test_passes),
		cmocka_unit_test(test_failed_writeback),
		cmocka_unit_test(test_frame_used_again),
		cmocka_unit_test(test_every_order),
		cmocka_unit_test(test_discard_writes_edge),
		cmocka_unit_test(test_partly_cut),
		cmocka_unit_test(test_write_logged),
		cmocka_unit_test(test_oldest),
		cmocka_unit_test(test_oldest_lost),
		cmocka_unit_test(test_oldest_lost_in_sync),
		cmocka_unit_test(test_oldest_in_flight),
		cmocka_unit_test(test_checkpoint),
		cmocka_unit_test(test_arguments),
	};

	test_begin("sequence");
	return cmocka_run_group_tests_name("sequence", tests, NULL, NULL);
}
