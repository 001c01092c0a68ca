/* SPDX-License-Identifier: BSD-2-Clause */
/* Arguments of the reading calls, and reads at and past the end of a file. */
#include "fault-world.h"

static void test_arguments(void **state)
{
	struct folio_range range = {0, PAGE};
	struct folio *folio = NULL;
	struct world world;
	void *page;
	char buf[64];

	(void)state;
	world_begin(&world, 64, 0, 10 * PAGE);
	assert_int_equal(folio_file_read(NULL, buf, sizeof(buf), 0), -EINVAL);
	assert_int_equal(folio_file_read(world.file, NULL, sizeof(buf), 0), -EINVAL);
	assert_int_equal(folio_file_read(world.file, NULL, 0, 0), 0);
	assert_int_equal(folio_file_read(world.file, buf, 0, 5), 0);
	assert_int_equal(folio_file_read(world.file, buf, SIZE_MAX, 0), -EINVAL);
	assert_int_equal(folio_file_read(world.file, buf, 1, INT64_MAX), -EINVAL);
	assert_int_equal(folio_file_read(world.file, buf, 1, UINT64_MAX), -EINVAL);
	assert_int_equal(folio_file_read(world.file, buf, 64, INT64_MAX - 63), -EINVAL);
	assert_int_equal(folio_file_read(world.file, buf, 64, INT64_MAX - 64), 0);
	assert_int_equal(folio_file_read_nowait(NULL, buf, sizeof(buf), 0), -EINVAL);
	assert_int_equal(folio_file_read_nowait(world.file, NULL, sizeof(buf), 0), -EINVAL);
	assert_int_equal(folio_file_get(NULL, 0, 0, &folio), -EINVAL);
	assert_int_equal(folio_file_get(world.file, 0, 0, NULL), -EINVAL);
	assert_int_equal(folio_file_get_page(world.file, 0, 0, &folio, NULL), -EINVAL);
	assert_int_equal(folio_file_get_page(world.file, 0, 0, NULL, &page), -EINVAL);
	assert_int_equal(folio_file_get(world.file, 0, 2, &folio), -EINVAL);
	assert_int_equal(folio_file_get(world.file, 10, 0, &folio), -ENODATA);
	assert_int_equal(folio_file_get(world.file, UINT64_MAX, 0, &folio), -ENODATA);
	assert_null(folio);
	assert_int_equal(folio_file_prefetch(NULL, &range, 1), -EINVAL);
	assert_int_equal(folio_file_prefetch(world.file, NULL, 1), -EINVAL);
	assert_int_equal(folio_file_prefetch(world.file, NULL, 0), 0);
	assert_int_equal(folio_file_advise(NULL, FOLIO_ADVICE_NORMAL), -EINVAL);
	assert_int_equal(folio_file_advise(world.file, (enum folio_advice)77), -EINVAL);
	assert_int_equal(folio_file_invalidate(NULL, 0, 1), -EINVAL);
	assert_int_equal(folio_file_invalidate(world.file, UINT64_MAX - 5, 7), -EINVAL);
	assert_int_equal(folio_file_invalidate(world.file, UINT64_MAX - 5, UINT64_MAX), 0);
	assert_int_equal(folio_file_invalidate(world.file, 0, 0), 0);
	assert_int_equal(folio_file_revalidate(NULL), -EINVAL);
	assert_int_equal(folio_file_size(NULL), 0);
	assert_int_equal(folio_cache_stats(NULL, NULL), -EINVAL);
	assert_int_equal(folio_cache_stats(world.cache, NULL), -EINVAL);
	world_end(&world);
}

static void test_ends(void **state)
{
	static const uint64_t sizes[] = {
		0, 1, 63, 64, 65, 4095, 4096, 4097, 8191, 8192, 3 * 4096 + 100};
	char buf[5 * FOLIO_PAGE_SIZE];
	unsigned s;

	(void)state;
	for (s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		uint64_t size = sizes[s], offset, index;
		struct world world;

		world_begin(&world, 64, 0, size);
		assert_int_equal(folio_file_size(world.file), size);
		for (offset = 0; offset < size + 70; offset += 1 + offset % 61) {
			uint64_t expected = offset < size ? size - offset : 0;

			assert_int_equal(
				folio_file_read(world.file, buf, sizeof(buf), offset), expected);
			assert_true(
				io_fault_check(world.contents, offset, buf, expected, NULL, NULL));
			if (expected > 64)
				expected = 64;
			assert_int_equal(folio_file_read(world.file, buf, 64, offset), expected);
			assert_true(
				io_fault_check(world.contents, offset, buf, expected, NULL, NULL));
		}
		for (index = 0; index < 5; index++) {
			struct folio *folio;
			char *page;
			uint64_t here, i;

			if (index * PAGE >= size) {
				assert_int_equal(
					folio_file_get(world.file, index, 0, &folio), -ENODATA);
				continue;
			}
			assert_int_equal(
				folio_file_get_page(world.file, index, 0, &folio, (void **)&page),
				0);
			here = size - index * PAGE < PAGE ? size - index * PAGE : PAGE;
			assert_true(io_fault_check(
				world.contents, index * PAGE, page, here, NULL, NULL));
			/* Past the end of the file are zeros, whatever the backend left there. */
			for (i = here; i < PAGE; i++)
				assert_int_equal(page[i], 0);
			folio_put(folio);
		}
		world_end(&world);
	}
}

static void expect_page(struct world *world, uint64_t index, bool by_pin)
{
	struct folio *folio;
	void *page;

	if (!by_pin) {
		expect_read(world, index * PAGE + 100, 64, 1);
		return;
	}
	assert_int_equal(folio_file_get_page(world->file, index, 0, &folio, &page), 0);
	assert_true(io_fault_check(world->contents, index * PAGE, page, 64, NULL, NULL));
	folio_put(folio);
}

/*
 * A file of the largest size: pages that are far apart, pages whose indices have the same lower
 * bits, and the last page.
 */
static void test_far(void **state)
{
	uint64_t size = INT64_MAX, random = test_seed, i;
	unsigned bit;
	struct world world;

	(void)state;
	world_begin(&world, 64, 0, size);
	for (i = 0; i < 300; i++)
		expect_read(&world, random_below(&random, size - 300), 300, 1);
	expect_read(&world, size - 5000, 5000, 1);
	expect_read(&world, 0, 5000, 1);
	for (bit = 16; bit < 51; bit++) {
		expect_page(&world, 7, bit % 2);
		expect_page(&world, 7 + (UINT64_C(1) << bit), bit % 2);
		expect_page(&world, 7 + (UINT64_C(1) << bit), bit % 2);
		expect_page(&world, 7, !(bit % 2));
		expect_page(&world, 7 + (UINT64_C(1) << bit), !(bit % 2));
	}
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_far),
	};

	test_begin("read");
	return cmocka_run_group_tests_name("read", tests, NULL, NULL);
}
