/* SPDX-License-Identifier: BSD-2-Clause */
/* revalidate.h - comparing what is cached with the file as the operating system reports it. */
#ifndef FOLIO_SRC_CACHE_REVALIDATE_H
#define FOLIO_SRC_CACHE_REVALIDATE_H

#include <stdbool.h>

#include <time.h>

#include "cache/types.h"

/*
 * May a file that has @attr change again without a change of its times? True if it changed as
 * shortly before @now as the clock of its times is coarse, or after. @now is CLOCK_REALTIME_COARSE,
 * from which file systems take their times, before the attributes were read; @tick its resolution.
 *
 * A page that is read then may become old unnoticed. If the file changed earlier, every change
 * after @now gets a later time.
 */
bool revalidate_is_recent(
	const struct folio_io_attr *attr, const struct timespec *now, const struct timespec *tick);

/*
 * Get the attributes of an open file, with the time of change if the backend has it, and @wanted of
 * FOLIO_IO_ATTR_*. *recent is revalidate_is_recent. Returns 0, or the backend's error.
 */
int revalidate_attr(struct folio_cache *cache, void *handle, uint32_t wanted,
	struct folio_io_attr *attr, bool *recent);

/* Is @attr another size or time of change than what is recorded? The caller as below. */
bool revalidate_differs(const struct inode *inode, const struct folio_io_attr *attr);

/* Record the attributes for the next inode_revalidate. The caller has attr_lock, or a new inode. */
void revalidate_record(struct inode *inode, const struct folio_io_attr *attr, bool recent);

/*
 * Query the operating system for the size and the times of change of a file, and drop stale pages,
 * or all pages if the times may not show the last change. With @growth_only the times are ignored,
 * and a file that has grown loses only its old last page. Does nothing once the file is open for
 * writing.
 *
 * The caller may have folios of the inode locked, since this waits for no folio. Returns 1 if
 * something has changed, else 0; or -errno of the backend's getattr.
 */
int inode_revalidate(struct inode *inode, bool growth_only, struct stats_shard *shard);

/*
 * The same for a file that was closed and is opened again. Any time may have passed, and the open
 * promises the present contents: so the attributes are not those that the kernel has kept.
 */
int inode_revalidate_closed(struct inode *inode, struct stats_shard *shard);

#endif
