/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a thread knows of its caches: it has one shard of statistics for each, from its first call on the cache to its own
 * end or the cache's, however many caches it uses in between.
 */
#include <pthread.h>

#include "cache-test.h"

/* More than a thread remembers, so that each is displaced by another. */
#define CACHES 20

static unsigned shards_of(const struct folio_cache *cache)
{
	const struct stats_shard *shard;
	unsigned count = 0;

	for (shard = cache->shards; shard; shard = shard->cache_next)
		count++;
	return count;
}

struct world {
	struct io_fault *io[CACHES];
	struct folio_cache *cache[CACHES];
	struct folio_file *file[CACHES];
};

static void world_begin(struct world *world)
{
	unsigned i;

	for (i = 0; i < CACHES; i++) {
		world->io[i] = io_fault_new(test_seed, 0);
		io_fault_add(world->io[i], "a", 10 * PAGE);
		world->cache[i] = cache_open(
			64, FOLIO_CACHE_NO_HUGE_PAGES | FOLIO_CACHE_NO_READAHEAD, world->io[i]);
		world->file[i] = file_open(world->cache[i], "a");
	}
}

static void world_end(struct world *world)
{
	unsigned i;

	for (i = 0; i < CACHES; i++) {
		assert_int_equal(folio_file_close(world->file[i]), 0);
		assert_int_equal(folio_cache_close(world->cache[i]), 0);
		io_fault_free(world->io[i]);
	}
}

static bool read_all(struct world *world)
{
	bool good = true;
	char buf[64];
	unsigned i;

	for (i = 0; i < CACHES; i++)
		good = good && folio_file_read(world->file[i], buf, sizeof(buf), 0) == sizeof(buf);
	return good;
}

static void *read_all_thrice(void *arg)
{
	return (void *)(intptr_t)(read_all(arg) && read_all(arg) && read_all(arg));
}

static void test_one_shard(void **state)
{
	struct stats_shard *shard[CACHES];
	struct world world;
	pthread_t thread;
	unsigned i, before[CACHES];
	void *good;

	(void)state;
	world_begin(&world);
	for (i = 0; i < CACHES; i++) {
		shard[i] = thread_enter(world.cache[i], world.cache[i]->id);
		before[i] = shards_of(world.cache[i]);
	}
	assert_true(read_all(&world) && read_all(&world));
	for (i = 0; i < CACHES; i++) {
		assert_ptr_equal(thread_enter(world.cache[i], world.cache[i]->id), shard[i]);
		assert_int_equal(shards_of(world.cache[i]), before[i]);
	}
	/* Another thread's go when it ends, and what they counted stays. */
	assert_int_equal(pthread_create(&thread, NULL, read_all_thrice, &world), 0);
	pthread_join(thread, &good);
	assert_true((intptr_t)good);
	for (i = 0; i < CACHES; i++) {
		assert_int_equal(shards_of(world.cache[i]), before[i]);
		assert_int_equal(cache_stats(world.cache[i]).misses, 1);
		assert_int_equal(cache_stats(world.cache[i]).hits, 4);
	}
	world_end(&world);
}

/*
 * A program's destructor that reads, and sets its key again in each round of a thread's end. In the last one, after ours has run, it
 * gets an error; the thread is in nobody's list, and the next one has its memory.
 */
static pthread_key_t program_key;
static unsigned rounds, refused;
static bool late;

static void read_at_the_end(void *arg)
{
	struct world *world = arg;
	char buf[64];
	ssize_t n;

	/* In the last round alone, or in each. */
	if (++rounds % PTHREAD_DESTRUCTOR_ITERATIONS && late)
		goto again;
	n = folio_file_read(world->file[0], buf, sizeof(buf), 0);
	if (n == -ENOMEM)
		refused++;
	else
		assert_int_equal(n, sizeof(buf));
again:
	pthread_setspecific(program_key, arg);
}

static void *end_late(void *arg)
{
	bool good = read_all(arg);

	pthread_setspecific(program_key, arg);
	return (void *)(intptr_t)good;
}

static void test_destructor_that_reads(void **state)
{
	struct world world;
	pthread_t thread;
	unsigned i;
	void *good;

	(void)state;
#ifdef GRACE_TSAN
	print_message("# left out: TSan takes its leave of a thread before the last round\n");
	return;
#endif
	world_begin(&world);
	/* Younger than the library's. */
	assert_int_equal(pthread_key_create(&program_key, read_at_the_end), 0);
	for (i = 1; i <= 20; i++) {
		late = i > 10;
		assert_int_equal(pthread_create(&thread, NULL, end_late, &world), 0);
		pthread_join(thread, &good);
		assert_true((intptr_t)good);
		assert_int_equal(rounds, i * PTHREAD_DESTRUCTOR_ITERATIONS);
		assert_true(refused <= i);
		/* Ends when nobody is in the list who has ended. */
		grace_barrier();
	}
	pthread_key_delete(program_key);
	world_end(&world);
}

/* A thread uses some caches, others are closed by another thread meanwhile, and it ends. */
struct visitor {
	struct world *world;
	pthread_barrier_t barrier;
};

static void *visit(void *arg)
{
	struct visitor *visitor = arg;
	bool good = read_all(visitor->world);

	pthread_barrier_wait(&visitor->barrier);
	pthread_barrier_wait(&visitor->barrier);
	return (void *)(intptr_t)good;
}

static void test_close_before_thread(void **state)
{
	struct world world, other;
	struct visitor visitor = {.world = &world};
	pthread_t thread;
	void *good;

	(void)state;
	world_begin(&world);
	world_begin(&other);
	pthread_barrier_init(&visitor.barrier, NULL, 2);
	assert_int_equal(pthread_create(&thread, NULL, visit, &visitor), 0);
	pthread_barrier_wait(&visitor.barrier);
	world_end(&world);
	/* The memory of the closed ones is used again. */
	world_begin(&world);
	assert_true(read_all(&other));
	pthread_barrier_wait(&visitor.barrier);
	pthread_join(thread, &good);
	assert_true((intptr_t)good);
	pthread_barrier_destroy(&visitor.barrier);
	world_end(&other);
	world_end(&world);
}

/*
 * A backend that reads through other caches: while it does, a call of the same thread on the upper cache is under way,
 * and goes on with its shard. That used to be freed when the thread came to a cache that has its place in the table.
 */
struct layer {
	struct folio_io_ops ops;
	struct io_fault *io;
	struct world *lower;
	bool good;
};

static struct layer *layer;

static ssize_t layer_read(
	void *context, void *handle, const struct iovec *iov, unsigned iov_count, uint64_t offset)
{
	layer->good = read_all(layer->lower) && layer->good;
	return io_fault_ops.read(context, handle, iov, iov_count, offset);
}

static void test_layers(void **state)
{
	struct layer here = {.ops = io_fault_ops, .io = io_fault_new(test_seed, 0), .good = true};
	struct folio_cache_params params = {
		.size = sizeof(params), .bytes = 64 * PAGE, .flags = FOLIO_CACHE_NO_READAHEAD};
	struct folio_cache_stats stats;
	struct folio_cache *cache;
	struct folio_file *file;
	struct world lower;
	unsigned i;
	char buf[64];

	(void)state;
	layer = &here;
	here.ops.read = layer_read;
	here.lower = &lower;
	io_fault_add(here.io, "a", 10 * PAGE);
	world_begin(&lower);
	params.io = &here.ops;
	params.io_context = here.io;
	assert_int_equal(folio_cache_open(&params, &cache), 0);
	file = file_open(cache, "a");
	for (i = 0; i < 10; i++) {
		/* Counted after the lower caches were read: the error, and the miss. */
		io_fault_fail(here.io, IO_FAULT_READ, 1, EIO);
		assert_int_equal(folio_file_read(file, buf, sizeof(buf), i * PAGE), -EIO);
		assert_int_equal(folio_file_read(file, buf, sizeof(buf), i * PAGE), sizeof(buf));
	}
	assert_true(here.good);
	stats = cache_stats(cache);
	assert_int_equal(stats.fill_errors, 10);
	assert_int_equal(stats.misses, 20);
	assert_int_equal(stats.hits, 0);
	for (i = 0; i < CACHES; i++) {
		assert_int_equal(cache_stats(lower.cache[i]).fill_errors, 0);
		assert_int_equal(cache_stats(lower.cache[i]).misses, 1);
		assert_int_equal(cache_stats(lower.cache[i]).hits, 19);
	}
	assert_int_equal(folio_file_close(file), 0);
	assert_int_equal(folio_cache_close(cache), 0);
	world_end(&lower);
	io_fault_free(here.io);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_shard),
		cmocka_unit_test(test_destructor_that_reads),
		cmocka_unit_test(test_close_before_thread),
		cmocka_unit_test(test_layers),
	};

	test_begin("thread");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
