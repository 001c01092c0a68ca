/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hot.h - save which pages are hot, and request them again after a restart.
 *
 * A program saves the list before it closes its files, or from time to time, and loads it when it
 * has opened them again. Each call can return -ESTALE in a child process after fork.
 */
#ifndef FOLIO_HOT_H
#define FOLIO_HOT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct folio_cache;

/**
 * folio_cache_save_hot - save which pages are hot
 * @cache: an open cache.
 * @path: the name of the list, a file of its own.
 *
 * A page is hot if it has been read again since it was cached: its folio is in the main queue, or
 * will move there. The list has pages of all files that a handle has open, and of those that stay
 * without one (folio_cache_params.closed_files_max). It has no contents of pages: 16 bytes for each
 * range of hot pages, and up to 200 for each file.
 *
 * The call writes a new file next to @path (its name and a suffix), syncs it, gives it the name
 * @path, and syncs the folder. So a list of that name is complete at any time. After a crash it is
 * the earlier or the new one; after an error it is the earlier one, unless only the sync of the
 * folder failed, the last step. That sync is left out where the program may not read the folder, or
 * the file system does not sync folders. The new file belongs to the caller alone (mode 0600). If
 * @path is a symbolic link, the new file replaces the link. A program that is killed during the
 * call leaves the new file under its other name, @path.XXXXXX with any six characters: delete it.
 *
 * Other calls may run concurrently. A file that is opened or closed during the call may be left
 * out. The call does not wait for the cache's device, has no deadline
 * (folio_cache_params.timeout_ms), and needs 24 bytes of memory for each file of the cache.
 *
 * Returns the number of pages in the list; -EINVAL; -ENOMEM; -ESTALE; or the errno of open(2),
 * write(2), fsync(2), close(2) or rename(2): -EFBIG, without a SIGXFSZ, if RLIMIT_FSIZE is too
 * small.
 */
ssize_t folio_cache_save_hot(struct folio_cache *cache, const char *path);

/** struct folio_hot_load - what folio_cache_load_hot has found in the list, and not started */
struct folio_hot_load {
	size_t size;            /* set by the caller: sizeof(struct folio_hot_load) */
	uint64_t files;         /* files of the list that a handle has open */
	uint64_t files_missing; /* the others: not open, deleted, or replaced by another file */
	uint64_t pages_missing; /* pages of the list in these */
	uint64_t pages_skipped; /* pages that are cached already, or past the end of their file */
	uint64_t pages_left;    /* pages without free memory or a request slot, or past a ceiling */
};

/**
 * folio_cache_load_hot - start to read the pages that were hot
 * @cache: an open cache; the files are open as well.
 * @path: a list of folio_cache_save_hot.
 * @load: NULL; or details of the result: size must be set; as many fields as fit are filled in.
 *
 * The pages of each file are requested in order of offset. They enter the cache as pages that have
 * been used: eviction gives them the time of one pass through the cache to be used again.
 *
 * The call uses free memory only, and leaves the few pages that the cache keeps free. So it evicts
 * nothing, and pages for which there is no space are left out: those at the end of the list, and of
 * a file with a ceiling (folio_file_set_share) those that would exceed it. It does not wait for the
 * reads, but for free request slots while more than io_depth are in flight.
 *
 * A file is recognized by its inode number, and its file handle or its time of creation, since
 * device numbers may change when the machine is started again. Its contents may have changed: what
 * the file has now is read. Pages of files that no handle has open are not requested: open the
 * files and call again.
 *
 * The list is read twice: all of it is checked before anything is started. A save in the meantime
 * makes no difference, since it writes another file.
 *
 * Returns the number of pages whose reading was started; -EBADMSG if the list is damaged, or is
 * none, and -EOPNOTSUPP if it is of another version or page size; -EINVAL; -ESTALE; the errno of
 * open(2), lseek(2) or read(2), such as -ESPIPE for a pipe. In all these cases nothing was started,
 * and @load is unchanged, unless the list was changed in place during the call, or could be read
 * only once. Or -ETIMEDOUT (folio_cache_params.timeout_ms). Then what was started continues, and
 * @load has what was found so far.
 */
ssize_t folio_cache_load_hot(
	struct folio_cache *cache, const char *path, struct folio_hot_load *load);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
