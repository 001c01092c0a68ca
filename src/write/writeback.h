/* SPDX-License-Identifier: BSD-2-Clause */
/* writeback.h - writing dirty folios to their file. The states of a folio are in cache/dirty.h. */
#ifndef FOLIO_SRC_WRITE_WRITEBACK_H
#define FOLIO_SRC_WRITE_WRITEBACK_H

#include <stdbool.h>
#include <stdint.h>

#include "cache/types.h"

/*
 * Write the dirty folios of pages first .. last, and wait for these writes and for those that were
 * in flight already. Folios that are locked are waited for and written, too. The caller has no
 * folio locked. Errors are recorded (dirty_record_error), not returned.
 */
void writeback_flush(struct inode *inode, uint64_t first, uint64_t last, struct stats_shard *shard);

/*
 * As writeback_flush, for the entire file. Returns 0, or, if pages are still dirty, the last error
 * of write-back in the meantime as -errno; -EBUSY if there was none: then pages have become dirty.
 */
int writeback_clean(struct inode *inode, struct stats_shard *shard);

/*
 * Submit the dirty folios of pages *@index .. last in runs, without waiting for the writes. *@index
 * becomes the page at which to continue.
 *
 * *@pending counts the runs in flight: it must stay until wait_pending has returned. Waits for
 * locked folios and writes them, too, and waits for a free run when the share of the file is used
 * up. With @pending NULL, for the flusher, waits for neither: skips locked folios, and returns
 * false if there is no run; then one that becomes free wakes the flusher.
 */
bool write_range(struct inode *inode, uint64_t *index, uint64_t last, folio_u32 *pending,
	struct stats_shard *shard);

/*
 * True if the share of a device, and that of its @inode, unless it is NULL, have a run left. The
 * caller holds writeback->lock.
 */
bool writeback_may_run(const struct writeback_device *device, const struct inode *inode);

/* Wait until all runs that *@pending counts have ended. */
void wait_pending(folio_u32 *pending);

#endif
