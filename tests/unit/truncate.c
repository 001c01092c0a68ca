/* SPDX-License-Identifier: BSD-2-Clause */
/* Truncation under a pin. */
#include "write-world.h"

/* A pinned page that left its file keeps its memory, cannot be marked dirty, and is not written. */
static void test_pinned_past_the_end(void **state)
{
	static struct world world;
	struct folio *folio;
	void *page;

	(void)state;
	world_begin(&world, 64, 0);
	memset(world.model, 'a', 3 * PAGE);
	assert_int_equal(folio_file_write(world.file, world.model, 3 * PAGE, 0), 3 * PAGE);
	assert_int_equal(folio_file_get_page(world.file, 2, 0, &folio, &page), 0);
	assert_int_equal(folio_file_truncate(world.file, PAGE + 5), 0);
	assert_int_equal(((char *)page)[7], 'a');
	assert_int_equal(folio_lock(folio), -ENODATA);
	folio_put(folio);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	world.size = PAGE + 5;
	check_file(&world);
	world_end(&world);
}

static void test_arguments(void **state)
{
	static struct world world;

	(void)state;
	world_begin(&world, 64, 0);
	assert_int_equal(folio_file_write(world.file, "abc", 3, 0), 3);
	assert_int_equal(folio_file_truncate(NULL, 0), -EINVAL);
	assert_int_equal(folio_file_truncate(world.file, UINT64_MAX), -EFBIG);
	assert_int_equal(folio_file_truncate(world.file, (uint64_t)INT64_MAX + 1), -EFBIG);
	assert_int_equal(folio_file_punch(NULL, 0, 1), -EINVAL);
	assert_int_equal(folio_file_punch(world.file, UINT64_MAX, 1), -EINVAL);
	assert_int_equal(folio_file_punch(world.file, 1, UINT64_MAX), -EINVAL);
	assert_int_equal(folio_file_size(world.file), 3);
	/* Past the end there is nothing to do. */
	assert_int_equal(folio_file_punch(world.file, 3, UINT64_MAX - 3), 0);
	memcpy(world.model, "abc", 3);
	world.size = 3;
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	check_file(&world);
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pinned_past_the_end),
		cmocka_unit_test(test_arguments),
	};

	test_begin("truncate");
	return cmocka_run_group_tests_name("truncate", tests, NULL, NULL);
}
