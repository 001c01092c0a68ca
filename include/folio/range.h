/* SPDX-License-Identifier: BSD-2-Clause */
/* range.h - write back a range of a file, without a sync. */
#ifndef FOLIO_RANGE_H
#define FOLIO_RANGE_H

#include <stdint.h>

#include <folio/write.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* For folio_file_writeback. */
#define FOLIO_WRITEBACK_WAIT 1u /* return when the range has been written to the file */

/**
 * folio_file_writeback - start to write back the dirty pages of a range
 * @file: an open file.
 * @offset: bytes from the start of the file; all pages that the range touches are written.
 * @len: bytes; UINT64_MAX for everything from @offset on.
 * @flags: 0 or FOLIO_WRITEBACK_WAIT.
 *
 * For a program that writes much: what is written back early is not waited for by a later sync, and
 * can be evicted. Nothing becomes durable, as by sync_file_range(2); folio_file_sync does that. A
 * dirty folio of several pages is written as a whole if it is partly in the range.
 *
 * With 0, the call does not wait for the device, and reports no error of it. If the file has its
 * share of the requests in flight, the rest is written in the background as soon as that is
 * possible, and the other dirty pages of the file with it. A folio that is locked (folio_lock)
 * stays dirty. The call runs folio_cache_params.before_writeback, and waits for a free request slot
 * while more than io_depth requests are in flight.
 *
 * With FOLIO_WRITEBACK_WAIT, everything in the range that was written before the call, through any
 * handle, is in the file when 0 is returned, except for pages that were dropped: truncated,
 * punched or discarded. It waits for locked folios, and for write-back that is in flight. An error
 * of write-back of the file that occurs in the course of the call is returned, in whatever range.
 * This does not count as a report: the next sync through each handle returns it, too. The pages
 * stay dirty.
 *
 * Any thread may call it at any time. It does not wait for other calls that write, and with
 * FOLIO_WRITEBACK_WAIT for a truncation or a hole in progress. With folio_cache_params.timeout_ms
 * it takes turns with the syncs and truncations of the file; a call that was left by its caller
 * continues.
 *
 * Returns 0, also if no handle was ever opened for writing; -EINVAL (the range wraps around 2^64,
 * another flag); -EDEADLK (folio_lock); -ESTALE; -ETIMEDOUT or -ENOMEM with timeout_ms; and with
 * FOLIO_WRITEBACK_WAIT an error of the backend.
 */
int folio_file_writeback(struct folio_file *file, uint64_t offset, uint64_t len, unsigned flags);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
