/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a fill costs: one request of the device for a large folio, and for many small ones; and one
 * lock of the queues for all of them. This program defines the functions that lock, to which the
 * library links, and counts their calls.
 */
#include <dlfcn.h>

#include "fault-world.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define COUNTING 0 /* a sanitizer has replaced these functions already */
#else
#define COUNTING 1
#endif

/* Every lock of the queues begins with a try of it. Set while no other thread takes it. */
static pthread_mutex_t *watched;
static folio_u32 locks;

#if COUNTING
int pthread_mutex_trylock(pthread_mutex_t *mutex)
{
	static int (*next)(pthread_mutex_t *);

	if (mutex == watched)
		folio_u32_fetch_add_relaxed(&locks, 1);
	if (!next)
		*(void **)&next = dlsym(RTLD_NEXT, "pthread_mutex_trylock");
	return next(mutex);
}
#endif

/* The locks since the last call. */
static unsigned locks_taken(void)
{
	return folio_u32_exchange_acquire(&locks, 0);
}

/* ---- the requests that the device gets ---- */

static unsigned requests, elements, longest;

static ssize_t counting_read(
	void *context, void *handle, const struct iovec *iov, unsigned iov_count, uint64_t offset)
{
	requests++;
	elements += iov_count;
	return io_fault_ops.read(context, handle, iov, iov_count, offset);
}

static void counting_submit(void *context, struct folio_io_request **request, unsigned count)
{
	unsigned i;

	requests += count;
	for (i = 0; i < count; i++) {
		elements += request[i]->iov_count;
		if (request[i]->iov_count > longest)
			longest = request[i]->iov_count;
	}
	io_fault_ops.submit(context, request, count);
}

/* The backend runs every request on the calling thread. */
static void counting_begin(struct world *world, uint64_t pages)
{
	static struct folio_io_ops ops;

	ops = io_fault_ops;
	ops.read = counting_read;
	ops.submit = counting_submit;
	world_begin_over(world, &ops, 0, pages, 4096 * PAGE);
	requests = elements = 0;
}

static void expect_requests(unsigned count, unsigned vector)
{
	assert_int_equal(requests, count);
	assert_int_equal(elements, vector);
	requests = elements = 0;
}

/* Every order that a request can have: the folio is one element of one request. */
static void test_large_folio(void **state)
{
	struct world world;
	unsigned order;

	(void)state;
	counting_begin(&world, 16384);
	for (order = 0; order <= 8; order++) {
		uint64_t pages = UINT64_C(1) << order, index = pages, again = 1024 + pages;
		struct folio_range range = {again * PAGE, pages * PAGE};

		if (order == 0)
			index = 0;
		expect_read(&world, index * PAGE, pages * PAGE, 1);
		assert_int_equal(
			folio_order(entry_folio(tree_load(&world.file->inode->tree, index))),
			order);
		expect_requests(1, 1);
		/* The same by a request that is submitted. */
		assert_int_equal(folio_file_prefetch(world.file, &range, 1), pages);
		assert_int_equal(
			folio_order(entry_folio(tree_load(&world.file->inode->tree, again))),
			order);
		expect_requests(1, 1);
	}
	world_end(&world);
}

/*
 * Small folios without a gap: one request, one lock, and a queue in the order of the pages. In so
 * small a cache a folio has two pages at most. Enough are free, so the evictor sleeps.
 */
static void test_small_folios(void **state)
{
	enum { PAGES = 32, FOLIOS = PAGES / 2 };
	struct world world;
	struct queues *queues;
	uint32_t page;
	uint64_t i;

	(void)state;
	counting_begin(&world, 64);
	watched = &world.cache->queues.lock;
	locks_taken();
	expect_read(&world, 100 * PAGE, PAGES * PAGE, 1);
	if (COUNTING)
		assert_int_equal(locks_taken(), 1);
	expect_requests(1, FOLIOS);
	queues = &world.cache->queues;
	assert_int_equal(queues->small.folios, FOLIOS);
	page = queues->small.tail;
	for (i = 100; i < 100 + PAGES; i += 2) {
		struct folio *folio = pool_folio(&world.cache->pool, page);

		assert_int_equal(folio->index, i);
		page = folio->prev;
	}
	watched = NULL;
	world_end(&world);
}

/* Free frames of which no two are adjacent: more folios than one request can have. */
static void test_scattered_frames(void **state)
{
	enum { BUDGET = 1024, LEFT = 40, PAGES = 200 };
	const struct folio_range range = {0, PAGES * PAGE};
	struct world world;
	uint64_t i;

	(void)state;
	counting_begin(&world, BUDGET);
	assert_int_equal(folio_file_advise(world.file, FOLIO_ADVICE_RANDOM), 0);
	for (i = 0; pool_free_pages(&world.cache->pool) > LEFT; i++)
		expect_read(&world, (PAGES + 3 * i) * PAGE, PAGE, 1);
	while (i-- > 0)
		if (i % 2)
			assert_int_equal(
				folio_file_invalidate(world.file, (PAGES + 3 * i) * PAGE, PAGE), 0);
	longest = 0;
	assert_int_equal(folio_file_prefetch(world.file, &range, 1), PAGES);
	io_fault_wait_idle(world.io);
	assert_int_equal(longest, FOLIO_IO_IOV_MAX);
	for (i = 0; i < PAGES; i++)
		expect_read(&world, i * PAGE, PAGE, 1);
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_large_folio),
		cmocka_unit_test(test_small_folios),
		cmocka_unit_test(test_scattered_frames),
	};

	test_begin("fill");
	return cmocka_run_group_tests_name("fill", tests, NULL, NULL);
}
