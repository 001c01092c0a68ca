/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * User-defined types: a folio is released by its own type and on the reaper's thread only; and what
 * closing a cache in use returns.
 */
#include <pthread.h>

#include "cache-test.h"
#include "cache/release.h"

#define TYPES 16

/* What the release function of a type has seen. */
struct seen {
	folio_u32 released;
	folio_u32 pages;
	folio_u32 wrong; /* a folio of another type, the wrong thread, or changed contents */
	pthread_t thread;
	/* the release waits here while hold is set */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool hold;     /* guarded by lock */
	unsigned held; /* guarded by lock */
};

static void seen_begin(struct seen *seen)
{
	memset(seen, 0, sizeof(*seen));
	pthread_mutex_init(&seen->lock, NULL);
	pthread_cond_init(&seen->changed, NULL);
}

static void seen_end(struct seen *seen)
{
	pthread_cond_destroy(&seen->changed);
	pthread_mutex_destroy(&seen->lock);
}

static void seen_hold(struct seen *seen, bool hold)
{
	pthread_mutex_lock(&seen->lock);
	seen->hold = hold;
	pthread_cond_broadcast(&seen->changed);
	pthread_mutex_unlock(&seen->lock);
}

static void seen_wait_held(struct seen *seen)
{
	pthread_mutex_lock(&seen->lock);
	while (!seen->held)
		pthread_cond_wait(&seen->changed, &seen->lock);
	pthread_mutex_unlock(&seen->lock);
}

/* The owner of each folio, and its first word, is the context of its type's release. */
static void release(struct folio *folio, void *context)
{
	struct seen *seen = context;

	if (folio_owner(folio) != seen || *(struct seen **)folio_data(folio) != seen)
		folio_u32_fetch_add_relaxed(&seen->wrong, 1);
	pthread_mutex_lock(&seen->lock);
	seen->thread = pthread_self();
	while (seen->hold) {
		seen->held++;
		pthread_cond_broadcast(&seen->changed);
		pthread_cond_wait(&seen->changed, &seen->lock);
		seen->held--;
	}
	pthread_mutex_unlock(&seen->lock);
	/* The memory is still the folio's: no thread has written to it. */
	if (*(struct seen **)folio_data(folio) != seen || folio_ref_count(&folio->ref))
		folio_u32_fetch_add_relaxed(&seen->wrong, 1);
	folio_u32_fetch_add_relaxed(&seen->pages, UINT32_C(1) << folio_order(folio));
	folio_u32_fetch_add_release(&seen->released, 1);
}

static unsigned type_of(struct folio_cache *cache, struct seen *seen)
{
	struct folio_type_params params = {
		.size = sizeof(params), .name = "test", .release = release, .context = seen};
	unsigned type = 0;

	assert_int_equal(folio_type_register(cache, &params, &type), 0);
	return type;
}

static struct folio *take(
	struct folio_cache *cache, unsigned order, unsigned type, struct seen *seen)
{
	struct folio *folio = NULL;

	assert_int_equal(folio_alloc(cache, order, type, seen, &folio), 0);
	*(struct seen **)folio_data(folio) = seen;
	return folio;
}

static void wait_released(struct seen *seen, uint32_t count)
{
	wait_until(folio_u32_load_acquire(&seen->released) >= count);
	assert_int_equal(folio_u32_load_acquire(&seen->released), count);
}

static void release_without_context(struct folio *folio, void *context)
{
	struct seen *seen = *(struct seen **)folio_data(folio);

	if (context)
		folio_u32_fetch_add_relaxed(&seen->wrong, 1);
	folio_u32_fetch_add_release(&seen->released, 1);
}

/* A program without the last parameter, and one with a further one. */
static void test_register_other_version(void **state)
{
	const size_t sizes[] = {offsetof(struct folio_type_params, context),
		sizeof(struct folio_type_params) + sizeof(void *)};
	struct folio_cache *cache = cache_open(256, 0, NULL);
	struct folio_type_params *params;
	struct seen seen;
	unsigned i, type;

	(void)state;
	seen_begin(&seen);
	for (i = 0; i < 2; i++) {
		params = calloc(1, sizes[i]);
		params->size = sizes[i];
		params->name = "other";
		params->release = release_without_context;
		assert_int_equal(folio_type_register(cache, params, &type), 0);
		free(params);
		folio_put(take(cache, 0, type, &seen));
		wait_released(&seen, i + 1);
	}
	assert_int_equal(folio_cache_close(cache), 0);
	seen_end(&seen);
}

static void test_register(void **state)
{
	struct folio_cache *cache = cache_open(256, 0, NULL);
	struct seen seen;
	struct folio_type_params params = {
		.size = sizeof(params), .name = "test", .release = release, .context = &seen};
	struct folio_type_params wrong;
	unsigned type = 0, i, last = 0;

	(void)state;
	seen_begin(&seen);
	assert_int_equal(folio_type_register(NULL, &params, &type), -EINVAL);
	assert_int_equal(folio_type_register(cache, NULL, &type), -EINVAL);
	assert_int_equal(folio_type_register(cache, &params, NULL), -EINVAL);
	wrong = params;
	wrong.size = offsetof(struct folio_type_params, context) - 1;
	assert_int_equal(folio_type_register(cache, &wrong, &type), -EINVAL);
	wrong = params;
	wrong.name = NULL;
	assert_int_equal(folio_type_register(cache, &wrong, &type), -EINVAL);
	wrong = params;
	wrong.release = NULL;
	assert_int_equal(folio_type_register(cache, &wrong, &type), -EINVAL);
	for (i = 0; i < TYPES; i++) {
		assert_int_equal(folio_type_register(cache, &params, &type), 0);
		assert_true(type > FOLIO_TYPE_PRIVATE);
		assert_true(i == 0 || type != last);
		last = type;
	}
	for (i = 0; i < 3; i++)
		assert_int_equal(folio_type_register(cache, &params, &type), -ENOSPC);
	/* The last type works and is unchanged. */
	assert_int_equal(type, last);
	folio_put(take(cache, 0, last, &seen));
	wait_released(&seen, 1);
	assert_int_equal(folio_cache_close(cache), 0);
	seen_end(&seen);
}

/* Release is called once, with its context, on a thread other than the one that put the folio. */
static void test_release(void **state)
{
	struct folio_cache *cache = cache_open(1024, 0, NULL);
	struct seen seen[TYPES];
	unsigned type[TYPES], i, order;

	(void)state;
	for (i = 0; i < TYPES; i++) {
		seen_begin(&seen[i]);
		type[i] = type_of(cache, &seen[i]);
	}
	for (order = 0; order <= FOLIO_ORDER_MAX; order++)
		for (i = 0; i < TYPES; i++) {
			struct folio *folio = take(cache, order, type[i], &seen[i]);

			folio_get(folio);
			folio_put(folio);
			assert_int_equal(folio_u32_load_relaxed(&seen[i].released), order);
			folio_put(folio);
			wait_released(&seen[i], order + 1);
			assert_false(pthread_equal(seen[i].thread, pthread_self()));
			assert_true(pthread_equal(seen[i].thread, seen[0].thread));
		}
	assert_int_equal(folio_cache_close(cache), 0);
	for (i = 0; i < TYPES; i++) {
		assert_int_equal(folio_u32_load_relaxed(&seen[i].released), FOLIO_ORDER_MAX + 1);
		assert_int_equal(
			folio_u32_load_relaxed(&seen[i].pages), (1u << (FOLIO_ORDER_MAX + 1)) - 1);
		assert_int_equal(folio_u32_load_relaxed(&seen[i].wrong), 0);
		seen_end(&seen[i]);
	}
}

/* Until its release has returned, a folio's memory is not reused. */
static void test_release_blocks(void **state)
{
	struct folio_cache *cache = cache_open(64, 0, NULL);
	struct folio *folio[64], *more;
	struct seen seen;
	unsigned type, i;

	(void)state;
	seen_begin(&seen);
	type = type_of(cache, &seen);
	for (i = 0; i < 64; i++)
		folio[i] = take(cache, 0, type, &seen);
	seen_hold(&seen, true);
	folio_put(folio[0]);
	folio_put(folio[1]);
	seen_wait_held(&seen);
	assert_int_equal(folio_alloc(cache, 0, type, &seen, &more), -ENOMEM);
	assert_int_equal(cache_stats(cache).pages_private, 64);
	seen_hold(&seen, false);
	/* A page is counted as free a moment before it can be allocated. */
	folio_reaper_drain(cache);
	assert_int_equal(cache_stats(cache).pages_free, 2);
	wait_released(&seen, 2);
	folio[0] = take(cache, 0, type, &seen);
	folio[1] = take(cache, 0, type, &seen);
	assert_int_equal(folio_alloc(cache, 0, type, &seen, &more), -ENOMEM);
	for (i = 0; i < 64; i++)
		folio_put(folio[i]);
	/* Close waits for the releases that are queued. */
	assert_int_equal(folio_cache_close(cache), 0);
	assert_int_equal(folio_u32_load_relaxed(&seen.released), 66);
	assert_int_equal(folio_u32_load_relaxed(&seen.wrong), 0);
	seen_end(&seen);
}

/*
 * A release may call the library: here it puts the next folio of a chain, allocates one and reads a
 * file.
 */
struct chain {
	struct folio_cache *cache;
	struct folio_file *file;
	folio_u32 released;
	folio_u32 wrong;
};

static void release_chain(struct folio *folio, void *context)
{
	struct chain *chain = context;
	struct folio *next = *(struct folio **)folio_data(folio), *other = NULL;
	char buf[64];

	if (folio_alloc(chain->cache, 0, FOLIO_TYPE_PRIVATE, NULL, &other) ||
		folio_file_read(chain->file, buf, sizeof(buf), PAGE) != sizeof(buf))
		folio_u32_fetch_add_relaxed(&chain->wrong, 1);
	if (other)
		folio_put(other);
	if (next)
		folio_put(next);
	folio_u32_fetch_add_release(&chain->released, 1);
}

static void test_release_calls(void **state)
{
	struct io_fault *io = io_fault_new(test_seed, 1);
	struct chain chain = {.cache = cache_open(64, 0, io)};
	struct folio_type_params params = {.size = sizeof(params),
		.name = "chain",
		.release = release_chain,
		.context = &chain};
	struct folio *next = NULL, *folio;
	unsigned type, i;

	(void)state;
	io_fault_add(io, "a", 100 * PAGE);
	chain.file = file_open(chain.cache, "a");
	assert_int_equal(folio_type_register(chain.cache, &params, &type), 0);
	for (i = 0; i < 50; i++) {
		assert_int_equal(folio_alloc(chain.cache, 0, type, &chain, &folio), 0);
		*(struct folio **)folio_data(folio) = next;
		next = folio;
	}
	folio_put(next);
	wait_until(folio_u32_load_acquire(&chain.released) == 50);
	assert_int_equal(folio_file_close(chain.file), 0);
	assert_int_equal(folio_cache_close(chain.cache), 0);
	assert_int_equal(folio_u32_load_relaxed(&chain.wrong), 0);
	io_fault_free(io);
}

/* A cache in use refuses to close with -EBUSY, and nothing changes. */
static void test_close_busy(void **state)
{
	struct io_fault *io = io_fault_new(test_seed, 1);
	struct io_fault_file *contents = io_fault_add(io, "a", 100 * PAGE);
	struct folio_cache *cache = cache_open(64, 0, io);
	struct folio_file *file = file_open(cache, "a");
	struct folio *pinned, *private;
	char buf[64];

	(void)state;
	assert_int_equal(folio_cache_close(cache), -EBUSY);
	assert_int_equal(folio_file_get(file, 5, 0, &pinned), 0);
	assert_int_equal(folio_alloc(cache, 2, FOLIO_TYPE_PRIVATE, NULL, &private), 0);
	assert_int_equal(folio_cache_close(cache), -EBUSY);
	assert_int_equal(folio_file_read(file, buf, sizeof(buf), 7 * PAGE), sizeof(buf));
	assert_true(io_fault_check(contents, 7 * PAGE, buf, sizeof(buf), NULL, NULL));
	assert_int_equal(folio_file_close(file), 0);
	/* A pinned page keeps its contents after its file was closed. */
	assert_int_equal(folio_cache_close(cache), -EBUSY);
	assert_true(io_fault_check(contents, 5 * PAGE, folio_page(pinned, 5), PAGE, NULL, NULL));
	assert_int_equal(cache_stats(cache).pages_file, 1u << folio_order(pinned));
	folio_put(private);
	assert_int_equal(folio_cache_close(cache), -EBUSY);
	/* The cache still works. */
	file = file_open(cache, "a");
	assert_int_equal(folio_file_read(file, buf, sizeof(buf), 5 * PAGE), sizeof(buf));
	assert_true(io_fault_check(contents, 5 * PAGE, buf, sizeof(buf), NULL, NULL));
	assert_int_equal(folio_file_close(file), 0);
	assert_int_equal(folio_cache_close(cache), -EBUSY);
	folio_put(pinned);
	assert_int_equal(cache_stats(cache).pages_free, 64);
	assert_int_equal(folio_cache_close(cache), 0);
	assert_int_equal(io_fault_opens(io), 0);
	io_fault_free(io);
}

/* ---- many threads ---- */

#define THREADS      4
#define MINE_MAX     40
#define SHARED_TYPES 3 /* and private folios, and pages of files */

struct shared {
	struct folio_cache *cache;
	struct folio_file *file;
	unsigned type[SHARED_TYPES];
	struct seen seen[SHARED_TYPES];
	folio_u32 taken[SHARED_TYPES];
	folio_u32 got; /* stale references */
	folio_u32 failed;
	folio_u32 stop;
	unsigned steps;
};

struct worker {
	struct shared *shared;
	uint64_t random;
	pthread_t thread;
};

/*
 * Allocates and puts folios of all kinds, under a lock that the release of their type also takes: a
 * release on the putting thread would deadlock.
 */
static void *take_and_put(void *arg)
{
	struct worker *worker = arg;
	struct shared *shared = worker->shared;
	struct folio *mine[MINE_MAX];
	struct seen *owner[MINE_MAX];
	unsigned count = 0, i;

	for (i = 0; i < shared->steps || folio_u32_load_relaxed(&shared->got) < 20; i++) {
		unsigned which = (unsigned)random_below(&worker->random, MINE_MAX);

		if (which >= count) {
			unsigned kind = (unsigned)random_below(&worker->random, SHARED_TYPES + 2);
			unsigned order = (unsigned)random_below(&worker->random, 3);
			struct folio *folio;
			int r;

			if (kind < SHARED_TYPES) {
				r = folio_alloc(shared->cache, order, shared->type[kind],
					&shared->seen[kind], &folio);
				if (!r) {
					*(struct seen **)folio_data(folio) = &shared->seen[kind];
					folio_u32_fetch_add_relaxed(&shared->taken[kind], 1);
				}
			} else if (kind == SHARED_TYPES) {
				r = folio_alloc(
					shared->cache, order, FOLIO_TYPE_PRIVATE, NULL, &folio);
				if (!r)
					memset(folio_data(folio), 0, 64);
			} else {
				r = folio_file_get(shared->file,
					random_below(&worker->random, 1000), 0, &folio);
			}
			if (r) {
				if (r != -ENOMEM)
					folio_u32_fetch_add_relaxed(&shared->failed, 1);
				continue;
			}
			mine[count] = folio;
			owner[count++] = kind < SHARED_TYPES ? &shared->seen[kind] : NULL;
		} else {
			struct seen *seen = owner[which];

			if (seen)
				pthread_mutex_lock(&seen->lock);
			folio_put(mine[which]);
			if (seen)
				pthread_mutex_unlock(&seen->lock);
			mine[which] = mine[--count];
			owner[which] = owner[count];
		}
	}
	while (count)
		folio_put(mine[--count]);
	return NULL;
}

/*
 * Takes references through stale pointers, as a look-up may: to whatever use a descriptor has by
 * now, and puts them, perhaps as the last.
 */
static void *get_late(void *arg)
{
	struct worker *worker = arg;
	struct shared *shared = worker->shared;
	struct pool *pool = &shared->cache->pool;

	while (!folio_u32_load_relaxed(&shared->stop)) {
		struct folio *folio =
			pool_folio(pool, (uint32_t)random_below(&worker->random, pool->pages));

		if (folio_ref_try_get(&folio->ref)) {
			folio_u32_fetch_add_relaxed(&shared->got, 1);
			folio_put(folio);
		}
	}
	return NULL;
}

static void test_release_by_type(void **state)
{
	struct io_fault *io = io_fault_new(test_seed, 1);
	struct shared *shared = calloc(1, sizeof(*shared));
	struct worker worker[THREADS];
	unsigned i;

	(void)state;
	io_fault_add(io, "a", 1000 * PAGE);
	shared->cache = cache_open(256, 0, io);
	shared->file = file_open(shared->cache, "a");
	shared->steps = scaled(20000);
	for (i = 0; i < SHARED_TYPES; i++) {
		seen_begin(&shared->seen[i]);
		shared->type[i] = type_of(shared->cache, &shared->seen[i]);
	}
	for (i = 0; i < THREADS; i++) {
		worker[i] = (struct worker){.shared = shared, .random = test_seed + i};
		assert_int_equal(pthread_create(&worker[i].thread, NULL,
					 i % 2 ? get_late : take_and_put, &worker[i]),
			0);
	}
	for (i = 0; i < THREADS; i += 2)
		pthread_join(worker[i].thread, NULL);
	folio_u32_store_relaxed(&shared->stop, 1);
	for (i = 1; i < THREADS; i += 2)
		pthread_join(worker[i].thread, NULL);
	assert_int_equal(folio_file_close(shared->file), 0);
	/* All pages are free, or close would return -EBUSY. */
	assert_int_equal(folio_cache_close(shared->cache), 0);
	assert_int_equal(folio_u32_load_relaxed(&shared->failed), 0);
	for (i = 0; i < SHARED_TYPES; i++) {
		assert_int_equal(folio_u32_load_relaxed(&shared->seen[i].released),
			folio_u32_load_relaxed(&shared->taken[i]));
		assert_int_equal(folio_u32_load_relaxed(&shared->seen[i].wrong), 0);
		assert_true(folio_u32_load_relaxed(&shared->taken[i]) > 0);
		seen_end(&shared->seen[i]);
	}
	free(shared);
	io_fault_free(io);
}

/* Many threads put references to the same folio: the last put, on any thread, releases it once. */
struct handed {
	struct folio **folio;
	unsigned count;
	pthread_barrier_t *start;
};

static void *put_all(void *arg)
{
	struct handed *handed = arg;
	unsigned i;

	pthread_barrier_wait(handed->start);
	for (i = 0; i < handed->count; i++)
		folio_put(handed->folio[i]);
	return NULL;
}

static void test_last_put(void **state)
{
	struct folio_cache *cache = cache_open(1024, 0, NULL);
	struct folio *folio[512];
	struct handed handed = {.folio = folio, .count = 512};
	pthread_t thread[THREADS];
	pthread_barrier_t start;
	unsigned type, i, t, rounds = scaled(40), round;
	struct seen seen;

	(void)state;
	pthread_barrier_init(&start, NULL, THREADS);
	handed.start = &start;
	seen_begin(&seen);
	type = type_of(cache, &seen);
	for (round = 1; round <= rounds; round++) {
		for (i = 0; i < 512; i++) {
			folio[i] = take(cache, 0, type, &seen);
			for (t = 1; t < THREADS; t++)
				folio_get(folio[i]);
		}
		for (t = 0; t < THREADS; t++)
			assert_int_equal(pthread_create(&thread[t], NULL, put_all, &handed), 0);
		for (t = 0; t < THREADS; t++)
			pthread_join(thread[t], NULL);
		wait_released(&seen, round * 512);
	}
	assert_int_equal(folio_u32_load_relaxed(&seen.wrong), 0);
	assert_int_equal(folio_cache_close(cache), 0);
	assert_int_equal(folio_u32_load_relaxed(&seen.released), rounds * 512);
	pthread_barrier_destroy(&start);
	seen_end(&seen);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_register),
		cmocka_unit_test(test_register_other_version),
		cmocka_unit_test(test_release),
		cmocka_unit_test(test_release_blocks),
		cmocka_unit_test(test_release_calls),
		cmocka_unit_test(test_close_busy),
		cmocka_unit_test(test_release_by_type),
		cmocka_unit_test(test_last_put),
	};

	test_begin("release");
	return cmocka_run_group_tests_name("release", tests, NULL, NULL);
}
