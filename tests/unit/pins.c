/* SPDX-License-Identifier: BSD-2-Clause */
/* folio_cache_pins reports each pin of the program, and no reference of the cache. */
#include "pins-test.h"

#include <sys/wait.h>

static void test_arguments(void **state)
{
	static struct world world;

	(void)state;
	world_begin(&world);
	assert_int_equal(folio_cache_pins(NULL, NULL, NULL), -EINVAL);
	assert_int_equal(folio_cache_pins_print(NULL, stdout), -EINVAL);
	assert_int_equal(folio_cache_pins_print(world.cache, NULL), -EINVAL);
	assert_int_equal(folio_cache_pins(world.cache, NULL, NULL), 0);
	assert_int_equal(look(&world)->count, 0);
	world_end(&world);
}

/* One pin of each kind; folios that are only cached, clean or dirty, are not reported. */
static void test_kinds(void **state)
{
	static char buf[64 * FOLIO_PAGE_SIZE];
	static struct world world;
	const struct folio_pinned *pinned;
	struct folio *small, *large, *dirty, *placed, *dropped, *private, *own;
	const struct reports *reports;
	unsigned i;

	(void)state;
	world_begin(&world);
	/* A folio of 64 pages, and others that are not pinned. */
	assert_int_equal(folio_file_read(world.file[0], buf, 64 * PAGE, 64 * PAGE), 64 * PAGE);
	assert_int_equal(folio_file_read(world.file[0], buf, 64 * PAGE, 128 * PAGE), 64 * PAGE);
	assert_int_equal(folio_file_write(world.file[1], buf, 64 * PAGE, 0), 64 * PAGE);
	assert_int_equal(folio_file_write(world.file[1], buf, 10, 300 * PAGE), 10);
	assert_int_equal(look(&world)->count, 0);

	assert_int_equal(folio_file_get(world.file[0], 7, 0, &small), 0);
	assert_int_equal(get_unsplit(world.file[0], 100, &large), 0);
	assert_int_equal(folio_order(large), 6);
	for (i = 0; i < 3; i++)
		folio_get(large);
	assert_int_equal(folio_file_get(world.file[1], 300, 0, &dirty), 0);
	assert_int_equal(folio_file_get(world.file[1], 301, 0, &placed), 0);
	assert_int_equal(folio_lock(placed), 0);
	assert_int_equal(folio_mark_dirty(placed, 1), 0);
	folio_unlock(placed);
	assert_int_equal(folio_file_get(world.file[0], 9, 0, &dropped), 0);
	assert_int_equal(folio_file_invalidate(world.file[0], 9 * PAGE, PAGE), 0);
	assert_int_equal(folio_alloc(world.cache, 3, FOLIO_TYPE_PRIVATE, NULL, &private), 0);
	assert_int_equal(folio_alloc(world.cache, 0, world.own_type, &world, &own), 0);
	folio_get(own);

	reports = look(&world);
	assert_int_equal(reports->count, 7);
	assert_int_equal(folio_cache_pins(world.cache, NULL, NULL), 7);

	pinned = of(reports, small);
	assert_non_null(pinned);
	assert_string_equal(pinned->type, "file");
	assert_true(!pinned->own && pinned->in_file && !pinned->dirty && !pinned->writeback);
	assert_int_equal(pinned->device, world.stat[0].st_dev);
	assert_int_equal(pinned->inode, world.stat[0].st_ino);
	assert_int_equal(pinned->index, 7);
	assert_int_equal(pinned->order, 0);
	assert_int_equal(pinned->references, 1);

	pinned = of(reports, large);
	assert_non_null(pinned);
	assert_true(pinned->in_file && !pinned->dirty);
	assert_int_equal(pinned->index, 64);
	assert_int_equal(pinned->order, 6);
	assert_int_equal(pinned->references, 4);

	pinned = of(reports, dirty);
	assert_non_null(pinned);
	assert_true(pinned->in_file && pinned->dirty && !pinned->writeback);
	assert_int_equal(pinned->inode, world.stat[1].st_ino);
	assert_int_equal(pinned->index, 300);
	assert_int_equal(pinned->references, 1);

	pinned = of(reports, placed);
	assert_non_null(pinned);
	assert_true(pinned->in_file && pinned->dirty);
	assert_int_equal(pinned->index, 301);
	assert_int_equal(pinned->references, 1);

	pinned = of(reports, dropped);
	assert_non_null(pinned);
	assert_true(!pinned->own && !pinned->in_file && !pinned->dirty);
	assert_int_equal(pinned->inode, 0);
	assert_int_equal(pinned->index, 9);
	assert_int_equal(pinned->references, 1);

	pinned = of(reports, private);
	assert_non_null(pinned);
	assert_true(pinned->own && !pinned->in_file);
	assert_string_equal(pinned->type, "private");
	assert_null(pinned->owner);
	assert_int_equal(pinned->order, 3);
	assert_int_equal(pinned->references, 1);

	pinned = of(reports, own);
	assert_non_null(pinned);
	assert_true(pinned->own);
	assert_string_equal(pinned->type, "btree");
	assert_ptr_equal(pinned->owner, &world);
	assert_int_equal(pinned->references, 2);

	/* Clean again: without the reference of the dirty state there is still one pin. */
	assert_int_equal(folio_file_sync(world.file[1], NULL, 0), 0);
	reports = look(&world);
	assert_int_equal(reports->count, 7);
	assert_false(of(reports, dirty)->dirty);
	assert_int_equal(of(reports, dirty)->references, 1);

	folio_put(small);
	for (i = 0; i < 3; i++)
		folio_put(large);
	folio_put(dirty);
	folio_put(own);
	folio_put(private);
	reports = look(&world);
	assert_int_equal(reports->count, 4);
	assert_int_equal(of(reports, large)->references, 1);
	assert_int_equal(of(reports, own)->references, 1);
	folio_put(large);
	folio_put(placed);
	folio_put(dropped);
	folio_put(own);
	wait_until(folio_u32_load_acquire(&world.released) == 1);
	world_end(&world);
}

static void *sync_file(void *arg)
{
	struct world *world = arg;

	return (void *)(intptr_t)folio_file_sync(world->file[0], NULL, 0);
}

/* In flight to the file: the cache holds two references, as before. */
static void test_writeback(void **state)
{
	static struct world world;
	const struct folio_pinned *pinned;
	struct folio *folio;
	char *text = NULL;
	pthread_t thread;
	size_t size = 0;
	FILE *stream;
	void *result;

	(void)state;
	world_begin(&world);
	assert_int_equal(folio_file_write(world.file[0], "abcd", 4, 5 * PAGE), 4);
	assert_int_equal(folio_file_write(world.file[0], "abcd", 4, 6 * PAGE), 4);
	assert_int_equal(folio_file_get(world.file[0], 5, 0, &folio), 0);
	pthread_mutex_lock(&world.gate);
	assert_int_equal(pthread_create(&thread, NULL, sync_file, &world), 0);
	wait_until(folio_u32_load_acquire(&world.at_gate) == 1);
	pinned = the_one(&world, folio);
	assert_true(pinned->writeback && !pinned->dirty);
	assert_int_equal(pinned->references, 1);
	stream = open_memstream(&text, &size);
	assert_non_null(stream);
	assert_int_equal(folio_cache_pins_print(world.cache, stream), 1);
	fclose(stream);
	assert_non_null(strstr(text, "page 5, order 0: 1 references, being written\n"));
	free(text);
	pthread_mutex_unlock(&world.gate);
	assert_int_equal(pthread_join(thread, &result), 0);
	assert_ptr_equal(result, NULL);
	pinned = the_one(&world, folio);
	assert_true(!pinned->writeback && !pinned->dirty);
	folio_put(folio);
	world_end(&world);
}

/* A read in flight is not a pin, nor is one that failed. */
static void test_fill(void **state)
{
	struct io_fault *io = io_fault_new(test_seed, 2);
	struct io_fault_file *contents = io_fault_add(io, "a", 100 * PAGE);
	struct folio_cache *cache = cache_open(256, FOLIO_CACHE_NO_READAHEAD, io);
	struct folio_file *file = file_open(cache, "a");
	struct folio_range range = {.offset = 0, .len = 20 * PAGE};
	struct folio *folio;

	(void)state;
	io_fault_fail_range(contents, 50 * PAGE, PAGE, EIO);
	assert_int_equal(folio_file_get(file, 50, 0, &folio), -EIO);
	assert_int_equal(folio_cache_pins(cache, NULL, NULL), 0);
	io_fault_hold(io);
	assert_int_equal(folio_file_prefetch(file, &range, 1), 20);
	io_fault_wait_held(io, 1);
	assert_int_equal(folio_cache_pins(cache, NULL, NULL), 0);
	io_fault_release(io, UINT64_MAX);
	io_fault_wait_idle(io);
	assert_int_equal(folio_cache_pins(cache, NULL, NULL), 0);
	assert_int_equal(folio_file_close(file), 0);
	assert_int_equal(folio_cache_close(cache), 0);
	io_fault_free(io);
}

/* Folios of the own type that exist, more or less. */
#define REAPED 50

static folio_u32 own_taken; /* folios of the own type */

/*
 * A folio of the own type is pinned until the reaper has released it. If the reaper has no
 * processor for a while, a test must not hand over all of the memory to it: it gets -ENOMEM then,
 * and the evictor's references are in the reports.
 */
static unsigned random_type(uint64_t *random, struct world *world)
{
	if (random_below(random, 2) ||
		folio_u32_load_relaxed(&own_taken) - folio_u32_load_relaxed(&world->released) >
			REAPED)
		return FOLIO_TYPE_PRIVATE;
	folio_u32_fetch_add_relaxed(&own_taken, 1);
	return world->own_type;
}

/* Random pins, compared with a plain list. */
#define PINS 60

static void test_random(void **state)
{
	static char buf[40 * FOLIO_PAGE_SIZE];
	static struct world world;
	struct folio *pin[PINS] = {NULL};
	uint64_t random = test_seed;
	unsigned round, rounds = scaled(20000), i, n;

	(void)state;
	world_begin(&world);
	folio_u32_store_relaxed(&own_taken, 0);
	for (round = 0; round < rounds; round++) {
		struct folio_file *file = world.file[random_below(&random, 2)];
		uint64_t index = random_below(&random, FILE_PAGES - 40);
		uint64_t len = (1 + random_below(&random, 40)) * PAGE;
		const struct reports *reports;

		i = (unsigned)random_below(&random, PINS);
		n = (unsigned)random_below(&random, PINS);
		switch (random_below(&random, 12)) {
		case 0:
			folio_file_read(file, buf, len, index * PAGE);
			break;
		case 1:
			assert_int_equal(folio_file_write(file, buf, len, index * PAGE), len);
			break;
		case 2:
			assert_int_equal(folio_file_sync(file, NULL, 0), 0);
			break;
		case 3:
			assert_int_equal(folio_file_invalidate(file, index * PAGE, len), 0);
			break;
		case 4:
			if (!pin[i])
				assert_int_equal(
					folio_alloc(world.cache, (unsigned)random_below(&random, 4),
						random_type(&random, &world), buf, &pin[i]),
					0);
			break;
		case 5:
			if (!pin[i] && pin[n]) {
				pin[i] = pin[n];
				folio_get(pin[i]);
			}
			break;
		case 6:
			if (random_below(&random, 10) == 0) {
				assert_int_equal(folio_file_truncate(file, index * PAGE), 0);
				assert_int_equal(folio_file_truncate(file, FILE_PAGES * PAGE), 0);
			}
			break;
		case 7:
		case 8:
			if (!pin[i])
				assert_int_equal(folio_file_get(file, index, 0, &pin[i]), 0);
			break;
		default:
			if (pin[i])
				folio_put(pin[i]);
			pin[i] = NULL;
		}
		reports = look(&world);
		for (i = 0, n = 0; i < PINS; i++)
			n += pin[i] != NULL;
		for (i = 0; i < reports->count; i++) {
			const struct folio_pinned *pinned = &reports->one[i].pinned;
			unsigned mine = 0, k;

			for (k = 0; k < PINS; k++)
				mine += pin[k] == pinned->folio;
			assert_int_equal(pinned->references, mine);
			assert_int_equal(pinned->unknown, 0);
			assert_int_equal(pinned->index, folio_index(pinned->folio));
			n -= mine;
		}
		/* None is missing. */
		assert_int_equal(n, 0);
	}
	for (i = 0; i < PINS; i++)
		if (pin[i])
			folio_put(pin[i]);
	world_end(&world);
}

/* In a smaller budget, also pages of the larger one. */
static void test_resized(void **state)
{
	static struct folio *taken[CACHE_PAGES];
	static struct world world;
	unsigned i, n = 0;

	(void)state;
	world_begin(&world);
	while (n < CACHE_PAGES - 64 &&
		!folio_alloc(world.cache, 0, FOLIO_TYPE_PRIVATE, NULL, &taken[n]))
		n++;
	assert_int_equal(n, CACHE_PAGES - 64);
	for (i = 0; i < n - 20; i++)
		folio_put(taken[i]);
	assert_int_equal(folio_cache_resize(world.cache, 128 * PAGE), 0);
	assert_int_equal(look(&world)->count, 20);
	for (i = n - 20; i < n; i++) {
		assert_non_null(of(look(&world), taken[i]));
		folio_put(taken[i]);
	}
	world_end(&world);
}

/* A library whose counter checks itself (ref_debug) takes this many references for a leak. */
static void expect_misuse(const struct folio_ref *ref, const char *what, const char *file, int line)
{
	if (!strstr(what, "more references than FOLIO_REF_MAX"))
		abort();
}

/* A folio at the limit of references is left out, and the scan is no longer its holder. */
static void test_refused(void **state)
{
	folio_ref_misuse_fn *on_misuse = folio_ref_on_misuse;
	static struct world world;
	struct folio *folio;

	(void)state;
	world_begin(&world);
	assert_int_equal(folio_file_get(world.file[0], 3, 0, &folio), 0);
	folio_ref_on_misuse = expect_misuse;
	folio_u32_fetch_add_relaxed(&folio->ref.word, FOLIO_REF_MAX - 2);
	assert_int_equal(folio_cache_pins(world.cache, NULL, NULL), 0);
	assert_int_equal(folio_u32_load_relaxed(&world.cache->progress.holders), 0);
	folio_u32_fetch_sub_relaxed(&folio->ref.word, FOLIO_REF_MAX - 2);
	folio_ref_on_misuse = on_misuse;
	the_one(&world, folio);
	folio_put(folio);
	world_end(&world);
}

static bool put_it(const struct folio_pinned *pinned, void *context)
{
	unsigned *left = context;

	folio_put((struct folio *)pinned->folio);
	return --*left > 0;
}

/* The callback may use the cache, put the folio that is reported, and stop the scan. */
static void test_put_in_callback(void **state)
{
	static struct world world;
	unsigned i, left = 4;
	struct folio *folio;

	(void)state;
	world_begin(&world);
	for (i = 0; i < 10; i++)
		assert_int_equal(folio_file_get(world.file[0], i, 0, &folio), 0);
	assert_int_equal(folio_cache_pins(world.cache, put_it, &left), 4);
	assert_int_equal(left, 0);
	left = 100;
	assert_int_equal(folio_cache_pins(world.cache, put_it, &left), 6);
	assert_int_equal(left, 94);
	world_end(&world);
}

static void test_print(void **state)
{
	static struct world world;
	char *text = NULL, expected[1024];
	struct folio *folio, *large, *dropped;
	size_t size = 0;
	FILE *stream;
	int line;

	(void)state;
	world_begin(&world);
	assert_int_equal(folio_file_get(world.file[1], 9, 0, &dropped), 0);
	assert_int_equal(folio_file_invalidate(world.file[1], 9 * PAGE, PAGE), 0);
	folio_ref_get(&dropped->ref);
	line = __LINE__ + 1;
	assert_int_equal(folio_file_get(world.file[1], 42, 0, &folio), 0);
	assert_int_equal(folio_lock(folio), 0);
	assert_int_equal(folio_mark_dirty(folio, 1), 0);
	folio_unlock(folio);
	assert_int_equal((folio_alloc)(world.cache, 2, world.own_type, &world, &large), 0);
	assert_int_equal(folio_cache_close(world.cache), -EBUSY);
	stream = open_memstream(&text, &size);
	assert_non_null(stream);
	assert_int_equal(folio_cache_pins_print(world.cache, stream), 3);
	fclose(stream);
	snprintf(expected, sizeof(expected),
		"device %llu, inode %llu, page 42, order 0: 1 references, dirty\n"
		"  1 at %s:%d, thread %ld\n",
		(unsigned long long)world.stat[1].st_dev, (unsigned long long)world.stat[1].st_ino,
		__FILE__, line, (long)gettid());
	assert_non_null(strstr(text, expected));
	snprintf(expected, sizeof(expected), "btree, owner %p, order 2: 1 references\n",
		(void *)&world);
	assert_non_null(strstr(text, expected));
	assert_non_null(strstr(text, "dropped from its file, page 9, order 0: 2 references\n"));
	assert_non_null(strstr(text, "  1 of unknown origin\n"));
	assert_non_null(strstr(text, "3 folios of 6 pages are pinned by 4 references\n"));
	/* For the large folio, whose holders are unknown, no holder is printed. */
	snprintf(expected, sizeof(expected), "2: 1 references\n  ");
	assert_null(strstr(text, expected));
	free(text);
	folio_put(folio);
	(folio_put)(large);
	(folio_put)(dropped);
	folio_put(dropped);
	wait_until(folio_u32_load_acquire(&world.released) == 1);
	world_end(&world);
}

/* A child of fork puts the parent's pins; the parent's list has no meaning there. */
static void test_fork(void **state)
{
#if !defined(__SANITIZE_THREAD__)
	static struct world world;
	struct folio *folio;
	pid_t child;
	int status;

	world_begin(&world);
	assert_int_equal(folio_file_get(world.file[0], 1, 0, &folio), 0);
	child = fork();
	if (child == 0) {
		bool right = folio_cache_pins(world.cache, NULL, NULL) == -ESTALE;

		folio_get(folio);
		folio_put(folio);
		folio_put(folio);
		_exit(right ? 0 : 1);
	}
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_int_equal(the_one(&world, folio)->holders, 1);
	folio_put(folio);
	world_end(&world);
#endif
	(void)state;
}

#define THREADS 3
#define HELD    20
#define HOT     100 /* threads pin pages below HOT; pages from COLD on are never pinned */
#define COLD    300

struct busy {
	struct world *world;
	uint64_t seed;
	folio_u32 *stop;
	unsigned wrong;
};

static void *keep_busy(void *arg)
{
	struct busy *busy = arg;
	uint64_t random = busy->seed;
	struct folio *pin[8] = {NULL};
	char buf[200] = {0};
	unsigned i;

	while (!folio_u32_load_relaxed(busy->stop)) {
		struct folio_file *file = busy->world->file[random_below(&random, 2)];
		uint64_t index = random_below(&random, HOT);

		i = (unsigned)random_below(&random, 8);
		if (pin[i]) {
			folio_put(pin[i]);
			pin[i] = NULL;
			continue;
		}
		switch (random_below(&random, 8)) {
		case 0:
			busy->wrong += folio_file_write(file, buf, sizeof(buf), index * PAGE) !=
				       (ssize_t)sizeof(buf);
			break;
		case 1:
			busy->wrong += folio_file_invalidate(file, index * PAGE, PAGE) != 0;
			break;
		case 2:
			busy->wrong +=
				folio_alloc(busy->world->cache, (unsigned)random_below(&random, 3),
					random_type(&random, busy->world), NULL, &pin[i]) != 0;
			break;
		case 3:
			busy->wrong += folio_file_sync(file, NULL, 0) != 0;
			break;
		default:
			busy->wrong += folio_file_get(file, index, 0, &pin[i]) != 0;
		}
	}
	for (i = 0; i < 8; i++)
		if (pin[i])
			folio_put(pin[i]);
	return NULL;
}

static void test_threads(void **state)
{
	static char buf[(FILE_PAGES - COLD) * FOLIO_PAGE_SIZE];
	static struct world world;
	struct busy busy[THREADS];
	pthread_t thread[THREADS];
	struct folio *held[HELD];
	folio_u32 stop = 0;
	unsigned i, k, round, rounds = scaled(4000);
	int line = 0;

	(void)state;
	world_begin(&world);
	folio_u32_store_relaxed(&own_taken, 0);
	/* Cached, clean in one file and dirty in the other, and never pinned. */
	assert_int_equal(
		folio_file_read(world.file[0], buf, sizeof(buf), COLD * PAGE), sizeof(buf));
	assert_int_equal(
		folio_file_write(world.file[1], buf, sizeof(buf), COLD * PAGE), sizeof(buf));
	for (i = 0; i < HELD; i++) {
		line = __LINE__ + 1;
		assert_int_equal(folio_file_get(world.file[i & 1], i, 0, &held[i]), 0);
	}
	for (i = 0; i < THREADS; i++) {
		busy[i] = (struct busy){&world, test_seed + i, &stop, 0};
		assert_int_equal(pthread_create(&thread[i], NULL, keep_busy, &busy[i]), 0);
	}
	for (round = 0; round < rounds; round++) {
		const struct reports *reports = look(&world);

		for (i = 0; i < HELD; i++) {
			const struct folio_pinned *pinned = of(reports, held[i]);
			bool mine = false;

			assert_non_null(pinned);
			assert_int_equal(pinned->index, i);
			if (pinned->in_file)
				assert_int_equal(pinned->inode, world.stat[i & 1].st_ino);
			for (k = 0; k < pinned->holders; k++)
				mine = mine || (pinned->holder[k].line == line &&
						       pinned->holder[k].thread == gettid());
			assert_true(mine);
		}
		for (i = 0; i < reports->count; i++) {
			const struct folio_pinned *pinned = &reports->one[i].pinned;

			/*
			 * References of calls in progress: at most one for each thread, and one for
			 * each end of a write.
			 */
			if (pinned->in_file && pinned->index >= COLD) {
				assert_int_equal(pinned->holders, 0);
				assert_in_range(pinned->references, 1, THREADS + 1);
			}
			if (!pinned->own)
				assert_true(pinned->index < FILE_PAGES);
		}
	}
	folio_u32_store_relaxed(&stop, 1);
	for (i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(thread[i], NULL), 0);
		assert_int_equal(busy[i].wrong, 0);
	}
	/* The remaining pins are exact. */
	assert_int_equal(look(&world)->count, HELD);
	for (i = 0; i < HELD; i++) {
		const struct folio_pinned *pinned = of(look(&world), held[i]);

		assert_int_equal(pinned->references, 1);
		assert_int_equal(pinned->holders, 1);
		check_holder(pinned, 0, line, gettid(), 1);
		folio_put(held[i]);
	}
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_writeback),
		cmocka_unit_test(test_fill),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_resized),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_put_in_callback),
		cmocka_unit_test(test_print),
		cmocka_unit_test(test_fork),
		cmocka_unit_test(test_threads),
	};

	test_begin("pins");
	return cmocka_run_group_tests_name("pins", tests, NULL, NULL);
}
