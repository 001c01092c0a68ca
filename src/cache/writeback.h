/* SPDX-License-Identifier: BSD-2-Clause */
/* writeback.h - the structs of write-back: runs, devices, the flusher, syncs. See types.h. */
#ifndef FOLIO_SRC_CACHE_WRITEBACK_H
#define FOLIO_SRC_CACHE_WRITEBACK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include <folio/atomic.h>
#include <folio/io.h>

#include "core/share.h"

struct folio;
struct inode;

#define WRITEBACK_FOLIOS FOLIO_IO_IOV_MAX /* in one run, at most */
#define WRITEBACK_PAGES  256              /* a run that has so many takes no further folio */
#define WRITEBACK_RUNS   64 /* of a cache; allocated at open: write-back needs no memory later */

/* Sequence numbers of changes to a folio that no write-back has, or, in a run, that it has. */
struct sequences {
	uint64_t first; /* the smallest, for folio_file_oldest_sequence; 0: none has a number */
	uint64_t last;  /* the largest, for before_writeback */
};

/* The smaller of two numbers of which 0 is none. */
static inline uint64_t sequence_first(uint64_t a, uint64_t b)
{
	return !a || (b && b < a) ? b : a;
}

/*
 * One write of write-back: adjacent folios of one file. A run on the free list is guarded by
 * writeback.lock. A run in use belongs to the thread that took it, and from submit on to the
 * completion of the request.
 */
struct writeback_run {
	struct folio_io_request request;
	struct inode *inode;
	folio_u32 *pending; /* counter of the thread that waits for the run; NULL: of the flusher */
	uint32_t parity;    /* of a run of the flusher: device->parity when it began */
	struct writeback_run *next; /* on the free list */
	uint64_t bytes;
	uint64_t pages;
	struct sequences sequences; /* of all its folios */
	uint32_t count;             /* of iov and folio */
	uint32_t copies;            /* of iov, those that are bounce frames (write/bounce.h) */
	bool here; /* the thread that waits for it writes it: *pending does not count it */
	/* Guarded by the lock of the inode's tree: its place in inode->flights. */
	uint64_t number;
	struct writeback_run *earlier, *later;
	struct iovec iov[WRITEBACK_FOLIOS];
	struct folio *folio[WRITEBACK_FOLIOS];
	struct sequences of[WRITEBACK_FOLIOS]; /* if the write fails, the folio's again */
};

/*
 * The runs of a file in flight, in the order in which they were collected, so that a thread can
 * wait for those that had begun at a moment. Guarded by the lock of the file's tree.
 */
struct flights {
	uint64_t begun; /* number of the last run that was collected */
	struct writeback_run *first, *last;
	bool awaited;    /* a thread waits for the first one */
	folio_u32 ended; /* atomic, futex word of such threads; changes when the first one ends */
};

/* A list of inodes, in the order in which they were listed. */
struct inode_list {
	struct inode *first;
	struct inode **last; /* the pointer at which the next one is stored */
};

enum inode_list_id {
	DIRTY_BY_AGE, /* visited in a pass, and when they are old */
	DIRTY_WANTED, /* to be visited now */
	DIRTY_LISTS
};

/*
 * What write-back knows of a device. It exists while an inode has it. The flusher makes passes over
 * it; write/flusher.c has the protocol.
 */
struct writeback_device {
	/* Set at creation. */
	struct folio_cache *cache;
	uint64_t number; /* folio_io_attr.device */
	/* Atomic. */
	struct share share; /* of dirty pages and of runs, in the cache's */
	folio_u32 wanted;   /* 1: the flusher must begin a pass */
	/* Guarded by writeback.lock. The list also changes under files_lock only. */
	struct writeback_device *next;
	struct writeback_device **link; /* the pointer that points to this device */
	uint64_t inodes;
	struct inode_list list[DIRTY_LISTS];
	/* Passes begun and ended: they differ by one during a pass. */
	uint64_t begun;
	uint64_t ended;
	uint64_t unvisited;  /* inodes that the present pass has still to visit */
	bool visited;        /* it has visited all, and waits for its runs */
	uint32_t parity;     /* of the flusher's runs that begin now; changes with visited */
	uint32_t pending[2]; /* by parity: runs of the flusher in flight */
};

/*
 * The syncs of a file. Threads that sync all pages at the same time are one round, in which one of
 * them does the work for all; write/sync.c has the protocol.
 */
struct syncs {
	pthread_mutex_t lock;
	/* Guarded by lock. Syncs of the device, numbered from 1: begun and ended. */
	uint64_t begun;
	uint64_t ended;
	pthread_cond_t change[2]; /* [n & 1]: sync n has ended, or a waiting thread must begin it */
	bool full_wanted;         /* the next one must not be FOLIO_IO_DATA_ONLY */
	/* Rounds, numbered from 1: begun; and the last one that is done, as are all before it. */
	uint64_t rounds;
	uint64_t rounds_done;
	pthread_cond_t round_change[3]; /* [n % 3]: round n is done, or may begin */
	int round_result[3];            /* likewise */
	uint64_t full_round; /* the last one in which a thread wants more than the data */
	folio_u32 callers;   /* atomic, a hint: threads that sync all pages */
};

/* Frames for copies of pages; write/bounce.h. Guarded by writeback.lock. */
struct bounce {
	/* Set at creation. */
	char *memory;
	uint32_t count;
	char **free; /* array of count; the first free_count are frames */
	uint32_t free_count;
};

struct log_wait;

/* The calls of before_writeback, which threads share; write/log.c has the protocol. */
struct log_calls {
	pthread_mutex_t lock;
	pthread_cond_t change; /* broadcast when a call has ended */
	/* Guarded by lock. */
	bool calling;
	uint64_t sequence;           /* of the call in progress */
	struct log_wait *now, *next; /* threads that wait for it; for the next one */
	/*
	 * Atomic, stored under lock: the largest number for which before_writeback has returned 0.
	 */
	folio_u64 logged;
};

/* Write-back, and the flusher, the background thread that does it. */
struct writeback {
	/* Set at creation. */
	uint64_t pages_wanted; /* folio_cache_params.dirty_bytes, in pages; 0: by the budget */
	uint64_t runs_max;     /* in use at once; io_depth may allow fewer than there are */
	uint32_t age_ms;       /* files dirty for longer are written; UINT32_MAX: never by age */
	int (*before)(void *context, uint64_t sequence); /* before_writeback, or NULL */
	void *before_context;
	/*
	 * Of the folio that begins at each page frame: what is not being written yet. Guarded by
	 * the lock of the tree that has it; NULL without before.
	 */
	struct sequences *sequences;
	struct log_calls log; /* its own lock */

	/* Atomic. */
	folio_u64 pages_max;       /* dirty at most */
	folio_u64 period;          /* of shares; stored under lock (run_put) */
	struct share share;        /* dirty pages, changed under a tree's lock, and runs */
	folio_u64 pages_in_flight; /* of the dirty pages, those being written back */
	folio_u32 wakeup;          /* futex word of the flusher: WAKE_* */
	folio_u32 stop;            /* 1: the flusher must end */

	pthread_mutex_t lock;
	/*
	 * Broadcast when a run becomes free, when current or pages_max changes, and when a pass
	 * ends.
	 */
	pthread_cond_t change;
	/* Guarded by lock, as are the errors of an inode, its place in the list, file->reported. */
	struct writeback_run *runs; /* array of WRITEBACK_RUNS; set at creation */
	struct writeback_run *free;
	struct bounce bounce;
	struct writeback_device *devices;
	struct inode *current; /* the inode that the flusher works on now, or NULL */
	bool blocked; /* the flusher found no run for an inode: the next free one wakes it */
	uint64_t pages_written; /* in this period */
	/* Guarded by the cache's files_lock. */
	bool running;
	pthread_t thread;
};

#endif
