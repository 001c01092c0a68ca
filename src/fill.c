/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fill.c - a miss: folios are put into the tree locked, then read, then published.
 *
 *   1  take a frozen folio from the pool; type, owner, index, heat; flags LOCKED; version is odd
 *   2  unfreeze with two references: the tree's and the filler's
 *   3  tree lock: store the entry. Somebody else's is there already: give ours back, use his
 *   4  read into the frames. Others find the folio, pin it and wait for LOCKED to go
 *   5  good: version even, UPTODATE in place of LOCKED, wake, into a queue of evict, put
 *      failed: erase first, so that the next look-up tries again; then ERROR in place of LOCKED: all who
 *      wait have a pin and read the errno from the folio; then the tree's reference and ours. Of a read of several
 *      pages nobody knows which of them is bad: the errno is FILL_ALONE, and who wants a page reads it by itself
 *
 * The folio is not in a queue before it is good: eviction does not look at what is in flight.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cache.h"
#include "pause.h"

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

/* The largest order that begins at @index by its alignment and ends at @end or before. */
static unsigned order_for(uint64_t index, uint64_t end)
{
	unsigned order = 0;

	while (order < FOLIO_ORDER_MAX && !(index & ((UINT64_C(2) << order) - 1)) &&
		end - index >= UINT64_C(2) << order)
		order++;
	return order;
}

/*
 * Steps 1 to 3 for the page after those that @fill has. Returns 0, -EEXIST, -ENOMEM, -ETIMEDOUT, or -ENOBUFS when there
 * is no node for it. Counts one more busy folio on success.
 */
static int fill_extend(struct fill *fill, uint64_t end, uint32_t heat, enum evict_effort effort,
	const struct timespec *until, struct stats_shard *shard)
{
	struct inode *inode = fill->inode;
	struct folio_cache *cache = inode->cache;
	uint64_t index = (fill->request.offset >> FOLIO_PAGE_SHIFT) + fill->pages;
	unsigned order = order_for(index, end);
	struct folio *folio;
	void *old;
	int r;

	r = evict_alloc(cache, &order, true, effort, until, shard, &folio);
	if (r)
		return r;
	/*
	 * Ours alone: frozen. What is plain here is published by the tree's store (release). Broken first, by this
	 * thread: index and owner are data for who copies by a hint (version.h).
	 */
	version_break(&folio->version);
	folio->type = FOLIO_TYPE_FILE;
	folio_u64_store_relaxed(&folio->index, index);
	folio->refault = 0;
	folio_u32_store_relaxed(&folio->valid, 0);
	folio_ptr_store_relaxed(&folio->owner, inode);
	folio_u32_store_relaxed(&folio->heat, heat);
	folio_u32_store_relaxed(&folio->flags, FOLIO_LOCKED);
	folio_ref_unfreeze(&folio->ref, 2);
	FOLIO_PAUSE(fill_unfrozen, folio);

	grace_read_lock();
	tree_lock(&inode->tree);
	old = tree_load(&inode->tree, index);
	r = tree_store_locked(&inode->tree, index, order, entry_of(folio));
	if (!r)
		inode_count_locked(inode, folio, INT64_C(1) << order);
	tree_unlock(&inode->tree);
	grace_read_unlock();
	if (r) {
		/*
		 * Nobody found it by this life, but a late getter of an earlier one may hold a reference for
		 * a moment. Put both like any reference; the last one releases it, as type FILE.
		 */
		folio_ptr_store_relaxed(&folio->owner, NULL);
		if (folio_ref_put_n(&folio->ref, 2))
			folio_release(folio);
		evict_busy_end(&cache->evict);
		return r == -ENOMEM ? -ENOBUFS : r;
	}
	if (tree_is_shadow(old) && evict_is_refault(cache, old)) {
		folio->refault = 1;
		stats_add(shard, STAT_REFAULTS, UINT64_C(1) << order);
	}
	fill->iov[fill->count].iov_base = folio->data;
	fill->iov[fill->count].iov_len = folio_size(folio);
	fill->folio[fill->count++] = folio;
	fill->request.iov_count = fill->count;
	fill->pages += UINT64_C(1) << order;
	return 0;
}

/* The first page from @index on, up to @end, that is there already: the end of the gap. */
static uint64_t gap_end(struct inode *inode, uint64_t index, uint64_t end)
{
	void *entry;

	grace_read_lock();
	/* It will be stored there. */
	tree_prefetch(&inode->tree, index);
	entry = tree_next(&inode->tree, &index, end - 1);
	grace_read_unlock();
	return entry ? index : end;
}

uint64_t fill_missing(struct inode *inode, uint64_t index, uint64_t end)
{
	uint64_t missing = 0;

	while (index < end) {
		uint64_t next = index;
		void *entry;

		grace_read_lock();
		entry = tree_next(&inode->tree, &next, end - 1);
		grace_read_unlock();
		if (!entry)
			return missing + end - index;
		missing += next - index;
		index = (next | ((UINT64_C(1) << entry_order(entry)) - 1)) + 1;
	}
	return missing;
}

/* The page after the folio that has @index. */
static uint64_t folio_end(struct inode *inode, uint64_t index)
{
	void *entry;

	grace_read_lock();
	entry = tree_load(&inode->tree, index);
	grace_read_unlock();
	return entry_is_folio(entry) ? (index | ((UINT64_C(1) << entry_order(entry)) - 1)) + 1
				     : index;
}

/* More of the same run. 0, or why it stopped: -EEXIST, -ENOMEM, -ENOBUFS. */
static int fill_extend_all(struct fill *fill, uint64_t end, uint64_t pages_max, uint64_t mark,
	uint32_t heat, struct stats_shard *shard)
{
	uint64_t first = fill->request.offset >> FOLIO_PAGE_SHIFT;

	if (end > first + pages_max)
		end = first + pages_max;
	while (fill->count < FILL_FOLIOS && first + fill->pages < end) {
		uint64_t index = first + fill->pages;

		int r = fill_extend(
			fill, end, index == mark ? HEAT_MARK : heat, EVICT_NOTHING, NULL, shard);

		if (r == -ENOBUFS)
			evict_nodes_later(fill->inode->cache);
		if (r)
			return r;
	}
	return 0;
}

/*
 * What the read will have to bring, asked when the folios are in the tree: who makes the file shorter from here on finds
 * and drops them. acquire: pairs with the end of a write: what it has written is read.
 */
static void fill_ask(struct fill *fill)
{
	fill->disk_size = folio_u64_load_acquire(&fill->inode->disk_size);
}

/* It is about to be handed to the backend. */
static void fill_count(const struct fill *fill, struct stats_shard *shard)
{
	stats_add(shard, STAT_FILLS, 1);
	stats_add(shard, STAT_FILL_BYTES, fill->pages << FOLIO_PAGE_SHIFT);
}

/* Where the folio's pages are, for those who copy. */
static void give_hints(const struct inode *inode, const struct folio *folio)
{
	const struct pool *pool = &inode->cache->pool;
	uint64_t offset = folio->index << FOLIO_PAGE_SHIFT;
	/* Loaded once: it may change, and places counted by two of them are far apart. */
	unsigned shift = folio_u8_load_relaxed(&inode->hint_shift);
	uint64_t at = inode->hint_start + (offset >> shift);
	uint64_t last = inode->hint_start + ((offset + folio_size(folio) - 1) >> shift);
	uint32_t hint = hint_make(pool_page(pool, folio), folio_order(folio));

	for (; at <= last; at++)
		folio_u32_store_relaxed(&pool->hint[at & pool->hint_mask], hint);
}

/* Step 5 for one folio, good. */
bool fill_good(struct inode *inode, struct folio *folio, uint64_t valid, uint64_t size)
{
	struct folio_cache *cache = inode->cache;
	bool refault = folio->refault, in_tree = true;

	/* Data for who copies, and for who pins it and finds that the file has more by now (file.c). */
	version_break(&folio->version);
	folio_u32_store_relaxed(&folio->valid, (uint32_t)valid);
	FOLIO_PAUSE(fill_read, folio);
	if (size) {
		tree_lock(&inode->tree);
		/* Unless somebody invalidated it meanwhile. */
		in_tree = folio_ptr_load_relaxed(&folio->owner) != NULL;
		if (in_tree) {
			writeback_mark_locked(inode, folio);
			/* While it is locked: write-back that finds it goes as far as the size. */
			inode_reach(inode, size);
		}
	}
	/*
	 * From here on it may be copied; pairs with version_load_begin. What was written is dirty by now, so that nobody drops
	 * what somebody has read.
	 */
	version_settle(&folio->version);
	if (size)
		tree_unlock(&inode->tree);
	FOLIO_PAUSE(fill_settled, folio);
	give_hints(inode, folio);
	folio_filled(folio, FOLIO_UPTODATE | (size && in_tree ? FOLIO_DIRTY : 0));
	FOLIO_PAUSE(fill_unlocked, folio);
	evict_insert(cache, folio, refault);
	return in_tree;
}

/* Step 5 for one folio, failed. */
static void fill_failed(struct inode *inode, struct folio *folio, int error)
{
	bool in_tree;

	folio->error = (uint16_t)error;
	tree_lock(&inode->tree);
	/* Somebody may have invalidated it meanwhile, and dropped the tree's reference. */
	in_tree = folio_ptr_load_relaxed(&folio->owner) != NULL;
	if (in_tree)
		inode_erase_locked(inode, folio);
	tree_unlock(&inode->tree);
	FOLIO_PAUSE(fill_erased, folio);
	folio_filled(folio, FOLIO_ERROR);
	if (in_tree)
		folio_put(folio);
}

/* Bytes that the read has to have brought, by what is known of the file. */
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

/* What a page that could not be read is told. */
static int fill_error(const struct fill *fill, int error)
{
	return fill->pages > 1 ? FILL_ALONE : error;
}

/*
 * Step 5 for one folio, whose first @done bytes the read brought and which ends at @size at the latest, by the size
 * of the file. Returns 0 or the error that it got.
 *
 * A folio that somebody dropped meanwhile goes to those who wait for it and to nobody else: they take what the file
 * had when it was read. One that is still in the tree has to be all that the file has now.
 */
static int fill_end_folio(
	const struct fill *fill, struct folio *folio, uint64_t done, uint64_t size)
{
	struct inode *inode = fill->inode;
	uint64_t disk_size = fill->disk_size;
	uint64_t start = folio->index << FOLIO_PAGE_SHIFT, bytes = folio_size(folio), valid, has;
	int error = 0;

	/*
	 * While a truncation is at it, the file has more than readers may see, and keeps it should the backend refuse. After one that
	 * was done it has no more; it waits for the end of this fill, if that had asked before.
	 */
	has = folio_u64_load_acquire(&inode->disk_size);
	if (has == UINT64_MAX || has < size)
		has = size;

	if (done > bytes)
		done = bytes;
	valid = done;
	if (folio_ptr_load_relaxed(&folio->owner)) {
		/* The file does not have it any more: it is no page of zeros, which would be there when it grows. */
		if (start >= size)
			error = FILL_ENDED;
		/* The backend broke its word, and what is missing must not become zeros. */
		else if (done < bytes && start + done < (size < disk_size ? size : disk_size))
			error = fill_error(fill, EIO);
		/* Behind what the backend has, a file that is written has zeros. */
		else if (size > disk_size)
			valid = bytes < size - start ? bytes : size - start;
		/* What the file grew by is read when its size is known: should it shrink before, nobody asks for it. */
		else if (valid > has - start)
			valid = has - start;
	}
	if (error) {
		fill_failed(inode, folio, error);
		return -error;
	}
	/* What the file does not have reads as zero. Broken again: this thread stores (version.h). */
	if (done < bytes) {
		version_break(&folio->version);
		memset((char *)folio->data + done, 0, bytes - done);
	}
	fill_good(inode, folio, valid, 0);
	return 0;
}

/*
 * The read ended with @result. Returns 0 or the error that the first folio got. @keep: the caller goes on with the
 * filler's reference to that one, if it is good, and as busy.
 */
static int fill_end(struct fill *fill, ssize_t result, bool keep, struct stats_shard *shard)
{
	struct inode *inode = fill->inode;
	uint64_t done = result < 0 ? 0 : (uint64_t)result, size;
	int error = result < 0 ? (int)result : 0, first = 0;
	bool failed = false;
	uint32_t i;

	/* Fewer bytes than the file has by what we know: it shrank. Then this drops the folios, too. */
	if (!error && done < fill_expected(fill))
		error = inode_revalidate(inode, false, shard);
	if (error > 0)
		error = 0;
	if (error && error != -FILL_LATE)
		error = -fill_error(fill, -error);
	/* acquire: pairs with inode_revalidate; who sees the larger size sees that the folio was dropped. */
	size = folio_u64_load_acquire(&inode->size);
	for (i = 0; i < fill->count; i++) {
		struct folio *folio = fill->folio[i];
		uint64_t bytes = fill->iov[i].iov_len;
		int r = error;

		if (r)
			fill_failed(inode, folio, -r);
		else
			r = fill_end_folio(fill, folio, done, size);
		done -= done < bytes ? done : bytes;
		failed = failed || (r && r != -FILL_ENDED && r != -FILL_LATE);
		if (i == 0)
			first = r;
		if (i > 0 || !keep || r) {
			folio_put(folio);
			evict_busy_end(&inode->cache->evict);
		}
	}
	if (failed)
		stats_add(shard, STAT_FILL_ERRORS, 1);
	return first;
}

/* On a thread of the backend. */
static void fill_complete(struct folio_io_request *request, ssize_t result)
{
	struct fill *fill = (struct fill *)((char *)request - offsetof(struct fill, request));
	struct inode *inode = fill->inode;
	struct folio_cache *cache = inode->cache;
	struct stats_shard *shard;

	/*
	 * A thread of the backend for which there is no memory to become known brings the read to its end all the same:
	 * others wait for it. It holds locks where it would need a section; what counts is lost at most.
	 */
	shard = thread_enter(cache, cache->id);
	if (!shard)
		shard = cache->shard_spare;
	room_give(cache);
	fill_end(fill, result, false, shard);
	free(fill);
	inode_io_end(inode);
}

void fill_submit(struct fill_batch *batch)
{
	if (batch->count)
		batch->cache->io->submit(batch->cache->io_context, batch->request, batch->count);
	batch->count = 0;
}

uint64_t fill_add(struct fill_batch *batch, struct inode *inode, uint64_t index, uint64_t end,
	uint64_t mark, uint32_t heat)
{
	struct folio_cache *cache = inode->cache;
	struct stats_shard *shard = thread_enter(cache, cache->id);
	uint64_t added = 0;

	while (index < end) {
		uint64_t gap = gap_end(inode, index, end);
		struct fill *fill;
		int r;

		if (gap == index) {
			/* Gone again already: then it is a gap next time. */
			index = folio_end(inode, index);
			continue;
		}
		if (!room_take(cache, false, NULL))
			break;
		fill = malloc(sizeof(*fill));
		if (!fill) {
			room_give(cache);
			break;
		}
		fill_init(fill, inode, index);
		fill->request.complete = fill_complete;
		r = fill_extend_all(fill, gap, FILL_PAGES_MAX, mark, heat, shard);
		if (!fill->count) {
			free(fill);
			room_give(cache);
			/* -EEXIST: somebody was faster; look again. */
			if (r != -EEXIST)
				break;
			continue;
		}
		fill_ask(fill);
		inode_io_begin(inode);
		fill_count(fill, shard);
		index += fill->pages;
		added += fill->pages;
		batch->request[batch->count++] = &fill->request;
		if (batch->count == FILL_BATCH)
			fill_submit(batch);
	}
	return added;
}

/* The first folio of a fill by the calling thread, for page @index, if it is not there. 0, -EEXIST, -ENOMEM, -ETIMEDOUT. */
static int fill_begin(struct fill *fill, struct inode *inode, uint64_t index, uint64_t end,
	const struct timespec *until, struct stats_shard *shard)
{
	int r, tries = 3;

	fill_init(fill, inode, index);
	while ((r = fill_extend(fill, end, HEAT_COLD, EVICT_WAIT, until, shard)) == -ENOBUFS) {
		/* Others may have freed some since. Or it is the system's memory that is short. */
		if (!nodes_are_short(inode->cache))
			r = tries-- > 0 ? 0 : -ENOMEM;
		else
			r = evict_nodes(inode->cache, until, shard);
		if (r)
			break;
	}
	return r;
}

/* The rest of a fill that has its first folio. */
static void fill_rest(struct fill *fill, uint64_t end, struct stats_shard *shard)
{
	fill_extend_all(fill, end, FILL_PAGES_MAX, FILL_NO_MARK, HEAT_COLD, shard);
	fill_ask(fill);
}

/* As fill_sync, but the backend does it, and the caller waits for the folio as any other reader would, or leaves it. */
static int fill_late(struct inode *inode, uint64_t index, uint64_t end,
	const struct timespec *until, struct stats_shard *shard, struct folio **folio,
	uint64_t *filled)
{
	struct folio_cache *cache = inode->cache;
	struct folio_io_request *request;
	struct fill *fill = malloc(sizeof(*fill));
	int r;

	if (!fill)
		return -ENOMEM;
	r = fill_begin(fill, inode, index, end, until, shard);
	if (r) {
		free(fill);
		return r;
	}
	fill->request.complete = fill_complete;
	fill_rest(fill, end, shard);
	/* Room after memory: who waits for memory has nothing that write-back waits for. */
	if (!room_take(cache, true, until)) {
		fill_end(fill, -FILL_LATE, false, shard);
		free(fill);
		return -ETIMEDOUT;
	}
	fill_count(fill, shard);
	/* The filler's own goes when the read has ended. */
	*folio = fill->folio[0];
	*filled = fill->pages;
	folio_ref_get(&(*folio)->ref);
	evict_busy_begin(&cache->evict);
	inode_io_begin(inode);
	request = &fill->request;
	cache->io->submit(cache->io_context, &request, 1);
	return 0;
}

int fill_sync(struct inode *inode, uint64_t index, uint64_t end, const struct timespec *until,
	struct stats_shard *shard, struct folio **folio, uint64_t *filled)
{
	struct folio_cache *cache = inode->cache;
	struct fill fill;
	ssize_t result;
	int r;

	end = gap_end(inode, index, end);
	if (end == index)
		return -EEXIST;
	if (until)
		return fill_late(inode, index, end, until, shard, folio, filled);
	r = fill_begin(&fill, inode, index, end, NULL, shard);
	if (r)
		return r;
	fill_rest(&fill, end, shard);
	fill_count(&fill, shard);
	result = cache->io->read(
		cache->io_context, inode->handle, fill.iov, fill.count, fill.request.offset);
	r = fill_end(&fill, result, true, shard);
	if (!r)
		*folio = fill.folio[0];
	*filled = fill.pages;
	return r;
}

int fill_new(struct inode *inode, uint64_t index, uint64_t end, const struct timespec *until,
	struct stats_shard *shard, struct folio **folio)
{
	struct fill fill;
	int r;

	end = gap_end(inode, index, end);
	if (end == index)
		return -EEXIST;
	r = fill_begin(&fill, inode, index, end, until, shard);
	if (!r)
		*folio = fill.folio[0];
	return r;
}
