/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cache.h - files cached in pages, in the caller's address space, under a budget.
 *
 * Functions return 0 or a count, or -errno; results come through the last pointer. Parameter structs
 * begin with their size, so that they can grow. Every call may come from any thread; no thread has to
 * register. Calls on the same object may run beside each other, unless a comment says otherwise.
 *
 * Three ways to read, from cheapest:
 *
 *   folio_file_read      copies. Of a cached page it takes no reference: it copies and checks that the
 *                        folio's version did not change meanwhile. It writes nothing shared (but a hint and the page's
 *                        heat, a word each, when they change), so it scales with the cores.
 *   folio_file_get       pins: the memory stays as it is until folio_put. One add, one subtract.
 *   a miss               one reader fills the page, others that want it wait for that page alone.
 *                        Misses of different pages are in flight together.
 *
 * On a hit none of them makes a system call, takes a lock or allocates (the first call of a thread on
 * a cache does: it makes the thread known).
 *
 * The file belongs to the cache while it is open in it. When somebody else writes to it, cached pages
 * keep the old contents until folio_file_invalidate, or until folio_file_open or
 * folio_file_revalidate finds that size, time of change or inode differ, which drops the file's
 * pages. A file that shrank is noticed when a read of the device comes back short: the size is taken
 * over then. A read at the end of the file asks for the size again, so that growth is seen.
 *
 * After fork(2) the child must not use a cache that the parent opened: every call on it returns
 * -ESTALE. Page frames are not inherited: a child that touches memory which the parent had pinned, or had
 * taken with folio_alloc, gets SIGSEGV. It may put such a folio (and get it again, and ask for its order and index), which
 * gives nothing back. A child may open caches of its own, as many as any process. One that was forked inside a
 * call (in a backend's function, in a type's release) must not return from there.
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
};

#define FOLIO_CACHE_BYTES_MIN (64u * FOLIO_PAGE_SIZE)

/**
 * folio_cache_open - reserve memory and start a cache.
 * @params: what is wanted; size and bytes must be set, the rest may be 0.
 * @cache: the result.
 *
 * Beside the budget the cache takes 64 bytes of descriptor and 3 to 6 of hints for each page frame and bounded memory for the trees:
 * together under 2 % when files are cached densely.
 *
 * Returns 0; -EINVAL for a wrong parameter; -ENOMEM; -EMFILE when 64 caches are open; or what
 * io->create returned.
 */
int folio_cache_open(const struct folio_cache_params *params, struct folio_cache **cache);

/**
 * folio_cache_close - give everything back.
 * @cache: not to be used afterwards, if 0 was returned. No other call on it may be running.
 *
 * Returns 0; -EBUSY while a file is open or a folio is pinned or taken (the cache stays as it was); -ESTALE
 * in a child of the process that opened it.
 */
int folio_cache_close(struct folio_cache *cache);

/*
 * Statistics. Counters count from folio_cache_open; they are exact when nobody is inside a call and
 * may lag by the calls in flight otherwise.
 */
struct folio_cache_stats {
	size_t size;    /* set by the caller: sizeof(struct folio_cache_stats) */
	const char *io; /* name of the backend in use */

	uint64_t pages;      /* page frames in the budget */
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
 * folio_file_open - open a file for cached reading.
 * @cache: an open cache.
 * @path: as open(2).
 * @flags: O_RDONLY, perhaps with O_CLOEXEC, O_NOFOLLOW, O_NOATIME.
 * @mode: not used yet by reading; 0.
 * @file: the result.
 *
 * A file that is open already (same device and inode) shares its pages. If its size or time of change
 * differ from what the cache knows, its cached pages are dropped.
 *
 * Returns 0; -EINVAL for other flags or what is not a regular file or block device (-EISDIR for a directory);
 * -ENOMEM; -ESTALE after fork; or the errno of open(2) and fstat(2).
 */
int folio_file_open(struct folio_cache *cache, const char *path, int flags, mode_t mode,
	struct folio_file **file);

/**
 * folio_file_close - give a file back.
 * @file: not to be used afterwards. No other call on this handle may be running.
 *
 * The pages of a file that nobody has open any more are dropped; those that are pinned stay until they are
 * put. Returns 0; -EINVAL; -ENOMEM when the thread cannot be made known (the handle stays open); -ESTALE in a child of the
 * process that opened it (memory is then not given back).
 */
int folio_file_close(struct folio_file *file);

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
 * 2^30 references, -ESTALE after fork, and errors of the backend (the next read tries again).
 */
ssize_t folio_file_read(struct folio_file *file, void *buf, size_t len, uint64_t offset);

/**
 * folio_file_read_nowait - as folio_file_read, without waiting for the device.
 *
 * Stops before the first page that is not there, having started to read it. Returns -EAGAIN when nothing
 * could be copied.
 */
ssize_t folio_file_read_nowait(struct folio_file *file, void *buf, size_t len, uint64_t offset);

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
 * is for reading only. (@page is folio_page(*@folio, @index), without a look at the descriptor, for whose line
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
 * when more than io_depth are in flight. Memory that cannot be had ends it early without an error: prefetch
 * is a hint. One call starts half of the cache's page frames at most, and stops there: of more, the last pages
 * would push out the first before they are read.
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
 * folio_file_invalidate - drop cached pages of a range, for all who have the file open.
 * @file: an open file.
 * @offset: bytes; the pages that the range touches are dropped.
 * @len: bytes; UINT64_MAX for all from @offset on.
 *
 * A read that begins after it returns sees the file as it is then. Pins taken before keep the old
 * contents. A fill in flight is not waited for; its page is dropped and read again by the next reader.
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

/* ---- a program's own folios ---- */

/* A type of the program's own: how folios of it are released. */
struct folio_type_params {
	size_t size; /* sizeof(struct folio_type_params) */
	const char *name;
	/*
	 * Called on the cache's reaper thread, once, when the last reference to @folio is put: on no
	 * other, since the thread that happens to put last may hold any lock. May block. The folio's
	 * memory is still the program's during the call and is the pool's after it. Must not call
	 * folio_cache_close.
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
#endif
