/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The pool: its folios are aligned, have one owner and use the complete budget; freed folios are
 * merged; and descriptors survive what late getters do to them.
 */
#include <pthread.h>

#include "cache-test.h"
#include "core/version.h"
#include "large-pages.h"

#define ORDERS (FOLIO_ORDER_MAX + 1)

/* ---- one thread, compared with a model ---- */

/* The model: the owner of each page, 0 if it is free. */
struct model {
	struct pool pool;
	uint32_t pages;
	uint32_t *owner;
	uint32_t free;
	/* The folios that are taken. */
	struct folio **taken;
	uint32_t *tag;
	uint32_t count, next_tag;
};

static void model_begin(struct model *model, uint32_t pages)
{
	*model = (struct model){.pages = pages, .free = pages, .next_tag = 1};
	model->owner = calloc(pages, sizeof(*model->owner));
	model->taken = calloc(pages, sizeof(struct folio *));
	model->tag = calloc(pages, sizeof(*model->tag));
	assert_int_equal(pool_create(&model->pool, pages, 7, false), 0);
	assert_int_equal(pool_admit(&model->pool, 0, pages), 0);
}

static void model_end(struct model *model)
{
	pool_destroy(&model->pool);
	free(model->owner);
	free(model->taken);
	free(model->tag);
}

/*
 * True if there is an aligned run of free pages, which a buddy allocator that merges at once has as
 * a block.
 */
static bool model_has(const struct model *model, unsigned order)
{
	uint32_t size = UINT32_C(1) << order, page, i;

	for (page = 0; page + size <= model->pages; page += size) {
		for (i = 0; i < size && !model->owner[page + i]; i++)
			;
		if (i == size)
			return true;
	}
	return false;
}

/* The first and last word of each page have the tag of its owner. */
static void fill_tags(struct folio *folio, uint32_t tag)
{
	uint64_t i, pages = UINT64_C(1) << folio->order;

	for (i = 0; i < pages; i++) {
		uint32_t *word = (uint32_t *)((char *)folio_data(folio) + i * PAGE);

		word[0] = word[PAGE / sizeof(*word) - 1] = tag;
	}
}

static bool tags_are(const struct folio *folio, uint32_t tag)
{
	uint64_t i, pages = UINT64_C(1) << folio->order;

	for (i = 0; i < pages; i++) {
		const uint32_t *word = (const uint32_t *)((char *)folio_data(folio) + i * PAGE);

		if (word[0] != tag || word[PAGE / sizeof(*word) - 1] != tag)
			return false;
	}
	return true;
}

static bool model_take(struct model *model, unsigned order)
{
	struct pool *pool = &model->pool;
	struct folio *folio = pool_alloc(pool, order);
	uint32_t page, i;

	if (!folio) {
		assert_false(model_has(model, order));
		return false;
	}
	page = pool_page(pool, folio);
	assert_int_equal(page & ((UINT32_C(1) << order) - 1), 0);
	assert_true(page + (UINT32_C(1) << order) <= model->pages);
	assert_int_equal(folio->order, order);
	assert_int_equal(folio->pool, 7);
	assert_ptr_equal(folio->data, pool->data + page * PAGE);
	assert_int_equal(folio_u8_load_relaxed(&folio->queue), POOL_QUEUE_NONE);
	assert_int_equal(folio_ref_count(&folio->ref), 0);
	assert_false(folio_ref_try_get(&folio->ref));
	assert_true(folio_u64_load_relaxed(pool_version(pool, folio)) & VERSION_CHANGING);
	for (i = 0; i < UINT32_C(1) << order; i++) {
		assert_int_equal(model->owner[page + i], 0);
		model->owner[page + i] = model->next_tag;
	}
	model->free -= UINT32_C(1) << order;
	assert_int_equal(pool_free_pages(pool), model->free);
	folio->type = FOLIO_TYPE_PRIVATE;
	fill_tags(folio, model->next_tag);
	model->taken[model->count] = folio;
	model->tag[model->count++] = model->next_tag++;
	return true;
}

static void model_give(struct model *model, uint32_t which)
{
	struct folio *folio = model->taken[which];
	uint32_t page = pool_page(&model->pool, folio), i, size = UINT32_C(1) << folio->order;

	assert_true(tags_are(folio, model->tag[which]));
	for (i = 0; i < size; i++) {
		assert_int_equal(model->owner[page + i], model->tag[which]);
		model->owner[page + i] = 0;
	}
	model->free += size;
	pool_free(&model->pool, folio);
	assert_int_equal(folio->type, FOLIO_TYPE_FREE);
	assert_int_equal(pool_free_pages(&model->pool), model->free);
	model->count--;
	model->taken[which] = model->taken[model->count];
	model->tag[which] = model->tag[model->count];
}

/*
 * With all pages free, the largest folios that the number of pages allows can be taken, and no page
 * is left over.
 */
static void model_expect_merged(struct model *model)
{
	uint32_t left = model->pages;
	unsigned order;

	assert_int_equal(model->count, 0);
	for (order = ORDERS; order-- > 0;) {
		while (left >> order) {
			assert_true(model_take(model, order));
			left -= UINT32_C(1) << order;
		}
	}
	assert_int_equal(pool_free_pages(&model->pool), 0);
	while (model->count)
		model_give(model, 0);
}

static const uint32_t sizes[] = {1, 2, 3, 7, 40, 64, 65, 100, 511, 512, 513, 1023, 2048, 5000};

static void test_create(void **state)
{
	unsigned s;
	uint32_t i;

	(void)state;
	for (s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		struct pool pool;

		assert_int_equal(pool_create(&pool, sizes[s], 63, s & 1), 0);
		assert_int_equal(pool.pages, sizes[s]);
		assert_int_equal(pool_free_pages(&pool), sizes[s]);
		assert_true(pool_has(&pool, pool.folios));
		assert_true(pool_has(&pool, pool.folios + sizes[s] - 1));
		assert_false(pool_has(&pool, pool.folios + sizes[s]));
		assert_false(pool_has(&pool, pool.folios - 1));
		/* The frames are aligned to huge pages: an order-9 folio can be one. */
		assert_int_equal((uintptr_t)pool.data & ((1u << 21) - 1), 0);
		assert_int_equal(sizeof(struct folio), 64);
		/* The stocks of all CPUs have an eighth at most, and none has less than 4 pages. */
		assert_true((uint64_t)pool.stock_max * pool.stock_count <= sizes[s] / 8);
		assert_true(pool.stock_max == 0 || pool.stock_max >= 4);
		for (i = 0; i < sizes[s]; i++) {
			struct folio *folio = pool_folio(&pool, i);

			assert_int_equal(pool_page(&pool, folio), i);
			assert_int_equal(folio_ref_count(&folio->ref), 0);
			assert_true(folio_u64_load_relaxed(pool_version(&pool, folio)) &
				    VERSION_CHANGING);
			assert_int_equal(folio->type, FOLIO_TYPE_FREE);
			assert_ptr_equal(folio->data, pool.data + i * PAGE);
			assert_int_equal(folio->pool, 63);
		}
		pool_destroy(&pool);
	}
	{
		struct pool pool;

		assert_int_equal(pool_create(&pool, 0, 0, false), -EINVAL);
		assert_int_equal(pool_create(&pool, POOL_NONE, 0, false), -EINVAL);
	}
}

static bool is_accessible(const void *page)
{
	bool accessible;
	int fd[2];

	assert_int_equal(pipe(fd), 0);
	accessible = write(fd[1], page, 1) == 1;
	assert_true(accessible || errno == EFAULT);
	close(fd[0]);
	close(fd[1]);
	return accessible;
}

/* Frames are accessible once they are admitted, and stay so. */
static void test_admit(void **state)
{
	struct pool pool;
	uint32_t i;

	(void)state;
	assert_int_equal(pool_create(&pool, 600, 0, false), 0);
	assert_int_equal(pool_admit(&pool, 7, 1), 0);
	assert_int_equal(pool_admit(&pool, 500, 100), 0);
	assert_int_equal(pool_admit(&pool, 500, 1), 0);
	for (i = 0; i < 600; i++)
		assert_int_equal(is_accessible(pool.data + i * PAGE), i == 7 || i >= 500);
	assert_int_equal(pool_admit(&pool, 0, 600), 0);
	for (i = 0; i < 600; i++)
		assert_true(is_accessible(pool.data + i * PAGE));
	pool_destroy(&pool);
}

static uint64_t bytes_mapped(void)
{
	unsigned long long pages = 0;
	FILE *file = fopen("/proc/self/statm", "r");

	assert_non_null(file);
	assert_int_equal(fscanf(file, "%llu", &pages), 1);
	fclose(file);
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Nothing is left of a pool, and no call is refused, where a page of the kernel has 16 frames. */
static void test_large_pages(void **state)
{
	struct pool pool;
	uint64_t before;
	unsigned s;

	(void)state;
	if (!LARGE_PAGES_WORK) {
		print_message("# skipped: calls for memory cannot be replaced here\n");
		return;
	}
	/* Memory of stdio and of the allocator. */
	bytes_mapped();
	for (s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		before = bytes_mapped();
		large_pages_begin();
		assert_int_equal(pool_create(&pool, sizes[s], 0, false), 0);
		assert_int_equal(pool.unit, 16);
		assert_int_equal(pool_admit(&pool, sizes[s] - 1, 1), 0);
		assert_true(is_accessible(pool.data + (sizes[s] - 1) * PAGE));
		/* No more than the two mappings, in pages of the kernel. */
		assert_true(bytes_mapped() - before <=
			    pool.folios_bytes + pool.data_bytes + LARGE_PAGE);
		assert_int_equal(pool.data_bytes % LARGE_PAGE, 0);
		assert_int_equal(pool.folios_bytes % LARGE_PAGE, 0);
		pool_destroy(&pool);
		assert_int_equal(large_refused, 0);
		large_pages_end();
		assert_int_equal(bytes_mapped(), before);
	}
}

/* The complete budget and no page more, for each order. */
static void test_exhaust(void **state)
{
	unsigned s, order;

	(void)state;
	for (s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		struct model model;

		model_begin(&model, sizes[s]);
		for (order = 0; order < ORDERS; order++) {
			while (model_take(&model, order))
				;
			assert_int_equal(model.count, sizes[s] >> order);
			while (model.count)
				model_give(&model, model.count / 2);
		}
		model_expect_merged(&model);
		model_end(&model);
	}
}

static void test_random(void **state)
{
	uint64_t random = test_seed;
	unsigned s, i;

	(void)state;
	for (s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		struct model model;
		/* Fills the pool for a while, then empties it. */
		unsigned take = 0;

		model_begin(&model, sizes[s]);
		for (i = scaled(6000); i-- > 0;) {
			if (i % 512 == 0)
				take = 20 + (unsigned)random_below(&random, 60);
			if (random_below(&random, 100) < take)
				model_take(&model,
					(unsigned)(random_below(&random, 3)
							   ? random_below(&random, 3)
							   : random_below(&random, ORDERS)));
			else if (model.count)
				model_give(&model, (uint32_t)random_below(&random, model.count));
		}
		while (model.count)
			model_give(&model, (uint32_t)random_below(&random, model.count));
		model_expect_merged(&model);
		model_end(&model);
	}
}

/* Single pages are kept in stocks, which are emptied when a larger folio is needed. */
static void test_stocks_emptied(void **state)
{
	struct model model;

	(void)state;
	model_begin(&model, 2048);
	assert_true(model.pool.stock_max > 0);
	while (model_take(&model, 0))
		;
	while (model.count)
		model_give(&model, model.count - 1);
	assert_true(model_take(&model, FOLIO_ORDER_MAX));
	assert_true(model_take(&model, FOLIO_ORDER_MAX));
	assert_true(model_take(&model, FOLIO_ORDER_MAX));
	assert_true(model_take(&model, FOLIO_ORDER_MAX));
	assert_false(model_take(&model, 0));
	while (model.count)
		model_give(&model, 0);
	model_end(&model);
}

/* ---- many threads ---- */

#define THREADS      4
#define SHARED_PAGES 700
#define MINE_MAX     300

struct shared {
	struct pool pool;
	folio_u32 owner[SHARED_PAGES];
	folio_u32 taken; /* pages */
	folio_u32 violations;
	folio_u32 seen; /* events that the test is about; it runs until there were enough */
	folio_u32 stop;
	unsigned steps;
	pthread_barrier_t start;
};

struct worker {
	struct shared *shared;
	pthread_t thread;
	uint64_t random;
	uint32_t tag;
};

#define SEEN_ENOUGH 50

static bool goes_on(struct shared *shared, unsigned step)
{
	return step < shared->steps || folio_u32_load_relaxed(&shared->seen) < SEEN_ENOUGH;
}

static void violated(struct shared *shared, bool condition)
{
	if (condition)
		folio_u32_fetch_add_relaxed(&shared->violations, 1);
}

/* Marks the pages of a folio as owned by @tag; they must have been owned by @before. */
static void change_owner(struct shared *shared, struct folio *folio, uint32_t before, uint32_t tag)
{
	uint32_t page = pool_page(&shared->pool, folio), size = UINT32_C(1) << folio->order, i;

	violated(shared, page % size || page + size > SHARED_PAGES);
	for (i = 0; i < size; i++)
		violated(shared, folio_u32_fetch_add_relaxed(
					 &shared->owner[page + i], tag - before) != before);
	if (tag)
		violated(shared,
			folio_u32_fetch_add_relaxed(&shared->taken, size) + size > SHARED_PAGES);
	else
		folio_u32_fetch_sub_relaxed(&shared->taken, size);
}

static void *take_and_give(void *arg)
{
	struct worker *worker = arg;
	struct shared *shared = worker->shared;
	struct folio *mine[MINE_MAX];
	unsigned count = 0, i;

	pthread_barrier_wait(&shared->start);
	for (i = 0; goes_on(shared, i); i++) {
		bool take = random_below(&worker->random, MINE_MAX) >= count;

		if (take) {
			unsigned order = (unsigned)random_below(&worker->random, 40);
			struct folio *folio = pool_alloc(&shared->pool, order < ORDERS ? order : 0);

			if (!folio) {
				folio_u32_fetch_add_relaxed(&shared->seen, 1);
				continue;
			}
			violated(shared, folio_ref_count(&folio->ref) != 0);
			change_owner(shared, folio, 0, worker->tag);
			folio->type = FOLIO_TYPE_PRIVATE;
			fill_tags(folio, worker->tag);
			mine[count++] = folio;
		} else {
			unsigned which = (unsigned)random_below(&worker->random, count);

			violated(shared, !tags_are(mine[which], worker->tag));
			change_owner(shared, mine[which], worker->tag, 0);
			pool_free(&shared->pool, mine[which]);
			mine[which] = mine[--count];
		}
	}
	while (count) {
		count--;
		change_owner(shared, mine[count], worker->tag, 0);
		pool_free(&shared->pool, mine[count]);
	}
	return NULL;
}

static struct shared *shared_begin(unsigned steps)
{
	struct shared *shared = NULL;

	assert_int_equal(posix_memalign((void **)&shared, 64, sizeof(*shared)), 0);
	memset(shared, 0, sizeof(*shared));
	assert_int_equal(pool_create(&shared->pool, SHARED_PAGES, 0, false), 0);
	assert_int_equal(pool_admit(&shared->pool, 0, SHARED_PAGES), 0);
	shared->steps = steps;
	return shared;
}

static void shared_end(struct shared *shared)
{
	unsigned order, blocks = 0;

	assert_int_equal(folio_u32_load_relaxed(&shared->violations), 0);
	assert_int_equal(pool_free_pages(&shared->pool), SHARED_PAGES);
	/* All pages are merged again: 700 = */
	for (order = ORDERS; order-- > 0;)
		while (pool_alloc(&shared->pool, order))
			blocks++;
	assert_int_equal(blocks, 6);
	assert_int_equal(pool_free_pages(&shared->pool), 0);
	pool_destroy(&shared->pool);
	free(shared);
}

static void test_threads(void **state)
{
	struct shared *shared = shared_begin(scaled(100000));
	struct worker worker[THREADS];
	unsigned i;

	(void)state;
	pthread_barrier_init(&shared->start, NULL, THREADS);
	for (i = 0; i < THREADS; i++) {
		worker[i] =
			(struct worker){.shared = shared, .random = test_seed + i, .tag = i + 1};
		assert_int_equal(
			pthread_create(&worker[i].thread, NULL, take_and_give, &worker[i]), 0);
	}
	for (i = 0; i < THREADS; i++)
		pthread_join(worker[i].thread, NULL);
	pthread_barrier_destroy(&shared->start);
	shared_end(shared);
}

/*
 * Late getters: threads that try to get a reference to any descriptor at any time, as a look-up
 * with a stale pointer does. Whichever thread puts last releases, be it one of them. The pool must
 * neither lose a page nor return one twice, and the words of free descriptors collect junk.
 */
static void put_and_release(struct shared *shared, struct folio *folio)
{
	if (!folio_ref_put(&folio->ref))
		return;
	/* By the folio's data, read after the put. */
	pool_change_begin(&shared->pool, folio);
	violated(shared, folio->type != FOLIO_TYPE_PRIVATE);
	change_owner(shared, folio, 1, 0);
	pool_free(&shared->pool, folio);
}

static void *get_late(void *arg)
{
	struct worker *worker = arg;
	struct shared *shared = worker->shared;

	pthread_barrier_wait(&shared->start);
	while (!folio_u32_load_relaxed(&shared->stop)) {
		struct folio *folio = pool_folio(
			&shared->pool, (uint32_t)random_below(&worker->random, SHARED_PAGES));

		if (folio_ref_try_get(&folio->ref)) {
			folio_u32_fetch_add_relaxed(&shared->seen, 1);
			put_and_release(shared, folio);
		}
	}
	return NULL;
}

static void *take_and_put(void *arg)
{
	struct worker *worker = arg;
	struct shared *shared = worker->shared;
	struct folio *mine[MINE_MAX];
	unsigned count = 0, i;

	pthread_barrier_wait(&shared->start);
	for (i = 0; goes_on(shared, i); i++) {
		if (random_below(&worker->random, MINE_MAX) >= count) {
			unsigned order = (unsigned)random_below(&worker->random, 40);
			struct folio *folio = pool_alloc(&shared->pool, order < 4 ? order : 0);

			if (!folio)
				continue;
			change_owner(shared, folio, 0, 1);
			folio->type = FOLIO_TYPE_PRIVATE;
			fill_tags(folio, worker->tag);
			folio_ref_unfreeze(&folio->ref, 1);
			mine[count++] = folio;
		} else {
			unsigned which = (unsigned)random_below(&worker->random, count);

			violated(shared, !tags_are(mine[which], worker->tag));
			put_and_release(shared, mine[which]);
			mine[which] = mine[--count];
		}
	}
	while (count)
		put_and_release(shared, mine[--count]);
	return NULL;
}

static void test_late_getters(void **state)
{
	struct shared *shared = shared_begin(scaled(100000));
	struct worker worker[THREADS];
	unsigned i;

	(void)state;
	pthread_barrier_init(&shared->start, NULL, THREADS);
	for (i = 0; i < THREADS; i++) {
		worker[i] =
			(struct worker){.shared = shared, .random = test_seed + i, .tag = i + 1};
		assert_int_equal(pthread_create(&worker[i].thread, NULL,
					 i % 2 ? get_late : take_and_put, &worker[i]),
			0);
	}
	for (i = 0; i < THREADS; i += 2)
		pthread_join(worker[i].thread, NULL);
	folio_u32_store_relaxed(&shared->stop, 1);
	for (i = 1; i < THREADS; i += 2)
		pthread_join(worker[i].thread, NULL);
	pthread_barrier_destroy(&shared->start);
	shared_end(shared);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_create),
		cmocka_unit_test(test_admit),
		cmocka_unit_test(test_large_pages),
		cmocka_unit_test(test_exhaust),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_stocks_emptied),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_late_getters),
	};

	test_begin("pool");
	return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
