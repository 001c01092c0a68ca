/* SPDX-License-Identifier: BSD-2-Clause */
/* open.c - opening and closing a file, and other calls about a handle. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/deadline.h"
#include "base/futex.h"
#include "base/pause.h"
#include "cache/detach.h"
#include "cache/dirty.h"
#include "cache/drop.h"
#include "cache/inflight.h"
#include "cache/inode.h"
#include "cache/revalidate.h"
#include "read/lookup.h"
#include "write/confirm.h"
#include "write/flusher.h"
#include "write/truncate.h"
#include "write/writeback.h"

/* ---- open ---- */

static void free_file(struct folio_file *file)
{
	streams_destroy(&file->streams);
	free(file);
}

/*
 * Start the flusher. Called before a file is opened for writing, and so before a new file can be
 * created. Returns 0, -EROFS or -ENOMEM.
 */
static int start_writing(struct folio_cache *cache)
{
	int r;

	/* A backend has all functions that write, or none. */
	if (!cache->io->sync)
		return -EROFS;
	pthread_mutex_lock(&cache->files_lock);
	r = flusher_start(cache);
	pthread_mutex_unlock(&cache->files_lock);
	return r;
}

/* Set the fields that a hit needs; the handle has its inode already. */
static void init_file(struct folio_file *file, struct folio_cache *cache, bool writable)
{
	file->cache = cache;
	file->cache_id = cache->id;
	lookup_init(file, &cache->pool);
	file->writable = writable;
	file->reported = dirty_error_count(file->inode);
	streams_init(&file->streams);
	folio_u32_store_relaxed(&file->requests, 0);
}

/*
 * O_TRUNC, done by the cache, which may have the file open already. Waits without a deadline, as
 * open(2) would: no other thread has the handle yet, so no thread could close it if the call left.
 */
static int open_truncated(struct call *call, struct folio_file *file)
{
	struct call patient = {.cache = call->cache, .shard = call->shard};
	struct folio_cache *cache = call->cache;
	int r = file_truncate(&patient, file, 0);

	pthread_mutex_lock(&cache->files_lock);
	while (inode_await_confirm(file->inode))
		continue;
	file->inode->opening--;
	if (r) {
		/* No close has left dirty pages to this handle (next_close_step). */
		inode_put(file->inode, false, call->shard);
		cache->files_open--;
	}
	pthread_mutex_unlock(&cache->files_lock);
	if (r)
		free_file(file);
	return r;
}

static int open_file(
	struct folio_cache *cache, const struct file_source *source, struct folio_file **result)
{
	bool writable = (source->flags & O_ACCMODE) == O_RDWR;
	struct folio_file *file;
	struct call call;
	int r;

	r = call_begin(&call, cache, cache->id, false);
	if (r)
		return r;
	/* A truncation waits for locks of folios. No file is created by a call that cannot end. */
	if (source->flags & O_TRUNC && !call_may_lock(&call))
		return call.error;
	if (!source->path && !cache->io->open_fd)
		return -EOPNOTSUPP;
	if (writable) {
		r = start_writing(cache);
		if (r)
			return r;
	}
	file = aligned_alloc(64, (sizeof(*file) + 63) & ~(size_t)63);
	if (!file)
		return -ENOMEM;
	r = inode_get(cache, source, call.shard, &file->inode);
	if (r) {
		free(file);
		return r;
	}
	init_file(file, cache, writable);
	if (source->flags & O_TRUNC) {
		r = open_truncated(&call, file);
		if (r)
			return r;
	}
	*result = file;
	return 0;
}

int folio_file_open(struct folio_cache *cache, const char *path, int flags, mode_t mode,
	struct folio_file **file)
{
	const int also = O_CREAT | O_EXCL | O_TRUNC | O_CLOEXEC | O_NOFOLLOW | O_NOATIME;
	const struct file_source source = {.path = path, .flags = flags, .mode = mode};

	if (!cache || !path || !file || flags & ~(O_RDWR | also) ||
		(flags & O_TRUNC && (flags & O_ACCMODE) != O_RDWR))
		return -EINVAL;
	return open_file(cache, &source, file);
}

int folio_file_open_fd(struct folio_cache *cache, int fd, int flags, struct folio_file **file)
{
	const struct file_source source = {.fd = fd, .flags = flags};

	if (!cache || !file || flags & ~O_RDWR)
		return -EINVAL;
	return open_file(cache, &source, file);
}

/* ---- close ---- */

enum close_mode {
	CLOSE_KEEP_DIRTY, /* the file stays open if dirty pages cannot be written */
	CLOSE_DROP_DIRTY, /* such pages are dropped */
};

/* -ENOMEM of detach_call means that the step has not begun; abandoning does not go on then. */
static int step_result(int r)
{
	return r == -ENOMEM ? -EIO : r;
}

static int clean_detached(
	struct call *call, struct folio_file *file, const struct detach_args *args)
{
	return step_result(writeback_clean(file->inode, call->shard));
}

static int confirm_detached(
	struct call *call, struct folio_file *file, const struct detach_args *args)
{
	return step_result(confirm_written(file->inode));
}

/*
 * True if nothing is in flight in a file that only the caller has open, and that no detached call
 * uses. Then nothing will be: only the flusher could begin something, and it has left the file. The
 * caller holds files_lock.
 */
static bool is_settled(struct inode *inode)
{
	/* acquire: pairs with inflight_end (release). */
	return !(folio_u32_load_acquire(&inode->fills) & ~INODE_CLOSING) &&
	       (!inode_write_handle(inode) || dirty_detach(inode, false));
}

/* The next step of a close. */
enum close_step {
	CLOSE_NOW,
	CLOSE_AWAIT_DETACHED, /* a detached call runs, perhaps with this very handle */
	CLOSE_WRITE_BACK,     /* the last handle: dirty pages must be written */
	CLOSE_CONFIRM,        /* the last handle: ask the file system for the errors of close(2) */
	CLOSE_AWAIT_IO,       /* the last handle: something is in flight */
};

/*
 * @give_up: what could not be written or confirmed may be lost. *lost: closing now would lose
 * something. The caller holds files_lock.
 */
static enum close_step next_close_step(struct folio_file *file, bool give_up, bool *lost)
{
	struct inode *inode = file->inode;
	/*
	 * If another handle stays open, dirty pages stay with the file. A handle that may still
	 * fail to open does not count: it could drop them.
	 */
	bool last = inode->opens - inode->opening == 1;
	bool detached, dirty;

	/*
	 * acquire: pairs with the end of a detached call (release, run_detached). Before dirty_any:
	 * if the call has ended, the pages that it has dirtied are seen, and not dropped.
	 */
	detached = folio_u32_load_acquire(&inode->detached);
	FOLIO_PAUSE(close_checked, NULL);
	dirty = last && dirty_any(inode);
	*lost = dirty || (last && confirm_needed(inode));
	if (detached)
		return CLOSE_AWAIT_DETACHED;
	if (!last)
		return CLOSE_NOW;
	if (*lost && !give_up)
		return dirty ? CLOSE_WRITE_BACK : CLOSE_CONFIRM;
	return is_settled(inode) ? CLOSE_NOW : CLOSE_AWAIT_IO;
}

/* A last close writes back so often, as long as other threads make pages dirty and none fails. */
#define CLOSE_TRIES 100

/*
 * Close a handle. If it is the last one of a file with dirty pages that cannot be written, or if
 * the file system has lost data of the file, returns the error; with CLOSE_KEEP_DIRTY the handle
 * then stays open.
 *
 * Waits without files_lock, so that other files can be opened and closed while this takes its time.
 * At the deadline, returns -ETIMEDOUT with the handle still open; work that was begun may continue.
 */
static int close_file(struct call *call, struct folio_file *file, enum close_mode mode)
{
	const struct detach_args args = {.flags = 0};
	struct folio_cache *cache = file->cache;
	struct inode *inode = file->inode;
	unsigned tries = 0;
	bool lost;
	int r = 0;

	while (mutex_lock_until(&cache->files_lock, call->until)) {
		enum close_step step = next_close_step(file, r && mode == CLOSE_DROP_DIRTY, &lost);

		if (step == CLOSE_NOW) {
			inode_put(inode, !lost, call->shard);
			cache->files_open--;
		}
		pthread_mutex_unlock(&cache->files_lock);
		switch (step) {
		case CLOSE_NOW:
			free_file(file);
			if (!lost)
				return 0;
			/*
			 * Something was lost, and the handle is closed: -ETIMEDOUT would mean that
			 * it is still open.
			 */
			return r == -ETIMEDOUT ? -EIO : r;
		case CLOSE_AWAIT_DETACHED:
			futex_wait_until(&inode->detached, 1, call->until);
			break;
		case CLOSE_WRITE_BACK:
		case CLOSE_CONFIRM:
			/* It failed, and is still needed. */
			if (r)
				return r;
			r = detach_call(call, file,
				step == CLOSE_CONFIRM ? confirm_detached : clean_detached, &args);
			/* Pages of another thread, which may have closed its handle by now. */
			if (r == -EBUSY && ++tries < CLOSE_TRIES)
				r = 0;
			/* It has not begun. */
			if (r == -ENOMEM)
				return r;
			break;
		case CLOSE_AWAIT_IO:
			inflight_drain(inode, call->until);
			dirty_wait_flusher(inode, call->until);
			break;
		}
		if (deadline_passed(call->until))
			break;
	}
	return -ETIMEDOUT;
}

static int close_begin(struct folio_file *file, enum close_mode mode)
{
	struct call call;
	int r;

	if (!file)
		return -EINVAL;
	r = call_begin_locking(&call, file->cache, file->cache_id);
	if (r)
		return r;
	/* acquire: pairs with request_end (release): requests that have ended no longer use it. */
	if (folio_u32_load_acquire(&file->requests))
		return -EBUSY;
	return close_file(&call, file, mode);
}

int folio_file_close(struct folio_file *file)
{
	return close_begin(file, CLOSE_KEEP_DIRTY);
}

int folio_file_abandon(struct folio_file *file)
{
	return close_begin(file, CLOSE_DROP_DIRTY);
}

/* ---- other calls about a handle ---- */

uint64_t folio_file_number(const struct folio_file *file)
{
	return file ? file->inode->open_number : 0;
}

uint64_t folio_file_size(const struct folio_file *file)
{
	if (!file || !thread_enter(file->cache, file->cache_id))
		return 0;
	return folio_u64_load_acquire(&file->inode->size);
}

int folio_file_advise(struct folio_file *file, enum folio_advice advice)
{
	if (!file || (advice != FOLIO_ADVICE_NORMAL && advice != FOLIO_ADVICE_SEQUENTIAL &&
			     advice != FOLIO_ADVICE_RANDOM && advice != FOLIO_ADVICE_ONCE))
		return -EINVAL;
	if (!thread_enter(file->cache, file->cache_id))
		return -ESTALE;
	folio_u32_store_relaxed(&file->streams.advice, advice);
	return 0;
}

int folio_file_invalidate(struct folio_file *file, uint64_t offset, uint64_t len)
{
	struct call call;
	uint64_t last;
	int r;

	if (!file || (len != UINT64_MAX && len > UINT64_MAX - offset))
		return -EINVAL;
	r = call_begin(&call, file->cache, file->cache_id, false);
	if (r || !len)
		return r;
	last = len == UINT64_MAX ? UINT64_MAX : (offset + len - 1) >> FOLIO_PAGE_SHIFT;
	inode_invalidate(file->inode, offset >> FOLIO_PAGE_SHIFT, last, call.shard);
	return 0;
}

int folio_file_revalidate(struct folio_file *file)
{
	struct call call;
	int r;

	if (!file)
		return -EINVAL;
	r = call_begin(&call, file->cache, file->cache_id, false);
	return r ? r : inode_revalidate(file->inode, false, call.shard);
}
