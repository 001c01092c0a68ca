/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The caches that a thread has used: it has one shard of statistics for each, from its first call
 * on the cache until the thread or the cache ends, however many caches it uses in between.
 */
#include <dlfcn.h>
#include <sys/wait.h>

#include "fault-world.h"
#include "cache/thread.h"

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

struct caches {
	struct io_fault *io[CACHES];
	struct folio_cache *cache[CACHES];
	struct folio_file *file[CACHES];
};

static void caches_begin(struct caches *world)
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

static void caches_end(struct caches *world)
{
	unsigned i;

	for (i = 0; i < CACHES; i++) {
		assert_int_equal(folio_file_close(world->file[i]), 0);
		assert_int_equal(folio_cache_close(world->cache[i]), 0);
		io_fault_free(world->io[i]);
	}
}

static bool read_all(struct caches *world)
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
	struct caches world;
	pthread_t thread;
	unsigned i, before[CACHES];
	void *good;

	(void)state;
	caches_begin(&world);
	for (i = 0; i < CACHES; i++) {
		shard[i] = thread_enter(world.cache[i], world.cache[i]->id);
		before[i] = shards_of(world.cache[i]);
	}
	assert_true(read_all(&world) && read_all(&world));
	for (i = 0; i < CACHES; i++) {
		assert_ptr_equal(thread_enter(world.cache[i], world.cache[i]->id), shard[i]);
		assert_int_equal(shards_of(world.cache[i]), before[i]);
	}
	/* The shards of another thread go when it ends; its counts stay. */
	assert_int_equal(pthread_create(&thread, NULL, read_all_thrice, &world), 0);
	pthread_join(thread, &good);
	assert_true((intptr_t)good);
	for (i = 0; i < CACHES; i++) {
		assert_int_equal(shards_of(world.cache[i]), before[i]);
		assert_int_equal(cache_stats(world.cache[i]).misses, 1);
		assert_int_equal(cache_stats(world.cache[i]).hits, 4);
	}
	caches_end(&world);
}

/*
 * A destructor of the program that reads and sets its key again in each round of a thread's end. In
 * the last round the library's own destructor has already run; the thread is in no list, and the
 * next thread reuses its memory.
 */
static pthread_key_t program_key;
static unsigned rounds;
static bool late;

static void read_at_the_end(void *arg)
{
	struct caches *world = arg;
	char buf[64];

	/* In the last round only, or in each round. */
	if (++rounds % PTHREAD_DESTRUCTOR_ITERATIONS == 0 || !late)
		assert_int_equal(folio_file_read(world->file[0], buf, sizeof(buf), 0), sizeof(buf));
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
	struct caches world;
	pthread_t thread;
	unsigned i;
	void *good;

	(void)state;
#ifdef __SANITIZE_THREAD__
	print_message("# skipped: TSan removes a thread before the last round of destructors\n");
	return;
#endif
	caches_begin(&world);
	/* Created after the library's key. */
	assert_int_equal(pthread_key_create(&program_key, read_at_the_end), 0);
	for (i = 1; i <= 20; i++) {
		late = i > 10;
		assert_int_equal(pthread_create(&thread, NULL, end_late, &world), 0);
		pthread_join(thread, &good);
		assert_true((intptr_t)good);
		assert_int_equal(rounds, i * PTHREAD_DESTRUCTOR_ITERATIONS);
	}
	pthread_key_delete(program_key);
	caches_end(&world);
}

/* A thread uses some caches, another thread closes some of them, and the first thread ends. */
struct visitor {
	struct caches *world;
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

/*
 * A thread whose first call comes from the last round of its destructors: the library's has run
 * before, or does not run. The next thread reuses its memory, and has shards of its own.
 */
static void read_at_last(void *arg)
{
	struct caches *world = arg;
	char buf[64];

	if (++rounds == PTHREAD_DESTRUCTOR_ITERATIONS)
		assert_int_equal(folio_file_read(world->file[0], buf, sizeof(buf), 0), sizeof(buf));
	pthread_setspecific(program_key, arg);
}

static void *end_at_last(void *arg)
{
	pthread_setspecific(program_key, arg);
	return NULL;
}

static void test_first_call_at_last(void **state)
{
	struct caches world, other;
	struct visitor visitor = {.world = &other};
	pthread_t thread;
	unsigned i, before[CACHES];
	void *good;

	(void)state;
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
	print_message(
		"# skipped: TSan removes the thread before, ASan finds the head of its list\n");
	return;
#endif
	caches_begin(&world);
	caches_begin(&other);
	for (i = 0; i < CACHES; i++)
		before[i] = shards_of(other.cache[i]);
	rounds = 0;
	assert_int_equal(pthread_key_create(&program_key, read_at_last), 0);
	assert_int_equal(pthread_create(&thread, NULL, end_at_last, &world), 0);
	pthread_join(thread, NULL);
	assert_int_equal(rounds, PTHREAD_DESTRUCTOR_ITERATIONS);
	pthread_key_delete(program_key);
	pthread_barrier_init(&visitor.barrier, NULL, 2);
	assert_int_equal(pthread_create(&thread, NULL, visit, &visitor), 0);
	pthread_barrier_wait(&visitor.barrier);
	caches_end(&world);
	pthread_barrier_wait(&visitor.barrier);
	pthread_join(thread, &good);
	assert_true((intptr_t)good);
	/* It has taken its shards with it. */
	for (i = 0; i < CACHES; i++)
		assert_int_equal(shards_of(other.cache[i]), before[i]);
	pthread_barrier_destroy(&visitor.barrier);
	caches_end(&other);
}

static void test_close_before_thread(void **state)
{
	struct caches world, other;
	struct visitor visitor = {.world = &world};
	pthread_t thread;
	void *good;

	(void)state;
	caches_begin(&world);
	caches_begin(&other);
	pthread_barrier_init(&visitor.barrier, NULL, 2);
	assert_int_equal(pthread_create(&thread, NULL, visit, &visitor), 0);
	pthread_barrier_wait(&visitor.barrier);
	caches_end(&world);
	/* The memory of the closed caches is reused. */
	caches_begin(&world);
	assert_true(read_all(&other));
	pthread_barrier_wait(&visitor.barrier);
	pthread_join(thread, &good);
	assert_true((intptr_t)good);
	pthread_barrier_destroy(&visitor.barrier);
	caches_end(&other);
	caches_end(&world);
}

/*
 * A backend that reads through other caches. During such a read, a call of the same thread on the
 * upper cache is in progress and must keep its shard, which was once freed when the thread reached
 * a cache with the same entry of its table.
 */
struct layer {
	struct folio_io_ops ops;
	struct io_fault *io;
	struct caches *lower;
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
	struct caches lower;
	unsigned i;
	char buf[64];

	(void)state;
	layer = &here;
	here.ops.read = layer_read;
	here.lower = &lower;
	io_fault_add(here.io, "a", 10 * PAGE);
	caches_begin(&lower);
	params.io = &here.ops;
	params.io_context = here.io;
	assert_int_equal(folio_cache_open(&params, &cache), 0);
	file = file_open(cache, "a");
	for (i = 0; i < 10; i++) {
		/* The error and the miss are counted after the lower caches were read. */
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
	caches_end(&lower);
	io_fault_free(here.io);
}

/*
 * A thread whose list cannot be registered for its end counts with others that share a shard. Of
 * the list nothing is left (AddressSanitizer).
 */
static _Thread_local bool no_values;

#if !defined(__SANITIZE_THREAD__) /* TSan itself calls it, before the program begins */
int pthread_setspecific(pthread_key_t key, const void *value)
{
	if (no_values)
		return ENOMEM;
	return ((__typeof__(&pthread_setspecific))dlsym(RTLD_NEXT, "pthread_setspecific"))(
		key, value);
}
#endif

static void *read_without_list(void *arg)
{
	bool good;

	no_values = true;
	good = read_all(arg);
	no_values = false;
	return (void *)(intptr_t)(good && read_all(arg));
}

static void test_no_list(void **state)
{
	struct caches world;
	pthread_t thread;
	unsigned i, before[CACHES];
	void *good;

	(void)state;
	caches_begin(&world);
	for (i = 0; i < CACHES; i++)
		before[i] = shards_of(world.cache[i]);
	assert_int_equal(pthread_create(&thread, NULL, read_without_list, &world), 0);
	pthread_join(thread, &good);
	assert_true((intptr_t)good);
	for (i = 0; i < CACHES; i++) {
		assert_int_equal(shards_of(world.cache[i]), before[i]);
		assert_int_equal(cache_stats(world.cache[i]).misses, 1);
		assert_int_equal(cache_stats(world.cache[i]).hits, 1);
	}
	caches_end(&world);
}

/* A child of fork cannot use its parent's caches, and looks at none past the end of their table. */
static void test_child(void **state)
{
	struct caches world;
	int status;
	pid_t pid;

	(void)state;
	caches_begin(&world);
	assert_true(read_all(&world));
	fflush(stdout);
	pid = fork();
	if (!pid) {
		char buf[64];

		_exit(folio_file_read(world.file[0], buf, sizeof(buf), 0) != -ESTALE);
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_true(read_all(&world));
	caches_end(&world);
}

/* ---- destructors ---- */

/*
 * Rounds of a thread's destructors. The C library makes four. The library's own destructor runs
 * again after the destructors that call it, and TSan removes the thread at the start of the fourth
 * round.
 */
#if defined(__SANITIZE_THREAD__)
#define ROUNDS 2
#else
#define ROUNDS 3
#endif

static pthread_key_t key_before, key_after; /* created before and after the library's key */

struct ending {
	struct world *world;
	unsigned rounds_before, rounds_after;
	folio_u32 calls;
	folio_u32 failures;
};

static void call_library(struct ending *ending)
{
	struct world *world = ending->world;
	struct folio *folio;
	char buf[64];

	if (folio_file_read(world->file, buf, sizeof(buf), 3 * PAGE) != sizeof(buf) ||
		!io_fault_check(world->contents, 3 * PAGE, buf, sizeof(buf), NULL, NULL) ||
		folio_file_read(world->file, buf, sizeof(buf), 50 * PAGE) != sizeof(buf) ||
		folio_file_get(world->file, 7, 0, &folio))
		folio_u32_fetch_add_relaxed(&ending->failures, 1);
	else
		folio_put(folio);
	if (folio_file_invalidate(world->file, 50 * PAGE, PAGE))
		folio_u32_fetch_add_relaxed(&ending->failures, 1);
	folio_u32_fetch_add_relaxed(&ending->calls, 1);
}

static void end_before(void *arg)
{
	struct ending *ending = arg;

	call_library(ending);
	if (++ending->rounds_before < ROUNDS)
		pthread_setspecific(key_before, ending);
}

static void end_after(void *arg)
{
	struct ending *ending = arg;

	call_library(ending);
	if (++ending->rounds_after < ROUNDS)
		pthread_setspecific(key_after, ending);
}

static void *end_with_calls(void *arg)
{
	struct ending *ending = arg;

	pthread_setspecific(key_before, ending);
	pthread_setspecific(key_after, ending);
	call_library(ending);
	return NULL;
}

/* A thread whose first call of the library comes from a destructor. */
static void *end_with_first_call(void *arg)
{
	pthread_setspecific(key_after, arg);
	return NULL;
}

static void test_destructors(void **state)
{
	struct ending ending[THREADS];
	pthread_t thread[THREADS];
	struct world world;
	unsigned round, i;

	(void)state;
	world_begin(&world, 64, 0, 100 * PAGE);
	assert_int_equal(pthread_key_create(&key_after, end_after), 0);
	for (round = 0; round < scaled(25); round++) {
		for (i = 0; i < THREADS; i++) {
			memset(&ending[i], 0, sizeof(ending[i]));
			ending[i].world = &world;
			assert_int_equal(
				pthread_create(&thread[i], NULL,
					i % 2 ? end_with_first_call : end_with_calls, &ending[i]),
				0);
		}
		for (i = 0; i < THREADS; i++) {
			pthread_join(thread[i], NULL);
			assert_int_equal(folio_u32_load_relaxed(&ending[i].failures), 0);
			assert_int_equal(folio_u32_load_relaxed(&ending[i].calls),
				i % 2 ? ROUNDS : 2 * ROUNDS + 1);
		}
	}
	pthread_key_delete(key_after);
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_shard),
		cmocka_unit_test(test_destructor_that_reads),
		cmocka_unit_test(test_close_before_thread),
		cmocka_unit_test(test_first_call_at_last),
		cmocka_unit_test(test_layers),
		cmocka_unit_test(test_no_list),
		cmocka_unit_test(test_child),
		cmocka_unit_test(test_destructors),
	};

	test_begin("thread");
	/* Before the library creates its key. */
	if (pthread_key_create(&key_before, end_before))
		return 1;
	return cmocka_run_group_tests_name("thread", tests, NULL, NULL);
}
