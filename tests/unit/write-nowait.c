/* SPDX-License-Identifier: BSD-2-Clause */
/* Writes that do not wait: for each thing that a write waits for. No deadline ends these calls. */
#include <folio/iovec.h>
#include <folio/lock.h>

#include "stalled-device.h"

static struct world world;

static void begin(uint64_t pages)
{
	world_begin_timed(&world, pages, 16, 0, UINT32_MAX);
}

static ssize_t write_at(uint64_t offset, size_t len)
{
	static unsigned char bytes[16 * FOLIO_PAGE_SIZE];

	memset(bytes, 0x5a, sizeof(bytes));
	return folio_file_write_nowait(world.file, bytes, len, offset);
}

/* Another thread has a page locked, from one word to the next. */
struct holder {
	pthread_t thread;
	uint64_t page;
	folio_u32 locked, end;
};

static void *hold(void *arg)
{
	struct holder *holder = arg;
	struct folio *folio;
	void *page;

	if (folio_file_get_page(world.file, holder->page, 0, &folio, &page) || folio_lock(folio))
		abort();
	folio_u32_store_release(&holder->locked, 1);
	while (!folio_u32_load_acquire(&holder->end))
		sched_yield();
	if (folio_unlock(folio))
		abort();
	folio_put(folio);
	return NULL;
}

static void test_at_once(void **state)
{
	(void)state;
	begin(64);
	/* Nothing is read for complete pages, and pages past the end need no read. */
	device_stop(&world.device);
	assert_int_equal(write_at(3 * PAGE, 2 * PAGE), 2 * PAGE);
	assert_int_equal(write_at(FILE_PAGES * PAGE + 10, 5), 5);
	assert_int_equal(write_at(3 * PAGE + 7, 100), 100);
	assert_int_equal(write_at(0, 0), 0);
	assert_int_equal(device_held(&world.device), 0);
	device_go(&world.device);
	assert_int_equal(folio_file_size(world.file), FILE_PAGES * PAGE + 15);
	world_end(&world);
}

static void test_not_cached(void **state)
{
	char bytes[2 * FOLIO_PAGE_SIZE];

	(void)state;
	begin(64);
	device_stop(&world.device);
	assert_int_equal(write_at(3 * PAGE + 7, 100), -EAGAIN);
	/* Its read has begun, once. */
	assert_int_equal(device_held(&world.device), 1);
	assert_int_equal(write_at(3 * PAGE + 7, 100), -EAGAIN);
	assert_int_equal(device_held(&world.device), 1);
	/* What comes before it is written. */
	assert_int_equal(write_at(2 * PAGE, PAGE + 100), PAGE);
	device_go(&world.device);
	assert_int_equal(folio_file_read(world.file, bytes, sizeof(bytes), 3 * PAGE), 2 * PAGE);
	assert_int_equal(write_at(3 * PAGE + 7, 100), 100);
	world_end(&world);
}

static void test_locked(void **state)
{
	struct holder holder = {.page = 5};
	struct folio *folio;
	uint64_t i;
	void *page;

	(void)state;
	begin(64);
	/* A folio for each. */
	for (i = 4; i < 7; i++)
		assert_int_equal(write_at(i * PAGE, PAGE), PAGE);
	pthread_create(&holder.thread, NULL, hold, &holder);
	wait_until(folio_u32_load_acquire(&holder.locked));
	assert_int_equal(write_at(5 * PAGE, PAGE), -EAGAIN);
	assert_int_equal(write_at(4 * PAGE, 3 * PAGE), PAGE);
	folio_u32_store_release(&holder.end, 1);
	pthread_join(holder.thread, NULL);
	assert_int_equal(write_at(5 * PAGE, PAGE), PAGE);
	/* The thread itself has one locked. */
	assert_int_equal(folio_file_get_page(world.file, 5, 0, &folio, &page), 0);
	assert_int_equal(folio_lock(folio), 0);
	assert_int_equal(write_at(6 * PAGE, PAGE), -EDEADLK);
	assert_int_equal(folio_unlock(folio), 0);
	folio_put(folio);
	world_end(&world);
}

/*
 * Parts of a large folio that was read: the write splits it, which is an attempt of its own, and
 * begins with a page that is there already.
 */
static void test_part_of_a_large_folio(void **state)
{
	unsigned char bytes[8 * FOLIO_PAGE_SIZE], got[sizeof(bytes)];
	const struct folio_range range = {32 * PAGE, 16 * PAGE};
	size_t i;

	(void)state;
	begin(256);
	for (i = 0; i < sizeof(bytes); i++)
		bytes[i] = (unsigned char)(i * 31 + i / 97);
	assert_int_equal(folio_file_prefetch(world.file, &range, 1), 16);
	for (i = 32; i < 48; i++)
		check_page(&world, i);
	/* From a page that is not cached into the middle of the folio. */
	assert_int_equal(folio_file_write_nowait(world.file, bytes, 7 * PAGE + 100, 29 * PAGE),
		7 * PAGE + 100);
	assert_int_equal(
		folio_file_read(world.file, got, 7 * PAGE + 100, 29 * PAGE), 7 * PAGE + 100);
	assert_memory_equal(got, bytes, 7 * PAGE + 100);
	check_page(&world, 37);
	world_end(&world);
}

/* An append, or a change of the size, is in progress: internals, as it would be for a moment. */
static void test_growing(void **state)
{
	struct inode *inode;

	(void)state;
	begin(64);
	inode = world.file->inode;
	pthread_mutex_lock(&inode->append_lock);
	assert_int_equal(write_at(FILE_PAGES * PAGE, PAGE), -EAGAIN);
	assert_int_equal(write_at(FILE_PAGES * PAGE - PAGE, PAGE), PAGE);
	pthread_mutex_unlock(&inode->append_lock);
	pthread_rwlock_wrlock(&inode->map_lock);
	assert_int_equal(write_at(3 * PAGE, PAGE), -EAGAIN);
	pthread_rwlock_unlock(&inode->map_lock);
	assert_int_equal(write_at(3 * PAGE, PAGE), PAGE);
	world_end(&world);
}

/* All that may be dirty is, and the device does not answer. */
static void test_dirty_limit(void **state)
{
	uint64_t i;
	ssize_t r = PAGE;

	(void)state;
	begin(64);
	device_stop(&world.device);
	for (i = 0; i < FILE_PAGES && r == (ssize_t)PAGE; i++)
		r = write_at(i * PAGE, PAGE);
	assert_int_equal(r, -EAGAIN);
	assert_in_range(cache_stats(world.cache).pages_dirty, 1, 64);
	device_go(&world.device);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	assert_int_equal(write_at(i * PAGE, PAGE), PAGE);
	world_end(&world);
}

static void test_arguments(void **state)
{
	char byte = 'x';
	struct iovec iov = {&byte, 1};
	struct folio_file *reader;

	(void)state;
	begin(64);
	assert_int_equal(folio_file_write_nowait(NULL, &byte, 1, 0), -EINVAL);
	assert_int_equal(folio_file_write_nowait(world.file, NULL, 1, 0), -EINVAL);
	assert_int_equal(folio_file_write_nowait(world.file, &byte, 1, INT64_MAX), -EFBIG);
	assert_int_equal(folio_file_write_flags(world.file, &byte, 1, 0, 4), -EINVAL);
	assert_int_equal(folio_file_writev(world.file, &iov, 1, 0, FOLIO_WRITE_NOWAIT), -EINVAL);
	assert_int_equal(
		folio_file_append(world.file, &byte, 1, FOLIO_WRITE_NOWAIT, NULL), -EINVAL);
	assert_int_equal(folio_file_write_flags(world.file, &byte, 1, FILE_PAGES * PAGE,
				 FOLIO_WRITE_NOWAIT | FOLIO_WRITE_ONCE),
		1);
	assert_int_equal(folio_file_open(world.cache, world.path, O_RDONLY, 0, &reader), 0);
	assert_int_equal(folio_file_write_nowait(reader, &byte, 1, 0), -EBADF);
	assert_int_equal(folio_file_close(reader), 0);
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_at_once),
		cmocka_unit_test(test_not_cached),
		cmocka_unit_test(test_locked),
		cmocka_unit_test(test_part_of_a_large_folio),
		cmocka_unit_test(test_growing),
		cmocka_unit_test(test_dirty_limit),
		cmocka_unit_test(test_arguments),
	};

	test_begin("write-nowait");
	alarm(300);
	return cmocka_run_group_tests_name("write-nowait", tests, NULL, NULL);
}
