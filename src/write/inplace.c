/* SPDX-License-Identifier: BSD-2-Clause */
/* inplace.c - changing a pinned page in place. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <folio/lock.h>

#include "cache/call.h"
#include "cache/dirty.h"
#include "cache/inode.h"
#include "cache/size.h"
#include "cache/table.h"
#include "write/flusher.h"
#include "write/limit.h"

/* ---- the locks of a thread ---- */

/* The calling thread's entry for a folio that it has locked, or NULL. */
static struct thread_lock *held(const struct folio *folio)
{
	unsigned i = thread_locks.count;

	while (i > 0)
		if (thread_locks.lock[--i].folio == folio)
			return &thread_locks.lock[i];
	return NULL;
}

/* Does a lock come after another one in the order in which a thread may wait for locks? */
static bool comes_after(const struct thread_lock *lock, const struct thread_lock *other)
{
	if (lock->number != other->number)
		return lock->number > other->number;
	return lock->folio->index > other->folio->index;
}

/* May the thread wait for the lock: does it come after all those that the thread has? */
static bool in_order(const struct thread_lock *lock)
{
	unsigned count = thread_locks.count;

	return !count || comes_after(lock, &thread_locks.lock[count - 1]);
}

/* Have memory for one lock more. 0 or -ENOMEM. */
static int reserve(void)
{
	struct thread_locks *locks = &thread_locks;
	unsigned room = 4 * locks->room;
	struct thread_lock *more;

	if (!locks->room) {
		locks->lock = locks->first;
		locks->room = THREAD_LOCKS;
	}
	if (likely(locks->count < locks->room))
		return 0;
	more = malloc(room * sizeof(*more));
	if (!more)
		return -ENOMEM;
	memcpy(more, locks->lock, locks->count * sizeof(*more));
	if (locks->lock != locks->first)
		free(locks->lock);
	locks->lock = more;
	locks->room = room;
	return 0;
}

/* Add a lock in its place; there is memory for it. */
static void add(struct thread_lock lock)
{
	unsigned i = thread_locks.count++;

	for (; i > 0 && comes_after(&thread_locks.lock[i - 1], &lock); i--)
		thread_locks.lock[i] = thread_locks.lock[i - 1];
	thread_locks.lock[i] = lock;
}

static void drop(struct thread_lock *lock)
{
	struct thread_locks *locks = &thread_locks;
	struct thread_lock *end = &locks->lock[--locks->count];

	memmove(lock, lock + 1, (size_t)((char *)end - (char *)lock));
	if (locks->count || locks->lock == locks->first)
		return;
	free(locks->lock);
	locks->room = 0;
}

/* ---- lock ---- */

/*
 * Lock a folio that the thread has not locked. @wait: for its lock, and at the thread's first lock
 * for dirty pages to be written; otherwise -EAGAIN.
 *
 * A thread that has a lock waits for no page to be written: another one may wait for its lock, with
 * the page that must be written. models/spin/lock.pml has the order and the throttle.
 */
static int lock_folio(struct call *call, struct thread_lock *lock, struct inode *inode, bool wait)
{
	struct folio *folio = lock->folio;
	uint64_t pages;
	int r = reserve();

	if (r)
		return r;
	if (!thread_locks.count && inode_write_handle(inode)) {
		r = flusher_throttle(call, inode, &pages);
		if (r)
			return r;
	}
	if (!wait && !folio_lock_try(folio))
		return -EAGAIN;
	if (wait && !folio_lock_wait(folio, call->until))
		return -ETIMEDOUT;
	/* Before the lock was taken, another thread may have dropped the page. */
	if (!folio_ptr_load_acquire(&folio->owner)) {
		folio_unlocked(folio);
		return -ENODATA;
	}
	add(*lock);
	return 0;
}

static int lock_any(struct folio *folio, bool wait)
{
	struct thread_lock *has, lock = {.folio = folio, .times = 1};
	struct folio_cache *cache;
	struct inode *inode;
	struct call call;
	int r;

	if (!folio || folio->type != FOLIO_TYPE_FILE)
		return -EINVAL;
	cache = cache_in_process(folio);
	if (!cache)
		return -ESTALE;
	has = held(folio);
	if (has && folio->order > 0) {
		/* Another page of it: as if that had a folio of its own. */
		has->times++;
		return 0;
	}
	if (has)
		return -EDEADLK;
	inode = folio_ptr_load_acquire(&folio->owner);
	if (!inode)
		return -ENODATA;
	lock.number = inode->open_number;
	if (wait && !in_order(&lock))
		return -EDEADLK;
	r = call_begin(&call, cache, cache->id, !wait);
	if (!r)
		r = lock_folio(&call, &lock, inode, wait);
	if (r)
		return r;
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

int folio_lock(struct folio *folio)
{
	return lock_any(folio, true);
}

int folio_try_lock(struct folio *folio)
{
	return lock_any(folio, false);
}

/*
 * Find the cache of @folio, and the calling thread's entry for the folio, which it must have
 * locked. FOLIO_LOCKED does not show that: another thread may have locked the folio, or may be
 * filling it. 0, -EINVAL or -ESTALE.
 */
static int find_lock(
	const struct folio *folio, struct folio_cache **cache, struct thread_lock **lock)
{
	if (!folio)
		return -EINVAL;
	*cache = cache_in_process(folio);
	if (!*cache)
		return -ESTALE;
	*lock = held(folio);
	return *lock ? 0 : -EINVAL;
}

/* ---- mark dirty, unlock ---- */

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
	struct thread_lock *lock;
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
	struct thread_lock *lock;
	int r = find_lock(folio, &cache, &lock);

	if (r)
		return r;
	if (--lock->times)
		return 0;
	drop(lock);
	pool_change_end(&cache->pool, folio);
	folio_unlocked(folio);
	return 0;
}
