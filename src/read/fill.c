/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fill.c - a miss: folios are stored in the tree while locked, then read, then published.
 *
 *   1  take a frozen folio from the pool; set type, owner, index, heat; flags LOCKED; version odd
 *   2  unfreeze with two references: the tree's and the filler's
 *   3  tree lock: store the entry. If another thread has stored one there already: return our
 *      folio, use the other
 *   4  read into the frames. Other threads find the folio, pin it and wait until it is no longer
 *      LOCKED
 *   5  (read/finish.c)
 *      success: version even, UPTODATE in place of LOCKED, wake, for each folio; then all enter an
 *      eviction queue under one lock; put
 *      failure: erase first, so that the next look-up tries again; then ERROR in place of LOCKED:
 *      all waiting threads have a pin, and read verdict and errno from the folio; then put the
 *      tree's reference and ours. After a failed read of several pages it is unknown which of them
 *      is bad: the verdict is PAGE_READ_SINGLY, and a thread that needs a page reads it alone
 *
 * The folio is in no queue before it is published: eviction does not scan folios in flight.
 */
#include "read/fill.h"

#include <stdlib.h>

#include "base/compiler.h"
#include "base/pause.h"
#include "core/heat.h"
#include "core/walk.h"
#include "cache/account.h"
#include "cache/inflight.h"
#include "evict/bounds.h"
#include "evict/evict.h"
#include "evict/once.h"
#include "evict/refault.h"
#include "read/gap.h"

/* ---- steps 1 to 3 ---- */

static void fill_init(struct fill *fill, struct inode *inode, uint64_t index)
{
	fill->inode = inode;
	fill->count = 0;
	fill->pages = 0;
	fill->request = (struct folio_io_request){
		.handle = inode->handle,
		.offset = index << FOLIO_PAGE_SHIFT,
		.iov = fill->iov,
	};
}

/*
 * The largest order whose alignment allows it to begin at @index, that ends at @end or before, and
 * is no more than half a window if the file has a ceiling.
 */
static unsigned order_for(const struct inode *inode, uint64_t index, uint64_t end)
{
	uint64_t window = bounds_window(inode);
	unsigned order = 0;

	while (order < FOLIO_ORDER_MAX && !(index & ((UINT64_C(2) << order) - 1)) &&
		end - index >= UINT64_C(2) << order && UINT64_C(4) << order <= window)
		order++;
	return order;
}

/*
 * Step 3. Returns 0, with the former value of the slot (empty or a shadow) in *old; -EEXIST; or
 * -ENOMEM if there is no node.
 */
static int store_folio(struct inode *inode, struct folio *folio, void **old)
{
	int r;

	tree_lock(&inode->tree);
	*old = tree_load(&inode->tree, folio->index);
	r = tree_store_locked(&inode->tree, folio->index, folio->order, entry_of(folio));
	if (!r)
		inode_account_locked(inode, INT64_C(1) << folio->order);
	tree_unlock(&inode->tree);
	return r;
}

/*
 * Steps 1 to 3 for the page after those that @fill has, up to page @end at most. PAGE_READY counts
 * the caller as busy with one more folio. Else PAGE_LOST_RACE, PAGE_NO_NODE, or PAGE_FAILED with
 * -ENOMEM or -ETIMEDOUT.
 */
static enum page_verdict fill_extend(struct call *call, struct fill *fill, uint64_t end,
	uint64_t mark, uint32_t heat, enum evict_effort effort)
{
	struct inode *inode = fill->inode;
	struct folio_cache *cache = inode->cache;
	uint64_t index = (fill->request.offset >> FOLIO_PAGE_SHIFT) + fill->pages;
	const struct page_request request = {order_for(inode, index, end), true, effort};
	struct folio *folio;
	void *old;
	int r;

	bounds_make_space(call, inode, request.order);
	r = evict_alloc(call, request, &folio);
	if (r)
		return page_failed(call, r);
	/*
	 * Frozen, so ours alone. The plain and relaxed stores are published by the tree's store
	 * (release).
	 */
	pool_begin_use(&cache->pool, folio, FOLIO_TYPE_FILE, inode, index);
	if (mark >= index && (mark - index) >> folio->order == 0)
		heat = HEAT_MARK;
	heat_set(&cache->pool, folio, heat);
	folio_u32_store_relaxed(&folio->flags, FOLIO_LOCKED);
	folio_ref_unfreeze(&folio->ref, 2);
	FOLIO_PAUSE(fill_unfrozen, folio);

	r = store_folio(inode, folio, &old);
	if (r) {
		/*
		 * No thread found the folio in this use, but a late getter of an earlier use may
		 * hold a reference for a moment. Put both references like any others; the last put
		 * releases the folio, as type FILE.
		 */
		folio_ptr_store_relaxed(&folio->owner, NULL);
		if (folio_ref_put_n(&folio->ref, 2))
			folio_release(folio);
		progress_end(&cache->progress, true);
		return r == -ENOMEM ? PAGE_NO_NODE : PAGE_LOST_RACE;
	}
	if (call->once)
		once_begin(cache, folio, old);
	else if (tree_is_shadow(old))
		folio->refault = refault_of(cache, old, UINT64_C(1) << folio->order);
	if (folio->refault != REFAULT_NONE && folio->refault != REFAULT_ONCE)
		stats_add(call->shard, STAT_REFAULTS, UINT64_C(1) << folio->order);
	fill->iov[fill->count].iov_base = folio->data;
	fill->iov[fill->count].iov_len = folio_size(folio);
	fill->folio[fill->count++] = folio;
	fill->request.iov_count = fill->count;
	fill->pages += UINT64_C(1) << folio->order;
	return PAGE_READY;
}

/*
 * Add more folios to the same run, from free memory. PAGE_READY, or the reason for which it stopped
 * early, as fill_extend.
 */
static enum page_verdict fill_extend_all(
	struct call *call, struct fill *fill, uint64_t end, uint64_t mark, uint32_t heat)
{
	uint64_t first = fill->request.offset >> FOLIO_PAGE_SHIFT;

	if (end > first + FILL_PAGES_MAX)
		end = first + FILL_PAGES_MAX;
	while (fill->count < FILL_FOLIOS && first + fill->pages < end) {
		enum page_verdict verdict = fill_extend(call, fill, end, mark, heat, EVICT_NOTHING);

		if (verdict == PAGE_NO_NODE)
			evict_nodes_later(fill->inode->cache);
		if (verdict != PAGE_READY)
			return verdict;
	}
	return PAGE_READY;
}

/*
 * Sample how much the read must return, after the folios are in the tree: a thread that makes the
 * file shorter from here on finds and drops them. acquire: pairs with the end of a write (release),
 * so that the read finds what it wrote.
 */
static void sample_size(struct fill *fill)
{
	fill->disk_size = folio_u64_load_acquire(&fill->inode->disk_size);
}

/* Count a fill that is about to be submitted to the backend. */
static void count_fill(const struct fill *fill, struct stats_shard *shard)
{
	stats_add(shard, STAT_FILLS, 1);
	stats_add(shard, STAT_FILL_BYTES, fill->pages << FOLIO_PAGE_SHIFT);
}

/* ---- reads by the backend ---- */

/* The completion of a read, called on a thread of the backend. */
static void fill_complete(struct folio_io_request *request, ssize_t result)
{
	struct fill *fill = container_of(request, struct fill, request);
	struct inode *inode = fill->inode;
	struct folio_cache *cache = inode->cache;
	struct call call = {.cache = cache, .shard = thread_enter(cache, cache->id)};

	slot_give(cache);
	fill_finish(&call, fill, result, false);
	free(fill);
	inflight_end(inode);
}

void fill_submit(struct fill_batch *batch)
{
	struct folio_cache *cache = batch->call->cache;

	if (batch->count)
		cache->io->submit(cache->io_context, batch->request, batch->count);
	batch->count = 0;
}

/* A slot for a fill, for which the caller does not wait. */
static bool take_slot(struct call *call)
{
	bool taken = call->free_slots ? slot_take_free(call->cache)
				      : slot_take(call->cache, false, NULL);

	if (!taken)
		call->blocked = BLOCKED_SLOT;
	return taken;
}

uint64_t fill_add(struct fill_batch *batch, struct inode *inode, struct page_range range,
	uint64_t mark, uint32_t heat)
{
	struct folio_cache *cache = inode->cache;
	uint64_t index = range.first, added = 0;

	while (index < range.end) {
		uint64_t gap = gap_end(inode, index, range.end);
		enum page_verdict verdict;
		struct fill *fill;

		if (gap == index) {
			/* If the folio has left again already, the next pass finds a gap. */
			index = gap_begin(inode, index);
			continue;
		}
		if (!take_slot(batch->call))
			break;
		fill = malloc(sizeof(*fill));
		if (!fill) {
			slot_give(cache);
			break;
		}
		fill_init(fill, inode, index);
		fill->request.complete = fill_complete;
		verdict = fill_extend_all(batch->call, fill, gap, mark, heat);
		if (!fill->count) {
			free(fill);
			slot_give(cache);
			/* Another thread was faster: look again. */
			if (verdict != PAGE_LOST_RACE)
				break;
			continue;
		}
		sample_size(fill);
		inflight_begin(inode);
		count_fill(fill, batch->call->shard);
		index += fill->pages;
		added += fill->pages;
		batch->request[batch->count++] = &fill->request;
		if (batch->count == FILL_BATCH)
			fill_submit(batch);
	}
	return added;
}

/* ---- reads that the caller waits for ---- */

/*
 * Steps 1 to 3 for the first folio of a fill that the caller waits for, if the page is not cached.
 * Verdicts as fill_extend, except PAGE_NO_NODE.
 */
static enum page_verdict fill_begin(
	struct call *call, struct fill *fill, struct inode *inode, struct page_range range)
{
	enum page_verdict verdict;
	int r, tries = 3;

	fill_init(fill, inode, range.first);
	while ((verdict = fill_extend(call, fill, range.end, FILL_NO_MARK, HEAT_COLD,
			EVICT_WAIT)) == PAGE_NO_NODE) {
		/*
		 * Other threads may have freed nodes since, or the kernel is short of memory: three
		 * more tries.
		 */
		if (!tree_nodes_are_short(&inode->cache->tree_budget))
			r = tries-- > 0 ? 0 : -ENOMEM;
		else
			r = evict_for_nodes(call);
		if (r)
			return page_failed(call, r);
	}
	return verdict;
}

/* The rest of a fill that has its first folio. */
static void fill_rest(struct call *call, struct fill *fill, uint64_t end)
{
	fill_extend_all(call, fill, end, FILL_NO_MARK, HEAT_COLD);
	sample_size(fill);
}

/*
 * As fill_sync, for a call with a deadline: the backend reads, and the caller waits for the folio
 * like any other reader, or leaves it.
 */
static enum page_verdict fill_async(struct call *call, struct inode *inode, struct page_range range,
	struct folio **folio, uint64_t *filled)
{
	struct folio_cache *cache = inode->cache;
	struct folio_io_request *request;
	struct fill *fill = malloc(sizeof(*fill));
	enum page_verdict verdict;

	if (!fill)
		return page_failed(call, -ENOMEM);
	verdict = fill_begin(call, fill, inode, range);
	if (verdict != PAGE_READY) {
		free(fill);
		return verdict;
	}
	fill->request.complete = fill_complete;
	fill_rest(call, fill, range.end);
	/*
	 * Take the slot after the memory: a thread that waits for memory holds nothing that
	 * write-back waits for.
	 */
	if (!slot_take(cache, true, call->until)) {
		fill_finish_folios(call, fill, PAGE_NOT_SUBMITTED, 0, false);
		free(fill);
		return page_failed(call, -ETIMEDOUT);
	}
	count_fill(fill, call->shard);
	/* The filler's own reference is put when the read has ended. */
	*folio = fill->folio[0];
	*filled = fill->pages;
	folio_ref_get(&(*folio)->ref);
	progress_hold(&cache->progress);
	inflight_begin(inode);
	request = &fill->request;
	cache->io->submit(cache->io_context, &request, 1);
	return PAGE_READY;
}

enum page_verdict fill_sync(struct call *call, struct inode *inode, struct page_range range,
	struct folio **folio, uint64_t *filled)
{
	struct folio_cache *cache = inode->cache;
	enum page_verdict verdict;
	struct fill fill;
	ssize_t result;

	range.end = gap_end(inode, range.first, range.end);
	if (range.end == range.first)
		return PAGE_LOST_RACE;
	if (call->until)
		return fill_async(call, inode, range, folio, filled);
	verdict = fill_begin(call, &fill, inode, range);
	if (verdict != PAGE_READY)
		return verdict;
	fill_rest(call, &fill, range.end);
	count_fill(&fill, call->shard);
	result = cache->io->read(
		cache->io_context, inode->handle, fill.iov, fill.count, fill.request.offset);
	verdict = fill_finish(call, &fill, result, true);
	if (verdict == PAGE_READY)
		*folio = fill.folio[0];
	*filled = fill.pages;
	return verdict;
}

enum page_verdict fill_new(
	struct call *call, struct inode *inode, struct page_range range, struct folio **folio)
{
	enum page_verdict verdict;
	struct fill fill;

	range.end = gap_end(inode, range.first, range.end);
	if (range.end == range.first)
		return PAGE_LOST_RACE;
	verdict = fill_begin(call, &fill, inode, range);
	if (verdict == PAGE_READY)
		*folio = fill.folio[0];
	return verdict;
}
