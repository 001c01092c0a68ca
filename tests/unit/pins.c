/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pins.c - what folio_cache_pins tells: each pin of the program's, nothing of the cache's own, and who took it where.
 */
#ifndef FOLIO_REF_DEBUG
#define FOLIO_REF_DEBUG
#endif

#include <pthread.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "cache-test.h"

#define FILE_PAGES  600
#define CACHE_PAGES 2048

struct world {
	struct folio_cache *cache;
	struct folio_file *file[2];
	struct stat stat[2];
	unsigned own_type;
	folio_u32 released;
	/* Write-back waits for it, when it is held. */
	pthread_mutex_t gate;
	folio_u32 at_gate;
};

static int pass_gate(void *context, uint64_t sequence)
{
	struct world *world = context;

	(void)sequence;
	folio_u32_fetch_add_release(&world->at_gate, 1);
	pthread_mutex_lock(&world->gate);
	pthread_mutex_unlock(&world->gate);
	return 0;
}

static void released(struct folio *folio, void *context)
{
	struct world *world = context;

	(void)folio;
	folio_u32_fetch_add_release(&world->released, 1);
}

/* Nothing happens in the cache but what the test does: no reading ahead, no writing by age. */
static void world_begin(struct world *world)
{
	struct folio_cache_params params = {
		.size = sizeof(params),
		.bytes = CACHE_PAGES * PAGE,
		.flags = FOLIO_CACHE_NO_HUGE_PAGES | FOLIO_CACHE_NO_READAHEAD,
		.dirty_bytes = CACHE_PAGES / 2 * PAGE,
		.dirty_age_ms = UINT32_MAX,
		.before_writeback = pass_gate,
		.before_writeback_context = world,
	};
	struct folio_type_params type = {
		.size = sizeof(type), .name = "btree", .release = released, .context = world};
	unsigned i;

	memset(world, 0, sizeof(*world));
	pthread_mutex_init(&world->gate, NULL);
	assert_int_equal(folio_cache_open(&params, &world->cache), 0);
	assert_int_equal(folio_type_register(world->cache, &type, &world->own_type), 0);
	for (i = 0; i < 2; i++) {
		char path[] = "folio-pins-XXXXXX";
		int fd = mkstemp(path);

		assert_true(fd >= 0);
		assert_int_equal(ftruncate(fd, FILE_PAGES * PAGE), 0);
		assert_int_equal(fstat(fd, &world->stat[i]), 0);
		close(fd);
		assert_int_equal(
			folio_file_open(world->cache, path, O_RDWR, 0, &world->file[i]), 0);
		unlink(path);
	}
}

static void world_end(struct world *world)
{
	unsigned i;

	assert_int_equal(folio_cache_pins(world->cache, NULL, NULL), 0);
	for (i = 0; i < 2; i++)
		assert_int_equal(folio_file_close(world->file[i]), 0);
	assert_int_equal(folio_cache_pins(world->cache, NULL, NULL), 0);
	assert_int_equal(folio_cache_close(world->cache), 0);
	pthread_mutex_destroy(&world->gate);
}

/* ---- what was told ---- */

#define TOLD_MAX CACHE_PAGES

struct told {
	unsigned count;
	struct {
		struct folio_pinned pinned;
		struct folio_holder holder[FOLIO_HOLDERS_MAX];
	} one[TOLD_MAX];
};

static bool remember(const struct folio_pinned *pinned, void *context)
{
	struct told *told = context;
	uint32_t i, known = 0;

	assert_int_equal(pinned->size, sizeof(*pinned));
	assert_true(told->count < TOLD_MAX);
	assert_true(pinned->references > 0);
	assert_true(pinned->holders <= FOLIO_HOLDERS_MAX);
	told->one[told->count].pinned = *pinned;
	for (i = 0; i < pinned->holders; i++) {
		told->one[told->count].holder[i] = pinned->holder[i];
		known += pinned->holder[i].count;
	}
	assert_true(pinned->unknown <= pinned->references);
	if (known <= pinned->references)
		assert_int_equal(known + pinned->unknown, pinned->references);
	told->one[told->count].pinned.holder = told->one[told->count].holder;
	told->count++;
	return true;
}

static struct told *look(struct world *world)
{
	static struct told told;
	ssize_t n;

	told.count = 0;
	n = folio_cache_pins(world->cache, remember, &told);
	assert_int_equal(n, told.count);
	return &told;
}

/* What was told of a folio; NULL: nothing. */
static const struct folio_pinned *of(const struct told *told, const struct folio *folio)
{
	unsigned i;

	for (i = 0; i < told->count; i++)
		if (told->one[i].pinned.folio == folio)
			return &told->one[i].pinned;
	return NULL;
}

/* The one that is told, of a single folio that is pinned. */
static const struct folio_pinned *the_one(struct world *world, const struct folio *folio)
{
	const struct told *told = look(world);

	assert_int_equal(told->count, 1);
	assert_ptr_equal(told->one[0].pinned.folio, folio);
	return &told->one[0].pinned;
}

static void check_holder(
	const struct folio_pinned *pinned, uint32_t which, int line, pid_t thread, uint32_t count)
{
	assert_true(which < pinned->holders);
	assert_string_equal(pinned->holder[which].file, __FILE__);
	assert_int_equal(pinned->holder[which].line, line);
	assert_int_equal(pinned->holder[which].thread, thread);
	assert_int_equal(pinned->holder[which].count, count);
}

/* ---- one thread ---- */

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

/* Of each kind one, and nothing of what is only cached, clean or dirty. */
static void test_kinds(void **state)
{
	static char buf[64 * FOLIO_PAGE_SIZE];
	static struct world world;
	const struct folio_pinned *pinned;
	struct folio *small, *large, *dirty, *placed, *dropped, *private, *own;
	const struct told *told;
	unsigned i;

	(void)state;
	world_begin(&world);
	/* A folio of 64 pages, and more that nobody pins. */
	assert_int_equal(folio_file_read(world.file[0], buf, 64 * PAGE, 64 * PAGE), 64 * PAGE);
	assert_int_equal(folio_file_read(world.file[0], buf, 64 * PAGE, 128 * PAGE), 64 * PAGE);
	assert_int_equal(folio_file_write(world.file[1], buf, 64 * PAGE, 0), 64 * PAGE);
	assert_int_equal(folio_file_write(world.file[1], buf, 10, 300 * PAGE), 10);
	assert_int_equal(look(&world)->count, 0);

	assert_int_equal(folio_file_get(world.file[0], 7, 0, &small), 0);
	assert_int_equal(folio_file_get(world.file[0], 100, 0, &large), 0);
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

	told = look(&world);
	assert_int_equal(told->count, 7);
	assert_int_equal(folio_cache_pins(world.cache, NULL, NULL), 7);

	pinned = of(told, small);
	assert_non_null(pinned);
	assert_string_equal(pinned->type, "file");
	assert_true(!pinned->own && pinned->in_file && !pinned->dirty && !pinned->writeback);
	assert_int_equal(pinned->device, world.stat[0].st_dev);
	assert_int_equal(pinned->inode, world.stat[0].st_ino);
	assert_int_equal(pinned->index, 7);
	assert_int_equal(pinned->order, 0);
	assert_int_equal(pinned->references, 1);

	pinned = of(told, large);
	assert_non_null(pinned);
	assert_true(pinned->in_file && !pinned->dirty);
	assert_int_equal(pinned->index, 64);
	assert_int_equal(pinned->order, 6);
	assert_int_equal(pinned->references, 4);

	pinned = of(told, dirty);
	assert_non_null(pinned);
	assert_true(pinned->in_file && pinned->dirty && !pinned->writeback);
	assert_int_equal(pinned->inode, world.stat[1].st_ino);
	assert_int_equal(pinned->index, 300);
	assert_int_equal(pinned->references, 1);

	pinned = of(told, placed);
	assert_non_null(pinned);
	assert_true(pinned->in_file && pinned->dirty);
	assert_int_equal(pinned->index, 301);
	assert_int_equal(pinned->references, 1);

	pinned = of(told, dropped);
	assert_non_null(pinned);
	assert_true(!pinned->own && !pinned->in_file && !pinned->dirty);
	assert_int_equal(pinned->inode, 0);
	assert_int_equal(pinned->index, 9);
	assert_int_equal(pinned->references, 1);

	pinned = of(told, private);
	assert_non_null(pinned);
	assert_true(pinned->own && !pinned->in_file);
	assert_string_equal(pinned->type, "private");
	assert_null(pinned->owner);
	assert_int_equal(pinned->order, 3);
	assert_int_equal(pinned->references, 1);

	pinned = of(told, own);
	assert_non_null(pinned);
	assert_true(pinned->own);
	assert_string_equal(pinned->type, "btree");
	assert_ptr_equal(pinned->owner, &world);
	assert_int_equal(pinned->references, 2);

	/* Clean again: without the dirty state's reference the pin is still one. */
	assert_int_equal(folio_file_sync(world.file[1], NULL, 0), 0);
	told = look(&world);
	assert_int_equal(told->count, 7);
	assert_false(of(told, dirty)->dirty);
	assert_int_equal(of(told, dirty)->references, 1);

	folio_put(small);
	for (i = 0; i < 3; i++)
		folio_put(large);
	folio_put(dirty);
	folio_put(own);
	folio_put(private);
	told = look(&world);
	assert_int_equal(told->count, 4);
	assert_int_equal(of(told, large)->references, 1);
	assert_int_equal(of(told, own)->references, 1);
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

/* On its way to the file: two references of the cache's own, as before. */
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

/* A read in flight is nobody's pin, nor is one that failed. */
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

/* Random pins, beside a plain list of them. */
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
	for (round = 0; round < rounds; round++) {
		struct folio_file *file = world.file[random_below(&random, 2)];
		uint64_t index = random_below(&random, FILE_PAGES - 40);
		uint64_t len = (1 + random_below(&random, 40)) * PAGE;
		const struct told *told;

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
						random_below(&random, 2) ? FOLIO_TYPE_PRIVATE
									 : world.own_type,
						buf, &pin[i]),
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
		told = look(&world);
		for (i = 0, n = 0; i < PINS; i++)
			n += pin[i] != NULL;
		for (i = 0; i < told->count; i++) {
			const struct folio_pinned *pinned = &told->one[i].pinned;
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

/* ---- who ---- */

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

	/* More of the same place are one; the latest is first. */
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

	/* A put is of the thread's own latest, if it has one. */
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

	/* And of another's, if not. */
	folio_put(folio);
	assert_int_equal(look(&world)->count, 0);
	line[3] = __LINE__ + 1;
	assert_int_equal(folio_file_get(world.file[0], 3, 0, &hand.folio), 0);
	check_holder(the_one(&world, hand.folio), 0, line[3], gettid(), 1);
	run(put_one, &hand);
	assert_int_equal(look(&world)->count, 0);

	/* Pins that nobody told of, and a folio of the program's own. */
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
	/* Taken again at a place of before, which is the latest then; of two sources the same line. */
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
	/* Of more than there are nothing is unknown. (Who puts does not tell.) */
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
	/* Failed calls took nothing. */
	assert_int_equal(folio_file_get(world.file[0], FILE_PAGES, 0, &folio), -ENODATA);
	assert_int_equal(folio_alloc(world.cache, 99, FOLIO_TYPE_PRIVATE, NULL, &folio), -EINVAL);
	world_end(&world);
}

/* More places, and more pins, than there is room for: counted, and forgotten when they are put. */
static void test_room(void **state)
{
	static struct world world;
	static struct folio *page[2 * FILE_PAGES];
	const struct folio_pinned *pinned;
	const struct told *told;
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
	told = look(&world);
	for (i = 0; i < told->count; i++) {
		assert_int_equal(told->one[i].pinned.references, 11);
		known += told->one[i].pinned.references - told->one[i].pinned.unknown;
	}
	assert_int_equal(told->count, FILE_PAGES);
	assert_in_range(known, 1000, pins - 1);
	/* Of another thread there is nothing in the list, so its put takes nothing away. */
	hand = (struct hand){.world = &world, .index = 0};
	pinned = of(told, page[0]);
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
	/* There is room again, for each of more than there are chains. */
	for (i = 0; i < 2 * FILE_PAGES; i++)
		assert_int_equal(folio_file_get(world.file[i & 1], i / 2, 0, &page[i]), 0);
	told = look(&world);
	assert_int_equal(told->count, 2 * FILE_PAGES);
	for (i = 0; i < told->count; i++) {
		assert_int_equal(told->one[i].pinned.holders, 1);
		assert_int_equal(told->one[i].pinned.unknown, 0);
	}
	for (i = 0; i < 2 * FILE_PAGES; i++)
		folio_put(page[i]);
	world_end(&world);
}

/* Put by another thread than took them, with more of them than there is room for: none stays behind. */
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
	const struct told *told = look(world);
	unsigned i;

	assert_int_equal(told->count, 2 * FILE_PAGES);
	for (i = 0; i < told->count; i++) {
		assert_int_equal(told->one[i].pinned.references, 1);
		assert_int_equal(told->one[i].pinned.holders, 0);
	}
}

static void test_passed_on(void **state)
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
	/* What found no room is forgotten, too: who puts what another took takes it away. */
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

/* In a smaller budget, also where the larger one had them. */
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

/* A library whose counter checks itself (ref_debug) takes so many for a leak, which they are meant to be. */
static void expect_misuse(const struct folio_ref *ref, const char *what, const char *file, int line)
{
	if (!strstr(what, "more references than FOLIO_REF_MAX"))
		abort();
}

/* One that has all the references that there may be is left out, and nobody waits for the look. */
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
	assert_int_equal(folio_u32_load_relaxed(&world.cache->evict.busy), 0);
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

/* Who is told may use the cache, put what it is told of, and stop. */
static void test_put_when_told(void **state)
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
	assert_non_null(strstr(text, "  1 of which nothing is known\n"));
	assert_non_null(strstr(text, "3 folios of 6 pages are held, by 4 references\n"));
	/* Of the large one, which nobody told of, nothing is said. */
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

/* A child of fork puts what it has from its parent, whose list says nothing to it. */
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

/* ---- beside threads ---- */

#define THREADS 3
#define HELD    20
#define HOT     100 /* pages that threads pin; those from COLD on nobody pins */
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
					random_below(&random, 2) ? FOLIO_TYPE_PRIVATE
								 : busy->world->own_type,
					NULL, &pin[i]) != 0;
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
	/* Cached, clean in the one file and dirty in the other, and never pinned. */
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
		const struct told *told = look(&world);

		for (i = 0; i < HELD; i++) {
			const struct folio_pinned *pinned = of(told, held[i]);
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
		for (i = 0; i < told->count; i++) {
			const struct folio_pinned *pinned = &told->one[i].pinned;

			/* A call in flight, one for each thread at most, and one for each end of a write. */
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
	/* What is left is exact. */
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
		cmocka_unit_test(test_holders),
		cmocka_unit_test(test_room),
		cmocka_unit_test(test_passed_on),
		cmocka_unit_test(test_resized),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_put_when_told),
		cmocka_unit_test(test_print),
		cmocka_unit_test(test_fork),
		cmocka_unit_test(test_threads),
	};

	test_begin("pins");
	return cmocka_run_group_tests_name("pins", tests, NULL, NULL);
}
