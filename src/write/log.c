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

/* The largest number of the dirty folios of pages @index .. @last. False: there are none. */
static bool find_largest(struct inode *inode, uint64_t index, uint64_t last, uint64_t *sequence)
{
	const struct writeback *writeback = &inode->cache->writeback;
	unsigned looks = 0;
	void *entry;

	*sequence = 0;
	tree_lock(&inode->tree);
	while (index <= last &&
		(entry = tree_next_marked_locked(&inode->tree, &index, last, TREE_DIRTY))) {
		const struct folio *folio = entry_folio(entry);
		uint64_t of = writeback->sequence[pool_page(&inode->cache->pool, folio)];

		if (of > *sequence)
			*sequence = of;
		index = folio_next_index(folio);
		if (++looks % LOG_LOOKS == 0) {
			tree_unlock(&inode->tree);
			tree_lock(&inode->tree);
		}
	}
	tree_unlock(&inode->tree);
	return looks > 0;
}

int log_pass(struct inode *inode, uint64_t first, uint64_t last, struct stats_shard *shard)
{
	struct writeback *writeback = &inode->cache->writeback;
	uint64_t sequence;
	int r;

	if (last > TREE_INDEX_MAX)
		last = TREE_INDEX_MAX;
	if (!writeback->before || !find_largest(inode, first, last, &sequence))
		return 0;
	r = log_await(writeback, sequence);
	FOLIO_PAUSE(log_written, NULL);
	if (r) {
		stats_add(shard, STAT_WRITE_ERRORS, 1);
		dirty_record_error(inode, -r);
	}
	return r;
}
