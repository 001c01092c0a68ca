/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * open.h - files: open and close.
 *
 * Each call can return -ESTALE in a child process after fork. cache.h has the rules about locks.
 */
#ifndef FOLIO_OPEN_H
#define FOLIO_OPEN_H

#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct folio_cache;
struct folio_file;

/**
 * folio_file_open - open a file in a cache
 * @cache: an open cache.
 * @path: as for open(2); a regular file or a block device. Other files are not even opened for a
 *        moment, which could have effects.
 * @flags: O_RDONLY or O_RDWR, and any of O_CREAT, O_EXCL, O_TRUNC (only with O_RDWR), O_CLOEXEC,
 *         O_NOFOLLOW, O_NOATIME.
 * @mode: as for open(2), with O_CREAT.
 * @file: the result, a handle; close it with folio_file_close.
 *
 * All handles of a file share its pages (folio(7) states what identifies a file). If the file has
 * changed since its pages were read, or may have (see folio_file_revalidate), they are dropped.
 * While a handle has the file open with O_RDWR, the file belongs to the cache, which does not
 * check for changes by others.
 *
 * Returns 0; -EINVAL for other flags, or if the path names neither a regular file nor a block
 * device (-EISDIR for a directory); -EROFS for O_RDWR if the backend cannot write; -EBUSY for
 * O_RDWR if a file with the same device and inode is open for writing, and nothing shows whether
 * it is the same file; -EDEADLK with O_TRUNC (folio_lock); -ENOMEM; -ESTALE; or the errno of
 * open(2), fstat(2) or ftruncate(2).
 */
int folio_file_open(struct folio_cache *cache, const char *path, int flags, mode_t mode,
	struct folio_file **file);

/**
 * folio_file_open_fd - open a file by a descriptor
 * @cache: an open cache.
 * @fd: a descriptor of a regular file or a block device. The program may close it at any time.
 * @flags: O_RDONLY, or O_RDWR, which @fd must allow.
 * @file: the result, a handle; close it with folio_file_close.
 *
 * For a file that has no name, that another process has opened, or that the program has locked
 * before. The call is as folio_file_open with a path of the file, except that permissions are not
 * checked again. If the cache has the file open with that access, it uses no further descriptor.
 * Otherwise it uses a duplicate of @fd, which shares the status flags: I/O is direct if @fd has
 * O_DIRECT (which is cleared if direct requests fail), and the program must not change the flags.
 * Nor must it sync @fd while the file is open for writing: the kernel reports an error of
 * write-back to one of the two only. Open file description locks on @fd stay at least as long as
 * the duplicate. The file position is shared, too: the cache does not use it, but a call for
 * O_RDWR may move it and restores it before it returns.
 *
 * Returns 0; -EBADF if @fd is not open, or not with that access; -EINVAL for other flags or
 * another kind of file (-EISDIR for a directory), or for O_RDWR if @fd has O_APPEND; -EOPNOTSUPP
 * if the backend has no open_fd; -EROFS, -EBUSY, -ENOMEM, -ESTALE as folio_file_open; or the errno
 * of fcntl(2), fstat(2), or of open(2) for a second descriptor (with O_DIRECT and O_RDWR).
 */
int folio_file_open_fd(struct folio_cache *cache, int fd, int flags, struct folio_file **file);

/**
 * folio_file_close - close a handle
 * @file: must not be used after 0 is returned. No other call on this handle may be running.
 *
 * The last close of a file drops its pages, unless they stay for the next open (see below); pinned
 * ones leave the file in any case, and stay in memory until they are put. If the file was written,
 * the last close also writes its dirty pages back and waits for that; this is not a sync. If a page
 * cannot be written, the error is returned and the handle stays open, so that nothing is lost:
 * close it again later, or call folio_file_abandon. While another handle is open, a close writes
 * nothing: dirty pages stay with the file. A handle that folio_file_open has not returned yet
 * because of O_TRUNC does not count: the close waits for that truncation.
 *
 * NFS and FUSE may take data and lose it, and report that at close(2) only (EDQUOT). So the last
 * close of a file that was written asks the file system for such an error first. If there is one,
 * it is returned, the handle stays open, and the pages that were written and are still cached
 * become dirty again: the next close or sync writes them again. Only a sync finds such an error
 * before pages have been evicted.
 *
 * With folio_cache_params.closed_files_max, pages stay until they are evicted, the file has changed
 * when it is opened again, or more files are closed than may stay. The file must be one of which
 * the next open can prove that it is the same and unchanged. So its file system must have a time of
 * change (ctime), and file handles (name_to_handle_at(2)) or times of creation; block devices have
 * neither. The pages are found through the same mount only, and not after the file system was
 * mounted again. Before Linux 6.8, files of read-only file systems do not stay. Its last change
 * must have come so long before its pages were read, or, if the cache has written it, before the
 * close, that a later change has another time: one tick of the kernel's clock, 1 to 10 ms, where
 * the file system stores nanoseconds. A file does not stay if a sync of it has failed, its file
 * system has lost data, dirty pages were given up, or folio_mark_dirty has refused a page. What
 * others change while it is open for writing, which they must not, is noticed only if the cache
 * itself has changed nothing. Changes through a shared mapping (mmap(2)) may leave the times as
 * they are: on tmpfs all do, elsewhere those of a page that is dirty already. So do not set
 * closed_files_max in a cache of files that others map for writing. To drop the pages at once, call
 * folio_file_invalidate before the close.
 *
 * Returns 0; or, with the handle still open, an error of write-back or of close(2) (-EIO for
 * ENOMEM), -EBUSY if other threads kept dirtying the file during the call, or if requests of a
 * folio_queue with this handle are in flight (reap them, or cancel and reap), -EDEADLK
 * (folio_lock), or, with folio_cache_params.timeout_ms, -ETIMEDOUT or -ENOMEM; -EINVAL; -ESTALE in
 * a child of the process that opened the file (memory is then not freed).
 */
int folio_file_close(struct folio_file *file);

/**
 * folio_file_abandon - close a handle and drop the dirty pages that cannot be written
 * @file: must not be used afterwards, unless the handle is still open. No other call on this
 *        handle may be running.
 *
 * Like folio_file_close, but dirty pages that cannot be written, or that the file system loses, are
 * dropped if no other handle has the file open.
 *
 * Returns 0, or the error for which pages could not be written (-EIO for ENOMEM, and if the device
 * did not answer in time); or, with the handle still open, -EDEADLK (folio_lock), -ETIMEDOUT or
 * -ENOMEM; -EINVAL and -ESTALE as folio_file_close.
 */
int folio_file_abandon(struct folio_file *file);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
