/* SPDX-License-Identifier: BSD-2-Clause */
/* discard.c - dropping dirty pages without writing them. */
#include <errno.h>
#include <pthread.h>
#include <stddef.h>

#include "base/futex.h"
#include "cache/detach.h"
#include "cache/dirty.h"
#include "cache/drop.h"
#include "cache/inflight.h"
#include "cache/inode.h"
#include "cache/size.h"
#include "read/lookup.h"
#include "read/op.h"
#include "write/log.h"
#include "write/truncate.h"

/* ---- a folio that is only partly in the range ---- */

/* A write for which the caller waits. */
struct part {
	struct folio_io_request request;
	struct iovec iov;
	struct folio_cache *cache;
	ssize_t result;
	folio_u32 written; /* futex word of the caller */
};

static void part_complete(struct folio_io_request *request, ssize_t result)
{
	struct part *part = (struct part *)((char *)request - offsetof(struct part, request));

	part->result = result;
	slot_give(part->cache);
	/* release: pairs with write_part. The part may be gone from here on (base/futex.h). */
	folio_u32_store_release(&part->written, 1);
	futex_wake(&part->written, 1);
}

/* Write bytes @from .. @to - 1 of the file, which are in a folio that the caller has locked. */
static int write_part(struct call *call, struct folio *folio, uint64_t from, uint64_t to)
{
	struct inode *inode = folio_ptr_load_relaxed(&folio->owner);
	struct folio_cache *cache = call->cache;
	struct part part = {.cache = cache};
	struct folio_io_request *request = &part.request;

	part.iov.iov_base = (char *)folio->data + (from - (folio->index << FOLIO_PAGE_SHIFT));
	part.iov.iov_len = to - from;
	*request = (struct folio_io_request){
		.handle = inode_write_handle(inode),
		.offset = from,
		.iov = &part.iov,
		.iov_count = 1,
		.op = FOLIO_IO_WRITE,
		.complete = part_complete,
	};
	slot_take(cache, true, NULL);
	cache->io->submit(cache->io_context, &request, 1);
	/* acquire: pairs with part_complete. */
	while (!folio_u32_load_acquire(&part.written))
		futex_wait(&part.written, 0);
	stats_add(call->shard, STAT_WRITES, 1);
	stats_add(call->shard, STAT_WRITE_BYTES, to - from);
	if (part.result != (ssize_t)(to - from)) {
		stats_add(call->shard, STAT_WRITE_ERRORS, 1);
		return part.result < 0 ? (int)part.result : -EIO;
	}
	/* As in run_finish (write/writeback.c). */
	tree_lock(&inode->tree);
	if (to > folio_u64_load_relaxed(&inode->disk_size))
		folio_u64_store_release(&inode->disk_size, to);
	inode->unconfirmed = true;
	inode->unsynced =
		sequence_first(inode->unsynced, dirty_sequences_locked(inode, folio).first);
	tree_unlock(&inode->tree);
	return 0;
}

/* A discard, and how far the log is written. */
struct discard {
	struct call *call;
	struct folio_file *file;
	bool logged;       /* before_writeback has returned 0 for @sequence */
	uint64_t sequence; /* of the folio that must be logged before it is written */
};

/* Must before_writeback be called before the folio, which is locked, is written? */
static bool must_log(struct discard *discard, const struct folio *folio)
{
	struct writeback *writeback = &discard->call->cache->writeback;
	struct inode *inode = discard->file->inode;

	if (!writeback->before)
		return false;
	tree_lock(&inode->tree);
	discard->sequence = dirty_sequences_locked(inode, folio).last;
	tree_unlock(&inode->tree);
	return !log_allows(writeback, discard->sequence) ||
	       (!discard->sequence && !discard->logged);
}

/*
 * Write what the folio has outside of bytes @from .. @to - 1 of the file. The caller has it locked.
 * Its pages in between need not be writable, so this is no write-back of the folio. 0 or -errno.
 */
static int write_outside(struct call *call, struct folio *folio, uint64_t from, uint64_t to)
{
	struct inode *inode = folio_ptr_load_relaxed(&folio->owner);
	uint64_t bytes = folio_bytes_in_file(folio, folio_u64_load_relaxed(&inode->size));
	uint64_t start = folio->index << FOLIO_PAGE_SHIFT, end = start + bytes;
	int r = 0;

	/* As in write-back (collect, write/writeback.c). */
	if (folio_u32_load_relaxed(&folio->valid) < bytes) {
		pool_change_begin(&call->cache->pool, folio);
		folio_zero_to(folio, bytes);
		pool_change_end(&call->cache->pool, folio);
	}
	if (start < from)
		r = write_part(call, folio, start, from < end ? from : end);
	if (!r && to < end)
		r = write_part(call, folio, to, end);
	return r;
}

/* Not an errno: before_writeback must be called first, with no lock held. */
#define LOG_FIRST 1

/*
 * If page @index is in a dirty folio that extends past bytes @from .. @to - 1, write the bytes
 * outside, then drop the folio. 0; LOG_FIRST or -errno: then it is dirty as before. The caller has
 * map_lock, exclusively.
 */
static int discard_edge(struct discard *discard, uint64_t index, uint64_t from, uint64_t to)
{
	struct inode *inode = discard->file->inode;
	struct call *call = discard->call;
	struct folio *folio;
	uint64_t next;
	int r;

	folio = lookup_find(discard->file, index, call->shard, &r);
	if (!folio)
		return r;
	/* Its pages do not change while it has this reference (inode_split). */
	next = folio_next_index(folio);
	if (folio->index << FOLIO_PAGE_SHIFT >= from && next <= to >> FOLIO_PAGE_SHIFT)
		goto put;
	folio_lock_wait(folio, NULL);
	if (folio_ptr_load_relaxed(&folio->owner) == inode &&
		folio_u32_load_relaxed(&folio->flags) & FOLIO_DIRTY) {
		r = must_log(discard, folio) ? LOG_FIRST : write_outside(call, folio, from, to);
		/* Still locked: no thread has changed the bytes that were written. */
		if (!r)
			inode_discard(inode, folio->index, next - 1, call->shard);
		else if (r < 0)
			dirty_record_error(inode, -r);
	}
	folio_unlocked(folio);
put:
	progress_unhold(&inode->cache->progress, progress_put(folio));
	return r;
}

/* ---- the call ---- */

/* Drop pages first .. end - 1. The caller has map_lock, exclusively. As discard_edge. */
static int discard_pages(struct discard *discard, struct page_range pages)
{
	uint64_t from = pages.first << FOLIO_PAGE_SHIFT, to = pages.end << FOLIO_PAGE_SHIFT;
	struct inode *inode = discard->file->inode;
	int r;

	/* Write-back that began from here on could go on for ever, one run after the other. */
	set_fence(inode, pages.first);
	do {
		r = discard_edge(discard, pages.first, from, to);
		if (!r)
			r = discard_edge(discard, pages.end - 1, from, to);
		/* Again if a program has just made a folio at an edge dirty, in place. */
	} while (!r && !inode_discard(inode, pages.first, pages.end - 1, discard->call->shard));
	set_fence(inode, UINT64_MAX);
	return r;
}

/* Discard bytes args->first up to but not including args->last. As discard_edge. */
static int discard_bytes(struct discard *discard, const struct detach_args *args)
{
	struct folio_file *file = discard->file;
	struct inode *inode = file->inode;
	uint64_t size, end;
	struct page_range pages = {
		(args->first + FOLIO_PAGE_SIZE - 1) >> FOLIO_PAGE_SHIFT,
		args->last >> FOLIO_PAGE_SHIFT,
	};
	int r = 0;

	/* The file may become shorter: not in the course of an append. */
	pthread_mutex_lock(&inode->append_lock);
	pthread_rwlock_wrlock(&inode->map_lock);
	size = folio_u64_load_relaxed(&inode->size);
	if (args->last >= size) {
		/*
		 * The end of the file is in the range. Bytes past the end of the backend's file are
		 * in these pages only, so the file gets shorter. The backend truncates as well: a
		 * failed write may have left bytes there.
		 */
		end = folio_u64_load_relaxed(&inode->disk_size);
		if (end < pages.first << FOLIO_PAGE_SHIFT)
			end = pages.first << FOLIO_PAGE_SHIFT;
		if (end < size)
			r = truncate_locked(discard->call, file, end);
		pages.end = size_pages(end < size ? end : size);
	}
	if (!r && pages.first < pages.end)
		r = discard_pages(discard, pages);
	pthread_rwlock_unlock(&inode->map_lock);
	pthread_mutex_unlock(&inode->append_lock);
	return r;
}

static int discard_detached(
	struct call *call, struct folio_file *file, const struct detach_args *args)
{
	struct discard discard = {.call = call, .file = file};
	int r;

	/*
	 * Again if the log must be written first, which is done with no lock held: it may wait for
	 * a thread of the program that waits for one. In the meantime the folio may be marked with
	 * a larger number.
	 */
	while ((r = discard_bytes(&discard, args)) == LOG_FIRST) {
		r = log_await(&call->cache->writeback, discard.sequence);
		if (r) {
			dirty_record_error(file->inode, -r);
			break;
		}
		discard.logged = true;
	}
	return r;
}

int folio_file_discard(struct folio_file *file, uint64_t offset, uint64_t len)
{
	const struct detach_args args = {
		.first = offset, .last = len == UINT64_MAX ? UINT64_MAX : offset + len};
	struct call call;
	int r;

	if (!file || (len != UINT64_MAX && offset > UINT64_MAX - len))
		return -EINVAL;
	if (!file->writable)
		return -EBADF;
	r = call_begin_locking(&call, file->cache, file->cache_id);
	if (r || offset >= folio_u64_load_acquire(&file->inode->size))
		return r;
	return detach_call(&call, file, discard_detached, &args);
}
