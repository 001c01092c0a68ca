/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * log.h - the log goes first: before_writeback is called before folios are written.
 *
 * A pass is what one call writes of a file, or one visit of the flusher. It first calls log_pass,
 * with no lock held and before any folio is in write-back: that finds the largest sequence number
 * of the pages that the pass is to write, and calls before_writeback with it, once. The pass then
 * writes only folios whose number is not larger than writeback->log.logged, the largest one for
 * which before_writeback has returned 0 (collect, write/writeback.c). A folio that was marked with
 * a larger one in the meantime is left for the next pass.
 *
 * Threads share the calls. What a call in progress will have logged is awaited. For the others that
 * wait, one of them makes the next call, with the largest number of all.
 *
 * models/spin/log.pml is the model.
 */
#ifndef FOLIO_SRC_WRITE_LOG_H
#define FOLIO_SRC_WRITE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "cache/types.h"

void log_init(struct log_calls *log);
void log_destroy(struct log_calls *log);

/*
 * Returns when before_writeback has returned 0 for @sequence or a larger number; or its error.
 * Number 0 is that of pages which were given none: a call that begins from now on counts, whatever
 * its number. The cache has before_writeback. The caller holds no lock that the program may wait
 * for.
 */
int log_await(struct writeback *writeback, uint64_t sequence);

/* What a pass writes: the dirty folios of some pages. */
struct pass {
	uint64_t first, last; /* the pages */
	uint64_t upto; /* only folios with a change of a number up to this one; 0: all folios */
};

/* A pass over all pages. */
static const struct pass pass_all = {.last = TREE_INDEX_MAX};

/* A pass over pages @first .. @last, which may be UINT64_MAX. */
static inline struct pass pass_of(uint64_t first, uint64_t last)
{
	return (struct pass){.first = first, .last = last < TREE_INDEX_MAX ? last : TREE_INDEX_MAX};
}

/*
 * Begin a pass: log_await with the largest number of its dirty folios, if there are any, and if the
 * cache has before_writeback. Returns 0, or the error, which has been recorded
 * (dirty_record_error): then the caller writes nothing.
 */
int log_pass(struct inode *inode, const struct pass *pass, struct stats_shard *shard);

/* Does the pass write a folio with these numbers? */
static inline bool pass_has(const struct pass *pass, struct sequences number)
{
	return !pass->upto || (number.first && number.first <= pass->upto);
}

/*
 * The smallest number of the file that may not be durable: its page is dirty or in write-back, or
 * no sync of the device that began after its write has succeeded. 0: there is none.
 */
uint64_t log_oldest(struct inode *inode);

/*
 * Folios become dirty again, with numbers from @first on: threads in log_oldest may have passed
 * them. The caller has the tree locked.
 */
void log_returned_locked(struct inode *inode, uint64_t first);

/*
 * A sync of the device begins, and ends; for write/sync.c. Without @success, it has failed, or one
 * before it: that has taken the errors of all writes that were in progress by then.
 */
void log_sync_begun(struct inode *inode);
void log_sync_ended(struct inode *inode, bool success);

/* Have the changes of a folio with that number been logged? */
static inline bool log_allows(const struct writeback *writeback, uint64_t sequence)
{
	/* acquire: pairs with call_log. */
	return sequence <= folio_u64_load_acquire(&writeback->log.logged);
}

#endif
