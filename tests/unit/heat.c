/* SPDX-License-Identifier: BSD-2-Clause */
/* The heat of a page: which reads make it warm or hot, and which belong to one pass. */
#include "fault-world.h"

/* The heat word at both ends of the largest folio, at any offset of a file. */
static void test_heat_word(void **state)
{
	const uint64_t end = FOLIO_BYTES_MAX, far = UINT64_MAX / 2 + 1 - FOLIO_BYTES_MAX;
	uint32_t word;

	(void)state;
	assert_int_equal(heat_after(HEAT_COLD, 0, 1) & HEAT_MASK, HEAT_COLD);
	/* Reading the last bytes again counts: they did not end at 0. */
	word = heat_after(HEAT_COLD, end - 8, 8);
	assert_int_equal(word & HEAT_MASK, HEAT_COLD);
	assert_int_equal(heat_after(word, end - 8, 8) & HEAT_MASK, HEAT_WARM);
	assert_int_equal(heat_after(word, 0, 8) & HEAT_MASK, HEAT_WARM);
	/* The complete folio at once. */
	word = heat_after(HEAT_COLD, far, FOLIO_BYTES_MAX);
	assert_int_equal(heat_after(word, far, FOLIO_BYTES_MAX) & HEAT_MASK, HEAT_WARM);
	/* Forward, and back. */
	word = heat_after(HEAT_WARM, far, 100);
	word = heat_after(word, far + 100, 1);
	assert_int_equal(word & HEAT_MASK, HEAT_WARM);
	word = heat_after(word, far + 100, 1);
	assert_int_equal(word & HEAT_MASK, HEAT_HOT);
	assert_false(heat_wants_touch(word));
	/* The mark of a file's hand is no offset, and the next read removes it. */
	word = heat_after(HEAT_COLD | HEAT_PASSED, 100, 8);
	assert_int_equal(word, heat_after(HEAT_COLD, 100, 8));
	assert_int_equal(heat_after(word | HEAT_PASSED, 108, 8) & HEAT_MASK, HEAT_COLD);
	assert_true(heat_is_untouched(HEAT_COLD | HEAT_PASSED));
	assert_false(heat_is_untouched(word));
	assert_true(heat_wants_touch(HEAT_MARK));
	/* The first read of a folio that was read ahead, wherever it ends, and the second. */
	assert_true(heat_wants_touch(HEAT_WORD_AHEAD) && heat_is_unused(HEAT_WORD_AHEAD));
	word = heat_after(HEAT_WORD_AHEAD, end - 8, 8);
	assert_int_equal(word & HEAT_MASK, HEAT_COLD);
	assert_false(heat_is_unused(word));
	assert_int_equal(heat_after(word, end - 8, 8) & HEAT_MASK, HEAT_WARM);
}

struct waiter {
	pthread_t thread;
	struct world *world;
	uint64_t page;
	ssize_t result;
};

static void *wait_for_page(void *arg)
{
	struct waiter *waiter = arg;
	char buf[64];

	waiter->result =
		folio_file_read(waiter->world->file, buf, sizeof(buf), waiter->page * PAGE);
	return NULL;
}

/* A page that was read once is cold, whether that read, a longer one or a prefetch fetched it. */
static void test_read_once_is_cold(void **state)
{
	const struct folio_range range = {.offset = 11 * PAGE, .len = 1}, late = {21 * PAGE, 1};
	struct waiter waiter;
	struct world world;
	unsigned i;

	(void)state;
	world_begin(&world, 64, FOLIO_CACHE_NO_READAHEAD, 100 * PAGE);
	expect_read(&world, 7 * PAGE, 64, 1);
	/* Two folios: the second has an even number. */
	expect_read(&world, 9 * PAGE, 2 * PAGE, 1);
	assert_int_equal(folio_file_prefetch(world.file, &range, 1), 1);
	io_fault_wait_idle(world.io);
	expect_read(&world, 11 * PAGE, 64, 1);
	/* Also when a reader waits for the page. */
	io_fault_hold(world.io);
	assert_int_equal(folio_file_prefetch(world.file, &late, 1), 1);
	waiter = (struct waiter){.world = &world, .page = 21};
	assert_int_equal(pthread_create(&waiter.thread, NULL, wait_for_page, &waiter), 0);
	/* The references of the tree, the filler and the reader. */
	wait_until(page_references(world.file, 21) == 3);
	io_fault_release(world.io, UINT64_MAX);
	pthread_join(waiter.thread, NULL);
	assert_int_equal(waiter.result, 64);
	assert_int_equal(page_heat(world.file, 21), HEAT_COLD);
	for (i = 7; i <= 11; i++)
		if (i != 8)
			assert_int_equal(page_heat(world.file, i), HEAT_COLD);
	world_end(&world);
}

static void pin_page(struct world *world, uint64_t index)
{
	struct folio *folio;

	assert_int_equal(folio_file_get(world->file, index, 0, &folio), 0);
	folio_put(folio);
}

/* One pass over the pages from @first on, in pieces of @len bytes, or by pins if it is 0. */
static void pass(struct world *world, uint64_t first, uint64_t pages, uint64_t len)
{
	uint64_t offset = first * PAGE, end = offset + pages * PAGE;

	for (; offset < end; offset += len ? len : PAGE)
		if (len)
			expect_read(world, offset, len, 1);
		else
			pin_page(world, offset / PAGE);
}

/*
 * A reader that continues where the last reading of a folio ended is still in the same pass; one
 * that reads a part again is in a new pass.
 */
static void test_passes_heat(void **state)
{
	/* A page whose first piece is a miss; prefetched pages, in a folio of 16. */
	static const struct {
		uint64_t first, pages, len;
	} passes[] = {{7, 1, 64}, {9, 1, 200}, {11, 1, PAGE / 4}, {13, 1, 0}, {16, 16, PAGE},
		{32, 16, 4 * PAGE}, {64, 16, 64}, {96, 16, 0}};
	struct world world;
	unsigned i;

	(void)state;
	world_begin(&world, 256, FOLIO_CACHE_NO_READAHEAD, 200 * PAGE);
	for (i = 0; i < sizeof(passes) / sizeof(passes[0]); i++) {
		uint64_t first = passes[i].first, pages = passes[i].pages, len = passes[i].len;
		const struct folio_range range = {.offset = first * PAGE, .len = pages * PAGE};

		if (pages > 1) {
			assert_int_equal(folio_file_prefetch(world.file, &range, 1), pages);
			io_fault_wait_idle(world.io);
		}
		pass(&world, first, pages, len);
		assert_int_equal(page_heat(world.file, first), HEAT_COLD);
		pass(&world, first, pages, len);
		assert_int_equal(page_heat(world.file, first), HEAT_WARM);
		pass(&world, first, pages, len);
		assert_int_equal(page_heat(world.file, first), HEAT_HOT);
	}
	/*
	 * The same few bytes several times, also the last ones of a folio and the first ones of the
	 * file.
	 */
	for (i = 0; i < 3; i++) {
		expect_read(&world, 0, 8, 1);
		expect_read(&world, 41 * PAGE - 8, 8, 1);
	}
	assert_int_equal(page_heat(world.file, 0), HEAT_HOT);
	assert_int_equal(page_heat(world.file, 40), HEAT_HOT);
	world_end(&world);
}

/* A pass counts once, however many pages a folio has. */
static void test_every_order(void **state)
{
	struct world world;
	uint64_t n;

	(void)state;
	world_begin(&world, 32 * 256, FOLIO_CACHE_NO_READAHEAD, 600 * PAGE);
	for (n = 1; n <= 256; n *= 2) {
		const struct folio_range range = {.offset = n * PAGE, .len = n * PAGE};
		unsigned heat;

		assert_int_equal(folio_file_prefetch(world.file, &range, 1), n);
		io_fault_wait_idle(world.io);
		assert_ptr_equal(tree_load(&world.file->inode->tree, n),
			tree_load(&world.file->inode->tree, 2 * n - 1));
		for (heat = HEAT_COLD; heat <= HEAT_HOT; heat++) {
			pass(&world, n, n, n % 2 ? 64 : PAGE);
			assert_int_equal(page_heat(world.file, n), heat);
		}
	}
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_heat_word),
		cmocka_unit_test(test_read_once_is_cold),
		cmocka_unit_test(test_passes_heat),
		cmocka_unit_test(test_every_order),
	};

	test_begin("heat");
	return cmocka_run_group_tests_name("heat", tests, NULL, NULL);
}
