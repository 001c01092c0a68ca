/* SPDX-License-Identifier: BSD-2-Clause */
/* writeback.h - writing dirty folios to their file. The states of a folio are in cache/dirty.h. */
#ifndef FOLIO_SRC_WRITE_WRITEBACK_H
#define FOLIO_SRC_WRITE_WRITEBACK_H

#include <stdbool.h>
#include <stdint.h>

#include <folio/atomic.h>

#include "cache/types.h"
#include "write/log.h"

/*
 * Write the dirty folios of a pass, and wait for these writes and for those that were in flight
 * already. Folios that are locked are waited for and written, too. The caller has no
 * folio locked, and has called log_pass (write/log.h) before it locked map_lock. Folios that were
 * marked with a larger sequence number since are written as well, in further passes. Errors are
 * recorded (dirty_record_error), not returned.
 */
void writeback_flush(struct inode *inode, const struct pass *pass, struct stats_shard *shard);

/*
 * As writeback_flush, but never calls before_writeback: leaves folios whose changes have not been
 * logged.
 */
void writeback_flush_logged(
	struct inode *inode, const struct pass *pass, struct stats_shard *shard);

/*
 * As writeback_flush, but waits only for writes of the file that were in flight when no folio of
 * the pass was left dirty: not for those of folios that became dirty since.
 */
void writeback_flush_begun(struct inode *inode, const struct pass *pass, struct stats_shard *shard);

/*
 * Write one run of the file's dirty folios on the calling thread, if there is one and the backend
 * is one of the library's. Locked folios are skipped. Errors are recorded.
 */
void writeback_help(struct inode *inode, struct stats_shard *shard);

/*
 * Write the entire file, as a sync does. Returns 0, or, if pages are still dirty, the last error
 * of write-back in the meantime as -errno; -EBUSY if there was none: then pages have become dirty.
 */
int writeback_clean(struct inode *inode, struct stats_shard *shard);

/*
 * For the flusher: submit the dirty folios of pages *@index .. @last in runs. Waits for nothing:
 * skips locked folios, and returns false if there is no run; then one that becomes free wakes the
 * flusher. *@index becomes the page at which to continue. The caller has called log_pass. Folios
 * whose changes have not been logged are left.
 */
bool write_range(struct inode *inode, uint64_t *index, uint64_t last, struct stats_shard *shard);

/*
 * True if the share of a device, and that of its @inode, unless it is NULL, have a run left. The
 * caller holds writeback->lock.
 */
bool writeback_may_run(const struct writeback_device *device, const struct inode *inode);

#endif
