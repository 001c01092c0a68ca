/* SPDX-License-Identifier: BSD-2-Clause */
/* batch.c - many ranges to prefetch, or many reads, in one call. */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "core/heat.h"
#include "cache/size.h"
#include "evict/bounds.h"
#include "evict/evict.h"
#include "evict/limits.h"
#include "read/fill.h"
#include "read/gap.h"
#include "read/hit.h"
#include "read/read.h"

/* ---- prefetch ---- */

/* Pages for which memory is freed at a time, before they are requested. */
#define START_PART  1024
/* Ranges or reads that are copied from the program's memory at a time. */
#define START_GROUP 32

/* What one call may start, and has started. */
struct start {
	struct fill_batch *batch;
	uint64_t most;    /* pages: as many as there was space for when the call began */
	uint64_t started; /* pages */
	bool all;         /* all pages of the last range that are not cached were started */
};

static struct start start_begin(struct fill_batch *batch, const struct inode *inode)
{
	/* The last pages must not evict the first before these are read. */
	uint64_t most = evict_headroom(batch->call->cache, 0, batch->call->once);
	uint64_t own = bounds_window(inode);

	return (struct start){.batch = batch, .most = most < own ? most : own};
}

static bool start_has_space(const struct start *start)
{
	const struct call *call = start->batch->call;

	return start->started < start->most &&
	       evict_headroom(call->cache, start->started, call->once) > 0;
}

/* The pages of @range that are in the file. */
static struct page_range pages_of(const struct inode *inode, const struct folio_range *range)
{
	uint64_t first = range->offset >> FOLIO_PAGE_SHIFT;
	uint64_t end = size_pages(folio_u64_load_acquire(&inode->size));

	if (!range->len)
		end = first;
	else if (range->len - 1 < (UINT64_MAX >> 1) - range->offset) {
		uint64_t last = (range->offset + range->len - 1) >> FOLIO_PAGE_SHIFT;

		if (end > last + 1)
			end = last + 1;
	}
	return (struct page_range){first, end};
}

/*
 * Start to read those of @pages that are not cached. start->all becomes false if not all of
 * them were started: there were more than the call has space for, memory or request slots were
 * short, or another thread was faster.
 */
static void start_pages(struct start *start, struct inode *inode, struct page_range pages)
{
	struct call *call = start->batch->call;

	start->all = true;
	while (pages.first < pages.end) {
		struct page_range part = pages;
		uint64_t missing, added, space;

		/*
		 * Queried each time, since other threads take memory as well. But evicted pages are
		 * no new space: they may be the pages of this call.
		 */
		space = evict_headroom(call->cache, start->started, call->once);
		if (space > start->most - start->started)
			space = start->most - start->started;
		if (!space) {
			start->all = false;
			break;
		}
		if (space > START_PART)
			space = START_PART;
		if (part.end > part.first + space)
			part.end = part.first + space;
		missing = gap_pages(inode, part);
		if (missing) {
			evict_reserve(call->cache, missing, call->shard);
			added = fill_add(start->batch, inode, part, FILL_NO_MARK, HEAT_COLD);
			start->all = start->all && added >= missing;
			start->started += added;
		}
		pages.first = part.end;
	}
}

/*
 * Copy the next of the program's ranges or reads, @left elements of @size bytes, to @group. What
 * was started is submitted first: a page fault of the program's memory may need those very pages.
 */
static void start_next(
	struct start *start, void *group, const void *next, size_t size, unsigned left)
{
	fill_submit(start->batch);
	memcpy(group, next, size * (left < START_GROUP ? left : START_GROUP));
}

/* Submit what was started, and count it. Also for batches: they count as prefetched, too. */
static void start_end(struct start *start)
{
	fill_submit(start->batch);
	stats_add(start->batch->call->shard, STAT_PREFETCH_PAGES, start->started);
	folio_u64_fetch_add_relaxed(&start->batch->call->cache->readahead_clock, start->started);
}

ssize_t folio_file_prefetch(
	struct folio_file *file, const struct folio_range *range, unsigned count)
{
	struct folio_range group[START_GROUP];
	struct call call;
	struct fill_batch batch = {.call = &call};
	struct page_range run = {0, 0};
	struct start start;
	unsigned i;
	int r;

	if (!file || (!range && count))
		return -EINVAL;
	r = call_begin(&call, file->cache, file->cache_id, false);
	if (r)
		return r;
	call.once = streams_once(&file->streams);
	start = start_begin(&batch, file->inode);
	for (i = 0; i < count && start_has_space(&start); i++) {
		struct page_range pages;

		if (i % START_GROUP == 0)
			start_next(&start, group, &range[i], sizeof(*range), count - i);
		pages = pages_of(file->inode, &group[i % START_GROUP]);
		/* Adjacent ranges are read together. */
		if (pages.first < run.first || pages.first > run.end) {
			start_pages(&start, file->inode, run);
			run = pages;
		} else if (pages.end > run.end) {
			run.end = pages.end;
		}
	}
	start_pages(&start, file->inode, run);
	start_end(&start);
	return (ssize_t)start.started;
}

/* ---- many reads in one call ---- */

/*
 * Reads that are looked up together, so that the processor fetches their cache lines in parallel,
 * as many as it can wait for. With single reads, it reaches the lines of the next read only as far
 * ahead as it executes instructions, which is a few reads.
 */
#define BATCH_GROUP  32

/* folio_read.result of a read that was no hit, until it is done; no read returns this value. */
#define READ_PENDING (-(ssize_t)EINPROGRESS)

/*
 * Prefetch the cache lines that read_hit will load. A folio that is leaving leads to lines that no
 * read needs, and has no further effect.
 */
static inline __attribute__((always_inline)) void prefetch_lines(
	const struct folio_file *file, size_t len, uint64_t offset)
{
	struct tree_place place;
	void *entry = tree_walk_once(&file->inode->tree, offset >> FOLIO_PAGE_SHIFT, &place);
	const char *data;

	if (unlikely(!entry_is_folio(entry)))
		return;
	data = entry_data(file, entry) + (offset & (entry_bytes(entry) - 1));
	__builtin_prefetch(entry_version(file, entry));
	__builtin_prefetch(data);
	/* The line of the last byte, if it is a short read. */
	__builtin_prefetch(data + ((len - 1) & (SHORT_MAX - 1)));
}

/* Do the hits among the reads; the others get READ_PENDING. Returns the number of the others. */
static unsigned batch_hits(
	struct folio_file *file, struct folio_read *reads, unsigned count, unsigned flags)
{
	unsigned i, pending = 0;

	for (i = 0; i < count; i++)
		prefetch_lines(file, reads[i].len, reads[i].offset);
	for (i = 0; i < count; i++) {
		struct folio_read *read = &reads[i];
		struct folio *cold;

		/*
		 * Checked each time: read-ahead calls the backend, which may be the program's and
		 * use other caches.
		 */
		if (thread_hit(file->cache_id) &&
			read_hit(file, read->buf, read->len, read->offset, &cold, false)) {
			read->result = (ssize_t)read->len;
			if (unlikely(cold) && flags & FOLIO_READ_ONCE)
				read_touch_once(file, cold, read->len, read->offset);
			else if (unlikely(cold))
				read_touch(file, cold, read->len, read->offset);
		} else {
			read->result = READ_PENDING;
			pending++;
		}
	}
	return pending;
}

/* Do the read if it was no hit; any other is left as it is. */
static void batch_read(struct read_op *op, struct folio_read *read)
{
	enum page_verdict verdict;
	size_t done;

	if (read->result != READ_PENDING)
		return;
	read->result = -EINVAL;
	if (!read_is_valid(read->buf, read->len, read->offset))
		return;
	verdict = read_by_tree(op, read->buf, read->len, read->offset, &done);
	read->result = done ? (ssize_t)done : verdict_errno(verdict, op->call, 0);
}

/*
 * Start to read the pages that the first of the reads need, of as many reads as possible: up to a
 * page that could not be started, and no more pages than fit without evicting each other. Returns
 * the number of reads; at least 1.
 */
static unsigned batch_start(struct read_op *op, const struct folio_read *reads, unsigned count)
{
	struct folio_read group[START_GROUP];
	struct fill_batch batch = {.call = op->call};
	struct start start = start_begin(&batch, op->file->inode);
	unsigned n = 0;

	start.all = true;
	do {
		const struct folio_read *read = &group[n % START_GROUP];
		struct folio_range range;

		if (n % START_GROUP == 0)
			start_next(&start, group, &reads[n], sizeof(*reads), count - n);
		n++;
		range = (struct folio_range){read->offset, read->len};
		if (read->result == READ_PENDING &&
			read_is_valid(read->buf, read->len, read->offset))
			start_pages(&start, op->file->inode, pages_of(op->file->inode, &range));
	} while (n < count && start.all && start_has_space(&start));
	start_end(&start);
	return n;
}

/*
 * Do the reads that were no hits, of which there are @pending. Their missing pages are requested
 * together and then read in order, part by part. If only one is pending, it works like any other
 * read, with read-ahead.
 */
static void batch_misses(
	struct read_op *op, struct folio_read *reads, unsigned count, unsigned pending)
{
	unsigned i = 0, end;

	while (i < count) {
		end = pending > 1 ? i + batch_start(op, &reads[i], count - i) : count;
		for (; i < end; i++)
			batch_read(op, &reads[i]);
	}
}

int folio_file_read_batch(
	struct folio_file *file, struct folio_read *reads, unsigned count, unsigned flags)
{
	struct call call;
	struct read_op op = {.call = &call, .file = file};
	unsigned i, n, pending = 0;
	int r = 0;

	if (!file || (!reads && count) || flags & ~READ_FLAGS)
		return -EINVAL;
	if (!thread_enter(file->cache, file->cache_id))
		return -ESTALE;
	for (i = 0; i < count; i += n) {
		n = count - i < BATCH_GROUP ? count - i : BATCH_GROUP;
		pending += batch_hits(file, &reads[i], n, flags);
	}
	if (pending) {
		r = call_begin(&call, file->cache, file->cache_id, flags & FOLIO_READ_NOWAIT);
		call.once = flags & FOLIO_READ_ONCE || streams_once(&file->streams);
		if (!r)
			batch_misses(&op, reads, count, pending);
	}
	return r;
}
