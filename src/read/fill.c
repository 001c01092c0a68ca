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
 *   5  success: version even, UPTODATE in place of LOCKED, wake, for each folio; then all enter an
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
#include <string.h>

#include "base/compiler.h"
#include "base/pause.h"
#include "core/heat.h"
#include "core/walk.h"
#include "cache/dirty.h"
#include "cache/drop.h"
#include "cache/hint.h"
#include "cache/inflight.h"
#include "cache/revalidate.h"
#include "cache/size.h"
#include "evict/bounds.h"
#include "evict/evict.h"
#include "evict/once.h"
#include "evict/refault.h"
#include "read/gap.h"

/* folio->error has 16 bits: the verdict in the upper 4, the errno in the lower 12. */
#define ERROR_BITS 12
#define ERROR_MAX  ((1 << ERROR_BITS) - 1)

_Static_assert(PAGE_FAILED < 1 << (16 - ERROR_BITS), "the last verdict fits into folio->error");

static uint16_t error_pack(enum page_verdict verdict, int error)
{
	return (uint16_t)((unsigned)verdict << ERROR_BITS | (unsigned)-error);
}

enum page_verdict fill_verdict(const struct folio *folio, int *error)
{
	*error = -(folio->error & ERROR_MAX);
	return (enum page_verdict)(folio->error >> ERROR_BITS);
}

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
		inode_account_locked(inode, folio, INT64_C(1) << folio->order);
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
	folio_begin_use(folio, FOLIO_TYPE_FILE, inode, index, 0);
	if (mark >= index && (mark - index) >> folio->order == 0)
		heat = HEAT_MARK;
	folio_u32_store_relaxed(&folio->heat, heat);
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

/* ---- step 5 ---- */

/* fill_publish, without the insertion into a queue. */
static bool publish(struct inode *inode, struct folio *folio, uint64_t valid, uint64_t size)
{
	bool in_tree = true;

	/*
	 * valid is data for readers that copy, and for those that pin the folio and find that the
	 * file has grown (lookup.h).
	 */
	version_write_begin(&folio->version);
	folio_u32_store_relaxed(&folio->valid, (uint32_t)valid);
	FOLIO_PAUSE(fill_read, folio);
	if (size) {
		tree_lock(&inode->tree);
		/* Unless another thread has invalidated it since. */
		in_tree = folio_ptr_load_relaxed(&folio->owner) != NULL;
		if (in_tree) {
			dirty_mark_locked(inode, folio);
			/*
			 * While it is locked: write-back that finds the folio writes as far as the
			 * size.
			 */
			inode_grow_to(inode, size);
		}
	}
	/*
	 * From here on the folio may be copied. release: pairs with version_read_begin. A written
	 * page is dirty by now, so no thread drops what a reader has already seen.
	 */
	version_write_end(&folio->version);
	if (size)
		tree_unlock(&inode->tree);
	FOLIO_PAUSE(fill_settled, folio);
	hint_publish(inode, folio);
	/*
	 * folio_filled replaces all flags. dirty_mark_locked has set FOLIO_DIRTY already, and it
	 * must not be cleared.
	 */
	folio_filled(folio, FOLIO_UPTODATE | (size && in_tree ? FOLIO_DIRTY : 0));
	FOLIO_PAUSE(fill_unlocked, folio);
	return in_tree;
}

bool fill_publish(struct inode *inode, struct folio *folio, uint64_t valid, uint64_t size)
{
	struct folio_cache *cache = inode->cache;
	bool in_tree = publish(inode, folio, valid, size);

	queue_insert(&cache->queues, &cache->pool, &folio, 1);
	return in_tree;
}

/* Step 5 for one folio, failure. @error: with PAGE_FAILED, -errno; else 0. */
static void fill_fail(
	struct inode *inode, struct folio *folio, enum page_verdict verdict, int error)
{
	bool in_tree;

	folio->error = error_pack(verdict, error);
	tree_lock(&inode->tree);
	/* Another thread may have invalidated it since, and dropped the tree's reference. */
	in_tree = folio_ptr_load_relaxed(&folio->owner) != NULL;
	if (in_tree)
		inode_erase_locked(inode, folio);
	tree_unlock(&inode->tree);
	FOLIO_PAUSE(fill_erased, folio);
	folio_filled(folio, FOLIO_ERROR);
	if (in_tree)
		folio_put(folio);
}

/* How many bytes the read must have returned, by the known size of the file. */
static uint64_t fill_expected(const struct fill *fill)
{
	uint64_t size = folio_u64_load_acquire(&fill->inode->size), offset = fill->request.offset;
	uint64_t pages = fill->pages << FOLIO_PAGE_SHIFT;

	if (size > fill->disk_size)
		size = fill->disk_size;

	if (size <= offset)
		return 0;
	return size - offset < pages ? size - offset : pages;
}

/* The verdict on a page whose read failed. */
static enum page_verdict read_failed(const struct fill *fill)
{
	return fill->pages > 1 ? PAGE_READ_SINGLY : PAGE_FAILED;
}

/*
 * Step 5 for one folio. The read returned its first @done bytes, and the file has @size bytes for
 * readers. Returns the verdict on the folio; with PAGE_FAILED, the error is -EIO.
 *
 * A folio that another thread has dropped since is used only by the threads that already wait for
 * it: they get what the file had when it was read. A folio that is still in the tree must have all
 * that the file has now.
 */
static enum page_verdict finish_folio(
	const struct fill *fill, struct folio *folio, uint64_t done, uint64_t size)
{
	struct inode *inode = fill->inode;
	uint64_t disk_size = fill->disk_size;
	uint64_t start = folio->index << FOLIO_PAGE_SHIFT, bytes = folio_size(folio), valid, has;
	enum page_verdict verdict = PAGE_READY;

	/*
	 * During a truncation the file has more bytes than readers may see, and keeps them if the
	 * backend refuses to truncate. After a successful one it no longer has them; if this fill
	 * had sampled the size before, the truncation waits for its end.
	 */
	has = folio_u64_load_acquire(&inode->disk_size);
	if (has == UINT64_MAX || has < size)
		has = size;

	if (done > bytes)
		done = bytes;
	valid = done;
	if (folio_ptr_load_relaxed(&folio->owner)) {
		/*
		 * The file no longer has this page. It must not stay as a page of zeros, which a
		 * reader would find when the file grows.
		 */
		if (start >= size)
			verdict = PAGE_PAST_END;
		/* The backend read too little, and the missing bytes must not become zeros. */
		else if (done < bytes && start + done < (size < disk_size ? size : disk_size))
			verdict = read_failed(fill);
		/*
		 * The cache has made the file longer: past the end of the backend's file it reads
		 * as zeros.
		 */
		else if (size > disk_size)
			valid = bytes < size - start ? bytes : size - start;
		/*
		 * Bytes by which the file has grown are read once the new size is known. If the
		 * file shrinks before that, no thread requests them.
		 */
		else if (valid > has - start)
			valid = has - start;
	}
	if (verdict != PAGE_READY) {
		fill_fail(inode, folio, verdict, verdict == PAGE_FAILED ? -EIO : 0);
		return verdict;
	}
	/*
	 * Past the end of the file the folio reads as zeros. version_write_begin again: it must be
	 * called by the thread that stores the data, which is this one (core/version.h).
	 */
	if (done < bytes) {
		version_write_begin(&folio->version);
		memset((char *)folio->data + done, 0, bytes - done);
	}
	publish(inode, folio, valid, 0);
	return PAGE_READY;
}

/*
 * Step 5 for all folios of a fill. @failed: PAGE_READY, and the read returned @done bytes; else the
 * verdict on all folios, with the error of @call. Returns the verdict on the first folio. @keep: if
 * that is PAGE_READY, the caller keeps the filler's reference to the first folio, as its holder
 * (progress_hold).
 */
static enum page_verdict finish_folios(
	struct call *call, struct fill *fill, enum page_verdict failed, uint64_t done, bool keep)
{
	struct inode *inode = fill->inode;
	struct folio_cache *cache = inode->cache;
	enum page_verdict first = failed;
	/*
	 * acquire: pairs with inode_revalidate (release). A larger size is seen only with the folio
	 * dropped.
	 */
	uint64_t size = folio_u64_load_acquire(&inode->size);
	bool bad = false;
	int error = call->error;
	uint32_t i;

	for (i = 0; i < fill->count; i++) {
		struct folio *folio = fill->folio[i];
		uint64_t bytes = fill->iov[i].iov_len;
		enum page_verdict verdict = failed;

		if (verdict != PAGE_READY)
			fill_fail(inode, folio, verdict, verdict == PAGE_FAILED ? error : 0);
		else
			verdict = finish_folio(fill, folio, done, size);
		done -= done < bytes ? done : bytes;
		bad = bad || verdict == PAGE_FAILED || verdict == PAGE_READ_SINGLY;
		if (i == 0)
			first = verdict;
	}
	/* All at once, for the lock. Those that have failed are in no file, and are not queued. */
	if (failed == PAGE_READY)
		queue_insert(&cache->queues, &cache->pool, fill->folio, fill->count);
	for (i = 0; i < fill->count; i++) {
		if (i > 0 || !keep || first != PAGE_READY) {
			progress_end(&cache->progress, progress_put(fill->folio[i]));
		} else {
			progress_hold(&cache->progress);
			progress_end(&cache->progress, false);
		}
	}
	if (bad)
		stats_add(call->shard, STAT_FILL_ERRORS, 1);
	if (first == PAGE_FAILED && failed == PAGE_READY)
		call->error = -EIO;
	return first;
}

/*
 * Ends a fill whose read returned @result: bytes, or -errno. Returns the verdict on the first
 * folio; @keep as for finish_folios.
 */
static enum page_verdict fill_finish(
	struct call *call, struct fill *fill, ssize_t result, bool keep)
{
	enum page_verdict failed = PAGE_READY;
	uint64_t done = result < 0 ? 0 : (uint64_t)result;
	int error = result < 0 ? (int)result : 0;

	/*
	 * The read returned fewer bytes than the file is known to have: the file has shrunk. In
	 * that case this drops the folios, too.
	 */
	if (!error && done < fill_expected(fill))
		error = inode_revalidate(fill->inode, false, call->shard);
	if (error < 0) {
		failed = read_failed(fill);
		/* A backend that returns a number that is no errno has failed all the same. */
		call->error = error < -ERROR_MAX ? -EIO : error;
	}
	return finish_folios(call, fill, failed, done, keep);
}

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

/* ---- reads by the backend ---- */

void fill_submit(struct fill_batch *batch)
{
	struct folio_cache *cache = batch->call->cache;

	if (batch->count)
		cache->io->submit(cache->io_context, batch->request, batch->count);
	batch->count = 0;
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
		if (!slot_take(cache, false, NULL))
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
		finish_folios(call, fill, PAGE_NOT_SUBMITTED, 0, false);
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
