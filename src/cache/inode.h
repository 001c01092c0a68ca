/* SPDX-License-Identifier: BSD-2-Clause */
/* inode.h - inodes: one for each file, shared by all handles that have it open. */
#ifndef FOLIO_SRC_CACHE_INODE_H
#define FOLIO_SRC_CACHE_INODE_H

#include <stdbool.h>
#include <sys/types.h>

#include "cache/types.h"

/* The file to open: by its path or by a descriptor of the program. */
struct file_source {
	const char *path; /* or NULL */
	int fd;
	int flags;   /* of open(2); likewise mode */
	mode_t mode; /* with O_CREAT */
};

/*
 * Open a file with the backend, and find or create its inode, which then counts one more handle.
 * O_TRUNC is left to the caller: until it has truncated the file, the handle counts in
 * inode->opening, too. Takes the cache's files_lock. For O_RDWR, the flusher has been started
 * (flusher_start). Returns 0; -EBUSY if the file may be one that is open for writing in another
 * inode (cache/identity.h); -ENOMEM; or the backend's error.
 */
int inode_get(struct folio_cache *cache, const struct file_source *source,
	struct stats_shard *shard, struct inode **inode);

/*
 * Walk through the files with a device and an inode number, closed ones included: *at is 0 at
 * first. Returns the next inode, or NULL at the end. files_lock is held from first to last.
 */
struct inode *inode_next(
	const struct folio_cache *cache, uint64_t device, uint64_t number, uint64_t *at);

/*
 * The backend's handle for writing, or NULL if no handle has had the file open for writing yet.
 *
 * acquire: pairs with become_writable (release). The caller's own handle may be one for reading,
 * and another thread may open the file for writing at this moment: without the order, the caller
 * could pass on a handle that is not set up.
 */
static inline void *inode_write_handle(struct inode *inode)
{
	return folio_ptr_load_acquire(&inode->write_handle);
}

/*
 * If a close of this file in another thread asks the file system (confirm_written), wait: a program
 * that opened the file now would lose the locks that it takes. Returns true if it has waited. Then
 * the inode may be gone, unless the caller has it open: the wait is without files_lock, which is
 * held before and after, so that a file system that does not answer keeps no other file from being
 * opened or closed.
 */
bool inode_await_confirm(struct inode *inode);

/*
 * A handle is closed; files_lock is held. The last one waits for requests in flight. With @keep, if
 * nothing of the file is lost, its pages may stay (cache/closed.h). Else the last one drops all
 * pages, dirty ones included, and keeps the memory of the inode for the next file.
 */
void inode_put(struct inode *inode, bool keep, struct stats_shard *shard);

/* Drop the pages of all files that no handle has open. Takes files_lock. */
void inodes_forget_closed(struct folio_cache *cache, struct stats_shard *shard);

/* Free the memory of all inodes of a cache. No file is open, and no other thread uses the cache. */
void inodes_destroy(struct folio_cache *cache);

#endif
