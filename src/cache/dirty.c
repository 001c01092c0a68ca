/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dirty.c - counting and listing dirty folios; recording and reporting errors of their write-back.
 */
#include "cache/dirty.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "base/deadline.h"
#include "base/futex.h"
#include "base/pause.h"
#include "cache/inflight.h"

bool dirty_any(struct inode *inode)
{
	bool dirty;

	tree_lock(&inode->tree);
	dirty = share_has(&inode->share, SHARE_PAGES) > 0;
	tree_unlock(&inode->tree);
	return dirty;
}

/*
 * The present pass over its device, if any, need not visit the inode any longer. Returns true if
 * the pass has none left to visit. writeback->lock is held, here and in the functions below.
 */
static bool leave_pass(struct inode *inode)
{
	struct writeback_device *device = inode->backing;

	/* 0 is no pass: the first one is 1. */
	if (inode->dirty_pass == 0 || inode->dirty_pass != device->begun)
		return false;
	inode->dirty_pass = 0;
	return --device->unvisited == 0;
}

/* The list that an inode is in, or belongs to. */
static struct inode_list *list_of(struct inode *inode)
{
	bool wanted = folio_u32_load_relaxed(&inode->dirty_wanted);

	return &inode->backing->list[wanted ? DIRTY_WANTED : DIRTY_BY_AGE];
}

/* Insert an inode into its list, at @at. */
static void insert(struct inode *inode, struct inode **at)
{
	inode->dirty_link = at;
	inode->dirty_next = *at;
	if (inode->dirty_next)
		inode->dirty_next->dirty_link = &inode->dirty_next;
	else
		list_of(inode)->last = &inode->dirty_next;
	*at = inode;
	folio_u32_store_relaxed(&inode->dirty_listed, DIRTY_LISTED);
}

static void unlist(struct inode *inode)
{
	if (folio_u32_load_relaxed(&inode->dirty_listed) != DIRTY_LISTED)
		return;
	*inode->dirty_link = inode->dirty_next;
	if (inode->dirty_next)
		inode->dirty_next->dirty_link = inode->dirty_link;
	else
		list_of(inode)->last = inode->dirty_link;
	folio_u32_store_relaxed(&inode->dirty_listed, DIRTY_UNLISTED);
}

void dirty_list(struct inode *inode)
{
	struct writeback *writeback = &inode->cache->writeback;

	if (folio_u32_load_relaxed(&inode->dirty_listed) != DIRTY_UNLISTED)
		return;
	pthread_mutex_lock(&writeback->lock);
	/* Again: a close may have come in between (dirty_detach). */
	if (folio_u32_load_relaxed(&inode->dirty_listed) == DIRTY_UNLISTED) {
		clock_gettime(CLOCK_MONOTONIC_COARSE, &inode->dirty_since);
		insert(inode, list_of(inode)->last);
		/* The flusher may have looked for the inode while it was not listed. */
		if (folio_u32_load_relaxed(&inode->dirty_wanted))
			dirty_wake_flusher(writeback, WAKE_SOME);
	}
	pthread_mutex_unlock(&writeback->lock);
}

struct dirty_visit dirty_visit_begin_locked(struct inode *inode)
{
	struct dirty_visit visit = {
		.since = inode->dirty_since,
		.wanted = folio_u32_load_relaxed(&inode->dirty_wanted),
	};

	unlist(inode);
	folio_u32_store_relaxed(&inode->dirty_wanted, 0);
	inode->cache->writeback.current = inode;
	return visit;
}

void dirty_visit_end_locked(struct inode *inode, struct dirty_visit visit, bool done)
{
	struct writeback *writeback = &inode->cache->writeback;

	if (done) {
		inode->dirty_index = 0;
		inode->dirty_visits++;
	} else {
		unlist(inode);
	}
	if (!done && folio_u32_load_relaxed(&inode->dirty_listed) == DIRTY_UNLISTED) {
		inode->dirty_since = visit.since;
		if (visit.wanted)
			folio_u32_store_relaxed(&inode->dirty_wanted, 1);
		insert(inode, &list_of(inode)->first);
	} else {
		leave_pass(inode);
	}
	writeback->current = NULL;
	pthread_cond_broadcast(&writeback->change);
}

void dirty_mark_locked(struct inode *inode, struct folio *folio)
{
	/*
	 * relaxed: the flags change under the tree's lock, held here. While a folio is locked, only
	 * the thread that locked it sets FOLIO_DIRTY, and no write-back clears it.
	 */
	uint32_t flags = folio_u32_load_relaxed(&folio->flags), set = FOLIO_DIRTY;

	if (flags & FOLIO_DIRTY)
		return;
	inode->changed = true;
	if (flags & FOLIO_WRITEBACK) {
		set |= FOLIO_CONTENDED;
	} else {
		folio_ref_get(&folio->ref);
		share_take(&inode->share, SHARE_PAGES, UINT64_C(1) << folio->order);
	}
	folio_u32_fetch_or_relaxed(&folio->flags, set);
	tree_mark_set_locked(&inode->tree, folio->index, TREE_DIRTY);
	dirty_list(inode);
}

void dirty_sequence_locked(struct inode *inode, const struct folio *folio, uint64_t sequence)
{
	struct sequences *number = inode->cache->writeback.sequences;

	if (!number || !sequence)
		return;
	number += pool_page(&inode->cache->pool, folio);
	number->first = sequence_first(number->first, sequence);
	if (number->last < sequence)
		number->last = sequence;
}

struct sequences dirty_sequences_locked(const struct inode *inode, const struct folio *folio)
{
	const struct sequences *number = inode->cache->writeback.sequences;

	return number ? number[pool_page(&inode->cache->pool, folio)]
		      : (struct sequences){.last = 0};
}

struct sequences dirty_sequences_take_locked(struct inode *inode, const struct folio *folio)
{
	struct sequences *number = inode->cache->writeback.sequences, taken = {.last = 0};

	if (number) {
		number += pool_page(&inode->cache->pool, folio);
		taken = *number;
		*number = (struct sequences){.last = 0};
	}
	return taken;
}

void dirty_clean_locked(struct inode *inode, const struct folio *folio)
{
	share_give(&inode->share, SHARE_PAGES, UINT64_C(1) << folio->order);
}

bool dirty_forget_locked(struct inode *inode, struct folio *folio)
{
	if (!(folio_u32_load_relaxed(&folio->flags) & FOLIO_DIRTY))
		return false;
	folio_flags_change(folio, FOLIO_DIRTY, 0);
	dirty_clean_locked(inode, folio);
	dirty_sequences_take_locked(inode, folio);
	return true;
}

uint32_t dirty_error_count(struct inode *inode)
{
	struct writeback *writeback = &inode->cache->writeback;
	uint32_t errors;

	pthread_mutex_lock(&writeback->lock);
	errors = inode->errors;
	pthread_mutex_unlock(&writeback->lock);
	return errors;
}

void dirty_record_error(struct inode *inode, int error)
{
	struct writeback *writeback = &inode->cache->writeback;

	pthread_mutex_lock(&writeback->lock);
	inode->errors++;
	inode->error = error;
	/* The next write queries the limit again: it may have been lowered (write/limit.h). */
	folio_u64_store_relaxed(&inode->writable_to, 0);
	pthread_mutex_unlock(&writeback->lock);
}

void dirty_record_lost(struct inode *inode, int error)
{
	struct writeback *writeback = &inode->cache->writeback;

	pthread_mutex_lock(&writeback->lock);
	inode->errors++;
	inode->error = inode->lost = error;
	pthread_mutex_unlock(&writeback->lock);
}

int dirty_error_since(struct inode *inode, uint32_t begin)
{
	struct writeback *writeback = &inode->cache->writeback;
	int error;

	pthread_mutex_lock(&writeback->lock);
	error = inode->errors != begin ? inode->error : 0;
	pthread_mutex_unlock(&writeback->lock);
	return error;
}

int dirty_report_error(struct inode *inode, uint32_t begin, uint32_t *reported)
{
	struct writeback *writeback = &inode->cache->writeback;
	int error = 0;

	pthread_mutex_lock(&writeback->lock);
	if (inode->errors != *reported || inode->errors != begin)
		error = inode->error;
	if (inode->lost)
		error = inode->lost;
	FOLIO_PAUSE(error_found, NULL);
	*reported = inode->errors;
	pthread_mutex_unlock(&writeback->lock);
	return error;
}

void dirty_wait_written(struct inode *inode, uint64_t first, uint64_t last)
{
	struct progress *progress = &inode->cache->progress;
	uint64_t index = first;

	if (last > TREE_INDEX_MAX)
		last = TREE_INDEX_MAX;
	while (index <= last) {
		struct folio *folio = NULL;
		uint32_t flags;
		void *entry;

		tree_lock(&inode->tree);
		entry = tree_next_marked_locked(&inode->tree, &index, last, TREE_WRITEBACK);
		if (entry) {
			folio = entry_folio(entry);
			progress_hold(progress);
			folio_ref_get(&folio->ref);
		}
		tree_unlock(&inode->tree);
		if (!folio)
			break;
		while ((flags = folio_u32_load_acquire(&folio->flags)) & FOLIO_WRITEBACK)
			folio_flags_wait(folio, flags, NULL);
		index = folio_next_index(folio);
		progress_unhold(progress, progress_put(folio));
	}
}

bool dirty_in_range(struct inode *inode, uint64_t first, uint64_t last)
{
	void *entry;

	tree_lock(&inode->tree);
	entry = tree_next_marked_locked(&inode->tree, &first, last, TREE_DIRTY);
	tree_unlock(&inode->tree);
	return entry != NULL;
}

uint32_t dirty_wake_flusher(struct writeback *writeback, uint32_t reason)
{
	/* release: pairs with background (write/flusher.c), which then sees what is requested. */
	uint32_t had = folio_u32_fetch_or_release(&writeback->wakeup, reason);

	if (!had)
		futex_wake(&writeback->wakeup, 1);
	return had;
}

void dirty_request_flush(struct folio_cache *cache)
{
	struct writeback *writeback = &cache->writeback;

	if (share_has(&writeback->share, SHARE_PAGES) ==
			folio_u64_load_relaxed(&writeback->pages_in_flight) ||
		folio_u32_load_relaxed(&writeback->wakeup) & WAKE_ALL)
		return;
	/* Busy until the flusher has begun its passes, which are busy on their own. */
	progress_begin(&cache->progress);
	if (dirty_wake_flusher(writeback, WAKE_ALL) & WAKE_ALL)
		progress_end(&cache->progress, false);
}

void dirty_request_pass(struct writeback_device *device)
{
	if (folio_u32_load_relaxed(&device->wanted))
		return;
	folio_u32_store_relaxed(&device->wanted, 1);
	dirty_wake_flusher(&device->cache->writeback, WAKE_SOME);
}

void dirty_request_visit_locked(struct inode *inode)
{
	struct writeback *writeback = &inode->cache->writeback;
	bool listed = folio_u32_load_relaxed(&inode->dirty_listed) == DIRTY_LISTED;

	/* If it is neither, it has nothing to write. A request during a visit is for the next. */
	if (folio_u32_load_relaxed(&inode->dirty_wanted) ||
		(!listed && writeback->current != inode))
		return;
	unlist(inode);
	folio_u32_store_relaxed(&inode->dirty_wanted, 1);
	if (listed)
		insert(inode, list_of(inode)->last);
	dirty_wake_flusher(writeback, WAKE_SOME);
}

void dirty_request_visit(struct inode *inode)
{
	struct writeback *writeback = &inode->cache->writeback;

	/* relaxed, and a hint: another call for the same file comes soon. */
	if (folio_u32_load_relaxed(&inode->dirty_listed) != DIRTY_LISTED ||
		folio_u32_load_relaxed(&inode->dirty_wanted))
		return;
	pthread_mutex_lock(&writeback->lock);
	dirty_request_visit_locked(inode);
	pthread_mutex_unlock(&writeback->lock);
}

bool dirty_detach(struct inode *inode, bool wait)
{
	struct writeback *writeback = &inode->cache->writeback;
	bool left;

	pthread_mutex_lock(&writeback->lock);
	/*
	 * acquire: pairs with inflight_end. A run of the flusher that fails lists the inode again;
	 * if none is in flight here, none of them will.
	 */
	left = wait || (writeback->current != inode &&
			       !(folio_u32_load_acquire(&inode->fills) & ~INODE_CLOSING));
	if (left) {
		unlist(inode);
		/* The flusher ends the visits of the pass. */
		if (leave_pass(inode))
			dirty_wake_flusher(writeback, WAKE_SOME);
	}
	if (wait) {
		folio_u32_store_relaxed(&inode->dirty_listed, DIRTY_CLOSED);
		while (writeback->current == inode)
			cond_wait_until(&writeback->change, &writeback->lock, NULL);
	}
	pthread_mutex_unlock(&writeback->lock);
	return left;
}

void dirty_wait_flusher(struct inode *inode, const struct timespec *until)
{
	struct writeback *writeback = &inode->cache->writeback;

	pthread_mutex_lock(&writeback->lock);
	while (writeback->current == inode)
		if (!cond_wait_until(&writeback->change, &writeback->lock, until))
			break;
	pthread_mutex_unlock(&writeback->lock);
}

void dirty_set_limit(struct folio_cache *cache, uint64_t budget)
{
	struct writeback *writeback = &cache->writeback;
	uint64_t pages = writeback->pages_wanted ? writeback->pages_wanted : budget / 4;

	/* At most half of the budget, so that there is space for clean pages. */
	if (pages > budget / 2)
		pages = budget / 2;
	pthread_mutex_lock(&writeback->lock);
	folio_u64_store_relaxed(&writeback->pages_max, pages < 8 ? 8 : pages);
	/* Throttled writers compare with the new limit. */
	pthread_cond_broadcast(&writeback->change);
	pthread_mutex_unlock(&writeback->lock);
}
