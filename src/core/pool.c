/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pool.c - the reservation, the buddy allocator, and a stock of single pages per CPU.
 *
 * Lock order: a stock's lock, then the pool's lock. For all other code both are leaves: no other
 * function is called under them, so a release, which may run on any thread, may take them.
 *
 * The order-o buddy of page p is p ^ 2^o. A free folio in the buddy lists has queue
 * POOL_QUEUE_BUDDY and a valid order. No other folio ever has that value, so a check of the buddy's
 * descriptor under the lock decides whether the two can be merged.
 */
#include "core/pool.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HUGE_BYTES ((size_t)2 << 20)

/* ---- memory ---- */

static size_t round_up(size_t bytes, size_t to)
{
	return (bytes + to - 1) & ~(to - 1);
}

size_t pool_kernel_page;

static size_t kernel_page(void)
{
	return pool_kernel_page ? pool_kernel_page : (size_t)sysconf(_SC_PAGESIZE);
}

/*
 * Anonymous memory aligned to 2 MiB, so that huge pages fit. @bytes: whole pages of the kernel.
 * @all: all of it will be touched, so the kernel accounts for it and may refuse more than it can
 * ever provide. Otherwise none of it is accessible yet.
 */
static void *reserve(size_t bytes, bool huge_pages, bool all)
{
	size_t len = bytes + HUGE_BYTES;
	char *map, *start;

	map = mmap(NULL, len, all ? PROT_READ | PROT_WRITE : PROT_NONE,
		MAP_PRIVATE | MAP_ANONYMOUS | (all ? 0 : MAP_NORESERVE), -1, 0);
	if (map == MAP_FAILED)
		return NULL;
	start = (char *)round_up((uintptr_t)map, HUGE_BYTES);
	if (start > map)
		munmap(map, start - map);
	if (start + bytes < map + len)
		munmap(start + bytes, map + len - (start + bytes));
	/* Only advice: a kernel without huge pages provides small ones. */
	madvise(start, bytes, huge_pages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	return start;
}

int pool_admit(struct pool *pool, uint32_t first, uint32_t pages)
{
	size_t page = (size_t)pool->unit << FOLIO_PAGE_SHIFT;
	size_t start = ((size_t)first << FOLIO_PAGE_SHIFT) & ~(page - 1);
	size_t end = round_up((size_t)(first + pages) << FOLIO_PAGE_SHIFT, page);

	return mprotect(pool->data + start, end - start, PROT_READ | PROT_WRITE) ? -ENOMEM : 0;
}

/* ---- the buddy allocator; the pool's lock is held ---- */

static void buddy_push(struct pool *pool, uint32_t page, unsigned order)
{
	struct folio *folio = pool_folio(pool, page);
	uint32_t head = pool->head[order];

	folio->order = (uint8_t)order;
	folio->prev = POOL_NONE;
	folio->next = head;
	if (head != POOL_NONE)
		pool_folio(pool, head)->prev = page;
	pool->head[order] = page;
	folio_u8_store_relaxed(&folio->queue, POOL_QUEUE_BUDDY);
}

static void buddy_unlink(struct pool *pool, struct folio *folio)
{
	if (folio->next != POOL_NONE)
		pool_folio(pool, folio->next)->prev = folio->prev;
	if (folio->prev != POOL_NONE)
		pool_folio(pool, folio->prev)->next = folio->next;
	else
		pool->head[folio->order] = folio->next;
	folio_u8_store_relaxed(&folio->queue, POOL_QUEUE_NONE);
}

static void buddy_free(struct pool *pool, uint32_t page, unsigned order)
{
	while (order < FOLIO_ORDER_MAX) {
		uint32_t other = page ^ UINT32_C(1) << order;
		struct folio *buddy;

		if (other >= pool->pages)
			break;
		buddy = pool_folio(pool, other);
		if (folio_u8_load_relaxed(&buddy->queue) != POOL_QUEUE_BUDDY ||
			buddy->order != order)
			break;
		buddy_unlink(pool, buddy);
		page &= ~(UINT32_C(1) << order);
		order++;
	}
	buddy_push(pool, page, order);
}

/* Returns a page number or POOL_NONE. */
static uint32_t buddy_alloc(struct pool *pool, unsigned order)
{
	unsigned from = order;
	uint32_t page;

	while (from <= FOLIO_ORDER_MAX && pool->head[from] == POOL_NONE)
		from++;
	if (from > FOLIO_ORDER_MAX)
		return POOL_NONE;
	page = pool->head[from];
	buddy_unlink(pool, pool_folio(pool, page));
	/* Return the upper halves; keep the lowest pages. */
	while (from > order) {
		from--;
		buddy_push(pool, page + (UINT32_C(1) << from), from);
	}
	pool_folio(pool, page)->order = (uint8_t)order;
	return page;
}

/* ---- creation and destruction ---- */

int pool_create(struct pool *pool, uint64_t pages, uint16_t id, bool huge_pages)
{
	size_t kernel = kernel_page();
	long cpus = sysconf(_SC_NPROCESSORS_CONF);
	uint64_t page;
	size_t versions;
	char *start;
	unsigned i;

	memset(pool, 0, sizeof(*pool));
	if (pages == 0 || pages >= POOL_NONE)
		return -EINVAL;
	pool->pages = (uint32_t)pages;
	pool->unit = kernel > FOLIO_PAGE_SIZE ? (uint32_t)(kernel >> FOLIO_PAGE_SHIFT) : 1;
	pool->data_bytes = round_up(pages << FOLIO_PAGE_SHIFT, kernel);
	versions = round_up(pages * sizeof(*pool->version), kernel);
	pool->folios_bytes = round_up(pages * sizeof(struct folio), kernel) + versions;
	pool->stock_count = cpus > 0 ? (uint32_t)cpus : 1;
	/* All stocks together hold at most an eighth of the budget. */
	pool->stock_max = (uint32_t)(pages / 8 / pool->stock_count);
	if (pool->stock_max > POOL_STOCK_MAX)
		pool->stock_max = POOL_STOCK_MAX;
	if (pool->stock_max < 4)
		pool->stock_max = 0;
	pool->stock = aligned_alloc(64, sizeof(*pool->stock) * pool->stock_count);
	if (!pool->stock)
		return -ENOMEM;
	start = reserve(pool->folios_bytes, huge_pages, true);
	pool->data = start ? reserve(pool->data_bytes, huge_pages, false) : NULL;
	if (!pool->data) {
		if (start)
			munmap(start, pool->folios_bytes);
		free(pool->stock);
		return -ENOMEM;
	}
	/*
	 * A child of fork does not inherit the frames: while it lives, each frame that is filled
	 * would exist twice and exceed the budget; and open(2) requires this of memory that is the
	 * target of direct I/O at the time of a fork. The child inherits the descriptors, because
	 * it may still put.
	 */
	madvise(pool->data, pool->data_bytes, MADV_DONTFORK);
	/* One mapping for both: the lines that a look-up loads are in few huge pages. */
	pool->folios = (struct folio *)start;
	pool->version = (folio_u64 *)(start + pool->folios_bytes - versions);
	pool->version_wiped = !madvise(pool->version, versions, MADV_WIPEONFORK);
	pool->huge_bytes = huge_pages ? pool->data_bytes & ~(HUGE_BYTES - 1) : 0;
	pthread_mutex_init(&pool->lock, NULL);
	for (i = 0; i < pool->stock_count; i++) {
		pthread_mutex_init(&pool->stock[i].lock, NULL);
		pool->stock[i].count = 0;
	}
	for (i = 0; i <= FOLIO_ORDER_MAX; i++)
		pool->head[i] = POOL_NONE;
	for (page = 0; page < pages; page++) {
		struct folio *folio = &pool->folios[page];

		folio_ref_init_frozen(&folio->ref);
		folio_u64_store_relaxed(&pool->version[page], VERSION_CHANGING);
		folio->data = pool->data + (page << FOLIO_PAGE_SHIFT);
		folio->pool = id;
	}
	/* From the end, so that low pages are at the head of the lists and allocated first. */
	for (page = pages; page > 0;) {
		unsigned order = FOLIO_ORDER_MAX;

		/* The largest folio that ends at page and begins at a multiple of its own size. */
		while (order > 0 && (page & ((UINT64_C(1) << order) - 1)))
			order--;
		page -= UINT64_C(1) << order;
		buddy_push(pool, (uint32_t)page, order);
	}
	folio_u64_store_relaxed(&pool->free, pages);
	return 0;
}

void pool_destroy(struct pool *pool)
{
	unsigned i;

	for (i = 0; i < pool->stock_count; i++)
		pthread_mutex_destroy(&pool->stock[i].lock);
	pthread_mutex_destroy(&pool->lock);
	munmap(pool->data, pool->data_bytes);
	munmap(pool->folios, pool->folios_bytes);
	free(pool->stock);
}

void pool_forked(const struct pool *pool)
{
	void *map;

	if (!pool->data)
		return;
	/* Not if the range is in use: the fork came before MADV_DONTFORK or after munmap. */
	map = mmap(pool->data, pool->data_bytes, PROT_NONE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
	/* Before Linux 4.17, the address is only a wish. */
	if (map != MAP_FAILED && map != pool->data)
		munmap(map, pool->data_bytes);
}

/* ---- stocks ---- */

/* The stock of this CPU. Any stock is correct; this one is rarely contended. */
static struct pool_stock *stock_here(struct pool *pool)
{
	int cpu = sched_getcpu();

	return &pool->stock[(cpu < 0 ? 0 : (unsigned)cpu) % pool->stock_count];
}

static struct folio *stock_alloc(struct pool *pool)
{
	struct pool_stock *stock = stock_here(pool);
	struct folio *folio = NULL;

	pthread_mutex_lock(&stock->lock);
	if (stock->count == 0) {
		uint32_t page;

		pthread_mutex_lock(&pool->lock);
		while (stock->count < (pool->stock_max + 1) / 2) {
			page = buddy_alloc(pool, 0);
			if (page == POOL_NONE)
				break;
			folio_u8_store_relaxed(&pool_folio(pool, page)->queue, POOL_QUEUE_STOCK);
			stock->page[stock->count++] = page;
		}
		pthread_mutex_unlock(&pool->lock);
	}
	if (stock->count > 0) {
		folio = pool_folio(pool, stock->page[--stock->count]);
		folio_u8_store_relaxed(&folio->queue, POOL_QUEUE_NONE);
	}
	pthread_mutex_unlock(&stock->lock);
	return folio;
}

static void stock_free(struct pool *pool, struct folio *folio)
{
	struct pool_stock *stock = stock_here(pool);

	pthread_mutex_lock(&stock->lock);
	if (stock->count == pool->stock_max) {
		uint32_t i, half = (pool->stock_max + 1) / 2;

		/* Return the older half; the pages that are still in the CPU's cache stay. */
		pthread_mutex_lock(&pool->lock);
		for (i = 0; i < half; i++)
			buddy_free(pool, stock->page[i], 0);
		pthread_mutex_unlock(&pool->lock);
		stock->count -= half;
		memmove(stock->page, stock->page + half, stock->count * sizeof(stock->page[0]));
	}
	folio_u8_store_relaxed(&folio->queue, POOL_QUEUE_STOCK);
	stock->page[stock->count++] = pool_page(pool, folio);
	pthread_mutex_unlock(&stock->lock);
}

/* Return the pages of all stocks to the lists, where any thread can allocate and merge them. */
static void stocks_drain(struct pool *pool)
{
	unsigned i;

	for (i = 0; i < pool->stock_count; i++) {
		struct pool_stock *stock = &pool->stock[i];

		pthread_mutex_lock(&stock->lock);
		pthread_mutex_lock(&pool->lock);
		while (stock->count > 0)
			buddy_free(pool, stock->page[--stock->count], 0);
		pthread_mutex_unlock(&pool->lock);
		pthread_mutex_unlock(&stock->lock);
	}
}

/* ---- allocation ---- */

static struct folio *alloc_once(struct pool *pool, unsigned order)
{
	uint32_t page;

	if (order == 0 && pool->stock_max)
		return stock_alloc(pool);
	pthread_mutex_lock(&pool->lock);
	page = buddy_alloc(pool, order);
	pthread_mutex_unlock(&pool->lock);
	return page == POOL_NONE ? NULL : pool_folio(pool, page);
}

struct folio *pool_alloc(struct pool *pool, unsigned order)
{
	struct folio *folio = alloc_once(pool, order);

	if (!folio && pool->stock_max && pool_free_pages(pool) >= UINT64_C(1) << order) {
		stocks_drain(pool);
		folio = alloc_once(pool, order);
	}
	if (folio)
		folio_u64_fetch_sub_relaxed(&pool->free, UINT64_C(1) << order);
	return folio;
}

void pool_free(struct pool *pool, struct folio *folio)
{
	unsigned order = folio->order;

	folio->type = FOLIO_TYPE_FREE;
	/*
	 * Add to the count before another thread can allocate the folio: the count may be too high
	 * for a moment, but never wraps below zero.
	 */
	folio_u64_fetch_add_relaxed(&pool->free, UINT64_C(1) << order);
	if (order == 0 && pool->stock_max) {
		stock_free(pool, folio);
	} else {
		pthread_mutex_lock(&pool->lock);
		buddy_free(pool, pool_page(pool, folio), order);
		pthread_mutex_unlock(&pool->lock);
	}
}
