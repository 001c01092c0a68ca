/* SPDX-License-Identifier: BSD-2-Clause */
/* flusher.h - the thread that writes back in the background, and throttling of writers. */
#ifndef FOLIO_SRC_WRITE_FLUSHER_H
#define FOLIO_SRC_WRITE_FLUSHER_H

#include <stdint.h>

#include "cache/call.h"

/* Initialize write-back of a new cache, without starting the flusher. 0 or -ENOMEM. */
int flusher_create(struct folio_cache *cache, const struct folio_cache_params *params);

/* Stop the flusher, if it runs, and free write-back. All files are closed. */
void flusher_destroy(struct folio_cache *cache);

/* Start the flusher, unless it runs. files_lock is held. 0 or -ENOMEM. */
int flusher_start(struct folio_cache *cache);

/*
 * Called before a write to a file, with no lock held, and by folio_lock before the thread's first.
 * While less than half of dirty_bytes is dirty, does nothing. Above that, has the file written if
 * it has more than half of its share (core/share.h); and if it has all of it, waits until it has
 * less, or until the flusher has written the file, and its device if that has used up its share,
 * too; or until the deadline. A call that leaves the hot set unchanged (call->once) has a smaller
 * share of its own.
 *
 * Returns 0, and in *@pages how many pages the caller may make dirty. That is 1 if the file's own
 * pages were written, but others keep what is missing. -ETIMEDOUT; -EAGAIN if the call does not
 * wait; or, if the file's own pages could not be written, their error as -errno.
 */
int flusher_throttle(const struct call *call, struct inode *inode, uint64_t *pages);

#endif
