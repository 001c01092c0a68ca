/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dirty.h - which folios are dirty, which files have dirty folios, and errors of write-back.
 *
 * Dirty means FOLIO_DIRTY. In write-back the folio has FOLIO_WRITEBACK instead, and is neither
 * dirty nor clean. Clean means up to date, with neither flag. The counts of dirty pages
 * (SHARE_PAGES of the shares, pages_dirty of struct folio_cache_stats) include pages in write-back:
 * a page is counted out when it becomes clean or is dropped.
 *
 * In both states the folio has the state's mark in the tree and a reference, which collect passes
 * on from one state to the other. The reference keeps eviction from freezing the folio; eviction
 * loads the flags only as a hint. Flag and mark change together, under the tree's lock:
 *
 *   clean -> dirty       dirty_mark_locked     by the thread that has the folio locked
 *   dirty -> writeback   collect               only a folio that is not locked
 *   writeback -> clean   run_finish, success   the reference is dropped
 *   writeback -> dirty   run_finish, failure   the reference stays
 *   dirty -> dropped     dirty_forget_locked   truncated, or abandoned at close
 *
 * collect and run_finish are in write/writeback.c. While a folio has FOLIO_WRITEBACK, no thread
 * gets its lock, so its contents do not change while they are written (stable pages).
 *
 * With FOLIO_COPIED, a copy is written (write/bounce.h): the folio can be locked, and become dirty
 * again. Then it has both flags and both marks, but one reference, and is counted once: both belong
 * to the dirty state when the write ends.
 *
 * Errors. Each inode counts its failed write-backs (inode->errors). Each handle remembers up to
 * which count errors have been reported through it (file->reported). A sync reports an error if the
 * count differs from the one of its handle, or has changed since the sync began. The folio stays
 * dirty, so that the next write-back tries again.
 */
#ifndef FOLIO_SRC_CACHE_DIRTY_H
#define FOLIO_SRC_CACHE_DIRTY_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "cache/types.h"

/*
 * Set the limit of dirty pages for a budget of @budget pages, and wake writers that wait for it:
 * the limit may have grown.
 */
void dirty_set_limit(struct folio_cache *cache, uint64_t budget);

/*
 * Make a folio dirty, and list its inode for the flusher. Does nothing if it is dirty already. The
 * caller has the folio and the inode's tree locked.
 */
void dirty_mark_locked(struct inode *inode, struct folio *folio);

/*
 * Record that a dirty folio has a change with number @sequence, unless that is 0 or the cache has
 * no before_writeback. The caller has the inode's tree locked.
 */
void dirty_sequence_locked(struct inode *inode, const struct folio *folio, uint64_t sequence);

/* The numbers of a dirty folio. The caller has the inode's tree locked. */
struct sequences dirty_sequences_locked(const struct inode *inode, const struct folio *folio);

/* Take them, for a run. */
struct sequences dirty_sequences_take_locked(struct inode *inode, const struct folio *folio);

/*
 * Called for a folio that is about to be erased from the tree and is not being written back. The
 * caller holds the tree's lock. If the folio is dirty, clears FOLIO_DIRTY, counts it out and
 * returns true: then the caller must also drop the dirty state's reference, after it has released
 * the lock.
 */
bool dirty_forget_locked(struct inode *inode, struct folio *folio);

/* Reasons to wake the flusher, in writeback->wakeup. */
#define WAKE_ALL  1u /* write all that is dirty */
#define WAKE_SOME 2u /* a device has a pass to begin, to continue or to end */

/* Wake the flusher, if it sleeps. Returns the reasons that it has not seen yet. */
uint32_t dirty_wake_flusher(struct writeback *writeback, uint32_t reason);

/*
 * Make the flusher write all dirty pages: they cannot be evicted before. Does nothing if all of
 * them are being written back, or if another thread has just requested it. Until it has ended the
 * passes, the flusher counts as busy, so the caller may wait with progress_wait.
 */
void dirty_request_flush(struct folio_cache *cache);

/* Make the flusher begin a pass over the device, when the present one, if any, has ended. */
void dirty_request_pass(struct writeback_device *device);

/*
 * Make the flusher write the dirty folios of one inode, which is open. Takes writeback->lock,
 * unless the inode has none or such a visit is about to begin.
 */
void dirty_request_visit(struct inode *inode);

/* The same. The caller holds writeback->lock. */
void dirty_request_visit_locked(struct inode *inode);

/* Wait until writes in flight of pages first .. last have ended. The caller has no folio locked. */
void dirty_wait_written(struct inode *inode, uint64_t first, uint64_t last);

/* True if one of the pages first .. last is dirty; a page being written back does not count. */
bool dirty_in_range(struct inode *inode, uint64_t first, uint64_t last);

/* How many write-backs of the inode have failed: what dirty_report_error compares with. */
uint32_t dirty_error_count(struct inode *inode);

/*
 * The last error of write-back, as a positive errno, if one has failed since error count @begin;
 * else 0. It counts as reported through no handle.
 */
int dirty_error_since(struct inode *inode, uint32_t begin);

/*
 * The device failed to sync data that it had accepted, so the state of that data is unknown. Counts
 * @error (positive) as a failed write-back, and makes each later sync of the file return it.
 */
void dirty_record_lost(struct inode *inode, int error);

/*
 * The result of a sync that began at error count @begin, as a positive errno. Returns the error of
 * dirty_record_lost, if there is one; else the last error, if write-backs have failed since @begin
 * or since count *@reported; else 0. Sets *@reported to the present count.
 */
int dirty_report_error(struct inode *inode, uint32_t begin, uint32_t *reported);

/*
 * Take an inode of which no thread marks folios any longer off the flusher's list. With @wait, for
 * the last close: waits until the flusher has left the inode, and keeps it from being listed again.
 * Without, returns false and does nothing if the flusher works on the inode or requests of it are
 * in flight.
 */
bool dirty_detach(struct inode *inode, bool wait);

/* Wait until the flusher has left the inode, or until the deadline @until (NULL: none). */
void dirty_wait_flusher(struct inode *inode, const struct timespec *until);

/* True if the inode has pages that are dirty or being written back. Takes the tree's lock. */
bool dirty_any(struct inode *inode);

/* inode->dirty_listed */
enum {
	DIRTY_UNLISTED,
	DIRTY_LISTED,
	DIRTY_CLOSED, /* in no list, and never will be */
};

/*
 * List an inode with dirty folios, unless it is listed or closed. A thread that has marked a folio
 * calls this before it releases the tree's lock. The flusher first unlists the inode, then takes
 * that lock to look for marks: so either it finds the caller's mark, or the caller finds the inode
 * unlisted.
 */
void dirty_list(struct inode *inode);

/* The flusher visits an inode. What it restores if it cannot finish the visit. */
struct dirty_visit {
	struct timespec since;
	uint32_t wanted;
};

/* Unlist an inode for a visit, during which it is writeback->current. writeback->lock is held. */
struct dirty_visit dirty_visit_begin_locked(struct inode *inode);

/*
 * End the visit. If it is not @done, it continues later: the inode is listed first again, unless it
 * is closed. writeback->lock is held.
 */
void dirty_visit_end_locked(struct inode *inode, struct dirty_visit visit, bool done);

/*
 * Count the folio out, since it becomes clean or is dropped. The caller holds the tree's lock.
 * Flag, mark, the dirty state's reference and its numbers are left to the caller.
 */
void dirty_clean_locked(struct inode *inode, const struct folio *folio);

/* Count a failed write-back of the inode, with @error (positive). Takes writeback->lock. */
void dirty_record_error(struct inode *inode, int error);

#endif
