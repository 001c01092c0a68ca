/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Published pins and peeks of several threads, while others evict, invalidate, truncate, split and
 * resize, and while the pinning threads end and new ones begin. Every page says which page it is:
 * from the pin to its end it must be the requested one.
 */
#include <pthread.h>
#include <unistd.h>

#include <folio/peek.h>
#include <folio/pin.h>

#include "cache-test.h"

enum { CACHE_PAGES = 512, FILE_PAGES = 2048, PINNERS = 4, WORDS = FOLIO_PAGE_SIZE / 8 };

/*
 * A write by copy to a page that is pinned is a race of the program, harmless here since it stores
 * what was there; the thread sanitizer would report it.
 */
#if defined(__SANITIZE_THREAD__)
#define WRITES false
#else
#define WRITES true
#endif

/* Each round has new threads. */
enum { ROUNDS = 8, PINS = 12500 };

static struct {
	struct folio_cache *cache;
	/* Of the first file nothing is lost; the second one is truncated and grows again. */
	struct folio_file *file[2];
	folio_u32 stop;
	folio_u64 pins, published, peeks, wrong;
} world;

static uint64_t label(unsigned file, uint64_t index)
{
	return (index + 1) * UINT64_C(0x9e3779b97f4a7c15) + file;
}

static void fill_page(uint64_t page[WORDS], unsigned file, uint64_t index)
{
	unsigned i;

	for (i = 0; i < WORDS; i++)
		page[i] = label(file, index);
}

/* A page of the second file may have lost its bytes, from any of them on. */
static bool is_right(const uint64_t *page, unsigned file, uint64_t index, unsigned at)
{
	return page[at] == label(file, index) || (file == 1 && page[at] == 0);
}

static void pin_and_check(uint64_t *random, const struct folio_view *view[2])
{
	unsigned file = random_below(random, 4) == 0, at = (unsigned)random_below(random, WORDS);
	uint64_t index = random_below(random, FILE_PAGES);
	struct folio_peek peek;
	struct folio_pin pin;
	const uint64_t *page;
	uint64_t word;
	int r;

	/* Half of the pins are of a few pages, which are always cached. */
	if (random_below(random, 2))
		index %= 32;
	page = folio_peek(view[file], index, &peek);
	if (page) {
		word = FOLIO_PEEK_LOAD(&page[at]);
		if (folio_peek_valid(&peek)) {
			folio_u64_fetch_add_relaxed(&world.peeks, 1);
			if (!is_right(&word, file, index, 0))
				folio_u64_fetch_add_relaxed(&world.wrong, 1);
		}
	}
	r = folio_file_pin(world.file[file], index, 0, &pin);
	if (r) {
		assert_true(r == -ENODATA && file == 1);
		return;
	}
	folio_u64_fetch_add_relaxed(&world.pins, 1);
	if (pin.slot)
		folio_u64_fetch_add_relaxed(&world.published, 1);
	page = pin.page;
	if (!is_right(page, file, index, at))
		folio_u64_fetch_add_relaxed(&world.wrong, 1);
	switch (random_below(random, 8)) {
	case 0:
		sched_yield();
		break;
	case 1:
		assert_int_equal(folio_pin_convert(&pin), 0);
		break;
	case 2:
	case 3:
		/* This evicts other pages. */
		assert_int_equal(folio_file_read(world.file[0], &word, sizeof(word),
					 random_below(random, FILE_PAGES) * PAGE),
			sizeof(word));
		break;
	}
	if (!is_right(page, file, index, WORDS - 1 - at))
		folio_u64_fetch_add_relaxed(&world.wrong, 1);
	folio_unpin(&pin);
}

static void *pinner(void *arg)
{
	const struct folio_view *view[2] = {NULL, NULL};
	uint64_t random = *(uint64_t *)arg;
	unsigned i;

	for (i = 0; i < 2; i++)
		assert_int_equal(folio_file_view(world.file[i], FOLIO_VIEW_LAYOUT, &view[i]), 0);
	for (i = 0; i < PINS; i++)
		pin_and_check(&random, view);
	return NULL;
}

/* Invalidates ranges, and writes what is there, page by page, which splits large folios. */
static void change_first(uint64_t *random)
{
	uint64_t index = random_below(random, FILE_PAGES), page[WORDS];
	uint64_t count = 1 + random_below(random, 32);

	if (count > FILE_PAGES - index)
		count = FILE_PAGES - index;
	if (!WRITES || random_below(random, 4)) {
		assert_int_equal(
			folio_file_invalidate(world.file[0], index * PAGE, count * PAGE), 0);
		return;
	}
	for (; count > 0; count--, index++) {
		fill_page(page, 0, index);
		assert_int_equal(folio_file_write(world.file[0], page, PAGE, index * PAGE), PAGE);
	}
}

static void change_second(uint64_t *random)
{
	uint64_t size = random_below(random, FILE_PAGES) * PAGE, page[WORDS], index;

	if (!WRITES)
		return;
	if (random_below(random, 8) == 0) {
		assert_int_equal(folio_file_truncate(world.file[1], size), 0);
		return;
	}
	index = random_below(random, FILE_PAGES);
	fill_page(page, 1, index);
	assert_int_equal(folio_file_write(world.file[1], page, PAGE, index * PAGE), PAGE);
}

static void *changer(void *arg)
{
	uint64_t random = *(uint64_t *)arg;
	char buf[64 * FOLIO_PAGE_SIZE];

	while (!folio_u32_load_acquire(&world.stop)) {
		uint64_t index = random_below(&random, FILE_PAGES - 64);
		int r;

		switch (random_below(&random, 8)) {
		case 0:
			r = folio_cache_resize(
				world.cache, (CACHE_PAGES - random_below(&random, 64)) * PAGE);
			assert_true(r == 0 || r == -EBUSY);
			break;
		case 1:
		case 2:
			/* A scan, with large folios. */
			assert_int_equal(
				folio_file_read(world.file[0], buf, sizeof(buf), index * PAGE),
				sizeof(buf));
			break;
		case 3:
		case 4:
			change_second(&random);
			break;
		default:
			change_first(&random);
		}
	}
	return NULL;
}

static void make(const char *path, unsigned number)
{
	uint64_t page[WORDS], index;

	assert_int_equal(folio_file_open(world.cache, path, O_RDWR | O_CREAT | O_TRUNC, 0600,
				 &world.file[number]),
		0);
	for (index = 0; index < FILE_PAGES; index++) {
		fill_page(page, number, index);
		assert_int_equal(
			folio_file_write(world.file[number], page, PAGE, index * PAGE), PAGE);
	}
}

static void test_race(void **state)
{
	char folder[] = "folio-pin-XXXXXX", path[2][64];
	uint64_t random = test_seed, seed[PINNERS + 1];
	pthread_t thread[PINNERS + 1];
	unsigned i, round, rounds = scaled(ROUNDS);

	(void)state;
	assert_non_null(mkdtemp(folder));
	world.cache = cache_open(CACHE_PAGES, FOLIO_CACHE_NO_HUGE_PAGES, NULL);
	for (i = 0; i < 2; i++) {
		snprintf(path[i], sizeof(path[i]), "%s/%u", folder, i);
		make(path[i], i);
	}
	seed[PINNERS] = random_next(&random);
	assert_int_equal(pthread_create(&thread[PINNERS], NULL, changer, &seed[PINNERS]), 0);
	for (round = 0; round < rounds; round++) {
		for (i = 0; i < PINNERS; i++) {
			seed[i] = random_next(&random);
			assert_int_equal(pthread_create(&thread[i], NULL, pinner, &seed[i]), 0);
		}
		for (i = 0; i < PINNERS; i++)
			pthread_join(thread[i], NULL);
	}
	folio_u32_store_release(&world.stop, 1);
	pthread_join(thread[PINNERS], NULL);
	print_message("# %lu pins, %lu of them published, %lu peeks, %lu wrong\n",
		(unsigned long)folio_u64_load_relaxed(&world.pins),
		(unsigned long)folio_u64_load_relaxed(&world.published),
		(unsigned long)folio_u64_load_relaxed(&world.peeks),
		(unsigned long)folio_u64_load_relaxed(&world.wrong));
	assert_int_equal(folio_u64_load_relaxed(&world.wrong), 0);
	assert_true(folio_u64_load_relaxed(&world.published) > 0);
	for (i = 0; i < 2; i++) {
		assert_int_equal(folio_file_close(world.file[i]), 0);
		unlink(path[i]);
	}
	rmdir(folder);
	assert_int_equal(folio_cache_close(world.cache), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_race),
	};

	test_begin("pin-race");
	return cmocka_run_group_tests_name("pin-race", tests, NULL, NULL);
}
