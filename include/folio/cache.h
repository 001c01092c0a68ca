/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cache.h - a cache of file pages: its parameters, open, close, resize.
 *
 * A cache keeps pages of files in the memory of the process, under a budget that the program
 * sets. folio(7) is the overview: ways to read and what each costs, changes by other writers,
 * fork, cancellation.
 *
 * These rules hold for all headers:
 *
 *   - A function returns 0, a count, or a negative errno value. Other results are stored through
 *     the last pointer parameter.
 *   - A parameter struct, and the table of a backend, begins with its size, so that it can grow in
 *     later versions. Fields that the program does not have count as 0; those that the library
 *     does not have are not used.
 *   - Any thread may make any call; threads need no registration. Calls on the same object may
 *     run concurrently, unless a comment states otherwise.
 *
 * Programs written for version 0.1 include this header only: it includes the others at its end.
 *
 * Locks. The cache takes no locks on files, and does not heed those of others: a program that
 * shares a file with other processes locks it before it opens it here, and calls
 * folio_file_revalidate when it has got the lock. The kernel drops the POSIX locks (F_SETLK of
 * fcntl(2)) that a process has on a file when the process closes any descriptor of it. So:
 *
 *   - While a cache has a file open, it closes no descriptor of it, however often the file is
 *     opened and closed.
 *   - The last close of a file in a cache drops the process's POSIX locks on it, as any close(2)
 *     does, and so does an open that fails after the file was opened (-ENOMEM, -EMFILE). If the
 *     last close returns an error and the handle stays open, they may be gone as well.
 *   - Open file description locks (F_OFD_SETLK) of the program are not affected by any call.
 *     New programs use them.
 *
 * folio(7) also states what a program may rely on: which descriptors the library creates (none
 * below 3), which files share pages (identity), and which system calls a sandbox must leave.
 * folio-durability(7) states what is promised of written data, and what a process loses that ends
 * without a close or a sync.
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

#define FOLIO_VERSION "0.1.0"

/** folio_version - the version of the linked library, in the form of FOLIO_VERSION. */
const char *folio_version(void);

/* For folio_cache_params.flags. */
#define FOLIO_CACHE_BUFFERED      1u /* go through the kernel's cache even where O_DIRECT works */
#define FOLIO_CACHE_NO_HUGE_PAGES 2u /* do not request 2 MiB pages */
#define FOLIO_CACHE_NO_READAHEAD  4u /* do not detect sequential reading */

#define FOLIO_CACHE_BYTES_MIN     (64u * FOLIO_PAGE_SIZE)

/**
 * struct folio_cache_params - parameters of a cache
 *
 * For folio_cache_open. A program must set size and bytes; a field that is 0 has its default.
 */
struct folio_cache_params {
	/* sizeof(struct folio_cache_params). */
	size_t size;
	/* Budget for page frames, bytes, rounded down to pages; at least FOLIO_CACHE_BYTES_MIN. */
	uint64_t bytes;
	/* FOLIO_CACHE_BUFFERED, FOLIO_CACHE_NO_HUGE_PAGES, FOLIO_CACHE_NO_READAHEAD. */
	uint32_t flags;
	/* Requests in flight at most, up to 4096; 0: 128. The backend may have a seventh more. */
	uint32_t io_depth;
	/*
	 * The backend, see folio_io_ops; NULL: io_uring, or threads where io_uring is denied, now
	 * or later (folio(7), Sandboxes).
	 */
	const struct folio_io_ops *io;
	/* Passed to the backend's create function. */
	void *io_context;
	/*
	 * Largest read-ahead window in bytes, at most a quarter of the budget; 0: 4 MiB, or 1/64 of
	 * the budget if that is less. Many streams share 1/32 of the budget, or this if it is more.
	 */
	uint64_t readahead;

	/* Fields for writing: */

	/*
	 * How many bytes may be dirty; 0: a quarter of bytes; at most a half. Devices have shares
	 * of that, by their speed, and files have shares in that of their device. A writer waits
	 * while its file has its share. folio-durability(7) explains the shares.
	 */
	uint64_t dirty_bytes;
	/*
	 * Pages that have been dirty for longer are written back, in milliseconds; 0: 5000;
	 * UINT32_MAX: age alone never causes write-back.
	 */
	uint32_t dirty_age_ms;
	/*
	 * How long a call waits for the device, or for other threads that wait for it, in
	 * milliseconds; 0: without limit. When the time is over, the call returns -ETIMEDOUT, and
	 * the operation that it waited for continues and may still complete. folio-deadlines(7)
	 * states the result for each call and the waits that are not bounded.
	 */
	uint32_t timeout_ms;
	/*
	 * Called before pages are written back, so that a storage engine can flush its log first:
	 * once for all that a call, or a visit of the background thread, writes of a file, with the
	 * largest sequence number among the pages (folio_mark_dirty). Numbers are positions in one
	 * log: after it has returned 0 for a number, it is not called again for this or smaller
	 * ones, so they must not be reused while the cache is open. Threads share the calls: it
	 * never runs twice at a time. Pages that were given no number count as 0, for which it is
	 * called each time.
	 *
	 * It may run on any thread that writes back, also inside a call, and must not call this
	 * cache. It may wait for threads that read, change, truncate or punch pages, if these wait
	 * for no write-back: no page and no file is locked, nor is a page in write-back, because of
	 * it. So it must not wait for a sync, a checkpoint or a close, nor for a writer or a reader
	 * that needs a page while too many are dirty.
	 * There is one exception: a page that is marked with a larger number during each of three
	 * calls in a row that one sync makes. The fourth call then runs while the page is in
	 * write-back, and the file cannot be truncated or punched; nor can the page be changed,
	 * unless a copy of it is written.
	 *
	 * It returns 0, or a negative errno value: then the pages are not written, and the error
	 * counts as an error of write-back.
	 */
	int (*before_writeback)(void *context, uint64_t sequence);
	/* Passed to before_writeback. */
	void *before_writeback_context;

	/*
	 * Limit for folio_cache_resize in bytes, rounded down to pages; 0: the value of bytes. Of
	 * the frames past the largest budget so far, only addresses are reserved: mlockall(2)
	 * locks none of them.
	 */
	uint64_t bytes_max;
	/*
	 * How many files may keep their pages after the last close, for the next open; 0: none.
	 * Beyond that, the one that has been closed for the longest time loses its pages. Closed
	 * files have no descriptor, and about 1.5 KiB of memory each, next to the budget.
	 * folio_file_close states which files stay. Not for files that others map for writing.
	 */
	uint64_t closed_files_max;
};

/**
 * folio_cache_open - reserve memory and start a cache
 * @params: see folio_cache_params; size and bytes must be set, the rest may be 0.
 * @cache: the result.
 *
 * In addition to the budget, the cache allocates 72 bytes per page frame at once, a descriptor of
 * 64 and a version of 8, and nodes and directories of the trees later: together less than 2 % of
 * the data when files are cached densely. In a large file, a page whose neighbours are not cached
 * needs a node of 576 bytes, and more nodes where pages are GiB apart. The trees take at most four
 * nodes per page frame; beyond that, pages are evicted to free nodes.
 *
 * Returns 0; -EINVAL for an invalid parameter or an incomplete table of backend functions;
 * -ENOMEM, also if the kernel can never provide the memory for the descriptors; -EMFILE if 64
 * caches are open; -ESTALE in a child that was forked inside a call; or the error of the
 * backend's create.
 */
int folio_cache_open(const struct folio_cache_params *params, struct folio_cache **cache);

/**
 * folio_cache_close - stop a cache and free its memory
 * @cache: must not be used after 0 is returned. No other call on it may be running.
 *
 * Returns 0; -EBUSY while a folio_queue is open, with the cache unchanged; -EBUSY while a file is
 * open, or a folio is pinned or allocated: the cache is
 * unchanged, except that files without a handle may have lost their pages, and folio_cache_pins
 * lists the folios; -ESTALE in a child of the process that opened
 * the cache.
 */
int folio_cache_close(struct folio_cache *cache);

/**
 * folio_cache_resize - change the budget of a cache
 * @cache: an open cache.
 * @bytes: rounded down to pages; FOLIO_CACHE_BYTES_MIN .. folio_cache_params.bytes_max.
 *
 * To shrink the cache, the call evicts pages, writes dirty ones back first, and returns their
 * memory to the kernel. Concurrent calls continue, as in a cache that is full; a second resize
 * waits for the first. Descriptors and versions for bytes_max are allocated when the cache is
 * opened. If only a part of a 2 MiB page is freed, the kernel takes that part back when it needs
 * memory, and khugepaged may fill it again (see its max_ptes_none); FOLIO_CACHE_NO_HUGE_PAGES
 * prevents both. Where the kernel's own pages are larger than FOLIO_PAGE_SIZE, it takes back those
 * of which all parts are freed.
 *
 * Returns 0; -EINVAL; -EBUSY if the remaining pages are pinned, or dirty and cannot be written;
 * -ETIMEDOUT (folio-deadlines(7)); -ESTALE; -ENOMEM if the kernel cannot provide the memory of a
 * larger budget; or the errno of madvise(2), which before Linux 5.18 frees no memory that the
 * program has locked (mlockall(2)). After -EBUSY and -ETIMEDOUT, the budget is as small as it could
 * be made (folio_cache_stats.pages): try again.
 */
int folio_cache_resize(struct folio_cache *cache, uint64_t bytes);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#include <folio/stats.h>
#include <folio/file.h>
#include <folio/write.h>
#include <folio/type.h>
#include <folio/pins.h>
#endif
