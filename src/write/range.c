/* SPDX-License-Identifier: BSD-2-Clause */
/* range.c - write-back of a range, without a sync. */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>

#include <folio/range.h>

#include "cache/call.h"
#include "cache/detach.h"
#include "cache/dirty.h"
#include "cache/inode.h"
#include "write/log.h"
#include "write/writeback.h"

/*
 * Start runs for the range, as the flusher does: without waiting for locked folios, nor for runs
 * once the share of the file is used up: then the rest is the flusher's.
 */
static int start_detached(
	struct call *call, struct folio_file *file, const struct detach_args *args)
{
	struct inode *inode = file->inode;
	const struct pass pass = pass_of(args->first, args->last);
	uint64_t index = pass.first;

	if (!log_pass(inode, &pass, call->shard) &&
		!write_range(inode, &index, pass.last, call->shard))
		dirty_request_visit(inode);
	return 0;
}

static int write_detached(
	struct call *call, struct folio_file *file, const struct detach_args *args)
{
	struct inode *inode = file->inode;
	const struct pass pass = pass_of(args->first, args->last);
	uint32_t begin = dirty_error_count(inode);

	if (!log_pass(inode, &pass, call->shard)) {
		/*
		 * Not during a truncation, whose fence keeps write-back from pages that are then
		 * left dirty.
		 */
		pthread_rwlock_rdlock(&inode->map_lock);
		writeback_flush(inode, &pass, call->shard);
		pthread_rwlock_unlock(&inode->map_lock);
	}
	return -dirty_error_since(inode, begin);
}

int folio_file_writeback(struct folio_file *file, uint64_t offset, uint64_t len, unsigned flags)
{
	struct detach_args args = {.first = offset >> FOLIO_PAGE_SHIFT, .last = UINT64_MAX};
	struct call call;
	int r;

	if (!file || flags & ~FOLIO_WRITEBACK_WAIT ||
		(len != UINT64_MAX && len > UINT64_MAX - offset))
		return -EINVAL;
	r = call_begin_locking(&call, file->cache, file->cache_id);
	if (r)
		return r;
	/* No handle was ever opened for writing, or the range is empty. */
	if (!inode_write_handle(file->inode) || !len)
		return 0;
	if (len != UINT64_MAX)
		args.last = (offset + len - 1) >> FOLIO_PAGE_SHIFT;
	return detach_call(
		&call, file, flags & FOLIO_WRITEBACK_WAIT ? write_detached : start_detached, &args);
}
