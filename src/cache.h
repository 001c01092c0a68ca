/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cache.h (inside) - what the rooms of a cache share: the cache itself, its files, a fill in flight.
 *
 * Lock order, outermost first. A thread that holds one takes only what stands below it.
 *
 *   cache->resize_lock      the budget
 *   cache->files_lock       opening and closing of files
 *   file->streams.lock      one handle's read-ahead
 *   inode->late             the turn of a call that may go on by itself (wait.c)
 *   inode->map_lock         which pages a file has: shared by who writes, alone who truncates or punches
 *   inode->size_lock        who makes the file longer
 *   inode->sync_lock        asking the device to sync
 *   inode->attr_lock        what the system last said of a file
 *   a folio, FOLIO_LOCKED   its contents; one at a time
 *   inode->tree.lock        what is where in one file
 *   cache->evict.turn       who waits for the queues behind another who does
 *   cache->evict.lock       the queues
 *   cache->writeback.lock   inodes with dirty folios, runs, errors
 *   pool: stock, lists      free pages (pool.c)
 *   cache->pins->lock       what the program told of its pins (pins.c)
 *   thread.c's lock         shards of statistics; taken with none of the above
 *
 * A release (folio_release) takes the pool's locks only.
 */
#ifndef FOLIO_SRC_CACHE_H
#define FOLIO_SRC_CACHE_H

#include <string.h>

#include <folio/cache.h>

#include "evict.h"
#include "grace.h"
#include "pool.h"
#include "readahead.h"
#include "thread.h"
#include "tree.h"
#include "writeback.h"

#define CACHES_MAX 64

struct type {
	const char *name;
	/* Called by the winner of the last put, on any thread: no lock but the pool's, no blocking. */
	void (*release)(struct folio_cache *cache, struct folio *folio);
	/* A program's own: called by the reaper. */
	void (*program_release)(struct folio *folio, void *context);
	void *context;
};

struct folio_cache {
	/* Set at creation, never changed. */
	uint64_t id;      /* never used twice in a process */
	uint64_t process; /* which process, counted along forks */
	const struct folio_io_ops *io;
	void *io_context;
	uint32_t flags;
	uint64_t readahead_wanted; /* the program's, pages; 0: by the budget */
	struct tree_budget tree_budget;
	struct stats_shard *shard_spare; /* of threads for which no memory was left */
	uint32_t timeout_ms;             /* for which a call waits; 0: for ever */
	folio_u32 room; /* with timeout_ms: requests that the backend takes without waiting */

	folio_u32 readahead_pages; /* largest window; follows from the budget */

	struct pool pool;
	struct evict evict;
	struct writeback writeback;

	pthread_mutex_t files_lock;
	struct inode *inodes; /* guarded by files_lock */
	uint64_t files_open;  /* guarded by files_lock */

	folio_u64
		pages; /* the budget: of the pool's, those that are in use; changed under resize_lock */
	pthread_mutex_t resize_lock;
	uint32_t out; /* of the pool's, the rest: a list, guarded by resize_lock */

	/* A program's types: appended under types_lock, then published by types_count. */
	pthread_mutex_t types_lock;
	folio_u32 types_count;
	struct type type[FOLIO_TYPES];
	bool reaper_running; /* guarded by types_lock */
	pthread_t reaper;
	folio_ptr reaper_list;   /* folios frozen and to be released, newest first */
	folio_u32 reaper_wakeup; /* futex word: number of pushes */
	folio_u32 reaper_stop;
	folio_u32 reaper_queued;
	folio_u32 reaper_done; /* futex word of who waits for the list to be empty */

	folio_u64 pages_private;

	/* Guarded by thread.c's lock. */
	struct stats_shard *shards;
	uint64_t ended[STATS]; /* counts of threads that ended */

	folio_ptr pins; /* of a program that tells of them (pins.c); NULL until it does */
};

/* A file, once for all who have it open. Freed after a grace period: eviction finds it through a folio. */
struct inode {
	struct tree tree;
	/* Read by every look-up. release/acquire: who sees a larger size finds the old last page gone. */
	_Alignas(64) folio_u64 size;
	/*
	 * Bytes that the backend's file has, behind which it reads as nothing; read by every fill. Stored under the tree's lock, or
	 * map_lock alone.
	 */
	folio_u64 disk_size;
	folio_u8
		hint_shift; /* bytes to hints: one for each page, or one for each 64 pages; see inode_count */
	/* Set at creation. */
	struct folio_cache *cache;
	void *handle; /* the backend's */
	uint64_t device, number;
	uint64_t hint_start; /* where in the hints the file begins */
	/* Guarded by the cache's files_lock. */
	struct inode *next;
	uint64_t opens;
	/*
	 * The backend's, of the first who opened it for writing; set under files_lock, once. From then on the file is the cache's:
	 * its size is what the cache says, and nobody asks the system.
	 */
	void *write_handle;
	pthread_rwlock_t map_lock;
	pthread_mutex_t size_lock;
	pthread_mutex_t sync_lock; /* one at a time asks the device: it tells of an error once */
	/* Guarded by the tree's lock: pages in the tree, in folios of 64 pages and more, and in smaller ones. */
	uint64_t pages_large, pages_small;
	uint64_t pages_dirty; /* dirty or on their way; likewise */
	uint64_t
		gate; /* pages from here on are not written back: they are being truncated, or punched; likewise */
	/* writeback.c; guarded by its lock. */
	struct inode *dirty_next;
	struct timespec dirty_since;
	uint64_t dirty_walk; /* the thread's last walk that came by */
	folio_u32 dirty_listed;
	uint32_t errors; /* write-backs that failed */
	int error;       /* the last one's errno */
	int lost; /* errno of a failed sync: what was written before it is not known to be there */
	/* 1: a call goes on by itself, or its caller still waits for it (late_call); futex word of who wants to be next. */
	folio_u32 late;
	/* Guarded by attr_lock: what the system last said. */
	pthread_mutex_t attr_lock;
	uint64_t attr_size;
	int64_t attr_mtime_sec;
	uint32_t attr_mtime_nsec;
	struct grace_head grace;
	/* Reads and writes in flight that no caller waits for by itself; INODE_CLOSING when somebody waits for zero. */
	_Alignas(64) folio_u32 fills;
};

#define INODE_CLOSING UINT32_C(0x80000000)

struct folio_file {
	/* Set at creation: all that a hit needs beside the inode's tree and size. */
	struct inode *inode;
	struct folio_cache *cache;
	uint64_t cache_id;
	bool writable;
	uint32_t told; /* of the inode's errors; guarded by the lock of writeback */
	struct folio *folios;
	char *data;
	folio_u32 *hint;
	uint64_t hint_mask;
	uint64_t hint_start; /* the inode's */

	struct streams streams;
};

/* Folios that one read of the backend fills; a part of one file without a gap. */
#define FILL_FOLIOS    FOLIO_IO_IOV_MAX
/* One request at most: several of them keep the device busy side by side. */
#define FILL_PAGES_MAX 256

struct fill {
	struct folio_io_request request;
	struct inode *inode;
	uint64_t disk_size; /* the inode's, when it began */
	uint32_t count;
	uint64_t pages;
	struct iovec iov[FILL_FOLIOS];
	struct folio *folio[FILL_FOLIOS];
};

/* The caches of this process by the number that their descriptors carry. A child of fork begins with none. */
extern folio_ptr cache_table[CACHES_MAX];

/* Of a folio of this process. (In a child, a folio of the parent's may have the number of another, or of none.) */
static inline struct folio_cache *cache_of(const struct folio *folio)
{
	return (struct folio_cache *)folio_ptr_load_relaxed(&cache_table[folio->pool]);
}

/* folio.c */

void folio_types_init(struct folio_cache *cache);
/* Wait until all that was queued for the reaper is released. */
void folio_reaper_drain(struct folio_cache *cache);
void folio_types_destroy(struct folio_cache *cache);

/* pins.c: forget what the program told. */
void pins_destroy(struct folio_cache *cache);

/* The budget is @pages from now on: cache->readahead_pages. */
void cache_set_readahead(struct folio_cache *cache, uint64_t pages);

/* resize.c: as folio_cache_resize, with the number of pages checked. Unless @touched what is taken out never had memory. */
int resize_pages(
	struct folio_cache *cache, uint64_t pages, bool touched, struct stats_shard *shard);

/*
 * wait.c: calls that end in time. Where folio_cache_params.timeout_ms is set, a call has a point of time, until (NULL: none; for what that
 * means see futex.h), and each wait for the device, or for somebody who may be waiting for it, ends there.
 */
static inline const struct timespec *wait_limit(
	const struct folio_cache *cache, struct timespec *until)
{
	if (likely(!cache->timeout_ms))
		return NULL;
	clock_gettime(CLOCK_MONOTONIC, until);
	until->tv_sec += cache->timeout_ms / 1000;
	until->tv_nsec += (long)(cache->timeout_ms % 1000) * 1000000;
	if (until->tv_nsec >= 1000000000) {
		until->tv_sec++;
		until->tv_nsec -= 1000000000;
	}
	return until;
}

/* What cannot be left half done: with until it is done by a thread of its own, which goes on when nobody waits any more. */
struct late_args {
	uint64_t first, last;
	unsigned flags;
};
/* Returns what @call does; with @until -ETIMEDOUT: it goes on, or was not begun, since one on the same file goes on; -ENOMEM. */
int late_call(struct folio_file *file,
	int (*call)(
		struct folio_file *file, const struct late_args *args, struct stats_shard *shard),
	const struct late_args *args, const struct timespec *until, struct stats_shard *shard);

/*
 * Room for one more request, so that submit does not wait. False: there is none, by @until if @wait. With timeout_ms only;
 * without it submit may wait.
 */
bool room_take(struct folio_cache *cache, bool wait, const struct timespec *until);
void room_give(struct folio_cache *cache);

/* inode.c */

/*
 * Open @path with the backend and find or make its inode, which counts as one more file that is open. Takes the cache's files_lock.
 * inode_put is called with it held, and drops the pages when nobody has the file open any more.
 */
int inode_get(struct folio_cache *cache, const char *path, int flags, mode_t mode,
	struct stats_shard *shard, struct inode **inode);
void inode_put(struct inode *inode, struct stats_shard *shard);
/* Wait until what nobody waits for has ended: it goes through the handle. Or until @until. */
void inode_drain(struct inode *inode, const struct timespec *until);

/*
 * I/O in flight that the inode has to outlive. The inode may be gone after the end; its address is good enough to wake
 * who waits, and a wake for nobody harms nobody (futex.h).
 */
static inline void inode_io_begin(struct inode *inode)
{
	folio_u32_fetch_add_relaxed(&inode->fills, 1);
}

void inode_io_end(struct inode *inode);

/*
 * Take a folio out of @inode's tree: erased, no owner, out of the queues. The caller holds the tree's lock and
 * knows that the folio is in the tree; he drops the tree's reference after he has let go of the lock (R4).
 */
void inode_erase_locked(struct inode *inode, struct folio *folio);

/*
 * A folio comes into the tree, whose lock the caller holds, or leaves it (@pages is negative). Chooses how far apart the
 * file's hints are: where most pages are in large folios, a hint for each 64 pages says as much, and the hints
 * that are in use fit into the CPU's first caches.
 *
 * Hints from before a change are useless, and each is made anew by the first who misses it. So where there are about as
 * many of the one as of the other, it stays as it is: between two changes a sixth of the pages have to come or go,
 * which costs more than the hints.
 */
#define HINT_ORDER 6
static inline void inode_count_locked(struct inode *inode, const struct folio *folio, int64_t pages)
{
	uint8_t shift = folio_u8_load_relaxed(&inode->hint_shift);

	if (folio->order >= HINT_ORDER)
		inode->pages_large += (uint64_t)pages;
	else
		inode->pages_small += (uint64_t)pages;
	if (inode->pages_large > 2 * inode->pages_small)
		shift = FOLIO_PAGE_SHIFT + HINT_ORDER;
	else if (inode->pages_large < inode->pages_small)
		shift = FOLIO_PAGE_SHIFT;
	if (folio_u8_load_relaxed(&inode->hint_shift) != shift)
		folio_u8_store_relaxed(&inode->hint_shift, shift);
}

/* The word that says where the page at @offset is; @start: the inode's hint_start. */
static inline uint64_t hint_at(const struct inode *inode, uint64_t start, uint64_t offset)
{
	return start + (offset >> (folio_u8_load_relaxed(&inode->hint_shift) & 63));
}

/* Drop the pages first .. last, but for what is dirty, or on its way to the file. */
void inode_invalidate(
	struct inode *inode, uint64_t first, uint64_t last, struct stats_shard *shard);

/*
 * Drop the pages first .. last, also what is dirty, when what is on its way to the file has ended. Returns false if a dirty folio
 * was left because it reaches out of the range.
 */
bool inode_discard(struct inode *inode, uint64_t first, uint64_t last, struct stats_shard *shard);

/*
 * Make a large folio smaller ones, by halves, so that page @index is alone. The caller has it pinned and locked, and has the lock
 * and a pin on the first of them afterwards. False: it is pinned by others, dirty, or has left its file; then it is as it was.
 */
bool inode_split(struct inode *inode, struct folio *folio, uint64_t index);

/*
 * Ask the system for size and time of change; drop what is stale. With @growth_only the time of change does not
 * matter, and only the old last page is dropped when the file grew. Returns 1 when something had changed, 0, -errno.
 */
int inode_revalidate(struct inode *inode, bool growth_only, struct stats_shard *shard);

/* file.c: for who writes. */

/*
 * The folio that has page @index, good, with a reference, and the caller counted as busy; filled if it was not there. @pages: how many
 * are wanted from there on. Errors as folio_file_get_page's, -FILL_ENDED behind the end.
 */
int file_get(struct folio_file *file, uint64_t index, uint64_t pages, const struct timespec *until,
	struct stats_shard *shard, struct folio **folio);
/* The same, but only if it is there, good or not. NULL: not there; -EOVERFLOW in *error, or 0. */
struct folio *file_find(
	struct folio_file *file, uint64_t index, struct stats_shard *shard, int *error);
/* By the hint, if it leads to the page, and the caller is known: then it is not counted as busy. */
struct folio *file_hit(struct folio_file *file, uint64_t index, struct stats_shard *shard);

/* write.c: as folio_file_truncate, of checked arguments, without an end to its waits. */
int file_truncate(struct folio_file *file, uint64_t size, struct stats_shard *shard);

/* fill.c */

/* Requests of one call, so that they reach the backend together. */
#define FILL_BATCH 32
struct fill_batch {
	struct folio_cache *cache;
	unsigned count;
	struct folio_io_request *request[FILL_BATCH];
};

/*
 * Add reads of the pages from @index up to and without @end that are not there, one request for each run
 * without a gap. @heat for the folios; @mark: the page whose folio gets HEAT_MARK (FILL_NO_MARK: none). Uses free
 * memory only, and stops where there is none. They complete on the backend's threads. Returns pages added.
 */
#define FILL_NO_MARK UINT64_MAX
uint64_t fill_add(struct fill_batch *batch, struct inode *inode, uint64_t index, uint64_t end,
	uint64_t mark, uint32_t heat);
void fill_submit(struct fill_batch *batch);

/*
 * A folio for pages from @index on, up to @end at most, none of which is there: in the tree, LOCKED, with a reference of the
 * caller's, who is counted as busy, and who ends it with fill_good or fill_failed. For who has all its contents.
 * 0, -EEXIST, -ENOMEM, -ETIMEDOUT.
 */
int fill_new(struct inode *inode, uint64_t index, uint64_t end, const struct timespec *until,
	struct stats_shard *shard, struct folio **folio);
/*
 * The contents are good; @valid bytes of it are the file's. @size: 0, or the folio is dirty and the file has at least
 * so many bytes from here on. False, with @size: it has left the tree meanwhile, and is good for those only who have it.
 */
bool fill_good(struct inode *inode, struct folio *folio, uint64_t valid, uint64_t size);

/* How many of the pages from @index up to and without @end are not there. */
uint64_t fill_missing(struct inode *inode, uint64_t index, uint64_t end);

/*
 * Read page @index, for which the caller found nothing, and pages after it up to @end as far as one request
 * goes, on the calling thread, which is not counted as busy (evict.h).
 *
 * Returns 0 with a reference to the folio that has the page, *filled pages being read, and the caller counted as busy; -EEXIST when
 * somebody else stored it first; -ENOMEM when nothing can be evicted; -FILL_ENDED; the error of the read, if it was of this page alone,
 * or else -FILL_ALONE. With @until the read may be still to come when it returns 0: the folio is locked then; or -ETIMEDOUT.
 */
#define FILL_ENDED 4096 /* no errno: the file ends before the page, by now */
#define FILL_AGAIN 4097 /* of file.c: it was changed meanwhile, to be looked up again */
#define FILL_LATE \
	4098 /* there was no room for the read in the time of who would have made it: of a folio only */
#define FILL_ALONE \
	4099 /* a read of several pages failed: which of them cannot be read, a read of one page says */
int fill_sync(struct inode *inode, uint64_t index, uint64_t end, const struct timespec *until,
	struct stats_shard *shard, struct folio **folio, uint64_t *filled);

/*
 * Are the trees short of nodes? Those that have left a tree count until their grace period is over,
 * and where many pages come and go there are many: who can wait for it finds room then.
 */
static inline bool nodes_are_short(const struct folio_cache *cache)
{
	const struct tree_budget *budget = &cache->tree_budget;

	return folio_u64_load_relaxed(&budget->nodes) > budget->nodes_max - budget->nodes_max / 8;
}

/* The file has at least so many bytes. The caller has size_lock, if they are more than it had. */
static inline void inode_reach(struct inode *inode, uint64_t size)
{
	/* release: pairs with who reads the size before he looks a page up. */
	if (size > folio_u64_load_relaxed(&inode->size))
		folio_u64_store_release(&inode->size, size);
}

/* Of a file of @size bytes, those that the folio has. */
static inline uint64_t folio_share(const struct folio *folio, uint64_t size)
{
	uint64_t start = folio->index << FOLIO_PAGE_SHIFT, bytes = folio_size(folio);

	if (size <= start)
		return 0;
	return size - start < bytes ? size - start : bytes;
}

/*
 * The folio has at least @valid bytes of the file: zeros, where it had less. The caller has it locked, or has just marked it as
 * on its way, and has broken the version.
 */
static inline void folio_reach(struct folio *folio, uint64_t valid)
{
	uint32_t had = folio_u32_load_relaxed(&folio->valid);

	if (valid <= had)
		return;
	memset((char *)folio->data + had, 0, valid - had);
	folio_u32_store_relaxed(&folio->valid, (uint32_t)valid);
}

/* Pages that a file of @size bytes has. */
static inline uint64_t size_pages(uint64_t size)
{
	return (size >> FOLIO_PAGE_SHIFT) + !!(size & (FOLIO_PAGE_SIZE - 1));
}

#endif
