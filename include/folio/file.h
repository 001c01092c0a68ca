/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * file.h - files: read, pin pages, prefetch, drop pages that others have changed. open.h opens and
 * closes them.
 *
 * folio(7) compares the ways to read. Each call can return -ESTALE in a child process after fork.
 * While the thread has a folio of the cache locked (folio_lock), some return -EDEADLK. The calls
 * that wait for the device return -ETIMEDOUT if folio_cache_params.timeout_ms is set and that time
 * passes; folio-deadlines(7) states what each leaves behind.
 */
#ifndef FOLIO_FILE_H
#define FOLIO_FILE_H

#include <sys/types.h>

#include <folio/folio.h>
#include <folio/open.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/**
 * folio_file_size - the size of a file in bytes, as the cache knows it
 * @file: an open file.
 *
 * Returns the size; 0 in a child after fork.
 */
uint64_t folio_file_size(const struct folio_file *file);

/**
 * folio_file_read - copy bytes out of a file
 * @file: an open file.
 * @buf: the destination.
 * @len: bytes to read.
 * @offset: bytes from the start of the file.
 *
 * Each page is copied as it was at one moment of the call. To read in place, without a copy, use
 * folio_file_get_page.
 *
 * @buf may be memory whose page faults take long, or are served by a thread that uses the cache
 * itself: memory of userfaultfd(2), of a virtual machine's guest, or a mapping of a file of FUSE
 * or NFS. The call touches it while it holds neither a lock nor a page, so it holds up no other
 * call. The same holds for the arrays of folio_file_read_batch and folio_file_prefetch.
 *
 * Returns the number of bytes copied, as pread(2): fewer than @len only at the end of the file
 * or, after some bytes, because of an error; 0 at the end of the file.
 *
 * Errors: -EINVAL (@offset + @len above 2^63 - 1); -ENOMEM if nothing can be evicted as everything
 * was pinned when the call scanned for memory (it scans each folio a few times at most, however
 * short the pins are). Before that the call waits for reads and writes in flight, after a second
 * not for those that began later, and for other calls that hold a page while they wait for its
 * lock, at most a second. -EOVERFLOW if a page has 2^30 references; -ESTALE; -ETIMEDOUT; and errors
 * of the backend. If a page cannot be read, every call that waits for that page gets the error, and
 * the next read tries again. If the page was to be read together with others, the pages are then
 * read one at a time.
 */
ssize_t folio_file_read(struct folio_file *file, void *buf, size_t len, uint64_t offset);

/**
 * folio_file_read_nowait - copy cached bytes out of a file, without waiting for the device
 * @file: an open file.
 * @buf: the destination.
 * @len: bytes to read.
 * @offset: bytes from the start of the file.
 *
 * Like folio_file_read, but stops before the first page that is not cached, after it has started
 * to read that page. To start it may wait for a free request slot while more than io_depth
 * requests are in flight; with folio_cache_params.timeout_ms it never waits, and starts the read
 * only if a slot is free.
 *
 * Returns the number of bytes copied, or -EAGAIN if it could copy none. -EAGAIN also stands for a
 * page that the device cannot read: that error is returned by the calls that wait for the page.
 * Errors: otherwise as folio_file_read.
 */
ssize_t folio_file_read_nowait(struct folio_file *file, void *buf, size_t len, uint64_t offset);

/* For folio_file_read_flags and folio_file_read_batch. */
#define FOLIO_READ_NOWAIT 1u /* as folio_file_read_nowait */
#define FOLIO_READ_ONCE   2u /* leave the hot set unchanged (FOLIO_ADVICE_ONCE) */

/**
 * folio_file_read_flags - copy bytes out of a file, with flags
 * @file: an open file.
 * @buf: the destination.
 * @len: bytes to read.
 * @offset: bytes from the start of the file.
 * @flags: 0, or FOLIO_READ_NOWAIT and FOLIO_READ_ONCE.
 *
 * Like folio_file_read, and with FOLIO_READ_NOWAIT like folio_file_read_nowait. FOLIO_READ_ONCE
 * does for this call what FOLIO_ADVICE_ONCE does for a handle (folio_file_advise).
 *
 * Returns what those functions return. Errors: also -EINVAL for another flag.
 */
ssize_t folio_file_read_flags(
	struct folio_file *file, void *buf, size_t len, uint64_t offset, unsigned flags);

/** struct folio_read - one read of a batch, for folio_file_read_batch */
struct folio_read {
	void *buf;       /* the destination */
	size_t len;      /* bytes to read */
	uint64_t offset; /* bytes from the start of the file */
	ssize_t result;  /* set by the call: what folio_file_read returns */
};

/**
 * folio_file_read_batch - copy bytes out of a file at many offsets
 * @file: an open file.
 * @reads: @count reads of any offsets and lengths; their buffers do not overlap.
 * @count: how many; a batch of 32 or more is worth it.
 * @flags: 0, or FOLIO_READ_NOWAIT, which may still wait for a free request slot (see
 *         folio_file_read_nowait), and FOLIO_READ_ONCE (see folio_file_read_flags).
 *
 * Each read is like folio_file_read and has its own result; the reads have no common moment.
 * Cached reads of up to 128 bytes wait for memory together, in about half the time of single
 * reads; longer reads, and data in the processor's caches, gain less or nothing. Uncached pages
 * are submitted to the kernel together: as many as folio_file_prefetch would start, then the next
 * ones. They count as prefetched, and then as hits or misses in order. If more than one read
 * misses, nothing is read ahead.
 *
 * Method: group prefetching; S. Chen, A. Ailamaki, P. Gibbons and T. Mowry, "Improving hash join
 * performance through prefetching", ICDE 2004.
 *
 * Returns 0: each result is set, perhaps to an error (folio_cache_params.timeout_ms bounds the
 * entire call). Or, with no result set: -EINVAL; -ESTALE.
 */
int folio_file_read_batch(
	struct folio_file *file, struct folio_read *reads, unsigned count, unsigned flags);

/* For folio_file_get. */
#define FOLIO_GET_NOWAIT 1u /* -EAGAIN rather than wait for the device; the fill is started */

/**
 * folio_file_get_page - pin a page and get its address
 * @file: an open file.
 * @index: number of the page in the file: offset / FOLIO_PAGE_SIZE.
 * @flags: 0 or FOLIO_GET_NOWAIT.
 * @folio: the result: the folio that holds the page, perhaps with pages around it.
 * @page: the result: the page's memory, FOLIO_PAGE_SIZE bytes. Only the bytes inside the file
 *        (folio_file_size) are valid; past its end are zeros, or anything if the size changed.
 *
 * The memory stays as it is until folio_put(*@folio), even if the file is invalidated or closed.
 * It may be changed only under folio_lock. If @file was opened with O_RDWR, *@folio has no other
 * page, unless a larger one cannot be split (lock.h). (@page is folio_page(*@folio, @index).)
 *
 * Returns 0; -ENODATA if the page is past the end of the file; -EAGAIN with FOLIO_GET_NOWAIT;
 * -EINVAL; -ENOMEM if nothing can be evicted; -EOVERFLOW if the page has 2^30 references;
 * -ESTALE; -ETIMEDOUT; or an error of the backend.
 */
int folio_file_get_page(
	struct folio_file *file, uint64_t index, unsigned flags, struct folio **folio, void **page);

/** folio_file_get - pin a page: folio_file_get_page without the address. */
FOLIO_INLINE_ int folio_file_get(
	struct folio_file *file, uint64_t index, unsigned flags, struct folio **folio)
{
	void *page;

	return folio_file_get_page(file, index, flags, folio, &page);
}

/** struct folio_range - a range of a file in bytes */
struct folio_range {
	uint64_t offset; /* bytes from the start of the file */
	uint64_t len;    /* bytes */
};

/**
 * folio_file_prefetch - start to read ranges that will be needed
 * @file: an open file.
 * @range: @count ranges; the pages that they touch are read unless they are cached.
 * @count: how many.
 *
 * All reads are submitted to the kernel together where possible, and adjacent ranges that follow
 * each other in the array are read as one. The call does not wait for them, but may wait for a
 * free request slot while more than io_depth requests are in flight; with
 * folio_cache_params.timeout_ms it ends there. A prefetch is a hint: lack of memory ends it early
 * without an error.
 *
 * One call starts at most as many pages as are free, less the few that the cache keeps free, or a
 * tenth of its page frames, whichever is more: further ones would evict the first before they are
 * read. Concurrent prefetches together may still do so if nothing is free. A program that knows
 * all of its reads therefore prefetches some, reads them, and prefetches more.
 *
 * Returns the number of pages whose reading was started; -EINVAL; -ESTALE.
 */
ssize_t folio_file_prefetch(
	struct folio_file *file, const struct folio_range *range, unsigned count);

/* How a file will be used through this handle. */
enum folio_advice {
	FOLIO_ADVICE_NORMAL,     /* detect sequential reading */
	FOLIO_ADVICE_SEQUENTIAL, /* start with the largest window */
	FOLIO_ADVICE_RANDOM,     /* never read ahead */
	FOLIO_ADVICE_ONCE,       /* leave the hot set unchanged; detect sequential reading */
};

/**
 * folio_file_advise - set how this handle reads ahead, and whether its use of pages counts
 * @file: an open file.
 * @advice: FOLIO_ADVICE_NORMAL (detect sequential reading), FOLIO_ADVICE_SEQUENTIAL (start with
 *          the largest window), FOLIO_ADVICE_RANDOM (never read ahead) or FOLIO_ADVICE_ONCE.
 *
 * folio_file_prefetch reads given ranges ahead, whatever the advice is.
 *
 * FOLIO_ADVICE_ONCE is for a backup, a copy, a scan. Calls through this handle that read, write,
 * pin or prefetch pages then leave what others have cached: their use of a page that was cached
 * before does not count. Pages that they fetch are evicted first, except for a thirty-second of the
 * cache, which their read-ahead needs; the first use by another call makes such a page like others.
 * Pages that they write are written back early: if a thirty-second of the cache is dirty in the
 * file, the next write waits. FOLIO_READ_ONCE and FOLIO_WRITE_ONCE do this for one call.
 *
 * Returns 0; -EINVAL; -ESTALE.
 */
int folio_file_advise(struct folio_file *file, enum folio_advice advice);

/**
 * folio_file_set_share - keep a part of a file cached, and keep it from having more than a part
 * @file: an open file.
 * @floor: bytes; as long as no more of the file is cached, none of it is evicted. 0: no floor.
 * @ceiling: bytes; above them, the file's own pages are evicted first. 0: no ceiling.
 *
 * For all handles of the file, until the last one is closed. Bytes are rounded up to pages.
 *
 * The floor is for a server that must keep an index cached. It reads nothing; of more pages, those
 * that are used least leave. The floors of all files are half of the budget at most, and if that
 * becomes smaller, each is smaller in proportion. A floor is broken for a call that would otherwise
 * return -ENOMEM, since the rest is pinned, or dirty and cannot be written.
 *
 * The ceiling is for a file that must not push out others. A call that would exceed it by a page
 * first evicts pages of the file, also while memory is free, and finds them with bounded effort.
 * Pages that are pinned, dirty, just read ahead or used all the time may exceed it for a while, and
 * so may those that one call requests. Read-ahead, prefetches and batches fetch an eighth of it at
 * a time. Method: CLOCK; F. J. Corbato, "A paging experiment with the Multics system", 1968.
 *
 * Returns 0; or, with nothing changed, -EINVAL if @floor is above a @ceiling; -ENOSPC if the floors
 * of all files would be more than half of the budget; -ESTALE.
 */
int folio_file_set_share(struct folio_file *file, uint64_t floor, uint64_t ceiling);

/**
 * folio_file_invalidate - drop clean cached pages of a range, for all handles of the file
 * @file: an open file.
 * @offset: bytes from the start of the file; all pages that the range touches are dropped.
 * @len: bytes; UINT64_MAX for everything from @offset on.
 *
 * Dirty pages, and pages being written back, stay. A read that begins after the call has returned
 * sees the file as it is then. Pins taken before keep the old contents. The call does not wait
 * for a fill in flight; the page of that fill is dropped and read again by the next reader and,
 * if a handle has the file open for writing, by the readers that wait for it.
 *
 * To drop pages only if the file has changed, use folio_file_revalidate.
 *
 * Returns 0; -EINVAL if the range wraps around 2^64; -ESTALE.
 */
int folio_file_invalidate(struct folio_file *file, uint64_t offset, uint64_t len);

/**
 * folio_file_revalidate - query the file's size and times of change; drop its pages if they differ
 * @file: an open file.
 *
 * The times are those of the contents (mtime) and of the inode (ctime). If the last change was so
 * shortly before the pages were read that another one may have got the same time, the file counts
 * as changed: within a tick of the kernel's clock (1 to 10 ms), or within the resolution of the
 * file system's times, as their zeros show it (2 s for whole seconds).
 *
 * Returns 1 if the file had changed, 0 if not; -EINVAL; -ESTALE; or the errno of fstat(2).
 */
int folio_file_revalidate(struct folio_file *file);

/* With FOLIO_REF_DEBUG, a pin is recorded with the line of the call (pins.h). */
#if defined(FOLIO_REF_AT_PARAMETERS_) && !defined(FOLIO_LIBRARY)
static inline int folio_file_get_page_at_(struct folio_file *file, uint64_t index, unsigned flags,
	struct folio **folio, void **page, struct folio_place_ place)
{
	int r = folio_file_get_page(file, index, flags, folio, page);

	if (!r)
		folio_pin_taken(*folio, place.file, place.line);
	return r;
}

static inline int folio_file_get_at_(struct folio_file *file, uint64_t index, unsigned flags,
	struct folio **folio, struct folio_place_ place)
{
	void *page;

	return folio_file_get_page_at_(file, index, flags, folio, &page, place);
}

#define folio_file_get_page(...) folio_file_get_page_at_(__VA_ARGS__, FOLIO_HERE_)
#define folio_file_get(...)      folio_file_get_at_(__VA_ARGS__, FOLIO_HERE_)
#endif

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
