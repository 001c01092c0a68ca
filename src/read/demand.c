/* SPDX-License-Identifier: BSD-2-Clause */
/* demand.c - a page that a call needs now. */
#include "read/demand.h"

#include <errno.h>
#include <stdbool.h>

#include "base/deadline.h"
#include "core/heat.h"
#include "cache/size.h"
#include "evict/bounds.h"
#include "evict/evict.h"
#include "evict/limits.h"
#include "evict/once.h"
#include "read/fill.h"
#include "read/lookup.h"

/*
 * What read-ahead may use, and how fast pages of the cache are used. @once: of an access that
 * leaves the hot set unchanged.
 */
static struct pace pace_of(const struct folio_file *file, bool once)
{
	struct folio_cache *cache = file->cache;
	struct pace pace = {
		.max = folio_u32_load_relaxed(&cache->readahead_pages),
		.share = limits_readahead(cache),
		.clock = &cache->readahead_clock,
	};
	uint64_t own = bounds_window(file->inode);

	/* The windows of all streams must fit into the queue of such pages, or a ceiling. */
	if (once)
		pace.share = 2 * once_window(&cache->evict);
	if (pace.share > own)
		pace.share = own;
	/* Less than the budget allows, if much of it is parked. */
	if (pace.max > pace.share)
		pace.max = pace.share;
	if (once && pace.max > once_window(&cache->evict))
		pace.max = once_window(&cache->evict);
	return pace;
}

/* Add reads of the pages of @ahead that are in the file, and not cached. */
static void add_ahead(struct fill_batch *batch, struct inode *inode, const struct ahead *ahead)
{
	uint64_t eof = size_pages(folio_u64_load_acquire(&inode->size)), added = 0, i;
	struct stats_shard *shard = batch->call->shard;

	for (i = 0; i < ahead->count; i++) {
		uint64_t first = ahead->first + i * (uint64_t)ahead->step;
		struct page_range range = {first, first + ahead->pages};

		if (range.end > eof)
			range.end = eof;
		if (range.first >= range.end)
			continue;
		evict_reserve(inode->cache, range.end - range.first, shard);
		added += fill_add(batch, inode, range, ahead->mark, HEAT_WORD_AHEAD);
	}
	stats_add(shard, STAT_READAHEAD_PAGES, added);
}

__attribute__((noinline)) void read_ahead(struct folio_file *file, uint64_t index, bool once,
	bool free_slots, struct stats_shard *shard)
{
	struct call call = {
		.cache = file->cache,
		.shard = shard,
		.once = once,
		.free_slots = free_slots,
	};
	struct fill_batch batch = {.call = &call};
	struct pace pace = pace_of(file, once);
	struct ahead ahead = streams_mark(&file->streams, index, &pace);

	add_ahead(&batch, file->inode, &ahead);
	fill_submit(&batch);
}

/*
 * The error of a caller that does not wait and found no memory. -EAGAIN if waiting would have
 * helped: threads hold pages for a moment, or the evictor makes nodes free. Else -ENOMEM.
 */
static int no_memory(struct call *call, uint32_t seen)
{
	struct folio_cache *cache = call->cache;

	if (progress_expected(&cache->progress, seen) || tree_nodes_are_short(&cache->tree_budget))
		return -EAGAIN;
	stats_add(call->shard, STAT_OUT_OF_MEMORY, 1);
	return -ENOMEM;
}

/*
 * Page @index was not found; @pages pages are needed from there on, all in the file. Starts to read
 * the window, and reads page @index itself. Verdicts as fill_sync; with nowait, PAGE_FAILED with
 * -EAGAIN instead of waiting, or -ENOMEM. @seen: progress_seen from before the look-up.
 */
static enum page_verdict handle_miss(
	struct read_op *op, uint64_t index, uint64_t pages, uint32_t seen, struct folio **folio)
{
	struct call *call = op->call;
	struct inode *inode = op->file->inode;
	struct folio_cache *cache = call->cache;
	struct fill_batch batch = {.call = call};
	uint64_t eof = size_pages(folio_u64_load_acquire(&inode->size));
	uint64_t sync_end, filled, later = 0, end = index + 1;
	struct ahead ahead = {.count = 0};
	enum page_verdict verdict;
	int error = -EAGAIN;

	if (index >= op->single_before) {
		struct pace pace = pace_of(op->file, call->once);

		ahead = streams_miss(&op->file->streams, index, pages, &pace);
		end = index + pages;
	}
	if (end > eof)
		end = eof;
	/*
	 * The pages that this thread reads itself: at least one, even if the file has just shrunk.
	 */
	sync_end = end;
	if (sync_end > index + FILL_PAGES_MAX)
		sync_end = index + FILL_PAGES_MAX;
	if (sync_end <= index)
		sync_end = index + 1;
	if (call->nowait || sync_end - index > 1)
		evict_reserve(cache, sync_end - index, call->shard);
	call->blocked = BLOCKED_MEMORY;
	if (call->nowait &&
		!fill_add(&batch, inode, (struct page_range){index, sync_end}, FILL_NO_MARK,
			HEAT_COLD) &&
		!call->free_slots)
		error = no_memory(call, seen);
	if (end > sync_end) {
		evict_reserve(cache, end - index, call->shard);
		later = fill_add(
			&batch, inode, (struct page_range){sync_end, end}, FILL_NO_MARK, HEAT_COLD);
	}
	add_ahead(&batch, inode, &ahead);
	fill_submit(&batch);
	if (call->nowait)
		return page_failed(call, error);
	verdict = fill_sync(call, inode, (struct page_range){index, sync_end}, folio, &filled);
	if (verdict == PAGE_READY)
		op->filled_before = index + filled + (index + filled == sync_end ? later : 0);
	return verdict;
}

/*
 * True if the folio was dropped, perhaps while it was being read, from a file that is open for
 * writing. Then another thread may have given its page new contents since, and the read may have
 * found half of them on the device. The reader looks the page up again.
 *
 * relaxed: anything new that the read may have found was written back from another folio. That
 * folio came into the tree after this one had left it (both under the tree lock), and before the
 * flags were UPTODATE (acquire). Between the two is the device: core/version.h states the
 * assumptions about contents that another thread or the device stores.
 */
static bool is_overtaken(struct inode *inode, struct folio *folio)
{
	return folio_ptr_load_relaxed(&folio->owner) != inode &&
	       folio_u64_load_relaxed(&inode->disk_size) != UINT64_MAX;
}

/*
 * Get a folio that has page @index, with a reference that the caller holds (progress_hold): found
 * (PAGE_READY), or read by this call.
 * *missed is set if it was not found; *refused if it was, with as many references as there may be.
 */
static enum page_verdict find_or_fill(struct read_op *op, uint64_t index, uint64_t pages,
	struct folio **folio, bool *missed, bool *refused)
{
	struct call *call = op->call;
	struct inode *inode = op->file->inode;
	struct progress *progress = &call->cache->progress;
	enum page_verdict verdict = PAGE_LOST_RACE;

	for (;;) {
		uint32_t seen = progress_seen(progress);

		*folio = lookup_pin(inode, index, refused, call->shard);
		if (*folio)
			return PAGE_READY;
		if (unlikely(*refused))
			return page_failed(call, -EOVERFLOW);
		/*
		 * The second time, with nowait: the fill could not be started, or it has ended and
		 * the page has left again.
		 */
		if (call->nowait && *missed)
			return PAGE_FAILED;
		*missed = true;
		verdict = handle_miss(op, index, pages, seen, folio);
		switch (verdict) {
		case PAGE_READY:
		case PAGE_PAST_END:
			return verdict;
		case PAGE_FAILED:
			if (!call->nowait)
				return verdict;
			/*
			 * Perhaps the page is cached by now: this fill has ended, or that of
			 * another thread.
			 */
			continue;
		case PAGE_READ_SINGLY:
			op->single_before = index + FILL_PAGES_MAX;
			break;
		case PAGE_NO_NODE:
			return page_failed(call, -ENOMEM);
		case PAGE_LOST_RACE:
		case PAGE_CHANGED:
		case PAGE_NOT_SUBMITTED:
			break;
		}
		if (deadline_passed(call->until))
			return page_failed(call, -ETIMEDOUT);
	}
}

/*
 * The fill of a folio that this call has pinned has failed, or has not ended. Returns the verdict
 * on the page. An error of the fill becomes the error of this call, unless it may belong to another
 * caller (its deadline) or to another page.
 */
static enum page_verdict not_up_to_date(
	struct read_op *op, uint64_t index, struct folio *folio, uint32_t flags)
{
	struct call *call = op->call;
	int pending = call->nowait ? -EAGAIN : -ETIMEDOUT, error;
	enum page_verdict verdict;

	if (!(flags & FOLIO_ERROR)) {
		if (call->nowait && !call_leave(call, folio, false))
			return PAGE_CHANGED;
		return page_failed(call, pending);
	}
	verdict = fill_verdict(folio, &error);
	switch (verdict) {
	case PAGE_FAILED:
		return page_failed(call, error);
	case PAGE_PAST_END:
		return verdict;
	case PAGE_READ_SINGLY:
		op->single_before = index + FILL_PAGES_MAX;
		break;
	case PAGE_NOT_SUBMITTED:
	case PAGE_READY:
	case PAGE_LOST_RACE:
	case PAGE_CHANGED:
	case PAGE_NO_NODE:
		break;
	}
	if ((call->nowait && !call->watch) || deadline_passed(call->until))
		return page_failed(call, pending);
	return PAGE_CHANGED;
}

/* How many of the @pages pages from @index on the folio has. */
static uint64_t pages_had(const struct folio *folio, uint64_t index, uint64_t pages)
{
	uint64_t left = folio_index(folio) + (UINT64_C(1) << folio_order(folio)) - index;

	return pages < left ? pages : left;
}

enum page_verdict get_page(
	struct read_op *op, uint64_t index, uint64_t pages, struct folio **result)
{
	struct call *call = op->call;
	enum page_verdict verdict;
	bool missed = false, refused = false;
	struct folio *folio;
	uint32_t flags;

	do {
		bool filled = false;

		verdict = find_or_fill(op, index, pages, &folio, &filled, &refused);
		missed = missed || filled;
		if (verdict != PAGE_READY)
			break;
		/* acquire: pairs with folio_filled (release). */
		flags = folio_u32_load_acquire(&folio->flags);
		if (!(flags & (FOLIO_UPTODATE | FOLIO_ERROR))) {
			missed = true;
			if (!call->nowait)
				flags = folio_wait_unlocked(folio, call->until);
		}
		if (!(flags & FOLIO_UPTODATE))
			verdict = not_up_to_date(op, index, folio, flags);
		else if (unlikely(is_overtaken(op->file->inode, folio)))
			verdict = PAGE_CHANGED;
		if (verdict != PAGE_READY) {
			progress_unhold(&call->cache->progress, progress_put(folio));
		}
	} while (verdict == PAGE_CHANGED);
	if (verdict != PAGE_READY) {
		if (!refused)
			stats_add(call->shard, STAT_MISSES, 1);
		return verdict;
	}
	stats_add(call->shard, missed ? STAT_MISSES : STAT_HITS, 1);
	/* The caller counts the others when it finds them. */
	if (missed && op->filled_before < index + pages_had(folio, index, pages))
		op->filled_before = index + pages_had(folio, index, pages);
	*result = folio;
	return PAGE_READY;
}
