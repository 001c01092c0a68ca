/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * writeback.h - dirty folios, and their way to the file.
 *
 * A dirty folio has FOLIO_DIRTY, the tree's mark and a reference of its own; so eviction cannot freeze it, and nobody
 * has to ask. Flag and mark change together, under the tree's lock:
 *
 *   good -> dirty        writeback_mark_locked      by who has the folio locked
 *   dirty -> writeback   a run is collected         not while somebody has it locked
 *   writeback -> good    the write has ended        the reference is dropped
 *   writeback -> dirty   the write has failed       the reference stays
 *   dirty -> gone        writeback_forget_locked    truncated, or given up at close
 *
 * Under FOLIO_WRITEBACK nobody gets the folio's lock: what is on its way stays as it is (stable pages).
 *
 * Errors. Each inode counts the write-backs that failed; each handle remembers the count that it was told of. A sync
 * tells whoever has not been told, and whoever saw the count change while it ran. The folio stays dirty, so that the next
 * write-back tries again.
 */
#ifndef FOLIO_SRC_WRITEBACK_H
#define FOLIO_SRC_WRITEBACK_H

#include <pthread.h>

#include "folio.h"
#include "stats.h"

struct folio_cache;
struct inode;

/* One write: folios side by side in one file. */
#define WRITEBACK_FOLIOS FOLIO_IO_IOV_MAX
#define WRITEBACK_PAGES  256
/* In flight or being collected, in a cache; there for good, so that write-back needs no memory. */
#define WRITEBACK_RUNS   64

struct writeback_run {
	struct folio_io_request request;
	struct inode *inode;
	folio_u32 *pending; /* of who waits for it */
	struct writeback_run *next;
	uint64_t bytes, pages, sequence;
	uint32_t count;
	struct iovec iov[WRITEBACK_FOLIOS];
	struct folio *folio[WRITEBACK_FOLIOS];
};

struct writeback {
	/* Set at creation. */
	uint64_t pages_wanted; /* folio_cache_params.dirty_bytes, in pages */
	uint32_t age_ms;
	int (*before)(void *context, uint64_t sequence);
	void *before_context;
	uint64_t *sequence; /* by page frame; NULL without before */

	/* Dirty pages at which writers wait; from half of it on they wake the thread. Follows from the budget. */
	folio_u64 pages_max;
	folio_u64 pages; /* dirty, or on their way */
	folio_u64 pages_under_way;
	folio_u32 wakeup; /* futex word of the thread: 1 there is a reason to write all */
	folio_u32 stop;

	pthread_mutex_t lock; /* guards what follows, and errors of inodes */
	pthread_cond_t change;
	struct writeback_run *runs, *free;
	struct inode *first,
		**last; /* inodes with dirty folios, in the order of when they had the first */
	struct inode *current; /* the one that the thread is at */
	uint64_t walks;        /* of the thread through the list */
	uint64_t begun, ended; /* of those, the ones through all of it */
	int pass_error;        /* of the last pass */
	folio_u32 pending;     /* runs of the thread in flight */
	bool running;
	pthread_t thread;
};

int writeback_create(struct folio_cache *cache, const struct folio_cache_params *params);
void writeback_destroy(struct folio_cache *cache);
/* The budget is @pages from now on. */
void writeback_set_budget(struct folio_cache *cache, uint64_t pages);
/* At the first open for writing. 0 or -ENOMEM. */
int writeback_start(struct folio_cache *cache);

/* The folio that the caller has locked, and whose inode's tree is locked, becomes dirty, unless it is. */
void writeback_mark_locked(struct inode *inode, struct folio *folio);

/*
 * A folio is being erased from the tree, whose lock is held. Returns true when it was dirty: the caller drops that
 * reference, too, after he has let go of the lock. It is not on its way to the file.
 */
bool writeback_forget_locked(struct inode *inode, struct folio *folio);

/* Pages are wanted and dirty ones stand in the way: let the thread write. The caller may wait for evict's busy then. */
void writeback_kick(struct folio_cache *cache);

/* Before a write: slow the caller down where much is dirty. 0, or the error for which nothing gets less, or -ETIMEDOUT. */
int writeback_throttle(
	struct folio_cache *cache, const struct timespec *until, struct stats_shard *shard);

/*
 * Write the dirty folios of pages first .. last that are not locked and wait for them, and for those that were on
 * their way; with @settle also for those that are locked.
 */
void writeback_flush(struct inode *inode, uint64_t first, uint64_t last, struct stats_shard *shard);

/* Write all of the inode. 0, or an error if something is dirty still. */
int writeback_clean(struct inode *inode, struct stats_shard *shard);

/* Wait for what is on its way of pages first .. last. */
void writeback_wait(struct inode *inode, uint64_t first, uint64_t last);

/* Is one of the pages first .. last dirty? */
bool writeback_is_dirty(struct inode *inode, uint64_t first, uint64_t last);

/* How many write-backs of the inode have failed. */
uint32_t writeback_errors(struct inode *inode);

/* The device did not sync what it has taken: which of it is there nobody knows any more, and each sync says so. */
void writeback_lose(struct inode *inode, int error);

/*
 * What a sync returns that began at @begin: 0, or the last error where write-backs have failed that *told does not
 * count, or since @begin; or what writeback_lose said.
 */
int writeback_tell(struct inode *inode, uint32_t begin, uint32_t *told);

/* Nobody marks folios of it any more: out of the thread's list. Waits for the thread; without @wait false if it would. */
bool writeback_leave(struct inode *inode, bool wait);
/* Wait until the thread is not at the inode, or until @until. */
void writeback_pass(struct inode *inode, const struct timespec *until);

#endif
