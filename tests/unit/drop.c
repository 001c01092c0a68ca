/* SPDX-License-Identifier: BSD-2-Clause */
/* Pages that leave their file. */
#include "fault-world.h"

static void test_invalidate(void **state)
{
	struct folio *folio;
	struct world world;
	uint64_t i, oldest, newest;
	void *page;

	(void)state;
	world_begin(&world, 256, FOLIO_CACHE_NO_READAHEAD, 100 * PAGE);
	expect_read(&world, 0, 100 * PAGE, 1);
	assert_int_equal(folio_file_get_page(world.file, 30, 0, &folio, &page), 0);
	io_fault_change(world.contents);
	expect_read(&world, 0, 100 * PAGE, 1);
	/* Drops the pages that the range touches and no others, except those in the same folio. */
	assert_int_equal(folio_file_invalidate(world.file, 30 * PAGE + 5, 1), 0);
	expect_read(&world, 30 * PAGE, PAGE, 2);
	assert_int_equal(folio_file_invalidate(world.file, 50 * PAGE - 1, 2), 0);
	expect_read(&world, 49 * PAGE, 2 * PAGE, 2);
	assert_int_equal(folio_file_invalidate(world.file, 0, UINT64_MAX), 0);
	for (i = 0; i < 100; i++)
		expect_read(&world, i * PAGE, PAGE, 2);
	/* A pin keeps its contents. */
	assert_true(io_fault_check(world.contents, 30 * PAGE, page, PAGE, &oldest, &newest));
	assert_int_equal(newest, 1);
	folio_put(folio);
	/* Revalidation drops pages once, after a change. */
	assert_int_equal(folio_file_revalidate(world.file), 1);
	assert_int_equal(folio_file_revalidate(world.file), 0);
	io_fault_change(world.contents);
	assert_int_equal(folio_file_revalidate(world.file), 1);
	assert_int_equal(folio_file_revalidate(world.file), 0);
	expect_read(&world, 0, 100 * PAGE, 3);
	io_fault_fail(world.io, IO_FAULT_GETATTR, 1, EIO);
	assert_int_equal(folio_file_revalidate(world.file), -EIO);
	assert_int_equal(folio_file_revalidate(world.file), 0);
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_invalidate),
	};

	test_begin("drop");
	return cmocka_run_group_tests_name("drop", tests, NULL, NULL);
}
