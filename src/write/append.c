/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * append.c - writes at the end of a file.
 *
 * An append holds append_lock from the choice of its offset until its last byte is written. What
 * else changes the size takes that lock, too: writes past the end for each part (write.c),
 * truncations and discards. So the bytes of an append are where the file ended, and adjacent.
 */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <folio/sequence.h>

#include "base/deadline.h"
#include "write/write.h"

/* @op has all but the offset. */
static enum page_verdict append(struct write_op *op, uint64_t *start)
{
	struct inode *inode = op->file->inode;
	enum page_verdict verdict;

	if (!mutex_lock_until(&inode->append_lock, op->call->until))
		return page_failed(op->call, -ETIMEDOUT);
	*start = op->offset = folio_u64_load_acquire(&inode->size);
	op->may_grow = true;
	if (op->left > INT64_MAX - op->offset)
		verdict = page_failed(op->call, -EFBIG);
	else
		verdict = write_bytes(op);
	pthread_mutex_unlock(&inode->append_lock);
	return verdict;
}

ssize_t folio_file_append(
	struct folio_file *file, const void *buf, size_t len, unsigned flags, uint64_t *offset)
{
	return folio_file_append_logged(file, buf, len, flags, 0, offset);
}

ssize_t folio_file_append_logged(struct folio_file *file, const void *buf, size_t len,
	unsigned flags, uint64_t sequence, uint64_t *offset)
{
	char page[FOLIO_PAGE_SIZE], *copy = page;
	struct call call;
	struct write_op op = {.call = &call, .file = file, .left = len, .sequence = sequence};
	enum page_verdict verdict;
	uint64_t start = 0;
	int r;

	if (!file || (!buf && len) || len > INT64_MAX || flags & ~FOLIO_WRITE_ONCE)
		return -EINVAL;
	if (!file->writable)
		return -EBADF;
	r = call_begin_locking(&call, file->cache, file->cache_id);
	if (r)
		return r;
	call.once = flags & FOLIO_WRITE_ONCE || streams_once(&file->streams);
	/* No thread touches the program's memory while it holds a lock (write/page.h). */
	if (len > sizeof(page))
		copy = malloc(len);
	if (!copy)
		return -ENOMEM;
	if (len)
		memcpy(copy, buf, len);
	op.buf = copy;
	verdict = append(&op, &start);
	if (copy != page)
		free(copy);
	if (op.offset == start && verdict != PAGE_READY)
		return verdict_errno(verdict, &call, 0);
	if (offset)
		*offset = start;
	return (ssize_t)(op.offset - start);
}
