/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cache.h - files cached in pages, in the caller's address space, under a budget.
 *
 * Functions return 0 or a count, or -errno; results come through the last pointer. Parameter structs
 * begin with their size, so that they can grow. Every call may come from any thread; no thread has to
 * register. Calls on the same object may run beside each other, unless a comment says otherwise.
 *
 * Ways to read, from cheapest:
 *
 *   folio_file_read      copies. Of a cached page it takes no reference: it copies and checks that the
 *                        folio's version did not change meanwhile. It writes nothing shared (but a hint and the page's
 *                        heat, a word each, when they change), so it scales with the cores. Of many places in
 *                        one call: folio_file_read_batch.
 *   folio_file_get       pins: the memory stays as it is until folio_put. One add, one subtract.
 *   a miss               one reader fills the page, others that want it wait for that page alone.
 *                        Misses of different pages are in flight together.
 *
 * On a hit none of them makes a system call, takes a lock or allocates (the first call of a thread on
 * a cache does: it makes the thread known).
 *
 * A file that is opened with O_RDWR is written through the cache: folio_file_write, or folio_lock on a pinned
 * page; the cache writes it back later, folio_file_sync waits for that.
 *
 * The file belongs to the cache while it is open in it. When somebody else writes to it, cached pages
 * keep the old contents until folio_file_invalidate, or until folio_file_open or
 * folio_file_revalidate finds that size, time of change (mtime) or inode differ, which drops the file's
 * pages; contents that were changed in place and given their old time again are not noticed. A file that shrank is noticed when a
 * read of the device comes back short: the size is taken over then. A read at the end of the file asks for the size again, so
 * that growth is seen.
 *
 * For regular files and block devices. What the system makes up when it is read (files of /proc and /sys) has no size that could
 * be believed, and reads as empty or fails.
 *
 * After fork(2) the child must not use a cache that the parent opened: every call on it returns
 * -ESTALE. Page frames are not inherited: a child that touches memory which the parent had pinned, or had
 * taken with folio_alloc, gets SIGSEGV. It may put such a folio (and get it again, and ask for its order and index), which
 * gives nothing back. A child may open caches of its own, as many as any process. One that was forked inside a
 * call (in a backend's function, in a type's release) must not return from there. One that was forked by the handler of a
 * signal which came inside of a read, a get or a write may do what a handler may (execve, _exit), and gets -ESTALE for caches of its
 * own. (Inside of a thread's first call on a cache, of folio_cache_open, folio_cache_close and folio_cache_stats, fork itself
 * may wait for the thread that it interrupts.) All of this goes by pthread_atfork(3), so not for _Fork(3) and the bare system
 * call.
 *
 * A thread must not be cancelled inside a call (pthread_cancel), nor leave it in another way (longjmp,
 * pthread_exit in a backend's function). There are cancellation points inside: whatever the backend
 * calls (the library's own: open, fstat, preadv, waiting for room among the requests), and joining threads in
 * folio_cache_close. What the call holds is then held for ever: a page that it was filling stays locked and who wants it
 * waits without end, as does who wants a lock of the cache. A program that cancels threads turns it off around calls
 * (pthread_setcancelstate), or at least never makes it asynchronous (pthread_setcanceltype) and calls
 * nothing but what cannot miss: folio_get and folio_put contain no cancellation point.
 */
#ifndef FOLIO_CACHE_H
#define FOLIO_CACHE_H

#include <folio/folio.h>
#include <folio/io.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct folio_cache;
struct folio_file;

#define FOLIO_VERSION "0.1.0"

/** folio_version - the version of the library that is linked, as FOLIO_VERSION. */
const char *folio_version(void);

/* ---- caches ---- */

/* For folio_cache_params.flags. */
#define FOLIO_CACHE_BUFFERED      1u /* read through the kernel's cache even where O_DIRECT works */
#define FOLIO_CACHE_NO_HUGE_PAGES 2u /* do not ask for 2 MiB pages */
#define FOLIO_CACHE_NO_READAHEAD  4u /* do not look for sequential reading */

struct folio_cache_params {
	size_t size; /* sizeof(struct folio_cache_params) */
	uint64_t
		bytes; /* budget for page frames, rounded down to pages; at least FOLIO_CACHE_BYTES_MIN */
	uint32_t flags;
	uint32_t io_depth;             /* requests in flight at most; 0: 128 */
	const struct folio_io_ops *io; /* NULL: io_uring, or threads where it is denied */
	void *io_context;              /* given to io->create */
	uint64_t readahead;            /* bytes of the largest window; 0: 4 MiB or 1/32 of bytes */

	/* Writing. */
	uint64_t
		dirty_bytes; /* writers wait where so much is dirty; 0: a quarter of bytes; at most a half */
	uint32_t
		dirty_age_ms; /* what is dirty for longer is written back; 0: 5000; UINT32_MAX: never by age */
	/*
	 * Milliseconds that a call waits for the device, or for others who do; 0: for ever. Calls whose time is up return
	 * -ETIMEDOUT; what they waited for goes on, and may still come:
	 *
	 *   read, get, write, lock    nothing of the page in question was read or changed; a read that has begun goes on, and the
	 *   (and folio_alloc)         next call finds the page, or waits for it
	 *   sync, truncate, punch     go on by themselves. A truncation or a hole may come about later; of errors the next sync
	 *                             tells. Until it has ended further ones of the same file wait for it, in their own time
	 *   close, abandon            the handle stays open: what is in flight needs it; close it again later
	 *   resize                    the budget is as small as it could be made
	 *
	 * Not bounded by it: what is asked of the system on the calling thread (folio_file_open, folio_file_revalidate, the question
	 * for the size where a file is read at its end: open(2), fstat(2); close(2) of what nobody has open any more); a program's own
	 * functions; folio_cache_close; and a write behind the end of the file that fails, which takes the zeros back that it has put
	 * before it.
	 */
	uint32_t timeout_ms;
	/*
	 * Called before folios are written back, with the largest sequence number among them
	 * (folio_mark_dirty): an engine flushes its log up to there. On any thread that writes back, also one
	 * inside of a call; must not call this cache. 0, or -errno: then they are not written, and the error is one of
	 * write-back.
	 */
	int (*before_writeback)(void *context, uint64_t sequence);
	void *before_writeback_context;

	/* How far folio_cache_resize may go, rounded down to pages; 0: bytes. */
	uint64_t bytes_max;
};

#define FOLIO_CACHE_BYTES_MIN (64u * FOLIO_PAGE_SIZE)

/**
 * folio_cache_open - reserve memory and start a cache.
 * @params: what is wanted; size and bytes must be set, the rest may be 0.
 * @cache: the result.
 *
 * Beside the budget the cache takes 64 bytes of descriptor and 3 to 6 of hints for each page frame, at once, and memory for the trees:
 * together under 2 % when files are cached densely. A page that has none beside it, in a large file, needs a node of 576 bytes,
 * and more where pages lie GiB apart; the trees take four nodes for each page frame at most, then pages make way for nodes.
 *
 * Returns 0; -EINVAL for a wrong parameter, or a table of functions that is not whole; -ENOMEM, also where the system will never have
 * the memory for the descriptors; -EMFILE when 64 caches are open; -ESTALE after a fork inside of a call; or what io->create
 * returned.
 */
int folio_cache_open(const struct folio_cache_params *params, struct folio_cache **cache);

/**
 * folio_cache_close - give everything back.
 * @cache: not to be used afterwards, if 0 was returned. No other call on it may be running.
 *
 * Returns 0; -EBUSY while a file is open or a folio is pinned or taken (the cache stays as it was; folio_cache_pins
 * says which); -ESTALE in a child of the process that opened it.
 */
int folio_cache_close(struct folio_cache *cache);

/**
 * folio_cache_resize - change the budget.
 * @cache: an open cache.
 * @bytes: rounded down to pages; FOLIO_CACHE_BYTES_MIN .. folio_cache_params.bytes_max.
 *
 * To make it smaller, pages are evicted, dirty ones written back first, and their memory is given back to the system
 * before the call returns. Calls beside it go on, as in a cache that is full. Descriptors and hints for bytes_max are there
 * from the beginning. One at a time: others wait. Where 2 MiB pages are in use the system takes the rest of one back when
 * it needs memory, and khugepaged may fill one up again (its max_ptes_none); FOLIO_CACHE_NO_HUGE_PAGES keeps both away.
 *
 * Returns 0; -EINVAL; -EBUSY when what is left is pinned, or dirty and cannot be written: the budget is then as small as it could
 * be made (folio_cache_stats.pages), try again; -ETIMEDOUT, likewise; -ESTALE; -ENOMEM when the thread cannot be made known; or the errno of madvise(2), which
 * gives nothing back of memory that the program has locked (mlockall(2)).
 */
int folio_cache_resize(struct folio_cache *cache, uint64_t bytes);

/*
 * Statistics. Counters count from folio_cache_open; they are exact when nobody is inside a call and
 * may lag by the calls in flight otherwise. How many pages are pinned nobody counts: folio_cache_pins looks.
 */
struct folio_cache_stats {
	size_t size;    /* set by the caller: sizeof(struct folio_cache_stats) */
	const char *io; /* name of the backend in use */

	uint64_t pages;      /* page frames in the budget, now */
	uint64_t pages_free; /* of those, free now */
	uint64_t
		pages_file; /* of those, in files' trees now, or on their way out with pins on them */
	uint64_t pages_private;  /* of those, taken by the program */
	uint64_t bytes_metadata; /* memory beside the data: descriptors and tree nodes, bytes */
	uint64_t huge_bytes;     /* reserved with a request for 2 MiB pages, bytes */

	uint64_t hits;        /* reads and gets of a page found with good contents, a page each */
	uint64_t misses;      /* pages that a read or a get had to fill or to wait for */
	uint64_t retries;     /* lookups repeated because the folio moved meanwhile */
	uint64_t fills;       /* reads submitted to the backend */
	uint64_t fill_bytes;  /* bytes that they asked for */
	uint64_t fill_errors; /* reads that failed */
	uint64_t readahead_pages;  /* pages filled because sequential reading was found */
	uint64_t prefetch_pages;   /* pages filled because the program asked */
	uint64_t evictions;        /* pages evicted */
	uint64_t evictions_direct; /* of those, by a caller that found no free page */
	uint64_t evict_busy;       /* folios that eviction skipped because they were pinned */
	uint64_t refaults; /* misses of pages evicted not long ago: they go to the main queue */
	uint64_t invalidations; /* pages dropped by invalidation, revalidation or close */
	uint64_t out_of_memory; /* calls that found everything pinned */

	uint64_t pages_dirty;     /* pages that their file does not have yet, now */
	uint64_t pages_writeback; /* of those, on their way, now */
	uint64_t writes;          /* writes submitted to the backend */
	uint64_t write_bytes;     /* their bytes */
	uint64_t write_errors;    /* writes that failed */
	uint64_t throttled;       /* calls that waited because too much was dirty */
};

/**
 * folio_cache_stats - read the counters.
 * @cache: an open cache.
 * @stats: size must be set; as many fields as fit are filled in.
 *
 * Returns 0, -EINVAL, -ESTALE.
 */
int folio_cache_stats(struct folio_cache *cache, struct folio_cache_stats *stats);

/* ---- files ---- */

/**
 * folio_file_open - open a file.
 * @cache: an open cache.
 * @path: as open(2).
 * @flags: O_RDONLY or O_RDWR, perhaps with O_CREAT, O_EXCL, O_TRUNC (with O_RDWR), O_CLOEXEC, O_NOFOLLOW, O_NOATIME.
 * @mode: as open(2), for O_CREAT.
 * @file: the result.
 *
 * A file that is open already (same device and inode) shares its pages. If its size or time of change
 * differ from what the cache knows, its cached pages are dropped. While a file is open with O_RDWR, it is the cache's: what
 * others do to it is not looked for.
 *
 * Returns 0; -EINVAL for other flags or what is not a regular file or block device (-EISDIR for a directory);
 * -EROFS for O_RDWR with a backend that cannot write; -ENOMEM; -ESTALE after fork; or the errno of open(2), fstat(2) and
 * ftruncate(2).
 */
int folio_file_open(struct folio_cache *cache, const char *path, int flags, mode_t mode,
	struct folio_file **file);

/**
 * folio_file_close - give a file back.
 * @file: not to be used afterwards. No other call on this handle may be running.
 *
 * The pages of a file that nobody has open any more are dropped; those that are pinned stay until they are
 * put. The last one to close a file that was written writes back what is dirty and waits for it (which is no sync). If
 * something cannot be written, the error is returned and the handle stays open: nothing is lost; close it again later, or
 * give it up.
 *
 * Returns 0; an error of write-back (see above), -EBUSY where somebody dirties it meanwhile; -EINVAL; -ENOMEM when the
 * thread cannot be made known (the handle stays open); -ESTALE in a child of the process that opened it (memory is then not
 * given back).
 */
int folio_file_close(struct folio_file *file);

/**
 * folio_file_abandon - close a file, whatever happens to what is dirty.
 * @file: not to be used afterwards. No other call on this handle may be running.
 *
 * As folio_file_close, but where something cannot be written it is dropped, if nobody else has the file open. Returns 0, or the error
 * for which it could not be written; -EINVAL, -ENOMEM, -ESTALE as folio_file_close.
 */
int folio_file_abandon(struct folio_file *file);

/**
 * folio_file_size - bytes that the cache believes the file to have.
 *
 * 0 in a child after fork, and for a thread that cannot be made known for want of memory.
 */
uint64_t folio_file_size(const struct folio_file *file);

/**
 * folio_file_read - copy bytes out of a file.
 * @file: an open file.
 * @buf: where to.
 * @len: bytes wanted.
 * @offset: bytes from the start of the file.
 *
 * As pread(2): returns the bytes copied, fewer than @len only where the file ends or, when something was
 * copied already, where an error stopped it; 0 at the end. Each page is copied as it was at one moment of
 * the call.
 *
 * Errors: -EINVAL (@offset + @len past 2^63), -ENOMEM when nothing can be evicted because everything was pinned when
 * this call looked (it looks at each folio a few times at most, however short the pins are), -EOVERFLOW when a page has
 * 2^30 references, -ESTALE after fork, and errors of the backend: of a page that cannot be read, who wants that page gets
 * them, and the next read tries again. Where it was to be read together with others, those are then read one by one.
 */
ssize_t folio_file_read(struct folio_file *file, void *buf, size_t len, uint64_t offset);

/**
 * folio_file_read_nowait - as folio_file_read, without waiting for the device.
 *
 * Stops before the first page that is not there, having started to read it. That waits for room when more than io_depth requests are in
 * flight, unless folio_cache_params.timeout_ms is set: then it is started only if there is room. Returns -EAGAIN when
 * nothing could be copied; also where the device cannot read the page: that is told to who waits for it (folio_file_read).
 */
ssize_t folio_file_read_nowait(struct folio_file *file, void *buf, size_t len, uint64_t offset);

/* One of several reads of a call. */
struct folio_read {
	void *buf;       /* where to */
	size_t len;      /* bytes wanted */
	uint64_t offset; /* bytes from the start of the file */
	ssize_t result;  /* set by the call: what folio_file_read returns */
};

/* For folio_file_read_batch. */
#define FOLIO_READ_NOWAIT 1u /* as folio_file_read_nowait */

/**
 * folio_file_read_batch - copy bytes out of many places of a file.
 * @file: an open file.
 * @reads: @count reads, of any places and lengths; their buffers do not overlap.
 * @count: how many; 32 and more are worth it.
 * @flags: 0 or FOLIO_READ_NOWAIT.
 *
 * Each read is as folio_file_read, and tells by its result; they are of no common moment. Of what is cached, reads of up to 128
 * bytes are waited for together where they have to come from memory, in about half the time of one by one; where they are in the
 * processor's caches, and longer ones, gain less or nothing. Of what is not cached, much is handed to the system together: as much as
 * folio_file_prefetch would start, then the next. Such pages are counted as prefetched, and then as hits or
 * misses as they are found in turn; where more than one read misses, nothing is read ahead.
 *
 * With FOLIO_READ_NOWAIT, too, the call may wait for room when more than io_depth are in flight (with
 * folio_cache_params.timeout_ms it does not).
 *
 * Method: group prefetching; S. Chen, A. Ailamaki, P. Gibbons and T. Mowry, "Improving hash join performance through
 * prefetching", ICDE 2004.
 *
 * Returns 0: each result is set, to an error perhaps; folio_cache_params.timeout_ms is for the whole call. Or, with no result
 * set, -EINVAL, -ENOMEM when the thread cannot be made known, -ESTALE.
 */
int folio_file_read_batch(
	struct folio_file *file, struct folio_read *reads, unsigned count, unsigned flags);

/* For folio_file_get. */
#define FOLIO_GET_NOWAIT 1u /* -EAGAIN rather than wait for the device; the fill is started */

/**
 * folio_file_get_page - pin a page.
 * @file: an open file.
 * @index: number of the page in the file: offset / FOLIO_PAGE_SIZE.
 * @flags: 0 or FOLIO_GET_NOWAIT.
 * @folio: the result: holds the page, perhaps with others around it.
 * @page: the result: the page's memory, FOLIO_PAGE_SIZE bytes. Only the bytes that the file has are good: what lies behind
 *        the end (folio_file_size) is zeros as a rule, and anything where the file changed its size meanwhile.
 *
 * The memory stays as it is until folio_put(*@folio), also when the file is invalidated or closed meanwhile. It
 * is for reading only, but under folio_lock. (@page is folio_page(*@folio, @index), without a look at the descriptor, for whose line
 * threads that pin the same folio compete.)
 *
 * Returns 0; -ENODATA when the page lies past the end of the file; -EAGAIN with FOLIO_GET_NOWAIT; -EINVAL; -ENOMEM
 * when nothing can be evicted; -EOVERFLOW when the page has 2^30 references; -ESTALE after fork; errors of the backend.
 */
int folio_file_get_page(
	struct folio_file *file, uint64_t index, unsigned flags, struct folio **folio, void **page);

/** folio_file_get - folio_file_get_page for who wants the folio only. */
static inline int folio_file_get(
	struct folio_file *file, uint64_t index, unsigned flags, struct folio **folio)
{
	void *page;

	return folio_file_get_page(file, index, flags, folio, &page);
}

/* A range of a file in bytes. */
struct folio_range {
	uint64_t offset;
	uint64_t len;
};

/**
 * folio_file_prefetch - start reading ranges that will be wanted.
 * @file: an open file.
 * @range: @count ranges; pages that they touch are read unless they are there.
 * @count: how many.
 *
 * All reads are handed to the system together where it can. Does not wait for them, but may wait for room
 * when more than io_depth are in flight (with folio_cache_params.timeout_ms it ends there). Memory that cannot be had ends it early without an error: prefetch
 * is a hint. One call starts as many pages as are free, less the few that the cache keeps so, or a tenth of its page frames,
 * whichever is more, and stops there: of more, the last would push out the first before they are read (what several ask for at
 * a time may still, where nothing is free). So a program that knows all that it will want asks for some of it, reads, and
 * asks for more.
 *
 * Returns the number of pages whose reading was started, or -EINVAL, -ESTALE.
 */
ssize_t folio_file_prefetch(
	struct folio_file *file, const struct folio_range *range, unsigned count);

/* How a file will be read through this handle. */
enum folio_advice {
	FOLIO_ADVICE_NORMAL,     /* find out */
	FOLIO_ADVICE_SEQUENTIAL, /* start with the largest window */
	FOLIO_ADVICE_RANDOM,     /* never read ahead */
};

/** folio_file_advise - set how this handle reads ahead. Returns 0, -EINVAL, -ESTALE. */
int folio_file_advise(struct folio_file *file, enum folio_advice advice);

/**
 * folio_file_invalidate - drop clean cached pages of a range, for all who have the file open.
 * @file: an open file. What is dirty, or on its way to the file, stays.
 * @offset: bytes; the pages that the range touches are dropped.
 * @len: bytes; UINT64_MAX for all from @offset on.
 *
 * A read that begins after it returns sees the file as it is then. Pins taken before keep the old
 * contents. A fill in flight is not waited for; its page is dropped and read again by the next reader, and, where somebody has
 * the file open for writing, by those who wait for it.
 *
 * Returns 0, -EINVAL (the range wraps around 2^64), -ENOMEM (the thread cannot be made known), -ESTALE.
 */
int folio_file_invalidate(struct folio_file *file, uint64_t offset, uint64_t len);

/**
 * folio_file_revalidate - ask the system for size and time of change; drop the pages if they differ.
 *
 * Returns 1 when the file had changed, 0 when not, -ESTALE, or the errno of fstat(2).
 */
int folio_file_revalidate(struct folio_file *file);

/* ---- writing ---- */

/**
 * folio_file_write - copy bytes into a file.
 * @file: a file opened with O_RDWR.
 * @buf: where from.
 * @len: bytes.
 * @offset: bytes from the start of the file; behind its end, what lies between reads as zeros.
 *
 * As pwrite(2): returns the bytes written, fewer than @len only where an error stopped it after some. The file is
 * given them later: by write-back, by folio_file_sync, by the last folio_file_close.
 *
 * Readers by copy see each page (4 KiB) of the file as it was before the call or after it, never in between; across pages nothing
 * is promised, and who has a page pinned sees the bytes change. Two writes of the same bytes: for each page one is
 * last.
 *
 * A page that is written in part is read first. A folio that is on its way to the file is not changed: the call waits for
 * the write to end.
 *
 * Errors: -EBADF (opened for reading), -EINVAL, -EFBIG, -ENOMEM, -EOVERFLOW, -ESTALE as for reading, errors of the backend for
 * a page that is written in part; and of write-back, where no more may be dirty (folio_cache_params.dirty_bytes)
 * and the backend takes nothing.
 */
ssize_t folio_file_write(struct folio_file *file, const void *buf, size_t len, uint64_t offset);

/* For folio_file_sync. */
#define FOLIO_SYNC_DATA 1u /* as fdatasync(2): not what is not needed to read the data */

/**
 * folio_file_sync - make what was written last.
 * @file: an open file.
 * @range: the pages that it touches; NULL: all.
 * @flags: 0 or FOLIO_SYNC_DATA.
 *
 * On 0 all of the range that was written, through any handle, before the call is on the device.
 *
 * What could not be written stays dirty, and is tried again by the next sync, and by write-back meanwhile. That it could
 * not is told once to each handle that was open when it happened (also when it happened in the background, in another
 * range), and to each sync in whose course it happened. Where the device fails to sync what it had taken
 * (fsync(2) fails), nobody knows what it has: from then on every sync of the file fails, until it has been closed by all.
 *
 * Returns 0; errors of the backend; -EINVAL; -ENOMEM; -ESTALE.
 */
int folio_file_sync(struct folio_file *file, const struct folio_range *range, unsigned flags);

/**
 * folio_file_truncate - set the size.
 * @file: a file opened with O_RDWR.
 * @size: bytes; what is new reads as zeros.
 *
 * Waits for what of the pages behind the new end is on its way to the file. Who has one of them pinned keeps its
 * memory; it is never written. The size is the file's when it returns, the way to stable storage is folio_file_sync's.
 *
 * Returns 0; -EBADF, -EINVAL, -EFBIG, -ENOMEM, -ESTALE; or an error of the backend: then nothing has changed.
 */
int folio_file_truncate(struct folio_file *file, uint64_t size);

/**
 * folio_file_punch - make a range read as zeros, and give back its blocks where that can be.
 * @file: a file opened with O_RDWR.
 * @offset: bytes.
 * @len: bytes; what lies behind the end of the file is left as it is.
 *
 * Pages that are touched in part are written; so are all where the file cannot have holes. What is dirty in the range
 * is written first, so that it is not lost if the hole cannot be made.
 *
 * Returns 0; -EBADF, -EINVAL, -ENOMEM, -ESTALE; errors of the backend: then some of the range may be zeros.
 */
int folio_file_punch(struct folio_file *file, uint64_t offset, uint64_t len);

/*
 * Writing in place: pin (folio_file_get), lock, change the memory, mark, unlock, put.
 *
 *	folio_file_get(file, index, 0, &folio);
 *	folio_lock(folio);
 *	memcpy(folio_page(folio, index), ...);
 *	folio_mark_dirty(folio, sequence);
 *	folio_unlock(folio);
 *	folio_put(folio);
 */

/**
 * folio_lock - lock a pinned folio of a file for writing.
 * @folio: pinned by the caller, who has no other folio of the cache locked, and whose file stays open until
 *         folio_unlock.
 *
 * Until folio_unlock the thread makes no other call on this cache but folio_mark_dirty, folio_get and folio_put: others
 * who wait for the folio may be who such a call would wait for.
 *
 * Waits for who else has it locked, and for its way to the file to end: what is being written stays as it is. Readers by copy
 * wait for the lock; who has the folio pinned sees it change.
 *
 * Returns 0; -ENODATA when the page is in its file no more (truncated, invalidated); -EINVAL for a folio of the program's own;
 * -ESTALE after fork.
 */
int folio_lock(struct folio *folio);

/**
 * folio_mark_dirty - the folio was changed: to be written back.
 * @folio: locked by the caller.
 * @sequence: of the engine's log: write-back calls folio_cache_params.before_writeback with it, or with a larger one,
 *            before it writes the folio.
 *
 * Bytes behind the end of the file are not written. Returns 0; -ENODATA when the page is in its file no more; -EBADF when nobody has opened
 * the file with O_RDWR; -EINVAL when the folio is not locked.
 */
int folio_mark_dirty(struct folio *folio, uint64_t sequence);

/** folio_unlock - end what folio_lock began. @folio: locked by the caller, to whom the pin still belongs. */
void folio_unlock(struct folio *folio);

/* ---- a program's own folios ---- */

/* A type of the program's own: how folios of it are released. */
struct folio_type_params {
	size_t size; /* sizeof(struct folio_type_params) */
	const char *name;
	/*
	 * Called on the cache's reaper thread, once, when the last reference to @folio is put: on no
	 * other, since the thread that happens to put last may hold any lock. May block. The folio's
	 * memory is still the program's during the call and is the pool's after it: until then it counts as
	 * pinned, and who finds nothing else gets -ENOMEM. Must not call folio_cache_close.
	 */
	void (*release)(struct folio *folio, void *context);
	void *context;
};

/**
 * folio_type_register - make a type known.
 * @cache: an open cache.
 * @params: name and release are required; copied, but for what name and context point to.
 * @type: the result, for folio_alloc.
 *
 * Returns 0, -EINVAL, -ENOSPC when 16 types are registered, -ESTALE.
 */
int folio_type_register(
	struct folio_cache *cache, const struct folio_type_params *params, unsigned *type);

/* The built-in type for folio_alloc: released straight back to the pool. */
#define FOLIO_TYPE_PRIVATE 2u

/**
 * folio_alloc - take a folio out of the cache's budget for the program's own use.
 * @cache: an open cache.
 * @order: 2^order pages, 0 .. FOLIO_ORDER_MAX; naturally aligned, contents undefined.
 * @type: FOLIO_TYPE_PRIVATE or what folio_type_register gave.
 * @owner: the program's own, for folio_owner; may be NULL.
 * @folio: the result, with one reference.
 *
 * Evicts file pages if it must. Returns 0, -EINVAL, -ENOMEM when not enough contiguous pages could be freed,
 * -ESTALE.
 */
int folio_alloc(struct folio_cache *cache, unsigned order, unsigned type, void *owner,
	struct folio **folio);

/** folio_owner - what folio_alloc was given, for a folio of the program's own that it has pinned. */
static inline void *folio_owner(const struct folio *folio)
{
	return folio_ptr_load_relaxed(&((struct folio *)folio)->owner);
}

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#include <folio/pins.h>
#endif
