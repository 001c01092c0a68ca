/* SPDX-License-Identifier: BSD-2-Clause */
/* closed.h - files that no handle has open, and whose pages stay for the next open. */
#ifndef FOLIO_SRC_CACHE_CLOSED_H
#define FOLIO_SRC_CACHE_CLOSED_H

#include <stdbool.h>
#include <stdint.h>

#include "cache/types.h"

void closed_init(struct closed_files *closed, uint64_t max);
void closed_destroy(struct closed_files *closed);

/*
 * The last handle of a file is closed, and nothing of it is dirty or in flight: keep its pages, if
 * the cache keeps those of closed files, and a later open can prove that the file is the same and
 * unchanged. Returns true if they are kept: the inode is closed, and has forgotten the handles of
 * the backend, which the caller closes. Else the caller frees the inode. files_lock is held.
 */
bool closed_keep(struct inode *inode, struct stats_shard *shard);

/* A closed inode is opened again, or freed: it is closed no longer. files_lock is held. */
void closed_leave(struct inode *inode);

/*
 * An inode that the caller must free, and that is closed no longer: one whose last page has left,
 * or, while more than @max files are kept, the one that has been closed for the longest time. NULL:
 * none. files_lock is held.
 */
struct inode *closed_excess(struct folio_cache *cache, uint64_t max);

/* The last page of a closed inode has left. The tree's lock is held. */
void closed_emptied_locked(struct inode *inode);

/* The number of closed files that have pages. Takes the lock. */
uint64_t closed_count(struct closed_files *closed);

#endif
