/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sync.c - making written data durable.
 *
 * A sync writes dirty pages to the file and then waits for a sync of the device (await_sync). The
 * device syncs a file once at a time, because it reports an error only once: the thread that called
 * it records the error before any other thread can see that the sync has ended. A thread that
 * arrives in the meantime writes its pages to the file and waits for the next sync of the device:
 * the present one may have begun before its data was in the file.
 *
 * Threads that sync all pages form rounds (await_round). One thread of a round writes the pages of
 * all and waits for the device, the others wait for the end of the round. At most two rounds run at
 * the same time: one is in the device while the other one writes. Threads that arrive then are the
 * next round, whichever of them begins it.
 *
 *	first                second               third, fourth, ...
 *	writes all pages
 *	calls the device     writes all pages     wait
 *	                     waits
 *	ends round 1         calls the device     one writes all pages
 *	                                          waits
 *	                     ends round 2         calls the device
 *	                                          ends round 3, the others, too
 *
 * If no more pages are dirty than threads sync, each thread writes some before it takes part in a
 * round, in parallel with the others. A round waits for writes that had begun when it found no
 * further dirty page, whoever began them (writeback_flush_begun).
 *
 * The wait is bounded: a call waits for the two rounds that may run when it arrives, and for one
 * more. Each of these waits for the device's sync that is in progress, and for the next one.
 *
 * A sync of a range is no part of a round: it does not wait for pages that it need not write.
 *
 * With a deadline, calls take turns (detach_call). A call that gets its turn has nothing left to do
 * if a round that began after it had arrived is done.
 *
 * models/spin/sync.pml is the model of all this.
 */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <folio/sequence.h>

#include "base/deadline.h"
#include "base/pause.h"
#include "cache/detach.h"
#include "cache/dirty.h"
#include "cache/inode.h"
#include "write/log.h"
#include "write/writeback.h"

/*
 * Make the backend's file at least @end bytes long. It is shorter if a write past its end has left
 * a gap: a gap has no dirty pages, and the written page may not have been synced. Returns 0 or the
 * backend's error. The caller has map_lock.
 *
 * The file gets all of the cached size, which stays the same under size_lock: a smaller one could
 * cut a write that is in flight.
 */
static int grow_file(struct inode *inode, uint64_t end)
{
	struct folio_cache *cache = inode->cache;
	uint64_t size;
	int r = 0;

	pthread_mutex_lock(&inode->size_lock);
	/* relaxed: the flush has waited for its runs. */
	if (folio_u64_load_relaxed(&inode->disk_size) < end) {
		size = folio_u64_load_relaxed(&inode->size);
		r = cache->io->truncate(cache->io_context, inode_write_handle(inode), size);
		if (!r) {
			/* As in file_truncate; the added bytes are zeros. */
			tree_lock(&inode->tree);
			folio_u64_store_release(&inode->disk_size, size);
			tree_unlock(&inode->tree);
		}
	}
	pthread_mutex_unlock(&inode->size_lock);
	return r;
}

/*
 * Call the device's sync for all threads that wait for the next one. The caller holds syncs->lock,
 * which is released during the device's call.
 */
static void sync_device(struct inode *inode)
{
	struct folio_cache *cache = inode->cache;
	struct syncs *syncs = &inode->syncs;
	unsigned flags = syncs->full_wanted ? 0 : FOLIO_IO_DATA_ONLY;
	uint64_t ended;
	int r;

	syncs->full_wanted = false;
	syncs->begun++;
	pthread_mutex_unlock(&syncs->lock);
	log_sync_begun(inode);
	r = cache->io->sync(cache->io_context, inode_write_handle(inode), flags);
	if (r)
		dirty_record_lost(inode, -r);
	/* Only stored here. */
	log_sync_ended(inode, !inode->lost);
	pthread_mutex_lock(&syncs->lock);
	ended = syncs->ended = syncs->begun;
	/* Threads that are woken take the lock. */
	pthread_mutex_unlock(&syncs->lock);
	/* One of the threads that wait for the next sync begins it. */
	pthread_cond_signal(&syncs->change[(ended + 1) & 1]);
	pthread_cond_broadcast(&syncs->change[ended & 1]);
	pthread_mutex_lock(&syncs->lock);
}

/*
 * Returns when a sync of the device that began after this call has ended. So all that was in the
 * file before is on the device, or an error has been recorded.
 */
static void await_sync(struct inode *inode, unsigned flags)
{
	struct syncs *syncs = &inode->syncs;
	uint64_t wanted;

	pthread_mutex_lock(&syncs->lock);
	wanted = syncs->begun + 1;
	if (!(flags & FOLIO_IO_DATA_ONLY))
		syncs->full_wanted = true;
	while (syncs->ended < wanted) {
		if (syncs->begun == syncs->ended) {
			sync_device(inode);
		} else {
			cond_wait_until(&syncs->change[wanted & 1], &syncs->lock, NULL);
		}
	}
	pthread_mutex_unlock(&syncs->lock);
}

/*
 * Write the dirty pages first .. last, make the file long enough for them, and sync the device.
 * Returns the error if the file cannot be made longer; other errors are recorded.
 */
static int sync_pages(struct call *call, struct inode *inode, const struct detach_args *args)
{
	const struct pass pass = pass_of(args->first, args->last);
	uint32_t begin = dirty_error_count(inode);
	uint64_t end;
	int r = 0;

	/* With no lock held. The error is recorded. */
	if (log_pass(inode, &pass, call->shard))
		return 0;
	/*
	 * Not during a truncation, whose fence keeps write-back from pages that the sync would then
	 * leave dirty.
	 */
	pthread_rwlock_rdlock(&inode->map_lock);
	/* Before the flush: an append from here on is not part of this sync. */
	end = folio_u64_load_acquire(&inode->size);
	if (args->last < end >> FOLIO_PAGE_SHIFT)
		end = (args->last + 1) << FOLIO_PAGE_SHIFT;
	if (args->first || args->last != UINT64_MAX)
		writeback_flush(inode, &pass, call->shard);
	else
		writeback_flush_begun(inode, &pass, call->shard);
	/* If a page could not be written, the sync fails, and the file keeps its length. */
	if (dirty_error_count(inode) == begin)
		r = grow_file(inode, end);
	pthread_rwlock_unlock(&inode->map_lock);
	if (r)
		return r;
	await_sync(inode, args->flags);
	return 0;
}

/*
 * Write the folios that have a change with a number up to @args->first, and sync the device, if
 * such a number has been written since the last sync of it. Errors are recorded.
 */
static int checkpoint(struct call *call, struct folio_file *file, const struct detach_args *args)
{
	struct inode *inode = file->inode;
	const struct pass pass = {.last = TREE_INDEX_MAX, .upto = args->first};
	uint32_t begin = dirty_error_count(inode);
	uint64_t oldest;

	if (log_pass(inode, &pass, call->shard))
		return 0;
	/* As in sync_pages. */
	pthread_rwlock_rdlock(&inode->map_lock);
	writeback_flush_begun(inode, &pass, call->shard);
	pthread_rwlock_unlock(&inode->map_lock);
	oldest = log_oldest(inode);
	if (dirty_error_count(inode) == begin && oldest && oldest <= pass.upto)
		await_sync(inode, FOLIO_IO_DATA_ONLY);
	return 0;
}

/* The first round of which a call that syncs all pages may be part. */
static uint64_t next_round(struct inode *inode, unsigned flags)
{
	struct syncs *syncs = &inode->syncs;
	uint64_t round;

	pthread_mutex_lock(&syncs->lock);
	round = syncs->rounds + 1;
	if (!(flags & FOLIO_IO_DATA_ONLY))
		syncs->full_round = round;
	pthread_mutex_unlock(&syncs->lock);
	return round;
}

/* Begin the next round, and do its work. As in sync_device, the caller holds the lock. */
static void run_round(struct call *call, struct inode *inode)
{
	struct syncs *syncs = &inode->syncs;
	struct detach_args all = {.last = UINT64_MAX};
	uint64_t done, next;
	int r;

	/* Or the round before wants more, and has not ended: the end of this one ends it, too. */
	all.flags = syncs->full_round > syncs->rounds_done ? 0 : FOLIO_IO_DATA_ONLY;
	all.round = ++syncs->rounds;
	pthread_mutex_unlock(&syncs->lock);
	r = sync_pages(call, inode, &all);
	pthread_mutex_lock(&syncs->lock);
	done = syncs->rounds_done;
	while (syncs->rounds_done < all.round)
		syncs->round_result[++syncs->rounds_done % 3] = r;
	next = syncs->rounds + 1;
	/* Threads that are woken take the lock. */
	pthread_mutex_unlock(&syncs->lock);
	/* One of the threads that wait for the next round begins it. */
	pthread_cond_signal(&syncs->round_change[next % 3]);
	while (done < all.round)
		pthread_cond_broadcast(&syncs->round_change[++done % 3]);
	pthread_mutex_lock(&syncs->lock);
}

/*
 * Returns when a round that began after the call had arrived is done: its result, or that of a
 * later one, which has then tried the same again.
 */
static int await_round(struct call *call, struct inode *inode, uint64_t round)
{
	struct syncs *syncs = &inode->syncs;
	uint32_t callers;
	int r;

	callers = folio_u32_fetch_add_relaxed(&syncs->callers, 1) + 1;
	/*
	 * The threads write in parallel what they have made dirty. If there is more, one thread
	 * submits it together; and threads that take turns are never two here.
	 */
	if (!inode->cache->timeout_ms && share_has(&inode->share, SHARE_PAGES) <= callers)
		writeback_help(inode, call->shard);
	pthread_mutex_lock(&syncs->lock);
	while (syncs->rounds_done < round) {
		if (syncs->rounds < round && syncs->rounds - syncs->rounds_done < 2) {
			run_round(call, inode);
		} else {
			cond_wait_until(&syncs->round_change[round % 3], &syncs->lock, NULL);
		}
	}
	r = syncs->round_result[round % 3];
	pthread_mutex_unlock(&syncs->lock);
	folio_u32_fetch_sub_relaxed(&syncs->callers, 1);
	return r;
}

/* All of a sync except the report to the handle: the caller does that, if it still waits. */
static int sync_detached(struct call *call, struct folio_file *file, const struct detach_args *args)
{
	if (args->round)
		return await_round(call, file->inode, args->round);
	return sync_pages(call, file->inode, args);
}

int folio_file_sync(struct folio_file *file, const struct folio_range *range, unsigned flags)
{
	struct detach_args args = {
		.last = UINT64_MAX,
		.flags = flags & FOLIO_SYNC_DATA ? FOLIO_IO_DATA_ONLY : 0,
	};
	struct inode *inode;
	struct call call;
	uint32_t begin;
	int r;

	if (!file || flags & ~FOLIO_SYNC_DATA ||
		(range && range->len != UINT64_MAX && range->len > UINT64_MAX - range->offset))
		return -EINVAL;
	r = call_begin_locking(&call, file->cache, file->cache_id);
	if (r)
		return r;
	inode = file->inode;
	/* No handle was ever opened for writing, or the range is empty. */
	if (!inode_write_handle(inode) || (range && !range->len))
		return 0;
	if (range) {
		args.first = range->offset >> FOLIO_PAGE_SHIFT;
		if (range->len != UINT64_MAX)
			args.last = (range->offset + range->len - 1) >> FOLIO_PAGE_SHIFT;
	}
	begin = dirty_error_count(inode);
	/* After that count: the errors of a round that covers this call are counted later. */
	if (!args.first && args.last == UINT64_MAX)
		args.round = next_round(inode, args.flags);
	r = detach_call(&call, file, sync_detached, &args);
	if (r)
		return r;
	FOLIO_PAUSE(sync_ended, NULL);
	return -dirty_report_error(inode, begin, &file->reported);
}

int folio_file_oldest_sequence(struct folio_file *file, uint64_t *sequence)
{
	struct call call;
	uint64_t oldest;
	int r;

	if (!file || !sequence)
		return -EINVAL;
	r = call_begin(&call, file->cache, file->cache_id, false);
	if (r)
		return r;
	if (!file->cache->writeback.before)
		return -EOPNOTSUPP;
	oldest = log_oldest(file->inode);
	*sequence = oldest ? oldest : UINT64_MAX;
	return 0;
}

int folio_file_checkpoint(struct folio_file *file, uint64_t sequence)
{
	const struct detach_args args = {.first = sequence};
	struct inode *inode;
	struct call call;
	uint32_t begin;
	int r;

	if (!file)
		return -EINVAL;
	r = call_begin_locking(&call, file->cache, file->cache_id);
	if (r)
		return r;
	inode = file->inode;
	if (!inode->cache->writeback.before)
		return -EOPNOTSUPP;
	/* No handle was ever opened for writing, or no number is so small. */
	if (!inode_write_handle(inode) || !sequence)
		return 0;
	begin = dirty_error_count(inode);
	r = detach_call(&call, file, checkpoint, &args);
	return r ? r : -dirty_report_error(inode, begin, &file->reported);
}
