/* SPDX-License-Identifier: BSD-2-Clause */
/* log.c - the log goes first: before_writeback is called before folios are written. */
#include "write/log.h"

#include <pthread.h>
#include <stddef.h>

#include "base/deadline.h"
#include "base/pause.h"
#include "cache/dirty.h"
#include "cache/thread.h"

#define LOG_LOOKS 256 /* folios that are examined under one hold of the tree's lock */

void log_init(struct log_calls *log)
{
	pthread_mutex_init(&log->lock, NULL);
	pthread_cond_init(&log->change, NULL);
}

void log_destroy(struct log_calls *log)
{
	pthread_cond_destroy(&log->change);
	pthread_mutex_destroy(&log->lock);
}

/* A thread that waits for before_writeback, on its stack. Guarded by the lock of the calls. */
struct log_wait {
	uint64_t sequence;
	int result;
	bool done;
	struct log_wait *next;
};

/*
 * Call before_writeback for all threads that wait for the next call. The caller holds the lock,
 * which is released in the meantime, and no call is in progress.
 */
static void call_log(struct writeback *writeback)
{
	struct log_calls *log = &writeback->log;
	struct log_wait *wait;
	int r;

	log->calling = true;
	log->now = log->next;
	log->next = NULL;
	log->sequence = 0;
	for (wait = log->now; wait; wait = wait->next)
		if (wait->sequence > log->sequence)
			log->sequence = wait->sequence;
	pthread_mutex_unlock(&log->lock);
	r = writeback->before(writeback->before_context, log->sequence);
	FOLIO_PAUSE(log_called, NULL);
	pthread_mutex_lock(&log->lock);
	/* release: pairs with log_allows: the write follows what the program did in the call. */
	if (!r && log->sequence > folio_u64_load_relaxed(&log->logged))
		folio_u64_store_release(&log->logged, log->sequence);
	/* Some may have come since the call began. The waits are gone once the lock is released. */
	for (wait = log->now; wait; wait = wait->next) {
		wait->result = r;
		wait->done = true;
	}
	log->now = NULL;
	log->calling = false;
	pthread_cond_broadcast(&log->change);
}

int log_await(struct writeback *writeback, uint64_t sequence)
{
	struct log_calls *log = &writeback->log;
	struct log_wait mine = {.sequence = sequence}, **list;

	if (sequence && log_allows(writeback, sequence))
		return 0;
	pthread_mutex_lock(&log->lock);
	if (sequence && log_allows(writeback, sequence)) {
		pthread_mutex_unlock(&log->lock);
		return 0;
	}
	/* Will the call in progress have logged it? 0 does not say what must be logged. */
	list = sequence && log->calling && sequence <= log->sequence ? &log->now : &log->next;
	mine.next = *list;
	*list = &mine;
	while (!mine.done) {
		if (!log->calling)
			call_log(writeback);
		else
			cond_wait_until(&log->change, &log->lock, NULL);
	}
	pthread_mutex_unlock(&log->lock);
	return mine.result;
}

/*
 * The smallest and the largest number of the dirty folios that the pass has. False: there are none.
 */
static bool find_sequences(struct inode *inode, const struct pass *pass, struct sequences *all)
{
	uint64_t index = pass->first;
	unsigned looks = 0;
	bool found = false;
	void *entry;

	*all = (struct sequences){.last = 0};
	tree_lock(&inode->tree);
	while (index <= pass->last &&
		(entry = tree_next_marked_locked(&inode->tree, &index, pass->last, TREE_DIRTY))) {
		const struct folio *folio = entry_folio(entry);
		struct sequences number = dirty_sequences_locked(inode, folio);

		if (pass_has(pass, number)) {
			found = true;
			all->first = sequence_first(all->first, number.first);
			if (all->last < number.last)
				all->last = number.last;
		}
		index = folio_next_index(folio);
		if (++looks % LOG_LOOKS == 0) {
			tree_unlock(&inode->tree);
			FOLIO_PAUSE(log_looked, NULL);
			tree_lock(&inode->tree);
		}
	}
	tree_unlock(&inode->tree);
	return found;
}

int log_pass(struct inode *inode, const struct pass *pass, struct stats_shard *shard)
{
	struct writeback *writeback = &inode->cache->writeback;
	struct sequences number;
	int r;

	if (!writeback->before || !find_sequences(inode, pass, &number))
		return 0;
	r = log_await(writeback, number.last);
	FOLIO_PAUSE(log_written, NULL);
	if (r) {
		stats_add(shard, STAT_WRITE_ERRORS, 1);
		dirty_record_error(inode, -r);
	}
	return r;
}

/* A thread in log_oldest, on its stack. Guarded by the tree's lock. */
struct log_look {
	uint64_t returned; /* the smallest number of pages that have become dirty again; 0: none */
	struct log_look *next;
};

void log_returned_locked(struct inode *inode, uint64_t first)
{
	struct log_look *look;

	for (look = inode->looks; look; look = look->next)
		look->returned = sequence_first(look->returned, first);
}

uint64_t log_oldest(struct inode *inode)
{
	struct log_look look, **link;
	struct writeback_run *run;
	struct sequences number;
	uint64_t oldest;

	tree_lock(&inode->tree);
	look = (struct log_look){.returned = inode->lost_first, .next = inode->looks};
	inode->looks = &look;
	tree_unlock(&inode->tree);
	find_sequences(inode, &pass_all, &number);
	oldest = number.first;
	FOLIO_PAUSE(log_looked, NULL);
	/*
	 * What was dirty before, and was taken by a run before the walk came to it, is in the run
	 * now, or in what was written; or its write failed, and it may be dirty again behind the
	 * walk: a sync that has ended in the meantime does not make it durable.
	 */
	tree_lock(&inode->tree);
	for (link = &inode->looks; *link != &look; link = &(*link)->next)
		;
	*link = look.next;
	oldest = sequence_first(oldest, look.returned);
	for (run = inode->flights.first; run; run = run->later)
		oldest = sequence_first(oldest, run->sequences.first);
	oldest = sequence_first(oldest, inode->unsynced);
	oldest = sequence_first(oldest, inode->syncing);
	oldest = sequence_first(oldest, inode->never_synced);
	tree_unlock(&inode->tree);
	return oldest;
}

void log_sync_begun(struct inode *inode)
{
	tree_lock(&inode->tree);
	inode->syncing = sequence_first(inode->syncing, inode->unsynced);
	inode->unsynced = 0;
	tree_unlock(&inode->tree);
}

void log_sync_ended(struct inode *inode, bool success)
{
	tree_lock(&inode->tree);
	if (!success)
		inode->never_synced = sequence_first(inode->never_synced, inode->syncing);
	inode->syncing = 0;
	tree_unlock(&inode->tree);
}
