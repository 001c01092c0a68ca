/* SPDX-License-Identifier: BSD-2-Clause */
/* allocate.c - space for what will be written. */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>

#include <folio/space.h>

#include "cache/call.h"
#include "cache/detach.h"
#include "cache/inode.h"
#include "write/limit.h"
#include "write/truncate.h"

/* The file ends at @end, or after it. */
static int grow(struct call *call, struct folio_file *file, uint64_t end)
{
	struct inode *inode = file->inode;
	int r = 0;

	/* As file_truncate. */
	pthread_mutex_lock(&inode->append_lock);
	pthread_rwlock_wrlock(&inode->map_lock);
	if (folio_u64_load_relaxed(&inode->size) < end)
		r = truncate_locked(call, file, end);
	pthread_rwlock_unlock(&inode->map_lock);
	pthread_mutex_unlock(&inode->append_lock);
	return r;
}

/* Of bytes args->first up to but not including args->last. */
static int allocate_detached(
	struct call *call, struct folio_file *file, const struct detach_args *args)
{
	struct folio_cache *cache = file->cache;
	struct inode *inode = file->inode;
	int r;

	r = cache->io->allocate(cache->io_context, inode_write_handle(inode), args->first,
		args->last - args->first);
	if (r || args->flags & FOLIO_ALLOCATE_KEEP_SIZE)
		return r;
	return grow(call, file, args->last);
}

int folio_file_allocate(struct folio_file *file, uint64_t offset, uint64_t len, unsigned flags)
{
	const struct detach_args args = {.first = offset, .last = offset + len, .flags = flags};
	struct call call;
	uint64_t can;
	int r;

	if (!file || !len || flags & ~FOLIO_ALLOCATE_KEEP_SIZE)
		return -EINVAL;
	if (!file->writable)
		return -EBADF;
	if (len > INT64_MAX || offset > INT64_MAX - len)
		return -EFBIG;
	r = call_begin_locking(&call, file->cache, file->cache_id);
	if (r)
		return r;
	if (!file->cache->io->allocate)
		return -EOPNOTSUPP;
	/* All of the range, or nothing: its last byte must fit. */
	r = limit_check(file->inode, args.last - 1, 1, &can);
	return r ? r : detach_call(&call, file, allocate_detached, &args);
}
