/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * types.h - the structs of a cache that point at each other: cache, inode, handle, eviction. Those
 * of write-back and syncs are in writeback.h.
 *
 * Each field belongs to one of four groups, which the comments name:
 *
 *   set at creation   constant while other threads can reach the struct; read without a lock
 *   guarded by X      plain; read and written only with lock X held
 *   atomic            folio_u32 and the like; the comment names the lock under which it is stored,
 *                     if there is one
 *   its own lock      a struct of core/, which documents its fields
 *
 * The order of the fields is the layout of the hit path: what a hit reads shares few cache lines,
 * and no line that is written on misses. Keep it.
 *
 * Lock order, outermost first. A thread that holds a lock takes only locks further down.
 *
 *   cache->resize_lock      changing the budget
 *   inode->detached         one detached call at a time for each file (cache/detach.c)
 *   cache->files_lock       opening and closing files
 *   file->streams.lock      read-ahead of one handle
 *   inode->append_lock      the end of the file: an append, a part of a write past the end, a
 *                           truncation
 *   inode->map_lock         which pages a file has: shared for a write and a sync, exclusive for
 *                           a truncation and a hole
 *   inode->size_lock        making the file longer
 *   inode->syncs.lock       which syncs have begun, and which have ended
 *   a folio, FOLIO_LOCKED   its contents; a writer by copy holds one such lock at a time, one in
 *                           place any number (write/inplace.c), a filler those of all folios that
 *                           it reads
 *   inode->attr_lock        what the operating system last reported of the file; taken inside a
 *                           fill that read fewer bytes than it expected
 *   inode->tree.lock        which folios are in the tree of one file
 *   cache->closed.lock      the lists of files that no handle has open
 *   cache->tree_budget.lock free nodes of trees
 *   cache->queues.turn      waiting for queues.lock behind another waiting thread
 *   cache->queues.lock      the eviction queues
 *   cache->writeback.lock   inodes with dirty folios, runs, errors
 *   cache->writeback.log    which calls of before_writeback have ended; not held during one
 *   cache->limbo.lock       folios that left their file while they were pinned (cache/limbo.c)
 *   pool: stock, lists      free pages (core/pool.c)
 *   cache->pins->lock       pins that the program has recorded (api/pins.c)
 *   a bucket of watches     requests that wait for one of a set of folios (core/watch.c)
 *   slot_waiters.lock       folio_queues that wait for a request slot
 *   folio_queue.lock        the requests of one queue (async/request.h)
 *
 * Nothing else is taken under cache->types_lock, nor under threads_lock of cache/thread.c (shards
 * of statistics) but blocks_lock of cache/publish.c, around a fork. folio_release takes only the
 * pool's locks: the last put of a folio may run on any thread, whatever else it holds.
 */
#ifndef FOLIO_SRC_CACHE_TYPES_H
#define FOLIO_SRC_CACHE_TYPES_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include <folio/cache.h>
#include <folio/io.h>
#include <folio/peek.h>

#include "core/folio.h"
#include "core/hash.h"
#include "core/pool.h"
#include "core/progress.h"
#include "core/queue.h"
#include "core/readahead.h"
#include "core/share.h"
#include "core/tree.h"
#include "cache/stats.h"
#include "cache/writeback.h"

/* Eviction: limits, and the evictor, the background thread that keeps pages free. */
struct evict {
	uint64_t budget; /* in pages; guarded by queues.lock */
	/*
	 * Atomic, stored under queues.lock: the pages of the budget that are not parked, and limits
	 * that follow from them (evict/limits.c).
	 */
	folio_u64 pages;
	folio_u64 floors;      /* pages: of all files together (evict/bounds.h) */
	folio_u64 floors_max;  /* what they may be */
	folio_u64 ghost_pages; /* a miss within so many evicted pages counts as a refault */
	folio_u64 once_pages;  /* pages of accesses that leave the hot set, before they go first */
	folio_u64 low;         /* free pages: below this the evictor starts */
	folio_u64 high;        /* free pages: here it stops */
	folio_u64 readahead;   /* pages that the windows of all streams may have (struct pace) */
	/*
	 * Largest order of a folio if the caller also accepts a smaller one: a single pinned page
	 * must not hold a large part of the budget.
	 */
	folio_u32 order_max;
	pthread_t thread; /* set at creation */

	/* Atomic. */
	_Alignas(64) folio_u64 clock; /* pages evicted so far; a shadow holds this value */
	folio_u64 once_clock;         /* clock when a page was last fetched that is to go first */
	folio_u32 wakeup; /* futex word of the evictor: 0 it sleeps or is about to, 1 it has work */
	folio_u32 stop;   /* 1: the evictor must end */
	folio_u32 started; /* futex word of evict_create: 1 the evictor runs */
	folio_u32 stuck;   /* 1: its last pass found everything pinned; do not wake it */
	folio_u32 trust;   /* of REFAULT_TRUST pages that left the main queue, so many may return */
	folio_u32 trials;  /* sum of trust over such pages: which of them are tried */
	/*
	 * Of REFAULT_WHOLE: the part of the pages that the small queue may have, and its part of
	 * the pages evicted of late.
	 */
	folio_u64 small_share;
	folio_u64 small_evicted;
};

/* A type of folios: what happens to one when its last reference is dropped. */
struct type {
	const char *name;
	/* Called by the last put, on any thread: takes no lock but the pool's, does not block. */
	void (*release)(struct folio_cache *cache, struct folio *folio);
	/* Of a user-defined type: called by the reaper. */
	void (*program_release)(struct folio *folio, void *context);
	void *context;
};

/* Files that no handle has open, and whose pages stay (cache/closed.c). */
struct closed_files {
	uint64_t max; /* set at creation: folio_cache_params.closed_files_max */
	pthread_mutex_t lock;
	/* Guarded by lock. */
	struct inode_list kept;    /* they have pages; the one closed first comes first */
	struct inode_list emptied; /* their last page has left */
	uint64_t files;            /* in kept */
};

/* Folios that have left their file while a pin of them was published (cache/limbo.c). */
struct limbo {
	pthread_mutex_t lock;
	uint32_t first;   /* guarded by lock: linked by next, page numbers; POOL_NONE: none */
	bool unordered;   /* guarded by lock: some have had no barrier since they were erased */
	folio_u32 folios; /* atomic, stored under lock */
};

/* A folio_queue whose requests wait for a request slot (cache/inflight.h). */
struct slot_waiter {
	void (*freed)(struct slot_waiter *waiter); /* set at creation */
	/* Guarded by slot_waiters.lock. */
	struct slot_waiter *next;
	struct slot_waiter **link; /* the pointer that points to this one; NULL: it does not wait */
};

struct slot_waiters {
	pthread_mutex_t lock;
	struct slot_waiter *first; /* guarded by lock */
	folio_u32 count;           /* atomic, stored under lock */
};

struct folio_cache {
	/* Set at creation. */
	uint64_t id;      /* unique in the process, never reused */
	uint64_t process; /* generation of the process, counted along forks */
	const struct folio_io_ops *io;
	void *io_context;
	uint32_t flags;                  /* FOLIO_CACHE_* */
	uint64_t readahead_wanted;       /* of the parameters, in pages; 0: by the budget */
	struct tree_budget tree_budget;  /* its own lock; the counters in it are atomic */
	struct stats_shard *shard_spare; /* shared by threads for which there was no memory */
	uint32_t timeout_ms;             /* limit of one call's waits; 0: none */
	bool io_runs;                    /* io_runs_requests(io) */

	/* Atomic. */
	/*
	 * Free request slots, with timeout_ms a futex word of slot_take; without it negative, if
	 * more requests were begun than the backend takes.
	 */
	folio_u32 request_slots;
	folio_u32 completion_queues; /* open folio_queues */
	folio_u32 readahead_pages;   /* the largest window; follows from the budget */
	folio_u64 readahead_clock;   /* pages used, as far as misses and marks tell (struct pace) */

	/* Each with its own lock or atomics. */
	struct pool pool;
	struct queues queues;
	struct progress progress;
	struct evict evict;
	struct writeback writeback;
	struct limbo limbo;
	struct slot_waiters slot_waiters;

	pthread_mutex_t files_lock;
	/* Guarded by files_lock. */
	struct hash inodes;          /* the key is inode_key (cache/inode.c) */
	struct inode *inodes_free;   /* of files that are closed: see struct inode */
	uint64_t files_open;         /* handles */
	pthread_cond_t files_change; /* broadcast when confirming of an inode becomes false */
	struct closed_files closed;  /* its own lock */

	folio_u64 pages; /* atomic, stored under resize_lock: the budget, in frames of the pool */
	pthread_mutex_t resize_lock;
	uint32_t out; /* guarded by resize_lock: list of frames past the budget, a page number */

	pthread_mutex_t types_lock;
	folio_u32 types_count;         /* atomic: appended under types_lock, then published here */
	struct type type[FOLIO_TYPES]; /* constant below types_count */
	/* Guarded by types_lock. */
	bool reaper_running;
	pthread_t reaper;
	/* Atomic. */
	folio_ptr reaper_list;   /* frozen folios for the reaper, newest first */
	folio_u32 reaper_wakeup; /* futex word of the reaper: number of pushes */
	folio_u32 reaper_stop;   /* 1: the reaper must end */
	folio_u32 reaper_queued; /* folios pushed */
	folio_u32 reaper_done;   /* folios released; futex word of folio_reaper_drain */
	folio_u64 pages_private; /* pages that the program took with folio_alloc */
	/* Guarded by threads_lock of cache/thread.c. */
	struct stats_shard *shards;
	uint64_t ended[STATS]; /* counts of threads that have ended */

	folio_ptr pins; /* atomic, set once: see api/pins.c; NULL until the program records a pin */
	struct folio_io_ops program_io; /* set at creation: a copy of the program's backend */
};

/*
 * A file, shared by all handles that have it open, or closed, with pages that stay for the next
 * open (cache/closed.h). Its memory remains an inode until the cache is closed: an evictor that has
 * found it as the owner of a folio may still lock its tree, and learns under the lock that the
 * folio has another owner by now. So the tree stays initialized. The rest is set up again for the
 * next file.
 */
struct inode {
	struct tree tree; /* its own lock */
	/*
	 * Atomic. Read by every look-up. release/acquire: a thread that sees a larger size no
	 * longer finds the old last page. Grows under size_lock; is also stored with map_lock held
	 * exclusively (truncation) and, until write_handle is set, under attr_lock (revalidation).
	 */
	_Alignas(64) folio_u64 size;
	/*
	 * Atomic. Size of the backend's file, which reads as empty past it; read by every fill.
	 * UINT64_MAX until write_handle is set; from then on stored under the tree's lock.
	 */
	folio_u64 disk_size;
	/*
	 * Atomic. 1: the program has pinned a page since the file was opened. Stored by the first
	 * pin.
	 */
	folio_u8 pinned;
	/* Set at creation. */
	struct folio_cache *cache;
	void *handle; /* of the backend; NULL while the file is closed */
	uint64_t device;
	uint64_t number;
	struct writeback_device *backing; /* what write-back knows of the device */
	/* Guarded by the cache's files_lock. */
	uint64_t opens;       /* handles */
	uint64_t open_number; /* set at the first open: larger than those of files opened before */
	uint64_t opening;     /* of those, in an open with O_TRUNC that may still fail */
	struct spare *spares; /* other handles of the backend (cache/inode.c) */
	bool confirming;      /* confirm_written runs: no thread opens the file */
	/*
	 * Atomic (inode_write_handle). Handle of the backend, from the first open for writing;
	 * set once, under files_lock and attr_lock. From then on the cache owns the file: the size
	 * is the cache's, and the operating system is no longer queried.
	 */
	folio_ptr write_handle;
	folio_u64 writable_to; /* atomic: the file can take writes up to here (write/limit.h) */
	pthread_mutex_t append_lock;
	pthread_rwlock_t map_lock;
	pthread_mutex_t size_lock;
	struct syncs syncs; /* its own lock */
	folio_u64 pages;    /* atomic, stored under the tree's lock: pages in the tree */
	/* Guarded by the tree's lock. */
	struct flights flights;
	uint64_t writeback_fence; /* from this page on, being truncated or punched: not written */
	/*
	 * The smallest sequence number of what was written: since the last sync of the device
	 * began; before that, and it has not ended; and before the end of one that failed, or
	 * later. 0: none.
	 */
	uint64_t unsynced;
	uint64_t syncing;
	uint64_t never_synced;
	/*
	 * Threads in log_oldest; and the smallest number of what a file system has lost, while
	 * confirm_written makes its pages dirty. 0: none.
	 */
	struct log_look *looks;
	uint64_t lost_first;
	bool unconfirmed;   /* written since confirm_written has begun last */
	bool flush_failed;  /* confirm_written has found that data was lost */
	bool unmarked;      /* a change in place was refused: the file will never have it */
	bool changed;       /* the cache has changed the file, or may have, since the open */
	bool closed;        /* no handle has it open; in a list of cache->closed */
	struct share share; /* of dirty pages and of runs, in the device's; atomic */
	/*
	 * Atomic, stored together under queues.lock: bounds of the file, in pages; 0: none
	 * (evict/bounds.h).
	 */
	folio_u64 floor;
	folio_u64 ceiling;
	uint64_t hand; /* guarded by queues.lock: the page at which the ceiling's hand is */
	/* Guarded by writeback.lock. */
	struct inode *dirty_next;    /* in a list of its device */
	struct inode **dirty_link;   /* the pointer that points to this inode */
	struct timespec dirty_since; /* when it was listed, CLOCK_MONOTONIC_COARSE */
	uint64_t dirty_pass;         /* a pass of its device that has still to visit it, or 0 */
	uint64_t dirty_visits;       /* visits of the flusher that have ended */
	uint64_t dirty_index;        /* page at which a visit continues; 0: none has begun */
	folio_u32 dirty_listed;      /* atomic, stored under that lock: DIRTY_* */
	folio_u32 dirty_wanted;      /* likewise: 1: its list is DIRTY_WANTED, or will be */
	uint32_t errors;             /* write-backs that failed */
	int error;                   /* errno of the last of them */
	int lost; /* errno of a failed sync: the state of earlier writes is unknown */
	/*
	 * Atomic. 1: a detached call runs, or its caller still waits for it (detach_call). Futex
	 * word of threads that wait for their turn.
	 */
	folio_u32 detached;
	pthread_mutex_t attr_lock;
	/* Guarded by attr_lock: the file as the operating system last reported it. */
	uint64_t attr_size;
	int64_t attr_mtime_sec;
	uint32_t attr_mtime_nsec;
	uint32_t attr_ctime_nsec;
	int64_t attr_ctime_sec;
	bool attr_recent; /* another change may leave the same times (revalidate_is_recent) */
	/* Guarded by the cache's files_lock. */
	struct inode *next_free;        /* after the last close */
	struct folio_io_attr *identity; /* of a closed file: what identity_attr reported */
	/* Guarded by the lock of cache->closed, while the file is in one of its lists. */
	struct inode *closed_next;
	struct inode **closed_link; /* the pointer that points to this inode */
	/*
	 * Atomic. Requests in flight for which no caller waits; INODE_CLOSING while a thread waits
	 * for zero. See cache/inflight.h.
	 */
	_Alignas(64) folio_u32 fills;
};

/* A handle. */
struct folio_file {
	/* Set at creation: all that a hit needs in addition to the inode's tree and size. */
	struct inode *inode;
	struct folio_view view; /* also for peeks; see entry_version in read/lookup.h */
	struct folio_cache *cache;
	uint64_t cache_id;
	bool writable;
	uint32_t reported; /* guarded by writeback.lock: how many of inode->errors were reported */
	struct streams streams; /* its own lock */
	folio_u32 requests;     /* atomic: of folio_queues, in flight */
};

#endif
