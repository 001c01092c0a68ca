/* SPDX-License-Identifier: BSD-2-Clause */
/* inplace.c - changing a pinned page in place. */
#include <errno.h>

#include "cache/call.h"
#include "cache/dirty.h"
#include "cache/inode.h"
#include "cache/size.h"
#include "cache/table.h"
#include "write/limit.h"

int folio_lock(struct folio *folio)
{
	struct folio_cache *cache;
	struct inode *inode;
	struct call call;

	if (!folio || folio->type != FOLIO_TYPE_FILE)
		return -EINVAL;
	cache = cache_in_process(folio);
	if (!cache)
		return -ESTALE;
	/* Counts nothing, so the thread need not be attached. */
	call = (struct call){.cache = cache};
	if (!call_may_lock(&call) || thread_locks.count == THREAD_LOCKS)
		return -EDEADLK;
	call_set_deadline(&call);
	if (!folio_lock_wait(folio, call.until))
		return -ETIMEDOUT;
	inode = folio_ptr_load_acquire(&folio->owner);
	if (!inode) {
		folio_unlocked(folio);
		return -ENODATA;
	}
	thread_locks.folio[thread_locks.count++] = folio;
	pool_change_begin(&cache->pool, folio);
	/*
	 * The cache may have made the file longer without finding the page here (extend_tail). Then
	 * the bytes of the growth that are in this folio become zeros now, before the program
	 * writes to it.
	 */
	if (folio_u64_load_acquire(&inode->disk_size) != UINT64_MAX)
		folio_zero_to(
			folio, folio_bytes_in_file(folio, folio_u64_load_acquire(&inode->size)));
	return 0;
}

/*
 * Find the cache of @folio, and the calling thread's entry for the folio, which it must have
 * locked. FOLIO_LOCKED does not show that: another thread may have locked the folio, or may be
 * filling it. 0, -EINVAL or -ESTALE.
 */
static int find_lock(const struct folio *folio, struct folio_cache **cache, struct folio ***lock)
{
	if (!folio)
		return -EINVAL;
	*cache = cache_in_process(folio);
	if (!*cache)
		return -ESTALE;
	*lock = thread_lock_of(*cache);
	return *lock && **lock == folio ? 0 : -EINVAL;
}

/* Can the file take the folio's last byte, and so all that write-back will write? 0, or -errno. */
static int last_byte_fits(struct inode *inode, const struct folio *folio)
{
	uint64_t bytes = folio_bytes_in_file(folio, folio_u64_load_acquire(&inode->size)), can;

	if (!bytes)
		return 0;
	return limit_check(inode, (folio->index << FOLIO_PAGE_SHIFT) + bytes - 1, 1, &can);
}

/*
 * A change stays in memory only: the file must not keep the page when it is closed (closed_keep).
 * Under the tree's lock: whoever sees no flag there sees the folio pinned. Returns @error.
 */
static int refuse_mark(struct inode *inode, const struct folio *folio, int error)
{
	tree_lock(&inode->tree);
	if (folio_ptr_load_relaxed(&folio->owner) == inode)
		inode->unmarked = true;
	tree_unlock(&inode->tree);
	return error;
}

int folio_mark_dirty(struct folio *folio, uint64_t sequence)
{
	struct folio_cache *cache;
	struct inode *inode;
	struct folio **lock;
	bool in_file;
	int r = find_lock(folio, &cache, &lock);

	if (r)
		return r;
	inode = folio_ptr_load_acquire(&folio->owner);
	if (!inode)
		return -ENODATA;
	r = inode_write_handle(inode) ? last_byte_fits(inode, folio) : -EBADF;
	if (r)
		return refuse_mark(inode, folio, r);
	tree_lock(&inode->tree);
	in_file = folio_ptr_load_relaxed(&folio->owner) == inode;
	if (in_file) {
		dirty_mark_locked(inode, folio);
		dirty_sequence_locked(inode, folio, sequence);
	}
	tree_unlock(&inode->tree);
	return in_file ? 0 : -ENODATA;
}

int folio_unlock(struct folio *folio)
{
	struct folio_cache *cache;
	struct folio **lock;
	int r = find_lock(folio, &cache, &lock);

	if (r)
		return r;
	*lock = thread_locks.folio[--thread_locks.count];
	pool_change_end(&cache->pool, folio);
	folio_unlocked(folio);
	return 0;
}
