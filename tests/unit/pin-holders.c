/* SPDX-License-Identifier: BSD-2-Clause */
/* The holders that folio_cache_pins reports: place, thread and number of pins. */
#include "pins-test.h"

#include <folio/pin.h>

struct hand {
	struct world *world;
	struct folio *folio;
	pid_t thread;
	int line;
	int error;
	uint64_t index;
};

static void *take_one(void *arg)
{
	struct hand *hand = arg;

	hand->thread = gettid();
	hand->line = __LINE__ + 1;
	hand->error = folio_file_get(hand->world->file[0], hand->index, 0, &hand->folio);
	return NULL;
}

static void *put_one(void *arg)
{
	struct hand *hand = arg;

	folio_put(hand->folio);
	return NULL;
}

static void run(void *(*fn)(void *), struct hand *hand)
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, fn, hand), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
}

static struct folio_pin published;

static void *publish_one(void *arg)
{
	struct hand *hand = arg;

	hand->thread = gettid();
	hand->line = __LINE__ + 1;
	hand->error = folio_file_pin(hand->world->file[0], hand->index, 0, &published);
	return NULL;
}

/* A published pin has one holder, also if its thread has ended, and if it is converted. */
static void test_published(void **state)
{
	static struct world world;
	struct hand hand = {.world = &world, .index = 3};
	const struct folio_pinned *pinned;
	unsigned i;

	(void)state;
	world_begin(&world);
	assert_int_equal(folio_file_pin(world.file[0], FILE_PAGES, 0, &published), -ENODATA);
	/* Now the page is cached. */
	assert_int_equal(folio_file_pin(world.file[0], 3, 0, &published), 0);
	folio_unpin(&published);
	for (i = 0; i < 2; i++) {
		run(publish_one, &hand);
		assert_int_equal(hand.error, 0);
		assert_non_null(published.slot);
		pinned = the_one(&world, published.folio);
		assert_int_equal(pinned->references, 1);
		assert_int_equal(pinned->published, 1);
		assert_int_equal(pinned->unknown, 0);
		assert_int_equal(pinned->holders, 1);
		check_holder(pinned, 0, hand.line, hand.thread, 1);
		if (i) {
			assert_int_equal(folio_pin_convert(&published), 0);
			pinned = the_one(&world, published.folio);
			assert_int_equal(pinned->published, 0);
			assert_int_equal(pinned->holders, 1);
			check_holder(pinned, 0, hand.line, hand.thread, 1);
		}
		folio_unpin(&published);
		assert_int_equal(look(&world)->count, 0);
	}
	world_end(&world);
}

static void test_holders(void **state)
{
	static struct world world;
	struct hand hand = {.world = &world, .index = 3};
	const struct folio_pinned *pinned;
	struct folio *folio, *same;
	int line[4];
	void *page;
	unsigned i;

	(void)state;
	world_begin(&world);
	line[0] = __LINE__ + 1;
	assert_int_equal(folio_file_get_page(world.file[0], 3, 0, &folio, &page), 0);
	pinned = the_one(&world, folio);
	assert_int_equal(pinned->holders, 1);
	assert_int_equal(pinned->unknown, 0);
	check_holder(pinned, 0, line[0], gettid(), 1);

	/* Pins taken at the same place count as one holder; the latest place is first. */
	for (i = 0; i < 5; i++) {
		line[1] = __LINE__ + 1;
		assert_int_equal(folio_file_get(world.file[0], 3, 0, &same), 0);
		assert_ptr_equal(same, folio);
	}
	run(take_one, &hand);
	assert_int_equal(hand.error, 0);
	assert_ptr_equal(hand.folio, folio);
	pinned = the_one(&world, folio);
	assert_int_equal(pinned->holders, 3);
	check_holder(pinned, 0, hand.line, hand.thread, 1);
	check_holder(pinned, 1, line[1], gettid(), 5);
	check_holder(pinned, 2, line[0], gettid(), 1);

	/* A put takes away the latest pin of the same thread, if it has one. */
	line[2] = __LINE__ + 1;
	folio_get(folio);
	folio_put(folio);
	folio_put(folio);
	pinned = the_one(&world, folio);
	assert_int_equal(pinned->holders, 3);
	check_holder(pinned, 0, hand.line, hand.thread, 1);
	check_holder(pinned, 1, line[1], gettid(), 4);
	assert_true(line[2] > line[1]);
	for (i = 0; i < 5; i++)
		folio_put(folio);
	pinned = the_one(&world, folio);
	assert_int_equal(pinned->holders, 1);
	check_holder(pinned, 0, hand.line, hand.thread, 1);

	/* If it has none, of another thread. */
	folio_put(folio);
	assert_int_equal(look(&world)->count, 0);
	line[3] = __LINE__ + 1;
	assert_int_equal(folio_file_get(world.file[0], 3, 0, &hand.folio), 0);
	check_holder(the_one(&world, hand.folio), 0, line[3], gettid(), 1);
	run(put_one, &hand);
	assert_int_equal(look(&world)->count, 0);

	/* Pins whose place is not recorded, and a private folio. */
	assert_int_equal((folio_file_get)(world.file[0], 3, 0, &folio), 0);
	pinned = the_one(&world, folio);
	assert_int_equal(pinned->holders, 0);
	assert_int_equal(pinned->unknown, 1);
	line[0] = __LINE__ + 1;
	folio_get(folio);
	pinned = the_one(&world, folio);
	assert_int_equal(pinned->references, 2);
	assert_int_equal(pinned->unknown, 1);
	check_holder(pinned, 0, line[0], gettid(), 1);
	folio_put(folio);
	(folio_put)(folio);
	line[0] = __LINE__ + 1;
	assert_int_equal(folio_alloc(world.cache, 1, FOLIO_TYPE_PRIVATE, NULL, &folio), 0);
	check_holder(the_one(&world, folio), 0, line[0], gettid(), 1);
	folio_put(folio);
	/* Taken again at an earlier place, which is then the latest; the same line of two files. */
	line[0] = __LINE__ + 1;
	for (i = 0; i < 2; i++) {
		assert_int_equal(folio_file_get(world.file[0], 3, 0, &folio), 0);
		if (i == 0) {
			line[1] = __LINE__ + 1;
			folio_get(folio);
		}
	}
	check_holder(the_one(&world, folio), 0, line[0] + 1, gettid(), 2);
	check_holder(the_one(&world, folio), 1, line[1], gettid(), 1);
	for (i = 0; i < 2; i++) {
		folio_ref_get(&folio->ref);
		folio_pin_taken(folio, i ? "b.c" : "a.c", 7);
	}
	pinned = the_one(&world, folio);
	assert_int_equal(pinned->holders, 4);
	assert_string_equal(pinned->holder[0].file, "b.c");
	assert_string_equal(pinned->holder[1].file, "a.c");
	for (i = 0; i < 5; i++)
		folio_put(folio);
	/* With more records than references none is unknown. (A plain put does not record.) */
	for (i = 0; i < 3; i++)
		assert_int_equal(folio_file_get(world.file[0], 3, 0, &folio), 0);
	(folio_put)(folio);
	(folio_put)(folio);
	pinned = the_one(&world, folio);
	assert_int_equal(pinned->references, 1);
	assert_int_equal(pinned->holder[0].count, 3);
	assert_int_equal(pinned->unknown, 0);
	for (i = 0; i < 3; i++)
		folio_pin_put(folio);
	(folio_put)(folio);
	/* Calls that failed took no reference. */
	assert_int_equal(folio_file_get(world.file[0], FILE_PAGES, 0, &folio), -ENODATA);
	assert_int_equal(folio_alloc(world.cache, 99, FOLIO_TYPE_PRIVATE, NULL, &folio), -EINVAL);
	world_end(&world);
}

/*
 * More places, and more pins, than can be recorded: they are counted, and forgotten when they are
 * put.
 */
static void test_capacity(void **state)
{
	static struct world world;
	static struct folio *page[2 * FILE_PAGES];
	const struct folio_pinned *pinned;
	const struct reports *reports;
	unsigned i, k, known = 0, pins = 0;
	struct folio *folio;
	struct hand hand;

	(void)state;
	world_begin(&world);
	assert_int_equal((folio_file_get)(world.file[0], 0, 0, &folio), 0);
	for (i = 0; i < 40; i++) {
		folio_ref_get(&folio->ref);
		folio_pin_taken(folio, __FILE__, 1000 + (int)i);
	}
	pinned = the_one(&world, folio);
	assert_int_equal(pinned->references, 41);
	assert_int_equal(pinned->holders, FOLIO_HOLDERS_MAX);
	assert_int_equal(pinned->unknown, 41 - FOLIO_HOLDERS_MAX);
	check_holder(pinned, 0, 1039, gettid(), 1);
	for (i = 0; i < 40; i++)
		folio_put(folio);
	(folio_put)(folio);
	assert_int_equal(look(&world)->count, 0);

	for (i = 0; i < FILE_PAGES; i++) {
		assert_int_equal((folio_file_get)(world.file[0], i, 0, &page[i]), 0);
		for (k = 0; k < 10; k++, pins++) {
			folio_ref_get(&page[i]->ref);
			folio_pin_taken(page[i], __FILE__, (int)k);
		}
	}
	reports = look(&world);
	for (i = 0; i < reports->count; i++) {
		assert_int_equal(reports->one[i].pinned.references, 11);
		known += reports->one[i].pinned.references - reports->one[i].pinned.unknown;
	}
	assert_int_equal(reports->count, FILE_PAGES);
	assert_in_range(known, 1000, pins - 1);
	/* The list has no entry of the other thread, so its put removes none. */
	hand = (struct hand){.world = &world, .index = 0};
	pinned = of(reports, page[0]);
	assert_int_equal(pinned->holders, 10);
	run(take_one, &hand);
	assert_ptr_equal(hand.folio, page[0]);
	run(put_one, &hand);
	assert_int_equal(of(look(&world), page[0])->holders, 10);
	for (i = 0; i < FILE_PAGES; i++) {
		for (k = 0; k < 10; k++)
			folio_put(page[i]);
		(folio_put)(page[i]);
	}
	assert_int_equal(look(&world)->count, 0);
	/* There is space again, for more folios than there are chains. */
	for (i = 0; i < 2 * FILE_PAGES; i++)
		assert_int_equal(folio_file_get(world.file[i & 1], i / 2, 0, &page[i]), 0);
	reports = look(&world);
	assert_int_equal(reports->count, 2 * FILE_PAGES);
	for (i = 0; i < reports->count; i++) {
		assert_int_equal(reports->one[i].pinned.holders, 1);
		assert_int_equal(reports->one[i].pinned.unknown, 0);
	}
	for (i = 0; i < 2 * FILE_PAGES; i++)
		folio_put(page[i]);
	world_end(&world);
}

/*
 * Put by another thread than the one that took them, more pins than can be recorded: no record
 * stays behind.
 */
static void *put_many(void *arg)
{
	struct folio **page = arg;
	unsigned i, k;

	for (i = 0; i < FILE_PAGES; i++)
		for (k = 0; k < 5; k++)
			folio_put(page[i]);
	return NULL;
}

static void pin_many(struct world *world, struct folio *page[2 * FILE_PAGES])
{
	unsigned i;

	for (i = 0; i < 2 * FILE_PAGES; i++)
		assert_int_equal((folio_file_get)(world->file[i & 1], i / 2, 0, &page[i]), 0);
}

static void check_unknown(struct world *world)
{
	const struct reports *reports = look(world);
	unsigned i;

	assert_int_equal(reports->count, 2 * FILE_PAGES);
	for (i = 0; i < reports->count; i++) {
		assert_int_equal(reports->one[i].pinned.references, 1);
		assert_int_equal(reports->one[i].pinned.holders, 0);
	}
}

static void test_put_by_another_thread(void **state)
{
	static struct world world;
	static struct folio *page[2 * FILE_PAGES];
	pthread_t thread;
	unsigned i, k;

	(void)state;
	world_begin(&world);
	pin_many(&world, page);
	for (i = 0; i < 2 * FILE_PAGES; i++)
		for (k = 0; k < 5; k++) {
			folio_ref_get(&page[i]->ref);
			folio_pin_taken(page[i], __FILE__, (int)k);
		}
	assert_int_equal(pthread_create(&thread, NULL, put_many, page), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	for (i = FILE_PAGES; i < 2 * FILE_PAGES; i++)
		for (k = 0; k < 5; k++)
			folio_put(page[i]);
	check_unknown(&world);
	/*
	 * Pins that were not recorded are forgotten too: a put of another thread's pin removes it.
	 */
	for (i = 0; i < 2 * FILE_PAGES; i++)
		folio_get(page[i]);
	for (i = 0; i < 2 * FILE_PAGES; i++) {
		struct hand hand = {.folio = page[i]};

		if (i % 20 == 0)
			run(put_one, &hand);
		else
			folio_put(page[i]);
	}
	check_unknown(&world);
	for (i = 0; i < 2 * FILE_PAGES; i++)
		(folio_put)(page[i]);
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_holders),
		cmocka_unit_test(test_published),
		cmocka_unit_test(test_capacity),
		cmocka_unit_test(test_put_by_another_thread),
	};

	test_begin("pin-holders");
	return cmocka_run_group_tests_name("pin-holders", tests, NULL, NULL);
}
