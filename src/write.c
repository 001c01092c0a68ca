/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * write.c - changing a file: by copy, in place, its size, holes.
 *
 * A write changes one folio after the other, each with the folio locked:
 *
 *   1  the folio of the page: found; or filled, when only a part of it is written; or new, when all is
 *   2  lock: no other writer, and not while it is on its way to the file (stable pages)
 *   3  still in the file?  no: begin again
 *   4  version odd, the data, valid, version even       who copies sees all of it or nothing
 *   5  dirty: mark and flag under the tree's lock, if it is still in the file; else begin again
 *   6  the size, if it grew                            before 7: write-back goes as far as the size
 *   7  unlock
 *
 * map_lock, shared: no page goes by truncation meanwhile. size_lock, when the file grows: one at a time.
 *
 * What lies behind the end in the folio that has the end is zeros (truncate sees to it), and its valid ends there; who makes
 * the file longer gives it the rest before the size says so.
 */
#include <errno.h>
#include <string.h>

#include "cache.h"
#include "pause.h"

/* ---- one locked folio ---- */

/* Steps 5 to 7. False: it has left the file; then it is only unlocked. */
static bool end_write(struct inode *inode, struct folio *folio, uint64_t size)
{
	bool in_file = true;

	if (!(folio_u32_load_relaxed(&folio->flags) & FOLIO_DIRTY)) {
		tree_lock(&inode->tree);
		in_file = folio_ptr_load_relaxed(&folio->owner) == inode;
		if (in_file)
			writeback_mark_locked(inode, folio);
		tree_unlock(&inode->tree);
	}
	if (in_file)
		inode_reach(inode, size);
	folio_unlocked(folio);
	return in_file;
}

/*
 * Steps 2 to 7 for bytes of a pinned folio. Returns the bytes written; 0: begin again; -ETIMEDOUT.
 */
static ssize_t write_folio(struct inode *inode, struct folio *folio, const char *buf, size_t len,
	uint64_t offset, const struct timespec *until)
{
	uint64_t start, size, bytes, in_folio, end;

	if (!folio_lock_wait(folio, until))
		return -ETIMEDOUT;
	start = folio->index << FOLIO_PAGE_SHIFT;
	bytes = folio_size(folio);
	if (folio_ptr_load_relaxed(&folio->owner) != inode ||
		!(folio_u32_load_relaxed(&folio->flags) & FOLIO_UPTODATE) || offset < start ||
		offset >= start + bytes) {
		folio_unlocked(folio);
		return 0;
	}
	in_folio = offset - start;
	if (len > bytes - in_folio)
		len = bytes - in_folio;
	if (unlikely(folio->order > 0 && len < bytes) &&
		!(folio_u32_load_relaxed(&folio->flags) & FOLIO_DIRTY) &&
		inode_split(inode, folio, offset >> FOLIO_PAGE_SHIFT)) {
		folio_unlocked(folio);
		return 0;
	}
	size = folio_u64_load_acquire(&inode->size);
	end = size > start ? size - start : 0;
	if (end > bytes)
		end = bytes;
	/* It was filled before the file grew, by one that did not find it here (fill.c): to be read again. */
	if (unlikely(folio_u32_load_relaxed(&folio->valid) < end) &&
		!(folio_u32_load_relaxed(&folio->flags) & FOLIO_DIRTY)) {
		folio_unlocked(folio);
		inode_invalidate(inode, folio->index, folio->index,
			thread_enter(inode->cache, inode->cache->id));
		return 0;
	}
	version_break(&folio->version);
	folio_reach(folio, in_folio > end ? in_folio : end);
	memcpy((char *)folio->data + in_folio, buf, len);
	FOLIO_PAUSE(write_copied, folio);
	if (in_folio + len > folio_u32_load_relaxed(&folio->valid))
		folio_u32_store_relaxed(&folio->valid, (uint32_t)(in_folio + len));
	version_settle(&folio->version);
	return end_write(inode, folio, offset + len) ? (ssize_t)len : 0;
}

/* A folio that was not there, for bytes of which it keeps nothing else: whole pages, or up to behind the end. */
static ssize_t write_new(struct inode *inode, const char *buf, size_t len, uint64_t offset,
	const struct timespec *until, struct stats_shard *shard)
{
	uint64_t index = offset >> FOLIO_PAGE_SHIFT, in_folio = offset & (FOLIO_PAGE_SIZE - 1);
	uint64_t end = index + ((in_folio + len) >> FOLIO_PAGE_SHIFT), bytes;
	struct folio *folio;
	int r;

	r = fill_new(inode, index, end > index ? end : index + 1, until, shard, &folio);
	if (r)
		return r == -EEXIST ? 0 : r;
	bytes = folio_size(folio);
	if (len > bytes - in_folio)
		len = bytes - in_folio;
	version_break(&folio->version);
	memset(folio->data, 0, in_folio);
	memcpy((char *)folio->data + in_folio, buf, len);
	memset((char *)folio->data + in_folio + len, 0, bytes - in_folio - len);
	if (!fill_good(inode, folio, in_folio + len, offset + len))
		len = 0;
	folio_put(folio);
	evict_busy_end(&inode->cache->evict);
	return (ssize_t)len;
}

/*
 * The file is going to have @size bytes, more than it has: what is there of its last folio gets the rest. size_lock is held.
 * 0, or -ETIMEDOUT.
 */
static int extend_last(struct folio_file *file, uint64_t size, const struct timespec *until,
	struct stats_shard *shard)
{
	struct inode *inode = file->inode;
	uint64_t had = folio_u64_load_relaxed(&inode->size), start, valid;
	struct folio *folio;
	int error, r = 0;

	if (!had)
		return 0;
	folio = file_find(file, (had - 1) >> FOLIO_PAGE_SHIFT, shard, &error);
	if (!folio)
		return 0;
	if (!folio_lock_wait(folio, until)) {
		r = -ETIMEDOUT;
		goto put;
	}
	if (folio_ptr_load_relaxed(&folio->owner) == inode &&
		folio_u32_load_relaxed(&folio->flags) & FOLIO_UPTODATE) {
		start = folio->index << FOLIO_PAGE_SHIFT;
		valid = size - start < folio_size(folio) ? size - start : folio_size(folio);
		/* A clean one that has less than the file had is to be read again, and is found out. */
		if (folio_u32_load_relaxed(&folio->flags) & FOLIO_DIRTY ||
			folio_u32_load_relaxed(&folio->valid) >=
				(had - start < folio_size(folio) ? had - start
								 : folio_size(folio))) {
			version_break(&folio->version);
			folio_reach(folio, valid);
			version_settle(&folio->version);
		}
	}
	folio_unlocked(folio);
put:
	folio_put(folio);
	evict_busy_end(&inode->cache->evict);
	return r;
}

/* What the folio that has byte @size has behind it becomes zeros; where it is a large one, the pages behind it leave it. */
static void cut(struct folio_file *file, uint64_t size, struct stats_shard *shard)
{
	struct inode *inode = file->inode;
	uint64_t index = size >> FOLIO_PAGE_SHIFT, start;
	struct folio *folio;
	bool split;
	int error;

	do {
		split = false;
		folio = file_find(file, index, shard, &error);
		if (!folio)
			return;
		folio_lock_wait(folio, NULL);
		start = folio->index << FOLIO_PAGE_SHIFT;
		if (folio_ptr_load_relaxed(&folio->owner) == inode && start < size &&
			size - start < folio_size(folio)) {
			if (folio->order > 0)
				split = inode_split(inode, folio, index);
			if (!split) {
				version_break(&folio->version);
				memset((char *)folio->data + (size - start), 0,
					folio_size(folio) - (size - start));
				if (folio_u32_load_relaxed(&folio->valid) > size - start)
					folio_u32_store_relaxed(
						&folio->valid, (uint32_t)(size - start));
				version_settle(&folio->version);
			}
		}
		folio_unlocked(folio);
		folio_put(folio);
		evict_busy_end(&inode->cache->evict);
	} while (split);
}

/* ---- by copy ---- */

/* write_step, where the file reaches to @offset, or its last folio does by now. */
static ssize_t write_there(struct folio_file *file, const char *buf, size_t len, uint64_t offset,
	const struct timespec *until, struct stats_shard *shard)
{
	struct inode *inode = file->inode;
	uint64_t index = offset >> FOLIO_PAGE_SHIFT, in_page = offset & (FOLIO_PAGE_SIZE - 1);
	uint64_t size = folio_u64_load_acquire(&inode->size);
	struct folio *folio;
	ssize_t n;
	int r = 0;

	folio = file_hit(file, index, shard);
	if (likely(folio)) {
		n = write_folio(inode, folio, buf, len, offset, until);
		folio_put(folio);
		return n;
	}
	/* All of the page that there is, or will be: nothing of it has to be read. */
	if ((in_page == 0 && (len >= FOLIO_PAGE_SIZE || offset + len >= size)) ||
		index << FOLIO_PAGE_SHIFT >= size) {
		folio = file_find(file, index, shard, &r);
		if (!folio && !r) {
			/* Whole pages, and what ends behind the file's end. */
			if (len >= FOLIO_PAGE_SIZE && offset + len < size)
				len &= ~(size_t)(FOLIO_PAGE_SIZE - 1);
			return write_new(inode, buf, len, offset, until, shard);
		}
	} else {
		r = file_get(file, index, 1, until, shard, &folio);
	}
	if (r)
		return r == -FILL_ENDED ? 0 : r;
	n = write_folio(inode, folio, buf, len, offset, until);
	folio_put(folio);
	evict_busy_end(&inode->cache->evict);
	return n;
}

/* Bytes of one folio. 0: begin again. The caller has map_lock, shared, and size_lock if the file grows by this. */
static ssize_t write_step(struct folio_file *file, const char *buf, size_t len, uint64_t offset,
	const struct timespec *until, struct stats_shard *shard)
{
	uint64_t size = folio_u64_load_acquire(&file->inode->size);
	ssize_t n;

	if (likely(offset <= size))
		return write_there(file, buf, len, offset, until, shard);
	n = extend_last(file, offset, until, shard);
	if (n)
		return n;
	n = write_there(file, buf, len, offset, until, shard);
	/* Nothing came of it: the file ends where it did. */
	if (n <= 0)
		cut(file, size, shard);
	return n;
}

/* As folio_file_write, of checked arguments; with @keep_size nothing behind the end. */
static ssize_t write_bytes(struct folio_file *file, const char *buf, size_t len, uint64_t offset,
	bool keep_size, const struct timespec *until, struct stats_shard *shard)
{
	struct inode *inode = file->inode;
	size_t done = 0;
	ssize_t n = 0;

	while (done < len) {
		uint64_t at = offset + done, size;
		size_t left = len - done;
		bool grows;

		/* Before more is dirty, and with no lock held. */
		n = writeback_throttle(file->cache, until, shard);
		if (n < 0)
			break;
		if (!read_lock_until(&inode->map_lock, until)) {
			n = -ETIMEDOUT;
			break;
		}
		/* It does not become smaller meanwhile. */
		size = folio_u64_load_acquire(&inode->size);
		if (keep_size && at + left > size) {
			left = size > at ? size - at : 0;
			len = done + left;
		}
		/* Or ends where the file does: then what is not there may be made without reading it. */
		grows = at + left >= size;
		if (!grows || lock_until(&inode->size_lock, until)) {
			n = left ? write_step(file, buf + done, left, at, until, shard) : 0;
			if (grows)
				pthread_mutex_unlock(&inode->size_lock);
		} else {
			n = -ETIMEDOUT;
		}
		pthread_rwlock_unlock(&inode->map_lock);
		if (!n && left && time_is_up(until))
			n = -ETIMEDOUT;
		if (n < 0)
			break;
		done += (size_t)n;
	}
	return done ? (ssize_t)done : n;
}

ssize_t folio_file_write(struct folio_file *file, const void *buf, size_t len, uint64_t offset)
{
	struct stats_shard *shard;
	struct timespec until;

	if (!file || (!buf && len) || len > INT64_MAX)
		return -EINVAL;
	if (!file->writable)
		return -EBADF;
	if (offset > INT64_MAX - len || (offset + len) >> FOLIO_PAGE_SHIFT > TREE_INDEX_MAX)
		return -EFBIG;
	shard = thread_enter(file->cache, file->cache_id);
	if (!shard)
		return thread_error(file->cache);
	return write_bytes(file, buf, len, offset, false, wait_limit(file->cache, &until), shard);
}

/* ---- in place ---- */

/* A child of fork has its parent's descriptors, and nothing that they lead to (folio_release). */
static bool is_ours(const struct folio *folio)
{
	const struct folio_cache *cache = cache_of(folio);

	return cache && pool_has(&cache->pool, folio);
}

int folio_lock(struct folio *folio)
{
	struct timespec until;
	struct inode *inode;

	if (!folio || folio->type != FOLIO_TYPE_FILE)
		return -EINVAL;
	if (!is_ours(folio))
		return -ESTALE;
	if (!folio_lock_wait(folio, wait_limit(cache_of(folio), &until)))
		return -ETIMEDOUT;
	inode = folio_ptr_load_acquire(&folio->owner);
	if (!inode) {
		folio_unlocked(folio);
		return -ENODATA;
	}
	version_break(&folio->version);
	/*
	 * The cache made the file longer, and did not find the page here (extend_last): what it has of that is zeros now, and not
	 * when the program has written to it.
	 */
	if (folio_u64_load_acquire(&inode->disk_size) != UINT64_MAX)
		folio_reach(folio, folio_share(folio, folio_u64_load_acquire(&inode->size)));
	return 0;
}

int folio_mark_dirty(struct folio *folio, uint64_t sequence)
{
	struct folio_cache *cache;
	struct inode *inode;
	bool in_file;

	if (!folio || !(folio_u32_load_relaxed(&folio->flags) & FOLIO_LOCKED))
		return -EINVAL;
	if (!is_ours(folio))
		return -ESTALE;
	inode = folio_ptr_load_acquire(&folio->owner);
	if (!inode)
		return -ENODATA;
	if (!inode->write_handle)
		return -EBADF;
	cache = inode->cache;
	tree_lock(&inode->tree);
	in_file = folio_ptr_load_relaxed(&folio->owner) == inode;
	if (in_file) {
		uint64_t *last = cache->writeback.sequence;

		writeback_mark_locked(inode, folio);
		if (last && last[pool_page(&cache->pool, folio)] < sequence)
			last[pool_page(&cache->pool, folio)] = sequence;
	}
	tree_unlock(&inode->tree);
	return in_file ? 0 : -ENODATA;
}

void folio_unlock(struct folio *folio)
{
	version_settle(&folio->version);
	folio_unlocked(folio);
}

/* ---- size and holes ---- */

static void set_gate(struct inode *inode, uint64_t index)
{
	tree_lock(&inode->tree);
	inode->gate = index;
	tree_unlock(&inode->tree);
}

int file_truncate(struct folio_file *file, uint64_t size, struct stats_shard *shard)
{
	struct folio_cache *cache = file->cache;
	struct inode *inode = file->inode;
	uint64_t had, first = (size + FOLIO_PAGE_SIZE - 1) >> FOLIO_PAGE_SHIFT;
	int r;

	pthread_rwlock_wrlock(&inode->map_lock);
	had = folio_u64_load_relaxed(&inode->size);
	if (size < had) {
		/*
		 * From here on nothing of what goes is written back, nor the page that the new end is in: should the
		 * backend refuse, all of it is still dirty that was. And nobody fills it: for readers it has gone.
		 */
		set_gate(inode, size >> FOLIO_PAGE_SHIFT);
		writeback_wait(inode, size >> FOLIO_PAGE_SHIFT, UINT64_MAX);
		folio_u64_store_release(&inode->size, size);
	}
	r = cache->io->truncate(cache->io_context, inode->write_handle, size);
	if (r) {
		folio_u64_store_release(&inode->size, had);
		goto out;
	}
	/* Under the lock: who fills the page with the new end stores it there before he asks (fill.c), or is found by cut. */
	tree_lock(&inode->tree);
	folio_u64_store_release(&inode->disk_size, size);
	tree_unlock(&inode->tree);
	if (size < had) {
		cut(file, size, shard);
		inode_discard(inode, first, UINT64_MAX, shard);
	} else if (size > had) {
		extend_last(file, size, NULL, shard);
		folio_u64_store_release(&inode->size, size);
	}
out:
	set_gate(inode, UINT64_MAX);
	pthread_rwlock_unlock(&inode->map_lock);
	return r;
}

static int truncate_late(
	struct folio_file *file, const struct late_args *args, struct stats_shard *shard)
{
	return file_truncate(file, args->first, shard);
}

int folio_file_truncate(struct folio_file *file, uint64_t size)
{
	struct late_args args = {.first = size};
	struct stats_shard *shard;
	struct timespec until;

	if (!file)
		return -EINVAL;
	if (!file->writable)
		return -EBADF;
	if (size > INT64_MAX || size >> FOLIO_PAGE_SHIFT > TREE_INDEX_MAX)
		return -EFBIG;
	shard = thread_enter(file->cache, file->cache_id);
	if (!shard)
		return thread_error(file->cache);
	return late_call(file, truncate_late, &args, wait_limit(file->cache, &until), shard);
}

/* Write zeros where a hole cannot be, or need not; the size stays. */
static int write_zeros(
	struct folio_file *file, uint64_t offset, uint64_t len, struct stats_shard *shard)
{
	static const char zeros[16 * FOLIO_PAGE_SIZE];

	while (len) {
		ssize_t n = write_bytes(file, zeros, len < sizeof(zeros) ? len : sizeof(zeros),
			offset, true, NULL, shard);

		if (n <= 0)
			return (int)n;
		offset += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

/* As folio_file_punch of bytes args->first up to and without args->last. */
static int punch_late(
	struct folio_file *file, const struct late_args *args, struct stats_shard *shard)
{
	struct folio_cache *cache = file->cache;
	struct inode *inode = file->inode;
	uint64_t offset = args->first, size, end, first, last;
	int r;

	size = folio_u64_load_acquire(&inode->size);
	end = args->last < size ? args->last : size;
	if (offset >= end)
		return 0;
	FOLIO_PAUSE(punch_measured, NULL);
	/* The pages that lie in the range as a whole; the rest is written. */
	first = (offset + FOLIO_PAGE_SIZE - 1) >> FOLIO_PAGE_SHIFT;
	last = end >> FOLIO_PAGE_SHIFT;
	if (first >= last)
		return write_zeros(file, offset, end - offset, shard);
	r = write_zeros(file, offset, (first << FOLIO_PAGE_SHIFT) - offset, shard);
	if (!r)
		r = write_zeros(
			file, last << FOLIO_PAGE_SHIFT, end - (last << FOLIO_PAGE_SHIFT), shard);
	if (r)
		return r;
	/* What is dirty goes to the file first: if the hole cannot be made, nothing is lost. */
	writeback_flush(inode, first, last - 1, shard);
	pthread_rwlock_wrlock(&inode->map_lock);
	/* What cannot be written stays, and gets zeros; so does all of it if the file has become shorter. */
	r = -EOPNOTSUPP;
	if (last << FOLIO_PAGE_SHIFT <= folio_u64_load_relaxed(&inode->size)) {
		writeback_flush(inode, first, last - 1, shard);
		/* From here on nothing of it is written back: it would land in the hole. */
		set_gate(inode, first);
		writeback_wait(inode, first, last - 1);
		/* Also behind what the file is known to have: a write that failed may have left something there. */
		if (!writeback_is_dirty(inode, first, last - 1))
			r = cache->io->punch(cache->io_context, inode->write_handle,
				first << FOLIO_PAGE_SHIFT, (last - first) << FOLIO_PAGE_SHIFT);
	}
	/* A dirty folio that reaches out of it stays, and gets its zeros like any other write. */
	if (!r && !inode_discard(inode, first, last - 1, shard))
		r = -EOPNOTSUPP;
	set_gate(inode, UINT64_MAX);
	pthread_rwlock_unlock(&inode->map_lock);
	return r == -EOPNOTSUPP ? write_zeros(file, first << FOLIO_PAGE_SHIFT,
					  (last - first) << FOLIO_PAGE_SHIFT, shard)
				: r;
}

int folio_file_punch(struct folio_file *file, uint64_t offset, uint64_t len)
{
	struct late_args args = {.first = offset, .last = offset + len};
	struct stats_shard *shard;
	struct timespec until;

	if (!file || offset > UINT64_MAX - len)
		return -EINVAL;
	if (!file->writable)
		return -EBADF;
	shard = thread_enter(file->cache, file->cache_id);
	if (!shard)
		return thread_error(file->cache);
	return late_call(file, punch_late, &args, wait_limit(file->cache, &until), shard);
}

/* ---- sync ---- */

/* All of a sync but to tell the handle: that is the caller's, who must not have left. */
static int sync_late(
	struct folio_file *file, const struct late_args *args, struct stats_shard *shard)
{
	struct folio_cache *cache = file->cache;
	struct inode *inode = file->inode;
	int r;

	/* Not beside a truncation, which keeps write-back from what it may have to leave there. */
	pthread_rwlock_rdlock(&inode->map_lock);
	writeback_flush(inode, args->first, args->last, shard);
	pthread_rwlock_unlock(&inode->map_lock);
	/* The device tells of an error once: who asks next has to find what it said. */
	pthread_mutex_lock(&inode->sync_lock);
	r = cache->io->sync(cache->io_context, inode->write_handle, args->flags);
	if (r)
		writeback_lose(inode, -r);
	pthread_mutex_unlock(&inode->sync_lock);
	return 0;
}

int folio_file_sync(struct folio_file *file, const struct folio_range *range, unsigned flags)
{
	struct late_args args = {
		.last = UINT64_MAX,
		.flags = flags & FOLIO_SYNC_DATA ? FOLIO_IO_DATA_ONLY : 0,
	};
	struct stats_shard *shard;
	struct timespec until;
	struct inode *inode;
	uint32_t begin;
	int r;

	if (!file || flags & ~FOLIO_SYNC_DATA ||
		(range && range->len != UINT64_MAX && range->len > UINT64_MAX - range->offset))
		return -EINVAL;
	shard = thread_enter(file->cache, file->cache_id);
	if (!shard)
		return thread_error(file->cache);
	inode = file->inode;
	/* Nobody has written. */
	if (!inode->write_handle || (range && !range->len))
		return 0;
	if (range) {
		args.first = range->offset >> FOLIO_PAGE_SHIFT;
		if (range->len != UINT64_MAX)
			args.last = (range->offset + range->len - 1) >> FOLIO_PAGE_SHIFT;
	}
	begin = writeback_errors(inode);
	r = late_call(file, sync_late, &args, wait_limit(file->cache, &until), shard);
	if (r)
		return r;
	return -writeback_tell(inode, begin, &file->told);
}
