/* SPDX-License-Identifier: BSD-2-Clause */
/* Calls that continue on another thread after their caller has left. */
#include "stalled-device.h"

/* A truncation continues and succeeds. */
static void test_truncate(void **state)
{
	struct world world;

	(void)state;
	world_begin(&world, 128, 128);
	write_page(&world, 10, 1010);
	device_stop(&world.device);
	assert_int_equal(folio_file_truncate(world.file, 11 * PAGE), -ETIMEDOUT);
	assert_int_equal(folio_file_abandon(world.file), -ETIMEDOUT);
	device_go(&world.device);
	wait_until(!folio_u32_load_acquire(&world.file->inode->detached));
	assert_int_equal(folio_file_size(world.file), 11 * PAGE);
	world_end(&world);
}

/* The last close writes back. When its deadline has passed, the write-back continues. */
static void test_close(void **state)
{
	struct world world;
	uint64_t i;

	(void)state;
	world_begin(&world, 128, 128);
	for (i = 0; i < 20; i++)
		write_page(&world, i, 1000 + i);
	device_stop(&world.device);
	assert_int_equal(folio_file_close(world.file), -ETIMEDOUT);
	assert_int_equal(folio_file_close(world.file), -ETIMEDOUT);
	assert_int_equal(folio_cache_close(world.cache), -EBUSY);
	device_go(&world.device);
	for (i = 0; i < 20; i++)
		check_page(&world, 30 + i);
	wait_until(!cache_stats(world.cache).pages_dirty);
	for (i = 0; i < 20; i++)
		check_file(&world, i, 1000 + i);
	world_end(&world);
}

/* Abandoning a file writes its pages back, or returns the error. */
static void test_abandon(void **state)
{
	struct folio_file *other;
	struct world world;
	int r;

	(void)state;
	world_begin(&world, 128, 128);
	write_page(&world, 3, 1003);
	UNTIL_IN_TIME(folio_file_abandon(world.file));
	assert_int_equal(r, 0);
	check_file(&world, 3, 1003);
	assert_int_equal(folio_file_open(world.cache, world.path, O_RDWR, 0, &world.file), 0);
	write_page(&world, 3, 1004);
	world.device.refuses = true;
	/* Another handle is open. */
	assert_int_equal(folio_file_open(world.cache, world.path, O_RDWR, 0, &other), 0);
	UNTIL_IN_TIME(folio_file_abandon(other));
	assert_int_equal(r, 0);
	UNTIL_IN_TIME(folio_file_abandon(world.file));
	assert_int_equal(r, -EIO);
	check_file(&world, 3, 1003);
	world.device.refuses = false;
	assert_int_equal(folio_file_open(world.cache, world.path, O_RDWR, 0, &world.file), 0);
	world_end(&world);
}

/* An open that fails leaves nothing open, also while another call continues. */
static void test_open_fails(void **state)
{
	struct folio_file *other;
	struct world world;

	(void)state;
	world_begin(&world, 128, 128);
	write_page(&world, 3, 1003);
	device_stop(&world.device);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), -ETIMEDOUT);
	wait_held(&world.device, 1);
	world.device.uncut = true;
	device_go(&world.device);
	assert_int_equal(
		folio_file_open(world.cache, world.path, O_RDWR | O_TRUNC, 0, &other), -EIO);
	assert_int_equal(world.cache->files_open, 1);
	world.device.uncut = false;
	world_end(&world);
}

/* A sync fails after its caller has left: the next one reports the error, once. */
static void test_error_reported_later(void **state)
{
	struct world world;
	int r;

	(void)state;
	world_begin(&world, 128, 128);
	write_page(&world, 3, 1003);
	device_stop(&world.device);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), -ETIMEDOUT);
	wait_held(&world.device, 1);
	world.device.refuses = true;
	device_go(&world.device);
	wait_until(!folio_u32_load_acquire(&world.file->inode->detached));
	world.device.refuses = false;
	UNTIL_IN_TIME(folio_file_sync(world.file, NULL, 0));
	assert_int_equal(r, -EIO);
	UNTIL_IN_TIME(folio_file_sync(world.file, NULL, 0));
	assert_int_equal(r, 0);
	check_file(&world, 3, 1003);
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_truncate),
		cmocka_unit_test(test_close),
		cmocka_unit_test(test_abandon),
		cmocka_unit_test(test_open_fails),
		cmocka_unit_test(test_error_reported_later),
	};

	test_begin("detach");
	alarm(300);
	return cmocka_run_group_tests_name("detach", tests, NULL, NULL);
}
