/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sequence.h - writes that belong to a log: their positions in it, and which of them are durable.
 *
 * A storage engine writes each change to a log of its own first, and later the page. A sequence
 * number is the position of a change in that log. The cache takes it with the change, and
 *
 *   - calls folio_cache_params.before_writeback before it writes a page, so that the log is on the
 *     device first;
 *   - tells which part of the log is still needed (folio_file_oldest_sequence), so that the engine
 *     can drop the rest;
 *   - makes pages durable up to a position (folio_file_checkpoint).
 *
 * All this needs a cache with before_writeback: it records 16 bytes of numbers for each page of
 * folio_cache_params.bytes_max. In a cache without, numbers are ignored. Number 0 is none.
 * folio_mark_dirty takes the number of a change in place.
 */
#ifndef FOLIO_SEQUENCE_H
#define FOLIO_SEQUENCE_H

#include <folio/write.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/**
 * folio_file_write_logged - copy bytes into a file, with the position of the change in a log
 * @file: a file opened with O_RDWR.
 * @buf: the source.
 * @len: bytes to write.
 * @offset: bytes from the start of the file.
 * @flags: 0 or FOLIO_WRITE_ONCE (folio_file_write_flags).
 * @sequence: position of the change in the engine's log, or 0. Before a page that the call changes
 *            is written back, folio_cache_params.before_writeback has returned 0 for this number
 *            or a larger one.
 *
 * Like folio_file_write_flags. All pages that the call changes get the number, also those before
 * an error.
 *
 * Returns what folio_file_write_flags returns, and its errors.
 */
ssize_t folio_file_write_logged(struct folio_file *file, const void *buf, size_t len,
	uint64_t offset, unsigned flags, uint64_t sequence);

/**
 * folio_file_append_logged - copy bytes to the end of a file, with the position in a log
 * @file: a file opened with O_RDWR.
 * @buf: the source.
 * @len: bytes to write.
 * @flags: 0 or FOLIO_WRITE_ONCE (folio_file_write_flags).
 * @sequence: position of the change in the engine's log, or 0 (folio_file_write_logged).
 * @offset: the result, unless NULL: where the bytes are. Not set if an error is returned.
 *
 * Like folio_file_append. Returns what folio_file_append returns, and its errors.
 */
ssize_t folio_file_append_logged(struct folio_file *file, const void *buf, size_t len,
	unsigned flags, uint64_t sequence, uint64_t *offset);

/**
 * folio_file_oldest_sequence - the oldest change of a file that may not be durable
 * @file: an open file.
 * @sequence: the result: the smallest number of a change that is not known to be on the device, or
 *            UINT64_MAX if there is none. What the log has before this number, the file does not
 *            need after a crash.
 *
 * A change counts from the call that gave it its number (folio_mark_dirty,
 * folio_file_write_logged) on, and until a sync of the device has succeeded that began after the
 * page was written: by folio_file_sync, of any range, or by folio_file_checkpoint. If such a sync
 * fails, its changes and later ones count until all handles are closed. Changes without a number do
 * not count, nor do those that were truncated, punched or discarded. What was written through
 * handles that are all closed no longer counts: sync before the last close.
 *
 * The result may be smaller than necessary: a folio of several pages counts with its oldest change,
 * and changes that become durable in the course of the call count. Changes that get their numbers
 * in its course may be missed. If a close has returned an error of the file system, what was lost
 * of pages that have left the cache does not count after the next sync, since it cannot be written
 * again: the log is needed from the result before the close on.
 *
 * Takes time in proportion to the dirty folios of the file, and no lock for long: call it once for
 * each part of the log that could be dropped, not for each commit. Any thread may call it at any
 * time. It waits for no device.
 *
 * Returns 0; -EINVAL; -EOPNOTSUPP if the cache has no before_writeback; -ESTALE.
 */
int folio_file_oldest_sequence(struct folio_file *file, uint64_t *sequence);

/**
 * folio_file_checkpoint - make the changes up to a position of the log durable
 * @file: an open file.
 * @sequence: UINT64_MAX for all changes that have a number.
 *
 * Writes the folios that have a change with this number or a smaller one, and syncs the device if
 * such a change was written since its last sync. Other dirty pages stay dirty. When 0 is returned,
 * folio_file_oldest_sequence is larger than @sequence, unless a thread has given such a number to a
 * change since the call began. The size of the file is long enough for these changes; one that
 * folio_file_truncate has set may not be durable.
 *
 * Waits for folios with such changes that are locked, and, as folio_file_sync, for write-back that
 * is in flight. Errors are those of folio_file_sync, and are reported in the same way.
 *
 * Returns 0; an error of the backend or of before_writeback; -EDEADLK (folio_lock); -EINVAL;
 * -EOPNOTSUPP if the cache has no before_writeback; -ENOMEM; -ESTALE; -ETIMEDOUT.
 */
int folio_file_checkpoint(struct folio_file *file, uint64_t sequence);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
