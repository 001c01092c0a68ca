/* SPDX-License-Identifier: BSD-2-Clause */
/* truncate.c - the size of a file, and holes in it. */
#include "write/truncate.h"

#include <errno.h>
#include <pthread.h>

#include "base/pause.h"
#include "cache/detach.h"
#include "cache/dirty.h"
#include "cache/drop.h"
#include "cache/inode.h"
#include "write/log.h"
#include "write/page.h"
#include "write/write.h"
#include "write/writeback.h"

void set_fence(struct inode *inode, uint64_t index)
{
	tree_lock(&inode->tree);
	inode->writeback_fence = index;
	inode->changed = true;
	tree_unlock(&inode->tree);
}

/* ---- truncate ---- */

int truncate_locked(struct call *call, struct folio_file *file, uint64_t size)
{
	struct folio_cache *cache = file->cache;
	struct inode *inode = file->inode;
	uint64_t had, first = (size + FOLIO_PAGE_SIZE - 1) >> FOLIO_PAGE_SHIFT;
	int r;

	had = folio_u64_load_relaxed(&inode->size);
	if (size < had) {
		/*
		 * From here on, no page past the new end is written back, nor the page that
		 * contains the new end: if the backend refuses to truncate, all pages that were
		 * dirty still are. And no page is filled past the new end: for readers those pages
		 * are gone.
		 */
		set_fence(inode, size >> FOLIO_PAGE_SHIFT);
		dirty_wait_written(inode, size >> FOLIO_PAGE_SHIFT, UINT64_MAX);
		folio_u64_store_release(&inode->size, size);
	}
	r = cache->io->truncate(cache->io_context, inode_write_handle(inode), size);
	if (r) {
		folio_u64_store_release(&inode->size, had);
		goto out;
	}
	/*
	 * release: pairs with sample_size and finish_folio (acquire). Under the tree lock, because
	 * of a thread that fills the page with the new end (read/fill.c). If it stores its folio in
	 * the tree after this, it then samples this size; if before, zero_tail finds the folio.
	 */
	tree_lock(&inode->tree);
	folio_u64_store_release(&inode->disk_size, size);
	tree_unlock(&inode->tree);
	/* A device may have another size by now: the next write queries it. */
	folio_u64_store_relaxed(&inode->writable_to, 0);
	if (size < had) {
		zero_tail(file, size);
		inode_discard(inode, first, UINT64_MAX, call->shard);
	} else if (size > had) {
		extend_tail(call, file, size);
		folio_u64_store_release(&inode->size, size);
	}
out:
	set_fence(inode, UINT64_MAX);
	return r;
}

int file_truncate(struct call *call, struct folio_file *file, uint64_t size)
{
	struct inode *inode = file->inode;
	int r;

	/* Not in the course of an append. */
	pthread_mutex_lock(&inode->append_lock);
	pthread_rwlock_wrlock(&inode->map_lock);
	r = truncate_locked(call, file, size);
	pthread_rwlock_unlock(&inode->map_lock);
	pthread_mutex_unlock(&inode->append_lock);
	return r;
}

static int truncate_detached(
	struct call *call, struct folio_file *file, const struct detach_args *args)
{
	return file_truncate(call, file, args->first);
}

int folio_file_truncate(struct folio_file *file, uint64_t size)
{
	const struct detach_args args = {.first = size};
	struct call call;
	int r;

	if (!file)
		return -EINVAL;
	if (!file->writable)
		return -EBADF;
	if (size > INT64_MAX)
		return -EFBIG;
	r = call_begin_locking(&call, file->cache, file->cache_id);
	return r ? r : detach_call(&call, file, truncate_detached, &args);
}

/* ---- holes ---- */

/* Write zeros where a hole cannot or need not be made; the size stays. */
static int write_zeros(struct call *call, struct folio_file *file, uint64_t offset, uint64_t len)
{
	static const char zeros[16 * FOLIO_PAGE_SIZE];

	while (len) {
		struct write_op op = {
			.call = call,
			.file = file,
			.buf = zeros,
			.left = len < sizeof(zeros) ? len : sizeof(zeros),
			.offset = offset,
			.keep_size = true,
		};
		enum page_verdict verdict = write_bytes(&op);

		if (op.offset == offset)
			return verdict_errno(verdict, call, 0);
		len -= op.offset - offset;
		offset = op.offset;
	}
	return 0;
}

/*
 * Make a hole of pages first .. last. Their dirty folios are written first, so that no data is lost
 * if the hole cannot be made. 0; -EOPNOTSUPP: the caller must write zeros instead; or the backend's
 * error.
 */
static int punch_pages(struct call *call, struct folio_file *file, uint64_t first, uint64_t last)
{
	struct folio_cache *cache = file->cache;
	struct inode *inode = file->inode;
	const struct pass pass = pass_of(first, last);
	bool logged;
	int r;

	logged = !log_pass(inode, &pass, call->shard);
	if (logged) {
		pthread_rwlock_rdlock(&inode->map_lock);
		writeback_flush(inode, &pass, call->shard);
		pthread_rwlock_unlock(&inode->map_lock);
	}
	pthread_rwlock_wrlock(&inode->map_lock);
	/*
	 * A page that cannot be written stays, and gets zeros; so do all pages if the file has
	 * become shorter.
	 */
	r = -EOPNOTSUPP;
	if ((last + 1) << FOLIO_PAGE_SHIFT <= folio_u64_load_relaxed(&inode->size)) {
		/* Without before_writeback, which might wait for a thread that wants map_lock. */
		if (logged)
			writeback_flush_logged(inode, &pass, call->shard);
		/* From here on none of them is written back: the data would land in the hole. */
		set_fence(inode, first);
		dirty_wait_written(inode, first, last);
		/*
		 * Also past the size that the backend's file is known to have: a failed write may
		 * have left data there.
		 */
		if (!dirty_in_range(inode, first, last))
			r = cache->io->punch(cache->io_context, inode_write_handle(inode),
				first << FOLIO_PAGE_SHIFT, (last + 1 - first) << FOLIO_PAGE_SHIFT);
	}
	/*
	 * A dirty folio that is only partly in the range stays, and its zeros are written like any
	 * other data.
	 */
	if (!r && !inode_discard(inode, first, last, call->shard))
		r = -EOPNOTSUPP;
	set_fence(inode, UINT64_MAX);
	pthread_rwlock_unlock(&inode->map_lock);
	return r;
}

/* As folio_file_punch, of bytes args->first up to but not including args->last. */
static int punch_detached(
	struct call *call, struct folio_file *file, const struct detach_args *args)
{
	uint64_t offset = args->first, size, end, first, last;
	int r;

	size = folio_u64_load_acquire(&file->inode->size);
	end = args->last < size ? args->last : size;
	if (offset >= end)
		return 0;
	FOLIO_PAUSE(punch_measured, NULL);
	/* The complete pages of the range become a hole; zeros are written to the rest. */
	first = (offset + FOLIO_PAGE_SIZE - 1) >> FOLIO_PAGE_SHIFT;
	last = end >> FOLIO_PAGE_SHIFT;
	if (first >= last)
		return write_zeros(call, file, offset, end - offset);
	r = write_zeros(call, file, offset, (first << FOLIO_PAGE_SHIFT) - offset);
	if (!r)
		r = write_zeros(
			call, file, last << FOLIO_PAGE_SHIFT, end - (last << FOLIO_PAGE_SHIFT));
	if (r)
		return r;
	r = punch_pages(call, file, first, last - 1);
	if (r != -EOPNOTSUPP)
		return r;
	return write_zeros(
		call, file, first << FOLIO_PAGE_SHIFT, (last - first) << FOLIO_PAGE_SHIFT);
}

int folio_file_punch(struct folio_file *file, uint64_t offset, uint64_t len)
{
	const struct detach_args args = {.first = offset, .last = offset + len};
	struct call call;
	int r;

	if (!file || offset > UINT64_MAX - len)
		return -EINVAL;
	if (!file->writable)
		return -EBADF;
	r = call_begin_locking(&call, file->cache, file->cache_id);
	return r ? r : detach_call(&call, file, punch_detached, &args);
}
