/* SPDX-License-Identifier: BSD-2-Clause */
/* write.c - writing by copy. */
#include "write/write.h"

#include <stdlib.h>
#include <string.h>

#include <folio/iovec.h>
#include <folio/sequence.h>

#include "base/compiler.h"
#include "base/deadline.h"
#include "read/demand.h"
#include "read/lookup.h"
#include "read/vector.h"
#include "write/flusher.h"
#include "write/limit.h"

/*
 * True if the write supplies all bytes of the page that the file has or will have, so that no part
 * of the page must be read. @size: of the file.
 */
static bool replaces_page(const struct write_op *op, uint64_t size)
{
	uint64_t in_page = op->offset & (FOLIO_PAGE_SIZE - 1);
	bool all = op->part_left >= FOLIO_PAGE_SIZE || op->offset + op->part_left >= size;

	return (in_page == 0 && all) || op->offset - in_page >= size;
}

/* write_step, if the file reaches to the offset, or its last folio does by now. */
static enum page_verdict write_there(struct write_op *op)
{
	struct call *call = op->call;
	struct read_op read = {.call = call, .file = op->file};
	uint64_t index = op->offset >> FOLIO_PAGE_SHIFT;
	uint64_t size = folio_u64_load_acquire(&op->file->inode->size);
	enum page_verdict verdict = PAGE_READY;
	struct folio *folio;
	int r;

	folio = lookup_ready(op->file, index, call->shard);
	if (likely(folio)) {
		verdict = write_folio(op, folio);
		folio_put(folio);
		return verdict;
	}
	if (replaces_page(op, size)) {
		folio = lookup_find(op->file, index, call->shard, &r);
		if (r)
			return page_failed(call, r);
		if (!folio) {
			size_t len = op->part_left;

			/*
			 * Complete pages; part of a last page only if the write reaches the end of
			 * the file.
			 */
			if (len >= FOLIO_PAGE_SIZE && op->offset + len < size)
				len &= ~(size_t)(FOLIO_PAGE_SIZE - 1);
			return write_new(op, len);
		}
	} else {
		verdict = get_page(&read, index, 1, &folio);
		if (verdict != PAGE_READY)
			return verdict;
	}
	verdict = write_folio(op, folio);
	progress_unhold(&call->cache->progress, progress_put(folio));
	return verdict;
}

/*
 * Write into one folio. PAGE_READY; PAGE_FAILED; any other verdict: begin again. The caller holds
 * map_lock, shared, and size_lock if this makes the file longer.
 */
static enum page_verdict write_step(struct write_op *op)
{
	uint64_t size = folio_u64_load_acquire(&op->file->inode->size);
	enum page_verdict verdict;
	int r;

	if (likely(op->offset <= size))
		return write_there(op);
	r = extend_tail(op->call, op->file, op->offset);
	if (r < 0)
		return page_failed(op->call, r);
	verdict = write_there(op);
	/* Nothing was written: the file ends where it did, and its last folio with it. */
	if (verdict != PAGE_READY && r)
		zero_tail(op->file, size);
	return verdict;
}

/*
 * write_step, with the locks of the file, for up to @pages pages. With keep_size, it is cut at the
 * end of the file.
 */
static inline __attribute__((always_inline)) enum page_verdict write_locked(
	struct write_op *op, uint64_t pages)
{
	struct call *call = op->call;
	struct inode *inode = op->file->inode;
	enum page_verdict verdict = PAGE_READY;
	uint64_t size;
	bool grows;

	if (!rwlock_rdlock_until(&inode->map_lock, call->until))
		return page_failed(call, -ETIMEDOUT);
	/* map_lock is held: the size does not become smaller in the meantime. */
	size = folio_u64_load_acquire(&inode->size);
	if (op->keep_size && op->offset + op->left > size)
		op->left = size > op->offset ? size - op->offset : 0;
	if (op->part_left > op->left)
		op->part_left = op->left;
	/* What is cut off here is copied again, with the next part. */
	if (op->part_left >> FOLIO_PAGE_SHIFT > pages)
		op->part_left = (pages << FOLIO_PAGE_SHIFT) - (op->offset & (FOLIO_PAGE_SIZE - 1));
	/*
	 * Also if it ends where the file does: then a page that is not cached may be made without
	 * reading it.
	 */
	grows = op->offset + op->part_left >= size;
	if (unlikely(op->offset + op->part_left > size && !op->may_grow)) {
		op->grows = true;
		verdict = PAGE_CHANGED;
	} else if (!grows || mutex_lock_until(&inode->size_lock, call->until)) {
		if (op->part_left)
			verdict = write_step(op);
		if (grows)
			pthread_mutex_unlock(&inode->size_lock);
	} else {
		verdict = page_failed(call, -ETIMEDOUT);
	}
	pthread_rwlock_unlock(&inode->map_lock);
	return verdict;
}

/* write_locked for a part that makes the file longer: with append_lock, so in no append. */
static __attribute__((noinline)) enum page_verdict write_growing(
	struct write_op *op, uint64_t pages)
{
	struct inode *inode = op->file->inode;
	enum page_verdict verdict;

	if (!mutex_lock_until(&inode->append_lock, op->call->until))
		return page_failed(op->call, -ETIMEDOUT);
	op->may_grow = true;
	verdict = write_locked(op, pages);
	op->may_grow = false;
	pthread_mutex_unlock(&inode->append_lock);
	return verdict;
}

/*
 * A write of more than a page goes through a buffer of this size, so that new folios are as large,
 * and it fits into the processor's second cache. If there is no memory for it, a page does.
 */
#define PART_BYTES ((size_t)16 * FOLIO_PAGE_SIZE)

/* Copy the next part to @buffer from the program's buffers, which may be several. */
static __attribute__((noinline)) void gather(struct write_op *op, char *buffer)
{
	const struct iovec *source = op->source;
	uint64_t at = op->source_at;
	size_t copied = 0;

	for (; copied < op->part_left; at += source++->iov_len) {
		uint64_t skip = op->offset + copied - at;
		size_t len = op->part_left - copied;

		if (skip >= source->iov_len)
			continue;
		/* The step may write less than the part: the next part begins there, or later. */
		if (!copied) {
			op->source = source;
			op->source_at = at;
		}
		if (len > source->iov_len - skip)
			len = source->iov_len - skip;
		memcpy(buffer + copied, (const char *)source->iov_base + skip, len);
		copied += len;
	}
}

/*
 * Copy the next part of the program's data to @buffer, up to a multiple of @size in the file. No
 * lock is held.
 */
static void next_part(struct write_op *op, char *buffer, size_t size)
{
	op->part = buffer;
	op->part_left = size - (op->offset & (size - 1));
	if (op->part_left > op->left)
		op->part_left = op->left;
	if (likely(op->buf))
		memcpy(buffer, op->buf + (op->offset - op->source_at), op->part_left);
	else
		gather(op, buffer);
}

/* Write @op->left bytes through @buffer, of @size bytes. Verdicts as write_bytes. */
static enum page_verdict write_parts(struct write_op *op, char *buffer, size_t size)
{
	struct call *call = op->call;
	int r;

	op->part_left = 0;
	while (op->left) {
		enum page_verdict verdict;
		uint64_t pages;

		if (!op->part_left)
			next_part(op, buffer, size);
		/* Before more pages become dirty, and with no lock held. */
		r = flusher_throttle(call, op->file->inode, &pages);
		if (r < 0)
			return page_failed(call, r);
		verdict = unlikely(op->grows) ? write_growing(op, pages) : write_locked(op, pages);
		switch (verdict) {
		case PAGE_READY:
			break;
		case PAGE_FAILED:
			return verdict;
		case PAGE_NO_NODE:
			return page_failed(call, -ENOMEM);
		case PAGE_LOST_RACE:
		case PAGE_CHANGED:
		case PAGE_PAST_END:
		case PAGE_READ_SINGLY:
		case PAGE_NOT_SUBMITTED:
			if (deadline_passed(call->until))
				return page_failed(call, -ETIMEDOUT);
			break;
		}
	}
	return PAGE_READY;
}

enum page_verdict write_bytes(struct write_op *op)
{
	char page[FOLIO_PAGE_SIZE], *buffer = NULL;
	enum page_verdict verdict;
	uint64_t can;
	int r = limit_check(op->file->inode, op->offset, op->left, &can);

	if (r)
		return page_failed(op->call, r);
	op->left = can;
	op->source_at = op->offset;
	/* If it is truncated since, write_locked notices that. */
	op->grows = op->offset + can > folio_u64_load_acquire(&op->file->inode->size) &&
		    !op->may_grow && !op->keep_size;
	if (can > sizeof(page))
		buffer = malloc(PART_BYTES);
	verdict =
		buffer ? write_parts(op, buffer, PART_BYTES) : write_parts(op, page, sizeof(page));
	free(buffer);
	return verdict;
}

_Static_assert(INT64_MAX >> FOLIO_PAGE_SHIFT <= TREE_INDEX_MAX, "no file has more pages");

#define AT_ONCE_TRIES 4

/*
 * A deadline that has passed ends each wait of a write before it begins, and each of its attempts:
 * a folio that was split, for example, is another attempt.
 */
int write_at_once(struct write_op *op)
{
	static const struct timespec past = {0, 0};
	const char *buf = op->buf;
	uint64_t begin = op->offset;
	unsigned tries = AT_ONCE_TRIES;
	int r;

	op->call->until = &past;
	op->call->nowait = true;
	op->call->free_slots = true;
	do {
		op->buf = buf + (op->offset - begin);
		r = verdict_errno(write_bytes(op), op->call, 0);
	} while (r == -ETIMEDOUT && --tries);
	return r == -ETIMEDOUT ? -EAGAIN : r;
}

/* The write that @op describes; its call is set here. */
static inline ssize_t write_any(struct write_op *op, unsigned flags)
{
	struct folio_file *file = op->file;
	uint64_t offset = op->offset;
	size_t len = op->left;
	struct call call;
	int r;

	if (!file || (!op->buf && !op->source && len) || len > INT64_MAX ||
		flags & ~(FOLIO_WRITE_ONCE | FOLIO_WRITE_NOWAIT) ||
		(op->source && flags & FOLIO_WRITE_NOWAIT))
		return -EINVAL;
	if (!file->writable)
		return -EBADF;
	if (offset > INT64_MAX - len)
		return -EFBIG;
	r = call_begin_locking(&call, file->cache, file->cache_id);
	if (r)
		return r;
	call.once = flags & FOLIO_WRITE_ONCE || streams_once(&file->streams);
	op->call = &call;
	if (flags & FOLIO_WRITE_NOWAIT)
		r = write_at_once(op);
	else
		r = verdict_errno(write_bytes(op), &call, 0);
	return op->offset > offset ? (ssize_t)(op->offset - offset) : r;
}

ssize_t folio_file_write(struct folio_file *file, const void *buf, size_t len, uint64_t offset)
{
	return folio_file_write_logged(file, buf, len, offset, 0, 0);
}

ssize_t folio_file_write_nowait(
	struct folio_file *file, const void *buf, size_t len, uint64_t offset)
{
	return folio_file_write_logged(file, buf, len, offset, FOLIO_WRITE_NOWAIT, 0);
}

ssize_t folio_file_write_flags(
	struct folio_file *file, const void *buf, size_t len, uint64_t offset, unsigned flags)
{
	return folio_file_write_logged(file, buf, len, offset, flags, 0);
}

ssize_t folio_file_write_logged(struct folio_file *file, const void *buf, size_t len,
	uint64_t offset, unsigned flags, uint64_t sequence)
{
	struct write_op op = {
		.file = file,
		.buf = buf,
		.left = len,
		.offset = offset,
		.sequence = sequence,
	};

	return write_any(&op, flags);
}

ssize_t folio_file_writev(struct folio_file *file, const struct iovec *iov, unsigned count,
	uint64_t offset, unsigned flags)
{
	struct write_op op = {.file = file, .source = iov, .offset = offset};

	if (!vector_length(iov, count, &op.left))
		return -EINVAL;
	return write_any(&op, flags);
}
