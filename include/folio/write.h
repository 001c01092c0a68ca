/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * write.h - write through the cache: by copy or in place; sync, truncate, punch holes, discard.
 *
 * A file opened with O_RDWR is written through the cache: the write changes pages, background
 * write-back brings them to the file later, and folio_file_sync waits until they are on the
 * device. folio-durability(7) states what is promised. A process that ends without a close or a
 * sync loses what it wrote: unlike pwrite(2), a write here changes the process's memory only.
 *
 * lock.h changes pages in place.
 */
#ifndef FOLIO_WRITE_H
#define FOLIO_WRITE_H

#include <folio/file.h>
#include <folio/lock.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/**
 * folio_file_write - copy bytes into a file
 * @file: a file opened with O_RDWR.
 * @buf: the source.
 * @len: bytes to write.
 * @offset: bytes from the start of the file. If it is past the end, the gap reads as zeros.
 *
 * The file itself gets the bytes later: by write-back, folio_file_sync, or the last close. See
 * folio-durability(7) for what is promised.
 *
 * A reader that copies sees each page (4 KiB) as it was before the call or after it, never in
 * between; nothing is promised across pages. A thread that has a page pinned sees the bytes
 * change. Of two concurrent writes to the same bytes, one is last for each page. A page that is
 * written in part is read first. If a folio is being written back, the call waits for that to
 * end, unless a copy of it is written.
 *
 * @buf may be memory whose page faults take long, or are served by a thread that uses the cache
 * itself (see folio_file_read). The call copies it to a buffer of its own, 64 KiB or less at a
 * time, before it locks anything.
 *
 * Returns the number of bytes written, as pwrite(2): fewer than @len only if an error occurred
 * after some of them, or at the limit.
 *
 * A write that the file can never take is refused, as pwrite(2) would, but without SIGXFSZ; one
 * that ends past the limit is written up to it. The limit is the end of a block device, or the
 * lower of the file system's limit and RLIMIT_FSIZE.
 *
 * Errors: -EBADF if the file was opened for reading; -EINVAL; -ENOSPC at the end of a device,
 * -EFBIG at another limit; -ENOMEM, -EOVERFLOW, -ESTALE as folio_file_read; -EDEADLK (folio_lock);
 * -ETIMEDOUT; errors of the backend for a page that is written in part; and errors of write-back,
 * if the file has its share of dirty_bytes and the backend cannot write.
 */
ssize_t folio_file_write(struct folio_file *file, const void *buf, size_t len, uint64_t offset);

/**
 * folio_file_write_nowait - copy bytes into a file, without waiting
 * @file: a file opened with O_RDWR.
 * @buf: the source.
 * @len: bytes to write.
 * @offset: bytes from the start of the file.
 *
 * Like folio_file_write, but stops where that would wait: for a page that is written in part and is
 * not cached (a read of it is started if a request slot is free), for a page that is locked or
 * being written back, for memory, for dirty pages to be written, for an append or a truncation.
 *
 * Returns the number of bytes written, or -EAGAIN if it could write none. Errors: otherwise as
 * folio_file_write, except -ETIMEDOUT.
 */
ssize_t folio_file_write_nowait(
	struct folio_file *file, const void *buf, size_t len, uint64_t offset);

/* For folio_file_write_flags. */
#define FOLIO_WRITE_ONCE   1u /* leave the hot set unchanged (FOLIO_ADVICE_ONCE) */
#define FOLIO_WRITE_NOWAIT 2u /* as folio_file_write_nowait */

/**
 * folio_file_write_flags - copy bytes into a file, with flags
 * @file: a file opened with O_RDWR.
 * @buf: the source.
 * @len: bytes to write.
 * @offset: bytes from the start of the file.
 * @flags: 0, or FOLIO_WRITE_ONCE and FOLIO_WRITE_NOWAIT.
 *
 * Like folio_file_write, and with FOLIO_WRITE_NOWAIT like folio_file_write_nowait. FOLIO_WRITE_ONCE
 * does for this call what FOLIO_ADVICE_ONCE (folio_file_advise) does for a handle: pages that the
 * call makes are written back early, and then evicted first.
 *
 * Returns what folio_file_write returns. Errors: also -EINVAL for another flag.
 */
ssize_t folio_file_write_flags(
	struct folio_file *file, const void *buf, size_t len, uint64_t offset, unsigned flags);

/**
 * folio_file_append - copy bytes to the end of a file
 * @file: a file opened with O_RDWR.
 * @buf: the source.
 * @len: bytes to write.
 * @flags: 0 or FOLIO_WRITE_ONCE (folio_file_write_flags).
 * @offset: the result, unless NULL: where the bytes are. Not set if an error is returned.
 *
 * Like folio_file_write, at the end that the file has when the bytes are written: until they all
 * are, no other append, write, truncation or discard through the cache changes the size. Readers
 * may see a part of them. The call first copies @buf to memory of its own.
 *
 * Returns the number of bytes written: fewer than @len only if an error occurred after some of
 * them, or at the limit. Errors: as folio_file_write_flags; -ENOMEM also if there is no memory for
 * a copy of @len bytes; -ETIMEDOUT also if another append took the time.
 */
ssize_t folio_file_append(
	struct folio_file *file, const void *buf, size_t len, unsigned flags, uint64_t *offset);

/* For folio_file_sync. */
#define FOLIO_SYNC_DATA 1u /* as fdatasync(2): without metadata that reading does not need */

/**
 * folio_file_sync - make the data written so far durable
 * @file: an open file.
 * @range: pages that this range touches are synced; NULL: all pages.
 * @flags: 0 or FOLIO_SYNC_DATA.
 *
 * After 0 is returned, everything in the range that was written before the call, through any
 * handle, is on the device, and the file is long enough for the range. Data that was written
 * through handles which are all closed counts only if a handle for writing was opened since.
 * Threads that sync one file at the same time share syncs of the device; each returns only after
 * one that began when its own pages were in the file.
 *
 * If a page cannot be written, it stays dirty; the next sync and background write-back retry it.
 * The error is reported once through each handle that was open when it occurred, even if it
 * occurred in the background or in another range, and also by every sync that was running at that
 * time. If the device fails to sync data that it has accepted (fsync(2) fails), the state on the
 * device is unknown: every later sync of the file fails until all its handles are closed. See
 * folio-durability(7).
 *
 * Returns 0; an error of the backend; -EDEADLK (folio_lock); -EINVAL; -ENOMEM; -ESTALE;
 * -ETIMEDOUT.
 */
int folio_file_sync(struct folio_file *file, const struct folio_range *range, unsigned flags);

/**
 * folio_file_truncate - set the size of a file
 * @file: a file opened with O_RDWR.
 * @size: the new size in bytes; bytes that are added read as zeros.
 *
 * Waits for pages past the new end that are being written back. A thread that has such a page
 * pinned keeps its memory; the page is never written again. When the call returns, the file has
 * the new size; folio_file_sync makes the size durable.
 *
 * A block device keeps its size. To set that size succeeds, and drops pages past it, which exist
 * if the device has become smaller.
 *
 * Returns 0; -EBADF, -EINVAL, -EFBIG (also past RLIMIT_FSIZE, without SIGXFSZ), -EDEADLK
 * (folio_lock), -ENOMEM, -ESTALE, -ETIMEDOUT; or an error of the backend: then nothing has
 * changed.
 */
int folio_file_truncate(struct folio_file *file, uint64_t size);

/**
 * folio_file_punch - make a range read as zeros, and free its blocks where the file allows holes
 * @file: a file opened with O_RDWR.
 * @offset: bytes from the start of the file.
 * @len: bytes; the part of the range past the end of the file is ignored (folio_file_truncate
 *       changes the size).
 *
 * Pages that the range covers in part are written; where the file cannot have holes, all its
 * pages are. Dirty pages in the range are written back first, so that nothing is lost if the hole
 * cannot be made.
 *
 * Returns 0; -EBADF, -EINVAL, -EDEADLK (folio_lock), -ENOMEM, -ESTALE, -ETIMEDOUT; or an error of
 * the backend: then a part of the range may read as zeros.
 */
int folio_file_punch(struct folio_file *file, uint64_t offset, uint64_t len);

/**
 * folio_file_discard - drop the pages of a range without writing them
 * @file: a file opened with O_RDWR.
 * @offset: bytes from the start of the file.
 * @len: bytes; UINT64_MAX for everything from @offset on.
 *
 * For changes that shall not reach the file, or that the device does not accept, so that the rest
 * of the file can be synced and closed. Drops the pages that are completely in the range, dirty or
 * not; a page that contains the end of the file is, if its bytes of the file are. Reads then
 * return what the file has: a write that was in flight, or that failed, may have written any part
 * of a page. Pages outside keep their changes. If a dirty folio of several pages is only partly
 * in the range, its other pages are written first.
 *
 * Size: if the range extends to the end of the file, bytes that were never written to the file
 * are gone: the file ends where it ends on the device, or at the first page dropped if that is
 * later. Otherwise the size stays.
 *
 * Pinned pages: a thread that has one pinned keeps its memory, which is no longer part of the file
 * and is never written. The call does not wait for pages that another thread has locked
 * (folio_lock), except for a folio that is only partly in the range: folio_mark_dirty of such a
 * page returns -ENODATA.
 *
 * Errors of earlier write-backs, of these pages or others, are still reported once through each
 * handle by its next folio_file_sync. After a failed fsync(2) every sync fails as before.
 *
 * Returns 0; -EBADF, -EINVAL, -EDEADLK, -ENOMEM, -ESTALE, -ETIMEDOUT; or an error of the backend,
 * which refused to truncate (then nothing has changed) or to write a part of a folio (then a part
 * of the range may have been dropped, and each handle also reports the error), or the error of
 * before_writeback. The call takes as long as a thread keeps marking such a folio, each time that
 * before_writeback runs for it.
 */
int folio_file_discard(struct folio_file *file, uint64_t offset, uint64_t len);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
