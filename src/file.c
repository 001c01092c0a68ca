/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * file.c - the look-up, and what stands on it: read, get, prefetch.
 *
 * The protocol of a look-up by pin, against those who take a folio out of the tree. Nobody waits for anybody.
 *
 *      look-up                                    erase (evict, invalidate, a failed fill)
 *   1  load the slot              acquire      A  freeze (evict), or not (the others: a pinned folio may go)
 *   2  try_get                    acquire      B  erase the slot                    under the tree lock
 *   3  load the slot again: the same entry?    C  drop the tree's reference, or give the frozen folio back
 *   4  no: put, which may make us the
 *      releaser; begin again
 *
 * 2 fails            the folio is frozen: on its way out. Begin again; the slot changes or the freezer lets go.
 * 2 before A         A fails: the folio stays.
 * 2 between B and C  3 sees B: the count that 2 read was written, or passed on, by put (release) or by
 *                    unfreeze (release) after B, and 2 is an acquire.
 * 2 after C          2 fails, or C's release was called off and we have the last reference: 3 sees B, as above, and
 *                    our put releases. Or the frame has a new life already and 2 got a reference of it: 3 sees B, too,
 *                    unless that life is in this very slot again, and then it is the page that we want.
 *
 * So what passed 3 was, at 3, the folio of this page, and stays it until put. What that costs everybody else:
 * a count may be one higher for a moment, on any descriptor, at any time: freeze fails then and is tried later.
 *
 * The protocol of a look-up by copy stands in version.h; the second look at the slot is between the two at
 * the version there.
 *
 * A hit asks the tree nothing. A hint (pool.h) leads to a descriptor, and where the protocols look at the slot again it looks
 * at the descriptor's owner, index and valid: erase takes the owner away under the tree's lock, with the slot, so that
 * who has the folio, by a reference or between two looks at an even version, and finds the owner, has found the
 * folio in the tree. See read_hit and folio_file_get_page.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "cache.h"
#include "pause.h"

/* ---- copying ---- */

#ifdef GRACE_TSAN
/*
 * The one known race: the frame may be overwritten while it is copied, and what was copied is thrown away then,
 * since the version says so. Byte by byte through volatile, so that no intercepted memcpy is called.
 */
__attribute__((noinline, no_sanitize("thread"))) static void copy_out(
	void *to, const void *from, size_t len)
{
	volatile const char *source = from;
	volatile char *target = to;

	while (len-- > 0)
		*target++ = *source++;
}

#define copy_short copy_out
#else
struct block16 {
	uint64_t word[2];
};

#define COPY_BLOCK(type, to, from)                               \
	do {                                                     \
		type block;                                      \
		__builtin_memcpy(&block, (from), sizeof(block)); \
		__builtin_memcpy((to), &block, sizeof(block));   \
	} while (0)

/*
 * Of memory that may change meanwhile; the version check throws such a copy away. Short copies are done here,
 * by blocks that overlap in the middle: a call costs as much as the copy, and a hit is a leaf function without it.
 */
static inline __attribute__((always_inline)) void copy_short(char *to, const char *from, size_t len)
{
	if (likely(len >= 16)) {
		if (unlikely(len > 64)) {
			COPY_BLOCK(struct block16, to + 32, from + 32);
			COPY_BLOCK(struct block16, to + 48, from + 48);
			COPY_BLOCK(struct block16, to + len - 64, from + len - 64);
			COPY_BLOCK(struct block16, to + len - 48, from + len - 48);
		}
		if (len > 32) {
			COPY_BLOCK(struct block16, to + 16, from + 16);
			COPY_BLOCK(struct block16, to + len - 32, from + len - 32);
		}
		COPY_BLOCK(struct block16, to, from);
		COPY_BLOCK(struct block16, to + len - 16, from + len - 16);
	} else if (len >= 8) {
		COPY_BLOCK(uint64_t, to, from);
		COPY_BLOCK(uint64_t, to + len - 8, from + len - 8);
	} else if (len >= 4) {
		COPY_BLOCK(uint32_t, to, from);
		COPY_BLOCK(uint32_t, to + len - 4, from + len - 4);
	} else {
		to[0] = from[0];
		to[len / 2] = from[len / 2];
		to[len - 1] = from[len - 1];
	}
}

static void copy_out(void *to, const void *from, size_t len)
{
	memcpy(to, from, len);
}
#endif

/*
 * Tell eviction that @len bytes at @offset were read of a folio. Returns true when it carries the mark of a window: the
 * caller starts the next one. Racing readers lose an update of a hint now and then.
 */
static inline bool touch(struct folio *folio, uint64_t offset, size_t len)
{
	uint32_t word = folio_u32_load_relaxed(&folio->heat);

	if (likely(!heat_wants_touch(word)))
		return false;
	if (unlikely((word & HEAT_MASK) == HEAT_MARK))
		return folio_u32_cas_relaxed(&folio->heat, &word, HEAT_STREAM);
	folio_u32_store_relaxed(&folio->heat, heat_touched(word, offset, len));
	return false;
}

static inline folio_u32 *hint_of(
	const struct folio_file *file, const struct inode *inode, uint64_t offset)
{
	return &file->hint[hint_at(inode, file->hint_start, offset) & file->hint_mask];
}

/* Looked at first: the word's line is read by those who hit, and mostly says so already. */
static inline void hint_set(
	const struct folio_file *file, uint64_t offset, const struct folio *folio, unsigned order)
{
	folio_u32 *at = hint_of(file, file->inode, offset);
	uint32_t hint = hint_make((uint64_t)(folio - file->folios), order);

	if (folio_u32_load_relaxed(at) != hint)
		folio_u32_store_relaxed(at, hint);
}

/*
 * How far the bytes of a folio at @start, of which @valid are the file's, go for who knows that the file has @size
 * bytes. Where the file has grown since the folio was filled, whole pages only: the rest of one cut in two would be of
 * another moment.
 */
static inline uint64_t good_end(uint64_t start, uint64_t valid, uint64_t size)
{
	uint64_t end = start + valid;

	if (likely(end == size))
		return end;
	return end < size ? end & ~(uint64_t)(FOLIO_PAGE_SIZE - 1) : size;
}

/* What a look-up by copy saw before it copies, and compares with afterwards. */
struct glimpse {
	struct folio *folio;
	uint64_t version;
	const char *data; /* of the byte asked for */
	size_t left;      /* bytes from there on that are good */
	unsigned order;   /* of the folio */
};

/*
 * Steps 1 to 3 of version.h: the folio at @offset and where its bytes are. Inside a section. False when the page is
 * not there or not good, or when the file ends before. No reference is taken, nothing shared is written.
 *
 * The size is loaded between the two looks at the slot. Who finds that the file shrank stores the smaller size,
 * drops the pages, and only then can a page be filled that has zeros in place of what went: who finds such a
 * page sees the size. Who finds that it grew drops the page that ends in zeros, and then stores the larger
 * size: who sees that size does not find that page again.
 */
static inline __attribute__((always_inline)) bool glimpse(
	struct folio_file *file, uint64_t offset, struct glimpse *seen)
{
	uint64_t file_size, end;
	size_t in_folio;
	folio_ptr *slot;
	void *entry;

	entry = tree_walk(&file->inode->tree, offset >> FOLIO_PAGE_SHIFT, &slot);
	if (unlikely(!entry_is_folio(entry)))
		return false;
	seen->folio = entry_folio(entry);
	FOLIO_PAUSE(copy_before_version, seen->folio);
	if (unlikely(!version_load_begin(&seen->folio->version, &seen->version)))
		return false;
	/* acquire: pairs with inode_revalidate. */
	file_size = folio_u64_load_acquire(&file->inode->size);
	FOLIO_PAUSE(copy_before_slot, seen->folio);
	if (unlikely(folio_ptr_load_relaxed(slot) != entry))
		return false;
	FOLIO_PAUSE(copy_before_copy, seen->folio);
	/* From the entry alone: the frame's line is fetched beside the descriptor's, not after it. */
	seen->order = entry_order(entry);
	in_folio = offset & (((uint64_t)FOLIO_PAGE_SIZE << seen->order) - 1);
	seen->data = file->data + ((seen->folio - file->folios) << FOLIO_PAGE_SHIFT) + in_folio;
	end = good_end(offset - in_folio, folio_u32_load_relaxed(&seen->folio->valid), file_size);
	if (unlikely(offset >= end))
		return false;
	seen->left = end - offset;
	return true;
}

/*
 * Copy up to @len bytes from @offset, as far as the folio there and the file reach. Returns the bytes copied, 0 when
 * the page is not there or changed meanwhile. *marked: reading ahead should go on.
 */
static size_t copy_cached(
	struct folio_file *file, void *buf, size_t len, uint64_t offset, bool *marked)
{
	struct glimpse seen;
	size_t copied = 0;

	grace_read_lock();
	if (glimpse(file, offset, &seen)) {
		if (len > seen.left)
			len = seen.left;
		copy_out(buf, seen.data, len);
		if (version_recheck(&seen.folio->version, seen.version)) {
			*marked = touch(seen.folio, offset, len);
			hint_set(file, offset, seen.folio, seen.order);
			copied = len;
		}
	}
	grace_read_unlock();
	return copied;
}

/* ---- pinning ---- */

#define LOOKUP_SPIN 16

/*
 * Steps 1 to 4. The folio that has the page, with a reference, good or not; NULL when there is none. *held: there
 * was one, for a moment at least, and the caller is counted as busy. *refused: there is one, and it has more references than the
 * counter takes.
 */
static inline __attribute__((always_inline)) struct folio *lookup_pin(
	struct inode *inode, uint64_t index, bool *held, bool *refused, struct stats_shard *shard)
{
	unsigned failed = 0;
	struct folio *folio;
	folio_ptr *slot;
	void *entry;

	*held = false;
	grace_read_lock();
	for (;;) {
		entry = tree_walk(&inode->tree, index, &slot);
		if (!entry_is_folio(entry)) {
			folio = NULL;
			break;
		}
		if (!*held)
			evict_busy_begin(&inode->cache->evict);
		*held = true;
		folio = entry_folio(entry);
		FOLIO_PAUSE(pin_before_get, folio);
		if (likely(folio_ref_try_get(&folio->ref))) {
			FOLIO_PAUSE(pin_before_slot, folio);
			if (likely(folio_ptr_load_relaxed(slot) == entry))
				break;
			folio_put(folio);
		}
		stats_add(shard, STAT_RETRIES, 1);
		/*
		 * Who froze it holds the tree's lock until the slot says so. Should he have lost his CPU meanwhile,
		 * ours is better spent asleep on that lock. What is not frozen while we have it is refused.
		 */
		if (unlikely(++failed % LOOKUP_SPIN == 0)) {
			bool got = false;

			tree_lock(&inode->tree);
			if (folio_ptr_load_relaxed(slot) == entry) {
				got = folio_ref_try_get(&folio->ref);
				*refused = !got;
			}
			tree_unlock(&inode->tree);
			if (got || *refused) {
				folio = got ? folio : NULL;
				break;
			}
		}
	}
	grace_read_unlock();
	return folio;
}

/* ---- missing ---- */

/* Read on where a marked window was reached. */
static __attribute__((noinline)) void read_ahead(
	struct folio_file *file, uint64_t index, struct stats_shard *shard)
{
	struct inode *inode = file->inode;
	struct fill_batch batch = {.cache = file->cache};
	uint64_t start, end, eof;

	if (!streams_mark(&file->streams, index,
		    folio_u32_load_relaxed(&file->cache->readahead_pages), &start, &end))
		return;
	eof = size_pages(folio_u64_load_acquire(&inode->size));
	if (end > eof)
		end = eof;
	if (start >= end)
		return;
	evict_reserve(file->cache, end - start, shard);
	stats_add(shard, STAT_READAHEAD_PAGES,
		fill_add(&batch, inode, start, end, start, HEAT_STREAM));
	fill_submit(&batch);
}

/*
 * A caller that does not wait found no memory: is it in the hands of those who will let go of it, or waiting for a
 * grace period? Then waiting would have helped.
 */
static int no_memory(struct folio_cache *cache, uint32_t seen, struct stats_shard *shard)
{
	if (evict_is_moving(&cache->evict, seen) || nodes_are_short(cache))
		return -EAGAIN;
	stats_add(shard, STAT_OUT_OF_MEMORY, 1);
	return -ENOMEM;
}

/*
 * What one call has found out on its way.
 */
struct demand {
	/* A read of several pages failed: those before this one are read page by page, so that the bad one alone fails. */
	uint64_t alone;
	uint64_t
		brought; /* pages before this one that are found were brought by this call: no hits */
};

/*
 * Nothing was found for page @index, from which on @pages are wanted, all in the file. Starts to read what the window says and
 * reads page @index itself. Results as fill_sync's; with @nowait -EAGAIN instead of waiting. @seen: evict_progress before
 * the page was looked for.
 */
static int miss(struct folio_file *file, uint64_t index, uint64_t pages, struct demand *demand,
	bool nowait, const struct timespec *until, uint32_t seen, struct stats_shard *shard,
	struct folio **folio)
{
	struct inode *inode = file->inode;
	struct folio_cache *cache = file->cache;
	struct fill_batch batch = {.cache = cache};
	uint64_t eof = size_pages(folio_u64_load_acquire(&inode->size));
	struct window window;
	uint64_t sync_end, filled, later = 0;
	int r = -EAGAIN;

	if (index < demand->alone)
		window = (struct window){.demand_end = index + 1, .end = index + 1};
	else
		window = streams_miss(&file->streams, index, pages,
			folio_u32_load_relaxed(&cache->readahead_pages));
	if (window.end > eof)
		window.end = eof;
	if (window.demand_end > eof)
		window.demand_end = eof;
	/* What this thread reads itself; a page in any case, also if the file has just shrunk. */
	sync_end = window.demand_end;
	if (sync_end > index + FILL_PAGES_MAX)
		sync_end = index + FILL_PAGES_MAX;
	if (sync_end <= index)
		sync_end = index + 1;
	if (nowait || sync_end - index > 1)
		evict_reserve(cache, sync_end - index, shard);
	if (nowait && !fill_add(&batch, inode, index, sync_end, FILL_NO_MARK, HEAT_COLD))
		r = no_memory(cache, seen, shard);
	if (window.end > sync_end) {
		evict_reserve(cache, window.end - index, shard);
		if (window.demand_end > sync_end)
			later = fill_add(&batch, inode, sync_end, window.demand_end, FILL_NO_MARK,
				HEAT_COLD);
		if (window.end > window.demand_end)
			stats_add(shard, STAT_READAHEAD_PAGES,
				fill_add(&batch, inode, window.demand_end, window.end,
					window.demand_end, HEAT_STREAM));
	}
	fill_submit(&batch);
	if (nowait)
		return r;
	r = fill_sync(inode, index, sync_end, until, shard, folio, &filled);
	if (!r)
		demand->brought = index + filled + (index + filled == sync_end ? later : 0);
	return r;
}

/* Of @pages from @index on, those that the folio has. */
static uint64_t pages_had(const struct folio *folio, uint64_t index, uint64_t pages)
{
	uint64_t left = folio_index(folio) + (UINT64_C(1) << folio_order(folio)) - index;

	return pages < left ? pages : left;
}

/*
 * Was a good folio dropped, perhaps while it was being read, and is the file written? Then somebody else may have given its
 * page new contents meanwhile, and the read have found half of them on the device. Who wants the page looks again.
 *
 * relaxed: what the read may have found was written back from another folio, which came into the tree after this one had
 * left it (both under the tree's lock), and it was over before the flags said UPTODATE (acquire). Between the two is the device:
 * what version.h says of fills by others is relied on.
 */
static bool is_overtaken(struct inode *inode, struct folio *folio)
{
	return folio_ptr_load_relaxed(&folio->owner) != inode &&
	       folio_u64_load_relaxed(&inode->disk_size) != UINT64_MAX;
}

/*
 * The folio that has page @index, good, with a reference. @pages: how many are wanted from there on. Returns 0, -ENOMEM,
 * -EOVERFLOW, -EAGAIN with @nowait, -ETIMEDOUT with @until, -FILL_ENDED, or the error of the read of this page that this call
 * did or waited for. On 0 the caller is counted as busy. *demand: all 0 at first.
 */
static int get_page(struct folio_file *file, uint64_t index, uint64_t pages, struct demand *demand,
	bool nowait, const struct timespec *until, struct stats_shard *shard, struct folio **result)
{
	struct inode *inode = file->inode;
	struct evict *evict = &file->cache->evict;
	bool missed = false, refused = false;
	struct folio *folio;
	uint32_t flags;
	int r = -EEXIST;
	bool anew;

again:
	for (;;) {
		uint32_t seen = evict_progress(evict);
		bool held;

		folio = lookup_pin(inode, index, &held, &refused, shard);
		if (folio)
			break;
		if (held)
			evict_busy_end(evict);
		if (unlikely(refused))
			return -EOVERFLOW;
		/* The second time with nowait: the fill could not be started, or has ended, and the page is gone again. */
		if (nowait && r != -EEXIST)
			goto miss;
		missed = true;
		r = miss(file, index, pages, demand, nowait, until, seen, shard, &folio);
		if (r == 0)
			break;
		if (r == -FILL_ALONE) {
			demand->alone = index + FILL_PAGES_MAX;
			r = -EEXIST;
		}
		if (!nowait && (r != -EEXIST || time_is_up(until)))
			goto miss;
	}
	/* acquire: pairs with folio_filled. */
	flags = folio_u32_load_acquire(&folio->flags);
	if (!(flags & (FOLIO_UPTODATE | FOLIO_ERROR))) {
		missed = true;
		if (!nowait)
			flags = folio_wait_unlocked(folio, until);
	}
	if (flags & FOLIO_UPTODATE && unlikely(is_overtaken(inode, folio))) {
		folio_put(folio);
		evict_busy_end(evict);
		r = -EEXIST;
		goto again;
	}
	if (flags & FOLIO_UPTODATE) {
		stats_add(shard, missed ? STAT_MISSES : STAT_HITS, pages_had(folio, index, pages));
		*result = folio;
		return 0;
	}
	/*
	 * It failed while we had it: its error is ours, unless that was another's time, or may be a neighbour's. Or it is
	 * still locked.
	 */
	r = nowait ? -EAGAIN : -ETIMEDOUT;
	anew = false;
	if (flags & FOLIO_ERROR) {
		anew = folio->error == FILL_LATE || folio->error == FILL_ALONE;
		if (folio->error == FILL_ALONE)
			demand->alone = index + FILL_PAGES_MAX;
		if (!anew)
			r = -(int)folio->error;
	}
	folio_put(folio);
	evict_busy_end(evict);
	if (anew && !nowait && !time_is_up(until)) {
		r = -EEXIST;
		goto again;
	}
miss:
	stats_add(shard, STAT_MISSES, 1);
	return r == -EEXIST ? -ETIMEDOUT : r;
}

int file_get(struct folio_file *file, uint64_t index, uint64_t pages, const struct timespec *until,
	struct stats_shard *shard, struct folio **folio)
{
	struct demand demand = {0};

	return get_page(file, index, pages, &demand, false, until, shard, folio);
}

struct folio *file_find(
	struct folio_file *file, uint64_t index, struct stats_shard *shard, int *error)
{
	bool held, refused = false;
	struct folio *folio;

	folio = lookup_pin(file->inode, index, &held, &refused, shard);
	if (!folio && held)
		evict_busy_end(&file->cache->evict);
	*error = refused ? -EOVERFLOW : 0;
	return folio;
}

/* Step 3 of a pinned hit, see folio_file_get_page. @hint: what led to @folio, to which the caller has a reference. */
static inline __attribute__((always_inline)) bool pin_is_right(
	struct folio_file *file, struct folio *folio, uint32_t hint, uint64_t index)
{
	uint64_t version, in_folio = index & ((UINT64_C(1) << hint_order(hint)) - 1);

	return version_load_begin(&folio->version, &version) &&
	       folio_ptr_load_relaxed(&folio->owner) == file->inode &&
	       folio_u64_load_relaxed(&folio->index) + in_folio == index &&
	       in_folio << FOLIO_PAGE_SHIFT < folio_u32_load_relaxed(&folio->valid);
}

struct folio *file_hit(struct folio_file *file, uint64_t index, struct stats_shard *shard)
{
	uint32_t hint =
		folio_u32_load_relaxed(hint_of(file, file->inode, index << FOLIO_PAGE_SHIFT));
	struct folio *folio = &file->folios[hint_page(hint)];

	if (!folio_ref_try_get(&folio->ref))
		return NULL;
	if (likely(pin_is_right(file, folio, hint, index))) {
		stats_add(shard, STAT_HITS, 1);
		return folio;
	}
	folio_put(folio);
	return NULL;
}

/* ---- the public face ---- */

static void free_file(struct folio_file *file)
{
	streams_destroy(&file->streams);
	free(file);
}

int folio_file_open(struct folio_cache *cache, const char *path, int flags, mode_t mode,
	struct folio_file **result)
{
	struct stats_shard *shard = cache ? thread_enter(cache, cache->id) : NULL;
	struct folio_file *file;
	int r;

	const int also = O_CREAT | O_EXCL | O_TRUNC | O_CLOEXEC | O_NOFOLLOW | O_NOATIME;
	bool writable = (flags & O_ACCMODE) == O_RDWR;

	if (!cache || !path || !result || flags & ~(O_RDWR | also) ||
		(flags & O_TRUNC && !writable))
		return -EINVAL;
	if (!shard)
		return thread_error(cache);
	file = aligned_alloc(64, (sizeof(*file) + 63) & ~(size_t)63);
	if (!file)
		return -ENOMEM;
	/* Truncated by the cache, which may have the file open already. */
	r = inode_get(cache, path, flags & ~O_TRUNC, mode, shard, &file->inode);
	if (r) {
		free(file);
		return r;
	}
	file->cache = cache;
	file->cache_id = cache->id;
	file->folios = cache->pool.folios;
	file->data = cache->pool.data;
	file->hint = cache->pool.hint;
	file->hint_mask = cache->pool.hint_mask;
	file->hint_start = file->inode->hint_start;
	file->writable = writable;
	file->told = writeback_errors(file->inode);
	streams_init(&file->streams);
	if (flags & O_TRUNC) {
		/* Waited for, as open(2) would: nobody has the handle yet who could close it when it goes on. */
		r = file_truncate(file, 0, shard);
		if (r) {
			pthread_mutex_lock(&cache->files_lock);
			/* Others may have closed it meanwhile, and left to us what they wrote. */
			if (file->inode->opens == 1)
				writeback_clean(file->inode, shard);
			inode_put(file->inode, shard);
			cache->files_open--;
			pthread_mutex_unlock(&cache->files_lock);
			free_file(file);
			return r;
		}
	}
	*result = file;
	return 0;
}

static int clean_late(
	struct folio_file *file, const struct late_args *args, struct stats_shard *shard)
{
	return writeback_clean(file->inode, shard);
}

static bool is_dirty(struct inode *inode)
{
	bool dirty;

	tree_lock(&inode->tree);
	dirty = inode->pages_dirty > 0;
	tree_unlock(&inode->tree);
	return dirty;
}

/*
 * Is nothing in flight in a file that only the caller has open, and no call goes on by itself? Then nothing will be: the thread of
 * write-back, who alone could begin something, has left it. files_lock is held.
 */
static bool is_settled(struct inode *inode)
{
	/* acquire: pairs with inode_io_end. */
	return !(folio_u32_load_acquire(&inode->fills) & ~INODE_CLOSING) &&
	       (!inode->write_handle || writeback_leave(inode, false));
}

/* As close_file, where calls end in time: what has to be waited for is waited for without files_lock, and may go on. */
static int close_in_time(struct folio_file *file, bool abandon, const struct timespec *until,
	struct stats_shard *shard)
{
	const struct late_args args = {.flags = 0};
	struct folio_cache *cache = file->cache;
	struct inode *inode = file->inode;
	bool tried = false;
	int r = 0;

	while (lock_until(&cache->files_lock, until)) {
		/* acquire: pairs with the end of a call that went on by itself, with this very handle perhaps. */
		bool late = folio_u32_load_acquire(&inode->late), last = inode->opens == 1;
		bool dirty = last && is_dirty(inode), drop = abandon && tried;
		bool closed = !late && (!last || ((!dirty || drop) && is_settled(inode)));

		if (closed) {
			inode_put(inode, shard);
			cache->files_open--;
		}
		pthread_mutex_unlock(&cache->files_lock);
		if (closed) {
			free_file(file);
			/* What was dropped could not be written. The handle is gone: that the device was not in time says another word. */
			if (!dirty)
				return 0;
			return r == -ETIMEDOUT ? -EIO : r;
		}
		if (late) {
			futex_wait_until(&inode->late, 1, until);
		} else if (dirty && !drop) {
			r = late_call(file, clean_late, &args, until, shard);
			tried = true;
		} else {
			inode_drain(inode, until);
			writeback_pass(inode, until);
		}
		if (time_is_up(until))
			break;
		if (r && (!abandon || r == -ENOMEM))
			return r;
	}
	return -ETIMEDOUT;
}

/* Close it, unless it is the last one of a file with dirty pages that cannot be written: returns why not. */
static int close_file(struct folio_file *file, bool abandon)
{
	struct folio_cache *cache;
	struct stats_shard *shard;
	struct timespec until;
	struct inode *inode;
	bool dirty;
	int r = 0;

	if (!file)
		return -EINVAL;
	cache = file->cache;
	inode = file->inode;
	shard = thread_enter(cache, cache->id);
	if (!shard)
		return thread_error(file->cache);
	if (cache->timeout_ms)
		return close_in_time(file, abandon, wait_limit(cache, &until), shard);
	/* Before the lock: for as long as it takes others open and close. What is left then is what they wrote meanwhile. */
	if (inode->write_handle)
		r = writeback_clean(inode, shard);
	pthread_mutex_lock(&cache->files_lock);
	if (inode->opens > 1) {
		/* Others have it open, and with it what is dirty. */
		dirty = false;
		r = 0;
	} else {
		r = inode->write_handle ? writeback_clean(inode, shard) : 0;
		dirty = r != 0;
	}
	if (!dirty || abandon) {
		inode_put(inode, shard);
		cache->files_open--;
	}
	pthread_mutex_unlock(&cache->files_lock);
	if (dirty && !abandon)
		return r;
	free_file(file);
	return r;
}

int folio_file_close(struct folio_file *file)
{
	return close_file(file, false);
}

int folio_file_abandon(struct folio_file *file)
{
	return close_file(file, true);
}

uint64_t folio_file_size(const struct folio_file *file)
{
	if (!file || !thread_enter(file->cache, file->cache_id))
		return 0;
	return folio_u64_load_acquire(&file->inode->size);
}

static uint64_t pages_touched(uint64_t offset, uint64_t len)
{
	return ((offset + len - 1) >> FOLIO_PAGE_SHIFT) - (offset >> FOLIO_PAGE_SHIFT) + 1;
}

/*
 * May the byte at @offset be read from a pinned folio that was good? 0; -FILL_ENDED: the file ends before, by now;
 * -FILL_AGAIN: the file did when the folio was read, and has grown since. *left: bytes from there on that may be.
 *
 * The size is loaded when the folio is there. By a size from before, zeros from behind the end would be read: of a
 * folio that was filled after the file had shrunk.
 */
static int pinned_left(
	struct folio_file *file, const struct folio *folio, uint64_t offset, uint64_t *left)
{
	uint64_t start = folio_index(folio) << FOLIO_PAGE_SHIFT;
	uint64_t size = folio_u64_load_acquire(&file->inode->size), end;

	if (offset >= size)
		return -FILL_ENDED;
	end = good_end(start, folio_u32_load_relaxed(&folio->valid), size);
	if (offset >= end)
		return -FILL_AGAIN;
	*left = end - offset;
	return 0;
}

/*
 * After -FILL_AGAIN, which it returns, or -ETIMEDOUT. Who found out that the file grew may have dropped the old last page before the fill of this one
 * began, and told the size after it had ended: then nobody else drops it.
 */
static int drop_outgrown(struct folio_file *file, struct folio *folio, uint64_t index,
	const struct timespec *until, struct stats_shard *shard)
{
	struct inode *inode = file->inode;
	uint64_t size, bytes = folio_size(folio), start = folio_index(folio) << FOLIO_PAGE_SHIFT;
	uint32_t had;

	if (!(folio_u32_load_relaxed(&folio->flags) & (FOLIO_DIRTY | FOLIO_WRITEBACK))) {
		inode_invalidate(inode, index, index, shard);
		return -FILL_AGAIN;
	}
	/* One that is written stays: the file was made longer by the cache, with zeros. */
	if (!folio_lock_wait(folio, until))
		return -ETIMEDOUT;
	size = folio_u64_load_acquire(&inode->size);
	had = folio_u32_load_relaxed(&folio->valid);
	if (size > start && had < bytes && start + had < size) {
		version_break(&folio->version);
		if (bytes > size - start)
			bytes = size - start;
		memset((char *)folio->data + had, 0, bytes - had);
		folio_u32_store_relaxed(&folio->valid, (uint32_t)bytes);
		version_settle(&folio->version);
	}
	folio_unlocked(folio);
	return -FILL_AGAIN;
}

#define COPY_TRIES 16

/* Up to @len bytes of a pinned folio. Bytes, or what pinned_left says. */
static ssize_t copy_left(
	struct folio_file *file, struct folio *folio, void *buf, size_t len, uint64_t offset)
{
	uint64_t left, start = folio_index(folio) << FOLIO_PAGE_SHIFT;
	int r = pinned_left(file, folio, offset, &left);

	if (r)
		return r;
	if (len > left)
		len = left;
	FOLIO_PAUSE(copy_measured, folio);
	copy_out(buf, (char *)folio_data(folio) + (offset - start), len);
	return (ssize_t)len;
}

/*
 * Copy out of a pinned folio that was good, as it is between two changes: bytes and where they end belong together. It is broken
 * only while somebody has it locked: waits for him, and where writer follows writer asks for the lock in the end. Returns as
 * copy_left, or -EAGAIN with @nowait, -ETIMEDOUT with @until.
 */
static ssize_t copy_pinned(struct folio_file *file, struct folio *folio, void *buf, size_t len,
	uint64_t offset, bool nowait, const struct timespec *until)
{
	unsigned tries;
	ssize_t n;

	for (tries = 0; tries < COPY_TRIES; tries++) {
		uint64_t version;
		uint32_t flags;

		if (version_load_begin(&folio->version, &version)) {
			n = copy_left(file, folio, buf, len, offset);
			if (version_recheck(&folio->version, version))
				return n;
		}
		flags = folio_u32_load_relaxed(&folio->flags);
		if (flags & FOLIO_LOCKED) {
			if (nowait)
				return -EAGAIN;
			if (!folio_flags_wait(folio, flags, until))
				return -ETIMEDOUT;
		}
	}
	if (nowait)
		return -EAGAIN;
	if (!folio_lock_wait(folio, until))
		return -ETIMEDOUT;
	n = copy_left(file, folio, buf, len, offset);
	folio_unlocked(folio);
	return n;
}

/* One step of a read that is not a plain hit. Bytes, or an error, or what pinned_left says. *demand as get_page's. */
static ssize_t read_missing(struct folio_file *file, void *buf, size_t len, uint64_t offset,
	struct demand *demand, bool nowait, const struct timespec *until, struct stats_shard *shard)
{
	uint64_t index = offset >> FOLIO_PAGE_SHIFT;
	struct folio *folio;
	bool marked = false;
	ssize_t n;
	int r;

	r = get_page(file, index, pages_touched(offset, len), demand, nowait, until, shard, &folio);
	if (r)
		return r;
	n = copy_pinned(file, folio, buf, len, offset, nowait, until);
	if (n > 0) {
		marked = touch(folio, offset, (size_t)n);
		hint_set(file, offset, folio, folio_order(folio));
	}
	if (n == -FILL_AGAIN)
		n = drop_outgrown(file, folio, index, until, shard);
	folio_put(folio);
	evict_busy_end(&file->cache->evict);
	if (marked)
		read_ahead(file, index, shard);
	return n;
}

/* A read, whole, by the tree. The arguments are good, the thread is known. */
static ssize_t read_by_tree(struct folio_file *file, char *buf, size_t len, uint64_t offset,
	bool nowait, const struct timespec *until, struct stats_shard *shard)
{
	size_t done = 0;
	struct demand demand = {0};
	bool asked = false;

	while (done < len) {
		uint64_t at = offset + done, size = folio_u64_load_acquire(&file->inode->size);
		size_t want = len - done;
		bool marked;
		ssize_t n;

		if (at >= size) {
			/* The end, unless the file grew: ask once, and only if there is nothing else to say. */
			if (done || asked)
				break;
			asked = true;
			n = inode_revalidate(file->inode, true, shard);
			if (n < 0)
				return n;
			continue;
		}
		if (want > size - at)
			want = size - at;
		n = (ssize_t)copy_cached(file, buf + done, want, at, &marked);
		if (n > 0) {
			stats_add(shard,
				at >> FOLIO_PAGE_SHIFT < demand.brought ? STAT_MISSES : STAT_HITS,
				pages_touched(at, (uint64_t)n));
			if (unlikely(marked))
				read_ahead(file, at >> FOLIO_PAGE_SHIFT, shard);
		} else {
			n = read_missing(file, buf + done, want, at, &demand, nowait, until, shard);
			/* The size says so by now, or the folio is gone. */
			if (n == -FILL_ENDED || n == -FILL_AGAIN)
				continue;
			if (n < 0)
				return done ? (ssize_t)done : n;
		}
		done += (size_t)n;
		/* Cut by the end of the file: should it be another by now, the rest of the page is of another moment. */
		if ((offset + done) & (FOLIO_PAGE_SIZE - 1))
			break;
	}
	return (ssize_t)done;
}

static bool read_is_valid(const void *buf, size_t len, uint64_t offset)
{
	return (buf || !len) && len <= INT64_MAX && offset <= INT64_MAX - len;
}

static __attribute__((noinline)) ssize_t read_slow(
	struct folio_file *file, char *buf, size_t len, uint64_t offset, bool nowait)
{
	struct stats_shard *shard;
	struct timespec until;

	if (!file || !read_is_valid(buf, len, offset))
		return -EINVAL;
	shard = thread_enter(file->cache, file->cache_id);
	if (!shard)
		return thread_error(file->cache);
	return read_by_tree(file, buf, len, offset, nowait, wait_limit(file->cache, &until), shard);
}

/* The rare end of a hit, where something is left to do. */
static __attribute__((noinline)) ssize_t read_touch(
	struct folio_file *file, struct folio *folio, size_t len, uint64_t offset)
{
	/* The descriptor may serve another page by now. Then a wrong hint is given. */
	if (touch(folio, offset, len))
		read_ahead(file, offset >> FOLIO_PAGE_SHIFT,
			thread_enter(file->cache, file->cache_id));
	return (ssize_t)len;
}

#define SHORT_MAX 128

/*
 * A hit of a short read, whole, and a leaf function. It goes by the hint, past the tree, and takes no section: all that
 * it touches is type-stable. That the folio is the right one is said by the descriptor: owner, index and valid are
 * stored before the version of a life is settled, and erase takes the owner away. So, between two looks at
 * the same even version (version.h, with 3 in the place of the second look at the slot):
 *
 *   2  version, even?                 acquire
 *   3  owner, index, valid: are the bytes asked for in it?
 *   4  copy
 *   5, 6  version still the same?
 *
 * False: everything else, also a useless hint, is for read_by_tree, which gives a better one. *cold: the folio, where
 * eviction has to be told (read_touch), or NULL. The caller has looked whether the thread is known (thread_hit).
 */
static inline __attribute__((always_inline)) bool read_hit(
	struct folio_file *file, void *buf, size_t len, uint64_t offset, struct folio **cold)
{
	uint64_t version, first, in_folio;
	struct inode *inode;
	struct folio *folio;
	uint32_t hint, page;

	if (unlikely(len - 1 >= SHORT_MAX || !buf))
		return false;
	inode = file->inode;
	hint = folio_u32_load_relaxed(hint_of(file, inode, offset));
	page = hint_page(hint);
	folio = &file->folios[page];
	in_folio = offset & (((uint64_t)FOLIO_PAGE_SIZE << hint_order(hint)) - 1);
	FOLIO_PAUSE(copy_before_version, folio);
	if (unlikely(!version_load_begin(&folio->version, &version)))
		return false;
	FOLIO_PAUSE(copy_before_slot, folio);
	if (unlikely(folio_ptr_load_relaxed(&folio->owner) != inode))
		return false;
	first = folio_u64_load_relaxed(&folio->index) << FOLIO_PAGE_SHIFT;
	if (unlikely(first + in_folio != offset ||
		     in_folio + len > folio_u32_load_relaxed(&folio->valid)))
		return false;
	FOLIO_PAUSE(copy_before_copy, folio);
	copy_short(buf, file->data + ((uint64_t)page << FOLIO_PAGE_SHIFT) + in_folio, len);
	if (unlikely(!version_recheck(&folio->version, version)))
		return false;
	stats_add(thread_last.shard, STAT_HITS, 1);
	*cold = unlikely(heat_wants_touch(folio_u32_load_relaxed(&folio->heat))) ? folio : NULL;
	return true;
}

static inline __attribute__((always_inline)) ssize_t read_any(
	struct folio_file *file, void *buf, size_t len, uint64_t offset, bool nowait)
{
	struct folio *cold;

	if (unlikely(!file || !thread_hit(file->cache_id)) ||
		unlikely(!read_hit(file, buf, len, offset, &cold)))
		return read_slow(file, buf, len, offset, nowait);
	if (unlikely(cold))
		return read_touch(file, cold, len, offset);
	return (ssize_t)len;
}

ssize_t folio_file_read(struct folio_file *file, void *buf, size_t len, uint64_t offset)
{
	return read_any(file, buf, len, offset, false);
}

ssize_t folio_file_read_nowait(struct folio_file *file, void *buf, size_t len, uint64_t offset)
{
	return read_any(file, buf, len, offset, true);
}

/* Everything about a get that is not a plain hit. */
static __attribute__((noinline)) int get_slow(
	struct folio_file *file, uint64_t index, unsigned flags, struct folio **result, void **page)
{
	const struct timespec *until;
	struct stats_shard *shard;
	struct timespec time;
	struct folio *folio;
	struct demand demand = {0};
	uint64_t left;
	int r;

	if (!file || !result || !page || flags & ~FOLIO_GET_NOWAIT)
		return -EINVAL;
	shard = thread_enter(file->cache, file->cache_id);
	if (!shard)
		return thread_error(file->cache);
	until = wait_limit(file->cache, &time);
again:
	if (index >= size_pages(folio_u64_load_acquire(&file->inode->size))) {
		/* -ENODATA, unless the file grew. */
		r = inode_revalidate(file->inode, true, shard);
		if (r < 0)
			return r;
		if (index >= size_pages(folio_u64_load_acquire(&file->inode->size)))
			return -ENODATA;
	}
	r = get_page(file, index, 1, &demand, flags & FOLIO_GET_NOWAIT, until, shard, &folio);
	if (r)
		return r == -FILL_ENDED ? -ENODATA : r;
	/* From here on it is the program that is busy with it. */
	evict_busy_end(&file->cache->evict);
	/* The folio may reach farther than the file, which shrank: what lies behind the end is no page of it. */
	r = pinned_left(file, folio, index << FOLIO_PAGE_SHIFT, &left);
	if (r) {
		if (r == -FILL_AGAIN)
			r = drop_outgrown(file, folio, index, until, shard);
		folio_put(folio);
		if (r != -FILL_AGAIN)
			return r == -FILL_ENDED ? -ENODATA : r;
		goto again;
	}
	if (touch(folio, index << FOLIO_PAGE_SHIFT, FOLIO_PAGE_SIZE))
		read_ahead(file, index, shard);
	hint_set(file, index << FOLIO_PAGE_SHIFT, folio, folio_order(folio));
	*result = folio;
	*page = folio_page(folio, index);
	return 0;
}

/* The rare ends of a pinned hit. */
static __attribute__((noinline)) int get_undo(struct folio_file *file, uint64_t index,
	unsigned flags, struct folio **result, void **page, struct folio *folio)
{
	folio_put(folio);
	return get_slow(file, index, flags, result, page);
}

static __attribute__((noinline)) int get_touch(
	struct folio_file *file, struct folio *folio, uint64_t index)
{
	if (touch(folio, index << FOLIO_PAGE_SHIFT, FOLIO_PAGE_SIZE))
		read_ahead(file, index, thread_enter(file->cache, file->cache_id));
	return 0;
}

/*
 * A pinned hit, whole, a leaf function and by the hint, like read_hit. Where it was found (R3) is here what the descriptor
 * says: owner, index and valid are stored before the version of a life is settled, and stay as they are while there is a
 * reference, but for the owner, which erase takes away before it drops the tree's. So, in the places of steps 1 to 4:
 *
 *   1  the hint: any folio
 *   2  try_get                             acquire
 *   3  version even (the contents are good) acquire; owner, index, valid: is the page asked for in it?
 *   4  no: put, and go by the tree
 *
 * The descriptor is looked at after the get only: others who pin the same folio are fighting for its line, and a
 * look before would be a transfer of its own.
 */
int folio_file_get_page(
	struct folio_file *file, uint64_t index, unsigned flags, struct folio **result, void **page)
{
	struct folio *folio;
	uint32_t hint;

	if (unlikely(!file || !result || !page || flags & ~FOLIO_GET_NOWAIT))
		return -EINVAL;
	if (unlikely(!thread_hit(file->cache_id)))
		return get_slow(file, index, flags, result, page);
	hint = folio_u32_load_relaxed(hint_of(file, file->inode, index << FOLIO_PAGE_SHIFT));
	folio = &file->folios[hint_page(hint)];
	FOLIO_PAUSE(pin_before_get, folio);
	if (unlikely(!folio_ref_try_get(&folio->ref)))
		return get_slow(file, index, flags, result, page);
	FOLIO_PAUSE(pin_before_slot, folio);
	if (unlikely(!pin_is_right(file, folio, hint, index)))
		return get_undo(file, index, flags, result, page, folio);
	stats_add(thread_last.shard, STAT_HITS, 1);
	*result = folio;
	*page = file->data + ((hint_page(hint) + (index & ((UINT64_C(1) << hint_order(hint)) - 1)))
				     << FOLIO_PAGE_SHIFT);
	if (unlikely(heat_wants_touch(folio_u32_load_relaxed(&folio->heat))))
		return get_touch(file, folio, index);
	return 0;
}

/* Memory for so many pages is made free before they are asked for. */
#define START_PART 1024

/*
 * Start to read those of the pages that @range touches that are not there. Returns how many. *all: those were all; else there would
 * be too many, beside the @before that the call has started, or more than the @most that it had room for when it began, memory was
 * short, or room among the requests, or somebody else was quicker.
 */
static uint64_t start_range(struct fill_batch *batch, struct folio_file *file,
	const struct folio_range *range, uint64_t before, uint64_t most, struct stats_shard *shard,
	bool *all)
{
	uint64_t first = range->offset >> FOLIO_PAGE_SHIFT, started = 0;
	uint64_t end = size_pages(folio_u64_load_acquire(&file->inode->size));

	*all = true;
	if (!range->len || first >= end)
		return 0;
	if (range->len - 1 < (UINT64_MAX >> 1) - range->offset) {
		uint64_t last = (range->offset + range->len - 1) >> FOLIO_PAGE_SHIFT;

		if (end > last + 1)
			end = last + 1;
	}
	while (first < end) {
		uint64_t part = end - first < START_PART ? end - first : START_PART, missing;
		/* Asked each time: others take memory as well. But what is evicted meanwhile is no more room: it may be ours. */
		uint64_t room = evict_room(file->cache, before + started);

		if (room > most - before - started)
			room = most - before - started;
		if (!room) {
			*all = false;
			break;
		}
		if (part > room)
			part = room;
		missing = fill_missing(file->inode, first, first + part);
		if (missing) {
			uint64_t added;

			evict_reserve(file->cache, missing, shard);
			added = fill_add(
				batch, file->inode, first, first + part, FILL_NO_MARK, HEAT_COLD);
			*all = *all && added >= missing;
			started += added;
		}
		first += part;
	}
	return started;
}

ssize_t folio_file_prefetch(
	struct folio_file *file, const struct folio_range *range, unsigned count)
{
	struct fill_batch batch;
	struct stats_shard *shard;
	uint64_t started = 0, most;
	unsigned i;
	bool all;

	if (!file || (!range && count))
		return -EINVAL;
	shard = thread_enter(file->cache, file->cache_id);
	if (!shard)
		return thread_error(file->cache);
	batch = (struct fill_batch){.cache = file->cache};
	/* The end of what is wanted must not push its beginning out before anybody has read it. */
	most = evict_room(file->cache, 0);
	for (i = 0; i < count && started < most && evict_room(file->cache, started); i++)
		started += start_range(&batch, file, &range[i], started, most, shard, &all);
	fill_submit(&batch);
	stats_add(shard, STAT_PREFETCH_PAGES, started);
	return (ssize_t)started;
}

/* ---- reads of one call ---- */

/*
 * Reads that are looked up together. Their lines are on their way to the CPU at the same time then, as many as it can wait for;
 * in reads one after the other it finds the next one's only as far ahead as it executes, which is a few reads.
 */
#define BATCH_GROUP  32

/* What folio_read.result says meanwhile of a read that was no hit; no result of a read. */
#define READ_PENDING (-(ssize_t)EINPROGRESS)

/* Ask for the lines that read_hit would look at. A useless hint leads to lines that nobody wants, and no further. */
static inline __attribute__((always_inline)) void read_peek(
	const struct folio_file *file, size_t len, uint64_t offset)
{
	uint32_t hint = folio_u32_load_relaxed(hint_of(file, file->inode, offset));
	uint64_t in_folio = offset & (((uint64_t)FOLIO_PAGE_SIZE << hint_order(hint)) - 1);
	const char *data = file->data + ((uint64_t)hint_page(hint) << FOLIO_PAGE_SHIFT) + in_folio;

	__builtin_prefetch(&file->folios[hint_page(hint)].version);
	__builtin_prefetch(data);
	/* The line of the last byte, where it is a short read. */
	__builtin_prefetch(data + ((len - 1) & (SHORT_MAX - 1)));
}

/* The hits among the reads; the rest is marked READ_PENDING. Returns how many those are. */
static unsigned batch_hits(struct folio_file *file, struct folio_read *reads, unsigned count)
{
	unsigned i, pending = 0;

	for (i = 0; i < count; i++)
		read_peek(file, reads[i].len, reads[i].offset);
	for (i = 0; i < count; i++) {
		struct folio_read *read = &reads[i];
		struct folio *cold;

		/* Asked each time: who reads ahead calls the backend, which may be a program's, and use other caches. */
		if (thread_hit(file->cache_id) &&
			read_hit(file, read->buf, read->len, read->offset, &cold)) {
			read->result = (ssize_t)read->len;
			if (unlikely(cold))
				read_touch(file, cold, read->len, read->offset);
		} else {
			read->result = READ_PENDING;
			pending++;
		}
	}
	return pending;
}

/* A read that was no hit; the others are left as they are. */
static void batch_read(struct folio_file *file, struct folio_read *read, bool nowait,
	const struct timespec *until, struct stats_shard *shard)
{
	if (read->result != READ_PENDING)
		return;
	read->result = -EINVAL;
	if (read_is_valid(read->buf, read->len, read->offset))
		read->result = read_by_tree(
			file, read->buf, read->len, read->offset, nowait, until, shard);
}

/*
 * Start what is not there of the first reads, of as many as can be: up to where a page could not be started, and no more pages
 * than come without pushing each other out. Returns how many reads that are; one at least.
 */
static unsigned batch_start(struct folio_file *file, const struct folio_read *reads, unsigned count,
	struct stats_shard *shard)
{
	struct fill_batch batch = {.cache = file->cache};
	uint64_t started = 0, most = evict_room(file->cache, 0);
	unsigned n = 0;
	bool all = true;

	do {
		const struct folio_read *read = &reads[n++];
		const struct folio_range range = {read->offset, read->len};

		if (read->result == READ_PENDING &&
			read_is_valid(read->buf, read->len, read->offset))
			started += start_range(&batch, file, &range, started, most, shard, &all);
	} while (n < count && all && started < most && evict_room(file->cache, started));
	fill_submit(&batch);
	stats_add(shard, STAT_PREFETCH_PAGES, started);
	return n;
}

/*
 * The rest, of which there are @pending: what is not there is asked for together and read in turn, part by part. One read that is
 * alone goes as any does, with what is read ahead.
 */
static void batch_misses(struct folio_file *file, struct folio_read *reads, unsigned count,
	unsigned pending, bool nowait, struct stats_shard *shard)
{
	const struct timespec *until;
	struct timespec time;
	unsigned i = 0, end;

	until = wait_limit(file->cache, &time);
	while (i < count) {
		end = pending > 1 ? i + batch_start(file, &reads[i], count - i, shard) : count;
		for (; i < end; i++)
			batch_read(file, &reads[i], nowait, until, shard);
	}
}

int folio_file_read_batch(
	struct folio_file *file, struct folio_read *reads, unsigned count, unsigned flags)
{
	struct stats_shard *shard;
	unsigned i, n, pending = 0;

	if (!file || (!reads && count) || flags & ~FOLIO_READ_NOWAIT)
		return -EINVAL;
	shard = thread_enter(file->cache, file->cache_id);
	if (!shard)
		return thread_error(file->cache);
	for (i = 0; i < count; i += n) {
		n = count - i < BATCH_GROUP ? count - i : BATCH_GROUP;
		pending += batch_hits(file, &reads[i], n);
	}
	if (pending)
		batch_misses(file, reads, count, pending, flags & FOLIO_READ_NOWAIT, shard);
	return 0;
}

int folio_file_advise(struct folio_file *file, enum folio_advice advice)
{
	if (!file || (advice != FOLIO_ADVICE_NORMAL && advice != FOLIO_ADVICE_SEQUENTIAL &&
			     advice != FOLIO_ADVICE_RANDOM))
		return -EINVAL;
	if (!thread_enter(file->cache, file->cache_id))
		return thread_error(file->cache);
	folio_u32_store_relaxed(&file->streams.advice, advice);
	return 0;
}

int folio_file_invalidate(struct folio_file *file, uint64_t offset, uint64_t len)
{
	struct stats_shard *shard;
	uint64_t last;

	if (!file || (len != UINT64_MAX && len > UINT64_MAX - offset))
		return -EINVAL;
	shard = thread_enter(file->cache, file->cache_id);
	if (!shard)
		return thread_error(file->cache);
	if (!len)
		return 0;
	last = len == UINT64_MAX ? UINT64_MAX : (offset + len - 1) >> FOLIO_PAGE_SHIFT;
	inode_invalidate(file->inode, offset >> FOLIO_PAGE_SHIFT, last, shard);
	return 0;
}

int folio_file_revalidate(struct folio_file *file)
{
	struct stats_shard *shard;

	if (!file)
		return -EINVAL;
	shard = thread_enter(file->cache, file->cache_id);
	if (!shard)
		return thread_error(file->cache);
	return inode_revalidate(file->inode, false, shard);
}
