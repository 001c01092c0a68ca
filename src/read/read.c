/* SPDX-License-Identifier: BSD-2-Clause */
/* read.c - reads that are not plain hits. */
#include "read/read.h"

#include <string.h>

#include "base/pause.h"
#include "core/heat.h"
#include "core/version.h"
#include "cache/drop.h"
#include "cache/revalidate.h"
#include "cache/size.h"
#include "cache/split.h"
#include "read/copy.h"
#include "read/demand.h"
#include "read/lookup.h"

static uint64_t pages_touched(uint64_t offset, uint64_t len)
{
	return ((offset + len - 1) >> FOLIO_PAGE_SHIFT) - (offset >> FOLIO_PAGE_SHIFT) + 1;
}

/*
 * May the byte at @offset be read from a pinned folio that was up to date? PAGE_READY: yes, and
 * *left bytes from there on. PAGE_PAST_END: by now the file ends before it. PAGE_CHANGED: the file
 * ended before it when the folio was read, and has grown since.
 *
 * The size is loaded after the folio was found. With a size from before, a reader could take zeros
 * past the end for data: those of a folio that was filled after the file had shrunk.
 */
static enum page_verdict bytes_readable(
	struct folio_file *file, const struct folio *folio, uint64_t offset, uint64_t *left)
{
	uint64_t start = folio_index(folio) << FOLIO_PAGE_SHIFT;
	uint64_t size = folio_u64_load_acquire(&file->inode->size), end;

	if (offset >= size)
		return PAGE_PAST_END;
	end = valid_end(start, folio_u32_load_relaxed(&folio->valid), size);
	if (offset >= end)
		return PAGE_CHANGED;
	*left = end - offset;
	return PAGE_READY;
}

/* Lock a pinned folio. Returns 0, -ETIMEDOUT, or -EAGAIN if the call does not wait. */
static int lock_folio(struct call *call, struct folio *folio)
{
	static const struct timespec past = {0, 0};

	if (!call->nowait)
		return folio_lock_wait(folio, call->until) ? 0 : -ETIMEDOUT;
	while (!folio_lock_wait(folio, &past))
		if (call_leave(call, folio, true))
			return -EAGAIN;
	return 0;
}

/*
 * Called after PAGE_CHANGED. Drops or extends the folio, so that the next look-up finds the new
 * bytes. Returns PAGE_CHANGED, or PAGE_FAILED with -ETIMEDOUT, -EDEADLK or -EAGAIN. The thread that
 * found the file grown may have dropped the old last page before the fill of this folio began, and
 * stored the size after that fill had ended: then no other thread drops it.
 */
static enum page_verdict refresh_outgrown(
	struct call *call, struct inode *inode, struct folio *folio, uint64_t index)
{
	uint64_t size, bytes = folio_size(folio), start = folio_index(folio) << FOLIO_PAGE_SHIFT;
	uint32_t had;
	int r;

	if (!(folio_u32_load_relaxed(&folio->flags) & (FOLIO_DIRTY | FOLIO_WRITEBACK))) {
		inode_invalidate(inode, index, index, call->shard);
		return PAGE_CHANGED;
	}
	/* A dirty folio stays: the cache itself made the file longer, with zeros. */
	if (unlikely(thread_has_lock(call->cache)) && !call->watch)
		return page_failed(call, -EDEADLK);
	r = lock_folio(call, folio);
	if (r)
		return page_failed(call, r);
	size = folio_u64_load_acquire(&inode->size);
	had = folio_u32_load_relaxed(&folio->valid);
	if (size > start && had < bytes && start + had < size) {
		pool_change_begin(&inode->cache->pool, folio);
		if (bytes > size - start)
			bytes = size - start;
		memset((char *)folio->data + had, 0, bytes - had);
		folio_u32_store_relaxed(&folio->valid, (uint32_t)bytes);
		pool_change_end(&inode->cache->pool, folio);
	}
	folio_unlocked(folio);
	return PAGE_CHANGED;
}

#define COPY_TRIES 16

/* Copy up to @len bytes of a pinned folio; *copied: how many. Verdicts as bytes_readable. */
static enum page_verdict copy_left(struct folio_file *file, struct folio *folio, void *buf,
	size_t len, uint64_t offset, size_t *copied)
{
	uint64_t left, start = folio_index(folio) << FOLIO_PAGE_SHIFT;
	enum page_verdict verdict = bytes_readable(file, folio, offset, &left);

	if (verdict != PAGE_READY)
		return verdict;
	if (len > left)
		len = left;
	FOLIO_PAUSE(copy_measured, folio);
	copy_out(buf, (char *)folio_data(folio) + (offset - start), len);
	*copied = len;
	return PAGE_READY;
}

/*
 * Copy from a pinned folio that was up to date, in a state between two changes: its bytes and their
 * end belong together. The version is odd only while a thread has the folio locked. Waits for that
 * thread; if one writer follows another, it takes the lock after COPY_TRIES attempts. Verdicts as
 * copy_left, or PAGE_FAILED with -ETIMEDOUT or as call_may_lock.
 */
static enum page_verdict copy_pinned(struct read_op *op, struct folio *folio, void *buf, size_t len,
	uint64_t offset, size_t *copied)
{
	struct call *call = op->call;
	enum page_verdict verdict;
	unsigned tries;
	int r;

	for (tries = 0; tries < COPY_TRIES; tries++) {
		folio_u64 *version = pool_version(&call->cache->pool, folio);
		uint64_t seen;
		uint32_t flags;

		if (version_read_begin(version, &seen)) {
			verdict = copy_left(op->file, folio, buf, len, offset, copied);
			if (version_read_valid(version, seen))
				return verdict;
		}
		flags = folio_u32_load_relaxed(&folio->flags);
		if (flags & FOLIO_LOCKED) {
			if (!call_may_lock(call)) {
				if (call->error != -EAGAIN || call_leave(call, folio, false))
					return PAGE_FAILED;
				continue;
			}
			if (!folio_flags_wait(folio, flags, call->until))
				return page_failed(call, -ETIMEDOUT);
		}
	}
	if (!call_may_lock(call) && !call->watch)
		return PAGE_FAILED;
	r = lock_folio(call, folio);
	if (r)
		return page_failed(call, r);
	verdict = copy_left(op->file, folio, buf, len, offset, copied);
	folio_unlocked(folio);
	return verdict;
}

/*
 * The end of read_missing: copy from a folio that get_page has returned, up to the end of a page,
 * and put it.
 *
 * The caller's buffer may be memory whose page fault is served by a thread that uses the cache
 * itself, for example the guest memory of a virtual machine. So no thread touches it while it holds
 * anything that the other may need: a lock, or a reference. The bytes go through a page on the
 * stack.
 */
static __attribute__((noinline)) enum page_verdict read_pinned(struct read_op *op,
	struct folio *folio, void *buf, size_t len, uint64_t offset, size_t *copied)
{
	struct folio_file *file = op->file;
	struct call *call = op->call;
	uint64_t index = offset >> FOLIO_PAGE_SHIFT;
	size_t in_page = offset & (FOLIO_PAGE_SIZE - 1);
	char bounce[FOLIO_PAGE_SIZE];
	enum page_verdict verdict;
	bool marked = false;

	if (len > FOLIO_PAGE_SIZE - in_page)
		len = FOLIO_PAGE_SIZE - in_page;
	verdict = copy_pinned(op, folio, bounce, len, offset, copied);
	if (verdict == PAGE_READY) {
		marked = heat_record(&call->cache->pool, folio, offset, *copied, call->once);
	}
	if (verdict == PAGE_CHANGED)
		verdict = refresh_outgrown(call, file->inode, folio, index);
	progress_unhold(&call->cache->progress, progress_put(folio));
	if (verdict == PAGE_READY)
		memcpy(buf, bounce, *copied);
	if (marked)
		read_ahead(file, index, call->once, call->free_slots, call->shard);
	return verdict;
}

/*
 * One step of a read that is not a plain hit: *copied bytes, or a verdict of get_page or
 * copy_pinned.
 */
static enum page_verdict read_missing(
	struct read_op *op, void *buf, size_t len, uint64_t offset, size_t *copied)
{
	uint64_t index = offset >> FOLIO_PAGE_SHIFT;
	enum page_verdict verdict;
	struct folio *folio;

	verdict = get_page(op, index, pages_touched(offset, len + op->later), &folio);
	if (verdict != PAGE_READY)
		return verdict;
	return read_pinned(op, folio, buf, len, offset, copied);
}

/* One step of a read: from the cache, or by read_missing. *copied: number of bytes. */
static enum page_verdict read_step(
	struct read_op *op, char *buf, size_t len, uint64_t offset, size_t *copied)
{
	size_t page_left = FOLIO_PAGE_SIZE - (offset & (FOLIO_PAGE_SIZE - 1));
	struct call *call = op->call;
	bool marked;
	ssize_t n;

	n = copy_cached(op->file, buf, unlikely(op->disturbed) && len > page_left ? page_left : len,
		offset, call->once, &marked);
	if (n <= 0) {
		op->disturbed = op->disturbed || n < 0;
		if (call->cached_only)
			return page_failed(call, -EAGAIN);
		return read_missing(op, buf, len, offset, copied);
	}
	*copied = (size_t)n;
	stats_add(call->shard,
		offset >> FOLIO_PAGE_SHIFT < op->filled_before ? STAT_MISSES : STAT_HITS,
		pages_touched(offset, *copied));
	if (unlikely(marked))
		read_ahead(op->file, offset >> FOLIO_PAGE_SHIFT, call->once, call->free_slots,
			call->shard);
	return PAGE_READY;
}

enum page_verdict read_on(struct read_op *op, char *buf, size_t len, uint64_t offset, size_t *done)
{
	struct inode *inode = op->file->inode;
	bool asked = false;

	op->stopped = false;
	*done = 0;
	while (*done < len) {
		uint64_t at = offset + *done, size = folio_u64_load_acquire(&inode->size);
		size_t want = len - *done, copied;

		if (at >= size) {
			int r;

			/*
			 * The end of the file, unless it has grown. Query that once, and only if
			 * nothing was read.
			 */
			if (*done || asked)
				break;
			asked = true;
			r = inode_revalidate(inode, true, op->call->shard);
			if (r < 0) {
				op->stopped = true;
				return page_failed(op->call, r);
			}
			continue;
		}
		if (want > size - at)
			want = size - at;
		switch (read_step(op, buf + *done, want, at, &copied)) {
		case PAGE_READY:
			*done += copied;
			/*
			 * The copy was cut by the end of the file. If the end is another by now,
			 * the rest of the page is of another moment.
			 */
			if ((offset + *done) & (FOLIO_PAGE_SIZE - 1))
				return PAGE_READY;
			break;
		case PAGE_FAILED:
			op->stopped = true;
			return *done ? PAGE_READY : PAGE_FAILED;
		case PAGE_PAST_END:
		case PAGE_CHANGED:
			/* The size shows it by now, or the folio has left the tree. */
		case PAGE_LOST_RACE:
		case PAGE_READ_SINGLY:
		case PAGE_NOT_SUBMITTED:
		case PAGE_NO_NODE:
			break;
		}
	}
	return PAGE_READY;
}

enum page_verdict read_by_tree(
	struct read_op *op, char *buf, size_t len, uint64_t offset, size_t *done)
{
	op->single_before = op->filled_before = 0;
	op->disturbed = false;
	return read_on(op, buf, len, offset, done);
}

bool read_is_valid(const void *buf, size_t len, uint64_t offset)
{
	return (buf || !len) && len <= INT64_MAX && offset <= INT64_MAX - len;
}

__attribute__((noinline)) ssize_t read_slow(
	struct folio_file *file, char *buf, size_t len, uint64_t offset, unsigned flags)
{
	struct call call;
	struct read_op op = {.call = &call, .file = file};
	enum page_verdict verdict;
	size_t done;
	int r;

	if (!file || !read_is_valid(buf, len, offset))
		return -EINVAL;
	r = call_begin(&call, file->cache, file->cache_id, flags & FOLIO_READ_NOWAIT);
	if (r)
		return r;
	call.once = flags & FOLIO_READ_ONCE || streams_once(&file->streams);
	verdict = read_by_tree(&op, buf, len, offset, &done);
	return done ? (ssize_t)done : verdict_errno(verdict, &call, 0);
}

/* Times that a get tries to split a folio that others have pinned, perhaps for a moment. */
#define SPLIT_TRIES 4

/*
 * The page of a large folio that get_page has returned is to be changed by the program, perhaps: it
 * gets a folio of its own, so that lock, dirtiness and write-back apply to this page alone. Returns
 * that folio, in the place of *@folio; or, if it could not be split, *@folio as it was.
 * PAGE_CHANGED: the page has left the cache since.
 */
static __attribute__((noinline)) enum page_verdict get_single(
	struct read_op *op, uint64_t index, struct folio **folio)
{
	struct call *call = op->call;
	struct inode *inode = op->file->inode;
	struct progress *progress = &call->cache->progress;
	bool refused = false, published;
	unsigned tries;

	for (tries = 0; (*folio)->order > 0 && tries < SPLIT_TRIES; tries++) {
		uint32_t flags = folio_wait_settled(*folio, call->until);

		/* A dirty folio is written as a whole: no page more is written if it stays one. */
		if (flags & (FOLIO_DIRTY | FOLIO_WRITEBACK))
			break;
		inode_split_unlocked(inode, *folio, index, &published);
		/* Each try interrupts all threads of the process (publish_scan). */
		if (published)
			break;
		/* Also if it was not split: another thread that tries finds one pin less. */
		progress_unhold(progress, progress_put(*folio));
		*folio = lookup_pin(inode, index, &refused, call->shard);
		if (!*folio)
			return PAGE_CHANGED;
		FOLIO_PAUSE(split_found, *folio);
		/*
		 * Not one that is being filled, nor one that was dropped while it was, of which a
		 * part may be older than the rest (is_overtaken, demand.c). acquire: pairs with
		 * folio_filled (release).
		 */
		if (!(folio_u32_load_acquire(&(*folio)->flags) & FOLIO_UPTODATE) ||
			folio_ptr_load_relaxed(&(*folio)->owner) != inode) {
			progress_unhold(progress, progress_put(*folio));
			return PAGE_CHANGED;
		}
	}
	return PAGE_READY;
}

/*
 * Get a folio with page @index, with a reference for the program. Verdicts as get_page, or
 * PAGE_CHANGED.
 */
static enum page_verdict get_step(struct read_op *op, uint64_t index, struct folio **result)
{
	struct folio_file *file = op->file;
	struct call *call = op->call;
	enum page_verdict verdict;
	struct folio *folio;
	uint64_t left;

	verdict = get_page(op, index, 1, &folio);
	if (verdict == PAGE_READY && unlikely(folio->order > 0) && file->writable)
		verdict = get_single(op, index, &folio);
	if (verdict != PAGE_READY)
		return verdict;
	/*
	 * The folio may extend past the end of a file that shrank: there is no page past the end.
	 */
	verdict = bytes_readable(file, folio, index << FOLIO_PAGE_SHIFT, &left);
	if (verdict == PAGE_CHANGED)
		verdict = refresh_outgrown(call, file->inode, folio, index);
	if (verdict != PAGE_READY) {
		progress_unhold(&call->cache->progress, progress_put(folio));
		return verdict;
	}
	/* From here on the program holds the folio. */
	progress_unhold(&call->cache->progress, false);
	if (heat_record(&call->cache->pool, folio, index << FOLIO_PAGE_SHIFT, FOLIO_PAGE_SIZE,
		    call->once))
		read_ahead(file, index, call->once, call->free_slots, call->shard);
	*result = folio;
	return PAGE_READY;
}

/*
 * Is page @index in the file? PAGE_READY, PAGE_PAST_END, or PAGE_FAILED with the error of getattr.
 */
static enum page_verdict page_in_file(struct call *call, struct inode *inode, uint64_t index)
{
	int r;

	if (index < size_pages(folio_u64_load_acquire(&inode->size)))
		return PAGE_READY;
	/* Unless the file has grown. */
	r = inode_revalidate(inode, true, call->shard);
	if (r < 0)
		return page_failed(call, r);
	return index < size_pages(folio_u64_load_acquire(&inode->size)) ? PAGE_READY
									: PAGE_PAST_END;
}

enum page_verdict get_by_tree(struct read_op *op, uint64_t index, struct folio **result)
{
	enum page_verdict verdict;

	do {
		verdict = page_in_file(op->call, op->file->inode, index);
		if (verdict == PAGE_READY)
			verdict = get_step(op, index, result);
	} while (verdict == PAGE_CHANGED);
	if (verdict == PAGE_READY)
		pin_note(op->file->inode);
	return verdict;
}

__attribute__((noinline)) int get_slow(
	struct folio_file *file, uint64_t index, unsigned flags, struct folio **result, void **page)
{
	struct call call;
	struct read_op op = {.call = &call, .file = file};
	enum page_verdict verdict;
	int r;

	r = call_begin(&call, file->cache, file->cache_id, flags & FOLIO_GET_NOWAIT);
	if (r)
		return r;
	call.once = streams_once(&file->streams);
	verdict = get_by_tree(&op, index, result);
	if (verdict != PAGE_READY)
		return verdict_errno(verdict, &call, -ENODATA);
	*page = folio_page(*result, index);
	return 0;
}
