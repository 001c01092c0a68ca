/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A deadline together with a second difficulty: a page that the program has locked, two threads
 * that extend a file, threads that cannot be started, pages that are all pinned. Step by step, with
 * a clock that the test moves.
 */
#include "timed-world.h"
#include "cache/inflight.h"

#define TIMEOUT    1500
#define TIMEOUT_NS (TIMEOUT * MILLISECOND)
#define DEPTH      16

/* ---- threads that cannot be started ---- */

typedef int create_thread(
	pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg);

static create_thread *real_create;
static folio_u32 refusals;   /* so many threads cannot be started */
static folio_u64 refused_at; /* when so many waits with a limit have begun */

__attribute__((constructor)) static void find_create(void)
{
	*(void **)&real_create = dlsym(RTLD_NEXT, "pthread_create");
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
	uint32_t left = folio_u32_load_relaxed(&refusals);

	while (left) {
		if (!folio_u32_cas_relaxed(&refusals, &left, left - 1))
			continue;
		wait_until(clock_waits_begun() >= folio_u64_load_relaxed(&refused_at));
		return EAGAIN;
	}
	return real_create(thread, attr, run, arg);
}

static bool is_detached(const struct world *world)
{
	return folio_u32_load_acquire(&world->file->inode->detached);
}

/* Each call returns at once, and takes nothing with it: it can be made again. */
static void test_no_threads(void **state)
{
	struct world world;

	(void)state;
	world_begin_timed(&world, 128, DEPTH, TIMEOUT, UINT32_MAX);
	write_page(&world, 3, 1003);
	folio_u32_store_relaxed(&refusals, UINT32_MAX);
	assert_int_equal(call_sync(&world, 0), -ENOMEM);
	assert_int_equal(call_sync(&world, FOLIO_SYNC_DATA), -ENOMEM);
	assert_int_equal(call_truncate(&world, 3), -ENOMEM);
	assert_int_equal(folio_file_punch(world.file, 0, 8 * PAGE), -ENOMEM);
	assert_int_equal(folio_file_discard(world.file, 0, 8 * PAGE), -ENOMEM);
	assert_int_equal(folio_file_close(world.file), -ENOMEM);
	assert_int_equal(folio_file_abandon(world.file), -ENOMEM);
	assert_false(is_detached(&world));
	assert_int_equal(cache_stats(world.cache).pages_dirty, 1);
	assert_int_equal(folio_file_size(world.file), FILE_PAGES * PAGE);
	folio_u32_store_relaxed(&refusals, 0);
	assert_int_equal(call_sync(&world, 0), 0);
	check_file(&world, 3, 1003);
	world_end(&world);
}

/* A sync while no thread can be started. */
static ssize_t call_sync_refused(struct world *world, uint64_t flags)
{
	ssize_t r;

	folio_u32_store_relaxed(&refusals, 1);
	r = call_sync(world, flags);
	folio_u32_store_relaxed(&refusals, 0);
	return r;
}

/*
 * Two calls wait for their turn behind one on a dead device. The thread of one of them cannot be
 * started: the other gets the turn.
 */
static void test_turn_passed_on(void **state)
{
	struct timed_call call[2];
	struct world world;
	ssize_t result[2];

	(void)state;
	world_begin_timed(&world, 128, DEPTH, TIMEOUT, UINT32_MAX);
	write_page(&world, 3, 1003);
	device_stop(&world.device);
	check_timeout(&world, call_sync, 0, TIMEOUT);
	wait_held(&world.device, 1);
	/* Without the turn, no thread is started. */
	check_timeout(&world, call_sync_refused, 0, TIMEOUT);
	call_start(&call[0], &world, call_sync, 0, 1);
	call_start(&call[1], &world, call_sync, 0, 2);
	/* Both are woken. The one that does not get the turn waits again. */
	folio_u64_store_relaxed(&refused_at, clock_waits_begun() + 1);
	folio_u32_store_relaxed(&refusals, 1);
	device_go(&world.device);
	result[0] = call_result(&call[0]);
	result[1] = call_result(&call[1]);
	assert_int_equal(result[0] + result[1], -ENOMEM);
	assert_true(!result[0] || !result[1]);
	check_file(&world, 3, 1003);
	world_end(&world);
}

/* ---- a page that the program has locked ---- */

/* Every call that needs the page ends at its deadline; after the unlock, all continue. */
static void test_locked_page(void **state)
{
	struct timed_call first, second;
	struct folio *folio;
	struct world world;
	int64_t start;

	(void)state;
	world_begin_timed(&world, 128, DEPTH, TIMEOUT, UINT32_MAX);
	assert_int_equal(folio_file_get(world.file, 3, 0, &folio), 0);
	assert_int_equal(folio_lock(folio), 0);
	check_timeout(&world, call_read, 3, TIMEOUT);
	check_timeout(&world, call_write, 3, TIMEOUT);
	check_timeout(&world, call_lock, 3, TIMEOUT);
	fill_page(folio_page(folio, 3), 3003);
	assert_int_equal(folio_mark_dirty(folio, 0), 0);
	/* The sync waits for the page on a separate thread, which has the file's turn. */
	check_timeout(&world, call_sync, 0, TIMEOUT);
	check_timeout(&world, call_truncate, 2, TIMEOUT);
	check_timeout(&world, call_close, 0, TIMEOUT);
	/* Of two that wait, the first leaves; the second is still woken. */
	start = clock_now();
	call_start(&first, &world, call_write, 3, 1);
	clock_move_to(start + SECOND);
	call_start(&second, &world, call_lock, 3, 2);
	clock_move_to(start + TIMEOUT_NS);
	assert_int_equal(call_result(&first), -ETIMEDOUT);
	wait_until(clock_waits() == 1);
	assert_int_equal(clock_next(), start + SECOND + TIMEOUT_NS);
	assert_int_equal(folio_unlock(folio), 0);
	assert_int_equal(call_result(&second), 0);
	folio_put(folio);
	wait_until(!is_detached(&world));
	check_file(&world, 3, 3003);
	assert_int_equal(folio_file_size(world.file), FILE_PAGES * PAGE);
	assert_int_equal(call_write(&world, 3), PAGE);
	assert_int_equal(call_sync(&world, 0), 0);
	check_file(&world, 3, 1003);
	world_end(&world);
}

/* Read page @index while page 3 is locked. The lock survives the deadline. */
static ssize_t call_read_locked(struct world *world, uint64_t index)
{
	struct folio *folio;
	ssize_t r;

	if (folio_file_get(world->file, 3, 0, &folio) || folio_lock(folio))
		return -EBADMSG;
	r = call_read(world, index);
	fill_page(folio_page(folio, 3), 3003);
	if (folio_mark_dirty(folio, 0) || folio_unlock(folio))
		r = -EBADMSG;
	folio_put(folio);
	return r;
}

static void test_own_lock(void **state)
{
	struct world world;

	(void)state;
	world_begin_timed(&world, 128, DEPTH, TIMEOUT, UINT32_MAX);
	assert_int_equal(call_read(&world, 3), PAGE);
	device_stop(&world.device);
	check_timeout(&world, call_read_locked, 50, TIMEOUT);
	device_go(&world.device);
	assert_int_equal(call_sync(&world, 0), 0);
	check_file(&world, 3, 3003);
	assert_int_equal(call_write(&world, 3), PAGE);
	world_end(&world);
}

/* ---- two threads that extend a file ---- */

#define TAIL (399 * PAGE + 100) /* the size of the file: its last page must be read first */

static ssize_t call_write_byte(struct world *world, uint64_t offset)
{
	return folio_file_write(world->file, "x", 1, offset);
}

/* The file ends with a byte at @offset, and has zeros since TAIL, except one of ours, perhaps. */
static void check_tail(struct world *world, uint64_t offset, bool both)
{
	static char got[32 * FOLIO_PAGE_SIZE], expected[32 * FOLIO_PAGE_SIZE];
	ssize_t len = (ssize_t)(offset + 1 - TAIL);

	memset(expected, 0, sizeof(expected));
	expected[0] = both ? 'x' : 0;
	expected[len - 1] = 'x';
	assert_int_equal(call_sync(world, 0), 0);
	assert_int_equal(pread(world->fd, got, sizeof(got), (off_t)TAIL), len);
	assert_memory_equal(got, expected, (size_t)len);
}

/*
 * The first reads the last page, with the lock of the size, and leaves. The second waits for the
 * lock and then for the page, with the rest of its time.
 */
static void test_extend(void **state)
{
	struct timed_call first, second;
	struct world world;
	unsigned round;
	int64_t start;

	(void)state;
	for (round = 0; round < 2; round++) {
		world_begin_timed(&world, 128, DEPTH, TIMEOUT, UINT32_MAX);
		assert_int_equal(folio_file_truncate(world.file, TAIL), 0);
		device_stop(&world.device);
		start = clock_now();
		call_start(&first, &world, call_write_byte, TAIL, 1);
		assert_int_equal(device_held(&world.device), 1);
		clock_move_to(start + SECOND);
		call_start(&second, &world, call_write_byte, 420 * PAGE, 2);
		clock_move_to(start + TIMEOUT_NS);
		assert_int_equal(call_result(&first), -ETIMEDOUT);
		wait_until(clock_waits() == 1);
		assert_int_equal(clock_next(), start + SECOND + TIMEOUT_NS);
		if (round == 0) {
			clock_move_to(clock_next());
			assert_int_equal(call_result(&second), -ETIMEDOUT);
			assert_int_equal(folio_file_size(world.file), TAIL);
			device_go(&world.device);
			assert_int_equal(call_write_byte(&world, TAIL), 1);
			assert_int_equal(call_write_byte(&world, 420 * PAGE), 1);
		} else {
			device_go(&world.device);
			assert_int_equal(call_result(&second), 1);
		}
		assert_int_equal(folio_file_size(world.file), 420 * PAGE + 1);
		check_tail(&world, 420 * PAGE, round == 0);
		world_end(&world);
	}
}

/* The same for a write that leaves a gap in the last page: it has put no zeros there yet. */
static void test_extend_with_gap(void **state)
{
	struct world world;

	(void)state;
	world_begin_timed(&world, 128, DEPTH, TIMEOUT, UINT32_MAX);
	assert_int_equal(folio_file_truncate(world.file, TAIL), 0);
	device_stop(&world.device);
	check_timeout(&world, call_write_byte, TAIL + 50, TIMEOUT);
	check_timeout(&world, call_write_byte, TAIL, TIMEOUT);
	device_go(&world.device);
	assert_int_equal(folio_file_size(world.file), TAIL);
	assert_int_equal(call_write_byte(&world, TAIL + 50), 1);
	check_tail(&world, TAIL + 50, false);
	world_end(&world);
}

static ssize_t call_sync_page(struct world *world, uint64_t index)
{
	const struct folio_range range = {index * PAGE, PAGE};

	return folio_file_sync(world->file, &range, 0);
}

/*
 * A sync makes the file longer, for a page in a gap. The device does not answer, so the sync keeps
 * the lock of the size, and a write that extends the file leaves without it.
 */
static void test_extend_during_sync(void **state)
{
	struct world world;

	(void)state;
	world_begin_timed(&world, 128, DEPTH, TIMEOUT, UINT32_MAX);
	assert_int_equal(call_write_byte(&world, 420 * PAGE), 1);
	device_stop(&world.device);
	check_timeout(&world, call_sync_page, 410, TIMEOUT);
	wait_calls(&world.device, 1);
	check_timeout(&world, call_write_byte, 430 * PAGE, TIMEOUT);
	/* The file does not become longer, so this needs no lock of the size. */
	assert_int_equal(call_write(&world, 3), PAGE);
	device_go(&world.device);
	wait_until(!is_detached(&world));
	assert_int_equal(folio_file_size(world.file), 420 * PAGE + 1);
	assert_int_equal(call_write_byte(&world, 430 * PAGE), 1);
	/* It left no lock behind: this takes them all. */
	assert_int_equal(folio_file_truncate(world.file, 300 * PAGE), 0);
	check_page(&world, 299);
	world_end(&world);
}

/* ---- request slots ---- */

static uint32_t slots(const struct world *world)
{
	return folio_u32_load_relaxed(&world->cache->request_slots);
}

/* @call finds no page: it returns @error; but -EAGAIN while the evictor has a page for a moment. */
#define FINDS_NO_PAGE(call, error)                          \
	do {                                                \
		ssize_t r;                                  \
                                                            \
		do                                          \
			r = (call);                         \
		while (r == -EAGAIN && (error) != -EAGAIN); \
		assert_int_equal(r, (error));               \
	} while (0)

static ssize_t read_batch(struct world *world)
{
	static char buf[2][FOLIO_PAGE_SIZE];
	struct folio_read reads[2] = {
		{buf[0], PAGE, 210 * PAGE, 0},
		{buf[1], PAGE, 220 * PAGE, 0},
	};

	if (folio_file_read_batch(world->file, reads, 2, FOLIO_READ_NOWAIT))
		return -EBADMSG;
	return reads[0].result == -EAGAIN ? -EAGAIN : reads[1].result;
}

/* Calls that do not wait, and find no page: whatever they took is back. */
static void find_no_page(struct world *world, int error)
{
	struct folio_range range = {200 * PAGE, 8 * PAGE};
	uint32_t had = slots(world);
	char buf[FOLIO_PAGE_SIZE];
	struct folio *folio;
	unsigned i;

	for (i = 0; i < 2 * DEPTH; i++) {
		FINDS_NO_PAGE(
			folio_file_read_nowait(world->file, buf, PAGE, (200 + i) * PAGE), error);
		FINDS_NO_PAGE(
			folio_file_get(world->file, 200 + i, FOLIO_GET_NOWAIT, &folio), error);
		FINDS_NO_PAGE(read_batch(world), error);
		assert_int_equal(folio_file_prefetch(world->file, &range, 1), 0);
		assert_int_equal(slots(world), had);
	}
}

/* A read that finds no page waits for busy threads, and gives up at its deadline. */
static void check_no_page(struct world *world, uint64_t index)
{
	int64_t start = clock_now();
	struct timed_call call;

	call_start(&call, world, call_read, index, 1);
	/* From here on it no longer waits for threads that become busy later. */
	clock_move_to(start + PROGRESS_PATIENCE_MS * MILLISECOND);
	wait_until(clock_waits() == 1);
	assert_int_equal(clock_next(), start + TIMEOUT_NS);
	clock_move_to(start + TIMEOUT_NS);
	assert_int_equal(call_result(&call), -ETIMEDOUT);
}

static void test_slots_come_back(void **state)
{
	unsigned char page[FOLIO_PAGE_SIZE];
	struct folio *pinned[64];
	struct world world;
	unsigned i;

	(void)state;
	world_begin_timed(&world, 64, DEPTH, TIMEOUT, UINT32_MAX);
	for (i = 0; i < 60; i++)
		assert_int_equal(folio_file_get(world.file, i, 0, &pinned[i]), 0);
	/* The last pages are in flight on a dead device. They will be free. */
	device_stop(&world.device);
	for (i = 60; i < 64; i++)
		assert_int_equal(
			folio_file_read_nowait(world.file, page, PAGE, 2 * i * PAGE), -EAGAIN);
	assert_int_equal(slots(&world), DEPTH - 4);
	find_no_page(&world, -EAGAIN);
	check_no_page(&world, 300);
	assert_int_equal(slots(&world), DEPTH - 4);
	device_go(&world.device);
	for (i = 60; i < 64; i++)
		assert_int_equal(folio_file_get(world.file, i, 0, &pinned[i]), 0);
	assert_int_equal(slots(&world), DEPTH);
	/* All are pinned. */
	find_no_page(&world, -ENOMEM);
	assert_int_equal(call_read(&world, 300), -ENOMEM);
	assert_int_equal(call_write(&world, 300), -ENOMEM);
	assert_int_equal(slots(&world), DEPTH);
	for (i = 0; i < 64; i++)
		folio_put(pinned[i]);
	/* As many requests as there are slots, and no more. */
	device_stop(&world.device);
	for (i = 0; i < 2 * DEPTH; i++)
		assert_int_equal(
			folio_file_read_nowait(world.file, page, PAGE, (100 + 2 * i) * PAGE),
			-EAGAIN);
	assert_int_equal(device_held(&world.device), DEPTH);
	device_go(&world.device);
	for (i = 0; i < FILE_PAGES; i++)
		check_page(&world, i);
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_threads),
		cmocka_unit_test(test_turn_passed_on),
		cmocka_unit_test(test_locked_page),
		cmocka_unit_test(test_own_lock),
		cmocka_unit_test(test_extend),
		cmocka_unit_test(test_extend_with_gap),
		cmocka_unit_test(test_extend_during_sync),
		cmocka_unit_test(test_slots_come_back),
	};

	test_begin("deadline-pairs");
	alarm(300);
	return cmocka_run_group_tests_name("deadline-pairs", tests, NULL, NULL);
}
